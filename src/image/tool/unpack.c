/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unpacker: hostile tar in, files below one folder out.
 *
 * libarchive only parses. Every folder is opened by openat2 within the root, every last name is made
 * anew (O_EXCL) or changed without following it; nothing is ever opened by a name of the archive that
 * could be a link. Links inside may be followed, as a chroot would, and end inside.
 */
#include "image/tool/unpack.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool.h"
#include "image/tool/stream.h"
#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define BLOCK_BYTES 4096 /* of a file system, about */
#define WHITEOUT ".wh."
#define OPAQUE ".wh..wh..opq"
#define ID_MAX ((int64_t)INT32_MAX)

struct late { char *path; struct timespec times[2]; }; /* folders get their times last */

struct unpack {
    const struct unpack_options *options;
    struct archive *archive;
    int in_fd, root_fd;
    char *block;
    char parent[PATH_MAX]; /* of the cached folder */
    int parent_fd;
    struct late *late;
    size_t n_late, room_late;
    uint64_t entries, bytes;
    int64_t newest_sec;
    struct timespec now[2]; /* times of the current entry: also of folders made only because of it */
};

struct entry { struct archive_entry *archive; const char *path, *name; int parent_fd; mode_t mode; };

static int bad(struct berth_error *err, const char *path, const char *why)
{
    return fail(err, BERTH_CORRUPT, path, "entry \"%.300s\": %s", path, why);
}

static int bad_os(struct berth_error *err, const char *path, const char *what)
{
    return fail_os(err, errno, path, "entry \"%.300s\": %s", path, what);
}

static void times_of(struct archive_entry *a, struct timespec times[2])
{
    times[1] = (struct timespec){.tv_sec = archive_entry_mtime(a), .tv_nsec = archive_entry_mtime_nsec(a)};
    times[0] = archive_entry_atime_is_set(a)
             ? (struct timespec){.tv_sec = archive_entry_atime(a), .tv_nsec = archive_entry_atime_nsec(a)} : times[1];
    for (int i = 0; i < 2; i++)
        if (times[i].tv_nsec < 0 || times[i].tv_nsec >= 1000000000l)
            times[i].tv_nsec = 0;
}

/* ---- names */

/* "./a//b/" -> "a/b"; "" is the root itself. */
static int normal_path(const char *from, char ret[PATH_MAX], struct berth_error *err)
{
    size_t n = 0;
    while (*from) {
        size_t part = strcspn(from, "/");
        if (part == 2 && from[0] == '.' && from[1] == '.')
            return bad(err, from, "its name has \"..\" in it");
        if (part > NAME_MAX || n + part + 2 > PATH_MAX)
            return bad(err, "", "its name is too long");
        if (part > 0 && !(part == 1 && from[0] == '.')) {
            if (n)
                ret[n++] = '/';
            memcpy(ret + n, from, part);
            n += part;
        }
        from += part + (from[part] == '/');
    }
    ret[n] = 0;
    return 0;
}

static int open_in(const struct unpack *u, const char *path, uint64_t flags)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = u->options->resolve | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, u->root_fd, *path ? path : ".", &how, sizeof how);
}

static void forget_parent(struct unpack *u)
{
    close_fd(&u->parent_fd);
}

static int remember_times(struct unpack *u, const char *path, const struct timespec times[2], struct berth_error *err)
{
    if (u->n_late == u->room_late) {
        size_t room = u->room_late ? 2 * u->room_late : 256;
        struct late *late = reallocarray(u->late, room, sizeof *late);
        if (!late)
            return fail_memory(err);
        u->late = late;
        u->room_late = room;
    }
    struct late *late = &u->late[u->n_late];
    if (!(late->path = strdup(path)))
        return fail_memory(err);
    memcpy(late->times, times, sizeof late->times);
    u->n_late++;
    return 0;
}

/* The folder `path`, made with all above it when the archive didn't bring them. Yours to close. */
static int folder_in(struct unpack *u, char *path, struct berth_error *err)
{
    int fd = open_in(u, path, O_PATH | O_DIRECTORY);
    if (fd >= 0)
        return fd;
    if (errno == ENOTDIR || errno == ELOOP)
        return bad(err, path, "it is not a folder, but something is said to be in it");
    if (errno != ENOENT)
        return bad_os(err, path, "open the folder");
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = 0;
    autoclose int above_fd = folder_in(u, slash ? path : (char[]){""}, err);
    if (slash)
        *slash = '/';
    if (above_fd < 0)
        return above_fd;
    if (mkdirat(above_fd, slash ? slash + 1 : path, 0755) < 0)
        return errno == EEXIST ? bad(err, path, "it is a link to nowhere, but something is said to be in it")
                               : bad_os(err, path, "make the folder");
    int r = remember_times(u, path, u->now, err);
    if (r < 0)
        return r;
    fd = open_in(u, path, O_PATH | O_DIRECTORY);
    return fd < 0 ? bad_os(err, path, "open the folder") : fd;
}

/* The folder in which `path` lies, from the cache mostly: archives go folder by folder. */
static int parent_of(struct unpack *u, const char *path, const char **ret_name, struct berth_error *err)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    *ret_name = slash ? slash + 1 : path;
    if (u->parent_fd >= 0 && strncmp(u->parent, path, n) == 0 && u->parent[n] == 0)
        return u->parent_fd;
    forget_parent(u);
    memcpy(u->parent, path, n);
    u->parent[n] = 0;
    u->parent_fd = folder_in(u, u->parent, err);
    return u->parent_fd;
}

/* ---- what is in the way */

static bool is_whiteout(const struct stat *st)
{
    return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

static int remove_old(struct unpack *u, const struct entry *e, const struct stat *st, struct berth_error *err)
{
    forget_parent(u); /* it, or a link on the way to it, may be what goes */
    if (!S_ISDIR(st->st_mode))
        return unlinkat(e->parent_fd, e->name, 0) < 0 ? bad_os(err, e->path, "replace it") : 0;
    if (!u->options->layer)
        return bad(err, e->path, "a folder is in its place");
    int r = tree_remove(e->parent_fd, e->name);
    errno = -r;
    return r < 0 ? bad_os(err, e->path, "replace the folder") : 0;
}

/* Make room for something that is no folder. 1 when there was nothing. */
static int make_room(struct unpack *u, struct entry *e, struct berth_error *err)
{
    struct stat st;
    if (fstatat(e->parent_fd, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 1 : bad_os(err, e->path, "look it up");
    int fd = fcntl(e->parent_fd, F_DUPFD_CLOEXEC, 0); /* remove_old() lets the cached one go */
    if (fd < 0)
        return bad_os(err, e->path, "open its folder");
    e->parent_fd = fd;
    int r = remove_old(u, e, &st, err);
    if (r == 0) {
        u->parent_fd = fd;
        const char *slash = strrchr(e->path, '/');
        size_t n = slash ? (size_t)(slash - e->path) : 0;
        memcpy(u->parent, e->path, n);
        u->parent[n] = 0;
    } else {
        close(fd);
    }
    return r;
}

/* ---- metadata: owner, then mode (chown clears setuid), then xattrs, then times */

static bool wanted_xattr(const char *name)
{
    static const char *const kept[] = {"user.", "security.capability", "system.posix_acl_"};
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        if (starts_with(name, kept[i]))
            return true;
    return false; /* trusted.overlay.* would steer the mount; labels belong to the host */
}

static int set_xattrs(const struct entry *e, int fd, struct berth_error *err)
{
    const char *name;
    const void *value;
    size_t size;
    if (archive_entry_xattr_reset(e->archive) == 0)
        return 0;
    if (fd < 0 && fchdir(e->parent_fd) < 0)
        return bad_os(err, e->path, "enter its folder");
    while (archive_entry_xattr_next(e->archive, &name, &value, &size) == ARCHIVE_OK) {
        if (!name || !wanted_xattr(name))
            continue;
        int r = fd >= 0 ? fsetxattr(fd, name, value, size, 0) : lsetxattr(*e->name ? e->name : ".", name, value, size, 0);
        if (r < 0)
            return fail_os(err, errno, e->path, "entry \"%.300s\": set the attribute %.80s", e->path, name);
    }
    return 0;
}

static int check_owner(const struct entry *e, struct berth_error *err)
{
    int64_t uid = archive_entry_uid(e->archive), gid = archive_entry_gid(e->archive);
    return uid < 0 || gid < 0 || uid > ID_MAX || gid > ID_MAX ? bad(err, e->path, "its owner is not a number from 0 to 2147483647") : 0;
}

/* By descriptor (a file's own, or -1: by name, never followed). */
static int set_metadata(const struct unpack *u, const struct entry *e, int fd, bool set_times, struct berth_error *err)
{
    uid_t uid = (uid_t)archive_entry_uid(e->archive);
    gid_t gid = (gid_t)archive_entry_gid(e->archive);
    const char *name = *e->name ? e->name : ".";
    if (!u->options->archive && (fd >= 0 ? fchown(fd, uid, gid) : fchownat(e->parent_fd, name, uid, gid, AT_SYMLINK_NOFOLLOW)) < 0)
        return bad_os(err, e->path, "set its owner");
    mode_t mode = u->options->archive ? 0600 | (e->mode & 0777) : e->mode & 07777;
    if (!S_ISLNK(e->mode) && (fd >= 0 ? fchmod(fd, mode) : fchmodat(e->parent_fd, name, mode, 0)) < 0)
        return bad_os(err, e->path, "set its mode");
    int r = u->options->archive ? 0 : set_xattrs(e, fd, err);
    if (r < 0 || !set_times)
        return r;
    struct timespec times[2];
    times_of(e->archive, times);
    if ((fd >= 0 ? futimens(fd, times) : utimensat(e->parent_fd, name, times, AT_SYMLINK_NOFOLLOW)) < 0)
        return bad_os(err, e->path, "set its times");
    return 0;
}

/* ---- one entry of each kind */

static int count_bytes(struct unpack *u, const struct entry *e, uint64_t more, struct berth_error *err)
{
    u->bytes += more;
    return u->bytes > u->options->max_bytes
         ? fail(err, BERTH_TOO_BIG, e->path, "entry \"%.300s\": with it there are more than %llu bytes", e->path,
                (unsigned long long)u->options->max_bytes) : 0;
}

static int archive_failed(struct unpack *u, const char *path, struct berth_error *err)
{
    const char *why = archive_error_string(u->archive);
    return fail(err, BERTH_CORRUPT, path, "%s%.300s%sthe archive is damaged (%.200s)", *path ? "entry \"" : "",
                path, *path ? "\": " : "", why ? why : "no reason given");
}

static int write_data(struct unpack *u, const struct entry *e, int fd, struct berth_error *err)
{
    const void *data;
    size_t size;
    la_int64_t offset, end = archive_entry_size(e->archive), done = 0;
    int r;
    while ((r = archive_read_data_block(u->archive, &data, &size, &offset)) == ARCHIVE_OK) {
        if (offset < 0 || offset > end || size > (uint64_t)(end - offset))
            return bad(err, e->path, "its data lies outside of it");
        int counted = count_bytes(u, e, size, err);
        for (size_t written = 0; counted == 0 && written < size;) {
            ssize_t n = RETRY(pwrite(fd, (const char *)data + written, size - written, offset + (la_int64_t)written));
            if (n < 0)
                return bad_os(err, e->path, "write it");
            written += (size_t)n;
        }
        if (counted < 0)
            return counted;
        done = offset + (la_int64_t)size;
    }
    if (r != ARCHIVE_EOF)
        return archive_failed(u, e->path, err);
    if (done < end && ftruncate(fd, end) < 0)
        return bad_os(err, e->path, "give it its size");
    return 0;
}

static int make_file(struct unpack *u, struct entry *e, struct berth_error *err)
{
    int64_t size = archive_entry_size(e->archive);
    if (size < 0 || (uint64_t)size > IMAGE_MAX_FILE_BYTES)
        return fail(err, BERTH_TOO_BIG, e->path, "entry \"%.300s\": its size is below 0 or above %llu", e->path, IMAGE_MAX_FILE_BYTES);
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    autoclose int fd = openat(e->parent_fd, e->name, flags, 0600);
    if (fd < 0 && errno == EEXIST) {
        int r = make_room(u, e, err);
        if (r < 0)
            return r;
        fd = openat(e->parent_fd, e->name, flags, 0600);
    }
    if (fd < 0)
        return bad_os(err, e->path, "make the file");
    int r = write_data(u, e, fd, err);
    return r < 0 ? r : set_metadata(u, e, fd, true, err);
}

static int set_opaque(const struct entry *e, const char *name, struct berth_error *err)
{
    if (fchdir(e->parent_fd) < 0 || lsetxattr(name, "trusted.overlay.opaque", "y", 1, 0) < 0)
        return bad_os(err, e->path, "hide what is below the folder");
    return 0;
}

static int make_folder(struct unpack *u, struct entry *e, struct berth_error *err)
{
    bool hides = false;
    if (*e->name && mkdirat(e->parent_fd, e->name, 0700) < 0) {
        struct stat st;
        if (errno != EEXIST || fstatat(e->parent_fd, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return bad_os(err, e->path, "make the folder");
        if (!S_ISDIR(st.st_mode)) {
            hides = u->options->layer && is_whiteout(&st);
            int r = u->options->layer ? make_room(u, e, err) : bad(err, e->path, "a file is in the place of the folder");
            if (r < 0)
                return r;
            if (mkdirat(e->parent_fd, e->name, 0700) < 0)
                return bad_os(err, e->path, "make the folder");
        }
    }
    int r = set_metadata(u, e, -1, false, err);
    if (r == 0 && hides) /* it was removed below, so that nothing of there may be seen in it */
        r = set_opaque(e, e->name, err);
    return r < 0 ? r : remember_times(u, e->path, u->now, err);
}

static int make_symlink(struct unpack *u, struct entry *e, struct berth_error *err)
{
    const char *target = archive_entry_symlink(e->archive);
    if (!target || !*target)
        return bad(err, e->path, "it is a link without a target");
    int r = make_room(u, e, err);
    if (r < 0)
        return r;
    if (symlinkat(target, e->parent_fd, e->name) < 0)
        return bad_os(err, e->path, "make the link");
    return u->options->archive ? 0 : set_metadata(u, e, -1, true, err);
}

static int make_hard_link(struct unpack *u, struct entry *e, struct berth_error *err)
{
    char target[PATH_MAX];
    const char *named = archive_entry_hardlink(e->archive);
    int r = normal_path(named ? named : "", target, err);
    if (r < 0 || !*target)
        return r < 0 ? r : bad(err, e->path, "it is a link without a target");
    char *slash = strrchr(target, '/');
    if (slash)
        *slash = 0;
    autoclose int folder_fd = open_in(u, slash ? target : "", O_PATH | O_DIRECTORY);
    const char *name = slash ? slash + 1 : target;
    struct stat old, now;
    if (folder_fd < 0 || fstatat(folder_fd, name, &old, AT_SYMLINK_NOFOLLOW) < 0)
        return bad(err, e->path, "it is a hard link to what is not in this archive");
    if (S_ISDIR(old.st_mode) || is_whiteout(&old))
        return bad(err, e->path, "it is a hard link to a folder or a removed file");
    if (fstatat(e->parent_fd, e->name, &now, AT_SYMLINK_NOFOLLOW) == 0) {
        if (now.st_dev == old.st_dev && now.st_ino == old.st_ino)
            return 0;
        if ((r = make_room(u, e, err)) < 0)
            return r;
    }
    if (linkat(folder_fd, name, e->parent_fd, e->name, 0) < 0)
        return bad_os(err, e->path, "make the hard link");
    return 0;
}

static int make_node(struct unpack *u, struct entry *e, struct berth_error *err)
{
    dev_t device = S_ISFIFO(e->mode) ? 0 : archive_entry_rdev(e->archive);
    if (S_ISCHR(e->mode) && device == makedev(0, 0))
        return 0; /* overlayfs would take it for a removed file; it is a device of nothing */
    int r = make_room(u, e, err);
    if (r < 0)
        return r;
    if (mknodat(e->parent_fd, e->name, (e->mode & S_IFMT) | 0600, device) < 0)
        return bad_os(err, e->path, "make the device or fifo");
    return set_metadata(u, e, -1, true, err);
}

/* ---- whiteouts */

static int white_out(struct unpack *u, struct entry *e, struct berth_error *err)
{
    if (strcmp(e->name, OPAQUE) == 0)
        return set_opaque(e, ".", err);
    if (starts_with(e->name, WHITEOUT WHITEOUT))
        return 0; /* aufs's own notes */
    const char *hidden = e->name + strlen(WHITEOUT);
    if (!*hidden || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0)
        return bad(err, e->path, "it removes nothing that has a name");
    struct stat st;
    if (fstatat(e->parent_fd, hidden, &st, AT_SYMLINK_NOFOLLOW) == 0) /* this layer has it anew */
        return S_ISDIR(st.st_mode) ? set_opaque(e, hidden, err) : 0;
    if (mknodat(e->parent_fd, hidden, S_IFCHR, makedev(0, 0)) < 0 ||
        utimensat(e->parent_fd, hidden, u->now, AT_SYMLINK_NOFOLLOW) < 0)
        return bad_os(err, e->path, "hide the file below");
    return 0;
}

/* ---- the whole archive */

static int unpack_entry(struct unpack *u, struct archive_entry *archive, struct berth_error *err)
{
    const char *raw = archive_entry_pathname(archive);
    char path[PATH_MAX];
    if (!raw)
        return bad(err, "", "its name can't be read");
    int r = normal_path(raw, path, err);
    if (r < 0)
        return r;
    struct entry e = {.archive = archive, .path = path, .mode = archive_entry_mode(archive)};
    bool hard_link = archive_entry_hardlink(archive) != NULL;
    if (!*path && (hard_link || !S_ISDIR(e.mode)))
        return bad(err, raw, "it has no name");
    e.parent_fd = parent_of(u, path, &e.name, err);
    if (e.parent_fd < 0)
        return e.parent_fd;
    if (u->options->layer && starts_with(e.name, WHITEOUT))
        return white_out(u, &e, err);
    if (hard_link)
        return make_hard_link(u, &e, err);
    if (!u->options->archive && (r = check_owner(&e, err)) < 0)
        return r;
    switch (e.mode & S_IFMT) {
    case S_IFREG: return make_file(u, &e, err);
    case S_IFDIR: return make_folder(u, &e, err);
    case S_IFLNK: return make_symlink(u, &e, err);
    case S_IFCHR: case S_IFBLK: case S_IFIFO: return u->options->archive ? 0 : make_node(u, &e, err);
    case S_IFSOCK: return 0;
    default: return bad(err, path, "it is of no known kind");
    }
}

static ssize_t read_block(struct archive *a, void *user, const void **ret)
{
    struct unpack *u = user;
    ssize_t n = RETRY(read(u->in_fd, u->block, STREAM_BLOCK));
    if (n < 0)
        archive_set_error(a, errno, "read: %s", strerror(errno));
    *ret = u->block;
    return n;
}

static int open_archive(struct unpack *u, struct berth_error *err)
{
    struct archive *a = u->archive = archive_read_new();
    if (!a)
        return fail_memory(err);
    archive_read_support_format_tar(a);
    archive_read_support_format_empty(a);
    archive_read_set_format_option(a, "tar", "hdrcharset", "BINARY"); /* names are bytes */
    if (archive_read_open(a, u, NULL, read_block, NULL) == ARCHIVE_OK)
        return 0;
    return archive_failed(u, "", err);
}

/* After NO_SPACE: what else there is. The entry that failed counts as a whole. */
static void count_rest(struct unpack *u, uint64_t failed_bytes)
{
    struct archive_entry *entry;
    int r;
    u->bytes += failed_bytes;
    while ((r = archive_read_next_header(u->archive, &entry)) == ARCHIVE_OK || r == ARCHIVE_WARN) {
        int64_t size = archive_entry_size(entry);
        if (++u->entries > u->options->max_entries)
            break;
        u->bytes += size > 0 && (uint64_t)size <= IMAGE_MAX_FILE_BYTES ? (uint64_t)size : 0;
    }
    u->bytes += u->entries * BLOCK_BYTES;
    while (RETRY(read(u->in_fd, u->block, STREAM_BLOCK)) > 0)
        ;
}

static int unpack_all(struct unpack *u, struct berth_error *err)
{
    struct archive_entry *entry;
    int r, status = 0;
    while ((r = archive_read_next_header(u->archive, &entry)) == ARCHIVE_OK || r == ARCHIVE_WARN) {
        if (++u->entries > u->options->max_entries)
            return fail(err, BERTH_TOO_BIG, "", "the archive has more than %llu entries",
                        (unsigned long long)u->options->max_entries);
        u->newest_sec = MAX(u->newest_sec, (int64_t)archive_entry_mtime(entry));
        times_of(entry, u->now);
        if (u->entries == 1 && u->options->layer) /* the root, should the archive not name it */
            status = remember_times(u, "", u->now, err);
        if (status < 0)
            return status;
        uint64_t before = u->bytes;
        status = unpack_entry(u, entry, err);
        if (status == BERTH_NO_SPACE)
            count_rest(u, (uint64_t)MAX(archive_entry_size(entry), 0) - MIN(u->bytes - before, (uint64_t)MAX(archive_entry_size(entry), 0)));
        if (status < 0)
            return status;
    }
    if (r != ARCHIVE_EOF)
        return archive_failed(u, "", err);
    if (u->entries == 0 && u->options->layer && (status = remember_times(u, "", u->now, err)) < 0)
        return status;
    while (RETRY(read(u->in_fd, u->block, STREAM_BLOCK)) > 0)
        ; /* what pads the archive belongs to its digest */
    return 0;
}

static void set_late_times(struct unpack *u)
{
    for (size_t i = 0; i < u->n_late; i++) { /* the last one said counts */
        autoclose int fd = open_in(u, u->late[i].path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (fd >= 0) /* else it has become something else since */
            futimens(fd, u->late[i].times);
    }
}

int unpack_tar(int in_fd, int root_fd, const struct unpack_options *options, struct unpack_result *ret,
               struct berth_error *err)
{
    struct unpack u = {.options = options, .in_fd = in_fd, .root_fd = root_fd, .parent_fd = -1};
    u.block = malloc(STREAM_BLOCK);
    int r = u.block ? open_archive(&u, err) : fail_memory(err);
    if (r == 0)
        r = unpack_all(&u, err);
    if (r == 0)
        set_late_times(&u);
    for (size_t i = 0; i < u.n_late; i++)
        free(u.late[i].path);
    free(u.late);
    forget_parent(&u);
    archive_read_free(u.archive);
    free(u.block);
    if (r == 0 || r == BERTH_NO_SPACE)
        *ret = (struct unpack_result){u.entries, u.bytes, u.newest_sec};
    return r;
}
