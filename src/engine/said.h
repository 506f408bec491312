/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How berth-image ended, as it says it: {"done":true} or {"error":{"code","object","message"}}.
 */
#ifndef ENGINE_SAID_H
#define ENGINE_SAID_H

#include "base/error.h"
#include <jansson.h>

/** The error that it tells; 0 when it tells none. */
int said_error(const json_t *said, struct berth_error *err);
/** The same of a line. */
int said_line(const char *line, struct berth_error *err);

#endif
