/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes of an exec or attach.
 *
 * Between a streamed one's ends and the connection is berth-helper, so that the caller may read a stream without ever
 * asking the call. The collected form is taken apart here, while the call is stepped.
 */
#include "docker/exec.h"
#include "base/spawn.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static struct session *mine(struct op *op)
{
    return op->own;
}

void session_init(struct session *s)
{
    s->line.fd = s->pump_fd = s->words_fd = -1;
    for (int i = 0; i < 3; i++)
        s->ends[i] = s->far[i] = -1;
}

/* ---- streams */

/** ends[] for the caller, far[] for the helper; one socket for a terminal's two directions. */
int session_ends(struct session *s, struct berth_error *err)
{
    int pair[2];
    if (s->tty) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
            return fail_os(err, errno, NULL, "socketpair");
        s->ends[1] = pair[0];
        s->far[1] = pair[1];
        if (!s->stream)
            fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK);
        if (s->input && (s->ends[0] = fcntl(pair[0], F_DUPFD_CLOEXEC, 3)) < 0)
            return fail_os(err, errno, NULL, "dup");
        return 0;
    }
    for (int i = s->input ? 0 : 1; i < 3; i++) { /* sockets: a write to one that nobody reads raises no signal */
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
            return fail_os(err, errno, NULL, "socketpair");
        s->ends[i] = pair[0];
        s->far[i] = pair[1];
        if (!s->stream)
            fcntl(pair[0], F_SETFL, O_RDWR | O_NONBLOCK);
    }
    return 0;
}

int session_streams(struct op *op, struct berth_error *err)
{
    struct session *s = mine(op);
    const struct daemon *d = op->box.daemon;
    pid_t pid;
    autofree char *program = format_text("%s/berth-helper", op->docker->programs);
    autofree char *end = format_text("%s/berth-docker", op->docker->programs);
    const char *argv[16] = {"berth-helper", "frames", "3"};
    const char *const orphaned[] = {"--", end, "end", d->host, d->certs ? d->certs : "", op->box.container, s->id, s->mark, s->user};
    size_t n = 3;
    if (s->tty)
        argv[n++] = "--raw";
    for (size_t i = 0; i < ARRAY_SIZE(orphaned) && *s->id; i++)
        argv[n++] = orphaned[i];
    int words[2];
    if (pipe2(words, O_CLOEXEC | O_NONBLOCK) < 0)
        return fail_os(err, errno, NULL, "pipe");
    s->words_fd = words[0];
    const int fds[] = {s->tty && s->input ? s->far[1] : s->far[0], s->far[1], s->far[2], s->line.fd, words[1]};
    if (!program || !end)
        return fail_memory(err);
    epoll_ctl(op->poll_fd, EPOLL_CTL_DEL, s->line.fd, NULL);
    int r = spawn(&(struct spawn){.path = program, .argv = argv, .fds = fds, .n_fds = ARRAY_SIZE(fds), .session = true}, &pid,
                  &s->pump_fd);
    close(words[1]);
    for (int i = 0; i < 3; i++)
        close_fd(&s->far[i]);
    close_fd(&s->line.fd); /* the helper's now */
    if (r < 0)
        return fail_os(err, r, program, "start %s", program);
    for (int i = 0; i < 3 && !s->stream; i++)
        if (s->ends[i] >= 0)
            op_watch(op, s->ends[i], i ? EPOLLIN : EPOLLOUT);
    return op_watch(op, s->pump_fd, EPOLLIN) < 0 ? fail_os(err, errno, NULL, "epoll") : 0;
}

bool session_ended(struct op *op)
{
    struct pollfd p = {.fd = mine(op)->pump_fd, .events = POLLIN};
    return p.fd < 0 || poll(&p, 1, 0) > 0;
}

void session_words(struct session *s)
{
    char buffer[1024];
    ssize_t n = s->words_fd < 0 ? 0 : RETRY(read(s->words_fd, buffer, sizeof(buffer)));
    if (n > 0)
        text_add_bytes(&s->words, buffer, (size_t)n);
}

int session_stream_fd(struct op *op, int stream)
{
    const struct session *s = mine(op);
    return s->stream ? s->ends[stream] : -1;
}

void session_close_stdin(struct op *op)
{
    struct session *s = mine(op);
    if (s->tty && s->ends[0] >= 0)
        shutdown(s->ends[0], SHUT_WR);
    close_fd(&s->ends[0]);
}

/* ---- the collected form: the caller's ends are ours */

static void feed(struct op *op)
{
    struct session *s = mine(op);
    while (s->ends[0] >= 0 && s->stdin_at < s->stdin_size) {
        ssize_t n = send(s->ends[0], s->stdin_data + s->stdin_at, s->stdin_size - s->stdin_at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            break; /* nobody reads it */
        s->stdin_at += (size_t)n;
    }
    if (s->ends[0] >= 0) {
        epoll_ctl(op->poll_fd, EPOLL_CTL_DEL, s->ends[0], NULL);
        session_close_stdin(op);
    }
}

/** 1: this stream is at its end. */
static int collect(struct op *op, int i, struct text *t, struct berth_error *err)
{
    struct session *s = mine(op);
    const char *object = op->box.handle.name;
    char buffer[65536];
    for (int rounds = 0; s->ends[i] >= 0 && rounds < 256; rounds++) {
        ssize_t n = RETRY(read(s->ends[i], buffer, sizeof(buffer)));
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0) {
            close_fd(&s->ends[i]);
            break;
        }
        if (t->length + (size_t)n > s->output_max)
            return fail(err, BERTH_TOO_BIG, object, "exec %s: more than %llu bytes of output", object,
                        (unsigned long long)s->output_max);
        text_add_bytes(t, buffer, (size_t)n);
        if (t->failed)
            return fail_memory(err);
    }
    return s->ends[i] < 0;
}

int session_collect(struct op *op, struct berth_error *err)
{
    struct session *s = mine(op);
    feed(op);
    int out = collect(op, 1, &s->out, err);
    int other = out < 0 || s->tty ? 1 : collect(op, 2, &s->err, err);
    return out < 0 ? out : other < 0 ? other : out && other && session_ended(op);
}

void session_free(struct op *op)
{
    struct session *s = mine(op);
    if (!s)
        return;
    for (int i = 0; i < 3; i++) {
        close_fd(&s->ends[i]);
        close_fd(&s->far[i]);
    }
    close_fd(&s->pump_fd);
    close_fd(&s->words_fd);
    hijack_close(&s->line);
    text_free(&s->out);
    text_free(&s->err);
    text_free(&s->words);
    free(s->stdin_data);
    free(s->user);
    free(s->body);
}
