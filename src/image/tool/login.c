/* SPDX-License-Identifier: Apache-2.0 */
/*
 * login, logout: a password is tried in the jail, and kept outside of it when it opened the registry.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/jail.h"
#include "image/tool/registry_inside.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#define INPUT_MAX_BYTES (64u << 10)

struct login { char *name; struct credentials credentials; };

/* "registry.example:5000", "https://registry.example/v2/", "index.docker.io": as references call it. */
static int registry_of(const char *text, char **ret, struct berth_error *err)
{
    struct reference r = {0};
    const char *host = starts_with(text, "https://") ? text + 8 : starts_with(text, "http://") ? text + 7 : text;
    autofree char *alone = strndup(host, strcspn(host, "/"));
    autofree char *name = alone ? format_text("%s%s/x/x", alone, strpbrk(alone, ".:[") || strcmp(alone, "localhost") == 0 ? "" : ".") : NULL;
    if (!name)
        return fail_memory(err);
    if (strstr(name, "./x/x"))
        return fail(err, BERTH_INVALID, text, "\"%.100s\" is not a registry: HOST or HOST:PORT", text);
    if (strncmp(name, "registry-1.docker.io/", 21) == 0)
        memmove(name, name + 11, strlen(name + 11) + 1);
    int code = reference_parse(name, NULL, &r, NULL);
    if (code < 0)
        return fail(err, BERTH_INVALID, text, "\"%.100s\" is not a registry: HOST or HOST:PORT", text);
    *ret = TAKE(r.registry);
    reference_clear(&r);
    return 0;
}

/* Without a name the one that short names mean. */
static const char *asked(const struct work *w)
{
    const char *usual = w->berth_toml->images.registry;
    return w->arguments[0] ? w->arguments[0] : usual ? usual : "docker.io";
}

static int read_login(struct credentials *c, struct berth_error *err)
{
    autofree char *text = NULL;
    size_t size = 0;
    int r = fd_read_all(STDIN_FILENO, INPUT_MAX_BYTES, &text, &size);
    json_t *json = r == 0 ? json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const char *user = json_string_value(json_object_get(json, "username"));
    const char *password = json_string_value(json_object_get(json, "password"));
    if (!user || !*user || !password || !*password)
        r = fail(err, BERTH_INVALID, "login", "a user name and a password are needed");
    else if (strpbrk(user, ":\r\n") || strpbrk(password, "\r\n"))
        r = fail(err, BERTH_INVALID, "login", "the user name or the password has a character that can't be sent");
    else
        *c = (struct credentials){.user = strdup(user), .password = strdup(password)};
    json_decref(json);
    return r < 0 ? r : c->user && c->password ? 0 : fail_memory(err);
}

static int replace(char **place, const char *value)
{
    free(*place);
    *place = strdup(value);
    return *place ? 0 : -ENOMEM;
}

int login_prepare(struct work *w, struct berth_error *err)
{
    struct login *l = w->login = calloc(1, sizeof *l); /* until the end of the program */
    if (!l)
        return fail_memory(err);
    int r = registry_of(asked(w), &l->name, err);
    if (r == 0)
        r = read_login(&l->credentials, err);
    struct reference to = {.registry = l->name};
    if (r == 0)
        r = registry_prepare(w, &to, REGISTRY_PUSH | REGISTRY_LOGIN, &w->registry, err);
    struct source *s = r == 0 ? &w->registry->sources[0] : NULL;
    if (s && (replace(&s->user, l->credentials.user) < 0 || replace(&s->password, l->credentials.password) < 0))
        r = fail_memory(err);
    return r;
}

int login_enter(struct work *w, struct berth_error *err)
{
    autofree char *scratch = format_text("%s/images", store_root(w->store));
    int r = scratch ? jail_enter_network(scratch, NULL, 0, err) : fail_memory(err);
    close_fd(&w->images_fd);
    return r;
}

int login_run(struct work *w, struct berth_error *err)
{
    int r = registry_connect(w->registry, err);
    return r == 0 ? registry_check_login(w->registry, err) : r;
}

static int keep_it(const char *name, const struct credentials *c, struct berth_error *err)
{
    autofree char *file = NULL;
    bool was_there = false;
    int r = credentials_store(name, c, &file, &was_there, err);
    if (r == 0 && c)
        answer(json_pack("{ss ss ss}", "registry", name, "file", file, "user", c->user));
    else if (r == 0)
        answer(json_pack("{ss ss}", "registry", name, "file", was_there ? file : ""));
    return r;
}

int login_finish(struct work *w, bool done, struct berth_error *err)
{
    int r = done ? keep_it(w->login->name, &w->login->credentials, err) : 0;
    if (w->login)
        credentials_clear(&w->login->credentials);
    return r;
}

int logout_prepare(struct work *w, struct berth_error *err)
{
    autofree char *name = NULL;
    int r = registry_of(asked(w), &name, err);
    return r == 0 ? keep_it(name, NULL, err) : r;
}

/* ---- for a docker daemon, which pulls by itself */

/* A header's value, in base64's form for addresses. */
static int tell_header(const struct credentials *c, const char *registry, struct berth_error *err)
{
    const char *server = strcmp(registry, "docker.io") ? registry : "https://index.docker.io/v1/";
    json_t *json = c->identity_token ? json_pack("{ss ss}", "identitytoken", c->identity_token, "serveraddress", server)
                                     : json_pack("{ss ss ss}", "username", c->user, "password", c->password, "serveraddress", server);
    autofree char *plain = json ? json_dumps(json, JSON_COMPACT) : NULL;
    size_t n = plain ? strlen(plain) : 0;
    autofree char *base = plain ? malloc((n + 2) / 3 * 4 + 1) : NULL;
    json_decref(json);
    if (!base)
        return fail_memory(err);
    EVP_EncodeBlock((unsigned char *)base, (const unsigned char *)plain, (int)n);
    OPENSSL_cleanse(plain, n);
    for (char *p = base; *p; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
    autofree char *line = format_text("X-Registry-Auth: %s\n", base);
    int r = line ? fd_write_all(STDOUT_FILENO, line, strlen(line)) : -ENOMEM;
    return r < 0 ? fail_os(err, r, registry, "write") : 0;
}

int credentials_prepare(struct work *w, struct berth_error *err)
{
    struct reference r = {0};
    struct credentials c = {0};
    int code = reference_parse(w->arguments[0], &w->berth_toml->images, &r, err);
    if (code == 0)
        code = credentials_find(r.registry, r.repository, &c, err);
    if (code == 0 && (c.identity_token || (c.user && c.password)))
        code = tell_header(&c, r.registry, err);
    credentials_clear(&c);
    reference_clear(&r);
    return code;
}
