/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other firewalls, looked at by every start: what is in the way is told, or (firewall.integrate) opened, and closed again
 * after the last workload.
 *
 * Programs are asked only when the chains of others are no longer what they were; otherwise a start
 * pays for one question to the kernel.
 */
#include "linux/net_integrate.h"

#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/mounts.h"
#include "linux/net_doctor.h"
#include "model/json.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define SAID_MAX 65536

/* ---- what the chains of others are like ---- */

struct mark {
    uint64_t sum;  /* over all chains, in whatever order they come; 0: it can't be told */
    bool may_drop; /* there is one that has a say in what is forwarded or comes in */
};

static uint64_t mix(uint64_t h, const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
    return h;
}

static const char *text_of(const struct nlattr *a)
{
    const char *text = a ? netlink_data(a) : NULL;
    return text && netlink_size(a) > 0 && !text[netlink_size(a) - 1] ? text : "";
}

static bool has_a_say(const struct nlattr *hook)
{
    const struct nlattr *of[NFTA_HOOK_HOOKNUM + 1] = {0};
    if (!hook)
        return false;
    netlink_table(netlink_first_in(hook), netlink_end_in(hook), of, ARRAY_SIZE(of));
    uint32_t number = ntohl(netlink_u32(of[NFTA_HOOK_HOOKNUM]));
    return number == NF_INET_FORWARD || number == NF_INET_LOCAL_IN;
}

/* Not those of berth, nor those that docker changes for each of its containers: neither drops what is ours. */
static bool matters(const char *table, const char *name, bool is_base, bool may_drop)
{
    if (starts_with(table, "berth_"))
        return false;
    return is_base ? may_drop : !starts_with(name, "DOCKER") || strcmp(name, "DOCKER-USER") == 0;
}

/* Its name, its policy, how many rules it has and how many lead to it. */
static int mark_chain(const struct nlmsghdr *m, void *data)
{
    static const uint16_t told[] = {NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HANDLE, NFTA_CHAIN_POLICY, NFTA_CHAIN_USE};
    const struct nlattr *of[NFTA_CHAIN_USE + 1];
    struct mark *mark = data;
    if (m->nlmsg_len < NLMSG_LENGTH(sizeof(struct nfgenmsg)))
        return 0;
    netlink_table(netlink_first(m, sizeof(struct nfgenmsg)), netlink_end(m), of, ARRAY_SIZE(of));
    bool may_drop = has_a_say(of[NFTA_CHAIN_HOOK]);
    if (!matters(text_of(of[NFTA_CHAIN_TABLE]), text_of(of[NFTA_CHAIN_NAME]), of[NFTA_CHAIN_HOOK] != NULL, may_drop))
        return 0;
    mark->may_drop |= may_drop;
    uint64_t h = mix(0xcbf29ce484222325u, &((const struct nfgenmsg *)NLMSG_DATA(m))->nfgen_family, 1);
    for (size_t i = 0; i < ARRAY_SIZE(told); i++)
        if (of[told[i]])
            h = mix(h, netlink_data(of[told[i]]), netlink_size(of[told[i]]));
    mark->sum += h;
    return 0;
}

/* The kernel's older tables say nothing of themselves. */
static struct mark mark_now(void)
{
    autonetlink struct netlink nl = NETLINK_NONE;
    autobatch struct netlink_batch b = {0};
    struct mark mark = {.sum = 1}, unknown = {.may_drop = true};
    if (net_legacy_is_used() || netlink_open(&nl, NETLINK_NETFILTER) < 0)
        return unknown;
    struct nfgenmsg *m = netlink_begin(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, NLM_F_DUMP, sizeof(*m));
    if (m)
        m->nfgen_family = NFPROTO_UNSPEC;
    int r = netlink_ask(&nl, &b, mark_chain, &mark);
    close_later(take_fd(&nl.fd)); /* the kernel would wait for what others took out */
    return r < 0 ? unknown : mark;
}

/* ---- the files: the mark, then what is remembered with it ---- */

static int open_locked(int run_fd, const char *name, int flags)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    autoclose int fd = RETRY(openat(run_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600));
    if (fd < 0 || RETRY(fcntl(fd, F_OFD_SETLKW, &lock)) < 0)
        return -errno;
    return take_fd(&fd);
}

/* *ret_text is what stands behind the mark; "" for a file that is not whole. */
static int read_locked(int fd, uint64_t *ret_mark, char **ret_text)
{
    autofree char *all = NULL;
    *ret_mark = 0;
    int r = fd_read_all(fd, SAID_MAX, &all, NULL);
    if (r < 0)
        return r;
    const char *line = strchr(all, '\n');
    (void)sscanf(all, "%16" SCNx64, ret_mark);
    *ret_text = strdup(line ? line + 1 : "");
    return *ret_text ? 0 : -ENOMEM;
}

static int rewrite(int fd, uint64_t mark, const char *behind)
{
    autofree char *text = format_text("%016" PRIx64 "\n%s", mark, behind);
    if (!text)
        return -ENOMEM;
    if (lseek(fd, 0, SEEK_SET) < 0 || ftruncate(fd, 0) < 0)
        return -errno;
    return fd_write_all(fd, text, strlen(text));
}

/* ---- told ---- */

static void put_obstacle(struct text *t, const struct net_obstacle *o)
{
    json_put_open(t, NULL, '{');
    json_put_string(t, "tool", o->tool);
    json_put_string(t, "family", o->family);
    json_put_string(t, "table", o->table);
    json_put_string(t, "chain", o->chain);
    json_put_string(t, "hook", o->names ? "input" : "forward");
    json_put_open(t, "opens", '[');
    for (size_t i = 0; i < ARRAY_SIZE(o->opens) && *o->opens[i]; i++)
        json_put_string(t, NULL, o->opens[i]);
    json_put_close(t, ']');
    json_put_close(t, '}');
}

static int ask_anew(const char *hash, char **ret_json, struct berth_error *err)
{
    autofree struct net_obstacle *all = NULL;
    autotext struct text t = {0};
    size_t n = 0;
    int r = net_obstacles_read(hash, &all, &n, err);
    if (r < 0)
        return r;
    json_put_open(&t, NULL, '[');
    for (size_t i = 0; i < n; i++)
        if (!all[i].opened)
            put_obstacle(&t, &all[i]);
    json_put_close(&t, ']');
    *ret_json = text_take(&t);
    return *ret_json ? 0 : fail_memory(err);
}

int net_obstacles_seen(int run_fd, const char *hash, char **ret_json, struct berth_error *err)
{
    uint64_t before = 0;
    autofree char *seen = NULL;
    struct mark now = mark_now();
    if (!now.may_drop)
        return (*ret_json = strdup("[]")) ? 0 : fail_memory(err);
    autoclose int fd = open_locked(run_fd, NET_SEEN_FILE, O_CREAT);
    int r = fd < 0 ? fd : read_locked(fd, &before, &seen);
    if (r < 0)
        return fail_os(err, r, NET_SEEN_FILE, "remember which firewalls are in the way");
    if (now.sum && now.sum == before && seen[0] == '[') {
        *ret_json = TAKE(seen);
        return 0;
    }
    r = ask_anew(hash, ret_json, err);
    if (r == 0)
        (void)rewrite(fd, now.sum, *ret_json);
    return r;
}

/* ---- opened ---- */

static int open_all(const char *hash, struct text *commands, struct berth_error *err)
{
    autofree struct net_obstacle *all = NULL;
    size_t n = 0;
    int first = net_obstacles_read(hash, &all, &n, err);
    for (size_t i = 0; i < n; i++) {
        struct berth_error why = {0};
        int r = all[i].opened ? 0 : net_obstacle_open(hash, &all[i], &why);
        if (r < 0 && first == 0) {
            first = r;
            if (err)
                *err = why;
        }
        for (size_t k = 0; r == 0 && !all[i].opened && k < ARRAY_SIZE(all[i].opens) && *all[i].opens[k]; k++)
            if (!commands->data || !strstr(commands->data, all[i].opens[k]))
                text_printf(commands, "%s\n", all[i].opens[k]);
    }
    return first;
}

int net_integrate(int run_fd, const char *hash, bool anew, struct berth_error *err)
{
    autofree char *text = NULL;
    autotext struct text commands = {0};
    uint64_t before = 0;
    autoclose int fd = open_locked(run_fd, NET_INTEGRATE_FILE, O_CREAT);
    int r = fd < 0 ? fd : read_locked(fd, &before, &text);
    if (r < 0)
        return fail_os(err, r, NET_INTEGRATE_FILE, "remember what was opened in other firewalls");
    if (before && !anew && before == mark_now().sum)
        return 0;
    text_add(&commands, text);
    r = open_all(hash, &commands, err);
    int kept = commands.failed ? -ENOMEM : rewrite(fd, mark_now().sum, commands.data);
    return r < 0 || kept == 0 ? r : fail_os(err, kept, NET_INTEGRATE_FILE, "remember what was opened in other firewalls");
}

int net_integrate_end(int run_fd, const char *hash, struct berth_error *err)
{
    autoclose int fd = open_locked(run_fd, NET_INTEGRATE_FILE, 0);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fd == -ENOENT ? 0 : fail_os(err, fd < 0 ? fd : errno, NET_INTEGRATE_FILE, "read what was opened in other firewalls");
    int r = st.st_size > 0 ? net_obstacles_close(hash, err) : 0;
    return r < 0 || ftruncate(fd, 0) == 0 ? r : fail_os(err, errno, NET_INTEGRATE_FILE, "forget what was opened in other firewalls");
}
