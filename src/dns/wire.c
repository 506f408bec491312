/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS packets: every byte of a query is the asker's, so every length is checked before it is used.
 */
#include "dns/wire.h"
#include "base/base.h"

#include <arpa/inet.h>
#include <string.h>

#define TYPE_OPT 41
#define CLASS_IN 1
#define RECORD_HEAD 10 /* type, class, ttl, length */
#define EXTRAS_MAX 8   /* additional records of a query that are looked at */
#define OPT_SIZE 11

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

/* Without pointers: none can be in the first name of a packet. Bytes it takes, 0 when it is bad. */
static size_t read_name(const uint8_t *p, size_t size, uint8_t ret[WIRE_NAME_MAX])
{
    size_t at = 0;
    for (;;) {
        if (at >= size || p[at] > 63 || at + p[at] + 1u >= WIRE_NAME_MAX + (p[at] == 0))
            return 0;
        size_t label = p[at];
        ret[at++] = (uint8_t)label;
        if (label == 0)
            return at;
        if (label > size - at)
            return 0;
        for (size_t end = at + label; at < end; at++)
            ret[at] = lower(p[at]);
    }
}

/* Step over a name that may end in a pointer. 0: bad. */
static size_t skip_name(const uint8_t *p, size_t size)
{
    for (size_t at = 0; at < size; at += p[at] + 1u) {
        if (p[at] == 0)
            return at + 1;
        if (p[at] >= 0xc0)
            return at + 2 <= size ? at + 2 : 0;
        if (p[at] > 63)
            return 0;
    }
    return 0;
}

/* The records behind the question: only OPT means something to us. */
static int read_extras(struct query *q, size_t at, unsigned n)
{
    const uint8_t *p = q->packet;
    if (n > EXTRAS_MAX)
        return WIRE_FORMERR;
    for (; n > 0; n--) {
        size_t name = skip_name(p + at, q->size - at);
        if (name == 0 || q->size - at < name + RECORD_HEAD)
            return WIRE_FORMERR;
        const uint8_t *head = p + at + name;
        size_t length = wire_u16(head + 8);
        at += name + RECORD_HEAD;
        if (length > q->size - at)
            return WIRE_FORMERR;
        at += length;
        if (wire_u16(head) != TYPE_OPT)
            continue;
        if (q->edns || name != 1)
            return WIRE_FORMERR;
        q->edns = true;
        q->limit = MIN(MAX(wire_u16(head + 2), WIRE_UDP_PLAIN), WIRE_UDP_MAX);
        if (head[5] != 0)
            return WIRE_BADVERS;
    }
    return at == q->size ? 0 : WIRE_FORMERR;
}

int wire_parse(const uint8_t *packet, size_t size, struct query *ret)
{
    *ret = (struct query){.packet = packet, .size = size, .question_end = WIRE_HEAD, .limit = WIRE_UDP_PLAIN};
    if (size < WIRE_HEAD || packet[2] & 0x80)
        return -1;
    ret->id = wire_u16(packet);
    if (packet[2] & 0x78) /* not a standard query */
        return WIRE_NOTIMP;
    if (size > WIRE_QUERY_MAX || wire_u16(packet + 4) != 1 || wire_u16(packet + 6) != 0 || wire_u16(packet + 8) != 0)
        return WIRE_FORMERR;
    size_t name = read_name(packet + WIRE_HEAD, size - WIRE_HEAD, ret->name);
    if (name == 0 || size - WIRE_HEAD - name < 4)
        return WIRE_FORMERR;
    ret->name_length = name;
    ret->type = wire_u16(packet + WIRE_HEAD + name);
    ret->class = wire_u16(packet + WIRE_HEAD + name + 2);
    ret->question_end = WIRE_HEAD + name + 4;
    int r = read_extras(ret, ret->question_end, wire_u16(packet + 10));
    if (r != 0)
        return r;
    return ret->class != CLASS_IN || ret->type == WIRE_AXFR || ret->type == WIRE_IXFR ? WIRE_REFUSED : 0;
}

/* ---- names ------------------------------------------------------------------------------------
 */

size_t wire_name(const char *text, uint8_t ret[WIRE_NAME_MAX])
{
    size_t at = 0;
    while (*text) {
        size_t label = strcspn(text, ".");
        if (label == 0 || label > 63 || at + label + 2 > WIRE_NAME_MAX)
            return 0;
        ret[at++] = (uint8_t)label;
        for (size_t i = 0; i < label; i++)
            ret[at++] = lower((uint8_t)text[i]);
        text += label + (text[label] == '.');
    }
    ret[at++] = 0;
    return at > 1 ? at : 0;
}

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool reverse_v4(const uint8_t *name, size_t length, uint8_t ret[16])
{
    size_t at = 0;
    for (int i = 3; i >= 0; i--) {
        unsigned label = name[at], value = 0;
        if (label < 1 || label > 3 || (label > 1 && name[at + 1] == '0'))
            return false;
        for (unsigned d = 1; d <= label; d++) {
            if (name[at + d] < '0' || name[at + d] > '9')
                return false;
            value = value * 10 + (name[at + d] - '0');
        }
        if (value > 255)
            return false;
        ret[i] = (uint8_t)value;
        at += label + 1;
    }
    return at == length;
}

static bool reverse_v6(const uint8_t *name, size_t length, uint8_t ret[16])
{
    if (length != 64)
        return false;
    for (size_t i = 0; i < 32; i++) {
        int digit = hex_digit(name[2 * i + 1]);
        if (name[2 * i] != 1 || digit < 0)
            return false;
        uint8_t *byte = &ret[15 - i / 2];
        *byte = i % 2 ? (uint8_t)(*byte | digit << 4) : (uint8_t)digit;
    }
    return true;
}

int wire_reverse(const uint8_t *name, size_t length, uint8_t ret_address[16])
{
    static const struct {
        const char *end;
        size_t size;
        int family;
        bool (*read)(const uint8_t *, size_t, uint8_t *);
    } zones[] = {{"\7in-addr\4arpa", 14, 4, reverse_v4}, {"\3ip6\4arpa", 10, 6, reverse_v6}};
    for (size_t i = 0; i < ARRAY_SIZE(zones); i++) {
        size_t size = zones[i].size;
        if (length > size && memcmp(name + length - size, zones[i].end, size) == 0 &&
            zones[i].read(name, length - size, ret_address))
            return zones[i].family;
    }
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------------
 */

void answer_begin(struct answer *a, const struct query *q, uint8_t *data, size_t room)
{
    *a = (struct answer){.data = data, .room = room - (q->edns ? OPT_SIZE : 0), .edns = q->edns};
    memcpy(data, q->packet, q->question_end);
    data[2] = 0x80 | (data[2] & 0x79); /* a reply; opcode and "recursion desired" are the asker's */
    data[3] = 0x80 | (data[3] & 0x10); /* recursion available; "checking disabled" is the asker's */
    memset(data + 4, 0, WIRE_HEAD - 4);
    data[5] = q->question_end > WIRE_HEAD;
    a->size = q->question_end;
}

/* The record's room behind its head; its name is the question's. NULL: no room left. */
static uint8_t *put_record(struct answer *a, uint16_t type, size_t length)
{
    if (a->cut || a->room - a->size < 2 + RECORD_HEAD + length) {
        a->cut = true;
        return NULL;
    }
    uint8_t *p = a->data + a->size;
    wire_put_u16(p, 0xc000 | WIRE_HEAD);
    wire_put_u16(p + 2, type);
    wire_put_u16(p + 4, CLASS_IN);
    memset(p + 6, 0, 4); /* not to be kept: who comes or goes is seen at once */
    wire_put_u16(p + 10, (uint16_t)length);
    a->size += 2 + RECORD_HEAD + length;
    a->count++;
    return p + 2 + RECORD_HEAD;
}

void answer_address(struct answer *a, uint16_t type, const uint8_t *address)
{
    size_t length = type == WIRE_A ? 4 : 16;
    uint8_t *p = put_record(a, type, length);
    if (p)
        memcpy(p, address, length);
}

void answer_name(struct answer *a, const uint8_t *name, size_t length)
{
    uint8_t *p = put_record(a, WIRE_PTR, length);
    if (p)
        memcpy(p, name, length);
}

size_t answer_end(struct answer *a, int rcode, bool own)
{
    uint8_t *d = a->data;
    d[2] |= (uint8_t)((own ? 4 : 0) | (a->cut ? 2 : 0));
    d[3] |= (uint8_t)(rcode & 15);
    wire_put_u16(d + 6, a->count);
    if (a->edns) {
        uint8_t *p = d + a->size;
        memset(p, 0, OPT_SIZE);
        wire_put_u16(p + 1, TYPE_OPT);
        wire_put_u16(p + 3, WIRE_UDP_EDNS);
        p[5] = (uint8_t)(rcode >> 4);
        d[11] = 1;
        a->size += OPT_SIZE;
    }
    return a->size;
}

/* ---- replies from upstream --------------------------------------------------------------------
 */

int wire_matches(const uint8_t *reply, size_t size, const struct query *q, uint16_t id)
{
    if (size < WIRE_HEAD || wire_u16(reply) != id || !(reply[2] & 0x80) || reply[2] & 0x78)
        return 0;
    if (wire_u16(reply + 4) == 0) /* some refuse without repeating the question */
        return wire_rcode(reply) != WIRE_NOERROR ? -1 : 0;
    if (wire_u16(reply + 4) != 1 || size < q->question_end)
        return 0;
    for (size_t i = 0; i < q->name_length; i++)
        if (lower(reply[WIRE_HEAD + i]) != q->name[i])
            return 0;
    size_t rest = WIRE_HEAD + q->name_length;
    return memcmp(reply + rest, q->packet + rest, q->question_end - rest) == 0;
}

void wire_adopt(uint8_t *reply, const struct query *q)
{
    wire_put_u16(reply, q->id);
    memcpy(reply + WIRE_HEAD, q->packet + WIRE_HEAD, q->question_end - WIRE_HEAD);
}

size_t wire_cut(uint8_t *reply, size_t size, const struct query *q, size_t limit)
{
    if (size <= limit)
        return size;
    reply[2] |= 2;
    memset(reply + 6, 0, 6);
    return q->question_end;
}
