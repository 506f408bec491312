/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network's bridge: there and right, or made so.
 */
#include "linux/net_internal.h"

#include "base/base.h"

#include <linux/if_link.h>
#include <linux/ip.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static void put_kind(struct netlink_batch *b)
{
    size_t info = netlink_nest(b, IFLA_LINKINFO);
    netlink_put_text(b, IFLA_INFO_KIND, "bridge");
    size_t data = netlink_nest(b, IFLA_INFO_DATA);
    netlink_put_u32(b, IFLA_BR_FORWARD_DELAY, 0);
    netlink_put_u32(b, IFLA_BR_STP_STATE, 0);
    netlink_put_u8(b, IFLA_BR_MCAST_SNOOPING, 0);
    netlink_nest_end(b, data);
    netlink_nest_end(b, info);
}

static const struct address *first_gateway(const struct net_bridge *w)
{
    return w->gateway[0].family ? &w->gateway[0] : &w->gateway[1];
}

/* Settings before "up": else IPv6 has given it an address by then. The MTU before them: with a small one there is no
 * IPv6 to be set. */
static void put_settings(struct netlink_batch *b, const struct net_bridge *w)
{
    link_begin(b, RTM_SETLINK, 0, 0, w->name, false);
    netlink_put_u32(b, IFLA_MTU, w->mtu ? (uint32_t)w->mtu : 1500);
    link_begin(b, RTM_SETLINK, 0, 0, w->name, false);
    link_put_settings(b, IPV4_DEVCONF_ROUTE_LOCALNET, (uint32_t)w->mtu);
    link_begin(b, RTM_SETLINK, 0, 0, w->name, true);
}

static int make(struct netlink *nl, const struct net_bridge *w)
{
    autobatch struct netlink_batch b = {0};
    uint8_t mac[6];
    net_mac(first_gateway(w), mac); /* its own, not the lowest of its ports': those come and go */
    link_begin(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, w->name, false);
    netlink_put(&b, IFLA_ADDRESS, mac, sizeof(mac));
    put_kind(&b);
    int r = netlink_send(nl, &b, NULL);
    return r == -EEXIST ? 0 : r;
}

static int settle(struct netlink *nl, const struct net_bridge *w)
{
    autobatch struct netlink_batch b = {0};
    put_settings(&b, w);
    return netlink_send(nl, &b, NULL);
}

/* 1 when an address was missing. */
static int give_addresses(struct netlink *nl, const struct net_bridge *w, int index)
{
    int made = 0;
    uint8_t mac[6];
    net_mac(first_gateway(w), mac);
    const struct address local = net_link_local(mac), *all[] = {&w->gateway[0], &w->gateway[1], w->gateway[1].family ? &local : NULL};
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        autobatch struct netlink_batch b = {0};
        if (!all[i] || !all[i]->family)
            continue;
        address_begin(&b, index, all[i]);
        int r = netlink_send(nl, &b, NULL);
        if (r < 0 && r != -EEXIST)
            return r;
        made |= r == 0;
    }
    return made;
}

static bool is_right(const struct link_seen *seen, const struct net_bridge *w)
{
    return seen->found.up && seen->route_localnet && seen->found.mtu == (w->mtu ? w->mtu : 1500);
}

int net_bridge_ensure(struct netlink *nl, const struct net_bridge *w, bool *ret_made, struct berth_error *err)
{
    struct link_seen seen;
    bool made = false;
    int r = link_ask(nl, 0, w->name, &seen);
    if (r == -ENODEV) {
        made = true;
        r = make(nl, w);
        if (r == 0)
            r = link_ask(nl, 0, w->name, &seen);
    }
    if (r == 0 && strcmp(seen.type, "bridge") != 0)
        return fail(err, BERTH_EXISTS, w->name, "%s is there, but no bridge: something else took its name; remove it (ip link delete %s)",
                    w->name, w->name);
    if (r == 0 && !is_right(&seen, w)) {
        made = true;
        r = settle(nl, w);
    }
    if (r == 0)
        r = give_addresses(nl, w, seen.found.index);
    if (r < 0)
        return fail_os(err, r, w->name, "make the network's bridge %s", w->name);
    if (ret_made)
        *ret_made = made || r > 0;
    return seen.found.index;
}
