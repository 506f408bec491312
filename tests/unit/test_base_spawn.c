/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting programs: what they get, what they do not, and that the host process notices nothing.
 */
#include "unit.h"

#include "base/file.h"
#include "base/spawn.h"
#include "base/text.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SHELL "/bin/sh"

/* Run a line of shell with descriptors; its standard output comes back. fds[1] is set here. */
static char *shell_output(const char *line, struct spawn s, int *fds)
{
    int ends[2];
    autoclose int pid_fd = -1;
    char *out = NULL;
    const char *const argv[] = {"sh", "-c", line, NULL};
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fds[1] = ends[1];
    s.path = SHELL;
    s.argv = argv;
    s.fds = fds;
    assert_int_equal(spawn(&s, NULL, &pid_fd), 0);
    close(ends[1]);
    assert_int_equal(fd_read_all(ends[0], 1 << 20, &out, NULL), 0);
    close(ends[0]);
    assert_int_equal(spawn_reap(pid_fd, NULL), 0);
    return out;
}

static void program_runs_and_says_so(void **state)
{
    int fds[] = {-1, -1, -1};
    autofree char *out = shell_output("echo hello $LANG", (struct spawn){.n_fds = 3}, fds);
    assert_string_equal(out, "hello C.UTF-8\n");
}

static void missing_program_is_enoent(void **state)
{
    int pid_fd = -7;
    const char *const argv[] = {"x", NULL};
    struct spawn s = {.path = "/nonexistent/program", .argv = argv};
    assert_int_equal(spawn(&s, NULL, &pid_fd), -ENOENT);
    s.path = "/etc/passwd";
    assert_int_equal(spawn(&s, NULL, &pid_fd), -EACCES);
    assert_int_equal(pid_fd, -7);
}

static void only_listed_descriptors_arrive(void **state)
{
    int leak = open("/dev/null", O_RDONLY); /* not close-on-exec, as a careless host would have it */
    int high = dup2(leak, 200);
    int fds[] = {-1, -1, -1, leak};
    autofree char *out =
        shell_output("ls /proc/$$/fd; :", (struct spawn){.n_fds = 4}, fds); /* no pipe of its own */
    assert_string_equal(out, "0\n1\n2\n3\n");
    close(leak);
    close(high);
}

static void descriptors_that_collide_are_swapped(void **state)
{
    char a[] = "/tmp/berth-spawn-a-XXXXXX", b[] = "/tmp/berth-spawn-b-XXXXXX";
    int file[] = {mkostemp(a, O_CLOEXEC), mkostemp(b, O_CLOEXEC)};
    int saved3 = fcntl(3, F_DUPFD_CLOEXEC, 100), saved4 = fcntl(4, F_DUPFD_CLOEXEC, 100);
    assert_int_equal(write(file[0], "a", 1) + write(file[1], "b", 1), 2);
    autoclose int fd_a = open(a, O_RDONLY | O_CLOEXEC), fd_b = open(b, O_RDONLY | O_CLOEXEC);
    int keep_a = fcntl(fd_a, F_DUPFD_CLOEXEC, 50), keep_b = fcntl(fd_b, F_DUPFD_CLOEXEC, 50);
    dup3(keep_a, 3, O_CLOEXEC);
    dup3(keep_b, 4, O_CLOEXEC);
    int fds[] = {-1, -1, -1, 4, 3, 3};
    autofree char *out = shell_output("cat <&3; cat <&4; cat <&5", (struct spawn){.n_fds = 6}, fds);
    /* 4 and 5 are the same open file: the second finds its end */
    assert_string_equal(out, "ba");
    close(keep_a), close(keep_b), close(file[0]), close(file[1]);
    saved3 >= 0 ? dup3(saved3, 3, O_CLOEXEC), close(saved3) : close(3);
    saved4 >= 0 ? dup3(saved4, 4, O_CLOEXEC), close(saved4) : close(4);
    unlink(a);
    unlink(b);
}

static void program_by_descriptor(void **state)
{
    autoclose int program = open("/bin/true", O_PATH | O_CLOEXEC);
    autoclose int pid_fd = -1;
    int low = fcntl(program, F_DUPFD_CLOEXEC, 0), status = 0;
    const char *const argv[] = {"true", NULL};
    int fds[32];
    memset(fds, 0xff, sizeof(fds));
    struct spawn s = {.program_fd = low, .argv = argv, .fds = fds, .n_fds = ARRAY_SIZE(fds)};
    assert_int_equal(spawn(&s, NULL, &pid_fd), 0);
    assert_int_equal(spawn_reap(pid_fd, &status), 0);
    assert_true(status == 0 || status == -1);
    close(low);
}

static volatile sig_atomic_t children_seen;

static void on_child(int signal)
{
    children_seen++;
}

static void host_notices_nothing(void **state)
{
    struct sigaction old, act = {.sa_handler = on_child};
    sigset_t before = {0}, after = {0};
    sigaction(SIGCHLD, &act, &old);
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    children_seen = 0;
    for (int i = 0; i < 20; i++) {
        int fds[] = {-1, -1, -1};
        free(shell_output("exit 3", (struct spawn){.n_fds = 3}, fds));
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    assert_int_equal(waitpid(-1, NULL, WNOHANG | __WALL), -1);
    assert_int_equal(children_seen, 0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    sigaction(SIGCHLD, &old, NULL);
}

static void no_descriptor_is_left_behind(void **state)
{
    int before = dup(0);
    close(before);
    const char *const argv[] = {"x", NULL};
    for (int i = 0; i < 50; i++) {
        int fds[] = {-1, -1, -1};
        free(shell_output(":", (struct spawn){.n_fds = 3}, fds));
        spawn(&(struct spawn){.path = "/nonexistent", .argv = argv}, NULL, NULL);
    }
    int after = dup(0);
    close(after);
    assert_int_equal(before, after);
}

static void signals_are_default_in_the_program(void **state)
{
    int fds[] = {-1, -1, -1};
    sigset_t block, old;
    void (*was)(int) = signal(SIGPIPE, SIG_IGN);
    sigfillset(&block);
    pthread_sigmask(SIG_BLOCK, &block, &old);
    autofree char *out = shell_output("cat /proc/self/status | grep -E 'Sig(Blk|Ign|Cgt)'",
                                      (struct spawn){.n_fds = 3}, fds);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    signal(SIGPIPE, was);
    assert_string_equal(out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"
                             "SigCgt:\t0000000000000000\n");
}

static void session_starts_afresh(void **state)
{
    int fds[] = {-1, -1, -1};
    mode_t old = umask(077);
    autofree char *out = shell_output("umask; pwd; test $(ps -o sid= -p $$) = $$ && echo leader",
                                      (struct spawn){.n_fds = 3, .session = true}, fds);
    assert_int_equal(umask(old), 077);
    assert_string_equal(out, "0022\n/\nleader\n");
}

static void exit_status_where_the_kernel_keeps_it(void **state)
{
    autoclose int pid_fd = -1;
    int status = 0;
    const char *const argv[] = {"sh", "-c", "exit 3", NULL};
    assert_int_equal(spawn(&(struct spawn){.path = SHELL, .argv = argv}, NULL, &pid_fd), 0);
    assert_int_equal(spawn_reap(pid_fd, &status), 0);
    assert_true(status == -1 || (WIFEXITED(status) && WEXITSTATUS(status) == 3));
}

static void born_into_a_group(void **state)
{
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    char path[100];
    autoclose int group_fd = -1;
    for (size_t i = 0; i < ARRAY_SIZE(roots) && group_fd < 0; i++) {
        snprintf(path, sizeof(path), "%s/cgroup.controllers", roots[i]);
        if (access(path, F_OK) < 0)
            continue;
        snprintf(path, sizeof(path), "%s/berth-test-spawn-%d", roots[i], getpid());
        if (mkdir(path, 0755) == 0)
            group_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (group_fd < 0)
        skip(); /* no cgroup v2 that we may write to */
    int fds[] = {-1, -1, -1};
    autofree char *out = shell_output(
        "grep ^0: /proc/self/cgroup", (struct spawn){.n_fds = 3, .cgroup_fd = group_fd}, fds);
    for (int i = 0; i < 100 && rmdir(path) < 0; i++)
        poll(NULL, 0, 10);
    assert_non_null(strstr(out, strrchr(path, '/')));
    assert_int_equal(access(path, F_OK), -1);
    /* a descriptor that is no group: refused, nothing started */
    const char *const argv[] = {"true", NULL};
    autoclose int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(spawn(&(struct spawn){.path = "/bin/true", .argv = argv, .cgroup_fd = null_fd},
                      NULL, NULL) < 0);
}

static void *spawn_many(void *data)
{
    for (int i = 0; i < 50; i++) {
        autoclose int pid_fd = -1;
        const char *const argv[] = {"true", NULL};
        int fds[] = {-1, -1, -1};
        struct spawn s = {.path = "/bin/true", .argv = argv, .fds = fds, .n_fds = 3};
        if (spawn(&s, NULL, &pid_fd) < 0 || spawn_reap(pid_fd, NULL) < 0)
            return data;
    }
    return NULL;
}

static void many_threads_at_once(void **state)
{
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, spawn_many, (void *)"failed"), 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(program_runs_and_says_so),
        cmocka_unit_test(missing_program_is_enoent),
        cmocka_unit_test(only_listed_descriptors_arrive),
        cmocka_unit_test(descriptors_that_collide_are_swapped),
        cmocka_unit_test(program_by_descriptor),
        cmocka_unit_test(host_notices_nothing),
        cmocka_unit_test(no_descriptor_is_left_behind),
        cmocka_unit_test(signals_are_default_in_the_program),
        cmocka_unit_test(session_starts_afresh),
        cmocka_unit_test(exit_status_where_the_kernel_keeps_it),
        cmocka_unit_test(born_into_a_group),
        cmocka_unit_test(many_threads_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
