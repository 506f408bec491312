/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a network hands out: addresses and MAC addresses; and free ports of the host.
 *
 * The last number given is remembered (in ROOT/cache, without a lock: who loses a race tries the next), so
 * that an address comes back late and that finding one costs the same whether ten or a thousand are out.
 */
#include "store/network.h"
#include "store/internal.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define PORT_FIRST 49153 /* above what the kernel gives to clients by default, as docker has it */
#define PORT_LAST 65535

/* ---- the last number given */

static int last_open(struct store *store, const char *what, uint32_t *ret_last)
{
    char name[BERTH_NAME_MAX + 32];
    snprintf(name, sizeof(name), "cache/last-%s", what);
    *ret_last = 0;
    int fd = RETRY(openat(store->root_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd >= 0 && pread(fd, ret_last, sizeof(*ret_last), 0) != sizeof(*ret_last))
        *ret_last = 0;
    return fd;
}

static void last_write(int fd, uint32_t last)
{
    if (fd >= 0)
        (void)!pwrite(fd, &last, sizeof(last), 0);
}

/* ---- addresses */

static int take_exactly(struct store *store, const struct network *n, const struct address *subnet,
                        const struct address *gateway, const struct address *a, const char *id,
                        struct berth_error *err)
{
    char kind[BERTH_NAME_MAX + 24], text[ADDRESS_TEXT_MAX], within[ADDRESS_TEXT_MAX], holder[BERTH_ID_TEXT] = "";
    char who[BERTH_NAME_MAX + 8];
    uint64_t at = address_index(subnet, a);
    address_print(a, text);
    address_print_subnet(subnet, within);
    if (!address_in(subnet, a))
        return fail(err, BERTH_INVALID, text, "address %s is not in %s, the subnet of network \"%s\"", text, within,
                    n->name);
    if (at == 0 || (a->family == AF_INET && at == address_count(subnet) - 1))
        return fail(err, BERTH_INVALID, text, "address %s is the network's own or its broadcast address in %s", text,
                    within);
    if (address_equal(a, gateway))
        return fail(err, BERTH_EXISTS, text, "address %s is the gateway of network \"%s\"", text, n->name);
    snprintf(kind, sizeof(kind), "address/%s", n->name);
    int r = lease_take(store, kind, text, id, holder, err);
    if (r != BERTH_EXISTS)
        return r;
    label_of(store, holder, who);
    return fail(err, BERTH_EXISTS, text, "address %s of network \"%s\" is held by workload \"%s\"", text, n->name, who);
}

/* Addresses from .2 on (.1 is the gateway as a rule), round and round. */
static int take_any(struct store *store, const struct network *n, const char *id, struct address *ret,
                    struct berth_error *err)
{
    const struct address *from = n->range.family ? &n->range : &n->subnet;
    uint32_t last, count = (uint32_t)address_count(from);
    char text[ADDRESS_TEXT_MAX];
    autoclose int fd = last_open(store, n->name, &last);
    for (uint32_t i = 1; i <= count; i++) {
        struct address a = address_nth(from, (last + i) % count);
        struct berth_error mine = {0};
        uint64_t at = address_index(&n->subnet, &a);
        if (at == 0 || at == address_count(&n->subnet) - 1 || address_equal(&a, &n->gateway))
            continue;
        int r = take_exactly(store, n, &n->subnet, &n->gateway, &a, id, &mine);
        if (r == 0) {
            last_write(fd, (last + i) % count);
            *ret = a;
            return 0;
        }
        if (r != BERTH_EXISTS) {
            if (err)
                *err = mine;
            return r;
        }
    }
    return fail(err, BERTH_NO_SPACE, n->name, "network \"%s\" is full: every address of %s is held by a workload",
                n->name, address_print_subnet(from, text));
}

/* A network that was removed between our look at it and the lease: the lease is for nothing. */
static int still_there(struct store *store, const struct network *n, const char *id, struct berth_error *err)
{
    if (faccessat(store->networks_fd, n->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return 0;
    network_release(store, n->name, id);
    return fail(err, BERTH_NOT_FOUND, n->name, "network \"%s\" has just been removed", n->name);
}

int network_take_address(struct store *store, const struct network *n, const struct address *wanted,
                         const char *id, struct address *ret, struct berth_error *err)
{
    int r;
    if (wanted) {
        r = take_exactly(store, n, &n->subnet, &n->gateway, wanted, id, err);
        *ret = *wanted;
    } else {
        r = take_any(store, n, id, ret, err);
    }
    ret->prefix = n->subnet.prefix;
    return r < 0 ? r : still_there(store, n, id, err);
}

int network_take_address6(struct store *store, const struct network *n, const struct address *wanted,
                          const struct address *with, const char *id, struct address *ret,
                          struct berth_error *err)
{
    struct address a;
    if (wanted) {
        *ret = *wanted;
        ret->prefix = n->subnet6.prefix;
        return take_exactly(store, n, &n->subnet6, &n->gateway6, wanted, id, err);
    }
    for (uint64_t round = 0;; round++) { /* only somebody's fixed address can be in the way */
        struct berth_error mine = {0};
        a = address_nth(&n->subnet6, address_index(&n->subnet, with) + round * address_count(&n->subnet));
        int r = take_exactly(store, n, &n->subnet6, &n->gateway6, &a, id, &mine);
        if (r == BERTH_EXISTS && round < 64)
            continue;
        if (r < 0 && err)
            *err = mine;
        *ret = a;
        return r;
    }
}

int network_take_mac(struct store *store, const struct network *n, const char *mac, const char *id,
                     struct berth_error *err)
{
    char kind[BERTH_NAME_MAX + 24], holder[BERTH_ID_TEXT] = "", who[BERTH_NAME_MAX + 8];
    snprintf(kind, sizeof(kind), "mac/%s", n->name);
    int r = lease_take(store, kind, mac, id, holder, err);
    if (r != BERTH_EXISTS)
        return r;
    label_of(store, holder, who);
    return fail(err, BERTH_EXISTS, mac, "MAC address %s of network \"%s\" is held by workload \"%s\"", mac, n->name,
                who);
}

int network_held(struct store *store, const char *name, const char *id, char ***ret_addresses)
{
    char kind[BERTH_NAME_MAX + 24];
    snprintf(kind, sizeof(kind), "address/%s", name);
    return leases_noted(store, id, kind, ret_addresses);
}

int network_release(struct store *store, const char *name, const char *id)
{
    const char *const kinds[] = {"address", "mac"};
    int result = 0;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        char kind[BERTH_NAME_MAX + 24];
        autostrings char **keys = NULL;
        snprintf(kind, sizeof(kind), "%s/%s", kinds[i], name);
        int r = leases_noted(store, id, kind, &keys);
        for (size_t k = 0; r == 0 && keys && keys[k]; k++)
            r = lease_release(store, kind, keys[k], id);
        if (r < 0)
            result = r;
    }
    return result;
}

/* ---- ports of the host */

static bool port_free(const char *protocol, const struct address *host, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool six = host->family == AF_INET6, udp = strcmp(protocol, "udp") == 0;
    memcpy(&v4.sin_addr, host->bytes, 4);
    memcpy(&v6.sin6_addr, host->bytes, 16);
    autoclose int fd = socket(six ? AF_INET6 : AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    int one = 1;
    if (fd < 0)
        return true; /* the start will tell */
    if (six)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    int r = six ? bind(fd, (struct sockaddr *)&v6, sizeof(v6)) : bind(fd, (struct sockaddr *)&v4, sizeof(v4));
    return r == 0 || errno != EADDRINUSE;
}

int port_take_any(struct store *store, const char *protocol, const struct address *host, const char *id,
                  uint16_t *ret_port, struct berth_error *err)
{
    const uint32_t count = PORT_LAST - PORT_FIRST + 1;
    char kind[24], key[8], what[24];
    uint32_t last;
    snprintf(kind, sizeof(kind), "port/%s", protocol);
    snprintf(what, sizeof(what), "port-%s", protocol);
    autoclose int fd = last_open(store, what, &last);
    for (uint32_t i = 1; i <= count; i++) {
        uint16_t port = (uint16_t)(PORT_FIRST + (last + i) % count);
        struct berth_error mine = {0};
        snprintf(key, sizeof(key), "%u", port);
        if (!port_free(protocol, host, port))
            continue;
        int r = lease_take(store, kind, key, id, NULL, &mine);
        if (r == 0) {
            last_write(fd, (last + i) % count);
            *ret_port = port;
            return 0;
        }
        if (r != BERTH_EXISTS) {
            if (err)
                *err = mine;
            return r;
        }
    }
    return fail(err, BERTH_NO_SPACE, "ports", "no %s port from %d to %d is free on this machine", protocol, PORT_FIRST,
                PORT_LAST);
}

bool port_held(struct store *store, const char *protocol, uint16_t port, const char *id)
{
    char path[40], holder[BERTH_ID_TEXT];
    snprintf(path, sizeof(path), "port/%.5s/%u", protocol, port);
    ssize_t n = readlinkat(store->leases_fd, path, holder, sizeof(holder));
    return n == ID_LENGTH && memcmp(holder, id, ID_LENGTH) == 0;
}

int port_release(struct store *store, const char *protocol, uint16_t port, const char *id)
{
    char kind[24], key[8];
    snprintf(kind, sizeof(kind), "port/%s", protocol);
    snprintf(key, sizeof(key), "%u", port);
    return lease_release(store, kind, key, id);
}

/* ---- the lock on bridges */

int networks_lock_open(int run_fd)
{
    int fd = RETRY(openat(run_fd, "networks.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    return fd < 0 ? -errno : fd;
}

int networks_lock(int run_fd, bool alone)
{
    autoclose int fd = networks_lock_open(run_fd);
    struct flock lock = {.l_type = alone ? F_WRLCK : F_RDLCK, .l_whence = SEEK_SET};
    if (fd < 0)
        return fd;
    return RETRY(fcntl(fd, F_OFD_SETLKW, &lock)) < 0 ? -errno : take_fd(&fd);
}
