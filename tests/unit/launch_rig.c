/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rig of the launch tests: see launch_rig.h.
 */
#include "launch_rig.h"

#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/cgroup.h"
#include "linux/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const char *const applets[] = {
    "sh",    "ls",    "cat",   "id",     "echo",     "sleep",  "mount",  "touch",  "grep",
    "head",  "true",  "false", "env",    "pwd",      "stat",   "dd",     "mknod",  "hostname",
    "ping",  "kill",  "mkdir", "rm",     "readlink", "ps",     "setsid", "tty",    "stty",
    "nc",    "chown", "wc",    "tr",     "unshare",  "sysctl", "ip",     "seq",    "usleep",
    "test",  "find",  "chmod", "date",   "awk",      "sed",    "printf", "umount", "ulimit",
    "nproc", "cut",   "sort",  "md5sum", "expr",     "su",     "mkfifo", "tail"};

static void copy_file(const char *from, const char *to, mode_t mode)
{
    char *data;
    size_t size;
    assert_int_equal(file_read(AT_FDCWD, from, 64u << 20, &data, &size), 0);
    assert_int_equal(file_write(AT_FDCWD, to, data, size, mode, 0), 0);
    free(data);
}

void rig_file(struct rig *r, const char *path, const char *text, unsigned mode)
{
    char full[300];
    snprintf(full, sizeof(full), "%s%s", r->layer, path);
    char *slash = strrchr(full, '/');
    *slash = 0;
    assert_int_equal(make_folders(full, 0755), 0);
    *slash = '/';
    assert_int_equal(file_write(AT_FDCWD, full, text, strlen(text), mode, 0), 0);
    assert_int_equal(chmod(full, mode), 0);
}

static void make_layer(struct rig *r)
{
    char path[300];
    static const char *const folders[] = {"bin", "etc", "tmp", "root", "data"};
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        snprintf(path, sizeof(path), "%s/%s", r->layer, folders[i]);
        assert_int_equal(make_folders(path, 0755), 0);
    }
    snprintf(path, sizeof(path), "%s/tmp", r->layer);
    chmod(path, 01777);
    snprintf(path, sizeof(path), "%s/bin/busybox", r->layer);
    copy_file("/bin/busybox", path, 0755);
    chmod(path, 0755);
    for (size_t i = 0; i < ARRAY_SIZE(applets); i++) {
        snprintf(path, sizeof(path), "%s/bin/%s", r->layer, applets[i]);
        assert_int_equal(symlink("busybox", path), 0);
    }
    rig_file(r, "/etc/passwd",
             "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/home/web:/bin/sh\n", 0644);
    rig_file(r, "/etc/group",
             "root:x:0:\nwheel:x:10:root,web\nweb:x:1001:\nextra:x:77:other,web\nbig:x:2000:\n",
             0644);
}

void rig_mount(struct rig *r, int kind, const char *source, const char *target, uint64_t flags,
               const char *data)
{
    struct plan_mount *m = &r->mounts[r->plan.n_mounts++];
    *m = (struct plan_mount){.kind = kind,
                             .source = (char *)source,
                             .target = (char *)target,
                             .flags = flags,
                             .data = (char *)data};
}

static char *masked[] = {(char *)"/proc/acpi",
                         (char *)"/proc/kcore",
                         (char *)"/proc/keys",
                         (char *)"/proc/timer_list",
                         (char *)"/proc/scsi",
                         (char *)"/sys/firmware",
                         NULL};
static char *read_only[] = {(char *)"/proc/bus",           (char *)"/proc/fs",
                            (char *)"/proc/irq",           (char *)"/proc/sys",
                            (char *)"/proc/sysrq-trigger", NULL};

static void make_plan(struct rig *r)
{
    struct plan *p = &r->plan;
    static const struct plan_device rules[] = {
        {.type = 'c', .major = UINT32_MAX, .minor = UINT32_MAX, .access = (char *)"m"},
        {.type = 'b', .major = UINT32_MAX, .minor = UINT32_MAX, .access = (char *)"m"},
        {.type = 'c', .major = 1, .minor = 3, .access = (char *)"rwm"},
        {.type = 'c', .major = 1, .minor = 5, .access = (char *)"rwm"},
        {.type = 'c', .major = 1, .minor = 7, .access = (char *)"rwm"},
        {.type = 'c', .major = 1, .minor = 8, .access = (char *)"rwm"},
        {.type = 'c', .major = 1, .minor = 9, .access = (char *)"rwm"},
        {.type = 'c', .major = 5, .minor = 0, .access = (char *)"rwm"},
        {.type = 'c', .major = 5, .minor = 2, .access = (char *)"rwm"},
        {.type = 'c', .major = 136, .minor = UINT32_MAX, .access = (char *)"rwm"},
    };
    memcpy(r->devices, rules, sizeof(rules));
    p->version = PLAN_VERSION;
    p->id = p->name = r->id;
    p->argv = r->argv;
    r->argv[0] = (char *)"/bin/sh";
    p->env = r->env;
    p->root.layers = r->layers;
    p->root.upper = r->upper;
    p->root.work = r->work;
    r->layers[0] = r->layer;
    p->mounts = r->mounts;
    rig_mount(r, PLAN_MOUNT_PROC, NULL, "/proc", 0, NULL);
    rig_mount(r, PLAN_MOUNT_DEV, NULL, "/dev", 0, NULL);
    rig_mount(r, PLAN_MOUNT_SYSFS, NULL, "/sys", MS_RDONLY, NULL);
    rig_mount(r, PLAN_MOUNT_CGROUP, NULL, "/sys/fs/cgroup", MS_RDONLY, NULL);
    p->masked_paths = masked;
    p->read_only_paths = read_only;
    p->devices = r->devices;
    p->n_devices = ARRAY_SIZE(rules);
    p->namespaces[PLAN_NS_USER].mode = PLAN_NS_HOST;
    p->hostname = (char *)"rigged";
    p->cgroup_parent = (char *)"/berth-launchtest";
    p->limits = (struct plan_limits){
        .memory = -1, .swap = -1, .reservation = -1, .cpu_quota_usec = -1, .pids = -1};
    p->caps_bounding = p->caps_effective = capability_default();
}

void rig_begin(struct rig *r)
{
    uint8_t random[16];
    char path[200];
    memset(r, 0, sizeof(*r));
    r->ready_fd = r->master_fd = r->in_fd = r->out_fd = r->err_fd = r->child.pid_fd = -1;
    /* Not on an overlay: it can't hold another's upper folder. */
    const char *base = getenv("TMPDIR");
    snprintf(r->dir, sizeof(r->dir), "%.30s/berth-launch-XXXXXX", base ? base : "/var/tmp");
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(getrandom(random, sizeof(random), 0), sizeof(random));
    hex_print(random, sizeof(random), r->id);
    snprintf(r->layer, sizeof(r->layer), "%s/layer", r->dir);
    snprintf(path, sizeof(path), "%s/root/workloads/%s", r->dir, r->id);
    assert_int_equal(make_folders(path, 0755), 0);
    r->workload_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(r->upper, sizeof(r->upper), "%s/upper", path);
    snprintf(r->work, sizeof(r->work), "%s/work", path);
    assert_int_equal(make_folders(r->upper, 0755), 0);
    assert_int_equal(make_folders(r->work, 0755), 0);
    snprintf(path, sizeof(path), "%s/run/%s", r->dir, r->id);
    assert_int_equal(make_folders(path, 0700), 0);
    r->run_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(path, sizeof(path), "%s/root", r->dir);
    r->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    make_layer(r);
    make_plan(r);
}

int rig_prepare(struct rig *r, const char *script)
{
    if (script) {
        r->argv[0] = (char *)"/bin/sh";
        r->argv[1] = (char *)"-c";
        r->argv[2] = (char *)script;
        r->argv[3] = NULL;
    }
    return r->launch ? 0
                     : launch_prepare(&r->plan, r->root_fd, r->run_fd, r->workload_fd, &r->launch,
                                      &r->err);
}

static int wait_ready(struct rig *r, int ready_fd, int msec)
{
    int result = 0;
    for (int i = 0; result == 0 && i < 2; i++) {
        struct pollfd p = {.fd = ready_fd, .events = POLLIN};
        if (poll(&p, 1, msec) == 0)
            return 0;
        result = launch_result(r->launch, ready_fd, &r->err);
    }
    return result;
}

static int reap(int pid_fd)
{
    siginfo_t info = {0};
    assert_int_equal(waitid((idtype_t)3, (id_t)pid_fd, &info, WEXITED | __WALL), 0);
    return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

struct pipes {
    int ends[3][2];
};

static void pipes_open(struct pipes *p)
{
    for (int i = 0; i < 3; i++)
        assert_int_equal(pipe2(p->ends[i], O_CLOEXEC), 0);
}

int rig_start(struct rig *r)
{
    struct pipes p;
    pipes_open(&p);
    int stdio[3] = {p.ends[0][0], p.ends[1][1], p.ends[2][1]};
    int result =
        launch_start(r->launch, &r->plan, stdio, &r->child, &r->master_fd, &r->ready_fd, &r->err);
    close(p.ends[0][0]);
    close(p.ends[1][1]);
    close(p.ends[2][1]);
    r->in_fd = p.ends[0][1];
    r->out_fd = p.ends[1][0];
    r->err_fd = p.ends[2][0];
    if (result < 0)
        return result;
    result = wait_ready(r, r->ready_fd, 10000);
    close_fd(&r->ready_fd);
    if (result < 0) {
        (void)reap(r->child.pid_fd);
        close_fd(&r->child.pid_fd);
        close_fd(&r->master_fd);
    }
    return result;
}

static void read_output(struct rig *r, int fd)
{
    size_t size;
    free(r->output);
    r->output = NULL;
    if (fd_read_all(fd, 16u << 20, &r->output, &size) < 0)
        r->output = strdup("");
}

/* A terminal's master ends with EIO. */
static void read_master(struct rig *r)
{
    struct text t = {0};
    char buffer[4096];
    for (ssize_t n; (n = read(r->master_fd, buffer, sizeof(buffer))) > 0;)
        text_add_bytes(&t, buffer, (size_t)n);
    free(r->output);
    r->output = text_take(&t);
}

int rig_finish(struct rig *r)
{
    close_fd(&r->in_fd);
    if (r->master_fd >= 0)
        read_master(r);
    else
        read_output(r, r->out_fd);
    close_fd(&r->out_fd);
    close_fd(&r->err_fd);
    close_fd(&r->master_fd);
    r->status = reap(r->child.pid_fd);
    close_fd(&r->child.pid_fd);
    return r->status;
}

int rig_run(struct rig *r, const char *script)
{
    int result = rig_prepare(r, script);
    if (result == 0)
        result = rig_start(r);
    if (result < 0) {
        close_fd(&r->in_fd);
        close_fd(&r->out_fd);
        close_fd(&r->err_fd);
        return result;
    }
    return rig_finish(r);
}

int rig_exec(struct rig *r, const char *script, const char *user)
{
    struct pipes p;
    struct launch_child child;
    int master = -1, ready;
    pipes_open(&p);
    int stdio[3] = {p.ends[0][0], p.ends[1][1], p.ends[2][1]};
    char *argv[] = {(char *)"sh", (char *)"-c", (char *)script, NULL};
    char *env[] = {(char *)"EXTRA=yes", NULL};
    struct launch_exec e = {.argv = argv, .env = env, .user = user, .stdio = stdio};
    int result = launch_exec(r->launch, &r->plan, &r->child, &e, &child, &master, &ready, &r->err);
    for (int i = 0; i < 3; i++)
        close(stdio[i]);
    close(p.ends[0][1]);
    if (result == 0) {
        result = wait_ready(r, ready, 10000);
        close(ready);
        read_output(r, p.ends[1][0]);
        int status = reap(child.pid_fd);
        result = result < 0 ? result : status;
        close(child.pid_fd);
    }
    close(p.ends[1][0]);
    close(p.ends[2][0]);
    return result;
}

void rig_stop(struct rig *r)
{
    if (r->launch && r->child.pid_fd >= 0) {
        assert_int_equal(launch_kill_all(r->launch, &r->err), 0);
        (void)reap(r->child.pid_fd);
        close_fd(&r->child.pid_fd);
    }
    close_fd(&r->in_fd);
    close_fd(&r->out_fd);
    close_fd(&r->err_fd);
    close_fd(&r->master_fd);
    launch_free(r->launch);
    r->launch = NULL;
}

static void check_nothing_left(struct rig *r)
{
    struct cgroup_layout *layout;
    char *mounts, path[128];
    size_t size;
    assert_int_equal(cgroup_layout_read(&layout, NULL), 0);
    cgroup_leave(layout); /* perhaps we were put with the supervisors */
    snprintf(path, sizeof(path), "/berth-launchtest/%s", r->id);
    assert_int_equal(cgroup_remove(layout, path, 500), 0);
    cgroup_layout_free(layout);
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/mountinfo", 16u << 20, &mounts, &size), 0);
    assert_null(strstr(mounts, r->dir));
    free(mounts);
}

void rig_end(struct rig *r)
{
    rig_stop(r);
    check_nothing_left(r);
    close(r->root_fd);
    close(r->run_fd);
    close(r->workload_fd);
    free(r->output);
    char *slash = strrchr(r->dir, '/');
    *slash = 0;
    int parent_fd = open(r->dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(tree_remove(parent_fd, slash + 1), 0);
    close(parent_fd);
}
