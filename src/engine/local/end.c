/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop, remove and wait: what has to do with the end.
 *
 * The supervisor orders stops. A remove that has to stop first leaves the removal to it too, so that
 * a caller that dies in between leaves nothing half done; then it looks whether it is gone.
 */
#include "local/job.h"
#include "base/crash.h"
#include "model/message.h"
#include "engine/report.h"
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define DEAF_TRIES 3 /* connections that a live supervisor broke before it counts as unable */

/* ---- reaching the supervisor */

static int on_connect(struct job *j, struct berth_result *ret, struct berth_error *err);
static int on_gone(struct job *j, struct berth_result *ret, struct berth_error *err);

/** One that lives and cannot answer (out of memory) is ended by whoever must be rid of its workload. */
static void kill_deaf(struct job *j)
{
    struct status status;
    bool alive;
    if (workload_status_read(j->w, &status, &alive, NULL) < 0 || status.supervisor_pid <= 0)
        return;
    autoclose int pid_fd = (int)syscall(SYS_pidfd_open, status.supervisor_pid, 0);
    if (pid_fd >= 0 && workload_alive(j->w, NULL) > 0) /* opened while it lived: it is no other's pid */
        syscall(SYS_pidfd_send_signal, pid_fd, SIGKILL, NULL, 0);
    settle_breath(j->w);
}

/** The connection broke: most likely it has ended. */
static int on_lost(struct job *j, struct berth_error *err)
{
    job_watch(j, -1, NULL);
    close_fd(&j->socket_fd);
    settle_breath(j->w);
    if (workload_alive(j->w, NULL) > 0 && ++j->deaf >= DEAF_TRIES) {
        if (!j->force)
            return fail(err, BERTH_LOST, j->handle.name,
                        "its supervisor lives and does not answer; \"berth rm -f\" ends both");
        kill_deaf(j);
    }
    j->next = j->force ? on_gone : on_connect;
    return JOB_ON;
}

/** Answer of the supervisor, or its end. */
static int on_reply(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    struct peer_reply reply;
    int r = peer_receive(j->socket_fd, &reply, err);
    if (r == 0)
        return JOB_WAIT;
    if (r == 1) {
        autofree char *body = reply.body;
        struct berth_error failure;
        if (reply.type == MESSAGE_ERROR) {
            r = message_error_parse(body, reply.length, &failure);
            if (err)
                *err = failure;
            return j->force ? on_lost(j, err) : r; /* whatever its trouble is, a removal does not give up */
        }
        if (!j->force)
            return JOB_DONE;
        return JOB_ON; /* a removal is finished when its connection ends */
    }
    return r == BERTH_LOST ? on_lost(j, err) : r;
}

static int ask_to_end(struct job *j, struct berth_error *err)
{
    char body[100];
    snprintf(body, sizeof(body), "{\"timeout_usec\":%lld%s}", (long long)j->timeout_usec,
             j->force ? ",\"remove\":true" : "");
    crash_point("stop.connected");
    int r = peer_send(j->socket_fd, MESSAGE_STOP, 1, body, NULL, 0, err);
    if (r == 0)
        r = job_watch(j, j->socket_fd, err);
    crash_point("stop.asked");
    j->next = on_reply;
    return r == BERTH_LOST ? on_lost(j, err) : r < 0 ? r : JOB_ON;
}

static bool does_not_listen(int r)
{
    return r == BERTH_LOST || r == BERTH_AGAIN;
}

/* Ask its supervisor to end it. One that is being born or dying doesn't listen: its run folder tells,
 * and then `changed` is next. A watch is made only then: closing it costs a grace period of the
 * kernel, some 10 ms. */
static int ask_or_watch(struct job *j,
                        int (*changed)(struct job *, struct berth_result *, struct berth_error *),
                        struct berth_error *err)
{
    int r = workload_connect(j->w, &j->socket_fd, err);
    if (does_not_listen(r) && (r = job_watch_run(j, err)) == 0)
        r = workload_connect(j->w, &j->socket_fd, err); /* it may have begun before we watched */
    if (r == 0)
        return ask_to_end(j, err);
    if (!does_not_listen(r))
        return r;
    j->next = changed;
    return workload_alive(j->w, err) > 0 && j->tries++ < 1000 ? JOB_WAIT : JOB_ON;
}

/** A live one whose socket is not there: it is being born or is ending. Its run folder tells. */
static int on_run_changed(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    job_drain_run(j);
    settle_breath(j->w);
    j->next = on_connect;
    return JOB_ON;
}

static int not_wanted(struct job *j, struct status *status, struct berth_error *err)
{
    int r = workload_lock_change(j->w, NULL);
    bool alive;
    if (r < 0 || !status->wanted)
        return 0;
    r = workload_status_read(j->w, status, &alive, err);
    if (r == 0 && !alive && state_final(status->state)) {
        status->wanted = false;
        r = workload_status_write(j->w, status, false, err);
    }
    workload_unlock_change(j->w);
    return r;
}

/** stop: nothing lives any more. */
static int stop_ended(struct job *j, struct status *status, struct berth_error *err)
{
    int r = state_final(status->state) ? not_wanted(j, status, err) : 0;
    return r < 0 ? r : JOB_DONE;
}

static int on_connect(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    struct status status;
    bool alive;
    int r = settle_status(j->c, j->w, &status, &alive, err);
    if (r < 0)
        return r;
    if (!alive || has_ended(&status, alive))
        return stop_ended(j, &status, err);
    return ask_or_watch(j, on_run_changed, err);
}

int local_stop(void *self, const struct berth_handle *h, int64_t timeout_msec,
                   struct berth_call **ret_call, struct berth_error *err)
{
    struct job *j;
    int r = local_need("stop", err);
    if (r == 0)
        r = job_new(self, h, "stop", &j, err);
    if (r < 0)
        return r;
    j->timeout_usec = timeout_msec < 0 ? -1 : timeout_msec * 1000;
    j->detached = true;
    j->next = on_connect;
    return job_call(j, ret_call, err);
}

/* ---- remove */

static int remove_locked(struct job *j, struct berth_error *err)
{
    struct status status;
    bool alive;
    char name[BERTH_NAME_MAX + 8] = "";
    int r = workload_status_read(j->w, &status, &alive, err);
    if (r == BERTH_CORRUPT) /* damaged: all the more reason to let it go */
        memset(&status, 0, sizeof(status));
    else if (r < 0)
        return r;
    else if (alive && j->life_fd < 0)
        return JOB_ON;
    settle_cgroup(j->c, status.cgroup, 2000);
    if ((r = settle_network(j->c, j->w, err)) < 0)
        return r;
    bool last = false;
    autostrings char **networks = network_names(j->w);
    if (j->volumes && (r = workload_remove_volumes(j->w, err)) < 0)
        return r;
    workload_name(j->w, name, NULL);
    cache_forget(j->c, workload_id(j->w));
    r = workload_discard(j->w, err);
    if (r < 0)
        return r;
    event_append(store_root_fd(j->c->store), "remove", workload_id(j->w), name, NULL);
    for (size_t i = 0; networks && networks[i]; i++)
        last |= network_idle(j->c->store, networks[i]);
    if (workload_delete_small(j->w) < 0 || j->volumes || last)
        trash_helper(j->c);
    return JOB_DONE;
}

static int on_ended(struct job *j, struct berth_result *ret, struct berth_error *err);

static int on_remove_locked(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    int r = remove_locked(j, err);
    if (r == JOB_ON)
        j->next = on_ended;
    workload_unlock_change(j->w);
    return r == BERTH_NOT_FOUND ? JOB_DONE : r;
}

static int gone_is_done(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    struct berth_error mine = {0};
    int r = job_lock(j, ret, &mine);
    if (r == BERTH_NOT_FOUND)
        return JOB_DONE;
    if (r < 0 && err)
        *err = mine;
    return r;
}

/** Its supervisor ended and was to remove it; if it did not come to that, we do. */
static int on_gone(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    j->locked = on_remove_locked;
    j->next = gone_is_done;
    return JOB_ON;
}

/** The end is written, life not yet free. */
static int on_last_breath(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    int r = job_take_life(j, err);
    if (r == JOB_ON)
        j->next = on_gone;
    if (r == JOB_LIVES) {
        j->next = on_ended;
        return JOB_ON;
    }
    return r == BERTH_NOT_FOUND ? JOB_DONE : r;
}

static int on_remove_run_changed(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    job_drain_run(j);
    settle_breath(j->w);
    j->next = on_ended;
    return JOB_ON;
}

static int on_ended(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    struct status status;
    bool alive;
    int r = settle_status(j->c, j->w, &status, &alive, err);
    if (r == BERTH_NOT_FOUND)
        return JOB_DONE;
    if (r < 0 && r != BERTH_CORRUPT)
        return r;
    if (r == 0 && alive && !lets_go(&status, alive) && !j->force)
        return fail(err, BERTH_WRONG_STATE, j->handle.name, "it is %s", living_word(status.state));
    if (r == 0 && alive && !lets_go(&status, alive))
        return ask_or_watch(j, on_remove_run_changed, err);
    j->next = r == 0 && alive ? on_last_breath : on_gone;
    return JOB_ON;
}

int local_remove(void *self, const struct berth_handle *h,
                     const struct berth_remove_options *o, struct berth_call **ret_call,
                     struct berth_error *err)
{
    struct job *j;
    struct store *store;
    int r = local_need("remove", err);
    if (r < 0)
        return r;
    if (local_store(self, false, &store, NULL) == 0)
        store_sweep(store, NULL); /* what others died over goes too: "rm" of all is an empty store */
    r = job_new(self, h, "remove", &j, err);
    if (r == BERTH_NOT_FOUND)
        return berth_call_done(0, NULL, NULL, ret_call, err);
    if (r < 0)
        return r;
    j->force = o->force;
    j->volumes = o->volumes;
    j->detached = true;
    j->next = on_ended;
    return job_call(j, ret_call, err);
}

/* ---- wait */

static int on_wait(struct job *j, struct berth_result *ret, struct berth_error *err);

/** It was removed at its end (--rm) before we read its record: the event of its death has it all. */
static int status_from_event(struct job *j, struct berth_status **ret)
{
    char id[BERTH_ID_TEXT];
    autoclose int fd = memfd_create("berth-events", MFD_CLOEXEC);
    json_t *last = NULL, *line;
    berth_id_print(j->handle.id, id);
    if (fd < 0 || events_pump(store_root_fd(j->c->store), 0, 0, false, id, fd, NULL) < 0 ||
        lseek(fd, 0, SEEK_SET) < 0)
        return -1;
    FILE *f = fdopen(take_fd(&fd), "r");
    while (f && (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL))) {
        const char *type = json_string_value(json_object_get(line, "type"));
        if (type && !strcmp(type, "die"))
            json_incref(last = (json_decref(last), line));
        json_decref(line);
    }
    if (f)
        fclose(f);
    struct berth_status *s = last ? calloc(1, sizeof(*s)) : NULL;
    if (s) {
        const char *state = json_string_value(json_object_get(last, "state"));
        const char *reason = json_string_value(json_object_get(last, "reason"));
        *s = (struct berth_status){.size = sizeof(*s), .handle = j->handle, .state = BERTH_COMPLETED};
        for (int i = BERTH_STOPPED; i <= BERTH_FAILED; i++)
            if (state && !strcmp(state, berth_state_name(i)))
                s->state = i;
        s->exit_code = (int)json_integer_value(json_object_get(last, "exit_code"));
        s->signal = (int)json_integer_value(json_object_get(last, "signal"));
        snprintf(s->reason, sizeof(s->reason), "%s", reason ? reason : "");
        s->json = json_dumps(last, JSON_COMPACT);
        *ret = s;
    }
    json_decref(last);
    return s ? 0 : -1;
}

static int wait_over(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    int r = local_status(j->c, &j->handle, &ret->status, err);
    if (r == BERTH_NOT_FOUND && status_from_event(j, &ret->status) == 0)
        return JOB_DONE;
    return r < 0 ? r : JOB_DONE;
}

static int on_hang_up(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    struct peer_reply reply;
    if (j->cancelled)
        return fail(err, BERTH_CANCELLED, j->handle.name, "wait for %s: cancelled", j->handle.name);
    int r = peer_receive(j->socket_fd, &reply, err);
    if (r == 1)
        free(reply.body);
    if (r == 0 || r == 1)
        return JOB_WAIT;
    job_watch(j, -1, NULL);
    close_fd(&j->socket_fd);
    settle_breath(j->w);
    j->next = on_wait;
    return JOB_ON;
}

static int on_wait(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    struct status status;
    bool alive;
    if (j->cancelled)
        return fail(err, BERTH_CANCELLED, j->handle.name, "wait for %s: cancelled", j->handle.name);
    job_drain_run(j);
    if (j->inotify_fd >= 0)
        settle_breath(j->w);
    int r = settle_status(j->c, j->w, &status, &alive, err);
    if (r == BERTH_NOT_FOUND || (r == 0 && has_ended(&status, alive)))
        return wait_over(j, ret, err);
    if (r < 0)
        return r;
    if (alive && workload_connect(j->w, &j->socket_fd, NULL) == 0) {
        j->next = on_hang_up;
        r = job_watch(j, j->socket_fd, err);
        return r < 0 ? r : JOB_WAIT;
    }
    bool first = j->inotify_fd < 0;
    r = job_watch_run(j, err);
    if (r == BERTH_NOT_FOUND)
        return wait_over(j, ret, err);
    return r < 0 ? r : first ? JOB_ON : JOB_WAIT; /* it may have happened before we watched */
}

int local_wait(void *self, const struct berth_handle *h, struct berth_call **ret_call,
                   struct berth_error *err)
{
    struct job *j;
    int r = job_new(self, h, "wait for", &j, err);
    if (r < 0)
        return r;
    j->next = on_wait;
    return job_call(j, ret_call, err);
}
