/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake's world: workloads as scripts, played against a clock whenever somebody looks.
 *
 * Nothing runs between two entries into the runtime. Every entry first plays each workload's past
 * (steps, deadlines, restarts) in the order of their times up to now, so what is seen, the times
 * included, is what a machine that never slept would have made of it.
 */
#ifndef FAKE_WORLD_H
#define FAKE_WORLD_H

#include <berth/engine.h>
#include <berth/fake.h>
#include "base/base.h"
#include "base/error.h"
#include "base/text.h"
#include "model/spec.h"
#include <pthread.h>
#include <string.h>

#define NEVER INT64_MAX

struct fake_record { int64_t time_usec; uint32_t stream; size_t length; char *data; };
struct fake_log { struct fake_record *items; size_t n, room; };

struct fake_program {
    char **steps;           /* borrowed */
    size_t pc;
    int64_t wake_usec;      /* next step; NEVER: waits for a signal or its stdin */
    uint64_t ignored;       /* bit per signal */
    bool ended, reads;      /* reads: in "cat" */
    int exit_code, signal, oom;
    int64_t ended_usec;
};

struct fake_exec {
    struct fake_exec *next;
    uint64_t id;
    char **steps;
    struct fake_program program;
    int64_t deadline_usec;  /* NEVER: none */
    bool timed_out, detached;
    struct fake_log log;
};

struct fake_workload {
    struct fake_workload *next;
    struct berth_handle handle;
    struct spec *spec;
    char **steps;
    struct fake_program program;
    struct fake_exec *execs;
    struct fake_log log;
    int state, exit_code, signal, oom, health;
    uint32_t restarts, health_failures;
    int64_t created_usec, started_usec, ended_usec, next_start_usec, delay_usec, paused_usec;
    int64_t stop_deadline_usec; /* NEVER: nobody asked */
    bool asked, restart_asked;  /* its end is somebody's wish; and is to be followed by a start */
    char reason[512];
    uint32_t address;
    uint64_t version;           /* grows with every change: what waiting calls look at */
};

struct fake {
    pthread_mutex_t lock;
    int64_t offset_usec;        /* what berth_fake_advance added, and monotonic to real time */
    struct fake_workload *workloads; /* newest first */
    struct fake_call *calls;    /* under way */
    struct fake_feed *feeds;    /* followers */
    struct fake_log events;     /* one line a record */
    uint64_t next_exec_id;
    uint32_t next_address;
};

int64_t fake_now(const struct fake *f);
/** Play everything up to now, feed followers, wake calls that may finish. Under the lock. */
void fake_settle(struct fake *f);
/** The same after a change made at the present. */
void fake_changed(struct fake *f, struct fake_workload *w);

struct fake_workload *fake_find_id(struct fake *f, const uint8_t id[16]);
struct fake_workload *fake_find_name(struct fake *f, const char *name);
int fake_get(struct fake *f, const struct berth_handle *h, struct fake_workload **ret,
             struct berth_error *err);
bool fake_lives(const struct fake_workload *w); /* running, paused or stopping */
bool fake_final(const struct fake_workload *w); /* ended, no restart due */
void fake_drop(struct fake *f, struct fake_workload *w);

int fake_play_start(struct fake *f, struct fake_workload *w, struct berth_error *err);
/** Ask it to end now with a deadline; restart: start it again afterwards. */
void fake_play_stop(struct fake *f, struct fake_workload *w, int64_t timeout_usec, bool restart);
void fake_play_signal(struct fake *f, struct fake_workload *w, int signal);
void fake_program_begin(struct fake_program *p, char **steps, int64_t now);
void fake_program_signal(struct fake_program *p, int signal, int64_t now);
void fake_program_end(struct fake_program *p, int exit_code, int signal, int64_t now);
/** NO_PROGRAM naming the first step that is none. */
int fake_steps_check(char *const *steps, struct berth_error *err);
int64_t fake_next_due(const struct fake_workload *w);
int fake_log_add(struct fake_log *log, int64_t now, uint32_t stream, const void *data, size_t size);
void fake_log_free(struct fake_log *log);
void fake_exec_free(struct fake_exec *e);
void fake_event(struct fake *f, const struct fake_workload *w, const char *type, int64_t now);
int fake_status(const struct fake_workload *w, struct berth_status **ret, struct berth_error *err);

/* calls.c */
enum fake_kind { FAKE_STOP, FAKE_RESTART, FAKE_WAIT, FAKE_EXEC, FAKE_ATTACH };
int fake_call_new(struct fake *f, struct fake_workload *w, int kind, struct berth_call **ret_call,
                  struct berth_error *err);
int fake_exec_call(struct fake *f, struct fake_workload *w, const char *const *argv,
                   const struct berth_exec_options *o, struct berth_call **ret_call,
                   struct berth_error *err);
int fake_attach_call(struct fake *f, struct fake_workload *w, const struct berth_attach_options *o,
                     struct berth_call **ret_call, struct berth_error *err);
void fake_calls_wake(struct fake *f);
/** Somebody joined its next start and has not let go yet. */
bool fake_is_awaited(const struct fake *f, const struct fake_workload *w);
/** A workload is about to go: waiting calls keep its end. */
void fake_calls_part(struct fake *f, const struct fake_workload *w);

/* feeds.c */
int fake_logs_stream(struct fake *f, struct fake_workload *w, const struct berth_logs_options *o,
                     struct berth_stream **ret_stream, struct berth_error *err);
int fake_events_stream(struct fake *f, const struct berth_events_options *o,
                       struct berth_stream **ret_stream, struct berth_error *err);
void fake_feeds_push(struct fake *f);
void fake_feeds_part(struct fake *f, const struct fake_workload *w);

#endif
