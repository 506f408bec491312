/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inject: runs a command and makes the n-th system call of its whole process tree fail.
 *
 * By ptrace, so that static programs and children between clone and exec are reached too. Counts only
 * calls that a real kernel can fail (the table below). The report says how many there were, whether one was
 * failed, and whose and which (by its number). When the command itself has ended, everything
 * else of its tree is let go and lives on.
 */
#include <errno.h>
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

static const int failing[] = {
    SYS_openat, SYS_openat2, SYS_read, SYS_pread64, SYS_write, SYS_pwrite64, SYS_writev, SYS_mkdirat, SYS_mkdir,
    SYS_rename, SYS_renameat, SYS_renameat2, SYS_unlinkat, SYS_symlinkat, SYS_linkat, SYS_newfstatat, SYS_statx,
    SYS_fcntl, SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_listen, SYS_accept4, SYS_sendmsg, SYS_recvmsg,
    SYS_pipe2, SYS_epoll_create1, SYS_epoll_ctl, SYS_eventfd2, SYS_timerfd_create, SYS_timerfd_settime, SYS_signalfd4,
    SYS_inotify_init1, SYS_inotify_add_watch, SYS_memfd_create, SYS_ftruncate, SYS_fsync, SYS_fdatasync, SYS_getdents64,
    SYS_clone, SYS_clone3, SYS_vfork, SYS_fork, SYS_dup3, SYS_mount, SYS_pivot_root, SYS_open_tree, SYS_move_mount,
    SYS_fsopen, SYS_fsconfig, SYS_fsmount, SYS_mount_setattr, SYS_setns, SYS_unshare, SYS_mknodat, SYS_mknod, SYS_fchownat,
    SYS_fchown, SYS_chown, SYS_fchmodat, SYS_fchmod, SYS_chmod, SYS_chdir, SYS_fchdir, SYS_setgroups, SYS_setresuid,
    SYS_setresgid, SYS_capset, SYS_seccomp, SYS_prlimit64, SYS_sethostname, SYS_splice, SYS_sendfile, SYS_copy_file_range,
    SYS_setxattr, SYS_fsetxattr, SYS_bpf, SYS_pidfd_open, SYS_setsid, SYS_setsockopt, SYS_getsockopt, SYS_readlinkat,
    SYS_getrandom, SYS_chroot, SYS_fstatfs, SYS_statfs, SYS_execve, SYS_execveat,
};

/* What a full disk, and a full table of descriptors, really make fail: one's own last words do not. */
static const int needs_space[] = {
    SYS_openat, SYS_write, SYS_pwrite64, SYS_writev, SYS_mkdirat, SYS_mkdir, SYS_rename, SYS_renameat,
    SYS_renameat2, SYS_symlinkat, SYS_linkat, SYS_mknodat, SYS_mknod, SYS_ftruncate, SYS_fsync, SYS_fdatasync, SYS_splice,
    SYS_sendfile, SYS_copy_file_range, SYS_setxattr, SYS_fsetxattr,
};
static const int needs_descriptor[] = {
    SYS_openat, SYS_openat2, SYS_socket, SYS_socketpair, SYS_accept4, SYS_pipe2, SYS_epoll_create1, SYS_eventfd2,
    SYS_timerfd_create, SYS_signalfd4, SYS_inotify_init1, SYS_memfd_create, SYS_open_tree, SYS_fsopen, SYS_fsmount,
    SYS_pidfd_open,
};

#define TREE_MAX 4096
/* Of each traced thread: whether it is inside a call, and whether that call is to be failed on the way out. */
static struct { pid_t pid; bool inside, fail; } tree[TREE_MAX];
static long at, seen, error_number = EIO;
static bool always, hit, armed;    /* armed: the command has been executed */
static struct { long number; pid_t pid; char comm[20]; } failed; /* the first that failed */

static bool among(const int *calls, size_t n, uint64_t number)
{
    for (size_t i = 0; i < n; i++)
        if ((uint64_t)calls[i] == number)
            return true;
    return false;
}
#define AMONG(calls, number) among(calls, sizeof(calls) / sizeof(*(calls)), number)

static bool can_fail(const struct user_regs_struct *regs)
{
    uint64_t number = regs->orig_rax;
    bool writes = number == SYS_write || number == SYS_writev;
    if (always && error_number == ENOSPC) {
        if (writes && (regs->rdi == 1 || regs->rdi == 2))
            return false;
        if (number == SYS_openat && !(regs->rdx & O_CREAT))
            return false;
        return AMONG(needs_space, number);
    }
    if (always && error_number == EMFILE)
        return AMONG(needs_descriptor, number);
    return AMONG(failing, number);
}

static size_t slot_of(pid_t pid)
{
    size_t empty = TREE_MAX;
    for (size_t i = 0; i < TREE_MAX; i++) {
        if (tree[i].pid == pid)
            return i;
        if (!tree[i].pid && empty == TREE_MAX)
            empty = i;
    }
    if (empty == TREE_MAX) {
        fprintf(stderr, "inject: too many processes\n");
        exit(125);
    }
    tree[empty].pid = pid;
    tree[empty].inside = tree[empty].fail = false;
    return empty;
}

static void registers(pid_t pid, int request, struct user_regs_struct *regs)
{
    struct iovec v = {.iov_base = regs, .iov_len = sizeof *regs};
    ptrace(request, pid, (void *)(long)NT_PRSTATUS, &v);
}

static void note_failed(pid_t pid, long number)
{
    char path[40];
    snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
    FILE *f = fopen(path, "re");
    failed.number = number;
    failed.pid = pid;
    if (f && fscanf(f, "%19s", failed.comm) != 1)
        failed.comm[0] = 0;
    if (f)
        fclose(f);
}

/* At entry the call is turned into one that does nothing; on the way out it gets its failure. */
static void at_call(pid_t pid)
{
    struct user_regs_struct regs;
    size_t i = slot_of(pid);
    tree[i].inside = !tree[i].inside;
    if (!tree[i].inside && !tree[i].fail)
        return;
    registers(pid, PTRACE_GETREGSET, &regs);
    if (!tree[i].inside) {
        regs.rax = (uint64_t)-error_number;
        tree[i].fail = false;
        registers(pid, PTRACE_SETREGSET, &regs);
        return;
    }
    if (!armed || !can_fail(&regs))
        return;
    seen++;
    if (seen == at || (always && seen > at)) {
        if (!hit)
            note_failed(pid, (long)regs.orig_rax);
        hit = tree[i].fail = true;
        regs.orig_rax = (uint64_t)-1;
        registers(pid, PTRACE_SETREGSET, &regs);
    }
}

static void forget(pid_t pid)
{
    tree[slot_of(pid)].pid = 0;
}

static void let_go(void)
{
    for (size_t i = 0; i < TREE_MAX; i++) {
        if (!tree[i].pid)
            continue;
        if (syscall(SYS_tkill, tree[i].pid, SIGSTOP) == 0)
            waitpid(tree[i].pid, NULL, __WALL);
        ptrace(PTRACE_DETACH, tree[i].pid, NULL, NULL);
        kill(tree[i].pid, SIGCONT);
    }
}

static int signal_to_pass(int status)
{
    int sig = WSTOPSIG(status);
    if (sig == (SIGTRAP | 0x80) || status >> 16)
        return 0;
    return sig == SIGSTOP ? 0 : sig;
}

static int trace(pid_t child)
{
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
    int status;
    waitpid(child, &status, __WALL);
    ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)options);
    ptrace(PTRACE_SYSCALL, child, NULL, NULL);
    for (;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0)
            return 125;
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            forget(pid);
            if (pid == child)
                return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            continue;
        }
        slot_of(pid);
        armed |= status >> 8 == (SIGTRAP | (PTRACE_EVENT_EXEC << 8));
        if (WSTOPSIG(status) == (SIGTRAP | 0x80))
            at_call(pid);
        ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)signal_to_pass(status));
    }
}

int main(int argc, char **argv)
{
    const char *report = NULL;
    int option;
    while ((option = getopt(argc, argv, "+n:e:ar:")) != -1)
        switch (option) {
        case 'n': at = atol(optarg); break;
        case 'e': error_number = atol(optarg); break;
        case 'a': always = true; break;
        case 'r': report = optarg; break;
        default: return 2;
        }
    if (optind == argc || !report) {
        fprintf(stderr, "usage: inject -n N -e ERRNO [-a (and all after it)] -r REPORT COMMAND...\n");
        return 2;
    }
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        execvp(argv[optind], argv + optind);
        _exit(127);
    }
    int code = trace(child);
    let_go();
    FILE *f = fopen(report, "we");
    if (f) {
        fprintf(f, "%ld %d %s[%d]:%ld\n", seen, hit, failed.comm, (int)failed.pid, failed.number);
        fclose(f);
    }
    return code;
}
