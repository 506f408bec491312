/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pulling asks of a registry: manifests, small blobs, large blobs.
 *
 * Nothing that came is believed before it was hashed, nothing is parsed before it was measured.
 */
#include "image/tool/registry_inside.h"
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

#define MANIFEST_TYPES                                                                                            \
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "                       \
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

/* ---- life */

void source_clear(struct source *s)
{
    char *const secrets[] = {s->password, s->identity_token, s->authorization, s->key};
    char *const texts[] = {s->host, s->prefix, s->ca, s->certificate, s->user};
    for (size_t i = 0; i < ARRAY_SIZE(secrets); i++) {
        if (secrets[i])
            OPENSSL_cleanse(secrets[i], strlen(secrets[i]));
        free(secrets[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(texts[i]);
    tls_clear(s);
    *s = (struct source){0};
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    while (r->exchanges)
        exchange_free(r->exchanges);
    for (size_t i = 0; i < r->n_sources; i++)
        token_free(r->sources[i].token);
    if (r->multi)
        curl_multi_cleanup(r->multi);
    for (size_t i = 0; i < r->n_sources; i++)
        source_clear(&r->sources[i]);
    free(r->sources);
    free(r->ca);
    free(r->http_proxy);
    free(r->name);
    reference_clear(&r->reference);
    free(r);
}

static int copy_reference(const struct reference *from, struct reference *to)
{
    const struct { const char *from; char **to; } parts[] = {{from->registry, &to->registry}, {from->repository, &to->repository},
                                                             {from->tag, &to->tag}, {from->digest, &to->digest}};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (parts[i].from && !(*parts[i].to = strdup(parts[i].from)))
            return -ENOMEM;
    return 0;
}

int registry_prepare(struct work *w, const struct reference *reference, unsigned flags, struct registry **ret,
                     struct berth_error *err)
{
    autoregistry struct registry *r = calloc(1, sizeof *r);
    if (!r)
        return fail_memory(err);
    r->push = flags & REGISTRY_PUSH;
    r->login = flags & REGISTRY_LOGIN;
    r->name = strdup(reference->registry);
    if (!r->name || copy_reference(reference, &r->reference) < 0)
        return fail_memory(err);
    int code = curl_load(err);
    if (code == 0)
        code = places_find(w, r, err);
    if (code == 0)
        *ret = TAKE(r);
    return code;
}

int registry_connect(struct registry *r, struct berth_error *err)
{
    r->multi = curl_multi_init();
    if (!r->multi)
        return fail_memory(err);
    curl_multi_setopt(r->multi, CURLMOPT_MAXCONNECTS, 32L);
    return 0;
}

const char *registry_name(const struct registry *r)
{
    return r->name;
}

/* ---- manifests */

void registry_document_clear(struct registry_document *d)
{
    free(d->bytes);
    free(d->media_type);
    *d = (struct registry_document){0};
}

/* Content-Type without parameters; "" for those that say nothing. */
static char *plain_type(const char *type)
{
    static const char *const empty[] = {"application/json", "application/octet-stream", "text/plain", "binary/octet-stream"};
    size_t n = type ? strcspn(type, "; \t") : 0;
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++)
        if (strlen(empty[i]) == n && strncasecmp(type, empty[i], n) == 0)
            n = 0;
    return n ? strndup(type, n) : strdup("");
}

struct wanted_document { const char *name; struct registry_document document; };

static int check_schema_1(const struct exchange *x, const char *type, struct berth_error *err)
{
    const char *host = exchange_source(x)->host;
    return strstr(type, "manifest.v1+") && strstr(type, "docker")
         ? fail(err, BERTH_UNSUPPORTED, host, "%s has this image only in docker's old schema 1; push it again with a newer docker", host) : 0;
}

static int check_document(struct exchange *x, struct berth_error *err)
{
    struct wanted_document *wanted = x->data;
    struct registry_document *d = &wanted->document;
    const char *host = exchange_source(x)->host, *said = x->head.digest;
    registry_document_clear(d);
    d->media_type = plain_type(x->head.type);
    d->size = x->text.length;
    d->bytes = text_take(&x->text);
    if (!d->bytes || !d->media_type)
        return fail_memory(err);
    digest_of(d->bytes, d->size, d->digest);
    if (starts_with(wanted->name, "sha256:") && strcmp(wanted->name, d->digest) != 0)
        return fail(err, BERTH_CORRUPT, host, "%s sends another manifest than %s: its digest is %s", host, wanted->name, d->digest);
    if (said && digest_valid(said) && strcmp(said, d->digest) != 0)
        return fail(err, BERTH_CORRUPT, host, "%s says that the manifest's digest is %s, but it is %s", host, said, d->digest);
    int code = check_schema_1(x, d->media_type, err);
    if (code < 0)
        return code;
    json_error_t where;
    json_t *json = json_loadb(d->bytes, d->size, JSON_REJECT_DUPLICATES, &where);
    if (!json)
        return fail(err, BERTH_CORRUPT, host, "%s: the manifest %s, line %d: %s", host, wanted->name, where.line, where.text);
    code = document_kind(json, d->media_type, wanted->name, err);
    json_decref(json);
    return code < 0 ? fail_context(err, "%s", host) : 0;
}

int registry_manifest(struct registry *r, const char *name, struct registry_document *ret, struct berth_error *err)
{
    struct wanted_document wanted = {.name = name ? name : r->reference.digest ? r->reference.digest : r->reference.tag};
    autofree char *path = format_text("manifests/%s", wanted.name);
    struct exchange *x = path ? exchange_new(r, "GET", path) : NULL;
    if (!x)
        return fail_memory(err);
    x->accept = MANIFEST_TYPES;
    x->max = IMAGE_MAX_MANIFEST_BYTES;
    x->check = check_document;
    x->data = &wanted;
    int code = exchange_begin(x, err);
    if (code == 0)
        code = exchange_wait(x, err);
    exchange_free(x);
    if (code == 0)
        *ret = wanted.document;
    else
        registry_document_clear(&wanted.document);
    return code;
}

/** What an index says of what comes next. */
struct promise { char digest[DIGEST_TEXT]; char *type; uint64_t size; };

static void promise_clear(struct promise *p)
{
    free(TAKE(p->type));
}

/* Of an index: what to ask for next. 1; 0 for a manifest. */
static int step_down(const struct registry_document *d, const struct platform *platform, bool strict, const char *name,
                     struct promise *ret, struct berth_error *err)
{
    struct descriptor next;
    json_t *json = json_loadb(d->bytes, d->size, JSON_REJECT_DUPLICATES, NULL);
    int kind = document_kind(json, d->media_type, name, err);
    int code = kind == INDEX ? index_choose(json, platform, strict, name, &next, err) : kind < 0 ? kind : 0;
    if (code == 0 && kind == INDEX) {
        *ret = (struct promise){.type = strdup(next.media_type), .size = next.size};
        memcpy(ret->digest, next.digest, DIGEST_TEXT);
        code = ret->type ? 1 : fail_memory(err);
    }
    json_decref(json);
    return code;
}

static int check_promise(const struct registry_document *d, const struct promise *p, const char *name, struct berth_error *err)
{
    if (p->type && *p->type && *d->media_type && strcmp(p->type, d->media_type) != 0)
        return fail(err, BERTH_CORRUPT, name, "%s: the manifest is \"%.80s\", its index says \"%.80s\"", name, d->media_type, p->type);
    if (p->type && p->size != d->size)
        return fail(err, BERTH_CORRUPT, name, "%s: the manifest has %zu bytes, its index says %llu", name, d->size, (unsigned long long)p->size);
    return 0;
}

/** The way down from an index: what was met, and what comes next. */
struct descent { char seen[INDEX_MAX_DEPTH][DIGEST_TEXT]; size_t depth; struct promise promise; };

static int not_seen_before(const struct descent *way, const char *digest, const char *name, struct berth_error *err)
{
    for (size_t i = 0; i < way->depth; i++)
        if (strcmp(way->seen[i], digest) == 0)
            return fail(err, BERTH_CORRUPT, name, "%s: an index that contains itself", name);
    return 0;
}

/* One document further: 1 for an index; 0, and *ret, for the manifest. */
static int descend(struct registry *r, struct descent *way, const struct platform *platform, bool strict, const char *name,
                   struct registry_document *ret, struct berth_error *err)
{
    struct registry_document d = {0};
    int code = registry_manifest(r, way->depth ? way->promise.digest : NULL, &d, err);
    if (code == 0)
        code = not_seen_before(way, d.digest, name, err);
    if (code == 0)
        code = check_promise(&d, &way->promise, name, err);
    promise_clear(&way->promise);
    memcpy(way->seen[way->depth++], d.digest, DIGEST_TEXT);
    if (code == 0)
        code = step_down(&d, platform, strict, name, &way->promise, err);
    if (code == 0)
        *ret = d;
    else
        registry_document_clear(&d);
    return code;
}

int registry_resolve(struct registry *r, const struct platform *platform, bool strict, struct registry_document *ret,
                     char ret_top[DIGEST_TEXT], struct berth_error *err)
{
    struct descent way = {0};
    autofree char *name = reference_familiar(&r->reference, NULL);
    int code = name ? 1 : fail_memory(err);
    while (code == 1 && way.depth < INDEX_MAX_DEPTH)
        code = descend(r, &way, platform, strict, name, ret, err);
    promise_clear(&way.promise);
    if (code == 0 && ret_top)
        memcpy(ret_top, way.seen[0], DIGEST_TEXT);
    return code < 1 ? code : fail(err, BERTH_CORRUPT, name, "%s: indexes lie more than %d deep", name, INDEX_MAX_DEPTH);
}

int registry_digest(struct registry *r, char ret_digest[DIGEST_TEXT], struct berth_error *err)
{
    autofree char *path = format_text("manifests/%s", r->reference.tag ? r->reference.tag : r->reference.digest);
    struct exchange *x = path ? exchange_new(r, "HEAD", path) : NULL;
    if (!x)
        return fail_memory(err);
    x->accept = MANIFEST_TYPES;
    int code = exchange_begin(x, err);
    if (code == 0)
        code = exchange_wait(x, err);
    bool said = code == 0 && x->head.digest && digest_valid(x->head.digest);
    if (said)
        memcpy(ret_digest, x->head.digest, DIGEST_TEXT);
    exchange_free(x);
    if (code < 0 || said)
        return code;
    struct registry_document d = {0};
    code = registry_manifest(r, r->reference.tag, &d, err);
    if (code == 0)
        memcpy(ret_digest, d.digest, DIGEST_TEXT);
    registry_document_clear(&d);
    return code;
}

/* ---- small blobs */

struct wanted_blob { const char *digest; uint64_t size; };

static int check_blob(struct exchange *x, struct berth_error *err)
{
    const struct wanted_blob *wanted = x->data;
    const char *host = exchange_source(x)->host;
    char is[DIGEST_TEXT];
    digest_of(x->text.length ? x->text.data : "", x->text.length, is);
    if (strcmp(is, wanted->digest) != 0)
        return fail(err, BERTH_CORRUPT, host, "%s sends another blob than %s: its digest is %s", host, wanted->digest, is);
    return x->text.length == wanted->size ? 0
         : fail(err, BERTH_CORRUPT, host, "%s: blob %s has %zu bytes, its manifest says %llu", host, wanted->digest, x->text.length,
                (unsigned long long)wanted->size);
}

int registry_blob(struct registry *r, const char *digest, uint64_t size, size_t max, char **ret_bytes, struct berth_error *err)
{
    struct wanted_blob wanted = {digest, size};
    if (size > max)
        return fail(err, BERTH_TOO_BIG, digest, "blob %s of %llu bytes is above the ceiling of %zu", digest, (unsigned long long)size, max);
    autofree char *path = format_text("blobs/%s", digest);
    struct exchange *x = path ? exchange_new(r, "GET", path) : NULL;
    if (!x)
        return fail_memory(err);
    x->max = (size_t)size;
    x->check = check_blob;
    x->data = &wanted;
    int code = exchange_begin(x, err);
    if (code == 0)
        code = exchange_wait(x, err);
    char *bytes = code == 0 ? text_take(&x->text) : NULL;
    exchange_free(x);
    if (code < 0)
        return code;
    *ret_bytes = bytes;
    return bytes ? 0 : fail_memory(err);
}

/* ---- large blobs */

static int check_transfer(struct exchange *x, struct berth_error *err)
{
    struct registry_transfer *t = x->transfer;
    char is[DIGEST_TEXT];
    if (!t->hasher)
        return 0;
    hasher_end(TAKE(t->hasher), is);
    if (strcmp(is, t->digest) == 0)
        return 0;
    const char *host = exchange_source(x)->host;
    return fail(err, BERTH_CORRUPT, host, "%s sends another blob than %s: its digest is %s", host, t->digest, is);
}

/* The bytes that are here already, for the digest. A file that is too short has nothing that counts. */
static int hash_what_is_here(struct registry_transfer *t, int have_fd, struct berth_error *err)
{
    autofree char *buffer = malloc(STREAM_BLOCK);
    if (!buffer)
        return fail_memory(err);
    for (uint64_t at = 0; at < t->here;) {
        ssize_t n = RETRY(pread(have_fd, buffer, MIN(STREAM_BLOCK, t->here - at), (off_t)at));
        if (n <= 0)
            return n < 0 ? fail_os(err, errno, t->digest, "read what is here of %s", t->digest)
                         : fail(err, BERTH_CORRUPT, t->digest, "the partial file of %s is shorter than was said", t->digest);
        hasher_add(t->hasher, buffer, (size_t)n);
        at += (uint64_t)n;
    }
    return 0;
}

/* All of it was here and it was wrong. */
static int begin_anew(struct registry_transfer *t, struct berth_error *err)
{
    bool used = t->here > 0;
    t->here = 0;
    t->mixed = false;
    hasher_free(t->hasher);
    t->hasher = hasher_new();
    if (!t->hasher)
        return fail_memory(err);
    return used ? t->sink.restart(t->sink.data, err) : 0;
}

static struct registry_transfer *transfer_new(struct registry *r, const char *digest, uint64_t size, uint64_t offset,
                                              const struct registry_sink *sink)
{
    autofree char *path = format_text("blobs/%s", digest);
    struct registry_transfer *t = calloc(1, sizeof *t);
    struct exchange *x = path && t ? exchange_new(r, "GET", path) : NULL;
    if (!x) {
        free(t);
        return NULL;
    }
    *t = (struct registry_transfer){.x = x, .size = size, .here = MIN(offset, size), .mixed = offset > 0, .sink = *sink,
                                    .hasher = hasher_new()};
    memcpy(t->digest, digest, DIGEST_TEXT);
    x->transfer = t;
    x->check = check_transfer;
    x->progress_mark = t->here;
    return t;
}

int registry_transfer_begin(struct registry *r, const char *digest, uint64_t size, uint64_t offset, int have_fd,
                            const struct registry_sink *sink, struct registry_transfer **ret, struct berth_error *err)
{
    struct registry_transfer *t = transfer_new(r, digest, size, offset, sink);
    int code = t && t->hasher ? 0 : fail_memory(err);
    if (code == 0 && t->here)
        code = hash_what_is_here(t, have_fd, err);
    bool all_here = code == 0 && t->here == size;
    bool whole = all_here && offset > 0 && check_transfer(t->x, &t->x->err) == 0;
    if (whole)
        t->x->over = true;
    if (all_here && !whole)
        code = begin_anew(t, err);
    if (code == 0 && !whole)
        code = exchange_begin(t->x, err);
    if (code == 0)
        *ret = t;
    else
        registry_transfer_free(t);
    return code;
}

enum transfer_state registry_transfer_state(const struct registry_transfer *t, struct berth_error *err)
{
    if (!t->x->over)
        return TRANSFER_RUNS;
    if (t->x->code < 0 && err)
        *err = t->x->err;
    return t->x->code < 0 ? TRANSFER_FAILED : TRANSFER_DONE;
}

void registry_transfer_free(struct registry_transfer *t)
{
    if (!t)
        return;
    exchange_free(t->x);
    hasher_free(t->hasher);
    free(t);
}
