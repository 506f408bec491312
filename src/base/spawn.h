/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start a program of berth's without the host process noticing: one of the two places that clone.
 *
 * CLONE_VM | CLONE_VFORK | CLONE_PIDFD: cheap from a large process. exec resets the exit signal to
 * SIGCHLD, so the program is made an orphan (init's, or the nearest subreaper's child): no SIGCHLD,
 * invisible to wait(-1). Results come by pipe or socket, never by exit status.
 */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct spawn {
    const char *path;            /**< program, absolute */
    int program_fd;              /**< or >= 1: executed by descriptor instead (0: use path) */
    const char *const *argv;
    const char *const *env;      /**< NULL: a minimal one (PATH, LANG=C.UTF-8) */
    const int *fds;              /**< fds[i] becomes descriptor i; -1 is /dev/null; the rest is closed */
    size_t n_fds;
    bool session;                /**< setsid, umask 022, cwd /, default signals, empty mask */
    int cgroup_fd;               /**< > 0: born into this v2 group (CLONE_INTO_CGROUP); 0: the caller's */
};

/** 0 and a pidfd (yours), or -errno of clone or exec (ENOENT for a missing program). Blocks until
 *  exec. Signals are default and unblocked in the program, with or without `session`. */
int spawn(const struct spawn *s, pid_t *ret_pid, int *ret_pid_fd);

/**
 * Wait for its end (blocks; to poll, a pidfd is readable then). *ret_status (NULL allowed): as
 * waitpid's where the kernel keeps it (6.15 and later), else -1. Decide nothing by it: what matters
 * is said through a pipe.
 */
int spawn_reap(int pid_fd, int *ret_status);

#endif
