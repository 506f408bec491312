/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the programs that measure berth through the library: what must go well, or the figures are none.
 */
#ifndef BENCH_THROUGH_H
#define BENCH_THROUGH_H

#include <berth/berth.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static inline void need(int code, const struct berth_error *err, const char *what)
{
    if (code >= 0)
        return;
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, err->message);
    exit(1);
}

#endif
