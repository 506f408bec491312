/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet filter: its skeleton made and checked, a share's elements put in and taken out.
 */
#include "linux/net_element.h"

#include "base/base.h"
#include "base/text.h"
#include "linux/net_program.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

extern const char net_filter_nft[]; /* net_filter.nft */

/* The kernel's number, which older headers lack. */
#define KEY_END 10

#define MESSAGE_ELEMENTS 256 /* an attribute is at most 64 kB */
#define BATCH_ELEMENTS   4096 /* what is written at once: half a megabyte */

void net_table_name(const char *hash, char ret[NET_TABLE_MAX])
{
    (void)snprintf(ret, NET_TABLE_MAX, "berth_%.8s", hash);
}

/* ---- messages ---- */

static void put_bytes(struct netlink_batch *b, uint16_t type, const void *data, size_t size)
{
    size_t nest = netlink_nest(b, type);
    netlink_put(b, NFTA_DATA_VALUE, data, size);
    netlink_nest_end(b, nest);
}

static void put_element(struct netlink_batch *b, const struct net_element *e)
{
    const struct net_set_kind *kind = &net_set_kinds[e->set];
    size_t nest = netlink_nest(b, NFTA_LIST_ELEM);
    put_bytes(b, NFTA_SET_ELEM_KEY, e->key, kind->key);
    if (kind->range)
        put_bytes(b, KEY_END, e->end, kind->key);
    if (kind->data)
        put_bytes(b, NFTA_SET_ELEM_DATA, e->data, kind->data);
    netlink_nest_end(b, nest);
}

/* Elements being written: messages of one set each. */
struct writer {
    struct netlink_batch batch;
    const char *table;
    unsigned type;
    int set;        /* of the message being written, -1: none */
    size_t list, n; /* its list's place; elements in it */
    size_t all;
};

static void finish_message(struct writer *w)
{
    if (w->set >= 0)
        netlink_nest_end(&w->batch, w->list);
    w->set = -1;
}

static void write_element(struct writer *w, const struct net_element *e, size_t at_most)
{
    if (w->set != (int)e->set || w->n >= at_most) {
        finish_message(w);
        netlink_filter_begin(&w->batch, w->type, w->type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0, net_set_kinds[e->set].family);
        netlink_put_text(&w->batch, NFTA_SET_ELEM_LIST_TABLE, w->table);
        netlink_put_text(&w->batch, NFTA_SET_ELEM_LIST_SET, net_set_kinds[e->set].name);
        w->list = netlink_nest(&w->batch, NFTA_SET_ELEM_LIST_ELEMENTS);
        w->set = (int)e->set;
        w->n = 0;
    }
    put_element(&w->batch, e);
    w->n++;
    w->all++;
}

/* ---- reading elements ---- */

static bool take_bytes(const struct nlattr *a, uint8_t *ret, size_t size)
{
    const struct nlattr *of[NFTA_DATA_VALUE + 1];
    if (!a)
        return false;
    netlink_table(netlink_first_in(a), netlink_end_in(a), of, ARRAY_SIZE(of));
    if (netlink_size(of[NFTA_DATA_VALUE]) < size)
        return false;
    memcpy(ret, netlink_data(of[NFTA_DATA_VALUE]), size);
    return true;
}

static bool take_element(const struct nlattr *a, enum net_set set, struct net_element *ret)
{
    const struct net_set_kind *kind = &net_set_kinds[set];
    const struct nlattr *of[KEY_END + 1];
    netlink_table(netlink_first_in(a), netlink_end_in(a), of, ARRAY_SIZE(of));
    *ret = (struct net_element){.set = set};
    if (!take_bytes(of[NFTA_SET_ELEM_KEY], ret->key, kind->key))
        return false;
    if (kind->range && !take_bytes(of[KEY_END], ret->end, kind->key))
        memcpy(ret->end, ret->key, sizeof(ret->end));
    return kind->data == 0 || take_bytes(of[NFTA_SET_ELEM_DATA], ret->data, kind->data);
}

struct reading {
    enum net_set set;
    int (*each)(const struct net_element *e, void *data);
    void *data;
};

static int read_elements(const struct nlmsghdr *m, void *data)
{
    struct reading *r = data;
    const struct nlattr *of[NFTA_SET_ELEM_LIST_ELEMENTS + 1];
    if (m->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWSETELEM))
        return 0;
    netlink_table(netlink_first(m, sizeof(struct nfgenmsg)), netlink_end(m), of, ARRAY_SIZE(of));
    const struct nlattr *list = of[NFTA_SET_ELEM_LIST_ELEMENTS];
    if (!list)
        return 0;
    NETLINK_EACH(a, netlink_first_in(list), netlink_end_in(list))
    {
        struct net_element e;
        int ended = take_element(a, r->set, &e) ? r->each(&e, r->data) : 0;
        if (ended != 0)
            return ended;
    }
    return 0;
}

static int dump_set(struct netlink *nl, const char *table, enum net_set set,
                    int (*each)(const struct net_element *e, void *data), void *data)
{
    autobatch struct netlink_batch b = {0};
    struct reading r = {.set = set, .each = each, .data = data};
    netlink_filter_begin(&b, NFT_MSG_GETSETELEM, NLM_F_DUMP, net_set_kinds[set].family);
    netlink_put_text(&b, NFTA_SET_ELEM_LIST_TABLE, table);
    netlink_put_text(&b, NFTA_SET_ELEM_LIST_SET, net_set_kinds[set].name);
    return netlink_ask(nl, &b, read_elements, &r);
}

/* ---- adding ---- */

static int commit(struct netlink *nl, struct writer *w)
{
    finish_message(w);
    netlink_filter_border(&w->batch, NFNL_MSG_BATCH_END);
    int r = netlink_send(nl, &w->batch, NULL);
    netlink_free(&w->batch);
    w->all = 0;
    return r;
}

/* The elements that `from` still has, in transactions of at most BATCH_ELEMENTS. `from` then stands
 * behind the last that went in, or before the transaction that failed. */
static int write_all(struct netlink *nl, const char *table, unsigned type, struct net_walk *from)
{
    struct net_walk at = *from;
    struct net_element e;
    int r = 0;
    while (r == 0) {
        struct writer w = {.table = table, .type = type, .set = -1};
        netlink_filter_border(&w.batch, NFNL_MSG_BATCH_BEGIN);
        while (w.all < BATCH_ELEMENTS && net_walk_next(&at, &e))
            write_element(&w, &e, MESSAGE_ELEMENTS);
        if (w.all == 0) {
            netlink_free(&w.batch);
            return 0;
        }
        r = commit(nl, &w);
        if (r == 0)
            *from = at;
    }
    return r;
}

/* Those of a port map that stand in the way of the share's: same addresses and protocol, ports that overlap. */
struct clash {
    const struct net_share *share;
    struct net_publish *found;
    size_t n, room;
};

static bool overlaps(const struct net_publish *a, const struct net_publish *b)
{
    unsigned an = a->count ? a->count : 1, bn = b->count ? b->count : 1;
    return a->protocol == b->protocol && address_equal(&a->host, &b->host) && a->host_port < b->host_port + bn &&
           b->host_port < a->host_port + an;
}

static int note_clash(const struct net_element *e, void *data)
{
    struct clash *c = data;
    struct net_publish p;
    bool clashes = false;
    if (!net_element_port(e, &p))
        return 0;
    for (size_t i = 0; i < c->share->n_ports && !clashes; i++)
        clashes = overlaps(&p, &c->share->ports[i]);
    if (!clashes)
        return 0;
    if (c->n == c->room) {
        size_t room = c->room ? c->room * 2 : 16;
        struct net_publish *more = reallocarray(c->found, room, sizeof(*more));
        if (!more)
            return -ENOMEM;
        c->found = more;
        c->room = room;
    }
    c->found[c->n++] = p;
    return 0;
}

/* A dead one's ports: the sockets that hold them are the caller's. */
static int clear_the_way(struct netlink *nl, const char *table, const struct net_share *share)
{
    struct clash c = {.share = share};
    int r = 0;
    for (enum net_set set = SET_PORTS4; set <= SET_ANY_RANGES6 && r == 0; set++)
        r = dump_set(nl, table, set, note_clash, &c);
    struct net_share old = {.ports = c.found, .n_ports = c.n};
    struct net_walk walk = {.share = &old};
    if (r == 0)
        r = write_all(nl, table, NFT_MSG_DELSETELEM, &walk);
    free(c.found);
    return r;
}

static bool is_clash(int r)
{
    return r == -EEXIST || r == -EBUSY || r == -ENOTEMPTY;
}

int net_filter_add(struct netlink *nl, const char *hash, const struct net_share *share, struct berth_error *err)
{
    char table[NET_TABLE_MAX];
    struct net_walk walk = {.share = share};
    net_table_name(hash, table);
    int r = write_all(nl, table, NFT_MSG_NEWSETELEM, &walk);
    if (is_clash(r)) {
        r = clear_the_way(nl, table, share);
        if (r == 0)
            r = write_all(nl, table, NFT_MSG_NEWSETELEM, &walk);
    }
    if (r == 0)
        return 0;
    if (walk.stage || walk.i || walk.j)
        (void)net_filter_remove(nl, hash, share, NULL);
    if (r == -ENOENT)
        return fail(err, BERTH_NOT_FOUND, table, "the packet filter's tables %s are not there", table);
    return fail_os(err, r, table, "add to the packet filter's tables %s", table);
}

/* ---- removing ---- */

static int compare_element(const struct net_element *e, void *data)
{
    const struct net_element *mine = data;
    const struct net_set_kind *kind = &net_set_kinds[e->set];
    return memcmp(e->key, mine->key, kind->key) == 0 && memcmp(e->data, mine->data, kind->data) == 0 &&
           (!kind->range || memcmp(e->end, mine->end, kind->key) == 0);
}

/* 1 when exactly this element is in, 0 when not (or no set, no table), or -errno. */
static int is_in(struct netlink *nl, const char *table, const struct net_element *e)
{
    struct net_element mine = *e;
    struct writer w = {.table = table, .type = NFT_MSG_GETSETELEM, .set = -1};
    struct reading r = {.set = e->set, .each = compare_element, .data = &mine};
    write_element(&w, e, 1);
    finish_message(&w);
    int result = netlink_ask(nl, &w.batch, read_elements, &r);
    netlink_free(&w.batch);
    return result == -ENOENT ? 0 : result;
}

int net_filter_remove(struct netlink *nl, const char *hash, const struct net_share *share, struct berth_error *err)
{
    char table[NET_TABLE_MAX];
    struct net_walk walk = {.share = share};
    struct net_element e;
    int r = 0;
    net_table_name(hash, table);
    for (bool more = true; more && r == 0;) {
        struct writer w = {.table = table, .type = NFT_MSG_DELSETELEM, .set = -1};
        netlink_filter_border(&w.batch, NFNL_MSG_BATCH_BEGIN);
        while (r >= 0 && w.all < BATCH_ELEMENTS && (more = net_walk_next(&walk, &e)))
            if ((r = is_in(nl, table, &e)) > 0)
                write_element(&w, &e, MESSAGE_ELEMENTS);
        if (r >= 0)
            r = w.all ? commit(nl, &w) : 0;
        netlink_free(&w.batch);
        r = r == -ENOENT ? 0 : r; /* somebody else took it, or all, away meanwhile */
    }
    return r < 0 ? fail_os(err, r, table, "remove from the packet filter's tables %s", table) : 0;
}

/* ---- the skeleton ---- */

/* Rules of each chain, and what jumps to it: what the kernel calls its use. */
static const struct {
    const char *name;
    uint8_t family, use;
} chains[] = {
    {"arrive", NFPROTO_INET, 2},      {"loopback", NFPROTO_INET, 4}, {"prerouting", NFPROTO_INET, 2},
    {"output", NFPROTO_INET, 2},      {"publish", NFPROTO_INET, 7},  {"publish6", NFPROTO_INET, 5},
    {"postrouting", NFPROTO_INET, 7}, {"forward", NFPROTO_INET, 4},  {"enter", NFPROTO_INET, 5},
    {"within", NFPROTO_INET, 4},      {"host", NFPROTO_INET, 2},     {"walled", NFPROTO_INET, 5},
    {"guard", NFPROTO_BRIDGE, 1},     {"guest", NFPROTO_BRIDGE, 6},
};
static const struct {
    uint8_t family, use;
} tables[] = {{NFPROTO_INET, 25}, {NFPROTO_BRIDGE, 4}}; /* chains and sets */

/* Which text made it: FNV-1a of the template. */
static uint32_t text_version(void)
{
    uint32_t h = 2166136261u;
    for (const char *p = net_filter_nft; *p; p++)
        h = (h ^ (uint8_t)*p) * 16777619u;
    return h;
}

struct check {
    char comment[24];
    char *what; /* what is wrong: "" nothing */
};

static const char *name_in(const struct nlattr *a)
{
    return a && netlink_size(a) && ((const char *)netlink_data(a))[netlink_size(a) - 1] == 0 ? netlink_data(a) : "";
}

static void check_table(const struct nlmsghdr *m, struct check *c)
{
    const struct nlattr *of[NFTA_TABLE_USERDATA + 1];
    uint8_t family = ((const struct nfgenmsg *)NLMSG_DATA(m))->nfgen_family;
    netlink_table(netlink_first(m, sizeof(struct nfgenmsg)), netlink_end(m), of, ARRAY_SIZE(of));
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        if (tables[i].family == family && ntohl(netlink_u32(of[NFTA_TABLE_USE])) != tables[i].use)
            (void)snprintf(c->what, 96, "chains or sets of the table are missing or more than berth's");
    const struct nlattr *text = of[NFTA_TABLE_USERDATA];
    if (!text || !memmem(netlink_data(text), netlink_size(text), c->comment, strlen(c->comment)))
        (void)snprintf(c->what, 96, "another version of berth made it");
}

static void check_chain(const struct nlmsghdr *m, struct check *c)
{
    const struct nlattr *of[NFTA_CHAIN_USE + 1];
    netlink_table(netlink_first(m, sizeof(struct nfgenmsg)), netlink_end(m), of, ARRAY_SIZE(of));
    const char *name = name_in(of[NFTA_CHAIN_NAME]);
    uint32_t use = ntohl(netlink_u32(of[NFTA_CHAIN_USE]));
    for (size_t i = 0; i < ARRAY_SIZE(chains); i++)
        if (strcmp(chains[i].name, name) == 0 && chains[i].use != use && !*c->what)
            (void)snprintf(c->what, 96, "its chain %s has %u rules and jumps, not %u", name, use, chains[i].use);
}

static int check_answer(const struct nlmsghdr *m, void *data)
{
    if (m->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg)))
        return 0;
    if (m->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE))
        check_table(m, data);
    else if (m->nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN))
        check_chain(m, data);
    return 0;
}

static void ask_for_table(struct netlink_batch *b, const char *table, uint8_t family)
{
    netlink_filter_begin(b, NFT_MSG_GETTABLE, 0, family);
    netlink_put_text(b, NFTA_TABLE_NAME, table);
}

/* 0, -ENOENT when a table is absent. */
static int ask_tables(struct netlink *nl, const char *table, struct check *c)
{
    autobatch struct netlink_batch b = {0};
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
        ask_for_table(&b, table, tables[i].family);
    return netlink_ask(nl, &b, check_answer, c);
}

static int ask_chains(struct netlink *nl, const char *table, struct check *c)
{
    autobatch struct netlink_batch b = {0};
    for (size_t i = 0; i < ARRAY_SIZE(chains); i++) {
        netlink_filter_begin(&b, NFT_MSG_GETCHAIN, 0, chains[i].family);
        netlink_put_text(&b, NFTA_CHAIN_TABLE, table);
        netlink_put_text(&b, NFTA_CHAIN_NAME, chains[i].name);
    }
    int r = netlink_ask(nl, &b, check_answer, c);
    if (r == -ENOENT)
        (void)snprintf(c->what, 96, "a chain of it is missing");
    return r == -ENOENT ? 0 : r;
}

int net_filter_check(struct netlink *nl, const char *hash, enum net_filter_state *ret, char *ret_what,
                     struct berth_error *err)
{
    char table[NET_TABLE_MAX], what[96] = "";
    struct check c = {.what = what};
    net_table_name(hash, table);
    (void)snprintf(c.comment, sizeof(c.comment), "berth %08x", text_version());
    int r = ask_tables(nl, table, &c);
    if (r == 0)
        r = ask_chains(nl, table, &c);
    if (r < 0 && r != -ENOENT)
        return fail_os(err, r, table, "look at the packet filter's tables %s", table);
    if (r == -ENOENT)
        (void)snprintf(what, sizeof(what), "there is no table %s", table);
    *ret = r == -ENOENT ? NET_FILTER_ABSENT : *what ? NET_FILTER_DAMAGED : NET_FILTER_WHOLE;
    if (ret_what)
        memcpy(ret_what, what, sizeof(what));
    return 0;
}

static bool is_table(struct netlink *nl, const char *table, uint8_t family)
{
    autobatch struct netlink_batch b = {0};
    ask_for_table(&b, table, family);
    return netlink_ask(nl, &b, NULL, NULL) != -ENOENT;
}

int net_filter_drop(struct netlink *nl, const char *hash, struct berth_error *err)
{
    char table[NET_TABLE_MAX];
    net_table_name(hash, table);
    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        autobatch struct netlink_batch b = {0};
        if (!is_table(nl, table, tables[i].family)) /* a change waits for a grace period, even one that fails */
            continue;
        netlink_filter_border(&b, NFNL_MSG_BATCH_BEGIN);
        netlink_filter_begin(&b, NFT_MSG_DELTABLE, 0, tables[i].family);
        netlink_put_text(&b, NFTA_TABLE_NAME, table);
        netlink_filter_border(&b, NFNL_MSG_BATCH_END);
        int r = netlink_send(nl, &b, NULL);
        if (r < 0 && r != -ENOENT)
            return fail_os(err, r, table, "remove the packet filter's tables %s", table);
    }
    return 0;
}

/* The template with HASH and VERSION filled in. */
static int skeleton_text(const char *hash, struct text *ret)
{
    const char *p = net_filter_nft;
    while (*p) {
        const char *h = strstr(p, "HASH"), *v = strstr(p, "VERSION"), *at = h;
        if (v && (!h || v < h))
            at = v;
        if (!at) {
            text_add(ret, p);
            break;
        }
        text_add_bytes(ret, p, (size_t)(at - p));
        if (at == v)
            text_printf(ret, "%08x", text_version());
        else
            text_printf(ret, "%.8s", hash);
        p = at + (at == v ? strlen("VERSION") : strlen("HASH"));
    }
    return ret->failed ? -ENOMEM : 0;
}

/* Both anew, whatever is there: "add" so that "delete" finds it. */
static int load(const char *hash, char **ret_said)
{
    autotext struct text t = {0};
    char table[NET_TABLE_MAX];
    net_table_name(hash, table);
    text_printf(&t, "add table inet %s\ndelete table inet %s\nadd table bridge %s\ndelete table bridge %s\n", table, table,
                table, table);
    static const char *const argv[] = {"nft", "-f", "-", NULL};
    int r = skeleton_text(hash, &t);
    return r < 0 ? r : net_program(argv, t.data, ret_said, NULL);
}

static int load_failed(const char *table, int r, const char *said, struct berth_error *err)
{
    if (r == -ENOENT)
        return fail(err, BERTH_NO_PROGRAM, "nft", "networks need the program nft: install the package nftables");
    if (r < 0)
        return fail_os(err, r, "nft", "run nft");
    int length = said ? (int)strcspn(said, "\n") : 0;
    return fail(err, BERTH_NO_KERNEL, table, "nft could not load the packet filter's tables %s: %.*s", table, MIN(length, 300),
                said ? said : "");
}

int net_filter_ensure(struct netlink *nl, const char *hash, bool *ret_made, struct berth_error *err)
{
    enum net_filter_state before, after;
    autofree char *said = NULL;
    char table[NET_TABLE_MAX];
    net_table_name(hash, table);
    int r = net_filter_check(nl, hash, &before, NULL, err);
    if (r < 0)
        return r;
    if (before != NET_FILTER_WHOLE) {
        int loaded = load(hash, &said);
        r = loaded < 0 ? 0 : net_filter_check(nl, hash, &after, NULL, err);
        if (r < 0)
            return r;
        if (loaded < 0 || after != NET_FILTER_WHOLE)
            return load_failed(table, loaded, said, err);
    }
    if (ret_made)
        *ret_made = before != NET_FILTER_WHOLE;
    return 0;
}

/* ---- listing ---- */

static bool make_room(void **data, size_t n, size_t size)
{
    if (n & (n - 1) || (n > 0 && n < 16))
        return true; /* room is 16, then the next power of two */
    void *more = reallocarray(*data, n ? n * 2 : 16, size);
    if (more)
        *data = more;
    return more;
}

static int list_element(const struct net_element *e, void *data)
{
    struct net_listing *l = data;
    bool ok = true;
    if (e->set == SET_NETWORKS) {
        ok = make_room((void **)&l->bridges, l->n_bridges, sizeof(*l->bridges));
        if (ok)
            (void)snprintf(l->bridges[l->n_bridges++], NET_LINK_MAX, "%.15s", (const char *)e->key);
    } else if (e->set >= SET_SELF4 && e->set <= SET_WALLED6) {
        return 0; /* its guest says the same, or nothing of it is of use here */
    } else if (e->set >= SET_GUESTS4) {
        ok = make_room((void **)&l->guests, l->n_guests, sizeof(*l->guests));
        if (ok)
            (void)net_element_guest(e, &l->guests[l->n_guests++]);
    } else {
        ok = make_room((void **)&l->ports, l->n_ports, sizeof(*l->ports));
        if (ok)
            (void)net_element_port(e, &l->ports[l->n_ports++]);
    }
    return ok ? 0 : -ENOMEM;
}

int net_filter_list(struct netlink *nl, const char *hash, struct net_listing **ret, struct berth_error *err)
{
    char table[NET_TABLE_MAX];
    struct net_listing *l = calloc(1, sizeof(*l));
    int r = l ? 0 : -ENOMEM;
    net_table_name(hash, table);
    for (enum net_set set = 0; set < SET_COUNT && r == 0; set++) {
        r = dump_set(nl, table, set, list_element, l);
        r = r == -ENOENT || r == -EINTR ? 0 : r; /* no table: nothing in it; changed meanwhile: as good as a moment ago */
    }
    if (r < 0) {
        net_listing_free(l);
        return fail_os(err, r, table, "list the packet filter's tables %s", table);
    }
    *ret = l;
    return 0;
}

void net_listing_free(struct net_listing *l)
{
    if (!l)
        return;
    free(l->bridges);
    free(l->guests);
    free(l->ports);
    free(l);
}

int net_bridge_remove(struct netlink *route, const char *hash, const char *name, struct berth_error *err)
{
    autonetlink struct netlink filter = NETLINK_NONE;
    char bridges[1][NET_LINK_MAX];
    struct net_share share = {.bridges = bridges, .n_bridges = 1};
    snprintf(bridges[0], NET_LINK_MAX, "%s", name);
    if (netlink_open(&filter, NETLINK_NETFILTER) == 0)
        (void)net_filter_remove(&filter, hash, &share, NULL);
    return net_link_remove(route, name, err);
}
