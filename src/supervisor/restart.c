/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The restart policy: whether to run again, and after how long.
 *
 * The delay doubles from one quick end to the next; a run that lasted takes it back to the first.
 */
#include "supervisor/supervisor.h"
#include "base/base.h"

#define DELAY_USEC 100000
#define CAP_USEC   60000000
#define RESET_USEC 10000000

static bool policy_wants(const struct plan *plan, const struct status *record)
{
    bool room = plan->restart.max < 0 || record->restarts < (uint32_t)plan->restart.max;
    switch (plan->restart.policy) {
    case PLAN_RESTART_ON_FAILURE:
        return room && record->state == BERTH_FAILED;
    case PLAN_RESTART_ALWAYS:
    case PLAN_RESTART_UNLESS_STOPPED:
        return room;
    default:
        return false;
    }
}

bool restart_due(const struct plan *plan, const struct status *record, int *doublings,
                 int64_t ran_usec, int64_t *ret_delay_usec)
{
    int64_t delay_usec = plan->restart.delay_usec > 0 ? plan->restart.delay_usec : DELAY_USEC;
    int64_t cap_usec = plan->restart.cap_usec > 0 ? plan->restart.cap_usec : CAP_USEC;
    int64_t reset_usec = plan->restart.reset_usec > 0 ? plan->restart.reset_usec : RESET_USEC;
    if (ran_usec >= reset_usec)
        *doublings = 0;
    for (int i = 0; i < *doublings && delay_usec < cap_usec; i++)
        delay_usec *= 2;
    if (*doublings < 62)
        ++*doublings;
    *ret_delay_usec = MIN(delay_usec, cap_usec);
    return policy_wants(plan, record);
}
