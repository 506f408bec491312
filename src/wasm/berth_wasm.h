/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The border between berth and the Wasm engine: what the Rust crate beside this header does for C.
 *
 * C owns options, sandbox, signals, files, rules and printing; Rust owns the engine, its event loop and
 * what travels through it. Rust reads no configuration file, environment variable or text format.
 */
#ifndef WASM_BERTH_WASM_H
#define WASM_BERTH_WASM_H

#include "base/error.h"
#include "wasm/page.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * Conventions: 0 or a negative enum berth_code and `err` last (may be NULL). Structs begin with `size`, set to
 * sizeof; numbers mean what they say, defaults are the caller's. Pointers in options are borrowed for the call only. No function
 * panics across this border: a panic is caught, and is IO ("the engine failed: ...").
 * Threads: an object belongs to the thread that made it; only berth_wasm_server_state and berth_wasm_drain of a running
 * server may be called while its own threads run. Nothing is freed: guest and server end with the process.
 */

/** What compiled code depends on besides the module. Worker and compiler must agree on all of it. */
enum berth_wasm_profile {
    BERTH_WASM_COMMAND = 1, /**< without epoch checks: a process can be killed */
    BERTH_WASM_SERVE = 2    /**< with: instances share a process, and one alone must end */
};
struct berth_wasm_settings {
    size_t size;
    uint32_t profile; /**< enum berth_wasm_profile */
    bool fuel;        /**< instructions are counted */
};

/**
 * Write into `ret` the text that keys compiled code: engine and its full version, digest of the crate's lock
 * file, settings, target, the CPU's features. Printable ASCII without blanks, at most 200 bytes and NUL.
 */
int berth_wasm_tag(const struct berth_wasm_settings *settings, char *ret, size_t room, struct berth_error *err);

/* ---- the compiler (only in berth-wasmc) */

/**
 * Compile a module or component, binary or text format, and write the code to `code_fd` and what it needs
 * to `meta_fd` (-1: not). Blocks; uses every core. INVALID: no valid module, the message says where; IO. The text of
 * `meta_fd` is described in wasm/worker.h.
 */
int berth_wasm_compile(const struct berth_wasm_settings *settings, const void *wasm, size_t length, int code_fd, int meta_fd,
                       struct berth_error *err);

/* ---- a guest (only in berth-wasm) */

struct berth_wasm_guest;
struct berth_wasm_server;

struct berth_wasm_limits {
    uint64_t memory_bytes;       /**< linear memory of one instance, all memories; at most 4 GiB where there is a pool */
    uint64_t memory_total_bytes; /**< of all instances; 0: no limit */
    uint64_t table_elements;     /**< of one table */
    uint64_t stack_bytes;        /**< of Wasm */
    uint64_t fuel;               /**< for one call; 0: not counted (settings.fuel must say the same) */
    uint64_t time_usec;          /**< for one call of a served instance */
    uint64_t host_bytes;         /**< host memory that one call may make us hold */
    uint32_t instances;          /**< core instances in one component's instance */
    uint32_t handles;            /**< entries of its resource table */
};

struct berth_wasm_options {
    size_t size;
    struct berth_wasm_settings settings;
    int code_fd;                  /**< compiled code; may be closed afterwards. The caller vouches that it is ours: it is machine code */
    uint32_t concurrency;         /**< instances at one time; 0: one, without a pool (commands) */
    uint32_t memories, tables;    /**< what the module has, as the `needs` line of its meta says; sizes the pool */
    uint64_t memory_bytes;        /**< initial size of its largest memory */
    uint64_t table_elements;      /**< initial size of its largest table */
    struct berth_wasm_limits limits;
    struct berth_wasm_slot *slots; /**< BERTH_WASM_SLOTS zeroed ones, shared counters; they stay the caller's, for ever */

    const char *const *argv;      /**< NULL at the end; argv[0] is the guest's own name. UTF-8, as all text here */
    const char *const *env;       /**< NAME=value, NULL at the end */
    const char *cwd;              /**< for preview 2 */
    const char *const *folders;   /**< paths, the same for guest and process; NULL at the end */
    const char *const *read_only_folders;
    bool sockets;                 /**< preview 2 may open sockets and look names up, as berth_wasm_allow and getaddrinfo rule */
    bool http;                    /**< preview 2 may send requests, as these rule */
};
/**
 * Map compiled code and resolve every import; no code of the guest runs. CORRUPT: not compiled code, of another engine, version,
 * CPU or other settings. NOT_FOUND with the missing import's or folder's name in err->object. UNSUPPORTED: a limit that the
 * machine can't give (address space for the pool).
 */
int berth_wasm_load(const struct berth_wasm_options *options, struct berth_wasm_guest **ret_guest, struct berth_error *err);

/* ---- what C does for it; called on any thread of the engine, also at once from several */

enum berth_wasm_use {
    BERTH_WASM_CONNECT = 1, /**< also an outgoing request */
    BERTH_WASM_SEND,        /**< a datagram: also to whoever sent one */
    BERTH_WASM_HEARD        /**< a datagram came from there: always 0 */
};
/**
 * 0: the guest may use `address`, which was reached by `name` (NULL: it asked by address); else it is refused. Names
 * become addresses by getaddrinfo(3), which is C's own here: it looks up what the rules allow, else it says EACCES.
 */
int berth_wasm_allow(const char *name, const struct sockaddr *address, enum berth_wasm_use use);
/** Whom TLS outwards trusts: hand each certificate (DER) to `add`, return how many; 0: who is built in. Called once, at the first
 *  request that needs it. */
int berth_wasm_roots(void (*add)(void *to, const uint8_t *der, size_t length), void *to);
/** How the one call of a command ended (once, on its own thread): texts are printable ASCII, `text` is lines. */
void berth_wasm_ended(enum berth_wasm_end_kind kind, int exit_code, uint64_t asked_bytes, const char *name, const char *text);

/* ---- commands */

/**
 * Instantiate and run a command on this thread until it ends. Standard descriptors are 0, 1 and 2. The end
 * (proc_exit, trap, memory or time that ran out) is berth_wasm_ended's, never an error.
 */
int berth_wasm_run(struct berth_wasm_guest *guest, struct berth_error *err);

/**
 * Call one export of a fresh instance (`_initialize` of a reactor first) and print its results to descriptor 1, all in WAVE:
 * `call` is "add(1, 2)", or "add" and values in `args`. An export within an interface is "ns:pkg/iface@1.0.0#name(...)" or the
 * name alone when no other has it. NOT_FOUND with the exports there are; INVALID: arguments do not fit.
 */
int berth_wasm_invoke(struct berth_wasm_guest *guest, const char *call, const char *const *args, struct berth_error *err);

/* ---- serving */

struct berth_wasm_serve_options {
    size_t size;
    const int *listen_fds;    /**< listening sockets, not blocking; the server's from now on */
    size_t n_listen_fds;
    int state_fd;             /**< an eventfd; counts when the state changed */
    uint32_t threads;         /**< at least 1, at most BERTH_WASM_SLOTS */
    uint64_t idle_msec;       /**< without a request for so long: drain by itself. 0: never */
    uint64_t body_bytes;      /**< of a request; 0: no limit */
    uint64_t response_bytes;  /**< body of a response; 0: no limit */
    uint32_t concurrency;     /**< requests at one time; with `reuse` the pool must have room for twice as many */
    uint32_t queue;           /**< requests that wait for an instance; more are 503 */
    uint32_t queue_msec;      /**< and wait no longer than this */
    uint32_t reuse;           /**< requests for one instance; 0 and 1: a fresh one for each */
    uint32_t connections;     /**< at one time; more wait in the kernel's backlog */
    uint32_t header_bytes;    /**< of a request, at least 8 KiB */
    uint32_t header_msec;     /**< to send it, and idle between two; also for a peer that takes nothing */
    bool access_log;          /**< a line for each request on descriptor 1 */
};
/** Start the threads and accept. The guest's output goes to 1 and 2 as whole lines, "i7 r42 text": instance, request. */
int berth_wasm_serve(struct berth_wasm_guest *guest, const struct berth_wasm_serve_options *options,
                     struct berth_wasm_server **ret_server, struct berth_error *err);
enum berth_wasm_state {
    BERTH_WASM_SERVING = 1,
    BERTH_WASM_DRAINING,  /**< asked to, or idle: accepts no more */
    BERTH_WASM_ENDED      /**< all connections are closed, all threads have ended */
};
enum berth_wasm_state berth_wasm_server_state(const struct berth_wasm_server *server);
/** Accept no more, answer what is under way, close idle connections; after `timeout_msec` drop the rest.
 *  Returns at once. A second call may shorten the time. */
void berth_wasm_drain(struct berth_wasm_server *server, uint64_t timeout_msec);

#endif
