/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth in systemd's event loop: a stop that is asked for by a timer, the end that follows it.
 *
 *     cc sdevent.c $(pkg-config --cflags --libs berth libsystemd) -o sdevent
 *     ./sdevent RUNTIME IMAGE
 *
 * A call is an I/O source: sd_event_add_io on berth_call_fd, berth_call_finish when it is readable.
 */
#define _GNU_SOURCE
#include <berth/berth.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>
#include <time.h>

struct application {
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_call *stop, *end;
    sd_event *loop;
};

static struct berth_error err;

static void must(const char *what, int r)
{
    if (r >= 0)
        return;
    fprintf(stderr, "sdevent: %s: %d: %s\n", what, r, err.message);
    exit(1);
}

static int on_stopped(sd_event_source *source, int fd, uint32_t revents, void *data)
{
    struct application *a = data;
    int r = berth_call_finish(a->stop, NULL, &err);
    (void)fd;
    (void)revents;
    if (r == BERTH_AGAIN)
        return 0;
    must("stop", r);
    printf("the stop has finished\n");
    return sd_event_source_set_enabled(source, SD_EVENT_OFF);
}

static int on_end(sd_event_source *source, int fd, uint32_t revents, void *data)
{
    struct application *a = data;
    struct berth_result result;
    int r = berth_call_finish(a->end, &result, &err);
    (void)fd;
    (void)revents;
    if (r == BERTH_AGAIN)
        return 0;
    must("wait", r);
    printf("it is %s\n", berth_state_name(result.status->state));
    berth_status_free(result.status);
    sd_event_source_set_enabled(source, SD_EVENT_OFF);
    return sd_event_exit(a->loop, 0);
}

static int on_time(sd_event_source *source, uint64_t usec, void *data)
{
    struct application *a = data;
    (void)source;
    (void)usec;
    printf("time is up\n");
    must("stop", berth_stop_call(a->runtime, &a->handle, 1000, &a->stop, &err));
    return sd_event_add_io(a->loop, NULL, berth_call_fd(a->stop), EPOLLIN, on_stopped, a);
}

int main(int argc, char **argv)
{
    struct application a = {0};
    char spec[1024];
    if (argc != 3) {
        fprintf(stderr, "usage: sdevent RUNTIME IMAGE\n");
        return 2;
    }
    snprintf(spec, sizeof(spec), "{\"image\": \"%s\", \"network\": \"host\", \"command\": %s}", argv[2],
             strcmp(argv[1], "fake") ? "[\"/bin/sh\", \"-c\", \"trap 'exit 0' TERM; while :; do sleep 0.1; done\"]" : "[\"wait\"]");
    must("open", berth_open(argv[1], NULL, &a.runtime, &err));
    must("create", berth_create(a.runtime, spec, &a.handle, &err));
    must("start", berth_start(a.runtime, &a.handle, &err));
    must("wait", berth_wait_call(a.runtime, &a.handle, &a.end, &err));

    must("loop", sd_event_new(&a.loop));
    must("timer", sd_event_add_time_relative(a.loop, NULL, CLOCK_MONOTONIC, 200000, 1000, on_time, &a));
    must("io", sd_event_add_io(a.loop, NULL, berth_call_fd(a.end), EPOLLIN, on_end, &a));
    must("run", sd_event_loop(a.loop));

    sd_event_unref(a.loop);
    berth_call_free(a.stop);
    berth_call_free(a.end);
    must("remove", berth_remove(a.runtime, &a.handle, NULL, &err));
    berth_close(a.runtime);
    return 0;
}
