/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth.h: run workloads on Linux through one interface, a name and ten verbs.
 *
 * This is all that a caller needs. engine.h is for those who implement an engine,
 * container.h and fake.h hold what one engine alone can do.
 */
#ifndef BERTH_BERTH_H
#define BERTH_BERTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Rules that hold for every function here.
 *
 * - It returns 0 (or a documented non-negative value) on success, a negative enum berth_code on
 *   failure. `err` may be NULL; it is written only on failure and holds no pointers.
 * - `T **ret_x` is the caller's on success and untouched on failure. `const T *` is borrowed for
 *   the duration of the call. Every `_free` function accepts NULL.
 * - Structs that may grow begin with `size`; set it to sizeof(the struct) and zero the rest, which
 *   always means "the default". NULL in place of an options struct means all defaults.
 * - A runtime may be used by many threads at once; a call or a stream by one at a time.
 * - The library starts no thread, installs no signal handler, never touches the process's
 *   SIGCHLD, umask, working directory, environment or descriptors other than its own, and its
 *   children are invisible to the host's wait(-1).
 */

/** Version of this header's binary interface. An engine's table carries the one it was built for. */
#define BERTH_ABI_VERSION 1

#if defined(__GNUC__)
#define BERTH_PUBLIC __attribute__((visibility("default")))
#else
#define BERTH_PUBLIC
#endif

/** What went wrong, coarsely enough to act on. Values never change; 0 is success. */
enum berth_code {
    BERTH_OK = 0,
    BERTH_INVALID = -1001,       /**< the request itself is wrong: a bad spec, name, argument */
    BERTH_NOT_FOUND = -1002,     /**< no such workload, image, network, volume, user, file */
    BERTH_EXISTS = -1003,        /**< the name (or port, or address) is taken */
    BERTH_WRONG_STATE = -1004,   /**< not possible in the state that the workload is in */
    BERTH_UNSUPPORTED = -1005,   /**< this engine (or this build) does not do that */
    BERTH_DENIED = -1006,        /**< a capability or permission is missing; the message says which */
    BERTH_NO_MEMORY = -1007,     /**< memory ran out */
    BERTH_NO_SPACE = -1008,      /**< the disk, its inodes or a quota is full */
    BERTH_TIMED_OUT = -1009,     /**< a deadline passed */
    BERTH_CANCELLED = -1010,     /**< cancelled by the caller; create and start were undone */
    BERTH_AGAIN = -1011,         /**< not finished yet: poll the descriptor and call again */
    BERTH_IO = -1012,            /**< the system failed us; the message names call and file */
    BERTH_CORRUPT = -1013,       /**< what we read back, or what an engine answered, is damaged or makes no sense */
    BERTH_NO_PROGRAM = -1014,    /**< the program to run was not found (exit code 127) */
    BERTH_NOT_EXECUTABLE = -1015,/**< found, but it can't be executed (exit code 126) */
    BERTH_NO_KERNEL = -1016,     /**< the kernel lacks a feature; the message says which, and what to do */
    BERTH_LOST = -1017,          /**< the other side (supervisor, helper, daemon) went away */
    BERTH_TOO_BIG = -1018        /**< above a ceiling that protects us */
};

/** One failure, as a value: may be copied, sent through a pipe, kept. */
struct berth_error {
    int32_t code;        /**< an enum berth_code */
    int32_t os_error;    /**< errno behind it, or 0 */
    char object[136];    /**< what it is about: a name, an id, a path, a spec field; may be "" */
    char message[880];   /**< one line, UTF-8, no newline, for people */
};

/** The constant's name without its prefix: "NOT_FOUND"; "OK" for 0; "UNKNOWN" for anything else. */
BERTH_PUBLIC const char *berth_code_name(int code);

/** Version of the library at run time, for example "0.1.0". */
BERTH_PUBLIC const char *berth_version(void);

/* ---- runtimes -------------------------------------------------------------------------------- */

struct berth_runtime;

/** Where a runtime keeps its things. Zero or NULL means the default. */
struct berth_options {
    size_t size;
    const char *root;      /**< state that lasts; $BERTH_ROOT, then /var/lib/berth */
    const char *run;       /**< state of this boot; $BERTH_RUN, then /run/berth */
    const char *config;    /**< berth.toml; $BERTH_CONFIG, then /etc/berth/berth.toml, which may be absent */
    const char *programs;  /**< folder of berth-supervisor and berth-helper; $BERTH_PROGRAMS, then as built */
    const char *engines;   /**< folder of others' engines, NAME.so (engine.h); $BERTH_ENGINES, then as built */
};

/**
 * Open the engine called `engine` ("container", "fake", ...), or one with others before it
 * ("trace(container)", wrap.h). One that is not registered is loaded from the folder of others' engines.
 * Nothing is made on disk until create. NOT_FOUND when there is no such engine; INVALID, DENIED when its
 * shared object is refused (berth_load in engine.h says why that is).
 */
BERTH_PUBLIC int berth_open(const char *engine, const struct berth_options *options,
                            struct berth_runtime **ret_runtime, struct berth_error *err);

/** Close. Calls and streams of it must have been freed before. Workloads are not affected. */
BERTH_PUBLIC void berth_close(struct berth_runtime *runtime);

/** Name of the runtime ("container"), valid as long as the runtime. The zeroth verb. */
BERTH_PUBLIC const char *berth_name(const struct berth_runtime *runtime);

/**
 * Names of all engines, NULL at the end; valid for the life of the process. The first time, those in the
 * default folder of others' engines are loaded; one that is refused is not listed.
 */
BERTH_PUBLIC const char *const *berth_engines(void);

/* ---- handles --------------------------------------------------------------------------------- */

#define BERTH_NAME_MAX 128 /**< longest workload name, bytes without the NUL */

/**
 * A workload, as a plain value. May be copied, written down as text and used by another process.
 * After remove and a new create under the same name the old handle is NOT_FOUND.
 */
struct berth_handle {
    char runtime[32];               /**< name of the engine */
    char name[BERTH_NAME_MAX + 8];  /**< name when the handle was made; rename does not invalidate */
    uint8_t id[16];                 /**< 128 random bits; what identifies it */
    char metadata[80];              /**< the engine's own, opaque text; may be "" */
};

#define BERTH_ID_TEXT 33       /**< room for an id as 32 hex digits and NUL */
#define BERTH_HANDLE_TEXT 320  /**< room for any handle as text and NUL */

/** Write the id as 32 lower-case hex digits. */
BERTH_PUBLIC void berth_id_print(const uint8_t id[16], char ret_text[BERTH_ID_TEXT]);

/** Write a handle as one line of text without blanks; berth_handle_parse reads it back. */
BERTH_PUBLIC void berth_handle_print(const struct berth_handle *handle,
                                     char ret_text[BERTH_HANDLE_TEXT]);

/** Read what berth_handle_print wrote. INVALID for anything else. */
BERTH_PUBLIC int berth_handle_parse(const char *text, struct berth_handle *ret_handle,
                                    struct berth_error *err);

/**
 * Find a workload by its name or an unambiguous prefix of its id. A name wins over a prefix.
 * NOT_FOUND; INVALID when a prefix fits several.
 */
BERTH_PUBLIC int berth_find(struct berth_runtime *runtime, const char *name_or_prefix,
                            struct berth_handle *ret_handle, struct berth_error *err);

/* ---- calls: the form of a verb that does not block ------------------------------------------- */

struct berth_call;

/** What a finished call brings; which member is filled follows from the verb. */
struct berth_result {
    struct berth_handle handle;          /**< create */
    struct berth_exec_result *exec;      /**< exec: owned by the receiver, berth_exec_result_free */
    struct berth_status *status;         /**< wait, status: owned by the receiver, berth_status_free */
};

/** Descriptor to poll for reading; it stays the call's. Readable means: call berth_call_finish. */
BERTH_PUBLIC int berth_call_fd(struct berth_call *call);

/**
 * Take the result. BERTH_AGAIN (nothing lost, poll again) while it is still under way; afterwards 0
 * or the verb's failure. Never blocks. `ret_result` may be NULL. Asked again, it answers the same
 * code, but the result's owned members are handed out once.
 */
BERTH_PUBLIC int berth_call_finish(struct berth_call *call, struct berth_result *ret_result,
                                   struct berth_error *err);

/** Wait at most `timeout_msec` (-1: for ever), then as berth_call_finish; TIMED_OUT leaves it going. */
BERTH_PUBLIC int berth_call_wait(struct berth_call *call, int64_t timeout_msec,
                                 struct berth_result *ret_result, struct berth_error *err);

/**
 * Cancel: create and start are undone and finish with CANCELLED; stop and remove go on without the
 * caller; an exec is killed. Returns at once; the call still has to be finished or freed.
 */
BERTH_PUBLIC void berth_call_cancel(struct berth_call *call);

/** Free. One that is still under way is cancelled first. A create whose result nobody took is undone. */
BERTH_PUBLIC void berth_call_free(struct berth_call *call);

/* ---- the ten verbs --------------------------------------------------------------------------- */

/**
 * create: make everything the workload needs, short of running it. `spec_json` is the spec document
 * (berth-spec(5)). On failure nothing is left behind.
 * An image that is not here is fetched first, as the spec's `pull` says; then stream 2 of the call brings
 * progress, JSON objects a line (nobody has to read it).
 * INVALID (the message names key and place), EXISTS, NOT_FOUND (image), UNSUPPORTED, NO_SPACE.
 */
BERTH_PUBLIC int berth_create(struct berth_runtime *runtime, const char *spec_json,
                              struct berth_handle *ret_handle, struct berth_error *err);
BERTH_PUBLIC int berth_create_call(struct berth_runtime *runtime, const char *spec_json,
                                   struct berth_call **ret_call, struct berth_error *err);

/**
 * start: run a created or ended workload. Returns when its program is really running, or with the
 * reason why it could not (NO_PROGRAM, NOT_EXECUTABLE, ...); then the state is failed.
 * WRONG_STATE when it runs already.
 */
BERTH_PUBLIC int berth_start(struct berth_runtime *runtime, const struct berth_handle *handle,
                             struct berth_error *err);
BERTH_PUBLIC int berth_start_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                                  struct berth_call **ret_call, struct berth_error *err);

#define BERTH_TIMEOUT_SPEC (-1) /**< stop: the spec's own stop_timeout */

/**
 * stop: ask it to end (its stop signal), wait at most `timeout_msec`, then kill the whole tree.
 * 0 kills at once. Stopping a stopped one succeeds.
 */
BERTH_PUBLIC int berth_stop(struct berth_runtime *runtime, const struct berth_handle *handle,
                            int64_t timeout_msec, struct berth_error *err);
BERTH_PUBLIC int berth_stop_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                                 int64_t timeout_msec, struct berth_call **ret_call,
                                 struct berth_error *err);

struct berth_remove_options {
    size_t size;
    bool force;    /**< stop it with timeout 0 first; without it a running one is WRONG_STATE */
    bool volumes;  /**< also its anonymous volumes; named ones always stay */
};

/** remove: an ended workload and every trace of it. Removing twice succeeds. */
BERTH_PUBLIC int berth_remove(struct berth_runtime *runtime, const struct berth_handle *handle,
                              const struct berth_remove_options *options, struct berth_error *err);
BERTH_PUBLIC int berth_remove_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                                   const struct berth_remove_options *options,
                                   struct berth_call **ret_call, struct berth_error *err);

/** The same words everywhere; berth_state_name spells them in lower case. */
enum berth_state {
    BERTH_CREATING = 1,
    BERTH_CREATED,
    BERTH_RUNNING,
    BERTH_PAUSED,
    BERTH_RESTARTING, /**< ended, waiting for its next start */
    BERTH_STOPPING,
    BERTH_STOPPED,    /**< ended because somebody asked */
    BERTH_COMPLETED,  /**< exit 0 by itself */
    BERTH_FAILED,
    BERTH_PENDING     /**< services only: waits for room */
};
BERTH_PUBLIC const char *berth_state_name(int state);

/** What its health command says; NONE without one. berth_health_name spells it in lower case. */
enum berth_health { BERTH_HEALTH_NONE = 0, BERTH_HEALTH_STARTING, BERTH_HEALTHY, BERTH_UNHEALTHY };
BERTH_PUBLIC const char *berth_health_name(int health);

/** Whether memory ran out, and whom the kernel killed for it. */
enum berth_oom { BERTH_OOM_NONE = 0, BERTH_OOM_MAIN, BERTH_OOM_CHILD };

/** Everything known about a workload. Times are microseconds since 1970, 0 when it has not happened. */
struct berth_status {
    size_t size;
    struct berth_handle handle;
    int32_t state;             /**< enum berth_state */
    int32_t pid;               /**< main program, seen from this machine; 0 when none runs */
    int32_t exit_code;         /**< -1 until it ended; 128 + signal when a signal ended it */
    int32_t signal;            /**< the signal that ended it, or 0 */
    int32_t oom;               /**< enum berth_oom */
    int32_t health;            /**< enum berth_health */
    uint32_t restarts;         /**< by its restart policy, since the last start by a caller */
    uint32_t health_failures;  /**< in a row */
    int64_t created_usec, started_usec, ended_usec, next_start_usec;
    uint64_t memory_limit_bytes, memory_peak_bytes; /**< 0: none, unknown */
    uint64_t log_dropped_bytes, log_dropped_lines;  /**< lost on a full disk */
    char reason[512];          /**< in words, one line; "" when there is nothing to say */
    char image[512];
    char *json;                /**< the same and more (ports, labels, health log), one JSON document */
    bool idle;                 /**< running, but its program isn't: it comes with the first connection (on_demand) */
};

/** status: what it is now, the truth also when its supervisor died. Never waits for another process. */
BERTH_PUBLIC int berth_status(struct berth_runtime *runtime, const struct berth_handle *handle,
                              struct berth_status **ret_status, struct berth_error *err);
BERTH_PUBLIC int berth_status_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                                   struct berth_call **ret_call, struct berth_error *err);
BERTH_PUBLIC void berth_status_free(struct berth_status *status);

#define BERTH_STDOUT 1u
#define BERTH_STDERR 2u

struct berth_logs_options {
    size_t size;
    bool follow;        /**< go on until it has ended and no restart is due */
    bool timestamps;    /**< RFC 3339 with nanoseconds and a blank before each line */
    bool frames;        /**< struct berth_frame before each piece, so that the streams are told apart */
    uint32_t streams;   /**< BERTH_STDOUT | BERTH_STDERR; 0 is both */
    bool has_tail;      /**< only the last `tail` lines */
    uint64_t tail;
    int64_t since_usec; /**< lines stamped at or after; 0: from the first */
    int64_t until_usec; /**< lines stamped before; 0: no end */
};

#define BERTH_FRAME_LOST 128u /**< `stream` of a frame that says: this many bytes are gone; no payload */

/** Head of one piece when `frames` is set, host byte order; `length` bytes follow unless LOST. */
struct berth_frame {
    int64_t time_usec;
    uint64_t length;
    uint32_t stream;
    uint32_t reserved;
};

struct berth_stream;

/** logs: a stream whose descriptor is read to its end. A slow or dead reader stops no workload. */
BERTH_PUBLIC int berth_logs(struct berth_runtime *runtime, const struct berth_handle *handle,
                            const struct berth_logs_options *options,
                            struct berth_stream **ret_stream, struct berth_error *err);

/** Descriptor to read from; it stays the stream's. 0 from read(2) is the end. */
BERTH_PUBLIC int berth_stream_fd(const struct berth_stream *stream);

/** Close and free; what feeds it ends. */
BERTH_PUBLIC void berth_stream_free(struct berth_stream *stream);

struct berth_exec_options {
    size_t size;
    const char *const *env;      /**< NAME=value, NULL at the end; added to the workload's own */
    const char *user;            /**< name, uid, uid:gid; NULL: the workload's */
    const char *workdir;         /**< NULL: the workload's */
    const char *const *groups;   /**< supplementary groups, NULL at the end */
    const void *stdin_data;      /**< collected form: what it reads, then EOF */
    size_t stdin_size;
    int64_t timeout_msec;        /**< 0: none; when it passes, only the exec is killed: TIMED_OUT */
    uint64_t output_max_bytes;   /**< collected form: ceiling for each stream; 0: 1 GiB; above: TOO_BIG */
    bool tty;
    uint16_t rows, columns;      /**< with tty */
    bool detach;                 /**< return when the program runs; its output is dropped */
    bool stream;                 /**< the caller reads and writes: berth_exec_stdin_fd and so on */
    bool privileged;             /**< all capabilities */
    const char *invoke;          /**< Wasm: call this export, as `wasm.invoke` of a spec says it; argv[0] is the module */
};

struct berth_exec_result {
    int32_t exit_code;           /**< the program's own; 128 + signal */
    int32_t signal;
    uint64_t exec_id;
    char *out;                   /**< collected standard output, NUL behind it; with tty everything */
    size_t out_size;
    char *err;
    size_t err_size;
};

/**
 * exec: one more program inside a running workload. NO_PROGRAM, NOT_EXECUTABLE, NOT_FOUND (user,
 * workdir), TIMED_OUT, WRONG_STATE.
 */
BERTH_PUBLIC int berth_exec(struct berth_runtime *runtime, const struct berth_handle *handle,
                            const char *const *argv, const struct berth_exec_options *options,
                            struct berth_exec_result **ret_result, struct berth_error *err);
BERTH_PUBLIC int berth_exec_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                                 const char *const *argv, const struct berth_exec_options *options,
                                 struct berth_call **ret_call, struct berth_error *err);
/**
 * Ends of a streamed exec's (or an attach's) pipes, the call's own; stream 0, 1, 2; -1 when there is
 * none (a tty has 0 and 1 only). Close stdin with berth_call_close_stdin.
 */
BERTH_PUBLIC int berth_call_stream_fd(struct berth_call *call, int stream);
BERTH_PUBLIC void berth_call_close_stdin(struct berth_call *call);
/** New size for the terminal of a streamed exec or attach. */
BERTH_PUBLIC int berth_call_resize(struct berth_call *call, uint16_t rows, uint16_t columns,
                                   struct berth_error *err);
/** Send a signal to an exec's program. */
BERTH_PUBLIC int berth_call_signal(struct berth_call *call, int signal, struct berth_error *err);
/** Leave the program of an exec with a terminal running: freeing the call does not end it then. Its output
 *  is dropped. */
BERTH_PUBLIC int berth_call_let_go(struct berth_call *call, struct berth_error *err);
BERTH_PUBLIC void berth_exec_result_free(struct berth_exec_result *result);

/** One reading. Counters grow while the workload runs; 0 in `has_*` means the kernel has no such figure. */
struct berth_stats {
    size_t size;
    int64_t time_usec;
    uint64_t cpu_usec, cpu_user_usec, cpu_system_usec, cpu_throttled_usec;
    double cpu_limit_cores;                    /**< 0: none */
    uint64_t memory_bytes;                     /**< working set: without inactive file cache */
    uint64_t memory_cache_bytes, memory_limit_bytes, memory_peak_bytes, memory_swap_bytes;
    uint64_t pids, pids_limit;
    uint64_t net_rx_bytes, net_tx_bytes, net_rx_packets, net_tx_packets;
    uint64_t io_read_bytes, io_write_bytes, io_read_ops, io_write_ops;
    bool has_psi, has_io, has_net;
    double psi_cpu_some_avg10, psi_memory_some_avg10, psi_memory_full_avg10, psi_io_some_avg10,
        psi_io_full_avg10;                     /**< percent */
    /** The rest is of Wasm workloads (has_wasm), as their worker counts: what an escaped guest could falsify. */
    bool has_wasm;
    uint64_t wasm_instances, wasm_instantiations;      /**< alive now; ever in this run */
    uint64_t wasm_requests, wasm_active, wasm_waiting; /**< ever; under way now; in the queue now */
    uint64_t wasm_traps, wasm_timeouts, wasm_memory_outs, wasm_rejected, wasm_cancelled, wasm_bad_requests;
    uint64_t wasm_memory_bytes, wasm_memory_peak_bytes; /**< linear memory; the peak is an upper bound */
    uint64_t wasm_cpu_usec, wasm_pool, wasm_connections;/**< computing in guests; room of the pool; open now */
};

/** stats: WRONG_STATE unless it runs (or is paused or stopping). */
BERTH_PUBLIC int berth_stats(struct berth_runtime *runtime, const struct berth_handle *handle,
                             struct berth_stats *ret_stats, struct berth_error *err);

/** A port is a number and a protocol. */
struct berth_port {
    uint16_t number;
    char protocol[6]; /**< "tcp", "udp"; "" means tcp */
};

/** Where a host port leads in: address and port on this host. */
struct berth_host_port {
    uint16_t port;
    char address[46];
};

/**
 * resolve_host_port: 1 and the port on this host that reaches it; 0 for none (not running, not
 * published). On the host network it is the port itself.
 */
BERTH_PUBLIC int berth_resolve_host_port(struct berth_runtime *runtime,
                                         const struct berth_handle *handle,
                                         const struct berth_port *container_port,
                                         struct berth_host_port *ret_port, struct berth_error *err);

#define BERTH_ADDRESS_TEXT 56 /**< room for "[ipv6]:port" */

/**
 * resolve_container_address: 1 and "ip:port" of it on a network; 0 for none. NULL network: the
 * first of the spec. NOT_FOUND for a network that doesn't exist.
 */
BERTH_PUBLIC int berth_resolve_container_address(struct berth_runtime *runtime,
                                                 const struct berth_handle *handle,
                                                 const struct berth_port *container_port,
                                                 const char *network,
                                                 char ret_address[BERTH_ADDRESS_TEXT],
                                                 struct berth_error *err);

/* ---- beside the verbs: what most engines share; UNSUPPORTED where one does not ---------------- */

/** list: handles of all workloads, newest first; NULL-safe: free(3) the array. */
BERTH_PUBLIC int berth_list(struct berth_runtime *runtime, struct berth_handle **ret_handles,
                            size_t *ret_count, struct berth_error *err);

/** wait: finishes when it has ended and no restart is due; brings its status. */
BERTH_PUBLIC int berth_wait(struct berth_runtime *runtime, const struct berth_handle *handle,
                            struct berth_status **ret_status, struct berth_error *err);
BERTH_PUBLIC int berth_wait_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                                 struct berth_call **ret_call, struct berth_error *err);

/** signal: to the main program. SIGKILL or the stop signal make the end a stop; others are its own. */
BERTH_PUBLIC int berth_signal(struct berth_runtime *runtime, const struct berth_handle *handle,
                              int signal, struct berth_error *err);

struct berth_attach_options {
    size_t size;
    bool input;              /**< bring stdin too; WRONG_STATE unless the spec asked for it */
    uint16_t rows, columns;
    bool next_start;         /**< one that doesn't run is no error: join its next start, see below */
    bool no_output;          /**< with next_start: no streams at all, for who reads the log */
};
/**
 * attach: the main program's terminal or output; a streamed call that finishes with the workload.
 *
 * With next_start, a workload that doesn't run is joined when this same runtime object starts it,
 * from the first byte, whatever it is that runs and however short. Then it is not removed by itself
 * (`remove` in its spec) before this call has been freed, or its process has ended. Without a log its
 * output waits for the reader, as a pipe would.
 */
BERTH_PUBLIC int berth_attach_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                                   const struct berth_attach_options *options,
                                   struct berth_call **ret_call, struct berth_error *err);

/** pause and unpause: freeze all its processes, and let them go on. WRONG_STATE unless running, paused. */
BERTH_PUBLIC int berth_pause(struct berth_runtime *runtime, const struct berth_handle *handle,
                             struct berth_error *err);
BERTH_PUBLIC int berth_unpause(struct berth_runtime *runtime, const struct berth_handle *handle,
                               struct berth_error *err);

/**
 * update: change a running or ended workload. `patch_json` is a spec with only the fields to change:
 * resources, restart, log limits, labels. INVALID names a field that can't change.
 */
BERTH_PUBLIC int berth_update(struct berth_runtime *runtime, const struct berth_handle *handle,
                              const char *patch_json, struct berth_error *err);
/** rename: EXISTS when the name is taken; handles made before stay good. */
BERTH_PUBLIC int berth_rename(struct berth_runtime *runtime, const struct berth_handle *handle,
                              const char *new_name, struct berth_error *err);

/** restart: stop and start as one request; followers of its logs go on. */
BERTH_PUBLIC int berth_restart(struct berth_runtime *runtime, const struct berth_handle *handle,
                               int64_t timeout_msec, struct berth_error *err);
BERTH_PUBLIC int berth_restart_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                                    int64_t timeout_msec, struct berth_call **ret_call,
                                    struct berth_error *err);

struct berth_events_options {
    size_t size;
    bool follow;
    int64_t since_usec, until_usec; /**< 0: from now on (follow) or from the first; no end */
    const char *name;               /**< only this workload (name or id); NULL: all */
};
/** events: one JSON object a line. */
BERTH_PUBLIC int berth_events(struct berth_runtime *runtime,
                              const struct berth_events_options *options,
                              struct berth_stream **ret_stream, struct berth_error *err);

/** inspect: spec, plan, status and paths as one JSON document; free(3). */
BERTH_PUBLIC int berth_inspect(struct berth_runtime *runtime, const struct berth_handle *handle,
                               char **ret_json, struct berth_error *err);

/** exec_list: running execs as a JSON array; free(3). exec_kill: one of them, by its id. */
BERTH_PUBLIC int berth_exec_list(struct berth_runtime *runtime, const struct berth_handle *handle,
                                 char **ret_json, struct berth_error *err);
BERTH_PUBLIC int berth_exec_kill(struct berth_runtime *runtime, const struct berth_handle *handle,
                                 uint64_t exec_id, int signal, struct berth_error *err);

/**
 * plan: what create would do, without doing it: {"spec": ..., "plan": ...} with every default filled
 * in; free(3).
 */
BERTH_PUBLIC int berth_plan(struct berth_runtime *runtime, const char *spec_json, char **ret_json,
                            struct berth_error *err);

/** The JSON Schema of a spec, made from the table that parses it; valid for ever. */
BERTH_PUBLIC const char *berth_spec_schema(void);

#ifdef __cplusplus
}
#endif
#endif
