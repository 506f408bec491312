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
 * Threads: an object belongs to the thread that made it; only berth_wasm_server_* of a running server
 * may be called while its own threads run.
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
 * to `meta_fd` (-1: not). Blocks; uses every core. INVALID: no valid module, the message says where; UNSUPPORTED:
 * preview 3, a feature that the engine lacks; IO. The text of `meta_fd` is described in wasm/worker.h.
 */
int berth_wasm_compile(const struct berth_wasm_settings *settings, const void *wasm, size_t length, int code_fd, int meta_fd,
                       struct berth_error *err);

/* ---- the engine and its module (only in berth-wasm) */

/** What one instance of the module needs at most at its birth, as the `needs` line of its meta says. */
struct berth_wasm_needs {
    size_t size;
    uint32_t memories, tables;
    uint64_t memory_bytes;   /**< initial size of its largest memory */
    uint64_t table_elements; /**< initial size of its largest table */
};

struct berth_wasm_limits {
    size_t size;
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

struct berth_wasm_engine;
struct berth_wasm_module;
struct berth_wasm_guest;
struct berth_wasm_server;

struct berth_wasm_engine_options {
    size_t size;
    struct berth_wasm_settings settings;
    struct berth_wasm_limits limits;
    struct berth_wasm_needs needs;  /**< sizes the pool */
    uint32_t concurrency;           /**< instances at one time; 0: one, without a pool (commands) */
    struct berth_wasm_page *page;   /**< shared counters; NULL: none. Stays the caller's, outlives the engine */
};
/** UNSUPPORTED: a limit that the machine can't give (address space for the pool). */
int berth_wasm_engine_new(const struct berth_wasm_engine_options *options, struct berth_wasm_engine **ret_engine,
                          struct berth_error *err);
void berth_wasm_engine_free(struct berth_wasm_engine *engine);

/**
 * Map compiled code from a descriptor (which may be closed afterwards). The caller vouches that it is ours:
 * compiled code is machine code. CORRUPT: not compiled code, of another engine, version, CPU or other settings.
 */
int berth_wasm_load(struct berth_wasm_engine *engine, int code_fd, struct berth_wasm_module **ret_module,
                    struct berth_error *err);
void berth_wasm_module_free(struct berth_wasm_module *module);

/* ---- what the guest sees */

struct berth_wasm_folder {
    const char *path;     /**< as this process sees it */
    const char *guest;    /**< its path for the guest */
    bool read_only;
};

enum berth_wasm_use {
    BERTH_WASM_LOOKUP = 1, /**< the name is to be looked up; address NULL */
    BERTH_WASM_CONNECT,    /**< TCP, or UDP to this peer */
    BERTH_WASM_BIND,       /**< bind; listening follows from it */
    BERTH_WASM_REQUEST     /**< outgoing HTTP to this address; name is the host */
};

/** Called on any thread of the engine, also at once from several; must not block except in `lookup`. */
struct berth_wasm_hooks {
    size_t size;
    void *data;
    /** 0: allowed; else refused (the guest sees access-denied). `name` NULL: it asked by address. */
    int (*allow)(void *data, const char *name, uint16_t port, const struct sockaddr *address, enum berth_wasm_use use);
    /** Addresses of a name, may block up to 10 s; returns how many (at most `room`) or -errno. */
    int (*lookup)(void *data, const char *name, struct sockaddr_storage *ret, size_t room);
    /** Whom TLS outwards trusts: hand each certificate (DER) to `add`, return how many; 0: who is built in. Called once, at the
     *  first request that needs it; NULL as 0. */
    int (*roots)(void *data, void (*add)(void *to, const uint8_t *der, size_t length), void *to);
};

struct berth_wasm_environment {
    size_t size;
    const char *const *argv;  /**< NULL at the end; argv[0] is the guest's own name */
    const char *const *env;   /**< NAME=value, NULL at the end */
    const char *cwd;          /**< for preview 2; NULL: none */
    const struct berth_wasm_folder *folders;
    size_t n_folders;
    bool sockets;             /**< preview 2 may open sockets, as `allow` rules */
    bool http;                /**< preview 2 may send requests, as `allow` rules */
    struct berth_wasm_hooks hooks;
};
/** Resolve every import. NOT_FOUND with the missing import's name in err->object; INVALID: a variable or
 *  argument is not UTF-8; UNSUPPORTED: an import of preview 3. No code of the guest runs. */
int berth_wasm_link(struct berth_wasm_module *module, const struct berth_wasm_environment *environment,
                    struct berth_wasm_guest **ret_guest, struct berth_error *err);
void berth_wasm_guest_free(struct berth_wasm_guest *guest);

/* ---- commands */

/**
 * Instantiate and run a command on this thread until it ends. Standard descriptors are 0, 1 and 2. The end
 * (proc_exit, trap, memory or time that ran out) is `ret_end`, never an error; the same is in the page.
 */
int berth_wasm_run(struct berth_wasm_guest *guest, struct berth_wasm_end *ret_end, struct berth_error *err);

/**
 * Call one export of a fresh instance (`_initialize` of a reactor first) and print its results to descriptor 1.
 * Components: `call` is WAVE, "add(1, 2)"; an export within an interface is "ns:pkg/iface@1.0.0#name(...)" or the
 * name alone when no other has it. Core modules: "add(1, 2)" or "add" and numbers in `args`. NOT_FOUND with the exports
 * there are; INVALID: arguments do not fit.
 */
int berth_wasm_invoke(struct berth_wasm_guest *guest, const char *call, const char *const *args,
                      struct berth_wasm_end *ret_end, struct berth_error *err);

/* ---- serving */

struct berth_wasm_serve_options {
    size_t size;
    const int *listen_fds;        /**< listening sockets, duplicated */
    size_t n_listen_fds;
    struct berth_wasm_serve_rules {
        uint64_t idle_msec;       /**< without a request for so long: drain by itself. 0: never */
        uint64_t body_bytes;      /**< of a request; 0: no limit */
        uint64_t response_bytes;  /**< body of a response; 0: no limit */
        uint32_t threads;         /**< 0: one for each core that the process may use */
        uint32_t concurrency;     /**< requests at one time; with `reuse` the pool must have room for twice as many */
        uint32_t queue;           /**< requests that wait for an instance; more are 503 */
        uint32_t queue_msec;      /**< and wait no longer than this */
        uint32_t reuse;           /**< requests for one instance; 0 and 1: a fresh one for each */
        uint32_t connections;     /**< at one time; more wait in the kernel's backlog */
        uint32_t header_bytes;    /**< of a request, at least 8 KiB */
        uint32_t header_msec;     /**< to send it, and idle between two; also for a peer that takes nothing */
        bool access_log;          /**< a line for each request on descriptor 1 */
    } rules;
};
/** Start the threads and accept. The guest's output goes to 1 and 2 as whole lines, "i7 r42 text": instance, request. */
int berth_wasm_serve(struct berth_wasm_guest *guest, const struct berth_wasm_serve_options *options,
                     struct berth_wasm_server **ret_server, struct berth_error *err);
/** Readable when the state changed; stays the server's. */
int berth_wasm_server_fd(const struct berth_wasm_server *server);
enum berth_wasm_state {
    BERTH_WASM_SERVING = 1,
    BERTH_WASM_DRAINING,  /**< asked to, or idle: accepts no more */
    BERTH_WASM_ENDED      /**< all connections are closed, all threads have ended */
};
/** The state now; clears server_fd's readability. `ret_idle` (may be NULL): it drained by itself. */
enum berth_wasm_state berth_wasm_server_state(struct berth_wasm_server *server, bool *ret_idle);
/** Accept no more, answer what is under way, close idle connections; after `timeout_msec` drop the rest.
 *  Returns at once. A second call may shorten the time. */
void berth_wasm_drain(struct berth_wasm_server *server, uint64_t timeout_msec);
/** Drops what still runs. */
void berth_wasm_server_free(struct berth_wasm_server *server);

#endif
