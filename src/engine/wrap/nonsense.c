/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that no engine should give, for each kind of answer that there is.
 *
 * What is made here is garbage in its meaning only: memory is allocated as engine.h says, since an
 * engine that hands out wild pointers crashes by itself.
 */
#include "engine/wrap/fault.h"
#include "base/base.h"
#include <math.h>

#define JUNK 'x'

void answer_drop(const struct crossing *c, int r, void *answer)
{
    struct wrap_handles *handles = answer;
    if (r < 0 || !answer)
        return;
    switch (c->method->answer) {
    case ANSWER_CALL: result_clear(answer); break;
    case ANSWER_STATUS: berth_status_free(TAKE(*(struct berth_status **)answer)); break;
    case ANSWER_STREAM: berth_stream_free(TAKE(*(struct berth_stream **)answer)); break;
    case ANSWER_TEXT: free(TAKE(*(char **)answer)); break;
    case ANSWER_HANDLES:
        free(handles->items);
        *handles = (struct wrap_handles){0};
        break;
    default: break;
    }
}

/* ---- which kind */

static bool lacks_something(const struct wrap_method *m)
{
    return m->answer != ANSWER_NOTHING && m->answer != ANSWER_STATS &&
           !(m->answer == ANSWER_CALL && m->wants == MAY_HAVE_STATUS);
}

static bool has_text(const struct wrap_method *m)
{
    bool silent = m->answer == ANSWER_NOTHING || m->answer == ANSWER_STREAM || m->answer == ANSWER_TEXT;
    return !silent && !(m->answer == ANSWER_CALL && m->wants == WANTS_NOTHING);
}

void nonsense_begin(struct crossing *c, int kind)
{
    const struct wrap_method *m = c->method;
    if (kind == BERTH_NONSENSE_NOTHING && !lacks_something(m))
        kind = BERTH_NONSENSE_CODE;
    if (kind == BERTH_NONSENSE_TEXT && !has_text(m))
        kind = BERTH_NONSENSE_ERROR;
    if (kind == BERTH_NONSENSE_WAIT && m->answer != ANSWER_CALL)
        kind = BERTH_NONSENSE_CODE;
    c->nonsense = kind;
    c->never = kind == BERTH_NONSENSE_WAIT;
    c->no_call = kind == BERTH_NONSENSE_NOTHING && m->answer == ANSWER_CALL && m->wants == WANTS_NOTHING;
}

/* ---- what it looks like; each answer has been dropped before */

/** Success of a method, as a number. */
static int success(const struct crossing *c)
{
    enum wrap_answer a = c->method->answer;
    return a == ANSWER_CALL || a == ANSWER_PORT || a == ANSWER_ADDRESS;
}

static int make_nothing(const struct crossing *c, void *answer)
{
    struct wrap_handles *handles = answer;
    switch (answer ? c->method->answer : ANSWER_NOTHING) {
    case ANSWER_CALL: memset(answer, 0, sizeof(struct berth_result)); break;
    case ANSWER_HANDLE: memset(answer, 0, sizeof(struct berth_handle)); break;
    case ANSWER_HANDLES: handles->n = 3; break;
    case ANSWER_PORT: memset(answer, 0, sizeof(struct berth_host_port)); break;
    case ANSWER_ADDRESS: *(char *)answer = 0; break;
    default: break;
    }
    return success(c);
}

static struct berth_status *junk_status(const struct crossing *c)
{
    struct berth_status *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->size = sizeof(*s);
    memcpy(s->handle.runtime, "fake", 5);
    memset(s->handle.name, JUNK, sizeof(s->handle.name));
    s->state = 99;
    s->exit_code = -77;
    memset(s->reason, JUNK, sizeof(s->reason));
    memset(s->image, JUNK, sizeof(s->image));
    return s;
}

static void junk_result(const struct crossing *c, struct berth_result *result)
{
    memset(result, 0, sizeof(*result));
    if (c->method->wants == WANTS_HANDLE)
        memset(&result->handle, JUNK, sizeof(result->handle));
    else if (c->method->wants != WANTS_EXEC)
        result->status = junk_status(c);
    else if ((result->exec = calloc(1, sizeof(*result->exec)))) {
        result->exec->exit_code = -77;
        result->exec->out_size = 1 << 20;
    }
}

static int make_text(const struct crossing *c, void *answer)
{
    struct wrap_handles *handles = answer;
    switch (answer ? c->method->answer : ANSWER_NOTHING) {
    case ANSWER_CALL: junk_result(c, answer); break;
    case ANSWER_STATUS: *(struct berth_status **)answer = junk_status(c); break;
    case ANSWER_HANDLE: memset(answer, JUNK, sizeof(struct berth_handle)); break;
    case ANSWER_HANDLES:
        handles->items = calloc(2, sizeof(*handles->items));
        handles->n = handles->items ? 2 : 0;
        memset(handles->items, JUNK, handles->n * sizeof(*handles->items));
        break;
    case ANSWER_STATS: ((struct berth_stats *)answer)->cpu_limit_cores = NAN; break;
    case ANSWER_PORT: memset(answer, JUNK, sizeof(struct berth_host_port)); break;
    case ANSWER_ADDRESS: memset(answer, JUNK, BERTH_ADDRESS_TEXT); break;
    default: break;
    }
    return success(c);
}

int nonsense_make(const struct crossing *c, int r, void *answer, struct berth_error *err)
{
    answer_drop(c, r, answer);
    switch (c->nonsense) {
    case BERTH_NONSENSE_NOTHING: return make_nothing(c, answer);
    case BERTH_NONSENSE_TEXT: return make_text(c, answer);
    case BERTH_NONSENSE_NUMBER: return 42;
    case BERTH_NONSENSE_ERROR:
        if (err)
            memset(err, JUNK, sizeof(*err));
        return BERTH_IO;
    default: return -5;
    }
}
