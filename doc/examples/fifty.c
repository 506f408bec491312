/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fifty containers at once from one thread: every verb in the form that does not block, one poll loop.
 *
 * Each goes create, start, wait, remove. A call is a descriptor: readable means "ask me again".
 *
 *     cc fifty.c $(pkg-config --cflags --libs berth) -o fifty
 *     ./fifty IMAGE
 */
#include <berth/berth.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define COUNT 50

enum stage { CREATING, STARTING, WAITING, REMOVING, DONE };
static const char *const stage_names[] = {"create", "start", "wait", "remove"};

struct workload {
    enum stage stage;
    struct berth_call *call; /* the verb that is under way */
    struct berth_handle handle;
    int exit_code;
};

static struct berth_runtime *runtime;

static void check(int result, const char *what, const struct berth_error *err)
{
    if (result >= 0)
        return;
    fprintf(stderr, "fifty: %s: %s: %s\n", what, berth_code_name(result), err->message);
    exit(1);
}

static void begin(struct workload *w, const char *image)
{
    struct berth_error err;
    char spec[512];
    snprintf(spec, sizeof(spec),
             "{\"image\": \"%s\", \"network\": \"none\","
             " \"command\": [\"/bin/sh\", \"-c\", \"sleep 0.1; exit 7\"]}",
             image);
    check(berth_create_call(runtime, spec, &w->call, &err), "create", &err);
}

/** Its call has brought `result`: take what it has for us and make the next call. */
static void go_on(struct workload *w, struct berth_result *result)
{
    struct berth_error err;
    int r = 0;
    berth_call_free(w->call);
    w->call = NULL;
    switch (w->stage++) {
    case CREATING:
        w->handle = result->handle;
        r = berth_start_call(runtime, &w->handle, &w->call, &err);
        break;
    case STARTING:
        r = berth_wait_call(runtime, &w->handle, &w->call, &err);
        break;
    case WAITING:
        w->exit_code = result->status->exit_code;
        berth_status_free(result->status);
        r = berth_remove_call(runtime, &w->handle, NULL, &w->call, &err);
        break;
    default:
        break;
    }
    check(r, w->handle.name, &err);
}

/** Wait until at least one call has something to say, and hear all of them. Number that became done. */
static int turn(struct workload *workloads)
{
    struct pollfd fds[COUNT];
    int done = 0;
    for (int i = 0; i < COUNT; i++)
        fds[i] = (struct pollfd){.fd = workloads[i].call ? berth_call_fd(workloads[i].call) : -1,
                                 .events = POLLIN};
    if (poll(fds, COUNT, -1) < 0) {
        perror("fifty: poll");
        exit(1);
    }
    for (int i = 0; i < COUNT; i++) {
        struct berth_error err;
        struct berth_result result = {0};
        if (!fds[i].revents)
            continue;
        int r = berth_call_finish(workloads[i].call, &result, &err);
        if (r == BERTH_AGAIN)
            continue;
        check(r, stage_names[workloads[i].stage], &err);
        go_on(&workloads[i], &result);
        done += workloads[i].stage == DONE;
    }
    return done;
}

int main(int argc, char **argv)
{
    static struct workload workloads[COUNT];
    struct berth_error err;
    int ended_with_7 = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: fifty IMAGE\n");
        return 2;
    }
    check(berth_open("container", NULL, &runtime, &err), "open", &err);
    for (int i = 0; i < COUNT; i++)
        begin(&workloads[i], argv[1]);
    for (int done = 0; done < COUNT;)
        done += turn(workloads);
    for (int i = 0; i < COUNT; i++)
        ended_with_7 += workloads[i].exit_code == 7;
    printf("%d of %d ended with 7\n", ended_with_7, COUNT);
    berth_close(runtime);
    return ended_with_7 == COUNT ? 0 : 1;
}
