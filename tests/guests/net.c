/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A command that uses the network in every way that preview 2 has: each argument is a step, each step prints one line,
 * what came back or the error's name.
 *
 *     lookup NAME            tcp HOST:PORT TEXT       udp HOST:PORT TEXT       get URL       post URL TEXT
 *     listen PORT            udp-listen PORT          answer one peer: "you said TEXT"; before that they print "listening"
 *     bind ADDRESS:PORT
 */
#include "wasi.h"

#include <stdio.h>

IMPORT("wasi:sockets/instance-network", "instance-network") int32_t the_network(void);
IMPORT("wasi:sockets/ip-name-lookup", "resolve-addresses") void resolve(int32_t, const char *, size_t, struct made *);
IMPORT("wasi:sockets/ip-name-lookup", "[method]resolve-address-stream.subscribe") int32_t resolve_subscribe(int32_t);
IMPORT("wasi:sockets/ip-name-lookup", "[method]resolve-address-stream.resolve-next-address") void resolve_next(int32_t, void *);
IMPORT("wasi:sockets/ip-name-lookup", "[resource-drop]resolve-address-stream") void resolve_drop(int32_t);

/* An ip-socket-address, flat: which family, port, then bytes of the one, or flow, groups and scope of the other. */
#define FLAT uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t, uint32_t
#define SPREAD(a) a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11]

IMPORT("wasi:sockets/tcp-create-socket", "create-tcp-socket") void tcp_new(int32_t, struct made *);
IMPORT("wasi:sockets/tcp", "[method]tcp-socket.start-bind") void tcp_bind(int32_t, int32_t, FLAT, struct done *);
IMPORT("wasi:sockets/tcp", "[method]tcp-socket.finish-bind") void tcp_bound(int32_t, struct done *);
IMPORT("wasi:sockets/tcp", "[method]tcp-socket.start-listen") void tcp_listen(int32_t, struct done *);
IMPORT("wasi:sockets/tcp", "[method]tcp-socket.finish-listen") void tcp_listening(int32_t, struct done *);
IMPORT("wasi:sockets/tcp", "[method]tcp-socket.accept") void tcp_accept(int32_t, struct pair *);
IMPORT("wasi:sockets/tcp", "[method]tcp-socket.start-connect") void tcp_connect(int32_t, int32_t, FLAT, struct done *);
IMPORT("wasi:sockets/tcp", "[method]tcp-socket.finish-connect") void tcp_connected(int32_t, struct pair *);
IMPORT("wasi:sockets/tcp", "[method]tcp-socket.shutdown") void tcp_shutdown(int32_t, int32_t, struct done *);
IMPORT("wasi:sockets/tcp", "[method]tcp-socket.subscribe") int32_t tcp_subscribe(int32_t);
IMPORT("wasi:sockets/tcp", "[resource-drop]tcp-socket") void tcp_drop(int32_t);

IMPORT("wasi:sockets/udp-create-socket", "create-udp-socket") void udp_new(int32_t, struct made *);
IMPORT("wasi:sockets/udp", "[method]udp-socket.start-bind") void udp_bind(int32_t, int32_t, FLAT, struct done *);
IMPORT("wasi:sockets/udp", "[method]udp-socket.finish-bind") void udp_bound(int32_t, struct done *);
IMPORT("wasi:sockets/udp", "[method]udp-socket.stream") void udp_stream(int32_t, int32_t, FLAT, struct pair *);
IMPORT("wasi:sockets/udp", "[method]incoming-datagram-stream.receive") void udp_receive(int32_t, uint64_t, struct chunk *);
IMPORT("wasi:sockets/udp", "[method]incoming-datagram-stream.subscribe") int32_t udp_subscribe(int32_t);
IMPORT("wasi:sockets/udp", "[method]outgoing-datagram-stream.check-send") void udp_check(int32_t, void *);
IMPORT("wasi:sockets/udp", "[method]outgoing-datagram-stream.send") void udp_send(int32_t, const void *, size_t, void *);
IMPORT("wasi:sockets/udp", "[resource-drop]incoming-datagram-stream") void udp_in_drop(int32_t);
IMPORT("wasi:sockets/udp", "[resource-drop]outgoing-datagram-stream") void udp_out_drop(int32_t);
IMPORT("wasi:sockets/udp", "[resource-drop]udp-socket") void udp_drop(int32_t);

#define WOULD_BLOCK 8
static const char *const errors[] = {
    "unknown", "access-denied", "not-supported", "invalid-argument", "out-of-memory", "timeout", "concurrency-conflict",
    "not-in-progress", "would-block", "invalid-state", "new-socket-limit", "address-not-bindable", "address-in-use",
    "remote-unreachable", "connection-refused", "connection-reset", "connection-aborted", "datagram-too-large",
    "name-unresolvable", "temporary-resolver-failure", "permanent-resolver-failure",
};

struct ip { uint32_t six; uint16_t parts[8]; };

/* The next address; 0: it is there, 1: there are no more, else -1 - error. */
static int next_address(int32_t stream, struct ip *ret)
{
    union answer a;
    for (;;) {
        resolve_next(stream, &a);
        if (!a.bytes[0] || a.bytes[2] != WOULD_BLOCK)
            break;
        wait_for(resolve_subscribe(stream));
    }
    if (a.bytes[0])
        return -1 - a.bytes[2];
    if (!a.bytes[2])
        return 1;
    ret->six = a.bytes[4];
    for (int i = 0; i < 8; i++)
        ret->parts[i] = ret->six ? (uint16_t)(a.bytes[6 + 2 * i] | a.bytes[7 + 2 * i] << 8) : i < 4 ? a.bytes[6 + i] : 0;
    return 0;
}

static int begin_lookup(const char *name, size_t length, int32_t *ret)
{
    struct made m;
    resolve(the_network(), name, length, &m);
    *ret = m.handle;
    return m.failed ? -1 - m.code : 0;
}

static const char *say(int r)
{
    return errors[-1 - r];
}

static void print_address(const struct ip *a)
{
    for (int i = 0; i < (a->six ? 8 : 4); i++)
        printf(a->six ? "%s%x" : "%s%u", i == 0 ? " " : a->six ? ":" : ".", a->parts[i]);
}

static void step_lookup(char *rest)
{
    int32_t stream;
    struct ip a;
    int r = begin_lookup(rest, strlen(rest), &stream);
    printf("lookup:");
    if (r == 0) {
        while ((r = next_address(stream, &a)) == 0)
            print_address(&a);
        resolve_drop(stream);
    }
    printf(r < 0 ? " %s\n" : "\n", r < 0 ? say(r) : "");
}

/* "HOST:PORT REST" to a flat address of its first, and REST. */
static int find_peer(char *rest, uint32_t flat[12], char **ret_text)
{
    char *blank = strchr(rest, ' ');
    *ret_text = blank ? blank + 1 : "";
    if (blank)
        *blank = 0;
    char *colon = strrchr(rest, ':');
    struct ip a;
    int32_t stream;
    int r = begin_lookup(rest, (size_t)(colon - rest), &stream);
    if (r == 0) {
        r = next_address(stream, &a);
        resolve_drop(stream);
    }
    if (r != 0)
        return r;
    memset(flat, 0, 12 * sizeof(*flat));
    flat[0] = a.six;
    flat[1] = (uint32_t)atoi(colon + 1);
    for (int i = 0; i < (a.six ? 8 : 4); i++)
        flat[(a.six ? 3 : 2) + i] = a.parts[i];
    return 0;
}

/* ---- TCP */

static int connect_to(const uint32_t flat[12], int32_t *ret_socket, int32_t ret_streams[2])
{
    struct made socket;
    struct done d;
    struct pair p;
    tcp_new((int32_t)flat[0], &socket);
    if (socket.failed)
        return -1 - socket.code;
    *ret_socket = socket.handle;
    tcp_connect(socket.handle, the_network(), SPREAD(flat), &d);
    if (d.failed)
        return tcp_drop(socket.handle), -1 - d.code;
    do {
        wait_for(tcp_subscribe(socket.handle));
        tcp_connected(socket.handle, &p);
    } while (p.failed && p.code == WOULD_BLOCK);
    if (p.failed)
        return tcp_drop(socket.handle), -1 - p.code;
    memcpy(ret_streams, p.handles, 2 * sizeof(int32_t));
    return 0;
}

static void print_all(int32_t input)
{
    struct list l;
    while ((l = next_bytes(input)).n > 0) {
        fwrite(l.data, 1, l.n, stdout);
        free(l.data);
    }
    printf("\n");
}

static void close_tcp(int32_t socket, int32_t input, int32_t output)
{
    input_drop(input);
    output_drop(output);
    tcp_drop(socket);
}

static void step_tcp(char *rest)
{
    uint32_t flat[12];
    char *text;
    int32_t socket, streams[2];
    struct done d;
    int r = find_peer(rest, flat, &text);
    if (r == 0)
        r = connect_to(flat, &socket, streams);
    if (r < 0) {
        printf("tcp: %s\n", say(r));
        return;
    }
    write_all(streams[1], text, strlen(text));
    tcp_shutdown(socket, 1, &d);
    printf("tcp: ");
    print_all(streams[0]);
    close_tcp(socket, streams[0], streams[1]);
}

static int bind_tcp(const uint32_t flat[12], int32_t *ret)
{
    struct made socket;
    struct done d;
    tcp_new((int32_t)flat[0], &socket);
    if (socket.failed)
        return -1 - socket.code;
    *ret = socket.handle;
    tcp_bind(socket.handle, the_network(), SPREAD(flat), &d);
    if (!d.failed)
        tcp_bound(socket.handle, &d);
    return d.failed ? -1 - d.code : 0;
}

static void step_bind(char *rest)
{
    uint32_t flat[12];
    char *text;
    int32_t socket;
    int r = find_peer(rest, flat, &text);
    if (r == 0)
        r = bind_tcp(flat, &socket);
    printf("bind: %s\n", r < 0 ? say(r) : "done");
    if (r == 0)
        tcp_drop(socket);
}

static void answer_one(int32_t socket)
{
    struct pair p;
    do {
        wait_for(tcp_subscribe(socket));
        tcp_accept(socket, &p);
    } while (p.failed && p.code == WOULD_BLOCK);
    if (p.failed) {
        printf("accept: %s\n", errors[p.code]);
        return;
    }
    struct list l = next_bytes(p.handles[1]);
    write_all(p.handles[2], "you said ", 9);
    write_all(p.handles[2], l.data, l.n);
    printf("listen: %.*s\n", (int)l.n, (char *)l.data);
    close_tcp(p.handles[0], p.handles[1], p.handles[2]);
}

static void step_listen(char *rest)
{
    uint32_t flat[12] = {0, (uint32_t)atoi(rest)};
    int32_t socket;
    struct done d = {0};
    int r = bind_tcp(flat, &socket);
    if (r == 0)
        tcp_listen(socket, &d);
    if (r == 0 && !d.failed)
        tcp_listening(socket, &d);
    if (r < 0 || d.failed) {
        printf("listen: %s\n", r < 0 ? say(r) : errors[d.code]);
        return;
    }
    printf("listening\n");
    fflush(stdout);
    answer_one(socket);
    tcp_drop(socket);
}

/* ---- UDP */

struct datagram { struct list data; uint8_t address[32]; };
struct outgoing { struct list data; uint8_t some; uint8_t pad[3]; uint8_t address[32]; };

static int open_udp(const uint32_t flat[12], int32_t *ret)
{
    struct made socket;
    struct done d;
    tcp_new(0, &socket); /* one more resource, so that handles of both kinds differ */
    if (!socket.failed)
        tcp_drop(socket.handle);
    udp_new((int32_t)flat[0], &socket);
    if (socket.failed)
        return -1 - socket.code;
    *ret = socket.handle;
    udp_bind(socket.handle, the_network(), SPREAD(flat), &d);
    if (!d.failed)
        udp_bound(socket.handle, &d);
    return d.failed ? -1 - d.code : 0;
}

static int send_one(int32_t output, const void *data, size_t n, const uint8_t *address)
{
    struct outgoing o = {.data = {(uint8_t *)data, n}, .some = address != NULL};
    union answer a;
    if (address)
        memcpy(o.address, address, sizeof(o.address));
    udp_check(output, &a);
    udp_send(output, &o, 1, &a);
    return a.bytes[0] ? -1 - a.bytes[8] : 0;
}

static int receive_one(int32_t input, struct datagram *ret)
{
    struct chunk c;
    for (;;) {
        udp_receive(input, 1, &c);
        if (c.failed)
            return -1 - ((uint8_t *)&c)[4];
        if (c.list.n > 0)
            break;
        wait_for(udp_subscribe(input));
    }
    *ret = *(struct datagram *)(void *)c.list.data;
    return 0;
}

static void step_udp(char *rest)
{
    uint32_t peer[12], any[12] = {0};
    char *text;
    int32_t socket;
    struct pair p = {0};
    struct datagram d;
    int r = find_peer(rest, peer, &text);
    any[0] = r == 0 ? peer[0] : 0;
    r = r == 0 ? open_udp(any, &socket) : r;
    if (r == 0) {
        udp_stream(socket, 1, SPREAD(peer), &p);
        r = p.failed ? -1 - p.code : 0;
    }
    r = r == 0 ? send_one(p.handles[1], text, strlen(text), NULL) : r;
    r = r == 0 ? receive_one(p.handles[0], &d) : r;
    if (r < 0)
        printf("udp: %s\n", say(r));
    else
        printf("udp: %.*s\n", (int)d.data.n, (char *)d.data.data);
}

static void step_udp_listen(char *rest)
{
    uint32_t any[12] = {0, (uint32_t)atoi(rest)}, none[12] = {0};
    int32_t socket;
    struct pair p = {0};
    struct datagram d;
    char text[200];
    int r = open_udp(any, &socket);
    if (r == 0) {
        udp_stream(socket, 0, SPREAD(none), &p);
        r = p.failed ? -1 - p.code : 0;
    }
    if (r == 0) {
        printf("listening\n");
        fflush(stdout);
        r = receive_one(p.handles[0], &d);
    }
    if (r == 0) {
        int n = snprintf(text, sizeof(text), "you said %.*s", (int)d.data.n, (char *)d.data.data);
        r = send_one(p.handles[1], text, (size_t)n, d.address);
    }
    printf("udp-listen: %s\n", r < 0 ? say(r) : text);
}

/* ---- HTTP */

static void fetch(const char *url, const char *text)
{
    struct got g = http_get(url, text);
    if (g.error) {
        printf("http: %s\n", g.error);
        return;
    }
    printf("http: %d ", g.status);
    print_all(g.input);
    http_close(&g);
}

static void step_get(char *rest)
{
    fetch(rest, NULL);
}

static void step_post(char *rest)
{
    char *blank = strchr(rest, ' ');
    *blank = 0;
    fetch(rest, blank + 1);
}

static const struct { const char *name; void (*run)(char *rest); } steps[] = {
    {"lookup ", step_lookup}, {"tcp ", step_tcp}, {"udp ", step_udp}, {"listen ", step_listen},
    {"udp-listen ", step_udp_listen}, {"bind ", step_bind}, {"get ", step_get}, {"post ", step_post},
};

static void run_step(const char *step)
{
    for (size_t i = 0; i < sizeof(steps) / sizeof(*steps); i++)
        if (strncmp(step, steps[i].name, strlen(steps[i].name)) == 0) {
            steps[i].run(strdup(step + strlen(steps[i].name)));
            fflush(stdout);
            return;
        }
    fprintf(stderr, "what is \"%s\"?\n", step);
    exit(2);
}

int main(int argc, char **argv)
{
    __wasm_call_ctors();
    for (int i = 1; i < argc; i++)
        run_step(argv[i]);
    return 0;
}
