/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host's real resolvers: /etc/resolv.conf, and its changes.
 *
 * systemd-resolved's stub (127.0.0.53, .54) is never asked: it looks at who asks, and it is not where
 * workloads are. Its own upstreams are in /run/systemd/resolve/resolv.conf.
 */
#ifndef DNS_RESOLVERS_H
#define DNS_RESOLVERS_H

#include "model/names.h"

#include <netinet/in.h>

struct resolvers {
    int watch_fd; /* readable after a change (and now and then without one) */
    struct sockaddr_in6 list[NAMES_UPSTREAMS_MAX]; /* or sockaddr_in */
    size_t n;
};

/** Read, and watch from now on: `watch_fd` is another one afterwards. 0 or -errno. */
int resolvers_read(struct resolvers *r);
/** What happened: true when it has to be read again. */
bool resolvers_changed(struct resolvers *r);
/** "nameserver" lines of a text, behind those in the list. *ret_stub: there was a stub among them. */
void resolvers_parse(const char *text, struct resolvers *r, bool *ret_stub);

#endif
