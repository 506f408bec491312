/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names to addresses without the C library's own way, which would load shared objects and read files of the
 * guest's root.
 */
#ifndef WASM_LOOKUP_H
#define WASM_LOOKUP_H

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

#define LOOKUP_SERVERS 3

struct lookup {
    struct sockaddr_storage servers[LOOKUP_SERVERS];
    size_t n_servers;
    const char *const *hosts; /**< NAME=ADDRESS, borrowed */
    size_t n_hosts;
};

/** An address; -EINVAL for another text, 0 (ignored) for more than there is room for. */
int lookup_add_server(struct lookup *l, const char *address);
/** Addresses of a name: the hosts', else what the servers say. How many (0: none). Blocks up to 10 s. Any thread. */
int lookup_name(const struct lookup *l, const char *name, struct sockaddr_storage *ret, size_t room);

#endif
