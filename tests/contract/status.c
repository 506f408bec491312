/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status: the truth, in the same words everywhere; and what a restart policy makes of an end.
 */
#include "contract.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static void exit_0_is_completed(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("print hi", "exit 0"), NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->state, BERTH_COMPLETED);
    equal(s->exit_code, 0);
    equal(s->signal, 0);
    equal(s->oom, BERTH_OOM_NONE);
    berth_status_free(s);
}

static void exit_3_is_failed_with_its_code(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("exit 3"), NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->state, BERTH_FAILED);
    equal(s->exit_code, 3);
    equal(s->signal, 0);
    berth_status_free(s);
}

static void a_signal_is_failed_with_its_number(struct contract *c)
{
    struct berth_handle h = run(c, "one", SHELL("kill -USR1 $$"), "namespaces.pid", "'host'", NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->state, BERTH_FAILED);
    equal(s->signal, SIGUSR1);
    equal(s->exit_code, 128 + SIGUSR1);
    berth_status_free(s);
}

static void a_kill_from_inside_is_its_own(struct contract *c)
{
    struct berth_handle h = run(c, "one", SHELL("kill -KILL $$"), "namespaces.pid", "'host'", NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->state, BERTH_FAILED);
    equal(s->signal, SIGKILL);
    equal(s->oom, BERTH_OOM_NONE);
    berth_status_free(s);
}

static void times_are_in_order(struct contract *c)
{
    int64_t before = wall_usec();
    struct berth_handle h = run(c, "one", STEPS("sleep 30ms", "exit 0"), NULL);
    struct berth_status *s = until_ended(c, &h);
    check(s->created_usec >= before && s->started_usec >= s->created_usec &&
              s->ended_usec >= s->started_usec && s->ended_usec <= wall_usec(),
          "created %lld, started %lld, ended %lld", (long long)s->created_usec,
          (long long)s->started_usec, (long long)s->ended_usec);
    berth_status_free(s);
}

static void the_document_says_the_same(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("exit 9"), NULL);
    struct berth_status *s = until_ended(c, &h);
    json_t *json = status_json(c, &h);
    char id[BERTH_ID_TEXT];
    berth_id_print(h.id, id);
    equal_text(json_string_value(json_object_get(json, "state")), berth_state_name(s->state));
    equal_text(json_string_value(json_object_get(json, "name")), "one");
    equal_text(json_string_value(json_object_get(json, "id")), id);
    equal(json_integer_value(json_object_get(json, "exit_code")), 9);
    berth_status_free(s);
    json_decref(json);
}

static void the_nonblocking_form_says_the_same(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call = NULL;
    struct berth_result result = {0};
    ok(berth_status_call(c->runtime, &h, &call, ERR));
    ok(berth_call_wait(call, 5000, &result, ERR));
    berth_call_free(call);
    check(result.status, "no status");
    equal(result.status->state, BERTH_RUNNING);
    berth_status_free(result.status);
}

static void a_death_by_memory_is_told(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("oom"), "resources.memory", "'16Mi'", NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->state, BERTH_FAILED);
    equal(s->oom, BERTH_OOM_MAIN);
    equal(s->exit_code, 137);
    if (!is_wasm(c)) /* a module's memory is refused, not its process killed */
        equal(s->signal, SIGKILL);
    has_text(s->reason, "memory");
    berth_status_free(s);
}

static void a_childs_death_by_memory_is_told_apart(struct contract *c)
{
    struct berth_handle h = run(c, "one", SHELL("tail /dev/zero; echo it died with $?; exit 5"),
                                "resources.memory", "'16Mi'", NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->oom, BERTH_OOM_CHILD);
    equal(s->exit_code, 5);
    has_text(s->reason, "memory");
    equal((long long)s->memory_limit_bytes, 16 << 20);
    berth_status_free(s);
}

static void another_kill_is_no_death_by_memory(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, "resources.memory", "'16Mi'", NULL);
    ok(berth_signal(c->runtime, &h, SIGKILL, ERR));
    struct berth_status *s = until_ended(c, &h);
    equal(s->oom, BERTH_OOM_NONE);
    berth_status_free(s);
}

static void the_pid_is_the_programs(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", SHELL("echo ready; exec sleep 4321"), NULL);
    struct berth_status *s = status_of(c, &h);
    char *path = print_text("/proc/%d/cmdline", s->pid);
    char *text = read_file(path);
    /* the shell says ready before it becomes the program */
    for (int64_t end = now_usec() + 5000000; strcmp(text, "sleep") && now_usec() < end; pause_msec(5)) {
        free(text);
        text = read_file(path);
    }
    equal_text(text, "sleep");
    free(text);
    free(path);
    berth_status_free(s);
}

/** SIGKILL to the supervisor of a running workload; its program's pid. */
static int kill_supervisor(struct contract *c, const struct berth_handle *h)
{
    json_t *s = status_json(c, h);
    int supervisor = (int)json_integer_value(json_object_get(s, "supervisor_pid"));
    int pid = (int)json_integer_value(json_object_get(s, "pid"));
    json_decref(s);
    if (!supervisor)
        end_unsupported("it has no supervisor of its own");
    check(process_exists(supervisor), "supervisor_pid %d is no process", supervisor);
    check(kill(supervisor, SIGKILL) == 0, "kill");
    for (int64_t end = now_usec() + 2000000; process_exists(supervisor) && now_usec() < end;)
        pause_msec(1);
    return pid;
}

static void a_killed_supervisor_is_noticed_by_the_next_status(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", SHELL("(sleep 1000 &) ; echo ready; sleep 1000"), NULL);
    int pid = kill_supervisor(c, &h);
    struct berth_status *s = status_of(c, &h);
    equal(s->state, BERTH_FAILED);
    equal(s->pid, 0);
    has_text(s->reason, "supervisor");
    berth_status_free(s);
    for (int64_t end = now_usec() + 1000000; process_exists(pid); pause_msec(5))
        check(now_usec() < end, "its program runs on");
    ok(berth_start(c->runtime, &h, ERR));
    is_state(c, &h, BERTH_RUNNING);
}

static void a_killed_supervisor_is_no_hindrance_to_stop_and_remove(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", SHELL("echo ready; sleep 1000"), NULL);
    kill_supervisor(c, &h);
    ok(berth_stop(c->runtime, &h, 1000, ERR));
    is_state(c, &h, BERTH_FAILED);
    ok(berth_remove(c->runtime, &h, NULL, ERR));
}

static void a_killed_supervisor_ends_a_wait(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", SHELL("echo ready; sleep 1000"), NULL);
    struct berth_call *call = NULL;
    struct berth_result result = {0};
    ok(berth_wait_call(c->runtime, &h, &call, ERR));
    kill_supervisor(c, &h);
    ok(berth_call_wait(call, 5000, &result, ERR));
    equal(result.status->state, BERTH_FAILED);
    berth_status_free(result.status);
    berth_call_free(call);
}

static void states_and_codes_have_names(struct contract *c)
{
    (void)c;
    static const char *const words[] = {"creating", "created", "running",   "paused", "restarting",
                                        "stopping", "stopped", "completed", "failed", "pending"};
    for (int i = 0; i < 10; i++)
        equal_text(berth_state_name(BERTH_CREATING + i), words[i]);
    equal_text(berth_code_name(BERTH_NOT_FOUND), "NOT_FOUND");
    equal_text(berth_code_name(BERTH_TOO_BIG), "TOO_BIG");
    equal_text(berth_code_name(BERTH_OK), "OK");
    equal_text(berth_code_name(-5), "UNKNOWN");
    equal_text(berth_code_name(-1019), "UNKNOWN");
    check(berth_health_name(BERTH_UNHEALTHY) && berth_state_name(77), "a name is NULL");
}

/* ---- restart policies */

static void never_does_not_restart(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("exit 1"), "restart", "{'policy':'never'}", NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->restarts, 0);
    equal(s->state, BERTH_FAILED);
    berth_status_free(s);
}

static void on_failure_restarts_up_to_its_maximum(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("print ran", "exit 2"), "restart",
                                "{'policy':'on-failure','max':3,'delay':'5ms'}", NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->state, BERTH_FAILED);
    equal(s->exit_code, 2);
    equal(s->restarts, 3);
    equal(s->next_start_usec, 0);
    berth_status_free(s);
    char *log = log_of(c, &h);
    equal(count_text(log, "ran"), 4);
    free(log);
}

static void on_failure_leaves_a_success_alone(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", STEPS("exit 0"), "restart", "{'policy':'on-failure','delay':'5ms'}", NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->state, BERTH_COMPLETED);
    equal(s->restarts, 0);
    berth_status_free(s);
}

static void always_restarts_a_success(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("exit 0"), "restart",
                                "{'policy':'always','delay':'5ms','cap':'10ms'}", NULL);
    for (int64_t end = now_usec() + 10000000;; pause_msec(5)) {
        struct berth_status *s = status_of(c, &h);
        unsigned n = s->restarts;
        berth_status_free(s);
        if (n >= 3)
            break;
        check(now_usec() < end, "only %u restarts in ten seconds", n);
    }
    ok(berth_stop(c->runtime, &h, 0, ERR));
    is_state(c, &h, BERTH_STOPPED);
}

static void unless_stopped_restarts_too(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("exit 0"), "restart",
                                "{'policy':'unless-stopped','delay':'60s'}", NULL);
    until_state(c, &h, BERTH_RESTARTING);
}

static void restarting_tells_when_it_starts_next(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", STEPS("exit 1"), "restart", "{'policy':'always','delay':'60s'}", NULL);
    until_state(c, &h, BERTH_RESTARTING);
    struct berth_status *s = status_of(c, &h);
    int64_t in_usec = s->next_start_usec - wall_usec();
    check(in_usec > 30000000 && in_usec <= 60000000, "the next start is in %lld us",
          (long long)in_usec);
    equal(s->exit_code, 1);
    equal(s->pid, 0);
    berth_status_free(s);
}

static void the_delay_doubles_up_to_its_cap(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", STEPS("exit 1"), "restart",
            "{'policy':'on-failure','max':5,'delay':'20ms','cap':'50ms'}", NULL);
    int64_t begin = now_usec();
    struct berth_status *s = until_ended(c, &h);
    int64_t took_msec = (now_usec() - begin) / 1000;
    equal(s->restarts, 5);
    /* 20 + 40 + 50 + 50 + 50 */
    check(took_msec >= 190 && took_msec < 3000, "five restarts took %lld ms", (long long)took_msec);
    berth_status_free(s);
}

static void a_start_by_a_caller_counts_restarts_anew(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("exit 2"), "restart",
                                "{'policy':'on-failure','max':2,'delay':'5ms'}", NULL);
    for (int i = 0; i < 2; i++) {
        struct berth_status *s = until_ended(c, &h);
        equal(s->restarts, 2);
        berth_status_free(s);
        ok(berth_start(c->runtime, &h, ERR));
    }
    berth_status_free(until_ended(c, &h));
}

/* ---- health and readiness */

static void until_health(struct contract *c, const struct berth_handle *h, int wanted)
{
    for (int64_t end = now_usec() + 10000000;; pause_msec(10)) {
        struct berth_status *s = status_of(c, h);
        int health = s->health;
        berth_status_free(s);
        if (health == wanted)
            return;
        check(now_usec() < end, "health is %s, wanted %s", berth_health_name(health),
              berth_health_name(wanted));
    }
}

static void health_follows_its_command(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "one", SHELL("touch /well; echo ready; while :; do sleep 100; done"), "health",
        "{'command':['test','-e','/well'],'interval':'50ms','timeout':'2s','retries':2}", NULL);
    until_health(c, &h, BERTH_HEALTHY);
    free(inside(c, &h, "rm /well"));
    until_health(c, &h, BERTH_UNHEALTHY);
    struct berth_status *s = status_of(c, &h);
    check(s->health_failures >= 2, "%u failures", s->health_failures);
    equal(s->state, BERTH_RUNNING);
    berth_status_free(s);
    free(inside(c, &h, "touch /well"));
    until_health(c, &h, BERTH_HEALTHY);
}

static void a_health_command_that_hangs_counts_as_a_failure(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "one", SHELL("echo ready; while :; do sleep 100; done"), "health",
        "{'command':['sleep','1000'],'interval':'20ms','timeout':'50ms','retries':1}", NULL);
    until_health(c, &h, BERTH_UNHEALTHY);
    char *n = inside(c, &h, "ps | grep -c 'sleep 100[0]' || true");
    check(atoi(n) <= 1, "%s health commands were left running", n);
    free(n);
}

static void health_is_starting_in_its_start_period(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "one", SHELL("echo ready; while :; do sleep 100; done"), "health",
        "{'command':['false'],'interval':'20ms','timeout':'1s','retries':1,'start_period':'60s'}",
        NULL);
    pause_msec(200);
    struct berth_status *s = status_of(c, &h);
    equal(s->health, BERTH_HEALTH_STARTING);
    berth_status_free(s);
}

static void without_a_health_command_there_is_no_health(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_status *s = status_of(c, &h);
    equal(s->health, BERTH_HEALTH_NONE);
    berth_status_free(s);
}

static void readiness_is_told(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "one", SHELL("echo ready; while :; do sleep 100; done"), "readiness",
        "{'command':['test','-e','/open'],'interval':'30ms','timeout':'2s','retries':1}", NULL);
    json_t *s = status_json(c, &h);
    check(json_is_false(json_object_get(s, "ready")), "it is ready before its probe says so");
    json_decref(s);
    free(inside(c, &h, "touch /open"));
    for (int64_t end = now_usec() + 10000000;; pause_msec(10)) {
        s = status_json(c, &h);
        bool ready = json_is_true(json_object_get(s, "ready"));
        json_decref(s);
        if (ready)
            break;
        check(now_usec() < end, "it never is ready");
    }
}

static void liveness_restarts_what_hangs(struct contract *c)
{
    struct berth_handle h = run(
        c, "one", SHELL("echo begun; while :; do sleep 100; done"), "liveness",
        "{'command':['false'],'interval':'50ms','timeout':'1s','retries':2,'on_failure':'restart'}",
        "stop_timeout", "'0s'", "restart", "{'policy':'always','delay':'5ms'}", NULL);
    for (int64_t end = now_usec() + 10000000;; pause_msec(10)) {
        char *log = log_of(c, &h);
        int n = count_text(log, "begun");
        free(log);
        if (n >= 2)
            break;
        check(now_usec() < end, "it was not restarted");
    }
}

static const struct contract_case status_cases[] = {
    CASE(exit_0_is_completed),
    CASE(exit_3_is_failed_with_its_code),
    CASE_NEEDS(a_signal_is_failed_with_its_number, NEEDS_PROGRAM),
    CASE_NEEDS(a_kill_from_inside_is_its_own, NEEDS_PROGRAM),
    CASE(times_are_in_order),
    CASE(the_document_says_the_same),
    CASE(the_nonblocking_form_says_the_same),
    CASE(a_death_by_memory_is_told),
    CASE_NEEDS(a_childs_death_by_memory_is_told_apart, NEEDS_PROGRAM),
    CASE(another_kill_is_no_death_by_memory),
    CASE_NEEDS(the_pid_is_the_programs, NEEDS_PROGRAM),
    CASE_NEEDS(a_killed_supervisor_is_noticed_by_the_next_status, NEEDS_PROGRAM),
    CASE_NEEDS(a_killed_supervisor_is_no_hindrance_to_stop_and_remove, NEEDS_PROGRAM),
    CASE_NEEDS(a_killed_supervisor_ends_a_wait, NEEDS_PROGRAM),
    CASE(states_and_codes_have_names),
    CASE(never_does_not_restart),
    CASE(on_failure_restarts_up_to_its_maximum),
    CASE(on_failure_leaves_a_success_alone),
    CASE(always_restarts_a_success),
    CASE(unless_stopped_restarts_too),
    CASE(restarting_tells_when_it_starts_next),
    CASE(the_delay_doubles_up_to_its_cap),
    CASE(a_start_by_a_caller_counts_restarts_anew),
    CASE_NEEDS(health_follows_its_command, NEEDS_PROGRAM),
    CASE_NEEDS(a_health_command_that_hangs_counts_as_a_failure, NEEDS_PROGRAM),
    CASE_NEEDS(health_is_starting_in_its_start_period, NEEDS_PROGRAM),
    CASE(without_a_health_command_there_is_no_health),
    CASE_NEEDS(readiness_is_told, NEEDS_PROGRAM),
    CASE_NEEDS(liveness_restarts_what_hangs, NEEDS_PROGRAM),
};
GROUP(status);
