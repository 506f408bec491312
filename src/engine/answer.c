/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checks behind answer.h. What is right costs a few comparisons; words are made only for what is not.
 */
#include "engine/answer.h"
#include "engine/report.h"
#include "base/base.h"
#include <stdarg.h>
#include <stdio.h>

#define LOWEST_CODE BERTH_TOO_BIG /* the last one that this library knows */

static bool ends(const char *text, size_t room)
{
    return memchr(text, 0, room) != NULL;
}

static const char *engine_of(const struct desk_question *q)
{
    return q->runtime ? q->runtime->engine->name : "?";
}

__attribute__((format(printf, 3, 4))) static int nonsense(const struct desk_question *q,
                                                          struct berth_error *err,
                                                          const char *format, ...)
{
    char what[200];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    return fail(err, BERTH_CORRUPT, engine_of(q), "%s: the engine \"%s\" answered nonsense: %s",
                q->verb ? q->verb : "call", engine_of(q), what);
}

static bool is_failure(int r)
{
    return r <= BERTH_INVALID && r >= LOWEST_CODE && r != BERTH_AGAIN;
}

int answer_refuse(const struct desk_question *q, int r, const struct berth_error *said,
                  struct berth_error *err)
{
    if (!is_failure(r))
        return nonsense(q, err, "the code %d", r);
    if (!err)
        return r;
    if (said->code != r || !ends(said->object, sizeof(said->object)) ||
        !ends(said->message, sizeof(said->message)) || !said->message[0])
        return fail(err, r, NULL, "%s: %s, says the engine \"%s\", and not why",
                    q->verb ? q->verb : "call", berth_code_name(r), engine_of(q));
    int os_error = said->os_error;
    fail(err, r, said->object, "%s", said->message);
    err->os_error = os_error;
    return r;
}

/* ---- handles and status */

static const char *handle_fault(const struct desk_question *q, const struct berth_handle *h)
{
    static const uint8_t none[sizeof(h->id)];
    if (!ends(h->runtime, sizeof(h->runtime)) || !ends(h->name, sizeof(h->name)) ||
        !ends(h->metadata, sizeof(h->metadata)))
        return "a handle whose text does not end";
    if (q->runtime && strcmp(h->runtime, q->runtime->engine->name))
        return "a handle of another engine";
    if (!h->name[0] || !memcmp(h->id, none, sizeof(none)))
        return "a handle without a name or an id";
    return NULL;
}

static bool numbered(int number, int first, int last)
{
    return number >= first && number <= last;
}

static const char *status_fault(const struct desk_question *q, const struct berth_status *s)
{
    const char *wrong = handle_fault(q, &s->handle);
    if (wrong)
        return wrong;
    if (memcmp(s->handle.id, q->id, sizeof(q->id)))
        return "the status of another workload";
    if (!numbered(s->state, BERTH_CREATING, BERTH_PENDING) ||
        !numbered(s->health, BERTH_HEALTH_NONE, BERTH_UNHEALTHY) ||
        !numbered(s->oom, BERTH_OOM_NONE, BERTH_OOM_CHILD))
        return "a state, health or oom that there is not";
    if (!numbered(s->exit_code, -1, 255) || !numbered(s->signal, 0, 64) || s->pid < 0)
        return "an exit code, signal or pid that there is not";
    if (!ends(s->reason, sizeof(s->reason)) || !ends(s->image, sizeof(s->image)))
        return "a reason or an image whose text does not end";
    return NULL;
}

/** JSON that the engine left to us: the members of the struct. */
static int status_words(struct berth_status *s, struct berth_error *err)
{
    autotext struct text t = {0};
    text_add(&t, "{");
    report_status(&t, s);
    text_add(&t, "}");
    s->json = text_take(&t);
    return s->json ? 0 : fail_memory(err);
}

/** Grow one that was built with an older header, check it, fill it in. Refused: freed, `*status` NULL. */
static int status_check(const struct desk_question *q, struct berth_status **status,
                        struct berth_error *err)
{
    struct berth_status *s = *status;
    const char *wrong = NULL;
    int r = 0;
    if (!s || s->size < offsetof(struct berth_status, idle) || s->size > 65536) {
        free(s); /* without its members: nobody knows where they are */
        *status = NULL;
        return nonsense(q, err, s ? "a status of the wrong size" : "no status");
    }
    if (s->size < sizeof(*s)) {
        struct berth_status *full = calloc(1, sizeof(*full));
        if (full) {
            memcpy(full, s, s->size);
            full->size = sizeof(*full);
            free(s);
            *status = s = full;
        } else {
            r = fail_memory(err);
        }
    }
    if (r == 0 && (wrong = status_fault(q, s)))
        r = nonsense(q, err, "%s", wrong);
    if (r == 0 && !s->json)
        r = status_words(s, err);
    if (r < 0) {
        berth_status_free(s);
        *status = NULL;
    }
    return r;
}

int answer_status(const struct desk_question *q, int r, struct berth_status *status,
                  const struct berth_error *said, struct berth_status **ret, struct berth_error *err)
{
    r = answer_code(q, r, 0, said, err);
    if (r < 0)
        return r;
    r = status_check(q, &status, err);
    if (r == 0)
        *ret = status;
    return r;
}

int answer_handle(const struct desk_question *q, int r, const struct berth_handle *handle,
                  const struct berth_error *said, struct berth_handle *ret, struct berth_error *err)
{
    r = answer_code(q, r, 0, said, err);
    if (r < 0)
        return r;
    const char *wrong = handle_fault(q, handle);
    if (wrong)
        return nonsense(q, err, "%s", wrong);
    *ret = *handle;
    return 0;
}

int answer_handles(const struct desk_question *q, int r, struct berth_handle *handles, size_t count,
                   const struct berth_error *said, struct berth_handle **ret, size_t *ret_count,
                   struct berth_error *err)
{
    r = answer_code(q, r, 0, said, err);
    if (r < 0)
        return r;
    const char *wrong = !handles && count ? "a list that is not there" : NULL;
    for (size_t i = 0; !wrong && i < count; i++)
        wrong = handle_fault(q, &handles[i]);
    if (wrong) {
        free(handles);
        return nonsense(q, err, "%s", wrong);
    }
    *ret = handles;
    *ret_count = count;
    return 0;
}

/* ---- calls */

int answer_made(const struct desk_question *q, int made, struct berth_call *call,
                const struct berth_error *said, struct berth_error *err)
{
    int r = answer_code(q, made, 0, said, err);
    return r == 0 && !call ? nonsense(q, err, "no call") : r;
}

static const char *exec_fault(const struct berth_exec_result *e)
{
    if (!e)
        return "no result of the exec";
    if ((!e->out && e->out_size) || (!e->err && e->err_size))
        return "output that is not there";
    return numbered(e->exit_code, -1, 255) && numbered(e->signal, 0, 64)
               ? NULL
               : "an exit code or a signal that there is not";
}

static int result_check(struct berth_call *call)
{
    const struct desk_question *q = &call->question;
    struct berth_result *result = &call->result;
    const char *wrong = NULL;
    if (q->wants == WANTS_HANDLE)
        wrong = handle_fault(q, &result->handle);
    else if (q->wants == WANTS_EXEC)
        wrong = exec_fault(result->exec);
    else if (q->wants == WANTS_STATUS || (q->wants == MAY_HAVE_STATUS && result->status))
        return status_check(q, &result->status, &call->failure);
    return wrong ? nonsense(q, &call->failure, "%s", wrong) : 0;
}

int answer_step(struct berth_call *call, int r)
{
    const struct desk_question *q = &call->question;
    if (r == 0)
        return nonsense(q, &call->failure, "a call under way, and nothing to wait for");
    if (r == 1) {
        int checked = q->runtime ? result_check(call) : 0;
        if (checked == 0)
            return 1;
        result_clear(&call->result);
        return checked;
    }
    struct berth_error said = call->failure;
    memset(&call->result, 0, sizeof(call->result)); /* it failed: what is in there belongs to nobody */
    return answer_refuse(q, r, &said, &call->failure);
}

/* ---- the rest */

int answer_stream(const struct desk_question *q, int r, struct berth_stream *stream,
                  const struct berth_error *said, struct berth_stream **ret, struct berth_error *err)
{
    r = answer_code(q, r, 0, said, err);
    if (r < 0)
        return r;
    if (berth_stream_fd(stream) < 0) {
        berth_stream_free(stream);
        return nonsense(q, err, "no stream");
    }
    *ret = stream;
    return 0;
}

int answer_text(const struct desk_question *q, int r, char *text, const struct berth_error *said,
                char **ret, struct berth_error *err)
{
    r = answer_code(q, r, 0, said, err);
    if (r < 0)
        return r;
    if (!text)
        return nonsense(q, err, "no text");
    *ret = text;
    return 0;
}

int answer_stats(const struct desk_question *q, int r, const struct berth_stats *s,
                 const struct berth_error *said, struct berth_error *err)
{
    const double figures[] = {s->cpu_limit_cores, s->psi_cpu_some_avg10, s->psi_memory_some_avg10,
                              s->psi_memory_full_avg10, s->psi_io_some_avg10, s->psi_io_full_avg10};
    r = answer_code(q, r, 0, said, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(figures); i++)
        if (!(figures[i] >= 0 && figures[i] < 1e18))
            r = nonsense(q, err, "a figure that is no number");
    return r;
}

int answer_address(const struct desk_question *q, int r, const char *text, size_t room,
                   const struct berth_error *said, struct berth_error *err)
{
    r = answer_code(q, r, 1, said, err);
    if (r == 1 && (!ends(text, room) || !text[0]))
        return nonsense(q, err, "an address whose text does not end");
    return r;
}
