/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A socket is connected by address alone, so which name an address was looked up for is remembered: what a rule for a name
 * opens is what that name led to.
 */
#include "wasm/reach.h"

#include "base/base.h"
#include "wasm/berth_wasm.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ANSWERS_MAX 16
#define REMEMBERED 1024

struct reach the_reach;

/* ---- which names an address has */

static struct known { struct address address; char name[254]; } known[REMEMBERED];
static size_t n_known; /* ever; the oldest is forgotten first */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct address address_of(const struct sockaddr *s)
{
    struct address a = {.family = (uint8_t)s->sa_family};
    if (s->sa_family == AF_INET)
        memcpy(a.bytes, &((const struct sockaddr_in *)(const void *)s)->sin_addr, 4);
    else if (s->sa_family == AF_INET6)
        memcpy(a.bytes, &((const struct sockaddr_in6 *)(const void *)s)->sin6_addr, 16);
    a.prefix = (uint8_t)address_bits(&a);
    return allowed_plain(&a);
}

static bool is_same(const struct address *a, const struct address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static bool is_known(const struct address *a, const char *name)
{
    for (size_t i = 0; i < MIN(n_known, (size_t)REMEMBERED); i++)
        if (is_same(&known[i].address, a) && strcasecmp(known[i].name, name) == 0)
            return true;
    return false;
}

static void remember(const char *name, const struct sockaddr_storage *found, size_t n)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n; i++) {
        struct address a = address_of((const struct sockaddr *)&found[i]);
        if (is_known(&a, name))
            continue;
        struct known *k = &known[n_known++ % REMEMBERED];
        k->address = a;
        snprintf(k->name, sizeof(k->name), "%s", name);
    }
    pthread_mutex_unlock(&lock);
}

/* The machine itself: its side of the networks, and what is its own where its networks are the guest's. */
static bool is_host(const struct sockaddr *s, const struct address *a)
{
    struct address gateway;
    for (size_t i = 0; i < the_reach.n_gateways; i++)
        if (address_parse(the_reach.gateways[i], &gateway) == 0 && address_equal(&gateway, a))
            return true;
    struct sockaddr_storage own = {0};
    memcpy(&own, s, s->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    ((struct sockaddr_in *)&own)->sin_port = 0;
    autoclose int fd = socket(s->sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && bind(fd, (struct sockaddr *)&own, sizeof(own)) == 0;
}

static bool a_name_allows(const struct address *a, bool host, uint16_t port)
{
    bool allowed = false;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; !allowed && i < MIN(n_known, (size_t)REMEMBERED); i++)
        allowed = is_same(&known[i].address, a) && allowed_address(the_reach.rules, the_reach.n_rules, known[i].name, a, host, port);
    pthread_mutex_unlock(&lock);
    return allowed;
}

/* ---- who sent a datagram may be answered */

static struct peer { struct address address; uint16_t port; } peers[REMEMBERED];
static size_t n_peers; /* ever */

static bool has_sent(const struct address *a, uint16_t port, bool now)
{
    bool found = false;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; !found && i < MIN(n_peers, (size_t)REMEMBERED); i++)
        found = peers[i].port == port && is_same(&peers[i].address, a);
    if (now && !found)
        peers[n_peers++ % REMEMBERED] = (struct peer){*a, port};
    pthread_mutex_unlock(&lock);
    return found;
}

int berth_wasm_allow(const char *name, const struct sockaddr *address, enum berth_wasm_use use)
{
    struct address a = address_of(address);
    uint16_t port = ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
    if (use != BERTH_WASM_CONNECT && (has_sent(&a, port, use == BERTH_WASM_HEARD) || use == BERTH_WASM_HEARD))
        return 0;
    bool host = is_host(address, &a);
    if (allowed_address(the_reach.rules, the_reach.n_rules, name, &a, host, port))
        return 0;
    return !name && a_name_allows(&a, host, port) ? 0 : -1;
}

/* ---- names to addresses, for everybody in this process */

struct answer {
    struct addrinfo info; /* first: what is freed */
    struct sockaddr_storage address;
};

static struct addrinfo *answer_new(const struct sockaddr_storage *address, const struct addrinfo *hints)
{
    struct answer *a = calloc(1, sizeof(*a));
    if (!a)
        return NULL;
    a->address = *address;
    a->info = (struct addrinfo){
        .ai_family = address->ss_family, .ai_socktype = hints ? hints->ai_socktype : SOCK_STREAM, .ai_addr = (struct sockaddr *)&a->address,
        .ai_addrlen = address->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6)};
    return &a->info;
}

void freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/* The C library's own would load shared objects of the root that it is in, which here is a guest's. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
    struct sockaddr_storage found[ANSWERS_MAX];
    struct addrinfo *list = NULL;
    if (!name || service || strlen(name) >= sizeof(known[0].name))
        return EAI_NONAME;
    if (!allowed_name(the_reach.rules, the_reach.n_rules, name, 0))
        return errno = EACCES, EAI_SYSTEM;
    size_t n = (size_t)lookup_name(&the_reach.names, name, found, ARRAY_SIZE(found));
    remember(name, found, n);
    while (n-- > 0) {
        struct addrinfo *next = list;
        if (!(list = answer_new(&found[n], hints))) {
            freeaddrinfo(next);
            return EAI_MEMORY;
        }
        list->ai_next = next;
    }
    *ret = list;
    return list ? 0 : EAI_NONAME;
}
