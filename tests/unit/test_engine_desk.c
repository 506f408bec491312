/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front desk: registering, checking, default answers, calls and handles, over a tiny engine.
 */
#include "unit.h"
#include <berth/engine.h>
#include <berth/fake.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

/* ---- an engine that does next to nothing */

static int opened, undone, freed, cancelled, stepped;
static int ready_pipe[2];

static int tiny_open(const struct berth_options *options, void **ret_self, struct berth_error *err)
{
    opened++;
    assert_int_equal(options->size, sizeof(*options));
    assert_non_null(options->root);
    *ret_self = &opened;
    return 0;
}

static void tiny_close(void *self)
{
    opened--;
}

static int slow_step(void *data, struct berth_result *ret, struct berth_error *err)
{
    char c;
    stepped++;
    if (cancelled)
        return berth_error_set(err, BERTH_CANCELLED, "it", "cancelled");
    if (read(ready_pipe[0], &c, 1) != 1)
        return 0;
    memset(&ret->handle, 0, sizeof(ret->handle));
    ret->handle = (struct berth_handle){.runtime = "tiny", .name = "made", .id = {1}};
    return 1;
}

static void slow_cancel(void *data)
{
    cancelled++;
}

static void slow_free(void *data)
{
    freed++;
}

static void slow_undo(void *data)
{
    undone++;
}

static const struct berth_call_ops slow_ops = {
    .size = sizeof(slow_ops), .step = slow_step, .cancel = slow_cancel, .free = slow_free,
    .undo = slow_undo,
};

static int tiny_create(void *self, const char *spec, struct berth_call **ret, struct berth_error *err)
{
    return berth_call_new(&slow_ops, self, ready_pipe[0], ret, err);
}

static int tiny_done(void *self, const struct berth_handle *h, struct berth_call **ret,
                     struct berth_error *err)
{
    struct berth_error why;
    berth_error_set(&why, BERTH_WRONG_STATE, "it", "not %s", "now");
    return berth_call_done(BERTH_WRONG_STATE, NULL, &why, ret, err);
}

static int tiny_stop(void *self, const struct berth_handle *h, int64_t timeout,
                     struct berth_call **ret, struct berth_error *err)
{
    return berth_call_done(0, NULL, NULL, ret, err);
}

static int tiny_remove(void *self, const struct berth_handle *h,
                       const struct berth_remove_options *o, struct berth_call **ret,
                       struct berth_error *err)
{
    assert_int_equal(o->size, sizeof(*o));
    return berth_call_done(0, NULL, NULL, ret, err);
}

static int tiny_status(void *self, const struct berth_handle *h, struct berth_status **ret,
                       struct berth_error *err)
{
    *ret = calloc(1, sizeof(**ret));
    (*ret)->size = sizeof(**ret);
    (*ret)->handle = *h;
    (*ret)->state = BERTH_RUNNING;
    return 0;
}

static int tiny_logs(void *self, const struct berth_handle *h, const struct berth_logs_options *o,
                     struct berth_stream **ret, struct berth_error *err)
{
    return berth_error_set(err, BERTH_NOT_FOUND, "it", "no");
}

static int tiny_exec(void *self, const struct berth_handle *h, const char *const *argv,
                     const struct berth_exec_options *o, struct berth_call **ret,
                     struct berth_error *err)
{
    return berth_error_set(err, BERTH_NO_PROGRAM, argv[0], "no");
}

static int tiny_stats(void *self, const struct berth_handle *h, struct berth_stats *ret,
                      struct berth_error *err)
{
    ret->pids = 7;
    ret->psi_io_full_avg10 = 1;
    return 0;
}

static int tiny_port(void *self, const struct berth_handle *h, const struct berth_port *port,
                     struct berth_host_port *ret, struct berth_error *err)
{
    assert_string_equal(port->protocol, "tcp");
    return 0;
}

static int tiny_address(void *self, const struct berth_handle *h, const struct berth_port *port,
                        const char *network, char *ret, struct berth_error *err)
{
    return 0;
}

static struct berth_engine tiny = {
    .size = sizeof(tiny), .abi_version = BERTH_ABI_VERSION, .name = "tiny", .open = tiny_open,
    .close = tiny_close, .create = tiny_create, .start = tiny_done, .stop = tiny_stop,
    .remove = tiny_remove, .status = tiny_status, .logs = tiny_logs, .exec = tiny_exec,
    .stats = tiny_stats, .resolve_host_port = tiny_port, .resolve_container_address = tiny_address,
};

static struct berth_runtime *open_tiny(void)
{
    struct berth_runtime *r = NULL;
    int code = berth_register(&tiny, NULL);
    assert_true(code == 0 || code == BERTH_EXISTS);
    assert_int_equal(berth_open("tiny", NULL, &r, NULL), 0);
    undone = freed = cancelled = stepped = 0;
    assert_int_equal(pipe2(ready_pipe, O_NONBLOCK | O_CLOEXEC), 0);
    return r;
}

static void close_tiny(struct berth_runtime *r)
{
    berth_close(r);
    close(ready_pipe[0]);
    close(ready_pipe[1]);
}

static const struct berth_handle it = {.runtime = "tiny", .name = "it", .id = {1}};

/* ---- registry */

static void an_engine_registers_once(void **state)
{
    struct berth_runtime *r = open_tiny();
    struct berth_error err = {0};
    bool listed = false;
    for (const char *const *name = berth_engines(); *name; name++)
        listed |= !strcmp(*name, "tiny");
    assert_true(listed);
    assert_int_equal(berth_register(&tiny, &err), BERTH_EXISTS);
    assert_string_equal(err.object, "tiny");
    assert_string_equal(berth_name(r), "tiny");
    close_tiny(r);
    assert_int_equal(opened, 0);
}

static void a_table_without_a_verb_is_refused(void **state)
{
    struct berth_engine bad = tiny;
    bad.name = "bad";
    bad.stats = NULL;
    assert_int_equal(berth_register(&bad, NULL), BERTH_INVALID);
    bad = tiny;
    bad.name = "bad/name";
    assert_int_equal(berth_register(&bad, NULL), BERTH_INVALID);
    bad.name = "bad";
    bad.abi_version++;
    assert_int_equal(berth_register(&bad, NULL), BERTH_INVALID);
    bad.abi_version--;
    bad.size = 40;
    assert_int_equal(berth_register(&bad, NULL), BERTH_INVALID);
}

static void an_older_table_lacks_the_newer_methods(void **state)
{
    static struct berth_engine old;
    struct berth_runtime *r;
    struct berth_error err;
    old = tiny;
    old.name = "old";
    old.size = offsetof(struct berth_engine, find);
    old.pause = (void *)1; /* behind its end: must not be looked at */
    assert_int_equal(berth_register(&old, NULL), 0);
    assert_int_equal(berth_open("old", NULL, &r, NULL), 0);
    struct berth_handle h = {.runtime = "old", .name = "x", .id = {1}};
    assert_int_equal(berth_pause(r, &h, &err), BERTH_UNSUPPORTED);
    assert_string_equal(err.object, "pause");
    berth_close(r);
}

static int three(void *self, struct berth_handle **ret, size_t *ret_count, struct berth_error *err)
{
    static const struct berth_handle all[] = {{"listing", "ab12", {0xcd}, ""}, {"listing", "b", {0xab, 0x12}, ""}, {"listing", "c", {0xab, 0x13}, ""}};
    *ret = malloc(sizeof(all));
    memcpy(*ret, all, sizeof(all));
    *ret_count = 3;
    return 0;
}

static void without_find_and_inspect_list_and_status_answer(void **state)
{
    static struct berth_engine listing;
    struct berth_runtime *r;
    struct berth_handle found;
    char *json = NULL;
    listing = tiny;
    listing.name = "listing";
    listing.find = NULL;
    listing.inspect = NULL;
    listing.list = three;
    assert_int_equal(berth_register(&listing, NULL), 0);
    assert_int_equal(berth_open("listing", NULL, &r, NULL), 0);
    assert_int_equal(berth_find(r, "b", &found, NULL), 0);
    assert_int_equal(found.id[1], 0x12);
    assert_int_equal(berth_find(r, "ab13", &found, NULL), 0);
    assert_string_equal(found.name, "c");
    assert_int_equal(berth_find(r, "ab12", &found, NULL), 0); /* a name wins over the prefix that it is too */
    assert_int_equal(found.id[0], 0xcd);
    assert_int_equal(berth_find(r, "ab1", &found, NULL), BERTH_INVALID);
    assert_int_equal(berth_find(r, "none", &found, NULL), BERTH_NOT_FOUND);
    assert_int_equal(berth_inspect(r, &found, &json, NULL), 0);
    assert_non_null(strstr(json, "{\"status\":{\"name\":\"ab12\""));
    free(json);
    berth_close(r);
}

static void an_unknown_engine_is_not_found(void **state)
{
    struct berth_runtime *r = NULL;
    assert_int_equal(berth_open("nosuch", NULL, &r, NULL), BERTH_NOT_FOUND);
    assert_null(r);
    assert_int_equal(berth_open(NULL, NULL, &r, NULL), BERTH_INVALID);
}

static void options_of_another_size_are_understood(void **state)
{
    struct { struct berth_options o; long more; } larger = {.o = {.size = sizeof(larger)}, .more = 1};
    struct berth_runtime *r = open_tiny(), *second = NULL;
    assert_int_equal(berth_open("tiny", &larger.o, &second, NULL), BERTH_UNSUPPORTED);
    larger.more = 0;
    assert_int_equal(berth_open("tiny", &larger.o, &second, NULL), 0);
    berth_close(second);
    struct berth_options unset = {.root = "/x"};
    assert_int_equal(berth_open("tiny", &unset, &second, NULL), BERTH_INVALID);
    close_tiny(r);
}

static void another_engines_extras_are_unsupported(void **state)
{
    struct berth_runtime *r = open_tiny();
    struct berth_error err;
    assert_int_equal(berth_fake_exit(r, &it, 0, &err), BERTH_UNSUPPORTED);
    void *self;
    assert_int_equal(berth_runtime_self(r, &tiny, &self, NULL), 0);
    assert_ptr_equal(self, &opened);
    close_tiny(r);
}

/* ---- arguments */

static void nothing_wrong_reaches_an_engine(void **state)
{
    struct berth_runtime *r = open_tiny();
    struct berth_handle foreign = it, torn = it;
    struct berth_status *s;
    struct berth_port none = {0}, strange = {.number = 1, .protocol = "sctp"};
    struct berth_host_port port;
    struct berth_stream *stream;
    const char *const empty[] = {NULL}, *const argv[] = {"x", NULL};
    struct berth_exec_options exec = {.size = sizeof(exec), .timeout_msec = -1};
    strcpy(foreign.runtime, "other");
    memset(torn.name, 'x', sizeof(torn.name));
    assert_int_equal(berth_status(r, NULL, &s, NULL), BERTH_INVALID);
    assert_int_equal(berth_status(NULL, &it, &s, NULL), BERTH_INVALID);
    assert_int_equal(berth_status(r, &it, NULL, NULL), BERTH_INVALID);
    assert_int_equal(berth_status(r, &foreign, &s, NULL), BERTH_INVALID);
    assert_int_equal(berth_status(r, &torn, &s, NULL), BERTH_INVALID);
    assert_int_equal(berth_stop(r, &it, -2, NULL), BERTH_INVALID);
    assert_int_equal(berth_resolve_host_port(r, &it, &none, &port, NULL), BERTH_INVALID);
    assert_int_equal(berth_resolve_host_port(r, &it, &strange, &port, NULL), BERTH_INVALID);
    assert_int_equal(berth_exec(r, &it, empty, NULL, NULL, NULL), BERTH_INVALID);
    assert_int_equal(berth_exec(r, &it, argv, &exec, NULL, NULL), BERTH_INVALID);
    exec = (struct berth_exec_options){.size = sizeof(exec), .stream = true};
    assert_int_equal(berth_exec(r, &it, argv, &exec, NULL, NULL), BERTH_INVALID);
    struct berth_logs_options logs = {.size = sizeof(logs), .streams = 4};
    assert_int_equal(berth_logs(r, &it, &logs, &stream, NULL), BERTH_INVALID);
    assert_int_equal(berth_create(r, NULL, &foreign, NULL), BERTH_INVALID);
    close_tiny(r);
}

static void the_engines_failure_comes_through(void **state)
{
    struct berth_runtime *r = open_tiny();
    struct berth_error err;
    const char *const argv[] = {"prog", NULL};
    assert_int_equal(berth_start(r, &it, &err), BERTH_WRONG_STATE);
    assert_string_equal(err.message, "not now");
    assert_string_equal(err.object, "it");
    assert_int_equal(berth_exec(r, &it, argv, NULL, NULL, &err), BERTH_NO_PROGRAM);
    close_tiny(r);
}

static void stats_of_an_older_caller_are_not_overrun(void **state)
{
    struct berth_runtime *r = open_tiny();
    struct berth_stats s;
    memset(&s, 0xee, sizeof(s));
    s.size = offsetof(struct berth_stats, has_psi);
    assert_int_equal(berth_stats(r, &it, &s, NULL), 0);
    assert_int_equal(s.pids, 7);
    unsigned char *behind = (unsigned char *)&s + s.size;
    assert_int_equal(behind[sizeof(bool)], 0xee);
    close_tiny(r);
}

static void an_absent_status_call_is_made_of_status(void **state)
{
    struct berth_runtime *r = open_tiny();
    struct berth_call *call;
    struct berth_result result;
    assert_int_equal(berth_status_call(r, &it, &call, NULL), 0);
    struct pollfd p = {.fd = berth_call_fd(call), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(berth_call_finish(call, &result, NULL), 0);
    assert_int_equal(result.status->state, BERTH_RUNNING);
    berth_status_free(result.status);
    assert_int_equal(berth_call_finish(call, &result, NULL), 0);
    assert_null(result.status);
    berth_call_free(call);
    close_tiny(r);
}

/* ---- calls */

static void a_call_waits_on_its_descriptor(void **state)
{
    struct berth_runtime *r = open_tiny();
    struct berth_call *call;
    struct berth_result result;
    assert_int_equal(berth_create_call(r, "{}", &call, NULL), 0);
    struct pollfd p = {.fd = berth_call_fd(call), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 0), 0);
    assert_int_equal(berth_call_finish(call, &result, NULL), BERTH_AGAIN);
    assert_int_equal(berth_call_wait(call, 10, &result, NULL), BERTH_TIMED_OUT);
    assert_int_equal(write(ready_pipe[1], "x", 1), 1);
    assert_int_equal(poll(&p, 1, 1000), 1);
    assert_int_equal(berth_call_finish(call, &result, NULL), 0);
    assert_string_equal(result.handle.name, "made");
    berth_call_free(call);
    assert_int_equal(freed, 1);
    assert_int_equal(undone, 0);
    close_tiny(r);
}

static void a_create_that_nobody_took_is_undone(void **state)
{
    struct berth_runtime *r = open_tiny();
    struct berth_call *call;
    assert_int_equal(berth_create_call(r, "{}", &call, NULL), 0);
    assert_int_equal(write(ready_pipe[1], "x", 1), 1);
    assert_int_equal(berth_call_finish(call, NULL, NULL), 0);
    berth_call_free(call);
    assert_int_equal(undone, 1);
    assert_int_equal(freed, 1);
    close_tiny(r);
}

static void a_cancel_wakes_once_and_is_told(void **state)
{
    struct berth_runtime *r = open_tiny();
    struct berth_call *call;
    struct berth_error err;
    assert_int_equal(berth_create_call(r, "{}", &call, NULL), 0);
    struct pollfd p = {.fd = berth_call_fd(call), .events = POLLIN};
    berth_call_cancel(call);
    berth_call_cancel(call);
    assert_int_equal(cancelled, 1);
    assert_int_equal(poll(&p, 1, 0), 1);
    assert_int_equal(berth_call_finish(call, NULL, &err), BERTH_CANCELLED);
    assert_int_equal(berth_call_finish(call, NULL, &err), BERTH_CANCELLED);
    assert_string_equal(err.message, "cancelled");
    berth_call_free(call);
    assert_int_equal(undone, 0);
    close_tiny(r);
}

static void a_freed_call_is_cancelled_first(void **state)
{
    struct berth_runtime *r = open_tiny();
    struct berth_call *call;
    assert_int_equal(berth_create_call(r, "{}", &call, NULL), 0);
    berth_call_free(call);
    assert_int_equal(cancelled, 1);
    assert_int_equal(freed, 1);
    berth_call_free(NULL);
    close_tiny(r);
}

/* ---- handles and words */

static void a_handle_survives_as_text(void **state)
{
    struct berth_handle h = {.runtime = "container"}, back;
    char text[BERTH_HANDLE_TEXT];
    memset(h.name, 'n', BERTH_NAME_MAX);
    memset(h.id, 0xab, sizeof(h.id));
    memset(h.metadata, 0, sizeof(h.metadata));
    for (size_t length = 0; length < sizeof(h.metadata); length++) {
        for (size_t i = 0; i < length; i++)
            h.metadata[i] = (char)(1 + (i * 37 + length) % 255);
        berth_handle_print(&h, text);
        assert_null(strpbrk(text, " \t\n"));
        assert_int_equal(berth_handle_parse(text, &back, NULL), 0);
        assert_memory_equal(&h, &back, sizeof(h));
    }
}

static void what_is_no_handle_is_refused(void **state)
{
    static const char *const bad[] = {
        "", "x", ":::", "fake:a:00:", "fake:a:000000000000000000000000000000zz:",
        "fake:a/b:00000000000000000000000000000001:", "fake::00000000000000000000000000000001:",
        "fake:a:00000000000000000000000000000001", "fake:a:00000000000000000000000000000001:*",
    };
    struct berth_handle h;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_int_equal(berth_handle_parse(bad[i], &h, NULL), BERTH_INVALID);
    assert_int_equal(berth_handle_parse(NULL, &h, NULL), BERTH_INVALID);
}

static void codes_and_states_have_words(void **state)
{
    assert_string_equal(berth_code_name(0), "OK");
    assert_string_equal(berth_code_name(BERTH_TOO_BIG), "TOO_BIG");
    assert_string_equal(berth_code_name(BERTH_NOT_EXECUTABLE), "NOT_EXECUTABLE");
    assert_string_equal(berth_code_name(-1), "UNKNOWN");
    assert_string_equal(berth_code_name(-1000), "UNKNOWN");
    assert_string_equal(berth_code_name(BERTH_TOO_BIG - 1), "UNKNOWN");
    assert_string_equal(berth_state_name(BERTH_RESTARTING), "restarting");
    assert_string_equal(berth_health_name(BERTH_UNHEALTHY), "unhealthy");
}

/* ---- fake's own clock */

static struct berth_runtime *open_fake(void)
{
    struct berth_runtime *r;
    assert_int_equal(berth_open("fake", NULL, &r, NULL), 0);
    return r;
}

static struct berth_status *status_of(struct berth_runtime *r, const struct berth_handle *h)
{
    struct berth_status *s;
    assert_int_equal(berth_status(r, h, &s, NULL), 0);
    return s;
}

static void restarts_follow_the_moved_clock(void **state)
{
    struct berth_runtime *r = open_fake();
    struct berth_handle h;
    assert_int_equal(berth_create(r, "{\"command\":[\"exit 1\"],\"restart\":{\"policy\":\"on-failure\","
                                     "\"max\":3,\"delay\":\"1h\"}}", &h, NULL), 0);
    assert_int_equal(berth_start(r, &h, NULL), 0);
    struct berth_status *s = status_of(r, &h);
    assert_int_equal(s->state, BERTH_RESTARTING);
    assert_true(s->next_start_usec - s->ended_usec > 1000000);
    berth_status_free(s);
    assert_int_equal(berth_fake_advance(r, INT64_C(40) * 3600 * 1000000, NULL), 0);
    s = status_of(r, &h);
    assert_int_equal(s->state, BERTH_FAILED);
    assert_int_equal(s->restarts, 3);
    berth_status_free(s);
    assert_int_equal(berth_fake_advance(r, -1, NULL), BERTH_INVALID);
    berth_close(r);
}

static void *wait_for_end(void *data)
{
    struct berth_runtime *r = ((void **)data)[0];
    struct berth_status *s = NULL;
    if (berth_wait(r, ((void **)data)[1], &s, NULL) < 0)
        return NULL;
    return s;
}

static void another_threads_change_wakes_a_wait(void **state)
{
    struct berth_runtime *r = open_fake();
    struct berth_handle h;
    void *both[] = {r, &h}, *ended = NULL;
    pthread_t thread;
    assert_int_equal(berth_create(r, "{\"command\":[\"wait\"]}", &h, NULL), 0);
    assert_int_equal(berth_start(r, &h, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_end, both), 0);
    usleep(20000);
    assert_int_equal(berth_fake_exit(r, &h, 5, NULL), 0);
    assert_int_equal(pthread_join(thread, &ended), 0);
    assert_non_null(ended);
    assert_int_equal(((struct berth_status *)ended)->exit_code, 5);
    berth_status_free(ended);
    berth_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_engine_registers_once),
        cmocka_unit_test(a_table_without_a_verb_is_refused),
        cmocka_unit_test(an_older_table_lacks_the_newer_methods),
        cmocka_unit_test(without_find_and_inspect_list_and_status_answer),
        cmocka_unit_test(an_unknown_engine_is_not_found),
        cmocka_unit_test(options_of_another_size_are_understood),
        cmocka_unit_test(another_engines_extras_are_unsupported),
        cmocka_unit_test(nothing_wrong_reaches_an_engine),
        cmocka_unit_test(the_engines_failure_comes_through),
        cmocka_unit_test(stats_of_an_older_caller_are_not_overrun),
        cmocka_unit_test(an_absent_status_call_is_made_of_status),
        cmocka_unit_test(a_call_waits_on_its_descriptor),
        cmocka_unit_test(a_create_that_nobody_took_is_undone),
        cmocka_unit_test(a_cancel_wakes_once_and_is_told),
        cmocka_unit_test(a_freed_call_is_cancelled_first),
        cmocka_unit_test(a_handle_survives_as_text),
        cmocka_unit_test(what_is_no_handle_is_refused),
        cmocka_unit_test(codes_and_states_have_words),
        cmocka_unit_test(restarts_follow_the_moved_clock),
        cmocka_unit_test(another_threads_change_wakes_a_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
