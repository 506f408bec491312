/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gzip by isa-l, or by zlib where isa-l is not to be had.
 *
 * A gzip file is any number of members one after another, then perhaps zero bytes.
 */
#include "image/tool/gzip.h"
#include "base/base.h"
#include <stdint.h>
#include <string.h>

#define OUT_BLOCK (64u << 10)

enum where { BETWEEN, INSIDE, PADDING };

#ifdef HAVE_ISAL
#include <isa-l/igzip_lib.h>

struct gzip_reader { struct inflate_state state; enum where where; bool any; };

static void begin(struct gzip_reader *g)
{
    uint8_t *next = g->state.next_in;
    uint32_t left = g->state.avail_in;
    isal_inflate_init(&g->state);
    g->state.crc_flag = ISAL_GZIP;
    g->state.next_in = next;
    g->state.avail_in = left;
}

/* One step: bytes made, or -1. */
static ssize_t step(struct gzip_reader *g, void *out, size_t room)
{
    g->state.next_out = out;
    g->state.avail_out = (uint32_t)room;
    if (isal_inflate(&g->state) != ISAL_DECOMP_OK)
        return -1;
    if (g->state.block_state == ISAL_BLOCK_FINISH)
        g->where = BETWEEN;
    return (ssize_t)(room - g->state.avail_out);
}
static size_t left(const struct gzip_reader *g) { return g->state.avail_in; }
static uint8_t *input(const struct gzip_reader *g) { return g->state.next_in; }
static void set_input(struct gzip_reader *g, const void *data, size_t size)
{
    g->state.next_in = (uint8_t *)data;
    g->state.avail_in = (uint32_t)size;
}
static void end(struct gzip_reader *g) { (void)g; }

struct gzip_writer { struct isal_zstream stream; uint8_t *level; uint8_t out[OUT_BLOCK]; };

struct gzip_writer *gzip_writer_new(void)
{
    struct gzip_writer *g = calloc(1, sizeof *g);
    if (!g || !(g->level = malloc(ISAL_DEF_LVL1_DEFAULT))) {
        free(g);
        return NULL;
    }
    isal_deflate_init(&g->stream);
    g->stream.gzip_flag = IGZIP_GZIP;
    g->stream.level = 1;
    g->stream.level_buf = g->level;
    g->stream.level_buf_size = ISAL_DEF_LVL1_DEFAULT;
    return g;
}

void gzip_writer_free(struct gzip_writer *g)
{
    if (g)
        free(g->level);
    free(g);
}

void gzip_writer_give(struct gzip_writer *g, const void *data, size_t size, bool last)
{
    g->stream.next_in = (uint8_t *)data;
    g->stream.avail_in = (uint32_t)size;
    g->stream.end_of_stream = last;
    g->stream.flush = NO_FLUSH;
}

int gzip_writer_take(struct gzip_writer *g, const void **ret_piece, size_t *ret_size)
{
    g->stream.next_out = g->out;
    g->stream.avail_out = sizeof g->out;
    if (isal_deflate(&g->stream) != COMP_OK)
        return -1;
    *ret_piece = g->out;
    *ret_size = sizeof g->out - g->stream.avail_out;
    return g->stream.avail_out == 0 || g->stream.avail_in > 0;
}

#else
#include <zlib.h>

struct gzip_reader { z_stream state; enum where where; bool any, ready; };

static void begin(struct gzip_reader *g)
{
    if (g->ready)
        inflateReset(&g->state);
    else
        g->ready = inflateInit2(&g->state, 15 + 16) == Z_OK;
}

static ssize_t step(struct gzip_reader *g, void *out, size_t room)
{
    g->state.next_out = out;
    g->state.avail_out = (uInt)room;
    int r = g->ready ? inflate(&g->state, Z_NO_FLUSH) : Z_MEM_ERROR;
    if (r == Z_STREAM_END)
        g->where = BETWEEN;
    else if (r != Z_OK && r != Z_BUF_ERROR)
        return -1;
    return (ssize_t)(room - g->state.avail_out);
}
static size_t left(const struct gzip_reader *g) { return g->state.avail_in; }
static uint8_t *input(const struct gzip_reader *g) { return (uint8_t *)g->state.next_in; }
static void set_input(struct gzip_reader *g, const void *data, size_t size)
{
    g->state.next_in = (Bytef *)data;
    g->state.avail_in = (uInt)size;
}
static void end(struct gzip_reader *g)
{
    if (g->ready)
        inflateEnd(&g->state);
}

struct gzip_writer { z_stream stream; bool last; uint8_t out[OUT_BLOCK]; };

struct gzip_writer *gzip_writer_new(void)
{
    struct gzip_writer *g = calloc(1, sizeof *g);
    if (g && deflateInit2(&g->stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        free(g);
        return NULL;
    }
    return g;
}

void gzip_writer_free(struct gzip_writer *g)
{
    if (g)
        deflateEnd(&g->stream);
    free(g);
}

void gzip_writer_give(struct gzip_writer *g, const void *data, size_t size, bool last)
{
    g->stream.next_in = (Bytef *)data;
    g->stream.avail_in = (uInt)size;
    g->last = last;
}

int gzip_writer_take(struct gzip_writer *g, const void **ret_piece, size_t *ret_size)
{
    g->stream.next_out = g->out;
    g->stream.avail_out = sizeof g->out;
    int r = deflate(&g->stream, g->last ? Z_FINISH : Z_NO_FLUSH);
    if (r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR)
        return -1;
    *ret_piece = g->out;
    *ret_size = sizeof g->out - g->stream.avail_out;
    return r != Z_STREAM_END && g->stream.avail_out == 0;
}
#endif

struct gzip_reader *gzip_reader_new(void)
{
    return calloc(1, sizeof(struct gzip_reader));
}

void gzip_reader_free(struct gzip_reader *g)
{
    if (g)
        end(g);
    free(g);
}

void gzip_reader_give(struct gzip_reader *g, const void *data, size_t size)
{
    set_input(g, data, size);
}

/* After a member: another one, or nothing but zeros until the end. */
static int next_member(struct gzip_reader *g)
{
    if (g->where == PADDING || (g->any && *input(g) == 0)) {
        g->where = PADDING;
        for (size_t i = 0; i < left(g); i++)
            if (input(g)[i] != 0)
                return -1;
        set_input(g, input(g), 0);
        return 0;
    }
    begin(g);
    g->where = INSIDE;
    g->any = true;
    return 1;
}

ssize_t gzip_reader_take(struct gzip_reader *g, void *out, size_t room)
{
    for (;;) {
        if (g->where != INSIDE) {
            if (left(g) == 0)
                return 0;
            int r = next_member(g);
            if (r <= 0)
                return r;
        }
        size_t before = left(g);
        ssize_t made = step(g, out, room);
        if (made != 0)
            return made;
        if (g->where == INSIDE && (left(g) == 0 || left(g) == before))
            return 0;
    }
}

bool gzip_reader_whole(const struct gzip_reader *g)
{
    return g->any && g->where != INSIDE;
}
