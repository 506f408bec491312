/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests and indexes.
 *
 * A document must be one thing: what its descriptor says, what it says itself and what it holds have
 * to agree, or two readers could see two images in it (CVE-2021-41190).
 */
#include "image/tool/manifest.h"
#include "base/base.h"
#include "base/text.h"
#include <string.h>

static int wrong(struct berth_error *err, const char *name, const char *why)
{
    return fail(err, BERTH_CORRUPT, name, "%.160s: %s", name, why);
}

void manifest_clear(struct manifest *m)
{
    json_decref(m->document);
    free(m->layers);
    *m = (struct manifest){0};
}

int descriptor_read(const json_t *json, struct descriptor *ret, struct berth_error *err)
{
    const char *digest = json_string_value(json_object_get(json, "digest"));
    const char *type = json_string_value(json_object_get(json, "mediaType"));
    const json_t *size = json_object_get(json, "size");
    if (!digest)
        return fail(err, BERTH_CORRUPT, "descriptor", "a descriptor has no digest");
    if (starts_with(digest, "sha512:") || starts_with(digest, "sha384:") || starts_with(digest, "blake3:"))
        return fail(err, BERTH_UNSUPPORTED, digest, "digests other than sha256 are not read: %.100s", digest);
    if (!digest_valid(digest))
        return fail(err, BERTH_CORRUPT, "descriptor", "a descriptor's digest is not \"sha256:\" and 64 hex digits: %.100s", digest);
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return fail(err, BERTH_CORRUPT, digest, "the descriptor of %s has no size", digest);
    *ret = (struct descriptor){.size = (uint64_t)json_integer_value(size), .media_type = type ? type : "", .json = json};
    memcpy(ret->digest, digest, DIGEST_TEXT);
    return 0;
}

static const struct { const char *type; int kind; } types[] = {
    {"application/vnd.oci.image.manifest.v1+json", MANIFEST},
    {"application/vnd.docker.distribution.manifest.v2+json", MANIFEST},
    {"application/vnd.oci.image.index.v1+json", INDEX},
    {"application/vnd.docker.distribution.manifest.list.v2+json", INDEX},
};

static int kind_of_type(const char *type, const char *name, struct berth_error *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (strcmp(type, types[i].type) == 0)
            return types[i].kind;
    return fail(err, BERTH_UNSUPPORTED, name, "%.160s: \"%.100s\" is not a manifest or index that berth reads", name, type);
}

int document_kind(const json_t *document, const char *declared, const char *name, struct berth_error *err)
{
    if (!json_is_object(document))
        return wrong(err, name, "it is not a JSON object");
    const json_t *type = json_object_get(document, "mediaType");
    if (type && !json_is_string(type))
        return wrong(err, name, "its mediaType is not a string");
    if (type && declared && *declared && strcmp(json_string_value(type), declared) != 0)
        return wrong(err, name, "its mediaType is not the one that its descriptor gives");
    bool has_manifests = json_object_get(document, "manifests") != NULL;
    bool has_layers = json_object_get(document, "layers") || json_object_get(document, "config");
    if (has_manifests == has_layers)
        return wrong(err, name, has_layers ? "it is a manifest and an index at once" : "it is neither a manifest nor an index");
    if (json_integer_value(json_object_get(document, "schemaVersion")) != 2)
        return wrong(err, name, "its schemaVersion is not 2");
    int kind = has_manifests ? INDEX : MANIFEST;
    const char *said = type ? json_string_value(type) : declared && *declared ? declared : NULL;
    int by_type = said ? kind_of_type(said, name, err) : kind;
    if (by_type < 0)
        return by_type;
    return by_type == kind ? kind : wrong(err, name, "its mediaType is not what it holds");
}

/* The first is the CNCF's; the others are what tools pushed before there was one. */
static bool is_module(const char *type)
{
    static const char *const modules[] = {"application/wasm", "application/vnd.wasm.content.layer.v1+wasm",
                                          "application/vnd.module.wasm.content.layer.v1+wasm",
                                          "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm"};
    for (size_t i = 0; i < ARRAY_SIZE(modules); i++)
        if (strcmp(type, modules[i]) == 0)
            return true;
    return false;
}

static int check_layer(const struct manifest *m, const struct descriptor *d, struct berth_error *err)
{
    static const char *const known[] = {"application/vnd.oci.image.layer.v1.tar",
                                        "application/vnd.docker.image.rootfs.diff.tar", ""};
    if (strstr(d->media_type, "foreign") || strstr(d->media_type, "nondistributable"))
        return fail(err, BERTH_UNSUPPORTED, d->digest, "layer %s is a foreign one, which has to be got from elsewhere", d->digest);
    if (m->wasm && is_module(d->media_type))
        return 0;
    for (size_t i = 0; !m->wasm && i < ARRAY_SIZE(known); i++)
        if (*known[i] ? starts_with(d->media_type, known[i]) : !*d->media_type)
            return 0;
    return fail(err, BERTH_UNSUPPORTED, d->digest, "layer %s is of type \"%.100s\", not a %s", d->digest, d->media_type,
                m->wasm ? "module, as others of this artifact are" : "tar");
}

static bool is_artifact(const json_t *layers)
{
    const char *type = json_string_value(json_object_get(json_array_get(layers, 0), "mediaType"));
    return type && is_module(type);
}

static int read_parts(struct manifest *m, const char *name, struct berth_error *err)
{
    const json_t *layers = json_object_get(m->document, "layers");
    int r = descriptor_read(json_object_get(m->document, "config"), &m->config, err);
    if (r < 0)
        return fail_context(err, "%.160s: its config", name);
    m->wasm = is_artifact(layers);
    if (!m->wasm && !strstr(m->config.media_type, "image.config.v1+json") && !strstr(m->config.media_type, "container.image.v1+json"))
        return fail(err, BERTH_UNSUPPORTED, name, "%.160s: an artifact of type \"%.100s\", neither a container image nor a WebAssembly module", name,
                    m->config.media_type);
    if (!json_is_array(layers) || json_array_size(layers) > IMAGE_MAX_LAYERS)
        return wrong(err, name, "it has no list of layers, or one of more than 500");
    m->layers = calloc(json_array_size(layers) + 1, sizeof *m->layers);
    if (!m->layers)
        return fail_memory(err);
    size_t i;
    json_t *layer;
    json_array_foreach(layers, i, layer) {
        r = descriptor_read(layer, &m->layers[i], err);
        if (r == 0)
            r = check_layer(m, &m->layers[i], err);
        if (r < 0)
            return fail_context(err, "%.160s", name);
        m->n++;
    }
    return 0;
}

int manifest_read(json_t *document, const char *name, struct manifest *ret, struct berth_error *err)
{
    struct manifest m = {.document = document};
    int r = read_parts(&m, name, err);
    if (r < 0)
        manifest_clear(&m);
    else
        *ret = m;
    return r;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* How well an entry fits: -1 not at all. A module runs on any machine: better than nothing. */
static int fitness(const json_t *platform, const struct platform *p, bool strict)
{
    if (!strict && strcmp(text_of(platform, "architecture"), "wasm") == 0)
        return 0;
    if (strcmp(text_of(platform, "os"), p->os) != 0 || strcmp(text_of(platform, "architecture"), p->architecture) != 0)
        return -1;
    const char *variant = text_of(platform, "variant");
    if (strcmp(variant, p->variant) == 0)
        return 3;
    if (!*variant || !*p->variant)
        return 2;
    return strict ? -1 : 1;
}

int index_choose(const json_t *document, const struct platform *platform, bool strict, const char *name,
                 struct descriptor *ret, struct berth_error *err)
{
    const json_t *list = json_object_get(document, "manifests");
    if (!json_is_array(list) || json_array_size(list) > INDEX_MAX_ENTRIES)
        return wrong(err, name, "it has no list of manifests, or one of more than 1000");
    autotext struct text there = {0};
    const json_t *best = NULL;
    int best_fit = -1;
    size_t i;
    json_t *entry;
    json_array_foreach(list, i, entry) {
        const json_t *p = json_object_get(entry, "platform");
        int fit = p ? fitness(p, platform, strict) : json_array_size(list) == 1 ? 0 : -1;
        if (fit > best_fit) {
            best = entry;
            best_fit = fit;
        }
        if (p && strcmp(text_of(p, "os"), "unknown") != 0)
            text_printf(&there, "%s%.31s/%.31s%s%.31s", there.length ? ", " : "", text_of(p, "os"), text_of(p, "architecture"),
                        *text_of(p, "variant") ? "/" : "", text_of(p, "variant"));
    }
    if (!best)
        return fail(err, BERTH_NOT_FOUND, name, "%.160s: it has nothing for %s/%s%s%s (it has: %.300s)", name, platform->os,
                    platform->architecture, *platform->variant ? "/" : "", platform->variant,
                    there.length ? there.data : "nothing");
    return descriptor_read(best, ret, err);
}

int config_diff_ids(const json_t *config, char ***ret_diff_ids, struct berth_error *err)
{
    const json_t *list = json_object_get(json_object_get(config, "rootfs"), "diff_ids");
    autostrings char **ids = calloc(1, sizeof *ids);
    if (!ids)
        return fail_memory(err);
    if (!json_is_array(list) || json_array_size(list) > IMAGE_MAX_LAYERS)
        return fail(err, BERTH_CORRUPT, "rootfs.diff_ids", "the image config has no list of diff ids, or one of more than %d",
                    IMAGE_MAX_LAYERS);
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        if (!json_is_string(item) || !digest_valid(json_string_value(item)))
            return fail(err, BERTH_CORRUPT, "rootfs.diff_ids", "the image config: a diff id is not \"sha256:\" and 64 hex digits");
        if (strings_add(&ids, json_string_value(item)) < 0)
            return fail_memory(err);
    }
    *ret_diff_ids = TAKE(ids);
    return 0;
}

int manifest_diff_ids(const struct manifest *m, const json_t *config, const char *name, char ***ret_diff_ids, struct berth_error *err)
{
    autostrings char **ids = m->wasm ? calloc(1, sizeof *ids) : NULL;
    int r = m->wasm ? ids ? 0 : -ENOMEM : config_diff_ids(config, &ids, err);
    for (size_t i = 0; m->wasm && r == 0 && i < m->n; i++)
        r = strings_add(&ids, m->layers[i].digest);
    if (r < 0)
        return m->wasm ? fail_memory(err) : r;
    if (strings_count(ids) != m->n)
        return fail(err, BERTH_CORRUPT, name, "the manifest has %zu layers, the config %zu", m->n, strings_count(ids));
    *ret_diff_ids = TAKE(ids);
    return 0;
}
