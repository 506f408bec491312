/* SPDX-License-Identifier: Apache-2.0 */
/*
 * save: images as others read them, an OCI layout (folder or tar) or a docker archive.
 *
 * Documents and blobs leave as they are, so that the digests stay. Each is hashed on its way out: what
 * was damaged here is not passed on. A file appears under its name only when it is whole.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/manifest.h"
#include "image/tool/work.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define BLOCK 512

/* ---- outside: where it goes */

static int prepare_folder(struct work *w, const char *target, struct berth_error *err)
{
    struct stat st;
    if (mkdir(target, 0777) < 0 && errno != EEXIST)
        return fail_os(err, errno, target, "make the folder %s", target);
    autoclose int fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_os(err, errno, target, "open the folder %s", target);
    if (fstatat(fd, "index.json", &st, AT_SYMLINK_NOFOLLOW) == 0 || fstatat(fd, "blobs", &st, AT_SYMLINK_NOFOLLOW) == 0)
        return fail(err, BERTH_EXISTS, target, "%s holds an image already", target);
    w->folder_fd = take_fd(&fd);
    return 0;
}

static int prepare_file(struct work *w, const char *target, struct berth_error *err)
{
    w->partial = format_text("%s.partial-%d", target, (int)getpid());
    if (!w->partial)
        return fail_memory(err);
    w->source_fd = open(w->partial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (w->source_fd < 0) {
        int r = fail_os(err, errno, target, "write %s", target);
        free(TAKE(w->partial));
        return r;
    }
    return 0;
}

int save_prepare(struct work *w, struct berth_error *err)
{
    static const struct { const char *prefix, *format; bool folder; } forms[] = {
        {"oci:", "oci", true}, {"oci-archive:", "oci", false}, {"docker-archive:", "docker", false}};
    const char *target = w->arguments[0];
    struct stat st;
    bool folder = ends_with(target, "/") || (stat(target, &st) == 0 && S_ISDIR(st.st_mode));
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (starts_with(target, forms[i].prefix)) {
            target += strlen(forms[i].prefix);
            w->format = forms[i].format;
            folder = forms[i].folder;
            break;
        }
    w->source = target;
    if (!w->format)
        w->format = "oci";
    bool docker = strcmp(w->format, "docker") == 0;
    if (!docker && strcmp(w->format, "oci") != 0)
        return fail(err, BERTH_INVALID, w->format, "there is no format \"%s\" (oci, docker)", w->format);
    if (docker && folder)
        return fail(err, BERTH_INVALID, target, "a docker archive is a file, and %s is a folder", target);
    if (strcmp(target, "-") == 0)
        w->source_fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
    return w->source_fd >= 0 ? 0 : folder ? prepare_folder(w, target, err) : prepare_file(w, target, err);
}

/* A folder that was not finished keeps only what it had. */
static void empty_folder(int fd)
{
    static const char *const names[] = {"blobs", "index.json", "oci-layout"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        tree_remove(fd, names[i]);
}

int save_finish(struct work *w, bool done, struct berth_error *err)
{
    int r = 0;
    if (w->partial && done && rename(w->partial, w->source) < 0) {
        r = fail_os(err, errno, w->source, "write %s", w->source);
        done = false;
    }
    if (w->partial && !done)
        unlink(w->partial);
    if (!w->partial && w->folder_fd >= 0 && !done)
        empty_folder(w->folder_fd);
    return r;
}

/* ---- inside: a folder or a tar, by the same two calls */

struct target { int folder_fd, tar_fd; char **there; };

static void octal(char *field, size_t size, uint64_t value)
{
    for (size_t i = size - 1; i-- > 0; value >>= 3)
        field[i] = (char)('0' + (value & 7));
}

/* A ustar header; sizes of 8 GiB and more in base 256, as everybody reads them. */
static int tar_header(const struct target *t, const char *name, uint64_t size, struct berth_error *err)
{
    char h[BLOCK] = {0};
    unsigned sum = 0;
    snprintf(h, 100, "%s", name);
    octal(h + 100, 8, 0644);
    octal(h + 108, 8, 0);
    octal(h + 116, 8, 0);
    if (size >> 33) {
        for (size_t i = 0; i < 8; i++)
            h[135 - i] = (char)(size >> (8 * i));
        h[124] = (char)0x80;
    } else {
        octal(h + 124, 12, size);
    }
    octal(h + 136, 12, 0);
    memset(h + 148, ' ', 8);
    h[156] = '0';
    memcpy(h + 257, "ustar\0" "00", 8);
    for (size_t i = 0; i < BLOCK; i++)
        sum += (unsigned char)h[i];
    octal(h + 148, 7, sum);
    int r = fd_write_all(t->tar_fd, h, BLOCK);
    return r < 0 ? fail_os(err, r, name, "write %s", name) : 0;
}

static int tar_pad(const struct target *t, uint64_t size, struct berth_error *err)
{
    static const char zeros[2 * BLOCK];
    int r = fd_write_all(t->tar_fd, zeros, (size_t)((BLOCK - size % BLOCK) % BLOCK));
    return r < 0 ? fail_os(err, r, "", "write the archive") : 0;
}

static int target_bytes(struct target *t, const char *name, const char *data, size_t size, struct berth_error *err)
{
    int r = t->folder_fd >= 0 ? file_write(t->folder_fd, name, data, size, 0644, 0) : 0;
    if (t->folder_fd < 0) {
        if ((r = tar_header(t, name, size, err)) < 0)
            return r;
        r = fd_write_all(t->tar_fd, data, size);
        if (r == 0)
            return tar_pad(t, size, err);
    }
    return r < 0 ? fail_os(err, r, name, "write %s", name) : 0;
}

/* 1: it is there already (two images share it). */
static int target_once(struct target *t, const char *name, struct berth_error *err)
{
    for (size_t i = 0; t->there && t->there[i]; i++)
        if (strcmp(t->there[i], name) == 0)
            return 1;
    return strings_add(&t->there, name) < 0 ? fail_memory(err) : 0;
}

static int open_blob(const struct work *w, const char *digest, uint64_t *ret_size, struct berth_error *err)
{
    char path[96];
    struct stat st;
    blob_path(digest, path);
    autoclose int fd = openat(w->images_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT)
        return fail(err, BERTH_NOT_FOUND, digest, "%s is not here any more, it was pruned (berth rmi, then berth pull, bring it back)", digest);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_os(err, errno, digest, "open %s", digest);
    *ret_size = (uint64_t)st.st_size;
    return take_fd(&fd);
}

static int copy_blob(const struct work *w, struct target *t, const char *digest, const char *name, struct berth_error *err)
{
    char is[DIGEST_TEXT];
    uint64_t size = 0;
    int r = target_once(t, name, err);
    if (r != 0)
        return MIN(r, 0);
    autoclose int in_fd = open_blob(w, digest, &size, err), out_fd = -1;
    if (in_fd < 0)
        return in_fd;
    if (t->folder_fd >= 0) {
        out_fd = openat(t->folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (out_fd < 0)
            return fail_os(err, errno, name, "write %s", name);
    } else if ((r = tar_header(t, name, size, err)) < 0) {
        return r;
    }
    r = stream_copy(in_fd, out_fd >= 0 ? out_fd : t->tar_fd, size, is, NULL, err);
    if (r == 0 && strcmp(is, digest) != 0)
        r = fail(err, BERTH_CORRUPT, digest, "%s is damaged: its digest is %s (berth image verify)", digest, is);
    progress(w, "write", digest, size);
    return r == 0 && t->folder_fd < 0 ? tar_pad(t, size, err) : r;
}

/* ---- one image */

struct image_parts { struct record record; json_t *manifest; uint64_t manifest_size; };

static void parts_clear(struct image_parts *p)
{
    record_clear(&p->record);
    json_decref(p->manifest);
}

static int find_parts(const struct work *w, const char *reference, struct image_parts *ret, struct berth_error *err)
{
    autofree char *file = NULL, *bytes = NULL;
    char path[96];
    size_t size = 0;
    int r = record_find(w->images_fd, &w->berth_toml->images, reference, &file, &ret->record, NULL, err);
    if (r < 0)
        return r;
    blob_path(ret->record.manifest, path);
    r = document_read(w->images_fd, path, IMAGE_MAX_MANIFEST_BYTES, ret->record.manifest, 0, &bytes, &size, &ret->manifest, err);
    ret->manifest_size = size;
    return r;
}

static void say_saved(const struct work *w, const struct record *r)
{
    if (strcmp(w->source, "-") != 0) /* else the archive is there */
        answer(json_pack("{ss ss}", "reference", r->reference, "manifest", r->manifest));
}

static const char *tag_of(const char *normal)
{
    const char *colon = strrchr(normal, ':'), *slash = strrchr(normal, '/');
    return colon && (!slash || colon > slash) ? colon + 1 : "latest";
}

static int save_oci_image(const struct work *w, struct target *t, const char *reference, json_t *index, struct berth_error *err)
{
    struct image_parts p = {0};
    char path[96];
    int r = find_parts(w, reference, &p, err);
    const char *digests[] = {p.record.manifest, p.record.id};
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(digests); i++) {
        blob_path(digests[i], path);
        r = copy_blob(w, t, digests[i], path, err);
    }
    for (size_t i = 0; r == 0 && p.record.blobs[i]; i++) {
        blob_path(p.record.blobs[i], path);
        r = copy_blob(w, t, p.record.blobs[i], path, err);
    }
    if (r == 0) {
        const char *type = json_string_value(json_object_get(p.manifest, "mediaType"));
        json_t *entry = json_pack("{ss ss sI}", "mediaType", type ? type : "application/vnd.oci.image.manifest.v1+json",
                                  "digest", p.record.manifest, "size", (json_int_t)p.manifest_size);
        if (*p.record.reference)
            json_object_set_new(entry, "annotations",
                                json_pack("{ss ss}", "io.containerd.image.name", p.record.reference,
                                          "org.opencontainers.image.ref.name", tag_of(p.record.reference)));
        json_array_append_new(index, entry);
        say_saved(w, &p.record);
    }
    parts_clear(&p);
    return r;
}

/* Two images with one tag: the short name would not tell them apart. */
static void tell_apart(json_t *index)
{
    size_t i, k;
    json_t *a, *b;
    json_array_foreach(index, i, a) {
        json_t *notes = json_object_get(a, "annotations");
        const char *tag = json_string_value(json_object_get(notes, "org.opencontainers.image.ref.name"));
        json_array_foreach(index, k, b) {
            const char *other = json_string_value(json_object_get(json_object_get(b, "annotations"), "org.opencontainers.image.ref.name"));
            if (k <= i || !tag || !other || strcmp(tag, other) != 0)
                continue;
            json_t *whole = json_object_get(json_object_get(b, "annotations"), "io.containerd.image.name");
            json_object_set(json_object_get(b, "annotations"), "org.opencontainers.image.ref.name", whole);
        }
    }
}

static int save_json(struct target *t, const char *name, const json_t *document, struct berth_error *err)
{
    autofree char *text = document ? json_dumps(document, JSON_COMPACT) : NULL;
    return text ? target_bytes(t, name, text, strlen(text), err) : fail_memory(err);
}

static int save_oci(struct work *w, struct target *t, struct berth_error *err)
{
    json_t *manifests = json_array();
    json_t *index = json_pack("{si ss so}", "schemaVersion", 2, "mediaType", "application/vnd.oci.image.index.v1+json",
                              "manifests", manifests);
    int r = index ? 0 : fail_memory(err);
    if (r == 0 && t->folder_fd >= 0 && (mkdirat(t->folder_fd, "blobs", 0755) < 0 || mkdirat(t->folder_fd, "blobs/sha256", 0755) < 0))
        r = fail_os(err, errno, "blobs", "make the folder blobs");
    static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
    if (r == 0)
        r = target_bytes(t, "oci-layout", layout, strlen(layout), err);
    for (size_t i = 1; r == 0 && w->arguments[i]; i++)
        r = save_oci_image(w, t, w->arguments[i], manifests, err);
    if (r == 0)
        tell_apart(manifests);
    if (r == 0)
        r = save_json(t, "index.json", index, err);
    json_decref(index);
    return r;
}

static int save_docker_layer(const struct work *w, struct target *t, const struct record *record, size_t i, const char *name,
                             struct berth_error *err)
{
    struct layer l = {0};
    struct stream_result result;
    struct stream_options options = {.max_bytes = w->max_bytes, .large_fd = -1};
    uint64_t size = 0;
    memcpy(l.diff_id, record->diff_ids[i], DIGEST_TEXT);
    if (layer_known(w->images_fd, &l) < 0)
        return fail(err, BERTH_CORRUPT, l.diff_id, "the layer %s is missing", l.diff_id);
    if (l.module)
        return fail(err, BERTH_UNSUPPORTED, l.diff_id, "docker's archives hold no WebAssembly artifacts (--format-as oci)");
    int r = target_once(t, name, err);
    if (r != 0)
        return MIN(r, 0);
    autoclose int in_fd = open_blob(w, record->blobs[i], &size, err);
    if (in_fd < 0)
        return in_fd;
    r = tar_header(t, name, l.tar_bytes, err);
    if (r == 0)
        r = stream_inflate(in_fd, t->tar_fd, -1, false, &options, &result, err);
    if (r == 0 && (strcmp(result.plain_digest, l.diff_id) != 0 || result.plain_bytes != l.tar_bytes))
        r = fail(err, BERTH_CORRUPT, l.diff_id, "the layer %s is damaged (berth image verify)", l.diff_id);
    progress(w, "write", l.diff_id, l.tar_bytes);
    return r == 0 ? tar_pad(t, l.tar_bytes, err) : r;
}

static int save_docker_image(const struct work *w, struct target *t, const char *reference, json_t *list, struct berth_error *err)
{
    struct image_parts p = {0};
    char name[96];
    json_t *layers = json_array(), *tags = json_array();
    int r = find_parts(w, reference, &p, err);
    for (size_t i = 0; r == 0 && p.record.diff_ids[i]; i++) {
        snprintf(name, sizeof name, "%.64s.tar", p.record.diff_ids[i] + 7);
        r = save_docker_layer(w, t, &p.record, i, name, err);
        json_array_append_new(layers, json_string(name));
    }
    if (r == 0) {
        snprintf(name, sizeof name, "%.64s.json", p.record.id + 7);
        r = copy_blob(w, t, p.record.id, name, err);
    }
    struct reference parsed = {0};
    if (r == 0 && *p.record.reference && reference_parse(p.record.reference, NULL, &parsed, NULL) == 0) {
        autofree char *familiar = reference_familiar(&parsed, NULL);
        json_array_append_new(tags, json_string(familiar ? familiar : p.record.reference));
        reference_clear(&parsed);
    }
    json_t *entry = json_pack("{ss so so}", "Config", name, "RepoTags", tags, "Layers", layers);
    json_array_append_new(list, entry);
    if (r == 0)
        say_saved(w, &p.record);
    parts_clear(&p);
    return r;
}

static int save_docker(struct work *w, struct target *t, struct berth_error *err)
{
    json_t *list = json_array();
    int r = list ? 0 : fail_memory(err);
    for (size_t i = 1; r == 0 && w->arguments[i]; i++)
        r = save_docker_image(w, t, w->arguments[i], list, err);
    if (r == 0)
        r = save_json(t, "manifest.json", list, err);
    json_decref(list);
    return r;
}

int save_run(struct work *w, struct berth_error *err)
{
    static const char end[2 * BLOCK];
    struct target t = {.folder_fd = w->folder_fd, .tar_fd = w->source_fd};
    int r = strcmp(w->format, "docker") == 0 ? save_docker(w, &t, err) : save_oci(w, &t, err);
    if (r == 0 && t.folder_fd < 0) {
        r = fd_write_all(t.tar_fd, end, sizeof end);
        r = r < 0 ? fail_os(err, r, w->source, "write %s", w->source) : 0;
    }
    strings_free(t.there);
    return r;
}
