/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trees that somebody else filled: removed and measured without being led anywhere.
 *
 * Every step down is openat2 with NO_XDEV and NO_SYMLINKS. Trees deeper than we like to hold
 * descriptors for are cut: the deep part is moved to the top and removed from there.
 */
#include "base/file.h"
#include "base/base.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define REMOVE_DEPTH 32 /* open folders at one time */
#define SIZE_DEPTH 256
#define SMALL_ENTRIES 64
#define FILLED_ROUNDS 20
#define SMALL_BYTES (4u << 20)

static int open_below(int dir_fd, const char *name)
{
    struct open_how how = {
        .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
    };
    int fd = (int)RETRY(syscall(SYS_openat2, dir_fd, name, &how, sizeof(how)));
    if (fd >= 0)
        return fd;
    return errno == EXDEV ? -EBUSY : -errno; /* something is mounted there */
}

static void cleanup_dir(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}

static int dir_open(int dir_fd, const char *name, DIR **ret_dir)
{
    autoclose int fd = open_below(dir_fd, name);
    if (fd < 0)
        return fd;
    *ret_dir = fdopendir(fd);
    if (!*ret_dir)
        return -errno;
    take_fd(&fd);
    return 0;
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

struct removal {
    int top_fd;        /* where deep parts are moved to */
    unsigned moved;    /* how many were */
    int first_error;
    bool small;        /* only as much as takes no time; what has many blocks takes some */
    unsigned left;     /* then: entries that may still be removed */
};

/* A time's worth of work is done: the rest is another's. */
static bool used_up(struct removal *r, int dir_fd, const char *name)
{
    struct stat st;
    if (!r->small)
        return false;
    if (r->left == 0)
        return true;
    r->left--;
    return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
           (uint64_t)st.st_blocks * 512 > SMALL_BYTES;
}

static void note_error(struct removal *r, int error)
{
    if (error < 0 && error != -ENOENT && r->first_error == 0)
        r->first_error = error;
}

/* Move a folder that lies too deep to the top, where the next round finds it. */
static int move_up(struct removal *r, int dir_fd, const char *name)
{
    char up[48];
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    snprintf(up, sizeof(up), ".deep.%llx.%u", (unsigned long long)st.st_ino, r->moved);
    if (renameat2(dir_fd, name, r->top_fd, up, RENAME_NOREPLACE) < 0)
        return -errno;
    r->moved++;
    return 0;
}

static int remove_below(struct removal *r, int dir_fd, const char *name, int depth);

static int remove_entry(struct removal *r, int dir_fd, const char *name, bool maybe_folder,
                        int depth)
{
    if (used_up(r, dir_fd, name))
        return -EFBIG;
    if (!maybe_folder) {
        if (unlinkat(dir_fd, name, 0) == 0)
            return 0;
        if (errno != EISDIR && errno != EPERM)
            return -errno;
    }
    int error = remove_below(r, dir_fd, name, depth);
    if (error == -ENOTDIR || error == -ELOOP)
        return unlinkat(dir_fd, name, 0) < 0 ? -errno : 0;
    return error;
}

static int remove_below(struct removal *r, int dir_fd, const char *name, int depth)
{
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)
        return 0;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return -errno;
    if (depth >= REMOVE_DEPTH)
        return move_up(r, dir_fd, name);
    autoclean(cleanup_dir) DIR *dir = NULL;
    int error = dir_open(dir_fd, name, &dir);
    if (error < 0)
        return error;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e)
            break;
        if (r->small && r->first_error < 0)
            break;
        if (!is_dots(e->d_name))
            note_error(r, remove_entry(r, dirfd(dir), e->d_name,
                                       e->d_type == DT_DIR || e->d_type == DT_UNKNOWN, depth + 1));
    }
    note_error(r, -errno);
    return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

static int remove_tree(int dir_fd, const char *name, struct removal r)
{
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)
        return 0;
    autoclose int top_fd = open_below(dir_fd, name);
    if (top_fd < 0)
        return top_fd == -ENOENT ? 0 : top_fd; /* another removed it meanwhile */
    r.top_fd = top_fd;
    for (int idle = 0;;) {
        unsigned moved = r.moved;
        int error = remove_below(&r, dir_fd, name, 0);
        if (r.first_error < 0)
            return r.first_error;
        if (error == 0 || error == -ENOENT)
            return 0;
        if (r.moved == moved && error != -ENOTEMPTY && error != -EEXIST)
            return error;
        if (r.moved == moved && ++idle > FILLED_ROUNDS)
            return -EBUSY; /* somebody fills it while we empty it */
    }
}

int tree_remove(int dir_fd, const char *name)
{
    return remove_tree(dir_fd, name, (struct removal){0});
}

int tree_remove_small(int dir_fd, const char *name)
{
    return remove_tree(dir_fd, name, (struct removal){.left = SMALL_ENTRIES, .small = true});
}

/* Inodes with several names, each counted once: a set with open addressing. */
struct inodes {
    struct inode {
        uint64_t device, number;
    } *slots;
    size_t n, room;
};

static void cleanup_inodes(struct inodes *set)
{
    free(set->slots);
}

static bool slot_put(struct inode *slots, size_t room, struct inode wanted)
{
    size_t i = (wanted.number * UINT64_C(0x9e3779b97f4a7c15) ^ wanted.device) & (room - 1);
    for (; slots[i].number != 0; i = (i + 1) & (room - 1))
        if (slots[i].number == wanted.number && slots[i].device == wanted.device)
            return false;
    slots[i] = wanted;
    return true;
}

/* 1 when it is new, 0 when it was there, -ENOMEM */
static int inodes_add(struct inodes *set, struct inode wanted)
{
    if (set->n * 2 >= set->room) {
        size_t room = MAX(set->room * 2, (size_t)256);
        struct inode *slots = calloc(room, sizeof(*slots));
        if (!slots)
            return -ENOMEM;
        for (size_t i = 0; i < set->room; i++)
            if (set->slots[i].number != 0)
                slot_put(slots, room, set->slots[i]);
        free(set->slots);
        set->slots = slots;
        set->room = room;
    }
    if (!slot_put(set->slots, set->room, wanted))
        return 0;
    set->n++;
    return 1;
}

static int add_size(int dir_fd, const char *name, int depth, struct inodes *seen, uint64_t *bytes)
{
    struct stat st;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1) {
        int r = inodes_add(seen, (struct inode){st.st_dev, st.st_ino});
        if (r <= 0)
            return r;
    }
    *bytes += (uint64_t)st.st_blocks * 512;
    if (!S_ISDIR(st.st_mode))
        return 0;
    if (depth >= SIZE_DEPTH)
        return -ENAMETOOLONG;
    autoclean(cleanup_dir) DIR *dir = NULL;
    int r = dir_open(dir_fd, name, &dir);
    if (r < 0)
        return r == -EBUSY || r == -ENOENT ? 0 : r; /* what is mounted is not below */
    for (struct dirent *e; errno = 0, (e = readdir(dir));) {
        r = is_dots(e->d_name) ? 0 : add_size(dirfd(dir), e->d_name, depth + 1, seen, bytes);
        if (r < 0)
            return r;
    }
    return -errno;
}

int tree_size(int dir_fd, const char *name, uint64_t *ret_bytes)
{
    autoclean(cleanup_inodes) struct inodes seen = {0};
    uint64_t bytes = 0;
    int r = faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 ? -errno
                                                                  : add_size(dir_fd, name, 0, &seen, &bytes);
    if (r == 0)
        *ret_bytes = bytes;
    return r;
}
