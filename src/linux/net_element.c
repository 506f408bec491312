/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elements of the packet filter's sets and maps. A key's parts are each padded to four bytes, as the
 * kernel's registers are; ports are in network order.
 */
#include "linux/net_element.h"

#include "base/base.h"

#include <netinet/in.h> /* before the kernel's, which makes way for it */
#include <linux/netfilter.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

const struct net_set_kind net_set_kinds[SET_COUNT] = {
    [SET_NETWORKS] = {"networks", NFPROTO_INET, 32, 0, false},
    [SET_PORTS4] = {"ports4", NFPROTO_INET, 12, 8, false},
    [SET_ANY4] = {"any4", NFPROTO_INET, 8, 8, false},
    [SET_RANGES4] = {"ranges4", NFPROTO_INET, 12, 4, true},
    [SET_ANY_RANGES4] = {"any_ranges4", NFPROTO_INET, 8, 4, true},
    [SET_PORTS6] = {"ports6", NFPROTO_INET, 24, 20, false},
    [SET_ANY6] = {"any6", NFPROTO_INET, 8, 20, false},
    [SET_RANGES6] = {"ranges6", NFPROTO_INET, 24, 16, true},
    [SET_ANY_RANGES6] = {"any_ranges6", NFPROTO_INET, 8, 16, true},
    [SET_SELF4] = {"self4", NFPROTO_INET, 8, 0, false},
    [SET_SELF6] = {"self6", NFPROTO_INET, 32, 0, false},
    [SET_WALLED4] = {"walled4", NFPROTO_INET, 8, 0, false},
    [SET_WALLED6] = {"walled6", NFPROTO_INET, 32, 0, false},
    [SET_GUESTS4] = {"guests4", NFPROTO_BRIDGE, 28, 0, false},
    [SET_GUESTS6] = {"guests6", NFPROTO_BRIDGE, 40, 0, false},
};

static size_t address_bytes(const struct address *a)
{
    return address_bits(a) / 8;
}

static void put_port(uint8_t *p, unsigned port)
{
    p[0] = (uint8_t)(port >> 8);
    p[1] = (uint8_t)port;
}

static uint16_t get_port(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

/* ---- a share as elements ---- */

static unsigned count_of(const struct net_publish *p)
{
    return p->count ? p->count : 1;
}

/* One element for a range that keeps its ports. */
static bool is_range(const struct net_publish *p)
{
    return count_of(p) > 1 && p->host_port == p->container_port;
}

static void port_element(const struct net_publish *p, unsigned n, struct net_element *e)
{
    bool any = address_is_any(&p->host), range = is_range(p);
    size_t host = any ? 0 : address_bytes(&p->host), to = address_bytes(&p->container);
    e->set = (enum net_set)((p->container.family == AF_INET ? SET_PORTS4 : SET_PORTS6) + any + 2 * range);
    memcpy(e->key, p->host.bytes, host);
    e->key[host] = p->protocol;
    put_port(e->key + host + 4, p->host_port + n);
    memcpy(e->data, p->container.bytes, to);
    if (range) {
        memcpy(e->end, e->key, sizeof(e->end));
        put_port(e->end + host + 4, p->host_port + count_of(p) - 1);
    } else {
        put_port(e->data + to, p->container_port + n);
    }
}

static void speaker_element(const struct net_guest *g, const struct address *a, struct net_element *e)
{
    e->set = a->family == AF_INET ? SET_GUESTS4 : SET_GUESTS6;
    memcpy(e->key, g->link, strnlen(g->link, NET_LINK_MAX));
    memcpy(e->key + NET_LINK_MAX, g->mac, sizeof(g->mac));
    memcpy(e->key + NET_LINK_MAX + 8, a->bytes, address_bytes(a));
}

static void pair_element(enum net_set set4, const struct address *a, const struct address *b, struct net_element *e)
{
    e->set = set4 + (a->family != AF_INET);
    memcpy(e->key, a->bytes, address_bytes(a));
    memcpy(e->key + address_bytes(a), b->bytes, address_bytes(b));
}

/* Its IPv4 address, its IPv6 address, the one that comes with IPv6; then what leads to itself. */
static bool guest_element(const struct net_guest *g, size_t n, struct net_element *e)
{
    struct address local = net_link_local(g->mac);
    const struct address *a = n == 2 ? &local : &g->address[n % 3];
    if (!a->family || (n == 2 && !g->address[1].family))
        return false;
    if (n < 3)
        speaker_element(g, a, e);
    else
        pair_element(SET_SELF4, a, a, e);
    return true;
}

static bool guest_next(struct net_walk *w, struct net_element *e)
{
    for (; w->i < w->share->n_guests; w->i++, w->j = 0)
        while (w->j < 5)
            if (guest_element(&w->share->guests[w->i], w->j++, e))
                return true;
    return false;
}

static bool network_next(struct net_walk *w, struct net_element *e)
{
    if (w->i >= w->share->n_bridges)
        return false;
    const char *name = w->share->bridges[w->i++];
    e->set = SET_NETWORKS;
    memcpy(e->key, name, strnlen(name, NET_LINK_MAX));
    memcpy(e->key + NET_LINK_MAX, name, strnlen(name, NET_LINK_MAX));
    return true;
}

static bool port_next(struct net_walk *w, struct net_element *e)
{
    while (w->i < w->share->n_ports) {
        const struct net_publish *p = &w->share->ports[w->i];
        unsigned n = is_range(p) ? 1 : count_of(p);
        if (w->j < n && address_bits(&p->container)) {
            port_element(p, (unsigned)w->j++, e);
            return true;
        }
        w->i++;
        w->j = 0;
    }
    return false;
}

static bool way_next(struct net_walk *w, struct net_element *e)
{
    if (w->i >= w->share->n_ways)
        return false;
    const struct net_way *way = &w->share->ways[w->i++];
    pair_element(SET_WALLED4, &way->guest, &way->to, e);
    return true;
}

bool net_walk_next(struct net_walk *w, struct net_element *ret)
{
    static bool (*const next[])(struct net_walk *, struct net_element *) = {network_next, guest_next, port_next, way_next};
    for (; w->stage < (int)ARRAY_SIZE(next); w->stage++, w->i = w->j = 0) {
        *ret = (struct net_element){0};
        if (next[w->stage](w, ret))
            return true;
    }
    return false;
}

/* ---- and back ---- */

bool net_element_port(const struct net_element *e, struct net_publish *ret)
{
    if (e->set < SET_PORTS4 || e->set > SET_ANY_RANGES6)
        return false;
    bool v6 = e->set >= SET_PORTS6, any = (e->set - SET_PORTS4) & 1, range = net_set_kinds[e->set].range;
    struct address none = {.family = v6 ? AF_INET6 : AF_INET, .prefix = v6 ? 128 : 32};
    size_t to = address_bytes(&none), host = any ? 0 : to;
    *ret = (struct net_publish){.host = none, .container = none, .protocol = e->key[host]};
    memcpy(ret->host.bytes, e->key, host);
    memcpy(ret->container.bytes, e->data, to);
    ret->host_port = ret->container_port = get_port(e->key + host + 4);
    ret->count = 1;
    if (range)
        ret->count = (uint16_t)(get_port(e->end + host + 4) - ret->host_port + 1);
    else
        ret->container_port = get_port(e->data + to);
    return true;
}

bool net_element_guest(const struct net_element *e, struct net_guest *ret)
{
    if (e->set != SET_GUESTS4 && e->set != SET_GUESTS6)
        return false;
    bool v6 = e->set == SET_GUESTS6;
    struct address *a = &ret->address[v6];
    *ret = (struct net_guest){0};
    memcpy(ret->link, e->key, NET_LINK_MAX - 1);
    memcpy(ret->mac, e->key + NET_LINK_MAX, sizeof(ret->mac));
    *a = (struct address){.family = v6 ? AF_INET6 : AF_INET, .prefix = v6 ? 128 : 32};
    memcpy(a->bytes, e->key + NET_LINK_MAX + 8, address_bytes(a));
    return true;
}
