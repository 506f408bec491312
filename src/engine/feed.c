/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pipe of a megabyte, so that a program that writes much is not woken for each page.
 */
#include "engine/feed.h"
#include "base/base.h"
#include "base/error.h"
#include "base/file.h"
#include "base/spawn.h"
#include "base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)

void feed_add(struct feed *f, const char *word)
{
    f->words[f->n++] = word;
}

void feed_add_number(struct feed *f, const char *option, uint64_t value)
{
    char *text = f->numbers[f->n_numbers++];
    snprintf(text, sizeof(f->numbers[0]), "%llu", (unsigned long long)value);
    feed_add(f, option);
    feed_add(f, text);
}

void feed_add_logs(struct feed *f, const struct berth_logs_options *o)
{
    if (o->follow)
        feed_add(f, "--follow");
    if (o->timestamps)
        feed_add(f, "--timestamps");
    if (o->frames)
        feed_add(f, "--frames");
    if (o->streams)
        feed_add_number(f, "--streams", o->streams);
    if (o->has_tail)
        feed_add_number(f, "--tail", MIN(o->tail, (uint64_t)INT64_MAX));
    if (o->since_usec)
        feed_add_number(f, "--since", (uint64_t)o->since_usec);
    if (o->until_usec)
        feed_add_number(f, "--until", (uint64_t)o->until_usec);
}

void feed_add_events(struct feed *f, const struct berth_events_options *o)
{
    feed_add(f, "berth-helper");
    feed_add(f, "events");
    feed_add(f, "3");
    if (o->follow)
        feed_add(f, "--follow");
    if (o->since_usec || o->follow)
        feed_add_number(f, "--since", (uint64_t)(o->since_usec ? o->since_usec : now_usec()));
    if (o->until_usec)
        feed_add_number(f, "--until", (uint64_t)o->until_usec);
    if (o->name) {
        feed_add(f, "--name");
        feed_add(f, o->name);
    }
}

static void end_feeder(void *data)
{
    int pid_fd = (int)(intptr_t)data - 1;
    syscall(SYS_pidfd_send_signal, pid_fd, SIGKILL, NULL, 0);
    close(pid_fd);
}

int feed_start(const struct feed *f, const char *path, const int fds[2], struct berth_stream **ret_stream,
               struct berth_error *err)
{
    int ends[2], pid_fd;
    pid_t pid;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
    const int all[] = {-1, ends[1], -1, fds[0], fds[1]};
    int r = spawn(&(struct spawn){.path = path, .argv = f->words, .fds = all, .n_fds = fds[1] >= 0 ? 5 : 4, .session = true},
                  &pid, &pid_fd);
    close(ends[1]);
    if (r < 0) {
        close(ends[0]);
        return fail_os(err, r, f->words[0], "start %s", path);
    }
    return berth_stream_new(ends[0], end_feeder, (void *)(intptr_t)(pid_fd + 1), ret_stream, err);
}
