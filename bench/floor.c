/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: only the kernel calls of each step, no supervisor, no state, no limits.
 *
 * What berth is compared with where no peer comes near. Reads words on standard input ("start",
 * "exec", ...), does each once, answers one line: microseconds, or "-" where it can't be done.
 */
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x) do { if ((x) < 0) { fprintf(stderr, "floor: %s: %s\n", #x, strerror(errno)); _exit(1); } } while (0)

static const char *rootfs, *scratch;
static const char *const v1[] = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids"};
static int v2_fd = -1;     /* group to be born into, on pure v2 */
static bool hybrid;

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        fprintf(stderr, "floor: %s: %s\n", path, strerror(errno));
    close(fd);
}

static const char *group_path(const char *controller, char *buffer, size_t size)
{
    if (controller)
        snprintf(buffer, size, "/sys/fs/cgroup/%s/bench-floor", controller);
    else
        snprintf(buffer, size, "/sys/fs/cgroup/bench-floor");
    return buffer;
}

/* Groups are made once: every step of berth pays for its own, which is said where it is compared. */
static void groups_make(void)
{
    char path[128], from[128], value[256];
    hybrid = access("/sys/fs/cgroup/cgroup.controllers", F_OK) != 0;
    if (!hybrid) {
        mkdir(group_path(NULL, path, sizeof path), 0755);
        CHECK(v2_fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
        return;
    }
    for (size_t i = 0; i < sizeof v1 / sizeof *v1; i++) {
        mkdir(group_path(v1[i], path, sizeof path), 0755);
        if (strcmp(v1[i], "cpuset"))
            continue;
        const char *const files[] = {"cpuset.cpus", "cpuset.mems"};
        for (int f = 0; f < 2; f++) {
            snprintf(from, sizeof from, "/sys/fs/cgroup/cpuset/%s", files[f]);
            int fd = open(from, O_RDONLY | O_CLOEXEC);
            ssize_t n = fd < 0 ? -1 : read(fd, value, sizeof value - 1);
            close(fd);
            snprintf(from, sizeof from, "/sys/fs/cgroup/cpuset/bench-floor/%s", files[f]);
            value[n > 0 ? n : 0] = 0;
            write_text(from, value);
        }
    }
}

static void groups_remove(void)
{
    char path[128];
    if (!hybrid)
        rmdir(group_path(NULL, path, sizeof path));
    for (size_t i = 0; hybrid && i < sizeof v1 / sizeof *v1; i++)
        rmdir(group_path(v1[i], path, sizeof path));
}

/* Thread by thread: cgroup.procs would wait for a grace period. */
static void groups_join(void)
{
    char path[160], group[128];
    for (size_t i = 0; hybrid && i < sizeof v1 / sizeof *v1; i++) {
        snprintf(path, sizeof path, "%s/tasks", group_path(v1[i], group, sizeof group));
        write_text(path, "0");
    }
}

static void enter_root(void)
{
    static const struct { const char *name; int major, minor; } nodes[] = {
        {"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
    char options[1024], path[256];
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s/upper,workdir=%s/work", rootfs, scratch, scratch);
    snprintf(path, sizeof path, "%s/merged", scratch);
    CHECK(mount("overlay", path, "overlay", 0, options));
    CHECK(chdir(path));
    CHECK(mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
    CHECK(mount("dev", "dev", "tmpfs", MS_NOSUID, "mode=755,size=65536k"));
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        snprintf(path, sizeof path, "dev/%s", nodes[i].name);
        CHECK(mknod(path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
    }
    CHECK(syscall(SYS_pivot_root, ".", "."));
    CHECK(umount2(".", MNT_DETACH));
    CHECK(chdir("/"));
}

static pid_t start(bool groups, int out_fd, int *ret_pidfd)
{
    struct clone_args args = {
        .flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_PIDFD,
        .pidfd = (uintptr_t)ret_pidfd, .exit_signal = SIGCHLD};
    if (groups && v2_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (unsigned)v2_fd;
    }
    pid_t pid = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    CHECK(pid);
    if (pid)
        return pid;
    if (groups)
        groups_join();
    enter_root();
    dup2(out_fd, 1);
    execl("/bin/sh", "sh", "-c", "trap 'exit 0' TERM; echo x; while :; do sleep 1000 & wait; done", NULL);
    _exit(127);
}

static void finish(pid_t pid, int pidfd)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(pidfd);
}

static void scratch_reset(void)
{
    char path[256];
    const char *const names[] = {"upper", "work/work", "work", "merged"};
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", scratch, names[i]);
        rmdir(path);
    }
}

static void scratch_make(void)
{
    char path[256];
    const char *const names[] = {"upper", "work", "merged"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", scratch, names[i]);
        mkdir(path, 0755);
    }
}

struct running {
    pid_t pid;
    int pidfd;
    double started_usec;
};

static struct running run(bool groups)
{
    struct running r;
    int p[2];
    char byte;
    CHECK(pipe2(p, O_CLOEXEC));
    double t = now();
    scratch_make();
    r.pid = start(groups, p[1], &r.pidfd);
    close(p[1]);
    CHECK(read(p[0], &byte, 1));
    r.started_usec = now() - t;
    close(p[0]);
    return r;
}

static double time_start(bool groups)
{
    struct running r = run(groups);
    finish(r.pid, r.pidfd);
    scratch_reset();
    return r.started_usec;
}

/* One more program inside: setns, root, join, exec, reap. */
static double time_exec(void)
{
    struct running r = run(true);
    double t = now();
    CHECK(setns(r.pidfd, CLONE_NEWPID));
    pid_t pid = fork();
    if (pid == 0) {
        groups_join();
        CHECK(setns(r.pidfd, CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET));
        execl("/bin/true", "true", NULL);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
    double took = now() - t;
    int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    setns(own, CLONE_NEWPID);
    close(own);
    finish(r.pid, r.pidfd);
    scratch_reset();
    return took;
}

/* Entering the groups alone, as what was just cloned does it: after a pause, because the first one is the dear one. */
static double time_join(void)
{
    int p[2];
    double took = 0;
    CHECK(pipe2(p, O_CLOEXEC));
    usleep(100000);
    pid_t pid = fork();
    if (pid == 0) {
        double t = now();
        groups_join();
        t = now() - t;
        _exit(write(p[1], &t, sizeof t) != sizeof t);
    }
    CHECK(read(p[0], &took, sizeof took));
    waitpid(pid, NULL, 0);
    close(p[0]);
    close(p[1]);
    return took;
}

static double time_stop(void)
{
    struct running r = run(true);
    struct pollfd p = {.fd = r.pidfd, .events = POLLIN};
    usleep(20000); /* let the shell set its trap */
    double t = now();
    syscall(SYS_pidfd_send_signal, r.pidfd, SIGTERM, NULL, 0);
    poll(&p, 1, 5000);
    double took = now() - t;
    finish(r.pid, r.pidfd);
    scratch_reset();
    return took;
}

static double time_remove(void)
{
    struct running r = run(true);
    finish(r.pid, r.pidfd);
    double t = now();
    scratch_reset();
    groups_remove();
    double took = now() - t;
    groups_make();
    return took;
}

int main(int argc, char **argv)
{
    char word[64];
    if (argc != 3) {
        fprintf(stderr, "usage: floor ROOTFS SCRATCH   (words on standard input: start start-cgroups join exec stop remove)\n");
        return 2;
    }
    rootfs = argv[1];
    scratch = argv[2];
    groups_make();
    while (scanf("%63s", word) == 1) {
        double usec = -1;
        if (!strcmp(word, "start"))
            usec = time_start(false);
        else if (!strcmp(word, "start-cgroups"))
            usec = time_start(true);
        else if (!strcmp(word, "join"))
            usec = time_join();
        else if (!strcmp(word, "exec"))
            usec = time_exec();
        else if (!strcmp(word, "stop"))
            usec = time_stop();
        else if (!strcmp(word, "remove"))
            usec = time_remove();
        if (usec < 0)
            puts("-");
        else
            printf("%.1f\n", usec);
        fflush(stdout);
    }
    groups_remove();
    return 0;
}
