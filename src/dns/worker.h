/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's rooms, and what they tell each other. One process, one thread, no files.
 *
 *   worker.c   loop, feed, questions by UDP      stream.c   questions by TCP
 *   forward.c  questions on their way outside    deadline.c what is due when
 */
#ifndef DNS_WORKER_H
#define DNS_WORKER_H

#include "dns/answer.h"
#include "dns/feed.h"

#define FORWARDS_MAX 1024       /* questions on their way at once */
#define STREAMS_MAX 256         /* connections at once */
#define STREAMS_OF_ONE_MAX 16   /* of one address */

struct worker;

/** A watched descriptor, first in what it belongs to. One event is handled at a time: see supervisor/loop.h. */
struct watch {
    int fd;
    uint32_t events;
    void (*on_event)(struct worker *w, struct watch *watch, uint32_t events);
};

/** Something that happens unless it is taken out before; a queue for each span, so that they stay in order. */
enum span { SPAN_FIRST, SPAN_SECOND, SPAN_THIRD, SPAN_LAST, SPAN_STREAM, SPAN_COUNT };
struct deadline {
    struct deadline *next, *previous;
    int64_t due_usec;
    enum span span;
    bool set;
    void (*on_due)(struct worker *w, struct deadline *deadline);
};

/** A socket of ours, of one network. */
struct door {
    struct watch watch;
    struct door *next;
    struct network *network;
    struct address gateway;
    bool is_stream;
    bool closed;         /* no longer ours: freed when nobody uses it */
    unsigned users;      /* questions on their way */
};

struct upstream_state {
    struct sockaddr_in6 address;
    int64_t down_until_usec;
};

struct stream;
struct forward;

struct worker {
    int epoll_fd;
    struct watch feed;
    struct table table;
    struct door *doors;
    struct { struct deadline *first, *last; } queues[SPAN_COUNT];
    struct sockaddr_in6 resolvers[NAMES_UPSTREAMS_MAX];
    size_t n_resolvers;
    struct upstream_state upstreams[2 * NAMES_UPSTREAMS_MAX]; /* those that did not answer lately */
    size_t next_upstream;
    size_t n_forwards;
    struct stream *streams;
    size_t n_streams;
    unsigned turn;
    bool over;
};

int watch_add(struct worker *w, struct watch *watch, uint32_t events);
void watch_change(struct worker *w, struct watch *watch, uint32_t events);
/** Stop watching, close. */
void watch_close(struct worker *w, struct watch *watch);

void deadline_set(struct worker *w, struct deadline *d, enum span span,
                  void (*on_due)(struct worker *w, struct deadline *deadline));
void deadline_clear(struct worker *w, struct deadline *d);
/** Handle what is due; milliseconds until the next, -1 for none. */
int deadlines_run(struct worker *w);

void door_release(struct worker *w, struct door *door);

/* ---- forward.c */
/**
 * Ask the outside. Where the answer goes: a door and an address, or a stream. False when there
 * is no room for it (his share is used up) or nobody to ask: the caller refuses.
 */
bool forward_begin(struct worker *w, struct door *door, const struct sockaddr_in6 *from, socklen_t from_length,
                   struct stream *stream, const struct query *q, struct host *asker);
/** The stream has ended: its questions too. */
void forwards_drop(struct worker *w, struct forward *first);

/* ---- stream.c */
void stream_accept(struct worker *w, struct watch *watch, uint32_t events);
/** An answer for it, in any order. */
void stream_answer(struct worker *w, struct stream *s, const uint8_t *data, size_t size);
/** Where its questions that are on their way are listed. */
struct forward **stream_forwards(struct stream *s);
void streams_close(struct worker *w, const struct door *door);

/** The address of a peer; IPv4 as such. */
struct address address_of(const struct sockaddr_in6 *from);

#endif
