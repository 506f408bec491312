/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seccomp: docker-format profiles compiled to BPF ahead of time (libseccomp; only the helper links
 * it). Not seccomp.h: the kernel has a header of that name.
 */
#ifndef LINUX_SYSCALL_FILTER_H
#define LINUX_SYSCALL_FILTER_H

#include "base/error.h"
#include <stddef.h>
#include <stdint.h>

/** The built-in default profile, as docker-format JSON text, and a version that names it. */
const char *seccomp_default_profile(void);
const char *seccomp_default_version(void);
/** Key of the compiled filter: hex SHA-free FNV-128 of profile text, capabilities, architecture,
 * our format; for the cache file's name. */
void seccomp_key(const char *profile_json, uint64_t caps, char ret_key[40]);
/** Compile (libseccomp; in the helper): an array of struct sock_filter. INVALID names the rule.
 * Unknown newer calls: ENOSYS. */
int seccomp_compile(const char *profile_json, size_t length, uint64_t caps, void **ret_filter,
                    size_t *ret_size, struct berth_error *err);

#endif
