/* SPDX-License-Identifier: Apache-2.0 */
/*
 * getaddrinfo(3) would open libnss_*.so of the guest's image. resolver(3) opens nothing but resolv.conf, whose servers are
 * replaced.
 */
#include "wasm/lookup.h"

#include "base/address.h"
#include "base/base.h"

#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <string.h>
#include <strings.h>

#define ANSWER_MAX 8192

struct found {
    struct sockaddr_storage *to;
    size_t n, room;
};

/* With port 0. */
static struct sockaddr_storage socket_address(int family, const void *bytes)
{
    struct sockaddr_storage s = {.ss_family = (sa_family_t)family};
    if (family == AF_INET)
        memcpy(&((struct sockaddr_in *)&s)->sin_addr, bytes, 4);
    else
        memcpy(&((struct sockaddr_in6 *)&s)->sin6_addr, bytes, 16);
    return s;
}

static void add(struct found *f, int family, const void *bytes)
{
    if (f->n < f->room)
        f->to[f->n++] = socket_address(family, bytes);
}

static void read_hosts(const struct lookup *l, const char *name, struct found *f)
{
    struct address a;
    size_t length = strlen(name);
    for (size_t i = 0; i < l->n_hosts; i++)
        if (strncasecmp(l->hosts[i], name, length) == 0 && l->hosts[i][length] == '=' &&
            address_parse(l->hosts[i] + length + 1, &a) == 0)
            add(f, a.family, a.bytes);
}

/* ---- DNS */

static void read_answer(const unsigned char *answer, int size, ns_type type, struct found *f)
{
    ns_msg message;
    ns_rr record;
    if (ns_initparse(answer, size, &message) < 0)
        return;
    for (int i = 0; i < ns_msg_count(message, ns_s_an); i++)
        if (ns_parserr(&message, ns_s_an, i, &record) == 0 && ns_rr_type(record) == type &&
            ns_rr_rdlen(record) == (type == ns_t_a ? 4 : 16))
            add(f, type == ns_t_a ? AF_INET : AF_INET6, ns_rr_rdata(record));
}

int lookup_add_server(struct lookup *l, const char *address)
{
    struct address a;
    if (address_parse(address, &a) < 0)
        return -EINVAL;
    if (l->n_servers == LOOKUP_SERVERS)
        return 0;
    struct sockaddr_storage *s = &l->servers[l->n_servers++];
    *s = socket_address(a.family, a.bytes);
    ((struct sockaddr_in *)s)->sin_port = htons(53); /* IPv6 has it in the same place */
    return 0;
}

/* The state has room for IPv4 alone; IPv6 is a pointer beside an empty entry, which res_nclose frees. */
static void set_servers(const struct lookup *l, res_state state)
{
    state->nscount = 0;
    for (size_t i = 0; i < l->n_servers; i++) {
        const struct sockaddr_storage *s = &l->servers[i];
        int at = state->nscount;
        struct sockaddr_in6 **six = &state->_u._ext.nsaddrs[at];
        if (s->ss_family == AF_INET) {
            memcpy(&state->nsaddr_list[at], s, sizeof(state->nsaddr_list[at]));
        } else {
            if (!*six && !(*six = malloc(sizeof(**six))))
                continue;
            memcpy(*six, s, sizeof(**six));
            state->nsaddr_list[at].sin_family = 0;
        }
        state->nscount++;
    }
}

static void ask(const struct lookup *l, const char *name, struct found *f)
{
    struct __res_state state = {0};
    unsigned char answer[ANSWER_MAX];
    static const ns_type types[] = {ns_t_a, ns_t_aaaa};
    if (l->n_servers == 0 || res_ninit(&state) < 0)
        return;
    set_servers(l, &state);
    state.options &= ~(unsigned long)(RES_DNSRCH | RES_DEFNAMES);
    state.retrans = 2;
    state.retry = 2;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
        int n = res_nquery(&state, name, ns_c_in, types[i], answer, sizeof(answer));
        if (n > 0)
            read_answer(answer, MIN(n, (int)sizeof(answer)), types[i], f);
    }
    res_nclose(&state);
}

int lookup_name(const struct lookup *l, const char *name, struct sockaddr_storage *ret, size_t room)
{
    struct found f = {.to = ret, .room = room};
    read_hosts(l, name, &f);
    if (f.n == 0)
        ask(l, name, &f);
    return (int)f.n;
}
