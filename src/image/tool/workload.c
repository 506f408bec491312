/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of a workload: export, copy out, copy in, diff.
 *
 * A running one is entered by its main program's root, a stopped one by its overlay, mounted for
 * nobody else to see. Either way that root becomes this process's own before any name in it is looked
 * up, so that a link in it can lead nowhere but inside.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/jail.h"
#include "image/tool/pack.h"
#include "image/tool/work.h"
#include "linux/mounts.h"
#include "model/plan.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

/* ---- outside */

static int read_plan(struct work *w, struct berth_error *err)
{
    autofree char *data = NULL;
    size_t size = 0;
    int r = workload_read(w->workload, "plan.json", PLAN_MAX_BYTES, &data, &size, err);
    return r < 0 ? r : plan_parse(data, size, &w->plan, err);
}

/* The root of the main program. It is asked for again afterwards: a pid may be another's by then. */
static int open_running(struct work *w, const struct status *status, struct berth_error *err)
{
    char path[64];
    struct status again;
    bool alive = false;
    snprintf(path, sizeof path, "/proc/%d/root", status->pid);
    autoclose int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int os_error = errno;
    int r = workload_status_read(w->workload, &again, &alive, err);
    if (r < 0)
        return r;
    if (!alive || again.pid != status->pid)
        return fail(err, BERTH_WRONG_STATE, w->arguments[0], "the workload ended or restarted just now");
    if (fd < 0)
        return fail_os(err, os_error, w->arguments[0], "open the root of the running workload");
    w->root_fd = take_fd(&fd);
    return 0;
}

int diff_prepare(struct work *w, struct berth_error *err)
{
    int r = workload_open(w->store, w->arguments[0], &w->workload, err);
    return r < 0 ? r : read_plan(w, err);
}

/* `change`, until the end: nobody may start it while its folders are mounted here. Waits for who has it:
   mostly another copy that is just done. */
static int lock_change(struct work *w, struct berth_error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = workload_change_fd(w->workload, err);
    if (fd < 0)
        return fd;
    sigset_t mask = cancel_signals();
    sigprocmask(SIG_UNBLOCK, &mask, NULL);
    int r = RETRY(fcntl(fd, F_OFD_SETLKW, &lock)) < 0 ? fail_os(err, errno, w->arguments[0], "lock the workload") : 0;
    sigprocmask(SIG_BLOCK, &mask, NULL);
    return r;
}

int workload_hold(struct work *w, struct berth_error *err)
{
    struct status status = {0};
    bool alive = false;
    int r = diff_prepare(w, err);
    if (r == 0)
        r = lock_change(w, err);
    if (r == 0)
        r = workload_status_read(w->workload, &status, &alive, err);
    if (r == 0 && alive)
        r = fail(err, BERTH_WRONG_STATE, w->arguments[0], "it is running; stop it first: what it has written is only then whole");
    return r;
}

int workload_prepare(struct work *w, struct berth_error *err)
{
    struct status status = {0};
    bool alive = false;
    int r = diff_prepare(w, err);
    if (r == 0)
        r = workload_status_read(w->workload, &status, &alive, err);
    if (r < 0)
        return r;
    if (alive && status.pid > 0)
        return open_running(w, &status, err);
    return lock_change(w, err);
}

/* ---- the overlay of a stopped one */

static void close_all(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close_fd(&fds[i]);
}

/* Its merged root, or with `upper` false what lies below its changes. -1 with layers and upper both absent. */
static int open_overlay(struct work *w, bool upper, struct berth_error *err)
{
    const struct plan *p = w->plan;
    int fds[IMAGE_MAX_LAYERS + 2];
    size_t n = 0;
    bool has_upper = upper && p->root.upper;
    for (; p->root.layers && p->root.layers[n] && n < IMAGE_MAX_LAYERS; n++)
        if ((fds[n] = open(p->root.layers[n], O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0) {
            int r = fail_os(err, errno, p->root.layers[n], "open the layer %s", p->root.layers[n]);
            close_all(fds, n);
            return r;
        }
    if (n == 0 && !has_upper)
        return fail(err, BERTH_NOT_FOUND, p->id, "the workload has no root of its own");
    autoclose int upper_fd = has_upper ? open(p->root.upper, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    autoclose int work_fd = has_upper && p->root.work ? open(p->root.work, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    int r = has_upper && (upper_fd < 0 || (n > 0 && work_fd < 0)) ? -errno
          : overlay_make(fds, n, upper_fd, work_fd, store_root(w->store));
    close_all(fds, n);
    return r < 0 ? fail_os(err, r, p->id, "mount the root of the stopped workload") : r;
}

static int own_mounts(struct work *w, struct berth_error *err)
{
    if (unshare(CLONE_NEWNS) < 0 || mount_all_private() < 0)
        return fail_os(err, errno, "", "make a mount namespace (this needs CAP_SYS_ADMIN: sudo)");
    /* A descriptor from before belongs to the namespace outside, where nothing may be mounted. */
    w->place_fd = open(store_root(w->store), O_PATH | O_DIRECTORY | O_CLOEXEC);
    return w->place_fd < 0 ? fail_os(err, errno, "", "open %s", store_root(w->store)) : 0;
}

int workload_enter(struct work *w, struct berth_error *err)
{
    int r = own_mounts(w, err);
    if (r == 0 && w->root_fd < 0) {
        r = open_overlay(w, true, err);
        w->root_fd = r;
    }
    return r < 0 ? r : jail_enter_root(w->root_fd, err);
}

/* ---- out */

static int to_output(void *user, const void *data, size_t size, struct berth_error *err)
{
    int r = fd_write_all(STDOUT_FILENO, data, size);
    return r < 0 ? fail_os(err, r, "", "write the archive") : 0;
}

int export_run(struct work *w, struct berth_error *err)
{
    struct pack_options options = {.one_mount = true};
    struct pack_result packed;
    autoclose int fd = root_open(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return fail_os(err, fd, "/", "open the root");
    return pack_tar(fd, ".", &options, to_output, NULL, &packed, err);
}

static int open_inside(const char *path, int flags, struct berth_error *err)
{
    autoclose int root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = root_fd < 0 ? -errno : root_open(root_fd, path, flags);
    if (fd == -ENOENT)
        return fail(err, BERTH_NOT_FOUND, path, "%.300s: there is no such file inside", path);
    if (fd == -ENOTDIR)
        return fail(err, BERTH_INVALID, path, "%.300s is not a folder", path);
    return fd < 0 ? fail_os(err, fd, path, "open %.300s inside", path) : fd;
}

/* "/etc/app/" -> folder "/etc", name "app"; what ends in "/." or is the root: its content, no name. */
static int copy_out(char *path, struct berth_error *err)
{
    size_t n = strlen(path);
    bool follow = n > 0 && path[n - 1] == '/';
    while (n > 1 && path[n - 1] == '/')
        path[--n] = 0;
    char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    bool content = !*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    struct pack_options options = {.name = content ? NULL : name};
    struct pack_result packed;
    autoclose int fd = -1;
    if (content || follow) {
        fd = open_inside(*path ? path : "/", O_RDONLY | O_DIRECTORY, err);
        return fd < 0 ? fd : pack_tar(fd, ".", &options, to_output, NULL, &packed, err);
    }
    autofree char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("/");
    if (!folder)
        return fail_memory(err);
    fd = open_inside(folder, O_RDONLY | O_DIRECTORY, err);
    if (fd < 0)
        return fd;
    struct stat st;
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? fail(err, BERTH_NOT_FOUND, path, "%.300s: there is no such file inside", path)
                               : fail_os(err, errno, path, "look up %.300s", path);
    return pack_tar(fd, name, &options, to_output, NULL, &packed, err);
}

int copy_out_run(struct work *w, struct berth_error *err)
{
    return copy_out(w->arguments[1], err);
}

/* ---- in */

int copy_in_run(struct work *w, struct berth_error *err)
{
    struct unpack_options options = {.max_entries = w->max_entries, .max_bytes = w->max_bytes};
    struct unpack_result result;
    autoclose int fd = open_inside(w->arguments[1], O_RDONLY | O_DIRECTORY, err);
    if (fd < 0)
        return fd;
    if (w->plan->root.read_only && faccessat(fd, ".", W_OK, 0) < 0 && errno == EROFS)
        return fail(err, BERTH_DENIED, w->arguments[1], "%.300s is read-only inside", w->arguments[1]);
    umask(0);
    return unpack_tar(STDIN_FILENO, fd, &options, &result, err);
}

/* ---- diff */

int diff_enter(struct work *w, struct berth_error *err)
{
    struct jail_bind binds[2];
    size_t n = 0;
    int r = own_mounts(w, err);
    autoclose int upper_fd = w->plan->root.upper ? open(w->plan->root.upper, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (upper_fd >= 0)
        binds[n++] = (struct jail_bind){"upper", upper_fd, false};
    autoclose int lower_fd = -1, made_fd = -1;
    int placed = 0;
    if (r == 0 && w->plan->root.layers && w->plan->root.layers[0]) {
        made_fd = open_overlay(w, false, err);
        r = MIN(made_fd, 0);
        if (r == 0 && (placed = mount_place(made_fd, w->place_fd)) < 0)
            r = fail_os(err, placed, "", "mount the image of the workload");
        lower_fd = r == 0 ? openat(made_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        binds[n++] = (struct jail_bind){"lower", lower_fd, false};
    }
    return r < 0 ? r : jail_enter(w->root, binds, n, err);
}

struct diff { const struct plan *plan; int lower_fd; char path[PATH_MAX]; size_t length; struct berth_error *err; };

static void say(struct diff *d, const char *name, const char *kind)
{
    autofree char *path = format_text("%s/%s", d->path, name);
    if (path)
        answer(json_pack("{ss% ss}", "path", path, strlen(path), "kind", kind));
}

static int open_lower(const struct diff *d, const char *path, int flags)
{
    return d->lower_fd < 0 ? -ENOENT : below_open(d->lower_fd, *path ? path : ".", flags, false);
}

static bool is_below(struct diff *d, const char *name)
{
    autofree char *path = format_text("%s%s%s", d->length ? d->path + 1 : "", d->length ? "/" : "", name);
    struct stat st;
    char *slash = path ? strrchr(path, '/') : NULL;
    if (slash)
        *slash = 0;
    autoclose int fd = open_lower(d, slash ? path : "", O_PATH | O_DIRECTORY);
    return fd >= 0 && fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static int compare_entries(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* A place that was made only so that something could be mounted there is no change of the workload's. */
bool is_mounted(const void *plan, const char *path)
{
    const struct plan *p = plan;
    for (size_t i = 0; i < p->n_mounts; i++) {
        const char *target = p->mounts[i].target;
        if (target && target[0] == '/' && strcmp(target + 1, path) == 0)
            return true;
    }
    return false;
}

static bool is_mount_point(const struct diff *d, const char *name)
{
    autofree char *path = format_text("%s%s%s", d->length ? d->path + 1 : "", d->length ? "/" : "", name);
    return path && is_mounted(d->plan, path);
}

static int list(int fd, struct dirent ***ret)
{
    return scandirat(fd, ".", ret, NULL, compare_entries);
}

/* A folder that hides what lies below it: all of there that it has not itself is deleted. */
static void say_hidden(struct diff *d, int folder_fd)
{
    struct dirent **names = NULL;
    char opaque[2];
    if (fgetxattr(folder_fd, "trusted.overlay.opaque", opaque, sizeof opaque) < 1 || opaque[0] != 'y')
        return;
    autoclose int fd = open_lower(d, d->length ? d->path + 1 : "", O_RDONLY | O_DIRECTORY);
    int n = fd < 0 ? 0 : list(fd, &names);
    for (int i = 0; i < n; i++) {
        struct stat st;
        if (strcmp(names[i]->d_name, ".") != 0 && strcmp(names[i]->d_name, "..") != 0 &&
            fstatat(folder_fd, names[i]->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            say(d, names[i]->d_name, "deleted");
        free(names[i]);
    }
    free(names);
}

static int diff_folder(struct diff *d, int folder_fd, int depth);

static int diff_entry(struct diff *d, int folder_fd, const char *name, int depth)
{
    struct stat st;
    if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : fail_os(d->err, errno, name, "look up %s/%s", d->path, name);
    if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0)) {
        say(d, name, "deleted");
        return 0;
    }
    if (is_mount_point(d, name))
        return 0;
    say(d, name, is_below(d, name) ? "changed" : "added");
    if (!S_ISDIR(st.st_mode))
        return 0;
    size_t before = d->length, more = strlen(name) + 1;
    if (depth > 1000 || before + more + 1 > sizeof d->path)
        return fail(d->err, BERTH_TOO_BIG, name, "%.300s: folders lie too deep", d->path);
    autoclose int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : fail_os(d->err, errno, name, "open %s/%s", d->path, name);
    snprintf(d->path + before, sizeof d->path - before, "/%s", name);
    d->length = before + more;
    say_hidden(d, fd);
    int r = diff_folder(d, fd, depth + 1);
    d->length = before;
    d->path[before] = 0;
    return r;
}

static int diff_folder(struct diff *d, int folder_fd, int depth)
{
    struct dirent **names = NULL;
    int n = list(folder_fd, &names), r = n < 0 ? fail_os(d->err, errno, d->path, "list %s/", d->path) : 0;
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name;
        if (r == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            r = diff_entry(d, folder_fd, name, depth);
        free(names[i]);
    }
    free(names);
    return r;
}

int diff_run(struct work *w, struct berth_error *err)
{
    struct diff *d = calloc(1, sizeof *d);
    if (!d)
        return fail_memory(err);
    autoclose int upper_fd = open("/upper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    autoclose int lower_fd = open("/lower", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d->lower_fd = lower_fd;
    d->err = err;
    d->plan = w->plan;
    int r = upper_fd < 0 ? 0 : diff_folder(d, upper_fd, 0);
    free(d);
    return r;
}
