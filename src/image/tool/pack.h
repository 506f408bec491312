/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files below a folder become a tar stream: the same bytes for the same files, every time.
 */
#ifndef TOOL_PACK_H
#define TOOL_PACK_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pack_options {
    bool overlay;  /* also what only overlayfs understands, as it is: for comparing layers */
    bool changes;  /* the folder is overlayfs's upper one: what it hides becomes whiteouts of a layer */
    /** Not this one, nor what is below it. `user` is left_out; the path has no leading "/". NULL: everything. */
    bool (*leave_out)(const void *user, const char *path);
    const void *left_out;
    bool one_mount; /* leave out what is mounted below */
    const char *name; /* of the packed thing in the archive; NULL: its content becomes the archive's root */
};
struct pack_result { uint64_t entries, bytes; int64_t newest_sec; };

typedef int pack_write(void *user, const void *data, size_t size, struct berth_error *err);

/** Pack NAME in folder_fd ("." for the folder itself), never following links. Changes the working folder. */
int pack_tar(int folder_fd, const char *name, const struct pack_options *options, pack_write *write, void *user,
             struct pack_result *ret, struct berth_error *err);

#endif
