/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Privileges: capabilities by name, the sets docker gives, and giving them up for good.
 */
#ifndef LINUX_PRIVILEGE_H
#define LINUX_PRIVILEGE_H

#include "base/error.h"
#include "linux/user.h"
#include "model/plan.h"
#include <stdbool.h>
#include <stdint.h>

/** "NET_ADMIN", "cap_net_admin", "ALL" -> bits. -EINVAL. */
int capability_parse(const char *name, uint64_t *ret_mask);
const char *capability_name(int number); /* "CAP_CHOWN" or NULL */
uint64_t capability_default(void);       /* docker's fourteen */
uint64_t capability_all(void);           /* what this kernel knows */
uint64_t capability_effective(void);     /* what the caller has */
/** DENIED with the missing capability's name and the sudo line unless the caller has them
 * (effective). */
int capability_need(uint64_t mask, const char *verb, struct berth_error *err);

/* What follows changes the calling process, and is for a process between birth and exec only. */

/**
 * Become `who` with these bounds: groups, ids, bounding set, nothing inheritable or ambient. Root
 * keeps `caps` over exec, another user nothing. CAP_SYS_ADMIN stays effective until exec when
 * `keep_admin` (to load a filter without no_new_privs).
 */
int privilege_become(const struct user_identity *who, uint64_t bounding, uint64_t caps,
                     bool keep_admin, struct berth_error *err);
/** Make and touch files as this user, keeping every capability: for who mounts an overlay of mapped
 * layers. */
int privilege_file_identity(uid_t uid, gid_t gid);
/** Labels for the next exec. `proc_fd`: a real /proc. NO_KERNEL when the kernel has no such module.
 */
int privilege_label(int proc_fd, const char *apparmor, const char *selinux,
                    struct berth_error *err);
int privilege_rlimits(const struct plan_rlimit *limits, size_t n, struct berth_error *err);
/** Load a compiled filter (an array of struct sock_filter) from a root-owned file. The last thing
 * before exec. */
int privilege_filter(const void *filter, size_t size, struct berth_error *err);
/** Whether only root can write the opened file: asked by who opens it, since in a user namespace of the
 *  workload's own its owner has another number. DENIED. */
int privilege_filter_check(int fd, const char *path, struct berth_error *err);
/** Read it: at most 64 KiB, whole instructions, else CORRUPT. */
int privilege_filter_read(int fd, const char *path, void **ret_filter, size_t *ret_size,
                          struct berth_error *err);

#endif
