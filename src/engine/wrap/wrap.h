/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Standing before an engine: every call crosses a layer on its way in and on its way out.
 *
 * A layer is two functions, told of each crossing. The rest, a table whose methods pass everything on
 * to the inner engine's, exists once: a method of engine.h that is missing here is a method that a
 * wrapped engine has lost.
 */
#ifndef WRAP_WRAP_H
#define WRAP_WRAP_H

#include "engine/desk.h"
#include <berth/wrap.h>
#include <stddef.h>

/** What a method answers with, beside its code: what can be wrong about it. */
enum wrap_answer {
    ANSWER_NOTHING,
    ANSWER_CALL,    /* struct berth_call: the answer is in its result */
    ANSWER_STATUS,  /* struct berth_status * */
    ANSWER_STREAM,  /* struct berth_stream * */
    ANSWER_TEXT,    /* char * */
    ANSWER_HANDLE,  /* struct berth_handle */
    ANSWER_HANDLES, /* struct wrap_handles */
    ANSWER_STATS,   /* struct berth_stats */
    ANSWER_PORT,    /* struct berth_host_port */
    ANSWER_ADDRESS  /* char[BERTH_ADDRESS_TEXT] */
};

struct wrap_handles { struct berth_handle *items; size_t n; };

struct wrap_method {
    const char *name; /* in engine.h */
    size_t offset;    /* in the table */
    enum wrap_answer answer;
    enum desk_wants wants; /* of a call */
};
extern const struct wrap_method wrap_methods[];
extern const size_t wrap_methods_count;

struct crossing;

/** A layer. */
struct wrap_layer {
    const struct berth_engine *identity; /* for berth_runtime_self: no engine, only an address */
    /** On the way in. 0: go on; negative (err written): the engine is not asked, this is the answer. */
    int (*enter)(void *layer, struct crossing *c, struct berth_error *err);
    /**
     * On the way out, once for each crossing: `r` is the answer so far, `answer` points to what came
     * with it (of the method's kind; a call: its struct berth_result). Gives the answer to pass on.
     */
    int (*leave)(void *layer, struct crossing *c, int r, void *answer, struct berth_error *err);
    void (*close)(void *layer);
};

/** The self of a runtime that stands before another. */
struct wrap {
    struct berth_engine table; /* of this runtime: nothing in it that the inner engine lacks */
    struct berth_runtime *inner;
    const struct wrap_layer *layer;
    void *data;
};

/** One call on its way. */
struct crossing {
    struct wrap *wrap;
    const struct wrap_method *method;
    const char *workload; /* its name and id, or NULL; name_kept of a call, which outlives its handle */
    const uint8_t *id;
    char name_kept[BERTH_NAME_MAX + 8];
    uint8_t id_kept[16];
    int64_t begin_usec, time_usec; /* monotonic; wall clock */
    int64_t busy_usec;             /* inside the engine's functions */
    uint32_t steps;
    int64_t delay_msec;            /* set in enter: its answer is held back that long */
    bool never, no_call;           /* set in enter: it never finishes, with nothing to poll; there is none */
    int32_t nonsense, late_code;   /* the fault layer's, from enter to leave */
};

/** A runtime of `layer` (with its `data`, closed on failure) before `inner`. */
int wrap_open(const struct wrap_layer *layer, void *data, struct berth_runtime *inner,
              struct berth_runtime **ret_runtime, struct berth_error *err);

/** The data of the outermost layer of this kind that `runtime` has; UNSUPPORTED when it has none. */
int wrap_find(struct berth_runtime *runtime, const struct wrap_layer *layer, void **ret_data,
              struct berth_error *err);

/* crossing.c */
struct crossing *crossing_new(struct wrap *w, size_t method, const struct berth_handle *handle,
                              struct berth_error *err);
void crossing_begin(struct crossing *c, struct wrap *w, size_t method,
                    const struct berth_handle *handle);
int crossing_enter(struct crossing *c, struct berth_error *err);
/** Out again, of a method that has answered: what to answer. */
int crossing_leave(struct crossing *c, int r, void *answer, struct berth_error *err);
/** The call that an engine made (or `r` < 0: did not) is ours from here on. Takes `c`. */
int crossing_call(struct crossing *c, int r, struct berth_call *call, struct berth_call **ret_call,
                  struct berth_error *err);

#endif
