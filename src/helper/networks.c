/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bridges and rules of networks that no workload is on any more.
 *
 * Here, because the kernel takes its time over a bridge; under the lock of those who take the first
 * lease on a network, and the one that starts share. A lease comes before a start, so a network
 * without one is idle.
 */
#include "helper/helper.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/net_doctor.h"
#include "linux/net_filter.h"
#include "linux/net_integrate.h"
#include "linux/net_link.h"
#include "linux/net_record.h"
#include "store/network.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A bridge and rules that are there already are most of a start: the next workload often comes soon. */
#define LINGER_MSEC 5000
#define LOOK_MSEC 250 /* is the root still there? */

static void cleanup_store(struct store **store)
{
    store_close(*store);
}

/** Names of the bridges of networks that somebody is on. */
struct wanted {
    char (*bridges)[NET_LINK_MAX];
    size_t n;
};

static void cleanup_wanted(struct wanted *w)
{
    free(w->bridges);
}

static int read_wanted(struct store *store, struct wanted *ret, struct berth_error *err)
{
    autostrings char **names = NULL;
    int r = network_list(store, &names, err);
    if (r < 0 || !names)
        return r;
    ret->bridges = calloc(strings_count(names), sizeof(*ret->bridges));
    if (!ret->bridges)
        return fail_memory(err);
    for (size_t i = 0; names[i]; i++) {
        struct network n;
        if (network_idle(store, names[i]))
            continue;
        r = network_read(store, names[i], &n, err);
        if (r < 0)
            return r; /* damaged, and used: better nothing is taken away */
        net_bridge_name(store_tag(store), n.internal, n.index, ret->bridges[ret->n++]);
    }
    return 0;
}

static bool is_wanted(const struct wanted *w, const char *bridge)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->bridges[i], bridge) == 0)
            return true;
    return false;
}

static int sweep(struct store *store, struct netlink *nl, struct berth_error *err)
{
    autoclean(cleanup_wanted) struct wanted wanted = {0};
    autofree struct net_found *links = NULL;
    size_t n = 0, kept = 0;
    int r = read_wanted(store, &wanted, err);
    if (r == 0)
        r = net_links_list(nl, store_tag(store), &links, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++) {
        if (links[i].kind == 'v')
            continue;
        if (is_wanted(&wanted, links[i].name))
            kept++;
        else
            r = net_bridge_remove(nl, store_tag(store), links[i].name, err);
    }
    if (r == 0 && kept == 0) {
        autonetlink struct netlink filter = NETLINK_NONE;
        if (netlink_open(&filter, NETLINK_NETFILTER) == 0)
            r = net_filter_drop(&filter, store_tag(store), err);
        int closed = net_integrate_end(store_run_fd(store), store_tag(store), r == 0 ? err : NULL);
        r = r < 0 ? r : closed;
    }
    return r;
}

static int networks_sweep_lost(const char *hash, struct berth_error *err)
{
    autonetlink struct netlink nl = NETLINK_NONE, filter = NETLINK_NONE;
    autofree struct net_found *links = NULL;
    size_t n = 0;
    int r = netlink_open(&nl, NETLINK_ROUTE);
    r = r < 0 ? fail_os(err, r, NULL, "open a netlink socket") : net_links_list(&nl, hash, &links, &n, err);
    for (size_t i = 0; r == 0 && i < n; i++)
        if (links[i].kind == 'v')
            return 0; /* somebody runs, whatever became of the folder */
    for (size_t i = 0; r == 0 && i < n; i++)
        r = net_link_remove(&nl, links[i].name, err);
    if (r == 0 && netlink_open(&filter, NETLINK_NETFILTER) == 0)
        r = net_filter_drop(&filter, hash, err);
    return r < 0 ? r : net_obstacles_close(hash, err);
}

static int networks_sweep(struct store *store, struct berth_error *err)
{
    autonetlink struct netlink nl = NETLINK_NONE;
    autoclose int hold = networks_hold(store), lock = hold < 0 ? hold : networks_lock(store_run_fd(store), true);
    if (lock < 0)
        return fail_os(err, lock, NULL, "lock the networks");
    int r = netlink_open(&nl, NETLINK_ROUTE);
    return r < 0 ? fail_os(err, r, NULL, "open a netlink socket") : sweep(store, &nl, err);
}

/* Who waits for his turn lets nobody else wait: he will see all that was removed until then. */
static int take_turn(int run_fd, int *ret_fd)
{
    autoclose int waiting = RETRY(openat(run_fd, "sweep.next", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    autoclose int turn = RETRY(openat(run_fd, "sweep.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (waiting < 0 || turn < 0)
        return -errno;
    int r = lock_take(waiting);
    if (r == 0)
        r = lock_wait(turn);
    if (r == 0)
        *ret_fd = take_fd(&turn);
    return r;
}

static bool has_bridges(const char *hash)
{
    autonetlink struct netlink nl = NETLINK_NONE;
    autofree struct net_found *links = NULL;
    size_t n = 0, bridges = 0;
    if (netlink_open(&nl, NETLINK_ROUTE) < 0 || net_links_list(&nl, hash, &links, &n, NULL) < 0)
        return true;
    for (size_t i = 0; i < n; i++)
        bridges += links[i].kind != 'v';
    return bridges > 0;
}

int networks_sweep_later(const char *root, const char *run, const char *hash, struct berth_error *err)
{
    autoclean(cleanup_store) struct store *store = NULL;
    autoclose int turn = -1, run_fd = open(run, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (run_fd >= 0 && take_turn(run_fd, &turn) < 0)
        return 0;
    for (int waited = has_bridges(hash) ? 0 : LINGER_MSEC; waited < LINGER_MSEC && access(root, F_OK) == 0; waited += LOOK_MSEC)
        poll(NULL, 0, LOOK_MSEC);
    close_fd(&run_fd);
    int r = store_open(root, run, false, &store, err);
    if (r == 0)
        return networks_sweep(store, err);
    return access(root, F_OK) < 0 ? networks_sweep_lost(hash, err) : r == BERTH_NOT_FOUND ? 0 : r;
}
