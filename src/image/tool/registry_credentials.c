/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logins, where docker and podman keep them: their files, their helpers.
 *
 * Whoever logged in with one of them is logged in here, and the other way round. A file that cannot be
 * read is an error, not an anonymous pull: it would fail later, and say something else.
 */
#include "base/file.h"
#include "base/spawn.h"
#include "image/tool/registry_inside.h"
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define FILE_MAX_BYTES (1u << 20)
#define HELPER_MAX_BYTES (64u << 10)
#define HELPER_SEC 30
#define HUB_KEY "https://index.docker.io/v1/"
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

void credentials_clear(struct credentials *c)
{
    char *const texts[] = {c->user, c->password, c->identity_token};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        if (texts[i])
            OPENSSL_cleanse(texts[i], strlen(texts[i]));
        free(texts[i]);
    }
    *c = (struct credentials){0};
}

/* ---- the files, in the order that they are asked in */

/* Podman's file of this boot, where nobody said where the runtime folder is. */
static int read_file(const char *path, const char *name, const char *repository, struct credentials *ret, struct berth_error *err);
static int read_runtime_file(const char *name, const char *repository, struct credentials *ret, struct berth_error *err)
{
    char path[64];
    snprintf(path, sizeof path, "/run/containers/%u/auth.json", (unsigned)geteuid());
    return read_file(path, name, repository, ret, err);
}

static const char *set(const char *variable)
{
    const char *value = getenv(variable);
    return value && *value ? value : NULL;
}

static const struct { const char *variable, *below; bool alone, docker; } files[] = {
    {"REGISTRY_AUTH_FILE", "", true, false}, /* alone: when it is set, only docker's is asked after it */
    {"XDG_RUNTIME_DIR", "/containers/auth.json", false, false}, /* not set: below /run/containers/UID */
    {"XDG_CONFIG_HOME", "/containers/auth.json", false, false},
    {"HOME", "/.config/containers/auth.json", false, false},
    {"DOCKER_CONFIG", "/config.json", true, true},
    {"HOME", "/.docker/config.json", false, true},
};

/* Where logins are written: the file that podman was told, else docker's. */
static char *file_to_write(void)
{
    if (set("REGISTRY_AUTH_FILE"))
        return strdup(set("REGISTRY_AUTH_FILE"));
    const char *folder = set("DOCKER_CONFIG"), *home = set("HOME");
    return folder ? format_text("%s/config.json", folder) : format_text("%s/.docker/config.json", home ? home : "/root");
}

/* ---- one file */

/* "https://index.docker.io/v1/", "registry.example:5000", "quay.io/team/app": how well it fits a repository; 0 not. */
static size_t key_fits(const char *key, const char *name, const char *repository)
{
    if (strcmp(name, "docker.io") == 0 && (strcmp(key, HUB_KEY) == 0 || strcmp(key, "index.docker.io") == 0 ||
                                           strcmp(key, "registry-1.docker.io") == 0))
        return 1;
    const char *host = starts_with(key, "https://") ? key + 8 : starts_with(key, "http://") ? key + 7 : key;
    size_t n = strlen(name);
    if (strncmp(host, name, n) != 0 || (host[n] && host[n] != '/'))
        return 0;
    const char *path = host + n + (host[n] == '/');
    size_t length = strlen(path);
    while (length && path[length - 1] == '/')
        length--;
    if (length == 0 || host != key) /* docker's keys are addresses: their path says the version */
        return 1;
    bool below = repository && strncmp(repository, path, length) == 0 && (!repository[length] || repository[length] == '/');
    return below ? 1 + length : 0;
}

static const json_t *best_entry(const json_t *auths, const char *name, const char *repository)
{
    const char *key;
    json_t *value;
    const json_t *best = NULL;
    size_t best_fit = 0;
    json_object_foreach((json_t *)(uintptr_t)auths, key, value) {
        size_t fit = key_fits(key, name, repository);
        if (fit > best_fit && json_is_object(value)) {
            best = value;
            best_fit = fit;
        }
    }
    return best;
}

/* base64 of "user:password". What would end a header's line is no login. */
/* "user:password" */
static int split_login(const char *plain, size_t length, struct credentials *ret)
{
    const char *colon = memchr(plain, ':', length);
    if (!colon || memchr(plain, 0, length) || strpbrk(plain, "\r\n"))
        return -EINVAL;
    ret->user = strndup(plain, (size_t)(colon - plain));
    ret->password = strdup(colon + 1);
    return ret->user && ret->password ? 0 : -ENOMEM;
}

static int decode_auth(const char *auth, struct credentials *ret)
{
    size_t n = strlen(auth);
    while (n && strchr("\r\n ", auth[n - 1]))
        n--;
    size_t padding = n >= 2 ? (auth[n - 1] == '=') + (auth[n - 2] == '=') : 0;
    if (n == 0 || n % 4 || n > 64u << 10)
        return -EINVAL;
    autofree char *plain = calloc(1, n);
    if (!plain)
        return -ENOMEM;
    int length = EVP_DecodeBlock((unsigned char *)plain, (const unsigned char *)auth, (int)n);
    if (length < 0 || (size_t)length < padding)
        return -EINVAL;
    length -= (int)padding;
    plain[length] = 0;
    while (length && plain[length - 1] == 0) /* docker pads with NUL */
        length--;
    int code = split_login(plain, (size_t)length, ret);
    OPENSSL_cleanse(plain, n);
    return code;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text && *text ? text : NULL;
}

static int read_entry(const json_t *entry, const char *name, struct credentials *ret, struct berth_error *err)
{
    const char *auth = text_of(entry, "auth"), *token = text_of(entry, "identitytoken");
    struct credentials c = {0};
    int code = auth ? decode_auth(auth, &c) : 0;
    if (code == 0 && !auth && text_of(entry, "username") && text_of(entry, "password")) {
        c.user = strdup(text_of(entry, "username"));
        c.password = strdup(text_of(entry, "password"));
        code = c.user && c.password ? 0 : -ENOMEM;
    }
    if (code == 0 && token && !(c.identity_token = strdup(token)))
        code = -ENOMEM;
    if (code == 0)
        *ret = c;
    else
        credentials_clear(&c);
    return code == -EINVAL ? fail(err, BERTH_INVALID, name, "the login kept for %s is not base64 of USER:PASSWORD", name)
         : code < 0        ? fail_memory(err) : 0;
}

static const char *helper_of(const json_t *document, const char *name)
{
    const json_t *helpers = json_object_get(document, "credHelpers");
    const char *helper = text_of(helpers, name);
    if (!helper && strcmp(name, "docker.io") == 0)
        helper = text_of(helpers, HUB_KEY) ? text_of(helpers, HUB_KEY) : text_of(helpers, "index.docker.io");
    return helper ? helper : text_of(document, "credsStore");
}

int credentials_read(const char *json, size_t size, const char *name, const char *repository, struct credentials *ret,
                     char **ret_helper, struct berth_error *err)
{
    json_error_t where;
    json_t *document = json_loadb(json, size, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(document)) {
        json_decref(document);
        return fail(err, BERTH_INVALID, name, document ? "not an object" : "line %d: %s", where.line, where.text);
    }
    const json_t *entry = best_entry(json_object_get(document, "auths"), name, repository);
    const char *helper = helper_of(document, name);
    int code = entry ? read_entry(entry, name, ret, err) : 0;
    if (code == 0 && helper && !ret->user && !ret->identity_token) {
        if (strspn(helper, NAME_LETTERS) != strlen(helper))
            code = fail(err, BERTH_INVALID, helper, "\"%.80s\" is not the name of a credential helper", helper);
        else if (!(*ret_helper = strdup(helper)))
            code = fail_memory(err);
    }
    json_decref(document);
    return code;
}

/* ---- helpers */

static char *find_program(const char *name)
{
    const char *path = set("PATH");
    for (const char *p = path ? path : "/usr/local/bin:/usr/bin:/bin"; *p;) {
        size_t n = strcspn(p, ":");
        char *whole = n ? format_text("%.*s/%s", (int)n, p, name) : NULL;
        if (whole && access(whole, X_OK) == 0)
            return whole;
        free(whole);
        p += n + (p[n] == ':');
    }
    return NULL;
}

/* Its whole output, in bounded time. It is killed when it takes longer or says more. */
static int listen_to(int fd, struct text *said)
{
    int64_t end = monotonic_usec() + HELPER_SEC * 1000000ll;
    char buffer[4096];
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = (end - monotonic_usec()) / 1000;
        int ready = left > 0 ? RETRY(poll(&p, 1, (int)left)) : 0;
        ssize_t n = ready > 0 ? RETRY(read(fd, buffer, sizeof buffer)) : -1;
        if (ready <= 0 || n < 0)
            return ready == 0 ? -ETIMEDOUT : -EIO;
        if (n == 0)
            return 0;
        if (said->length + (size_t)n > HELPER_MAX_BYTES)
            return -EFBIG;
        text_add_bytes(said, buffer, (size_t)n);
    }
}

/* It has 30 seconds, then it is ended. Its exit status is not to be had (base/spawn.h): what it says decides. */
static int hear_helper(int pid_fd, int in_fd, const char *name, struct text *said, struct berth_error *err)
{
    struct pollfd p = {.fd = pid_fd, .events = POLLIN};
    int code = listen_to(in_fd, said);
    if (code < 0 || RETRY(poll(&p, 1, 5000)) <= 0)
        syscall(SYS_pidfd_send_signal, pid_fd, SIGKILL, NULL, 0);
    spawn_reap(pid_fd, NULL);
    if (code == 0)
        return 0;
    return code == -ETIMEDOUT ? fail(err, BERTH_TIMED_OUT, name, "%s does not answer for 30 seconds", name)
                              : fail(err, BERTH_TOO_BIG, name, "%s says more than is read of it", name);
}

static int run_helper(const char *helper, const char *verb, const char *input, struct text *said, struct berth_error *err)
{
    autofree char *name = format_text("docker-credential-%s", helper), *path = name ? find_program(name) : NULL;
    if (!path)
        return name ? fail(err, BERTH_NOT_FOUND, name, "the credential helper %s is not installed (docker's config.json names it)", name)
                    : fail_memory(err);
    const char *argv[] = {name, verb, NULL};
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    bool piped = pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0;
    autoclose int in_read = in[0], in_write = in[1], out_read = out[0], out_write = out[1], pid_fd = -1;
    if (!piped)
        return fail_os(err, errno, name, "make a pipe");
    int fds[] = {in_read, out_write, -1};
    struct spawn s = {.path = path, .argv = argv, .env = (const char *const *)environ, .fds = fds, .n_fds = ARRAY_SIZE(fds), .session = true};
    int code = spawn(&s, NULL, &pid_fd);
    close_fd(&in_read);
    close_fd(&out_write);
    if (code < 0)
        return fail_os(err, code, name, "start %s", path);
    fd_write_all(in_write, input, strlen(input)); /* less than a pipe holds */
    close_fd(&in_write);
    return hear_helper(pid_fd, out_read, name, said, err);
}

/* {"Username", "Secret"}; the name <token> says that the secret is one. */
static int take_login(const json_t *json, const char *helper, const char *name, struct credentials *ret, struct berth_error *err)
{
    const char *user = text_of(json, "Username"), *secret = text_of(json, "Secret");
    if (!user || !secret || strpbrk(user, "\r\n:") || strpbrk(secret, "\r\n"))
        return fail(err, BERTH_IO, helper, "docker-credential-%s gives no login for %s", helper, name);
    struct credentials c = {0};
    bool token = strcmp(user, "<token>") == 0;
    if (token)
        c.identity_token = strdup(secret);
    else
        c = (struct credentials){.user = strdup(user), .password = strdup(secret)};
    if (token ? !c.identity_token : !c.user || !c.password) {
        credentials_clear(&c);
        return fail_memory(err);
    }
    *ret = c;
    return 0;
}

static int ask_helper(const char *helper, const char *name, struct credentials *ret, struct berth_error *err)
{
    autotext struct text said = {0};
    const char *key = strcmp(name, "docker.io") == 0 ? HUB_KEY : name;
    int code = run_helper(helper, "get", key, &said, err);
    if (code < 0)
        return code;
    json_t *json = said.length ? json_loadb(said.data, said.length, JSON_REJECT_DUPLICATES, NULL) : NULL;
    bool absent = said.length && strstr(said.data, "credentials not found");
    if (!absent)
        code = take_login(json, helper, name, ret, err);
    json_decref(json);
    if (said.data)
        OPENSSL_cleanse(said.data, said.length);
    return code;
}

/* ---- all of them */

static int read_file(const char *path, const char *name, const char *repository, struct credentials *ret, struct berth_error *err)
{
    autofree char *data = NULL, *helper = NULL;
    size_t size = 0;
    int code = file_read(AT_FDCWD, path, FILE_MAX_BYTES, &data, &size);
    if (code == -ENOENT || code == -ENOTDIR || (code == 0 && size == 0))
        return 0;
    if (code < 0)
        return fail_os(err, code, path, "read %s", path);
    code = credentials_read(data, size, name, repository, ret, &helper, err);
    OPENSSL_cleanse(data, size);
    if (code == 0 && helper)
        code = ask_helper(helper, name, ret, err);
    return code < 0 ? fail_context(err, "%s", path) : 0;
}

int credentials_find(const char *name, const char *repository, struct credentials *ret, struct berth_error *err)
{
    bool podman = true, docker = true;
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        bool *wanted = files[i].docker ? &docker : &podman;
        const char *folder = *wanted ? set(files[i].variable) : NULL;
        autofree char *path = folder ? format_text("%s%s", folder, files[i].below) : NULL;
        bool runtime = *wanted && !folder && strcmp(files[i].variable, "XDG_RUNTIME_DIR") == 0;
        if (!folder && !runtime)
            continue;
        if (files[i].alone)
            *wanted = false;
        int code = runtime ? read_runtime_file(name, repository, ret, err)
                 : path    ? read_file(path, name, repository, ret, err) : fail_memory(err);
        if (code < 0 || ret->user || ret->identity_token)
            return code;
    }
    return 0;
}

/* ---- login and logout */

static int encode_auth(const struct credentials *c, char **ret)
{
    autofree char *pair = format_text("%s:%s", c->user, c->password);
    *ret = pair ? malloc((strlen(pair) + 2) / 3 * 4 + 1) : NULL;
    if (!*ret)
        return -ENOMEM;
    EVP_EncodeBlock((unsigned char *)*ret, (const unsigned char *)pair, (int)strlen(pair));
    OPENSSL_cleanse(pair, strlen(pair));
    return 0;
}

static int tell_helper(const char *helper, const char *key, const struct credentials *c, struct berth_error *err)
{
    autotext struct text said = {0};
    json_t *json = c ? json_pack("{ss ss ss}", "ServerURL", key, "Username", c->user, "Secret", c->password) : NULL;
    autofree char *text = json ? json_dumps(json, JSON_COMPACT) : c ? NULL : strdup(key);
    json_decref(json);
    int code = text ? run_helper(helper, c ? "store" : "erase", text, &said, err) : fail_memory(err);
    if (text)
        OPENSSL_cleanse(text, strlen(text));
    if (code < 0 || !c || !said.length || said.data[strspn(said.data, " \r\n")] == 0)
        return code;
    return fail(err, BERTH_IO, helper, "docker-credential-%s does not keep the login: %.100s", helper, said.data);
}

/* Take out every key that means this registry. */
static bool forget(json_t *auths, const char *name)
{
    const char *key;
    json_t *value;
    void *next;
    bool was = false;
    json_object_foreach_safe(auths, next, key, value) {
        const char *path = strchr(starts_with(key, "https://") ? key + 8 : key, '/');
        if (key_fits(key, name, NULL) && (starts_with(key, "https://") || !path || !path[1])) {
            json_object_del(auths, key);
            was = true;
        }
    }
    return was;
}

static int load_document(const char *path, json_t **ret, struct berth_error *err)
{
    autofree char *data = NULL;
    size_t size = 0;
    json_error_t where;
    int code = file_read(AT_FDCWD, path, FILE_MAX_BYTES, &data, &size);
    if (code < 0 && code != -ENOENT)
        return fail_os(err, code, path, "read %s", path);
    *ret = size ? json_loadb(data, size, JSON_REJECT_DUPLICATES, &where) : json_object();
    if (json_is_object(*ret))
        return 0;
    json_decref(*ret);
    return fail(err, BERTH_INVALID, path, "%s is not a JSON object; nothing was changed", path);
}

/* Aside and renamed, readable by its owner alone; a link stays a link to what was written. */
static int save_document(const char *path, const json_t *document, struct berth_error *err)
{
    autofree char *text = json_dumps(document, JSON_INDENT(4)), *real = realpath(path, NULL);
    autofree char *folder = strdup(path);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    if (!text || !folder)
        return fail_memory(err);
    if (slash && slash != folder) {
        *slash = 0;
        int made = make_folders(folder, 0700);
        if (made < 0)
            return fail_os(err, made, folder, "make %s", folder);
    }
    int code = file_write(AT_FDCWD, real ? real : path, text, strlen(text), 0600, FILE_SYNC);
    OPENSSL_cleanse(text, strlen(text));
    return code < 0 ? fail_os(err, code, path, "write %s", path) : 0;
}

static int change(json_t *document, const char *name, const struct credentials *c, bool *ret_was_there, struct berth_error *err)
{
    const char *key = strcmp(name, "docker.io") == 0 ? HUB_KEY : name, *helper = helper_of(document, name);
    json_t *auths = json_object_get(document, "auths");
    if (!auths && json_object_set_new(document, "auths", json_object()) == 0)
        auths = json_object_get(document, "auths");
    *ret_was_there = forget(auths, name);
    if (helper) {
        int code = strspn(helper, NAME_LETTERS) == strlen(helper) ? tell_helper(helper, key, c, err)
                 : fail(err, BERTH_INVALID, helper, "\"%.80s\" is not the name of a credential helper", helper);
        *ret_was_there |= code == 0;
        return c && code == 0 && json_object_set_new(auths, key, json_object()) < 0 ? fail_memory(err) : code;
    }
    char *auth = NULL;
    if (!c)
        return 0;
    int code = encode_auth(c, &auth);
    if (code == 0 && json_object_set_new(auths, key, json_pack("{ss}", "auth", auth)) < 0)
        code = -ENOMEM;
    free(auth);
    return code < 0 ? fail_memory(err) : 0;
}

int credentials_store(const char *name, const struct credentials *c, char **ret_place, bool *ret_was_there, struct berth_error *err)
{
    autofree char *path = file_to_write();
    json_t *document = NULL;
    if (!path)
        return fail_memory(err);
    int code = load_document(path, &document, err);
    if (code < 0)
        return code;
    code = change(document, name, c, ret_was_there, err);
    if (code == 0 && (c || *ret_was_there))
        code = save_document(path, document, err);
    json_decref(document);
    if (code == 0)
        *ret_place = TAKE(path);
    return code;
}
