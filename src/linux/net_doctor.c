/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Neighbours' firewalls: found, opened, closed again. nft speaks for iptables-nft too, whose tables are
 * ordinary ones; iptables-legacy has the kernel's older tables, which nft does not see.
 */
#include "linux/net_doctor.h"

#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/net_program.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define NAMES_PORT 53

/* ---- what nft says ---- */

static const char *member(const json_t *object, const char *name)
{
    const char *s = json_string_value(json_object_get(object, name));
    return s ? s : "";
}

static bool is(const json_t *object, const char *name, const char *value)
{
    return strcmp(member(object, name), value) == 0;
}

/* Names that go into commands again: only what a name may be. */
static bool take_name(char *ret, size_t room, const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n >= room || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/") != n)
        return false;
    memcpy(ret, name, n + 1);
    return true;
}

static bool has_a_say(const json_t *chain, const char *hook)
{
    return is(chain, "hook", hook) && is(chain, "type", "filter") &&
           (is(chain, "family", "ip") || is(chain, "family", "ip6") || is(chain, "family", "inet"));
}

static bool take_chain(const json_t *chain, struct net_obstacle *ret)
{
    *ret = (struct net_obstacle){.kind = is(chain, "table", "firewalld") ? NET_OBSTACLE_FIREWALLD : NET_OBSTACLE_NFT,
                                 .names = is(chain, "hook", "input")};
    if (!take_name(ret->family, sizeof(ret->family), member(chain, "family")) ||
        !take_name(ret->table, sizeof(ret->table), member(chain, "table")) ||
        !take_name(ret->chain, sizeof(ret->chain), member(chain, "name")))
        return false;
    memcpy(ret->target, ret->chain, sizeof(ret->target));
    ret->opened = !is(chain, "policy", "drop"); /* until its rules are seen */
    return true;
}

static const char *tool_of(const struct net_obstacle *o)
{
    if (o->kind == NET_OBSTACLE_FIREWALLD)
        return "firewalld";
    return strcmp(o->table, "filter") == 0 && strcmp(o->chain, o->names ? "INPUT" : "FORWARD") == 0 ? "iptables" : "nftables";
}

/* Who made the table is told by the other chains in it. */
static void know_by(const json_t *chain, struct net_obstacle *o)
{
    if (!is(chain, "family", o->family) || !is(chain, "table", o->table))
        return;
    const char *name = member(chain, "name");
    if (starts_with(name, "DOCKER") && !o->names)
        (void)snprintf(o->tool, sizeof(o->tool), "docker");
    else if (starts_with(name, "ufw") && strcmp(o->tool, "docker") != 0)
        (void)snprintf(o->tool, sizeof(o->tool), "ufw");
    if (strcmp(name, "DOCKER-USER") == 0 && !o->names)
        (void)snprintf(o->target, sizeof(o->target), "DOCKER-USER");
}

static void put_rules(struct net_obstacle *o, const char *hash, bool bridged)
{
    static const char *const through[][2] = {{"iifname \"bb", ""}, {"oifname \"bb", ""}, {"iifname \"bi", ""}},
                             *const names[][2] = {{"iifname \"bb", " udp dport 53"}, {"iifname \"bb", " tcp dport 53"},
                                                  {"iifname \"bi", " udp dport 53"}, {"iifname \"bi", " tcp dport 53"}};
    const char *const (*about)[2] = o->names ? names : through;
    size_t n = o->names ? ARRAY_SIZE(names) : bridged ? 3 : 2;
    for (size_t i = 0; i < n; i++)
        (void)snprintf(o->opens[i], sizeof(o->opens[i]), "nft 'insert rule %.7s %.40s %.40s %s%.8s-*\"%s counter accept comment \"berth %.8s\"'",
                       o->family, o->table, o->target, about[i][0], hash, about[i][1], hash);
}

static bool br_netfilter_is_on(void)
{
    autofree char *text = NULL;
    return file_read(AT_FDCWD, "/proc/sys/net/bridge/bridge-nf-call-iptables", 8, &text, NULL) == 0 && text[0] == '1';
}

static void finish(struct net_obstacle *o, const char *hash, bool bridged)
{
    if (!*o->tool)
        (void)snprintf(o->tool, sizeof(o->tool), "%s", tool_of(o));
    if (o->kind == NET_OBSTACLE_FIREWALLD)
        (void)snprintf(o->opens[0], sizeof(o->opens[0]), "firewall-cmd --permanent --zone=trusted --add-interface=bb%.8s-+ "
                       "--add-interface=bi%.8s-+ && firewall-cmd --reload", hash, hash);
    else
        put_rules(o, hash, bridged);
}

size_t net_obstacles_parse(const char *json, size_t size, const char *hash, struct net_obstacle ret[NET_OBSTACLES_MAX])
{
    json_t *root = json_loadb(json, size, 0, NULL), *entry;
    const json_t *list = json_object_get(root, "nftables");
    static const char *const hooks[] = {"forward", "input"}; /* what matters more comes first */
    char own[32];
    size_t n = 0, i;
    (void)snprintf(own, sizeof(own), "berth_%.8s", hash);
    for (size_t hook = 0; hook < ARRAY_SIZE(hooks); hook++)
        json_array_foreach(list, i, entry)
        {
            const json_t *chain = json_object_get(entry, "chain");
            if (n < NET_OBSTACLES_MAX && has_a_say(chain, hooks[hook]) && !is(chain, "table", own) && take_chain(chain, &ret[n]))
                n++;
        }
    json_array_foreach(list, i, entry)
        for (size_t j = 0; j < n; j++)
            know_by(json_object_get(entry, "chain"), &ret[j]);
    json_decref(root);
    return n;
}

/* ---- one chain ---- */

/* iptables-nft's own kind: a target is a verdict, a comment no condition. */
static bool is_xt(const json_t *e, const char *type, const char *name)
{
    const json_t *xt = json_object_get(e, "xt");
    return is(xt, "type", type) && is(xt, "name", name);
}

/* No condition before its verdict. */
static bool drops_all(const json_t *rule)
{
    const json_t *expressions = json_object_get(rule, "expr");
    size_t n = json_array_size(expressions);
    for (size_t i = 0; i < n; i++) {
        const json_t *e = json_array_get(expressions, i);
        if (json_object_get(e, "drop") || json_object_get(e, "reject") || is_xt(e, "target", "REJECT") || is_xt(e, "target", "DROP"))
            return true;
        if (!json_object_get(e, "counter") && !json_object_get(e, "log") && !is_xt(e, "match", "comment") && !is_xt(e, "target", "LOG"))
            return false;
    }
    return false;
}

/* A rule that accepts: from or to whom, and which port. */
struct accepted { bool accepts, ours, others; json_int_t port; };

static struct accepted read_rule(const json_t *rule, const char *hash)
{
    const json_t *expressions = json_object_get(rule, "expr");
    struct accepted a = {0};
    for (size_t i = 0; i < json_array_size(expressions); i++) {
        const json_t *e = json_array_get(expressions, i), *match = json_object_get(e, "match"), *left = json_object_get(match, "left");
        const char *name = member(match, "right");
        bool ours = net_link_kind(hash, name) && ends_with(name, "-*");
        a.ours |= ours;
        a.others |= !ours && is(json_object_get(left, "meta"), "key", "iifname");
        if (is(json_object_get(left, "payload"), "field", "dport"))
            a.port = json_integer_value(json_object_get(match, "right"));
        a.accepts |= json_object_get(e, "accept") != NULL;
    }
    return a;
}

static void count_rule(const json_t *rule, const char *hash, struct net_chain_seen *ret)
{
    struct accepted a = read_rule(rule, hash);
    ret->drops_all |= drops_all(rule);
    ret->ours += a.accepts && a.ours;
    ret->names += a.accepts && !a.others && (a.port == NAMES_PORT || (a.ours && !a.port));
}

void net_chain_parse(const char *json, size_t size, const char *hash, struct net_chain_seen *ret)
{
    json_t *root = json_loadb(json, size, 0, NULL), *entry;
    char comment[24];
    size_t i;
    *ret = (struct net_chain_seen){0};
    (void)snprintf(comment, sizeof(comment), "berth %.8s", hash);
    json_array_foreach(json_object_get(root, "nftables"), i, entry)
    {
        const json_t *rule = json_object_get(entry, "rule");
        if (!rule)
            continue;
        count_rule(rule, hash, ret);
        json_int_t handle = json_integer_value(json_object_get(rule, "handle"));
        if (is(rule, "comment", comment) && handle > 0 && ret->n_handles < ARRAY_SIZE(ret->handles))
            ret->handles[ret->n_handles++] = (long)handle;
    }
    json_decref(root);
}

/* `name` NULL: all chains of its table. */
static int list_chain(const struct net_obstacle *o, const char *name, const char *hash, struct net_chain_seen *ret)
{
    const char *const argv[] = {"nft", "-j", "list", name ? "chain" : "table", o->family, o->table, name, NULL};
    autofree char *said = NULL;
    size_t size = 0;
    int r = net_program(argv, NULL, &said, &size);
    if (r == 0)
        net_chain_parse(said, size, hash, ret);
    return r;
}

/* ---- iptables-legacy ---- */

bool net_legacy_parse(const char *text, const char *hash, struct net_obstacle *ret)
{
    char in[40], out[40];
    bool drops = false, has_in = false, has_out = false;
    *ret = (struct net_obstacle){.kind = NET_OBSTACLE_LEGACY, .tool = "iptables", .family = "ip", .table = "filter", .chain = "FORWARD", .target = "FORWARD"};
    (void)snprintf(in, sizeof(in), " -i bb%.8s-+ ", hash);
    (void)snprintf(out, sizeof(out), " -o bb%.8s-+ ", hash);
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        char one[256];
        (void)snprintf(one, sizeof(one), "%.*s", (int)MIN(strcspn(line, "\n"), sizeof(one) - 1), line);
        drops |= strcmp(one, "-P FORWARD DROP") == 0;
        has_in |= strstr(one, in) && strstr(one, "-j ACCEPT");
        has_out |= strstr(one, out) && strstr(one, "-j ACCEPT");
        if (starts_with(one, "-N DOCKER"))
            memcpy(ret->tool, "docker", sizeof("docker"));
        else if (starts_with(one, "-N ufw") && strcmp(ret->tool, "docker") != 0)
            memcpy(ret->tool, "ufw", sizeof("ufw"));
        if (strcmp(one, "-N DOCKER-USER") == 0)
            memcpy(ret->target, "DOCKER-USER", sizeof("DOCKER-USER"));
    }
    ret->opened = has_in && has_out;
    for (int i = 0; i < 2; i++)
        (void)snprintf(ret->opens[i], sizeof(ret->opens[i]), "iptables-legacy -I %s -%c bb%.8s-+ -m comment --comment 'berth %.8s' -j ACCEPT",
                       ret->target, "io"[i], hash, hash);
    return drops;
}

bool net_legacy_is_used(void)
{
    autofree char *names = NULL;
    return file_read(AT_FDCWD, "/proc/net/ip_tables_names", 4096, &names, NULL) == 0 && strstr(names, "filter");
}

static bool read_legacy(const char *hash, struct net_obstacle *ret)
{
    static const char *const argv[] = {"iptables-legacy", "-S", NULL};
    autofree char *said = NULL;
    return net_legacy_is_used() && net_program(argv, NULL, &said, NULL) == 0 && net_legacy_parse(said, hash, ret);
}

/* ---- all ---- */

/* A zone with our bridges shows as their name somewhere in its table. */
static bool firewalld_knows(const char *hash)
{
    static const char *const argv[] = {"nft", "list", "table", "inet", "firewalld", NULL};
    autofree char *said = NULL;
    char name[24];
    (void)snprintf(name, sizeof(name), "\"bb%.8s-*\"", hash);
    return net_program(argv, NULL, &said, NULL) == 0 && strstr(said, name);
}

/* Open already: by a rule anywhere in the table for names, as ufw's own chains may have it. */
static bool is_open(const struct net_obstacle *o, const char *hash, const struct net_chain_seen *base)
{
    struct net_chain_seen more = {0};
    if (o->kind == NET_OBSTACLE_FIREWALLD)
        return firewalld_knows(hash);
    if (o->names)
        return list_chain(o, NULL, hash, &more) == 0 && more.names > 0;
    if (strcmp(o->chain, o->target) != 0)
        (void)list_chain(o, o->target, hash, &more);
    return base->ours + more.ours >= 2;
}

static size_t read_nft(const char *hash, struct net_obstacle *ret)
{
    static const char *const argv[] = {"nft", "-j", "list", "chains", NULL};
    autofree char *said = NULL;
    size_t size = 0, kept = 0;
    if (net_program(argv, NULL, &said, &size) < 0)
        return 0;
    size_t n = net_obstacles_parse(said, size, hash, ret);
    for (size_t i = 0; i < n; i++) {
        struct net_chain_seen base = {0};
        struct net_obstacle o = ret[i];
        if (list_chain(&o, o.chain, hash, &base) < 0 || (o.opened && !base.drops_all))
            continue; /* it lets through what nobody asked it about */
        o.opened = is_open(&o, hash, &base);
        ret[kept++] = o;
    }
    return kept;
}

int net_obstacles_read(const char *hash, struct net_obstacle **ret, size_t *ret_n, struct berth_error *err)
{
    autofree struct net_obstacle *all = calloc(NET_OBSTACLES_MAX + 1, sizeof(*all));
    bool bridged = br_netfilter_is_on();
    if (!all)
        return fail_memory(err);
    size_t n = read_nft(hash, all);
    for (size_t i = 0; i < n; i++)
        finish(&all[i], hash, bridged);
    n += read_legacy(hash, &all[n]);
    *ret_n = n;
    *ret = n ? TAKE(all) : NULL;
    return 0;
}

/* ---- opening and closing ---- */

/* The command as it is printed, without a shell: words, or one in quotes. */
static int run_command(const char *command, char **ret_said)
{
    char text[192];
    const char *argv[24];
    size_t n = 0;
    (void)snprintf(text, sizeof(text), "%s", command);
    for (char *p = text; *p && n < ARRAY_SIZE(argv) - 1;) {
        bool quoted = *p == '\'';
        p += quoted;
        argv[n++] = p;
        p += strcspn(p, quoted ? "'" : " ");
        if (*p)
            *p++ = 0;
        p += strspn(p, " ");
    }
    argv[n] = NULL;
    return net_program(argv, NULL, ret_said, NULL);
}

int net_obstacle_open(const char *hash, const struct net_obstacle *o, struct berth_error *err)
{
    if (o->opened)
        return 0;
    if (o->kind == NET_OBSTACLE_FIREWALLD)
        return fail(err, BERTH_UNSUPPORTED, o->tool, "firewalld's rules are its own: %s", o->opens[0]);
    for (size_t i = 0; i < ARRAY_SIZE(o->opens) && *o->opens[i]; i++) {
        autofree char *said = NULL;
        int r = run_command(o->opens[i], &said);
        if (r < 0)
            return fail_os(err, r, o->tool, "run %s", o->opens[i]);
        if (*said)
            return fail(err, BERTH_IO, o->tool, "%s: %.*s", o->opens[i], (int)MIN(strcspn(said, "\n"), 300u), said);
    }
    return 0;
}

static int close_chain(const struct net_obstacle *o, const char *name, const char *hash)
{
    struct net_chain_seen seen = {0};
    int r = list_chain(o, name, hash, &seen);
    for (size_t i = 0; i < seen.n_handles && r == 0; i++) {
        char handle[24];
        autofree char *said = NULL;
        (void)snprintf(handle, sizeof(handle), "%ld", seen.handles[i]);
        const char *const argv[] = {"nft", "delete", "rule", o->family, o->table, name, "handle", handle, NULL};
        r = net_program(argv, NULL, &said, NULL);
    }
    return r;
}

/* The command that opened it, with -D in place of -I. */
static int close_legacy(const struct net_obstacle *o)
{
    int r = 0;
    for (size_t i = 0; i < ARRAY_SIZE(o->opens) && *o->opens[i] && r == 0; i++) {
        char command[sizeof(o->opens[i])];
        autofree char *said = NULL;
        memcpy(command, o->opens[i], sizeof(command));
        char *insert = strstr(command, " -I ");
        if (insert)
            insert[2] = 'D';
        r = run_command(command, &said);
    }
    return r;
}

int net_obstacles_close(const char *hash, struct berth_error *err)
{
    static const char *const argv[] = {"nft", "-j", "list", "chains", NULL};
    struct net_obstacle all[NET_OBSTACLES_MAX], legacy = {0};
    autofree char *said = NULL;
    size_t size = 0;
    int r = net_program(argv, NULL, &said, &size);
    size_t n = r == 0 ? net_obstacles_parse(said, size, hash, all) : 0;
    r = r == -ENOENT ? 0 : r;
    for (size_t i = 0; i < n && r == 0; i++) {
        r = close_chain(&all[i], all[i].chain, hash);
        if (r == 0 && strcmp(all[i].chain, all[i].target) != 0)
            r = close_chain(&all[i], all[i].target, hash);
    }
    if (r == 0 && net_legacy_is_used()) {
        (void)read_legacy(hash, &legacy);
        if (legacy.opened)
            r = close_legacy(&legacy);
    }
    return r < 0 ? fail_os(err, r, "nft", "take berth's rules out of other firewalls") : 0;
}
