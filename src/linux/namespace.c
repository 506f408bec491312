/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces by table.
 */
#include "linux/namespace.h"

#include "base/base.h"
#include "base/text.h"
#include "linux/cgroup_internal.h"

#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static const struct {
    uint64_t flag;
    const char *name;
} namespaces[PLAN_NS_COUNT] = {
    [PLAN_NS_MNT] = {CLONE_NEWNS, "mnt"},     [PLAN_NS_PID] = {CLONE_NEWPID, "pid"},
    [PLAN_NS_NET] = {CLONE_NEWNET, "net"},    [PLAN_NS_IPC] = {CLONE_NEWIPC, "ipc"},
    [PLAN_NS_UTS] = {CLONE_NEWUTS, "uts"},    [PLAN_NS_CGROUP] = {CLONE_NEWCGROUP, "cgroup"},
    [PLAN_NS_USER] = {CLONE_NEWUSER, "user"},
};

uint64_t namespace_flag(int which)
{
    return namespaces[which].flag;
}

const char *namespace_name(int which)
{
    return namespaces[which].name;
}

uint64_t namespace_flags(const struct plan *plan, int mode)
{
    uint64_t flags = 0;
    for (int i = 0; i < PLAN_NS_COUNT; i++)
        flags |= plan->namespaces[i].mode == mode ? namespaces[i].flag : 0;
    return flags;
}

static int write_map(pid_t pid, const char *file, const struct plan_idmap *map, size_t n)
{
    autotext struct text lines = {0};
    char path[64];
    for (size_t i = 0; i < n; i++)
        text_printf(&lines, "%u %u %u\n", map[i].inside, map[i].outside, map[i].count);
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    return lines.failed || !lines.data ? -EINVAL : control_write(path, lines.data);
}

int namespace_write_maps(pid_t pid, const struct plan_idmap *uids, size_t n_uids,
                         const struct plan_idmap *gids, size_t n_gids)
{
    int r = write_map(pid, "gid_map", gids, n_gids);
    return r < 0 ? r : write_map(pid, "uid_map", uids, n_uids);
}

int namespace_loopback_up(void)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    autoclose int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

uint32_t idmap_outside(const struct plan_idmap *map, size_t n, uint32_t inside)
{
    for (size_t i = 0; i < n; i++)
        if (inside >= map[i].inside && inside - map[i].inside < map[i].count)
            return map[i].outside + (inside - map[i].inside);
    return UINT32_MAX;
}
