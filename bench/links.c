/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a pool of namespaces and links could save: a start's network made whole, and one that was made ahead
 * and only gets its bridge and its address. In a network namespace of its own; microseconds, medians.
 */
#include "measure.h"

#include "linux/net_link.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 200
#define HASH "1a2b3c4d"

enum { NAMESPACE, LINK, CONFIGURE, COLD, ATTACH, WARM_CONFIGURE, WARM, FIGURES };
static const char *const titles[FIGURES] = {"namespace", "link and bridge", "addresses and routes", "all of it cold",
                                            "bridge alone",  "addresses and routes, link made ahead", "all of it warm"};
static double figures[FIGURES][ROUNDS];
static struct netlink host = NETLINK_NONE;
static struct berth_error err;

static void need(int r)
{
    if (r >= 0)
        return;
    fprintf(stderr, "links: %s\n", err.message);
    exit(1);
}

static int compare(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static void describe(struct net_link *l, int bridge, unsigned number)
{
    char text[24];
    *l = (struct net_link){.ns_fd = -1, .bridge = bridge, .inside = "eth0", .index = 2};
    net_link_name(HASH, l->name);
    (void)snprintf(text, sizeof(text), "10.9.%u.%u/16", 1 + number / 200, 2 + number % 200);
    (void)address_parse_subnet(text, &l->address[0]);
    (void)address_parse("10.9.0.1", &l->gateway[0]);
    net_mac(&l->address[0], l->mac);
}

static void cold(int bridge, unsigned n)
{
    struct netlink inside = NETLINK_NONE;
    struct net_link l;
    describe(&l, bridge, n);
    double t0 = now();
    need(net_namespace_make(&l.ns_fd, &inside, &err));
    double t1 = now();
    need(net_link_add(&host, &l, &err));
    double t2 = now();
    need(net_links_configure(&inside, &l, 1, &err));
    double t3 = now();
    figures[NAMESPACE][n] = t1 - t0;
    figures[LINK][n] = t2 - t1;
    figures[CONFIGURE][n] = t3 - t2;
    figures[COLD][n] = t3 - t0;
    netlink_close(&inside);
    close(l.ns_fd);
    usleep(2000); /* its end is the kernel's, and not measured */
}

static void warm(int bridge, unsigned n)
{
    struct netlink inside = NETLINK_NONE;
    struct net_link l;
    describe(&l, 0, n);
    need(net_namespace_make(&l.ns_fd, &inside, &err));
    need(net_link_add(&host, &l, &err));
    usleep(2000);
    double t0 = now();
    need(net_link_attach(&host, l.name, bridge, &err));
    double t1 = now();
    need(net_links_configure(&inside, &l, 1, &err));
    double t2 = now();
    figures[ATTACH][n] = t1 - t0;
    figures[WARM_CONFIGURE][n] = t2 - t1;
    figures[WARM][n] = t2 - t0;
    netlink_close(&inside);
    close(l.ns_fd);
    usleep(2000);
}

int main(void)
{
    struct net_bridge b = {0};
    if (unshare(CLONE_NEWNET) < 0) {
        perror("links: a network namespace");
        return 1;
    }
    need(netlink_open(&host, NETLINK_ROUTE));
    net_bridge_name(HASH, false, 1, b.name);
    (void)address_parse_subnet("10.9.0.1/16", &b.gateway[0]);
    int bridge = net_bridge_ensure(&host, &b, NULL, &err);
    need(bridge);
    for (unsigned n = 0; n < ROUNDS; n++) {
        cold(bridge, n);
        warm(bridge, n);
    }
    for (int i = 0; i < FIGURES; i++) {
        qsort(figures[i], ROUNDS, sizeof(figures[i][0]), compare);
        printf("%-40s %7.0f (%.0f - %.0f)\n", titles[i], figures[i][ROUNDS / 2], figures[i][ROUNDS / 20], figures[i][ROUNDS - ROUNDS / 20]);
    }
    return 0;
}
