/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call of such an engine: a chain of moments, each of which either goes on at once or names
 * the one descriptor that it waits for.
 */
#ifndef LOCAL_JOB_H
#define LOCAL_JOB_H

#include "local/inside.h"

enum { JOB_WAIT = 0, JOB_DONE = 1, JOB_ON = 2, JOB_LIVES = 3 };

struct job {
    struct local *c;
    struct workload *w;
    struct berth_handle handle;
    const char *verb;
    int epoll_fd, watched_fd;
    /** What to do next: JOB_WAIT, JOB_DONE, JOB_ON (look at `next` again), or a failure. */
    int (*next)(struct job *j, struct berth_result *ret, struct berth_error *err);
    int (*locked)(struct job *j, struct berth_result *ret, struct berth_error *err);
    int lock_fd, lock_pid_fd;  /* what the lock helper says, and the helper */
    int socket_fd;             /* supervisor, or starter */
    int life_fd;
    int inotify_fd;
    struct work *work;         /* start: what its kind makes before */
    bool healed;               /* once: what the plan refers to was thrown away and made anew */
    bool cancelled, detached;  /* detached: goes on without its caller */
    /* stop, restart, remove */
    int64_t timeout_usec;
    bool restart, force, volumes, asked;
    int tries, deaf;
};

int job_new(struct local *c, const struct berth_handle *h, const char *verb, struct job **ret,
            struct berth_error *err);
void job_free(void *data);
/** Hand over to the caller. The job is freed on failure. */
int job_call(struct job *j, struct berth_call **ret_call, struct berth_error *err);
/** Wait for `fd` (of the job's own) alone; -1: for nothing. */
int job_watch(struct job *j, int fd, struct berth_error *err);
/** A moment that takes `change` (waiting) and goes on with j->locked. */
int job_lock(struct job *j, struct berth_result *ret, struct berth_error *err);
/** Begin to watch RUN/ID for a supervisor coming or going. */
int job_watch_run(struct job *j, struct berth_error *err);
/** Read away what the watch has seen. */
void job_drain_run(struct job *j);
/**
 * Take `life` from a supervisor that is about to end: JOB_ON when j->life_fd holds it. JOB_LIVES when
 * another start got it first: it runs again.
 */
int job_take_life(struct job *j, struct berth_error *err);

#endif
