/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth's side of the table: does one step through the public library for each word it reads.
 *
 * Same protocol as floor.c: a word on standard input, one line of microseconds (or the figure that
 * the word names) on standard output, "-" after a failure, which is explained on standard error.
 */
#include "measure.h"
#include "through.h"

#include <berth/berth.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MANY 50
#define LOG_BYTES (1u << 30)

static struct berth_runtime *runtime;
static const char *image, *network, *second; /* second: every other workload of `flat` is on it */
static struct berth_handle resident;   /* the running workload that exec, status and stats use */
static struct berth_handle many[1024];
static double last_removal;

static void spec_of(const char *where, const char *script, char *ret, size_t size)
{
    snprintf(ret, size,
             "{\"image\":\"%s\",\"network\":\"%s\",\"resources\":{\"memory\":\"64Mi\",\"pids\":100},"
             "\"command\":[\"/bin/sh\",\"-c\",\"%s\"]}", image, where, script);
}

static const char *const obedient = "trap 'exit 0' TERM; echo x; while :; do sleep 1000 & wait; done";

static struct berth_handle create_on(const char *where, const char *script)
{
    struct berth_error err;
    struct berth_handle handle;
    char spec[1024];
    spec_of(where, script, spec, sizeof spec);
    need(berth_create(runtime, spec, &handle, &err), &err, "create");
    return handle;
}

static struct berth_handle create(const char *script)
{
    return create_on(network, script);
}

static void start(const struct berth_handle *handle)
{
    struct berth_error err;
    need(berth_start(runtime, handle, &err), &err, "start");
}

static void force_remove(const struct berth_handle *handle)
{
    struct berth_remove_options options = {.size = sizeof options, .force = true, .volumes = true};
    struct berth_error err;
    need(berth_remove(runtime, handle, &options, &err), &err, "remove");
}

static void first_byte(const struct berth_handle *handle)
{
    struct berth_logs_options options = {.size = sizeof options, .follow = true};
    struct berth_stream *stream;
    struct berth_error err;
    char byte;
    need(berth_logs(runtime, handle, &options, &stream, &err), &err, "logs");
    if (read(berth_stream_fd(stream), &byte, 1) != 1)
        fprintf(stderr, "berth_bench: no output\n");
    berth_stream_free(stream);
}

static double time_start(void)
{
    double t = now();
    struct berth_handle handle = create(obedient);
    start(&handle);
    first_byte(&handle);
    t = now() - t;
    force_remove(&handle);
    return t;
}

/* Without reading the log: what the two verbs take until the program runs. */
static double time_start_only(void)
{
    double t = now();
    struct berth_handle handle = create(obedient);
    start(&handle);
    t = now() - t;
    force_remove(&handle);
    return t;
}

static double time_stop(void)
{
    struct berth_error err;
    struct berth_handle handle = create(obedient);
    start(&handle);
    first_byte(&handle);
    usleep(20000);
    double t = now();
    need(berth_stop(runtime, &handle, 5000, &err), &err, "stop");
    t = now() - t;
    force_remove(&handle);
    return t;
}

static double time_remove(void)
{
    struct berth_error err;
    struct berth_handle handle = create(obedient);
    start(&handle);
    first_byte(&handle);
    need(berth_stop(runtime, &handle, 0, &err), &err, "stop");
    double t = now();
    need(berth_remove(runtime, &handle, NULL, &err), &err, "remove");
    return now() - t;
}

static void need_resident(void)
{
    if (resident.name[0])
        return;
    resident = create(obedient);
    start(&resident);
}

static double time_exec(void)
{
    static const char *const argv[] = {"/bin/true", NULL};
    struct berth_exec_result *result;
    struct berth_error err;
    need_resident();
    double t = now();
    need(berth_exec(runtime, &resident, argv, NULL, &result, &err), &err, "exec");
    t = now() - t;
    berth_exec_result_free(result);
    return t;
}

static double time_status(void)
{
    struct berth_status *status;
    struct berth_error err;
    need_resident();
    double t = now();
    for (int i = 0; i < 1000; i++) {
        need(berth_status(runtime, &resident, &status, &err), &err, "status");
        berth_status_free(status);
    }
    return (now() - t) / 1000;
}

static double time_address(void)
{
    struct berth_port port = {.number = 80, .protocol = "tcp"};
    char address[BERTH_ADDRESS_TEXT];
    struct berth_error err;
    need_resident();
    double t = now();
    for (int i = 0; i < 1000; i++)
        need(berth_resolve_container_address(runtime, &resident, &port, NULL, address, &err), &err, "address");
    return (now() - t) / 1000;
}

static double time_stats(void)
{
    struct berth_stats stats = {.size = sizeof stats};
    struct berth_error err;
    need_resident();
    double t = now();
    for (int i = 0; i < 200; i++)
        need(berth_stats(runtime, &resident, &stats, &err), &err, "stats");
    return (now() - t) / 200;
}

/* `n` calls of one kind, all under way at once, until every one has finished. */
static void finish_all(struct berth_call **calls, int n, const char *what)
{
    struct berth_error err;
    struct pollfd fds[MANY];
    int left = n;
    while (left > 0) {
        int polled = 0;
        for (int i = 0; i < n; i++) {
            if (!calls[i])
                continue;
            int code = berth_call_finish(calls[i], NULL, &err);
            if (code == BERTH_AGAIN) {
                fds[polled++] = (struct pollfd){.fd = berth_call_fd(calls[i]), .events = POLLIN};
                continue;
            }
            need(code, &err, what);
            berth_call_free(calls[i]);
            calls[i] = NULL;
            left--;
        }
        if (polled)
            poll(fds, (nfds_t)polled, -1);
    }
}

static double time_fifty(void)
{
    struct berth_call *calls[MANY];
    struct berth_error err;
    double t = now();
    for (int i = 0; i < MANY; i++) {
        many[i] = create(obedient);
        need(berth_start_call(runtime, &many[i], &calls[i], &err), &err, "start");
    }
    finish_all(calls, MANY, "start");
    return now() - t;
}

static void fifty_remove(void)
{
    struct berth_remove_options options = {.size = sizeof options, .force = true};
    struct berth_call *calls[MANY];
    struct berth_error err;
    double t = now();
    for (int i = 0; i < MANY; i++)
        need(berth_remove_call(runtime, &many[i], &options, &calls[i], &err), &err, "remove");
    finish_all(calls, MANY, "remove");
    last_removal = now() - t;
}

static double pss_of(const char *pid)
{
    char path[300], line[256];
    double kb = 0;
    snprintf(path, sizeof path, "/proc/%s/smaps_rollup", pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "Pss: %lf", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb;
}

/* kB of every process whose program is one of berth's own beside this one. */
static double sum_pss(void)
{
    char link[300], target[PATH_MAX];
    double sum = 0;
    struct dirent *e;
    DIR *d = opendir("/proc");
    while (d && (e = readdir(d))) {
        snprintf(link, sizeof link, "/proc/%s/exe", e->d_name);
        ssize_t n = readlink(link, target, sizeof target - 1);
        if (n <= 0)
            continue;
        target[n] = 0;
        const char *base = strrchr(target, '/') ? strrchr(target, '/') + 1 : target;
        if (!strncmp(base, "berth-", 6))
            sum += pss_of(e->d_name);
    }
    if (d)
        closedir(d);
    return sum;
}

static double memory_per_workload(void)
{
    time_fifty();
    sleep(1);
    double kb = sum_pss() / MANY;
    fifty_remove();
    return kb;
}

/* MB/s of a program that writes to its standard output, start to end. */
static double log_write(const char *script)
{
    struct berth_status *status;
    struct berth_error err;
    struct berth_handle handle = create(script);
    double t = now();
    start(&handle);
    need(berth_wait(runtime, &handle, &status, &err), &err, "wait");
    t = now() - t;
    if (status->exit_code)
        fprintf(stderr, "berth_bench: writer ended with %d\n", status->exit_code);
    berth_status_free(status);
    force_remove(&handle);
    return LOG_BYTES / t;
}

static double log_read(void)
{
    struct berth_status *status;
    struct berth_stream *stream;
    struct berth_error err;
    static char buffer[1 << 20];
    struct berth_handle handle = create("dd if=/dev/zero bs=65536 count=3200 2>/dev/null");
    start(&handle);
    need(berth_wait(runtime, &handle, &status, &err), &err, "wait");
    berth_status_free(status);
    double t = now();
    need(berth_logs(runtime, &handle, NULL, &stream, &err), &err, "logs");
    uint64_t sum = 0;
    for (ssize_t n; (n = read(berth_stream_fd(stream), buffer, sizeof buffer)) > 0;)
        sum += (uint64_t)n;
    t = now() - t;
    berth_stream_free(stream);
    force_remove(&handle);
    return (double)sum / t;
}

static int compare(const void *a, const void *b)
{
    return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    return values[n / 2];
}

/* create, start, status, list: the median of the last ten, with `n` workloads there. */
static void flat(int n)
{
    double c[10], s[10], q[10], l[10];
    struct berth_status *status;
    struct berth_handle *handles;
    struct berth_error err;
    size_t listed;
    for (int i = 0; i < n; i++) {
        int k = i % 10;
        double t = now();
        many[i] = create_on(second && i % 2 ? second : network, obedient);
        c[k] = now() - t;
        t = now();
        start(&many[i]);
        s[k] = now() - t;
        t = now();
        need(berth_status(runtime, &many[i], &status, &err), &err, "status");
        q[k] = now() - t;
        berth_status_free(status);
        t = now();
        need(berth_list(runtime, &handles, &listed, &err), &err, "list");
        l[k] = (now() - t) / (double)listed;
        free(handles);
    }
    printf("%.1f %.1f %.2f %.2f\n", median(c, 10), median(s, 10), median(q, 10), median(l, 10));
    for (int i = 0; i < n; i++)
        force_remove(&many[i]);
}

static double time_removal(void)
{
    time_fifty();
    fifty_remove();
    return last_removal;
}

static double time_fifty_start(void)
{
    double t = time_fifty();
    fifty_remove();
    return t;
}

static double write_blocks(void)
{
    return log_write("dd if=/dev/zero bs=65536 count=16384 2>/dev/null");
}

static double write_lines(void)
{
    return log_write("yes 0123456789012345678901234567890123456789012345678901234567890123456789"
                     "01234567890123456789012345678 | head -c 1073741824");
}

static const struct {
    const char *word;
    double (*run)(void);
} steps[] = {
    {"start", time_start},          {"start-only", time_start_only}, {"exec", time_exec},
    {"stop", time_stop},            {"remove", time_remove},         {"status", time_status},
    {"stats", time_stats},          {"fifty", time_fifty_start},     {"fifty-remove", time_removal},
    {"memory", memory_per_workload},{"log-write", write_blocks},     {"log-lines", write_lines},
    {"log-read", log_read},         {"address", time_address},
};

int main(int argc, char **argv)
{
    struct berth_error err;
    char word[64];
    int n;
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: berth_bench IMAGE NETWORK [SECOND]   (words on standard input)\n");
        return 2;
    }
    image = argv[1];
    network = argv[2];
    second = argv[3];
    need(berth_open("container", NULL, &runtime, &err), &err, "open");
    while (scanf("%63s", word) == 1) {
        bool done = false;
        if (sscanf(word, "flat:%d", &n) == 1 && n >= 10 && n <= 1024) {
            flat(n);
            done = true;
        }
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
            if (!strcmp(word, steps[i].word)) {
                printf("%.2f\n", steps[i].run());
                done = true;
            }
        if (!done)
            puts("-");
        fflush(stdout);
    }
    if (resident.name[0])
        force_remove(&resident);
    berth_close(runtime);
    return 0;
}
