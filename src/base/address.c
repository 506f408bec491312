/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP addresses as values. Arithmetic is done in 128 bits for both families.
 */
#include "base/address.h"

#include "base/base.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide; /* the name of a number, not of a struct */

unsigned address_bits(const struct address *a)
{
    return a->family == AF_INET ? 32 : a->family == AF_INET6 ? 128 : 0;
}

static wide wide_of(const struct address *a)
{
    wide v = 0;
    for (unsigned i = 0; i < address_bits(a) / 8; i++)
        v = v << 8 | a->bytes[i];
    return v;
}

static struct address of_wide(const struct address *like, wide v)
{
    struct address a = {.family = like->family, .prefix = like->prefix};
    for (unsigned i = address_bits(like) / 8; i-- > 0; v >>= 8)
        a.bytes[i] = (uint8_t)v;
    return a;
}

/* Ones where the prefix is not. */
static wide host_mask(const struct address *a)
{
    unsigned host = address_bits(a) - MIN(a->prefix, address_bits(a));
    return host >= 128 ? ~(wide)0 : ((wide)1 << host) - 1;
}

int address_parse(const char *s, struct address *ret)
{
    struct address a = {0};
    char inner[INET6_ADDRSTRLEN];
    size_t length = strlen(s);
    if (length > 2 && s[0] == '[' && s[length - 1] == ']' && length - 2 < sizeof(inner)) {
        memcpy(inner, s + 1, length - 2);
        inner[length - 2] = 0;
        if (inet_pton(AF_INET6, inner, a.bytes) != 1)
            return -EINVAL;
        a.family = AF_INET6;
    } else if (inet_pton(AF_INET, s, a.bytes) == 1) {
        a.family = AF_INET;
    } else if (inet_pton(AF_INET6, s, a.bytes) == 1) {
        a.family = AF_INET6;
    } else {
        return -EINVAL;
    }
    a.prefix = (uint8_t)address_bits(&a);
    *ret = a;
    return 0;
}

int address_parse_subnet(const char *s, struct address *ret)
{
    struct address a;
    char text[ADDRESS_TEXT_MAX];
    const char *slash = strchr(s, '/');
    if (!slash || (size_t)(slash - s) >= sizeof(text))
        return -EINVAL;
    memcpy(text, s, (size_t)(slash - s));
    text[slash - s] = 0;
    size_t digits = strspn(slash + 1, "0123456789");
    if (digits == 0 || digits > 3 || slash[1 + digits] || (slash[1] == '0' && digits > 1) ||
        address_parse(text, &a) < 0)
        return -EINVAL;
    unsigned prefix = (unsigned)strtoul(slash + 1, NULL, 10);
    if (prefix > address_bits(&a))
        return -EINVAL;
    a.prefix = (uint8_t)prefix;
    *ret = a;
    return 0;
}

char *address_print(const struct address *a, char ret[ADDRESS_TEXT_MAX])
{
    if (!address_bits(a) || !inet_ntop(a->family, a->bytes, ret, ADDRESS_TEXT_MAX))
        ret[0] = 0;
    return ret;
}

char *address_print_subnet(const struct address *a, char ret[ADDRESS_TEXT_MAX])
{
    size_t length = strlen(address_print(a, ret));
    if (length)
        (void)snprintf(ret + length, ADDRESS_TEXT_MAX - length, "/%u", a->prefix);
    return ret;
}

bool address_equal(const struct address *a, const struct address *b)
{
    return a->family == b->family && wide_of(a) == wide_of(b);
}

bool address_is_any(const struct address *a)
{
    return address_bits(a) && wide_of(a) == 0;
}

/* What no workload may have; loopback is the first of each family. */
static const char *const special[] = {"127.0.0.0/8", "::1/128", "0.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4",
                                      "240.0.0.0/4", "::/128",  "fe80::/10", "ff00::/8",       "::ffff:0:0/96"};

static bool is_special(const struct address *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct address range;
        if (address_parse_subnet(special[i], &range) == 0 && address_in(&range, a))
            return true;
    }
    return false;
}

bool address_is_loopback(const struct address *a)
{
    return is_special(a, 2);
}

bool address_is_unicast(const struct address *a)
{
    return address_bits(a) && !is_special(a, ARRAY_SIZE(special));
}

struct address address_first(const struct address *subnet)
{
    return of_wide(subnet, wide_of(subnet) & ~host_mask(subnet));
}

struct address address_last(const struct address *subnet)
{
    return of_wide(subnet, wide_of(subnet) | host_mask(subnet));
}

bool address_in(const struct address *subnet, const struct address *a)
{
    return subnet->family == a->family && address_bits(a) &&
           ((wide_of(subnet) ^ wide_of(a)) & ~host_mask(subnet)) == 0;
}

bool address_overlap(const struct address *a, const struct address *b)
{
    return a->prefix <= b->prefix ? address_in(a, b) : address_in(b, a);
}

int address_compare(const struct address *a, const struct address *b)
{
    wide x = wide_of(a), y = wide_of(b);
    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    return x < y ? -1 : x > y;
}

struct address address_nth(const struct address *subnet, uint64_t n)
{
    if (!address_bits(subnet) || n > host_mask(subnet))
        return (struct address){0};
    return of_wide(subnet, (wide_of(subnet) & ~host_mask(subnet)) + n);
}

uint64_t address_index(const struct address *subnet, const struct address *a)
{
    if (!address_in(subnet, a))
        return UINT64_MAX;
    wide n = wide_of(a) & host_mask(subnet);
    return n > UINT64_MAX ? UINT64_MAX : (uint64_t)n;
}

uint64_t address_count(const struct address *subnet)
{
    wide last = host_mask(subnet);
    return !address_bits(subnet) ? 0 : last >= UINT64_MAX ? UINT64_MAX : (uint64_t)last + 1;
}

struct address address_subnet(const struct address *pool, unsigned prefix, uint64_t n)
{
    struct address a = {0};
    if (!address_bits(pool) || prefix < pool->prefix || prefix > address_bits(pool))
        return a;
    unsigned host = address_bits(pool) - prefix, within = prefix - pool->prefix;
    if (host >= 128 ? n > 0 : within < 64 && n >> within)
        return a;
    wide offset = host >= 128 ? 0 : (wide)n << host;
    a = of_wide(pool, (wide_of(pool) & ~host_mask(pool)) + offset);
    a.prefix = (uint8_t)prefix;
    return a;
}
