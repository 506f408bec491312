/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images that a spec wants: pulled before anything is made of it, when they are not here.
 */
#ifndef LOCAL_WANT_H
#define LOCAL_WANT_H

#include "local/inside.h"

/** Pull one image, as berth_image_pull_call() does. */
int pull_call(struct local *c, const char *reference, const char *platform, const char *policy, bool show,
              struct berth_call **ret_call, struct berth_error *err);

struct want;
/** What has to be pulled for this spec by its `pull`: *ret is NULL when nothing has. `spec` must live as long. */
int want_begin(struct local *c, struct store *store, const struct settings *settings, const struct spec *spec,
               struct want **ret, struct berth_error *err);
/** 1: all is here, 0: not yet (want_fd becomes readable). */
int want_step(struct want *w, struct berth_error *err);
/** After that: 1 and the name of what was loaded where the spec names an archive (free(3)), else 0. */
int want_loaded(struct want *w, char **ret_image, struct berth_error *err);
/** Of the call that runs; another one after a step. */
int want_fd(struct want *w);
/** Progress of the image itself, lines as berth_image_pull_call() has them. The same until the end. */
int want_progress_fd(struct want *w);
void want_cancel(struct want *w);
/** NULL is allowed. What is under way is cancelled. */
void want_free(struct want *w);

#endif
