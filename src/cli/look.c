/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verbs that only look: status, logs, stats, ports, lists, events.
 */
#include "cli.h"
#include <berth/container.h>
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

/* The JSON of a status, which carries more than the struct; made from the struct where there is none. */
static json_t *status_json(const struct berth_status *status)
{
    char id[BERTH_ID_TEXT];
    json_t *json = status->json ? json_loads(status->json, 0, NULL) : NULL;
    if (json)
        return json;
    berth_id_print(status->handle.id, id);
    return json_pack("{s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:s}", "name", status->handle.name, "id", id, "runtime",
                     status->handle.runtime, "state", berth_state_name(status->state), "pid", status->pid,
                     "exit_code", status->exit_code, "reason", status->reason, "image", status->image);
}

/* ---- status -------------------------------------------------------------------------------------- */

static bool is_alive(int state)
{
    return state == BERTH_RUNNING || state == BERTH_PAUSED || state == BERTH_STOPPING || state == BERTH_RESTARTING;
}

static const char *state_colour(int state)
{
    if (state == BERTH_FAILED)
        return colour("red");
    if (state == BERTH_RUNNING)
        return colour("green");
    return state == BERTH_RESTARTING || state == BERTH_PAUSED || state == BERTH_STOPPING ? colour("yellow") : "";
}

static void print_reason(FILE *out, const struct berth_status *s)
{
    static const char *const ooms[] = {[BERTH_OOM_MAIN] = "the main program", [BERTH_OOM_CHILD] = "a child program"};
    char limit[SHORT_TEXT], peak[SHORT_TEXT];
    autofree char *reason = text_plain(s->reason);
    bool oom = s->oom == BERTH_OOM_MAIN || s->oom == BERTH_OOM_CHILD;
    if (oom && !strstr(reason, "out of memory"))
        fprintf(out, ": out of memory in %s", ooms[s->oom]);
    else if (*reason)
        fprintf(out, ": %s", reason);
    if (oom && s->memory_limit_bytes && !strstr(reason, "limit"))
        fprintf(out, " (limit %s, peak %s)", human_size(s->memory_limit_bytes, limit), human_size(s->memory_peak_bytes, peak));
}

/* `web failed: out of memory ..., exit 137, ran 2h 4m, ended 3 minutes ago; restarts 4, next in 8s` */
static void print_sentence(FILE *out, const struct berth_status *s)
{
    char text[SHORT_TEXT];
    bool ended = s->ended_usec && !(s->state == BERTH_RUNNING || s->state == BERTH_PAUSED || s->state == BERTH_STOPPING);
    fprintf(out, "%s %s%s%s", s->handle.name, state_colour(s->state), berth_state_name(s->state), colour("off"));
    print_reason(out, s);
    if (ended) {
        autofree char *code = text_new("exit code %d", s->exit_code);
        if (s->exit_code >= 0 && strcmp(s->reason, code)) /* not what was just said */
            fprintf(out, ", exit %d", s->exit_code);
        if (s->started_usec && s->ended_usec >= s->started_usec)
            fprintf(out, ", ran %s", human_span(s->ended_usec - s->started_usec, text));
        fprintf(out, ", ended %s", human_when(s->ended_usec, text));
    } else if (s->started_usec && is_alive(s->state) && !s->idle) {
        fprintf(out, ", up %s", human_span(clock_usec() - s->started_usec, text));
        if (s->pid)
            fprintf(out, ", pid %d", s->pid);
    } else {
        fprintf(out, ", made %s", human_when(s->created_usec, text));
    }
    if (s->restarts)
        fprintf(out, "; restarts %u", s->restarts);
    if (s->next_start_usec)
        fprintf(out, "%s next in %s", s->restarts ? "," : ";", human_span(s->next_start_usec - clock_usec(), text));
    fputc('\n', out);
}

static void print_health(const struct berth_status *s, json_t *json)
{
    json_t *log = json_find(json, "health_log"), *last;
    if (s->health == BERTH_HEALTH_NONE)
        return;
    printf("health: %s", berth_health_name(s->health));
    if (s->health_failures)
        printf(", %u failures in a row", s->health_failures);
    last = json_array_get(log, json_array_size(log) ? json_array_size(log) - 1 : 0);
    if (last) {
        autofree char *written = text_copy(json_text(last, "output"));
        for (size_t n = strlen(written); n && written[n - 1] == '\n'; n--)
            written[n - 1] = '\0';
        autofree char *output = text_plain(written);
        printf("; last check: exit %lld%s%s", (long long)json_number(last, "exit_code"), *output ? ", " : "", output);
    }
    putchar('\n');
}

/* "127.0.0.1:8080->80/tcp" of one entry of ports. */
static char *port_text(json_t *port)
{
    if (json_is_string(port))
        return text_copy(json_string_value(port));
    const char *protocol = json_text(port, "protocol"), *address = json_text(port, "host_address");
    if (!json_number(port, "host"))
        return text_new("%lld/%s", (long long)json_number(port, "container"), *protocol ? protocol : "tcp");
    return text_new("%s:%lld->%lld/%s", *address ? address : "127.0.0.1", (long long)json_number(port, "host"),
                    (long long)json_number(port, "container"), *protocol ? protocol : "tcp");
}

static char *ports_text(json_t *json)
{
    char *text = text_copy("");
    size_t i;
    json_t *each;
    json_array_foreach(json_find(json, "ports"), i, each)
    {
        autofree char *port = port_text(each), *old = text;
        text = text_new("%s%s%s", old, *old ? ", " : "", port);
    }
    return text;
}

static void print_addresses(json_t *json)
{
    const char *network;
    json_t *address, *all = json_find(json, "addresses");
    if (json_is_object(all))
        json_object_foreach(all, network, address)
            printf("address: %s on %s\n", json_is_string(address) ? json_string_value(address) : "", network);
}

/* What a program wrote may steer a terminal; whoever asks for a status wants to read it. */
static void print_bytes(const char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if ((c < 0x20 && !strchr("\n\t\r", c)) || c == 0x7f || !c)
            printf("\\x%02x", c);
        else if (c != '\r')
            putchar(c);
    }
}

static void print_tail(struct cli *cli, struct berth_runtime *runtime, const struct berth_handle *handle, uint64_t lines)
{
    struct berth_logs_options options = {.size = sizeof(options), .has_tail = true, .tail = lines, .timestamps = true};
    struct berth_stream *stream;
    char buffer[8192];
    ssize_t n;
    if (!lines || berth_logs(runtime, handle, &options, &stream, NULL) < 0)
        return;
    int last = EOF; /* of all bytes that came */
    while (!cli_deadline_passed(cli) && (n = read(berth_stream_fd(stream), buffer, sizeof(buffer))) > 0) {
        if (last == EOF)
            puts("last lines of the log:");
        print_bytes(buffer, (size_t)n);
        last = buffer[n - 1];
    }
    if (last != EOF && last != '\n')
        putchar('\n');
    berth_stream_free(stream);
}

static void print_status(struct cli *cli, struct berth_runtime *runtime, const struct berth_status *s, json_t *json, uint64_t lines)
{
    char text[SHORT_TEXT];
    autofree char *ports = ports_text(json);
    print_sentence(stdout, s);
    print_health(s, json);
    if (*ports)
        printf("ports: %s\n", ports);
    print_addresses(json);
    if (s->log_dropped_lines || s->log_dropped_bytes)
        printf("log: %llu lines (%s) were lost because the disk was full\n", (unsigned long long)s->log_dropped_lines,
               human_size(s->log_dropped_bytes, text));
    print_tail(cli, runtime, &s->handle, lines);
}

static int status_one(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                      const struct berth_handle *handle, const char *name)
{
    const char *format = arg_text(args, "format"), *lines = arg_text(args, "lines");
    autostatus struct berth_status *status = NULL;
    struct berth_error err;
    int64_t n = 10;
    if (lines && parse_integer(lines, 0, INT64_MAX, &n) < 0)
        return cli_usage(cli, "--lines: \"%s\" is no number", lines);
    if (berth_status(runtime, handle, &status, &err) < 0)
        return cli_fail(cli, name, &err);
    if (cli->json && !format && status->json) {
        puts(status->json);
        return EXIT_DONE;
    }
    autojson json_t *json = status_json(status);
    int r = format ? template_fields(cli, format, json) : 0;
    if (r)
        return r;
    if (format)
        template_print(format, json);
    else if (cli->json)
        json_line(json);
    else
        print_status(cli, runtime, status, json, (uint64_t)n);
    return EXIT_DONE;
}

int verb_status(struct cli *cli, const struct args *args)
{
    const char *format = arg_text(args, "format");
    int r = format ? template_check(cli, format) : 0;
    if (r)
        return r;
    if (format)
        template_title(format);
    return cli_each(cli, args, status_one);
}

/* ---- logs ---------------------------------------------------------------------------------------- */

static int log_time(struct cli *cli, const struct args *args, const char *flag, int64_t *ret_usec)
{
    const char *text = arg_text(args, flag);
    if (text && parse_time(text, ret_usec) < 0)
        return cli_usage(cli, "--%s: \"%s\" is no time (10m, 2026-11-24T10:00:00Z)", flag, text);
    return 0;
}

static int logs_options(struct cli *cli, const struct args *args, struct berth_logs_options *o)
{
    const char *tail = arg_text(args, "tail");
    int64_t lines;
    *o = (struct berth_logs_options){.size = sizeof(*o), .follow = arg_true(args, "follow"), .frames = true};
    o->streams = (arg_true(args, "stdout") ? BERTH_STDOUT : 0) | (arg_true(args, "stderr") ? BERTH_STDERR : 0);
    if (tail && strcmp(tail, "all") && strcmp(tail, "-1")) {
        if (parse_integer(tail, 0, INT64_MAX, &lines) < 0)
            return cli_usage(cli, "--tail: \"%s\" is neither a number nor all", tail);
        o->has_tail = true;
        o->tail = (uint64_t)lines;
    }
    int r = log_time(cli, args, "since", &o->since_usec);
    return r ? r : log_time(cli, args, "until", &o->until_usec);
}

/* Nothing is an answer, but not why; a daemon says itself that it keeps none. */
static void note_no_log(struct cli *cli, struct berth_runtime *runtime, const struct berth_handle *handle)
{
    autofree char *text = NULL;
    if (strcmp(handle->runtime, "docker") == 0)
        return;
    struct berth_error err;
    autojson json_t *inspect = berth_inspect(runtime, handle, &text, &err) == 0 ? json_loads(text, 0, NULL) : NULL;
    if (strcmp(json_text(inspect, "spec.log.driver"), "none") == 0)
        cli_note(cli, "%s keeps no log: its log driver is none", handle->name);
}

static int logs_one(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                    const struct berth_handle *handle, const char *name)
{
    struct berth_logs_options options;
    struct berth_stream *stream;
    struct berth_error err;
    struct frames frames = {.timestamps = arg_true(args, "timestamps"), .json = cli->json};
    int r = logs_options(cli, args, &options);
    if (r)
        return r;
    if (berth_logs(runtime, handle, &options, &stream, &err) < 0)
        return cli_fail(cli, name, &err);
    signal(SIGPIPE, SIG_IGN);
    r = frames_read_all(cli, &frames, berth_stream_fd(stream));
    if (r == 0 && !frames.any)
        note_no_log(cli, runtime, handle);
    berth_stream_free(stream);
    frames_free(&frames);
    if (r == -EPIPE)
        end_by_pipe();
    if (r == -ETIMEDOUT)
        return cli_fail_code(cli, name, BERTH_TIMED_OUT, "the --deadline passed");
    return r < 0 ? cli_fail_code(cli, name, BERTH_IO, "%s", strerror(-r)) : EXIT_DONE;
}

int verb_logs(struct cli *cli, const struct args *args)
{
    return cli_each(cli, args, logs_one);
}

/* ---- stats --------------------------------------------------------------------------------------- */

struct reading {
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_stats now, before;
    bool has_before;
    int code;
    struct berth_error err;
};

struct readings {
    struct reading *items;
    size_t n;
};

static void add_reading(struct readings *all, struct berth_runtime *runtime, const struct berth_handle *handle)
{
    all->items = memory_grow(all->items, (all->n + 1) * sizeof(*all->items));
    all->items[all->n++] = (struct reading){.runtime = runtime, .handle = *handle};
}

/* Percent of one core between two readings. */
static double cpu_percent(const struct reading *r)
{
    int64_t wall = r->now.time_usec - r->before.time_usec;
    return !r->has_before || wall <= 0 || r->now.cpu_usec < r->before.cpu_usec
               ? 0
               : 100.0 * (double)(r->now.cpu_usec - r->before.cpu_usec) / (double)wall;
}

static json_t *wasm_json(const struct berth_stats *s)
{
    const struct { const char *name; uint64_t value; } counters[] = {
        {"instances", s->wasm_instances}, {"instantiations", s->wasm_instantiations}, {"requests", s->wasm_requests},
        {"active", s->wasm_active}, {"waiting", s->wasm_waiting}, {"traps", s->wasm_traps}, {"timeouts", s->wasm_timeouts},
        {"memory_outs", s->wasm_memory_outs}, {"rejected", s->wasm_rejected}, {"cancelled", s->wasm_cancelled},
        {"bad_requests", s->wasm_bad_requests}, {"memory_bytes", s->wasm_memory_bytes},
        {"memory_peak_bytes", s->wasm_memory_peak_bytes}, {"cpu_usec", s->wasm_cpu_usec}, {"pool", s->wasm_pool},
        {"connections", s->wasm_connections}};
    json_t *json = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(counters); i++) /* not trusted: a worker that was broken out of wrote them */
        json_object_set_new(json, counters[i].name, json_integer((json_int_t)(counters[i].value & INT64_MAX)));
    return json;
}

static json_t *stats_json(const struct reading *r)
{
    const struct berth_stats *s = &r->now;
    char id[BERTH_ID_TEXT], when[SHORT_TEXT];
    berth_id_print(r->handle.id, id);
    json_t *json = json_pack("{s:s, s:s, s:s, s:f}", "name", r->handle.name, "id", id, "time", time_text(s->time_usec, when),
                             "cpu_percent", (double)(int64_t)(cpu_percent(r) * 100 + 0.5) / 100);
    const struct {
        const char *name;
        uint64_t value;
        bool has;
    } counters[] = {{"cpu_usec", s->cpu_usec, true}, {"cpu_user_usec", s->cpu_user_usec, true},
                    {"cpu_system_usec", s->cpu_system_usec, true}, {"cpu_throttled_usec", s->cpu_throttled_usec, true},
                    {"memory_bytes", s->memory_bytes, true}, {"memory_cache_bytes", s->memory_cache_bytes, true},
                    {"memory_limit_bytes", s->memory_limit_bytes, true}, {"memory_peak_bytes", s->memory_peak_bytes, true},
                    {"memory_swap_bytes", s->memory_swap_bytes, true}, {"pids", s->pids, true}, {"pids_limit", s->pids_limit, true},
                    {"net_rx_bytes", s->net_rx_bytes, s->has_net}, {"net_tx_bytes", s->net_tx_bytes, s->has_net},
                    {"net_rx_packets", s->net_rx_packets, s->has_net}, {"net_tx_packets", s->net_tx_packets, s->has_net},
                    {"io_read_bytes", s->io_read_bytes, s->has_io}, {"io_write_bytes", s->io_write_bytes, s->has_io},
                    {"io_read_ops", s->io_read_ops, s->has_io}, {"io_write_ops", s->io_write_ops, s->has_io}};
    const struct {
        const char *name;
        double value;
        bool has;
    } figures[] = {{"cpu_limit_cores", s->cpu_limit_cores, true},
                   {"psi_cpu_some_avg10", s->psi_cpu_some_avg10, s->has_psi},
                   {"psi_memory_some_avg10", s->psi_memory_some_avg10, s->has_psi},
                   {"psi_memory_full_avg10", s->psi_memory_full_avg10, s->has_psi},
                   {"psi_io_some_avg10", s->psi_io_some_avg10, s->has_psi}, {"psi_io_full_avg10", s->psi_io_full_avg10, s->has_psi}};
    for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
        if (counters[i].has)
            json_object_set_new(json, counters[i].name, json_integer((json_int_t)counters[i].value));
    for (size_t i = 0; i < ARRAY_SIZE(figures); i++)
        if (figures[i].has)
            json_object_set_new(json, figures[i].name, json_real(figures[i].value));
    if (s->has_wasm)
        json_object_set_new(json, "wasm", wasm_json(s));
    return json;
}

static void stats_row(struct table *table, const struct reading *r)
{
    const struct berth_stats *s = &r->now;
    char a[SHORT_TEXT], b[SHORT_TEXT];
    autofree char *cpu = text_new("%.1f%%", cpu_percent(r));
    autofree char *memory = s->memory_limit_bytes
                                ? text_new("%s / %s", human_size(s->memory_bytes, a), human_size(s->memory_limit_bytes, b))
                                : text_copy(human_size(s->memory_bytes, a));
    autofree char *share = s->memory_limit_bytes
                               ? text_new("%.1f%%", 100.0 * (double)s->memory_bytes / (double)s->memory_limit_bytes)
                               : text_copy("-");
    autofree char *net = s->has_net ? text_new("%s / %s", human_size(s->net_rx_bytes, a), human_size(s->net_tx_bytes, b)) : text_copy("-");
    autofree char *io = s->has_io ? text_new("%s / %s", human_size(s->io_read_bytes, a), human_size(s->io_write_bytes, b)) : text_copy("-");
    autofree char *pids = text_new("%llu", (unsigned long long)s->pids);
    table_row(table, r->handle.name, cpu, memory, share, net, io, pids);
}

static int print_stats(struct cli *cli, const struct args *args, const struct readings *all)
{
    static const char *const titles[] = {"NAME", "CPU", "MEMORY / LIMIT", "MEM", "NET IN / OUT", "READ / WRITTEN", "PIDS"};
    struct table table = {.titles = titles, .n_columns = ARRAY_SIZE(titles), .flexible = 1, .no_trunc = arg_true(args, "no-trunc")};
    const char *format = arg_text(args, "format");
    for (size_t i = 0; i < all->n; i++) {
        const struct reading *r = &all->items[i];
        if (r->code < 0)
            continue;
        if (format || cli->json) {
            autojson json_t *json = stats_json(r);
            int refused = format ? template_fields(cli, format, json) : 0;
            if (refused)
                return refused;
            if (format)
                template_print(format, json);
            else
                json_line(json);
        } else {
            stats_row(&table, r);
        }
    }
    if (!format && !cli->json)
        table_print(&table);
    fflush(stdout);
    return 0;
}

static void take_readings(struct readings *all)
{
    for (size_t i = 0; i < all->n; i++) {
        struct reading *r = &all->items[i];
        r->has_before = r->now.time_usec != 0;
        r->before = r->now;
        r->now = (struct berth_stats){.size = sizeof(r->now)};
        r->code = berth_stats(r->runtime, &r->handle, &r->now, &r->err);
    }
}

static int collect_running(struct cli *cli, struct readings *all)
{
    const char *const *engines = berth_engines();
    struct berth_runtime *runtime;
    struct berth_error err;
    for (size_t i = 0; engines[i]; i++) {
        struct berth_handle *handles = NULL;
        size_t n = 0;
        int r = cli_runtime(cli, engines[i], &runtime, &err);
        if (r == 0)
            r = berth_list(runtime, &handles, &n, &err);
        if (r < 0 && r != BERTH_UNSUPPORTED)
            return cli_fail(cli, NULL, &err);
        for (size_t h = 0; h < n; h++) {
            autostatus struct berth_status *status = NULL;
            if (berth_status(runtime, &handles[h], &status, NULL) == 0 &&
                (status->state == BERTH_RUNNING || status->state == BERTH_PAUSED))
                add_reading(all, runtime, &handles[h]);
        }
        free(handles);
    }
    return 0;
}

static int collect_named(struct cli *cli, const struct args *args, struct readings *all)
{
    int result = 0;
    for (int i = 0; i < args->n_words; i++) {
        struct berth_runtime *runtime;
        struct berth_handle handle;
        struct berth_error err;
        if (cli_find(cli, args->words[i], &runtime, &handle, &err) < 0)
            result = cli_fail(cli, args->words[i], &err);
        else
            add_reading(all, runtime, &handle);
    }
    return result;
}

/* CPU is a share between two readings, so there must be time between them. */
static void pause_between(struct cli *cli, int msec)
{
    int left = cli_remaining_msec(cli);
    struct pollfd interrupt = {.fd = cli_interrupt_fd(), .events = POLLIN};
    poll(&interrupt, 1, left >= 0 && left < msec ? left : msec);
}

static int report_failures(struct cli *cli, const struct readings *all)
{
    int result = 0;
    for (size_t i = 0; i < all->n; i++)
        if (all->items[i].code < 0)
            result = cli_fail(cli, all->items[i].handle.name, &all->items[i].err);
    return result;
}

static int stats_live(struct cli *cli, const struct args *args, struct readings *all)
{
    while (!cli_interrupted() && !cli_deadline_passed(cli)) {
        if (args->n_words == 0) {
            struct readings fresh = {0};
            int r = collect_running(cli, &fresh);
            for (size_t i = 0; i < fresh.n; i++)
                for (size_t k = 0; k < all->n; k++)
                    if (memcmp(fresh.items[i].handle.id, all->items[k].handle.id, 16) == 0)
                        fresh.items[i].now = all->items[k].now;
            free(all->items);
            *all = fresh;
            if (r)
                return r;
        }
        take_readings(all);
        size_t alive = 0;
        for (size_t i = 0; i < all->n; i++)
            alive += all->items[i].code == 0;
        if (args->n_words && !alive)
            return report_failures(cli, all);
        if (out_is_terminal() && !cli->json)
            fputs("\033[H\033[J", stdout);
        int refused = print_stats(cli, args, all);
        if (refused || ferror(stdout))
            return refused ? refused : EXIT_FAILED;
        pause_between(cli, 1000);
    }
    return cli_deadline_passed(cli) ? EXIT_DEADLINE : EXIT_DONE;
}

int verb_stats(struct cli *cli, const struct args *args)
{
    struct readings all = {0};
    const char *format = arg_text(args, "format");
    int r = format ? template_check(cli, format) : 0;
    if (r)
        return r;
    r = args->n_words ? collect_named(cli, args, &all) : collect_running(cli, &all);
    if (r && !all.n) {
        free(all.items);
        return r;
    }
    take_readings(&all);
    if (format)
        template_title(format);
    int failed = args->n_words ? report_failures(cli, &all) : 0; /* of all, one that has just ended is none */
    size_t good = 0;
    for (size_t i = 0; i < all.n; i++)
        good += all.items[i].code == 0;
    if (args->n_words && !good) {
        r = r ? r : failed;
    } else if (arg_true(args, "no-stream")) {
        pause_between(cli, good ? 250 : 0);
        take_readings(&all);
        int refused = print_stats(cli, args, &all);
        r = r ? r : failed ? failed : refused;
    } else {
        pause_between(cli, 250);
        int live = stats_live(cli, args, &all);
        r = r ? r : failed ? failed : live;
    }
    free(all.items);
    return r;
}

/* ---- ports and addresses ------------------------------------------------------------------------- */

/* "80", "80/tcp", "53/udp" */
static int parse_port(struct cli *cli, const char *text, struct berth_port *ret_port)
{
    size_t n = strcspn(text, "/");
    autofree char *number = strndup(text, n);
    int64_t port;
    const char *protocol = text[n] ? text + n + 1 : "tcp";
    if (!number || parse_integer(number, 1, 65535, &port) < 0 || (strcmp(protocol, "tcp") && strcmp(protocol, "udp")))
        return cli_usage(cli, "\"%s\" is no port (80, 53/udp)", text);
    *ret_port = (struct berth_port){.number = (uint16_t)port};
    snprintf(ret_port->protocol, sizeof(ret_port->protocol), "%s", protocol);
    return 0;
}

static void print_host_port(struct cli *cli, const struct berth_port *port, const struct berth_host_port *host, bool all)
{
    bool six = strchr(host->address, ':') != NULL;
    autofree char *where = text_new("%s%s%s:%u", six ? "[" : "", host->address, six ? "]" : "", host->port);
    const char *protocol = port->protocol[0] ? port->protocol : "tcp";
    if (cli->json) {
        autojson json_t *json = json_pack("{s:i, s:s, s:s, s:i}", "container", port->number, "protocol", protocol,
                                          "host_address", host->address, "host", host->port);
        json_line(json);
    } else if (all) {
        printf("%u/%s -> %s\n", port->number, protocol, where);
    } else {
        puts(where);
    }
}

/* All ports that its status or its spec knows of. */
static int list_ports(struct cli *cli, struct berth_runtime *runtime, const struct berth_handle *handle)
{
    autostatus struct berth_status *status = NULL;
    struct berth_error err;
    bool any = false;
    if (berth_status(runtime, handle, &status, &err) < 0)
        return cli_fail(cli, handle->name, &err);
    autojson json_t *json = status_json(status);
    size_t i;
    json_t *each;
    json_array_foreach(json_find(json, "ports"), i, each)
    {
        struct berth_port port = {.number = (uint16_t)json_number(each, "container")};
        struct berth_host_port host;
        snprintf(port.protocol, sizeof(port.protocol), "%s", json_text(each, "protocol"));
        if (port.number && berth_resolve_host_port(runtime, handle, &port, &host, NULL) == 1) {
            if (json_number(each, "host")) { /* one of several for that port; resolve tells the first */
                host.port = (uint16_t)json_number(each, "host");
                snprintf(host.address, sizeof(host.address), "%s", json_text(each, "host_address"));
            }
            print_host_port(cli, &port, &host, true);
            any = true;
        }
    }
    return any ? EXIT_DONE : EXIT_NONE;
}

int verb_port(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_port port;
    struct berth_host_port host;
    struct berth_error err;
    int r = args->n_words > 1 ? parse_port(cli, args->words[1], &port) : 0;
    if (r)
        return r;
    r = cli_find(cli, args->words[0], &runtime, &handle, &err);
    if (r == 0 && args->n_words == 1)
        return list_ports(cli, runtime, &handle);
    if (r == 0)
        r = berth_resolve_host_port(runtime, &handle, &port, &host, &err);
    if (r < 0)
        return cli_fail(cli, args->words[0], &err);
    if (r == 0)
        return EXIT_NONE;
    print_host_port(cli, &port, &host, false);
    return EXIT_DONE;
}

static int list_addresses(struct cli *cli, struct berth_runtime *runtime, const struct berth_handle *handle, const char *wanted)
{
    autostatus struct berth_status *status = NULL;
    struct berth_error err;
    const char *network;
    json_t *address;
    bool any = false;
    if (berth_status(runtime, handle, &status, &err) < 0)
        return cli_fail(cli, handle->name, &err);
    autojson json_t *json = status_json(status);
    json_t *all = json_find(json, "addresses");
    if (json_is_object(all))
        json_object_foreach(all, network, address)
        {
            if (!json_is_string(address) || (wanted && strcmp(wanted, network)))
                continue;
            any = true;
            autojson json_t *line = json_pack("{s:s, s:O}", "network", network, "address", address);
            if (cli->json)
                json_line(line);
            else
                printf("%s\n", json_string_value(address));
        }
    return any ? EXIT_DONE : EXIT_NONE;
}

int verb_address(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_port port;
    struct berth_error err;
    char address[BERTH_ADDRESS_TEXT];
    int r = args->n_words > 1 ? parse_port(cli, args->words[1], &port) : 0;
    if (r)
        return r;
    r = cli_find(cli, args->words[0], &runtime, &handle, &err);
    if (r == 0 && args->n_words == 1)
        return list_addresses(cli, runtime, &handle, arg_text(args, "network"));
    if (r == 0)
        r = berth_resolve_container_address(runtime, &handle, &port, arg_text(args, "network"), address, &err);
    if (r < 0)
        return cli_fail(cli, args->words[0], &err);
    if (r == 0)
        return EXIT_NONE;
    autojson json_t *json = json_pack("{s:s}", "address", address);
    if (cli->json)
        json_line(json);
    else
        puts(address);
    return EXIT_DONE;
}

int verb_engines(struct cli *cli, const struct args *args)
{
    (void)args;
    for (const char *const *name = berth_engines(); *name; name++) {
        autojson json_t *json = json_pack("{s:s}", "name", *name);
        if (cli->json)
            json_line(json);
        else
            puts(*name);
    }
    return EXIT_DONE;
}

/* ---- ps ------------------------------------------------------------------------------------------ */

static const char *const filter_names[] = {"status", "state", "name", "id", "label", "health", "exited", "ancestor", "image", "runtime"};

bool label_matches(json_t *json, const char *wanted)
{
    size_t n = strcspn(wanted, "=");
    autofree char *name = strndup(wanted, n);
    json_t *value = name ? json_object_get(json_object_get(json, "labels"), name) : NULL;
    return value && (!wanted[n] || (json_is_string(value) && strcmp(json_string_value(value), wanted + n + 1) == 0));
}

static bool image_matches(const char *image, const char *wanted)
{
    size_t n = strlen(wanted);
    return strncmp(image, wanted, n) == 0 && (!image[n] || image[n] == ':' || image[n] == '@');
}

/* docker's word for all that have ended, however that was. */
static bool state_matches(int state, const char *wanted)
{
    bool ended = state == BERTH_STOPPED || state == BERTH_COMPLETED || state == BERTH_FAILED;
    return strcmp(wanted, "exited") == 0 ? ended : strcmp(berth_state_name(state), wanted) == 0;
}

static bool filter_matches(const struct berth_status *s, json_t *json, const char *name, const char *value)
{
    char id[BERTH_ID_TEXT];
    int64_t code;
    berth_id_print(s->handle.id, id);
    if (strcmp(name, "status") == 0 || strcmp(name, "state") == 0)
        return state_matches(s->state, value);
    if (strcmp(name, "name") == 0)
        return strstr(s->handle.name, value) != NULL;
    if (strcmp(name, "id") == 0)
        return starts_with(id, value);
    if (strcmp(name, "label") == 0)
        return label_matches(json, value);
    if (strcmp(name, "health") == 0)
        return strcmp(berth_health_name(s->health), value) == 0;
    if (strcmp(name, "exited") == 0)
        return s->exit_code >= 0 && parse_integer(value, 0, 255, &code) == 0 && code == s->exit_code;
    if (strcmp(name, "runtime") == 0)
        return strcmp(s->handle.runtime, value) == 0;
    return image_matches(s->image, value);
}

/* Filters of one name are alternatives, those of different names must all hold; labels must all hold. */
static bool passes(const struct args *args, const struct berth_status *s, json_t *json)
{
    for (size_t i = 0; i < args->n_flags; i++) {
        if (strcmp(args->flags[i].flag->name, "filter") != 0)
            continue;
        size_t n = strcspn(args->flags[i].value, "=");
        autofree char *name = strndup(args->flags[i].value, n);
        bool any = false, label = name && strcmp(name, "label") == 0;
        for (size_t k = label ? i : 0; name && k < (label ? i + 1 : args->n_flags); k++)
            if (strcmp(args->flags[k].flag->name, "filter") == 0 && strncmp(args->flags[k].value, args->flags[i].value, n + 1) == 0)
                any |= filter_matches(s, json, name, args->flags[k].value + n + 1);
        if (!any)
            return false;
    }
    return true;
}

/* The filter that `value` (NAME=VALUE) is among some; -1 after saying what there are. */
static int find_filter(struct cli *cli, const char *const *names, size_t n_names, const char *value)
{
    size_t n = strcspn(value, "="), k = 0;
    autofree char *name = strndup(value, n);
    struct nearest nearest = {.word = name ? name : ""};
    for (; k < n_names && strcmp(names[k], nearest.word); k++)
        nearest_try(&nearest, names[k]);
    if (k < n_names && value[n])
        return (int)k;
    autofree char *all = text_copy("");
    for (size_t i = 0; i < n_names; i++) {
        autofree char *old = all;
        all = text_new("%s%s%s=", old, i ? ", " : "", names[i]);
    }
    cli_usage(cli, "--filter: \"%s\" is none of %s%s%s%s", value, all, nearest.best ? " (did you mean " : "",
              nearest.best ? nearest.best : "", nearest.best ? "?)" : "");
    return -1;
}

/* A value that nothing can ever have would be an empty list, which reads as an answer. */
static int check_filter_value(struct cli *cli, const char *name, const char *value)
{
    int64_t code;
    bool known = false;
    if (strcmp(name, "status") == 0 || strcmp(name, "state") == 0) {
        for (int i = BERTH_CREATING; i <= BERTH_PENDING; i++)
            known |= strcmp(berth_state_name(i), value) == 0;
        return known || strcmp(value, "exited") == 0
                   ? 0
                   : cli_usage(cli, "--filter: no workload is ever \"%s\", but created, running, paused, restarting, stopping, "
                                    "stopped, completed or failed (exited: one of these three)", value);
    }
    if (strcmp(name, "health") == 0) {
        for (int i = BERTH_HEALTH_NONE; i <= BERTH_UNHEALTHY; i++)
            known |= strcmp(berth_health_name(i), value) == 0;
        return known ? 0 : cli_usage(cli, "--filter: health is none, starting, healthy or unhealthy, not \"%s\"", value);
    }
    if (strcmp(name, "exited") == 0 && parse_integer(value, 0, 255, &code) < 0)
        return cli_usage(cli, "--filter: \"%s\" is no exit code (0 to 255)", value);
    return 0;
}

static int check_filters(struct cli *cli, const struct args *args, bool *ret_states)
{
    for (size_t i = 0; i < args->n_flags; i++) {
        if (strcmp(args->flags[i].flag->name, "filter") != 0)
            continue;
        int k = find_filter(cli, filter_names, ARRAY_SIZE(filter_names), args->flags[i].value);
        const char *value = args->flags[i].value;
        if (k < 0 || check_filter_value(cli, filter_names[k], value + strcspn(value, "=") + 1))
            return EXIT_USAGE;
        *ret_states |= k <= 1 || strcmp(filter_names[k], "exited") == 0;
    }
    return 0;
}

struct list {
    struct cli *cli;
    const struct args *args;
    struct table table;
    const char *format;
    bool all, quiet, size;
    int64_t room;
    int result, refused; /* refused: by its template, and so would be every other */
};

static char *state_text(const struct berth_status *s)
{
    char when[SHORT_TEXT];
    const char *health = s->health == BERTH_HEALTH_NONE ? "" : berth_health_name(s->health);
    if (s->state == BERTH_RUNNING || s->state == BERTH_PAUSED || s->state == BERTH_STOPPING)
        return text_new("%s, up %s%s%s%s", berth_state_name(s->state), human_span(clock_usec() - s->started_usec, when),
                        *health ? " (" : "", health, *health ? ")" : "");
    if (!s->ended_usec)
        return text_copy(berth_state_name(s->state));
    if (s->exit_code > 0)
        return text_new("%s (%d) %s", berth_state_name(s->state), s->exit_code, human_when(s->ended_usec, when));
    return text_new("%s %s", berth_state_name(s->state), human_when(s->ended_usec, when));
}

char *command_text(json_t *json)
{
    json_t *command = json_find(json, "command"), *word;
    size_t i;
    if (json_is_string(command))
        return text_copy(json_string_value(command));
    char *text = text_copy("");
    json_array_foreach(command, i, word)
    {
        autofree char *old = text;
        text = text_new("%s%s%s", old, i ? " " : "", json_is_string(word) ? json_string_value(word) : "");
    }
    return text;
}

/* For a template, what docker calls the columns goes beside the fields. */
static void print_formatted(struct list *list, const struct berth_status *s, json_t *json)
{
    char when[SHORT_TEXT];
    autofree char *state = state_text(s), *ports = ports_text(json), *command = command_text(json);
    if (strcmp(list->format, "json") != 0) {
        json_object_set_new(json, "Ports", json_string(ports)); /* as the columns show them; in lower case they are lists */
        json_object_set_new(json, "Command", json_string(command));
        json_object_set_new(json, "names", json_string(s->handle.name));
        json_object_set_new(json, "status", json_string(state));
        json_object_set(json, "created_at", json_object_get(json, "created"));
        json_object_set_new(json, "running_for", json_string(human_when(s->created_usec, when)));
    }
    int r = template_fields(list->cli, list->format, json);
    if (r == 0)
        template_print(list->format, json);
    else
        list->refused = list->result = r;
}

static uint64_t written_bytes;

static int add_written(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)path, (void)kind, (void)at;
    written_bytes += (uint64_t)st->st_blocks * 512;
    return 0;
}

/* What it has written over its image. */
static uint64_t written_by(struct berth_runtime *runtime, const struct berth_handle *handle)
{
    struct berth_error err;
    char *text = NULL;
    autojson json_t *json = berth_inspect(runtime, handle, &text, &err) == 0 ? json_loads(text, 0, NULL) : NULL;
    const char *upper = json_text(json, "plan.root.upper");
    free(text);
    written_bytes = 0;
    if (*upper)
        nftw(upper, add_written, 32, FTW_PHYS | FTW_MOUNT);
    return written_bytes;
}

static void list_row(struct list *list, const struct berth_status *s, json_t *json)
{
    char id[BERTH_ID_TEXT], when[SHORT_TEXT], size[SHORT_TEXT];
    berth_id_print(s->handle.id, id);
    if (!list->table.no_trunc)
        id[12] = '\0';
    if (list->quiet) {
        puts(id);
        return;
    }
    if (list->format || list->cli->json) {
        if (list->format)
            print_formatted(list, s, json);
        else if (s->json && !list->size)
            puts(s->json);
        else
            json_line(json);
        return;
    }
    autofree char *state = state_text(s), *command = command_text(json), *ports = ports_text(json);
    table_row(&list->table, id, s->handle.name, s->image, command, human_when(s->created_usec, when), state, ports,
              human_size((uint64_t)json_number(json, "size_bytes"), size)); /* the last one only with --size */
}

static void list_one(struct list *list, struct berth_runtime *runtime, const struct berth_handle *handle)
{
    autostatus struct berth_status *status = NULL;
    struct berth_error err;
    int r = berth_status(runtime, handle, &status, &err);
    if (r == BERTH_NOT_FOUND)
        return; /* removed since the list was made */
    if (r < 0) {
        list->result = cli_fail(list->cli, handle->name, &err);
        return;
    }
    if (list->room == 0 || (!list->all && !is_alive(status->state)))
        return;
    autojson json_t *json = status_json(status);
    if (!passes(list->args, status, json))
        return;
    list->room -= list->room > 0;
    if (list->size)
        json_object_set_new(json, "size_bytes", json_integer((json_int_t)written_by(runtime, handle)));
    list_row(list, status, json);
}

/* Newest first over all engines: each engine's own list is in that order already. */
static int list_engines(struct list *list)
{
    const char *const *engines = berth_engines();
    struct berth_runtime *runtime;
    struct berth_error err;
    for (size_t i = 0; engines[i]; i++) {
        struct berth_handle *handles = NULL;
        size_t n = 0;
        int r = cli_runtime(list->cli, engines[i], &runtime, &err);
        if (r == 0)
            r = berth_list(runtime, &handles, &n, &err);
        if (r < 0 && r != BERTH_UNSUPPORTED)
            return cli_fail(list->cli, NULL, &err);
        for (size_t h = 0; h < n && !list->refused; h++)
            list_one(list, runtime, &handles[h]);
        free(handles);
    }
    return list->result;
}

int verb_ps(struct cli *cli, const struct args *args)
{
    static const char *const titles[] = {"ID", "NAME", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "SIZE"};
    struct list list = {.cli = cli, .args = args, .format = arg_text(args, "format"), .all = arg_true(args, "all"),
                        .quiet = arg_true(args, "quiet") || cli->quiet, .size = arg_true(args, "size"), .room = -1,
                        .table = {.titles = titles, .n_columns = ARRAY_SIZE(titles) - !arg_true(args, "size"), .flexible = 4,
                                  .no_trunc = arg_true(args, "no-trunc")}};
    const char *last = arg_text(args, "last");
    int r = check_filters(cli, args, &list.all);
    if (r == 0 && list.format)
        r = template_check(cli, list.format);
    if (r == 0 && last && parse_integer(last, 0, INT64_MAX, &list.room) < 0)
        r = cli_usage(cli, "--last: \"%s\" is no number", last);
    if (r)
        return r;
    if (!last && arg_true(args, "latest")) {
        last = "1";
        list.room = 1;
    }
    list.all |= last != NULL;
    if (list.format)
        template_title(list.format);
    r = list_engines(&list);
    if (!list.quiet && !list.format && !cli->json)
        table_print(&list.table);
    return r;
}

/* ---- inspect, events ------------------------------------------------------------------------ */

/* For a template, what docker's users ask for goes beside the fields. */
static void add_docker_names(json_t *json)
{
    static const char never[] = "\"0001-01-01T00:00:00Z\"";
    static const struct {
        const char *name, *path, *absent;
    } same[] = {{"State.Status", "status.state", "\"\""}, {"State.Pid", "status.pid", "0"}, {"State.ExitCode", "status.exit_code", "0"},
                {"State.StartedAt", "status.started", never}, {"State.FinishedAt", "status.ended", never},
                {"State.Error", "status.reason", "\"\""}, {"State.Health.Status", "status.health", "\"none\""},
                {"Id", "status.id", NULL}, {"Created", "status.created", NULL}, {"Name", "status.name", NULL},
                {"Image", "status.image_id", NULL}, {"Config.Image", "status.image", "\"\""}, {"Config.Labels", "status.labels", "{}"},
                {"RestartCount", "status.restarts", "0"}};
    const char *state = json_text(json, "status.state"), *oom = json_text(json, "status.oom");
    for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
        json_t *value = json_find(json, same[i].path);
        value = json_is_null(value) ? NULL : value;
        if (value || same[i].absent)
            json_put(json, same[i].name, value ? json_incref(value) : json_loads(same[i].absent, JSON_DECODE_ANY, NULL));
    }
    json_put(json, "State.Running", json_boolean(!strcmp(state, "running") || !strcmp(state, "paused") || !strcmp(state, "stopping")));
    json_put(json, "State.Paused", json_boolean(strcmp(state, "paused") == 0));
    json_put(json, "State.Restarting", json_boolean(strcmp(state, "restarting") == 0));
    json_put(json, "State.OOMKilled", json_boolean(*oom && strcmp(oom, "none")));
    json_t *addresses = json_find(json, "status.addresses"), *first = json_object_iter_value(json_object_iter(addresses));
    json_put(json, "NetworkSettings.IPAddress", first ? json_incref(first) : json_string(""));
}

/* A workload, else an image, else a volume of that name, as --type allows. */
static int inspect_any(struct cli *cli, const char *type, const char *name, bool *ret_workload, char **ret_text,
                       struct berth_error *err)
{
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_error other;
    int r = BERTH_NOT_FOUND;
    *ret_workload = !type || strcmp(type, "container") == 0;
    if (*ret_workload) {
        r = cli_find(cli, name, &runtime, &handle, err);
        r = r == 0 ? berth_inspect(runtime, &handle, ret_text, err) : r;
    }
    bool elsewhere = r == BERTH_NOT_FOUND || (r == BERTH_INVALID && !type); /* name:tag is none of a workload */
    if (!elsewhere || (type && *ret_workload) || !(runtime = cli_container(cli)))
        return r;
    *ret_workload = false;
    struct berth_error *said = type ? err : &other;
    if (!type || strcmp(type, "image") == 0)
        r = berth_image_inspect(runtime, name, ret_text, said);
    if (r < 0 && (!type || strcmp(type, "volume") == 0))
        r = berth_volume_inspect(runtime, name, ret_text, said);
    if (r < 0 && !type)
        snprintf(err->message, sizeof(err->message), "no workload, image or volume \"%.160s\"", name);
    return r < 0 && !type ? err->code : r;
}

int verb_inspect(struct cli *cli, const struct args *args)
{
    const char *format = arg_text(args, "format"), *type = arg_text(args, "type");
    autojson json_t *all = json_array();
    int result = format ? template_check(cli, format) : 0;
    if (result == 0 && type && strcmp(type, "container") && strcmp(type, "image") && strcmp(type, "volume"))
        result = cli_usage(cli, "--type: \"%s\" is not container, image or volume", type);
    if (result)
        return result;
    for (int i = 0; i < args->n_words; i++) {
        struct berth_error err;
        bool workload;
        autofree char *text = NULL;
        json_t *json = NULL;
        int r = inspect_any(cli, type, args->words[i], &workload, &text, &err);
        if (r == 0)
            r = json_read(text, &json, &err);
        if (r < 0) {
            int code = cli_fail(cli, args->words[i], &err);
            result = result ? result : code;
            continue;
        }
        bool named = format && strcmp(format, "json") && !strstr(format, "{{json .}}");
        if (named && workload)
            add_docker_names(json);
        else if (named && json_object_get(json, "manifest"))
            add_docker_image_names(json);
        int refused = format ? template_fields(cli, format, json) : 0;
        if (format && !refused)
            template_print(format, json);
        json_array_append_new(all, json);
        if (refused)
            return refused;
    }
    if (!format && (args->n_words > 1 || json_array_size(all)))
        json_document(args->n_words > 1 ? all : json_array_get(all, 0));
    return result;
}

static const char *const event_filters[] = {"event", "name", "container", "id", "type"};

static bool event_matches(json_t *event, const char *name, const char *value)
{
    if (strcmp(name, "event") == 0)
        return strcmp(json_text(event, "type"), value) == 0;
    if (strcmp(name, "type") == 0) /* docker's kind of object: all of ours are workloads */
        return strcmp(value, "container") == 0 || strcmp(value, "workload") == 0;
    bool id = starts_with(json_text(event, "id"), value);
    return (strcmp(name, "id") && strcmp(json_text(event, "name"), value) == 0) || (strcmp(name, "name") && id);
}

/* As those of ps: of one name alternatives, of different names all must hold. */
static bool event_passes(const struct args *args, json_t *event)
{
    for (size_t i = 0; i < ARRAY_SIZE(event_filters); i++) {
        size_t n = strlen(event_filters[i]);
        bool asked = false, any = false;
        for (size_t k = 0; k < args->n_flags; k++) {
            const char *value = args->flags[k].value;
            if (strcmp(args->flags[k].flag->name, "filter") || strncmp(value, event_filters[i], n) || value[n] != '=')
                continue;
            asked = true;
            any |= event_matches(event, event_filters[i], value + n + 1);
        }
        if (asked && !any)
            return false;
    }
    return true;
}

static int print_event(struct cli *cli, const struct args *args, const char *format, char *line)
{
    autojson json_t *event = json_loads(line, 0, NULL);
    if (!event || !event_passes(args, event))
        return 0;
    if (cli->json && !format) {
        puts(line);
        return 0;
    }
    if (format) {
        if (strcmp(format, "json") && !strstr(format, "{{json .}}")) /* docker's word for it */
            json_object_set(event, "Action", json_object_get(event, "type"));
        template_print(format, event);
        return 0;
    }
    const char *detail[] = {"reason", "exit_code", "health", "signal", "exec_id"};
    autofree char *name = text_plain(json_text(event, "name"));
    const char *kind = json_text(event, "event");
    printf("%s %s %s", json_text(event, "time"), *kind ? kind : json_text(event, "type"), name);
    for (size_t i = 0; i < ARRAY_SIZE(detail); i++) {
        json_t *value = json_find(event, detail[i]);
        if (!value)
            value = json_find(json_find(event, "status"), detail[i]);
        if (json_is_string(value) && *json_string_value(value) && strcmp(json_string_value(value), "none")) {
            autofree char *text = text_plain(json_string_value(value));
            printf(" %s=\"%s\"", detail[i], text);
        } else if (json_is_integer(value) && (json_integer_value(value) || strcmp(detail[i], "signal"))) {
            printf(" %s=%lld", detail[i], (long long)json_integer_value(value));
        }
    }
    putchar('\n');
    return 0;
}

/* Read lines of any length up to 1 MiB; longer ones are no events of ours. */
static int read_events(struct cli *cli, const struct args *args, const char *format, int fd)
{
    enum { ROOM = 1 << 20 };
    autofree char *buffer = memory_new(ROOM + 1);
    size_t have = 0;
    for (;;) {
        struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = cli_interrupt_fd(), .events = POLLIN}};
        int ready = poll(fds, ARRAY_SIZE(fds), cli_remaining_msec(cli));
        if (ready == 0)
            return -ETIMEDOUT;
        if (fds[1].revents && cli_interrupted())
            return 0;
        ssize_t n = read(fd, buffer + have, ROOM - have);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        have += (size_t)n;
        char *start = buffer, *newline;
        while ((newline = memchr(start, '\n', have - (size_t)(start - buffer)))) {
            *newline = '\0';
            print_event(cli, args, format, start);
            start = newline + 1;
        }
        have -= (size_t)(start - buffer);
        memmove(buffer, start, have);
        if (have == ROOM)
            have = 0;
        if (fflush(stdout) != 0)
            return -errno;
    }
}

/* One stream for each engine would need threads; only one engine keeps events that outlive us. */
int verb_events(struct cli *cli, const struct args *args)
{
    const char *format = arg_text(args, "format");
    struct berth_events_options options = {.size = sizeof(options), .name = args->words[0]};
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_stream *stream;
    struct berth_error err;
    int r = format ? template_check(cli, format) : 0;
    for (size_t i = 0; r == 0 && i < args->n_flags; i++)
        if (strcmp(args->flags[i].flag->name, "filter") == 0 &&
            find_filter(cli, event_filters, ARRAY_SIZE(event_filters), args->flags[i].value) < 0)
            r = EXIT_USAGE;
    if (r || !runtime)
        return r ? r : EXIT_FAILED;
    r = log_time(cli, args, "since", &options.since_usec);
    if (r == 0)
        r = log_time(cli, args, "until", &options.until_usec);
    if (r)
        return r;
    options.follow = !arg_true(args, "no-follow") && (!options.until_usec || options.until_usec > clock_usec());
    if (berth_events(runtime, &options, &stream, &err) < 0)
        return cli_fail(cli, args->words[0], &err);
    if (format)
        template_title(format);
    r = read_events(cli, args, format, berth_stream_fd(stream));
    berth_stream_free(stream);
    if (r == -ETIMEDOUT)
        return cli_fail_code(cli, NULL, BERTH_TIMED_OUT, "the --deadline passed");
    if (cli_interrupted())
        return 128 + cli_interrupted();
    return r < 0 ? cli_fail_code(cli, NULL, BERTH_IO, "%s", strerror(-r)) : EXIT_DONE;
}
