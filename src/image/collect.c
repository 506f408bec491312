/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and uses of images, and removing what nothing needs any more.
 *
 * Nothing is counted: what is needed is found anew each time, from the records, from the leases of
 * workloads and from what those who are making images wrote down. Each of these is written under the
 * images' lock, held shared; the collector holds it alone, so it can't take what is about to be used.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/image.h"
#include "image/record.h"
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define PARTIAL_SECONDS 86400
#define LEASE "image-use" /* key: the image's id in hex, ".", the workload's id */

int image_use(struct store *store, const struct image *image, const char *id, struct berth_error *err)
{
    autoclose int images_fd = images_open(store);
    if (images_fd < 0)
        return fail_os(err, images_fd, "images", "open the image store");
    autoclose int lock_fd = -1;
    int r = images_lock(images_fd, false, true, &lock_fd, err);
    if (r < 0)
        return r;
    for (size_t i = 0; image->layers[i]; i++)
        if (access(image->layers[i], F_OK) < 0)
            return fail(err, BERTH_NOT_FOUND, image->reference, "image %s was removed just now",
                        image->reference);
    autofree char *key = format_text("%s.%s", image->id + 7, id);
    if (!key)
        return fail_memory(err);
    char holder[BERTH_ID_TEXT];
    r = lease_take(store, LEASE, key, id, holder, err);
    if (r < 0)
        return r;
    autofree char *file = NULL;
    struct record record = {0};
    if (*image->name && record_find(images_fd, NULL, image->name, &file, &record, NULL, NULL) == 0) {
        autofree char *path = format_text("refs/%s", file);
        if (path)
            utimensat(images_fd, path, NULL, AT_SYMLINK_NOFOLLOW); /* last used */
        record_clear(&record);
    }
    return 0;
}

/* ---- what is needed */

struct set { char **items; size_t n, room; };

static void set_free(struct set *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->items[i]);
    free(s->items);
}
#define autoset __attribute__((cleanup(set_free)))

static int set_add(struct set *s, const char *text)
{
    if (s->n == s->room) {
        size_t room = s->room ? 2 * s->room : 64;
        char **items = reallocarray(s->items, room, sizeof *items);
        if (!items)
            return -ENOMEM;
        s->items = items;
        s->room = room;
    }
    s->items[s->n] = strdup(text);
    return s->items[s->n] ? (int)(s->n++, 0) : -ENOMEM;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void set_sort(struct set *s)
{
    if (s->n)
        qsort(s->items, s->n, sizeof *s->items, compare);
}

static bool set_has(const struct set *s, const char *text)
{
    return s->n && bsearch(&text, s->items, s->n, sizeof *s->items, compare);
}

/* Every entry of a folder but "." and ".."; an absent folder is an empty one. */
static int list_folder(int at_fd, const char *path, char ***ret)
{
    autostrings char **names = calloc(1, sizeof *names);
    if (!names)
        return -ENOMEM;
    int fd = openat(at_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder && errno != ENOENT)
        return -errno;
    int r = 0;
    struct dirent *entry;
    while (folder && r == 0 && (entry = readdir(folder)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            r = strings_add(&names, entry->d_name);
    if (folder)
        closedir(folder);
    if (r == 0)
        *ret = TAKE(names);
    return r;
}

/* Ids in hex of the images that workloads use. Leases whose workload is gone don't count. */
static int used_images(struct store *store, struct set *used)
{
    autostrings char **keys = NULL;
    int r = list_folder(store_root_fd(store), "leases/" LEASE, &keys);
    for (size_t i = 0; r == 0 && keys[i]; i++) {
        char *dot = strchr(keys[i], '.');
        if (!dot)
            continue;
        autofree char *workload = format_text("workloads/%s", dot + 1), *draft = format_text("aside/%s", dot + 1);
        if (!workload || !draft)
            return -ENOMEM;
        if (faccessat(store_root_fd(store), workload, F_OK, 0) < 0 &&
            faccessat(store_root_fd(store), draft, F_OK, 0) < 0)
            continue;
        *dot = 0;
        r = set_add(used, keys[i]);
    }
    set_sort(used);
    return r;
}

static int need(const struct record *r, struct set *layers, struct set *blobs)
{
    int result = set_add(blobs, r->manifest + 7);
    if (result == 0)
        result = set_add(blobs, r->id + 7);
    for (size_t i = 0; result == 0 && r->diff_ids[i]; i++)
        result = set_add(layers, r->diff_ids[i] + 7);
    for (size_t i = 0; result == 0 && r->blobs[i]; i++)
        result = set_add(blobs, r->blobs[i] + 7);
    return result;
}

/* ---- removing */

struct report { json_t *images, *layers, *blobs; uint64_t bytes; };

/* Away into the trash, at once and whole; deleting it takes long and is somebody else's. */
static int discard(struct store *store, int images_fd, const char *kind, const char *name)
{
    autofree char *from = format_text("%s/%s", kind, name);
    autofree char *to = format_text("trash/image-%.16s-%lld", name, (long long)now_usec());
    if (!from || !to)
        return -ENOMEM;
    mkdirat(store_root_fd(store), "trash", 0700);
    return renameat(images_fd, from, store_root_fd(store), to) < 0 && errno != ENOENT ? -errno : 0;
}

static uint64_t size_of(int images_fd, const char *kind, const char *name)
{
    autofree char *path = format_text("%s/%s", kind, name), *layer = format_text("%s/%s/layer.json", kind, name);
    struct stat st;
    if (!path || !layer || fstatat(images_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    if (S_ISREG(st.st_mode))
        return (uint64_t)st.st_size;
    autofree char *data = NULL;
    size_t size = 0;
    json_t *document = file_read(images_fd, layer, 1u << 16, &data, &size) == 0
                     ? json_loadb(data, size, 0, NULL) : NULL;
    json_int_t bytes = json_integer_value(json_object_get(document, "size_bytes"));
    json_decref(document);
    return bytes > 0 ? (uint64_t)bytes : 0;
}

static int discard_unneeded(struct store *store, int images_fd, const char *kind, const struct set *needed,
                            json_t *list, uint64_t *bytes)
{
    autostrings char **names = NULL;
    int r = list_folder(images_fd, kind, &names);
    for (size_t i = 0; r == 0 && names[i]; i++) {
        if (set_has(needed, names[i]))
            continue;
        *bytes += size_of(images_fd, kind, names[i]);
        r = discard(store, images_fd, kind, names[i]);
        json_array_append_new(list, json_sprintf("sha256:%s", names[i]));
    }
    return r;
}

/* What somebody who is making an image right now wrote down: digests, a line each. A layer that is here brings
   its blob with it: its maker may not know that one's name. */
static int need_written(int images_fd, const char *aside, struct set *layers, struct set *blobs)
{
    autofree char *path = format_text("aside/%s/needs", aside), *data = NULL;
    int r = path ? file_read(images_fd, path, 1u << 20, &data, NULL) : -ENOMEM;
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    char *rest = data, *line;
    while (r == 0 && (line = strsep(&rest, "\n"))) {
        if (!*line)
            continue;
        autofree char *note = format_text("layers/%s/layer.json", line), *text = NULL;
        size_t size = 0;
        json_t *layer = note && file_read(images_fd, note, 1u << 16, &text, &size) == 0 ? json_loadb(text, size, 0, NULL) : NULL;
        const char *blob = json_string_value(json_object_get(layer, "blob"));
        r = set_add(layers, line);
        if (r == 0)
            r = set_add(blobs, line);
        if (r == 0 && blob && digest_valid(blob))
            r = set_add(blobs, blob + 7);
        json_decref(layer);
    }
    return r;
}

/* Who works in aside/ holds the lock of its folder there; what the dead left goes. */
static int look_aside(struct store *store, int images_fd, struct set *layers, struct set *blobs, bool *ret_alive)
{
    autostrings char **names = NULL;
    int r = list_folder(images_fd, "aside", &names);
    for (size_t i = 0; r == 0 && names[i]; i++) {
        autofree char *lock = format_text("aside/%s/lock", names[i]);
        autoclose int fd = lock ? openat(images_fd, lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW) : -1;
        bool alive = fd >= 0 && lock_held(fd) == 1;
        *ret_alive |= alive;
        r = alive ? need_written(images_fd, names[i], layers, blobs) : discard(store, images_fd, "aside", names[i]);
    }
    return r;
}

/* Half a layer of a pull that ended early is good for a day, or until somebody prunes. */
static int discard_partial(struct store *store, int images_fd, bool all, uint64_t *bytes)
{
    autostrings char **names = NULL;
    int r = list_folder(images_fd, "partial", &names);
    for (size_t i = 0; r == 0 && names[i]; i++) {
        autofree char *path = format_text("partial/%s", names[i]);
        struct stat st;
        if (!path || fstatat(images_fd, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        autoclose int fd = openat(images_fd, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (lock_held(fd) == 1 || (!all && now_usec() / 1000000 - st.st_mtim.tv_sec < PARTIAL_SECONDS))
            continue;
        *bytes += (uint64_t)st.st_size;
        r = discard(store, images_fd, "partial", names[i]);
    }
    return r;
}

/* Remove the records of images that may go; gather what the others need. */
static int sort_records(int images_fd, const struct set *used, bool unnamed, bool unused, struct set *layers,
                        struct set *blobs, json_t *removed, struct berth_error *err)
{
    autostrings char **files = NULL;
    int r = record_files(images_fd, &files, err);
    for (size_t i = 0; r == 0 && files[i]; i++) {
        struct record one = {0};
        r = record_read(images_fd, files[i], &one, NULL);
        if (r == -ESTALE) { /* the power was cut before it was on disk */
            r = record_unname(images_fd, files[i], false, err);
            continue;
        }
        if (r == -EBADMSG) /* what it needs can't be known: take nothing */
            return fail(err, BERTH_CORRUPT, files[i], "the record images/refs/%s is damaged; nothing was removed", files[i]);
        if (r < 0)
            return fail_os(err, r, files[i], "read the record of an image");
        bool may_go = (unused || (unnamed && !*one.reference)) && !set_has(used, one.id + 7);
        if (may_go) {
            r = record_unname(images_fd, files[i], false, err);
            json_array_append_new(removed, json_string(*one.reference ? one.reference : one.id));
        } else if (need(&one, layers, blobs) < 0) {
            r = fail_memory(err);
        }
        record_clear(&one);
    }
    return r;
}

static int collect(struct store *store, int images_fd, bool unnamed, bool unused, struct report *report,
                   struct berth_error *err)
{
    autoset struct set used = {0}, layers = {0}, blobs = {0};
    int r = used_images(store, &used);
    if (r < 0)
        return fail_os(err, r, "leases", "read which images are in use");
    r = sort_records(images_fd, &used, unnamed, unused, &layers, &blobs, report->images, err);
    if (r < 0)
        return r;
    bool alive = false;
    r = look_aside(store, images_fd, &layers, &blobs, &alive);
    set_sort(&layers);
    set_sort(&blobs);
    if (r == 0)
        r = discard_unneeded(store, images_fd, "layers", &layers, report->layers, &report->bytes);
    if (r == 0)
        r = discard_unneeded(store, images_fd, "blobs/sha256", &blobs, report->blobs, &report->bytes);
    if (r == 0)
        r = discard_partial(store, images_fd, unnamed && !alive, &report->bytes);
    return r < 0 ? fail_os(err, r, "images", "remove what no image needs") : 0;
}

/* Takes what the report holds. `r` is how it went. */
static int print_report(const struct report *report, int r, char **ret_json, struct berth_error *err)
{
    json_t *document = json_pack("{so so so sI}", "images", report->images, "layers", report->layers, "blobs",
                                 report->blobs, "freed_bytes", (json_int_t)report->bytes);
    autofree char *text = r == 0 && document ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (r == 0 && !text)
        return fail_memory(err);
    if (r == 0 && ret_json)
        *ret_json = TAKE(text);
    return r;
}

/* A commit holds the lock for a moment, verify for minutes; fcntl(2) knows no wait with an end. */
static int lock_alone(int images_fd, int *ret_fd, struct berth_error *err)
{
    int r = BERTH_AGAIN;
    for (int i = 0; r == BERTH_AGAIN && i < 50; i++) {
        if (i > 0)
            usleep(10000);
        r = images_lock(images_fd, true, false, ret_fd, err);
    }
    return r;
}

/* Layers and blobs of one kind that are not among those needed. */
static uint64_t spare_of(int images_fd, const char *kind, const struct set *needed)
{
    autostrings char **names = NULL;
    uint64_t bytes = 0;
    if (list_folder(images_fd, kind, &names) < 0)
        return 0;
    for (size_t i = 0; names[i]; i++)
        bytes += set_has(needed, names[i]) ? 0 : size_of(images_fd, kind, names[i]);
    return bytes;
}

static int needed_by_used(struct store *store, int images_fd, struct set *layers, struct set *blobs)
{
    autoset struct set used = {0};
    autostrings char **files = NULL;
    int r = used_images(store, &used);
    if (r == 0)
        r = record_files(images_fd, &files, NULL);
    for (size_t i = 0; r == 0 && files[i]; i++) {
        struct record one = {0};
        if (record_read(images_fd, files[i], &one, NULL) == 0 && set_has(&used, one.id + 7))
            r = need(&one, layers, blobs);
        record_clear(&one);
    }
    set_sort(layers);
    set_sort(blobs);
    return r;
}

int image_spare(struct store *store, uint64_t *ret_bytes, struct berth_error *err)
{
    autoset struct set layers = {0}, blobs = {0};
    autoclose int images_fd = images_open(store);
    *ret_bytes = 0;
    if (images_fd == -ENOENT)
        return 0;
    int r = images_fd < 0 ? images_fd : needed_by_used(store, images_fd, &layers, &blobs);
    if (r < 0)
        return fail_os(err, r, "images", "look which images are in use");
    *ret_bytes = spare_of(images_fd, "layers", &layers) + spare_of(images_fd, "blobs/sha256", &blobs);
    return 0;
}

int image_collect(struct store *store, bool unnamed_only, bool all_unused, char **ret_json, struct berth_error *err)
{
    struct report report = {json_array(), json_array(), json_array(), 0};
    autoclose int images_fd = images_open(store), lock_fd = -1;
    int r = images_fd == -ENOENT ? 0 : images_fd < 0 ? fail_os(err, images_fd, "images", "open the image store")
          : lock_alone(images_fd, &lock_fd, err);
    if (r == 0 && images_fd >= 0)
        r = collect(store, images_fd, unnamed_only || all_unused, all_unused, &report, err);
    return print_report(&report, r, ret_json, err);
}

/* Compressed layers whose files are here; what somebody who makes an image counts on stays. */
static int discard_layer_blobs(struct store *store, int images_fd, struct report *report, struct berth_error *err)
{
    autostrings char **files = NULL;
    autoset struct set layers = {0}, needed = {0};
    bool alive = false;
    int r = record_files(images_fd, &files, err);
    if (r == 0 && (r = look_aside(store, images_fd, &layers, &needed, &alive)) < 0)
        r = fail_os(err, r, "aside", "read what is being made");
    set_sort(&needed);
    for (size_t i = 0; r == 0 && files[i]; i++) {
        struct record one = {0};
        if (record_read(images_fd, files[i], &one, NULL) < 0)
            continue;
        for (size_t k = 0; r == 0 && one.blobs[k]; k++) {
            uint64_t bytes = set_has(&needed, one.blobs[k] + 7) ? 0 : size_of(images_fd, "blobs/sha256", one.blobs[k] + 7);
            if (bytes == 0)
                continue;
            report->bytes += bytes;
            json_array_append_new(report->blobs, json_string(one.blobs[k]));
            if ((r = discard(store, images_fd, "blobs/sha256", one.blobs[k] + 7)) < 0)
                r = fail_os(err, r, one.blobs[k], "remove the blob %s", one.blobs[k]);
        }
        record_clear(&one);
    }
    return r;
}

int image_prune_blobs(struct store *store, char **ret_json, struct berth_error *err)
{
    struct report report = {json_array(), json_array(), json_array(), 0};
    autoclose int images_fd = images_open(store), lock_fd = -1;
    int r = images_fd == -ENOENT ? 0 : images_fd < 0 ? fail_os(err, images_fd, "images", "open the image store")
          : lock_alone(images_fd, &lock_fd, err);
    if (r == 0 && images_fd >= 0)
        r = discard_layer_blobs(store, images_fd, &report, err);
    return print_report(&report, r, ret_json, err);
}

/* The name that was used longest ago: its file in refs/, or NULL. */
static int find_oldest(int images_fd, const struct set *used, const char *keep, char **ret_file, char **ret_name, char **ret_id,
                       struct berth_error *err)
{
    autostrings char **files = NULL;
    int64_t oldest = INT64_MAX;
    int r = record_files(images_fd, &files, err);
    for (size_t i = 0; r == 0 && files[i]; i++) {
        struct record one = {0};
        if (record_read(images_fd, files[i], &one, NULL) < 0)
            continue;
        if (one.used_usec < oldest && !set_has(used, one.id + 7) && !(keep && strcmp(keep, one.reference) == 0)) {
            oldest = one.used_usec;
            free(*ret_file);
            free(*ret_name);
            free(*ret_id);
            *ret_file = strdup(files[i]);
            *ret_name = TAKE(one.reference);
            *ret_id = TAKE(one.id);
        }
        record_clear(&one);
    }
    return r;
}

int image_remove_oldest(struct store *store, const char *keep, char **ret_name, char **ret_id, struct berth_error *err)
{
    autoset struct set used = {0};
    autofree char *file = NULL, *name = NULL, *id = NULL;
    autoclose int images_fd = images_open(store), lock_fd = -1;
    int r = images_fd < 0 ? fail_os(err, images_fd, "images", "open the image store") : lock_alone(images_fd, &lock_fd, err);
    if (r == 0 && (r = used_images(store, &used)) < 0)
        r = fail_os(err, r, "leases", "read which images are in use");
    if (r == 0)
        r = find_oldest(images_fd, &used, keep, &file, &name, &id, err);
    if (r < 0 || !file)
        return r;
    r = record_unname(images_fd, file, false, err);
    if (r < 0)
        return r;
    *ret_name = TAKE(name);
    *ret_id = TAKE(id);
    return 1;
}

/* ---- names */

int image_untag(struct store *store, const struct reference_defaults *defaults, const char *reference, bool force,
                struct berth_error *err)
{
    autoclose int images_fd = images_open(store), lock_fd = -1;
    if (images_fd < 0 && images_fd != -ENOENT)
        return fail_os(err, images_fd, "images", "open the image store");
    autofree char *file = NULL;
    struct record record = {0};
    int r = record_find(images_fd, defaults, reference, &file, &record, NULL, err);
    if (r == 0)
        r = images_lock(images_fd, false, true, &lock_fd, err);
    if (r < 0)
        return r;
    autoset struct set used = {0};
    r = used_images(store, &used);
    int others = r < 0 ? 0 : record_others(images_fd, file, record.id, err);
    bool in_use = others == 0 && set_has(&used, record.id + 7); /* and this is its last name */
    if (others < 0)
        r = others;
    else if (r < 0)
        r = fail_os(err, r, "leases", "read which images are in use");
    else if (in_use && !force)
        r = fail(err, BERTH_WRONG_STATE, reference, "image %s is used by a workload (remove that first, or force)", reference);
    else if (*record.reference || !in_use)
        r = record_unname(images_fd, file, in_use, err);
    record_clear(&record);
    return r;
}

int image_tag(struct store *store, const struct reference_defaults *defaults, const char *source, const char *target,
              struct berth_error *err)
{
    struct reference name = {0};
    int r = reference_parse(target, defaults, &name, err);
    if (r < 0)
        return r;
    autofree char *normal = reference_print(&name);
    bool has_digest = name.digest != NULL;
    reference_clear(&name);
    if (!normal)
        return fail_memory(err);
    if (has_digest)
        return fail(err, BERTH_INVALID, target, "a new name can't have a digest: %s", target);
    autoclose int images_fd = images_open(store), lock_fd = -1;
    if (images_fd < 0 && images_fd != -ENOENT)
        return fail_os(err, images_fd, "images", "open the image store");
    if (images_fd >= 0 && (r = images_lock(images_fd, false, true, &lock_fd, err)) < 0)
        return r;
    autofree char *file = NULL;
    struct record record = {0};
    json_t *settings = NULL;
    r = record_find(images_fd, defaults, source, &file, &record, &settings, err);
    if (r < 0)
        return r;
    free(record.reference);
    record.reference = TAKE(normal);
    r = record_write(images_fd, &record, settings, err);
    record_clear(&record);
    json_decref(settings);
    return r;
}
