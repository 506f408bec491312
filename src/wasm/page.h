/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page that a Wasm worker shares with whoever asks for stats or status: counters and its last words.
 *
 * A file of this size, made by the engine at create, handed to the worker as a descriptor and mapped. Each
 * thread of the worker owns a slot and writes it alone; a reader sums, and trusts nothing: an escaped guest
 * could have written it. A number can be wrong, a text is bounded and has to be cleaned before it is printed.
 */
#ifndef WASM_PAGE_H
#define WASM_PAGE_H

#include <stdint.h>

#define BERTH_WASM_PAGE_MAGIC 0x62777031u /* "bwp1" */
#define BERTH_WASM_SLOTS 64

/** Written by one thread each, relaxed atomic stores. */
struct berth_wasm_slot {
    uint64_t instances;         /**< alive now */
    uint64_t instantiations;    /**< ever */
    uint64_t requests;          /**< answered or not, ever */
    uint64_t active_requests;   /**< now */
    uint64_t waiting;           /**< now, in the queue */
    uint64_t traps, timeouts, memory_outs;
    uint64_t rejected;          /**< 503: the queue was full or the wait too long */
    uint64_t bad_requests;      /**< 400 and the like, before any instance */
    uint64_t cancelled;         /**< the client went away */
    uint64_t memory_bytes;      /**< linear memory of this thread's instances now */
    uint64_t memory_peak_bytes; /**< of this slot; the sum over slots is an upper bound */
    uint64_t cpu_nsec;          /**< in which its instances computed */
    uint64_t connections;       /**< open now */
    uint64_t reserved[1];
};

enum berth_wasm_end_kind {
    BERTH_WASM_END_NONE = 0,   /**< it runs, or died before it could say */
    BERTH_WASM_END_EXIT,       /**< by itself: exit_code */
    BERTH_WASM_END_TRAP,       /**< `name` says which */
    BERTH_WASM_END_MEMORY,     /**< a trap after a refused growth: asked_bytes */
    BERTH_WASM_END_TIME,       /**< the limit of time or fuel */
    BERTH_WASM_END_FAILED      /**< the host's side failed: text */
};
/** How a command ended. */
struct berth_wasm_end {
    uint32_t kind;         /**< enum berth_wasm_end_kind; written last */
    int32_t exit_code;     /**< the process's: 0-255 as given, trap and time 134, memory 137, failed 125 */
    uint64_t asked_bytes;  /**< size that its memory was to have */
    char name[80];         /**< "unreachable", "out of bounds memory access", ...; NUL-terminated */
    char text[3992];       /**< the guest's backtrace, lines; printable ASCII, others escaped; NUL-terminated */
};

struct berth_wasm_page {
    uint32_t magic, size;       /**< of this struct */
    uint32_t n_slots;           /**< in use */
    uint32_t pool;              /**< instances that the pool has room for; 0: no pool */
    uint32_t worker_pid;        /**< as the worker sees itself */
    uint32_t draining;
    struct berth_wasm_end end;
    struct berth_wasm_slot slots[BERTH_WASM_SLOTS];
};

#endif
