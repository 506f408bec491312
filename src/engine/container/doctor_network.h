/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What doctor finds of the network.
 */
#ifndef CONTAINER_DOCTOR_NETWORK_H
#define CONTAINER_DOCTOR_NETWORK_H

#include "local/inside.h"

struct network_report {
    size_t running;   /* workloads on bridges */
    size_t orphans;   /* links that nobody has */
    size_t changed;   /* bridges in use that lack their address, are down or have another MTU */
    size_t loose;     /* links of running workloads that are gone, down or not on their bridge */
    size_t walls;     /* namespaces whose own filter somebody took away (linux/net_wall.h) */
    char filter[96];  /* what is wrong with the packet filter; "" */
    char subnet[240]; /* a subnet that the host has another way to; "" */
};
/** Look, and with `mend` put right what can be: links removed or put back on their bridges, rules put
 *  back. What is told is what remains. 0 or negative. */
int network_examine(struct store *store, bool mend, struct network_report *ret);

#endif
