/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What comes back while it comes: headers, bytes, and whether they are what was asked for.
 *
 * libcurl calls these; a 0 or an abort from here ends the attempt, registry_next.c says what that means.
 */
#include "image/tool/registry_inside.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>

void answer_clear(struct answer_head *h)
{
    free(h->type);
    free(h->location);
    free(h->digest);
    free(h->range);
    free(h->content_range);
    for (size_t i = 0; i < h->n_challenges; i++)
        free(h->challenges[i]);
    *h = (struct answer_head){.length = -1};
}

/* ---- headers of the answer */

static void keep(char **place, const char *value, size_t n)
{
    free(*place);
    *place = strndup(value, n);
}

static void keep_header(struct answer_head *h, const char *name, size_t n, const char *value, size_t length)
{
    const struct { const char *name; char **place; } known[] = {
        {"content-type", &h->type},   {"location", &h->location}, {"docker-content-digest", &h->digest},
        {"range", &h->range}, {"content-range", &h->content_range},
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strlen(known[i].name) == n && strncasecmp(name, known[i].name, n) == 0)
            keep(known[i].place, value, length);
    if (n == 16 && strncasecmp(name, "www-authenticate", n) == 0 && h->n_challenges < ARRAY_SIZE(h->challenges)) {
        h->challenges[h->n_challenges] = strndup(value, length);
        h->n_challenges += h->challenges[h->n_challenges] != NULL;
    }
}

static size_t take_header(char *line, size_t one, size_t n, void *data)
{
    struct exchange *x = data;
    (void)one;
    size_t bytes = x->head.bytes + n;
    if (n > 5 && memcmp(line, "HTTP/", 5) == 0) /* a new answer: after 100 Continue */
        answer_clear(&x->head);
    x->head.bytes = bytes;
    if (bytes > REGISTRY_MAX_HEADER_BYTES) {
        x->too_much = true;
        return 0;
    }
    const char *colon = memchr(line, ':', n);
    if (!colon)
        return n;
    const char *value = colon + 1, *end = line + n;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && strchr("\r\n \t", end[-1]))
        end--;
    if (!memchr(value, 0, (size_t)(end - value)))
        keep_header(&x->head, line, (size_t)(colon - line), value, (size_t)(end - value));
    return n;
}

/* ---- bytes */

bool answer_good(const struct exchange *x)
{
    return x->head.status >= 200 && x->head.status < 300;
}

static size_t take_text(struct exchange *x, const char *bytes, size_t n)
{
    size_t max = answer_good(x) ? x->max : REGISTRY_MAX_ERROR_BYTES;
    if (x->text.length + n > max) {
        x->too_much = true;
        return 0;
    }
    text_add_bytes(&x->text, bytes, n);
    return x->text.failed ? 0 : n;
}

static size_t take_blob(struct exchange *x, const char *bytes, size_t n)
{
    struct registry_transfer *t = x->transfer;
    size_t skip = (size_t)MIN(t->skip, n), left = n - skip;
    t->skip -= skip;
    bytes += skip;
    if (left > t->size - t->here) {
        x->too_much = true;
        return 0;
    }
    if (left && t->sink.write(t->sink.data, bytes, left, t->here, &x->err) < 0) {
        x->sink_failed = true;
        return 0;
    }
    if (t->hasher)
        hasher_add(t->hasher, bytes, left);
    t->here += left;
    x->registry->moved = true;
    return n;
}

/* Is this answer the piece that was asked for? What lies is caught before its first byte is written. */
static bool piece_fits(struct exchange *x)
{
    struct registry_transfer *t = x->transfer;
    unsigned long long from = 0, to = 0, total = 0;
    if (x->head.status == 206) {
        int n = x->head.content_range ? sscanf(x->head.content_range, "bytes %llu-%llu/%llu", &from, &to, &total) : 0;
        return n >= 2 && from == t->here && (n < 3 || total == t->size);
    }
    t->skip = t->here; /* the whole again: what is here already passes by */
    return x->head.length < 0 || (uint64_t)x->head.length == t->size;
}

static size_t take_bytes(char *bytes, size_t one, size_t n, void *data)
{
    struct exchange *x = data;
    (void)one;
    if (x->head.status == 0) { /* the first of this answer */
        curl_off_t length = -1;
        curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &x->head.status);
        curl_easy_getinfo(x->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        x->head.length = length;
        if (x->transfer && answer_good(x) && !piece_fits(x)) {
            x->too_much = true;
            return 0;
        }
    }
    return x->transfer && answer_good(x) ? take_blob(x, bytes, n) : take_text(x, bytes, n);
}

static size_t give_bytes(char *room, size_t one, size_t n, void *data)
{
    struct exchange *x = data;
    size_t wanted = (size_t)MIN(one * n, x->body_size - x->body_sent);
    if (x->body_fd < 0) {
        memcpy(room, x->body + x->body_sent, wanted);
    } else if (wanted) {
        ssize_t got = RETRY(pread(x->body_fd, room, wanted, (off_t)(x->body_offset + x->body_sent)));
        if (got <= 0)
            return CURL_READFUNC_ABORT;
        wanted = (size_t)got;
    }
    x->body_sent += wanted;
    return wanted;
}

/* libcurl sends again by itself when an old connection turns out to be dead. Not of an upload: nobody but the registry
   knows how much of it has arrived, and some add what they get to what they have. */
static int rewind_bytes(void *data, curl_off_t offset, int origin)
{
    struct exchange *x = data;
    if (x->once)
        return CURL_SEEKFUNC_FAIL;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > x->body_size)
        return CURL_SEEKFUNC_CANTSEEK;
    x->body_sent = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

void answer_callbacks(struct exchange *x)
{
    curl_easy_setopt(x->easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(x->easy, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_READFUNCTION, give_bytes);
    curl_easy_setopt(x->easy, CURLOPT_READDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_SEEKFUNCTION, rewind_bytes);
    curl_easy_setopt(x->easy, CURLOPT_SEEKDATA, x);
}

/* ---- answers */

void http_words(const struct text *body, char *ret, size_t room)
{
    json_t *json = body->length ? json_loadb(body->data, body->length, 0, NULL) : NULL;
    const json_t *first = json_array_get(json_object_get(json, "errors"), 0);
    const char *message = json_string_value(json_object_get(first, "message"));
    if (!message)
        message = json_string_value(json_object_get(first, "code"));
    if (!message)
        message = json_string_value(json_object_get(json, "details")); /* token servers */
    size_t n = 0;
    for (const char *p = message; p && *p && n + 1 < room; p++)
        if (*p >= ' ' && *p < 127)
            ret[n++] = *p;
    ret[n] = 0;
    json_decref(json);
}
