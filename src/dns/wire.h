/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS packets (RFC 1035, 6891): a question is read, an answer is written. No memory, no socket.
 *
 * By hand, since it is the hot path and hostile: one question, no pointers in it, and answers that
 * are addresses or one name. doc/adr has the figures; in the tests ldns reads what is written here.
 */
#ifndef DNS_WIRE_H
#define DNS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_HEAD 12
#define WIRE_NAME_MAX 255      /* bytes of a name on the wire, the root's 0 included */
#define WIRE_QUERY_MAX 1500    /* no honest query is longer */
#define WIRE_UDP_PLAIN 512     /* what fits without EDNS */
#define WIRE_UDP_EDNS 1232     /* what we say that we take: no fragments */
#define WIRE_UDP_MAX 4096      /* what is passed on over UDP */
#define WIRE_ANSWER_MAX 65535

enum wire_type { WIRE_A = 1, WIRE_PTR = 12, WIRE_AAAA = 28, WIRE_IXFR = 251, WIRE_AXFR = 252, WIRE_ANY = 255 };
enum wire_rcode { WIRE_NOERROR, WIRE_FORMERR, WIRE_SERVFAIL, WIRE_NXDOMAIN, WIRE_NOTIMP, WIRE_REFUSED, WIRE_BADVERS = 16 };

struct query {
    const uint8_t *packet;
    size_t size, question_end;   /* question_end: WIRE_HEAD when there is none to repeat */
    uint16_t id, type, class;
    uint8_t name[WIRE_NAME_MAX]; /* on the wire, lower case */
    size_t name_length;
    uint16_t limit;              /* bytes that the asker takes over UDP */
    bool edns;
};

/** 0: to be answered; positive: to be refused with that rcode; negative: no answer at all (not a query). */
int wire_parse(const uint8_t *packet, size_t size, struct query *ret);

/** A name as text to the wire, lower case. Its length, or 0 when it can't be a name. */
size_t wire_name(const char *text, uint8_t ret[WIRE_NAME_MAX]);
/** The address that a name in in-addr.arpa or ip6.arpa stands for: 4, 6, or 0 for none. */
int wire_reverse(const uint8_t *name, size_t length, uint8_t ret_address[16]);

/** An answer being written. */
struct answer {
    uint8_t *data;
    size_t size, room; /* room: the limit; what is too much is left out and said (TC) */
    bool edns, cut;
    uint16_t count;
};
/** Head and question; `room` at least WIRE_UDP_PLAIN. */
void answer_begin(struct answer *a, const struct query *q, uint8_t *data, size_t room);
void answer_address(struct answer *a, uint16_t type, const uint8_t *address);
void answer_name(struct answer *a, const uint8_t *name, size_t length); /* PTR */
/** Bytes. `rcode` with WIRE_BADVERS; `own`: we are the authority. */
size_t answer_end(struct answer *a, int rcode, bool own);

/** Whether `reply` answers this query, sent with `id`: 1; 0 it is another's or garbage; -1 it is, but says only that it can't. */
int wire_matches(const uint8_t *reply, size_t size, const struct query *q, uint16_t id);
/** An upstream's reply made the asker's: his id and his spelling of the name. */
void wire_adopt(uint8_t *reply, const struct query *q);
/** Cut to `limit`, if it is longer: head, question and "truncated". The new size. */
size_t wire_cut(uint8_t *reply, size_t size, const struct query *q, size_t limit);
static inline int wire_rcode(const uint8_t *packet) { return packet[3] & 15; }
static inline bool wire_truncated(const uint8_t *packet) { return packet[2] & 2; }
static inline uint16_t wire_u16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline void wire_put_u16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; }

#endif
