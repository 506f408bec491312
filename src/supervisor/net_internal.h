/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the network's two files share: what there is, and the steps of making it.
 */
#ifndef SUPERVISOR_NET_INTERNAL_H
#define SUPERVISOR_NET_INTERNAL_H

#include "supervisor/net.h"

#include "base/address.h"
#include "linux/net_filter.h"
#include "linux/net_link.h"
#include "model/allowed.h"
#include "store/store.h"

#define FIRST_INDEX 2 /* of eth0; 1 is lo */

/** One link that exists, or is about to. */
struct link {
    char network[BERTH_NAME_MAX + 8], bridge[NET_LINK_MAX], name[NET_LINK_MAX], inside[NET_LINK_MAX];
    struct address address[2], gateway[2];
    uint8_t mac[6];
    uint32_t mtu;
    bool internal, made;
    int index;
};
/** One port of the host, held. */
struct port {
    struct net_publish publish;
    int fd;
};
struct net {
    int run_fd, runs_fd, ns_fd;
    char tag[12];
    struct link *links;
    size_t n_links;
    struct port *ports;
    size_t n_ports;
    bool pooled; /* namespace and first link were made ahead, */
    uint32_t pooled_mtu; /* with this MTU */
    bool walled; /* what the plan lets out of it */
    struct allowed_rule *rules;
    size_t n_rules;
};

/** A share with room of its own: guests, ports, ways, and the bridges that they are on. */
struct share_room {
    char (*bridges)[NET_LINK_MAX], (*on)[NET_LINK_MAX];
    struct net_guest *guests;
    struct net_publish *ports;
    struct net_way *ways;
};
void share_room_free(struct share_room *r);
int share_make(const struct net *net, struct share_room *room, struct net_share *ret);

int net_read_port(const struct plan *plan, const struct plan_port *p, struct net_publish *ret, struct berth_error *err);
/** Take over a link of the plan, with names and the next free place inside. */
int net_plan_link(struct net *net, const struct plan_link *p, uint32_t mtu, struct berth_error *err);
/** Write down all that it has. */
int net_record_all(const struct net *net, struct berth_error *err);
/** Make the links from number `from` on, and configure them inside. */
int net_add_links(struct net *net, struct netlink *nl, struct netlink *inside, size_t from, bool routes,
                  struct berth_error *err);
/** Room for `n` sockets on ports beside everything else. */
void net_want_descriptors(size_t n);
/** Hold every single port of a range: one entry each. */
int net_hold(struct net *net, const struct net_publish *p, struct berth_error *err);
/** The default routes through link number `i`, which is configured already. */
int net_route_out(struct net *net, size_t i, struct netlink *inside);
int net_forward(const struct net *net, struct berth_error *err);
/** What the plan lets out of its namespace, where it says so; anew for each change of links. */
int net_put_wall(const struct net *net, struct berth_error *err);
/** Into the packet filter, which is made when it is not there. */
void net_turn(const struct net *net);
int net_add_rules(struct net *net, const struct net_share *share, struct berth_error *err);
void net_remove_rules(const struct net *net, const struct net_share *share);

#endif
