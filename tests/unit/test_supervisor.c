/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor itself, over its sockets, with a launch that only forks: its life, answers and
 * records, and what it does with callers that lie or go away.
 */
#include "supervisor_bench.h"
#include "base/file.h"
#include "base/text.h"
#include "store/log.h"
#include "supervisor/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define TEST(name) cmocka_unit_test_setup_teardown(name, bench_setup, bench_teardown)
#define BENCH      struct bench *b = *state

static void assert_message(json_t *body, const char *part)
{
    const char *message = json_string_value(json_object_get(body, "message"));
    assert_non_null(message);
    if (!strstr(message, part))
        print_error("\"%s\" does not say \"%s\"\n", message, part);
    assert_non_null(strstr(message, part));
}

static void exec_pipes(struct bench *b, int fd, const char *json, int ret_ends[3])
{
    bench_send_pipes(b, fd, MESSAGE_EXEC, json, ret_ends);
}

static void attach_pipes(struct bench *b, int fd, const char *json, int ret_ends[3])
{
    bench_send_pipes(b, fd, MESSAGE_ATTACH, json, ret_ends);
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_STARTED);
}

/* ---- start and end -----------------------------------------------------------------------------
 */

static void end_record_says_completed(void **state)
{
    BENCH;
    bench_script(b, "echo out; echo err >&2");
    bench_start(b);
    bench_wait_end(b);
    struct status st = bench_status(b);
    assert_int_equal(st.state, BERTH_COMPLETED);
    assert_int_equal(st.exit_code, 0);
    assert_true(st.started_usec > 0 && st.ended_usec >= st.started_usec);
    autofree char *log = bench_log(b);
    assert_non_null(strstr(log, "out\n"));
    assert_non_null(strstr(log, "err\n"));
}

static void end_record_has_code_and_signal(void **state)
{
    BENCH;
    bench_script(b, "exit 3");
    bench_start(b);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).state, BERTH_FAILED);
    assert_int_equal(bench_status(b).exit_code, 3);
    b->starter_fd = -1;
    bench_script(b, "kill -SEGV $$");
    bench_start(b);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).exit_code, 128 + SIGSEGV);
    assert_int_equal(bench_status(b).signal, SIGSEGV);
    assert_non_null(strstr(bench_status(b).reason, "SIGSEGV"));
}

static void missing_program_fails_the_start(void **state)
{
    BENCH;
    json_t *body = NULL;
    const char *const argv[] = {"/nowhere/at-all", NULL};
    b->plan.argv = strings_copy(argv);
    bench_spawn(b);
    assert_int_equal(bench_receive(b->starter_fd, &body, NULL), MESSAGE_ERROR);
    assert_int_equal(get(body, "code"), BERTH_NO_PROGRAM);
    assert_message(body, "/nowhere/at-all");
    json_decref(body);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).state, BERTH_FAILED);
    assert_int_equal(bench_status(b).start_error, BERTH_NO_PROGRAM);
    assert_int_equal(bench_status(b).exit_code, 127);
}

static void failed_preparation_is_told(void **state)
{
    BENCH;
    json_t *body = NULL;
    bench_script(b, "true");
    assert_int_equal(file_write(b->workload_fd, "fake_fail", "", 0, 0600, 0), 0);
    bench_spawn(b);
    assert_int_equal(bench_receive(b->starter_fd, &body, NULL), MESSAGE_ERROR);
    assert_int_equal(get(body, "code"), BERTH_NO_KERNEL);
    json_decref(body);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).state, BERTH_FAILED);
}

static void caller_may_die_during_start(void **state)
{
    BENCH;
    bench_script(b, "exec sleep 100");
    bench_spawn(b);
    close(b->starter_fd);
    b->starter_fd = -1;
    bench_wait_state(b, BERTH_RUNNING);
}

static void ready_when_told(void **state)
{
    BENCH;
    struct pollfd p;
    b->plan.ready_told = true;
    char script[200];
    snprintf(script, sizeof(script),
             "while ! test -e %s/go; do sleep 0.01; done; echo ready >&3; exec sleep 100", b->top);
    bench_script(b, script);
    bench_spawn(b);
    p = (struct pollfd){.fd = b->starter_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 200), 0);
    assert_int_equal(file_write(AT_FDCWD, bench_file(b, "go"), "x", 1, 0600, 0), 0);
    assert_int_equal(bench_receive(b->starter_fd, NULL, NULL), MESSAGE_DONE);
}

static void end_before_ready_fails_the_start(void **state)
{
    BENCH;
    json_t *body = NULL;
    b->plan.ready_told = true;
    bench_script(b, "exec 3>&-; exit 7");
    bench_spawn(b);
    uint32_t type = bench_receive(b->starter_fd, &body, NULL);
    json_decref(body);
    bench_wait_end(b);
    if (type == MESSAGE_ERROR)
        assert_int_equal(bench_status(b).state, BERTH_FAILED);
    else
        assert_int_equal(bench_status(b).exit_code, 7);
}

static void cancelled_start_leaves_it_created(void **state)
{
    BENCH;
    json_t *body = NULL;
    b->plan.ready_told = true;
    bench_script(b, "exec sleep 100");
    bench_spawn(b);
    bench_send(b, b->starter_fd, MESSAGE_STOP, "{\"timeout_usec\":0,\"cancel\":true}", NULL, 0);
    assert_int_equal(bench_receive(b->starter_fd, &body, NULL), MESSAGE_ERROR);
    assert_int_equal(get(body, "code"), BERTH_CANCELLED);
    json_decref(body);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).state, BERTH_CREATED);
}

/* What a test waits for happens, however slow the machine is; when it doesn't, this says so. */
#define EVENTUALLY(condition)                                                                      \
    for (int tries_ = 0; !(condition); tries_++) {                                                 \
        assert_true(tries_ < 10000);                                                               \
        usleep(2000);                                                                              \
    }

static bool log_has(struct bench *b, const char *text)
{
    autofree char *log = bench_log(b);
    return log && strstr(log, text);
}

/* Its trap is set: it says so behind it. */
static void wait_up(struct bench *b)
{
    EVENTUALLY(log_has(b, "up"));
}

static void wait_dead(pid_t pid)
{
    EVENTUALLY(!pid_alive(pid));
}

static char process_state(pid_t pid)
{
    char path[40], state = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    FILE *f = fopen(path, "re");
    if (f && fscanf(f, "%*d %*s %c", &state) != 1)
        state = 0;
    if (f)
        fclose(f);
    return state;
}

static void wait_process_state(pid_t pid, char state)
{
    EVENTUALLY(process_state(pid) == state);
}

/* ---- stop -------------------------------------------------------------------------------------
 */

static void stop_sends_the_stop_signal(void **state)
{
    BENCH;
    bench_script(b, "trap 'echo asked; exit 5' TERM; echo up; while :; do sleep 0.01; done");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    wait_up(b);
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, "{\"timeout_usec\":5000000}", NULL),
                     MESSAGE_DONE);
    struct status st = bench_status(b);
    assert_int_equal(st.state, BERTH_STOPPED);
    assert_int_equal(st.exit_code, 5);
    autofree char *log = bench_log(b);
    assert_non_null(strstr(log, "asked"));
    bench_wait_end(b);
}

/* Whoever has the answer may start it again at once. */
static void life_is_free_when_stop_answers(void **state)
{
    BENCH;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, "{\"timeout_usec\":0}", NULL), MESSAGE_DONE);
    autoclose int life = openat(b->run_fd, "life", O_RDWR | O_CLOEXEC);
    assert_int_equal(lock_take(life), 0);
    bench_wait_end(b);
}

static void stop_kills_after_its_timeout(void **state)
{
    BENCH;
    bench_script(b, "trap '' TERM; echo up; while :; do sleep 0.01; done");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    wait_up(b);
    int64_t begin = monotonic_usec();
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, "{\"timeout_usec\":250000}", NULL),
                     MESSAGE_DONE);
    int64_t took = monotonic_usec() - begin;
    assert_in_range(took, 250000, 1000000);
    assert_int_equal(bench_status(b).state, BERTH_STOPPED);
    assert_int_equal(bench_status(b).exit_code, 137);
    assert_non_null(strstr(bench_status(b).reason, "250ms"));
    bench_wait_end(b);
}

static void second_stop_shortens_the_first(void **state)
{
    BENCH;
    bench_script(b, "trap '' TERM; echo up; while :; do sleep 0.01; done");
    bench_start(b);
    autoclose int first = bench_connect(b), second = bench_connect(b);
    wait_up(b);
    int64_t begin = monotonic_usec();
    bench_send(b, first, MESSAGE_STOP, "{\"timeout_usec\":9000000}", NULL, 0);
    bench_wait_state(b, BERTH_STOPPING);
    assert_int_equal(bench_ask(b, second, MESSAGE_STOP, "{\"timeout_usec\":100000}", NULL),
                     MESSAGE_DONE);
    assert_int_equal(bench_receive(first, NULL, NULL), MESSAGE_DONE);
    assert_true(monotonic_usec() - begin < 3000000);
    bench_wait_end(b);
}

static void second_stop_never_lengthens(void **state)
{
    BENCH;
    bench_script(b, "trap '' TERM; echo up; while :; do sleep 0.01; done");
    bench_start(b);
    autoclose int first = bench_connect(b), second = bench_connect(b);
    wait_up(b);
    int64_t begin = monotonic_usec();
    bench_send(b, first, MESSAGE_STOP, "{\"timeout_usec\":200000}", NULL, 0);
    bench_wait_state(b, BERTH_STOPPING);
    bench_send(b, second, MESSAGE_STOP, "{\"timeout_usec\":9000000}", NULL, 0);
    assert_int_equal(bench_receive(first, NULL, NULL), MESSAGE_DONE);
    assert_true(monotonic_usec() - begin < 2000000);
    bench_wait_end(b);
}

static void stop_reaches_a_stopped_program(void **state)
{
    BENCH;
    bench_script(b, "trap 'exit 0' TERM; kill -STOP $$; while :; do sleep 0.01; done");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    wait_process_state(bench_status(b).pid, 'T');
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, "{\"timeout_usec\":8000000}", NULL),
                     MESSAGE_DONE);
    assert_int_equal(bench_status(b).exit_code, 0);
    bench_wait_end(b);
}

static void children_die_with_the_main_program(void **state)
{
    BENCH;
    char script[300];
    snprintf(script, sizeof(script),
             "trap '' TERM; (echo before; sleep 100) & echo $! > %s/child; wait", b->top);
    bench_script(b, script);
    bench_start(b);
    pid_t child = (pid_t)number_in(b, "child");
    assert_true(pid_alive(child));
    autoclose int fd = bench_connect(b);
    assert_int_equal(bench_ask(b, fd, MESSAGE_SIGNAL, "{\"signal\":9}", NULL), MESSAGE_DONE);
    bench_wait_end(b);
    assert_false(pid_alive(child));
    assert_int_equal(bench_status(b).state, BERTH_STOPPED); /* a kill is a stop */
}

static void other_signals_are_the_programs_own(void **state)
{
    BENCH;
    char script[300];
    snprintf(script, sizeof(script),
             "trap 'echo hup; echo x > %s/heard' HUP; echo x > %s/ready; while :; do sleep 0.01; done",
             b->top, b->top);
    bench_script(b, script);
    bench_start(b);
    autoclose int fd = bench_connect(b);
    bench_wait_file(b, "ready");
    assert_int_equal(bench_ask(b, fd, MESSAGE_SIGNAL, "{\"signal\":1}", NULL), MESSAGE_DONE);
    bench_wait_file(b, "heard");
    assert_int_equal(bench_ask(b, fd, MESSAGE_SIGNAL, "{\"signal\":\"USR1\"}", NULL), MESSAGE_DONE);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).state, BERTH_FAILED);
    assert_int_equal(bench_status(b).signal, SIGUSR1);
    autofree char *log = bench_log(b);
    assert_non_null(strstr(log, "hup"));
}

static void term_to_the_supervisor_is_a_stop(void **state)
{
    BENCH;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    kill(b->pid, SIGTERM);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).state, BERTH_STOPPED);
}

static void paused_can_be_stopped(void **state)
{
    BENCH;
    bench_script(b, "trap 'exit 4' TERM; echo up; while :; do sleep 0.01; done");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    wait_up(b);
    assert_int_equal(bench_ask(b, fd, MESSAGE_PAUSE, NULL, NULL), MESSAGE_DONE);
    assert_int_equal(bench_status(b).state, BERTH_PAUSED);
    assert_int_equal(bench_ask(b, fd, MESSAGE_PAUSE, NULL, NULL), MESSAGE_ERROR);
    assert_int_equal(bench_ask(b, fd, MESSAGE_UNPAUSE, NULL, NULL), MESSAGE_DONE);
    assert_int_equal(bench_status(b).state, BERTH_RUNNING);
    assert_int_equal(bench_ask(b, fd, MESSAGE_PAUSE, NULL, NULL), MESSAGE_DONE);
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, "{\"timeout_usec\":5000000}", NULL),
                     MESSAGE_DONE);
    assert_int_equal(bench_status(b).exit_code, 4);
    bench_wait_end(b);
}

static void stop_during_start_ends_it(void **state)
{
    BENCH;
    b->plan.ready_told = true;
    bench_script(b, "exec sleep 100");
    bench_spawn(b);
    autoclose int fd = bench_connect(b);
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, NULL, NULL), MESSAGE_DONE);
    assert_int_equal(bench_receive(b->starter_fd, NULL, NULL), MESSAGE_ERROR);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).state, BERTH_STOPPED);
}

/* ---- restart ----------------------------------------------------------------------------------
 */

static void restarts_on_failure_up_to_its_maximum(void **state)
{
    BENCH;
    b->plan.restart.policy = PLAN_RESTART_ON_FAILURE;
    b->plan.restart.max = 2;
    b->plan.restart.delay_usec = 10000;
    bench_script(b, "echo run; exit 1");
    bench_start(b);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).restarts, 2);
    assert_int_equal(bench_status(b).state, BERTH_FAILED);
    autofree char *log = bench_log(b);
    assert_string_equal(log, "run\nrun\nrun\n");
}

static void on_failure_leaves_success_alone(void **state)
{
    BENCH;
    b->plan.restart.policy = PLAN_RESTART_ON_FAILURE;
    bench_script(b, "exit 0");
    bench_start(b);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).restarts, 0);
    assert_int_equal(bench_status(b).state, BERTH_COMPLETED);
}

static void waiting_one_can_be_stopped(void **state)
{
    BENCH;
    b->plan.restart.policy = PLAN_RESTART_ALWAYS;
    b->plan.restart.delay_usec = 60000000;
    bench_script(b, "exit 0");
    bench_start(b);
    bench_wait_state(b, BERTH_RESTARTING);
    assert_true(bench_status(b).next_start_usec > now_usec());
    autoclose int fd = bench_connect(b);
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, NULL, NULL), MESSAGE_DONE);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).state, BERTH_STOPPED);
    assert_false(bench_status(b).wanted);
}

static void restart_request_runs_it_again(void **state)
{
    BENCH;
    bench_script(b, "echo run $$; exec sleep 100");
    bench_start(b);
    int pid = bench_status(b).pid;
    autoclose int fd = bench_connect(b);
    assert_int_equal(
        bench_ask(b, fd, MESSAGE_STOP, "{\"timeout_usec\":1000000,\"restart\":true}", NULL),
        MESSAGE_DONE);
    struct status st = bench_status(b);
    assert_int_equal(st.state, BERTH_RUNNING);
    assert_int_not_equal(st.pid, pid);
    assert_true(pid_alive(st.pid));
    assert_false(pid_alive(pid));
    assert_int_equal(st.restarts, 0);
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, "{\"timeout_usec\":0}", NULL), MESSAGE_DONE);
    bench_wait_end(b);
}

static void stop_overtakes_a_restart(void **state)
{
    BENCH;
    json_t *body = NULL;
    bench_script(b, "trap '' TERM; echo up; while :; do sleep 0.01; done");
    bench_start(b);
    autoclose int first = bench_connect(b), second = bench_connect(b);
    wait_up(b);
    bench_send(b, first, MESSAGE_STOP, "{\"timeout_usec\":9000000,\"restart\":true}", NULL, 0);
    bench_wait_state(b, BERTH_RESTARTING);
    assert_int_equal(bench_ask(b, second, MESSAGE_STOP, "{\"timeout_usec\":0}", NULL),
                     MESSAGE_DONE);
    assert_int_equal(bench_receive(first, &body, NULL), MESSAGE_ERROR);
    assert_int_equal(get(body, "code"), BERTH_CANCELLED);
    json_decref(body);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).state, BERTH_STOPPED);
}

/* ---- output -----------------------------------------------------------------------------------
 */

static void all_output_is_in_the_log_before_the_end(void **state)
{
    BENCH;
    bench_script(b, "head -c 900000 /dev/zero | tr '\\0' x; echo; echo last");
    bench_start(b);
    bench_wait_end(b);
    autofree char *log = bench_log(b);
    assert_int_equal(strlen(log), 900000 + 1 + 5);
    assert_string_equal(log + 900001, "last\n");
}

/* A background child that holds the pipe neither delays the end nor loses what it wrote before. */
static void background_child_does_not_hold_the_end(void **state)
{
    BENCH;
    bench_script(b, "(echo early; sleep 100) & sleep 0.1; exit 0");
    bench_start(b);
    bench_wait_end(b);
    autofree char *log = bench_log(b);
    assert_string_equal(log, "early\n");
}

static void attached_viewer_sees_and_feeds(void **state)
{
    BENCH;
    int in[2], out[2], e[2];
    b->plan.stdin_open = true;
    bench_script(b, "cat; echo done >&2; exit 6");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(e, O_CLOEXEC), 0);
    bench_send(b, fd, MESSAGE_ATTACH, "{\"input\":true}", (int[]){in[0], out[1], e[1]}, 3);
    close(in[0]);
    close(out[1]);
    close(e[1]);
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_STARTED);
    assert_int_equal(write(in[1], "hello\n", 6), 6);
    close(in[1]); /* the program sees the end of its input */
    autofree char *seen = bench_read_all(out[0]), *seen_err = bench_read_all(e[0]);
    assert_string_equal(seen, "hello\n");
    assert_string_equal(seen_err, "done\n");
    json_t *body = NULL;
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_ENDED);
    assert_int_equal(get(body, "exit_code"), 6);
    json_decref(body);
    bench_wait_end(b);
    autofree char *log = bench_log(b);
    assert_non_null(strstr(log, "hello\n"));
    close(out[0]);
    close(e[0]);
}

/* The end is heard while the pipe is still full: what is in it belongs into the log all the same.
 */
static void full_pipe_is_drained_at_the_end(void **state)
{
    BENCH;
    int ends[3];
    char script[200];
    snprintf(script, sizeof(script),
             "while ! test -e %s/go; do sleep 0.01; done; head -c 900000 /dev/zero | tr '\\0' x",
             b->top);
    bench_script(b, script);
    bench_start(b);
    autoclose int fd = bench_connect(b);
    attach_pipes(b, fd, "{}", ends);
    kill(b->pid, SIGSTOP);
    assert_int_equal(file_write(AT_FDCWD, bench_file(b, "go"), "x", 1, 0600, 0), 0);
    usleep(300000);
    kill(b->pid, SIGCONT);
    bench_wait_end(b);
    autofree char *log = bench_log(b);
    assert_int_equal(strlen(log), 900000);
    close_ends(ends);
}

/* A viewer that has not read all keeps the process for a while, but not the workload. */
static void lingering_viewer_keeps_nothing_locked(void **state)
{
    BENCH;
    int ends[3];
    b->plan.stdin_open = true;
    char script[300];
    snprintf(script, sizeof(script), "read line; head -c 200000 /dev/zero; echo x > %s/written; exec sleep 100", b->top);
    bench_script(b, script);
    bench_start(b);
    autoclose int fd = bench_connect(b);
    attach_pipes(b, fd, "{\"input\":true}", ends);
    assert_int_equal(write(ends[0], "go\n", 3), 3);
    bench_wait_file(b, "written");
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, "{\"timeout_usec\":0}", NULL), MESSAGE_DONE);
    assert_true(pid_alive(b->pid));
    autoclose int life = openat(b->run_fd, "life", O_RDWR | O_CLOEXEC);
    assert_int_equal(lock_take(life), 0);
    assert_true(pid_alive(b->pid));
    bench_wait_end(b);
    close_ends(ends);
}

static void slow_viewer_blocks_nobody(void **state)
{
    BENCH;
    int in[2], out[2], e[2];
    char script[300];
    snprintf(script, sizeof(script),
             "while ! test -e %s/go; do sleep 0.01; done; head -c 3000000 /dev/zero; echo x > "
             "%s/written",
             b->top, b->top);
    bench_script(b, script);
    bench_start(b);
    autoclose int fd = bench_connect(b);
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(e, O_CLOEXEC), 0);
    bench_send(b, fd, MESSAGE_ATTACH, "{}", (int[]){in[0], out[1], e[1]}, 3);
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_STARTED);
    assert_int_equal(file_write(AT_FDCWD, bench_file(b, "go"), "x", 1, 0600, 0), 0);
    bench_wait_file(b, "written");
    json_t *body = NULL;
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_ENDED);
    assert_true(get(body, "dropped_bytes") > 1000000);
    json_decref(body);
    for (int i = 0; i < 2; i++) {
        close(in[i]);
        close(out[i]);
        close(e[i]);
    }
    bench_wait_end(b);
}

static void terminal_has_several_viewers(void **state)
{
    BENCH;
    int one[2], two[2];
    char seen[4096];
    b->plan.tty = b->plan.stdin_open = true;
    bench_script(b, "echo prompt; read line; echo got $line; stty size; exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, one), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, two), 0);
    bench_send(b, fd, MESSAGE_ATTACH, "{\"input\":true,\"rows\":11,\"columns\":22}", &one[1], 1);
    bench_send(b, fd, MESSAGE_ATTACH, "{}", &two[1], 1);
    close(one[1]);
    close(two[1]);
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_STARTED);
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_STARTED);
    assert_int_equal(
        bench_ask(b, fd, MESSAGE_RESIZE, "{\"exec_id\":0,\"rows\":33,\"columns\":44}", NULL),
        MESSAGE_DONE);
    assert_int_equal(write(one[0], "word\n", 5), 5);
    for (int i = 0; i < 2; i++) {
        size_t n = 0;
        int from = i ? two[0] : one[0];
        struct pollfd p = {.fd = from, .events = POLLIN};
        memset(seen, 0, sizeof(seen));
        while (!strstr(seen, "33 44") && poll(&p, 1, 5000) == 1) {
            ssize_t got = read(from, seen + n, sizeof(seen) - 1 - n);
            n += got > 0 ? (size_t)got : 0;
        }
        assert_non_null(strstr(seen, "got word"));
        if (i == 0)
            assert_non_null(strstr(seen, "prompt")); /* what came before the first viewer */
    }
    close(one[0]);
    close(two[0]);
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, "{\"timeout_usec\":0}", NULL), MESSAGE_DONE);
    bench_wait_end(b);
    autofree char *log = bench_log(b);
    assert_non_null(strstr(log, "got word"));
}

static void terminal_survives_its_last_close(void **state)
{
    BENCH;
    b->plan.tty = true;
    bench_script(b, "exec 0<&- 1>&- 2>&-; sleep 0.1; echo back > /dev/tty; exec sleep 100");
    bench_start(b);
    int64_t end = monotonic_usec() + 5000000;
    bool seen = false;
    while (!seen && monotonic_usec() < end) {
        autofree char *log = bench_log(b);
        seen = strstr(log, "back") != NULL;
        usleep(5000);
    }
    assert_true(seen);
}

/* ---- exec -------------------------------------------------------------------------------------
 */

static void exec_has_code_and_both_streams(void **state)
{
    BENCH;
    int ends[3];
    json_t *body = NULL;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    exec_pipes(b, fd,
               "{\"argv\":[\"sh\",\"-c\",\"cat; echo $V >&2; exit 9\"],\"env\":[\"V=value\"]}",
               ends);
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_STARTED);
    assert_true(get(body, "exec_id") > 0 && get(body, "pid") > 0);
    json_decref(body);
    assert_int_equal(write(ends[0], "in", 2), 2);
    close_fd(&ends[0]);
    autofree char *out = bench_read_all(ends[1]), *err_text = bench_read_all(ends[2]);
    assert_string_equal(out, "in");
    assert_string_equal(err_text, "value\n");
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_ENDED);
    assert_int_equal(get(body, "exit_code"), 9);
    json_decref(body);
    close_ends(ends);
}

static void exec_of_a_missing_program_is_an_error(void **state)
{
    BENCH;
    int ends[3];
    json_t *body = NULL;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    exec_pipes(b, fd, "{\"argv\":[\"/not/there\"]}", ends);
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_ERROR);
    assert_int_equal(get(body, "code"), BERTH_NO_PROGRAM);
    json_decref(body);
    close_ends(ends);
    assert_int_equal(bench_ask(b, fd, MESSAGE_EXEC_LIST, NULL, &body), MESSAGE_DONE);
    assert_int_equal(json_array_size(json_object_get(body, "execs")), 0);
    json_decref(body);
}

static void exec_timeout_kills_only_the_exec(void **state)
{
    BENCH;
    int ends[3];
    json_t *body = NULL;
    char json[300];
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    snprintf(json, sizeof(json),
             "{\"argv\":[\"sh\",\"-c\",\"sleep 100 & echo $! > %s/child; "
             "wait\"],\"timeout_usec\":300000}",
             b->top);
    exec_pipes(b, fd, json, ends);
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_STARTED);
    pid_t child = (pid_t)number_in(b, "child");
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_ENDED);
    assert_true(get(body, "timed_out"));
    assert_int_equal(get(body, "exit_code"), 137);
    json_decref(body);
    close_ends(ends);
    wait_dead(child);
    assert_true(pid_alive(bench_status(b).pid));
}

static void exec_timeout_reaches_children_that_left(void **state)
{
    BENCH;
    int ends[3];
    char json[300];
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    snprintf(json, sizeof(json),
             "{\"argv\":[\"sh\",\"-c\",\"setsid sh -c 'echo $$ > %s/child; exec sleep 100' & "
             "wait\"],\"timeout_usec\":300000}",
             b->top);
    exec_pipes(b, fd, json, ends);
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_STARTED);
    pid_t child = (pid_t)number_in(b, "child");
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_ENDED);
    close_ends(ends);
    wait_dead(child);
}

static void exec_into_a_paused_one_is_refused(void **state)
{
    BENCH;
    int ends[3];
    json_t *body = NULL;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    assert_int_equal(bench_ask(b, fd, MESSAGE_PAUSE, NULL, NULL), MESSAGE_DONE);
    exec_pipes(b, fd, "{\"argv\":[\"true\"]}", ends);
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_ERROR);
    assert_int_equal(get(body, "code"), BERTH_WRONG_STATE);
    json_decref(body);
    close_ends(ends);
}

static void events_tell_its_life(void **state)
{
    BENCH;
    int ends[3];
    static const char *const expected[] = {"\"start\"", "\"exec\"",         "\"exec_die\"",
                                           "\"pause\"", "\"unpause\"",      "\"restart\"",
                                           "\"die\"",   "\"exit_code\":143"};
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    exec_pipes(b, fd, "{\"argv\":[\"true\"]}", ends);
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_STARTED);
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_ENDED);
    close_ends(ends);
    assert_int_equal(bench_ask(b, fd, MESSAGE_PAUSE, NULL, NULL), MESSAGE_DONE);
    assert_int_equal(bench_ask(b, fd, MESSAGE_UNPAUSE, NULL, NULL), MESSAGE_DONE);
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, "{\"restart\":true}", NULL), MESSAGE_DONE);
    assert_int_equal(bench_ask(b, fd, MESSAGE_STOP, NULL, NULL), MESSAGE_DONE);
    bench_wait_end(b);
    autofree char *events = bench_events(b);
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        if (!strstr(events, expected[i]))
            print_error("no %s in: %s\n", expected[i], events);
        assert_non_null(strstr(events, expected[i]));
    }
}

static void exec_dies_with_its_client(void **state)
{
    BENCH;
    int ends[3];
    json_t *body = NULL;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    int fd = bench_connect(b);
    exec_pipes(b, fd, "{\"argv\":[\"sleep\",\"100\"]}", ends);
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_STARTED);
    pid_t pid = (pid_t)get(body, "pid");
    json_decref(body);
    assert_true(pid_alive(pid));
    close(fd);
    int64_t end = monotonic_usec() + 5000000;
    while (pid_alive(pid) && monotonic_usec() < end)
        usleep(2000);
    assert_false(pid_alive(pid));
    close_ends(ends);
}

static void detached_exec_outlives_its_client(void **state)
{
    BENCH;
    json_t *body = NULL;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    int fd = bench_connect(b);
    bench_send(
        b, fd, MESSAGE_EXEC,
        "{\"argv\":[\"sh\",\"-c\",\"head -c 3000000 /dev/zero; exec sleep 100\"],\"detach\":true}",
        NULL, 0);
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_STARTED);
    pid_t pid = (pid_t)get(body, "pid");
    long id = get(body, "exec_id");
    json_decref(body);
    close(fd);
    fd = bench_connect(b);
    usleep(100000);
    assert_true(pid_alive(pid));
    assert_int_equal(bench_ask(b, fd, MESSAGE_EXEC_LIST, NULL, &body), MESSAGE_DONE);
    json_t *first = json_array_get(json_object_get(body, "execs"), 0);
    assert_int_equal(get(first, "exec_id"), id);
    assert_true(get(first, "detached"));
    json_decref(body);
    char json[80];
    snprintf(json, sizeof(json), "{\"exec_id\":%ld,\"signal\":9}", id);
    assert_int_equal(bench_ask(b, fd, MESSAGE_EXEC_SIGNAL, json, NULL), MESSAGE_DONE);
    int64_t end = monotonic_usec() + 5000000;
    while (pid_alive(pid) && monotonic_usec() < end)
        usleep(2000);
    assert_false(pid_alive(pid));
    assert_int_equal(bench_ask(b, fd, MESSAGE_EXEC_SIGNAL, "{\"exec_id\":99,\"signal\":9}", NULL),
                     MESSAGE_ERROR);
    close(fd);
}

static void exec_with_a_terminal(void **state)
{
    BENCH;
    int pair[2];
    json_t *body = NULL;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    bench_send(
        b, fd, MESSAGE_EXEC,
        "{\"argv\":[\"sh\",\"-c\",\"read l; echo said $l; seq 1 30000; exit 3\"],\"tty\":true}",
        &pair[1], 1);
    close(pair[1]);
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_STARTED);
    assert_int_equal(write(pair[0], "abc\n", 4), 4);
    usleep(200000); /* slow: nothing may be lost all the same */
    autofree char *seen = bench_read_all(pair[0]);
    assert_non_null(strstr(seen, "said abc"));
    assert_non_null(strstr(seen, "\n29999\r\n30000\r\n"));
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_ENDED);
    assert_int_equal(get(body, "exit_code"), 3);
    json_decref(body);
    close(pair[0]);
}

static void exec_takes_no_files(void **state)
{
    BENCH;
    json_t *body = NULL;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b), null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    bench_send(b, fd, MESSAGE_EXEC, "{\"argv\":[\"true\"]}", (int[]){null_fd, null_fd, null_fd}, 3);
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_ERROR);
    assert_message(body, "neither a pipe nor a socket");
    json_decref(body);
}

static size_t count_fds(pid_t pid)
{
    char path[40];
    size_t n = 0;
    for (int fd = 0; fd < 1024; fd++) {
        struct stat st;
        snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
        n += lstat(path, &st) == 0;
    }
    return n;
}

static void many_execs_leak_nothing(void **state)
{
    BENCH;
    int ends[3];
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    size_t before = 0;
    for (int i = 0; i < 200; i++) {
        exec_pipes(b, fd, "{\"argv\":[\"true\"]}", ends);
        assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_STARTED);
        assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_ENDED);
        close_ends(ends);
        if (i == 0)
            before = count_fds(b->pid);
    }
    for (int i = 0; i < 500 && count_fds(b->pid) > before; i++)
        usleep(2000); /* the answer is sent before the last descriptor is closed */
    assert_true(count_fds(b->pid) <= before);
}

/* ---- probes, out of memory, demand -------------------------------------------------------------
 */

static void health_goes_by_its_command(void **state)
{
    BENCH;
    char script[200];
    snprintf(script, sizeof(script), "test -e %s/well || { echo not well; exit 1; }", b->top);
    const char *const argv[] = {"sh", "-c", script, NULL};
    b->plan.health = (struct plan_probe){
        .argv = strings_copy(argv), .interval_usec = 30000, .timeout_usec = 1000000, .retries = 2};
    bench_script(b, "exec sleep 100");
    bench_start(b);
    assert_int_equal(bench_status(b).health, BERTH_HEALTH_STARTING);
    int64_t end = monotonic_usec() + 5000000;
    while (bench_status(b).health != BERTH_UNHEALTHY && monotonic_usec() < end)
        usleep(5000);
    struct status st = bench_status(b);
    assert_int_equal(st.health, BERTH_UNHEALTHY);
    assert_true(st.health_failures >= 2 && st.n_health_log >= 2);
    assert_string_equal(st.health_log[0].output, "not well\n");
    assert_int_equal(file_write(AT_FDCWD, bench_file(b, "well"), "x", 1, 0600, 0), 0);
    while (bench_status(b).health != BERTH_HEALTHY && monotonic_usec() < end)
        usleep(5000);
    assert_int_equal(bench_status(b).health, BERTH_HEALTHY);
    strings_free(b->plan.health.argv);
}

static void liveness_restarts(void **state)
{
    BENCH;
    const char *const argv[] = {"false", NULL};
    b->plan.liveness = (struct plan_probe){
        .argv = strings_copy(argv), .interval_usec = 20000, .retries = 2, .on_failure = 1};
    b->plan.restart.delay_usec = 1000;
    bench_script(b, "echo run; exec sleep 100");
    bench_start(b);
    int64_t end = monotonic_usec() + 5000000;
    while (bench_status(b).restarts < 2 && monotonic_usec() < end)
        usleep(5000);
    assert_true(bench_status(b).restarts >= 2);
    strings_free(b->plan.liveness.argv);
}

static void slow_probe_times_out(void **state)
{
    BENCH;
    const char *const argv[] = {"sleep", "100", NULL};
    b->plan.liveness = (struct plan_probe){.argv = strings_copy(argv),
                                           .interval_usec = 20000,
                                           .timeout_usec = 50000,
                                           .retries = 1,
                                           .on_failure = 2};
    bench_script(b, "exec sleep 100");
    bench_start(b);
    bench_wait_end(b);
    assert_int_equal(bench_status(b).state, BERTH_FAILED);
    assert_non_null(strstr(bench_status(b).reason, "liveness"));
    strings_free(b->plan.liveness.argv);
}

static void out_of_memory_is_told_apart(void **state)
{
    BENCH;
    char script[200];
    b->plan.limits.memory = 64 << 20;
    snprintf(script, sizeof(script), "echo > %s/root/workloads/" ID "/fake_oom; kill -KILL $$",
             b->top);
    bench_script(b, script);
    bench_start(b);
    bench_wait_end(b);
    struct status st = bench_status(b);
    assert_int_equal(st.oom, BERTH_OOM_MAIN);
    assert_int_equal(st.exit_code, 137);
    assert_string_equal(st.reason, "out of memory in the main program (limit 64 MiB, peak 64 MiB)");
}

static void demand_starts_it(void **state)
{
    BENCH;
    char path[100];
    snprintf(path, sizeof(path), "%s/demand", b->top);
    struct plan_socket on_demand = {.name = path,
                                    .path = path,
                                    .type = SOCK_STREAM,
                                    .backlog = 8,
                                    .on_demand = true,
                                    .mode = 0600};
    b->plan.sockets = &on_demand;
    b->plan.n_sockets = 1;
    bench_script(b, "echo ran; exec sleep 100");
    bench_start(b);
    assert_int_equal(bench_status(b).state, BERTH_RUNNING);
    assert_int_equal(bench_status(b).pid, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    int64_t end = monotonic_usec() + 5000000;
    while (bench_status(b).pid == 0 && monotonic_usec() < end)
        usleep(2000);
    assert_true(pid_alive(bench_status(b).pid));
    b->plan.sockets = NULL;
}

static void at_end_runs_after_everything(void **state)
{
    BENCH;
    char script[300];
    snprintf(script, sizeof(script), "flock -w 5 %s/run/" ID "/life true && echo x > %s/after",
             b->top, b->top);
    const char *const at_end[] = {"/bin/sh", "-c", script, NULL};
    b->plan.at_end = strings_copy(at_end);
    bench_script(b, "exit 0");
    bench_start(b);
    bench_wait_end(b);
    bench_wait_file(b, "after");
    strings_free(b->plan.at_end);
}

/* ---- callers that lie --------------------------------------------------------------------------
 */

static void assert_still_there(struct bench *b)
{
    autoclose int fd = bench_connect(b);
    json_t *body = NULL;
    assert_int_equal(bench_ask(b, fd, MESSAGE_PING, NULL, &body), MESSAGE_DONE);
    assert_string_equal(json_string_value(json_object_get(body, "version")), BERTH_VERSION);
    json_decref(body);
}

static void wrong_packets_close_the_connection(void **state)
{
    BENCH;
    static char big[sizeof(struct message_head) + MESSAGE_INLINE + 1];
    struct message_head heads[] = {
        {.magic = 1, .version = 1, .type = MESSAGE_PING},
        {.magic = MESSAGE_MAGIC, .version = 1, .type = MESSAGE_PING, .length = 100},
        {.magic = MESSAGE_MAGIC, .version = 1, .type = MESSAGE_PING, .length = UINT32_MAX},
        {.magic = MESSAGE_MAGIC,
         .version = 1,
         .type = MESSAGE_PING,
         .flags = MESSAGE_MEMFD,
         .length = 10},
    };
    bench_script(b, "exec sleep 100");
    bench_start(b);
    for (size_t i = 0; i < ARRAY_SIZE(heads) + 2; i++) {
        autoclose int fd = bench_connect(b);
        if (i < ARRAY_SIZE(heads))
            assert_true(send(fd, &heads[i], sizeof(heads[i]), 0) > 0);
        else if (i == ARRAY_SIZE(heads))
            assert_true(send(fd, "x", 1, 0) > 0);
        else
            assert_true(send(fd, big, sizeof(big), 0) > 0);
        assert_int_equal(bench_receive(fd, NULL, NULL), 0);
    }
    assert_still_there(b);
}

static void wrong_requests_get_an_error(void **state)
{
    BENCH;
    static const struct {
        uint32_t type;
        const char *json;
    } wrong[] = {
        {77, "{}"},
        {UINT32_MAX, "{}"},
        {0, "{}"},
        {MESSAGE_STOP, "[1]"},
        {MESSAGE_STOP, "{"},
        {MESSAGE_STOP, "{\"a\":1,\"a\":2}"},
        {MESSAGE_SIGNAL, "{}"},
        {MESSAGE_SIGNAL, "{\"signal\":1000}"},
        {MESSAGE_SIGNAL, "{\"signal\":\"NOPE\"}"},
        {MESSAGE_EXEC, "{}"},
        {MESSAGE_EXEC, "{\"argv\":[]}"},
        {MESSAGE_EXEC, "{\"argv\":[1]}"},
        {MESSAGE_EXEC, "{\"argv\":\"sh\"}"},
        {MESSAGE_EXEC, "{\"argv\":[\"sh\"]}"},
        {MESSAGE_EXEC, "{\"argv\":[\"sh\"],\"env\":7}"},
        {MESSAGE_EXEC, "{\"argv\":[\"sh\"],\"tty\":true}"},
        {MESSAGE_ATTACH, "{}"},
        {MESSAGE_ATTACH, "{\"input\":true}"},
        {MESSAGE_RESIZE, "{\"rows\":1,\"columns\":1}"},
        {MESSAGE_RESIZE, "{\"exec_id\":5}"},
        {MESSAGE_UPDATE, "{}"},
        {MESSAGE_UPDATE, "{\"plan\":{}}"},
        {MESSAGE_UNPAUSE, "{}"},
        {MESSAGE_CONNECT, "{}"},
        {MESSAGE_DONE, "{}"},
    };
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        json_t *body = NULL;
        uint32_t answer = bench_ask(b, fd, wrong[i].type, wrong[i].json, &body);
        if (answer != MESSAGE_ERROR)
            print_error("request %zu got no error\n", i);
        assert_int_equal(answer, MESSAGE_ERROR);
        assert_true(get(body, "code") < -1000);
        json_decref(body);
    }
    assert_still_there(b);
}

static void descriptors_nobody_wants_are_closed(void **state)
{
    BENCH;
    int ends[2], fds[MESSAGE_FDS_MAX];
    bench_script(b, "exec sleep 100");
    bench_start(b);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = ends[1];
    autoclose int fd = bench_connect(b);
    bench_send(b, fd, MESSAGE_PING, "{}", fds, ARRAY_SIZE(fds));
    assert_int_equal(bench_receive(fd, NULL, NULL), MESSAGE_ERROR);
    close(ends[1]);
    struct pollfd p = {.fd = ends[0], .events = POLLIN};
    assert_int_equal(poll(&p, 1, 2000), 1); /* hung up: nobody holds the other end */
    close(ends[0]);
    assert_still_there(b);
}

static void long_bodies_travel_in_a_memfd(void **state)
{
    BENCH;
    json_t *body = NULL;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autotext struct text json = {0};
    text_add(&json, "{\"argv\":[\"sh\",\"-c\",\"exit ${#V}\"],\"detach\":true,\"env\":[\"V=");
    for (int i = 0; i < 100000; i++)
        text_add(&json, "x");
    text_add(&json, "\"]}");
    autoclose int memory = memfd_create("body", MFD_CLOEXEC), fd = bench_connect(b);
    assert_int_equal(write(memory, json.data, json.length), json.length);
    struct message_head head = {.magic = MESSAGE_MAGIC,
                                .version = 1,
                                .type = MESSAGE_EXEC,
                                .flags = MESSAGE_MEMFD,
                                .tag = 5,
                                .length = (uint32_t)json.length};
    assert_true(send_with_fds(fd, &head, sizeof(head), &memory, 1) > 0);
    assert_int_equal(bench_receive(fd, &body, NULL), MESSAGE_STARTED);
    json_decref(body);
}

static void flood_of_connections_is_bounded(void **state)
{
    BENCH;
    int fds[600];
    bench_script(b, "exec sleep 100");
    bench_start(b);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = bench_connect(b);
    usleep(100000);
    assert_true(count_fds(b->pid) < 400);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    usleep(50000);
    assert_still_there(b);
}

static void who_reads_no_answers_is_hung_up(void **state)
{
    BENCH;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    struct message_head head = {.magic = MESSAGE_MAGIC, .version = 1, .type = MESSAGE_PING};
    bool refused = false;
    for (int i = 0; i < 100000 && !refused; i++)
        refused = send(fd, &head, sizeof(head), MSG_NOSIGNAL) < 0;
    assert_true(refused);
    assert_still_there(b);
}

static void update_changes_the_policy(void **state)
{
    BENCH;
    bench_script(b, "exec sleep 100");
    bench_start(b);
    autoclose int fd = bench_connect(b);
    b->plan.restart.policy = PLAN_RESTART_ALWAYS;
    b->plan.restart.delay_usec = 60000000;
    autofree char *plan = plan_print(&b->plan), *json = format_text("{\"plan\":%s}", plan);
    assert_int_equal(bench_ask(b, fd, MESSAGE_UPDATE, json, NULL), MESSAGE_DONE);
    assert_int_equal(bench_ask(b, fd, MESSAGE_SIGNAL, "{\"signal\":10}", NULL), MESSAGE_DONE);
    bench_wait_state(b, BERTH_RESTARTING);
}

/* Each quick end doubles the delay up to its cap; a run that lasted is a new beginning. */
static void a_long_run_takes_the_delay_back(void **state)
{
    (void)state;
    const struct {
        int64_t ran_usec, delay_usec;
    } ends[] = {{0, 100}, {0, 200}, {4999, 400}, {0, 700}, {0, 700}, {5000, 100}, {0, 200}, {9000, 100}};
    struct plan plan = {.restart = {.policy = PLAN_RESTART_ALWAYS, .max = -1, .delay_usec = 100, .cap_usec = 700, .reset_usec = 5000}};
    struct status record = {.state = BERTH_FAILED};
    int doublings = 0;
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
        int64_t delay_usec;
        assert_true(restart_due(&plan, &record, &doublings, ends[i].ran_usec, &delay_usec));
        assert_int_equal(delay_usec, ends[i].delay_usec);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_long_run_takes_the_delay_back),
        TEST(end_record_says_completed),
        TEST(end_record_has_code_and_signal),
        TEST(missing_program_fails_the_start),
        TEST(failed_preparation_is_told),
        TEST(caller_may_die_during_start),
        TEST(ready_when_told),
        TEST(end_before_ready_fails_the_start),
        TEST(cancelled_start_leaves_it_created),
        TEST(stop_sends_the_stop_signal),
        TEST(life_is_free_when_stop_answers),
        TEST(stop_kills_after_its_timeout),
        TEST(second_stop_shortens_the_first),
        TEST(second_stop_never_lengthens),
        TEST(stop_reaches_a_stopped_program),
        TEST(children_die_with_the_main_program),
        TEST(other_signals_are_the_programs_own),
        TEST(term_to_the_supervisor_is_a_stop),
        TEST(paused_can_be_stopped),
        TEST(stop_during_start_ends_it),
        TEST(restarts_on_failure_up_to_its_maximum),
        TEST(on_failure_leaves_success_alone),
        TEST(waiting_one_can_be_stopped),
        TEST(restart_request_runs_it_again),
        TEST(all_output_is_in_the_log_before_the_end),
        TEST(background_child_does_not_hold_the_end),
        TEST(attached_viewer_sees_and_feeds),
        TEST(slow_viewer_blocks_nobody),
        TEST(terminal_has_several_viewers),
        TEST(exec_has_code_and_both_streams),
        TEST(exec_of_a_missing_program_is_an_error),
        TEST(exec_timeout_kills_only_the_exec),
        TEST(exec_timeout_reaches_children_that_left),
        TEST(exec_into_a_paused_one_is_refused),
        TEST(events_tell_its_life),
        TEST(terminal_survives_its_last_close),
        TEST(stop_overtakes_a_restart),
        TEST(who_reads_no_answers_is_hung_up),
        TEST(exec_dies_with_its_client),
        TEST(detached_exec_outlives_its_client),
        TEST(exec_with_a_terminal),
        TEST(full_pipe_is_drained_at_the_end),
        TEST(lingering_viewer_keeps_nothing_locked),
        TEST(exec_takes_no_files),
        TEST(many_execs_leak_nothing),
        TEST(health_goes_by_its_command),
        TEST(liveness_restarts),
        TEST(slow_probe_times_out),
        TEST(out_of_memory_is_told_apart),
        TEST(demand_starts_it),
        TEST(at_end_runs_after_everything),
        TEST(wrong_packets_close_the_connection),
        TEST(wrong_requests_get_an_error),
        TEST(descriptors_nobody_wants_are_closed),
        TEST(long_bodies_travel_in_a_memfd),
        TEST(flood_of_connections_is_bounded),
        TEST(update_changes_the_policy),
    };
    if (getenv("ONLY"))
        cmocka_set_test_filter(getenv("ONLY")); /* one test by name */
    return cmocka_run_group_tests_name("supervisor", tests, NULL, NULL);
}
