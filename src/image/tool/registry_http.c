/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request, until it is answered or nobody is left to ask.
 *
 * libcurl moves the bytes; what is decided here is whom to ask next. Redirects are followed by hand,
 * for libcurl's idea of "the same host" would be one more thing to trust with credentials.
 */
#include "image/tool/registry_inside.h"
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define AGENT "berth/" BERTH_VERSION
#define CONNECT_SEC 15
#define BUFFER_BYTES (256L << 10)

/* ---- the exchange as an object */

struct exchange *exchange_new(struct registry *r, const char *method, const char *path)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    *x = (struct exchange){.registry = r, .method = method, .body_fd = -1, .source = r->first, .max = REGISTRY_MAX_ERROR_BYTES,
                           .head.length = -1, .path = strdup(path)};
    return x->path ? x : (free(x), NULL);
}

static void head_clear(struct answer_head *h)
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

static void drop_handle(struct exchange *x)
{
    if (x->easy) {
        curl_multi_remove_handle(x->registry->multi, x->easy);
        curl_easy_cleanup(x->easy);
    }
    curl_slist_free_all(x->headers);
    x->easy = NULL;
    x->headers = NULL;
}

static void unlink_exchange(struct exchange *x)
{
    struct exchange **p = &x->registry->exchanges;
    while (*p && *p != x)
        p = &(*p)->next;
    if (*p)
        *p = x->next;
}

void exchange_free(struct exchange *x)
{
    if (!x)
        return;
    unlink_exchange(x);
    drop_handle(x);
    head_clear(&x->head);
    text_free(&x->text);
    free(x->path);
    free(x->fixed_url);
    free(x->content_type);
    free(x->content_range_sent);
    free(x->url);
    free(x);
}

const struct source *exchange_source(const struct exchange *x)
{
    return &x->registry->sources[MIN(x->source, x->registry->n_sources - 1)];
}

static void finish(struct exchange *x, int code)
{
    drop_handle(x);
    x->over = true;
    x->code = code;
    x->registry->moved = true;
    unlink_exchange(x);
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
        head_clear(&x->head);
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

static bool is_good(const struct exchange *x)
{
    return x->head.status >= 200 && x->head.status < 300;
}

static size_t take_text(struct exchange *x, const char *bytes, size_t n)
{
    size_t max = is_good(x) ? x->max : REGISTRY_MAX_ERROR_BYTES;
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
        if (x->transfer && is_good(x) && !piece_fits(x)) {
            x->too_much = true;
            return 0;
        }
    }
    return x->transfer && is_good(x) ? take_blob(x, bytes, n) : take_text(x, bytes, n);
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

/* ---- asking */

char *source_url(const struct source *s, const char *repository, const char *path)
{
    const char *scheme = s->scheme == SCHEME_HTTP ? "http" : "https";
    return *path ? format_text("%s://%s/v2/%s%s/%s", scheme, s->host, s->prefix, repository, path)
                 : format_text("%s://%s/v2/", scheme, s->host);
}

static void blob_option(CURL *easy, CURLoption option, const char *pem)
{
    struct curl_blob blob = {.data = (void *)(uintptr_t)pem, .len = strlen(pem), .flags = CURL_BLOB_NOCOPY};
    curl_easy_setopt(easy, option, &blob);
}

static void set_tls(CURL *easy, const struct registry *r, const struct source *s, bool own)
{
    const char *ca = s->ca ? s->ca : r->ca;
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (s->unverified) {
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (ca)
        blob_option(easy, CURLOPT_CAINFO_BLOB, ca);
    if (own && s->certificate && s->key) {
        blob_option(easy, CURLOPT_SSLCERT_BLOB, s->certificate);
        blob_option(easy, CURLOPT_SSLKEY_BLOB, s->key);
    }
}

CURL *http_handle(const struct registry *r, const struct source *s, bool own, bool plain)
{
    CURL *easy = curl_easy_init();
    if (!easy)
        return NULL;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, AGENT);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, plain ? "http,https" : "https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)MIN(CONNECT_SEC, MAX(s->silence_sec, 1)));
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)REGISTRY_SLOWEST);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)MAX(s->silence_sec, 1));
    curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, BUFFER_BYTES);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    if (s->loopback)
        curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    else if (plain && r->http_proxy)
        curl_easy_setopt(easy, CURLOPT_PROXY, r->http_proxy);
    set_tls(easy, r, s, own);
    return easy;
}

static bool add_header(struct exchange *x, const char *name, const char *value)
{
    autofree char *line = value ? format_text("%s: %s", name, value) : format_text("%s:", name);
    struct curl_slist *list = line ? curl_slist_append(x->headers, line) : NULL;
    if (list)
        x->headers = list;
    return list != NULL;
}

static bool add_headers(struct exchange *x)
{
    const struct source *s = exchange_source(x);
    bool good = add_header(x, "Expect", NULL);
    if (x->accept)
        good = good && add_header(x, "Accept", x->accept);
    if (!x->away && s->authorization)
        good = good && add_header(x, "Authorization", s->authorization);
    if (x->content_type)
        good = good && add_header(x, "Content-Type", x->content_type);
    if (x->content_range_sent)
        good = good && add_header(x, "Content-Range", x->content_range_sent);
    if (x->transfer && x->transfer->here) {
        autofree char *range = format_text("bytes=%llu-", (unsigned long long)x->transfer->here);
        good = good && range && add_header(x, "Range", range);
    }
    return good;
}

static void set_method(struct exchange *x)
{
    bool head = strcmp(x->method, "HEAD") == 0, get = strcmp(x->method, "GET") == 0;
    if (head)
        curl_easy_setopt(x->easy, CURLOPT_NOBODY, 1L);
    if (head || get)
        return;
    curl_easy_setopt(x->easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(x->easy, CURLOPT_CUSTOMREQUEST, x->method);
    curl_easy_setopt(x->easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)x->body_size);
    curl_easy_setopt(x->easy, CURLOPT_READFUNCTION, give_bytes);
    curl_easy_setopt(x->easy, CURLOPT_READDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_SEEKFUNCTION, rewind_bytes);
    curl_easy_setopt(x->easy, CURLOPT_SEEKDATA, x);
}

/* One attempt: a fresh handle on the same connections. */
static int send_it(struct exchange *x)
{
    struct registry *r = x->registry;
    const struct source *s = exchange_source(x);
    drop_handle(x);
    head_clear(&x->head);
    text_free(&x->text);
    x->too_much = false;
    x->due_usec = 0;
    x->body_sent = 0;
    x->curl_error[0] = 0;
    if (x->transfer)
        x->transfer->skip = 0;
    if (!x->url)
        x->url = x->fixed_url ? strdup(x->fixed_url) : source_url(s, r->reference.repository ? r->reference.repository : "", x->path);
    if (!x->url || !add_headers(x))
        return fail_memory(&x->err);
    x->easy = http_handle(r, s, !x->away, strncasecmp(x->url, "http://", 7) == 0);
    if (!x->easy)
        return fail_memory(&x->err);
    curl_easy_setopt(x->easy, CURLOPT_URL, x->url);
    curl_easy_setopt(x->easy, CURLOPT_HTTPHEADER, x->headers);
    curl_easy_setopt(x->easy, CURLOPT_ERRORBUFFER, x->curl_error);
    curl_easy_setopt(x->easy, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(x->easy, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(x->easy, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(x->easy, CURLOPT_PRIVATE, x);
    set_method(x);
    return curl_multi_add_handle(r->multi, x->easy) == CURLM_OK ? 0 : fail_memory(&x->err);
}

static void ask(struct exchange *x)
{
    int code = send_it(x);
    if (code < 0)
        finish(x, code);
}

/* From the source's own address again. */
static void ask_anew(struct exchange *x)
{
    free(x->url);
    x->url = NULL;
    x->away = false;
    x->redirects = 0;
    ask(x);
}

int exchange_begin(struct exchange *x, struct berth_error *err)
{
    if (x->source >= x->registry->n_sources)
        return fail(err, BERTH_IO, x->registry->name, "%s: nobody is left to ask", x->registry->name);
    x->next = x->registry->exchanges;
    x->registry->exchanges = x;
    ask(x);
    if (x->over && x->code < 0 && err)
        *err = x->err;
    return x->over ? x->code : 0;
}

int exchange_wait(struct exchange *x, struct berth_error *err)
{
    while (!x->over) {
        int code = registry_step(x->registry, NULL, 0, -1, err);
        if (code < 0)
            return code;
    }
    if (x->code < 0 && err)
        *err = x->err;
    return x->code;
}

/* ---- where to go on */

void exchange_next_source(struct exchange *x)
{
    struct registry *r = x->registry;
    int code = x->err.code ? x->err.code : BERTH_IO;
    do
        x->source++;
    while (x->source < r->n_sources && r->sources[x->source].dead);
    if (x->source >= r->n_sources || x->fixed_url) {
        finish(x, code);
        return;
    }
    x->attempts = x->silences = x->auth_tries = 0;
    x->plain_tried = false;
    if (x->transfer)
        x->transfer->mixed |= x->transfer->here > 0;
    r->moved = true;
    ask_anew(x);
}

void exchange_again(struct exchange *x, bool same_source)
{
    if (x->over) {
        x->over = false;
        x->next = x->registry->exchanges;
        x->registry->exchanges = x;
    }
    if (same_source)
        ask_anew(x);
    else
        exchange_next_source(x);
}

static bool is_last(const struct exchange *x)
{
    for (size_t i = x->source + 1; i < x->registry->n_sources; i++)
        if (!x->registry->sources[i].dead)
            return false;
    return true;
}

static void pause_and_ask(struct exchange *x, int64_t usec)
{
    drop_handle(x);
    free(x->url);
    x->url = NULL;
    x->away = false;
    x->redirects = 0;
    x->due_usec = monotonic_usec() + usec;
}

/* Growing pauses, a quarter of a second at first; fewer for a mirror, for there is somebody else to ask. */
static void try_again(struct exchange *x, int64_t wait_sec)
{
    unsigned most = is_last(x) ? REGISTRY_MAX_ATTEMPTS : 2;
    uint64_t here = x->transfer ? x->transfer->here : 0;
    if (here)
        x->transfer->mixed = true;
    if (here >= x->progress_mark + REGISTRY_PROGRESS_BYTES) {
        x->attempts = x->silences = 0;
        x->progress_mark = here;
    }
    if (x->once || ++x->attempts >= most) {
        exchange_next_source(x);
        return;
    }
    if (wait_sec > REGISTRY_MAX_WAIT_SEC || (wait_sec > 0 && !is_last(x))) {
        fail_context(&x->err, "it asks to wait %lld seconds", (long long)wait_sec);
        exchange_next_source(x);
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t usec = (250000ll << (x->attempts - 1)) + now.tv_nsec % 100000; /* not all in step */
    pause_and_ask(x, MAX(usec, wait_sec * 1000000));
}

static void lied(struct exchange *x)
{
    struct registry_transfer *t = x->transfer;
    bool same = false;
    if (t && t->here) {
        same = t->mixed; /* whose fault it was is not known: once more, from the beginning */
        t->here = 0;
        t->mixed = false;
        hasher_free(t->hasher);
        t->hasher = t->sink.unhashed ? NULL : hasher_new();
        x->progress_mark = 0;
        int code = t->sink.restart(t->sink.data, &x->err);
        if (code < 0) {
            finish(x, code);
            return;
        }
    }
    if (same)
        ask_anew(x);
    else
        exchange_next_source(x);
}

static bool may_be_plain(struct exchange *x, CURLcode c)
{
    struct source *s = &x->registry->sources[x->source];
    bool refused = c == CURLE_SSL_CONNECT_ERROR || c == CURLE_COULDNT_CONNECT || c == CURLE_RECV_ERROR || c == CURLE_GOT_NOTHING;
    if (s->scheme != SCHEME_EITHER || !refused || x->away || x->plain_tried)
        return false;
    x->plain_tried = true;
    s->scheme = SCHEME_HTTP;
    return true;
}

/* libcurl's failures: is it worth another try? */
static void broken(struct exchange *x, CURLcode c)
{
    struct registry *r = x->registry;
    struct source *s = &r->sources[x->source];
    const char *words = *x->curl_error ? x->curl_error : curl_easy_strerror(c);
    if (x->sink_failed) {
        finish(x, x->err.code ? x->err.code : BERTH_IO);
        return;
    }
    if (may_be_plain(x, c)) {
        ask_anew(x);
        return;
    }
    if (x->too_much) {
        fail(&x->err, BERTH_CORRUPT, s->host, x->transfer ? "%s sends something else than was asked for, or more of it"
                                                          : "%s sends more than is taken of this", s->host);
        lied(x);
        return;
    }
    switch (c) {
    case CURLE_COULDNT_RESOLVE_HOST:
        fail(&x->err, BERTH_NOT_FOUND, s->host, "no such host: %s", s->host);
        break;
    case CURLE_COULDNT_CONNECT:
        fail(&x->err, BERTH_IO, s->host, "%s cannot be reached: %s", s->host, words);
        break;
    case CURLE_PEER_FAILED_VERIFICATION:
        fail(&x->err, BERTH_DENIED, s->host, "%s: its certificate is not trusted: %s (its CA belongs into /etc/containers/certs.d/%s/ca.crt)",
             s->host, words, s->host);
        break;
    case CURLE_SSL_CONNECT_ERROR:
        fail(&x->err, BERTH_IO, s->host, "%s does not speak TLS as it should: %s (a registry without TLS needs insecure = true)", s->host, words);
        break;
    case CURLE_OPERATION_TIMEDOUT:
        fail(&x->err, BERTH_TIMED_OUT, s->host, "%s sends (almost) nothing for %d seconds", s->host, s->silence_sec);
        if (++x->silences < REGISTRY_MAX_SILENCES || x->progress_mark + REGISTRY_PROGRESS_BYTES <= (x->transfer ? x->transfer->here : 0)) {
            try_again(x, 0);
            return;
        }
        break;
    default:
        fail(&x->err, BERTH_IO, s->host, "%s breaks off: %s", s->host, words);
        try_again(x, 0);
        return;
    }
    if (c != CURLE_OPERATION_TIMEDOUT || !x->transfer)
        s->dead = s->is_mirror;
    exchange_next_source(x);
}

/* ---- redirects */

static char *part(CURLU *u, CURLUPart which)
{
    char *text = NULL;
    return curl_url_get(u, which, &text, which == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0) == CURLUE_OK ? text : NULL;
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart which)
{
    char *x = part(a, which), *y = part(b, which);
    bool same = x && y && strcasecmp(x, y) == 0;
    curl_free(x);
    curl_free(y);
    return same;
}

static bool same_place(CURLU *a, CURLU *b)
{
    return same_part(a, b, CURLUPART_SCHEME) && same_part(a, b, CURLUPART_HOST) && same_part(a, b, CURLUPART_PORT);
}

static int follow(const char *from, const char *location, const char *own, char **ret_url, bool *ret_away, struct berth_error *err)
{
    CURLU *to = curl_url(), *home = curl_url();
    int code = 0;
    char *scheme = NULL, *text = NULL;
    if (!to || !home)
        code = fail_memory(err);
    else if (curl_url_set(home, CURLUPART_URL, own, 0) || curl_url_set(to, CURLUPART_URL, from, 0) ||
             curl_url_set(to, CURLUPART_URL, location, 0) || curl_url_set(to, CURLUPART_USER, NULL, 0) ||
             curl_url_set(to, CURLUPART_PASSWORD, NULL, 0) || curl_url_set(to, CURLUPART_FRAGMENT, NULL, 0))
        code = fail(err, BERTH_CORRUPT, from, "it redirects to \"%.200s\", which is no address", location);
    if (code == 0) {
        scheme = part(to, CURLUPART_SCHEME);
        if (!scheme || (strcasecmp(scheme, "https") != 0 && strcasecmp(scheme, "http") != 0))
            code = fail(err, BERTH_CORRUPT, from, "it redirects to \"%.200s\", which is not http or https", location);
        else if (strcasecmp(scheme, "http") == 0 && strncasecmp(from, "https:", 6) == 0)
            code = fail(err, BERTH_DENIED, from, "it redirects from https to http (%.200s), which is refused", location);
    }
    if (code == 0) {
        text = part(to, CURLUPART_URL);
        *ret_away = !same_place(to, home);
        *ret_url = text ? strdup(text) : NULL;
        code = *ret_url ? 0 : fail_memory(err);
    }
    curl_free(scheme);
    curl_free(text);
    curl_url_cleanup(to);
    curl_url_cleanup(home);
    return code;
}

static void redirected(struct exchange *x)
{
    const struct source *s = exchange_source(x);
    autofree char *own = source_url(s, "", "");
    char *url = NULL;
    bool away = false;
    int code = 0;
    bool somewhere = x->head.location && *x->head.location;
    if (!somewhere || ++x->redirects > REGISTRY_MAX_REDIRECTS)
        code = fail(&x->err, BERTH_CORRUPT, s->host, somewhere ? "%s redirects in a circle" : "%s redirects to nowhere", s->host);
    else
        code = own ? follow(x->url, x->head.location, own, &url, &away, &x->err) : fail_memory(&x->err);
    if (code < 0) {
        if (x->redirects <= REGISTRY_MAX_REDIRECTS)
            fail_context(&x->err, "%s", s->host);
        exchange_next_source(x);
        return;
    }
    free(x->url);
    x->url = url;
    x->away = away;
    ask(x);
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

static void unauthorized(struct exchange *x)
{
    struct registry *r = x->registry;
    struct source *s = &r->sources[x->source];
    char said[160];
    http_words(&x->text, said, sizeof said);
    if (x->away) {
        fail(&x->err, BERTH_DENIED, s->host, "%s sends us to another host, which refuses (401)", s->host);
        try_again(x, 0);
        return;
    }
    if (++x->auth_tries > 2) {
        fail(&x->err, BERTH_DENIED, r->name, "%s refuses %s%s%s (no such repository, or it wants another login: berth login %s)", s->host,
             r->reference.repository ? r->reference.repository : "the login", *said ? ": " : "", said, r->name);
        exchange_next_source(x);
        return;
    }
    if (auth_answer(r, s, &x->head, &x->err) < 0)
        exchange_next_source(x);
    else
        ask_anew(x);
}

static const char *what_is(const struct exchange *x)
{
    return x->transfer ? x->transfer->digest : x->path && *x->path ? strrchr(x->path, '/') ? strrchr(x->path, '/') + 1 : x->path : "";
}

static void refused(struct exchange *x)
{
    struct registry *r = x->registry;
    const struct source *s = exchange_source(x);
    char said[160];
    http_words(&x->text, said, sizeof said);
    const char *colon = *said ? ": " : "", *repository = r->reference.repository ? r->reference.repository : "";
    curl_off_t wait_sec = 0;
    long status = x->head.status;
    curl_easy_getinfo(x->easy, CURLINFO_RETRY_AFTER, &wait_sec);
    if (status == 416 && x->transfer && x->transfer->here) {
        fail(&x->err, BERTH_CORRUPT, s->host, "%s knows no such range of %s", s->host, x->transfer->digest);
        lied(x);
    } else if (status == 429 || status >= 500 || status == 408) {
        fail(&x->err, BERTH_IO, s->host, status == 429 ? "%s is asked too often (%ld)%s%s" : "%s fails (%ld)%s%s", s->host, status, colon, said);
        try_again(x, (int64_t)wait_sec);
    } else if (status == 404) {
        fail(&x->err, BERTH_NOT_FOUND, r->name, "%s has no %s in %s%s%s", s->host, what_is(x), repository, colon, said);
        exchange_next_source(x);
    } else if (status == 403) {
        fail(&x->err, BERTH_DENIED, r->name, "%s does not allow it in %s%s%s (berth login %s)", s->host, repository, colon, said, r->name);
        exchange_next_source(x);
    } else {
        fail(&x->err, BERTH_IO, s->host, "%s answers %ld%s%s", s->host, status, colon, said);
        exchange_next_source(x);
    }
}

static void good(struct exchange *x)
{
    struct registry *r = x->registry;
    struct source *s = &r->sources[x->source];
    struct registry_transfer *t = x->transfer;
    if (s->scheme == SCHEME_EITHER && !x->away)
        s->scheme = strncasecmp(x->url, "http://", 7) == 0 ? SCHEME_HTTP : SCHEME_HTTPS;
    if (t && t->here < t->size) {
        fail(&x->err, BERTH_IO, s->host, "%s breaks off after %llu of %llu bytes", s->host, (unsigned long long)t->here, (unsigned long long)t->size);
        try_again(x, 0);
        return;
    }
    if (x->check && x->check(x, &x->err) < 0) {
        lied(x);
        return;
    }
    finish(x, 0);
}

static void ended(struct exchange *x, CURLcode c)
{
    curl_multi_remove_handle(x->registry->multi, x->easy);
    if (c != CURLE_OK) {
        broken(x, c);
        return;
    }
    curl_off_t length = -1;
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &x->head.status);
    curl_easy_getinfo(x->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    x->head.length = length;
    long status = x->head.status;
    if (is_good(x))
        good(x);
    else if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308)
        redirected(x);
    else if (status == 401)
        unauthorized(x);
    else
        refused(x);
}

/* ---- all of them */

static void start_due(struct registry *r)
{
    int64_t now = monotonic_usec();
    struct exchange *next;
    for (struct exchange *x = r->exchanges; x; x = next) {
        next = x->next;
        if (x->due_usec && x->due_usec <= now)
            ask(x);
    }
}

static int patience(const struct registry *r, int timeout_msec)
{
    int64_t now = monotonic_usec(), wait = timeout_msec < 0 ? 60000 : timeout_msec;
    for (const struct exchange *x = r->exchanges; x; x = x->next)
        if (x->due_usec)
            wait = MIN(wait, MAX(0, (x->due_usec - now) / 1000 + 1));
    return (int)wait;
}

static int move(struct registry *r, struct berth_error *err)
{
    int running, left;
    CURLMcode c = curl_multi_perform(r->multi, &running);
    if (c != CURLM_OK)
        return fail(err, BERTH_IO, r->name, "%s: %s", r->name, curl_multi_strerror(c));
    for (CURLMsg *m; (m = curl_multi_info_read(r->multi, &left));) {
        struct exchange *x = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode result = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        r->moved = true;
        ended(x, result);
    }
    return 0;
}

static bool look_at(struct pollfd *fds, size_t n)
{
    return n > 0 && poll(fds, n, 0) > 0;
}

int registry_step(struct registry *r, struct pollfd *fds, size_t n, int timeout_msec, struct berth_error *err)
{
    struct curl_waitfd extra[32];
    if (n > ARRAY_SIZE(extra))
        return fail(err, BERTH_INVALID, "", "too many descriptors to wait for");
    for (size_t i = 0; i < n; i++) {
        extra[i] = (struct curl_waitfd){.fd = fds[i].fd, .events = (short)((fds[i].events & POLLIN ? CURL_WAIT_POLLIN : 0) |
                                                                         (fds[i].events & POLLOUT ? CURL_WAIT_POLLOUT : 0))};
        fds[i].revents = 0;
    }
    int64_t end = timeout_msec < 0 ? INT64_MAX : monotonic_usec() + timeout_msec * 1000ll;
    r->moved = false;
    for (;;) {
        start_due(r);
        int code = move(r, err);
        if (code < 0 || r->moved || look_at(fds, n))
            return code;
        int64_t left = end == INT64_MAX ? -1 : (end - monotonic_usec()) / 1000;
        if (end != INT64_MAX && left <= 0)
            return 0;
        curl_multi_poll(r->multi, extra, (unsigned)n, patience(r, (int)left), NULL);
    }
}
