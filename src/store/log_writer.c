/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the log: splice from the pipe into the file, then 32 bytes of index.
 *
 * Bytes first, record second: a death between leaves bytes that the next writer gives a record.
 * The program must never feel the disk: what can't be written is read, counted and forgotten, and a
 * record says so as soon as there is room again.
 */
#include "store/log_format.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/text.h"
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#define MOVE_MAX (1u << 20)
#define COPY_SIZE (16u << 10) /* on the stack of a supervisor that must stay small */
#define DEFAULT_SIZE (64u << 20)
#define DEFAULT_FILES 4
#define INDEX_LEAST (64u << 10)

struct log_writer {
    int dir_fd, log_fd, index_fd;
    uint64_t number, oldest;       /* files: the one that is written, the first that is kept */
    uint64_t base;                 /* bytes of all files before this one */
    uint64_t offset, index_offset; /* ends of both files */
    uint64_t max_size;
    int max_files;
    bool no_splice;
    uint64_t lost[BERTH_STDERR + 1]; /* dropped, and not yet said so in the index */
};

/* ---- index */

static int write_record(int fd, uint64_t offset, const struct log_record *record)
{
    ssize_t n = RETRY(pwrite(fd, record, sizeof(*record), (off_t)offset));
    if (n == sizeof(*record))
        return 0;
    int r = n < 0 ? -errno : -ENOSPC;
    if (n > 0 && ftruncate(fd, (off_t)offset) < 0)
        return -errno;
    return r;
}

static int add_record(struct log_writer *w, uint16_t stream, uint16_t flags, uint64_t length)
{
    struct log_record record = {
        .time_usec = now_usec(),
        .offset = w->offset,
        .length = (uint32_t)length,
        .stream = stream,
        .flags = flags,
    };
    record.check = log_record_check(&record);
    int r = write_record(w->index_fd, w->index_offset, &record);
    if (r == 0)
        w->index_offset += sizeof(record);
    return r;
}

/* What was dropped, before anything that comes after it. */
static int say_lost(struct log_writer *w)
{
    for (uint16_t stream = BERTH_STDOUT; stream <= BERTH_STDERR; stream++)
        while (w->lost[stream]) {
            uint64_t n = MIN(w->lost[stream], (uint64_t)UINT32_MAX);
            int r = add_record(w, stream, LOG_DROPPED, n);
            if (r < 0)
                return r;
            w->lost[stream] -= n;
        }
    return 0;
}

/* ---- files */

static int open_file(int dir_fd, uint64_t number, const char *suffix, int flags)
{
    char name[32];
    int fd = RETRY(openat(dir_fd, log_file_name(number, suffix, name),
                          flags | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600));
    return fd < 0 ? -errno : fd;
}

static void unlink_file(int dir_fd, uint64_t number)
{
    char name[32];
    unlinkat(dir_fd, log_file_name(number, "log", name), 0);
    unlinkat(dir_fd, log_file_name(number, "idx", name), 0);
}

/* The .log last: a number counts as soon as it has one. */
static int begin_file(struct log_writer *w, uint64_t number, uint64_t base)
{
    struct log_record first = {
        .time_usec = now_usec(), .offset = base, .stream = LOG_MARK, .flags = LOG_MARK_FILE};
    first.check = log_record_check(&first);
    autoclose int index_fd = open_file(w->dir_fd, number, "idx", O_CREAT | O_TRUNC);
    if (index_fd < 0)
        return index_fd;
    int r = write_record(index_fd, 0, &first);
    autoclose int log_fd = r < 0 ? r : open_file(w->dir_fd, number, "log", O_CREAT | O_TRUNC);
    if (log_fd < 0) {
        char name[32];
        unlinkat(w->dir_fd, log_file_name(number, "idx", name), 0);
        return log_fd;
    }
    close_fd(&w->index_fd);
    close_fd(&w->log_fd);
    w->index_fd = take_fd(&index_fd);
    w->log_fd = take_fd(&log_fd);
    w->number = number;
    w->base = base;
    w->offset = 0;
    w->index_offset = sizeof(first);
    return 0;
}

static void drop_oldest(struct log_writer *w, int keep)
{
    while (w->number - w->oldest + 1 > (uint64_t)keep)
        unlink_file(w->dir_fd, w->oldest++);
}

static bool file_full(const struct log_writer *w)
{
    return w->offset >= w->max_size || w->index_offset >= MAX(w->max_size, (uint64_t)INDEX_LEAST);
}

static int rotate(struct log_writer *w)
{
    int r = begin_file(w, w->number + 1, w->base + w->offset);
    if (r < 0 && w->number > w->oldest) { /* the oldest goes anyway: perhaps that makes room */
        drop_oldest(w, MAX(w->max_files - 1, 1));
        r = begin_file(w, w->number + 1, w->base + w->offset);
    }
    if (r < 0)
        return r;
    crash_point("log.rotated");
    drop_oldest(w, w->max_files);
    return 0;
}

/* ---- opening */

static int find_files(int dir_fd, uint64_t *ret_oldest, uint64_t *ret_newest)
{
    autoclose int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return -errno;
    take_fd(&fd);
    const struct dirent *entry;
    while ((entry = readdir(dir))) {
        uint64_t number = log_file_number(entry->d_name);
        if (number && (!*ret_oldest || number < *ret_oldest))
            *ret_oldest = number;
        if (number > *ret_newest)
            *ret_newest = number;
    }
    closedir(dir);
    return 0;
}

/* End of the good part of an index, and of the bytes that it tells of. */
static int scan_index(struct log_writer *w, uint64_t size, uint64_t *ret_covered)
{
    *ret_covered = 0;
    w->index_offset = size - size % sizeof(struct log_record);
    bool data = false;
    for (uint64_t at = w->index_offset; at > 0 && !data;) {
        struct log_record record;
        at -= sizeof(record);
        if (RETRY(pread(w->index_fd, &record, sizeof(record), (off_t)at)) != sizeof(record))
            return -EIO;
        if (!log_record_good(&record)) {
            w->index_offset = at;
            continue;
        }
        data = record.stream != LOG_MARK && !(record.flags & LOG_DROPPED);
        if (data)
            *ret_covered = record.offset + record.length;
    }
    return RETRY(ftruncate(w->index_fd, (off_t)w->index_offset)) < 0 ? -errno : 0;
}

static void read_base(struct log_writer *w)
{
    struct log_record first;
    if (RETRY(pread(w->index_fd, &first, sizeof(first), 0)) == sizeof(first) &&
        log_record_good(&first) && first.stream == LOG_MARK && first.flags == LOG_MARK_FILE)
        w->base = first.offset;
}

/* Bytes that a dead writer left without a record are somebody's output: stdout's, for want of better. */
static int continue_file(struct log_writer *w, uint64_t number)
{
    struct stat log, index;
    w->number = number;
    w->log_fd = open_file(w->dir_fd, number, "log", 0);
    w->index_fd = w->log_fd < 0 ? -1 : open_file(w->dir_fd, number, "idx", O_CREAT);
    if (w->log_fd < 0 || w->index_fd < 0)
        return MIN(w->log_fd, w->index_fd);
    if (fstat(w->log_fd, &log) < 0 || fstat(w->index_fd, &index) < 0)
        return -errno;
    uint64_t covered, size = (uint64_t)log.st_size;
    read_base(w);
    int r = scan_index(w, (uint64_t)index.st_size, &covered);
    if (r < 0)
        return r;
    w->offset = MIN(covered, size);
    while (w->offset < size) {
        uint64_t n = MIN(size - w->offset, (uint64_t)UINT32_MAX);
        if (add_record(w, BERTH_STDOUT, 0, n) < 0)
            break; /* disk full: written over */
        w->offset += n;
    }
    return 0;
}

static int open_files(struct log_writer *w, int workload_fd)
{
    if (mkdirat(workload_fd, "log", 0700) < 0 && errno != EEXIST)
        return -errno;
    w->dir_fd = openat(workload_fd, "log", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (w->dir_fd < 0)
        return -errno;
    uint64_t newest = 0;
    int r = find_files(w->dir_fd, &w->oldest, &newest);
    if (r < 0)
        return r;
    if (newest)
        return continue_file(w, newest);
    w->oldest = 1;
    return begin_file(w, 1, 0);
}

int log_writer_open(int workload_fd, uint64_t max_size_bytes, int max_files,
                    struct log_writer **ret_writer, struct berth_error *err)
{
    struct log_writer *w = calloc(1, sizeof(*w));
    if (!w)
        return fail_memory(err);
    w->dir_fd = w->log_fd = w->index_fd = -1;
    log_writer_limits(w, max_size_bytes, max_files);
    int r = open_files(w, workload_fd);
    if (r < 0) {
        log_writer_close(w);
        return fail_os(err, r, NULL, "open the log");
    }
    *ret_writer = w;
    return 0;
}

void log_writer_limits(struct log_writer *w, uint64_t max_size_bytes, int max_files)
{
    w->max_size = max_size_bytes ? max_size_bytes : DEFAULT_SIZE;
    w->max_files = max_files > 0 ? max_files : DEFAULT_FILES;
}

void log_writer_close(struct log_writer *w)
{
    if (!w)
        return;
    if (w->index_fd >= 0)
        say_lost(w);
    close_fd(&w->index_fd);
    close_fd(&w->log_fd);
    close_fd(&w->dir_fd);
    free(w);
}

/* ---- writing */

static void count_lost(struct log_writer *w, uint16_t stream, const char *data, size_t size,
                       uint64_t *dropped_bytes, uint64_t *dropped_lines)
{
    w->lost[stream] += size;
    if (dropped_bytes)
        *dropped_bytes += size;
    for (const char *p = data; dropped_lines && (p = memchr(p, '\n', (size_t)(data + size - p))); p++)
        ++*dropped_lines;
}

/* Room in this file; a new one when it is full. */
static uint64_t make_room(struct log_writer *w)
{
    if (file_full(w))
        rotate(w); /* when it can't, this file grows on: better than losing lines */
    return MIN(w->offset < w->max_size ? w->max_size - w->offset : MOVE_MAX, (uint64_t)MOVE_MAX);
}

/*
 * `n` bytes lie behind the end of the log: say what was lost before them, and make them part of it.
 * Only now, since a disk that had room for them is no longer full.
 */
static int accept_bytes(struct log_writer *w, uint16_t stream, uint64_t n)
{
    crash_point("log.data");
    int r = say_lost(w);
    if (r == 0)
        r = add_record(w, stream, 0, n);
    if (r == 0)
        w->offset += n;
    return r;
}

static int forget_bytes(struct log_writer *w)
{
    return RETRY(ftruncate(w->log_fd, (off_t)w->offset)) < 0 ? -errno : 0;
}

/* What a pipe holds, without waiting for more. */
static ssize_t read_now(int fd, char *data, size_t size)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    if (RETRY(poll(&polled, 1, 0)) < 0)
        return -errno;
    if (!polled.revents)
        return -EAGAIN;
    ssize_t n = RETRY(read(fd, data, size));
    return n < 0 ? -errno : n;
}

static ssize_t copy_piece(struct log_writer *w, int pipe_fd, uint16_t stream,
                          uint64_t *dropped_bytes, uint64_t *dropped_lines)
{
    char data[COPY_SIZE];
    ssize_t n = read_now(pipe_fd, data, sizeof(data));
    if (n > 0)
        log_writer_write(w, stream, data, (size_t)n, dropped_bytes, dropped_lines);
    return n;
}

static ssize_t drop_piece(struct log_writer *w, int pipe_fd, uint16_t stream,
                          uint64_t *dropped_bytes, uint64_t *dropped_lines)
{
    char data[COPY_SIZE];
    ssize_t n = read_now(pipe_fd, data, sizeof(data));
    if (n > 0)
        count_lost(w, stream, data, (size_t)n, dropped_bytes, dropped_lines);
    return n;
}

/* The bytes have left the pipe and the index has no room for them: they are read back, to be counted. */
static void lose_moved(struct log_writer *w, uint16_t stream, uint64_t n, uint64_t *dropped_bytes,
                       uint64_t *dropped_lines)
{
    char data[COPY_SIZE];
    for (uint64_t done = 0; done < n;) {
        ssize_t got = pread(w->log_fd, data, MIN(n - done, (uint64_t)sizeof(data)),
                            (off_t)(w->offset + done));
        if (got <= 0) {
            w->lost[stream] += n - done;
            if (dropped_bytes)
                *dropped_bytes += n - done;
            break;
        }
        count_lost(w, stream, data, (size_t)got, dropped_bytes, dropped_lines);
        done += (uint64_t)got;
    }
}

ssize_t log_writer_move(struct log_writer *w, int pipe_fd, uint16_t stream,
                        uint64_t *dropped_bytes, uint64_t *dropped_lines)
{
    if (w->no_splice)
        return copy_piece(w, pipe_fd, stream, dropped_bytes, dropped_lines);
    size_t room = make_room(w);
    off64_t at = (off64_t)w->offset;
    ssize_t n =
        RETRY(splice(pipe_fd, NULL, w->log_fd, &at, room, SPLICE_F_NONBLOCK | SPLICE_F_MOVE));
    if (n == 0 || (n < 0 && errno == EAGAIN))
        return n == 0 ? 0 : -EAGAIN;
    if (n < 0 && errno == EINVAL) {
        w->no_splice = true;
        return copy_piece(w, pipe_fd, stream, dropped_bytes, dropped_lines);
    }
    if (n < 0)
        return drop_piece(w, pipe_fd, stream, dropped_bytes, dropped_lines);
    if (accept_bytes(w, stream, (uint64_t)n) == 0)
        return n;
    lose_moved(w, stream, (uint64_t)n, dropped_bytes, dropped_lines);
    int r = forget_bytes(w);
    return r < 0 ? r : n;
}

int log_writer_write(struct log_writer *w, uint16_t stream, const void *data, size_t size,
                     uint64_t *dropped_bytes, uint64_t *dropped_lines)
{
    for (size_t done = 0; done < size;) {
        uint64_t room = make_room(w);
        ssize_t n = RETRY(pwrite(w->log_fd, (const char *)data + done, MIN(size - done, room),
                                 (off_t)w->offset));
        if (n <= 0 || accept_bytes(w, stream, (uint64_t)n) < 0) {
            count_lost(w, stream, (const char *)data + done, size - done, dropped_bytes,
                       dropped_lines);
            return forget_bytes(w);
        }
        done += (size_t)n;
    }
    return 0;
}

int log_writer_mark(struct log_writer *w, uint16_t flags)
{
    say_lost(w);
    return add_record(w, LOG_MARK, flags, 0);
}
