/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Folder to tar: names in order, owners as numbers, times in whole seconds, so that one tree gives one
 * digest. libarchive writes; what goes into an entry is decided here.
 */
#include "image/tool/pack.h"
#include "base/base.h"
#include "base/text.h"
#include "image/tool/stream.h"
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define XATTR_LIST_BYTES 65536
#define MAX_DEPTH 1024

struct link { dev_t device; ino_t inode; char *path; };

struct pack {
    const struct pack_options *options;
    struct archive *archive;
    pack_write *write;
    void *user;
    struct berth_error *err;
    int failed;                 /* code of a write that failed */
    char *buffer;               /* output gathers here */
    size_t used;
    char *block;
    char path[PATH_MAX];        /* of the current entry in the archive */
    struct link *links;         /* open hash table */
    size_t n_links, room_links;
    struct pack_result result;
};

/* ---- output */

static int flush_out(struct pack *p)
{
    if (p->failed == 0 && p->used > 0)
        p->failed = p->write(p->user, p->buffer, p->used, p->err);
    p->used = 0;
    return p->failed;
}

static ssize_t gather(struct archive *a, void *user, const void *data, size_t size)
{
    struct pack *p = user;
    const char *from = data;
    for (size_t left = size; left > 0;) {
        size_t n = MIN(left, STREAM_BLOCK - p->used);
        memcpy(p->buffer + p->used, from, n);
        p->used += n;
        from += n;
        left -= n;
        if (p->used == STREAM_BLOCK && flush_out(p) < 0) {
            archive_set_error(a, EPIPE, "output failed");
            return -1;
        }
    }
    return (ssize_t)size;
}

static int failed_os(struct pack *p, const char *what)
{
    return fail_os(p->err, errno, p->path, "%s %.300s", what, p->path);
}

static int archive_failed(struct pack *p)
{
    if (p->failed)
        return p->failed;
    const char *why = archive_error_string(p->archive);
    return fail(p->err, BERTH_IO, p->path, "pack %.300s: %.200s", p->path, why ? why : "unknown");
}

/* ---- hard links: the first name carries the data */

static struct link *link_slot(struct pack *p, dev_t device, ino_t inode)
{
    size_t i = (size_t)((inode * 0x9e3779b97f4a7c15u) >> 20) % p->room_links;
    while (p->links[i].path && (p->links[i].inode != inode || p->links[i].device != device))
        i = (i + 1) % p->room_links;
    return &p->links[i];
}

static int grow_links(struct pack *p)
{
    size_t old_room = p->room_links;
    struct link *old = p->links, *links = calloc(old_room ? 2 * old_room : 1024, sizeof *links);
    if (!links)
        return fail_memory(p->err);
    p->links = links;
    p->room_links = old_room ? 2 * old_room : 1024;
    for (size_t i = 0; i < old_room; i++)
        if (old[i].path)
            *link_slot(p, old[i].device, old[i].inode) = old[i];
    free(old);
    return 0;
}

/* `ret_first` is the earlier name, or NULL when this is the first. */
static int find_link(struct pack *p, const struct stat *st, const char **ret_first)
{
    *ret_first = NULL;
    if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
        return 0;
    if (2 * p->n_links >= p->room_links && grow_links(p) < 0)
        return BERTH_NO_MEMORY;
    struct link *link = link_slot(p, st->st_dev, st->st_ino);
    if (link->path) {
        *ret_first = link->path;
        return 0;
    }
    char *path = strdup(p->path);
    if (!path)
        return fail_memory(p->err);
    *link = (struct link){st->st_dev, st->st_ino, path};
    p->n_links++;
    return 0;
}

/* ---- one entry */

static bool wanted_xattr(const struct pack *p, const char *name)
{
    return starts_with(name, "user.") || strcmp(name, "security.capability") == 0 ||
           starts_with(name, "system.posix_acl_") || (p->options->overlay && starts_with(name, "trusted."));
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int add_xattrs(struct pack *p, struct archive_entry *entry, const char *name)
{
    char list[XATTR_LIST_BYTES], *names[512];
    ssize_t size = llistxattr(name, list, sizeof list);
    if (size < 0)
        return errno == ENOTSUP || errno == ENOSYS ? 0 : failed_os(p, "list the attributes of");
    size_t n = 0;
    for (char *one = list; one < list + size && n < ARRAY_SIZE(names); one += strlen(one) + 1)
        if (wanted_xattr(p, one))
            names[n++] = one;
    qsort(names, n, sizeof *names, compare_texts);
    while (n-- > 0) { /* libarchive writes the last added first */
        ssize_t length = lgetxattr(name, names[n], p->block, STREAM_BLOCK);
        if (length < 0)
            return failed_os(p, "read an attribute of");
        archive_entry_xattr_add_entry(entry, names[n], p->block, (size_t)length);
    }
    return 0;
}

static int add_holes(struct pack *p, struct archive_entry *entry, int fd, const struct stat *st)
{
    if (st->st_size == 0 || (uint64_t)st->st_blocks * 512 >= (uint64_t)st->st_size)
        return 0;
    off_t data = 0, hole = 0;
    while (hole < st->st_size) {
        data = lseek(fd, hole, SEEK_DATA);
        if (data < 0)
            break;
        hole = lseek(fd, data, SEEK_HOLE);
        if (hole < 0)
            return failed_os(p, "find the holes of");
        archive_entry_sparse_add_entry(entry, data, hole - data);
    }
    if (archive_entry_sparse_count(entry) == 0 || hole < st->st_size)
        archive_entry_sparse_add_entry(entry, st->st_size, 0);
    return lseek(fd, 0, SEEK_SET) < 0 ? failed_os(p, "read") : 0;
}

/* Where the next data begins: `at` itself in data, the file's end when only a hole is left. */
static uint64_t skip_hole(int fd, uint64_t at, uint64_t size)
{
    off_t data = lseek(fd, (off_t)at, SEEK_DATA);
    if (data < 0)
        return errno == ENXIO ? size : at;
    return MIN((uint64_t)data, size);
}

/* libarchive takes the whole file and leaves the holes out itself; they need not be read. A file that
   shrinks meanwhile is filled up with zeros; one that grows is cut. */
static int write_data(struct pack *p, int fd, uint64_t size, bool holes)
{
    uint64_t at = 0, data = 0;
    while (at < size) {
        if (holes && at >= data)
            data = skip_hole(fd, at, size);
        bool hole = holes && at < data;
        size_t want = MIN((hole ? data : size) - at, (uint64_t)STREAM_BLOCK);
        ssize_t n = hole ? 0 : RETRY(pread(fd, p->block, want, (off_t)at));
        if (n < 0)
            return failed_os(p, "read");
        if (n == 0) {
            memset(p->block, 0, want);
            n = (ssize_t)want;
        }
        if (archive_write_data(p->archive, p->block, (size_t)n) < 0)
            return archive_failed(p);
        at += (uint64_t)n;
        p->result.bytes += (uint64_t)n;
    }
    return 0;
}

static int fill_entry(struct pack *p, struct archive_entry *entry, int folder_fd, const char *name,
                      const struct stat *st)
{
    bool folder = S_ISDIR(st->st_mode);
    autofree char *path = format_text("%s%s", *p->path ? p->path : ".", folder ? "/" : "");
    if (!path)
        return fail_memory(p->err);
    archive_entry_set_pathname(entry, path);
    archive_entry_set_mode(entry, st->st_mode);
    archive_entry_set_uid(entry, st->st_uid);
    archive_entry_set_gid(entry, st->st_gid);
    archive_entry_set_mtime(entry, st->st_mtim.tv_sec, 0);
    archive_entry_set_size(entry, S_ISREG(st->st_mode) ? st->st_size : 0);
    if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
        archive_entry_set_rdev(entry, st->st_rdev);
    if (S_ISLNK(st->st_mode)) {
        char target[PATH_MAX];
        ssize_t n = readlinkat(folder_fd, name, target, sizeof target - 1);
        if (n < 0)
            return failed_os(p, "read the link");
        target[n] = 0;
        archive_entry_set_symlink(entry, target);
    }
    return fchdir(folder_fd) < 0 ? failed_os(p, "enter the folder of") : add_xattrs(p, entry, name);
}

static int write_entry(struct pack *p, int folder_fd, const char *name, int fd, const struct stat *st)
{
    struct archive_entry *entry = archive_entry_new();
    const char *first = NULL;
    if (!entry)
        return fail_memory(p->err);
    int r = fill_entry(p, entry, folder_fd, name, st);
    if (r == 0)
        r = find_link(p, st, &first);
    if (r == 0 && first) {
        archive_entry_set_hardlink(entry, first);
        archive_entry_set_size(entry, 0);
    }
    if (r == 0 && !first && fd >= 0)
        r = add_holes(p, entry, fd, st);
    if (r == 0 && archive_write_header(p->archive, entry) < ARCHIVE_WARN)
        r = archive_failed(p);
    if (r == 0 && !first && fd >= 0)
        r = write_data(p, fd, (uint64_t)st->st_size, archive_entry_sparse_count(entry) > 0);
    if (r == 0 && archive_write_finish_entry(p->archive) < ARCHIVE_WARN)
        r = archive_failed(p);
    archive_entry_free(entry);
    p->result.entries++;
    p->result.newest_sec = MAX(p->result.newest_sec, (int64_t)st->st_mtim.tv_sec);
    return r;
}

/* ---- the tree */

static int names_in(struct pack *p, int fd, char ***ret)
{
    autostrings char **names = calloc(1, sizeof *names);
    int dup_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    DIR *folder = dup_fd < 0 ? NULL : fdopendir(dup_fd);
    if (!folder || !names) {
        close_fd(&dup_fd);
        return failed_os(p, "list");
    }
    size_t n = 0, room = 1;
    struct dirent *one;
    while ((one = readdir(folder))) {
        if (strcmp(one->d_name, ".") == 0 || strcmp(one->d_name, "..") == 0)
            continue;
        if (n + 1 >= room) {
            char **more = reallocarray(names, room *= 2, sizeof *names);
            if (!more)
                break;
            names = more;
        }
        if (!(names[n] = strdup(one->d_name)))
            break;
        names[++n] = NULL;
    }
    closedir(folder);
    if (one)
        return fail_memory(p->err);
    qsort(names, n, sizeof *names, compare_texts);
    *ret = TAKE(names);
    return 0;
}

static int pack_entry(struct pack *p, int folder_fd, const char *name, size_t depth);

static int pack_content(struct pack *p, int fd, size_t depth)
{
    autostrings char **names = NULL;
    int r = depth > MAX_DEPTH ? fail(p->err, BERTH_TOO_BIG, p->path, "folders lie more than %d deep", MAX_DEPTH)
                              : names_in(p, fd, &names);
    size_t length = strlen(p->path);
    for (size_t i = 0; r == 0 && names[i]; i++) {
        if (length + strlen(names[i]) + 2 > sizeof p->path)
            return fail(p->err, BERTH_TOO_BIG, names[i], "the path of %.200s is too long", names[i]);
        snprintf(p->path + length, sizeof p->path - length, "%s%s", length ? "/" : "", names[i]);
        r = pack_entry(p, fd, names[i], depth + 1);
        p->path[length] = 0;
    }
    return r;
}

static bool left_out(const struct stat *st)
{
    return S_ISSOCK(st->st_mode);
}

/* "a/b" with `name` for b, or, with `inside`, "a/b/name", as an empty file. */
static int write_mark(struct pack *p, int folder_fd, const char *from, const char *name, bool inside)
{
    struct stat st = {.st_mode = S_IFREG, .st_nlink = 1};
    size_t length = strlen(p->path);
    char *slash = inside ? p->path + length : strrchr(p->path, '/');
    size_t at = inside ? length : slash ? (size_t)(slash + 1 - p->path) : 0;
    autofree char *before = strdup(p->path);
    if (!before)
        return fail_memory(p->err);
    if (at + strlen(name) + 2 > sizeof p->path)
        return fail(p->err, BERTH_TOO_BIG, name, "the path of %.200s is too long", name);
    snprintf(p->path + at, sizeof p->path - at, "%s%s", inside && length ? "/" : "", name);
    int r = write_entry(p, folder_fd, from, -1, &st);
    memcpy(p->path, before, length + 1);
    return r;
}

/* What overlayfs says with devices and attributes, said as layers say it. 1: that was all of this entry. */
static int write_hidden(struct pack *p, int folder_fd, const char *name, const struct stat *st)
{
    autofree char *white = format_text(".wh.%s", name);
    if (!white)
        return fail_memory(p->err);
    if (!S_ISCHR(st->st_mode) || st->st_rdev != makedev(0, 0))
        return 0;
    int r = write_mark(p, folder_fd, name, white, false);
    return r < 0 ? r : 1;
}

static int write_opaque(struct pack *p, int folder_fd, const char *name, int fd)
{
    char value[2];
    if (fgetxattr(fd, "trusted.overlay.redirect", NULL, 0) >= 0 || fgetxattr(fd, "trusted.overlay.metacopy", NULL, 0) >= 0)
        return fail(p->err, BERTH_UNSUPPORTED, p->path, "%.300s was renamed inside, which a layer can't say (copy it there)", p->path);
    if (fgetxattr(fd, "trusted.overlay.opaque", value, sizeof value) < 1 || value[0] != 'y')
        return 0;
    return write_mark(p, folder_fd, name, ".wh..wh..opq", true);
}

static int pack_entry(struct pack *p, int folder_fd, const char *name, size_t depth)
{
    struct stat st, opened;
    autoclose int fd = -1;
    if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) /* a living tree: it went meanwhile */
        return errno == ENOENT && depth > 0 ? 0 : failed_os(p, "look up");
    if (left_out(&st) || (p->options->leave_out && p->options->leave_out(p->options->left_out, p->path)))
        return 0;
    int hidden = p->options->changes ? write_hidden(p, folder_fd, name, &st) : 0;
    if (hidden != 0)
        return MIN(hidden, 0);
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
        struct open_how how = {.flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOATIME,
                               .resolve = RESOLVE_NO_MAGICLINKS | (p->options->one_mount ? RESOLVE_NO_XDEV : 0)};
        fd = (int)syscall(SYS_openat2, folder_fd, name, &how, sizeof how);
        if (fd < 0 && errno == ENOENT && depth > 0)
            return 0;
        if (fd < 0 && errno == EXDEV) { /* mounted there: only that there is something */
            st.st_size = 0;
            st.st_nlink = 1;
            return write_entry(p, folder_fd, name, -1, &st);
        }
        if (fd < 0 || fstat(fd, &opened) < 0)
            return failed_os(p, "open");
        if (((opened.st_mode ^ st.st_mode) & S_IFMT) != 0)
            return 0; /* exchanged meanwhile */
        st = opened;
    }
    bool folder = S_ISDIR(st.st_mode);
    int r = write_entry(p, folder_fd, name, folder ? -1 : fd, &st);
    if (r == 0 && p->options->changes && fd >= 0)
        r = write_opaque(p, folder_fd, name, fd);
    return r < 0 || !folder ? r : pack_content(p, fd, depth);
}

static int open_writer(struct pack *p)
{
    struct archive *a = p->archive = archive_write_new();
    if (!a)
        return fail_memory(p->err);
    archive_write_set_format_pax_restricted(a);
    archive_write_set_format_option(a, "pax", "xattrheader", "SCHILY");
    archive_write_set_bytes_per_block(a, 0);
    archive_write_set_bytes_in_last_block(a, 1);
    return archive_write_open(a, p, NULL, gather, NULL) == ARCHIVE_OK ? 0 : archive_failed(p);
}

int pack_tar(int folder_fd, const char *name, const struct pack_options *options, pack_write *write, void *user,
             struct pack_result *ret, struct berth_error *err)
{
    struct pack *p = calloc(1, sizeof *p);
    if (!p)
        return fail_memory(err);
    *p = (struct pack){.options = options, .write = write, .user = user, .err = err};
    p->buffer = malloc(STREAM_BLOCK);
    p->block = malloc(STREAM_BLOCK);
    int r = p->buffer && p->block ? open_writer(p) : fail_memory(err);
    snprintf(p->path, sizeof p->path, "%s", options->name ? options->name : "");
    if (r == 0)
        r = pack_entry(p, folder_fd, name, 0);
    if (r == 0 && archive_write_close(p->archive) != ARCHIVE_OK)
        r = archive_failed(p);
    if (r == 0)
        r = flush_out(p);
    if (r == 0)
        *ret = p->result;
    archive_write_free(p->archive);
    for (size_t i = 0; i < p->room_links; i++)
        free(p->links[i].path);
    free(p->links);
    free(p->buffer);
    free(p->block);
    free(p);
    return r;
}
