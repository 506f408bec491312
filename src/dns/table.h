/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is called what on which network, and who asks: one hash table, two kinds of keys.
 *
 * Keys are a network with a name on the wire, or with an address. What is in it came from supervisors;
 * askers only look things up, so nobody outside can make it slow.
 */
#ifndef DNS_TABLE_H
#define DNS_TABLE_H

#include "base/address.h"
#include "dns/wire.h"
#include "model/names.h"

#include <netinet/in.h>

struct host; /* a workload */

struct network {
    struct network *next;
    char *name;
    struct address subnets[2]; /* IPv4, IPv6: as its members said last */
    bool internal;
    unsigned users;   /* members and sockets */
    unsigned waiting; /* questions of unknown askers that are on their way */
};

/** A workload on one network. */
struct member {
    struct host *host;
    struct network *network;
    struct address addresses[NAMES_ADDRESSES_MAX];
    size_t n_addresses;
};

struct host {
    struct host *next;
    uint32_t connection; /* of its supervisor */
    uint8_t name[WIRE_NAME_MAX];
    size_t name_length;  /* 0: its name can't be one of DNS */
    struct sockaddr_in6 upstreams[NAMES_UPSTREAMS_MAX]; /* or sockaddr_in */
    size_t n_upstreams;
    struct member *members;
    size_t n_members;
    struct entry *entries; /* all that stand for it */
    unsigned waiting;      /* its questions that are on their way: they hold it */
    bool gone;             /* freed when they are through */
};

enum entry_kind { ENTRY_NAME, ENTRY_ALIAS, ENTRY_ADDRESS };
struct entry {
    struct entry *next, *sibling;
    struct network *network;
    struct member *member;
    uint32_t hash;
    uint8_t kind, key_length;
    uint8_t key[];
};

struct table {
    struct entry **buckets;
    size_t n_buckets, n_entries;
    struct host *hosts;
    struct network *networks;
};

/** What the connection says now, instead of what it said before. NO_MEMORY: what it said before is gone. */
int table_set(struct table *t, uint32_t connection, const struct names *names, struct berth_error *err);
void table_remove(struct table *t, uint32_t connection);
void table_free(struct table *t);

/** A server's address with port 53, as a sockaddr_in or sockaddr_in6. */
bool upstream_parse(const char *text, struct sockaddr_in6 *ret);

/** By name; made when `make`, then it is used once more. */
struct network *table_network(struct table *t, const char *name, bool make);
void network_release(struct table *t, struct network *n);
/** One question less. */
void host_release(struct host *h);

/** First entry with this key, and the next one; NULL at the end. */
const struct entry *table_find(const struct table *t, const struct network *n, const uint8_t *key, size_t length);
const struct entry *table_next(const struct entry *e);
/** Who has this address on a network (`prefix` doesn't count). */
struct member *table_member(const struct table *t, const struct network *n, const struct address *a);
/** Whether it lies in a subnet of the network. */
bool network_covers(const struct network *n, const struct address *a);

#endif
