/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health, readiness, liveness: commands run inside, with docker's timing.
 *
 * The interval counts from the end of one check to the begin of the next. Within the start period
 * checks come at the start interval and failures don't count, until the first success.
 */
#include "supervisor/supervisor.h"
#include "base/base.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

#define INTERVAL_USEC       30000000
#define START_INTERVAL_USEC 5000000
#define RETRIES             3

static const struct plan_probe *probe_plan(const struct plan *plan, int kind)
{
    const struct plan_probe *const all[PROBE_COUNT] = {[PROBE_HEALTH] = &plan->health,
                                                       [PROBE_READINESS] = &plan->readiness,
                                                       [PROBE_LIVENESS] = &plan->liveness};
    return all[kind];
}

static bool in_start_period(const struct probe *p)
{
    return !p->passed && monotonic_usec() - p->begun_usec < p->plan->start_period_usec;
}

static void probe_due(struct supervisor *s, struct timer *timer);

static void probe_schedule(struct supervisor *s, struct probe *p)
{
    int64_t usec = p->plan->interval_usec > 0 ? p->plan->interval_usec : INTERVAL_USEC;
    int64_t start_usec =
        p->plan->start_interval_usec > 0 ? p->plan->start_interval_usec : START_INTERVAL_USEC;
    timer_set(&s->loop, &p->timer, in_start_period(p) ? MIN(start_usec, usec) : usec, probe_due);
}

/* A paused program can't answer: it is asked again later. */
static void probe_due(struct supervisor *s, struct timer *timer)
{
    struct probe *p = HOLDER(timer, struct probe, timer);
    struct berth_error err;
    if (s->state != LIFE_RUNNING)
        return probe_schedule(s, p);
    p->last = (struct status_probe){.start_usec = now_usec()};
    p->n_output = 0;
    if (exec_probe(s, p, &err) < 0)
        probe_ended(s, p, -1, false, err.message);
}

void probes_begin(struct supervisor *s)
{
    for (int kind = 0; kind < PROBE_COUNT; kind++) {
        struct probe *p = &s->probes[kind];
        *p = (struct probe){.plan = probe_plan(s->plan, kind), .begun_usec = monotonic_usec()};
        if (p->plan->argv && p->plan->argv[0])
            probe_schedule(s, p);
    }
}

void probes_end(struct supervisor *s)
{
    for (int kind = 0; kind < PROBE_COUNT; kind++) {
        struct probe *p = &s->probes[kind];
        timer_clear(&s->loop, &p->timer);
        if (p->exec) {
            p->exec->probe = NULL;
            exec_kill(TAKE(p->exec));
        }
    }
}

static void log_result(struct status *record, const struct status_probe *result)
{
    if (record->n_health_log == STATUS_HEALTH_LOG)
        memmove(record->health_log, record->health_log + 1,
                sizeof(*result) * (STATUS_HEALTH_LOG - 1));
    else
        record->n_health_log++;
    record->health_log[record->n_health_log - 1] = *result;
}

static void health_changed(struct supervisor *s, struct probe *p, bool failed_for_good)
{
    int before = s->record.health;
    log_result(&s->record, &p->last);
    s->record.health_failures = (uint32_t)p->failures;
    if (p->last.exit_code == 0)
        s->record.health = BERTH_HEALTHY;
    else if (failed_for_good)
        s->record.health = BERTH_UNHEALTHY;
    record_write(s, false);
    if (s->record.health != before)
        record_event(s, "health",
                     s->record.health == BERTH_HEALTHY ? "\"health\":\"healthy\""
                                                       : "\"health\":\"unhealthy\"");
}

static void readiness_changed(struct supervisor *s, struct probe *p, bool failed_for_good)
{
    bool ready = p->last.exit_code == 0 || (s->record.ready && !failed_for_good);
    if (ready == s->record.ready)
        return;
    s->record.ready = ready;
    record_write(s, false);
    record_event(s, "ready", ready ? "\"ready\":true" : "\"ready\":false");
}

static void count(struct probe *p)
{
    if (p->last.exit_code == 0) {
        p->passed = true;
        p->failures = 0;
    } else if (!in_start_period(p)) {
        p->failures++;
    }
}

static void act_on_failure(struct supervisor *s, struct probe *p, int kind)
{
    static const char *const names[PROBE_COUNT] = {"health", "readiness", "liveness"};
    char reason[160];
    if (!p->plan->on_failure)
        return;
    snprintf(reason, sizeof(reason), "the %s command failed %d times in a row (%s)", names[kind],
             p->failures, p->plan->on_failure == 1 ? "restarted" : "stopped");
    hear(s, HEARD_UNFIT, &(struct request){.restart = p->plan->on_failure == 1, .reason = reason});
}

void probe_ended(struct supervisor *s, struct probe *p, int exit_code, bool timed_out,
                 const char *why)
{
    int kind = (int)(p - s->probes);
    p->exec = NULL;
    if (s->state != LIFE_RUNNING) /* frozen meanwhile: its failure says nothing */
        return probe_schedule(s, p);
    p->last.end_usec = now_usec();
    p->last.exit_code = timed_out ? -1 : exit_code;
    if (timed_out)
        snprintf(p->last.output, sizeof(p->last.output), "timed out");
    else if (why)
        snprintf(p->last.output, sizeof(p->last.output), "%.199s", why);
    count(p);
    bool for_good = p->failures >= (p->plan->retries > 0 ? p->plan->retries : RETRIES);
    probe_schedule(s, p);
    if (kind == PROBE_HEALTH)
        health_changed(s, p, for_good);
    else if (kind == PROBE_READINESS)
        readiness_changed(s, p, for_good);
    if (for_good)
        act_on_failure(s, p, kind);
}
