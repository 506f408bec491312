/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of berth-dns, read by ldns: what is asked is built by it, what comes back must be DNS to it.
 */
#include "unit.h"

#include "base/text.h"
#include "dns/answer.h"
#include "dns/resolvers.h"
#include "fault.h"

#include <arpa/inet.h>
#include <ldns/ldns.h>
#include <stdio.h>

#define S(text) ((char[]){text})
#define LIST(...) ((char *[]){__VA_ARGS__, NULL})

static struct table table;
static unsigned turn;

static int say(uint32_t connection, const char *id, const char *name, struct names_network *networks, size_t n)
{
    autofree char *json = NULL;
    autofree char *own_id = strdup(id), *own_name = strdup(name);
    struct names *back autoclean(cleanup_names) = NULL;
    struct names names = {.id = own_id, .name = own_name, .networks = networks, .n_networks = n};
    int r = own_id && own_name ? names_print(&names, &json, NULL) : BERTH_NO_MEMORY;
    if (r == 0)
        r = names_parse(json, strlen(json), &back, NULL);
    return r == 0 ? table_set(&table, connection, back, NULL) : r;
}

/* web and db on "front"; db also on the internal "back" with other and third; db is an alias of other and third there. */
static int make_world(void **state)
{
    struct names_network web[] = {{.network = S("front"), .addresses = LIST(S("10.1.0.2/24"), S("fd01::2/64")), .aliases = LIST(S("www"), S("db"))}};
    struct names_network db[] = {{.network = S("front"), .addresses = LIST(S("10.1.0.3/24"))},
                                 {.network = S("back"), .internal = true, .addresses = LIST(S("10.2.0.3/24"))}};
    struct names_network other[] = {{.network = S("back"), .internal = true, .addresses = LIST(S("10.2.0.4/24")), .aliases = LIST(S("pool"))}};
    struct names_network third[] = {{.network = S("back"), .internal = true, .addresses = LIST(S("10.2.0.5/24")), .aliases = LIST(S("pool"))}};
    turn = 0;
    int r = say(1, "aaaaaaaaaaaaaaaa", "web", web, 1);
    if (r == 0)
        r = say(2, "bbbbbbbbbbbbbbbb", "db", db, 2);
    if (r == 0)
        r = say(3, "cccccccccccccccc", "Other.one", other, 1);
    return r == 0 ? say(4, "dddddddddddddddd", "third", third, 1) : r;
}

static int end_world(void **state)
{
    table_free(&table);
    return 0;
}

/* ---- asking */

struct asked {
    enum verdict verdict;
    uint8_t question[512];
    size_t question_size, size;
    uint8_t data[WIRE_ANSWER_MAX];
    struct host *asker;
    ldns_pkt *packet; /* NULL: no answer */
};

static void asked_free(struct asked *a)
{
    ldns_pkt_free(a->packet);
}
#define autoasked __attribute__((cleanup(asked_free)))

static void ask(struct asked *a, const char *network, const char *from, const char *name, int type, int edns, size_t room)
{
    *a = (struct asked){0};
    ldns_rdf *owner = ldns_dname_new_frm_str(name);
    ldns_pkt *query = ldns_pkt_query_new(owner, (ldns_rr_type)type, LDNS_RR_CLASS_IN, LDNS_RD);
    uint8_t *wire;
    struct address source;
    struct query q;
    if (edns)
        ldns_pkt_set_edns_udp_size(query, (uint16_t)edns);
    ldns_pkt_set_id(query, 0x1234);
    assert_int_equal(ldns_pkt2wire(&wire, query, &a->question_size), LDNS_STATUS_OK);
    assert_true(a->question_size < sizeof(a->question));
    memcpy(a->question, wire, a->question_size);
    /* ldns lowers nothing, but its compression may: the name as it was written */
    free(wire);
    ldns_pkt_free(query);
    assert_int_equal(address_parse(from, &source), 0);
    a->verdict = answer_query(&table, table_network(&table, network, false), &source, a->question, a->question_size, &turn,
                              a->data, room, &a->size, &q, &a->asker);
    if (a->verdict == VERDICT_ANSWER)
        assert_int_equal(ldns_wire2pkt(&a->packet, a->data, a->size), LDNS_STATUS_OK);
}

/* The addresses or names of the answer, in order. */
static void expect(const char *network, const char *from, const char *name, int type, int rcode, const char *values)
{
    autoasked struct asked a;
    autotext struct text t = {0};
    ask(&a, network, from, name, type, 0, WIRE_UDP_MAX);
    if (a.verdict != VERDICT_ANSWER)
        fail_msg("%s: no answer", name);
    ldns_rr_list *answers = ldns_pkt_answer(a.packet);
    for (size_t i = 0; i < ldns_rr_list_rr_count(answers); i++) {
        const ldns_rr *rr = ldns_rr_list_rr(answers, i);
        char *s = ldns_rdf2str(ldns_rr_rdf(rr, 0));
        text_printf(&t, "%s%s", i ? " " : "", s);
        free(s);
        assert_int_equal(ldns_rr_ttl(rr), 0);
    }
    assert_string_equal(t.data ? t.data : "", values);
    assert_int_equal(ldns_pkt_get_rcode(a.packet), rcode);
    assert_true(ldns_pkt_qr(a.packet) && ldns_pkt_ra(a.packet) && ldns_pkt_aa(a.packet) && !ldns_pkt_tc(a.packet));
    assert_int_equal(ldns_pkt_id(a.packet), 0x1234);
}

static void expect_verdict(const char *network, const char *from, const char *name, int type, enum verdict verdict)
{
    autoasked struct asked a;
    ask(&a, network, from, name, type, 0, WIRE_UDP_MAX);
    assert_int_equal(a.verdict, verdict);
}

/* ---- cases */

static void names_and_aliases_of_a_network(void **state)
{
    expect("front", "10.1.0.3", "web", 1, 0, "10.1.0.2");
    expect("front", "10.1.0.3", "www", 1, 0, "10.1.0.2");
    expect("front", "10.1.0.3", "aaaaaaaaaaaa", 1, 0, "10.1.0.2");
    expect("front", "10.1.0.3", "web", 28, 0, "fd01::2");
    expect("front", "10.1.0.3", "web", 255, 0, "10.1.0.2 fd01::2");
    expect("back", "10.2.0.4", "other.ONE", 1, 0, "10.2.0.4");
}

static void a_name_beats_an_equal_alias(void **state)
{
    expect("front", "10.1.0.2", "db", 1, 0, "10.1.0.3");
}

static void a_name_without_such_an_address_exists(void **state)
{
    expect("front", "10.1.0.2", "db", 28, 0, "");
    expect("front", "10.1.0.2", "db", 16, 0, "");
}

static void an_asker_sees_all_his_networks_and_no_other(void **state)
{
    expect("front", "10.1.0.3", "third", 1, 0, "10.2.0.5"); /* db is on both */
    expect_verdict("front", "10.1.0.2", "third", 1, VERDICT_FORWARD);
    expect_verdict("front", "10.1.0.77", "third", 1, VERDICT_FORWARD); /* unknown, but of the network */
    expect("front", "10.1.0.77", "web", 1, 0, "10.1.0.2");
    expect_verdict("front", "10.2.0.4", "web", 1, VERDICT_SILENCE);
    expect_verdict("front", "192.0.2.1", "web", 1, VERDICT_SILENCE);
}

static void inside_only_nothing_is_forwarded(void **state)
{
    expect("back", "10.2.0.4", "example.com", 1, LDNS_RCODE_NXDOMAIN, "");
    expect("back", "10.2.0.9", "example.com", 1, LDNS_RCODE_NXDOMAIN, "");
    expect_verdict("back", "10.2.0.3", "example.com", 1, VERDICT_FORWARD); /* db has another way out */
}

static void an_alias_of_several_takes_turns(void **state)
{
    expect("back", "10.2.0.3", "pool", 1, 0, "10.2.0.5 10.2.0.4");
    expect("back", "10.2.0.3", "pool", 1, 0, "10.2.0.4 10.2.0.5");
    expect("back", "10.2.0.3", "pool", 1, 0, "10.2.0.5 10.2.0.4");
}

static void addresses_have_names(void **state)
{
    expect("front", "10.1.0.3", "2.0.1.10.in-addr.arpa", 12, 0, "web.");
    expect("front", "10.1.0.3", "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.d.f.ip6.arpa", 12, 0, "web.");
    expect("front", "10.1.0.2", "200.0.1.10.in-addr.arpa", 12, LDNS_RCODE_NXDOMAIN, "");
    expect("front", "10.1.0.3", "5.0.2.10.in-addr.arpa", 12, 0, "third.");
    expect_verdict("front", "10.1.0.2", "5.0.2.10.in-addr.arpa", 12, VERDICT_FORWARD);
    expect_verdict("front", "10.1.0.2", "2.0.1.10.in-addr.arpa.example", 12, VERDICT_FORWARD);
}

static void who_leaves_is_gone_at_once(void **state)
{
    table_remove(&table, 1);
    expect_verdict("front", "10.1.0.3", "web", 1, VERDICT_FORWARD);
    expect("front", "10.1.0.3", "2.0.1.10.in-addr.arpa", 12, LDNS_RCODE_NXDOMAIN, "");
    struct names_network again[] = {{.network = S("front"), .addresses = LIST(S("10.1.0.9/24"))}};
    assert_int_equal(say(1, "aaaaaaaaaaaaaaaa", "web", again, 1), 0);
    expect("front", "10.1.0.3", "web", 1, 0, "10.1.0.9");
    expect_verdict("front", "10.1.0.3", "www", 1, VERDICT_FORWARD);
}

/* 100 holders of one alias: 1,600 bytes of addresses. */
static void what_does_not_fit_is_cut_and_said(void **state)
{
    for (unsigned i = 0; i < 100; i++) {
        autofree char *id = format_text("%016u", i), *address = format_text("10.1.0.%u/24", 100 + i);
        struct names_network n[] = {{.network = S("front"), .addresses = LIST(address), .aliases = LIST(S("many"))}};
        assert_int_equal(say(100 + i, id, id, n, 1), 0);
    }
    const struct { int edns; size_t room; size_t fewest, most; bool cut; } cases[] = {
        {0, WIRE_UDP_MAX, 29, 30, true}, {1232, WIRE_UDP_MAX, 74, 75, true}, {4096, WIRE_UDP_MAX, 100, 100, false},
        {0, WIRE_ANSWER_MAX, 100, 100, false},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        autoasked struct asked a;
        ask(&a, "front", "10.1.0.2", "many", 1, cases[i].edns, cases[i].room);
        size_t n = ldns_pkt_ancount(a.packet);
        assert_in_range(n, cases[i].fewest, cases[i].most);
        assert_int_equal(ldns_pkt_tc(a.packet), cases[i].cut);
        assert_true(cases[i].room > WIRE_UDP_MAX || a.size <= (size_t)MAX(cases[i].edns, WIRE_UDP_PLAIN));
        assert_int_equal(ldns_pkt_edns(a.packet), cases[i].edns != 0);
    }
}

static int raw(const void *packet, size_t size, uint8_t answer[WIRE_UDP_PLAIN])
{
    struct address from;
    struct query q;
    struct host *asker;
    size_t n;
    assert_int_equal(address_parse("10.1.0.2", &from), 0);
    enum verdict v = answer_query(&table, table_network(&table, "front", false), &from, packet, size, &turn, answer,
                                  WIRE_UDP_PLAIN, &n, &q, &asker);
    return v == VERDICT_ANSWER ? wire_rcode(answer) : -(int)v;
}

#define HEAD "\x12\x34\x01\0\0\1\0\0\0\0\0\0"
#define RAW(text) raw(text, sizeof(text) - 1, answer)

static void the_spelling_of_a_name_comes_back(void **state)
{
    uint8_t answer[WIRE_UDP_PLAIN];
    assert_int_equal(RAW(HEAD "\3wEb\0\0\1\0\1"), 0);
    assert_memory_equal(answer + WIRE_HEAD, "\3wEb\0\0\1\0\1", 9);
}

static void bad_packets(void **state)
{
    uint8_t answer[WIRE_UDP_PLAIN];
    assert_int_equal(RAW("\x12\x34\x01"), -VERDICT_SILENCE);
    assert_int_equal(RAW("\x12\x34\x81\0\0\1\0\0\0\0\0\0\3web\0\0\1\0\1"), -VERDICT_SILENCE); /* a reply */
    assert_int_equal(RAW("\x12\x34\x01\0\0\0\0\0\0\0\0\0"), WIRE_FORMERR);
    assert_int_equal(RAW("\x12\x34\x01\0\0\2\0\0\0\0\0\0\3web\0\0\1\0\1\3web\0\0\1\0\1"), WIRE_FORMERR);
    assert_int_equal(RAW(HEAD "\3web\0\0\1\0"), WIRE_FORMERR);
    assert_int_equal(RAW(HEAD "\xc0\x0c\0\1\0\1"), WIRE_FORMERR);
    assert_int_equal(RAW(HEAD "\3web\0\0\1\0\1more"), WIRE_FORMERR);
    assert_int_equal(RAW("\x12\x34\x28\0\0\1\0\0\0\0\0\0\3web\0\0\6\0\1"), WIRE_NOTIMP); /* update */
    assert_int_equal(RAW(HEAD "\3web\0\0\xfc\0\1"), WIRE_REFUSED);                       /* transfer */
    assert_int_equal(RAW(HEAD "\3web\0\0\1\0\3"), WIRE_REFUSED);                         /* chaos */
    assert_int_equal(RAW("\x12\x34\x01\0\0\1\0\0\0\0\0\1\3web\0\0\1\0\1\0\0\x29\x10\0\0\1\0\0\0\0"), 0);
    assert_int_equal(answer[3] & 15, 0); /* version 1 of EDNS: the upper bits are in the record */
    assert_int_equal(answer[WIRE_HEAD + 9 + 5], 1);
}

static void a_reply_is_taken_for_the_question_alone(void **state)
{
    static const uint8_t question[] = HEAD "\3wEb\0\0\1\0\1";
    struct query q;
    uint8_t reply[sizeof(question) - 1];
    assert_int_equal(wire_parse(question, sizeof(reply), &q), 0);
    memcpy(reply, question, sizeof(reply));
    assert_int_equal(wire_matches(reply, sizeof(reply), &q, 0x1234), 0); /* a question */
    reply[2] |= 0x80;
    assert_int_equal(wire_matches(reply, sizeof(reply), &q, 0x1234), 1);
    assert_int_equal(wire_matches(reply, sizeof(reply), &q, 0x1235), 0);
    assert_int_equal(wire_matches(reply, sizeof(reply) - 1, &q, 0x1234), 0);
    reply[WIRE_HEAD + 2] = 'e'; /* another spelling is the same name */
    assert_int_equal(wire_matches(reply, sizeof(reply), &q, 0x1234), 1);
    wire_adopt(reply, &q);
    assert_int_equal(reply[WIRE_HEAD + 2], 'E');
    reply[WIRE_HEAD + 1] = 'x';
    assert_int_equal(wire_matches(reply, sizeof(reply), &q, 0x1234), 0);
}

static void resolvers_of_a_file(void **state)
{
    struct resolvers r = {.watch_fd = -1};
    bool stub = false;
    resolvers_parse("# nameserver 192.0.2.9\nnameserver 192.0.2.1 # one\n\tnameserver\t2001:db8::1\nnameserver x\n"
                    "nameserver 127.0.0.53\nnameservers 192.0.2.2\nnameserver fe80::1%1", &r, &stub);
    assert_int_equal(r.n, 3);
    assert_true(stub);
    assert_int_equal(((struct sockaddr_in *)&r.list[0])->sin_addr.s_addr, inet_addr("192.0.2.1"));
    assert_int_equal(r.list[1].sin6_family, AF_INET6);
    assert_int_equal(r.list[2].sin6_scope_id, 1);
}

static int fill(void *data)
{
    int r = make_world(NULL);
    table_free(&table);
    return r == BERTH_NO_MEMORY ? -1 : r;
}

static void memory_that_runs_out(void **state)
{
    if (!FAULT_AVAILABLE)
        skip();
    assert_true(fault_loop(fill, NULL) > 20);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, make_world, end_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(names_and_aliases_of_a_network), CASE(a_name_beats_an_equal_alias), CASE(a_name_without_such_an_address_exists),
        CASE(an_asker_sees_all_his_networks_and_no_other), CASE(inside_only_nothing_is_forwarded),
        CASE(an_alias_of_several_takes_turns), CASE(addresses_have_names), CASE(who_leaves_is_gone_at_once),
        CASE(what_does_not_fit_is_cut_and_said), CASE(the_spelling_of_a_name_comes_back), CASE(bad_packets),
        CASE(a_reply_is_taken_for_the_question_alone), CASE(resolvers_of_a_file), cmocka_unit_test(memory_that_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
