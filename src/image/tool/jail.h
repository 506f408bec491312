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
/** In a worker of the jail: see only the folder `fd` from now on, and lose the right to change that. */
int jail_narrow(int fd, struct berth_error *err);

#endif
