/* SPDX-License-Identifier: Apache-2.0 */
/*
 * doctor's look at the network: what berth made against what is there.
 *
 * Everything that runs has written down what it has (linux/net_record.h); what exists beyond that is left
 * over, what is missing of it was taken away by somebody else.
 */
#include "container/doctor_network.h"
#include "base/address.h"
#include "linux/net_filter.h"
#include "linux/net_link.h"
#include "linux/net_pool.h"
#include "linux/net_record.h"
#include "model/message.h"
#include "model/names.h"
#include "store/names_ask.h"
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>

#define WALL_ANSWER_MSEC 1000

struct look {
    struct store *store;
    struct netlink route, filter;
    struct net_found *links;
    size_t n_links;
    struct net_share **shares; /* of those that run */
    size_t n_shares;
    char **walled; /* ids of those with a filter of their own */
    char *pooled; /* links that wait in a pool */
    struct net_range *ranges;
    size_t n_ranges;
    struct network_report *report;
};

static void look_free(struct look *l)
{
    for (size_t i = 0; i < l->n_shares; i++)
        net_record_free(l->shares[i]);
    free(l->shares);
    strings_free(l->walled);
    free(l->links);
    free(l->pooled);
    free(l->ranges);
    netlink_close(&l->route);
    netlink_close(&l->filter);
}

/** The shares of everybody whose `life` is held; a dead one's is for the next status to clear away. */
static int read_shares(struct look *l)
{
    autostrings char **ids = NULL;
    int r = store_list(l->store, &ids, NULL);
    if (r < 0 || !ids)
        return r;
    l->shares = calloc(strings_count(ids) + 1, sizeof(struct net_share *));
    for (size_t i = 0; l->shares && ids[i]; i++) {
        autoworkload w = NULL;
        if (workload_open(l->store, ids[i], &w, NULL) < 0 || workload_alive(w, NULL) <= 0)
            continue;
        int run_fd = workload_run_fd(w, NULL);
        if (run_fd < 0 || net_record_read(run_fd, &l->shares[l->n_shares]) < 0)
            continue;
        if (l->shares[l->n_shares++]->n_ways && strings_add(&l->walled, ids[i]) < 0)
            return -ENOMEM;
    }
    return l->shares ? 0 : -ENOMEM;
}

static const struct net_found *find_link(const struct look *l, const char *name)
{
    for (size_t i = 0; i < l->n_links; i++)
        if (!strcmp(l->links[i].name, name))
            return &l->links[i];
    return NULL;
}

static bool recorded(const struct look *l, const char *name)
{
    for (size_t i = 0; i < l->n_shares; i++)
        for (size_t g = 0; g < l->shares[i]->n_guests; g++)
            if (!strcmp(l->shares[i]->guests[g].link, name))
                return true;
    return l->pooled && strstr(l->pooled, name);
}

/** Of all links of this root: those that nobody has. */
static void count_orphans(struct look *l, bool remove)
{
    l->report->orphans = 0;
    for (size_t i = 0; i < l->n_links; i++)
        if (l->links[i].kind == 'v' && !recorded(l, l->links[i].name) &&
            (!remove || net_link_remove(&l->route, l->links[i].name, NULL) < 0))
            l->report->orphans++;
}

static int network_of_bridge(struct look *l, const char *bridge, struct network *ret)
{
    autostrings char **names = NULL;
    char own[NET_LINK_MAX];
    if (network_list(l->store, &names, NULL) < 0)
        return -EIO;
    for (size_t i = 0; names && names[i]; i++)
        if (network_read(l->store, names[i], ret, NULL) == 0) {
            net_bridge_name(store_tag(l->store), ret->internal, ret->index, own);
            if (!strcmp(own, bridge))
                return 0;
        }
    return -ENOENT;
}

static int make_bridge(struct look *l, const char *name)
{
    struct network n;
    struct net_bridge b = {0};
    if (network_of_bridge(l, name, &n) < 0)
        return -ENOENT;
    b.gateway[0] = n.gateway;
    b.gateway[1] = n.gateway6;
    b.mtu = n.mtu ? (int)n.mtu : net_default_mtu(&l->route);
    memcpy(b.name, name, NET_LINK_MAX);
    return net_bridge_ensure(&l->route, &b, NULL, NULL);
}

static bool has_way(const struct look *l, const struct address *subnet, const char *link)
{
    for (size_t i = 0; i < l->n_ranges; i++)
        if (!strcmp(l->ranges[i].link, link) && l->ranges[i].subnet.prefix == subnet->prefix && address_overlap(&l->ranges[i].subnet, subnet))
            return true;
    return !subnet->family;
}

static bool bridge_is_right(struct look *l, const struct net_found *on)
{
    struct network n;
    if (network_of_bridge(l, on->name, &n) < 0)
        return true; /* its network was removed under it: nobody knows better */
    int mtu = n.mtu ? (int)n.mtu : net_default_mtu(&l->route);
    return on->up && on->mtu == mtu && has_way(l, &n.subnet, on->name) && has_way(l, &n.subnet6, on->name);
}

static bool bridge_is_used(const struct look *l, const char *bridge)
{
    for (size_t i = 0; i < l->n_shares; i++)
        for (size_t g = 0; g < l->shares[i]->n_guests; g++)
            if (!strcmp(net_record_bridge(l->shares[i], g), bridge))
                return true;
    return false;
}

/** Bridges that workloads are on, as their networks say. */
static void count_changed(struct look *l, bool mend)
{
    l->report->changed = 0;
    for (size_t i = 0; i < l->n_links; i++)
        if (l->links[i].kind != 'v' && bridge_is_used(l, l->links[i].name) && !bridge_is_right(l, &l->links[i]) &&
            (!mend || make_bridge(l, l->links[i].name) < 0))
            l->report->changed++;
}

/** Links that run without their bridge. */
static void count_loose(struct look *l, bool mend)
{
    l->report->loose = 0;
    for (size_t i = 0; i < l->n_shares; i++)
        for (size_t g = 0; g < l->shares[i]->n_guests; g++) {
            const char *bridge = net_record_bridge(l->shares[i], g);
            const struct net_found *link = find_link(l, l->shares[i]->guests[g].link), *on = find_link(l, bridge);
            if (link && on && link->up && link->master == on->index)
                continue;
            int index = mend && link ? make_bridge(l, bridge) : -1;
            if (index < 0 || net_link_attach(&l->route, link->name, index, NULL) < 0)
                l->report->loose++;
        }
}

static void check_filter(struct look *l, bool mend)
{
    enum net_filter_state state = NET_FILTER_WHOLE;
    bool made = false;
    l->report->filter[0] = 0;
    if (l->n_shares == 0 || net_filter_check(&l->filter, store_tag(l->store), &state, l->report->filter, NULL) < 0 ||
        state == NET_FILTER_WHOLE)
        return;
    if (!l->report->filter[0])
        snprintf(l->report->filter, sizeof(l->report->filter), "%s",
                 state == NET_FILTER_ABSENT ? "berth's tables are not there (flushed?)" : "berth's tables are damaged");
    autoclose int lock = mend ? networks_lock(store_run_fd(l->store), true) : -1;
    if (lock >= 0 && net_filter_ensure(&l->filter, store_tag(l->store), &made, NULL) == 0 &&
        net_records_restore(&l->filter, store_run_fd(l->store), store_tag(l->store), NULL) == 0) {
        l->report->filter[0] = 0;
        (void)names_ask(store_run_fd(l->store), NAMES_AGAIN, 0, NULL, 0);
    }
}

/* Its namespace is its supervisor's to enter. One that doesn't answer, or not to this, is no fault of the network's. */
static bool wall_stands(struct look *l, const char *id, bool mend)
{
    autoworkload w = NULL;
    autoclose int fd = -1;
    struct peer_reply reply = {0};
    if (workload_open(l->store, id, &w, NULL) < 0 || workload_connect(w, &fd, NULL) < 0 ||
        peer_send(fd, MESSAGE_WALL, 1, mend ? "{\"mend\":true}" : "{}", NULL, 0, NULL) < 0)
        return true;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    bool whole = poll(&p, 1, WALL_ANSWER_MSEC) <= 0 || peer_receive(fd, &reply, NULL) <= 0 || reply.type != MESSAGE_DONE ||
                 !strstr(reply.body, "false");
    free(reply.body);
    return whole;
}

static void count_walls(struct look *l, bool mend)
{
    for (size_t i = 0; l->walled && l->walled[i]; i++)
        l->report->walls += !wall_stands(l, l->walled[i], mend);
}

/** A network in use whose subnet the host has another way to by now. */
static void check_subnets(struct look *l)
{
    autostrings char **names = NULL;
    l->report->subnet[0] = 0;
    if (network_list(l->store, &names, NULL) < 0)
        return;
    for (size_t i = 0; names && names[i]; i++) {
        struct network net;
        char bridge[NET_LINK_MAX], own[ADDRESS_TEXT_MAX], other[ADDRESS_TEXT_MAX];
        if (network_read(l->store, names[i], &net, NULL) < 0 || network_idle(l->store, names[i]))
            continue;
        net_bridge_name(store_tag(l->store), net.internal, net.index, bridge);
        const struct net_range *theirs = net_range_find(l->ranges, l->n_ranges, &net.subnet, bridge);
        if (theirs)
            snprintf(l->report->subnet, sizeof(l->report->subnet), "%.60s of network %.40s and %.60s (%s) overlap",
                     address_print_subnet(&net.subnet, own), names[i], address_print_subnet(&theirs->subnet, other),
                     theirs->link[0] ? theirs->link : "a route");
    }
}

static int relist(struct look *l)
{
    free(TAKE(l->links));
    l->n_links = 0;
    return net_links_list(&l->route, store_tag(l->store), &l->links, &l->n_links, NULL);
}

int network_examine(struct store *store, bool mend, struct network_report *ret)
{
    __attribute__((cleanup(look_free))) struct look l = {
        .store = store, .route = NETLINK_NONE, .filter = NETLINK_NONE, .report = ret};
    *ret = (struct network_report){0};
    int r = netlink_open(&l.route, NETLINK_ROUTE);
    if (r == 0)
        r = netlink_open(&l.filter, NETLINK_NETFILTER);
    if (r == 0)
        r = read_shares(&l);
    if (r == 0)
        r = relist(&l);
    if (r == 0)
        r = net_ranges_read(&l.route, &l.ranges, &l.n_ranges, NULL);
    if (r < 0)
        return r;
    l.pooled = net_pool_links(store_run_fd(store));
    count_orphans(&l, mend);
    count_changed(&l, mend);
    count_loose(&l, mend);
    check_filter(&l, mend);
    count_walls(&l, mend);
    check_subnets(&l);
    ret->running = l.n_shares;
    return 0;
}
