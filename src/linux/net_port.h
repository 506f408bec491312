/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of the host: held by a bound socket, who else holds one, connections that must be forgotten.
 */
#ifndef LINUX_NET_PORT_H
#define LINUX_NET_PORT_H

#include "base/address.h"
#include "base/error.h"
#include "linux/net_filter.h"
#include "linux/net_message.h"

/**
 * Bind host:port and keep it: nobody else gets the port, `ss` shows whose it is. *ret_fd takes nothing that
 * comes: whatever reaches it (somebody flushed the packet filter) is dropped by a filter of its own. Port
 * 0: any free one, from the kernel's range; *ret_port is which. `host` 0.0.0.0 (::): all addresses of that
 * family. EXISTS names the address, the port and, where /proc can tell, who holds it ("nginx, pid 812");
 * INVALID: not an address of this host. What is only left of closed connections holds no port.
 */
int net_port_hold(const struct address *host, uint8_t protocol, uint16_t port, int *ret_fd, uint16_t *ret_port,
                  struct berth_error *err);

struct net_holder {
    int pid;       /**< 0: nobody found (another namespace's, or not ours to see) */
    char name[16]; /**< comm */
};
/** Who has host:port, or an address that collides with it, bound in this network namespace. Looks through
 *  /proc: milliseconds; only for an error's text. 1 found, 0 nobody (or only closed connections), -errno. */
int net_port_holder(const struct address *host, uint8_t protocol, uint16_t port, struct net_holder *ret);

/** A line of /proc/net/{tcp,udp}[6]. */
struct net_socket {
    struct address local;
    uint16_t port;
    unsigned state; /**< TCP's: 10 listens, 6 is what is left of a closed connection */
    uint64_t inode;
};
/** False for what is no such line (the title). */
bool net_socket_parse(const char *line, struct net_socket *ret);

/**
 * Does a connection that nobody has open any more keep this namespace (half closed, until its timers end:
 * minutes)? The calling thread goes there and back. True also when it can't tell.
 */
bool net_namespace_lingers(int ns_fd);

/**
 * Delete the kernel's memory of UDP flows to these ports, so that the next packet is looked up anew: at
 * start (a client that sent before) and at the end. `nl`: NETLINK_NETFILTER. Returns how many were
 * deleted, or a code. Ports of other protocols are skipped.
 */
int net_connections_forget(struct netlink *nl, const struct net_publish *ports, size_t n, struct berth_error *err);

#endif
