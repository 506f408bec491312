/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Limits of a group: one table of fields, each with its controller and its v1 and v2 file.
 *
 * Each controller is driven in the hierarchy where it lives, so hybrid needs no case of its own.
 */
#include "linux/cgroup_internal.h"

#include "base/base.h"
#include "base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What a knob writes: false when the plan leaves it alone. */
typedef bool knob_value(const struct plan_limits *l, bool v2, char *ret, size_t room);

static bool bytes_or_max(int64_t bytes, bool v2, char *ret, size_t room)
{
    if (bytes < 0)
        snprintf(ret, room, "%s", v2 ? "max" : "-1");
    else
        snprintf(ret, room, "%" PRId64, bytes);
    return true;
}

static bool memory_value(const struct plan_limits *l, bool v2, char *ret, size_t room)
{
    return bytes_or_max(l->memory, v2, ret, room);
}

/* The plan counts memory and swap together, as v1 does; v2 counts swap alone. */
static bool swap_value(const struct plan_limits *l, bool v2, char *ret, size_t room)
{
    int64_t swap = l->swap;
    if (v2 && swap >= 0)
        swap = l->memory >= 0 && swap > l->memory ? swap - l->memory : 0;
    return bytes_or_max(swap, v2, ret, room);
}

static bool reservation_value(const struct plan_limits *l, bool v2, char *ret, size_t room)
{
    if (l->reservation < 0 && v2)
        snprintf(ret, room, "0");
    else
        bytes_or_max(l->reservation, v2, ret, room);
    return true;
}

static bool quota_value(const struct plan_limits *l, bool v2, char *ret, size_t room)
{
    int64_t period = l->cpu_period_usec > 0 ? l->cpu_period_usec : 100000;
    if (!v2)
        snprintf(ret, room, "%" PRId64, l->cpu_quota_usec > 0 ? l->cpu_quota_usec : -1);
    else if (l->cpu_quota_usec > 0)
        snprintf(ret, room, "%" PRId64 " %" PRId64, l->cpu_quota_usec, period);
    else
        snprintf(ret, room, "max %" PRId64, period);
    return true;
}

static bool period_value(const struct plan_limits *l, bool v2, char *ret, size_t room)
{
    if (v2 || l->cpu_period_usec <= 0)
        return false;
    snprintf(ret, room, "%" PRId64, l->cpu_period_usec);
    return true;
}

static bool weight_value(const struct plan_limits *l, bool v2, char *ret, size_t room)
{
    uint64_t weight = l->cpu_weight ? l->cpu_weight : 100;
    /* 1..10000 onto v1's 2..262144, 100 onto 1024 or thereabouts: the kernel's own defaults meet.
     */
    uint64_t shares = weight == 100 ? 1024 : 2 + (weight - 1) * 262142 / 9999;
    snprintf(ret, room, "%" PRIu64, v2 ? weight : shares);
    return true;
}

static bool cpuset_value(const struct plan_limits *l, bool v2, char *ret, size_t room)
{
    snprintf(ret, room, "%s", l->cpuset ? l->cpuset : "");
    return l->cpuset != NULL;
}

static bool mems_value(const struct plan_limits *l, bool v2, char *ret, size_t room)
{
    snprintf(ret, room, "%s", l->cpuset_mems ? l->cpuset_mems : "");
    return l->cpuset_mems != NULL;
}

static bool pids_value(const struct plan_limits *l, bool v2, char *ret, size_t room)
{
    if (l->pids < 0)
        snprintf(ret, room, "max");
    else
        snprintf(ret, room, "%" PRId64, l->pids);
    return true;
}

static bool io_weight_value(const struct plan_limits *l, bool v2, char *ret, size_t room)
{
    uint64_t weight = l->io_weight;
    if (v2)
        snprintf(ret, room, "default %" PRIu64, weight);
    else
        snprintf(ret, room, "%" PRIu64, 10 + (weight - 1) * 990 / 9999);
    return weight != 0;
}

struct knob {
    const char *field, *controller, *v1_file, *v2_file;
    bool (*asked)(const struct plan_limits
                      *); /* whether the plan really wants it: absence is then an error */
    knob_value *value;
};

static bool asks_memory(const struct plan_limits *l)
{
    return l->memory >= 0;
}
static bool asks_swap(const struct plan_limits *l)
{
    return l->swap >= 0;
}
static bool asks_reservation(const struct plan_limits *l)
{
    return l->reservation >= 0;
}
static bool asks_quota(const struct plan_limits *l)
{
    return l->cpu_quota_usec > 0;
}
static bool asks_period(const struct plan_limits *l)
{
    return l->cpu_quota_usec > 0;
}
static bool asks_weight(const struct plan_limits *l)
{
    return l->cpu_weight != 0;
}
static bool asks_cpuset(const struct plan_limits *l)
{
    return l->cpuset != NULL;
}
static bool asks_mems(const struct plan_limits *l)
{
    return l->cpuset_mems != NULL;
}
static bool asks_pids(const struct plan_limits *l)
{
    return l->pids >= 0;
}
static bool asks_io_weight(const struct plan_limits *l)
{
    return l->io_weight != 0;
}

static const struct knob knobs[] = {
    {"resources.memory", "memory", "memory.limit_in_bytes", "memory.max", asks_memory,
     memory_value},
    {"resources.swap", "memory", "memory.memsw.limit_in_bytes", "memory.swap.max", asks_swap,
     swap_value},
    {"resources.memory_reservation", "memory", "memory.soft_limit_in_bytes", "memory.low",
     asks_reservation, reservation_value},
    {"resources.cpu", "cpu", "cpu.cfs_period_us", NULL, asks_period, period_value},
    {"resources.cpu", "cpu", "cpu.cfs_quota_us", "cpu.max", asks_quota, quota_value},
    {"resources.cpu_weight", "cpu", "cpu.shares", "cpu.weight", asks_weight, weight_value},
    {"resources.cpuset", "cpuset", "cpuset.cpus", "cpuset.cpus", asks_cpuset, cpuset_value},
    {"resources.cpuset_mems", "cpuset", "cpuset.mems", "cpuset.mems", asks_mems, mems_value},
    {"resources.pids", "pids", "pids.max", "pids.max", asks_pids, pids_value},
    {"resources.io_weight", "io", NULL, "io.weight", asks_io_weight, io_weight_value},
    {"resources.io_weight", "blkio", "blkio.bfq.weight", NULL, asks_io_weight, io_weight_value},
};

static int no_controller(const struct knob *k, struct berth_error *err)
{
    return fail(err, BERTH_NO_KERNEL, k->field,
                "%s: the kernel's %s controller is not available here", k->field, k->controller);
}

/* Without swap on the machine a limit of it holds by itself, whether or not the kernel counts it.
 */
static bool machine_has_swap(void)
{
    char swaps[512];
    return control_read("/proc/swaps", swaps, sizeof(swaps)) > 0 && strchr(swaps, '\n') &&
           strchr(swaps, '\n')[1] != 0;
}

static int knob_apply(const struct cgroup *g, const struct knob *k, const struct plan_limits *l,
                      struct berth_error *err)
{
    char value[256], path[CGROUP_PATH_MAX];
    const struct hierarchy *h = cgroup_hierarchy(g->layout, k->controller);
    const char *file = !h ? NULL : h->v2 ? k->v2_file : k->v1_file;
    bool asked = k->asked(l);
    if (!file) {
        /* io on v2, blkio on v1: one of the two rows is another hierarchy's. */
        bool other = strcmp(k->controller, "io") == 0      ? cgroup_has(g->layout, "blkio")
                     : strcmp(k->controller, "blkio") == 0 ? cgroup_has(g->layout, "io")
                                                           : h != NULL;
        return asked && !other ? no_controller(k, err) : 0;
    }
    if (!k->value(l, h->v2, value, sizeof(value)))
        return 0;
    int r = cgroup_file_path(g, h, file, path);
    if (r == 0)
        r = control_write(path, value);
    if (r == 0 || !asked)
        return 0;
    if (r == -ENOENT || r == -EOPNOTSUPP) {
        if (k->value == swap_value && !machine_has_swap())
            return 0;
        return fail(err, BERTH_NO_KERNEL, k->field, "%s: this kernel has no %s", k->field, file);
    }
    if (r == -EINVAL || r == -ERANGE || r == -ENOSPC)
        return fail(err, BERTH_INVALID, k->field, "%s: the kernel refuses the value %s", k->field,
                    value);
    if (r == -EBUSY)
        return fail(err, BERTH_INVALID, k->field, "%s: more than %s is in use", k->field, value);
    return fail_os(err, r, k->field, "%s: write %s to %s", k->field, value, path);
}

/* On v1 memory <= memory + swap must hold after each single write: which goes first depends on
 * where both stand, so a refused pair is tried the other way round. */
static int memory_pair(const struct cgroup *g, const struct plan_limits *l, struct berth_error *err)
{
    if (knob_apply(g, &knobs[0], l, NULL) == 0 && knob_apply(g, &knobs[1], l, NULL) == 0)
        return 0;
    (void)knob_apply(g, &knobs[1], l, NULL);
    int r = knob_apply(g, &knobs[0], l, err);
    return r < 0 ? r : knob_apply(g, &knobs[1], l, err);
}

static const struct {
    const char *v1_file, *v2_key;
    size_t offset;
} io_fields[] = {
    {"blkio.throttle.read_bps_device", "rbps", offsetof(struct plan_io, read_bps)},
    {"blkio.throttle.write_bps_device", "wbps", offsetof(struct plan_io, write_bps)},
    {"blkio.throttle.read_iops_device", "riops", offsetof(struct plan_io, read_iops)},
    {"blkio.throttle.write_iops_device", "wiops", offsetof(struct plan_io, write_iops)},
};

static int io_apply(const struct cgroup *g, const struct plan_io *io, struct berth_error *err)
{
    const struct hierarchy *h = cgroup_hierarchy(g->layout, "io");
    if (!h)
        h = cgroup_hierarchy(g->layout, "blkio");
    if (!h)
        return fail(err, BERTH_NO_KERNEL, "resources.io",
                    "resources.io: the kernel's io controller is not available here");
    for (size_t i = 0; i < ARRAY_SIZE(io_fields); i++) {
        uint64_t n = *(const uint64_t *)((const char *)io + io_fields[i].offset);
        char value[96];
        if (n == 0)
            continue;
        if (h->v2)
            snprintf(value, sizeof(value), "%u:%u %s=%" PRIu64, io->major, io->minor,
                     io_fields[i].v2_key, n);
        else
            snprintf(value, sizeof(value), "%u:%u %" PRIu64, io->major, io->minor, n);
        int r = cgroup_set(g, h, h->v2 ? "io.max" : io_fields[i].v1_file, value);
        if (r == -ENODEV || r == -ENXIO)
            return fail(err, BERTH_INVALID, "resources.io", "resources.io: no block device %u:%u",
                        io->major, io->minor);
        if (r < 0)
            return fail_os(err, r, "resources.io", "resources.io: limit device %u:%u", io->major,
                           io->minor);
    }
    return 0;
}

int cgroup_limit(struct cgroup *g, const struct plan_limits *limits, struct berth_error *err)
{
    /* All knobs are written, also those the plan leaves alone: a limit that an update took out is
     * lifted. */
    int r = memory_pair(g, limits, err);
    for (size_t i = 2; r == 0 && i < ARRAY_SIZE(knobs); i++)
        r = knob_apply(g, &knobs[i], limits, err);
    for (size_t i = 0; r == 0 && i < limits->n_io; i++)
        r = io_apply(g, &limits->io[i], err);
    return r;
}

int cgroup_oom_disable(struct cgroup *g, struct berth_error *err)
{
    const struct hierarchy *h = cgroup_hierarchy(g->layout, "memory");
    if (!h || h->v2)
        return fail(
            err, BERTH_NO_KERNEL, "oom_kill_disable",
            "oom_kill_disable: control groups v2 always kill; raise resources.memory instead");
    int r = cgroup_set(g, h, "memory.oom_control", "1");
    return r < 0 ? fail_os(err, r, "oom_kill_disable", "oom_kill_disable: write memory.oom_control")
                 : 0;
}
