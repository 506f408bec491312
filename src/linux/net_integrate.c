/* SPDX-License-Identifier: Apache-2.0 */
/*
 * firewall.integrate: other firewalls are opened by the starts and closed again after the last workload.
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
#include "linux/net_filter.h"

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
    char own[NET_TABLE_MAX];
    uint64_t sum; /* over all chains, in whatever order they come */
};

static uint64_t mix(uint64_t h, const void *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
    return h;
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
    const struct nlattr *table = of[NFTA_CHAIN_TABLE];
    if (table && netlink_size(table) == strlen(mark->own) + 1 && memcmp(netlink_data(table), mark->own, netlink_size(table)) == 0)
        return 0;
    uint64_t h = mix(0xcbf29ce484222325u, &((const struct nfgenmsg *)NLMSG_DATA(m))->nfgen_family, 1);
    for (size_t i = 0; i < ARRAY_SIZE(told); i++)
        if (of[told[i]])
            h = mix(h, netlink_data(of[told[i]]), netlink_size(of[told[i]]));
    mark->sum += h;
    return 0;
}

/* 0: it can't be told. The kernel's older tables say nothing of themselves. */
static uint64_t mark_now(const char *hash)
{
    autonetlink struct netlink nl = NETLINK_NONE;
    autobatch struct netlink_batch b = {0};
    struct mark mark = {.sum = 1};
    net_table_name(hash, mark.own);
    if (net_legacy_is_used() || netlink_open(&nl, NETLINK_NETFILTER) < 0)
        return 0;
    struct nfgenmsg *m = netlink_begin(&b, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, NLM_F_DUMP, sizeof(*m));
    if (m)
        m->nfgen_family = NFPROTO_UNSPEC;
    int r = netlink_ask(&nl, &b, mark_chain, &mark);
    close_later(take_fd(&nl.fd)); /* the kernel would wait for what others took out */
    return r < 0 ? 0 : mark.sum;
}

/* ---- RUN/firewall: the mark, then a line for each command that was run ---- */

static int open_locked(int run_fd, int flags)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    autoclose int fd = RETRY(openat(run_fd, NET_INTEGRATE_FILE, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600));
    if (fd < 0 || RETRY(fcntl(fd, F_OFD_SETLKW, &lock)) < 0)
        return -errno;
    return take_fd(&fd);
}

static int rewrite(int fd, uint64_t mark, const char *commands)
{
    autofree char *text = format_text("%016" PRIx64 "\n%s", mark, commands);
    if (!text)
        return -ENOMEM;
    if (lseek(fd, 0, SEEK_SET) < 0 || ftruncate(fd, 0) < 0)
        return -errno;
    return fd_write_all(fd, text, strlen(text));
}

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
    autoclose int fd = open_locked(run_fd, O_CREAT);
    int r = fd < 0 ? fd : fd_read_all(fd, SAID_MAX, &text, NULL);
    if (r < 0)
        return fail_os(err, r, NET_INTEGRATE_FILE, "remember what was opened in other firewalls");
    (void)sscanf(text, "%16" SCNx64, &before);
    if (before && !anew && before == mark_now(hash))
        return 0;
    const char *line = strchr(text, '\n');
    text_add(&commands, line ? line + 1 : "");
    r = open_all(hash, &commands, err);
    int kept = commands.failed ? -ENOMEM : rewrite(fd, mark_now(hash), commands.data);
    return r < 0 || kept == 0 ? r : fail_os(err, kept, NET_INTEGRATE_FILE, "remember what was opened in other firewalls");
}

int net_integrate_end(int run_fd, const char *hash, struct berth_error *err)
{
    autoclose int fd = open_locked(run_fd, 0);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return fd == -ENOENT ? 0 : fail_os(err, fd < 0 ? fd : errno, NET_INTEGRATE_FILE, "read what was opened in other firewalls");
    int r = st.st_size > 0 ? net_obstacles_close(hash, err) : 0;
    return r < 0 || ftruncate(fd, 0) == 0 ? r : fail_os(err, errno, NET_INTEGRATE_FILE, "forget what was opened in other firewalls");
}
