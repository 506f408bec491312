/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet filter's programs, asked and heard: nft for the skeleton, others for doctor.
 */
#ifndef LINUX_NET_PROGRAM_H
#define LINUX_NET_PROGRAM_H

#include <stddef.h>

/**
 * Run argv[0] from the usual folders (/usr/sbin, ...) until it ends; `input` (NULL: nothing, below 64 kB) is
 * its stdin, *ret_said all it writes (yours, NUL-terminated). 0, -ENOENT: no such program, -EFBIG: it says
 * more than 16 MB. Its exit code is not known: see what came of it.
 */
int net_program(const char *const *argv, const char *input, char **ret_said, size_t *ret_size);

#endif
