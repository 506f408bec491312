/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet filter, in a network namespace of its own: what nft(8) lists, and what gets through between
 * real sockets: published ports, isolation, and workloads that speak with another's address.
 */
#include "net_rig.h"

#include "base/text.h"
#include "linux/net_port.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

static struct netlink route = NETLINK_NONE, filter = NETLINK_NONE;

/* ---- what is in the tables ---- */

static void ensure_filter(bool expect_made)
{
    struct berth_error err = {0};
    bool made = !expect_made;
    if (net_filter_ensure(&filter, HASH, &made, &err) < 0)
        fail_msg("%s\n", err.message);
    assert_int_equal(made, expect_made);
}

static void add(const struct net_share *share)
{
    struct berth_error err = {0};
    if (net_filter_add(&filter, HASH, share, &err) < 0)
        fail_msg("%s\n", err.message);
}

static void take_out(const struct net_share *share)
{
    struct berth_error err = {0};
    if (net_filter_remove(&filter, HASH, share, &err) < 0)
        fail_msg("%s\n", err.message);
}

static struct net_publish port(const char *host, int host_port, const char *to, int container_port, int count, int protocol)
{
    return (struct net_publish){.host = address(host), .container = address(to), .host_port = (uint16_t)host_port,
                                .container_port = (uint16_t)container_port, .count = (uint16_t)count,
                                .protocol = (uint8_t)protocol};
}

static char *listing(void)
{
    return output_of(-1, "nft list table inet berth_1a2b3c4d | sed -n '/elements/,/}/p' | tr -d '\\n\\t'; nft list table bridge berth_1a2b3c4d | grep -A9 elements", NULL);
}

static void lists(const char *text)
{
    autofree char *all = listing();
    if (!strstr(all, text))
        fail_msg("not in the tables: %s\n%s\n", text, all);
}

static void lists_nothing(void)
{
    autofree char *all = listing();
    if (strstr(all, "elements"))
        fail_msg("still in the tables:\n%s\n", all);
}

static void skeleton_is_made_checked_and_mended(void **state)
{
    static const struct {
        const char *harm;
        enum net_filter_state state;
    } rows[] = {
        {"nft flush ruleset", NET_FILTER_ABSENT},
        {"nft delete table bridge berth_1a2b3c4d", NET_FILTER_ABSENT},
        {"nft flush table inet berth_1a2b3c4d", NET_FILTER_DAMAGED},
        {"nft flush chain inet berth_1a2b3c4d within", NET_FILTER_DAMAGED},
        {"nft add rule inet berth_1a2b3c4d forward accept", NET_FILTER_DAMAGED},
        {"nft delete chain inet berth_1a2b3c4d arrive", NET_FILTER_DAMAGED},
        {"nft add chain inet berth_1a2b3c4d other", NET_FILTER_DAMAGED},
        {"nft delete table inet berth_1a2b3c4d; nft add table inet berth_1a2b3c4d", NET_FILTER_DAMAGED},
    };
    enum net_filter_state seen;
    struct berth_error err = {0};
    char what[96];
    assert_int_equal(net_filter_check(&filter, HASH, &seen, what, &err), 0);
    assert_int_equal(seen, NET_FILTER_ABSENT);
    says("nft add table inet mine; nft add chain inet mine c", "");
    ensure_filter(true);
    ensure_filter(false);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        says(rows[i].harm, "");
        assert_int_equal(net_filter_check(&filter, HASH, &seen, what, &err), 0);
        if (seen != rows[i].state || !*what)
            fail_msg("after \"%s\": %d, \"%s\"\n", rows[i].harm, seen, what);
        ensure_filter(true);
        ensure_filter(false);
    }
    says("nft flush ruleset; nft add table inet mine; nft add chain inet mine c", "");
    ensure_filter(true);
    assert_int_equal(net_filter_drop(&filter, HASH, &err), 0);
    assert_int_equal(net_filter_drop(&filter, HASH, &err), 0);
    says("nft list ruleset", "table inet mine");
    says("nft list ruleset | grep -c berth || true", "0");
}

static void shares_come_and_go(void **state)
{
    char bridges[1][NET_LINK_MAX] = {"bb1a2b3c4d-1"};
    struct net_guest guest = {.link = "bv1a2b3c4d00001", .mac = {2, 0xbe, 10, 9, 1, 7}, .address = {address("10.9.1.7"), address("fd09::7")}};
    struct net_publish ports[] = {
        port("127.0.0.1", 8080, "10.9.1.7", 80, 1, IPPROTO_TCP), port("0.0.0.0", 53, "10.9.1.7", 5353, 0, IPPROTO_UDP),
        port("127.0.0.1", 9000, "10.9.1.7", 9000, 101, IPPROTO_TCP), port("0.0.0.0", 7000, "10.9.1.7", 7000, 2, IPPROTO_UDP),
        port("10.0.0.1", 6000, "10.9.1.7", 600, 3, IPPROTO_TCP), port("::", 443, "fd09::7", 8443, 1, IPPROTO_TCP),
        port("2001:db8::1", 80, "fd09::7", 80, 1, IPPROTO_TCP), port("2001:db8::1", 90, "fd09::7", 90, 10, IPPROTO_TCP),
        port("::", 60000, "fd09::7", 60000, 5536, IPPROTO_UDP),
    };
    struct net_way ways[] = {{address("10.9.1.7"), address("10.9.1.1")}, {address("fd09::7"), address("2001:db8::9")}};
    struct net_share share = {.bridges = bridges, .n_bridges = 1, .guests = &guest, .n_guests = 1, .ports = ports, .n_ports = ARRAY_SIZE(ports),
                              .ways = ways, .n_ways = ARRAY_SIZE(ways)};
    struct net_listing *l = NULL;
    struct berth_error err = {0};
    assert_int_equal(net_filter_add(&filter, HASH, &share, &err), BERTH_NOT_FOUND);
    take_out(&share); /* no tables: nothing to do */
    ensure_filter(true);
    add(&share);
    add(&share); /* what is there is left */
    lists("\"bb1a2b3c4d-1\" . \"bb1a2b3c4d-1\"");
    lists("127.0.0.1 . tcp . 8080 : 10.9.1.7 . 80");
    lists("udp . 53 : 10.9.1.7 . 5353");
    lists("127.0.0.1 . tcp . 9000-9100 : 10.9.1.7");
    lists("10.0.0.1 . tcp . 6002 : 10.9.1.7 . 602");
    lists("tcp . 443 : fd09::7 . 8443");
    lists("2001:db8::1 . tcp . 80 : fd09::7 . 80");
    lists("2001:db8::1 . tcp . 90-99 : fd09::7");
    lists("udp . 60000-65535 : fd09::7");
    lists("\"bv1a2b3c4d00001\" . 02:be:0a:09:01:07 . 10.9.1.7");
    lists("\"bv1a2b3c4d00001\" . 02:be:0a:09:01:07 . fd09::7");
    lists("\"bv1a2b3c4d00001\" . 02:be:0a:09:01:07 . fe80::be:aff:fe09:107");
    lists("10.9.1.7 . 10.9.1.1");
    lists("fd09::7 . 2001:db8::9");
    assert_int_equal(net_filter_list(&filter, HASH, &l, &err), 0);
    assert_true(l->n_bridges == 1 && l->n_guests == 3 && l->n_ports == 11);
    assert_string_equal(l->bridges[0], bridges[0]);
    assert_memory_equal(l->guests[0].mac, guest.mac, 6);
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
        bool found = i == 4; /* listed as three */
        for (size_t j = 0; j < l->n_ports && !found; j++)
            found = address_equal(&l->ports[j].host, &ports[i].host) && address_equal(&l->ports[j].container, &ports[i].container) &&
                    l->ports[j].host_port == ports[i].host_port && l->ports[j].container_port == ports[i].container_port &&
                    l->ports[j].count == MAX(ports[i].count, 1) && l->ports[j].protocol == ports[i].protocol;
        if (!found)
            fail_msg("port %zu is not listed\n", i);
    }
    net_listing_free(l);
    take_out(&share);
    lists_nothing();
    take_out(&share);
}

static void a_dead_ones_port_is_turned_over(void **state)
{
    struct net_publish old[] = {port("127.0.0.1", 8080, "10.9.1.7", 80, 1, IPPROTO_TCP), port("127.0.0.1", 9000, "10.9.1.7", 9000, 50, IPPROTO_TCP)};
    struct net_publish new[] = {port("127.0.0.1", 8080, "10.9.1.8", 80, 1, IPPROTO_TCP), port("127.0.0.1", 9010, "10.9.1.8", 9010, 80, IPPROTO_TCP)};
    struct net_publish other = port("127.0.0.1", 8081, "10.9.1.9", 80, 1, IPPROTO_TCP);
    struct net_share was = {.ports = old, .n_ports = 2}, now = {.ports = new, .n_ports = 2}, third = {.ports = &other, .n_ports = 1};
    add(&was);
    add(&third);
    add(&now);
    lists("127.0.0.1 . tcp . 8080 : 10.9.1.8 . 80");
    lists("127.0.0.1 . tcp . 9010-9089 : 10.9.1.8");
    take_out(&was); /* its cleaner comes late: the port is another's */
    lists("127.0.0.1 . tcp . 8080 : 10.9.1.8 . 80");
    take_out(&now);
    take_out(&third);
    lists_nothing();
}

static void sixty_five_thousand_ports(void **state)
{
    struct net_publish ports[] = {port("127.0.0.1", 1, "10.9.1.7", 2, 65534, IPPROTO_TCP), port("0.0.0.0", 1, "10.9.1.7", 1, 65535, IPPROTO_UDP)};
    struct net_share share = {.ports = ports, .n_ports = 2};
    struct net_listing *l = NULL;
    struct berth_error err = {0};
    int64_t start = monotonic_usec();
    add(&share);
    int64_t added = monotonic_usec();
    assert_int_equal(net_filter_list(&filter, HASH, &l, &err), 0);
    assert_int_equal(l->n_ports, 65535);
    net_listing_free(l);
    int64_t listed = monotonic_usec();
    take_out(&share);
    print_message("65,534 ports added in %lld ms, listed in %lld, removed in %lld\n", (long long)(added - start) / 1000,
                  (long long)(listed - added) / 1000, (long long)(monotonic_usec() - listed) / 1000);
    lists_nothing();
    /* and when it can't be: nothing of it is left */
    says("nft flush ruleset", "");
    assert_int_equal(net_filter_add(&filter, HASH, &share, &err), BERTH_NOT_FOUND);
    ensure_filter(true);
}

/* ---- what gets through ---- */

struct guest {
    struct net_link link;
    struct netlink inside;
};
static struct guest a, b, c, d, out; /* a and b on one network, c on another, d on an internal one; out: another host */
static struct net_publish published[16];
static size_t n_published;

static void network(bool internal, unsigned number, const char *gateway, const char *gateway6, struct net_bridge *ret)
{
    struct berth_error err = {0};
    *ret = (struct net_bridge){.gateway = {subnet(gateway)}};
    if (gateway6)
        ret->gateway[1] = subnet(gateway6);
    net_bridge_name(HASH, internal, number, ret->name);
    if (net_bridge_ensure(&route, ret, NULL, &err) < 0)
        fail_msg("%s\n", err.message);
    char names[1][NET_LINK_MAX];
    memcpy(names[0], ret->name, NET_LINK_MAX);
    add(&(struct net_share){.bridges = names, .n_bridges = 1});
}

static void join(struct guest *g, const struct net_bridge *bridge, const char *v4, const char *v6)
{
    struct berth_error err = {0};
    *g = (struct guest){.link = {.inside = "eth0", .index = 2, .address = {subnet(v4)}}};
    g->link.gateway[0] = bridge->gateway[0];
    if (v6) {
        g->link.address[1] = subnet(v6);
        g->link.gateway[1] = bridge->gateway[1];
    }
    g->link.bridge = net_link_index(&route, bridge->name);
    net_link_name(HASH, g->link.name);
    net_mac(&g->link.address[0], g->link.mac);
    if (net_namespace_make(&g->link.ns_fd, &g->inside, &err) < 0 || net_link_add(&route, &g->link, &err) < 0 ||
        net_links_configure(&g->inside, &g->link, 1, &err) < 0 || net_link_turn(&route, g->link.name, &err) < 0)
        fail_msg("%s\n", err.message);
    struct net_guest guest = {.address = {g->link.address[0], g->link.address[1]}};
    memcpy(guest.link, g->link.name, NET_LINK_MAX);
    memcpy(guest.mac, g->link.mac, 6);
    add(&(struct net_share){.guests = &guest, .n_guests = 1});
}

static void publish(struct net_publish p)
{
    assert_true(n_published < ARRAY_SIZE(published));
    published[n_published++] = p;
    add(&(struct net_share){.ports = &p, .n_ports = 1});
}

/* Another host, on a wire to this one; the way out. */
static void outside(void)
{
    struct berth_error err = {0};
    assert_int_equal(net_namespace_make(&out.link.ns_fd, &out.inside, &err), 0);
    says("ip link add wire type veth peer name eth0; ip addr add 192.0.2.1/24 dev wire; ip addr add 2001:db8::1/64 dev wire nodad", "");
    char text[160];
    (void)snprintf(text, sizeof(text), "ip link set eth0 netns /proc/%d/fd/%d; ip link set wire up; ip route add default via 192.0.2.2", getpid(), out.link.ns_fd);
    says(text, "");
    inside(out.link.ns_fd, "ip link set lo up; ip link set eth0 up; ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad", "");
    inside(out.link.ns_fd, "ip route add 10.9.0.0/16 via 192.0.2.1; ip -6 route add fd09::/16 via 2001:db8::1", "");
}

static void scene_is_set(void **state)
{
    /* links that are told of it while br_netfilter is on */
    free(output_of(-1, "sysctl -q net.bridge.bridge-nf-call-iptables=1", NULL));
    struct net_bridge one, two, three;
    struct berth_error err = {0};
    says("nft flush ruleset", "");
    ensure_filter(true);
    assert_int_equal(net_forwarding_enable(AF_INET, NULL, &err), 0);
    assert_int_equal(net_forwarding_enable(AF_INET6, NULL, &err), 0);
    network(false, 1, "10.9.1.1/24", "fd09:1::1/64", &one);
    network(false, 2, "10.9.2.1/24", NULL, &two);
    network(true, 3, "10.9.3.1/24", NULL, &three);
    join(&a, &one, "10.9.1.2/24", "fd09:1::2/64");
    join(&b, &one, "10.9.1.3/24", "fd09:1::3/64");
    join(&c, &two, "10.9.2.2/24", NULL);
    join(&d, &three, "10.9.3.2/24", NULL);
    outside();
    serve(a.link.ns_fd, IPPROTO_TCP, "0.0.0.0", 80, "a");
    serve(a.link.ns_fd, IPPROTO_TCP, "0.0.0.0", 9001, "a 9001");
    serve(a.link.ns_fd, IPPROTO_UDP, "0.0.0.0", 53, "a udp");
    serve(a.link.ns_fd, IPPROTO_TCP, "fd09:1::2", 80, "a six");
    serve(c.link.ns_fd, IPPROTO_TCP, "0.0.0.0", 80, "c");
    serve(d.link.ns_fd, IPPROTO_TCP, "0.0.0.0", 80, "d");
    serve(out.link.ns_fd, IPPROTO_TCP, "0.0.0.0", 80, "out");
    serve(out.link.ns_fd, IPPROTO_TCP, "2001:db8::2", 80, "out six");
    serve(-1, IPPROTO_TCP, "127.0.0.1", 7777, "host");
    publish(port("127.0.0.1", 8080, "10.9.1.2", 80, 1, IPPROTO_TCP));
    publish(port("0.0.0.0", 8081, "10.9.1.2", 80, 1, IPPROTO_TCP));
    publish(port("0.0.0.0", 8083, "10.9.3.2", 80, 1, IPPROTO_TCP));
    publish(port("192.0.2.1", 9000, "10.9.1.2", 9000, 3, IPPROTO_TCP));
    publish(port("0.0.0.0", 5300, "10.9.1.2", 53, 1, IPPROTO_UDP));
    publish(port("::", 8086, "fd09:1::2", 80, 1, IPPROTO_TCP));
}

struct row {
    const struct guest *from; /* NULL: the host */
    const char *where;
    int port, protocol;
    const char *answer;
};

static void try(const struct row *rows, size_t n)
{
    bool right = true;
    for (size_t i = 0; i < n; i++) {
        const char *said = ask(rows[i].from ? rows[i].from->link.ns_fd : -1, rows[i].protocol ? rows[i].protocol : IPPROTO_TCP,
                               rows[i].where, rows[i].port, 0);
        if (strcmp(said, rows[i].answer) != 0) {
            print_error("row %zu: %s port %d: \"%s\", not \"%s\"\n", i, rows[i].where, rows[i].port, said, rows[i].answer);
            right = false;
        }
    }
    assert_true(right);
}

static bool bridged; /* br_netfilter shows bridged packets to iptables and nft's "inet" */

static void without_br_netfilter(void **state)
{
    free(output_of(-1, "sysctl -q net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0", NULL));
    bridged = false;
}

static void with_br_netfilter(void **state)
{
    int status = 0;
    free(output_of(-1, "sysctl -q net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1", &status));
    if (status != 0)
        skip();
    bridged = true;
}

static void published_ports_answer(void **state)
{
    const struct row rows[] = {
        {NULL, "127.0.0.1", 8080, 0, "a from 10.9.1.1"},     {NULL, "127.0.0.1", 8081, 0, "a from 10.9.1.1"},
        {NULL, "192.0.2.1", 8081, 0, "a from 192.0.2.1"},    {NULL, "192.0.2.1", 9001, 0, "a 9001 from 192.0.2.1"},
        {NULL, "127.0.0.1", 5300, IPPROTO_UDP, "a udp from 10.9.1.1"}, {&out, "192.0.2.1", 5300, IPPROTO_UDP, "a udp from 192.0.2.2"},
        {&out, "192.0.2.1", 8081, 0, "a from 192.0.2.2"},    {&out, "192.0.2.1", 9001, 0, "a 9001 from 192.0.2.2"},
        {&out, "192.0.2.1", 8080, 0, "nothing"},             {NULL, "127.0.0.1", 9001, 0, "nothing"},
        {&a, "10.9.1.1", 8081, 0, "a from 10.9.1.1"},        {&b, "10.9.1.1", 8081, 0, bridged ? "a from 10.9.1.3" : "a from 10.9.1.1"},
        {&c, "10.9.2.1", 8081, 0, "a from 10.9.2.2"},        {&c, "192.0.2.1", 8081, 0, "a from 10.9.2.2"},
        {&c, "10.9.2.1", 8080, 0, "nothing"},
        {&out, "2001:db8::1", 8086, 0, "a six from 2001:db8::2"}, {NULL, "2001:db8::1", 8086, 0, "a six from 2001:db8::1"},
        {&a, "fd09:1::1", 8086, 0, "a six from fd09:1::1"},
        {&b, "fd09:1::1", 8086, 0, bridged ? "a six from fd09:1::3" : "a six from fd09:1::1"},
    };
    try(rows, ARRAY_SIZE(rows));
}

/* No answer is not enough: nothing may arrive. */
static void watch(const struct guest *g)
{
    inside(g->link.ns_fd, "nft 'add table inet w; delete table inet w; add table inet w; add chain inet w c { type filter hook "
                          "prerouting priority -400; }; add rule inet w c ip saddr 10.9.3.2 counter'", "");
}

static void networks_are_apart(void **state)
{
    watch(&a);
    watch(&out);
    const struct row rows[] = {
        {&b, "10.9.1.2", 80, 0, "a from 10.9.1.3"},   {NULL, "10.9.1.2", 80, 0, "a from 10.9.1.1"},
        {&a, "192.0.2.2", 80, 0, "out from 192.0.2.1"}, {&a, "2001:db8::2", 80, 0, "out six from 2001:db8::1"},
        {&b, "fd09:1::2", 80, 0, "a six from fd09:1::3"},
        {&c, "10.9.1.2", 80, 0, "nothing"},           {&a, "10.9.2.2", 80, 0, "nothing"},
        {&out, "10.9.1.2", 80, 0, "nothing"},         {&out, "fd09:1::2", 80, 0, "nothing"},
        /* the internal one: from the host alone */
        {NULL, "10.9.3.2", 80, 0, "d from 10.9.3.1"}, {NULL, "127.0.0.1", 8083, 0, "d from 10.9.3.1"},
        {NULL, "192.0.2.1", 8083, 0, "d from 10.9.3.1"}, {&out, "192.0.2.1", 8083, 0, "nothing"},
        {&out, "10.9.3.2", 80, 0, "nothing"},         {&a, "10.9.3.2", 80, 0, "nothing"},
        {&a, "10.9.1.1", 8083, 0, "nothing"},         {&d, "192.0.2.2", 80, 0, "nothing"},
        {&d, "10.9.1.2", 80, 0, "nothing"},           {&d, "10.9.3.1", 8081, 0, "nothing"},
        {&d, "10.9.3.1", 8083, 0, "d from 10.9.3.1"},
    };
    try(rows, ARRAY_SIZE(rows));
    inside(a.link.ns_fd, "nft list table inet w", "packets 0 bytes 0");
    inside(out.link.ns_fd, "nft list table inet w", "packets 0 bytes 0");
}

/* All that the host has, also later, and what is published there. */
static void who_is_walled_reaches_what_was_named_of_the_host(void **state)
{
    const struct net_way ways[] = {
        {address("10.9.1.2"), address("10.9.1.2")}, {address("10.9.1.2"), address("10.9.77.2")},
        {address("fd09:1::2"), address("fd09:1::2")}, {address("fd09:1::2"), address("2001:db8::1")},
    };
    const struct net_share share = {.ways = ways, .n_ways = ARRAY_SIZE(ways)};
    add(&share);
    says("ip addr add 10.9.77.1/32 dev lo; ip addr add 10.9.77.2/32 dev lo; ip -6 addr add fd09:77::1/128 dev lo nodad", "");
    for (const char *const *at = (const char *const[]){"10.9.77.1", "10.9.77.2", "fd09:77::1", "2001:db8::1", NULL}; *at; at++)
        serve(-1, IPPROTO_TCP, *at, 7778, "host");
    serve(-1, IPPROTO_UDP, "10.9.77.1", 7778, "host udp");
    const struct row rows[] = {
        {&a, "10.9.77.1", 7778, 0, "nothing"},   {&a, "10.9.77.1", 7778, IPPROTO_UDP, "nothing"},
        {&a, "10.9.77.2", 7778, 0, "host from 10.9.1.2"}, {&b, "10.9.77.1", 7778, 0, "host from 10.9.1.3"},
        {&a, "fd09:77::1", 7778, 0, "nothing"},  {&a, "2001:db8::1", 7778, 0, "host from fd09:1::2"},
        {&b, "fd09:77::1", 7778, 0, "host from fd09:1::3"},
        {&a, "192.0.2.1", 8083, 0, "nothing"},   {&a, "10.9.1.1", 8081, 0, "nothing"},
        {&a, "192.0.2.2", 80, 0, "out from 192.0.2.1"},   {&a, "2001:db8::2", 80, 0, "out six from 2001:db8::1"},
        {&out, "192.0.2.1", 8081, 0, "a from 192.0.2.2"}, {NULL, "127.0.0.1", 8080, 0, "a from 10.9.1.1"},
    };
    try(rows, ARRAY_SIZE(rows));
    inside(a.link.ns_fd, "ping -c 1 -W 1 10.9.77.1; ping -c 1 -W 1 fd09:77::1", " 0% packet loss");
    take_out(&share);
    says("ip addr del 10.9.77.1/32 dev lo; ip addr del 10.9.77.2/32 dev lo; ip -6 addr del fd09:77::1/128 dev lo", "");
}

/* CVE-2020-8558, and its sister: a port published on 127.0.0.1, asked for over the wire. */
static void loopback_is_not_reached_from_elsewhere(void **state)
{
    static const char lie[] = "sysctl -q net.ipv4.conf.all.route_localnet=1; ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.1 via %s dev eth0 src %s";
    char text[256];
    const struct row rows[] = {
        {&a, "127.0.0.1", 7777, 0, "nothing"},   {&a, "127.0.0.1", 8080, 0, "nothing"},
        {&out, "127.0.0.1", 7777, 0, "nothing"}, {&out, "127.0.0.1", 8080, 0, "nothing"},
        {NULL, "127.0.0.1", 7777, 0, "host from 127.0.0.1"},
    };
    (void)snprintf(text, sizeof(text), lie, "10.9.1.1", "10.9.1.2");
    inside(a.link.ns_fd, text, "");
    (void)snprintf(text, sizeof(text), lie, "192.0.2.1", "192.0.2.2");
    inside(out.link.ns_fd, text, "");
    try(rows, ARRAY_SIZE(rows));
    inside(a.link.ns_fd, "ip route del 127.0.0.1; ip addr add 127.0.0.1/8 dev lo", "");
    inside(out.link.ns_fd, "ip route del 127.0.0.1; ip addr add 127.0.0.1/8 dev lo", "");
}

static void nobody_speaks_as_another(void **state)
{
    static const char *const lies[] = {
        "ip addr add 10.9.1.2/24 dev eth0; ping -c 1 -W 0.3 -I 10.9.1.2 10.9.1.1 || true; ip addr del 10.9.1.2/24 dev eth0",
        "ip addr add 10.9.1.77/24 dev eth0; ping -c 1 -W 0.3 -I 10.9.1.77 10.9.1.1 || true; ip addr del 10.9.1.77/24 dev eth0",
        "ip link set eth0 address 02:be:0a:09:01:02; ping -c 1 -W 0.3 10.9.1.1 || true; ip link set eth0 address 02:be:0a:09:01:03; ip route replace default via 10.9.1.1",
        "ip -6 addr add fd09:1::2/64 dev eth0 nodad; ping -c 1 -W 0.3 -I fd09:1::2 fd09:1::1 || true; ip -6 addr del fd09:1::2/64 dev eth0",
    };
    says("ping -c 1 -W 1 10.9.1.2", " 0% packet loss");
    for (size_t i = 0; i < ARRAY_SIZE(lies); i++)
        inside(b.link.ns_fd, lies[i], " 100% packet loss");
    says("ip neigh show 10.9.1.2", "02:be:0a:09:01:02");
    says("ip neigh show 10.9.1.77 | grep -c 02:be:0a:09:01:03 || true", "0");
    says("bridge fdb show br bb1a2b3c4d-1 | grep '^02:be:0a:09:01:02' | grep -v permanent", a.link.name);
    const struct row rows[] = {{&b, "10.9.1.2", 80, 0, "a from 10.9.1.3"}, {NULL, "127.0.0.1", 8080, 0, "a from 10.9.1.1"}};
    try(rows, ARRAY_SIZE(rows));
}

/* One that sent before the port came, and goes on after it went: the same flow all the time. */
static void udp_flows_follow_their_port(void **state)
{
    struct net_publish p = port("192.0.2.1", 5400, "10.9.1.2", 53, 1, IPPROTO_UDP);
    struct net_share share = {.ports = &p, .n_ports = 1};
    struct berth_error err = {0};
    assert_string_equal(ask(out.link.ns_fd, IPPROTO_UDP, "192.0.2.1", 5400, 40000), "nothing");
    says("conntrack -L -p udp 2>/dev/null", "dport=5400");
    add(&share);
    assert_string_equal(ask(out.link.ns_fd, IPPROTO_UDP, "192.0.2.1", 5400, 40000), "nothing");
    assert_int_equal(net_connections_forget(&filter, &p, 1, &err), 1);
    assert_string_equal(ask(out.link.ns_fd, IPPROTO_UDP, "192.0.2.1", 5400, 40000), "a udp from 192.0.2.2");
    take_out(&share);
    assert_string_equal(ask(out.link.ns_fd, IPPROTO_UDP, "192.0.2.1", 5400, 40000), "a udp from 192.0.2.2");
    assert_int_equal(net_connections_forget(&filter, &p, 1, &err), 1);
    assert_string_equal(ask(out.link.ns_fd, IPPROTO_UDP, "192.0.2.1", 5400, 40000), "nothing");
    p.protocol = IPPROTO_TCP;
    assert_int_equal(net_connections_forget(&filter, &p, 1, &err), 0);
}

static void scene_is_left(void **state)
{
    struct net_share share = {.ports = published, .n_ports = n_published};
    struct net_listing *l = NULL;
    struct berth_error err = {0};
    const struct row rows[] = {{NULL, "127.0.0.1", 8080, 0, "nothing"}, {&out, "192.0.2.1", 8081, 0, "nothing"}};
    take_out(&share);
    try(rows, ARRAY_SIZE(rows));
    assert_int_equal(net_filter_list(&filter, HASH, &l, &err), 0);
    assert_true(l->n_ports == 0 && l->n_bridges == 3 && l->n_guests == 8);
    net_listing_free(l);
    rig_leave();
}

static int setup(void **state)
{
    if (rig_enter() < 0 || netlink_open(&route, NETLINK_ROUTE) < 0)
        return -1;
    return netlink_open(&filter, NETLINK_NETFILTER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(skeleton_is_made_checked_and_mended),
        cmocka_unit_test(shares_come_and_go),
        cmocka_unit_test(a_dead_ones_port_is_turned_over),
        cmocka_unit_test(sixty_five_thousand_ports),
        cmocka_unit_test(scene_is_set),
        cmocka_unit_test(with_br_netfilter),
        cmocka_unit_test(published_ports_answer),
        cmocka_unit_test(networks_are_apart),
        cmocka_unit_test(without_br_netfilter),
        cmocka_unit_test(published_ports_answer),
        cmocka_unit_test(networks_are_apart),
        cmocka_unit_test(who_is_walled_reaches_what_was_named_of_the_host),
        cmocka_unit_test(loopback_is_not_reached_from_elsewhere),
        cmocka_unit_test(nobody_speaks_as_another),
        cmocka_unit_test(udp_flows_follow_their_port),
        cmocka_unit_test(scene_is_left),
    };
    if (!rig_possible())
        return 77;
    return cmocka_run_group_tests(tests, setup, NULL);
}
