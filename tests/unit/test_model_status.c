/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status record: round trip, damage told, records of other versions.
 */
#include "unit.h"

#include "model/status.h"

static struct status sample(void)
{
    struct status s = {
        .version = STATUS_VERSION, .state = BERTH_FAILED, .boot_id = "0f0e-1d2c", .pid = 12,
        .supervisor_pid = 11, .exit_code = 137, .signal = 9, .oom = BERTH_OOM_MAIN,
        .health = BERTH_UNHEALTHY, .health_failures = 3, .ready = true, .wanted = true,
        .restarts = 4, .created_usec = 1790000000000000, .started_usec = 1, .ended_usec = 2,
        .next_start_usec = INT64_MAX, .memory_limit = 1 << 26, .memory_peak = INT64_MAX,
        .log_dropped_bytes = 5, .log_dropped_lines = 6, .start_error = BERTH_NO_PROGRAM,
        .reason = "out of memory in \"main\" \\ \x01 \xc3\xa9 /", .cgroup = "/berth-1/2",
        .n_health_log = 2,
    };
    s.health_log[0] = (struct status_probe){1, 2, -1, "no\nanswer"};
    s.health_log[1] = (struct status_probe){3, 4, 0, ""};
    return s;
}

static void record_survives_writing_and_reading(void **state)
{
    struct status before = sample(), after;
    autofree char *json = status_print(&before);
    assert_non_null(json);
    assert_int_equal(status_parse(json, strlen(json), &after, NULL), 0);
    assert_memory_equal(&before, &after, sizeof(before));
}

static void every_cut_record_is_refused(void **state)
{
    struct status before = sample(), after;
    autofree char *json = status_print(&before);
    for (size_t n = 0; n + 1 < strlen(json); n++) {
        struct berth_error err = {0};
        assert_int_equal(status_parse(json, n, &after, &err), BERTH_CORRUPT);
        assert_int_equal(err.code, BERTH_CORRUPT);
    }
}

static void check(const char *json, int code)
{
    struct status s;
    struct berth_error err = {0};
    int r = status_parse(json, strlen(json), &s, &err);
    if (r != code)
        print_error("%s: %d, %s\n", json, r, err.message);
    assert_int_equal(r, code);
}

static void records_of_other_versions(void **state)
{
    check("{\"version\":1,\"state\":\"running\"}", 0);
    check(" {\"state\" : \"running\", \"new\": {\"a\":[1,2.5e3,null,\"\\u00e9\"]}, \"version\":1}\n", 0);
    check("{\"version\":2,\"state\":\"running\"}", BERTH_CORRUPT);
    check("{\"version\":1}", BERTH_CORRUPT);
    check("{\"version\":1,\"state\":\"happy\"}", BERTH_CORRUPT);
    check("{\"version\":1,\"state\":\"running\"} x", BERTH_CORRUPT);
    check("{\"version\":1,\"state\":\"running\",\"pid\":2147483648}", BERTH_CORRUPT);
    check("{\"version\":1,\"state\":\"running\",\"pid\":1.5}", BERTH_CORRUPT);
    check("{\"version\":1,\"state\":\"running\",\"pid\":01}", BERTH_CORRUPT);
    check("{\"version\":1,\"state\":\"running\",\"restarts\":-1}", BERTH_CORRUPT);
    check("{\"version\":1,\"state\":\"running\",\"ready\":1}", BERTH_CORRUPT);
    check("{\"version\":1,\"state\":\"running\",\"reason\":\"\xff\"}", BERTH_CORRUPT);
    check("{\"version\":1,\"state\":\"running\",\"reason\":\"\\ud800\"}", BERTH_CORRUPT);
    check("{\"version\":1,\"state\":\"running\",\"health_log\":[{},{},{},{},{},{}]}", BERTH_CORRUPT);
    check("[]", BERTH_CORRUPT);
    check("", BERTH_CORRUPT);
}

static void deep_nesting_is_refused(void **state)
{
    char json[3000] = "{\"version\":1,\"state\":\"running\",\"x\":";
    size_t n = strlen(json);
    memset(json + n, '[', sizeof(json) - n - 1);
    json[sizeof(json) - 1] = '\0';
    check(json, BERTH_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_survives_writing_and_reading),
        cmocka_unit_test(every_cut_record_is_refused),
        cmocka_unit_test(records_of_other_versions),
        cmocka_unit_test(deep_nesting_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
