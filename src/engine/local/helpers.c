/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs of berth's that wait or work in the library's stead; their last words come on a pipe.
 */
#include "local/inside.h"
#include "base/file.h"
#include "base/spawn.h"
#include "image/tool.h"
#include "linux/net_pool.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

int local_program(const struct local *c, const char *name, char **ret_path,
                      struct berth_error *err)
{
    autofree char *path = format_text("%s/%s", c->programs, name);
    if (!path)
        return fail_memory(err);
    if (access(path, X_OK) < 0)
        return fail(err, BERTH_NOT_FOUND, path,
                    "berth is not whole: the program %s is missing (--programs, $BERTH_PROGRAMS)", path);
    *ret_path = TAKE(path);
    return 0;
}

/* What berth-image is told of the caller: where its logins and proxies are, which berth.toml holds. */
static const char *const passed[] = {"PATH=", "HOME=", "DOCKER_CONFIG=", "REGISTRY_AUTH_FILE=", "XDG_RUNTIME_DIR=",
    "XDG_CONFIG_HOME=", "SSL_CERT_FILE=", "http_proxy=", "HTTP_PROXY=", "https_proxy=", "HTTPS_PROXY=", "all_proxy=",
    "ALL_PROXY=", "no_proxy=", "NO_PROXY=", "BERTH_CRASH_POINT=", "BERTH_FAIL_"};

static char **image_env(const struct local *c)
{
    char **env = NULL;
    const char *file = c->settings.config;
    autofree char *config = file ? format_text("BERTH_CONFIG=%s", file) : NULL;
    int r = strings_add(&env, "LANG=C.UTF-8");
    if (r == 0 && file)
        r = config ? strings_add(&env, config) : -ENOMEM;
    for (char **e = environ; r == 0 && e && *e; e++)
        for (size_t i = 0; r == 0 && i < ARRAY_SIZE(passed); i++)
            if (starts_with(*e, passed[i]))
                r = strings_add(&env, *e);
    if (r < 0)
        strings_free(TAKE(env));
    return env;
}

int helper_spawn(const struct local *c, const char *program, const char *const *argv,
                 const int *fds, size_t n_fds, int *ret_pid_fd, struct berth_error *err)
{
    autofree char *path = NULL;
    autoclose int pid_fd = -1;
    pid_t pid;
    int r = local_program(c, program, &path, err);
    if (r < 0)
        return r;
    bool image = strcmp(program, IMAGE_TOOL_PROGRAM) == 0;
    autostrings char **env = image ? image_env(c) : NULL;
    if (image && !env)
        return fail_memory(err);
    struct spawn s = {.path = path, .argv = argv, .env = (const char *const *)env, .fds = fds, .n_fds = n_fds, .session = true};
    r = spawn(&s, &pid, &pid_fd);
    if (r < 0)
        return fail_os(err, r, program, "start %s", path);
    if (ret_pid_fd)
        *ret_pid_fd = take_fd(&pid_fd);
    return 0;
}

/** berth-helper with a pipe as its descriptor 2: the read end is the caller's. */
static int spawn_with_words(const struct local *c, const char *const *argv, int input_fd,
                            int extra_fd, int *ret_fd, int *ret_pid_fd, struct berth_error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return fail_os(err, errno, NULL, "pipe");
    const int fds[] = {input_fd, -1, ends[1], extra_fd};
    int r = helper_spawn(c, "berth-helper", argv, fds, extra_fd >= 0 ? 4 : 3, ret_pid_fd, err);
    close(ends[1]);
    if (r < 0)
        close(ends[0]);
    else
        *ret_fd = ends[0];
    return r;
}

int helper_end(int fd, struct berth_error *err)
{
    char words[sizeof(err->message)];
    ssize_t n = RETRY(read(fd, words, sizeof(words) - 1));
    if (n < 0 && errno == EAGAIN)
        return BERTH_AGAIN;
    if (n <= 0)
        return 0;
    words[n] = 0;
    words[strcspn(words, "\n")] = 0;
    return fail(err, BERTH_IO, NULL, "%s", words);
}

int lock_helper(const struct local *c, int lock_fd, int *ret_fd, int *ret_pid_fd,
                struct berth_error *err)
{
    const char *const argv[] = {"berth-helper", "lock", "3", NULL};
    return spawn_with_words(c, argv, -1, lock_fd, ret_fd, ret_pid_fd, err);
}

int change_lock_wait(struct local *c, struct workload *w, struct berth_error *err)
{
    autoclose int words = -1;
    int r = workload_lock_change(w, err);
    if (r != BERTH_AGAIN)
        return r;
    int fd = workload_change_fd(w, err);
    r = fd < 0 ? fd : lock_helper(c, fd, &words, NULL, err);
    while (r == 0) {
        struct pollfd p = {.fd = words, .events = POLLIN};
        if (poll(&p, 1, -1) >= 0 && (r = helper_end(words, err)) != BERTH_AGAIN)
            break;
        r = 0;
    }
    return r < 0 ? r : workload_lock_change(w, err);
}

void trash_helper(const struct local *c)
{
    const char *const argv[] = {"berth-helper", "delete", store_root(c->store), store_run(c->store),
                                store_tag(c->store), NULL};
    const int fds[] = {-1, -1, -1};
    helper_spawn(c, "berth-helper", argv, fds, ARRAY_SIZE(fds), NULL, NULL);
}

static bool pool_is_kept(const struct local *c)
{
    autoclose int fd = openat(store_run_fd(c->store), NET_POOL_LOCK, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && lock_held(fd) == 1;
}

int pool_helper(const struct local *c, unsigned count, int *ret_fd, struct berth_error *err)
{
    char number[16], said[sizeof(err->message)] = "";
    int life[2], words[2];
    snprintf(number, sizeof(number), "%u", count);
    if (pipe2(life, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    autoclose int life_read = life[0], life_write = life[1];
    if (pipe2(words, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    autoclose int words_read = words[0], words_write = words[1];
    const char *const argv[] = {"berth-helper", "pool", store_run(c->store), store_tag(c->store), number, NULL};
    const int fds[] = {life_read, words_write, words_write};
    int r = helper_spawn(c, "berth-helper", argv, fds, ARRAY_SIZE(fds), NULL, err);
    close_fd(&words_write);
    if (r < 0)
        return r;
    ssize_t n = RETRY(read(words_read, said, sizeof(said) - 1));
    said[n > 0 ? n : 0] = 0;
    said[strcspn(said, "\n")] = 0;
    if (strcmp(said, "ready"))
        return fail(err, pool_is_kept(c) ? BERTH_EXISTS : BERTH_IO, "pool", "%s", *said ? said : "berth-helper: pool: ended without a word");
    *ret_fd = take_fd(&life_write);
    return 0;
}

int seccomp_helper(const struct local *c, struct store *store, const char *text, const char *key,
                   uint64_t caps, int *ret_fd, struct berth_error *err)
{
    char mask[20], place[64];
    *ret_fd = -1;
    snprintf(place, sizeof(place), "cache/seccomp/%s", key);
    if (faccessat(store_root_fd(store), place, R_OK, 0) == 0)
        return 0;
    if (mkdirat(store_root_fd(store), "cache/seccomp", 0700) < 0 && errno != EEXIST)
        return fail_os(err, errno, NULL, "make %s/cache/seccomp", store_root(store));
    autofree char *file = format_text("%s/%s", store_root(store), place);
    autoclose int profile = memfd_create("berth-seccomp", MFD_CLOEXEC);
    if (!file)
        return fail_memory(err);
    if (profile < 0)
        return fail_os(err, errno, NULL, "memfd_create");
    int r = fd_write_all(profile, text, strlen(text));
    if (r < 0 || lseek(profile, 0, SEEK_SET) < 0)
        return fail_os(err, r < 0 ? r : errno, NULL, "write a seccomp profile");
    snprintf(mask, sizeof(mask), "%llx", (unsigned long long)caps);
    const char *const argv[] = {"berth-helper", "seccomp", file, mask, NULL};
    return spawn_with_words(c, argv, profile, -1, ret_fd, NULL, err);
}
