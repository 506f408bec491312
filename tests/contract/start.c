/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start: its program really runs when it returns, or the reason is known.
 */
#include "contract.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/** A module's first word is only its name, when it is no path. */
static void need_search(const struct contract *c)
{
    if (is_wasm(c))
        end_unsupported("it searches no program by a name");
}

/** Start must fail with `code` and name `what`; then the state is failed and says why. */
static void fails_to_start(struct contract *c, const struct berth_handle *h, int code,
                           const char *what)
{
    fails_with(code, berth_start(c->runtime, h, ERR));
    names(what);
    struct berth_status *s = status_of(c, h);
    equal(s->state, BERTH_FAILED);
    equal(s->pid, 0);
    has_text(s->reason, what);
    berth_status_free(s);
}

static void start_returns_when_it_runs(struct contract *c)
{
    struct berth_handle h = run(c, "one", WAITS, NULL);
    struct berth_status *s = status_of(c, &h);
    equal(s->state, BERTH_RUNNING);
    check(s->started_usec >= s->created_usec, "started before it was created");
    equal(s->ended_usec, 0);
    equal(s->exit_code, -1);
    berth_status_free(s);
}

static void start_of_a_running_one_is_wrong_state(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    fails_with(BERTH_WRONG_STATE, berth_start(c->runtime, &h, ERR));
    names("one");
    is_state(c, &h, BERTH_RUNNING);
    char *log = log_of(c, &h);
    equal(count_text(log, "ready"), 1);
    free(log);
}

static void start_after_stop_keeps_id_name_and_logs(struct contract *c)
{
    struct berth_handle h = run_ready(c, "keeps", WAITS, NULL), found;
    ok(berth_stop(c->runtime, &h, 1000, ERR));
    ok(berth_start(c->runtime, &h, ERR));
    is_state(c, &h, BERTH_RUNNING);
    ok(berth_find(c->runtime, "keeps", &found, ERR));
    check(memcmp(found.id, h.id, 16) == 0, "its id changed");
    for (int i = 0; i < 200; i++) {
        char *log = log_of(c, &h);
        int n = count_text(log, "ready");
        free(log);
        if (n == 2)
            return;
        pause_msec(10);
    }
    fail("the log of the first run is gone, or the second run wrote nothing");
}

static void start_after_an_end_of_its_own_works(struct contract *c)
{
    struct berth_handle h = run(c, "twice", STEPS("print hi", "exit 3"), NULL);
    for (int i = 0; i < 3; i++) {
        struct berth_status *s = until_ended(c, &h);
        equal(s->state, BERTH_FAILED);
        equal(s->exit_code, 3);
        equal(s->restarts, 0);
        berth_status_free(s);
        ok(berth_start(c->runtime, &h, ERR));
    }
    berth_status_free(until_ended(c, &h));
}

static void a_start_clears_the_end_before_it(struct contract *c)
{
    struct berth_handle h = run_ready(c, "clears", STEPS("print ready", "wait"), NULL);
    ok(berth_stop(c->runtime, &h, 0, ERR));
    ok(berth_start(c->runtime, &h, ERR));
    struct berth_status *s = status_of(c, &h);
    equal(s->state, BERTH_RUNNING);
    equal(s->exit_code, -1);
    equal(s->signal, 0);
    equal(s->ended_usec, 0);
    equal_text(s->reason, "");
    berth_status_free(s);
}

static void start_of_a_removed_one_is_not_found(struct contract *c)
{
    struct berth_handle h = create(c, "gone", WAITS, NULL);
    ok(berth_remove(c->runtime, &h, NULL, ERR));
    fails_with(BERTH_NOT_FOUND, berth_start(c->runtime, &h, ERR));
}

static void of_two_starts_at_once_one_is_wrong_state(struct contract *c)
{
    struct berth_handle h = create(c, "race", WAITS, NULL);
    struct berth_call *calls[2];
    int r[2], succeeded = 0;
    for (int i = 0; i < 2; i++)
        ok(berth_start_call(c->runtime, &h, &calls[i], ERR));
    for (int i = 0; i < 2; i++) {
        r[i] = berth_call_wait(calls[i], 10000, NULL, ERR);
        succeeded += r[i] == 0;
        berth_call_free(calls[i]);
    }
    check(succeeded == 1 && r[0] + r[1] == BERTH_WRONG_STATE, "%s and %s", berth_code_name(r[0]),
          berth_code_name(r[1]));
    is_state(c, &h, BERTH_RUNNING);
}

static void a_program_that_ends_at_once_was_started(struct contract *c)
{
    for (int i = 0; i < 10; i++) {
        char *name = print_text("short-%d", i);
        struct berth_handle h = run(c, name, STEPS("exit 0"), NULL);
        struct berth_status *s = until_ended(c, &h);
        equal(s->state, BERTH_COMPLETED);
        berth_status_free(s);
        free(name);
    }
}

static void a_missing_program_fails_and_is_named(struct contract *c)
{
    struct berth_handle h = create(c, "x", WAITS, "command", "['/no/such/program']", NULL);
    fails_to_start(c, &h, BERTH_NO_PROGRAM, "/no/such/program");
}

static void a_missing_program_of_the_path_fails_and_is_named(struct contract *c)
{
    need_search(c);
    struct berth_handle h = create(c, "x", WAITS, "command", "['nosuchprogram','-x']", NULL);
    fails_to_start(c, &h, BERTH_NO_PROGRAM, "nosuchprogram");
}

static void a_file_that_is_no_program_fails_and_is_named(struct contract *c)
{
    struct berth_handle h =
        create(c, "x", SHELL("true"), "command", "['/usr/bin/not-executable']", NULL);
    fails_to_start(c, &h, BERTH_NOT_EXECUTABLE, "/usr/bin/not-executable");
}

static void a_folder_as_program_fails_and_is_named(struct contract *c)
{
    struct berth_handle h = create(c, "x", SHELL("true"), "command", "['/usr/bin']", NULL);
    fails_to_start(c, &h, BERTH_NOT_EXECUTABLE, "/usr/bin");
}

static void a_foreign_architecture_fails_and_is_named(struct contract *c)
{
    struct berth_handle h = create(c, "x", SHELL("true"), "command", "['/usr/bin/foreign']", NULL);
    fails_to_start(c, &h, BERTH_NOT_EXECUTABLE, "/usr/bin/foreign");
}

static void a_script_without_its_interpreter_fails_and_is_named(struct contract *c)
{
    struct berth_handle h =
        create(c, "x", SHELL("true"), "command", "['/usr/bin/no-interpreter']", NULL);
    fails_with(BERTH_NO_PROGRAM, berth_start(c->runtime, &h, ERR));
    names("no-interpreter");
    is_state(c, &h, BERTH_FAILED);
}

static void a_bad_user_fails_and_is_named(struct contract *c)
{
    struct berth_handle h = create(c, "x", SHELL("true"), "user", "'nosuchuser'", NULL);
    fails_to_start(c, &h, BERTH_NOT_FOUND, "nosuchuser");
}

static void a_bad_group_fails_and_is_named(struct contract *c)
{
    struct berth_handle h = create(c, "x", SHELL("true"), "groups", "['nosuchgroup']", NULL);
    fails_to_start(c, &h, BERTH_NOT_FOUND, "nosuchgroup");
}

static void a_bad_workdir_fails_and_is_named(struct contract *c)
{
    struct berth_handle h = create(c, "x", SHELL("true"), "workdir", "'/etc/passwd'", NULL);
    int r = berth_start(c->runtime, &h, ERR);
    check(r < 0, "a file as working directory was taken");
    names("/etc/passwd");
    is_state(c, &h, BERTH_FAILED);
}

static void a_failed_start_can_be_tried_again(struct contract *c)
{
    struct berth_handle h = create(c, "x", SHELL("true"), "command", "['/data/tool']", "mounts",
                                   "[{'type':'volume','source':'tools','target':'/data'}]", NULL);
    fails_to_start(c, &h, BERTH_NO_PROGRAM, "/data/tool");
    struct berth_handle maker =
        run(c, "maker", SHELL("printf '#!/bin/sh\\nexit 6\\n' > /data/tool; chmod 755 /data/tool"),
            "mounts", "[{'type':'volume','source':'tools','target':'/data'}]", NULL);
    berth_status_free(until_ended(c, &maker));
    ok(berth_start(c->runtime, &h, ERR));
    struct berth_status *s = until_ended(c, &h);
    equal(s->exit_code, 6);
    berth_status_free(s);
}

static void start_after_stop_keeps_files(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "files",
                  SHELL("trap 'exit 0' TERM; [ -e /kept ] && echo found; touch /kept; echo ready; "
                        "while :; do sleep 100 & wait $!; done"),
                  NULL);
    ok(berth_stop(c->runtime, &h, 2000, ERR));
    ok(berth_start(c->runtime, &h, ERR));
    until_log(c, &h, "found");
}

static void a_caller_killed_during_start_is_carried_through(struct contract *c)
{
    for (int round = 0; round < 10; round++) {
        char *name = print_text("carried-%d", round);
        struct berth_handle h = create(c, name, SHELL("echo ready; sleep 1000"), NULL);
        pid_t pid = fork();
        if (pid == 0) {
            struct berth_options options = {
                .size = sizeof(options), .root = c->root, .run = c->run};
            struct berth_runtime *own = NULL;
            ok(berth_open(c->opens, &options, &own, ERR));
            berth_start(own, &h, NULL);
            _exit(0);
        }
        usleep((useconds_t)(round * 700));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        /* either it never began, or it comes to run; nothing between stays */
        for (int64_t end = now_usec() + 5000000;; pause_msec(5)) {
            int state = state_of(c, &h);
            if (state == BERTH_RUNNING || state == BERTH_CREATED)
                break;
            check(now_usec() < end, "it stays %s", berth_state_name(state));
        }
        struct berth_remove_options force = {.size = sizeof(force), .force = true};
        ok(berth_remove(c->runtime, &h, &force, ERR));
        free(name);
    }
}

static void a_cancelled_start_is_undone(struct contract *c)
{
    struct berth_handle h = create(c, "undone", WAITS, NULL);
    struct berth_call *call = NULL;
    ok(berth_start_call(c->runtime, &h, &call, ERR));
    berth_call_cancel(call);
    int r = berth_call_wait(call, 10000, NULL, ERR);
    berth_call_free(call);
    check(r == 0 || r == BERTH_CANCELLED, "%s: %s", berth_code_name(r), ERR->message);
    is_state(c, &h, r == 0 ? BERTH_RUNNING : BERTH_CREATED);
    if (r != 0)
        ok(berth_start(c->runtime, &h, ERR));
}

static void a_start_freed_before_its_end_is_undone(struct contract *c)
{
    struct berth_handle h = create(c, "left", WAITS, NULL);
    struct berth_call *call = NULL;
    ok(berth_start_call(c->runtime, &h, &call, ERR));
    bool over = berth_call_finish(call, NULL, ERR) != BERTH_AGAIN;
    berth_call_free(call);
    if (over) {
        is_state(c, &h, BERTH_RUNNING);
        return;
    }
    until_state(c, &h, BERTH_CREATED);
    ok(berth_start(c->runtime, &h, ERR)); /* at once: that one would have been running */
    is_state(c, &h, BERTH_RUNNING);
}

static const struct contract_case start_cases[] = {
    CASE(start_returns_when_it_runs),
    CASE(start_of_a_running_one_is_wrong_state),
    CASE(start_after_stop_keeps_id_name_and_logs),
    CASE(start_after_an_end_of_its_own_works),
    CASE(a_start_clears_the_end_before_it),
    CASE(start_of_a_removed_one_is_not_found),
    CASE(of_two_starts_at_once_one_is_wrong_state),
    CASE(a_program_that_ends_at_once_was_started),
    CASE(a_missing_program_fails_and_is_named),
    CASE(a_missing_program_of_the_path_fails_and_is_named),
    CASE_NEEDS(a_file_that_is_no_program_fails_and_is_named, NEEDS_PROGRAM),
    CASE_NEEDS(a_folder_as_program_fails_and_is_named, NEEDS_PROGRAM),
    CASE_NEEDS(a_foreign_architecture_fails_and_is_named, NEEDS_PROGRAM),
    CASE_NEEDS(a_script_without_its_interpreter_fails_and_is_named, NEEDS_PROGRAM),
    CASE_NEEDS(a_bad_user_fails_and_is_named, NEEDS_PROGRAM),
    CASE_NEEDS(a_bad_group_fails_and_is_named, NEEDS_PROGRAM),
    CASE_NEEDS(a_bad_workdir_fails_and_is_named, NEEDS_PROGRAM),
    CASE_NEEDS(a_failed_start_can_be_tried_again, NEEDS_PROGRAM),
    CASE_NEEDS(start_after_stop_keeps_files, NEEDS_PROGRAM),
    CASE_NEEDS(a_caller_killed_during_start_is_carried_through, NEEDS_PROGRAM | NEEDS_PROCESS),
    CASE(a_cancelled_start_is_undone),
    CASE(a_start_freed_before_its_end_is_undone),
};
GROUP(start);
