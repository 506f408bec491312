/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Network namespaces made ahead, each with a link that waits for its bridge and its address.
 *
 * Whoever keeps them (berth-helper's pool) hands one out over RUN/pool/socket to a supervisor that starts; when
 * there is none, or none left, the supervisor makes its own. What is ready lives as long as its keeper's
 * descriptors: a keeper that is killed leaves nothing.
 */
#ifndef LINUX_NET_POOL_H
#define LINUX_NET_POOL_H

#include "linux/net_link.h"

#define NET_POOL_FOLDER "pool"                  /* below RUN */
#define NET_POOL_SOCKET NET_POOL_FOLDER "/socket"
#define NET_POOL_LOCK NET_POOL_FOLDER "/lock"   /* held by the keeper */
#define NET_POOL_LINKS NET_POOL_FOLDER "/links" /* a line each: links that are ready, or were handed out a moment ago */
#define NET_POOL_INSIDE "eth0"
#define NET_POOL_INDEX 2

/** What is handed out, beside the namespace's descriptor. */
struct net_pooled {
    char link[NET_LINK_MAX]; /**< the host's end, on no bridge */
    uint32_t mtu;            /**< of both ends: another one is for the taker to set */
};
/** Make one for the pool: the caller's thread goes there and back (net_namespace_make). */
int net_pool_make(struct netlink *nl, const char *hash, uint32_t mtu, struct net_pooled *ret, int *ret_ns_fd, struct berth_error *err);
/** One that is ready; its descriptor is the caller's. -errno: there is none. Waits 5 ms at most. */
int net_pool_take(int run_fd, struct net_pooled *ret, int *ret_ns_fd);
/** The links that wait, as text ("\n" behind each); NULL for none. free(3) */
char *net_pool_links(int run_fd);

#endif
