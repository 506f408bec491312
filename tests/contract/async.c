/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The form that does not block: poll, finish, cancel, free.
 */
#include "contract.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

static struct berth_call *creating(struct contract *c, const char *name, struct program program)
{
    struct berth_call *call = NULL;
    char *spec = spec_text(c, name, program, NULL);
    ok(berth_create_call(c->runtime, spec, &call, ERR));
    free(spec);
    return call;
}

/** Drive a call by poll and finish alone. */
static int finish(struct berth_call *call, struct berth_result *result)
{
    for (;;) {
        int r = berth_call_finish(call, result, ERR);
        if (r != BERTH_AGAIN)
            return r;
        struct pollfd p = {.fd = berth_call_fd(call), .events = POLLIN};
        check(p.fd >= 0, "a call that waits has no descriptor");
        check(poll(&p, 1, 10000) == 1, "nothing in ten seconds");
    }
}

static void exists(struct contract *c, const char *name, bool wanted)
{
    struct berth_handle h;
    int r = berth_find(c->runtime, name, &h, ERR);
    check(wanted ? r == 0 : r == BERTH_NOT_FOUND, "%s: %s", name, berth_code_name(r));
}

static void every_verb_by_poll_and_finish(struct contract *c)
{
    struct berth_result r = {0};
    struct berth_call *call = creating(c, "one", WAITS);
    ok(finish(call, &r));
    berth_call_free(call);
    struct berth_handle h = r.handle;
    ok(berth_start_call(c->runtime, &h, &call, ERR));
    ok(finish(call, NULL));
    berth_call_free(call);
    is_state(c, &h, BERTH_RUNNING);
    ok(berth_restart_call(c->runtime, &h, 0, &call, ERR));
    ok(finish(call, NULL));
    berth_call_free(call);
    ok(berth_stop_call(c->runtime, &h, 1000, &call, ERR));
    ok(finish(call, NULL));
    berth_call_free(call);
    is_state(c, &h, BERTH_STOPPED);
    ok(berth_remove_call(c->runtime, &h, NULL, &call, ERR));
    ok(finish(call, NULL));
    berth_call_free(call);
    exists(c, "one", false);
}

static void finish_of_what_goes_on_is_again(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call = NULL;
    ok(berth_wait_call(c->runtime, &h, &call, ERR));
    for (int i = 0; i < 3; i++)
        equal(berth_call_finish(call, NULL, ERR), BERTH_AGAIN);
    struct pollfd p = {.fd = berth_call_fd(call), .events = POLLIN};
    check(p.fd >= 0, "no descriptor to poll");
    equal(poll(&p, 1, 50), 0);
    ok(berth_stop(c->runtime, &h, 0, ERR));
    struct berth_result r = {0};
    ok(finish(call, &r));
    equal(r.status->state, BERTH_STOPPED);
    berth_status_free(r.status);
    berth_call_free(call);
}

static void finish_twice_says_the_same_and_gives_once(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("exit 3"), NULL);
    struct berth_call *call = NULL;
    ok(berth_wait_call(c->runtime, &h, &call, ERR));
    struct berth_result first = {0}, second = {0};
    ok(finish(call, &first));
    check(first.status, "no status");
    ok(berth_call_finish(call, &second, ERR));
    check(!second.status, "the status was given twice");
    berth_status_free(first.status);
    berth_call_free(call);
    struct berth_call *bad = NULL;
    int r =
        berth_start_call(c->runtime, &h, &bad, ERR); /* ended: starts; start again: wrong state */
    ok(r);
    ok(finish(bad, NULL));
    berth_call_free(bad);
    berth_status_free(until_ended(c, &h));
}

static void a_failure_stays_the_same(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call = NULL;
    int r = berth_start_call(c->runtime, &h, &call, ERR);
    if (r == BERTH_WRONG_STATE)
        return; /* known at once */
    ok(r);
    equal(finish(call, NULL), BERTH_WRONG_STATE);
    struct berth_error again = {0};
    equal(berth_call_finish(call, NULL, &again), BERTH_WRONG_STATE);
    equal(again.code, BERTH_WRONG_STATE);
    check(again.message[0], "the second time without words");
    berth_call_free(call);
}

static void an_error_may_be_null(struct contract *c)
{
    struct berth_call *call = NULL;
    struct berth_handle unknown = {.runtime = "", .name = "x"};
    check(berth_create(c->runtime, "{", &unknown, NULL) == BERTH_INVALID, "create");
    snprintf(unknown.runtime, sizeof(unknown.runtime), "%s", c->engine);
    check(berth_start(c->runtime, &unknown, NULL) == BERTH_NOT_FOUND, "start");
    int r = berth_start_call(c->runtime, &unknown, &call, NULL);
    if (r == 0) {
        check(berth_call_wait(call, 5000, NULL, NULL) == BERTH_NOT_FOUND, "start by call");
        berth_call_free(call);
    } else {
        equal(r, BERTH_NOT_FOUND);
    }
}

static void a_wait_that_times_out_goes_on(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call = NULL;
    struct berth_result r = {0};
    ok(berth_wait_call(c->runtime, &h, &call, ERR));
    int64_t begin = now_usec();
    fails_with(BERTH_TIMED_OUT, berth_call_wait(call, 50, &r, ERR));
    check(now_usec() - begin >= 45000, "it did not wait");
    fails_with(BERTH_TIMED_OUT, berth_call_wait(call, 0, &r, ERR));
    ok(berth_stop(c->runtime, &h, 0, ERR));
    ok(berth_call_wait(call, 5000, &r, ERR));
    equal(r.status->state, BERTH_STOPPED);
    berth_status_free(r.status);
    berth_call_free(call);
}

static void a_wait_may_be_left(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call = NULL;
    ok(berth_wait_call(c->runtime, &h, &call, ERR));
    berth_call_cancel(call);
    equal(finish(call, NULL), BERTH_CANCELLED);
    berth_call_free(call);
    ok(berth_wait_call(c->runtime, &h, &call, ERR));
    berth_call_free(call);
    is_state(c, &h, BERTH_RUNNING);
}

static void a_wait_for_an_ended_one_is_over_at_once(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("exit 4"), NULL);
    berth_status_free(until_ended(c, &h));
    int64_t begin = now_usec();
    struct berth_status *s = NULL;
    ok(berth_wait(c->runtime, &h, &s, ERR));
    check(now_usec() - begin < 1000000, "it waited");
    equal(s->exit_code, 4);
    berth_status_free(s);
}

static void a_wait_spans_policy_restarts(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("exit 4"), "restart",
                                "{'policy':'on-failure','max':2,'delay':'60ms'}", NULL);
    struct berth_status *s = NULL;
    ok(berth_wait(c->runtime, &h, &s, ERR));
    equal(s->restarts, 2);
    equal(s->state, BERTH_FAILED);
    berth_status_free(s);
}

static void a_cancelled_create_leaves_nothing(struct contract *c)
{
    struct berth_call *call = creating(c, "one", WAITS);
    berth_call_cancel(call);
    equal(finish(call, NULL), BERTH_CANCELLED);
    berth_call_free(call);
    exists(c, "one", false);
    create(c, "one", WAITS, NULL);
}

static void a_create_freed_before_its_end_leaves_nothing(struct contract *c)
{
    berth_call_free(creating(c, "one", WAITS));
    exists(c, "one", false);
}

static void a_create_whose_result_nobody_took_is_undone(struct contract *c)
{
    struct berth_call *call = creating(c, "one", WAITS);
    struct pollfd p = {.fd = berth_call_fd(call), .events = POLLIN};
    equal(poll(&p, 1, 10000), 1);
    berth_call_free(call);
    exists(c, "one", false);
    struct berth_result r = {0};
    call = creating(c, "two", WAITS);
    ok(finish(call, &r));
    berth_call_free(call);
    exists(c, "two", true);
}

static void a_cancel_after_the_end_changes_nothing(struct contract *c)
{
    struct berth_result r = {0};
    struct berth_call *call = creating(c, "one", WAITS);
    ok(finish(call, &r));
    berth_call_cancel(call);
    ok(berth_call_finish(call, NULL, ERR));
    berth_call_free(call);
    exists(c, "one", true);
}

static void free_of_null_is_nothing(struct contract *c)
{
    (void)c;
    berth_call_free(NULL);
    berth_stream_free(NULL);
    berth_status_free(NULL);
    berth_exec_result_free(NULL);
    berth_close(NULL);
}

static void only_exec_and_attach_have_streams(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call = NULL;
    ok(berth_wait_call(c->runtime, &h, &call, ERR));
    equal(berth_call_stream_fd(call, 1), -1);
    berth_call_close_stdin(call);
    check(berth_call_resize(call, 1, 1, ERR) < 0, "a wait was resized");
    check(berth_call_signal(call, 15, ERR) < 0, "a wait took a signal");
    berth_call_free(call);
}

/* ---- fifty at once, one thread, one poll loop */

enum stage { CREATING, STARTING, WAITING, REMOVING, DONE };
struct life {
    enum stage stage;
    struct berth_call *call;
    struct berth_handle handle;
};

/** Its call has finished: begin the next. */
static void advance(struct contract *c, struct life *l, const struct berth_result *r)
{
    switch (l->stage) {
    case CREATING:
        l->handle = r->handle;
        ok(berth_start_call(c->runtime, &l->handle, &l->call, ERR));
        break;
    case STARTING:
        ok(berth_wait_call(c->runtime, &l->handle, &l->call, ERR));
        break;
    case WAITING:
        equal(r->status->exit_code, 7);
        berth_status_free(r->status);
        ok(berth_remove_call(c->runtime, &l->handle, NULL, &l->call, ERR));
        break;
    default:
        break;
    }
    l->stage++;
}

static void fifty_at_once_from_one_poll_loop(struct contract *c)
{
    enum { COUNT = 50 };
    struct life lives[COUNT] = {0};
    for (int i = 0; i < COUNT; i++)
        lives[i].call = creating(c, NULL, STEPS("sleep 50ms", "exit 7"));
    for (int left = COUNT; left > 0;) {
        struct pollfd p[COUNT];
        for (int i = 0; i < COUNT; i++)
            p[i] = (struct pollfd){.fd = lives[i].call ? berth_call_fd(lives[i].call) : -1,
                                   .events = POLLIN};
        int stages[DONE + 1] = {0};
        for (int i = 0; i < COUNT; i++)
            stages[lives[i].stage]++;
        check(poll(p, COUNT, 20000) > 0,
              "nothing in 20 s: %d creating, %d starting, %d waiting, %d removing",
              stages[CREATING], stages[STARTING], stages[WAITING], stages[REMOVING]);
        for (int i = 0; i < COUNT; i++) {
            struct berth_result r = {0};
            if (!(p[i].revents & POLLIN))
                continue;
            int code = berth_call_finish(lives[i].call, &r, ERR);
            if (code == BERTH_AGAIN)
                continue;
            ok(code);
            berth_call_free(lives[i].call);
            lives[i].call = NULL;
            advance(c, &lives[i], &r);
            left -= lives[i].stage == DONE;
        }
    }
}

static const struct contract_case async_cases[] = {
    CASE(every_verb_by_poll_and_finish),
    CASE(finish_of_what_goes_on_is_again),
    CASE(finish_twice_says_the_same_and_gives_once),
    CASE(a_failure_stays_the_same),
    CASE(an_error_may_be_null),
    CASE(a_wait_that_times_out_goes_on),
    CASE(a_wait_may_be_left),
    CASE(a_wait_for_an_ended_one_is_over_at_once),
    CASE(a_wait_spans_policy_restarts),
    CASE(a_cancelled_create_leaves_nothing),
    CASE(a_create_freed_before_its_end_leaves_nothing),
    CASE(a_create_whose_result_nobody_took_is_undone),
    CASE(a_cancel_after_the_end_changes_nothing),
    CASE(free_of_null_is_nothing),
    CASE(only_exec_and_attach_have_streams),
    CASE_SLOW(fifty_at_once_from_one_poll_loop, 0, 60),
};
GROUP(async);
