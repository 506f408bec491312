/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status record: what happened, in numbers and in words, written whole or not at all.
 *
 * Only an end record is synced. A write that fails (full disk) is not fatal: it is tried again until one
 * tells all.
 */
#include "supervisor/supervisor.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/spawn.h"
#include "base/text.h"
#include "linux/cgroup.h"
#include "store/store.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/wait.h>

#define AGAIN_USEC 100000

static void write_again(struct supervisor *s, struct timer *timer)
{
    record_write(s, false);
}

void record_write(struct supervisor *s, bool sync)
{
    struct berth_error err;
    timer_clear(&s->loop, &s->record_timer);
    if (status_write_at(s->workload_fd, &s->record, sync, &err) == 0 || err.code == BERTH_NOT_FOUND)
        return;
    if (status_write_at(s->workload_fd, &s->record, sync, &err) < 0)
        timer_set(&s->loop, &s->record_timer, AGAIN_USEC, write_again);
}

void record_state(struct supervisor *s, int state)
{
    s->record.state = state;
    record_write(s, false);
}

void record_open(struct supervisor *s)
{
    struct berth_error err;
    autofree char *boot_id = NULL;
    size_t size = 0;
    if (status_read_at(s->workload_fd, &s->record, &err) < 0)
        s->record =
            (struct status){.version = STATUS_VERSION, .state = BERTH_CREATED, .exit_code = -1};
    s->before = s->record;
    if (file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &boot_id, &size) == 0)
        snprintf(s->record.boot_id, sizeof(s->record.boot_id), "%.36s", boot_id);
    s->record.restarts = 0;
    s->record.next_start_usec = 0;
    s->record.wanted = true;
    s->record.start_error = 0;
    s->record.reason[0] = 0;
    s->record.health = BERTH_HEALTH_NONE;
    s->record.health_failures = s->record.n_health_log = 0;
    s->record.log_dropped_bytes = s->record.log_dropped_lines = 0;
    s->record.memory_limit = s->plan->limits.memory > 0 ? (uint64_t)s->plan->limits.memory : 0;
    s->record.supervisor_pid = getpid();
    if (s->launch) /* else what create wrote down: a launch that failed may have made groups there */
        snprintf(s->record.cgroup, sizeof(s->record.cgroup), "%s", launch_cgroup(s->launch));
}

void record_running(struct supervisor *s)
{
    struct status *r = &s->record;
    r->state = BERTH_RUNNING;
    r->pid = s->program.pid;
    r->supervisor_pid = getpid();
    r->exit_code = -1;
    r->signal = r->oom = r->start_error = 0;
    r->started_usec = now_usec();
    r->ended_usec = r->next_start_usec = 0;
    r->memory_peak = 0;
    r->reason[0] = 0;
    r->ready = !s->plan->readiness.argv;
    r->health = s->plan->health.argv ? BERTH_HEALTH_STARTING : BERTH_HEALTH_NONE;
    r->health_failures = 0;
    record_write(s, false);
}

/* ---- the end in words -------------------------------------------------------------------------
 */

/* "64 MiB", "1.5 GiB", "100 B". */
void size_words(uint64_t bytes, char ret[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;
    uint64_t tenths = bytes > UINT64_MAX / 10 ? UINT64_MAX : bytes * 10;
    while (tenths >= 10240 && unit + 1 < ARRAY_SIZE(units)) {
        tenths = (tenths + 512) / 1024;
        unit++;
    }
    if (tenths % 10)
        snprintf(ret, 24, "%llu.%llu %s", (unsigned long long)tenths / 10,
                 (unsigned long long)tenths % 10, units[unit]);
    else
        snprintf(ret, 24, "%llu %s", (unsigned long long)tenths / 10, units[unit]);
}

#define OUT_OF_MEMORY "out of memory"

static void oom_words(struct status *r)
{
    char limit[24], peak[24];
    size_words(r->memory_limit, limit);
    size_words(r->memory_peak, peak);
    const char *who = r->oom == BERTH_OOM_MAIN ? "the main program" : "a child of the main program";
    if (r->memory_limit)
        snprintf(r->reason, sizeof(r->reason), "out of memory in %s (limit %s, peak %s)", who,
                 limit, peak);
    else
        snprintf(r->reason, sizeof(r->reason), "out of memory in %s (no limit of its own, peak %s)",
                 who, peak);
}

/* What the program said of its end, as one line of text. */
static bool own_words(struct supervisor *s)
{
    struct status *r = &s->record;
    ssize_t n = s->life.words_fd <= 0 ? 0 : RETRY(read(s->life.words_fd, r->reason, sizeof(r->reason) - 1));
    if (s->life.words_fd > 0)
        close(s->life.words_fd);
    s->life.words_fd = 0;
    n = MAX(n, 0);
    while (n > 0 && r->reason[n - 1] == '\n')
        n--;
    for (ssize_t i = 0; i < n; i++)
        if ((unsigned char)r->reason[i] < ' ' || r->reason[i] == 127)
            r->reason[i] = ' ';
    r->reason[n] = 0;
    if (n > 0 && starts_with(r->reason, OUT_OF_MEMORY))
        r->oom = BERTH_OOM_MAIN;
    return n > 0 && r->state == BERTH_FAILED;
}

static void end_words(struct supervisor *s)
{
    struct status *r = &s->record;
    char grace[32];
    if (own_words(s))
        return;
    r->reason[0] = 0;
    if (r->oom && (r->oom == BERTH_OOM_MAIN || r->state == BERTH_FAILED))
        return oom_words(r);
    if (s->life.unfit) {
        snprintf(r->reason, sizeof(r->reason), "%s", s->life.unfit);
    } else if (s->life.killed && s->life.asked && s->life.grace_usec) {
        duration_print(s->life.grace_usec, grace);
        snprintf(r->reason, sizeof(r->reason), "killed: it had not ended %s after its stop signal",
                 grace);
    } else if (r->signal && !s->life.asked) {
        snprintf(r->reason, sizeof(r->reason), "ended by %s (%s)", signal_name(r->signal),
                 strsignal(r->signal));
    } else if (r->exit_code > 0 && !s->life.asked) {
        snprintf(r->reason, sizeof(r->reason), "exit code %d", r->exit_code);
    }
}

/* What was told while it ran stays true; what came since is the main program's, if it died of that. */
static int oom_kind(struct supervisor *s, bool *ret_new)
{
    *ret_new = launch_oom_kills(s->launch) > s->life.oom_kills;
    if (!*ret_new)
        return s->record.oom;
    return s->record.signal == SIGKILL && !s->life.killed ? BERTH_OOM_MAIN : BERTH_OOM_CHILD;
}

void record_child_oom(struct supervisor *s)
{
    struct status *r = &s->record;
    r->oom = BERTH_OOM_CHILD;
    r->memory_peak = launch_memory_peak(s->launch);
    oom_words(r);
    record_write(s, false);
    record_event(s, "oom", "\"oom\":\"child\"");
}

void record_ended(struct supervisor *s, int wait_status)
{
    struct status *r = &s->record;
    r->signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
    r->exit_code = r->signal ? 128 + r->signal : WEXITSTATUS(wait_status);
    bool new_oom;
    r->oom = oom_kind(s, &new_oom);
    r->ended_usec = now_usec();
    r->memory_peak = launch_memory_peak(s->launch);
    r->pid = 0;
    if (s->life.asked)
        r->state = BERTH_STOPPED;
    else
        r->state = r->exit_code == 0 && !s->life.unfit ? BERTH_COMPLETED : BERTH_FAILED;
    bool known = r->oom;
    end_words(s);
    if (new_oom || (r->oom && !known))
        record_event(s, "oom", r->oom == BERTH_OOM_MAIN ? "\"oom\":\"main\"" : "\"oom\":\"child\"");
}

void record_start_failed(struct supervisor *s, const struct berth_error *err)
{
    struct status *r = &s->record;
    r->state = s->life.asked ? BERTH_STOPPED : BERTH_FAILED;
    r->start_error = err->code;
    r->exit_code = err->code == BERTH_NO_PROGRAM       ? 127
                   : err->code == BERTH_NOT_EXECUTABLE ? 126
                                                       : 125;
    r->signal = r->oom = r->pid = 0;
    r->started_usec = 0;
    r->ended_usec = now_usec();
    snprintf(r->reason, sizeof(r->reason), "%.511s", err->message);
}

/* ---- events -----------------------------------------------------------------------------------
 */

/* With its addresses: whoever follows the events, a proxy, needs to ask nothing. */
void record_event(struct supervisor *s, const char *type, const char *attributes)
{
    autotext struct text t = {0};
    text_add(&t, attributes ? attributes : "");
    for (size_t i = 0; s->plan && i < s->plan->n_links; i++) {
        const struct plan_link *l = &s->plan->links[i];
        const char *address = l->address ? l->address : "";
        text_printf(&t, "%s%s\"%s\":\"%.*s\"", t.length && i == 0 ? "," : "", i ? "," : "\"addresses\":{",
                    l->network, (int)strcspn(address, "/"), address);
    }
    if (s->plan && s->plan->n_links)
        text_add(&t, "}");
    event_append(s->root_fd, type, s->id, s->name, t.length && !t.failed ? t.data : attributes);
}

/* The whole end record travels in the event: it is what remains after the workload was removed. */
void record_die_event(struct supervisor *s)
{
    autofree char *record = status_print(&s->record);
    autofree char *attributes =
        record ? format_text("\"exit_code\":%d,\"status\":%s", s->record.exit_code, record) : NULL;
    record_event(s, "die", attributes);
}

/* ---- after the end ----------------------------------------------------------------------------
 */

static char *fd_path(int fd)
{
    char link[40], path[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    return n > 0 ? strndup(path, (size_t)n) : NULL;
}

/* The folder that our own program was started from, so that a build tree of links works too. */
char *program_beside(const char *name)
{
    const char *own = (const char *)getauxval(AT_EXECFN);
    char exe[PATH_MAX];
    if (!own || own[0] != '/' || starts_with(own, "/dev/fd/") || starts_with(own, "/proc/")) {
        ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
        if (n <= 0)
            return NULL;
        exe[n] = 0;
        own = exe;
    }
    return format_text("%.*s/%s", (int)(strrchr(own, '/') - own), own, name);
}

/* Born outside of our group: it is there to remove it, or somebody else is at this moment. */
static void run_away(const char *const *argv)
{
    const int fds[3] = {-1, -1, -1};
    struct spawn how = {
        .path = argv[0], .argv = argv, .fds = fds, .n_fds = ARRAY_SIZE(fds), .session = true};
    struct cgroup_layout *layout = NULL;
    autoclose int root_fd = cgroup_layout_read(&layout, NULL) == 0 ? cgroup_root_v2_fd(layout) : -1;
    cgroup_layout_free(layout);
    how.cgroup_fd = MAX(root_fd, 0);
    pid_t pid;
    int pid_fd;
    if (spawn(&how, &pid, &pid_fd) == 0)
        close(pid_fd);
}

static void run_remove(struct supervisor *s)
{
    autofree char *root = fd_path(s->root_fd), *run = fd_path(s->run_fd), *helper = program_beside("berth-helper");
    char *slash = run ? strrchr(run, '/') : NULL;
    if (!root || !slash || !helper)
        return;
    *slash = 0;
    run_away((const char *const[]){helper, "remove", root, run, s->id, NULL});
}

void run_after_end(struct supervisor *s)
{
    if (s->life.cancel)
        return;
    crash_point("end.after");
    if (s->life.remove)
        run_remove(s);
    else if (s->plan->at_end && s->plan->at_end[0] && s->state == LIFE_OVER)
        run_away((const char *const *)s->plan->at_end);
}
