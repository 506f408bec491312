/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports of the host: held against others, shown by ss(8), and who has a taken one.
 */
#include "net_rig.h"

#include "linux/net_port.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

static int hold(const char *host, int protocol, int number, int *ret_fd, uint16_t *ret_port, struct berth_error *err)
{
    struct address a = address(host);
    return net_port_hold(&a, (uint8_t)protocol, (uint16_t)number, ret_fd, ret_port, err);
}

static void held_port_is_nobody_elses(void **state)
{
    static const int protocols[] = {IPPROTO_TCP, IPPROTO_UDP};
    for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
        const char *kind = protocols[i] == IPPROTO_TCP ? "tcp" : "udp";
        struct berth_error err = {0};
        int fd = -1, other = -1;
        uint16_t got = 0;
        char text[128];
        assert_int_equal(hold("127.0.0.1", protocols[i], 8080, &fd, &got, &err), 0);
        assert_int_equal(got, 8080);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        (void)snprintf(text, sizeof(text), "ss -anp --%s 'sport = :8080'", kind);
        says(text, "test_linux_port");
        assert_int_equal(hold("0.0.0.0", protocols[i], 8080, &other, &got, &err), BERTH_EXISTS);
        assert_non_null(strstr(err.message, "test_linux_port, pid "));
        (void)snprintf(text, sizeof(text), "0.0.0.0:8080/%s", kind);
        assert_non_null(strstr(err.message, text));
        assert_int_equal(hold("127.0.0.2", protocols[i], 8080, &other, &got, &err), 0);
        close(other);
        assert_string_equal(ask(-1, protocols[i], "127.0.0.1", 8080, 0), "nothing");
        close(fd);
        assert_int_equal(hold("0.0.0.0", protocols[i], 8080, &fd, NULL, &err), 0);
        close(fd);
    }
}

static void any_free_port_is_found(void **state)
{
    struct berth_error err = {0};
    int fds[4], more = -1;
    uint16_t ports[4];
    says("sysctl -q net.ipv4.ip_local_port_range='40000 40003'", "");
    for (int i = 0; i < 4; i++) {
        assert_int_equal(hold("0.0.0.0", IPPROTO_TCP, 0, &fds[i], &ports[i], &err), 0);
        assert_in_range(ports[i], 40000, 40003);
        for (int j = 0; j < i; j++)
            assert_int_not_equal(ports[i], ports[j]);
    }
    assert_int_equal(hold("0.0.0.0", IPPROTO_TCP, 0, &more, NULL, &err), BERTH_EXISTS);
    assert_non_null(strstr(err.message, "no port is free"));
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    says("sysctl -q net.ipv4.ip_local_port_range='32768 60999'", "");
}

static void taken_port_names_its_holder(void **state)
{
    struct berth_error err = {0};
    int fd = -1;
    struct net_holder holder;
    struct address any = address("0.0.0.0"), six = address("::1");
    serve(-1, IPPROTO_TCP, "::", 9090, "dual");
    assert_int_equal(hold("127.0.0.1", IPPROTO_TCP, 9090, &fd, NULL, &err), BERTH_EXISTS);
    assert_non_null(strstr(err.message, "test_linux_port, pid "));
    assert_int_equal(net_port_holder(&six, IPPROTO_TCP, 9090, &holder), 1);
    assert_true(holder.pid > 0);
    assert_int_equal(net_port_holder(&any, IPPROTO_UDP, 9090, &holder), 0);
    assert_int_equal(net_port_holder(&any, IPPROTO_TCP, 9091, &holder), 0);
    assert_int_equal(hold("198.51.100.7", IPPROTO_TCP, 9091, &fd, NULL, &err), BERTH_INVALID);
    assert_non_null(strstr(err.message, "198.51.100.7 is not an address of this host"));
    assert_int_equal(hold("::", IPPROTO_UDP, 9090, &fd, NULL, &err), 0);
    close(fd);
    rig_leave();
}

/* A server that was here a moment ago leaves connections behind that would block its port for a minute. */
static void closed_connections_hold_no_port(void **state)
{
    struct berth_error err = {0};
    int fd = -1, other = -1;
    serve(-1, IPPROTO_TCP, "127.0.0.1", 9092, "brief");
    assert_string_equal(ask(-1, IPPROTO_TCP, "127.0.0.1", 9092, 0), "brief from 127.0.0.1");
    rig_leave();
    says("for i in $(seq 200); do ss -ant 'sport = :9092' | grep TIME-WAIT && break; sleep 0.05; done", "TIME-WAIT");
    assert_int_equal(hold("127.0.0.1", IPPROTO_TCP, 9092, &fd, NULL, &err), 0);
    assert_int_equal(hold("127.0.0.1", IPPROTO_TCP, 9092, &other, NULL, &err), BERTH_EXISTS);
    close(fd);
}

/* lo of the test's own namespace: a client that keeps its end open holds the other half closed. */
static void half_closed_connections_are_seen(void **state)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(8090), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    says("ip link set lo up", "");
    assert_int_equal(bind(listener, (struct sockaddr *)&here, sizeof(here)), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_false(net_namespace_lingers(ns));
    assert_int_equal(connect(client, (struct sockaddr *)&here, sizeof(here)), 0);
    int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    close(server);
    close(listener);
    assert_true(net_namespace_lingers(ns));
    close(client);
    assert_false(net_namespace_lingers(ns)); /* only TIME_WAIT is left */
    assert_true(net_namespace_lingers(-1));
    close(ns);
}

static void lines_of_proc_are_read(void **state)
{
    struct net_socket s;
    struct address loopback = address("127.0.0.1"), one = address("::1");
    assert_true(net_socket_parse("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000", &s));
    assert_true(address_equal(&s.local, &loopback) && s.port == 8080 && s.state == 10 && s.inode == 12345);
    assert_true(net_socket_parse("  12: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 77 2 0000 0\n", &s));
    assert_true(address_equal(&s.local, &one) && s.port == 53 && s.inode == 77);
    static const char *const bad[] = {"", "  sl  local_address rem_address   st tx_queue", "0: 0100007F:1F90", "0: 0100007G:1F90 0 0A 0 0 0 0 0 5",
                                      "0: 0100007F:1F90 0 0A 0 0 0 0 0 x"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(net_socket_parse(bad[i], &s));
}

static int setup(void **state)
{
    return rig_enter();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_port_is_nobody_elses),   cmocka_unit_test(any_free_port_is_found),
        cmocka_unit_test(taken_port_names_its_holder), cmocka_unit_test(closed_connections_hold_no_port),
        cmocka_unit_test(lines_of_proc_are_read),        cmocka_unit_test(half_closed_connections_are_seen),
    };
    if (!rig_possible())
        return 77;
    return cmocka_run_group_tests(tests, setup, NULL);
}
