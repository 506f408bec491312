/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machinery of calls: one epoll descriptor for the caller, one awaited descriptor inside.
 */
#include "local/job.h"
#include "base/file.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/syscall.h>

int job_new(struct local *c, const struct berth_handle *h, const char *verb, struct job **ret,
            struct berth_error *err)
{
    struct job *j = calloc(1, sizeof(*j));
    if (!j)
        return fail_memory(err);
    *j = (struct job){.c = c, .handle = *h, .verb = verb, .watched_fd = -1, .lock_fd = -1, .lock_pid_fd = -1,
                      .socket_fd = -1, .life_fd = -1, .inotify_fd = -1};
    j->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int r = j->epoll_fd < 0 ? fail_os(err, errno, NULL, "epoll_create1") : local_get(c, h, &j->w, err);
    if (r < 0) {
        job_free(j);
        return r;
    }
    *ret = j;
    return 0;
}

/** Wait for a lock no longer; the helper, which could wait for ever, goes with it. */
static void lock_leave(struct job *j)
{
    if (j->lock_fd >= 0 && j->lock_pid_fd >= 0)
        syscall(SYS_pidfd_send_signal, j->lock_pid_fd, SIGKILL, NULL, 0);
    close_fd(&j->lock_fd);
    close_fd(&j->lock_pid_fd);
}

void job_free(void *data)
{
    struct job *j = data;
    workload_close(j->w);
    work_free(j->work);
    lock_leave(j);
    close_fd(&j->socket_fd);
    close_fd(&j->life_fd);
    close_fd(&j->inotify_fd);
    close_fd(&j->epoll_fd);
    free(j);
}

int job_watch(struct job *j, int fd, struct berth_error *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    if (fd == j->watched_fd)
        return 0;
    if (j->watched_fd >= 0)
        epoll_ctl(j->epoll_fd, EPOLL_CTL_DEL, j->watched_fd, NULL);
    j->watched_fd = -1;
    if (fd >= 0 && epoll_ctl(j->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        return fail_os(err, errno, NULL, "epoll_ctl");
    j->watched_fd = fd;
    return 0;
}

static int job_step(void *data, struct berth_result *ret, struct berth_error *err)
{
    struct job *j = data;
    int r = JOB_ON;
    while (r == JOB_ON)
        r = j->next(j, ret, err);
    if (r < 0 && r != BERTH_CANCELLED)
        fail_context(err, "%s %s", j->verb, j->handle.name);
    return r;
}

static void job_cancel(void *data)
{
    struct job *j = data;
    j->cancelled = !j->detached;
}

static const struct berth_call_ops job_ops = {
    .size = sizeof(job_ops), .step = job_step, .cancel = job_cancel, .free = job_free,
};

int job_call(struct job *j, struct berth_call **ret_call, struct berth_error *err)
{
    struct berth_call *call;
    int r = berth_call_new(&job_ops, j, j->epoll_fd, &call, err);
    if (r < 0)
        return r;
    berth_call_finish(call, NULL, NULL); /* begins now, whenever the caller looks; its end is kept */
    *ret_call = call;
    return 0;
}

static int cancelled(const struct job *j, struct berth_error *err)
{
    return fail(err, BERTH_CANCELLED, j->handle.name, "%s %s: cancelled", j->verb, j->handle.name);
}

/** The helper has ended. */
static void lock_heard(struct job *j)
{
    job_watch(j, -1, NULL);
    close_fd(&j->lock_fd);
    close_fd(&j->lock_pid_fd);
}

int job_lock(struct job *j, struct berth_result *ret, struct berth_error *err)
{
    if (j->cancelled)
        return cancelled(j, err);
    if (j->lock_fd >= 0) {
        int said = helper_end(j->lock_fd, err);
        if (said == BERTH_AGAIN)
            return JOB_WAIT;
        lock_heard(j);
        if (said < 0)
            return said;
    }
    int r = workload_lock_change(j->w, err);
    if (r == 0) {
        j->next = j->locked;
        return JOB_ON;
    }
    if (r != BERTH_AGAIN)
        return r;
    int fd = workload_change_fd(j->w, err);
    r = fd < 0 ? fd : lock_helper(j->c, fd, &j->lock_fd, &j->lock_pid_fd, err);
    if (r == 0)
        r = job_watch(j, j->lock_fd, err);
    return r < 0 ? r : JOB_WAIT;
}

int job_watch_run(struct job *j, struct berth_error *err)
{
    if (j->inotify_fd < 0) {
        int run_fd = workload_run_fd(j->w, err);
        if (run_fd < 0)
            return run_fd;
        j->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (j->inotify_fd < 0 ||
            inotify_add_watch(j->inotify_fd, workload_run_path(j->w),
                              IN_CREATE | IN_DELETE | IN_CLOSE_WRITE | IN_DELETE_SELF) < 0) {
            int error = errno;
            close_fd(&j->inotify_fd);
            if (error == ENOENT) /* removed a moment ago */
                return fail(err, BERTH_NOT_FOUND, j->handle.name, "no workload %.12s", workload_id(j->w));
            return fail_os(err, error, NULL, "watch %s (see fs.inotify.max_user_instances)", workload_run_path(j->w));
        }
    }
    return job_watch(j, j->inotify_fd, err);
}

void job_drain_run(struct job *j)
{
    char events[4096];
    while (j->inotify_fd >= 0 && read(j->inotify_fd, events, sizeof(events)) > 0)
        ;
}

/** Somebody else's start had the life that we wait for. */
static bool lives_again(struct job *j)
{
    struct status status;
    bool alive;
    job_drain_run(j);
    return workload_status_read(j->w, &status, &alive, NULL) == 0 && alive && !lets_go(&status, alive);
}

/** Wait for the helper that waits for `life`, and beside it for what happens in the run folder. */
static int watch_life(struct job *j, struct berth_error *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    int r = job_watch_run(j, err);
    if (r == 0)
        r = job_watch(j, j->lock_fd, err);
    if (r == 0 && epoll_ctl(j->epoll_fd, EPOLL_CTL_ADD, j->inotify_fd, &event) < 0)
        r = fail_os(err, errno, NULL, "epoll_ctl");
    return r;
}

static int life_left(struct job *j, int result)
{
    epoll_ctl(j->epoll_fd, EPOLL_CTL_DEL, j->inotify_fd, NULL);
    job_watch(j, -1, NULL);
    lock_leave(j);
    if (result != JOB_ON)
        close_fd(&j->life_fd);
    return result;
}

int job_take_life(struct job *j, struct berth_error *err)
{
    if (j->lock_fd >= 0) {
        int said = helper_end(j->lock_fd, err);
        if (said == BERTH_AGAIN)
            return lives_again(j) ? life_left(j, JOB_LIVES) : JOB_WAIT;
        return life_left(j, said < 0 ? said : JOB_ON);
    }
    int r = j->life_fd >= 0 ? 0 : workload_life_fd(j->w, &j->life_fd, err);
    if (r < 0)
        return r;
    r = lock_take(j->life_fd);
    if (r == 0)
        return JOB_ON;
    if (r != -EAGAIN)
        return fail_os(err, r, NULL, "lock %s/life", workload_run_path(j->w));
    r = lock_helper(j->c, j->life_fd, &j->lock_fd, &j->lock_pid_fd, err);
    if (r == 0)
        r = watch_life(j, err);
    if (r < 0)
        return r;
    return lives_again(j) ? life_left(j, JOB_LIVES) : JOB_WAIT;
}
