/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth in an epoll loop: a workload's log and its end are two descriptors among the loop's others.
 *
 *     cc epoll.c $(pkg-config --cflags --libs berth) -o epoll
 *     ./epoll RUNTIME IMAGE
 *
 * Nothing here blocks but epoll_wait, and no thread is started.
 */
#include <berth/berth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static struct berth_error err;

static void must(const char *what, int r)
{
    if (r >= 0)
        return;
    fprintf(stderr, "epoll: %s: %s: %s\n", what, berth_code_name(r), err.message);
    exit(1);
}

/** Whatever is watched: a descriptor and what to do when it is readable; false: it is over. */
struct watched {
    bool (*ready)(struct watched *w);
    struct berth_stream *stream;
    struct berth_call *call;
};

static bool log_ready(struct watched *w)
{
    char text[4096];
    ssize_t n = read(berth_stream_fd(w->stream), text, sizeof(text));
    if (n <= 0)
        return false;
    printf("log: %.*s", (int)n, text);
    return true;
}

static bool end_ready(struct watched *w)
{
    struct berth_result result;
    int r = berth_call_finish(w->call, &result, &err); /* never blocks */
    if (r == BERTH_AGAIN)
        return true;
    must("wait", r);
    printf("end: %s, exit code %d\n", berth_state_name(result.status->state), result.status->exit_code);
    berth_status_free(result.status);
    return false;
}

static void watch(int loop, int fd, struct watched *w)
{
    struct epoll_event e = {.events = EPOLLIN, .data = {.ptr = w}};
    if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &e) < 0) {
        perror("epoll: epoll_ctl");
        exit(1);
    }
}

static void run_loop(int loop, int watched)
{
    struct epoll_event e;
    while (watched > 0 && epoll_wait(loop, &e, 1, -1) >= 0) {
        struct watched *w = e.data.ptr;
        if (w->ready(w))
            continue;
        epoll_ctl(loop, EPOLL_CTL_DEL, w->stream ? berth_stream_fd(w->stream) : berth_call_fd(w->call), NULL);
        watched--;
    }
}

int main(int argc, char **argv)
{
    struct berth_runtime *runtime;
    struct berth_handle handle;
    char spec[1024];
    if (argc != 3) {
        fprintf(stderr, "usage: epoll RUNTIME IMAGE\n");
        return 2;
    }
    snprintf(spec, sizeof(spec), "{\"image\": \"%s\", \"network\": \"host\", \"command\": %s}", argv[2],
             strcmp(argv[1], "fake") ? "[\"/bin/sh\", \"-c\", \"echo one; sleep 0.2; echo two; exit 5\"]"
                                     : "[\"print one\", \"sleep 200ms\", \"print two\", \"exit 5\"]");
    must("open", berth_open(argv[1], NULL, &runtime, &err));
    must("create", berth_create(runtime, spec, &handle, &err));
    must("start", berth_start(runtime, &handle, &err));

    int loop = epoll_create1(EPOLL_CLOEXEC);
    struct watched log = {.ready = log_ready}, end = {.ready = end_ready};
    struct berth_logs_options follow = {.size = sizeof(follow), .follow = true};
    must("logs", berth_logs(runtime, &handle, &follow, &log.stream, &err));
    must("wait", berth_wait_call(runtime, &handle, &end.call, &err));
    watch(loop, berth_stream_fd(log.stream), &log);
    watch(loop, berth_call_fd(end.call), &end);
    run_loop(loop, 2);

    berth_stream_free(log.stream);
    berth_call_free(end.call);
    close(loop);
    must("remove", berth_remove(runtime, &handle, NULL, &err));
    berth_close(runtime);
    return 0;
}
