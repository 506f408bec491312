/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth.toml for the engines of real workloads: what it says now, and what that does to a spec.
 */
#ifndef ENGINE_SETTINGS_H
#define ENGINE_SETTINGS_H

#include "model/settings.h"
#include "model/spec.h"
#include <pthread.h>

/** Of one open runtime. */
struct settings_source {
    const char *root, *run, *programs; /* the runtime's */
    char *config;                      /* NULL: the usual file, which need not be there */
    pthread_mutex_t lock;              /* what follows */
    char *text, *text_of;              /* as JSON, and the identity of the file that it was */
};

/** Borrows all but `config`. -ENOMEM; clear it then too. */
int settings_source_init(struct settings_source *s, const char *root, const char *run, const char *programs, const char *config);
void settings_source_clear(struct settings_source *s);

/** As JSON text; free(3). Waits for a child when the file is not known yet. run_fd: RUN, -1 for none. INVALID: file, line, key. */
int settings_source_text(struct settings_source *s, int run_fd, char **ret_json, struct berth_error *err);
/** The same; settings_free(). */
int settings_source_read(struct settings_source *s, int run_fd, struct settings **ret, struct berth_error *err);

/** A spec with them below it. */
int settings_spec(const struct settings *s, const char *spec_json, struct spec **ret, struct berth_error *err);
/** publish_address into the ports of a spec that name none. */
int settings_ports(const struct settings *s, struct spec *spec, struct berth_error *err);

#endif
