/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges of single strings in a spec. What passes here later meets paths, files and rules, so the
 * sets of characters are those that are needed, not those that would do.
 */
#include "model/spec_table.h"
#include "base/base.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define DIGITS "0123456789"
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define ALNUM LETTERS DIGITS

static bool only(const char *s, const char *set)
{
    return *s && s[strspn(s, set)] == '\0';
}

/* Printable and in one piece: no blank, no control character, in particular no newline. */
static bool one_word(const char *s)
{
    for (const unsigned char *p = (const unsigned char *)s; *p; p++)
        if (*p <= ' ' || *p == 0x7f)
            return false;
    return *s != '\0';
}

/* ".." as a component of a path */
static bool climbs(const char *path)
{
    for (const char *p = path; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (p[0] == '.' && p[1] == '.' && (p[2] == '/' || p[2] == '\0'))
            return true;
    }
    return false;
}

const char *check_absolute(const char *value)
{
    if (value[0] != '/')
        return "is not an absolute path";
    if (strlen(value) >= 4096)
        return "is longer than 4095 bytes";
    return climbs(value) ? "leads upwards (..)" : NULL;
}

const char *check_target(const char *value)
{
    const char *wrong = check_absolute(value);
    if (!wrong && value[strspn(value, "/.")] == '\0')
        wrong = "is the root itself";
    return wrong;
}

const char *check_name(const char *value)
{
    return name_check("", value, NULL) < 0
               ? "is not a name (letters, digits, _ . - and a letter or digit first, at most 128)"
               : NULL;
}

const char *check_engine(const char *value)
{
    return strlen(value) < 32 && only(value, ALNUM "-_") ? NULL : "is not the name of an engine";
}

const char *check_image(const char *value)
{
    if (strlen(value) >= 512)
        return "is longer than 511 bytes";
    return one_word(value) ? NULL : "is not an image (blanks or control characters)";
}

const char *check_platform(const char *value)
{
    const char *slash = strchr(value, '/');
    return slash && slash > value && slash[1] && only(value, ALNUM "/._-") && strlen(value) < 64
               ? NULL
               : "is not a platform such as linux/arm64";
}

const char *check_hostname(const char *value)
{
    return strlen(value) <= 64 && only(value, ALNUM ".-_") && value[0] != '-' && value[0] != '.'
               ? NULL
               : "is not a host name (letters, digits, . - _, at most 64)";
}

const char *check_domain(const char *value)
{
    bool fine = strlen(value) <= 253 && only(value, ALNUM ".-_") && value[0] != '-' && value[0] != '.';
    return fine || !strcmp(value, ".") ? NULL : "is not a domain (letters, digits, . - _, at most 253)";
}

static const char *joined(const char *value)
{
    return strncmp(value, "container:", 10) == 0 ? value + 10 : NULL;
}

const char *check_network(const char *value)
{
    const char *other = joined(value);
    if (name_check("", other ? other : value, NULL) == 0)
        return NULL;
    return "is not a network (none, host, container:NAME or a network's name)";
}

const char *check_ip4(const char *value)
{
    struct in_addr a;
    return inet_pton(AF_INET, value, &a) == 1 ? NULL : "is not an IPv4 address";
}

const char *check_ip6(const char *value)
{
    struct in6_addr a;
    return inet_pton(AF_INET6, value, &a) == 1 ? NULL : "is not an IPv6 address";
}

const char *check_ip(const char *value)
{
    return !check_ip4(value) || !check_ip6(value) ? NULL : "is not an IP address";
}

const char *check_host_address(const char *value)
{
    return strcmp(value, "host-gateway") == 0 ? NULL : check_ip(value);
}

const char *check_mac(const char *value)
{
    static const char wrong[] = "is not a MAC address such as 02:42:0a:d2:00:05";
    if (strlen(value) != 17)
        return wrong;
    for (size_t i = 0; i < 17; i++)
        if (i % 3 == 2 ? value[i] != ':' : !strchr("0123456789abcdefABCDEF", value[i]))
            return wrong;
    return strchr("13579bBdDfF", value[1]) ? "is a multicast address" : NULL;
}

const char *check_one_word(const char *value)
{
    return one_word(value) ? NULL : "has blanks or control characters";
}

static bool number_within(const char **s, unsigned long min, unsigned long max)
{
    unsigned long value = 0;
    size_t n = strspn(*s, DIGITS);
    if (n == 0 || n > 10)
        return false;
    for (size_t i = 0; i < n; i++)
        value = value * 10 + (unsigned long)((*s)[i] - '0');
    *s += n;
    return value >= min && value <= max;
}

const char *check_expose(const char *value)
{
    const char *s = value;
    bool ok = number_within(&s, 1, 65535);
    if (ok && *s == '-')
        ok = number_within((s++, &s), 1, 65535);
    if (ok && *s)
        ok = strcmp(s, "/tcp") == 0 || strcmp(s, "/udp") == 0;
    return ok ? NULL : "is not a port such as 80, 53/udp or 8000-8010 (1 to 65535)";
}

const char *check_user(const char *value)
{
    const char *colon = strchr(value, ':');
    if (!one_word(value) || strlen(value) > 256 || value[0] == ':' ||
        (colon && (colon[1] == '\0' || strchr(colon + 1, ':'))))
        return "is not a user such as www-data, 1000 or 1000:1000";
    return NULL;
}

const char *check_signal(const char *value)
{
    return signal_parse(value) > 0 ? NULL : "is not a signal";
}

const char *check_variable(const char *value)
{
    return strchr(value, '=') ? "has = in its name" : NULL;
}

const char *check_sysctl(const char *value)
{
    return only(value, ALNUM "._-/") && !climbs(value) && value[0] != '/' && !strstr(value, "..")
               ? NULL
               : "is not a kernel setting such as net.core.somaxconn";
}

const char *check_cpuset(const char *value)
{
    for (const char *s = value;; s++) {
        if (!number_within(&s, 0, 65535) || (*s == '-' && !number_within((s++, &s), 0, 65535)))
            break;
        if (*s == '\0')
            return NULL;
        if (*s != ',')
            break;
    }
    return "is not a list such as 0-2,4";
}

const char *check_cdi(const char *value)
{
    const char *slash = strchr(value, '/'), *equals = strchr(value, '=');
    return slash && equals && slash > value && equals > slash + 1 && equals[1] &&
                   only(value, ALNUM "/=._:-")
               ? NULL
               : "is not a CDI device such as nvidia.com/gpu=0";
}

static bool is_any(const char *value, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(value, *words) == 0)
            return true;
    return false;
}

static bool namespace_of(const char *value, const char *const *words)
{
    const char *other = joined(value);
    return other ? name_check("", other, NULL) == 0 : is_any(value, words);
}

const char *check_namespace(const char *value)
{
    static const char *const words[] = {"private", "host", NULL};
    return namespace_of(value, words) ? NULL : "is not private, host or container:NAME";
}

const char *check_ipc(const char *value)
{
    static const char *const words[] = {"private", "host", "shareable", "none", NULL};
    return namespace_of(value, words) ? NULL
                                      : "is not private, host, shareable, none or container:NAME";
}

const char *check_cgroup_namespace(const char *value)
{
    return check_namespace(value);
}

const char *check_idmap(const char *value)
{
    const char *s = value;
    bool ok = number_within(&s, 0, UINT32_MAX - 1) && *s == ':' &&
              number_within((s++, &s), 0, UINT32_MAX - 1) && *s == ':' &&
              number_within((s++, &s), 1, UINT32_MAX) && *s == '\0';
    return ok ? NULL : "is not INSIDE:OUTSIDE:COUNT, such as 0:100000:65536";
}

const char *check_volumes_from(const char *value)
{
    char name[BERTH_NAME_MAX + 8];
    size_t n = strcspn(value, ":");
    if (n < sizeof(name)) {
        memcpy(name, value, n);
        name[n] = '\0';
        if (name_check("", name, NULL) == 0 &&
            (!value[n] || !strcmp(value + n, ":ro") || !strcmp(value + n, ":rw")))
            return NULL;
    }
    return "is not NAME or NAME:ro";
}

static const char *const capabilities[] = {
    "ALL", "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID",
    "SETUID", "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN",
    "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE",
    "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE",
    "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
};

const char *check_capability(const char *value)
{
    if (strncasecmp(value, "CAP_", 4) == 0)
        value += 4;
    for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++)
        if (strcasecmp(value, capabilities[i]) == 0)
            return NULL;
    return "is not a capability";
}

const char *check_seccomp(const char *value)
{
    static const char *const words[] = {"default", "unconfined", NULL};
    return is_any(value, words) || !check_absolute(value)
               ? NULL
               : "is not default, unconfined or the absolute path of a profile";
}

const char *check_access(const char *value)
{
    return only(value, "rwm") && strlen(value) <= 3 ? NULL : "is not made of r, w and m";
}

static bool number_or_star(const char **s)
{
    if (**s == '*') {
        (*s)++;
        return true;
    }
    return number_within(s, 0, UINT32_MAX);
}

const char *check_device_rule(const char *value)
{
    const char *s = value + 1;
    if (*value && strchr("abc", *value) && *s++ == ' ' && number_or_star(&s) && *s++ == ':' &&
        number_or_star(&s) && *s++ == ' ' && !check_access(s))
        return NULL;
    return "is not a rule such as \"c 42:* rwm\"";
}
