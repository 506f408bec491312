/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of the host: held, and who else holds them.
 */
#include "linux/net_port.h"

#include "base/base.h"
#include "base/file.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define TCP_LISTENS   10
#define TCP_TIME_WAIT 6

/* ---- who holds it ---- */

/* "0100007F" is 127.0.0.1: words as the processor has them, four bytes each. */
static bool parse_words(const char *hex, size_t n, uint8_t *ret)
{
    for (size_t i = 0; i < n; i += 4) {
        uint32_t word;
        uint8_t bytes[4];
        char text[9] = {0};
        memcpy(text, hex + i * 2, 8);
        if (strspn(text, "0123456789ABCDEFabcdef") != 8)
            return false;
        word = (uint32_t)strtoul(text, NULL, 16);
        memcpy(bytes, &word, 4);
        memcpy(ret + i, bytes, 4);
    }
    return true;
}

/* The blank-separated field n of the line, and its length. */
static const char *field(const char *line, int n, size_t *ret_length)
{
    for (;; n--) {
        line += strspn(line, " ");
        *ret_length = strcspn(line, " \n");
        if (n == 0 || *ret_length == 0)
            return line;
        line += *ret_length;
    }
}

bool net_socket_parse(const char *line, struct net_socket *ret)
{
    size_t local_length, length;
    const char *local = field(line, 1, &local_length);
    bool v6 = local_length == 32 + 5;
    struct net_socket s = {.local = {.family = v6 ? AF_INET6 : AF_INET, .prefix = v6 ? 128 : 32}};
    if ((local_length != 8 + 5 && !v6) || !isxdigit((unsigned char)local[local_length - 1]))
        return false;
    size_t bytes = v6 ? 16 : 4;
    if (!parse_words(local, bytes, s.local.bytes) || local[bytes * 2] != ':')
        return false;
    s.port = (uint16_t)strtoul(local + bytes * 2 + 1, NULL, 16);
    const char *state = field(line, 3, &length);
    if (length != 2)
        return false;
    s.state = (unsigned)strtoul(state, NULL, 16);
    const char *inode = field(line, 9, &length);
    if (length == 0 || strspn(inode, "0123456789") < length)
        return false;
    s.inode = strtoull(inode, NULL, 10);
    *ret = s;
    return true;
}

/* A v6 socket may hold IPv4 too, when it is bound to :: or to a mapped address. */
static bool collides(const struct net_socket *s, const struct address *host)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct address local = s->local;
    if (address_is_any(&local))
        return local.family == AF_INET6 || host->family == AF_INET;
    if (local.family == AF_INET6 && memcmp(local.bytes, mapped, sizeof(mapped)) == 0) {
        local = (struct address){.family = AF_INET, .prefix = 32};
        memcpy(local.bytes, s->local.bytes + 12, 4);
    }
    return local.family == host->family && (address_is_any(host) || address_equal(&local, host));
}

/* Its inode; 0: none. */
static uint64_t find_inode(const char *file, const struct address *host, bool tcp, uint16_t port)
{
    char line[512];
    uint64_t inode = 0;
    FILE *f = fopen(file, "re");
    while (f && inode == 0 && fgets(line, sizeof(line), f)) {
        struct net_socket s;
        if (!net_socket_parse(line, &s) || s.port != port || !collides(&s, host) || (tcp && s.state == TCP_TIME_WAIT))
            continue;
        if (!tcp || s.state == TCP_LISTENS)
            inode = s.inode;
    }
    if (f)
        fclose(f);
    return inode;
}

static bool has_half_closed(const char *file)
{
    char line[512];
    bool found = false;
    FILE *f = fopen(file, "re");
    while (f && !found && fgets(line, sizeof(line), f)) {
        struct net_socket s;
        found = net_socket_parse(line, &s) && s.state != TCP_TIME_WAIT && s.state != TCP_LISTENS;
    }
    if (f)
        fclose(f);
    return found;
}

bool net_namespace_lingers(int ns_fd)
{
    autoclose int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (here < 0 || setns(ns_fd, CLONE_NEWNET) < 0)
        return true;
    bool found = has_half_closed("/proc/thread-self/net/tcp") || has_half_closed("/proc/thread-self/net/tcp6");
    return setns(here, CLONE_NEWNET) < 0 || found;
}

static bool has_socket(int proc_fd, const char *pid, const char *link)
{
    char path[64], target[64];
    bool found = false;
    (void)snprintf(path, sizeof(path), "%.20s/fd", pid);
    int fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
        if (n > 0) {
            target[n] = 0;
            found = strcmp(target, link) == 0;
        }
    }
    if (d)
        closedir(d);
    return found;
}

static void find_process(uint64_t inode, struct net_holder *ret)
{
    char link[40];
    DIR *d = opendir("/proc");
    (void)snprintf(link, sizeof(link), "socket:[%llu]", (unsigned long long)inode);
    for (struct dirent *e; d && ret->pid == 0 && (e = readdir(d));) {
        char path[40];
        autofree char *comm = NULL;
        if (!isdigit((unsigned char)e->d_name[0]) || !has_socket(dirfd(d), e->d_name, link))
            continue;
        ret->pid = atoi(e->d_name);
        (void)snprintf(path, sizeof(path), "%.20s/comm", e->d_name);
        if (file_read(dirfd(d), path, 64, &comm, NULL) == 0)
            (void)snprintf(ret->name, sizeof(ret->name), "%.*s", (int)strcspn(comm, "\n"), comm);
    }
    if (d)
        closedir(d);
}

int net_port_holder(const struct address *host, uint8_t protocol, uint16_t port, struct net_holder *ret)
{
    static const char *const files[] = {"/proc/net/tcp", "/proc/net/tcp6", "/proc/net/udp", "/proc/net/udp6"};
    bool tcp = protocol == IPPROTO_TCP;
    uint64_t inode = 0;
    *ret = (struct net_holder){0};
    for (int i = 0; i < 2 && inode == 0; i++)
        inode = find_inode(files[i + (tcp ? 0 : 2)], host, tcp, port);
    if (inode == 0)
        return 0;
    find_process(inode, ret);
    return 1;
}

/* ---- holding ---- */

static socklen_t socket_address(const struct address *host, uint16_t port, struct sockaddr_storage *ret)
{
    *ret = (struct sockaddr_storage){.ss_family = host->family};
    if (host->family == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)ret;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, host->bytes, 4);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
    in6->sin6_port = htons(port);
    memcpy(&in6->sin6_addr, host->bytes, 16);
    return sizeof(*in6);
}

/* Nothing gets in, and room for little. */
static int take_nothing(int fd)
{
    struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
    struct sock_fprog program = {.len = 1, .filter = &drop};
    int room = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ? -errno : 0;
}

/* A bound socket or -errno. `over`: over what is left of closed connections, which would block it for a
 * minute; the option is taken back, else others with the same option could have the port too. */
static int bind_one(const struct address *host, bool tcp, uint16_t port, bool over)
{
    struct sockaddr_storage name;
    socklen_t length = socket_address(host, port, &name);
    int one = 1, none = 0;
    autoclose int fd = socket(host->family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (host->family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0))
        return -errno;
    int r = take_nothing(fd);
    if (r < 0)
        return r;
    if (over && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&name, length) < 0)
        return -errno;
    /* else ss, and /proc, would not show it; and it looks once more who else is there */
    if (tcp && listen(fd, 0) < 0)
        return -errno;
    if (over && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &none, sizeof(none)) < 0)
        return -errno;
    return take_fd(&fd);
}

static int hold_failed(const struct address *host, uint8_t protocol, uint16_t port, int r, const struct net_holder *holder,
                       struct berth_error *err)
{
    char text[ADDRESS_TEXT_MAX], object[80], who[64] = "";
    const char *kind = protocol == IPPROTO_TCP ? "tcp" : "udp";
    (void)snprintf(object, sizeof(object), host->family == AF_INET6 ? "[%s]:%u/%s" : "%s:%u/%s", address_print(host, text), port,
                   kind);
    if (holder->pid)
        (void)snprintf(who, sizeof(who), ": %s, pid %d, holds it", holder->name, holder->pid);
    if (r == -EADDRINUSE && port == 0)
        return fail(err, BERTH_EXISTS, object, "no port is free in the kernel's range (net.ipv4.ip_local_port_range): %s", object);
    if (r == -EADDRINUSE)
        return fail(err, BERTH_EXISTS, object, "the port %s of this host is taken%s", object, who);
    if (r == -EADDRNOTAVAIL)
        return fail(err, BERTH_INVALID, object, "%s is not an address of this host, so no port of it can be published", text);
    return fail_os(err, r, object, "hold the port %s", object);
}

static int port_of(int fd)
{
    struct sockaddr_storage name = {0};
    socklen_t length = sizeof(name);
    if (getsockname(fd, (struct sockaddr *)&name, &length) < 0)
        return -errno;
    return ntohs(name.ss_family == AF_INET ? ((struct sockaddr_in *)&name)->sin_port : ((struct sockaddr_in6 *)&name)->sin6_port);
}

int net_port_hold(const struct address *host, uint8_t protocol, uint16_t port, int *ret_fd, uint16_t *ret_port,
                  struct berth_error *err)
{
    struct net_holder holder = {0};
    bool tcp = protocol == IPPROTO_TCP;
    int fd = bind_one(host, tcp, port, false);
    if (fd == -EADDRINUSE && port && net_port_holder(host, protocol, port, &holder) == 0 && tcp)
        fd = bind_one(host, tcp, port, true);
    int r = fd < 0 ? fd : port_of(fd);
    if (r < 0) {
        cleanup_close(&fd);
        return hold_failed(host, protocol, port, r, &holder, err);
    }
    *ret_fd = fd;
    if (ret_port)
        *ret_port = (uint16_t)r;
    return 0;
}
