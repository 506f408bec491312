/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks as stored objects: what is given is given once, to the living, by however many at once.
 */
#include "store_rig.h"

#include "base/file.h"
#include "base/text.h"
#include "linux/net_record.h"
#include "store/network.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* ---- helpers */

static struct address subnet(const char *text)
{
    struct address a = {0};
    assert_int_equal(address_parse_subnet(text, &a), 0);
    return a;
}

static struct address address(const char *text)
{
    struct address a = {0};
    assert_int_equal(address_parse(text, &a), 0);
    return a;
}

static struct network_wish wish(const char *name, const char *pool)
{
    return (struct network_wish){.name = name, .pool = subnet(pool), .length = 24};
}

static void make(struct store *s, char ret_id[BERTH_ID_TEXT])
{
    struct store_draft *draft;
    struct status status = {.version = STATUS_VERSION, .state = BERTH_CREATED, .exit_code = -1};
    assert_int_equal(store_draft_begin(s, NULL, &draft, NULL), 0);
    assert_int_equal(status_write_at(store_draft_fd(draft), &status, false, NULL), 0);
    memcpy(ret_id, store_draft_id(draft), BERTH_ID_TEXT);
    assert_int_equal(store_draft_commit(draft, NULL), 0);
}

static void discard(struct store *s, const char *id)
{
    struct workload *w;
    assert_int_equal(workload_open(s, id, &w, NULL), 0);
    assert_int_equal(workload_lock_change(w, NULL), 0);
    assert_int_equal(workload_discard(w, NULL), 0);
    workload_close(w);
}

static void refused(struct fixture *f, const struct network_wish *w, int code, const char *said)
{
    struct network n;
    struct berth_error err = {0};
    int r = network_create(f->s, w, &n, &err);
    if (r != code || !strstr(err.message, said))
        print_error("%d: %s\n", r, err.message);
    assert_int_equal(r, code);
    assert_non_null(strstr(err.message, said));
}

/* ---- subnets */

static void subnets_are_chosen_around_what_is_taken(void **state)
{
    struct fixture *f = *state;
    const struct address taken[] = {subnet("10.7.1.0/25"), subnet("0.0.0.0/0")};
    struct network a, b;
    struct network_wish w = wish("a", "10.7.0.0/22");
    w.taken = taken;
    w.n_taken = ARRAY_SIZE(taken);
    assert_int_equal(network_create(f->s, &w, &a, NULL), 0);
    w.name = "b";
    assert_int_equal(network_create(f->s, &w, &b, NULL), 0);
    struct address first = subnet("10.7.0.0/24"), third = subnet("10.7.2.0/24"), gateway = address("10.7.2.1");
    assert_true(address_equal(&a.subnet, &first) && address_equal(&b.subnet, &third));
    assert_true(address_equal(&b.gateway, &gateway) && b.gateway.prefix == 24 && b.chosen);
    assert_int_not_equal(a.index, b.index);
    w.name = "c";
    assert_int_equal(network_create(f->s, &w, &b, NULL), 0);
    w.name = "d";
    refused(f, &w, BERTH_NO_SPACE, "10.7.0.0/22");
}

static void what_can_not_be_is_named(void **state)
{
    struct fixture *f = *state;
    const struct address host[] = {subnet("192.168.5.0/24")};
    struct network n;
    struct network_wish w = wish("a", "10.7.0.0/22");
    w.subnet = subnet("10.9.0.0/24");
    assert_int_equal(network_create(f->s, &w, &n, NULL), 0);
    assert_false(n.chosen);
    refused(f, &w, BERTH_EXISTS, "already");
    w.name = "b";
    w.subnet = subnet("10.9.0.128/25");
    refused(f, &w, BERTH_EXISTS, "\"a\"");
    w.subnet = subnet("10.0.0.0/8");
    refused(f, &w, BERTH_EXISTS, "\"a\"");
    w.taken = host;
    w.n_taken = 1;
    w.subnet = subnet("192.168.0.0/16");
    refused(f, &w, BERTH_EXISTS, "192.168.5.0/24");
    w.subnet = subnet("10.10.0.0/31");
    refused(f, &w, BERTH_INVALID, "no room");
    w.subnet = subnet("10.10.0.1/24");
    refused(f, &w, BERTH_INVALID, "10.10.0.0/24?");
    w.subnet = subnet("224.0.0.0/24");
    refused(f, &w, BERTH_INVALID, "reserved");
    w.subnet = subnet("10.10.0.0/24");
    w.gateway = address("10.10.0.255");
    refused(f, &w, BERTH_INVALID, "gateway");
    w.gateway = (struct address){0};
    w.range = subnet("10.11.0.0/25");
    refused(f, &w, BERTH_INVALID, "within");
    w = wish("host", "10.7.0.0/22");
    refused(f, &w, BERTH_INVALID, "host");
    w = wish("../x", "10.7.0.0/22");
    refused(f, &w, BERTH_INVALID, "network");
}

/* ---- addresses */

static void an_address_is_ones_until_he_goes(void **state)
{
    struct fixture *f = *state;
    char one[BERTH_ID_TEXT], two[BERTH_ID_TEXT];
    struct network n;
    struct network_wish w = wish("a", "10.7.0.0/22");
    struct address got, want = address("10.7.0.9"), gateway = address("10.7.0.1"), outside = address("10.8.0.9");
    struct berth_error err = {0};
    char **users = NULL;
    assert_int_equal(network_create(f->s, &w, &n, NULL), 0);
    make(f->s, one);
    make(f->s, two);
    assert_int_equal(network_take_address(f->s, &n, &want, one, &got, NULL), 0);
    assert_int_equal(network_take_address(f->s, &n, &want, one, &got, NULL), 0);
    assert_int_equal(network_take_address(f->s, &n, &want, two, &got, &err), BERTH_EXISTS);
    assert_int_equal(network_take_address(f->s, &n, &gateway, two, &got, &err), BERTH_EXISTS);
    assert_int_equal(network_take_address(f->s, &n, &outside, two, &got, &err), BERTH_INVALID);
    assert_int_equal(network_remove(f->s, "a", &err), BERTH_WRONG_STATE);
    assert_int_equal(network_users(f->s, "a", &users, NULL), 0);
    assert_true(users && !strcmp(users[0], one) && !users[1]);
    strings_free(users);
    discard(f->s, one);
    assert_true(network_idle(f->s, "a"));
    assert_int_equal(network_take_address(f->s, &n, &want, two, &got, NULL), 0);
    assert_int_equal(network_release(f->s, "a", two), 0);
    assert_int_equal(network_remove(f->s, "a", NULL), 0);
    assert_int_equal(network_take_address(f->s, &n, NULL, two, &got, &err), BERTH_NOT_FOUND);
}

#define PROCESSES 8
#define EACH 8 /* 64 for 61 addresses of a /26 */

static void eight_processes_take_all_there_are(void **state)
{
    struct fixture *f = *state;
    struct network n;
    struct network_wish w = wish("a", "10.7.0.0/22");
    uint32_t *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint32_t *full = seen + 256, *ports = seen + 512;
    w.subnet = subnet("10.7.0.0/26");
    assert_int_equal(network_create(f->s, &w, &n, NULL), 0);
    for (int p = 0; p < PROCESSES; p++)
        if (fork() == 0) {
            struct store *s;
            struct address host = {.family = AF_INET, .bytes = {127, 0, 0, 1}};
            if (store_open(f->root, f->run, false, &s, NULL) < 0)
                _exit(1);
            for (int i = 0; i < EACH; i++) {
                char id[BERTH_ID_TEXT];
                struct address got;
                uint16_t port = 0;
                make(s, id);
                int r = network_take_address(s, &n, NULL, id, &got, NULL);
                if (r == 0)
                    __atomic_add_fetch(&seen[got.bytes[3]], 1, __ATOMIC_SEQ_CST);
                else if (r == BERTH_NO_SPACE)
                    __atomic_add_fetch(full, 1, __ATOMIC_SEQ_CST);
                if (port_take_any(s, "udp", &host, id, &port, NULL) == 0 && port_held(s, "udp", port, id))
                    __atomic_add_fetch(ports, 1, __ATOMIC_SEQ_CST);
            }
            _exit(0);
        }
    for (int p = 0, status; p < PROCESSES; p++)
        assert_true(wait(&status) > 0 && status == 0);
    assert_int_equal(seen[0] + seen[1] + seen[63], 0);
    for (int i = 2; i < 63; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(*full, 3);
    assert_int_equal(*ports, PROCESSES * EACH);
    munmap(seen, 4096);
}

/* ---- what a supervisor wrote down */

static void a_record_is_read_as_it_was_written(void **state)
{
    struct fixture *f = *state;
    char bridges[1][NET_LINK_MAX] = {"bb1a2b3c4d-7"}, on[1][NET_LINK_MAX] = {"bb1a2b3c4d-7"};
    const struct net_guest guest = {.link = "bv1a2b3c4dabcde", .mac = {2, 0xbe, 10, 7, 0, 9}, .address = {address("10.7.0.9")}};
    const struct net_publish port = {.host = address("127.0.0.1"), .container = address("10.7.0.9"), .host_port = 8080,
                                     .container_port = 80, .count = 1, .protocol = IPPROTO_UDP};
    const struct net_share share = {.bridges = bridges, .n_bridges = 1, .guests = &guest, .n_guests = 1, .ports = &port,
                                    .n_ports = 1};
    autoclean(cleanup_net_record) struct net_share *read = NULL;
    int run_fd = store_run_fd(f->s);
    assert_int_equal(net_record_read(run_fd, &read), -ENOENT);
    assert_int_equal(net_record_write(run_fd, &share, on), 0);
    assert_int_equal(net_record_read(run_fd, &read), 0);
    assert_true(read->n_bridges == 1 && read->n_guests == 1 && read->n_ports == 1);
    assert_string_equal(read->guests[0].link, guest.link);
    assert_string_equal(net_record_bridge(read, 0), on[0]);
    assert_memory_equal(read->guests[0].mac, guest.mac, 6);
    assert_true(address_equal(&read->guests[0].address[0], &guest.address[0]) && !read->guests[0].address[1].family);
    assert_true(read->ports[0].host_port == 8080 && read->ports[0].protocol == IPPROTO_UDP &&
                address_equal(&read->ports[0].host, &port.host));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(subnets_are_chosen_around_what_is_taken, open_store, close_store),
        cmocka_unit_test_setup_teardown(what_can_not_be_is_named, open_store, close_store),
        cmocka_unit_test_setup_teardown(an_address_is_ones_until_he_goes, open_store, close_store),
        cmocka_unit_test_setup_teardown(eight_processes_take_all_there_are, open_store, close_store),
        cmocka_unit_test_setup_teardown(a_record_is_read_as_it_was_written, open_store, close_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
