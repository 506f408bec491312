/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an engine answers, checked before a caller sees it.
 *
 * An engine may be a stranger's, older than this library, or wrong. Whatever it says, the caller gets a
 * documented answer or BERTH_CORRUPT, never a crash: codes that there are, text that ends, states that
 * have a name, pointers where something must be. What can't be seen from outside (a pointer to nowhere)
 * is the engine's own crash.
 */
#ifndef ENGINE_ANSWER_H
#define ENGINE_ANSWER_H

#include "engine/desk.h"

/** Make an error value ready for an engine that may forget to write it. */
static inline void said_clear(struct berth_error *said)
{
    said->code = 0;
    said->os_error = 0;
    said->object[0] = said->message[0] = 0;
}

/** The slow half of answer_code: `r` is a failure, or no answer at all. */
int answer_refuse(const struct desk_question *q, int r, const struct berth_error *said,
                  struct berth_error *err);

/** `r` when it is 0 to `most`; else a failure with all its words in `err`. */
static inline int answer_code(const struct desk_question *q, int r, int most,
                              const struct berth_error *said, struct berth_error *err)
{
    return r >= 0 && r <= most ? r : answer_refuse(q, r, said, err);
}

/** A call was made, or not. 0: `call` is good. */
int answer_made(const struct desk_question *q, int made, struct berth_call *call,
                const struct berth_error *said, struct berth_error *err);

/** What a step answered: 1, 0 or negative, as documented; result and failure of the call are in order. */
int answer_step(struct berth_call *call, int r);

/** These free what the engine gave when they refuse it; `*ret` is the caller's only on success. */
int answer_status(const struct desk_question *q, int r, struct berth_status *status,
                  const struct berth_error *said, struct berth_status **ret, struct berth_error *err);
int answer_stream(const struct desk_question *q, int r, struct berth_stream *stream,
                  const struct berth_error *said, struct berth_stream **ret, struct berth_error *err);
int answer_text(const struct desk_question *q, int r, char *text, const struct berth_error *said,
                char **ret, struct berth_error *err);
int answer_handles(const struct desk_question *q, int r, struct berth_handle *handles, size_t count,
                   const struct berth_error *said, struct berth_handle **ret, size_t *ret_count,
                   struct berth_error *err);
int answer_handle(const struct desk_question *q, int r, const struct berth_handle *handle,
                  const struct berth_error *said, struct berth_handle *ret, struct berth_error *err);
int answer_stats(const struct desk_question *q, int r, const struct berth_stats *stats,
                 const struct berth_error *said, struct berth_error *err);

/** Text of at most `room` bytes that ends; resolve's addresses. */
int answer_address(const struct desk_question *q, int r, const char *text, size_t room,
                   const struct berth_error *said, struct berth_error *err);

#endif
