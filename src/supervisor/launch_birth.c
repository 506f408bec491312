/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Births: the clone calls, and what each kind of child does before the stage's common end.
 *
 * whole:      everything in one process, born into its v2 group and its namespaces.
 * forerunner: with a user namespace; still real root, it opens what comes from the host, then
 *             clones the stage.
 * guest:      an exec, which enters a running workload.
 * Each of them enters its v1 groups, where there are any, before anything else.
 */
#include "supervisor/launch_internal.h"

#include "base/base.h"
#include "linux/mounts.h"
#include "linux/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define BORN_INTO (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

static pid_t clone_child(uint64_t flags, int cgroup_fd)
{
    struct clone_args args = {.flags = flags};
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    long pid = syscall(SYS_clone3, &args, sizeof(args));
    return pid < 0 ? -errno : (pid_t)pid;
}

static bool has_users(const struct plan *plan)
{
    return plan->namespaces[PLAN_NS_USER].mode != PLAN_NS_HOST;
}

static uint64_t private_flags(const struct stage *st)
{
    uint64_t flags = namespace_flags(st->plan, PLAN_NS_PRIVATE) | CLONE_NEWNS;
    return st->fds[STAGE_NET] >= 0 ? flags & ~(uint64_t)CLONE_NEWNET : flags;
}

/* ---- steps that several kinds share */

static void check(struct stage *st, int r, const struct berth_error *err)
{
    if (r < 0)
        stage_die(st, err);
}

static int enter_v1_groups(struct stage *st, struct berth_error *err)
{
    int r = cgroup_join_v1(st->group, false);
    return r < 0 ? fail_os(err, r, cgroup_path(st->group), "enter control group %s",
                           cgroup_path(st->group))
                 : 0;
}

static int join(int fd, uint64_t flags, const char *what, struct berth_error *err)
{
    if (setns(fd, (int)flags) == 0)
        return 0;
    if (errno == ESRCH)
        return fail(err, BERTH_WRONG_STATE, what, "join %s: that workload is no longer running",
                    what);
    return fail_os(err, errno, what, "join %s", what);
}

/* Other workloads' network, ipc and uts namespaces, and the network that is kept over restarts. */
static int join_others(struct stage *st, struct berth_error *err)
{
    static const int which[] = {PLAN_NS_NET, PLAN_NS_IPC, PLAN_NS_UTS};
    int r = st->fds[STAGE_NET] < 0
                ? 0
                : join(st->fds[STAGE_NET], CLONE_NEWNET, "the kept network namespace", err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(which); i++) {
        int fd = st->fds[STAGE_JOIN + which[i]];
        if (fd >= 0)
            r = join(fd, namespace_flag(which[i]), st->plan->namespaces[which[i]].id, err);
    }
    return r;
}

/* Its root is the group that we are in by now. */
static int enter_cgroup_namespace(struct stage *st, struct berth_error *err)
{
    int mode = st->plan->namespaces[PLAN_NS_CGROUP].mode;
    if (mode == PLAN_NS_JOIN)
        return join(st->fds[STAGE_JOIN + PLAN_NS_CGROUP], CLONE_NEWCGROUP,
                    st->plan->namespaces[PLAN_NS_CGROUP].id, err);
    if (mode == PLAN_NS_PRIVATE && unshare(CLONE_NEWCGROUP) < 0)
        return fail_os(err, errno, "cgroup", "make a cgroup namespace");
    return 0;
}

static int enter_and_run(struct stage *st, struct berth_error *err)
{
    int r = enter_cgroup_namespace(st, err);
    autoclose int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (r == 0 && root_fd < 0)
        r = fail_os(err, errno, "/", "open the root");
    r = r < 0 ? r : stage_enter_proc(st, root_fd, err);
    close_fd(&root_fd);
    return r < 0 ? r : stage_run(st, err);
}

/* ---- whole */

/* Everything that the program will see; a failure is told and is the end. */
static void make_scene(struct stage *st, struct berth_error *err)
{
    int r = enter_v1_groups(st, err);
    r = r < 0 ? r : join_others(st, err);
    r = r < 0 ? r : stage_open_trees(st, err);
    r = r < 0 ? r : stage_build(st, err);
    r = r < 0 ? r : stage_furnish(st, err);
    check(st, r, err);
}

static _Noreturn void whole(struct stage *st)
{
    struct berth_error err = {0};
    stage_clean(st);
    make_scene(st, &err);
    (void)enter_and_run(st, &err);
    stage_die(st, &err);
}

/* ---- with a user namespace */

static int user_namespace_of(int pid_fd)
{
    char path[64], text[512];
    int pid = -1;
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pid_fd);
    autoclose int info_fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = info_fd < 0 ? -1 : read(info_fd, text, sizeof(text) - 1);
    text[MAX(n, 0)] = 0;
    const char *line = strstr(text, "Pid:");
    if (!line || sscanf(line, "Pid: %d", &pid) != 1 || pid <= 0)
        return -ESRCH;
    snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int users_make(const struct plan *p, int *ret_fd, struct berth_error *err)
{
    char path[64], byte;
    int hold[2];
    if (pipe2(hold, O_CLOEXEC) < 0)
        return fail_os(err, errno, "userns", "make a pipe");
    pid_t pid = clone_child(CLONE_NEWUSER, -1);
    if (pid == 0) {
        close(hold[1]);
        (void)!read(hold[0], &byte, 1);
        _exit(0);
    }
    close(hold[0]);
    int r = pid < 0 ? pid
                    : namespace_write_maps(pid, p->uid_map, p->n_uid_map, p->gid_map, p->n_gid_map);
    if (r == 0) {
        snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
        *ret_fd = open(path, O_RDONLY | O_CLOEXEC);
        r = *ret_fd < 0 ? -errno : 0;
    }
    close(hold[1]);
    if (pid > 0)
        reap_pid(pid);
    if (r == -ENOSPC || r == -EUSERS)
        return fail(err, BERTH_NO_KERNEL, "userns",
                    "namespaces.userns: this machine allows no more user namespaces "
                    "(user.max_user_namespaces)");
    return r < 0 ? fail_os(err, r, "userns", "namespaces.userns: make the user namespace") : 0;
}

static int find_user_namespace(struct stage *st, struct berth_error *err)
{
    const char *id = st->plan->namespaces[PLAN_NS_USER].id;
    if (st->plan->namespaces[PLAN_NS_USER].mode != PLAN_NS_JOIN && st->fds[STAGE_USERS] < 0)
        return users_make(st->plan, &st->userns_fd, err);
    st->userns_fd = st->fds[STAGE_USERS] >= 0 ? st->fds[STAGE_USERS] : user_namespace_of(st->fds[STAGE_JOIN + PLAN_NS_USER]);
    return st->userns_fd < 0 ? fail_os(err, st->userns_fd, id, "namespaces.userns: open that of %s", id) : 0;
}

/* Ids of the host mean nothing inside: root of the namespace is who we are from here on. */
static int become_inner_root(struct berth_error *err)
{
    if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
        return fail_os(err, errno, "userns",
                       "namespaces.userns: become its root (are id 0 and gid 0 mapped?)");
    return 0;
}

static void give_pipes_to_inner_root(struct stage *st)
{
    uint32_t uid = idmap_outside(st->plan->uid_map, st->plan->n_uid_map, 0);
    uint32_t gid = idmap_outside(st->plan->gid_map, st->plan->n_gid_map, 0);
    struct stat s;
    for (int i = STAGE_STDIN; i <= STAGE_STDERR; i++)
        if (st->fds[i] >= 0 && fstat(st->fds[i], &s) == 0 && S_ISFIFO(s.st_mode))
            (void)fchown(st->fds[i], uid, gid);
}

static _Noreturn void stage_with_users(struct stage *st)
{
    struct berth_error err = {0};
    int r = become_inner_root(&err);
    if (r == 0) {
        /* While the host's /proc can still be seen: the kernel asks for that in a user namespace.
         */
        st->proc_tree = mount_new("proc", "proc", NULL,
                                  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        if (st->proc_tree < 0)
            r = fail_os(&err, st->proc_tree, "/proc", "mount /proc");
    }
    r = r < 0 ? r : stage_build(st, &err);
    r = r < 0 ? r : stage_furnish(st, &err);
    check(st, r, &err);
    (void)enter_and_run(st, &err);
    stage_die(st, &err);
}

static _Noreturn void forerunner(struct stage *st, int pid_pipe)
{
    struct berth_error err = {0};
    st->fds[STAGE_INNER] = pid_pipe;
    stage_clean(st);
    int r = enter_v1_groups(st, &err);
    if (r == 0 && unshare(CLONE_NEWNS) < 0)
        r = fail_os(&err, errno, "mnt", "make a mount namespace");
    r = r < 0 ? r : find_user_namespace(st, &err);
    r = r < 0 ? r : join_others(st, &err);
    r = r < 0 ? r : stage_open_trees(st, &err);
    give_pipes_to_inner_root(st);
    r = r < 0 ? r : join(st->userns_fd, CLONE_NEWUSER, "the user namespace", &err);
    check(st, r, &err);
    pid_t pid = clone_child((private_flags(st) & BORN_INTO) | CLONE_PARENT, -1);
    if (pid == 0) {
        close_fd(&st->fds[STAGE_INNER]);
        (void)setsid();
        stage_with_users(st);
    }
    if (pid < 0)
        check(st, fail_os(&err, pid, "userns", "namespaces.userns: make the workload's namespaces"),
              &err);
    (void)!write(pid_pipe, &pid, sizeof(pid));
    _exit(0);
}

/* ---- guest */

static _Noreturn void guest(struct stage *st)
{
    struct berth_error err = {0};
    uint64_t flags = (namespace_flags(st->plan, PLAN_NS_PRIVATE) |
                      namespace_flags(st->plan, PLAN_NS_JOIN) | CLONE_NEWNS) &
                     ~(uint64_t)CLONE_NEWPID;
    stage_clean(st);
    if (has_users(st->plan)) {
        st->userns_fd = st->fds[STAGE_MAIN]; /* only says that there is one */
        give_pipes_to_inner_root(st);
    }
    int r = enter_v1_groups(st, &err);
    r = r < 0 ? r : join(st->fds[STAGE_MAIN], flags, "the workload", &err);
    if (r == 0 && has_users(st->plan))
        r = become_inner_root(&err);
    check(st, r, &err);
    (void)stage_run(st, &err);
    stage_die(st, &err);
}

/* ---- the pid namespace of children is the parent's to choose */

static int enter_pid_namespace(const struct stage *st)
{
    int fd = st->exec ? st->fds[STAGE_MAIN] : st->fds[STAGE_JOIN + PLAN_NS_PID];
    bool other = st->exec ? st->plan->namespaces[PLAN_NS_PID].mode != PLAN_NS_HOST : fd >= 0;
    if (!other)
        return 0;
    return setns(fd, CLONE_NEWPID) < 0 ? -errno : 1;
}

static void leave_pid_namespace(const struct stage *st)
{
    autoclose int own_fd = openat(st->fds[STAGE_PROC], "self/ns/pid", O_RDONLY | O_CLOEXEC);
    if (own_fd >= 0)
        (void)setns(own_fd, CLONE_NEWPID);
}

static uint64_t birth_flags(const struct stage *st)
{
    if (st->exec || has_users(st->plan))
        return 0;
    return private_flags(st) & BORN_INTO;
}

static _Noreturn void play(struct stage *st, int pid_pipe)
{
    if (st->exec)
        guest(st);
    if (has_users(st->plan))
        forerunner(st, pid_pipe);
    whole(st);
}

int birth_stage(struct stage *st, struct birth *ret)
{
    bool with_forerunner = !st->exec && has_users(st->plan);
    int pid_pipe[2] = {-1, -1};
    pid_t inner = 0;
    if (with_forerunner && pipe2(pid_pipe, O_CLOEXEC) < 0)
        return -errno;
    int moved = enter_pid_namespace(st);
    pid_t pid = moved < 0 ? moved : clone_child(birth_flags(st), cgroup_v2_fd(st->group));
    if (pid == 0)
        play(st, pid_pipe[1]);
    if (moved > 0)
        leave_pid_namespace(st);
    close_fd(&pid_pipe[1]);
    *ret = (struct birth){.pid = pid};
    if (pid > 0 && with_forerunner &&
        RETRY(read(pid_pipe[0], &inner, sizeof(inner))) == (ssize_t)sizeof(inner))
        *ret = (struct birth){.pid = inner, .forerunner = pid};
    close_fd(&pid_pipe[0]);
    return pid < 0 ? pid : 0;
}
