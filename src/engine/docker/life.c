/* SPDX-License-Identifier: Apache-2.0 */
/*
 * start, stop, restart, remove, wait.
 *
 * The API's timeouts are whole seconds. So a stop asks the daemon for the next second above, which holds even
 * when we die, and kills at the millisecond from here. It notes before which run is to end: the API
 * remembers of an end only its code.
 */
#include "docker/inside.h"
#include "base/spawn.h"
#include "base/file.h"
#include <fcntl.h>
#include <stdio.h>

#define GRACE_MSEC 120000    /* above a stop's own timeout */
#define TIMEOUT_SPEC_MSEC 10000
#define LOOK_AGAIN_MSEC 1000 /* a wait, at daemons that do not tell when they have begun to wait */
#define HEARD_MSEC 100

/* ---- what was seen first */

static int seen(struct op *op, json_t **ret, struct berth_error *err)
{
    int r = answer_json(&op->ask, op->verb, op->box.handle.name, ret, err);
    if (r == 0)
        view_of(&op->box, *ret, &op->view);
    return r;
}

static void look(struct op *op, struct request *r)
{
    op_send(op, r, "GET", op_path(op, "/json"), NULL, ANSWER_MSEC);
}

static int64_t spec_timeout(const struct op *op)
{
    struct spec *spec = NULL;
    int64_t msec = TIMEOUT_SPEC_MSEC;
    if (box_spec(&op->box, &spec, NULL) == 0 && spec->has_stop_timeout)
        msec = spec->stop_timeout_usec / 1000;
    spec_free(spec);
    return msec;
}

/** A lock of this boot beside the workload: its descriptor, or -EAGAIN while another has it. */
static int take_lock(const struct op *op, const char *name)
{
    int run_fd = workload_run_fd(op->box.folder, NULL);
    autoclose int fd = run_fd < 0 ? -1 : openat(run_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && lock_take(fd) == -EAGAIN)
        return -EAGAIN;
    return take_fd(&fd);
}

/* ---- start */

static void note_failure(const struct op *op, const struct berth_error *failure)
{
    autofree char *text = format_text("%d %lld %.600s", failure->code, (long long)now_usec(), failure->message);
    if (text)
        box_set_link(&op->box, FAILURE_LINK, text);
}

/** Refusals of a start that mean the program, whatever status they come with. */
static int start_code(int code, const char *words)
{
    static const struct { const char *words; int code; } known[] = {
        {"executable file not found", BERTH_NO_PROGRAM},
        {"not found in $PATH", BERTH_NO_PROGRAM},
        {"no such file or directory: unknown", BERTH_NO_PROGRAM},
        {"permission denied", BERTH_NOT_EXECUTABLE},
        {"is a directory", BERTH_NOT_EXECUTABLE},
        {"open executable", BERTH_NOT_EXECUTABLE},
        {"exec format error", BERTH_NOT_EXECUTABLE},
        {"not a directory", BERTH_NOT_FOUND},
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcasestr(words, known[i].words) && strcasestr(words, "exec")) /* of the program, not of a limit or a mount */
            return known[i].code;
    return code;
}

/** Killed again; its short run is not told. */
static void forget_run(const struct op *op)
{
    autoanswer seen_now = NULL;
    if (box_inspect(&op->box, "start", &seen_now, NULL) == 0)
        note_asked(&op->box, "undo", text_at(seen_now, "State.StartedAt"));
}

static int on_undone(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    (void)ret;
    if (!op->other.done)
        return OP_WAIT;
    forget_run(op);
    return fail(err, BERTH_CANCELLED, op->box.handle.name, "start %s: cancelled", op->box.handle.name);
}

static int undo_start(struct op *op)
{
    op_send(op, &op->other, "POST", op_path(op, "/kill?signal=KILL"), NULL, SLOW_MSEC);
    op->next = on_undone;
    return OP_ON;
}

/** crun does not say what it could not execute. */
static void name_program(const struct op *op, struct berth_error *failure)
{
    struct spec *s = NULL;
    if (box_spec(&op->box, &s, NULL) == 0) {
        char *const *argv = s->entrypoint && s->entrypoint[0] ? s->entrypoint : s->command;
        if (argv && argv[0] && !strstr(failure->message, argv[0])) {
            autofree char *message = strdup(failure->message);
            fail(failure, failure->code, op->box.handle.name, "%.600s: %.200s", message ? message : "", argv[0]);
        }
    }
    spec_free(s);
}

static json_t *holder_of(json_t *list, unsigned port)
{
    json_t *one, *published;
    size_t i, k;
    json_array_foreach(list, i, one)
        json_array_foreach(at(one, "Ports"), k, published)
            if (number_at(published, "PublicPort") == (int64_t)port)
                return one;
    return NULL;
}

/** Which workload has the port that the daemon did not get. */
static void name_holder(const struct op *op, struct berth_error *failure)
{
    unsigned port = 0;
    static const char *const forms[] = {"Bind for ", "listen tcp4 ", "listen udp4 "};
    for (size_t i = 0; i < ARRAY_SIZE(forms) && !port; i++) {
        const char *said = strstr(failure->message, forms[i]);
        if (said && sscanf(said + strlen(forms[i]), "%*[^:]:%u", &port) != 1)
            port = 0;
    }
    autorequest r = {.method = "GET", .path = strdup("/containers/json")};
    autoanswer list = NULL;
    if (daemon_ask(op->box.daemon, &r, NULL) < 0 || answer_json(&r, "start", op->box.handle.name, &list, NULL) < 0)
        return;
    json_t *holder = holder_of(list, port);
    const char *name = json_string_value(json_object_get(at(holder, "Labels"), LABEL_NAME));
    const char *other = json_string_value(json_array_get(at(holder, "Names"), 0));
    if (name || other)
        fail(failure, failure->code, op->box.handle.name, "start %s: port %u of the host is taken by %.128s", op->box.handle.name, port,
             name ? name : other);
}

/** A process that waits for its end and removes it. A failure to start it is no failure of the start. */
static void send_reaper(const struct op *op)
{
    struct spec *spec = NULL;
    char id[BERTH_ID_TEXT];
    int pid_fd;
    pid_t pid;
    bool wanted = box_spec(&op->box, &spec, NULL) == 0 && spec->remove;
    spec_free(spec);
    autofree char *program = wanted ? format_text("%s/berth-docker", op->docker->programs) : NULL;
    if (!program)
        return;
    berth_id_print(op->box.handle.id, id);
    const struct daemon *d = op->box.daemon;
    const char *const argv[] = {"berth-docker", "reap", d->host, d->certs ? d->certs : "", op->box.container, store_root(op->box.store),
                                store_run(op->box.store), id, NULL};
    const int fds[] = {-1, -1, -1};
    if (spawn(&(struct spawn){.path = program, .argv = argv, .fds = fds, .n_fds = ARRAY_SIZE(fds), .session = true}, &pid, &pid_fd) == 0)
        close(pid_fd);
}

static int on_started(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    struct berth_error failure = {0};
    (void)ret;
    if (!op->ask.done)
        return OP_WAIT;
    close_fd(&op->held_fd);
    int r = answer_judge(&op->ask, "start", op->box.handle.name, &failure);
    if (r == 0 && op->ask.status == 304)
        return fail(err, BERTH_WRONG_STATE, op->box.handle.name, "start %s: it runs already", op->box.handle.name);
    if (r < 0 && op->ask.code == 0 && op->ask.status != 404 && op->ask.status != 409)
        failure.code = start_code(r, failure.message);
    if (r < 0) {
        if (failure.code == BERTH_NO_PROGRAM || failure.code == BERTH_NOT_EXECUTABLE)
            name_program(op, &failure);
        if (failure.code == BERTH_EXISTS)
            name_holder(op, &failure);
        if (op->ask.code == 0 && op->ask.status != 404 && op->ask.status != 409)
            note_failure(op, &failure);
        if (err)
            *err = failure;
        return failure.code;
    }
    box_set_link(&op->box, FAILURE_LINK, NULL);
    glance_forget(&op->box);
    if (op->cancelled)
        return undo_start(op);
    box_event(&op->box, "start", NULL);
    send_reaper(op);
    return OP_DONE;
}

static void cancel_start(struct op *op)
{
    op_timer(op, 0);
}

/** Freed before its end: it is carried to it, and undone. */
static void start_free(struct op *op)
{
    if (!op->cancelled || !op->ask.channel)
        return;
    if (request_wait_for(&op->ask, LEAVE_MSEC) && op->ask.code == 0 && op->ask.status == 204) {
        box_ask(&op->box, "POST", "/kill?signal=KILL", "start", NULL, NULL);
        forget_run(op);
    }
}

int docker_start(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err)
{
    struct op *op;
    int r = op_new(self, "start", h, &op, err);
    if (r < 0)
        return r;
    op->held_fd = take_lock(op, "start"); /* of two at once the API calls both the one that did it */
    if (op->held_fd == -EAGAIN) {
        struct berth_error failure;
        op_free(op);
        r = fail(&failure, BERTH_WRONG_STATE, h->name, "start %s: another start is under way", h->name);
        return berth_call_done(r, NULL, &failure, ret_call, err);
    }
    op->on_cancel = cancel_start;
    op->on_free = start_free;
    op->next = on_started;
    op_send(op, &op->ask, "POST", op_path(op, "/start"), NULL, SLOW_MSEC);
    return op_call(op, ret_call, err);
}

/* ---- stop and restart */

static int on_stopped(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    uint64_t now = (uint64_t)monotonic_usec();
    (void)ret;
    if (op->ask.done) {
        int r = answer_judge(&op->ask, op->verb, op->box.handle.name, err);
        glance_forget(&op->box);
        bool over = r == BERTH_WRONG_STATE && !strcmp(op->verb, "stop"); /* it ended by itself in between */
        if (r == 0 || over)
            box_event(&op->box, op->verb, NULL);
        return r < 0 && !over ? r : OP_DONE;
    }
    if (op->number >= 0 && (int64_t)now >= op->number && !op->other.path)
        op_send(op, &op->other, "POST", op_path(op, "/kill?signal=KILL"), NULL, SLOW_MSEC);
    return OP_WAIT;
}

/** Whole seconds above, and one more: we are first. */
static long long seconds_above(int64_t msec)
{
    return (msec + 999) / 1000 + (msec > 0);
}

static int ask_stop(struct op *op, int64_t msec)
{
    bool kills = msec == 0 && op->view.state != BERTH_RESTARTING && !strcmp(op->verb, "stop");
    char *path = kills ? op_path(op, "/kill?signal=KILL") : op_path(op, "/%s?t=%lld", op->verb, seconds_above(msec));
    op_send(op, &op->ask, "POST", path, NULL, msec + GRACE_MSEC);
    op->decisive = true;
    op->number = monotonic_usec() + msec * 1000;
    if (msec > 0)
        op_timer(op, msec);
    else
        op->number = -1; /* the daemon kills by itself */
    op->next = on_stopped;
    return OP_ON;
}

/** Thawed first: what is frozen hears no signal. */
static int on_thawed(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    (void)ret;
    (void)err;
    return op->other.done ? ask_stop(op, op->number) : OP_WAIT;
}

static int on_stop_seen(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    autoanswer json = NULL;
    (void)ret;
    if (!op->ask.done)
        return OP_WAIT;
    int r = seen(op, &json, err);
    if (r < 0)
        return r;
    bool restart = !strcmp(op->verb, "restart");
    if (restart && op->held_fd < 0) /* who follows the log waits at the end between the two runs, as long as this is held */
        op->held_fd = take_lock(op, "restart");
    if (!op->view.lives && !restart)
        return OP_DONE;
    if (op->view.lives && !restart)
        note_asked(&op->box, "stop", op->view.started);
    if (op->view.state != BERTH_PAUSED)
        return ask_stop(op, op->number);
    op_send(op, &op->other, "POST", op_path(op, "/unpause"), NULL, ANSWER_MSEC);
    op->next = on_thawed;
    return OP_ON;
}

/** It is asked for before the caller has the call: it may be cancelled or freed at once. */
static bool is_asked(const struct op *op)
{
    return op->decisive && request_sent(&op->ask);
}

static int ask_end(void *self, const char *verb, const struct berth_handle *h, int64_t timeout_msec,
                   struct berth_call **ret_call, struct berth_error *err)
{
    struct op *op;
    int r = op_new(self, verb, h, &op, err);
    if (r < 0)
        return r;
    op->number = timeout_msec == BERTH_TIMEOUT_SPEC ? spec_timeout(op) : timeout_msec;
    op->next = on_stop_seen;
    look(op, &op->ask);
    return op_settle(op, is_asked, ret_call, err);
}

int docker_stop(void *self, const struct berth_handle *h, int64_t timeout_msec, struct berth_call **ret_call,
                struct berth_error *err)
{
    return ask_end(self, "stop", h, timeout_msec, ret_call, err);
}

int docker_restart(void *self, const struct berth_handle *h, int64_t timeout_msec, struct berth_call **ret_call,
                   struct berth_error *err)
{
    return ask_end(self, "restart", h, timeout_msec, ret_call, err);
}

/* ---- remove */

enum { REMOVE_FORCE = 1, REMOVE_VOLUMES = 2 };

static int on_removed(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    (void)ret;
    if (!op->ask.done)
        return OP_WAIT;
    int r = answer_judge(&op->ask, "remove", op->box.handle.name, err);
    if (r == BERTH_WRONG_STATE && strcasestr(op->ask.answer.data, "already in progress")) {
        op_timer(op, 20); /* somebody else removes it: until it is gone */
        op_send(op, &op->ask, "DELETE", op_path(op, "?force=%d&v=%d", !!(op->number & REMOVE_FORCE),
                                                !!(op->number & REMOVE_VOLUMES)), NULL, SLOW_MSEC);
        return OP_WAIT;
    }
    if (r < 0 && r != BERTH_NOT_FOUND)
        return r;
    box_discard(&op->box);
    return OP_DONE;
}

int docker_remove(void *self, const struct berth_handle *h, const struct berth_remove_options *o,
                  struct berth_call **ret_call, struct berth_error *err)
{
    struct op *op;
    int r = op_new(self, "remove", h, &op, err);
    if (r == BERTH_NOT_FOUND)
        return berth_call_done(0, NULL, NULL, ret_call, err);
    if (r < 0)
        return r;
    op->number = (o->force ? REMOVE_FORCE : 0) | (o->volumes ? REMOVE_VOLUMES : 0);
    op->decisive = true;
    op->next = on_removed;
    op_send(op, &op->ask, "DELETE", op_path(op, "?force=%d&v=%d", o->force, o->volumes), NULL, SLOW_MSEC);
    return op_call(op, ret_call, err);
}

/* ---- wait */

static int wait_over(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    autoanswer json = NULL;
    int r = seen(op, &json, err);
    if (r == BERTH_NOT_FOUND && op->other.done && op->other.code == 0) { /* its spec let it go with its end */
        autoanswer end = NULL;
        if (answer_json(&op->other, "wait", op->box.handle.name, &end, NULL) == 0) {
            r = status_of_gone(&op->box, (int)number_at(end, "StatusCode"), &ret->status, err);
            box_discard(&op->box);
            return r < 0 ? r : OP_DONE;
        }
    }
    if (r < 0)
        return r;
    if (op->view.lives || op->view.state == BERTH_CREATED || (*op->not_this && !strcmp(op->not_this, op->view.started)))
        return OP_ON;
    r = status_make(&op->box, json, &ret->status, err);
    return r < 0 ? r : OP_DONE;
}

/**
 * The waiting request first; a look counts once the daemon has begun to wait, so that no end falls between the two. It
 * says so with the head of its answer; one that does not is looked at again and again.
 */
void begin_wait(struct op *op)
{
    op->looked_since = false;
    op_send(op, &op->other, "POST", op_path(op, "/wait?condition=next-exit"), NULL, -1);
    op_timer(op, HEARD_MSEC);
}

static int on_looked(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    op->looks++;
    bool gone = op->other.done;
    int r = wait_over(op, ret, err);
    if (r != OP_ON)
        return r;
    request_clear(&op->ask);
    if (gone)
        begin_wait(op);
    else if (op->looked_since)
        op_timer(op, -1);
    else if (op->other.heard)
        return OP_ON;
    else
        op_timer(op, LOOK_AGAIN_MSEC);
    return OP_WAIT;
}

int on_waited(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    if (op->cancelled)
        return fail(err, BERTH_CANCELLED, op->box.handle.name, "%s %s: cancelled", op->verb, op->box.handle.name);
    if (op->ask.path && op->ask.done)
        return on_looked(op, ret, err);
    bool begins = op->other.heard && !op->looked_since, due = op->timed_out && !op->other.heard;
    if (!op->ask.path && (op->other.done || begins || due)) {
        op->looked_since = op->other.heard;
        look(op, &op->ask);
    }
    return op->ask.path && op->ask.done ? OP_ON : OP_WAIT;
}

static void cancel_wait(struct op *op)
{
    op_timer(op, 0);
}

/** Its first look is made: a call that was handed out is still until there is something to say. */
static bool is_looked_at(const struct op *op)
{
    return op->looks > 0 && !op->ask.path;
}

int docker_wait(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err)
{
    struct op *op;
    int r = op_new(self, "wait", h, &op, err);
    if (r < 0)
        return r;
    op->on_cancel = cancel_wait;
    op->next = on_waited;
    begin_wait(op);
    return op_settle(op, is_looked_at, ret_call, err);
}
