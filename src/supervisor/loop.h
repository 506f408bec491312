/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop: descriptors and deadlines, one event at a time.
 *
 * One at a time, because the handling of one event may free the source of the next: an event that
 * is fetched after that cannot point to it. The kernel keeps the order fair.
 */
#ifndef SUPERVISOR_LOOP_H
#define SUPERVISOR_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct supervisor;

/** A watched descriptor. Zero-initialise with SOURCE_NONE; lives inside whatever it belongs to. */
struct source {
    int fd;
    uint32_t events;
    void (*on_event)(struct supervisor *s, struct source *source, uint32_t events);
};
#define SOURCE_NONE ((struct source){.fd = -1})

/** A deadline. Zero-initialised is unset. */
struct timer {
    int64_t due_usec; /* CLOCK_MONOTONIC; 0: unset */
    void (*on_due)(struct supervisor *s, struct timer *timer);
    struct timer *next;
};

struct loop {
    int epoll_fd;
    struct source clock; /* one timerfd for all timers */
    struct timer *timers;
    bool over;
};

/** 0 or -errno. */
int loop_open(struct loop *loop);
/** Watch `fd`, which is the source's from now on, also when this fails (then it is closed). 0 or
 * -errno. */
int source_watch(struct loop *loop, struct source *source, int fd, uint32_t events,
                 void (*on_event)(struct supervisor *s, struct source *source, uint32_t events));
/** Wait for other events; 0 is none (not even hang-ups). */
void source_change(struct loop *loop, struct source *source, uint32_t events);
/** Stop watching and close. An unwatched source is left alone. */
void source_close(struct loop *loop, struct source *source);

/** Set (again): due in `delay_usec`, which may be 0. */
void timer_set(struct loop *loop, struct timer *timer, int64_t delay_usec,
               void (*on_due)(struct supervisor *s, struct timer *timer));
void timer_clear(struct loop *loop, struct timer *timer);

/** Until loop->over. */
void loop_run(struct supervisor *s, struct loop *loop);
/** Handle at most one event, waiting at most `timeout_msec`. */
void loop_once(struct supervisor *s, struct loop *loop, int timeout_msec);

/** The struct that a source or timer lives in. */
#define HOLDER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
