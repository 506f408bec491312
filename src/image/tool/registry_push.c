/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What pushing asks of a registry: is it there, may it be taken from a neighbour, here it is.
 *
 * Each blob is a chain of requests; some chains go on beside each other.
 */
#include "image/tool/registry_inside.h"
#include <stdio.h>
#include <string.h>

#define UPLOAD_ATTEMPTS 5
#define AT_ONCE 6
#define STREAM_TYPE "application/octet-stream"

static int run(struct exchange *x, struct berth_error *err)
{
    if (!x)
        return fail_memory(err);
    int code = exchange_begin(x, err);
    return code == 0 ? exchange_wait(x, err) : code;
}

/* ---- chains of requests, some beside each other */

/** What is done for one piece: after each answer `heard` asks for more (0), is done (1) or has failed. */
struct chain {
    struct registry *registry;
    struct registry_piece *piece;
    struct exchange *x;
    int (*heard)(struct chain *c, int code, struct berth_error *err);
    size_t neighbour;         /* that was asked last */
    char *place;              /* where the upload goes on */
    uint64_t offset, before;
    unsigned attempt;
    int broken;               /* why it has to go on, and err */
    struct berth_error err;
    bool sends;
};

static void chain_clear(struct chain *c)
{
    exchange_free(c->x);
    free(c->place);
    *c = (struct chain){0};
}

static int go_on(struct chain *c, struct exchange *x, int (*heard)(struct chain *, int, struct berth_error *), struct berth_error *err)
{
    if (!x)
        return fail_memory(err);
    exchange_free(c->x);
    c->x = x;
    c->heard = heard;
    int code = exchange_begin(x, err);
    return x->over ? 0 : code; /* how it ended is heard */
}

/* 1: it is done. */
static int listen_to(struct chain *c, struct berth_error *err)
{
    int code = 0;
    while (code == 0 && c->x->over) {
        struct berth_error own = c->x->err;
        code = c->heard(c, c->x->code, &own);
        if (code < 0 && err)
            *err = own;
        if (code < 0 && c->sends)
            fail_context(err, "send %s", c->piece->digest);
    }
    return code;
}

/** Pieces, and the chains of some of them. */
struct chains {
    struct registry *registry;
    struct registry_piece *pieces;
    size_t n, next, running;
    int (*begin)(struct chain *c, struct berth_error *err);
    struct chain places[AT_ONCE];
};

/* What is heard in one place; when its chain is done the next one has it, until one waits for an answer. */
static int listen_at(struct chains *all, struct chain *c, struct berth_error *err)
{
    int done = 1;
    while (done > 0 && (c->x || all->next < all->n)) {
        done = 0;
        if (!c->x) {
            *c = (struct chain){.registry = all->registry, .piece = &all->pieces[all->next++]};
            all->running++;
            done = all->begin(c, err);
        }
        if (done == 0)
            done = listen_to(c, err);
        if (done > 0) {
            chain_clear(c);
            all->running--;
        }
    }
    return MIN(done, 0);
}

static int run_all(struct registry *r, struct registry_piece *pieces, size_t n, int (*begin)(struct chain *, struct berth_error *),
                   struct berth_error *err)
{
    struct chains all = {.registry = r, .pieces = pieces, .n = n, .begin = begin};
    int code = 0;
    do {
        for (size_t i = 0; code == 0 && i < AT_ONCE; i++)
            code = listen_at(&all, &all.places[i], err);
        if (code == 0 && all.running)
            code = registry_step(r, NULL, 0, -1, err);
    } while (code == 0 && all.running);
    for (size_t i = 0; i < AT_ONCE; i++)
        chain_clear(&all.places[i]);
    return code;
}

static struct exchange *ask_for(struct chain *c, const char *method, const char *path, const char *more)
{
    autofree char *whole = format_text("%s%s%s", path, c->piece->digest, more);
    return whole ? exchange_new(c->registry, method, whole) : NULL;
}

static void tell(const struct chain *c, const char *step)
{
    if (c->piece->tell)
        c->piece->tell(c->piece->data, step, c->piece);
}

/* ---- is it there, may it be taken from a neighbour? */

static int is_there(struct chain *c)
{
    c->piece->there = true;
    tell(c, "there");
    return 1;
}

static int heard_neighbour(struct chain *c, int code, struct berth_error *err);

static int ask_neighbour(struct chain *c, struct berth_error *err)
{
    const char *from = c->piece->neighbours ? c->piece->neighbours[c->neighbour] : NULL;
    if (!from)
        return 1;
    c->neighbour++;
    autofree char *more = format_text("&from=%s", from);
    return go_on(c, more ? ask_for(c, "POST", "blobs/uploads/?mount=", more) : NULL, heard_neighbour, err);
}

/* 202: it began an upload instead, which it forgets by itself. Being refused is no reason to fail: it is sent. */
static int heard_neighbour(struct chain *c, int code, struct berth_error *err)
{
    long status = c->x->head.status;
    if (code == 0 && status == 201)
        return is_there(c);
    return code == 0 || status == 401 || status == 403 || status == 404 ? ask_neighbour(c, err) : code;
}

static int heard_whether(struct chain *c, int code, struct berth_error *err)
{
    if (code == 0)
        return is_there(c);
    return c->x->head.status == 404 ? ask_neighbour(c, err) : code;
}

static int begin_asking(struct chain *c, struct berth_error *err)
{
    tell(c, "ask");
    return go_on(c, ask_for(c, "HEAD", "blobs/", ""), heard_whether, err);
}

int registry_ask_all(struct registry *r, struct registry_piece *pieces, size_t n, struct berth_error *err)
{
    return run_all(r, pieces, n, begin_asking, err);
}

/* ---- sending */

/* Where an upload goes on: Location, relative to what was asked. */
static int next_place(const struct exchange *x, char **place, struct berth_error *err)
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

/* A request of an upload, to c->place. */
static struct exchange *upload(struct chain *c, const char *method, const char *query)
{
    struct exchange *x = exchange_new(c->registry, method, "");
    if (!x)
        return NULL;
    x->fixed_url = query ? format_text("%s%s%s", c->place, strchr(c->place, '?') ? "&" : "?", query) : strdup(c->place);
    x->away = x->fixed_url && !own_place(x);
    x->once = true;
    x->body = "";
    return x->fixed_url ? x : (exchange_free(x), NULL);
}

static int heard_end(struct chain *c, int code, struct berth_error *err)
{
    (void)err;
    if (code < 0)
        return code;
    tell(c, "sent");
    return 1;
}

static int end_upload(struct chain *c, struct berth_error *err)
{
    autofree char *query = format_text("digest=%s", c->piece->digest);
    return go_on(c, query ? upload(c, "PUT", query) : NULL, heard_end, err);
}

static int heard_part(struct chain *c, int code, struct berth_error *err);

/* What is missing of it. */
static int send_part(struct chain *c, struct berth_error *err)
{
    struct exchange *x = upload(c, "PATCH", NULL);
    c->before = c->offset;
    if (x) {
        x->body_fd = c->piece->fd;
        x->body_offset = c->offset;
        x->body_size = c->piece->size - c->offset;
        x->content_type = strdup(STREAM_TYPE);
        x->content_range_sent = format_text("%llu-%llu", (unsigned long long)c->offset, (unsigned long long)(c->piece->size - 1));
    }
    if (x && (!x->content_type || !x->content_range_sent)) {
        exchange_free(x);
        x = NULL;
    }
    return go_on(c, x, heard_part, err);
}

static int gave_up(const struct chain *c, struct berth_error *err)
{
    *err = c->err;
    return c->broken;
}

/* How much of a broken upload has arrived: "Range: 0-N", N the last byte. */
static int heard_where(struct chain *c, int code, struct berth_error *err)
{
    unsigned long long last = 0;
    const char *range = c->x->head.range;
    if (code < 0 || next_place(c->x, &c->place, NULL) < 0)
        return gave_up(c, err);
    c->offset = range && sscanf(range, "0-%llu", &last) == 1 && last > 0 ? last + 1 : 0;
    if (c->offset == c->piece->size)
        return end_upload(c, err);
    c->attempt = c->offset > c->before ? 1 : c->attempt + 1;
    return c->offset > c->piece->size || c->attempt >= UPLOAD_ATTEMPTS ? gave_up(c, err) : send_part(c, err);
}

/* After a break it goes on from where the registry says. */
static int heard_part(struct chain *c, int code, struct berth_error *err)
{
    long status = c->x->head.status;
    if (code == 0) {
        code = next_place(c->x, &c->place, err);
        return code < 0 ? code : end_upload(c, err);
    }
    if (status >= 400 && status < 500 && status != 408 && status != 416 && status != 429)
        return code;
    c->broken = code;
    c->err = *err;
    return go_on(c, upload(c, "GET", NULL), heard_where, err);
}

static int heard_begin(struct chain *c, int code, struct berth_error *err)
{
    if (code == 0)
        code = next_place(c->x, &c->place, err);
    return code < 0 ? code : c->piece->size > 0 ? send_part(c, err) : end_upload(c, err);
}

static int begin_sending(struct chain *c, struct berth_error *err)
{
    c->sends = true;
    tell(c, "send");
    return go_on(c, exchange_new(c->registry, "POST", "blobs/uploads/"), heard_begin, err);
}

int registry_send_all(struct registry *r, struct registry_piece *pieces, size_t n, struct berth_error *err)
{
    return run_all(r, pieces, n, begin_sending, err);
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
