/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets from a workload to berth-dns, and from an upstream: the first byte says which, the rest is the packet.
 */
#include "fuzz.h"
#include "base/base.h"
#include "dns/answer.h"

#include <arpa/inet.h>

static char *list(const char *word)
{
    return strdup(word);
}

static struct network *world(struct table *t)
{
    char *gateways[] = {NULL}, *address[] = {list("10.0.0.5/24"), NULL}, *aliases[] = {list("db"), list("a.b"), NULL};
    struct names_network network = {.network = list("n"), .gateways = gateways, .addresses = address, .aliases = aliases};
    struct names names = {.id = list("0123456789abcdef"), .name = list("web"), .networks = &network, .n_networks = 1};
    for (uint32_t i = 0; i < 64; i++)
        MUST(table_set(t, i, &names, NULL) == 0);
    free(names.id);
    free(names.name);
    free(network.network);
    free(address[0]);
    free(aliases[0]);
    free(aliases[1]);
    return table_network(t, "n", false);
}

static void check_query(const uint8_t *data, size_t size)
{
    static struct table t;
    static struct network *n;
    static uint8_t answer[WIRE_ANSWER_MAX];
    struct address from = {.family = AF_INET, .prefix = 32, .bytes = {10, 0, 0, 5}};
    struct query q;
    struct host *asker;
    size_t length;
    unsigned turn = 0;
    if (!n)
        n = world(&t);
    for (int tcp = 0; tcp < 2; tcp++) {
        size_t room = tcp ? sizeof(answer) : WIRE_UDP_MAX;
        if (answer_query(&t, n, &from, data, size, &turn, answer, room, &length, &q, &asker) != VERDICT_ANSWER)
            continue;
        MUST(length >= WIRE_HEAD && length <= room && (tcp || length <= q.limit));
        MUST(answer[0] == data[0] && answer[1] == data[1] && answer[2] & 0x80);
        MUST(memcmp(answer + WIRE_HEAD, data + WIRE_HEAD, q.question_end - WIRE_HEAD) == 0);
    }
}

static void check_reply(const uint8_t *data, size_t size)
{
    static const uint8_t asked[] = "\x12\x34\x01\0\0\1\0\0\0\0\0\0\7eXample\3com\0\0\1\0\1";
    struct query q;
    MUST(wire_parse(asked, sizeof(asked) - 1, &q) == 0);
    autofree uint8_t *copy = malloc(size + 1);
    MUST(copy);
    memcpy(copy, data, size);
    if (wire_matches(copy, size, &q, 0x1234) != 1)
        return;
    wire_adopt(copy, &q);
    MUST(wire_cut(copy, size, &q, WIRE_UDP_PLAIN) <= MAX(size, (size_t)WIRE_UDP_PLAIN));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    autofree uint8_t *exact = malloc(size);
    MUST(exact);
    memcpy(exact, data + 1, size - 1);
    (data[0] & 1 ? check_reply : check_query)(exact, size - 1);
    return 0;
}
