/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network namespace for a test, and programs as judges in it.
 */
#include "net_rig.h"

#include "base/file.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

bool rig_possible(void)
{
    if (geteuid() == 0)
        return true;
    print_message("only root can make network namespaces: skipped\n");
    return false;
}

int rig_enter(void)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    says("ip link set lo up", "");
    return 0;
}

char *output_of(int ns_fd, const char *command, int *ret_status)
{
    int ends[2], status = 0;
    char *out = NULL;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (ns_fd >= 0 && setns(ns_fd, CLONE_NEWNET) < 0)
            _exit(99);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(98);
    }
    close(ends[1]);
    assert_int_equal(fd_read_all(ends[0], 1 << 20, &out, NULL), 0);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (ret_status)
        *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
    return out;
}

void inside(int ns_fd, const char *command, const char *text)
{
    int status = 0;
    autofree char *out = output_of(ns_fd, command, &status);
    if (status != 0 || !strstr(out, text))
        fail_msg("\"%s\" exited %d, without \"%s\":\n%s\n", command, status, text, out);
}

void says(const char *command, const char *text)
{
    inside(-1, command, text);
}

struct address subnet(const char *s)
{
    struct address a = {0};
    assert_int_equal(address_parse_subnet(s, &a), 0);
    return a;
}

struct address address(const char *s)
{
    struct address a = {0};
    assert_int_equal(address_parse(s, &a), 0);
    return a;
}

/* ---- servers and clients ---- */

static pid_t servers[32];
static size_t n_servers;

static socklen_t name_of(const char *where, int port, struct sockaddr_storage *ret)
{
    struct address a = address(where);
    *ret = (struct sockaddr_storage){.ss_family = a.family};
    if (a.family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)ret;
        in->sin_port = htons((uint16_t)port);
        memcpy(&in->sin_addr, a.bytes, 4);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
    in6->sin6_port = htons((uint16_t)port);
    memcpy(&in6->sin6_addr, a.bytes, 16);
    return sizeof(*in6);
}

static int answer(const char *name, const struct sockaddr_storage *from, char ret[128])
{
    char text[INET6_ADDRSTRLEN];
    const void *at = from->ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)from)->sin_addr
                                                : (const void *)&((const struct sockaddr_in6 *)from)->sin6_addr;
    return snprintf(ret, 128, "%s from %s", name, inet_ntop(from->ss_family, at, text, sizeof(text)));
}

static _Noreturn void serve_forever(int fd, bool tcp, const char *name)
{
    for (;;) {
        struct sockaddr_storage from;
        socklen_t length = sizeof(from);
        char text[128];
        int client = tcp ? accept(fd, (struct sockaddr *)&from, &length) : fd;
        if (!tcp && recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &length) < 0)
            continue;
        int n = answer(name, &from, text);
        if (sendto(client, text, (size_t)n, MSG_NOSIGNAL, tcp ? NULL : (struct sockaddr *)&from, tcp ? 0 : length) < 0)
            continue;
        if (tcp)
            close(client);
    }
}

void serve(int ns_fd, int protocol, const char *where, int port, const char *name)
{
    int ready[2], one = 1;
    char c;
    bool tcp = protocol == IPPROTO_TCP;
    assert_true(n_servers < ARRAY_SIZE(servers) && pipe2(ready, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct sockaddr_storage at;
        socklen_t length = name_of(where, port, &at);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (ns_fd >= 0 && setns(ns_fd, CLONE_NEWNET) < 0)
            _exit(1);
        int fd = socket(at.ss_family, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(fd, (struct sockaddr *)&at, length) < 0 || (tcp && listen(fd, 16) < 0) || write(ready[1], "r", 1) != 1)
            _exit(1);
        serve_forever(fd, tcp, name);
    }
    servers[n_servers++] = pid;
    close(ready[1]);
    if (read(ready[0], &c, 1) != 1)
        fail_msg("no server %s on %s port %d\n", name, where, port);
    close(ready[0]);
}

void rig_leave(void)
{
    while (n_servers > 0) {
        kill(servers[--n_servers], SIGKILL);
        waitpid(servers[n_servers], NULL, 0);
    }
}

/* Inside: the words that came, on descriptor `out`. */
static _Noreturn void ask_and_tell(int out, int protocol, const char *where, int port, int from_port)
{
    struct sockaddr_storage to, from = {0};
    socklen_t length = name_of(where, port, &to);
    char text[128];
    int one = 1, fd = socket(to.ss_family, (protocol == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
    from.ss_family = to.ss_family;
    ((struct sockaddr_in *)&from)->sin_port = htons((uint16_t)from_port); /* at the same place in both */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (from_port && bind(fd, (struct sockaddr *)&from, length) < 0)
        _exit(1);
    (void)connect(fd, (struct sockaddr *)&to, length);
    if (protocol == IPPROTO_UDP && send(fd, "?", 1, 0) < 0)
        _exit(1);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ssize_t n = poll(&p, 1, 300) == 1 ? read(fd, text, sizeof(text)) : 0;
    char more;
    if (n > 0 && protocol == IPPROTO_TCP && poll(&p, 1, 5000) == 1) /* the server closes first: what lingers is its port */
        (void)!read(fd, &more, 1);
    if (n > 0 && write(out, text, (size_t)n) != n)
        _exit(1);
    _exit(0);
}

const char *ask(int ns_fd, int protocol, const char *where, int port, int from_port)
{
    static char said[128];
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (ns_fd >= 0 && setns(ns_fd, CLONE_NEWNET) < 0)
            _exit(1);
        ask_and_tell(ends[1], protocol, where, port, from_port);
    }
    close(ends[1]);
    ssize_t n = read(ends[0], said, sizeof(said) - 1);
    close(ends[0]);
    waitpid(pid, NULL, 0);
    if (n <= 0)
        return "nothing";
    said[n] = 0;
    return said;
}
