/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A wall inside one workload's network namespace: what may leave it, by rules of model/allowed.h.
 *
 * The second one, where a program of ours judges each connection first: it holds when that program was broken out of.
 * Names can't be judged here: a rule for one opens its ports, but to nobody who needs a rule of his own. Which addresses
 * are the host's, beside the gateways, isn't known here either: the host's tables judge that (struct net_way, net_filter.h).
 */
#ifndef LINUX_NET_WALL_H
#define LINUX_NET_WALL_H

#include "linux/net_message.h"
#include "model/allowed.h"

struct net_wall {
    const struct allowed_rule *rules; size_t n_rules;
    const struct address *gateways; size_t n_gateways; /**< the host: names are asked of it, all else needs a rule for it alone */
};
/** Make it anew, in one step. `nl`: NETLINK_NETFILTER, opened inside. Answers always leave, and what IPv6 needs. 0 or -errno. */
int net_wall_make(struct netlink *nl, const struct net_wall *wall);
/** Whether it is there with as many rules. 1, 0, or -errno. */
int net_wall_stands(struct netlink *nl, const struct net_wall *wall);

#endif
