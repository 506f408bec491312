/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A group at work: frozen, killed, empty or not, and what it counted.
 *
 * Where a v2 hierarchy is mounted its core files (cgroup.freeze, cgroup.kill, cgroup.events) serve,
 * with or without controllers in it; the freezer controller and a loop remain for v1 alone.
 */
#include "linux/cgroup_internal.h"

#include "base/base.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const struct hierarchy *freezer(const struct cgroup *g)
{
    return g->layout->unified ? g->layout->unified : cgroup_hierarchy(g->layout, "freezer");
}

/* v1's freezer answers FREEZING until all have stopped; v2 tells in cgroup.events. */
static bool is_frozen(const struct cgroup *g, const struct hierarchy *h)
{
    char path[CGROUP_PATH_MAX], text[256];
    if (cgroup_file_path(g, h, h->v2 ? "cgroup.events" : "freezer.state", path) < 0 ||
        control_read(path, text, sizeof(text)) < 0)
        return false;
    return h->v2 ? keyed_number(text, "frozen") == 1 : starts_with(text, "FROZEN");
}

static void wait_for_events(struct cgroup *g, int msec)
{
    int fd = cgroup_events_fd(g);
    char text[256];
    if (fd < 0) {
        nanosleep(&(struct timespec){.tv_nsec = 500000},
                  NULL); /* v1's freezer has nothing to poll */
        return;
    }
    (void)pread(fd, text, sizeof(text), 0);
    (void)poll(&(struct pollfd){.fd = fd, .events = POLLPRI}, 1, msec);
}

int cgroup_freeze(struct cgroup *g, bool frozen, struct berth_error *err)
{
    const struct hierarchy *h = freezer(g);
    if (!h)
        return fail(err, BERTH_NO_KERNEL, "freezer",
                    "this kernel has neither cgroup v2 nor the freezer controller");
    int r = h->v2 ? cgroup_set(g, h, "cgroup.freeze", frozen ? "1" : "0")
                  : cgroup_set(g, h, "freezer.state", frozen ? "FROZEN" : "THAWED");
    if (r < 0)
        return fail_os(err, r, g->path, "%s control group %s", frozen ? "freeze" : "thaw", g->path);
    int64_t deadline = monotonic_usec() + 2000000;
    while (frozen && !is_frozen(g, h)) {
        if (monotonic_usec() > deadline)
            return fail(err, BERTH_TIMED_OUT, g->path, "control group %s did not freeze within 2 s",
                        g->path);
        wait_for_events(g, 50);
    }
    return 0;
}

/* Each pid of the group. Returns how many, or -errno. */
static int each_pid(const struct cgroup *g, const struct hierarchy *h, int signal)
{
    char path[CGROUP_PATH_MAX];
    int r = cgroup_file_path(g, h, "cgroup.procs", path);
    FILE *f = r < 0 ? NULL : fopen(path, "re");
    if (!f)
        return errno == ENOENT || errno == ENODEV ? 0 : -errno;
    int n = 0, pid;
    while (fscanf(f, "%d", &pid) == 1) {
        if (pid <= 0)
            continue;
        n++;
        if (signal)
            (void)kill(pid, signal);
    }
    fclose(f);
    return n;
}

static const struct hierarchy *counting_v1(const struct cgroup *g)
{
    const struct hierarchy *h = cgroup_hierarchy(g->layout, "freezer");
    return h && !h->v2 ? h : &g->layout->list[0];
}

/* Frozen they can't fork while we go through them; thawed they die. */
static int kill_v1(struct cgroup *g)
{
    const struct hierarchy *h = counting_v1(g);
    int r = 0;
    (void)cgroup_set(g, h, "freezer.state", "FROZEN");
    for (int i = 0; i < 3 && r >= 0; i++)
        r = each_pid(g, h, SIGKILL);
    (void)cgroup_set(g, h, "freezer.state", "THAWED");
    return r < 0 ? r : 0;
}

int cgroup_kill(struct cgroup *g)
{
    const struct hierarchy *h = g->layout->unified;
    int r = h ? cgroup_set(g, h, "cgroup.kill", "1") : -ENOENT;
    if (r == -ENOENT && h && cgroup_populated(g) <= 0)
        return 0;
    if (r == -ENOENT && h) { /* a v2 older than cgroup.kill (5.14) */
        for (int i = 0; i < 3; i++)
            r = each_pid(g, h, SIGKILL);
        return r < 0 ? r : 0;
    }
    /* v1's freezer may hold them (somebody else's hand): a frozen process there does not die. */
    if (g->layout->mode != CGROUP_V2 && cgroup_hierarchy(g->layout, "freezer")) {
        const struct hierarchy *v1 = cgroup_hierarchy(g->layout, "freezer");
        if (!h)
            return kill_v1(g);
        if (!v1->v2)
            (void)cgroup_set(g, v1, "freezer.state", "THAWED");
    }
    return r;
}

int cgroup_kill_members(struct cgroup *g, bool freeze)
{
    const struct hierarchy *h = g->layout->unified;
    if (!h)
        return cgroup_kill(g);
    if (cgroup_populated(g) <= 0)
        return 0;
    int r = 0;
    if (freeze)
        (void)cgroup_set(g, h, "cgroup.freeze", "1"); /* they die frozen */
    for (int i = 0; i < 3 && r >= 0; i++)
        r = each_pid(g, h, SIGKILL);
    const struct hierarchy *v1 =
        g->layout->mode != CGROUP_V2 ? cgroup_hierarchy(g->layout, "freezer") : NULL;
    if (v1 && !v1->v2)
        (void)cgroup_set(g, v1, "freezer.state", "THAWED");
    return r < 0 ? r : 0;
}

int cgroup_populated(struct cgroup *g)
{
    char text[256];
    int fd = cgroup_events_fd(g);
    if (fd >= 0) {
        ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
        if (n < 0)
            return errno == ENODEV ? 0 : -errno;
        text[n] = 0;
        return keyed_number(text, "populated") == 1;
    }
    int n = each_pid(g, counting_v1(g), 0);
    return n > 0 ? 1 : n;
}

uint64_t cgroup_oom_kills(struct cgroup *g)
{
    char path[CGROUP_PATH_MAX], text[512];
    const struct hierarchy *h = cgroup_hierarchy(g->layout, "memory");
    if (!h || cgroup_file_path(g, h, h->v2 ? "memory.events" : "memory.oom_control", path) < 0 ||
        control_read(path, text, sizeof(text)) < 0)
        return 0;
    return keyed_number(text, "oom_kill");
}

/* v1: an eventfd is registered with the group, by a line in a file of it. */
static int oom_eventfd(struct cgroup *g, const struct hierarchy *h)
{
    char path[CGROUP_PATH_MAX], line[32];
    if (cgroup_file_path(g, h, "memory.oom_control", path) < 0)
        return -ENAMETOOLONG;
    autoclose int control_fd = open(path, O_RDONLY | O_CLOEXEC);
    autoclose int event_fd = control_fd < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event_fd < 0)
        return -errno;
    snprintf(line, sizeof(line), "%d %d", event_fd, control_fd);
    int r = cgroup_set(g, h, "cgroup.event_control", line);
    return r < 0 ? r : take_fd(&event_fd);
}

int cgroup_oom_watch(struct cgroup *g)
{
    char path[CGROUP_PATH_MAX];
    const struct hierarchy *h = cgroup_hierarchy(g->layout, "memory");
    if (!h)
        return -ENOTSUP;
    if (!h->v2)
        return oom_eventfd(g, h);
    autoclose int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (fd < 0 || cgroup_file_path(g, h, "memory.events", path) < 0 ||
        inotify_add_watch(fd, path, IN_MODIFY) < 0)
        return fd < 0 || errno ? -errno : -EIO;
    return take_fd(&fd);
}

uint64_t cgroup_memory_peak(struct cgroup *g)
{
    char path[CGROUP_PATH_MAX], text[64];
    const struct hierarchy *h = cgroup_hierarchy(g->layout, "memory");
    if (!h ||
        cgroup_file_path(g, h, h->v2 ? "memory.peak" : "memory.max_usage_in_bytes", path) < 0 ||
        control_read(path, text, sizeof(text)) < 0)
        return 0;
    return strtoull(text, NULL, 10);
}

/* ---- figures */

static const struct {
    const char *controller, *v1, *v2; /* controller NULL: a core file of v2 */
} figure_files[FIGURE_COUNT] = {
    [FIGURE_CPU_USAGE] = {"cpuacct", "cpuacct.usage", NULL},
    [FIGURE_CPU_SPLIT] = {"cpuacct", "cpuacct.stat", NULL},
    [FIGURE_CPU_STAT] = {"cpu", "cpu.stat", NULL},
    [FIGURE_CPU_MAX] = {"cpu", "cpu.cfs_quota_us", "cpu.max"},
    [FIGURE_CPU_PERIOD] = {"cpu", "cpu.cfs_period_us", NULL},
    [FIGURE_MEMORY] = {"memory", "memory.usage_in_bytes", "memory.current"},
    [FIGURE_MEMORY_STAT] = {"memory", "memory.stat", "memory.stat"},
    [FIGURE_MEMORY_MAX] = {"memory", "memory.limit_in_bytes", "memory.max"},
    [FIGURE_MEMORY_PEAK] = {"memory", "memory.max_usage_in_bytes", "memory.peak"},
    [FIGURE_MEMORY_SWAP] = {"memory", "memory.memsw.usage_in_bytes", "memory.swap.current"},
    [FIGURE_PIDS] = {"pids", "pids.current", "pids.current"},
    [FIGURE_PIDS_MAX] = {"pids", "pids.max", "pids.max"},
    [FIGURE_IO] = {"blkio", "blkio.throttle.io_service_bytes_recursive", NULL},
    [FIGURE_IO_OPS] = {"blkio", "blkio.throttle.io_serviced_recursive", NULL},
    [FIGURE_PSI_CPU] = {NULL, NULL, "cpu.pressure"},
    [FIGURE_PSI_MEMORY] = {NULL, NULL, "memory.pressure"},
    [FIGURE_PSI_IO] = {NULL, NULL, "io.pressure"},
};

static int figure_open(const struct cgroup *g, const struct hierarchy *h, const char *file)
{
    char path[CGROUP_PATH_MAX];
    if (!h || !file || cgroup_file_path(g, h, file, path) < 0)
        return -1;
    return open(path, O_RDONLY | O_CLOEXEC);
}

static void figures_open(struct cgroup *g)
{
    const struct hierarchy *unified = g->layout->unified;
    for (size_t i = 0; i < FIGURE_COUNT; i++) {
        const char *controller = figure_files[i].controller;
        const struct hierarchy *h = controller ? cgroup_hierarchy(g->layout, controller) : unified;
        g->figure_fds[i] = figure_open(g, h, h && h->v2 ? figure_files[i].v2 : figure_files[i].v1);
    }
    /* cpu.stat counts time in every v2 group, with or without the controller; v1's counts
     * throttling alone. */
    if (g->figure_fds[FIGURE_CPU_STAT] < 0)
        g->figure_fds[FIGURE_CPU_STAT] = figure_open(g, unified, "cpu.stat");
    if (g->figure_fds[FIGURE_IO] < 0)
        g->figure_fds[FIGURE_IO] = figure_open(g, cgroup_hierarchy(g->layout, "io"), "io.stat");
    g->figures_open = true;
}

static bool figure_text(struct cgroup *g, int i, char *ret, size_t room)
{
    ssize_t n = g->figure_fds[i] < 0 ? -1 : RETRY(pread(g->figure_fds[i], ret, room - 1, 0));
    if (n < 0 && g->figure_fds[i] >= 0 && errno == ENODEV)
        g->figures_gone = true;
    ret[n < 0 ? 0 : n] = 0;
    return n >= 0;
}

static uint64_t figure_number(struct cgroup *g, int i)
{
    char text[64];
    /* "max" and v1's "no limit" (a number near 2^63) are both 0. */
    uint64_t n = figure_text(g, i, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
    return n >= UINT64_C(1) << 62 ? 0 : n;
}

static void read_cpu(struct cgroup *g, struct cgroup_figures *f)
{
    char text[1024];
    if (g->figure_fds[FIGURE_CPU_USAGE] >= 0) {
        uint64_t tick_usec = 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
        f->cpu_usec = figure_number(g, FIGURE_CPU_USAGE) / 1000;
        if (figure_text(g, FIGURE_CPU_SPLIT, text, sizeof(text))) {
            f->user_usec = keyed_number(text, "user") * tick_usec;
            f->system_usec = keyed_number(text, "system") * tick_usec;
        }
        if (figure_text(g, FIGURE_CPU_STAT, text, sizeof(text)))
            f->throttled_usec = keyed_number(text, "throttled_time") / 1000;
    } else if (figure_text(g, FIGURE_CPU_STAT, text, sizeof(text))) {
        f->cpu_usec = keyed_number(text, "usage_usec");
        f->user_usec = keyed_number(text, "user_usec");
        f->system_usec = keyed_number(text, "system_usec");
        f->throttled_usec = keyed_number(text, "throttled_usec");
    }
    long long quota = 0, period = 0;
    if (figure_text(g, FIGURE_CPU_MAX, text, sizeof(text)) &&
        sscanf(text, "%lld %lld", &quota, &period) == 1)
        period = (long long)figure_number(g, FIGURE_CPU_PERIOD);
    f->cpu_limit = quota > 0 && period > 0 ? (double)quota / (double)period : 0;
}

static void read_memory(struct cgroup *g, struct cgroup_figures *f)
{
    char text[8192];
    uint64_t usage = figure_number(g, FIGURE_MEMORY), inactive = 0;
    const struct hierarchy *h = cgroup_hierarchy(g->layout, "memory");
    bool v2 = h && h->v2;
    if (figure_text(g, FIGURE_MEMORY_STAT, text, sizeof(text))) {
        inactive = keyed_number(text, v2 ? "inactive_file" : "total_inactive_file");
        f->cache = keyed_number(text, v2 ? "file" : "total_cache");
    }
    f->memory = usage > inactive ? usage - inactive : 0;
    f->limit = figure_number(g, FIGURE_MEMORY_MAX);
    f->peak = figure_number(g, FIGURE_MEMORY_PEAK);
    f->swap = figure_number(g, FIGURE_MEMORY_SWAP);
    if (!v2)
        f->swap = f->swap > usage ? f->swap - usage : 0;
}

/* "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ..." per device. */
static void io_line_v2(const char *line, struct cgroup_figures *f)
{
    static const char *const keys[] = {" rbytes=", " wbytes=", " rios=", " wios="};
    uint64_t *sums[] = {&f->io_read_bytes, &f->io_write_bytes, &f->io_read_ops, &f->io_write_ops};
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        const char *at = strstr(line, keys[i]);
        if (at)
            *sums[i] += strtoull(at + strlen(keys[i]), NULL, 10);
    }
}

/* "8:0 Read 1" per device and kind. */
static void io_line_v1(const char *line, uint64_t *read_sum, uint64_t *write_sum)
{
    const char *word = strchr(line, ' ');
    if (word && starts_with(word, " Read "))
        *read_sum += strtoull(word + 6, NULL, 10);
    else if (word && starts_with(word, " Write "))
        *write_sum += strtoull(word + 7, NULL, 10);
}

static void read_io(struct cgroup *g, struct cgroup_figures *f)
{
    char text[8192], *save = NULL;
    const struct hierarchy *h = cgroup_hierarchy(g->layout, "blkio");
    f->has_io = figure_text(g, FIGURE_IO, text, sizeof(text));
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (h)
            io_line_v1(line, &f->io_read_bytes, &f->io_write_bytes);
        else
            io_line_v2(line, f);
    }
    if (!h || !figure_text(g, FIGURE_IO_OPS, text, sizeof(text)))
        return;
    save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        io_line_v1(line, &f->io_read_ops, &f->io_write_ops);
}

static double psi_average(const char *text, const char *kind)
{
    const char *line = strstr(text, kind);
    const char *at = line ? strstr(line, "avg10=") : NULL;
    return at ? strtod(at + 6, NULL) : 0;
}

static void read_psi(struct cgroup *g, struct cgroup_figures *f)
{
    char text[256];
    if (figure_text(g, FIGURE_PSI_CPU, text, sizeof(text))) {
        f->has_psi = true;
        f->psi[0] = psi_average(text, "some");
    }
    if (figure_text(g, FIGURE_PSI_MEMORY, text, sizeof(text))) {
        f->psi[1] = psi_average(text, "some");
        f->psi[2] = psi_average(text, "full");
    }
    if (figure_text(g, FIGURE_PSI_IO, text, sizeof(text))) {
        f->psi[3] = psi_average(text, "some");
        f->psi[4] = psi_average(text, "full");
    }
}

int cgroup_figures_read(struct cgroup *g, struct cgroup_figures *ret, struct berth_error *err)
{
    struct cgroup_figures f = {0};
    if (!g->figures_open)
        figures_open(g);
    bool any = false;
    for (size_t i = 0; i < FIGURE_COUNT; i++)
        any = any || g->figure_fds[i] >= 0;
    if (!any)
        return fail(err, BERTH_NOT_FOUND, g->path, "no control group %s", g->path);
    read_cpu(g, &f);
    read_memory(g, &f);
    f.pids = figure_number(g, FIGURE_PIDS);
    f.pids_limit = figure_number(g, FIGURE_PIDS_MAX);
    read_io(g, &f);
    read_psi(g, &f);
    if (g->figures_gone) /* kept open from a group that was removed since: no zeros in its place */
        return fail(err, BERTH_NOT_FOUND, g->path, "no control group %s", g->path);
    *ret = f;
    return 0;
}
