/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload's log: the bytes as written, and beside them an index of time, stream, offset, length.
 *
 * log/N.log and log/N.idx, N counting up; the newest is written, the oldest dropped. The writer (the
 * supervisor) never parses what it copies: one index record for each piece that came at once. Lines
 * are made by the reader.
 */
#ifndef STORE_LOG_H
#define STORE_LOG_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** One index record, little endian, 32 bytes. */
struct log_record {
    int64_t time_usec;
    uint64_t offset;     /* in its .log file */
    uint32_t length;
    uint16_t stream;     /* BERTH_STDOUT, BERTH_STDERR; LOG_MARK for a mark */
    uint16_t flags;      /* LOG_DROPPED: `length` more bytes were lost here (disk full) */
    uint64_t check;      /* FNV-1a of the three 64-bit words above: a torn record is seen */
};
#define LOG_MARK 0x100u  /* start and end of a run, so that followers know; `flags` says which */
#define LOG_MARK_START 1u
#define LOG_MARK_END 2u         /* final: followers end */
#define LOG_MARK_END_RESTART 3u /* a restart is due: followers go on */
#define LOG_MARK_FILE 4u        /* first record of each file: `offset` is the bytes of all files before it */
#define LOG_DROPPED 1u

struct log_writer;
/** Open for appending ("log/" is made); continues after what is there: at a torn end the index is cut to its last
 *  good record and bytes without one get one. 0 means the defaults: 64 MiB, 4 files. An index longer than
 *  max_size (a program that writes single bytes) ends a file too. */
int log_writer_open(int workload_fd, uint64_t max_size_bytes, int max_files, struct log_writer **ret_writer, struct berth_error *err);
/**
 * Move what a pipe holds now into the log (splice, no copy through user space where the kernel can).
 * Returns bytes moved, 0 at the end of the pipe, -EAGAIN when it is empty. On a full disk the bytes
 * are read and dropped, counted in `ret_dropped_bytes/lines` (added to); the program never blocks.
 */
ssize_t log_writer_move(struct log_writer *w, int pipe_fd, uint16_t stream, uint64_t *dropped_bytes, uint64_t *dropped_lines);
/** The same for bytes in memory (a tty's). */
int log_writer_write(struct log_writer *w, uint16_t stream, const void *data, size_t size, uint64_t *dropped_bytes, uint64_t *dropped_lines);
int log_writer_mark(struct log_writer *w, uint16_t flags);
void log_writer_limits(struct log_writer *w, uint64_t max_size_bytes, int max_files);
void log_writer_close(struct log_writer *w);

/** `streams` 0: both. Lines are ordered by their first byte; a line's stamp is that byte's. */
struct log_options { bool follow, timestamps, frames, has_tail; uint32_t streams; uint64_t tail; int64_t since_usec, until_usec; };
/**
 * Write the log to out_fd as the options say (berth.h's meaning). With follow it ends when the workload
 * has ended with no restart due (end mark 2 and `life` free), or out_fd breaks. Blocks (inotify): for the
 * helper, never in the caller. Without timestamps it is sendfile for whatever is large enough.
 * Lost bytes (disk full, or dropped by the limits before they were read) are one line in brackets, or one frame
 * BERTH_FRAME_LOST. Ignore SIGPIPE before. A follower of a workload that never ran waits for its first run.
 */
int log_pump(int workload_fd, int life_fd_or_minus1, const struct log_options *options, int out_fd, struct berth_error *err);
/** The last n lines, both streams, as one string: for `status`. */
int log_tail(int workload_fd, uint64_t n, char **ret_text, struct berth_error *err);

#endif
