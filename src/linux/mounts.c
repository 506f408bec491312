/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel's mount interface by descriptors, and openat2 for trees that are not ours.
 */
#include "linux/mounts.h"

#include "base/base.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

int mount_clone(int dir_fd, const char *path, bool recursive)
{
    unsigned flags =
        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    int fd = open_tree(dir_fd, path, flags);
    return fd < 0 ? -errno : fd;
}

static int configure(int fs_fd, const char *options)
{
    autofree char *copy = strdup(options ? options : "");
    if (!copy)
        return -ENOMEM;
    char *save = NULL;
    for (char *o = strtok_r(copy, ",", &save); o; o = strtok_r(NULL, ",", &save)) {
        char *value = strchr(o, '=');
        if (value)
            *value++ = 0;
        if (fsconfig(fs_fd, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, o, value, 0) < 0)
            return -errno;
    }
    return 0;
}

int mount_new(const char *type, const char *source, const char *options, uint64_t attributes)
{
    autoclose int fs_fd = fsopen(type, FSOPEN_CLOEXEC);
    if (fs_fd < 0)
        return -errno;
    if (source && fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", source, 0) < 0)
        return -errno;
    int r = configure(fs_fd, options);
    if (r < 0)
        return r;
    if (fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    int fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, (unsigned)attributes);
    return fd < 0 ? -errno : fd;
}

int mount_attributes(int tree_fd, uint64_t set, uint64_t propagation, bool recursive)
{
    /* The access-time policy is a field, not a flag: left alone unless asked. */
    struct mount_attr attr = {.attr_set = set,
                              .attr_clr = set & MOUNT_ATTR__ATIME ? MOUNT_ATTR__ATIME : 0,
                              .propagation = propagation};
    unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    return mount_setattr(tree_fd, "", flags, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

int mount_idmap(int tree_fd, int userns_fd, bool recursive)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};
    unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    return mount_setattr(tree_fd, "", flags, &attr, sizeof(attr)) < 0 ? -errno : 0;
}

int mount_place(int tree_fd, int target_fd)
{
    int r =
        move_mount(tree_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    return r < 0 ? -errno : 0;
}

uint64_t mount_attributes_of(uint64_t ms_flags)
{
    static const struct {
        uint64_t ms, attribute;
    } table[] = {
        {MS_RDONLY, MOUNT_ATTR_RDONLY},         {MS_NOSUID, MOUNT_ATTR_NOSUID},
        {MS_NODEV, MOUNT_ATTR_NODEV},           {MS_NOEXEC, MOUNT_ATTR_NOEXEC},
        {MS_NOATIME, MOUNT_ATTR_NOATIME},       {MS_STRICTATIME, MOUNT_ATTR_STRICTATIME},
        {MS_NODIRATIME, MOUNT_ATTR_NODIRATIME},
    };
    uint64_t attributes = 0;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        attributes |= ms_flags & table[i].ms ? table[i].attribute : 0;
    return attributes;
}

uint64_t mount_type(int fd)
{
    struct statfs s;
    return fstatfs(fd, &s) < 0 ? 0 : (uint64_t)s.f_type;
}

int mount_all_private(void)
{
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ? -errno : 0;
}

/* ---- overlay */

static int set_folder(int fs_fd, const char *key, int fd)
{
    char path[40];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return fsconfig(fs_fd, FSCONFIG_SET_STRING, key, path, 0) < 0 ? -errno : 0;
}

/* Layers by descriptor: no length, colon or comma in anybody's path can matter, and the workload's
 * own mountinfo says nothing about the host. "lowerdir+" since 6.5. */
static int overlay_new(const int *layers, size_t n, int upper_fd, int work_fd)
{
    autoclose int fs_fd = fsopen("overlay", FSOPEN_CLOEXEC);
    if (fs_fd < 0)
        return -errno;
    int r = fsconfig(fs_fd, FSCONFIG_SET_STRING, "source", "overlay", 0) < 0 ? -errno : 0;
    /* With an index a second start could meet the first's last breath and be refused: see
     * close_later. */
    (void)fsconfig(fs_fd, FSCONFIG_SET_STRING, "index", "off", 0);
    for (size_t i = n; r == 0 && i > 0; i--)
        r = set_folder(fs_fd, "lowerdir+", layers[i - 1]);
    if (r == 0 && upper_fd >= 0)
        r = set_folder(fs_fd, "upperdir", upper_fd);
    if (r == 0 && upper_fd >= 0)
        r = set_folder(fs_fd, "workdir", work_fd);
    if (r < 0)
        return r;
    if (fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
        return -errno;
    int fd = fsmount(fs_fd, FSMOUNT_CLOEXEC, upper_fd < 0 ? MOUNT_ATTR_RDONLY : 0);
    return fd < 0 ? -errno : fd;
}

/* Before 6.5 only mount(2) takes more than 256 bytes of layers: mounted in passing, copied, taken
 * away. */
static int overlay_old(const int *layers, size_t n, int upper_fd, int work_fd, const char *place)
{
    autotext struct text options = {0};
    text_add(&options, "index=off,lowerdir=");
    for (size_t i = n; i > 0; i--)
        text_printf(&options, "%s/proc/self/fd/%d", i == n ? "" : ":", layers[i - 1]);
    if (upper_fd >= 0)
        text_printf(&options, ",upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d", upper_fd,
                    work_fd);
    if (options.failed)
        return -ENOMEM;
    if (options.length > 4095)
        return -E2BIG;
    if (mount("overlay", place, "overlay", upper_fd < 0 ? MS_RDONLY : 0, options.data) < 0)
        return -errno;
    int fd = mount_clone(AT_FDCWD, place, false);
    (void)umount2(place, MNT_DETACH);
    return fd;
}

int overlay_make(const int *layers, size_t n, int upper_fd, int work_fd, const char *place)
{
    if (n == 0 || (n == 1 && upper_fd < 0)) {
        int fd = mount_clone(n ? layers[0] : upper_fd, "", false);
        int r = fd < 0 ? fd : mount_attributes(fd, n ? MOUNT_ATTR_RDONLY : 0, MS_PRIVATE, false);
        if (fd >= 0 && r < 0)
            close(fd);
        return r < 0 ? r : fd;
    }
    int fd = overlay_new(layers, n, upper_fd, work_fd);
    /* An older kernel takes any option at first and says EINVAL at the end. */
    return fd == -EINVAL && place ? overlay_old(layers, n, upper_fd, work_fd, place) : fd;
}

void close_later(int fd)
{
    int ends[2], fds[3];
    if (fd < 0)
        return;
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends) == 0) {
        memcpy(fds, (const int[]){ends[0], ends[1], fd}, sizeof(fds));
        /* A socket that waits in its own queue is the kernel's to collect, and what waits beside
         * it, too. */
        (void)send_with_fds(ends[0], "", 1, fds, ARRAY_SIZE(fds));
        close(ends[0]);
        close(ends[1]);
    }
    close(fd);
}

/* ---- inside a root */

static int open_how(int dir_fd, const char *path, int flags, uint64_t resolve)
{
    struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC), .resolve = resolve};
    long fd;
    do
        fd = syscall(SYS_openat2, dir_fd, *path ? path : ".", &how, sizeof(how));
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    return fd < 0 ? -errno : (int)fd;
}

int root_open(int root_fd, const char *path, int flags)
{
    return open_how(root_fd, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int below_open(int dir_fd, const char *path, int flags, bool one_mount)
{
    while (*path == '/')
        path++;
    return open_how(dir_fd, path, flags,
                    RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                        (one_mount ? RESOLVE_NO_XDEV : 0));
}

static bool has_dots(const char *path)
{
    for (const char *p = path; (p = strstr(p, "..")); p += 2)
        if ((p == path || p[-1] == '/') && (p[2] == 0 || p[2] == '/'))
            return true;
    return false;
}

#define LINKS_MAX 16

static int make_folders_in(int root_fd, char *path, int links);

/* A link that leads to a folder that is not there yet (/var/run -> /run): made where it leads,
 * still inside. */
static int make_behind_link(int root_fd, int parent_fd, const char *parent, const char *name,
                            int links)
{
    char to[1024];
    ssize_t n = readlinkat(parent_fd, name, to, sizeof(to) - 1);
    if (n < 0)
        return -errno;
    to[n] = 0;
    if (links >= LINKS_MAX)
        return -ELOOP;
    autofree char *path = to[0] == '/' ? format_text("/%s", to) : format_text("%s/%s", parent, to);
    return path ? make_folders_in(root_fd, path, links + 1) : -ENOMEM;
}

/* One folder more: `path` up to `end`, which is NUL now. The parent is walked again from the root,
 * so a link on the way is taken as seen from inside; the last part is made by mkdirat, which
 * follows nothing. */
static int make_step(int root_fd, char *path, char *start, int links)
{
    int fd = root_open(root_fd, path, O_PATH | O_DIRECTORY);
    if (fd >= 0) {
        close(fd);
        return 0;
    }
    if (fd != -ENOENT)
        return fd;
    *start = 0;
    autoclose int parent_fd = root_open(root_fd, *path ? path : "/", O_PATH | O_DIRECTORY);
    int r = parent_fd < 0 ? parent_fd : 0;
    if (r == 0 && mkdirat(parent_fd, start + 1, 0755) < 0)
        r = errno == EEXIST ? make_behind_link(root_fd, parent_fd, path, start + 1, links) : -errno;
    *start = '/';
    return r;
}

static int make_folders_in(int root_fd, char *path, int links)
{
    for (char *start = path; *start;) {
        char *end = strchrnul(start + 1, '/');
        char saved = *end;
        *end = 0;
        int r = end == start + 1 ? 0 : make_step(root_fd, path, start, links);
        *end = saved;
        if (r < 0)
            return r;
        start = end;
    }
    return 0;
}

int root_make_folder(int root_fd, const char *path)
{
    int fd = root_open(root_fd, path, O_PATH | O_DIRECTORY);
    if (fd != -ENOENT)
        return fd;
    autofree char *copy = format_text("/%s", path);
    if (!copy)
        return -ENOMEM;
    if (has_dots(copy))
        return -EINVAL;
    int r = make_folders_in(root_fd, copy, 0);
    return r < 0 ? r : root_open(root_fd, path, O_PATH | O_DIRECTORY);
}

int root_make_file(int root_fd, const char *path)
{
    int fd = root_open(root_fd, path, O_PATH);
    if (fd != -ENOENT)
        return fd;
    autofree char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    char *slash = strrchr(copy, '/');
    const char *name = slash ? slash + 1 : copy;
    if (*name == 0 || has_dots(copy))
        return -EINVAL;
    if (slash)
        *slash = 0;
    autoclose int parent_fd = root_make_folder(root_fd, slash && *copy ? copy : "/");
    if (parent_fd < 0)
        return parent_fd;
    autoclose int made_fd =
        openat(parent_fd, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_WRONLY | O_CLOEXEC, 0644);
    if (made_fd < 0)
        return errno == EEXIST ? -ELOOP : -errno;
    return root_open(root_fd, path, O_PATH);
}
