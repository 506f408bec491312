/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiled code, kept: ROOT/cache/wasm/KEY.TAG.code and .meta beside it.
 *
 * KEY names the module's bytes, TAG everything else that the code depends on (engine, settings, CPU); its
 * text stands in the meta. Code is machine code: only files that root alone can have written are used. A
 * file appears whole or not at all (it has no name until it is complete and on disk).
 */
#include "wasm/inside.h"
#include "base/file.h"
#include "base/spawn.h"
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>

#define FOLDER "cache/wasm"
#define TAG_MAX 256
#define TAG_WAIT_MSEC 30000
#define OWN_LINES "tag %s\nsize %llu\n"

struct code_kind code_kind_of(const struct spec *spec, enum look look, const char *guest)
{
    const char *trigger = spec->wasm.trigger;
    bool http = look == LOOK_HTTP || (guest && !strcmp(guest, "http"));
    return (struct code_kind){.serve = trigger ? !strcmp(trigger, "http") : http && !spec->wasm.invoke, .fuel = spec->wasm.fuel > 0};
}

/* ---- the tag */

static int identify(const struct local *c, char **ret, struct berth_error *err)
{
    struct stat st;
    autofree char *path = NULL;
    int r = local_program(c, COMPILER_PROGRAM, &path, err);
    if (r < 0)
        return r;
    if (stat(path, &st) < 0)
        return fail_os(err, errno, path, "read %s", path);
    *ret = format_text("%llu:%llu:%lld:%lld.%09ld:%lld.%09ld\n", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
                       (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (long long)st.st_ctim.tv_sec,
                       st.st_ctim.tv_nsec);
    return *ret ? 0 : fail_memory(err);
}

/** Ours alone to write, and not somebody's link. */
static bool root_only(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && !(st->st_mode & 022) && st->st_size > 0;
}

static char *tag_read(int run_fd, const char *file, const char *identity)
{
    struct stat st;
    autofree char *text = NULL;
    size_t size, n = strlen(identity);
    autoclose int fd = openat(run_fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !root_only(&st) || fd_read_all(fd, 2048, &text, &size) < 0 || size <= n ||
        memcmp(text, identity, n) != 0)
        return NULL;
    return strdup(text + n);
}

static int tag_ask(struct local *c, struct code_kind kind, char **ret, struct berth_error *err)
{
    const char *argv[] = {COMPILER_PROGRAM, "tag", "--profile", profile_name(kind), kind.fuel ? "--fuel" : NULL, NULL};
    char text[TAG_MAX + 1];
    size_t n = 0;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    const int fds[] = {-1, ends[1], -1};
    int r = helper_spawn(c, COMPILER_PROGRAM, argv, fds, ARRAY_SIZE(fds), NULL, err);
    close(ends[1]);
    while (r == 0 && n < TAG_MAX) {
        struct pollfd p = {.fd = ends[0], .events = POLLIN};
        ssize_t got = RETRY(poll(&p, 1, TAG_WAIT_MSEC)) > 0 ? RETRY(read(ends[0], text + n, TAG_MAX - n)) : 0;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(ends[0]);
    text[n] = 0;
    text[strcspn(text, "\n")] = 0;
    if (r == 0 && (!*text || text[strspn(text, " \t")] == 0))
        r = fail(err, BERTH_LOST, COMPILER_PROGRAM, "%s does not say which engine it has", COMPILER_PROGRAM);
    if (r == 0 && !(*ret = strdup(text)))
        r = fail_memory(err);
    return r;
}

int code_tag(struct local *c, struct code_kind kind, char **ret, struct berth_error *err)
{
    struct store *store = NULL;
    autofree char *identity = NULL;
    char file[40];
    snprintf(file, sizeof(file), "wasm-tag-%s%s", profile_name(kind), kind.fuel ? "-fuel" : "");
    int r = identify(c, &identity, err);
    if (r < 0)
        return r;
    bool has_store = local_store(c, false, &store, NULL) == 0;
    *ret = has_store ? tag_read(store_run_fd(store), file, identity) : NULL;
    if (*ret)
        return 0;
    r = tag_ask(c, kind, ret, err);
    autofree char *text = r == 0 && has_store ? format_text("%s%s", identity, *ret) : NULL;
    if (text)
        (void)file_write(store_run_fd(store), file, text, strlen(text), 0600, 0);
    return r;
}

/** As it stands in names. */
static void short_tag(const char *tag, char ret[20])
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *tag; tag++)
        h = (h ^ (uint8_t)*tag) * 0x100000001b3u;
    snprintf(ret, 20, "%016llx", (unsigned long long)h);
}

int wasm_stamp(struct local *c, const struct local_kind *kind, char **ret, struct berth_error *err)
{
    autofree char *tag = NULL;
    char hex[20];
    int r = code_tag(c, (struct code_kind){0}, &tag, err);
    if (r < 0)
        return r;
    short_tag(tag, hex);
    *ret = strdup(hex);
    return *ret ? 0 : fail_memory(err);
}

/* ---- entries */

void code_clear(struct code *code)
{
    free(code->path);
    free(code->needs);
    free(code->guest);
    *code = (struct code){0};
}

static const char *line_of(const char *meta, const char *word)
{
    size_t n = strlen(word);
    for (const char *line = meta; line; line = strchr(line, '\n'), line += line != NULL)
        if (!strncmp(line, word, n) && line[n] == ' ')
            return line + n + 1;
    return NULL;
}

static char *word_of(const char *meta, const char *word)
{
    const char *value = line_of(meta, word);
    return value ? strndup(value, strcspn(value, "\n")) : NULL;
}

int code_parse(char *meta, struct code *ret, struct berth_error *err)
{
    struct code code = {.needs = word_of(meta, "needs"), .guest = word_of(meta, "guest")};
    if (code.guest) {
        *ret = code;
        return 0;
    }
    code_clear(&code);
    return fail(err, BERTH_CORRUPT, COMPILER_PROGRAM, "%s left no word of what the module is", COMPILER_PROGRAM);
}

static char *entry_name(const char *key, const char *tag, const char *end)
{
    char hex[20];
    short_tag(tag, hex);
    return format_text("%s.%s.%s", key, hex, end);
}

/** The cache's folder; what others may write to is no cache. */
static int open_folder(struct store *store, bool make)
{
    struct stat st;
    int fd = folder_open(store_root_fd(store), FOLDER, make, 0700);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) == 0 && st.st_uid == geteuid() && !(st.st_mode & 022))
        return fd;
    close(fd);
    return -EPERM;
}

/** *ret_meta is free(3)'s. NULL is whole; else a word. */
static const char *entry_fault(int folder_fd, const char *key, const char *tag, char **ret_meta)
{
    struct stat code, meta_st;
    size_t size;
    autofree char *code_name = entry_name(key, tag, "code"), *meta_name = entry_name(key, tag, "meta"), *meta = NULL;
    if (!code_name || !meta_name || fstatat(folder_fd, code_name, &code, AT_SYMLINK_NOFOLLOW) < 0)
        return "missing";
    autoclose int meta_fd = openat(folder_fd, meta_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (meta_fd < 0 || fstat(meta_fd, &meta_st) < 0)
        return "damaged";
    if (!root_only(&code) || !root_only(&meta_st))
        return "foreign";
    if (fd_read_all(meta_fd, WASM_META_MAX_BYTES + 1024, &meta, &size) < 0)
        return "damaged";
    autofree char *its_tag = word_of(meta, "tag"), *its_size = word_of(meta, "size");
    if (!its_tag || strcmp(its_tag, tag))
        return "foreign";
    if (!its_size || strtoull(its_size, NULL, 10) != (unsigned long long)code.st_size)
        return "damaged";
    *ret_meta = TAKE(meta);
    return NULL;
}

int code_place(struct local *c, struct store *store, const char *key, struct code_kind kind, char **ret_path, struct berth_error *err)
{
    autofree char *tag = NULL;
    int r = code_tag(c, kind, &tag, err);
    autofree char *name = r == 0 ? entry_name(key, tag, "code") : NULL;
    *ret_path = name ? format_text("%s/" FOLDER "/%s", store_root(store), name) : NULL;
    return r < 0 || *ret_path ? r : fail_memory(err);
}

static int entry_found(struct store *store, const char *key, const char *tag, char *meta, struct code *ret, struct berth_error *err)
{
    autofree char *name = entry_name(key, tag, "code");
    int r = code_parse(meta, ret, err);
    if (r < 0)
        return r;
    ret->path = name ? format_text("%s/" FOLDER "/%s", store_root(store), name) : NULL;
    if (ret->path)
        return 1;
    code_clear(ret);
    return fail_memory(err);
}

int code_find(struct local *c, struct store *store, const char *key, struct code_kind kind, struct code *ret, const char **ret_why,
              struct berth_error *err)
{
    autofree char *tag = NULL, *meta = NULL;
    int r = code_tag(c, kind, &tag, err);
    if (r < 0)
        return r;
    autoclose int folder_fd = open_folder(store, false);
    *ret_why = folder_fd == -EPERM ? "foreign" : folder_fd < 0 ? "missing" : entry_fault(folder_fd, key, tag, &meta);
    return *ret_why ? 0 : entry_found(store, key, tag, meta, ret, err);
}

bool code_is_ours(struct local *c, const char *path, const char **ret_why)
{
    autofree char *folder = strdup(path), *meta = NULL;
    char *slash = folder ? strrchr(folder, '/') : NULL, *dot;
    static const struct code_kind kinds[] = {{false, false}, {true, false}, {false, true}, {true, true}};
    char hex[20];
    *ret_why = "missing";
    if (!slash || !(dot = strchr(slash, '.')))
        return false;
    *slash = *dot = 0;
    autoclose int folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    for (size_t i = 0; folder_fd >= 0 && i < ARRAY_SIZE(kinds); i++) {
        autofree char *tag = NULL;
        if (code_tag(c, kinds[i], &tag, NULL) < 0)
            return false;
        short_tag(tag, hex);
        if (strncmp(dot + 1, hex, 16) != 0)
            continue;
        *ret_why = entry_fault(folder_fd, slash + 1, tag, &meta);
        return !*ret_why;
    }
    *ret_why = folder_fd < 0 ? "missing" : "of another engine";
    return false;
}

void code_remove(struct store *store, const char *path)
{
    const char *name = strrchr(path, '/');
    autofree char *meta = strdup(name ? name + 1 : "");
    autoclose int folder_fd = open_folder(store, false);
    size_t n = meta ? strlen(meta) : 0;
    if (folder_fd < 0 || n < 5)
        return;
    unlinkat(folder_fd, name + 1, 0);
    memcpy(meta + n - 4, "meta", 4);
    unlinkat(folder_fd, meta, 0);
}

/* ---- new ones */

int code_lock(struct store *store, const char *key, const char *tag, int *ret_fd, struct berth_error *err)
{
    autofree char *name = entry_name(key, tag, "lock");
    autoclose int folder_fd = open_folder(store, true);
    if (!name)
        return fail_memory(err);
    if (folder_fd == -EPERM)
        return fail(err, BERTH_DENIED, store_root(store), "others may write to %s/" FOLDER ": its code can't be trusted", store_root(store));
    autoclose int fd = folder_fd < 0 ? folder_fd : openat(folder_fd, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = folder_fd < 0 ? folder_fd : fd < 0 ? -errno : lock_take(fd);
    if (r < 0 && r != -EAGAIN)
        return fail_os(err, r, name, "lock %s in %s/" FOLDER, name, store_root(store));
    *ret_fd = take_fd(&fd);
    return r == 0;
}

void code_unlock(struct store *store, const char *key, const char *tag, int *fd)
{
    autofree char *name = entry_name(key, tag, "lock");
    autoclose int folder_fd = open_folder(store, false);
    if (name && folder_fd >= 0 && lock_take(*fd) == 0) /* who waits has it open, and finds the entry */
        unlinkat(folder_fd, name, 0);
    close_fd(fd);
}

int code_files(struct store *store, int *ret_code_fd, int *ret_meta_fd, struct berth_error *err)
{
    autoclose int folder_fd = open_folder(store, true);
    if (folder_fd == -EPERM)
        return fail(err, BERTH_DENIED, store_root(store), "others may write to %s/" FOLDER ": its code can't be trusted", store_root(store));
    autoclose int code_fd = folder_fd < 0 ? folder_fd : openat(folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    *ret_meta_fd = code_fd < 0 ? -1 : openat(folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*ret_meta_fd < 0)
        return fail_os(err, folder_fd < 0 ? folder_fd : errno, store_root(store), "make files in %s/" FOLDER, store_root(store));
    *ret_code_fd = take_fd(&code_fd);
    return 0;
}

/** Give it a name; what has that name already and is not in use as ours goes. */
static int give_name(int folder_fd, int fd, const char *name)
{
    char self[40];
    snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
    for (int tries = 0; tries < 3; tries++) {
        if (linkat(AT_FDCWD, self, folder_fd, name, AT_SYMLINK_FOLLOW) == 0)
            return 0;
        if (errno != EEXIST)
            return -errno;
        unlinkat(folder_fd, name, 0);
    }
    return -EEXIST;
}

/** Code of modules that are no longer in the store, of other engines: nobody will ask for it. Best effort. */
static void sweep(struct local *c, struct store *store, int folder_fd)
{
    static const struct code_kind kinds[] = {{false, false}, {true, false}, {false, true}, {true, true}};
    char current[ARRAY_SIZE(kinds)][20], layer[96];
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        autofree char *tag = NULL;
        if (code_tag(c, kinds[i], &tag, NULL) < 0)
            return;
        short_tag(tag, current[i]);
    }
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        const char *dot = strchr(entry->d_name, '.');
        bool ours = false;
        if (!dot || dot - entry->d_name < 64)
            continue;
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
            ours |= !strncmp(dot + 1, current[i], 16);
        snprintf(layer, sizeof(layer), "images/layers/%.64s", entry->d_name);
        if (!ours || (faccessat(store_root_fd(store), layer, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT))
            unlinkat(folder_fd, entry->d_name, 0);
    }
    if (dir)
        closedir(dir);
}

int code_keep(struct local *c, struct store *store, const char *key, const char *tag, int code_fd, int meta_fd, struct berth_error *err)
{
    struct stat st;
    autofree char *code_name = entry_name(key, tag, "code"), *meta_name = entry_name(key, tag, "meta");
    autoclose int folder_fd = open_folder(store, true);
    if (!code_name || !meta_name)
        return fail_memory(err);
    int r = folder_fd < 0 ? folder_fd : fstat(code_fd, &st) < 0 || lseek(meta_fd, 0, SEEK_END) < 0 ? -errno : 0;
    autofree char *own = r == 0 ? format_text(OWN_LINES, tag, (unsigned long long)st.st_size) : NULL;
    if (r == 0)
        r = own ? fd_write_all(meta_fd, own, strlen(own)) : -ENOMEM;
    if (r == 0 && (fdatasync(code_fd) < 0 || fdatasync(meta_fd) < 0))
        r = -errno;
    r = r < 0 ? r : give_name(folder_fd, meta_fd, meta_name);
    r = r < 0 ? r : give_name(folder_fd, code_fd, code_name);
    if (r == 0)
        sweep(c, store, folder_fd);
    return r < 0 ? fail_os(err, r, code_name, "keep compiled code in %s/" FOLDER, store_root(store)) : 0;
}
