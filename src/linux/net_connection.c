/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that the kernel remembers: UDP flows to a port must be looked up anew when it comes or goes.
 */
#include "linux/net_port.h"

#include "base/base.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>

#define FLOWS_MAX 262144 /* as many as a kernel remembers unasked */

/* Of the kernel's net/netfilter/nf_internals.h, in no header: compare the protocol and nothing else. Kernels
 * before 5.8 show all; what is not meant is sorted out here. */
#define FILTER_PROTOCOL (1u << 3)

static void begin(struct netlink_batch *b, unsigned type, uint16_t flags, uint8_t family)
{
    struct nfgenmsg *m = netlink_begin(b, (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type), flags, sizeof(*m));
    if (m)
        m->nfgen_family = family;
}

static void ask_for_udp(struct netlink_batch *b, uint8_t family)
{
    begin(b, IPCTNL_MSG_CT_GET, NLM_F_DUMP, family);
    size_t tuple = netlink_nest(b, CTA_TUPLE_ORIG), proto = netlink_nest(b, CTA_TUPLE_PROTO);
    netlink_put_u8(b, CTA_PROTO_NUM, IPPROTO_UDP);
    netlink_nest_end(b, proto);
    netlink_nest_end(b, tuple);
    size_t filter = netlink_nest(b, CTA_FILTER);
    netlink_put_u32(b, CTA_FILTER_ORIG_FLAGS, FILTER_PROTOCOL);
    netlink_put_u32(b, CTA_FILTER_REPLY_FLAGS, 0);
    netlink_nest_end(b, filter);
}

struct flow {
    struct address to;
    uint16_t port;
    uint8_t protocol;
};

static bool read_flow(const struct nlattr *tuple, struct flow *ret)
{
    const struct nlattr *of[CTA_TUPLE_PROTO + 1], *ip[CTA_IP_V6_DST + 1], *proto[CTA_PROTO_DST_PORT + 1];
    netlink_table(netlink_first_in(tuple), netlink_end_in(tuple), of, ARRAY_SIZE(of));
    if (!of[CTA_TUPLE_IP] || !of[CTA_TUPLE_PROTO])
        return false;
    netlink_table(netlink_first_in(of[CTA_TUPLE_IP]), netlink_end_in(of[CTA_TUPLE_IP]), ip, ARRAY_SIZE(ip));
    netlink_table(netlink_first_in(of[CTA_TUPLE_PROTO]), netlink_end_in(of[CTA_TUPLE_PROTO]), proto, ARRAY_SIZE(proto));
    const struct nlattr *to = ip[CTA_IP_V4_DST] ? ip[CTA_IP_V4_DST] : ip[CTA_IP_V6_DST];
    size_t size = ip[CTA_IP_V4_DST] ? 4 : 16;
    if (netlink_size(to) != size || netlink_size(proto[CTA_PROTO_NUM]) < 1 || netlink_size(proto[CTA_PROTO_DST_PORT]) < 2)
        return false;
    *ret = (struct flow){.to = {.family = size == 4 ? AF_INET : AF_INET6, .prefix = (uint8_t)(size * 8)},
                         .protocol = *(const uint8_t *)netlink_data(proto[CTA_PROTO_NUM])};
    memcpy(ret->to.bytes, netlink_data(to), size);
    const uint8_t *port = netlink_data(proto[CTA_PROTO_DST_PORT]);
    ret->port = (uint16_t)(port[0] << 8 | port[1]);
    return true;
}

static bool goes_to(const struct flow *f, const struct net_publish *p)
{
    unsigned count = p->count ? p->count : 1;
    return f->protocol == IPPROTO_UDP && p->protocol == IPPROTO_UDP && f->to.family == p->host.family &&
           f->port >= p->host_port && f->port < p->host_port + count &&
           (address_is_any(&p->host) || address_equal(&f->to, &p->host));
}

struct search {
    const struct net_publish *ports;
    size_t n;
    struct netlink_batch forget;
};

/* Named by its first packet's tuple, and its number: a later one of the same tuple is left. */
static void forget(struct search *s, uint8_t family, const struct nlattr *const *of)
{
    static const uint16_t copied[] = {CTA_TUPLE_ORIG, CTA_ID, CTA_ZONE};
    begin(&s->forget, IPCTNL_MSG_CT_DELETE, 0, family);
    for (size_t i = 0; i < ARRAY_SIZE(copied); i++)
        if (of[copied[i]])
            netlink_put(&s->forget, copied[i] | (i == 0 ? NLA_F_NESTED : 0), netlink_data(of[copied[i]]), netlink_size(of[copied[i]]));
}

static int read_connection(const struct nlmsghdr *m, void *data)
{
    struct search *s = data;
    const struct nlattr *of[CTA_ZONE + 1];
    struct flow flow;
    if (m->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW) || m->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg)))
        return 0;
    netlink_table(netlink_first(m, sizeof(struct nfgenmsg)), netlink_end(m), of, ARRAY_SIZE(of));
    if (!of[CTA_TUPLE_ORIG] || !read_flow(of[CTA_TUPLE_ORIG], &flow) || s->forget.n >= FLOWS_MAX)
        return 0;
    for (size_t i = 0; i < s->n; i++)
        if (goes_to(&flow, &s->ports[i])) {
            forget(s, flow.to.family, of);
            break;
        }
    return s->forget.failed ? -ENOMEM : 0;
}

static bool any_udp(const struct net_publish *ports, size_t n, uint8_t family)
{
    for (size_t i = 0; i < n; i++)
        if (ports[i].protocol == IPPROTO_UDP && ports[i].host.family == family)
            return true;
    return false;
}

static int forget_family(struct netlink *nl, const struct net_publish *ports, size_t n, uint8_t family)
{
    autobatch struct netlink_batch ask = {0};
    struct search s = {.ports = ports, .n = n};
    ask_for_udp(&ask, family);
    int r = netlink_ask(nl, &ask, read_connection, &s), found = (int)s.forget.n;
    if (r == 0 || r == -EINTR)
        r = netlink_send(nl, &s.forget, NULL);
    netlink_free(&s.forget);
    return r == -ENOENT || r == 0 ? found : r; /* one that ended meanwhile is what was wanted */
}

int net_connections_forget(struct netlink *nl, const struct net_publish *ports, size_t n, struct berth_error *err)
{
    int all = 0;
    for (uint8_t family = AF_INET; family; family = family == AF_INET ? AF_INET6 : 0) {
        int r = any_udp(ports, n, family) ? forget_family(nl, ports, n, family) : 0;
        if (r < 0)
            return fail_os(err, r, "conntrack", "forget connections to the published ports");
        all += r;
    }
    return all;
}
