/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links: names, a workload's pair, what is set inside, and looking at them.
 */
#include "linux/net_internal.h"

#include "base/base.h"
#include "base/file.h"

#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/veth.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

/* ---- names ---- */

void net_bridge_name(const char *hash, bool internal, unsigned number, char ret[NET_LINK_MAX])
{
    (void)snprintf(ret, NET_LINK_MAX, "b%c%.8s-%u", internal ? 'i' : 'b', hash, MIN(number, NET_NUMBER_MAX));
}

void net_link_name(const char *hash, char ret[NET_LINK_MAX])
{
    static const char letters[] = "0123456789abcdefghijklmnopqrstuv";
    uint8_t random[5];
    char tail[sizeof(random) + 1] = {0};
    if (getrandom(random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
        memset(random, 0, sizeof(random)); /* very early at boot: the first name is as good */
    for (size_t i = 0; i < sizeof(random); i++)
        tail[i] = letters[random[i] % 32];
    (void)snprintf(ret, NET_LINK_MAX, "bv%.8s%s", hash, tail);
}

char net_link_kind(const char *hash, const char *name)
{
    if (name[0] != 'b' || !name[1] || !strchr("biv", name[1]) || strncmp(name + 2, hash, 8) != 0)
        return 0;
    return name[1] == 'v' || name[10] == '-' ? name[1] : 0;
}

void net_mac(const struct address *a, uint8_t ret[6])
{
    ret[0] = 0x02; /* locally administered, one station */
    ret[1] = 0xbe;
    memcpy(ret + 2, a->bytes + (a->family == AF_INET6 ? 12 : 0), 4);
}

struct address net_link_local(const uint8_t mac[6])
{
    struct address a = {.family = AF_INET6, .prefix = 64, .bytes = {0xfe, 0x80}};
    const uint8_t tail[8] = {mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
    memcpy(a.bytes + 8, tail, sizeof(tail));
    return a;
}

/* ---- messages ---- */

bool kernel_has_ipv6(void)
{
    return access("/proc/sys/net/ipv6", F_OK) == 0;
}

size_t address_size(const struct address *a)
{
    return address_bits(a) / 8;
}

void link_begin(struct netlink_batch *b, uint16_t type, uint16_t flags, int index, const char *name, bool up)
{
    struct ifinfomsg *m = netlink_begin(b, type, flags, sizeof(*m));
    if (m) {
        m->ifi_index = index;
        m->ifi_flags = m->ifi_change = up ? IFF_UP : 0;
    }
    if (name && *name)
        netlink_put_text(b, IFLA_IFNAME, name);
}

void link_put_settings(struct netlink_batch *b, unsigned v4_setting, uint32_t mtu)
{
    size_t all = netlink_nest(b, IFLA_AF_SPEC);
    if (v4_setting) {
        size_t v4 = netlink_nest(b, AF_INET), settings = netlink_nest(b, IFLA_INET_CONF);
        netlink_put_u32(b, (uint16_t)v4_setting, 1);
        netlink_nest_end(b, settings);
        netlink_nest_end(b, v4);
    }
    if (kernel_has_ipv6() && (!mtu || mtu >= NET_IPV6_MTU)) {
        size_t v6 = netlink_nest(b, AF_INET6);
        netlink_put_u8(b, IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
        netlink_nest_end(b, v6);
    }
    netlink_nest_end(b, all);
}

/* The kernel would look for another with the same address, for seconds in which nothing works: ours are
 * given out once. The link-local one is given by hand for the same reason. */
void address_begin(struct netlink_batch *b, int index, const struct address *a)
{
    struct ifaddrmsg *m = netlink_begin(b, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, sizeof(*m));
    if (m)
        *m = (struct ifaddrmsg){.ifa_family = a->family, .ifa_prefixlen = a->prefix, .ifa_index = (unsigned)index,
                                .ifa_flags = a->family == AF_INET6 ? IFA_F_NODAD : 0};
    netlink_put(b, IFA_LOCAL, a->bytes, address_size(a));
    netlink_put(b, IFA_ADDRESS, a->bytes, address_size(a));
    if (a->family == AF_INET && a->prefix < 31) {
        struct address last = address_last(a);
        netlink_put(b, IFA_BROADCAST, last.bytes, 4);
    }
}

/* ---- the pair ---- */

static void put_peer(struct netlink_batch *b, const struct net_link *l)
{
    size_t info = netlink_nest(b, IFLA_LINKINFO);
    netlink_put_text(b, IFLA_INFO_KIND, "veth");
    size_t data = netlink_nest(b, IFLA_INFO_DATA), peer = netlink_nest(b, VETH_INFO_PEER);
    struct ifinfomsg *m = netlink_put_raw(b, sizeof(*m));
    if (m)
        m->ifi_index = l->index;
    netlink_put_text(b, IFLA_IFNAME, l->inside);
    netlink_put(b, IFLA_ADDRESS, l->mac, sizeof(l->mac));
    netlink_put_u32(b, IFLA_MTU, l->mtu ? (uint32_t)l->mtu : 1500);
    netlink_put_u32(b, IFLA_NET_NS_FD, (uint32_t)l->ns_fd);
    netlink_nest_end(b, peer);
    netlink_nest_end(b, data);
    netlink_nest_end(b, info);
}

/* EXFULL, ENFILE: a bridge's 1,024th port. Of a master that is gone the kernel only says EINVAL. */
static int add_failed(struct netlink *nl, const struct net_link *l, int r, struct berth_error *err)
{
    struct link_seen seen;
    if (r == -EXFULL || r == -ENFILE)
        return fail(err, BERTH_NO_SPACE, l->name, "the network's bridge is full: it has 1,023 ports, one for each workload on it");
    if (r == -EINVAL && l->bridge && link_ask(nl, l->bridge, NULL, &seen) == -ENODEV)
        return fail(err, BERTH_NOT_FOUND, l->name, "the network's bridge is not there: something removed it; start makes it again");
    if (r == -ENODEV)
        return fail(err, BERTH_NOT_FOUND, l->name, "there is no link %s", l->name);
    return fail_os(err, r, l->name, "make the link %s", l->name);
}

/* With br_netfilter a published port that leads back to who asked is turned round on the bridge itself,
 * and only a port in this mode takes its own packets back. */
static bool needs_hairpin(void)
{
    autofree char *text = NULL;
    return file_read(AT_FDCWD, "/proc/sys/net/bridge/bridge-nf-call-iptables", 8, &text, NULL) == 0 && text[0] == '1';
}

int net_link_turn(struct netlink *nl, const char *name, struct berth_error *err)
{
    autobatch struct netlink_batch b = {0};
    if (!needs_hairpin())
        return 0;
    link_begin(&b, RTM_NEWLINK, 0, 0, name, false);
    size_t info = netlink_nest(&b, IFLA_LINKINFO);
    netlink_put_text(&b, IFLA_INFO_SLAVE_KIND, "bridge");
    size_t data = netlink_nest(&b, IFLA_INFO_SLAVE_DATA);
    netlink_put_u8(&b, IFLA_BRPORT_MODE, 1);
    netlink_nest_end(&b, data);
    netlink_nest_end(&b, info);
    int r = netlink_send(nl, &b, NULL);
    return r < 0 ? fail_os(err, r, name, "let the link %s take its own packets back", name) : 0;
}

int net_link_add(struct netlink *nl, const struct net_link *l, struct berth_error *err)
{
    autobatch struct netlink_batch b = {0};
    link_begin(&b, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, l->name, true);
    netlink_put_u32(&b, IFLA_MTU, l->mtu ? (uint32_t)l->mtu : 1500);
    if (l->bridge)
        netlink_put_u32(&b, IFLA_MASTER, (uint32_t)l->bridge);
    put_peer(&b, l);
    int r = netlink_send(nl, &b, NULL);
    return r < 0 ? add_failed(nl, l, r, err) : 0;
}

int net_link_attach(struct netlink *nl, const char *name, int bridge, struct berth_error *err)
{
    autobatch struct netlink_batch b = {0};
    struct net_link l = {.bridge = bridge};
    (void)snprintf(l.name, sizeof(l.name), "%s", name);
    link_begin(&b, RTM_SETLINK, 0, 0, name, true);
    netlink_put_u32(&b, IFLA_MASTER, (uint32_t)bridge);
    int r = netlink_send(nl, &b, NULL);
    return r < 0 ? add_failed(nl, &l, r, err) : 0;
}

int net_link_resize(struct netlink *nl, const char *name, uint32_t mtu, struct berth_error *err)
{
    autobatch struct netlink_batch b = {0};
    link_begin(&b, RTM_SETLINK, 0, 0, name, false);
    netlink_put_u32(&b, IFLA_MTU, mtu);
    int r = netlink_send(nl, &b, NULL);
    return r < 0 ? fail_os(err, r, name, "give the link %s an MTU of %u", name, mtu) : 0;
}

int net_links_remove(struct netlink *nl, char (*names)[NET_LINK_MAX], size_t n, struct berth_error *err)
{
    /* One send a link: of several in one, the first that is absent would hide another's failure. */
    for (size_t i = 0; i < n; i++) {
        autobatch struct netlink_batch b = {0};
        link_begin(&b, RTM_DELLINK, 0, 0, names[i], false);
        int r = netlink_send(nl, &b, NULL);
        if (r < 0 && r != -ENODEV)
            return fail_os(err, r, names[i], "remove the link %s", names[i]);
    }
    return 0;
}

int net_link_remove(struct netlink *nl, const char *name, struct berth_error *err)
{
    char names[1][NET_LINK_MAX];
    (void)snprintf(names[0], sizeof(names[0]), "%s", name);
    return net_links_remove(nl, names, 1, err);
}

/* ---- inside ---- */

static void put_route(struct netlink_batch *b, int index, const struct address *gateway, uint32_t metric)
{
    struct rtmsg *m = netlink_begin(b, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, sizeof(*m));
    if (m)
        *m = (struct rtmsg){.rtm_family = gateway->family, .rtm_table = RT_TABLE_MAIN, .rtm_protocol = RTPROT_STATIC,
                            .rtm_scope = RT_SCOPE_UNIVERSE, .rtm_type = RTN_UNICAST};
    netlink_put(b, RTA_GATEWAY, gateway->bytes, address_size(gateway));
    netlink_put_u32(b, RTA_OIF, (uint32_t)index);
    if (metric)
        netlink_put_u32(b, RTA_PRIORITY, metric);
}

/* The address before "up": then arp_notify tells it to whoever remembers another MAC for it. */
static void put_inside(struct netlink_batch *b, const struct net_link *l)
{
    link_begin(b, RTM_SETLINK, 0, l->index, NULL, false);
    netlink_put(b, IFLA_ADDRESS, l->mac, sizeof(l->mac));
    link_put_settings(b, IPV4_DEVCONF_ARP_NOTIFY, (uint32_t)l->mtu);
    for (size_t i = 0; i < ARRAY_SIZE(l->address); i++)
        if (l->address[i].family)
            address_begin(b, l->index, &l->address[i]);
    if (l->address[1].family) {
        struct address local = net_link_local(l->mac);
        address_begin(b, l->index, &local);
    }
    link_begin(b, RTM_SETLINK, 0, l->index, NULL, true);
    for (size_t i = 0; i < ARRAY_SIZE(l->gateway); i++)
        if (l->gateway[i].family)
            put_route(b, l->index, &l->gateway[i], l->metric);
}

int net_links_configure(struct netlink *inside, const struct net_link *links, size_t n, struct berth_error *err)
{
    autobatch struct netlink_batch b = {0};
    link_begin(&b, RTM_SETLINK, 0, 1 /* lo, in every namespace */, NULL, true);
    for (size_t i = 0; i < n; i++)
        put_inside(&b, &links[i]);
    int r = netlink_send(inside, &b, NULL);
    if (r < 0)
        return fail_os(err, r, n ? links[0].inside : "lo", "set up the workload's network");
    return 0;
}

int net_namespace_make(int *ret_ns_fd, struct netlink *ret_inside, struct berth_error *err)
{
    int r = 0;
    autoclose int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (here < 0 || unshare(CLONE_NEWNET) < 0)
        return fail_os(err, errno, "net", "make a network namespace");
    autoclose int there = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (there < 0)
        r = -errno;
    if (r == 0)
        r = netlink_open(ret_inside, NETLINK_ROUTE);
    if (setns(here, CLONE_NEWNET) < 0) {
        if (r == 0)
            netlink_close(ret_inside);
        r = -errno;
    }
    if (r < 0)
        return fail_os(err, r, "net", "make a network namespace");
    *ret_ns_fd = take_fd(&there);
    return 0;
}

/* ---- looking ---- */

static void read_kind(const struct nlattr *info, struct link_seen *ret)
{
    const struct nlattr *of[IFLA_INFO_KIND + 1];
    if (!info)
        return;
    netlink_table(netlink_first_in(info), netlink_end_in(info), of, ARRAY_SIZE(of));
    if (of[IFLA_INFO_KIND])
        (void)snprintf(ret->type, sizeof(ret->type), "%.*s", (int)netlink_size(of[IFLA_INFO_KIND]),
                       (const char *)netlink_data(of[IFLA_INFO_KIND]));
}

/* IFLA_INET_CONF is an array of 32 bits each, the first is IPV4_DEVCONF_FORWARDING (1). */
static void read_settings(const struct nlattr *all, struct link_seen *ret)
{
    const struct nlattr *family[AF_INET + 1], *of[IFLA_INET_CONF + 1];
    if (!all)
        return;
    netlink_table(netlink_first_in(all), netlink_end_in(all), family, ARRAY_SIZE(family));
    if (!family[AF_INET])
        return;
    netlink_table(netlink_first_in(family[AF_INET]), netlink_end_in(family[AF_INET]), of, ARRAY_SIZE(of));
    const size_t at = (IPV4_DEVCONF_ROUTE_LOCALNET - 1) * sizeof(uint32_t);
    uint32_t value = 0;
    if (netlink_size(of[IFLA_INET_CONF]) >= at + sizeof(value))
        memcpy(&value, (const char *)netlink_data(of[IFLA_INET_CONF]) + at, sizeof(value));
    ret->route_localnet = value != 0;
}

bool link_read(const struct nlmsghdr *m, struct link_seen *ret)
{
    const struct ifinfomsg *body = NLMSG_DATA(m);
    const struct nlattr *of[IFLA_AF_SPEC + 1];
    struct rtnl_link_stats64 stats;
    if (m->nlmsg_type != RTM_NEWLINK || m->nlmsg_len < NLMSG_LENGTH(sizeof(*body)))
        return false;
    netlink_table(netlink_first(m, sizeof(*body)), netlink_end(m), of, ARRAY_SIZE(of));
    *ret = (struct link_seen){.found = {.index = body->ifi_index, .up = body->ifi_flags & IFF_UP,
                                        .master = (int)netlink_u32(of[IFLA_MASTER]), .mtu = (int)netlink_u32(of[IFLA_MTU])}};
    if (of[IFLA_IFNAME])
        (void)snprintf(ret->found.name, sizeof(ret->found.name), "%.*s", (int)netlink_size(of[IFLA_IFNAME]),
                       (const char *)netlink_data(of[IFLA_IFNAME]));
    if (netlink_size(of[IFLA_ADDRESS]) == sizeof(ret->mac))
        memcpy(ret->mac, netlink_data(of[IFLA_ADDRESS]), sizeof(ret->mac));
    if (netlink_size(of[IFLA_STATS64]) >= offsetof(struct rtnl_link_stats64, rx_errors)) {
        memcpy(&stats, netlink_data(of[IFLA_STATS64]), offsetof(struct rtnl_link_stats64, rx_errors));
        ret->found.rx_packets = stats.rx_packets;
        ret->found.tx_packets = stats.tx_packets;
        ret->found.rx_bytes = stats.rx_bytes;
        ret->found.tx_bytes = stats.tx_bytes;
    }
    read_kind(of[IFLA_LINKINFO], ret);
    read_settings(of[IFLA_AF_SPEC], ret);
    return true;
}

static int read_one(const struct nlmsghdr *m, void *data)
{
    (void)link_read(m, data);
    return 0;
}

int link_ask(struct netlink *nl, int index, const char *name, struct link_seen *ret)
{
    autobatch struct netlink_batch b = {0};
    struct link_seen seen = {0};
    link_begin(&b, RTM_GETLINK, 0, index, index ? NULL : name, false);
    int r = netlink_ask(nl, &b, read_one, &seen);
    if (r == 0 && seen.found.index == 0)
        r = -ENODEV;
    if (r == 0)
        *ret = seen;
    return r;
}

int net_link_index(struct netlink *nl, const char *name)
{
    struct link_seen seen;
    return link_ask(nl, 0, name, &seen) == 0 ? seen.found.index : 0;
}

int net_link_read(struct netlink *nl, const char *name, struct net_found *ret, struct berth_error *err)
{
    struct link_seen seen;
    int r = link_ask(nl, 0, name, &seen);
    if (r == -ENODEV)
        return fail(err, BERTH_NOT_FOUND, name, "there is no link %s", name);
    if (r < 0)
        return fail_os(err, r, name, "look at the link %s", name);
    *ret = seen.found;
    return 0;
}

struct link_list {
    const char *hash;
    struct net_found *data;
    size_t n, room;
};

static int read_listed(const struct nlmsghdr *m, void *data)
{
    struct link_list *l = data;
    struct link_seen seen;
    if (!link_read(m, &seen) || !(seen.found.kind = net_link_kind(l->hash, seen.found.name)))
        return 0;
    if (l->n == l->room) {
        size_t room = l->room ? l->room * 2 : 32;
        struct net_found *more = reallocarray(l->data, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        l->data = more;
        l->room = room;
    }
    l->data[l->n++] = seen.found;
    return 0;
}

int net_links_list(struct netlink *nl, const char *hash, struct net_found **ret, size_t *ret_n, struct berth_error *err)
{
    int r = -EINTR;
    for (int tries = 0; r == -EINTR && tries < 5; tries++) { /* it changed meanwhile: once more */
        struct link_list l = {.hash = hash};
        autobatch struct netlink_batch b = {0};
        link_begin(&b, RTM_GETLINK, NLM_F_DUMP, 0, NULL, false);
        r = netlink_ask(nl, &b, read_listed, &l);
        if (r == 0 || (r == -EINTR && tries == 4)) {
            *ret = l.data;
            *ret_n = l.n;
            return 0;
        }
        free(l.data);
    }
    return fail_os(err, r, "net", "list the network links");
}
