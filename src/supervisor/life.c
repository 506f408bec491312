/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens next: the whole life of a workload as one table.
 *
 * Rows are what was heard, columns are where it is, cells are what to do.
 * An empty cell is an event that means nothing there and is dropped.
 */
#include "supervisor/names.h"
#include "supervisor/supervisor.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "store/log.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define LINGER_USEC 2000000 /* for what slow viewers have not read at the end */

static void start_program(struct supervisor *s);
static void over(struct supervisor *s, const struct berth_error *error);

/* ---- small steps ------------------------------------------------------------------------------
 */

static void starter_answer(struct supervisor *s, const struct berth_error *error)
{
    if (s->life.answered)
        return;
    s->life.answered = true;
    if (error)
        reply_error(s, s->starter, 0, error);
    else
        reply(s, s->starter, 0, MESSAGE_DONE, NULL);
    crash_point("start.answered");
}

static int signal_program(struct supervisor *s, int signal)
{
    if (s->program.pid <= 0)
        return -ESRCH;
    return syscall(SYS_pidfd_send_signal, s->program.pid_fd, signal, NULL, 0) < 0 ? -errno : 0;
}

static bool is_on_demand(const struct supervisor *s)
{
    for (size_t i = 0; i < s->plan->n_sockets; i++)
        if (s->plan->sockets[i].on_demand)
            return true;
    return false;
}

static void oom_watch_end(struct supervisor *s);

static void demand_end(struct supervisor *s)
{
    for (size_t i = 0; i < s->n_demand; i++)
        source_close(&s->loop, &s->demand[i]);
    free(s->demand);
    s->demand = NULL;
    s->n_demand = 0;
}

void life_demand(struct supervisor *s, struct source *source, uint32_t events)
{
    hear(s, HEARD_DEMAND, NULL);
}

static void due_rings(struct supervisor *s, struct timer *timer)
{
    hear(s, HEARD_DUE, NULL);
}

static void deadline_rings(struct supervisor *s, struct timer *timer)
{
    hear(s, HEARD_DEADLINE, NULL);
}

/* Nothing of the run that ended (or failed to begin) may go on: children, execs, probes, pipes. */
static void clear_away(struct supervisor *s)
{
    probes_end(s);
    oom_watch_end(s);
    timer_clear(&s->loop, &s->life.deadline);
    struct berth_error err;
    if (launch_kill_all(s->launch, &err) < 0 && s->program.pid > 0)
        signal_program(s, SIGKILL);
    execs_reap(s);
    crash_point("end.killed");
    output_end(s);
    crash_point("end.drained");
}

/* ---- starting ---------------------------------------------------------------------------------
 */

static void program_forget(struct supervisor *s)
{
    source_close(&s->loop, &s->program_end);
    s->program = (struct launch_child){.pid_fd = -1};
}

static void fail_start(struct supervisor *s, struct berth_error *err)
{
    hear(s, HEARD_FAILED, &(struct request){.error = err});
}

static void ready_speaks(struct supervisor *s, struct source *source, uint32_t events)
{
    struct berth_error err;
    int r = launch_result(s->launch, s->ready.fd, &err);
    if (r == 0)
        return;
    if (r > 0 && s->plan->ready_told)
        s->life.words_fd = MAX(fcntl(s->ready.fd, F_DUPFD_CLOEXEC, 3), 0);
    source_close(&s->loop, &s->ready);
    if (r > 0)
        hear(s, HEARD_READY, NULL);
    else if (!s->life.killed) /* else its silence is our doing: the end is heard soon */
        fail_start(s, &err);
}

#define LAST_WORD_MSEC 1000

/*
 * What the start has to say comes before the end: a short program may have done both by now. Its side
 * of the pipe is closed, but who cloned it may hold a copy for a moment still: without the wait, a
 * program that ran and ended would be one that never started.
 */
static void last_word(struct supervisor *s)
{
    struct pollfd ready = {.fd = s->ready.fd, .events = POLLIN};
    (void)RETRY(poll(&ready, 1, LAST_WORD_MSEC));
    ready_speaks(s, &s->ready, EPOLLIN);
}

static void program_ends(struct supervisor *s, struct source *source, uint32_t events)
{
    int wait_status;
    if (s->ready.fd >= 0)
        launch_look(s->launch);
    if (child_reap(source->fd, &wait_status) <= 0)
        return;
    if (s->ready.fd >= 0)
        last_word(s);
    program_forget(s);
    hear(s, HEARD_ENDED, &(struct request){.wait_status = wait_status});
}

static int watch_program(struct supervisor *s, int master_fd, int ready_fd)
{
    int r = source_watch(&s->loop, &s->ready, ready_fd, EPOLLIN, ready_speaks);
    if (r == 0)
        r = source_watch(&s->loop, &s->program_end, s->program.pid_fd, EPOLLIN, program_ends);
    if (master_fd < 0)
        return r;
    if (r == 0)
        return terminal_begin(s, &s->stdio, master_fd);
    close(master_fd);
    return r;
}

static int launch_program(struct supervisor *s, struct berth_error *err)
{
    int stdio[3] = {-1, -1, -1};
    int master_fd = -1, ready_fd = -1;
    int r = output_begin(s, stdio, err);
    if (r == 0) {
        crash_point("start.output");
        r = launch_start(s->launch, s->plan, stdio, &s->program, &master_fd, &ready_fd, err);
    }
    for (size_t i = 0; i < ARRAY_SIZE(stdio); i++)
        close_fd(&stdio[i]);
    if (r < 0) {
        s->program = (struct launch_child){.pid_fd = -1};
        return r;
    }
    s->life.oom_kills = launch_oom_kills(s->launch);
    crash_point("start.cloned");
    r = watch_program(s, master_fd, ready_fd);
    return r < 0 ? fail_os(err, r, s->name, "watch the start") : 0;
}

static void start_program(struct supervisor *s)
{
    struct berth_error err = {0};
    demand_end(s);
    timer_clear(&s->loop, &s->life.due);
    s->state = LIFE_STARTING;
    s->life.asked = s->life.killed = s->life.restart = false;
    free(TAKE(s->life.unfit));
    s->life.run_usec = monotonic_usec();
    if (s->log)
        log_writer_mark(s->log, LOG_MARK_START);
    if (launch_program(s, &err) < 0)
        fail_start(s, &err);
}

static void go_idle(struct supervisor *s)
{
    const int *fds = NULL;
    size_t n = 0;
    struct berth_error err;
    demand_end(s);
    int r = launch_socket_fds(s->launch, &fds, &n);
    s->state = LIFE_IDLE;
    s->demand = r < 0 ? NULL : calloc(n ? n : 1, sizeof(*s->demand));
    if (!s->demand) {
        fail_memory(&err);
        return fail_start(s, &err);
    }
    for (size_t i = 0; i < n && i < s->plan->n_sockets; i++) {
        int fd = s->plan->sockets[i].on_demand ? fcntl(fds[i], F_DUPFD_CLOEXEC, 3) : -1;
        if (fd >= 0 &&
            source_watch(&s->loop, &s->demand[s->n_demand], fd, EPOLLIN, life_demand) == 0)
            s->n_demand++;
    }
    s->record.pid = 0;
    snprintf(s->record.reason, sizeof(s->record.reason), "idle: waits for a connection");
    record_state(s, BERTH_RUNNING);
    starter_answer(s, NULL);
    waiters_answer(s, true, NULL);
    launch_settle(s->launch);
}

static void begin(struct supervisor *s, struct request *r)
{
    if (is_on_demand(s) && !s->plan->begin_running)
        go_idle(s);
    else
        start_program(s);
}

static void start_again(struct supervisor *s, struct request *r)
{
    start_program(s);
}

/* The kernel tells before it kills, and not whom: look when that has been done. */
#define OOM_LOOK_USEC 100000

static void oom_look(struct supervisor *s, struct timer *timer)
{
    uint64_t kills = launch_oom_kills(s->launch);
    struct pollfd program = {.fd = s->program.pid_fd, .events = POLLIN};
    if (kills <= s->life.oom_kills || s->program.pid <= 0 || poll(&program, 1, 0) != 0)
        return; /* nobody; or it is the main program, whose end tells more */
    s->life.oom_kills = kills;
    record_child_oom(s);
}

static void oom_speaks(struct supervisor *s, struct source *source, uint32_t events)
{
    char piece[512];
    (void)!read(source->fd, piece, sizeof(piece));
    timer_set(&s->loop, &s->life.oom_due, OOM_LOOK_USEC, oom_look);
}

/* Without it, the end says so all the same. */
static void oom_watch(struct supervisor *s)
{
    int fd = launch_oom_watch(s->launch);
    if (fd >= 0)
        source_watch(&s->loop, &s->life.oom, fd, EPOLLIN, oom_speaks);
}

static void oom_watch_end(struct supervisor *s)
{
    timer_clear(&s->loop, &s->life.oom_due);
    source_close(&s->loop, &s->life.oom);
}

static void now_running(struct supervisor *s, struct request *r)
{
    crash_point("start.ready");
    s->state = LIFE_RUNNING;
    record_running(s);
    crash_point("start.recorded");
    starter_answer(s, NULL);
    waiters_answer(s, true, NULL);
    launch_settle(s->launch);
    record_event(s, "start", NULL);
    oom_watch(s);
    probes_begin(s);
    execs_begin(s);
    malloc_trim(0);
}

/* ---- ending -----------------------------------------------------------------------------------
 */

static void wait_for_next(struct supervisor *s, int64_t delay_usec)
{
    s->record.restarts++;
    s->record.next_start_usec = now_usec() + delay_usec;
    s->state = LIFE_WAITING;
    if (s->log)
        log_writer_mark(s->log, LOG_MARK_END_RESTART);
    s->record.state = BERTH_RESTARTING;
    record_write(s, true);
    record_die_event(s);
    record_event(s, "restart", NULL);
    timer_set(&s->loop, &s->life.due, delay_usec, due_rings);
}

/* A caller's start counts afresh, unlike the policy's. */
static void begin_afresh(struct supervisor *s)
{
    s->record.restarts = 0;
    s->life.doublings = 0;
    begin(s, NULL);
}

static void run_again(struct supervisor *s)
{
    waiters_answer(s, false, NULL);
    if (s->log)
        log_writer_mark(s->log, LOG_MARK_END_RESTART);
    s->record.state = BERTH_RESTARTING;
    record_write(s, false);
    record_die_event(s);
    record_event(s, "restart", NULL);
    begin_afresh(s);
}

/* As if the start had never been asked. */
static void undo(struct supervisor *s)
{
    struct berth_error err;
    fail(&err, BERTH_CANCELLED, s->name, "start was cancelled");
    s->record = s->before;
    if (s->record.state < BERTH_CREATED ||
        (s->record.state > BERTH_CREATED && s->record.state < BERTH_STOPPED))
        s->record.state = s->record.started_usec ? BERTH_STOPPED : BERTH_CREATED;
    over(s, &err);
}

/* Where a run's end leads: the caller's wish first, then the probe's, then the policy's. */
static void after_end(struct supervisor *s, const struct berth_error *error)
{
    int64_t delay_usec, ran_usec = monotonic_usec() - s->life.run_usec;
    bool first = !s->life.answered;
    if (s->life.cancel)
        return undo(s);
    if (s->life.asked && s->life.restart && !error)
        return run_again(s);
    if (!s->life.asked && !error && !s->life.restart && s->record.state == BERTH_COMPLETED && is_on_demand(s)) {
        if (s->log)
            log_writer_mark(s->log, LOG_MARK_END_RESTART);
        record_die_event(s);
        return go_idle(s);
    }
    bool due = restart_due(s->plan, &s->record, &s->life.doublings, ran_usec, &delay_usec);
    if (!s->life.asked && !first && (due || s->life.restart))
        return wait_for_next(s, delay_usec);
    over(s, error);
}

static void ended(struct supervisor *s, struct request *r)
{
    crash_point("end.reaped");
    clear_away(s);
    record_ended(s, r->wait_status);
    after_end(s, NULL);
}

static void start_failed(struct supervisor *s, struct request *r)
{
    int wait_status;
    source_close(&s->loop, &s->ready);
    clear_away(s);
    if (s->program_end.fd >= 0)
        child_reap(s->program_end.fd, &wait_status);
    program_forget(s);
    record_start_failed(s, r->error);
    waiters_answer(s, true, r->error);
    after_end(s, r->error);
}

static void ended_too_early(struct supervisor *s, struct request *r)
{
    struct berth_error err;
    int w = r->wait_status;
    if (WIFSIGNALED(w))
        fail(&err, BERTH_IO, s->name, "the program was ended by %s before it was ready",
             signal_name(WTERMSIG(w)));
    else
        fail(&err, BERTH_IO, s->name, "the program ended with exit code %d before it was ready",
             WEXITSTATUS(w));
    fail_start(s, &err);
}

static void linger_ends(struct supervisor *s, struct timer *timer)
{
    s->loop.over = true;
}

/*
 * The last act. What a waiting caller may do at once on our answer (start again, remove) must be
 * possible by then: so the groups go first, then the lock, then the answers.
 */
static void over(struct supervisor *s, const struct berth_error *error)
{
    s->state = LIFE_OVER;
    demand_end(s);
    timer_clear(&s->loop, &s->life.due);
    s->record.pid = s->record.supervisor_pid = 0;
    s->record.next_start_usec = 0;
    s->record.wanted = s->record.wanted && !s->life.asked;
    if (s->log)
        log_writer_mark(s->log, LOG_MARK_END);
    record_write(s, true);
    crash_point("end.recorded");
    if (!s->life.cancel)
        record_die_event(s);
    server_close(s);
    names_end(s);
    launch_free(TAKE(s->launch));
    output_close(s);
    crash_point("end.freed");
    lock_release(s->life_fd);
    close_fd(&s->life_fd);
    struct berth_error stopped;
    fail(&stopped, BERTH_CANCELLED, s->name, "was stopped while it started");
    starter_answer(s, error ? error : &stopped);
    waiters_answer(s, false, error);
    viewers_end(s, &s->stdio, s->record.exit_code);
    server_tell_end(s, s->record.exit_code);
    crash_point("end.answered");
    life_leave(s);
}

/* Who ran it in the foreground looks at its end first: only then is it removed. */
void life_leave(struct supervisor *s)
{
    if (s->state != LIFE_OVER)
        return;
    if (!s->life.left && !s->life.remove && s->plan->at_end && server_is_watched(s))
        return;
    if (!s->life.left) {
        s->life.left = true;
        run_after_end(s);
    }
    if (!viewers_wait(s))
        s->loop.over = true;
    else if (!viewers_paced(s) && !s->life.due.due_usec)
        timer_set(&s->loop, &s->life.due, LINGER_USEC, linger_ends);
}

/* ---- stopping ---------------------------------------------------------------------------------
 */

/* Who asked and for what. The last word counts; what can't be taken back stays. */
static bool take_request(struct supervisor *s, struct request *r)
{
    if (waiter_add(s, r->connection, r->tag, r->restart) < 0)
        return false;
    s->life.asked = true;
    s->life.restart = r->restart;
    s->life.remove |= r->remove;
    s->life.cancel |= r->cancel;
    return true;
}

static void kill_now(struct supervisor *s, struct request *r)
{
    struct berth_error err;
    s->life.killed = true;
    if (launch_kill_all(s->launch, &err) < 0) {
        signal_program(s, SIGKILL); /* perhaps it is only others that can't be killed now */
        timer_set(&s->loop, &s->life.deadline, 1000000, deadline_rings);
    }
    crash_point("stop.killed");
}

static int64_t grace(const struct supervisor *s, const struct request *r)
{
    return r->timeout_usec < 0 ? s->plan->stop_timeout_usec : r->timeout_usec;
}

static void grace_begin(struct supervisor *s, int64_t grace_usec)
{
    s->life.grace_usec = grace_usec;
    timer_set(&s->loop, &s->life.deadline, grace_usec, deadline_rings);
}

/* The signal; SIGCONT behind it, because a program that is stopped by job control can't obey. */
static void ask_program(struct supervisor *s, int64_t grace_usec)
{
    s->state = LIFE_STOPPING;
    probes_end(s);
    if (grace_usec == 0)
        return kill_now(s, NULL);
    grace_begin(s, grace_usec);
    signal_program(s, s->plan->stop_signal ? s->plan->stop_signal : SIGTERM);
    signal_program(s, SIGCONT);
    crash_point("stop.signalled");
    record_state(s, s->life.restart ? BERTH_RESTARTING : BERTH_STOPPING);
}

static void ask_to_end(struct supervisor *s, struct request *r)
{
    if (!take_request(s, r))
        return;
    crash_point("stop.asked");
    ask_program(s, grace(s, r));
}

/* Sent while frozen, delivered when it thaws. */
static void thaw_and_ask(struct supervisor *s, struct request *r)
{
    struct berth_error err;
    if (!take_request(s, r))
        return;
    ask_program(s, grace(s, r));
    launch_freeze(s->launch, false, &err);
}

/* A second stop may shorten the first one's deadline, never lengthen it. */
static void shorten(struct supervisor *s, struct request *r)
{
    if (!take_request(s, r))
        return;
    int64_t left_usec = grace(s, r);
    if (left_usec == 0)
        return kill_now(s, NULL);
    if (!s->life.deadline.due_usec || monotonic_usec() + left_usec < s->life.deadline.due_usec)
        grace_begin(s, left_usec);
}

/* It is not the program yet that a signal would reach. */
static void stop_start(struct supervisor *s, struct request *r)
{
    if (!take_request(s, r))
        return;
    s->state = LIFE_STOPPING;
    kill_now(s, NULL);
}

static void end_without_run(struct supervisor *s, struct request *r)
{
    if (!take_request(s, r))
        return;
    if (r->restart)
        return begin_afresh(s);
    s->record.state = BERTH_STOPPED;
    s->record.reason[0] = 0;
    s->record.ended_usec = s->record.ended_usec ? s->record.ended_usec : now_usec();
    if (s->life.cancel)
        return undo(s);
    over(s, NULL);
}

static void stopped_already(struct supervisor *s, struct request *r)
{
    reply(s, r->connection, r->tag, MESSAGE_DONE, NULL);
}

static void unfit(struct supervisor *s, struct request *r)
{
    s->life.unfit = strdup(r->reason);
    s->life.restart = r->restart;
    ask_program(s, s->plan->stop_timeout_usec);
}

/* ---- signals, pause ---------------------------------------------------------------------------
 */

static void refuse(struct supervisor *s, struct request *r)
{
    static const char *const where[LIFE_STATES] = {
        [LIFE_BORN] = "is starting",
        [LIFE_STARTING] = "is starting",
        [LIFE_IDLE] = "is idle: its program does not run",
        [LIFE_RUNNING] = "is running",
        [LIFE_PAUSED] = "is paused",
        [LIFE_STOPPING] = "is stopping",
        [LIFE_WAITING] = "waits for its next start",
        [LIFE_OVER] = "has ended",
    };
    struct berth_error err;
    fail(&err, BERTH_WRONG_STATE, s->name, "it %s", where[s->state]);
    reply_error(s, r->connection, r->tag, &err);
}

static bool is_deliberate(const struct supervisor *s, int signal)
{
    return signal == SIGKILL || signal == (s->plan->stop_signal ? s->plan->stop_signal : SIGTERM);
}

static void pass_signal(struct supervisor *s, struct request *r)
{
    struct berth_error err;
    bool asked = s->life.asked;
    s->life.asked |= is_deliberate(s, r->signal);
    int e = signal_program(s, r->signal);
    if (e < 0 && e != -ESRCH) {
        s->life.asked = asked;
        fail_os(&err, e, s->name, "send %s to %s", signal_name(r->signal), s->name);
        return reply_error(s, r->connection, r->tag, &err);
    }
    s->life.killed |= r->signal == SIGKILL;
    reply(s, r->connection, r->tag, MESSAGE_DONE, NULL);
}

/* A frozen program dies only when it thaws (v1). */
static void pass_signal_frozen(struct supervisor *s, struct request *r)
{
    struct berth_error err;
    pass_signal(s, r);
    if (r->signal == SIGKILL && launch_freeze(s->launch, false, &err) == 0)
        s->state = LIFE_RUNNING;
}

static void signal_without_run(struct supervisor *s, struct request *r)
{
    if (!is_deliberate(s, r->signal))
        return refuse(s, r);
    end_without_run(s, r);
}

static void change_freeze(struct supervisor *s, struct request *r, bool frozen)
{
    struct berth_error err;
    if (launch_freeze(s->launch, frozen, &err) < 0)
        return reply_error(s, r->connection, r->tag, &err);
    s->state = frozen ? LIFE_PAUSED : LIFE_RUNNING;
    record_state(s, frozen ? BERTH_PAUSED : BERTH_RUNNING);
    record_event(s, frozen ? "pause" : "unpause", NULL);
    reply(s, r->connection, r->tag, MESSAGE_DONE, NULL);
}

static void pause_program(struct supervisor *s, struct request *r)
{
    change_freeze(s, r, true);
}

static void unpause_program(struct supervisor *s, struct request *r)
{
    change_freeze(s, r, false);
}

/* ---- the table --------------------------------------------------------------------------------
 */

typedef void action(struct supervisor *s, struct request *r);

static action *const table[HEARD_COUNT][LIFE_STATES] = {
    [HEARD_BEGIN] = {[LIFE_BORN] = begin},
    [HEARD_READY] = {[LIFE_STARTING] = now_running},
    [HEARD_FAILED] = {[LIFE_STARTING] = start_failed,
                      [LIFE_STOPPING] = start_failed,
                      [LIFE_IDLE] = start_failed},
    [HEARD_ENDED] = {[LIFE_STARTING] = ended_too_early,
                     [LIFE_RUNNING] = ended,
                     [LIFE_PAUSED] = ended,
                     [LIFE_STOPPING] = ended},
    [HEARD_STOP] = {[LIFE_IDLE] = end_without_run,
                    [LIFE_STARTING] = stop_start,
                    [LIFE_RUNNING] = ask_to_end,
                    [LIFE_PAUSED] = thaw_and_ask,
                    [LIFE_STOPPING] = shorten,
                    [LIFE_WAITING] = end_without_run,
                    [LIFE_OVER] = stopped_already},
    [HEARD_SIGNAL] = {[LIFE_BORN] = refuse,
                      [LIFE_IDLE] = signal_without_run,
                      [LIFE_STARTING] = pass_signal,
                      [LIFE_RUNNING] = pass_signal,
                      [LIFE_PAUSED] = pass_signal_frozen,
                      [LIFE_STOPPING] = pass_signal,
                      [LIFE_WAITING] = signal_without_run,
                      [LIFE_OVER] = refuse},
    [HEARD_DEADLINE] = {[LIFE_STOPPING] = kill_now},
    [HEARD_DUE] = {[LIFE_WAITING] = start_again},
    [HEARD_DEMAND] = {[LIFE_IDLE] = start_again},
    [HEARD_PAUSE] = {[LIFE_BORN] = refuse,
                     [LIFE_IDLE] = refuse,
                     [LIFE_STARTING] = refuse,
                     [LIFE_RUNNING] = pause_program,
                     [LIFE_PAUSED] = refuse,
                     [LIFE_STOPPING] = refuse,
                     [LIFE_WAITING] = refuse,
                     [LIFE_OVER] = refuse},
    [HEARD_UNPAUSE] = {[LIFE_BORN] = refuse,
                       [LIFE_IDLE] = refuse,
                       [LIFE_STARTING] = refuse,
                       [LIFE_RUNNING] = refuse,
                       [LIFE_PAUSED] = unpause_program,
                       [LIFE_STOPPING] = refuse,
                       [LIFE_WAITING] = refuse,
                       [LIFE_OVER] = refuse},
    [HEARD_UNFIT] = {[LIFE_RUNNING] = unfit},
};

void hear(struct supervisor *s, enum heard what, struct request *request)
{
    action *act = table[what][s->state];
    if (act)
        act(s, request);
}
