/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests and indexes, OCI's and docker's, checked before a digest in them becomes a path.
 */
#ifndef TOOL_MANIFEST_H
#define TOOL_MANIFEST_H

#include "image/tool/stream.h"
#include "image/tool/work.h"

#define INDEX_MAX_ENTRIES 1000
#define INDEX_MAX_DEPTH 4

enum document_kind { MANIFEST, INDEX };

struct descriptor { char digest[DIGEST_TEXT]; uint64_t size; const char *media_type; const json_t *json; };

struct manifest {
    json_t *document;  /* owns what the descriptors borrow */
    struct descriptor config;
    struct descriptor *layers;
    size_t n;
    bool wasm;         /* an artifact: its layers are modules, not tars */
};
void manifest_clear(struct manifest *m);

/** Digest, size, media type of a descriptor. */
int descriptor_read(const json_t *json, struct descriptor *ret, struct berth_error *err);
/** What a document is; `declared` (may be NULL) is the media type its descriptor gave. */
int document_kind(const json_t *document, const char *declared, const char *name, struct berth_error *err);
/** Takes the document, also on failure. */
int manifest_read(json_t *document, const char *name, struct manifest *ret, struct berth_error *err);
/** The descriptor of an index for this platform; NOT_FOUND names those that are there. */
int index_choose(const json_t *document, const struct platform *platform, bool strict, const char *name,
                 struct descriptor *ret, struct berth_error *err);
/** diff ids of a config, lowest first. */
int config_diff_ids(const json_t *config, char ***ret_diff_ids, struct berth_error *err);
/** The same for the layers of a manifest: as many. A module is its own: its digest. */
int manifest_diff_ids(const struct manifest *m, const json_t *config, const char *name, char ***ret_diff_ids, struct berth_error *err);

#endif
