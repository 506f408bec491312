/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An exec at another machine: the API tells the number of its process there, which nobody here can signal.
 *
 * So it is given a word in its environment, which its children inherit, and is ended by a second exec that looks for the
 * word: a shell and grep of the image, as the same user, who may read the environments of his own processes.
 */
#ifndef DOCKER_MARK_H
#define DOCKER_MARK_H

#include "docker/http.h"

#define MARK_VARIABLE "BERTH_EXEC"
#define MARK_TEXT 33

/** A new one. IO. */
int mark_make(char ret[MARK_TEXT], struct berth_error *err);
/**
 * Signal all that have it; waits until the second exec has begun. user NULL: the container's own. UNSUPPORTED when the image
 * has no shell that could.
 */
int mark_signal(struct daemon *daemon, const char *container, const char *mark, const char *user, int signal, struct berth_error *err);

#endif
