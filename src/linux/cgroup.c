/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups: where the hierarchies are, and making, entering and removing one workload's group.
 *
 * Nothing is kept open but what is used again: a supervisor lives as long as its workload and must
 * stay small, so control files are opened by path when they are needed.
 */
#include "linux/cgroup_internal.h"

#include "base/base.h"
#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* ---- control files */

int control_write(const char *path, const char *value)
{
    autoclose int fd = RETRY(open(path, O_WRONLY | O_CLOEXEC));
    if (fd < 0)
        return -errno;
    if (RETRY(write(fd, value, strlen(value))) < 0)
        return -errno;
    return 0;
}

ssize_t control_read(const char *path, char *ret, size_t room)
{
    autoclose int fd = RETRY(open(path, O_RDONLY | O_CLOEXEC));
    if (fd < 0)
        return -errno;
    ssize_t n = RETRY(read(fd, ret, room - 1));
    if (n < 0)
        return -errno;
    ret[n] = 0;
    return n;
}

uint64_t keyed_number(const char *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, length) == 0 && line[length] == ' ')
            return strtoull(line + length + 1, NULL, 10);
    }
    return 0;
}

/* ---- layout */

static bool listed(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += length)
        if ((p == list || strchr(", ", p[-1])) && strchr(", \n", p[length]))
            return true;
    return false;
}

static bool hierarchy_known(const struct cgroup_layout *layout, const char *controllers, bool v2)
{
    for (size_t i = 0; i < layout->n; i++)
        if (layout->list[i].v2 == v2 &&
            (v2 || strcmp(layout->list[i].controllers, controllers) == 0))
            return true;
    return false;
}

/* The options of a v1 hierarchy hold its controllers among flags that are none. */
static void controllers_of_options(char *options, char *ret, size_t room)
{
    static const char *const flags[] = {"rw",       "ro",   "xattr",          "clone_children",
                                        "noprefix", "none", "cpuset_v2_mode", "favordynmods"};
    char *save = NULL;
    size_t used = 0;
    ret[0] = 0;
    for (char *o = strtok_r(options, ",\n", &save); o; o = strtok_r(NULL, ",\n", &save)) {
        bool flag = starts_with(o, "release_agent=");
        for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
            flag = flag || strcmp(o, flags[i]) == 0;
        if (!flag && used < room)
            used += (size_t)snprintf(ret + used, room - used, "%s%s", used ? "," : "", o);
    }
}

/* "31 23 0:28 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory" */
static int layout_add_line(struct cgroup_layout *layout, char *line)
{
    char *tail = strstr(line, " - ");
    char mount[512], type[32], options[512], controllers[512];
    if (!tail || sscanf(line, "%*s %*s %*s %*s %511s", mount) != 1 ||
        sscanf(tail, " - %31s %*s %511[^\n]", type, options) != 2)
        return 0;
    bool v2 = strcmp(type, "cgroup2") == 0;
    if (!v2 && strcmp(type, "cgroup") != 0)
        return 0;
    controllers[0] = 0;
    if (!v2)
        controllers_of_options(options, controllers, sizeof(controllers));
    if (layout->n == HIERARCHY_MAX || hierarchy_known(layout, controllers, v2))
        return 0;
    if (v2) {
        char path[600];
        snprintf(path, sizeof(path), "%s/cgroup.controllers", mount);
        if (control_read(path, controllers, sizeof(controllers)) < 0)
            return 0;
    }
    struct hierarchy *h = &layout->list[layout->n];
    h->v2 = v2;
    h->mount = strdup(mount);
    h->controllers = strdup(controllers);
    layout->n++;
    return h->mount && h->controllers ? 0 : -ENOMEM;
}

static int layout_scan(struct cgroup_layout *layout, char *mountinfo)
{
    char *save = NULL;
    for (char *line = strtok_r(mountinfo, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        int r = layout_add_line(layout, line);
        if (r < 0)
            return r;
    }
    bool v1 = false;
    for (size_t i = 0; i < layout->n; i++) {
        if (layout->list[i].v2)
            layout->unified = &layout->list[i];
        else
            v1 = true;
    }
    layout->mode = !v1 ? CGROUP_V2 : layout->unified ? CGROUP_HYBRID : CGROUP_V1;
    return 0;
}

int cgroup_layout_read(struct cgroup_layout **ret_layout, struct berth_error *err)
{
    autofree char *mountinfo = NULL;
    size_t size;
    int r = file_read(AT_FDCWD, "/proc/self/mountinfo", 64u << 20, &mountinfo, &size);
    if (r < 0)
        return fail_os(err, r, "/proc/self/mountinfo", "read /proc/self/mountinfo");
    struct cgroup_layout *layout = calloc(1, sizeof(*layout));
    if (!layout)
        return fail_memory(err);
    r = layout_scan(layout, mountinfo);
    if (r == 0 && layout->n == 0)
        r = fail(err, BERTH_NO_KERNEL, "cgroup",
                 "no cgroup file system is mounted; mount one with: "
                 "mount -t cgroup2 none /sys/fs/cgroup");
    else if (r < 0)
        r = fail_memory(err);
    if (r < 0) {
        cgroup_layout_free(layout);
        return r;
    }
    *ret_layout = layout;
    return 0;
}

void cgroup_layout_free(struct cgroup_layout *layout)
{
    if (!layout)
        return;
    for (size_t i = 0; i < layout->n; i++) {
        free(layout->list[i].mount);
        free(layout->list[i].controllers);
    }
    free(layout);
}

int cgroup_layout_mode(const struct cgroup_layout *layout)
{
    return layout->mode;
}

const char *cgroup_mode_name(int mode)
{
    static const char *const names[] = {
        [CGROUP_V2] = "v2", [CGROUP_HYBRID] = "hybrid", [CGROUP_V1] = "v1"};
    return mode >= 0 && (size_t)mode < ARRAY_SIZE(names) ? names[mode] : "unknown";
}

const struct hierarchy *cgroup_hierarchy(const struct cgroup_layout *layout, const char *controller)
{
    for (size_t i = 0; i < layout->n; i++)
        if (listed(layout->list[i].controllers, controller))
            return &layout->list[i];
    return NULL;
}

bool cgroup_has(const struct cgroup_layout *layout, const char *controller)
{
    return cgroup_hierarchy(layout, controller) != NULL;
}

bool cgroup_needs_join(const struct cgroup_layout *layout)
{
    return layout->mode != CGROUP_V2;
}

/* ---- making */

int cgroup_file_path(const struct cgroup *g, const struct hierarchy *h, const char *file,
                     char ret_path[CGROUP_PATH_MAX])
{
    int n = snprintf(ret_path, CGROUP_PATH_MAX, "%s%s%s%s%s", h->mount, g->path,
                     h->v2 ? "/load" : "", file ? "/" : "", file ? file : "");
    return n < CGROUP_PATH_MAX ? 0 : -ENAMETOOLONG;
}

int cgroup_set(const struct cgroup *g, const struct hierarchy *h, const char *file,
               const char *value)
{
    char path[CGROUP_PATH_MAX];
    int r = cgroup_file_path(g, h, file, path);
    return r < 0 ? r : control_write(path, value);
}

/* Enable what a workload may need for the groups below `dir`; what is there already costs one read.
 */
static void enable_controllers(const char *dir)
{
    static const char *const wanted[] = {"cpu", "cpuset", "memory", "pids", "io"};
    char path[CGROUP_PATH_MAX + 32], have[512], on[512], value[32];
    snprintf(path, sizeof(path), "%s/cgroup.controllers", dir);
    if (control_read(path, have, sizeof(have)) < 0)
        return;
    snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
    if (control_read(path, on, sizeof(on)) < 0)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
        if (!listed(have, wanted[i]) || listed(on, wanted[i]))
            continue;
        /* One at a time: a controller that can't be enabled must not take the others along. A limit
         * that needs it then fails by name. */
        snprintf(value, sizeof(value), "+%s", wanted[i]);
        (void)control_write(path, value);
    }
}

/* A new v1 cpuset has no processors and takes no process: it starts with its parent's. */
static void inherit_cpuset(const char *dir)
{
    static const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        char own[CGROUP_PATH_MAX + 32], above[CGROUP_PATH_MAX + 32], value[1024];
        snprintf(own, sizeof(own), "%s/%s", dir, files[i]);
        snprintf(above, sizeof(above), "%s/../%s", dir, files[i]);
        if (control_read(own, value, sizeof(value)) <= 1 &&
            control_read(above, value, sizeof(value)) > 1)
            (void)control_write(own, value);
    }
}

/* The supervisor finds what its caller has made: each needless mkdir waits for others' groups, too. */
static bool is_made(const struct cgroup *g, const struct hierarchy *h)
{
    char path[CGROUP_PATH_MAX];
    struct stat st;
    if (cgroup_file_path(g, h, NULL, path) < 0 || stat(path, &st) < 0)
        return false;
    if (h->v2)
        return snprintf(path, sizeof(path), "%s%s/sup", h->mount, g->path) < (int)sizeof(path) &&
               stat(path, &st) == 0;
    return !listed(h->controllers, "cpuset");
}

/* mkdir -p below the mount point. What already exists is used as it is. */
static int make_path(const struct hierarchy *h, const char *path)
{
    char dir[CGROUP_PATH_MAX];
    size_t start = strlen(h->mount);
    int n = snprintf(dir, sizeof(dir), "%s%s", h->mount, path);
    if (n >= (int)sizeof(dir))
        return -ENAMETOOLONG;
    bool cpuset = !h->v2 && listed(h->controllers, "cpuset");
    for (char *p = dir + start; *p;) {
        if (h->v2) {
            char slash = *p;
            *p = 0;
            enable_controllers(dir);
            *p = slash;
        }
        char *end = strchrnul(p + 1, '/');
        char saved = *end;
        *end = 0;
        if (mkdir(dir, 0755) < 0 && errno != EEXIST)
            return -errno;
        if (cpuset)
            inherit_cpuset(dir);
        *end = saved;
        p = end;
    }
    return 0;
}

static int make_in(const struct cgroup *g, const struct hierarchy *h)
{
    char path[CGROUP_PATH_MAX];
    if (is_made(g, h))
        return 0;
    snprintf(path, sizeof(path), "%s%s", g->path, h->v2 ? "/load" : "");
    /* The parent may go away between two mkdirs: another workload's end removes it when it is
     * empty. */
    int r = make_path(h, path);
    for (int i = 0; r == -ENOENT && i < 20; i++)
        r = make_path(h, path);
    if (r == 0 && h->v2) {
        snprintf(path, sizeof(path), "%s%s/sup", h->mount, g->path);
        r = mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
    }
    return r;
}

static int group_new(const struct cgroup_layout *layout, const char *parent, const char *id,
                     struct cgroup **ret, struct berth_error *err)
{
    if (parent[0] != '/' || strstr(parent, "/..") || strchr(parent, '\n') || strlen(parent) > 512)
        return fail(err, BERTH_INVALID, "cgroup_parent", "\"%s\" is not a path of a control group",
                    parent);
    struct cgroup *g = calloc(1, sizeof(*g));
    char *path =
        format_text("%s%s%s", strcmp(parent, "/") == 0 ? "" : parent, id ? "/" : "", id ? id : "");
    if (!g || !path) {
        free(g);
        free(path);
        return fail_memory(err);
    }
    g->layout = layout;
    g->path = path;
    g->load_fd = g->sup_fd = g->events_fd = -1;
    *ret = g;
    return 0;
}

int cgroup_make(const struct cgroup_layout *layout, const char *parent, const char *id,
                struct cgroup **ret_group, struct berth_error *err)
{
    struct cgroup *g;
    int r = group_new(layout, parent, id, &g, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < layout->n; i++) {
        r = make_in(g, &layout->list[i]);
        if (r < 0) {
            r = fail_os(err, r, g->path, "make control group %s in %s", g->path,
                        layout->list[i].mount);
            (void)cgroup_remove(layout, g->path, 0);
            cgroup_close(g);
            return r;
        }
    }
    *ret_group = g;
    return 0;
}

int cgroup_open(const struct cgroup_layout *layout, const char *path, struct cgroup **ret_group,
                struct berth_error *err)
{
    struct cgroup *g;
    int r = group_new(layout, path, NULL, &g, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < layout->n; i++) {
        char dir[CGROUP_PATH_MAX];
        if (cgroup_file_path(g, &layout->list[i], NULL, dir) == 0 && access(dir, F_OK) == 0) {
            *ret_group = g;
            return 0;
        }
    }
    cgroup_close(g);
    return fail(err, BERTH_NOT_FOUND, path, "no control group %s", path);
}

void cgroup_close(struct cgroup *g)
{
    if (!g)
        return;
    close_fd(&g->load_fd);
    close_fd(&g->sup_fd);
    close_fd(&g->events_fd);
    if (g->figures_open)
        for (size_t i = 0; i < FIGURE_COUNT; i++)
            close_fd(&g->figure_fds[i]);
    free(g->path);
    free(g);
}

const char *cgroup_path(const struct cgroup *g)
{
    return g->path;
}

const struct cgroup_layout *cgroup_layout_of(const struct cgroup *g)
{
    return g->layout;
}

/* ---- entering */

static int open_in_v2(const struct cgroup *g, const char *name, int flags)
{
    char path[CGROUP_PATH_MAX];
    if (!g->layout->unified)
        return -1;
    int n = snprintf(path, sizeof(path), "%s%s/%s", g->layout->unified->mount, g->path, name);
    return n < (int)sizeof(path) ? open(path, flags | O_CLOEXEC) : -1;
}

int cgroup_v2_fd(struct cgroup *g)
{
    if (g->load_fd < 0)
        g->load_fd = open_in_v2(g, "load", O_PATH | O_DIRECTORY);
    return g->load_fd;
}

int cgroup_sup_v2_fd(struct cgroup *g)
{
    if (g->sup_fd < 0)
        g->sup_fd = open_in_v2(g, "sup", O_PATH | O_DIRECTORY);
    return g->sup_fd;
}

int cgroup_events_fd(struct cgroup *g)
{
    if (g->events_fd < 0)
        g->events_fd = open_in_v2(g, "load/cgroup.events", O_RDONLY);
    return g->events_fd;
}

static int join_one(const struct cgroup *g, const struct hierarchy *h, bool sup)
{
    char path[CGROUP_PATH_MAX];
    if (!sup) {
        int r = cgroup_file_path(g, h, "tasks", path);
        return r < 0 ? r : control_write(path, "0");
    }
    const char *slash = strrchr(g->path, '/');
    int parent = slash ? (int)(slash - g->path) : 0;
    snprintf(path, sizeof(path), "%s%.*s/sup", h->mount, parent, g->path);
    if (mkdir(path, 0755) == 0 && listed(h->controllers, "cpuset"))
        inherit_cpuset(path);
    snprintf(path, sizeof(path), "%s%.*s/sup/tasks", h->mount, parent, g->path);
    return control_write(path, "0");
}

int cgroup_join_v1(const struct cgroup *g, bool sup)
{
    int first = 0;
    for (size_t i = 0; i < g->layout->n; i++) {
        const struct hierarchy *h = &g->layout->list[i];
        int r = h->v2 ? 0 : join_one(g, h, sup);
        if (r < 0 && first == 0)
            first = r;
    }
    return first;
}

/* Also a write that changes nothing takes the kernel's wait. */
static bool is_in_v2_root(void)
{
    char text[4096];
    ssize_t n = control_read("/proc/self/cgroup", text, sizeof(text));
    return n > 0 && (starts_with(text, "0::/\n") || strstr(text, "\n0::/\n"));
}

void cgroup_leave(const struct cgroup_layout *layout)
{
    char path[CGROUP_PATH_MAX];
    for (size_t i = 0; i < layout->n; i++) {
        const struct hierarchy *h = &layout->list[i];
        if ((!h->v2 || !is_in_v2_root()) &&
            snprintf(path, sizeof(path), "%s/%s", h->mount, h->v2 ? "cgroup.procs" : "tasks") <
                (int)sizeof(path))
            (void)control_write(path, "0");
    }
}

int cgroup_root_v2_fd(const struct cgroup_layout *layout)
{
    return layout->unified ? open(layout->unified->mount, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
}

/* ---- what the workload sees of it */

size_t cgroup_view_count(const struct cgroup *g)
{
    return g->layout->n;
}

int cgroup_view(const struct cgroup *g, size_t i, char *ret_path, size_t room,
                const char **ret_name)
{
    char path[CGROUP_PATH_MAX];
    const struct hierarchy *h = &g->layout->list[i];
    int r = cgroup_file_path(g, h, NULL, path);
    if (r < 0 || strlen(path) >= room)
        return -ENAMETOOLONG;
    strncpy(ret_path, path, room);
    *ret_name = g->layout->mode == CGROUP_V2 ? "" : strrchr(h->mount, '/') + 1;
    return 0;
}

/* ---- removing */

/* Groups that the workload made inside its own; their depth is the kernel's to limit, ours is 64.
 */
static void remove_below(int dir_fd, const char *name, int depth)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        close_fd(&fd);
        return;
    }
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_type != DT_DIR || e->d_name[0] == '.')
            continue;
        if (unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) < 0 && depth < 64) {
            remove_below(dirfd(d), e->d_name, depth + 1);
            (void)unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR);
        }
    }
    closedir(d);
}

static int remove_group(const char *path)
{
    if (rmdir(path) == 0 || errno == ENOENT)
        return 0;
    if (errno != EBUSY && errno != ENOTEMPTY)
        return -errno;
    remove_below(AT_FDCWD, path, 0);
    return rmdir(path) == 0 || errno == ENOENT ? 0 : -errno;
}

static int remove_in(const struct hierarchy *h, const char *path, bool load_only)
{
    static const char *const parts[] = {"/load", "/sup", ""};
    char dir[CGROUP_PATH_MAX];
    int r = 0;
    for (size_t i = h->v2 ? 0 : 2; i < (load_only && h->v2 ? 1 : ARRAY_SIZE(parts)); i++) {
        snprintf(dir, sizeof(dir), "%s%s%s", h->mount, path, parts[i]);
        int one = remove_group(dir);
        r = r < 0 ? r : one;
    }
    return r;
}

static bool has_groups_besides(const char *path, const char *name)
{
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));)
        found = e->d_type == DT_DIR && e->d_name[0] != '.' && strcmp(e->d_name, name) != 0;
    if (d)
        closedir(d);
    return found;
}

/* berth's own parent goes with its last workload; somebody else's stays. -EBUSY: only a supervisor
 * that is about to be gone is in the way. */
static int remove_parent(const struct hierarchy *h, const char *path)
{
    char dir[CGROUP_PATH_MAX];
    const char *slash = strrchr(path, '/');
    int parent = slash ? (int)(slash - path) : 0;
    if (!h->v2) {
        snprintf(dir, sizeof(dir), "%s%.*s/sup", h->mount, parent, path);
        bool busy = rmdir(dir) < 0 && errno == EBUSY;
        snprintf(dir, sizeof(dir), "%s%.*s", h->mount, parent, path);
        if (busy)
            return has_groups_besides(dir, "sup") ? 0 : -EBUSY;
    }
    snprintf(dir, sizeof(dir), "%s%.*s", h->mount, parent, path);
    if (parent > 0 && starts_with(strrchr(dir, '/'), "/berth-"))
        (void)rmdir(dir);
    return 0;
}

static int remove_all(const struct cgroup_layout *layout, const char *path, bool load_only,
                      int wait_msec)
{
    int64_t deadline = monotonic_usec() + (int64_t)wait_msec * 1000;
    bool done[HIERARCHY_MAX] = {false};
    if (path[0] != '/' || strlen(path) > 700)
        return -EINVAL;
    for (;;) {
        int r = 0;
        for (size_t i = 0; i < layout->n; i++) {
            int one = done[i] ? 0 : remove_in(&layout->list[i], path, load_only);
            if (one == 0 && !done[i] && !load_only)
                one = remove_parent(&layout->list[i], path);
            done[i] = one == 0;
            r = r < 0 ? r : one;
        }
        if (r != -EBUSY || monotonic_usec() >= deadline)
            return r;
        /* An exiting process leaves its v1 groups a moment after its parent has heard of its end,
         * and nothing tells when. */
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
    }
}

int cgroup_remove(const struct cgroup_layout *layout, const char *path, int wait_msec)
{
    return remove_all(layout, path, false, wait_msec);
}

int cgroup_remove_load(const struct cgroup_layout *layout, const char *path, int wait_msec)
{
    return remove_all(layout, path, true, wait_msec);
}
