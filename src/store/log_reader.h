/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking through a log piece by piece, over rotations, holes in the index and lost files.
 */
#ifndef STORE_LOG_READER_H
#define STORE_LOG_READER_H

#include "store/log.h"
#include <stdbool.h>
#include <stdint.h>

#define LOG_LANES 2 /* stdout, stderr */

enum log_piece_kind {
    LOG_PIECE_DATA,
    LOG_PIECE_DROPPED, /* `length` bytes of `stream` could not be written */
    LOG_PIECE_LOST,    /* `length` bytes of all streams went with files that the limits dropped */
    LOG_PIECE_MARK     /* `flags` */
};
struct log_piece {
    int kind;
    uint16_t stream, flags;
    int64_t time_usec;
    uint64_t number;         /* of the file */
    uint64_t offset, length; /* in it */
};

#define LOG_RECORDS_AT_ONCE 512
struct log_reader {
    int dir_fd, log_fd, index_fd;
    uint64_t number;         /* file that is open; 0: none yet */
    uint64_t base;           /* bytes of all files before it */
    uint64_t covered;        /* bytes of it that were passed */
    uint64_t next;           /* index record to read next */
    int64_t time_usec;       /* of the last good record */
    bool last_look;          /* a newer file exists: its own index was read once more since */
    struct log_record records[LOG_RECORDS_AT_ONCE];
    uint64_t first_record;   /* number of records[0] */
    size_t n_records;
};

/** dir_fd is borrowed. Nothing is opened yet. */
void log_reader_init(struct log_reader *r, int dir_fd);
void log_reader_done(struct log_reader *r);
/** Open file `number` at its beginning. 0, -ENOENT. */
int log_reader_open(struct log_reader *r, uint64_t number);
/** The smallest number above `number` (0: of all), 0 for none; or -errno. */
int log_reader_next_number(int dir_fd, uint64_t number, uint64_t *ret_number);
/** The largest number below `number` (UINT64_MAX: of all), 0 for none. */
int log_reader_previous_number(int dir_fd, uint64_t number, uint64_t *ret_number);
/**
 * Next piece: 1, 0 when there is no more now, -errno. `writer_gone`: bytes behind the last record
 * are served too. `before_close` (may be NULL) is called before the file that was read is closed.
 */
int log_reader_next(struct log_reader *r, bool writer_gone, void (*before_close)(void *),
                    void *data, struct log_piece *ret_piece);
/** Record `i` of the open file. 1, 0 behind the end, -errno. Bad ones are returned as they are. */
int log_reader_record(struct log_reader *r, uint64_t i, struct log_record *ret_record);
uint64_t log_reader_n_records(const struct log_reader *r);
uint64_t log_reader_size(const struct log_reader *r);

/* ---- where the last n lines begin */
struct log_tail_lane {
    bool has_first;                  /* a line of it is among the last n */
    uint64_t number, offset;         /* its first byte */
    bool has_end;                    /* the last piece of it that was seen */
    uint64_t end_number, end_offset; /* where that piece ends */
};
struct log_tail {
    struct log_tail_lane lanes[LOG_LANES];
    uint64_t number, next, covered;  /* where reading begins; number 0: from the first byte */
    uint16_t mark;                   /* last mark seen, 0 for none */
};
/** Walk back from the end. `wanted`: which streams count; a line counts by its stamp. */
int log_tail_find(int dir_fd, bool writer_gone, uint32_t streams, uint64_t n, int64_t since_usec,
                  int64_t until_usec, struct log_tail *ret_tail);

#endif
