/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One workload: its two folders, its two locks, its record, and its end.
 *
 * `life` and `change` are files in RUN/ID. Whoever gets `change` looks whether the workload still
 * is there: it may have waited for somebody who removed it.
 */
#include "store/internal.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "model/spec.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct workload {
    struct store *store;
    char id[BERTH_ID_TEXT];
    int fd, run_fd, change_fd;
    char *path, *run_path;
};

static void cleanup_workload(struct workload **w)
{
    workload_close(*w);
}

static int gone(const struct workload *w, struct berth_error *err)
{
    return fail(err, BERTH_NOT_FOUND, w->id, "no workload %.12s", w->id);
}

static bool still_there(const struct workload *w)
{
    return faccessat(w->store->workloads_fd, w->id, F_OK, 0) == 0;
}

/* ---- opening */

int workload_open(struct store *store, const char *id, struct workload **ret_workload,
                  struct berth_error *err)
{
    if (!id_valid(id))
        return fail(err, BERTH_INVALID, id, "\"%.40s\" is not the id of a workload", id);
    __attribute__((cleanup(cleanup_workload))) struct workload *w = calloc(1, sizeof(*w));
    if (!w)
        return fail_memory(err);
    w->store = store;
    w->run_fd = w->change_fd = -1;
    memcpy(w->id, id, BERTH_ID_TEXT);
    w->fd = open_folder_at(store->workloads_fd, id);
    if (w->fd == -ENOENT)
        return gone(w, err);
    if (w->fd < 0)
        return fail_os(err, w->fd, id, "open %s/workloads/%s", store->root, id);
    w->path = format_text("%s/workloads/%s", store->root, id);
    w->run_path = format_text("%s/%s", store->run, id);
    if (!w->path || !w->run_path)
        return fail_memory(err);
    *ret_workload = TAKE(w);
    return 0;
}

void workload_close(struct workload *w)
{
    if (!w)
        return;
    close_fd(&w->fd);
    close_fd(&w->run_fd);
    close_fd(&w->change_fd);
    free(w->path);
    free(w->run_path);
    free(w);
}

const char *workload_id(const struct workload *w)
{
    return w->id;
}

int workload_fd(const struct workload *w)
{
    return w->fd;
}

const char *workload_path(const struct workload *w)
{
    return w->path;
}

const char *workload_run_path(const struct workload *w)
{
    return w->run_path;
}

int workload_name(const struct workload *w, char ret_name[BERTH_NAME_MAX + 8],
                  struct berth_error *err)
{
    int64_t created_usec;
    return workload_label(w, &created_usec, ret_name, err);
}

int workload_label(const struct workload *w, int64_t *ret_created_usec,
                   char ret_name[BERTH_NAME_MAX + 8], struct berth_error *err)
{
    int r = label_read(w->fd, "name", ret_created_usec, ret_name);
    if (r == -EBADMSG)
        return fail(err, BERTH_CORRUPT, w->id, "%s/name is damaged", w->path);
    return r < 0 ? fail_os(err, r, w->id, "read %s/name", w->path) : 0;
}

/* Made after the workload was seen, and looked at again: a removed one must not get it back. */
int workload_run_fd(struct workload *w, struct berth_error *err)
{
    if (w->run_fd >= 0)
        return w->run_fd;
    int fd = open_folder_at(w->store->run_fd, w->id);
    if (fd == -ENOENT) {
        if (mkdirat(w->store->run_fd, w->id, 0700) < 0 && errno != EEXIST)
            return fail_os(err, errno, w->id, "make %s", w->run_path);
        if (!still_there(w)) {
            unlinkat(w->store->run_fd, w->id, AT_REMOVEDIR);
            return gone(w, err);
        }
        fd = open_folder_at(w->store->run_fd, w->id);
    }
    if (fd == -ENOENT)
        return gone(w, err);
    if (fd < 0)
        return fail_os(err, fd, w->id, "open %s", w->run_path);
    return w->run_fd = fd;
}

/* ---- locks */

static int open_lock(struct workload *w, const char *name, int *ret_fd, struct berth_error *err)
{
    int run_fd = workload_run_fd(w, err);
    if (run_fd < 0)
        return run_fd;
    int fd = RETRY(openat(run_fd, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (fd < 0 && errno == ENOENT)
        return gone(w, err);
    if (fd < 0)
        return fail_os(err, errno, w->id, "open %s/%s", w->run_path, name);
    *ret_fd = fd;
    return 0;
}

int workload_change_fd(struct workload *w, struct berth_error *err)
{
    if (w->change_fd < 0) {
        int r = open_lock(w, "change", &w->change_fd, err);
        if (r < 0)
            return r;
    }
    return w->change_fd;
}

int workload_lock_change(struct workload *w, struct berth_error *err)
{
    int fd = workload_change_fd(w, err);
    if (fd < 0)
        return fd;
    int r = lock_take(fd);
    if (r == -EAGAIN)
        return fail(err, BERTH_AGAIN, w->id, "workload %.12s is being changed by another process",
                    w->id);
    if (r < 0)
        return fail_os(err, r, w->id, "lock %s/change", w->run_path);
    if (still_there(w))
        return 0;
    workload_unlock_change(w);
    return gone(w, err);
}

void workload_unlock_change(struct workload *w)
{
    if (w->change_fd >= 0)
        lock_release(w->change_fd);
}

int workload_alive(struct workload *w, struct berth_error *err)
{
    char path[ID_LENGTH + 8];
    memcpy(path, w->id, ID_LENGTH);
    memcpy(path + ID_LENGTH, "/life", sizeof("/life"));
    autoclose int fd = RETRY(openat(w->store->run_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (fd < 0 && errno == ENOENT)
        return 0;
    int r = fd < 0 ? -errno : lock_held(fd);
    return r < 0 ? fail_os(err, r, w->id, "look at %s/life", w->run_path) : r;
}

int workload_life_fd(struct workload *w, int *ret_fd, struct berth_error *err)
{
    return open_lock(w, "life", ret_fd, err);
}

int workload_take_life(struct workload *w, int *ret_life_fd, struct berth_error *err)
{
    autoclose int fd = -1;
    int r = open_lock(w, "life", &fd, err);
    if (r < 0)
        return r;
    r = lock_take(fd);
    if (r == -EAGAIN)
        return fail(err, BERTH_WRONG_STATE, w->id, "workload %.12s has a supervisor already",
                    w->id);
    if (r < 0)
        return fail_os(err, r, w->id, "lock %s/life", w->run_path);
    if (!still_there(w))
        return gone(w, err);
    *ret_life_fd = take_fd(&fd);
    return 0;
}

/* ---- the record */

/* States that only a living supervisor may leave standing. */
static bool state_is_live(int state)
{
    static const bool live[BERTH_PENDING + 1] = {
        [BERTH_RUNNING] = true,
        [BERTH_PAUSED] = true,
        [BERTH_RESTARTING] = true,
        [BERTH_STOPPING] = true,
    };
    return state > 0 && (size_t)state < ARRAY_SIZE(live) && live[state];
}

static bool same_life(const struct status *a, const struct status *b)
{
    return a->state == b->state && a->supervisor_pid == b->supervisor_pid &&
           a->started_usec == b->started_usec && a->restarts == b->restarts;
}

/*
 * "Running" and nobody alive is a death nobody recorded only if the record stays what it was after
 * nobody was seen: whoever ends properly writes before letting go of `life`.
 */
static int read_consistent(struct workload *w, struct status *status, bool *ret_alive,
                           struct berth_error *err)
{
    for (int round = 0;; round++) {
        int alive = workload_alive(w, err);
        if (alive < 0)
            return alive;
        *ret_alive = alive;
        if (alive || !state_is_live(status->state) || round == 16)
            return 0;
        struct status again;
        int r = status_read_at(w->fd, &again, err);
        if (r < 0)
            return r;
        if (same_life(status, &again))
            return 0;
        *status = again;
    }
}

int workload_status_read(struct workload *w, struct status *ret_status, bool *ret_alive,
                         struct berth_error *err)
{
    struct status status;
    bool alive = false;
    int r = status_read_at(w->fd, &status, err);
    if (r == 0 && ret_alive)
        r = read_consistent(w, &status, &alive, err);
    if (r < 0 && !still_there(w))
        return gone(w, err);
    if (r == BERTH_NOT_FOUND)
        return fail(err, BERTH_CORRUPT, w->id, "%s/status is missing", w->path);
    if (r < 0) {
        fail_context(err, "%s", w->path);
        return r;
    }
    if (ret_alive)
        *ret_alive = alive;
    *ret_status = status;
    return 0;
}

int workload_status_write(struct workload *w, const struct status *status, bool sync,
                          struct berth_error *err)
{
    int r = status_write_at(w->fd, status, sync, err);
    if (r < 0)
        fail_context(err, "%s", w->path);
    return r;
}

int workload_read(struct workload *w, const char *file, size_t max, char **ret_data,
                  size_t *ret_size, struct berth_error *err)
{
    int r = file_read(w->fd, file, max, ret_data, ret_size);
    return r < 0 ? fail_os(err, r, w->id, "read %s/%s", w->path, file) : 0;
}

int workload_write(struct workload *w, const char *file, const char *data, size_t size,
                   struct berth_error *err)
{
    int r = file_write(w->fd, file, data, size, 0600, 0);
    return r < 0 ? fail_os(err, r, w->id, "write %s/%s", w->path, file) : 0;
}

/* ---- the supervisor's socket */

int workload_connect(struct workload *w, int *ret_socket_fd, struct berth_error *err)
{
    int run_fd = workload_run_fd(w, err);
    if (run_fd < 0)
        return run_fd;
    autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail_os(err, errno, w->id, "make a socket");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/socket", run_fd);
    if (RETRY(connect(fd, (struct sockaddr *)&address, sizeof(address))) < 0) {
        if (errno == ENOENT || errno == ECONNREFUSED)
            return fail(err, BERTH_LOST, w->id, "no supervisor listens for workload %.12s", w->id);
        if (errno == EAGAIN)
            return fail(err, BERTH_AGAIN, w->id, "the supervisor of workload %.12s is busy", w->id);
        return fail_os(err, errno, w->id, "connect to %s/socket", w->run_path);
    }
    *ret_socket_fd = take_fd(&fd);
    return 0;
}

/* ---- the end */

/* Anonymous volumes while they are still noted, so that a death between leaves something to go by. */
static int release_volumes(struct store *store, const char *id, int folder_fd)
{
    if (faccessat(folder_fd, MARK_VOLUMES, F_OK, 0) < 0)
        return errno == ENOENT ? 0 : -errno;
    autostrings char **names = NULL;
    int r = leases_noted_volumes(folder_fd, &names);
    for (size_t i = 0; r == 0 && names && names[i]; i++)
        r = volume_release_anonymous(store, names[i], id);
    return r;
}

int folder_release(struct store *store, const char *id, int folder_fd)
{
    char name[BERTH_NAME_MAX + 8];
    int64_t created_usec;
    int r = release_volumes(store, id, folder_fd);
    if (r < 0)
        return r;
    r = label_read(folder_fd, "name", &created_usec, name);
    if (r == 0)
        r = claim_release(store, "name", store->names_fd, name, id);
    if (r < 0 && r != -ENOENT && r != -EBADMSG)
        return r;
    r = leases_release_noted(store, id, folder_fd);
    if (r < 0)
        return r;
    crash_point("remove.released");
    r = tree_remove(store->run_fd, id);
    if (r < 0)
        return r;
    /* without its label it is free to be deleted by whoever comes */
    return unlinkat(folder_fd, "name", 0) < 0 && errno != ENOENT ? -errno : 0;
}

int workload_remove_volumes(struct workload *w, struct berth_error *err)
{
    return workload_write(w, MARK_VOLUMES, "", 0, err);
}

int workload_discard(struct workload *w, struct berth_error *err)
{
    struct store *store = w->store;
    if (renameat2(store->workloads_fd, w->id, store->trash_fd, w->id, RENAME_NOREPLACE) < 0 &&
        errno != ENOENT)
        return fail_os(err, errno, w->id, "move %s into the trash", w->path);
    crash_point("remove.renamed");
    int r = folder_release(store, w->id, w->fd);
    if (r < 0)
        return fail_os(err, r, w->id, "release what workload %.12s had", w->id);
    crash_point("remove.done");
    return 0;
}

int workload_delete_small(struct workload *w)
{
    autoclose int fd = folder_lock_dead(w->store->trash_fd, w->id);
    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    return tree_remove_small(w->store->trash_fd, w->id);
}

/* Taken, labelled, released: a death between leaves a claim that find does not believe. */
int workload_rename(struct workload *w, const char *new_name, struct berth_error *err)
{
    struct store *store = w->store;
    char old_name[BERTH_NAME_MAX + 8], holder[BERTH_ID_TEXT] = "";
    int64_t created_usec;
    int r = name_check("workload", new_name, err);
    if (r < 0)
        return r;
    r = workload_label(w, &created_usec, old_name, err);
    if (r < 0 || strcmp(old_name, new_name) == 0)
        return r;
    r = claim_take(store, "name", store->names_fd, new_name, w->id, holder);
    if (r == -EEXIST)
        return fail(err, BERTH_EXISTS, new_name, "the name \"%s\" is taken by workload %.12s",
                    new_name, holder);
    if (r < 0)
        return fail_os(err, r, new_name, "take the name \"%s\"", new_name);
    crash_point("rename.taken");
    r = label_write(w->fd, created_usec, new_name);
    if (r < 0) {
        claim_release(store, "name", store->names_fd, new_name, w->id);
        return fail_os(err, r, new_name, "rename \"%s\"", old_name);
    }
    crash_point("rename.labelled");
    claim_release(store, "name", store->names_fd, old_name, w->id);
    return 0;
}
