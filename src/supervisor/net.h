/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a workload has of the network while its supervisor lives: a namespace with a link on each of the
 * plan's networks, its share of the packet filter, and a socket on every published port.
 *
 * Kept over restarts. Everything is written to RUN/ID/net before it is made (linux/net_record.h), so
 * that a supervisor's death leaves nothing that the next command could not undo.
 */
#ifndef SUPERVISOR_NET_H
#define SUPERVISOR_NET_H

#include "base/error.h"
#include "model/plan.h"

struct net;

/**
 * Make it all for a plan with links; `run_fd` (RUN/ID) is borrowed until net_end. `ns_fd` is a namespace that was
 * made for it, taken over; -1: one is made. On failure nothing is left. EXISTS names who holds a port that is taken.
 */
int net_begin(const struct plan *plan, int run_fd, int ns_fd, struct net **ret, struct berth_error *err);
/** Its namespace: net's own. */
int net_namespace_fd(const struct net *net);
/** From what it has to what `plan` says: links and ports come and go, the others do not notice. On failure
 *  it stays as it was. */
int net_change(struct net *net, const struct plan *plan, struct berth_error *err);
/** Whether what the plan lets out of its namespace is all that gets out; with `mend` that is made so. */
int net_look_at_wall(const struct net *net, bool mend, bool *ret_whole, struct berth_error *err);
/** Rules and ports at once; the namespace and its links go behind the answer. NULL is fine. */
void net_end(struct net *net);
/** After the answers, before exit: links that the kernel has not removed by itself are. Takes its time. */
void net_last(void);

#endif
