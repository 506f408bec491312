/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims: names and leases are links whose text is the holder's id. Making one is taking it.
 *
 * The common case is one symlinkat. Removing one (release, or taking over from the dead) happens
 * under a lock on that key alone, since between reading a link and removing it another may have
 * made it anew.
 */
#include "store/internal.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define CLAIM_ROUNDS 1000 /* a key that changes hands more often than that while we look */

static uint64_t hash_text(uint64_t hash, const char *s)
{
    for (; *s; s++)
        hash = (hash ^ (uint8_t)*s) * 0x100000001b3u;
    return (hash ^ '/') * 0x100000001b3u;
}

int claims_file_open(struct store *store)
{
    int fd = RETRY(openat(store->root_fd, "claims.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    return fd < 0 ? -errno : fd;
}

int claim_lock(struct store *store, const char *kind, const char *key)
{
    autoclose int fd = claims_file_open(store);
    if (fd < 0)
        return fd;
    uint64_t hash = hash_text(hash_text(0xcbf29ce484222325u, kind), key);
    struct flock lock = {
        .l_type = F_WRLCK,
        .l_whence = SEEK_SET,
        .l_start = (off_t)(hash >> 2), /* one byte of the possible ones */
        .l_len = 1,
    };
    if (RETRY(fcntl(fd, F_OFD_SETLKW, &lock)) < 0)
        return -errno;
    return take_fd(&fd);
}

int folder_lock_dead(int dir_fd, const char *name)
{
    autoclose int fd = open_folder_at(dir_fd, name);
    if (fd < 0)
        return fd;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    struct stat held, named; /* it may have been moved on before we had the lock */
    if (fstat(fd, &held) < 0 || fstatat(dir_fd, name, &named, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (held.st_ino != named.st_ino || held.st_dev != named.st_dev)
        return -ENOENT;
    return take_fd(&fd);
}

/* Being made by somebody who lives? A shared lock is tried, so that many can look at once. */
static int made_by_the_living(struct store *store, const char *id)
{
    autoclose int fd = open_folder_at(store->aside_fd, id);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK ? 1 : -errno;
}

/* Under its own name, or about to be: a rename in progress holds `change`. */
static int goes_by(struct store *store, const char *id, const char *name)
{
    char path[ID_LENGTH + 8], label[BERTH_NAME_MAX + 8];
    int64_t created_usec;
    snprintf(path, sizeof(path), "%s/name", id);
    int r = label_read(store->workloads_fd, path, &created_usec, label);
    if (r < 0)
        return r;
    if (strcmp(label, name) == 0)
        return 1;
    snprintf(path, sizeof(path), "%s/change", id);
    autoclose int fd = RETRY(openat(store->run_fd, path, O_RDONLY | O_CLOEXEC));
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    return lock_held(fd);
}

/* aside/ before workloads/: that is the way it goes, and it never goes back. */
int claim_stale(struct store *store, const char *kind, const char *key, const char *id)
{
    int r = made_by_the_living(store, id);
    if (r != 0)
        return r < 0 ? r : 0;
    if (faccessat(store->workloads_fd, id, F_OK, 0) < 0)
        return errno == ENOENT ? 1 : -errno;
    if (strcmp(kind, "name") != 0)
        return 0;
    r = goes_by(store, id, key);
    return r == -ENOENT ? 1 : r < 0 ? r : !r;
}

/* 0 or -errno; -ENOENT when nobody holds it. */
static int claim_read(int dir_fd, const char *key, char ret_holder[BERTH_ID_TEXT])
{
    char holder[BERTH_ID_TEXT + 1];
    ssize_t n = readlinkat(dir_fd, key, holder, sizeof(holder));
    if (n < 0)
        return -errno;
    holder[n < ID_LENGTH ? n : ID_LENGTH] = 0;
    memcpy(ret_holder, holder, BERTH_ID_TEXT);
    return n == ID_LENGTH && id_valid(holder) ? 0 : -EBADMSG;
}

static int drop_if_stale(struct store *store, const char *kind, int dir_fd, const char *key)
{
    autoclose int lock = claim_lock(store, kind, key);
    if (lock < 0)
        return lock;
    char holder[BERTH_ID_TEXT];
    int r = claim_read(dir_fd, key, holder);
    if (r == -EBADMSG)
        r = 1; /* not a link of ours: nobody holds by it */
    else if (r == 0)
        r = claim_stale(store, kind, key, holder);
    if (r > 0 && unlinkat(dir_fd, key, 0) < 0 && errno != ENOENT)
        return -errno;
    if (r > 0)
        crash_point("claim.stale");
    return r < 0 && r != -ENOENT ? r : 0;
}

int claim_holder(struct store *store, const char *kind, int dir_fd, const char *key,
                 char ret_holder[BERTH_ID_TEXT])
{
    int r = claim_read(dir_fd, key, ret_holder);
    if (r == 0)
        r = claim_stale(store, kind, key, ret_holder);
    if (r == 0 || (r < 0 && r != -EBADMSG))
        return r;
    r = drop_if_stale(store, kind, dir_fd, key);
    return r < 0 ? r : -ENOENT;
}

int claim_take(struct store *store, const char *kind, int dir_fd, const char *key, const char *id,
               char ret_holder[BERTH_ID_TEXT])
{
    for (int round = 0; round < CLAIM_ROUNDS; round++) {
        char holder[BERTH_ID_TEXT];
        if (symlinkat(id, dir_fd, key) == 0)
            return 0;
        if (errno != EEXIST)
            return -errno;
        int r = claim_read(dir_fd, key, holder);
        if (r == -ENOENT)
            continue;
        if (r == 0 && strcmp(holder, id) == 0)
            return 0;
        if (r == 0)
            r = claim_stale(store, kind, key, holder);
        if (r == 0) {
            if (ret_holder)
                memcpy(ret_holder, holder, BERTH_ID_TEXT);
            return -EEXIST;
        }
        if (r < 0 && r != -EBADMSG)
            return r;
        r = drop_if_stale(store, kind, dir_fd, key);
        if (r < 0)
            return r;
    }
    return -EBUSY;
}

int claim_release(struct store *store, const char *kind, int dir_fd, const char *key,
                  const char *id)
{
    autoclose int lock = claim_lock(store, kind, key);
    if (lock < 0)
        return lock;
    char holder[BERTH_ID_TEXT];
    int r = claim_read(dir_fd, key, holder);
    if (r < 0)
        return r == -ENOENT || r == -EBADMSG ? 0 : r;
    if (strcmp(holder, id) != 0)
        return 0;
    return unlinkat(dir_fd, key, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static bool name_stale(struct store *store, const char *name)
{
    char holder[BERTH_ID_TEXT];
    int r = claim_read(store->names_fd, name, holder);
    return r == -EBADMSG || (r == 0 && claim_stale(store, "name", name, holder) > 0);
}

size_t store_stale_names(struct store *store, bool drop)
{
    autoentries DIR *dir = entries_open(store->names_fd);
    size_t n = 0;
    const struct dirent *entry;
    while (dir && (entry = entries_next(dir)))
        if (name_stale(store, entry->d_name) &&
            (!drop || drop_if_stale(store, "name", store->names_fd, entry->d_name) < 0))
            n++;
    return n;
}
