/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The clockwork of the fake world: programs, their ends, restarts and deadlines.
 */
#include "fake/world.h"
#include "engine/report.h"
#include <signal.h>
#include <stdio.h>

#define DELAY_USEC 100000
#define CAP_USEC 60000000
#define RESET_USEC 10000000

int64_t fake_now(const struct fake *f)
{
    return monotonic_usec() + f->offset_usec;
}

bool fake_lives(const struct fake_workload *w)
{
    return w->state == BERTH_RUNNING || w->state == BERTH_PAUSED || w->state == BERTH_STOPPING;
}

bool fake_final(const struct fake_workload *w)
{
    return w->state == BERTH_STOPPED || w->state == BERTH_COMPLETED || w->state == BERTH_FAILED;
}

struct fake_workload *fake_find_id(struct fake *f, const uint8_t id[16])
{
    struct fake_workload *w = f->workloads;
    while (w && memcmp(w->handle.id, id, 16))
        w = w->next;
    return w;
}

struct fake_workload *fake_find_name(struct fake *f, const char *name)
{
    struct fake_workload *w = f->workloads;
    while (w && strcmp(w->handle.name, name))
        w = w->next;
    return w;
}

int fake_get(struct fake *f, const struct berth_handle *h, struct fake_workload **ret,
             struct berth_error *err)
{
    fake_settle(f);
    *ret = fake_find_id(f, h->id);
    return *ret ? 0 : fail(err, BERTH_NOT_FOUND, h->name, "no workload \"%s\"", h->name);
}

/* ---- logs and events */

int fake_log_add(struct fake_log *log, int64_t now, uint32_t stream, const void *data, size_t size)
{
    if (log->n == log->room) {
        size_t room = log->room ? log->room * 2 : 16;
        struct fake_record *more = realloc(log->items, room * sizeof(*more));
        if (!more)
            return -ENOMEM;
        log->items = more;
        log->room = room;
    }
    char *copy = malloc(size ? size : 1);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, data, size);
    log->items[log->n++] = (struct fake_record){now, stream, size, copy};
    return 0;
}

void fake_log_free(struct fake_log *log)
{
    for (size_t i = 0; i < log->n; i++)
        free(log->items[i].data);
    free(log->items);
    *log = (struct fake_log){0};
}

void fake_event(struct fake *f, const struct fake_workload *w, const char *type, int64_t now)
{
    char id[BERTH_ID_TEXT], when[40];
    autotext struct text line = {0};
    struct text *t = &line;
    berth_id_print(w->handle.id, id);
    time_print(now, when);
    text_printf(t, "{\"time\":\"%s\",\"type\":\"%s\",\"id\":\"%s\",\"name\":\"%s\"", when, type, id,
                w->handle.name);
    if (!strcmp(type, "die"))
        text_printf(t, ",\"state\":\"%s\",\"exit_code\":%d,\"signal\":%d,\"oom\":\"%s\"",
                    berth_state_name(w->state), w->exit_code, w->signal, oom_name(w->oom));
    text_add(t, "}\n");
    if (!t->failed)
        fake_log_add(&f->events, now, 0, t->data, t->length);
}

/* ---- programs */

static const char *const step_words[] = {"print", "eprint", "sleep", "exit",
                                         "ignore", "wait",  "oom",   "cat"};
enum { PRINT, EPRINT, SLEEP, EXIT, IGNORE, WAIT, OOM, CAT };

static int step_word(const char *step, const char **ret_rest)
{
    size_t length = strcspn(step, " ");
    for (size_t i = 0; i < ARRAY_SIZE(step_words); i++)
        if (strlen(step_words[i]) == length && !memcmp(step_words[i], step, length)) {
            *ret_rest = step[length] ? step + length + 1 : "";
            return (int)i;
        }
    return -1;
}

static bool step_valid(int word, const char *rest)
{
    int64_t usec;
    char *end;
    long code = strtol(rest, &end, 10);
    switch (word) {
    case SLEEP: return duration_parse(rest, false, &usec) == 0;
    case EXIT: return *rest && !*end && code >= 0 && code <= 255;
    case IGNORE: return signal_parse(rest) > 0;
    default: return word >= 0;
    }
}

int fake_steps_check(char *const *steps, struct berth_error *err)
{
    const char *rest = "";
    for (size_t i = 0; steps && steps[i]; i++) {
        int word = step_word(steps[i], &rest);
        if (!step_valid(word, rest))
            return fail(err, BERTH_NO_PROGRAM, steps[i], "exec \"%.200s\": no such step", steps[i]);
    }
    return 0;
}

void fake_program_begin(struct fake_program *p, char **steps, int64_t now)
{
    *p = (struct fake_program){.steps = steps, .wake_usec = now};
}

void fake_program_end(struct fake_program *p, int exit_code, int signal, int64_t now)
{
    p->ended = true;
    p->exit_code = exit_code;
    p->signal = signal;
    p->ended_usec = now;
    p->wake_usec = NEVER;
}

void fake_program_signal(struct fake_program *p, int signal, int64_t now)
{
    static const int harmless[] = {SIGCHLD, SIGCONT, SIGURG,  SIGWINCH,
                                   SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
    if (p->ended || (signal != SIGKILL && (p->ignored >> signal & 1)))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
        if (harmless[i] == signal)
            return;
    fake_program_end(p, 128 + signal, signal, now);
}

static void emit_line(struct fake_log *log, int64_t now, uint32_t stream, const char *line)
{
    autotext struct text t = {0};
    text_add(&t, line);
    text_add(&t, "\n");
    if (!t.failed)
        fake_log_add(log, now, stream, t.data, t.length);
}

/** Run steps until one takes time. `now` is the step's own time. */
static void program_play(struct fake_program *p, struct fake_log *log, int64_t now)
{
    while (!p->ended && p->wake_usec <= now) {
        const char *rest = "", *step = p->steps ? p->steps[p->pc] : "wait";
        int64_t usec = 0;
        if (!step) {
            fake_program_end(p, 0, 0, now);
            return;
        }
        int word = step_word(step, &rest);
        if (word != CAT && (word != WAIT || p->steps))
            p->pc++;
        switch (word) {
        case PRINT: emit_line(log, now, BERTH_STDOUT, rest); break;
        case EPRINT: emit_line(log, now, BERTH_STDERR, rest); break;
        case SLEEP:
            duration_parse(rest, false, &usec);
            p->wake_usec = now + usec;
            if (usec > 0)
                return;
            break;
        case EXIT: fake_program_end(p, atoi(rest), 0, now); return;
        case IGNORE: p->ignored |= UINT64_C(1) << signal_parse(rest); break;
        case OOM:
            fake_program_end(p, 128 + SIGKILL, SIGKILL, now);
            p->oom = BERTH_OOM_MAIN;
            return;
        case CAT: p->reads = true; /* fall through */
        default: p->wake_usec = NEVER; return;
        }
    }
}

/* ---- a workload's life */

static int64_t program_due(const struct fake_program *p)
{
    return p->ended ? p->ended_usec : p->wake_usec;
}

int64_t fake_next_due(const struct fake_workload *w)
{
    int64_t due = NEVER;
    if (w->state == BERTH_RESTARTING)
        return w->next_start_usec;
    if (!fake_lives(w))
        return NEVER;
    if (w->state == BERTH_PAUSED)
        return w->stop_deadline_usec;
    due = MIN(program_due(&w->program), w->stop_deadline_usec);
    for (struct fake_exec *e = w->execs; e; e = e->next)
        if (!e->program.ended)
            due = MIN(due, MIN(program_due(&e->program), e->deadline_usec));
    return due;
}

static void begin(struct fake *f, struct fake_workload *w, int64_t now)
{
    fake_program_begin(&w->program, w->steps, now);
    w->state = BERTH_RUNNING;
    w->started_usec = now;
    w->next_start_usec = 0;
    w->exit_code = -1;
    w->signal = w->oom = 0;
    w->stop_deadline_usec = NEVER;
    w->asked = w->restart_asked = false;
    w->reason[0] = 0;
    w->health_failures = 0;
    w->health = w->spec->health.command || w->spec->health.shell ? BERTH_HEALTH_STARTING
                                                                 : BERTH_HEALTH_NONE;
    fake_event(f, w, "start", now);
}

static bool restart_due(const struct fake_workload *w)
{
    const struct spec_restart *r = &w->spec->restart;
    const char *policy = r->policy ? r->policy : "never";
    if (w->asked || !strcmp(policy, "never") || !strcmp(policy, "no"))
        return false;
    if (strcmp(policy, "on-failure"))
        return true;
    return w->program.exit_code != 0 && (!r->has_max || r->max < 0 || (int)w->restarts < r->max);
}

static void plan_restart(struct fake_workload *w, int64_t now)
{
    const struct spec_restart *r = &w->spec->restart;
    int64_t first = r->delay_usec > 0 ? r->delay_usec : DELAY_USEC;
    bool fresh = now - w->started_usec >= (r->reset_usec > 0 ? r->reset_usec : RESET_USEC);
    w->delay_usec = fresh || !w->delay_usec ? first : w->delay_usec * 2;
    w->delay_usec = MIN(w->delay_usec, r->cap_usec > 0 ? r->cap_usec : CAP_USEC);
    w->next_start_usec = now + w->delay_usec;
    w->state = BERTH_RESTARTING;
}

static void describe_end(struct fake_workload *w)
{
    const struct fake_program *p = &w->program;
    if (p->oom)
        snprintf(w->reason, sizeof(w->reason), "out of memory in the main program");
    else if (w->asked)
        snprintf(w->reason, sizeof(w->reason), "stopped on request");
    else if (p->signal)
        snprintf(w->reason, sizeof(w->reason), "ended by %s", signal_name(p->signal));
    else if (p->exit_code)
        snprintf(w->reason, sizeof(w->reason), "exit code %d", p->exit_code);
    else
        w->reason[0] = 0;
}

static void finish(struct fake *f, struct fake_workload *w, int64_t now)
{
    const struct fake_program *p = &w->program;
    w->exit_code = p->exit_code;
    w->signal = p->signal;
    w->oom = p->oom;
    w->ended_usec = now;
    w->stop_deadline_usec = NEVER;
    for (struct fake_exec *e = w->execs; e; e = e->next)
        fake_program_signal(&e->program, SIGKILL, now);
    describe_end(w);
    w->state = w->asked ? BERTH_STOPPED : p->exit_code == 0 ? BERTH_COMPLETED : BERTH_FAILED;
    if (w->restart_asked) {
        fake_event(f, w, "die", now);
        begin(f, w, now);
        w->restarts = 0;
        return;
    }
    if (restart_due(w))
        plan_restart(w, now);
    fake_event(f, w, "die", now);
}

static void play_execs(struct fake_workload *w, int64_t now)
{
    for (struct fake_exec *e = w->execs; e; e = e->next) {
        if (e->program.ended)
            continue;
        program_play(&e->program, &e->log, now);
        if (!e->program.ended && e->deadline_usec <= now) {
            e->timed_out = true;
            fake_program_signal(&e->program, SIGKILL, now);
        }
    }
}

static void play_moment(struct fake *f, struct fake_workload *w, int64_t now)
{
    w->version++;
    if (w->state == BERTH_RESTARTING) {
        begin(f, w, now);
        w->restarts++;
        return;
    }
    if (w->stop_deadline_usec <= now)
        fake_program_signal(&w->program, SIGKILL, now);
    program_play(&w->program, &w->log, now);
    play_execs(w, now);
    if (w->program.ended)
        finish(f, w, now);
}

static void free_detached(struct fake_workload *w)
{
    for (struct fake_exec **link = &w->execs, *e; (e = *link);) {
        if (e->detached && e->program.ended) {
            *link = e->next;
            fake_exec_free(e);
        } else {
            link = &e->next;
        }
    }
}

static void play(struct fake *f, struct fake_workload *w, int64_t now)
{
    int64_t due;
    while ((due = fake_next_due(w)) <= now)
        play_moment(f, w, due);
    free_detached(w);
}

void fake_settle(struct fake *f)
{
    int64_t now = fake_now(f);
    struct fake_workload *next;
    for (struct fake_workload *w = f->workloads; w; w = next) {
        next = w->next;
        play(f, w, now);
        if (w->spec->remove && fake_final(w) && w->started_usec && !fake_is_awaited(f, w))
            fake_drop(f, w);
    }
    fake_feeds_push(f);
    fake_calls_wake(f);
}

void fake_changed(struct fake *f, struct fake_workload *w)
{
    w->version++;
    fake_settle(f);
}

int fake_play_start(struct fake *f, struct fake_workload *w, struct berth_error *err)
{
    if (fake_lives(w) || w->state == BERTH_RESTARTING)
        return fail(err, BERTH_WRONG_STATE, w->handle.name, "start %s: it is %s", w->handle.name,
                    berth_state_name(w->state));
    struct berth_error failure;
    int64_t now = fake_now(f);
    if (fake_steps_check(w->steps, &failure) < 0) {
        w->state = BERTH_FAILED;
        w->exit_code = 127;
        w->ended_usec = now;
        snprintf(w->reason, sizeof(w->reason), "%.500s", failure.message);
        fake_event(f, w, "die", now);
        fake_changed(f, w);
        if (err)
            *err = failure;
        fail_context(err, "start %s", w->handle.name);
        return failure.code;
    }
    w->restarts = 0;
    w->delay_usec = 0;
    begin(f, w, now);
    fake_changed(f, w);
    return 0;
}

static int stop_signal(const struct fake_workload *w)
{
    int signal = w->spec->stop_signal ? signal_parse(w->spec->stop_signal) : SIGTERM;
    return signal > 0 ? signal : SIGTERM;
}

static void resume(struct fake_workload *w, int64_t now)
{
    if (w->state != BERTH_PAUSED)
        return;
    if (w->program.wake_usec != NEVER)
        w->program.wake_usec += now - w->paused_usec;
    w->state = BERTH_RUNNING;
}

void fake_play_stop(struct fake *f, struct fake_workload *w, int64_t timeout_usec, bool restart)
{
    int64_t now = fake_now(f);
    w->asked = true;
    w->restart_asked = restart;
    if (w->state == BERTH_RESTARTING) {
        w->state = BERTH_STOPPED;
        w->next_start_usec = 0;
        snprintf(w->reason, sizeof(w->reason), "stopped on request");
        if (restart)
            begin(f, w, now);
    } else if (fake_lives(w)) {
        resume(w, now);
        w->state = BERTH_STOPPING;
        int64_t deadline = timeout_usec > NEVER - now ? NEVER : now + timeout_usec;
        w->stop_deadline_usec = MIN(w->stop_deadline_usec, deadline);
        fake_program_signal(&w->program, timeout_usec == 0 ? SIGKILL : stop_signal(w), now);
    }
    fake_changed(f, w);
}

void fake_play_signal(struct fake *f, struct fake_workload *w, int signal)
{
    if (signal == SIGKILL || signal == stop_signal(w))
        w->asked = true;
    if (signal == SIGKILL)
        resume(w, fake_now(f));
    fake_program_signal(&w->program, signal, fake_now(f));
    fake_changed(f, w);
}

void fake_exec_free(struct fake_exec *e)
{
    strings_free(e->steps);
    fake_log_free(&e->log);
    free(e);
}

void fake_drop(struct fake *f, struct fake_workload *w)
{
    struct fake_workload **link = &f->workloads;
    fake_feeds_part(f, w);
    fake_calls_part(f, w);
    while (*link != w)
        link = &(*link)->next;
    *link = w->next;
    fake_event(f, w, "remove", fake_now(f));
    while (w->execs) {
        struct fake_exec *e = w->execs;
        w->execs = e->next;
        fake_exec_free(e);
    }
    fake_log_free(&w->log);
    strings_free(w->steps);
    spec_free(w->spec);
    free(w);
}

/* ---- status */

static void add_ports(struct text *t, const struct fake_workload *w)
{
    text_add(t, ",\"ports\":[");
    for (size_t i = 0; i < w->spec->n_ports; i++) {
        const struct spec_port *p = &w->spec->ports[i];
        text_printf(t, "%s{\"container\":%u,\"host\":%u,\"protocol\":\"%s\",\"host_address\":\"%s\"}",
                    i ? "," : "", p->container, p->host, p->protocol[0] ? p->protocol : "tcp",
                    p->host_address ? p->host_address : "127.0.0.1");
    }
    text_add(t, "],\"labels\":{");
    for (size_t i = 0; i < w->spec->labels.n; i++) {
        text_add(t, i ? "," : "");
        report_string(t, w->spec->labels.items[i].name);
        text_add(t, ":");
        report_string(t, w->spec->labels.items[i].value);
    }
    text_add(t, "}");
}

int fake_status(const struct fake_workload *w, struct berth_status **ret,
                struct berth_error *err)
{
    struct berth_status *s = calloc(1, sizeof(*s));
    if (!s)
        return fail_memory(err);
    *s = (struct berth_status){
        .size = sizeof(*s), .handle = w->handle, .state = w->state, .exit_code = w->exit_code,
        .signal = w->signal, .oom = w->oom, .health = w->health, .restarts = w->restarts,
        .health_failures = w->health_failures, .created_usec = w->created_usec,
        .started_usec = w->started_usec, .next_start_usec = w->next_start_usec,
        .ended_usec = fake_lives(w) ? 0 : w->ended_usec,
        .memory_limit_bytes = w->spec->resources.has_memory ? w->spec->resources.memory : 0,
            };
    snprintf(s->reason, sizeof(s->reason), "%s", w->reason);
    snprintf(s->image, sizeof(s->image), "%s", w->spec->image ? w->spec->image : "");
    autotext struct text t = {0};
    text_add(&t, "{");
    report_status(&t, s);
    add_ports(&t, w);
    text_add(&t, "}");
    if (!(s->json = text_take(&t))) {
        berth_status_free(s);
        return fail_memory(err);
    }
    *ret = s;
    return 0;
}
