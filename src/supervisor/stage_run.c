/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last steps of a stage: who it is, what it may do, which descriptors it keeps, exec.
 *
 * The order is the kernel's: what needs privileges comes before they go, the filter comes last, and
 * no descriptor of the host may be open when a path of the workload's choosing is walked
 * (CVE-2024-21626).
 */
#include "supervisor/stage.h"

#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/mounts.h"
#include "linux/privilege.h"
#include "linux/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* ---- beginning and end */

void stage_begin(struct stage *st)
{
    memset(st, 0, sizeof(*st));
    for (size_t i = 0; i < STAGE_FD_COUNT; i++)
        st->fds[i] = -1;
    st->root_tree = st->proc_tree = st->null_tree = st->mask_tree = st->userns_fd = -1;
    st->shm_tree = st->mqueue_tree = st->sys_tree = -1;
}

static int compare_fds(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Close all descriptors but these. */
static void keep_only(int *fds, size_t n)
{
    int next = 0;
    qsort(fds, n, sizeof(*fds), compare_fds);
    for (size_t i = 0; i < n; i++) {
        if (fds[i] > next)
            (void)close_range((unsigned)next, (unsigned)fds[i] - 1, 0);
        next = MAX(next, fds[i] + 1);
    }
    (void)close_range((unsigned)next, ~0u, 0);
}

void stage_clean(struct stage *st)
{
    int keep[STAGE_FD_COUNT + STAGE_SOCKETS_MAX + STAGE_FILES_MAX];
    size_t n = 0;
    sigset_t none;
    for (size_t i = 0; i < STAGE_FD_COUNT; i++)
        if (st->fds[i] >= 0)
            keep[n++] = st->fds[i];
    for (size_t i = 0; i < st->n_sockets; i++)
        keep[n++] = st->sockets[i];
    for (size_t i = 0; i < st->n_files; i++)
        keep[n++] = st->files[i];
    keep_only(keep, n);
    for (int i = 1; i < NSIG; i++)
        (void)signal(i, SIG_DFL);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    umask(0);
}

void stage_die(struct stage *st, const struct berth_error *err)
{
    (void)!write(st->fds[STAGE_READY], err, sizeof(*err));
    _exit(err->code == BERTH_NO_PROGRAM ? 127 : err->code == BERTH_NOT_EXECUTABLE ? 126 : 125);
}

/* ---- environment */

static bool has_variable(char *const *env, const char *name)
{
    size_t length = strlen(name);
    for (; env && *env; env++)
        if (strncmp(*env, name, length) == 0 && (*env)[length] == '=')
            return true;
    return false;
}

/* A later setting of a variable replaces the earlier one. */
static int set_variable(char ***env, const char *setting)
{
    size_t length = strcspn(setting, "=");
    for (char **e = *env; e && *e; e++)
        if (strncmp(*e, setting, length) == 0 && (*e)[length] == '=') {
            char *copy = strdup(setting);
            if (!copy)
                return -ENOMEM;
            free(*e);
            *e = copy;
            return 0;
        }
    return strings_add(env, setting);
}

static int default_variable(char ***env, const char *name, const char *value)
{
    autofree char *setting = format_text("%s=%s", name, value);
    if (!setting)
        return -ENOMEM;
    return has_variable(*env, name) ? 0 : strings_add(env, setting);
}

static int socket_variables(struct stage *st, char ***env)
{
    autotext struct text names = {0};
    char number[64];
    for (size_t i = 0; i < st->n_sockets; i++)
        text_printf(&names, "%s%s", i ? ":" : "LISTEN_FDNAMES=",
                    i < st->plan->n_sockets && st->plan->sockets[i].name ? st->plan->sockets[i].name
                                                                         : "unknown");
    snprintf(number, sizeof(number), "LISTEN_FDS=%zu", st->n_sockets);
    int r = set_variable(env, number);
    /* With an init the program's pid is not ours: it puts its own there. */
    snprintf(number, sizeof(number), "LISTEN_PID=%d", (int)getpid());
    r = r < 0 ? r : set_variable(env, number);
    return r < 0 || names.failed ? -ENOMEM : set_variable(env, names.data);
}

static int make_environment(struct stage *st, char ***ret, struct berth_error *err)
{
    autostrings char **env = NULL;
    char host[65] = "", number[40];
    int r = 0;
    for (char **e = st->plan->env; r == 0 && e && *e; e++)
        r = set_variable(&env, *e);
    for (char *const *e = st->env; r == 0 && e && *e; e++)
        r = set_variable(&env, *e);
    (void)gethostname(host, sizeof(host) - 1);
    r = r < 0 ? r
              : default_variable(&env, "PATH",
                                 "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    r = r < 0 ? r : default_variable(&env, "HOSTNAME", host);
    r = r < 0 ? r : default_variable(&env, "HOME", st->who.home);
    if (st->tty)
        r = r < 0 ? r : default_variable(&env, "TERM", "xterm");
    if (st->n_sockets)
        r = r < 0 ? r : socket_variables(st, &env);
    if (st->plan->ready_told && !st->exec) {
        snprintf(number, sizeof(number), "BERTH_READY_FD=%zu", 3 + st->n_sockets + st->n_files);
        r = r < 0 ? r : set_variable(&env, number);
    }
    if (r < 0)
        return fail_memory(err);
    *ret = TAKE(env);
    return 0;
}

/* ---- who and where */

static int oom_score(struct stage *st, struct berth_error *err)
{
    char number[16];
    int score = st->plan->has_oom_score_adj ? st->plan->oom_score_adj : 0;
    snprintf(number, sizeof(number), "%d", score);
    autoclose int fd = openat(st->fds[STAGE_PROC], "self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    /* Without a wish it is only that a supervisor's own protection must not be handed on. */
    if ((fd < 0 || write(fd, number, strlen(number)) < 0) && st->plan->has_oom_score_adj)
        return fail_os(err, errno, "oom_score_adj",
                       "oom_score_adj %d (lowering it needs CAP_SYS_RESOURCE)", score);
    return 0;
}

static int enter_workdir(struct stage *st, int root_fd, struct berth_error *err)
{
    const char *path = st->workdir && *st->workdir ? st->workdir : st->plan->workdir;
    char where[4096];
    if (!path || !*path)
        path = "/";
    bool makes = !st->exec && !st->plan->root.host;
    autoclose int fd = makes ? root_make_folder(root_fd, path)
                             : root_open(root_fd, path, O_PATH | O_DIRECTORY);
    if (fd == -ELOOP)
        return fail(err, BERTH_INVALID, path,
                    "workdir %s: refused, a link on it leads nowhere or into another process",
                    path);
    if (fd == -EROFS)
        return fail(err, BERTH_NOT_FOUND, path,
                    "workdir %s: the image lacks it and its root is read-only", path);
    if (fd < 0)
        return fail_os(err, fd, path, "workdir %s", path);
    if (fchdir(fd) < 0)
        return fail_os(err, errno, path, "workdir %s", path);
    /* Outside of the root the kernel says "(unreachable)". */
    if (!getcwd(where, sizeof(where)) || where[0] != '/')
        return fail(err, BERTH_INVALID, path,
                    "workdir %s: refused, it is not inside the workload's root", path);
    return 0;
}

/* The user's program may open /dev/stdout anew, which asks for the pipe's owner. */
static void own_pipes(struct stage *st)
{
    struct stat s;
    for (int i = STAGE_STDIN; i <= STAGE_STDERR; i++)
        if (st->fds[i] >= 0 && fstat(st->fds[i], &s) == 0 && S_ISFIFO(s.st_mode))
            (void)fchown(st->fds[i], st->who.uid, st->who.gid);
}

/* Standard descriptors: the pipes, or the terminal, which becomes the session's. */
static int set_stdio(struct stage *st, int root_fd, struct berth_error *err)
{
    autoclose int slave_fd = -1, null_fd = -1;
    if (st->tty) {
        int r = stage_open_tty(st, root_fd, &slave_fd, err);
        if (r < 0)
            return r;
        if (ioctl(slave_fd, TIOCSCTTY, 0) < 0)
            return fail_os(err, errno, "tty", "take the terminal");
        for (int i = STAGE_STDIN; i <= STAGE_STDERR; i++)
            st->fds[i] = fcntl(slave_fd, F_DUPFD_CLOEXEC, 3);
        return 0;
    }
    own_pipes(st);
    for (int i = STAGE_STDIN; i <= STAGE_STDERR; i++) {
        if (st->fds[i] >= 0)
            continue;
        if (null_fd < 0)
            null_fd = openat(root_fd, "dev/null", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        st->fds[i] = fcntl(null_fd, F_DUPFD_CLOEXEC, 3);
        if (st->fds[i] < 0)
            return fail_os(err, errno, "/dev/null", "open the workload's /dev/null");
    }
    return 0;
}

/* Dies with the supervisor. It may have died already, and then nobody reads the ready pipe. */
static void die_with_supervisor(struct stage *st)
{
    struct pollfd p = {.fd = st->fds[STAGE_READY], .events = POLLOUT};
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (poll(&p, 1, 0) > 0 && p.revents & POLLERR)
        _exit(1);
}

/* ---- descriptors */

/* 0-2 standard, sockets from 3, files, then the descriptor for "ready", then what exec closes: our ready
 * pipe, init and the program. All others are closed here and now. Returns how many the program keeps. */
static int arrange(struct stage *st, struct berth_error *err)
{
    int from[4 + STAGE_SOCKETS_MAX + STAGE_FILES_MAX], n = 0;
    bool told = st->plan->ready_told && !st->exec;
    for (int i = STAGE_STDIN; i <= STAGE_STDERR; i++)
        from[n++] = st->fds[i];
    for (size_t i = 0; i < st->n_sockets; i++)
        from[n++] = st->sockets[i];
    for (size_t i = 0; i < st->n_files; i++)
        from[n++] = st->files[i];
    if (told)
        from[n++] = st->fds[STAGE_READY];
    int *own[] = {&st->fds[STAGE_READY], &st->fds[STAGE_INIT], &st->fds[STAGE_PROGRAM]};
    int first_free = n + (int)ARRAY_SIZE(own);
    for (int i = 0; i < n; i++) {
        from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 200);
        if (from[i] < 0)
            return fail_os(err, errno, NULL, "arrange descriptors");
    }
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (*own[i] >= 0)
            *own[i] = fcntl(*own[i], F_DUPFD_CLOEXEC, 200);
    for (int i = 0; i < n; i++)
        if (dup2(from[i], i) < 0)
            return fail_os(err, errno, NULL, "arrange descriptors");
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (*own[i] >= 0) {
            int to = n + (int)i;
            if (dup3(*own[i], to, O_CLOEXEC) < 0)
                return fail_os(err, errno, NULL, "arrange descriptors");
            *own[i] = to;
        }
    (void)close_range((unsigned)first_free, ~0u, 0);
    return n;
}

/* ---- the program */

static int run_program(struct stage *st, const char *path, char **env, struct berth_error *err)
{
    if (st->fds[STAGE_PROGRAM] >= 0) {
        syscall(SYS_execveat, st->fds[STAGE_PROGRAM], "", st->argv, env, AT_EMPTY_PATH);
        return fail_os(err, errno, st->plan->program, "exec %s", st->plan->program);
    }
    if (st->fds[STAGE_INIT] < 0) {
        execve(path, (char *const *)st->argv, env);
        return program_explain(path, errno, err);
    }
    autostrings char **argv = NULL;
    char number[16];
    snprintf(number, sizeof(number), "%d", st->fds[STAGE_READY]);
    int r = strings_add(&argv, "berth-init");
    r = r < 0 ? r : strings_add(&argv, number);
    r = r < 0 ? r : strings_add(&argv, path);
    for (char *const *a = st->argv; r == 0 && *a; a++)
        r = strings_add(&argv, *a);
    if (r < 0)
        return fail_memory(err);
    (void)fcntl(st->fds[STAGE_READY], F_SETFD, 0);
    syscall(SYS_execveat, st->fds[STAGE_INIT], "", argv, env, AT_EMPTY_PATH);
    return fail_os(err, errno, st->plan->init_program, "exec the init %s", st->plan->init_program);
}

static bool wants_filter(const struct stage *st)
{
    return st->fds[STAGE_FILTER] >= 0 && !(st->exec && st->privileged);
}

static int become(struct stage *st, struct berth_error *err)
{
    const struct plan *p = st->plan;
    bool all = st->exec && st->privileged;
    uint64_t every = all ? capability_all() : 0;
    /* Without no_new_privs the kernel takes a filter only from CAP_SYS_ADMIN. */
    int r =
        privilege_become(&st->who, all ? every : p->caps_bounding, all ? every : p->caps_effective,
                         wants_filter(st) && !p->no_new_privileges, err);
    if (r == 0 && p->no_new_privileges && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = fail_os(err, errno, "no_new_privileges", "set no_new_privileges");
    return r;
}

int stage_run(struct stage *st, struct berth_error *err)
{
    autoclose int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    autofree void *filter = NULL;
    autofree char *path = NULL;
    autostrings char **env = NULL;
    size_t filter_size = 0;
    int r = root_fd < 0 ? fail_os(err, errno, "/", "open the root") : 0;
    r = r < 0 ? r : oom_score(st, err);
    if (r == 0 && wants_filter(st))
        r = privilege_filter_read(st->fds[STAGE_FILTER], st->plan->seccomp, &filter, &filter_size,
                                  err);
    r = r < 0 ? r : user_lookup(root_fd, st->user, st->groups, &st->who, err);
    r = r < 0 ? r : set_stdio(st, root_fd, err);
    r = r < 0 ? r
              : privilege_label(st->fds[STAGE_PROC], st->plan->apparmor, st->plan->selinux, err);
    umask(022);
    r = r < 0 ? r : enter_workdir(st, root_fd, err);
    r = r < 0 ? r : make_environment(st, &env, err);
    close_fd(&root_fd);
    r = r < 0 ? r : arrange(st, err);
    r = r < 0 ? r : privilege_rlimits(st->plan->rlimits, st->plan->n_rlimits, err);
    r = r < 0 ? r : become(st, err);
    if (r < 0)
        return r;
    die_with_supervisor(st);
    if (st->fds[STAGE_PROGRAM] < 0)
        r = program_find(st->argv ? st->argv[0] : NULL, env, &path, err);
    if (r == 0 && filter)
        r = privilege_filter(filter, filter_size, err);
    return r < 0 ? r : run_program(st, path, env, err);
}
