/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names of images, as everybody writes them, in one normal form.
 *
 * The grammar is the distribution project's (reference/reference.go): what the others accept is
 * accepted here, and nothing that could be anything but a name ever reaches a path.
 */
#include "image/image.h"
#include "base/base.h"
#include "base/text.h"
#include "image/record.h"
#include <string.h>

#define DEFAULT_REGISTRY "docker.io"
#define DEFAULT_PATH "library/"
#define DEFAULT_TAG "latest"
#define NAME_MAX_BYTES 255
#define TAG_MAX_BYTES 128

static bool lower_or_digit(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool letter_or_digit(char c)
{
    return lower_or_digit(c) || (c >= 'A' && c <= 'Z');
}

/* One part of a path: letters and digits with ".", "_", "__" or any number of "-" between them. */
static bool part_valid(const char *s, size_t n)
{
    if (n == 0 || !lower_or_digit(s[0]) || !lower_or_digit(s[n - 1]))
        return false;
    for (size_t i = 1; i < n; i++) {
        if (lower_or_digit(s[i]) || (s[i] == '-' && s[i + 1] != '.' && s[i + 1] != '_'))
            continue;
        if (s[i] != '.' && s[i] != '_')
            return false;
        bool pair = s[i] == '_' && s[i + 1] == '_';
        if (!lower_or_digit(s[i + (pair ? 2 : 1)]))
            return false;
        i += pair ? 1 : 0;
    }
    return true;
}

static bool path_valid(const char *s)
{
    for (;;) {
        size_t n = strcspn(s, "/");
        if (!part_valid(s, n))
            return false;
        if (s[n] == 0)
            return true;
        s += n + 1;
    }
}

/* host[:port]: labels of letters, digits and inner "-", or an IPv6 address in brackets. */
static bool registry_valid(const char *s)
{
    const char *port = NULL;
    if (s[0] == '[') {
        size_t n = strspn(s + 1, "0123456789abcdefABCDEF:");
        if (n < 2 || s[n + 1] != ']')
            return false;
        port = s + n + 2;
    } else {
        char last = '.';
        for (port = s; *port && *port != ':'; last = *port++) {
            bool edge = last == '.' || port[1] == '.' || port[1] == ':' || port[1] == 0;
            if (!letter_or_digit(*port) && !(*port == '.' && last != '.') && !(*port == '-' && !edge))
                return false;
        }
        if (last == '.')
            return false;
    }
    if (*port == 0)
        return true;
    size_t digits = strspn(port + 1, "0123456789");
    return *port == ':' && digits >= 1 && digits <= 5 && port[1 + digits] == 0;
}

static bool tag_valid(const char *s)
{
    size_t n = strlen(s);
    if (n == 0 || n > TAG_MAX_BYTES || s[0] == '.' || s[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!letter_or_digit(s[i]) && s[i] != '_' && s[i] != '.' && s[i] != '-')
            return false;
    return true;
}

bool digest_valid(const char *s)
{
    return starts_with(s, "sha256:") && strlen(s) == 7 + 64 &&
           strspn(s + 7, "0123456789abcdef") == 64;
}

void reference_clear(struct reference *r)
{
    free(r->registry);
    free(r->repository);
    free(r->tag);
    free(r->digest);
    *r = (struct reference){0};
}

/* Does the first part name a registry? As everybody decides it: a dot, a port, "localhost", a capital. */
static bool names_registry(const char *s, size_t n)
{
    if (n == 9 && memcmp(s, "localhost", 9) == 0)
        return true;
    for (size_t i = 0; i < n; i++)
        if (s[i] == '.' || s[i] == ':' || s[i] == '[' || (s[i] >= 'A' && s[i] <= 'Z'))
            return true;
    return false;
}

static int refuse(struct berth_error *err, const char *text, const char *why)
{
    return fail(err, BERTH_INVALID, text, "\"%.200s\" is not an image reference: %s", text, why);
}

/* Cut "@digest" and ":tag" off the end of `name`. */
static const char *split_suffixes(char *name, char **ret_tag, char **ret_digest)
{
    char *at = strchr(name, '@');
    if (at) {
        *at = 0;
        if (!digest_valid(at + 1))
            return "the digest is not \"sha256:\" and 64 hex digits";
        *ret_digest = at + 1;
    }
    char *slash = strrchr(name, '/'), *colon = strrchr(slash ? slash : name, ':');
    if (colon) {
        *colon = 0;
        if (!tag_valid(colon + 1))
            return "the tag may have 128 of A-Z a-z 0-9 _ . - and begins with none of the last two";
        *ret_tag = colon + 1;
    }
    return NULL;
}

static const char *default_registry(const struct reference_defaults *d)
{
    bool another = d && d->registry && strcmp(d->registry, "index." DEFAULT_REGISTRY) != 0;
    return another ? d->registry : DEFAULT_REGISTRY;
}

static const char *default_tag(const struct reference_defaults *d)
{
    return d && d->tag ? d->tag : DEFAULT_TAG;
}

int reference_defaults_check(const struct reference_defaults *d, struct berth_error *err)
{
    const char *r = d->registry;
    if (r && (!registry_valid(r) || !names_registry(r, strlen(r))))
        return fail(err, BERTH_INVALID, "images.registry", "images.registry: \"%.100s\" is not a registry: HOST.DOMAIN or HOST:PORT", r);
    return !d->tag || tag_valid(d->tag) ? 0 : fail(err, BERTH_INVALID, "images.tag", "images.tag: \"%.100s\" is not a tag", d->tag);
}

static int fill(const char *registry, const char *path, const char *tag, const char *digest,
                struct reference *ret, struct berth_error *err)
{
    if (strcmp(registry, "index.docker.io") == 0)
        registry = DEFAULT_REGISTRY;
    bool library = strcmp(registry, DEFAULT_REGISTRY) == 0 && !strchr(path, '/');
    struct reference r = {
        .registry = strdup(registry),
        .repository = format_text("%s%s", library ? DEFAULT_PATH : "", path),
        .tag = tag ? strdup(tag) : NULL,
        .digest = digest ? strdup(digest) : NULL,
    };
    if (!r.registry || !r.repository || (tag && !r.tag) || (digest && !r.digest)) {
        reference_clear(&r);
        return fail_memory(err);
    }
    if (strlen(r.registry) + 1 + strlen(r.repository) > NAME_MAX_BYTES) { /* of the normal form: it reads itself */
        reference_clear(&r);
        return refuse(err, path, "the name with its registry is longer than 255 bytes");
    }
    *ret = r;
    return 0;
}

int reference_parse(const char *text, const struct reference_defaults *defaults, struct reference *ret, struct berth_error *err)
{
    size_t length = strnlen(text, NAME_MAX_BYTES + TAG_MAX_BYTES + 80);
    if (length == 0)
        return refuse(err, text, "it is empty");
    if (length >= NAME_MAX_BYTES + TAG_MAX_BYTES + 80)
        return refuse(err, text, "it is too long");
    autofree char *name = strdup(text);
    if (!name)
        return fail_memory(err);
    char *tag = NULL, *digest = NULL;
    const char *why = split_suffixes(name, &tag, &digest);
    if (why)
        return refuse(err, text, why);
    const char *registry = default_registry(defaults);
    char *path = name, *slash = strchr(name, '/');
    if (slash && names_registry(name, (size_t)(slash - name))) {
        *slash = 0;
        registry = name;
        path = slash + 1;
        if (!registry_valid(registry))
            return refuse(err, text, "what stands before the first \"/\" is not a host or host:port");
    }
    if (!path_valid(path))
        return refuse(err, text, "names are lower-case letters and digits, with single . _ or - "
                                 "between them, in parts divided by /");
    return fill(registry, path, tag || digest ? tag : default_tag(defaults), digest, ret, err);
}

static char *print(const char *registry, const char *path, const struct reference *r)
{
    return format_text("%s%s%s%s%s%s%s", registry ? registry : "", registry ? "/" : "", path,
                       r->tag ? ":" : "", r->tag ? r->tag : "", r->digest ? "@" : "",
                       r->digest ? r->digest : "");
}

char *reference_print(const struct reference *r)
{
    return print(r->registry, r->repository, r);
}

char *reference_familiar(const struct reference *r, const struct reference_defaults *defaults)
{
    if (strcmp(r->registry, default_registry(defaults)) != 0)
        return reference_print(r);
    const char *path = r->repository;
    if (strcmp(r->registry, DEFAULT_REGISTRY) == 0 && starts_with(path, DEFAULT_PATH) && !strchr(path + strlen(DEFAULT_PATH), '/'))
        path += strlen(DEFAULT_PATH);
    const char *slash = strchr(path, '/');
    if (slash && names_registry(path, (size_t)(slash - path))) /* alone it would be taken for another registry */
        return reference_print(r);
    return print(NULL, path, r);
}
