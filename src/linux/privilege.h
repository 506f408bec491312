/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Capabilities by name, and the sets docker gives.
 */
#ifndef LINUX_PRIVILEGE_H
#define LINUX_PRIVILEGE_H

#include "base/error.h"
#include <stdint.h>

/** "NET_ADMIN", "cap_net_admin", "ALL" -> bits. -EINVAL. */
int capability_parse(const char *name, uint64_t *ret_mask);
const char *capability_name(int number); /* "CAP_CHOWN" or NULL */
uint64_t capability_default(void);       /* docker's fourteen */
uint64_t capability_all(void);           /* what this kernel knows */
/** DENIED with the missing capability's name and the sudo line unless the caller has them (effective). */
int capability_need(uint64_t mask, const char *verb, struct berth_error *err);

#endif
