/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams of the fake engine. What is complete is a file in memory; a follower is a socket that
 * every entry into the runtime feeds, because nothing of the library runs in between (fake.h says
 * so to callers).
 */
#include "fake/world.h"
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

struct fake_feed {
    struct fake_feed *next;
    struct fake *fake;
    int fd;            /* our end; -1 after its end */
    bool events, over; /* over: nothing more will come */
    uint8_t id[16];
    struct berth_logs_options logs;
    int64_t since_usec, until_usec;
    char name[BERTH_NAME_MAX + 8];
    size_t record;     /* next to render */
    bool in_line;      /* the last byte rendered was no newline */
    struct text pending;
    size_t sent;
};

/* ---- rendering */

static bool selected(const struct fake_feed *d, const struct fake_record *r)
{
    uint32_t streams = d->logs.streams ? d->logs.streams : BERTH_STDOUT | BERTH_STDERR;
    return (r->stream & streams) && r->time_usec >= d->since_usec &&
           (!d->until_usec || r->time_usec < d->until_usec);
}

static void render_lines(struct fake_feed *d, const struct fake_record *r, struct text *t,
                         size_t from)
{
    char when[40];
    time_print(r->time_usec, when);
    for (size_t at = from; at < r->length;) {
        const char *newline = memchr(r->data + at, '\n', r->length - at);
        size_t end = newline ? (size_t)(newline - r->data) + 1 : r->length;
        if (d->logs.timestamps && !d->in_line)
            text_printf(t, "%s ", when);
        text_add_bytes(t, r->data + at, end - at);
        d->in_line = !newline;
        at = end;
    }
}

static void render_record(struct fake_feed *d, const struct fake_record *r, size_t from)
{
    autotext struct text piece = {0};
    if (!selected(d, r) || from >= r->length)
        return;
    render_lines(d, r, &piece, from);
    if (d->logs.frames) {
        struct berth_frame frame = {.time_usec = r->time_usec, .length = piece.length,
                                    .stream = r->stream};
        text_add_bytes(&d->pending, &frame, sizeof(frame));
    }
    text_add_bytes(&d->pending, piece.data, piece.length);
}

/** Where the last `tail` lines begin: record and offset in it. */
static size_t tail_begin(const struct fake_feed *d, const struct fake_log *log, size_t *ret_offset)
{
    uint64_t lines = 0;
    bool last_byte = true;
    *ret_offset = 0;
    for (size_t i = log->n; d->logs.tail && i-- > 0;) {
        const struct fake_record *r = &log->items[i];
        for (size_t at = selected(d, r) ? r->length : 0; at-- > 0; last_byte = false)
            if (r->data[at] == '\n' && !last_byte && ++lines == d->logs.tail) {
                *ret_offset = at + 1;
                return i;
            }
    }
    return d->logs.tail ? 0 : log->n;
}

static void render_log(struct fake_feed *d, const struct fake_log *log, bool first)
{
    size_t offset = 0;
    if (first && d->logs.has_tail)
        d->record = tail_begin(d, log, &offset);
    for (; d->record < log->n; d->record++, offset = 0)
        render_record(d, &log->items[d->record], offset);
}

static bool event_selected(const struct fake_feed *d, const struct fake_record *r)
{
    char by_name[BERTH_NAME_MAX + 24], by_id[BERTH_NAME_MAX + 24];
    if (r->time_usec < d->since_usec || (d->until_usec && r->time_usec >= d->until_usec))
        return false;
    if (!d->name[0])
        return true;
    snprintf(by_name, sizeof(by_name), "\"name\":\"%s\"", d->name);
    snprintf(by_id, sizeof(by_id), "\"id\":\"%s", d->name);
    return memmem(r->data, r->length, by_name, strlen(by_name)) ||
           memmem(r->data, r->length, by_id, strlen(by_id));
}

static void render_events(struct fake_feed *d, const struct fake_log *log)
{
    for (; d->record < log->n; d->record++)
        if (event_selected(d, &log->items[d->record]))
            text_add_bytes(&d->pending, log->items[d->record].data, log->items[d->record].length);
}

/* ---- feeding */

static void feed_send(struct fake_feed *d)
{
    while (d->fd >= 0 && d->sent < d->pending.length) {
        ssize_t n = send(d->fd, d->pending.data + d->sent, d->pending.length - d->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            d->over = true;
        d->sent = n < 0 ? d->pending.length : d->sent + (size_t)n;
    }
    d->pending.length = d->sent = 0;
    if (d->over)
        close_fd(&d->fd);
}

static void feed_advance(struct fake *f, struct fake_feed *d)
{
    struct fake_workload *w = d->events ? NULL : fake_find_id(f, d->id);
    if (d->events) {
        render_events(d, &f->events);
        d->over = d->until_usec && fake_now(f) >= d->until_usec;
    } else if (w) {
        render_log(d, &w->log, false);
        d->over = fake_final(w) || (d->until_usec && fake_now(f) >= d->until_usec);
    }
    feed_send(d);
}

void fake_feeds_push(struct fake *f)
{
    for (struct fake_feed *d = f->feeds; d; d = d->next)
        if (d->fd >= 0)
            feed_advance(f, d);
}

void fake_feeds_part(struct fake *f, const struct fake_workload *w)
{
    for (struct fake_feed *d = f->feeds; d; d = d->next)
        if (!d->events && !memcmp(d->id, w->handle.id, 16)) {
            render_log(d, &w->log, false);
            d->over = true;
            feed_send(d);
        }
}

static void feed_free(void *data)
{
    struct fake_feed *d = data;
    pthread_mutex_lock(&d->fake->lock);
    for (struct fake_feed **link = &d->fake->feeds; *link; link = &(*link)->next)
        if (*link == d) {
            *link = d->next;
            break;
        }
    pthread_mutex_unlock(&d->fake->lock);
    close_fd(&d->fd);
    text_free(&d->pending);
    free(d);
}

static int whole_stream(struct fake_feed *d, int *ret_fd, struct berth_error *err)
{
    autoclose int fd = memfd_create("berth-fake", MFD_CLOEXEC);
    if (d->pending.failed)
        return fail_memory(err);
    if (fd < 0)
        return fail_os(err, errno, NULL, "memfd_create");
    for (size_t at = 0; at < d->pending.length;) {
        ssize_t n = write(fd, d->pending.data + at, d->pending.length - at);
        if (n < 0)
            return fail_os(err, errno, NULL, "write of a stream");
        at += (size_t)n;
    }
    if (lseek(fd, 0, SEEK_SET) < 0)
        return fail_os(err, errno, NULL, "lseek");
    *ret_fd = take_fd(&fd);
    return 0;
}

static int live_stream(struct fake_feed *d, int *ret_fd, struct berth_error *err)
{
    int pair[2], room = 4 << 20;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return fail_os(err, errno, NULL, "socketpair");
    if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
        setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    d->fd = pair[0];
    *ret_fd = pair[1];
    feed_send(d);
    return 0;
}

/** The stream of a feed that has rendered the past; the feed is its owner's or freed. */
static int feed_stream(struct fake *f, struct fake_feed *d, bool follow,
                       struct berth_stream **ret_stream, struct berth_error *err)
{
    int fd = -1;
    int r = follow ? live_stream(d, &fd, err) : whole_stream(d, &fd, err);
    if (r < 0 || !follow) {
        text_free(&d->pending);
        free(d);
        return r < 0 ? r : berth_stream_new(fd, NULL, NULL, ret_stream, err);
    }
    d->next = f->feeds;
    f->feeds = d;
    return berth_stream_new(fd, feed_free, d, ret_stream, err);
}

static struct fake_feed *feed_make(struct fake *f, struct berth_error *err)
{
    struct fake_feed *d = calloc(1, sizeof(*d));
    if (!d) {
        fail_memory(err);
        return NULL;
    }
    d->fake = f;
    d->fd = -1;
    return d;
}

int fake_logs_stream(struct fake *f, struct fake_workload *w, const struct berth_logs_options *o,
                     struct berth_stream **ret_stream, struct berth_error *err)
{
    struct fake_feed *d = feed_make(f, err);
    if (!d)
        return BERTH_NO_MEMORY;
    d->logs = *o;
    d->since_usec = o->since_usec;
    d->until_usec = o->until_usec;
    memcpy(d->id, w->handle.id, sizeof(d->id));
    render_log(d, &w->log, true);
    return feed_stream(f, d, o->follow && !fake_final(w), ret_stream, err);
}

int fake_events_stream(struct fake *f, const struct berth_events_options *o,
                       struct berth_stream **ret_stream, struct berth_error *err)
{
    struct fake_feed *d = feed_make(f, err);
    if (!d)
        return BERTH_NO_MEMORY;
    d->events = true;
    d->since_usec = o->since_usec;
    d->until_usec = o->until_usec;
    snprintf(d->name, sizeof(d->name), "%s", o->name ? o->name : "");
    if (o->follow && !o->since_usec)
        d->record = f->events.n;
    render_events(d, &f->events);
    return feed_stream(f, d, o->follow, ret_stream, err);
}
