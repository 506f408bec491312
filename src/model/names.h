/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a supervisor tells `berth-dns` about its workload, and where the two meet. No I/O here.
 *
 * A record is said over a connection to RUN/dns/socket (SOCK_SEQPACKET, one JSON document a packet)
 * and is true as long as that connection lives: a supervisor that is killed takes its names along,
 * and a berth-dns that was killed is told everything again. So there are no files to go stale.
 * A later record replaces the earlier one whole. Each is answered, once queries see it, by
 * NAMES_DONE or by the text of what is wrong with it.
 *
 * Who says NAMES_HOW in place of a record is told what is wrong with any of them, or NAMES_DONE. NAMES_AGAIN is that,
 * and that what berth-dns has in the packet filter is to be put in again (it was flushed) and those with trouble are to
 * try again.
 *
 * Who asks is told by the network (the gateway's address that was asked) and the source address. He sees
 * the names of all networks that he is on; an unknown source those of the network it came by. On one
 * network a workload's name beats an alias that is equal to it; several workloads with one alias are
 * all answered, in turns. The short id (12 digits) is a name as well. All else is forwarded to
 * `upstreams`, or without them to the host's resolvers; not for who is on internal networks alone.
 *
 * The workload's resolv.conf, then: "nameserver" of its gateways, the host's "search" unless the spec
 * has its own, and "options ndots:0" before the spec's own options (so that a name of one word is asked
 * as it is before search domains are tried).
 */
#ifndef MODEL_NAMES_H
#define MODEL_NAMES_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

#define NAMES_FOLDER "dns"              /* below RUN */
#define NAMES_SOCKET NAMES_FOLDER "/socket"
#define NAMES_LOCK NAMES_FOLDER "/lock" /* held (open file description) by the berth-dns that lives */
#define NAMES_DONE "ok"
#define NAMES_HOW "how"
#define NAMES_AGAIN "again"
#define NAMES_MAX_BYTES 65536u          /* of a record: some 2,000 aliases */
#define NAMES_NETWORKS_MAX 64           /* of one workload */
#define NAMES_ADDRESSES_MAX 8           /* of one workload on one network */
#define NAMES_UPSTREAMS_MAX 8

struct names_network {
    char *network;    /* unique in this root: the network's name */
    char *bridge;     /* the link */
    char **gateways;  /* berth-dns listens on port 53 of these: one per family */
    char **addresses; /* of the workload, with the subnet's length: "10.210.0.5/20", "fd00::5/64" */
    char **aliases;   /* NULL: none */
    bool internal;
};

struct names {
    char *id, *name;
    char *hash;       /* of the root, as in names of tables and links; NULL: unknown */
    char **upstreams; /* addresses; NULL: the host's */
    struct names_network *networks;
    size_t n_networks;
};

/** As one JSON document, free(3). TOO_BIG above NAMES_MAX_BYTES. */
int names_print(const struct names *names, char **ret_json, struct berth_error *err);
/** CORRUPT, or INVALID for what is no address. */
int names_parse(const char *json, size_t length, struct names **ret_names, struct berth_error *err);
void names_free(struct names *names);
static inline void cleanup_names(struct names **p) { names_free(*p); }

#endif
