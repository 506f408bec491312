/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach: the main program's streams on a hijacked connection, then its end as wait tells it.
 *
 * One that joins the next start is connected before the call is handed out, so that not a byte is missed.
 */
#include "docker/exec.h"
#include "base/file.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>

#define CONNECT_MSEC 10000

static struct session *mine(struct op *op)
{
    return op->own;
}

static int wait_for_end(struct op *op)
{
    request_clear(&op->ask);
    close_fd(&mine(op)->pump_fd); /* at its end: it would wake the caller for ever */
    begin_wait(op);
    op->next = on_waited;
    return OP_ON;
}

static int on_streams(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    (void)ret;
    if (op->cancelled)
        return fail(err, BERTH_CANCELLED, op->box.handle.name, "attach %s: cancelled", op->box.handle.name);
    return session_ended(op) ? wait_for_end(op) : OP_WAIT;
}

static int on_attached(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    struct session *s = mine(op);
    (void)ret;
    int r = hijack_step(&s->line, op->box.daemon, "attach", op->box.handle.name, err);
    op_watch(op, s->line.fd, EPOLLIN | (hijack_wants_out(&s->line) ? EPOLLOUT : 0u));
    if (r <= 0)
        return r;
    op->next = on_streams;
    r = session_streams(op, err);
    return r < 0 ? r : OP_ON;
}

static int begin(struct op *op, struct berth_error *err)
{
    struct session *s = mine(op);
    autofree char *path = op_path(op, "/attach?stream=1&stdout=1&stderr=1&stdin=%d", s->input);
    int r = path ? hijack_begin(&s->line, op->box.daemon, path, NULL, err) : fail_memory(err);
    if (r < 0)
        return r;
    op->next = on_attached;
    return 0;
}

/** Until the daemon has joined the two: what it writes from here on is ours. */
static int settle(struct op *op, struct berth_error *err)
{
    const struct session *s = mine(op);
    int64_t end = monotonic_usec() + CONNECT_MSEC * 1000;
    struct berth_result none = {0};
    while (!s->no_output && op->next == on_attached && monotonic_usec() < end) {
        int r = on_attached(op, &none, err);
        if (r < 0)
            return r;
        struct pollfd p = {.fd = op->poll_fd, .events = POLLIN};
        if (op->next == on_attached)
            poll(&p, 1, 100);
    }
    return op->next == on_attached ? fail(err, BERTH_TIMED_OUT, op->box.handle.name, "attach %s: no answer in time", op->box.handle.name)
                                   : 0;
}

static void cancel(struct op *op)
{
    op_timer(op, 0);
}

static int resize(struct op *op, uint16_t rows, uint16_t columns, struct berth_error *err)
{
    if (!mine(op)->tty)
        return fail(err, BERTH_WRONG_STATE, op->box.handle.name, "resize: %s has no terminal", op->box.handle.name);
    autorequest r = {.method = "POST", .path = op_path(op, "/resize?h=%u&w=%u", rows, columns)};
    int code = daemon_ask(op->box.daemon, &r, err);
    return code < 0 ? code : answer_judge(&r, "resize", op->box.handle.name, err);
}

static int check(struct op *op, const struct berth_attach_options *o, json_t *seen, struct berth_error *err)
{
    view_of(&op->box, seen, &op->view);
    if (o->input && !true_at(seen, "Config.OpenStdin"))
        return fail(err, BERTH_WRONG_STATE, op->box.handle.name, "attach %s: its spec has no stdin", op->box.handle.name);
    if (!o->next_start && (!op->view.lives || op->view.state == BERTH_RESTARTING))
        return fail(err, BERTH_WRONG_STATE, op->box.handle.name, "attach %s: it is %s", op->box.handle.name,
                    berth_state_name(op->view.state));
    if (!op->view.lives)
        snprintf(op->not_this, sizeof(op->not_this), "%s", op->view.started);
    return 0;
}

/** As long as this call is there, what its spec removes by itself stays. */
static void hold(struct op *op)
{
    int run_fd = workload_run_fd(op->box.folder, NULL);
    op->held_fd = run_fd < 0 ? -1 : openat(run_fd, "held", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (op->held_fd >= 0)
        lock_take_shared(op->held_fd);
}

static int session_new(struct op *op, const struct berth_attach_options *o, json_t *seen, struct berth_error *err)
{
    struct session *s = op->own = calloc(1, sizeof(*s));
    if (!s)
        return fail_memory(err);
    session_init(s);
    s->stream = true;
    s->tty = true_at(seen, "Config.Tty");
    s->input = o->input;
    s->no_output = o->next_start && o->no_output;
    if (o->next_start)
        hold(op);
    if (s->no_output) {
        wait_for_end(op);
        return 0;
    }
    int r = session_ends(s, err);
    if (r == 0)
        r = begin(op, err);
    if (r == 0)
        r = settle(op, err);
    if (r == 0 && s->tty && o->rows && op->view.lives)
        resize(op, o->rows, o->columns, NULL);
    return r;
}

int docker_attach(void *self, const struct berth_handle *h, const struct berth_attach_options *o, struct berth_call **ret_call,
                  struct berth_error *err)
{
    struct op *op;
    autoanswer seen = NULL;
    int r = op_new(self, "attach", h, &op, err);
    if (r < 0)
        return r;
    op->on_free = session_free;
    op->on_cancel = cancel;
    op->stream_fd = session_stream_fd;
    op->close_stdin = session_close_stdin;
    op->resize = resize;
    r = box_inspect(&op->box, "attach", &seen, err);
    if (r == 0)
        r = check(op, o, seen, err);
    if (r == 0)
        r = session_new(op, o, seen, err);
    if (r < 0) {
        op_free(op);
        return r;
    }
    return op_call(op, ret_call, err);
}
