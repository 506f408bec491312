/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links, addresses and routes: the network's verbs, each alone, none deciding.
 *
 * A bridge for each network, a veth for each workload on it. Names carry the hash of the root
 * (store.h), so that two roots never meet and what is left over is found by its prefix; the first
 * letters say what it is, so the packet filter needs no list of bridges (net_filter.h).
 * Each verb takes the netlink socket of the namespace it works in.
 */
#ifndef LINUX_NET_LINK_H
#define LINUX_NET_LINK_H

#include "base/address.h"
#include "base/error.h"
#include "linux/net_message.h"
#include <net/if.h>
#include <stdbool.h>

#define NET_LINK_MAX IFNAMSIZ /**< 16, the NUL included */
#define NET_IPV6_MTU 1280     /**< below it a link has no IPv6 */
#define NET_NUMBER_MAX 9999   /**< highest number of a network: what fits into a bridge's name */

/** "bb1a2b3c4d-12"; "bi1a2b3c4d-12" for an internal network. `hash`: 8 hex digits. */
void net_bridge_name(const char *hash, bool internal, unsigned number, char ret[NET_LINK_MAX]);
/** "bv1a2b3c4dxxxxx": another one at each call (net_link_add tells when it is taken: EXISTS). */
void net_link_name(const char *hash, char ret[NET_LINK_MAX]);
/** Whether a link is one of this root's: 'b' bridge, 'i' internal bridge, 'v' veth; 0: not ours. */
char net_link_kind(const char *hash, const char *name);

/** The MAC of an address: 02:be and the last four bytes. The same address has the same MAC, so
 *  neighbours' tables stay right over a restart. */
void net_mac(const struct address *a, uint8_t ret[6]);
/** The link-local IPv6 address that the kernel gives an interface with this MAC. */
struct address net_link_local(const uint8_t mac[6]);

/* ---- bridges --------------------------------------------------------------------------------- */

struct net_bridge {
    char name[NET_LINK_MAX];
    struct address gateway[2]; /**< the bridge's own, with the subnet's prefix: IPv4, then IPv6; either may be none */
    int mtu;                   /**< 0: 1500 */
};
/**
 * Make what is missing of it and bring it up; returns its index (> 0). There already and right costs
 * one question. No STP, no forward delay, no snooping; its MAC is the gateway's; route_localnet on it
 * alone; no IPv6 at all without an IPv6 gateway. *ret_made (NULL allowed): something was missing.
 * EXISTS: the name is another kind of link. Two at once: both succeed.
 */
int net_bridge_ensure(struct netlink *nl, const struct net_bridge *b, bool *ret_made, struct berth_error *err);

/* ---- a workload's link ----------------------------------------------------------------------- */

struct net_link {
    char name[NET_LINK_MAX];    /**< the host's end */
    int bridge;                 /**< index of its bridge, 0: none */
    int ns_fd;                  /**< network namespace of the other end */
    char inside[NET_LINK_MAX];  /**< its name there: "eth0" */
    int index;                  /**< its index there: 2 for the first, any that is free */
    uint8_t mac[6];             /**< of the other end */
    int mtu;                    /**< 0: the bridge's default, 1500 */
    struct address address[2];  /**< with prefix: IPv4, then IPv6; either may be none */
    struct address gateway[2];  /**< default routes by this link; none: no default route by it */
    uint32_t metric;            /**< of these routes; 0: the kernel's */
};
/** The pair, its other end inside (down yet), the host's end on its bridge and up: one message. `nl` is
 *  the host's. EXISTS: the name is taken, try another; NO_SPACE: the bridge is full (1,023 ports);
 *  NOT_FOUND: no such bridge. */
int net_link_add(struct netlink *nl, const struct net_link *l, struct berth_error *err);
/** For a workload with published ports: with br_netfilter what it sends to its own port is turned round on
 *  the bridge, and its end there must take that back. Without br_netfilter nothing is done. */
int net_link_turn(struct netlink *nl, const char *name, struct berth_error *err);
/** Inside: lo up, then for each link MAC, addresses, up, routes, one batch; who was told another owner
 *  of the address is told the new one (gratuitous ARP). `inside`: netlink_open_in(), or opened there.
 *  n 0: only lo. */
int net_links_configure(struct netlink *inside, const struct net_link *links, size_t n, struct berth_error *err);
/** A namespace and its first link are prepared apart from its address: put the host's end on a bridge. */
int net_link_attach(struct netlink *nl, const char *name, int bridge, struct berth_error *err);
/** Another MTU for one end, which is that of `nl`'s namespace. */
int net_link_resize(struct netlink *nl, const char *name, uint32_t mtu, struct berth_error *err);
/** Remove by name; absent is 0. The kernel takes its time (a grace period): after the answer, or by
 *  letting go of the namespace, which takes its links along. */
int net_link_remove(struct netlink *nl, const char *name, struct berth_error *err);
/** Remove many in one send; absent ones are fine. */
int net_links_remove(struct netlink *nl, char (*names)[NET_LINK_MAX], size_t n, struct berth_error *err);

/** Index of a link, or 0. */
int net_link_index(struct netlink *nl, const char *name);

struct net_found {
    char name[NET_LINK_MAX];
    int index, master, mtu; /**< master: index of its bridge or 0 */
    char kind;              /**< net_link_kind: 'b', 'i', 'v' */
    bool up;
    uint64_t rx_bytes, tx_bytes, rx_packets, tx_packets; /**< as the host's end counts: rx is what the workload sent */
};
/** All links of this root (one dump: for doctor, not for the hot path). `*ret` is yours (free). */
int net_links_list(struct netlink *nl, const char *hash, struct net_found **ret, size_t *ret_n, struct berth_error *err);
/** One link's figures. NOT_FOUND. */
int net_link_read(struct netlink *nl, const char *name, struct net_found *ret, struct berth_error *err);

/* ---- namespaces ------------------------------------------------------------------------------ */

/** Make a network namespace (nothing configured: net_links_configure) and a NETLINK_ROUTE socket inside.
 *  The calling thread goes there and back: for programs with one thread. It lives as long as the
 *  descriptor, a process or a socket in it does; letting go is at once, its links go with it later. */
int net_namespace_make(int *ret_ns_fd, struct netlink *ret_inside, struct berth_error *err);

/* ---- what the host has ------------------------------------------------------------------------ */

struct net_range {
    struct address subnet;
    char link[NET_LINK_MAX]; /**< whose: "" when it has none (blackhole, gateway unknown) */
};
/** Every address and route of the host (all tables; not default routes, not the kernel's own entries for
 *  local and broadcast, not lo), sorted, without duplicates: what a new subnet must not overlap. */
int net_ranges_read(struct netlink *nl, struct net_range **ret, size_t *ret_n, struct berth_error *err);
/** The range that overlaps, but not one on the link `except` (NULL: none); NULL: free. */
const struct net_range *net_range_find(const struct net_range *ranges, size_t n, const struct address *subnet,
                                       const char *except);
/** MTU of the way out; 1500 when there is none. */
int net_default_mtu(struct netlink *nl);

/** Whether the host forwards: 1, 0, -errno. `family`: AF_INET, AF_INET6. */
int net_forwarding(int family);
/** Turn it on if it is off; *ret_changed (NULL allowed) says so. IPv6: interfaces that live from router
 *  advertisements go on doing so (accept_ra 2), which forwarding alone would end. */
int net_forwarding_enable(int family, bool *ret_changed, struct berth_error *err);

#endif
