/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status record: what the supervisor writes down, what everybody reads.
 *
 * One small JSON file, replaced whole. Whoever holds `life` writes it; when nobody does, whoever
 * holds `change`. A record that says running while `life` is free is a death nobody recorded.
 */
#ifndef MODEL_STATUS_H
#define MODEL_STATUS_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

#define STATUS_VERSION 1
#define STATUS_HEALTH_LOG 5

struct status_probe { int64_t start_usec, end_usec; int exit_code; char output[200]; };
struct status {
    uint32_t version;
    int state;                      /* enum berth_state */
    char boot_id[40];               /* of the boot in which it was written */
    int32_t pid, supervisor_pid;
    int32_t exit_code, signal, oom; /* exit_code -1 until it ended */
    int32_t health; uint32_t health_failures;
    bool ready;                     /* readiness probe, true without one */
    bool wanted;                    /* start was asked and no stop since: what `boot` goes by */
    uint32_t restarts;
    int64_t created_usec, started_usec, ended_usec, next_start_usec;
    uint64_t memory_limit, memory_peak, log_dropped_bytes, log_dropped_lines;
    int32_t start_error;            /* enum berth_code of the last failed start, 0 */
    char reason[512];
    char cgroup[200];               /* path below each hierarchy's mount: "/berth-xx/ID" */
    struct status_probe health_log[STATUS_HEALTH_LOG]; uint32_t n_health_log;
};

int status_parse(const char *json, size_t length, struct status *ret_status, struct berth_error *err);
char *status_print(const struct status *status); /* free(3) */

#endif
