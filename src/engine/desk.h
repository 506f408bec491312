/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front desk's inside: what registry, verbs, calls and streams know of each other.
 */
#ifndef ENGINE_DESK_H
#define ENGINE_DESK_H

#include <berth/engine.h>
#include "base/error.h"
#include <string.h>

struct berth_runtime {
    const struct berth_engine *registered; /* the table as its owner gave it: identity */
    const struct berth_engine *engine;     /* a copy of full size, absent methods NULL */
    void *self;
};

extern const struct berth_engine container_engine;
extern const struct berth_engine fake_engine;

/** Copy a caller's options into `ret` of our `size`: shorter ones are filled with zero, the tail of
 *  longer ones must be zero. NULL is all defaults. */
int options_take(const void *options, void *ret, size_t size, struct berth_error *err);

/**
 * First step of a call that an engine has just made (`made`: what it answered, given back): what can be
 * done without waiting is done before the caller gets the call, so that a stop that is cancelled or
 * freed at once has been asked for.
 */
int desk_begin(int made, struct berth_call **ret_call);

#endif
