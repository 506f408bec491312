/* SPDX-License-Identifier: Apache-2.0 */
/*
 * resolve: the port and the address that lead to it; "none" is an answer, not an error.
 */
#include "contract.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVES                                                                                     \
    SHELL("trap 'exit 0' TERM; echo ready; while :; do echo hello | nc -l -p 8080; done & wait")

static const struct berth_port port_80 = {80, "tcp"}, port_8080 = {8080, ""};

static int host_port(struct contract *c, const struct berth_handle *h,
                     const struct berth_port *port, struct berth_host_port *ret)
{
    return ok(berth_resolve_host_port(c->runtime, h, port, ret, ERR));
}

static int address(struct contract *c, const struct berth_handle *h, char ret[BERTH_ADDRESS_TEXT])
{
    return ok(berth_resolve_container_address(c->runtime, h, &port_8080, NULL, ret, ERR));
}

static void none_when_it_does_not_run(struct contract *c)
{
    struct berth_host_port port = {.port = 7};
    char text[BERTH_ADDRESS_TEXT] = "untouched";
    struct berth_handle h = create(c, "one", WAITS, NULL);
    equal(host_port(c, &h, &port_80, &port), 0);
    equal(address(c, &h, text), 0);
    equal(port.port, 7);
    equal_text(text, "untouched");
}

static void none_for_a_port_that_is_not_published(struct contract *c)
{
    struct berth_host_port port;
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    if (strcmp(c->network, "host") == 0)
        end_skipped("on the host network every port is published");
    equal(host_port(c, &h, &port_80, &port), 0);
}

static void port_0_is_refused(struct contract *c)
{
    struct berth_host_port port;
    char text[BERTH_ADDRESS_TEXT];
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_port zero = {0, "tcp"}, odd = {80, "icmp"};
    fails_with(BERTH_INVALID, berth_resolve_host_port(c->runtime, &h, &zero, &port, ERR));
    fails_with(BERTH_INVALID, berth_resolve_host_port(c->runtime, &h, &odd, &port, ERR));
    fails_with(BERTH_INVALID,
               berth_resolve_container_address(c->runtime, &h, &zero, NULL, text, ERR));
}

static void an_unknown_network_is_not_found(struct contract *c)
{
    char text[BERTH_ADDRESS_TEXT];
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    fails_with(BERTH_NOT_FOUND, berth_resolve_container_address(c->runtime, &h, &port_80,
                                                                "no-such-network", text, ERR));
    names("no-such-network");
}

static void on_the_host_network_the_port_is_its_own(struct contract *c)
{
    struct berth_host_port port = {0};
    struct berth_handle h = run_ready(c, "one", WAITS, "network", "'host'", NULL);
    equal(host_port(c, &h, &port_80, &port), 1);
    equal(port.port, 80);
    check(port.address[0], "no address");
    ok(berth_stop(c->runtime, &h, 0, ERR));
    equal(host_port(c, &h, &port_80, &port), 0);
}

static void on_the_network_none_there_is_no_address(struct contract *c)
{
    char text[BERTH_ADDRESS_TEXT];
    struct berth_handle h = run_ready(c, "one", WAITS, "network", "'none'", NULL);
    equal(address(c, &h, text), 0);
}

/** Connect, read what comes; free. NULL: no answer. */
static char *ask(const char *ip, int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, ip, &to.sin_addr);
    for (int i = 0; i < 100; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
            char *text = read_all(fd, NULL);
            close(fd);
            return text;
        }
        close(fd);
        pause_msec(20);
    }
    return NULL;
}

static void on_the_host_network_the_port_reaches_it(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", SHELL("echo ready; while :; do echo hello | nc -l -p 18473; done"),
                  "network", "'host'", NULL);
    struct berth_port own = {18473, "tcp"};
    struct berth_host_port port;
    equal(host_port(c, &h, &own, &port), 1);
    char *text = ask("127.0.0.1", port.port);
    equal_text(text, "hello\n");
    free(text);
}

static void network_a_host_port_reaches_the_program(struct contract *c)
{
    struct berth_host_port port = {0};
    struct berth_handle h =
        run_ready(c, "one", SERVES, "network", "'bridge'", "ports", "['8080']", NULL);
    equal(host_port(c, &h, &port_8080, &port), 1);
    char *text = ask(port.address, port.port);
    equal_text(text, "hello\n");
    free(text);
}

static bool port_is_free(int number)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool free = bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0;
    close(fd);
    return free;
}

static void
network_a_published_port_is_taken_while_it_runs_and_free_after_remove(struct contract *c)
{
    struct berth_host_port port = {0};
    struct berth_handle h =
        run_ready(c, "one", SERVES, "network", "'bridge'", "ports", "['8080']", NULL);
    equal(host_port(c, &h, &port_8080, &port), 1);
    check(!port_is_free(port.port), "another program could take the port");
    struct berth_remove_options force = {.size = sizeof(force), .force = true};
    ok(berth_remove(c->runtime, &h, &force, ERR));
    check(port_is_free(port.port), "the port is still taken");
}

static void network_the_container_address_reaches_the_program(struct contract *c)
{
    char text[BERTH_ADDRESS_TEXT];
    struct berth_handle h = run_ready(c, "one", SERVES, "network", "'bridge'", NULL);
    equal(address(c, &h, text), 1);
    char *colon = strrchr(text, ':');
    check(colon, "the address is %s", text);
    *colon = '\0';
    char *answer = ask(text, atoi(colon + 1));
    equal_text(answer, "hello\n");
    free(answer);
}

static void network_the_address_is_the_same_after_a_restart(struct contract *c)
{
    char first[BERTH_ADDRESS_TEXT], second[BERTH_ADDRESS_TEXT];
    struct berth_handle h = run_ready(c, "one", SERVES, "network", "'bridge'", NULL);
    equal(address(c, &h, first), 1);
    ok(berth_stop(c->runtime, &h, 0, ERR));
    ok(berth_start(c->runtime, &h, ERR));
    equal(address(c, &h, second), 1);
    equal_text(second, first);
}

static void network_a_hundred_have_addresses_of_their_own(struct contract *c)
{
    static char seen[100][BERTH_ADDRESS_TEXT];
    for (int i = 0; i < 100; i++) {
        struct berth_handle h = run(c, NULL, SHELL("sleep 1000"), "network", "'bridge'", NULL);
        equal(address(c, &h, seen[i]), 1);
        for (int j = 0; j < i; j++)
            check(strcmp(seen[i], seen[j]) != 0, "two have %s", seen[i]);
    }
}

static void network_a_free_port_is_given_once_and_stays_over_a_restart(struct contract *c)
{
    struct berth_host_port a = {0}, b = {0}, again = {0};
    struct berth_handle one = run_ready(c, "one", SERVES, "network", "'bridge'", "ports", "['8080']", NULL);
    struct berth_handle two = run_ready(c, "two", SERVES, "network", "'bridge'", "ports", "['8080']", NULL);
    equal(host_port(c, &one, &port_8080, &a), 1);
    equal(host_port(c, &two, &port_8080, &b), 1);
    check(a.port != b.port, "both have %u", a.port);
    ok(berth_stop(c->runtime, &one, 0, ERR));
    equal(host_port(c, &one, &port_8080, &again), 0);
    ok(berth_start(c->runtime, &one, ERR));
    equal(host_port(c, &one, &port_8080, &again), 1);
    equal(again.port, a.port);
}

static void network_a_taken_port_fails_in_start_and_names_its_holder(struct contract *c)
{
    struct berth_host_port port = {0};
    struct berth_handle one = run_ready(c, "one", SERVES, "network", "'bridge'", "ports", "['8080']", NULL);
    equal(host_port(c, &one, &port_8080, &port), 1);
    char *ports = print_text("['%u:80']", port.port);
    struct berth_handle two = create(c, "two", WAITS, "network", "'bridge'", "ports", ports, NULL);
    fails_with(BERTH_EXISTS, berth_start(c->runtime, &two, ERR));
    names("one");
    free(ports);
    struct berth_remove_options force = {.size = sizeof(force), .force = true};
    ok(berth_remove(c->runtime, &one, &force, ERR));
    ok(berth_start(c->runtime, &two, ERR));
}

static void network_protocols_are_told_apart(struct contract *c)
{
    struct berth_host_port port = {0};
    const struct berth_port udp = {53, "udp"}, tcp = {53, "tcp"};
    struct berth_handle h = run_ready(c, "one", WAITS, "network", "'bridge'", "ports", "['53/udp']", NULL);
    equal(host_port(c, &h, &udp, &port), 1);
    check(port.port, "no port");
    equal(host_port(c, &h, &tcp, &port), 0);
}

static void network_a_fixed_address_is_given_once(struct contract *c)
{
    char text[BERTH_ADDRESS_TEXT];
    struct berth_handle h = run_ready(c, "one", SERVES, "network", "'bridge'", NULL);
    equal(address(c, &h, text), 1);
    text[strcspn(text, ":")] = '\0';
    char *ip = print_text("'%s'", text);
    fails_with(BERTH_EXISTS, create_code(c, "two", WAITS, "network", "'bridge'", "ip", ip, NULL));
    names("one");
    free(ip);
    equal(count_workloads(c), 1);
}

static void network_bad_ports_and_addresses_leave_nothing(struct contract *c)
{
    static const struct { const char *field, *value; } bad[] = {
        {"ports", "['0']"}, {"ports", "['99999:80']"}, {"ports", "['1-3:1-2']"}, {"ports", "['[::1]:80:80']"},
        {"ip", "'10.0'"}, {"ip", "'203.0.113.5'"}, {"mac", "'nonsense'"}, {"network", "'no-such-network'"}};
    run_ready(c, "there", SERVES, "network", "'bridge'", NULL); /* the network is there and in use */
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int r = create_code(c, "x", WAITS, "network", "'bridge'", bad[i].field, bad[i].value, NULL);
        check(r < 0, "%s: %s was taken", bad[i].field, bad[i].value);
    }
    equal(count_workloads(c), 1);
}

static const struct contract_case resolve_cases[] = {
    CASE(none_when_it_does_not_run),
    CASE(none_for_a_port_that_is_not_published),
    CASE(port_0_is_refused),
    CASE(an_unknown_network_is_not_found),
    CASE(on_the_host_network_the_port_is_its_own),
    CASE(on_the_network_none_there_is_no_address),
    CASE_NEEDS(on_the_host_network_the_port_reaches_it, NEEDS_PROGRAM),
    CASE_NEEDS(network_a_host_port_reaches_the_program, NEEDS_PROGRAM),
    CASE_NEEDS(network_a_published_port_is_taken_while_it_runs_and_free_after_remove,
               NEEDS_PROGRAM),
    CASE_NEEDS(network_the_container_address_reaches_the_program, NEEDS_PROGRAM),
    CASE_NEEDS(network_the_address_is_the_same_after_a_restart, NEEDS_PROGRAM),
    CASE_NEEDS(network_a_free_port_is_given_once_and_stays_over_a_restart, NEEDS_PROGRAM),
    CASE_NEEDS(network_a_taken_port_fails_in_start_and_names_its_holder, NEEDS_PROGRAM),
    CASE(network_protocols_are_told_apart),
    CASE_NEEDS(network_a_fixed_address_is_given_once, NEEDS_PROGRAM),
    CASE_NEEDS(network_bad_ports_and_addresses_leave_nothing, NEEDS_PROGRAM),
    CASE_SLOW(network_a_hundred_have_addresses_of_their_own, NEEDS_PROGRAM, 120),
};
GROUP(resolve);
