/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth-helper: work that waits, is slow, or outlives its caller, as one small static program.
 *
 * `berth-helper APPLET ARGS`. Descriptors named in ARGS are inherited ones. Results go to descriptor
 * 1 or into files; a failure is one line on descriptor 2 and exit code 1 (2: wrong arguments).
 *
 *   logs WORKLOAD_FD LIFE_FD [--follow] [--timestamps] [--frames] [--streams N] [--tail N]
 *        [--since USEC] [--until USEC]
 *       log_pump to descriptor 1. WORKLOAD_FD is ROOT/workloads/ID; LIFE_FD the file RUN/ID/life
 *       opened without a lock (workload_life_fd), or -1. N of --streams: BERTH_STDOUT | BERTH_STDERR.
 *   events ROOT_FD [--follow] [--since USEC] [--until USEC] [--name NAME_OR_ID]
 *       events_pump to descriptor 1.
 *   delete ROOT [RUN HASH]
 *       Empties ROOT/trash, never crossing a mount or following a link. What a dead remover has
 *       not released is left to store_sweep. With RUN also bridges that no workload is on go.
 *   lock FD
 *       Waits for an exclusive lock on the inherited open file description, then exits 0: the lock
 *       is then the one who holds that description. The waiting ends when the helper is killed.
 *   pool RUN HASH COUNT
 *       Keeps so many network namespaces with links ready for supervisors (linux/net_pool.h) until descriptor 0
 *       ends; says "ready" on descriptor 1 when all are there.
 *   remove ROOT RUN ID [--volumes]
 *       What --rm and a forced remove need after the end: waits until `life` is free, takes it and
 *       `change`, removes the cgroup of the status record and the workload, appends the event
 *       "remove" and empties the trash. --volumes (--rm): its anonymous volumes too; without it they
 *       go only if workload_remove_volumes was called. A workload that has gone is a success.
 *   frames FD [--raw] [-- PROGRAM WORDS...]
 *       FD is a connection of an exec or attach at a docker daemon, behind the head of its answer: its frames go to
 *       descriptors 1 and 2, descriptor 0 goes to it, until it ends. --raw: a terminal's,
 *       without frames. The first bytes of output go to descriptor 4 too. When nobody holds the other end of 4 any more,
 *       PROGRAM takes the place of this one.
 *   seccomp FILE CAPS_HEX
 *       Compiles the docker-format profile on descriptor 0 for these capabilities into FILE.
 */
#ifndef HELPER_HELPER_H
#define HELPER_HELPER_H

#include "base/error.h"

/** argv[0] is the applet's name; there are as many arguments as its row allows. 0 or a berth code. */
int applet_logs(int argc, char **argv, struct berth_error *err);
int applet_events(int argc, char **argv, struct berth_error *err);
int applet_delete(int argc, char **argv, struct berth_error *err);
int applet_lock(int argc, char **argv, struct berth_error *err);
int applet_pool(int argc, char **argv, struct berth_error *err);
int applet_remove(int argc, char **argv, struct berth_error *err);
int applet_frames(int argc, char **argv, struct berth_error *err);
int applet_seccomp(int argc, char **argv, struct berth_error *err);

/** Bridges and rules of networks that nobody is on: gone, if in a moment nobody is on them still. Of many at once
 *  only one waits. A root whose folder was deleted meanwhile is told by its hash. */
int networks_sweep_later(const char *root, const char *run, const char *hash, struct berth_error *err);

/** Exclusive lock, waiting for it. 0 or -errno. */
int lock_wait(int fd);

/** "--follow", "--tail N" and the like, after the fixed arguments. */
struct applet_option {
    const char *name;
    bool *ret_flag;            /* one of these three */
    long long *ret_number;
    const char **ret_text;
    bool *ret_given;           /* may be NULL */
};
int applet_options(char **argv, const struct applet_option *options, size_t n,
                   struct berth_error *err);
/** A whole number. INVALID otherwise. */
int applet_number(const char *text, long long *ret_number, struct berth_error *err);

#endif
