/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is due when: a queue for each span of time, each in order by itself.
 */
#include "dns/worker.h"
#include "base/base.h"
#include "base/text.h"

static const int64_t spans_usec[SPAN_COUNT] = {
    [SPAN_FIRST] = 700000, [SPAN_SECOND] = 800000, [SPAN_THIRD] = 1500000, [SPAN_LAST] = 1800000, /* together under the 5 s that resolvers wait */
    [SPAN_STREAM] = 10000000,
};

void deadline_clear(struct worker *w, struct deadline *d)
{
    if (!d->set)
        return;
    if (d->previous)
        d->previous->next = d->next;
    else
        w->queues[d->span].first = d->next;
    if (d->next)
        d->next->previous = d->previous;
    else
        w->queues[d->span].last = d->previous;
    d->set = false;
}

void deadline_set(struct worker *w, struct deadline *d, enum span span,
                  void (*on_due)(struct worker *w, struct deadline *deadline))
{
    deadline_clear(w, d);
    *d = (struct deadline){.previous = w->queues[span].last,
                           .due_usec = monotonic_usec() + spans_usec[span],
                           .span = span,
                           .set = true,
                           .on_due = on_due};
    if (d->previous)
        d->previous->next = d;
    else
        w->queues[span].first = d;
    w->queues[span].last = d;
}

int deadlines_run(struct worker *w)
{
    int64_t now = monotonic_usec(), next = INT64_MAX;
    for (int span = 0; span < SPAN_COUNT; span++) {
        struct deadline *d;
        while ((d = w->queues[span].first) && d->due_usec <= now) {
            deadline_clear(w, d);
            d->on_due(w, d);
        }
    }
    for (int span = 0; span < SPAN_COUNT; span++)
        if (w->queues[span].first)
            next = MIN(next, w->queues[span].first->due_usec);
    return next == INT64_MAX ? -1 : (int)((next - now) / 1000 + 1);
}
