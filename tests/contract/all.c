/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What holds for all verbs, and the methods beside them.
 */
#include "contract.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct berth_handle unknown_handle(struct contract *c)
{
    struct berth_handle h = {.name = "nobody"};
    snprintf(h.runtime, sizeof(h.runtime), "%s", c->engine);
    memset(h.id, 0x77, sizeof(h.id));
    return h;
}

static void the_runtime_has_its_engines_name(struct contract *c)
{
    equal_text(berth_name(c->runtime), c->engine);
    const char *const *engines = berth_engines();
    for (size_t i = 0; engines[i]; i++)
        if (strcmp(engines[i], c->engine) == 0)
            return;
    fail("%s is not among the engines", c->engine);
}

static void an_unknown_engine_is_not_found(struct contract *c)
{
    (void)c;
    struct berth_runtime *runtime = NULL;
    fails_with(BERTH_NOT_FOUND, berth_open("no-such-engine", NULL, &runtime, ERR));
    names("no-such-engine");
    check(!runtime, "a failed open touched its result");
}

static void every_verb_of_an_unknown_handle_is_not_found(struct contract *c)
{
    struct berth_handle h = unknown_handle(c);
    struct berth_status *status = NULL;
    struct berth_stream *stream = NULL;
    struct berth_exec_result *result = NULL;
    struct berth_stats stats = {.size = sizeof(stats)};
    struct berth_port port = {80, "tcp"};
    struct berth_host_port host_port;
    char text[BERTH_ADDRESS_TEXT];
    fails_with(BERTH_NOT_FOUND, berth_start(c->runtime, &h, ERR));
    fails_with(BERTH_NOT_FOUND, berth_stop(c->runtime, &h, 0, ERR));
    fails_with(BERTH_NOT_FOUND, berth_status(c->runtime, &h, &status, ERR));
    fails_with(BERTH_NOT_FOUND, berth_logs(c->runtime, &h, NULL, &stream, ERR));
    fails_with(BERTH_NOT_FOUND,
               berth_exec(c->runtime, &h, (const char *const[]){"true", NULL}, NULL, &result, ERR));
    fails_with(BERTH_NOT_FOUND, berth_stats(c->runtime, &h, &stats, ERR));
    fails_with(BERTH_NOT_FOUND, berth_resolve_host_port(c->runtime, &h, &port, &host_port, ERR));
    fails_with(BERTH_NOT_FOUND,
               berth_resolve_container_address(c->runtime, &h, &port, NULL, text, ERR));
    ok(berth_remove(c->runtime, &h, NULL,
                    ERR)); /* removing twice succeeds, so does once too often */
}

static void every_other_method_of_an_unknown_handle_is_not_found(struct contract *c)
{
    struct berth_handle h = unknown_handle(c);
    struct berth_status *status = NULL;
    char *text = NULL;
    fails_with(BERTH_NOT_FOUND, berth_wait(c->runtime, &h, &status, ERR));
    fails_with(BERTH_NOT_FOUND, berth_signal(c->runtime, &h, SIGTERM, ERR));
    fails_with(BERTH_NOT_FOUND, berth_pause(c->runtime, &h, ERR));
    fails_with(BERTH_NOT_FOUND, berth_unpause(c->runtime, &h, ERR));
    fails_with(BERTH_NOT_FOUND, berth_update(c->runtime, &h, "{\"labels\":{}}", ERR));
    fails_with(BERTH_NOT_FOUND, berth_rename(c->runtime, &h, "other", ERR));
    fails_with(BERTH_NOT_FOUND, berth_restart(c->runtime, &h, 0, ERR));
    fails_with(BERTH_NOT_FOUND, berth_inspect(c->runtime, &h, &text, ERR));
}

static void null_and_foreign_arguments_are_refused(struct contract *c)
{
    struct berth_handle h = create(c, "one", WAITS, NULL), foreign = h, found;
    struct berth_status *status = NULL;
    fails_with(BERTH_INVALID, berth_start(c->runtime, NULL, ERR));
    fails_with(BERTH_INVALID, berth_status(c->runtime, NULL, &status, ERR));
    fails_with(BERTH_INVALID, berth_find(c->runtime, NULL, &found, ERR));
    snprintf(foreign.runtime, sizeof(foreign.runtime), "another");
    fails_with(BERTH_INVALID, berth_status(c->runtime, &foreign, &status, ERR));
    memset(&foreign, 0xff, sizeof(foreign)); /* no NUL anywhere */
    fails_with(BERTH_INVALID, berth_status(c->runtime, &foreign, &status, ERR));
    struct berth_logs_options o = {.size = 3};
    struct berth_stream *stream = NULL;
    fails_with(BERTH_INVALID, berth_logs(c->runtime, &h, &o, &stream, ERR));
}

static void a_handle_survives_being_text(struct contract *c)
{
    char text[BERTH_HANDLE_TEXT], again[BERTH_HANDLE_TEXT];
    struct berth_handle h = create(c, "written.down-1", WAITS, NULL), read;
    berth_handle_print(&h, text);
    check(strlen(text) < BERTH_HANDLE_TEXT && !strpbrk(text, " \t\n"), "the text is \"%s\"", text);
    ok(berth_handle_parse(text, &read, ERR));
    check(memcmp(read.id, h.id, 16) == 0, "another id came back");
    equal_text(read.runtime, h.runtime);
    equal_text(read.name, h.name);
    equal_text(read.metadata, h.metadata);
    berth_handle_print(&read, again);
    equal_text(again, text);
    is_state(c, &read, BERTH_CREATED);
}

static void what_is_no_handle_is_refused(struct contract *c)
{
    (void)c;
    static const char *const bad[] = {"",          "x",
                                      "::::",      "container",
                                      "fake:one:", "berth1:fake:one:00112233:",
                                      "\n",        "fake:one:zz112233445566778899aabbccddeeff"};
    struct berth_handle h;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        fails_with(BERTH_INVALID, berth_handle_parse(bad[i], &h, ERR));
    char big[100001];
    memset(big, ':', 100000);
    big[100000] = '\0';
    fails_with(BERTH_INVALID, berth_handle_parse(big, &h, ERR));
    fails_with(BERTH_INVALID, berth_handle_parse(NULL, &h, ERR));
}

static void a_handle_made_by_another_process_works(struct contract *c)
{
    int fds[2];
    check(pipe(fds) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        struct berth_options options = {.size = sizeof(options), .root = c->root, .run = c->run};
        struct contract own = *c;
        char text[BERTH_HANDLE_TEXT];
        ok(berth_open(c->opens, &options, &own.runtime, ERR));
        struct berth_handle h = run(
            &own, "theirs",
            SHELL("trap 'exit 0' TERM; echo ready; while :; do sleep 100 & wait $!; done"), NULL);
        berth_handle_print(&h, text);
        if (write(fds[1], text, strlen(text)) < 0)
            _exit(FAILED);
        _exit(PASSED);
    }
    close(fds[1]);
    char *text = read_all(fds[0], NULL);
    close(fds[0]);
    int status;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) != PASSED)
        _exit(WEXITSTATUS(status)); /* it has said why */
    struct berth_handle h;
    ok(berth_handle_parse(text, &h, ERR));
    free(text);
    until_log(c, &h, "ready");
    is_state(c, &h, BERTH_RUNNING);
    free(inside(c, &h, "true"));
    ok(berth_stop(c->runtime, &h, 1000, ERR));
    ok(berth_remove(c->runtime, &h, NULL, ERR));
}

static void find_takes_names_and_prefixes_of_ids(struct contract *c)
{
    struct berth_handle h = create(c, "findme", WAITS, NULL), found;
    char id[BERTH_ID_TEXT];
    berth_id_print(h.id, id);
    ok(berth_find(c->runtime, "findme", &found, ERR));
    check(memcmp(found.id, h.id, 16) == 0, "the name leads to another");
    ok(berth_find(c->runtime, id, &found, ERR));
    check(memcmp(found.id, h.id, 16) == 0, "the id leads to another");
    id[12] = '\0';
    ok(berth_find(c->runtime, id, &found, ERR));
    check(memcmp(found.id, h.id, 16) == 0, "the prefix leads to another");
    fails_with(BERTH_NOT_FOUND, berth_find(c->runtime, "find", &found, ERR));
    fails_with(BERTH_NOT_FOUND, berth_find(c->runtime, "no-such-one", &found, ERR));
    names("no-such-one");
    create(c, id, WAITS, NULL); /* a name that looks like the first one's id */
    ok(berth_find(c->runtime, id, &found, ERR));
    equal_text(found.name, id);
}

static void an_ambiguous_prefix_is_refused(struct contract *c)
{
    struct berth_handle found;
    for (int i = 0; i < 17; i++)
        create(c, NULL, WAITS, NULL);
    char digit[2] = "";
    int ambiguous = 0;
    for (int i = 0; i < 16; i++) {
        digit[0] = "0123456789abcdef"[i];
        ambiguous += berth_find(c->runtime, digit, &found, ERR) == BERTH_INVALID;
    }
    check(ambiguous > 0, "of 17 ids no two begin alike");
    int r = berth_find(c->runtime, "", &found, ERR);
    check(r == BERTH_INVALID || r == BERTH_NOT_FOUND, "an empty name found one");
}

static void list_is_newest_first(struct contract *c)
{
    struct berth_handle *list = NULL;
    size_t n = 0;
    create(c, "oldest", WAITS, NULL);
    pause_msec(2);
    create(c, "middle", WAITS, NULL);
    pause_msec(2);
    create(c, "newest", WAITS, NULL);
    ok(berth_list(c->runtime, &list, &n, ERR));
    equal((long long)n, 3);
    equal_text(list[0].name, "newest");
    equal_text(list[1].name, "middle");
    equal_text(list[2].name, "oldest");
    free(list);
}

static void rename_keeps_the_handle(struct contract *c)
{
    struct berth_handle h = run_ready(c, "before", WAITS, NULL), found;
    ok(berth_rename(c->runtime, &h, "after", ERR));
    is_state(c, &h, BERTH_RUNNING);
    ok(berth_find(c->runtime, "after", &found, ERR));
    check(memcmp(found.id, h.id, 16) == 0, "the new name leads to another");
    equal_text(found.name, "after");
    fails_with(BERTH_NOT_FOUND, berth_find(c->runtime, "before", &found, ERR));
    create(c, "before", WAITS, NULL);
    fails_with(BERTH_EXISTS, berth_rename(c->runtime, &h, "before", ERR));
    fails_with(BERTH_INVALID, berth_rename(c->runtime, &h, "a/b", ERR));
    ok(berth_rename(c->runtime, &h, "after", ERR));
    struct berth_status *s = status_of(c, &h);
    equal_text(s->handle.name, "after");
    berth_status_free(s);
}

static void update_changes_labels_and_restart(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, "labels", "{'old':'1'}", NULL);
    ok(berth_update(
        c->runtime, &h,
        "{\"labels\":{\"new\":\"2\"},\"restart\":{\"policy\":\"always\",\"delay\":\"10ms\"}}",
        ERR));
    json_t *s = status_json(c, &h);
    equal_text(json_string_value(json_object_get(json_object_get(s, "labels"), "new")), "2");
    json_decref(s);
    is_state(c, &h, BERTH_RUNNING);
}

static void update_names_what_cannot_change(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    fails_with(BERTH_INVALID, berth_update(c->runtime, &h, "{\"image\":\"other\"}", ERR));
    names("image");
    fails_with(BERTH_INVALID, berth_update(c->runtime, &h, "{\"lables\":{}}", ERR));
    names("lables");
    fails_with(BERTH_INVALID, berth_update(c->runtime, &h, "{", ERR));
    fails_with(BERTH_INVALID, berth_update(c->runtime, &h, NULL, ERR));
}

static void update_changes_the_limits_of_a_running_one(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", SHELL("echo ready; sleep 1000"), "resources",
                                      "{'memory':'64Mi','pids':50}", NULL);
    ok(berth_update(c->runtime, &h, "{\"resources\":{\"memory\":\"128Mi\",\"pids\":70}}", ERR));
    struct berth_stats s = {.size = sizeof(s)};
    ok(berth_stats(c->runtime, &h, &s, ERR));
    equal((long long)s.memory_limit_bytes, 128 << 20);
    equal((long long)s.pids_limit, 70);
    ok(berth_stop(c->runtime, &h, 0, ERR));
    ok(berth_start(c->runtime, &h, ERR));
    ok(berth_stats(c->runtime, &h, &s, ERR));
    equal((long long)s.memory_limit_bytes, 128 << 20);
}

static void pause_and_unpause(struct contract *c)
{
    struct berth_handle h = create(c, "one", WAITS, NULL);
    fails_with(BERTH_WRONG_STATE, berth_pause(c->runtime, &h, ERR));
    ok(berth_start(c->runtime, &h, ERR));
    fails_with(BERTH_WRONG_STATE, berth_unpause(c->runtime, &h, ERR));
    ok(berth_pause(c->runtime, &h, ERR));
    is_state(c, &h, BERTH_PAUSED);
    fails_with(BERTH_WRONG_STATE, berth_pause(c->runtime, &h, ERR));
    fails_with(BERTH_WRONG_STATE, berth_start(c->runtime, &h, ERR));
    ok(berth_unpause(c->runtime, &h, ERR));
    is_state(c, &h, BERTH_RUNNING);
    ok(berth_stop(c->runtime, &h, 2000, ERR));
}

static void a_paused_one_does_nothing(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "one", SHELL("echo ready; while :; do echo x >> /tmp/n; sleep 0.01; done"), NULL);
    ok(berth_pause(c->runtime, &h, ERR));
    struct berth_stats a = {.size = sizeof(a)}, b = a;
    pause_msec(20);
    ok(berth_stats(c->runtime, &h, &a, ERR));
    pause_msec(200);
    ok(berth_stats(c->runtime, &h, &b, ERR));
    check(b.cpu_usec - a.cpu_usec < 5000, "it used %llu us while paused",
          (unsigned long long)(b.cpu_usec - a.cpu_usec));
    ok(berth_unpause(c->runtime, &h, ERR));
}

static void restart_is_one_request(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_status *before = status_of(c, &h);
    ok(berth_restart(c->runtime, &h, 1000, ERR));
    struct berth_status *after = status_of(c, &h);
    equal(after->state, BERTH_RUNNING);
    check(after->started_usec > before->started_usec, "it was not started again");
    equal(after->created_usec == before->created_usec, 1);
    berth_status_free(before);
    berth_status_free(after);
}

static void restart_starts_one_that_does_not_run(struct contract *c)
{
    struct berth_handle h = create(c, "one", WAITS, NULL);
    ok(berth_restart(c->runtime, &h, 1000, ERR));
    is_state(c, &h, BERTH_RUNNING);
    ok(berth_stop(c->runtime, &h, 0, ERR));
    ok(berth_restart(c->runtime, &h, 1000, ERR));
    is_state(c, &h, BERTH_RUNNING);
}

static void events_tell_its_life(struct contract *c)
{
    int64_t since = wall_usec();
    struct berth_handle h = run(c, "watched", STEPS("exit 3"), NULL);
    berth_status_free(until_ended(c, &h));
    ok(berth_remove(c->runtime, &h, NULL, ERR));
    struct berth_events_options o = {.size = sizeof(o),
                                     .since_usec = since,
                                     .until_usec = wall_usec() + 1000000,
                                     .name = "watched"};
    struct berth_stream *stream = NULL;
    ok(berth_events(c->runtime, &o, &stream, ERR));
    char *text = read_all(berth_stream_fd(stream), NULL);
    berth_stream_free(stream);
    static const char *const wanted[] = {"create", "start", "die", "remove"};
    for (size_t i = 0; i < 4; i++)
        has_text(text, wanted[i]);
    int lines = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
        check(json_is_object(json), "no JSON object: %s", line);
        if (strstr(line, "\"die\""))
            equal(json_integer_value(json_object_get(json, "exit_code")), 3);
        json_decref(json);
    }
    check(lines >= 4, "only %d events", lines);
    free(text);
}

static void followed_events_come_as_they_happen(struct contract *c)
{
    struct berth_events_options o = {.size = sizeof(o), .follow = true};
    struct berth_stream *stream = NULL;
    ok(berth_events(c->runtime, &o, &stream, ERR));
    pause_msec(50);
    struct berth_handle h = create(c, "watched", WAITS, NULL);
    until_text(berth_stream_fd(stream), "watched");
    ok(berth_start(c->runtime, &h, ERR));
    until_text(berth_stream_fd(stream), "start");
    berth_stream_free(stream);
}

static void attach_brings_the_output(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", STEPS("print ready", "sleep 2s", "print later", "exit 5"), NULL);
    struct berth_call *call = NULL;
    ok(berth_attach_call(c->runtime, &h, NULL, &call, ERR));
    until_call_text(call, 1, "later");
    ok(berth_call_wait(call, 10000, NULL, ERR));
    berth_call_free(call);
}

/* However short it is: joined before it runs, and kept until the call is freed though it removes itself. */
static void attach_to_the_next_start_misses_nothing(struct contract *c)
{
    struct berth_handle h =
        create(c, "one", STEPS("print early", "exit 5"), "remove", "true", "log.driver", "'none'", NULL);
    struct berth_attach_options o = {.size = sizeof(o), .next_start = true};
    struct berth_call *call = NULL;
    fails_with(BERTH_WRONG_STATE, berth_attach_call(c->runtime, &h, NULL, &call, ERR));
    ok(berth_attach_call(c->runtime, &h, &o, &call, ERR));
    ok(berth_start(c->runtime, &h, ERR));
    until_call_text(call, 1, "early");
    ok(berth_call_wait(call, 20000, NULL, ERR));
    struct berth_status *s = until_ended(c, &h);
    equal(s->exit_code, 5);
    berth_status_free(s);
    berth_call_free(call);
    for (int tries = 0; berth_status(c->runtime, &h, &s, ERR) == 0; tries++) {
        berth_status_free(s);
        check(tries < 500, "it removed itself");
        pause_msec(20);
    }
}

static void attach_with_input_that_the_spec_does_not_have_is_wrong_state(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_attach_options o = {.size = sizeof(o), .input = true};
    struct berth_call *call = NULL;
    int r = berth_attach_call(c->runtime, &h, &o, &call, ERR);
    if (r == 0) {
        r = berth_call_wait(call, 5000, NULL, ERR);
        berth_call_free(call);
    }
    fails_with(BERTH_WRONG_STATE, r);
}

static void attach_reaches_standard_input(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", SHELL("echo ready; read x; echo got $x; exit 6"),
                                      "stdin", "true", NULL);
    struct berth_attach_options o = {.size = sizeof(o), .input = true};
    struct berth_call *call = NULL;
    ok(berth_attach_call(c->runtime, &h, &o, &call, ERR));
    check(write(berth_call_stream_fd(call, 0), "hello\n", 6) == 6, "write");
    until_text(berth_call_stream_fd(call, 1), "got hello");
    berth_call_free(call);
    struct berth_status *s = until_ended(c, &h);
    equal(s->exit_code, 6);
    berth_status_free(s);
}

static void several_attach_to_one_terminal(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", SHELL("stty -echo; tty; while read x; do echo got $x; stty size; done"),
            "stdin", "true", "tty", "true", NULL);
    struct berth_attach_options o = {.size = sizeof(o), .input = true, .rows = 30, .columns = 90};
    struct berth_call *calls[3];
    for (int i = 0; i < 3; i++)
        ok(berth_attach_call(c->runtime, &h, &o, &calls[i], ERR));
    pause_msec(100);
    check(write(berth_call_stream_fd(calls[1], 0), "abc\n", 4) == 4, "write");
    for (int i = 0; i < 3; i++)
        until_text(berth_call_stream_fd(calls[i], 1), "got abc");
    ok(berth_call_resize(calls[2], 41, 111, ERR));
    pause_msec(50);
    check(write(berth_call_stream_fd(calls[0], 0), "def\n", 4) == 4, "write");
    until_text(berth_call_stream_fd(calls[0], 1), "41 111");
    for (int i = 0; i < 3; i++)
        berth_call_free(calls[i]);
    is_state(c, &h, BERTH_RUNNING);
    char *log = log_of(c, &h);
    has_text(log, "got abc");
    free(log);
}

/* ---- every verb on a hundred workloads from eight threads */

enum { THREADS = 8, WORKLOADS = 100 };
struct crowd {
    struct contract *c;
    int number;
};

/** One life of one workload, every verb on the way. */
static void one_life(struct contract *c, int number)
{
    char *name = print_text("crowd-%d", number);
    struct berth_handle h = run_ready(c, name, WAITS, NULL), found;
    struct berth_stats stats = {.size = sizeof(stats)};
    struct berth_host_port port;
    char text[BERTH_ADDRESS_TEXT];
    struct berth_port eighty = {80, "tcp"};
    is_state(c, &h, BERTH_RUNNING);
    ok(berth_stats(c->runtime, &h, &stats, ERR));
    ok(berth_resolve_host_port(c->runtime, &h, &eighty, &port, ERR));
    ok(berth_resolve_container_address(c->runtime, &h, &eighty, NULL, text, ERR));
    ok(berth_find(c->runtime, name, &found, ERR));
    check(memcmp(found.id, h.id, 16) == 0, "%s leads to another", name);
    if (!c->steps)
        free(inside(c, &h, "true"));
    ok(berth_stop(c->runtime, &h, 2000, ERR));
    is_state(c, &h, BERTH_STOPPED);
    ok(berth_start(c->runtime, &h, ERR));
    ok(berth_stop(c->runtime, &h, 0, ERR));
    ok(berth_remove(c->runtime, &h, NULL, ERR));
    free(name);
}

static void *thread_body(void *data)
{
    struct crowd *crowd = data;
    for (int i = crowd->number; i < WORKLOADS; i += THREADS)
        one_life(crowd->c, i);
    return NULL;
}

static void every_verb_on_100_workloads_from_8_threads(struct contract *c)
{
    pthread_t threads[THREADS];
    struct crowd crowds[THREADS];
    for (int i = 0; i < THREADS; i++) {
        crowds[i] = (struct crowd){c, i};
        check(pthread_create(&threads[i], NULL, thread_body, &crowds[i]) == 0, "thread");
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct berth_handle *list = NULL;
    size_t n = 7;
    ok(berth_list(c->runtime, &list, &n, ERR));
    equal((long long)n, 0);
    free(list);
}

static void *same_body(void *data)
{
    struct crowd *crowd = data;
    struct contract *c = crowd->c;
    struct berth_handle h;
    ok(berth_find(c->runtime, "shared", &h, ERR));
    for (int i = 0; i < 20; i++) {
        int r = crowd->number % 2 ? berth_start(c->runtime, &h, ERR)
                                  : berth_stop(c->runtime, &h, 0, ERR);
        check(r == 0 || r == BERTH_WRONG_STATE || r == BERTH_CANCELLED, "%s: %s",
              berth_code_name(r), ERR->message);
        struct berth_status *s = NULL;
        ok(berth_status(c->runtime, &h, &s, ERR));
        berth_status_free(s);
    }
    return NULL;
}

static void starts_and_stops_of_one_from_8_threads(struct contract *c)
{
    pthread_t threads[THREADS];
    struct crowd crowds[THREADS];
    struct berth_handle h = create(c, "shared", WAITS, NULL);
    for (int i = 0; i < THREADS; i++) {
        crowds[i] = (struct crowd){c, i};
        check(pthread_create(&threads[i], NULL, same_body, &crowds[i]) == 0, "thread");
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    ok(berth_stop(c->runtime, &h, 0, ERR));
    ok(berth_start(c->runtime, &h, ERR));
    is_state(c, &h, BERTH_RUNNING);
}

static const struct contract_case all_cases[] = {
    CASE(the_runtime_has_its_engines_name),
    CASE(an_unknown_engine_is_not_found),
    CASE(every_verb_of_an_unknown_handle_is_not_found),
    CASE(every_other_method_of_an_unknown_handle_is_not_found),
    CASE(null_and_foreign_arguments_are_refused),
    CASE(a_handle_survives_being_text),
    CASE(what_is_no_handle_is_refused),
    CASE_NEEDS(a_handle_made_by_another_process_works, NEEDS_PROGRAM | NEEDS_PROCESS),
    CASE(find_takes_names_and_prefixes_of_ids),
    CASE(an_ambiguous_prefix_is_refused),
    CASE(list_is_newest_first),
    CASE(rename_keeps_the_handle),
    CASE(update_changes_labels_and_restart),
    CASE(update_names_what_cannot_change),
    CASE_NEEDS(update_changes_the_limits_of_a_running_one, NEEDS_PROGRAM),
    CASE(pause_and_unpause),
    CASE_NEEDS(a_paused_one_does_nothing, NEEDS_PROGRAM),
    CASE(restart_is_one_request),
    CASE(restart_starts_one_that_does_not_run),
    CASE(events_tell_its_life),
    CASE(followed_events_come_as_they_happen),
    CASE(attach_brings_the_output),
    CASE(attach_to_the_next_start_misses_nothing),
    CASE(attach_with_input_that_the_spec_does_not_have_is_wrong_state),
    CASE_NEEDS(attach_reaches_standard_input, NEEDS_PROGRAM),
    CASE_NEEDS(several_attach_to_one_terminal, NEEDS_PROGRAM),
    CASE_SLOW(every_verb_on_100_workloads_from_8_threads, 0, 120),
    CASE_SLOW(starts_and_stops_of_one_from_8_threads, 0, 60),
};
GROUP(all);
