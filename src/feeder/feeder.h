/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth-docker: what the engine "docker" cannot do in its caller's process, where nothing may wait.
 *
 *   berth-docker logs HOST CERTS CONTAINER [--minor N] [--tty] [--follow] [--timestamps] [--frames] [--streams N] [--tail N]
 *                [--since USEC] [--until USEC]
 *       The log of a container to descriptor 1, as berth_logs() says it. Descriptor 3: RUN/ID.
 *   berth-docker end HOST CERTS CONTAINER EXEC [MARK [USER]]
 *       Ends the process of an exec that nobody waits for any more: here by its number, at another machine by its mark.
 *   berth-docker reap HOST CERTS CONTAINER ROOT RUN ID
 *       Waits until the container has ended and nobody holds RUN/ID/held, then removes it and the workload.
 */
#ifndef FEEDER_FEEDER_H
#define FEEDER_FEEDER_H

#include "base/error.h"

/** argv[0] is the verb. 0 or a berth code. */
int run_logs(int argc, char **argv, struct berth_error *err);
int run_end(int argc, char **argv, struct berth_error *err);
int run_reap(int argc, char **argv, struct berth_error *err);

/** Where this program lies, and so does berth-relay. free(3) */
char *own_folder(void);

#endif
