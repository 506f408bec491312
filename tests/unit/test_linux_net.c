/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network's kernel layer in a network namespace of its own; ip(8) is the judge.
 */
#include "net_rig.h"

#include "base/file.h"
#include "linux/net_link.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>

static struct netlink host = NETLINK_NONE;

static struct net_bridge bridge_of(unsigned number, const char *v4, const char *v6)
{
    struct net_bridge b = {0};
    net_bridge_name(HASH, false, number, b.name);
    if (v4)
        b.gateway[0] = subnet(v4);
    if (v6)
        b.gateway[1] = subnet(v6);
    return b;
}

static int ensure(const struct net_bridge *b, bool *made)
{
    struct berth_error err = {0};
    int r = net_bridge_ensure(&host, b, made, &err);
    if (r < 0)
        fail_msg("%s\n", err.message);
    return r;
}

static void names_tell_what_they_are(void **state)
{
    char name[NET_LINK_MAX], other[NET_LINK_MAX];
    net_bridge_name(HASH, false, 9999, name);
    assert_string_equal(name, "bb1a2b3c4d-9999");
    assert_int_equal(net_link_kind(HASH, name), 'b');
    net_bridge_name(HASH, true, 1, name);
    assert_string_equal(name, "bi1a2b3c4d-1");
    assert_int_equal(net_link_kind(HASH, name), 'i');
    net_link_name(HASH, name);
    net_link_name(HASH, other);
    assert_int_equal(strlen(name), 15);
    assert_string_not_equal(name, other);
    assert_int_equal(net_link_kind(HASH, name), 'v');
    assert_int_equal(net_link_kind("1a2b3c4e", name), 0);
    assert_int_equal(net_link_kind(HASH, "eth0"), 0);
    assert_int_equal(net_link_kind(HASH, "b"), 0);
    assert_int_equal(net_link_kind(HASH, "bb1a2b3c4d"), 0);
}

static void bridge_is_made_once_and_mended(void **state)
{
    struct net_bridge b = bridge_of(1, "10.9.1.1/24", "fd09::1/64");
    bool made = false;
    int index = ensure(&b, &made);
    assert_true(index > 0 && made && net_link_index(&host, b.name) == index);
    assert_int_equal(ensure(&b, &made), index);
    assert_false(made);
    says("ip -d link show bb1a2b3c4d-1", "forward_delay 0 ");
    says("ip -d link show bb1a2b3c4d-1", "stp_state 0 ");
    says("ip -d link show bb1a2b3c4d-1", "02:be:0a:09:01:01");
    says("ip -4 -o addr show dev bb1a2b3c4d-1", "inet 10.9.1.1/24 brd 10.9.1.255 ");
    says("ip -6 -o addr show dev bb1a2b3c4d-1", "fd09::1/64 ");
    says("cat /proc/sys/net/ipv4/conf/bb1a2b3c4d-1/route_localnet", "1");
    says("cat /proc/sys/net/ipv4/conf/all/route_localnet", "0");
    static const char *const harm[] = {"ip link set bb1a2b3c4d-1 down", "ip addr flush dev bb1a2b3c4d-1",
                                       "echo 0 >/proc/sys/net/ipv4/conf/bb1a2b3c4d-1/route_localnet", "ip link set bb1a2b3c4d-1 mtu 1400",
                                       "ip link del bb1a2b3c4d-1"};
    for (size_t i = 0; i < ARRAY_SIZE(harm); i++) {
        says(harm[i], "");
        assert_true(ensure(&b, &made) > 0);
        if (!made)
            fail_msg("after \"%s\" nothing was mended\n", harm[i]);
        says("ip link show bb1a2b3c4d-1", ",UP");
        says("ip link show bb1a2b3c4d-1", "mtu 1500 ");
        says("ip -4 -o addr show dev bb1a2b3c4d-1", "10.9.1.1/24");
        says("cat /proc/sys/net/ipv4/conf/bb1a2b3c4d-1/route_localnet", "1");
        ensure(&b, &made);
        assert_false(made);
    }
}

static void bridge_without_ipv6_has_none(void **state)
{
    struct net_bridge b = bridge_of(2, "10.9.2.1/24", NULL);
    b.mtu = 9000;
    ensure(&b, NULL);
    says("ip link show bb1a2b3c4d-2", "mtu 9000 ");
    says("ip link add x1 type veth peer name x2; ip link set x1 master bb1a2b3c4d-2 up; ip link set x2 up; sleep 0.1", "");
    says("ip -o addr show dev bb1a2b3c4d-2 | grep -c inet6 || true", "0");
    says("ip link del x1", "");
}

static void bridge_does_not_take_a_strangers_link(void **state)
{
    struct net_bridge b = bridge_of(3, "10.9.3.1/24", NULL);
    struct berth_error err = {0};
    says("ip link add bb1a2b3c4d-3 type veth peer name d3", "");
    assert_int_equal(net_bridge_ensure(&host, &b, NULL, &err), BERTH_EXISTS);
    assert_non_null(strstr(err.message, "bb1a2b3c4d-3"));
    says("ip link del bb1a2b3c4d-3", "");
}

struct guest {
    struct net_link link;
    struct netlink inside;
};

static struct guest guest_make(int bridge, const char *v4, const char *v6, const char *gateway)
{
    struct guest g = {.link = {.bridge = bridge, .inside = "eth0", .index = 2}};
    struct berth_error err = {0};
    net_link_name(HASH, g.link.name);
    g.link.address[0] = subnet(v4);
    if (v6)
        g.link.address[1] = subnet(v6);
    if (gateway)
        g.link.gateway[0] = address(gateway);
    net_mac(&g.link.address[0], g.link.mac);
    if (net_namespace_make(&g.link.ns_fd, &g.inside, &err) < 0 || net_link_add(&host, &g.link, &err) < 0 ||
        net_links_configure(&g.inside, &g.link, 1, &err) < 0)
        fail_msg("%s\n", err.message);
    return g;
}

static void guest_end(struct guest *g)
{
    netlink_close(&g->inside);
    close(g->link.ns_fd);
}

static void workload_gets_its_link(void **state)
{
    struct net_bridge b = bridge_of(1, "10.9.1.1/24", "fd09::1/64");
    struct berth_error err = {0};
    int bridge = ensure(&b, NULL);
    struct guest g = guest_make(bridge, "10.9.1.7/24", "fd09::7/64", "10.9.1.1");
    inside(g.link.ns_fd, "ip -o link show lo", ",UP");
    inside(g.link.ns_fd, "ip -o link show eth0", "2: eth0@");
    inside(g.link.ns_fd, "ip -o link show eth0", "02:be:0a:09:01:07");
    inside(g.link.ns_fd, "ip -o -4 addr show eth0", "inet 10.9.1.7/24 brd 10.9.1.255 ");
    inside(g.link.ns_fd, "ip -o -6 addr show eth0", "fd09::7/64");
    inside(g.link.ns_fd, "ip -o -6 addr show eth0", "fe80::be:aff:fe09:107/64");
    inside(g.link.ns_fd, "ip route", "default via 10.9.1.1 dev eth0");
    struct address local = net_link_local(g.link.mac);
    char text[ADDRESS_TEXT_MAX];
    assert_string_equal(address_print(&local, text), "fe80::be:aff:fe09:107");
    says("ping -c 1 -W 2 10.9.1.7 2>&1 | tail -3", " 0% packet loss");
    says("ping -c 1 -W 2 fd09::7 2>&1 | tail -3", " 0% packet loss");
    assert_int_equal(net_link_add(&host, &g.link, &err), BERTH_EXISTS);

    struct net_found found, *all = NULL;
    size_t n = 0;
    assert_int_equal(net_link_read(&host, g.link.name, &found, &err), 0);
    assert_true(found.master == bridge && found.up && found.rx_packets >= 2 && found.rx_bytes > 100);
    assert_int_equal(net_links_list(&host, HASH, &all, &n, &err), 0);
    size_t links = 0, bridges = 0;
    for (size_t i = 0; i < n; i++) {
        links += all[i].kind == 'v' && !strcmp(all[i].name, g.link.name) && all[i].master == bridge;
        bridges += all[i].kind == 'b' && all[i].index == bridge;
    }
    assert_true(links == 1 && bridges == 1);
    free(all);

    assert_int_equal(net_link_remove(&host, g.link.name, &err), 0);
    assert_int_equal(net_link_remove(&host, g.link.name, &err), 0);
    assert_int_equal(net_link_read(&host, g.link.name, &found, &err), BERTH_NOT_FOUND);
    guest_end(&g);
}

static void link_goes_with_its_namespace(void **state)
{
    struct net_bridge b = bridge_of(1, "10.9.1.1/24", "fd09::1/64");
    struct guest g = guest_make(ensure(&b, NULL), "10.9.1.8/24", NULL, NULL);
    inside(g.link.ns_fd, "ip -o -6 addr show eth0 | wc -l", "0");
    inside(g.link.ns_fd, "ip route | grep -c default || true", "0");
    guest_end(&g);
    for (int i = 0; i < 100 && net_link_index(&host, g.link.name); i++)
        usleep(20000);
    assert_int_equal(net_link_index(&host, g.link.name), 0);
}

/* The same address and MAC in a new workload while the old one's link is still there. */
static void address_moves_at_once(void **state)
{
    struct net_bridge b = bridge_of(1, "10.9.1.1/24", NULL);
    int bridge = ensure(&b, NULL);
    struct guest g = guest_make(bridge, "10.9.1.9/24", NULL, "10.9.1.1");
    says("ping -c 1 -W 2 10.9.1.9 2>&1 | tail -3", " 0% packet loss");
    struct guest again = guest_make(bridge, "10.9.1.9/24", NULL, "10.9.1.1");
    inside(g.link.ns_fd, "ip link set eth0 down", "");
    says("ping -c 1 -W 1 10.9.1.9 2>&1 | tail -3", " 0% packet loss");
    guest_end(&g);
    guest_end(&again);
}

static void prepared_link_is_put_on_a_bridge(void **state)
{
    struct net_bridge b = bridge_of(1, "10.9.1.1/24", NULL);
    struct berth_error err = {0};
    int bridge = ensure(&b, NULL);
    struct guest g = guest_make(0, "10.9.77.9/24", NULL, NULL);
    g.link.address[0] = subnet("10.9.1.10/24");
    net_mac(&g.link.address[0], g.link.mac);
    inside(g.link.ns_fd, "ip addr flush dev eth0; ip link set eth0 down", "");
    assert_int_equal(net_links_configure(&g.inside, &g.link, 1, &err), 0);
    assert_int_equal(net_link_attach(&host, g.link.name, bridge, &err), 0);
    says("ping -c 1 -W 2 10.9.1.10 2>&1 | tail -3", " 0% packet loss");
    assert_int_equal(net_link_attach(&host, g.link.name, 99999, &err), BERTH_NOT_FOUND);
    assert_int_equal(net_link_attach(&host, "bv1a2b3c4dnever", bridge, &err), BERTH_NOT_FOUND);
    guest_end(&g);
}

static void failures_name_the_link(void **state)
{
    struct guest g = {.link = {.name = "bv1a2b3c4d00000", .bridge = 99999, .inside = "eth0", .index = 2, .mac = {2, 0xbe}}};
    struct berth_error err = {0};
    assert_int_equal(net_namespace_make(&g.link.ns_fd, &g.inside, &err), 0);
    assert_int_equal(net_link_add(&host, &g.link, &err), BERTH_NOT_FOUND);
    assert_int_equal(net_link_index(&host, g.link.name), 0);
    assert_int_equal(net_links_configure(&g.inside, &g.link, 1, &err), BERTH_IO);
    assert_non_null(strstr(err.message, "eth0") ? strstr(err.message, "eth0") : strstr(err.message, "network"));
    assert_int_equal(net_links_configure(&g.inside, NULL, 0, &err), 0);
    inside(g.link.ns_fd, "ip -o link show lo", ",UP");
    guest_end(&g);
}

static bool taken(const char *s, const char *except)
{
    struct net_range *ranges = NULL;
    struct berth_error err = {0};
    struct address a = subnet(s);
    size_t n = 0;
    assert_int_equal(net_ranges_read(&host, &ranges, &n, &err), 0);
    const struct net_range *r = net_range_find(ranges, n, &a, except);
    bool found = r != NULL;
    free(ranges);
    return found;
}

static void what_the_host_has_is_seen(void **state)
{
    says("ip link set lo up; ip link add d0 type veth peer name d9; ip link set d9 up; ip link set d0 up; ip addr add 192.168.40.5/24 dev d0", "");
    says("ip addr add 2001:db8:40::1/64 dev d0 nodad; ip route add 172.31.0.0/16 via 192.168.40.1", "");
    says("ip route add 203.0.112.0/24 dev d0 table 77; ip route add blackhole 198.18.0.0/15", "");
    says("ip route add 0.0.0.0/1 dev d0; ip route add default dev d0; ip -6 route add fd77::/48 dev d0", "");
    assert_true(taken("192.168.40.0/26", NULL) && taken("192.168.0.0/16", NULL) && taken("172.31.4.0/24", NULL));
    assert_true(taken("203.0.112.0/30", NULL) && taken("198.19.0.0/24", NULL));
    assert_true(taken("2001:db8:40::/56", NULL) && taken("fd77:0:0:5::/64", NULL));
    assert_false(taken("192.168.41.0/24", NULL) || taken("10.77.0.0/16", NULL) || taken("fd78::/48", NULL));
    assert_false(taken("192.168.40.0/24", "d0") || taken("127.0.0.0/8", NULL));
    says("ip link set d0 mtu 1380", "");
    assert_int_equal(net_default_mtu(&host), 1380);
    says("ip route replace default dev d0 mtu 1300; ip route del 0.0.0.0/1", "");
    assert_int_equal(net_default_mtu(&host), 1300);
    says("ip link del d0; ip route flush table main", "");
    assert_int_equal(net_default_mtu(&host), 1500);
}

static void forwarding_is_turned_on_once(void **state)
{
    struct berth_error err = {0};
    bool changed = false;
    says("sysctl -q net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0", ""); /* the host's is inherited */
    says("ip link add d1 type veth peer name d2; echo 1 >/proc/sys/net/ipv6/conf/d1/accept_ra", "");
    for (int family = AF_INET; family; family = family == AF_INET ? AF_INET6 : 0) {
        assert_int_equal(net_forwarding(family), 0);
        assert_int_equal(net_forwarding_enable(family, &changed, &err), 0);
        assert_true(changed && net_forwarding(family) == 1);
        assert_int_equal(net_forwarding_enable(family, &changed, &err), 0);
        assert_false(changed);
    }
    says("cat /proc/sys/net/ipv6/conf/d1/accept_ra", "2");
    says("ip link del d1", "");
}

static int setup(void **state)
{
    if (rig_enter() < 0)
        return -1;
    return netlink_open(&host, NETLINK_ROUTE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_tell_what_they_are),
        cmocka_unit_test(bridge_is_made_once_and_mended),
        cmocka_unit_test(bridge_without_ipv6_has_none),
        cmocka_unit_test(bridge_does_not_take_a_strangers_link),
        cmocka_unit_test(workload_gets_its_link),
        cmocka_unit_test(link_goes_with_its_namespace),
        cmocka_unit_test(address_moves_at_once),
        cmocka_unit_test(prepared_link_is_put_on_a_bridge),
        cmocka_unit_test(failures_name_the_link),
        cmocka_unit_test(what_the_host_has_is_seen),
        cmocka_unit_test(forwarding_is_turned_on_once),
    };
    if (!rig_possible())
        return 77;
    return cmocka_run_group_tests(tests, setup, NULL);
}
