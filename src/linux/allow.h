/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of system calls and nothing else, for programs of berth's own that read what is hostile.
 */
#ifndef LINUX_ALLOW_H
#define LINUX_ALLOW_H

#include <stddef.h>
#include <stdint.h>

#define ALLOW_MAX 200   /* calls of a list */
#define ALLOW_FIRST_MAX 4

struct allowed_call {
    int number;
    uint32_t first[ALLOW_FIRST_MAX]; /**< only with one of these as the first argument (its low half) */
    size_t n_first;                  /**< 0: with any */
};

/** From now on every other call fails with ENOSYS; of another architecture: death. Needs no_new_privs.
 *  0 or -errno. Nothing at all under a sanitizer, whose runtime has needs of its own. */
int allow_calls(const struct allowed_call *calls, size_t n);

#endif
