/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entrance: /proc of the right pid namespace, what is written and covered below it, and the
 * terminal. From here on "/" is the workload's root.
 */
#include "supervisor/stage.h"

#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/mounts.h"
#include "linux/namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* ---- sysctls */

static const struct {
    const char *prefix;
    int namespace;
} sysctl_homes[] = {
    {"net/", PLAN_NS_NET},
    {"kernel/msg", PLAN_NS_IPC},
    {"kernel/sem", PLAN_NS_IPC},
    {"kernel/shm", PLAN_NS_IPC},
    {"fs/mqueue/", PLAN_NS_IPC},
    {"kernel/hostname", PLAN_NS_UTS},
    {"kernel/domainname", PLAN_NS_UTS},
};

static int sysctl_home(const char *path)
{
    for (size_t i = 0; i < ARRAY_SIZE(sysctl_homes); i++)
        if (starts_with(path, sysctl_homes[i].prefix))
            return sysctl_homes[i].namespace;
    return -1;
}

/* One that is the whole machine's, or would be because its namespace is the host's, is not ours to
 * write. */
static int sysctl_allowed(const struct plan *plan, const char *name, const char *path,
                          struct berth_error *err)
{
    int home = strstr(path, "..") ? -1 : sysctl_home(path);
    if (home < 0)
        return fail(err, BERTH_INVALID, name,
                    "sysctls: %s belongs to the whole machine, not to a namespace", name);
    if (plan->namespaces[home].mode == PLAN_NS_HOST)
        return fail(err, BERTH_INVALID, name, "sysctls: %s needs a private %s namespace", name,
                    namespace_name(home));
    return 0;
}

static int sysctl_write(int proc_fd, const char *path, const char *value)
{
    autofree char *below = format_text("sys/%s", path);
    autoclose int fd = below ? below_open(proc_fd, below, O_WRONLY, true) : -ENOMEM;
    if (fd < 0)
        return fd;
    if (mount_type(fd) != PROC_SUPER_MAGIC)
        return -EXDEV;
    return fd_write_all(fd, value, strlen(value));
}

static int sysctls(struct stage *st, struct berth_error *err)
{
    for (size_t i = 0; i < st->plan->n_sysctls; i++) {
        const struct plan_pair *s = &st->plan->sysctls[i];
        autofree char *path = strdup(s->name);
        if (!path)
            return fail_memory(err);
        /* "net.ipv4.conf.eth0/1.x": sysctl(8) swaps the two; whoever writes slashes means a path.
         */
        for (char *p = strchr(path, '/') ? path + strlen(path) : path; *p; p++)
            if (*p == '.')
                *p = '/';
        int r = sysctl_allowed(st->plan, s->name, path, err);
        if (r < 0)
            return r;
        r = sysctl_write(st->proc_tree, path, s->value);
        if (r == -ENOENT)
            return fail(err, BERTH_NO_KERNEL, s->name, "sysctls: this kernel has no %s", s->name);
        if (r < 0)
            return fail_os(err, r, s->name, "sysctls: set %s to \"%s\"", s->name, s->value);
    }
    return 0;
}

/* In a network of its own any user may take a low port and ping. */
static void open_network(struct stage *st)
{
    char range[32];
    uint64_t last = 2147483647;
    if (st->plan->namespaces[PLAN_NS_NET].mode != PLAN_NS_PRIVATE)
        return;
    if (st->userns_fd >= 0 && st->plan->n_gid_map)
        last = (uint64_t)st->plan->gid_map[0].inside + st->plan->gid_map[0].count - 1;
    snprintf(range, sizeof(range), "0 %llu", (unsigned long long)MIN(last, UINT64_C(2147483647)));
    (void)sysctl_write(st->proc_tree, "net/ipv4/ip_unprivileged_port_start", "0");
    (void)sysctl_write(st->proc_tree, "net/ipv4/ping_group_range", range);
}

/* ---- /proc */

static int place_proc(struct stage *st, int root_fd, const struct plan_mount *m,
                      struct berth_error *err)
{
    uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    if (st->proc_tree < 0)
        st->proc_tree = mount_new("proc", "proc", NULL, attributes);
    if (st->proc_tree < 0)
        return fail_os(err, st->proc_tree, m->target, "mount %s", m->target);
    autoclose int target_fd =
        below_open(root_fd, m->target, O_PATH | O_DIRECTORY, !st->plan->root.host);
    if (target_fd < 0)
        return fail_os(err, target_fd, m->target, "mount %s", m->target);
    int r = mount_place(st->proc_tree, target_fd);
    if (r == 0 && mount_type(st->proc_tree) != PROC_SUPER_MAGIC)
        r = -EXDEV;
    return r < 0 ? fail_os(err, r, m->target, "mount %s", m->target) : 0;
}

int stage_enter_proc(struct stage *st, int root_fd, struct berth_error *err)
{
    const struct plan *p = st->plan;
    const struct plan_mount *proc = NULL;
    for (size_t i = 0; i < p->n_mounts; i++)
        proc = p->mounts[i].kind == PLAN_MOUNT_PROC ? &p->mounts[i] : proc;
    if (!proc)
        return p->n_sysctls
                   ? fail(err, BERTH_INVALID, "sysctls", "sysctls: the workload has no /proc")
                   : 0;
    int r = place_proc(st, root_fd, proc, err);
    if (r < 0)
        return r;
    open_network(st);
    r = sysctls(st, err);
    if (r == 0)
        r = stage_cover(st, root_fd, true, err);
    if (r == 0 && proc->flags & MS_RDONLY) {
        r = mount_attributes(st->proc_tree, MOUNT_ATTR_RDONLY, 0, false);
        r = r < 0 ? fail_os(err, r, proc->target, "make %s read-only", proc->target) : 0;
    }
    return r;
}

/* ---- the terminal */

/* The workload's own devpts, and really it: a file that only looks like ptmx is refused. */
static int open_master(int root_fd)
{
    struct stat s;
    int unlock = 0;
    autoclose int fd = below_open(root_fd, "/dev/pts/ptmx", O_RDWR | O_NOCTTY, false);
    if (fd < 0)
        return fd;
    if (fstat(fd, &s) < 0 || !S_ISCHR(s.st_mode) || s.st_rdev != makedev(5, 2) ||
        mount_type(fd) != DEVPTS_SUPER_MAGIC)
        return -ENXIO;
    return ioctl(fd, TIOCSPTLCK, &unlock) < 0 ? -errno : take_fd(&fd);
}

/* Only in the tmpfs that we made, where an empty file waits for it. */
static int bind_console(int root_fd, int slave_fd)
{
    struct stat s;
    autoclose int target_fd = below_open(root_fd, "/dev/console", O_PATH, false);
    if (target_fd == -ENOENT)
        return 0;
    if (target_fd < 0)
        return target_fd;
    if (fstat(target_fd, &s) < 0 || !S_ISREG(s.st_mode) || mount_type(target_fd) != TMPFS_MAGIC)
        return 0;
    autoclose int copy_fd = mount_clone(slave_fd, "", false);
    return copy_fd < 0 ? copy_fd : mount_place(copy_fd, target_fd);
}

int stage_open_tty(struct stage *st, int root_fd, int *ret_slave_fd, struct berth_error *err)
{
    autoclose int master_fd = open_master(root_fd);
    if (master_fd < 0)
        return fail_os(err, master_fd, "/dev/pts/ptmx",
                       "open a terminal in the workload's /dev/pts");
    autoclose int slave_fd = ioctl(master_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave_fd < 0)
        return fail_os(err, errno, "/dev/pts", "open the workload's side of its terminal");
    struct winsize size = {.ws_row = st->rows, .ws_col = st->columns};
    if (st->rows && st->columns)
        (void)ioctl(master_fd, TIOCSWINSZ, &size);
    if (fchown(slave_fd, st->who.uid, (gid_t)-1) < 0 && st->who.uid != 0)
        return fail_os(err, errno, "/dev/pts", "give the terminal to the user");
    int r = st->exec ? 0 : bind_console(root_fd, slave_fd);
    if (r < 0)
        return fail_os(err, r, "/dev/console", "bind the terminal to /dev/console");
    if (send_with_fds(st->fds[STAGE_TTY], "t", 1, &master_fd, 1) < 0)
        return fail(err, BERTH_LOST, "tty", "the supervisor is gone");
    *ret_slave_fd = take_fd(&slave_fd);
    return 0;
}
