/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h: what the machine is like, what it holds, what runs inside a workload.
 */
#include "local/inside.h"
#include "base/file.h"
#include "linux/net_integrate.h"
#include "linux/net_link.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

static int dump(json_t *json, char **ret, struct berth_error *err)
{
    *ret = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return *ret ? 0 : fail_memory(err);
}

/* ---- info */

static json_t *controllers(const struct cgroup_layout *layout)
{
    static const char *const names[] = {"cpu", "cpuset", "memory", "pids", "io", "devices", "freezer"};
    json_t *list = json_array();
    for (size_t i = 0; layout && i < ARRAY_SIZE(names); i++)
        if (cgroup_has(layout, names[i]))
            json_array_append_new(list, json_string(names[i]));
    return list;
}

static json_t *count_states(struct local *c, struct store *store)
{
    autostrings char **ids = NULL;
    json_t *counts = json_object();
    if (!store || store_list(store, &ids, NULL) < 0)
        return counts;
    for (size_t i = 0; ids && ids[i]; i++) {
        struct status s;
        bool alive;
        autoworkload w = NULL;
        if (local_workload(store, ids[i], &w, NULL) < 0 ||
            settle_status(c, w, &s, &alive, NULL) < 0)
            continue;
        const char *state = berth_state_name(s.state);
        json_int_t n = json_integer_value(json_object_get(counts, state));
        json_object_set_new(counts, state, json_integer(n + 1));
    }
    return counts;
}

/** Lines of a small file of RUN, the first `skip` left out. */
static json_t *run_lines(const struct store *store, const char *name, size_t skip)
{
    autofree char *text = NULL;
    json_t *lines = json_array();
    if (!store || file_read(store_run_fd(store), name, 65536, &text, NULL) < 0)
        return lines;
    char *rest = text, *line;
    for (size_t i = 0; (line = strsep(&rest, "\n")); i++)
        if (*line && i >= skip)
            json_array_append_new(lines, json_string(line));
    return lines;
}

/** What the host forwards, what a start of ours turned on for it, what it opened in other firewalls. */
static json_t *forwarding(const struct store *store, const struct settings *settings)
{
    return json_pack("{s:b,s:b,s:o,s:b,s:o}", "ip_forward", net_forwarding(AF_INET) == 1, "ipv6_forward",
                     net_forwarding(AF_INET6) == 1, "turned_on", run_lines(store, "turned-on", 0), "firewall_integrate",
                     settings && settings->firewall.integrate, "firewall_opened", run_lines(store, NET_INTEGRATE_FILE, 1));
}

int berth_settings(struct berth_runtime *runtime, char **ret_json, struct berth_error *err)
{
    struct local *c;
    int r = local_self(runtime, &c, err);
    return r < 0 ? r : settings_text(c, ret_json, err);
}

int berth_info(struct berth_runtime *runtime, char **ret_json, struct berth_error *err)
{
    struct local *c;
    struct store *store = NULL;
    autoclean(cleanup_settings) struct settings *settings = NULL;
    const struct cgroup_layout *layout = NULL;
    struct utsname machine;
    struct sysinfo memory;
    int r = local_self(runtime, &c, err);
    if (r < 0)
        return r;
    r = local_store(c, false, &store, err);
    if (r < 0 && r != BERTH_NOT_FOUND)
        return r;
    local_layout(c, &layout, NULL);
    (void)settings_read(c, &settings, NULL); /* what is wrong with them, others say */
    uname(&machine);
    sysinfo(&memory);
    json_t *info = json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:i,s:I,s:s,s:s,s:s,s:s,s:o,s:o}", "version", BERTH_VERSION, "kernel",
        machine.release, "architecture", machine.machine, "hostname", machine.nodename, "runtime",
        "container", "cpus", (int)sysconf(_SC_NPROCESSORS_ONLN), "memory_bytes",
        (json_int_t)((uint64_t)memory.totalram * memory.mem_unit), "root",
        store ? store_root(store) : c->root, "run", store ? store_run(store) : c->run, "programs",
        c->programs, "cgroup_mode", layout ? cgroup_mode_name(cgroup_layout_mode(layout)) : "none",
        "cgroup_controllers", controllers(layout), "workloads", count_states(c, store));
    if (info && store)
        json_object_set_new(info, "store_format", json_integer(STORE_FORMAT));
    json_object_set_new(info, "network", forwarding(store, settings));
    if (info && store)
        json_object_set_new(info, "cgroup_parent", settings && settings->cgroup_parent ? json_string(settings->cgroup_parent)
                                                       : json_sprintf("/berth-%s", store_tag(store)));
    return dump(info, ret_json, err);
}

/* ---- df */

static json_int_t size_of(int dir_fd, const char *name)
{
    uint64_t bytes = 0;
    tree_size(dir_fd, name, &bytes);
    return (json_int_t)bytes;
}

/** One row of df: how many, how many bytes, how many of these nothing needs. */
struct row { json_int_t count, bytes, spare; };

static void put_row(json_t *usage, const char *kind, const struct row *row)
{
    static const struct { const char *suffix; size_t offset; } columns[] = {
        {"count", offsetof(struct row, count)}, {"bytes", offsetof(struct row, bytes)},
        {"reclaimable_bytes", offsetof(struct row, spare)}};
    for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
        autofree char *key = format_text("%s_%s", kind, columns[i].suffix);
        const json_int_t *value = (const void *)((const char *)row + columns[i].offset);
        if (key)
            json_object_set_new(usage, key, json_integer(*value));
    }
}

/** What workloads wrote, and their logs; an ended one's is spare. */
static void workloads_rows(struct local *c, struct store *store, struct row *written, struct row *logs)
{
    autostrings char **ids = NULL;
    if (store_list(store, &ids, NULL) < 0)
        return;
    for (size_t i = 0; ids && ids[i]; i++) {
        struct status s;
        bool alive;
        autoworkload w = NULL;
        autofree char *log = format_text("workloads/%s/log", ids[i]);
        autofree char *upper = format_text("workloads/%s/fs", ids[i]);
        if (!log || !upper || local_workload(store, ids[i], &w, NULL) < 0 ||
            settle_status(c, w, &s, &alive, NULL) < 0)
            continue;
        json_int_t log_bytes = size_of(store_root_fd(store), log);
        json_int_t upper_bytes = size_of(store_root_fd(store), upper);
        bool spare = has_ended(&s, alive);
        written->count++;
        written->bytes += upper_bytes;
        written->spare += spare ? upper_bytes : 0;
        logs->count += log_bytes > 0;
        logs->bytes += log_bytes;
        logs->spare += spare ? log_bytes : 0;
    }
}

static void volumes_row(struct store *store, struct row *row)
{
    autostrings char **names = NULL;
    if (volume_list(store, &names, NULL) < 0)
        return;
    for (size_t i = 0; names && names[i]; i++) {
        autostrings char **users = NULL;
        autofree char *place = format_text("volumes/%s", names[i]);
        bool spare = volume_users(store, names[i], &users, NULL) == 0 && !strings_count(users);
        row->count++;
        row->spare += place && spare ? size_of(store_root_fd(store), place) : 0;
    }
}

static void images_row(struct store *store, struct row *row)
{
    struct image **images = NULL;
    size_t n = 0;
    uint64_t spare = 0;
    if (image_list(store, NULL, &images, &n, NULL) < 0)
        return;
    row->count = (json_int_t)n;
    for (size_t i = 0; i < n; i++)
        image_free(images[i]);
    free(images);
    if (image_spare(store, &spare, NULL) == 0)
        row->spare = (json_int_t)spare;
}

int berth_disk_usage(struct berth_runtime *runtime, char **ret_json, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    struct statvfs disk;
    struct row images = {0}, written = {0}, volumes = {0}, logs = {0};
    int r = local_self(runtime, &c, err);
    if (r == 0)
        r = local_store(c, true, &store, err);
    if (r < 0)
        return r;
    json_t *usage = json_object();
    images.bytes = size_of(store_root_fd(store), "images");
    volumes.bytes = size_of(store_root_fd(store), "volumes");
    images_row(store, &images);
    volumes_row(store, &volumes);
    workloads_rows(c, store, &written, &logs);
    put_row(usage, "images", &images);
    put_row(usage, "workloads", &written);
    put_row(usage, "volumes", &volumes);
    put_row(usage, "logs", &logs);
    static const char *const others[] = {"cache", "trash", "events"};
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        autofree char *key = format_text("%s_bytes", others[i]);
        if (key)
            json_object_set_new(usage, key, json_integer(size_of(store_root_fd(store), others[i])));
    }
    if (fstatvfs(store_root_fd(store), &disk) == 0) {
        json_object_set_new(usage, "disk_free_bytes",
                            json_integer((json_int_t)(disk.f_bavail * disk.f_frsize)));
        json_object_set_new(usage, "disk_bytes",
                            json_integer((json_int_t)(disk.f_blocks * disk.f_frsize)));
    }
    return dump(usage, ret_json, err);
}

/* ---- top */

static char *read_proc(int proc_fd, const char *pid, const char *name, size_t *ret_size)
{
    char path[64];
    char *text = NULL;
    snprintf(path, sizeof(path), "%.16s/%s", pid, name);
    return file_read(proc_fd, path, 1 << 16, &text, ret_size) < 0 ? NULL : text;
}

/** In any hierarchy: PARENT/ID/load, or below it. */
static bool in_group(int proc_fd, const char *pid, const char *group)
{
    size_t size;
    autofree char *text = read_proc(proc_fd, pid, "cgroup", &size);
    const char *at = text ? strstr(text, group) : NULL;
    return at && (at[strlen(group)] == '\n' || at[strlen(group)] == '/' || !at[strlen(group)]);
}

static json_t *command_of(int proc_fd, const char *pid, const char *comm)
{
    size_t size = 0;
    autofree char *text = read_proc(proc_fd, pid, "cmdline", &size);
    for (size_t i = 0; text && i + 1 < size; i++)
        if (!text[i])
            text[i] = ' ';
    json_t *command = text && *text ? json_string(text) : NULL;
    return command ? command : json_sprintf("[%s]", utf8_valid(comm, strlen(comm)) ? comm : "?");
}

static json_int_t user_of(int proc_fd, const char *pid)
{
    size_t size;
    autofree char *text = read_proc(proc_fd, pid, "status", &size);
    const char *line = text ? strstr(text, "\nUid:\t") : NULL;
    return line ? strtoll(line + 6, NULL, 10) : 0;
}

static json_t *process(int proc_fd, const char *pid)
{
    size_t size;
    char comm[64] = "";
    autofree char *text = read_proc(proc_fd, pid, "stat", &size);
    char *open = text ? strchr(text, '(') : NULL, *close = text ? strrchr(text, ')') : NULL;
    int ppid = 0;
    unsigned long long user = 0, system = 0;
    long rss = 0;
    if (!open || !close || close < open)
        return NULL;
    snprintf(comm, sizeof(comm), "%.*s", (int)(close - open - 1), open + 1);
    sscanf(close + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d "
           "%*u %*u %ld", &ppid, &user, &system, &rss);
    long long tick = 1000000 / sysconf(_SC_CLK_TCK);
    return json_pack("{s:i,s:i,s:I,s:I,s:I,s:o}", "pid", atoi(pid), "ppid", ppid, "user",
                     user_of(proc_fd, pid), "cpu_usec", (json_int_t)((user + system) * (unsigned long long)tick),
                     "memory_bytes", (json_int_t)rss * sysconf(_SC_PAGESIZE), "command",
                     command_of(proc_fd, pid, comm));
}

int berth_top(struct berth_runtime *runtime, const struct berth_handle *handle, char **ret_json,
              struct berth_error *err)
{
    struct local *c;
    struct status status;
    bool alive;
    autoworkload w = NULL;
    int r = local_self(runtime, &c, err);
    if (r == 0 && (!handle || !ret_json))
        r = fail(err, BERTH_INVALID, NULL, "top: an argument is NULL");
    if (r == 0)
        r = local_get(c, handle, &w, err);
    if (r == 0)
        r = settle_status(c, w, &status, &alive, err);
    if (r < 0)
        return r;
    if (!alive || !state_lives(status.state))
        return wrong_state(w, "top", status.state, err);
    autofree char *group = format_text("%s/load", status.cgroup);
    DIR *dir = group ? opendir("/proc") : NULL;
    if (!dir)
        return group ? fail_os(err, errno, NULL, "open /proc") : fail_memory(err);
    json_t *list = json_array();
    const struct dirent *entry;
    while ((entry = readdir(dir)))
        if (isdigit((unsigned char)entry->d_name[0]) && in_group(dirfd(dir), entry->d_name, group)) {
            json_t *p = process(dirfd(dir), entry->d_name);
            if (p)
                json_array_append_new(list, p);
        }
    closedir(dir);
    return dump(list, ret_json, err);
}
