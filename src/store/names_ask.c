/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A word with berth-dns, for who has no name to tell: how it is, or that the packet filter is new.
 */
#include "store/names_ask.h"

#include "base/base.h"
#include "model/names.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static int reach(int run_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" NAMES_SOCKET, run_fd);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return take_fd(&fd);
}

int names_ask(int run_fd, const char *word, int wait_msec, char *ret_said, size_t room)
{
    autoclose int fd = reach(run_fd);
    if (fd < 0)
        return fd;
    if (send(fd, word, strlen(word), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return -errno;
    if (!ret_said)
        return 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int n = RETRY(poll(&p, 1, wait_msec));
    if (n <= 0)
        return n < 0 ? -errno : -ETIMEDOUT;
    ssize_t size = recv(fd, ret_said, room - 1, MSG_DONTWAIT);
    if (size <= 0)
        return size < 0 ? -errno : -ECONNRESET;
    ret_said[size] = 0;
    return 0;
}
