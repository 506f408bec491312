/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec: make it, start it on a hijacked connection, read to its end, ask for its code.
 *
 * What the API does wrong: a program that can't be started is told in the stream, as bare text between frames, and
 * by code 126 or 127; there is no verb that ends an exec, so its process is signalled from here, when the
 * daemon is on this machine and the process is certainly of that container, and otherwise by a second exec that looks for
 * a mark (mark.h); the end of the connection is not the end of the program, so the code is asked for until the daemon
 * says that it has ended.
 */
#include "docker/exec.h"
#include "linux/descent.h"
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>

#define OUTPUT_MAX (UINT64_C(1) << 30)
#define LOOK_MSEC 20
#define STARTING_LOOKS 50     /* one second */
#define LOOKS_MAX 250         /* the connection is over and the daemon still says that it runs: five seconds */

static struct session *mine(struct op *op)
{
    return op->own;
}

/* ---- its process */

static int look_exec(const struct daemon *daemon, const char *exec_id, json_t **ret, struct berth_error *err)
{
    autorequest r = {.method = "GET", .path = format_text("/exec/%s/json", exec_id)};
    int code = daemon_ask((struct daemon *)daemon, &r, err);
    return code < 0 ? code : answer_json(&r, "exec", exec_id, ret, err);
}

/* Its output may be here before the daemon knows its number. 0 when it has ended, or can't be seen. */
static int exec_pid(const struct daemon *daemon, const char *exec_id)
{
    for (int looks = 0; starts_with(daemon->host, "unix://") && looks < STARTING_LOOKS; looks++) {
        autoanswer json = NULL;
        if (looks)
            (void)poll(NULL, 0, LOOK_MSEC);
        if (look_exec(daemon, exec_id, &json, NULL) < 0)
            return 0;
        bool runs = true_at(json, "Running");
        if (runs && number_at(json, "Pid") > 0)
            return (int)number_at(json, "Pid");
        if (!runs && json_is_integer(json_object_get(json, "ExitCode")) && looks > 1)
            return 0;
    }
    return 0;
}

static int exec_signal(const struct daemon *daemon, const char *container, const char *exec_id, int signal, struct berth_error *err)
{
    int pid = exec_pid(daemon, exec_id);
    int r = pid ? process_signal(pid, container, signal) : -ESRCH;
    if (r == -ESRCH)
        return fail(err, BERTH_UNSUPPORTED, "signal",
                    "signal an exec: the API does not do that, and its process is not to be seen from here");
    return r < 0 ? fail_os(err, r, NULL, "signal an exec") : 0;
}

/* ---- the end */

static uint64_t number_of(const char *id)
{
    char digits[17];
    snprintf(digits, sizeof(digits), "%.16s", id);
    return strtoull(digits, NULL, 16) & INT64_MAX; /* JSON's numbers are signed */
}

static bool is_failure(const char *text)
{
    return starts_with(text, "OCI runtime") || starts_with(text, "crun: ") || starts_with(text, "unable to find ") || starts_with(text, "Error: ");
}

/** "OCI runtime exec failed: ...: "nope": executable file not found in $PATH" as output, beside 126 or 127. */
static int could_not(struct op *op, int code, struct berth_error *err)
{
    struct session *s = mine(op);
    struct text *t = &s->words;
    static const struct { const char *words; int code; } known[] = {
        {"unable to find ", BERTH_NOT_FOUND},            {"no matching entries", BERTH_NOT_FOUND},
        {"chdir", BERTH_NOT_FOUND},               {"executable file not found", BERTH_NO_PROGRAM},
        {"not found in $PATH", BERTH_NO_PROGRAM},        {"unable to find user", BERTH_NOT_FOUND},
        {"no such file or directory", BERTH_NO_PROGRAM}, {"permission denied", BERTH_NOT_EXECUTABLE},
        {"is a directory", BERTH_NOT_EXECUTABLE},        {"exec format error", BERTH_NOT_EXECUTABLE},
    };
    if (!t->length || (code != 126 && code != 127) || !is_failure(t->data))
        return 0;
    t->data[strcspn(t->data, "\r\n")] = '\0';
    const char *program = strstr(t->data, s->program) ? "" : s->program; /* crun does not always say it */
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcasestr(t->data, known[i].words))
            return fail(err, known[i].code, op->box.handle.name, "exec %s: %.500s%s%.200s", op->box.handle.name, t->data,
                        *program ? ": " : "", program);
    return fail(err, code == 126 ? BERTH_NOT_EXECUTABLE : BERTH_NO_PROGRAM, op->box.handle.name, "exec %s: %.600s",
                op->box.handle.name, t->data);
}

static int give_result(struct op *op, int code, struct berth_result *ret, struct berth_error *err)
{
    struct session *s = mine(op);
    struct berth_exec_result *r = calloc(1, sizeof(*r));
    if (!r)
        return fail_memory(err);
    r->exit_code = code;
    r->signal = code > 128 && code <= 192 ? code - 128 : 0;
    r->exec_id = number_of(s->id);
    if (s->stream)
        text_free(&s->out);
    r->out_size = s->out.length;
    r->err_size = s->err.length;
    r->out = text_take(&s->out);
    r->err = text_take(&s->err);
    if (!r->out || !r->err) {
        berth_exec_result_free(r);
        return fail_memory(err);
    }
    ret->exec = r;
    return OP_DONE;
}

static void ask_code(struct op *op)
{
    op_send(op, &op->ask, "GET", format_text("/exec/%s/json", mine(op)->id), NULL, ANSWER_MSEC);
}

/** It ends by our wish: berth-helper hears that nobody is interested any more, and has its process ended. */
static int doomed(struct op *op, int code, struct berth_error *err)
{
    struct session *s = mine(op);
    close_fd(&s->words_fd);
    return fail(err, code, op->box.handle.name, code == BERTH_TIMED_OUT ? "exec %s: its time limit passed" : "exec %s: cancelled",
                op->box.handle.name);
}

static int on_code(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    struct session *s = mine(op);
    autoanswer json = NULL;
    if (op->cancelled)
        return doomed(op, BERTH_CANCELLED, err);
    if (!op->ask.path) {
        ask_code(op);
        return OP_ON;
    }
    if (!op->ask.done)
        return OP_WAIT;
    int r = answer_json(&op->ask, "exec", op->box.handle.name, &json, err);
    if (r < 0)
        return fail(err, BERTH_LOST, op->box.handle.name, "exec %s: the connection broke, and %s does not tell its code any more",
                    op->box.handle.name, op->box.daemon->host);
    if (true_at(json, "Running") && s->looks++ < LOOKS_MAX) {
        request_clear(&op->ask);
        op_timer(op, s->looks < 5 ? 1 << s->looks : LOOK_MSEC);
        return OP_WAIT;
    }
    if (true_at(json, "Running") || !json_is_integer(at(json, "ExitCode")))
        return fail(err, BERTH_LOST, op->box.handle.name, "exec %s: its connection ended before its program", op->box.handle.name);
    int code = (int)number_at(json, "ExitCode");
    session_words(s);
    r = could_not(op, code, err);
    return r < 0 ? r : give_result(op, code, ret, err);
}

static int end_of_line(struct op *op)
{
    close_fd(&mine(op)->pump_fd); /* at its end: it would wake the caller for ever */
    request_clear(&op->ask);
    mine(op)->looks = 0;
    op_timer(op, -1);
    op->next = on_code;
    return OP_ON;
}

/* ---- while it runs */

static int resize(struct op *op, uint16_t rows, uint16_t columns, struct berth_error *err)
{
    const struct session *s = mine(op);
    if (!s->tty || !*s->id)
        return fail(err, BERTH_WRONG_STATE, op->box.handle.name, "resize: %s has no terminal", op->box.handle.name);
    autorequest r = {.method = "POST", .path = format_text("/exec/%s/resize?h=%u&w=%u", s->id, rows, columns)};
    int code = daemon_ask(op->box.daemon, &r, err);
    return code < 0 ? code : answer_judge(&r, "resize", op->box.handle.name, err);
}

/** Before 1.42 the API has no size for a start, and refuses one until the program runs: asked until it is taken. */
static void give_size(struct op *op)
{
    struct session *s = mine(op);
    if (!s->tty || !s->rows || s->looks >= LOOKS_MAX)
        return;
    s->looks++;
    if (resize(op, s->rows, s->columns, NULL) < 0) {
        op_timer(op, LOOK_MSEC);
        return;
    }
    s->rows = 0;
    s->looks = 0;
    op_timer(op, s->deadline_usec ? MAX(s->deadline_usec - monotonic_usec(), 0) / 1000 : -1);
}


static int on_running(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    struct session *s = mine(op);
    (void)ret;
    if (op->cancelled)
        return doomed(op, BERTH_CANCELLED, err);
    if (s->deadline_usec && monotonic_usec() >= s->deadline_usec)
        return doomed(op, BERTH_TIMED_OUT, err);
    if (s->stream && session_ended(op))
        return end_of_line(op);
    give_size(op);
    if (s->stream)
        return OP_WAIT;
    int r = session_collect(op, err);
    if (r < 0)
        close_fd(&s->words_fd);
    return r <= 0 ? r : end_of_line(op);
}

static int on_open(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    struct session *s = mine(op);
    (void)ret;
    if (op->cancelled)
        return doomed(op, BERTH_CANCELLED, err);
    int r = hijack_step(&s->line, op->box.daemon, "exec", op->box.handle.name, err);
    op_watch(op, s->line.fd, EPOLLIN | (hijack_wants_out(&s->line) ? EPOLLOUT : 0u));
    if (r <= 0)
        return r;
    r = session_streams(op, err);
    op->next = on_running;
    return r < 0 ? r : OP_ON;
}

static int on_detached(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    if (!op->ask.done)
        return OP_WAIT;
    int r = answer_judge(&op->ask, "exec", op->box.handle.name, err);
    if (r < 0) { /* here the words come as a refusal */
        autofree char *words = answer_words(&op->ask);
        text_printf(&mine(op)->words, "Error: %s", words ? words : "");
        int known = words ? could_not(op, 126, err) : 0;
        return known < 0 ? known : r;
    }
    return give_result(op, 0, ret, err);
}

static int on_made(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    struct session *s = mine(op);
    autoanswer json = NULL;
    (void)ret;
    if (!op->ask.done)
        return OP_WAIT;
    int r = answer_json(&op->ask, "exec", op->box.handle.name, &json, err);
    if (r < 0)
        return r;
    const char *id = text_at(json, "Id");
    if (!*id || strlen(id) >= sizeof(s->id) || id[strspn(id, "0123456789abcdef")])
        return fail(err, BERTH_CORRUPT, op->box.handle.name, "exec %s: %s answers without an id", op->box.handle.name,
                    op->box.daemon->host);
    snprintf(s->id, sizeof(s->id), "%s", id);
    if (op->cancelled)
        return doomed(op, BERTH_CANCELLED, err);
    autofree char *path = format_text("/exec/%s/start", s->id);
    if (s->detach) {
        op_send(op, &op->ask, "POST", TAKE(path), strdup("{\"Detach\":true}"), SLOW_MSEC);
        op->next = on_detached;
        return OP_ON;
    }
    request_clear(&op->ask);
    r = path ? hijack_begin(&s->line, op->box.daemon, path, s->tty ? "{\"Detach\":false,\"Tty\":true}" : "{\"Detach\":false,\"Tty\":false}", err)
             : fail_memory(err);
    if (r < 0)
        return r;
    op->next = on_open;
    return OP_ON;
}

/* ---- the way in */

static char *document(const char *const *argv, const struct berth_exec_options *o, bool input, const char *mark)
{
    autoanswer cmd = json_array();
    autoanswer env = json_array();
    for (size_t i = 0; argv[i]; i++)
        json_array_append_new(cmd, json_string(argv[i]));
    for (size_t i = 0; o->env && o->env[i]; i++)
        json_array_append_new(env, json_string(o->env[i]));
    if (*mark)
        json_array_append_new(env, json_sprintf(MARK_VARIABLE "=%s", mark));
    autoanswer all = json_pack("{s:O, s:O, s:b, s:b, s:b, s:b, s:b}", "Cmd", cmd, "Env", env, "Tty", o->tty, "Privileged", o->privileged,
                               "AttachStdin", input, "AttachStdout", !o->detach, "AttachStderr", !o->detach);
    if (all && o->user)
        json_object_set_new(all, "User", json_string(o->user));
    if (all && o->workdir)
        json_object_set_new(all, "WorkingDir", json_string(o->workdir));
    return all ? json_dumps(all, JSON_COMPACT) : NULL;
}

static int session_new(struct op *op, const char *const *argv, const struct berth_exec_options *o, struct berth_error *err)
{
    struct session *s = op->own = calloc(1, sizeof(*s));
    if (!s)
        return fail_memory(err);
    session_init(s);
    s->tty = o->tty;
    s->stream = o->stream;
    s->detach = o->detach;
    s->input = !o->detach && (o->stream || o->stdin_size);
    s->rows = o->rows;
    s->columns = o->columns;
    s->output_max = o->output_max_bytes ? o->output_max_bytes : OUTPUT_MAX;
    s->deadline_usec = o->timeout_msec ? monotonic_usec() + o->timeout_msec * 1000 : 0;
    snprintf(s->program, sizeof(s->program), "%s", argv[0]);
    int r = starts_with(op->box.daemon->host, "unix://") || o->detach ? 0 : mark_make(s->mark, err);
    if (r < 0)
        return r;
    s->user = o->user ? strdup(o->user) : NULL;
    s->body = document(argv, o, s->input, s->mark);
    s->stdin_size = o->stdin_size;
    s->stdin_data = o->stdin_size ? malloc(o->stdin_size) : NULL;
    if (!s->body || (o->user && !s->user) || (o->stdin_size && !s->stdin_data))
        return fail_memory(err);
    if (o->stdin_size)
        memcpy(s->stdin_data, o->stdin_data, o->stdin_size);
    if (o->timeout_msec)
        op_timer(op, o->timeout_msec);
    return s->detach ? 0 : session_ends(s, err);
}

static void cancel(struct op *op)
{
    op_timer(op, 0);
}

static int signal_exec(struct op *op, int signal, struct berth_error *err)
{
    const struct session *s = mine(op);
    if (!*s->id)
        return fail(err, BERTH_WRONG_STATE, op->box.handle.name, "exec %s: it does not run yet", op->box.handle.name);
    if (*s->mark)
        return mark_signal(op->box.daemon, op->box.container, s->mark, s->user, signal, err);
    return exec_signal(op->box.daemon, op->box.container, s->id, signal, err);
}

/** Its streams are alive: whoever reads them need not ask the call. */
static bool is_carried(const struct op *op)
{
    const struct session *s = op->own;
    return (op->next == on_running && !(s->tty && s->rows)) || op->next == on_code;
}

int docker_exec(void *self, const struct berth_handle *h, const char *const *argv, const struct berth_exec_options *o,
                struct berth_call **ret_call, struct berth_error *err)
{
    struct op *op;
    if (o->groups && o->groups[0])
        return fail(err, BERTH_UNSUPPORTED, "groups", "groups: the API has none for an exec");
    int r = op_new(self, "exec", h, &op, err);
    if (r < 0)
        return r;
    op->on_free = session_free;
    op->on_cancel = cancel;
    op->stream_fd = session_stream_fd;
    op->close_stdin = session_close_stdin;
    op->resize = resize;
    op->signal = signal_exec;
    op->next = on_made;
    r = session_new(op, argv, o, err);
    if (r < 0) {
        op_free(op);
        return r;
    }
    op_send(op, &op->ask, "POST", op_path(op, "/exec"), TAKE(mine(op)->body), ANSWER_MSEC);
    return o->detach ? op_call(op, ret_call, err) : op_settle(op, is_carried, ret_call, err);
}

/* ---- listed, and killed by number */

/** Those of a workload that run, as the daemon tells of each. */
static int running_execs(struct docker *d, const struct berth_handle *h, struct box *b, json_t **ret, struct berth_error *err)
{
    autoanswer seen = NULL;
    json_t *list, *id;
    size_t i;
    int r = box_open(d, h, b, err);
    if (r == 0)
        r = box_inspect(b, "exec", &seen, err);
    if (r < 0)
        return r;
    if (!(list = json_array()))
        return fail_memory(err);
    json_array_foreach(at(seen, "ExecIDs"), i, id) {
        autoanswer one = NULL;
        if (look_exec(b->daemon, json_string_value(id) ? json_string_value(id) : "", &one, NULL) == 0 && true_at(one, "Running"))
            json_array_append(list, one);
    }
    *ret = list;
    return 0;
}

int docker_exec_list(void *self, const struct berth_handle *h, char **ret_json, struct berth_error *err)
{
    autobox b = {0};
    autoanswer all = NULL;
    json_t *one;
    size_t i;
    int r = running_execs(self, h, &b, &all, err);
    if (r < 0)
        return r;
    autoanswer list = json_array();
    json_array_foreach(all, i, one) {
        autoanswer argv = json_array();
        json_t *arguments = at(one, "ProcessConfig.arguments");
        json_array_append_new(argv, json_string(text_at(one, "ProcessConfig.entrypoint")));
        json_array_extend(argv, arguments);
        json_array_append_new(list, json_pack("{s:I, s:I, s:O, s:s}", "id", (json_int_t)number_of(text_at(one, "ID")), "pid",
                                              (json_int_t)number_at(one, "Pid"), "argv", argv, "exec", text_at(one, "ID")));
    }
    *ret_json = list ? json_dumps(list, JSON_COMPACT) : NULL;
    return *ret_json ? 0 : fail_memory(err);
}

int docker_exec_kill(void *self, const struct berth_handle *h, uint64_t exec_id, int signal, struct berth_error *err)
{
    autobox b = {0};
    autoanswer all = NULL;
    json_t *one;
    size_t i;
    int r = running_execs(self, h, &b, &all, err);
    if (r < 0)
        return r;
    json_array_foreach(all, i, one)
        if (number_of(text_at(one, "ID")) == exec_id)
            return exec_signal(b.daemon, b.container, text_at(one, "ID"), signal, err);
    return fail(err, BERTH_NOT_FOUND, h->name, "exec_kill: %s has no exec %llu", b.handle.name, (unsigned long long)exec_id);
}
