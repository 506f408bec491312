/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroups: v2, v1 and hybrid, found by looking; one workload's group in each hierarchy.
 *
 * v2: PARENT/ID/load is the workload's, PARENT/ID/sup its supervisor's (inner groups hold no
 * process). v1: PARENT/ID is the workload's in each hierarchy, PARENT/sup holds all supervisors of
 * that parent: ten mkdirs instead of thirty. On hybrid every controller is driven where it lives.
 */
#ifndef LINUX_CGROUP_H
#define LINUX_CGROUP_H

#include "base/error.h"
#include "model/plan.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum cgroup_mode { CGROUP_V2, CGROUP_HYBRID, CGROUP_V1 };
struct cgroup_layout; /* where each controller is mounted; read once from /proc/self/mountinfo */
int cgroup_layout_read(struct cgroup_layout **ret_layout, struct berth_error *err);
void cgroup_layout_free(struct cgroup_layout *layout);
int cgroup_layout_mode(const struct cgroup_layout *layout);
const char *cgroup_mode_name(int mode);
/** Whether a controller ("memory", "cpu", "pids", "io"...) can be used. */
bool cgroup_has(const struct cgroup_layout *layout, const char *controller);

struct cgroup;
/** Make the groups; existing ones are used. Controllers enabled down the v2 path. `layout` must
 * outlive it. */
int cgroup_make(const struct cgroup_layout *layout, const char *parent, const char *id,
                struct cgroup **ret_group, struct berth_error *err);
/** Open an existing one, for readers: `path` is PARENT/ID. NOT_FOUND. */
int cgroup_open(const struct cgroup_layout *layout, const char *path, struct cgroup **ret_group,
                struct berth_error *err);
void cgroup_close(struct cgroup *g);
const char *cgroup_path(const struct cgroup *g); /* PARENT/ID */
const struct cgroup_layout *cgroup_layout_of(const struct cgroup *g);
/** Limits; a controller that isn't there is NO_KERNEL and names the field ("resources.memory"). */
int cgroup_limit(struct cgroup *g, const struct plan_limits *limits, struct berth_error *err);
/** Device rules: BPF on v2, devices controller on v1. `privileged`: all. */
int cgroup_devices(struct cgroup *g, const struct plan_device *devices, size_t n, bool privileged,
                   struct berth_error *err);
/** OOM: the kernel stops the group instead of killing (v1 only; NO_KERNEL on v2). */
int cgroup_oom_disable(struct cgroup *g, struct berth_error *err);
/** Descriptor of ID/load (ID/sup) in v2 for CLONE_INTO_CGROUP; the group's own. -1 when no v2 is
 * mounted. */
int cgroup_v2_fd(struct cgroup *g);
int cgroup_sup_v2_fd(struct cgroup *g);
/** Whether a process must join v1 hierarchies by hand: hybrid and v1. */
bool cgroup_needs_join(const struct cgroup_layout *layout);
/** Move the caller, which has one thread, into the workload's group, or the supervisors', in every
 * v1 hierarchy. By way of `tasks`: cgroup.procs moves whole processes, for which the kernel waits
 * out a grace period (about 11 ms) and holds up everybody else's groups meanwhile. 0 or -errno. No
 * allocation. */
int cgroup_join_v1(const struct cgroup *g, bool sup);
/** Folders of the workload's group, for its view of /sys/fs/cgroup: NULL at the end of n.
 * `ret_name` "" is a pure v2. */
size_t cgroup_view_count(const struct cgroup *g);
/** Path on the host and the name below /sys/fs/cgroup of folder i ("memory", "cpu,cpuacct",
 * "unified"; "" on pure v2). */
int cgroup_view(const struct cgroup *g, size_t i, char *ret_path, size_t room,
                const char **ret_name);
int cgroup_freeze(struct cgroup *g, bool frozen, struct berth_error *err);
int cgroup_kill(
    struct cgroup *g); /* SIGKILL to everything below, frozen or not; once; 0 or -errno */
/** The same for a group that goes on to be used: since Linux 6.14 whoever is born into a v2 group
 * (CLONE_INTO_CGROUP) that cgroup.kill was once written to is killed at birth, because the kernel
 * compares with its parent's group. `freeze`: so that they can't fork meanwhile; the members stay
 * frozen until cgroup_freeze(false). Without it a fork bomb may win, but the kernel tells of the
 * group's end at once, where a thaw within 10 ms delays that. */
int cgroup_kill_members(struct cgroup *g, bool freeze);
int cgroup_populated(struct cgroup *g); /* 1, 0, or -errno */
/** Descriptor that polls (POLLPRI) when populated changes (v2 cgroup.events), or -1. The group's
 * own. */
int cgroup_events_fd(struct cgroup *g);
uint64_t cgroup_oom_kills(struct cgroup *g);
/** A descriptor that is readable when the memory limit may have killed somebody (v1: is about to); read it
 *  empty. The caller's; -errno, -ENOTSUP without the controller. */
int cgroup_oom_watch(struct cgroup *g);
uint64_t cgroup_memory_peak(struct cgroup *g);
/** Remove the groups of PARENT/ID, whatever the workload made below them, and PARENT when it is
 * berth's own and empty. A busy one is tried for at most wait_msec. Absent is 0. 0 or -errno. */
int cgroup_remove(const struct cgroup_layout *layout, const char *path, int wait_msec);
/** Move the caller to the root of every hierarchy: who is to remove a group must not sit in it. */
void cgroup_leave(const struct cgroup_layout *layout);
/** Descriptor of v2's root, yours, to be born into; -1 when no v2 is mounted. */
int cgroup_root_v2_fd(const struct cgroup_layout *layout);
/** Only what the workload was in: for its supervisor, which still sits beside it. */
int cgroup_remove_load(const struct cgroup_layout *layout, const char *path, int wait_msec);

struct cgroup_figures {
    uint64_t cpu_usec, user_usec, system_usec, throttled_usec;
    double cpu_limit;
    uint64_t memory, cache, limit, peak, swap, pids, pids_limit;
    uint64_t io_read_bytes, io_write_bytes, io_read_ops, io_write_ops;
    bool has_psi, has_io;
    double psi[5]; /* cpu some, memory some, memory full, io some, io full: avg10 */
};
/** One reading from kept-open files (opened at first use by this group). */
int cgroup_figures_read(struct cgroup *g, struct cgroup_figures *ret, struct berth_error *err);

#endif
