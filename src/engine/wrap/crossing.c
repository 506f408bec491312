/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call crosses a layer: in with its method, out when it has finished.
 *
 * The call object stays the one that the inner engine made; what it is made of is taken out and passed
 * through here. So undoing, letting go, streams and descriptors are the engine's own.
 */
#include "engine/wrap/wrap.h"
#include "base/base.h"
#include "base/text.h"
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

/** What the engine's call was made of, and its answer while it is held back. */
struct crossing_data {
    struct crossing c;
    struct berth_call_ops ops;
    void *data;
    int fd, timer_fd, epoll_fd;
    bool answered, left, undone, cancelled;
    int code;
    struct berth_result result;
    struct berth_error failure;
};

void crossing_begin(struct crossing *c, struct wrap *w, size_t method,
                    const struct berth_handle *handle)
{
    c->wrap = w;
    c->method = &wrap_methods[method];
    c->workload = handle ? handle->name : NULL;
    c->id = handle ? handle->id : NULL;
    c->busy_usec = c->delay_msec = 0;
    c->nonsense = c->late_code = 0;
    c->steps = 0;
    c->never = c->no_call = false;
    c->time_usec = now_usec();
    c->begin_usec = monotonic_usec();
}

struct crossing *crossing_new(struct wrap *w, size_t method, const struct berth_handle *handle,
                              struct berth_error *err)
{
    struct crossing_data *d = calloc(1, sizeof(*d));
    if (!d) {
        fail_memory(err);
        return NULL;
    }
    crossing_begin(&d->c, w, method, handle);
    if (handle) {
        memcpy(d->c.name_kept, handle->name, sizeof(d->c.name_kept));
        memcpy(d->c.id_kept, handle->id, sizeof(d->c.id_kept));
        d->c.workload = d->c.name_kept;
        d->c.id = d->c.id_kept;
    }
    d->fd = d->timer_fd = d->epoll_fd = -1;
    return &d->c;
}

int crossing_enter(struct crossing *c, struct berth_error *err)
{
    return c->wrap->layer->enter(c->wrap->data, c, err);
}

int crossing_leave(struct crossing *c, int r, void *answer, struct berth_error *err)
{
    if (c->method->answer != ANSWER_CALL)
        c->busy_usec = monotonic_usec() - c->begin_usec;
    if (c->delay_msec > 0) {
        struct timespec left = {c->delay_msec / 1000, c->delay_msec % 1000 * 1000000};
        while (nanosleep(&left, &left) < 0 && errno == EINTR)
            ;
    }
    return c->wrap->layer->leave(c->wrap->data, c, r, answer, err);
}

/* ---- a call's operations */

/** The engine has answered: from here on only our clock matters. */
static void hold(struct crossing_data *d, int code)
{
    d->answered = true;
    d->code = code;
    if (d->timer_fd < 0)
        return;
    if (d->fd >= 0)
        epoll_ctl(d->epoll_fd, EPOLL_CTL_DEL, d->fd, NULL);
    struct itimerspec when = {.it_value = {d->c.delay_msec / 1000, d->c.delay_msec % 1000 * 1000000 + 1}};
    timerfd_settime(d->timer_fd, 0, &when, NULL);
}

static bool held(const struct crossing_data *d)
{
    uint64_t count;
    return d->timer_fd >= 0 && read(d->timer_fd, &count, sizeof(count)) < 0 && errno == EAGAIN;
}

static int call_step(void *data, struct berth_result *ret, struct berth_error *err)
{
    struct crossing_data *d = data;
    if (d->c.never)
        return 0;
    if (!d->answered) {
        int64_t begin = monotonic_usec();
        int r = d->ops.step(d->data, &d->result, &d->failure);
        d->c.steps++;
        d->c.busy_usec += monotonic_usec() - begin;
        if (r == 0)
            return 0;
        hold(d, r);
    }
    if (held(d))
        return 0;
    d->left = true;
    d->c.delay_msec = 0;
    int r = crossing_leave(&d->c, d->code, &d->result, &d->failure);
    *ret = d->result;
    memset(&d->result, 0, sizeof(d->result));
    if (r != 1 && err)
        *err = d->failure;
    return r;
}

static void call_undo(void *data)
{
    struct crossing_data *d = data;
    if (d->ops.undo && !d->undone)
        d->ops.undo(d->data);
    d->undone = true;
}

static void cancel_inner(struct crossing_data *d)
{
    if (!d->answered && !d->cancelled && d->ops.cancel)
        d->ops.cancel(d->data);
    d->cancelled = true;
}

/** One whose answer is held back is cancelled as the desk does it with one that has finished. */
static void call_cancel(void *data)
{
    struct crossing_data *d = data;
    d->c.never = false;
    cancel_inner(d);
    if (!d->answered)
        return;
    d->c.delay_msec = 0;
    hold(d, d->code);
    if (d->code == 1 && d->ops.undo) {
        call_undo(d);
        result_clear(&d->result);
        d->code = fail(&d->failure, BERTH_CANCELLED, d->c.workload, "cancelled, and undone");
    }
}

static void call_free(void *data)
{
    struct crossing_data *d = data;
    cancel_inner(d);
    if (!d->left) {
        d->c.delay_msec = 0;
        crossing_leave(&d->c, BERTH_AGAIN, NULL, NULL);
    }
    if (d->ops.free)
        d->ops.free(d->data);
    result_clear(&d->result);
    close_fd(&d->timer_fd);
    close_fd(&d->epoll_fd);
    free(d);
}

static int call_stream_fd(void *data, int stream)
{
    struct crossing_data *d = data;
    return d->ops.stream_fd(d->data, stream);
}

static void call_close_stdin(void *data)
{
    struct crossing_data *d = data;
    d->ops.close_stdin(d->data);
}

static int call_resize(void *data, uint16_t rows, uint16_t columns, struct berth_error *err)
{
    struct crossing_data *d = data;
    return d->ops.resize(d->data, rows, columns, err);
}

static int call_signal(void *data, int signal, struct berth_error *err)
{
    struct crossing_data *d = data;
    return d->ops.signal(d->data, signal, err);
}

static int call_let_go(void *data, struct berth_error *err)
{
    struct crossing_data *d = data;
    return d->ops.let_go(d->data, err);
}

/** Ours, but only what the engine's own call has. */
static struct berth_call_ops ops_like(const struct berth_call_ops *inner)
{
    return (struct berth_call_ops){
        .size = sizeof(*inner),
        .step = call_step,
        .cancel = call_cancel,
        .free = call_free,
        .stream_fd = inner->stream_fd ? call_stream_fd : NULL,
        .close_stdin = inner->close_stdin ? call_close_stdin : NULL,
        .resize = inner->resize ? call_resize : NULL,
        .signal = inner->signal ? call_signal : NULL,
        .undo = inner->undo ? call_undo : NULL,
        .let_go = inner->let_go ? call_let_go : NULL,
    };
}

/* ---- taking a call over */

/** What to poll when an answer is to be held back: the engine's descriptor, then our clock. */
static int open_hold(struct crossing_data *d, struct berth_error *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    d->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (d->timer_fd < 0 || d->epoll_fd < 0 ||
        epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, d->timer_fd, &event) < 0 ||
        (d->fd >= 0 && epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, d->fd, &event) < 0))
        return fail_os(err, errno, NULL, "%s: a call to be held back", d->c.method->name);
    return 0;
}

/** The parts of the engine's call: its operations and data, or the answer of one that has finished. */
static void take_apart(struct crossing_data *d, struct berth_call *call)
{
    d->ops = call->ops;
    d->data = call->data;
    d->fd = call->fd;
    if (!call->finished)
        return;
    d->answered = true;
    d->code = call->code < 0 ? call->code : 1;
    d->result = call->result;
    d->failure = call->failure;
    memset(&call->result, 0, sizeof(call->result));
    call->finished = false;
    call->code = 0;
}

/** It can't become ours: the engine's call is freed as one that nobody wanted. */
static int give_up(struct crossing_data *d, struct berth_call *call, int r)
{
    cancel_inner(d);
    if (!d->answered) /* what a cancel has to ask somebody else for is asked in the step behind it */
        d->ops.step(d->data, &d->result, &d->failure);
    call_free(d);
    call->ops = (struct berth_call_ops){0};
    call->finished = true;
    call->code = BERTH_CANCELLED;
    berth_call_free(call);
    return r;
}

/** There is no call, and nothing is to be made of that: the answer goes out at once. */
static int leave_at_once(struct crossing_data *d, int r, struct berth_error *err)
{
    d->left = true;
    r = crossing_leave(&d->c, r, NULL, err);
    call_free(d);
    return r;
}

int crossing_call(struct crossing *c, int r, struct berth_call *call, struct berth_call **ret_call,
                  struct berth_error *err)
{
    struct crossing_data *d = (struct crossing_data *)((char *)c - offsetof(struct crossing_data, c));
    c->busy_usec = monotonic_usec() - c->begin_usec;
    if (r != 0 && !c->delay_msec && !c->nonsense && !c->late_code)
        return leave_at_once(d, r, err);
    if (r != 0) { /* there is no call, but its answer is held back, or becomes another */
        struct berth_error why = *err;
        int made = berth_call_done(r, NULL, &why, &call, err);
        if (made < 0)
            return leave_at_once(d, made, err);
    }
    if (!call)
        return leave_at_once(d, 0, err); /* the desk has a word for that */
    take_apart(d, call);
    if (c->delay_msec > 0 && !c->never && (r = open_hold(d, err)) < 0)
        return give_up(d, call, r);
    if (c->no_call)
        return give_up(d, call, 0);
    if (d->answered)
        hold(d, d->code);
    call->ops = ops_like(&d->ops);
    call->data = d;
    call->fd = c->never ? -1 : d->epoll_fd >= 0 ? d->epoll_fd : d->fd;
    *ret_call = call;
    return 0;
}
