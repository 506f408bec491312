/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of names: filled from records, in the worker.
 */
#include "dns/table.h"
#include "base/base.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 64
#define SHORT_ID 12
#define ADDRESS_KEY 0x80 /* begins the key of an address; names begin with at most 63 */

/* ---- the hash table ---------------------------------------------------------------------------
 */

static uint32_t hash_of(const struct network *n, const uint8_t *key, size_t length)
{
    uint32_t hash = 0x811c9dc5u ^ (uint32_t)((uintptr_t)n >> 4);
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ key[i]) * 0x01000193u;
    return hash ^ hash >> 15;
}

static int grow(struct table *t)
{
    size_t n = MAX(t->n_buckets * 2, (size_t)BUCKETS_MIN);
    struct entry **buckets = calloc(n, sizeof(struct entry *));
    if (!buckets)
        return -ENOMEM;
    for (size_t i = 0; i < t->n_buckets; i++) {
        for (struct entry *e = t->buckets[i], *next; e; e = next) {
            next = e->next;
            e->next = buckets[e->hash & (n - 1)];
            buckets[e->hash & (n - 1)] = e;
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->n_buckets = n;
    return 0;
}

static int add(struct table *t, struct member *m, int kind, const uint8_t *key, size_t length)
{
    if (t->n_entries >= t->n_buckets && grow(t) < 0)
        return -ENOMEM;
    struct entry *e = malloc(sizeof(*e) + length);
    if (!e)
        return -ENOMEM;
    *e = (struct entry){.network = m->network,
                        .member = m,
                        .hash = hash_of(m->network, key, length),
                        .kind = (uint8_t)kind,
                        .key_length = (uint8_t)length};
    memcpy(e->key, key, length);
    struct entry **bucket = &t->buckets[e->hash & (t->n_buckets - 1)];
    e->next = *bucket;
    *bucket = e;
    e->sibling = m->host->entries;
    m->host->entries = e;
    t->n_entries++;
    return 0;
}

static bool has_key(const struct entry *e, uint32_t hash, const struct network *n, const uint8_t *key, size_t length)
{
    return e->hash == hash && e->network == n && e->key_length == length && memcmp(e->key, key, length) == 0;
}

static const struct entry *seek(const struct entry *e, uint32_t hash, const struct network *n, const uint8_t *key,
                                size_t length)
{
    while (e && !has_key(e, hash, n, key, length))
        e = e->next;
    return e;
}

const struct entry *table_find(const struct table *t, const struct network *n, const uint8_t *key, size_t length)
{
    uint32_t hash = hash_of(n, key, length);
    return t->n_buckets ? seek(t->buckets[hash & (t->n_buckets - 1)], hash, n, key, length) : NULL;
}

const struct entry *table_next(const struct entry *e)
{
    return seek(e->next, e->hash, e->network, e->key, e->key_length);
}

static void unlink_entry(struct table *t, struct entry *e)
{
    struct entry **at = &t->buckets[e->hash & (t->n_buckets - 1)];
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    t->n_entries--;
}

/* ---- networks ---------------------------------------------------------------------------------
 */

struct network *table_network(struct table *t, const char *name, bool make)
{
    struct network *n = t->networks;
    while (n && strcmp(n->name, name) != 0)
        n = n->next;
    if (!make)
        return n;
    if (!n) {
        n = calloc(1, sizeof(*n));
        char *copy = strdup(name);
        if (!n || !copy) {
            free(n);
            free(copy);
            return NULL;
        }
        n->name = copy;
        n->next = t->networks;
        t->networks = n;
    }
    n->users++;
    return n;
}

void network_release(struct table *t, struct network *n)
{
    if (--n->users > 0)
        return;
    struct network **at = &t->networks;
    while (*at != n)
        at = &(*at)->next;
    *at = n->next;
    free(n->name);
    free(n);
}

/* ---- records ----------------------------------------------------------------------------------
 */

static size_t address_key(const struct address *a, uint8_t ret[17])
{
    size_t size = a->family == AF_INET ? 4 : 16;
    ret[0] = (uint8_t)(ADDRESS_KEY | size);
    memcpy(ret + 1, a->bytes, size);
    return size + 1;
}

struct member *table_member(const struct table *t, const struct network *n, const struct address *a)
{
    uint8_t key[17];
    const struct entry *e = table_find(t, n, key, address_key(a, key));
    return e ? e->member : NULL;
}

bool network_covers(const struct network *n, const struct address *a)
{
    return address_in(&n->subnets[a->family == AF_INET6], a);
}

static int add_text(struct table *t, struct member *m, int kind, const char *text)
{
    uint8_t key[WIRE_NAME_MAX];
    size_t length = wire_name(text, key);
    return length ? add(t, m, kind, key, length) : 0;
}

static int add_addresses(struct table *t, struct member *m, char *const *list)
{
    for (; list && *list && m->n_addresses < NAMES_ADDRESSES_MAX; list++) {
        struct address *a = &m->addresses[m->n_addresses];
        uint8_t key[17];
        if (address_parse_subnet(*list, a) < 0)
            continue; /* names_parse has looked */
        m->n_addresses++;
        m->network->subnets[a->family == AF_INET6] = address_first(a);
        if (add(t, m, ENTRY_ADDRESS, key, address_key(a, key)) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int add_member(struct table *t, struct host *h, const struct names *names, const struct names_network *said)
{
    char short_id[SHORT_ID + 1] = "";
    struct network *n = table_network(t, said->network, true);
    if (!n)
        return -ENOMEM;
    n->internal = said->internal;
    struct member *m = &h->members[h->n_members++];
    *m = (struct member){.host = h, .network = n};
    memcpy(short_id, names->id, strnlen(names->id, SHORT_ID));
    int r = add_addresses(t, m, said->addresses);
    if (r == 0)
        r = add_text(t, m, ENTRY_NAME, names->name);
    if (r == 0)
        r = add_text(t, m, ENTRY_NAME, short_id);
    for (char *const *alias = said->aliases; r == 0 && alias && *alias; alias++)
        r = add_text(t, m, ENTRY_ALIAS, *alias);
    return r;
}

bool upstream_parse(const char *text, struct sockaddr_in6 *ret)
{
    struct address a;
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(53)};
    *ret = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(53)};
    if (address_parse(text, &a) < 0)
        return false;
    if (a.family == AF_INET6) {
        memcpy(&ret->sin6_addr, a.bytes, 16);
    } else {
        memcpy(&v4.sin_addr, a.bytes, 4);
        memcpy(ret, &v4, sizeof(v4));
    }
    return true;
}

static void add_upstreams(struct host *h, char *const *list)
{
    for (; list && *list && h->n_upstreams < NAMES_UPSTREAMS_MAX; list++)
        if (upstream_parse(*list, &h->upstreams[h->n_upstreams]))
            h->n_upstreams++;
}

static void remove_host(struct table *t, struct host *h)
{
    struct host **at = &t->hosts;
    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
    for (struct entry *e = h->entries, *next; e; e = next) {
        next = e->sibling;
        unlink_entry(t, e);
        free(e);
    }
    h->entries = NULL;
    for (size_t i = 0; i < h->n_members; i++)
        network_release(t, h->members[i].network);
    h->n_members = 0;
    h->gone = true;
    h->waiting++;
    host_release(h);
}

void host_release(struct host *h)
{
    if (--h->waiting > 0 || !h->gone)
        return;
    free(h->members);
    free(h);
}

void table_remove(struct table *t, uint32_t connection)
{
    struct host *h = t->hosts;
    while (h && h->connection != connection)
        h = h->next;
    if (h)
        remove_host(t, h);
}

int table_set(struct table *t, uint32_t connection, const struct names *names, struct berth_error *err)
{
    table_remove(t, connection);
    struct host *h = calloc(1, sizeof(*h));
    if (!h)
        return fail_memory(err);
    h->connection = connection;
    h->next = t->hosts;
    t->hosts = h;
    h->name_length = wire_name(names->name, h->name);
    add_upstreams(h, names->upstreams);
    h->members = calloc(MAX(names->n_networks, 1u), sizeof(*h->members));
    int r = h->members ? 0 : -ENOMEM;
    for (size_t i = 0; r == 0 && i < names->n_networks; i++)
        r = add_member(t, h, names, &names->networks[i]);
    if (r == 0)
        return 0;
    remove_host(t, h);
    return fail_memory(err);
}

void table_free(struct table *t)
{
    while (t->hosts)
        remove_host(t, t->hosts);
    free(t->buckets);
    *t = (struct table){0};
}
