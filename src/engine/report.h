/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON of a status: the same members, in the same order, from every engine of ours.
 */
#ifndef ENGINE_REPORT_H
#define ENGINE_REPORT_H

#include <berth/berth.h>
#include "base/text.h"

/** A JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void report_string(struct text *t, const char *s);
/** `"name":"2026-...Z"` with a comma before it, or null for 0. */
void report_time(struct text *t, const char *name, int64_t usec);

/**
 * Everything in `s` as members of a JSON object, without braces: name, id, runtime, state, pid,
 * exit_code (null until it ended), signal, oom, health, health_failures, restarts, created, started,
 * ended, next_start, memory_limit_bytes, memory_peak_bytes, log_dropped_bytes, log_dropped_lines,
 * reason, image.
 */
void report_status(struct text *t, const struct berth_status *s);

/** "NAME=VALUE" lines as one JSON object; free(3). INVALID for what is not UTF-8. */
int report_labels(const char *const *labels, char **ret_json, struct berth_error *err);

const char *oom_name(int oom); /**< "none", "main", "child" */

#endif
