/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip, by isa-l or by zlib: the same few calls.
 */
#ifndef TOOL_GZIP_H
#define TOOL_GZIP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct gzip_reader;
struct gzip_reader *gzip_reader_new(void);
void gzip_reader_free(struct gzip_reader *g);
/** The next bytes of input; all before must have been taken. Borrowed until then. */
void gzip_reader_give(struct gzip_reader *g, const void *data, size_t size);
/** Inflated bytes, 0 when more input is needed, -1 for damaged data. */
ssize_t gzip_reader_take(struct gzip_reader *g, void *out, size_t room);
/** Did the input end at the end of a member? */
bool gzip_reader_whole(const struct gzip_reader *g);

struct gzip_writer;
struct gzip_writer *gzip_writer_new(void);
void gzip_writer_free(struct gzip_writer *g);
void gzip_writer_give(struct gzip_writer *g, const void *data, size_t size, bool last);
/** A piece of output, the writer's until the next call: 1 there is more, 0 that was all, -1 failed. */
int gzip_writer_take(struct gzip_writer *g, const void **ret_piece, size_t *ret_size);

#endif
