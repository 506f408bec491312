/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents of images, read with suspicion and written durably.
 *
 * Order of a commit: everything aside, renames into place, last the record: before it there is no image,
 * after it there is a whole one. Layers and record name this boot, until store_settle() has synced them: after
 * a power cut what names another boot is absent (doc/adr/0010-images-are-synced-afterwards.md).
 */
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "image/config.h"
#include "image/tool/work.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"
#define CONFIG_TYPE "application/vnd.oci.image.config.v1+json"
#define MODULE_TYPE "application/wasm"
#define MODULE_CONFIG_TYPE "application/vnd.wasm.config.v0+json"
#define PLAIN_WORD "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
#define LAYER_TYPE "application/vnd.oci.image.layer.v1.tar"

/* ---- answers */

sigset_t cancel_signals(void)
{
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    return mask;
}

void answer(json_t *line)
{
    autofree char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    autofree char *whole = text ? format_text("%s\n", text) : NULL;
    if (whole)
        fd_write_all(STDOUT_FILENO, whole, strlen(whole));
}

void progress_of(const struct work *w, const char *step, const char *object, uint64_t bytes, uint64_t total_bytes)
{
    if (!w->progress)
        return;
    json_t *line = json_pack("{ss ss sI}", "step", step, "object", object, "bytes", (json_int_t)bytes);
    if (line && total_bytes)
        json_object_set_new(line, "total_bytes", json_integer((json_int_t)total_bytes));
    autofree char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    autofree char *whole = text ? format_text("%s\n", text) : NULL;
    if (whole)
        fd_write_all(STDERR_FILENO, whole, strlen(whole));
}

void progress(const struct work *w, const char *step, const char *object, uint64_t bytes)
{
    progress_of(w, step, object, bytes, 0);
}

/* ---- platforms */

int platform_parse(const char *text, struct platform *ret, struct berth_error *err)
{
    struct platform p = {0};
    char *const parts[] = {p.os, p.architecture, p.variant};
    const char *rest = text;
    size_t i = 0;
    for (; *rest && i < ARRAY_SIZE(parts); i++) {
        size_t n = strcspn(rest, "/");
        if (n == 0 || n >= sizeof p.os || strspn(rest, "abcdefghijklmnopqrstuvwxyz0123456789_-.") < n)
            break;
        memcpy(parts[i], rest, n);
        rest += n + (rest[n] == '/');
    }
    if (*rest || i < 2)
        return fail(err, BERTH_INVALID, text, "\"%.80s\" is not a platform: OS/ARCHITECTURE[/VARIANT], as linux/arm64", text);
    *ret = p;
    return 0;
}

void platform_here(struct platform *ret)
{
    static const struct { const char *machine, *architecture, *variant; } names[] = {
        {"x86_64", "amd64", ""}, {"aarch64", "arm64", "v8"}, {"armv7l", "arm", "v7"},
        {"armv6l", "arm", "v6"}, {"i686", "386", ""},        {"loongarch64", "loong64", ""},
    };
    struct utsname here;
    uname(&here);
    *ret = (struct platform){.os = "linux"};
    snprintf(ret->architecture, sizeof ret->architecture, "%.31s", here.machine);
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(here.machine, names[i].machine) == 0) {
            snprintf(ret->architecture, sizeof ret->architecture, "%s", names[i].architecture);
            snprintf(ret->variant, sizeof ret->variant, "%s", names[i].variant);
        }
}

/* ---- documents */

int open_below(int folder_fd, const char *path, struct berth_error *err)
{
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    autoclose int fd = (int)syscall(SYS_openat2, folder_fd, path, &how, sizeof how);
    struct stat st;
    if (fd < 0 && (errno == EXDEV || errno == ELOOP))
        return fail(err, BERTH_CORRUPT, path, "%.200s leads out of the image", path);
    if (fd < 0)
        return errno == ENOENT ? fail(err, BERTH_NOT_FOUND, path, "%.200s is missing in the image", path)
                               : fail_os(err, errno, path, "open %.200s", path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return fail(err, BERTH_CORRUPT, path, "%.200s is not a file", path);
    return take_fd(&fd);
}

int document_read(int folder_fd, const char *path, size_t max, const char *digest, uint64_t size,
                  char **ret_data, size_t *ret_size, json_t **ret_document, struct berth_error *err)
{
    autoclose int fd = open_below(folder_fd, path, err);
    if (fd < 0)
        return fd;
    autofree char *data = NULL;
    size_t length = 0;
    int r = fd_read_all(fd, max, &data, &length);
    if (r == -EFBIG)
        return fail(err, BERTH_TOO_BIG, path, "%.200s is longer than %zu KiB", path, max >> 10);
    if (r < 0)
        return fail_os(err, r, path, "read %.200s", path);
    char is[DIGEST_TEXT];
    digest_of(data, length, is);
    if (digest && strcmp(is, digest) != 0)
        return fail(err, BERTH_CORRUPT, path, "%.200s: its digest is %s", path, is);
    if (digest && size && size != length)
        return fail(err, BERTH_CORRUPT, path, "%.200s has %zu bytes and should have %llu", path, length, (unsigned long long)size);
    json_error_t where;
    json_t *document = json_loadb(data, length, JSON_REJECT_DUPLICATES, &where);
    if (!document)
        return fail(err, BERTH_CORRUPT, path, "%.200s, line %d: %s", path, where.line, where.text);
    if (ret_data)
        *ret_data = TAKE(data);
    if (ret_size)
        *ret_size = length;
    *ret_document = document;
    return 0;
}

const char *layer_media_type(int compression)
{
    static const char *const types[] = {
        [PLAIN] = LAYER_TYPE, [GZIP] = LAYER_TYPE "+gzip", [ZSTD] = LAYER_TYPE "+zstd"};
    return types[compression >= PLAIN && compression <= ZSTD ? compression : PLAIN];
}

void blob_path(const char *digest, char ret[96])
{
    snprintf(ret, 96, "blobs/sha256/%.64s", digest + 7);
}

/* ---- commit */

static char *make_manifest(const struct draft *d, const char *config_digest)
{
    json_t *layers = json_array();
    for (size_t i = 0; i < d->n_order; i++) {
        const struct layer *l = &d->layers[d->order[i]];
        json_array_append_new(layers, json_pack("{ss ss sI}", "mediaType", d->wasm ? MODULE_TYPE : layer_media_type(l->stream.compression),
                                                "digest", l->blob, "size", (json_int_t)l->blob_bytes));
    }
    json_t *manifest = json_pack("{si ss s{ss ss sI} so}", "schemaVersion", 2, "mediaType", MANIFEST_TYPE, "config",
                                 "mediaType", d->wasm ? MODULE_CONFIG_TYPE : CONFIG_TYPE, "digest", config_digest, "size",
                                 (json_int_t)d->config_size, "layers", layers);
    char *text = manifest ? json_dumps(manifest, JSON_COMPACT) : NULL;
    json_decref(manifest);
    return text;
}

static int write_layer_note(struct work *w, const struct layer *l, struct berth_error *err)
{
    char path[128];
    snprintf(path, sizeof path, "%s/layer-%d/layer.json", w->aside, l->number);
    json_t *note = json_pack("{ss ss ss sI si sI sI sI}", "boot", boot_id(), "diff_id", l->diff_id, "blob", l->blob, "blob_bytes",
                             (json_int_t)l->blob_bytes, "compression", l->stream.compression, "tar_bytes",
                             (json_int_t)l->tar_bytes, "size_bytes", (json_int_t)l->size_bytes, "entries",
                             (json_int_t)l->entries);
    if (note && l->module)
        json_object_set_new(note, "module", json_true());
    autofree char *text = note ? json_dumps(note, JSON_COMPACT) : NULL;
    json_decref(note);
    if (!text)
        return fail_memory(err);
    int r = file_write(w->images_fd, path, text, strlen(text), 0600, 0);
    return r < 0 ? fail_os(err, r, path, "write %s", path) : 0;
}

static int write_aside(struct work *w, const char *name, const char *data, size_t size, struct berth_error *err)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", w->aside, name);
    int r = file_write(w->images_fd, path, data, size, 0600, 0);
    return r < 0 ? fail_os(err, r, path, "write the %s of the image", name) : 0;
}

static int move_blob(struct work *w, const char *name, const char *digest, struct berth_error *err)
{
    char to[96];
    blob_path(digest, to);
    return renameat(w->images_fd, name, w->images_fd, to) < 0 ? fail_os(err, errno, to, "store %s", digest) : 0;
}

static int move_layer(struct work *w, const struct layer *l, struct berth_error *err)
{
    char name[128], to[96];
    if (l->kept) {
        snprintf(name, sizeof name, "%s/blob-%d", w->aside, l->number);
        if (l->fetch)
            snprintf(name, sizeof name, "partial/%.64s", l->blob + 7);
        int r = move_blob(w, name, l->blob, err);
        if (r < 0)
            return r;
        crash_point("pull.blob");
    }
    if (!l->unpacked)
        return 0;
    snprintf(name, sizeof name, "%s/layer-%d", w->aside, l->number);
    snprintf(to, sizeof to, "layers/%.64s", l->diff_id + 7);
    if (renameat(w->images_fd, name, w->images_fd, to) < 0 && errno != EEXIST && errno != ENOTEMPTY)
        return fail_os(err, errno, to, "store the layer %s", l->diff_id);
    return 0; /* there already: somebody made the same meanwhile, ours goes with the rest of aside */
}

/* Of several images in one archive only one moves it. */
static int put_layer(struct work *w, struct layer *l, struct berth_error *err)
{
    int r = l->unpacked ? write_layer_note(w, l, err) : 0;
    if (r == 0)
        r = move_layer(w, l, err);
    l->kept = l->unpacked = false;
    if (l->fetch)
        close_fd(&l->in_fd); /* its lock: whoever waits for it sees that the file has gone */
    crash_point("pull.layer");
    return r;
}

int layers_put(struct work *w, struct layer *layers, size_t n, struct berth_error *err)
{
    autoclose int lock_fd = -1;
    int r = images_lock(w->images_fd, false, true, &lock_fd, err);
    w->put = true;
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (layers[i].busy || layers[i].done)
            continue;
        r = put_layer(w, &layers[i], err);
        layers[i].unpack = layers[i].keep = layers[i].fetch = false;
        layers[i].done = true;
    }
    return r;
}

static int move_document(struct work *w, const char *name, const char *digest, struct berth_error *err)
{
    char from[128];
    snprintf(from, sizeof from, "%s/%s", w->aside, name);
    return move_blob(w, from, digest, err);
}

static int move_all(struct work *w, const struct draft *d, const char *config_digest, const char *manifest_digest,
                    struct berth_error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < d->n_order; i++)
        r = put_layer(w, &d->layers[d->order[i]], err);
    if (r == 0)
        r = move_document(w, "config", config_digest, err);
    if (r == 0)
        r = move_document(w, "manifest", manifest_digest, err);
    crash_point("pull.documents");
    return r;
}

static int fill_record(const struct draft *d, const char *reference, const char *config_digest, const char *manifest_digest,
                       const json_t *config, struct record *r)
{
    r->reference = strdup(reference);
    r->id = strdup(config_digest);
    r->manifest = strdup(manifest_digest);
    r->boot = strdup(boot_id());
    r->source = d->source ? strdup(d->source) : NULL;
    static const struct { const char *key; size_t offset; const char *artifact; } texts[] = {
        {"architecture", offsetof(struct record, architecture), "wasm"},
        {"os", offsetof(struct record, os), "wasip1"},
        {"variant", offsetof(struct record, variant), ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        const char *value = json_string_value(json_object_get(config, texts[i].key));
        bool plain = value && strspn(value, PLAIN_WORD) == strlen(value) && strlen(value) < 64;
        *(char **)((char *)r + texts[i].offset) = strdup(plain ? value : d->wasm ? texts[i].artifact : "");
    }
    const char *created = json_string_value(json_object_get(config, "created"));
    r->created_usec = d->created_usec;
    if (r->created_usec == 0 && (!created || time_parse(created, now_usec(), &r->created_usec) < 0))
        r->created_usec = now_usec();
    int failed = 0;
    for (size_t i = 0; failed == 0 && i < d->n_order; i++) {
        const struct layer *l = &d->layers[d->order[i]];
        failed = strings_add(&r->diff_ids, l->diff_id);
        if (failed == 0)
            failed = strings_add(&r->blobs, l->blob);
        bool again = false;
        for (size_t k = 0; k < i; k++)
            again |= d->order[k] == d->order[i];
        r->size_bytes += again ? 0 : l->size_bytes;
    }
    return failed || !r->reference || !r->id || !r->boot || (d->source && !r->source) || !r->manifest || !r->architecture || !r->os || !r->variant ? -ENOMEM : 0;
}

static int write_record(struct work *w, const struct draft *d, const char *reference, const char *config_digest, const char *manifest_digest,
                        struct berth_error *err)
{
    json_t *config = json_loadb(d->config, d->config_size, JSON_REJECT_DUPLICATES, NULL);
    struct image_config checked = {0};
    int r = config ? image_config_read(config, &checked, err) : fail(err, BERTH_CORRUPT, "", "the image config is not JSON");
    image_config_clear(&checked);
    struct record record = {0};
    if (r == 0 && fill_record(d, reference, config_digest, manifest_digest, config, &record) < 0)
        r = fail_memory(err);
    json_object_del(config, "history");
    json_object_del(config, "rootfs");
    if (r == 0)
        r = record_write(w->images_fd, &record, config, err);
    if (r == 0)
        answer(json_pack("{ss ss}", "reference", reference, "id", config_digest));
    record_clear(&record);
    json_decref(config);
    return r;
}

int draft_commit(struct work *w, struct draft *d, struct berth_error *err)
{
    struct image_config checked = {0};
    int r = image_config_parse(d->config, d->config_size, &checked, err); /* before anything is moved */
    image_config_clear(&checked);
    if (r < 0)
        return r;
    char config_digest[DIGEST_TEXT], manifest_digest[DIGEST_TEXT];
    digest_of(d->config, d->config_size, config_digest);
    autofree char *made = d->manifest ? NULL : make_manifest(d, config_digest);
    const char *manifest = d->manifest ? d->manifest : made;
    if (!manifest)
        return fail_memory(err);
    size_t manifest_size = d->manifest ? d->manifest_size : strlen(made);
    digest_of(manifest, manifest_size, manifest_digest);
    r = write_aside(w, "config", d->config, d->config_size, err);
    if (r == 0)
        r = write_aside(w, "manifest", manifest, manifest_size, err);
    progress(w, "store", d->references[0] ? d->references[0] : config_digest, 0);
    autoclose int lock_fd = -1;
    if (r == 0)
        r = images_lock(w->images_fd, false, true, &lock_fd, err);
    if (r == 0)
        r = move_all(w, d, config_digest, manifest_digest, err);
    if (r == 0 && !d->references[0])
        r = write_record(w, d, "", config_digest, manifest_digest, err);
    for (size_t i = 0; r == 0 && d->references[i]; i++)
        r = write_record(w, d, d->references[i], config_digest, manifest_digest, err);
    return r;
}

/* ---- what collectors may not take */

int need_layers(struct work *w, const struct layer *layers, size_t n, const char *manifest, const char *config,
                struct berth_error *err)
{
    autotext struct text all = {0};
    char path[128];
    autoclose int lock_fd = -1;
    for (size_t i = 0; i < n; i++)
        text_printf(&all, "%.64s\n%.64s\n", layers[i].diff_id + MIN(7, strlen(layers[i].diff_id)),
                    layers[i].blob + MIN(7, strlen(layers[i].blob)));
    text_printf(&all, "%.64s\n%.64s\n", manifest ? manifest + 7 : "", config ? config + 7 : "");
    snprintf(path, sizeof path, "%s/needs", w->aside);
    int r = images_lock(w->images_fd, false, true, &lock_fd, err);
    if (r < 0)
        return r;
    r = all.failed ? -ENOMEM : file_write(w->images_fd, path, all.data, all.length, 0600, 0);
    return r < 0 ? fail_os(err, r, path, "write down which layers are needed") : 0;
}

/* ---- afterwards */

static bool has(char *const *list, const char *text)
{
    for (size_t i = 0; list[i]; i++)
        if (strcmp(list[i], text) == 0)
            return true;
    return false;
}

/* For each record that is not on disk yet, of one of `manifests` (NULL: of any). */
static int each_unsettled(int images_fd, char *const *manifests,
                          int (*do_it)(int, const char *, struct record *, json_t *, void *, struct berth_error *), void *user,
                          struct berth_error *err)
{
    autostrings char **files = NULL;
    int r = record_files(images_fd, &files, err);
    for (size_t i = 0; r == 0 && files[i]; i++) {
        struct record one = {0};
        json_t *settings = NULL;
        if (record_read(images_fd, files[i], &one, &settings) < 0)
            continue;
        if (one.boot && (!manifests || has(manifests, one.manifest)))
            r = do_it(images_fd, files[i], &one, settings, user, err);
        record_clear(&one);
        json_decref(settings);
    }
    return r;
}

static int add_manifest(int images_fd, const char *file, struct record *r, json_t *settings, void *user, struct berth_error *err)
{
    (void)images_fd, (void)file, (void)settings;
    return strings_add(user, r->manifest) < 0 ? fail_memory(err) : 0;
}

static int settle_layers(int images_fd, const char *file, struct record *r, json_t *settings, void *user, struct berth_error *err)
{
    (void)file, (void)settings, (void)user;
    int code = 0;
    for (size_t i = 0; code == 0 && r->diff_ids[i]; i++)
        code = layer_settled(images_fd, r->diff_ids[i]);
    return code < 0 ? fail_os(err, code, r->id, "write down that the layers of %s are on disk", r->id) : 0;
}

static int settle_record(int images_fd, const char *file, struct record *r, json_t *settings, void *user, struct berth_error *err)
{
    (void)user;
    char path[NAME_MAX + 8];
    struct timespec used[2] = {{.tv_nsec = UTIME_OMIT}, {r->used_usec / 1000000, r->used_usec % 1000000 * 1000}};
    free(TAKE(r->boot));
    int code = record_write(images_fd, r, settings, err);
    snprintf(path, sizeof path, "refs/%s", file);
    if (code == 0)
        utimensat(images_fd, path, used, AT_SYMLINK_NOFOLLOW);
    return code;
}

static int sync_all(int images_fd, struct berth_error *err)
{
    return syncfs(images_fd) < 0 ? fail_os(err, errno, "images", "write images to disk") : 0;
}

/*
 * Files first, then that they are there, then the records: whatever a record without a mark needs was on
 * disk before it. Images that came during the first sync are somebody else's to settle; not so a name that
 * was given meanwhile to one that was there before.
 */
int store_settle(int images_fd, struct berth_error *err)
{
    autostrings char **manifests = calloc(1, sizeof *manifests);
    autoclose int lock_fd = -1;
    int r = manifests ? each_unsettled(images_fd, NULL, add_manifest, &manifests, err) : fail_memory(err);
    if (r < 0 || !manifests[0])
        return r;
    r = sync_all(images_fd, err);
    if (r == 0)
        r = images_lock(images_fd, true, true, &lock_fd, err);
    if (r == 0)
        r = each_unsettled(images_fd, manifests, settle_layers, NULL, err);
    if (r == 0)
        r = sync_all(images_fd, err);
    crash_point("pull.synced");
    return r == 0 ? each_unsettled(images_fd, manifests, settle_record, NULL, err) : r;
}
