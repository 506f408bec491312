/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening the two folders, looking for workloads in them, and sweeping up after the dead.
 *
 * ROOT/format is the first file made: a folder that has one is ours and of that version.
 * Everything that a dead process can leave lies in aside/ or trash/, so a sweep looks only there.
 */
#include "store/internal.h"
#include "store/network.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "model/spec.h"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

bool id_valid(const char *id)
{
    return strspn(id, "0123456789abcdef") == ID_LENGTH && id[ID_LENGTH] == 0;
}

int id_make(char ret_id[BERTH_ID_TEXT])
{
    uint8_t bytes[16];
    if (RETRY(getrandom(bytes, sizeof(bytes), 0)) != sizeof(bytes))
        return errno ? -errno : -EIO;
    hex_print(bytes, sizeof(bytes), ret_id);
    return 0;
}

int open_folder_at(int dir_fd, const char *name)
{
    int fd = RETRY(openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    return fd < 0 ? -errno : fd;
}

DIR *entries_open(int dir_fd)
{
    int fd = open_folder_at(dir_fd, ".");
    if (fd < 0) {
        errno = -fd;
        return NULL;
    }
    DIR *dir = fdopendir(fd);
    if (!dir)
        cleanup_close(&fd);
    return dir;
}

const struct dirent *entries_next(DIR *dir)
{
    const struct dirent *entry;
    while ((entry = readdir(dir)) && entry->d_name[0] == '.')
        ;
    return entry;
}

/* ---- opening */

static const struct {
    const char *name;
    size_t member; /* of struct store */
} store_folders[] = {
    {"workloads", offsetof(struct store, workloads_fd)},
    {"names", offsetof(struct store, names_fd)},
    {"leases", offsetof(struct store, leases_fd)},
    {"aside", offsetof(struct store, aside_fd)},
    {"trash", offsetof(struct store, trash_fd)},
    {"volumes", offsetof(struct store, volumes_fd)},
    {"networks", offsetof(struct store, networks_fd)},
};
static const char *const store_other_folders[] = {"images", "events", "cache",
                                                   "leases/volume-use", "leases/address", "leases/mac",
                                                   "leases/port", "leases/port/tcp", "leases/port/udp"};

static int *folder_member(struct store *store, size_t i)
{
    return (int *)((char *)store + store_folders[i].member);
}

static int check_format(struct store *store, bool make, struct berth_error *err)
{
    autofree char *text = NULL;
    size_t size;
    int r = file_read(store->root_fd, "format", 64, &text, &size);
    if (r == -ENOENT && make) {
        autofree char *mine = format_text("%d\n", STORE_FORMAT);
        if (!mine)
            return fail_memory(err);
        r = file_write(store->root_fd, "format", mine, strlen(mine), 0600, FILE_EXCLUSIVE);
        if (r == 0)
            return 0;
        if (r == -EEXIST)
            r = file_read(store->root_fd, "format", 64, &text, &size);
    }
    if (r == -ENOENT)
        return fail(err, BERTH_NOT_FOUND, store->root, "%s is not a folder of berth's", store->root);
    if (r < 0)
        return fail_os(err, r, store->root, "%s/format", store->root);
    char *end;
    long version = strtol(text, &end, 10);
    if (version != STORE_FORMAT || strcmp(end, "\n") != 0)
        return fail(err, BERTH_CORRUPT, store->root,
                    "%s/format: \"%.20s\" is not a format that this berth knows (it knows %d)",
                    store->root, text, STORE_FORMAT);
    return 0;
}

static int open_folders(struct store *store, struct berth_error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(store_folders); i++) {
        int fd = folder_open(store->root_fd, store_folders[i].name, true, 0700);
        if (fd < 0)
            return fail_os(err, fd, store->root, "%s/%s", store->root, store_folders[i].name);
        *folder_member(store, i) = fd;
    }
    for (size_t i = 0; i < ARRAY_SIZE(store_other_folders); i++)
        if (mkdirat(store->root_fd, store_other_folders[i], 0700) < 0 && errno != EEXIST)
            return fail_os(err, errno, store->root, "%s/%s", store->root, store_other_folders[i]);
    /* now, since on a full disk giving back must still work */
    int r = claims_file_open(store);
    if (r < 0)
        return fail_os(err, r, store->root, "%s/claims.lock", store->root);
    close(r);
    return 0;
}

static int open_root(struct store *store, const char *root, bool make, struct berth_error *err)
{
    int r = make ? make_folders(root, 0700) : 0;
    if (r < 0)
        return fail_os(err, r, root, "make the folder %s", root);
    store->root = realpath(root, NULL);
    if (!store->root)
        return fail_os(err, errno, root, "open the folder %s", root);
    store->root_fd = open_folder_at(AT_FDCWD, store->root);
    if (store->root_fd < 0)
        return fail_os(err, store->root_fd, root, "open the folder %s", root);
    r = check_format(store, make, err);
    return r < 0 ? r : open_folders(store, err);
}

static void fill_tag(struct store *store)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *p = store->root; *p; p++)
        hash = (hash ^ (uint8_t)*p) * 0x100000001b3u;
    snprintf(store->tag, sizeof(store->tag), "%08x", (uint32_t)(hash ^ hash >> 32));
}

static int read_boot_id(struct store *store, struct berth_error *err)
{
    autofree char *text = NULL;
    size_t size;
    int r = file_read(AT_FDCWD, "/proc/sys/kernel/random/boot_id", 64, &text, &size);
    if (r < 0)
        return fail_os(err, r, NULL, "/proc/sys/kernel/random/boot_id");
    text[strcspn(text, "\n")] = 0;
    snprintf(store->boot_id, sizeof(store->boot_id), "%.39s", text);
    return 0;
}

/*
 * Run folders of workloads that were removed. An id is in RUN only after it was in workloads/ and
 * never comes back, so one that is in RUN and afterwards not in workloads/ is gone for good.
 */
static int sweep_run(struct store *store)
{
    autoentries DIR *dir = entries_open(store->run_fd);
    if (!dir)
        return -errno;
    const struct dirent *entry;
    while ((entry = entries_next(dir)))
        if (id_valid(entry->d_name) && faccessat(store->workloads_fd, entry->d_name, F_OK, 0) < 0 &&
            errno == ENOENT)
            tree_remove(store->run_fd, entry->d_name);
    return 0;
}

/* RUN may lie on a disk: what another boot left there holds no locks, but may hold the removed. */
static int open_run(struct store *store, const char *run, struct berth_error *err)
{
    int r = make_folders(run, 0700);
    if (r < 0)
        return fail_os(err, r, run, "make the folder %s", run);
    store->run = realpath(run, NULL);
    if (!store->run)
        return fail_os(err, errno, run, "open the folder %s", run);
    store->run_fd = open_folder_at(AT_FDCWD, store->run);
    if (store->run_fd < 0)
        return fail_os(err, store->run_fd, run, "open the folder %s", run);
    autoclose int lock_fd = networks_lock_open(store->run_fd);
    if (lock_fd < 0)
        return fail_os(err, lock_fd, run, "%s/networks.lock", run);
    autofree char *boot = NULL;
    size_t size;
    r = file_read(store->run_fd, "boot", 64, &boot, &size);
    if (r == 0 && strcmp(boot, store->boot_id) == 0)
        return 0;
    if (r == 0)
        sweep_run(store);
    r = file_write(store->run_fd, "boot", store->boot_id, strlen(store->boot_id), 0600, 0);
    return r < 0 ? fail_os(err, r, run, "%s/boot", run) : 0;
}

static void cleanup_store(struct store **store)
{
    store_close(*store);
}

int store_open(const char *root, const char *run, bool make, struct store **ret_store,
               struct berth_error *err)
{
    __attribute__((cleanup(cleanup_store))) struct store *store = calloc(1, sizeof(*store));
    if (!store)
        return fail_memory(err);
    store->root_fd = store->run_fd = -1;
    for (size_t i = 0; i < ARRAY_SIZE(store_folders); i++)
        *folder_member(store, i) = -1;
    int r = open_root(store, root, make, err);
    if (r < 0)
        return r;
    fill_tag(store);
    r = read_boot_id(store, err);
    if (r < 0)
        return r;
    r = open_run(store, run, err);
    if (r < 0)
        return r;
    *ret_store = TAKE(store);
    return 0;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(store_folders); i++)
        close_fd(folder_member(store, i));
    close_fd(&store->root_fd);
    close_fd(&store->run_fd);
    free(store->root);
    free(store->run);
    free(store);
}

const char *store_root(const struct store *store)
{
    return store->root;
}

const char *store_run(const struct store *store)
{
    return store->run;
}

int store_root_fd(const struct store *store)
{
    return store->root_fd;
}

int store_run_fd(const struct store *store)
{
    return store->run_fd;
}

const char *store_tag(const struct store *store)
{
    return store->tag;
}

const char *store_boot_id(const struct store *store)
{
    return store->boot_id;
}

/* ---- finding */

/* A claim on a name is believed only when the workload says the same of itself. */
static int find_name(struct store *store, const char *name, char ret_id[BERTH_ID_TEXT])
{
    char holder[BERTH_ID_TEXT] = "", label[BERTH_NAME_MAX + 8], path[ID_LENGTH + 8];
    ssize_t n = readlinkat(store->names_fd, name, holder, sizeof(holder));
    if (n < 0)
        return -errno;
    if (n != ID_LENGTH)
        return -ENOENT;
    holder[n] = 0;
    int64_t created_usec;
    snprintf(path, sizeof(path), "%s/name", holder);
    int r = label_read(store->workloads_fd, path, &created_usec, label);
    if (r < 0)
        return r;
    if (strcmp(label, name) != 0)
        return -ENOENT;
    memcpy(ret_id, holder, BERTH_ID_TEXT);
    return 0;
}

static int find_prefix(struct store *store, const char *prefix, char ret_id[BERTH_ID_TEXT],
                       struct berth_error *err)
{
    autoentries DIR *dir = entries_open(store->workloads_fd);
    if (!dir)
        return fail_os(err, errno, store->root, "%s/workloads", store->root);
    const struct dirent *entry;
    char found[BERTH_ID_TEXT] = "";
    while ((entry = entries_next(dir))) {
        if (!starts_with(entry->d_name, prefix) || !id_valid(entry->d_name))
            continue;
        if (found[0])
            return fail(err, BERTH_INVALID, prefix, "\"%s\" fits several workloads (%.12s, %.12s)",
                        prefix, found, entry->d_name);
        memcpy(found, entry->d_name, BERTH_ID_TEXT);
    }
    if (!found[0])
        return fail(err, BERTH_NOT_FOUND, prefix, "no workload \"%s\"", prefix);
    memcpy(ret_id, found, BERTH_ID_TEXT);
    return 0;
}

int store_find(struct store *store, const char *name_or_prefix, char ret_id[BERTH_ID_TEXT],
               struct berth_error *err)
{
    int r = name_check("workload", name_or_prefix, err);
    if (r < 0)
        return r;
    r = find_name(store, name_or_prefix, ret_id);
    if (r == 0)
        return 0;
    if (r != -ENOENT)
        return fail_os(err, r, name_or_prefix, "look up \"%s\"", name_or_prefix);
    size_t length = strlen(name_or_prefix);
    if (length > ID_LENGTH || strspn(name_or_prefix, "0123456789abcdef") != length)
        return fail(err, BERTH_NOT_FOUND, name_or_prefix, "no workload \"%s\"", name_or_prefix);
    if (length == ID_LENGTH && faccessat(store->workloads_fd, name_or_prefix, F_OK, 0) == 0) {
        memcpy(ret_id, name_or_prefix, BERTH_ID_TEXT);
        return 0;
    }
    return find_prefix(store, name_or_prefix, ret_id, err);
}

struct listed {
    int64_t created_usec;
    char id[BERTH_ID_TEXT];
};

static int newest_first(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    if (x->created_usec != y->created_usec)
        return x->created_usec < y->created_usec ? 1 : -1;
    return strcmp(x->id, y->id);
}

/* One readdir, and one readlink for each: no workload is opened. */
static int list_read(struct store *store, struct listed **ret_list, size_t *ret_n)
{
    autoentries DIR *dir = entries_open(store->workloads_fd);
    if (!dir)
        return -errno;
    autofree struct listed *list = NULL;
    size_t n = 0, room = 0;
    const struct dirent *entry;
    while ((entry = entries_next(dir))) {
        char path[ID_LENGTH + 8], name[BERTH_NAME_MAX + 8];
        if (!id_valid(entry->d_name))
            continue;
        if (n == room) {
            room = room ? 2 * room : 64;
            struct listed *more = realloc(list, room * sizeof(*list));
            if (!more)
                return -ENOMEM;
            list = more;
        }
        snprintf(path, sizeof(path), "%.32s/name", entry->d_name);
        list[n].created_usec = 0;
        if (label_read(store->workloads_fd, path, &list[n].created_usec, name) == -ENOENT &&
            faccessat(store->workloads_fd, entry->d_name, F_OK, 0) < 0)
            continue; /* removed meanwhile */
        memcpy(list[n++].id, entry->d_name, BERTH_ID_TEXT);
    }
    *ret_list = TAKE(list);
    *ret_n = n;
    return 0;
}

int store_list(struct store *store, char ***ret_ids, struct berth_error *err)
{
    autofree struct listed *list = NULL;
    size_t n = 0;
    int r = list_read(store, &list, &n);
    if (r < 0)
        return fail_os(err, r, store->root, "%s/workloads", store->root);
    if (n > 1)
        qsort(list, n, sizeof(*list), newest_first);
    autostrings char **ids = calloc(n + 1, sizeof(*ids));
    if (!ids)
        return fail_memory(err);
    for (size_t i = 0; i < n; i++)
        if (!(ids[i] = strdup(list[i].id)))
            return fail_memory(err);
    *ret_ids = TAKE(ids);
    return 0;
}

/* ---- sweeping */

/* One entry of aside/ or trash/ whose maker or deleter is dead. */
static int sweep_entry(struct store *store, int dir_fd, const char *name)
{
    autoclose int fd = folder_lock_dead(dir_fd, name);
    if (fd == -EAGAIN || fd == -ENOENT)
        return 0;
    if (fd >= 0 && id_valid(name)) {
        int r = folder_release(store, name, fd);
        if (r < 0)
            return r;
    }
    crash_point("helper.delete.entry");
    return tree_remove(dir_fd, name);
}

/* Dotted ones too: the removal of a deep tree that was cut short leaves such. */
static int sweep_folder(struct store *store, int dir_fd)
{
    autoentries DIR *dir = entries_open(dir_fd);
    if (!dir)
        return -errno;
    int result = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int r = sweep_entry(store, dir_fd, entry->d_name);
        if (r < 0 && result == 0)
            result = r;
    }
    return result;
}

/* A folder in the trash that still has its label was not released: its remover died, or is at it now. */
static int delete_entry(int trash_fd, const char *name)
{
    autoclose int fd = folder_lock_dead(trash_fd, name);
    if (fd == -EAGAIN) { /* deleted by another, or only looked at: it may be ours yet */
        autoclose int wait_fd = open_folder_at(trash_fd, name);
        if (wait_fd >= 0 && RETRY(flock(wait_fd, LOCK_EX)) < 0)
            return -errno;
        close_fd(&wait_fd);
        fd = folder_lock_dead(trash_fd, name);
    }
    if (fd == -EAGAIN || fd == -ENOENT)
        return 0;
    if (fd >= 0 && faccessat(fd, "name", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    crash_point("helper.delete.entry");
    return tree_remove(trash_fd, name);
}

int store_empty_trash(int root_fd, struct berth_error *err)
{
    autoclose int trash_fd = open_folder_at(root_fd, "trash");
    if (trash_fd < 0)
        return fail_os(err, trash_fd, NULL, "open the trash");
    autoentries DIR *dir = entries_open(trash_fd);
    if (!dir)
        return fail_os(err, errno, NULL, "open the trash");
    int result = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        int r = delete_entry(trash_fd, entry->d_name);
        if (r < 0 && result == 0)
            result = fail_os(err, r, entry->d_name, "delete trash/%s", entry->d_name);
    }
    return result;
}

int store_sweep(struct store *store, struct berth_error *err)
{
    int r = sweep_folder(store, store->aside_fd);
    if (r < 0)
        return fail_os(err, r, store->root, "undo what is left in %s/aside", store->root);
    r = sweep_folder(store, store->trash_fd);
    return r < 0 ? fail_os(err, r, store->root, "empty %s/trash", store->root) : 0;
}

/* A shared lock: a look must not make others believe that it is being made or deleted. */
static size_t count_left(int dir_fd)
{
    autoentries DIR *dir = entries_open(dir_fd);
    size_t n = 0;
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        autoclose int fd = open_folder_at(dir_fd, entry->d_name);
        if (fd == -ENOENT || (fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK))
            continue;
        n++;
    }
    return n;
}

size_t store_leftovers(struct store *store)
{
    return count_left(store->aside_fd) + count_left(store->trash_fd);
}
