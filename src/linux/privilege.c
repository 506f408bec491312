/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capabilities by plain capget and capset: the kernel's interface is smaller than a library's.
 */
#include "linux/privilege.h"

#include "base/base.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define BIT(n) (UINT64_C(1) << (n))

static const char *const names[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

const char *capability_name(int number)
{
    return number >= 0 && (size_t)number < ARRAY_SIZE(names) ? names[number] : NULL;
}

uint64_t capability_all(void)
{
    int last = 0;
    while (last < 63 && prctl(PR_CAPBSET_READ, last + 1, 0, 0, 0) >= 0)
        last++;
    return last >= 63 ? UINT64_MAX : BIT(last + 1) - 1;
}

int capability_parse(const char *name, uint64_t *ret_mask)
{
    if (strcasecmp(name, "ALL") == 0 || strcasecmp(name, "CAP_ALL") == 0) {
        *ret_mask = capability_all();
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcasecmp(name, names[i]) == 0 || strcasecmp(name, names[i] + 4) == 0) {
            *ret_mask = BIT(i);
            return 0;
        }
    return -EINVAL;
}

uint64_t capability_default(void)
{
    return BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) | BIT(CAP_FSETID) |
           BIT(CAP_KILL) | BIT(CAP_SETGID) | BIT(CAP_SETUID) | BIT(CAP_SETPCAP) |
           BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_NET_RAW) | BIT(CAP_SYS_CHROOT) | BIT(CAP_MKNOD) |
           BIT(CAP_AUDIT_WRITE) | BIT(CAP_SETFCAP);
}

struct sets {
    uint64_t effective, permitted, inheritable;
};

static int sets_get(struct sets *s)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2] = {0};
    if (syscall(SYS_capget, &head, d) < 0)
        return -errno;
    s->effective = d[0].effective | (uint64_t)d[1].effective << 32;
    s->permitted = d[0].permitted | (uint64_t)d[1].permitted << 32;
    s->inheritable = d[0].inheritable | (uint64_t)d[1].inheritable << 32;
    return 0;
}

static int sets_set(const struct sets *s)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2];
    for (int i = 0; i < 2; i++)
        d[i] =
            (struct __user_cap_data_struct){.effective = (uint32_t)(s->effective >> (32 * i)),
                                            .permitted = (uint32_t)(s->permitted >> (32 * i)),
                                            .inheritable = (uint32_t)(s->inheritable >> (32 * i))};
    return syscall(SYS_capset, &head, d) < 0 ? -errno : 0;
}

uint64_t capability_effective(void)
{
    struct sets s = {0};
    return sets_get(&s) < 0 ? 0 : s.effective;
}

int capability_need(uint64_t mask, const char *verb, struct berth_error *err)
{
    uint64_t missing = mask & ~capability_effective();
    if (!missing)
        return 0;
    int number = __builtin_ctzll(missing);
    const char *name = capability_name(number);
    return fail(err, BERTH_DENIED, name,
                "%s needs %s, which this process does not have; run it as root", verb, name ? name : "a capability");
}

static int drop_bounding(uint64_t keep)
{
    for (int i = 0; i < 64; i++) {
        if (keep & BIT(i))
            continue;
        int has = prctl(PR_CAPBSET_READ, i, 0, 0, 0);
        if (has < 0)
            break; /* the kernel knows no more */
        if (has == 1 && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
            return -errno;
    }
    return 0;
}

static int set_ids(const struct user_identity *who)
{
    if (setgroups(who->n_groups, who->groups) < 0)
        return -errno;
    if (setresgid(who->gid, who->gid, who->gid) < 0 || setresuid(who->uid, who->uid, who->uid) < 0)
        return -errno;
    return 0;
}

int privilege_become(const struct user_identity *who, uint64_t bounding, uint64_t caps,
                     bool keep_admin, struct berth_error *err)
{
    /* Over exec root gets its bounding set: what it shall not have must go from there. */
    int r = drop_bounding(who->uid == 0 ? bounding & caps : bounding);
    if (r < 0)
        return fail_os(err, r, "capabilities", "drop capabilities from the bounding set");
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return fail_os(err, errno, "capabilities", "keep capabilities over the change of user");
    r = set_ids(who);
    if (r < 0)
        return fail_os(err, r, "user", "user: become %u:%u with %zu groups", who->uid, who->gid,
                       who->n_groups);
    (void)prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
    (void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    struct sets s = {0};
    uint64_t have = sets_get(&s) < 0 ? 0 : s.permitted;
    uint64_t until_exec = keep_admin ? BIT(CAP_SYS_ADMIN) : 0;
    s.permitted = s.effective = have & ((who->uid == 0 ? bounding & caps : 0) | until_exec);
    s.inheritable = 0;
    r = sets_set(&s);
    return r < 0 ? fail_os(err, r, "capabilities", "set capabilities") : 0;
}

int privilege_file_identity(uid_t uid, gid_t gid)
{
    struct sets s;
    (void)setfsgid(gid);
    (void)setfsuid(uid); /* takes the file capabilities out of the effective set */
    if ((uid_t)setfsuid((uid_t)-1) != uid || (gid_t)setfsgid((gid_t)-1) != gid)
        return -EPERM;
    int r = sets_get(&s);
    s.effective = s.permitted;
    return r < 0 ? r : sets_set(&s);
}

/* ---- labels */

static bool module_enabled(const char *name)
{
    autofree char *text = NULL;
    size_t size;
    if (strcmp(name, "selinux") == 0)
        return access("/sys/fs/selinux/enforce", F_OK) == 0;
    return file_read(AT_FDCWD, "/sys/module/apparmor/parameters/enabled", 16, &text, &size) == 0 &&
           text[0] == 'Y';
}

static int write_label(int proc_fd, const char *const *files, const char *label)
{
    int r = -ENOENT;
    for (; *files; files++) {
        autoclose int fd = openat(proc_fd, *files, O_WRONLY | O_CLOEXEC);
        if (fd < 0) {
            r = -errno;
            continue;
        }
        return RETRY(write(fd, label, strlen(label))) < 0 ? -errno : 0;
    }
    return r;
}

int privilege_label(int proc_fd, const char *apparmor, const char *selinux, struct berth_error *err)
{
    static const char *const apparmor_files[] = {"thread-self/attr/apparmor/exec",
                                                 "thread-self/attr/exec", NULL};
    static const char *const selinux_files[] = {"thread-self/attr/exec", NULL};
    if (apparmor && *apparmor && strcmp(apparmor, "unconfined") != 0) {
        autofree char *label = format_text("exec %s", apparmor);
        if (!module_enabled("apparmor"))
            return fail(err, BERTH_NO_KERNEL, "apparmor",
                        "security.apparmor: this kernel runs without AppArmor");
        int r = label ? write_label(proc_fd, apparmor_files, label) : -ENOMEM;
        if (r < 0)
            return fail_os(err, r, "apparmor", "security.apparmor: profile \"%s\" (is it loaded?)",
                           apparmor);
    }
    if (selinux && *selinux) {
        if (!module_enabled("selinux"))
            return fail(err, BERTH_NO_KERNEL, "selinux",
                        "security.selinux: this kernel runs without SELinux");
        int r = write_label(proc_fd, selinux_files, selinux);
        if (r < 0)
            return fail_os(err, r, "selinux", "security.selinux: label \"%s\"", selinux);
    }
    return 0;
}

/* ---- limits of a process */

static const char *rlimit_name(int resource)
{
    static const char *const table[] = {
        [RLIMIT_AS] = "as",
        [RLIMIT_CORE] = "core",
        [RLIMIT_CPU] = "cpu",
        [RLIMIT_DATA] = "data",
        [RLIMIT_FSIZE] = "fsize",
        [RLIMIT_LOCKS] = "locks",
        [RLIMIT_MEMLOCK] = "memlock",
        [RLIMIT_MSGQUEUE] = "msgqueue",
        [RLIMIT_NICE] = "nice",
        [RLIMIT_NOFILE] = "nofile",
        [RLIMIT_NPROC] = "nproc",
        [RLIMIT_RSS] = "rss",
        [RLIMIT_RTPRIO] = "rtprio",
        [RLIMIT_RTTIME] = "rttime",
        [RLIMIT_SIGPENDING] = "sigpending",
        [RLIMIT_STACK] = "stack",
    };
    return resource >= 0 && (size_t)resource < ARRAY_SIZE(table) ? table[resource] : "unknown";
}

int privilege_rlimits(const struct plan_rlimit *limits, size_t n, struct berth_error *err)
{
    for (size_t i = 0; i < n; i++) {
        struct rlimit limit = {.rlim_cur = limits[i].soft, .rlim_max = limits[i].hard};
        const char *name = rlimit_name(limits[i].resource);
        if (setrlimit((__rlimit_resource_t)limits[i].resource, &limit) == 0)
            continue;
        if (errno == EPERM)
            return fail(err, BERTH_DENIED, name,
                        "ulimits.%s: raising it needs CAP_SYS_RESOURCE, or is above the "
                        "kernel's ceiling (fs.nr_open for nofile)",
                        name);
        return fail_os(err, errno, name, "ulimits.%s", name);
    }
    return 0;
}

/* ---- seccomp */

int privilege_filter_check(int fd, const char *path, struct berth_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return fail_os(err, errno, path, "seccomp filter %s", path);
    if (!S_ISREG(st.st_mode) || st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)))
        return fail(err, BERTH_DENIED, path,
                    "seccomp filter %s is not a file that only root can write", path);
    return 0;
}

int privilege_filter_read(int fd, const char *path, void **ret_filter, size_t *ret_size,
                          struct berth_error *err)
{
    struct stat st;
    char *data;
    size_t size;
    if (fstat(fd, &st) < 0)
        return fail_os(err, errno, path, "seccomp filter %s", path);
    if (st.st_size <= 0 || st.st_size % (off_t)sizeof(struct sock_filter) ||
        st.st_size > (off_t)(BPF_MAXINSNS * sizeof(struct sock_filter)))
        return fail(err, BERTH_CORRUPT, path, "seccomp filter %s is damaged", path);
    int r = fd_read_all(fd, BPF_MAXINSNS * sizeof(struct sock_filter), &data, &size);
    if (r < 0)
        return fail_os(err, r, path, "read seccomp filter %s", path);
    *ret_filter = data;
    *ret_size = size;
    return 0;
}

int privilege_filter(const void *filter, size_t size, struct berth_error *err)
{
    struct sock_fprog program = {.len = (unsigned short)(size / sizeof(struct sock_filter)),
                                 .filter = (struct sock_filter *)(uintptr_t)filter};
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0) {
        if (errno == ENOSYS)
            return fail(err, BERTH_NO_KERNEL, "seccomp",
                        "security.seccomp: this kernel lacks seccomp filters");
        return fail_os(err, errno, "seccomp", "security.seccomp: load the filter");
    }
    return 0;
}
