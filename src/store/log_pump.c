/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Serving the log: pieces chosen by stream, tail and stamp, written as they are, framed or stamped.
 *
 * What needs no look at its bytes is passed on as a range, by sendfile when it is large. Whether a
 * stream is in the middle of a line is found out only when somebody must know: from one byte.
 */
#include "store/log_format.h"
#include "store/log_reader.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "store/store.h"
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OUT_SIZE (128u << 10)
#define CHUNK_SIZE (128u << 10)
#define SENDFILE_LEAST (32u << 10)
#define LINE_MAX_HELD (4u << 20) /* an unfinished line is held back up to here, when stamps are wanted */
#define LIFE_LOOK_MSEC 1000      /* how soon a supervisor's death is seen when its pid isn't known */
#define TAIL_TEXT_MAX (256u << 10)

enum lane_state {
    LANE_UNKNOWN,  /* depends on the byte before `end`: mid-line means `if_middle` */
    LANE_AT_START, /* of a line */
    LANE_TAKEN,    /* in a line that is wanted */
    LANE_SKIPPED   /* in one that is not */
};
struct lane {
    enum lane_state state, if_middle;
    bool has_end;
    uint64_t end_number, end_offset;   /* of the last piece */
    bool has_skip;
    uint64_t skip_number, skip_offset; /* tail: nothing before this */
    struct text line;                  /* held back until it is complete */
    bool line_split;                   /* its beginning was written already */
    int64_t line_usec;
};

struct pump {
    struct log_options options;
    int workload_fd, life_fd, out_fd;
    int dir_fd, watch_fd, index_watch, supervisor_fd;
    struct log_reader reader;
    struct lane lanes[LOG_LANES];
    uint16_t mark;                   /* last one seen */
    bool by_line;
    bool writer_gone;
    bool mid_line;                   /* what was written ends without a newline */
    uint64_t range_start, range_end; /* of the open file: accepted, not yet written */
    char *out, *chunk;
    size_t out_length;
    bool broken;                     /* nobody reads any more */
};

/* ---- output */

static int out_failed(struct pump *p, int os_error)
{
    if (os_error == EPIPE || os_error == ECONNRESET)
        p->broken = true;
    return -os_error;
}

static int wait_writable(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLOUT};
    return poll(&polled, 1, -1) < 0 && errno != EINTR ? -errno : 0;
}

static int write_out(struct pump *p, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t n = RETRY(write(p->out_fd, data, size));
        if (n < 0 && errno == EAGAIN) {
            int r = wait_writable(p->out_fd);
            if (r < 0)
                return r;
            continue;
        }
        if (n < 0)
            return out_failed(p, errno);
        data += n;
        size -= (size_t)n;
    }
    return 0;
}

static int flush_out(struct pump *p)
{
    int r = write_out(p, p->out, p->out_length);
    p->out_length = 0;
    return r;
}

static int put(struct pump *p, const void *data, size_t size)
{
    if (size > OUT_SIZE - p->out_length) {
        int r = flush_out(p);
        if (r < 0)
            return r;
    }
    if (size > OUT_SIZE)
        return write_out(p, data, size);
    memcpy(p->out + p->out_length, data, size);
    p->out_length += size;
    return 0;
}

static int copy_range(struct pump *p, uint64_t start, uint64_t end)
{
    while (start < end) {
        if (p->out_length == OUT_SIZE) {
            int r = flush_out(p);
            if (r < 0)
                return r;
        }
        size_t room = MIN(OUT_SIZE - p->out_length, end - start);
        ssize_t n = RETRY(pread(p->reader.log_fd, p->out + p->out_length, room, (off_t)start));
        if (n <= 0)
            return n < 0 ? -errno : 0; /* shorter than its index says: damaged, the rest is served */
        p->out_length += (size_t)n;
        start += (uint64_t)n;
    }
    return 0;
}

static int send_range(struct pump *p, uint64_t start, uint64_t end)
{
    if (end - start < SENDFILE_LEAST)
        return copy_range(p, start, end);
    int r = flush_out(p);
    off_t at = (off_t)start;
    while (r == 0 && (uint64_t)at < end) {
        ssize_t n = RETRY(sendfile(p->out_fd, p->reader.log_fd, &at, MIN(end - (uint64_t)at, 1u << 30)));
        if (n == 0)
            return 0;
        if (n < 0 && errno == EAGAIN)
            r = wait_writable(p->out_fd);
        else if (n < 0 && errno == EINVAL)
            return copy_range(p, (uint64_t)at, end);
        else if (n < 0)
            r = out_failed(p, errno);
    }
    return r;
}

/* ---- ranges: neighbours are written as one */

static int flush_range(struct pump *p)
{
    uint64_t start = p->range_start, end = p->range_end;
    p->range_start = p->range_end = 0;
    if (start == end)
        return 0;
    char last;
    if (!p->options.frames && RETRY(pread(p->reader.log_fd, &last, 1, (off_t)end - 1)) == 1)
        p->mid_line = last != '\n';
    return send_range(p, start, end);
}

static int put_frame(struct pump *p, uint32_t stream, int64_t time_usec, uint64_t length)
{
    struct berth_frame frame = {.time_usec = time_usec, .length = length, .stream = stream};
    return put(p, &frame, sizeof(frame));
}

static int take_range(struct pump *p, const struct log_piece *piece, uint64_t start, uint64_t end)
{
    int r = 0;
    if (start >= end)
        return 0;
    if (p->options.frames) {
        r = put_frame(p, piece->stream, piece->time_usec, end - start);
        return r < 0 ? r : send_range(p, start, end);
    }
    if (p->range_end != start || p->range_start == p->range_end) {
        r = flush_range(p);
        p->range_start = start;
    }
    p->range_end = end;
    return r;
}

/* ---- stamped lines */

static int put_stamp(struct pump *p, int64_t time_usec)
{
    char stamp[48];
    time_print(time_usec, stamp);
    size_t n = strlen(stamp);
    stamp[n++] = ' ';
    return put(p, stamp, n);
}

/* A line, or what there is of it, in one or two parts. */
static int put_line(struct pump *p, int lane, const char *more, size_t more_size)
{
    struct lane *l = &p->lanes[lane];
    char stamp[48];
    int r = 0;
    time_print(l->line_usec, stamp);
    uint64_t stamp_size = l->line_split ? 0 : strlen(stamp) + 1;
    if (p->options.frames)
        r = put_frame(p, (uint32_t)lane + 1, l->line_usec, stamp_size + l->line.length + more_size);
    else if (p->mid_line && !l->line_split)
        r = put(p, "\n", 1);
    if (r == 0 && stamp_size)
        r = put_stamp(p, l->line_usec);
    if (r == 0 && l->line.length)
        r = put(p, l->line.data, l->line.length);
    if (r == 0 && more_size)
        r = put(p, more, more_size);
    char last = more_size ? more[more_size - 1] : l->line.length ? l->line.data[l->line.length - 1] : '\n';
    p->mid_line = last != '\n';
    l->line_split = last != '\n';
    l->line.length = 0;
    if (l->line.room > CHUNK_SIZE)
        text_free(&l->line);
    return r;
}

static int hold_line(struct pump *p, int lane, const char *data, size_t size)
{
    struct lane *l = &p->lanes[lane];
    text_add_bytes(&l->line, data, size);
    if (l->line.failed)
        return -ENOMEM;
    return l->line.length > LINE_MAX_HELD ? put_line(p, lane, NULL, 0) : 0;
}

/* What is held back and will not go on. */
static int put_held(struct pump *p)
{
    int r = 0;
    for (int i = 0; i < LOG_LANES && r == 0; i++) {
        if (p->lanes[i].line.length)
            r = put_line(p, i, NULL, 0);
        p->lanes[i].line_split = false;
    }
    return r;
}

/* ---- lines */

static bool time_wanted(const struct pump *p, int64_t time_usec)
{
    return time_usec >= p->options.since_usec &&
           (!p->options.until_usec || time_usec < p->options.until_usec);
}

/* The byte before: from a file that may have been dropped, and then a line begins here. */
static int resolve(struct pump *p, struct lane *l)
{
    char last = '\n', name[32];
    if (l->state != LANE_UNKNOWN)
        return 0;
    if (l->has_end && l->end_offset > 0) {
        autoclose int other = -1;
        int fd = p->reader.log_fd;
        if (l->end_number != p->reader.number)
            fd = other = RETRY(openat(p->dir_fd, log_file_name(l->end_number, "log", name),
                                      O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
        if (fd >= 0 && RETRY(pread(fd, &last, 1, (off_t)l->end_offset - 1)) < 0)
            return -errno;
    }
    l->state = last == '\n' ? LANE_AT_START : l->if_middle;
    return 0;
}

static void leave_unknown(struct lane *l, enum lane_state if_middle)
{
    l->state = LANE_UNKNOWN;
    l->if_middle = if_middle;
}

/* One line's part in `data`, which lies at `offset` in the file. */
static int take_part(struct pump *p, const struct log_piece *piece, const char *data, size_t size,
                     uint64_t offset)
{
    int lane = piece->stream - 1;
    struct lane *l = &p->lanes[lane];
    bool ends = data[size - 1] == '\n', wanted;
    int r = 0;
    if (l->state == LANE_AT_START) {
        l->state = time_wanted(p, piece->time_usec) ? LANE_TAKEN : LANE_SKIPPED;
        l->line_usec = piece->time_usec;
        l->line_split = false;
    }
    wanted = l->state == LANE_TAKEN;
    if (ends)
        l->state = LANE_AT_START;
    if (wanted && !p->options.timestamps)
        r = take_range(p, piece, offset, offset + size);
    else if (wanted)
        r = ends ? put_line(p, lane, data, size) : hold_line(p, lane, data, size);
    return r;
}

static int take_by_line(struct pump *p, const struct log_piece *piece, uint64_t start, uint64_t end)
{
    while (start < end) {
        ssize_t n = RETRY(pread(p->reader.log_fd, p->chunk, MIN(end - start, (uint64_t)CHUNK_SIZE),
                                (off_t)start));
        if (n <= 0)
            return n < 0 ? -errno : 0;
        for (const char *at = p->chunk, *stop = p->chunk + n; at < stop;) {
            const char *newline = memchr(at, '\n', (size_t)(stop - at));
            size_t size = (size_t)((newline ? newline + 1 : stop) - at);
            int r = take_part(p, piece, at, size, start + (uint64_t)(at - p->chunk));
            if (r < 0)
                return r;
            at += size;
        }
        start += (uint64_t)n;
    }
    return 0;
}

/* End of the line that is being skipped, and one behind it; `end` when it goes on. */
static int skip_line(struct pump *p, uint64_t *start, uint64_t end)
{
    while (*start < end) {
        ssize_t n = RETRY(pread(p->reader.log_fd, p->chunk,
                                MIN(end - *start, (uint64_t)CHUNK_SIZE), (off_t)*start));
        if (n <= 0)
            return n < 0 ? -errno : 0;
        const char *newline = memchr(p->chunk, '\n', (size_t)n);
        *start += newline ? (uint64_t)(newline + 1 - p->chunk) : (uint64_t)n;
        if (newline)
            return 1;
    }
    return 0;
}

/* A piece of a lane, by stamps and lines; bytes are looked at only where a line may begin or end. */
static int filter_piece(struct pump *p, struct lane *l, const struct log_piece *piece,
                        uint64_t start, uint64_t end)
{
    bool wanted = time_wanted(p, piece->time_usec);
    int r;
    if (!wanted && (l->state == LANE_AT_START || l->state == LANE_SKIPPED ||
                    (l->state == LANE_UNKNOWN && l->if_middle == LANE_SKIPPED))) {
        leave_unknown(l, LANE_SKIPPED);
        return 0;
    }
    r = resolve(p, l);
    if (r < 0)
        return r;
    if (wanted && !p->options.timestamps) {
        if (l->state == LANE_SKIPPED) {
            r = skip_line(p, &start, end);
            if (r <= 0)
                return r;
        }
        if (p->by_line)
            leave_unknown(l, LANE_TAKEN);
        else
            l->state = LANE_AT_START; /* of a tail: from here on all of it is wanted */
        return take_range(p, piece, start, end);
    }
    if (!wanted && l->state == LANE_AT_START) {
        leave_unknown(l, LANE_SKIPPED);
        return 0;
    }
    return take_by_line(p, piece, start, end);
}

/* ---- pieces */

static bool before(uint64_t number, uint64_t offset, uint64_t than_number, uint64_t than_offset)
{
    return number < than_number || (number == than_number && offset < than_offset);
}

static int take_data(struct pump *p, const struct log_piece *piece)
{
    if (!(p->options.streams & piece->stream))
        return 0;
    struct lane *l = &p->lanes[piece->stream - 1];
    uint64_t start = piece->offset, end = piece->offset + piece->length;
    if (l->has_skip) {
        if (!before(l->skip_number, l->skip_offset, piece->number, end))
            return 0;
        if (piece->number == l->skip_number && start < l->skip_offset)
            start = l->skip_offset;
        l->has_skip = false;
    }
    int r = p->by_line || l->state == LANE_UNKNOWN || l->state == LANE_SKIPPED
                ? filter_piece(p, l, piece, start, end)
                : take_range(p, piece, start, end);
    l->has_end = true;
    l->end_number = piece->number;
    l->end_offset = end;
    return r;
}

/* Lines do not go on over what is lost. */
static int take_loss(struct pump *p, const struct log_piece *piece)
{
    bool dropped = piece->kind == LOG_PIECE_DROPPED;
    int r = flush_range(p);
    if (r == 0)
        r = put_held(p);
    for (int i = 0; i < LOG_LANES; i++)
        if (!dropped || piece->stream == i + 1)
            p->lanes[i].state = LANE_AT_START;
    if (r < 0 || !time_wanted(p, piece->time_usec))
        return r;
    if (p->options.frames)
        return put_frame(p, BERTH_FRAME_LOST, piece->time_usec, piece->length);
    if (p->mid_line)
        r = put(p, "\n", 1);
    p->mid_line = false;
    if (r == 0 && p->options.timestamps)
        r = put_stamp(p, piece->time_usec);
    autofree char *line = format_text("[berth: %llu bytes lost here: %s]\n",
                                      (unsigned long long)piece->length,
                                      dropped ? "the disk was full" : "the log's limits dropped them");
    if (!line)
        return -ENOMEM;
    return r < 0 ? r : put(p, line, strlen(line));
}

static void before_close(void *data)
{
    struct pump *p = data;
    flush_range(p); /* a failure shows at the next write */
}

static int watch_index(struct pump *p)
{
    char path[64];
    if (p->watch_fd < 0 || p->reader.index_fd < 0)
        return 0;
    if (p->index_watch >= 0)
        inotify_rm_watch(p->watch_fd, p->index_watch);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", p->reader.index_fd);
    p->index_watch = inotify_add_watch(p->watch_fd, path, IN_MODIFY);
    return p->index_watch < 0 ? -errno : 0;
}

/* The log's folder is made by the workload's maker or its first writer. 0, or -ENOENT: not yet. */
static int open_dir(struct pump *p)
{
    char path[64];
    if (p->dir_fd >= 0)
        return 0;
    int fd = RETRY(openat(p->workload_fd, "log", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd < 0)
        return -errno;
    p->dir_fd = p->reader.dir_fd = fd;
    if (p->watch_fd < 0)
        return 0;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return inotify_add_watch(p->watch_fd, path, IN_CREATE | IN_DELETE) < 0 ? -errno : 0;
}

/* All that is there now. */
static int drain(struct pump *p)
{
    int r = open_dir(p);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    for (;;) {
        struct log_piece piece;
        uint64_t number = p->reader.number;
        r = log_reader_next(&p->reader, p->writer_gone, before_close, p, &piece);
        if (r >= 0 && p->reader.number != number) {
            int e = watch_index(p);
            if (e < 0)
                return e;
            if (r == 0)
                continue; /* what came before it was watched */
        }
        if (r <= 0)
            break;
        if (piece.kind == LOG_PIECE_DATA)
            r = take_data(p, &piece);
        else if (piece.kind == LOG_PIECE_MARK)
            p->mark = piece.flags;
        else
            r = take_loss(p, &piece);
        if (r < 0)
            break;
    }
    if (r == 0)
        r = flush_range(p);
    return r < 0 ? r : flush_out(p);
}

/* ---- where to begin */

static int begin_at_tail(struct pump *p)
{
    struct log_tail tail;
    int r = log_tail_find(p->dir_fd, p->writer_gone, p->options.streams, p->options.tail,
                          p->options.since_usec, p->options.until_usec, &tail);
    if (r < 0)
        return r;
    p->mark = tail.mark;
    for (int i = 0; i < LOG_LANES; i++) {
        struct lane *l = &p->lanes[i];
        const struct log_tail_lane *t = &tail.lanes[i];
        if (t->has_first) {
            l->has_skip = true;
            l->skip_number = t->number;
            l->skip_offset = t->offset;
        } else if (t->has_end) {
            l->has_skip = l->has_end = true;
            l->skip_number = l->end_number = t->end_number;
            l->skip_offset = l->end_offset = t->end_offset;
            leave_unknown(l, LANE_SKIPPED);
        }
    }
    if (!tail.number)
        return 0;
    r = log_reader_open(&p->reader, tail.number);
    if (r < 0)
        return r == -ENOENT ? 0 : r; /* dropped meanwhile: what is left is all newer */
    p->reader.next = tail.next;
    p->reader.covered = tail.covered;
    return watch_index(p);
}

/* ---- following */

static bool life_is_free(const struct pump *p)
{
    return p->life_fd >= 0 && lock_held(p->life_fd) == 0;
}

static bool ever_ran(struct pump *p)
{
    uint64_t number = 0;
    return p->dir_fd >= 0 && log_reader_next_number(p->dir_fd, 0, &number) == 0 && number;
}

/* Its run folder goes before its own does, so what wakes us comes when this is true already. */
static bool is_removed(const struct pump *p)
{
    struct stat st;
    return (p->dir_fd >= 0 && fstat(p->dir_fd, &st) == 0 && st.st_nlink == 0) ||
           (p->life_fd >= 0 && fstat(p->life_fd, &st) == 0 && st.st_nlink == 0);
}

/* Over for good? A supervisor that died says nothing, but its lock is free; then all it wrote is there. */
static int is_over(struct pump *p)
{
    if (p->mark == LOG_MARK_END)
        return 1;
    if (p->options.until_usec && now_usec() >= p->options.until_usec)
        return 1;
    bool removed = is_removed(p);
    if (!removed && (!life_is_free(p) || !ever_ran(p)))
        return 0;
    p->writer_gone = true;
    int r = drain(p);
    if (r < 0 || removed)
        return r < 0 ? r : 1;
    p->writer_gone = life_is_free(p); /* or the next run begins just now */
    return p->writer_gone;
}

/* A descriptor that tells when the supervisor ends; -1 while it isn't known. */
static int supervisor_fd(struct pump *p)
{
    struct status status;
    if (p->supervisor_fd >= 0 || p->life_fd < 0)
        return p->supervisor_fd;
    if (status_read_at(p->workload_fd, &status, NULL) < 0 || status.supervisor_pid <= 0)
        return -1;
    p->supervisor_fd = (int)syscall(SYS_pidfd_open, status.supervisor_pid, 0);
    return p->supervisor_fd;
}

/* 1: look again, 0: nobody reads any more. */
static int wait_for_more(struct pump *p)
{
    char changes[4096];
    int64_t timeout_msec = -1;
    struct pollfd polled[] = {{.fd = p->watch_fd, .events = POLLIN},
                              {.fd = p->out_fd},
                              {.fd = supervisor_fd(p), .events = POLLIN}};
    if (p->life_fd >= 0 && polled[2].fd < 0)
        timeout_msec = LIFE_LOOK_MSEC;
    if (p->options.until_usec) {
        int64_t left_msec = MAX((p->options.until_usec - now_usec()) / 1000 + 1, (int64_t)0);
        timeout_msec = timeout_msec < 0 ? left_msec : MIN(timeout_msec, left_msec);
    }
    if (poll(polled, ARRAY_SIZE(polled), (int)MIN(timeout_msec, (int64_t)INT_MAX)) < 0)
        return errno == EINTR ? 1 : -errno;
    if (polled[1].revents & (POLLERR | POLLHUP | POLLNVAL))
        return 0;
    if (polled[2].revents)
        close_fd(&p->supervisor_fd);
    if (polled[0].revents && read(p->watch_fd, changes, sizeof(changes)) < 0 && errno != EAGAIN)
        return -errno;
    return 1;
}

static int begin_watching(struct pump *p)
{
    char path[64];
    p->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (p->watch_fd < 0)
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", p->workload_fd);
    if (inotify_add_watch(p->watch_fd, path, IN_CREATE | IN_DELETE | IN_ONLYDIR) < 0)
        return -errno;
    return 0;
}

static int follow(struct pump *p)
{
    for (;;) {
        int r = drain(p);
        if (r < 0)
            return r;
        r = is_over(p);
        if (r != 0)
            return MIN(r, 0);
        r = wait_for_more(p);
        if (r <= 0)
            return r;
    }
}

/* ---- the whole */

static int serve(struct pump *p)
{
    int r = p->options.follow ? begin_watching(p) : 0;
    if (r == 0)
        r = open_dir(p);
    p->writer_gone = p->life_fd < 0 ? !p->options.follow : life_is_free(p);
    if (r == 0 && p->options.has_tail)
        r = begin_at_tail(p);
    if (r == -ENOENT)
        r = 0;
    if (r == 0 && !p->options.follow && p->options.has_tail && p->options.tail == 0)
        return 0;
    if (r == 0)
        r = p->options.follow ? follow(p) : drain(p);
    if (r == 0)
        r = put_held(p);
    return r < 0 ? r : flush_out(p);
}

static struct pump *pump_new(int workload_fd, int life_fd, const struct log_options *options,
                             int out_fd)
{
    struct pump *p = calloc(1, sizeof(*p));
    if (!p || !(p->out = malloc(OUT_SIZE)) || !(p->chunk = malloc(CHUNK_SIZE))) {
        if (p)
            free(p->out);
        free(p);
        return NULL;
    }
    p->options = *options;
    if (!(p->options.streams & (BERTH_STDOUT | BERTH_STDERR)))
        p->options.streams = BERTH_STDOUT | BERTH_STDERR;
    p->workload_fd = workload_fd;
    p->life_fd = life_fd;
    p->out_fd = out_fd;
    p->dir_fd = p->watch_fd = p->index_watch = p->supervisor_fd = -1;
    p->by_line = options->timestamps || options->since_usec || options->until_usec;
    for (int i = 0; i < LOG_LANES; i++)
        p->lanes[i].state = LANE_AT_START;
    log_reader_init(&p->reader, -1);
    return p;
}

static void pump_free(struct pump *p)
{
    log_reader_done(&p->reader);
    close_fd(&p->dir_fd);
    close_fd(&p->watch_fd);
    close_fd(&p->supervisor_fd);
    for (int i = 0; i < LOG_LANES; i++)
        text_free(&p->lanes[i].line);
    free(p->out);
    free(p->chunk);
    free(p);
}

int log_pump(int workload_fd, int life_fd_or_minus1, const struct log_options *options, int out_fd,
             struct berth_error *err)
{
    struct pump *p = pump_new(workload_fd, life_fd_or_minus1, options, out_fd);
    if (!p)
        return fail_memory(err);
    int r = serve(p);
    if (p->broken)
        r = 0;
    pump_free(p);
    return r < 0 ? fail_os(err, r, NULL, "read the log") : 0;
}

int log_tail(int workload_fd, uint64_t n, char **ret_text, struct berth_error *err)
{
    struct log_options options = {.has_tail = true, .tail = n};
    autoclose int fd = memfd_create("log-tail", MFD_CLOEXEC);
    if (fd < 0)
        return fail_os(err, errno, NULL, "read the log");
    int r = log_pump(workload_fd, -1, &options, fd, err);
    if (r < 0)
        return r;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return fail_os(err, errno, NULL, "read the log");
    size_t size = (size_t)MIN(st.st_size, (off_t)TAIL_TEXT_MAX), got = 0;
    char *text = malloc(size + 1);
    if (!text)
        return fail_memory(err);
    while (got < size) {
        ssize_t part = RETRY(pread(fd, text + got, size - got, st.st_size - (off_t)(size - got)));
        if (part <= 0)
            break;
        got += (size_t)part;
    }
    for (size_t i = 0; i < got; i++)
        if (text[i] == 0)
            text[i] = '?'; /* one string: it must not end in the middle */
    text[got] = 0;
    *ret_text = text;
    return 0;
}
