/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a question to its answer, or to the word that it is not ours to answer.
 */
#ifndef DNS_ANSWER_H
#define DNS_ANSWER_H

#include "dns/table.h"
#include "dns/wire.h"

enum verdict { VERDICT_ANSWER, VERDICT_FORWARD, VERDICT_SILENCE };

/**
 * A question that came in on `network` from `source`. ANSWER: *ret_size bytes in `data`, at most
 * `room` (WIRE_UDP_MAX: and no more than he takes; WIRE_ANSWER_MAX: over TCP). SILENCE: no query, or from outside of the network. `ret_q` and
 * `ret_asker` (NULL: unknown) are for who forwards. `turn` rotates answers; it is counted up.
 */
enum verdict answer_query(const struct table *t, struct network *network, const struct address *source,
                          const uint8_t *packet, size_t size, unsigned *turn, uint8_t *data, size_t room,
                          size_t *ret_size, struct query *ret_q, struct host **ret_asker);

/** An answer without content. */
size_t answer_refuse(const struct query *q, int rcode, uint8_t *data, size_t room);

#endif
