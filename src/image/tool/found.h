/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An image that was found somewhere, an archive or a registry, on its way into the store.
 */
#ifndef TOOL_FOUND_H
#define TOOL_FOUND_H

#include "image/tool/work.h"

struct found {
    char *config, *manifest; /* documents as bytes; manifest NULL: docker's archive */
    size_t config_size, manifest_size;
    struct layer *layers;
    size_t *order, n_layers, n_order;
    bool wasm;               /* layers are modules */
    unsigned rounds;         /* of found_look() */
    char **references;       /* names to give, in normal form */
};

void found_clear(struct found *f);
int found_room(struct found *f, size_t n_layers, struct berth_error *err);
/** Add the next layer: the new one, or NULL when it was there before (same content, same blob) and is only named again. */
struct layer *found_layer(struct found *f, const char *diff_id, const char *blob, uint64_t blob_bytes);
/**
 * From here on no collector takes what of it is here, and nobody else makes its layers, but for those that are `busy`:
 * *ret_locks_fd. Then decide what has to be done for each: `unpack`, `keep`. The second time it waits for one of those.
 */
int found_look(struct work *w, struct found *f, int *ret_locks_fd, struct berth_error *err);
/**
 * Make the layers, put the image into the store. `source`: digest of the registry's tag, or NULL. 1: all but the busy
 * ones are in the store; let go of the locks, look again.
 */
int found_make(struct work *w, struct found *f, const char *source, struct berth_error *err);
/** Both. */
int found_store(struct work *w, struct found *f, struct berth_error *err);

#endif
