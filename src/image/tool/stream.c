/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hash, inflate, deflate, count: one pass over each byte, in blocks that stay in the cache.
 *
 * gzip is isa-l's where it was built in (three to six times zlib), else zlib's. Both read files of
 * several members, as estargz and pigz make them.
 */
#include "image/tool/stream.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool.h"
#include "image/tool/gzip.h"
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#define LARGE_WINDOW (8u << 20) /* of zstd */

struct hasher { EVP_MD_CTX *context; };

struct hasher *hasher_new(void)
{
    struct hasher *h = calloc(1, sizeof *h);
    if (h && !((h->context = EVP_MD_CTX_new()) && EVP_DigestInit_ex(h->context, EVP_sha256(), NULL))) {
        hasher_free(h);
        return NULL;
    }
    return h;
}

void hasher_add(struct hasher *h, const void *data, size_t size)
{
    EVP_DigestUpdate(h->context, data, size);
}

void hasher_end(struct hasher *h, char ret_digest[DIGEST_TEXT])
{
    unsigned char hash[EVP_MAX_MD_SIZE] = {0};
    EVP_DigestFinal_ex(h->context, hash, NULL);
    memcpy(ret_digest, "sha256:", 7);
    hex_print(hash, 32, ret_digest + 7);
    hasher_free(h);
}

void hasher_free(struct hasher *h)
{
    if (h)
        EVP_MD_CTX_free(h->context);
    free(h);
}

void digest_of(const void *data, size_t size, char ret_digest[DIGEST_TEXT])
{
    unsigned char hash[EVP_MAX_MD_SIZE] = {0};
    EVP_Digest(data, size, hash, NULL, EVP_sha256(), NULL);
    memcpy(ret_digest, "sha256:", 7);
    hex_print(hash, 32, ret_digest + 7);
}

int compression_of(const unsigned char *head, size_t size, enum compression *ret, struct berth_error *err)
{
    static const struct { const char *magic; size_t length; int compression; const char *refused; } known[] = {
        {"\x1f\x8b", 2, GZIP, NULL},
        {"\x28\xb5\x2f\xfd", 4, ZSTD, NULL},
        {"BZh", 3, PLAIN, "bzip2"},
        {"\xfd" "7zXZ", 5, PLAIN, "xz"},
    };
    *ret = PLAIN;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (size < known[i].length || memcmp(head, known[i].magic, known[i].length) != 0)
            continue;
        if (known[i].refused)
            return fail(err, BERTH_UNSUPPORTED, known[i].refused,
                        "it is compressed with %s; gzip, zstd and plain tar are read", known[i].refused);
        *ret = (enum compression)known[i].compression;
        return 0;
    }
    /* A skippable zstd frame may come first. */
    if (size >= 4 && head[0] >= 0x50 && head[0] <= 0x5f && memcmp(head + 1, "\x2a\x4d\x18", 3) == 0)
        *ret = ZSTD;
    return 0;
}

/* ---- sink: where plain bytes go */

struct stream_sink {
    int out_fd, blob_fd;
    struct hasher *plain, *blob; /* blob: NULL when it is somebody else's */
    struct gzip_writer *gzip;
    enum compression compression;
    struct stream_result result;
};

void sink_free(struct stream_sink *s)
{
    if (!s)
        return;
    hasher_free(s->plain);
    hasher_free(s->blob);
    gzip_writer_free(s->gzip);
    free(s);
}

int sink_open(int out_fd, int blob_fd, enum compression blob, struct stream_sink **ret, struct berth_error *err)
{
    struct stream_sink *s = calloc(1, sizeof *s);
    if (!s)
        return fail_memory(err);
    *s = (struct stream_sink){.out_fd = out_fd, .blob_fd = blob_fd, .compression = blob};
    s->plain = hasher_new();
    s->blob = blob_fd >= 0 ? hasher_new() : NULL;
    s->gzip = blob_fd >= 0 && blob == GZIP ? gzip_writer_new() : NULL;
    if (!s->plain || (blob_fd >= 0 && (!s->blob || (blob == GZIP && !s->gzip)))) {
        sink_free(s);
        return fail_memory(err);
    }
    *ret = s;
    return 0;
}

static int put(int fd, const void *data, size_t size, const char *what, struct berth_error *err)
{
    int r = fd_write_all(fd, data, size);
    return r < 0 ? fail_os(err, r, what, "write %s", what) : 0;
}

static int put_blob(struct stream_sink *s, const void *data, size_t size, struct berth_error *err)
{
    if (size == 0)
        return 0;
    hasher_add(s->blob, data, size);
    s->result.blob_bytes += size;
    return put(s->blob_fd, data, size, "the layer's blob", err);
}

static int deflate_part(struct stream_sink *s, const void *data, size_t size, bool last, struct berth_error *err)
{
    const void *piece = NULL;
    size_t length = 0;
    int more = 1;
    gzip_writer_give(s->gzip, data, size, last);
    while (more > 0) {
        more = gzip_writer_take(s->gzip, &piece, &length);
        int r = more < 0 ? fail(err, BERTH_IO, "", "compress the layer") : put_blob(s, piece, length, err);
        if (r < 0)
            return r;
    }
    return 0;
}

int sink_write(struct stream_sink *s, const void *data, size_t size, struct berth_error *err)
{
    int r = s->out_fd >= 0 ? put(s->out_fd, data, size, "the layer to the unpacker", err) : 0;
    if (r < 0)
        return r;
    hasher_add(s->plain, data, size);
    s->result.plain_bytes += size;
    if (!s->blob)
        return 0;
    return s->gzip ? deflate_part(s, data, size, false, err) : put_blob(s, data, size, err);
}

int sink_close(struct stream_sink *s, struct stream_result *ret, struct berth_error *err)
{
    int r = s->gzip ? deflate_part(s, "", 0, true, err) : 0;
    if (r == 0) {
        hasher_end(TAKE(s->plain), s->result.plain_digest);
        if (s->blob)
            hasher_end(TAKE(s->blob), s->result.blob_digest);
        s->result.compression = s->compression;
        *ret = s->result;
    }
    sink_free(s);
    return r;
}

/* ---- inflating */

struct source {
    int in_fd, blob_fd;
    const struct stream_options *options;
    struct hasher *hasher; /* NULL: somebody else's work */
    uint64_t bytes;
    struct stream_sink *sink;
    unsigned char *in, *out;
};

static int too_big(struct source *s, struct berth_error *err)
{
    if (s->sink->result.plain_bytes > s->options->max_bytes)
        return fail(err, BERTH_TOO_BIG, "", "it inflates to more than %llu bytes", (unsigned long long)s->options->max_bytes);
    if (s->sink->result.plain_bytes > (1ull << 30) && s->sink->result.plain_bytes / IMAGE_MAX_RATIO > s->bytes)
        return fail(err, BERTH_TOO_BIG, "", "it inflates to more than %d times its size", IMAGE_MAX_RATIO);
    return 0;
}

/* The next block of the input: hashed and kept. Its size, 0 at the end. */
static ssize_t next_block(struct source *s, struct berth_error *err)
{
    size_t got = 0;
    while (got < STREAM_BLOCK) {
        ssize_t n = s->options->read ? s->options->read(s->options->user, s->in + got, STREAM_BLOCK - got, err)
                                     : RETRY(read(s->in_fd, s->in + got, STREAM_BLOCK - got));
        if (n < 0)
            return s->options->read ? n : fail_os(err, errno, "", "read the layer");
        if (n == 0)
            break;
        got += (size_t)n;
    }
    if (s->hasher)
        hasher_add(s->hasher, s->in, got);
    s->bytes += got;
    if (s->blob_fd >= 0) {
        int r = put(s->blob_fd, s->in, got, "the layer's blob", err);
        if (r < 0)
            return r;
    }
    return (ssize_t)got;
}

static int pass_plain(struct source *s, size_t n, struct berth_error *err)
{
    ssize_t got = (ssize_t)n;
    int r = 0;
    while (r == 0 && got > 0) {
        r = sink_write(s->sink, s->in, (size_t)got, err);
        if (r == 0 && s->sink->result.plain_bytes > s->options->max_bytes)
            r = too_big(s, err);
        if (r == 0)
            got = next_block(s, err);
    }
    return r < 0 ? r : got < 0 ? (int)got : 0;
}

static int pass_gzip(struct source *s, size_t n, struct berth_error *err)
{
    struct gzip_reader *gzip = gzip_reader_new();
    if (!gzip)
        return fail_memory(err);
    ssize_t got = (ssize_t)n;
    int r = 0;
    while (r == 0 && got > 0) {
        gzip_reader_give(gzip, s->in, (size_t)got);
        ssize_t made = 0;
        while (r == 0 && (made = gzip_reader_take(gzip, s->out, STREAM_BLOCK)) > 0) {
            r = sink_write(s->sink, s->out, (size_t)made, err);
            if (r == 0)
                r = too_big(s, err);
        }
        if (r == 0 && made < 0)
            r = fail(err, BERTH_CORRUPT, "", "the gzip data is damaged");
        if (r == 0)
            got = next_block(s, err);
    }
    if (r == 0 && got < 0)
        r = (int)got;
    if (r == 0 && !gzip_reader_whole(gzip))
        r = fail(err, BERTH_CORRUPT, "", "the gzip data ends in the middle");
    gzip_reader_free(gzip);
    return r;
}

static int zstd_failed(size_t code, struct berth_error *err)
{
    /* Windows above 8 MiB are legal and are read up to 128 MiB; beyond that somebody wants our memory. */
    if (ZSTD_getErrorCode(code) == ZSTD_error_frameParameter_windowTooLarge)
        return fail(err, BERTH_TOO_BIG, "", "its zstd window is above %d MiB", 1 << (IMAGE_MAX_WINDOW_LOG - 20));
    return fail(err, BERTH_CORRUPT, "", "the zstd data is damaged (%s)", ZSTD_getErrorName(code));
}

/* RFC 8878, 3.1.1.1: how much a frame wants to remember. True also when too little of its head is seen. */
static bool wants_much(const unsigned char *head, size_t n)
{
    if (n >= 4 && memcmp(head, "\x28\xb5\x2f\xfd", 4) != 0)
        return false; /* skippable, or damaged */
    if (n < 6)
        return true;
    bool single = head[4] & 0x20;
    size_t dictionary = (size_t[]){0, 1, 2, 4}[head[4] & 3], width = (size_t[]){1, 2, 4, 8}[head[4] >> 6];
    if (!single) {
        uint64_t base = 1ull << (10 + (head[5] >> 3));
        return base + base / 8 * (head[5] & 7) > LARGE_WINDOW;
    }
    if (n < 5 + dictionary + width)
        return true;
    uint64_t content = 0;
    for (size_t i = width; i-- > 0;)
        content = content << 8 | head[5 + dictionary + i];
    return content > LARGE_WINDOW;
}

/* Held until the process ends: each layer has its own. */
static int lock_large(const struct source *s, struct berth_error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return s->options->large_fd >= 0 && RETRY(fcntl(s->options->large_fd, F_OFD_SETLKW, &lock)) < 0
         ? fail_os(err, errno, "", "wait for another layer's large zstd window") : 0;
}

/** What a block of a zstd stream is decompressed with; `left` 0: a frame begins. */
struct zstd_stream { ZSTD_DCtx *context; size_t left; };

/* All that the block holds: 0 when there is nothing more in it. */
static int pass_block(struct source *s, struct zstd_stream *z, size_t n, struct berth_error *err)
{
    ZSTD_inBuffer in = {s->in, n, 0};
    bool full = true;
    int r = 0;
    while (r == 0 && (in.pos < in.size || full)) {
        ZSTD_outBuffer out = {s->out, STREAM_BLOCK, 0};
        size_t before = in.pos;
        if (z->left == 0 && in.pos < in.size && wants_much(s->in + in.pos, in.size - in.pos) && (r = lock_large(s, err)) < 0)
            break;
        z->left = ZSTD_decompressStream(z->context, &out, &in);
        if (ZSTD_isError(z->left))
            r = zstd_failed(z->left, err);
        else if (out.pos)
            r = sink_write(s->sink, s->out, out.pos, err);
        if (r == 0)
            r = too_big(s, err);
        full = out.pos == out.size;
        if (in.pos == before && out.pos == 0)
            break;
    }
    return r;
}

static int pass_zstd(struct source *s, size_t n, struct berth_error *err)
{
    struct zstd_stream z = {.context = ZSTD_createDCtx()};
    if (!z.context)
        return fail_memory(err);
    ZSTD_DCtx_setParameter(z.context, ZSTD_d_windowLogMax, IMAGE_MAX_WINDOW_LOG);
    ssize_t got = (ssize_t)n;
    int r = 0;
    while (r == 0 && got > 0) {
        r = pass_block(s, &z, (size_t)got, err);
        if (r == 0)
            got = next_block(s, err);
    }
    ZSTD_freeDCtx(z.context);
    if (r == 0 && got < 0)
        r = (int)got;
    return r == 0 && z.left != 0 ? fail(err, BERTH_CORRUPT, "", "the zstd data ends in the middle") : r;
}

static int run(struct source *s, int out_fd, bool deflate, enum compression *ret_kind, struct berth_error *err)
{
    static int (*const pass[])(struct source *, size_t, struct berth_error *) = {
        [PLAIN] = pass_plain, [GZIP] = pass_gzip, [ZSTD] = pass_zstd};
    /* The first block is read before anybody knows whether the blob is what comes in or what we make. */
    int blob_fd = s->blob_fd;
    s->blob_fd = -1;
    ssize_t n = next_block(s, err);
    if (n < 0)
        return (int)n;
    int r = compression_of(s->in, (size_t)n, ret_kind, err);
    if (r < 0)
        return r;
    bool ours = *ret_kind == PLAIN && deflate;
    if (!ours && blob_fd >= 0 && (r = put(blob_fd, s->in, (size_t)n, "the layer's blob", err)) < 0)
        return r;
    s->blob_fd = ours ? -1 : blob_fd;
    r = sink_open(out_fd, ours ? blob_fd : -1, ours ? GZIP : PLAIN, &s->sink, err);
    return r < 0 ? r : pass[*ret_kind](s, (size_t)n, err);
}

int stream_inflate(int in_fd, int out_fd, int blob_fd, bool deflate, const struct stream_options *options,
                   struct stream_result *ret, struct berth_error *err)
{
    autofree unsigned char *in = malloc(STREAM_BLOCK), *out = malloc(STREAM_BLOCK);
    struct source s = {.in_fd = in_fd, .blob_fd = blob_fd, .options = options, .in = in, .out = out};
    s.hasher = options->verified ? NULL : hasher_new();
    if (!in || !out || (!s.hasher && !options->verified)) {
        hasher_free(s.hasher);
        return fail_memory(err);
    }
    enum compression kind = PLAIN;
    int r = run(&s, out_fd, deflate, &kind, err);
    bool ours = kind == PLAIN && deflate && blob_fd >= 0;
    if (r == 0)
        r = sink_close(TAKE(s.sink), ret, err);
    if (r == 0 && !ours) {
        ret->blob_bytes = s.bytes;
        ret->compression = kind;
        if (s.hasher)
            hasher_end(TAKE(s.hasher), ret->blob_digest);
    }
    sink_free(s.sink);
    hasher_free(s.hasher);
    return r;
}

int stream_copy(int in_fd, int out_fd, uint64_t max_bytes, char *ret_digest, uint64_t *ret_bytes,
                struct berth_error *err)
{
    autofree unsigned char *block = malloc(STREAM_BLOCK);
    autohasher struct hasher *hasher = hasher_new();
    if (!block || !hasher)
        return fail_memory(err);
    uint64_t total = 0;
    for (;;) {
        ssize_t n = RETRY(read(in_fd, block, STREAM_BLOCK));
        if (n < 0)
            return fail_os(err, errno, "", "read");
        if (n == 0)
            break;
        total += (uint64_t)n;
        if (total > max_bytes)
            return fail(err, BERTH_TOO_BIG, "", "more than the %llu bytes it should have", (unsigned long long)max_bytes);
        hasher_add(hasher, block, (size_t)n);
        int r = out_fd >= 0 ? put(out_fd, block, (size_t)n, "a copy", err) : 0;
        if (r < 0)
            return r;
    }
    if (ret_digest)
        hasher_end(TAKE(hasher), ret_digest);
    if (ret_bytes)
        *ret_bytes = total;
    return 0;
}
