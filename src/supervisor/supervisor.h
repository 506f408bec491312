/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor's rooms, and what they tell each other.
 *
 *   main.c    birth: descriptors, plan, signals            life.c     what happens next, one table
 *   server.c  requests over the socket                     restart.c  whether and when to run again
 *   output.c  pipes and terminal to log and readers        record.c   the status file, reasons in
 * words exec.c    more programs inside                         probe.c    health, readiness,
 * liveness names.c   its names, said to berth-dns
 *
 * One process, one thread, one of these per running workload; it must stay small (see bench/).
 */
#ifndef SUPERVISOR_SUPERVISOR_H
#define SUPERVISOR_SUPERVISOR_H

#include "base/error.h"
#include "model/message.h"
#include "model/plan.h"
#include "model/status.h"
#include "supervisor/launch.h"
#include "supervisor/loop.h"

#include <jansson.h>
#include <sys/types.h>

#define CONNECTIONS_MAX 256
#define EXECS_MAX       128
#define EXEC_FDS_MAX    (3 + 4) /* standard ones, and files */

/* ---- where it is ------------------------------------------------------------------------------
 */

enum life_state {
    LIFE_BORN,     /* nothing started yet */
    LIFE_IDLE,     /* waits for a connection to one of the plan's sockets */
    LIFE_STARTING, /* the clone exists, the program is not there yet */
    LIFE_RUNNING,
    LIFE_PAUSED,
    LIFE_STOPPING, /* was asked to end, or killed */
    LIFE_WAITING,  /* ended, waits for its next start */
    LIFE_OVER,
    LIFE_STATES
};

enum heard {
    HEARD_BEGIN,    /* the caller's start */
    HEARD_READY,    /* the program runs */
    HEARD_FAILED,   /* it could not: request->error */
    HEARD_ENDED,    /* the main program was reaped: request->wait_status */
    HEARD_STOP,     /* request->timeout_usec, restart, remove, cancel */
    HEARD_SIGNAL,   /* request->signal */
    HEARD_DEADLINE, /* the grace of a stop is over */
    HEARD_DUE,      /* the delay of a restart is over */
    HEARD_DEMAND,   /* a socket of the plan has a connection */
    HEARD_PAUSE,
    HEARD_UNPAUSE,
    HEARD_UNFIT, /* a probe has failed for good: request->restart or stop, request->reason */
    HEARD_COUNT
};

struct connection;

/** One thing heard, with what belongs to it. */
struct request {
    struct connection *connection; /* NULL: nobody waits for an answer */
    uint64_t tag;
    int64_t timeout_usec; /* negative: the plan's */
    bool restart, remove, cancel;
    int signal;
    int wait_status;
    const char *reason;
    struct berth_error *error;
};

/** Somebody who gets an answer when the workload has ended, or runs again. */
struct waiter {
    struct connection *connection;
    uint64_t tag;
    bool restart;
    struct waiter *next;
};

/* ---- output -----------------------------------------------------------------------------------
 */

/** Bytes that wait for a slow reader. */
struct backlog {
    char *data;
    size_t start, end, room;
};

/** One client that sees (and may feed) a program's terminal or pipes. */
struct viewer {
    struct viewer *next;
    struct stdio *stdio;
    struct connection *connection;
    uint64_t tag;
    struct source in;     /* terminal: both ways; pipes: what the client types */
    struct source out[2]; /* pipes: stdout, stderr */
    struct backlog backlog[2];
    uint64_t dropped_bytes;
    bool input, eof;
    bool paced; /* without a log, the program waits for it */
};

/** What a program's standard descriptors are connected to, on our side. */
struct stdio {
    struct source out[2];   /* read ends of stdout and stderr */
    struct source terminal; /* master */
    struct source in;       /* write end of stdin */
    struct viewer *viewers;
    struct backlog typed; /* what the program has not taken yet */
    struct backlog early; /* a terminal's output before its first viewer */
    int peer_fd; /* a terminal's other side, held open: without it, each last close is an end */
    uint16_t rows, columns; /* as last set, for the next run's terminal */
    bool is_main, had_viewer, close_in;
};

#define STDIO_NONE                                                                                 \
    ((struct stdio){.out = {SOURCE_NONE, SOURCE_NONE},                                             \
                    .terminal = SOURCE_NONE,                                                       \
                    .in = SOURCE_NONE,                                                             \
                    .peer_fd = -1})

/* ---- execs ------------------------------------------------------------------------------------
 */

struct exec {
    struct exec *next;
    uint64_t id, tag;
    struct connection *connection; /* NULL: detached, or a probe's */
    struct launch_child child;
    struct source ready, end;
    struct source words; /* a probe's output */
    struct stdio stdio;  /* with a terminal */
    struct timer timeout;
    struct probe *probe;
    char *command;
    json_t *body; /* the request, until the program that it waits for runs */
    int fds[EXEC_FDS_MAX];
    size_t n_fds;
    int64_t started_usec;
    bool running, timed_out, detached, is_probe;
};

struct probe {
    const struct plan_probe *plan;
    struct timer timer;
    struct exec *exec;
    int64_t begun_usec;
    int failures;
    bool passed;
    struct status_probe last;
    uint32_t n_output;
};
enum { PROBE_HEALTH, PROBE_READINESS, PROBE_LIVENESS, PROBE_COUNT };

/* ---- the whole --------------------------------------------------------------------------------
 */

struct supervisor {
    struct loop loop;
    const char *name, *id;
    int life_fd, root_fd, workload_fd, run_fd, spare_fd;
    struct plan *plan;
    struct launch *launch;
    struct status record, before; /* before: as found, for a start that is cancelled */

    enum life_state state;
    struct launch_child program; /* pid 0: none */
    struct source ready, program_end;
    struct {
        bool asked;  /* somebody wanted the end: it ends as stopped */
        bool killed; /* by us */
        bool restart, remove, cancel;
        char *unfit;   /* why a probe wants the end */
        int words_fd;  /* what the program itself says of its end; 0: nothing */
        bool answered; /* whoever started it has its answer */
        bool left;     /* what comes after the end has been begun */
        int64_t asked_usec, grace_usec, run_usec;
        struct timer deadline, due;
        int doublings;
        uint64_t oom_kills; /* told, or from before this run */
        struct source oom;
        struct timer oom_due;
    } life;
    struct source *demand; /* watched sockets of an idle plan */
    size_t n_demand;

    struct source signals, listener;
    struct connection *connections, *starter;
    size_t n_connections;
    struct waiter *waiters;

    struct stdio stdio;
    struct viewer *leaving; /* have seen the end, not yet all before it */
    struct log_writer *log;
    struct timer record_timer; /* the record could not be written */
    struct timer log_timer; /* record what was dropped, at most once a second */
    struct source sink;     /* where output goes that nobody wants */
    int sink_fd;

    struct exec *execs;
    size_t n_execs;
    uint64_t next_exec_id;
    struct probe probes[PROBE_COUNT];
    struct names_link *names; /* NULL: none that anybody could ask for */
};

/* life.c */
void hear(struct supervisor *s, enum heard what, struct request *request);
void life_demand(struct supervisor *s, struct source *source, uint32_t events);
/** Over, and perhaps nobody looks any more: what comes after the end, and our own. */
void life_leave(struct supervisor *s);

/* server.c */
int server_open(struct supervisor *s, struct berth_error *err);
/** Talk over an already connected socket (the starter's). */
int server_adopt(struct supervisor *s, int fd, struct connection **ret_connection,
                 struct berth_error *err);
void server_close(struct supervisor *s);
/** Take the connections that were made before we were born, and what they ask. */
void server_hear_early(struct supervisor *s);
/** Unread, they would turn our answer to the starter into a broken connection. */
void server_drop_early(struct supervisor *s);
bool connection_is_early(const struct connection *c);
/** Somebody who was there before the start has not seen the end yet. */
bool server_is_watched(const struct supervisor *s);
/** The end: told to those who asked for nothing else, a hang-up to all who came later. */
void server_tell_end(struct supervisor *s, int exit_code);
/** Close every connection. */
void server_hang_up(struct supervisor *s);
/** Answer `tag`: a NULL connection is nobody. `result` is consumed and may be NULL ({}). */
void reply(struct supervisor *s, struct connection *c, uint64_t tag, enum message_type type,
           json_t *result);
void reply_error(struct supervisor *s, struct connection *c, uint64_t tag,
                 const struct berth_error *err);
/** Remember / answer those who wait for the end (restart: for the next run). */
int waiter_add(struct supervisor *s, struct connection *c, uint64_t tag, bool restart);
void waiters_answer(struct supervisor *s, bool restart_only, const struct berth_error *error);

/* output.c */
int output_open(struct supervisor *s, struct berth_error *err);
/** Pipes for one run of the main program; `ret_stdio` are the program's ends, for the caller to
 * close. */
int output_begin(struct supervisor *s, int ret_stdio[3], struct berth_error *err);
int terminal_begin(struct supervisor *s, struct stdio *stdio, int master_fd);
/** What the terminal still holds goes to its viewers. */
void terminal_end(struct supervisor *s, struct stdio *stdio);
/** All that is in the pipes goes to the log; then they are closed. */
void output_end(struct supervisor *s);
void output_close(struct supervisor *s);
/** A descriptor to write to whose bytes are dropped; the caller's. -errno. */
int output_sink(struct supervisor *s);
void stdio_close(struct supervisor *s, struct stdio *stdio);
int stdio_resize(struct stdio *stdio, uint16_t rows, uint16_t columns);
/** Takes fds[0..n) when it succeeds. */
int viewer_add(struct supervisor *s, struct stdio *stdio, struct connection *c, uint64_t tag,
               bool input, int *fds, size_t n_fds, struct berth_error *err);
/** The connection is gone, or (NULL) everybody is told the end. */
void viewers_leave(struct supervisor *s, struct stdio *stdio, const struct connection *c);
void viewers_end(struct supervisor *s, struct stdio *stdio, int exit_code);
bool viewers_wait(const struct supervisor *s);
/** One of them is waited for as long as it takes. */
bool viewers_paced(const struct supervisor *s);

/* exec.c */
void exec_request(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body, int *fds,
                  size_t n_fds);
void exec_list(struct supervisor *s, struct connection *c, uint64_t tag);
int exec_signal(struct supervisor *s, uint64_t id, int signal, struct berth_error *err);
int exec_let_go(struct supervisor *s, uint64_t id, struct berth_error *err);
int exec_resize(struct supervisor *s, uint64_t id, uint16_t rows, uint16_t columns,
                struct berth_error *err);
int exec_probe(struct supervisor *s, struct probe *probe, struct berth_error *err);
/** The program runs: what waited for it begins. */
void execs_begin(struct supervisor *s);
/** Collect those that have ended; what still waits is refused. */
void execs_reap(struct supervisor *s);
/** Without waiting: 1 and the status as waitpid's, 0 when it still runs, -errno. By pidfd: launch
 * has children of its own. */
int child_reap(int pid_fd, int *ret_wait_status);
void exec_connection_gone(struct supervisor *s, struct connection *c);
/** Kill one: its program, then its session and descendants. */
void exec_kill(struct exec *e);

/** A child of the main program was killed for memory, while that goes on. */
void record_child_oom(struct supervisor *s);

/* probe.c */
void probes_begin(struct supervisor *s);
void probes_end(struct supervisor *s);
void probe_ended(struct supervisor *s, struct probe *probe, int exit_code, bool timed_out,
                 const char *why);

/* restart.c */
/** Whether the policy wants another run; then also after how long. */
bool restart_due(const struct plan *plan, const struct status *record, int *doublings,
                 int64_t ran_usec, int64_t *ret_delay_usec);

/* record.c */
void record_open(struct supervisor *s);
void record_running(struct supervisor *s);
void record_ended(struct supervisor *s, int wait_status);
void record_start_failed(struct supervisor *s, const struct berth_error *err);
void record_write(struct supervisor *s, bool sync);
void record_state(struct supervisor *s, int state);
void record_event(struct supervisor *s, const char *type, const char *attributes);
void record_die_event(struct supervisor *s);
void size_words(uint64_t bytes, char ret[24]);
/** Run what comes after the end, away from us. */
void run_after_end(struct supervisor *s);
/** Path of another program of berth's, free(3). NULL when it can't be told. */
char *program_beside(const char *name);

#endif
