/* SPDX-License-Identifier: Apache-2.0 */
/*
 * remove: every trace of it, once and for all; and nothing that isn't its own.
 *
 * What is left behind is looked for after every case of the suite (case.c); here are the questions
 * that need one of their own.
 */
#include "contract.h"

#include <berth/container.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct berth_remove_options force = {.size = sizeof(force), .force = true};

static void remove_of_a_running_one_is_wrong_state(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    fails_with(BERTH_WRONG_STATE, berth_remove(c->runtime, &h, NULL, ERR));
    names("one");
    is_state(c, &h, BERTH_RUNNING);
}

static void a_forced_remove_ends_it(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", STEPS("ignore TERM", "print ready", "wait"), NULL);
    int64_t begin = now_usec();
    ok(berth_remove(c->runtime, &h, &force, ERR));
    check(now_usec() - begin < 2000000, "it took %lld us", (long long)(now_usec() - begin));
    struct berth_status *s = NULL;
    fails_with(BERTH_NOT_FOUND, berth_status(c->runtime, &h, &s, ERR));
}

static void remove_twice_succeeds(struct contract *c)
{
    struct berth_handle h = create(c, "one", WAITS, NULL);
    ok(berth_remove(c->runtime, &h, NULL, ERR));
    ok(berth_remove(c->runtime, &h, NULL, ERR));
    ok(berth_remove(c->runtime, &h, &force, ERR));
}

static void two_removes_at_once_both_succeed(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *calls[2];
    for (int i = 0; i < 2; i++)
        ok(berth_remove_call(c->runtime, &h, &force, &calls[i], ERR));
    for (int i = 0; i < 2; i++) {
        ok(berth_call_wait(calls[i], 10000, NULL, ERR));
        berth_call_free(calls[i]);
    }
}

static void a_cancelled_remove_goes_on(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call = NULL;
    ok(berth_remove_call(c->runtime, &h, &force, &call, ERR));
    berth_call_cancel(call);
    berth_call_free(call);
    for (int64_t end = now_usec() + 5000000;; pause_msec(10)) {
        struct berth_status *s = NULL;
        int r = berth_status(c->runtime, &h, &s, ERR);
        berth_status_free(s);
        if (r == BERTH_NOT_FOUND)
            break;
        check(now_usec() < end, "it is still there");
    }
}

static void the_old_handle_does_not_reach_its_successor(struct contract *c)
{
    struct berth_handle old = create(c, "one", WAITS, NULL);
    ok(berth_remove(c->runtime, &old, NULL, ERR));
    struct berth_handle new = run_ready(c, "one", WAITS, NULL);
    struct berth_status *s = NULL;
    fails_with(BERTH_NOT_FOUND, berth_status(c->runtime, &old, &s, ERR));
    fails_with(BERTH_NOT_FOUND, berth_stop(c->runtime, &old, 0, ERR));
    ok(berth_remove(c->runtime, &old, &force, ERR));
    is_state(c, &new, BERTH_RUNNING);
}

static void every_ended_state_can_be_removed(struct contract *c)
{
    struct berth_handle created = create(c, "a", WAITS, NULL),
                        completed = run(c, "b", STEPS("exit 0"), NULL),
                        failed = run(c, "c", STEPS("exit 1"), NULL),
                        stopped = run_ready(c, "d", WAITS, NULL);
    berth_status_free(until_ended(c, &completed));
    berth_status_free(until_ended(c, &failed));
    ok(berth_stop(c->runtime, &stopped, 0, ERR));
    ok(berth_remove(c->runtime, &created, NULL, ERR));
    ok(berth_remove(c->runtime, &completed, NULL, ERR));
    ok(berth_remove(c->runtime, &failed, NULL, ERR));
    ok(berth_remove(c->runtime, &stopped, NULL, ERR));
    struct berth_handle *list = NULL;
    size_t n = 7;
    ok(berth_list(c->runtime, &list, &n, ERR));
    equal((long long)n, 0);
    free(list);
}

static void a_paused_one_is_removed_by_force(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    ok(berth_pause(c->runtime, &h, ERR));
    fails_with(BERTH_WRONG_STATE, berth_remove(c->runtime, &h, NULL, ERR));
    ok(berth_remove(c->runtime, &h, &force, ERR));
}

static void one_that_waits_for_its_restart_is_removed_by_force(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", STEPS("exit 1"), "restart", "{'policy':'always','delay':'60s'}", NULL);
    until_state(c, &h, BERTH_RESTARTING);
    ok(berth_remove(c->runtime, &h, &force, ERR));
}

static void with_remove_in_its_spec_it_goes_by_itself(struct contract *c)
{
    struct berth_handle h = run(c, "one", STEPS("sleep 30ms", "exit 0"), "remove", "true", NULL);
    for (int64_t end = now_usec() + 10000000;; pause_msec(10)) {
        struct berth_status *s = NULL;
        int r = berth_status(c->runtime, &h, &s, ERR);
        if (r == BERTH_UNSUPPORTED)
            end_unsupported("%s", ERR->message);
        if (r == 0)
            berth_status_free(s);
        if (r == BERTH_NOT_FOUND)
            break;
        check(now_usec() < end, "it is still there after ten seconds");
    }
    create(c, "one", WAITS, NULL);
}

static void named_volumes_stay(struct contract *c)
{
    static const char mounts[] = "[{'type':'volume','source':'kept','target':'/data'}]";
    struct berth_remove_options all = {.size = sizeof(all), .force = true, .volumes = true};
    struct berth_handle h =
        run(c, "one", SHELL("echo precious > /data/file"), "mounts", mounts, NULL);
    berth_status_free(until_ended(c, &h));
    ok(berth_remove(c->runtime, &h, &all, ERR));
    struct berth_handle next =
        run(c, "two", SHELL("cat /data/file /data/of-the-image"), "mounts", mounts, NULL);
    berth_status_free(until_ended(c, &next));
    char *log = log_of(c, &next);
    equal_text(log, "precious\nfrom the image\n");
    free(log);
}

static size_t count_volumes(struct contract *c)
{
    char *text = NULL;
    ok(berth_volume_list(c->runtime, &text, ERR));
    json_t *list = json_loads(text, 0, NULL);
    size_t n = json_array_size(list);
    json_decref(list);
    free(text);
    return n;
}

static void anonymous_volumes_go_when_asked(struct contract *c)
{
    struct berth_remove_options all = {.size = sizeof(all), .volumes = true};
    struct berth_handle h = run(c, "one", SHELL("echo x > /data/file"), "mounts",
                                "[{'type':'volume','target':'/data'}]", NULL);
    berth_status_free(until_ended(c, &h));
    equal((long long)count_volumes(c), 1);
    ok(berth_remove(c->runtime, &h, &all, ERR));
    equal((long long)count_volumes(c), 0);
}

static void what_a_bind_mount_leads_to_is_untouched(struct contract *c)
{
    char *folder = print_text("%s/bound", c->scratch);
    mkdir(folder, 0755);
    char *file = scratch_file(c, "bound/file", "of the host\n");
    char *mounts = print_text("[{'type':'bind','source':'%s','target':'/mnt'}]", folder);
    struct berth_handle h =
        run_ready(c, "one", SHELL("echo ready; sleep 1000"), "mounts", mounts, NULL);
    ok(berth_remove(c->runtime, &h, &force, ERR));
    char *text = read_file(file);
    equal_text(text, "of the host\n");
    unlink(file);
    rmdir(folder);
    free(text);
    free(mounts);
    free(file);
    free(folder);
}

static void what_it_left_on_its_own_disk_can_be_removed(struct contract *c)
{
    struct berth_handle h = run(c, "one",
                                SHELL("mkdir -p /d/e/f; chmod 000 /d/e; ln -s /etc /d/link; mknod "
                                      "/d/fifo p; touch /d/'a b' \"/d/$(printf 'n\\nl')\"; "
                                      "i=0; while [ $i -lt 60 ]; do mkdir -p /deep; cd /deep; "
                                      "mkdir deep; cd deep; i=$((i+1)); done; "
                                      "mkdir -p $(seq -s / 1 400)"),
                                NULL);
    berth_status_free(until_ended(c, &h));
    ok(berth_remove(c->runtime, &h, NULL, ERR));
    check(access("/etc/passwd", F_OK) == 0, "a link of the workload led to the host");
}

static void a_remove_leaves_no_process_of_it(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", SHELL("(setsid sleep 9871 &); echo ready; sleep 9872"), NULL);
    json_t *s = status_json(c, &h);
    int supervisor = (int)json_integer_value(json_object_get(s, "supervisor_pid"));
    int pid = (int)json_integer_value(json_object_get(s, "pid"));
    json_decref(s);
    ok(berth_remove(c->runtime, &h, &force, ERR));
    check(!process_exists(pid), "its program runs");
    for (int64_t end = now_usec() + 1000000; process_exists(supervisor); pause_msec(5))
        check(now_usec() < end, "its supervisor runs");
}

static const struct contract_case remove_cases[] = {
    CASE(remove_of_a_running_one_is_wrong_state),
    CASE(a_forced_remove_ends_it),
    CASE(remove_twice_succeeds),
    CASE(two_removes_at_once_both_succeed),
    CASE(a_cancelled_remove_goes_on),
    CASE(the_old_handle_does_not_reach_its_successor),
    CASE(every_ended_state_can_be_removed),
    CASE(a_paused_one_is_removed_by_force),
    CASE(one_that_waits_for_its_restart_is_removed_by_force),
    CASE(with_remove_in_its_spec_it_goes_by_itself),
    CASE_NEEDS(named_volumes_stay, NEEDS_PROGRAM),
    CASE_NEEDS(anonymous_volumes_go_when_asked, NEEDS_PROGRAM),
    CASE_NEEDS(what_a_bind_mount_leads_to_is_untouched, NEEDS_PROGRAM),
    CASE_NEEDS(what_it_left_on_its_own_disk_can_be_removed, NEEDS_PROGRAM),
    CASE_NEEDS(a_remove_leaves_no_process_of_it, NEEDS_PROGRAM),
};
GROUP(remove);
