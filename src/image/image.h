/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images as the library sees them: references, the local store, configurations. Reading only; what
 * unpacks or downloads runs in berth-helper (src/helper) on top of layer.h.
 *
 *   ROOT/images/blobs/sha256/HEX       manifests, configs, compressed layers, once each
 *   ROOT/images/layers/HEX/            unpacked, by diff id: fs/ (overlay's form) and layer.json
 *                                      of a WebAssembly artifact: fs/module.wasm, by its own digest
 *   ROOT/images/partial/HEX            a blob that is being fetched, or was when its pull was killed
 *   ROOT/images/aside/                 what is being made; its maker holds a lock in it
 *   ROOT/images/refs/ESCAPED.json      {"reference","manifest","config","layers":[diff ids],"created","size_bytes", ...}
 */
#ifndef IMAGE_IMAGE_H
#define IMAGE_IMAGE_H

#include "base/error.h"
#include "model/settings.h"
#include "store/store.h"
#include <stdbool.h>
#include <stdint.h>

/** A reference in its one normal form. */
struct reference { char *registry, *repository, *tag, *digest; };
/**
 * "nginx" -> docker.io/library/nginx:latest. INVALID says what is wrong with it. What people write is read with the
 * machine's `defaults`, also below; what others wrote (archives, normal forms) without (NULL).
 */
int reference_parse(const char *text, const struct reference_defaults *defaults, struct reference *ret, struct berth_error *err);
char *reference_print(const struct reference *r);     /* normal form */
/** As people write it, "nginx:1.27": with the same defaults it is read as what it was. */
char *reference_familiar(const struct reference *r, const struct reference_defaults *defaults);
/** INVALID: one of them is no registry or no tag; the error's object is its place in berth.toml. */
int reference_defaults_check(const struct reference_defaults *defaults, struct berth_error *err);
void reference_clear(struct reference *r);

struct image_pair { char *name, *value; };
struct image_config {           /* OCI image config, and docker's healthcheck and shell */
    char **entrypoint, **cmd, **env, **volumes, **exposed_ports, **shell;
    char *user, *workdir, *stop_signal, *architecture, *os, *variant, *created;
    struct image_pair *labels; size_t n_labels;
    struct { char **test; int64_t interval_usec, timeout_usec, start_period_usec, start_interval_usec; int retries; } health;
};
struct image {
    char *reference, *id;       /* familiar form; config digest "sha256:..." */
    char *digest;               /* of its manifest */
    char *name;                 /* the reference in normal form; "" has none */
    char **layers;              /* absolute paths of fs/, lowest first */
    char **diff_ids;
    struct image_config config;
    uint64_t size_bytes; int64_t created_usec, used_usec;
    bool wasm;
};
/** By any reference form, id or unambiguous id prefix. NOT_FOUND says how to get it ("berth image load|import", pull). */
int image_find(struct store *store, const struct reference_defaults *defaults, const char *reference, 
               struct image **ret_image, struct berth_error *err);
/** Is there an image of that name (or id), for that platform ("linux/arm64"; NULL: any)? One small file is read. */
bool image_is_here(struct store *store, const struct reference_defaults *defaults, const char *reference, const char *platform);
void image_free(struct image *image);
/** All of them, newest first, without their layers (NULL) and settings. */
int image_list(struct store *store, const struct reference_defaults *defaults, struct image ***ret_images, size_t *ret_n,
               struct berth_error *err);
/** The whole document for people: manifest, config, layers. free(3) */
int image_inspect(struct store *store, const struct reference_defaults *defaults, const char *reference, char **ret_json,
                  struct berth_error *err);
int image_config_parse(const char *json, size_t length, struct image_config *ret, struct berth_error *err);
void image_config_clear(struct image_config *c);
/** Workload `id` uses this image's layers: kept until lease_release_all(id). */
int image_use(struct store *store, const struct image *image, const char *id, struct berth_error *err);
int image_untag(struct store *store, const struct reference_defaults *defaults, const char *reference, bool force,
                struct berth_error *err);
int image_tag(struct store *store, const struct reference_defaults *defaults, const char *source, const char *target,
              struct berth_error *err);
/** Remove what no reference and no workload needs (blobs, layers); to trash, report as JSON. */
/** Bytes that image_collect with all_unused would free. */
int image_spare(struct store *store, uint64_t *ret_bytes, struct berth_error *err);
int image_collect(struct store *store, bool unnamed_only, bool all_unused, char **ret_json, struct berth_error *err);

/** Compressed layers go, images stay: they run as before, can't be saved, and a push fetches them again. Report as image_collect(). */
int image_prune_blobs(struct store *store, char **ret_json, struct berth_error *err);
/**
 * Take the name away (and the image, if it was its last) that was used longest ago, of those whose image no workload
 * uses, but never `keep` (normal form, NULL allowed). 1 and its name ("" had none) and id, 0 when there is none.
 */
int image_remove_oldest(struct store *store, const char *keep, char **ret_name, char **ret_id, struct berth_error *err);

#endif
