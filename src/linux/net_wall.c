/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table with one chain, which drops what no rule of it accepts. In this order: answers; ICMP; names, asked of the
 * gateways; rules for special addresses and for one address alone; never the special ones and the gateways; all other rules.
 */
#include "linux/net_wall.h"

#include "base/base.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <string.h>

#define TABLE "berth_wall"
#define CHAIN "leave"
#define REGISTER NFT_REG_1

struct wall {
    struct netlink_batch b;
    size_t list, element, data; /* nests of the rule, and of the expression being written */
};

static void table(struct netlink_batch *b, unsigned type, uint16_t flags)
{
    netlink_filter_begin(b, type, flags, NFPROTO_INET);
    netlink_put_text(b, NFTA_TABLE_NAME, TABLE);
}

static void put(struct netlink_batch *b, uint16_t type, uint32_t value)
{
    netlink_put_u32(b, type, htonl(value));
}

static void chain(struct netlink_batch *b)
{
    netlink_filter_begin(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFPROTO_INET);
    netlink_put_text(b, NFTA_CHAIN_TABLE, TABLE);
    netlink_put_text(b, NFTA_CHAIN_NAME, CHAIN);
    size_t hook = netlink_nest(b, NFTA_CHAIN_HOOK);
    put(b, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
    put(b, NFTA_HOOK_PRIORITY, 0);
    netlink_nest_end(b, hook);
    put(b, NFTA_CHAIN_POLICY, NF_DROP);
    netlink_put_text(b, NFTA_CHAIN_TYPE, "filter");
}

/* ---- expressions of a rule */

static void rule_begin(struct wall *w)
{
    netlink_filter_begin(&w->b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, NFPROTO_INET);
    netlink_put_text(&w->b, NFTA_RULE_TABLE, TABLE);
    netlink_put_text(&w->b, NFTA_RULE_CHAIN, CHAIN);
    w->list = netlink_nest(&w->b, NFTA_RULE_EXPRESSIONS);
}

static void expression(struct wall *w, const char *name)
{
    w->element = netlink_nest(&w->b, NFTA_LIST_ELEM);
    netlink_put_text(&w->b, NFTA_EXPR_NAME, name);
    w->data = netlink_nest(&w->b, NFTA_EXPR_DATA);
}

static void expression_end(struct wall *w)
{
    netlink_nest_end(&w->b, w->data);
    netlink_nest_end(&w->b, w->element);
}

static void put_value(struct wall *w, uint16_t type, const void *data, size_t size)
{
    size_t nest = netlink_nest(&w->b, type);
    netlink_put(&w->b, NFTA_DATA_VALUE, data, size);
    netlink_nest_end(&w->b, nest);
}

static void compare(struct wall *w, uint32_t how, const void *data, size_t size)
{
    expression(w, "cmp");
    put(&w->b, NFTA_CMP_SREG, REGISTER);
    put(&w->b, NFTA_CMP_OP, how);
    put_value(w, NFTA_CMP_DATA, data, size);
    expression_end(w);
}

static void masked(struct wall *w, const void *mask, size_t size)
{
    static const uint8_t nothing[16];
    expression(w, "bitwise");
    put(&w->b, NFTA_BITWISE_SREG, REGISTER);
    put(&w->b, NFTA_BITWISE_DREG, REGISTER);
    put(&w->b, NFTA_BITWISE_LEN, (uint32_t)size);
    put_value(w, NFTA_BITWISE_MASK, mask, size);
    put_value(w, NFTA_BITWISE_XOR, nothing, size);
    expression_end(w);
}

static void load(struct wall *w, uint32_t base, uint32_t offset, uint32_t length)
{
    expression(w, "payload");
    put(&w->b, NFTA_PAYLOAD_DREG, REGISTER);
    put(&w->b, NFTA_PAYLOAD_BASE, base);
    put(&w->b, NFTA_PAYLOAD_OFFSET, offset);
    put(&w->b, NFTA_PAYLOAD_LEN, length);
    expression_end(w);
}

static void match_meta(struct wall *w, uint32_t key, uint8_t value)
{
    expression(w, "meta");
    put(&w->b, NFTA_META_DREG, REGISTER);
    put(&w->b, NFTA_META_KEY, key);
    expression_end(w);
    compare(w, NFT_CMP_EQ, &value, 1);
}

static void match_answers(struct wall *w)
{
    uint32_t states = NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED), none = 0;
    expression(w, "ct");
    put(&w->b, NFTA_CT_DREG, REGISTER);
    put(&w->b, NFTA_CT_KEY, NFT_CT_STATE);
    expression_end(w);
    masked(w, &states, sizeof(states));
    compare(w, NFT_CMP_NEQ, &none, sizeof(none));
}

static void match_address(struct wall *w, const struct address *subnet)
{
    bool six = subnet->family == AF_INET6;
    struct address first = address_first(subnet), mask = {.family = subnet->family, .prefix = subnet->prefix};
    memset(mask.bytes, 0xff, sizeof(mask.bytes));
    mask = address_first(&mask);
    size_t size = six ? 16 : 4;
    match_meta(w, NFT_META_NFPROTO, six ? NFPROTO_IPV6 : NFPROTO_IPV4);
    load(w, NFT_PAYLOAD_NETWORK_HEADER, six ? 24 : 16, (uint32_t)size);
    masked(w, mask.bytes, size);
    compare(w, NFT_CMP_EQ, first.bytes, size);
}

static void match_ports(struct wall *w, uint16_t first, uint16_t last)
{
    uint16_t ends[] = {htons(first), htons(last)};
    load(w, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
    compare(w, NFT_CMP_GTE, &ends[0], 2);
    compare(w, NFT_CMP_LTE, &ends[1], 2);
}

static void rule_end(struct wall *w, int verdict)
{
    expression(w, "immediate");
    put(&w->b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    size_t data = netlink_nest(&w->b, NFTA_IMMEDIATE_DATA), code = netlink_nest(&w->b, NFTA_DATA_VERDICT);
    put(&w->b, NFTA_VERDICT_CODE, (uint32_t)verdict);
    netlink_nest_end(&w->b, code);
    netlink_nest_end(&w->b, data);
    expression_end(w);
    netlink_nest_end(&w->b, w->list);
}

/* ---- rules */

/** TCP and UDP to these ports, of this network (family 0: anywhere). */
static void accept_ports(struct wall *w, const struct address *subnet, uint16_t first, uint16_t last)
{
    static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
    for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
        rule_begin(w);
        if (subnet->family)
            match_address(w, subnet);
        match_meta(w, NFT_META_L4PROTO, protocols[i]);
        match_ports(w, first, last);
        rule_end(w, NF_ACCEPT);
    }
}

static void accept_rule(struct wall *w, const struct allowed_rule *r)
{
    if (r->web) {
        accept_ports(w, &r->subnet, 80, 80);
        accept_ports(w, &r->subnet, 443, 443);
    } else {
        accept_ports(w, &r->subnet, r->first, r->last);
    }
}

static void drop_network(struct wall *w, const struct address *subnet)
{
    rule_begin(w);
    match_address(w, subnet);
    rule_end(w, NF_DROP);
}

static void accept_always(struct wall *w)
{
    static const uint8_t icmp[] = {IPPROTO_ICMP, IPPROTO_ICMPV6};
    rule_begin(w);
    match_answers(w);
    rule_end(w, NF_ACCEPT);
    for (size_t i = 0; i < ARRAY_SIZE(icmp); i++) {
        rule_begin(w);
        match_meta(w, NFT_META_L4PROTO, icmp[i]);
        rule_end(w, NF_ACCEPT);
    }
}

/** It is enough for those who need a rule of their own. */
static bool is_exact(const struct allowed_rule *r)
{
    return r->subnet.family && (r->special || r->subnet.prefix == address_bits(&r->subnet));
}

static struct address alone(const struct address *gateway)
{
    struct address a = *gateway;
    a.prefix = (uint8_t)address_bits(&a);
    return a;
}

static void fill(struct wall *w, const struct net_wall *wall)
{
    struct address special;
    accept_always(w);
    for (size_t i = 0; wall->n_rules && i < wall->n_gateways; i++) {
        struct address gateway = alone(&wall->gateways[i]);
        accept_ports(w, &gateway, 53, 53);
    }
    for (size_t i = 0; i < wall->n_rules; i++)
        if (is_exact(&wall->rules[i]))
            accept_rule(w, &wall->rules[i]);
    for (size_t i = 0; allowed_special(i, &special); i++)
        drop_network(w, &special);
    for (size_t i = 0; i < wall->n_gateways; i++) {
        struct address gateway = alone(&wall->gateways[i]);
        drop_network(w, &gateway);
    }
    for (size_t i = 0; i < wall->n_rules; i++)
        if (!is_exact(&wall->rules[i]))
            accept_rule(w, &wall->rules[i]);
}

static size_t count_rules(const struct net_wall *wall)
{
    struct wall w = {.b = {0}};
    fill(&w, wall);
    size_t n = w.b.n;
    netlink_free(&w.b);
    return n;
}

static int read_use(const struct nlmsghdr *m, void *data)
{
    const struct nlattr *of[NFTA_CHAIN_USE + 1];
    netlink_table(netlink_first(m, sizeof(struct nfgenmsg)), netlink_end(m), of, ARRAY_SIZE(of));
    *(size_t *)data = ntohl(netlink_u32(of[NFTA_CHAIN_USE]));
    return 0;
}

int net_wall_stands(struct netlink *nl, const struct net_wall *wall)
{
    struct netlink_batch b = {0};
    size_t use = 0;
    netlink_filter_begin(&b, NFT_MSG_GETCHAIN, 0, NFPROTO_INET);
    netlink_put_text(&b, NFTA_CHAIN_TABLE, TABLE);
    netlink_put_text(&b, NFTA_CHAIN_NAME, CHAIN);
    int r = netlink_ask(nl, &b, read_use, &use);
    netlink_free(&b);
    return r < 0 && r != -ENOENT ? r : use == count_rules(wall);
}

int net_wall_make(struct netlink *nl, const struct net_wall *wall)
{
    struct wall w = {.b = {0}};
    netlink_filter_border(&w.b, NFNL_MSG_BATCH_BEGIN);
    table(&w.b, NFT_MSG_NEWTABLE, NLM_F_CREATE); /* so that there is one to remove */
    table(&w.b, NFT_MSG_DELTABLE, 0);
    table(&w.b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
    chain(&w.b);
    fill(&w, wall);
    netlink_filter_border(&w.b, NFNL_MSG_BATCH_END);
    int r = netlink_send(nl, &w.b, NULL);
    netlink_free(&w.b);
    return r;
}
