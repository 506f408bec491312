/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding the program to run, and saying exactly why it can't be run.
 */
#ifndef LINUX_PROGRAM_H
#define LINUX_PROGRAM_H

#include "base/error.h"

/**
 * argv[0] to the path to execute, as seen by the calling process (its root and working directory).
 * A name without slash is looked up in PATH of `env`. NO_PROGRAM with a near name when there is
 * one; NOT_EXECUTABLE.
 */
int program_find(const char *name, char *const *env, char **ret_path, struct berth_error *err);
/** Why execve(path) failed with this errno: missing interpreter or loader, another architecture, no
 * permission. */
int program_explain(const char *path, int exec_errno, struct berth_error *err);

#endif
