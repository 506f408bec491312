/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Neighbours: another's firewall that drops what berth let through, and the rule that opens it.
 *
 * In nftables every base chain of a hook has its say, and one drop wins: our accept does not help against
 * docker's, ufw's or firewalld's. Looked for by doctor and after a start's first failure, never on
 * the hot path.
 */
#ifndef LINUX_NET_DOCTOR_H
#define LINUX_NET_DOCTOR_H

#include "base/error.h"
#include "linux/net_link.h"
#include <stdbool.h>

enum net_obstacle_kind {
    NET_OBSTACLE_FORWARD,    /**< a forward hook that drops by policy (or by its last rule) */
    NET_OBSTACLE_LEGACY,     /**< iptables-legacy's FORWARD with policy DROP */
    NET_OBSTACLE_BRIDGE,     /**< br_netfilter sends bridged packets through such a chain too */
    NET_OBSTACLE_FIREWALLD,  /**< firewalld runs: its zones reject, by reload too */
};
struct net_obstacle {
    enum net_obstacle_kind kind;
    char tool[16];      /**< "docker", "ufw", "firewalld", "iptables", "nftables" */
    char where[96];     /**< "ip filter FORWARD": family, table, chain */
    char opens[3][192]; /**< commands that open it, one a line; "" at the end */
    bool opened;        /**< our marked rules are there already */
};
/** All that stand in this root's way, in the caller's network namespace (at most 32). `*ret` is yours (free). */
int net_obstacles_read(const char *hash, struct net_obstacle **ret, size_t *ret_n, struct berth_error *err);
/** firewall.integrate: add (remove) the rules of `opens`, marked with a comment "berth HASH". Adding twice adds once. */
int net_obstacle_open(const char *hash, const struct net_obstacle *o, struct berth_error *err);
int net_obstacles_close(const char *hash, struct berth_error *err);

#endif
