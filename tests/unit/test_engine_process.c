/* SPDX-License-Identifier: Apache-2.0 */
/*
 * process.h by itself: a table, and who may be known under which name. What its workloads do is the contract's to say,
 * with the example engine, and tests/system/test_engines.py's.
 */
#include "unit.h"
#include <berth/process.h>
#include <stdio.h>

static int prepare(void *userdata, const char *spec_json, struct berth_process *process, struct berth_error *err)
{
    return 0;
}

static const struct berth_options nowhere = {.size = sizeof(nowhere), .root = "/no/such/root", .run = "/no/such/run",
                                             .programs = "/no/such", .config = "/no/such", .engines = "/no/such"};

static const struct berth_process_engine one = {.size = sizeof(one), .name = "one", .prepare = prepare};
static const struct berth_process_engine twin = {.size = sizeof(twin), .name = "one", .prepare = prepare};
static const struct berth_process_engine cuckoo = {.size = sizeof(cuckoo), .name = "container", .prepare = prepare};
static const struct berth_process_engine idle = {.size = sizeof(idle), .name = "idle"};
static const struct berth_process_engine anonymous = {.size = sizeof(anonymous), .prepare = prepare};

static int one_open(const struct berth_options *options, void **ret_self, struct berth_error *err)
{
    return berth_process_open(&one, options, ret_self, err);
}

static void a_table_is_filled_once(void **state)
{
    struct berth_engine table = {0};
    assert_null(berth_process_table(NULL, one_open, &table));
    assert_null(berth_process_table(&one, NULL, &table));
    assert_null(berth_process_table(&one, one_open, NULL));
    assert_ptr_equal(berth_process_table(&one, one_open, &table), &table);
    assert_string_equal(table.name, "one");
    table.attach = NULL; /* as its engine likes it */
    assert_ptr_equal(berth_process_table(&one, one_open, &table), &table);
    assert_null(table.attach);
}

static void it_is_an_engine_like_any_other(void **state)
{
    static struct berth_engine table;
    struct berth_runtime *runtime;
    struct berth_handle *handles;
    struct berth_error err;
    size_t n = 1;
    assert_int_equal(berth_register(berth_process_table(&one, one_open, &table), &err), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(berth_open("one", &nowhere, &runtime, &err), 0);
        assert_string_equal(berth_name(runtime), "one");
        assert_int_equal(berth_list(runtime, &handles, &n, &err), 0);
        assert_int_equal(n, 0);
        free(handles);
        berth_close(runtime);
    }
}

static void a_name_is_one_engines(void **state)
{
    struct berth_error err;
    void *self;
    assert_int_equal(berth_process_open(&one, &nowhere, &self, &err), 0);
    struct berth_engine table = {0};
    berth_process_table(&one, one_open, &table);
    table.close(self);
    assert_int_equal(berth_process_open(&twin, &nowhere, &self, &err), BERTH_EXISTS);
    assert_int_equal(berth_process_open(&cuckoo, &nowhere, &self, &err), BERTH_EXISTS);
    assert_string_equal(err.object, "container");
}

static void what_can_be_no_engine_is_refused(void **state)
{
    struct berth_error err;
    struct berth_process_engine older = {.size = offsetof(struct berth_process_engine, prepare), .name = "older", .prepare = prepare};
    void *self;
    assert_int_equal(berth_process_open(&idle, &nowhere, &self, &err), BERTH_INVALID);
    assert_int_equal(berth_process_open(&anonymous, &nowhere, &self, &err), BERTH_INVALID);
    assert_int_equal(berth_process_open(&older, &nowhere, &self, &err), BERTH_INVALID);
    assert_int_equal(berth_process_open(NULL, &nowhere, &self, &err), BERTH_INVALID);
    assert_int_equal(berth_process_open(&one, NULL, &self, &err), BERTH_INVALID);
    assert_int_equal(berth_process_open(&one, &nowhere, NULL, NULL), BERTH_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_is_filled_once),
        cmocka_unit_test(it_is_an_engine_like_any_other),
        cmocka_unit_test(a_name_is_one_engines),
        cmocka_unit_test(what_can_be_no_engine_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
