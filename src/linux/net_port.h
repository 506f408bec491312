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
 * Bind host:port and keep it: *ret_fd is a socket that never listens and reads nothing; nobody else gets
 * the port, `ss` shows it. port 0: any free one, from the kernel's range; *ret_port is which. `host`
 * 0.0.0.0 (::): all addresses. EXISTS names the address, the port and, where /proc can tell, who holds
 * it ("nginx, pid 812"); DENIED; INVALID: not an address of this host.
 */
int net_port_hold(const struct address *host, uint8_t protocol, uint16_t port, int *ret_fd, uint16_t *ret_port,
                  struct berth_error *err);

struct net_holder {
    int pid;       /**< 0: nobody found (another namespace's, or not ours to see) */
    char name[16]; /**< comm */
};
/** Who has host:port, or an address that collides with it, bound in this network namespace. Looks through
 *  /proc: milliseconds; only for an error's text. 1 found, 0 not, -errno. */
int net_port_holder(const struct address *host, uint8_t protocol, uint16_t port, struct net_holder *ret);

/**
 * Delete the kernel's memory of UDP flows to these ports, so that the next packet is looked up anew: at
 * start (a client that sent before) and at the end. `nl`: NETLINK_NETFILTER. Returns how many were
 * deleted, or a code. Ports of other protocols are skipped.
 */
int net_connections_forget(struct netlink *nl, const struct net_publish *ports, size_t n, struct berth_error *err);

#endif
