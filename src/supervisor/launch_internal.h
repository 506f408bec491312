/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the launch files share. Only launch*.c clone.
 */
#ifndef SUPERVISOR_LAUNCH_INTERNAL_H
#define SUPERVISOR_LAUNCH_INTERNAL_H

#include "supervisor/launch.h"
#include "supervisor/net.h"
#include "supervisor/stage.h"

/** A process that was cloned: a forerunner (0 without one) has exited, or is about to, and is the
 * caller's to reap. */
struct birth {
    pid_t pid, forerunner;
};

struct launch {
    int root_fd, run_fd, workload_fd;
    char *place;
    struct cgroup_layout *layout;
    struct cgroup *group;
    int proc_fd, init_fd, program_fd, net_fd;
    int users_fd;    /* of a private user namespace on networks: it owns net_fd */
    struct net *net; /* of a plan with links */
    int join_fds[PLAN_NS_COUNT];
    int sockets[STAGE_SOCKETS_MAX];
    size_t n_sockets;
    int files[STAGE_FILES_MAX]; /* of the plan; those with a size as this run has them */
    size_t n_files;
    int told_fd;    /* the ready_fd that wants to hear "ready" */
    int main_ready_fd;
    pid_t main_pid;
    int held_root_fd; /* the running program's root: see hold_root */
    uint64_t oom_before;
    bool frozen, settled; /* frozen: perhaps, it was asked for */
    bool unborn;          /* the main child was cloned and has executed nothing, when it was last looked at */
};

/** Reap a child that ends by itself. */
void reap_pid(pid_t pid);
int pid_fd_open(pid_t pid);

/* ---- launch_birth.c */
/** Clone a stage for `st`. 0 or -errno. */
int birth_stage(struct stage *st, struct birth *ret);

/** A user namespace with the plan's maps, which nobody is in yet. */
int users_make(const struct plan *plan, int *ret_fd, struct berth_error *err);

/* ---- launch_net.c */
/** The plan's links and ports are made, its sockets opened in the workload's network namespace; a
 * private one is made and kept (l->net_fd). */
int net_open(struct launch *l, const struct plan *plan, struct berth_error *err);

#endif
