/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The jail that the unpacker lives in.
 *
 * Three walls, each enough alone against what is known: names are resolved by openat2 inside the
 * folder (unpack.c), the worker's root is that folder, and what lies outside it is not mounted here.
 */
#include "image/tool/jail.h"
#include "base/base.h"
#include "base/file.h"
#include "linux/allow.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int open_tree_at(int fd)
{
    return (int)syscall(SYS_open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
}

static int place(int tree_fd, const struct jail_bind *bind, struct berth_error *err)
{
    if (mkdir(bind->name, 0700) < 0)
        return fail_os(err, errno, bind->name, "make a folder in the jail");
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                                                (bind->writable ? 0 : MOUNT_ATTR_RDONLY)};
    if (syscall(SYS_mount_setattr, tree_fd, "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0 ||
        syscall(SYS_move_mount, tree_fd, "", AT_FDCWD, bind->name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return fail_os(err, errno, bind->name, "bind a folder into the jail");
    return 0;
}

static int own_namespaces(int network, struct berth_error *err)
{
    if (unshare(CLONE_NEWNS | network | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
        return fail_os(err, errno, "", "make the unpacker's jail (this needs CAP_SYS_ADMIN: sudo)");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return fail_os(err, errno, "/", "make mounts private in the jail");
    return 0;
}

/* What glibc looks names up with. Copies: the host's own files are not in the jail. */
static const char *const name_files[] = {"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf",
                                         "/etc/host.conf"};
#define NAME_FILE_MAX_BYTES (1u << 20)

struct name_file { char *data; size_t size; };

/* Absent ones and those above the ceiling are left out: glibc has a default for each. */
static void read_name_files(struct name_file *files)
{
    for (size_t i = 0; i < ARRAY_SIZE(name_files); i++)
        if (file_read(AT_FDCWD, name_files[i], NAME_FILE_MAX_BYTES, &files[i].data, &files[i].size) < 0)
            files[i].data = NULL;
}

static int write_name_files(struct name_file *files, bool wanted, struct berth_error *err)
{
    int r = wanted && mkdir("etc", 0755) < 0 ? -errno : 0;
    for (size_t i = 0; i < ARRAY_SIZE(name_files); i++) {
        if (r == 0 && files[i].data)
            r = file_write(AT_FDCWD, name_files[i] + 1, files[i].data, files[i].size, 0644, 0);
        free(files[i].data);
    }
    return r < 0 ? fail_os(err, r, "/etc", "copy the files that names are looked up with into the jail") : 0;
}

static int enter(const char *scratch, const struct jail_bind *binds, size_t n, bool network, struct berth_error *err)
{
    int trees[4] = {-1, -1, -1, -1};
    struct name_file files[ARRAY_SIZE(name_files)] = {0};
    const char *size = network ? "size=8m,mode=755" : "size=64k,mode=700";
    int r = n > ARRAY_SIZE(trees) ? fail(err, BERTH_INVALID, "", "too many folders for the jail") : 0;
    for (size_t i = 0; r == 0 && i < n; i++)
        if ((trees[i] = open_tree_at(binds[i].fd)) < 0)
            r = fail_os(err, errno, binds[i].name, "clone the mount of a folder for the jail");
    if (network)
        read_name_files(files);
    if (r == 0) /* only now: a mount can be cloned in its own namespace alone */
        r = own_namespaces(network ? 0 : CLONE_NEWNET, err);
    if (r == 0 && (mount("jail", scratch, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, size) < 0 || chdir(scratch) < 0))
        r = fail_os(err, errno, scratch, "mount the jail's root");
    int written = write_name_files(files, r == 0 && network, err);
    r = r == 0 ? written : r;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = place(trees[i], &binds[i], err);
    for (size_t i = 0; i < ARRAY_SIZE(trees); i++)
        close_fd(&trees[i]);
    /* pivot_root(2): the old root lies under the new one for a moment, then it is gone. */
    if (r == 0 && (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0))
        r = fail_os(err, errno, "", "enter the jail");
    return r;
}

int jail_enter(const char *scratch, const struct jail_bind *binds, size_t n, struct berth_error *err)
{
    return enter(scratch, binds, n, false, err);
}

int jail_enter_network(const char *scratch, const struct jail_bind *binds, size_t n, struct berth_error *err)
{
    return enter(scratch, binds, n, true, err);
}

int jail_enter_root(int root_fd, struct berth_error *err)
{
    /* The mount namespace stays: a workload's root belongs to its own, and is entered by descriptor. */
    if (unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
        return fail_os(err, errno, "", "make a jail (this needs CAP_SYS_ADMIN: sudo)");
    if (fchdir(root_fd) < 0 || chroot(".") < 0 || chdir("/") < 0)
        return fail_os(err, errno, "", "enter the workload's root");
    return 0;
}

#define BIT(c) (1ull << (c))
#define KEPT                                                                                          \
    (BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) | BIT(CAP_FSETID) | BIT(CAP_MKNOD) |    \
     BIT(CAP_SETFCAP) | BIT(CAP_SYS_ADMIN) /* trusted.overlay.opaque; mounts are closed below */)

static int keep_capabilities(uint64_t mask)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {
        {.effective = (uint32_t)mask, .permitted = (uint32_t)mask},
        {.effective = (uint32_t)(mask >> 32), .permitted = (uint32_t)(mask >> 32)},
    };
    return syscall(SYS_capset, &head, sets) < 0 ? -errno : 0;
}

/* What copying, parsing, unpacking and forking workers needs; all else does not exist in the jail. */
static const int allowed_calls[] = {
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_close, SYS_lseek, SYS_openat,
    SYS_openat2, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_faccessat, SYS_faccessat2,
    SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_brk, SYS_dup, SYS_dup3, SYS_fcntl,
    SYS_pipe2, SYS_ftruncate, SYS_fallocate, SYS_fsync, SYS_fdatasync, SYS_syncfs, SYS_sync_file_range,
    SYS_copy_file_range, SYS_sendfile, SYS_splice, SYS_fadvise64, SYS_getdents64, SYS_getcwd, SYS_chdir,
    SYS_fchdir, SYS_chroot, SYS_renameat, SYS_renameat2, SYS_mkdirat, SYS_unlinkat, SYS_symlinkat, SYS_linkat,
    SYS_mknodat, SYS_readlinkat, SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_utimensat, SYS_umask,
    SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr, SYS_listxattr,
    SYS_llistxattr, SYS_flistxattr, SYS_removexattr, SYS_lremovexattr, SYS_fremovexattr,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_wait4, SYS_waitid,
    SYS_exit, SYS_exit_group, SYS_tgkill, SYS_kill, SYS_futex, SYS_set_robust_list, SYS_rseq,
    SYS_getrandom, SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_ppoll,
    SYS_sched_yield, SYS_sched_getaffinity, SYS_prlimit64, SYS_prctl, SYS_capset, SYS_capget, SYS_getpid,
    SYS_sendmsg, SYS_recvfrom, SYS_getppid, SYS_gettid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_uname, SYS_set_tid_address,
#ifdef __x86_64__
    SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_rename, SYS_mkdir, SYS_rmdir, SYS_unlink,
    SYS_symlink, SYS_link, SYS_mknod, SYS_chmod, SYS_chown, SYS_lchown, SYS_poll, SYS_pipe, SYS_dup2, SYS_fork,
    SYS_vfork, SYS_arch_prctl, SYS_time, SYS_getpgrp,
#endif
};

/* What talking to registries needs: sockets, look-ups in a thread, reading and writing files that are open. */
static const int network_calls[] = {
    SYS_read, SYS_write, SYS_readv, SYS_writev, SYS_pread64, SYS_pwrite64, SYS_close, SYS_lseek, SYS_openat, SYS_openat2, SYS_fstat,
    SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_faccessat, SYS_faccessat2, SYS_getdents64, SYS_getcwd,
    SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_brk, SYS_dup, SYS_dup3, SYS_fcntl, SYS_ioctl, SYS_pipe2,
    SYS_ftruncate, SYS_fallocate, SYS_fsync, SYS_fdatasync, SYS_fadvise64, SYS_sync_file_range, SYS_splice, SYS_sendfile,
    SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt,
    SYS_sendto, SYS_recvfrom, SYS_sendmsg, SYS_recvmsg, SYS_sendmmsg, SYS_recvmmsg, SYS_shutdown,
    SYS_ppoll, SYS_pselect6, SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_eventfd2,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_exit, SYS_exit_group,
    SYS_tgkill, SYS_kill, SYS_futex, SYS_set_robust_list, SYS_rseq, SYS_set_tid_address, SYS_sched_yield,
    SYS_sched_getaffinity, SYS_getrandom, SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
    SYS_prlimit64, SYS_prctl, SYS_getpid, SYS_getppid, SYS_gettid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid,
    SYS_uname, SYS_sysinfo, SYS_umask,
#ifdef __x86_64__
    SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_poll, SYS_select, SYS_pipe, SYS_dup2, SYS_epoll_create,
    SYS_epoll_wait, SYS_arch_prctl, SYS_time,
#endif
};

/* A clone of a worker makes no new namespaces. */
static const struct allowed_call within_namespaces[] = {
    {.number = SYS_clone, .never = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                   CLONE_NEWPID | CLONE_NEWNET},
};

static void limit_resources(void)
{
    const struct { int resource; rlim_t value; } limits[] = {
        {RLIMIT_CORE, 0}, {RLIMIT_NOFILE, 4096}, {RLIMIT_MEMLOCK, 0},
#if !WITH_SANITIZER /* their shadow maps terabytes that it never touches */
        {RLIMIT_AS, 4ull << 30}, /* a parser that wants more is being led on */
#endif
    };
    for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
        struct rlimit now, limit;
        if (getrlimit((__rlimit_resource_t)limits[i].resource, &now) < 0)
            continue;
        limit.rlim_cur = limit.rlim_max = MIN(limits[i].value, now.rlim_max);
        setrlimit((__rlimit_resource_t)limits[i].resource, &limit);
    }
}

static int lock_down(uint64_t bounding, const int *calls, size_t count, struct berth_error *err)
{
    limit_resources();
    for (int c = 0; c <= CAP_LAST_CAP; c++)
        if (!(bounding & BIT(c)))
            prctl(PR_CAPBSET_DROP, c, 0, 0, 0); /* EINVAL: unknown to this kernel */
    int r = keep_capabilities(bounding);
    if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = -errno;
    if (r == 0)
        r = allow_calls(calls, count, within_namespaces, ARRAY_SIZE(within_namespaces));
    return r < 0 ? fail_os(err, r, "", "lock the jail") : 0;
}

int jail_lock(struct berth_error *err)
{
    return lock_down(KEPT | BIT(CAP_SYS_CHROOT), allowed_calls, ARRAY_SIZE(allowed_calls), err);
}

int jail_lock_network(struct berth_error *err)
{
    return lock_down(0, network_calls, ARRAY_SIZE(network_calls), err);
}

int jail_narrow(int fd, struct berth_error *err)
{
    if (fchdir(fd) < 0 || chroot(".") < 0)
        return fail_os(err, errno, "", "narrow the jail to one folder");
    int r = keep_capabilities(KEPT);
    return r < 0 ? fail_os(err, r, "", "drop capabilities") : 0;
}
