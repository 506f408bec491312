/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files read and written whole, locks, and descriptors sent from process to process.
 */
#include "base/file.h"
#include "base/base.h"
#include "base/text.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define READ_FIRST 4096u /* first buffer for what has no size, such as /proc and pipes */

int fd_read_all(int fd, size_t max, char **ret_data, size_t *ret_size)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode) && (uint64_t)st.st_size > max)
        return -EFBIG;
    size_t room = S_ISREG(st.st_mode) && st.st_size > 0 ? (size_t)st.st_size + 2 : READ_FIRST;
    size_t size = 0;
    autofree char *data = malloc(room);
    if (!data)
        return -ENOMEM;
    for (;;) {
        ssize_t n = RETRY(read(fd, data + size, room - 1 - size));
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        size += (size_t)n;
        if (size > max)
            return -EFBIG;
        if (size < room - 1)
            continue;
        if (room > SIZE_MAX / 2)
            return -EFBIG;
        char *bigger = realloc(data, room * 2);
        if (!bigger)
            return -ENOMEM;
        data = bigger;
        room *= 2;
    }
    data[size] = '\0';
    *ret_data = TAKE(data);
    if (ret_size)
        *ret_size = size;
    return 0;
}

int file_read(int dir_fd, const char *path, size_t max, char **ret_data, size_t *ret_size)
{
    autoclose int fd = RETRY(openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY));
    if (fd < 0)
        return -errno;
    return fd_read_all(fd, max, ret_data, ret_size);
}

int fd_write_all(int fd, const void *data, size_t size)
{
    const char *p = data;
    while (size > 0) {
        ssize_t n = RETRY(write(fd, p, size));
        if (n < 0)
            return -errno;
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

int fd_write_all_at(int fd, const void *data, size_t size, off_t offset)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = RETRY(pwrite(fd, (const char *)data + done, size - done, offset + (off_t)done));
        if (n < 0)
            return -errno;
        done += (size_t)n;
    }
    return 0;
}

/* ".NAME.xxxxxxxx.new" in the folder of `path`: what a crash leaves can be told by its form. */
static int name_aside(const char *path, char *ret, size_t room)
{
    uint32_t random;
    char hex[2 * sizeof(random) + 1];
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) + 1 : 0;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
        random = (uint32_t)getpid() ^ (uint32_t)monotonic_usec();
    hex_print(&random, sizeof(random), hex);
    int n = snprintf(ret, room, "%.*s.%s.%s.new", folder, path, path + folder, hex);
    return n < 0 || (size_t)n >= room ? -ENAMETOOLONG : 0;
}

static int create_aside(int dir_fd, const char *path, mode_t mode, char *ret_name, size_t room)
{
    for (int tries = 0; tries < 16; tries++) {
        int r = name_aside(path, ret_name, room);
        if (r < 0)
            return r;
        int fd = RETRY(openat(dir_fd, ret_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
        if (fd >= 0 || errno != EEXIST)
            return fd >= 0 ? fd : -errno;
    }
    return -EEXIST;
}

/* The rename itself must be on disk too, else a power cut brings the old file back. */
static int sync_folder_of(int dir_fd, const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash && slash - path + 2 > (ptrdiff_t)sizeof(folder))
        return -ENAMETOOLONG;
    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1,
             slash ? path : ".");
    autoclose int fd = RETRY(openat(dir_fd, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int fill_aside(int fd, const void *data, size_t size, mode_t mode, unsigned flags)
{
    int r = fd_write_all(fd, data, size);
    if (r < 0)
        return r;
    if ((mode & 077) && fchmod(fd, mode) < 0) /* whatever the caller's umask is */
        return -errno;
    return flags & FILE_SYNC && fsync(fd) < 0 ? -errno : 0;
}

static int put_in_place(int dir_fd, const char *aside, const char *path, unsigned flags)
{
    if (!(flags & FILE_EXCLUSIVE))
        return renameat(dir_fd, aside, dir_fd, path) < 0 ? -errno : 0;
    if (renameat2(dir_fd, aside, dir_fd, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    /* a file system without NOREPLACE */
    if (linkat(dir_fd, aside, dir_fd, path, 0) < 0)
        return -errno;
    unlinkat(dir_fd, aside, 0);
    return 0;
}

int file_write(int dir_fd, const char *path, const void *data, size_t size, mode_t mode,
               unsigned flags)
{
    char aside[PATH_MAX];
    autoclose int fd = create_aside(dir_fd, path, mode, aside, sizeof(aside));
    if (fd < 0)
        return fd;
    int r = fill_aside(fd, data, size, mode, flags);
    if (r == 0)
        r = put_in_place(dir_fd, aside, path, flags);
    if (r < 0) {
        unlinkat(dir_fd, aside, 0);
        return r;
    }
    return flags & FILE_SYNC ? sync_folder_of(dir_fd, path) : 0;
}

static int make_folder(int dir_fd, const char *path, mode_t mode)
{
    if (mkdirat(dir_fd, path, mode) < 0)
        return errno == EEXIST ? 0 : -errno;
    if ((mode & 077) && fchmodat(dir_fd, path, mode, 0) < 0) /* whatever the caller's umask is */
        return -errno;
    return 0;
}

static int make_folders_at(int dir_fd, const char *path, mode_t mode)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    struct stat st;
    if (length == 0 || length >= sizeof(part))
        return length ? -ENAMETOOLONG : -ENOENT;
    memcpy(part, path, length + 1);
    for (char *slash = part + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        int r = make_folder(dir_fd, part, mode);
        if (r < 0 && r != -EROFS && r != -EACCES) /* it may be there: the last one decides */
            return r;
        *slash = '/';
    }
    int r = make_folder(dir_fd, part, mode);
    if (r < 0 && r != -EROFS && r != -EACCES)
        return r;
    if (fstatat(dir_fd, part, &st, 0) < 0)
        return r < 0 ? r : -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int make_folders(const char *path, mode_t mode)
{
    return make_folders_at(AT_FDCWD, path, mode);
}

int folder_open(int dir_fd, const char *path, bool make, mode_t mode)
{
    for (;;) {
        int fd = RETRY(openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (fd >= 0 || errno != ENOENT || !make)
            return fd >= 0 ? fd : -errno;
        int r = make_folders_at(dir_fd, path, mode);
        if (r < 0)
            return r;
        make = false;
    }
}

static int lock_set(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    if (RETRY(fcntl(fd, F_OFD_SETLK, &lock)) == 0)
        return 0;
    return errno == EACCES ? -EAGAIN : -errno;
}

int lock_take(int fd)
{
    return lock_set(fd, F_WRLCK);
}

int lock_take_shared(int fd)
{
    return lock_set(fd, F_RDLCK);
}

int lock_release(int fd)
{
    return lock_set(fd, F_UNLCK);
}

int lock_held(int fd)
{
    /* a shared lock would be refused only by somebody's exclusive one */
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
        return -errno;
    return lock.l_type != F_UNLCK;
}

ssize_t send_with_fds(int socket_fd, const void *data, size_t size, const int *fds, size_t n)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control = {0};
    struct iovec iov = {.iov_base = (void *)data, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    if (size == 0 || n > FDS_MAX)
        return -EINVAL;
    if (n > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
    }
    ssize_t sent = RETRY(sendmsg(socket_fd, &msg, MSG_NOSIGNAL));
    return sent < 0 ? -errno : sent;
}

/* Descriptors of a received message into fds; what does not fit is closed. How many there were. */
static size_t take_received(struct msghdr *msg, int *fds, size_t room)
{
    size_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (count < room)
                fds[count] = fd;
            else
                close(fd);
            count++;
        }
    }
    return count;
}

ssize_t recv_with_fds(int socket_fd, void *data, size_t size, int *fds, size_t *ret_n_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * FDS_MAX)];
    } control;
    struct iovec iov = {.iov_base = data, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
                         .msg_controllen = sizeof(control.bytes)};
    size_t room = *ret_n_fds;
    *ret_n_fds = 0;
    ssize_t got = RETRY(recvmsg(socket_fd, &msg, MSG_CMSG_CLOEXEC));
    if (got < 0)
        return -errno;
    size_t n = take_received(&msg, fds, room);
    if (n > room || msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        for (size_t i = 0; i < MIN(n, room); i++)
            close(fds[i]);
        return -EMSGSIZE;
    }
    *ret_n_fds = n;
    return got;
}
