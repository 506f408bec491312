/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the launch files share. Only launch*.c clone.
 */
#ifndef SUPERVISOR_LAUNCH_INTERNAL_H
#define SUPERVISOR_LAUNCH_INTERNAL_H

#include "supervisor/launch.h"
#include "supervisor/stage.h"

/** A process that was cloned: a forerunner (0 without one) has exited, or is about to, and is the
 * caller's to reap. */
struct birth {
    pid_t pid, forerunner;
};

struct joiner {
    pid_t pid;
    int pid_fd, socket_fd;
    bool settled;
};

struct launch {
    int root_fd, run_fd, workload_fd;
    char *place;
    struct cgroup_layout *layout;
    struct cgroup *group;
    int proc_fd, init_fd, net_fd;
    int join_fds[PLAN_NS_COUNT];
    int sockets[STAGE_SOCKETS_MAX];
    size_t n_sockets;
    struct joiner joiner;
    int builder_fd; /* pidfd of a builder not yet reaped */
    int told_fd;    /* the ready_fd that wants to hear "ready" */
    int main_ready_fd;
    pid_t main_pid;
    int held_root_fd; /* the running program's root: see hold_root */
    uint64_t oom_before;
    bool frozen;      /* perhaps: it was asked for */
    pid_t supervisor; /* in the joiner: its parent */
};

#define WIRE_FDS_MAX (STAGE_FD_COUNT + STAGE_SOCKETS_MAX)

/** Reap a child that ends by itself (pidfd or pid). */
void reap_pid_fd(int pid_fd);
void reap_pid(pid_t pid);
int pid_fd_open(pid_t pid);

/* ---- launch_birth.c */
/** Clone a stage for `st`. `as_sibling`: the child becomes the caller's parent's (CLONE_PARENT). 0
 * or -errno. */
int birth_stage(struct stage *st, bool as_sibling, struct birth *ret);
/** Clone the builder of a scene; st's SCENE, SCENE_DONE and SCENE_HOLD are set for the stage that
 * enters it. */
int birth_builder(struct stage *st, pid_t *ret_pid);
/** Whether the plan's stage can enter a scene that a builder makes. */
bool scene_can_be_built_apart(const struct plan *plan);

/* ---- launch_joiner.c */
int joiner_start(struct launch *l, const struct plan *plan, struct berth_error *err);
/** Have the joiner clone a stage. -EPIPE when it is gone. */
int joiner_birth(struct joiner *j, const struct stage *st, struct birth *ret);
/** The program runs: have it put the supervisor into groups of its own. */
void joiner_settle(struct joiner *j);
void joiner_end(struct joiner *j);

/* ---- launch_net.c */
/** Open the plan's sockets in the workload's network namespace; a private one is made and kept
 * (*ret_net_fd). */
int net_open(struct launch *l, const struct plan *plan, struct berth_error *err);

#endif
