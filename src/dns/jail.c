/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Into the jail. A worker that fell to a packet can still send packets as nobody from the host's network;
 * it can open, run, signal and become nothing.
 */
#include "dns/jail.h"
#include "base/base.h"
#include "linux/allow.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define NOBODY 65534
#define MEMORY_MAX (256u << 20)

static int empty_root(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("jail", "/proc", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=555") < 0 || chdir("/proc") < 0)
        return -errno;
    /* pivot_root(2): the old root lies under the new one for a moment, then it is gone. */
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return -errno;
    return mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ? -errno : 0;
}

static int become_nobody(void)
{
    for (int c = 0; c <= 63; c++)
        prctl(PR_CAPBSET_DROP, c, 0, 0, 0); /* EINVAL: unknown to this kernel */
    if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
        return -errno;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    if (syscall(SYS_capset, &head, none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

static void limit_resources(void)
{
    const struct { int resource; rlim_t value; } limits[] = {
        {RLIMIT_CORE, 0}, {RLIMIT_NPROC, 0}, {RLIMIT_FSIZE, 0}, {RLIMIT_MEMLOCK, 0},
        {RLIMIT_DATA, MEMORY_MAX},
    };
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
        setrlimit((__rlimit_resource_t)limits[i].resource, &(struct rlimit){limits[i].value, limits[i].value});
}

/* What answering takes. */
static const int allowed[] = {
    SYS_recvmmsg, SYS_sendmmsg, SYS_epoll_pwait,
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
    SYS_epoll_ctl, SYS_epoll_create1, SYS_recvmsg, SYS_sendmsg, SYS_recvfrom, SYS_sendto, SYS_accept4, SYS_connect,
    SYS_close, SYS_getrandom, SYS_clock_gettime, SYS_mmap, SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk,
    SYS_rt_sigreturn, SYS_exit, SYS_exit_group,
};

/* socket() makes sockets of the internet alone. */
static const struct allowed_call internet_alone[] = {
    {.number = SYS_socket, .first = {AF_INET, AF_INET6}, .n_first = 2},
};

/* A sanitizer's runtime has needs of its own. */
static int filter_calls(void)
{
    return WITH_SANITIZER ? 0 : allow_calls(allowed, ARRAY_SIZE(allowed), internet_alone, ARRAY_SIZE(internet_alone));
}

static int lock_up(void)
{
    limit_resources();
    int r = empty_root();
    if (r == 0)
        r = become_nobody();
    if (r == 0)
        r = filter_calls();
    return r;
}

int jail_start(int (*run)(int feed_fd), int feed_fd, pid_t *ret_pid, int *ret_pid_fd)
{
    int pid_fd = -1;
    struct clone_args args = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)&pid_fd,
        .exit_signal = SIGCHLD,
    };
    long pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid < 0)
        return -errno;
    if (pid > 0) {
        *ret_pid = (pid_t)pid;
        *ret_pid_fd = pid_fd;
        return 0;
    }
    prctl(PR_SET_NAME, "berth-dns-jail");
    if (dup2(feed_fd, 3) != 3 || syscall(SYS_close_range, 4, ~0u, 0) < 0 || lock_up() < 0)
        _exit(1);
    /* After the ids have changed, which takes it back. A keeper that died before that has closed the feed. */
    prctl(PR_SET_DUMPABLE, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    _exit(run(3));
}
