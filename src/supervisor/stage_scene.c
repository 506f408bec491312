/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scene: everything that comes from the host is opened first, as detached mounts; then they are
 * placed on targets inside the root, each opened and checked; then the host is left behind.
 */
#include "supervisor/stage.h"

#include "base/base.h"
#include "base/text.h"
#include "linux/mounts.h"
#include "linux/namespace.h"
#include "linux/privilege.h"
#include "supervisor/fill.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

static int mode_of(const struct stage *st, int which)
{
    return st->plan->namespaces[which].mode;
}

/* ---- what comes from the host */

static int open_layer(const char *path, struct berth_error *err)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? fail_os(err, errno, path, "open layer %s", path) : fd;
}

/* A layer as the user namespace sees it: its files belong to the ids inside. */
static int map_layer(struct stage *st, const char *path, struct berth_error *err)
{
    int fd = mount_clone(AT_FDCWD, path, false);
    if (fd < 0)
        return fail_os(err, fd, path, "open layer %s", path);
    int r = mount_idmap(fd, st->userns_fd, false);
    if (r == 0)
        return fd;
    close(fd);
    if (r == -EINVAL || r == -EOPNOTSUPP)
        return fail(err, BERTH_NO_KERNEL, "userns",
                    "namespaces.userns: this kernel can't map the ids of %s "
                    "(idmapped layers need Linux 5.19 on ext4, xfs or btrfs, 6.3 on tmpfs); use "
                    "userns \"host\"",
                    path);
    return fail_os(err, r, path, "map the ids of %s", path);
}

static int open_layers(struct stage *st, char *const *layers, bool mapped, int *ret_fds,
                       size_t *ret_n, struct berth_error *err)
{
    size_t n = layers ? strings_count(layers) : 0;
    if (n > 490)
        return fail(err, BERTH_TOO_BIG, st->plan->image,
                    "the image has %zu layers; the kernel stacks at most 490", n);
    for (size_t i = 0; i < n; i++) {
        int fd = mapped ? map_layer(st, layers[i], err) : open_layer(layers[i], err);
        if (fd < 0)
            return fd;
        ret_fds[i] = fd;
        *ret_n = i + 1;
    }
    return 0;
}

/* upper and work must lie on one mount, so a mapped one is made of their common parent. */
static int open_upper(struct stage *st, int *ret_upper, int *ret_work, int *ret_parent,
                      struct berth_error *err)
{
    const char *upper = st->plan->root.upper, *work = st->plan->root.work;
    if (st->userns_fd < 0) {
        *ret_upper = open_layer(upper, err);
        *ret_work = *ret_upper < 0 || !work ? -1 : open_layer(work, err);
        return *ret_upper < 0 ? *ret_upper : work && *ret_work < 0 ? *ret_work : 0;
    }
    autofree char *parent = strdup(upper);
    char *slash = parent ? strrchr(parent, '/') : NULL;
    if (!slash || (work && strncmp(work, parent, (size_t)(slash - parent) + 1) != 0))
        return fail(err, BERTH_INVALID, "root",
                    "the root's upper and work folders have no common parent");
    *slash = 0;
    *ret_parent = map_layer(st, parent, err);
    if (*ret_parent < 0)
        return *ret_parent;
    *ret_upper = openat(*ret_parent, slash + 1, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *ret_work =
        work ? openat(*ret_parent, work + (slash - parent) + 1, O_PATH | O_DIRECTORY | O_CLOEXEC)
             : -1;
    return *ret_upper < 0 ? fail_os(err, errno, upper, "open %s", upper) : 0;
}

static int place_numbered(int scratch_fd, size_t i, int fd)
{
    char name[24];
    snprintf(name, sizeof(name), "%zu", i);
    if (mkdirat(scratch_fd, name, 0700) < 0)
        return -errno;
    autoclose int target_fd = openat(scratch_fd, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return target_fd < 0 ? -errno : mount_place(fd, target_fd);
}

/* Older kernels take overlay layers only from mounts of the namespace: mapped ones are placed on a
 * scratch folder, which goes with the host's file system. */
static int place_mapped(struct stage *st, const int *layers, size_t n, int parent_fd,
                        struct berth_error *err)
{
    autoclose int place_fd = open(st->place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    autoclose int scratch_fd = mount_new("tmpfs", "layers", "mode=755", 0);
    int r = place_fd < 0 ? -errno : scratch_fd < 0 ? scratch_fd : mount_place(scratch_fd, place_fd);
    for (size_t i = 0; r == 0 && i < n; i++)
        r = place_numbered(scratch_fd, i, layers[i]);
    if (r == 0 && parent_fd >= 0)
        r = place_numbered(scratch_fd, n, parent_fd);
    /* Root of a user namespace can't walk to it again: from here it is the working directory, and a
     * folder in it is the place of the root. */
    if (r == 0 && (mkdirat(scratch_fd, "root", 0755) < 0 || fchdir(scratch_fd) < 0))
        r = -errno;
    if (r == 0)
        st->place = "root";
    return r < 0 ? fail_os(err, r, st->place, "place mapped layers on %s", st->place) : 0;
}

static int overlay_failed(int r, const char *what, struct berth_error *err)
{
    if (r == -ENODEV)
        return fail(err, BERTH_NO_KERNEL, "overlay",
                    "mount %s: this kernel lacks overlayfs (modprobe overlay)", what);
    if (r == -ENOSYS)
        return fail(err, BERTH_NO_KERNEL, "mount", "mount %s: this kernel is older than 5.12",
                    what);
    return fail_os(err, r, what, "mount %s", what);
}

/* The overlay works with its mounter's identity, which must be one that the mapped upper folder can
 * hold. */
static int make_overlay(struct stage *st, const int *layers, size_t n, int upper_fd, int work_fd)
{
    const struct plan *p = st->plan;
    if (st->userns_fd < 0)
        return overlay_make(layers, n, upper_fd, work_fd, st->place);
    int r = privilege_file_identity(idmap_outside(p->uid_map, p->n_uid_map, 0),
                                    idmap_outside(p->gid_map, p->n_gid_map, 0));
    int fd = r < 0 ? r : overlay_make(layers, n, upper_fd, work_fd, st->place);
    r = privilege_file_identity(0, 0);
    if (r < 0)
        close_fd(&fd);
    return r < 0 ? r : fd;
}

/* The host's own tree. What is mounted there later comes through, unless it is to be read-only: that
 * would not be. */
static int open_host(struct stage *st, struct berth_error *err)
{
    bool read_only = st->plan->root.read_only;
    int r = st->root_tree = mount_clone(AT_FDCWD, "/", true);
    if (r >= 0)
        r = mount_attributes(r, read_only ? MOUNT_ATTR_RDONLY : 0,
                             read_only ? MS_PRIVATE : MS_SLAVE, true);
    return r < 0 ? fail_os(err, r, "/", "open the host's files") : 0;
}

static int open_root(struct stage *st, struct berth_error *err)
{
    int layers[512], upper_fd = -1, work_fd = -1;
    size_t n = 0;
    autoclose int parent_fd = -1;
    int r = open_layers(st, st->plan->root.layers, st->userns_fd >= 0, layers, &n, err);
    if (r == 0 && st->plan->root.upper)
        r = open_upper(st, &upper_fd, &work_fd, &parent_fd, err);
    if (r == 0 && st->userns_fd >= 0)
        r = place_mapped(st, layers, n, parent_fd, err);
    if (r == 0 && n == 0 && upper_fd < 0)
        r = fail(err, BERTH_INVALID, "root", "the root has neither layers nor a folder of its own");
    if (r == 0) {
        st->root_tree = make_overlay(st, layers, n, upper_fd, work_fd);
        r = st->root_tree < 0 ? overlay_failed(st->root_tree, "the root file system", err) : 0;
    }
    for (size_t i = 0; i < n; i++)
        close(layers[i]);
    close_fd(&upper_fd);
    close_fd(&work_fd);
    return r;
}

static int open_image_volume(struct stage *st, const struct plan_mount *m, struct stage_tree *t,
                             struct berth_error *err)
{
    int layers[512];
    size_t n = 0;
    int r = open_layers(st, m->layers, st->userns_fd >= 0, layers, &n, err);
    if (r == 0) {
        t->fd = overlay_make(layers, n, -1, -1, st->place);
        r = t->fd < 0 ? overlay_failed(t->fd, m->target, err) : 0;
    }
    for (size_t i = 0; i < n; i++)
        close(layers[i]);
    return r;
}

static int source_failed(const struct plan_mount *m, int r, struct berth_error *err)
{
    if (r == -ENOENT)
        return fail(err, BERTH_NOT_FOUND, m->source, "mount %s: its source %s does not exist",
                    m->target, m->source);
    return fail_os(err, r, m->source, "mount %s: open its source %s", m->target, m->source);
}

static int open_bind(struct stage *st, const struct plan_mount *m, struct stage_tree *t,
                     struct berth_error *err)
{
    struct stat s;
    bool recursive = m->kind == PLAN_MOUNT_BIND && (m->flags & MS_REC);
    autoclose int fd = mount_clone(AT_FDCWD, m->source, recursive);
    if (fd == -ENOENT && m->optional)
        return 0;
    if (fd < 0)
        return source_failed(m, fd, err);
    /* With the copy's own peer group until here, so that "shared" and "slave" have something to
     * hold on to. */
    uint64_t propagation = m->propagation & (MS_PRIVATE | MS_SLAVE | MS_SHARED | MS_UNBINDABLE);
    int r = mount_attributes(fd, 0, propagation ? propagation : MS_PRIVATE, recursive);
    uint64_t attributes = mount_attributes_of(m->flags);
    if (r == 0 && attributes)
        r = mount_attributes(fd, attributes, 0, recursive);
    if (r == 0 && st->userns_fd >= 0 && m->kind == PLAN_MOUNT_VOLUME)
        r = mount_idmap(fd, st->userns_fd, false);
    if (r == 0 && fstat(fd, &s) < 0)
        r = -errno;
    if (r < 0)
        return source_failed(m, r, err);
    t->is_file = !S_ISDIR(s.st_mode);
    if (m->kind == PLAN_MOUNT_VOLUME && m->fill && !(m->flags & MS_RDONLY)) {
        r = fill_begin(m->source, &t->fill_fd);
        if (r < 0)
            return fail_os(err, r, m->source, "fill volume %s", m->source);
    }
    t->fd = take_fd(&fd);
    return 0;
}

static int open_cgroup_view(struct stage *st, struct berth_error *err)
{
    size_t n = cgroup_view_count(st->group);
    st->cgroup_trees = calloc(n + 1, sizeof(int));
    if (!st->cgroup_trees)
        return fail_memory(err);
    if (mode_of(st, PLAN_NS_CGROUP) == PLAN_NS_HOST) {
        st->cgroup_trees[0] = mount_clone(AT_FDCWD, "/sys/fs/cgroup", true);
        return st->cgroup_trees[0] < 0
                   ? fail_os(err, st->cgroup_trees[0], "/sys/fs/cgroup", "open /sys/fs/cgroup")
                   : 0;
    }
    for (size_t i = 0; i < n; i++) {
        char path[1024];
        const char *name;
        int r = cgroup_view(st->group, i, path, sizeof(path), &name);
        st->cgroup_trees[i] = r < 0 ? r : mount_clone(AT_FDCWD, path, false);
        if (st->cgroup_trees[i] < 0)
            return fail_os(err, st->cgroup_trees[i], path, "open control group %s", path);
    }
    return 0;
}

/* /dev/shm and the message queues of another workload, fetched from its mount namespace. */
static int fetch_from(int pid_fd, const char *path)
{
    autoclose int own_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (own_fd < 0 || setns(pid_fd, CLONE_NEWNS) < 0)
        return -errno;
    int fd = mount_clone(AT_FDCWD, path, false);
    if (setns(own_fd, CLONE_NEWNS) < 0) {
        close_fd(&fd);
        return -errno;
    }
    return fd;
}

static int open_ipc_trees(struct stage *st)
{
    int mode = mode_of(st, PLAN_NS_IPC), other_fd = st->fds[STAGE_JOIN + PLAN_NS_IPC];
    if (mode == PLAN_NS_HOST) {
        st->shm_tree = mount_clone(AT_FDCWD, "/dev/shm", false);
        st->mqueue_tree = mount_clone(AT_FDCWD, "/dev/mqueue", false);
    } else if (mode == PLAN_NS_JOIN) {
        st->shm_tree = fetch_from(other_fd, "/dev/shm");
        st->mqueue_tree = fetch_from(other_fd, "/dev/mqueue");
    }
    return 0; /* one that is not there is made anew */
}

static int open_tree_of(struct stage *st, size_t i, struct berth_error *err)
{
    const struct plan_mount *m = &st->plan->mounts[i];
    switch (m->kind) {
    case PLAN_MOUNT_BIND:
    case PLAN_MOUNT_VOLUME:
        return open_bind(st, m, &st->trees[i], err);
    case PLAN_MOUNT_OVERLAY:
        return open_image_volume(st, m, &st->trees[i], err);
    case PLAN_MOUNT_CGROUP:
        return open_cgroup_view(st, err);
    default:
        return 0;
    }
}

int stage_open_null(struct stage *st, struct berth_error *err)
{
    struct stat s;
    st->null_tree = mount_clone(AT_FDCWD, "/dev/null", false);
    if (st->null_tree < 0 || fstat(st->null_tree, &s) < 0 || !S_ISCHR(s.st_mode) ||
        s.st_rdev != makedev(1, 3))
        return fail(err, BERTH_IO, "/dev/null", "/dev/null of this machine is not the null device");
    return 0;
}

int stage_open_trees(struct stage *st, struct berth_error *err)
{
    st->trees = calloc(st->plan->n_mounts + 1, sizeof(*st->trees));
    if (!st->trees)
        return fail_memory(err);
    for (size_t i = 0; i < st->plan->n_mounts; i++)
        st->trees[i].fd = st->trees[i].fill_fd = -1;
    int r = stage_open_null(st, err);
    for (size_t i = 0; r == 0 && i < st->plan->n_mounts; i++)
        r = open_tree_of(st, i, err);
    if (r == 0)
        r = open_ipc_trees(st);
    if (r == 0 && st->userns_fd >= 0) {
        st->sys_tree = mount_clone(AT_FDCWD, "/sys", true);
        r = stage_open_device_trees(st, err);
    }
    if (r == 0 && st->plan->root.host)
        r = open_host(st, err);
    if (r < 0)
        return r;
    /* From here on nothing that we mount can be seen by anybody else. */
    r = mount_all_private();
    if (r < 0)
        return fail_os(err, r, "/", "make the mount namespace private");
    return st->plan->root.host ? 0 : open_root(st, err);
}

/* ---- placing */

static int target_failed(const char *target, int r, struct berth_error *err)
{
    if (r == -ELOOP || r == -EXDEV)
        return fail(err, BERTH_INVALID, target, "mount %s: refused, %s", target,
                    r == -EXDEV ? "something else is mounted there"
                                : "the image has a symbolic link there that leads nowhere");
    if (r == -EROFS)
        return fail(err, BERTH_INVALID, target,
                    "mount %s: the image lacks it and its root can't be written", target);
    return fail_os(err, r, target, "mount %s: make the target", target);
}

/* /proc, /sys and /dev are where the kernel is reached: no link on the way, nothing mounted there
 * before (`one_mount`) but by the host itself. */
static int kernel_target(int root_fd, const char *target, bool one_mount, struct berth_error *err)
{
    int fd = below_open(root_fd, target, O_PATH | O_DIRECTORY, one_mount);
    if (fd == -ENOENT) {
        fd = root_make_folder(root_fd, target);
        if (fd >= 0) {
            close(fd);
            fd = below_open(root_fd, target, O_PATH | O_DIRECTORY, one_mount);
        }
    }
    if (fd == -ELOOP)
        return fail(err, BERTH_INVALID, target,
                    "mount %s: refused, the image has a symbolic link there", target);
    return fd < 0 ? target_failed(target, fd, err) : fd;
}

static int user_target(const struct stage *st, int root_fd, const char *target, bool is_file,
                       struct berth_error *err)
{
    int fd = st->plan->root.host ? root_open(root_fd, target, O_PATH | (is_file ? 0 : O_DIRECTORY))
             : is_file           ? root_make_file(root_fd, target)
                                 : root_make_folder(root_fd, target);
    if (fd == -ENOENT && st->plan->root.host)
        return fail(err, BERTH_NOT_FOUND, target,
                    "mount %s: the host has no such %s, and none is made in its files", target,
                    is_file ? "file" : "folder");
    if (fd < 0)
        return target_failed(target, fd, err);
    if (mount_type(fd) == PROC_SUPER_MAGIC || strcmp(target, "/proc") == 0 ||
        starts_with(target, "/proc/")) {
        close(fd);
        return fail(err, BERTH_INVALID, target, "mount %s: refused, it would lie over /proc",
                    target);
    }
    return fd;
}

static int place(int tree_fd, int target_fd, const char *target, struct berth_error *err)
{
    int r = mount_place(tree_fd, target_fd);
    if (r == -ENOTDIR)
        return fail(err, BERTH_INVALID, target,
                    "mount %s: a folder and a file can't lie on each other", target);
    return r < 0 ? fail_os(err, r, target, "mount %s", target) : 0;
}

static int place_user_tree(struct stage *st, size_t i, int root_fd, struct berth_error *err)
{
    const struct plan_mount *m = &st->plan->mounts[i];
    struct stage_tree *t = &st->trees[i];
    if (t->fd < 0)
        return 0;
    autoclose int target_fd = user_target(st, root_fd, m->target, t->is_file, err);
    if (target_fd < 0)
        return target_fd;
    if (t->fill_fd >= 0) {
        int r = fill_volume(target_fd, t->fd, t->fill_fd);
        if (r < 0)
            return fail_os(err, r, m->target, "fill the volume at %s from the image", m->target);
    }
    return place(t->fd, target_fd, m->target, err);
}

static int place_tmpfs(struct stage *st, const struct plan_mount *m, int root_fd,
                       struct berth_error *err)
{
    autoclose int tree_fd = mount_new("tmpfs", "tmpfs", m->data, mount_attributes_of(m->flags));
    if (tree_fd == -EINVAL)
        return fail(err, BERTH_INVALID, m->target, "mount %s: tmpfs refuses the options \"%s\"",
                    m->target, m->data);
    if (tree_fd < 0)
        return fail_os(err, tree_fd, m->target, "mount %s: make a tmpfs", m->target);
    autoclose int target_fd = user_target(st, root_fd, m->target, false, err);
    return target_fd < 0 ? target_fd : place(tree_fd, target_fd, m->target, err);
}

static int place_sysfs(struct stage *st, const struct plan_mount *m, int root_fd,
                       struct berth_error *err)
{
    uint64_t attributes =
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | mount_attributes_of(m->flags);
    autoclose int target_fd = kernel_target(root_fd, m->target, !st->plan->root.host, err);
    if (target_fd < 0)
        return target_fd;
    autoclose int tree_fd = mount_new("sysfs", "sysfs", NULL, attributes);
    if (tree_fd == -EPERM && st->sys_tree >= 0) {
        /* A user namespace on a network that is not its own may not mount sysfs: the host's,
         * read-only. */
        tree_fd = take_fd(&st->sys_tree);
        int r = mount_attributes(tree_fd, attributes | MOUNT_ATTR_RDONLY, 0, true);
        if (r < 0)
            return fail_os(err, r, m->target, "mount %s", m->target);
    }
    return tree_fd < 0 ? fail_os(err, tree_fd, m->target, "mount %s", m->target)
                       : place(tree_fd, target_fd, m->target, err);
}

/* One folder for each v1 hierarchy; pure v2 is the folder itself. */
static int place_cgroup(struct stage *st, const struct plan_mount *m, int root_fd,
                        struct berth_error *err)
{
    uint64_t attributes =
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC | mount_attributes_of(m->flags);
    autoclose int target_fd = kernel_target(root_fd, m->target, false, err);
    if (target_fd < 0)
        return target_fd;
    size_t n = cgroup_view_count(st->group);
    bool whole = mode_of(st, PLAN_NS_CGROUP) == PLAN_NS_HOST ||
                 cgroup_layout_mode(cgroup_layout_of(st->group)) == CGROUP_V2;
    for (size_t i = 0; i < (whole ? 1 : n); i++) {
        int r = mount_attributes(st->cgroup_trees[i], attributes, MS_PRIVATE, whole);
        if (r < 0)
            return fail_os(err, r, m->target, "mount %s", m->target);
    }
    if (whole)
        return place(st->cgroup_trees[0], target_fd, m->target, err);
    autoclose int tree_fd = mount_new("tmpfs", "cgroup", "mode=755,size=16k",
                                      attributes & ~(uint64_t)MOUNT_ATTR_RDONLY);
    int r = tree_fd < 0 ? fail_os(err, tree_fd, m->target, "mount %s", m->target)
                        : place(tree_fd, target_fd, m->target, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        char path[1024];
        const char *name = "";
        (void)cgroup_view(st->group, i, path, sizeof(path), &name);
        if (mkdirat(tree_fd, name, 0755) < 0 && errno != EEXIST)
            return fail_os(err, errno, m->target, "mount %s/%s", m->target, name);
        autoclose int folder_fd =
            openat(tree_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        r = place(st->cgroup_trees[i], folder_fd, m->target, err);
    }
    if (r == 0 && attributes & MOUNT_ATTR_RDONLY)
        r = mount_attributes(tree_fd, MOUNT_ATTR_RDONLY, 0, false);
    return r;
}

static int place_dev_part(struct stage *st, const struct plan_mount *m, int root_fd,
                          struct berth_error *err)
{
    autoclose int target_fd = kernel_target(root_fd, m->target, false, err);
    if (target_fd < 0)
        return target_fd;
    autoclose int tree_fd = stage_dev_tree(st, m->kind, m->data, err);
    return tree_fd < 0 ? tree_fd : place(tree_fd, target_fd, m->target, err);
}

static int place_dev(struct stage *st, const struct plan_mount *m, int root_fd,
                     struct berth_error *err)
{
    autoclose int target_fd = kernel_target(root_fd, m->target, !st->plan->root.host, err);
    return target_fd < 0 ? target_fd : stage_make_dev(st, root_fd, target_fd, err);
}

static int place_mount(struct stage *st, size_t i, int root_fd, struct berth_error *err)
{
    const struct plan_mount *m = &st->plan->mounts[i];
    switch (m->kind) {
    case PLAN_MOUNT_BIND:
    case PLAN_MOUNT_VOLUME:
    case PLAN_MOUNT_OVERLAY:
        return place_user_tree(st, i, root_fd, err);
    case PLAN_MOUNT_TMPFS:
        return place_tmpfs(st, m, root_fd, err);
    case PLAN_MOUNT_SYSFS:
        return place_sysfs(st, m, root_fd, err);
    case PLAN_MOUNT_DEV:
        return place_dev(st, m, root_fd, err);
    case PLAN_MOUNT_DEVPTS:
    case PLAN_MOUNT_SHM:
    case PLAN_MOUNT_MQUEUE:
        return place_dev_part(st, m, root_fd, err);
    case PLAN_MOUNT_CGROUP:
        return place_cgroup(st, m, root_fd, err);
    case PLAN_MOUNT_PROC: {
        /* Its turn comes in the entrance, in the right pid namespace; the folder must be there by
         * then. */
        autoclose int target_fd = kernel_target(root_fd, m->target, !st->plan->root.host, err);
        return target_fd < 0 ? target_fd : 0;
    }
    default:
        return fail(err, BERTH_INVALID, m->target, "mount %s: unknown kind %d", m->target, m->kind);
    }
}

static int pivot(int root_fd, struct berth_error *err)
{
    /* The new root stands on the old one's place, then the old one, now on top, goes. */
    if (fchdir(root_fd) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return fail_os(err, errno, "/", "enter the root file system (pivot_root)");
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return fail_os(err, errno, "/", "leave the host's file system");
    return 0;
}

int stage_build(struct stage *st, struct berth_error *err)
{
    autoclose int place_fd = open(st->place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (place_fd < 0)
        return fail_os(err, errno, st->place, "open %s", st->place);
    int r = place(st->root_tree, place_fd, "/", err);
    for (size_t i = 0; r == 0 && i < st->plan->n_mounts; i++)
        r = place_mount(st, i, st->root_tree, err);
    if (r == 0)
        r = stage_make_devices(st, st->root_tree, err);
    if (r == 0)
        r = stage_cover(st, st->root_tree, false, err);
    /* Targets are made by now; the workdir of a read-only root must be the image's. */
    if (r == 0 && st->plan->root.read_only) {
        r = mount_attributes(st->root_tree, MOUNT_ATTR_RDONLY, 0, false);
        r = r < 0 ? fail_os(err, r, "/", "make the root read-only") : 0;
    }
    return r < 0 ? r : pivot(st->root_tree, err);
}

int stage_furnish(struct stage *st, struct berth_error *err)
{
    const struct plan *p = st->plan;
    if (mode_of(st, PLAN_NS_UTS) == PLAN_NS_PRIVATE) {
        if (p->hostname && sethostname(p->hostname, strlen(p->hostname)) < 0)
            return fail_os(err, errno, "hostname", "hostname \"%s\"", p->hostname);
        if (p->domainname && setdomainname(p->domainname, strlen(p->domainname)) < 0)
            return fail_os(err, errno, "domainname", "domainname \"%s\"", p->domainname);
    }
    if (mode_of(st, PLAN_NS_NET) == PLAN_NS_PRIVATE && st->fds[STAGE_NET] < 0) {
        int r = namespace_loopback_up();
        if (r < 0)
            return fail_os(err, r, "lo", "bring up the loopback interface");
    }
    return 0;
}
