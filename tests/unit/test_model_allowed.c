/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of allowed_hosts: what they say, and that no name and no wide network opens a special address.
 */
#include "unit.h"

#include "model/allowed.h"

#include <stdio.h>
#include <string.h>

#define RULES_MAX 8

struct ask {
    const char *rules;   /* separated by blanks */
    const char *name;    /* NULL: by address alone */
    const char *address;
    uint16_t port;
    bool allowed;
    bool host;           /* it is the host's own */
};

static size_t read_rules(const char *text, struct allowed_rule *rules)
{
    char copy[512], *rest = copy, *word;
    size_t n = 0;
    snprintf(copy, sizeof(copy), "%s", text);
    while ((word = strsep(&rest, " ")))
        if (*word)
            assert_int_equal(allowed_parse(word, &rules[n++], NULL), 0);
    return n;
}

static const struct ask asks[] = {
    {"", "a.example", "192.0.2.1", 443, false},
    {"a.example", "a.example", "192.0.2.1", 443, true},
    {"a.example", "A.Example.", "192.0.2.1", 80, true},
    {"a.example", "a.example", "192.0.2.1", 8080, false},
    {"a.example:8080", "a.example", "192.0.2.1", 8080, true},
    {"a.example:8080", "a.example", "192.0.2.1", 443, false},
    {"a.example:8000-8010", "a.example", "192.0.2.1", 8010, true},
    {"a.example:8000-8010", "a.example", "192.0.2.1", 8011, false},
    {"a.example", "b.a.example", "192.0.2.1", 443, false},
    {"a.example", NULL, "192.0.2.1", 443, false},
    {"*.a.example", "b.a.example", "192.0.2.1", 443, true},
    {"*.a.example", "a.example", "192.0.2.1", 443, false},
    {"*.a.example", "evila.example", "192.0.2.1", 443, false},
    {"192.0.2.0/24", NULL, "192.0.2.77", 1, true},
    {"192.0.2.0/24", "any.example", "192.0.2.77", 1, true},
    {"192.0.2.0/24:443", NULL, "192.0.2.77", 80, false},
    {"192.0.2.0/24", NULL, "192.0.3.1", 443, false},
    {"192.0.2.1", NULL, "::ffff:192.0.2.1", 443, true},
    {"[2001:db8::]/32:443", NULL, "2001:db8::7", 443, true},
    {"2001:db8::/32", NULL, "2001:db9::7", 443, false},
    {"*", "a.example", "192.0.2.1", 25, true},
    {"*", NULL, "192.0.2.1", 25, true},
    {"*", "a.example", "127.0.0.1", 80, false},
    {"* 0.0.0.0/0 ::/0", "a.example", "127.0.0.1", 80, false},
    {"* 0.0.0.0/0 ::/0", NULL, "169.254.169.254", 80, false},
    {"* 0.0.0.0/0 ::/0", NULL, "::1", 80, false},
    {"* 0.0.0.0/0 ::/0", NULL, "::ffff:127.0.0.1", 80, false},
    {"* 0.0.0.0/0 ::/0", NULL, "fe80::1", 80, false},
    {"* 0.0.0.0/0 ::/0", NULL, "0.0.0.0", 80, false},
    {"a.example", "a.example", "127.0.0.1", 80, false},
    {"127.0.0.0/8", NULL, "127.0.0.1", 80, true},
    {"127.0.0.1:80", "localhost", "127.0.0.1", 80, true},
    {"127.0.0.1:80", NULL, "127.0.0.1", 81, false},
    {"::1", NULL, "::1", 80, true},
    {"169.254.169.254", NULL, "169.254.169.254", 80, true},
    {"* 10.0.0.0/8 a.example", "a.example", "10.0.0.1", 80, false, .host = true},
    {"* 10.0.0.0/8", NULL, "::ffff:10.0.0.1", 80, false, .host = true},
    {"10.0.0.1:80", "a.example", "10.0.0.1", 80, true, .host = true},
    {"10.0.0.1:80", NULL, "10.0.0.1", 81, false, .host = true},
    {"[fd00::1]:80", NULL, "fd00::1", 80, true, .host = true},
    {"127.0.0.0/8", NULL, "127.0.0.1", 80, true, .host = true},
};

static void rules_allow_what_they_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(asks); i++) {
        struct allowed_rule rules[RULES_MAX];
        struct address address;
        size_t n = read_rules(asks[i].rules, rules);
        assert_int_equal(address_parse(asks[i].address, &address), 0);
        if (allowed_address(rules, n, asks[i].name, &address, asks[i].host, asks[i].port) != asks[i].allowed)
            fail_msg("row %zu: %s to %s %s:%u", i, asks[i].rules, asks[i].name ? asks[i].name : "-", asks[i].address, asks[i].port);
    }
}

static void names_are_looked_up_only_where_a_rule_may_fit(void **state)
{
    (void)state;
    struct allowed_rule rules[RULES_MAX];
    assert_false(allowed_name(rules, read_rules("", rules), "a.example", 0));
    assert_true(allowed_name(rules, read_rules("a.example:99", rules), "a.example", 0));
    assert_true(allowed_name(rules, read_rules("a.example:99", rules), "a.example", 99));
    assert_false(allowed_name(rules, read_rules("a.example:99", rules), "a.example", 98));
    assert_false(allowed_name(rules, read_rules("a.example", rules), "b.example", 0));
    assert_true(allowed_name(rules, read_rules("192.0.2.0/24", rules), "b.example", 0));
}

static void what_is_no_rule_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"", ":80", "a b", "a..b", ".a", "a:", "a:0", "a:65536", "a:9-8", "a:1-", "a:x", "*a", "a.*", "*.",
                                      "10.0.0.0/33", "10.0.0.0/", "http://a", "a/b", "[::1", "[::1]:", "-:", "a:1:2", "10.0.0.0/8:x"};
    struct allowed_rule rule;
    struct berth_error err;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        if (allowed_parse(bad[i], &rule, &err) != BERTH_INVALID)
            fail_msg("\"%s\" was taken", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_allow_what_they_say),
        cmocka_unit_test(names_are_looked_up_only_where_a_rule_may_fit),
        cmocka_unit_test(what_is_no_rule_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
