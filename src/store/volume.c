/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes: ROOT/volumes/NAME/{data/,volume.json}; who uses one holds a lease in volume-use/NAME.
 *
 * Using and removing exclude each other by a lock on that one name, held for a few system calls.
 */
#include "store/internal.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "model/spec.h"
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define VOLUME_MAX_BYTES (1u << 20)

static int lock_volume(struct store *store, const char *name, int *ret_fd, struct berth_error *err)
{
    int r = name_check("volume", name, err);
    if (r < 0)
        return r;
    int fd = claim_lock(store, "volume", name);
    if (fd < 0)
        return fail_os(err, fd, name, "lock volume \"%s\"", name);
    *ret_fd = fd;
    return 0;
}

static int use_kind(const char *name, char ret_kind[BERTH_NAME_MAX + 24])
{
    snprintf(ret_kind, BERTH_NAME_MAX + 24, "volume-use/%s", name);
    return 0;
}

static bool volume_exists(struct store *store, const char *name)
{
    return faccessat(store->volumes_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int missing(const char *name, struct berth_error *err)
{
    return fail(err, BERTH_NOT_FOUND, name, "no volume \"%s\"", name);
}

/* ---- making */

static char *describe(const char *name, bool anonymous, const char *labels_json,
                      struct berth_error *err)
{
    json_error_t bad;
    char time[40];
    json_t *labels = labels_json ? json_loads(labels_json, JSON_REJECT_DUPLICATES, &bad)
                                 : json_object();
    if (!json_is_object(labels)) {
        fail(err, BERTH_INVALID, name, "labels of volume \"%s\" are not a JSON object", name);
        json_decref(labels);
        return NULL;
    }
    time_print(now_usec(), time);
    json_t *all = json_pack("{s:s, s:s, s:b, s:o}", "name", name, "created", time, "anonymous",
                            anonymous, "labels", labels);
    char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(all);
    if (!text)
        fail_memory(err);
    return text;
}

/* Aside like a workload, so that a death leaves nothing: 1 made, 0 there already. */
static int make_volume(struct store *store, const char *name, const char *json)
{
    char id[BERTH_ID_TEXT];
    autoclose int fd = -1;
    int r = aside_make(store, id, &fd);
    if (r < 0)
        return r;
    r = mkdirat(fd, "data", 0755) < 0 ? -errno : fchmodat(fd, "data", 0755, 0) < 0 ? -errno : 0;
    if (r == 0)
        r = file_write(fd, "volume.json", json, strlen(json), 0600, 0);
    if (r == 0) {
        crash_point("volume.filled");
        if (renameat2(store->aside_fd, id, store->volumes_fd, name, RENAME_NOREPLACE) == 0)
            return 1;
        r = errno == EEXIST ? 0 : -errno;
    }
    tree_remove(store->aside_fd, id);
    return r;
}

int volume_create(struct store *store, const char *name, bool anonymous, const char *labels_json,
                  bool *ret_made, struct berth_error *err)
{
    int r = name_check("volume", name, err);
    if (r < 0)
        return r;
    if (ret_made)
        *ret_made = false;
    if (volume_exists(store, name))
        return 0;
    autofree char *json = describe(name, anonymous, labels_json, err);
    if (!json)
        return labels_json && err && err->code ? err->code : BERTH_NO_MEMORY;
    r = make_volume(store, name, json);
    if (r < 0)
        return fail_os(err, r, name, "make volume \"%s\"", name);
    if (ret_made)
        *ret_made = r > 0;
    return 0;
}

/* ---- reading */

int volume_path(struct store *store, const char *name, char **ret_data_path,
                struct berth_error *err)
{
    int r = name_check("volume", name, err);
    if (r < 0)
        return r;
    if (!volume_exists(store, name))
        return missing(name, err);
    char *path = format_text("%s/volumes/%s/data", store->root, name);
    if (!path)
        return fail_memory(err);
    *ret_data_path = path;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All entries of a folder that `wanted` accepts, sorted. */
static int list_entries(int dir_fd, char ***ret_names)
{
    autoentries DIR *dir = entries_open(dir_fd);
    if (!dir)
        return -errno;
    autostrings char **names = calloc(1, sizeof(*names));
    if (!names)
        return -ENOMEM;
    const struct dirent *entry;
    while ((entry = entries_next(dir))) {
        int r = strings_add(&names, entry->d_name);
        if (r < 0)
            return r;
    }
    qsort(names, strings_count(names), sizeof(*names), by_name);
    *ret_names = TAKE(names);
    return 0;
}

int volume_list(struct store *store, char ***ret_names, struct berth_error *err)
{
    int r = list_entries(store->volumes_fd, ret_names);
    return r < 0 ? fail_os(err, r, store->root, "%s/volumes", store->root) : 0;
}

static int load_volume(struct store *store, const char *name, json_t **ret_json,
                       struct berth_error *err)
{
    autofree char *path = format_text("%s/volume.json", name);
    autofree char *text = NULL;
    size_t size;
    if (!path)
        return fail_memory(err);
    int r = file_read(store->volumes_fd, path, VOLUME_MAX_BYTES, &text, &size);
    if (r == -ENOENT)
        return missing(name, err);
    if (r < 0)
        return fail_os(err, r, name, "read %s/volumes/%s", store->root, path);
    json_error_t bad;
    *ret_json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &bad);
    if (!json_is_object(*ret_json)) {
        json_decref(*ret_json);
        return fail(err, BERTH_CORRUPT, name, "%s/volumes/%s is damaged", store->root, path);
    }
    return 0;
}

int volume_read(struct store *store, const char *name, char **ret_json, struct berth_error *err)
{
    json_t *json;
    int r = name_check("volume", name, err);
    if (r == 0)
        r = load_volume(store, name, &json, err);
    if (r < 0)
        return r;
    autofree char *path = format_text("%s/volumes/%s/data", store->root, name);
    char *text = NULL;
    if (path && json_object_set_new(json, "path", json_string(path)) == 0)
        text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (!text)
        return fail_memory(err);
    *ret_json = text;
    return 0;
}

/* ---- using and removing */

int volume_use(struct store *store, const char *name, const char *id, struct berth_error *err)
{
    char kind[BERTH_NAME_MAX + 24];
    autoclose int lock = -1;
    int r = lock_volume(store, name, &lock, err);
    if (r < 0)
        return r;
    if (!volume_exists(store, name))
        return missing(name, err);
    use_kind(name, kind);
    return lease_take(store, kind, id, id, NULL, err);
}

/* Living users; what the dead hold is dropped on the way. */
static int living_users(struct store *store, const char *name, char ***ret_ids)
{
    char kind[BERTH_NAME_MAX + 24];
    use_kind(name, kind);
    autostrings char **all = NULL, **living = calloc(1, sizeof(*living));
    autoclose int dir_fd = open_folder_at(store->leases_fd, "volume-use");
    if (!living)
        return -ENOMEM;
    if (dir_fd >= 0) {
        int next = open_folder_at(dir_fd, name);
        close_fd(&dir_fd);
        dir_fd = next;
    }
    int r = dir_fd == -ENOENT ? 0 : dir_fd < 0 ? dir_fd : list_entries(dir_fd, &all);
    for (size_t i = 0; r >= 0 && all && all[i]; i++) {
        r = claim_stale(store, kind, all[i], all[i]);
        if (r > 0)
            r = claim_release(store, kind, dir_fd, all[i], all[i]);
        else if (r == 0)
            r = strings_add(&living, all[i]);
    }
    if (r < 0)
        return r;
    *ret_ids = TAKE(living);
    return 0;
}

int volume_users(struct store *store, const char *name, char ***ret_ids, struct berth_error *err)
{
    int r = name_check("volume", name, err);
    if (r < 0)
        return r;
    r = living_users(store, name, ret_ids);
    return r < 0 ? fail_os(err, r, name, "look who uses volume \"%s\"", name) : 0;
}

/* Under the volume's lock. 1 removed, 0 in use. */
static int remove_unused(struct store *store, const char *name, char ret_user[BERTH_ID_TEXT])
{
    autostrings char **users = NULL;
    char path[BERTH_NAME_MAX + 24], trash[BERTH_ID_TEXT];
    int r = living_users(store, name, &users);
    if (r < 0)
        return r;
    if (users[0]) {
        snprintf(ret_user, BERTH_ID_TEXT, "%s", users[0]);
        return 0;
    }
    r = id_make(trash);
    if (r < 0)
        return r;
    if (renameat2(store->volumes_fd, name, store->trash_fd, trash, RENAME_NOREPLACE) < 0)
        return -errno;
    crash_point("volume.removed");
    use_kind(name, path);
    unlinkat(store->leases_fd, path, AT_REMOVEDIR);
    return 1;
}

int volume_remove(struct store *store, const char *name, struct berth_error *err)
{
    char user[BERTH_ID_TEXT];
    autoclose int lock = -1;
    int r = lock_volume(store, name, &lock, err);
    if (r < 0)
        return r;
    r = remove_unused(store, name, user);
    if (r == -ENOENT)
        return missing(name, err);
    if (r < 0)
        return fail_os(err, r, name, "remove volume \"%s\"", name);
    if (r == 0) {
        char label[BERTH_NAME_MAX + 8];
        label_of(store, user, label);
        return fail(err, BERTH_WRONG_STATE, name, "volume \"%s\" is used by workload \"%s\"", name, label);
    }
    return 0;
}

int volume_release_anonymous(struct store *store, const char *name, const char *id)
{
    char user[BERTH_ID_TEXT], kind[BERTH_NAME_MAX + 24];
    autoclose int lock = claim_lock(store, "volume", name);
    json_t *json;
    if (lock < 0)
        return lock;
    use_kind(name, kind);
    struct berth_error err;
    int r = load_volume(store, name, &json, &err);
    if (r < 0) /* gone, or nothing that we understand: it stays for a person to look at */
        return r == BERTH_NO_MEMORY ? -ENOMEM : 0;
    bool anonymous = json_is_true(json_object_get(json, "anonymous"));
    json_decref(json);
    autoclose int dir_fd = -1;
    if (!anonymous)
        return 0;
    autofree char *folder = format_text("leases/%s", kind);
    if (!folder)
        return -ENOMEM;
    dir_fd = open_folder_at(store->root_fd, folder);
    if (dir_fd >= 0 && (r = claim_release(store, kind, dir_fd, id, id)) < 0)
        return r;
    r = remove_unused(store, name, user);
    return r == -ENOENT ? 0 : r < 0 ? r : 0;
}
