/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs and events: a pipe, and a program of berth's at its other end.
 */
#include "docker/inside.h"
#include "base/spawn.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>

#define PIPE_BYTES (1 << 20)
#define ARGUMENTS_MAX 32

struct arguments {
    const char *list[ARGUMENTS_MAX];
    char numbers[8][24];
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

static int feed(const struct docker *d, const struct arguments *a, int fd, struct berth_stream **ret_stream, struct berth_error *err)
{
    int ends[2], pid_fd;
    pid_t pid;
    autofree char *program = format_text("%s/%s", d->programs, a->list[0]);
    if (!program)
        return fail_memory(err);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
    const int all[] = {-1, ends[1], -1, fd};
    int r = spawn(&(struct spawn){.path = program, .argv = a->list, .fds = all, .n_fds = ARRAY_SIZE(all), .session = true}, &pid, &pid_fd);
    close(ends[1]);
    if (r < 0) {
        close(ends[0]);
        return fail_os(err, r, program, "start %s", program);
    }
    return berth_stream_new(ends[0], end_feeder, (void *)(intptr_t)(pid_fd + 1), ret_stream, err);
}

int docker_logs(void *self, const struct berth_handle *h, const struct berth_logs_options *o, struct berth_stream **ret,
                struct berth_error *err)
{
    autobox b = {0};
    autoanswer seen = NULL;
    struct arguments a = {0};
    int r = box_open(self, h, &b, err);
    if (r == 0)
        r = box_inspect(&b, "logs", &seen, err);
    int run_fd = r == 0 ? workload_run_fd(b.folder, err) : r;
    if (run_fd < 0)
        return run_fd;
    add(&a, "berth-docker");
    add(&a, "logs");
    add(&a, b.daemon->host);
    add(&a, b.daemon->certs ? b.daemon->certs : "");
    add(&a, b.container);
    add_number(&a, "--minor", (uint64_t)b.daemon->minor);
    if (true_at(seen, "Config.Tty"))
        add(&a, "--tty");
    if (b.daemon->podman)
        add(&a, "--whole");
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
    return feed(self, &a, run_fd, ret, err);
}

/** The root's own events: what berth did, and the ends that it saw. */
int docker_events(void *self, const struct berth_events_options *o, struct berth_stream **ret, struct berth_error *err)
{
    struct arguments a = {0};
    struct store *store;
    int r = docker_store(self, true, &store, err);
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
    return feed(self, &a, root_fd, ret, err);
}
