/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs and events: a pipe, and berth-helper at its other end. The stream's end is the helper's.
 */
#include "local/inside.h"
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>

#define PIPE_BYTES (1 << 20)
#define ARGUMENTS_MAX 24

struct arguments {
    const char *list[ARGUMENTS_MAX];
    char numbers[4][24];
    size_t n, n_numbers;
};

static void add(struct arguments *a, const char *word)
{
    a->list[a->n++] = word;
}

static void add_number(struct arguments *a, const char *option, uint64_t value)
{
    char *text = a->numbers[a->n_numbers++];
    snprintf(text, sizeof(a->numbers[0]), "%llu", (unsigned long long)value);
    add(a, option);
    add(a, text);
}

static void end_feeder(void *data)
{
    int pid_fd = (int)(intptr_t)data - 1;
    syscall(SYS_pidfd_send_signal, pid_fd, SIGKILL, NULL, 0);
    close(pid_fd);
}

/** fds[0] and fds[1] become descriptors 3 and 4 of the feeder, its output the stream. */
static int feed(const struct local *c, const struct arguments *a, const int fds[2],
                struct berth_stream **ret_stream, struct berth_error *err)
{
    int ends[2], pid_fd;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
    const int all[] = {-1, ends[1], -1, fds[0], fds[1]};
    int r = helper_spawn(c, "berth-helper", a->list, all, fds[1] >= 0 ? 5 : 4, &pid_fd, err);
    close(ends[1]);
    if (r < 0) {
        close(ends[0]);
        return r;
    }
    return berth_stream_new(ends[0], end_feeder, (void *)(intptr_t)(pid_fd + 1), ret_stream, err);
}

int local_logs(void *self, const struct berth_handle *h, const struct berth_logs_options *o,
                   struct berth_stream **ret, struct berth_error *err)
{
    struct local *c = self;
    struct arguments a = {0};
    autoworkload w = NULL;
    autoclose int life_fd = -1;
    int r = local_get(c, h, &w, err);
    if (r == 0)
        r = workload_life_fd(w, &life_fd, err);
    if (r < 0)
        return r;
    add(&a, "berth-helper");
    add(&a, "logs");
    add(&a, "3");
    add(&a, "4");
    if (o->follow)
        add(&a, "--follow");
    if (o->timestamps)
        add(&a, "--timestamps");
    if (o->frames)
        add(&a, "--frames");
    if (o->streams)
        add_number(&a, "--streams", o->streams);
    if (o->has_tail)
        add_number(&a, "--tail", MIN(o->tail, (uint64_t)INT64_MAX));
    if (o->since_usec)
        add_number(&a, "--since", (uint64_t)o->since_usec);
    if (o->until_usec)
        add_number(&a, "--until", (uint64_t)o->until_usec);
    const int fds[2] = {workload_fd(w), life_fd};
    return feed(c, &a, fds, ret, err);
}

int local_events(void *self, const struct berth_events_options *o, struct berth_stream **ret,
                     struct berth_error *err)
{
    struct local *c = self;
    struct arguments a = {0};
    struct store *store;
    int r = local_store(c, true, &store, err); /* a follower may be there before the first create */
    if (r < 0)
        return r;
    add(&a, "berth-helper");
    add(&a, "events");
    add(&a, "3");
    if (o->follow)
        add(&a, "--follow");
    if (o->since_usec || o->follow)
        add_number(&a, "--since", (uint64_t)(o->since_usec ? o->since_usec : now_usec()));
    if (o->until_usec)
        add_number(&a, "--until", (uint64_t)o->until_usec);
    if (o->name) {
        add(&a, "--name");
        add(&a, o->name);
    }
    autoclose int root_fd = open(store_root(store), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return fail_os(err, errno, NULL, "open %s", store_root(store));
    const int fds[2] = {root_fd, -1};
    return feed(c, &a, fds, ret, err);
}
