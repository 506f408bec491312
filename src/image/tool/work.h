/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the applets of berth-image share: the options, the way to answer, making and keeping images.
 */
#ifndef TOOL_WORK_H
#define TOOL_WORK_H

#include "image/record.h"
#include "image/tool.h"
#include "image/tool/stream.h"
#include "image/tool/unpack.h"
#include "model/settings.h"
#include <jansson.h>
#include <signal.h>

struct platform { char os[32], architecture[32], variant[32]; };

/** The process that speaks to registries. */
struct fetcher { int socket_fd; pid_t pid; };

struct work {
    /* options */
    bool module, module_text; /* import: the source is a WebAssembly module; in text form */
    const char *reference, *config, *platform_text, *format, *folder;
    const char *settings;   /* berth.toml, for its [registries]; NULL: $BERTH_CONFIG, /etc/berth/berth.toml */
    const char *message, *author; /* commit */
    const char *policy;     /* pull: always, missing, newer */
    bool progress, unnamed, unused, blobs, has_platform;
    struct platform platform;
    uint64_t max_bytes, max_entries;
    char **arguments;
    /* prepared outside of the jail */
    const char *root, *run;
    struct settings *berth_toml; /* of the applets that read names or speak to registries */
    struct store *store;
    int images_fd;          /* ROOT/images; in the jail /images */
    char aside[80];         /* below it: what is being made, thrown away at the end */
    int aside_fd;           /* lock of it: who made it lives */
    size_t at_once;         /* layers; 0: as many as there are processors */
    struct fetcher fetcher; /* pull */
    struct reference *pulled;
    bool here;              /* pull: nothing is to do */
    bool put;               /* layers are in the store that no record names yet */
    int gc_high, gc_low;    /* percent */
    int source_fd;          /* file, or -1 */
    int folder_fd;          /* folder (source, target), or -1; in the jail /source or /target */
    int root_fd;            /* a workload's root, or -1 when it does not run */
    int place_fd;           /* where something may be mounted in a namespace of our own */
    struct workload *workload;
    struct plan *plan;
    const struct applet *applet;
    char *partial;          /* save: the file beside the target that is being written */
    const char *source;     /* as given, without a form's prefix */
    char *config_text;      /* contents of --config */
    struct record *base;    /* commit: the image that the workload was made of */
    char *source_name;      /* for images whose archive says only a tag */
    const char *wanted;     /* which image of the archive: a tag or name, NULL all */
    struct unpack_options unpack;
    struct registry *registry; /* push, login: whom to speak to */
    struct push *push;
    struct login *login;
};

/** The signals that cancel: blocked while something is begun. */
sigset_t cancel_signals(void);

/* ---- answers */
/** One result line; takes `line`. */
void answer(json_t *line);
void progress(const struct work *w, const char *step, const char *object, uint64_t bytes);
/** The same where it is known how many bytes there will be. */
void progress_of(const struct work *w, const char *step, const char *object, uint64_t bytes, uint64_t total_bytes);

/* ---- platforms */
int platform_parse(const char *text, struct platform *ret, struct berth_error *err);
void platform_here(struct platform *ret);

/* ---- documents */
/** Read a JSON document of at most `max` bytes; digest and size checked when given (NULL, 0: not). */
int document_read(int folder_fd, const char *path, size_t max, const char *digest, uint64_t size,
                  char **ret_data, size_t *ret_size, json_t **ret_document, struct berth_error *err);
/** Open a file that an archive names, below folder_fd, links followed within. */
int open_below(int folder_fd, const char *path, struct berth_error *err);
const char *layer_media_type(int compression);
/** "blobs/sha256/HEX" of a valid digest; into ret. */
void blob_path(const char *digest, char ret[96]);

/* ---- layers */
struct layer {
    /* wanted: "" or 0 is not known */
    char diff_id[DIGEST_TEXT], blob[DIGEST_TEXT];
    uint64_t blob_bytes;
    int in_fd;            /* the blob or tar; -1: pack folder_fd */
    int folder_fd;
    bool module;          /* no tar: one file, a WebAssembly module */
    bool text;            /* which may be in text form */
    bool deflate;         /* keep a plain one compressed */
    bool unpack, keep;    /* what is needed of it: files, blob */
    bool fetch;           /* in_fd is the file that the fetcher fills */
    int notes_fd;         /* and what the fetcher says about it */
    const char *what;     /* for messages */
    /* made */
    struct stream_result stream;
    uint64_t entries, size_bytes, tar_bytes;
    int64_t newest_sec;
    int number;           /* aside/OP/layer-N, blob-N */
    bool unpacked, kept;
    bool known;           /* was here, unpacked, before */
    bool busy;            /* somebody else makes it just now */
    bool done;            /* in the store */
};
/** Do all, w->at_once beside each other. */
int layers_make(struct work *w, struct layer *layers, size_t n, struct berth_error *err);
/** What layer.json says of an unpacked layer; -ENOENT, -ESTALE for one that a power cut may have torn. */
int layer_known(int images_fd, struct layer *layer);
/** Its files are on disk: layer.json says so from now on. -errno */
int layer_settled(int images_fd, const char *diff_id);

/** An image whose layers are made or known, lowest first; `manifest` NULL: one is made (OCI). */
struct draft {
    char *const *references;    /* normal forms; none: an image without a name */
    const char *config;
    size_t config_size;
    const char *manifest;
    size_t manifest_size;
    struct layer *layers;
    size_t *order, n_order;     /* the image's layers as indexes of `layers` */
    int64_t created_usec;       /* 0: as the config says */
    const char *source;         /* record.source */
    bool wasm;                  /* an artifact, whose config need not say that it is one */
};
/**
 * Put it into the store, the records last; they say that it is not on disk yet: store_settle() follows.
 * Answers {"reference","id"} for each name.
 */
int draft_commit(struct work *w, struct draft *d, struct berth_error *err);

/** Of a layer to be fetched: open its file, ask the fetcher for it. */
int pull_layer(struct work *w, struct layer *l, struct berth_error *err);

/** From now on no collector takes these layers and blobs (of a manifest and config too; may be NULL). */
int need_layers(struct work *w, const struct layer *layers, size_t n, const char *manifest, const char *config,
                struct berth_error *err);
/** What was written in this boot is on disk after this, and the records say so. */
int store_settle(int images_fd, struct berth_error *err);

/**
 * Lock the layers that are not `done` against other processes that make the same; `busy`: somebody has it. With `wait`
 * the first of them is waited for: nobody waits while he holds one, so nobody waits for what he does not need.
 */
int lock_layers(struct work *w, struct layer *layers, size_t n, bool wait, int *ret_fd, struct berth_error *err);
/** What is made of them into the store, before there is a record: `needs` keeps it. Then others can have their locks. */
int layers_put(struct work *w, struct layer *layers, size_t n, struct berth_error *err);

/* ---- applets: prepare runs outside, run in the jail */
int import_prepare(struct work *w, struct berth_error *err);
int import_run(struct work *w, struct berth_error *err);
int load_prepare(struct work *w, struct berth_error *err);
int load_run(struct work *w, struct berth_error *err);
int pull_prepare(struct work *w, struct berth_error *err);
int pull_run(struct work *w, struct berth_error *err);
int pull_finish(struct work *w, bool done, struct berth_error *err);
int save_prepare(struct work *w, struct berth_error *err);
int save_run(struct work *w, struct berth_error *err);
int save_finish(struct work *w, bool done, struct berth_error *err);
int verify_run(struct work *w, struct berth_error *err);
/** berth.toml: `given`, else $BERTH_CONFIG (these must be there), else /etc/berth/berth.toml (which need not).
 *  INVALID names file, line and key. settings_free() */
int settings_load(const char *given, struct settings **ret, struct berth_error *err);
int settings_tell(const char *given, struct berth_error *err);
/** What berth.toml says of image_gc, in percent; 0: nothing. */
void gc_limits(const struct work *w, int *ret_high, int *ret_low);
/** Of a file system that is full to `high` images go that nothing uses, the longest unused first, until it is at `low`. */
void gc_run(struct work *w, int high, int low);
/** image_collect(), and what it threw away is deleted. */
int collect_now(struct work *w, bool unnamed, bool unused, char **ret_report, struct berth_error *err);
int push_prepare(struct work *w, struct berth_error *err);
int push_enter(struct work *w, struct berth_error *err);
int push_run(struct work *w, struct berth_error *err);
/** Behind the answer, whatever it was: what was pruned here and fetched is beside its layer again. */
void push_keep(struct work *w);
int login_prepare(struct work *w, struct berth_error *err);
int login_enter(struct work *w, struct berth_error *err);
int login_run(struct work *w, struct berth_error *err);
int login_finish(struct work *w, bool done, struct berth_error *err);
int credentials_prepare(struct work *w, struct berth_error *err);
int logout_prepare(struct work *w, struct berth_error *err);
int collect_prepare(struct work *w, struct berth_error *err);
/** The workload of arguments[0], which must not run, nor be started until the end of this. */
int workload_hold(struct work *w, struct berth_error *err);
/** For pack_options.leave_out: something is mounted there by this plan. */
bool is_mounted(const void *plan, const char *path);
int commit_prepare(struct work *w, struct berth_error *err);
int commit_run(struct work *w, struct berth_error *err);
/** The --config option's text, or that of its file, into w->config_text. */
int read_config_option(struct work *w, struct berth_error *err);
int workload_prepare(struct work *w, struct berth_error *err);
int workload_enter(struct work *w, struct berth_error *err);
int export_run(struct work *w, struct berth_error *err);
int copy_out_run(struct work *w, struct berth_error *err);
int copy_in_run(struct work *w, struct berth_error *err);
int diff_prepare(struct work *w, struct berth_error *err);
int diff_enter(struct work *w, struct berth_error *err);
int diff_run(struct work *w, struct berth_error *err);

#endif
