/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to a supervisor: packets out and in, and one request with its answer.
 */
#include "local/inside.h"
#include "base/file.h"
#include "model/message.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>

static int body_memfd(const char *body, size_t length)
{
    autoclose int fd = memfd_create("berth-message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int r = fd_write_all(fd, body, length);
    return r < 0 ? r : take_fd(&fd);
}

static int send_packet(int fd, const void *packet, size_t size, const int *fds, size_t n_fds)
{
    for (;;) {
        ssize_t n = send_with_fds(fd, packet, size, fds, n_fds);
        if (n >= 0)
            return 0;
        if (n != -EAGAIN)
            return (int)n;
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (poll(&p, 1, 10000) <= 0)
            return -ETIMEDOUT;
    }
}

int peer_send(int fd, uint32_t type, uint64_t tag, const char *body, const int *fds, size_t n_fds,
              struct berth_error *err)
{
    int all[MESSAGE_FDS_MAX];
    size_t length = strlen(body), size;
    if (length > MESSAGE_BODY_MAX)
        return fail(err, BERTH_TOO_BIG, NULL, "a request of %zu bytes is above the ceiling", length);
    autofree char *packet = length <= MESSAGE_INLINE ? message_pack(type, tag, body, &size) : NULL;
    autoclose int memfd = -1;
    int r;
    if (packet) {
        r = send_packet(fd, packet, size, fds, n_fds);
    } else if (length <= MESSAGE_INLINE) {
        return fail_memory(err);
    } else {
        struct message_head head = message_head(type, tag, length);
        memfd = body_memfd(body, length);
        memcpy(all, fds ? fds : all, n_fds * sizeof(int));
        all[n_fds] = memfd;
        r = memfd < 0 ? memfd : send_packet(fd, &head, sizeof(head), all, n_fds + 1);
    }
    if (r == -EPIPE || r == -ECONNRESET)
        return fail(err, BERTH_LOST, NULL, "the supervisor went away");
    return r < 0 ? fail_os(err, r, NULL, "send to the supervisor") : 0;
}

/** A body in a memfd: read it whole. */
static int read_body(int fd, uint32_t length, char **ret)
{
    char *body = malloc(length + 1);
    if (!body)
        return -ENOMEM;
    ssize_t n = length <= MESSAGE_BODY_MAX ? pread(fd, body, length, 0) : -1;
    if (n != (ssize_t)length) {
        free(body);
        return -EBADMSG;
    }
    body[length] = 0;
    *ret = body;
    return 0;
}

static int take_apart(const char *packet, size_t size, const int *fds, size_t n_fds,
                      struct peer_reply *ret, struct berth_error *err)
{
    struct message m;
    int r = message_unpack(packet, size, &m, err);
    if (r < 0)
        return r;
    *ret = (struct peer_reply){.type = m.type, .tag = m.tag, .length = m.length};
    if (m.in_memfd)
        r = n_fds > 0 ? read_body(fds[n_fds - 1], m.length, &ret->body) : -EBADMSG;
    else if (!(ret->body = strndup(m.body ? m.body : "", m.body ? m.length : 0)))
        r = -ENOMEM;
    return r < 0 ? fail_os(err, r, NULL, "read a supervisor's answer") : 1;
}

int peer_receive(int fd, struct peer_reply *ret, struct berth_error *err)
{
    int fds[MESSAGE_FDS_MAX];
    size_t n_fds = ARRAY_SIZE(fds), room = sizeof(struct message_head) + MESSAGE_INLINE;
    char none;
    ssize_t size = RETRY(recv(fd, &none, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT));
    if (size < 0 && errno == EAGAIN)
        return 0;
    if (size <= 0)
        return fail(err, BERTH_LOST, NULL, "the supervisor went away");
    autofree char *packet = malloc(MIN((size_t)size, room) + 1);
    if (!packet)
        return fail_memory(err);
    size = recv_with_fds(fd, packet, MIN((size_t)size, room), fds, &n_fds);
    if (size <= 0)
        return fail(err, BERTH_LOST, NULL, "the supervisor went away");
    int r = take_apart(packet, (size_t)size, fds, n_fds, ret, err);
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    return r;
}

static int await_answer(int fd, struct peer_reply *ret, struct berth_error *err)
{
    for (;;) {
        int r = peer_receive(fd, ret, err);
        if (r != 0)
            return r;
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            return fail_os(err, errno, NULL, "poll");
    }
}

int peer_connect(struct workload *w, int *ret_fd, struct berth_error *err)
{
    enum { TRIES = 10 };
    struct status status;
    bool alive;
    int r;
    for (int i = 0; (r = workload_connect(w, ret_fd, err)) == BERTH_LOST && i < TRIES; i++) {
        settle_breath(w);
        if (workload_status_read(w, &status, &alive, NULL) < 0 || !alive ||
            (status.state != BERTH_RUNNING && status.state != BERTH_PAUSED))
            break;
    }
    return r;
}

int peer_ask(struct workload *w, const char *verb, uint32_t type, const char *body, char **ret_body,
             struct berth_error *err)
{
    autoclose int fd = -1;
    struct peer_reply reply = {0};
    int r = peer_connect(w, &fd, err);
    if (r == 0)
        r = peer_send(fd, type, 1, body, NULL, 0, err);
    if (r == 0)
        r = await_answer(fd, &reply, err);
    if (r < 0)
        return fail_context(err, "%s", verb);
    autofree char *answer = reply.body;
    if (reply.type == MESSAGE_ERROR) {
        struct berth_error failure;
        r = message_error_parse(answer, reply.length, &failure);
        if (err)
            *err = failure;
        return r;
    }
    if (ret_body)
        *ret_body = TAKE(answer);
    return 0;
}

bool state_lives(int state)
{
    return state == BERTH_RUNNING || state == BERTH_PAUSED || state == BERTH_STOPPING ||
           state == BERTH_RESTARTING;
}

const char *living_word(int state)
{
    return state_lives(state) ? berth_state_name(state) : "being started";
}

bool state_final(int state)
{
    return state == BERTH_STOPPED || state == BERTH_COMPLETED || state == BERTH_FAILED;
}

bool has_ended(const struct status *status, bool alive)
{
    return state_final(status->state) && !(alive && status->supervisor_pid == BEING_BORN);
}

bool lets_go(const struct status *status, bool alive)
{
    return has_ended(status, alive) ||
           (alive && status->state == BERTH_CREATED && status->supervisor_pid == 0);
}

int wrong_state(const struct workload *w, const char *verb, int state, struct berth_error *err)
{
    char name[BERTH_NAME_MAX + 8];
    if (workload_name(w, name, NULL) < 0)
        snprintf(name, sizeof(name), "%.12s", workload_id(w));
    if (state == BERTH_RUNNING || state == BERTH_PAUSED) /* by now */
        return fail(err, BERTH_WRONG_STATE, name, "%s %s: the run that was asked has ended, and another has begun", verb, name);
    return fail(err, BERTH_WRONG_STATE, name, "%s %s: it is %s", verb, name, berth_state_name(state));
}
