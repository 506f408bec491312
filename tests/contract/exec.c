/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec: one more program inside, with nothing of its output lost and nothing of it left.
 */
#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define IDLES SHELL("trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait $!; done")

/** Number of processes inside whose command line holds `text`. */
static int running_inside(struct contract *c, const struct berth_handle *h, const char *text)
{
    /* the pattern does not fit itself, so that neither the shell nor the grep that ask are found */
    char *line = print_text("ps -o args | grep -c '[%c]%s' || true", text[0], text + 1);
    char *n = inside(c, h, line);
    int count = atoi(n);
    free(n);
    free(line);
    return count;
}

static void exec_brings_code_and_streams_apart(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_exec_result *r =
        exec_program(c, &h, NULL, STEPS("print out", "eprint wrong", "exit 42"));
    equal(r->exit_code, 42);
    equal(r->signal, 0);
    equal_text(r->out, "out\n");
    equal_text(r->err, "wrong\n");
    equal((long long)r->out_size, 4);
    berth_exec_result_free(r);
}

static void exec_tells_a_signal(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    struct berth_exec_result *r = exec_with(c, &h, NULL, "sh", "-c", "kill -USR1 $$", NULL);
    equal(r->signal, SIGUSR1);
    equal(r->exit_code, 128 + SIGUSR1);
    berth_exec_result_free(r);
}

static void exec_output_is_not_in_the_log(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    berth_exec_result_free(exec_program(c, &h, NULL, STEPS("print hidden", "exit 0")));
    char *log = log_of(c, &h);
    equal_text(log, "ready\n");
    free(log);
}

static void a_hundred_megabytes_of_output_are_complete(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    struct berth_exec_result *r = exec_with(
        c, &h, NULL, "sh", "-c",
        "head -c 100000000 /dev/zero | tr '\\0' o; head -c 1000000 /dev/zero | tr '\\0' e >&2",
        NULL);
    equal(r->exit_code, 0);
    equal((long long)r->out_size, 100000000);
    equal((long long)r->err_size, 1000000);
    equal((long long)strspn(r->out, "o"), 100000000);
    equal((long long)strspn(r->err, "e"), 1000000);
    berth_exec_result_free(r);
}

static void stdin_is_read_to_its_end(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    size_t size = 5000000;
    char *data = malloc(size);
    memset(data, 'i', size);
    struct berth_exec_options o = {.size = sizeof(o), .stdin_data = data, .stdin_size = size};
    struct berth_exec_result *r = exec_program(c, &h, &o, STEPS("cat"));
    equal(r->exit_code, 0);
    equal((long long)r->out_size, (long long)size);
    equal(memcmp(r->out, data, size), 0);
    berth_exec_result_free(r);
    free(data);
}

static void without_stdin_there_is_its_end(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_exec_result *r = exec_program(c, &h, NULL, STEPS("cat"));
    equal(r->exit_code, 0);
    equal((long long)r->out_size, 0);
    berth_exec_result_free(r);
}

static void stdin_that_nobody_reads_hurts_nobody(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    char *data = calloc(1, 1000000);
    struct berth_exec_options o = {.size = sizeof(o), .stdin_data = data, .stdin_size = 1000000};
    struct berth_exec_result *r = exec_program(c, &h, &o, STEPS("exit 5"));
    equal(r->exit_code, 5);
    berth_exec_result_free(r);
    free(data);
}

static void an_unknown_program_is_named(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_exec_result *r = NULL;
    if (!is_wasm(c)) { /* there a word without '/' is the module itself */
        fails_with(
            BERTH_NO_PROGRAM,
            berth_exec(c->runtime, &h, (const char *const[]){"nosuchprogram", NULL}, NULL, &r, ERR));
        names("nosuchprogram");
    }
    fails_with(BERTH_NO_PROGRAM,
               berth_exec(c->runtime, &h, (const char *const[]){"/no/such", NULL}, NULL, &r, ERR));
    names("/no/such");
}

static void a_file_that_is_no_program_is_named(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    struct berth_exec_result *r = NULL;
    fails_with(BERTH_NOT_EXECUTABLE,
               berth_exec(c->runtime, &h, (const char *const[]){"/usr/bin/not-executable", NULL},
                          NULL, &r, ERR));
    names("/usr/bin/not-executable");
}

static void an_empty_command_is_refused(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_exec_result *r = NULL;
    fails_with(BERTH_INVALID,
               berth_exec(c->runtime, &h, (const char *const[]){NULL}, NULL, &r, ERR));
    fails_with(BERTH_INVALID, berth_exec(c->runtime, &h, NULL, NULL, &r, ERR));
}

static void exec_in_one_that_does_not_run_is_wrong_state(struct contract *c)
{
    struct berth_handle h = create(c, "one", WAITS, NULL);
    struct berth_exec_result *r = NULL;
    const char *const argv[] = {"true", NULL};
    fails_with(BERTH_WRONG_STATE, berth_exec(c->runtime, &h, argv, NULL, &r, ERR));
    ok(berth_start(c->runtime, &h, ERR));
    ok(berth_stop(c->runtime, &h, 0, ERR));
    fails_with(BERTH_WRONG_STATE, berth_exec(c->runtime, &h, argv, NULL, &r, ERR));
}

static void env_user_and_workdir_hold(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", IDLES, "env", "{'OWN':'workload','BOTH':'workload'}", NULL);
    struct berth_exec_options o = {.size = sizeof(o),
                                   .env = (const char *const[]){"BOTH=exec", "NEW=exec", NULL},
                                   .user = "guest",
                                   .workdir = "/tmp"};
    struct berth_exec_result *r = exec_with(
        c, &h, &o, "sh", "-c", "echo $OWN $BOTH $NEW $(id -u) $(id -g) $(pwd) $HOME", NULL);
    equal_text(r->out, "workload exec exec 1000 1000 /tmp /home/guest\n");
    berth_exec_result_free(r);
    o.user = "77:88";
    o.groups = (const char *const[]){"extra", "99", NULL};
    r = exec_with(c, &h, &o, "id", NULL);
    has_text(r->out, "uid=77");
    has_text(r->out, "gid=88");
    has_text(r->out, "2000");
    has_text(r->out, "99");
    berth_exec_result_free(r);
}

static void the_workloads_user_and_workdir_are_the_default(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", IDLES, "user", "'1000:1000'", "workdir", "'/srv'", NULL);
    char *text = inside(c, &h, "echo $(id -u) $(pwd)");
    equal_text(text, "1000 /srv");
    free(text);
}

static void a_bad_user_or_workdir_is_named(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    struct berth_exec_result *r = NULL;
    const char *const argv[] = {"true", NULL};
    struct berth_exec_options o = {.size = sizeof(o), .user = "nosuchuser"};
    fails_with(BERTH_NOT_FOUND, berth_exec(c->runtime, &h, argv, &o, &r, ERR));
    names("nosuchuser");
    o = (struct berth_exec_options){.size = sizeof(o), .workdir = "/no/such/folder"};
    fails_with(BERTH_NOT_FOUND, berth_exec(c->runtime, &h, argv, &o, &r, ERR));
    names("/no/such/folder");
    o = (struct berth_exec_options){.size = sizeof(o), .workdir = "/proc/self/fd/5/../.."};
    int code = berth_exec(c->runtime, &h, argv, &o, &r, ERR);
    check(code < 0, "a working directory among the descriptors was taken");
}

/** Nothing of an exec stays behind, what it began itself included. */
static void until_gone(struct contract *c, const struct berth_handle *h, const char *text)
{
    for (int64_t end = now_usec() + 3000000; running_inside(c, h, text) > 0; pause_msec(20))
        check(now_usec() < end, "\"%s\" runs on", text);
}

static void a_timeout_kills_only_the_exec(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_exec_options o = {.size = sizeof(o), .timeout_msec = 150};
    struct berth_exec_result *r = NULL;
    char *sleeps = print_text("sleep %d", 100000 + getpid()); /* nobody else's, where all see all */
    char *step = print_text("%ss", sleeps);
    int64_t begin = now_usec();
    fails_with(BERTH_TIMED_OUT, exec_code(c, &h, &o, STEPS("ignore TERM", step, "exit 0"), &r));
    int64_t took = (now_usec() - begin) / 1000;
    check(took >= 140 && took < 2000, "it took %lld ms", (long long)took);
    if (!c->steps)
        until_gone(c, &h, sleeps);
    is_state(c, &h, BERTH_RUNNING);
    free(step);
    free(sleeps);
}

/** Number of execs that the engine lists. */
static size_t listed(struct contract *c, const struct berth_handle *h)
{
    char *text = NULL;
    ok(berth_exec_list(c->runtime, h, &text, ERR));
    json_t *list = json_loads(text, 0, NULL);
    check(json_is_array(list), "the list is %s", text);
    size_t n = json_array_size(list);
    json_decref(list);
    free(text);
    return n;
}

static void until_none_is_listed(struct contract *c, const struct berth_handle *h)
{
    for (int64_t end = now_usec() + 5000000; listed(c, h) > 0; pause_msec(10))
        check(now_usec() < end, "it runs on");
}

static void an_output_ceiling_is_told(struct contract *c)
{
    char line[2001] = "print ";
    memset(line + 6, 'x', sizeof(line) - 7);
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_exec_options o = {.size = sizeof(o), .output_max_bytes = 1000};
    struct berth_exec_result *r = NULL;
    fails_with(BERTH_TOO_BIG, exec_code(c, &h, &o, STEPS(line, "exit 0"), &r));
    until_none_is_listed(c, &h);
}

static void output_without_end_is_cut_off(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    struct berth_exec_options o = {.size = sizeof(o), .output_max_bytes = 100000};
    struct berth_exec_result *r = NULL;
    fails_with(BERTH_TOO_BIG, exec_code(c, &h, &o, SHELL("yes"), &r));
    until_none_is_listed(c, &h);
    until_gone(c, &h, "yes");
}

static void many_execs_leave_nothing(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_stats before = {.size = sizeof(before)}, after = {.size = sizeof(after)};
    json_t *s = status_json(c, &h);
    char *fds =
        print_text("/proc/%d/fd", (int)json_integer_value(json_object_get(s, "supervisor_pid")));
    json_decref(s);
    berth_exec_result_free(exec_program(c, &h, NULL, STEPS("exit 0")));
    ok(berth_stats(c->runtime, &h, &before, ERR));
    int own = count_fds();
    struct snapshot *first = snapshot_take(fds, fds, "/its-descriptors-alone");
    for (int i = 0; i < (c->long_run ? 10000 : 1000); i++) {
        struct berth_exec_result *r = exec_program(c, &h, NULL, STEPS("exit 0"));
        equal(r->exit_code, 0);
        berth_exec_result_free(r);
    }
    equal(count_fds(), own);
    for (int64_t end = now_usec() + 5000000;; pause_msec(20)) { /* the last one's end may still be at work */
        struct snapshot *last = snapshot_take(fds, fds, "/its-descriptors-alone");
        char *extra = snapshot_extra(first, last);
        snapshot_free(last);
        ok(berth_stats(c->runtime, &h, &after, ERR));
        if (!extra && after.pids <= before.pids)
            break;
        check(now_usec() < end, "after many execs there are %llu processes, before %llu, and %s", (unsigned long long)after.pids,
              (unsigned long long)before.pids, extra ? extra : "nothing else");
        free(extra);
    }
    equal((long long)listed(c, &h), 0);
    snapshot_free(first);
    free(fds);
}

static void many_at_once_do_not_mix(struct contract *c)
{
    enum { COUNT = 30 };
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *calls[COUNT];
    for (int i = 0; i < COUNT; i++) {
        char *line = print_text("print %d", i), *code = print_text("exit %d", i);
        calls[i] = exec_begin(c, &h, NULL, STEPS(line, "sleep 20ms", code));
        free(line);
        free(code);
    }
    for (int i = 0; i < COUNT; i++) {
        struct berth_result r = {0};
        ok(berth_call_wait(calls[i], 20000, &r, ERR));
        equal(r.exec->exit_code, i);
        equal(atoi(r.exec->out), i);
        berth_exec_result_free(r.exec);
        berth_call_free(calls[i]);
    }
}

static void a_killed_client_leaves_no_process(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct berth_options options = {.size = sizeof(options), .root = c->root, .run = c->run};
        struct berth_runtime *own = NULL;
        struct berth_exec_result *r = NULL;
        ok(berth_open(c->opens, &options, &own, ERR));
        berth_exec(own, &h, (const char *const[]){"sh", "-c", "sleep 8765; true", NULL}, NULL, &r,
                   NULL);
        _exit(0);
    }
    for (int64_t end = now_usec() + 5000000; running_inside(c, &h, "sleep 8765") == 0;
         pause_msec(10))
        check(now_usec() < end, "it never ran");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    for (int64_t end = now_usec() + 5000000; running_inside(c, &h, "sleep 8765") > 0;
         pause_msec(10))
        check(now_usec() < end, "it runs on without its client");
}

static void a_cancelled_exec_is_killed(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call = exec_begin(c, &h, NULL, STEPS("ignore TERM", "wait"));
    pause_msec(100);
    berth_call_cancel(call);
    fails_with(BERTH_CANCELLED, berth_call_wait(call, 5000, NULL, ERR));
    berth_call_free(call);
    until_none_is_listed(c, &h);
}

static struct berth_call *exec_streamed(struct contract *c, const struct berth_handle *h, bool tty,
                                        struct program program)
{
    struct berth_exec_options o = {
        .size = sizeof(o), .stream = true, .tty = tty, .rows = 24, .columns = 80};
    return exec_begin(c, h, &o, program);
}

/** Wait for a streamed exec's end; its code. */
static int code_of(struct berth_call *call)
{
    struct berth_result r = {0};
    ok(berth_call_wait(call, 10000, &r, ERR));
    check(r.exec, "no result");
    int code = r.exec->exit_code;
    berth_exec_result_free(r.exec);
    berth_call_free(call);
    return code;
}

static void the_streamed_form_reads_and_writes(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call =
        exec_streamed(c, &h, false, STEPS("print begin", "eprint wrong", "cat", "exit 9"));
    int in = berth_call_stream_fd(call, 0), out = berth_call_stream_fd(call, 1),
        err = berth_call_stream_fd(call, 2);
    check(in >= 0 && out >= 0 && err >= 0 && berth_call_stream_fd(call, 3) < 0,
          "descriptors %d %d %d", in, out, err);
    check(write(in, "hello\n", 6) == 6, "write");
    until_call_text(call, 1, "begin\nhello\n");
    equal(berth_call_finish(call, NULL, ERR), BERTH_AGAIN);
    until_text(err, "wrong\n");
    berth_call_close_stdin(call);
    equal(code_of(call), 9);
}

static void a_dialogue_in_the_streamed_form(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    struct berth_call *call = exec_streamed(
        c, &h, false, SHELL("echo begin; read x; echo got $x; echo wrong >&2; cat; exit 9"));
    int in = berth_call_stream_fd(call, 0), out = berth_call_stream_fd(call, 1);
    until_text(out, "begin\n");
    check(write(in, "hello\n", 6) == 6, "write");
    until_text(out, "got hello\n");
    until_text(berth_call_stream_fd(call, 2), "wrong\n");
    check(write(in, "rest", 4) == 4, "write");
    berth_call_close_stdin(call);
    char *rest = read_all(out, NULL);
    equal_text(rest, "rest");
    free(rest);
    equal(code_of(call), 9);
}

static void a_terminal_is_one_and_resizes(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    struct berth_call *call = exec_streamed(c, &h, true,
                                            SHELL("tty; stty size; trap 'stty size; exit 3' WINCH; "
                                                  "echo waiting; while :; do sleep 0.05; done"));
    int out = berth_call_stream_fd(call, 1);
    check(out >= 0 && berth_call_stream_fd(call, 2) < 0, "a terminal has one output");
    until_text(out, "24 80\r\nwaiting");
    ok(berth_call_resize(call, 33, 101, ERR));
    until_text(out, "33 101");
    free(read_all(out, NULL));
    equal(code_of(call), 3);
}

static void a_terminal_passes_control_c(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    struct berth_call *call = exec_streamed(c, &h, true, SHELL("echo waiting; exec sleep 1000"));
    until_text(berth_call_stream_fd(call, 1), "waiting");
    check(write(berth_call_stream_fd(call, 0), "\003", 1) == 1, "write");
    equal(code_of(call), 130);
}

static void a_signal_reaches_an_exec(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call = exec_streamed(c, &h, false, STEPS("print waiting", "wait"));
    until_call_text(call, 1, "waiting");
    ok(berth_call_signal(call, SIGUSR2, ERR));
    struct berth_result r = {0};
    ok(berth_call_wait(call, 10000, &r, ERR));
    if (!is_wasm(c)) /* its worker takes the signal and ends in the guest's stead */
        equal(r.exec->signal, SIGUSR2);
    equal(r.exec->exit_code, 128 + SIGUSR2);
    berth_exec_result_free(r.exec);
    berth_call_free(call);
}

static void a_detached_exec_runs_on_its_own(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    struct berth_exec_options o = {.size = sizeof(o), .detach = true};
    struct berth_exec_result *r =
        exec_with(c, &h, &o, "sh", "-c", "sleep 0.1; echo x > /tmp/done", NULL);
    check(r->exec_id > 0, "no id");
    berth_exec_result_free(r);
    for (int64_t end = now_usec() + 5000000; inside_code(c, &h, "test -s /tmp/done");
         pause_msec(20))
        check(now_usec() < end, "it did not do its work");
}

static void execs_are_listed_and_killed_by_id(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_exec_options o = {.size = sizeof(o), .detach = true};
    struct berth_exec_result *first = exec_program(c, &h, &o, STEPS("sleep 8767s", "exit 0"));
    struct berth_exec_result *second = exec_program(c, &h, &o, STEPS("wait"));
    check(first->exec_id > 0 && second->exec_id != first->exec_id, "ids %llu and %llu",
          (unsigned long long)first->exec_id, (unsigned long long)second->exec_id);
    equal((long long)listed(c, &h), 2);
    char *text = NULL;
    ok(berth_exec_list(c->runtime, &h, &text, ERR));
    has_text(text, "8767");
    free(text);
    ok(berth_exec_kill(c->runtime, &h, first->exec_id, SIGKILL, ERR));
    for (int64_t end = now_usec() + 5000000; listed(c, &h) > 1; pause_msec(10))
        check(now_usec() < end, "it is still listed");
    ok(berth_exec_kill(c->runtime, &h, second->exec_id, SIGKILL, ERR));
    until_none_is_listed(c, &h);
    fails_with(BERTH_NOT_FOUND, berth_exec_kill(c->runtime, &h, 99999, SIGKILL, ERR));
    is_state(c, &h, BERTH_RUNNING);
    berth_exec_result_free(first);
    berth_exec_result_free(second);
}

static void an_exec_ends_with_its_workload(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call = exec_begin(c, &h, NULL, STEPS("ignore TERM", "wait"));
    pause_msec(100);
    ok(berth_stop(c->runtime, &h, 0, ERR));
    struct berth_result r = {0};
    int code = berth_call_wait(call, 5000, &r, ERR);
    check(code != BERTH_TIMED_OUT, "it never ends");
    if (code == 0) {
        equal(r.exec->signal, SIGKILL);
        berth_exec_result_free(r.exec);
    }
    berth_call_free(call);
}

static void an_exec_has_the_workloads_confinement(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    char *of_main = inside(c, &h, "grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/1/status");
    char *of_exec =
        inside(c, &h, "grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status");
    equal_text(of_exec, of_main);
    char *namespaces = inside(c, &h,
                              "for n in mnt net ipc uts pid cgroup; do [ $(readlink /proc/1/ns/$n) "
                              "= $(readlink /proc/self/ns/$n) ] || echo $n; done");
    equal_text(namespaces, "");
    char *fds = inside(c, &h, "exec ls /proc/self/fd | tr '\\n' ' '");
    equal_text(fds, "0 1 2 3 "); /* 3 is ls's own */
    free(of_main);
    free(of_exec);
    free(namespaces);
    free(fds);
}

static void a_privileged_exec_has_all_capabilities(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    struct berth_exec_options o = {.size = sizeof(o), .privileged = true};
    struct berth_exec_result *r =
        exec_with(c, &h, &o, "sh", "-c", "grep CapEff /proc/self/status", NULL);
    char *own = read_file("/proc/self/status"); /* all that this machine gives */
    has_text(own, strtok(r->out, "\n"));
    free(own);
    berth_exec_result_free(r);
}

static void an_execs_orphan_does_not_hold_it_up(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", IDLES, NULL);
    struct berth_exec_options o = {.size = sizeof(o), .timeout_msec = 10000};
    struct berth_exec_result *r =
        exec_with(c, &h, &o, "sh", "-c", "sleep 1000 > /dev/null 2>&1 & exit 4", NULL);
    equal(r->exit_code, 4);
    berth_exec_result_free(r);
}

static const struct contract_case exec_cases[] = {
    CASE(exec_brings_code_and_streams_apart),
    CASE_NEEDS(exec_tells_a_signal, NEEDS_PROGRAM),
    CASE(exec_output_is_not_in_the_log),
    CASE_SLOW(a_hundred_megabytes_of_output_are_complete, NEEDS_PROGRAM, 60),
    CASE(stdin_is_read_to_its_end),
    CASE(without_stdin_there_is_its_end),
    CASE(stdin_that_nobody_reads_hurts_nobody),
    CASE(an_unknown_program_is_named),
    CASE_NEEDS(a_file_that_is_no_program_is_named, NEEDS_PROGRAM),
    CASE(an_empty_command_is_refused),
    CASE(exec_in_one_that_does_not_run_is_wrong_state),
    CASE_NEEDS(env_user_and_workdir_hold, NEEDS_PROGRAM),
    CASE_NEEDS(the_workloads_user_and_workdir_are_the_default, NEEDS_PROGRAM),
    CASE_NEEDS(a_bad_user_or_workdir_is_named, NEEDS_PROGRAM),
    CASE(a_timeout_kills_only_the_exec),
    CASE(an_output_ceiling_is_told),
    CASE_NEEDS(output_without_end_is_cut_off, NEEDS_PROGRAM),
    CASE_SLOW(many_execs_leave_nothing, 0, 120),
    CASE(many_at_once_do_not_mix),
    CASE_NEEDS(a_killed_client_leaves_no_process, NEEDS_PROGRAM),
    CASE(a_cancelled_exec_is_killed),
    CASE(the_streamed_form_reads_and_writes),
    CASE_NEEDS(a_dialogue_in_the_streamed_form, NEEDS_PROGRAM),
    CASE_NEEDS(a_terminal_is_one_and_resizes, NEEDS_PROGRAM),
    CASE_NEEDS(a_terminal_passes_control_c, NEEDS_PROGRAM),
    CASE(a_signal_reaches_an_exec),
    CASE_NEEDS(a_detached_exec_runs_on_its_own, NEEDS_PROGRAM),
    CASE(execs_are_listed_and_killed_by_id),
    CASE(an_exec_ends_with_its_workload),
    CASE_NEEDS(an_exec_has_the_workloads_confinement, NEEDS_PROGRAM),
    CASE_NEEDS(a_privileged_exec_has_all_capabilities, NEEDS_PROGRAM),
    CASE_NEEDS(an_execs_orphan_does_not_hold_it_up, NEEDS_PROGRAM),
};
GROUP(exec);
