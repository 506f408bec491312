/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to a daemon; see http.h.
 *
 * libcurl gets its sockets and their addresses from us, so that close-on-exec is certain and TCP is a relay's. It
 * resolves nothing and starts no thread. The version in a path is the best that we know of; a daemon that is older or newer
 * says so in its refusal, before it does anything, and then the request is sent again as it wants it.
 */
#include "docker/http.h"
#include "docker/curl.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#define IDLE_MAX 8
#define HEAD_MAX (64u << 10)

struct channel {
    struct channel *next;      /* in the pool */
    struct daemon *daemon;
    CURLM *multi;
    int epoll_fd, timer_fd;
    struct request *requests;  /* under way */
    struct berth_error connecting; /* why daemon_connect failed */
};

/* ---- answers */

static int refuse(struct request *r, int code, const char *what)
{
    r->code = fail(&r->failure, code, r->daemon->host, "%s: %s", r->daemon->host, what);
    return r->code;
}

static size_t take_head(char *line, size_t size, size_t n, void *data)
{
    struct request *r = data;
    size *= n;
    r->head_bytes += size;
    if (r->head_bytes > HEAD_MAX)
        return 0;
    if (size >= 5 && !memcmp(line, "HTTP/", 5)) {
        r->status = 0;
        for (size_t i = 8; i + 3 < size && !r->status; i++)
            if (line[i] == ' ')
                r->status = (int)strtol(line + i, NULL, 10);
    }
    if (size > 15 && !strncasecmp(line, "Server: Libpod/", 15))
        __atomic_store_n(&r->daemon->podman, true, __ATOMIC_RELAXED);
    if (size <= 2 && r->status >= 200)
        r->heard = true;
    return size;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *data)
{
    struct request *r = data;
    size *= n;
    if (r->on_data && r->status < 300)
        return r->on_data(r->data, bytes, size) == 0 ? size : 0;
    if (r->answer.length + size > (r->answer_max ? r->answer_max : ANSWER_MAX)) {
        r->too_big = true;
        return 0;
    }
    text_add_bytes(&r->answer, bytes, size);
    return r->answer.failed ? 0 : size;
}

/* ---- the loop that libcurl wants, as one descriptor */

static int watch_socket(CURL *easy, curl_socket_t fd, int what, void *data, void *of_socket)
{
    const struct channel *c = data;
    struct epoll_event event = {.data.fd = fd};
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(c->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (!of_socket && epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
        curl_multi_assign(c->multi, fd, (void *)c);
    else if (epoll_ctl(c->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0)
        epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &event);
    return 0;
}

static int set_timer(CURLM *multi, long msec, void *data)
{
    const struct channel *c = data;
    struct itimerspec when = {0};
    (void)multi;
    if (msec >= 0) {
        when.it_value.tv_sec = msec / 1000;
        when.it_value.tv_nsec = msec % 1000 * 1000000 + 1;
    }
    timerfd_settime(c->timer_fd, 0, &when, NULL);
    return 0;
}

/** A socket of ours, and where it is to be connected, whatever libcurl had in mind. */
static curl_socket_t open_socket(void *data, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct channel *c = data;
    struct sockaddr_un where;
    socklen_t size;
    (void)purpose;
    c->connecting = (struct berth_error){0};
    if (daemon_address(c->daemon, &where, &size, &c->connecting) < 0)
        return CURL_SOCKET_BAD;
    memcpy(&address->addr, &where, size);
    address->addrlen = size;
    return high_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static void channel_free(struct channel *c)
{
    if (!c)
        return;
    while (c->requests) {
        struct request *r = c->requests;
        request_clear(r);
    }
    if (c->multi)
        curl_multi_cleanup(c->multi);
    close_fd(&c->epoll_fd);
    close_fd(&c->timer_fd);
    free(c);
}

/**
 * curl_multi_init() makes a pair of sockets that a program which the host starts would inherit: libcurl 7.88 sets no
 * close-on-exec. They are the first free numbers: two unnamed, non-blocking ones without the flag.
 */
static void close_on_exec(int lowest)
{
    for (int fd = lowest; fd >= 0 && fd < lowest + 4; fd++) {
        struct sockaddr_un name;
        socklen_t size = sizeof(name);
        if (fcntl(fd, F_GETFD) == 0 && getsockname(fd, (struct sockaddr *)&name, &size) == 0 && name.sun_family == AF_UNIX &&
            size == sizeof(sa_family_t) && (fcntl(fd, F_GETFL) & O_NONBLOCK))
            fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
}

static CURLM *multi_new(void)
{
    int lowest = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    if (lowest < 0)
        lowest = high_fd(epoll_create1(EPOLL_CLOEXEC));
    if (lowest < 0)
        return NULL;
    close(lowest);
    CURLM *multi = curl_multi_init();
    close_on_exec(lowest);
    return multi;
}

static int channel_new(struct daemon *daemon, struct channel **ret, struct berth_error *err)
{
    int r = docker_curl_load(err);
    if (r < 0)
        return r;
    struct channel *c = calloc(1, sizeof(*c));
    if (!c)
        return fail_memory(err);
    c->daemon = daemon;
    c->epoll_fd = high_fd(epoll_create1(EPOLL_CLOEXEC));
    c->timer_fd = high_fd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    struct epoll_event event = {.events = EPOLLIN, .data.fd = c->timer_fd};
    if (c->epoll_fd < 0 || c->timer_fd < 0 || epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, c->timer_fd, &event) < 0) {
        r = fail_os(err, errno, NULL, "epoll");
        channel_free(c);
        return r;
    }
    c->multi = multi_new();
    if (!c->multi) {
        channel_free(c);
        return fail_memory(err);
    }
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, watch_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 2L);
    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    *ret = c;
    return 0;
}

int channel_take(struct daemon *daemon, struct channel **ret, struct berth_error *err)
{
    pthread_mutex_lock(&daemon->lock);
    struct channel *c = daemon->idle;
    if (c) {
        daemon->idle = c->next;
        daemon->n_idle--;
    }
    pthread_mutex_unlock(&daemon->lock);
    if (!c)
        return channel_new(daemon, ret, err);
    c->next = NULL;
    *ret = c;
    return 0;
}

void channel_give(struct channel *c)
{
    if (!c)
        return;
    struct daemon *daemon = c->daemon;
    bool keep = !c->requests;
    pthread_mutex_lock(&daemon->lock);
    keep = keep && daemon->n_idle < IDLE_MAX;
    if (keep) {
        c->next = daemon->idle;
        daemon->idle = c;
        daemon->n_idle++;
    }
    pthread_mutex_unlock(&daemon->lock);
    if (!keep)
        channel_free(c);
}

int channel_fd(const struct channel *c)
{
    return c->epoll_fd;
}

/* ---- ends of requests */

static void request_part(struct request *r)
{
    for (struct request **link = &r->channel->requests; *link; link = &(*link)->next)
        if (*link == r) {
            *link = r->next;
            break;
        }
    if (r->easy) {
        curl_multi_remove_handle(r->channel->multi, r->easy);
        curl_easy_cleanup(r->easy);
        r->easy = NULL;
    }
    curl_slist_free_all(r->headers);
    r->headers = NULL;
}

/** Why libcurl has no answer, as one of our codes. */
static void explain(struct request *r, CURLcode code)
{
    const struct { CURLcode curl; int code; const char *words; } known[] = {
        {CURLE_OPERATION_TIMEDOUT, BERTH_TIMED_OUT, "no answer in time"},
        {CURLE_GOT_NOTHING, BERTH_LOST, "the daemon closed the connection without an answer"},
        {CURLE_RECV_ERROR, BERTH_LOST, "the connection broke before the end of the answer"},
        {CURLE_SEND_ERROR, BERTH_LOST, "the connection broke in the middle of the request"},
        {CURLE_PARTIAL_FILE, BERTH_LOST, "the daemon closed the connection in the middle of its answer"},
        {CURLE_WEIRD_SERVER_REPLY, BERTH_CORRUPT, "what answers does not speak HTTP"},
        {CURLE_UNSUPPORTED_PROTOCOL, BERTH_CORRUPT, "what answers does not speak HTTP"},
        {CURLE_OUT_OF_MEMORY, BERTH_NO_MEMORY, "out of memory"},
    };
    if (r->code < 0)
        return;
    if (r->too_big) {
        refuse(r, BERTH_TOO_BIG, "the answer is larger than any that makes sense");
        return;
    }
    if (r->channel->connecting.code) {
        r->failure = r->channel->connecting;
        r->code = r->failure.code;
        r->channel->connecting = (struct berth_error){0};
        return;
    }
    long error = 0;
    if (code == CURLE_COULDNT_CONNECT && curl_easy_getinfo(r->easy, CURLINFO_OS_ERRNO, &error) == CURLE_OK && error) {
        r->code = not_there(r->daemon, (int)error, &r->failure);
        return;
    }
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (known[i].curl == code) {
            refuse(r, known[i].code, known[i].words);
            return;
        }
    refuse(r, code == CURLE_WRITE_ERROR ? BERTH_CORRUPT : BERTH_IO, curl_easy_strerror(code));
}

/** "client version 1.41 is too new. Maximum supported API version is 1.24": the minor number, or 0. */
static int version_wanted(const struct request *r)
{
    static const char *const phrases[] = {"Maximum supported API version is 1.", "Minimum supported API version is 1.",
                                          "minimum supported API version is 1.", "maximum supported API version is 1."};
    if (r->status != 400 || !r->answer.data)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(phrases); i++) {
        const char *at = strstr(r->answer.data, phrases[i]);
        if (at)
            return (int)strtol(at + strlen(phrases[i]), NULL, 10);
    }
    return 0;
}

static void request_begin(struct request *r);

/** The daemon wants another version: send it again, once. True when it was. */
static bool negotiate(struct request *r)
{
    int wanted = version_wanted(r);
    if (!wanted)
        return false;
    if (wanted < API_MINOR_LEAST || wanted == r->version_tried) {
        refuse(r, BERTH_UNSUPPORTED, "its API is older than 1.24, which this engine needs");
        return false;
    }
    pthread_mutex_lock(&r->daemon->lock);
    r->daemon->minor = wanted;
    pthread_mutex_unlock(&r->daemon->lock);
    text_free(&r->answer);
    r->status = 0;
    r->heard = false;
    r->head_bytes = 0;
    request_part(r);
    request_begin(r);
    return true;
}

static void finish(struct request *r, CURLcode code)
{
    if (code == CURLE_OK && r->status == 0)
        code = CURLE_WEIRD_SERVER_REPLY;
    if (code == CURLE_OK && !r->heard) /* libcurl takes half a head for a whole one */
        code = CURLE_RECV_ERROR;
    if (code == CURLE_OK && negotiate(r))
        return;
    if (code != CURLE_OK)
        explain(r, code);
    request_part(r);
    r->done = r->heard = true;
    r->channel = NULL;
}

static void collect(struct channel *c)
{
    int left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(c->multi, &left)))
        if (message->msg == CURLMSG_DONE)
            for (struct request *r = c->requests; r; r = r->next)
                if (r->easy == message->easy_handle) {
                    finish(r, message->data.result);
                    break;
                }
}

void channel_step(struct channel *c)
{
    struct epoll_event events[8];
    int running;
    for (int round = 0; round < 64; round++) {
        int n = epoll_wait(c->epoll_fd, events, ARRAY_SIZE(events), 0);
        if (n <= 0)
            break;
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            uint64_t count;
            if (fd == c->timer_fd) {
                if (read(fd, &count, sizeof(count)) > 0)
                    curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
                continue;
            }
            int what = (events[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
                       (events[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                       (events[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0);
            curl_multi_socket_action(c->multi, fd, what, &running);
        }
        collect(c);
    }
}

/* ---- sending */

static struct curl_slist *headers_of(const struct request *r)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    const char *more[] = {r->body ? "Content-Type: application/json" : "Content-Type:", r->header};
    for (size_t i = 0; list && i < ARRAY_SIZE(more) && more[i]; i++) {
        struct curl_slist *longer = curl_slist_append(list, more[i]);
        if (!longer)
            curl_slist_free_all(list);
        list = longer;
    }
    return list;
}

static void set_options(struct request *r, const char *url)
{
    CURL *e = r->easy;
    bool posts = !strcmp(r->method, "POST") || !strcmp(r->method, "PUT");
    curl_easy_setopt(e, CURLOPT_URL, url);
    curl_easy_setopt(e, CURLOPT_UNIX_SOCKET_PATH, "/berth"); /* looks nothing up; the socket is ours */
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, r->channel);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(e, CURLOPT_USERAGENT, "berth/" BERTH_VERSION);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(e, CURLOPT_HTTP09_ALLOWED, 0L);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, r->headers);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, take_head);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS,
                     r->timeout_msec < 0 ? 0L : (long)(r->timeout_msec ? r->timeout_msec : ANSWER_MSEC));
    if (posts) {
        curl_easy_setopt(e, CURLOPT_POST, 1L);
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, (long)(r->body ? strlen(r->body) : 0));
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, r->body ? r->body : "");
    }
    if (strcmp(r->method, "GET"))
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, r->method);
}

static void request_begin(struct request *r)
{
    struct channel *c = r->channel;
    pthread_mutex_lock(&r->daemon->lock);
    r->version_tried = r->daemon->minor;
    pthread_mutex_unlock(&r->daemon->lock);
    autofree char *url = format_text("http://docker/v1.%d%s", r->version_tried, r->path);
    r->headers = headers_of(r);
    r->easy = curl_easy_init();
    r->next = c->requests;
    c->requests = r;
    if (!url || !r->headers || !r->easy) {
        finish(r, CURLE_OUT_OF_MEMORY);
        return;
    }
    set_options(r, url);
    if (curl_multi_add_handle(c->multi, r->easy) != CURLM_OK)
        finish(r, CURLE_OUT_OF_MEMORY);
}

void request_send(struct channel *c, struct request *r)
{
    int running;
    r->channel = c;
    r->daemon = c->daemon;
    r->done = r->heard = r->too_big = false;
    r->code = r->status = 0;
    r->head_bytes = 0;
    if (!r->path || (r->answer.failed)) {
        r->code = fail_memory(&r->failure);
        r->done = true;
        r->channel = NULL;
        return;
    }
    request_begin(r);
    if (!r->done) {
        curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
        collect(c);
    }
}

bool request_sent(const struct request *r)
{
    long bytes = 0;
    if (r->done || r->heard)
        return true;
    return r->easy && curl_easy_getinfo(r->easy, CURLINFO_REQUEST_SIZE, &bytes) == CURLE_OK && bytes > 0;
}

bool request_wait_for(struct request *r, int64_t msec)
{
    int64_t end = monotonic_usec() + msec * 1000;
    while (!r->done) {
        int64_t left = msec < 0 ? -1 : (end - monotonic_usec() + 999) / 1000;
        if (msec >= 0 && left <= 0)
            return false;
        struct pollfd p = {.fd = r->channel->epoll_fd, .events = POLLIN};
        if (poll(&p, 1, (int)MIN(left, (int64_t)1 << 30)) < 0 && errno != EINTR) {
            refuse(r, BERTH_IO, "poll failed");
            request_part(r);
            r->done = true;
            r->channel = NULL;
            return true;
        }
        channel_step(r->channel);
    }
    return true;
}

void request_wait(struct request *r)
{
    request_wait_for(r, -1); /* its own time limit ends it */
}

void request_clear(struct request *r)
{
    if (r->channel)
        request_part(r);
    text_free(&r->answer);
    free(r->path);
    free(r->body);
    free(r->header);
    memset(r, 0, sizeof(*r));
}

int daemon_ask(struct daemon *daemon, struct request *r, struct berth_error *err)
{
    struct channel *c;
    int code = channel_take(daemon, &c, err);
    if (code < 0)
        return code;
    request_send(c, r);
    request_wait(r);
    channel_give(c);
    if (r->code < 0 && err)
        *err = r->failure;
    return r->code;
}

/* ---- daemons */

struct daemon *daemon_new(const char *host, const char *certs, const char *programs)
{
    struct daemon *d = calloc(1, sizeof(*d));
    if (!d)
        return NULL;
    d->host = strdup(host);
    d->certs = certs ? strdup(certs) : NULL;
    d->programs = programs;
    d->minor = API_MINOR_BEST;
    pthread_mutex_init(&d->lock, NULL);
    if (!d->host || (certs && !d->certs)) {
        daemon_free(d);
        return NULL;
    }
    return d;
}

void daemon_free(struct daemon *d)
{
    if (!d)
        return;
    while (d->idle) {
        struct channel *c = d->idle;
        d->idle = c->next;
        channel_free(c);
    }
    pthread_mutex_destroy(&d->lock);
    free(d->host);
    free(d->certs);
    free(d);
}
