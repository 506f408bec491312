/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events: ROOT/events/log, one JSON object a line, appended with one write by whoever made it.
 *
 * At 16 MiB the file becomes log.1. Rotating is done under a lock on the very file that is full, so
 * that two who see it full do it once. A writer that was late may still write into log.1: a follower
 * keeps reading there.
 */
#include "store/store.h"
#include "base/base.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define EVENT_HEAD "{\"time_usec\":"
#define EVENT_LINE_MAX (1u << 20)

/* ---- writing */

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

static int rotate(int root_fd, int full_fd)
{
    struct stat full, named;
    int r = lock_take(full_fd);
    if (r == -EAGAIN)
        return 0; /* another does it now */
    if (r < 0)
        return r;
    if (fstat(full_fd, &full) < 0 || fstatat(root_fd, "events/log", &named, 0) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (same_file(&full, &named) && renameat(root_fd, "events/log", root_fd, "events/log.1") < 0)
        return -errno;
    return 0;
}

/* Names were checked when they were given; anything else stays out of the line. */
static void add_string(struct text *t, const char *s)
{
    text_add(t, "\"");
    for (; *s; s++)
        if (*s == '"' || *s == '\\')
            text_printf(t, "\\%c", *s);
        else if ((unsigned char)*s < ' ')
            text_printf(t, "\\u%04x", *s);
        else
            text_add_bytes(t, s, 1);
    text_add(t, "\"");
}

static int event_print(struct text *t, const char *type, const char *id, const char *name,
                       const char *attributes_json)
{
    char time[40];
    int64_t usec = now_usec();
    time_print(usec, time);
    text_printf(t, EVENT_HEAD "%lld,\"time\":\"%s\",\"type\":", (long long)usec, time);
    add_string(t, type);
    text_add(t, ",\"id\":");
    add_string(t, id ? id : "");
    text_add(t, ",\"name\":");
    add_string(t, name ? name : "");
    if (attributes_json && *attributes_json) {
        text_add(t, ",");
        text_add(t, attributes_json);
    }
    for (size_t i = 0; i < t->length; i++)
        if (t->data[i] == '\n')
            t->data[i] = ' '; /* between JSON's tokens; inside of a string it would be escaped */
    text_add(t, "}\n");
    if (t->failed)
        return -ENOMEM;
    return t->length > EVENT_LINE_MAX ? -E2BIG : 0;
}

int event_append(int root_fd, const char *type, const char *id, const char *name,
                 const char *attributes_json)
{
    autotext struct text line = {0};
    int r = event_print(&line, type, id, name, attributes_json);
    if (r < 0)
        return r;
    const int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
    autoclose int fd = RETRY(openat(root_fd, "events/log", flags, 0600));
    if (fd < 0)
        return -errno;
    ssize_t n = RETRY(write(fd, line.data, line.length));
    if (n < 0)
        return -errno;
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_size >= (off_t)EVENTS_MAX_BYTES)
        rotate(root_fd, fd); /* the next one tries again */
    return (size_t)n == line.length ? 0 : -ENOSPC;
}

/* ---- reading */

struct events_reader {
    int root_fd, out_fd, watch_fd;
    int64_t since_usec, until_usec;
    const char *name_or_id;
    struct {
        int fd;
        struct text rest; /* a line that isn't complete */
    } old, now;
    struct text out;
};

static bool wanted(const struct events_reader *r, const char *line, size_t length)
{
    int64_t usec = strtoll(line + strlen(EVENT_HEAD), NULL, 10);
    if (r->until_usec && usec >= r->until_usec)
        return false;
    if (usec < r->since_usec)
        return false;
    if (!r->name_or_id)
        return true;
    json_error_t bad;
    json_t *event = json_loadb(line, length, 0, &bad);
    const char *id = json_string_value(json_object_get(event, "id"));
    const char *name = json_string_value(json_object_get(event, "name"));
    bool yes = (id && strcmp(id, r->name_or_id) == 0) || (name && strcmp(name, r->name_or_id) == 0);
    json_decref(event);
    return yes;
}

/* A write that was cut by a full disk leaves half a line before the next one: step over it. */
static void take_line(struct events_reader *r, const char *line, size_t length)
{
    const char *head = line;
    for (const char *p = line; (p = memmem(p, (size_t)(line + length - p), EVENT_HEAD, strlen(EVENT_HEAD))); p++)
        head = p;
    length -= (size_t)(head - line);
    if (length <= strlen(EVENT_HEAD) || memcmp(head, EVENT_HEAD, strlen(EVENT_HEAD)) != 0 ||
        head[length - 1] != '}')
        return;
    if (!wanted(r, head, length))
        return;
    text_add_bytes(&r->out, head, length);
    text_add(&r->out, "\n");
}

static int flush(struct events_reader *r)
{
    int result = r->out.failed ? -ENOMEM : 0;
    if (result == 0 && r->out.length)
        result = fd_write_all(r->out_fd, r->out.data, r->out.length);
    text_free(&r->out);
    r->out = (struct text){0};
    return result;
}

/* Everything that is there now. */
static int drain(struct events_reader *r, int fd, struct text *rest)
{
    autofree char *data = fd >= 0 ? malloc(EVENT_LINE_MAX) : NULL;
    if (fd < 0)
        return 0;
    if (!data)
        return -ENOMEM;
    ssize_t n;
    while ((n = RETRY(read(fd, data, EVENT_LINE_MAX))) > 0) {
        const char *p = data, *end = data + n, *newline;
        while ((newline = memchr(p, '\n', (size_t)(end - p)))) {
            if (rest->length) {
                text_add_bytes(rest, p, (size_t)(newline - p));
                if (!rest->failed)
                    take_line(r, rest->data, rest->length);
                text_free(rest);
                *rest = (struct text){0};
            } else {
                take_line(r, p, (size_t)(newline - p));
            }
            p = newline + 1;
        }
        if (rest->length + (size_t)(end - p) <= 2 * EVENT_LINE_MAX)
            text_add_bytes(rest, p, (size_t)(end - p));
        int failed = flush(r);
        if (failed < 0)
            return failed;
    }
    return n < 0 ? -errno : 0;
}

static int open_log(int root_fd, const char *path)
{
    int fd = RETRY(openat(root_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    return fd < 0 && errno != ENOENT ? -errno : fd;
}

static void become_old(struct events_reader *r)
{
    close_fd(&r->old.fd);
    text_free(&r->old.rest);
    r->old.fd = take_fd(&r->now.fd);
    r->old.rest = r->now.rest;
    r->now.rest = (struct text){0};
}

/* Drained until its end, then looked whether it is still the one that is written. */
static int catch_up(struct events_reader *r)
{
    for (;;) {
        int e = drain(r, r->old.fd, &r->old.rest);
        if (e == 0)
            e = drain(r, r->now.fd, &r->now.rest);
        if (e < 0)
            return e;
        struct stat mine, named, old;
        if (fstatat(r->root_fd, "events/log", &named, 0) < 0)
            return errno == ENOENT ? 0 : -errno;
        if (r->now.fd >= 0 && fstat(r->now.fd, &mine) == 0 && same_file(&mine, &named))
            return 0;
        if (r->now.fd >= 0) {
            become_old(r);
            if (fstatat(r->root_fd, "events/log.1", &old, 0) == 0 && !same_file(&old, &mine)) {
                /* rotated twice while we were away */
                r->now.fd = open_log(r->root_fd, "events/log.1");
                continue;
            }
        }
        r->now.fd = open_log(r->root_fd, "events/log");
        if (r->now.fd == -1)
            return 0;
        if (r->now.fd < 0)
            return r->now.fd;
    }
}

static int open_logs(struct events_reader *r)
{
    struct stat now, old;
    r->now.fd = open_log(r->root_fd, "events/log");
    r->old.fd = open_log(r->root_fd, "events/log.1");
    if (r->now.fd < -1 || r->old.fd < -1)
        return MIN(r->now.fd, r->old.fd);
    if (r->now.fd >= 0 && r->old.fd >= 0 && fstat(r->now.fd, &now) == 0 &&
        fstat(r->old.fd, &old) == 0 && same_file(&now, &old))
        close_fd(&r->now.fd); /* rotated between the two opens */
    return 0;
}

/* 1: something may have come; 0: it is over. */
static int wait_for_more(struct events_reader *r)
{
    char changes[4096];
    int timeout_msec = -1;
    if (r->until_usec) {
        int64_t left_usec = r->until_usec - now_usec();
        if (left_usec <= 0)
            return 0;
        timeout_msec = (int)MIN(left_usec / 1000 + 1, 3600 * 1000);
    }
    struct pollfd polled[] = {{.fd = r->watch_fd, .events = POLLIN}, {.fd = r->out_fd}};
    if (poll(polled, ARRAY_SIZE(polled), timeout_msec) < 0)
        return errno == EINTR ? 1 : -errno;
    if (polled[1].revents & (POLLERR | POLLHUP | POLLNVAL))
        return 0;
    if (polled[0].revents && read(r->watch_fd, changes, sizeof(changes)) < 0 && errno != EAGAIN)
        return -errno;
    return 1;
}

static int watch(struct events_reader *r)
{
    char path[64];
    autoclose int dir_fd =
        RETRY(openat(r->root_fd, "events", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    r->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (dir_fd < 0 || r->watch_fd < 0)
        return -errno;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", dir_fd);
    return inotify_add_watch(r->watch_fd, path, IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0 ? -errno
                                                                                         : 0;
}

static int pump(struct events_reader *r, bool follow)
{
    int e = follow ? watch(r) : 0;
    if (e == 0)
        e = open_logs(r);
    while (e == 0) {
        e = catch_up(r);
        if (e < 0 || !follow)
            break;
        e = wait_for_more(r);
        if (e == 0) {
            e = catch_up(r);
            break;
        }
        e = MIN(e, 0);
    }
    return e;
}

int events_pump(int root_fd, int64_t since_usec, int64_t until_usec, bool follow,
                const char *name_or_id, int out_fd, struct berth_error *err)
{
    struct events_reader r = {
        .root_fd = root_fd,
        .out_fd = out_fd,
        .watch_fd = -1,
        .since_usec = since_usec ? since_usec : follow ? now_usec() : 0,
        .until_usec = until_usec,
        .name_or_id = name_or_id,
        .old.fd = -1,
        .now.fd = -1,
    };
    int e = pump(&r, follow);
    close_fd(&r.old.fd);
    close_fd(&r.now.fd);
    close_fd(&r.watch_fd);
    text_free(&r.old.rest);
    text_free(&r.now.rest);
    text_free(&r.out);
    if (e < 0 && e != -EPIPE)
        return fail_os(err, e, NULL, "read events");
    return 0;
}
