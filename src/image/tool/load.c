/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load: OCI layouts and docker archives, as folders or as tars of them.
 *
 * A tar is unpacked aside first, in the jail, and then read as a folder: it may name its parts in any
 * order, and docker's has links in it. Whatever a document names is opened below that folder only.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/found.h"
#include "image/tool/manifest.h"
#include "image/tool/work.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>

#define REF_NAME "org.opencontainers.image.ref.name"
#define CONTAINERD_NAME "io.containerd.image.name"

/* ---- what is to be loaded, seen from outside the jail */

static const char *strip_form(const char *source)
{
    static const char *const forms[] = {"oci:", "oci-archive:", "docker-archive:", "dir-oci:"};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (starts_with(source, forms[i]))
            return source + strlen(forms[i]);
    return NULL;
}

/* "oci:DIR:TAG": the first part before a colon that exists is the path. */
static int split_source(struct work *w, struct berth_error *err)
{
    const char *rest = strip_form(w->arguments[0]);
    w->source = rest ? rest : w->arguments[0];
    if (!rest || access(rest, F_OK) == 0)
        return 0;
    char *copy = strdup(rest); /* kept until the end of the program */
    if (!copy)
        return fail_memory(err);
    for (char *colon = strchr(copy, ':'); colon; colon = strchr(colon + 1, ':')) {
        *colon = 0;
        if (access(copy, F_OK) == 0) {
            w->source = copy;
            w->wanted = colon + 1;
            return 0;
        }
        *colon = ':';
    }
    free(copy);
    return 0;
}

/* "dir/web-1.2.tar.gz" -> "web-1.2": the name for an image whose archive gives only a tag. */
static char *name_of_source(const char *source)
{
    static const char *const endings[] = {".gz", ".zst", ".tgz", ".tar", ".oci"};
    size_t n = strlen(source);
    while (n > 1 && source[n - 1] == '/')
        n--;
    const char *slash = memrchr(source, '/', n);
    char *name = slash ? strndup(slash + 1, n - (size_t)(slash + 1 - source)) : strndup(source, n);
    for (size_t i = 0; name && i < ARRAY_SIZE(endings); i++)
        if (ends_with(name, endings[i]))
            name[strlen(name) - strlen(endings[i])] = 0;
    for (char *c = name; c && *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
    return name;
}

int load_prepare(struct work *w, struct berth_error *err)
{
    struct stat st;
    int r = split_source(w, err);
    if (r < 0)
        return r;
    if (strcmp(w->source, "-") == 0) {
        w->source_fd = STDIN_FILENO;
        w->source_name = strdup("loaded");
        return w->source_name ? 0 : fail_memory(err);
    }
    if (!(w->source_name = name_of_source(w->source)))
        return fail_memory(err);
    autoclose int fd = open(w->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_os(err, errno, w->source, "open %s", w->source);
    if (S_ISREG(st.st_mode) && ends_with(w->source, ".wasm"))
        return fail(err, BERTH_UNSUPPORTED, w->source, "%s is a WebAssembly module; `berth image import` takes it", w->source);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return fail(err, BERTH_INVALID, w->source, "%s is neither a folder nor an archive", w->source);
    fcntl(fd, F_SETFL, 0);
    *(S_ISDIR(st.st_mode) ? &w->folder_fd : &w->source_fd) = take_fd(&fd);
    return 0;
}

/* ---- one image of the archive */

static int add_reference(struct found *f, const char *text, struct berth_error *err)
{
    struct reference reference = {0};
    int r = reference_parse(text, NULL, &reference, err);
    if (r < 0)
        return fail_context(err, "the name that the archive gives (choose another with --reference)");
    free(reference.digest);
    reference.digest = NULL;
    if (!reference.tag)
        reference.tag = strdup("latest");
    autofree char *normal = reference.tag ? reference_print(&reference) : NULL;
    reference_clear(&reference);
    return normal && strings_add(&f->references, normal) == 0 ? 0 : fail_memory(err);
}

static int begin_references(const struct work *w, struct found *f, struct berth_error *err)
{
    f->references = calloc(1, sizeof *f->references);
    if (!f->references)
        return fail_memory(err);
    return w->reference && strings_add(&f->references, w->reference) < 0 ? fail_memory(err) : 0;
}

/* ---- OCI layout */

/* From a descriptor to a manifest, through indexes. `bytes` as they are. */
static int follow(struct work *w, struct descriptor d, char **ret_bytes, size_t *ret_size, struct manifest *ret,
                  struct berth_error *err)
{
    char type[128];
    for (int depth = 0; depth < INDEX_MAX_DEPTH; depth++) {
        char path[96];
        json_t *document = NULL;
        autofree char *bytes = NULL;
        blob_path(d.digest, path);
        int r = document_read(w->folder_fd, path, IMAGE_MAX_MANIFEST_BYTES, d.digest, d.size, &bytes, ret_size, &document, err);
        int kind = r < 0 ? r : document_kind(document, d.media_type, path, err);
        if (kind == MANIFEST) {
            r = manifest_read(document, path, ret, err);
            if (r == 0)
                *ret_bytes = TAKE(bytes);
            return r;
        }
        r = kind < 0 ? kind : index_choose(document, &w->platform, w->has_platform, path, &d, err);
        if (r == 0) { /* the document that it is borrowed from goes */
            snprintf(type, sizeof type, "%s", d.media_type);
            d.media_type = type;
        }
        json_decref(document);
        if (r < 0)
            return r;
    }
    return fail(err, BERTH_CORRUPT, d.digest, "indexes lie more than %d deep", INDEX_MAX_DEPTH);
}

static int open_blob(struct work *w, const struct descriptor *d, struct layer *l, struct berth_error *err)
{
    char path[96];
    if (!l)
        return 0;
    blob_path(d->digest, path);
    l->in_fd = open_below(w->folder_fd, path, err);
    return l->in_fd < 0 ? fail_context(err, "a layer is missing") : 0;
}

static int gather_oci(struct work *w, const struct manifest *m, struct found *f, struct berth_error *err)
{
    char path[96];
    json_t *config = NULL;
    blob_path(m->config.digest, path);
    int r = document_read(w->folder_fd, path, IMAGE_MAX_CONFIG_BYTES, m->config.digest, m->config.size, &f->config,
                          &f->config_size, &config, err);
    if (r < 0)
        return fail_context(err, "the image's config");
    autostrings char **diff_ids = NULL;
    r = manifest_diff_ids(m, config, path, &diff_ids, err);
    json_decref(config);
    f->wasm = m->wasm;
    if (r == 0)
        r = found_room(f, m->n, err);
    for (size_t i = 0; r == 0 && i < m->n; i++)
        r = open_blob(w, &m->layers[i], found_layer(f, diff_ids[i], m->layers[i].digest, m->layers[i].size), err);
    return r;
}

static const char *annotation(const json_t *descriptor, const char *key)
{
    return json_string_value(json_object_get(json_object_get(descriptor, "annotations"), key));
}

/* Names inside are whole references, or only tags: then the archive's own name goes before. */
static int name_oci(struct work *w, const json_t *descriptor, struct found *f, struct berth_error *err)
{
    int r = begin_references(w, f, err);
    const char *name = annotation(descriptor, CONTAINERD_NAME), *tag = annotation(descriptor, REF_NAME);
    if (r < 0 || w->reference || (!name && !tag))
        return r;
    if (name || strpbrk(tag, "/:"))
        return add_reference(f, name ? name : tag, err);
    autofree char *text = format_text("%s:%s", w->source_name, tag);
    return text ? add_reference(f, text, err) : fail_memory(err);
}

static int load_descriptor(struct work *w, const json_t *json, struct berth_error *err)
{
    struct descriptor d;
    struct found f = {0};
    struct manifest m = {0};
    int r = descriptor_read(json, &d, err);
    if (r == 0)
        r = follow(w, d, &f.manifest, &f.manifest_size, &m, err);
    if (r == 0)
        r = name_oci(w, json, &f, err);
    if (r == 0)
        r = gather_oci(w, &m, &f, err);
    if (r == 0)
        r = found_store(w, &f, err);
    manifest_clear(&m);
    found_clear(&f);
    return r;
}

static bool is_wanted(const struct work *w, const json_t *descriptor)
{
    const char *type = annotation(descriptor, "vnd.docker.reference.type");
    if (type && strcmp(type, "attestation-manifest") == 0)
        return false;
    const char *name = annotation(descriptor, REF_NAME), *long_name = annotation(descriptor, CONTAINERD_NAME);
    const char *digest = json_string_value(json_object_get(descriptor, "digest"));
    if (!w->wanted)
        return true;
    const char *const candidates[] = {name, long_name, digest};
    for (size_t i = 0; i < ARRAY_SIZE(candidates); i++)
        if (candidates[i] && strcmp(candidates[i], w->wanted) == 0)
            return true;
    return false;
}

/* An index.json whose entries have platforms and no names is itself the index of one image. */
static bool is_one_image(const json_t *list)
{
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry)
        if (!json_object_get(entry, "platform") || annotation(entry, REF_NAME) || annotation(entry, CONTAINERD_NAME))
            return false;
    return json_array_size(list) > 1;
}

static int wrong_count(const struct work *w, const json_t *list, size_t n, struct berth_error *err)
{
    autotext struct text names = {0};
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) {
        const char *name = annotation(entry, CONTAINERD_NAME) ? annotation(entry, CONTAINERD_NAME) : annotation(entry, REF_NAME);
        text_printf(&names, "%s%.100s", i ? ", " : "", name ? name : "one without a name");
    }
    const char *there = names.length ? names.data : "none";
    return n == 0 ? fail(err, BERTH_NOT_FOUND, w->source, "%s holds no image \"%.100s\" (it holds: %.300s)", w->source,
                         w->wanted ? w->wanted : "", there)
                  : fail(err, BERTH_INVALID, w->source, "%s holds several images; one name can't be given to all (choose one: %.300s)",
                         w->source, there);
}

static int load_oci(struct work *w, struct berth_error *err)
{
    json_t *index = NULL;
    int r = document_read(w->folder_fd, "index.json", IMAGE_MAX_MANIFEST_BYTES, NULL, 0, NULL, NULL, &index, err);
    int kind = r < 0 ? r : document_kind(index, NULL, "index.json", err);
    const json_t *list = json_object_get(index, "manifests");
    if (kind == MANIFEST || (kind == INDEX && (!json_is_array(list) || json_array_size(list) > INDEX_MAX_ENTRIES)))
        kind = fail(err, BERTH_CORRUPT, "index.json", "index.json is not an index of at most 1000 images");
    if (kind < 0) {
        json_decref(index);
        return kind;
    }
    struct descriptor chosen;
    if (!w->wanted && is_one_image(list)) {
        r = index_choose(index, &w->platform, w->has_platform, "index.json", &chosen, err);
        r = r == 0 ? load_descriptor(w, chosen.json, err) : r;
        json_decref(index);
        return r;
    }
    size_t i, n = 0;
    json_t *entry;
    json_array_foreach(list, i, entry)
        n += is_wanted(w, entry);
    if (n == 0 || (n > 1 && w->reference))
        r = wrong_count(w, list, n, err);
    json_array_foreach(list, i, entry)
        if (r == 0 && is_wanted(w, entry))
            r = load_descriptor(w, entry, err);
    json_decref(index);
    return r;
}

/* ---- docker archive */

/* The config's own digest is its name in docker's archives: HEX.json, or blobs/sha256/HEX. */
static int check_config_name(const char *path, const struct found *f, struct berth_error *err)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strspn(name, "0123456789abcdef");
    char digest[DIGEST_TEXT];
    digest_of(f->config, f->config_size, digest);
    bool named = n == 64 && (name[n] == 0 || strcmp(name + n, ".json") == 0);
    return named && memcmp(name, digest + 7, 64) != 0
         ? fail(err, BERTH_CORRUPT, path, "the image's config %.160s: its digest is %s", path, digest) : 0;
}

static int gather_docker(struct work *w, const json_t *entry, struct found *f, struct berth_error *err)
{
    const char *config_path = json_string_value(json_object_get(entry, "Config"));
    const json_t *layers = json_object_get(entry, "Layers");
    if (!config_path || (layers && !json_is_array(layers) && !json_is_null(layers)))
        return fail(err, BERTH_CORRUPT, "manifest.json", "manifest.json: an image without Config or Layers");
    json_t *config = NULL;
    autostrings char **diff_ids = NULL;
    int r = document_read(w->folder_fd, config_path, IMAGE_MAX_CONFIG_BYTES, NULL, 0, &f->config, &f->config_size, &config, err);
    if (r < 0)
        return fail_context(err, "the image's config");
    r = check_config_name(config_path, f, err);
    if (r == 0)
        r = config_diff_ids(config, &diff_ids, err);
    json_decref(config);
    if (r == 0 && strings_count(diff_ids) != json_array_size(layers))
        r = fail(err, BERTH_CORRUPT, "manifest.json", "manifest.json has %zu layers, the config %zu", json_array_size(layers),
                 strings_count(diff_ids));
    if (r == 0)
        r = found_room(f, json_array_size(layers), err);
    for (size_t i = 0; r == 0 && i < json_array_size(layers); i++) {
        const char *path = json_string_value(json_array_get(layers, i));
        struct layer *l = path ? found_layer(f, diff_ids[i], "", 0) : NULL;
        if (!path)
            return fail(err, BERTH_CORRUPT, "manifest.json", "manifest.json: a layer's name is not a string");
        if (l && (l->in_fd = open_below(w->folder_fd, path, err)) < 0)
            return fail_context(err, "a layer is missing");
        if (l)
            l->deflate = true;
    }
    return r;
}

static int name_docker(struct work *w, const json_t *entry, struct found *f, struct berth_error *err)
{
    int r = begin_references(w, f, err);
    const json_t *tags = json_object_get(entry, "RepoTags");
    for (size_t i = 0; r == 0 && !w->reference && i < json_array_size(tags); i++) {
        const char *tag = json_string_value(json_array_get(tags, i));
        r = tag ? add_reference(f, tag, err) : fail(err, BERTH_CORRUPT, "manifest.json", "manifest.json: a name is not a string");
    }
    return r;
}

static bool has_tag(const json_t *entry, const char *wanted)
{
    size_t i;
    json_t *tag;
    json_array_foreach(json_object_get(entry, "RepoTags"), i, tag)
        if (json_is_string(tag) && strcmp(json_string_value(tag), wanted) == 0)
            return true;
    return false;
}

static int load_docker(struct work *w, struct berth_error *err)
{
    json_t *list = NULL;
    int r = document_read(w->folder_fd, "manifest.json", IMAGE_MAX_MANIFEST_BYTES, NULL, 0, NULL, NULL, &list, err);
    if (r == 0 && (!json_is_array(list) || json_array_size(list) > INDEX_MAX_ENTRIES))
        r = fail(err, BERTH_CORRUPT, "manifest.json", "manifest.json is not a list of at most 1000 images");
    size_t i, n = 0;
    json_t *entry;
    json_array_foreach(list, i, entry)
        n += !w->wanted || has_tag(entry, w->wanted);
    if (r == 0 && n == 0)
        r = fail(err, BERTH_NOT_FOUND, w->source, "%s holds no image%s%.200s", w->source, w->wanted ? " " : "", w->wanted ? w->wanted : "");
    if (r == 0 && n > 1 && w->reference)
        r = fail(err, BERTH_INVALID, w->source, "%s holds %zu images; one name can't be given to all", w->source, n);
    json_array_foreach(list, i, entry) {
        if (r < 0 || (w->wanted && !has_tag(entry, w->wanted)))
            continue;
        struct found f = {0};
        r = name_docker(w, entry, &f, err);
        if (r == 0)
            r = gather_docker(w, entry, &f, err);
        if (r == 0)
            r = found_store(w, &f, err);
        found_clear(&f);
    }
    json_decref(list);
    return r;
}

/* ---- which of them it is */

static int unpack_archive(struct work *w, struct berth_error *err)
{
    struct layer archive = {.in_fd = w->source_fd, .folder_fd = -1, .unpack = true, .what = w->source};
    struct unpack_options layer_options = w->unpack;
    w->unpack.layer = false;
    w->unpack.archive = true;
    progress(w, "read", w->source, 0);
    int r = layers_make(w, &archive, 1, err);
    w->unpack = layer_options;
    char path[128];
    snprintf(path, sizeof path, "%s/layer-%d/fs", w->aside, archive.number);
    if (r == 0 && (w->folder_fd = openat(w->images_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        r = fail_os(err, errno, path, "open the unpacked archive");
    return r;
}

int load_run(struct work *w, struct berth_error *err)
{
    static const struct { const char *file; int (*load)(struct work *, struct berth_error *); } forms[] = {
        {"index.json", load_oci}, {"manifest.json", load_docker}};
    int r = w->source_fd >= 0 ? unpack_archive(w, err) : 0;
    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (faccessat(w->folder_fd, forms[i].file, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return forms[i].load(w, err);
    if (faccessat(w->folder_fd, "repositories", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return fail(err, BERTH_UNSUPPORTED, w->source, "%s was saved by a docker older than 1.10; save it again with a newer one", w->source);
    return fail(err, BERTH_INVALID, w->source, "%s is neither an OCI layout nor a docker archive (a root file system? berth image import)",
                w->source);
}
