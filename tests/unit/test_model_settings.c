/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth.toml as data: what is taken, what is refused and how, and what it puts below a spec.
 */
#include "fault.h"
#include "unit.h"

#include "base/text.h"
#include "model/settings.h"

static const char all[] =
    "{\"cgroup_parent\":\"/a\",\"publish_address\":\"0.0.0.0\",\"network\":{\"pool\":\"10.9.0.0/16\",\"prefix\":25,"
    "\"default_prefix\":22},\"image_gc\":{\"high\":\"85%\",\"low\":\"70%\"},\"defaults\":{\"log\":{\"max_files\":2}},"
    "\"registries\":{\"a.b:5000\":{\"blocked\":false,\"mirrors\":[\"m\"],\"timeout\":\"10s\"}}}";

static int round_trip(void *data)
{
    autoclean(cleanup_settings) struct settings *s = NULL;
    int r = settings_parse(all, strlen(all), &s, NULL);
    autofree char *text = r == 0 ? settings_print(s) : NULL;
    if (r < 0 || !text)
        return r < 0 && r != BERTH_NO_MEMORY ? r : -1;
    assert_string_equal(text, all);
    return 0;
}

static void what_is_set_survives(void **state)
{
    assert_int_equal(round_trip(NULL), 0);
}

static void memory_that_runs_out(void **state)
{
    if (!FAULT_AVAILABLE)
        skip();
    assert_true(fault_loop(round_trip, NULL) > 10);
}

static void what_is_wrong_is_said_with_its_path(void **state)
{
    static const struct { const char *json, *object, *said; } wrong[] = {
        {"{\"cgroup_parents\":1}", "cgroup_parents", "did you mean cgroup_parent?"},
        {"{\"pool\":\"10.0.0.0/8\"}", "pool", "did you mean network.pool?"},
        {"{\"network\":{\"pool\":\"ten\"}}", "network.pool", "is not a subnet"},
        {"{\"network\":{\"pool\":\"fd00::/8\"}}", "network.pool", "is not a subnet"},
        {"{\"network\":{\"prefix\":31}}", "network.prefix", "31"},
        {"{\"image_gc\":{\"high\":\"85\",\"low\":\"1%\"}}", "image_gc.high", "85%"},
        {"{\"image_gc\":{\"high\":\"5%\",\"low\":\"6%\"}}", "image_gc", "low is not above high"},
        {"{\"image_gc\":{\"high\":\"5%\"}}", "image_gc", "low"},
        {"{\"publish_address\":\"everywhere\"}", "publish_address", "everywhere"},
        {"{\"cgroup_parent\":\"a\"}", "cgroup_parent", "absolute"},
        {"{\"defaults\":1}", "defaults", "table"},
        {"{\"registries\":[]}", "registries", "table"},
        {"{\"registries\":{\"a.b\":{\"mirors\":[]}}}", "registries.a.b.mirors", "did you mean mirrors?"},
        {"{\"registries\":{\"a.b\":{\"timeout\":\"soon\"}}}", "registries.a.b.timeout", "soon"},
        {"{\"registries\":{\"a.b\":{\"key\":\"/k\"}}}", "registries.a.b", "belong together"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        struct settings *s = NULL;
        struct berth_error err = {0};
        assert_int_equal(settings_parse(wrong[i].json, strlen(wrong[i].json), &s, &err), BERTH_INVALID);
        assert_null(s);
        assert_string_equal(err.object, wrong[i].object);
        if (!strstr(err.message, wrong[i].said))
            fail_msg("%s: %s\n", wrong[i].json, err.message);
    }
}

static void defaults_lie_below_a_spec(void **state)
{
    autoclean(cleanup_settings) struct settings *s = NULL;
    autofree char *json = NULL;
    struct berth_error err;
    assert_int_equal(settings_parse(all, strlen(all), &s, NULL), 0);
    assert_int_equal(settings_defaults(s, "{\"image\":\"i\",\"log\":{\"max_size\":1}}", &json, NULL), 0);
    assert_string_equal(json, "{\"log\":{\"max_files\":2,\"max_size\":1},\"cgroup_parent\":\"/a\",\"image\":\"i\"}");
    free(TAKE(json));
    assert_int_equal(settings_defaults(s, "{\"a\":1,\"a\":2}", &json, &err), BERTH_INVALID);
    assert_string_equal(err.object, "a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_set_survives),
        cmocka_unit_test(memory_that_runs_out),
        cmocka_unit_test(what_is_wrong_is_said_with_its_path),
        cmocka_unit_test(defaults_lie_below_a_spec),
    };
    return cmocka_run_group_tests_name("model_settings", tests, NULL, NULL);
}
