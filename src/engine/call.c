/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls: the form of a verb that does not block, and the wait that makes the blocking form of it.
 *
 * A blocking caller polls the engine's own descriptor; only berth_call_fd makes the two that a
 * caller's loop needs: an epoll around the engine's, and an eventfd that a cancel can wake.
 */
#include "engine/answer.h"
#include "base/base.h"
#include "base/text.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

void result_clear(struct berth_result *result)
{
    berth_exec_result_free(result->exec);
    berth_status_free(result->status);
    memset(result, 0, sizeof(*result));
}

int berth_call_new(const struct berth_call_ops *ops, void *data, int fd,
                   struct berth_call **ret_call, struct berth_error *err)
{
    if (!ops || ops->size < offsetof(struct berth_call_ops, stream_fd) || !ops->step || !ops->free)
        return fail(err, BERTH_INVALID, NULL, "call: `ops` has no step or no free");
    struct berth_call *call = calloc(1, sizeof(*call));
    if (!call) {
        if (ops->cancel)
            ops->cancel(data);
        ops->free(data);
        return fail_memory(err);
    }
    memcpy(&call->ops, ops, MIN(ops->size, sizeof(call->ops)));
    call->data = data;
    call->fd = fd;
    call->poll_fd = call->wake_fd = -1;
    *ret_call = call;
    return 0;
}

int berth_call_done(int code, const struct berth_result *result, const struct berth_error *failure,
                    struct berth_call **ret_call, struct berth_error *err)
{
    struct berth_result mine = result ? *result : (struct berth_result){0};
    struct berth_call *call = calloc(1, sizeof(*call));
    if (!call) {
        result_clear(&mine);
        return fail_memory(err);
    }
    call->fd = call->poll_fd = call->wake_fd = -1;
    call->finished = true;
    call->code = code;
    call->result = mine;
    if (failure)
        call->failure = *failure;
    *ret_call = call;
    return 0;
}

static int add_to_epoll(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

int berth_call_fd(struct berth_call *call)
{
    if (!call)
        return BERTH_INVALID;
    if (call->poll_fd >= 0)
        return call->poll_fd;
    bool ready = call->finished || call->cancelled || call->fd < 0;
    autoclose int wake_fd = eventfd(ready ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
    autoclose int epoll_fd = wake_fd < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || add_to_epoll(epoll_fd, wake_fd) < 0 ||
        (call->fd >= 0 && !call->finished && add_to_epoll(epoll_fd, call->fd) < 0))
        return code_of_errno(errno);
    call->wake_fd = take_fd(&wake_fd);
    call->poll_fd = take_fd(&epoll_fd);
    return call->poll_fd;
}

static void wake(struct berth_call *call)
{
    uint64_t one = 1;
    if (call->wake_fd >= 0 && write(call->wake_fd, &one, sizeof(one)) < 0)
        return; /* EAGAIN: it is readable already */
}

static void advance(struct berth_call *call)
{
    uint64_t count;
    if (call->finished)
        return;
    int r = call->ops.step(call->data, &call->result, &call->failure);
    if (r != 0 || call->fd < 0)
        r = answer_step(call, r);
    if (r == 0) {
        /* a cancel woke the caller once; from here on the engine's descriptor does */
        if (call->wake_fd >= 0 && read(call->wake_fd, &count, sizeof(count)) < 0)
            return;
        return;
    }
    call->finished = true;
    call->code = r < 0 ? r : 0;
    wake(call);
}

int desk_begin(const struct desk_question *q, int made, struct berth_call *call,
               const struct berth_error *said, struct berth_call **ret_call, struct berth_error *err)
{
    int r = answer_made(q, made, call, said, err);
    if (r < 0)
        return r;
    call->question = *q;
    if (call->finished)
        call->code = MIN(answer_step(call, call->code < 0 ? call->code : 1), 0);
    else
        advance(call);
    *ret_call = call;
    return 0;
}

int berth_call_finish(struct berth_call *call, struct berth_result *ret_result,
                      struct berth_error *err)
{
    if (!call)
        return fail(err, BERTH_INVALID, NULL, "finish: the call is NULL");
    advance(call);
    if (!call->finished)
        return BERTH_AGAIN;
    if (call->code < 0) {
        if (err)
            *err = call->failure;
        return call->code;
    }
    if (ret_result) {
        *ret_result = call->result;
        call->result.exec = NULL;
        call->result.status = NULL;
        call->taken = true;
    }
    return 0;
}

int berth_call_wait(struct berth_call *call, int64_t timeout_msec, struct berth_result *ret_result,
                    struct berth_error *err)
{
    int64_t end = timeout_msec < 0 ? -1 : monotonic_usec() + timeout_msec * 1000;
    for (;;) {
        int r = berth_call_finish(call, ret_result, err);
        if (r != BERTH_AGAIN)
            return r;
        int64_t left = end < 0 ? -1 : (MAX(end - monotonic_usec(), 0) + 999) / 1000;
        if (left == 0)
            return fail(err, BERTH_TIMED_OUT, NULL, "not finished after %lld ms",
                        (long long)timeout_msec);
        struct pollfd p = {.fd = call->fd, .events = POLLIN};
        if (poll(&p, 1, (int)MIN(left, 1 << 30)) < 0 && errno != EINTR)
            return fail_os(err, errno, NULL, "poll");
        if (p.revents & POLLNVAL)
            return fail(err, BERTH_CORRUPT, NULL, "%s: the engine gave a descriptor to poll that is none",
                        call->question.verb ? call->question.verb : "call");
    }
}

/** It has finished, but nobody knows yet: what can be undone is. */
static void take_back(struct berth_call *call)
{
    if (call->code < 0 || call->taken || !call->ops.undo)
        return;
    call->ops.undo(call->data);
    call->code = fail(&call->failure, BERTH_CANCELLED, NULL, "cancelled, and undone");
    result_clear(&call->result);
}

void berth_call_cancel(struct berth_call *call)
{
    if (!call || call->cancelled)
        return;
    call->cancelled = true;
    if (call->finished) {
        take_back(call);
        return;
    }
    if (call->ops.cancel)
        call->ops.cancel(call->data);
    wake(call);
}

void berth_call_free(struct berth_call *call)
{
    if (!call)
        return;
    berth_call_cancel(call);
    advance(call); /* what a cancel has to ask somebody else for is asked in the step behind it */
    if (call->finished)
        take_back(call);
    if (call->ops.free)
        call->ops.free(call->data);
    result_clear(&call->result);
    close_fd(&call->poll_fd);
    close_fd(&call->wake_fd);
    free(call);
}

int berth_call_stream_fd(struct berth_call *call, int stream)
{
    if (!call || stream < 0 || stream > 2 || !call->ops.stream_fd)
        return -1;
    return call->ops.stream_fd(call->data, stream);
}

void berth_call_close_stdin(struct berth_call *call)
{
    if (call && call->ops.close_stdin)
        call->ops.close_stdin(call->data);
}

int berth_call_resize(struct berth_call *call, uint16_t rows, uint16_t columns,
                      struct berth_error *err)
{
    if (!call)
        return fail(err, BERTH_INVALID, NULL, "resize: the call is NULL");
    if (!call->ops.resize)
        return fail(err, BERTH_UNSUPPORTED, "resize", "resize: this call has no terminal");
    return call->ops.resize(call->data, rows, columns, err);
}

int berth_call_signal(struct berth_call *call, int signal, struct berth_error *err)
{
    if (!call || signal < 1 || signal > 64)
        return fail(err, BERTH_INVALID, NULL, "signal: %d is no signal", signal);
    if (!call->ops.signal)
        return fail(err, BERTH_UNSUPPORTED, "signal", "signal: this call has no program");
    return call->ops.signal(call->data, signal, err);
}

int berth_call_let_go(struct berth_call *call, struct berth_error *err)
{
    if (!call)
        return fail(err, BERTH_INVALID, NULL, "let go: the call is NULL");
    if (!call->ops.let_go)
        return fail(err, BERTH_UNSUPPORTED, "let_go", "let go: this call has no program that could stay");
    return call->ops.let_go(call->data, err);
}

void berth_exec_result_free(struct berth_exec_result *result)
{
    if (!result)
        return;
    free(result->out);
    free(result->err);
    free(result);
}

void berth_status_free(struct berth_status *status)
{
    if (!status)
        return;
    free(status->json);
    free(status);
}
