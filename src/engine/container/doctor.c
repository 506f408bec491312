/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor: one table of checks. Each says whether all is well; with --repair, some mend what is not.
 */
#include "container/doctor_network.h"
#include "local/inside.h"
#include "base/file.h"
#include "linux/net_doctor.h"
#include "linux/net_integrate.h"
#include "linux/privilege.h"
#include "model/names.h"
#include "store/names_ask.h"
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

struct exam {
    struct local *c;
    struct store *store;                /* NULL: there is none yet */
    const struct cgroup_layout *layout; /* NULL: no cgroups */
    bool repair;
    size_t bridged;                     /* workloads that run on bridges; check_network counts them */
    char detail[400], advice[4096];
    bool repaired;
};

#define FINE true
#define ILL false

static bool say(struct exam *x, bool ok, const char *advice, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static bool say(struct exam *x, bool ok, const char *advice, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(x->detail, sizeof(x->detail), format, arguments);
    va_end(arguments);
    snprintf(x->advice, sizeof(x->advice), "%s", ok || !advice ? "" : advice);
    return ok;
}

/* ---- the kernel */

static bool check_kernel(struct exam *x)
{
    struct utsname u;
    int major = 0, minor = 0;
    uname(&u);
    sscanf(u.release, "%d.%d", &major, &minor);
    return say(x, major > 5 || (major == 5 && minor >= 10), "run a kernel of 5.10 or later",
               "Linux %s", u.release);
}

static bool check_capabilities(struct exam *x)
{
    struct berth_error err = {0};
    bool ok = local_need("doctor", &err) == 0;
    return say(x, ok, "run berth as root", "%s", ok ? "all that berth needs" : err.message);
}

static bool check_cgroups(struct exam *x)
{
    static const char *const wanted[] = {"cpu", "memory", "pids", "cpuset"};
    char missing[100] = "";
    if (!x->layout)
        return say(x, ILL, "mount cgroup2 at /sys/fs/cgroup", "no cgroups are mounted");
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        if (!cgroup_has(x->layout, wanted[i]))
            snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), " %s", wanted[i]);
    return say(x, !missing[0], "boot with these controllers enabled; their limits are refused until then",
               "%s%s%s", cgroup_mode_name(cgroup_layout_mode(x->layout)),
               missing[0] ? ", without:" : "", missing);
}

static bool file_has(const char *path, const char *word)
{
    autofree char *text = NULL;
    size_t size;
    return file_read(AT_FDCWD, path, 1 << 16, &text, &size) == 0 && strstr(text, word);
}

static bool check_overlay(struct exam *x)
{
    bool ok = file_has("/proc/filesystems", "\toverlay\n");
    return say(x, ok, "modprobe overlay", ok ? "overlay is there" : "the kernel has no overlay file system");
}

static bool check_seccomp(struct exam *x)
{
    bool ok = access("/proc/sys/kernel/seccomp/actions_avail", F_OK) == 0;
    return say(x, ok, "a kernel with CONFIG_SECCOMP_FILTER, or security.seccomp \"unconfined\"",
               ok ? "filters are there" : "the kernel has no seccomp filters");
}

static bool check_namespaces(struct exam *x)
{
    static const char *const names[] = {"mnt", "pid", "net", "ipc", "uts", "cgroup", "user"};
    char missing[80] = "";
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char path[40];
        snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
        if (access(path, F_OK) < 0)
            snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), " %s", names[i]);
    }
    return say(x, !missing[0], "a kernel with these namespaces", "%s%s",
               missing[0] ? "missing:" : "all are there", missing);
}

static long long number_in(const char *path)
{
    autofree char *text = NULL;
    size_t size;
    return file_read(AT_FDCWD, path, 64, &text, &size) == 0 ? strtoll(text, NULL, 10) : -1;
}

static bool check_limits(struct exam *x)
{
    static const struct { const char *path; long long least; } rows[] = {
        {"/proc/sys/kernel/pid_max", 32768},
        {"/proc/sys/fs/inotify/max_user_instances", 128},
        {"/proc/sys/fs/inotify/max_user_watches", 8192},
        {"/proc/sys/fs/file-max", 65536},
    };
    char low[300] = "";
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        long long n = number_in(rows[i].path);
        if (n >= 0 && n < rows[i].least)
            snprintf(low + strlen(low), sizeof(low) - strlen(low), " %s=%lld (at least %lld)",
                     rows[i].path + strlen("/proc/sys/"), n, rows[i].least);
    }
    return say(x, !low[0], "raise them with sysctl", "%s%s", low[0] ? "low:" : "sufficient", low);
}

/* ---- berth itself */

static bool check_programs(struct exam *x)
{
    static const char *const names[] = {"berth-supervisor", "berth-helper", "berth-image"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        autofree char *path = NULL;
        struct berth_error err = {0};
        if (local_program(x->c, names[i], &path, &err) < 0)
            return say(x, ILL, "install berth anew", "%.380s", err.message);
    }
    return say(x, FINE, NULL, "in %s", x->c->programs);
}

static bool check_space(struct exam *x)
{
    struct statvfs disk;
    if (!x->store || fstatvfs(store_root_fd(x->store), &disk) < 0)
        return say(x, FINE, NULL, "no store yet");
    unsigned long long free_mib = disk.f_bavail * disk.f_frsize >> 20;
    bool inodes = disk.f_files == 0 || disk.f_favail > 1000;
    return say(x, free_mib >= 100 && inodes, "berth image prune, berth volume prune, or a larger disk",
               "%s: %llu MiB%s free", store_root(x->store), free_mib, inodes ? "" : ", hardly an inode");
}

static bool check_leftovers(struct exam *x)
{
    if (!x->store)
        return say(x, FINE, NULL, "no store yet");
    int root = store_root_fd(x->store);
    size_t before = store_leftovers(x->store);
    if (before && x->repair) {
        store_sweep(x->store, NULL);
        store_empty_trash(root, NULL);
    }
    size_t after = store_leftovers(x->store);
    x->repaired = after < before;
    return say(x, after == 0, "berth doctor --repair", "%zu unfinished or removed folders%s", after,
               x->repaired ? ", others are gone now" : "");
}

static bool check_records(struct exam *x)
{
    autostrings char **ids = NULL;
    size_t dead = 0, damaged = 0, mended = 0;
    if (!x->store || store_list(x->store, &ids, NULL) < 0)
        return say(x, FINE, NULL, "no workloads");
    for (size_t i = 0; ids && ids[i]; i++) {
        struct status s;
        bool alive;
        autoworkload w = NULL;
        if (local_workload(x->store, ids[i], &w, NULL) < 0)
            continue;
        int r = workload_status_read(w, &s, &alive, NULL);
        if (r < 0) {
            damaged += r != BERTH_NOT_FOUND;
            continue;
        }
        if (alive || !state_lives(s.state))
            continue;
        if (x->repair && settle_status(x->c, w, &s, &alive, NULL) == 0)
            mended++;
        else
            dead++;
    }
    x->repaired = mended > 0;
    return say(x, !dead && !damaged, damaged ? "berth rm -f what is damaged" : "berth doctor --repair",
               "%zu workloads, %zu died unrecorded, %zu damaged", strings_count(ids), dead, damaged);
}

/* ---- groups without a workload */

/** Whether nobody answers for a group: its workload has gone, or has ended and left programs in it.
 *  The empty one of an ended workload is there for the next start, and goes when it is removed. */
static bool is_orphan(struct exam *x, const char *id, const char *path)
{
    autoworkload w = NULL;
    struct cgroup *g;
    if (workload_open(x->store, id, &w, NULL) < 0)
        return true;
    if (workload_alive(w, NULL) != 0 || cgroup_open(x->layout, path, &g, NULL) < 0)
        return false;
    bool populated = cgroup_populated(g) == 1;
    cgroup_close(g);
    return populated;
}

/** Below the groups of this root in one hierarchy: those that nobody answers for. */
static size_t orphans_in(struct exam *x, const char *mount, const char *parent, bool remove)
{
    autofree char *path = format_text("%s%s", mount, parent);
    DIR *dir = path ? opendir(path) : NULL;
    size_t n = 0;
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        if (entry->d_type != DT_DIR || strlen(entry->d_name) != BERTH_ID_TEXT - 1)
            continue;
        autofree char *group = format_text("%s/%s", parent, entry->d_name);
        if (group && !is_orphan(x, entry->d_name, group))
            continue;
        if (!remove || !group || settle_cgroup(x->c, group, 2000) < 0)
            n++;
    }
    if (dir)
        closedir(dir);
    return n;
}

static size_t orphans(struct exam *x, bool remove)
{
    autofree char *text = NULL, *parent = format_text("/berth-%s", store_tag(x->store));
    size_t size, n = 0;
    if (!parent || file_read(AT_FDCWD, "/proc/self/mountinfo", 4 << 20, &text, &size) < 0)
        return 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        char mount[300];
        if (strstr(line, " - cgroup") && sscanf(line, "%*s %*s %*s %*s %299s", mount) == 1)
            n = MAX(n, orphans_in(x, mount, parent, remove));
    }
    return n;
}

static bool check_groups(struct exam *x)
{
    if (!x->store || !x->layout)
        return say(x, FINE, NULL, "none");
    size_t before = orphans(x, false);
    size_t after = before && x->repair ? orphans(x, true) : before;
    x->repaired = after < before;
    return say(x, after == 0, "berth doctor --repair", "%zu groups without a running workload", after);
}

/* ---- leases without a holder */

static bool holder_gone(struct exam *x, int dir_fd, const char *name, char id[BERTH_ID_TEXT])
{
    ssize_t n = readlinkat(dir_fd, name, id, BERTH_ID_TEXT);
    if (n != BERTH_ID_TEXT - 1)
        return false;
    id[n] = 0;
    static const char *const places[] = {"workloads", "aside", "workloads"};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        char path[64];
        snprintf(path, sizeof(path), "%s/%s", places[i], id);
        if (faccessat(store_root_fd(x->store), path, F_OK, 0) == 0)
            return false;
    }
    return true;
}

static size_t stale_leases(struct exam *x, int dir_fd, const char *kind, bool release)
{
    DIR *dir = fdopendir(dir_fd);
    size_t n = 0;
    const struct dirent *entry;
    if (!dir)
        cleanup_close(&dir_fd);
    while (dir && (entry = readdir(dir))) {
        char id[BERTH_ID_TEXT];
        if (entry->d_name[0] == '.')
            continue;
        int below = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below >= 0) {
            autofree char *deeper = format_text("%s%s%s", kind, *kind ? "/" : "", entry->d_name);
            n += stale_leases(x, below, deeper ? deeper : "", release);
        } else if (holder_gone(x, dirfd(dir), entry->d_name, id) &&
                   (!release || lease_release(x->store, kind, entry->d_name, id) < 0)) {
            n++;
        }
    }
    if (dir)
        closedir(dir);
    return n;
}

static size_t all_stale(struct exam *x, bool release)
{
    int fd = openat(store_root_fd(x->store), "leases", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return store_stale_names(x->store, release) + (fd < 0 ? 0 : stale_leases(x, fd, "", release));
}

static bool check_leases(struct exam *x)
{
    if (!x->store)
        return say(x, FINE, NULL, "none");
    size_t before = all_stale(x, false);
    size_t after = before && x->repair ? all_stale(x, true) : before;
    x->repaired = after < before;
    return say(x, after == 0, "berth doctor --repair", "%zu names and leases whose holder has gone", after);
}

/* ---- the network */

static bool report_well(const struct network_report *r)
{
    return !r->orphans && !r->changed && !r->loose && !r->walls && !r->filter[0] && !r->subnet[0];
}

/* A removal answers before the kernel has taken its link down, a start makes its own in steps: what passes by itself is
 * nobody's fault. */
static int examine_patiently(struct exam *x, struct network_report *ret)
{
    int r = network_examine(x->store, false, ret);
    for (int i = 0; r == 0 && !report_well(ret) && i < 50; i++) {
        (void)poll(NULL, 0, 20);
        r = network_examine(x->store, false, ret);
    }
    return r;
}

static bool check_network(struct exam *x)
{
    struct network_report before, after;
    if (!x->store)
        return say(x, FINE, NULL, "none");
    if (examine_patiently(x, &before) < 0)
        return say(x, ILL, "run berth as root", "the machine's links can't be read");
    after = before;
    if (x->repair && !report_well(&before) &&
        (network_examine(x->store, true, &after) < 0 || examine_patiently(x, &after) < 0))
        return say(x, ILL, NULL, "the machine's links can't be changed");
    x->repaired = !report_well(&before) && report_well(&after);
    x->bridged = after.running;
    if (x->repair)
        trash_helper(x->c); /* and bridges of networks that nobody is on */
    if (report_well(&after))
        return say(x, FINE, NULL, "%zu workloads on bridges", after.running);
    return say(x, ILL, after.subnet[0] ? "move the network (network create --subnet) or the route" : "berth doctor --repair",
               "%zu links of nobody, %zu links down or without their bridge, %zu bridges and %zu filters of workloads that somebody "
               "changed%s%s%s%s", after.orphans, after.loose, after.changed, after.walls,
               after.filter[0] ? ", " : "", after.filter, after.subnet[0] ? ", " : "", after.subnet);
}

#define NAMES_TRIES 40
#define NAMES_TRY_MSEC 5 /* a supervisor starts one that was killed within 50 ms */
#define NAMES_ANSWER_MSEC 1000

/* What berth-dns says of itself; one of before there was this question says something else, and is there. */
static int names_now(struct exam *x, const char *word, char *said, size_t room)
{
    int r = -ENOENT;
    for (int i = 0; i < NAMES_TRIES && (r == -ENOENT || r == -ECONNREFUSED || r == -ECONNRESET); i++) {
        if (i > 0)
            poll(NULL, 0, NAMES_TRY_MSEC);
        r = names_ask(store_run_fd(x->store), word, NAMES_ANSWER_MSEC, said, room);
    }
    if (r == 0 && starts_with(said, "names: "))
        snprintf(said, room, "%s", NAMES_DONE);
    return r;
}

/** Names of workloads: whether berth-dns is there, answers, and could do what all of them asked of it. */
static bool check_names(struct exam *x)
{
    char said[sizeof(x->detail)] = "", before[sizeof(said)] = "";
    if (!x->store || x->bridged == 0)
        return say(x, FINE, NULL, "no workload is on a bridge");
    int r = names_now(x, x->repair ? NAMES_AGAIN : NAMES_HOW, said, sizeof(said));
    if (r == 0 && x->repair && strcmp(said, NAMES_DONE)) {
        memcpy(before, said, sizeof(before));
        for (int i = 0; i < NAMES_TRIES && r == 0 && strcmp(said, NAMES_DONE); i++) {
            poll(NULL, 0, NAMES_TRY_MSEC);
            r = names_now(x, NAMES_HOW, said, sizeof(said));
        }
    }
    if (r < 0)
        return say(x, ILL, "berth events tells why; install berth anew if berth-dns is missing",
                   "berth-dns %s: workloads find nobody by name", r == -ETIMEDOUT ? "does not answer" : "does not run");
    x->repaired = *before && !strcmp(said, NAMES_DONE);
    return say(x, !strcmp(said, NAMES_DONE), "berth doctor --repair, once that is changed", "%s",
               strcmp(said, NAMES_DONE) ? said : "berth-dns answers");
}

/** Asked for by firewall.integrate, unlike everything else that is not ours. */
static bool open_others(struct exam *x)
{
    autoclean(cleanup_settings) struct settings *s = NULL;
    if (!x->repair || settings_read(x->c, &s, NULL) < 0 || !s->firewall.integrate)
        return false;
    (void)net_integrate(store_run_fd(x->store), store_tag(x->store), true, NULL);
    return true;
}

static size_t count_closed(const struct net_obstacle *all, size_t n, size_t *ret_first)
{
    size_t closed = 0;
    *ret_first = n;
    for (size_t i = n; i-- > 0;)
        if (!all[i].opened) {
            closed++;
            *ret_first = i;
        }
    return closed;
}

static int obstacles_now(struct exam *x, struct net_obstacle **all, size_t *n, size_t *at)
{
    free(TAKE(*all));
    return net_obstacles_read(store_tag(x->store), all, n, NULL) < 0 ? -EIO : (int)count_closed(*all, *n, at);
}

static void add_commands(const struct net_obstacle *o, char *advice, size_t room)
{
    for (size_t i = 0; i < ARRAY_SIZE(o->opens) && *o->opens[i] && !strstr(advice, o->opens[i]); i++)
        snprintf(advice + strlen(advice), room - strlen(advice), "%s%s", *advice ? "; " : "", o->opens[i]);
}

/** Another's firewall drops what ours let through: the first such chain, and the commands that open all. Mended only
 *  where berth.toml says so: the rules are not ours. */
static bool check_firewall(struct exam *x)
{
    autofree struct net_obstacle *all = NULL;
    char advice[sizeof(x->advice)] = "";
    size_t n = 0, at = 0;
    if (!x->store || x->bridged == 0)
        return say(x, FINE, NULL, "no workload is on a bridge");
    int closed = obstacles_now(x, &all, &n, &at), before = closed;
    if (closed > 0 && open_others(x))
        closed = obstacles_now(x, &all, &n, &at);
    if (closed < 0)
        return say(x, ILL, NULL, "other firewalls' rules can't be read");
    x->repaired = closed < before;
    if (closed == 0)
        return say(x, FINE, NULL, n ? "%zu that drop by themselves, open for berth" : "no other firewall is in the way", n);
    for (size_t i = at; i < n; i++)
        if (!all[i].opened)
            add_commands(&all[i], advice, sizeof(advice));
    return say(x, ILL, advice, "%s's chain %s %s %s drops what %s", all[at].tool, all[at].family, all[at].table, all[at].chain,
               all[at].names ? "workloads ask for names" : "workloads and the world say to each other");
}

/* ---- the whole */

#define LOOKS     5
#define LOOK_MSEC 100

/* moves: what is read there others make and remove meanwhile, in steps, so that a half may be seen that is none a moment later. */
static const struct { const char *name; bool (*run)(struct exam *x); bool moves; } checks[] = {
    {"kernel", check_kernel, false},
    {"capabilities", check_capabilities, false},
    {"cgroups", check_cgroups, false},
    {"overlay", check_overlay, false},
    {"seccomp", check_seccomp, false},
    {"namespaces", check_namespaces, false},
    {"limits", check_limits, false},
    {"programs", check_programs, false},
    {"space", check_space, false},
    {"records", check_records, true},
    {"groups", check_groups, true},
    {"leases", check_leases, true},
    {"network", check_network, false}, /* looks again by itself */
    {"names", check_names, false},
    {"firewall", check_firewall, false},
    {"leftovers", check_leftovers, true},
};

/** What is wrong is wrong for longer than a moment. */
static bool check(struct exam *x, size_t i)
{
    bool ok = checks[i].run(x), repaired = x->repaired;
    for (int looks = 1; !ok && checks[i].moves && looks < LOOKS; looks++) {
        poll(NULL, 0, LOOK_MSEC);
        ok = checks[i].run(x);
        x->repaired = repaired |= x->repaired;
    }
    return ok;
}

static bool check_store(struct exam *x, int r, const struct berth_error *why)
{
    if (r == BERTH_NOT_FOUND)
        return say(x, FINE, NULL, "no store yet");
    return say(x, r == 0, r == BERTH_DENIED ? "run berth as root" : "a berth of that version, or another --root", "%.380s",
               r == 0 ? store_root(x->store) : why->message);
}

static void note(json_t *list, const struct exam *x, const char *check, bool ok, bool *all_well)
{
    json_array_append_new(list, json_pack("{s:s,s:b,s:s,s:s,s:b}", "check", check, "ok", (int)ok,
                                          "detail", x->detail, "advice", x->advice, "repaired",
                                          (int)x->repaired));
    *all_well &= ok;
}

int berth_doctor(struct berth_runtime *runtime, bool repair, char **ret_json, struct berth_error *err)
{
    struct exam x = {.repair = repair};
    struct berth_error why = {0};
    bool well = true;
    int r = local_self(runtime, &x.c, err);
    if (r < 0)
        return r;
    r = local_store(x.c, false, &x.store, &why);
    local_layout(x.c, &x.layout, NULL);
    json_t *list = json_array();
    note(list, &x, "store", check_store(&x, r, &why), &well);
    for (size_t i = 0; i < ARRAY_SIZE(checks); i++) {
        x.repaired = false;
        note(list, &x, checks[i].name, check(&x, i), &well);
    }
    *ret_json = list ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(list);
    return !*ret_json ? fail_memory(err) : well ? 0 : 1;
}
