/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth-wasm: one workload's guest, or one exec's. wasm/worker.h says how it is called.
 *
 * The order is what protects: the code is mapped and every import linked first, then no memory can become code
 * any more, then it is said that we are ready, then the guest runs.
 */
#include "base/base.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "linux/allow.h"
#include "model/roots.h"
#include "wasm/berth_wasm.h"
#include "wasm/options.h"
#include "wasm/reach.h"
#include "wasm/worker.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/time.h>

#define FIRST_SOCKET 3
#define SOCKETS_MAX 64
#define REASON_MAX 400
#define SERVED_CALL_USEC 30000000u

struct worker {
    const char *verb, *code, *needs, *profile, *call;
    uint64_t page_fd, roots_fd, fuel, memory, memory_total, table_elements, instances, stack, call_time, host_memory, handles;
    uint64_t max_concurrency, queue, queue_time, reuse, connections, idle_timeout, threads, drain_time;
    uint64_t header_bytes, header_time, body_bytes, response_bytes;
    struct option_list folders, read_only_folders, allow, nameservers, hosts, gateways;
    bool sockets, access_log;

    char *const *argv;
    char **env;                   /* the guest's */
    char cwd[PATH_MAX];
    int ready_fd;                 /* -1: nobody waits */
    bool ready;
    int listen_fds[SOCKETS_MAX];
    size_t n_listen_fds;
};

/* What a number means that the plan does not give, or gives as 0. */
static const struct { size_t offset; uint64_t value; } defaults[] = {
    {offsetof(struct worker, memory), 4ull << 30}, {offsetof(struct worker, table_elements), 1000000},
    {offsetof(struct worker, instances), 1000}, {offsetof(struct worker, stack), 1 << 20},
    {offsetof(struct worker, host_memory), 16 << 20}, {offsetof(struct worker, handles), 10000},
    {offsetof(struct worker, max_concurrency), 100}, {offsetof(struct worker, queue_time), 10000000},
    {offsetof(struct worker, header_bytes), 64 << 10}, {offsetof(struct worker, header_time), 30000000},
    {offsetof(struct worker, drain_time), 10000000},
};

static void fill_defaults(struct worker *w)
{
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
        uint64_t *at = (uint64_t *)(void *)((char *)w + defaults[i].offset);
        *at = *at ? *at : defaults[i].value;
    }
    w->queue = w->queue ? w->queue : 4 * w->max_concurrency;
    w->connections = w->connections ? w->connections : 4 * (w->max_concurrency + w->queue);
}

#define ROW(n, k, m) {n, k, offsetof(struct worker, m)}
static const struct option_row rows[] = {
    ROW("code", OPTION_TEXT, code), ROW("needs", OPTION_TEXT, needs), ROW("profile", OPTION_TEXT, profile),
    ROW("call", OPTION_TEXT, call), ROW("page", OPTION_NUMBER, page_fd), ROW("dir", OPTION_LIST, folders),
    ROW("dir-ro", OPTION_LIST, read_only_folders), ROW("allow", OPTION_LIST, allow),
    ROW("nameserver", OPTION_LIST, nameservers), ROW("host", OPTION_LIST, hosts), ROW("sockets", OPTION_YES, sockets),
    ROW("gateway", OPTION_LIST, gateways), ROW("roots", OPTION_NUMBER, roots_fd),
    ROW("fuel", OPTION_NUMBER, fuel), ROW("memory", OPTION_NUMBER, memory), ROW("memory-total", OPTION_NUMBER, memory_total),
    ROW("table-elements", OPTION_NUMBER, table_elements), ROW("instances", OPTION_NUMBER, instances),
    ROW("stack", OPTION_NUMBER, stack), ROW("call-time", OPTION_NUMBER, call_time),
    ROW("host-memory", OPTION_NUMBER, host_memory), ROW("handles", OPTION_NUMBER, handles),
    ROW("max-concurrency", OPTION_NUMBER, max_concurrency), ROW("queue", OPTION_NUMBER, queue),
    ROW("queue-time", OPTION_NUMBER, queue_time), ROW("reuse", OPTION_NUMBER, reuse),
    ROW("connections", OPTION_NUMBER, connections), ROW("idle-timeout", OPTION_NUMBER, idle_timeout),
    ROW("threads", OPTION_NUMBER, threads), ROW("header-bytes", OPTION_NUMBER, header_bytes),
    ROW("header-time", OPTION_NUMBER, header_time), ROW("body-bytes", OPTION_NUMBER, body_bytes),
    ROW("response-bytes", OPTION_NUMBER, response_bytes), ROW("access-log", OPTION_YES, access_log),
    ROW("drain-time", OPTION_NUMBER, drain_time),
};

/* One for the process: also for a signal handler and the engine's callbacks. */
static struct berth_wasm_page *the_page;
static int the_ready_fd, the_roots_fd = -1;

/* ---- environment and descriptors */

static bool is_ours(const char *setting)
{
    static const char *const ours[] = {"LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES=", "BERTH_READY_FD=", "PWD="};
    for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
        if (starts_with(setting, ours[i]))
            return true;
    return false;
}

static int number_of(const char *name, int none)
{
    const char *value = getenv(name);
    return value && *value ? atoi(value) : none;
}

static int read_environment(struct worker *w, char **environment, struct berth_error *err)
{
    int r = 0;
    for (char **e = environment; r == 0 && *e; e++)
        if (!is_ours(*e))
            r = strings_add(&w->env, *e);
    if (!getcwd(w->cwd, sizeof(w->cwd)))
        return fail_os(err, errno, "workdir", "working directory");
    autofree char *pwd = format_text("PWD=%s", w->cwd);
    r = r < 0 ? r : pwd ? strings_add(&w->env, pwd) : -ENOMEM;
    return r < 0 ? fail_memory(err) : 0;
}

static int find_sockets(struct worker *w, struct berth_error *err)
{
    int n = number_of("LISTEN_FDS", 0);
    if (n < 0 || n > SOCKETS_MAX)
        return fail(err, BERTH_INVALID, "LISTEN_FDS", "%d sockets are too many", n);
    for (int i = 0; i < n; i++) {
        (void)fcntl(FIRST_SOCKET + i, F_SETFD, FD_CLOEXEC);
        (void)fcntl(FIRST_SOCKET + i, F_SETFL, fcntl(FIRST_SOCKET + i, F_GETFL) | O_NONBLOCK);
        w->listen_fds[w->n_listen_fds++] = FIRST_SOCKET + i;
    }
    if (strcmp(w->verb, "serve") == 0 && n == 0)
        return fail(err, BERTH_INVALID, "sockets", "there is no socket to serve on");
    return 0;
}

/* Without one the counters are for nobody. */
static int map_page(const struct worker *w, struct berth_error *err)
{
    struct stat s;
    int fd = (int)(int64_t)w->page_fd;
    if (fd >= 0 && (fstat(fd, &s) < 0 || s.st_size < (off_t)sizeof(*the_page)))
        return fail(err, BERTH_INVALID, "page", "the page is missing or too short");
    void *p = mmap(NULL, sizeof(*the_page), PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return fail_os(err, errno, "page", "map the page");
    memset(p, 0, sizeof(*the_page));
    if (fd >= 0)
        close(fd);
    the_page = p;
    the_page->size = sizeof(*the_page);
    the_page->n_slots = BERTH_WASM_SLOTS;
    the_page->worker_pid = (uint32_t)getpid();
    the_page->magic = BERTH_WASM_PAGE_MAGIC;
    return 0;
}

static int read_rules(const struct worker *w, struct berth_error *err)
{
    struct reach *to = &the_reach;
    the_roots_fd = (int)(int64_t)w->roots_fd;
    to->rules = calloc(w->allow.n + 1, sizeof(*to->rules));
    if (!to->rules)
        return fail_memory(err);
    for (size_t i = 0; i < w->allow.n; i++) {
        int r = allowed_parse(w->allow.items[i], &to->rules[to->n_rules++], err);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < w->nameservers.n; i++)
        if (lookup_add_server(&to->names, w->nameservers.items[i]) < 0)
            return fail(err, BERTH_INVALID, "nameserver", "--nameserver can't be \"%.60s\"", w->nameservers.items[i]);
    to->names.hosts = w->hosts.items;
    to->names.n_hosts = w->hosts.n;
    to->gateways = w->gateways.items;
    to->n_gateways = w->gateways.n;
    return 0;
}

int berth_wasm_roots(void (*add)(void *to, const uint8_t *der, size_t length), void *to)
{
    autofree char *pem = NULL;
    size_t length;
    if (the_roots_fd < 0)
        return 0;
    (void)lseek(the_roots_fd, 0, SEEK_SET);
    int n = fd_read_all(the_roots_fd, ROOTS_MAX_BYTES, &pem, &length);
    n = n < 0 ? n : roots_parse(pem, length, add, to);
    return n != 0 ? n : -ENOENT; /* nobody is trusted then */
}

static int check_text(const char *what, char *const *list, struct berth_error *err)
{
    for (; list && *list; list++)
        if (!utf8_valid(*list, strlen(*list)))
            return fail(err, BERTH_INVALID, what, "%s \"%.60s\" is not UTF-8", what, *list);
    return 0;
}

/* All that the guest is told is text. */
static int check_texts(struct worker *w, struct berth_error *err)
{
    const struct { const char *what; char *const *list; } lists[] = {
        {"argument", w->argv}, {"environment variable", w->env}, {"call", (char *const[]){(char *)w->call, NULL}},
        {"folder", (char *const *)w->folders.items}, {"folder", (char *const *)w->read_only_folders.items}};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(lists); i++)
        r = check_text(lists[i].what, lists[i].list, err);
    return r;
}

/* ---- the engine */

static bool is_serving(const struct worker *w)
{
    return strcmp(w->verb, "serve") == 0;
}

/* "m1.b131072.t1.e12", as berth-wasmc wrote it */
static int read_needs(const char *text, struct berth_wasm_options *o, struct berth_error *err)
{
    unsigned long long memories, bytes, tables, elements;
    char rest;
    if (!text)
        return 0;
    if (sscanf(text, "m%llu.b%llu.t%llu.e%llu%c", &memories, &bytes, &tables, &elements, &rest) != 4)
        return fail(err, BERTH_INVALID, "needs", "--needs can't be \"%.60s\"", text);
    o->memories = (uint32_t)memories, o->memory_bytes = bytes;
    o->tables = (uint32_t)tables, o->table_elements = elements;
    return 0;
}

static int open_code(const char *code, struct berth_error *err)
{
    if (!code)
        return fail(err, BERTH_INVALID, "code", "--code is missing");
    if (*code != '/')
        return atoi(code);
    int fd = open(code, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? fail_os(err, errno, code, "compiled code %s", code) : fd;
}

static int load_guest(const struct worker *w, struct berth_wasm_guest **ret, struct berth_error *err)
{
    static const char *const none[] = {NULL};
    bool serve = w->profile ? strcmp(w->profile, "serve") == 0 : is_serving(w);
    struct berth_wasm_options o = {
        .size = sizeof(o), .code_fd = open_code(w->code, err),
        .settings = {sizeof(o.settings), serve ? BERTH_WASM_SERVE : BERTH_WASM_COMMAND, w->fuel > 0},
        .concurrency = is_serving(w) ? (uint32_t)w->max_concurrency * (w->reuse > 1 ? 2 : 1) : 0,
        .limits = {.memory_bytes = w->memory, .memory_total_bytes = w->memory_total, .table_elements = w->table_elements,
                   .instances = (uint32_t)w->instances, .stack_bytes = w->stack, .fuel = w->fuel,
                   .time_usec = w->call_time ? w->call_time : SERVED_CALL_USEC, .host_bytes = w->host_memory,
                   .handles = (uint32_t)w->handles},
        .slots = the_page->slots, .argv = (const char *const *)w->argv, .env = (const char *const *)w->env, .cwd = w->cwd,
        .folders = w->folders.n ? w->folders.items : none,
        .read_only_folders = w->read_only_folders.n ? w->read_only_folders.items : none,
        .sockets = w->sockets, .http = the_reach.n_rules > 0,
    };
    if (o.code_fd < 0)
        return o.code_fd;
    the_page->pool = o.concurrency;
    int r = read_needs(w->needs, &o, err);
    r = r < 0 ? r : berth_wasm_load(&o, ret, err);
    if (o.code_fd > 2)
        close(o.code_fd);
    return r;
}

/* ---- ends */

static void say(const char *text)
{
    (void)fd_write_all(2, text, strlen(text));
}

static void tell_ready(struct worker *w)
{
    if (w->ready_fd >= 0)
        (void)fd_write_all(w->ready_fd, "ready\n", 6);
    w->ready = true;
}

/* Before it was ready: the error itself. After that: one line, which becomes the reason. */
static int tell_failure(struct worker *w, const struct berth_error *err)
{
    if (w->ready_fd >= 0 && !w->ready) {
        (void)fd_write_all(w->ready_fd, err, sizeof(*err));
        return WASM_EXIT_FAILED;
    }
    if (w->ready_fd >= 0)
        (void)fd_write_all(w->ready_fd, err->message, strnlen(err->message, REASON_MAX));
    say("berth-wasm: ");
    say(err->message);
    say("\n");
    return WASM_EXIT_FAILED;
}

/* "trap: unreachable: abort, main, _start": names of the innermost functions behind the kind. */
static void tell_reason(const struct worker *w, const char *line, const char *backtrace)
{
    char reason[REASON_MAX + 1];
    size_t n = (size_t)snprintf(reason, sizeof(reason), "%s", line);
    const char *between = ": ";
    for (const char *row = backtrace; *row && n < sizeof(reason) - 1; between = ", ") {
        const char *name = strstr(row, ": "), *end = strstr(row, " (function ");
        if (!name || !end || end < name)
            break;
        n += (size_t)snprintf(reason + n, sizeof(reason) - n, "%s%.*s", between, (int)(end - name - 2), name + 2);
        row = end + strcspn(end, "\n") + 1;
        if (row[-1] == 0)
            break;
    }
    if (w->ready_fd >= 0)
        (void)fd_write_all(w->ready_fd, reason, MIN(n, sizeof(reason) - 1));
}

void berth_wasm_ended(enum berth_wasm_end_kind kind, int exit_code, uint64_t asked_bytes, const char *name, const char *text)
{
    struct berth_wasm_end *end = &the_page->end;
    end->exit_code = exit_code;
    end->asked_bytes = asked_bytes;
    snprintf(end->name, sizeof(end->name), "%s", name);
    snprintf(end->text, sizeof(end->text), "%s", text);
    __atomic_store_n(&end->kind, kind, __ATOMIC_RELEASE);
}

static int tell_end(const struct worker *w)
{
    const struct berth_wasm_end *end = &the_page->end;
    static const char *const kinds[] = {[BERTH_WASM_END_TRAP] = "trap", [BERTH_WASM_END_MEMORY] = "out of memory",
                                        [BERTH_WASM_END_TIME] = "out of time", [BERTH_WASM_END_FAILED] = "failed"};
    char line[256], asked[64] = "";
    if (end->kind >= ARRAY_SIZE(kinds) || !kinds[end->kind])
        return end->exit_code;
    if (end->kind == BERTH_WASM_END_MEMORY)
        snprintf(asked, sizeof(asked), " (%llu bytes were refused)", (unsigned long long)end->asked_bytes);
    snprintf(line, sizeof(line), "%s: %s%s", kinds[end->kind], end->name, asked);
    say("berth-wasm: ");
    say(line);
    say("\n");
    say(end->text);
    tell_reason(w, line, end->text);
    return end->exit_code;
}

/* ---- commands */

static void end_at_once(int signal)
{
    _exit(128 + signal);
}

/* A command without epoch checks, or one that waits in a system call: the clock ends the process. */
static void end_out_of_time(int signal)
{
    static const char text[] = "berth-wasm: out of time: its time limit\n", reason[] = "out of time: its time limit";
    memcpy(the_page->end.name, "time limit", sizeof("time limit"));
    the_page->end.exit_code = WASM_EXIT_TRAP;
    __atomic_store_n(&the_page->end.kind, BERTH_WASM_END_TIME, __ATOMIC_RELEASE);
    if (the_ready_fd >= 0)
        (void)!write(the_ready_fd, reason, sizeof(reason) - 1);
    (void)!write(2, text, sizeof(text) - 1);
    _exit(WASM_EXIT_TRAP);
}

/* Process 1 of a namespace is spared by signals that it has no handler for. */
static void end_by_signals(void)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    struct sigaction at_once = {.sa_handler = end_at_once};
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        (void)sigaction(signals[i], &at_once, NULL);
    for (int s = SIGRTMIN; s <= SIGRTMAX; s++)
        (void)sigaction(s, &at_once, NULL);
}

static void limit_time(const struct worker *w)
{
    uint64_t usec = w->call_time;
    struct sigaction out = {.sa_handler = end_out_of_time};
    struct itimerval timer = {.it_value = {(time_t)(usec / 1000000), (suseconds_t)(usec % 1000000)}};
    the_ready_fd = w->ready_fd;
    (void)sigaction(SIGALRM, &out, NULL);
    (void)setitimer(ITIMER_REAL, &timer, NULL);
}

static int run_command(struct worker *w, struct berth_wasm_guest *guest)
{
    struct berth_error err = {0};
    end_by_signals();
    tell_ready(w);
    if (w->call_time)
        limit_time(w);
    int r = strcmp(w->verb, "run") == 0 ? berth_wasm_run(guest, &err)
                                        : berth_wasm_invoke(guest, w->call, (const char *const *)w->argv + 1, &err);
    return r < 0 ? tell_failure(w, &err) : tell_end(w);
}

/* ---- serving */

static int open_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGQUIT);
    sigaddset(set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, set, NULL) < 0)
        return -errno;
    int fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

/* The first signal asks for an end in time, the second for one now. */
static void heed_signals(const struct worker *w, int fd, struct berth_wasm_server *server, unsigned *asked)
{
    struct signalfd_siginfo info;
    while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGHUP)
            _exit(128 + SIGHUP);
        berth_wasm_drain(server, (*asked)++ ? 0 : w->drain_time / 1000);
    }
}

static void watch(const struct worker *w, int signal_fd, int state_fd, struct berth_wasm_server *server)
{
    struct pollfd fds[] = {{.fd = signal_fd, .events = POLLIN}, {.fd = state_fd, .events = POLLIN}};
    enum berth_wasm_state state;
    eventfd_t count;
    unsigned asked = 0;
    while ((state = berth_wasm_server_state(server)) != BERTH_WASM_ENDED) {
        the_page->draining = state == BERTH_WASM_DRAINING;
        (void)poll(fds, ARRAY_SIZE(fds), -1);
        (void)eventfd_read(state_fd, &count);
        heed_signals(w, signal_fd, server, &asked);
    }
}

/* Cores that it may use, where nobody says how many. */
static uint32_t count_threads(const struct worker *w)
{
    cpu_set_t cores;
    uint64_t n = w->threads ? w->threads : sched_getaffinity(0, sizeof(cores), &cores) == 0 ? (uint64_t)CPU_COUNT(&cores) : 1;
    return (uint32_t)MIN(n, (uint64_t)BERTH_WASM_SLOTS);
}

static int serve(struct worker *w, struct berth_wasm_guest *guest)
{
    struct berth_error err = {0};
    struct berth_wasm_server *server = NULL;
    autoclose int state_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct berth_wasm_serve_options o = {
        .size = sizeof(o), .listen_fds = w->listen_fds, .n_listen_fds = w->n_listen_fds, .state_fd = state_fd,
        .threads = count_threads(w), .idle_msec = (w->idle_timeout + 999) / 1000, .body_bytes = w->body_bytes,
        .response_bytes = w->response_bytes, .concurrency = (uint32_t)w->max_concurrency, .queue = (uint32_t)w->queue,
        .queue_msec = (uint32_t)(w->queue_time / 1000), .reuse = (uint32_t)w->reuse, .connections = (uint32_t)w->connections,
        .header_bytes = (uint32_t)MAX(w->header_bytes, 8192u), .header_msec = (uint32_t)(w->header_time / 1000),
        .access_log = w->access_log,
    };
    sigset_t set;
    autoclose int signal_fd = state_fd < 0 ? -errno : open_signals(&set);
    int r = signal_fd < 0 ? fail_os(&err, signal_fd, NULL, "signals") : berth_wasm_serve(guest, &o, &server, &err);
    if (r < 0)
        return tell_failure(w, &err);
    tell_ready(w);
    watch(w, signal_fd, state_fd, server);
    return 0;
}

/* ---- main */

static int prepare(struct worker *w, int argc, char **argv, char **environment, struct berth_wasm_guest **ret,
                   struct berth_error *err)
{
    int rest = argc;
    w->verb = argc > 1 ? argv[1] : "";
    if (strcmp(w->verb, "run") != 0 && strcmp(w->verb, "invoke") != 0 && strcmp(w->verb, "serve") != 0)
        return fail(err, BERTH_INVALID, w->verb, "what is \"%.40s\"? There are run, invoke and serve", w->verb);
    int r = options_read(argc, argv, 2, rows, ARRAY_SIZE(rows), w, &rest, err);
    if (r == 0 && (rest >= argc || (*w->verb == 'i' && !w->call)))
        r = fail(err, BERTH_INVALID, NULL, rest >= argc ? "ARGV0 is missing" : "--call is missing");
    w->argv = argv + rest;
    fill_defaults(w);
    r = r < 0 ? r : read_environment(w, environment, err);
    r = r < 0 ? r : find_sockets(w, err);
    r = r < 0 ? r : check_texts(w, err);
    r = r < 0 ? r : map_page(w, err);
    r = r < 0 ? r : read_rules(w, err);
    r = r < 0 ? r : load_guest(w, ret, err);
    int forbidden = r < 0 ? 0 : forbid_new_code();
    return forbidden < 0 ? fail_os(err, forbidden, NULL, "second system call filter") : r;
}

int main(int argc, char **argv)
{
    struct worker w = {.page_fd = (uint64_t)-1, .roots_fd = (uint64_t)-1, .ready_fd = number_of("BERTH_READY_FD", -1)};
    struct berth_wasm_guest *guest = NULL;
    struct berth_error err = {0};
    (void)signal(SIGPIPE, SIG_IGN);
    if (w.ready_fd >= 0)
        (void)fcntl(w.ready_fd, F_SETFD, FD_CLOEXEC);
    int r = prepare(&w, argc, argv, environ, &guest, &err);
    int code = r < 0 ? tell_failure(&w, &err) : is_serving(&w) ? serve(&w, guest) : run_command(&w, guest);
    _exit(code); /* what is mapped and open goes with the process, quicker than one by one */
}
