/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files, folders, trees, locks and descriptors in messages.
 */
#include "fault.h"
#include "unit.h"

#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char folder[] = "/tmp/berth-file-XXXXXX";
static int folder_fd = -1;

static int make_folder_of_test(void **state)
{
    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return folder_fd < 0;
}

static int remove_folder_of_test(void **state)
{
    close_fd(&folder_fd);
    return tree_remove(AT_FDCWD, folder);
}

static size_t entries(int dir_fd, const char *name)
{
    size_t n = 0;
    DIR *dir = fdopendir(openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

static void whole_files(void **state)
{
    autofree char *data = NULL, *empty = NULL, *proc = NULL;
    size_t size = 99;
    assert_int_equal(file_write(folder_fd, "a", "x\0y", 3, 0640, FILE_SYNC), 0);
    assert_int_equal(file_read(folder_fd, "a", 3, &data, &size), 0);
    assert_int_equal(size, 3);
    assert_memory_equal(data, "x\0y", 4);
    char *none = NULL;
    assert_int_equal(file_read(folder_fd, "a", 2, &none, &size), -EFBIG);
    assert_int_equal(file_read(folder_fd, "b", 2, &none, &size), -ENOENT);
    assert_int_equal(file_read(folder_fd, ".", 2, &none, &size), -EISDIR);
    assert_null(none);
    assert_int_equal(file_write(folder_fd, "e", "", 0, 0600, 0), 0);
    assert_int_equal(file_read(folder_fd, "e", 0, &empty, &size), 0);
    assert_int_equal(size, 0);
    assert_int_equal(file_read(AT_FDCWD, "/proc/self/status", 1 << 20, &proc, NULL), 0);
    assert_true(strlen(proc) > 100);
    assert_int_equal(file_read(AT_FDCWD, "/dev/zero", 100000, &none, NULL), -EFBIG);
}

static void writing_replaces_whole_and_leaves_nothing(void **state)
{
    struct stat st;
    mode_t old = umask(077);
    assert_int_equal(file_write(folder_fd, "a", "1", 1, 0644, 0), 0);
    umask(old);
    assert_int_equal(fstatat(folder_fd, "a", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    autoclose int reader = openat(folder_fd, "a", O_RDONLY | O_CLOEXEC);
    assert_int_equal(file_write(folder_fd, "a", "22", 2, 0600, 0), 0);
    autofree char *first = NULL, *second = NULL;
    assert_int_equal(fd_read_all(reader, 10, &first, NULL), 0);
    assert_string_equal(first, "1"); /* who had it open still reads the old one */
    assert_int_equal(file_read(folder_fd, "a", 10, &second, NULL), 0);
    assert_string_equal(second, "22");
    assert_int_equal(file_write(folder_fd, "a", "3", 1, 0600, FILE_EXCLUSIVE), -EEXIST);
    assert_int_equal(file_write(folder_fd, "b", "3", 1, 0600, FILE_EXCLUSIVE | FILE_SYNC), 0);
    assert_int_equal(file_write(folder_fd, "none/c", "3", 1, 0600, 0), -ENOENT);
    assert_int_equal(mkdirat(folder_fd, "d", 0700), 0);
    assert_int_equal(file_write(folder_fd, "d", "3", 1, 0600, 0), -EISDIR);
    assert_int_equal(file_write(folder_fd, "d/e", "3", 1, 0600, FILE_SYNC), 0);
    assert_int_equal(entries(folder_fd, "."), 3);
}

static void folders_are_made_with_their_parents(void **state)
{
    struct stat st;
    autofree char *path = format_text("%s/a/b/c", folder);
    mode_t old = umask(077);
    assert_int_equal(make_folders(path, 0755), 0);
    umask(old);
    assert_int_equal(fstatat(folder_fd, "a/b", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(chmod(path, 0700), 0);
    assert_int_equal(make_folders(path, 0755), 0);
    assert_int_equal(fstatat(folder_fd, "a/b/c", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(file_write(folder_fd, "file", "", 0, 0600, 0), 0);
    autofree char *through = format_text("%s/file/x", folder), *onto = format_text("%s/file", folder);
    assert_int_equal(make_folders(through, 0755), -ENOTDIR);
    assert_int_equal(make_folders(onto, 0755), -ENOTDIR);
    assert_int_equal(folder_open(folder_fd, "x/y", false, 0), -ENOENT);
    autoclose int fd = folder_open(folder_fd, "x/y", true, 0700);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(folder_open(folder_fd, "file", true, 0700), -ENOTDIR);
}

/* dir/d/d/d... with a file at the bottom, deeper than any path */
static void make_deep(int depth)
{
    int fd = dup(folder_fd);
    assert_int_equal(mkdirat(fd, "dir", 0700), 0);
    const char *name = "dir";
    for (int i = 0; i < depth; i++) {
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(next >= 0);
        close(fd);
        fd = next;
        name = "d";
        assert_int_equal(mkdirat(fd, name, 0700), 0);
        assert_int_equal(file_write(fd, "f", "", 0, 0600, 0), 0);
    }
    close(fd);
}

static void deep_trees_go(void **state)
{
    make_deep(3000);
    uint64_t bytes;
    assert_int_equal(tree_size(folder_fd, "dir", &bytes), -ENAMETOOLONG);
    assert_int_equal(tree_remove(folder_fd, "dir"), 0);
    assert_int_equal(faccessat(folder_fd, "dir", F_OK, 0), -1);
    assert_int_equal(tree_remove(folder_fd, "dir"), 0);
    assert_int_equal(entries(folder_fd, "."), 0);
}

static void only_small_trees_go_at_once(void **state)
{
    char name[40];
    assert_int_equal(mkdirat(folder_fd, "tree", 0700), 0);
    assert_int_equal(mkdirat(folder_fd, "tree/sub", 0700), 0);
    assert_int_equal(file_write(folder_fd, "tree/sub/file", "x", 1, 0600, 0), 0);
    assert_int_equal(tree_remove_small(folder_fd, "tree"), 0);
    assert_int_equal(tree_remove_small(folder_fd, "tree"), 0);
    assert_int_equal(mkdirat(folder_fd, "tree", 0700), 0);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "tree/%d", i);
        assert_int_equal(file_write(folder_fd, name, "x", 1, 0600, 0), 0);
    }
    assert_int_equal(tree_remove_small(folder_fd, "tree"), -EFBIG);
    assert_in_range(entries(folder_fd, "tree"), 100, 199);
    assert_int_equal(tree_remove(folder_fd, "tree"), 0);
    assert_int_equal(entries(folder_fd, "."), 0);
}

static void links_lead_nowhere(void **state)
{
    assert_int_equal(mkdirat(folder_fd, "keep", 0700), 0);
    assert_int_equal(file_write(folder_fd, "keep/file", "x", 1, 0600, 0), 0);
    assert_int_equal(mkdirat(folder_fd, "tree", 0700), 0);
    assert_int_equal(symlinkat("../keep", folder_fd, "tree/link"), 0);
    assert_int_equal(symlinkat("/", folder_fd, "tree/root"), 0);
    assert_int_equal(mkfifoat(folder_fd, "tree/fifo", 0600), 0);
    assert_int_equal(tree_remove(folder_fd, "tree"), 0);
    assert_int_equal(faccessat(folder_fd, "keep/file", F_OK, 0), 0);
    assert_int_equal(symlinkat("keep", folder_fd, "link"), 0);
    assert_int_equal(tree_remove(folder_fd, "link"), 0);
    assert_int_equal(faccessat(folder_fd, "keep/file", F_OK, 0), 0);
    assert_int_equal(entries(folder_fd, "."), 1);
}

/* Whoever comes second finds less, or nothing: that it has gone is all that either wanted. */
static void two_may_remove_one_tree(void **state)
{
    int go[2], status;
    assert_int_equal(pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        char c;
        while (read(go[0], &c, 1) == 1)
            if (c == 'q' || tree_remove(folder_fd, "tree") < 0)
                _exit(c != 'q');
    }
    for (int i = 0; i < 1500; i++) {
        assert_int_equal(mkdirat(folder_fd, "aside", 0700), 0);
        assert_int_equal(file_write(folder_fd, "aside/a", "x", 1, 0600, 0), 0);
        assert_int_equal(renameat(folder_fd, "aside", folder_fd, "tree"), 0);
        assert_int_equal(write(go[1], "g", 1), 1);
        for (volatile int spin = 0; spin < i % 64 * 100;)
            spin = spin + 1;
        assert_int_equal(tree_remove(folder_fd, "tree"), 0);
    }
    assert_int_equal(write(go[1], "q", 1), 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    close(go[0]);
    close(go[1]);
}

/* In a mount namespace of a child's own, so that nothing can stay mounted. */
static int remove_with_mount_inside(void)
{
    uint64_t bytes;
    static char large[1 << 20];
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return 77;
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* in the namespace that is now ours */
    if (mkdirat(folder_fd, "keep", 0700) || mkdirat(folder_fd, "tree", 0700) ||
        mkdirat(folder_fd, "tree/mount", 0700) || fchdir(folder_fd) ||
        file_write(folder_fd, "keep/file", large, sizeof(large), 0600, 0) < 0 ||
        mount("keep", "tree/mount", NULL, MS_BIND, NULL) < 0)
        return 1;
    if (tree_size(folder_fd, "tree", &bytes) < 0 || bytes >= sizeof(large))
        return 2;
    if (tree_remove(folder_fd, "tree") != -EBUSY)
        return 3;
    return faccessat(folder_fd, "keep/file", F_OK, 0) < 0 ? 4 : 0;
}

static void mounts_are_not_crossed(void **state)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(remove_with_mount_inside());
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WEXITSTATUS(status) == 77)
        skip(); /* not root */
    assert_int_equal(status, 0);
}

static void sizes_count_hard_links_once(void **state)
{
    uint64_t one, many;
    autofree char *data = calloc(1, 1 << 20);
    memset(data, 'x', 1 << 20);
    assert_int_equal(mkdirat(folder_fd, "t", 0700), 0);
    assert_int_equal(file_write(folder_fd, "t/a", data, 1 << 20, 0600, 0), 0);
    assert_int_equal(tree_size(folder_fd, "t", &one), 0);
    assert_true(one >= 1 << 20);
    for (int i = 0; i < 300; i++) {
        char name[16];
        snprintf(name, sizeof(name), "t/%d", i);
        assert_int_equal(linkat(folder_fd, "t/a", folder_fd, name, 0), 0);
    }
    assert_int_equal(tree_size(folder_fd, "t", &many), 0);
    assert_true(many < one + (1 << 19));
    assert_int_equal(tree_size(folder_fd, "none", &many), -ENOENT);
}

static void locks_belong_to_the_open_file(void **state)
{
    assert_int_equal(file_write(folder_fd, "lock", "", 0, 0600, 0), 0);
    autoclose int a = openat(folder_fd, "lock", O_RDWR | O_CLOEXEC);
    autoclose int b = openat(folder_fd, "lock", O_RDWR | O_CLOEXEC);
    autoclose int looker = openat(folder_fd, "lock", O_RDONLY | O_CLOEXEC);
    assert_int_equal(lock_held(looker), 0);
    assert_int_equal(lock_take(a), 0);
    assert_int_equal(lock_held(looker), 1);
    assert_int_equal(lock_held(a), 0); /* one's own is nobody else's */
    assert_int_equal(lock_take(b), -EAGAIN);
    assert_int_equal(lock_take_shared(b), -EAGAIN);
    int copy = dup(a);
    close(copy); /* unlike fcntl's older locks, closing a copy frees nothing */
    assert_int_equal(lock_take(b), -EAGAIN);
    assert_int_equal(lock_release(a), 0);
    assert_int_equal(lock_take_shared(b), 0);
    assert_int_equal(lock_held(looker), 0);
    assert_int_equal(lock_take_shared(a), 0);
    assert_int_equal(lock_take(a), -EAGAIN);
    close_fd(&b);
    assert_int_equal(lock_take(a), 0);
}

static void descriptors_travel(void **state)
{
    int pair[2], fds[FDS_MAX], sent[FDS_MAX + 1];
    size_t n = 99;
    char data[8];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    for (size_t i = 0; i < ARRAY_SIZE(sent); i++)
        sent[i] = folder_fd;
    assert_int_equal(send_with_fds(pair[0], "hello", 5, sent, FDS_MAX), 5);
    assert_int_equal(recv_with_fds(pair[1], data, sizeof(data), fds, &n), 5);
    assert_int_equal(n, FDS_MAX);
    assert_memory_equal(data, "hello", 5);
    for (size_t i = 0; i < n; i++) {
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        close(fds[i]);
    }
    assert_int_equal(send_with_fds(pair[0], "x", 1, sent, FDS_MAX + 1), -EINVAL);
    assert_int_equal(send_with_fds(pair[0], "", 0, NULL, 0), -EINVAL);
    int before = dup(0);
    close(before);
    assert_int_equal(send_with_fds(pair[0], "too long for it", 15, sent, 2), 15);
    assert_int_equal(recv_with_fds(pair[1], data, sizeof(data), fds, &n), -EMSGSIZE);
    assert_int_equal(n, 0);
    int after = dup(0);
    close(after);
    assert_int_equal(before, after); /* those of a message that was cut are closed */
    assert_int_equal(send_with_fds(pair[0], "y", 1, NULL, 0), 1);
    assert_int_equal(recv_with_fds(pair[1], data, sizeof(data), fds, &n), 1);
    assert_int_equal(n, 0);
    close(pair[0]);
    assert_int_equal(recv_with_fds(pair[1], data, sizeof(data), fds, &n), 0);
    assert_int_equal(send_with_fds(pair[1], "z", 1, NULL, 0), -EPIPE); /* and no SIGPIPE */
    close(pair[1]);
}

static int read_and_measure(void *data)
{
    autofree char *text = NULL;
    uint64_t bytes;
    int r = file_read(AT_FDCWD, "/proc/self/status", 1 << 20, &text, NULL);
    if (r == 0)
        r = tree_size(folder_fd, ".", &bytes);
    return r == -ENOMEM ? -1 : r == 0 ? 0 : 1;
}

static void memory_may_run_out_anywhere(void **state)
{
    assert_int_equal(file_write(folder_fd, "a", "", 0, 0600, 0), 0);
    assert_int_equal(linkat(folder_fd, "a", folder_fd, "b", 0), 0);
    assert_true(fault_loop(read_and_measure, NULL) >= (FAULT_AVAILABLE ? 3 : 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder_of_test, remove_folder_of_test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(whole_files),
        TEST(writing_replaces_whole_and_leaves_nothing),
        TEST(folders_are_made_with_their_parents),
        TEST(deep_trees_go),
        TEST(only_small_trees_go_at_once), TEST(links_lead_nowhere),
        TEST(two_may_remove_one_tree),
        TEST(mounts_are_not_crossed),
        TEST(sizes_count_hard_links_once),
        TEST(locks_belong_to_the_open_file),
        TEST(descriptors_travel),
        TEST(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
