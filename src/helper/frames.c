/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exec's or attach's connection to a docker daemon, taken apart: frames to two pipes, one pipe's bytes to it.
 */
#include "helper/helper.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/descent.h"
#include "model/frames.h"
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

enum { CHUNK = 65536 };

struct pump {
    int line_fd;
    struct frames frames;
    char input[CHUNK];
    size_t input_size, input_at;
    size_t told;             /* of the first words */
    bool input_over;
    bool raw;                /* a terminal's: no frames */
    bool broken[3];          /* nobody reads it any more */
};

#define WORDS_FD 4
#define WORDS_MAX 1024

/** The beginning of the output once more, for whoever asks why a program could not be started. */
static void put_words(struct pump *p, const char *data, size_t size)
{
    size_t n = MIN(size, WORDS_MAX - p->told);
    if (n && write(WORDS_FD, data, n) < 0)
        n = WORDS_MAX - p->told; /* nobody wants them */
    p->told += n;
}

static void put(struct pump *p, int fd, const char *data, size_t size)
{
    put_words(p, data, size);
    if (!p->broken[fd] && fd_write_all(fd, data, size) < 0)
        p->broken[fd] = true;
}

/** 1: more may come; 0: the end. */
static int take_output(struct pump *p)
{
    char buffer[CHUNK];
    const char *at = buffer, *piece;
    size_t n;
    ssize_t got = RETRY(recv(p->line_fd, buffer, sizeof(buffer), MSG_DONTWAIT));
    if (got < 0 && errno == EAGAIN)
        return 1;
    if (got <= 0)
        return 0;
    size_t size = (size_t)got;
    int r = 0;
    if (p->raw) {
        put(p, STDOUT_FILENO, buffer, size);
        return !p->broken[1];
    }
    while ((r = frames_next(&p->frames, &at, &size, &piece, &n)) == 1)
        put(p, p->frames.stream, piece, n);
    if (r == -EBADMSG) { /* words of the daemon's own: they are no program's output */
        put_words(p, (const char *)p->frames.head, p->frames.have);
        put_words(p, at, size);
        p->frames = (struct frames){0};
    }
    return p->broken[1] && p->broken[2] && p->input_over ? 0 : 1;
}

static void take_input(struct pump *p)
{
    ssize_t n = RETRY(read(STDIN_FILENO, p->input, sizeof(p->input)));
    if (n <= 0) {
        p->input_over = true;
        shutdown(p->line_fd, SHUT_WR);
        return;
    }
    p->input_size = (size_t)n;
    p->input_at = 0;
}

static void send_input(struct pump *p)
{
    ssize_t n = send(p->line_fd, p->input + p->input_at, p->input_size - p->input_at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        p->input_at += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        p->input_over = true;
    if (p->input_at == p->input_size || p->input_over)
        p->input_at = p->input_size = 0;
}

/* ---- whose exec it is, when its caller has gone */

#define LOOKS_MAX 500
#define LOOK_MSEC 10

/** One question, the old way: the answer ends with its connection. */
static char *ask(const char *path, const char *exec_id)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    autofree char *request = format_text("GET /exec/%s/json HTTP/1.0\r\nHost: docker\r\n\r\n", exec_id);
    char *text = NULL;
    if (!request || strlen(path) >= sizeof(address.sun_path))
        return NULL;
    memcpy(address.sun_path, path, strlen(path));
    autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || fd_write_all(fd, request, strlen(request)) < 0 ||
        fd_read_all(fd, 1 << 20, &text, NULL) < 0)
        return NULL;
    return text;
}

/** 1: it has ended, or was ended; 0: it does not run yet. */
static int end_exec(const char *path, const char *exec_id)
{
    autofree char *text = ask(path, exec_id);
    const char *body = text ? strstr(text, "\r\n\r\n") : NULL;
    json_t *json = body && (body = strchr(body, '{')) ? json_loads(body, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
    int pid = (int)json_integer_value(json_object_get(json, "Pid"));
    const char *container = json_string_value(json_object_get(json, "ContainerID"));
    bool over = !json || json_is_integer(json_object_get(json, "ExitCode"));
    bool runs = json_is_true(json_object_get(json, "Running"));
    if (runs && pid > 0 && container)
        over = process_signal(pid, container, SIGKILL) == 0;
    json_decref(json);
    return over;
}

static void end_orphan(const char *path, const char *exec_id)
{
    struct timespec moment = {.tv_nsec = LOOK_MSEC * 1000000};
    for (int i = 0; i < LOOKS_MAX && !end_exec(path, exec_id); i++) /* the daemon tells no event of its start */
        nanosleep(&moment, NULL);
}

int applet_frames(int argc, char **argv, struct berth_error *err)
{
    static struct pump p;
    long long fd;
    (void)argc;
    int r = applet_number(argv[1], &fd, err);
    if (r < 0)
        return r;
    const char *path = NULL, *exec_id = NULL;
    const struct applet_option table[] = {{"--raw", .ret_flag = &p.raw}, {"--socket", .ret_text = &path}, {"--exec", .ret_text = &exec_id}};
    if ((r = applet_options(argv + 2, table, ARRAY_SIZE(table), err)) < 0)
        return r;
    p.line_fd = (int)fd;
    for (;;) {
        bool pending = p.input_size > 0;
        struct pollfd fds[] = {
            {.fd = p.line_fd, .events = (short)(POLLIN | (pending ? POLLOUT : 0))},
            {.fd = pending || p.input_over ? -1 : STDIN_FILENO, .events = POLLIN},
            {.fd = exec_id ? WORDS_FD : -1},
        };
        if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
            return fail_os(err, errno, NULL, "poll");
        if (fds[2].revents & (POLLERR | POLLHUP)) {
            end_orphan(path, exec_id);
            return 0;
        }
        if (fds[1].revents)
            take_input(&p);
        if (fds[0].revents & POLLOUT)
            send_input(&p);
        if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) && !take_output(&p))
            return 0;
    }
}
