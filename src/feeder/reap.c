/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `remove` of a spec: the container goes when it has ended and nobody attached to that start holds it any more.
 *
 * The API's own AutoRemove goes at once: before its log was read, its code asked for.
 */
#include "feeder/feeder.h"
#include "base/file.h"
#include "docker/answer.h"
#include "store/store.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define RETRY_MSEC 500

static bool ended(json_t *seen)
{
    json_t *state = at(seen, "State");
    return !state_runs(state) && !true_at(state, "Paused") && !true_at(state, "Restarting");
}

/** 1: it has ended or is gone, 0: ask again; negative: the daemon is away. */
static int wait_end(struct daemon *daemon, const char *container)
{
    autorequest wait = {.method = "POST", .path = format_text("/containers/%s/wait", container), .timeout_msec = -1};
    autorequest look = {.method = "GET", .path = format_text("/containers/%s/json", container)};
    autoanswer seen = NULL;
    int r = daemon_ask(daemon, &wait, NULL);
    if (r == 0)
        r = daemon_ask(daemon, &look, NULL);
    if (r == 0)
        r = answer_json(&look, "wait", container, &seen, NULL);
    return r == BERTH_NOT_FOUND ? 1 : r < 0 ? r : ended(seen);
}

/** Those who attached to its start hold this lock as long as they have their call. */
static void wait_holders(struct workload *w)
{
    int run_fd = workload_run_fd(w, NULL);
    autoclose int fd = run_fd < 0 ? -1 : openat(run_fd, "held", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fd >= 0)
        RETRY(fcntl(fd, F_OFD_SETLKW, &lock));
}

static void discard(struct store *store, struct workload *w, const char *id)
{
    char name[BERTH_NAME_MAX + 8] = "";
    workload_name(w, name, NULL);
    if (workload_lock_change(w, NULL) < 0 || workload_discard(w, NULL) < 0)
        return;
    event_append(store_root_fd(store), "remove", id, name, NULL);
    workload_delete_small(w);
}

int run_reap(int argc, char **argv, struct berth_error *err)
{
    const char *container = argv[3], *id = argv[6];
    struct store *store = NULL;
    struct workload *w = NULL;
    (void)argc;
    autofree char *programs = own_folder();
    struct daemon *daemon = programs ? daemon_new(argv[1], *argv[2] ? argv[2] : NULL, programs) : NULL;
    int r = daemon ? store_open(argv[4], argv[5], false, &store, err) : fail_memory(err);
    if (r == 0)
        r = workload_open(store, id, &w, err);
    for (int over = 0; r == 0 && over <= 0;) {
        over = wait_end(daemon, container);
        if (over < 0)
            poll(NULL, 0, RETRY_MSEC); /* nothing tells when a daemon is back */
    }
    if (r == 0) {
        wait_holders(w);
        autorequest away = {.method = "DELETE", .path = format_text("/containers/%s?v=1", container), .timeout_msec = SLOW_MSEC};
        r = daemon_ask(daemon, &away, err);
        if (r == 0)
            r = answer_judge(&away, "remove", container, err);
        if (r == 0 || r == BERTH_NOT_FOUND)
            discard(store, w, id);
    }
    workload_close(w);
    store_close(store);
    daemon_free(daemon);
    return r;
}
