/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth-dns: names of workloads, one per root, as long as a workload has any.
 *
 * This is the keeper: it listens for supervisors, makes sockets, follows the host's resolvers and feeds the
 * worker, which does all that is hostile. When either dies the other does, and a supervisor
 * starts a new pair. It has the lock and the listening socket from the supervisor that started it.
 */
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "dns/feed.h"
#include "dns/jail.h"
#include "dns/listen.h"
#include "dns/resolvers.h"
#include "linux/cgroup.h"
#include "linux/net_filter.h"
#include "model/names.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { FD_LOCK = 3, FD_LISTEN, FD_END };

#define PATIENCE_MSEC 5000 /* for the first supervisor */
#define LINGER_MSEC 200    /* for another one after the last */
#define FEED_SECONDS 5     /* a worker that takes nothing for so long is ended */
#define DESCRIPTORS_MAX 65536

/** Sockets of one gateway; those who use them keep them open. */
struct listener {
    struct listener *next;
    char *network;
    struct address gateway;
    uint16_t port;
    unsigned users;
};

struct connection {
    struct connection *next;
    int fd;
    uint32_t number, sequence;
    struct listener **uses;
    size_t n_uses;
    char trouble[FEED_TEXT]; /* with sockets, of the record that is on its way */
};

struct keeper {
    int epoll_fd, feed_fd, worker_pid_fd;
    pid_t worker_pid;
    struct listener *listeners;
    struct connection *connections;
    uint32_t last_number;
    struct resolvers resolvers;
    char hash[9]; /* of the root; "": not told */
    int64_t alone_since_usec;
    bool over;
};

/* ---- feeding the worker -----------------------------------------------------------------------
 */

static void feed(struct keeper *k, const struct feed_head *head, const void *body, size_t size, const int *fds, size_t n)
{
    static char packet[sizeof(*head) + NAMES_MAX_BYTES];
    memcpy(packet, head, sizeof(*head));
    memcpy(packet + sizeof(*head), body, size);
    if (send_with_fds(k->feed_fd, packet, sizeof(*head) + size, fds, n) < 0)
        k->over = true;
}

static void feed_resolvers(struct keeper *k)
{
    if (resolvers_read(&k->resolvers) < 0)
        return;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &k->resolvers};
    if (epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, k->resolvers.watch_fd, &e) < 0)
        k->over = true;
    struct feed_head head = {.type = FEED_RESOLVERS};
    feed(k, &head, k->resolvers.list, k->resolvers.n * sizeof(k->resolvers.list[0]), NULL, 0);
}

/* ---- sockets ----------------------------------------------------------------------------------
 */

/* Port 53 of a gateway leads to where we are, if that is another one; UDP and TCP. Adding what is there is fine. */
static int redirect(const char *hash, const struct listener *l, bool on, struct berth_error *err)
{
    autonetlink struct netlink nl = NETLINK_NONE;
    struct net_publish ports[2];
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
        ports[i] = (struct net_publish){.host = l->gateway, .container = l->gateway, .host_port = PORT_NAMES,
                                        .container_port = PORT_BESIDE, .count = 1,
                                        .protocol = i ? IPPROTO_TCP : IPPROTO_UDP};
    struct net_share share = {.ports = ports, .n_ports = ARRAY_SIZE(ports)};
    int r = netlink_open(&nl, NETLINK_NETFILTER);
    if (r < 0)
        return fail_os(err, r, l->network, "netlink");
    return on ? net_filter_add(&nl, hash, &share, err) : net_filter_remove(&nl, hash, &share, err);
}

static void listener_free(struct listener *l)
{
    free(l->network);
    free(l);
}

static void listener_release(struct keeper *k, struct listener *l)
{
    if (--l->users > 0)
        return;
    struct listener **at = &k->listeners;
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    struct feed_head head = {.type = FEED_CLOSE, .gateway = l->gateway};
    feed(k, &head, l->network, strlen(l->network), NULL, 0);
    if (l->port != PORT_NAMES && k->hash[0])
        (void)redirect(k->hash, l, false, NULL);
    listener_free(l);
}

static int listener_open(struct keeper *k, const char *network, const struct address *gateway, struct listener **ret)
{
    int fds[FEED_SOCKETS_MAX];
    struct listener *l = calloc(1, sizeof(*l));
    if (!l || !(l->network = strdup(network))) {
        free(l);
        return -ENOMEM;
    }
    l->port = PORT_NAMES;
    int r = listen_open(gateway, l->port, fds);
    if (r == -EADDRINUSE && k->hash[0]) /* another program has it of every address */
        r = listen_open(gateway, l->port = PORT_BESIDE, fds);
    if (r < 0) {
        listener_free(l);
        return r;
    }
    l->gateway = *gateway;
    if (l->port == PORT_NAMES && k->hash[0])
        (void)redirect(k->hash, l, false, NULL); /* of a berth-dns that was killed */
    l->next = k->listeners;
    k->listeners = l;
    struct feed_head head = {.type = FEED_SOCKETS, .gateway = *gateway};
    feed(k, &head, network, strlen(network), fds, FEED_SOCKETS_MAX);
    for (size_t i = 0; i < FEED_SOCKETS_MAX; i++)
        close(fds[i]);
    *ret = l;
    return 0;
}

static int listener_use(struct keeper *k, const char *network, const struct address *gateway, struct listener **ret)
{
    struct listener *l = k->listeners;
    while (l && (!address_equal(&l->gateway, gateway) || strcmp(l->network, network) != 0))
        l = l->next;
    int r = l ? 0 : listener_open(k, network, gateway, &l);
    if (r < 0)
        return r;
    l->users++;
    *ret = l;
    return 0;
}

/* ---- supervisors ------------------------------------------------------------------------------
 */

static void say(const struct connection *c, const char *text)
{
    (void)send(c->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void use_gateway(struct keeper *k, struct connection *c, const char *network, const char *text)
{
    struct address gateway;
    struct listener **more = reallocarray(c->uses, c->n_uses + 1, sizeof(struct listener *));
    int r = more ? address_parse(text, &gateway) : -ENOMEM;
    if (more) {
        c->uses = more;
        if (r == 0)
            r = listener_use(k, network, &gateway, &more[c->n_uses]);
    }
    if (r == 0) {
        struct berth_error err;
        struct listener *l = c->uses[c->n_uses++];
        if (l->port != PORT_NAMES && redirect(k->hash, l, true, &err) < 0)
            snprintf(c->trouble, sizeof(c->trouble), "names of network %s: another program has port %d: lead it to %d: %.128s",
                     network, PORT_NAMES, PORT_BESIDE, err.message);
    } else if (r == -EADDRINUSE) {
        snprintf(c->trouble, sizeof(c->trouble),
                 "names of network %s: other programs have ports %d and %d of every address of this host (%s is berth's): "
                 "let them listen on their own addresses", network, PORT_NAMES, PORT_BESIDE, text);
    } else {
        snprintf(c->trouble, sizeof(c->trouble), "names of network %s: listen on %s port %d: %s", network, text,
                 PORT_NAMES, strerror(-r));
    }
}

/* What it uses now; what it used before goes only afterwards, so that sockets stay open. */
static void use_gateways(struct keeper *k, struct connection *c, const struct names *names)
{
    struct listener **before = TAKE(c->uses);
    size_t n_before = c->n_uses;
    c->n_uses = 0;
    c->trouble[0] = 0;
    for (size_t i = 0; i < names->n_networks; i++)
        for (char **g = names->networks[i].gateways; g && *g; g++)
            use_gateway(k, c, names->networks[i].network, *g);
    for (size_t i = 0; i < n_before; i++)
        listener_release(k, before[i]);
    free(before);
}

static void connection_close(struct keeper *k, struct connection *c)
{
    struct connection **at = &k->connections;
    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    struct feed_head head = {.type = FEED_GONE, .connection = c->number};
    feed(k, &head, "", 0, NULL, 0);
    for (size_t i = 0; i < c->n_uses; i++)
        listener_release(k, c->uses[i]);
    close(c->fd);
    free(c->uses);
    free(c);
    if (!k->connections)
        k->alone_since_usec = monotonic_usec();
}

static void redirect_again(const struct keeper *k)
{
    for (const struct listener *l = k->listeners; l && k->hash[0]; l = l->next)
        if (l->port != PORT_NAMES)
            (void)redirect(k->hash, l, true, NULL);
}

/* Of all records the first trouble; with `again` those that have one are hung up on, so that they say them anew. */
static void tell_trouble(const struct keeper *k, const struct connection *to, bool again)
{
    const char *trouble = NAMES_DONE;
    for (const struct connection *c = k->connections; c; c = c->next) {
        if (!c->trouble[0])
            continue;
        trouble = c->trouble;
        if (again)
            (void)shutdown(c->fd, SHUT_RDWR);
    }
    say(to, trouble);
}

static bool is_word(const char *packet, ssize_t n, const char *word)
{
    return (size_t)n == strlen(word) && memcmp(packet, word, (size_t)n) == 0;
}

static void connection_speaks(struct keeper *k, struct connection *c)
{
    static char packet[NAMES_MAX_BYTES + 1];
    struct names *names autoclean(cleanup_names) = NULL;
    struct berth_error err = {0};
    ssize_t n = recv(c->fd, packet, sizeof(packet), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        return connection_close(k, c);
    if (n > (ssize_t)NAMES_MAX_BYTES)
        return say(c, "the record is too long");
    bool again = is_word(packet, n, NAMES_AGAIN);
    if (again)
        redirect_again(k);
    if (again || is_word(packet, n, NAMES_HOW))
        return tell_trouble(k, c, again);
    if (names_parse(packet, (size_t)n, &names, &err) < 0)
        return say(c, err.message);
    if (names->hash)
        snprintf(k->hash, sizeof(k->hash), "%s", names->hash);
    use_gateways(k, c, names);
    struct feed_head head = {.type = FEED_RECORD, .connection = c->number, .sequence = ++c->sequence};
    feed(k, &head, packet, (size_t)n, NULL, 0);
}

static void accept_one(struct keeper *k)
{
    int fd = accept4(FD_LISTEN, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    struct connection *c = calloc(1, sizeof(*c));
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (!c || epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0) {
        close(fd);
        free(c);
        return;
    }
    c->fd = fd;
    c->number = ++k->last_number;
    c->next = k->connections;
    k->connections = c;
}

/* Nothing is built on what it says. */
static void worker_speaks(struct keeper *k)
{
    struct feed_reply reply;
    ssize_t n = recv(k->feed_fd, &reply, sizeof(reply), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n != (ssize_t)sizeof(reply)) {
        k->over = true;
        return;
    }
    reply.text[sizeof(reply.text) - 1] = 0;
    struct connection *c = k->connections;
    while (c && c->number != reply.connection)
        c = c->next;
    if (c && c->sequence == reply.sequence && !c->trouble[0] && strcmp(reply.text, NAMES_DONE) != 0)
        snprintf(c->trouble, sizeof(c->trouble), "%s", reply.text);
    if (c && c->sequence == reply.sequence)
        say(c, c->trouble[0] ? c->trouble : reply.text);
}

/* ---- the whole --------------------------------------------------------------------------------
 */

/* Milliseconds until there is something to do unasked; 0: it is over. */
static int due(const struct keeper *k)
{
    if (k->connections)
        return -1;
    int64_t patience_msec = k->last_number == 0 ? PATIENCE_MSEC : LINGER_MSEC;
    int64_t left_usec = k->alone_since_usec + patience_msec * 1000 - monotonic_usec();
    return left_usec <= 0 ? 0 : (int)(left_usec / 1000 + 1);
}

static void run(struct keeper *k)
{
    while (!k->over) {
        struct epoll_event e;
        int timeout = due(k);
        int n = epoll_wait(k->epoll_fd, &e, 1, timeout);
        if (n == 0 && timeout == 0)
            return;
        if (n != 1)
            continue;
        if (e.data.ptr == &k->worker_pid_fd)
            return;
        if (e.data.ptr == k)
            accept_one(k);
        else if (e.data.ptr == &k->feed_fd)
            worker_speaks(k);
        else if (e.data.ptr != &k->resolvers)
            connection_speaks(k, e.data.ptr);
        else if (resolvers_changed(&k->resolvers))
            feed_resolvers(k);
    }
}

static int watch(struct keeper *k, int fd, void *what)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = what};
    return epoll_ctl(k->epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int start_worker(struct keeper *k)
{
    int ends[2];
    struct timeval patience = {.tv_sec = FEED_SECONDS};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    k->feed_fd = ends[0];
    (void)setsockopt(ends[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    int r = jail_start(worker_run, ends[1], &k->worker_pid, &k->worker_pid_fd);
    close(ends[1]);
    return r;
}

/* Born where the supervisor was, which may be groups of a workload that is soon removed. */
static void leave_groups(void)
{
    struct cgroup_layout *layout = NULL;
    if (cgroup_layout_read(&layout, NULL) == 0)
        cgroup_leave(layout);
    cgroup_layout_free(layout);
}

static void prepare_process(void)
{
    leave_groups();
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGCHLD, SIG_IGN); /* its end is seen by its descriptor */
    for (rlim_t n = DESCRIPTORS_MAX; n >= 1024 && setrlimit(RLIMIT_NOFILE, &(struct rlimit){n, n}) < 0; n /= 2)
        ;
}

int main(int argc, char **argv)
{
    static struct keeper k = {.epoll_fd = -1, .feed_fd = -1, .worker_pid_fd = -1, .resolvers = {.watch_fd = -1}};
    for (int fd = FD_LOCK; fd < FD_END; fd++)
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || lock_held(FD_LOCK) < 0) {
            (void)!write(2, "berth-dns: is started by berth-supervisor\n", 42);
            return 2;
        }
    prepare_process();
    k.alone_since_usec = monotonic_usec();
    (void)fcntl(FD_LISTEN, F_SETFL, O_NONBLOCK);
    crash_point("names.born");
    if (start_worker(&k) < 0 || (k.epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 ||
        watch(&k, FD_LISTEN, &k) < 0 || watch(&k, k.feed_fd, &k.feed_fd) < 0 ||
        watch(&k, k.worker_pid_fd, &k.worker_pid_fd) < 0)
        return 1;
    feed_resolvers(&k);
    run(&k);
    return 0;
}
