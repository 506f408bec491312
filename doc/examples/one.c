/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One container with the blocking form of the verbs: create, start, logs, exec, stats, stop, remove.
 *
 *     cc one.c $(pkg-config --cflags --libs berth) -o one
 *     ./one IMAGE
 */
#include <berth/berth.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** Say what failed and give up. What it made before is the workload's; `berth rm -f` removes it. */
static void check(int result, const char *what, const struct berth_error *err)
{
    if (result >= 0)
        return;
    fprintf(stderr, "one: %s: %s: %s\n", what, berth_code_name(result), err->message);
    exit(1);
}

/** Copy what its log holds to our standard output. */
static void print_log(struct berth_runtime *runtime, const struct berth_handle *handle)
{
    struct berth_error err;
    struct berth_logs_options options = {.size = sizeof(options), .timestamps = true};
    struct berth_stream *stream;
    check(berth_logs(runtime, handle, &options, &stream, &err), "logs", &err);
    char buffer[4096];
    for (ssize_t n; (n = read(berth_stream_fd(stream), buffer, sizeof(buffer))) > 0;)
        fwrite(buffer, 1, (size_t)n, stdout);
    berth_stream_free(stream);
}

static void run_a_command_inside(struct berth_runtime *runtime, const struct berth_handle *handle)
{
    struct berth_error err;
    const char *argv[] = {"/bin/sh", "-c", "echo inside; cat; exit 3", NULL};
    struct berth_exec_options options = {.size = sizeof(options),
                                         .stdin_data = "from outside\n",
                                         .stdin_size = strlen("from outside\n")};
    struct berth_exec_result *result;
    check(berth_exec(runtime, handle, argv, &options, &result, &err), "exec", &err);
    printf("exec ended with %d and said: %s", result->exit_code, result->out);
    berth_exec_result_free(result);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: one IMAGE\n");
        return 2;
    }
    struct berth_error err;
    struct berth_runtime *runtime;
    check(berth_open("container", NULL, &runtime, &err), "open", &err);

    char spec[1024];
    snprintf(spec, sizeof(spec),
             "{\"name\": \"example-one\", \"image\": \"%s\", \"network\": \"none\","
             " \"command\": [\"/bin/sh\", \"-c\", \"echo hello; trap 'exit 0' TERM; while :; do sleep 1; done\"],"
             " \"resources\": {\"memory\": \"64Mi\"}}",
             argv[1]);
    struct berth_handle handle;
    check(berth_create(runtime, spec, &handle, &err), "create", &err);
    check(berth_start(runtime, &handle, &err), "start", &err);

    run_a_command_inside(runtime, &handle);

    struct berth_stats stats = {.size = sizeof(stats)};
    check(berth_stats(runtime, &handle, &stats, &err), "stats", &err);
    printf("it uses %llu kB of memory and used %llu us of CPU\n",
           (unsigned long long)stats.memory_bytes / 1000, (unsigned long long)stats.cpu_usec);

    check(berth_stop(runtime, &handle, 5000, &err), "stop", &err);
    print_log(runtime, &handle);

    struct berth_status *status;
    check(berth_status(runtime, &handle, &status, &err), "status", &err);
    printf("%s is %s, exit code %d\n", handle.name, berth_state_name(status->state), status->exit_code);
    berth_status_free(status);

    check(berth_remove(runtime, &handle, NULL, &err), "remove", &err);
    berth_close(runtime);
    return 0;
}
