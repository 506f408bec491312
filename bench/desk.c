/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the interface costs: a verb through the front desk beside the engine's own function.
 *
 * The engine does next to nothing, so that what is measured is the desk: arguments checked, the answer
 * checked, a call stepped. Both sides in turn, in short rounds; the median of the rounds' differences.
 * Ends with 1 when one of them is above BAR_NSEC.
 */
#include <berth/engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BAR_NSEC 50
#define ROUNDS 401
#define CALLS 2000

static int idle_open(const struct berth_options *o, void **ret_self, struct berth_error *err)
{
    return 0;
}

static void idle_close(void *self)
{
}

static int idle_create(void *self, const char *spec, struct berth_call **ret, struct berth_error *err)
{
    struct berth_result result = {.handle = {.runtime = "idle", .name = "one", .id = {1}}};
    return berth_call_done(0, &result, NULL, ret, err);
}

static int idle_verb(void *self, const struct berth_handle *h, struct berth_call **ret, struct berth_error *err)
{
    return berth_call_done(0, NULL, NULL, ret, err);
}

static int idle_stop(void *self, const struct berth_handle *h, int64_t timeout, struct berth_call **ret, struct berth_error *err)
{
    return berth_call_done(0, NULL, NULL, ret, err);
}

static int idle_remove(void *self, const struct berth_handle *h, const struct berth_remove_options *o, struct berth_call **ret,
                       struct berth_error *err)
{
    return berth_call_done(0, NULL, NULL, ret, err);
}

static int idle_status(void *self, const struct berth_handle *h, struct berth_status **ret, struct berth_error *err)
{
    struct berth_status *s = calloc(1, sizeof(*s));
    if (!s)
        return BERTH_NO_MEMORY;
    s->size = sizeof(*s);
    s->handle = *h;
    s->state = BERTH_RUNNING;
    s->json = strdup("{}");
    *ret = s;
    return 0;
}

static int idle_logs(void *self, const struct berth_handle *h, const struct berth_logs_options *o, struct berth_stream **ret,
                     struct berth_error *err)
{
    return berth_error_set(err, BERTH_UNSUPPORTED, NULL, "no");
}

static int idle_exec(void *self, const struct berth_handle *h, const char *const *argv, const struct berth_exec_options *o,
                     struct berth_call **ret, struct berth_error *err)
{
    return berth_error_set(err, BERTH_UNSUPPORTED, NULL, "no");
}

static int idle_stats(void *self, const struct berth_handle *h, struct berth_stats *ret, struct berth_error *err)
{
    ret->pids = 1;
    return 0;
}

static int idle_port(void *self, const struct berth_handle *h, const struct berth_port *port, struct berth_host_port *ret,
                     struct berth_error *err)
{
    ret->port = port->number;
    memcpy(ret->address, "127.0.0.1", 10);
    return 1;
}

static int idle_address(void *self, const struct berth_handle *h, const struct berth_port *port, const char *network,
                        char ret[BERTH_ADDRESS_TEXT], struct berth_error *err)
{
    memcpy(ret, "127.0.0.1:80", 13);
    return 1;
}

static int idle_pause(void *self, const struct berth_handle *h, struct berth_error *err)
{
    return 0;
}

static const struct berth_engine idle = {
    .size = sizeof(idle), .abi_version = BERTH_ABI_VERSION, .name = "idle", .open = idle_open, .close = idle_close,
    .create = idle_create, .start = idle_verb, .stop = idle_stop, .remove = idle_remove, .status = idle_status,
    .logs = idle_logs, .exec = idle_exec, .stats = idle_stats, .resolve_host_port = idle_port,
    .resolve_container_address = idle_address, .pause = idle_pause,
};

/* Through a pointer that the compiler cannot see through, as a caller with a table of his own would. */
static const struct berth_engine *volatile table = &idle;
static struct berth_runtime *runtime;
static const struct berth_handle handle = {.runtime = "idle", .name = "one", .id = {1}};
static const struct berth_port port = {.number = 80, .protocol = "tcp"};
static struct berth_error err;

static void pause_desk(void) { berth_pause(runtime, &handle, &err); }
static void pause_engine(void) { table->pause(NULL, &handle, &err); }

static void status_desk(void)
{
    struct berth_status *s = NULL;
    berth_status(runtime, &handle, &s, &err);
    berth_status_free(s);
}

static void status_engine(void)
{
    struct berth_status *s = NULL;
    table->status(NULL, &handle, &s, &err);
    berth_status_free(s);
}

static void stats_desk(void)
{
    struct berth_stats s = {.size = sizeof(s)};
    berth_stats(runtime, &handle, &s, &err);
}

static void stats_engine(void)
{
    struct berth_stats s = {.size = sizeof(s)};
    table->stats(NULL, &handle, &s, &err);
}

static void port_desk(void)
{
    struct berth_host_port found = {0};
    berth_resolve_host_port(runtime, &handle, &port, &found, &err);
}

static void port_engine(void)
{
    struct berth_host_port found = {0};
    table->resolve_host_port(NULL, &handle, &port, &found, &err);
}

static void address_desk(void)
{
    char text[BERTH_ADDRESS_TEXT];
    berth_resolve_container_address(runtime, &handle, &port, NULL, text, &err);
}

static void address_engine(void)
{
    char text[BERTH_ADDRESS_TEXT];
    table->resolve_container_address(NULL, &handle, &port, NULL, text, &err);
}

static void stop_desk(void) { berth_stop(runtime, &handle, 0, &err); }

static void stop_engine(void)
{
    struct berth_call *call = NULL;
    table->stop(NULL, &handle, 0, &call, &err);
    berth_call_finish(call, NULL, &err);
    berth_call_free(call);
}

static void create_desk(void)
{
    struct berth_handle h;
    berth_create(runtime, "{}", &h, &err);
}

static void create_engine(void)
{
    struct berth_call *call = NULL;
    struct berth_result result;
    table->create(NULL, "{}", &call, &err);
    berth_call_finish(call, &result, &err);
    berth_call_free(call);
}

static double nsec_of(void (*run)(void))
{
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < CALLS; i++)
        run();
    clock_gettime(CLOCK_MONOTONIC, &b);
    return ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / CALLS;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *list)
{
    qsort(list, ROUNDS, sizeof(*list), ascending);
    return list[ROUNDS / 2];
}

static const struct {
    const char *name;
    void (*desk)(void), (*engine)(void);
} verbs[] = {
    {"pause", pause_desk, pause_engine}, {"status", status_desk, status_engine}, {"stats", stats_desk, stats_engine},
    {"resolve_host_port", port_desk, port_engine}, {"resolve_container_address", address_desk, address_engine},
    {"stop (a call)", stop_desk, stop_engine}, {"create (a call)", create_desk, create_engine},
};

int main(void)
{
    static double engine[ROUNDS], more[ROUNDS];
    int above = 0;
    if (berth_register(&idle, &err) < 0 || berth_open("idle", NULL, &runtime, &err) < 0) {
        fprintf(stderr, "desk: %s\n", err.message);
        return 2;
    }
    printf("%-26s %10s %14s   (ns a call, median of %d rounds of %d)\n", "verb", "engine", "the desk adds", ROUNDS, CALLS);
    for (size_t v = 0; v < sizeof(verbs) / sizeof(verbs[0]); v++) {
        nsec_of(verbs[v].desk);
        for (int i = 0; i < ROUNDS; i++) {
            engine[i] = nsec_of(verbs[v].engine);
            more[i] = nsec_of(verbs[v].desk) - engine[i];
        }
        double added = median(more);
        above += added > BAR_NSEC;
        printf("%-26s %10.1f %14.1f%s\n", verbs[v].name, median(engine), added, added > BAR_NSEC ? "  above the bar" : "");
    }
    berth_close(runtime);
    printf("%d of %zu above %d ns\n", above, sizeof(verbs) / sizeof(verbs[0]), BAR_NSEC);
    return above > 0;
}
