/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify: everything is hashed again; collect: what nothing needs is removed.
 *
 * A layer's files are compared with what its blob gives when it is unpacked anew, both packed into a
 * tar that is only hashed: so a changed owner, time or attribute is found as well as a changed byte.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/manifest.h"
#include "image/tool/pack.h"
#include "image/tool/work.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define LOOKS       3 /* at a record that others may be writing anew */
#define OBJECT_TEXT 600

/* Others remove images meanwhile: what is no longer there is not damaged. */
static bool is_gone(const struct work *w, const char *folder, const char *name)
{
    autofree char *path = format_text("%s/%s", folder, name);
    return path && faccessat(w->images_fd, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

struct tally { json_int_t blobs, layers, references, unchecked, wrong; };

static void found_wrong(struct tally *t, const char *kind, const char *object, const char *detail)
{
    t->wrong++;
    answer(json_pack("{ss ss sb ss}", "kind", kind, "object", object, "ok", false, "detail", detail));
}

static int names_in(int at_fd, const char *path, char ***ret, struct berth_error *err)
{
    autostrings char **names = calloc(1, sizeof *names);
    int fd = openat(at_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = names ? 0 : -ENOMEM;
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder)
        return fail_os(err, errno, path, "list images/%s", path);
    struct dirent *entry;
    while (r == 0 && (entry = readdir(folder)))
        if (entry->d_name[0] != '.')
            r = strings_add(&names, entry->d_name);
    closedir(folder);
    *ret = TAKE(names);
    return r < 0 ? fail_memory(err) : 0;
}

static int verify_blob(const struct work *w, const char *hex, struct tally *t)
{
    char path[96], digest[DIGEST_TEXT + 64], is[DIGEST_TEXT];
    struct berth_error why = {0};
    snprintf(digest, sizeof digest, "sha256:%.64s", hex);
    t->blobs++;
    blob_path(digest, path);
    autoclose int fd = openat(w->images_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && digest_valid(digest) && is_gone(w, "blobs/sha256", hex))
        t->blobs--;
    else if (!digest_valid(digest) || fd < 0)
        found_wrong(t, "blob", hex, "it is no blob");
    else if (stream_copy(fd, -1, UINT64_MAX, is, NULL, &why) < 0)
        found_wrong(t, "blob", digest, why.message);
    else if (strcmp(is, digest) != 0)
        found_wrong(t, "blob", digest, is);
    progress(w, "read", digest, 0);
    return 0;
}

static int to_hasher(void *user, const void *data, size_t size, struct berth_error *err)
{
    hasher_add(user, data, size);
    return 0;
}

static int hash_tree(const struct work *w, const char *path, char ret[DIGEST_TEXT], struct berth_error *err)
{
    autoclose int fd = openat(w->images_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    autohasher struct hasher *hasher = hasher_new();
    struct pack_options options = {.overlay = true};
    struct pack_result packed;
    if (fd < 0 || !hasher)
        return fd < 0 ? fail_os(err, errno, path, "open images/%s", path) : fail_memory(err);
    int r = pack_tar(fd, ".", &options, to_hasher, hasher, &packed, err);
    if (r == 0)
        hasher_end(TAKE(hasher), ret);
    return r;
}

static int compare_layer(struct work *w, struct layer *l, struct berth_error *why)
{
    char there[128], anew[128], a[DIGEST_TEXT], b[DIGEST_TEXT];
    l->unpack = l->text = true; /* a module may have come in its text form */
    l->what = l->diff_id;
    int r = layers_make(w, l, 1, why);
    if (r < 0)
        return r;
    snprintf(there, sizeof there, "layers/%.64s/fs", l->diff_id + 7);
    snprintf(anew, sizeof anew, "%s/layer-%d/fs", w->aside, l->number);
    r = hash_tree(w, there, a, why);
    if (r == 0)
        r = hash_tree(w, anew, b, why);
    if (r == 0 && strcmp(a, b) != 0)
        r = fail(why, BERTH_CORRUPT, l->diff_id, "its files are not those of its archive");
    snprintf(anew, sizeof anew, "%s/layer-%d", w->aside, l->number);
    tree_remove(w->images_fd, anew);
    return r;
}

static int verify_layer(struct work *w, const char *hex, struct tally *t)
{
    struct layer l = {.in_fd = -1, .folder_fd = -1};
    struct berth_error why = {0};
    char digest[DIGEST_TEXT + 64], path[96];
    snprintf(digest, sizeof digest, "sha256:%.64s", hex);
    t->layers++;
    if (!digest_valid(digest)) {
        found_wrong(t, "layer", hex, "it is no layer");
        return 0;
    }
    memcpy(l.diff_id, digest, DIGEST_TEXT);
    if (layer_known(w->images_fd, &l) < 0) {
        if (is_gone(w, "layers", hex))
            t->layers--;
        else
            found_wrong(t, "layer", digest, "its layer.json is missing or damaged");
        return 0;
    }
    blob_path(l.blob, path);
    l.in_fd = openat(w->images_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (l.in_fd < 0)
        t->unchecked++; /* its blob was pruned: nothing to compare with */
    else if (compare_layer(w, &l, &why) < 0 && !is_gone(w, "layers", hex))
        found_wrong(t, "layer", digest, why.message);
    close_fd(&l.in_fd);
    return 0;
}

static bool same_lists(char *const *a, char *const *b)
{
    size_t i = 0;
    while (a[i] && b[i] && strcmp(a[i], b[i]) == 0)
        i++;
    return !a[i] && !b[i];
}

static int check_documents(const struct work *w, const struct record *r, struct berth_error *why)
{
    char path[96];
    json_t *config = NULL, *document = NULL;
    autostrings char **diff_ids = NULL;
    blob_path(r->id, path);
    int code = document_read(w->images_fd, path, IMAGE_MAX_CONFIG_BYTES, r->id, 0, NULL, NULL, &config, why);
    blob_path(r->manifest, path);
    if (code == 0)
        code = document_read(w->images_fd, path, IMAGE_MAX_MANIFEST_BYTES, r->manifest, 0, NULL, NULL, &document, why);
    struct manifest m = {0};
    if (code == 0)
        code = manifest_read(document, "manifest", &m, why);
    if (code == 0)
        code = manifest_diff_ids(&m, config, "manifest", &diff_ids, why);
    json_decref(config);
    if (code == 0 && !same_lists(diff_ids, r->diff_ids))
        code = fail(why, BERTH_CORRUPT, r->id, "its layers are not those of its config");
    if (code == 0 && strcmp(m.config.digest, r->id) != 0)
        code = fail(why, BERTH_CORRUPT, r->id, "its manifest belongs to another config");
    manifest_clear(&m);
    for (size_t i = 0; code == 0 && r->diff_ids[i]; i++) {
        snprintf(path, sizeof path, "layers/%.64s/fs", r->diff_ids[i] + 7);
        if (faccessat(w->images_fd, path, F_OK, 0) < 0)
            code = fail(why, BERTH_CORRUPT, r->diff_ids[i], "the layer %s is missing", r->diff_ids[i]);
    }
    return code;
}

/* What is wrong with it; false: nothing. */
static bool reference_is_wrong(const struct work *w, const char *file, char ret_object[OBJECT_TEXT], struct berth_error *why)
{
    struct record r = {0};
    bool wrong = true;
    snprintf(ret_object, OBJECT_TEXT, "%s", file);
    if (record_read(w->images_fd, file, &r, NULL) < 0) {
        fail(why, BERTH_CORRUPT, file, "its record is damaged");
    } else {
        snprintf(ret_object, OBJECT_TEXT, "%s", *r.reference ? r.reference : r.id);
        wrong = check_documents(w, &r, why) < 0;
    }
    record_clear(&r);
    return wrong;
}

static int verify_reference(const struct work *w, const char *file, struct tally *t)
{
    char object[OBJECT_TEXT];
    struct berth_error why = {0};
    bool wrong = true;
    for (int looks = 0; wrong && looks < LOOKS; looks++)
        wrong = reference_is_wrong(w, file, object, &why);
    if (wrong && is_gone(w, "refs", file))
        return 0;
    t->references++;
    if (wrong)
        found_wrong(t, "reference", object, why.message);
    return 0;
}

int verify_run(struct work *w, struct berth_error *err)
{
    struct tally t = {0};
    autostrings char **blobs = NULL, **layers = NULL, **files = NULL;
    int r = names_in(w->images_fd, "blobs/sha256", &blobs, err);
    if (r == 0)
        r = names_in(w->images_fd, "layers", &layers, err);
    if (r == 0)
        r = record_files(w->images_fd, &files, err);
    for (size_t i = 0; r == 0 && blobs[i]; i++)
        r = verify_blob(w, blobs[i], &t);
    for (size_t i = 0; r == 0 && layers[i]; i++)
        r = verify_layer(w, layers[i], &t);
    for (size_t i = 0; r == 0 && files[i]; i++)
        r = verify_reference(w, files[i], &t);
    if (r < 0)
        return r;
    answer(json_pack("{sI sI sI sI sI}", "blobs", t.blobs, "layers", t.layers, "references", t.references, "unchecked",
                     t.unchecked, "wrong", t.wrong));
    return t.wrong ? fail(err, BERTH_CORRUPT, "images", "%lld of %lld things are damaged", (long long)t.wrong,
                          (long long)(t.blobs + t.layers + t.references)) : 0;
}

int collect_now(struct work *w, bool unnamed, bool unused, char **ret_report, struct berth_error *err)
{
    int r = image_collect(w->store, unnamed, unused, ret_report, err);
    if (r < 0)
        return r;
    autostrings char **names = NULL;
    autoclose int trash_fd = openat(store_root_fd(w->store), "trash", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (trash_fd >= 0)
        r = names_in(trash_fd, ".", &names, err);
    for (size_t i = 0; r == 0 && names && names[i]; i++)
        if (starts_with(names[i], "image-"))
            tree_remove(trash_fd, names[i]);
    return r;
}

int collect_prepare(struct work *w, struct berth_error *err)
{
    autofree char *report = NULL;
    int r = collect_now(w, w->unnamed, w->unused, &report, err);
    if (r == 0)
        answer(json_loads(report, 0, NULL));
    return r;
}
