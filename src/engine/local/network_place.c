/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where networks go: subnets that the host does not use, and the bridge that says so.
 *
 * Two roots know nothing of each other. What they can both see is the host's routes: so a network
 * gets its bridge with the first workload that is created on it, and of two that chose the same
 * subnet at the same moment the one that came later gives way.
 */
#include "local/inside.h"
#include "linux/net_link.h"
#include <stdio.h>

#define PLACE_ROUNDS 16

static int open_route(struct netlink *nl, struct berth_error *err)
{
    int r = netlink_open(nl, NETLINK_ROUTE);
    return r < 0 ? fail_os(err, r, NULL, "open a netlink socket") : 0;
}

/** What the host has routes or addresses for, without this root's own bridges. */
static int host_ranges(struct netlink *nl, const char *tag, struct net_range **ret, size_t *ret_n,
                       struct berth_error *err)
{
    size_t kept = 0;
    int r = net_ranges_read(nl, ret, ret_n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < *ret_n; i++)
        if (!net_link_kind(tag, (*ret)[i].link))
            (*ret)[kept++] = (*ret)[i];
    *ret_n = kept;
    return 0;
}

/** Fill in where a subnet may be chosen; *ret_taken is the wish's room. */
static int wish_ranges(struct network_wish *wish, const struct net_range *ranges, size_t n,
                       struct address **ret_taken, struct berth_error *err)
{
    struct address *taken = calloc(n + 1, sizeof(*taken));
    if (!taken)
        return fail_memory(err);
    for (size_t i = 0; i < n; i++)
        taken[i] = ranges[i].subnet;
    wish->taken = *ret_taken = taken;
    wish->n_taken = n;
    if (!wish->pool.family && address_parse_subnet(NETWORK_POOL, &wish->pool) < 0)
        return fail(err, BERTH_INVALID, "network.pool", "network.pool: \"%s\" is not a subnet", NETWORK_POOL);
    return 0;
}

int network_make(struct store *store, struct network_wish *wish, struct network *ret, struct berth_error *err)
{
    autonetlink struct netlink nl = NETLINK_NONE;
    autofree struct net_range *ranges = NULL;
    autofree struct address *taken = NULL;
    struct network there;
    size_t n = 0;
    if (network_read(store, wish->name, &there, NULL) == 0)
        return fail(err, BERTH_EXISTS, wish->name, "there is a network \"%s\" already", wish->name);
    int r = open_route(&nl, err);
    if (r == 0)
        r = host_ranges(&nl, store_tag(store), &ranges, &n, err);
    if (r == 0)
        r = wish_ranges(wish, ranges, n, &taken, err);
    return r < 0 ? r : network_create(store, wish, ret, err);
}

int network_settings(struct local *c, struct network_wish *wish, struct berth_error *err)
{
    autoclean(cleanup_settings) struct settings *s = NULL;
    bool is_default = !strcmp(wish->name, NETWORK_DEFAULT);
    int r = settings_read(c, &s, err);
    if (r < 0)
        return r;
    uint32_t said = is_default ? s->network.default_prefix : s->network.prefix;
    if (!wish->length)
        wish->length = said ? said : is_default ? NETWORK_DEFAULT_LENGTH : NETWORK_LENGTH;
    if (!wish->pool.family && s->network.pool && address_parse_subnet(s->network.pool, &wish->pool) < 0)
        return fail(err, BERTH_INVALID, "network.pool", "network.pool: \"%s\" is not a subnet", s->network.pool);
    return 0;
}

int network_default(struct local *c, struct store *store, bool dry, struct network *ret, struct berth_error *err)
{
    struct network_wish wish = {.name = NETWORK_DEFAULT};
    struct berth_error mine = {0};
    if (dry) {
        *ret = (struct network){0};
        snprintf(ret->name, sizeof(ret->name), "%s", NETWORK_DEFAULT);
        return 0;
    }
    int r = network_read(store, NETWORK_DEFAULT, ret, NULL);
    if (r == 0)
        return 0;
    r = network_settings(c, &wish, err);
    if (r < 0)
        return r;
    r = network_make(store, &wish, ret, &mine);
    if (r == BERTH_EXISTS)
        return network_read(store, NETWORK_DEFAULT, ret, err);
    if (r < 0 && err)
        *err = mine;
    return r;
}

/* ---- the first workload on it */

static int refuse(const struct network *n, const struct net_range *theirs, struct berth_error *err)
{
    char own[ADDRESS_TEXT_MAX], other[ADDRESS_TEXT_MAX];
    return fail(err, BERTH_EXISTS, n->name, "its subnet %s overlaps %s, to which this machine has a route (%s)",
                address_print_subnet(&n->subnet, own), address_print_subnet(&theirs->subnet, other),
                theirs->link[0] ? theirs->link : "no link");
}

static int ensure_bridge(struct store *store, struct netlink *nl, const struct network *n, struct berth_error *err)
{
    struct net_bridge b = {.gateway = {n->gateway, n->gateway6}, .mtu = (int)n->mtu};
    if (!b.mtu)
        b.mtu = net_default_mtu(nl);
    net_bridge_name(store_tag(store), n->internal, n->index, b.name);
    return net_bridge_ensure(nl, &b, NULL, err);
}

/** Out of the way of the host. 1: it had to move. */
static int move_away(struct local *c, struct netlink *nl, struct network *n, struct berth_error *err)
{
    struct store *store = c->store;
    struct network_wish wish = {.name = n->name, .length = n->subnet.prefix};
    autofree struct net_range *ranges = NULL;
    autofree struct address *taken = NULL;
    size_t count = 0;
    int r = host_ranges(nl, store_tag(store), &ranges, &count, err);
    const struct net_range *theirs = r < 0 ? NULL : net_range_find(ranges, count, &n->subnet, NULL);
    if (r < 0 || !theirs)
        return r;
    if (!n->chosen)
        return refuse(n, theirs, err);
    r = network_settings(c, &wish, err);
    if (r == 0)
        r = wish_ranges(&wish, ranges, count, &taken, err);
    if (r == 0)
        r = network_move(store, &wish, n, err);
    return r < 0 ? r : 1;
}

/** Whether another link with our subnet was there before our bridge. */
static int came_later(struct store *store, struct netlink *nl, const struct network *n, int bridge,
                      struct berth_error *err)
{
    autofree struct net_range *ranges = NULL;
    size_t count = 0;
    int r = host_ranges(nl, store_tag(store), &ranges, &count, err);
    const struct net_range *theirs = r < 0 ? NULL : net_range_find(ranges, count, &n->subnet, NULL);
    if (r < 0 || !theirs)
        return r;
    int other = theirs->link[0] ? net_link_index(nl, theirs->link) : 0;
    return other < bridge;
}

static int place(struct local *c, struct network *n, struct berth_error *err)
{
    struct store *store = c->store;
    autonetlink struct netlink nl = NETLINK_NONE;
    char bridge_name[NET_LINK_MAX];
    int r = open_route(&nl, err);
    net_bridge_name(store_tag(store), n->internal, n->index, bridge_name);
    if (r == 0 && net_link_index(&nl, bridge_name) > 0) /* of a moment ago: its subnet is seen to be taken */
        return ensure_bridge(store, &nl, n, err);
    for (int round = 0; r >= 0 && round < PLACE_ROUNDS; round++) {
        r = move_away(c, &nl, n, err);
        int bridge = r < 0 ? r : ensure_bridge(store, &nl, n, err);
        if (bridge < 0)
            return bridge;
        r = came_later(store, &nl, n, bridge, err);
        if (r <= 0)
            return r;
        r = net_link_remove(&nl, bridge_name, err);
    }
    return r < 0 ? r : fail(err, BERTH_AGAIN, n->name, "the machine's routes change all the time");
}

int network_place(struct local *c, struct network *n, int *ret_lock, struct berth_error *err)
{
    struct store *store = c->store;
    if (!network_idle(store, n->name))
        return 0;
    autoclose int lock = networks_hold(store);
    if (lock < 0)
        return fail_os(err, lock, n->name, "lock the networks");
    int r = network_read(store, n->name, n, err); /* it may have moved while we waited */
    if (r == 0 && network_idle(store, n->name))
        r = place(c, n, err);
    if (r >= 0)
        *ret_lock = take_fd(&lock);
    return MIN(r, 0);
}
