/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop over epoll and one timerfd.
 */
#include "supervisor/loop.h"
#include "base/base.h"
#include "base/text.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>

static void clock_rings(struct supervisor *s, struct source *source, uint32_t events);

int loop_open(struct loop *loop)
{
    *loop = (struct loop){.epoll_fd = -1, .clock = SOURCE_NONE};
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd < 0)
        return -errno;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    return source_watch(loop, &loop->clock, fd, EPOLLIN, clock_rings);
}

int source_watch(struct loop *loop, struct source *source, int fd, uint32_t events,
                 void (*on_event)(struct supervisor *s, struct source *source, uint32_t events))
{
    struct epoll_event e = {.events = events, .data.ptr = source};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    *source = (struct source){.fd = fd, .events = events, .on_event = on_event};
    return 0;
}

/*
 * epoll reports hang-ups even of a source that asks for nothing, and a level that nobody handles
 * would spin: such a source leaves the set until it asks again.
 */
void source_change(struct loop *loop, struct source *source, uint32_t events)
{
    if (source->fd < 0 || source->events == events)
        return;
    struct epoll_event e = {.events = events, .data.ptr = source};
    int how = !events ? EPOLL_CTL_DEL : !source->events ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(loop->epoll_fd, how, source->fd, &e) == 0)
        source->events = events;
}

void source_close(struct loop *loop, struct source *source)
{
    if (source->fd < 0)
        return;
    /* Said explicitly: a child between clone and exec still holds the open file, and epoll goes by
     * it. */
    if (source->events)
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    close_fd(&source->fd);
    source->events = 0;
}

/* ---- timers -----------------------------------------------------------------------------------
 */

static void clock_arm(struct loop *loop)
{
    int64_t due = 0;
    for (struct timer *t = loop->timers; t; t = t->next)
        if (!due || t->due_usec < due)
            due = t->due_usec;
    struct itimerspec at = {.it_value = {.tv_sec = due / 1000000, .tv_nsec = due % 1000000 * 1000}};
    timerfd_settime(loop->clock.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void timer_unlink(struct loop *loop, struct timer *timer)
{
    for (struct timer **t = &loop->timers; *t; t = &(*t)->next) {
        if (*t == timer) {
            *t = timer->next;
            break;
        }
    }
    timer->due_usec = 0;
}

void timer_set(struct loop *loop, struct timer *timer, int64_t delay_usec,
               void (*on_due)(struct supervisor *s, struct timer *timer))
{
    if (timer->due_usec)
        timer_unlink(loop, timer);
    int64_t now = monotonic_usec();
    delay_usec = MAX(delay_usec, 0);
    timer->due_usec = delay_usec > INT64_MAX / 2 - now ? INT64_MAX / 2 : now + delay_usec;
    timer->on_due = on_due;
    timer->next = loop->timers;
    loop->timers = timer;
    clock_arm(loop);
}

void timer_clear(struct loop *loop, struct timer *timer)
{
    if (!timer->due_usec)
        return;
    timer_unlink(loop, timer);
    clock_arm(loop);
}

/* Handles one timer: its handler may set and clear others. The clock rings again for the next. */
static void clock_rings(struct supervisor *s, struct source *source, uint32_t events)
{
    struct loop *loop = HOLDER(source, struct loop, clock);
    uint64_t count;
    if (RETRY(read(source->fd, &count, sizeof(count))) < 0)
        return;
    int64_t now = monotonic_usec();
    struct timer *due = NULL;
    for (struct timer *t = loop->timers; t; t = t->next)
        if (t->due_usec <= now && (!due || t->due_usec < due->due_usec))
            due = t;
    if (due) {
        timer_unlink(loop, due);
        due->on_due(s, due);
    }
    clock_arm(loop);
}

/* ---- running ----------------------------------------------------------------------------------
 */

void loop_once(struct supervisor *s, struct loop *loop, int timeout_msec)
{
    struct epoll_event e;
    if (epoll_wait(loop->epoll_fd, &e, 1, timeout_msec) == 1) {
        struct source *source = e.data.ptr;
        source->on_event(s, source, e.events);
    }
}

void loop_run(struct supervisor *s, struct loop *loop)
{
    while (!loop->over)
        loop_once(s, loop, -1);
}
