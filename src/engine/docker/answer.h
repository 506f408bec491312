/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an answer means: HTTP's status and the daemon's words as one of our codes.
 */
#ifndef DOCKER_ANSWER_H
#define DOCKER_ANSWER_H

#include "docker/http.h"
#include <jansson.h>

/**
 * 0 for an answer that says yes (2xx, and 304: it was so before). Else its failure: "VERB OBJECT: the daemon's
 * words". 404 is NOT_FOUND only if the daemon itself says it: a page of some other server is CORRUPT.
 */
int answer_judge(const struct request *r, const char *verb, const char *object, struct berth_error *err);
/** The same, and its JSON (an object or a list); CORRUPT for anything else. json_decref. */
int answer_json(const struct request *r, const char *verb, const char *object, json_t **ret_json, struct berth_error *err);
/** The daemon's words in a refusal, one line; NULL when it has none. free(3) */
char *answer_words(const struct request *r);
static inline void cleanup_answer(json_t **json) { json_decref(*json); }
#define autoanswer __attribute__((cleanup(cleanup_answer))) json_t *

/** Whether the State of an inspect is of one that runs: podman's says no while it is being stopped. */
bool state_runs(json_t *state);

/** Members of an answer, whatever is there: "" and 0 and false for what is not. Dotted path. */
json_t *at(json_t *json, const char *path);
const char *text_at(json_t *json, const char *path);
int64_t number_at(json_t *json, const char *path);
bool true_at(json_t *json, const char *path);
/** A time of the daemon's; 0 for none (it writes the year 1). */
int64_t time_at(json_t *json, const char *path);

#endif
