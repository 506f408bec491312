/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet filter: berth's own two tables per root, and what is put into their sets and maps.
 *
 * "inet berth_HASH" (published ports, masquerading, isolation) and "bridge berth_HASH" (nobody speaks
 * with another's address). Their skeleton is loaded by one `nft -f -`; afterwards elements come
 * and go by netlink, from the process whose they are. Bridges and links are told by their names'
 * beginnings (net_link.h), so a workload's whole share is its guests, its ports, and one element for its
 * network. Nothing of another's is touched.
 */
#ifndef LINUX_NET_FILTER_H
#define LINUX_NET_FILTER_H

#include "base/address.h"
#include "base/error.h"
#include "linux/net_link.h"
#include "linux/net_message.h"
#include <stdbool.h>

#define NET_TABLE_MAX 24
/** "berth_1a2b3c4d". */
void net_table_name(const char *hash, char ret[NET_TABLE_MAX]);

/** One workload's end on one network: only with this MAC and these addresses may it speak. */
struct net_guest {
    char link[NET_LINK_MAX]; /**< the host's end */
    uint8_t mac[6];
    struct address address[2]; /**< IPv4, IPv6; either may be none */
};

/** `count` ports of the host that lead to as many of the workload's. */
struct net_publish {
    struct address host;      /**< 0.0.0.0 or ::: any of the host's. Not ::1 (the caller says UNSUPPORTED) */
    struct address container; /**< of the same family */
    uint16_t host_port, container_port; /**< the first of them, host order */
    uint16_t count;           /**< 0 means 1; 65535 at most */
    uint8_t protocol;         /**< IPPROTO_TCP, IPPROTO_UDP */
};

/** Of a walled guest: one of its addresses, and one that it may reach although it be the host's; the same twice says
 *  that it is walled. */
struct net_way {
    struct address guest, to;
};

/** A workload's or a network's share. */
struct net_share {
    char (*bridges)[NET_LINK_MAX]; size_t n_bridges; /**< networks: traffic within one is let through */
    const struct net_guest *guests; size_t n_guests;
    const struct net_publish *ports; size_t n_ports;
    const struct net_way *ways; size_t n_ways;
};

/**
 * Add to the tables (`nl`: NETLINK_NETFILTER). What is there already is left; a port that leads elsewhere
 * is turned over: its socket (net_port.h) says whose it is, so the other is a dead one's. NOT_FOUND: the
 * tables are not there (somebody flushed): net_filter_ensure, then again, for all that run. After a
 * failure nothing of it is left in.
 */
int net_filter_add(struct netlink *nl, const char *hash, const struct net_share *share, struct berth_error *err);
/** Take out of the tables what is in there as `share` says: a port that leads to somebody else by now is
 *  left. Absent is fine, no tables too. Connections that run go on until their ends close; UDP's are
 *  net_connections_forget's. */
int net_filter_remove(struct netlink *nl, const char *hash, const struct net_share *share, struct berth_error *err);
/** A bridge and what the tables say of it. `route`: NETLINK_ROUTE. Absent is 0. Takes a grace period. */
int net_bridge_remove(struct netlink *route, const char *hash, const char *name, struct berth_error *err);

enum net_filter_state {
    NET_FILTER_WHOLE,   /**< as this version of berth makes it */
    NET_FILTER_ABSENT,  /**< never made, or flushed */
    NET_FILTER_DAMAGED, /**< rules or sets are missing, or another version's */
};
/** A few questions in one send, no process. `ret_what` (NULL allowed, 96 bytes): what is wrong. */
int net_filter_check(struct netlink *nl, const char *hash, enum net_filter_state *ret, char *ret_what,
                     struct berth_error *err);
/**
 * Check, and make both tables anew unless they are whole, by `nft` (about 10 ms). *ret_made: it was made
 * and is empty: every running workload's share must be added again. Callers exclude each other (one
 * lock per root), else the share that one adds may go with the tables that the other made. NO_PROGRAM: no nft.
 */
int net_filter_ensure(struct netlink *nl, const char *hash, bool *ret_made, struct berth_error *err);
/** Both tables with all in them; absent is 0. */
int net_filter_drop(struct netlink *nl, const char *hash, struct berth_error *err);

/** What is in the tables now, for doctor (`*ret` is yours: net_listing_free). */
struct net_listing {
    char (*bridges)[NET_LINK_MAX]; size_t n_bridges;
    struct net_guest *guests; size_t n_guests; /**< one element each: only one address is set */
    struct net_publish *ports; size_t n_ports;
};
int net_filter_list(struct netlink *nl, const char *hash, struct net_listing **ret, struct berth_error *err);
void net_listing_free(struct net_listing *l);

#endif
