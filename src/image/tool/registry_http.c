/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request: how it is asked, and the loop that moves all of them.
 *
 * libcurl moves the bytes (registry_answer.c takes them); what comes after an answer is registry_next.c's.
 */
#include "image/tool/registry_inside.h"
#include <string.h>
#include <strings.h>

#define AGENT "berth/" BERTH_VERSION
#define CONNECT_SEC 15
#define BUFFER_BYTES (256L << 10)

/* ---- the exchange as an object */

struct exchange *exchange_new(struct registry *r, const char *method, const char *path)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    *x = (struct exchange){.user.ended = exchange_ended, .registry = r, .method = method, .body_fd = -1, .source = r->first, .max = REGISTRY_MAX_ERROR_BYTES,
                           .head.length = -1, .path = strdup(path)};
    return x->path ? x : (free(x), NULL);
}

void exchange_drop(struct exchange *x)
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
    exchange_drop(x);
    answer_clear(&x->head);
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

void exchange_finish(struct exchange *x, int code)
{
    exchange_drop(x);
    x->over = true;
    x->code = code;
    x->registry->moved = true;
    unlink_exchange(x);
}

/* ---- asking */

char *source_url(const struct source *s, const char *repository, const char *path)
{
    const char *scheme = s->scheme == SCHEME_HTTP ? "http" : "https";
    return *path ? format_text("%s://%s/v2/%s%s/%s", scheme, s->host, s->prefix, repository, path)
                 : format_text("%s://%s/v2/", scheme, s->host);
}

CURL *http_handle(const struct registry *r, struct source *s, bool own, bool plain)
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
    tls_set(easy, r, s, own);
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
}

/* One attempt: a fresh handle on the same connections. */
/* As if it had not been asked before. */
static void forget_answer(struct exchange *x)
{
    exchange_drop(x);
    answer_clear(&x->head);
    text_free(&x->text);
    x->too_much = false;
    x->due_usec = 0;
    x->body_sent = 0;
    x->curl_error[0] = 0;
    if (x->transfer)
        x->transfer->skip = 0;
}

static int send_it(struct exchange *x)
{
    struct registry *r = x->registry;
    struct source *s = &r->sources[MIN(x->source, r->n_sources - 1)];
    forget_answer(x);
    x->authorization = s->n_authorizations;
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
    curl_easy_setopt(x->easy, CURLOPT_PRIVATE, &x->user);
    answer_callbacks(x);
    set_method(x);
    return curl_multi_add_handle(r->multi, x->easy) == CURLM_OK ? 0 : fail_memory(&x->err);
}

void exchange_ask(struct exchange *x)
{
    int code = send_it(x);
    if (code < 0)
        exchange_finish(x, code);
}

/* From the source's own address again. */
void exchange_anew(struct exchange *x)
{
    free(x->url);
    x->url = NULL;
    x->away = false;
    x->redirects = 0;
    exchange_ask(x);
}

int exchange_begin(struct exchange *x, struct berth_error *err)
{
    if (x->source >= x->registry->n_sources)
        return fail(err, BERTH_IO, x->registry->name, "%s: nobody is left to ask", x->registry->name);
    x->next = x->registry->exchanges;
    x->registry->exchanges = x;
    exchange_ask(x);
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

/* ---- all of them */

static void start_due(struct registry *r)
{
    int64_t now = monotonic_usec();
    struct exchange *next;
    for (struct exchange *x = r->exchanges; x; x = next) {
        next = x->next;
        if (x->due_usec && x->due_usec <= now)
            exchange_ask(x);
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
        struct http_user *user = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode result = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&user);
        r->moved = true;
        user->ended(user, result);
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
