/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet filter, in a network namespace of its own: what nft(8) lists, and what gets through between
 * real sockets: published ports, isolation, and workloads that speak with another's address.
 */
#include "net_rig.h"

#include "base/text.h"
#include "linux/net_filter.h"

#include <netinet/in.h>
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
    struct net_share share = {.bridges = bridges, .n_bridges = 1, .guests = &guest, .n_guests = 1, .ports = ports, .n_ports = ARRAY_SIZE(ports)};
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
    };
    if (!rig_possible())
        return 77;
    return cmocka_run_group_tests(tests, setup, NULL);
}
