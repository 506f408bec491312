/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stop: it is asked to end, and after the timeout, to the millisecond, nothing of it runs.
 */
#include "contract.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define IGNORES STEPS("ignore TERM", "print ready", "wait")

/** Stop with this timeout; it took between the two; the state is stopped. */
static void stops_within(struct contract *c, const struct berth_handle *h, int64_t timeout_msec,
                         int64_t least_msec, int64_t most_msec)
{
    int64_t begin = now_usec();
    ok(berth_stop(c->runtime, h, timeout_msec, ERR));
    int64_t took_msec = (now_usec() - begin) / 1000;
    check(took_msec >= least_msec && took_msec <= most_msec, "it took %lld ms, wanted %lld to %lld",
          (long long)took_msec, (long long)least_msec, (long long)most_msec);
    is_state(c, h, BERTH_STOPPED);
}

static void stop_ends_as_stopped(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    stops_within(c, &h, 10000, 0, 2000);
    struct berth_status *s = status_of(c, &h);
    equal(s->pid, 0);
    check(s->ended_usec >= s->started_usec, "it ended before it started");
    check(s->exit_code >= 0, "no exit code");
    berth_status_free(s);
}

static void stop_of_a_stopped_one_succeeds(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    ok(berth_stop(c->runtime, &h, 1000, ERR));
    stops_within(c, &h, 1000, 0, 500);
}

static void stop_of_a_created_one_succeeds_and_changes_nothing(struct contract *c)
{
    struct berth_handle h = create(c, "one", WAITS, NULL);
    ok(berth_stop(c->runtime, &h, 1000, ERR));
    is_state(c, &h, BERTH_CREATED);
    ok(berth_start(c->runtime, &h, ERR));
}

static void stop_of_one_that_ended_keeps_how_it_ended(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("exit 4"), NULL);
    berth_status_free(until_ended(c, &h));
    ok(berth_stop(c->runtime, &h, 1000, ERR));
    struct berth_status *s = status_of(c, &h);
    equal(s->state, BERTH_FAILED);
    equal(s->exit_code, 4);
    berth_status_free(s);
}

static void stop_with_timeout_0_kills_at_once(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IGNORES, NULL);
    stops_within(c, &h, 0, 0, 500);
    struct berth_status *s = status_of(c, &h);
    equal(s->signal, SIGKILL);
    equal(s->exit_code, 137);
    berth_status_free(s);
}

static void stop_with_250_msec_takes_about_250_msec(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IGNORES, NULL);
    stops_within(c, &h, 250, 240, 900); /* not rounded up to a second */
}

static void stop_without_a_timeout_takes_the_specs(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IGNORES, "stop_timeout", "'300ms'", NULL);
    stops_within(c, &h, BERTH_TIMEOUT_SPEC, 290, 900);
}

static void a_negative_timeout_is_refused(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    fails_with(BERTH_INVALID, berth_stop(c->runtime, &h, -2, ERR));
    is_state(c, &h, BERTH_RUNNING);
}

static void two_stops_at_once_both_succeed(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IGNORES, NULL);
    struct berth_call *calls[2];
    for (int i = 0; i < 2; i++)
        ok(berth_stop_call(c->runtime, &h, 200, &calls[i], ERR));
    for (int i = 0; i < 2; i++) {
        ok(berth_call_wait(calls[i], 10000, NULL, ERR));
        berth_call_free(calls[i]);
    }
    is_state(c, &h, BERTH_STOPPED);
}

/** Time in milliseconds until a stop with `first` ends when another with `second` comes 50 ms
 * later. */
static int64_t two_deadlines(struct contract *c, int64_t first, int64_t second)
{
    struct berth_handle h = run_ready(c, "one", IGNORES, NULL);
    struct berth_call *calls[2];
    int64_t begin = now_usec();
    ok(berth_stop_call(c->runtime, &h, first, &calls[0], ERR));
    pause_msec(50);
    is_state(c, &h, BERTH_STOPPING);
    ok(berth_stop_call(c->runtime, &h, second, &calls[1], ERR));
    for (int i = 0; i < 2; i++) {
        ok(berth_call_wait(calls[i], 20000, NULL, ERR));
        berth_call_free(calls[i]);
    }
    is_state(c, &h, BERTH_STOPPED);
    return (now_usec() - begin) / 1000;
}

static void a_second_stop_may_shorten_the_deadline(struct contract *c)
{
    int64_t took = two_deadlines(c, 15000, 100);
    check(took < 3000, "it took %lld ms", (long long)took);
}

static void a_second_stop_never_lengthens_the_deadline(struct contract *c)
{
    int64_t took = two_deadlines(c, 300, 15000);
    check(took < 3000, "it took %lld ms", (long long)took);
}

static void a_stopped_one_is_not_restarted(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", WAITS, "restart", "{'policy':'always','delay':'10ms'}", NULL);
    ok(berth_stop(c->runtime, &h, 1000, ERR));
    pause_msec(100);
    is_state(c, &h, BERTH_STOPPED);
}

static void stop_ends_one_that_waits_for_its_restart(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", STEPS("exit 1"), "restart", "{'policy':'always','delay':'60s'}", NULL);
    until_state(c, &h, BERTH_RESTARTING);
    stops_within(c, &h, 10000, 0, 2000);
}

static void a_cancelled_stop_goes_on(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IGNORES, NULL);
    struct berth_call *call = NULL;
    ok(berth_stop_call(c->runtime, &h, 200, &call, ERR));
    berth_call_cancel(call);
    berth_call_free(call);
    until_state(c, &h, BERTH_STOPPED);
}

static void the_kill_signal_counts_as_a_stop(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", WAITS, "restart", "{'policy':'always','delay':'10ms'}", NULL);
    ok(berth_signal(c->runtime, &h, SIGKILL, ERR));
    struct berth_status *s = until_ended(c, &h);
    equal(s->state, BERTH_STOPPED);
    equal(s->signal, SIGKILL);
    equal(s->restarts, 0);
    berth_status_free(s);
}

static void the_stop_signal_counts_as_a_stop(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    ok(berth_signal(c->runtime, &h, SIGTERM, ERR));
    struct berth_status *s = until_ended(c, &h);
    equal(s->state, BERTH_STOPPED);
    berth_status_free(s);
}

static void a_bad_signal_is_refused(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    fails_with(BERTH_INVALID, berth_signal(c->runtime, &h, 0, ERR));
    fails_with(BERTH_INVALID, berth_signal(c->runtime, &h, 999, ERR));
    fails_with(BERTH_INVALID, berth_signal(c->runtime, &h, -9, ERR));
    is_state(c, &h, BERTH_RUNNING);
}

static void a_signal_to_one_that_does_not_run_is_wrong_state(struct contract *c)
{
    struct berth_handle h = create(c, "one", WAITS, NULL);
    fails_with(BERTH_WRONG_STATE, berth_signal(c->runtime, &h, SIGUSR1, ERR));
}

static void another_signal_counts_as_its_own_end(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "one", SHELL("trap 'exit 5' USR1; echo ready; while :; do sleep 100 & wait $!; done"),
        NULL);
    ok(berth_signal(c->runtime, &h, SIGUSR1, ERR));
    struct berth_status *s = until_ended(c, &h);
    equal(s->state, BERTH_FAILED);
    equal(s->exit_code, 5);
    berth_status_free(s);
}

static void the_stop_signal_reaches_the_program(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "one",
        SHELL(
            "trap 'echo got TERM; exit 7' TERM; echo ready; while :; do sleep 100 & wait $!; done"),
        NULL);
    stops_within(c, &h, 10000, 0, 2000);
    struct berth_status *s = status_of(c, &h);
    equal(s->exit_code, 7);
    berth_status_free(s);
    char *log = log_of(c, &h);
    has_text(log, "got TERM");
    free(log);
}

static void the_stop_signal_of_the_spec_is_sent(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one",
                  SHELL("trap 'echo got USR1; exit 0' USR1; trap 'echo got TERM; exit 1' TERM; "
                        "echo ready; while :; do sleep 100 & wait $!; done"),
                  "stop_signal", "'SIGUSR1'", NULL);
    stops_within(c, &h, 10000, 0, 2000);
    char *log = log_of(c, &h);
    has_text(log, "got USR1");
    check(!strstr(log, "got TERM"), "SIGTERM came too");
    free(log);
}

static void a_tree_that_ignores_signals_ends(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "tree",
                  SHELL("trap '' TERM INT HUP; i=0; while [ $i -lt 20 ]; do "
                        "(trap '' TERM INT HUP; while :; do sleep 1000; done) & i=$((i+1)); done; "
                        "echo ready; while :; do sleep 1000; done"),
                  NULL);
    stops_within(c, &h, 250, 240, 2000);
}

static void a_double_forked_daemon_ends(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "daemon",
        SHELL("(setsid sh -c 'trap \"\" TERM; (sleep 1000; sleep 1000) & sleep 1000' &) ; "
              "echo ready; while :; do sleep 1000; done"),
        NULL);
    stops_within(c, &h, 100, 90, 2000);
}

static void a_daemon_in_the_hosts_pid_namespace_ends(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "daemon",
        SHELL("(setsid sh -c 'trap \"\" TERM; (sleep 1000; sleep 1000) & sleep 1000' &) ; "
              "echo ready; while :; do sleep 1000; done"),
        "namespaces.pid", "'host'", NULL);
    stops_within(c, &h, 100, 0, 2000);
}

static void a_process_stopped_by_a_signal_ends(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "sigstop", SHELL("sh -c 'echo ready; kill -STOP $$' & wait; sleep 1000"), NULL);
    stops_within(c, &h, 100, 0, 2000);
    struct berth_handle main_one = run_ready(c, "main", WAITS, NULL);
    ok(berth_signal(c->runtime, &main_one, SIGSTOP, ERR));
    stops_within(c, &main_one, 100, 0, 2000);
}

static void a_paused_one_ends(struct contract *c)
{
    struct berth_handle h = run_ready(c, "frozen", WAITS, NULL);
    ok(berth_pause(c->runtime, &h, ERR));
    is_state(c, &h, BERTH_PAUSED);
    stops_within(c, &h, 300, 0, 2000);
}

static void a_fork_bomb_ends(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "bomb", SHELL("f() { f | f & }; (f 2> /dev/null) & echo ready; exec tail -f /dev/null"),
        "resources.pids", "200", NULL);
    pause_msec(200);
    stops_within(c, &h, 0, 0, 5000);
}

static void stop_leaves_no_process(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", SHELL("sleep 1000 & sleep 1000 & echo ready; wait"), NULL);
    json_t *s = status_json(c, &h);
    int supervisor = (int)json_integer_value(json_object_get(s, "supervisor_pid"));
    int pid = (int)json_integer_value(json_object_get(s, "pid"));
    json_decref(s);
    if (!supervisor)
        end_unsupported("it has no supervisor of its own");
    check(process_exists(pid) && process_exists(supervisor), "pids %d and %d", pid, supervisor);
    ok(berth_stop(c->runtime, &h, 0, ERR));
    check(!process_exists(pid), "its program is still there");
    for (int64_t end = now_usec() + 1000000; process_exists(supervisor); pause_msec(5))
        check(now_usec() < end, "its supervisor is still there after a second");
}

static const struct contract_case stop_cases[] = {
    CASE(stop_ends_as_stopped),
    CASE(stop_of_a_stopped_one_succeeds),
    CASE(stop_of_a_created_one_succeeds_and_changes_nothing),
    CASE(stop_of_one_that_ended_keeps_how_it_ended),
    CASE(stop_with_timeout_0_kills_at_once),
    CASE(stop_with_250_msec_takes_about_250_msec),
    CASE(stop_without_a_timeout_takes_the_specs),
    CASE(a_negative_timeout_is_refused),
    CASE(two_stops_at_once_both_succeed),
    CASE(a_second_stop_may_shorten_the_deadline),
    CASE(a_second_stop_never_lengthens_the_deadline),
    CASE(a_stopped_one_is_not_restarted),
    CASE(stop_ends_one_that_waits_for_its_restart),
    CASE(a_cancelled_stop_goes_on),
    CASE(the_kill_signal_counts_as_a_stop),
    CASE(the_stop_signal_counts_as_a_stop),
    CASE(a_bad_signal_is_refused),
    CASE(a_signal_to_one_that_does_not_run_is_wrong_state),
    CASE_NEEDS(another_signal_counts_as_its_own_end, NEEDS_PROGRAM),
    CASE_NEEDS(the_stop_signal_reaches_the_program, NEEDS_PROGRAM),
    CASE_NEEDS(the_stop_signal_of_the_spec_is_sent, NEEDS_PROGRAM),
    CASE_NEEDS(a_tree_that_ignores_signals_ends, NEEDS_PROGRAM),
    CASE_NEEDS(a_double_forked_daemon_ends, NEEDS_PROGRAM),
    CASE_NEEDS(a_daemon_in_the_hosts_pid_namespace_ends, NEEDS_PROGRAM),
    CASE_NEEDS(a_process_stopped_by_a_signal_ends, NEEDS_PROGRAM),
    CASE(a_paused_one_ends),
    CASE_NEEDS(a_fork_bomb_ends, NEEDS_PROGRAM),
    CASE_NEEDS(stop_leaves_no_process, NEEDS_PROGRAM),
};
GROUP(stop);
