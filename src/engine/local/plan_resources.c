/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resources: what the spec allows, in the kernel's own units.
 */
#include "local/inside.h"
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PERIOD_USEC 100000
#define MEMORY_MIN (512u << 10)

static int plan_memory(struct compile *k, struct berth_error *err)
{
    struct plan_limits *l = &k->plan->limits;
    const struct spec *s = k->spec;
    if (s->resources.has_memory && s->resources.memory < MEMORY_MIN)
        return fail(err, BERTH_INVALID, "resources.memory",
                    "resources.memory: %llu bytes are too few for any program (at least 512Ki)",
                    (unsigned long long)s->resources.memory);
    if (s->resources.has_swap && !s->resources.has_memory)
        return fail(err, BERTH_INVALID, "resources.swap",
                    "resources.swap: needs resources.memory beside it");
    if (s->resources.has_swap && s->resources.swap < s->resources.memory)
        return fail(err, BERTH_INVALID, "resources.swap",
                    "resources.swap: is memory and swap together, so at least resources.memory");
    if (s->resources.has_memory)
        l->memory = (int64_t)MIN(s->resources.memory, (uint64_t)INT64_MAX);
    if (s->resources.has_swap)
        l->swap = s->resources.swap >= INT64_MAX ? -1 : (int64_t)s->resources.swap;
    else if (l->memory > 0 && l->memory <= INT64_MAX / 2)
        l->swap = l->memory * 2;
    if (s->resources.has_reservation)
        l->reservation = (int64_t)MIN(s->resources.reservation, (uint64_t)INT64_MAX);
    return 0;
}

static int plan_cpu(struct compile *k, struct berth_error *err)
{
    struct plan_limits *l = &k->plan->limits;
    const struct spec *s = k->spec;
    l->cpu_period_usec = PERIOD_USEC;
    if (s->resources.cpu > 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        if (cores > 0 && s->resources.cpu > (double)cores)
            return fail(err, BERTH_INVALID, "resources.cpu",
                        "resources.cpu: %g cores, and this machine has %ld", s->resources.cpu, cores);
        l->cpu_quota_usec = (int64_t)(s->resources.cpu * PERIOD_USEC + 0.5);
        if (l->cpu_quota_usec < 1000)
            return fail(err, BERTH_INVALID, "resources.cpu", "resources.cpu: less than 0.01 cores");
    }
    l->cpu_weight = s->resources.cpu_weight;
    if (!l->cpu_weight && s->resources.cpu_shares)
        l->cpu_weight = 1 + (MAX(s->resources.cpu_shares, 2u) - 2) * UINT64_C(9999) / 262142;
    if (s->resources.cpuset && !(l->cpuset = strdup(s->resources.cpuset)))
        return fail_memory(err);
    if (s->resources.cpuset_mems && !(l->cpuset_mems = strdup(s->resources.cpuset_mems)))
        return fail_memory(err);
    return 0;
}

static int plan_io(struct compile *k, struct berth_error *err)
{
    struct plan_limits *l = &k->plan->limits;
    size_t n = k->spec->resources.n_io;
    l->io_weight = k->spec->resources.io_weight;
    l->io = n ? calloc(n, sizeof(*l->io)) : NULL;
    if (n && !l->io)
        return fail_memory(err);
    for (size_t i = 0; i < n; i++) {
        const struct spec_io *io = &k->spec->resources.io[i];
        struct stat st;
        if (stat(io->device, &st) < 0)
            return fail_os(err, errno, io->device, "resources.io[%zu]: %s", i, io->device);
        if (!S_ISBLK(st.st_mode))
            return fail(err, BERTH_INVALID, io->device, "resources.io[%zu]: %s is not a block device",
                        i, io->device);
        l->io[l->n_io++] = (struct plan_io){major(st.st_rdev), minor(st.st_rdev), io->read_bps,
                                            io->write_bps, io->read_iops, io->write_iops};
    }
    return 0;
}

static const struct { const char *name; int resource; } limits_by_name[] = {
    {"core", RLIMIT_CORE},       {"cpu", RLIMIT_CPU},           {"data", RLIMIT_DATA},
    {"fsize", RLIMIT_FSIZE},     {"locks", RLIMIT_LOCKS},       {"memlock", RLIMIT_MEMLOCK},
    {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},       {"nofile", RLIMIT_NOFILE},
    {"nproc", RLIMIT_NPROC},     {"rss", RLIMIT_RSS},           {"rtprio", RLIMIT_RTPRIO},
    {"rttime", RLIMIT_RTTIME},   {"sigpending", RLIMIT_SIGPENDING}, {"stack", RLIMIT_STACK},
    {"as", RLIMIT_AS},
};

static int plan_ulimits(struct compile *k, struct berth_error *err)
{
    size_t n = k->spec->resources.n_ulimits;
    k->plan->rlimits = n ? calloc(n, sizeof(*k->plan->rlimits)) : NULL;
    if (n && !k->plan->rlimits)
        return fail_memory(err);
    for (size_t i = 0; i < n; i++) {
        const struct spec_ulimit *u = &k->spec->resources.ulimits[i];
        size_t row = 0;
        while (row < ARRAY_SIZE(limits_by_name) && strcmp(limits_by_name[row].name, u->name))
            row++;
        if (row == ARRAY_SIZE(limits_by_name))
            return fail(err, BERTH_INVALID, "resources.ulimits",
                        "resources.ulimits: \"%.40s\" is not a limit", u->name);
        if (u->soft > u->hard)
            return fail(err, BERTH_INVALID, "resources.ulimits",
                        "resources.ulimits.%s: the soft limit is above the hard one", u->name);
        k->plan->rlimits[k->plan->n_rlimits++] =
            (struct plan_rlimit){limits_by_name[row].resource, u->soft, u->hard};
    }
    return 0;
}

int plan_resources(struct compile *k, struct berth_error *err)
{
    struct plan_limits *l = &k->plan->limits;
    l->memory = l->swap = l->reservation = l->cpu_quota_usec = l->pids = -1;
    if (k->spec->resources.has_pids)
        l->pids = k->spec->resources.pids > 0 ? k->spec->resources.pids : -1;
    k->plan->oom_kill_disable = k->spec->resources.oom_kill_disable;
    k->plan->has_oom_score_adj = k->spec->has_oom_score_adj;
    k->plan->oom_score_adj = k->spec->oom_score_adj;
    int r = plan_memory(k, err);
    if (r == 0)
        r = plan_cpu(k, err);
    if (r == 0)
        r = plan_io(k, err);
    return r < 0 ? r : plan_ulimits(k, err);
}
