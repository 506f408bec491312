/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor's side of names: says its record to `berth-dns`, and starts one when there is none.
 *
 * The connection is also the watch: when it ends, berth-dns has died, and the first supervisor that
 * gets the lock starts the next; all say their records again. The last one that hangs up ends it.
 */
#ifndef SUPERVISOR_NAMES_H
#define SUPERVISOR_NAMES_H

#include "model/names.h"
#include "supervisor/loop.h"

#define NAMES_WAIT_MSEC 500 /* at a start or change, for names to be known */

struct supervisor;

/**
 * Make the names known, or change them (after connect, disconnect, rename): `names` is borrowed and
 * is the whole truth. Starts berth-dns when there is none (its program lies beside the supervisor's).
 * Does not wait for it: the start goes on meanwhile. A failure is of memory or a record that is too
 * big; a berth-dns that can't run is tried for again until names_end.
 */
int names_begin(struct supervisor *s, const struct names *names, struct berth_error *err);
/** The same with what the plan says; without links: names_end. */
int names_of_plan(struct supervisor *s, struct berth_error *err);
/** Wait until queries see them, at most `timeout_msec`. IO with berth-dns's own words when it could
 *  not (a gateway without its address, port 53 taken); the names are tried for again all the same.
 *  0 at once when names_begin was not called. */
int names_settle(struct supervisor *s, int timeout_msec, struct berth_error *err);
/** What is wrong with names goes to the events, for the workload itself runs. */
void names_tell(struct supervisor *s, const struct berth_error *trouble);
/** The workload has ended: names gone. Twice is fine. */
void names_end(struct supervisor *s);

#endif
