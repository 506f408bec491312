/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets for questions.
 *
 * One queue for all askers would be the flooder's alone. So there are several sockets on one port, and a
 * filter in the kernel takes an asker always to the same: another one's queue is not his to fill.
 */
#include "dns/listen.h"
#include "base/base.h"

#include <linux/filter.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#define QUEUE_BYTES (1 << 20) /* of one socket; the kernel counts some 800 for a small question */
#define BACKLOG 128

union place {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static socklen_t place_of(const struct address *a, uint16_t port, union place *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (a->family == AF_INET) {
        ret->v4.sin_family = AF_INET;
        ret->v4.sin_port = htons(port);
        memcpy(&ret->v4.sin_addr, a->bytes, 4);
        return sizeof(ret->v4);
    }
    ret->v6.sin6_family = AF_INET6;
    ret->v6.sin6_port = htons(port);
    memcpy(&ret->v6.sin6_addr, a->bytes, 16);
    return sizeof(ret->v6);
}

static void set(int fd, int level, int option, int value)
{
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

static int open_one(const struct address *gateway, uint16_t port, int type)
{
    union place place;
    socklen_t length = place_of(gateway, port, &place);
    autoclose int fd = socket(gateway->family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (gateway->family == AF_INET6) {
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        set(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1);
    } else {
        set(fd, IPPROTO_IP, IP_FREEBIND, 1);
    }
    if (type == SOCK_DGRAM) {
        set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
        set(fd, SOL_SOCKET, SO_RCVBUFFORCE, QUEUE_BYTES);
    }
    if (bind(fd, &place.any, length) < 0 || (type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
        return -errno;
    return take_fd(&fd);
}

/* Which of the sockets: the last bits of the source address. For all that share the port. */
static int spread(int fd, int family)
{
    unsigned last_word = family == AF_INET ? 12 : 8 + 12;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)SKF_NET_OFF + last_word),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, UDP_SOCKETS - 1),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    struct sock_fprog program = {ARRAY_SIZE(code), code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof(program)) < 0 ? -errno : 0;
}
_Static_assert((UDP_SOCKETS & (UDP_SOCKETS - 1)) == 0, "bits of an address choose the socket");

int listen_open(const struct address *gateway, uint16_t port, int ret_fds[FEED_SOCKETS_MAX])
{
    int r = 0;
    for (size_t i = 0; i < FEED_SOCKETS_MAX; i++)
        ret_fds[i] = -1;
    /* TCP first: it tells of another program that has the port, where UDP would share it. */
    for (size_t i = FEED_SOCKETS_MAX; r >= 0 && i-- > 0;)
        r = ret_fds[i] = open_one(gateway, port, i < UDP_SOCKETS ? SOCK_DGRAM : SOCK_STREAM);
    if (r >= 0)
        r = spread(ret_fds[0], gateway->family);
    for (size_t i = 0; r < 0 && i < FEED_SOCKETS_MAX; i++)
        close_fd(&ret_fds[i]);
    return MIN(r, 0);
}
