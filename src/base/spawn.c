/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program of berth's that its host process never notices.
 *
 * exec(2) sets the exit signal back to SIGCHLD, whatever clone asked for. So a short-lived child
 * (exit signal 0, never execs, reaped here) makes the program and ends: the program is an orphan
 * from the start, and neither SIGCHLD nor wait(-1) of the host ever speak of it.
 */
#include "base/spawn.h"
#include "base/base.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif
#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

#define SPAWN_FDS_MAX 64
#define STACK_SIZE (64u << 10) /* for each of the two children */
#define SIGNAL_COUNT 64
#define FAULTS_MAX 4 /* variables with which a test wishes for a fault */

/* Both children borrow the caller's memory, thread pointer and sanitizer state while the caller
 * stands still. They touch nothing but this struct and the kernel; no libc function with state. */
struct birth {
    const struct spawn *spawn;
    const char *const *env;
    char *program_stack, *stacks_end;
    int fds[SPAWN_FDS_MAX];
    int program_fd;
    int error;                  /* positive errno of the step that failed, 0 when it was exec'ed */
    pid_t pid;
    int pid_fd;
};

#ifdef __SANITIZE_THREAD__
/* The sanitizer's own clone() forgets all threads in the child, whose memory is ours. */
int __clone(int (*function)(void *), void *stack, int flags, void *data, ...);
#define clone __clone
#endif

#define IN_CHILD __attribute__((noinline, no_sanitize("address", "undefined", "thread")))

struct kernel_sigaction {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

/* Handlers point into memory that is ours only until exec; ignored signals would outlive it. */
IN_CHILD static void reset_signals(void)
{
    struct kernel_sigaction act;
    act.handler = SIG_DFL;
    act.flags = 0;
    act.restorer = NULL;
    act.mask = 0;
    for (int i = 1; i <= SIGNAL_COUNT; i++)
        syscall(SYS_rt_sigaction, i, &act, NULL, sizeof(act.mask));
}

/* Everything from n up is closed by exec. */
IN_CHILD static void close_rest(unsigned n)
{
    if (syscall(SYS_close_range, n, UINT_MAX, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    struct rlimit limit;
    if (syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit) < 0 || limit.rlim_cur > 1u << 20)
        limit.rlim_cur = 1u << 20;
    for (unsigned fd = n; fd < limit.rlim_cur; fd++)
        syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
}

/* fds[i] -> i. First everything that lies where another has to go is moved above all of them. */
IN_CHILD static int arrange_fds(struct birth *b)
{
    int n = (int)b->spawn->n_fds;
    if (b->program_fd > 0 && b->program_fd < n)
        b->program_fd = (int)syscall(SYS_fcntl, b->program_fd, F_DUPFD_CLOEXEC, n);
    if (b->program_fd < 0)
        return errno;
    for (int i = 0; i < n; i++) {
        if (b->fds[i] < 0)
            b->fds[i] = (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
        if (b->fds[i] < 0)
            return errno;
        if (b->fds[i] < n && b->fds[i] != i)
            b->fds[i] = (int)syscall(SYS_fcntl, b->fds[i], F_DUPFD_CLOEXEC, n);
        if (b->fds[i] < 0)
            return errno;
    }
    for (int i = 0; i < n; i++) {
        long r = b->fds[i] == i ? syscall(SYS_fcntl, i, F_SETFD, 0)
                                : syscall(SYS_dup3, b->fds[i], i, 0);
        if (r < 0)
            return errno;
    }
    close_rest((unsigned)n);
    return 0;
}

IN_CHILD static int become_program(struct birth *b)
{
    const struct spawn *s = b->spawn;
    uint64_t no_signals = 0;
    reset_signals();
    int error = arrange_fds(b);
    if (error)
        return error;
    if (s->session) {
        syscall(SYS_setsid);
        syscall(SYS_umask, 022);
        if (syscall(SYS_chdir, "/") < 0)
            return errno;
    }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &no_signals, NULL, sizeof(no_signals));
    if (b->program_fd > 0)
        syscall(SYS_execveat, b->program_fd, "", s->argv, b->env, AT_EMPTY_PATH);
    else
        syscall(SYS_execve, s->path, s->argv, b->env);
    return errno;
}

IN_CHILD static int program_main(void *data)
{
    struct birth *b = data;
    b->error = become_program(b);
    syscall(SYS_exit_group, 127);
    __builtin_unreachable();
}

#if defined(__x86_64__)
/* clone3 on a stack of its own; libc has no wrapper that may be called. Never returns in the child. */
IN_CHILD static long clone3_call(struct clone_args *args, int (*function)(void *), void *data)
{
    long result = SYS_clone3;
    register int (*entry)(void *) __asm__("r12") = function;
    register void *argument __asm__("r13") = data;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r13, %%rdi\n\t"
                     "call *%%r12\n\t"
                     "hlt\n"
                     "1:"
                     : "+a"(result)
                     : "D"(args), "S"(sizeof(*args)), "r"(entry), "r"(argument)
                     : "rcx", "r11", "memory", "cc");
    return result;
}
#elif defined(__aarch64__)
IN_CHILD static long clone3_call(struct clone_args *args, int (*function)(void *), void *data)
{
    register long number __asm__("x8") = SYS_clone3;
    register long result __asm__("x0") = (long)args;
    register long size __asm__("x1") = sizeof(*args);
    register int (*entry)(void *) __asm__("x9") = function;
    register void *argument __asm__("x10") = data;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, x10\n\t"
                     "blr x9\n\t"
                     "brk #0\n"
                     "1:"
                     : "+r"(result)
                     : "r"(number), "r"(size), "r"(entry), "r"(argument)
                     : "memory", "cc");
    return result;
}
#else
/* Elsewhere the memory is copied, as fork does: slower, the same outcome but for `error`. */
IN_CHILD static long clone3_call(struct clone_args *args, int (*function)(void *), void *data)
{
    args->flags &= ~(uint64_t)CLONE_VM;
    args->stack = args->stack_size = 0;
    long r = syscall(SYS_clone3, args, sizeof(*args));
    if (r == 0)
        function(data);
    return r;
}
#endif

IN_CHILD static long clone_into_cgroup(struct birth *b)
{
    struct clone_args args;
    char *p = (char *)&args;
    for (size_t i = 0; i < sizeof(args); i++)
        p[i] = 0;
    args.flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_INTO_CGROUP;
    args.pidfd = (uint64_t)(uintptr_t)&b->pid_fd;
    args.stack = (uint64_t)(uintptr_t)b->program_stack;
    args.stack_size = STACK_SIZE;
    args.cgroup = (uint64_t)b->spawn->cgroup_fd;
    long pid = clone3_call(&args, program_main, b);
    if (pid < 0 && pid > -4096) { /* the bare system call, not syscall(2) */
        errno = (int)-pid;
        return -1;
    }
    return pid;
}

/* The child in between. Shares descriptors with the caller, so that the pidfd lands there. */
IN_CHILD static int between_main(void *data)
{
    struct birth *b = data;
    long pid = b->spawn->cgroup_fd > 0
                   ? clone_into_cgroup(b)
                   : clone(program_main, b->program_stack + STACK_SIZE,
                           CLONE_VM | CLONE_VFORK | CLONE_PIDFD, b, &b->pid_fd);
    if (pid < 0)
        b->error = errno;
    else
        b->pid = (pid_t)pid;
    syscall(SYS_exit_group, 0);
    __builtin_unreachable();
}

static int give_birth(struct birth *b)
{
    uint64_t all = UINT64_MAX, old;
    /* including the two that libc keeps to itself: no handler may run on borrowed memory */
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &old, sizeof(all));
    pid_t between = clone(between_main, b->stacks_end, CLONE_VM | CLONE_VFORK | CLONE_FILES, b);
    int error = between < 0 ? errno : 0;
    if (between > 0)
        RETRY(waitid(P_PID, (id_t)between, &(siginfo_t){0}, WEXITED | __WALL));
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(old));
    return -error;
}

/* In a build with crash points (base/crash.h) our programs learn which fault is wanted. */
static void add_faults(const char **env)
{
#ifdef BERTH_CRASHPOINTS
    size_t n = 0;
    for (char **e = environ; e && *e && n < FAULTS_MAX; e++)
        if (strncmp(*e, "BERTH_CRASH_POINT=", 18) == 0 || strncmp(*e, "BERTH_FAIL_", 11) == 0)
            env[n++] = *e;
#endif
}

int spawn(const struct spawn *s, pid_t *ret_pid, int *ret_pid_fd)
{
    const char *minimal_env[2 + FAULTS_MAX + 1] = {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"};
    add_faults(minimal_env + 2);
    if (s->n_fds > SPAWN_FDS_MAX)
        return -EINVAL;
    struct birth b = {.spawn = s, .env = s->env ? s->env : minimal_env,
                      .program_fd = s->program_fd, .pid_fd = -1};
    if (s->n_fds > 0)
        memcpy(b.fds, s->fds, s->n_fds * sizeof(*s->fds));
    char *stacks = mmap(NULL, 2 * STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stacks == MAP_FAILED)
        return -errno;
    b.program_stack = stacks;
    b.stacks_end = stacks + 2 * STACK_SIZE;
    int r = give_birth(&b);
    munmap(stacks, 2 * STACK_SIZE);
    if (r < 0 || b.error > 0) {
        close_fd(&b.pid_fd);
        return r < 0 ? r : -b.error;
    }
    if (b.pid_fd < 0)
        return -EIO; /* the child in between was killed before it could do its work */
    if (ret_pid)
        *ret_pid = b.pid;
    if (ret_pid_fd)
        *ret_pid_fd = take_fd(&b.pid_fd);
    else
        close_fd(&b.pid_fd);
    return 0;
}

/* linux/pidfd.h of 6.15: the kernel keeps the exit status for whoever holds the pidfd. */
struct pidfd_exit_info {
    uint64_t mask, cgroup_id;
    uint32_t ids[11];
    int32_t exit_code;
};
#define PIDFD_EXIT_INFO _IOWR(0xFF, 11, struct pidfd_exit_info)
#define PIDFD_EXIT_MASK (1u << 3)

static bool exit_status_of(int pid_fd, int *ret_status)
{
    struct pidfd_exit_info info = {.mask = PIDFD_EXIT_MASK};
    if (ioctl(pid_fd, PIDFD_EXIT_INFO, &info) < 0 || !(info.mask & PIDFD_EXIT_MASK))
        return false;
    *ret_status = info.exit_code;
    return true;
}

int spawn_reap(int pid_fd, int *ret_status)
{
    struct pollfd p = {.fd = pid_fd, .events = POLLIN};
    if (RETRY(poll(&p, 1, -1)) < 0)
        return -errno;
    if (ret_status && !exit_status_of(pid_fd, ret_status)) {
        /* known once its new parent has reaped it (POLLHUP), which may be a moment later */
        p.events = 0;
        RETRY(poll(&p, 1, 200));
        if (!exit_status_of(pid_fd, ret_status))
            *ret_status = -1;
    }
    return 0;
}
