/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A word with berth-dns (model/names.h), over a connection that tells no name.
 */
#ifndef STORE_NAMES_ASK_H
#define STORE_NAMES_ASK_H

#include <stddef.h>

/** Say NAMES_HOW or NAMES_AGAIN to the berth-dns of RUN (`run_fd`). ret_said NULL: its answer is not waited for.
 *  -ENOENT, -ECONNREFUSED: there is none; -ETIMEDOUT: no answer within `wait_msec`. */
int names_ask(int run_fd, const char *word, int wait_msec, char *ret_said, size_t room);

#endif
