/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Netlink: several requests in one buffer, one send, one answer each.
 *
 * Debian has no static libmnl, and the supervisor is static (doc/adr/0006): so a builder
 * and a reader of our own, the same for links, addresses, packet filter and connections.
 * What comes back is the kernel's, read as if it were not: every length is checked.
 */
#ifndef LINUX_NET_MESSAGE_H
#define LINUX_NET_MESSAGE_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A socket in the network namespace it was opened in. */
struct netlink {
    int fd;
    uint32_t sequence;
};
#define NETLINK_NONE {.fd = -1}

/** `protocol`: NETLINK_ROUTE, NETLINK_NETFILTER. 0 or -errno. */
int netlink_open(struct netlink *ret, int protocol);
/** The same in the namespace of a descriptor. The calling thread goes there and back: for programs
 *  with one thread only (the supervisor, tests), not for the library. */
int netlink_open_in(struct netlink *ret, int protocol, int ns_fd);
void netlink_close(struct netlink *nl);
#define autonetlink __attribute__((cleanup(netlink_close)))

/** Flag of netlink_begin: no acknowledgement is asked for (a batch's begin and end); a failure of
 *  such a one ends the reading. */
#define NETLINK_QUIET 0x8000

/** Requests being written. Zero-initialise; netlink_free it. `failed` sticks: out of memory. */
struct netlink_batch {
    char *data;
    size_t length, room;
    size_t message;      /* where the one being written begins */
    unsigned n;          /* messages in it */
    bool failed;
};
void netlink_free(struct netlink_batch *b);
#define autobatch __attribute__((cleanup(netlink_free)))
/** Begin a message: the body's room is zeroed and returned (valid until the next call; NULL out of memory). */
void *netlink_begin(struct netlink_batch *b, uint16_t type, uint16_t flags, size_t body);
void netlink_put(struct netlink_batch *b, uint16_t type, const void *data, size_t size);
void netlink_put_u8(struct netlink_batch *b, uint16_t type, uint8_t value);
void netlink_put_u32(struct netlink_batch *b, uint16_t type, uint32_t value);
void netlink_put_text(struct netlink_batch *b, uint16_t type, const char *s); /**< with its NUL */
size_t netlink_nest(struct netlink_batch *b, uint16_t type);
void netlink_nest_end(struct netlink_batch *b, size_t nest);
/** Bytes between, outside of any attribute: a header inside a nest (veth's peer). */
void *netlink_put_raw(struct netlink_batch *b, size_t size);

/** One answer that is no acknowledgement. Non-zero ends the reading and is returned. */
typedef int netlink_reader(const struct nlmsghdr *message, void *data);
/** A message of nf_tables, its family in it. */
void netlink_filter_begin(struct netlink_batch *b, unsigned type, uint16_t flags, uint8_t family);
/** NFNL_MSG_BATCH_BEGIN or _END: a transaction is all of what is between, or nothing. */
void netlink_filter_border(struct netlink_batch *b, uint16_t type);
/**
 * Send all, read until each has been acknowledged (an ACK is asked for). 0, or the -errno of the
 * first request that failed, *ret_failed (NULL allowed) its number from 0; the kernel goes on with
 * those behind it all the same. Blocks only as long as the kernel works.
 */
int netlink_send(struct netlink *nl, struct netlink_batch *b, unsigned *ret_failed);
/** The same for requests that answer (get, or a dump when it has NLM_F_DUMP: one request then).
 *  A dump that changed under us is -EINTR: ask again. */
int netlink_ask(struct netlink *nl, struct netlink_batch *b, netlink_reader *reader, void *data);

/** Attributes of a message or a nest: NULL at the end or when what is left is malformed. */
const struct nlattr *netlink_first(const struct nlmsghdr *message, size_t body);
const struct nlattr *netlink_first_in(const struct nlattr *nest);
const struct nlattr *netlink_next(const struct nlattr *a, const void *end);
#define NETLINK_EACH(a, first, end) \
    for (const struct nlattr *a = (first); a; a = netlink_next(a, (end)))
/** Fill table[type] for type < n; the rest NULL. */
void netlink_table(const struct nlattr *first, const void *end, const struct nlattr **table, size_t n);
const void *netlink_end(const struct nlmsghdr *message);
const void *netlink_end_in(const struct nlattr *nest);
const void *netlink_data(const struct nlattr *a);
size_t netlink_size(const struct nlattr *a);
uint32_t netlink_u32(const struct nlattr *a); /**< 0 when it is none or short; host order */

#endif
