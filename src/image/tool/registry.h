/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registries, as whoever pulls or pushes sees them: the one place of berth that speaks HTTP to them.
 *
 * A `struct registry` is one repository at one registry, with its mirrors, credentials, CAs and the
 * connections that are open to it. It is prepared outside of the jail (files of the host, credential
 * helpers), carried into it by fork, and used there by one thread: everything below `registry_connect`
 * runs in the network's jail (jail_enter_network, jail_lock_network: the host's network, no capability,
 * no file but those it was given).
 *
 * What is asked for is asked of each source in turn, mirrors first, the registry itself last. A source
 * that answers 429 or 5xx, breaks off or falls silent is asked again with growing pauses, up to a cap;
 * one that lies (digest, size, media type) is not: the next is asked. Redirects are followed here, never
 * from https to http, and never with the credentials of another host.
 */
#ifndef TOOL_REGISTRY_H
#define TOOL_REGISTRY_H

#include "image/image.h"
#include "image/tool/manifest.h"
#include "image/tool/stream.h"
#include "image/tool/work.h"
#include <poll.h>

struct registry;

/* ---- outside of the jail ------------------------------------------------------------------------ */

#define REGISTRY_PUSH 1u  /* rights to write are asked for; mirrors are not used */
#define REGISTRY_LOGIN 2u /* the logins that are kept are not looked for */

/**
 * Find out how `reference` is reached: settings (w->settings, certs.d), credentials, proxies. Reads files
 * and runs credential helpers (bounded in time and output); opens no connection. `reference` is copied.
 * DENIED when the settings block this registry.
 */
int registry_prepare(struct work *w, const struct reference *reference, unsigned flags, struct registry **ret,
                     struct berth_error *err);
/** Also what is under way. NULL is allowed. */
void registry_free(struct registry *r);
static inline void cleanup_registry(struct registry **r) { registry_free(*r); }
#define autoregistry __attribute__((cleanup(cleanup_registry)))

/* ---- in the jail -------------------------------------------------------------------------------- */

/** Once, before anything below; in the process that goes on to use it. No traffic yet. */
int registry_connect(struct registry *r, struct berth_error *err);

/** A manifest or an index, exactly as it came. */
struct registry_document {
    char *bytes;                 /* NUL behind them */
    size_t size;
    char digest[DIGEST_TEXT];    /* of these bytes */
    char *media_type;            /* Content-Type without parameters; "" when it says nothing (application/json) */
};
void registry_document_clear(struct registry_document *d);

/**
 * Get the manifest or index `name`: a tag, a digest, or NULL: what the reference says (its digest when it has
 * both). At most IMAGE_MAX_MANIFEST_BYTES. Checked: the digest, when one was asked for; Docker-Content-Digest;
 * that it is JSON (no key twice) and one thing (document_kind: Content-Type against mediaType, CVE-2021-41190).
 * NOT_FOUND: no such tag or repository; DENIED: credentials are missing or refused (says `berth login HOST`).
 */
int registry_manifest(struct registry *r, const char *name, struct registry_document *ret, struct berth_error *err);
/** The same, and from indexes on to the manifest for `platform`. `ret_top` (NULL allowed) is the digest that the
 *  tag itself has: what registry_digest() gives later. An index in a circle, or deeper than 4, is CORRUPT. */
int registry_resolve(struct registry *r, const struct platform *platform, bool strict, struct registry_document *ret,
                     char ret_top[DIGEST_TEXT], struct berth_error *err);
/** What digest the reference's tag has now, by one HEAD (a GET where the registry does not say it). */
int registry_digest(struct registry *r, char ret_digest[DIGEST_TEXT], struct berth_error *err);
/** A small blob (an image's config) into memory, digest and size checked. NUL behind it. */
int registry_blob(struct registry *r, const char *digest, uint64_t size, size_t max, char **ret_bytes, struct berth_error *err);

/* ---- large blobs: any number at once, in this one thread ------------------------------------------ */

/**
 * Where the bytes of a blob go. Called from registry_step().
 */
struct registry_sink {
    void *data;
    /** The next bytes, which begin at `offset` of the blob. Negative: give up, err says why. */
    int (*write)(void *data, const void *bytes, size_t size, uint64_t offset, struct berth_error *err);
    /** What was written is worth nothing (a source lied, or a partial file was wrong): begins again at 0. */
    int (*restart)(void *data, struct berth_error *err);
};

struct registry_transfer;

/**
 * Begin to get a blob. `size` is what its descriptor says: not a byte more is taken. With `offset` > 0 the first
 * bytes are here already (a partial file of a pull that was killed), to be read from `have_fd` for the
 * digest; the rest is got by Range. `digest` and the sink are copied.
 */
int registry_transfer_begin(struct registry *r, const char *digest, uint64_t size, uint64_t offset, int have_fd,
                            const struct registry_sink *sink, struct registry_transfer **ret, struct berth_error *err);
enum transfer_state { TRANSFER_RUNS, TRANSFER_DONE, TRANSFER_FAILED };
/** FAILED fills err. DONE: all bytes are written, and the digest is right. */
enum transfer_state registry_transfer_state(const struct registry_transfer *t, struct berth_error *err);
void registry_transfer_free(struct registry_transfer *t);

/**
 * Let everything move on; wait at most `timeout_msec` (-1: until something happens) for traffic or for one of
 * the caller's own `fds` (their revents are set). Returns when a transfer has ended, something moved, a
 * descriptor of the caller is ready or the time is over. Negative only when nothing can work any more.
 */
int registry_step(struct registry *r, struct pollfd *fds, size_t n, int timeout_msec, struct berth_error *err);

/* ---- pushing -------------------------------------------------------------------------------------- */

/** A blob that the registry shall have. */
struct registry_piece {
    const char *digest;
    uint64_t size;
    int fd;                    /* to send: its bytes, from the first on */
    char *const *neighbours;   /* repositories of the same registry that may have it, NULL at the end (NULL: none) */
    /** NULL allowed: "ask", "there"; "send", "sent". */
    void (*tell)(void *data, const char *step, const struct registry_piece *piece);
    void *data;
    bool there;
};
/** Find out which are there, or can be taken from a neighbour: `there`. Some beside each other. */
int registry_ask_all(struct registry *r, struct registry_piece *pieces, size_t n, struct berth_error *err);
/** Send them all, some beside each other; a broken connection goes on where the registry says it is. */
int registry_send_all(struct registry *r, struct registry_piece *pieces, size_t n, struct berth_error *err);
/** Put a manifest under `name`, a tag or a digest (NULL: the reference's). The digest that the registry gives must be ours. */
int registry_put_manifest(struct registry *r, const char *name, const char *media_type, const char *bytes, size_t size,
                          struct berth_error *err);

/* ---- login ---------------------------------------------------------------------------------------- */

/** Does it open for the login it was prepared with? DENIED when it refuses. */
int registry_check_login(struct registry *r, struct berth_error *err);

/** Name of the registry for messages: "registry.example:5000". Valid as long as r. */
const char *registry_name(const struct registry *r);

#endif
