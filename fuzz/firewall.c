/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nft, iptables-legacy and /proc/net/tcp say: any text is survived, and nothing of it gets into a command
 * but plain names.
 */
#include "fuzz.h"
#include "base/base.h"
#include "linux/net_doctor.h"
#include "linux/net_port.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char hash[] = "1a2b3c4d";
    struct net_obstacle all[NET_OBSTACLES_MAX], legacy;
    struct net_chain_seen seen;
    struct net_socket socket;
    autofree char *text = strndup((const char *)data, size);
    size_t n = net_obstacles_parse((const char *)data, size, hash, all);
    MUST(n <= NET_OBSTACLES_MAX);
    for (size_t i = 0; i < n; i++)
        MUST(!strpbrk(all[i].chain, "'\"; $`\\") && !strpbrk(all[i].table, "'\"; $`\\") && !strpbrk(all[i].target, "'\"; $`\\"));
    net_chain_parse((const char *)data, size, hash, &seen);
    MUST(seen.n_handles <= ARRAY_SIZE(seen.handles));
    (void)net_legacy_parse(text, hash, &legacy);
    MUST(strcmp(legacy.target, "FORWARD") == 0 || strcmp(legacy.target, "DOCKER-USER") == 0);
    (void)net_socket_parse(text, &socket);
    return 0;
}
