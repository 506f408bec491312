/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks as stored objects, and what they hand out: addresses, and ports of the host.
 *
 * ROOT/networks/NAME is one JSON document, taken by making it. Addresses are leases of the kind
 * "address/NAME", MAC addresses of "mac/NAME", ports of "port/tcp" and "port/udp": each held by one
 * workload from create to remove, over every restart.
 */
#ifndef STORE_NETWORK_H
#define STORE_NETWORK_H

#include "base/address.h"
#include "store/store.h"

#define NETWORK_DEFAULT "bridge"  /* made at first use */
#define NETWORK_POOL "10.210.0.0/15"
#define NETWORK_DEFAULT_LENGTH 20 /* of the default network's subnet */
#define NETWORK_LENGTH 24         /* of a named one's */

struct network {
    char name[BERTH_NAME_MAX + 8];
    uint32_t index;                   /* unique in this root: the bridge's name has it */
    struct address subnet, range;     /* range: where addresses are taken from; family 0: the subnet */
    struct address gateway;
    struct address subnet6;           /* family 0: no IPv6 */
    struct address gateway6;
    uint32_t mtu;                     /* 0: the default route's */
    bool internal, chosen;            /* chosen: nobody asked for just this subnet */
    int64_t created_usec;
};

/** What is wanted of a new one. Unset (family 0, 0, NULL): chosen. */
struct network_wish {
    const char *name;
    struct address subnet, range, subnet6;
    struct address gateway;
    bool ipv6, internal;
    uint32_t mtu;
    const char *labels_json;
    /* where subnets are chosen */
    struct address pool;
    unsigned length;                  /* prefix of a chosen one */
    const struct address *taken;       /* routes and addresses of the host */
    size_t n_taken;
};

/**
 * Make it. EXISTS for a name, or a subnet that overlaps another's or a taken one (named); NO_SPACE when
 * the pool is used up; INVALID for a subnet without room (/31), a gateway or range outside of it.
 */
int network_create(struct store *store, const struct network_wish *wish, struct network *ret, struct berth_error *err);
/** Exclusive among all who make or move networks, or take the first address on one. Waits. Descriptor or -errno. */
int networks_hold(struct store *store);
/** Under networks_hold, and idle: another subnet, out of wish->pool, for one whose subnet was chosen. */
int network_move(struct store *store, const struct network_wish *wish, struct network *n, struct berth_error *err);
/** NOT_FOUND names it. */
int network_read(struct store *store, const char *name, struct network *ret, struct berth_error *err);
/** The document as stored; free(3). */
int network_print(struct store *store, const char *name, char **ret_json, struct berth_error *err);
/** Names, sorted; NULL-terminated. */
int network_list(struct store *store, char ***ret_names, struct berth_error *err);
/** Ids of the workloads that hold an address on it; NULL-terminated, NULL for none. */
int network_users(struct store *store, const char *name, char ***ret_ids, struct berth_error *err);
/** Whether nobody holds an address on it. Costs nothing: for the end of every workload. */
bool network_idle(struct store *store, const char *name);
/** WRONG_STATE names a workload that is on it. */
int network_remove(struct store *store, const char *name, struct berth_error *err);

/**
 * An address of the network for workload `id`: `wanted` (NULL: any). EXISTS names who has it, NO_SPACE
 * when the network is full, INVALID for one outside. The lease is noted with the workload.
 */
int network_take_address(struct store *store, const struct network *n, const struct address *wanted, const char *id,
                         struct address *ret, struct berth_error *err);
/** The same on its IPv6 subnet: by default the one that goes with the IPv4 address `with`. */
int network_take_address6(struct store *store, const struct network *n, const struct address *wanted,
                          const struct address *with, const char *id, struct address *ret, struct berth_error *err);
/** A fixed MAC address, in lower case. EXISTS names who has it. */
int network_take_mac(struct store *store, const struct network *n, const char *mac, const char *id,
                     struct berth_error *err);
/** The addresses that `id` holds on a network, as text; NULL for none. */
int network_held(struct store *store, const char *name, const char *id, char ***ret_addresses);
/** Everything of one network that `id` holds is given back. */
int network_release(struct store *store, const char *name, const char *id);

/** A port of the host that nobody has leased and nothing listens on at the moment. */
int port_take_any(struct store *store, const char *protocol, const struct address *host, const char *id,
                  uint16_t *ret_port, struct berth_error *err);
bool port_held(struct store *store, const char *protocol, uint16_t port, const char *id);
int port_release(struct store *store, const char *protocol, uint16_t port, const char *id);

/**
 * Held (shared) while a link is added to a bridge, alone while a bridge without workloads goes away.
 * `run_fd`: RUN. Waits. Descriptor (close it to unlock) or -errno.
 */
int networks_lock(int run_fd, bool alone);
/** Its file, made when missing. */
int networks_lock_open(int run_fd);

#endif
