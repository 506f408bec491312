/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls around berth-image.
 */
#ifndef LOCAL_TOOL_H
#define LOCAL_TOOL_H

#include "local/inside.h"

#define TOOL_INPUT 1u    /* the caller writes stream 0 */
#define TOOL_OUTPUT 2u   /* and reads stream 1: results, or a tar */
#define TOOL_PROGRESS 4u /* stream 2 */

/** Run berth-image; input_fd (borrowed) in place of stream 0, -1 for none. */
int tool_call(struct local *c, const char *const *argv, unsigned streams, int input_fd,
              struct berth_call **ret_call, struct berth_error *err);
/** Run it to its end; its result lines as one JSON array. Blocks. */
int tool_lines(struct local *c, const char *const *argv, char **ret_json, struct berth_error *err);

#endif
