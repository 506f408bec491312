/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an answer means, and whom to ask next.
 */
#include "image/tool/registry_inside.h"
#include <string.h>
#include <strings.h>
#include <time.h>

void exchange_next_source(struct exchange *x)
{
    struct registry *r = x->registry;
    int code = x->err.code ? x->err.code : BERTH_IO;
    do
        x->source++;
    while (x->source < r->n_sources && r->sources[x->source].dead);
    if (x->source >= r->n_sources || x->fixed_url) {
        exchange_finish(x, code);
        return;
    }
    x->attempts = x->silences = x->auth_tries = 0;
    x->plain_tried = false;
    if (x->transfer)
        x->transfer->mixed |= x->transfer->here > 0;
    r->moved = true;
    exchange_anew(x);
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
    exchange_drop(x);
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
        t->hasher = hasher_new();
        x->progress_mark = 0;
        int code = t->sink.restart(t->sink.data, &x->err);
        if (code < 0) {
            exchange_finish(x, code);
            return;
        }
    }
    if (same)
        exchange_anew(x);
    else
        exchange_next_source(x);
}

static bool may_be_plain(struct exchange *x, CURLcode c)
{
    struct source *s = &x->registry->sources[x->source];
    bool refused = c == CURLE_SSL_CONNECT_ERROR || c == CURLE_COULDNT_CONNECT || c == CURLE_RECV_ERROR || c == CURLE_GOT_NOTHING;
    bool found_out = s->scheme == SCHEME_HTTP && strncasecmp(x->url, "https:", 6) == 0; /* by another, just now */
    if ((s->scheme != SCHEME_EITHER && !found_out) || !refused || x->away || x->plain_tried)
        return false;
    x->plain_tried = true;
    s->scheme = SCHEME_HTTP;
    return true;
}

static int say_broken(struct exchange *x, CURLcode c)
{
    const struct source *s = exchange_source(x);
    const char *words = *x->curl_error ? x->curl_error : curl_easy_strerror(c), *host = s->host;
    switch (c) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return fail(&x->err, BERTH_NOT_FOUND, host, "no such host: %s", host);
    case CURLE_COULDNT_CONNECT:
        return fail(&x->err, BERTH_IO, host, "%s cannot be reached: %s", host, words);
    case CURLE_PEER_FAILED_VERIFICATION:
        return fail(&x->err, BERTH_DENIED, host, "%s: its certificate is not trusted: %s (its CA belongs into /etc/containers/certs.d/%s/ca.crt)",
                    host, words, host);
    case CURLE_SSL_CONNECT_ERROR:
        return fail(&x->err, BERTH_IO, host, "%s does not speak TLS as it should: %s (a registry without TLS needs insecure = true)", host, words);
    case CURLE_OPERATION_TIMEDOUT:
        return fail(&x->err, BERTH_TIMED_OUT, host, "%s sends (almost) nothing for %d seconds", host, s->silence_sec);
    default:
        return fail(&x->err, BERTH_IO, host, "%s breaks off: %s", host, words);
    }
}

/* Of a connection that failed: what has a reason that stays is not tried again, silence once. */
static bool worth_another(struct exchange *x, CURLcode c)
{
    static const CURLcode stay[] = {CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT, CURLE_PEER_FAILED_VERIFICATION,
                                    CURLE_SSL_CONNECT_ERROR};
    for (size_t i = 0; i < ARRAY_SIZE(stay); i++)
        if (c == stay[i])
            return false;
    uint64_t here = x->transfer ? x->transfer->here : 0;
    return c != CURLE_OPERATION_TIMEDOUT || ++x->silences < REGISTRY_MAX_SILENCES ||
           x->progress_mark + REGISTRY_PROGRESS_BYTES <= here;
}

static void connection_failed(struct exchange *x, CURLcode c)
{
    struct source *s = &x->registry->sources[x->source];
    say_broken(x, c);
    if (worth_another(x, c)) {
        try_again(x, 0);
        return;
    }
    if (c != CURLE_OPERATION_TIMEDOUT || !x->transfer)
        s->dead = s->is_mirror;
    exchange_next_source(x);
}

/* libcurl ended it, or we did in one of its callbacks. */
static void broken(struct exchange *x, CURLcode c)
{
    const char *host = exchange_source(x)->host;
    if (x->sink_failed) {
        exchange_finish(x, x->err.code ? x->err.code : BERTH_IO);
    } else if (may_be_plain(x, c)) {
        exchange_anew(x);
    } else if (x->too_much) {
        fail(&x->err, BERTH_CORRUPT, host, x->transfer ? "%s sends something else than was asked for, or more of it"
                                                       : "%s sends more than is taken of this", host);
        lied(x);
    } else {
        connection_failed(x, c);
    }
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
        code = own ? redirect_follow(x->url, x->head.location, own, &url, &away, &x->err) : fail_memory(&x->err);
    if (code < 0) {
        if (x->redirects <= REGISTRY_MAX_REDIRECTS)
            fail_context(&x->err, "%s", s->host);
        exchange_next_source(x);
        return;
    }
    free(x->url);
    x->url = url;
    x->away = away;
    exchange_ask(x);
}

/* Somebody else has asked meanwhile, or does so now: then its token will do. */
static bool share_token(struct exchange *x, const struct source *s)
{
    if (!s->token && x->authorization == s->n_authorizations)
        return false;
    x->waits_for_token = s->token != NULL;
    if (!s->token)
        exchange_anew(x);
    return true;
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
    if (share_token(x, s))
        return;
    if (++x->auth_tries > 2) {
        fail(&x->err, BERTH_DENIED, r->name, "%s refuses %s%s%s (no such repository, or it wants another login: berth login %s)", s->host,
             r->reference.repository ? r->reference.repository : "the login", *said ? ": " : "", said, r->name);
        exchange_next_source(x);
        return;
    }
    int code = auth_answer(r, s, &x->head, &x->err);
    x->waits_for_token = code == 1;
    if (code < 0)
        exchange_next_source(x);
    else if (code == 0)
        exchange_anew(x);
}

void exchanges_told(struct registry *r, const struct source *s, int code, const struct berth_error *err)
{
    struct exchange *next;
    for (struct exchange *x = r->exchanges; x; x = next) {
        next = x->next;
        if (!x->waits_for_token || exchange_source(x) != s)
            continue;
        x->waits_for_token = false;
        if (code == 0) {
            exchange_anew(x);
        } else {
            x->err = *err;
            exchange_next_source(x);
        }
    }
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
    exchange_finish(x, 0);
}

void exchange_ended(struct http_user *user, CURLcode c)
{
    struct exchange *x = (struct exchange *)user;
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
    if (answer_good(x))
        good(x);
    else if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308)
        redirected(x);
    else if (status == 401)
        unauthorized(x);
    else
        refused(x);
}
