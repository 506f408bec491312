/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a container, put right.
 *
 * Every entry is asked for with its stamp, and what is wanted is decided here: the API's `since` is cut to the second
 * by some daemons, its `tail` counts pieces of long lines as lines and both streams together. A stamp is also where a
 * reader goes on after the daemon went away: entries up to it are known, and as many of the same stamp as
 * were handed out. Following ends when the container has ended for good, which the API's own end of a stream does not say.
 */
#include "feeder/feeder.h"
#include "base/file.h"
#include "docker/answer.h"
#include "docker/hijack.h"
#include "model/frames.h"
#include <berth/berth.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define RUN_FD 3
#define PIECE 16384          /* where a daemon cuts long lines, with a stamp in the middle */
#define STAMP_MAX 40
#define RETRY_MSEC 200
#define TAIL_SLACK 64
#define ALL_LINES 1000000 /* above that the whole log is asked for */
#define KNOWN_MAX 4096    /* stamps that are remembered */

struct entry { int64_t time_usec; int stream; bool whole; struct text text; };

struct feed {
    struct daemon *daemon;
    const char *container;
    bool tty, follow, timestamps, frames, has_tail;
    uint32_t streams;
    long long tail, since_usec, until_usec;
    /* taking apart */
    struct frames cut;
    char stamp[STAMP_MAX];
    size_t stamp_size;
    bool in_stamp, skip;
    size_t line_size;        /* tty: bytes since the last stamp */
    int stream;
    int64_t time_usec, time_nsec;
    int64_t part[3];         /* stamp of an entry whose line has not ended; -1 */
    bool part_skipped[3];
    /* what was handed out */
    int64_t last_nsec;       /* the newest stamp; 0: none */
    uint64_t n_last, n_seen; /* entries of that stamp handed out; seen of them again */
    int64_t known[KNOWN_MAX];
    uint64_t n_known;
    bool again;              /* an answer that begins with what is known */
    bool middle[3];          /* the last byte of a stream was no newline */
    /* the last lines */
    struct entry *ring;
    uint64_t room;
    uint64_t n_ring, n_entries; /* lines that came; entries that the daemon sent */
    bool keeps, open[3];
    struct text out;
    bool reader_gone;
};

/* ---- handing out */

static void flush(struct feed *f)
{
    if (f->out.length && fd_write_all(STDOUT_FILENO, f->out.data, f->out.length) < 0)
        f->reader_gone = true;
    f->out.length = 0;
}

static void hand_out(struct feed *f, int64_t time_usec, int stream, const char *data, size_t size)
{
    char stamp[40];
    if (f->frames) {
        struct berth_frame head = {.time_usec = time_usec, .length = size, .stream = (uint32_t)stream};
        text_add_bytes(&f->out, &head, sizeof(head));
    } else if (f->timestamps && !f->middle[stream]) {
        time_print(time_usec, stamp);
        text_add(&f->out, stamp);
        text_add(&f->out, " ");
    }
    text_add_bytes(&f->out, data, size);
    f->middle[stream] = size && data[size - 1] != '\n';
    if (f->out.length > 65536)
        flush(f);
}

/* ---- the last lines */

static struct entry *slot(const struct feed *f, uint64_t i)
{
    return &f->ring[i % (uint64_t)f->tail];
}

/** Room for one more, as long as there are fewer than are wanted. */
static bool grow(struct feed *f)
{
    if (f->n_ring < f->room || f->room == (uint64_t)f->tail)
        return true;
    uint64_t room = MIN(MAX(f->room * 2, (uint64_t)256), (uint64_t)f->tail);
    struct entry *longer = realloc(f->ring, room * sizeof(*longer));
    if (!longer)
        return false;
    memset(longer + f->room, 0, (room - f->room) * sizeof(*longer));
    f->ring = longer;
    f->room = room;
    return true;
}

/** A piece for the ring: a new line, or more of the last one of its stream. */
static void keep(struct feed *f, const char *data, size_t size)
{
    struct entry *e = NULL;
    for (uint64_t i = f->n_ring; f->open[f->stream] && !e && i > 0 && i + (uint64_t)f->tail > f->n_ring; i--)
        if (slot(f, i - 1)->stream == f->stream)
            e = slot(f, i - 1);
    if (!e) {
        if (!grow(f))
            return;
        e = slot(f, f->n_ring++);
        text_free(&e->text);
        e->stream = f->stream;
        e->time_usec = f->time_usec;
    }
    text_add_bytes(&e->text, data, size);
    f->open[f->stream] = data[size - 1] != '\n';
}

/* ---- entries */

/** Stamps of nanoseconds are an entry's own: one that comes again (after a reconnect, a rotation) is known by it. */
static bool is_known(const struct feed *f)
{
    for (uint64_t i = f->n_known; i > 0 && i + KNOWN_MAX > f->n_known; i--)
        if (f->known[(i - 1) % KNOWN_MAX] == f->time_nsec)
            return true;
    return false;
}

/** Where stamps are cut to the second: as many of the last one as were handed out. */
static bool counted(struct feed *f, int order)
{
    if (order > 0 || !f->again)
        return false;
    return order < 0 || f->n_seen++ < f->n_last;
}

static int64_t nsec_of(const char *stamp, int64_t usec)
{
    const char *dot = strchr(stamp, '.');
    int64_t nsec = 0, unit = 100000000;
    for (const char *p = dot ? dot + 1 : ""; *p >= '0' && *p <= '9' && unit; p++, unit /= 10)
        nsec += (*p - '0') * unit;
    return usec / 1000000 * 1000000000 + nsec;
}

static void note_stamp(struct feed *f, int order)
{
    f->known[f->n_known++ % KNOWN_MAX] = f->time_nsec;
    if (order > 0) {
        f->n_last = 0;
        f->last_nsec = f->time_nsec;
    }
    f->n_last += order >= 0;
}

/** The stamp is whole: is its entry wanted? A part of a long line has the stamp of the part before it. */
static void begin_entry(struct feed *f)
{
    f->stamp[f->stamp_size] = '\0';
    f->in_stamp = false;
    f->line_size = 0;
    f->n_entries++;
    if (time_parse(f->stamp, 0, &f->time_usec) < 0)
        f->time_usec = 0;
    f->time_nsec = nsec_of(f->stamp, f->time_usec);
    bool coarse = !strchr(f->stamp, '.'); /* then the daemon's own since was exact, and this stamp is not */
    int order = f->time_nsec > f->last_nsec ? 1 : f->time_nsec < f->last_nsec ? -1 : 0;
    bool part = f->part[f->stream] == f->time_nsec;
    f->skip = part ? f->part_skipped[f->stream] : coarse ? counted(f, order) : order <= 0 && is_known(f);
    f->part_skipped[f->stream] = f->skip;
    if (f->skip)
        return;
    note_stamp(f, order);
    int64_t end = f->time_usec + (coarse ? 999999 : 0);
    f->skip = !(f->streams & (uint32_t)f->stream) || (f->since_usec && end < f->since_usec) ||
              (f->until_usec && f->time_usec >= f->until_usec);
}

/** Whether the entry goes on in the next. */
static void end_piece(struct feed *f, const char *data, size_t size)
{
    f->part[f->stream] = data[size - 1] != '\n' ? f->time_nsec : -1;
}

/** Bytes of one entry's line, the stamp included. */
static void take(struct feed *f, const char *data, size_t size)
{
    while (size && f->in_stamp) {
        char c = *data++;
        size--;
        if (c == ' ' || f->stamp_size + 1 == sizeof(f->stamp))
            begin_entry(f);
        else
            f->stamp[f->stamp_size++] = c;
    }
    if (!size)
        return;
    end_piece(f, data, size);
    if (f->skip)
        return;
    if (f->keeps)
        keep(f, data, size);
    else
        hand_out(f, f->time_usec, f->stream, data, size);
}

static void await_stamp(struct feed *f, int stream)
{
    f->stream = stream;
    f->in_stamp = true;
    f->stamp_size = 0;
}

/** Without frames a line says where an entry ends; a long one has another stamp after each full piece. */
static void take_raw(struct feed *f, const char *data, size_t size)
{
    while (size) {
        if (!f->in_stamp && f->line_size == PIECE)
            await_stamp(f, 1);
        if (f->in_stamp) {
            take(f, data, 1);
            data++;
            size--;
            continue;
        }
        size_t n = MIN(size, PIECE - f->line_size);
        const char *newline = memchr(data, '\n', n);
        n = newline ? (size_t)(newline - data) + 1 : n;
        take(f, data, n);
        f->line_size += n;
        data += n;
        size -= n;
        if (newline)
            await_stamp(f, 1);
    }
}

static int take_answer(void *data, const char *bytes, size_t size)
{
    struct feed *f = data;
    const char *piece;
    size_t n;
    int r = 1;
    if (f->tty)
        take_raw(f, bytes, size);
    while (!f->tty && (r = frames_next(&f->cut, &bytes, &size, &piece, &n)) == 1) {
        if (f->cut.begins)
            await_stamp(f, f->cut.stream);
        take(f, piece, n);
    }
    if (r == -EBADMSG)
        return -1;
    return f->reader_gone ? -1 : 0;
}

/* ---- requests */

static void forget(struct feed *f)
{
    f->last_nsec = 0;
    f->n_last = f->n_ring = f->n_known = 0;
    f->open[1] = f->open[2] = false;
}

static void begin_answer(struct feed *f)
{
    f->part[1] = f->part[2] = -1;
    f->again = f->last_nsec != 0;
    f->cut = (struct frames){0};
    f->n_seen = 0;
    f->n_entries = 0;
    f->skip = false;
    f->line_size = 0;
    await_stamp(f, 1);
}

static char *log_path(const struct feed *f, bool follow, long long tail)
{
    struct text t = {0};
    int64_t since = MAX(f->since_usec, f->last_nsec / 1000); /* the newest itself comes again, and is known */
    text_printf(&t, "/containers/%s/logs?stdout=1&stderr=1&timestamps=1&follow=%d", f->container, follow);
    if (since)
        text_printf(&t, "&since=%lld.%06lld", (long long)since / 1000000, (long long)since % 1000000);
    if (tail >= 0)
        text_printf(&t, "&tail=%lld", tail);
    return text_take(&t);
}

/** Hand out what there is, then wait for more. False when nobody reads any more, or the end is reached. */
static bool await(struct feed *f, int fd, int64_t end_usec)
{
    flush(f);
    int64_t left = end_usec ? (end_usec - now_usec()) / 1000 : -1;
    if (f->reader_gone || (end_usec && left < 0))
        return false;
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = STDOUT_FILENO, .events = 0}};
    if (poll(fds, ARRAY_SIZE(fds), end_usec ? (int)MIN(left + 1, 1000000) : -1) < 0 && errno != EINTR)
        return false;
    if (fds[1].revents & (POLLERR | POLLHUP))
        f->reader_gone = true;
    return !f->reader_gone;
}

static void take_plainly(struct feed *f, struct hijack *h, int64_t end_usec)
{
    char buffer[65536];
    for (ssize_t n; (n = hijack_read(h, buffer, sizeof(buffer))) > 0 || n == -EAGAIN;)
        if (n > 0 ? take_answer(f, buffer, (size_t)n) < 0 : !await(f, h->fd, end_usec))
            return;
}

/**
 * Asked the old way an answer needs no libcurl, which takes longer to load than a log to come. False when it was not answered like
 * that: then it is asked again, and whatever is wrong is told then.
 */
static bool ask_plainly(struct feed *f, const char *path, int64_t end_usec)
{
    struct hijack h;
    int r = -1;
    if (!starts_with(f->daemon->host, "unix://"))
        return false;
    if (hijack_get(&h, f->daemon, path, NULL) == 0)
        while ((r = hijack_step(&h, f->daemon, "logs", f->container, NULL)) == 0 && await(f, h.fd, end_usec))
            ;
    bool plain = r == 1 && !strcasestr(h.in.data, "\r\nTransfer-Encoding:");
    if (plain) {
        f->daemon->podman |= strcasestr(h.in.data, "\r\nServer: Libpod/") != NULL;
        begin_answer(f);
        take_plainly(f, &h, end_usec);
        flush(f);
    }
    hijack_close(&h);
    return plain;
}

/** 0: the daemon ended it; negative: it broke, or what was refused. */
static int ask(struct feed *f, bool follow, long long tail, struct berth_error *err)
{
    struct channel *c;
    autofree char *path = log_path(f, follow, tail);
    int64_t end_usec = follow ? f->until_usec : 0;
    if (path && ask_plainly(f, path, end_usec))
        return 0;
    int code = channel_take(f->daemon, &c, err);
    if (code < 0)
        return code;
    autorequest r = {.method = "GET", .path = TAKE(path), .timeout_msec = -1, .on_data = take_answer, .data = f};
    begin_answer(f);
    request_send(c, &r);
    while (!r.done && await(f, channel_fd(c), end_usec))
        channel_step(c);
    flush(f);
    code = r.done ? answer_judge(&r, "logs", f->container, err) : 0;
    request_clear(&r);
    channel_give(c);
    return code;
}

/* ---- the end */

static bool has_ended(json_t *seen)
{
    json_t *state = at(seen, "State");
    return !state_runs(state) && !true_at(state, "Paused") && !true_at(state, "Restarting") && strcmp(text_at(state, "Status"), "created");
}

/** Somebody restarts it: wait until that is done. */
static void wait_restart(void)
{
    autoclose int fd = openat(RUN_FD, "restart", O_RDWR | O_CLOEXEC);
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    if (fd >= 0)
        RETRY(fcntl(fd, F_OFD_SETLKW, &lock));
}

/** 1: it is over, 0: it goes on; negative when the daemon does not say. */
static int is_over(struct feed *f)
{
    for (int round = 0; round < 2; round++) {
        autorequest r = {.method = "GET", .path = format_text("/containers/%s/json", f->container)};
        autoanswer seen = NULL;
        int code = daemon_ask(f->daemon, &r, NULL);
        if (code == 0)
            code = answer_json(&r, "logs", f->container, &seen, NULL);
        if (code == BERTH_NOT_FOUND)
            return 1;
        if (code < 0 || !has_ended(seen))
            return code < 0 ? code : 0;
        if (round == 0)
            wait_restart();
    }
    return 1;
}

/** The reader is what is waited for while there is no daemon. */
static void breathe(struct feed *f)
{
    struct pollfd p = {.fd = STDOUT_FILENO, .events = 0};
    if (poll(&p, 1, RETRY_MSEC) > 0 && (p.revents & (POLLERR | POLLHUP)))
        f->reader_gone = true;
}

static bool past_until(const struct feed *f)
{
    return f->until_usec && now_usec() >= f->until_usec;
}

static int follow(struct feed *f, long long tail, struct berth_error *err)
{
    while (!f->reader_gone && !past_until(f)) {
        int r = ask(f, true, tail, err);
        if (r < 0 && r != BERTH_LOST && r != BERTH_TIMED_OUT)
            return r == BERTH_NOT_FOUND ? 0 : r;
        int over = r < 0 || past_until(f) ? 0 : is_over(f);
        if (over > 0) {
            ask(f, false, f->last_nsec || tail < 0 ? -1 : tail, NULL); /* what came between the two */
            return 0;
        }
        breathe(f);
        if (f->last_nsec)
            tail = -1;
    }
    return 0;
}

/**
 * Fetch more and more of the end until it holds as many lines. Of podman all is fetched: its tail puts parts of lines
 * together that are none. Its first answer says whose it is.
 */
static int last_lines(struct feed *f, struct berth_error *err)
{
    f->keeps = true;
    for (long long wanted = MIN(f->tail, ALL_LINES) + TAIL_SLACK;; wanted *= 8) {
        bool all = f->daemon->podman || wanted > ALL_LINES;
        forget(f);
        int r = ask(f, false, all ? -1 : wanted, err);
        if (r < 0)
            return r;
        if (f->daemon->podman && !all)
            continue;
        /* one more than is wanted: the oldest may be a part of a line */
        if (all || f->n_entries < (uint64_t)wanted || f->n_ring > (uint64_t)f->tail)
            break;
    }
    f->keeps = false;
    uint64_t first = f->n_ring > (uint64_t)f->tail ? f->n_ring - (uint64_t)f->tail : 0;
    for (uint64_t i = first; i < f->n_ring; i++) {
        struct entry *e = slot(f, i);
        hand_out(f, e->time_usec, e->stream, e->text.data, e->text.length);
        text_free(&e->text);
    }
    flush(f);
    return 0;
}

static int feed(struct feed *f, struct berth_error *err)
{
    if (f->has_tail && f->tail == 0)
        return f->follow ? follow(f, 0, err) : 0;
    if (f->has_tail) {
        int r = last_lines(f, err);
        return r < 0 || !f->follow ? r : follow(f, -1, err);
    }
    return f->follow ? follow(f, -1, err) : ask(f, false, -1, err);
}

/* ---- the way in */

static int options(struct feed *f, char **argv, struct berth_error *err)
{
    long long minor = API_MINOR_BEST, streams = 0;
    const struct { const char *name; bool *flag; long long *number; } table[] = {
        {"--tty", &f->tty, NULL},          {"--follow", &f->follow, NULL}, {"--timestamps", &f->timestamps, NULL},
        {"--frames", &f->frames, NULL},    {"--minor", NULL, &minor},      {"--streams", NULL, &streams},
        {"--tail", &f->has_tail, &f->tail},{"--since", NULL, &f->since_usec}, {"--until", NULL, &f->until_usec},
    };
    for (; *argv; argv++) {
        size_t i = 0;
        while (i < ARRAY_SIZE(table) && strcmp(table[i].name, *argv))
            i++;
        if (i == ARRAY_SIZE(table) || (table[i].number && !argv[1]))
            return fail(err, BERTH_INVALID, *argv, "unknown option \"%s\"", *argv);
        if (table[i].flag)
            *table[i].flag = true;
        if (table[i].number)
            *table[i].number = strtoll(*++argv, NULL, 10);
    }
    f->daemon->minor = (int)minor;
    f->streams = streams ? (uint32_t)streams : BERTH_STDOUT | BERTH_STDERR;
    return 0;
}

int run_logs(int argc, char **argv, struct berth_error *err)
{
    static struct feed f;
    (void)argc;
    autofree char *programs = own_folder();
    f.daemon = programs ? daemon_new(argv[1], *argv[2] ? argv[2] : NULL, programs) : NULL;
    if (!f.daemon)
        return fail_memory(err);
    f.container = argv[3];
    int r = options(&f, argv + 4, err);
    if (r == 0)
        r = feed(&f, err);
    flush(&f);
    daemon_free(f.daemon);
    return r;
}
