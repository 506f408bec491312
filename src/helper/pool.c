/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper of namespaces made ahead, as long as whoever asked for them lives.
 *
 * One at a time and only when nobody has come for a moment: what is made ahead must not stand in the way
 * of those who start.
 */
#include "helper/helper.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/net_pool.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define POOL_MAX 1000
#define QUIET_MSEC 20 /* after the last one who came */
#define BACKLOG 1024

struct ready {
    struct net_pooled what;
    int ns_fd;
};

struct pool {
    struct ready *ready;
    size_t n, wanted;
    const char *hash;
    int run_fd, lock_fd, listen_fd;
    struct netlink nl;
};

static void pool_end(struct pool *p)
{
    for (size_t i = 0; i < p->n; i++)
        close(p->ready[i].ns_fd); /* its link goes with it */
    if (p->listen_fd >= 0) {
        (void)unlinkat(p->run_fd, NET_POOL_SOCKET, 0);
        (void)unlinkat(p->run_fd, NET_POOL_LINKS, 0);
    }
    free(p->ready);
    netlink_close(&p->nl);
    close_fd(&p->listen_fd);
    close_fd(&p->lock_fd);
    close_fd(&p->run_fd);
}

/* Before one is made, and when it is quiet: who came has written down what he got by then. */
static int write_links(const struct pool *p)
{
    autotext struct text t = {0};
    for (size_t i = 0; i < p->n; i++)
        text_printf(&t, "%s\n", p->ready[i].what.link);
    return t.failed ? -ENOMEM : file_write(p->run_fd, NET_POOL_LINKS, t.data ? t.data : "", t.length, 0600, 0);
}

static int make_one(struct pool *p, struct berth_error *err)
{
    struct ready *r = &p->ready[p->n];
    int failed = net_pool_make(&p->nl, p->hash, (uint32_t)net_default_mtu(&p->nl), &r->what, &r->ns_fd, err);
    if (failed == 0)
        p->n++;
    return failed < 0 ? failed : write_links(p);
}

static bool is_root(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == 0;
}

static void hand_out(struct pool *p)
{
    autoclose int fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 || !is_root(fd) || p->n == 0)
        return; /* he makes his own */
    struct ready *r = &p->ready[--p->n];
    (void)send_with_fds(fd, &r->what, sizeof(r->what), &r->ns_fd, 1);
    close(r->ns_fd);
}

static int pool_open(struct pool *p, const char *run, struct berth_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    p->run_fd = open(run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->run_fd < 0 || (mkdirat(p->run_fd, NET_POOL_FOLDER, 0700) < 0 && errno != EEXIST))
        return fail_os(err, errno, run, "make %s/" NET_POOL_FOLDER, run);
    p->lock_fd = openat(p->run_fd, NET_POOL_LOCK, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int r = p->lock_fd < 0 ? -errno : lock_take(p->lock_fd);
    if (r < 0)
        return r == -EAGAIN ? fail(err, BERTH_EXISTS, run, "a pool is kept already for %s", run) : fail_os(err, r, run, "lock the pool of %s", run);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" NET_POOL_SOCKET, p->run_fd);
    (void)unlinkat(p->run_fd, NET_POOL_SOCKET, 0); /* of one that was killed */
    p->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->listen_fd < 0 || bind(p->listen_fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(p->listen_fd, BACKLOG) < 0)
        return fail_os(err, errno, run, "listen on %s/" NET_POOL_SOCKET, run);
    r = netlink_open(&p->nl, NETLINK_ROUTE);
    return r < 0 ? fail_os(err, r, run, "open a netlink socket") : 0;
}

/* Until descriptor 0 ends: whoever asked for the pool holds its other end. */
static int keep(struct pool *p, struct berth_error *err)
{
    struct pollfd fds[] = {{.fd = 0, .events = POLLIN}, {.fd = p->listen_fd, .events = POLLIN}};
    for (;;) {
        int n = RETRY(poll(fds, ARRAY_SIZE(fds), p->n < p->wanted ? QUIET_MSEC : -1));
        if (n < 0 || fds[0].revents)
            return 0;
        if (n > 0)
            hand_out(p);
        else if (make_one(p, err) < 0)
            return err->code;
    }
}

int applet_pool(int argc, char **argv, struct berth_error *err)
{
    autoclean(pool_end) struct pool p = {.hash = argv[2], .run_fd = -1, .lock_fd = -1, .listen_fd = -1, .nl = NETLINK_NONE};
    long long wanted;
    int r = applet_number(argv[3], &wanted, err);
    if (r == 0 && (wanted < 1 || wanted > POOL_MAX))
        r = fail(err, BERTH_INVALID, argv[3], "a pool has 1 to %d namespaces, not %s", POOL_MAX, argv[3]);
    if (r == 0 && !(p.ready = calloc((size_t)wanted, sizeof(*p.ready))))
        r = fail_memory(err);
    if (r < 0)
        return r;
    p.wanted = (size_t)wanted;
    (void)setrlimit(RLIMIT_NOFILE, &(struct rlimit){POOL_MAX + 64, POOL_MAX + 64});
    r = pool_open(&p, argv[1], err);
    while (r == 0 && p.n < p.wanted)
        r = make_one(&p, err);
    if (r == 0 && fd_write_all(1, "ready\n", 6) < 0)
        r = fail(err, BERTH_LOST, argv[1], "nobody wants a pool any more");
    return r < 0 ? r : keep(&p, err);
}
