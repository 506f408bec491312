/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of a plan: which networks, with which addresses, and which ports of the host.
 *
 * What a workload holds (addresses, free ports) is leased here, while its plan is made, and found again
 * when the plan is made anew: so it stays the same over restarts, updates and upgrades.
 */
#include "local/inside.h"
#include "base/address.h"
#include "linux/net_link.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>

enum network_mode spec_network_mode(const struct spec *spec)
{
    const char *n = spec->network;
    if (!n)
        return NETWORK_BRIDGED;
    if (!strcmp(n, "none"))
        return NETWORK_NONE;
    if (!strcmp(n, "host"))
        return NETWORK_HOST;
    return starts_with(n, "container:") ? NETWORK_JOINED : NETWORK_BRIDGED;
}

/* ---- what goes with which */

static int refuse_others(const struct spec *s, enum network_mode mode, struct berth_error *err)
{
    static const char *const why[] = {
        [NETWORK_NONE] = "network \"none\" has no addresses and no ports",
        [NETWORK_HOST] = "on network \"host\" addresses and ports are the machine's own",
        [NETWORK_JOINED] = "addresses, ports and names are those of the workload that it joins",
    };
    const struct { bool set; const char *field; } rows[] = {
        {s->ip, "ip"}, {s->ip6, "ip6"}, {s->mac, "mac"}, {s->aliases, "aliases"}, {s->n_ports > 0, "ports"},
        {s->publish_all, "publish_all"}, {s->internal && mode != NETWORK_NONE, "internal"},
        {mode == NETWORK_JOINED && s->hostname, "hostname"}, {mode == NETWORK_JOINED && s->n_hosts, "hosts"},
        {mode == NETWORK_JOINED && (s->dns || s->dns_search || s->dns_options), "dns"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].set)
            return fail(err, BERTH_INVALID, rows[i].field, "%s: %s", rows[i].field, why[mode]);
    return 0;
}

int plan_network_refuse(const struct spec *s, struct berth_error *err)
{
    enum network_mode mode = spec_network_mode(s);
    if (mode != NETWORK_BRIDGED)
        return refuse_others(s, mode, err);
    if (s->namespaces.userns && starts_with(s->namespaces.userns, "container:"))
        return fail(err, BERTH_UNSUPPORTED, "namespaces.userns",
                    "namespaces.userns: that of another goes with --network none, host or container:NAME only");
    if (s->n_networks > 0 && s->ip && s->networks[0].ip)
        return fail(err, BERTH_INVALID, "ip", "ip: the first of networks has one already");
    return 0;
}

/* ---- links */

static const struct spec_network *wanted_network(const struct spec *s, size_t i, struct spec_network *room)
{
    if (s->n_networks > 0)
        *room = s->networks[i];
    else
        *room = (struct spec_network){.name = s->network ? s->network : (char *)(uintptr_t)NETWORK_DEFAULT};
    if (!strcmp(room->name, "default"))
        room->name = (char *)(uintptr_t)NETWORK_DEFAULT;
    if (i == 0) {
        room->ip = room->ip ? room->ip : s->ip;
        room->ip6 = room->ip6 ? room->ip6 : s->ip6;
        room->mac = room->mac ? room->mac : s->mac;
    }
    return room;
}

/** The address of this family that it holds on the network already. */
static bool held_address(struct compile *k, const char *network, int family, struct address *ret)
{
    autostrings char **keys = NULL;
    if (network_held(k->store, network, k->id, &keys) < 0)
        return false;
    for (size_t i = 0; keys && keys[i]; i++)
        if (address_parse(keys[i], ret) == 0 && ret->family == family)
            return true;
    return false;
}

static int wish_of(const char *field, const char *text, struct address *room, const struct address **ret,
                   struct berth_error *err)
{
    *ret = NULL;
    if (!text)
        return 0;
    if (address_parse(text, room) < 0)
        return fail(err, BERTH_INVALID, field, "%s: \"%.60s\" is not an address", field, text);
    *ret = room;
    return 0;
}

static char *printed(const struct address *a, bool subnet)
{
    char text[ADDRESS_TEXT_MAX];
    return strdup(subnet ? address_print_subnet(a, text) : address_print(a, text));
}

static int link_address(struct compile *k, const struct network *n, const struct spec_network *want,
                        struct address *ret, struct berth_error *err)
{
    struct address room;
    const struct address *wanted;
    int r = wish_of("ip", want->ip, &room, &wanted, err);
    if (r == 0 && !wanted && held_address(k, n->name, AF_INET, &room))
        wanted = &room;
    return r < 0 ? r : network_take_address(k->store, n, wanted, k->id, ret, err);
}

static int link_address6(struct compile *k, const struct network *n, const struct spec_network *want,
                         const struct address *with, struct address *ret, struct berth_error *err)
{
    struct address room;
    const struct address *wanted;
    int r = wish_of("ip6", want->ip6, &room, &wanted, err);
    if (r < 0)
        return r;
    if (!n->subnet6.family)
        return wanted ? fail(err, BERTH_INVALID, "ip6", "ip6: network \"%s\" has no IPv6 (network create --ipv6)",
                             n->name)
                      : 0;
    if (!wanted && held_address(k, n->name, AF_INET6, &room))
        wanted = &room;
    return network_take_address6(k->store, n, wanted, with, k->id, ret, err);
}

/* 02:be and an address of the subnet: what somebody else on it has, or will have. */
static int check_mac(const struct network *n, const char *mac, const struct address *own, struct berth_error *err)
{
    unsigned b[6];
    struct address meant = {.family = AF_INET, .prefix = 32};
    if (sscanf(mac, "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
        return fail(err, BERTH_INVALID, "mac", "mac: \"%.20s\" is not a MAC address", mac);
    for (int i = 0; i < 4; i++)
        meant.bytes[i] = (uint8_t)b[i + 2];
    if (b[0] == 0x02 && b[1] == 0xbe && address_in(&n->subnet, &meant) && !address_equal(&meant, own))
        return fail(err, BERTH_EXISTS, mac, "mac: %s goes with another address of network \"%s\"", mac, n->name);
    return 0;
}

static int link_mac(struct compile *k, const struct network *n, const struct spec_network *want,
                    const struct address *own, char **ret, struct berth_error *err)
{
    uint8_t mac[6];
    net_mac(own, mac);
    *ret = want->mac ? strdup(want->mac)
                     : format_text("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    if (!*ret)
        return fail_memory(err);
    if (!want->mac)
        return 0;
    for (char *p = *ret; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    int r = check_mac(n, *ret, own, err);
    return r < 0 || k->dry ? r : network_take_mac(k->store, n, *ret, k->id, err);
}

static int add_aliases(struct plan_link *l, char *const *more)
{
    for (size_t i = 0; more && more[i]; i++)
        if (strings_add(&l->aliases, more[i]) < 0)
            return -ENOMEM;
    return 0;
}

static int link_addresses(struct compile *k, const struct network *n, const struct spec_network *want,
                          struct plan_link *l, struct berth_error *err)
{
    struct address a = {0}, a6 = {0};
    int r = link_address(k, n, want, &a, err);
    if (r == 0)
        r = link_address6(k, n, want, &a, &a6, err);
    if (r == 0)
        r = link_mac(k, n, want, &a, &l->mac, err);
    if (r < 0)
        return r;
    l->address = printed(&a, true);
    l->address6 = a6.family ? printed(&a6, true) : NULL;
    return l->address && (!a6.family || l->address6) ? 0 : fail_memory(err);
}

static int fill_link(struct compile *k, const struct network *n, const struct spec_network *want,
                     struct plan_link *l, struct berth_error *err)
{
    char bridge[NET_LINK_MAX];
    net_bridge_name(store_tag(k->store), n->internal, n->index, bridge);
    l->network = strdup(n->name);
    l->bridge = strdup(bridge);
    l->gateway = printed(&n->gateway, true);
    l->gateway6 = n->gateway6.family ? printed(&n->gateway6, true) : NULL;
    l->mtu = n->mtu;
    l->internal = n->internal || k->spec->internal;
    if (!l->network || !l->bridge || !l->gateway || (n->gateway6.family && !l->gateway6) ||
        add_aliases(l, want->aliases) < 0 || add_aliases(l, k->spec->aliases) < 0)
        return fail_memory(err);
    if (k->dry)
        return 0;
    return link_addresses(k, n, want, l, err);
}

static int find_network(struct compile *k, const char *name, struct network *ret, struct berth_error *err)
{
    struct berth_error mine = {0};
    int r = network_read(k->store, name, ret, &mine);
    if (r == BERTH_NOT_FOUND && !strcmp(name, NETWORK_DEFAULT))
        return network_default(k->c, k->store, k->dry, ret, err);
    if (r < 0 && err)
        *err = mine;
    return r;
}

static int plan_links(struct compile *k, struct berth_error *err)
{
    size_t n = MAX(k->spec->n_networks, (size_t)1);
    if (n > PLAN_LINKS_MAX)
        return fail(err, BERTH_TOO_BIG, "networks", "networks: %zu are more than %d", n, PLAN_LINKS_MAX);
    k->plan->links = calloc(n, sizeof(*k->plan->links));
    if (!k->plan->links)
        return fail_memory(err);
    for (size_t i = 0; i < n; i++) {
        struct spec_network want;
        struct network network;
        wanted_network(k->spec, i, &want);
        autoclose int lock = -1;
        int r = find_network(k, want.name, &network, err);
        if (r == 0 && !k->dry)
            r = network_place(k->c, &network, &lock, err);
        if (r == 0)
            r = fill_link(k, &network, &want, &k->plan->links[k->plan->n_links++], err);
        if (r < 0)
            return fail_context(err, "network %s", want.name);
    }
    return 0;
}

/* ---- ports */

static int add_port(struct compile *k, const struct plan_port *port, struct berth_error *err)
{
    struct plan *p = k->plan;
    struct plan_port *more = realloc(p->ports, (p->n_ports + 1) * sizeof(*more));
    if (!more)
        return fail_memory(err);
    p->ports = more;
    more[p->n_ports] = *port;
    more[p->n_ports].host_address = strdup(port->host_address);
    return more[p->n_ports++].host_address ? 0 : fail_memory(err);
}

/** The free port that it got for the same one before. */
static uint16_t port_before(const struct compile *k, const struct plan_port *port)
{
    for (size_t i = 0; k->before && i < k->before->n_ports; i++) {
        const struct plan_port *b = &k->before->ports[i];
        if (b->container == port->container && b->count <= 1 && !strcmp(b->protocol, port->protocol) &&
            b->host_address && !strcmp(b->host_address, port->host_address) &&
            port_held(k->store, b->protocol, b->host, k->id))
            return b->host;
    }
    return 0;
}

static int add_any(struct compile *k, struct plan_port *port, const struct address *host, struct berth_error *err)
{
    port->host = port_before(k, port);
    int r = port->host || k->dry ? 0 : port_take_any(k->store, port->protocol, host, k->id, &port->host, err);
    return r < 0 ? r : add_port(k, port, err);
}

static int host_address(const struct plan *p, const char *text, struct address *ret, struct berth_error *err)
{
    if (address_parse(text, ret) < 0)
        return fail(err, BERTH_INVALID, "ports", "ports: \"%.60s\" is not an address", text);
    if (ret->family == AF_INET6 && address_is_loopback(ret))
        return fail(err, BERTH_UNSUPPORTED, "ports",
                    "ports: on ::1 nothing can be published (the kernel routes nothing away from it); use 127.0.0.1");
    if (ret->family == AF_INET6 && !p->links[0].gateway6)
        return fail(err, BERTH_INVALID, "ports", "ports: %s: network \"%s\" has no IPv6 (network create --ipv6)", text,
                    p->links[0].network);
    return 0;
}

static int plan_port(struct compile *k, const struct spec_port *s, size_t *total, struct berth_error *err)
{
    const char *text = s->host_address ? s->host_address : PUBLISH_ADDRESS;
    struct address host;
    unsigned n = (unsigned)(s->container_end - s->container) + 1;
    int r = host_address(k->plan, text, &host, err);
    if (r < 0)
        return r;
    *total += n;
    if (*total > PLAN_PORTS_MAX)
        return fail(err, BERTH_TOO_BIG, "ports", "ports: %zu are more than the %d that one workload can publish", *total,
                    PLAN_PORTS_MAX);
    struct plan_port port = {.container = s->container, .host = s->host, .count = (uint16_t)n,
                             .host_address = (char *)(uintptr_t)text};
    snprintf(port.protocol, sizeof(port.protocol), "%s", s->protocol);
    if (s->host)
        return add_port(k, &port, err);
    port.count = 1;
    for (unsigned i = 0; r == 0 && i < n; i++) {
        port.container = (uint16_t)(s->container + i);
        r = add_any(k, &port, &host, err);
    }
    return r;
}

static bool published(const struct plan *p, const char *protocol, unsigned port)
{
    for (size_t i = 0; i < p->n_ports; i++)
        if (!strcmp(p->ports[i].protocol, protocol) && port >= p->ports[i].container &&
            port < (unsigned)p->ports[i].container + MAX(p->ports[i].count, 1))
            return true;
    return false;
}

/* "80", "53/udp", "8000-8010/tcp": of the image (not to be trusted) or the spec. */
static int publish_exposed(struct compile *k, const char *text, size_t *total, struct berth_error *err)
{
    struct spec_port s = {0};
    char protocol[8] = "tcp";
    unsigned first = 0, last = 0;
    int used = 0;
    if (sscanf(text, "%5u-%5u%n", &first, &last, &used) != 2 && sscanf(text, "%5u%n", &first, &used) == 1)
        last = first;
    if (text[used] == '/')
        snprintf(protocol, sizeof(protocol), "%s", text + used + 1);
    if (first < 1 || last > 65535 || last < first || (strcmp(protocol, "tcp") && strcmp(protocol, "udp")) ||
        (text[used] && text[used] != '/'))
        return fail(err, BERTH_INVALID, "publish_all", "publish_all: \"%.40s\" is not a port to publish", text);
    snprintf(s.protocol, sizeof(s.protocol), "%.5s", protocol);
    for (unsigned port = first; port <= last; port++) {
        s.container = s.container_end = (uint16_t)port;
        int r = published(k->plan, protocol, port) ? 0 : plan_port(k, &s, total, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* 0.0.0.0 has every address of its family, as when the port is held. */
static bool same_host(const char *a, const char *b)
{
    struct address one, other;
    return address_parse(a, &one) == 0 && address_parse(b, &other) == 0 && one.family == other.family &&
           (address_is_any(&one) || address_is_any(&other) || address_equal(&one, &other));
}

/* Twice the same port of the host would be two ways for one packet. */
static int check_host_ports(const struct plan *p, struct berth_error *err)
{
    for (size_t i = 0; i < p->n_ports; i++)
        for (size_t j = 0; j < i; j++) {
            const struct plan_port *a = &p->ports[i], *b = &p->ports[j];
            if (!strcmp(a->protocol, b->protocol) && a->host && a->host < b->host + MAX(b->count, 1) &&
                b->host < a->host + MAX(a->count, 1) && same_host(a->host_address, b->host_address))
                return fail(err, BERTH_INVALID, "ports", "ports: %s:%u/%s twice", a->host_address, MAX(a->host, b->host),
                            a->protocol);
        }
    return 0;
}

static int plan_ports(struct compile *k, struct berth_error *err)
{
    size_t total = 0;
    int r = 0;
    char *const *lists[] = {k->spec->expose, k->image->config.exposed_ports};
    for (size_t i = 0; r == 0 && i < k->spec->n_ports; i++)
        r = plan_port(k, &k->spec->ports[i], &total, err);
    for (size_t l = 0; k->spec->publish_all && l < ARRAY_SIZE(lists); l++)
        for (size_t i = 0; r == 0 && lists[l] && lists[l][i]; i++)
            r = publish_exposed(k, lists[l][i], &total, err);
    if (r == 0 && k->plan->n_ports && k->plan->links[0].internal)
        r = fail(err, BERTH_INVALID, "ports", "ports: network \"%s\" is internal: nothing comes in or out",
                 k->plan->links[0].network);
    return r < 0 ? r : check_host_ports(k->plan, err);
}

/* Leases of before that the plan no longer has: a port that was taken away, a network that was left. */
int plan_network_release(struct compile *k, const struct plan *before, const struct plan *now)
{
    int result = 0;
    for (size_t i = 0; i < before->n_links; i++) {
        bool still = false;
        for (size_t j = 0; j < now->n_links; j++)
            still |= !strcmp(before->links[i].network, now->links[j].network);
        if (!still && network_release(k->store, before->links[i].network, k->id) < 0)
            result = -EIO;
    }
    for (size_t i = 0; i < before->n_ports; i++) {
        bool still = false;
        for (size_t j = 0; j < now->n_ports; j++)
            still |= before->ports[i].host == now->ports[j].host &&
                     !strcmp(before->ports[i].protocol, now->ports[j].protocol);
        if (!still && port_release(k->store, before->ports[i].protocol, before->ports[i].host, k->id) < 0)
            result = -EIO;
    }
    return result;
}

int plan_bridges(struct compile *k, struct berth_error *err)
{
    struct plan *p = k->plan;
    p->tag = strdup(store_tag(k->store));
    if (!p->tag)
        return fail_memory(err);
    if (spec_network_mode(k->spec) != NETWORK_BRIDGED)
        return 0;
    for (size_t i = 0; k->spec->dns && k->spec->dns[i]; i++)
        if (strings_add(&p->dns, k->spec->dns[i]) < 0)
            return fail_memory(err);
    int r = plan_links(k, err);
    return r < 0 ? r : plan_ports(k, err);
}
