/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan as JSON. An engine wrote it, so what is wrong with it is damage; what is not there is zero.
 */
#include "model/plan.h"
#include "base/base.h"
#include "model/fields.h"

#include <string.h>

static const struct document document = {.what = "plan", .code = BERTH_CORRUPT, .machine = true};

#define SIZEOF(type, member) sizeof(((type *)0)->member)
#define ROW(type, kind_, member_) \
    .name = #member_, .kind = kind_, .offset = offsetof(type, member_), .size = SIZEOF(type, member_)
#define ARRAY_ROW(type, member_, fields_) \
    .name = #member_, .kind = FIELD_ARRAY, .offset = offsetof(type, member_), \
    .size = sizeof(*((type *)0)->member_), .count_offset = offsetof(type, n_##member_), \
    .fields = fields_

static const char *const mount_kinds[PLAN_MOUNT_COUNT + 1] = {
    [PLAN_MOUNT_BIND] = "bind",     [PLAN_MOUNT_VOLUME] = "volume", [PLAN_MOUNT_TMPFS] = "tmpfs",
    [PLAN_MOUNT_PROC] = "proc",     [PLAN_MOUNT_SYSFS] = "sysfs",   [PLAN_MOUNT_DEV] = "dev",
    [PLAN_MOUNT_DEVPTS] = "devpts", [PLAN_MOUNT_SHM] = "shm",       [PLAN_MOUNT_MQUEUE] = "mqueue",
    [PLAN_MOUNT_CGROUP] = "cgroup", [PLAN_MOUNT_OVERLAY] = "overlay",
};
static const char *const namespace_modes[] = {
    [PLAN_NS_PRIVATE] = "private", [PLAN_NS_HOST] = "host", [PLAN_NS_JOIN] = "join", NULL};
static const char *const restart_policies[] = {
    [PLAN_RESTART_NEVER] = "never", [PLAN_RESTART_ON_FAILURE] = "on-failure",
    [PLAN_RESTART_ALWAYS] = "always", [PLAN_RESTART_UNLESS_STOPPED] = "unless-stopped", NULL};
static const char *const probe_failures[] = {"none", "restart", "stop", NULL};

#define F(kind, member) {ROW(struct plan_mount, kind, member)}
static const struct field mount_fields[] = {
    {ROW(struct plan_mount, FIELD_ENUM, kind), .words = mount_kinds},
    F(FIELD_STRING, source), F(FIELD_STRING, target), F(FIELD_STRINGS, layers),
    F(FIELD_UINT, flags), F(FIELD_UINT, propagation), F(FIELD_STRING, data),
    F(FIELD_BOOL, fill), F(FIELD_BOOL, is_file), F(FIELD_BOOL, optional),
    {0},
};
#undef F
#define F(kind, member) {ROW(struct plan_device, kind, member)}
static const struct field device_fields[] = {
    F(FIELD_STRING, path), F(FIELD_CHAR, type), F(FIELD_UINT, major), F(FIELD_UINT, minor),
    F(FIELD_UINT, mode), F(FIELD_UINT, uid), F(FIELD_UINT, gid), F(FIELD_STRING, access),
    F(FIELD_BOOL, node),
    {0},
};
#undef F
#define F(kind, member) {ROW(struct plan_idmap, kind, member)}
static const struct field idmap_fields[] = {
    F(FIELD_UINT, inside), F(FIELD_UINT, outside), F(FIELD_UINT, count),
    {0},
};
#undef F
#define F(kind, member) {ROW(struct plan_rlimit, kind, member)}
static const struct field rlimit_fields[] = {
    F(FIELD_INT, resource), F(FIELD_UINT, soft), F(FIELD_UINT, hard),
    {0},
};
#undef F
#define F(kind, member) {ROW(struct plan_pair, kind, member)}
static const struct field pair_fields[] = {
    F(FIELD_STRING, name), F(FIELD_STRING, value),
    {0},
};
#undef F
#define F(kind, member) {ROW(struct plan_io, kind, member)}
static const struct field io_fields[] = {
    F(FIELD_UINT, major), F(FIELD_UINT, minor), F(FIELD_UINT, read_bps), F(FIELD_UINT, write_bps),
    F(FIELD_UINT, read_iops), F(FIELD_UINT, write_iops),
    {0},
};
#undef F
#define F(kind, member) {ROW(struct plan_probe, kind, member)}
static const struct field probe_fields[] = {
    F(FIELD_STRINGS, argv), F(FIELD_DURATION, interval_usec), F(FIELD_DURATION, timeout_usec),
    F(FIELD_DURATION, start_period_usec), F(FIELD_DURATION, start_interval_usec),
    F(FIELD_INT, retries),
    {ROW(struct plan_probe, FIELD_ENUM, on_failure), .words = probe_failures},
    {0},
};
#undef F
#define F(kind, member) {ROW(struct plan_socket, kind, member)}
static const struct field socket_fields[] = {
    F(FIELD_STRING, name), F(FIELD_STRING, address), F(FIELD_UINT, port), F(FIELD_STRING, path),
    F(FIELD_INT, type), F(FIELD_INT, backlog), F(FIELD_BOOL, on_demand), F(FIELD_UINT, mode),
    {0},
};
#undef F
#define F(kind, member) {ROW(struct plan_file, kind, member)}
static const struct field file_fields[] = {
    F(FIELD_STRING, name), F(FIELD_STRING, path), F(FIELD_UINT, size),
    {0},
};
#undef F
#define F(kind, member) {ROW(struct plan_port, kind, member)}
static const struct field port_fields[] = {
    F(FIELD_UINT, container), F(FIELD_UINT, host), F(FIELD_UINT, count), F(FIELD_CHARS, protocol),
    F(FIELD_STRING, host_address),
    {0},
};
#undef F
#define F(kind, member) {ROW(struct plan_link, kind, member)}
static const struct field link_fields[] = {
    F(FIELD_STRING, network), F(FIELD_STRING, bridge), F(FIELD_STRING, address),
    F(FIELD_STRING, address6), F(FIELD_STRING, gateway), F(FIELD_STRING, gateway6),
    F(FIELD_STRING, mac), F(FIELD_STRINGS, aliases), F(FIELD_UINT, mtu), F(FIELD_BOOL, internal),
    {0},
};
#undef F
#define F(kind, member) {ROW(struct plan_limits, kind, member)}
static const struct field limits_fields[] = {
    F(FIELD_INT, memory), F(FIELD_INT, swap), F(FIELD_INT, reservation),
    F(FIELD_INT, cpu_quota_usec), F(FIELD_INT, cpu_period_usec), F(FIELD_STRING, cpuset),
    F(FIELD_STRING, cpuset_mems), F(FIELD_UINT, cpu_weight), F(FIELD_INT, pids),
    F(FIELD_UINT, io_weight), {ARRAY_ROW(struct plan_limits, io, io_fields)},
    {0},
};
#undef F

/* members of the structs that have no name of their own, counted from the struct's beginning */
#define G(group, kind_, member_) \
    {.name = #member_, .kind = kind_, \
     .offset = offsetof(struct plan, group.member_) - offsetof(struct plan, group), \
     .size = SIZEOF(struct plan, group.member_)}
static const struct field root_fields[] = {
    G(root, FIELD_STRINGS, layers), G(root, FIELD_STRING, upper), G(root, FIELD_STRING, work),
    G(root, FIELD_BOOL, read_only), G(root, FIELD_BOOL, host),
    {0},
};
static const struct field log_fields[] = {
    G(log, FIELD_BOOL, none), G(log, FIELD_UINT, max_size_bytes), G(log, FIELD_INT, max_files),
    {0},
};
static const struct field restart_fields[] = {
    {.name = "policy", .kind = FIELD_ENUM, .offset = 0, .words = restart_policies},
    G(restart, FIELD_INT, max), G(restart, FIELD_DURATION, delay_usec),
    G(restart, FIELD_DURATION, cap_usec), G(restart, FIELD_DURATION, reset_usec),
    {0},
};
_Static_assert(offsetof(struct plan, restart.policy) == offsetof(struct plan, restart), "first");
static const struct field namespace_fields[] = {
    {.name = "mode", .kind = FIELD_ENUM, .offset = 0, .words = namespace_modes},
    {.name = "id", .kind = FIELD_STRING,
     .offset = offsetof(struct plan, namespaces[0].id) - offsetof(struct plan, namespaces[0])},
    {0},
};
#define NS(name_, which) \
    {.name = name_, .kind = FIELD_OBJECT, .fields = namespace_fields, \
     .offset = which * sizeof(((struct plan *)0)->namespaces[0])}
static const struct field namespaces_fields[] = {
    NS("mnt", PLAN_NS_MNT), NS("pid", PLAN_NS_PID), NS("net", PLAN_NS_NET),
    NS("ipc", PLAN_NS_IPC), NS("uts", PLAN_NS_UTS), NS("cgroup", PLAN_NS_CGROUP),
    NS("user", PLAN_NS_USER),
    {0},
};

#define F(kind, member) {ROW(struct plan, kind, member)}
#define OBJECT(member_, fields_) \
    {.name = #member_, .kind = FIELD_OBJECT, .offset = offsetof(struct plan, member_), .fields = fields_}
#define ARRAY(member_, fields_) {ARRAY_ROW(struct plan, member_, fields_)}
static const struct field plan_fields[] = {
    F(FIELD_UINT, version), F(FIELD_STRING, stamp), F(FIELD_STRING, id), F(FIELD_STRING, name),
    F(FIELD_STRING, runtime), F(FIELD_STRING, image),
    F(FIELD_STRINGS, argv), F(FIELD_STRINGS, env), F(FIELD_STRING, workdir), F(FIELD_STRING, user),
    F(FIELD_STRINGS, groups), F(FIELD_STRING, hostname), F(FIELD_STRING, domainname),
    F(FIELD_BOOL, tty), F(FIELD_BOOL, stdin_open), F(FIELD_BOOL, init),
    F(FIELD_STRING, init_program), F(FIELD_STRING, program), ARRAY(files, file_fields),
    F(FIELD_INT, stop_signal), F(FIELD_DURATION, stop_timeout_usec),
    OBJECT(root, root_fields),
    ARRAY(mounts, mount_fields),
    F(FIELD_STRINGS, masked_paths), F(FIELD_STRINGS, read_only_paths),
    ARRAY(devices, device_fields),
    OBJECT(namespaces, namespaces_fields),
    ARRAY(uid_map, idmap_fields), ARRAY(gid_map, idmap_fields),
    F(FIELD_STRING, cgroup_parent),
    OBJECT(limits, limits_fields),
    F(FIELD_BOOL, oom_kill_disable), F(FIELD_BOOL, privileged), F(FIELD_BOOL, no_new_privileges),
    F(FIELD_UINT, caps_bounding), F(FIELD_UINT, caps_effective),
    F(FIELD_STRING, seccomp), F(FIELD_STRING, apparmor), F(FIELD_STRING, selinux),
    ARRAY(rlimits, rlimit_fields),
    {ROW(struct plan, FIELD_INT, oom_score_adj), .has_offset = HAS_OFFSET(struct plan, has_oom_score_adj)},
    ARRAY(sysctls, pair_fields),
    OBJECT(log, log_fields), OBJECT(restart, restart_fields),
    OBJECT(health, probe_fields), OBJECT(readiness, probe_fields), OBJECT(liveness, probe_fields),
    ARRAY(sockets, socket_fields), F(FIELD_STRING, tag), ARRAY(links, link_fields),
    ARRAY(ports, port_fields), F(FIELD_STRINGS, dns),
    F(FIELD_BOOL, walled), F(FIELD_STRINGS, reach), F(FIELD_BOOL, ready_told), F(FIELD_BOOL, begin_running),
    F(FIELD_STRINGS, at_end),
    {0},
};
#undef F

/* What the supervisor relies on without looking. */
static int check_whole(const struct plan *plan, struct berth_error *err)
{
    const char *missing = !plan->id ? "id" : !plan->name ? "name" : !plan->runtime ? "runtime" : NULL;
    if (!missing && strings_count(plan->argv) == 0)
        missing = "argv";
    if (missing)
        return fail(err, BERTH_CORRUPT, missing, "plan: %s is missing", missing);
    for (size_t i = 0; i < plan->n_mounts; i++)
        if (!plan->mounts[i].target)
            return fail(err, BERTH_CORRUPT, "mounts", "plan: mounts[%zu] has no target", i);
    for (size_t i = 0; i < plan->n_files; i++)
        if (!plan->files[i].name || (!plan->files[i].path && !plan->files[i].size))
            return fail(err, BERTH_CORRUPT, "files", "plan: files[%zu] has no path", i);
    return 0;
}

static int check_version(const json_t *root, struct berth_error *err)
{
    const json_t *version = json_object_get(root, "version");
    if (!json_is_integer(version) || json_integer_value(version) < 1)
        return fail(err, BERTH_CORRUPT, "version", "plan: version is missing");
    if (json_integer_value(version) > PLAN_VERSION)
        return fail(err, BERTH_CORRUPT, "version",
                    "plan: format %lld was written by a newer berth (this one reads up to %d)",
                    (long long)json_integer_value(version), PLAN_VERSION);
    return 0;
}

int plan_parse(const char *json, size_t length, struct plan **ret_plan, struct berth_error *err)
{
    const struct where top = {.name = "", .document = &document};
    autojson json_t *root = NULL;
    autoclean(cleanup_plan) struct plan *plan = NULL;
    int r = document_load(&document, json, length, PLAN_MAX_BYTES, &root, err);
    if (r == 0)
        r = check_version(root, err);
    if (r < 0)
        return r;
    plan = calloc(1, sizeof(*plan));
    if (!plan)
        return fail_memory(err);
    r = fields_parse(plan_fields, &top, root, plan, err);
    if (r == 0)
        r = check_whole(plan, err);
    if (r == 0)
        *ret_plan = TAKE(plan);
    return r;
}

char *plan_print(const struct plan *plan)
{
    struct text t = {0};
    text_add(&t, "{");
    fields_print(plan_fields, &document, plan, &t);
    text_add(&t, "}\n");
    return text_take(&t);
}

void plan_free(struct plan *plan)
{
    if (!plan)
        return;
    fields_free(plan_fields, plan);
    free(plan);
}
