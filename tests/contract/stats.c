/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats: figures that move as the workload does, never zeros in their place.
 */
#include "contract.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct berth_stats stats_of(struct contract *c, const struct berth_handle *h)
{
    struct berth_stats s = {.size = sizeof(s)};
    ok(berth_stats(c->runtime, h, &s, ERR));
    return s;
}

static void timestamps_grow(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    struct berth_stats a = stats_of(c, &h);
    pause_msec(2);
    struct berth_stats b = stats_of(c, &h);
    check(b.time_usec > a.time_usec, "the clock stands still");
    check(llabs((long long)(b.time_usec - wall_usec())) < 5000000, "the time is not the machine's");
    check(b.cpu_usec >= a.cpu_usec, "cpu time went back");
}

static void stats_of_one_that_does_not_run_are_wrong_state(struct contract *c)
{
    struct berth_stats s = {.size = sizeof(s)};
    struct berth_handle h = create(c, "one", WAITS, NULL);
    fails_with(BERTH_WRONG_STATE, berth_stats(c->runtime, &h, &s, ERR));
    ok(berth_start(c->runtime, &h, ERR));
    ok(berth_stop(c->runtime, &h, 0, ERR));
    fails_with(BERTH_WRONG_STATE, berth_stats(c->runtime, &h, &s, ERR));
}

static void stats_of_a_paused_one_are_there(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", WAITS, NULL);
    ok(berth_pause(c->runtime, &h, ERR));
    check(stats_of(c, &h).time_usec > 0, "no figures");
    ok(berth_unpause(c->runtime, &h, ERR));
}

/** CPU time of a process as the kernel counts it, in microseconds. */
static long long kernel_cpu_usec(int pid)
{
    unsigned long user = 0, system = 0;
    char *path = print_text("/proc/%d/stat", pid), *text = read_file(path);
    char *rest = text ? strrchr(text, ')') : NULL;
    check(rest && sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                         &system) == 2,
          "%s: %s", path, text ? text : "gone");
    free(text);
    free(path);
    return (long long)(user + system) * 1000000 / sysconf(_SC_CLK_TCK);
}

static void cpu_time_is_the_programs(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", SHELL("echo ready; while :; do :; done"), NULL);
    struct berth_status *s = status_of(c, &h);
    struct berth_stats a = stats_of(c, &h);
    long long kernel_before = kernel_cpu_usec(s->pid);
    pause_msec(500);
    struct berth_stats b = stats_of(c, &h);
    long long kernel = kernel_cpu_usec(s->pid) - kernel_before,
              ours = (long long)(b.cpu_usec - a.cpu_usec);
    check(ours > 0 && llabs(ours - kernel) < 100000, "%lld us, the kernel says %lld", ours, kernel);
    check(ours < (b.time_usec - a.time_usec) * 12 / 10, "%lld us in %lld", ours,
          (long long)(b.time_usec - a.time_usec));
    berth_status_free(s);
}

static void cpu_time_stands_still_while_it_sleeps(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", SHELL("echo ready; sleep 1000"), NULL);
    pause_msec(50);
    struct berth_stats a = stats_of(c, &h);
    pause_msec(200);
    struct berth_stats b = stats_of(c, &h);
    check(b.cpu_usec - a.cpu_usec < 50000, "it used %llu us asleep",
          (unsigned long long)(b.cpu_usec - a.cpu_usec));
}

static void a_limit_of_half_a_core_holds(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", SHELL("echo ready; while :; do :; done"),
                                      "resources.cpu", "0.25", NULL);
    struct berth_stats a = stats_of(c, &h);
    pause_msec(800);
    struct berth_stats b = stats_of(c, &h);
    double share = (double)(b.cpu_usec - a.cpu_usec) / (double)(b.time_usec - a.time_usec);
    check(share > 0.01 && share < 0.45, "it used %.2f of a core", share);
    check(b.cpu_limit_cores > 0.24 && b.cpu_limit_cores < 0.26, "the limit is %f",
          b.cpu_limit_cores);
    for (int i = 0; b.cpu_throttled_usec == 0 && i < 40; i++) { /* not while others leave it less than that */
        pause_msec(250);
        b = stats_of(c, &h);
    }
    check(b.cpu_throttled_usec > 0, "it was not throttled");
}

static void memory_follows_100_megabytes_up_and_down(struct contract *c)
{
    const long long mega = 1000000;
    struct berth_handle h = run_ready(c, "one", SHELL("echo ready; while :; do sleep 100; done"),
                                      "resources.shm_size", "'200M'", NULL);
    long long before = (long long)stats_of(c, &h).memory_bytes;
    free(inside(c, &h, "head -c 100000000 /dev/zero > /dev/shm/x"));
    long long full = (long long)stats_of(c, &h).memory_bytes;
    free(inside(c, &h, "rm /dev/shm/x"));
    struct berth_stats last = stats_of(c, &h);
    check(full - before > 90 * mega && full - before < 130 * mega, "it grew by %lld",
          full - before);
    check((long long)last.memory_bytes - before < 20 * mega, "it kept %lld",
          (long long)last.memory_bytes - before);
    check(last.memory_peak_bytes == 0 || (long long)last.memory_peak_bytes >= 100 * mega,
          "the peak is %llu", (unsigned long long)last.memory_peak_bytes);
}

static void limits_and_counts_are_shown(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", SHELL("sleep 1000 & sleep 1000 & echo ready; wait"),
                                      "resources", "{'memory':'64Mi','pids':50}", NULL);
    struct berth_stats s = stats_of(c, &h);
    equal((long long)s.memory_limit_bytes, 64 << 20);
    equal((long long)s.pids_limit, 50);
    equal((long long)s.pids, 3);
}

static void network_counts_100_megabytes_sent(struct contract *c)
{
    char to[BERTH_ADDRESS_TEXT];
    const struct berth_port port = {9000, "tcp"};
    struct berth_handle sink = run_ready(c, "sink", SHELL("echo ready; sleep 1000 | nc -l -p 9000 >/dev/null"),
                                         "network", "'bridge'", NULL);
    struct berth_handle h = run_ready(c, "one", SHELL("echo ready; while :; do sleep 100; done"),
                                      "network", "'bridge'", NULL);
    equal(ok(berth_resolve_container_address(c->runtime, &sink, &port, NULL, to, ERR)), 1);
    to[strcspn(to, ":")] = '\0';
    char *send = print_text("head -c 100000000 /dev/zero | nc %s 9000", to);
    struct berth_stats a = stats_of(c, &h);
    free(inside(c, &h, send));
    struct berth_stats b = stats_of(c, &h), got = stats_of(c, &sink);
    check(b.has_net && b.net_tx_bytes - a.net_tx_bytes >= 100000000, "%llu bytes",
          (unsigned long long)(b.net_tx_bytes - a.net_tx_bytes));
    check(got.net_rx_bytes >= 100000000, "%llu bytes came", (unsigned long long)got.net_rx_bytes);
    free(send);
}

static const struct contract_case stats_cases[] = {
    CASE(timestamps_grow),
    CASE(stats_of_one_that_does_not_run_are_wrong_state),
    CASE(stats_of_a_paused_one_are_there),
    CASE_NEEDS(cpu_time_is_the_programs, NEEDS_PROGRAM),
    CASE_NEEDS(cpu_time_stands_still_while_it_sleeps, NEEDS_PROGRAM),
    CASE_NEEDS(a_limit_of_half_a_core_holds, NEEDS_PROGRAM),
    CASE_NEEDS(memory_follows_100_megabytes_up_and_down, NEEDS_PROGRAM),
    CASE_NEEDS(limits_and_counts_are_shown, NEEDS_PROGRAM),
    CASE_NEEDS(network_counts_100_megabytes_sent, NEEDS_PROGRAM),
};
GROUP(stats);
