/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes on their way: hashed, inflated, deflated, counted. No file names, no tar.
 */
#ifndef TOOL_STREAM_H
#define TOOL_STREAM_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DIGEST_TEXT (7 + 64 + 1) /* "sha256:HEX" and NUL */
#define STREAM_BLOCK (256u << 10)

/* ---- hashes */
struct hasher;
struct hasher *hasher_new(void);
void hasher_add(struct hasher *h, const void *data, size_t size);
/** Ends and frees it. */
void hasher_end(struct hasher *h, char ret_digest[DIGEST_TEXT]);
void hasher_free(struct hasher *h);
static inline void cleanup_hasher(struct hasher **h) { hasher_free(*h); }
#define autohasher __attribute__((cleanup(cleanup_hasher)))

void digest_of(const void *data, size_t size, char ret_digest[DIGEST_TEXT]);

enum compression { PLAIN, GZIP, ZSTD };
/** By the first bytes; UNSUPPORTED names bzip2 and xz. */
int compression_of(const unsigned char *head, size_t size, enum compression *ret, struct berth_error *err);

/* ---- what a stream has become */
struct stream_result {
    char plain_digest[DIGEST_TEXT], blob_digest[DIGEST_TEXT];
    uint64_t plain_bytes, blob_bytes;
    int compression; /* of the blob */
};

struct stream_options {
    uint64_t max_bytes; /* inflated */
    /** The next bytes, 0 at the end, negative: failed. NULL: in_fd is read. */
    ssize_t (*read)(void *user, void *buffer, size_t room, struct berth_error *err);
    void *user;
    bool verified; /* whoever brings the bytes has hashed them: blob_digest stays empty */
    int large_fd;  /* locked before a zstd window above 8 MiB is made: one such at a time. -1: not */
};

/**
 * Read `in_fd` to its end, inflate what is compressed; plain bytes go to `out_fd`, the compressed ones
 * to `blob_fd`; either may be -1. With `deflate`, what was plain is compressed (gzip) for the blob.
 */
int stream_inflate(int in_fd, int out_fd, int blob_fd, bool deflate, const struct stream_options *options,
                   struct stream_result *ret, struct berth_error *err);

/** The other way: a sink for plain bytes, hashed, passed on and kept compressed, as they come. */
struct stream_sink;
int sink_open(int out_fd, int blob_fd, enum compression blob, struct stream_sink **ret, struct berth_error *err);
int sink_write(struct stream_sink *s, const void *data, size_t size, struct berth_error *err);
/** Ends the compressed stream, fills `ret`, frees. */
int sink_close(struct stream_sink *s, struct stream_result *ret, struct berth_error *err);
void sink_free(struct stream_sink *s);

/** Copy a whole file, or what is left of it; `ret_digest` (NULL allowed) of what was copied. */
int stream_copy(int in_fd, int out_fd, uint64_t max_bytes, char *ret_digest, uint64_t *ret_bytes,
                struct berth_error *err);

#endif
