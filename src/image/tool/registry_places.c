/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where images are asked for: [registries] of berth.toml, the certs.d folders, the system's CAs.
 *
 * Outside of the jail, before anything was said to anybody.
 */
#include "base/file.h"
#include "image/tool/registry_inside.h"
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#define PEM_MAX_BYTES (4u << 20)
#define DOCKER_HUB "registry-1.docker.io"

/* ---- settings */

/* The entry of a host, or that of "*", or NULL. */
static int find_entry(const json_t *registries, const char *host, const json_t **ret, struct berth_error *err)
{
    const json_t *entry = json_object_get(registries, host);
    if (!entry)
        entry = json_object_get(registries, "*");
    *ret = entry;
    return entry ? settings_registry(host, entry, err) : 0;
}

static const char *setting(const json_t *entry, const char *key)
{
    return json_string_value(json_object_get(entry, key));
}

/* ---- CAs and certificates */

static int add_file(struct text *all, int dir_fd, const char *path, struct berth_error *err)
{
    autofree char *data = NULL;
    size_t size = 0;
    int r = file_read(dir_fd, path, PEM_MAX_BYTES, &data, &size);
    if (r < 0)
        return fail_os(err, r, path, "read the certificate %s", path);
    text_add_bytes(all, data, size);
    text_add(all, "\n");
    return all->failed ? fail_memory(err) : 0;
}

static int read_into(char **place, int dir_fd, const char *path, struct berth_error *err)
{
    autotext struct text text = {0};
    int r = add_file(&text, dir_fd, path, err);
    if (r < 0)
        return r;
    free(*place);
    *place = text_take(&text);
    return *place ? 0 : fail_memory(err);
}

/* certs.d/HOST: *.crt are CAs; NAME.cert and NAME.key are our certificate. */
static int read_certs(const char *folder, const char *host, struct text *ca, struct source *s, struct berth_error *err)
{
    autofree char *path = format_text("%s/%s", folder, host);
    autoclose int fd = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    DIR *dir = fd >= 0 ? fdopendir(dup(fd)) : NULL;
    int r = 0;
    for (struct dirent *e; r == 0 && dir && (e = readdir(dir));) {
        size_t n = strlen(e->d_name);
        if (ends_with(e->d_name, ".crt"))
            r = add_file(ca, fd, e->d_name, err);
        if (!ends_with(e->d_name, ".cert") || s->certificate)
            continue;
        autofree char *key = format_text("%.*s.key", (int)(n - 5), e->d_name);
        r = key ? read_into(&s->certificate, fd, e->d_name, err) : fail_memory(err);
        if (r == 0)
            r = read_into(&s->key, fd, key, err);
    }
    if (dir)
        closedir(dir);
    return r < 0 ? fail_context(err, "%s", path) : 0;
}

static int find_certificates(const struct registry *r, const json_t *entry, struct source *s, struct berth_error *err)
{
    static const char *const folders[] = {"/etc/containers/certs.d", "/etc/docker/certs.d"};
    autotext struct text ca = {0};
    const char *file = setting(entry, "ca"), *certificate = setting(entry, "certificate"), *key = setting(entry, "key");
    int code = file ? add_file(&ca, AT_FDCWD, file, err) : 0;
    if (code == 0 && (certificate || key))
        code = certificate && key ? read_into(&s->certificate, AT_FDCWD, certificate, err)
                                  : fail(err, BERTH_INVALID, s->host, "registries.\"%s\": certificate and key belong together", s->host);
    if (code == 0 && key)
        code = read_into(&s->key, AT_FDCWD, key, err);
    for (size_t i = 0; code == 0 && i < ARRAY_SIZE(folders); i++)
        code = read_certs(folders[i], s->host, &ca, s, err);
    if (code < 0 || !ca.length)
        return code;
    text_add(&ca, r->ca ? r->ca : "");
    s->ca = text_take(&ca);
    return s->ca ? 0 : fail_memory(err);
}

static int find_system_ca(struct registry *r, struct berth_error *err)
{
    static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                        "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
    const char *chosen = getenv("SSL_CERT_FILE");
    if (chosen && *chosen)
        return read_into(&r->ca, AT_FDCWD, chosen, err);
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (access(files[i], R_OK) == 0)
            return read_into(&r->ca, AT_FDCWD, files[i], err);
    return 0;
}

/* ---- sources */

static bool is_loopback(const char *host)
{
    size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    return (n == 9 && memcmp(host, "localhost", 9) == 0) || starts_with(host, "127.") || (n == 5 && memcmp(host, "[::1]", 5) == 0);
}

static int read_timeout(const json_t *entry, struct source *s, struct berth_error *err)
{
    const char *text = setting(entry, "timeout");
    int64_t usec = REGISTRY_SILENCE_SEC * 1000000ll;
    if (text && (duration_parse(text, false, &usec) < 0 || usec < 1000000 || usec > 3600 * 1000000ll))
        return fail(err, BERTH_INVALID, s->host, "registries.\"%s\".timeout: \"%.40s\" is not a duration from 1s to 1h", s->host, text);
    s->silence_sec = (int)(usec / 1000000);
    return 0;
}

/* "host[:port][/prefix]", with http:// or https:// before it or without. */
static int split_place(const char *text, struct source *s, struct berth_error *err)
{
    bool http = starts_with(text, "http://"), https = starts_with(text, "https://");
    const char *host = text + (http ? 7 : https ? 8 : 0);
    size_t n = strcspn(host, "/");
    const char *prefix = host + n + (host[n] == '/');
    if (!n || strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]_") < n ||
        strspn(prefix, "abcdefghijklmnopqrstuvwxyz0123456789._-/") != strlen(prefix) || strstr(prefix, ".."))
        return fail(err, BERTH_INVALID, text, "\"%.200s\" is not a mirror: HOST[:PORT][/PATH], as mirror.example:5000", text);
    s->host = strndup(host, n);
    s->prefix = *prefix ? format_text("%s%s", prefix, ends_with(prefix, "/") ? "" : "/") : strdup("");
    if (!s->host || !s->prefix)
        return fail_memory(err);
    s->loopback = is_loopback(s->host);
    s->scheme = http ? SCHEME_HTTP : s->loopback && !https ? SCHEME_EITHER : SCHEME_HTTPS;
    return 0;
}

/* As above, and what is said about it. `name` is what settings and credentials call it. */
static int add_source(struct registry *r, const json_t *registries, const char *place, const char *name, bool mirror,
                      struct berth_error *err)
{
    struct source *s = &r->sources[r->n_sources++];
    struct credentials c = {0};
    const json_t *entry = NULL;
    int code = split_place(place, s, err);
    if (code == 0)
        code = find_entry(registries, name ? name : s->host, &entry, err);
    if (code < 0)
        return code;
    name = name ? name : s->host;
    s->is_mirror = mirror;
    if (json_is_true(json_object_get(entry, "blocked")))
        return fail(err, BERTH_DENIED, name, "the settings block the registry %s (registries.\"%s\".blocked)", name, name);
    if (json_is_true(json_object_get(entry, "insecure"))) {
        s->unverified = true;
        s->scheme = s->scheme == SCHEME_HTTPS ? SCHEME_EITHER : s->scheme;
    }
    code = read_timeout(entry, s, err);
    if (code == 0)
        code = find_certificates(r, entry, s, err);
    if (code == 0 && !r->login)
        code = credentials_find(name, r->reference.repository, &c, err);
    s->user = c.user;
    s->password = c.password;
    s->identity_token = c.identity_token;
    return code;
}

static int add_mirrors(struct registry *r, const json_t *registries, struct berth_error *err)
{
    const json_t *entry = NULL;
    int code = find_entry(registries, r->name, &entry, err);
    const json_t *mirrors = json_object_get(entry, "mirrors");
    if (code == 0 && json_array_size(mirrors) >= REGISTRY_MAX_SOURCES)
        code = fail(err, BERTH_INVALID, r->name, "registries.\"%s\".mirrors: more than %d", r->name, REGISTRY_MAX_SOURCES - 1);
    for (size_t i = 0; code == 0 && i < json_array_size(mirrors) && !r->push; i++) {
        const char *place = json_string_value(json_array_get(mirrors, i));
        code = place ? add_source(r, registries, place, NULL, true, err)
                     : fail(err, BERTH_INVALID, r->name, "registries.\"%s\".mirrors: one is not a string", r->name);
    }
    return code;
}

int places_find(struct work *w, struct registry *r, struct berth_error *err)
{
    const char *proxy = getenv("http_proxy");
    const char *said = w->berth_toml->registries;
    json_t *registries = said ? json_loads(said, 0, NULL) : NULL;
    proxy = proxy ? proxy : getenv("HTTP_PROXY");
    r->http_proxy = proxy && *proxy ? strdup(proxy) : NULL;
    r->sources = calloc(REGISTRY_MAX_SOURCES, sizeof *r->sources);
    int code = r->sources ? find_system_ca(r, err) : fail_memory(err);
    if (code == 0)
        code = add_mirrors(r, registries, err);
    if (code == 0)
        code = add_source(r, registries, strcmp(r->name, "docker.io") == 0 ? DOCKER_HUB : r->name, r->name, false, err);
    json_decref(registries);
    return code;
}
