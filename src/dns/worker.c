/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker: what the keeper feeds it, and questions by UDP.
 *
 * Questions come in batches, and after each batch the next socket has its turn: askers are spread
 * over several sockets (listen.c), so one that floods waits for himself.
 */
#include "dns/worker.h"
#include "base/base.h"
#include "base/file.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define BATCH 32

/* ---- watching ---------------------------------------------------------------------------------
 */

int watch_add(struct worker *w, struct watch *watch, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = watch};
    watch->events = events;
    return epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, watch->fd, &e) < 0 ? -errno : 0;
}

/* Nothing to wait for: out of the set, since hang-ups are told unasked. */
void watch_change(struct worker *w, struct watch *watch, uint32_t events)
{
    if (watch->events == events)
        return;
    struct epoll_event e = {.events = events, .data.ptr = watch};
    int how = !events ? EPOLL_CTL_DEL : !watch->events ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(w->epoll_fd, how, watch->fd, &e) == 0)
        watch->events = events;
}

void watch_close(struct worker *w, struct watch *watch)
{
    close_fd(&watch->fd); /* nobody else has it open, so it leaves the set */
    watch->events = 0;
}

struct address address_of(const struct sockaddr_in6 *from)
{
    struct address a = {.family = AF_INET6, .prefix = 128};
    if (from->sin6_family == AF_INET) {
        a = (struct address){.family = AF_INET, .prefix = 32};
        memcpy(a.bytes, &((const struct sockaddr_in *)from)->sin_addr, 4);
    } else {
        memcpy(a.bytes, &from->sin6_addr, 16);
    }
    return a;
}

/* ---- questions by UDP -------------------------------------------------------------------------
 */

struct datagrams {
    struct mmsghdr heads[BATCH];
    struct iovec pieces[BATCH];
    struct sockaddr_in6 peers[BATCH];
};
static struct datagrams asked, answered;
static uint8_t questions[BATCH][WIRE_QUERY_MAX + 1], answers[BATCH][WIRE_UDP_MAX];

static void datagram_set(struct datagrams *d, size_t i, void *data, size_t size, socklen_t peer)
{
    d->pieces[i] = (struct iovec){data, size};
    d->heads[i].msg_hdr = (struct msghdr){
        .msg_name = &d->peers[i], .msg_namelen = peer, .msg_iov = &d->pieces[i], .msg_iovlen = 1};
}

/* True: an answer of *ret_size bytes is in `data`. */
static bool ask(struct worker *w, struct door *door, size_t i, uint8_t *data, size_t *ret_size)
{
    struct query q;
    struct host *asker;
    struct address from = address_of(&asked.peers[i]);
    if (asked.heads[i].msg_len > WIRE_QUERY_MAX)
        return false;
    switch (answer_query(&w->table, door->network, &from, questions[i], asked.heads[i].msg_len, &w->turn, data,
                         WIRE_UDP_MAX, ret_size, &q, &asker)) {
    case VERDICT_ANSWER:
        return true;
    case VERDICT_FORWARD:
        if (forward_begin(w, door, &asked.peers[i], asked.heads[i].msg_hdr.msg_namelen, NULL, &q, asker))
            return false;
        *ret_size = answer_refuse(&q, WIRE_SERVFAIL, data, WIRE_UDP_PLAIN);
        return true;
    case VERDICT_SILENCE:
        break;
    }
    return false;
}

static void door_asked(struct worker *w, struct watch *watch, uint32_t events)
{
    struct door *door = (struct door *)watch;
    for (size_t i = 0; i < BATCH; i++)
        datagram_set(&asked, i, questions[i], sizeof(questions[i]), sizeof(asked.peers[i]));
    int n = recvmmsg(watch->fd, asked.heads, BATCH, MSG_DONTWAIT, NULL);
    unsigned out = 0;
    for (int i = 0; i < n; i++) {
        size_t size;
        if (!ask(w, door, (size_t)i, answers[out], &size))
            continue;
        answered.peers[out] = asked.peers[i];
        datagram_set(&answered, out, answers[out], size, asked.heads[i].msg_hdr.msg_namelen);
        out++;
    }
    /* An answer that can't be sent (his queue is full, he has gone) is his loss: go on behind it. */
    for (unsigned done = 0; done < out;) {
        int sent = sendmmsg(watch->fd, answered.heads + done, out - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        done += sent > 0 ? (unsigned)sent : 1;
    }
}

/* ---- doors ------------------------------------------------------------------------------------
 */

void door_release(struct worker *w, struct door *door)
{
    if (--door->users > 0)
        return;
    network_release(&w->table, door->network);
    free(door);
}

static void door_close(struct worker *w, struct door *door)
{
    struct door **at = &w->doors;
    while (*at != door)
        at = &(*at)->next;
    *at = door->next;
    door->closed = true;
    watch_close(w, &door->watch);
    streams_close(w, door);
    door_release(w, door);
}

/* Takes the descriptor. */
static int door_open(struct worker *w, const struct feed_head *head, const char *name, int fd, bool is_stream)
{
    struct door *door = calloc(1, sizeof(*door));
    struct network *network = door ? table_network(&w->table, name, true) : NULL;
    if (!network) {
        free(door);
        close(fd);
        return -ENOMEM;
    }
    *door = (struct door){.watch = {.fd = fd, .on_event = is_stream ? stream_accept : door_asked},
                          .next = w->doors, .network = network, .gateway = head->gateway,
                          .is_stream = is_stream, .users = 1};
    w->doors = door;
    return watch_add(w, &door->watch, EPOLLIN);
}

static void doors_close(struct worker *w, const struct feed_head *head, const char *name)
{
    for (struct door *d = w->doors, *next; d; d = next) {
        next = d->next;
        if (strcmp(d->network->name, name) == 0 && address_equal(&d->gateway, &head->gateway))
            door_close(w, d);
    }
}

/* ---- the feed ---------------------------------------------------------------------------------
 */

static void feed_record(struct worker *w, const struct feed_head *head, const char *body, size_t size)
{
    struct names *names autoclean(cleanup_names) = NULL;
    struct berth_error err = {0};
    struct feed_reply reply = {.connection = head->connection, .sequence = head->sequence, .text = NAMES_DONE};
    int r = names_parse(body, size, &names, &err);
    if (r == 0)
        r = table_set(&w->table, head->connection, names, &err);
    if (r < 0)
        snprintf(reply.text, sizeof(reply.text), "%.*s", FEED_TEXT - 1, err.message);
    if (send(w->feed.fd, &reply, sizeof(reply), MSG_NOSIGNAL) < 0)
        w->over = true;
}

static void feed_take(struct worker *w, const struct feed_head *head, char *body, size_t size, const int *fds, size_t n)
{
    switch (head->type) {
    case FEED_RECORD:
        feed_record(w, head, body, size);
        break;
    case FEED_GONE:
        table_remove(&w->table, head->connection);
        break;
    case FEED_SOCKETS:
        for (size_t i = 0; i < n; i++)
            if (door_open(w, head, body, fds[i], i == UDP_SOCKETS) < 0)
                w->over = true; /* rather a new one than one that is deaf */
        break;
    case FEED_CLOSE:
        doors_close(w, head, body);
        break;
    case FEED_RESOLVERS:
        w->n_resolvers = MIN(size / sizeof(w->resolvers[0]), ARRAY_SIZE(w->resolvers));
        memcpy(w->resolvers, body, w->n_resolvers * sizeof(w->resolvers[0]));
        break;
    }
}

static void feed_event(struct worker *w, struct watch *watch, uint32_t events)
{
    static char packet[sizeof(struct feed_head) + NAMES_MAX_BYTES + 1];
    int fds[FEED_SOCKETS_MAX];
    size_t n = ARRAY_SIZE(fds);
    struct feed_head head;
    ssize_t size = recv_with_fds(watch->fd, packet, sizeof(packet) - 1, fds, &n);
    if (size == -EAGAIN || size == -EINTR)
        return;
    if (size < (ssize_t)sizeof(head)) {
        w->over = true;
        return;
    }
    memcpy(&head, packet, sizeof(head));
    packet[size] = 0;
    feed_take(w, &head, packet + sizeof(head), (size_t)size - sizeof(head), fds, n);
}

int worker_run(int feed_fd)
{
    static struct worker w;
    w = (struct worker){.epoll_fd = epoll_create1(EPOLL_CLOEXEC), .feed = {.fd = feed_fd, .on_event = feed_event}};
    if (w.epoll_fd < 0 || watch_add(&w, &w.feed, EPOLLIN) < 0)
        return 1;
    while (!w.over) {
        struct epoll_event e;
        if (epoll_wait(w.epoll_fd, &e, 1, deadlines_run(&w)) == 1) {
            struct watch *watch = e.data.ptr;
            watch->on_event(&w, watch, e.events);
        }
    }
    return 0;
}
