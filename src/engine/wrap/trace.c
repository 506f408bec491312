/* SPDX-License-Identifier: Apache-2.0 */
/*
 * trace: one JSON line for each call that has crossed.
 *
 * A line is one write: readers see whole lines, also of several processes that append to one file.
 */
#include "engine/wrap/wrap.h"
#include "engine/report.h"
#include "base/base.h"
#include "base/text.h"
#include <fcntl.h>

struct trace { int fd; };

static const struct berth_engine trace_identity = {.name = "trace"};

static int trace_enter(void *layer, struct crossing *c, struct berth_error *err)
{
    return 0;
}

static void add_workload(struct text *t, const char *name, const uint8_t *id)
{
    char text[BERTH_ID_TEXT];
    if (!name)
        return;
    berth_id_print(id, text);
    text_add(t, ",\"workload\":");
    report_string(t, name);
    text_printf(t, ",\"id\":\"%s\"", text);
}

/** The handle that a create or find has brought. */
static const struct berth_handle *brought(const struct crossing *c, int r, const void *answer)
{
    if (c->method->answer == ANSWER_HANDLE)
        return r == 0 ? answer : NULL;
    bool create = c->method->answer == ANSWER_CALL && c->method->wants == WANTS_HANDLE;
    return create && r == 1 ? &((const struct berth_result *)answer)->handle : NULL;
}

static void add_code(struct text *t, int r, const struct berth_error *err)
{
    if (r == BERTH_AGAIN) {
        text_add(t, ",\"code\":null");
        return;
    }
    text_printf(t, ",\"code\":\"%s\"", berth_code_name(r < 0 ? r : 0));
    if (r < 0 && err && memchr(err->message, 0, sizeof(err->message))) {
        text_add(t, ",\"message\":");
        report_string(t, err->message);
    }
}

static int trace_leave(void *layer, struct crossing *c, int r, void *answer, struct berth_error *err)
{
    const struct trace *trace = layer;
    char when[40];
    autotext struct text t = {0};
    const struct berth_handle *handle = brought(c, r, answer);
    time_print(c->time_usec, when);
    text_printf(&t, "{\"time\":\"%s\",\"engine\":\"%s\",\"call\":\"%s\"", when, c->wrap->table.name,
                c->method->name);
    if (handle)
        add_workload(&t, handle->name, handle->id);
    else
        add_workload(&t, c->workload, c->id);
    text_printf(&t, ",\"duration_usec\":%lld,\"busy_usec\":%lld", (long long)(monotonic_usec() - c->begin_usec),
                (long long)c->busy_usec);
    if (c->method->answer == ANSWER_CALL)
        text_printf(&t, ",\"steps\":%u", c->steps);
    add_code(&t, r, err);
    text_add(&t, "}\n");
    if (!t.failed && RETRY(write(trace->fd, t.data, t.length)) < 0)
        return r; /* lost: a trace disturbs nobody */
    return r;
}

static void trace_close(void *layer)
{
    struct trace *trace = layer;
    close_fd(&trace->fd);
    free(trace);
}

static const struct wrap_layer trace_layer = {&trace_identity, trace_enter, trace_leave, trace_close};

int berth_trace(struct berth_runtime *inner, int fd, struct berth_runtime **ret_runtime,
                struct berth_error *err)
{
    if (!inner || !ret_runtime)
        return fail(err, BERTH_INVALID, NULL, "trace: an argument is NULL");
    autoclose int mine = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (mine < 0)
        return fail_os(err, errno, NULL, "trace: descriptor %d", fd);
    struct trace *trace = malloc(sizeof(*trace));
    if (!trace)
        return fail_memory(err);
    trace->fd = take_fd(&mine);
    return wrap_open(&trace_layer, trace, inner, ret_runtime, err);
}

int trace_by_name(struct berth_runtime *inner, struct berth_runtime **ret_runtime,
                  struct berth_error *err)
{
    const char *path = secure_getenv("BERTH_ENGINE_TRACE");
    if (!path || !*path)
        return fail(err, BERTH_INVALID, NULL, "trace: $BERTH_ENGINE_TRACE names no file to write to");
    autoclose int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0)
        return fail_os(err, errno, path, "trace: %s", path);
    return berth_trace(inner, fd, ret_runtime, err);
}
