/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces: their flags, the one with its own users, and a network of one's own with a loopback.
 */
#ifndef LINUX_NAMESPACE_H
#define LINUX_NAMESPACE_H

#include "model/plan.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** CLONE_NEW* of an enum plan_namespace, and its file name in /proc/PID/ns ("mnt"). */
uint64_t namespace_flag(int which);
const char *namespace_name(int which);
/** Flags of all namespaces of the plan in this mode. */
uint64_t namespace_flags(const struct plan *plan, int mode);
/** Write the maps of the user namespace that `pid` was born into. 0 or -errno. */
int namespace_write_maps(pid_t pid, const struct plan_idmap *uids, size_t n_uids,
                         const struct plan_idmap *gids, size_t n_gids);
/** Bring up "lo" of the caller's network namespace. 0 or -errno. */
int namespace_loopback_up(void);
/** Host id of an id inside; UINT32_MAX when it isn't mapped. */
uint32_t idmap_outside(const struct plan_idmap *map, size_t n, uint32_t inside);

#endif
