/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host: the library is a guest in its caller's process and leaves it as it was.
 *
 * One case for each thing that a library could disturb; every verb is used in between, good and
 * bad.
 */
#include "contract.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/** The verbs that ask, on a running one. */
static void ask_everything(struct contract *c, const struct berth_handle *h)
{
    struct berth_stats stats = {.size = sizeof(stats)};
    struct berth_port port = {80, "tcp"};
    struct berth_host_port host_port;
    struct berth_handle *list = NULL, found;
    char address[BERTH_ADDRESS_TEXT], *text = NULL;
    size_t n = 0;
    is_state(c, h, BERTH_RUNNING);
    ok(berth_stats(c->runtime, h, &stats, ERR));
    ok(berth_resolve_host_port(c->runtime, h, &port, &host_port, ERR));
    ok(berth_resolve_container_address(c->runtime, h, &port, NULL, address, ERR));
    ok(berth_list(c->runtime, &list, &n, ERR));
    free(list);
    ok(berth_find(c->runtime, h->name, &found, ERR));
    ok(berth_inspect(c->runtime, h, &text, ERR));
    free(text);
    until_log(c, h, "ready");
    free(log_of(c, h));
}

/** What an engine may leave out: other cases say whether it may. */
static int may(int r)
{
    return r == BERTH_UNSUPPORTED ? r : ok(r);
}

/** The verbs that change, and execs in every form. */
static void change_everything(struct contract *c, const struct berth_handle *h)
{
    struct berth_exec_options o = {.size = sizeof(o), .stdin_data = "x\n", .stdin_size = 2};
    struct berth_exec_options stream = {.size = sizeof(stream), .stream = true};
    struct berth_call *call = NULL;
    berth_exec_result_free(exec_program(c, h, &o, STEPS("cat", "exit 0")));
    berth_call_free(exec_begin(c, h, &stream, STEPS("wait")));
    if (may(berth_attach_call(c->runtime, h, NULL, &call, ERR)) >= 0)
        berth_call_free(call);
    if (may(berth_pause(c->runtime, h, ERR)) >= 0)
        ok(berth_unpause(c->runtime, h, ERR));
    may(berth_update(c->runtime, h, "{\"labels\":{\"a\":\"b\"}}", ERR));
    may(berth_rename(c->runtime, h, "renamed", ERR));
    may(berth_restart(c->runtime, h, 0, ERR));
    ok(berth_signal(c->runtime, h, SIGCONT, ERR));
}

static void fail_everywhere(struct contract *c, const struct berth_handle *h)
{
    struct berth_exec_result *result = NULL;
    struct berth_handle none;
    struct berth_status *status = NULL;
    check(berth_create(c->runtime, "{\"nonsense\":1}", &none, ERR) < 0, "nonsense was created");
    check(berth_start(c->runtime, h, ERR) < 0, "a running one was started");
    check(berth_exec(c->runtime, h, (const char *const[]){"/no/such", NULL}, NULL, &result, ERR) <
              0,
          "exec");
    memset(&none, 0, sizeof(none));
    check(berth_status(c->runtime, &none, &status, ERR) < 0, "a handle of zeros has a status");
    struct berth_handle broken =
        create(c, "broken", WAITS, "command", "['/no/such/program']", NULL);
    check(berth_start(c->runtime, &broken, ERR) < 0, "a missing program was started");
    ok(berth_remove(c->runtime, &broken, NULL, ERR));
}

/** Every verb, and every way to fail that is cheap. */
static void use_every_verb(struct contract *c)
{
    struct berth_events_options events = {
        .size = sizeof(events), .since_usec = 1, .until_usec = wall_usec() + 1};
    struct berth_stream *stream = NULL;
    struct berth_call *wait = NULL;
    struct berth_result result = {0};
    struct berth_handle h = run(c, "guest", WAITS, NULL);
    ask_everything(c, &h);
    fail_everywhere(c, &h);
    change_everything(c, &h);
    ok(berth_wait_call(c->runtime, &h, &wait, ERR));
    ok(berth_stop(c->runtime, &h, 50, ERR));
    ok(berth_call_wait(wait, 10000, &result, ERR));
    berth_status_free(result.status);
    berth_call_free(wait);
    if (may(berth_events(c->runtime, &events, &stream, ERR)) >= 0)
        free(read_all(berth_stream_fd(stream), NULL));
    berth_stream_free(stream);
    ok(berth_remove(c->runtime, &h, NULL, ERR));
}

static volatile sig_atomic_t heard;

static void hear(int signal)
{
    (void)signal;
    heard++;
}

static void its_sigchld_is_left_alone(struct contract *c)
{
    struct sigaction action = {.sa_handler = hear}, after;
    sigaction(SIGCHLD, &action, NULL);
    use_every_verb(c);
    pause_msec(50);
    equal(heard, 0);
    sigaction(SIGCHLD, NULL, &after);
    check(after.sa_handler == hear, "the handler is another");
}

static void ignoring_sigchld_breaks_nothing(struct contract *c)
{
    signal(SIGCHLD,
           SIG_IGN); /* children vanish unreaped: a library that waits for its own must cope */
    use_every_verb(c);
}

static void its_wait_sees_its_own_children_alone(struct contract *c)
{
    int gate[2];
    char byte;
    check(pipe2(gate, O_CLOEXEC) == 0, "pipe");
    pid_t own = fork();
    if (own == 0) {
        close(gate[1]);
        _exit(read(gate[0], &byte, 1) == 0 ? 77 : 1);
    }
    struct berth_handle h = run_ready(c, "early", WAITS, NULL);
    int status;
    equal(waitpid(-1, &status, WNOHANG), 0);
    use_every_verb(c);
    close(gate[1]);
    equal(wait(&status), own);
    close(gate[0]);
    equal(WEXITSTATUS(status), 77);
    check(waitpid(-1, &status, 0) == -1 && errno == ECHILD, "there is another child");
    ok(berth_stop(c->runtime, &h, 0, ERR));
}

/** Children of this process, of any kind and dead ones too, as a list of numbers. */
static char *children(void)
{
    char *list = print_text("%s", "");
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        char path[300], name[64], state;
        int parent;
        snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
        char *text = atoi(e->d_name) > 0 ? read_file(path) : NULL;
        if (text && sscanf(text, "%*d (%63[^)]) %c %d", name, &state, &parent) == 3 &&
            parent == getpid()) {
            char *more = print_text("%s%s %s %c; ", list, e->d_name, name, state);
            free(list);
            list = more;
        }
        free(text);
    }
    if (d)
        closedir(d);
    return list;
}

static void no_dead_child_is_left_to_it(struct contract *c)
{
    for (int i = 0; i < 3; i++)
        use_every_verb(c);
    struct berth_handle h = run_ready(c, "last", WAITS, NULL);
    ok(berth_stop(c->runtime, &h, 0, ERR));
    ok(berth_remove(c->runtime, &h, NULL, ERR));
    for (int64_t end = now_usec() + 3000000;; pause_msec(20)) {
        struct berth_handle *list = NULL;
        size_t n;
        ok(berth_list(c->runtime, &list, &n, ERR)); /* a library that reaps does so in its calls */
        free(list);
        char *left = children();
        if (!left[0]) {
            free(left);
            return;
        }
        check(now_usec() < end, "children of the host: %s", left);
        free(left);
    }
}

static void its_signal_handlers_are_left_alone(struct contract *c)
{
    struct sigaction before[65] = {0}, after;
    struct sigaction action = {.sa_handler = hear, .sa_flags = SA_RESTART};
    sigaction(SIGPIPE, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGUSR1, SIG_IGN);
    for (int i = 1; i <= 64; i++)
        sigaction(i, NULL, &before[i]);
    use_every_verb(c);
    for (int i = 1; i <= 64; i++) {
        after = before[i]; /* 32 and 33 are the C library's and can't be asked for */
        sigaction(i, NULL, &after);
        check(after.sa_handler == before[i].sa_handler && after.sa_flags == before[i].sa_flags,
              "signal %d", i);
    }
    equal(heard, 0);
}

static void its_signal_mask_is_left_alone(struct contract *c)
{
    sigset_t mine, before, after, pending;
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR2);
    sigaddset(&mine, SIGTERM);
    sigprocmask(SIG_BLOCK, &mine, NULL);
    sigprocmask(SIG_SETMASK, NULL, &before);
    use_every_verb(c);
    sigprocmask(SIG_SETMASK, NULL, &after);
    sigpending(&pending);
    for (int i = 1; i <= 64; i++) {
        check(sigismember(&before, i) == sigismember(&after, i), "signal %d", i);
        check(sigismember(&pending, i) != 1, "signal %d is pending", i);
    }
}

static void its_signals_do_not_disturb(struct contract *c)
{
    struct itimerval often = {.it_interval = {0, 200}, .it_value = {0, 200}}, off = {0};
    struct sigaction action = {.sa_handler = hear}; /* no SA_RESTART: every call is interrupted */
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int64_t end = now_usec() + 300000; now_usec() < end;)
        use_every_verb(c);
    setitimer(ITIMER_REAL, &off, NULL);
    check(heard > 10, "only %d signals came", (int)heard);
}

static void a_blocked_signal_of_the_host_does_not_reach_inside(struct contract *c)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGUSR1, SIG_IGN);
    struct berth_handle h = run_ready(
        c, "one", SHELL("echo ready; grep -E '^Sig(Blk|Ign):' /proc/self/status; sleep 1000"),
        NULL);
    until_log(c, &h, "SigIgn:");
    char *log = log_of(c, &h);
    has_text(log, "SigBlk:\t0000000000000000\n");
    has_text(log, "SigIgn:\t0000000000000000\n");
    free(log);
}

static void its_umask_is_left_alone(struct contract *c)
{
    umask(0477);
    use_every_verb(c);
    equal(umask(0477), 0477);
}

static void its_umask_does_not_reach_inside(struct contract *c)
{
    umask(0777);
    struct berth_handle h = run_ready(
        c, "one", SHELL("touch /f; echo mask $(umask) $(stat -c %a /f); echo ready; sleep 1000"),
        NULL);
    char *log = log_of(c, &h);
    has_text(log, "mask 0022 644");
    free(log);
}

static void its_working_directory_is_left_alone(struct contract *c)
{
    char *folder = print_text("%s/cwd", c->scratch), before[PATH_MAX], after[PATH_MAX];
    check(mkdir(folder, 0755) == 0 && chdir(folder) == 0 && getcwd(before, sizeof(before)), "%s",
          folder);
    use_every_verb(c);
    check(getcwd(after, sizeof(after)) && strcmp(before, after) == 0, "it is %s", after);
    check(rmdir(folder) == 0, "%s is not empty", folder);
    use_every_verb(c); /* from a folder that is gone */
    check(chdir("/") == 0, "chdir");
    free(folder);
}

static void its_environment_is_left_alone(struct contract *c)
{
    setenv("ONE_OF_THE_HOSTS", "1", 1);
    size_t n = 0, m = 0;
    while (environ[n])
        n++;
    char **copy = calloc(n + 1, sizeof(*copy)), **place = environ;
    for (size_t i = 0; i < n; i++)
        copy[i] = print_text("%s", environ[i]);
    use_every_verb(c);
    check(environ == place, "environ moved");
    while (environ[m])
        m++;
    equal((long long)m, (long long)n);
    for (size_t i = 0; i < n; i++) {
        equal_text(environ[i], copy[i]);
        free(copy[i]);
    }
    free(copy);
    unsetenv("ONE_OF_THE_HOSTS");
}

/** All descriptors and where they lead, as one text. */
static char *descriptors(void)
{
    char *all = print_text("%s", "");
    for (int fd = 0; fd < 1024; fd++) {
        char path[64], target[PATH_MAX];
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
            continue;
        target[n] = '\0';
        char *more = print_text("%s%d %s flags %d\n", all, fd, target, fcntl(fd, F_GETFD));
        free(all);
        all = more;
    }
    return all;
}

static void its_descriptors_are_left_alone(struct contract *c)
{
    use_every_verb(c); /* what the runtime keeps open, it has open now */
    char *before = descriptors();
    for (int i = 0; i < 5; i++)
        use_every_verb(c);
    char *after = descriptors();
    equal_text(after, before);
    free(before);
    free(after);
}

static void every_descriptor_of_the_library_is_closed_on_exec(struct contract *c)
{
    char *before = descriptors();
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_logs_options follow = {.size = sizeof(follow), .follow = true};
    struct berth_exec_options o = {.size = sizeof(o), .stream = true};
    struct berth_stream *stream = NULL;
    struct berth_call *calls[3] = {0};
    ok(berth_logs(c->runtime, &h, &follow, &stream, ERR));
    ok(berth_wait_call(c->runtime, &h, &calls[0], ERR));
    calls[1] = exec_begin(c, &h, &o, STEPS("wait"));
    may(berth_attach_call(c->runtime, &h, NULL, &calls[2], ERR));
    char *after = descriptors();
    for (char *line = strtok(after, "\n"); line; line = strtok(NULL, "\n"))
        check(strstr(before, line) || strstr(line, "flags 1"), "without close-on-exec: %s", line);
    for (int i = 0; i < 3; i++)
        berth_call_free(calls[i]);
    berth_stream_free(stream);
    free(after);
    free(before);
}

/** A pipe's writing end, at `at` in this process and inheritable, must not live on in any child. */
static void is_not_inherited(struct contract *c, int at)
{
    int fds[2], kept = -1;
    check(pipe2(fds, O_CLOEXEC) == 0, "pipe");
    if (at <= 2)
        kept = fcntl(at, F_DUPFD_CLOEXEC, 10);
    check(dup2(fds[1], at) == at, "dup2");
    close(fds[1]);
    struct berth_handle h = run_ready(c, NULL, WAITS, NULL);
    berth_exec_result_free(exec_program(c, &h, NULL, STEPS("exit 0")));
    close(at);
    if (kept >= 0) {
        dup2(kept, at);
        close(kept);
    }
    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    check(poll(&p, 1, 1000) == 1 && (p.revents & POLLHUP), "descriptor %d lives on in a child", at);
    close(fds[0]);
    ok(berth_stop(c->runtime, &h, 0, ERR));
}

static void its_descriptors_are_not_inherited(struct contract *c)
{
    is_not_inherited(c, 0);
    is_not_inherited(c, 1);
    is_not_inherited(c, 2);
    is_not_inherited(c, 40);
    is_not_inherited(c, 900);
}

static void a_host_without_standard_descriptors_is_served(struct contract *c)
{
    int kept[3];
    for (int i = 0; i < 3; i++) {
        kept[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        close(i);
    }
    struct berth_options options = {.size = sizeof(options), .root = c->root, .run = c->run};
    struct contract own = *c;
    ok(berth_open(c->opens, &options, &own.runtime, ERR));
    use_every_verb(&own);
    berth_close(own.runtime);
    for (int i = 0; i < 3; i++) {
        dup2(kept[i], i);
        close(kept[i]);
    }
}

static void nothing_is_printed(struct contract *c)
{
    char *path = print_text("%s/printed", c->scratch);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int kept[2] = {fcntl(1, F_DUPFD_CLOEXEC, 10), fcntl(2, F_DUPFD_CLOEXEC, 10)};
    dup2(fd, 1);
    dup2(fd, 2);
    use_every_verb(c);
    fflush(NULL);
    for (int i = 0; i < 2; i++) {
        dup2(kept[i], i + 1);
        close(kept[i]);
    }
    close(fd);
    char *text = read_file(path);
    unlink(path);
    equal_text(text, "");
    free(text);
    free(path);
}

static void the_end_of_its_process_group_is_not_the_workloads(struct contract *c)
{
    int fds[2];
    char byte;
    check(pipe(fds) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        struct berth_options options = {.size = sizeof(options), .root = c->root, .run = c->run};
        struct contract own = *c;
        setsid();
        close(fds[0]);
        ok(berth_open(c->opens, &options, &own.runtime, ERR));
        struct berth_handle h = run_ready(&own, "outlives", SHELL("echo ready; sleep 1000"), NULL);
        is_state(&own, &h, BERTH_RUNNING);
        if (write(fds[1], "x", 1) == 1)
            pause();
        _exit(FAILED);
    }
    close(fds[1]);
    bool began = read(fds[0], &byte, 1) == 1;
    close(fds[0]);
    if (began) {
        kill(-pid, SIGHUP);
        kill(-pid, SIGKILL);
    }
    int status;
    waitpid(pid, &status, 0);
    if (!began)
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : FAILED); /* it has said why */
    struct berth_handle h;
    ok(berth_find(c->runtime, "outlives", &h, ERR));
    pause_msec(100);
    is_state(c, &h, BERTH_RUNNING);
    free(inside(c, &h, "true"));
}

static int count_threads(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static void no_thread_is_started(struct contract *c)
{
    int before = count_threads(); /* a sanitizer has one of its own */
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_call *call = NULL;
    ok(berth_wait_call(c->runtime, &h, &call, ERR));
    equal(count_threads(), before);
    use_every_verb(c);
    equal(count_threads(), before);
    berth_call_free(call);
}

static void the_rest_of_the_process_is_left_alone(struct contract *c)
{
    int reaper[2] = {-1, -1}, death[2] = {-1, -1};
    struct rlimit limits[2][RLIM_NLIMITS];
    pid_t group = getpgrp(), session = getsid(0);
    int nice = getpriority(PRIO_PROCESS, 0);
    char name[2][16] = {"", ""};
    for (int i = 0; i < 2; i++) {
        prctl(PR_GET_CHILD_SUBREAPER, &reaper[i]);
        prctl(PR_GET_PDEATHSIG, &death[i]);
        prctl(PR_GET_NAME, name[i]);
        for (int r = 0; r < (int)RLIM_NLIMITS; r++)
            getrlimit((__rlimit_resource_t)r, &limits[i][r]);
        if (i == 0)
            use_every_verb(c);
    }
    equal(reaper[1], reaper[0]);
    equal(death[1], death[0]);
    equal_text(name[1], name[0]);
    check(getpgrp() == group && getsid(0) == session, "its group or session is another");
    equal(memcmp(limits[0], limits[1], sizeof(limits[0])), 0);
    equal(getpriority(PRIO_PROCESS, 0), nice);
}

static const struct contract_case host_cases[] = {
    CASE(its_sigchld_is_left_alone),
    CASE(ignoring_sigchld_breaks_nothing),
    CASE(its_wait_sees_its_own_children_alone),
    CASE(no_dead_child_is_left_to_it),
    CASE(its_signal_handlers_are_left_alone),
    CASE(its_signal_mask_is_left_alone),
    CASE(its_signals_do_not_disturb),
    CASE_NEEDS(a_blocked_signal_of_the_host_does_not_reach_inside, NEEDS_PROGRAM),
    CASE(its_umask_is_left_alone),
    CASE_NEEDS(its_umask_does_not_reach_inside, NEEDS_PROGRAM),
    CASE(its_working_directory_is_left_alone),
    CASE(its_environment_is_left_alone),
    CASE(its_descriptors_are_left_alone),
    CASE(every_descriptor_of_the_library_is_closed_on_exec),
    CASE(its_descriptors_are_not_inherited),
    CASE(a_host_without_standard_descriptors_is_served),
    CASE(nothing_is_printed),
    CASE_NEEDS(the_end_of_its_process_group_is_not_the_workloads, NEEDS_PROGRAM | NEEDS_PROCESS),
    CASE(no_thread_is_started),
    CASE(the_rest_of_the_process_is_left_alone),
};
GROUP(host);
