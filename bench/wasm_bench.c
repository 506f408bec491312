/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth's side of bench/wasm, through the public library, and a bare process to hold it against.
 *
 * The protocol of berth_bench.c: a word on standard input, one line on standard output.
 */
#include "measure.h"
#include "through.h"

#include <berth/berth.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MANY 1024

extern char **environ;

static struct berth_runtime *runtime;
static struct berth_handle many[MANY];
static int n_many;
static const char *command, *service; /* images */
static char **bare;                   /* argv of a program to compare with */

static struct berth_handle create(const char *image)
{
    struct berth_error err;
    struct berth_handle handle;
    char spec[1024];
    snprintf(spec, sizeof(spec), "{\"image\":\"%s\",\"network\":\"none\",\"resources\":{\"memory\":\"64Mi\",\"pids\":100}}", image);
    need(berth_create(runtime, spec, &handle, &err), &err, "create");
    return handle;
}

static void force_remove(const struct berth_handle *handle)
{
    struct berth_remove_options options = {.size = sizeof(options), .force = true, .volumes = true};
    struct berth_error err;
    need(berth_remove(runtime, handle, &options, &err), &err, "remove");
}

static void read_byte(int fd)
{
    char byte;
    if (read(fd, &byte, 1) != 1)
        fprintf(stderr, "wasm_bench: no output\n");
}

/** create + start to first byte, from the log as bench/bench reads it, or attached as `berth run` is. */
static double time_start(bool attached)
{
    struct berth_attach_options attach = {.size = sizeof(attach), .next_start = true};
    struct berth_logs_options follow = {.size = sizeof(follow), .follow = true};
    struct berth_stream *stream = NULL;
    struct berth_call *call = NULL;
    struct berth_error err;
    double t = now();
    struct berth_handle handle = create(command);
    if (attached)
        need(berth_attach_call(runtime, &handle, &attach, &call, &err), &err, "attach");
    need(berth_start(runtime, &handle, &err), &err, "start");
    if (!attached)
        need(berth_logs(runtime, &handle, &follow, &stream, &err), &err, "logs");
    read_byte(attached ? berth_call_stream_fd(call, 1) : berth_stream_fd(stream));
    t = now() - t;
    if (attached)
        berth_call_free(call);
    else
        berth_stream_free(stream);
    force_remove(&handle);
    return t;
}

static double time_logged(void)
{
    return time_start(false);
}

static double time_attached(void)
{
    return time_start(true);
}

/** A process of its own from nothing to its first byte. */
static double time_bare(void)
{
    posix_spawn_file_actions_t actions;
    int ends[2], status;
    pid_t pid;
    if (!bare[0] || pipe(ends) < 0)
        return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    double t = now();
    int r = posix_spawn(&pid, bare[0], &actions, NULL, bare, environ);
    close(ends[1]);
    if (r == 0)
        read_byte(ends[0]);
    t = now() - t;
    posix_spawn_file_actions_destroy(&actions);
    close(ends[0]);
    if (r == 0)
        waitpid(pid, &status, 0);
    return r == 0 ? t : -1;
}

/** So many services at once; they stay until "release". */
static double hold(int n)
{
    struct berth_error err;
    double t = now();
    while (n_many < n && n_many < MANY) {
        many[n_many] = create(service);
        need(berth_start(runtime, &many[n_many++], &err), &err, "start");
    }
    return now() - t;
}

static double release(void)
{
    double t = now();
    while (n_many > 0)
        force_remove(&many[--n_many]);
    return now() - t;
}

static const struct {
    const char *word;
    double (*run)(void);
} steps[] = {{"start", time_logged}, {"attached", time_attached}, {"bare", time_bare}, {"release", release}};

int main(int argc, char **argv)
{
    struct berth_error err;
    char word[64];
    int n;
    if (argc < 3) {
        fprintf(stderr, "usage: wasm_bench COMMAND SERVICE [PROGRAM ARG...]   (words on standard input)\n");
        return 2;
    }
    command = argv[1];
    service = argv[2];
    bare = argv + 3;
    need(berth_open("wasm", NULL, &runtime, &err), &err, "open");
    while (scanf("%63s", word) == 1) {
        double usec = sscanf(word, "hold:%d", &n) == 1 ? hold(n) : -1;
        for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
            if (!strcmp(word, steps[i].word))
                usec = steps[i].run();
        if (usec < 0)
            puts("-");
        else
            printf("%.1f\n", usec);
        fflush(stdout);
    }
    release();
    berth_close(runtime);
    return 0;
}
