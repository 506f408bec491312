/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth.toml as data: one table says what there is, for the library, its programs and the command.
 */
#ifndef MODEL_SETTINGS_H
#define MODEL_SETTINGS_H

#include "model/fields.h"
#include <jansson.h>

#define SETTINGS_FILE "/etc/berth/berth.toml"
#define SETTINGS_MAX_BYTES (1u << 20)

/** What a reference means that says no registry or no tag; NULL: docker.io, latest. */
struct reference_defaults { char *registry, *tag; };

struct settings {
    char *cgroup_parent, *publish_address;
    struct { char *pool; uint32_t prefix, default_prefix; } network;
    struct { bool integrate; } firewall;
    struct { char *high, *low; } image_gc;
    struct reference_defaults images;
    char *defaults;   /* part of a spec, JSON; judged as one by whoever makes a workload of it */
    char *registries; /* JSON: an object of settings_registry() entries by host */
};
extern const struct field settings_fields[];

/** From the JSON that the TOML is. INVALID: `network.prefx: unknown field (did you mean prefix?)`; object: the path. */
int settings_parse(const char *json, size_t length, struct settings **ret, struct berth_error *err);
/** One entry of `registries`, checked. */
int settings_registry(const char *host, const json_t *entry, struct berth_error *err);
/** What is set, as JSON; free(3). NULL without memory. */
char *settings_print(const struct settings *settings);
/** [defaults] below a spec, as JSON text: what the spec says goes over it. free(3). */
int settings_defaults(const struct settings *settings, const char *spec_json, char **ret_json, struct berth_error *err);
void settings_free(struct settings *settings);
static inline void cleanup_settings(struct settings **s) { settings_free(*s); }

#endif
