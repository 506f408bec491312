/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people may write in one string instead of an object (as docker has it), and what must hold
 * between the members of one item.
 */
#include "model/spec_table.h"
#include "base/base.h"

#include <stdio.h>
#include <string.h>

/* Take s[0..n) as *member, judged. */
static int set_text(const struct where *at, const char *s, size_t n, const char *(*check)(const char *),
                    char **member, struct berth_error *err)
{
    char *copy = strndup(s, n);
    if (!copy)
        return where_memory(err);
    free(*member);
    *member = copy;
    const char *wrong = check ? check(copy) : NULL;
    return wrong ? where_fail(at, err, "\"%.200s\" %s", copy, wrong) : 0;
}

static bool digits_value(const char *s, size_t n, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;
    if (n == 0 || strspn(s, "0123456789") < n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s[i] - '0'), &value))
            return false;
    *ret = value;
    return value <= max;
}

/* ---- ports ------------------------------------------------------------------------------------- */

/* No port of the host in particular: nothing, "0" or "any" before the colon. */
static bool any_port(const char *s, size_t n)
{
    return n == 0 || (n == 1 && *s == '0') || (n == 3 && memcmp(s, "any", 3) == 0);
}

/* "80" or "80-90" of n bytes */
static int port_range(const struct where *at, const char *s, size_t n, uint16_t *first,
                      uint16_t *last, struct berth_error *err)
{
    const char *dash = memchr(s, '-', n);
    size_t length = dash ? (size_t)(dash - s) : n;
    uint64_t a = 0, b = 0;
    bool ok = digits_value(s, length, 65535, &a) && a > 0;
    if (ok && dash)
        ok = digits_value(dash + 1, n - length - 1, 65535, &b) && b > 0;
    if (!ok)
        return where_fail(at, err, "\"%.*s\" is not a port (1 to 65535)", (int)MIN(n, (size_t)40), s);
    *first = (uint16_t)a;
    *last = dash ? (uint16_t)b : *first;
    return 0;
}

/* "[::1]:" or "127.0.0.1:" before the ports; *s is moved behind it. */
static int port_address(const struct where *at, const char **s, const char *end, struct spec_port *p,
                        struct berth_error *err)
{
    const char *first = memchr(*s, ':', (size_t)(end - *s)), *close;
    if (**s == '[') {
        close = memchr(*s, ']', (size_t)(end - *s));
        if (!close || close[1] != ':')
            return where_fail(at, err, "\"%.60s\": an address in [] and a colon are expected", *s);
        int r = set_text(at, *s + 1, (size_t)(close - *s) - 1, check_ip, &p->host_address, err);
        *s = close + 2;
        return r;
    }
    if (!first || !memchr(first + 1, ':', (size_t)(end - first) - 1))
        return 0;
    int r = set_text(at, *s, (size_t)(first - *s), check_ip, &p->host_address, err);
    *s = first + 1;
    return r;
}

/* [ADDRESS:][HOST[-END]:]CONTAINER[-END][/PROTOCOL]; HOST may be empty, 0 or any */
int port_from_text(const struct where *at, const char *value, void *item, struct berth_error *err)
{
    struct spec_port *p = item;
    const char *s = value, *slash = strchr(value, '/'), *end = slash ? slash : value + strlen(value);
    const char *protocol = slash ? slash + 1 : "tcp";
    if (strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0)
        return where_fail(at, err, "\"%.60s\": the protocol is not tcp or udp", value);
    snprintf(p->protocol, sizeof(p->protocol), "%s", protocol);
    int r = port_address(at, &s, end, p, err);
    if (r < 0)
        return r;
    const char *colon = memchr(s, ':', (size_t)(end - s));
    if (colon && !any_port(s, (size_t)(colon - s)))
        r = port_range(at, s, (size_t)(colon - s), &p->host, &p->host_end, err);
    if (r == 0 && colon)
        s = colon + 1;
    return r < 0 ? r : port_range(at, s, (size_t)(end - s), &p->container, &p->container_end, err);
}

int port_finish(const struct where *at, void *item, struct berth_error *err)
{
    struct spec_port *p = item;
    if (p->container == 0)
        return where_fail(at, err, "container is missing");
    if (p->host_end != 0 && p->host == 0)
        return where_fail(at, err, "host is missing beside host_end");
    if (p->container_end == 0)
        p->container_end = p->container;
    if (p->host_end == 0 && p->host != 0)
        p->host_end = p->host;
    if (p->container_end < p->container || p->host_end < p->host)
        return where_fail(at, err, "the range ends before it begins");
    if (p->host != 0 && p->host_end - p->host != p->container_end - p->container)
        return where_fail(at, err, "%d host ports for %d container ports", p->host_end - p->host + 1,
                          p->container_end - p->container + 1);
    if (p->protocol[0] == '\0')
        snprintf(p->protocol, sizeof(p->protocol), "tcp");
    return 0;
}

/* ---- networks ---------------------------------------------------------------------------------- */

int network_from_text(const struct where *at, const char *value, void *item, struct berth_error *err)
{
    struct spec_network *n = item;
    return set_text(at, value, strlen(value), check_name, &n->name, err);
}

int network_finish(const struct where *at, void *item, struct berth_error *err)
{
    const struct spec_network *n = item;
    if (!n->name)
        return where_fail(at, err, "name is missing");
    if (strcmp(n->name, "host") == 0 || strcmp(n->name, "none") == 0)
        return where_fail(at, err, "\"%s\" goes with no other network", n->name);
    return 0;
}

/* ---- mounts ------------------------------------------------------------------------------------ */

static int mount_option(const struct where *at, const char *s, size_t n, struct spec_mount *m,
                        struct berth_error *err)
{
    static const char *const propagations[] = {"private", "rprivate", "slave",
                                               "rslave",  "shared",   "rshared"};
    static const char *const nothing[] = {"rw", "z", "Z"}; /* labels are the host's business */
    const struct {
        const char *word;
        bool *member;
    } switches[] = {{"ro", &m->read_only}, {"nocopy", &m->no_copy}};
    for (size_t i = 0; i < ARRAY_SIZE(switches); i++) {
        if (strlen(switches[i].word) == n && memcmp(switches[i].word, s, n) == 0) {
            *switches[i].member = true;
            return 0;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(nothing); i++)
        if (strlen(nothing[i]) == n && memcmp(nothing[i], s, n) == 0)
            return 0;
    for (size_t i = 0; i < ARRAY_SIZE(propagations); i++)
        if (strlen(propagations[i]) == n && memcmp(propagations[i], s, n) == 0)
            return set_text(at, s, n, NULL, &m->propagation, err);
    return where_fail(at, err, "\"%.*s\" is not an option of a mount", (int)MIN(n, (size_t)40), s);
}

static int mount_options(const struct where *at, const char *s, struct spec_mount *m,
                         struct berth_error *err)
{
    for (;;) {
        size_t n = strcspn(s, ",");
        int r = mount_option(at, s, n, m, err);
        if (r < 0 || s[n] == '\0')
            return r;
        s += n + 1;
    }
}

/* TARGET, SOURCE:TARGET or SOURCE:TARGET:OPTIONS; a source with a slash first is a path. */
int mount_from_text(const struct where *at, const char *value, void *item, struct berth_error *err)
{
    struct spec_mount *m = item;
    const char *first = strchr(value, ':'), *second = first ? strchr(first + 1, ':') : NULL;
    const char *target = first ? first + 1 : value;
    int r = 0;
    m->kind = SPEC_MOUNT_VOLUME;
    if (first && first > value) {
        if (value[0] == '/')
            m->kind = SPEC_MOUNT_BIND;
        else if (value[0] == '.' || value[0] == '~')
            return where_fail(at, err, "\"%.200s\": the source is not an absolute path", value);
        m->recursive = m->kind == SPEC_MOUNT_BIND; /* as docker's */
        r = set_text(at, value, (size_t)(first - value), NULL, &m->source, err);
    }
    size_t length = second ? (size_t)(second - target) : strlen(target);
    if (r == 0)
        r = set_text(at, target, length, NULL, &m->target, err);
    return r == 0 && second ? mount_options(at, second + 1, m, err) : r;
}

struct only_for {
    bool set;
    const char *member;
    int kind;
    const char *kind_name;
};

static int mount_source(const struct where *at, const struct spec_mount *m, struct berth_error *err)
{
    static const struct {
        const char *name;
        bool needed, possible;
        const char *(*check)(const char *value);
    } kinds[] = {
        [SPEC_MOUNT_BIND] = {"a bind mount", true, true, check_absolute},
        [SPEC_MOUNT_VOLUME] = {"a volume", false, true, check_name},
        [SPEC_MOUNT_TMPFS] = {"a tmpfs", false, false, NULL},
        [SPEC_MOUNT_IMAGE] = {"an image volume", true, true, check_image},
    };
    const char *name = kinds[m->kind].name;
    if (!m->source)
        return kinds[m->kind].needed ? where_fail(at, err, "%s needs a source", name) : 0;
    if (!kinds[m->kind].possible)
        return where_fail(at, err, "%s has no source", name);
    const char *wrong = kinds[m->kind].check(m->source);
    struct where source = {.parent = at, .name = "source", .document = at->document};
    return wrong ? where_fail(&source, err, "\"%.200s\" %s", m->source, wrong) : 0;
}

int mount_finish(const struct where *at, void *item, struct berth_error *err)
{
    const struct spec_mount *m = item;
    struct where target = {.parent = at, .name = "target", .document = at->document};
    if (!m->target)
        return where_fail(at, err, "target is missing");
    const char *wrong = check_target(m->target);
    if (wrong)
        return where_fail(&target, err, "\"%.200s\" %s", m->target, wrong);
    int r = mount_source(at, m, err);
    if (r < 0)
        return r;
    const struct only_for rules[] = {
        {m->recursive, "recursive", SPEC_MOUNT_BIND, "bind"},
        {m->create_source, "create_source", SPEC_MOUNT_BIND, "bind"},
        {m->propagation != NULL, "propagation", SPEC_MOUNT_BIND, "bind"},
        {m->no_copy, "no_copy", SPEC_MOUNT_VOLUME, "volume"},
        {m->size_bytes > 0, "size", SPEC_MOUNT_TMPFS, "tmpfs"},
        {m->has_mode, "mode", SPEC_MOUNT_TMPFS, "tmpfs"},
        {m->has_exec, "exec", SPEC_MOUNT_TMPFS, "tmpfs"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
        if (rules[i].set && m->kind != rules[i].kind)
            return where_fail(at, err, "%s is only for type %s", rules[i].member, rules[i].kind_name);
    return 0;
}

int image_volume_finish(const struct where *at, void *item, struct berth_error *err)
{
    const struct spec_image_volume *v = item;
    return v->image && v->target ? 0 : where_fail(at, err, "%s is missing", v->image ? "target" : "image");
}

/* SOURCE:TARGET[:ro] */
int preopen_from_text(const struct where *at, const char *value, void *item, struct berth_error *err)
{
    struct spec_preopen *p = item;
    size_t n = strcspn(value, ":"), m = value[n] ? strcspn(value + n + 1, ":") : 0;
    const char *options = m > 0 ? value + n + 1 + m : "";
    if (n == 0 || m == 0 || (*options && strcmp(options, ":ro") && strcmp(options, ":rw")))
        return where_fail(at, err, "\"%.200s\" is not SOURCE:TARGET or SOURCE:TARGET:ro", value);
    p->read_only = strcmp(options, ":ro") == 0;
    int r = set_text(at, value, n, check_absolute, &p->source, err);
    return r < 0 ? r : set_text(at, value + n + 1, m, NULL, &p->target, err);
}

int preopen_finish(const struct where *at, void *item, struct berth_error *err)
{
    const struct spec_preopen *p = item;
    return p->source && p->target ? 0 : where_fail(at, err, "%s is missing", p->source ? "target" : "source");
}

/* ---- restart ----------------------------------------------------------------------------------- */

/* "always", "on-failure:5"; docker's "no" is never */
int restart_from_text(const struct where *at, const char *value, void *item, struct berth_error *err)
{
    static const char *const policies[] = {"never", "on-failure", "always", "unless-stopped", "no"};
    struct spec_restart *s = item;
    size_t n = strcspn(value, ":"), i = 0;
    uint64_t max;
    while (i < ARRAY_SIZE(policies) &&
           (strlen(policies[i]) != n || memcmp(policies[i], value, n) != 0))
        i++;
    if (i == ARRAY_SIZE(policies)) {
        const char *near = nearest_word(value, policies, ARRAY_SIZE(policies));
        return where_fail(at, err, "\"%.64s\" is not one of never, on-failure, always, "
                          "unless-stopped%s%s%s", value, near ? " (did you mean " : "",
                          near ? near : "", near ? "?)" : "");
    }
    if (value[n] && (!digits_value(value + n + 1, strlen(value + n + 1), 1000000, &max)))
        return where_fail(at, err, "\"%.64s\": no number of restarts behind the colon", value);
    s->has_max = value[n] != '\0';
    s->max = s->has_max ? (int)max : 0;
    const char *policy = policies[i == ARRAY_SIZE(policies) - 1 ? 0 : i];
    return set_text(at, policy, strlen(policy), NULL, &s->policy, err);
}

int restart_finish(const struct where *at, void *item, struct berth_error *err)
{
    const struct spec_restart *s = item;
    if (!s->policy && (s->has_max || s->delay_usec || s->cap_usec || s->reset_usec))
        return where_fail(at, err, "policy is missing");
    if (s->has_max && strcmp(s->policy, "on-failure") != 0)
        return where_fail(at, err, "max is only for the policy on-failure");
    if (s->cap_usec > 0 && s->delay_usec > s->cap_usec)
        return where_fail(at, err, "delay is above cap");
    return 0;
}

/* ---- resources --------------------------------------------------------------------------------- */

/* "nofile=1024" or "nofile=1024:4096"; unlimited or -1 for no limit */
int ulimit_from_text(const struct where *at, const char *value, void *item, struct berth_error *err)
{
    struct spec_ulimit *u = item;
    const char *equals = strchr(value, '='), *colon = equals ? strchr(equals, ':') : NULL;
    if (!equals)
        return where_fail(at, err, "\"%.64s\" is not NAME=SOFT[:HARD]", value);
    const char *parts[] = {equals + 1, colon ? colon + 1 : equals + 1};
    size_t lengths[] = {colon ? (size_t)(colon - parts[0]) : strlen(parts[0]), strlen(parts[1])};
    uint64_t values[2];
    for (size_t i = 0; i < 2; i++) {
        if ((lengths[i] == 2 && !memcmp(parts[i], "-1", 2)) ||
            (lengths[i] == 9 && !memcmp(parts[i], "unlimited", 9)))
            values[i] = UINT64_MAX;
        else if (!digits_value(parts[i], lengths[i], INT64_MAX, &values[i]))
            return where_fail(at, err, "\"%.64s\" is not NAME=SOFT[:HARD]", value);
    }
    u->soft = values[0];
    u->hard = values[1];
    return set_text(at, value, (size_t)(equals - value), NULL, &u->name, err);
}

int ulimit_finish(const struct where *at, void *item, struct berth_error *err)
{
    static const char *const names[] = {
        "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
        "rss", "rtprio", "rttime", "sigpending", "stack", "as", NULL};
    struct spec_ulimit *u = item;
    if (!u->name)
        return where_fail(at, err, "name is missing");
    for (size_t i = 0; names[i]; i++) {
        if (strcmp(names[i], u->name) != 0)
            continue;
        if (u->hard == 0) /* left out */
            u->hard = u->soft;
        return u->soft > u->hard ? where_fail(at, err, "soft is above hard") : 0;
    }
    const char *near = nearest_of(names, u->name);
    return where_fail(at, err, "\"%.64s\" is not a limit%s%s%s", u->name, near ? " (did you mean " : "",
                      near ? near : "", near ? "?)" : "");
}

int io_finish(const struct where *at, void *item, struct berth_error *err)
{
    const struct spec_io *io = item;
    if (!io->device)
        return where_fail(at, err, "device is missing");
    return io->read_bps || io->write_bps || io->read_iops || io->write_iops
               ? 0
               : where_fail(at, err, "no limit is given");
}

/* ---- devices, hosts, secrets, sockets, probes ---------------------------------------------------- */

/* PATH[:TARGET[:ACCESS]]; docker takes PATH:ACCESS too */
int device_from_text(const struct where *at, const char *value, void *item, struct berth_error *err)
{
    struct spec_device *d = item;
    size_t n = strcspn(value, ":");
    const char *second = value[n] ? value + n + 1 : NULL;
    size_t m = second ? strcspn(second, ":") : 0;
    const char *third = second && second[m] ? second + m + 1 : NULL;
    int r = set_text(at, value, n, check_absolute, &d->path, err);
    if (r == 0 && second && !third && second[0] != '/')
        return set_text(at, second, m, check_access, &d->access, err);
    if (r == 0 && second)
        r = set_text(at, second, m, check_absolute, &d->target, err);
    return r == 0 && third ? set_text(at, third, strlen(third), check_access, &d->access, err) : r;
}

int device_finish(const struct where *at, void *item, struct berth_error *err)
{
    struct spec_device *d = item;
    if (!d->path)
        return where_fail(at, err, "path is missing");
    if (!d->target)
        d->target = strdup(d->path);
    if (!d->access)
        d->access = strdup("rwm");
    return d->target && d->access ? 0 : where_memory(err);
}

/* NAME:ADDRESS, NAME=ADDRESS */
int host_from_text(const struct where *at, const char *value, void *item, struct berth_error *err)
{
    struct spec_host *h = item;
    size_t n = strcspn(value, ":=");
    if (n == 0 || value[n] == '\0')
        return where_fail(at, err, "\"%.200s\" is not NAME:ADDRESS", value);
    int r = set_text(at, value, n, check_hostname, &h->name, err);
    const char *address = value + n + 1;
    return r < 0 ? r : set_text(at, address, strlen(address), check_host_address, &h->address, err);
}

int host_finish(const struct where *at, void *item, struct berth_error *err)
{
    const struct spec_host *h = item;
    return h->name && h->address ? 0 : where_fail(at, err, "%s is missing", h->name ? "address" : "name");
}

int secret_finish(const struct where *at, void *item, struct berth_error *err)
{
    const struct spec_secret *s = item;
    return s->name && s->source ? 0 : where_fail(at, err, "%s is missing", s->name ? "source" : "name");
}

int socket_finish(const struct where *at, void *item, struct berth_error *err)
{
    const struct spec_socket *s = item;
    if (!s->path && s->port == 0)
        return where_fail(at, err, "port or path is missing");
    if (s->path && (s->port != 0 || s->address || s->protocol))
        return where_fail(at, err, "a path has no port, address or protocol");
    if (!s->path && s->mode != 0)
        return where_fail(at, err, "mode is only for a path");
    return 0;
}

int health_finish(const struct where *at, void *item, struct berth_error *err)
{
    const struct spec_probe *p = item;
    if (p->command && p->shell)
        return where_fail(at, err, "command and shell exclude each other");
    return p->command && !p->command[0] ? where_fail(at, err, "command is empty") : 0;
}

int probe_finish(const struct where *at, void *item, struct berth_error *err)
{
    const struct spec_probe *p = item;
    if (!p->command && !p->shell)
        return where_fail(at, err, "command or shell is missing");
    return health_finish(at, item, err);
}
