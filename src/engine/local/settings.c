/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth.toml for the library, which has no TOML in it: berth-image reads and checks the file, RUN/settings
 * keeps what it said beside the file's identity, and so does the open runtime.
 *
 * As long as the file stays what it is, that costs one stat; in a new process a small read more.
 */
#include "local/inside.h"
#include "base/file.h"
#include "image/tool.h"
#include "local/tool.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define CACHE_FILE "settings"

/* The first line of the cache; "" when there is no file. */
static int identify(const char *path, char **ret, struct berth_error *err)
{
    struct stat st;
    bool usual = !strcmp(path, SETTINGS_FILE);
    if (stat(path, &st) < 0)
        return usual && errno == ENOENT ? (*ret = strdup("")) ? 0 : fail_memory(err)
                                        : fail_os(err, errno, path, "read %s", path);
    *ret = format_text("%s %lld.%09ld %lld %llu %llu\n", path, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                       (long long)st.st_size, (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    return *ret ? 0 : fail_memory(err);
}

/* Another's file, or one that others may write, says nothing to us. */
static bool cache_ours(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && st.st_nlink == 1 && !(st.st_mode & 022) &&
           st.st_size > 0 && st.st_size <= 2 * SETTINGS_MAX_BYTES;
}

static char *cache_read(struct store *store, const char *identity)
{
    size_t n = strlen(identity), size;
    autofree char *text = NULL;
    autoclose int fd = store ? openat(store_run_fd(store), CACHE_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
    char self[32];
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    if (fd < 0 || !cache_ours(fd) || file_read(AT_FDCWD, self, 2 * SETTINGS_MAX_BYTES, &text, &size) < 0 || size <= n ||
        memcmp(text, identity, n) != 0)
        return NULL;
    return strdup(text + n);
}

/* ---- asking berth-image */

static int read_words(int fd, struct text *said, struct berth_error *err)
{
    char buffer[4096];
    ssize_t n;
    while ((n = RETRY(read(fd, buffer, sizeof(buffer)))) > 0 && said->length < 4 * SETTINGS_MAX_BYTES)
        text_add_bytes(said, buffer, (size_t)n);
    text_add_bytes(said, "", 1);
    return n < 0 ? fail_os(err, errno, NULL, "read what berth-image said") : said->failed ? fail_memory(err) : 0;
}

/* Its result, then how it ended, both into one pipe. */
static int ask(const struct local *c, const char *path, char **ret_json, struct berth_error *err)
{
    const char *const usual[] = {IMAGE_TOOL_PROGRAM, "settings", c->root, c->run, NULL};
    const char *const other[] = {IMAGE_TOOL_PROGRAM, "settings", c->root, c->run, "--settings", path, NULL};
    autotext struct text said = {0};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    const int fds[] = {-1, ends[1], -1, ends[1]};
    int r = helper_spawn(c, IMAGE_TOOL_PROGRAM, c->config ? other : usual, fds, ARRAY_SIZE(fds), NULL, err);
    close(ends[1]);
    if (r == 0)
        r = read_words(ends[0], &said, err);
    close(ends[0]);
    char *end = r == 0 ? strchr(said.data, '\n') : NULL;
    if (r < 0)
        return r;
    if (!end || starts_with(said.data, "{\"error\"")) {
        r = tool_said(said.data, err);
        return r < 0 ? r : fail(err, BERTH_LOST, path, "berth-image said nothing of %s", path);
    }
    *end = 0;
    *ret_json = strdup(said.data);
    return *ret_json ? 0 : fail_memory(err);
}

/* Kept only when the file was the same before and after. */
static int ask_and_keep(const struct local *c, struct store *store, const char *path, const char *identity, char **ret_json,
                        struct berth_error *err)
{
    autofree char *after = NULL;
    int r = ask(c, path, ret_json, err);
    if (r == 0 && store && identify(path, &after, NULL) == 0 && !strcmp(identity, after)) {
        autofree char *all = format_text("%s%s", identity, *ret_json);
        if (all)
            (void)file_write(store_run_fd(store), CACHE_FILE, all, strlen(all), 0600, 0);
    }
    return r;
}

/* Under c->lock: the text that is now in force, in c->settings. */
static int refresh(struct local *c, struct store *store, struct berth_error *err)
{
    const char *path = c->config ? c->config : SETTINGS_FILE;
    autofree char *identity = NULL, *json = NULL;
    int r = identify(path, &identity, err);
    if (r < 0 || (c->settings && !strcmp(c->settings_of, identity)))
        return r;
    json = *identity ? cache_read(store, identity) : strdup("{}");
    if (!json && (!*identity || (r = ask_and_keep(c, store, path, identity, &json, err)) < 0))
        return r < 0 ? r : fail_memory(err);
    free(c->settings);
    free(c->settings_of);
    c->settings = TAKE(json);
    c->settings_of = TAKE(identity);
    return 0;
}

int settings_text(struct local *c, char **ret_json, struct berth_error *err)
{
    struct store *store = NULL;
    (void)local_store(c, false, &store, NULL);
    pthread_mutex_lock(&c->lock);
    int r = refresh(c, store, err);
    *ret_json = r == 0 ? strdup(c->settings) : NULL;
    pthread_mutex_unlock(&c->lock);
    return r < 0 || *ret_json ? r : fail_memory(err);
}

int settings_read(struct local *c, struct settings **ret, struct berth_error *err)
{
    autofree char *json = NULL;
    int r = settings_text(c, &json, err);
    return r < 0 ? r : settings_parse(json, strlen(json), ret, err);
}

/* ---- what they change */

int settings_spec(const struct settings *s, const char *spec_json, struct spec **ret, struct berth_error *err)
{
    autofree char *json = NULL;
    bool any = s->defaults || s->cgroup_parent;
    int r = any ? settings_defaults(s, spec_json, &json, err) : 0;
    const char *text = any ? json : spec_json;
    if (r == 0)
        r = spec_parse(text, strlen(text), ret, err);
    return r < 0 ? r : settings_ports(s, *ret, err);
}

int settings_ports(const struct settings *s, struct spec *spec, struct berth_error *err)
{
    for (size_t i = 0; s->publish_address && i < spec->n_ports; i++)
        if (!spec->ports[i].host_address && !(spec->ports[i].host_address = strdup(s->publish_address)))
            return fail_memory(err);
    return 0;
}
