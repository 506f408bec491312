/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One caller, any engine: the same spec, but for runtime and image, through the same calls.
 *
 *     cc swap.c $(pkg-config --cflags --libs berth) -o swap
 *     ./swap fake - | ./swap container example:1 | ./swap docker example:1 | ./swap plain host | ./swap wasm guest.wasm steps
 *
 * What an engine cannot do it says by UNSUPPORTED; the rest of this program does not know which it has.
 */
#include <berth/berth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct berth_error err;

/** Say what failed and end, unless it is only that this engine does not do that. */
static int must(const char *what, int r)
{
    if (r >= 0 || r == BERTH_UNSUPPORTED)
        return r;
    fprintf(stderr, "%s: %s: %s\n", what, berth_code_name(r), err.message);
    exit(1);
}

static void print_log(struct berth_runtime *runtime, const struct berth_handle *handle)
{
    struct berth_stream *stream;
    char text[4096];
    if (must("logs", berth_logs(runtime, handle, NULL, &stream, &err)) < 0)
        return;
    for (ssize_t n; (n = read(berth_stream_fd(stream), text, sizeof(text))) > 0;)
        printf("  it said: %.*s", (int)n, text);
    berth_stream_free(stream);
}

/** One more program beside it. Programs are the one thing that engines differ in: fake's are steps, as a module's may be. */
static void run_beside(struct berth_runtime *runtime, const struct berth_handle *handle, bool steps)
{
    const char *const shell[] = {"/bin/sh", "-c", "echo beside; exit 3", NULL};
    const char *const script[] = {"print beside", "exit 3", NULL};
    struct berth_exec_result *result = NULL;
    if (must("exec", berth_exec(runtime, handle, steps ? script : shell, NULL, &result, &err)) < 0)
        printf("  exec: %s\n", err.message);
    else
        printf("  exec ended with %d and said: %s", result->exit_code, result->out);
    berth_exec_result_free(result);
}

static void print_state(struct berth_runtime *runtime, const struct berth_handle *handle)
{
    struct berth_status *status;
    struct berth_stats stats = {.size = sizeof(stats)};
    must("status", berth_status(runtime, handle, &status, &err));
    printf("  %s is %s\n", status->handle.name, berth_state_name(status->state));
    if (status->state == BERTH_RUNNING && must("stats", berth_stats(runtime, handle, &stats, &err)) == 0)
        printf("  it is %llu processes\n", (unsigned long long)stats.pids);
    berth_status_free(status);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: swap RUNTIME IMAGE [steps]\n");
        return 2;
    }
    bool steps = strcmp(argv[1], "fake") == 0 || argc > 3;
    const char *command = steps ? "[\"print hello\", \"wait\"]"
                                : "[\"/bin/sh\", \"-c\", \"trap 'exit 0' TERM; echo hello; while :; do sleep 1; done\"]";
    char spec[1024];
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_remove_options force = {.size = sizeof(force), .force = true};
    must("open", berth_open(argv[1], NULL, &runtime, &err));
    printf("%s\n", berth_name(runtime));
    snprintf(spec, sizeof(spec), "{\"name\": \"swap\", \"image\": \"%s\", \"network\": \"host\", \"command\": %s}", argv[2], command);
    must("create", berth_create(runtime, spec, &handle, &err));
    print_state(runtime, &handle);
    must("start", berth_start(runtime, &handle, &err));
    print_state(runtime, &handle);
    run_beside(runtime, &handle, steps);
    must("stop", berth_stop(runtime, &handle, 2000, &err));
    print_log(runtime, &handle);
    print_state(runtime, &handle);
    must("remove", berth_remove(runtime, &handle, &force, &err));
    berth_close(runtime);
    return 0;
}
