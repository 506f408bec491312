/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks and ports that come and go while it runs.
 *
 * What is wanted is compared with what there is. New things first, so that a failure leaves the old
 * ones as they were; the record names both until it is done. What stays is not touched: connections
 * over it go on.
 */
#include "supervisor/net_internal.h"

#include "base/base.h"
#include "base/crash.h"
#include "store/network.h"

#include <stdlib.h>
#include <string.h>

/** The change: `all` is everything, old and new, of which the first `n_old` were there. */
struct change {
    struct net all;
    size_t n_old_links, n_old_ports;
    bool *keep_link, *keep_port; /* of the old */
};

static bool same_link(const struct link *l, const struct plan_link *p)
{
    struct address a = {0}, a6 = {0};
    (void)address_parse_subnet(p->address ? p->address : "", &a);
    (void)address_parse_subnet(p->address6 ? p->address6 : "", &a6);
    return strcmp(l->network, p->network) == 0 && address_equal(&l->address[0], &a) &&
           address_equal(&l->address[1], &a6);
}

static bool same_port(const struct net_publish *a, const struct net_publish *b)
{
    return a->protocol == b->protocol && a->host_port == b->host_port && a->container_port == b->container_port &&
           address_equal(&a->host, &b->host) && address_equal(&a->container, &b->container);
}

/* The same port of the host, wherever it leads: its socket serves both. */
static bool same_place(const struct net_publish *a, const struct net_publish *b)
{
    return a->protocol == b->protocol && a->host_port == b->host_port && address_equal(&a->host, &b->host);
}

/* ---- what is wanted */

static int want_link(struct change *c, const struct plan_link *p, uint32_t mtu, struct berth_error *err)
{
    for (size_t i = 0; i < c->n_old_links; i++)
        if (!c->keep_link[i] && same_link(&c->all.links[i], p)) {
            c->keep_link[i] = true;
            return 0;
        }
    return net_plan_link(&c->all, p, mtu, err);
}

static int want_new_port(struct change *c, const struct net_publish *one, struct berth_error *err)
{
    for (size_t i = 0; i < c->n_old_ports; i++)
        if (same_place(&c->all.ports[i].publish, one)) { /* it only leads elsewhere */
            struct port *more = realloc(c->all.ports, (c->all.n_ports + 1) * sizeof(*more));
            if (!more)
                return fail_memory(err);
            c->all.ports = more;
            more[c->all.n_ports++] = (struct port){*one, -1};
            return 0;
        }
    return net_hold(&c->all, one, err);
}

static int want_port(struct change *c, const struct net_publish *p, struct berth_error *err)
{
    for (uint16_t n = 0; n < p->count; n++) {
        struct net_publish one = *p;
        bool kept = false;
        one.host_port = (uint16_t)(p->host_port + n);
        one.container_port = (uint16_t)(p->container_port + n);
        one.count = 1;
        for (size_t i = 0; !kept && i < c->n_old_ports; i++)
            if ((kept = same_port(&c->all.ports[i].publish, &one)))
                c->keep_port[i] = true;
        int r = kept ? 0 : want_new_port(c, &one, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int want_all(struct change *c, const struct plan *plan, uint32_t mtu, struct berth_error *err)
{
    size_t total = c->n_old_ports; /* those that go are held until the new ones are */
    int r = 0;
    for (size_t i = 0; i < plan->n_ports; i++)
        total += MAX(plan->ports[i].count, 1);
    net_want_descriptors(total);
    for (size_t i = 0; r == 0 && i < plan->n_links; i++)
        r = want_link(c, &plan->links[i], mtu, err);
    for (size_t i = 0; r == 0 && i < plan->n_ports; i++) {
        struct net_publish p;
        r = net_read_port(plan, &plan->ports[i], &p, err);
        if (r == 0)
            r = want_port(c, &p, err);
    }
    return r;
}

/* ---- shares of old and new */

/** A part of a net as a net of its own: borrowed. */
static struct net part(const struct change *c, bool fresh)
{
    struct net n = c->all;
    n.links = c->all.links + (fresh ? c->n_old_links : 0);
    n.n_links = fresh ? c->all.n_links - c->n_old_links : c->n_old_links;
    n.ports = c->all.ports + (fresh ? c->n_old_ports : 0);
    n.n_ports = fresh ? c->all.n_ports - c->n_old_ports : c->n_old_ports;
    return n;
}

/** What goes: the old that is not kept, made to stand first. */
static int leaving(const struct change *c, struct net *ret)
{
    *ret = c->all;
    ret->n_links = ret->n_ports = 0;
    ret->links = calloc(c->n_old_links + 1, sizeof(*ret->links));
    ret->ports = calloc(c->n_old_ports + 1, sizeof(*ret->ports));
    if (!ret->links || !ret->ports)
        return -ENOMEM;
    for (size_t i = 0; i < c->n_old_links; i++)
        if (!c->keep_link[i])
            ret->links[ret->n_links++] = c->all.links[i];
    for (size_t i = 0; i < c->n_old_ports; i++)
        if (!c->keep_port[i])
            ret->ports[ret->n_ports++] = c->all.ports[i];
    return 0;
}

static int rules(struct net *n, bool add, struct berth_error *err)
{
    __attribute__((cleanup(share_room_free))) struct share_room room = {0};
    struct net_share share;
    int r = share_make(n, &room, &share);
    if (r < 0)
        return fail_os(err, r, "net", "prepare the packet filter");
    if (add)
        return net_add_rules(n, &share, err);
    net_remove_rules(n, &share);
    return 0;
}

static void remove_links(const struct net *n, struct netlink *nl)
{
    for (size_t i = 0; i < n->n_links; i++)
        if (n->links[i].made)
            (void)net_link_remove(nl, n->links[i].name, NULL);
}

/* ---- the change */

static bool way_out_leaves(const struct change *c)
{
    for (size_t i = 0; i < c->n_old_links; i++)
        if (!c->all.links[i].internal)
            return !c->keep_link[i];
    return true;
}

/** Rules of what goes before those of what comes: a port may lead elsewhere now. */
static int swap_rules(struct change *c, struct net *old, struct berth_error *err)
{
    struct net fresh = part(c, true);
    int r = rules(old, false, err);
    if (r == 0)
        r = rules(&fresh, true, err);
    if (r < 0)
        (void)rules(old, true, NULL);
    return r;
}

/** The default route again, when the link that had it has gone and one that stays is next. */
static void move_way_out(struct change *c, struct netlink *inside)
{
    for (size_t i = 0; i < c->all.n_links; i++)
        if (!c->all.links[i].internal && (i >= c->n_old_links || c->keep_link[i])) {
            (void)net_route_out(&c->all, i, inside);
            return;
        }
}

static int add_new_links(struct change *c, struct netlink *nl, struct netlink *inside, struct berth_error *err)
{
    autoclose int lock = networks_lock(c->all.runs_fd, false);
    if (lock < 0)
        return fail_os(err, lock, "net", "lock the networks");
    return net_add_links(&c->all, nl, inside, c->n_old_links, false, err);
}

static int carry_out(struct change *c, const struct plan *plan, struct net *old, struct berth_error *err)
{
    autonetlink struct netlink nl = NETLINK_NONE, inside = NETLINK_NONE;
    bool moves = way_out_leaves(c);
    int r = netlink_open(&nl, NETLINK_ROUTE);
    if (r == 0)
        r = netlink_open_in(&inside, NETLINK_ROUTE, c->all.ns_fd);
    if (r < 0)
        return fail_os(err, r, "net", "prepare the network");
    r = net_record_all(&c->all, err);
    crash_point("net.change");
    if (r == 0)
        r = net_put_wall(&c->all, err);
    if (r == 0)
        r = add_new_links(c, &nl, &inside, err);
    if (r == 0)
        r = net_forward(&c->all, err);
    if (r == 0)
        r = swap_rules(c, old, err);
    if (r < 0) {
        struct net fresh = part(c, true);
        remove_links(&fresh, &nl);
        return r;
    }
    remove_links(old, &nl);
    if (moves)
        move_way_out(c, &inside);
    return 0;
}

/** Only what stays remains in `net`; sockets of what went are closed. */
static void settle(struct net *net, struct change *c, bool done)
{
    size_t links = 0, ports = 0;
    for (size_t i = 0; i < c->all.n_links; i++) {
        bool old = i < c->n_old_links;
        if (done ? !old || c->keep_link[i] : old)
            c->all.links[links++] = c->all.links[i];
    }
    for (size_t i = c->n_old_ports; done && i < c->all.n_ports; i++)
        for (size_t o = 0; c->all.ports[i].fd < 0 && o < c->n_old_ports; o++)
            if (!c->keep_port[o] && same_place(&c->all.ports[o].publish, &c->all.ports[i].publish))
                c->all.ports[i].fd = take_fd(&c->all.ports[o].fd);
    for (size_t i = 0; i < c->all.n_ports; i++) {
        bool old = i < c->n_old_ports;
        if (done ? !old || c->keep_port[i] : old)
            c->all.ports[ports++] = c->all.ports[i];
        else
            close_fd(&c->all.ports[i].fd);
    }
    net->links = c->all.links;
    net->ports = c->all.ports;
    net->n_links = links;
    net->n_ports = ports;
    (void)net_record_all(net, NULL);
    net_turn(net);
}

static uint32_t default_mtu(void)
{
    autonetlink struct netlink nl = NETLINK_NONE;
    return netlink_open(&nl, NETLINK_ROUTE) < 0 ? 0 : (uint32_t)net_default_mtu(&nl);
}

int net_change(struct net *net, const struct plan *plan, struct berth_error *err)
{
    struct change c = {.all = *net, .n_old_links = net->n_links, .n_old_ports = net->n_ports};
    struct net old = {0};
    c.keep_link = calloc(net->n_links + 1, sizeof(*c.keep_link));
    c.keep_port = calloc(net->n_ports + 1, sizeof(*c.keep_port));
    int r = c.keep_link && c.keep_port ? 0 : fail_memory(err);
    if (r == 0)
        r = want_all(&c, plan, default_mtu(), err);
    if (r == 0 && leaving(&c, &old) < 0)
        r = fail_memory(err);
    if (r == 0)
        r = carry_out(&c, plan, &old, err);
    settle(net, &c, r == 0);
    free(old.links);
    free(old.ports);
    free(c.keep_link);
    free(c.keep_port);
    return r;
}
