/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two halves of berth-dns say to each other, over a socketpair (SOCK_SEQPACKET).
 *
 * The keeper (root, no hostile input) hands the worker (nobody, in the jail) records, sockets and the host's
 * resolvers. Back comes one word per record. The worker is not believed: what it says can at most
 * be wrong about a record.
 */
#ifndef DNS_FEED_H
#define DNS_FEED_H

#include "base/address.h"
#include "model/names.h"

#include <netinet/in.h>

#define UDP_SOCKETS 8   /* of a gateway: askers are spread over them, so one that floods fills only his own queue */
#define FEED_SOCKETS_MAX (UDP_SOCKETS + 1)
#define FEED_TEXT 256

enum feed_type {
    FEED_RECORD,    /* body: the record; is answered */
    FEED_GONE,      /* a supervisor has hung up */
    FEED_SOCKETS,   /* body: the network's name; UDP sockets, then the listening one, beside it */
    FEED_CLOSE,     /* body: the network's name */
    FEED_RESOLVERS, /* body: struct sockaddr_in6 (or _in), one behind the other */
};

struct feed_head {
    uint32_t type;
    uint32_t connection;    /* RECORD, GONE */
    uint32_t sequence;      /* RECORD: repeated in the answer */
    uint32_t reserved;
    struct address gateway; /* SOCKETS, CLOSE */
};

struct feed_reply {
    uint32_t connection, sequence;
    char text[FEED_TEXT]; /* NAMES_DONE or what is wrong */
};

/** The worker: in the jail, until the keeper hangs up. */
int worker_run(int feed_fd);

#endif
