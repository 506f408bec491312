/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launch, seen from inside: what a workload finds, what it may do, and how it ends. Needs root.
 */
#include "fault.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "launch_rig.h"
#include "linux/cgroup.h"
#include "linux/syscall_filter.h"
#include "model/status.h"
#include "store/store.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void expect_run(struct rig *r, const char *script, const char *output)
{
    int code = rig_run(r, script);
    if (code != 0)
        print_message("code %d: %s\n", code, code < 0 ? r->err.message : r->output);
    assert_int_equal(code, 0);
    assert_string_equal(r->output, output);
}

static void runs_a_program(void **state)
{
    struct rig r;
    rig_begin(&r);
    expect_run(&r, "echo hello; hostname; id -u; pwd; echo $HOSTNAME $HOME; echo $$",
               "hello\nrigged\n0\n/\nrigged /root\n1\n");
    rig_end(&r);
}

static void expect_failure(struct rig *r, int code, const char *message)
{
    int result = rig_run(r, NULL);
    if (result != code || strcmp(r->err.message, message) != 0)
        print_message("%d: %s\n", result, r->err.message);
    assert_int_equal(result, code);
    assert_string_equal(r->err.message, message);
}

static void set_argv(struct rig *r, const char *a, const char *b)
{
    r->argv[0] = (char *)a;
    r->argv[1] = (char *)b;
}

static void add_probe(struct rig *r)
{
    char *data, path[200];
    size_t size;
    assert_int_equal(file_read(AT_FDCWD, PROBE, 16u << 20, &data, &size), 0);
    snprintf(path, sizeof(path), "%s/bin/probe", r->layer);
    assert_int_equal(file_write(AT_FDCWD, path, data, size, 0755, 0), 0);
    free(data);
}

static void capabilities_are_dockers(void **state)
{
    struct rig r;
    rig_begin(&r);
    expect_run(
        &r, "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status",
        "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n"
        "CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t0\n");
    rig_end(&r);
}

static void another_user_has_none_and_its_groups(void **state)
{
    struct rig r;
    rig_begin(&r);
    char *groups[] = {(char *)"big", (char *)"4242", NULL};
    r.plan.user = (char *)"web";
    r.plan.groups = groups;
    r.plan.no_new_privileges = true;
    expect_run(&r,
               "id; echo $HOME; grep -E '^(CapPrm|CapEff|CapBnd|NoNew)' /proc/self/status; echo "
               "again > /dev/stdout; umask",
               "uid=1000(web) gid=1001(web) groups=10(wheel),77(extra),2000(big),4242\n/home/web\n"
               "CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:"
               "\t00000000a80425fb\nNoNewPrivs:\t1\n"
               "again\n0022\n");
    rig_end(&r);
}

static void users_that_do_not_exist_are_named(void **state)
{
    static const struct {
        const char *user, *message;
    } cases[] = {
        {"nobody", "user: \"nobody\" is not in the image's /etc/passwd"},
        {"web:nogroup", "user: group \"nogroup\" is not in the image's /etc/group"},
        {"4294967295", "user: \"4294967295\" is not in the image's /etc/passwd"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct rig r;
        rig_begin(&r);
        r.plan.user = (char *)cases[i].user;
        expect_failure(&r, BERTH_NOT_FOUND, cases[i].message);
        rig_end(&r);
    }
    struct rig r;
    rig_begin(&r);
    r.plan.user = (char *)"12345:54321";
    expect_run(&r, "id -u; id -g; echo $HOME", "12345\n54321\n/\n");
    rig_end(&r);
}

static void passwd_that_is_no_file_and_a_huge_group_do_no_harm(void **state)
{
    struct rig r;
    char path[200];
    rig_begin(&r);
    snprintf(path, sizeof(path), "%s/etc/group", r.layer);
    assert_int_equal(truncate(path, 1 << 30), 0);
    r.plan.user = (char *)"web";
    expect_failure(&r, BERTH_TOO_BIG, "/etc/group in the image is larger than 16 MiB");
    rig_end(&r);
    rig_begin(&r);
    snprintf(path, sizeof(path), "%s/etc/passwd", r.layer);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0644), 0);
    r.plan.user = (char *)"7";
    expect_run(&r, "grep Uid /proc/self/status", "Uid:\t7\t7\t7\t7\n");
    rig_end(&r);
}

static void proc_and_sys_are_covered(void **state)
{
    struct rig r;
    rig_begin(&r);
    expect_run(
        &r,
        "wc -c < /proc/timer_list; wc -c < /proc/keys; ls /sys/firmware | wc -l; ls -d /proc/acpi "
        ">/dev/null 2>&1; ls /proc/acpi 2>/dev/null | wc -l;"
        "(echo 1 > /proc/sys/kernel/domainname) 2>/dev/null || echo sys-ro; (echo b > "
        "/proc/sysrq-trigger) 2>/dev/null || echo sysrq-ro;"
        "(echo 0 > /sys/kernel/profiling) 2>/dev/null || echo sysfs-ro; touch /sys/fs/cgroup/x "
        "2>/dev/null || echo cgroup-ro;"
        "mkdir /sys/fs/cgroup/memory/x 2>/dev/null || echo group-ro; head -c 20 /proc/1/cmdline | "
        "tr '\\0' ' '; echo; set -- /proc/[0-9]*; echo $#",
        "0\n0\n0\n0\nsys-ro\nsysrq-ro\nsysfs-ro\ncgroup-ro\ngroup-ro\n/bin/sh -c wc -c < /\n1\n");
    rig_end(&r);
}

static void the_image_can_not_redirect_proc_sys_or_dev(void **state)
{
    static const char *const names[] = {"/proc", "/sys", "/dev"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct rig r;
        char path[200], message[200];
        rig_begin(&r);
        snprintf(path, sizeof(path), "%s%s", r.layer, names[i]);
        assert_int_equal(symlink("/tmp", path), 0);
        snprintf(message, sizeof(message), "mount %s: refused, the image has a symbolic link there",
                 names[i]);
        expect_failure(&r, BERTH_INVALID, message);
        rig_end(&r);
    }
    struct rig r;
    rig_begin(&r);
    r.plan.n_mounts = 0;
    rig_mount(&r, PLAN_MOUNT_BIND, "/tmp", "/proc", 0, NULL);
    expect_failure(&r, BERTH_INVALID, "mount /proc: refused, it would lie over /proc");
    rig_end(&r);
}

static void targets_stay_inside(void **state)
{
    struct rig r;
    char path[200];
    rig_begin(&r);
    snprintf(path, sizeof(path), "%s/out", r.layer);
    assert_int_equal(symlink("../../../../../../var/tmp", path), 0);
    snprintf(path, sizeof(path), "%s/nowhere", r.layer);
    assert_int_equal(symlink("/does/not/exist", path), 0);
    rig_mount(&r, PLAN_MOUNT_TMPFS, NULL, "/out/berth-escape/deep", 0, "size=1m,mode=700");
    expect_run(
        &r, "ls -d /var/tmp/berth-escape/deep; grep -c ' /var/tmp/berth-escape/deep ' /proc/mounts",
        "/var/tmp/berth-escape/deep\n1\n");
    assert_int_equal(access("/var/tmp/berth-escape", F_OK), -1);
    rig_end(&r);
    rig_begin(&r);
    snprintf(path, sizeof(path), "%s/nowhere", r.layer);
    assert_int_equal(symlink("/nowhere", path), 0);
    rig_mount(&r, PLAN_MOUNT_TMPFS, NULL, "/nowhere", 0, NULL);
    expect_failure(
        &r, BERTH_INVALID,
        "mount /nowhere: refused, the image has a symbolic link there that leads nowhere");
    rig_end(&r);
}

static void dev_is_dockers(void **state)
{
    struct rig r;
    rig_begin(&r);
    expect_run(&r,
               "ls /dev | tr '\\n' ' '; readlink /dev/fd; readlink /dev/ptmx; stat -c %a:%t:%T "
               "/dev/null; stat -c %a /dev/shm; touch /dev/shm/x && echo shm;"
               "echo x > /dev/null && echo null; head -c 3 /dev/zero | wc -c; (head -c 1 /dev/sda "
               "|| mknod /tmp/d b 254 0 && head -c 1 /tmp/d) 2>&1 | grep -c 'not permitted'",
               "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "
               "/proc/self/fd\npts/ptmx\n"
               "666:1:3\n1777\nshm\nnull\n3\n1\n");
    rig_end(&r);
}

static void root_can_be_read_only(void **state)
{
    struct rig r;
    rig_begin(&r);
    r.plan.root.read_only = true;
    rig_mount(&r, PLAN_MOUNT_TMPFS, NULL, "/made/for/it", MS_NOEXEC, "size=1m");
    expect_run(&r,
               "touch /x 2>/dev/null || echo ro; touch /made/for/it/x && echo rw; grep ' / ' "
               "/proc/mounts | cut -d' ' -f1,3",
               "ro\nrw\noverlay overlay\n");
    rig_end(&r);
}

static void binds_work_and_missing_sources_are_named(void **state)
{
    struct rig r;
    char file[200];
    rig_begin(&r);
    snprintf(file, sizeof(file), "%s/hosts", r.dir);
    assert_int_equal(file_write(AT_FDCWD, file, "a line\n", 7, 0644, 0), 0);
    rig_mount(&r, PLAN_MOUNT_BIND, file, "/etc/hosts", MS_RDONLY, NULL);
    rig_mount(&r, PLAN_MOUNT_BIND, r.dir, "/mnt/all", MS_REC, NULL);
    rig_mount(&r, PLAN_MOUNT_BIND, "/does/not/exist", "/mnt/optional", 0, NULL);
    r.mounts[r.plan.n_mounts - 1].optional = true;
    expect_run(&r,
               "cat /etc/hosts; (echo y > /etc/hosts) 2>/dev/null || echo ro; echo z > "
               "/mnt/all/written; ls /mnt",
               "a line\nro\nall\n");
    snprintf(file, sizeof(file), "%s/written", r.dir);
    assert_int_equal(access(file, F_OK), 0);
    rig_end(&r);
    rig_begin(&r);
    rig_mount(&r, PLAN_MOUNT_BIND, "/does/not/exist", "/mnt", 0, NULL);
    expect_failure(&r, BERTH_NOT_FOUND, "mount /mnt: its source /does/not/exist does not exist");
    rig_end(&r);
}

static void volumes_are_filled_once_from_the_image(void **state)
{
    struct rig r;
    char data[200], path[300];
    rig_begin(&r);
    rig_file(&r, "/data/sub/file", "from the image\n", 0640);
    snprintf(path, sizeof(path), "%s/data/link", r.layer);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    snprintf(path, sizeof(path), "%s/data/sub/file", r.layer);
    assert_int_equal(chown(path, 1000, 1001), 0);
    snprintf(data, sizeof(data), "%s/volume/data", r.dir);
    assert_int_equal(make_folders(data, 0755), 0);
    rig_mount(&r, PLAN_MOUNT_VOLUME, data, "/data", 0, NULL);
    r.mounts[r.plan.n_mounts - 1].fill = true;
    expect_run(&r,
               "cat /data/sub/file; stat -c %u:%g:%a /data/sub/file; readlink /data/link; rm "
               "/data/sub/file",
               "from the image\n1000:1001:640\n/etc/passwd\n");
    rig_stop(&r);
    expect_run(&r, "ls /data/sub | wc -l", "0\n");
    rig_end(&r);
}

static void workdir_is_made_and_never_outside(void **state)
{
    struct rig r;
    rig_begin(&r);
    r.plan.workdir = (char *)"/made/here";
    expect_run(&r, "pwd", "/made/here\n");
    rig_end(&r);
    for (int fd = 3; fd < 30; fd += 13) {
        char path[40], start[64];
        rig_begin(&r);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        snprintf(start, sizeof(start), "workdir %s", path);
        r.plan.workdir = path;
        int code = rig_run(&r, "pwd");
        assert_true(code < 0);
        assert_true(starts_with(r.err.message, start));
        rig_end(&r);
    }
}

static void no_descriptor_leaks_in(void **state)
{
    struct rig r;
    rig_begin(&r);
    add_probe(&r);
    expect_run(&r, "exec probe fds", "0 1 2 ");
    rig_end(&r);
}

static void programs_that_can_not_run_say_why(void **state)
{
    struct rig r;
    rig_begin(&r);
    rig_file(&r, "/usr/sbin/nginx", "#!/bin/sh\n", 0755);
    rig_file(&r, "/plain", "just text\n", 0644);
    rig_file(&r, "/odd", "just text\n", 0755);
    rig_file(&r, "/script", "#!/usr/bin/pythom -u\n", 0755);
    static const struct {
        const char *program;
        int code;
        const char *message;
    } cases[] = {
        {"/usr/bin/nginx", BERTH_NO_PROGRAM,
         "exec \"/usr/bin/nginx\": not found in the image (did you mean /usr/sbin/nginx?)"},
        {"ngnix", BERTH_NO_PROGRAM,
         "exec \"ngnix\": not found in the image's PATH (did you mean /usr/sbin/nginx?)"},
        {"/nothing/like-it-at-all", BERTH_NO_PROGRAM,
         "exec \"/nothing/like-it-at-all\": not found in the image"},
        {"/plain", BERTH_NOT_EXECUTABLE, "exec \"/plain\": it has no execute permission"},
        {"/odd", BERTH_NOT_EXECUTABLE,
         "exec \"/odd\": it is neither a program nor a script with #!"},
        {"/etc", BERTH_NOT_EXECUTABLE, "exec \"/etc\": it is a folder"},
        {"/script", BERTH_NO_PROGRAM,
         "exec \"/script\": its first line needs the interpreter /usr/bin/pythom, which the image "
         "lacks"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        set_argv(&r, cases[i].program, NULL);
        expect_failure(&r, cases[i].code, cases[i].message);
        rig_stop(&r);
    }
    rig_end(&r);
}

static void a_missing_loader_and_another_machine_are_told(void **state)
{
    struct rig r;
    char *data, path[200];
    size_t size;
    rig_begin(&r);
    assert_int_equal(file_read(AT_FDCWD, "/bin/true", 1u << 20, &data, &size), 0);
    snprintf(path, sizeof(path), "%s/dynamic", r.layer);
    assert_int_equal(file_write(AT_FDCWD, path, data, size, 0755, 0), 0);
    set_argv(&r, "/dynamic", NULL);
    expect_failure(&r, BERTH_NO_PROGRAM,
                   "exec \"/dynamic\": it needs the loader /lib64/ld-linux-x86-64.so.2, which the "
                   "image lacks");
    rig_stop(&r);
    data[18] = (char)183; /* e_machine: aarch64 */
    assert_int_equal(file_write(AT_FDCWD, path, data, size, 0755, 0), 0);
    expect_failure(&r, BERTH_NOT_EXECUTABLE,
                   "exec \"/dynamic\": it is a program for arm64, this machine is amd64");
    free(data);
    rig_end(&r);
}

static void rig_up(struct rig *r, const char *script)
{
    int result = rig_prepare(r, script);
    result = result < 0 ? result : rig_start(r);
    if (result != 1)
        print_message("%d: %s\n", result, r->err.message);
    assert_int_equal(result, 1);
}

static void expect_exec(struct rig *r, const char *script, const char *user, const char *output)
{
    int code = rig_exec(r, script, user);
    if (code != 0)
        print_message("code %d: %s\n", code, code < 0 ? r->err.message : r->output);
    assert_int_equal(code, 0);
    assert_string_equal(r->output, output);
}

static void exec_enters_the_workload(void **state)
{
    struct rig r;
    rig_begin(&r);
    r.plan.workdir = (char *)"/tmp";
    rig_up(&r, "hostname inner 2>/dev/null; echo up > /tmp/up; sleep 1000");
    expect_exec(&r,
                "while [ ! -e up ]; do usleep 1000; done; id -u; pwd; echo $EXTRA $HOME; cat "
                "/tmp/up; readlink /proc/1/exe; grep CapEff /proc/self/status",
                NULL, "0\n/tmp\nyes /root\nup\n/bin/busybox\nCapEff:\t00000000a80425fb\n");
    expect_exec(&r, "id -un; cut -d: -f3 /proc/self/cgroup | sort -u; ls /proc/self/fd | wc -l",
                "web", "web\n/\n4\n");
    assert_int_equal(rig_exec(&r, "exit 7", NULL), 7);
    assert_int_equal(rig_exec(&r, "true", "nobody"), BERTH_NOT_FOUND);
    for (int i = 0; i < 20; i++)
        expect_exec(&r, "echo $$ > /dev/null; echo ok", NULL, "ok\n");
    rig_end(&r);
}

static void memory_limit_kills_and_counts(void **state)
{
    if (!FAULT_AVAILABLE) /* the stage would not fit beside a sanitizer's memory */
        skip();
    struct rig r;
    rig_begin(&r);
    add_probe(&r);
    r.plan.limits.memory = r.plan.limits.swap = 32 << 20;
    set_argv(&r, "/bin/probe", "eat");
    r.argv[2] = (char *)"64";
    assert_int_equal(rig_run(&r, NULL), 128 + 9);
    assert_int_equal(launch_oom_kills(r.launch), 1);
    assert_in_range(launch_memory_peak(r.launch), 30 << 20, 33 << 20);
    rig_end(&r);
}

static void pids_and_cpu_limits_hold(void **state)
{
    struct rig r;
    rig_begin(&r);
    r.plan.limits.pids = 5;
    r.plan.limits.cpu_quota_usec = 50000;
    r.plan.limits.cpu_period_usec = 100000;
    rig_up(&r, "(for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done) 2>&1 | grep -c fork; sleep 1000");
    struct cgroup_layout *layout;
    struct cgroup *g;
    struct cgroup_figures f;
    assert_int_equal(cgroup_layout_read(&layout, NULL), 0);
    assert_int_equal(cgroup_open(layout, launch_cgroup(r.launch), &g, NULL), 0);
    int64_t start = monotonic_usec();
    for (int i = 0; i < 100; i++)
        assert_int_equal(cgroup_figures_read(g, &f, NULL), 0);
    print_message("one reading: %lld us\n", (long long)(monotonic_usec() - start) / 100);
    assert_in_range(f.pids, 1, 5);
    assert_int_equal(f.pids_limit, 5);
    assert_true(f.cpu_limit > 0.49 && f.cpu_limit < 0.51);
    assert_true(f.memory > 0 && f.cpu_usec > 0 && f.peak >= f.memory);
    cgroup_close(g);
    cgroup_layout_free(layout);
    rig_end(&r);
}

static void a_stubborn_tree_ends(void **state)
{
    char line[32] = "";
    for (int frozen = 0; frozen < 2; frozen++) {
        struct rig r;
        rig_begin(&r);
        add_probe(&r);
        set_argv(&r, "/bin/probe", "tree");
        rig_up(&r, NULL);
        assert_true(read(r.out_fd, line, sizeof(line)) > 0);
        assert_false(launch_empty(r.launch));
        if (frozen)
            assert_int_equal(launch_freeze(r.launch, true, &r.err), 0);
        int64_t start = monotonic_usec();
        assert_int_equal(launch_kill_all(r.launch, &r.err), 0);
        assert_true(monotonic_usec() - start < 1000000);
        assert_true(launch_empty(r.launch));
        rig_end(&r);
    }
}

static void host_pid_trees_end_too(void **state)
{
    struct rig r;
    char line[32];
    rig_begin(&r);
    add_probe(&r);
    r.plan.namespaces[PLAN_NS_PID].mode = PLAN_NS_HOST;
    set_argv(&r, "/bin/probe", "tree");
    rig_up(&r, NULL);
    assert_true(read(r.out_fd, line, sizeof(line)) > 0);
    assert_int_equal(launch_kill_all(r.launch, &r.err), 0);
    assert_true(launch_empty(r.launch));
    rig_end(&r);
}

static void a_fork_bomb_ends(void **state)
{
    struct rig r;
    char line[32];
    rig_begin(&r);
    add_probe(&r);
    r.plan.namespaces[PLAN_NS_PID].mode = PLAN_NS_HOST;
    r.plan.limits.pids = 100;
    set_argv(&r, "/bin/probe", "bomb");
    rig_up(&r, NULL);
    assert_true(read(r.out_fd, line, sizeof(line)) > 0);
    assert_int_equal(launch_kill_all(r.launch, &r.err), 0);
    assert_true(launch_empty(r.launch));
    rig_end(&r);
}

static void write_filter(struct rig *r, char *path, size_t room)
{
    void *filter;
    size_t size;
    const char *profile = seccomp_default_profile();
    assert_int_equal(
        seccomp_compile(profile, strlen(profile), r->plan.caps_effective, &filter, &size, NULL), 0);
    snprintf(path, room, "%s/filter", r->dir);
    assert_int_equal(file_write(AT_FDCWD, path, filter, size, 0644, 0), 0);
    free(filter);
    r->plan.seccomp = path;
}

static void the_default_filter_closes_what_it_should(void **state)
{
    for (int user = 0; user < 2; user++) {
        struct rig r;
        char path[200];
        rig_begin(&r);
        add_probe(&r);
        write_filter(&r, path, sizeof(path));
        r.plan.user = (char *)(user ? "web" : NULL);
        const char *answers = "getpid 0\nkeyctl 1\nuserns 1\nclone3 38\nuring 1\nvsock 1\ntiocsti "
                              "1\nnewer 38\nx32 38\nmount 1\nSeccomp:\t2\n";
        const char *script = "probe getpid keyctl userns clone3 uring vsock tiocsti newer x32 "
                             "mount; grep Seccomp: /proc/self/status; read x; true";
        rig_up(&r, script);
        expect_exec(&r, script, NULL, answers);
        assert_int_equal(rig_finish(&r), 0);
        assert_string_equal(r.output, answers);
        rig_end(&r);
    }
}

static void a_filter_that_others_can_write_is_refused(void **state)
{
    struct rig r;
    char path[200];
    rig_begin(&r);
    write_filter(&r, path, sizeof(path));
    chmod(path, 0666);
    assert_int_equal(rig_run(&r, "true"), BERTH_DENIED);
    rig_stop(&r);
    chmod(path, 0644);
    assert_int_equal(truncate(path, 13), 0);
    assert_int_equal(rig_run(&r, "true"), BERTH_CORRUPT);
    rig_end(&r);
}

static void a_terminal_is_the_programs_own(void **state)
{
    struct rig r;
    rig_begin(&r);
    r.plan.tty = true;
    r.plan.user = (char *)"web";
    expect_run(&r,
               "tty; test -c /dev/console && echo console; echo $TERM; echo x > /dev/tty; stat -c "
               "%U /dev/pts/0; ps -o pid,tty | head -2 | tail -1 | wc -l",
               "/dev/pts/0\r\nconsole\r\nxterm\r\nx\r\nweb\r\n1\r\n");
    rig_end(&r);
}

static void sysctls_are_written_in_their_namespace(void **state)
{
    struct rig r;
    struct plan_pair pairs[] = {{(char *)"net.ipv4.ip_forward", (char *)"1"},
                                {(char *)"kernel.shmmax", (char *)"123456"}};
    rig_begin(&r);
    r.plan.sysctls = pairs;
    r.plan.n_sysctls = 2;
    expect_run(&r,
               "cd /proc/sys; cat net/ipv4/ip_forward kernel/shmmax "
               "net/ipv4/ip_unprivileged_port_start; tr '\\t' ' ' < net/ipv4/ping_group_range; ip "
               "-o link | wc -l; ping -c1 -W1 127.0.0.1 >/dev/null && echo pings",
               "1\n123456\n0\n0 2147483647\n1\npings\n");
    rig_end(&r);
    rig_begin(&r);
    pairs[0] = (struct plan_pair){(char *)"vm.swappiness", (char *)"1"};
    r.plan.sysctls = pairs;
    r.plan.n_sysctls = 1;
    expect_failure(&r, BERTH_INVALID,
                   "sysctls: vm.swappiness belongs to the whole machine, not to a namespace");
    rig_stop(&r);
    pairs[0].name = (char *)"net.ipv4.ip_forward";
    r.plan.namespaces[PLAN_NS_NET].mode = PLAN_NS_HOST;
    expect_failure(&r, BERTH_INVALID, "sysctls: net.ipv4.ip_forward needs a private net namespace");
    rig_stop(&r);
    pairs[0].name = (char *)"net/../vm/swappiness";
    r.plan.namespaces[PLAN_NS_NET].mode = PLAN_NS_PRIVATE;
    assert_true(rig_run(&r, NULL) < 0);
    rig_end(&r);
}

static void host_namespaces_are_the_hosts(void **state)
{
    static const struct {
        int which;
        const char *name;
    } spaces[] = {{PLAN_NS_NET, "net"},
                  {PLAN_NS_IPC, "ipc"},
                  {PLAN_NS_UTS, "uts"},
                  {PLAN_NS_PID, "pid"},
                  {PLAN_NS_CGROUP, "cgroup"}};
    for (int host = 0; host < 2; host++)
        for (size_t i = 0; i < ARRAY_SIZE(spaces); i++) {
            struct rig r;
            char script[64], own[64] = "", path[40];
            rig_begin(&r);
            snprintf(script, sizeof(script), "readlink /proc/self/ns/%s", spaces[i].name);
            snprintf(path, sizeof(path), "/proc/self/ns/%s", spaces[i].name);
            ssize_t n = readlink(path, own, sizeof(own) - 2);
            own[n] = '\n';
            own[n + 1] = 0;
            if (host)
                r.plan.namespaces[spaces[i].which].mode = PLAN_NS_HOST;
            assert_int_equal(rig_run(&r, script), 0);
            assert_int_equal(strcmp(r.output, own) == 0, host);
            rig_end(&r);
        }
}

static void an_init_reaps_and_ends_with_its_program(void **state)
{
    struct rig r;
    rig_begin(&r);
    r.plan.init = true;
    r.plan.init_program = (char *)INIT;
    int code = rig_run(
        &r, "echo $$; (sleep 0.01 & ) ; usleep 100000; ps -o stat | grep -c Z; tr '\\0' ' ' < "
            "/proc/1/cmdline | cut -c1-10; (echo x > /proc/1/exe) 2>&1 | grep -c .; exit 9");
    assert_string_equal(r.output, "2\n0\nberth-init\n1\n");
    assert_int_equal(code, 9);
    rig_stop(&r);
    rig_file(&r, "/script", "#!/no/such\n", 0755);
    set_argv(&r, "/script", NULL);
    expect_failure(
        &r, BERTH_NO_PROGRAM,
        "exec \"/script\": its first line needs the interpreter /no/such, which the image lacks");
    rig_end(&r);
}

static void limits_of_processes_are_set(void **state)
{
    struct rig r;
    struct plan_rlimit limits[] = {{RLIMIT_NOFILE, 100, 200}, {RLIMIT_CORE, 0, 0}};
    rig_begin(&r);
    r.plan.rlimits = limits;
    r.plan.n_rlimits = 2;
    r.plan.has_oom_score_adj = true;
    r.plan.oom_score_adj = 321;
    expect_run(&r, "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj",
               "100\n200\n0\n321\n");
    rig_end(&r);
}

static void sockets_are_handed_over(void **state)
{
    struct rig r;
    struct plan_socket sockets[] = {
        {.name = (char *)"web", .address = (char *)"127.0.0.1", .port = 8080, .type = SOCK_STREAM},
        {.name = (char *)"log", .address = (char *)"127.0.0.1", .port = 514, .type = SOCK_DGRAM}};
    const int *fds;
    size_t n;
    for (int init = 0; init < 2; init++) {
        rig_begin(&r);
        add_probe(&r);
        r.plan.init = init;
        r.plan.init_program = (char *)INIT;
        r.plan.sockets = sockets;
        r.plan.n_sockets = 2;
        assert_int_equal(rig_prepare(&r, "test $LISTEN_PID = $$ && echo mine; echo $LISTEN_FDS "
                                         "$LISTEN_FDNAMES; ls -l /proc/$$/fd | grep -c socket; "
                                         "grep -c 0100007F:1F90 /proc/net/tcp; exec probe fds"),
                         0);
        assert_int_equal(launch_socket_fds(r.launch, &fds, &n), 0);
        assert_int_equal(n, 2);
        assert_int_equal(rig_start(&r), 1);
        assert_int_equal(rig_finish(&r), 0);
        assert_string_equal(r.output, "mine\n2 web:log\n2\n1\n0 1 2 3 4 ");
        /* and again after its end, in the same network */
        assert_int_equal(rig_start(&r), 1);
        assert_int_equal(rig_finish(&r), 0);
        assert_string_equal(r.output, "mine\n2 web:log\n2\n1\n0 1 2 3 4 ");
        rig_end(&r);
    }
}

static void ready_is_told_by_the_program(void **state)
{
    struct rig r;
    rig_begin(&r);
    r.plan.ready_told = true;
    rig_up(&r, "usleep 20000; echo told $BERTH_READY_FD; echo ready >&3; exec sleep 1000");
    rig_stop(&r);
    assert_int_equal(rig_run(&r, "echo the import is missing >&3"), BERTH_INVALID);
    assert_string_equal(r.err.message, "the import is missing ");
    rig_stop(&r);
    assert_int_equal(rig_run(&r, "true"), BERTH_LOST);
    rig_end(&r);
}

static void it_starts_again(void **state)
{
    struct rig r;
    rig_begin(&r);
    assert_int_equal(
        rig_prepare(&r, "echo x >> /tmp/times; wc -l < /tmp/times; readlink /proc/self/ns/net"), 0);
    autofree char *first = NULL;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rig_start(&r), 1);
        assert_int_equal(rig_finish(&r), 0);
        assert_int_equal(atoi(r.output), i + 1);
        if (i == 0)
            first = strdup(r.output + 2);
        assert_string_equal(r.output + 2, first); /* the network is kept */
    }
    rig_end(&r);
}

static void users_of_its_own(void **state)
{
    struct rig r;
    struct plan_idmap map[] = {{0, 100000, 65536}};
    rig_begin(&r);
    r.plan.namespaces[PLAN_NS_USER].mode = PLAN_NS_PRIVATE;
    r.plan.uid_map = r.plan.gid_map = map;
    r.plan.n_uid_map = r.plan.n_gid_map = 1;
    if (rig_run(&r, "true") == BERTH_NO_KERNEL) { /* tmpfs before 6.3 */
        assert_non_null(strstr(r.err.message, "this kernel can't map the ids of"));
        rig_end(&r);
        return;
    }
    rig_stop(&r);
    rig_up(&r, "id -u; tr -s ' ' < /proc/self/uid_map; stat -c %u:%g /bin/busybox /tmp /dev/null; "
               "echo w > /tmp/mine; stat -c %u /tmp/mine; hostname; cat /proc/keys | wc -c; echo "
               "again > /dev/stdout; read x");
    expect_exec(&r, "id -u; echo hi > /dev/stdout; grep CapEff /proc/self/status", "web",
                "1000\nhi\nCapEff:\t0000000000000000\n");
    assert_int_equal(rig_finish(&r), 1); /* read at the end of input */
    assert_string_equal(r.output,
                        "0\n 0 100000 65536\n0:0\n0:0\n65534:65534\n0\nrigged\n0\nagain\n");
    char path[300];
    struct stat s;
    snprintf(path, sizeof(path), "%s/tmp/mine", r.upper);
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_uid, 0); /* idmapped: the store never sees shifted ids */
    rig_end(&r);
}

static void a_supervisor_that_dies_takes_it_along(void **state)
{
    struct rig r;
    int pipe_fds[2];
    char line[16] = "";
    rig_begin(&r);
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(pipe_fds[0]);
        rig_up(&r, "sleep 1000");
        dprintf(pipe_fds[1], "%d\n", (int)r.child.pid);
        pause();
        _exit(0);
    }
    close(pipe_fds[1]);
    assert_true(read(pipe_fds[0], line, sizeof(line) - 1) > 0);
    close(pipe_fds[0]);
    int child_fd = pidfd_open(atoi(line), 0);
    assert_true(child_fd >= 0);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    struct pollfd p = {.fd = child_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 2000), 1);
    close(child_fd);
    rig_end(&r);
}

static void namespaces_of_another_are_joined_while_it_lives(void **state)
{
    struct rig a, b;
    char path[300];
    rig_begin(&a);
    rig_begin(&b);
    rig_up(&a, "hostname; touch /dev/shm/shared; sleep 1000");
    /* what its supervisor would have written */
    struct status status = {.version = STATUS_VERSION, .state = BERTH_RUNNING, .pid = a.child.pid};
    snprintf(path, sizeof(path), "%s/root/workloads/%s", b.dir, a.id);
    assert_int_equal(make_folders(path, 0700), 0);
    int dir_fd = open(path, O_RDONLY | O_DIRECTORY);
    assert_int_equal(status_write_at(dir_fd, &status, false, NULL), 0);
    close(dir_fd);
    snprintf(path, sizeof(path), "%s/run/%s", b.dir, a.id);
    assert_int_equal(make_folders(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/run/%s/life", b.dir, a.id);
    int life = open(path, O_RDWR | O_CREAT, 0600);
    for (int i = PLAN_NS_PID; i <= PLAN_NS_UTS; i++) {
        b.plan.namespaces[i].mode = PLAN_NS_JOIN;
        b.plan.namespaces[i].id = a.id;
    }
    b.plan.hostname = NULL;
    int code =
        rig_run(&b, "true"); /* its life is not locked: it is dead, whatever the record says */
    assert_int_equal(code, BERTH_WRONG_STATE);
    rig_stop(&b);
    assert_int_equal(lock_take(life), 0);
    expect_run(&b,
               "hostname; for i in $(seq 400); do test -e /dev/shm/shared && break; usleep 50000; done; ls /dev/shm; test $(ps -o args | grep -c 'sleep 1000') -ge 2 && echo "
               "seen; test $$ != 1 && echo not-first",
               "rigged\nshared\nseen\nnot-first\n");
    close(life);
    rig_end(&b);
    rig_end(&a);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(runs_a_program),
    cmocka_unit_test(capabilities_are_dockers),
    cmocka_unit_test(another_user_has_none_and_its_groups),
    cmocka_unit_test(users_that_do_not_exist_are_named),
    cmocka_unit_test(passwd_that_is_no_file_and_a_huge_group_do_no_harm),
    cmocka_unit_test(proc_and_sys_are_covered),
    cmocka_unit_test(the_image_can_not_redirect_proc_sys_or_dev),
    cmocka_unit_test(targets_stay_inside),
    cmocka_unit_test(dev_is_dockers),
    cmocka_unit_test(root_can_be_read_only),
    cmocka_unit_test(binds_work_and_missing_sources_are_named),
    cmocka_unit_test(volumes_are_filled_once_from_the_image),
    cmocka_unit_test(workdir_is_made_and_never_outside),
    cmocka_unit_test(no_descriptor_leaks_in),
    cmocka_unit_test(programs_that_can_not_run_say_why),
    cmocka_unit_test(a_missing_loader_and_another_machine_are_told),
    cmocka_unit_test(exec_enters_the_workload),
    cmocka_unit_test(memory_limit_kills_and_counts),
    cmocka_unit_test(pids_and_cpu_limits_hold),
    cmocka_unit_test(a_stubborn_tree_ends),
    cmocka_unit_test(host_pid_trees_end_too),
    cmocka_unit_test(a_fork_bomb_ends),
    cmocka_unit_test(the_default_filter_closes_what_it_should),
    cmocka_unit_test(a_filter_that_others_can_write_is_refused),
    cmocka_unit_test(a_terminal_is_the_programs_own),
    cmocka_unit_test(sysctls_are_written_in_their_namespace),
    cmocka_unit_test(host_namespaces_are_the_hosts),
    cmocka_unit_test(an_init_reaps_and_ends_with_its_program),
    cmocka_unit_test(limits_of_processes_are_set),
    cmocka_unit_test(sockets_are_handed_over),
    cmocka_unit_test(ready_is_told_by_the_program),
    cmocka_unit_test(it_starts_again),
    cmocka_unit_test(users_of_its_own),
    cmocka_unit_test(a_supervisor_that_dies_takes_it_along),
    cmocka_unit_test(namespaces_of_another_are_joined_while_it_lives),
};

/* The launch moves whoever calls it into the supervisors' groups: a child does, so that the groups
 * can be removed. */
int main(int argc, char **argv)
{
    struct cgroup_layout *layout;
    int status = 1;
    pid_t pid = fork();
    if (pid == 0) {
        if (argc > 1)
            cmocka_set_test_filter(argv[1]);
        exit(cmocka_run_group_tests(tests, NULL, NULL));
    }
    waitpid(pid, &status, 0);
    if (cgroup_layout_read(&layout, NULL) == 0) {
        if (cgroup_remove(layout, "/berth-launchtest/none", 1000) < 0)
            status = 1;
        cgroup_layout_free(layout);
    }
    return status != 0;
}
