/* SPDX-License-Identifier: Apache-2.0 */
/*
 * launch.h by plain fork and exec, so that the supervisor's machine can be tested without root's
 * features: no namespaces, no cgroups; a program and its execs are the process groups they begin.
 *
 * Files in the workload's folder play the kernel: "fake_fail" makes the preparation fail, the bytes
 * in "fake_oom" are the OOM kills so far.
 */
#include "base/base.h"
#include "supervisor/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define GROUPS_MAX 512

struct launch {
    int workload_fd;
    pid_t groups[GROUPS_MAX];
    size_t n_groups;
    int sockets[8];
    size_t n_sockets;
};

static int open_socket(const struct plan_socket *socket_plan)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", socket_plan->path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 8) < 0)
        return -errno;
    return fd;
}

int launch_prepare(const struct plan *plan, int root_fd, int run_fd, int workload_fd,
                   struct launch **ret_launch, struct berth_error *err)
{
    struct stat st;
    if (fstatat(workload_fd, "fake_fail", &st, 0) == 0)
        return fail(err, BERTH_NO_KERNEL, "fake", "the fake launch was told to fail");
    struct launch *l = calloc(1, sizeof(*l));
    l->workload_fd = workload_fd;
    for (size_t i = 0; i < plan->n_sockets; i++)
        l->sockets[l->n_sockets++] = open_socket(&plan->sockets[i]);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    *ret_launch = l;
    return 0;
}

void launch_settle(struct launch *l) {}

const char *launch_cgroup(const struct launch *l)
{
    return "/fake";
}

/* ---- the child --------------------------------------------------------------------------------
 */

struct child_plan {
    char *const *argv, *const *env;
    const char *workdir;
    const int *stdio;
    int slave_fd, error_fd, told_fd;
};

static void child_fails(const struct child_plan *c, int e, const char *what)
{
    struct berth_error err;
    fail(&err,
         e == ENOENT   ? BERTH_NO_PROGRAM
         : e == EACCES ? BERTH_NOT_EXECUTABLE
                       : BERTH_IO,
         what, "exec \"%s\": %s", what, strerror(e));
    (void)!write(c->error_fd, &err, sizeof(err));
    _exit(127);
}

static void child_main(const struct child_plan *c)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    setsid();
    if (c->slave_fd >= 0)
        ioctl(c->slave_fd, TIOCSCTTY, 0);
    for (int i = 0; i < 3; i++)
        dup2(c->slave_fd >= 0 ? c->slave_fd : c->stdio[i], i);
    if (c->told_fd >= 0) {
        dup2(c->told_fd, 3);
        setenv("BERTH_READY_FD", "3", 1);
    }
    if (c->workdir && chdir(c->workdir) < 0)
        child_fails(c, errno, c->workdir);
    for (int i = 0; c->env && c->env[i]; i++)
        putenv(c->env[i]);
    execvp(c->argv[0], c->argv);
    child_fails(c, errno, c->argv[0]);
}

static int open_terminal(int *ret_master_fd)
{
    char name[64];
    int unlock = 0, number;
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    ioctl(master, TIOCSPTLCK, &unlock);
    ioctl(master, TIOCGPTN, &number);
    snprintf(name, sizeof(name), "/dev/pts/%d", number);
    *ret_master_fd = master;
    return open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

static int start(struct launch *l, struct child_plan *c, bool tty, bool told,
                 struct launch_child *ret_child, int *ret_tty, int *ret_ready)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC | O_NONBLOCK) < 0)
        return -1;
    c->error_fd = ready[1];
    c->told_fd = told ? ready[1] : -1;
    c->slave_fd = tty ? open_terminal(ret_tty) : -1;
    pid_t pid = fork();
    if (pid == 0)
        child_main(c);
    close(ready[1]);
    cleanup_close(&c->slave_fd);
    l->groups[l->n_groups++ % GROUPS_MAX] = pid;
    *ret_child = (struct launch_child){.pid = pid, .pid_fd = (int)syscall(SYS_pidfd_open, pid, 0)};
    *ret_ready = ready[0];
    return 0;
}

int launch_start(struct launch *l, const struct plan *plan, const int stdio[3],
                 struct launch_child *ret_child, int *ret_tty_master_fd, int *ret_ready_fd,
                 struct berth_error *err)
{
    struct child_plan c = {
        .argv = plan->argv, .env = plan->env, .workdir = plan->workdir, .stdio = stdio};
    l->n_groups = 0;
    return start(l, &c, plan->tty, plan->ready_told, ret_child, ret_tty_master_fd, ret_ready_fd);
}

int launch_exec(struct launch *l, const struct plan *plan, const struct launch_child *main_program,
                const struct launch_exec *e, struct launch_child *ret_child, int *ret_tty_master_fd,
                int *ret_ready_fd, struct berth_error *err)
{
    struct child_plan c = {
        .argv = e->argv, .env = e->env, .workdir = e->workdir, .stdio = e->stdio};
    return start(l, &c, e->tty, false, ret_child, ret_tty_master_fd, ret_ready_fd);
}

void launch_look(struct launch *l)
{
    (void)l;
}

int launch_result(struct launch *l, int ready_fd, struct berth_error *err)
{
    struct berth_error said;
    ssize_t n = read(ready_fd, &said, sizeof(said));
    if (n < 0)
        return 0;
    if (n == 0 || (n == 6 && memcmp(&said, "ready\n", 6) == 0))
        return 1;
    if (n == sizeof(said))
        *err = said;
    else
        fail(err, BERTH_CORRUPT, NULL, "half an error");
    return err->code;
}

/* ---- the rest ---------------------------------------------------------------------------------
 */

static void signal_groups(struct launch *l, int signal)
{
    for (size_t i = 0; i < l->n_groups && i < GROUPS_MAX; i++)
        if (kill(-l->groups[i], signal) < 0)
            kill(l->groups[i], signal); /* it has not begun its group yet */
}

int launch_update(struct launch *l, const struct plan *plan, struct berth_error *err)
{
    return 0;
}

int launch_wall(struct launch *l, bool mend, bool *ret_whole, struct berth_error *err)
{
    *ret_whole = true;
    return 0;
}

int launch_freeze(struct launch *l, bool frozen, struct berth_error *err)
{
    signal_groups(l, frozen ? SIGSTOP : SIGCONT);
    return 0;
}

int launch_kill_all(struct launch *l, struct berth_error *err)
{
    signal_groups(l, SIGKILL);
    usleep(2000); /* until they are gone */
    return 0;
}

bool launch_empty(struct launch *l)
{
    return true;
}

uint64_t launch_oom_kills(struct launch *l)
{
    struct stat st;
    return fstatat(l->workload_fd, "fake_oom", &st, 0) == 0 ? (uint64_t)st.st_size : 0;
}

int launch_oom_watch(struct launch *l)
{
    return -ENOTSUP;
}

uint64_t launch_memory_peak(struct launch *l)
{
    return 64 << 20;
}

int launch_socket_fds(struct launch *l, const int **ret_fds, size_t *ret_n)
{
    *ret_fds = l->sockets;
    *ret_n = l->n_sockets;
    return 0;
}

void launch_free(struct launch *l)
{
    free(l);
}

void launch_last(void)
{
}
