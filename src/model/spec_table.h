/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the spec: its table, and the judges and short forms that the table names.
 */
#ifndef MODEL_SPEC_TABLE_H
#define MODEL_SPEC_TABLE_H

#include "model/fields.h"
#include "model/spec.h"

extern const struct field spec_fields[];
extern const struct document spec_document;

/** What holds for the spec as a whole. */
int spec_finish(const struct where *top, struct spec *spec, struct berth_error *err);

/* Judges of one string (spec_checks.c): NULL, or how the sentence `"VALUE" ...` goes on. */
const char *check_absolute(const char *value);
const char *check_target(const char *value);
const char *check_name(const char *value);
const char *check_engine(const char *value);
const char *check_image(const char *value);
const char *check_platform(const char *value);
const char *check_hostname(const char *value);
const char *check_domain(const char *value);
const char *check_network(const char *value);
const char *check_ip4(const char *value);
const char *check_ip6(const char *value);
const char *check_ip(const char *value);
const char *check_mac(const char *value);
const char *check_host_address(const char *value);
const char *check_one_word(const char *value);
const char *check_expose(const char *value);
const char *check_user(const char *value);
const char *check_signal(const char *value);
const char *check_variable(const char *value);
const char *check_sysctl(const char *value);
const char *check_cpuset(const char *value);
const char *check_cdi(const char *value);
const char *check_namespace(const char *value);
const char *check_ipc(const char *value);
const char *check_cgroup_namespace(const char *value);
const char *check_idmap(const char *value);
const char *check_volumes_from(const char *value);
const char *check_capability(const char *value);
const char *check_seccomp(const char *value);
const char *check_device_rule(const char *value);
const char *check_access(const char *value);

/* Short forms and what holds for one item (spec_forms.c). */
int port_from_text(const struct where *at, const char *value, void *item, struct berth_error *err);
int port_finish(const struct where *at, void *item, struct berth_error *err);
int network_from_text(const struct where *at, const char *value, void *item, struct berth_error *err);
int network_finish(const struct where *at, void *item, struct berth_error *err);
int mount_from_text(const struct where *at, const char *value, void *item, struct berth_error *err);
int mount_finish(const struct where *at, void *item, struct berth_error *err);
int restart_from_text(const struct where *at, const char *value, void *item, struct berth_error *err);
int restart_finish(const struct where *at, void *item, struct berth_error *err);
int ulimit_from_text(const struct where *at, const char *value, void *item, struct berth_error *err);
int ulimit_finish(const struct where *at, void *item, struct berth_error *err);
int device_from_text(const struct where *at, const char *value, void *item, struct berth_error *err);
int device_finish(const struct where *at, void *item, struct berth_error *err);
int host_from_text(const struct where *at, const char *value, void *item, struct berth_error *err);
int host_finish(const struct where *at, void *item, struct berth_error *err);
int preopen_from_text(const struct where *at, const char *value, void *item, struct berth_error *err);
int preopen_finish(const struct where *at, void *item, struct berth_error *err);
int io_finish(const struct where *at, void *item, struct berth_error *err);
int secret_finish(const struct where *at, void *item, struct berth_error *err);
int socket_finish(const struct where *at, void *item, struct berth_error *err);
int image_volume_finish(const struct where *at, void *item, struct berth_error *err);
int health_finish(const struct where *at, void *item, struct berth_error *err);
int probe_finish(const struct where *at, void *item, struct berth_error *err);

#endif
