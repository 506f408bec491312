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

static void add(struct found *f, int family, const void *bytes)
{
    if (f->n == f->room)
        return;
    struct sockaddr_storage *s = &f->to[f->n++];
    memset(s, 0, sizeof(*s));
    s->ss_family = (sa_family_t)family;
    if (family == AF_INET)
        memcpy(&((struct sockaddr_in *)s)->sin_addr, bytes, 4);
    else
        memcpy(&((struct sockaddr_in6 *)s)->sin6_addr, bytes, 16);
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
    if (a.family != AF_INET || l->n_servers == LOOKUP_SERVERS)
        return 0;
    struct sockaddr_in *s = &l->servers[l->n_servers++];
    *s = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(53)};
    memcpy(&s->sin_addr, a.bytes, 4);
    return 0;
}

static void ask(const struct lookup *l, const char *name, struct found *f)
{
    struct __res_state state = {0};
    unsigned char answer[ANSWER_MAX];
    static const ns_type types[] = {ns_t_a, ns_t_aaaa};
    if (l->n_servers == 0 || res_ninit(&state) < 0)
        return;
    for (size_t i = 0; i < l->n_servers; i++)
        state.nsaddr_list[i] = l->servers[i];
    state.nscount = (int)l->n_servers;
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
