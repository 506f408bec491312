/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions by TCP (RFC 7766): many on one connection, answered in any order.
 *
 * A connection gets buffers only while something is in them; who does not read his answers is not
 * read from, and after a while is hung up on.
 */
#include "dns/worker.h"
#include "base/base.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define UNREAD_MAX 65536 /* answers that wait; then no further question is taken */
#define WAITING_MAX 16   /* its questions that are on their way outside */

static uint8_t answer_buffer[WIRE_ANSWER_MAX];

struct stream {
    struct watch watch;
    struct stream *next;
    struct deadline deadline;
    struct door *door;
    struct address from;
    struct forward *forwards;
    uint8_t in[2 + WIRE_QUERY_MAX];
    size_t n_in;
    uint8_t *out;
    size_t out_start, out_end;
    bool broken, asked_all; /* asked_all: no more questions come */
    unsigned n_answered, n_asked;
};

static void stream_event(struct worker *w, struct watch *watch, uint32_t events);

struct forward **stream_forwards(struct stream *s)
{
    return &s->forwards;
}

static void stream_close(struct worker *w, struct stream *s)
{
    struct stream **at = &w->streams;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    forwards_drop(w, s->forwards);
    deadline_clear(w, &s->deadline);
    watch_close(w, &s->watch);
    door_release(w, s->door);
    w->n_streams--;
    free(s->out);
    free(s);
}

void streams_close(struct worker *w, const struct door *door)
{
    for (struct stream *s = w->streams, *next; s; s = next) {
        next = s->next;
        if (s->door == door)
            stream_close(w, s);
    }
}

static void stream_due(struct worker *w, struct deadline *deadline)
{
    stream_close(w, (struct stream *)((char *)deadline - offsetof(struct stream, deadline)));
}

/* ---- who may -----------------------------------------------------------------------------------
 */

static bool has_room(struct worker *w, const struct address *from)
{
    size_t own = 0;
    for (const struct stream *s = w->streams; s; s = s->next)
        own += address_equal(&s->from, from);
    return w->n_streams < STREAMS_MAX && own < STREAMS_OF_ONE_MAX;
}

void stream_accept(struct worker *w, struct watch *watch, uint32_t events)
{
    struct door *door = (struct door *)watch;
    struct sockaddr_in6 from = {0};
    socklen_t length = sizeof(from);
    int fd = accept4(watch->fd, (struct sockaddr *)&from, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct address address = address_of(&from);
    struct stream *s = network_covers(door->network, &address) && has_room(w, &address) ? calloc(1, sizeof(*s)) : NULL;
    if (!s) {
        close(fd);
        return;
    }
    *s = (struct stream){.watch = {.fd = fd, .on_event = stream_event}, .next = w->streams, .door = door, .from = address};
    door->users++;
    w->streams = s;
    w->n_streams++;
    deadline_set(w, &s->deadline, SPAN_STREAM, stream_due);
    if (watch_add(w, &s->watch, EPOLLIN) < 0)
        stream_close(w, s);
}

/* ---- answers -----------------------------------------------------------------------------------
 */

static void rewatch(struct worker *w, struct stream *s)
{
    size_t unread = s->out_end - s->out_start;
    bool takes = !s->asked_all && unread < UNREAD_MAX && s->n_asked - s->n_answered < WAITING_MAX;
    watch_change(w, &s->watch, (unread || s->broken ? (uint32_t)EPOLLOUT : 0) | (takes ? (uint32_t)EPOLLIN : 0));
}

/* Nothing is freed here but at most marked: who answers may hold questions of it. */
void stream_answer(struct worker *w, struct stream *s, const uint8_t *data, size_t size)
{
    size_t unread = s->out_end - s->out_start;
    uint8_t *out = malloc(unread + 2 + size);
    s->n_answered++;
    if (!out) {
        s->broken = true;
    } else {
        if (unread)
            memcpy(out, s->out + s->out_start, unread);
        wire_put_u16(out + unread, (uint16_t)size);
        memcpy(out + unread + 2, data, size);
        free(s->out);
        s->out = out;
        s->out_start = 0;
        s->out_end = unread + 2 + size;
    }
    rewatch(w, s);
}

/* False: it is over. */
static bool stream_write(struct worker *w, struct stream *s)
{
    size_t unread = s->out_end - s->out_start;
    if (!unread)
        return true; /* and the deadline stands: bytes that are no question keep nobody connected */
    ssize_t n = send(s->watch.fd, s->out + s->out_start, unread, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    s->out_start += (size_t)n;
    if (s->out_start < s->out_end)
        return true;
    free(TAKE(s->out));
    s->out_start = s->out_end = 0;
    deadline_set(w, &s->deadline, SPAN_STREAM, stream_due);
    return true;
}

/* ---- questions --------------------------------------------------------------------------------
 */

static void ask(struct worker *w, struct stream *s, const uint8_t *packet, size_t size)
{
    struct query q;
    struct host *asker;
    size_t n;
    s->n_asked++;
    switch (answer_query(&w->table, s->door->network, &s->from, packet, size, &w->turn, answer_buffer,
                         sizeof(answer_buffer), &n, &q, &asker)) {
    case VERDICT_ANSWER:
        stream_answer(w, s, answer_buffer, n);
        break;
    case VERDICT_FORWARD:
        if (!forward_begin(w, s->door, NULL, 0, s, &q, asker))
            stream_answer(w, s, answer_buffer, answer_refuse(&q, WIRE_SERVFAIL, answer_buffer, sizeof(answer_buffer)));
        break;
    case VERDICT_SILENCE:
        s->broken = true; /* not DNS: nothing that follows can be */
        break;
    }
}

/* All whole questions in the buffer, as long as answers are taken. */
static void ask_all(struct worker *w, struct stream *s)
{
    while (!s->broken && s->n_in >= 2 && s->out_end - s->out_start < UNREAD_MAX && s->n_asked - s->n_answered < WAITING_MAX) {
        size_t size = wire_u16(s->in);
        if (size > WIRE_QUERY_MAX) {
            s->broken = true;
            return;
        }
        if (s->n_in < 2 + size)
            return;
        ask(w, s, s->in + 2, size);
        s->n_in -= 2 + size;
        memmove(s->in, s->in + 2 + size, s->n_in);
    }
}

static bool stream_read(struct worker *w, struct stream *s)
{
    if (s->n_in == sizeof(s->in))
        return true;
    ssize_t n = recv(s->watch.fd, s->in + s->n_in, sizeof(s->in) - s->n_in, MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        s->asked_all = true;
    s->n_in += (size_t)n;
    return true;
}

static void stream_event(struct worker *w, struct watch *watch, uint32_t events)
{
    struct stream *s = (struct stream *)watch;
    bool lives = !(events & EPOLLERR) && stream_write(w, s);
    if (lives && !s->asked_all && events & (EPOLLIN | EPOLLHUP))
        lives = stream_read(w, s);
    if (lives)
        ask_all(w, s);
    bool done = s->asked_all && s->n_asked == s->n_answered && s->out_end == s->out_start;
    if (!lives || s->broken || done)
        return stream_close(w, s);
    rewatch(w, s);
}
