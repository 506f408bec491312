/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec and attach: pipes of our own for this one call, the far ends handed to the supervisor.
 *
 * The caller's descriptors never go inside. Closing the connection is the cancel: the supervisor
 * kills an exec whose caller has gone.
 */
#include "local/inside.h"
#include "base/crash.h"
#include "model/message.h"
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define PIPE_BYTES (1 << 20)
#define OUTPUT_MAX (UINT64_C(1) << 30)

struct exec {
    struct local *c;
    struct berth_handle handle;
    const char *verb;
    struct workload *w;
    int epoll_fd, socket_fd;
    int ends[3];             /* ours: what feeds stdin, what brings stdout, stderr */
    int far[3];              /* the program's, until they were sent */
    char **argv;             /* exec, until it was sent: what is asked for, */
    char *invoke;
    json_t *body;            /* the rest of it, */
    struct berth_exec_options how; /* the same, without what it points to, */
    struct work *work;       /* and what has to be made before */
    bool attach, tty, stream, detach, cancelled, started, ended, told, let_go;
    uint64_t exec_id, output_max;
    int exit_code, signal;
    char *input;             /* collected: what is still to be written */
    size_t input_size, input_at;
    struct text out[2];
    uint64_t next_tag;
    struct expected *expected; /* attach: waits for a start, or came with one */
    struct berth_error doom; /* code 0: none; else the answer once the killed program has ended */
};

/* ---- before there is a supervisor */

static int expect(struct exec *x, struct berth_error *err)
{
    int pair[2];
    struct expected *e = calloc(1, sizeof(*e));
    if (!e)
        return fail_memory(err);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        free(e);
        return fail_os(err, errno, NULL, "socketpair");
    }
    x->socket_fd = pair[0];
    x->expected = e;
    e->far_fd = pair[1];
    snprintf(e->id, sizeof(e->id), "%s", workload_id(x->w));
    pthread_mutex_lock(&x->c->lock);
    e->next = x->c->expected;
    x->c->expected = e;
    pthread_mutex_unlock(&x->c->lock);
    return 0;
}

static void expect_no_more(struct exec *x)
{
    if (!x->expected)
        return;
    pthread_mutex_lock(&x->c->lock);
    for (struct expected **at = &x->c->expected; *at; at = &(*at)->next)
        if (*at == x->expected) {
            *at = x->expected->next;
            break;
        }
    pthread_mutex_unlock(&x->c->lock);
    close_fd(&x->expected->far_fd);
    free(x->expected);
}

int expected_send(struct local *c, const char *id, int starter_fd, struct berth_error *err)
{
    int r = 0;
    pthread_mutex_lock(&c->lock);
    for (struct expected *e = c->expected; e && r == 0; e = e->next)
        if (e->far_fd >= 0 && strcmp(e->id, id) == 0) {
            r = peer_send(starter_fd, MESSAGE_CONNECT, 3, "{}", &e->far_fd, 1, err);
            close_fd(&e->far_fd);
            crash_point("attach.sent");
        }
    pthread_mutex_unlock(&c->lock);
    return r;
}

static void exec_free(void *data)
{
    struct exec *x = data;
    expect_no_more(x);
    for (size_t i = 0; i < ARRAY_SIZE(x->ends); i++) {
        close_fd(&x->ends[i]);
        close_fd(&x->far[i]);
    }
    strings_free(x->argv);
    free(x->invoke);
    json_decref(x->body);
    work_free(x->work);
    close_fd(&x->socket_fd);
    close_fd(&x->epoll_fd);
    workload_close(x->w);
    text_free(&x->out[0]);
    text_free(&x->out[1]);
    free(x->input);
    free(x);
}

/* ---- feeding and collecting */

/** write(2) that never raises SIGPIPE in the host, whatever it does with that signal. */
static ssize_t write_quietly(int fd, const char *data, size_t size)
{
    sigset_t pipe_signal, before, pending;
    const struct timespec now = {0};
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    ssize_t n = RETRY(write(fd, data, size));
    int error = errno;
    if (n < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe_signal, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return n;
}

static void drop_end(struct exec *x, int i)
{
    if (x->ends[i] >= 0)
        epoll_ctl(x->epoll_fd, EPOLL_CTL_DEL, x->ends[i], NULL);
    close_fd(&x->ends[i]);
}

static void feed(struct exec *x)
{
    while (x->ends[0] >= 0 && x->input_at < x->input_size) {
        ssize_t n = x->tty ? send(x->ends[0], x->input + x->input_at, x->input_size - x->input_at,
                                  MSG_NOSIGNAL | MSG_DONTWAIT)
                           : write_quietly(x->ends[0], x->input + x->input_at,
                                           x->input_size - x->input_at);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            break;
        x->input_at += (size_t)n;
    }
    if (!x->tty)
        drop_end(x, 0);
    else if (x->input) { /* a terminal's end of file is a character; what is left is to listen */
        struct epoll_event event = {.events = EPOLLIN};
        epoll_ctl(x->epoll_fd, EPOLL_CTL_MOD, x->ends[0], &event);
        free(TAKE(x->input));
        x->input_size = x->input_at = 0;
    }
}

/** Read what one end holds. 1 at its end or when it is empty for now. */
static int collect(struct exec *x, int i, struct text *t, struct berth_error *err)
{
    char buffer[65536];
    for (int rounds = 0; x->ends[i] >= 0 && rounds < 64; rounds++) {
        ssize_t n = RETRY(read(x->ends[i], buffer, sizeof(buffer)));
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0) {
            drop_end(x, i);
            return 0;
        }
        if (x->doom.code)
            continue;
        text_add_bytes(t, buffer, (size_t)n);
        if (t->failed)
            return fail_memory(err);
        if (t->length > x->output_max)
            return fail(err, BERTH_TOO_BIG, x->handle.name,
                        "exec %s: more than %llu bytes of output", x->handle.name,
                        (unsigned long long)x->output_max);
    }
    return x->ends[i] >= 0; /* more may be there */
}

static int move_data(struct exec *x, struct berth_error *err)
{
    if (x->stream || x->attach)
        return 0;
    if (x->input || !x->tty)
        feed(x);
    int more;
    do {
        more = 0;
        for (int i = x->tty ? 0 : 1; i < (x->tty ? 1 : 3); i++) {
            int r = collect(x, i, &x->out[i == 2], err);
            if (r < 0)
                return r;
            more |= r;
        }
    } while (more && x->ended);
    return 0;
}

/* ---- what the supervisor says */

static int failure_said(const char *body, size_t length, struct berth_error *err)
{
    struct berth_error failure;
    int r = message_error_parse(body, length, &failure);
    if (err)
        *err = failure;
    return r;
}

static int take_reply(struct exec *x, struct peer_reply *reply, struct berth_error *err)
{
    if (reply->tag != 1) /* of a resize or signal: asked in passing */
        return 0;
    if (reply->type == MESSAGE_ERROR)
        return failure_said(reply->body, reply->length, err);
    json_t *body = json_loadb(reply->body, reply->length, 0, NULL);
    if (reply->type == MESSAGE_STARTED) {
        x->started = true;
        x->exec_id = (uint64_t)json_integer_value(json_object_get(body, "exec_id"));
    } else if (reply->type == MESSAGE_ENDED) {
        x->ended = true;
        x->exit_code = (int)json_integer_value(json_object_get(body, "exit_code"));
        x->signal = (int)json_integer_value(json_object_get(body, "signal"));
        x->told = json_is_true(json_object_get(body, "timed_out"));
    }
    json_decref(body);
    if (!x->told)
        return 0;
    return fail(err, BERTH_TIMED_OUT, x->handle.name, "exec %s: its time limit passed; it was killed",
                x->handle.name);
}

static int listen_to(struct exec *x, struct berth_error *err)
{
    while (!x->ended && !(x->detach && x->started)) {
        struct peer_reply reply;
        int r = peer_receive(x->socket_fd, &reply, err);
        if (r == 0)
            return 0;
        if (r == BERTH_LOST) {
            settle_breath(x->w);
            return fail(err, r, x->handle.name, "%s %s: the supervisor went away", x->verb,
                        x->handle.name);
        }
        if (r < 0)
            return r;
        r = take_reply(x, &reply, err);
        free(reply.body);
        if (r < 0)
            return r;
    }
    return 0;
}

static int exec_result(struct exec *x, struct berth_result *ret, struct berth_error *err)
{
    struct berth_exec_result *r = calloc(1, sizeof(*r));
    if (!r)
        return fail_memory(err);
    *r = (struct berth_exec_result){.exit_code = x->exit_code, .signal = x->signal,
                                    .exec_id = x->exec_id, .out_size = x->out[0].length,
                                    .err_size = x->out[1].length};
    r->out = text_take(&x->out[0]);
    r->err = text_take(&x->out[1]);
    if (!r->out || !r->err) {
        berth_exec_result_free(r);
        return fail_memory(err);
    }
    ret->exec = r;
    return 1;
}

/** Kill it, and answer with `why` when it is gone. Before it runs there is only hanging up. */
static bool doom(struct exec *x, const struct berth_error *why)
{
    char body[80];
    if (x->attach || !x->started || x->doom.code)
        return x->doom.code;
    snprintf(body, sizeof(body), "{\"exec_id\":%llu,\"signal\":%d}", (unsigned long long)x->exec_id,
             SIGKILL);
    if (peer_send(x->socket_fd, MESSAGE_EXEC_SIGNAL, ++x->next_tag, body, NULL, 0, NULL) < 0)
        return false;
    x->doom = *why;
    return true;
}

static int doomed(struct exec *x, struct berth_error *err)
{
    struct berth_error mine = {0};
    int r = listen_to(x, &mine);
    if (r == 0)
        move_data(x, &mine);
    if (r == 0 && !x->ended)
        return 0;
    if (err)
        *err = x->doom;
    return x->doom.code;
}

static int exec_send(struct exec *x, struct berth_error *err);

static int exec_step(void *data, struct berth_result *ret, struct berth_error *err)
{
    struct exec *x = data;
    struct berth_error mine = {0};
    if (x->cancelled && !x->doom.code)
        return fail(err, BERTH_CANCELLED, x->handle.name, "%s %s: cancelled", x->verb, x->handle.name);
    if (x->work) {
        int done = exec_send(x, err);
        if (done < 0 || x->work)
            return done < 0 ? done : 0;
    }
    int r = x->doom.code ? 0 : listen_to(x, &mine);
    if (r == 0 && !x->doom.code)
        r = move_data(x, &mine);
    if (r < 0 && (r != BERTH_TOO_BIG || !doom(x, &mine))) {
        close_fd(&x->socket_fd); /* whatever it was, nobody waits for the program any more */
        if (err)
            *err = mine;
        return r;
    }
    if (x->doom.code)
        return doomed(x, err);
    if (x->detach && x->started)
        return exec_result(x, ret, err);
    if (!x->ended || (x->tty && !x->stream && !x->attach && x->ends[0] >= 0))
        return 0;
    if (!x->attach)
        return exec_result(x, ret, err);
    local_status(x->c, &x->handle, &ret->status, NULL);
    return 1;
}

static void exec_cancel(void *data)
{
    struct exec *x = data;
    struct berth_error why;
    fail(&why, BERTH_CANCELLED, x->handle.name, "%s %s: cancelled", x->verb, x->handle.name);
    x->cancelled = true;
    if (x->let_go)
        return;
    if (!doom(x, &why) && (!x->detach || !x->started))
        close_fd(&x->socket_fd);
}

static int exec_stream_fd(void *data, int stream)
{
    const struct exec *x = data;
    if (!x->stream && !x->attach)
        return -1;
    if (x->tty)
        return stream < 2 ? x->ends[0] : -1;
    return x->ends[stream];
}

static void exec_close_stdin(void *data)
{
    struct exec *x = data;
    if (x->tty && x->ends[0] >= 0)
        shutdown(x->ends[0], SHUT_WR);
    else
        close_fd(&x->ends[0]);
}

static int ask_in_passing(struct exec *x, uint32_t type, const char *body, struct berth_error *err)
{
    if (x->socket_fd < 0 || x->ended)
        return fail(err, BERTH_WRONG_STATE, x->handle.name, "%s %s: it has ended", x->verb,
                    x->handle.name);
    return peer_send(x->socket_fd, type, ++x->next_tag, body, NULL, 0, err);
}

/** What is asked by its id has to have one: wait the moment until it runs. */
static int await_started(struct exec *x, struct berth_error *err)
{
    for (int left_msec = 5000; !x->started && !x->ended && left_msec > 0; left_msec -= 100) {
        struct pollfd p = {.fd = x->socket_fd, .events = POLLIN};
        int r = poll(&p, 1, 100) < 0 && errno != EINTR ? -errno : listen_to(x, err);
        if (r < 0)
            return r;
    }
    return x->started ? 0 : fail(err, BERTH_WRONG_STATE, x->handle.name, "%s %s: it does not run yet",
                                 x->verb, x->handle.name);
}

static int exec_resize(void *data, uint16_t rows, uint16_t columns, struct berth_error *err)
{
    struct exec *x = data;
    char body[100];
    if (!x->tty)
        return fail(err, BERTH_WRONG_STATE, x->handle.name, "resize: %s has no terminal here",
                    x->handle.name);
    int r = x->attach ? 0 : await_started(x, err);
    if (r < 0)
        return r;
    snprintf(body, sizeof(body), "{\"exec_id\":%llu,\"rows\":%u,\"columns\":%u}",
             (unsigned long long)x->exec_id, rows, columns);
    return ask_in_passing(x, MESSAGE_RESIZE, body, err);
}

static int exec_signal(void *data, int signal, struct berth_error *err)
{
    struct exec *x = data;
    char body[80];
    if (x->attach) {
        snprintf(body, sizeof(body), "{\"signal\":%d}", signal);
        return ask_in_passing(x, MESSAGE_SIGNAL, body, err);
    }
    int r = await_started(x, err);
    if (r < 0)
        return r;
    snprintf(body, sizeof(body), "{\"exec_id\":%llu,\"signal\":%d}", (unsigned long long)x->exec_id,
             signal);
    return ask_in_passing(x, MESSAGE_EXEC_SIGNAL, body, err);
}

/** Asked and answered: what follows may be our end. */
static int exec_let_go(void *data, struct berth_error *err)
{
    struct exec *x = data;
    char body[40];
    if (x->attach)
        return 0;
    int r = await_started(x, err);
    if (r < 0)
        return r;
    snprintf(body, sizeof(body), "{\"exec_id\":%llu}", (unsigned long long)x->exec_id);
    r = peer_ask(x->w, "exec", MESSAGE_EXEC_LET_GO, body, NULL, err);
    x->let_go |= r == 0;
    return r;
}

static const struct berth_call_ops exec_ops = {
    .size = sizeof(exec_ops), .step = exec_step, .cancel = exec_cancel, .free = exec_free,
    .stream_fd = exec_stream_fd, .close_stdin = exec_close_stdin, .resize = exec_resize,
    .signal = exec_signal, .let_go = exec_let_go,
};

/* ---- beginning */

static int open_pipes(struct exec *x, bool input, struct berth_error *err)
{
    for (int i = 0; i < 3; i++) {
        int pair[2];
        if (pipe2(pair, O_CLOEXEC) < 0)
            return fail_os(err, errno, NULL, "pipe");
        x->far[i] = pair[i == 0 ? 0 : 1];
        x->ends[i] = pair[i == 0 ? 1 : 0];
        fcntl(x->ends[i], F_SETPIPE_SZ, PIPE_BYTES); /* above the user's quota it stays as it is */
        if (!x->stream && !x->attach)
            fcntl(x->ends[i], F_SETFL, O_NONBLOCK);
    }
    if (!input)
        close_fd(&x->ends[0]);
    return 0;
}

static int open_terminal(struct exec *x, struct berth_error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return fail_os(err, errno, NULL, "socketpair");
    x->far[0] = pair[1];
    x->ends[0] = pair[0];
    if (!x->stream && !x->attach)
        fcntl(x->ends[0], F_SETFL, O_NONBLOCK);
    return 0;
}

static int watch_all(struct exec *x, struct berth_error *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    if (x->work)
        return 0;
    if (epoll_ctl(x->epoll_fd, EPOLL_CTL_ADD, x->socket_fd, &event) < 0)
        return fail_os(err, errno, NULL, "epoll_ctl");
    for (int i = 0; i < 3 && !x->stream && !x->attach; i++) {
        event.events = i > 0 ? EPOLLIN : x->tty ? EPOLLIN | (x->input ? EPOLLOUT : 0) : EPOLLOUT;
        if (x->ends[i] >= 0 && epoll_ctl(x->epoll_fd, EPOLL_CTL_ADD, x->ends[i], &event) < 0)
            return fail_os(err, errno, NULL, "epoll_ctl");
    }
    return 0;
}

/** Send it with the far ends and `files`; the far ends are nobody's here afterwards. */
static int send_far(struct exec *x, uint32_t type, const char *body, const int *files, size_t n_files, struct berth_error *err)
{
    int fds[ARRAY_SIZE(x->far) + EXEC_FILES_MAX];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(x->far); i++)
        if (x->far[i] >= 0)
            fds[n++] = x->far[i];
    for (size_t i = 0; i < n_files; i++)
        fds[n++] = files[i];
    int r = peer_send(x->socket_fd, type, 1, body, fds, n, err);
    for (size_t i = 0; i < ARRAY_SIZE(x->far); i++)
        close_fd(&x->far[i]);
    return r < 0 ? r : watch_all(x, err);
}

static int begin(struct exec *x, uint32_t type, const char *body, bool input, struct berth_error *err)
{
    int r = x->tty ? open_terminal(x, err) : open_pipes(x, input, err);
    return r < 0 ? r : send_far(x, type, body, NULL, 0, err);
}

/** It doesn't listen: wait for its next start, or say what state it is in. */
static int not_there(struct exec *x, bool next_start, struct berth_error *err)
{
    struct status status;
    bool alive;
    settle_breath(x->w);
    int r = settle_status(x->c, x->w, &status, &alive, err);
    if (r < 0)
        return r;
    if (next_start && !alive && (status.state == BERTH_CREATED || state_final(status.state)))
        return expect(x, err);
    return wrong_state(x->w, x->verb, status.state, err);
}

static int exec_new(struct local *c, const struct berth_handle *h, const char *verb,
                    bool next_start, struct exec **ret, struct berth_error *err)
{
    struct exec *x = calloc(1, sizeof(*x));
    if (!x)
        return fail_memory(err);
    *x = (struct exec){.c = c, .handle = *h, .verb = verb, .socket_fd = -1, .ends = {-1, -1, -1}, .far = {-1, -1, -1},
                       .output_max = OUTPUT_MAX, .next_tag = 1};
    x->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int r = x->epoll_fd < 0 ? fail_os(err, errno, NULL, "epoll_create1") : local_get(c, h, &x->w, err);
    if (r == 0)
        r = peer_connect(x->w, &x->socket_fd, err);
    if (r == BERTH_LOST)
        r = not_there(x, next_start, err);
    if (r < 0) {
        exec_free(x);
        return r;
    }
    *ret = x;
    return 0;
}

static json_t *string_list(const char *const *list)
{
    json_t *array = list ? json_array() : NULL;
    for (size_t i = 0; list && list[i]; i++) {
        json_t *s = json_string(list[i]);
        if (!s || json_array_append_new(array, s) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static int set_list(json_t *body, const char *key, const char *const *list, struct berth_error *err)
{
    json_t *array = string_list(list);
    if (list && !array)
        return fail(err, BERTH_INVALID, key, "exec: `%s` holds what is not UTF-8", key);
    return array && json_object_set_new(body, key, array) < 0 ? fail_memory(err) : 0;
}

static int exec_body(const struct berth_exec_options *o, json_t **ret, struct berth_error *err)
{
    json_t *body = json_pack("{s:b,s:b,s:b,s:i,s:i,s:I}", "tty", (int)o->tty, "detach",
                             (int)o->detach, "privileged", (int)o->privileged, "rows", (int)o->rows,
                             "columns", (int)o->columns, "timeout_usec",
                             (json_int_t)o->timeout_msec * 1000);
    int r = body ? 0 : fail_memory(err);
    if (r == 0 && (r = set_list(body, "env", o->env, err)) == 0)
        r = set_list(body, "groups", o->groups, err);
    if (r == 0 && ((o->user && json_object_set_new(body, "user", json_string(o->user)) < 0) ||
                   (o->workdir && json_object_set_new(body, "workdir", json_string(o->workdir)) < 0)))
        r = fail(err, BERTH_INVALID, NULL, "exec: user or workdir is not UTF-8");
    if (r == 0)
        *ret = json_incref(body);
    json_decref(body);
    return r;
}

static int exec_setup(struct exec *x, const struct berth_exec_options *o, struct berth_error *err)
{
    x->how = *o; /* its flags: what it points to is the caller's */
    x->how.env = x->how.groups = NULL;
    x->how.user = x->how.workdir = NULL;
    if (o->invoke && !(x->how.invoke = x->invoke = strdup(o->invoke)))
        return fail_memory(err);
    if (o->invoke && !kind_of(x->w)->program)
        return fail(err, BERTH_UNSUPPORTED, "invoke", "exec: only a Wasm module has exports to call");
    x->tty = o->tty;
    x->stream = o->stream;
    x->detach = o->detach;
    if (o->output_max_bytes)
        x->output_max = o->output_max_bytes;
    if (!o->stdin_size)
        return 0;
    x->input = malloc(o->stdin_size);
    if (!x->input)
        return fail_memory(err);
    memcpy(x->input, o->stdin_data, o->stdin_size);
    x->input_size = o->stdin_size;
    return 0;
}

static int set_program(struct exec *x, const struct exec_program *p, struct berth_error *err)
{
    int r = set_list(x->body, "argv", (const char *const *)(p->argv ? p->argv : x->argv), err);
    if (r == 0 && ((p->shown && json_object_set_new(x->body, "command", json_string(p->shown)) < 0) ||
                   (p->n_files && json_object_set_new(x->body, "files", json_integer((json_int_t)p->n_files)) < 0)))
        r = fail_memory(err);
    return r;
}

/** Ask for it, or for what it needs first: then x->work is there and its descriptor watched. */
static int exec_send(struct exec *x, struct berth_error *err)
{
    const struct local_kind *kind = kind_of(x->w);
    autoclean(exec_program_clear) struct exec_program p = {0};
    autoclean(cleanup_work) struct work *done = NULL;
    int r = x->work ? x->work->step(x->work, err) : 1;
    if (r <= 0)
        return r;
    if (x->work)
        epoll_ctl(x->epoll_fd, EPOLL_CTL_DEL, x->work->fd, NULL);
    done = TAKE(x->work);
    r = kind->program ? kind->program(x->c, x->w, (const char *const *)x->argv, &x->how, done, &p, &x->work, err) : 0;
    if (r == 0 && x->work) {
        struct epoll_event event = {.events = EPOLLIN};
        return epoll_ctl(x->epoll_fd, EPOLL_CTL_ADD, x->work->fd, &event) < 0 ? fail_os(err, errno, NULL, "epoll_ctl") : 0;
    }
    if (r == 0)
        r = set_program(x, &p, err);
    autofree char *body = r == 0 ? json_dumps(x->body, JSON_COMPACT) : NULL;
    if (r == 0)
        r = body ? send_far(x, MESSAGE_EXEC, body, p.files, p.n_files, err) : fail_memory(err);
    return r;
}

int local_exec(void *self, const struct berth_handle *h, const char *const *argv,
                   const struct berth_exec_options *o, struct berth_call **ret_call,
                   struct berth_error *err)
{
    struct exec *x;
    int r = exec_new(self, h, "exec", false, &x, err);
    if (r < 0)
        return r;
    r = exec_body(o, &x->body, err);
    if (r == 0)
        r = exec_setup(x, o, err);
    if (r == 0 && !(x->argv = strings_copy(argv)))
        r = fail_memory(err);
    if (r == 0 && !o->detach)
        r = o->tty ? open_terminal(x, err) : open_pipes(x, o->stream || o->stdin_size > 0, err);
    if (r == 0)
        r = exec_send(x, err);
    if (r < 0) {
        exec_free(x);
        return r;
    }
    return berth_call_new(&exec_ops, x, x->epoll_fd, ret_call, err);
}

/** Whether the workload has a terminal, from its plan. */
static int has_terminal(struct workload *w, bool *ret_tty, struct berth_error *err)
{
    autoclean(cleanup_plan) struct plan *plan = NULL;
    int r = document_plan(w, &plan, err);
    if (r == 0)
        *ret_tty = plan->tty;
    return r;
}

int local_attach(void *self, const struct berth_handle *h, const struct berth_attach_options *o,
                     struct berth_call **ret_call, struct berth_error *err)
{
    struct exec *x;
    char body[100];
    int r = exec_new(self, h, "attach", o->next_start, &x, err);
    if (r < 0)
        return r;
    x->attach = true;
    snprintf(body, sizeof(body), "{\"input\":%s,\"rows\":%u,\"columns\":%u}",
             o->input ? "true" : "false", o->rows, o->columns);
    bool end_only = o->next_start && o->no_output;
    if (end_only)
        r = peer_send(x->socket_fd, MESSAGE_ATTACH, 1, "{\"watch\":true}", NULL, 0, err);
    else
        r = has_terminal(x->w, &x->tty, err);
    if (r == 0)
        r = end_only ? watch_all(x, err) : begin(x, MESSAGE_ATTACH, body, o->input, err);
    if (r < 0) {
        exec_free(x);
        return r;
    }
    return berth_call_new(&exec_ops, x, x->epoll_fd, ret_call, err);
}
