/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroups: v2, v1 and hybrid, found by looking; one workload's group in each hierarchy.
 *
 * Paths are PARENT/ID/{sup,load} in every hierarchy that carries a controller we use, and in v2.
 */
#ifndef LINUX_CGROUP_H
#define LINUX_CGROUP_H

#include "base/error.h"
#include "model/plan.h"
#include <stdbool.h>
#include <stdint.h>

enum cgroup_mode { CGROUP_V2, CGROUP_HYBRID, CGROUP_V1 };
struct cgroup_layout;  /* where each controller is mounted; read once from /proc/self/mountinfo */
int cgroup_layout_read(struct cgroup_layout **ret_layout, struct berth_error *err);
void cgroup_layout_free(struct cgroup_layout *layout);
int cgroup_layout_mode(const struct cgroup_layout *layout);
const char *cgroup_mode_name(int mode);
/** Whether a controller ("memory", "cpu", "pids", "io"...) can be used. */
bool cgroup_has(const struct cgroup_layout *layout, const char *controller);

struct cgroup;
/** Make PARENT/ID/load and /sup everywhere; existing ones are used. Controllers enabled down the v2 path. */
int cgroup_make(const struct cgroup_layout *layout, const char *parent, const char *id, struct cgroup **ret_group, struct berth_error *err);
/** Open an existing one, for readers. NOT_FOUND. */
int cgroup_open(const struct cgroup_layout *layout, const char *path, struct cgroup **ret_group, struct berth_error *err);
void cgroup_close(struct cgroup *g);
/** Limits; a controller that isn't there is NO_KERNEL and names the field ("resources.memory"). */
int cgroup_limit(struct cgroup *g, const struct plan_limits *limits, struct berth_error *err);
/** Device rules: BPF on v2, devices controller on v1. `privileged`: all. */
int cgroup_devices(struct cgroup *g, const struct plan_device *devices, size_t n, bool privileged, struct berth_error *err);
/** Descriptor of ID/load in v2 for CLONE_INTO_CGROUP, -1 when controllers are v1's only. */
int cgroup_v2_fd(const struct cgroup *g);
int cgroup_sup_v2_fd(const struct cgroup *g);
/** Move the calling process into load (or sup) in every v1 hierarchy (and v2). Async-signal-safe. */
int cgroup_join_self(const struct cgroup *g, bool sup);
int cgroup_freeze(struct cgroup *g, bool frozen, struct berth_error *err);
int cgroup_kill(struct cgroup *g);           /* once; 0 or -errno */
int cgroup_populated(const struct cgroup *g);/* 1, 0 */
/** Descriptor that polls (POLLPRI) when populated changes (v2 cgroup.events), or -1. */
int cgroup_events_fd(const struct cgroup *g);
uint64_t cgroup_oom_kills(const struct cgroup *g);
uint64_t cgroup_memory_peak(const struct cgroup *g);
/** Remove the groups; a busy one is tried for at most wait_msec. 0 or -errno. */
int cgroup_remove(const struct cgroup_layout *layout, const char *path, int wait_msec);

struct cgroup_figures {
    uint64_t cpu_usec, user_usec, system_usec, throttled_usec; double cpu_limit;
    uint64_t memory, cache, limit, peak, swap, pids, pids_limit;
    uint64_t io_read_bytes, io_write_bytes, io_read_ops, io_write_ops;
    bool has_psi, has_io; double psi[5];
};
/** One reading from kept-open files (opened at first use by this group). */
int cgroup_figures_read(struct cgroup *g, struct cgroup_figures *ret, struct berth_error *err);

#endif
