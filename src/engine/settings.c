/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth.toml for the library, which has no TOML in it: berth-image reads and checks the file, RUN/settings
 * keeps what it said beside the file's identity, and so does the open runtime.
 *
 * As long as the file stays what it is, that costs one stat; in a new process a small read more.
 */
#include "engine/settings.h"
#include "base/base.h"
#include "base/file.h"
#include "base/spawn.h"
#include "engine/said.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define CACHE_FILE "settings"
#define PROGRAM "berth-image"
#define END_FD 3 /* where it says how it ended */

int settings_source_init(struct settings_source *s, const char *root, const char *run, const char *programs, const char *config)
{
    bool other = strcmp(config, SETTINGS_FILE) != 0;
    *s = (struct settings_source){.root = root, .run = run, .programs = programs, .config = other ? strdup(config) : NULL};
    pthread_mutex_init(&s->lock, NULL);
    return other && !s->config ? -ENOMEM : 0;
}

void settings_source_clear(struct settings_source *s)
{
    pthread_mutex_destroy(&s->lock);
    free(s->config);
    free(s->text);
    free(s->text_of);
}

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

static char *cache_read(int run_fd, const char *identity)
{
    size_t n = strlen(identity), size;
    autofree char *text = NULL;
    autoclose int fd = run_fd < 0 ? -1 : openat(run_fd, CACHE_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
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

static int start_tool(const struct settings_source *s, const char *path, int said_fd, struct berth_error *err)
{
    const char *argv[7] = {PROGRAM, "settings", s->root, s->run, s->config ? "--settings" : NULL, path};
    const char *const env[] = {"LANG=C.UTF-8", NULL};
    const int fds[END_FD + 1] = {-1, said_fd, -1, said_fd};
    int pid_fd;
    pid_t pid;
    autofree char *program = format_text("%s/" PROGRAM, s->programs);
    if (!program)
        return fail_memory(err);
    if (access(program, X_OK) < 0)
        return fail(err, BERTH_NOT_FOUND, program, "berth is not whole: the program %s is missing (--programs, $BERTH_PROGRAMS)", program);
    int r = spawn(&(struct spawn){.path = program, .argv = argv, .env = env, .fds = fds, .n_fds = ARRAY_SIZE(fds), .session = true},
                  &pid, &pid_fd);
    if (r < 0)
        return fail_os(err, r, PROGRAM, "start %s", program);
    close(pid_fd);
    return 0;
}

/* Its result, then how it ended, both into one pipe. */
static int ask(const struct settings_source *s, const char *path, char **ret_json, struct berth_error *err)
{
    autotext struct text said = {0};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    int r = start_tool(s, path, ends[1], err);
    close(ends[1]);
    if (r == 0)
        r = read_words(ends[0], &said, err);
    close(ends[0]);
    char *end = r == 0 ? strchr(said.data, '\n') : NULL;
    if (r < 0)
        return r;
    if (!end || starts_with(said.data, "{\"error\"")) {
        r = said_line(said.data, err);
        return r < 0 ? r : fail(err, BERTH_LOST, path, "berth-image said nothing of %s", path);
    }
    *end = 0;
    *ret_json = strdup(said.data);
    return *ret_json ? 0 : fail_memory(err);
}

/* Kept only when the file was the same before and after. */
static int ask_and_keep(const struct settings_source *s, int run_fd, const char *path, const char *identity, char **ret_json,
                        struct berth_error *err)
{
    autofree char *after = NULL;
    int r = ask(s, path, ret_json, err);
    if (r == 0 && run_fd >= 0 && identify(path, &after, NULL) == 0 && !strcmp(identity, after)) {
        autofree char *all = format_text("%s%s", identity, *ret_json);
        if (all)
            (void)file_write(run_fd, CACHE_FILE, all, strlen(all), 0600, 0);
    }
    return r;
}

/* Under the lock: the text that is now in force, in s->text. */
static int refresh(struct settings_source *s, int run_fd, struct berth_error *err)
{
    const char *path = s->config ? s->config : SETTINGS_FILE;
    autofree char *identity = NULL, *json = NULL;
    int r = identify(path, &identity, err);
    if (r < 0 || (s->text && !strcmp(s->text_of, identity)))
        return r;
    json = *identity ? cache_read(run_fd, identity) : strdup("{}");
    if (!json && (!*identity || (r = ask_and_keep(s, run_fd, path, identity, &json, err)) < 0))
        return r < 0 ? r : fail_memory(err);
    free(s->text);
    free(s->text_of);
    s->text = TAKE(json);
    s->text_of = TAKE(identity);
    return 0;
}

int settings_source_text(struct settings_source *s, int run_fd, char **ret_json, struct berth_error *err)
{
    pthread_mutex_lock(&s->lock);
    int r = refresh(s, run_fd, err);
    *ret_json = r == 0 ? strdup(s->text) : NULL;
    pthread_mutex_unlock(&s->lock);
    return r < 0 || *ret_json ? r : fail_memory(err);
}

int settings_source_read(struct settings_source *s, int run_fd, struct settings **ret, struct berth_error *err)
{
    autofree char *json = NULL;
    int r = settings_source_text(s, run_fd, &json, err);
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
