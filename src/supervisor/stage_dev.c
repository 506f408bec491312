/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /dev as docker gives it, in a fresh tmpfs where nobody has been before us, and what is covered:
 * masked and read-only paths.
 */
#include "supervisor/stage.h"

#include "base/base.h"
#include "base/text.h"
#include "linux/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define FORBIDDING (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

static const struct plan_device standard_devices[] = {
    {.path = (char *)"/dev/null", .type = 'c', .major = 1, .minor = 3, .mode = 0666, .node = true},
    {.path = (char *)"/dev/zero", .type = 'c', .major = 1, .minor = 5, .mode = 0666, .node = true},
    {.path = (char *)"/dev/full", .type = 'c', .major = 1, .minor = 7, .mode = 0666, .node = true},
    {.path = (char *)"/dev/random",
     .type = 'c',
     .major = 1,
     .minor = 8,
     .mode = 0666,
     .node = true},
    {.path = (char *)"/dev/urandom",
     .type = 'c',
     .major = 1,
     .minor = 9,
     .mode = 0666,
     .node = true},
    {.path = (char *)"/dev/tty", .type = 'c', .major = 5, .minor = 0, .mode = 0666, .node = true},
};

static const struct {
    const char *name, *to;
} links[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"},      {"ptmx", "pts/ptmx"},
};

static const struct {
    const char *name, *target;
    int kind;
} parts[] = {
    {"pts", "/dev/pts", PLAN_MOUNT_DEVPTS},
    {"shm", "/dev/shm", PLAN_MOUNT_SHM},
    {"mqueue", "/dev/mqueue", PLAN_MOUNT_MQUEUE},
};

/* ---- nodes. In a user namespace nobody may make one: the host's own is bound instead. */

static size_t device_count(const struct stage *st)
{
    return ARRAY_SIZE(standard_devices) + st->plan->n_devices;
}

static const struct plan_device *device_at(const struct stage *st, size_t i)
{
    return i < ARRAY_SIZE(standard_devices) ? &standard_devices[i]
                                            : &st->plan->devices[i - ARRAY_SIZE(standard_devices)];
}

static dev_t device_number(const struct plan_device *d)
{
    return makedev(d->major, d->minor);
}

int stage_open_device_trees(struct stage *st, struct berth_error *err)
{
    st->device_trees = calloc(device_count(st), sizeof(int));
    if (!st->device_trees)
        return fail_memory(err);
    for (size_t i = 0; i < device_count(st); i++) {
        const struct plan_device *d = device_at(st, i);
        struct stat s;
        st->device_trees[i] = d->node && d->path ? mount_clone(AT_FDCWD, d->path, false) : -1;
        if (st->device_trees[i] >= 0 &&
            (fstat(st->device_trees[i], &s) < 0 || s.st_rdev != device_number(d)))
            close_fd(&st->device_trees[i]);
    }
    return 0;
}

static int bind_node(struct stage *st, size_t i, int dir_fd, const char *name)
{
    if (!st->device_trees || st->device_trees[i] < 0)
        return -EPERM;
    autoclose int made_fd =
        openat(dir_fd, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0666);
    autoclose int target_fd =
        made_fd < 0 ? -1 : openat(dir_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    return target_fd < 0 ? -errno : mount_place(st->device_trees[i], target_fd);
}

static int make_node(struct stage *st, size_t i, int dir_fd, const char *name)
{
    const struct plan_device *d = device_at(st, i);
    mode_t type = d->type == 'b' ? S_IFBLK : S_IFCHR;
    if (mknodat(dir_fd, name, type | (d->mode & 07777), device_number(d)) == 0)
        return fchownat(dir_fd, name, d->uid, d->gid, AT_SYMLINK_NOFOLLOW) < 0 && st->userns_fd < 0
                   ? -errno
                   : 0;
    if (errno == EPERM && st->userns_fd >= 0)
        return bind_node(st, i, dir_fd, name);
    return -errno;
}

int stage_make_devices(struct stage *st, int root_fd, struct berth_error *err)
{
    for (size_t i = ARRAY_SIZE(standard_devices); i < device_count(st); i++) {
        const struct plan_device *d = device_at(st, i);
        if (!d->node || !d->path)
            continue;
        autofree char *folder = strdup(d->path);
        char *slash = folder ? strrchr(folder, '/') : NULL;
        if (!slash || !slash[1])
            return fail(err, BERTH_INVALID, d->path, "devices: \"%s\" is not a path", d->path);
        *slash = 0;
        autoclose int dir_fd = root_make_folder(root_fd, *folder ? folder : "/");
        int r = dir_fd < 0 ? dir_fd : make_node(st, i, dir_fd, slash + 1);
        struct stat s;
        if (r == -EEXIST && fstatat(dir_fd, slash + 1, &s, AT_SYMLINK_NOFOLLOW) == 0 &&
            s.st_rdev == device_number(d) && (S_ISCHR(s.st_mode) || S_ISBLK(s.st_mode)))
            r = 0; /* one of the standard ones, asked for by name */
        if (r < 0)
            return fail_os(err, r, d->path, "devices: make %s (%c %u:%u)", d->path, d->type,
                           d->major, d->minor);
    }
    return 0;
}

/* ---- /dev */

static bool plan_mounts_on(const struct plan *plan, const char *target)
{
    for (size_t i = 0; i < plan->n_mounts; i++)
        if (strcmp(plan->mounts[i].target, target) == 0)
            return true;
    return false;
}

static int devpts_tree(void)
{
    int fd = mount_new("devpts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5",
                       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    /* A user namespace may have no group 5. */
    if (fd == -EINVAL)
        fd = mount_new("devpts", "devpts", "newinstance,ptmxmode=0666,mode=0620",
                       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    return fd;
}

int stage_dev_tree(struct stage *st, int kind, const char *options, struct berth_error *err)
{
    int fd = -ENOSYS;
    if (kind == PLAN_MOUNT_DEVPTS) {
        fd = devpts_tree();
    } else if (kind == PLAN_MOUNT_SHM) {
        bool own = options && strstr(options, "mode=");
        autofree char *all =
            format_text("%s%s%s", own ? "" : "mode=1777,", options ? options : "size=65536k", "");
        fd = st->shm_tree >= 0 ? take_fd(&st->shm_tree)
             : all             ? mount_new("tmpfs", "shm", all, FORBIDDING)
                               : -ENOMEM;
    } else if (kind == PLAN_MOUNT_MQUEUE) {
        fd = st->mqueue_tree >= 0 ? take_fd(&st->mqueue_tree)
                                  : mount_new("mqueue", "mqueue", NULL, FORBIDDING);
    }
    return fd < 0 ? fail_os(err, fd,
                            kind == PLAN_MOUNT_DEVPTS ? "/dev/pts"
                            : kind == PLAN_MOUNT_SHM  ? "/dev/shm"
                                                      : "/dev/mqueue",
                            "make the file system")
                  : fd;
}

static int fill_dev(struct stage *st, int dev_fd)
{
    for (size_t i = 0; i < ARRAY_SIZE(standard_devices); i++) {
        int r = make_node(st, i, dev_fd, standard_devices[i].path + strlen("/dev/"));
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < ARRAY_SIZE(links); i++)
        if (symlinkat(links[i].to, dev_fd, links[i].name) < 0)
            return -errno;
    if (st->plan->tty) {
        /* The terminal's place: made before anybody of the workload lives, bound in the entrance.
         */
        autoclose int fd =
            openat(dev_fd, "console", O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0620);
        if (fd < 0)
            return -errno;
    }
    return 0;
}

static int add_part(struct stage *st, int dev_fd, size_t i, struct berth_error *err)
{
    if (mkdirat(dev_fd, parts[i].name, 0755) < 0)
        return fail_os(err, errno, parts[i].target, "make %s", parts[i].target);
    if (plan_mounts_on(st->plan, parts[i].target))
        return 0;
    autoclose int target_fd =
        openat(dev_fd, parts[i].name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    autoclose int tree_fd = stage_dev_tree(st, parts[i].kind, NULL, err);
    if (tree_fd < 0)
        return tree_fd;
    int r = target_fd < 0 ? -errno : mount_place(tree_fd, target_fd);
    return r < 0 ? fail_os(err, r, parts[i].target, "mount %s", parts[i].target) : 0;
}

int stage_make_dev(struct stage *st, int root_fd, int target_fd, struct berth_error *err)
{
    autoclose int dev_fd = mount_new("tmpfs", "tmpfs", "mode=755,size=65536k",
                                     MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME);
    if (dev_fd < 0)
        return fail_os(err, dev_fd, "/dev", "make a tmpfs for /dev");
    int r = mount_place(dev_fd, target_fd);
    if (r == 0)
        r = fill_dev(st, dev_fd);
    if (r < 0)
        return fail_os(err, r, "/dev", "make /dev");
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        r = add_part(st, dev_fd, i, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- covering */

/* The first use places the tree itself, later ones a copy of it: a detached one can't be copied on
 * older kernels. */
static int cover_with(int *tree_fd, bool *placed, int target_fd)
{
    if (!*placed) {
        *placed = true;
        return mount_place(*tree_fd, target_fd);
    }
    autoclose int copy_fd = mount_clone(*tree_fd, "", false);
    return copy_fd < 0 ? copy_fd : mount_place(copy_fd, target_fd);
}

static int mask(struct stage *st, int target_fd)
{
    struct stat s;
    if (fstat(target_fd, &s) < 0)
        return -errno;
    if (!S_ISDIR(s.st_mode))
        return cover_with(&st->null_tree, &st->null_placed, target_fd);
    if (st->mask_tree < 0)
        st->mask_tree = mount_new("tmpfs", "tmpfs", "mode=755,size=0,nr_inodes=2",
                                  FORBIDDING | MOUNT_ATTR_RDONLY);
    if (st->mask_tree < 0)
        return st->mask_tree;
    return cover_with(&st->mask_tree, &st->mask_placed, target_fd);
}

static int make_read_only(struct stage *st, int target_fd)
{
    autoclose int copy_fd = mount_clone(target_fd, "", true);
    if (copy_fd < 0)
        return copy_fd;
    int r = mount_attributes(copy_fd, MOUNT_ATTR_RDONLY, MS_PRIVATE, true);
    return r < 0 ? r : mount_place(copy_fd, target_fd);
}

static int cover_path(struct stage *st, int root_fd, const char *path, bool in_proc,
                      int (*how)(struct stage *, int), struct berth_error *err)
{
    if (starts_with(path, "/proc/") != in_proc)
        return 0;
    /* Below /proc only our own mount will do: the path is opened from its root and may not leave
     * it. */
    autoclose int target_fd =
        in_proc ? below_open(st->proc_tree, path + strlen("/proc/"), O_PATH, false)
                : below_open(root_fd, path, O_PATH, false);
    if (target_fd == -ENOENT || target_fd == -ENOTDIR)
        return 0;
    int r = target_fd < 0 ? target_fd : how(st, target_fd);
    if (r == -ELOOP)
        return fail(err, BERTH_INVALID, path,
                    "mask %s: refused, the image has a symbolic link there", path);
    return r < 0 ? fail_os(err, r, path, "cover %s", path) : 0;
}

int stage_cover(struct stage *st, int root_fd, bool in_proc, struct berth_error *err)
{
    int r = 0;
    for (char **p = st->plan->read_only_paths; r == 0 && p && *p; p++)
        r = cover_path(st, root_fd, *p, in_proc, make_read_only, err);
    for (char **p = st->plan->masked_paths; r == 0 && p && *p; p++)
        r = cover_path(st, root_fd, *p, in_proc, mask, err);
    return r;
}
