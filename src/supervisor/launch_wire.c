/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between launch's own processes, with more descriptors than a stranger may send.
 */
#include "supervisor/launch_internal.h"

#include "base/base.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * WIRE_FDS_MAX)];
};

int wire_send(int socket_fd, const void *data, size_t size, const int *fds, size_t n)
{
    union control control = { 0 };
    struct iovec part = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    if (n > WIRE_FDS_MAX)
        return -E2BIG;
    if (n > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * n);
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * n);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * n);
    }
    return RETRY(sendmsg(socket_fd, &message, MSG_NOSIGNAL)) < 0 ? -errno : 0;
}

int wire_receive(int socket_fd, void *data, size_t size, int fds[WIRE_FDS_MAX], size_t *ret_n)
{
    union control control;
    struct iovec part = { .iov_base = data, .iov_len = size };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
                              .msg_controllen = sizeof(control.bytes) };
    ssize_t got = RETRY(recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC));
    *ret_n = 0;
    for (struct cmsghdr *c = got > 0 ? CMSG_FIRSTHDR(&message) : NULL; c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
            *ret_n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(c), *ret_n * sizeof(int));
        }
    if (got == (ssize_t)size)
        return 0;
    for (size_t i = 0; i < *ret_n; i++)
        close(fds[i]);
    *ret_n = 0;
    return got < 0 ? -errno : -EPIPE;
}
