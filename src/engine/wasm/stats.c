/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page of counters, summed by whoever asks. The worker is not asked, and what it wrote is not trusted:
 * a number may be wrong, nothing else follows from it.
 */
#include "wasm/inside.h"
#include <fcntl.h>

static void add_slot(struct berth_stats *s, const struct berth_wasm_slot *slot)
{
    s->wasm_instances += slot->instances;
    s->wasm_instantiations += slot->instantiations;
    s->wasm_requests += slot->requests;
    s->wasm_active += slot->active_requests;
    s->wasm_waiting += slot->waiting;
    s->wasm_traps += slot->traps;
    s->wasm_timeouts += slot->timeouts;
    s->wasm_memory_outs += slot->memory_outs;
    s->wasm_rejected += slot->rejected;
    s->wasm_cancelled += slot->cancelled;
    s->wasm_bad_requests += slot->bad_requests;
    s->wasm_memory_bytes += slot->memory_bytes;
    s->wasm_memory_peak_bytes += slot->memory_peak_bytes;
    s->wasm_cpu_usec += slot->cpu_nsec / 1000;
    s->wasm_connections += slot->connections;
}

void wasm_stats(struct workload *w, struct berth_stats *ret)
{
    struct berth_wasm_page page;
    int run_fd = workload_run_fd(w, NULL);
    autoclose int fd = run_fd < 0 ? -1 : openat(run_fd, PAGE_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || RETRY(pread(fd, &page, sizeof(page), 0)) != (ssize_t)sizeof(page) || page.magic != BERTH_WASM_PAGE_MAGIC)
        return;
    ret->has_wasm = true;
    ret->wasm_pool = page.pool;
    for (uint32_t i = 0; i < MIN(page.n_slots, (uint32_t)BERTH_WASM_SLOTS); i++)
        add_slot(ret, &page.slots[i]);
}
