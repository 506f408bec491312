/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail: everything that parses, inflates or unpacks what strangers made runs in it.
 *
 * Its own mount, network, IPC, UTS and pid namespaces; a root that holds nothing but the folders it was
 * given; no new privileges, the few capabilities that unpacking needs, a list of allowed system calls.
 */
#ifndef TOOL_JAIL_H
#define TOOL_JAIL_H

#include "base/error.h"
#include <stdbool.h>
#include <sys/types.h>

struct jail_bind { const char *name; int fd; bool writable; }; /* fd: an open folder; seen as /NAME */

/**
 * In a forked child that is pid 1 of a new pid namespace: enter a root made of `n` binds.
 * `scratch` is any existing folder; it is covered only in the jail's own mount namespace.
 */
int jail_enter(const char *scratch, const struct jail_bind *binds, size_t n, struct berth_error *err);
/** Instead: the root of the jail is this folder itself (a workload's root). */
int jail_enter_root(int root_fd, struct berth_error *err);
/** Give up everything but what a worker needs: limits, capabilities, system calls. For good. */
int jail_lock(struct berth_error *err);
/**
 * The network's jail, for the process that speaks to registries: the same walls, but the host's network, and a few
 * files of /etc that name look-ups need, copied. Enter it before threads; then lock it with jail_lock_network().
 */
int jail_enter_network(const char *scratch, const struct jail_bind *binds, size_t n, struct berth_error *err);
/** jail_lock() for it: sockets and threads, but no capability at all and no way to change files' owners or modes. */
int jail_lock_network(struct berth_error *err);
/** In a worker of the jail: see only the folder `fd` from now on, and lose the right to change that. */
int jail_narrow(int fd, struct berth_error *err);

#endif
