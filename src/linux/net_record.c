/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shares as text.
 *
 *   bridge NAME
 *   guest LINK MAC IPV4|- IPV6|- BRIDGE
 *   port tcp|udp HOST CONTAINER HOST_PORT CONTAINER_PORT COUNT
 *   way GUEST TO
 */
#include "linux/net_record.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/net_port.h"
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define RECORD_FILE "net"
#define RECORD_MAX_BYTES (1u << 20)

/* ---- writing */

static const char *word(const struct address *a, char ret[ADDRESS_TEXT_MAX])
{
    return a->family ? address_print(a, ret) : "-";
}

static char *print(const struct net_share *s, char (*on)[NET_LINK_MAX])
{
    struct text t = {0};
    char a[ADDRESS_TEXT_MAX], b[ADDRESS_TEXT_MAX];
    for (size_t i = 0; i < s->n_bridges; i++)
        text_printf(&t, "bridge %s\n", s->bridges[i]);
    for (size_t i = 0; i < s->n_guests; i++) {
        const struct net_guest *g = &s->guests[i];
        text_printf(&t, "guest %s %02x:%02x:%02x:%02x:%02x:%02x %s %s %s\n", g->link, g->mac[0], g->mac[1], g->mac[2],
                    g->mac[3], g->mac[4], g->mac[5], word(&g->address[0], a), word(&g->address[1], b), on[i]);
    }
    for (size_t i = 0; i < s->n_ports; i++) {
        const struct net_publish *p = &s->ports[i];
        text_printf(&t, "port %s %s %s %u %u %u\n", p->protocol == IPPROTO_UDP ? "udp" : "tcp", word(&p->host, a),
                    word(&p->container, b), p->host_port, p->container_port, p->count);
    }
    for (size_t i = 0; i < s->n_ways; i++)
        text_printf(&t, "way %s %s\n", word(&s->ways[i].guest, a), word(&s->ways[i].to, b));
    return text_take(&t);
}

int net_record_write(int workload_run_fd, const struct net_share *share, char (*on)[NET_LINK_MAX])
{
    autofree char *text = print(share, on);
    return text ? file_write(workload_run_fd, RECORD_FILE, text, strlen(text), 0600, 0) : -ENOMEM;
}

/* ---- reading */

struct whole { /* the share, and the room of its parts */
    struct net_share share;
    char (*bridges)[NET_LINK_MAX], (*on)[NET_LINK_MAX];
    struct net_guest *guests;
    struct net_publish *ports;
    struct net_way *ways;
};

const char *net_record_bridge(const struct net_share *share, size_t i)
{
    return ((const struct whole *)share)->on[i];
}

void net_record_free(struct net_share *share)
{
    struct whole *w = (struct whole *)share;
    if (!w)
        return;
    free(w->bridges);
    free(w->on);
    free(w->guests);
    free(w->ports);
    free(w->ways);
    free(w);
}

static void read_address(const char *text, struct address *ret)
{
    if (address_parse(text, ret) < 0)
        *ret = (struct address){0};
}

static bool read_guest(const char *line, struct net_guest *g, char on[NET_LINK_MAX])
{
    char a[64], b[64];
    unsigned m[6];
    if (sscanf(line, "guest %15s %2x:%2x:%2x:%2x:%2x:%2x %63s %63s %15s", g->link, &m[0], &m[1], &m[2], &m[3], &m[4],
               &m[5], a, b, on) != 10)
        return false;
    for (int i = 0; i < 6; i++)
        g->mac[i] = (uint8_t)m[i];
    read_address(a, &g->address[0]);
    read_address(b, &g->address[1]);
    return true;
}

static bool read_port(const char *line, struct net_publish *p)
{
    char protocol[8], host[64], container[64];
    unsigned host_port, container_port, count;
    if (sscanf(line, "port %7s %63s %63s %u %u %u", protocol, host, container, &host_port, &container_port, &count) != 6)
        return false;
    *p = (struct net_publish){.host_port = (uint16_t)host_port, .container_port = (uint16_t)container_port,
                              .count = (uint16_t)count,
                              .protocol = strcmp(protocol, "udp") ? IPPROTO_TCP : IPPROTO_UDP};
    read_address(host, &p->host);
    read_address(container, &p->container);
    return true;
}

static bool read_way(const char *line, struct net_way *w)
{
    char guest[64], to[64];
    return sscanf(line, "way %63s %63s", guest, to) == 2 && address_parse(guest, &w->guest) == 0 &&
           address_parse(to, &w->to) == 0 && w->guest.family == w->to.family;
}

static size_t count_lines(const char *text)
{
    size_t n = 1;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

int net_record_read(int workload_run_fd, struct net_share **ret)
{
    autofree char *text = NULL;
    size_t size;
    int r = file_read(workload_run_fd, RECORD_FILE, RECORD_MAX_BYTES, &text, &size);
    if (r < 0)
        return r;
    size_t n = count_lines(text);
    struct whole *w = calloc(1, sizeof(*w));
    if (w) {
        w->bridges = calloc(n, sizeof(*w->bridges));
        w->on = calloc(n, sizeof(*w->on));
        w->guests = calloc(n, sizeof(*w->guests));
        w->ports = calloc(n, sizeof(*w->ports));
        w->ways = calloc(n, sizeof(*w->ways));
    }
    if (!w || !w->bridges || !w->on || !w->guests || !w->ports || !w->ways) {
        net_record_free((struct net_share *)w);
        return -ENOMEM;
    }
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        if (sscanf(line, "bridge %15s", w->bridges[w->share.n_bridges]) == 1)
            w->share.n_bridges++;
        else if (read_guest(line, &w->guests[w->share.n_guests], w->on[w->share.n_guests]))
            w->share.n_guests++;
        else if (read_port(line, &w->ports[w->share.n_ports]))
            w->share.n_ports++;
        else if (read_way(line, &w->ways[w->share.n_ways]))
            w->share.n_ways++;
    }
    w->share.bridges = w->bridges;
    w->share.guests = w->guests;
    w->share.ports = w->ports;
    w->share.ways = w->ways;
    *ret = &w->share;
    return 0;
}

/* ---- undoing, restoring */

static int remove_links(const struct net_share *s, struct berth_error *err)
{
    autonetlink struct netlink nl = NETLINK_NONE;
    if (s->n_guests == 0)
        return 0;
    int r = netlink_open(&nl, NETLINK_ROUTE);
    if (r < 0)
        return fail_os(err, r, NULL, "open a netlink socket");
    autofree char(*names)[NET_LINK_MAX] = calloc(s->n_guests, sizeof(*names));
    if (!names)
        return fail_memory(err);
    for (size_t i = 0; i < s->n_guests; i++)
        memcpy(names[i], s->guests[i].link, NET_LINK_MAX);
    return net_links_remove(&nl, names, s->n_guests, err);
}

int net_record_undo(int workload_run_fd, const char *hash, struct berth_error *err)
{
    autoclean(cleanup_net_record) struct net_share *share = NULL;
    autonetlink struct netlink nl = NETLINK_NONE;
    int r = net_record_read(workload_run_fd, &share);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return fail_os(err, r, NULL, "read what it had of the network");
    struct net_share mine = *share;
    mine.n_bridges = 0;
    r = netlink_open(&nl, NETLINK_NETFILTER);
    r = r < 0 ? fail_os(err, r, NULL, "open a netlink socket") : net_filter_remove(&nl, hash, &mine, err);
    if (r == 0)
        (void)net_connections_forget(&nl, share->ports, share->n_ports, NULL);
    if (r == 0)
        r = remove_links(share, err);
    if (r == 0 && unlinkat(workload_run_fd, RECORD_FILE, 0) < 0 && errno != ENOENT)
        r = fail_os(err, errno, NULL, "remove the record of what it had of the network");
    return r;
}

/* Everybody's record, one after the other. */
static int each_record(int run_fd, void (*visit)(const struct net_share *share, void *data), void *data)
{
    int copy = openat(run_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;
    if (!dir) {
        int r = -errno;
        cleanup_close(&copy);
        return r;
    }
    while ((entry = readdir(dir))) {
        autoclean(cleanup_net_record) struct net_share *share = NULL;
        if (strlen(entry->d_name) != BERTH_ID_TEXT - 1)
            continue;
        autoclose int fd = openat(run_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0 && net_record_read(fd, &share) == 0)
            visit(share, data);
    }
    closedir(dir);
    return 0;
}

struct restore {
    struct netlink *nl;
    const char *hash;
    int failed;
    struct berth_error *err;
};

static void restore(const struct net_share *share, void *data)
{
    struct restore *r = data;
    r->failed += net_filter_add(r->nl, r->hash, share, r->err) < 0;
}

int net_records_restore(struct netlink *nl, int run_fd, const char *hash, struct berth_error *err)
{
    struct restore all = {nl, hash, 0, err};
    int r = each_record(run_fd, restore, &all);
    return r < 0 ? fail_os(err, r, NULL, "look through the running workloads") : all.failed;
}

struct attach {
    struct netlink *nl;
    const char *bridge;
    int index;
};

static void attach(const struct net_share *share, void *data)
{
    const struct attach *a = data;
    for (size_t i = 0; i < share->n_guests; i++)
        if (strcmp(net_record_bridge(share, i), a->bridge) == 0)
            (void)net_link_attach(a->nl, share->guests[i].link, a->index, NULL);
}

void net_records_attach(struct netlink *nl, int run_fd, const char *bridge, int index)
{
    struct attach all = {nl, bridge, index};
    (void)each_record(run_fd, attach, &all);
}
