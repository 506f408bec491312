/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process that has the network, as the jail sees it: it is asked over a socket, with a descriptor
 * to write to. It knows no folder of the store; what it brings is bytes.
 */
#ifndef TOOL_FETCH_H
#define TOOL_FETCH_H

#include "image/tool/work.h"

/** Outside, before the jail: start it for `reference`. *ret_fd is the socket to it. */
int fetch_start(struct work *w, const struct reference *reference, struct fetcher *ret, struct berth_error *err);
/** It ends when nobody has its socket any more: wait for that. */
void fetch_stop(struct fetcher *f);

/* ---- in the jail: one question at a time */

/** What digest the tag has now. */
int fetch_digest(int socket_fd, char ret_digest[DIGEST_TEXT], struct berth_error *err);
/** The manifest for a platform, written to `out_fd`; `ret_top`: the digest that the tag has. */
int fetch_manifest(int socket_fd, const struct platform *platform, bool strict, int out_fd, char ret_digest[DIGEST_TEXT],
                   char ret_top[DIGEST_TEXT], struct berth_error *err);
/** A small blob, its digest and size checked, written to `out_fd`. */
int fetch_document(int socket_fd, const char *digest, uint64_t size, size_t max, int out_fd, struct berth_error *err);

/**
 * Begin to fetch a blob into `file_fd`, whose first `offset` bytes are there. Does not wait: what happens is
 * told in notes through `notes_fd`, the write end of a pipe.
 */
int fetch_blob(int socket_fd, const char *digest, uint64_t size, uint64_t offset, int file_fd, int notes_fd, struct berth_error *err);

/** Reads a blob that is being fetched, as far as it is there; waits for more. */
struct fetched { int file_fd, notes_fd; uint64_t at; bool whole, failed; };
/**
 * For stream_options.read; `user` is a struct fetched. 0: the whole blob was read, and its digest is right.
 * BERTH_AGAIN: what was read was wrong, begin again from the first byte.
 */
ssize_t fetched_read(void *user, void *buffer, size_t room, struct berth_error *err);
/** Wait for the end without reading: 0, AGAIN, or why it failed (once: 0 when fetched_read() said so). */
int fetched_wait(struct fetched *f, struct berth_error *err);

#endif
