/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a fault layer makes of an engine's answer.
 */
#ifndef WRAP_FAULT_H
#define WRAP_FAULT_H

#include "engine/wrap/wrap.h"

/** Note which kind this method can answer with: the one asked for, or the next that means something. */
void nonsense_begin(struct crossing *c, int kind);

/** Put it in the place of what the engine answered (`r`, `answer`), which is freed. */
int nonsense_make(const struct crossing *c, int r, void *answer, struct berth_error *err);

/** Free what came with an answer. */
void answer_drop(const struct crossing *c, int r, void *answer);

#endif
