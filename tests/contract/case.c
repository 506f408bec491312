/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One case: its own process, its own time limit, and a listing before and after.
 *
 * A case that hangs is killed with its group; what a failed one left is removed by another process,
 * so that the next case starts from the same machine.
 */
#include "harness.h"

#include <berth/container.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPORT_FD 3
#define WORDS_MAX 8192

/** The child's side: descriptors 0 to 2 and the report at 3, nothing else. */
static _Noreturn void child(void (*body)(const void *data), const void *data, int report_fd)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (report_fd != REPORT_FD) {
        dup2(report_fd, REPORT_FD);
        close(report_fd);
    }
    fcntl(REPORT_FD, F_SETFD, FD_CLOEXEC);
    for (int fd = REPORT_FD + 1; fd < 64; fd++)
        close(fd);
    body(data);
    fflush(NULL);
    _exit(PASSED);
}

/** Collect what the child says until it closes the pipe or the time is over. True: it closed. */
static bool collect(int fd, char *words, int timeout_sec)
{
    size_t size = 0;
    for (int64_t end = now_usec() + (int64_t)timeout_sec * 1000000; now_usec() < end;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 100) <= 0)
            continue;
        ssize_t n = read(fd, words + size, WORDS_MAX - size - 1);
        if (n <= 0)
            return true;
        size += (size_t)n;
        words[size] = '\0';
    }
    return false;
}

int process_run(void (*body)(const void *data), const void *data, int timeout_sec, char **ret_words)
{
    int fds[2], status = 0;
    char words[WORDS_MAX] = "";
    check(pipe2(fds, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t pid = fork();
    check(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0)
        child(body, data, fds[1]);
    setpgid(pid, pid);
    close(fds[1]);
    bool ended = collect(fds[0], words, timeout_sec);
    close(fds[0]);
    kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
        ;
    if (!ended)
        *ret_words = print_text("not finished after %d seconds; %s", timeout_sec, words);
    else if (WIFSIGNALED(status))
        *ret_words =
            print_text("signal %d (%s); %s", WTERMSIG(status), strsignal(WTERMSIG(status)), words);
    else
        *ret_words = print_text("%s", words);
    return ended && WIFEXITED(status) ? WEXITSTATUS(status) : FAILED;
}

struct job {
    const struct settings *s;
    const struct place *p;
    const struct contract_case *k;
};

/** An engine without images is asked for one where a case needs what is in it. */
static const char *image_of(const struct job *j)
{
    bool needs = j->k && j->k->needs & (NEEDS_PROGRAM | NEEDS_KERNEL);
    return j->s->plain && needs ? IMAGE : j->p->image;
}

static struct contract contract_of(const struct job *j)
{
    struct contract c = {.engine = j->s->engine,
                         .like = j->s->like,
                         .opens = j->s->opens,
                         .image = image_of(j),
                         .network = j->s->network,
                         .root = j->p->root,
                         .run = j->p->run,
                         .scratch = j->p->scratch,
                         .steps = j->s->steps,
                         .long_run = j->s->long_run};
    struct berth_options options = {.size = sizeof(options), .root = c.root, .run = c.run};
    ok(berth_open(c.opens, &options, &c.runtime, ERR));
    return c;
}

/** Remove the volumes that cases made; an engine without volumes has none. */
static void volumes_remove(struct berth_runtime *runtime)
{
    char *text = NULL;
    if (berth_volume_list(runtime, &text, NULL) < 0)
        return;
    json_t *list = json_loads(text, 0, NULL), *volume;
    size_t i;
    json_array_foreach (list, i, volume) {
        const char *name = json_is_string(volume)
                               ? json_string_value(volume)
                               : json_string_value(json_object_get(volume, "name"));
        if (name)
            berth_volume_remove(runtime, name, NULL);
    }
    json_decref(list);
    free(text);
}

static void workloads_remove(struct berth_runtime *runtime)
{
    struct berth_handle *handles = NULL;
    size_t n = 0;
    struct berth_remove_options force = {.size = sizeof(force), .force = true, .volumes = true};
    ok(berth_list(runtime, &handles, &n, ERR));
    for (size_t i = 0; i < n; i++) {
        int r = berth_remove(runtime, &handles[i], &force, ERR);
        check(r >= 0 || r == BERTH_NOT_FOUND, "cleaning up %s: %s", handles[i].name, ERR->message);
    }
    free(handles);
    volumes_remove(runtime);
}

static void case_body(const void *data)
{
    const struct job *j = data;
    if (!j->s->verbose) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, 1);
        close(null);
    }
    int before = count_fds();
    struct contract c = contract_of(j);
    current = &c;
    j->k->run(&c);
    workloads_remove(c.runtime);
    berth_close(c.runtime);
    int after = count_fds();
    check(after == before, "%d descriptors were left open", after - before);
}

static void clean_body(const void *data)
{
    struct contract c = contract_of(data);
    workloads_remove(c.runtime);
    berth_close(c.runtime);
}

/** What is there beyond `before`, after fifteen seconds' grace for what goes behind the answer (an idle bridge after five).
 */
static char *leaks(const struct place *p, const struct snapshot *before)
{
    char *extra = NULL;
    for (int64_t end = now_usec() + 15000000;; pause_msec(20)) {
        struct snapshot *after = snapshot_take(p->root, p->run, p->cgroup_parent);
        free(extra);
        extra = snapshot_extra(before, after);
        snapshot_free(after);
        if (!extra || now_usec() > end)
            return extra;
    }
}

int case_run(const struct settings *s, const struct place *p, const struct contract_case *k,
             char **ret_words)
{
    struct job j = {s, p, k};
    struct snapshot *before = snapshot_take(p->root, p->run, p->cgroup_parent);
    int timeout = k->timeout_sec > s->timeout_sec ? k->timeout_sec : s->timeout_sec;
    int verdict = process_run(case_body, &j, timeout, ret_words);
    if (verdict != PASSED) {
        char *words = NULL;
        if (process_run(clean_body, &j, 60, &words) != PASSED && verdict == FAILED) {
            char *more = print_text("%s; %s", *ret_words, words);
            free(*ret_words);
            *ret_words = more;
        }
        free(words);
    }
    char *extra = leaks(p, before);
    snapshot_free(before);
    if (extra) {
        char *more =
            print_text("%s%sleft behind: %.2000s", *ret_words, (*ret_words)[0] ? "; " : "", extra);
        free(*ret_words);
        *ret_words = more;
        verdict = FAILED;
    }
    free(extra);
    return verdict;
}
