/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Listening sockets of a plan: opened in the workload's network namespace, kept over restarts.
 *
 * A private namespace that must hold them is made here, by a child that hands it and them over.
 */
#include "supervisor/launch_internal.h"

#include "base/base.h"
#include "base/file.h"
#include "linux/namespace.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un un;
};

static int address_of(const struct plan_socket *s, union address *ret, socklen_t *ret_length,
                      struct berth_error *err)
{
    memset(ret, 0, sizeof(*ret));
    if (s->path && *s->path) {
        if (strlen(s->path) >= sizeof(ret->un.sun_path))
            return fail(err, BERTH_INVALID, s->path, "sockets: path %s is longer than %zu bytes",
                        s->path, sizeof(ret->un.sun_path) - 1);
        ret->un.sun_family = AF_UNIX;
        memcpy(ret->un.sun_path, s->path, strlen(s->path) + 1);
        *ret_length = sizeof(ret->un);
        return 0;
    }
    const char *text = s->address && *s->address ? s->address : "0.0.0.0";
    if (inet_pton(AF_INET, text, &ret->v4.sin_addr) == 1) {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons(s->port);
        *ret_length = sizeof(ret->v4);
    } else if (inet_pton(AF_INET6, text, &ret->v6.sin6_addr) == 1) {
        ret->v6.sin6_family = AF_INET6;
        ret->v6.sin6_port = htons(s->port);
        *ret_length = sizeof(ret->v6);
    } else {
        return fail(err, BERTH_INVALID, text, "sockets: \"%s\" is not an address", text);
    }
    return 0;
}

static int socket_failed(const struct plan_socket *s, int error, struct berth_error *err)
{
    if (s->path && *s->path)
        return fail_os(err, error, s->path, "sockets: listen on %s", s->path);
    if (error == EADDRINUSE)
        return fail(err, BERTH_EXISTS, "sockets", "sockets: port %u is in use by another program",
                    s->port);
    return fail_os(err, error, "sockets", "sockets: listen on %s port %u",
                   s->address ? s->address : "0.0.0.0", s->port);
}

static int open_socket(const struct plan_socket *s, int *ret_fd, struct berth_error *err)
{
    union address address;
    socklen_t length = 0;
    struct stat st;
    int one = 1, type = s->type ? s->type : SOCK_STREAM;
    int r = address_of(s, &address, &length, err);
    if (r < 0)
        return r;
    autoclose int fd = socket(address.any.sa_family, type | SOCK_CLOEXEC, 0); /* blocking, as the program expects it */
    if (fd < 0)
        return socket_failed(s, errno, err);
    if (address.any.sa_family == AF_UNIX) {
        if (lstat(s->path, &st) == 0 && S_ISSOCK(st.st_mode))
            (void)unlink(
                s->path); /* of an earlier run: a socket that is bound can't be bound again */
    } else {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    if (bind(fd, &address.any, length) < 0)
        return socket_failed(s, errno, err);
    if (address.any.sa_family == AF_UNIX && chmod(s->path, s->mode ? s->mode : 0666) < 0)
        return socket_failed(s, errno, err);
    if (type != SOCK_DGRAM && listen(fd, s->backlog > 0 ? s->backlog : SOMAXCONN) < 0)
        return socket_failed(s, errno, err);
    *ret_fd = take_fd(&fd);
    return 0;
}

static int open_all(const struct plan *plan, int *fds, size_t *n, struct berth_error *err)
{
    for (size_t i = 0; i < plan->n_sockets; i++) {
        int r = open_socket(&plan->sockets[i], &fds[*n], err);
        if (r < 0)
            return r;
        (*n)++;
    }
    return 0;
}

/* The child: its message is the error, the namespace and the sockets travel beside it. */
static _Noreturn void open_inside(const struct plan *plan, int join_fd, int socket_fd)
{
    struct berth_error err = {0};
    int fds[STAGE_SOCKETS_MAX + 1], r = 0;
    size_t n = 0;
    if (join_fd >= 0)
        r = setns(join_fd, CLONE_NEWNET) < 0
                ? fail_os(&err, errno, "net", "join the workload's network")
                : 0;
    else if ((r = namespace_loopback_up()) < 0)
        r = fail_os(&err, r, "lo", "bring up the loopback interface");
    fds[n++] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (r == 0 && fds[0] < 0)
        r = fail_os(&err, errno, "net", "open the network namespace");
    if (r == 0)
        r = open_all(plan, fds, &n, &err);
    (void)send_with_fds(socket_fd, &err, sizeof(err), fds, r < 0 ? 0 : n);
    _exit(0);
}

static int open_apart(struct launch *l, const struct plan *plan, bool make, struct berth_error *err)
{
    struct berth_error told = {0};
    int ends[2], fds[STAGE_SOCKETS_MAX + 1];
    size_t n = ARRAY_SIZE(fds);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return fail_os(err, errno, NULL, "make a socket");
    struct clone_args args = {.flags = make ? CLONE_NEWNET : 0};
    long pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        open_inside(plan, l->net_fd >= 0 ? l->net_fd : l->join_fds[PLAN_NS_NET], ends[1]);
    close(ends[1]);
    ssize_t got = pid < 0 ? -errno : recv_with_fds(ends[0], &told, sizeof(told), fds, &n);
    close(ends[0]);
    if (pid > 0)
        reap_pid((pid_t)pid);
    if (got != (ssize_t)sizeof(told))
        return fail_os(err, got < 0 ? (int)got : EPIPE, "net",
                       "make the network namespace for the plan's sockets");
    if (told.code < 0) {
        if (err)
            *err = told;
        return told.code;
    }
    close_fd(&l->net_fd);
    l->net_fd = fds[0];
    for (size_t i = 1; i < n; i++)
        l->sockets[l->n_sockets++] = fds[i];
    return 0;
}

/* The child: what it makes in a user namespace belongs to that, and may be changed there. */
static _Noreturn void make_owned(int users_fd, int socket_fd)
{
    int fd = -1, r = setns(users_fd, CLONE_NEWUSER) < 0 || unshare(CLONE_NEWNET) < 0 ? -errno : 0;
    if (r == 0 && (fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0)
        r = -errno;
    (void)send_with_fds(socket_fd, &r, sizeof(r), &fd, r == 0);
    _exit(0);
}

/* A network namespace that the workload's own root has a say in: its /sys and its sysctls are of it. */
static int owned_namespace(struct launch *l, const struct plan *plan, int *ret_fd, struct berth_error *err)
{
    int ends[2], result = 0;
    size_t n = 1;
    if (plan->namespaces[PLAN_NS_USER].mode != PLAN_NS_PRIVATE)
        return 0;
    int r = users_make(plan, &l->users_fd, err);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return fail_os(err, errno, NULL, "make a socket");
    struct clone_args args = {0};
    long pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        make_owned(l->users_fd, ends[1]);
    close(ends[1]);
    ssize_t got = pid < 0 ? -errno : recv_with_fds(ends[0], &result, sizeof(result), ret_fd, &n);
    close(ends[0]);
    if (pid > 0)
        reap_pid((pid_t)pid);
    r = got < 0 ? (int)got : got != (ssize_t)sizeof(result) ? -EPIPE : result;
    return r < 0 ? fail_os(err, r, "userns", "namespaces.userns: make its network namespace") : 0;
}

static int open_sockets(struct launch *l, const struct plan *plan, struct berth_error *err)
{
    int mode = plan->namespaces[PLAN_NS_NET].mode;
    if (plan->n_sockets == 0)
        return 0;
    if (plan->n_sockets > STAGE_SOCKETS_MAX)
        return fail(err, BERTH_TOO_BIG, "sockets", "sockets: more than %d", STAGE_SOCKETS_MAX);
    if (mode == PLAN_NS_HOST)
        return open_all(plan, l->sockets, &l->n_sockets, err);
    if (plan->namespaces[PLAN_NS_USER].mode != PLAN_NS_HOST && !l->net)
        return fail(err, BERTH_UNSUPPORTED, "sockets",
                    "sockets: not together with namespaces.userns on a private network");
    return open_apart(l, plan, mode == PLAN_NS_PRIVATE && l->net_fd < 0, err);
}

int net_open(struct launch *l, const struct plan *plan, struct berth_error *err)
{
    autoclose int owned = -1;
    int r = plan->n_links > 0 ? owned_namespace(l, plan, &owned, err) : 0;
    if (r == 0 && plan->n_links > 0)
        r = net_begin(plan, l->run_fd, take_fd(&owned), &l->net, err);
    if (r == 0 && l->net) {
        l->net_fd = fcntl(net_namespace_fd(l->net), F_DUPFD_CLOEXEC, 3);
        if (l->net_fd < 0)
            return fail_os(err, errno, "net", "keep the network namespace");
    }
    return r < 0 ? r : open_sockets(l, plan, err);
}
