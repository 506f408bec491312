/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands in this root's way, remembered: said after a start, or (firewall.integrate) opened by berth itself.
 *
 * RUN/firewall has what was opened, RUN/firewall.seen what is in the way, each with what the chains of others
 * were like then.
 */
#ifndef LINUX_NET_INTEGRATE_H
#define LINUX_NET_INTEGRATE_H

#include "base/error.h"
#include <stdbool.h>

#define NET_INTEGRATE_FILE "firewall"
#define NET_SEEN_FILE "firewall.seen"

/**
 * What is in the way and not opened, as a JSON array of {"tool", "family", "table", "chain", "hook": "forward" or "input",
 * "opens": [commands]}; free(3). As long as no chain of others changes, or there is none that could drop, that is one
 * question to the kernel, some 50 microseconds; else nft is asked. Callers exclude each other.
 */
int net_obstacles_seen(int run_fd, const char *hash, char **ret_json, struct berth_error *err);

/**
 * Open all that drops in the forward hook (net_doctor.h), each with rules that carry the comment "berth HASH".
 * As long as no chain of others changes, that is one question to the kernel, some 50 microseconds; else nft is
 * asked, some 10 ms a question. `anew`: asked in any case. Callers exclude each other; waits for them. The
 * first failure is returned, the others are opened all the same. UNSUPPORTED: firewalld's, with the command for it.
 */
int net_integrate(int run_fd, const char *hash, bool anew, struct berth_error *err);
/** Rules of ours are taken out of others' chains, if net_integrate was ever asked for. */
int net_integrate_end(int run_fd, const char *hash, struct berth_error *err);

#endif
