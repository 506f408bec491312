/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The process of an exec whose caller has gone: nobody would hear of it any more.
 *
 * The caller may have gone before the daemon has started it, and no event tells when it has: so it is looked at for
 * some seconds.
 */
#include "feeder/feeder.h"
#include "docker/answer.h"
#include "docker/mark.h"
#include "linux/descent.h"
#include <poll.h>
#include <signal.h>
#include <string.h>

#define LOOKS_MAX 500
#define LOOK_MSEC 10
#define LOOKS_FOR_A_SIGNAL 50 /* how long a second exec may take to find it */

struct orphan { const char *container, *exec_id, *mark, *user; unsigned running; };

/** 1: it has ended or is certain to; 0: not yet. */
static int end_it(struct daemon *d, struct orphan *o)
{
    autorequest r = {.method = "GET", .path = format_text("/exec/%s/json", o->exec_id)};
    autoanswer seen = NULL;
    if (daemon_ask(d, &r, NULL) < 0 || answer_json(&r, "end", o->exec_id, &seen, NULL) < 0)
        return 1;
    if (!true_at(seen, "Running"))
        return json_is_integer(at(seen, "ExitCode"));
    if (!*o->mark)
        return number_at(seen, "Pid") > 0 && process_signal((int)number_at(seen, "Pid"), o->container, SIGKILL) == 0;
    if (o->running++ % LOOKS_FOR_A_SIGNAL == 0)
        mark_signal(d, o->container, o->mark, o->user, SIGKILL, NULL);
    return 0;
}

int run_end(int argc, char **argv, struct berth_error *err)
{
    struct orphan o = {.container = argv[3], .exec_id = argv[4], .mark = argc > 5 ? argv[5] : "", .user = argc > 6 ? argv[6] : NULL};
    autofree char *programs = own_folder();
    struct daemon *daemon = programs ? daemon_new(argv[1], *argv[2] ? argv[2] : NULL, programs) : NULL;
    if (!daemon)
        return fail_memory(err);
    for (int looks = 0; looks < LOOKS_MAX && !end_it(daemon, &o); looks++)
        poll(NULL, 0, LOOK_MSEC);
    daemon_free(daemon);
    return 0;
}
