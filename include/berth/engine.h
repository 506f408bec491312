/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine.h: for those who implement an engine.
 *
 * An engine is one constant table of functions over an opaque `self`. Fill in what it can do, leave
 * the optional rest NULL, register the table; the front desk (berth.h) checks arguments, fills the
 * gaps with default answers and makes the blocking form of every verb out of the pollable one. An engine
 * whose workloads are processes of this machine need not write the verbs: process.h.
 */
#ifndef BERTH_ENGINE_H
#define BERTH_ENGINE_H

#include <berth/berth.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A call as its engine sees it. `step` does whatever can be done now without waiting.
 *
 * step:   1 finished (result filled, owned members handed over), 0 not yet, negative: failed.
 * cancel: the caller lost interest, see berth_call_cancel; step is called again afterwards.
 * free:   release `data`; the call has finished or was cancelled.
 * stream_fd, close_stdin, resize, signal, let_go: for exec and attach; NULL otherwise. A create that fetches its
 *         image first may have stream 2: progress, JSON objects a line, for whoever reads it.
 */
struct berth_call_ops {
    size_t size;
    int (*step)(void *data, struct berth_result *ret_result, struct berth_error *err);
    void (*cancel)(void *data);
    void (*free)(void *data);
    int (*stream_fd)(void *data, int stream);
    void (*close_stdin)(void *data);
    int (*resize)(void *data, uint16_t rows, uint16_t columns, struct berth_error *err);
    int (*signal)(void *data, int signal, struct berth_error *err);
    /** undo a finished create whose result nobody took; NULL when there is nothing to undo */
    void (*undo)(void *data);
    /** exec: it goes on without its call; NULL: it can't */
    int (*let_go)(void *data, struct berth_error *err);
};

/**
 * Make a call. `fd` becomes readable when step should be tried; it stays `data`'s (an epoll
 * descriptor when there are several). -1 when the first step always finishes.
 * On failure `data` is freed through ops->free.
 */
BERTH_PUBLIC int berth_call_new(const struct berth_call_ops *ops, void *data, int fd,
                                struct berth_call **ret_call, struct berth_error *err);

/** A call that has finished already with `result` (or with failure `code`, and `failure` behind it). */
BERTH_PUBLIC int berth_call_done(int code, const struct berth_result *result,
                                 const struct berth_error *failure, struct berth_call **ret_call,
                                 struct berth_error *err);

/**
 * A stream around a readable descriptor, which becomes the stream's. `on_free` (may be NULL) is told
 * when the stream is freed.
 */
BERTH_PUBLIC int berth_stream_new(int fd, void (*on_free)(void *data), void *data,
                                  struct berth_stream **ret_stream, struct berth_error *err);

/** Write a failure: code, object (may be NULL) and a printf-like message. Returns `code`. */
BERTH_PUBLIC int berth_error_set(struct berth_error *err, int code, const char *object,
                                 const char *format, ...) __attribute__((format(printf, 4, 5)));

/**
 * Read a spec as berth's own engines do: unknown keys, wrong types and numbers out of range are INVALID
 * and name key and place (TOO_BIG above 4 MiB). `known` (NULL: all) names what this engine can honour, dotted
 * ("resources.memory"; "network" means all below it too): any other that is set is UNSUPPORTED by its
 * name. On success `ret_json` is the document again in its normal form; free(3).
 */
BERTH_PUBLIC int berth_spec_read(const char *spec_json, const char *const *known, char **ret_json,
                                 struct berth_error *err);

/**
 * The table. The verbs up to resolve_container_address must be there; the rest may be NULL, which
 * answers UNSUPPORTED; but for status_call (status, finished at once), find (among those of list) and inspect
 * (the status alone). Handles are checked for form and runtime before an engine sees them, options are
 * never NULL and of full size.
 *
 * What comes back is checked too, and nonsense becomes BERTH_CORRUPT: a code that is none, a success
 * without its call, stream, status, handle or text, text without an end, a state that there is not, a
 * handle of another engine, the status of another workload, a call under way that has nothing to poll.
 *
 * A status is malloc'ed, its `size` set, its handle that of the workload; `json` may be NULL: then the
 * front desk makes it of the members. Never write beyond `size` of a berth_stats.
 */
struct berth_engine {
    size_t size;          /**< sizeof(struct berth_engine) of the header it was built with */
    uint32_t abi_version; /**< BERTH_ABI_VERSION */
    const char *name;

    int (*open)(const struct berth_options *options, void **ret_self, struct berth_error *err);
    void (*close)(void *self);

    int (*create)(void *self, const char *spec_json, struct berth_call **ret_call,
                  struct berth_error *err);
    int (*start)(void *self, const struct berth_handle *handle, struct berth_call **ret_call,
                 struct berth_error *err);
    int (*stop)(void *self, const struct berth_handle *handle, int64_t timeout_msec,
                struct berth_call **ret_call, struct berth_error *err);
    int (*remove)(void *self, const struct berth_handle *handle,
                  const struct berth_remove_options *options, struct berth_call **ret_call,
                  struct berth_error *err);
    int (*status)(void *self, const struct berth_handle *handle, struct berth_status **ret_status,
                  struct berth_error *err);
    int (*logs)(void *self, const struct berth_handle *handle,
                const struct berth_logs_options *options, struct berth_stream **ret_stream,
                struct berth_error *err);
    int (*exec)(void *self, const struct berth_handle *handle, const char *const *argv,
                const struct berth_exec_options *options, struct berth_call **ret_call,
                struct berth_error *err);
    int (*stats)(void *self, const struct berth_handle *handle, struct berth_stats *ret_stats,
                 struct berth_error *err);
    int (*resolve_host_port)(void *self, const struct berth_handle *handle,
                             const struct berth_port *container_port,
                             struct berth_host_port *ret_port, struct berth_error *err);
    int (*resolve_container_address)(void *self, const struct berth_handle *handle,
                                     const struct berth_port *container_port, const char *network,
                                     char ret_address[BERTH_ADDRESS_TEXT], struct berth_error *err);

    /* optional */
    int (*find)(void *self, const char *name_or_prefix, struct berth_handle *ret_handle,
                struct berth_error *err);
    int (*list)(void *self, struct berth_handle **ret_handles, size_t *ret_count,
                struct berth_error *err);
    int (*wait)(void *self, const struct berth_handle *handle, struct berth_call **ret_call,
                struct berth_error *err);
    int (*signal)(void *self, const struct berth_handle *handle, int signal, struct berth_error *err);
    int (*attach)(void *self, const struct berth_handle *handle,
                  const struct berth_attach_options *options, struct berth_call **ret_call,
                  struct berth_error *err);
    int (*pause)(void *self, const struct berth_handle *handle, struct berth_error *err);
    int (*unpause)(void *self, const struct berth_handle *handle, struct berth_error *err);
    int (*update)(void *self, const struct berth_handle *handle, const char *patch_json,
                  struct berth_error *err);
    int (*rename)(void *self, const struct berth_handle *handle, const char *new_name,
                  struct berth_error *err);
    int (*restart)(void *self, const struct berth_handle *handle, int64_t timeout_msec,
                   struct berth_call **ret_call, struct berth_error *err);
    int (*events)(void *self, const struct berth_events_options *options,
                  struct berth_stream **ret_stream, struct berth_error *err);
    int (*inspect)(void *self, const struct berth_handle *handle, char **ret_json,
                   struct berth_error *err);
    int (*exec_list)(void *self, const struct berth_handle *handle, char **ret_json,
                     struct berth_error *err);
    int (*exec_kill)(void *self, const struct berth_handle *handle, uint64_t exec_id, int signal,
                     struct berth_error *err);
    int (*plan)(void *self, const char *spec_json, char **ret_json, struct berth_error *err);
    int (*status_call)(void *self, const struct berth_handle *handle, struct berth_call **ret_call,
                       struct berth_error *err);
};

/**
 * Make an engine known to berth_open under its own name, for the life of the process. The table must
 * live as long. INVALID when a mandatory verb is missing or the ABI differs, EXISTS for a name taken.
 */
BERTH_PUBLIC int berth_register(const struct berth_engine *engine, struct berth_error *err);

/**
 * What a shared object with an engine exports, written once in its sources: BERTH_ENGINE_EXPORT(table);
 * makes the one function that berth looks for, which answers the table and the ABI it was built for.
 * It is found as NAME.so, NAME being the table's, in the folder of others' engines.
 */
#define BERTH_ENGINE_EXPORT(table)                                                                 \
    BERTH_ENGINE_LINKAGE const struct berth_engine *berth_engine_entry(                            \
        uint32_t *ret_abi_version);                                                                \
    const struct berth_engine *berth_engine_entry(uint32_t *ret_abi_version)                       \
    {                                                                                              \
        *ret_abi_version = BERTH_ABI_VERSION;                                                      \
        return &(table);                                                                           \
    }                                                                                              \
    BERTH_ENGINE_LINKAGE const struct berth_engine *berth_engine_entry(                            \
        uint32_t *ret_abi_version)
#ifdef __cplusplus
#define BERTH_ENGINE_LINKAGE extern "C" __attribute__((visibility("default")))
#else
#define BERTH_ENGINE_LINKAGE __attribute__((visibility("default")))
#endif

/**
 * Load the shared object at `path`, for the life of the process, and register its engine under the name
 * in its table. It runs with all rights of this process: DENIED unless it, its folder and the folders
 * above belong to root or to the caller and nobody else may write them (above: or only as in /tmp).
 * INVALID: it can't be loaded, exports no entry, was built for another ABI, lacks a mandatory verb.
 * EXISTS: the name is taken.
 */
BERTH_PUBLIC int berth_load(const char *path, struct berth_error *err);

/**
 * Checked downcast, for headers of one engine: the `self` behind `runtime` if its engine is exactly
 * `engine`, else UNSUPPORTED.
 */
BERTH_PUBLIC int berth_runtime_self(struct berth_runtime *runtime, const struct berth_engine *engine,
                                    void **ret_self, struct berth_error *err);

#ifdef __cplusplus
}
#endif
#endif
