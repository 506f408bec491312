/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start: a supervisor is born into berth's own group with the workload's life in its hands; what it
 * says over the starter's socket is the answer.
 *
 * `change` is held until the supervisor exists. From then on `life` says that it runs, so nobody
 * has to hold anything while the program starts.
 */
#include "local/job.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/spawn.h"
#include "linux/net_integrate.h"
#include "model/json.h"
#include "model/message.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

/* ---- the plan, made anew when something else made it */

static int plan_again(struct local *c, struct workload *w, const struct spec *spec,
                      struct plan **ret, struct berth_error *err)
{
    char name[BERTH_NAME_MAX + 8];
    struct compile k = {.c = c, .kind = kind_of(w), .store = c->store, .spec = spec, .id = workload_id(w), .name = name,
                        .dir = workload_path(w), .before = *ret};
    struct plan *plan = NULL;
    int r = workload_name(w, name, err);
    if (r == 0)
        r = compile_plan(&k, &plan, err);
    if (r == 0) {
        k.plan = plan;
        r = plan_files(&k, workload_fd(w), err);
        k.plan = NULL;
    }
    if (r == 0)
        r = document_write(w, PLAN_FILE, plan_print(plan), err);
    if (r == 0)
        r = document_views(w, spec, k.image, plan, err);
    compile_clear(&k);
    if (r < 0) {
        plan_free(plan);
        return r;
    }
    plan_free(*ret);
    *ret = plan;
    return 0;
}

static int ensure_filter(struct local *c, const struct plan *plan, const struct spec *spec,
                         struct berth_error *err)
{
    char key[40];
    autofree char *text = NULL;
    autoclose int words = -1;
    int r = seccomp_profile(spec, plan->caps_bounding, &text, key, err);
    if (r == 0 && text)
        r = seccomp_helper(c, c->store, text, key, plan->caps_bounding, &words, err);
    while (r == 0 && words >= 0) {
        struct pollfd p = {.fd = words, .events = POLLIN};
        if (poll(&p, 1, -1) >= 0 && (r = helper_end(words, err)) != BERTH_AGAIN)
            break;
        r = 0;
    }
    return r;
}

static bool has_volumes(const struct plan *plan)
{
    for (size_t i = 0; i < plan->n_mounts; i++)
        if (plan->mounts[i].kind == PLAN_MOUNT_VOLUME)
            return true;
    return false;
}

/** What may be missing since create: another berth's plan, a cleaned cache, volumes. */
static int make_whole(struct local *c, struct workload *w, struct plan **plan,
                      struct berth_error *err)
{
    autofree char *stamp = NULL;
    int r = plan_stamp(c, kind_of(w), &stamp, err);
    if (r < 0)
        return r;
    bool old = !(*plan)->stamp || strcmp((*plan)->stamp, stamp);
    bool no_filter = (*plan)->seccomp && access((*plan)->seccomp, R_OK) < 0;
    if (old || no_filter) {
        autoclean(cleanup_spec) struct spec *spec = NULL;
        r = document_spec(w, &spec, err);
        if (r == 0 && old)
            r = plan_again(c, w, spec, plan, err);
        if (r == 0)
            r = ensure_filter(c, *plan, spec, err);
    }
    if (r == 0 && has_volumes(*plan))
        r = plan_volumes_make(c->store, *plan, workload_id(w), err);
    return r;
}

/* ---- birth */

/** The supervisor's group where it can be born there (v2); made here, removed by it. */
static int birth_group(struct local *c, const struct plan *plan, struct cgroup **ret,
                       struct berth_error *err)
{
    const struct cgroup_layout *layout;
    int r = local_layout(c, &layout, err);
    return r < 0 ? r : cgroup_make(layout, plan->cgroup_parent, plan->id, ret, err);
}

static int spawn_supervisor(struct job *j, int starter_fd, int group_fd, struct berth_error *err)
{
    autofree char *path = NULL;
    autoclose int root_fd = -1;
    int run_fd = workload_run_fd(j->w, err);
    int r = run_fd < 0 ? run_fd : local_program(j->c, "berth-supervisor", &path, err);
    if (r < 0)
        return r;
    root_fd = open(store_root(j->c->store), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return fail_os(err, errno, NULL, "open %s", store_root(j->c->store));
    const char *const argv[] = {"berth-supervisor", j->handle.name, workload_id(j->w), NULL};
    const int fds[] = {-1, -1, -1, j->life_fd, root_fd, workload_fd(j->w), run_fd, starter_fd};
    struct spawn s = {.path = path, .argv = argv, .fds = fds, .n_fds = ARRAY_SIZE(fds),
                      .session = true, .cgroup_fd = MAX(group_fd, 0)};
    pid_t pid;
    int pid_fd;
    r = spawn(&s, &pid, &pid_fd);
    if (r < 0)
        return fail_os(err, r, NULL, "start %s", path);
    close(pid_fd);
    return 0;
}

static int give_birth(struct job *j, const struct plan *plan, struct berth_error *err)
{
    struct cgroup *group = NULL;
    int pair[2];
    int r = birth_group(j->c, plan, &group, err);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        cgroup_close(group);
        return fail_os(err, errno, NULL, "socketpair");
    }
    r = expected_send(j->c, workload_id(j->w), pair[0], err);
    if (r == 0)
        r = spawn_supervisor(j, pair[1], cgroup_sup_v2_fd(group), err);
    cgroup_close(group);
    close(pair[1]);
    j->socket_fd = pair[0];
    if (r < 0)
        settle_cgroup(j->c, plan->cgroup_parent, 0);
    return r;
}

/* ---- the moments */

static int on_locked(struct job *j, struct berth_result *ret, struct berth_error *err);

/* ---- what its kind makes before, without holding anything */

#define NEEDS_WORK 4

static void say_why(struct job *j, const char *why)
{
    autofree char *more = format_text("\"reason\":\"%s\"", why);
    event_append(store_root_fd(j->c->store), "compile", workload_id(j->w), j->handle.name, more);
}

/** JOB_ON, or NEEDS_WORK with what it is in j->work. */
static int look_for_work(struct job *j, const struct plan *plan, struct berth_error *err)
{
    const struct local_kind *kind = kind_of(j->w);
    const char *why = NULL;
    if (!kind->whole || kind->whole(j->c, plan, &why))
        return JOB_ON;
    autoclean(cleanup_spec) struct spec *spec = NULL;
    int r = document_spec(j->w, &spec, err);
    if (r == 0)
        r = kind->prepare(j->c, j->c->store, spec, &j->work, err);
    if (r == 0 && j->work && !j->healed) /* that was said */
        say_why(j, why);
    return r < 0 ? r : j->work ? NEEDS_WORK : JOB_ON;
}

/** What the supervisor writes down of a start that failed, where none was born. */
static int record_failure(struct job *j, struct status *status, int code, const struct berth_error *why, struct berth_error *err)
{
    char more[sizeof(status->reason) + 80];
    status->state = BERTH_FAILED;
    status->start_error = code;
    status->exit_code = code == BERTH_NO_PROGRAM ? 127 : code == BERTH_NOT_EXECUTABLE ? 126 : 125;
    status->signal = status->oom = status->pid = status->supervisor_pid = 0;
    status->started_usec = 0;
    status->ended_usec = now_usec();
    snprintf(status->reason, sizeof(status->reason), "%.511s", why->message);
    workload_status_write(j->w, status, true, NULL);
    snprintf(more, sizeof(more), "\"state\":\"failed\",\"exit_code\":%d", status->exit_code);
    event_append(store_root_fd(j->c->store), "die", workload_id(j->w), j->handle.name, more);
    if (err)
        *err = *why;
    return code;
}

static int on_work(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    if (j->cancelled)
        return fail(err, BERTH_CANCELLED, j->handle.name, "start %s: cancelled", j->handle.name);
    int r = job_watch(j, j->work->fd, err);
    r = r < 0 ? r : j->work->step(j->work, err);
    if (r == 0)
        r = job_watch(j, j->work->fd, err);
    if (r <= 0)
        return r;
    job_watch(j, -1, NULL);
    work_free(TAKE(j->work));
    j->next = job_lock;
    j->locked = on_locked;
    return JOB_ON;
}

/** The supervisor said that what it was given is damaged: once, all of it is made anew. */
static int heal(struct job *j, struct berth_error *err)
{
    autoclean(cleanup_plan) struct plan *plan = NULL;
    int r = document_plan(j->w, &plan, err);
    if (r < 0)
        return r;
    kind_of(j->w)->discard(j->c, plan);
    say_why(j, "corrupt");
    j->healed = true;
    settle_breath(j->w);
    job_watch(j, -1, NULL);
    close_fd(&j->socket_fd);
    j->next = job_lock;
    j->locked = on_locked;
    return JOB_ON;
}

static int on_answer(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    struct peer_reply reply;
    if (j->cancelled && !j->asked) {
        j->asked = true;
        peer_send(j->socket_fd, MESSAGE_STOP, 2, "{\"timeout_usec\":0,\"cancel\":true}", NULL, 0, NULL);
    }
    int r = peer_receive(j->socket_fd, &reply, err);
    if (r == BERTH_LOST)
        settle_breath(j->w);
    if (r <= 0)
        return r;
    autofree char *body = reply.body;
    if (reply.type == MESSAGE_ERROR) {
        struct berth_error failure;
        r = message_error_parse(body, reply.length, &failure);
        if (r == BERTH_CORRUPT && kind_of(j->w)->discard && !j->healed && !j->cancelled)
            return heal(j, err);
        if (err)
            *err = failure;
        return r;
    }
    if (reply.tag == 2) /* it was undone; the answer to the start says so */
        return JOB_ON;
    return JOB_DONE;
}

static int refuse_running(struct job *j, int state, struct berth_error *err)
{
    return fail(err, BERTH_WRONG_STATE, j->handle.name, "it is %s", living_word(state));
}

/** A supervisor that has written the end but not let go yet: its life comes to us. */
static int on_life(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    if (j->cancelled)
        return fail(err, BERTH_CANCELLED, j->handle.name, "start %s: cancelled", j->handle.name);
    int r = job_take_life(j, err);
    if (r == JOB_LIVES)
        return refuse_running(j, BERTH_RUNNING, err);
    if (r != JOB_ON)
        return r;
    j->next = job_lock;
    j->locked = on_locked;
    return JOB_ON;
}

static int take_life(struct job *j, struct berth_error *err)
{
    return j->life_fd >= 0 ? 0 : workload_take_life(j->w, &j->life_fd, err);
}

/** From here to the supervisor's first record, the old one is not to be taken for an end. */
static int birth(struct job *j, const struct plan *plan, const struct status *before,
                 struct berth_error *err)
{
    struct status status = *before;
    status.supervisor_pid = BEING_BORN;
    int r = workload_status_write(j->w, &status, false, err);
    if (r < 0)
        return r;
    crash_point("start.marked");
    r = give_birth(j, plan, err);
    if (r < 0)
        workload_status_write(j->w, before, false, NULL);
    return r;
}

/** Other firewalls, where berth.toml says so, while the supervisor makes the links. One that can't be opened is no
 *  reason not to start: an event tells, and doctor. */
static void open_firewalls(struct job *j, const struct plan *plan)
{
    autoclean(cleanup_settings) struct settings *s = NULL;
    autotext struct text why = {0};
    struct berth_error err = {0};
    if (plan->n_links == 0 || settings_read(j->c, &s, NULL) < 0 || !s->firewall.integrate ||
        net_integrate(store_run_fd(j->c->store), store_tag(j->c->store), false, &err) == 0)
        return;
    json_put_string(&why, "error", err.message);
    event_append(store_root_fd(j->c->store), "firewall", workload_id(j->w), j->handle.name, why.failed ? NULL : why.data);
}

static int start_locked(struct job *j, struct berth_error *err)
{
    struct status status;
    bool alive;
    autoclean(cleanup_plan) struct plan *plan = NULL;
    int r = workload_status_read(j->w, &status, &alive, err);
    if (r < 0)
        return r;
    if (j->life_fd >= 0)
        alive = false; /* it is ours */
    if (alive && lets_go(&status, alive))
        return JOB_ON;
    if (alive)
        return refuse_running(j, status.state, err);
    if ((r = settle_locked(j->c, j->w, &status, err)) < 0 || (r = document_plan(j->w, &plan, err)) < 0)
        return r;
    struct berth_error why = {0};
    r = look_for_work(j, plan, &why);
    if (r < 0)
        return record_failure(j, &status, r, &why, err);
    if (r != JOB_ON || (r = make_whole(j->c, j->w, &plan, err)) < 0)
        return r;
    workload_name(j->w, j->handle.name, NULL);
    r = take_life(j, err);
    if (r == BERTH_WRONG_STATE)
        return workload_alive(j->w, NULL) > 0 ? refuse_running(j, BERTH_RUNNING, err) : JOB_ON;
    if (r == 0)
        r = birth(j, plan, &status, err);
    if (r == 0)
        open_firewalls(j, plan);
    return r;
}

static int on_locked(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    int r = start_locked(j, err);
    workload_unlock_change(j->w);
    if (r == NEEDS_WORK) {
        j->next = on_work;
        return JOB_ON;
    }
    if (r == JOB_ON) {
        close_fd(&j->life_fd);
        j->next = on_life;
        return JOB_ON;
    }
    close_fd(&j->life_fd);
    if (r == 0)
        r = job_watch(j, j->socket_fd, err);
    if (r < 0)
        return r;
    j->next = on_answer;
    return JOB_ON;
}

static int start_job(struct job *j, struct berth_call **ret_call, struct berth_error *err)
{
    j->next = job_lock;
    j->locked = on_locked;
    return job_call(j, ret_call, err);
}

int local_start(void *self, const struct berth_handle *h, struct berth_call **ret_call,
                    struct berth_error *err)
{
    struct job *j;
    int r = local_need("start", err);
    if (r == 0)
        r = job_new(self, h, "start", &j, err);
    return r < 0 ? r : start_job(j, ret_call, err);
}

/* ---- restart: the supervisor does both, or there is none and it is a start */

static int on_restarted(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    struct peer_reply reply;
    int r = peer_receive(j->socket_fd, &reply, err);
    if (r == BERTH_LOST) { /* it ended before it heard us */
        settle_breath(j->w);
        close_fd(&j->socket_fd);
        j->watched_fd = -1;
        j->next = job_lock;
        j->locked = on_locked;
        return JOB_ON;
    }
    if (r <= 0)
        return r;
    autofree char *body = reply.body;
    struct berth_error failure;
    if (reply.type != MESSAGE_ERROR)
        return JOB_DONE;
    r = message_error_parse(body, reply.length, &failure);
    if (err)
        *err = failure;
    return r;
}

int local_restart(void *self, const struct berth_handle *h, int64_t timeout_msec,
                      struct berth_call **ret_call, struct berth_error *err)
{
    struct job *j;
    char body[80];
    int r = local_need("restart", err);
    if (r == 0)
        r = job_new(self, h, "restart", &j, err);
    if (r < 0)
        return r;
    if (workload_connect(j->w, &j->socket_fd, NULL) < 0)
        return start_job(j, ret_call, err);
    snprintf(body, sizeof(body), "{\"timeout_usec\":%lld,\"restart\":true}",
             timeout_msec < 0 ? -1LL : (long long)timeout_msec * 1000);
    r = peer_send(j->socket_fd, MESSAGE_STOP, 1, body, NULL, 0, err);
    if (r == 0)
        r = job_watch(j, j->socket_fd, err);
    if (r < 0) {
        job_free(j);
        return r;
    }
    j->detached = true;
    j->next = on_restarted;
    return job_call(j, ret_call, err);
}
