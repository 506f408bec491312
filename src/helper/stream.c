/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Applets that feed a stream: logs and events, as long as somebody reads.
 */
#include "helper/helper.h"
#include "base/base.h"
#include "store/log.h"
#include "store/store.h"

int applet_logs(int argc, char **argv, struct berth_error *err)
{
    struct log_options options = {0};
    long long workload_fd, life_fd, streams = 0, tail = 0, since = 0, until = 0;
    const struct applet_option table[] = {
        {"--follow", .ret_flag = &options.follow},
        {"--timestamps", .ret_flag = &options.timestamps},
        {"--frames", .ret_flag = &options.frames},
        {"--streams", .ret_number = &streams},
        {"--tail", .ret_number = &tail, .ret_given = &options.has_tail},
        {"--since", .ret_number = &since},
        {"--until", .ret_number = &until},
    };
    int r = applet_number(argv[1], &workload_fd, err);
    if (r == 0)
        r = applet_number(argv[2], &life_fd, err);
    if (r == 0)
        r = applet_options(argv + 3, table, ARRAY_SIZE(table), err);
    if (r < 0)
        return r;
    if (tail < 0)
        return fail(err, BERTH_INVALID, "--tail", "--tail must not be negative");
    options.streams = (uint32_t)streams;
    options.tail = (uint64_t)tail;
    options.since_usec = since;
    options.until_usec = until;
    return log_pump((int)workload_fd, (int)life_fd, &options, STDOUT_FILENO, err);
}

int applet_events(int argc, char **argv, struct berth_error *err)
{
    long long root_fd, since = 0, until = 0;
    bool follow = false;
    const char *name = NULL;
    const struct applet_option table[] = {
        {"--follow", .ret_flag = &follow},
        {"--since", .ret_number = &since},
        {"--until", .ret_number = &until},
        {"--name", .ret_text = &name},
    };
    int r = applet_number(argv[1], &root_fd, err);
    if (r == 0)
        r = applet_options(argv + 2, table, ARRAY_SIZE(table), err);
    if (r < 0)
        return r;
    return events_pump((int)root_fd, since, until, follow, name, STDOUT_FILENO, err);
}
