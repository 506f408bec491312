/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and subnets: what is read, what is refused, and the arithmetic at the edges.
 */
#include "unit.h"

#include "base/address.h"

static struct address subnet(const char *s)
{
    struct address a;
    if (address_parse_subnet(s, &a) < 0)
        fail_msg("%s is no subnet\n", s);
    return a;
}

static struct address address(const char *s)
{
    struct address a;
    if (address_parse(s, &a) < 0)
        fail_msg("%s is no address\n", s);
    return a;
}

static const char *text(struct address a)
{
    static char s[ADDRESS_TEXT_MAX];
    return address_print_subnet(&a, s);
}

static void what_is_read_is_printed(void **state)
{
    static const char *const same[] = {"10.0.0.7/24", "0.0.0.0/0", "255.255.255.255/32", "::/0", "fd00::7/64", "::1/128"};
    static const char *const bad[] = {"", "/", "10.0.0.7", "10.0.0.7/", "10.0.0.7/33", "10.0.0.7/024", "10.0.0.7/ 4", "10.0.0.7/+4",
                                      "10.0.0/24", "10.0.0.7.8/24", "010.0.0.1/24", "::/129", "::1%lo/64", "fd00::7/64/1", "x/1",
                                      "10.0.0.7/4294967320"};
    struct address a;
    for (size_t i = 0; i < ARRAY_SIZE(same); i++)
        assert_string_equal(text(subnet(same[i])), same[i]);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (address_parse_subnet(bad[i], &a) != -EINVAL)
            fail_msg("\"%s\" was read\n", bad[i]);
    assert_int_equal(address_parse("10.0.0.7/24", &a), -EINVAL);
    assert_int_equal(address_parse("[10.0.0.7]", &a), -EINVAL);
    assert_int_equal(address_parse("[]", &a), -EINVAL);
    assert_string_equal(text(address("[fd00::7]")), "fd00::7/128");
    assert_string_equal(text((struct address){0}), "");
}

static void subnets_are_counted(void **state)
{
    struct address net = subnet("10.1.2.128/25");
    assert_string_equal(text(address_first(&net)), "10.1.2.128/25");
    assert_string_equal(text(address_last(&net)), "10.1.2.255/25");
    assert_string_equal(text(address_nth(&net, 127)), "10.1.2.255/25");
    assert_int_equal(address_nth(&net, 128).family, 0);
    assert_true(address_count(&net) == 128);
    struct address inside = address("10.1.2.130"), outside = address("10.1.2.127");
    assert_true(address_index(&net, &inside) == 2 && address_index(&net, &outside) == UINT64_MAX);
    struct address one = subnet("10.0.0.1/32"), all = subnet("0.0.0.0/0"), big = subnet("::/0"), wide = subnet("fd00::/64");
    assert_true(address_count(&one) == 1 && address_count(&all) == UINT64_C(1) << 32);
    assert_true(address_count(&big) == UINT64_MAX && address_count(&wide) == UINT64_MAX);
    assert_string_equal(text(address_nth(&wide, UINT64_MAX)), "fd00::ffff:ffff:ffff:ffff/64");
    assert_string_equal(text(address_last(&big)), "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/0");
}

static void pools_are_divided(void **state)
{
    struct address pool = subnet("10.210.0.0/15"), wide = subnet("fd00::/8"), all = subnet("::/0");
    assert_string_equal(text(address_subnet(&pool, 24, 0)), "10.210.0.0/24");
    assert_string_equal(text(address_subnet(&pool, 24, 511)), "10.211.255.0/24");
    assert_int_equal(address_subnet(&pool, 24, 512).family, 0);
    assert_string_equal(text(address_subnet(&pool, 15, 0)), "10.210.0.0/15");
    assert_int_equal(address_subnet(&pool, 15, 1).family, 0);
    assert_int_equal(address_subnet(&pool, 14, 0).family, 0);
    assert_int_equal(address_subnet(&pool, 33, 0).family, 0);
    assert_string_equal(text(address_subnet(&wide, 64, 1)), "fd00:0:0:1::/64");
    assert_string_equal(text(address_subnet(&all, 0, 0)), "::/0");
    assert_int_equal(address_subnet(&all, 0, 1).family, 0);
}

static void who_covers_whom(void **state)
{
    struct address net = subnet("10.0.0.7/8"), in = address("10.255.0.1"), out = address("11.0.0.1");
    struct address small = subnet("10.9.0.0/24"), v6 = subnet("::/0");
    assert_true(address_in(&net, &in) && !address_in(&net, &out) && !address_in(&v6, &in));
    assert_true(address_overlap(&net, &small) && address_overlap(&small, &net));
    assert_false(address_overlap(&small, &out) || address_overlap(&v6, &net));
    assert_true(address_compare(&net, &in) < 0 && address_compare(&v6, &net) > 0 && address_compare(&in, &in) == 0);
    struct address none = {0};
    assert_false(address_in(&none, &none) || address_is_any(&none) || address_is_unicast(&none));
}

static void what_a_workload_may_have(void **state)
{
    static const char *const good[] = {"10.0.0.1", "192.168.0.1", "1.1.1.1", "fd00::1", "2001:db8::1", "128.0.0.1"};
    static const char *const bad[] = {"127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "169.254.1.1", "224.0.0.1",
                                      "255.255.255.255", "::", "::1", "fe80::1", "ff02::1", "::ffff:10.0.0.1"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        struct address a = address(good[i]);
        assert_true(address_is_unicast(&a) && !address_is_loopback(&a));
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct address a = address(bad[i]);
        if (address_is_unicast(&a))
            fail_msg("%s\n", bad[i]);
        assert_true(address_is_loopback(&a) == (i < 2 || !strcmp(bad[i], "::1")));
    }
    struct address any = address("::"), v4 = address("0.0.0.0"), one = address("::1");
    assert_true(address_is_any(&any) && address_is_any(&v4) && !address_is_any(&one));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_read_is_printed), cmocka_unit_test(subnets_are_counted),
        cmocka_unit_test(pools_are_divided),       cmocka_unit_test(who_covers_whom),
        cmocka_unit_test(what_a_workload_may_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
