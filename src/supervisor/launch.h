/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launch: from a plan to a running program, and one more program inside a running one.
 *
 * The supervisor's only clone lives behind this header. Order: control groups made and limits set;
 * the stage (the clone, before exec) is born into ID/load of v2 (CLONE_INTO_CGROUP), enters the v1
 * groups itself, walks the plan's mounts and privileges and reports a failure as a struct
 * berth_error up a pipe that closes on exec.
 */
#ifndef SUPERVISOR_LAUNCH_H
#define SUPERVISOR_LAUNCH_H

#include "base/error.h"
#include "model/plan.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** What lives as long as the supervisor: cgroups, kept namespaces, the plan's sockets. */
struct launch;

/**
 * Make cgroups (ID/sup and ID/load below plan->cgroup_parent in each hierarchy), apply limits, open
 * what is kept over restarts (network namespace, listening sockets).
 *
 * root_fd: ROOT; run_fd: RUN/ID (for PLAN_NS_JOIN the other's status and `life` are found through
 * them). Descriptors are borrowed until launch_free. Sets PR_SET_DUMPABLE to 0 (a half-born child
 * must not show our program through /proc/PID/exe). SIGCHLD must be at its default, not ignored;
 * signals may be blocked: the stage resets mask and dispositions. Children are reaped by pidfd with
 * waitid(P_PIDFD, .., WEXITED | __WALL), never by waitpid(-1): launch's own helpers are children
 * too, and it reaps them itself.
 */
int launch_prepare(const struct plan *plan, int root_fd, int run_fd, int workload_fd,
                   struct launch **ret_launch, struct berth_error *err);
const char *launch_cgroup(const struct launch *l); /* "/berth-tag/ID" */

struct launch_child {
    pid_t pid;
    int pid_fd; /* child of the supervisor; reaped by it (pid_fd readable) */
};
/**
 * Start the main program. stdio[3]: the workload's ends (pipes); with a tty stdio is ignored and
 * `ret_tty_master_fd` is the supervisor's. Asynchronous: returns when the clone exists;
 * `ret_ready_fd` becomes readable when the program was exec'ed (EOF) or failed (a struct
 * berth_error), see launch_result. With plan->ready_told only after it said so (environment
 * BERTH_READY_FD names the descriptor: 3, or the first behind listening sockets and files). May block for
 * some milliseconds (cgroup join, terminal). `ret_tty_master_fd` is -1 without a tty, and also when
 * the stage failed before it had one (launch_result tells). A failed stage has exited: the child is
 * to be reaped like any other.
 */
int launch_start(struct launch *l, const struct plan *plan, const int stdio[3],
                 struct launch_child *ret_child, int *ret_tty_master_fd, int *ret_ready_fd,
                 struct berth_error *err);
/** Look whether the main program was executed: its death closes ready_fd as its exec does. launch_result looks too;
 * the caller does before it reaps a child whose ready_fd is unread. */
void launch_look(struct launch *l);
/** Read ready_fd (of launch_start or launch_exec): 1 running, 0 not yet, negative with the stage's
 * own error. Never blocks. The descriptor is the caller's to close after 1 or a failure; with
 * plan->ready_told it brings, after 1, what the program says of its end. */
int launch_result(struct launch *l, int ready_fd, struct berth_error *err);

/** Leave the caller's v1 groups for the supervisors' (in v2 it was born there): some ten writes, so
 * call it when the answer is out. Once; later calls do nothing. */
void launch_settle(struct launch *l);

struct launch_exec {
    char *const *argv, *const *env; /* env: added to the plan's */
    const char *user, *workdir;
    char *const *groups;
    bool tty, privileged;
    uint16_t rows, columns;
    const int *stdio; /* 3 */
    const int *files; /* instead of the plan's, those to read */
    size_t n_files;
};
/** One more program inside: joins namespaces (pidfd setns), root, cgroup, drops as the plan does.
 * As launch_start. */
int launch_exec(struct launch *l, const struct plan *plan, const struct launch_child *main_program,
                const struct launch_exec *e, struct launch_child *ret_child, int *ret_tty_master_fd,
                int *ret_ready_fd, struct berth_error *err);

/** Limits, networks and ports as `plan` says; a failure of the network leaves that as it was. */
int launch_update(struct launch *l, const struct plan *plan, struct berth_error *err);
/** Whether its wall stands (there may be none), and with `mend` make it so. */
int launch_wall(struct launch *l, bool mend, bool *ret_whole, struct berth_error *err);
int launch_freeze(struct launch *l, bool frozen, struct berth_error *err);
/** Kill all of ID/load (cgroup.kill, or freeze + kill loop on v1); thaws. Returns when empty or
 * after 2 s -> IO. */
int launch_kill_all(struct launch *l, struct berth_error *err);
bool launch_empty(struct launch *l);
/** OOM kills counted in ID/load since launch_start; whether `main_killed` was the main program is
 * the caller's to say. */
uint64_t launch_oom_kills(struct launch *l);
uint64_t launch_memory_peak(struct launch *l);
/** As cgroup_oom_watch. */
int launch_oom_watch(struct launch *l);
int launch_socket_fds(struct launch *l, const int **ret_fds,
                      size_t *ret_n); /* of plan->sockets, for on_demand polling */
/** End of everything: namespaces closed, cgroups removed (load, sup's parent what can be). */
void launch_free(struct launch *l);
/** The very last: what launch_free left to the kernel is seen to. Blocks for a moment, when nobody waits. */
void launch_last(void);

#endif
