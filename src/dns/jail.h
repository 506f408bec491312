/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail that packets are parsed in: nobody, no file, no capability, a short list of system calls.
 */
#ifndef DNS_JAIL_H
#define DNS_JAIL_H

#include <sys/types.h>

/**
 * Clone a worker that runs `run(feed_fd)` in the jail: own mount, pid, IPC and UTS namespaces (the network is the
 * host's: that is where the resolvers are), an empty root. It ends with the caller. 0 or -errno.
 */
int jail_start(int (*run)(int feed_fd), int feed_fd, pid_t *ret_pid, int *ret_pid_fd);

#endif
