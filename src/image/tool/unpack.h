/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tar stream becomes files below one folder, whatever the stream says.
 */
#ifndef TOOL_UNPACK_H
#define TOOL_UNPACK_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

struct unpack_options {
    bool layer;            /* whiteouts become overlayfs's, what is in the way is replaced */
    bool archive;          /* only folders, files and links to files are made; owners are ours */
    uint64_t resolve;      /* RESOLVE_* for names of folders, besides RESOLVE_NO_MAGICLINKS */
    uint64_t max_entries, max_bytes;
};

struct unpack_result { uint64_t entries, bytes; int64_t newest_sec; };

/**
 * Unpack the plain tar from `in_fd` (read to its end) below the folder `root_fd`. The process's working
 * folder changes. On failure what was made stays: the caller throws the folder away. NO_SPACE: `ret` says
 * what the whole archive would have taken, in files and in bytes of whole blocks; it was read to its end for that.
 */
int unpack_tar(int in_fd, int root_fd, const struct unpack_options *options, struct unpack_result *ret,
               struct berth_error *err);

#endif
