/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deaths that nobody recorded: the supervisor was killed, or the machine went down.
 *
 * Whoever reads the status next tells the truth, and if nobody else is changing the workload also
 * kills what is left of it and writes the end down.
 */
#include "local/inside.h"
#include "linux/net_record.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>

#define KILL_ROUNDS 100
#define BREATH_MSEC 20

void settle_breath(struct workload *w)
{
    for (int i = 0; i < BREATH_MSEC && workload_alive(w, NULL) > 0; i++)
        poll(NULL, 0, 1);
}

/** Kill until nothing is left in the group; fork bombs may need several rounds. */
static void empty_group(struct cgroup *g)
{
    for (int i = 0; i < KILL_ROUNDS && cgroup_populated(g) > 0; i++) {
        cgroup_kill(g);
        struct pollfd p = {.fd = cgroup_events_fd(g), .events = POLLPRI};
        poll(&p, 1, 20); /* without v2's events: the only thing to wait for is the time */
    }
}

int settle_cgroup(struct local *c, const char *path, int wait_msec)
{
    const struct cgroup_layout *layout;
    struct cgroup *g;
    if (!path[0] || local_layout(c, &layout, NULL) < 0)
        return 0;
    if (cgroup_open(layout, path, &g, NULL) == 0) {
        cgroup_freeze(g, false, NULL);
        empty_group(g);
        cgroup_close(g);
    }
    return cgroup_remove(layout, path, wait_msec);
}

int settle_network(struct local *c, struct workload *w, struct berth_error *err)
{
    int run_fd = workload_run_fd(w, err);
    return run_fd < 0 ? run_fd : net_record_undo(run_fd, store_tag(c->store), err);
}

static void tell_the_end(struct local *c, struct status *s)
{
    bool same_boot = !strcmp(s->boot_id, store_boot_id(c->store));
    s->state = BERTH_FAILED;
    s->pid = s->supervisor_pid = 0;
    s->exit_code = 128 + SIGKILL;
    s->signal = SIGKILL;
    s->next_start_usec = 0;
    s->health = BERTH_HEALTH_NONE;
    if (!s->ended_usec || s->ended_usec < s->started_usec)
        s->ended_usec = now_usec();
    snprintf(s->reason, sizeof(s->reason), "%s",
             same_boot ? "the supervisor was killed" : "the machine was restarted");
}

int settle_locked(struct local *c, struct workload *w, struct status *status,
                  struct berth_error *err)
{
    char name[BERTH_NAME_MAX + 8] = "", more[sizeof(status->reason) + 80];
    bool same_boot = !strcmp(status->boot_id, store_boot_id(c->store));
    if (!state_lives(status->state))
        return 0;
    if (same_boot) {
        settle_cgroup(c, status->cgroup, 2000);
        settle_network(c, w, NULL);
    }
    tell_the_end(c, status);
    int r = workload_status_write(w, status, true, err);
    if (r < 0)
        return r;
    workload_name(w, name, NULL);
    snprintf(more, sizeof(more), "\"state\":\"failed\",\"exit_code\":%d,\"signal\":%d,\"reason\":\"%s\"",
             status->exit_code, status->signal, status->reason);
    event_append(store_root_fd(c->store), "die", workload_id(w), name, more);
    return 0;
}

static int settle(struct local *c, struct workload *w, struct status *status, bool *ret_alive,
                  struct berth_error *err)
{
    int r = workload_lock_change(w, NULL);
    if (r < 0) {
        tell_the_end(c, status);
        return 0;
    }
    r = workload_status_read(w, status, ret_alive, err);
    if (r == 0 && !*ret_alive)
        r = settle_locked(c, w, status, err);
    workload_unlock_change(w);
    return r;
}

int settle_status(struct local *c, struct workload *w, struct status *ret, bool *ret_alive,
                  struct berth_error *err)
{
    int r = workload_status_read(w, ret, ret_alive, err);
    if (r < 0 || *ret_alive || !state_lives(ret->state))
        return r;
    return settle(c, w, ret, ret_alive, err);
}

int settle_handle(struct local *c, const struct berth_handle *h, struct workload **ret, struct status *ret_status,
                  bool *ret_alive, struct berth_error *err)
{
    int r = local_get(c, h, ret, err);
    return r < 0 ? r : settle_status(c, *ret, ret_status, ret_alive, err);
}
