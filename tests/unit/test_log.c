/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log: what is written comes back, by stream, line, stamp and file; followers miss nothing; a
 * full disk and a torn index are told, not hidden.
 */
#include "unit.h"

#include "base/file.h"
#include "base/text.h"
#include "store/log.h"
#include "store/log_format.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct fixture {
    char path[64];
    int fd;          /* the workload's folder */
    int pipe[2];
    struct log_writer *w;
    uint64_t dropped_bytes, dropped_lines;
};

static int make_folder(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->path, sizeof(f->path), "/tmp/berth-log-XXXXXX");
    if (!mkdtemp(f->path) || pipe2(f->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
        return -1;
    f->fd = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = f;
    return f->fd < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
    struct fixture *f = *state;
    log_writer_close(f->w);
    close(f->fd);
    close(f->pipe[0]);
    close(f->pipe[1]);
    autofree char *disk = format_text("%s/disk", f->path);
    if (disk)
        umount2(disk, MNT_DETACH); /* a failed case left it */
    tree_remove(AT_FDCWD, f->path);
    free(f);
    return 0;
}

static void open_writer(struct fixture *f, uint64_t size, int files)
{
    assert_int_equal(log_writer_open(f->fd, size, files, &f->w, NULL), 0);
}

static void reopen_writer(struct fixture *f, uint64_t size, int files)
{
    log_writer_close(f->w);
    f->w = NULL;
    open_writer(f, size, files);
}

/* Through the pipe, as a program's output comes. */
static void say(struct fixture *f, uint16_t stream, const char *text)
{
    size_t size = strlen(text);
    assert_int_equal(write(f->pipe[1], text, size), size);
    ssize_t n;
    while ((n = log_writer_move(f->w, f->pipe[0], stream, &f->dropped_bytes, &f->dropped_lines)) > 0)
        ;
    assert_int_equal(n, -EAGAIN);
}

static char *slurp(int fd, size_t *ret_size)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    char *text = malloc((size_t)st.st_size + 1);
    assert_int_equal(pread(fd, text, (size_t)st.st_size, 0), st.st_size);
    text[st.st_size] = 0;
    if (ret_size)
        *ret_size = (size_t)st.st_size;
    return text;
}

static char *pumped(struct fixture *f, struct log_options options, size_t *ret_size)
{
    autoclose int fd = memfd_create("out", MFD_CLOEXEC);
    struct berth_error err = {0};
    if (log_pump(f->fd, -1, &options, fd, &err) != 0)
        fail_msg("%s", err.message);
    return slurp(fd, ret_size);
}

static void expect(struct fixture *f, struct log_options options, const char *text)
{
    autofree char *got = pumped(f, options, NULL);
    assert_string_equal(got, text);
}

#define TAIL(n) ((struct log_options){.has_tail = true, .tail = (n)})

/* ---- lines */

static void everything_comes_back_in_order(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 0, 0);
    say(f, BERTH_STDOUT, "one\n");
    say(f, BERTH_STDERR, "two\n");
    say(f, BERTH_STDOUT, "three");
    expect(f, (struct log_options){0}, "one\ntwo\nthree");
    expect(f, (struct log_options){.streams = BERTH_STDOUT}, "one\nthree");
    expect(f, (struct log_options){.streams = BERTH_STDERR}, "two\n");
}

static void tail_is_exact(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 0, 0);
    expect(f, TAIL(3), "");
    say(f, BERTH_STDOUT, "a\nb\n");
    say(f, BERTH_STDOUT, "c\nd");
    expect(f, TAIL(0), "");
    expect(f, TAIL(1), "d");
    expect(f, TAIL(2), "c\nd");
    expect(f, TAIL(3), "b\nc\nd");
    expect(f, TAIL(4), "a\nb\nc\nd");
    expect(f, TAIL(5), "a\nb\nc\nd");
    say(f, BERTH_STDOUT, "\n");
    expect(f, TAIL(1), "d\n");
    expect(f, TAIL(2), "c\nd\n");
}

static void tail_counts_empty_lines_and_single_bytes(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 0, 0);
    for (const char *p = "x\n\n\nyz\n"; *p; p++)
        say(f, BERTH_STDOUT, (char[]){*p, 0});
    expect(f, TAIL(1), "yz\n");
    expect(f, TAIL(2), "\nyz\n");
    expect(f, TAIL(3), "\n\nyz\n");
    expect(f, TAIL(4), "x\n\n\nyz\n");
}

static void interleaved_partial_lines_are_ordered_by_their_first_byte(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 0, 0);
    say(f, BERTH_STDOUT, "ab");
    say(f, BERTH_STDERR, "X\n");
    say(f, BERTH_STDOUT, "c\n");
    expect(f, (struct log_options){0}, "abX\nc\n");
    expect(f, TAIL(1), "X\n");
    expect(f, TAIL(2), "abX\nc\n");
    expect(f, (struct log_options){.has_tail = true, .tail = 1, .streams = BERTH_STDOUT}, "abc\n");
}

static void tail_reaches_over_files(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 16, 100);
    for (int i = 0; i < 40; i++) {
        char line[32];
        snprintf(line, sizeof(line), "line %d\n", i);
        say(f, BERTH_STDOUT, line);
    }
    expect(f, TAIL(3), "line 37\nline 38\nline 39\n");
    autofree char *all = pumped(f, TAIL(40), NULL);
    assert_true(starts_with(all, "line 0\nline 1\n"));
    autofree char *most = pumped(f, TAIL(39), NULL);
    assert_true(starts_with(most, "line 1\nline 2\n"));
}

static void binary_bytes_and_long_lines_survive(void **state)
{
    struct fixture *f = *state;
    const size_t size = 1 << 20;
    autofree char *line = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        line[i] = (char)(i * 7 % 256 == '\n' ? 0 : i * 7);
    line[size] = '\n';
    open_writer(f, 0, 0);
    say(f, BERTH_STDERR, "before\n");
    assert_int_equal(log_writer_write(f->w, BERTH_STDOUT, line, size + 1, NULL, NULL), 0);
    say(f, BERTH_STDERR, "after\n");
    size_t got_size;
    autofree char *got = pumped(f, TAIL(2), &got_size);
    assert_int_equal(got_size, size + 1 + strlen("after\n"));
    assert_memory_equal(got, line, size + 1);
    autofree char *stamped = pumped(
        f, (struct log_options){.timestamps = true, .has_tail = true, .tail = 2}, &got_size);
    assert_int_equal(got_size, size + 1 + strlen("after\n") + 2 * 31);
    assert_memory_equal(stamped + 31, line, size + 1);
}

/* ---- stamps */

static int64_t parse_stamp(const char *line)
{
    char stamp[40];
    int64_t usec = 0;
    snprintf(stamp, sizeof(stamp), "%.30s", line);
    assert_int_equal(stamp[10], 'T');
    assert_int_equal(stamp[29], 'Z');
    assert_int_equal(time_parse(stamp, 0, &usec), 0);
    return usec;
}

static void stamps_are_of_the_first_byte(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 0, 0);
    int64_t before = now_usec();
    say(f, BERTH_STDOUT, "half ");
    int64_t after = now_usec();
    usleep(2000);
    say(f, BERTH_STDERR, "other\n");
    say(f, BERTH_STDOUT, "done\nrest");
    autofree char *got = pumped(f, (struct log_options){.timestamps = true}, NULL);
    assert_string_equal(got + 31, strstr(got, "other\n"));
    const char *half = strchr(got, '\n') + 1;
    assert_true(starts_with(half + 31, "half done\n"));
    int64_t stamp = parse_stamp(half);
    assert_true(stamp >= before && stamp <= after);
    assert_true(parse_stamp(got) > after);
    assert_string_equal(half + 31 + strlen("half done\n") + 31, "rest");
}

/* Index of one file, to read and to break. */
static size_t read_index(struct fixture *f, const char *name, struct log_record *ret, size_t max)
{
    autoclose int fd = openat(f->fd, name, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, ret, max * sizeof(*ret));
    assert_true(n >= 0);
    return (size_t)n / sizeof(*ret);
}

static void since_and_until_to_the_microsecond(void **state)
{
    struct fixture *f = *state;
    struct log_record r[16];
    open_writer(f, 0, 0);
    const char *lines[] = {"a\n", "b1\nb2\n", "c", "c\n", "d\n"};
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        say(f, BERTH_STDOUT, lines[i]);
        usleep(1500);
    }
    assert_int_equal(read_index(f, "log/1.idx", r, 16), 6);
    expect(f, (struct log_options){.since_usec = r[2].time_usec}, "b1\nb2\ncc\nd\n");
    expect(f, (struct log_options){.since_usec = r[2].time_usec + 1}, "cc\nd\n");
    expect(f, (struct log_options){.since_usec = r[4].time_usec}, "d\n");
    expect(f, (struct log_options){.until_usec = r[2].time_usec}, "a\n");
    expect(f, (struct log_options){.until_usec = r[2].time_usec + 1}, "a\nb1\nb2\n");
    expect(f, (struct log_options){.until_usec = r[4].time_usec}, "a\nb1\nb2\ncc\n");
    expect(f, (struct log_options){.since_usec = r[2].time_usec, .until_usec = r[3].time_usec},
           "b1\nb2\n");
    struct log_options both = {.until_usec = r[5].time_usec, .has_tail = true, .tail = 2};
    expect(f, both, "b2\ncc\n");
    both.timestamps = true;
    autofree char *got = pumped(f, both, NULL);
    assert_int_equal(parse_stamp(got), r[2].time_usec);
    assert_string_equal(got + 31 + 3 + 31, "cc\n");
}

static void frames_tell_streams_apart(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 0, 0);
    say(f, BERTH_STDOUT, "out\n");
    say(f, BERTH_STDERR, "err");
    size_t size;
    autofree char *got = pumped(f, (struct log_options){.frames = true}, &size);
    struct berth_frame a, b;
    memcpy(&a, got, sizeof(a));
    assert_int_equal(a.stream, BERTH_STDOUT);
    assert_int_equal(a.length, 4);
    memcpy(&b, got + sizeof(a) + 4, sizeof(b));
    assert_int_equal(b.stream, BERTH_STDERR);
    assert_int_equal(b.length, 3);
    assert_true(b.time_usec >= a.time_usec && a.time_usec > 0);
    assert_int_equal(size, 2 * sizeof(a) + 7);
}

/* ---- files */

static int count_files(struct fixture *f)
{
    int n = 0;
    for (int i = 1; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof(name), "log/%d.log", i);
        n += faccessat(f->fd, name, F_OK, 0) == 0;
    }
    return n;
}

static void limits_hold_and_the_oldest_go(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 100, 3);
    autotext struct text all = {0};
    for (int i = 0; i < 200; i++) {
        char line[32];
        snprintf(line, sizeof(line), "%07d\n", i);
        say(f, BERTH_STDOUT, line);
        text_add(&all, line);
    }
    assert_int_equal(count_files(f), 3);
    for (int i = 1; i < 30; i++) {
        struct stat st;
        char name[32];
        snprintf(name, sizeof(name), "log/%d.log", i);
        if (fstatat(f->fd, name, &st, 0) == 0)
            assert_true(st.st_size <= 100);
    }
    autofree char *got = pumped(f, (struct log_options){0}, NULL);
    assert_true(strlen(got) >= 200 && strlen(got) <= 300);
    assert_true(ends_with(all.data, got));
}

static void writer_continues_after_a_restart(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 10, 4);
    say(f, BERTH_STDOUT, "first run\nmore");
    reopen_writer(f, 10, 4);
    say(f, BERTH_STDERR, "second\n");
    expect(f, (struct log_options){0}, "first run\nmoresecond\n");
    expect(f, (struct log_options){.streams = BERTH_STDERR}, "second\n");
}

static void single_bytes_do_not_make_the_index_grow_without_end(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 4096, 2);
    for (int i = 0; i < 10000; i++)
        assert_int_equal(log_writer_write(f->w, BERTH_STDOUT, "x", 1, NULL, NULL), 0);
    uint64_t bytes = 0;
    assert_int_equal(tree_size(f->fd, "log", &bytes), 0);
    assert_true(bytes < 2 * (4096 + 65536 + 2 * 4096) + 8192);
}

/* ---- damage */

static void torn_record_is_seen_and_its_bytes_are_served(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 0, 0);
    say(f, BERTH_STDOUT, "one\n");
    say(f, BERTH_STDERR, "two\n");
    say(f, BERTH_STDOUT, "three\n");
    autoclose int fd = openat(f->fd, "log/1.idx", O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "\0\0\0\0\0\0\0", 7, 2 * 32 + 3), 7);
    expect(f, (struct log_options){0}, "one\ntwo\nthree\n");
    expect(f, (struct log_options){.streams = BERTH_STDERR}, ""); /* nobody knows any more */
    expect(f, TAIL(2), "two\nthree\n");
    expect(f, TAIL(1), "three\n");
}

static void bytes_without_a_record_are_served(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 0, 0);
    say(f, BERTH_STDOUT, "one\n");
    say(f, BERTH_STDOUT, "two\n");
    autoclose int fd = openat(f->fd, "log/1.idx", O_RDWR | O_CLOEXEC);
    assert_int_equal(ftruncate(fd, 2 * 32 + 11), 0); /* as a death between two writes leaves it */
    expect(f, (struct log_options){0}, "one\ntwo\n");
    expect(f, TAIL(1), "two\n");
    reopen_writer(f, 0, 0);
    say(f, BERTH_STDERR, "three\n");
    expect(f, (struct log_options){0}, "one\ntwo\nthree\n");
    expect(f, (struct log_options){.streams = BERTH_STDOUT}, "one\ntwo\n");
    assert_int_equal(unlinkat(f->fd, "log/1.idx", 0), 0);
    expect(f, (struct log_options){0}, "one\ntwo\nthree\n");
}

static void full_disk_drops_counts_and_says_so(void **state)
{
    struct fixture *f = *state;
    char disk[80];
    snprintf(disk, sizeof(disk), "%s/disk", f->path);
    assert_int_equal(mkdir(disk, 0700), 0);
    assert_int_equal(mount("tmpfs", disk, "tmpfs", 0, "size=64k"), 0);
    autoclose int disk_fd = open(disk, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int real_fd = f->fd;
    f->fd = disk_fd;
    open_writer(f, 0, 0);
    say(f, BERTH_STDOUT, "begin\n");
    autoclose int filler = openat(disk_fd, "filler", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    static const char block[4096];
    while (write(filler, block, sizeof(block)) > 0)
        ;
    char line[101];
    memset(line, 'x', 99);
    strcpy(line + 99, "\n");
    for (int i = 0; i < 200; i++)
        say(f, BERTH_STDERR, line);
    assert_true(f->dropped_lines > 100 && f->dropped_lines < 200);
    assert_true(f->dropped_bytes <= f->dropped_lines * 100);
    assert_int_equal(unlinkat(disk_fd, "filler", 0), 0);
    close_fd(&filler);
    say(f, BERTH_STDOUT, "end\n");
    char lost[100];
    snprintf(lost, sizeof(lost), "[berth: %llu bytes lost here: the disk was full]\nend\n",
             (unsigned long long)f->dropped_bytes);
    autofree char *got = pumped(f, (struct log_options){0}, NULL);
    assert_true(starts_with(got, "begin\nxxx"));
    assert_true(ends_with(got, lost));
    autofree char *last = pumped(f, TAIL(1), NULL);
    assert_string_equal(last, lost); /* of the lines, one; and what is missing before it */
    log_writer_close(f->w);
    f->w = NULL;
    f->fd = real_fd;
    close_fd(&disk_fd);
    assert_int_equal(umount2(disk, MNT_DETACH), 0);
}

/* ---- followers */

struct follower {
    pid_t pid;
    int fd;
};

static struct follower follow(struct fixture *f, struct log_options options, int life_fd)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    options.follow = true;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGPIPE, SIG_IGN);
        close(ends[0]);
        alarm(60);
        _exit(log_pump(f->fd, life_fd, &options, ends[1], NULL) == 0 ? 0 : 1);
    }
    close(ends[1]);
    return (struct follower){pid, ends[0]};
}

static char *follower_rest(struct follower *w, size_t *ret_size)
{
    char *text = NULL;
    int status;
    assert_int_equal(fd_read_all(w->fd, 1u << 30, &text, ret_size), 0);
    close(w->fd);
    assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
    assert_int_equal(status, 0);
    return text;
}

static void expect_now(struct follower *w, const char *text)
{
    char got[256] = "";
    size_t size = 0;
    while (size < strlen(text)) {
        struct pollfd p = {.fd = w->fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 10000), 1);
        ssize_t n = read(w->fd, got + size, sizeof(got) - 1 - size);
        assert_true(n > 0);
        size += (size_t)n;
        got[size] = 0;
    }
    assert_string_equal(got, text);
}

static void follower_sees_what_comes_and_ends_with_the_workload(void **state)
{
    struct fixture *f = *state;
    struct follower early = follow(f, (struct log_options){0}, -1); /* before its first run */
    usleep(20000);
    open_writer(f, 0, 0);
    log_writer_mark(f->w, LOG_MARK_START);
    say(f, BERTH_STDOUT, "hello\n");
    expect_now(&early, "hello\n");
    struct follower late = follow(f, TAIL(1), -1);
    expect_now(&late, "hello\n"); /* it is there before what comes next */
    say(f, BERTH_STDOUT, "partial");
    expect_now(&early, "partial");
    log_writer_mark(f->w, LOG_MARK_END_RESTART);
    reopen_writer(f, 0, 0);
    log_writer_mark(f->w, LOG_MARK_START);
    say(f, BERTH_STDERR, "again\n");
    log_writer_mark(f->w, LOG_MARK_END);
    autofree char *a = follower_rest(&early, NULL), *b = follower_rest(&late, NULL);
    assert_string_equal(a, "again\n");
    assert_string_equal(b, "partialagain\n");
}

static void follower_crosses_rotations_and_loses_nothing_that_is_kept(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 4096, 1000);
    log_writer_mark(f->w, LOG_MARK_START);
    struct follower w = follow(f, (struct log_options){0}, -1);
    autotext struct text all = {0};
    for (int i = 0; i < 20000; i++) {
        char line[32];
        snprintf(line, sizeof(line), "line number %d\n", i);
        text_add(&all, line);
        say(f, 1 + i % 2, line);
    }
    /* a pipe's worth may wait in the follower: end only after the writer */
    log_writer_mark(f->w, LOG_MARK_END);
    size_t size;
    autofree char *got = follower_rest(&w, &size);
    assert_int_equal(size, all.length);
    assert_memory_equal(got, all.data, size);
}

static void follower_that_falls_behind_is_told_how_much_is_gone(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 100000, 2);
    log_writer_mark(f->w, LOG_MARK_START);
    struct follower w = follow(f, (struct log_options){.frames = true}, -1);
    fcntl(w.fd, F_SETPIPE_SZ, 4096);
    autofree char *block = malloc(50000);
    memset(block, 'x', 50000);
    uint64_t written = 1;
    say(f, BERTH_STDOUT, "x");
    struct pollfd begun = {.fd = w.fd, .events = POLLIN};
    assert_int_equal(poll(&begun, 1, 10000), 1);
    for (int i = 0; i < 40; i++, written += 50000)
        assert_int_equal(log_writer_write(f->w, BERTH_STDOUT, block, 50000, NULL, NULL), 0);
    log_writer_mark(f->w, LOG_MARK_END);
    size_t size;
    autofree char *got = follower_rest(&w, &size);
    uint64_t seen = 0, lost = 0;
    int losses = 0;
    for (size_t at = 0; at < size;) {
        struct berth_frame frame;
        memcpy(&frame, got + at, sizeof(frame));
        at += sizeof(frame);
        if (frame.stream == BERTH_FRAME_LOST) {
            losses++;
            lost += frame.length;
        } else {
            seen += frame.length;
            at += frame.length;
        }
    }
    assert_int_equal(losses, 1);
    assert_true(lost > 0);
    assert_int_equal(seen + lost, written);
}

static void follower_ends_when_the_supervisor_died(void **state)
{
    struct fixture *f = *state;
    autoclose int life = openat(f->fd, "life", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    autoclose int look = openat(f->fd, "life", O_RDWR | O_CLOEXEC);
    assert_int_equal(lock_take(life), 0);
    open_writer(f, 0, 0);
    log_writer_mark(f->w, LOG_MARK_START);
    say(f, BERTH_STDOUT, "last words");
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct follower w = follow(f, (struct log_options){0}, look);
    expect_now(&w, "last words");
    close_fd(&life); /* the follower was forked with a copy of it: closed there too */
    kill(w.pid, SIGCONT);
    close(ends[0]);
    close(ends[1]);
    kill(w.pid, SIGKILL); /* it holds `life` by the fork: see the next one, which does not */
    waitpid(w.pid, NULL, 0);
    close(w.fd);
    struct follower next = follow(f, (struct log_options){0}, look);
    autofree char *got = follower_rest(&next, NULL);
    assert_string_equal(got, "last words");
}

static void follower_ends_when_nobody_reads(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 0, 0);
    log_writer_mark(f->w, LOG_MARK_START);
    struct follower w = follow(f, (struct log_options){0}, -1);
    close(w.fd);
    int status;
    assert_int_equal(waitpid(w.pid, &status, 0), w.pid);
    assert_int_equal(status, 0);
}

static void the_last_lines_as_text(void **state)
{
    struct fixture *f = *state;
    open_writer(f, 0, 0);
    autofree char *none = NULL, *two = NULL;
    assert_int_equal(log_tail(f->fd, 10, &none, NULL), 0);
    assert_string_equal(none, "");
    say(f, BERTH_STDOUT, "a\nb\nc\n");
    assert_int_equal(log_tail(f->fd, 2, &two, NULL), 0);
    assert_string_equal(two, "b\nc\n");
}

/* Random pieces against a plain model of lines. */
static void random_logs_match_a_plain_model(void **state)
{
    struct fixture *f = *state;
    srandom(7);
    for (int round = 0; round < 60; round++) {
        tree_remove(f->fd, "log");
        if (f->w)
            log_writer_close(f->w);
        f->w = NULL;
        open_writer(f, 1 + (uint64_t)(random() % 50), 1000);
        struct { int64_t order; int stream; char text[64]; } lines[400];
        int n = 0, open_line[3] = {-1, -1, -1};
        for (int piece = 0; piece < 40; piece++) {
            int stream = 1 + (int)(random() % 2), size = 1 + (int)(random() % 6);
            char bytes[8] = "";
            for (int i = 0; i < size; i++) {
                bytes[i] = "ab\n"[random() % 3];
                if (open_line[stream] < 0) {
                    open_line[stream] = n;
                    lines[n].stream = stream;
                    lines[n++].text[0] = 0;
                }
                char *text = lines[open_line[stream]].text;
                size_t length = strlen(text);
                assert_true(length < 60);
                text[length] = bytes[i];
                text[length + 1] = 0;
                if (bytes[i] == '\n')
                    open_line[stream] = -1;
            }
            say(f, (uint16_t)stream, bytes);
        }
        for (int stream = 1; stream <= 3; stream++)
            for (int want = 0; want <= 12; want++) {
                /* one stream: the text itself; both: the stamped lines, which come whole, as a set */
                autotext struct text expected = {0};
                int first = n, count = 0;
                while (first > 0 && count < want)
                    count += (lines[--first].stream & stream) != 0;
                size_t total = 0;
                for (int i = first; i < n; i++)
                    if (lines[i].stream & stream) {
                        text_add(&expected, lines[i].text);
                        total += strlen(lines[i].text);
                    }
                struct log_options options = TAIL((uint64_t)want);
                options.streams = (uint32_t)stream;
                size_t size;
                autofree char *got = pumped(f, options, &size);
                if (size != total)
                    print_message("round %d stream %d want %d: got <%s> of <%s>\n", round, stream, want, got, expected.data);
                assert_int_equal(size, total);
                if (stream < 3)
                    assert_string_equal(got, expected.data ? expected.data : "");
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
        T(everything_comes_back_in_order),
        T(tail_is_exact),
        T(tail_counts_empty_lines_and_single_bytes),
        T(interleaved_partial_lines_are_ordered_by_their_first_byte),
        T(tail_reaches_over_files),
        T(binary_bytes_and_long_lines_survive),
        T(stamps_are_of_the_first_byte),
        T(since_and_until_to_the_microsecond),
        T(frames_tell_streams_apart),
        T(limits_hold_and_the_oldest_go),
        T(writer_continues_after_a_restart),
        T(single_bytes_do_not_make_the_index_grow_without_end),
        T(torn_record_is_seen_and_its_bytes_are_served),
        T(bytes_without_a_record_are_served),
        T(full_disk_drops_counts_and_says_so),
        T(follower_sees_what_comes_and_ends_with_the_workload),
        T(follower_crosses_rotations_and_loses_nothing_that_is_kept),
        T(follower_that_falls_behind_is_told_how_much_is_gone),
        T(follower_ends_when_the_supervisor_died),
        T(follower_ends_when_nobody_reads),
        T(the_last_lines_as_text),
        T(random_logs_match_a_plain_model),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
