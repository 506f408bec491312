/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between the files of the network's kernel layer.
 */
#ifndef LINUX_NET_INTERNAL_H
#define LINUX_NET_INTERNAL_H

#include "linux/net_link.h"
#include <linux/rtnetlink.h>

/** Begin a message about a link: by index, or by name when index is 0. `up`: bring it up too. */
void link_begin(struct netlink_batch *b, uint16_t type, uint16_t flags, int index, const char *name, bool up);
/** No IPv6 address by itself, and one setting of IPv4 (IPV4_DEVCONF_*) to 1. A link with an `mtu` below IPv6's least
 *  (0: it has more) has no IPv6 that could be asked for anything. */
void link_put_settings(struct netlink_batch *b, unsigned v4_setting, uint32_t mtu);
void address_begin(struct netlink_batch *b, int index, const struct address *a);
/** Whether the kernel speaks IPv6 at all. */
bool kernel_has_ipv6(void);
size_t address_size(const struct address *a); /**< 4, 16 */

/** What is asked of a link. */
struct link_seen {
    struct net_found found;
    char type[16];       /**< "bridge", "veth", "" */
    uint8_t mac[6];
    bool route_localnet;
};
/** NOT_FOUND is -ENODEV. By index, or by name when index is 0. */
int link_ask(struct netlink *nl, int index, const char *name, struct link_seen *ret);
/** Fill from a RTM_NEWLINK message; false when it is malformed. */
bool link_read(const struct nlmsghdr *m, struct link_seen *ret);

#endif
