/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs and events: a pipe, and berth-helper at its other end. The stream's end is the helper's.
 */
#include "local/inside.h"
#include "engine/feed.h"
#include <fcntl.h>

static int feed(const struct local *c, const struct feed *f, const int fds[2], struct berth_stream **ret_stream,
                struct berth_error *err)
{
    autofree char *path = NULL;
    int r = local_program(c, "berth-helper", &path, err);
    return r < 0 ? r : feed_start(f, path, fds, ret_stream, err);
}

int local_logs(void *self, const struct berth_handle *h, const struct berth_logs_options *o,
                   struct berth_stream **ret, struct berth_error *err)
{
    struct local *c = self;
    struct feed f = {0};
    autoworkload w = NULL;
    autoclose int life_fd = -1;
    int r = local_get(c, h, &w, err);
    if (r == 0)
        r = workload_life_fd(w, &life_fd, err);
    if (r < 0)
        return r;
    feed_add(&f, "berth-helper");
    feed_add(&f, "logs");
    feed_add(&f, "3");
    feed_add(&f, "4");
    feed_add_logs(&f, o);
    const int fds[2] = {workload_fd(w), life_fd};
    return feed(c, &f, fds, ret, err);
}

int local_events(void *self, const struct berth_events_options *o, struct berth_stream **ret,
                     struct berth_error *err)
{
    struct local *c = self;
    struct feed f = {0};
    struct store *store;
    int r = local_store(c, true, &store, err); /* a follower may be there before the first create */
    if (r < 0)
        return r;
    feed_add_events(&f, o);
    autoclose int root_fd = open(store_root(store), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return fail_os(err, errno, NULL, "open %s", store_root(store));
    const int fds[2] = {root_fd, -1};
    return feed(c, &f, fds, ret, err);
}
