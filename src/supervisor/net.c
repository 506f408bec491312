/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links, rules and ports of one workload, in the order: written down, links, ports held, rules.
 *
 * Bridges come and go under a lock for all of the root (store/network.h): shared while a link is added,
 * alone while the packet filter is made or a bridge that nobody uses goes.
 */
#include "supervisor/net_internal.h"

#include "base/address.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/mounts.h"
#include "linux/net_filter.h"
#include "linux/net_link.h"
#include "linux/net_pool.h"
#include "linux/net_port.h"
#include "linux/net_record.h"
#include "linux/net_wall.h"
#include "model/names.h"
#include "store/names_ask.h"
#include "store/network.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define NAME_TRIES 16
#define FEW_SOCKETS 512
#define WAYS_FROM 3 /* addresses of a link: IPv4, IPv6, the one that comes with IPv6 */

/* ---- from the plan */

static void read_subnet(const char *text, struct address *ret)
{
    *ret = (struct address){0};
    if (text)
        (void)address_parse_subnet(text, ret);
}

static int read_link(const struct plan_link *p, struct link *l, struct berth_error *err)
{
    unsigned m[6];
    *l = (struct link){.mtu = p->mtu, .internal = p->internal};
    snprintf(l->network, sizeof(l->network), "%s", p->network);
    snprintf(l->bridge, sizeof(l->bridge), "%s", p->bridge ? p->bridge : "");
    read_subnet(p->address, &l->address[0]);
    read_subnet(p->address6, &l->address[1]);
    read_subnet(p->gateway, &l->gateway[0]);
    read_subnet(p->gateway6, &l->gateway[1]);
    if (!p->mac || !l->bridge[0] || !l->address[0].family || !l->gateway[0].family ||
        sscanf(p->mac, "%2x:%2x:%2x:%2x:%2x:%2x", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5]) != 6)
        return fail(err, BERTH_CORRUPT, p->network, "plan: link on network \"%s\" is not whole", p->network);
    for (int i = 0; i < 6; i++)
        l->mac[i] = (uint8_t)m[i];
    return 0;
}

int net_read_port(const struct plan *plan, const struct plan_port *p, struct net_publish *ret,
                     struct berth_error *err)
{
    struct address to = {0};
    *ret = (struct net_publish){.host_port = p->host, .container_port = p->container, .count = MAX(p->count, (uint16_t)1),
                                .protocol = strcmp(p->protocol, "udp") == 0 ? IPPROTO_UDP : IPPROTO_TCP};
    if (!p->host_address || address_parse(p->host_address, &ret->host) < 0 || !p->host || plan->n_links == 0)
        return fail(err, BERTH_CORRUPT, "ports", "plan: port %u is not whole", p->container);
    read_subnet(ret->host.family == AF_INET6 ? plan->links[0].address6 : plan->links[0].address, &to);
    ret->container = to;
    if (!to.family)
        return fail(err, BERTH_CORRUPT, "ports", "plan: port %u has no address to lead to", p->container);
    return 0;
}

/* ---- the record */

static bool has_bridge(char (*bridges)[NET_LINK_MAX], size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(bridges[i], name) == 0)
            return true;
    return false;
}

void share_room_free(struct share_room *r)
{
    free(r->bridges);
    free(r->on);
    free(r->guests);
    free(r->ports);
    free(r->ways);
}

static void add_way(struct net_share *s, struct net_way *ways, const struct address *guest, const struct address *to)
{
    bool known = guest->family != to->family;
    for (size_t i = 0; !known && i < s->n_ways; i++)
        known = address_equal(&ways[i].guest, guest) && address_equal(&ways[i].to, to);
    if (!known)
        ways[s->n_ways++] = (struct net_way){*guest, *to};
}

/* Whatever addresses the host has, and will have: of them only these, from each that the link has. */
static void add_ways(const struct net *net, const struct link *l, struct net_share *s, struct net_way *ways)
{
    struct address local = net_link_local(l->mac);
    const struct address *const own[WAYS_FROM] = {&l->address[0], &l->address[1], l->address[1].family ? &local : &l->address[1]};
    for (size_t i = 0; i < WAYS_FROM && own[i]->family; i++) {
        add_way(s, ways, own[i], own[i]);
        for (size_t g = 0; g < 2 && net->n_rules; g++)
            add_way(s, ways, own[i], &l->gateway[g]);
        for (size_t n = 0; n < net->n_rules; n++)
            if (net->rules[n].subnet.prefix == address_bits(&net->rules[n].subnet))
                add_way(s, ways, own[i], &net->rules[n].subnet);
    }
}

int share_make(const struct net *net, struct share_room *room, struct net_share *ret)
{
    room->bridges = calloc(net->n_links + 1, sizeof(*room->bridges));
    room->on = calloc(net->n_links + 1, sizeof(*room->on));
    room->guests = calloc(net->n_links + 1, sizeof(*room->guests));
    room->ports = calloc(net->n_ports + 1, sizeof(*room->ports));
    room->ways = calloc(net->n_links * WAYS_FROM * (net->n_rules + 3) + 1, sizeof(*room->ways));
    if (!room->bridges || !room->on || !room->guests || !room->ports || !room->ways)
        return -ENOMEM;
    *ret = (struct net_share){.bridges = room->bridges, .guests = room->guests, .n_guests = net->n_links,
                              .ports = room->ports, .n_ports = net->n_ports, .ways = room->ways};
    for (size_t i = 0; i < net->n_links; i++) {
        const struct link *l = &net->links[i];
        struct net_guest *g = &room->guests[i];
        memcpy(g->link, l->name, NET_LINK_MAX);
        memcpy(g->mac, l->mac, 6);
        memcpy(g->address, l->address, sizeof(g->address));
        memcpy(room->on[i], l->bridge, NET_LINK_MAX);
        if (net->walled)
            add_ways(net, l, ret, room->ways);
        if (!has_bridge(room->bridges, ret->n_bridges, l->bridge))
            memcpy(room->bridges[ret->n_bridges++], l->bridge, NET_LINK_MAX);
    }
    for (size_t i = 0; i < net->n_ports; i++)
        room->ports[i] = net->ports[i].publish;
    return 0;
}

int net_record_all(const struct net *net, struct berth_error *err)
{
    __attribute__((cleanup(share_room_free))) struct share_room room = {0};
    struct net_share share;
    int r = share_make(net, &room, &share);
    if (r == 0)
        r = net_record_write(net->run_fd, &share, room.on);
    return r < 0 ? fail_os(err, r, "net", "write down what it has of the network") : 0;
}

/* ---- links */

/* One that somebody removed is made again, and everybody put back on it. */
static int bridge_for(const struct net *net, struct netlink *nl, const struct link *l, struct berth_error *err)
{
    struct net_bridge b = {.gateway = {l->gateway[0], l->gateway[1]}, .mtu = (int)l->mtu};
    bool made = false;
    memcpy(b.name, l->bridge, NET_LINK_MAX);
    int r = net_bridge_ensure(nl, &b, &made, err);
    if (r >= 0 && made)
        net_records_attach(nl, net->runs_fd, l->bridge, r);
    return r < 0 ? fail_context(err, "network %s", l->network) : r;
}

static void describe(const struct net *net, const struct link *l, bool first, struct net_link *ret)
{
    *ret = (struct net_link){.ns_fd = net->ns_fd, .index = l->index, .mtu = (int)l->mtu,
                             .address = {l->address[0], l->address[1]}};
    memcpy(ret->name, l->name, NET_LINK_MAX);
    memcpy(ret->inside, l->inside, NET_LINK_MAX);
    memcpy(ret->mac, l->mac, 6);
    for (int i = 0; first && !l->internal && i < 2; i++)
        if (l->address[i].family)
            ret->gateway[i] = l->gateway[i];
}

/* A name is taken at random; that somebody has it is possible and harmless. */
static int add_link(struct net *net, struct netlink *nl, struct link *l, struct net_link *ret, bool way_out,
                    struct berth_error *err)
{
    int bridge = bridge_for(net, nl, l, err);
    if (bridge < 0)
        return bridge;
    for (int i = 0;; i++) {
        describe(net, l, way_out, ret);
        ret->bridge = bridge;
        int r = net->pooled && l == net->links ? net_link_attach(nl, l->name, bridge, err) : net_link_add(nl, ret, err);
        l->made |= r == 0;
        if (r != BERTH_EXISTS || i >= NAME_TRIES)
            return r < 0 ? fail_context(err, "network %s", l->network) : 0;
        net_link_name(net->tag, l->name);
        r = net_record_all(net, err);
        if (r < 0)
            return r;
    }
}

/** The way out is the first network that has one. */
static const struct link *way_out(const struct net *net)
{
    for (size_t i = 0; i < net->n_links; i++)
        if (!net->links[i].internal)
            return &net->links[i];
    return NULL;
}

int net_add_links(struct net *net, struct netlink *nl, struct netlink *inside, size_t from, bool routes,
                     struct berth_error *err)
{
    size_t n = net->n_links - from;
    autofree struct net_link *links = calloc(n + 1, sizeof(*links));
    int r = links ? 0 : fail_memory(err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        struct link *l = &net->links[from + i];
        r = add_link(net, nl, l, &links[i], routes && l == way_out(net), err);
        crash_point("net.link");
    }
    if (r == 0)
        r = net_links_configure(inside, links, n, err);
    crash_point("net.configured");
    return r;
}

int net_route_out(struct net *net, size_t i, struct netlink *inside)
{
    struct net_link l;
    describe(net, &net->links[i], true, &l);
    return net_links_configure(inside, &l, 1, NULL);
}

/* For info: what of the host's was changed, so that whoever minds finds it. */
static void note_turned_on(const struct net *net, const char *what)
{
    autoclose int fd = openat(net->runs_fd, "turned-on", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0)
        (void)!write(fd, what, strlen(what));
}

int net_forward(const struct net *net, struct berth_error *err)
{
    bool four = false, six = false, changed = false;
    for (size_t i = 0; i < net->n_links; i++) {
        four |= !net->links[i].internal;
        six |= !net->links[i].internal && net->links[i].address[1].family;
    }
    int r = four ? net_forwarding_enable(AF_INET, &changed, err) : 0;
    if (changed)
        note_turned_on(net, "net.ipv4.ip_forward\n");
    changed = false;
    if (r == 0 && six)
        r = net_forwarding_enable(AF_INET6, &changed, err);
    if (changed)
        note_turned_on(net, "net.ipv6.conf.all.forwarding\n");
    return r;
}

/* ---- ports */

/* Another workload's supervisor is named by its workload. */
static int name_holder(const struct net_publish *p, uint16_t port, struct berth_error *err)
{
    struct net_holder holder;
    char path[40], address[ADDRESS_TEXT_MAX];
    autofree char *line = NULL;
    size_t size;
    if (net_port_holder(&p->host, p->protocol, port, &holder) != 1 || strncmp(holder.name, "berth-superviso", 15) != 0)
        return BERTH_EXISTS;
    snprintf(path, sizeof(path), "/proc/%d/cmdline", holder.pid);
    if (file_read(AT_FDCWD, path, 4096, &line, &size) < 0)
        return BERTH_EXISTS;
    const char *name = memchr(line, 0, size);
    if (!name || (size_t)(name - line) + 1 >= size)
        return BERTH_EXISTS;
    return fail(err, BERTH_EXISTS, name + 1, "port %u/%s of %s is held by workload \"%.128s\"", port,
                p->protocol == IPPROTO_UDP ? "udp" : "tcp", address_print(&p->host, address), name + 1);
}

void net_want_descriptors(size_t n)
{
    struct rlimit limit;
    if (n < FEW_SOCKETS || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = MIN(limit.rlim_max, MAX(limit.rlim_cur, n + 1024));
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/** Hold every single port of a range: the entries are one port each from here on. */
int net_hold(struct net *net, const struct net_publish *p, struct berth_error *err)
{
    struct port *more = realloc(net->ports, (net->n_ports + p->count) * sizeof(*more));
    if (!more)
        return fail_memory(err);
    net->ports = more;
    for (uint16_t i = 0; i < p->count; i++) {
        struct port *one = &more[net->n_ports];
        *one = (struct port){*p, -1};
        one->publish.host_port = (uint16_t)(p->host_port + i);
        one->publish.container_port = (uint16_t)(p->container_port + i);
        one->publish.count = 1;
        int r = net_port_hold(&p->host, p->protocol, one->publish.host_port, &one->fd, &(uint16_t){0}, err);
        if (r == BERTH_EXISTS)
            r = name_holder(p, one->publish.host_port, err);
        if (r < 0)
            return r;
        net->n_ports++;
    }
    return 0;
}

static int hold_all(struct net *net, const struct plan *plan, struct berth_error *err)
{
    size_t total = 0;
    int r = 0;
    for (size_t i = 0; i < plan->n_ports; i++)
        total += MAX(plan->ports[i].count, 1);
    net_want_descriptors(total);
    for (size_t i = 0; r == 0 && i < plan->n_ports; i++) {
        struct net_publish p;
        r = net_read_port(plan, &plan->ports[i], &p, err);
        if (r == 0)
            r = net_hold(net, &p, err);
    }
    crash_point("net.held");
    return r;
}

/* ---- rules */

/** The filter was never made, or somebody flushed it: it is made, and everybody's share put in. */
static int make_filter(struct net *net, struct netlink *nl, struct berth_error *err)
{
    bool made = false;
    autoclose int lock = networks_lock(net->runs_fd, true);
    if (lock < 0)
        return fail_os(err, lock, "net", "lock the networks");
    int r = net_filter_ensure(nl, net->tag, &made, err);
    crash_point("net.filter");
    if (r == 0 && made)
        (void)net_records_restore(nl, net->runs_fd, net->tag, NULL);
    if (r == 0 && made)
        (void)names_ask(net->runs_fd, NAMES_AGAIN, 0, NULL, 0);
    return r;
}

/* Closing a socket of the packet filter waits until whatever anybody took out of it is really gone: a grace
 * period of the kernel. Nobody needs to wait for that. */
static void close_filter(struct netlink *nl)
{
    close_later(take_fd(&nl->fd));
}

int net_add_rules(struct net *net, const struct net_share *share, struct berth_error *err)
{
    __attribute__((cleanup(close_filter))) struct netlink nl = NETLINK_NONE;
    int r = netlink_open(&nl, NETLINK_NETFILTER);
    if (r < 0)
        return fail_os(err, r, "net", "prepare the packet filter");
    r = net_filter_add(&nl, net->tag, share, err);
    if (r == BERTH_NOT_FOUND) {
        r = make_filter(net, &nl, err);
        if (r == 0)
            r = net_filter_add(&nl, net->tag, share, err);
    }
    if (r == 0)
        (void)net_connections_forget(&nl, share->ports, share->n_ports, NULL);
    crash_point("net.rules");
    return r;
}

void net_remove_rules(const struct net *net, const struct net_share *share)
{
    __attribute__((cleanup(close_filter))) struct netlink nl = NETLINK_NONE;
    struct net_share mine = *share;
    mine.n_bridges = 0; /* others are on them */
    if (netlink_open(&nl, NETLINK_NETFILTER) < 0)
        return;
    (void)net_filter_remove(&nl, net->tag, &mine, NULL);
    (void)net_connections_forget(&nl, share->ports, share->n_ports, NULL);
}

/** Its own published ports lead back to it. Best effort: nothing else hangs on it. */
void net_turn(const struct net *net)
{
    autonetlink struct netlink nl = NETLINK_NONE;
    if (net->n_ports == 0 || netlink_open(&nl, NETLINK_ROUTE) < 0)
        return;
    for (size_t i = 0; i < net->n_links; i++)
        (void)net_link_turn(&nl, net->links[i].name, NULL);
}

static int add_all_rules(struct net *net, struct berth_error *err)
{
    __attribute__((cleanup(share_room_free))) struct share_room room = {0};
    struct net_share share;
    int r = share_make(net, &room, &share);
    if (r < 0)
        return fail_os(err, r, "net", "prepare the packet filter");
    net_turn(net);
    return net_add_rules(net, &share, err);
}

/* ---- the wall inside */

static int read_reach(struct net *net, const struct plan *plan, struct berth_error *err)
{
    net->walled = plan->walled;
    net->rules = calloc(strings_count(plan->reach) + 1, sizeof(*net->rules));
    int r = net->rules ? 0 : fail_memory(err);
    for (char *const *text = plan->reach; r == 0 && text && *text; text++)
        if ((r = allowed_parse(*text, &net->rules[net->n_rules], err)) == 0)
            net->n_rules++;
    return r;
}

/* Whether it stands: 1; 0 and -errno as they are. */
static int see_to_wall(const struct net *net, bool look, bool make)
{
    __attribute__((cleanup(close_filter))) struct netlink nl = NETLINK_NONE;
    autofree struct address *gateways = calloc(2 * net->n_links + 1, sizeof(*gateways));
    struct net_wall wall = {.rules = net->rules, .n_rules = net->n_rules, .gateways = gateways};
    if (!net->walled || net->n_links == 0)
        return 1;
    for (size_t i = 0; gateways && i < 2 * net->n_links; i++)
        if (net->links[i / 2].gateway[i % 2].family)
            gateways[wall.n_gateways++] = net->links[i / 2].gateway[i % 2];
    int r = gateways ? netlink_open_in(&nl, NETLINK_NETFILTER, net->ns_fd) : -ENOMEM;
    if (r == 0 && look)
        r = net_wall_stands(&nl, &wall);
    if (r != 0 || !make)
        return r;
    r = net_wall_make(&nl, &wall);
    return r < 0 ? r : 1;
}

int net_put_wall(const struct net *net, struct berth_error *err)
{
    int r = see_to_wall(net, false, true);
    return r < 0 ? fail_os(err, r, "net", "put the packet filter around the guest") : 0;
}

int net_look_at_wall(const struct net *net, bool mend, bool *ret_whole, struct berth_error *err)
{
    int r = see_to_wall(net, true, mend);
    *ret_whole = r > 0;
    return r < 0 ? fail_os(err, r, "net", "look at the packet filter around the guest") : 0;
}

/* ---- the whole */

static struct net *net_new(const struct plan *plan, int run_fd, int ns_fd)
{
    struct net *net = calloc(1, sizeof(*net));
    if (!net) {
        cleanup_close(&ns_fd);
        return NULL;
    }
    *net = (struct net){.run_fd = run_fd, .runs_fd = -1, .ns_fd = ns_fd};
    snprintf(net->tag, sizeof(net->tag), "%.8s", plan->tag ? plan->tag : "");
    net->runs_fd = openat(run_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (net->runs_fd < 0) {
        net_end(net);
        return NULL;
    }
    return net;
}

static int next_index(const struct net *net)
{
    for (int index = FIRST_INDEX;; index++) {
        bool used = false;
        for (size_t i = 0; i < net->n_links; i++)
            used |= net->links[i].index == index;
        if (!used)
            return index;
    }
}

/** Take over a link of the plan, with names and the next free place inside. */
int net_plan_link(struct net *net, const struct plan_link *p, uint32_t mtu, struct berth_error *err)
{
    struct link l;
    if (net->n_links >= PLAN_LINKS_MAX)
        return fail(err, BERTH_TOO_BIG, "networks", "it is on %d networks already", PLAN_LINKS_MAX);
    int r = read_link(p, &l, err);
    if (r < 0)
        return r;
    l.mtu = l.mtu ? l.mtu : mtu;
    l.index = next_index(net);
    snprintf(l.inside, sizeof(l.inside), "eth%d", l.index - FIRST_INDEX);
    net_link_name(net->tag, l.name);
    struct link *more = realloc(net->links, (net->n_links + 1) * sizeof(*more));
    if (!more)
        return fail_memory(err);
    net->links = more;
    net->links[net->n_links++] = l;
    return 0;
}

/* Namespace and first link, when somebody keeps such ready and it fits. */
static void take_from_pool(struct net *net)
{
    struct net_pooled p;
    struct link *first = net->links;
    if (net->ns_fd >= 0 || net->n_links == 0 || first->index != NET_POOL_INDEX || strcmp(first->inside, NET_POOL_INSIDE) != 0 ||
        net_pool_take(net->runs_fd, &p, &net->ns_fd) < 0)
        return;
    memcpy(first->name, p.link, sizeof(first->name));
    net->pooled = true;
    net->pooled_mtu = p.mtu;
}

static int open_namespace(struct net *net, struct netlink *inside, struct berth_error *err)
{
    if (net->ns_fd < 0)
        return net_namespace_make(&net->ns_fd, inside, err);
    int r = netlink_open_in(inside, NETLINK_ROUTE, net->ns_fd);
    return r < 0 ? fail_os(err, r, "net", "enter the workload's network namespace") : 0;
}

/* What is made ahead has the MTU of the default route. */
static int fit_pooled(const struct net *net, struct netlink *nl, struct netlink *inside, struct berth_error *err)
{
    const struct link *l = net->links;
    if (!net->pooled || net->pooled_mtu == l->mtu)
        return 0;
    int r = net_link_resize(nl, l->name, l->mtu, err);
    return r < 0 ? r : net_link_resize(inside, l->inside, l->mtu, err);
}

/* What was made ahead is of no use, somebody took its link away: as without a pool. */
static int make_cold(struct net *net, struct netlink *nl, struct netlink *inside, struct berth_error *err)
{
    close_fd(&net->ns_fd);
    net->pooled = false;
    for (size_t i = 0; i < net->n_links; i++) {
        (void)net_link_remove(nl, net->links[i].name, NULL);
        net_link_name(net->tag, net->links[i].name);
        net->links[i].made = false;
    }
    int r = net_record_all(net, err);
    if (r == 0)
        r = open_namespace(net, inside, err);
    return r < 0 ? r : net_add_links(net, nl, inside, 0, true, err);
}

static int make(struct net *net, const struct plan *plan, struct berth_error *err)
{
    autonetlink struct netlink nl = NETLINK_NONE, inside = NETLINK_NONE;
    autoclose int lock = networks_lock(net->runs_fd, false);
    int r = lock < 0 ? lock : netlink_open(&nl, NETLINK_ROUTE);
    if (r < 0)
        return fail_os(err, r, "net", "prepare the network");
    uint32_t mtu = (uint32_t)net_default_mtu(&nl);
    for (size_t i = 0; r == 0 && i < plan->n_links; i++)
        r = net_plan_link(net, &plan->links[i], mtu, err);
    if (r == 0)
        r = hold_all(net, plan, err);
    if (r == 0)
        take_from_pool(net);
    if (r == 0)
        r = net_record_all(net, err);
    crash_point("net.recorded");
    if (r == 0)
        r = open_namespace(net, &inside, err);
    if (r == 0)
        r = fit_pooled(net, &nl, &inside, err);
    if (r == 0)
        r = net_add_links(net, &nl, &inside, 0, true, err);
    if (r < 0 && net->pooled) {
        netlink_close(&inside);
        r = make_cold(net, &nl, &inside, err);
    }
    if (r == 0)
        r = net_put_wall(net, err);
    return r == 0 ? net_forward(net, err) : r;
}

int net_begin(const struct plan *plan, int run_fd, int ns_fd, struct net **ret, struct berth_error *err)
{
    struct net *net = net_new(plan, run_fd, ns_fd);
    if (!net)
        return fail_os(err, errno ? errno : ENOMEM, "net", "prepare the network");
    (void)net_record_undo(run_fd, net->tag, NULL); /* of a supervisor that was killed */
    int r = read_reach(net, plan, err);
    if (r == 0)
        r = make(net, plan, err);
    if (r == 0)
        r = add_all_rules(net, err);
    if (r < 0) {
        net_end(net);
        return r;
    }
    *ret = net;
    return 0;
}

int net_namespace_fd(const struct net *net)
{
    return net->ns_fd;
}

static struct link *gone; /* links of a network that ended and that its namespace would not take along soon */
static size_t n_gone;

/* After the answers: the kernel takes a while for each. */
void net_last(void)
{
    autonetlink struct netlink nl = NETLINK_NONE;
    if (n_gone == 0 || netlink_open(&nl, NETLINK_ROUTE) < 0)
        return;
    for (size_t i = 0; i < n_gone; i++)
        if (net_link_index(&nl, gone[i].name) > 0)
            (void)net_link_remove(&nl, gone[i].name, NULL);
}

void net_end(struct net *net)
{
    __attribute__((cleanup(share_room_free))) struct share_room room = {0};
    struct net_share share;
    if (!net)
        return;
    if (net->ns_fd >= 0 && share_make(net, &room, &share) == 0)
        net_remove_rules(net, &share);
    crash_point("net.taken");
    for (size_t i = 0; i < net->n_ports; i++)
        close_fd(&net->ports[i].fd);
    free(gone);
    gone = net->links;
    /* A connection that a dead program left half closed keeps its namespace, and so the link, for minutes. */
    n_gone = net->ns_fd >= 0 && net_namespace_lingers(net->ns_fd) ? net->n_links : 0;
    close_fd(&net->ns_fd);
    if (net->run_fd >= 0)
        unlinkat(net->run_fd, "net", 0);
    close_fd(&net->runs_fd);
    free(net->ports);
    free(net->rules);
    free(net);
}
