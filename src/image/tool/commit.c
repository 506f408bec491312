/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit: an image, one layer higher: what a workload has changed in its root.
 *
 * overlayfs keeps just that in a folder of its own. Layers below stay as they are, by digest, so that
 * a push of the new image sends one layer.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/manifest.h"
#include "image/tool/work.h"
#include "model/plan.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* ---- outside */

/* The plan's folders are those of the image's layers; one that comes twice is there once. */
static bool is_base(const struct work *w, const struct record *r)
{
    char *const *folders = w->plan->root.layers;
    size_t used = 0, n = strings_count(folders);
    for (size_t i = 0; r->diff_ids[i]; i++) {
        bool again = false;
        for (size_t k = i + 1; r->diff_ids[k]; k++)
            again |= strcmp(r->diff_ids[i], r->diff_ids[k]) == 0;
        if (again)
            continue;
        if (used == n || !strstr(folders[used], r->diff_ids[i] + 7))
            return false;
        used++;
    }
    return used == n;
}

static int find_base(struct work *w, struct berth_error *err)
{
    autostrings char **files = NULL;
    int r = record_files(w->images_fd, &files, err);
    w->base = calloc(1, sizeof *w->base);
    if (r == 0 && !w->base)
        return fail_memory(err);
    for (size_t i = 0; r == 0 && files[i]; i++) {
        struct record one = {0};
        if (record_read(w->images_fd, files[i], &one, NULL) < 0)
            continue;
        if (is_base(w, &one)) {
            *w->base = one;
            return 0;
        }
        record_clear(&one);
    }
    return r < 0 ? r : fail(err, BERTH_NOT_FOUND, w->arguments[0], "the image that the workload was made of is not here any more");
}

static int normal_reference(struct work *w, struct berth_error *err)
{
    struct reference name = {0};
    int r = reference_parse(w->arguments[1], &w->berth_toml->images, &name, err);
    if (r < 0)
        return r;
    w->reference = reference_print(&name); /* kept until the end of the program */
    bool has_digest = name.digest != NULL;
    reference_clear(&name);
    return !w->reference ? fail_memory(err)
         : has_digest ? fail(err, BERTH_INVALID, w->arguments[1], "a new name can't have a digest: %s", w->arguments[1]) : 0;
}

int commit_prepare(struct work *w, struct berth_error *err)
{
    int r = normal_reference(w, err);
    if (r == 0)
        r = read_config_option(w, err);
    if (r == 0)
        r = workload_hold(w, err);
    if (r == 0 && !w->plan->root.upper)
        r = fail(err, BERTH_INVALID, w->arguments[0], "its root is read-only: there are no changes");
    if (r == 0)
        r = find_base(w, err);
    if (r == 0 && (w->folder_fd = open(w->plan->root.upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        r = fail_os(err, errno, w->plan->root.upper, "open the changes of the workload");
    return r;
}

/* ---- in the jail: the config */

static int wrong_change(struct berth_error *err, const char *why)
{
    return fail(err, BERTH_INVALID, "config", "the changes of the image's config: %s", why);
}

/* "NAME=VALUE": one that is there is replaced. */
static void merge_env(json_t *into, const json_t *from)
{
    size_t i, k;
    json_t *one, *old;
    json_array_foreach(from, i, one) {
        const char *text = json_string_value(one);
        size_t n = text ? strcspn(text, "=") : 0;
        json_array_foreach(into, k, old)
            if (text && json_is_string(old) && strncmp(json_string_value(old), text, n) == 0 && json_string_value(old)[n] == '=')
                break;
        if (k < json_array_size(into))
            json_array_set(into, k, one);
        else if (text)
            json_array_append(into, one);
    }
}

static int merge(const struct work *w, json_t *config, struct berth_error *err)
{
    json_error_t where;
    json_t *changes = w->config_text ? json_loads(w->config_text, JSON_REJECT_DUPLICATES, &where) : json_object();
    json_t *inner = json_object_get(config, "config");
    if (!json_is_object(changes)) {
        json_decref(changes);
        return wrong_change(err, "they are not a JSON object");
    }
    if (!json_is_object(inner))
        json_object_set_new(config, "config", inner = json_object());
    const json_t *whole = json_object_get(changes, "config");
    const char *key;
    json_t *value;
    json_object_foreach(json_is_object(whole) ? (json_t *)whole : changes, key, value) {
        json_t *old = json_object_get(inner, key);
        if (strcmp(key, "Env") == 0 && json_is_array(old) && json_is_array(value))
            merge_env(old, value);
        else if (json_is_object(old) && json_is_object(value))
            json_object_update(old, value);
        else
            json_object_set(inner, key, value);
    }
    json_decref(changes);
    return 0;
}

static int add_history(const struct work *w, json_t *config, const char *created)
{
    json_t *history = json_object_get(config, "history");
    if (!json_is_array(history))
        json_object_set_new(config, "history", history = json_array());
    json_t *step = json_pack("{ss ss}", "created", created, "created_by", "berth commit");
    if (w->message)
        json_object_set_new(step, "comment", json_string(w->message));
    if (w->author) {
        json_object_set_new(step, "author", json_string(w->author));
        json_object_set_new(config, "author", json_string(w->author));
    }
    return json_array_append_new(history, step);
}

static int make_config(const struct work *w, json_t *config, const char *diff_id, char **ret, struct berth_error *err)
{
    char created[40];
    time_print(now_usec(), created);
    json_object_set_new(config, "created", json_string(created));
    int r = merge(w, config, err);
    if (r < 0)
        return r;
    json_t *ids = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    if (json_array_append_new(ids, json_string(diff_id)) < 0 || add_history(w, config, created) < 0 ||
        !(*ret = json_dumps(config, JSON_COMPACT)))
        return fail(err, BERTH_INVALID, "config", "the image's config can't be written (is --message or --author UTF-8?)");
    return 0;
}

/* ---- in the jail: layers */

/* How a blob is compressed, by its media type. */
static int compression_by_type(const char *type)
{
    return ends_with(type, "gzip") ? GZIP : ends_with(type, "zstd") ? ZSTD : PLAIN;
}

static int base_layers(struct work *w, struct layer *layers, struct berth_error *err)
{
    struct manifest m = {0};
    json_t *document = NULL;
    char path[96];
    blob_path(w->base->manifest, path);
    int r = document_read(w->images_fd, path, IMAGE_MAX_MANIFEST_BYTES, w->base->manifest, 0, NULL, NULL, &document, err);
    if (r == 0)
        r = manifest_read(document, path, &m, err);
    if (r == 0 && m.n != strings_count(w->base->diff_ids))
        r = fail(err, BERTH_CORRUPT, path, "the image's manifest and config differ (berth image verify)");
    for (size_t i = 0; r == 0 && i < m.n; i++) {
        struct layer *l = &layers[i];
        *l = (struct layer){.in_fd = -1, .folder_fd = -1, .notes_fd = -1, .blob_bytes = m.layers[i].size};
        memcpy(l->diff_id, w->base->diff_ids[i], DIGEST_TEXT);
        memcpy(l->blob, m.layers[i].digest, DIGEST_TEXT);
        if (layer_known(w->images_fd, l) < 0)
            r = fail(err, BERTH_CORRUPT, l->diff_id, "a layer of the image is missing: %s", l->diff_id);
        l->stream.compression = compression_by_type(m.layers[i].media_type);
        l->what = l->diff_id;
    }
    manifest_clear(&m);
    return r;
}

static int read_base_config(struct work *w, json_t **ret, struct berth_error *err)
{
    char path[96];
    blob_path(w->base->id, path);
    return document_read(w->images_fd, path, IMAGE_MAX_CONFIG_BYTES, w->base->id, 0, NULL, NULL, ret, err);
}

int commit_run(struct work *w, struct berth_error *err)
{
    size_t n = strings_count(w->base->diff_ids);
    autofree struct layer *layers = calloc(n + 1, sizeof *layers);
    autofree size_t *order = calloc(n + 1, sizeof *order);
    autofree char *text = NULL;
    autoclose int locks_fd = -1;
    json_t *config = NULL;
    if (!layers || !order)
        return fail_memory(err);
    if (n >= IMAGE_MAX_LAYERS)
        return fail(err, BERTH_TOO_BIG, w->reference, "an image has at most %d layers", IMAGE_MAX_LAYERS);
    for (size_t i = 0; i <= n; i++)
        order[i] = i;
    int r = base_layers(w, layers, err);
    if (r == 0)
        r = need_layers(w, layers, n, w->base->manifest, w->base->id, err);
    struct layer *own = &layers[n];
    *own = (struct layer){.in_fd = -1, .folder_fd = w->folder_fd, .notes_fd = -1, .deflate = true, .unpack = true, .keep = true,
                          .what = "the changes"};
    if (r == 0)
        r = layers_make(w, own, 1, err);
    if (r == 0)
        r = read_base_config(w, &config, err);
    if (r == 0)
        r = make_config(w, config, own->diff_id, &text, err);
    json_decref(config);
    if (r == 0)
        r = lock_layers(w, own, 1, true, &locks_fd, err);
    char *references[] = {(char *)w->reference, NULL};
    struct draft draft = {.references = references, .config = text, .config_size = text ? strlen(text) : 0, .layers = layers,
                          .order = order, .n_order = n + 1, .created_usec = now_usec()};
    return r == 0 ? draft_commit(w, &draft, err) : r;
}
