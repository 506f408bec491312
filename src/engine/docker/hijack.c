/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hijacked connections; see hijack.h. libcurl ends a request with its answer, so these few lines of HTTP are ours.
 */
#include "docker/hijack.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define HEAD_MAX (64u << 10)

static int begin(struct hijack *h, struct daemon *daemon, int *ret_minor, struct berth_error *err)
{
    *h = (struct hijack){.fd = -1};
    pthread_mutex_lock(&daemon->lock);
    *ret_minor = daemon->minor;
    pthread_mutex_unlock(&daemon->lock);
    return daemon_connect(daemon, &h->fd, err);
}

static int send_head(struct hijack *h, const struct daemon *daemon, struct berth_error *err)
{
    if (h->out.failed)
        return fail_memory(err);
    int r = hijack_flush(h);
    return r < 0 && r != -EAGAIN ? fail(err, BERTH_LOST, daemon->host, "%s: %s", daemon->host, strerror(-r)) : 0;
}

int hijack_begin(struct hijack *h, struct daemon *daemon, const char *path, const char *body, struct berth_error *err)
{
    int minor, r = begin(h, daemon, &minor, err);
    if (r < 0)
        return r;
    text_printf(&h->out, "POST /v1.%d%s HTTP/1.1\r\nHost: docker\r\nUser-Agent: berth/" BERTH_VERSION "\r\n"
                "Content-Type: application/json\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: %zu\r\n\r\n%s",
                minor, path, body ? strlen(body) : 0, body ? body : "");
    return send_head(h, daemon, err);
}

int hijack_get(struct hijack *h, struct daemon *daemon, const char *path, struct berth_error *err)
{
    int minor, r = begin(h, daemon, &minor, err);
    if (r < 0)
        return r;
    text_printf(&h->out, "GET /v1.%d%s HTTP/1.0\r\nHost: docker\r\nUser-Agent: berth/" BERTH_VERSION "\r\n\r\n", minor, path);
    return send_head(h, daemon, err);
}

int hijack_flush(struct hijack *h)
{
    while (h->sent < h->out.length) {
        ssize_t n = send(h->fd, h->out.data + h->sent, h->out.length - h->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return errno == EINTR ? 0 : -errno;
        h->sent += (size_t)n;
    }
    h->sent = h->out.length = 0;
    if (h->input_over && h->open) {
        shutdown(h->fd, SHUT_WR);
        h->input_over = false;
    }
    return 0;
}

bool hijack_wants_out(const struct hijack *h)
{
    return h->sent < h->out.length;
}

void hijack_end_input(struct hijack *h)
{
    h->input_over = true;
    if (h->open)
        hijack_flush(h);
}

/** Look at what has come, and take the head alone: whoever gets the connection then begins with the first byte. */
static int read_more(struct hijack *h)
{
    char buffer[4096];
    size_t before = h->in.length;
    ssize_t n = RETRY(recv(h->fd, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_PEEK));
    if (n <= 0)
        return n < 0 ? -errno : 0;
    text_add_bytes(&h->in, buffer, (size_t)n);
    const char *end = h->in.failed ? NULL : strstr(h->in.data, "\r\n\r\n");
    if (h->in.failed)
        return -ENOMEM;
    if (end && before < (size_t)(end - h->in.data) + 4) {
        n = end + 4 - h->in.data - (ssize_t)before;
        h->in.length = before + (size_t)n;
        h->in.data[h->in.length] = '\0';
    }
    return RETRY(recv(h->fd, buffer, (size_t)n, MSG_DONTWAIT)) < 0 ? -errno : 1;
}

/** A refusal: its body is an answer like any other's; its length is not believed, its JSON is. */
static int refused(struct hijack *h, struct daemon *daemon, int status, size_t head, bool end, const char *verb, const char *object,
                   struct berth_error *err)
{
    const char *body = strchr(h->in.data + head, '{');
    autoanswer json = body ? json_loads(body, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL) : NULL;
    if (!json && !end && h->in.length < HEAD_MAX)
        return 0;
    autorequest r = {.daemon = daemon, .status = status};
    autofree char *text = json ? json_dumps(json, JSON_COMPACT) : strdup("");
    text_add(&r.answer, text ? text : "");
    return answer_judge(&r, verb, object, err);
}

int hijack_step(struct hijack *h, struct daemon *daemon, const char *verb, const char *object, struct berth_error *err)
{
    int r = hijack_flush(h);
    if (r < 0 && r != -EAGAIN)
        return fail(err, BERTH_LOST, object, "%s %s: %s: %s", verb, object, daemon->host, strerror(-r));
    for (;;) {
        const char *end = h->in.data ? strstr(h->in.data, "\r\n\r\n") : NULL;
        if (end) {
            int status = starts_with(h->in.data, "HTTP/1.") && h->in.length > 12 ? (int)strtol(h->in.data + 9, NULL, 10) : 0;
            size_t head = (size_t)(end - h->in.data) + 4;
            if (status == 101 || status == 200) {
                h->open = true;
                hijack_flush(h);
                return 1;
            }
            int refusal = status ? refused(h, daemon, status, head, false, verb, object, err) : 0;
            if (refusal < 0)
                return refusal;
            if (!status)
                return fail(err, BERTH_CORRUPT, object, "%s %s: what answers at %s does not speak HTTP", verb, object, daemon->host);
        } else if (h->in.length > HEAD_MAX) {
            return fail(err, BERTH_TOO_BIG, object, "%s %s: %s: a head without end", verb, object, daemon->host);
        }
        r = read_more(h);
        if (r == -EAGAIN)
            return 0;
        if (r > 0)
            continue;
        if (end && starts_with(h->in.data, "HTTP/1."))
            return refused(h, daemon, (int)strtol(h->in.data + 9, NULL, 10), (size_t)(end - h->in.data) + 4, true, verb, object, err);
        return fail(err, BERTH_LOST, object, "%s %s: %s closed the connection without an answer", verb, object, daemon->host);
    }
}

ssize_t hijack_read(struct hijack *h, void *buffer, size_t size)
{
    ssize_t n = RETRY(recv(h->fd, buffer, size, MSG_DONTWAIT));
    return n < 0 ? -errno : n;
}

void hijack_close(struct hijack *h)
{
    close_fd(&h->fd);
    text_free(&h->out);
    text_free(&h->in);
}
