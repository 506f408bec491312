/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of names: round trip, what is refused, memory that runs out.
 */
#include "unit.h"

#include "base/text.h"
#include "fault.h"
#include "model/names.h"

#define ID "0123456789abcdef0123456789abcdef"

#define S(text) ((char[]){text}) /* one that may be written to, as in what names_parse makes */

static struct names_network two[] = {
    {.network = S("bridge"), .bridge = S("be1234-0"), .gateways = (char *[]){S("10.210.0.1"), NULL},
     .addresses = (char *[]){S("10.210.0.5/20"), S("fd00::5/64"), NULL}, .aliases = (char *[]){S("db"), S("d\"b"), NULL}},
    {.network = S("back"), .bridge = S("be1234-1"), .internal = true, .gateways = (char *[]){S("10.211.0.1"), NULL},
     .addresses = (char *[]){S("10.211.0.9/24"), NULL}},
};
static const struct names sample = {
    .id = S(ID), .name = S("web"), .upstreams = (char *[]){S("192.0.2.1"), S("2001:db8::1"), NULL}, .networks = two, .n_networks = 2};

static int round_trip(void *data)
{
    autofree char *json = NULL, *again = NULL;
    struct names *names autoclean(cleanup_names) = NULL;
    int r = names_print(&sample, &json, NULL);
    if (r == 0)
        r = names_parse(json, strlen(json), &names, NULL);
    if (r == 0)
        r = names_print(names, &again, NULL);
    if (r < 0)
        return r == BERTH_NO_MEMORY ? -1 : r;
    assert_string_equal(json, again);
    assert_int_equal(names->n_networks, 2);
    assert_string_equal(names->networks[0].aliases[1], "d\"b");
    assert_true(names->networks[1].internal && !names->networks[0].internal);
    return 0;
}

static void record_survives_writing_and_reading(void **state)
{
    assert_int_equal(round_trip(NULL), 0);
}

static void memory_that_runs_out(void **state)
{
    if (!FAULT_AVAILABLE)
        skip();
    assert_true(fault_loop(round_trip, NULL) > 10);
}

static void every_cut_record_is_refused(void **state)
{
    autofree char *json = NULL;
    struct names *names = NULL;
    assert_int_equal(names_print(&sample, &json, NULL), 0);
    for (size_t n = 0; n < strlen(json); n++)
        assert_int_equal(names_parse(json, n, &names, NULL), BERTH_CORRUPT);
    assert_null(names);
}

static void check(const char *json, int code)
{
    struct names *names autoclean(cleanup_names) = NULL;
    struct berth_error err = {0};
    int r = names_parse(json, strlen(json), &names, &err);
    if (r != code)
        print_error("%s: %d, %s\n", json, r, err.message);
    assert_int_equal(r, code);
    assert_int_equal(err.code, code);
}

#define WITH(networks) "{\"id\":\"" ID "\",\"name\":\"web\",\"networks\":[" networks "]}"

static void what_is_refused(void **state)
{
    check(WITH(""), 0);
    check("{\"id\":\"" ID "\",\"name\":\"web\",\"newer\":[{}]}", 0);
    check("{\"id\":\"" ID "\",\"networks\":[]}", BERTH_CORRUPT);
    check("{\"id\":\"short\",\"name\":\"web\"}", BERTH_CORRUPT);
    check(WITH("{\"network\":\"a\",\"addresses\":[\"10.0.0.1/8\",\"::1/128\"],\"newer\":1}"), 0);
    check(WITH("{\"addresses\":[\"10.0.0.1/8\"]}"), BERTH_CORRUPT);
    check(WITH("{\"network\":\"a\",\"addresses\":[\"10.0.0.1\"]}"), BERTH_INVALID);
    check(WITH("{\"network\":\"a\",\"addresses\":[\"10.0.0.1/33\"]}"), BERTH_INVALID);
    check(WITH("{\"network\":\"a\",\"addresses\":[\"10.0.0.1/-1\"]}"), BERTH_INVALID);
    check(WITH("{\"network\":\"a\",\"addresses\":[\"10.0.0.1/\"]}"), BERTH_INVALID);
    check(WITH("{\"network\":\"a\",\"gateways\":[\"10.0.0.1/8\"]}"), BERTH_INVALID);
    check(WITH("{\"network\":\"a\",\"gateways\":[\"10.0.0.1\",\"::1\",\"::2\"]}"), BERTH_CORRUPT);
    check("{\"id\":\"" ID "\",\"name\":\"web\",\"upstreams\":[\"localhost\"]}", BERTH_INVALID);
}

static void too_many_aliases(void **state)
{
    char **aliases autoclean(cleanup_strings) = NULL;
    for (int i = 0; i < 8000; i++) {
        autofree char *alias = format_text("alias-%d", i);
        assert_int_equal(strings_add(&aliases, alias), 0);
    }
    struct names_network network = {.network = S("a"), .aliases = aliases};
    struct names names = {.id = S(ID), .name = S("web"), .networks = &network, .n_networks = 1};
    autofree char *json = NULL;
    assert_int_equal(names_print(&names, &json, NULL), BERTH_TOO_BIG);
    assert_null(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_survives_writing_and_reading),
        cmocka_unit_test(memory_that_runs_out),
        cmocka_unit_test(every_cut_record_is_refused),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(too_many_aliases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
