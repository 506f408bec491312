/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rooms of process.h: engine.c makes a stranger's engine known, plan.c makes plans of what it says.
 *
 * All verbs are engine/local's: what is not here is a container's.
 */
#ifndef PROCESS_INSIDE_H
#define PROCESS_INSIDE_H

#include "local/inside.h"
#include <berth/process.h>

struct process_kind {
    struct local_kind kind;
    struct berth_process_engine engine;          /* of full size */
    const struct berth_process_engine *original; /* identity */
};
/** What they all are, but for the name. */
extern const struct local_kind process_kind_of_all;

static inline const struct process_kind *process_kind(const struct local_kind *kind)
{
    return (const struct process_kind *)((const char *)kind - offsetof(struct process_kind, kind));
}
int process_find(struct compile *k, struct berth_error *err);

#endif
