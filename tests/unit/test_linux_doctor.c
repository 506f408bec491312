/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other firewalls that drop what is forwarded: found and named, opened by their own commands, closed again.
 */
#include "net_rig.h"

#include "linux/net_doctor.h"

#include <stdio.h>

static struct net_obstacle *all;
static size_t n_all;

static void look(size_t expected)
{
    struct berth_error err = {0};
    free(all);
    all = NULL;
    assert_int_equal(net_obstacles_read(HASH, &all, &n_all, &err), 0);
    if (n_all != expected)
        fail_msg("%zu obstacles, not %zu; the first is %s %s %s %s\n", n_all, expected, n_all ? all[0].tool : "", n_all ? all[0].family : "",
                 n_all ? all[0].table : "", n_all ? all[0].chain : "");
}

static void is_opened_and_closed(void)
{
    struct berth_error err = {0};
    assert_false(all[0].opened);
    if (net_obstacle_open(HASH, &all[0], &err) < 0)
        fail_msg("%s\n", err.message);
    look(n_all);
    assert_true(all[0].opened);
    assert_int_equal(net_obstacle_open(HASH, &all[0], &err), 0);
    assert_int_equal(net_obstacles_close(HASH, &err), 0);
    look(n_all);
    assert_false(all[0].opened);
    for (size_t i = 0; i < ARRAY_SIZE(all[0].opens) && *all[0].opens[i]; i++)
        says(all[0].opens[i], ""); /* and by hand, as printed */
    look(n_all);
    assert_true(all[0].opened);
    assert_int_equal(net_obstacles_close(HASH, &err), 0);
    assert_int_equal(net_obstacles_close(HASH, &err), 0);
}

static void nobody_is_in_the_way(void **state)
{
    look(0);
    says("nft 'add table inet mine; add chain inet mine f { type filter hook forward priority 0; policy accept; }; "
         "add rule inet mine f ip daddr 10.0.0.1 drop; add table inet berth_1a2b3c4d; "
         "add chain inet berth_1a2b3c4d f { type filter hook forward priority 0; policy drop; }; "
         "add chain inet mine o { type filter hook output priority 0; policy drop; }'", "");
    look(0);
    says("nft flush ruleset", "");
}

static void a_stranger_drops(void **state)
{
    says("nft 'add table inet mine; add chain inet mine through { type filter hook forward priority 0; policy drop; }'", "");
    look(1);
    assert_string_equal(all[0].tool, "nftables");
    assert_string_equal(all[0].chain, "through");
    assert_non_null(strstr(all[0].opens[0], "inet mine through iifname \"bb1a2b3c4d-*\""));
    is_opened_and_closed();
    says("nft 'delete table inet mine; add table ip6 mine; add chain ip6 mine through { type filter hook forward priority 0; policy accept; }; "
         "add rule ip6 mine through counter reject'", "");
    look(1);
    assert_string_equal(all[0].family, "ip6");
    is_opened_and_closed();
    says("nft flush ruleset", "");
}

static void docker_and_ufw_drop(void **state)
{
    says("iptables -P FORWARD DROP && iptables -N DOCKER && iptables -N DOCKER-USER && iptables -A FORWARD -j DOCKER-USER && iptables -A DOCKER-USER -j RETURN", "");
    look(1);
    assert_string_equal(all[0].tool, "docker");
    assert_string_equal(all[0].target, "DOCKER-USER");
    is_opened_and_closed();
    says("iptables -S DOCKER-USER", "-A DOCKER-USER -j RETURN");
    says("iptables -S | grep -c bb1a2b3c4d || true", "0");
    says("nft flush ruleset; iptables -A FORWARD -s 10.0.0.1 -j DROP", "");
    look(0);
    says("iptables -A FORWARD -m comment --comment last -j REJECT", "");
    look(1);
    is_opened_and_closed();
    says("nft flush ruleset; iptables -P FORWARD DROP; iptables -N ufw-before-forward; iptables -A FORWARD -j ufw-before-forward", "");
    look(1);
    assert_string_equal(all[0].tool, "ufw");
    assert_string_equal(all[0].target, "FORWARD");
    is_opened_and_closed();
    says("nft flush ruleset", "");
}

static void names_are_asked_of_the_host(void **state)
{
    says("nft 'add table inet mine; add chain inet mine in { type filter hook input priority 0; policy drop; }'", "");
    look(1);
    assert_true(all[0].names);
    assert_non_null(strstr(all[0].opens[0], "inet mine in iifname \"bb1a2b3c4d-*\" udp dport 53"));
    is_opened_and_closed();
    says("nft 'add rule inet mine in iifname \"eth0\" udp dport 53 accept; add rule inet mine in udp dport 54 accept'", "");
    look(1);
    assert_false(all[0].opened);
    says("nft 'add rule inet mine in udp dport 53 accept'", "");
    look(1);
    assert_true(all[0].opened);
    says("nft flush ruleset; iptables -P INPUT DROP; iptables -N ufw-user-input; iptables -A INPUT -j ufw-user-input", "");
    look(1);
    assert_string_equal(all[0].tool, "ufw");
    is_opened_and_closed();
    says("iptables -S INPUT", "-P INPUT DROP\n-A INPUT -j ufw-user-input"); /* iptables still reads its table */
    says("iptables -A ufw-user-input -p udp -m udp --dport 53 -j ACCEPT", "");
    look(1);
    assert_true(all[0].opened);
    says("nft flush ruleset", "");
}

static void legacy_drops(void **state)
{
    int status = 0;
    free(output_of(-1, "iptables-legacy -P FORWARD DROP && iptables-legacy -N DOCKER-USER && iptables-legacy -A FORWARD -j DOCKER-USER", &status));
    if (status != 0)
        skip(); /* no such program, or a kernel without */
    look(1);
    assert_int_equal(all[0].kind, NET_OBSTACLE_LEGACY);
    assert_string_equal(all[0].target, "DOCKER-USER");
    is_opened_and_closed();
    says("iptables-legacy -S | grep -c bb1a2b3c4d || true", "0");
    says("iptables-legacy -P FORWARD ACCEPT", "");
    look(0);
}

static void firewalld_is_told(void **state)
{
    struct berth_error err = {0};
    says("nft 'add table inet firewalld; add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy accept; }; "
         "add rule inet firewalld filter_FORWARD ct state established accept; add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited'", "");
    look(1);
    assert_string_equal(all[0].tool, "firewalld");
    assert_int_equal(net_obstacle_open(HASH, &all[0], &err), BERTH_UNSUPPORTED);
    assert_non_null(strstr(err.message, "firewall-cmd --permanent --zone=trusted --add-interface=bb1a2b3c4d-+"));
    says("nft 'insert rule inet firewalld filter_FORWARD iifname \"bb1a2b3c4d-*\" accept'", "");
    look(1);
    assert_true(all[0].opened);
    says("nft flush ruleset", "");
}

static int setup(void **state)
{
    return rig_enter();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_in_the_way), cmocka_unit_test(a_stranger_drops), cmocka_unit_test(docker_and_ufw_drop),
        cmocka_unit_test(names_are_asked_of_the_host), cmocka_unit_test(legacy_drops), cmocka_unit_test(firewalld_is_told),
    };
    if (!rig_possible())
        return 77;
    int r = cmocka_run_group_tests(tests, setup, NULL);
    free(all);
    return r;
}
