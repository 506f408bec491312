/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images for those who run them: found, listed, described.
 *
 * Only reading. Finding one for a create is one small file and a stat for each layer.
 */
#include "image/image.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/config.h"
#include "image/record.h"
#include "image/tool.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

void image_free(struct image *image)
{
    if (!image)
        return;
    free(image->reference);
    free(image->name);
    free(image->digest);
    free(image->id);
    strings_free(image->layers);
    strings_free(image->diff_ids);
    image_config_clear(&image->config);
    free(image);
}

static char *familiar(const char *normal, const struct reference_defaults *defaults)
{
    struct reference r = {0};
    if (!*normal || reference_parse(normal, NULL, &r, NULL) < 0)
        return strdup(normal);
    char *text = reference_familiar(&r, defaults);
    reference_clear(&r);
    return text;
}

/* A layer that comes twice counts where it is highest: overlayfs takes no folder twice, and what the
   lower one brings is all under the upper one. */
static bool comes_again(char *const *diff_ids, size_t i)
{
    for (size_t j = i + 1; diff_ids[j]; j++)
        if (strcmp(diff_ids[i], diff_ids[j]) == 0)
            return true;
    return false;
}

static int fill_layers(struct store *store, struct image *image, struct berth_error *err)
{
    size_t n = strings_count(image->diff_ids);
    image->layers = calloc(n + 1, sizeof *image->layers);
    if (!image->layers)
        return fail_memory(err);
    for (size_t i = 0, used = 0; i < n; i++) {
        if (comes_again(image->diff_ids, i))
            continue;
        char *path = format_text("%s/images/layers/%s/fs", store_root(store), image->diff_ids[i] + 7);
        if (!path)
            return fail_memory(err);
        image->layers[used++] = path;
    }
    return 0;
}

static int check_layers(struct store *store, const struct image *image, struct berth_error *err)
{
    for (size_t i = 0; image->layers[i]; i++) {
        struct stat st;
        const char *below = image->layers[i] + strlen(store_root(store)) + 1;
        if (fstatat(store_root_fd(store), below, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
            return fail(err, BERTH_CORRUPT, image->reference,
                        "image %s: a layer is missing (%s); pull or load it again", image->reference,
                        image->layers[i]);
    }
    return 0;
}

/* One tar whose program is a module: what tools made that knew of no artifacts. */
static bool runs_module(const struct image *image)
{
    char *const *argv = image->config.entrypoint && image->config.entrypoint[0] ? image->config.entrypoint : image->config.cmd;
    return argv && argv[0] && ends_with(argv[0], ".wasm") && image->diff_ids[0] && !image->diff_ids[1];
}

static bool is_wasm(const struct record *r)
{
    return strcmp(r->architecture, "wasm") == 0 || strcmp(r->os, "wasip1") == 0 ||
           strcmp(r->os, "wasip2") == 0;
}

/* Takes what it can out of the record. */
static int from_record(const struct reference_defaults *defaults, struct record *r, struct image **ret, struct berth_error *err)
{
    struct image *image = calloc(1, sizeof *image);
    if (!image)
        return fail_memory(err);
    *ret = image;
    image->reference = familiar(r->reference, defaults);
    image->name = TAKE(r->reference);
    image->wasm = is_wasm(r);
    image->id = TAKE(r->id);
    image->digest = TAKE(r->manifest);
    image->diff_ids = TAKE(r->diff_ids);
    image->size_bytes = r->size_bytes;
    image->created_usec = r->created_usec;
    image->used_usec = r->used_usec;
    return image->reference ? 0 : fail_memory(err);
}

bool image_is_here(struct store *store, const struct reference_defaults *defaults, const char *reference, const char *platform)
{
    autoclose int images_fd = images_open(store);
    autofree char *file = NULL;
    struct record r = {0};
    if (images_fd < 0 || record_find(images_fd, defaults, reference, &file, &r, NULL, NULL) < 0)
        return false;
    autofree char *is = format_text("%s/%s/%s", r.os, r.architecture, r.variant);
    size_t n = platform ? strlen(platform) : 0;
    bool fits = !platform || (is && strncmp(is, platform, n) == 0 && (!is[n] || is[n] == '/'));
    record_clear(&r);
    return fits;
}

int image_find(struct store *store, const struct reference_defaults *defaults, const char *reference,
               struct image **ret_image, struct berth_error *err)
{
    autoclose int images_fd = images_open(store);
    if (images_fd < 0 && images_fd != -ENOENT)
        return fail_os(err, images_fd, "images", "open the image store");
    struct record record = {0};
    json_t *settings = NULL;
    autofree char *file = NULL;
    int r = record_find(images_fd, defaults, reference, &file, &record, &settings, err);
    if (r < 0)
        return r;
    struct image *image = NULL;
    r = from_record(defaults, &record, &image, err);
    record_clear(&record);
    if (r == 0)
        r = fill_layers(store, image, err);
    if (r == 0)
        r = image_config_read(settings, &image->config, err);
    if (r == 0)
        image->wasm = image->wasm || runs_module(image);
    json_decref(settings);
    if (r == 0)
        r = check_layers(store, image, err);
    if (r < 0)
        image_free(image);
    else
        *ret_image = image;
    return r;
}

static int newest_first(const void *a, const void *b)
{
    const struct image *x = *(struct image *const *)a, *y = *(struct image *const *)b;
    if (x->created_usec != y->created_usec)
        return x->created_usec < y->created_usec ? 1 : -1;
    return strcmp(x->reference, y->reference);
}

/* A record as an image of a list: the config holds only what says which machine it is for. */
static int list_one(const struct reference_defaults *defaults, int images_fd, const char *file, struct image **ret,
                    struct berth_error *err)
{
    struct record record = {0};
    int r = record_read(images_fd, file, &record, NULL);
    if (r == -ENOMEM)
        return fail_memory(err);
    if (r < 0) /* removed meanwhile, or damaged: `image verify` tells */
        return 0;
    r = from_record(defaults, &record, ret, err);
    if (r == 0) {
        (*ret)->config.architecture = TAKE(record.architecture);
        (*ret)->config.os = TAKE(record.os);
        (*ret)->config.variant = TAKE(record.variant);
    }
    record_clear(&record);
    return r;
}

int image_list(struct store *store, const struct reference_defaults *defaults, struct image ***ret_images, size_t *ret_n,
               struct berth_error *err)
{
    autoclose int images_fd = images_open(store);
    if (images_fd < 0 && images_fd != -ENOENT)
        return fail_os(err, images_fd, "images", "open the image store");
    autostrings char **files = NULL;
    int r = record_files(images_fd, &files, err);
    if (r < 0)
        return r;
    struct image **images = calloc(strings_count(files) + 1, sizeof(struct image *));
    if (!images)
        return fail_memory(err);
    size_t n = 0;
    for (size_t i = 0; files[i]; i++) {
        r = list_one(defaults, images_fd, files[i], &images[n], err);
        n += images[n] != NULL;
        if (r < 0) {
            while (n > 0)
                image_free(images[--n]);
            free(images);
            return r;
        }
    }
    qsort(images, n, sizeof *images, newest_first);
    *ret_images = images;
    *ret_n = n;
    return 0;
}

static json_t *read_document(int images_fd, const char *digest, size_t max)
{
    autofree char *path = format_text("blobs/sha256/%s", digest + 7), *data = NULL;
    size_t size = 0;
    if (!path || file_read(images_fd, path, max, &data, &size) < 0)
        return json_null();
    json_t *document = json_loadb(data, size, JSON_REJECT_DUPLICATES, NULL);
    return document ? document : json_null();
}

static json_t *describe_layers(struct store *store, int images_fd, const struct record *r)
{
    json_t *list = json_array();
    for (size_t i = 0; r->diff_ids[i]; i++) {
        autofree char *path = format_text("layers/%s/layer.json", r->diff_ids[i] + 7), *data = NULL;
        size_t size = 0;
        json_t *layer = path && file_read(images_fd, path, 1u << 16, &data, &size) == 0
                      ? json_loadb(data, size, 0, NULL) : NULL;
        if (!json_is_object(layer)) {
            json_decref(layer);
            layer = json_object();
        }
        autofree char *folder = format_text("%s/images/layers/%s/fs", store_root(store), r->diff_ids[i] + 7);
        json_object_set_new(layer, "diff_id", json_string(r->diff_ids[i]));
        json_object_set_new(layer, "path", json_string(folder ? folder : ""));
        json_array_append_new(list, layer);
    }
    return list;
}

/* All names of the image `id`, in people's form. */
static int names_of(int images_fd, const struct reference_defaults *defaults, const char *id, json_t *names,
                    struct berth_error *err)
{
    autostrings char **files = NULL;
    int r = record_files(images_fd, &files, err);
    for (size_t i = 0; r == 0 && files[i]; i++) {
        struct record one = {0};
        if (record_read(images_fd, files[i], &one, NULL) < 0)
            continue;
        autofree char *name = strcmp(one.id, id) == 0 && *one.reference ? familiar(one.reference, defaults) : NULL;
        if (name)
            json_array_append_new(names, json_string(name));
        record_clear(&one);
    }
    return r;
}

int image_inspect(struct store *store, const struct reference_defaults *defaults, const char *reference, char **ret_json,
                  struct berth_error *err)
{
    autoclose int images_fd = images_open(store);
    if (images_fd < 0 && images_fd != -ENOENT)
        return fail_os(err, images_fd, "images", "open the image store");
    struct record record = {0};
    autofree char *file = NULL;
    int r = record_find(images_fd, defaults, reference, &file, &record, NULL, err);
    if (r < 0)
        return r;
    json_t *names = json_array();
    r = names_of(images_fd, defaults, record.id, names, err);
    autofree char *name = familiar(record.reference, defaults);
    char created[40];
    time_print(record.created_usec, created);
    json_t *document = json_pack(
        "{ss ss so ss ss sI ss ss ss so so so}", "reference", name ? name : "", "id", record.id,
        "references", names, "digest", record.manifest, "created", created, "size_bytes",
        (json_int_t)record.size_bytes, "architecture", record.architecture, "os", record.os, "variant",
        record.variant, "manifest", read_document(images_fd, record.manifest, IMAGE_MAX_MANIFEST_BYTES),
        "config", read_document(images_fd, record.id, IMAGE_MAX_CONFIG_BYTES), "layers",
        describe_layers(store, images_fd, &record));
    record_clear(&record);
    char *text = r == 0 && document ? json_dumps(document, JSON_INDENT(2)) : NULL;
    json_decref(document);
    if (!text)
        return r < 0 ? r : fail_memory(err);
    *ret_json = text;
    return 0;
}
