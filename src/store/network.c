/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks as documents: ROOT/networks/NAME, written whole under one lock for all of them, since a
 * new subnet must not overlap any other.
 */
#include "store/network.h"
#include "store/internal.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "model/spec.h"
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define NETWORK_MAX_BYTES (1u << 20)
#define NETWORK_INDEX_MAX 4095u /* a bridge's name has room for four digits */

static void cleanup_json(json_t **json)
{
    json_decref(*json);
}
#define autojson __attribute__((cleanup(cleanup_json)))

/* ---- reading */

static int damaged(const char *name, struct berth_error *err)
{
    return fail(err, BERTH_CORRUPT, name, "network \"%s\": its record is damaged", name);
}

static bool get_subnet(const json_t *json, const char *key, struct address *ret)
{
    const char *text = json_string_value(json_object_get(json, key));
    return !text || address_parse_subnet(text, ret) == 0;
}

static bool get_address(const json_t *json, const char *key, struct address *ret)
{
    const char *text = json_string_value(json_object_get(json, key));
    return !text || address_parse(text, ret) == 0;
}

static int from_json(const char *name, const json_t *json, struct network *ret, struct berth_error *err)
{
    struct network n = {0};
    const char *created = json_string_value(json_object_get(json, "created"));
    snprintf(n.name, sizeof(n.name), "%s", name);
    n.index = (uint32_t)json_integer_value(json_object_get(json, "index"));
    n.mtu = (uint32_t)json_integer_value(json_object_get(json, "mtu"));
    n.internal = json_is_true(json_object_get(json, "internal"));
    n.chosen = json_is_true(json_object_get(json, "chosen"));
    if (!get_subnet(json, "subnet", &n.subnet) || !get_subnet(json, "ip_range", &n.range) ||
        !get_subnet(json, "subnet6", &n.subnet6) || !get_address(json, "gateway", &n.gateway) ||
        !get_address(json, "gateway6", &n.gateway6) || n.subnet.family != AF_INET ||
        n.gateway.family != AF_INET)
        return damaged(name, err);
    n.gateway.prefix = n.subnet.prefix;
    n.gateway6.prefix = n.subnet6.prefix;
    if (created)
        time_parse(created, 0, &n.created_usec);
    *ret = n;
    return 0;
}

static int load(struct store *store, const char *name, json_t **ret, struct berth_error *err)
{
    autofree char *text = NULL;
    size_t size;
    json_error_t bad;
    int r = name_check("network", name, err);
    if (r < 0)
        return r;
    r = file_read(store->networks_fd, name, NETWORK_MAX_BYTES, &text, &size);
    if (r == -ENOENT)
        return fail(err, BERTH_NOT_FOUND, name, "no network \"%s\" (`berth network create %s` makes it)",
                    name, name);
    if (r < 0)
        return fail_os(err, r, name, "read %s/networks/%s", store->root, name);
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &bad);
    if (!json_is_object(json)) {
        json_decref(json);
        return damaged(name, err);
    }
    *ret = json;
    return 0;
}

int network_read(struct store *store, const char *name, struct network *ret, struct berth_error *err)
{
    autojson json_t *json = NULL;
    int r = load(store, name, &json, err);
    return r < 0 ? r : from_json(name, json, ret, err);
}

int network_print(struct store *store, const char *name, char **ret_json, struct berth_error *err)
{
    autojson json_t *json = NULL;
    int r = load(store, name, &json, err);
    if (r < 0)
        return r;
    *ret_json = json_dumps(json, JSON_COMPACT);
    return *ret_json ? 0 : fail_memory(err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int network_list(struct store *store, char ***ret_names, struct berth_error *err)
{
    autoentries DIR *dir = entries_open(store->networks_fd);
    autostrings char **names = NULL;
    const struct dirent *entry;
    if (!dir)
        return fail_os(err, errno, store->root, "%s/networks", store->root);
    while ((entry = entries_next(dir)))
        if (strings_add(&names, entry->d_name) < 0)
            return fail_memory(err);
    if (names)
        qsort(names, strings_count(names), sizeof(*names), by_name);
    *ret_names = TAKE(names);
    return 0;
}

/* ---- making: what is asked for */

/* "10.1.0.5/24" may mean the subnet or the address: we don't guess. */
static int whole_subnet(const struct address *subnet, const char *what, struct berth_error *err)
{
    struct address first = address_first(subnet);
    char text[ADDRESS_TEXT_MAX], meant[ADDRESS_TEXT_MAX];
    if (!subnet->family || address_equal(&first, subnet))
        return 0;
    return fail(err, BERTH_INVALID, address_print_subnet(subnet, text), "%s %s has bits behind its prefix (%s?)", what,
                text, address_print_subnet(&first, meant));
}

static int subnet_check(const struct network_wish *w, struct berth_error *err)
{
    char text[ADDRESS_TEXT_MAX], gateway[ADDRESS_TEXT_MAX];
    address_print_subnet(&w->subnet, text);
    if (w->subnet.family == 0)
        return 0;
    if (w->subnet.family != AF_INET)
        return fail(err, BERTH_INVALID, text, "subnet %s: the first subnet is IPv4 (IPv6 beside it: --ipv6 "
                    "--subnet %s)", text, text);
    int r = whole_subnet(&w->subnet, "subnet", err);
    if (r < 0)
        return r;
    if (w->subnet.prefix > 30)
        return fail(err, BERTH_INVALID, text, "subnet %s has no room for a gateway and a workload (/30 is the smallest)",
                    text);
    if (w->subnet.prefix < 8)
        return fail(err, BERTH_INVALID, text, "subnet %s is too large (/8 is the largest)", text);
    if (!address_is_unicast(&w->subnet))
        return fail(err, BERTH_INVALID, text, "subnet %s is reserved (loopback, link-local, multicast)", text);
    uint64_t at = address_index(&w->subnet, &w->gateway);
    if (w->gateway.family && (!address_in(&w->subnet, &w->gateway) || at == 0 ||
                              at == address_count(&w->subnet) - 1))
        return fail(err, BERTH_INVALID, text, "gateway %s is not an address for a host in %s",
                    address_print(&w->gateway, gateway), text);
    return 0;
}

static int wish_check(const struct network_wish *w, struct berth_error *err)
{
    char subnet[ADDRESS_TEXT_MAX], other[ADDRESS_TEXT_MAX];
    static const char *const reserved[] = {"host", "none", "default", "container"};
    int r = name_check("network", w->name, err);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(reserved); i++)
        if (strcmp(w->name, reserved[i]) == 0)
            r = fail(err, BERTH_INVALID, w->name, "\"%s\" can't be a network's name: it has a meaning of its own",
                     w->name);
    if (r == 0)
        r = subnet_check(w, err);
    if (r == 0)
        r = whole_subnet(&w->range, "range", err);
    if (r == 0)
        r = whole_subnet(&w->subnet6, "subnet", err);
    if (r < 0)
        return r;
    address_print_subnet(&w->subnet, subnet);
    if ((w->gateway.family || w->range.family) && !w->subnet.family)
        return fail(err, BERTH_INVALID, w->name, "network %s: a gateway or a range needs the subnet too", w->name);
    if (w->range.family && (w->range.prefix < w->subnet.prefix ||
                                    !address_in(&w->subnet, &w->range)))
        return fail(err, BERTH_INVALID, w->name, "range %s is not within the subnet %s",
                    address_print_subnet(&w->range, other), subnet);
    if (w->subnet6.family && (w->subnet6.prefix < 48 || w->subnet6.prefix > 112))
        return fail(err, BERTH_INVALID, w->name, "subnet %s: an IPv6 subnet is /48 to /112",
                    address_print_subnet(&w->subnet6, other));
    if (w->mtu && (w->mtu < 576 || w->mtu > 65535))
        return fail(err, BERTH_INVALID, w->name, "mtu %u is not between 576 and 65535", w->mtu);
    if (w->mtu && w->mtu < 1280 && (w->ipv6 || w->subnet6.family))
        return fail(err, BERTH_INVALID, w->name, "mtu %u: IPv6 needs 1280 at least", w->mtu);
    return 0;
}

/* ---- making: what there is already */

struct others {
    struct network *items;
    size_t n;
};

static void others_free(struct others *o)
{
    free(o->items);
}

/* A damaged record is no reason to make no other network; its bridge's number is not given again. */
static int others_read(struct store *store, struct others *ret, struct berth_error *err)
{
    autostrings char **names = NULL;
    int r = network_list(store, &names, err);
    if (r < 0 || !names)
        return r;
    ret->items = calloc(strings_count(names), sizeof(*ret->items));
    if (!ret->items)
        return fail_memory(err);
    for (size_t i = 0; names[i]; i++)
        if (network_read(store, names[i], &ret->items[ret->n], NULL) == 0)
            ret->n++;
    return 0;
}

static const struct network *overlapping(const struct others *o, const struct address *p)
{
    for (size_t i = 0; i < o->n; i++)
        if (address_overlap(&o->items[i].subnet, p) ||
            (o->items[i].subnet6.family && address_overlap(&o->items[i].subnet6, p)))
            return &o->items[i];
    return NULL;
}

/* A default route covers everything and means nothing here. */
static const struct address *covered(const struct network_wish *w, const struct address *p)
{
    for (size_t i = 0; i < w->n_taken; i++)
        if (w->taken[i].prefix > 0 && address_overlap(&w->taken[i], p))
            return &w->taken[i];
    return NULL;
}

static int refuse_overlap(const struct network_wish *w, const struct others *o, const struct address *p,
                          struct berth_error *err)
{
    char subnet[ADDRESS_TEXT_MAX], other[ADDRESS_TEXT_MAX];
    const struct network *theirs = overlapping(o, p);
    const struct address *host = covered(w, p);
    address_print_subnet(p, subnet);
    if (theirs)
        return fail(err, BERTH_EXISTS, subnet, "subnet %s overlaps %s of network \"%s\"", subnet,
                    address_print_subnet(p->family == AF_INET6 ? &theirs->subnet6 : &theirs->subnet, other),
                    theirs->name);
    if (host)
        return fail(err, BERTH_EXISTS, subnet, "subnet %s overlaps %s, to which this machine has a route or an address",
                    subnet, address_print_subnet(host, other));
    return 0;
}

static int choose_subnet(const struct network_wish *w, const struct others *o, struct address *ret,
                         struct berth_error *err)
{
    char pool[ADDRESS_TEXT_MAX];
    for (uint64_t i = 0; (*ret = address_subnet(&w->pool, w->length, i)).family; i++)
        if (!overlapping(o, ret) && !covered(w, ret))
            return 0;
    address_print_subnet(&w->pool, pool);
    return fail(err, BERTH_NO_SPACE, pool,
                "no /%u of the pool %s is free: name one with --subnet, or widen network.pool in berth.toml",
                w->length, pool);
}

/* The default network's is 0. Others begin anywhere, since the bridge of one that was just removed may be
 * there for a moment still. */
static uint32_t choose_index(const struct others *o, const char *name)
{
    uint32_t start = (uint32_t)(now_usec() / 1000);
    if (strcmp(name, NETWORK_DEFAULT) == 0)
        return 0;
    for (uint32_t i = 0; i < NETWORK_INDEX_MAX; i++) {
        uint32_t index = 1 + (start + i) % NETWORK_INDEX_MAX;
        bool used = false;
        for (size_t k = 0; k < o->n; k++)
            used |= o->items[k].index == index;
        if (!used)
            return index;
    }
    return UINT32_MAX;
}

/* fdTT:TTTT:TTTT:IIII::/64: local addresses whose number comes from the root and the network. */
static void choose_subnet6(const struct store *store, uint32_t index, struct address *ret)
{
    uint8_t tag[4] = {0};
    hex_parse(store->tag, tag, sizeof(tag));
    *ret = (struct address){.family = AF_INET6, .prefix = 64, .bytes = {0xfd, 0xbe}};
    memcpy(ret->bytes + 2, tag, 4);
    ret->bytes[6] = (uint8_t)(index >> 8);
    ret->bytes[7] = (uint8_t)index;
}

/* ---- making */

static int settle_wish(struct store *store, const struct network_wish *w, const struct others *o,
                       struct network *n, struct berth_error *err)
{
    *n = (struct network){.subnet = w->subnet, .range = w->range, .gateway = w->gateway, .mtu = w->mtu,
                          .subnet6 = w->subnet6, .internal = w->internal,
                          .chosen = !w->subnet.family, .created_usec = now_usec(),
                          .index = choose_index(o, w->name)};
    snprintf(n->name, sizeof(n->name), "%s", w->name);
    if (n->index == UINT32_MAX)
        return fail(err, BERTH_NO_SPACE, w->name, "network %s: there are %u networks, no more can be made", w->name,
                    NETWORK_INDEX_MAX);
    int r = n->subnet.family ? refuse_overlap(w, o, &n->subnet, err)
                                     : choose_subnet(w, o, &n->subnet, err);
    if (r == 0 && n->subnet6.family)
        r = refuse_overlap(w, o, &n->subnet6, err);
    if (r < 0)
        return r;
    if (!n->gateway.family)
        n->gateway = address_nth(&n->subnet, 1);
    if (w->ipv6 && !n->subnet6.family)
        choose_subnet6(store, n->index, &n->subnet6);
    if (n->subnet6.family)
        n->gateway6 = address_nth(&n->subnet6, 1);
    n->gateway.prefix = n->subnet.prefix;
    return 0;
}

static void set_text(json_t *json, const char *key, const char *value)
{
    if (*value)
        json_object_set_new(json, key, json_string(value));
}

static char *to_json(const struct network *n, const char *labels_json)
{
    char time[40], prefix[ADDRESS_TEXT_MAX], address[ADDRESS_TEXT_MAX];
    autojson json_t *json = json_object();
    json_t *labels = labels_json ? json_loads(labels_json, JSON_REJECT_DUPLICATES, NULL) : json_object();
    time_print(n->created_usec, time);
    set_text(json, "name", n->name);
    set_text(json, "created", time);
    json_object_set_new(json, "index", json_integer(n->index));
    set_text(json, "subnet", address_print_subnet(&n->subnet, prefix));
    set_text(json, "gateway", address_print(&n->gateway, address));
    set_text(json, "ip_range", address_print_subnet(&n->range, prefix));
    set_text(json, "subnet6", address_print_subnet(&n->subnet6, prefix));
    set_text(json, "gateway6", address_print(&n->gateway6, address));
    json_object_set_new(json, "internal", json_boolean(n->internal));
    json_object_set_new(json, "chosen", json_boolean(n->chosen));
    json_object_set_new(json, "mtu", json_integer(n->mtu));
    json_object_set_new(json, "labels", labels ? labels : json_object());
    return json ? json_dumps(json, JSON_COMPACT) : NULL;
}

static int create_locked(struct store *store, const struct network_wish *w, struct network *ret,
                         struct berth_error *err)
{
    __attribute__((cleanup(others_free))) struct others others = {0};
    if (faccessat(store->networks_fd, w->name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return fail(err, BERTH_EXISTS, w->name, "there is a network \"%s\" already", w->name);
    int r = others_read(store, &others, err);
    if (r == 0)
        r = settle_wish(store, w, &others, ret, err);
    if (r < 0)
        return r;
    autofree char *json = to_json(ret, w->labels_json);
    if (!json)
        return fail_memory(err);
    r = file_write(store->networks_fd, w->name, json, strlen(json), 0600, FILE_EXCLUSIVE | FILE_SYNC);
    if (r < 0)
        return fail_os(err, r, w->name, "write %s/networks/%s", store->root, w->name);
    crash_point("network.made");
    return 0;
}

int networks_hold(struct store *store)
{
    return claim_lock(store, "networks", "all");
}

int network_create(struct store *store, const struct network_wish *wish, struct network *ret,
                   struct berth_error *err)
{
    int r = wish_check(wish, err);
    if (r < 0)
        return r;
    autoclose int lock = networks_hold(store);
    if (lock < 0)
        return fail_os(err, lock, wish->name, "lock the networks");
    return create_locked(store, wish, ret, err);
}

int network_move(struct store *store, const struct network_wish *wish, struct network *n, struct berth_error *err)
{
    __attribute__((cleanup(others_free))) struct others others = {0};
    autojson json_t *json = NULL;
    char subnet[ADDRESS_TEXT_MAX], gateway[ADDRESS_TEXT_MAX];
    struct network moved = *n;
    int r = load(store, n->name, &json, err);
    if (r == 0)
        r = others_read(store, &others, err);
    if (r == 0)
        r = choose_subnet(wish, &others, &moved.subnet, err);
    if (r < 0)
        return r;
    moved.gateway = address_nth(&moved.subnet, 1);
    json_object_set_new(json, "subnet", json_string(address_print_subnet(&moved.subnet, subnet)));
    json_object_set_new(json, "gateway", json_string(address_print(&moved.gateway, gateway)));
    autofree char *text = json_dumps(json, JSON_COMPACT);
    if (!text)
        return fail_memory(err);
    r = file_write(store->networks_fd, n->name, text, strlen(text), 0600, FILE_SYNC);
    if (r < 0)
        return fail_os(err, r, n->name, "write %s/networks/%s", store->root, n->name);
    *n = moved;
    return 0;
}

/* ---- removing */

static void address_kind(const char *name, char ret[BERTH_NAME_MAX + 24])
{
    snprintf(ret, BERTH_NAME_MAX + 24, "address/%s", name);
}

int network_users(struct store *store, const char *name, char ***ret_ids, struct berth_error *err)
{
    char kind[BERTH_NAME_MAX + 24];
    int r = name_check("network", name, err);
    if (r < 0)
        return r;
    address_kind(name, kind);
    *ret_ids = NULL;
    r = lease_holders(store, kind, true, ret_ids);
    return r < 0 ? fail_os(err, r, name, "look who is on network \"%s\"", name) : 0;
}

/* The folder of its leases goes with the last one; whoever takes one makes it again. */
bool network_idle(struct store *store, const char *name)
{
    char path[BERTH_NAME_MAX + 32];
    snprintf(path, sizeof(path), "address/%s", name);
    return unlinkat(store->leases_fd, path, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

static int refuse_used(struct store *store, const char *name, const char *id, struct berth_error *err)
{
    char label[BERTH_NAME_MAX + 8];
    label_of(store, id, label);
    return fail(err, BERTH_WRONG_STATE, name, "network \"%s\" is used by workload \"%s\"", name, label);
}

int network_remove(struct store *store, const char *name, struct berth_error *err)
{
    struct network n;
    autostrings char **users = NULL;
    char path[BERTH_NAME_MAX + 24];
    int r = network_read(store, name, &n, err);
    if (r < 0 && r != BERTH_CORRUPT)
        return r;
    autoclose int lock = networks_hold(store);
    if (lock < 0)
        return fail_os(err, lock, name, "lock the networks");
    r = network_users(store, name, &users, err);
    if (r < 0)
        return r;
    if (users)
        return refuse_used(store, name, users[0], err);
    if (unlinkat(store->networks_fd, name, 0) < 0 && errno != ENOENT)
        return fail_os(err, errno, name, "remove network \"%s\"", name);
    crash_point("network.removed");
    snprintf(path, sizeof(path), "address/%s", name);
    unlinkat(store->leases_fd, path, AT_REMOVEDIR);
    snprintf(path, sizeof(path), "mac/%s", name);
    unlinkat(store->leases_fd, path, AT_REMOVEDIR);
    return 0;
}
