/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exec's or attach's connection to a docker daemon, taken apart: frames to two pipes, one pipe's bytes to it.
 */
#include "helper/helper.h"
#include "base/base.h"
#include "base/file.h"
#include "model/frames.h"
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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

/** The caller has gone: another program goes on from here, without anything of its. */
static int hand_over(char **argv, struct berth_error *err)
{
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        dup2(null_fd, fd);
    close_range(STDERR_FILENO + 1, ~0U, 0);
    execv(argv[0], argv);
    return fail_os(err, errno, argv[0], "start %s", argv[0]);
}

/** The words behind "--", which are not options. */
static char **split_off(char **argv)
{
    while (*argv && strcmp(*argv, "--"))
        argv++;
    if (!*argv)
        return NULL;
    *argv++ = NULL;
    return *argv ? argv : NULL;
}

int applet_frames(int argc, char **argv, struct berth_error *err)
{
    static struct pump p;
    long long fd;
    (void)argc;
    int r = applet_number(argv[1], &fd, err);
    if (r < 0)
        return r;
    char **then = split_off(argv + 2);
    const struct applet_option table[] = {{"--raw", .ret_flag = &p.raw}};
    if ((r = applet_options(argv + 2, table, ARRAY_SIZE(table), err)) < 0)
        return r;
    p.line_fd = (int)fd;
    for (;;) {
        bool pending = p.input_size > 0;
        struct pollfd fds[] = {
            {.fd = p.line_fd, .events = (short)(POLLIN | (pending ? POLLOUT : 0))},
            {.fd = pending || p.input_over ? -1 : STDIN_FILENO, .events = POLLIN},
            {.fd = then ? WORDS_FD : -1},
        };
        if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
            return fail_os(err, errno, NULL, "poll");
        if (fds[2].revents & (POLLERR | POLLHUP))
            return hand_over(then, err);
        if (fds[1].revents)
            take_input(&p);
        if (fds[0].revents & POLLOUT)
            send_input(&p);
        if ((fds[0].revents & (POLLIN | POLLHUP | POLLERR)) && !take_output(&p))
            return 0;
    }
}
