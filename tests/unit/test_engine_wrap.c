/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands before an engine, and what the front desk makes of engines that answer nonsense.
 */
#include "unit.h"
#include <berth/engine.h>
#include <berth/fake.h>
#include <berth/wrap.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int64_t now_msec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct berth_runtime *open_it(const char *written)
{
    struct berth_runtime *r = NULL;
    assert_int_equal(berth_open(written, NULL, &r, NULL), 0);
    return r;
}

static struct berth_handle create(struct berth_runtime *r, const char *name)
{
    struct berth_handle h;
    char spec[200];
    snprintf(spec, sizeof(spec), "{\"name\":\"%s\",\"command\":[\"print ready\",\"wait\"],\"stdin\":true}", name);
    assert_int_equal(berth_create(r, spec, &h, NULL), 0);
    return h;
}

static void add(struct berth_runtime *r, struct berth_fault_rule rule)
{
    rule.size = sizeof(rule);
    assert_int_equal(berth_fault_add(r, &rule, NULL), 0);
}

static uint64_t clear(struct berth_runtime *r)
{
    uint64_t hits = 0;
    assert_int_equal(berth_fault_clear(r, &hits, NULL), 0);
    return hits;
}

/* ---- trace */

/** All lines that a trace wrote, as a JSON array. */
static json_t *lines_of(int fd)
{
    static char text[1 << 20];
    json_t *list = json_array();
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    text[n < 0 ? 0 : n] = 0;
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        json_t *one = json_loads(line, 0, NULL);
        assert_non_null(one);
        json_array_append_new(list, one);
    }
    return list;
}

static const char *text_at(json_t *list, size_t i, const char *key)
{
    const char *text = json_string_value(json_object_get(json_array_get(list, i), key));
    return text ? text : "(none)";
}

static void each_call_is_a_line(void **state)
{
    int fd = memfd_create("trace", MFD_CLOEXEC);
    struct berth_runtime *inner = open_it("fake"), *r;
    struct berth_status *status;
    assert_int_equal(berth_trace(inner, fd, &r, NULL), 0);
    assert_string_equal(berth_name(r), "fake");
    struct berth_handle h = create(r, "web");
    assert_int_equal(berth_start(r, &h, NULL), 0);
    assert_int_equal(berth_start(r, &h, NULL), BERTH_WRONG_STATE);
    assert_int_equal(berth_status(r, &h, &status, NULL), 0);
    berth_status_free(status);
    struct berth_call *call;
    assert_int_equal(berth_wait_call(r, &h, &call, NULL), 0);
    berth_call_free(call);
    assert_int_equal(berth_pause(r, &(struct berth_handle){.runtime = "other"}, NULL), BERTH_INVALID);
    json_t *lines = lines_of(fd);
    static const char *const wanted[][2] = {
        {"create", "OK"}, {"start", "OK"}, {"start", "WRONG_STATE"}, {"status", "OK"}, {"wait", "CANCELLED"}};
    assert_int_equal(json_array_size(lines), ARRAY_SIZE(wanted)); /* what the desk refuses reaches no engine */
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        assert_string_equal(text_at(lines, i, "call"), wanted[i][0]);
        assert_string_equal(text_at(lines, i, "code"), wanted[i][1]);
        assert_string_equal(text_at(lines, i, "workload"), "web");
        assert_string_equal(text_at(lines, i, "engine"), "fake");
        assert_true(json_is_integer(json_object_get(json_array_get(lines, i), "duration_usec")));
    }
    assert_string_equal(text_at(lines, 2, "message"), "start web: it is running");
    json_decref(lines);
    berth_close(r);
    close(fd);
}

static void a_trace_by_name_needs_its_file(void **state)
{
    struct berth_runtime *r = NULL;
    struct berth_error err;
    char path[] = "/tmp/berth-trace-XXXXXX";
    int fd = mkstemp(path);
    unsetenv("BERTH_ENGINE_TRACE");
    assert_int_equal(berth_open("trace(fake)", NULL, &r, &err), BERTH_INVALID);
    assert_non_null(strstr(err.message, "BERTH_ENGINE_TRACE"));
    assert_int_equal(berth_open("trace(nosuch)", NULL, &r, &err), BERTH_NOT_FOUND);
    assert_int_equal(berth_open("trace(fake", NULL, &r, &err), BERTH_NOT_FOUND);
    setenv("BERTH_ENGINE_TRACE", path, 1);
    r = open_it("trace(fault(fake))");
    create(r, "one");
    json_t *lines = lines_of(fd);
    assert_int_equal(json_array_size(lines), 1);
    json_decref(lines);
    berth_close(r);
    unsetenv("BERTH_ENGINE_TRACE");
    unlink(path);
    close(fd);
}

static void what_a_wrapped_engine_lacks_is_lacking(void **state)
{
    struct berth_runtime *r = open_it("fault(fake)");
    struct berth_handle h = create(r, "one");
    assert_int_equal(berth_start(r, &h, NULL), 0);
    assert_int_equal(berth_fake_exit(r, &h, 7, NULL), 0); /* the downcast reaches the engine */
    struct berth_status *s;
    assert_int_equal(berth_status(r, &h, &s, NULL), 0);
    assert_int_equal(s->exit_code, 7);
    berth_status_free(s);
    berth_close(r);
    r = open_it("fake");
    struct berth_fault_rule rule = {.size = sizeof(rule), .code = BERTH_IO};
    assert_int_equal(berth_fault_add(r, &rule, NULL), BERTH_UNSUPPORTED);
    berth_close(r);
}

/* ---- fault */

static void the_nth_call_fails(void **state)
{
    struct berth_runtime *r = open_it("fault(fake)");
    struct berth_error err;
    struct berth_handle h = create(r, "one"), other = create(r, "two");
    add(r, (struct berth_fault_rule){.call = "start", .workload = "one", .nth = 2, .times = 1, .code = BERTH_NO_SPACE});
    assert_int_equal(berth_start(r, &h, NULL), 0);
    assert_int_equal(berth_start(r, &other, NULL), 0);
    assert_int_equal(berth_stop(r, &h, 0, NULL), 0);
    assert_int_equal(berth_start(r, &h, &err), BERTH_NO_SPACE);
    assert_int_equal(err.code, BERTH_NO_SPACE);
    assert_string_equal(err.object, "one");
    assert_int_equal(berth_start(r, &h, NULL), 0);
    assert_int_equal(clear(r), 1);
    berth_close(r);
}

static void an_answer_is_lost_after_the_deed(void **state)
{
    struct berth_runtime *r = open_it("fault(fake)");
    struct berth_handle h = create(r, "one"), found;
    add(r, (struct berth_fault_rule){.call = "create", .code = BERTH_LOST, .after = true});
    assert_int_equal(berth_create(r, "{\"name\":\"two\"}", &h, NULL), BERTH_LOST);
    assert_int_equal(berth_find(r, "two", &found, NULL), 0);
    berth_close(r);
}

static void an_answer_is_held_back(void **state)
{
    struct berth_runtime *r = open_it("fault(fake)");
    struct berth_handle h = create(r, "one");
    struct berth_call *call;
    struct berth_status *status;
    add(r, (struct berth_fault_rule){.delay_msec = 120});
    int64_t begin = now_msec();
    assert_int_equal(berth_start_call(r, &h, &call, NULL), 0);
    assert_in_range(now_msec() - begin, 0, 100);
    struct pollfd p = {.fd = berth_call_fd(call), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(berth_call_finish(call, NULL, NULL), BERTH_AGAIN);
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(berth_call_finish(call, NULL, NULL), 0);
    assert_in_range(now_msec() - begin, 119, 1000);
    berth_call_free(call);
    begin = now_msec();
    assert_int_equal(berth_status(r, &h, &status, NULL), 0);
    assert_in_range(now_msec() - begin, 119, 1000);
    berth_status_free(status);
    clear(r);
    add(r, (struct berth_fault_rule){.call = "stop", .code = BERTH_TIMED_OUT, .delay_msec = 50});
    assert_int_equal(berth_stop(r, &h, 0, NULL), BERTH_TIMED_OUT);
    berth_close(r);
}

static void a_cancelled_create_that_was_held_back_is_undone(void **state)
{
    struct berth_runtime *r = open_it("fault(fake)");
    struct berth_call *call;
    struct berth_handle found;
    add(r, (struct berth_fault_rule){.call = "create", .delay_msec = 60000});
    assert_int_equal(berth_create_call(r, "{\"name\":\"two\"}", &call, NULL), 0);
    assert_int_equal(berth_call_finish(call, NULL, NULL), BERTH_AGAIN);
    berth_call_cancel(call);
    assert_int_equal(berth_call_wait(call, 2000, NULL, NULL), BERTH_CANCELLED);
    berth_call_free(call);
    assert_int_equal(berth_find(r, "two", &found, NULL), BERTH_NOT_FOUND);
    berth_close(r);
}

static void rules_that_make_no_sense_are_refused(void **state)
{
    static const struct berth_fault_rule bad[] = {
        {.call = "strat", .code = BERTH_IO}, {.code = -5}, {.code = 7}, {.code = BERTH_AGAIN}, {.nonsense = 99},
        {.code = BERTH_IO, .nonsense = BERTH_NONSENSE_CODE}, {.delay_msec = -1}};
    struct berth_runtime *r = open_it("fault(fake)");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct berth_fault_rule rule = bad[i];
        rule.size = sizeof(rule);
        assert_int_equal(berth_fault_add(r, &rule, NULL), BERTH_INVALID);
    }
    berth_close(r);
}

/* ---- nonsense: every function of an engine, every kind */

struct world { struct berth_runtime *r; struct berth_handle h; struct berth_error err; };

static const char *const argv_true[] = {"exit 0", NULL};

static int do_create(struct world *w)
{
    struct berth_handle h;
    return berth_create(w->r, "{}", &h, &w->err);
}
static int do_start(struct world *w) { return berth_start(w->r, &w->h, &w->err); }
static int do_stop(struct world *w) { return berth_stop(w->r, &w->h, 0, &w->err); }
static int do_remove(struct world *w) { return berth_remove(w->r, &w->h, NULL, &w->err); }
static int do_restart(struct world *w) { return berth_restart(w->r, &w->h, 0, &w->err); }
static int do_signal(struct world *w) { return berth_signal(w->r, &w->h, 10, &w->err); }
static int do_pause(struct world *w) { return berth_pause(w->r, &w->h, &w->err); }
static int do_unpause(struct world *w) { return berth_unpause(w->r, &w->h, &w->err); }
static int do_update(struct world *w) { return berth_update(w->r, &w->h, "{}", &w->err); }
static int do_rename(struct world *w) { return berth_rename(w->r, &w->h, "new", &w->err); }
static int do_exec_kill(struct world *w) { return berth_exec_kill(w->r, &w->h, 1, 9, &w->err); }

static int do_status(struct world *w)
{
    struct berth_status *s = NULL;
    int r = berth_status(w->r, &w->h, &s, &w->err);
    assert_true(r == 0 || !s);
    berth_status_free(s);
    return r;
}

/** Wait for a call that ends with its workload. */
static int until_end(struct world *w, int made, struct berth_call *call)
{
    struct berth_result result = {0};
    if (made < 0)
        return made;
    berth_fake_exit(w->r, &w->h, 0, NULL);
    int r = berth_call_wait(call, 5000, &result, &w->err);
    berth_status_free(result.status);
    berth_call_free(call);
    return r;
}

static int do_wait(struct world *w)
{
    struct berth_call *call = NULL;
    int r = berth_wait_call(w->r, &w->h, &call, &w->err);
    return until_end(w, r, call);
}

static int do_exec(struct world *w)
{
    struct berth_exec_result *result = NULL;
    int r = berth_exec(w->r, &w->h, argv_true, NULL, &result, &w->err);
    berth_exec_result_free(result);
    return r;
}

static int do_attach(struct world *w)
{
    struct berth_call *call = NULL;
    int r = berth_attach_call(w->r, &w->h, NULL, &call, &w->err);
    return until_end(w, r, call);
}

static int do_logs(struct world *w)
{
    struct berth_stream *s = NULL;
    int r = berth_logs(w->r, &w->h, NULL, &s, &w->err);
    berth_stream_free(s);
    return r;
}

static int do_events(struct world *w)
{
    struct berth_stream *s = NULL;
    int r = berth_events(w->r, NULL, &s, &w->err);
    berth_stream_free(s);
    return r;
}

static int do_stats(struct world *w)
{
    struct berth_stats s = {.size = sizeof(s)};
    return berth_stats(w->r, &w->h, &s, &w->err);
}

static int do_port(struct world *w)
{
    struct berth_host_port port;
    return berth_resolve_host_port(w->r, &w->h, &(struct berth_port){.number = 80}, &port, &w->err);
}

static int do_address(struct world *w)
{
    char address[BERTH_ADDRESS_TEXT];
    return berth_resolve_container_address(w->r, &w->h, &(struct berth_port){.number = 80}, NULL, address, &w->err);
}

static int do_find(struct world *w)
{
    struct berth_handle h;
    return berth_find(w->r, "one", &h, &w->err);
}

static int do_list(struct world *w)
{
    struct berth_handle *list = NULL;
    size_t n = 0;
    int r = berth_list(w->r, &list, &n, &w->err);
    assert_true(r == 0 || !list);
    free(list);
    return r;
}

static int do_text(struct world *w, int (*get)(struct berth_runtime *, const struct berth_handle *, char **, struct berth_error *))
{
    char *text = NULL;
    int r = get(w->r, &w->h, &text, &w->err);
    free(text);
    return r;
}
static int do_inspect(struct world *w) { return do_text(w, berth_inspect); }
static int do_exec_list(struct world *w) { return do_text(w, berth_exec_list); }

static int do_plan(struct world *w)
{
    char *text = NULL;
    int r = berth_plan(w->r, "{}", &text, &w->err);
    free(text);
    return r;
}

static const struct {
    const char *name;
    int (*run)(struct world *w);
} methods[] = {
    {"create", do_create}, {"start", do_start}, {"stop", do_stop}, {"remove", do_remove}, {"status", do_status},
    {"logs", do_logs}, {"exec", do_exec}, {"stats", do_stats}, {"resolve_host_port", do_port},
    {"resolve_container_address", do_address}, {"find", do_find}, {"list", do_list}, {"wait", do_wait},
    {"signal", do_signal}, {"attach", do_attach}, {"pause", do_pause}, {"unpause", do_unpause}, {"update", do_update},
    {"rename", do_rename}, {"restart", do_restart}, {"events", do_events}, {"inspect", do_inspect},
    {"exec_list", do_exec_list}, {"exec_kill", do_exec_kill}, {"plan", do_plan},
};

static void nonsense_becomes_an_error(void **state)
{
    for (int kind = BERTH_NONSENSE_NOTHING; kind <= BERTH_NONSENSE_WAIT; kind++)
        for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
            struct world w = {.r = open_it("fault(fake)")};
            w.h = create(w.r, "one");
            if (strcmp(methods[i].name, "start"))
                assert_int_equal(berth_start(w.r, &w.h, NULL), 0);
            add(w.r, (struct berth_fault_rule){.call = methods[i].name, .nonsense = kind});
            memset(&w.err, 0, sizeof(w.err));
            int r = methods[i].run(&w);
            if (r >= 0 || w.err.code != r || !w.err.message[0] || strlen(w.err.message) > 300)
                fail_msg("%s answers nonsense %d: the caller gets %d, \"%.100s\"", methods[i].name, kind, r, w.err.message);
            assert_true(r == BERTH_CORRUPT || (kind == BERTH_NONSENSE_ERROR && r == BERTH_IO) ||
                        (kind == BERTH_NONSENSE_TEXT && r == BERTH_IO));
            assert_int_equal(clear(w.r), 1);
            struct berth_status *s;
            if (strcmp(methods[i].name, "remove") == 0 && berth_status(w.r, &w.h, &s, NULL) == 0)
                berth_status_free(s);
            berth_close(w.r);
        }
}

/* ---- an engine that was built with an older header, or badly */

static int odd_descriptor = -1;
static bool odd_no_step;

static int odd_step(void *data, struct berth_result *ret, struct berth_error *err) { return 0; }
static void odd_free(void *data) {}

static int odd_open(const struct berth_options *o, void **ret, struct berth_error *err) { return 0; }
static void odd_close(void *self) {}

static int odd_create(void *self, const char *spec, struct berth_call **ret, struct berth_error *err)
{
    struct berth_call_ops ops = {.size = sizeof(ops), .step = odd_no_step ? NULL : odd_step, .free = odd_free};
    return berth_call_new(&ops, NULL, odd_descriptor, ret, err);
}
static int odd_verb(void *self, const struct berth_handle *h, struct berth_call **ret, struct berth_error *err) { return 0; }
static int odd_stop(void *self, const struct berth_handle *h, int64_t t, struct berth_call **ret, struct berth_error *err) { return BERTH_LOST; }
static int odd_remove(void *self, const struct berth_handle *h, const struct berth_remove_options *o, struct berth_call **ret, struct berth_error *err) { return 0; }

static int odd_status(void *self, const struct berth_handle *h, struct berth_status **ret, struct berth_error *err)
{
    volatile size_t size = offsetof(struct berth_status, idle); /* the compiler need not know */
    struct berth_status *s = calloc(1, size); /* no `idle` in that header */
    s->size = size;
    s->handle = *h;
    s->state = BERTH_RUNNING;
    *ret = s;
    return 0;
}
static int odd_logs(void *self, const struct berth_handle *h, const struct berth_logs_options *o, struct berth_stream **ret, struct berth_error *err) { return 0; }
static int odd_exec(void *self, const struct berth_handle *h, const char *const *a, const struct berth_exec_options *o, struct berth_call **ret, struct berth_error *err) { return 0; }
static int odd_stats(void *self, const struct berth_handle *h, struct berth_stats *ret, struct berth_error *err) { return 0; }
static int odd_port(void *self, const struct berth_handle *h, const struct berth_port *p, struct berth_host_port *ret, struct berth_error *err) { return 0; }
static int odd_address(void *self, const struct berth_handle *h, const struct berth_port *p, const char *n, char *ret, struct berth_error *err) { return 0; }

static const struct berth_engine odd = {
    .size = offsetof(struct berth_engine, find), .abi_version = BERTH_ABI_VERSION, .name = "odd", .open = odd_open,
    .close = odd_close, .create = odd_create, .start = odd_verb, .stop = odd_stop, .remove = odd_remove,
    .status = odd_status, .logs = odd_logs, .exec = odd_exec, .stats = odd_stats, .resolve_host_port = odd_port,
    .resolve_container_address = odd_address,
};

static void an_odd_engine_crashes_nobody(void **state)
{
    struct berth_runtime *r;
    struct berth_error err;
    struct berth_handle h = {.runtime = "odd", .name = "x", .id = {1}};
    assert_int_equal(berth_register(&odd, NULL), 0);
    r = open_it("odd");
    assert_int_equal(berth_create(r, "{}", &h, &err), BERTH_CORRUPT); /* nothing to poll */
    odd_descriptor = 1000000;
    assert_int_equal(berth_create(r, "{}", &h, &err), BERTH_CORRUPT); /* not a descriptor */
    assert_non_null(strstr(err.message, "descriptor"));
    odd_no_step = true;
    assert_int_equal(berth_create(r, "{}", &h, &err), BERTH_INVALID);
    assert_int_equal(berth_start(r, &h, &err), BERTH_CORRUPT); /* no call */
    assert_int_equal(berth_stop(r, &h, 0, &err), BERTH_LOST); /* not a word why */
    assert_int_equal(err.code, BERTH_LOST);
    assert_non_null(strstr(err.message, "odd"));
    struct berth_status *s;
    assert_int_equal(berth_status(r, &h, &s, &err), 0);
    assert_int_equal(s->size, sizeof(*s));
    assert_false(s->idle);
    assert_non_null(strstr(s->json, "\"state\":\"running\""));
    berth_status_free(s);
    berth_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_call_is_a_line),
        cmocka_unit_test(a_trace_by_name_needs_its_file),
        cmocka_unit_test(what_a_wrapped_engine_lacks_is_lacking),
        cmocka_unit_test(the_nth_call_fails),
        cmocka_unit_test(an_answer_is_lost_after_the_deed),
        cmocka_unit_test(an_answer_is_held_back),
        cmocka_unit_test(a_cancelled_create_that_was_held_back_is_undone),
        cmocka_unit_test(rules_that_make_no_sense_are_refused),
        cmocka_unit_test(nonsense_becomes_an_error),
        cmocka_unit_test(an_odd_engine_crashes_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
