/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Have the daemon fetch an image, with the user's own login.
 */
#ifndef DOCKER_PULL_H
#define DOCKER_PULL_H

#include "docker/inside.h"

struct pull;
/** Asks berth-image for the login of the image's registry (waits for it, as long as a credential helper takes). */
int pull_new(const struct docker *d, const char *image, const char *platform, struct pull **ret, struct berth_error *err);
void pull_send(struct pull *p, struct channel *channel);
/** 1: it is here, 0: not yet; NOT_FOUND, DENIED, ... */
int pull_end(struct pull *p, struct berth_error *err);
/** Progress, {"step","object","bytes","total_bytes"} a line; the pull's own. */
int pull_progress_fd(const struct pull *p);
void pull_free(struct pull *p);

#endif
