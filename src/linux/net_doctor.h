/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Neighbours: another's firewall that drops what berth let through, and the rules that open it.
 *
 * Every base chain of a hook has its say, and one drop wins: our accept does not help against docker's,
 * ufw's or firewalld's. Two hooks count: what is forwarded, and what comes in, where workloads ask a
 * gateway for names. Never on the hot path: programs are asked (net_integrate.h remembers the answer).
 */
#ifndef LINUX_NET_DOCTOR_H
#define LINUX_NET_DOCTOR_H

#include "base/error.h"
#include "linux/net_link.h"
#include <stdbool.h>

enum net_obstacle_kind {
    NET_OBSTACLE_NFT,       /**< a base chain drops, by policy or by a rule without a condition; iptables-nft's too */
    NET_OBSTACLE_LEGACY,    /**< iptables-legacy's FORWARD, by policy */
    NET_OBSTACLE_FIREWALLD, /**< firewalld's: it is told, not its rules changed, which a reload would bring back */
};
struct net_obstacle {
    enum net_obstacle_kind kind;
    bool names;         /**< of the input hook: questions for names; else of the forward hook */
    char tool[16];      /**< "docker", "ufw", "firewalld", "iptables", "nftables" */
    char family[8], table[64], chain[64]; /**< who drops: "ip", "filter", "FORWARD" */
    char target[64];    /**< the chain that our rules belong into: "DOCKER-USER" where there is one */
    char opens[4][192]; /**< commands for a shell that open it; "" at the end */
    bool opened;        /**< such rules are there already */
};
#define NET_OBSTACLES_MAX 16
/** All that stand in this root's way, in the caller's network namespace. `*ret` is yours (free), NULL
 *  when *ret_n is 0. What can't be asked (no nft, no iptables-legacy) is taken to be absent. */
int net_obstacles_read(const char *hash, struct net_obstacle **ret, size_t *ret_n, struct berth_error *err);
/** firewall.integrate: add the rules of `opens`, each with the comment "berth HASH"; one that is open is left.
 *  UNSUPPORTED: firewalld, with the command for it. */
int net_obstacle_open(const char *hash, const struct net_obstacle *o, struct berth_error *err);
/** Remove every rule of ours from the chains of others. None is 0. */
int net_obstacles_close(const char *hash, struct berth_error *err);

/** What `nft -j list chains` and `nft -j list chain` say (parts of the above, for tests and fuzzing). Other's text:
 *  anything that is not understood is passed over. */
size_t net_obstacles_parse(const char *json, size_t size, const char *hash, struct net_obstacle ret[NET_OBSTACLES_MAX]);
struct net_chain_seen {
    bool drops_all;     /**< a rule drops or rejects without a condition */
    unsigned ours;      /**< rules about bridges of this root that accept */
    unsigned names;     /**< rules that accept questions for names, from everywhere or from these bridges */
    long handles[8];    /**< of these with our comment: what close removes */
    size_t n_handles;
};
void net_chain_parse(const char *json, size_t size, const char *hash, struct net_chain_seen *ret);
/** Whether there is a filter table of the kernel's older kind. */
bool net_legacy_is_used(void);
/** What `iptables-legacy -S` says: whether FORWARD drops, where rules belong, whether ours are there. */
bool net_legacy_parse(const char *text, const char *hash, struct net_obstacle *ret);

#endif
