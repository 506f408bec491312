/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions on their way outside: one socket for each attempt, so that each has a random port and id
 * of its own and the kernel lets in only the server that was asked.
 *
 * A server that is silent gets company: the next one (or the same) is asked too, and the first good
 * answer is taken. Who asks gets at most as many places as are free, so one that floods leaves half.
 */
#include "dns/worker.h"
#include "base/base.h"
#include "base/text.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#define ATTEMPTS_MAX 4
#define DOWN_USEC 10000000 /* a silent server is asked last for so long */

static uint8_t reply_buffer[WIRE_ANSWER_MAX + 2];

struct attempt {
    struct watch watch;
    struct forward *forward;
    struct sockaddr_in6 server;
    uint16_t id;
};

/* The same question over TCP: an answer was too long for UDP, and the asker has room for it. */
struct long_attempt {
    struct watch watch;
    struct forward *forward;
    uint8_t *data;        /* the question to send, then the answer */
    size_t size, done;
    bool reading;
    uint16_t id;
};

struct forward {
    struct forward *next, *previous; /* of the same stream */
    struct deadline deadline;
    struct door *door;
    struct stream *stream;           /* NULL: by UDP to `from` */
    struct sockaddr_in6 from;
    socklen_t from_length;
    struct host *asker;
    struct query query;
    struct sockaddr_in6 servers[NAMES_UPSTREAMS_MAX];
    size_t n_servers;
    struct attempt attempts[ATTEMPTS_MAX];
    size_t n_attempts, n_failed;
    struct long_attempt long_attempt;
    uint8_t *refusal;                /* what a server said that could not: kept in case all do */
    size_t refusal_size;
    uint8_t packet[];
};

static void attempt_event(struct worker *w, struct watch *watch, uint32_t events);
static void forward_due(struct worker *w, struct deadline *deadline);

/* ---- which server first ------------------------------------------------------------------------
 */

static struct upstream_state *state_of(struct worker *w, const struct sockaddr_in6 *server)
{
    for (size_t i = 0; i < ARRAY_SIZE(w->upstreams); i++)
        if (memcmp(&w->upstreams[i].address, server, sizeof(*server)) == 0)
            return &w->upstreams[i];
    return NULL;
}

static bool is_down(struct worker *w, const struct sockaddr_in6 *server, int64_t now_usec)
{
    const struct upstream_state *u = state_of(w, server);
    return u && u->down_until_usec > now_usec;
}

static void note_down(struct worker *w, const struct sockaddr_in6 *server)
{
    struct upstream_state *u = state_of(w, server);
    if (!u) {
        u = &w->upstreams[w->next_upstream++ % ARRAY_SIZE(w->upstreams)];
        u->address = *server;
    }
    u->down_until_usec = monotonic_usec() + DOWN_USEC;
}

static void note_up(struct worker *w, const struct sockaddr_in6 *server)
{
    struct upstream_state *u = state_of(w, server);
    if (u)
        u->down_until_usec = 0;
}

/* We must not ask ourselves. */
static bool is_ours(struct worker *w, const struct sockaddr_in6 *server)
{
    struct address a = address_of(server);
    for (const struct door *d = w->doors; d; d = d->next)
        if (address_equal(&d->gateway, &a))
            return true;
    return false;
}

static void choose_servers(struct worker *w, struct forward *f)
{
    const struct host *h = f->asker;
    const struct sockaddr_in6 *list = h && h->n_upstreams ? h->upstreams : w->resolvers;
    size_t n = h && h->n_upstreams ? h->n_upstreams : w->n_resolvers;
    int64_t now = monotonic_usec(); /* one for both rounds, so that each server is in one of them */
    for (int down = 0; down < 2; down++)
        for (size_t i = 0; i < n; i++)
            if (is_down(w, &list[i], now) == down && !is_ours(w, &list[i]))
                f->servers[f->n_servers++] = list[i];
}

/* ---- the end ----------------------------------------------------------------------------------
 */

static void forward_free(struct worker *w, struct forward *f)
{
    deadline_clear(w, &f->deadline);
    for (size_t i = 0; i < f->n_attempts; i++)
        watch_close(w, &f->attempts[i].watch);
    watch_close(w, &f->long_attempt.watch);
    free(f->long_attempt.data);
    free(f->refusal);
    if (f->stream) {
        if (f->next)
            f->next->previous = f->previous;
        if (f->previous)
            f->previous->next = f->next;
        else
            *stream_forwards(f->stream) = f->next;
    }
    if (f->asker)
        host_release(f->asker);
    else
        f->door->network->waiting--;
    door_release(w, f->door);
    w->n_forwards--;
    free(f);
}

void forwards_drop(struct worker *w, struct forward *first)
{
    while (first) {
        struct forward *next = first->next;
        forward_free(w, first);
        first = next;
    }
}

/* The reply is changed to be the asker's. */
static void deliver(struct worker *w, struct forward *f, uint8_t *reply, size_t size)
{
    struct stream *stream = f->stream;
    wire_adopt(reply, &f->query);
    if (stream)
        stream_answer(w, stream, reply, size);
    else if (!f->door->closed)
        (void)sendto(f->door->watch.fd, reply, wire_cut(reply, size, &f->query, f->query.limit),
                     MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&f->from, f->from_length);
}

static void give_up(struct worker *w, struct forward *f)
{
    uint8_t answer[WIRE_UDP_PLAIN];
    if (f->refusal)
        deliver(w, f, f->refusal, f->refusal_size);
    else
        deliver(w, f, answer, answer_refuse(&f->query, WIRE_SERVFAIL, answer, sizeof(answer)));
    forward_free(w, f);
}

/* ---- attempts ---------------------------------------------------------------------------------
 */

static socklen_t address_length(const struct sockaddr_in6 *a)
{
    return a->sin6_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

/* Ask the next server. False when it can't even be sent. */
static bool attempt_send(struct worker *w, struct forward *f)
{
    struct attempt *a = &f->attempts[f->n_attempts];
    *a = (struct attempt){.watch = {.fd = -1, .on_event = attempt_event}, .forward = f};
    a->server = f->servers[f->n_attempts % f->n_servers];
    f->n_attempts++;
    if (getrandom(&a->id, sizeof(a->id), 0) != sizeof(a->id))
        return false;
    a->watch.fd = socket(a->server.sin6_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (a->watch.fd < 0)
        return false;
    wire_put_u16(f->packet, a->id);
    bool sent = connect(a->watch.fd, (struct sockaddr *)&a->server, address_length(&a->server)) == 0 &&
                watch_add(w, &a->watch, EPOLLIN) == 0 &&
                send(a->watch.fd, f->packet, f->query.size, MSG_NOSIGNAL) >= 0;
    wire_put_u16(f->packet, f->query.id);
    if (!sent)
        watch_close(w, &a->watch);
    return sent;
}

/* The next server that can be asked; none left and none that may still answer: the end. */
static void ask_next(struct worker *w, struct forward *f)
{
    while (f->n_attempts < ATTEMPTS_MAX) {
        size_t n = f->n_attempts;
        if (attempt_send(w, f)) {
            deadline_set(w, &f->deadline, (enum span)(SPAN_FIRST + n), forward_due);
            return;
        }
        f->n_failed++;
    }
    if (f->n_failed >= f->n_attempts && f->long_attempt.watch.fd < 0)
        give_up(w, f);
}

static void forward_due(struct worker *w, struct deadline *deadline)
{
    struct forward *f = (struct forward *)((char *)deadline - offsetof(struct forward, deadline));
    if (f->n_attempts)
        note_down(w, &f->attempts[f->n_attempts - 1].server);
    if (f->n_attempts >= ATTEMPTS_MAX)
        give_up(w, f);
    else
        ask_next(w, f);
}

static void keep_refusal(struct forward *f, const uint8_t *reply, size_t size)
{
    if (!reply || f->refusal || !(f->refusal = malloc(size)))
        return;
    memcpy(f->refusal, reply, size);
    f->refusal_size = size;
}

/* A server that is of no use for this question; a second one may be. */
static void attempt_failed(struct worker *w, struct forward *f, struct attempt *a, const uint8_t *reply, size_t size)
{
    watch_close(w, &a->watch);
    f->n_failed++;
    keep_refusal(f, reply, size);
    if (f->n_failed < f->n_attempts)
        return; /* another one may still answer */
    if (f->n_attempts < f->n_servers)
        ask_next(w, f);
    else if (f->long_attempt.watch.fd < 0)
        give_up(w, f);
}

/* ---- over TCP ---------------------------------------------------------------------------------
 */

static void long_failed(struct worker *w, struct forward *f)
{
    watch_close(w, &f->long_attempt.watch);
    give_up(w, f); /* with the cut answer, which is the refusal kept */
}

static void long_read(struct worker *w, struct forward *f)
{
    struct long_attempt *l = &f->long_attempt;
    ssize_t n = recv(l->watch.fd, l->data + l->done, l->size - l->done, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        return long_failed(w, f);
    l->done += (size_t)n;
    if (l->done == 2)
        l->size = 2 + MAX(wire_u16(l->data), (uint16_t)WIRE_HEAD);
    if (l->done < l->size)
        return;
    if (wire_matches(l->data + 2, l->size - 2, &f->query, l->id) != 1)
        return long_failed(w, f);
    deliver(w, f, l->data + 2, l->size - 2);
    forward_free(w, f);
}

static void long_event(struct worker *w, struct watch *watch, uint32_t events)
{
    struct long_attempt *l = (struct long_attempt *)watch;
    struct forward *f = l->forward;
    if (l->reading)
        return long_read(w, f);
    ssize_t n = send(watch->fd, l->data + l->done, l->size - l->done, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0)
        return long_failed(w, f);
    l->done += (size_t)n;
    if (l->done < l->size)
        return;
    free(l->data);
    l->data = malloc(WIRE_ANSWER_MAX + 2);
    if (!l->data)
        return long_failed(w, f);
    l->done = 0;
    l->size = 2;
    l->reading = true;
    watch_change(w, watch, EPOLLIN);
}

static bool long_begin(struct worker *w, struct forward *f, const struct attempt *a)
{
    struct long_attempt *l = &f->long_attempt;
    l->watch.fd = socket(a->server.sin6_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    l->data = malloc(2 + f->query.size);
    if (l->watch.fd < 0 || !l->data ||
        (connect(l->watch.fd, (const struct sockaddr *)&a->server, address_length(&a->server)) < 0 && errno != EINPROGRESS) ||
        watch_add(w, &l->watch, EPOLLOUT) < 0) {
        watch_close(w, &l->watch);
        return false;
    }
    l->id = a->id;
    l->size = 2 + f->query.size;
    wire_put_u16(l->data, (uint16_t)f->query.size);
    memcpy(l->data + 2, f->packet, f->query.size);
    wire_put_u16(l->data + 2, l->id);
    return true;
}

/* ---- replies ----------------------------------------------------------------------------------
 */

static bool is_no_use(int rcode)
{
    return rcode == WIRE_SERVFAIL || rcode == WIRE_REFUSED || rcode == WIRE_NOTIMP || rcode == WIRE_FORMERR;
}

/* It is kept, in case TCP gives nothing better. */
static void ask_longer(struct worker *w, struct forward *f, struct attempt *a, size_t size)
{
    keep_refusal(f, reply_buffer, size);
    watch_close(w, &a->watch);
    f->n_failed++;
    if (f->long_attempt.watch.fd < 0 && !long_begin(w, f, a))
        give_up(w, f);
}

static void take_reply(struct worker *w, struct forward *f, struct attempt *a, size_t size)
{
    note_up(w, &a->server);
    if (is_no_use(wire_rcode(reply_buffer)))
        return attempt_failed(w, f, a, reply_buffer, size);
    if (f->stream && wire_truncated(reply_buffer))
        return ask_longer(w, f, a, size);
    deliver(w, f, reply_buffer, size);
    forward_free(w, f);
}

static void attempt_event(struct worker *w, struct watch *watch, uint32_t events)
{
    struct attempt *a = (struct attempt *)watch;
    struct forward *f = a->forward;
    ssize_t n = recv(watch->fd, reply_buffer, sizeof(reply_buffer), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) { /* nobody listens there */
        note_down(w, &a->server);
        return attempt_failed(w, f, a, NULL, 0);
    }
    int matches = wire_matches(reply_buffer, (size_t)n, &f->query, a->id);
    if (matches > 0)
        take_reply(w, f, a, (size_t)n);
    else if (matches < 0)
        attempt_failed(w, f, a, NULL, 0);
    /* else: somebody guesses; the right answer may still come */
}

/* ---- the beginning ----------------------------------------------------------------------------
 */

static bool has_room(struct worker *w, const struct door *door, const struct host *asker)
{
    size_t free_places = FORWARDS_MAX - w->n_forwards;
    return (asker ? asker->waiting : door->network->waiting) < free_places;
}

bool forward_begin(struct worker *w, struct door *door, const struct sockaddr_in6 *from, socklen_t from_length,
                   struct stream *stream, const struct query *q, struct host *asker)
{
    if (!has_room(w, door, asker))
        return false;
    struct forward *f = calloc(1, sizeof(*f) + q->size);
    if (!f)
        return false;
    *f = (struct forward){.door = door, .stream = stream, .asker = asker, .query = *q};
    f->long_attempt = (struct long_attempt){.watch = {.fd = -1, .on_event = long_event}, .forward = f};
    memcpy(f->packet, q->packet, q->size);
    f->query.packet = f->packet;
    if (!stream) {
        f->from = *from;
        f->from_length = from_length;
    }
    choose_servers(w, f);
    if (f->n_servers == 0) {
        free(f);
        return false;
    }
    if (stream) {
        f->next = *stream_forwards(stream);
        if (f->next)
            f->next->previous = f;
        *stream_forwards(stream) = f;
    }
    w->n_forwards++;
    door->users++;
    if (asker)
        asker->waiting++;
    else
        door->network->waiting++;
    ask_next(w, f);
    return true;
}
