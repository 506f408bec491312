/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Device rules as a BPF program for cgroup v2, by plain bpf(2) instructions.
 */
#ifndef LINUX_DEVICE_H
#define LINUX_DEVICE_H

#include "base/error.h"
#include "model/plan.h"
#include <stddef.h>

#define DEVICE_RULE_MAX 512

/** Load the rules and attach them to the v2 group, in place of earlier ones. NO_KERNEL without BPF.
 */
int device_filter_attach(int cgroup_fd, const struct plan_device *devices, size_t n,
                         struct berth_error *err);
/** Take an attached filter away (privileged). 0 or -errno. */
int device_filter_detach(int cgroup_fd);

#endif
