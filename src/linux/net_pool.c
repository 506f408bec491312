/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pool's two ends: one made, one taken.
 */
#include "linux/net_pool.h"

#include "base/base.h"
#include "base/file.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define NAME_TRIES 16
#define PATIENCE_MSEC 5
#define LINKS_MAX 65536

int net_pool_make(struct netlink *nl, const char *hash, uint32_t mtu, struct net_pooled *ret, int *ret_ns_fd, struct berth_error *err)
{
    autonetlink struct netlink inside = NETLINK_NONE;
    autoclose int ns_fd = -1;
    struct net_link l = {.inside = NET_POOL_INSIDE, .index = NET_POOL_INDEX, .mac = {0x02, 0xbe}, .mtu = (int)mtu};
    int r = net_namespace_make(&ns_fd, &inside, err);
    l.ns_fd = ns_fd;
    for (int i = 0; r == 0 && i < NAME_TRIES; i++) {
        net_link_name(hash, l.name);
        r = net_link_add(nl, &l, err);
        if (r != BERTH_EXISTS)
            break;
        r = i + 1 < NAME_TRIES ? 0 : r;
    }
    if (r < 0)
        return r;
    *ret = (struct net_pooled){.mtu = mtu};
    memcpy(ret->link, l.name, sizeof(ret->link));
    *ret_ns_fd = take_fd(&ns_fd);
    return 0;
}

int net_pool_take(int run_fd, struct net_pooled *ret, int *ret_ns_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct net_pooled p;
    size_t n = 1;
    int ns_fd = -1;
    autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" NET_POOL_SOCKET, run_fd);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (RETRY(poll(&wait, 1, PATIENCE_MSEC)) != 1)
        return -EAGAIN;
    ssize_t got = recv_with_fds(fd, &p, sizeof(p), &ns_fd, &n);
    if (got != (ssize_t)sizeof(p) || n != 1 || memchr(p.link, 0, sizeof(p.link)) == NULL) {
        if (got > 0 && n == 1)
            close(ns_fd);
        return -ENOENT;
    }
    *ret = p;
    *ret_ns_fd = ns_fd;
    return 0;
}

char *net_pool_links(int run_fd)
{
    char *text = NULL;
    return file_read(run_fd, NET_POOL_LINKS, LINKS_MAX, &text, NULL) < 0 ? NULL : text;
}
