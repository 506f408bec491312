/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the last n lines begin: the index walked backwards, newlines counted in the bytes.
 *
 * Lines belong to a stream and are ordered by their first byte, as their stamps are. That a line
 * begins at a byte is known when the byte before it in the same stream is seen, which may lie far
 * before lines of the other stream that are older: see settle().
 */
#include "store/log_format.h"
#include "store/log_reader.h"
#include "base/base.h"

#define CHUNK (64u << 10)
#define END_SEARCH 4096 /* records looked at for a stream's last piece, when no lines are wanted */

struct lane {
    bool pending; /* bytes were seen whose line's beginning was not: the earliest of them */
    uint64_t number, offset;
    int64_t time_usec;
};

struct search {
    struct log_reader reader;
    struct lane lanes[LOG_LANES];
    uint32_t streams;
    uint64_t left;     /* lines still wanted */
    int last_lane;     /* of the line that was found last: the oldest */
    struct log_tail_lane before_last; /* that lane as it was without it */
    uint64_t looked;   /* records passed, when none are wanted */
    int64_t since_usec, until_usec;
    struct log_tail *tail;
    char *chunk;
};

static bool counts(const struct search *s, int64_t time_usec)
{
    return time_usec >= s->since_usec && (!s->until_usec || time_usec < s->until_usec);
}

/* The pending line of a lane begins where it is pending. True: that was the last one wanted. */
static bool begin_line(struct search *s, int lane)
{
    struct lane *l = &s->lanes[lane];
    if (!l->pending)
        return false;
    l->pending = false;
    if (!counts(s, l->time_usec))
        return false;
    struct log_tail_lane *found = &s->tail->lanes[lane];
    s->last_lane = lane;
    s->before_last = *found;
    found->has_first = true;
    found->number = l->number;
    found->offset = l->offset;
    return --s->left == 0;
}

static void pend(struct search *s, int lane, uint64_t offset, int64_t time_usec)
{
    s->lanes[lane] = (struct lane){true, s->reader.number, offset, time_usec};
}

/* Newlines of [start, end), from the last to the first. 1: all lines found, 0, -errno. */
static int search_chunk(struct search *s, int lane, uint64_t start, uint64_t end, int64_t time_usec)
{
    ssize_t n = RETRY(pread(s->reader.log_fd, s->chunk, end - start, (off_t)start));
    if (n < 0)
        return -errno;
    size_t stop = (size_t)n;
    const char *newline;
    while ((newline = memrchr(s->chunk, '\n', stop))) {
        size_t at = (size_t)(newline - s->chunk);
        if (at + 1 < stop)
            pend(s, lane, start + at + 1, time_usec);
        if (begin_line(s, lane))
            return 1;
        pend(s, lane, start + at, time_usec); /* the newline ends the line before */
        stop = at;
    }
    if (stop > 0)
        pend(s, lane, start, time_usec);
    return 0;
}

static int search_piece(struct search *s, uint16_t stream, uint64_t start, uint64_t end,
                        int64_t time_usec)
{
    if (!(s->streams & stream) || end <= start)
        return 0;
    int lane = stream - 1;
    struct log_tail_lane *found = &s->tail->lanes[lane];
    if (!found->has_end) {
        found->has_end = true;
        found->end_number = s->reader.number;
        found->end_offset = end;
    }
    while (s->left && end > start) {
        uint64_t from = end - start > CHUNK ? end - CHUNK : start;
        int r = search_chunk(s, lane, from, end, time_usec);
        if (r != 0)
            return r;
        end = from;
    }
    return 0;
}

static void stop_at(struct search *s, uint64_t next, uint64_t covered)
{
    s->tail->number = s->reader.number;
    s->tail->next = next;
    s->tail->covered = covered;
}

static bool seen_ends(const struct search *s)
{
    for (int i = 0; i < LOG_LANES; i++)
        if ((s->streams & (1u << i)) && !s->tail->lanes[i].has_end)
            return false;
    return true;
}

/* `looked` bounds the walk that only wants to know where each stream's last piece ends. */
static bool seen_enough(struct search *s)
{
    return !s->left && (seen_ends(s) || ++s->looked >= END_SEARCH);
}

/* One record, going backwards; `upper` is where what follows it begins. 1: done. */
static int search_record(struct search *s, uint64_t i, const struct log_record *record,
                         uint64_t *upper)
{
    if (record->stream == LOG_MARK) {
        if (!s->tail->mark && record->flags != LOG_MARK_FILE)
            s->tail->mark = record->flags;
        return 0;
    }
    if (record->stream != BERTH_STDOUT && record->stream != BERTH_STDERR)
        return 0;
    if (record->flags & LOG_DROPPED) { /* lines do not reach over what is lost */
        if (!(s->streams & record->stream) || !begin_line(s, record->stream - 1))
            return 0;
        stop_at(s, i, *upper);
        return 1;
    }
    uint64_t end = record->offset + record->length;
    int r = search_piece(s, BERTH_STDOUT, end, *upper, record->time_usec); /* a hole behind it */
    if (r == 1)
        stop_at(s, i + 1, end);
    if (r != 0)
        return r;
    r = search_piece(s, record->stream, record->offset, MIN(end, *upper), record->time_usec);
    if (r == 1)
        stop_at(s, i, MIN(record->offset, *upper));
    *upper = MIN(*upper, record->offset);
    return r;
}

/* End of the bytes that the index of the newest file tells of, while its writer lives. */
static int indexed_end(struct log_reader *r, uint64_t n, uint64_t *ret_end)
{
    struct log_record record;
    *ret_end = 0;
    while (n-- > 0) {
        int e = log_reader_record(r, n, &record);
        if (e < 0)
            return e;
        if (e == 1 && log_record_good(&record) && record.stream != LOG_MARK &&
            !(record.flags & LOG_DROPPED)) {
            *ret_end = record.offset + record.length;
            return 0;
        }
    }
    return 0;
}

static int search_file(struct search *s, bool bytes_without_record)
{
    uint64_t n = log_reader_n_records(&s->reader), upper = log_reader_size(&s->reader);
    int r = bytes_without_record ? 0 : indexed_end(&s->reader, n, &upper);
    if (r < 0)
        return r;
    if (!s->tail->number)
        stop_at(s, n, upper); /* the very end, for n = 0 */
    while (n-- > 0) {
        struct log_record record;
        r = log_reader_record(&s->reader, n, &record);
        if (r == 1 && log_record_good(&record))
            r = search_record(s, n, &record, &upper);
        else if (r == 1)
            r = 0;
        if (r != 0)
            return r;
        if (seen_enough(s))
            return 1;
    }
    r = search_piece(s, BERTH_STDOUT, 0, upper, s->reader.time_usec);
    if (r == 1)
        stop_at(s, 0, 0);
    return r;
}

/* The first byte of all begins a line in each lane; the later one is the nearer to the end. */
static void begin_first_lines(struct search *s)
{
    const struct lane *a = &s->lanes[0], *b = &s->lanes[1];
    bool second_is_later = a->pending && b->pending &&
                           (b->number > a->number || (b->number == a->number && b->offset > a->offset));
    int order[] = {second_is_later, !second_is_later};
    for (int i = 0; i < LOG_LANES; i++)
        if (s->left)
            begin_line(s, order[i]);
}

/* ---- the lane that was still pending when enough lines were found */

/* 1: the byte is a newline, 0: another. */
static int is_newline(struct search *s, uint64_t offset)
{
    char byte = 0;
    ssize_t n = RETRY(pread(s->reader.log_fd, &byte, 1, (off_t)offset));
    return n < 0 ? -errno : byte == '\n';
}

/* Whether the lane's bytes in this file, before record `n` and byte `upper`, end a line. -EAGAIN: none. */
static int ends_line(struct search *s, int lane, uint64_t n, uint64_t upper)
{
    struct log_record record;
    while (n-- > 0) {
        int r = log_reader_record(&s->reader, n, &record);
        if (r < 0)
            return r;
        if (r == 0 || !log_record_good(&record) || record.stream == LOG_MARK)
            continue;
        if (record.flags & LOG_DROPPED) {
            if (record.stream == lane + 1)
                return 1;
            continue;
        }
        uint64_t end = record.offset + record.length;
        if (lane + 1 == BERTH_STDOUT && end < upper)
            return is_newline(s, upper - 1);
        if (record.stream == lane + 1)
            return is_newline(s, MIN(end, upper) - 1);
        upper = MIN(upper, record.offset);
    }
    return lane + 1 == BERTH_STDOUT && upper > 0 ? is_newline(s, upper - 1) : -EAGAIN;
}

static int begins_pending(struct search *s, int lane)
{
    uint64_t number = s->reader.number;
    int r = ends_line(s, lane, s->tail->next, s->tail->covered);
    while (r == -EAGAIN) {
        r = log_reader_previous_number(s->reader.dir_fd, number, &number);
        if (r == 0 && !number)
            return 1; /* the first byte of all */
        if (r == 0)
            r = log_reader_open(&s->reader, number);
        if (r == -ENOENT)
            return 1;
        if (r == 0)
            r = ends_line(s, lane, log_reader_n_records(&s->reader), log_reader_size(&s->reader));
    }
    return r;
}

/* If the other lane's line begins where it is pending it is newer than the last one found: they change places. */
static int settle(struct search *s)
{
    int lane = !s->last_lane;
    struct lane *l = &s->lanes[lane];
    struct log_tail_lane *found = &s->tail->lanes[lane], *oldest = &s->tail->lanes[s->last_lane];
    if (!l->pending || !counts(s, l->time_usec) || l->number < oldest->number ||
        (l->number == oldest->number && l->offset < oldest->offset))
        return 0;
    int r = begins_pending(s, lane);
    if (r <= 0)
        return r;
    found->has_first = true;
    found->number = l->number;
    found->offset = l->offset;
    *oldest = s->before_last;
    return 0;
}

static int search_files(struct search *s, bool writer_gone)
{
    uint64_t number = UINT64_MAX;
    bool wanted = s->left > 0;
    for (bool newest = true;; newest = false) {
        int r = log_reader_previous_number(s->reader.dir_fd, number, &number);
        if (r < 0)
            return r;
        if (!number)
            break;
        r = log_reader_open(&s->reader, number);
        if (r == -ENOENT)
            break; /* dropped meanwhile, and all before it */
        if (r == 0)
            r = search_file(s, writer_gone || !newest);
        if (r != 0)
            return r == 1 && wanted ? settle(s) : r;
    }
    if (s->left) {
        begin_first_lines(s);
        s->tail->number = 0;
    }
    return 0;
}

int log_tail_find(int dir_fd, bool writer_gone, uint32_t streams, uint64_t n, int64_t since_usec,
                  int64_t until_usec, struct log_tail *ret_tail)
{
    autofree struct search *s = calloc(1, sizeof(*s));
    autofree char *chunk = malloc(CHUNK);
    if (!s || !chunk)
        return -ENOMEM;
    *ret_tail = (struct log_tail){0};
    log_reader_init(&s->reader, dir_fd);
    s->streams = streams;
    s->left = n;
    s->since_usec = since_usec;
    s->until_usec = until_usec;
    s->tail = ret_tail;
    s->chunk = chunk;
    int r = search_files(s, writer_gone);
    log_reader_done(&s->reader);
    return r < 0 ? r : 0;
}
