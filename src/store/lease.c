/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Leases: what is handed out once. ROOT/leases/KIND/KEY is a link to the holder's id.
 *
 * Before a lease is taken it is noted in the holder's folder (leases/KIND=KEY), so that giving
 * everything back costs what the holder has, not what all have. A note without a lease is harmless.
 */
#include "store/internal.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NOTE_MAX 512

/* "port/tcp": lower-case words with slashes between. A key: anything that can be one file's name. */
static int check_words(const char *kind, const char *key)
{
    if (!*kind || !*key || strlen(kind) + strlen(key) + 2 > NAME_MAX || key[0] == '.')
        return -EINVAL;
    for (const char *p = kind; *p; p++)
        if (*p == '=' || *p < ' ' || (*p == '/' && (p == kind || p[1] == '/' || p[1] == 0)) ||
            (*p == '.' && (p == kind || p[-1] == '/')))
            return -EINVAL;
    for (const char *p = key; *p; p++)
        if (*p == '=' || *p == '/' || (unsigned char)*p < ' ')
            return -EINVAL;
    return 0;
}

static void note_print(const char *kind, const char *key, char ret_note[NOTE_MAX])
{
    int n = snprintf(ret_note, NOTE_MAX, "leases/%s=%s", kind, key);
    for (char *p = ret_note + strlen("leases/"); n > 0 && *p; p++)
        if (*p == '/')
            *p = '=';
}

/* Splits the note in place. */
static bool note_parse(char *note, const char **ret_kind, const char **ret_key)
{
    char *split = strrchr(note, '=');
    if (!split)
        return false;
    *split = 0;
    for (char *p = note; *p; p++)
        if (*p == '=')
            *p = '/';
    *ret_kind = note;
    *ret_key = split + 1;
    return true;
}

/* The folder of a kind, made when `make`; kinds may be nested. */
static int kind_open(struct store *store, const char *kind, bool make)
{
    char part[NAME_MAX + 1];
    autoclose int fd = open_folder_at(store->leases_fd, ".");
    for (const char *p = kind; fd >= 0 && *p;) {
        size_t n = strcspn(p, "/");
        if (n >= sizeof(part))
            return -ENAMETOOLONG;
        memcpy(part, p, n);
        part[n] = 0;
        int next = open_folder_at(fd, part);
        if (next == -ENOENT && make) {
            if (mkdirat(fd, part, 0700) < 0 && errno != EEXIST)
                return -errno;
            next = open_folder_at(fd, part);
        }
        close_fd(&fd);
        fd = next;
        p += n + (p[n] == '/');
    }
    return take_fd(&fd);
}

/* A holder is being made, is, or was just removed. */
static int holder_open(struct store *store, const char *id)
{
    if (!id_valid(id))
        return -EINVAL;
    const int folders[] = {store->workloads_fd, store->aside_fd, store->workloads_fd,
                           store->trash_fd}; /* workloads again: it may have moved between */
    int fd = -ENOENT;
    for (size_t i = 0; i < ARRAY_SIZE(folders) && fd == -ENOENT; i++)
        fd = open_folder_at(folders[i], id);
    return fd;
}

static int note_write(int holder_fd, const char *note)
{
    for (int round = 0; round < 2; round++) {
        if (symlinkat("lease", holder_fd, note) == 0 || errno == EEXIST)
            return 0;
        if (errno != ENOENT || (mkdirat(holder_fd, "leases", 0700) < 0 && errno != EEXIST))
            return -errno;
    }
    return -ENOENT;
}

static bool strings_have(char *const *list, const char *word)
{
    for (size_t i = 0; list && list[i]; i++)
        if (strcmp(list[i], word) == 0)
            return true;
    return false;
}

int lease_take(struct store *store, const char *kind, const char *key, const char *id,
               char ret_holder[BERTH_ID_TEXT], struct berth_error *err)
{
    char note[NOTE_MAX];
    int r = check_words(kind, key);
    if (r < 0)
        return fail(err, BERTH_INVALID, key, "\"%s\" of %s can't be leased", key, kind);
    autoclose int holder_fd = holder_open(store, id);
    if (holder_fd < 0)
        return fail(err, BERTH_NOT_FOUND, id, "no workload %.12s", id);
    note_print(kind, key, note);
    autoclose int dir_fd = kind_open(store, kind, true);
    r = dir_fd < 0 ? dir_fd : note_write(holder_fd, note);
    if (r < 0)
        return fail_os(err, r, key, "lease %s %s", kind, key);
    crash_point("lease.noted");
    char holder[BERTH_ID_TEXT] = "";
    r = claim_take(store, kind, dir_fd, key, id, holder);
    if (r == -ENOENT) { /* the folder went away with the last lease in it */
        close_fd(&dir_fd);
        dir_fd = kind_open(store, kind, true);
        r = dir_fd < 0 ? dir_fd : claim_take(store, kind, dir_fd, key, id, holder);
    }
    if (r == 0) {
        crash_point("create.leased");
        return 0;
    }
    unlinkat(holder_fd, note, 0);
    if (r != -EEXIST)
        return fail_os(err, r, key, "lease %s %s", kind, key);
    if (ret_holder)
        memcpy(ret_holder, holder, BERTH_ID_TEXT);
    return fail(err, BERTH_EXISTS, key, "%s %s is taken by workload %.12s", kind, key, holder);
}

static int release_one(struct store *store, const char *kind, const char *key, const char *id)
{
    autoclose int dir_fd = kind_open(store, kind, false);
    if (dir_fd < 0)
        return dir_fd == -ENOENT ? 0 : dir_fd;
    return claim_release(store, kind, dir_fd, key, id);
}

int lease_release(struct store *store, const char *kind, const char *key, const char *id)
{
    int r = check_words(kind, key);
    if (r == 0)
        r = release_one(store, kind, key, id);
    if (r < 0)
        return r;
    char note[NOTE_MAX];
    note_print(kind, key, note);
    autoclose int holder_fd = holder_open(store, id);
    if (holder_fd >= 0)
        unlinkat(holder_fd, note, 0);
    return 0;
}

/* Visits every note of a workload's folder (`kind` NULL: one that says nothing) until one fails. */
static int notes_visit(int folder_fd,
                       int (*visit)(void *data, int notes_fd, const char *note, const char *kind, const char *key),
                       void *data)
{
    autoclose int notes_fd = open_folder_at(folder_fd, "leases");
    if (notes_fd < 0)
        return notes_fd == -ENOENT ? 0 : notes_fd;
    autoentries DIR *dir = entries_open(notes_fd);
    if (!dir)
        return -errno;
    const struct dirent *entry;
    int r = 0;
    while (r >= 0 && (entry = entries_next(dir))) {
        char note[NAME_MAX + 1];
        const char *kind = NULL, *key = NULL;
        snprintf(note, sizeof(note), "%s", entry->d_name);
        bool parsed = note_parse(note, &kind, &key);
        r = visit(data, notes_fd, entry->d_name, parsed ? kind : NULL, key);
    }
    return r;
}

struct release { struct store *store; const char *id; int result; };

static int release_note(void *data, int notes_fd, const char *note, const char *kind, const char *key)
{
    struct release *release = data;
    int r = kind ? release_one(release->store, kind, key, release->id) : 0;
    if (r == 0 && unlinkat(notes_fd, note, 0) < 0 && errno != ENOENT)
        r = -errno;
    if (r < 0)
        release->result = r; /* and the others all the same */
    return 0;
}

int leases_release_noted(struct store *store, const char *id, int folder_fd)
{
    struct release release = {store, id, 0};
    int r = notes_visit(folder_fd, release_note, &release);
    return r < 0 ? r : release.result;
}

struct wanted_notes { const char *kind; char **found; };

static int add_key(void *data, int notes_fd, const char *note, const char *kind, const char *key)
{
    struct wanted_notes *wanted = data;
    return kind && strcmp(kind, wanted->kind) == 0 ? strings_add(&wanted->found, key) : 0;
}

int leases_noted(struct store *store, const char *id, const char *kind, char ***ret_keys)
{
    autoclose int holder_fd = holder_open(store, id);
    struct wanted_notes wanted = {.kind = kind};
    if (holder_fd < 0)
        return holder_fd == -ENOENT ? 0 : holder_fd;
    int r = notes_visit(holder_fd, add_key, &wanted);
    autostrings char **found = wanted.found;
    if (r == 0)
        *ret_keys = TAKE(found);
    return r;
}

static int add_volume(void *data, int notes_fd, const char *note, const char *kind, const char *key)
{
    return kind && starts_with(kind, "volume-use/") ? strings_add(data, kind + strlen("volume-use/")) : 0;
}

int leases_noted_volumes(int folder_fd, char ***ret_names)
{
    return notes_visit(folder_fd, add_volume, ret_names);
}

int lease_holders(struct store *store, const char *kind, bool ids, char ***ret)
{
    autoclose int dir_fd = kind_open(store, kind, false);
    autostrings char **found = NULL;
    if (dir_fd < 0)
        return dir_fd == -ENOENT ? 0 : dir_fd;
    autoentries DIR *dir = entries_open(dir_fd);
    if (!dir)
        return -errno;
    const struct dirent *entry;
    while ((entry = entries_next(dir))) {
        char holder[BERTH_ID_TEXT];
        int r = claim_holder(store, kind, dir_fd, entry->d_name, holder);
        if (r == 0 && (!ids || !strings_have(found, holder)))
            r = strings_add(&found, ids ? holder : entry->d_name);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    *ret = TAKE(found);
    return 0;
}

int lease_release_all(struct store *store, const char *id)
{
    autoclose int holder_fd = holder_open(store, id);
    if (holder_fd < 0)
        return holder_fd == -ENOENT ? 0 : holder_fd;
    return leases_release_noted(store, id, holder_fd);
}
