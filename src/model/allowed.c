/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rules of allowed_hosts. An address is judged apart from how it was named, so that a name that
 * leads to 127.0.0.1 opens nothing.
 */
#include "model/allowed.h"

#include "base/base.h"
#include "base/text.h"

#include <ctype.h>
#include <string.h>
#include <sys/socket.h>

static const char *const special_subnets[] = {
    "0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "fe80::/10", "ff00::/8",
};

struct address allowed_plain(const struct address *a)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    if (a->family != AF_INET6 || memcmp(a->bytes, prefix, sizeof(prefix)) != 0)
        return *a;
    struct address plain = {.family = AF_INET, .prefix = (uint8_t)(a->prefix > 96 ? a->prefix - 96 : 0)};
    memcpy(plain.bytes, a->bytes + 12, 4);
    return plain;
}

bool allowed_special(size_t i, struct address *ret)
{
    return i < ARRAY_SIZE(special_subnets) && address_parse_subnet(special_subnets[i], ret) == 0;
}

/* One special subnet covers both. */
static bool is_special_range(const struct address *first, const struct address *last)
{
    struct address subnet;
    for (size_t i = 0; allowed_special(i, &subnet); i++)
        if (subnet.family == first->family && address_in(&subnet, first) && address_in(&subnet, last))
            return true;
    return false;
}

bool allowed_is_special(const struct address *address)
{
    struct address plain = allowed_plain(address);
    return is_special_range(&plain, &plain);
}

/* ---- reading */

static int read_port(const char *s, size_t length, uint16_t *ret)
{
    unsigned n = 0;
    for (size_t i = 0; i < length; i++)
        if (!isdigit((unsigned char)s[i]) || (n = n * 10 + (unsigned)(s[i] - '0')) > 65535)
            return -EINVAL;
    *ret = (uint16_t)n;
    return n > 0 ? 0 : -EINVAL;
}

static int read_ports(const char *s, struct allowed_rule *rule)
{
    size_t first = strcspn(s, "-");
    int r = read_port(s, first, &rule->first);
    rule->last = rule->first;
    if (r == 0 && s[first])
        r = read_port(s + first + 1, strlen(s + first + 1), &rule->last);
    return r < 0 || rule->last < rule->first ? -EINVAL : 0;
}

static bool is_name(const char *s)
{
    size_t label = 0;
    for (; *s; s++) {
        if (*s == '.' ? label == 0 : !(isalnum((unsigned char)*s) || *s == '-' || *s == '_'))
            return false;
        label = *s == '.' ? 0 : label + 1;
        if (label > 63)
            return false;
    }
    return label > 0;
}

static int read_name(const char *host, struct allowed_rule *rule)
{
    rule->below = starts_with(host, "*.");
    const char *name = host + (rule->below ? 2 : 0);
    if (!is_name(name) || strlen(name) >= sizeof(rule->name) - 1)
        return -EINVAL;
    for (size_t i = 0; name[i]; i++)
        rule->name[i] = (char)tolower((unsigned char)name[i]);
    return 0;
}

/* "[fd00::]/8" has its prefix behind the bracket, "fd00::/8" has none. */
static int read_subnet(const char *host, struct allowed_rule *rule)
{
    int r = strchr(host, '/') ? address_parse_subnet(host, &rule->subnet) : address_parse(host, &rule->subnet);
    if (r < 0)
        return r;
    rule->subnet = allowed_plain(&rule->subnet);
    struct address first = address_first(&rule->subnet), last = address_last(&rule->subnet);
    rule->special = is_special_range(&first, &last);
    return 0;
}

/* Where ":PORTS" begins; NULL: nowhere. An IPv6 address has its colons in brackets, or no ports. */
static const char *find_ports(const char *text)
{
    const char *bracket = strrchr(text, ']');
    const char *colon = strchr(bracket ? bracket : text, ':');
    return colon && strchr(colon + 1, ':') ? NULL : colon;
}

int allowed_parse(const char *text, struct allowed_rule *ret_rule, struct berth_error *err)
{
    struct allowed_rule rule = {.first = 1, .last = 65535};
    char host[300];
    const char *ports = find_ports(text);
    size_t length = ports ? (size_t)(ports - text) : strlen(text);
    if (length == 0 || length >= sizeof(host))
        return fail(err, BERTH_INVALID, text, "\"%.100s\" is no host: NAME, *.NAME or ADDRESS/BITS, then :PORTS", text);
    memcpy(host, text, length);
    host[length] = 0;
    if (ports && read_ports(ports + 1, &rule) < 0)
        return fail(err, BERTH_INVALID, text, "\"%.100s\" has no ports as 443 or 8000-8010", text);
    if (strcmp(host, "*") == 0) {
        rule.below = true;
    } else if (read_subnet(host, &rule) < 0) {
        if (read_name(host, &rule) < 0)
            return fail(err, BERTH_INVALID, text, "\"%.100s\" is no host: NAME, *.NAME or ADDRESS/BITS, then :PORTS", text);
        rule.web = !ports;
    }
    *ret_rule = rule;
    return 0;
}

/* ---- judging */

static bool port_fits(const struct allowed_rule *rule, uint16_t port)
{
    return rule->web ? port == 80 || port == 443 : port >= rule->first && port <= rule->last;
}

static bool is_any(const struct allowed_rule *rule)
{
    return rule->below && !*rule->name;
}

static bool name_fits(const struct allowed_rule *rule, const char *name)
{
    size_t length = strlen(name), own = strlen(rule->name);
    if (is_any(rule))
        return true;
    if (rule->subnet.family)
        return false;
    if (length > 0 && name[length - 1] == '.')
        length--;
    if (!rule->below)
        return length == own && strncasecmp(name, rule->name, own) == 0;
    return length > own + 1 && name[length - own - 1] == '.' && strncasecmp(name + length - own, rule->name, own) == 0;
}

bool allowed_name(const struct allowed_rule *rules, size_t n, const char *name, uint16_t port)
{
    for (size_t i = 0; i < n; i++)
        /* A rule for a network allows what leads there: only then is known where that is. */
        if ((rules[i].subnet.family || name_fits(&rules[i], name)) && (port == 0 || port_fits(&rules[i], port)))
            return true;
    return false;
}

static bool address_fits(const struct allowed_rule *rule, const struct address *address, bool special, bool host)
{
    const struct address *subnet = &rule->subnet;
    if (subnet->family != address->family || !address_in(subnet, address))
        return false;
    return special ? rule->special : !host || subnet->prefix == address_bits(subnet);
}

bool allowed_address(const struct allowed_rule *rules, size_t n, const char *name, const struct address *address, bool host,
                     uint16_t port)
{
    struct address plain = allowed_plain(address);
    bool special = allowed_is_special(&plain);
    for (size_t i = 0; i < n; i++) {
        const struct allowed_rule *rule = &rules[i];
        bool by_name = !special && !host && (is_any(rule) || (name && name_fits(rule, name)));
        if ((by_name || address_fits(rule, &plain, special, host)) && port_fits(rule, port))
            return true;
    }
    return false;
}
