/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log frames to standard output and error: as they are, with times, or as JSON lines.
 *
 * Payloads of one stream that follow each other go out in one write: a log of short lines is read
 * as fast as one of long ones.
 */
#include "cli.h"
#include <errno.h>
#include <poll.h>
#include <unistd.h>

enum { BUFFER = 1 << 20, LINE_MAX_BYTES = 1 << 20 };

static int flush(struct frames *f)
{
    int r = write_all(f->out_stream == BERTH_STDERR ? STDERR_FILENO : STDOUT_FILENO, f->out, f->out_length);
    f->out_length = 0;
    return r;
}

static int emit(struct frames *f, uint32_t stream, const char *data, size_t size)
{
    if (f->out_length && (f->out_stream != stream || f->out_length + size > BUFFER)) {
        int r = flush(f);
        if (r < 0)
            return r;
    }
    f->out_stream = stream;
    if (size > BUFFER)
        return write_all(stream == BERTH_STDERR ? STDERR_FILENO : STDOUT_FILENO, data, size);
    memcpy(f->out + f->out_length, data, size);
    f->out_length += size;
    return 0;
}

static int emit_stamped(struct frames *f, uint32_t stream, const char *data, size_t size)
{
    char stamp[SHORT_TEXT];
    int r = 0;
    while (size && r == 0) {
        const char *newline = memchr(data, '\n', size);
        size_t n = newline ? (size_t)(newline - data) + 1 : size;
        if (!f->middle[stream]) {
            time_text(f->head.time_usec, stamp);
            size_t length = strlen(stamp);
            stamp[length] = ' '; /* in place of the NUL */
            r = emit(f, stream, stamp, length + 1);
        }
        if (r == 0)
            r = emit(f, stream, data, n);
        f->middle[stream] = !newline;
        data += n;
        size -= n;
    }
    return r;
}

/* Bytes that are not UTF-8 can't be JSON text; they travel as Latin-1 under another name. */
static void print_line(struct frames *f, uint32_t stream)
{
    char stamp[SHORT_TEXT];
    autojson json_t *object = json_object();
    json_object_set_new(object, "time", json_string(time_text(f->line_usec[stream], stamp)));
    json_object_set_new(object, "stream", json_string(stream == BERTH_STDERR ? "stderr" : "stdout"));
    if (json_object_set_new(object, "line", json_stringn(f->line[stream], f->line_length[stream])) < 0) {
        char *latin = memory_new(f->line_length[stream] * 2 + 1), *p = latin;
        for (size_t i = 0; i < f->line_length[stream]; i++) {
            unsigned char c = (unsigned char)f->line[stream][i];
            if (c >= 0x80)
                *p++ = (char)(0xc0 | c >> 6);
            *p++ = (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c);
        }
        json_object_set_new(object, "line_latin1", json_stringn(latin, (size_t)(p - latin)));
        free(latin);
    }
    json_line(object);
    f->line_length[stream] = 0;
}

static int emit_json(struct frames *f, uint32_t stream, const char *data, size_t size)
{
    while (size) {
        const char *newline = memchr(data, '\n', size);
        size_t n = newline ? (size_t)(newline - data) : size, room = LINE_MAX_BYTES - f->line_length[stream];
        bool full = n > room;
        n = full ? room : n;
        if (!f->line[stream])
            f->line[stream] = memory_new(LINE_MAX_BYTES);
        if (f->line_length[stream] == 0)
            f->line_usec[stream] = f->head.time_usec;
        memcpy(f->line[stream] + f->line_length[stream], data, n);
        f->line_length[stream] += n;
        if (full || newline)
            print_line(f, stream);
        n += !full && newline;
        data += n;
        size -= n;
    }
    return ferror(stdout) ? -errno : 0;
}

static int payload(struct frames *f, const char *data, size_t size)
{
    uint32_t stream = f->head.stream == BERTH_STDERR ? BERTH_STDERR : BERTH_STDOUT;
    if (f->json)
        return emit_json(f, stream, data, size);
    return f->timestamps ? emit_stamped(f, stream, data, size) : emit(f, stream, data, size);
}

/* Said where they are missing: behind all that came before. */
static int lost(struct frames *f)
{
    int r = flush(f);
    if (f->json)
        printf("{\"lost_bytes\":%llu}\n", (unsigned long long)f->head.length);
    else
        fprintf(stderr, "berth: %llu bytes of the log are gone\n", (unsigned long long)f->head.length);
    return r;
}

static int consume(struct frames *f, const char *p, size_t size)
{
    int r = 0;
    while (size && r == 0) {
        size_t n;
        if (f->left) {
            n = f->left < size ? (size_t)f->left : size;
            r = payload(f, p, n);
            f->left -= n;
        } else {
            n = sizeof(f->head) - f->head_have;
            n = n < size ? n : size;
            memcpy((char *)&f->head + f->head_have, p, n);
            f->head_have += n;
            if (f->head_have == sizeof(f->head)) {
                f->head_have = 0;
                if (f->head.stream & BERTH_FRAME_LOST)
                    r = lost(f);
                else
                    f->left = f->head.length;
            }
        }
        p += n;
        size -= n;
    }
    return r;
}

int frames_read(struct frames *f, int fd)
{
    if (!f->buffer) {
        f->buffer = memory_new(BUFFER);
        f->out = memory_new(BUFFER);
    }
    ssize_t n = read(fd, f->buffer, BUFFER);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 1 : -errno;
    f->any |= n > 0;
    int r = consume(f, f->buffer, (size_t)n);
    if (n == 0 && f->json)
        for (uint32_t s = BERTH_STDOUT; s <= BERTH_STDERR; s++)
            if (f->line_length[s])
                print_line(f, s);
    if (r == 0 && f->out_length)
        r = flush(f);
    if (r == 0 && f->json && fflush(stdout) != 0)
        r = -errno;
    return r < 0 ? r : n > 0;
}

int frames_read_all(struct cli *cli, struct frames *frames, int fd)
{
    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        int ready = poll(&wait, 1, cli_remaining_msec(cli));
        if (ready == 0)
            return -ETIMEDOUT;
        int r = ready < 0 ? (errno == EINTR ? 1 : -errno) : frames_read(frames, fd);
        if (r <= 0)
            return r;
    }
}

void frames_free(struct frames *f)
{
    free(f->buffer);
    free(f->out);
    for (size_t i = 0; i < ARRAY_SIZE(f->line); i++)
        free(f->line[i]);
    *f = (struct frames){0};
}
