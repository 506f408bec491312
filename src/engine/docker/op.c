/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of this engine: a verb is a chain of functions, each of which looks at the answer that came and
 * sends the next request. Nothing waits in here; the call's descriptor is an epoll around the channel's
 * and a timer.
 */
#include "docker/inside.h"
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#define SETTLE_MSEC 1000 /* how long a verb may keep its caller before it hands out the call */

void op_free(struct op *op)
{
    if (!op)
        return;
    if (op->on_free)
        op->on_free(op);
    request_clear(&op->ask);
    request_clear(&op->other);
    channel_give(op->channel);
    box_close(&op->box);
    close_fd(&op->poll_fd);
    close_fd(&op->timer_fd);
    close_fd(&op->held_fd);
    free(op->own);
    free(op);
}

int op_watch(struct op *op, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};
    if (epoll_ctl(op->poll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
        return 0;
    return epoll_ctl(op->poll_fd, EPOLL_CTL_ADD, fd, &event);
}

int op_channel(struct op *op, struct berth_error *err)
{
    int r = channel_take(op->box.daemon, &op->channel, err);
    if (r < 0)
        return r;
    return op_watch(op, channel_fd(op->channel), EPOLLIN) < 0 ? fail_os(err, errno, NULL, "epoll") : 0;
}

int op_new(struct docker *d, const char *verb, const struct berth_handle *h, struct op **ret, struct berth_error *err)
{
    struct op *op = calloc(1, sizeof(*op));
    if (!op)
        return fail_memory(err);
    op->docker = d;
    op->verb = verb;
    op->held_fd = -1;
    op->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    op->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    int r = op->timer_fd < 0 || op->poll_fd < 0 || op_watch(op, op->timer_fd, EPOLLIN) < 0
                ? fail_os(err, errno, NULL, "epoll")
                : 0;
    if (r == 0 && h)
        r = box_open(d, h, &op->box, err);
    if (r == 0 && h)
        r = op_channel(op, err);
    if (r < 0)
        op_free(op);
    else
        *ret = op;
    return r;
}

void op_send(struct op *op, struct request *r, const char *method, char *path, char *body, int64_t timeout_msec)
{
    request_clear(r);
    r->method = method;
    r->path = path;
    r->body = body;
    r->timeout_msec = timeout_msec;
    request_send(op->channel, r);
}

char *op_path(const struct op *op, const char *format, ...)
{
    autofree char *rest = NULL;
    va_list list;
    va_start(list, format);
    int r = vasprintf(&rest, format, list);
    va_end(list);
    return r < 0 ? NULL : format_text("/containers/%s%s", op->box.container, rest);
}

void op_timer(struct op *op, int64_t msec)
{
    struct itimerspec when = {0};
    if (msec >= 0) {
        when.it_value.tv_sec = msec / 1000;
        when.it_value.tv_nsec = msec % 1000 * 1000000 + 1;
    }
    timerfd_settime(op->timer_fd, 0, &when, NULL);
}

int op_step(void *data, struct berth_result *ret, struct berth_error *err)
{
    struct op *op = data;
    uint64_t count;
    int r = op->over;
    if (r) { /* it was carried to its end when its caller left */
        if (r < 0 && err)
            *err = op->failure;
        return r;
    }
    op->timed_out = read(op->timer_fd, &count, sizeof(count)) > 0;
    do {
        if (op->channel)
            channel_step(op->channel);
        r = op->next(op, ret, err);
    } while (r == OP_ON);
    return r;
}

/** What goes on without its caller must have been asked for before the caller leaves. */
static void see_off(struct op *op)
{
    struct berth_result result = {0};
    int64_t end = monotonic_usec() + LEAVE_MSEC * 1000;
    while (!(op->decisive && request_sent(&op->ask)) && monotonic_usec() < end) {
        struct pollfd p = {.fd = op->poll_fd, .events = POLLIN};
        op->over = op_step(op, &result, &op->failure);
        if (op->over)
            break;
        if (!(op->decisive && request_sent(&op->ask)))
            poll(&p, 1, 100);
    }
    berth_status_free(result.status);
}

static void op_cancel(void *data)
{
    struct op *op = data;
    op->cancelled = true;
    if (op->on_cancel)
        op->on_cancel(op);
    else
        see_off(op);
}

static void op_undo(void *data)
{
    struct op *op = data;
    if (op->on_undo)
        op->on_undo(op);
}

static int op_stream_fd(void *data, int stream)
{
    struct op *op = data;
    return op->stream_fd ? op->stream_fd(op, stream) : -1;
}

static void op_close_stdin(void *data)
{
    struct op *op = data;
    if (op->close_stdin)
        op->close_stdin(op);
}

static int op_resize(void *data, uint16_t rows, uint16_t columns, struct berth_error *err)
{
    struct op *op = data;
    return op->resize(op, rows, columns, err);
}

static int op_signal(void *data, int signal, struct berth_error *err)
{
    struct op *op = data;
    if (!op->signal)
        return fail(err, BERTH_UNSUPPORTED, "signal", "signal: this call has no program");
    return op->signal(op, signal, err);
}

static void op_release(void *data)
{
    op_free(data);
}

static const struct berth_call_ops op_ops = {
    .size = sizeof(op_ops), .step = op_step, .cancel = op_cancel, .free = op_release, .undo = op_undo,
    .stream_fd = op_stream_fd,
};

static const struct berth_call_ops session_ops = {
    .size = sizeof(session_ops), .step = op_step, .cancel = op_cancel, .free = op_release, .stream_fd = op_stream_fd,
    .close_stdin = op_close_stdin, .resize = op_resize, .signal = op_signal,
};

int op_call(struct op *op, struct berth_call **ret_call, struct berth_error *err)
{
    return berth_call_new(op->resize ? &session_ops : &op_ops, op, op->poll_fd, ret_call, err);
}

int op_settle(struct op *op, bool (*settled)(const struct op *op), struct berth_call **ret_call, struct berth_error *err)
{
    struct berth_result result = {0};
    struct berth_error failure = {0};
    int64_t end = monotonic_usec() + SETTLE_MSEC * 1000;
    int r = op_step(op, &result, &failure);
    while (r == 0 && !settled(op) && monotonic_usec() < end) {
        struct pollfd p = {.fd = op->poll_fd, .events = POLLIN};
        if (poll(&p, 1, 100) < 0 && errno != EINTR)
            break;
        r = op_step(op, &result, &failure);
    }
    if (r == 0)
        return op_call(op, ret_call, err);
    op_free(op);
    return berth_call_done(r < 0 ? r : 0, &result, &failure, ret_call, err);
}
