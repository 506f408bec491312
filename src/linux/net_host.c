/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the host has: its subnets, its way out, whether it forwards.
 */
#include "linux/net_internal.h"

#include "base/base.h"
#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define RANGES_MAX (1u << 21) /* twice a full table of the internet's routes */

/* ---- ranges ---- */

struct range_list {
    struct net_range *data;
    int *links; /* index of each one's link, until it has a name */
    size_t n, room;
};

static int range_add(struct range_list *l, const struct address *subnet, int link)
{
    if (l->n >= RANGES_MAX)
        return -E2BIG;
    if (l->n == l->room) {
        size_t room = l->room ? l->room * 2 : 64;
        struct net_range *data = reallocarray(l->data, room, sizeof(*data));
        if (data)
            l->data = data;
        int *links = data ? reallocarray(l->links, room, sizeof(*links)) : NULL;
        if (!links)
            return -ENOMEM;
        l->links = links;
        l->room = room;
    }
    l->data[l->n] = (struct net_range){.subnet = address_first(subnet)};
    l->links[l->n++] = link;
    return 0;
}

static bool address_take(const struct nlattr *a, uint8_t family, uint8_t prefix, struct address *ret)
{
    *ret = (struct address){.family = family, .prefix = prefix};
    if (!address_bits(ret) || netlink_size(a) != address_size(ret) || prefix > address_bits(ret))
        return false;
    memcpy(ret->bytes, netlink_data(a), netlink_size(a));
    return true;
}

/* Half of everything is a default route too: that is how tunnels put themselves before the real one. */
static bool is_default(const struct address *a)
{
    return a->prefix < (a->family == AF_INET ? 8 : 7);
}

static bool counts(const struct address *a)
{
    struct address single = *a;
    single.prefix = (uint8_t)address_bits(a);
    return address_is_unicast(&single) && !is_default(a);
}

static int read_address(const struct nlmsghdr *m, void *data)
{
    const struct ifaddrmsg *body = NLMSG_DATA(m);
    const struct nlattr *of[IFA_LOCAL + 1];
    struct address a;
    if (m->nlmsg_type != RTM_NEWADDR || m->nlmsg_len < NLMSG_LENGTH(sizeof(*body)))
        return 0;
    netlink_table(netlink_first(m, sizeof(*body)), netlink_end(m), of, ARRAY_SIZE(of));
    /* IFA_ADDRESS is the other end of a tunnel, else the same */
    for (int i = IFA_ADDRESS; i <= IFA_LOCAL; i++) {
        int r = address_take(of[i], body->ifa_family, body->ifa_prefixlen, &a) && counts(&a)
                    ? range_add(data, &a, (int)body->ifa_index)
                    : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_route(const struct nlmsghdr *m, void *data)
{
    const struct rtmsg *body = NLMSG_DATA(m);
    const struct nlattr *of[RTA_OIF + 1];
    struct address a;
    if (m->nlmsg_type != RTM_NEWROUTE || m->nlmsg_len < NLMSG_LENGTH(sizeof(*body)) || body->rtm_flags & RTM_F_CLONED)
        return 0;
    if (body->rtm_type == RTN_LOCAL || body->rtm_type == RTN_BROADCAST || body->rtm_type == RTN_ANYCAST ||
        body->rtm_type == RTN_MULTICAST)
        return 0;
    netlink_table(netlink_first(m, sizeof(*body)), netlink_end(m), of, ARRAY_SIZE(of));
    if (!address_take(of[RTA_DST], body->rtm_family, body->rtm_dst_len, &a) || !counts(&a))
        return 0;
    return range_add(data, &a, (int)netlink_u32(of[RTA_OIF]));
}

static int dump(struct netlink *nl, uint16_t type, uint8_t family, size_t body, netlink_reader *reader, void *data)
{
    autobatch struct netlink_batch b = {0};
    uint8_t *m = netlink_begin(&b, type, NLM_F_DUMP, body);
    if (m)
        m[0] = family; /* ifa_family, rtm_family: the first byte of both */
    int r = netlink_ask(nl, &b, reader, data);
    return r == -EINTR ? 0 : r; /* it changed meanwhile: what was seen is as good as a moment ago */
}

static int compare_ranges(const void *a, const void *b)
{
    const struct net_range *x = a, *y = b;
    int r = address_compare(&x->subnet, &y->subnet);
    if (r == 0)
        r = x->subnet.prefix - y->subnet.prefix;
    return r ? r : strcmp(x->link, y->link);
}

static size_t unique(struct net_range *data, size_t n)
{
    size_t kept = 0;
    if (n > 0)
        qsort(data, n, sizeof(*data), compare_ranges);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || compare_ranges(&data[kept - 1], &data[i]) != 0)
            data[kept++] = data[i];
    return kept;
}

/* One question a link, not one a route. */
static void name_links(struct netlink *nl, struct range_list *l)
{
    for (size_t i = 0; i < l->n; i++) {
        struct link_seen seen = {0};
        int link = l->links[i];
        if (link <= 0)
            continue;
        if (link_ask(nl, link, NULL, &seen) < 0)
            seen.found.name[0] = 0;
        for (size_t j = i; j < l->n; j++)
            if (l->links[j] == link) {
                memcpy(l->data[j].link, seen.found.name, sizeof(l->data[j].link));
                l->links[j] = 0;
            }
    }
}

int net_ranges_read(struct netlink *nl, struct net_range **ret, size_t *ret_n, struct berth_error *err)
{
    struct range_list l = {0};
    static const uint8_t families[] = {AF_INET, AF_INET6};
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(families) && r == 0; i++) {
        if (families[i] == AF_INET6 && !kernel_has_ipv6())
            continue;
        r = dump(nl, RTM_GETADDR, families[i], sizeof(struct ifaddrmsg), read_address, &l);
        if (r == 0)
            r = dump(nl, RTM_GETROUTE, families[i], sizeof(struct rtmsg), read_route, &l);
    }
    if (r == 0)
        name_links(nl, &l);
    free(l.links);
    if (r < 0) {
        free(l.data);
        return fail_os(err, r, "net", "read the host's addresses and routes");
    }
    *ret_n = unique(l.data, l.n);
    *ret = l.data;
    return 0;
}

const struct net_range *net_range_find(const struct net_range *ranges, size_t n, const struct address *subnet,
                                       const char *except)
{
    for (size_t i = 0; i < n; i++)
        if (address_overlap(&ranges[i].subnet, subnet) && !(except && strcmp(ranges[i].link, except) == 0))
            return &ranges[i];
    return NULL;
}

/* ---- the way out ---- */

struct way_out {
    int link, mtu;
};

static int read_way_out(const struct nlmsghdr *m, void *data)
{
    struct way_out *w = data;
    const struct nlattr *of[RTA_METRICS + 1], *metrics[RTAX_MTU + 1];
    if (m->nlmsg_type != RTM_NEWROUTE)
        return 0;
    netlink_table(netlink_first(m, sizeof(struct rtmsg)), netlink_end(m), of, ARRAY_SIZE(of));
    w->link = (int)netlink_u32(of[RTA_OIF]);
    if (!of[RTA_METRICS])
        return 0;
    netlink_table(netlink_first_in(of[RTA_METRICS]), netlink_end_in(of[RTA_METRICS]), metrics, ARRAY_SIZE(metrics));
    w->mtu = (int)netlink_u32(metrics[RTAX_MTU]);
    return 0;
}

int net_default_mtu(struct netlink *nl)
{
    static const uint8_t outside[4] = {192, 0, 2, 1}; /* TEST-NET-1: nobody's, so only a default route leads there */
    autobatch struct netlink_batch b = {0};
    struct way_out w = {0};
    struct link_seen seen;
    struct rtmsg *m = netlink_begin(&b, RTM_GETROUTE, 0, sizeof(*m));
    if (m) {
        m->rtm_family = AF_INET;
        m->rtm_dst_len = 32;
    }
    netlink_put(&b, RTA_DST, outside, sizeof(outside));
    if (netlink_ask(nl, &b, read_way_out, &w) < 0 || w.link == 0)
        return 1500;
    if (w.mtu == 0 && link_ask(nl, w.link, NULL, &seen) == 0)
        w.mtu = seen.found.mtu;
    /* lo's 65536 would not fit through anything else; below 576 IPv4 does not work */
    return w.mtu >= 576 && w.mtu <= 65535 ? w.mtu : 1500;
}

/* ---- forwarding ---- */

static const char *forwarding_file(int family)
{
    return family == AF_INET ? "/proc/sys/net/ipv4/ip_forward" : "/proc/sys/net/ipv6/conf/all/forwarding";
}

int net_forwarding(int family)
{
    autofree char *text = NULL;
    int r = file_read(AT_FDCWD, forwarding_file(family), 16, &text, NULL);
    return r < 0 ? r : text[0] != '0';
}

static int setting_write(const char *path, const char *value)
{
    autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd_write_all(fd, value, strlen(value));
}

/* A host that forwards ignores router advertisements unless accept_ra is 2: it would lose its own
 * default route some minutes later. Links that come later are left to whoever makes them: a bridge of
 * strangers' programs has nobody to hear. */
static void keep_advertisements(void)
{
    DIR *d = opendir("/proc/sys/net/ipv6/conf");
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        char path[300];
        autofree char *text = NULL;
        if (e->d_name[0] == '.' || !strcmp(e->d_name, "all") || !strcmp(e->d_name, "default"))
            continue;
        (void)snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/accept_ra", e->d_name);
        if (file_read(AT_FDCWD, path, 16, &text, NULL) == 0 && text[0] == '1')
            (void)setting_write(path, "2");
    }
    closedir(d);
}

int net_forwarding_enable(int family, bool *ret_changed, struct berth_error *err)
{
    const char *file = forwarding_file(family);
    int r = net_forwarding(family);
    if (r == 0) {
        if (family == AF_INET6)
            keep_advertisements();
        r = setting_write(file, "1");
        if (r == 0 && ret_changed)
            *ret_changed = true;
    } else if (r > 0 && ret_changed) {
        *ret_changed = false;
    }
    if (r < 0)
        return fail_os(err, r, file, "turn on forwarding in %s", file);
    return 0;
}
