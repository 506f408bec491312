/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one workload has of the host's network, written down before it is made: RUN/ID/net.
 *
 * So whoever comes after a killed supervisor can undo it, and whoever finds the packet filter flushed
 * can put everybody's share back. A few lines of text; gone with the run.
 */
#ifndef LINUX_NET_RECORD_H
#define LINUX_NET_RECORD_H

#include "linux/net_filter.h"

/** Replace the record. `on`: the bridge of each guest. 0 or -errno. */
int net_record_write(int workload_run_fd, const struct net_share *share, char (*on)[NET_LINK_MAX]);
/** A share of one's own (net_record_free). -ENOENT: there is none. Lines of a later version are passed over. */
int net_record_read(int workload_run_fd, struct net_share **ret);
void net_record_free(struct net_share *share);
static inline void cleanup_net_record(struct net_share **s) { net_record_free(*s); }

/**
 * Undo what the record says: links, elements of the packet filter, remembered UDP flows; then the record
 * goes. Nothing to undo is 0. Bridges stay: others may be on them.
 */
int net_record_undo(int workload_run_fd, const char *hash, struct berth_error *err);

/** A bridge is new: the links of all that run on it are put on it again. Best effort. */
void net_records_attach(struct netlink *nl, int run_fd, const char *bridge, int index);
/** The bridge that guest number `i` of a record is on. */
const char *net_record_bridge(const struct net_share *share, size_t i);

/** The filter is new and empty: the shares of all that run (RUN/ID/net) again. How many failed, or a code. */
int net_records_restore(struct netlink *nl, int run_fd, const char *hash, struct berth_error *err);

#endif
