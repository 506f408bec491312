/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front desk's inside: what registry, verbs, calls and streams know of each other.
 */
#ifndef ENGINE_DESK_H
#define ENGINE_DESK_H

#include <berth/engine.h>
#include "base/error.h"
#include <stdint.h>
#include <string.h>

struct berth_runtime {
    const struct berth_engine *registered; /* the table as its owner gave it: identity */
    const struct berth_engine *engine;     /* a copy of full size, absent methods NULL */
    void *self;
    struct berth_runtime *inner;           /* what this one stands before (wrap.h), or NULL */
};

/** What a finished call must bring. */
enum desk_wants { WANTS_NOTHING, WANTS_HANDLE, WANTS_EXEC, WANTS_STATUS, MAY_HAVE_STATUS };

/** A call on its way: what was asked of whom. */
struct desk_question {
    const struct berth_runtime *runtime;
    const char *verb;   /* for messages: a constant */
    enum desk_wants wants;
    uint8_t id[16];     /* of the workload that a status must be of */
};

struct berth_call {
    struct berth_call_ops ops; /* of full size */
    void *data;
    int fd;      /* the engine's */
    int poll_fd; /* what the caller polls, made when asked for */
    int wake_fd; /* in poll_fd: readable once nothing more has to be waited for */
    bool finished, cancelled, taken;
    int code;
    struct desk_question question; /* runtime NULL: nobody's, made outside a verb */
    struct berth_result result;
    struct berth_error failure;
};

/** Free what a result holds. */
void result_clear(struct berth_result *result);

extern const struct berth_engine container_engine;
extern const struct berth_engine wasm_engine;
extern const struct berth_engine docker_engine;
extern const struct berth_engine fake_engine;

/** Load and register FOLDER/NAME.so; NOT_FOUND when there is none. Loaded already: 0. */
int stranger_load(const char *folder, const char *name, struct berth_error *err);
/** The same with all that can be loaded; the rest is left for whoever opens it by name, and hears why. */
void stranger_load_all(const char *folder);

/** What berth_open makes of "trace(INNER)": berth_trace into the file of $BERTH_ENGINE_TRACE. */
int trace_by_name(struct berth_runtime *inner, struct berth_runtime **ret_runtime,
                  struct berth_error *err);

/** Copy a caller's options into `ret` of our `size`: shorter ones are filled with zero, the tail of
 *  longer ones must be zero. NULL is all defaults. */
int options_take(const void *options, void *ret, size_t size, struct berth_error *err);

/**
 * Check the call that an engine has just made (`made`: what it answered; `said`: its error) and hand it
 * to the caller. Its first step is taken here: what can be done without waiting is done before the caller
 * gets the call, so that a stop that is cancelled or freed at once has been asked for.
 */
int desk_begin(const struct desk_question *q, int made, struct berth_call *call,
               const struct berth_error *said, struct berth_call **ret_call, struct berth_error *err);

#endif
