/* SPDX-License-Identifier: Apache-2.0 */
/*
 * More programs inside a running workload: started, counted, listed, killed.
 *
 * Their output goes straight into the caller's pipes; only a terminal passes through us. An exec
 * that has a caller ends with it.
 */
#include "supervisor/supervisor.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define COMMAND_MAX 160 /* bytes of a command line in the list */
#define TREE_PASSES 4

int child_reap(int pid_fd, int *ret_wait_status)
{
    siginfo_t info = {0};
    if (RETRY(waitid(P_PIDFD, (id_t)pid_fd, &info, WEXITED | WNOHANG | __WALL)) < 0)
        return -errno;
    if (info.si_pid == 0)
        return 0;
    *ret_wait_status = info.si_code == CLD_EXITED ? W_EXITCODE(info.si_status, 0)
                                                  : W_EXITCODE(0, info.si_status & 0x7f);
    return 1;
}

/* ---- killing one and what it left --------------------------------------------------------------
 */

struct process {
    pid_t pid, parent, session;
    bool ours;
};

/* From /proc/PID/stat: "1 (name) S parent group session ..."; the name may hold anything. */
static bool read_process(int proc_fd, const char *pid, struct process *ret)
{
    char path[32], text[512];
    snprintf(path, sizeof(path), "%.12s/stat", pid);
    autoclose int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0)
        return false;
    text[n] = 0;
    const char *after = strrchr(text, ')');
    int group;
    *ret = (struct process){.pid = atoi(pid)};
    return after && sscanf(after + 1, " %*c %d %d %d", &ret->parent, &group, &ret->session) == 3;
}

static size_t read_processes(struct process **ret_list)
{
    DIR *proc = opendir("/proc");
    size_t n = 0, room = 0;
    struct dirent *entry;
    *ret_list = NULL;
    while (proc && (entry = readdir(proc))) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        if (n == room) {
            struct process *bigger =
                realloc(*ret_list, (room = room ? 2 * room : 256) * sizeof(**ret_list));
            if (!bigger)
                break;
            *ret_list = bigger;
        }
        n += read_process(dirfd(proc), entry->d_name, *ret_list + n);
    }
    if (proc)
        closedir(proc);
    return n;
}

/* Descendants as well as the session: a child may have left either, seldom both. */
static bool mark(struct process *list, size_t n, pid_t leader)
{
    bool changed = false;
    for (size_t i = 0; i < n; i++) {
        bool ours = list[i].pid == leader || list[i].session == leader || list[i].parent == leader;
        for (size_t j = 0; !ours && j < n; j++)
            ours = list[j].ours && list[j].pid == list[i].parent;
        changed |= ours && !list[i].ours;
        list[i].ours |= ours;
    }
    return changed;
}

/*
 * The leader has not been reaped, or its number still names the session: so it can't have become
 * somebody else's. A descendant that is found here can't have ended and been replaced unnoticed
 * while its parent, which we have not killed yet, still lives; leaves go last.
 */
static bool kill_tree_once(pid_t leader)
{
    autofree struct process *list = NULL;
    size_t n = read_processes(&list), found = 0;
    while (mark(list, n, leader))
        continue;
    for (size_t i = 0; i < n; i++) {
        if (list[i].ours && list[i].pid > 1 && list[i].pid != getpid()) {
            kill(list[i].pid, SIGKILL);
            found += list[i].pid != leader;
        }
    }
    return found > 0;
}

static void exec_send(struct exec *e, int signal)
{
    syscall(SYS_pidfd_send_signal, e->child.pid_fd, signal, NULL, 0);
}

void exec_kill(struct exec *e)
{
    if (e->end.fd < 0)
        return;
    for (int pass = 0; pass < TREE_PASSES && kill_tree_once(e->child.pid); pass++)
        continue;
    exec_send(e, SIGKILL);
}

/* ---- endings ----------------------------------------------------------------------------------
 */

static const char *command_text(const struct exec *e)
{
    return e->command && utf8_valid(e->command, strlen(e->command)) ? e->command : "?";
}

/* A probe's runs would drown what people look for. `value` is consumed. */
static void exec_event(struct supervisor *s, const struct exec *e, const char *type,
                       const char *key, json_t *value)
{
    autofree char *text = json_dumps(value, JSON_ENCODE_ANY);
    autofree char *attributes =
        text ? format_text("\"exec_id\":%llu,\"%s\":%s", (unsigned long long)e->id, key, text)
             : NULL;
    if (!e->is_probe)
        record_event(s, type, attributes);
    json_decref(value);
}

static void exec_free(struct supervisor *s, struct exec *e)
{
    for (struct exec **at = &s->execs; *at; at = &(*at)->next) {
        if (*at == e) {
            *at = e->next;
            s->n_execs--;
            break;
        }
    }
    timer_clear(&s->loop, &e->timeout);
    source_close(&s->loop, &e->ready);
    source_close(&s->loop, &e->end);
    source_close(&s->loop, &e->words);
    stdio_close(s, &e->stdio);
    for (size_t i = 0; i < e->n_fds; i++)
        close_fd(&e->fds[i]);
    json_decref(e->body);
    free(e->command);
    free(e);
}

static void exec_failed(struct supervisor *s, struct exec *e, const struct berth_error *err)
{
    if (e->probe)
        probe_ended(s, e->probe, -1, false, err->message);
    else
        reply_error(s, e->connection, e->tag, err);
    e->connection = NULL;
    e->probe = NULL;
}

/* ---- a probe's words ---------------------------------------------------------------------------
 */

/* Not bounded by its length but by what is kept: the rest is read and dropped. */
static ssize_t read_words(struct exec *e)
{
    char piece[512];
    ssize_t n = RETRY(read(e->words.fd, piece, sizeof(piece)));
    struct probe *p = e->probe;
    if (n <= 0 || !p)
        return n;
    size_t room = sizeof(p->last.output) - 1 - p->n_output;
    memcpy(p->last.output + p->n_output, piece, MIN((size_t)n, room));
    p->n_output += (uint32_t)MIN((size_t)n, room);
    return n;
}

static void words_speak(struct supervisor *s, struct source *source, uint32_t events)
{
    struct exec *e = HOLDER(source, struct exec, words);
    if (read_words(e) == 0)
        source_close(&s->loop, source);
}

static void probe_answers(struct supervisor *s, struct exec *e, int exit_code)
{
    for (int i = 0; i < 64 && e->words.fd >= 0 && read_words(e) > 0; i++)
        continue;
    char *output = e->probe->last.output;
    output[e->probe->n_output] = 0;
    for (size_t n = e->probe->n_output; n > 0 && !utf8_valid(output, n); n = strlen(output))
        output[n - 1] = 0; /* a character that was cut, or no text at all */
    probe_ended(s, TAKE(e->probe), exit_code, e->timed_out, NULL);
}

/* ---- the end of one ----------------------------------------------------------------------------
 */

static void exec_ended(struct supervisor *s, struct exec *e, int wait_status)
{
    int signal = WIFSIGNALED(wait_status) ? WTERMSIG(wait_status) : 0;
    int exit_code = signal ? 128 + signal : WEXITSTATUS(wait_status);
    crash_point("exec.ended");
    if (e->stdio.terminal.fd >= 0) {
        terminal_end(s, &e->stdio);
        viewers_end(s, &e->stdio, exit_code);
    }
    if (e->probe)
        probe_answers(s, e, exit_code);
    else if (e->connection && e->running && !e->detached)
        reply(s, e->connection, e->tag, MESSAGE_ENDED,
              json_pack("{s:i,s:i,s:b}", "exit_code", exit_code, "signal", signal, "timed_out",
                        (int)e->timed_out));
    if (e->running)
        exec_event(s, e, "exec_die", "exit_code", json_integer(exit_code));
    exec_free(s, e);
}

static void ready_speaks(struct supervisor *s, struct source *source, uint32_t events)
{
    struct exec *e = HOLDER(source, struct exec, ready);
    struct berth_error err;
    int r = launch_result(s->launch, source->fd, &err);
    if (r == 0)
        return;
    source_close(&s->loop, source);
    if (r < 0)
        return exec_failed(s, e, &err);
    e->running = true;
    crash_point("exec.started");
    if (e->connection)
        reply(s, e->connection, e->tag, MESSAGE_STARTED,
              json_pack("{s:I,s:i}", "exec_id", (json_int_t)e->id, "pid", (int)e->child.pid));
    if (e->detached)
        e->connection = NULL;
    exec_event(s, e, "exec", "command", json_string(command_text(e)));
}

static void end_speaks(struct supervisor *s, struct source *source, uint32_t events)
{
    struct exec *e = HOLDER(source, struct exec, end);
    int wait_status;
    int r = child_reap(source->fd, &wait_status);
    if (r == 0)
        return;
    if (e->ready.fd >= 0)
        ready_speaks(s, &e->ready, EPOLLIN);
    exec_ended(s, e, r < 0 ? W_EXITCODE(0, SIGKILL) : wait_status);
}

/* What it waited for did not come to run. */
static void refuse_waiting(struct supervisor *s, struct exec *e)
{
    struct berth_error err;
    fail(&err, BERTH_WRONG_STATE, s->name, "it was idle, and its program did not start");
    if (e->connection)
        exec_failed(s, e, &err);
    exec_free(s, e);
}

void execs_reap(struct supervisor *s)
{
    struct exec *next;
    for (struct exec *e = s->execs; e; e = next) {
        next = e->next;
        if (e->body)
            refuse_waiting(s, e);
        else if (e->end.fd >= 0)
            end_speaks(s, &e->end, EPOLLIN);
    }
}

int exec_let_go(struct supervisor *s, uint64_t id, struct berth_error *err)
{
    for (struct exec *e = s->execs; e; e = e->next)
        if (e->id == id && e->running && !e->is_probe) {
            e->detached = true;
            e->connection = NULL;
            return 0;
        }
    return fail(err, BERTH_NOT_FOUND, s->name, "exec %llu does not run in %s", (unsigned long long)id,
                s->name);
}

static void timeout_rings(struct supervisor *s, struct timer *timer)
{
    struct exec *e = HOLDER(timer, struct exec, timeout);
    e->timed_out = true;
    exec_kill(e);
}

void exec_connection_gone(struct supervisor *s, struct connection *c)
{
    for (struct exec *e = s->execs; e; e = e->next) {
        viewers_leave(s, &e->stdio, c);
        if (e->connection != c)
            continue;
        e->connection = NULL;
        if (!e->detached || !e->running)
            exec_kill(e);
    }
}

/* ---- starting one ------------------------------------------------------------------------------
 */

static struct exec *exec_new(struct supervisor *s, struct berth_error *err)
{
    struct exec *e = s->n_execs < EXECS_MAX ? calloc(1, sizeof(*e)) : NULL;
    if (s->n_execs >= EXECS_MAX)
        fail(err, BERTH_TOO_BIG, s->name, "%d programs run in %s by exec already", EXECS_MAX,
             s->name);
    else if (!e)
        fail_memory(err);
    if (!e)
        return NULL;
    *e = (struct exec){.id = ++s->next_exec_id,
                       .ready = SOURCE_NONE,
                       .end = SOURCE_NONE,
                       .words = SOURCE_NONE,
                       .child = {.pid_fd = -1},
                       .started_usec = now_usec()};
    e->stdio = STDIO_NONE;
    e->next = s->execs;
    s->execs = e;
    s->n_execs++;
    return e;
}

static char *command_line(char *const *argv)
{
    autotext struct text t = {0};
    for (size_t i = 0; argv[i] && t.length < COMMAND_MAX; i++) {
        text_add(&t, i ? " " : "");
        text_add(&t, argv[i]);
    }
    if (t.length > COMMAND_MAX)
        t.data[COMMAND_MAX] = 0;
    return text_take(&t);
}

/* The program is on its way; the rest is heard. What fails here kills it again. */
static int exec_watch(struct supervisor *s, struct exec *e, int master_fd, int ready_fd)
{
    int r = source_watch(&s->loop, &e->ready, ready_fd, EPOLLIN, ready_speaks);
    if (r == 0)
        r = source_watch(&s->loop, &e->end, e->child.pid_fd, EPOLLIN, end_speaks);
    if (master_fd >= 0 && r == 0)
        return terminal_begin(s, &e->stdio, master_fd);
    cleanup_close(&master_fd);
    return r;
}

static int exec_start(struct supervisor *s, struct exec *e, const struct launch_exec *how,
                      struct berth_error *err)
{
    int master_fd = -1, ready_fd = -1;
    if (!e->command)
        e->command = command_line(how->argv);
    int r =
        launch_exec(s->launch, s->plan, &s->program, how, &e->child, &master_fd, &ready_fd, err);
    if (r < 0)
        return r;
    crash_point("exec.cloned");
    r = exec_watch(s, e, master_fd, ready_fd);
    if (r < 0 && e->end.fd < 0)
        return fail_os(err, r, s->name, "watch the program");
    if (r < 0)
        exec_kill(e);
    return 0;
}

/* ---- requests ----------------------------------------------------------------------------------
 */

/* Borrows the strings; NULL for a key that is not there. */
static int get_strings(json_t *body, const char *key, char ***ret_list, struct berth_error *err)
{
    json_t *array = json_object_get(body, key), *item;
    size_t i;
    if (!array || json_is_null(array))
        return 0;
    char **list = json_is_array(array) ? calloc(json_array_size(array) + 1, sizeof(*list)) : NULL;
    if (!list)
        return fail(err, BERTH_INVALID, NULL, "exec: %s is not a list", key);
    *ret_list = list;
    json_array_foreach (array, i, item) {
        if (!json_is_string(item))
            return fail(err, BERTH_INVALID, NULL, "exec: %s holds something that is no text", key);
        list[i] = (char *)json_string_value(item);
    }
    return 0;
}

static uint16_t get_size(json_t *body, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(body, key));
    return n > 0 && n <= UINT16_MAX ? (uint16_t)n : 0;
}

struct exec_lists {
    char **argv, **env, **groups;
};
static void cleanup_lists(struct exec_lists *l)
{
    free(l->argv);
    free(l->env);
    free(l->groups);
}

static int read_request(json_t *body, struct exec_lists *lists, struct launch_exec *how,
                        struct berth_error *err)
{
    int r = get_strings(body, "argv", &lists->argv, err);
    if (r == 0)
        r = get_strings(body, "env", &lists->env, err);
    if (r == 0)
        r = get_strings(body, "groups", &lists->groups, err);
    if (r < 0)
        return r;
    if (!lists->argv || !lists->argv[0])
        return fail(err, BERTH_INVALID, NULL, "exec: no program");
    *how = (struct launch_exec){
        .argv = lists->argv,
        .env = lists->env,
        .groups = lists->groups,
        .user = json_string_value(json_object_get(body, "user")),
        .workdir = json_string_value(json_object_get(body, "workdir")),
        .tty = json_is_true(json_object_get(body, "tty")),
        .privileged = json_is_true(json_object_get(body, "privileged")),
        .rows = get_size(body, "rows"),
        .columns = get_size(body, "columns"),
    };
    return 0;
}

static void close_all(int (*fds)[3])
{
    for (size_t i = 0; i < 3; i++)
        cleanup_close(&(*fds)[i]);
}

/* Nobody reads or writes: input at its end, output into the sink. */
static int make_unread(struct supervisor *s, int fds[3])
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    close(ends[1]);
    fds[0] = ends[0];
    fds[1] = output_sink(s);
    fds[2] = output_sink(s);
    return MIN(fds[1], fds[2]) < 0 ? -EMFILE : 0;
}

/* Only pipes and sockets made for this call go inside: never a file or terminal that could be
 * reopened there. */
static int check_descriptors(const int *fds, size_t n_fds, size_t wanted, struct berth_error *err)
{
    struct stat st;
    if (n_fds != wanted)
        return fail(err, BERTH_INVALID, NULL, "exec: %zu descriptors instead of %zu", n_fds,
                    wanted);
    for (size_t i = 0; i < n_fds; i++)
        if (fstat(fds[i], &st) < 0 || !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
            return fail(err, BERTH_INVALID, NULL,
                        "exec: descriptor %zu is neither a pipe nor a socket", i);
    return 0;
}

static int exec_with_terminal(struct supervisor *s, struct exec *e, struct launch_exec *how,
                              int *fds, size_t n_fds, struct berth_error *err)
{
    if (e->detached && n_fds == 0)
        return exec_start(s, e, how, err);
    int r = check_descriptors(fds, n_fds, 1, err);
    if (r == 0)
        r = exec_start(s, e, how, err);
    if (r == 0 && e->stdio.terminal.fd >= 0)
        r = viewer_add(s, &e->stdio, e->connection, e->tag, true, fds, n_fds, err);
    return r;
}

static int exec_with_pipes(struct supervisor *s, struct exec *e, struct launch_exec *how, int *fds,
                           size_t n_fds, struct berth_error *err)
{
    __attribute__((cleanup(close_all))) int own[3] = {-1, -1, -1};
    int r = 0;
    how->stdio = fds;
    if (!e->detached || n_fds > 0)
        r = check_descriptors(fds, n_fds, 3, err);
    else if ((r = make_unread(s, own)) < 0)
        r = fail_os(err, r, s->name, "make pipes for an exec");
    else
        how->stdio = own;
    return r < 0 ? r : exec_start(s, e, how, err);
}

/* The last of the descriptors are files that the program gets to read. */
static int take_files(json_t *body, struct launch_exec *how, const int *fds, size_t *n_fds, struct berth_error *err)
{
    struct stat st;
    json_int_t n = json_integer_value(json_object_get(body, "files"));
    if (n < 0 || (size_t)n > *n_fds)
        return fail(err, BERTH_INVALID, NULL, "exec: %lld files in %zu descriptors", (long long)n, *n_fds);
    *n_fds -= (size_t)n;
    how->files = fds + *n_fds;
    how->n_files = (size_t)n;
    for (size_t i = 0; i < how->n_files; i++)
        if (fstat(how->files[i], &st) < 0 || !S_ISREG(st.st_mode) || (fcntl(how->files[i], F_GETFL) & O_ACCMODE) != O_RDONLY)
            return fail(err, BERTH_INVALID, NULL, "exec: file %zu is not a file opened for reading", i);
    return 0;
}

static int exec_begin(struct supervisor *s, struct exec *e, json_t *body, int *fds, size_t n_fds,
                      struct berth_error *err)
{
    autoclean(cleanup_lists) struct exec_lists lists = {0};
    struct launch_exec how;
    int r = read_request(body, &lists, &how, err);
    if (r == 0)
        r = take_files(body, &how, fds, &n_fds, err);
    if (r < 0)
        return r;
    const char *shown = json_string_value(json_object_get(body, "command"));
    e->command = shown ? strdup(shown) : NULL;
    e->detached = json_is_true(json_object_get(body, "detach"));
    r = how.tty ? exec_with_terminal(s, e, &how, fds, n_fds, err)
                : exec_with_pipes(s, e, &how, fds, n_fds, err);
    json_int_t usec = json_integer_value(json_object_get(body, "timeout_usec"));
    if (r == 0 && usec > 0)
        timer_set(&s->loop, &e->timeout, usec, timeout_rings);
    return r;
}

static void exec_go(struct supervisor *s, struct exec *e, json_t *body, int *fds, size_t n_fds)
{
    struct berth_error err;
    if (exec_begin(s, e, body, fds, n_fds, &err) == 0)
        return;
    exec_failed(s, e, &err);
    if (e->end.fd >= 0)
        exec_kill(e);
    else
        exec_free(s, e);
}

void execs_begin(struct supervisor *s)
{
    struct exec *next;
    for (struct exec *e = s->execs; e; e = next) {
        struct exec waited = *e;
        next = e->next;
        if (!waited.body)
            continue;
        e->body = NULL;
        e->n_fds = 0;
        if (waited.connection)
            exec_go(s, e, waited.body, waited.fds, waited.n_fds);
        else
            exec_free(s, e); /* who asked has gone meanwhile */
        for (size_t i = 0; i < waited.n_fds; i++)
            close_fd(&waited.fds[i]);
        json_decref(waited.body);
    }
}

static void exec_wait(struct exec *e, json_t *body, int *fds, size_t n_fds)
{
    e->body = json_incref(body);
    for (; e->n_fds < n_fds; e->n_fds++)
        e->fds[e->n_fds] = take_fd(&fds[e->n_fds]);
}

/* It is idle, or was until now: everybody was told that it runs, so it is made to. */
static bool is_waking(struct supervisor *s)
{
    if (s->state == LIFE_IDLE)
        hear(s, HEARD_DEMAND, NULL);
    return s->state == LIFE_STARTING && s->record.state == BERTH_RUNNING;
}

void exec_request(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body, int *fds,
                  size_t n_fds)
{
    struct berth_error err;
    crash_point("exec.asked");
    bool waking = is_waking(s);
    if (!waking && (s->program.pid <= 0 || (s->state != LIFE_RUNNING && s->state != LIFE_STOPPING))) {
        fail(&err, BERTH_WRONG_STATE, s->name, "it %s",
             s->state == LIFE_PAUSED ? "is paused" : "is not running");
        return reply_error(s, c, tag, &err);
    }
    struct exec *e = exec_new(s, &err);
    if (!e)
        return reply_error(s, c, tag, &err);
    e->connection = c;
    e->tag = tag;
    if (waking)
        exec_wait(e, body, fds, n_fds);
    else
        exec_go(s, e, body, fds, n_fds);
}

static int probe_pipes(struct supervisor *s, struct exec *e, int fds[3])
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0)
        return -errno;
    close(in[1]);
    fds[0] = in[0];
    if (pipe2(out, O_CLOEXEC) < 0)
        return -errno;
    fds[1] = out[1];
    fds[2] = fcntl(out[1], F_DUPFD_CLOEXEC, 3);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    int r = source_watch(&s->loop, &e->words, out[0], EPOLLIN, words_speak);
    return fds[2] < 0 ? -EMFILE : r;
}

int exec_probe(struct supervisor *s, struct probe *probe, struct berth_error *err)
{
    __attribute__((cleanup(close_all))) int fds[3] = {-1, -1, -1};
    struct exec *e = exec_new(s, err);
    if (!e)
        return err->code;
    int r = probe_pipes(s, e, fds);
    if (r < 0)
        r = fail_os(err, r, s->name, "make pipes for a check");
    struct launch_exec how = {.argv = probe->plan->argv, .stdio = fds};
    if (r == 0)
        r = exec_start(s, e, &how, err);
    if (r < 0) {
        exec_free(s, e);
        return r;
    }
    e->probe = probe;
    e->is_probe = true;
    probe->exec = e;
    timer_set(&s->loop, &e->timeout,
              probe->plan->timeout_usec > 0 ? probe->plan->timeout_usec : 30000000, timeout_rings);
    return 0;
}

/* ---- asking about them -------------------------------------------------------------------------
 */

void exec_list(struct supervisor *s, struct connection *c, uint64_t tag)
{
    json_t *list = json_array();
    for (struct exec *e = s->execs; e; e = e->next) {
        if (e->running)
            json_array_append_new(list, json_pack("{s:I,s:i,s:s,s:I,s:b,s:b,s:b}", "exec_id",
                                                  (json_int_t)e->id, "pid", (int)e->child.pid,
                                                  "command", command_text(e), "started_usec",
                                                  (json_int_t)e->started_usec, "tty",
                                                  e->stdio.terminal.fd >= 0, "detached",
                                                  (int)e->detached, "probe", e->probe != NULL));
    }
    reply(s, c, tag, MESSAGE_DONE, json_pack("{s:o}", "execs", list));
}

static struct exec *exec_find(struct supervisor *s, uint64_t id, struct berth_error *err)
{
    for (struct exec *e = s->execs; e; e = e->next)
        if (e->id == id && e->end.fd >= 0)
            return e;
    fail(err, BERTH_NOT_FOUND, s->name, "no exec %llu runs in %s", (unsigned long long)id, s->name);
    return NULL;
}

int exec_signal(struct supervisor *s, uint64_t id, int signal, struct berth_error *err)
{
    struct exec *e = exec_find(s, id, err);
    if (!e)
        return err->code;
    if (signal == SIGKILL)
        exec_kill(e);
    else
        exec_send(e, signal);
    return 0;
}

int exec_resize(struct supervisor *s, uint64_t id, uint16_t rows, uint16_t columns,
                struct berth_error *err)
{
    struct exec *e = exec_find(s, id, err);
    if (!e)
        return err->code;
    if (stdio_resize(&e->stdio, rows, columns) < 0)
        return fail(err, BERTH_WRONG_STATE, s->name, "exec %llu has no terminal",
                    (unsigned long long)id);
    return 0;
}
