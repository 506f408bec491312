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

#define PATIENCE_USEC 10000000

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

char *read_all(int fd, size_t *ret_size)
{
    size_t size = 0, room = 65536;
    char *data = malloc(room);
    for (;;) {
        check(data, "out of memory");
        ssize_t n = read(fd, data + size, room - size - 1);
        if (n < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLIN};
            check(poll(&p, 1, 60000) > 0, "a stream brought nothing for a minute");
            continue;
        }
        if (n < 0 && errno == EINTR)
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

void until_text(int fd, const char *text)
{
    char seen[65536];
    size_t size = 0;
    int64_t end = now_usec() + PATIENCE_USEC;
    for (seen[0] = '\0'; !strstr(seen, text);) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        check(now_usec() < end, "\"%s\" did not come in ten seconds, only \"%.400s\"", text, seen);
        if (poll(&p, 1, 100) <= 0)
            continue;
        ssize_t n = read(fd, seen + size, sizeof(seen) - size - 1);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        check(n > 0, "the stream ended before \"%s\": \"%.400s\"", text, seen);
        size += (size_t)n;
        seen[size] = '\0';
        if (size > sizeof(seen) / 2 && !strstr(seen, text)) {
            memmove(seen, seen + size / 2, size - size / 2 + 1);
            size -= size / 2;
        }
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
    if (fd < 0)
        return NULL;
    char *text = read_all(fd, NULL);
    close(fd);
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
    return pid > 0 && kill(pid, 0) == 0;
}
