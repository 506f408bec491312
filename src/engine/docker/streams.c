/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs and events: a pipe, and a program of berth's at its other end.
 */
#include "docker/inside.h"
#include "engine/feed.h"
#include <fcntl.h>

static int feed(const struct docker *d, const struct feed *f, int fd, struct berth_stream **ret_stream, struct berth_error *err)
{
    const int fds[2] = {fd, -1};
    autofree char *path = format_text("%s/%s", d->programs, f->words[0]);
    return path ? feed_start(f, path, fds, ret_stream, err) : fail_memory(err);
}

static bool has_terminal(const struct box *b)
{
    struct spec *spec = NULL;
    bool tty = box_spec(b, &spec, NULL) == 0 && spec->tty;
    spec_free(spec);
    return tty;
}

/** What its program must know is in the folder: so it begins while the daemon is asked whether there still is one. */
int docker_logs(void *self, const struct berth_handle *h, const struct berth_logs_options *o, struct berth_stream **ret,
                struct berth_error *err)
{
    autobox b = {0};
    autoanswer seen = NULL;
    struct feed f = {0};
    struct berth_stream *stream = NULL;
    int r = box_open(self, h, &b, err);
    int run_fd = r == 0 ? workload_run_fd(b.folder, err) : r;
    if (run_fd < 0)
        return run_fd;
    feed_add(&f, "berth-docker");
    feed_add(&f, "logs");
    feed_add(&f, b.daemon->host);
    feed_add(&f, b.daemon->certs ? b.daemon->certs : "");
    feed_add(&f, b.container);
    feed_add_number(&f, "--minor", (uint64_t)b.daemon->minor);
    if (has_terminal(&b))
        feed_add(&f, "--tty");
    feed_add_logs(&f, o);
    r = feed(self, &f, run_fd, &stream, err);
    if (r == 0)
        r = box_inspect(&b, "logs", &seen, err);
    if (r < 0)
        berth_stream_free(stream);
    else
        *ret = stream;
    return r;
}

/** The root's own events: what berth did, and the ends that it saw. */
int docker_events(void *self, const struct berth_events_options *o, struct berth_stream **ret, struct berth_error *err)
{
    struct feed f = {0};
    struct store *store;
    int r = docker_store(self, true, &store, err);
    if (r < 0)
        return r;
    feed_add_events(&f, o);
    autoclose int root_fd = open(store_root(store), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0)
        return fail_os(err, errno, NULL, "open %s", store_root(store));
    return feed(self, &f, root_fd, ret, err);
}
