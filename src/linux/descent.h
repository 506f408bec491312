/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process of a container that somebody else runs, and all below it.
 */
#ifndef LINUX_DESCENT_H
#define LINUX_DESCENT_H

#include <stdbool.h>

/** Whether a process is in a cgroup whose path has `word` in it (a container's id): another pid namespace's number, or one that
 *  was given anew, is somebody else's here. */
bool process_is_of(int pid, const char *word);
/** A signal to a process of that cgroup; SIGKILL goes to all below it too. 0, -ESRCH when it is not (or no more) of it. */
int process_signal(int pid, const char *word, int signal);

#endif
