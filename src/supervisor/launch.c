/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launch: what lives as long as the supervisor, and the two births that it may ask for.
 */
#include "supervisor/launch_internal.h"

#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/mounts.h"
#include "model/status.h"
#include "store/store.h"
#include "linux/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define KILL_PATIENCE_USEC 2000000

void reap_pid(pid_t pid)
{
    siginfo_t info;
    (void)RETRY(waitid(P_PID, (id_t)pid, &info, WEXITED | __WALL));
}

int pid_fd_open(pid_t pid)
{
    int fd = pidfd_open(pid, 0);
    return fd < 0 ? -errno : fd;
}

/* ---- other workloads whose namespaces are joined */

static int not_running(int dir_fd, const char *id, struct berth_error *err)
{
    char name[BERTH_NAME_MAX + 32];
    ssize_t n = readlinkat(dir_fd, "name", name, sizeof(name) - 1);
    name[MAX(n, 0)] = 0;
    const char *slash = strrchr(name, '/'), *shown = n <= 0 ? id : slash ? slash + 1 : name;
    return fail(err, BERTH_WRONG_STATE, shown,
                "namespaces: %s, whose namespace is to be joined, is not running", shown);
}

/* Its record says a pid; that the pid is still its own is certain when its supervisor lives before
 * and after. */
static bool other_lives(const struct launch *l, const char *id)
{
    char path[80];
    snprintf(path, sizeof(path), "../%.40s/life", id);
    autoclose int fd = openat(l->run_fd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && lock_held(fd) == 1;
}

static int other_open(const struct launch *l, const char *id, int *ret_fd, struct berth_error *err)
{
    char path[64];
    struct status *status = NULL;
    if (!id || strlen(id) != 32 || strspn(id, "0123456789abcdef") != 32)
        return fail(err, BERTH_INVALID, id, "namespaces: \"%s\" is not a workload's id",
                    id ? id : "");
    snprintf(path, sizeof(path), "workloads/%s", id);
    autoclose int dir_fd = openat(l->root_fd, path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir_fd < 0)
        return fail(err, BERTH_NOT_FOUND, id,
                    "namespaces: workload %.12s, whose namespace is to be joined, does not exist",
                    id);
    status = calloc(1, sizeof(*status));
    if (!status)
        return fail_memory(err);
    int r = status_read_at(dir_fd, status, err);
    pid_t pid = status->pid;
    free(status);
    if (r < 0)
        return r;
    autoclose int fd = pid > 0 && other_lives(l, id) ? pid_fd_open(pid) : -1;
    if (fd < 0 || !other_lives(l, id))
        return not_running(dir_fd, id, err);
    *ret_fd = take_fd(&fd);
    return 0;
}

static int others_open(struct launch *l, const struct plan *plan, struct berth_error *err)
{
    for (int i = 0; i < PLAN_NS_COUNT; i++) {
        int r = 0;
        close_fd(&l->join_fds[i]);
        if (plan->namespaces[i].mode == PLAN_NS_JOIN)
            r = other_open(l, plan->namespaces[i].id, &l->join_fds[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- prepare and free */

static struct launch *launch_new(int root_fd, int run_fd, int workload_fd)
{
    struct launch *l = calloc(1, sizeof(*l));
    if (!l)
        return NULL;
    l->root_fd = root_fd;
    l->run_fd = run_fd;
    l->workload_fd = workload_fd;
    l->proc_fd = l->init_fd = l->program_fd = l->net_fd = l->users_fd = l->told_fd = l->main_ready_fd = l->held_root_fd = -1;
    for (int i = 0; i < PLAN_NS_COUNT; i++)
        l->join_fds[i] = -1;
    return l;
}

/* Where the root is mounted, in the workload's own mount namespace: its folder in the store. */
static int find_place(struct launch *l, struct berth_error *err)
{
    char link[40], path[4096];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", l->workload_fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n < 0 || path[0] != '/')
        return fail_os(err, n < 0 ? errno : ENOENT, NULL, "find the workload's folder");
    path[n] = 0;
    l->place = strdup(path);
    return l->place ? 0 : fail_memory(err);
}

/* What is ours is opened through a read-only mount: what the workload finds behind /proc/1/exe can't be
 * written, and nothing of ours need be in its image. */
static int open_program(const char *path, const char *what, int *ret_fd, struct berth_error *err)
{
    autoclose int tree_fd = mount_clone(AT_FDCWD, path ? path : "", false);
    int r = tree_fd < 0 ? tree_fd : mount_attributes(tree_fd, MOUNT_ATTR_RDONLY, MS_PRIVATE, false);
    if (r == 0)
        *ret_fd = take_fd(&tree_fd);
    return r < 0 ? fail_os(err, r, path, "open the %s %s", what, path ? path : "") : 0;
}

static int open_programs(struct launch *l, const struct plan *plan, struct berth_error *err)
{
    int r = plan->init ? open_program(plan->init_program, "init program", &l->init_fd, err) : 0;
    return r == 0 && plan->program ? open_program(plan->program, "program", &l->program_fd, err) : r;
}

/* ---- files of the plan */

static int open_file(const struct launch *l, const struct plan_file *f, int *ret_fd, struct berth_error *err)
{
    if (f->size) {
        (void)unlinkat(l->run_fd, f->name, 0); /* who still reads that of an earlier run keeps it */
        *ret_fd = openat(l->run_fd, f->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (*ret_fd < 0 || ftruncate(*ret_fd, (off_t)f->size) < 0)
            return fail_os(err, errno, f->name, "make the workload's %s", f->name);
        return 0;
    }
    *ret_fd = open(f->path, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    return *ret_fd < 0 ? fail_os(err, errno, f->path, "open %s", f->path) : 0;
}

static void close_files(struct launch *l)
{
    while (l->n_files)
        close_fd(&l->files[--l->n_files]);
}

/* For each run anew: a cleaned cache may have filled again, and counters begin at zero. */
static int open_files(struct launch *l, const struct plan *plan, struct berth_error *err)
{
    close_files(l);
    if (plan->n_files > STAGE_FILES_MAX)
        return fail(err, BERTH_TOO_BIG, "files", "files: more than %d", STAGE_FILES_MAX);
    for (size_t i = 0; i < plan->n_files; i++) {
        l->files[l->n_files++] = -1;
        int r = open_file(l, &plan->files[i], &l->files[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_plan(const struct plan *plan, struct berth_error *err)
{
    if (plan->namespaces[PLAN_NS_MNT].mode != PLAN_NS_PRIVATE)
        return fail(err, BERTH_INVALID, "namespaces.mnt",
                    "namespaces.mnt: a workload's mounts are always its own");
    if (!plan->argv || !plan->argv[0])
        return fail(err, BERTH_INVALID, "command",
                    "command: neither the spec nor the image names a program");
    if (plan->namespaces[PLAN_NS_USER].mode == PLAN_NS_PRIVATE &&
        (!plan->n_uid_map || !plan->n_gid_map))
        return fail(err, BERTH_INVALID, "namespaces.userns",
                    "namespaces.userns: no ids are mapped");
    return 0;
}

static int prepare(struct launch *l, const struct plan *plan, struct berth_error *err)
{
    int r = check_plan(plan, err);
    r = r < 0 ? r : find_place(l, err);
    r = r < 0 ? r : cgroup_layout_read(&l->layout, err);
    r = r < 0 ? r : cgroup_make(l->layout, plan->cgroup_parent, plan->id, &l->group, err);
    r = r < 0 ? r : cgroup_limit(l->group, &plan->limits, err);
    r = r < 0 ? r : cgroup_devices(l->group, plan->devices, plan->n_devices, plan->privileged, err);
    if (r == 0 && plan->oom_kill_disable)
        r = cgroup_oom_disable(l->group, err);
    if (r == 0) {
        l->proc_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        r = l->proc_fd < 0 ? fail_os(err, errno, "/proc", "open /proc") : open_programs(l, plan, err);
    }
    r = r < 0 ? r : others_open(l, plan, err);
    return r < 0 ? r : net_open(l, plan, err);
}

int launch_prepare(const struct plan *plan, int root_fd, int run_fd, int workload_fd,
                   struct launch **ret_launch, struct berth_error *err)
{
    struct launch *l = launch_new(root_fd, run_fd, workload_fd);
    if (!l)
        return fail_memory(err);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    int r = prepare(l, plan, err);
    if (r < 0) {
        launch_free(l);
        return r;
    }
    *ret_launch = l;
    return 0;
}

const char *launch_cgroup(const struct launch *l)
{
    return cgroup_path(l->group);
}

void launch_free(struct launch *l)
{
    if (!l)
        return;
    close_fd(&l->net_fd);
    close_fd(&l->users_fd);
    net_end(TAKE(l->net));
    close_later(l->held_root_fd);
    if (l->group)
        (void)cgroup_remove_load(l->layout, cgroup_path(l->group), 200);
    cgroup_close(l->group);
    cgroup_layout_free(l->layout);
    for (size_t i = 0; i < l->n_sockets; i++)
        close_fd(&l->sockets[i]);
    for (int i = 0; i < PLAN_NS_COUNT; i++)
        close_fd(&l->join_fds[i]);
    close_fd(&l->proc_fd);
    close_fd(&l->init_fd);
    close_fd(&l->program_fd);
    close_files(l);
    close_fd(&l->net_fd);
    free(l->place);
    free(l);
}

void launch_last(void)
{
    net_last();
}

/* ---- births */

struct wires {
    int ready[2], tty[2], filter_fd;
};

static void wires_close(struct wires *w)
{
    for (int i = 0; i < 2; i++) {
        close_fd(&w->ready[i]);
        close_fd(&w->tty[i]);
    }
    close_fd(&w->filter_fd);
}

static int wires_open(struct wires *w, const struct stage *st, struct berth_error *err)
{
    const char *filter = st->exec && st->privileged ? NULL : st->plan->seccomp;
    if (pipe2(w->ready, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "make a pipe");
    (void)fcntl(w->ready[0], F_SETFL, O_NONBLOCK);
    if (st->tty && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, w->tty) < 0)
        return fail_os(err, errno, NULL, "make a socket");
    if (filter && *filter) {
        w->filter_fd = open(filter, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
        if (w->filter_fd < 0)
            return fail_os(err, errno, filter, "seccomp filter %s", filter);
        return privilege_filter_check(w->filter_fd, filter, err);
    }
    return 0;
}

static void stage_for(struct stage *st, struct launch *l, const struct plan *plan)
{
    stage_begin(st);
    st->plan = plan;
    st->group = l->group;
    st->place = l->place;
    st->fds[STAGE_PROC] = l->proc_fd;
}

static void stage_wire(struct stage *st, const struct wires *w, const int *stdio)
{
    st->fds[STAGE_READY] = w->ready[1];
    st->fds[STAGE_TTY] = w->tty[1];
    st->fds[STAGE_FILTER] = w->filter_fd;
    for (int i = 0; stdio && !st->tty && i < 3; i++)
        st->fds[i] = stdio[i];
}

static int birth_failed(const struct stage *st, int r, struct berth_error *err)
{
    if (r == -ESRCH || (r == -ENOMEM && st->exec))
        return fail(err, BERTH_WRONG_STATE, st->plan->name, "%s is no longer running",
                    st->plan->name);
    if (r == -ENOSYS)
        return fail(err, BERTH_NO_KERNEL, "clone3",
                    "this kernel lacks clone3 (5.3) or clone into a cgroup (5.7)");
    if (r == -EAGAIN)
        return fail(err, BERTH_NO_SPACE, st->plan->name,
                    "%s may have no more processes (resources.pids)", st->plan->name);
    if (r == -ENOSPC || r == -EUSERS)
        return fail(err, BERTH_NO_SPACE, "namespaces",
                    "this machine allows no more namespaces (user.max_*_namespaces)");
    return fail_os(err, r, st->plan->name, "make the process of %s", st->plan->name);
}

static int give_birth(struct launch *l, struct stage *st, struct launch_child *ret_child,
                      struct berth_error *err)
{
    struct birth b = {0};
    int r = birth_stage(st, &b);
    if (r < 0)
        return birth_failed(st, r, err);
    if (b.forerunner)
        reap_pid(b.forerunner);
    ret_child->pid = b.pid;
    ret_child->pid_fd = pid_fd_open(b.pid);
    return ret_child->pid_fd < 0 ? fail_os(err, ret_child->pid_fd, NULL, "open the new process")
                                 : 0;
}

/* The master comes as soon as the workload's /dev/pts is there; an end without it means that the
 * stage failed. */
static void receive_master(struct wires *w, int *ret_master_fd)
{
    char byte;
    int master_fd = -1;
    size_t n = 1;
    close_fd(&w->tty[1]);
    *ret_master_fd = -1;
    if (w->tty[0] >= 0 && recv_with_fds(w->tty[0], &byte, 1, &master_fd, &n) > 0 && n == 1)
        *ret_master_fd = master_fd;
}

/* The network outlives the program: a restart finds it again. */
static void keep_network(struct launch *l, const struct stage *st, pid_t pid)
{
    char path[40];
    if (l->net_fd >= 0 || st->plan->namespaces[PLAN_NS_NET].mode != PLAN_NS_PRIVATE ||
        st->plan->namespaces[PLAN_NS_USER].mode != PLAN_NS_HOST)
        return;
    snprintf(path, sizeof(path), "%d/ns/net", (int)pid);
    l->net_fd = openat(l->proc_fd, path, O_RDONLY | O_CLOEXEC);
}

int launch_start(struct launch *l, const struct plan *plan, const int stdio[3],
                 struct launch_child *ret_child, int *ret_tty_master_fd, int *ret_ready_fd,
                 struct berth_error *err)
{
    struct wires w = {{-1, -1}, {-1, -1}, -1};
    struct stage st;
    close_fd(&l->held_root_fd); /* one overlay at a time on one upper folder */
    stage_for(&st, l, plan);
    st.tty = plan->tty;
    st.argv = plan->argv;
    st.user = plan->user;
    st.groups = plan->groups;
    st.fds[STAGE_NET] = l->net_fd;
    st.fds[STAGE_USERS] = l->users_fd;
    st.fds[STAGE_INIT] = l->init_fd;
    memcpy(&st.fds[STAGE_JOIN], l->join_fds, sizeof(l->join_fds));
    memcpy(st.sockets, l->sockets, sizeof(st.sockets));
    st.n_sockets = l->n_sockets;
    st.fds[STAGE_PROGRAM] = l->program_fd;
    int r = open_files(l, plan, err);
    memcpy(st.files, l->files, sizeof(st.files));
    st.n_files = l->n_files;
    r = r < 0 ? r : wires_open(&w, &st, err);
    if (r == 0) {
        stage_wire(&st, &w, stdio);
        l->oom_before = cgroup_oom_kills(l->group);
        r = give_birth(l, &st, ret_child, err);
    }
    if (r == 0) {
        keep_network(l, &st, ret_child->pid);
        close_fd(&w.ready[1]);
        receive_master(&w, ret_tty_master_fd);
        *ret_ready_fd = take_fd(&w.ready[0]);
        l->told_fd = plan->ready_told ? *ret_ready_fd : -1;
        l->main_ready_fd = *ret_ready_fd;
        l->main_pid = ret_child->pid;
        l->unborn = false;
    }
    wires_close(&w);
    return r;
}

/* Its caller's, or what the main program reads: one of that program's own things is written by it alone. */
static void exec_files(struct stage *st, const struct launch *l, const struct launch_exec *e)
{
    for (size_t i = 0; i < e->n_files && i < STAGE_FILES_MAX; i++)
        st->files[st->n_files++] = e->files[i];
    for (size_t i = 0; !e->n_files && i < l->n_files; i++)
        if (!st->plan->files[i].size)
            st->files[st->n_files++] = l->files[i];
}

int launch_exec(struct launch *l, const struct plan *plan, const struct launch_child *main_program,
                const struct launch_exec *e, struct launch_child *ret_child, int *ret_tty_master_fd,
                int *ret_ready_fd, struct berth_error *err)
{
    struct wires w = {{-1, -1}, {-1, -1}, -1};
    struct stage st;
    stage_for(&st, l, plan);
    st.exec = true;
    st.tty = e->tty;
    st.privileged = e->privileged;
    st.rows = e->rows;
    st.columns = e->columns;
    st.argv = e->argv;
    st.env = e->env;
    st.user = e->user && *e->user ? e->user : plan->user;
    st.groups = e->groups ? e->groups : plan->groups;
    st.workdir = e->workdir;
    st.fds[STAGE_MAIN] = main_program->pid_fd;
    st.fds[STAGE_PROGRAM] = l->program_fd;
    exec_files(&st, l, e);
    int r = wires_open(&w, &st, err);
    if (r == 0) {
        stage_wire(&st, &w, e->stdio);
        r = give_birth(l, &st, ret_child, err);
    }
    if (r == 0) {
        close_fd(&w.ready[1]);
        receive_master(&w, ret_tty_master_fd);
        *ret_ready_fd = take_fd(&w.ready[0]);
    }
    wires_close(&w);
    return r;
}

/* ---- ready */

/* A dying process would have to finish its overlay, which is a sync of the disk below it, before
 * anybody hears of its end. With this descriptor that comes after the answer. */
static void hold_root(struct launch *l)
{
    char path[40];
    snprintf(path, sizeof(path), "%d/root", (int)l->main_pid);
    close_fd(&l->held_root_fd);
    l->held_root_fd = openat(l->proc_fd, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

#define PF_FORKNOEXEC 0x40 /* include/linux/sched.h; proc(5) shows the word */

void launch_look(struct launch *l)
{
    char path[40];
    unsigned flags = 0;
    autofree char *text = NULL;
    snprintf(path, sizeof(path), "%d/stat", (int)l->main_pid);
    const char *behind_name = file_read(l->proc_fd, path, 4096, &text, NULL) < 0 ? NULL : strrchr(text, ')');
    if (behind_name && sscanf(behind_name, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1)
        l->unborn = flags & PF_FORKNOEXEC;
}

#define READY "ready\n"

static int told_result(const char *text, size_t size, struct berth_error *err)
{
    if (starts_with(text, "ready"))
        return 1;
    return fail(err, BERTH_INVALID, NULL, "%.*s", (int)MIN(size, (size_t)800), text);
}

int launch_result(struct launch *l, int ready_fd, struct berth_error *err)
{
    union {
        struct berth_error error;
        char text[sizeof(struct berth_error) + 1];
    } said;
    bool told = ready_fd == l->told_fd;
    memset(&said, 0, sizeof(said));
    /* What it says after that it is ready is not for now. */
    ssize_t n = RETRY(read(ready_fd, &said, told ? strlen(READY) : sizeof(said.error)));
    if (told && n > 0 && memcmp(said.text, READY, (size_t)n) != 0) {
        ssize_t more = RETRY(read(ready_fd, said.text + n, sizeof(said.error) - (size_t)n));
        n += MAX(more, 0);
    }
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (told)
        l->told_fd = -1;
    bool main = ready_fd == l->main_ready_fd;
    if (main) {
        l->main_ready_fd = -1;
        hold_root(l);
        launch_look(l);
    }
    if (n < 0)
        return fail_os(err, errno, NULL, "hear from the new process");
    if (n == 0 && told)
        return fail(err, BERTH_LOST, NULL, "the program ended before it said that it is ready");
    if (n == 0 && main && l->unborn)
        return fail(err, BERTH_LOST, NULL, "it ended before its program ran (killed, by a memory limit too low for it?)");
    if (n == 0)
        return 1;
    if (n != (ssize_t)sizeof(said.error) || said.error.code >= 0)
        return told ? told_result(said.text, (size_t)n, err)
                    : fail(err, BERTH_CORRUPT, NULL, "half an error was heard");
    said.error.message[sizeof(said.error.message) - 1] =
        said.error.object[sizeof(said.error.object) - 1] = 0;
    if (err)
        *err = said.error;
    return said.error.code;
}

/* ---- while it runs */

void launch_settle(struct launch *l)
{
    if (!l->settled && cgroup_needs_join(l->layout))
        (void)cgroup_join_v1(l->group, true);
    l->settled = true;
}

int launch_update(struct launch *l, const struct plan *plan, struct berth_error *err)
{
    int r = l->net ? net_change(l->net, plan, err) : 0;
    return r < 0 ? r : cgroup_limit(l->group, &plan->limits, err);
}

int launch_wall(struct launch *l, bool mend, bool *ret_whole, struct berth_error *err)
{
    *ret_whole = true;
    return l->net ? net_look_at_wall(l->net, mend, ret_whole, err) : 0;
}

int launch_freeze(struct launch *l, bool frozen, struct berth_error *err)
{
    l->frozen |= frozen;
    return cgroup_freeze(l->group, frozen, err);
}

bool launch_empty(struct launch *l)
{
    return cgroup_populated(l->group) <= 0;
}

static void wait_for_change(struct launch *l, int msec)
{
    struct pollfd p = {.fd = cgroup_events_fd(l->group), .events = POLLPRI};
    if (p.fd < 0)
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL); /* v1 alone tells nothing */
    else
        (void)poll(&p, 1, msec);
}

int launch_kill_all(struct launch *l, struct berth_error *err)
{
    int64_t deadline = monotonic_usec() + KILL_PATIENCE_USEC;
    for (int round = 0;; round++) {
        bool freeze = round >= 3; /* they fork faster than we kill */
        l->frozen |= freeze;
        int r = cgroup_kill_members(l->group, freeze);
        if (r < 0 && r != -ENOENT && r != -ENODEV)
            return fail_os(err, r, cgroup_path(l->group), "kill control group %s",
                           cgroup_path(l->group));
        if (launch_empty(l))
            break;
        if (monotonic_usec() > deadline)
            return fail(err, BERTH_IO, cgroup_path(l->group),
                        "processes in control group %s do not end (waiting for a "
                        "device or a network file system?)",
                        cgroup_path(l->group));
        wait_for_change(l, freeze ? 20 : 4);
    }
    if (l->frozen) /* not for nothing: it waits for whoever joins a group at the moment */
        (void)cgroup_freeze(l->group, false, NULL);
    l->frozen = false;
    return 0;
}

int launch_oom_watch(struct launch *l)
{
    return cgroup_oom_watch(l->group);
}

uint64_t launch_oom_kills(struct launch *l)
{
    uint64_t now = cgroup_oom_kills(l->group);
    return now > l->oom_before ? now - l->oom_before : 0;
}

uint64_t launch_memory_peak(struct launch *l)
{
    return cgroup_memory_peak(l->group);
}

int launch_socket_fds(struct launch *l, const int **ret_fds, size_t *ret_n)
{
    *ret_fds = l->sockets;
    *ret_n = l->n_sockets;
    return 0;
}
