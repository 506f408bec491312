/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP addresses and subnets as values: parse, print, compare, count. No socket, no system call.
 */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** An address with the length of its subnet's prefix (32 or 128: an address alone). family is
 *  AF_INET or AF_INET6; 0 means none. Compares with address_equal, never with memcmp. */
struct address {
    uint8_t family;
    uint8_t prefix;
    uint8_t bytes[16]; /**< network order; IPv4 in the first four */
};

#define ADDRESS_TEXT_MAX 52 /**< longest printed form and NUL: IPv6, "/128" */

/** "10.0.0.7", "fd00::7" (an IPv6 address may stand in brackets). -EINVAL: anything else, a prefix too. */
int address_parse(const char *s, struct address *ret);
/** "10.0.0.7/24": the prefix must be there. Bits behind the prefix are kept. -EINVAL. */
int address_parse_subnet(const char *s, struct address *ret);
/** Without and with "/prefix"; "" for none. Returns ret. */
char *address_print(const struct address *a, char ret[ADDRESS_TEXT_MAX]);
char *address_print_subnet(const struct address *a, char ret[ADDRESS_TEXT_MAX]);

/** Bits of a whole address: 32, 128; 0 for none. */
unsigned address_bits(const struct address *a);
/** Same family and address; the prefix does not count. */
bool address_equal(const struct address *a, const struct address *b);
bool address_is_any(const struct address *a);      /**< 0.0.0.0 or :: */
bool address_is_loopback(const struct address *a); /**< 127/8 or ::1 */
/** Whether a workload or a subnet of workloads may have it: neither any, loopback, link-local,
 *  multicast, 240/4 nor IPv4 mapped into IPv6. */
bool address_is_unicast(const struct address *a);

/** The subnet itself: the bits behind the prefix cleared; and with all of them set. */
struct address address_first(const struct address *subnet);
struct address address_last(const struct address *subnet);
/** Whether `subnet` covers the address; whether two subnets share an address. Families must agree. */
bool address_in(const struct address *subnet, const struct address *a);
bool address_overlap(const struct address *a, const struct address *b);
/** Order by family, then address. */
int address_compare(const struct address *a, const struct address *b);
/** The n-th address of the subnet (0: its first), with the subnet's prefix; family 0 when it has not
 *  that many. */
struct address address_nth(const struct address *subnet, uint64_t n);
/** Which one it is: the inverse; UINT64_MAX when it is outside or too far. */
uint64_t address_index(const struct address *subnet, const struct address *a);
/** Addresses of the subnet, UINT64_MAX when there are more. */
uint64_t address_count(const struct address *subnet);
/** The n-th subnet with `prefix` inside a pool; family 0 when it has not that many. */
struct address address_subnet(const struct address *pool, unsigned prefix, uint64_t n);

#endif
