/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create: everything a workload needs, short of running it; or nothing at all.
 */
#include "contract.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/** A whole document that must be refused with `code`; nothing is left of it. */
static void refuses_text(struct contract *c, int code, const char *text)
{
    struct berth_handle h;
    memset(&h, 0x5a, sizeof(h));
    fails_with(code, berth_create(c->runtime, text, &h, ERR));
    equal(h.id[0], 0x5a);
    equal(count_workloads(c), 0);
}

static void create_leaves_it_created(struct contract *c)
{
    struct berth_handle h = create(c, "one", WAITS, NULL);
    struct berth_status *s = status_of(c, &h);
    equal(s->state, BERTH_CREATED);
    equal(s->pid, 0);
    equal(s->exit_code, -1);
    equal(s->started_usec, 0);
    check(s->created_usec > 0, "no time of creation");
    equal_text(s->handle.name, "one");
    berth_status_free(s);
    char *log = log_of(c, &h);
    equal_text(log, "");
    free(log);
}

static void create_runs_and_mounts_nothing(struct contract *c)
{
    json_t *s;
    struct snapshot *before = snapshot_take(c->run, c->scratch, NULL);
    struct berth_handle h = create(c, "quiet", SHELL("sleep 100"), NULL);
    struct snapshot *after;
    for (int64_t end = now_usec() + 5000000;; pause_msec(50)) { /* who syncs the image just brought may begin late, and ends */
        after = snapshot_take(c->run, c->scratch, NULL);
        char *extra = snapshot_extra(before, after);
        if (!extra)
            break;
        check(now_usec() < end, "create made: %s", extra);
        snapshot_free(after);
        free(extra);
    }
    s = status_json(c, &h);
    equal(json_integer_value(json_object_get(s, "supervisor_pid")), 0);
    json_decref(s);
    snapshot_free(before);
    snapshot_free(after);
}

static void create_of_a_name_in_use_is_exists_and_hurts_nobody(struct contract *c)
{
    struct berth_handle h = run_ready(c, "twin", WAITS, NULL);
    fails_with(BERTH_EXISTS, create_code(c, "twin", STEPS("exit 0"), NULL));
    names("twin");
    is_state(c, &h, BERTH_RUNNING);
    equal(count_workloads(c), 1);
}

static void a_name_is_free_again_after_remove(struct contract *c)
{
    struct berth_handle first = create(c, "again", WAITS, NULL);
    ok(berth_remove(c->runtime, &first, NULL, ERR));
    struct berth_handle second = create(c, "again", WAITS, NULL);
    check(memcmp(first.id, second.id, 16) != 0, "two workloads have one id");
}

static void a_name_is_free_again_after_a_failed_create(struct contract *c)
{
    fails_with(BERTH_INVALID, create_code(c, "retry", WAITS, "resources.memory", "'512Q'", NULL));
    create(c, "retry", WAITS, NULL);
}

static void create_without_a_name_makes_one(struct contract *c)
{
    struct berth_handle a = create(c, NULL, WAITS, NULL), b = create(c, NULL, WAITS, NULL);
    check(a.name[0] && b.name[0], "no name was made");
    check(strcmp(a.name, b.name) != 0, "both are called %s", a.name);
    struct berth_handle found;
    ok(berth_find(c->runtime, b.name, &found, ERR));
    check(memcmp(found.id, b.id, 16) == 0, "%s leads to another", b.name);
}

static void bad_names_are_refused(struct contract *c)
{
    static const char *const bad[] = {"'a/b'",     "'..'",  "'.'",     "'a\\nb'", "'a;b'",
                                      "'<<'",      "' a'",  "'-a'",    "'a b'",   "''",
                                      "'\\u00e4'", "'a:b'", "'a\\tb'", "7"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        fails_with(BERTH_INVALID, create_code(c, NULL, WAITS, "name", bad[i], NULL));
    refuses_text(c, BERTH_INVALID, "{\"name\":\"a\\u0000b\",\"image\":\"x\"}");
    char long_name[10001];
    memset(long_name, 'x', 10000);
    long_name[10000] = '\0';
    fails_with(BERTH_INVALID, create_code(c, long_name, WAITS, NULL));
    long_name[BERTH_NAME_MAX + 1] = '\0';
    fails_with(BERTH_INVALID, create_code(c, long_name, WAITS, NULL));
    equal(count_workloads(c), 0);
}

static void a_name_of_128_characters_is_taken(struct contract *c)
{
    char name[BERTH_NAME_MAX + 1];
    memset(name, 'n', BERTH_NAME_MAX);
    name[BERTH_NAME_MAX] = '\0';
    struct berth_handle h = run_ready(c, name, WAITS, NULL), found;
    ok(berth_find(c->runtime, name, &found, ERR));
    equal_text(found.name, name);
    ok(berth_stop(c->runtime, &h, 0, ERR));
}

static void an_unknown_key_is_named_with_a_suggestion(struct contract *c)
{
    fails_with(BERTH_INVALID, create_code(c, "x", WAITS, "resources.memroy", "'1M'", NULL));
    names("memroy");
    names("memory");
    fails_with(BERTH_INVALID, create_code(c, "x", WAITS, "lables", "{}", NULL));
    names("lables");
    names("labels");
}

static void a_bad_value_is_named_with_its_place(struct contract *c)
{
    fails_with(BERTH_INVALID, create_code(c, "x", WAITS, "resources.memory", "'512Q'", NULL));
    has_text(ERR->message, "resources.memory");
    names("512Q");
    names("is not a size");
    fails_with(BERTH_INVALID, create_code(c, "x", WAITS, "stop_signal", "'SIGNO'", NULL));
    names("stop_signal");
    names("SIGNO");
}

static void a_wrong_type_is_named_with_its_place(struct contract *c)
{
    static const char *const wrong[][2] = {
        {"labels", "[1]"},         {"env", "7"},           {"command", "{}"}, {"tty", "'yes'"},
        {"resources", "'a lot'"},  {"restart.max", "'3'"}, {"image", "[]"},   {"network", "3"},
        {"resources.pids", "1.5"}, {"mounts", "{}"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        fails_with(BERTH_INVALID, create_code(c, "x", WAITS, wrong[i][0], wrong[i][1], NULL));
        names(wrong[i][0]);
    }
}

static void numbers_out_of_range_are_refused(struct contract *c)
{
    static const char *const wrong[][2] = {
        {"resources.pids", "-5"},
        {"resources.cpu", "-1"},
        {"resources.cpu_weight", "0"},
        {"resources.cpu_weight", "10001"},
        {"resources.memory", "'-1'"},
        {"oom_score_adj", "1001"},
        {"resources.memory", "'99999999999999999999'"},
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        fails_with(BERTH_INVALID, create_code(c, "x", WAITS, wrong[i][0], wrong[i][1], NULL));
}

static void bad_ports_are_refused(struct contract *c)
{
    static const char *const bad[] = {"['0:0']", "['99999:80']", "['80:99999']", "['80:80/sctp2']",
                                      "['x']",   "['80:0']",     "['10-5:10-5']"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        fails_with(BERTH_INVALID, create_code(c, "x", WAITS, "ports", bad[i], NULL));
}

static void a_duration_without_a_unit_is_refused(struct contract *c)
{
    fails_with(BERTH_INVALID, create_code(c, "x", WAITS, "stop_timeout", "10", NULL));
    names("stop_timeout");
    fails_with(BERTH_INVALID, create_code(c, "x", WAITS, "stop_timeout", "'10'", NULL));
    fails_with(BERTH_INVALID, create_code(c, "x", WAITS, "stop_timeout", "'10 parsecs'", NULL));
    create(c, "x", WAITS, "stop_timeout", "'250ms'", NULL);
}

static void what_is_no_document_is_refused(struct contract *c)
{
    static const char *const bad[] = {"",
                                      " ",
                                      "{",
                                      "[]",
                                      "7",
                                      "null",
                                      "\"x\"",
                                      "{} {}",
                                      "{\"name\":}",
                                      "{\"name\":\"a\xff\xfe\"}",
                                      "{'name':'a'}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuses_text(c, BERTH_INVALID, bad[i]);
}

static void a_key_given_twice_is_refused(struct contract *c)
{
    char *good = spec_text(c, "x", WAITS, NULL);
    char *twice = print_text("{\"name\":\"y\",%s", good + 1);
    refuses_text(c, BERTH_INVALID, twice);
    names("name");
    free(twice);
    free(good);
}

static void a_document_10000_deep_is_refused(struct contract *c)
{
    enum { DEPTH = 10000 };
    char *text = malloc(DEPTH * 2 + 64), *p = text;
    p = stpcpy(p, "{\"labels\":");
    memset(p, '[', DEPTH);
    memset(p + DEPTH, ']', DEPTH);
    memcpy(p + 2 * DEPTH, "}", 2);
    refuses_text(c, BERTH_INVALID, text);
    free(text);
}

static void a_document_of_10_megabytes_is_too_big(struct contract *c)
{
    size_t size = 10 << 20;
    char *text = malloc(size + 64);
    char *p = stpcpy(text, "{\"name\":\"");
    memset(p, 'a', size);
    memcpy(p + size, "\"}", 3);
    refuses_text(c, BERTH_TOO_BIG, text);
    free(text);
}

static void a_null_document_is_refused(struct contract *c)
{
    struct berth_handle h;
    fails_with(BERTH_INVALID, berth_create(c->runtime, NULL, &h, ERR));
}

static void a_foreign_runtime_is_refused(struct contract *c)
{
    fails_with(BERTH_INVALID, create_code(c, "x", WAITS, "runtime", "'no-such'", NULL));
    names("no-such");
}

static void a_service_field_is_refused_by_name(struct contract *c)
{
    int r = create_code(c, "x", WAITS, "service", "{'replicas': 3}", NULL);
    check(r == BERTH_UNSUPPORTED || r == BERTH_INVALID, "service: %s", berth_code_name(r));
    names("service");
}

static void a_wasm_field_is_refused_by_name(struct contract *c)
{
    int r = create_code(c, "x", WAITS, "wasm.kind", "'command'", NULL);
    check(r == BERTH_UNSUPPORTED || r == BERTH_INVALID, "wasm: %s", berth_code_name(r));
    names("wasm");
}

static void without_a_network_it_is_on_the_default_one(struct contract *c)
{
    char *spec = spec_text(c, "x", SHELL("true"), NULL);
    json_t *json = json_loads(spec, 0, NULL);
    json_object_del(json, "network");
    char *without = json_dumps(json, JSON_COMPACT);
    struct berth_handle h;
    int r = berth_create(c->runtime, without, &h, ERR);
    free(without);
    json_decref(json);
    free(spec);
    if (r == BERTH_UNSUPPORTED && c->steps)
        end_unsupported("%s", ERR->message);
    ok(r);
}

static void a_missing_image_is_not_found_and_leaves_nothing(struct contract *c)
{
    fails_with(BERTH_NOT_FOUND, create_code(c, "x", WAITS, "image", "'missing/image:1'", "pull", "'never'", NULL));
    names("missing");
    equal(count_workloads(c), 0);
    create(c, "x", WAITS, NULL);
}

static void a_bad_image_name_is_refused(struct contract *c)
{
    static const char *const bad[] = {"'UPPER CASE'", "'a//b'", "'a:b:c:d'", "'../x'",
                                      "'x@sha256:12'"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int r = create_code(c, "x", WAITS, "image", bad[i], NULL);
        if (r == BERTH_UNSUPPORTED)
            end_unsupported("%s", ERR->message);
        check(r == BERTH_INVALID || r == BERTH_NOT_FOUND, "%s: %s", bad[i], berth_code_name(r));
    }
    equal(count_workloads(c), 0);
}

static void a_digest_that_nobody_has_is_not_found(struct contract *c)
{
    fails_with(BERTH_NOT_FOUND,
               create_code(c, "x", SHELL("true"), "image",
                           "'contract@sha256:"
                           "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'",
                           "pull", "'never'", NULL));
    equal(count_workloads(c), 0);
}

static void a_missing_bind_source_is_named_and_leaves_nothing(struct contract *c)
{
    fails_with(BERTH_NOT_FOUND,
               create_code(c, "x", WAITS, "mounts",
                           "[{'type':'bind','source':'/no/such/folder','target':'/mnt'}]", NULL));
    names("/no/such/folder");
    equal(count_workloads(c), 0);
}

static void a_looping_bind_source_is_refused(struct contract *c)
{
    char *link = print_text("%s/loop", c->scratch);
    check(symlink(link, link) == 0, "symlink");
    char *mounts = print_text("[{'type':'bind','source':'%s','target':'/mnt'}]", link);
    int r = create_code(c, "x", WAITS, "mounts", mounts, NULL);
    unlink(link);
    check(r < 0, "a bind source that is a loop of links was taken");
    if (r == BERTH_UNSUPPORTED)
        end_unsupported("%s", ERR->message);
    names("loop");
    free(mounts);
    free(link);
}

static void a_relative_mount_target_is_refused(struct contract *c)
{
    int r = create_code(c, "x", WAITS, "mounts", "[{'type':'bind','source':'/tmp','target':'mnt'}]",
                        NULL);
    equal(r, BERTH_INVALID);
}

static void labels_come_back(struct contract *c)
{
    struct berth_handle h =
        create(c, "labelled", WAITS, "labels", "{'com.example/a':'1','empty':''}", NULL);
    json_t *s = status_json(c, &h);
    json_t *labels = json_object_get(s, "labels");
    equal_text(json_string_value(json_object_get(labels, "com.example/a")), "1");
    equal_text(json_string_value(json_object_get(labels, "empty")), "");
    json_decref(s);
}

static void inspect_gives_the_spec_back(struct contract *c)
{
    struct berth_handle h =
        create(c, "seen", WAITS, "labels", "{'k':'v'}", "stop_timeout", "'3s'", NULL);
    char *text = NULL;
    ok(berth_inspect(c->runtime, &h, &text, ERR));
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    check(json_is_object(json), "no document: %s", text);
    json_t *spec = json_object_get(json, "spec");
    equal_text(json_string_value(json_object_get(spec, "name")), "seen");
    equal_text(json_string_value(json_object_get(json_object_get(spec, "labels"), "k")), "v");
    json_decref(json);
    free(text);
}

static void plan_tells_and_makes_nothing(struct contract *c)
{
    char *spec = spec_text(c, "planned", WAITS, NULL), *text = NULL;
    ok(berth_plan(c->runtime, spec, &text, ERR));
    json_t *json = json_loads(text, 0, NULL);
    check(json_is_object(json_object_get(json, "spec")), "no spec in %s", text);
    check(json_object_get(json, "plan"), "no plan in %s", text);
    equal(count_workloads(c), 0);
    json_decref(json);
    free(text);
    free(spec);
}

static void the_schema_is_a_document(struct contract *c)
{
    (void)c;
    json_error_t e;
    const char *text = berth_spec_schema();
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &e);
    check(json_is_object(json), "the schema: %s", e.text);
    check(json_object_get(json_object_get(json, "properties"), "image"),
          "image is not in the schema");
    json_decref(json);
}

static void a_hundred_at_once_have_ids_and_names_of_their_own(struct contract *c)
{
    enum { COUNT = 100 };
    struct berth_call *calls[COUNT];
    struct berth_result results[COUNT];
    for (int i = 0; i < COUNT; i++) {
        char *spec = spec_text(c, NULL, WAITS, NULL);
        ok(berth_create_call(c->runtime, spec, &calls[i], ERR));
        free(spec);
    }
    for (int i = 0; i < COUNT; i++) {
        ok(berth_call_wait(calls[i], 30000, &results[i], ERR));
        berth_call_free(calls[i]);
    }
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < i; j++)
            check(memcmp(results[i].handle.id, results[j].handle.id, 16) != 0 &&
                      strcmp(results[i].handle.name, results[j].handle.name) != 0,
                  "%s and %s are one", results[i].handle.name, results[j].handle.name);
    equal(count_workloads(c), COUNT);
}

/** A process that creates one workload after the other until it is killed. */
static _Noreturn void create_for_ever(struct contract *c, int round)
{
    struct berth_options options = {.size = sizeof(options), .root = c->root, .run = c->run};
    struct contract own = *c;
    ok(berth_open(c->opens, &options, &own.runtime, ERR));
    for (int i = 0;; i++) {
        char *name = print_text("killed-%d-%d", round, i);
        create(&own, name, SHELL("sleep 100"), NULL);
        free(name);
    }
}

static void a_create_killed_at_any_point_leaves_nothing_half(struct contract *c)
{
    struct berth_remove_options force = {.size = sizeof(force), .force = true, .volumes = true};
    struct berth_handle probe = create(c, "probe", SHELL("true"), NULL);
    ok(berth_remove(c->runtime, &probe, &force, ERR));
    srand(7);
    for (int round = 0; round < (c->long_run ? 500 : 40); round++) {
        pid_t pid = fork();
        if (pid == 0)
            create_for_ever(c, round);
        usleep((useconds_t)(rand() % 12000));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    struct berth_handle *list = NULL;
    size_t n = 0;
    ok(berth_list(c->runtime, &list, &n, ERR));
    for (size_t i = 0; i < n; i++) {
        is_state(c, &list[i], BERTH_CREATED);
        ok(berth_start(c->runtime, &list[i], ERR));
        ok(berth_remove(c->runtime, &list[i], &force, ERR));
        if (i > 8)
            break;
    }
    free(list);
    struct berth_handle last = create(c, "sweeps", SHELL("true"), NULL);
    ok(berth_remove(c->runtime, &last, NULL, ERR));
}

static const struct contract_case create_cases[] = {
    CASE(create_leaves_it_created),
    CASE_NEEDS(create_runs_and_mounts_nothing, NEEDS_PROGRAM),
    CASE(create_of_a_name_in_use_is_exists_and_hurts_nobody),
    CASE(a_name_is_free_again_after_remove),
    CASE(a_name_is_free_again_after_a_failed_create),
    CASE(create_without_a_name_makes_one),
    CASE(bad_names_are_refused),
    CASE(a_name_of_128_characters_is_taken),
    CASE(an_unknown_key_is_named_with_a_suggestion),
    CASE(a_bad_value_is_named_with_its_place),
    CASE(a_wrong_type_is_named_with_its_place),
    CASE(numbers_out_of_range_are_refused),
    CASE(bad_ports_are_refused),
    CASE(a_duration_without_a_unit_is_refused),
    CASE(what_is_no_document_is_refused),
    CASE(a_key_given_twice_is_refused),
    CASE(a_document_10000_deep_is_refused),
    CASE(a_document_of_10_megabytes_is_too_big),
    CASE(a_null_document_is_refused),
    CASE(a_foreign_runtime_is_refused),
    CASE(a_service_field_is_refused_by_name),
    CASE(a_wasm_field_is_refused_by_name),
    CASE_NEEDS(without_a_network_it_is_on_the_default_one, NEEDS_PROGRAM),
    CASE(a_missing_image_is_not_found_and_leaves_nothing),
    CASE(a_bad_image_name_is_refused),
    CASE_NEEDS(a_digest_that_nobody_has_is_not_found, NEEDS_PROGRAM),
    CASE(a_missing_bind_source_is_named_and_leaves_nothing),
    CASE(a_looping_bind_source_is_refused),
    CASE(a_relative_mount_target_is_refused),
    CASE(labels_come_back),
    CASE(inspect_gives_the_spec_back),
    CASE(plan_tells_and_makes_nothing),
    CASE(the_schema_is_a_document),
    CASE_SLOW(a_hundred_at_once_have_ids_and_names_of_their_own, 0, 60),
    CASE_SLOW(a_create_killed_at_any_point_leaves_nothing_half, NEEDS_PROGRAM | NEEDS_PROCESS, 120),
};
GROUP(create);
