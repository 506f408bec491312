/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading the log: its index record by record, file after file.
 *
 * A record that fails its check is passed over; the bytes it spoke of come as a piece without one
 * of their own. A file is finished when a newer one exists: the writer never goes back.
 */
#include "store/log_reader.h"
#include "store/log_format.h"
#include "base/base.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

void log_reader_init(struct log_reader *r, int dir_fd)
{
    memset(r, 0, sizeof(*r));
    r->dir_fd = dir_fd;
    r->log_fd = r->index_fd = -1;
}

void log_reader_done(struct log_reader *r)
{
    close_fd(&r->log_fd);
    close_fd(&r->index_fd);
}

/* ---- files */

static int scan_numbers(int dir_fd, uint64_t above, uint64_t below, bool smallest, uint64_t *ret)
{
    autoclose int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return -errno;
    take_fd(&fd);
    uint64_t best = 0;
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        uint64_t number = log_file_number(entry->d_name);
        if (number > above && number < below &&
            (!best || (smallest ? number < best : number > best)))
            best = number;
    }
    closedir(dir);
    *ret = best;
    return 0;
}

int log_reader_next_number(int dir_fd, uint64_t number, uint64_t *ret_number)
{
    char name[32];
    if (number && faccessat(dir_fd, log_file_name(number + 1, "log", name), F_OK, 0) == 0) {
        *ret_number = number + 1;
        return 0;
    }
    return scan_numbers(dir_fd, number, UINT64_MAX, true, ret_number);
}

int log_reader_previous_number(int dir_fd, uint64_t number, uint64_t *ret_number)
{
    return scan_numbers(dir_fd, 0, number, false, ret_number);
}

static int open_at(int dir_fd, uint64_t number, const char *suffix)
{
    char name[32];
    int fd = RETRY(openat(dir_fd, log_file_name(number, suffix, name),
                          O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    return fd < 0 ? -errno : fd;
}

int log_reader_open(struct log_reader *r, uint64_t number)
{
    autoclose int log_fd = open_at(r->dir_fd, number, "log");
    if (log_fd < 0)
        return log_fd;
    int index_fd = open_at(r->dir_fd, number, "idx"); /* missing: all of it is one hole */
    if (index_fd < 0 && index_fd != -ENOENT)
        return index_fd;
    log_reader_done(r);
    r->log_fd = take_fd(&log_fd);
    r->index_fd = index_fd;
    r->number = number;
    r->covered = r->next = 0;
    r->n_records = 0;
    r->last_look = false;
    struct log_record first;
    if (log_reader_record(r, 0, &first) == 1 && log_record_good(&first) &&
        first.stream == LOG_MARK && first.flags == LOG_MARK_FILE)
        r->base = first.offset;
    return 0;
}

static uint64_t fd_size(int fd)
{
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

uint64_t log_reader_size(const struct log_reader *r)
{
    return fd_size(r->log_fd);
}

uint64_t log_reader_n_records(const struct log_reader *r)
{
    return fd_size(r->index_fd) / sizeof(struct log_record);
}

/* ---- records */

/* Read so that record `i` is among them: from it on, or up to it when walking back. */
static int load_records(struct log_reader *r, uint64_t i)
{
    uint64_t first = i;
    if (r->n_records && i + 1 == r->first_record)
        first = i + 1 > LOG_RECORDS_AT_ONCE ? i + 1 - LOG_RECORDS_AT_ONCE : 0;
    ssize_t n = r->index_fd < 0 ? 0
                                : RETRY(pread(r->index_fd, r->records, sizeof(r->records),
                                              (off_t)(first * sizeof(*r->records))));
    if (n < 0)
        return -errno;
    r->first_record = first;
    r->n_records = (size_t)n / sizeof(*r->records);
    return 0;
}

int log_reader_record(struct log_reader *r, uint64_t i, struct log_record *ret_record)
{
    if (i < r->first_record || i >= r->first_record + r->n_records) {
        int e = load_records(r, i);
        if (e < 0)
            return e;
        if (i >= r->first_record + r->n_records)
            return 0;
    }
    *ret_record = r->records[i - r->first_record];
    return 1;
}

/* Bytes without a record: nobody can know whose they were, nor when exactly. */
static int hole(struct log_reader *r, uint64_t end, struct log_piece *ret_piece)
{
    struct stat st;
    if (!r->time_usec && fstat(r->log_fd, &st) == 0)
        r->time_usec = st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000;
    *ret_piece = (struct log_piece){
        .kind = LOG_PIECE_DATA,
        .stream = BERTH_STDOUT,
        .time_usec = r->time_usec,
        .number = r->number,
        .offset = r->covered,
        .length = end - r->covered,
    };
    r->covered = end;
    return 1;
}

/* One good record as a piece: 1, or 0 for one that says nothing. */
static int take_record(struct log_reader *r, const struct log_record *record,
                       struct log_piece *ret_piece)
{
    r->time_usec = record->time_usec;
    *ret_piece = (struct log_piece){
        .stream = record->stream,
        .flags = record->flags,
        .time_usec = record->time_usec,
        .number = r->number,
        .offset = record->offset,
        .length = record->length,
    };
    if (record->stream == LOG_MARK) {
        ret_piece->kind = LOG_PIECE_MARK;
        return record->flags != LOG_MARK_FILE;
    }
    if (record->flags & LOG_DROPPED) {
        ret_piece->kind = LOG_PIECE_DROPPED;
        return 1;
    }
    ret_piece->kind = LOG_PIECE_DATA;
    uint64_t end = record->offset + record->length, start = MAX(record->offset, r->covered);
    if (end <= start || (record->stream != BERTH_STDOUT && record->stream != BERTH_STDERR))
        return 0;
    ret_piece->offset = start;
    ret_piece->length = end - start;
    r->covered = end;
    return 1;
}

/* On to the next file. 1: a piece says how much was lost between; 0: none; -EAGAIN: there is no next. */
static int advance(struct log_reader *r, void (*before_close)(void *), void *data,
                   struct log_piece *ret_piece)
{
    uint64_t end = r->base + log_reader_size(r), number = r->number;
    for (;;) {
        int e = log_reader_next_number(r->dir_fd, number, &number);
        if (e < 0 || !number)
            return e < 0 ? e : -EAGAIN;
        if (before_close && r->log_fd >= 0)
            before_close(data);
        bool first = r->log_fd < 0;
        e = log_reader_open(r, number);
        if (e == -ENOENT)
            continue; /* dropped meanwhile */
        if (e < 0)
            return e;
        if (first || r->base <= end)
            return 0;
        *ret_piece = (struct log_piece){
            .kind = LOG_PIECE_LOST,
            .time_usec = r->time_usec,
            .number = number,
            .length = r->base - end,
        };
        return 1;
    }
}

/* The index is at its end: 1 a hole; 0 look again; -EAGAIN no more. */
static int at_index_end(struct log_reader *r, bool writer_gone, struct log_piece *ret_piece)
{
    uint64_t newer = 0, size;
    int e = log_reader_next_number(r->dir_fd, r->number, &newer);
    if (e < 0)
        return e;
    if (newer && !r->last_look) {
        r->last_look = true;
        return 0;
    }
    if ((newer || writer_gone) && (size = log_reader_size(r)) > r->covered)
        return hole(r, size, ret_piece);
    return -EAGAIN;
}

int log_reader_next(struct log_reader *r, bool writer_gone, void (*before_close)(void *),
                    void *data, struct log_piece *ret_piece)
{
    for (;;) {
        struct log_record record;
        int e = r->log_fd < 0 ? 0 : log_reader_record(r, r->next, &record);
        if (e < 0)
            return e;
        if (e == 1) {
            if (log_record_good(&record)) {
                bool is_data = record.stream != LOG_MARK && !(record.flags & LOG_DROPPED);
                if (is_data && record.offset > r->covered)
                    return hole(r, record.offset, ret_piece);
                r->next++;
                if (take_record(r, &record, ret_piece))
                    return 1;
                continue;
            }
            r->next++;
            continue;
        }
        if (r->log_fd >= 0) {
            e = at_index_end(r, writer_gone, ret_piece);
            if (e == 0)
                continue;
            if (e == 1 || (e < 0 && e != -EAGAIN))
                return e;
            if (!r->last_look)
                return 0;
        }
        e = advance(r, before_close, data, ret_piece);
        if (e != 0)
            return e == -EAGAIN ? 0 : e;
    }
}
