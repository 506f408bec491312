/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sockets on a network's gateway, port 53: made by the keeper, used by the worker.
 */
#ifndef DNS_LISTEN_H
#define DNS_LISTEN_H

#include "base/address.h"
#include "base/error.h"
#include "dns/feed.h"

#define PORT_NAMES 53
/** Where we listen when another program has port 53 of every address; below 1024, so that only root
 *  can take it, and nobody's by IANA. */
#define PORT_BESIDE 530

/**
 * UDP_SOCKETS and then one for TCP, listening. They need not wait for the address to be there. -EADDRINUSE.
 * Between those of UDP the kernel chooses by the source address.
 */
int listen_open(const struct address *gateway, uint16_t port, int ret_fds[FEED_SOCKETS_MAX]);

#endif
