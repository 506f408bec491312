/* SPDX-License-Identifier: Apache-2.0 */
/*
 * logs: every byte as it was written, as long as the limits keep it, for any kind of reader.
 */
#include "contract.h"

#include <berth/container.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct berth_handle ended(struct contract *c, const char *name, struct program program)
{
    struct berth_handle h = run(c, name, program, NULL);
    berth_status_free(until_ended(c, &h));
    return h;
}

static char *tail_of(struct contract *c, const struct berth_handle *h, uint64_t n)
{
    struct berth_logs_options o = {.size = sizeof(o), .has_tail = true, .tail = n};
    return log_with(c, h, &o, NULL);
}

/** One piece of a framed log. */
struct piece {
    struct berth_frame frame;
    char *data;
};

static struct piece *pieces_of(char *data, size_t size, size_t *ret_n)
{
    struct piece *list = NULL;
    size_t n = 0;
    for (size_t at = 0; at < size;) {
        check(size - at >= sizeof(struct berth_frame), "a torn frame at %zu of %zu", at, size);
        list = realloc(list, (n + 1) * sizeof(*list));
        memcpy(&list[n].frame, data + at, sizeof(struct berth_frame));
        at += sizeof(struct berth_frame);
        list[n].data = data + at;
        if (list[n].frame.stream != BERTH_FRAME_LOST) {
            check(list[n].frame.length <= size - at, "a frame longer than the log");
            at += list[n].frame.length;
        }
        n++;
    }
    *ret_n = n;
    return list;
}

static void all_lines_in_order(struct contract *c)
{
    struct berth_handle h =
        ended(c, "one", STEPS("print one", "print two", "print three", "exit 0"));
    char *log = log_of(c, &h);
    equal_text(log, "one\ntwo\nthree\n");
    free(log);
}

static void tail_0_1_2_and_more_than_there_are(struct contract *c)
{
    struct berth_handle h =
        ended(c, "one", STEPS("print one", "print two", "print three", "exit 0"));
    static const char *const wanted[] = {"", "three\n", "two\nthree\n", "one\ntwo\nthree\n",
                                         "one\ntwo\nthree\n"};
    for (uint64_t n = 0; n < 5; n++) {
        char *log = tail_of(c, &h, n);
        equal_text(log, wanted[n]);
        free(log);
    }
    char *log = tail_of(c, &h, UINT64_MAX);
    equal_text(log, wanted[4]);
    free(log);
}

static void an_empty_log_is_empty(struct contract *c)
{
    struct berth_handle h = ended(c, "one", STEPS("exit 0"));
    char *log = log_of(c, &h);
    equal_text(log, "");
    free(log);
    log = tail_of(c, &h, 5);
    equal_text(log, "");
    free(log);
}

static void the_streams_are_told_apart(struct contract *c)
{
    struct berth_handle h = ended(
        c, "one",
        STEPS("print out", "sleep 200ms", "eprint wrong", "sleep 200ms", "print more", "exit 0"));
    struct berth_logs_options o = {.size = sizeof(o), .streams = BERTH_STDERR};
    char *log = log_with(c, &h, &o, NULL);
    equal_text(log, "wrong\n");
    free(log);
    o.streams = BERTH_STDOUT;
    log = log_with(c, &h, &o, NULL);
    equal_text(log, "out\nmore\n");
    free(log);
    o.streams = BERTH_STDOUT | BERTH_STDERR;
    log = log_with(c, &h, &o, NULL);
    equal_text(log, "out\nwrong\nmore\n");
    free(log);
}

static void frames_carry_stream_time_and_length(struct contract *c)
{
    int64_t before = wall_usec();
    struct berth_handle h =
        ended(c, "one", STEPS("print out", "sleep 20ms", "eprint wrong", "exit 0"));
    struct berth_logs_options o = {.size = sizeof(o), .frames = true};
    size_t size, n;
    char *log = log_with(c, &h, &o, &size);
    struct piece *p = pieces_of(log, size, &n);
    equal((long long)n, 2);
    equal(p[0].frame.stream, BERTH_STDOUT);
    equal((long long)p[0].frame.length, 4);
    equal(memcmp(p[0].data, "out\n", 4), 0);
    equal(p[1].frame.stream, BERTH_STDERR);
    equal(memcmp(p[1].data, "wrong\n", 6), 0);
    check(p[0].frame.time_usec >= before && p[1].frame.time_usec > p[0].frame.time_usec &&
              p[1].frame.time_usec <= wall_usec(),
          "the times are not in order");
    free(p);
    free(log);
}

static void an_unknown_stream_is_refused(struct contract *c)
{
    struct berth_handle h = ended(c, "one", STEPS("exit 0"));
    struct berth_logs_options o = {.size = sizeof(o), .streams = 64};
    struct berth_stream *stream = NULL;
    fails_with(BERTH_INVALID, berth_logs(c->runtime, &h, &o, &stream, ERR));
}

static void since_and_until_are_exact_to_the_microsecond(struct contract *c)
{
    struct berth_handle h = ended(
        c, "one", STEPS("print a", "sleep 10ms", "print b", "sleep 10ms", "print c", "exit 0"));
    struct berth_logs_options o = {.size = sizeof(o), .frames = true};
    size_t size, n;
    char *framed = log_with(c, &h, &o, &size);
    struct piece *p = pieces_of(framed, size, &n);
    equal((long long)n, 3);
    int64_t t = p[1].frame.time_usec;
    static const struct {
        int since, until;
        const char *wanted;
    } rows[] = {{0, -1, "b\nc\n"}, {1, -1, "c\n"}, {-1, 0, "a\n"},
                {-1, 1, "a\nb\n"}, {0, 1, "b\n"},  {0, 0, ""}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct berth_logs_options range = {.size = sizeof(range)};
        range.since_usec = rows[i].since < 0 ? 0 : t + rows[i].since;
        range.until_usec = rows[i].until < 0 ? 0 : t + rows[i].until;
        char *log = log_with(c, &h, &range, NULL);
        equal_text(log, rows[i].wanted);
        free(log);
    }
    free(p);
    free(framed);
}

static void timestamps_are_rfc_3339_with_nanoseconds(struct contract *c)
{
    struct berth_handle h = ended(c, "one", STEPS("print a", "print b", "exit 0"));
    struct berth_logs_options o = {.size = sizeof(o), .timestamps = true};
    char *log = log_with(c, &h, &o, NULL);
    char *line = log;
    for (int i = 0; i < 2; i++) {
        struct tm tm = {0};
        char *end = strptime(line, "%Y-%m-%dT%H:%M:%S", &tm);
        check(end && *end == '.' && strspn(end + 1, "0123456789") == 9, "no timestamp: %.60s",
              line);
        end += 10;
        check(*end == 'Z' || *end == '+' || *end == '-', "no zone: %.60s", line);
        time_t t = timegm(&tm);
        check(*end != 'Z' || llabs((long long)t - time(NULL)) < 60, "the time is %.40s", line);
        char *blank = strchr(end, ' ');
        check(blank && blank[1] == 'a' + i && blank[2] == '\n', "after the time: %.60s", line);
        line = blank + 3;
    }
    equal_text(line, "");
    free(log);
}

static void follow_brings_what_comes_and_ends_with_the_program(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", STEPS("print first", "sleep 60ms", "print last", "exit 0"), NULL);
    struct berth_logs_options o = {.size = sizeof(o), .follow = true};
    char *log = log_with(c, &h, &o, NULL);
    equal_text(log, "first\nlast\n");
    free(log);
}

static void follow_of_an_ended_one_ends_at_once(struct contract *c)
{
    struct berth_handle h = ended(c, "one", STEPS("print x", "exit 0"));
    struct berth_logs_options o = {.size = sizeof(o), .follow = true};
    char *log = log_with(c, &h, &o, NULL);
    equal_text(log, "x\n");
    free(log);
}

static void follow_ends_when_it_is_stopped(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_logs_options o = {.size = sizeof(o), .follow = true};
    struct berth_stream *stream = NULL;
    ok(berth_logs(c->runtime, &h, &o, &stream, ERR));
    until_text(berth_stream_fd(stream), "ready\n");
    ok(berth_stop(c->runtime, &h, 0, ERR));
    char *rest = read_all(berth_stream_fd(stream), NULL);
    equal_text(rest, "");
    free(rest);
    berth_stream_free(stream);
}

static void follow_with_tail_0_brings_only_what_is_new(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "one", STEPS("print old", "print ready", "sleep 3s", "print new", "exit 0"), NULL);
    struct berth_logs_options o = {.size = sizeof(o), .follow = true, .has_tail = true};
    char *log = log_with(c, &h, &o, NULL);
    equal_text(log, "new\n");
    free(log);
}

static void follow_goes_on_over_policy_restarts(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", STEPS("print ran", "exit 1"), "restart",
            "{'policy':'on-failure','max':3,'delay':'30ms','cap':'30ms'}", NULL);
    struct berth_logs_options o = {.size = sizeof(o), .follow = true};
    char *log = log_with(c, &h, &o, NULL);
    equal_text(log, "ran\nran\nran\nran\n");
    free(log);
}

static void follow_goes_on_over_restart(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_logs_options o = {.size = sizeof(o), .follow = true};
    struct berth_stream *stream = NULL;
    ok(berth_logs(c->runtime, &h, &o, &stream, ERR));
    until_text(berth_stream_fd(stream), "ready\n");
    ok(berth_restart(c->runtime, &h, 0, ERR));
    until_text(berth_stream_fd(stream), "ready\n");
    berth_stream_free(stream);
}

static void many_followers_see_the_same(struct contract *c)
{
    enum { COUNT = 10 };
    struct berth_handle h =
        run(c, "one", STEPS("print a", "sleep 50ms", "print b", "sleep 50ms", "print c", "exit 0"),
            NULL);
    struct berth_logs_options o = {.size = sizeof(o), .follow = true};
    struct berth_stream *streams[COUNT];
    for (int i = 0; i < COUNT; i++)
        ok(berth_logs(c->runtime, &h, &o, &streams[i], ERR));
    for (int i = 0; i < COUNT; i++) {
        char *log = read_all(berth_stream_fd(streams[i]), NULL);
        equal_text(log, "a\nb\nc\n");
        free(log);
        berth_stream_free(streams[i]);
    }
}

static void a_follower_may_leave_at_any_time(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_logs_options o = {.size = sizeof(o), .follow = true};
    for (int i = 0; i < 10; i++) {
        struct berth_stream *stream = NULL;
        ok(berth_logs(c->runtime, &h, &o, &stream, ERR));
        berth_stream_free(stream);
    }
    is_state(c, &h, BERTH_RUNNING);
}

static void logs_of_an_ended_one_remain_until_remove(struct contract *c)
{
    struct berth_handle h = ended(c, "one", STEPS("print kept", "exit 1"));
    char *log = log_of(c, &h);
    equal_text(log, "kept\n");
    free(log);
    ok(berth_remove(c->runtime, &h, NULL, ERR));
    struct berth_stream *stream = NULL;
    fails_with(BERTH_NOT_FOUND, berth_logs(c->runtime, &h, NULL, &stream, ERR));
}

static void a_last_line_without_its_newline_is_kept(struct contract *c)
{
    struct berth_handle h = ended(c, "one", SHELL("echo one; printf two"));
    char *log = log_of(c, &h);
    equal_text(log, "one\ntwo");
    free(log);
    log = tail_of(c, &h, 1);
    equal_text(log, "two");
    free(log);
}

static void a_line_written_in_parts_is_one_line(struct contract *c)
{
    struct berth_handle h =
        ended(c, "one", SHELL("echo zero; printf a; sleep 0.05; printf b; sleep 0.05; echo c"));
    char *log = tail_of(c, &h, 1);
    equal_text(log, "abc\n");
    free(log);
    struct berth_logs_options o = {
        .size = sizeof(o), .timestamps = true, .has_tail = true, .tail = 1};
    log = log_with(c, &h, &o, NULL);
    has_text(log, " abc\n");
    free(log);
}

static void binary_bytes_are_kept(struct contract *c)
{
    struct berth_handle h = ended(
        c, "one",
        SHELL("i=0; while [ $i -lt 256 ]; do printf \"\\\\$(printf %03o $i)\"; i=$((i+1)); done"));
    size_t size;
    char *log = log_with(c, &h, NULL, &size);
    equal((long long)size, 256);
    for (int i = 0; i < 256; i++)
        equal((unsigned char)log[i], i);
    free(log);
}

static void a_line_of_a_mebibyte_is_one_line(struct contract *c)
{
    struct berth_handle h = ended(
        c, "one", SHELL("echo before; head -c 1048576 /dev/zero | tr '\\0' x; echo; echo after"));
    struct berth_logs_options o = {.size = sizeof(o), .has_tail = true, .tail = 2};
    size_t size;
    char *log = log_with(c, &h, &o, &size);
    equal((long long)size, 1048577 + 6);
    equal((long long)strspn(log, "x"), 1048576);
    equal_text(log + 1048577, "after\n");
    free(log);
}

/** How many of the numbered lines "line N" came, in order, without a gap. */
static int numbered(const char *log, int first)
{
    int next = first;
    for (const char *p = log, *end; *p; p = end + 1, next++) {
        end = strchr(p, '\n');
        check(end && strncmp(p, "line ", 5) == 0, "a torn line: %.60s", p);
        int n = atoi(p + 5);
        check(n == next, "line %d after line %d", n, next - 1);
    }
    return next - first;
}

static void ten_megabytes_lose_nothing(struct contract *c)
{
    struct berth_handle h = run(c, "one", SHELL("seq 1 400000 | sed 's/^/line /'"), NULL);
    berth_status_free(until_ended(c, &h));
    char *log = log_of(c, &h);
    equal(numbered(log, 1), 400000);
    free(log);
}

static void old_files_go_when_the_limit_is_reached(struct contract *c)
{
    struct berth_handle h = run(c, "one", SHELL("seq 1 100000 | sed 's/^/line /'"), "log",
                                "{'max_size':'64Ki','max_files':3}", NULL);
    berth_status_free(until_ended(c, &h));
    struct berth_logs_options o = {.size = sizeof(o)};
    size_t size;
    char *log = log_with(c, &h, &o, &size);
    check(size >= 64 << 10 && size <= (4 * 64) << 10, "%zu bytes were kept", size);
    char *tail = tail_of(c, &h, 1);
    equal_text(tail, "line 100000\n");
    free(tail);
    free(log);
}

static void follow_goes_on_over_rotation(struct contract *c)
{
    struct berth_handle h = run(
        c, "one",
        SHELL("i=0; while [ $i -lt 40 ]; do seq $((i*500+1)) $((i*500+500)) | sed 's/^/line /'; "
              "i=$((i+1)); sleep 0.02; done"),
        "log", "{'max_size':'32Ki','max_files':4}", NULL);
    struct berth_logs_options o = {.size = sizeof(o), .follow = true};
    char *log = log_with(c, &h, &o, NULL);
    equal(numbered(log, 1), 20000);
    free(log);
}

static void a_reader_that_falls_behind_is_told_what_is_gone(struct contract *c)
{
    struct berth_handle h = run(c, "one",
                                SHELL("echo ready; sleep 0.3; head -c 4000000 /dev/zero | tr '\\0' "
                                      "x; echo; sleep 0.2; echo end"),
                                "log", "{'max_size':'64Ki','max_files':2}", NULL);
    struct berth_logs_options o = {.size = sizeof(o), .follow = true, .frames = true};
    struct berth_stream *stream = NULL;
    ok(berth_logs(c->runtime, &h, &o, &stream, ERR));
    berth_status_free(until_ended(c, &h)); /* it writes all of it while nobody reads */
    size_t size, n, seen = 0, lost = 0, records = 0;
    char *log = read_all(berth_stream_fd(stream), &size);
    struct piece *p = pieces_of(log, size, &n);
    for (size_t i = 0; i < n; i++) {
        if (p[i].frame.stream == BERTH_FRAME_LOST) {
            check(i == 0 || p[i - 1].frame.stream != BERTH_FRAME_LOST, "two records for one gap");
            lost += p[i].frame.length;
            records++;
        } else {
            seen += p[i].frame.length;
        }
    }
    check(records >= 1, "nothing is said to be gone");
    equal((long long)(seen + lost), 6 + 4000001 + 4);
    check(lost > 1000000, "only %zu bytes are said to be gone", lost);
    free(p);
    free(log);
    berth_stream_free(stream);
}

static void a_reader_that_never_reads_stops_no_workload(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", SHELL("head -c 20000000 /dev/zero | tr '\\0' '\\n'; exit 3"), NULL);
    struct berth_logs_options o = {.size = sizeof(o), .follow = true};
    struct berth_stream *stream = NULL;
    ok(berth_logs(c->runtime, &h, &o, &stream, ERR));
    struct berth_status *s = until_ended(c, &h);
    equal(s->exit_code, 3);
    berth_status_free(s);
    berth_stream_free(stream);
}

static void the_log_driver_none_keeps_nothing(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", SHELL("echo unseen; exit 4"), "log.driver", "'none'", NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->exit_code, 4);
    berth_status_free(s);
    char *log = log_of(c, &h);
    check(!strstr(log, "unseen"), "it was kept");
    free(log);
}

/** Take the image along to another runtime. */
static void image_carry(struct contract *from, struct contract *to)
{
    char *file = print_text("%s/image.tar", from->scratch);
    struct berth_call *call = NULL;
    struct berth_image_save_options save = {.size = sizeof(save),
                                            .target = file,
                                            .references = (const char *const[]){from->image, NULL}};
    ok(berth_image_save_call(from->runtime, &save, &call, ERR));
    ok(berth_call_wait(call, 30000, NULL, ERR));
    berth_call_free(call);
    struct berth_image_load_options load = {.size = sizeof(load), .source = file};
    ok(berth_image_load_call(to->runtime, &load, &call, ERR));
    ok(berth_call_wait(call, 30000, NULL, ERR));
    berth_call_free(call);
    unlink(file);
    free(file);
}

/** A runtime whose root is a small file system, seen only in a mount namespace of this process. */
static struct contract on_a_small_disk(struct contract *c, const char *size)
{
    struct contract small = *c;
    char *data = print_text("size=%s", size), *folder = print_text("%s/small", c->scratch);
    check(mkdir(folder, 0755) == 0, "%s: %s", folder, strerror(errno));
    check(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
              mount("small", folder, "tmpfs", 0, data) == 0,
          "a small file system: %s", strerror(errno));
    struct berth_options options = {.size = sizeof(options), .root = folder, .run = c->run};
    ok(berth_open(c->opens, &options, &small.runtime, ERR));
    image_carry(c, &small);
    free(data);
    return small;
}

static void on_a_full_disk_lines_are_dropped_and_counted(struct contract *c)
{
    struct berth_handle probe = create(c, "probe", SHELL("true"), NULL);
    ok(berth_remove(c->runtime, &probe, NULL, ERR));
    struct contract small = on_a_small_disk(c, "12m");
    struct berth_handle h =
        run(&small, "flood", SHELL("yes 'a line among many, all of them the same' | head -c 20000000; exit 6"), NULL);
    struct berth_status *s = until_ended(&small, &h);
    equal(s->state, BERTH_FAILED);
    equal(s->exit_code, 6);
    check(s->log_dropped_bytes > 1000000 && s->log_dropped_lines > 10000,
          "%llu bytes, %llu lines dropped", (unsigned long long)s->log_dropped_bytes,
          (unsigned long long)s->log_dropped_lines);
    char *log = log_of(&small, &h);
    has_text(log, "a line among many, all of them the same\n");
    check(strlen(log) + s->log_dropped_bytes >= 20000000,
          "bytes are missing without being counted");
    free(log);
    berth_status_free(s);
    ok(berth_remove(small.runtime, &h, NULL, ERR));
    berth_close(small.runtime);
}

static const struct contract_case logs_cases[] = {
    CASE(all_lines_in_order),
    CASE(tail_0_1_2_and_more_than_there_are),
    CASE(an_empty_log_is_empty),
    CASE(the_streams_are_told_apart),
    CASE(frames_carry_stream_time_and_length),
    CASE(an_unknown_stream_is_refused),
    CASE(since_and_until_are_exact_to_the_microsecond),
    CASE(timestamps_are_rfc_3339_with_nanoseconds),
    CASE(follow_brings_what_comes_and_ends_with_the_program),
    CASE(follow_of_an_ended_one_ends_at_once),
    CASE(follow_ends_when_it_is_stopped),
    CASE(follow_with_tail_0_brings_only_what_is_new),
    CASE(follow_goes_on_over_policy_restarts),
    CASE(follow_goes_on_over_restart),
    CASE(many_followers_see_the_same),
    CASE(a_follower_may_leave_at_any_time),
    CASE(logs_of_an_ended_one_remain_until_remove),
    CASE_NEEDS(a_last_line_without_its_newline_is_kept, NEEDS_PROGRAM),
    CASE_NEEDS(a_line_written_in_parts_is_one_line, NEEDS_PROGRAM),
    CASE_NEEDS(binary_bytes_are_kept, NEEDS_PROGRAM),
    CASE_NEEDS(a_line_of_a_mebibyte_is_one_line, NEEDS_PROGRAM),
    CASE_NEEDS(ten_megabytes_lose_nothing, NEEDS_PROGRAM),
    CASE_NEEDS(old_files_go_when_the_limit_is_reached, NEEDS_PROGRAM),
    CASE_NEEDS(follow_goes_on_over_rotation, NEEDS_PROGRAM),
    CASE_NEEDS(a_reader_that_falls_behind_is_told_what_is_gone, NEEDS_PROGRAM),
    CASE_NEEDS(a_reader_that_never_reads_stops_no_workload, NEEDS_PROGRAM),
    CASE_NEEDS(the_log_driver_none_keeps_nothing, NEEDS_PROGRAM),
    CASE_NEEDS(on_a_full_disk_lines_are_dropped_and_counted, NEEDS_PROGRAM),
};
GROUP(logs);
