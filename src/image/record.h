/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of one image: what ROOT/images/refs holds, a file for each reference.
 *
 * Two lines of JSON. The first is short and is all that lists need; the second is the image's config
 * without its history. An image that lost its last name while a workload used it, or never had one,
 * has a record named by its id.
 */
#ifndef IMAGE_RECORD_H
#define IMAGE_RECORD_H

#include "image/image.h"
#include <jansson.h>

#define RECORD_MAX_BYTES (9u << 20)

struct record {
    char *reference;      /* normal form; "" for an image without a name */
    char *manifest;       /* digests, "sha256:HEX" */
    char *id;             /* of the config */
    char **diff_ids;      /* lowest first, as the config says: one may come twice */
    char **blobs;         /* the compressed layers, in the same order */
    char *source;         /* digest that the registry's tag had: an index's or the manifest's; NULL: not pulled */
    char *boot;           /* not yet on disk: of the boot that it was written in; NULL: it is */
    char *architecture, *os, *variant;
    int64_t created_usec, used_usec;
    uint64_t size_bytes;
};

/**
 * The id of this boot, kept after the first time ("" when it can't be read). What was written in another
 * boot and never synced may be torn: it counts as absent. doc/adr/0010-images-are-synced-afterwards.md
 */
const char *boot_id(void);

/** "sha256:" and 64 lower-case hex digits: then it may become part of a path. */
bool digest_valid(const char *s);

void record_clear(struct record *r);
/** File name below refs/ for a reference in normal form, or for an id when it is "". NULL: no memory. */
char *record_file(const char *reference, const char *id);
/**
 * Read refs/FILE of the images folder `images_fd`. `ret_settings` (may be NULL): the second line.
 * -ENOENT, -EBADMSG for a damaged one, -ESTALE for one that was not synced before another boot, -errno.
 */
int record_read(int images_fd, const char *file, struct record *ret, json_t **ret_settings);
/** Write it, durably unless `r` says in which boot. An image that had this name until now keeps a record without one. */
int record_write(int images_fd, const struct record *r, const json_t *settings, struct berth_error *err);
/** Names of all files in refs/ that are records; an empty list when there is none. */
int record_files(int images_fd, char ***ret_files, struct berth_error *err);
/** Take the name `file` away; the image keeps a record by its id if no other name is left and `keep`. */
int record_unname(int images_fd, const char *file, bool keep, struct berth_error *err);

/** 1 when the image `id` has another record than `file`, else 0. */
int record_others(int images_fd, const char *file, const char *id, struct berth_error *err);

/** Open ROOT/images; -ENOENT when there is none. */
int images_open(struct store *store);
/** The record of what `text` means: a reference, an id, a prefix of one. NOT_FOUND, INVALID. */
int record_find(int images_fd, const struct reference_defaults *defaults, const char *text, char **ret_file, struct record *ret,
                json_t **ret_settings, struct berth_error *err);

/**
 * The lock of the images folder. Shared: by everybody who adds or uses something, for as long as it is
 * not yet named by a record or lease. Exclusive: by who removes, for a few milliseconds. Closing the
 * descriptor releases it. With `wait` it waits for the others, else BERTH_AGAIN.
 */
int images_lock(int images_fd, bool exclusive, bool wait, int *ret_fd, struct berth_error *err);

#endif
