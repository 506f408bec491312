/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of `wasm.allowed_hosts`: which names, networks and ports a guest may reach. Default: none.
 *
 * One piece of code reads them for the spec's check, for the packet filter and for the worker's callback.
 *
 *     *                       any name and address on any port, but no special address (below)
 *     NAME[:PORTS]            one host name, any case
 *     *.NAME[:PORTS]          every name below it
 *     ADDRESS[/BITS][:PORTS]  a network; IPv6 in brackets, "[fd00::]/8:443"
 *     PORTS                   443, 8000-8010; nothing: 80 and 443 for names, all for networks
 *
 * Special addresses are loopback, link-local (cloud metadata), unspecified, multicast and broadcast: reached only
 * through a rule that is a network which lies in the special range itself, never through a name or "*" or 0.0.0.0/0.
 * The host's own addresses are reached only through a rule for that one address.
 */
#ifndef MODEL_ALLOWED_H
#define MODEL_ALLOWED_H

#include "base/address.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct allowed_rule {
    char name[256];           /**< lower case; "" for a network */
    bool below;               /**< *.NAME; with an empty name: "*" */
    struct address subnet;    /**< family 0: a name */
    bool special;             /**< the network lies within special addresses */
    bool web;                 /**< no ports were said of a name: 80 and 443 */
    uint16_t first, last;     /**< ports, without `web` */
};

/** INVALID with what is wrong with it. */
int allowed_parse(const char *text, struct allowed_rule *ret_rule, struct berth_error *err);
/** Some rule lets this name be looked up, for this port (0: for some). */
bool allowed_name(const struct allowed_rule *rules, size_t n, const char *name, uint16_t port);
/** Some rule allows this address and port, reached by `name` (NULL: by address alone). An IPv4 address
 *  mapped into IPv6 is judged as what it is. `host`: it is the host's own. */
bool allowed_address(const struct allowed_rule *rules, size_t n, const char *name, const struct address *address, bool host,
                     uint16_t port);
/** Loopback, link-local, unspecified, multicast, broadcast; also as IPv4 mapped into IPv6. */
bool allowed_is_special(const struct address *address);
/** An IPv4 address mapped into IPv6 as what it leads to; any other as it is. */
struct address allowed_plain(const struct address *address);
/** The i-th network of such addresses, in order within a family; false behind the last. */
bool allowed_special(size_t i, struct address *ret);

#endif
