/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What cases ask an engine again and again: its state, its log, what a shell inside says.
 *
 * Every wait here has a ceiling, so that a case fails with words and not by its timeout.
 */
#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_USEC 60000000

static int64_t clock_usec(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t now_usec(void)
{
    return clock_usec(CLOCK_MONOTONIC);
}

int64_t wall_usec(void)
{
    return clock_usec(CLOCK_REALTIME);
}

void pause_msec(int64_t msec)
{
    struct timespec t = {.tv_sec = msec / 1000, .tv_nsec = msec % 1000 * 1000000};
    while (nanosleep(&t, &t) == -1 && errno == EINTR)
        ;
}

struct berth_status *status_of(struct contract *c, const struct berth_handle *h)
{
    struct berth_status *status = NULL;
    ok(berth_status(c->runtime, h, &status, ERR));
    return status;
}

int state_of(struct contract *c, const struct berth_handle *h)
{
    struct berth_status *status = status_of(c, h);
    int state = status->state;
    berth_status_free(status);
    return state;
}

void is_state(struct contract *c, const struct berth_handle *h, int wanted)
{
    struct berth_status *status = status_of(c, h);
    check(status->state == wanted, "%s is %s, wanted %s (%s)", h->name,
          berth_state_name(status->state), berth_state_name(wanted), status->reason);
    berth_status_free(status);
}

void until_state(struct contract *c, const struct berth_handle *h, int wanted)
{
    for (int64_t end = now_usec() + PATIENCE_USEC; state_of(c, h) != wanted; pause_msec(5))
        if (now_usec() > end)
            is_state(c, h, wanted);
}

struct berth_status *until_ended(struct contract *c, const struct berth_handle *h)
{
    struct berth_call *call = NULL;
    struct berth_result result = {0};
    ok(berth_wait_call(c->runtime, h, &call, ERR));
    ok(berth_call_wait(call, PATIENCE_USEC / 1000, &result, ERR));
    berth_call_free(call);
    check(result.status, "wait brought no status");
    return result.status;
}

json_t *status_json(struct contract *c, const struct berth_handle *h)
{
    struct berth_status *status = status_of(c, h);
    check(status->json, "the status has no document");
    json_error_t e;
    json_t *json = json_loads(status->json, JSON_REJECT_DUPLICATES, &e);
    check(json_is_object(json), "the status is no JSON object: %s: %s", e.text, status->json);
    berth_status_free(status);
    return json;
}

struct contract *current;

/**
 * Wait for a descriptor, at most that long. An engine in this process moves only when it is called:
 * it is, now and then.
 */
static bool wait_readable(int fd, int64_t patience_usec)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (int64_t end = now_usec() + patience_usec; now_usec() < end;) {
        if (poll(&p, 1, current && current->steps ? 5 : 200) > 0)
            return true;
        struct berth_handle *list = NULL;
        size_t n;
        if (current && current->steps && berth_list(current->runtime, &list, &n, NULL) == 0)
            free(list);
    }
    return false;
}

char *read_all(int fd, size_t *ret_size)
{
    size_t size = 0, room = 65536;
    char *data = malloc(room);
    for (;;) {
        check(data, "out of memory");
        check(wait_readable(fd, 6 * PATIENCE_USEC), "a stream brought nothing for a minute");
        ssize_t n = read(fd, data + size, room - size - 1);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        check(n >= 0, "read: %s", strerror(errno));
        if (n == 0)
            break;
        size += (size_t)n;
        if (room - size < 4096)
            data = realloc(data, room *= 2);
    }
    data[size] = '\0';
    if (ret_size)
        *ret_size = size;
    return data;
}

char *log_with(struct contract *c, const struct berth_handle *h,
               const struct berth_logs_options *options, size_t *ret_size)
{
    struct berth_stream *stream = NULL;
    ok(berth_logs(c->runtime, h, options, &stream, ERR));
    char *text = read_all(berth_stream_fd(stream), ret_size);
    berth_stream_free(stream);
    return text;
}

char *log_of(struct contract *c, const struct berth_handle *h)
{
    return log_with(c, h, NULL, NULL);
}

/** A window over what came, long enough to find a short text in. */
struct window {
    char text[65536];
    size_t size;
};

/** Read what is there. False at the end. */
static bool window_read(struct window *w, int fd)
{
    if (w->size > sizeof(w->text) / 2) {
        size_t kept = w->size / 4;
        memmove(w->text, w->text + w->size - kept, kept);
        w->size = kept;
    }
    ssize_t n = read(fd, w->text + w->size, sizeof(w->text) - w->size - 1);
    w->size += n > 0 ? (size_t)n : 0;
    w->text[w->size] = '\0';
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

void until_text(int fd, const char *text)
{
    struct window w = {.size = 0};
    for (int64_t end = now_usec() + PATIENCE_USEC; !strstr(w.text, text);) {
        check(wait_readable(fd, end - now_usec()),
              "\"%s\" did not come in ten seconds, only \"%.400s\"", text, w.text);
        check(window_read(&w, fd), "the stream ended before \"%s\": \"%.400s\"", text, w.text);
    }
}

void until_call_text(struct berth_call *call, int stream, const char *text)
{
    struct window w = {.size = 0};
    int fd = berth_call_stream_fd(call, stream);
    check(fd >= 0, "the call has no stream %d", stream);
    for (int64_t end = now_usec() + PATIENCE_USEC; !strstr(w.text, text);) {
        struct pollfd p[] = {{.fd = fd, .events = POLLIN},
                             {.fd = berth_call_fd(call), .events = POLLIN}};
        check(now_usec() < end, "\"%s\" did not come in ten seconds, only \"%.400s\"", text,
              w.text);
        if (poll(p, 2, 100) <= 0)
            continue;
        if (p[1].revents)
            berth_call_finish(call, NULL, ERR);
        if (p[0].revents)
            check(window_read(&w, fd), "the stream ended before \"%s\": \"%.400s\"", text, w.text);
    }
}

void until_log(struct contract *c, const struct berth_handle *h, const char *text)
{
    struct berth_logs_options options = {.size = sizeof(options), .follow = true};
    struct berth_stream *stream = NULL;
    ok(berth_logs(c->runtime, h, &options, &stream, ERR));
    until_text(berth_stream_fd(stream), text);
    berth_stream_free(stream);
}

int count_text(const char *in, const char *text)
{
    int n = 0;
    for (const char *p = in; (p = strstr(p, text)); p += strlen(text))
        n++;
    return n;
}

struct berth_exec_result *exec_with(struct contract *c, const struct berth_handle *h,
                                    const struct berth_exec_options *options, const char *arg, ...)
{
    const char *argv[64] = {arg};
    va_list args;
    va_start(args, arg);
    for (size_t i = 1; (argv[i] = va_arg(args, const char *)); i++)
        check(i < 62, "too many arguments");
    va_end(args);
    struct berth_exec_result *result = NULL;
    ok(berth_exec(c->runtime, h, argv, options, &result, ERR));
    check(result, "exec brought no result");
    return result;
}

char *inside(struct contract *c, const struct berth_handle *h, const char *line)
{
    struct berth_exec_result *r = exec_with(c, h, NULL, "/bin/sh", "-c", line, NULL);
    check(r->exit_code == 0, "inside: %s: exit code %d: %s%s", line, r->exit_code, r->out, r->err);
    char *text = print_text("%s", r->out);
    size_t n = strlen(text);
    if (n > 0 && text[n - 1] == '\n')
        text[n - 1] = '\0';
    berth_exec_result_free(r);
    return text;
}

int inside_code(struct contract *c, const struct berth_handle *h, const char *line)
{
    struct berth_exec_result *r = exec_with(c, h, NULL, "/bin/sh", "-c", line, NULL);
    int code = r->exit_code;
    berth_exec_result_free(r);
    return code;
}

char *read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t size = 0, room = 65536;
    char *text = fd < 0 ? NULL : malloc(room);
    ssize_t n = 0;
    while (text && (n = read(fd, text + size, room - size - 1)) > 0) {
        size += (size_t)n;
        if (room - size < 4096)
            text = realloc(text, room *= 2);
    }
    if (fd >= 0)
        close(fd);
    if (text)
        text[size] = '\0'; /* a process that ended meanwhile has an empty file */
    return text;
}

char *scratch_file(const struct contract *c, const char *name, const char *text)
{
    char *path = print_text("%s/%s", c->scratch, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    check(fd >= 0, "%s: %s", path, strerror(errno));
    check(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "%s: short write", path);
    close(fd);
    return path;
}

bool process_exists(int pid)
{
    char *path = print_text("/proc/%d/stat", pid), *text = pid > 0 ? read_file(path) : NULL;
    char *bracket = text ? strrchr(text, ')') : NULL;
    bool exists = bracket && bracket[1] && bracket[2] != 'Z' && bracket[2] != 'X';
    free(text);
    free(path);
    return exists;
}

size_t count_workloads(struct contract *c)
{
    struct berth_handle *list = NULL;
    size_t n = 0;
    ok(berth_list(c->runtime, &list, &n, ERR));
    free(list);
    return n;
}
