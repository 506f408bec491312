/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying out of a tree that somebody else made: by descriptors, following no link, with owners,
 * modes, times and extended attributes.
 */
#include "supervisor/fill.h"

#include "base/base.h"
#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define DEPTH_MAX 200

int fill_begin(const char *data_path, int *ret_fd)
{
    char text[16] = "";
    const char *slash = strrchr(data_path, '/');
    autofree char *path =
        slash ? format_text("%.*s/filled", (int)(slash - data_path), data_path) : NULL;
    if (!path)
        return slash ? -ENOMEM : -EINVAL;
    autoclose int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct flock lock = {.l_type = F_WRLCK};
    /* Another start of the same volume is copying: it is that copy that we wait for. */
    if (fd < 0 || RETRY(fcntl(fd, F_OFD_SETLKW, &lock)) < 0)
        return -errno;
    if (pread(fd, text, sizeof(text) - 1, 0) < 0)
        return -errno;
    *ret_fd = strcmp(text, "done") == 0 ? -1 : take_fd(&fd);
    return 0;
}

static int mark(int fd, const char *text)
{
    ssize_t n = (ssize_t)strlen(text);
    if (pwrite(fd, text, (size_t)n, 0) != n || ftruncate(fd, n) < 0)
        return -errno;
    return 0;
}

static int each_entry(int dir_fd, int (*call)(int dir_fd, const char *name, void *data), void *data)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    int r = d ? 0 : -errno;
    for (struct dirent *e; r == 0 && d && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = call(fd, e->d_name, data);
    if (d)
        closedir(d);
    else
        close_fd(&fd);
    return r;
}

static int found_one(int dir_fd, const char *name, void *data)
{
    return 1;
}

static int remove_one(int dir_fd, const char *name, void *data)
{
    return tree_remove(dir_fd, name);
}

/* Attributes through /proc/self/fd would leave the tree; these calls take the descriptor itself. */
static int copy_attributes(int from_fd, int to_fd)
{
    char names[4096], value[65536];
    ssize_t n = flistxattr(from_fd, names, sizeof(names));
    for (char *name = names; n > 0 && name < names + n; name += strlen(name) + 1) {
        ssize_t size = fgetxattr(from_fd, name, value, sizeof(value));
        if (size >= 0 && fsetxattr(to_fd, name, value, (size_t)size, 0) < 0 && errno != ENOTSUP &&
            errno != EPERM)
            return -errno;
    }
    return 0;
}

static int finish(int from_fd, int to_fd, const struct stat *s)
{
    if (fchown(to_fd, s->st_uid, s->st_gid) < 0 || fchmod(to_fd, s->st_mode & 07777) < 0)
        return -errno;
    int r = copy_attributes(from_fd, to_fd);
    struct timespec times[2] = {s->st_atim, s->st_mtim};
    return r < 0 ? r : futimens(to_fd, times) < 0 ? -errno : 0;
}

static int copy_bytes(int from_fd, int to_fd)
{
    for (;;) {
        ssize_t n = RETRY(sendfile(to_fd, from_fd, NULL, 1u << 30));
        if (n <= 0)
            return n < 0 ? -errno : 0;
    }
}

struct copy {
    int to_fd;
    int depth;
};

static int copy_one(int dir_fd, const char *name, void *data);

static int copy_folder(int dir_fd, const char *name, const struct copy *c, const struct stat *s)
{
    if (c->depth >= DEPTH_MAX)
        return -ELOOP;
    if (mkdirat(c->to_fd, name, 0700) < 0)
        return -errno;
    autoclose int from_fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    autoclose int to_fd = openat(c->to_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (from_fd < 0 || to_fd < 0)
        return -errno;
    int r = each_entry(from_fd, copy_one, &(struct copy){.to_fd = to_fd, .depth = c->depth + 1});
    return r < 0 ? r : finish(from_fd, to_fd, s);
}

static int copy_file(int dir_fd, const char *name, const struct copy *c, const struct stat *s)
{
    autoclose int from_fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    autoclose int to_fd =
        openat(c->to_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (from_fd < 0 || to_fd < 0)
        return -errno;
    int r = copy_bytes(from_fd, to_fd);
    return r < 0 ? r : finish(from_fd, to_fd, s);
}

static int copy_link(int dir_fd, const char *name, const struct copy *c, const struct stat *s)
{
    char to[4096];
    ssize_t n = readlinkat(dir_fd, name, to, sizeof(to) - 1);
    if (n < 0)
        return -errno;
    to[n] = 0;
    if (symlinkat(to, c->to_fd, name) < 0)
        return -errno;
    return fchownat(c->to_fd, name, s->st_uid, s->st_gid, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_one(int dir_fd, const char *name, void *data)
{
    const struct copy *c = data;
    struct stat s;
    if (fstatat(dir_fd, name, &s, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISDIR(s.st_mode))
        return copy_folder(dir_fd, name, c, &s);
    if (S_ISREG(s.st_mode))
        return copy_file(dir_fd, name, c, &s);
    if (S_ISLNK(s.st_mode))
        return copy_link(dir_fd, name, c, &s);
    /* Pipes and sockets are made again by whoever needs them, devices are nothing for a volume. */
    return 0;
}

int fill_volume(int image_fd, int volume_fd, int marker_fd)
{
    char state[16] = "";
    struct stat s;
    (void)!pread(marker_fd, state, sizeof(state) - 1, 0);
    int r = each_entry(volume_fd, found_one, NULL);
    if (r > 0 && strcmp(state, "filling") != 0)
        return mark(marker_fd, "done"); /* it came with files: they are its own */
    if (r > 0)
        r = each_entry(volume_fd, remove_one, NULL); /* half a copy: its maker died */
    r = r < 0 ? r : mark(marker_fd, "filling");
    if (r == 0)
        r = each_entry(image_fd, copy_one, &(struct copy){.to_fd = volume_fd});
    autoclose int from_fd = openat(image_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    autoclose int to_fd = openat(volume_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r == 0 && (from_fd < 0 || to_fd < 0 || fstat(from_fd, &s) < 0))
        r = -errno;
    if (r == 0)
        r = finish(from_fd, to_fd, &s);
    return r < 0 ? r : mark(marker_fd, "done");
}
