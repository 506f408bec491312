/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pushing asks of a registry: is it there, may it be taken from a neighbour, here it is.
 */
#include "image/tool/registry_inside.h"
#include <stdio.h>
#include <string.h>

#define UPLOAD_ATTEMPTS 5
#define STREAM_TYPE "application/octet-stream"

static struct exchange *ask_for(struct registry *r, const char *method, const char *path, const char *digest)
{
    autofree char *whole = format_text("%s%s", path, digest);
    return whole ? exchange_new(r, method, whole) : NULL;
}

static int run(struct exchange *x, struct berth_error *err)
{
    if (!x)
        return fail_memory(err);
    int code = exchange_begin(x, err);
    return code == 0 ? exchange_wait(x, err) : code;
}

int registry_has_blob(struct registry *r, const char *digest, struct berth_error *err)
{
    struct berth_error own = {0};
    struct exchange *x = ask_for(r, "HEAD", "blobs/", digest);
    int code = run(x, &own);
    bool absent = code < 0 && x && x->head.status == 404;
    exchange_free(x);
    if (absent)
        return 0;
    if (code < 0 && err)
        *err = own;
    return code < 0 ? code : 1;
}

int registry_mount(struct registry *r, const char *digest, const char *from_repository, struct berth_error *err)
{
    autofree char *what = format_text("%s&from=%s", digest, from_repository);
    struct exchange *x = what ? ask_for(r, "POST", "blobs/uploads/?mount=", what) : NULL;
    int code = run(x, err);
    long status = x ? x->head.status : 0;
    exchange_free(x);
    /* 202: it began an upload instead, which it forgets by itself. Being refused is no reason to fail: it is sent. */
    return code == 0 ? status == 201 : status == 401 || status == 403 || status == 404 ? 0 : code;
}

/* Where an upload goes on: Location, relative to what was asked. */
static int next_place(struct exchange *x, char **place, struct berth_error *err)
{
    const struct source *s = exchange_source(x);
    CURLU *u = curl_url();
    char *text = NULL;
    bool good = u && x->head.location && curl_url_set(u, CURLUPART_URL, x->url, 0) == CURLUE_OK &&
                curl_url_set(u, CURLUPART_URL, x->head.location, 0) == CURLUE_OK &&
                curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK &&
                (starts_with(text, "https://") || (starts_with(text, "http://") && s->scheme == SCHEME_HTTP));
    if (good) {
        free(*place);
        *place = strdup(text);
    }
    curl_free(text);
    curl_url_cleanup(u);
    return good ? (*place ? 0 : fail_memory(err))
                : fail(err, BERTH_CORRUPT, s->host, "%s does not say where the upload goes on (or leads from https to http)", s->host);
}

static bool own_place(const struct exchange *x)
{
    const struct source *s = exchange_source(x);
    autofree char *base = format_text("%s://%s/", s->scheme == SCHEME_HTTP ? "http" : "https", s->host);
    return base && starts_with(x->fixed_url, base);
}

/* One request of an upload; `place` becomes where the next goes. */
static int upload_step(struct registry *r, const char *method, char **place, const char *query, int fd, uint64_t offset,
                       uint64_t size, long *ret_status, char **ret_range, struct berth_error *err)
{
    struct exchange *x = exchange_new(r, method, "");
    if (!x)
        return fail_memory(err);
    x->fixed_url = query ? format_text("%s%s%s", *place, strchr(*place, '?') ? "&" : "?", query) : strdup(*place);
    x->away = x->fixed_url && !own_place(x);
    x->once = true;
    x->body_fd = fd;
    x->body_offset = offset;
    x->body_size = size;
    x->body = "";
    if (fd >= 0) {
        x->content_type = strdup(STREAM_TYPE);
        x->content_range_sent = format_text("%llu-%llu", (unsigned long long)offset, (unsigned long long)(offset + size - 1));
    }
    int code = x->fixed_url && (fd < 0 || (x->content_type && x->content_range_sent)) ? run(x, err) : fail_memory(err);
    *ret_status = x->head.status;
    if (ret_range)
        *ret_range = TAKE(x->head.range);
    if (code == 0 && !query)
        code = next_place(x, place, err);
    exchange_free(x);
    return code;
}

/* How much of a broken upload has arrived: "Range: 0-N", N the last byte. */
static int ask_where(struct registry *r, char **place, uint64_t *ret_offset, struct berth_error *err)
{
    autofree char *range = NULL;
    unsigned long long last = 0;
    long status;
    int code = upload_step(r, "GET", place, NULL, -1, 0, 0, &status, &range, err);
    if (code == 0)
        *ret_offset = range && sscanf(range, "0-%llu", &last) == 1 && last > 0 ? last + 1 : 0;
    return code;
}

static int begin_upload(struct registry *r, char **place, struct berth_error *err)
{
    struct exchange *x = exchange_new(r, "POST", "blobs/uploads/");
    int code = run(x, err);
    if (code == 0)
        code = next_place(x, place, err);
    exchange_free(x);
    return code;
}

/* Send what is missing; after a break, from where the registry says. */
static int send_rest(struct registry *r, char **place, int fd, uint64_t size, struct berth_error *err)
{
    uint64_t offset = 0;
    int code = 0;
    long status = 0;
    for (int attempt = 0; attempt < UPLOAD_ATTEMPTS; attempt++) {
        uint64_t before = offset;
        code = upload_step(r, "PATCH", place, NULL, fd, offset, size - offset, &status, NULL, err);
        if (code == 0)
            return 0;
        if (status >= 400 && status < 500 && status != 408 && status != 416 && status != 429)
            return code;
        if (ask_where(r, place, &offset, NULL) < 0 || offset > size)
            return code;
        if (offset == size)
            return 0;
        if (offset > before)
            attempt = 0;
    }
    return code;
}

int registry_send_blob(struct registry *r, const char *digest, int fd, uint64_t size,
                       void (*moved)(void *data, uint64_t bytes), void *data, struct berth_error *err)
{
    autofree char *place = NULL, *query = format_text("digest=%s", digest);
    long status = 0;
    if (!query)
        return fail_memory(err);
    int code = begin_upload(r, &place, err);
    if (code == 0 && size > 0)
        code = send_rest(r, &place, fd, size, err);
    if (code == 0)
        code = upload_step(r, "PUT", &place, query, -1, 0, 0, &status, NULL, err);
    if (code < 0)
        return fail_context(err, "send %s", digest);
    if (moved)
        moved(data, size);
    return 0;
}

int registry_put_manifest(struct registry *r, const char *name, const char *media_type, const char *bytes, size_t size,
                          struct berth_error *err)
{
    char is[DIGEST_TEXT];
    digest_of(bytes, size, is);
    name = name ? name : r->reference.tag ? r->reference.tag : is;
    autofree char *path = format_text("manifests/%s", name);
    struct exchange *x = path ? exchange_new(r, "PUT", path) : NULL;
    if (!x || !(x->content_type = strdup(media_type))) {
        exchange_free(x);
        return fail_memory(err);
    }
    x->body = bytes;
    x->body_size = size;
    int code = run(x, err);
    if (code == 0 && x->head.digest && digest_valid(x->head.digest) && strcmp(x->head.digest, is) != 0)
        code = fail(err, BERTH_CORRUPT, r->name, "%s keeps the manifest as %s, but it is %s", r->name, x->head.digest, is);
    exchange_free(x);
    return code;
}

int registry_check_login(struct registry *r, struct berth_error *err)
{
    struct exchange *x = exchange_new(r, "GET", "");
    int code = run(x, err);
    exchange_free(x);
    return code;
}
