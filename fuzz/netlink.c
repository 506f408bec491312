/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Netlink messages as if they were not the kernel's: attributes in attributes stay inside their message.
 */
#include "fuzz.h"
#include "base/base.h"
#include "linux/net_internal.h"

static void walk(const struct nlattr *first, const void *end, int depth)
{
    NETLINK_EACH(a, first, end)
    {
        MUST(netlink_end_in(a) <= end && (const char *)netlink_data(a) + netlink_size(a) == netlink_end_in(a));
        if (depth < 8)
            walk(netlink_first_in(a), netlink_end_in(a), depth + 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct link_seen seen;
    if (size < sizeof(struct nlmsghdr) || size > 65536)
        return 0;
    /* of exactly this size, so that a sanitizer sees a step too far */
    autofree struct nlmsghdr *m = malloc(size);
    memcpy(m, data, size);
    m->nlmsg_len = (uint32_t)size;
    walk(netlink_first(m, 4), netlink_end(m), 0);
    m->nlmsg_type = RTM_NEWLINK;
    if (link_read(m, &seen))
        MUST(strnlen(seen.found.name, sizeof(seen.found.name)) < sizeof(seen.found.name));
    return 0;
}
