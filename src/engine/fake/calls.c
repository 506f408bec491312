/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of the fake engine: each has a timer that fires when its workload's next moment is due, or
 * at once when somebody else's entry changed the workload.
 */
#include "fake/world.h"
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

struct fake_call {
    struct fake_call *next;
    struct fake *fake;
    int kind, timer_fd, epoll_fd;
    uint8_t id[16];
    char name[BERTH_NAME_MAX + 8];
    uint64_t seen;
    int64_t asked_usec;
    bool cancelled, gone, next_start;
    struct berth_status *final;
    /* exec and attach */
    uint64_t exec_id;
    bool detach, stream, tty, input, input_closed;
    char *stdin_data;
    size_t stdin_size;
    uint64_t output_max;
    int mine[3], theirs[3];
    size_t record, offset; /* in the log: sent up to here */
};

static void arm(struct fake_call *c, int64_t usec_from_now)
{
    struct itimerspec when = {0};
    if (usec_from_now != NEVER) {
        int64_t usec = MAX(usec_from_now, 0);
        when.it_value.tv_sec = usec / 1000000;
        when.it_value.tv_nsec = usec % 1000000 * 1000 + 1;
    }
    timerfd_settime(c->timer_fd, 0, &when, NULL);
}

void fake_calls_wake(struct fake *f)
{
    for (struct fake_call *c = f->calls; c; c = c->next) {
        const struct fake_workload *w = fake_find_id(f, c->id);
        if (!w || w->version != c->seen)
            arm(c, 0);
    }
}

void fake_calls_part(struct fake *f, const struct fake_workload *w)
{
    for (struct fake_call *c = f->calls; c; c = c->next)
        if (!memcmp(c->id, w->handle.id, 16) && !c->gone) {
            c->gone = true;
            if (fake_final(w))
                fake_status(w, &c->final, NULL);
        }
}

/* ---- streams of an exec or attach */

static struct fake_exec *find_exec(struct fake_workload *w, uint64_t id)
{
    struct fake_exec *e = w ? w->execs : NULL;
    while (e && e->id != id)
        e = e->next;
    return e;
}

static void remove_exec(struct fake_workload *w, uint64_t id)
{
    for (struct fake_exec **link = w ? &w->execs : NULL; link && *link; link = &(*link)->next)
        if ((*link)->id == id) {
            struct fake_exec *e = *link;
            *link = e->next;
            fake_exec_free(e);
            return;
        }
}

/** Send what the reader takes of a log. True when all of it went, or the reader is gone. */
static bool push_output(struct fake_call *c, const struct fake_log *log)
{
    while (c->record < log->n) {
        const struct fake_record *r = &log->items[c->record];
        int fd = c->mine[c->tty ? 1 : r->stream];
        while (fd >= 0 && c->offset < r->length) {
            ssize_t n = send(fd, r->data + c->offset, r->length - c->offset,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
            if (n < 0 && errno == EAGAIN)
                return false;
            if (n < 0)
                break;
            c->offset += (size_t)n;
        }
        c->record++;
        c->offset = 0;
    }
    return true;
}

static void input_over(struct fake_program *p, int64_t now)
{
    if (!p->reads)
        return;
    p->reads = false;
    p->pc++;
    p->wake_usec = now;
}

/** Give a reading program its stdin; true when something changed. */
static bool pull_input(struct fake_call *c, struct fake_program *p, struct fake_log *log, int64_t now)
{
    char buffer[65536];
    bool changed = false;
    if (!c->stream && !c->input) {
        if (p->reads) {
            fake_log_add(log, now, BERTH_STDOUT, c->stdin_data, c->stdin_size);
            input_over(p, now);
            changed = true;
        }
        return changed;
    }
    ssize_t n = 0;
    while (p->reads && !c->input_closed && c->mine[0] >= 0) {
        n = recv(c->mine[0], buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n <= 0)
            break;
        fake_log_add(log, now, BERTH_STDOUT, buffer, (size_t)n);
        changed = true;
    }
    if (p->reads && (c->mine[0] < 0 || c->input_closed || n == 0 ||
                     (n < 0 && errno != EAGAIN))) {
        c->input_closed = true;
        input_over(p, now);
        changed = true;
    }
    return changed;
}

static void watch(struct fake_call *c, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events};
    if (c->epoll_fd >= 0 && fd >= 0 && epoll_ctl(c->epoll_fd, EPOLL_CTL_MOD, fd, &e) < 0 &&
        errno == ENOENT)
        epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

static void unwatch(struct fake_call *c, int fd)
{
    if (c->epoll_fd >= 0 && fd >= 0)
        epoll_ctl(c->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static void end_output(struct fake_call *c)
{
    for (int i = 0; i < 3; i++)
        if (c->mine[i] >= 0) {
            unwatch(c, c->mine[i]);
            close_fd(&c->mine[i]);
        }
}

static void watch_streams(struct fake_call *c, bool wants_input, bool output_waits)
{
    if (wants_input && !c->input_closed)
        watch(c, c->mine[0], EPOLLIN);
    else
        unwatch(c, c->mine[0]);
    for (int i = 1; i < 3; i++)
        if (output_waits)
            watch(c, c->mine[i], EPOLLOUT);
        else
            unwatch(c, c->mine[i]);
}

/* ---- steps */

static int collect(struct fake_call *c, const struct fake_exec *e, struct berth_exec_result *r,
                   struct berth_error *err)
{
    autotext struct text out = {0}, errors = {0};
    for (size_t i = 0; i < e->log.n && !c->stream; i++) {
        const struct fake_record *record = &e->log.items[i];
        struct text *t = c->tty || record->stream == BERTH_STDOUT ? &out : &errors;
        text_add_bytes(t, record->data, record->length);
    }
    if (MAX(out.length, errors.length) > c->output_max)
        return fail(err, BERTH_TOO_BIG, c->name, "exec %s: more than %llu bytes of output",
                    c->name, (unsigned long long)c->output_max);
    r->out_size = out.length;
    r->err_size = errors.length;
    r->out = text_take(&out);
    r->err = text_take(&errors);
    return r->out && r->err ? 0 : fail_memory(err);
}

static int exec_result(struct fake_call *c, const struct fake_exec *e, struct berth_result *ret,
                       struct berth_error *err)
{
    if (e->timed_out)
        return fail(err, BERTH_TIMED_OUT, c->name, "exec %s: its time limit passed", c->name);
    struct berth_exec_result *r = calloc(1, sizeof(*r));
    if (!r)
        return fail_memory(err);
    r->exec_id = e->id;
    r->exit_code = e->program.ended ? e->program.exit_code : 0;
    r->signal = e->program.signal;
    int code = c->detach ? 0 : collect(c, e, r, err);
    if (code < 0) {
        berth_exec_result_free(r);
        return code;
    }
    ret->exec = r;
    return 1;
}

static int step_exec(struct fake_call *c, struct fake_workload *w, struct berth_result *ret,
                     struct berth_error *err)
{
    struct fake_exec *e = find_exec(w, c->exec_id);
    if (!e)
        return c->cancelled ? fail(err, BERTH_CANCELLED, c->name, "exec %s: cancelled", c->name)
                            : fail(err, BERTH_LOST, c->name, "exec %s: the workload is gone",
                                   c->name);
    if (c->detach)
        return exec_result(c, e, ret, err);
    if (pull_input(c, &e->program, &e->log, fake_now(c->fake)))
        fake_changed(c->fake, w);
    bool all = !c->stream || push_output(c, &e->log);
    watch_streams(c, e->program.reads, !all);
    if (!e->program.ended || !all)
        return 0;
    int r = exec_result(c, e, ret, err);
    end_output(c);
    remove_exec(w, c->exec_id);
    return r;
}

static int step_attach(struct fake_call *c, struct fake_workload *w, struct berth_result *ret,
                       struct berth_error *err)
{
    if (!w || c->cancelled) {
        end_output(c);
        return c->cancelled ? fail(err, BERTH_CANCELLED, c->name, "attach to %s: cancelled", c->name)
                            : 1;
    }
    if (c->input && pull_input(c, &w->program, &w->log, fake_now(c->fake)))
        fake_changed(c->fake, w);
    bool all = push_output(c, &w->log);
    watch_streams(c, c->input && w->program.reads, !all);
    if (!fake_final(w) || !all || (c->next_start && w->started_usec < c->asked_usec))
        return 0;
    end_output(c);
    return fake_status(w, &ret->status, err) < 0 ? BERTH_NO_MEMORY : 1;
}

static int step_wait(struct fake_call *c, const struct fake_workload *w, struct berth_result *ret,
                     struct berth_error *err)
{
    if (c->cancelled)
        return fail(err, BERTH_CANCELLED, c->name, "wait for %s: cancelled", c->name);
    if (c->final) {
        ret->status = TAKE(c->final);
        return 1;
    }
    if (!w)
        return fail(err, BERTH_NOT_FOUND, c->name, "no workload \"%s\"", c->name);
    if (!fake_final(w))
        return 0;
    int r = fake_status(w, &ret->status, err);
    return r < 0 ? r : 1;
}

bool fake_is_awaited(const struct fake *f, const struct fake_workload *w)
{
    for (const struct fake_call *c = f->calls; c; c = c->next)
        if (c->next_start && memcmp(c->id, w->handle.id, sizeof(c->id)) == 0)
            return true;
    return false;
}

static int step_locked(struct fake_call *c, struct fake_workload *w, struct berth_result *ret,
                       struct berth_error *err)
{
    switch (c->kind) {
    case FAKE_STOP: return !w || !(fake_lives(w) && w->started_usec <= c->asked_usec);
    case FAKE_RESTART: return !w || w->started_usec >= c->asked_usec || fake_final(w);
    case FAKE_WAIT: return step_wait(c, w, ret, err);
    case FAKE_EXEC: return step_exec(c, w, ret, err);
    default: return step_attach(c, w, ret, err);
    }
}

static int call_step(void *data, struct berth_result *ret, struct berth_error *err)
{
    struct fake_call *c = data;
    struct fake *f = c->fake;
    pthread_mutex_lock(&f->lock);
    fake_settle(f);
    struct fake_workload *w = fake_find_id(f, c->id);
    int r = step_locked(c, w, ret, err);
    w = fake_find_id(f, c->id);
    if (r == 0) {
        c->seen = w ? w->version : 0;
        int64_t due = w ? fake_next_due(w) : 0;
        arm(c, due == NEVER ? NEVER : due - fake_now(f));
    }
    pthread_mutex_unlock(&f->lock);
    return r;
}

static void call_cancel(void *data)
{
    struct fake_call *c = data;
    pthread_mutex_lock(&c->fake->lock);
    c->cancelled = c->kind != FAKE_STOP && c->kind != FAKE_RESTART;
    struct fake_workload *w = fake_find_id(c->fake, c->id);
    if (c->kind == FAKE_EXEC && !c->detach)
        remove_exec(w, c->exec_id);
    arm(c, 0);
    pthread_mutex_unlock(&c->fake->lock);
}

static void call_free(void *data)
{
    struct fake_call *c = data;
    pthread_mutex_lock(&c->fake->lock);
    for (struct fake_call **link = &c->fake->calls; *link; link = &(*link)->next)
        if (*link == c) {
            *link = c->next;
            break;
        }
    pthread_mutex_unlock(&c->fake->lock);
    for (int i = 0; i < 3; i++) {
        close_fd(&c->mine[i]);
        close_fd(&c->theirs[i]);
    }
    close_fd(&c->timer_fd);
    close_fd(&c->epoll_fd);
    berth_status_free(c->final);
    free(c->stdin_data);
    free(c);
}

static int call_stream_fd(void *data, int stream)
{
    struct fake_call *c = data;
    return c->tty && stream == 2 ? -1 : c->theirs[stream];
}

static void call_close_stdin(void *data)
{
    struct fake_call *c = data;
    if (c->theirs[0] >= 0)
        shutdown(c->theirs[0], SHUT_WR);
}

static int call_resize(void *data, uint16_t rows, uint16_t columns, struct berth_error *err)
{
    const struct fake_call *c = data;
    if (!c->tty)
        return fail(err, BERTH_WRONG_STATE, c->name, "resize: %s has no terminal", c->name);
    return 0;
}

static int call_signal(void *data, int signal, struct berth_error *err)
{
    struct fake_call *c = data;
    pthread_mutex_lock(&c->fake->lock);
    struct fake_workload *w = fake_find_id(c->fake, c->id);
    struct fake_exec *e = find_exec(w, c->exec_id);
    if (e) {
        fake_program_signal(&e->program, signal, fake_now(c->fake));
        fake_changed(c->fake, w);
    }
    pthread_mutex_unlock(&c->fake->lock);
    return e ? 0 : fail(err, BERTH_WRONG_STATE, c->name, "exec %s: it has ended", c->name);
}

static const struct berth_call_ops plain_ops = {
    .size = sizeof(plain_ops), .step = call_step, .cancel = call_cancel, .free = call_free,
};
static const struct berth_call_ops exec_ops = {
    .size = sizeof(exec_ops), .step = call_step, .cancel = call_cancel, .free = call_free,
    .stream_fd = call_stream_fd, .close_stdin = call_close_stdin, .resize = call_resize,
    .signal = call_signal,
};

static struct fake_call *call_make(struct fake *f, struct fake_workload *w, int kind,
                                   struct berth_error *err)
{
    struct fake_call *c = calloc(1, sizeof(*c));
    if (!c) {
        fail_memory(err);
        return NULL;
    }
    *c = (struct fake_call){.fake = f, .kind = kind, .epoll_fd = -1, .seen = w->version,
                            .mine = {-1, -1, -1}, .theirs = {-1, -1, -1},
                            .asked_usec = fake_now(f)};
    memcpy(c->id, w->handle.id, sizeof(c->id));
    snprintf(c->name, sizeof(c->name), "%s", w->handle.name);
    c->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (c->timer_fd < 0) {
        fail_os(err, errno, NULL, "timerfd_create");
        free(c);
        return NULL;
    }
    c->next = f->calls;
    f->calls = c;
    return c;
}

static int hand_over(struct fake_call *c, const struct berth_call_ops *ops,
                     struct berth_call **ret_call, struct berth_error *err)
{
    int fd = c->epoll_fd >= 0 ? c->epoll_fd : c->timer_fd;
    arm(c, 0);
    return berth_call_new(ops, c, fd, ret_call, err);
}

int fake_call_new(struct fake *f, struct fake_workload *w, int kind, struct berth_call **ret_call,
                  struct berth_error *err)
{
    struct fake_call *c = call_make(f, w, kind, err);
    return c ? hand_over(c, &plain_ops, ret_call, err) : BERTH_NO_MEMORY;
}

static int open_streams(struct fake_call *c, bool input, struct berth_error *err)
{
    struct epoll_event e = {.events = EPOLLIN};
    c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (c->epoll_fd < 0 || epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, c->timer_fd, &e) < 0)
        return fail_os(err, errno, NULL, "epoll");
    for (int i = input ? 0 : 1; i < (c->tty ? 2 : 3) && c->stream; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
            return fail_os(err, errno, NULL, "socketpair");
        c->mine[i] = pair[0];
        c->theirs[i] = pair[1];
    }
    return 0;
}

static struct fake_exec *exec_make(struct fake *f, struct fake_workload *w, const char *const *argv,
                                   const struct berth_exec_options *o)
{
    struct fake_exec *e = calloc(1, sizeof(*e));
    char **steps = strings_copy(argv);
    if (!e || !steps) {
        free(e);
        strings_free(steps);
        return NULL;
    }
    int64_t now = fake_now(f);
    e->id = ++f->next_exec_id;
    e->steps = steps;
    e->detached = o->detach;
    e->deadline_usec = o->timeout_msec ? now + o->timeout_msec * 1000 : NEVER;
    fake_program_begin(&e->program, steps, now);
    e->next = w->execs;
    w->execs = e;
    return e;
}

int fake_exec_call(struct fake *f, struct fake_workload *w, const char *const *argv,
                   const struct berth_exec_options *o, struct berth_call **ret_call,
                   struct berth_error *err)
{
    struct fake_call *c = call_make(f, w, FAKE_EXEC, err);
    if (!c)
        return BERTH_NO_MEMORY;
    c->detach = o->detach;
    c->stream = o->stream;
    c->tty = o->tty;
    c->output_max = o->output_max_bytes ? o->output_max_bytes : UINT64_C(1) << 30;
    c->stdin_size = o->stdin_size;
    c->stdin_data = malloc(o->stdin_size + 1);
    if (c->stdin_data && o->stdin_size)
        memcpy(c->stdin_data, o->stdin_data, o->stdin_size);
    int r = c->stdin_data ? open_streams(c, o->stream, err) : fail_memory(err);
    struct fake_exec *e = r < 0 ? NULL : exec_make(f, w, argv, o);
    if (!e) {
        call_free(c);
        return r < 0 ? r : fail_memory(err);
    }
    c->exec_id = e->id;
    w->version++;
    return hand_over(c, &exec_ops, ret_call, err);
}

int fake_attach_call(struct fake *f, struct fake_workload *w, const struct berth_attach_options *o,
                     struct berth_call **ret_call, struct berth_error *err)
{
    struct fake_call *c = call_make(f, w, FAKE_ATTACH, err);
    if (!c)
        return BERTH_NO_MEMORY;
    c->stream = true;
    c->input = o->input;
    c->tty = w->spec->tty;
    c->record = w->log.n;
    c->next_start = o->next_start && !fake_lives(w);
    int r = open_streams(c, o->input, err);
    if (r < 0) {
        call_free(c);
        return r;
    }
    return hand_over(c, &exec_ops, ret_call, err);
}
