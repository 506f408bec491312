/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Netlink messages: written into one growing buffer, sent at once, answers matched by number.
 */
#include "linux/net_message.h"

#include "base/base.h"

#include <arpa/inet.h>
#include <assert.h>
#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWER_MAX 32768 /* what the kernel fills at most in one go of a dump */

/* ---- sockets ---- */

int netlink_open(struct netlink *ret, int protocol)
{
    struct sockaddr_nl self = {.nl_family = AF_NETLINK};
    int one = 1;
    autoclose int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0)
        return -errno;
    /* Not the request back with each error; filters of dumps are obeyed. Old kernels may refuse. */
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
    *ret = (struct netlink){.fd = take_fd(&fd), .sequence = 1};
    return 0;
}

int netlink_open_in(struct netlink *ret, int protocol, int ns_fd)
{
    autoclose int here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (here < 0 || setns(ns_fd, CLONE_NEWNET) < 0)
        return -errno;
    int r = netlink_open(ret, protocol);
    if (setns(here, CLONE_NEWNET) < 0) {
        int error = errno;
        if (r == 0)
            netlink_close(ret);
        return -error;
    }
    return r;
}

void netlink_close(struct netlink *nl)
{
    close_fd(&nl->fd);
}

/* ---- writing ---- */

void netlink_free(struct netlink_batch *b)
{
    free(b->data);
    *b = (struct netlink_batch){0};
}

/* `size` zeroed bytes, aligned, at the end; NULL out of memory. */
static void *grow(struct netlink_batch *b, size_t size)
{
    size_t whole = NLMSG_ALIGN(size), need = b->length + whole;
    if (b->failed)
        return NULL;
    if (need > b->room) {
        size_t room = MAX(need, MAX(b->room * 2, (size_t)1024));
        char *data = realloc(b->data, room);
        if (!data) {
            b->failed = true;
            return NULL;
        }
        b->data = data;
        b->room = room;
    }
    void *p = b->data + b->length;
    memset(p, 0, whole);
    b->length = need;
    ((struct nlmsghdr *)(b->data + b->message))->nlmsg_len = (uint32_t)(need - b->message);
    return p;
}

void *netlink_begin(struct netlink_batch *b, uint16_t type, uint16_t flags, size_t body)
{
    b->message = b->length; /* what grows from here on is this one's */
    b->n++;
    struct nlmsghdr *m = grow(b, sizeof(*m));
    if (!m)
        return NULL;
    m->nlmsg_type = type;
    m->nlmsg_flags = flags;
    return grow(b, body);
}

void *netlink_put_raw(struct netlink_batch *b, size_t size)
{
    return grow(b, size);
}

void netlink_put(struct netlink_batch *b, uint16_t type, const void *data, size_t size)
{
    assert(size <= UINT16_MAX - sizeof(struct nlattr));
    struct nlattr *a = grow(b, sizeof(*a) + size);
    if (!a)
        return;
    a->nla_type = type;
    a->nla_len = (uint16_t)(sizeof(*a) + size);
    if (size)
        memcpy(a + 1, data, size);
}

void netlink_put_u8(struct netlink_batch *b, uint16_t type, uint8_t value)
{
    netlink_put(b, type, &value, sizeof(value));
}

void netlink_put_u32(struct netlink_batch *b, uint16_t type, uint32_t value)
{
    netlink_put(b, type, &value, sizeof(value));
}

void netlink_put_text(struct netlink_batch *b, uint16_t type, const char *s)
{
    netlink_put(b, type, s, strlen(s) + 1);
}

size_t netlink_nest(struct netlink_batch *b, uint16_t type)
{
    size_t at = b->length;
    netlink_put(b, type | NLA_F_NESTED, NULL, 0);
    return at;
}

void netlink_nest_end(struct netlink_batch *b, size_t nest)
{
    if (b->failed)
        return;
    assert(b->length - nest <= UINT16_MAX);
    ((struct nlattr *)(b->data + nest))->nla_len = (uint16_t)(b->length - nest);
}

/* ---- sending and hearing ---- */

struct exchange {
    uint32_t first;       /* number of the first message */
    unsigned n, open;     /* messages; how many have no answer yet */
    bool dump;
    int result;           /* of the first that failed */
    unsigned failed;      /* its number from 0 */
    const struct netlink_batch *batch;
    netlink_reader *reader;
    void *data;
};

/* Number them and ask for an acknowledgement each. */
static void number(struct netlink *nl, struct netlink_batch *b, struct exchange *x)
{
    x->first = nl->sequence;
    for (size_t at = 0; at < b->length;) {
        struct nlmsghdr *m = (struct nlmsghdr *)(b->data + at);
        bool quiet = m->nlmsg_flags & NETLINK_QUIET;
        m->nlmsg_seq = nl->sequence++;
        m->nlmsg_flags = (uint16_t)((m->nlmsg_flags & ~NETLINK_QUIET) | NLM_F_REQUEST);
        if ((m->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP && x->reader)
            x->dump = true;
        else if (!quiet)
            m->nlmsg_flags |= NLM_F_ACK;
        x->n++;
        x->open += !quiet;
        at += m->nlmsg_len;
    }
}

/* Whether the n-th request asked for an acknowledgement. */
static bool is_quiet(const struct exchange *x, unsigned n)
{
    size_t at = 0;
    for (; n > 0; n--)
        at += ((struct nlmsghdr *)(x->batch->data + at))->nlmsg_len;
    return !(((struct nlmsghdr *)(x->batch->data + at))->nlmsg_flags & (NLM_F_ACK | NLM_F_DUMP));
}

static void hear_error(struct exchange *x, unsigned n, int error)
{
    if (error != 0 && (x->result == 0 || n < x->failed)) {
        x->result = error;
        x->failed = n;
    }
    if (is_quiet(x, n))
        x->open = 0; /* the batch as a whole was refused: nothing more will come */
    else if (x->open > 0)
        x->open--;
}

/* 0, or what the reader said. */
static int hear(struct exchange *x, const struct nlmsghdr *m)
{
    unsigned n = m->nlmsg_seq - x->first;
    int error = 0;
    if (n >= x->n)
        return 0; /* an answer to somebody who gave up */
    if (m->nlmsg_flags & NLM_F_DUMP_INTR && x->result == 0)
        x->result = -EINTR;
    if (m->nlmsg_type == NLMSG_ERROR || m->nlmsg_type == NLMSG_DONE) {
        if (m->nlmsg_len >= NLMSG_LENGTH(sizeof(error)))
            memcpy(&error, NLMSG_DATA(m), sizeof(error));
        hear_error(x, n, error);
        return 0;
    }
    return m->nlmsg_type < NLMSG_MIN_TYPE || !x->reader ? 0 : x->reader(m, x->data);
}

static ssize_t receive(int fd, void *data, size_t size)
{
    struct sockaddr_nl from = {0};
    struct iovec part = {.iov_base = data, .iov_len = size};
    struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &part, .msg_iovlen = 1};
    ssize_t n = RETRY(recvmsg(fd, &m, 0));
    if (n < 0)
        return -errno;
    if (m.msg_flags & MSG_TRUNC)
        return -EMSGSIZE;
    return from.nl_pid == 0 ? n : 0; /* only the kernel's word counts */
}

static int hear_all(struct netlink *nl, struct exchange *x)
{
    autofree char *data = malloc(ANSWER_MAX);
    if (!data)
        return -ENOMEM;
    while (x->open > 0) {
        ssize_t left = receive(nl->fd, data, ANSWER_MAX);
        if (left < 0)
            return (int)left;
        const struct nlmsghdr *m = (const struct nlmsghdr *)data;
        for (; NLMSG_OK(m, (unsigned)left); m = NLMSG_NEXT(m, left)) {
            int r = hear(x, m);
            if (r != 0)
                return r;
        }
    }
    return x->result;
}

static int exchange(struct netlink *nl, struct netlink_batch *b, struct exchange *x)
{
    if (b->failed)
        return -ENOMEM;
    if (b->n == 0)
        return 0;
    x->batch = b;
    number(nl, b, x);
    if (b->length > 100000) { /* more than a socket takes unasked; root's privilege, else the kernel says no */
        int room = (int)b->length * 2;
        (void)setsockopt(nl->fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
    }
    if (RETRY(send(nl->fd, b->data, b->length, 0)) < 0)
        return -errno;
    return hear_all(nl, x);
}

int netlink_send(struct netlink *nl, struct netlink_batch *b, unsigned *ret_failed)
{
    struct exchange x = {0};
    int r = exchange(nl, b, &x);
    if (r < 0 && ret_failed)
        *ret_failed = x.failed;
    return r;
}

void netlink_filter_begin(struct netlink_batch *b, unsigned type, uint16_t flags, uint8_t family)
{
    struct nfgenmsg *m = netlink_begin(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, sizeof(*m));
    if (m)
        m->nfgen_family = family;
}

void netlink_filter_border(struct netlink_batch *b, uint16_t type)
{
    struct nfgenmsg *m = netlink_begin(b, type, NETLINK_QUIET, sizeof(*m));
    if (m)
        m->res_id = htons(NFNL_SUBSYS_NFTABLES);
}

int netlink_ask(struct netlink *nl, struct netlink_batch *b, netlink_reader *reader, void *data)
{
    struct exchange x = {.reader = reader, .data = data};
    return exchange(nl, b, &x);
}

/* ---- reading ---- */

const void *netlink_end(const struct nlmsghdr *message)
{
    return (const char *)message + message->nlmsg_len;
}

const void *netlink_end_in(const struct nlattr *nest)
{
    return (const char *)nest + nest->nla_len;
}

/* The attribute at p, if all of it is before end. */
static const struct nlattr *attribute_at(const char *p, const char *end)
{
    const struct nlattr *a = (const struct nlattr *)p;
    if (p > end || (size_t)(end - p) < sizeof(*a) || a->nla_len < sizeof(*a) || a->nla_len > (size_t)(end - p))
        return NULL;
    return a;
}

const struct nlattr *netlink_first(const struct nlmsghdr *message, size_t body)
{
    if (message->nlmsg_len < NLMSG_HDRLEN + NLMSG_ALIGN(body))
        return NULL;
    return attribute_at((const char *)message + NLMSG_HDRLEN + NLMSG_ALIGN(body), netlink_end(message));
}

const struct nlattr *netlink_first_in(const struct nlattr *nest)
{
    return nest ? attribute_at((const char *)(nest + 1), netlink_end_in(nest)) : NULL;
}

const struct nlattr *netlink_next(const struct nlattr *a, const void *end)
{
    size_t step = NLA_ALIGN(a->nla_len);
    if (step > (size_t)((const char *)end - (const char *)a))
        return NULL;
    return attribute_at((const char *)a + step, end);
}

void netlink_table(const struct nlattr *first, const void *end, const struct nlattr **table, size_t n)
{
    memset(table, 0, n * sizeof(*table));
    NETLINK_EACH(a, first, end)
        if ((a->nla_type & NLA_TYPE_MASK) < n)
            table[a->nla_type & NLA_TYPE_MASK] = a;
}

const void *netlink_data(const struct nlattr *a)
{
    return a + 1;
}

size_t netlink_size(const struct nlattr *a)
{
    return a ? a->nla_len - sizeof(*a) : 0;
}

uint32_t netlink_u32(const struct nlattr *a)
{
    uint32_t value = 0;
    if (a && netlink_size(a) >= sizeof(value))
        memcpy(&value, netlink_data(a), sizeof(value));
    return value;
}
