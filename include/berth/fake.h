/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake.h: an engine in memory, for callers' own tests.
 *
 * "fake" passes the contract suite without root, kernel or files: workloads are scripts. A spec's
 * command is a list of steps, run on a virtual program: "print TEXT", "eprint TEXT", "sleep 250ms",
 * "exit N", "ignore SIGNAL", "wait" (until a signal), "oom"; no command is "wait".
 * An exec's argv is such a list too; there "cat" copies its stdin to its stdout. An image whose name
 * holds "missing" is NOT_FOUND.
 *
 * Nothing runs between two entries into the runtime: each entry first plays what the clock says has
 * happened. So a stream that follows gets its bytes at every entry, also those of a poll loop that
 * finishes a wait; a thread that only reads one needs another that waits for the workload.
 */
#ifndef BERTH_FAKE_H
#define BERTH_FAKE_H

#include <berth/berth.h>

#ifdef __cplusplus
extern "C" {
#endif

/** End the program of a running fake workload as if by itself. UNSUPPORTED for another engine's. */
BERTH_PUBLIC int berth_fake_exit(struct berth_runtime *runtime, const struct berth_handle *handle,
                                 int exit_code, struct berth_error *err);

/** Append bytes to a fake workload's log, as if its program had written them. */
BERTH_PUBLIC int berth_fake_write(struct berth_runtime *runtime, const struct berth_handle *handle,
                                  uint32_t stream, const void *data, size_t size,
                                  struct berth_error *err);

/** Set its health as a health command would. */
BERTH_PUBLIC int berth_fake_set_health(struct berth_runtime *runtime,
                                       const struct berth_handle *handle, int health,
                                       struct berth_error *err);

/** Move the runtime's clock forward, so that restart delays and timeouts pass without waiting. */
BERTH_PUBLIC int berth_fake_advance(struct berth_runtime *runtime, int64_t usec,
                                    struct berth_error *err);

#ifdef __cplusplus
}
#endif
#endif
