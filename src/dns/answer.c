/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Local names, addresses back to names, and what is left for the outside.
 */
#include "dns/answer.h"
#include "base/base.h"

#include <arpa/inet.h>
#include <string.h>

/* What one asker sees: the network he asked on first, then his others. */
struct view {
    const struct table *table;
    struct network *network;
    struct member *asker;
};

/* The i-th network of the view; NULL behind the last. */
static struct network *view_network(const struct view *v, size_t i)
{
    if (i == 0)
        return v->network;
    const struct host *h = v->asker ? v->asker->host : NULL;
    return h && i <= h->n_members ? h->members[i - 1].network : NULL;
}

static bool view_reaches_outside(const struct view *v)
{
    struct network *n;
    for (size_t i = 0; (n = view_network(v, i)); i++)
        if (!n->internal)
            return true;
    return false;
}

/* ---- names ------------------------------------------------------------------------------------
 */

static size_t count(const struct entry *e, int kind)
{
    size_t n = 0;
    for (; e; e = table_next(e))
        n += e->kind == kind;
    return n;
}

static void put_addresses(struct answer *a, const struct member *m, uint16_t type)
{
    for (size_t i = 0; i < m->n_addresses; i++) {
        uint16_t own = m->addresses[i].family == AF_INET ? WIRE_A : WIRE_AAAA;
        if (type == own || type == WIRE_ANY)
            answer_address(a, own, m->addresses[i].bytes);
    }
}

/* From the skip-th on, then round to those before it. */
static void put_members(struct answer *a, const struct entry *first, int kind, size_t skip, uint16_t type)
{
    for (int round = 0; round < 2; round++) {
        size_t i = 0;
        for (const struct entry *e = first; e; e = table_next(e))
            if (e->kind == kind && (i++ >= skip) == (round == 0))
                put_addresses(a, e->member, type);
    }
}

static bool answer_local(const struct view *v, const struct query *q, unsigned *turn, struct answer *a)
{
    struct network *n;
    for (size_t i = 0; (n = view_network(v, i)); i++) {
        const struct entry *first = table_find(v->table, n, q->name, q->name_length);
        if (!first)
            continue;
        int kind = ENTRY_NAME;
        size_t holders = count(first, kind);
        if (holders == 0)
            holders = count(first, kind = ENTRY_ALIAS);
        put_members(a, first, kind, holders > 1 ? (*turn)++ % holders : 0, q->type);
        return true;
    }
    return false;
}

/* ---- addresses --------------------------------------------------------------------------------
 */

enum reverse { REVERSE_NONE, REVERSE_FOUND, REVERSE_FREE /* of ours, but nobody has it */ };

static enum reverse answer_reverse(const struct view *v, const struct query *q, struct answer *a)
{
    struct address address = {0};
    struct network *n;
    int family = wire_reverse(q->name, q->name_length, address.bytes);
    enum reverse found = REVERSE_NONE;
    if (family == 0)
        return REVERSE_NONE;
    address.family = family == 4 ? AF_INET : AF_INET6;
    address.prefix = family == 4 ? 32 : 128;
    for (size_t i = 0; (n = view_network(v, i)); i++) {
        const struct member *m = table_member(v->table, n, &address);
        if (m && m->host->name_length) {
            if (q->type == WIRE_PTR || q->type == WIRE_ANY)
                answer_name(a, m->host->name, m->host->name_length);
            return REVERSE_FOUND;
        }
        if (network_covers(n, &address))
            found = REVERSE_FREE;
    }
    return found;
}

/* ---- the whole --------------------------------------------------------------------------------
 */

size_t answer_refuse(const struct query *q, int rcode, uint8_t *data, size_t room)
{
    struct answer a;
    answer_begin(&a, q, data, room);
    return answer_end(&a, rcode, false);
}

enum verdict answer_query(const struct table *t, struct network *network, const struct address *source,
                          const uint8_t *packet, size_t size, unsigned *turn, uint8_t *data, size_t room,
                          size_t *ret_size, struct query *ret_q, struct host **ret_asker)
{
    struct view v = {t, network, table_member(t, network, source)};
    struct answer a;
    *ret_asker = v.asker ? v.asker->host : NULL;
    if (!v.asker && !network_covers(network, source))
        return VERDICT_SILENCE;
    int r = wire_parse(packet, size, ret_q);
    if (r < 0)
        return VERDICT_SILENCE;
    if (room <= WIRE_UDP_MAX)
        room = MIN(room, (size_t)ret_q->limit);
    if (r > 0) {
        *ret_size = answer_refuse(ret_q, r, data, room);
        return VERDICT_ANSWER;
    }
    answer_begin(&a, ret_q, data, room);
    int rcode = WIRE_NOERROR;
    if (!answer_local(&v, ret_q, turn, &a)) {
        enum reverse reverse = answer_reverse(&v, ret_q, &a);
        if (reverse == REVERSE_NONE && view_reaches_outside(&v))
            return VERDICT_FORWARD;
        if (reverse != REVERSE_FOUND)
            rcode = WIRE_NXDOMAIN;
    }
    *ret_size = answer_end(&a, rcode, true);
    return VERDICT_ANSWER;
}
