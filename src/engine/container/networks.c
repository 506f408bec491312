/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h: networks as things with names. What they are on the host (bridges, rules) comes with
 * the first workload that starts on one, and goes with the last that leaves.
 */
#include "local/inside.h"
#include "base/address.h"
#include "engine/desk.h"
#include "engine/report.h"
#include "linux/net_filter.h"
#include "linux/net_link.h"
#include <arpa/inet.h>
#include <jansson.h>
#include <stdio.h>

/* ---- making */

static int open_store(struct berth_runtime *runtime, bool make, struct local **ret_c, struct store **ret,
                      struct berth_error *err)
{
    int r = local_self(runtime, ret_c, err);
    return r < 0 ? r : local_store(*ret_c, make, ret, err);
}

static int parse_subnet(const char *field, const char *text, struct address *ret, struct berth_error *err)
{
    if (!text || !*text)
        return 0;
    if (address_parse_subnet(text, ret) < 0)
        return fail(err, BERTH_INVALID, field, "%s: \"%.60s\" is not a subnet such as 10.5.0.0/24", field, text);
    return 0;
}

static int wish_from(struct local *c, const struct berth_network_options *o, struct network_wish *w, struct berth_error *err)
{
    struct address second = {0};
    char pool[ADDRESS_TEXT_MAX];
    int r = parse_subnet("subnet", o->subnet, &w->subnet, err);
    if (r == 0)
        r = parse_subnet("subnet6", o->subnet6, &second, err);
    if (r == 0)
        r = parse_subnet("ip_range", o->ip_range, &w->range, err);
    if (r == 0)
        r = parse_subnet("pool", o->pool, &w->pool, err);
    if (r == 0 && o->gateway && *o->gateway && address_parse(o->gateway, &w->gateway) < 0)
        r = fail(err, BERTH_INVALID, "gateway", "gateway: \"%.60s\" is not an address", o->gateway);
    if (r < 0)
        return r;
    if (second.family == AF_INET)
        return fail(err, BERTH_INVALID, "subnet6", "subnet6: %s is not an IPv6 subnet", o->subnet6);
    w->subnet6 = second;
    w->ipv6 = o->ipv6;
    w->internal = o->internal;
    w->mtu = o->mtu;
    w->length = o->prefix;
    if ((r = network_settings(c, w, err)) < 0)
        return r;
    if (w->length > 30 || (w->pool.family && (w->pool.family != AF_INET || w->length < w->pool.prefix)))
        return fail(err, BERTH_INVALID, "pool", "pool: no /%u subnets in %s", w->length, address_print_subnet(&w->pool, pool));
    return 0;
}

int berth_network_create(struct berth_runtime *runtime, const char *name, const struct berth_network_options *options,
                         struct berth_error *err)
{
    struct local *c;
    struct store *store;
    struct network made;
    autofree char *labels = NULL;
    struct network_wish wish = {.name = name ? name : ""};
    struct berth_network_options full, *o = &full;
    int r = options_take(options, &full, sizeof(full), err);
    if (r == 0)
        r = open_store(runtime, true, &c, &store, err);
    if (r == 0)
        r = local_need("network create", err);
    if (r == 0)
        r = wish_from(c, o, &wish, err);
    if (r == 0)
        r = report_labels(o->labels, &labels, err);
    wish.labels_json = labels;
    if (r == 0)
        r = network_make(store, &wish, &made, err);
    if (r == 0)
        event_append(store_root_fd(store), "network-create", "", wish.name, NULL);
    return r;
}

/* ---- looking */

static json_t *describe(struct store *store, const char *name, struct berth_error *err)
{
    autofree char *text = NULL;
    autostrings char **users = NULL;
    struct network n;
    char bridge[NET_LINK_MAX];
    if (network_print(store, name, &text, err) < 0 || network_read(store, name, &n, err) < 0 ||
        network_users(store, name, &users, err) < 0)
        return NULL;
    json_t *json = json_loads(text, 0, NULL), *list = json_array();
    net_bridge_name(store_tag(store), n.internal, n.index, bridge);
    json_object_set_new(json, "bridge", json_string(bridge));
    for (size_t i = 0; users && users[i]; i++) {
        autoworkload w = NULL;
        struct berth_handle h;
        autostrings char **addresses = NULL;
        if (workload_open(store, users[i], &w, NULL) < 0)
            continue;
        local_handle(w, &h);
        network_held(store, name, users[i], &addresses);
        json_t *held = json_array();
        for (size_t a = 0; addresses && addresses[a]; a++)
            json_array_append_new(held, json_string(addresses[a]));
        json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "id", users[i], "name", h.name, "addresses", held));
    }
    json_object_set_new(json, "workloads", list);
    return json;
}

static int dump(json_t *json, char **ret, struct berth_error *err)
{
    *ret = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return *ret ? 0 : fail_memory(err);
}

static const char *real_name(const char *name)
{
    return name && !strcmp(name, "default") ? NETWORK_DEFAULT : name ? name : "";
}

int berth_network_inspect(struct berth_runtime *runtime, const char *name, char **ret_json, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    struct berth_error mine = {0};
    int r = open_store(runtime, true, &c, &store, err);
    if (r < 0)
        return r;
    json_t *json = describe(store, real_name(name), &mine);
    if (json)
        return dump(json, ret_json, err);
    if (err)
        *err = mine;
    return mine.code < 0 ? mine.code : BERTH_NO_MEMORY;
}

int berth_network_list(struct berth_runtime *runtime, char **ret_json, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    autostrings char **names = NULL;
    int r = open_store(runtime, true, &c, &store, err);
    if (r == 0)
        r = network_list(store, &names, err);
    if (r < 0)
        return r;
    json_t *list = json_array();
    for (size_t i = 0; names && names[i]; i++) {
        json_t *one = describe(store, names[i], NULL);
        json_array_append_new(list, one ? one : json_pack("{s:s,s:b}", "name", names[i], "damaged", 1));
    }
    return dump(list, ret_json, err);
}

/* ---- removing */

/* At once: the subnet may be the next one's. What fails, or is damaged, is left to the helper. */
static void remove_bridge(struct store *store, const struct network *n)
{
    autonetlink struct netlink nl = NETLINK_NONE;
    char bridge[NET_LINK_MAX];
    autoclose int lock = networks_lock(store_run_fd(store), true);
    if (lock < 0 || netlink_open(&nl, NETLINK_ROUTE) < 0)
        return;
    net_bridge_name(store_tag(store), n->internal, n->index, bridge);
    (void)net_bridge_remove(&nl, store_tag(store), bridge, NULL);
}

static int remove_network(struct store *store, const char *name, struct berth_error *err)
{
    struct network n;
    bool whole = network_read(store, name, &n, NULL) == 0;
    int r = network_remove(store, name, err);
    if (r == 0 && whole)
        remove_bridge(store, &n);
    return r;
}

int berth_network_remove(struct berth_runtime *runtime, const char *name, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    int r = open_store(runtime, true, &c, &store, err);
    if (r == 0)
        r = local_need("network rm", err);
    if (r == 0)
        r = remove_network(store, real_name(name), err);
    if (r < 0)
        return r;
    event_append(store_root_fd(store), "network-remove", "", real_name(name), NULL);
    trash_helper(c); /* its bridge, if it ever had one */
    return 0;
}

int berth_network_prune(struct berth_runtime *runtime, char **ret_json, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    autostrings char **names = NULL;
    int r = open_store(runtime, true, &c, &store, err);
    if (r == 0)
        r = local_need("network prune", err);
    if (r == 0)
        r = network_list(store, &names, err);
    if (r < 0)
        return r;
    json_t *removed = json_array();
    for (size_t i = 0; names && names[i]; i++)
        if (strcmp(names[i], NETWORK_DEFAULT) && remove_network(store, names[i], NULL) == 0)
            json_array_append_new(removed, json_string(names[i]));
    trash_helper(c);
    return dump(json_pack("{s:o}", "removed", removed), ret_json, err);
}

/* ---- a workload's own: each edits its spec; the rest is like any update */

static const char *name_of(const json_t *entry)
{
    return json_is_string(entry) ? json_string_value(entry) : json_string_value(json_object_get(entry, "name"));
}

/** Where a network stands in `networks`, or its length. */
static size_t find_entry(const json_t *networks, const char *name)
{
    size_t i;
    for (i = 0; i < json_array_size(networks); i++)
        if (!strcmp(real_name(name_of(json_array_get(networks, i))), name))
            break;
    return i;
}

/* `network`, or the default when there is none, becomes the first of `networks`. */
static int several(json_t *spec, json_t **ret, struct berth_error *err)
{
    json_t *networks = json_object_get(spec, "networks");
    const char *one = json_string_value(json_object_get(spec, "network"));
    if (one && (!strcmp(one, "none") || !strcmp(one, "host") || starts_with(one, "container:")))
        return fail(err, BERTH_WRONG_STATE, one, "its network is \"%.140s\", beside which there is no other", one);
    if (!networks) {
        networks = json_pack("[s]", one ? real_name(one) : NETWORK_DEFAULT);
        if (json_object_set_new(spec, "networks", networks) < 0)
            return fail_memory(err);
        json_object_del(spec, "network");
    }
    *ret = networks;
    return 0;
}

struct connect {
    const char *name;
    struct berth_connect_options o;
};

static int connect_edit(struct local *c, json_t *spec, void *data, struct berth_error *err)
{
    const struct connect *d = data;
    const char *name = real_name(d->name);
    const struct { const char *key, *value; } fixed[] = {{"ip", d->o.ip}, {"ip6", d->o.ip6}, {"mac", d->o.mac}};
    struct network n;
    json_t *networks;
    int r = name_check("network", name, err);
    if (r == 0)
        r = several(spec, &networks, err);
    if (r == 0 && find_entry(networks, name) < json_array_size(networks))
        r = fail(err, BERTH_EXISTS, name, "it is on network \"%s\" already", name);
    if (r == 0 && strcmp(name, NETWORK_DEFAULT))
        r = network_read(c->store, name, &n, err);
    if (r < 0)
        return r;
    json_t *entry = json_pack("{s:s}", "name", name), *aliases = json_array();
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
        if (fixed[i].value && *fixed[i].value)
            json_object_set_new(entry, fixed[i].key, json_string(fixed[i].value));
    for (size_t i = 0; d->o.aliases && d->o.aliases[i]; i++)
        json_array_append_new(aliases, json_string(d->o.aliases[i]));
    if (json_array_size(aliases) > 0)
        json_object_set(entry, "aliases", aliases);
    json_decref(aliases);
    return json_array_append_new(networks, entry) < 0 ? fail_memory(err) : 0;
}

static int disconnect_edit(struct local *c, json_t *spec, void *data, struct berth_error *err)
{
    const char *name = real_name(data);
    struct network n;
    json_t *networks;
    int r = several(spec, &networks, err);
    if (r < 0)
        return r;
    size_t at = find_entry(networks, name);
    if (at >= json_array_size(networks)) {
        r = strcmp(name, NETWORK_DEFAULT) ? network_read(c->store, name, &n, err) : 0;
        return r < 0 ? r : fail(err, BERTH_NOT_FOUND, name, "it is not on network \"%s\"", name);
    }
    if (json_array_size(networks) == 1)
        return fail(err, BERTH_WRONG_STATE, name, "network \"%s\" is its only one", name);
    if (at == 0) { /* what the first had for itself alone */
        json_object_del(spec, "ip");
        json_object_del(spec, "ip6");
        json_object_del(spec, "mac");
    }
    json_array_remove(networks, at);
    return 0;
}

static int change(struct berth_runtime *runtime, const struct berth_handle *handle, const char *event,
                  int (*edit)(struct local *c, json_t *spec, void *data, struct berth_error *err), void *data,
                  const char *words, const char *object, struct berth_error *err)
{
    struct local *c;
    int r = local_self(runtime, &c, err);
    if (r == 0 && !handle)
        r = fail(err, BERTH_INVALID, NULL, "%s: the handle is NULL", words);
    if (r == 0)
        r = local_change(c, handle, words, event, edit, data, err);
    return r < 0 && handle ? fail_context(err, "%s %s%s%s", words, handle->name, *object ? " and network " : "", object)
                           : r;
}

int berth_network_connect(struct berth_runtime *runtime, const char *name, const struct berth_handle *handle,
                          const struct berth_connect_options *options, struct berth_error *err)
{
    struct connect d = {.name = name};
    int r = options_take(options, &d.o, sizeof(d.o), err);
    return r < 0 ? r : change(runtime, handle, "connect", connect_edit, &d, "connect", real_name(name), err);
}

int berth_network_disconnect(struct berth_runtime *runtime, const char *name, const struct berth_handle *handle,
                             struct berth_error *err)
{
    return change(runtime, handle, "disconnect", disconnect_edit, (void *)(uintptr_t)name, "disconnect",
                  real_name(name), err);
}

int berth_pool(struct berth_runtime *runtime, unsigned count, int *ret_fd, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    int r = open_store(runtime, true, &c, &store, err);
    if (r == 0 && (count < 1 || count > 1000))
        r = fail(err, BERTH_INVALID, "pool", "pool: 1 to 1000 namespaces can be kept ready, not %u", count);
    if (r == 0)
        r = local_need("pool", err);
    return r < 0 ? r : pool_helper(c, count, ret_fd, err);
}

/* ---- publishing */

struct publish {
    const char *const *add, *const *remove;
};

/** A port as the spec has it, from its short form. */
static int parse_port(const char *text, struct spec_port *ret, struct berth_error *err)
{
    autofree char *document = NULL;
    autoclean(cleanup_spec) struct spec *spec = NULL;
    json_t *json = json_pack("{s:[s]}", "ports", text);
    document = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!document)
        return fail(err, BERTH_INVALID, "ports", "a port is not UTF-8");
    int r = spec_parse(document, strlen(document), &spec, err);
    if (r < 0)
        return r;
    *ret = spec->ports[0];
    ret->host_address = NULL;
    return 0;
}

static bool same_port(const json_t *entry, const struct spec_port *p, const char *text)
{
    struct spec_port have = {0};
    const char *protocol = json_string_value(json_object_get(entry, "protocol"));
    const char *address = json_string_value(json_object_get(entry, "host_address"));
    have.container = (uint16_t)json_integer_value(json_object_get(entry, "container"));
    have.host = (uint16_t)json_integer_value(json_object_get(entry, "host"));
    if (have.container != p->container || strcmp(protocol ? protocol : "tcp", p->protocol) ||
        (p->host && have.host != p->host))
        return false;
    return !address || !strchr(text, '.') || starts_with(text, address);
}

static int take_back(json_t *ports, const char *text, struct berth_error *err)
{
    struct spec_port p;
    bool found = false;
    int r = parse_port(text, &p, err);
    for (size_t i = json_array_size(ports); r == 0 && i-- > 0;)
        if (same_port(json_array_get(ports, i), &p, text)) {
            json_array_remove(ports, i);
            found = true;
        }
    return r < 0 || found ? r : fail(err, BERTH_NOT_FOUND, text, "port %s is not published", text);
}

static int publish_edit(struct local *c, json_t *spec, void *data, struct berth_error *err)
{
    const struct publish *d = data;
    json_t *ports = json_object_get(spec, "ports");
    int r = 0;
    if (!ports && json_object_set_new(spec, "ports", ports = json_array()) < 0)
        return fail_memory(err);
    for (size_t i = 0; r == 0 && d->remove && d->remove[i]; i++)
        r = take_back(ports, d->remove[i], err);
    for (size_t i = 0; r == 0 && d->add && d->add[i]; i++) {
        struct spec_port p;
        r = parse_port(d->add[i], &p, err);
        if (r == 0 && json_array_append_new(ports, json_string(d->add[i])) < 0)
            r = fail_memory(err);
    }
    if (r == 0 && json_array_size(ports) == 0)
        json_object_del(spec, "ports");
    return r;
}

int berth_publish(struct berth_runtime *runtime, const struct berth_handle *handle, const char *const *add,
                  const char *const *remove, struct berth_error *err)
{
    struct publish d = {add, remove};
    return change(runtime, handle, "publish", publish_edit, &d, "publish", "", err);
}
