/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to a daemon: its unix socket, or berth-relay.
 *
 * TCP needs a resolver, and libc's blocks or starts threads; TLS needs OpenSSL and its global state. Both
 * live in a program of ours: it resolves, connects, speaks TLS, and carries bytes to a unix socket. libcurl is given
 * an address to connect to, as it wants to do that itself (7.88 connects also what it is told is connected).
 */
#include "docker/http.h"
#include "base/spawn.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#define CONNECT_SEC 10 /* while a daemon's queue is full */

int high_fd(int fd)
{
    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return high;
}

int not_there(const struct daemon *d, int error, struct berth_error *err)
{
    if (error == EACCES || error == EPERM)
        return fail(err, BERTH_DENIED, d->host, "%s: this user may not speak to the daemon there", d->host);
    return fail(err, BERTH_LOST, d->host, "%s: no daemon answers there: %s", d->host, strerror(error));
}

static int path_address(const struct daemon *d, const char *path, struct sockaddr_un *ret, socklen_t *ret_size,
                        struct berth_error *err)
{
    if (strlen(path) >= sizeof(ret->sun_path))
        return fail(err, BERTH_INVALID, d->host, "%s: the path of a socket has at most %zu bytes", d->host,
                    sizeof(ret->sun_path) - 1);
    memcpy(ret->sun_path, path, strlen(path) + 1);
    *ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    return 0;
}

/** A relay that serves one connection, of this process alone, at a name that the kernel makes up. */
static int relay_address(const struct daemon *d, const char *place, struct sockaddr_un *ret, socklen_t *ret_size,
                         struct berth_error *err)
{
    int pid_fd;
    pid_t pid;
    char self[16];
    autofree char *program = format_text("%s/berth-relay", d->programs);
    autoclose int fd = high_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!program)
        return fail_memory(err);
    socklen_t size = sizeof(sa_family_t);
    if (fd < 0 || bind(fd, (struct sockaddr *)ret, size) < 0 || listen(fd, 4) < 0)
        return fail_os(err, errno, NULL, "socket");
    size = sizeof(*ret);
    if (getsockname(fd, (struct sockaddr *)ret, &size) < 0)
        return fail_os(err, errno, NULL, "getsockname");
    *ret_size = size;
    snprintf(self, sizeof(self), "%d", (int)getpid());
    const char *const argv[] = {"berth-relay", self, place, d->certs, NULL};
    const int fds[] = {fd, -1, -1};
    int r = spawn(&(struct spawn){.path = program, .argv = argv, .fds = fds, .n_fds = ARRAY_SIZE(fds), .session = true},
                  &pid, &pid_fd);
    if (r < 0)
        return fail_os(err, r, program, "start %s", program);
    close(pid_fd);
    return 0;
}

int daemon_address(const struct daemon *d, struct sockaddr_un *ret, socklen_t *ret_size, struct berth_error *err)
{
    static const char *const relayed[] = {"tcp://", "http://", "https://"};
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (starts_with(d->host, "unix://"))
        return path_address(d, d->host + strlen("unix://"), ret, ret_size, err);
    for (size_t i = 0; i < ARRAY_SIZE(relayed); i++)
        if (starts_with(d->host, relayed[i]))
            return relay_address(d, d->host + strlen(relayed[i]), ret, ret_size, err);
    return fail(err, BERTH_UNSUPPORTED, "DOCKER_HOST",
                "DOCKER_HOST: \"%.200s\" is neither unix:///PATH nor tcp://HOST:PORT", d->host);
}

int daemon_connect(const struct daemon *d, int *ret_fd, struct berth_error *err)
{
    struct sockaddr_un address;
    struct timeval patience = {.tv_sec = CONNECT_SEC};
    socklen_t size;
    int r = daemon_address(d, &address, &size, err);
    if (r < 0)
        return r;
    autoclose int fd = high_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd < 0)
        return fail_os(err, errno, NULL, "socket");
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (RETRY(connect(fd, (struct sockaddr *)&address, size)) < 0)
        return not_there(d, errno, err);
    patience.tv_sec = 0;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
        return fail_os(err, errno, NULL, "fcntl");
    *ret_fd = take_fd(&fd);
    return 0;
}
