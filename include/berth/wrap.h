/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wrap.h: engines that stand before another: trace writes each call down, fault makes calls go wrong.
 *
 * berth_open knows them by name as well: "trace(container)", "fault(fake)", "trace(fault(fake))"; a trace
 * opened so writes to the file that $BERTH_ENGINE_TRACE names. What is opened has the inner engine's name,
 * takes and gives its handles, lacks what it lacks, and is its own for the checked downcasts of container.h
 * and fake.h; what those headers do is neither traced nor goes wrong.
 */
#ifndef BERTH_WRAP_H
#define BERTH_WRAP_H

#include <berth/berth.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Put a trace before `inner`: each call of an engine's function becomes one JSON object a line, written
 * with one write(2) to `fd` (duplicated here; a file should be open for appending) when it has ended:
 * time (RFC 3339, of its beginning), engine, call (the function's name in engine.h), workload and id where
 * there is one, duration_usec (from its beginning to its end), busy_usec (of those, inside the engine's
 * functions), steps (of a pollable call), code ("OK" or the failure's; null when the caller left before
 * the end), and the failure's message. A line that can't be written is lost; the call is not disturbed.
 * On success `inner` belongs to the new runtime and is closed with it. Any thread.
 */
BERTH_PUBLIC int berth_trace(struct berth_runtime *inner, int fd, struct berth_runtime **ret_runtime,
                             struct berth_error *err);

/**
 * Put a fault layer before `inner`: without rules everything passes unchanged.
 * On success `inner` belongs to the new runtime and is closed with it.
 */
BERTH_PUBLIC int berth_fault(struct berth_runtime *inner, struct berth_runtime **ret_runtime,
                             struct berth_error *err);

/**
 * What an engine that has lost its mind answers. The front desk must make an error of each; a kind that
 * means nothing for a function (no text in a pause) is the next one that does.
 */
enum berth_nonsense {
    BERTH_SENSE = 0,
    BERTH_NONSENSE_NOTHING, /**< success, without what it should have brought */
    BERTH_NONSENSE_CODE,    /**< a failure that is no enum berth_code, without a word */
    BERTH_NONSENSE_NUMBER,  /**< a success that no header knows: 42 */
    BERTH_NONSENSE_TEXT,    /**< unknown states, text without an end, somebody else's handle, no number */
    BERTH_NONSENSE_ERROR,   /**< a good code, but an error value full of junk */
    BERTH_NONSENSE_WAIT     /**< a call that never finishes and has nothing to poll */
};

/** One rule of a fault layer. Zero or NULL means any, the first, for ever, no. */
struct berth_fault_rule {
    size_t size;
    const char *call;     /**< a function's name in engine.h: "start", "resolve_host_port"; NULL: any */
    const char *workload; /**< only with handles of this name; NULL: any */
    uint64_t nth;         /**< the first call that it hits, counted among those that fit: 1, 2, ... */
    uint64_t times;       /**< how many it hits from there; 0: all */
    int32_t code;         /**< fail with this enum berth_code; 0: don't */
    bool after;           /**< with code: the engine is asked all the same, only its answer is lost */
    int32_t nonsense;     /**< enum berth_nonsense: the engine is asked, and this answered instead */
    int64_t delay_msec;   /**< hold the answer back for that long */
};

/**
 * Add a rule; the first one that hits a call decides. Strings are copied. INVALID: no such function, a
 * code that is none, both code and nonsense, a delay below 0; UNSUPPORTED when no fault layer is there.
 */
BERTH_PUBLIC int berth_fault_add(struct berth_runtime *runtime, const struct berth_fault_rule *rule,
                                 struct berth_error *err);

/** Forget all rules, and say how many calls they have hit (NULL: don't). */
BERTH_PUBLIC int berth_fault_clear(struct berth_runtime *runtime, uint64_t *ret_hits,
                                   struct berth_error *err);

#ifdef __cplusplus
}
#endif
#endif
