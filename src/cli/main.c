/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth: find the verb, parse its flags, call it; say what failed in one line.
 *
 * The exit codes are a contract with scripts, so they are decided in this file alone.
 */
#include "cli.h"
#include <berth/wrap.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* ---- failures ---------------------------------------------------------------------------------- */

static const struct {
    int code, exit_code;
} program_exits[] = {{BERTH_NO_PROGRAM, EXIT_NOT_FOUND}, {BERTH_NOT_EXECUTABLE, EXIT_NOT_EXECUTABLE}};

static int exit_code_of(const struct cli *cli, int code)
{
    if (code == BERTH_TIMED_OUT && (cli_deadline_passed(cli) || strcmp(cli->verb, "exec") == 0))
        return EXIT_DEADLINE;
    if (code == BERTH_CANCELLED && cli_interrupted())
        return 128 + cli_interrupted();
    if (!cli->command || !(cli->command->bits & COMMAND_RUNS))
        return EXIT_FAILED;
    for (size_t i = 0; i < ARRAY_SIZE(program_exits); i++)
        if (program_exits[i].code == code)
            return program_exits[i].exit_code;
    return EXIT_BERTH_FAILED;
}

#define OBJECT_SHOWN 256 /* of a name that somebody else made up */

static void fail_json(int code, const char *object, const char *message)
{
    autojson json_t *error = json_pack("{s:{s:s, s:s+, s:s}}", "error", "code", berth_code_name(code),
                                       "message", message, "", "object", object);
    if (!error) /* not UTF-8: say it without the words */
        error = json_pack("{s:{s:s}}", "error", "code", berth_code_name(code));
    autofree char *text = error ? json_dumps(error, JSON_COMPACT) : NULL;
    fprintf(stderr, "%s\n", text ? text : "{\"error\":{}}");
}

/* "start web: cause", "wait for web: cause" without its beginning: a layer below said what it was asked, under run as well. */
static const char *without_context(const char *message, const char *object)
{
    const char *at = *object ? strstr(message, object) : NULL;
    size_t before = at ? (size_t)(at - message) : 0, n = strlen(object);
    if (before && at[-1] == ' ' && strspn(message, "abcdefghijklmnopqrstuvwxyz ") >= before && starts_with(at + n, ": "))
        return at + n + 2;
    return message;
}

static bool opens_any_file(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{0}};
    return syscall(SYS_capget, &head, sets) == 0 && sets[0].effective & 1u << CAP_DAC_OVERRIDE;
}

/* What a capability is missing for, the library knows; what to type instead, only we do. */
static char *failure_words(const struct cli *cli, const struct berth_error *err)
{
    const char *message = err->message[0] ? err->message : berth_code_name(err->code);
    if (err->code == BERTH_DENIED && starts_with(err->object, "CAP_"))
        return text_new("%s: sudo berth %s", message, cli->verb);
    if (err->code == BERTH_DENIED && (err->os_error == EACCES || err->os_error == EPERM) && !opens_any_file())
        return text_new("%s; run it as root: sudo berth %s", message, cli->verb);
    return text_copy(message);
}

int cli_fail(struct cli *cli, const char *object, const struct berth_error *err)
{
    autofree char *words = failure_words(cli, err);
    const char *message = words;
    fflush(stdout);
    if (cli->json) {
        fail_json(err->code, object && *object ? object : err->object, message);
        return exit_code_of(cli, err->code);
    }
    bool named = object && *object;
    autofree char *context = text_new("%s%s%.*s%s%s", cli->verb, cli->verb[0] && named ? " " : "", OBJECT_SHOWN,
                                      named ? object : "", named && strlen(object) > OBJECT_SHOWN ? "..." : "",
                                      cli->verb[0] || named ? ": " : "");
    message = without_context(message, named ? object : "");
    autofree char *whole = text_new("%s%s", context, message);
    autofree char *plain = text_plain(whole);
    fprintf(stderr, "%sberth:%s %s\n", err_is_terminal() ? "\033[31m" : "", err_is_terminal() ? "\033[0m" : "", plain);
    return exit_code_of(cli, err->code);
}

int cli_fail_code(struct cli *cli, const char *object, int code, const char *format, ...)
{
    struct berth_error err = {.code = code};
    va_list list;
    va_start(list, format);
    vsnprintf(err.message, sizeof(err.message), format, list);
    va_end(list);
    return cli_fail(cli, object, &err);
}

int cli_usage(struct cli *cli, const char *format, ...)
{
    struct berth_error err = {.code = BERTH_INVALID};
    va_list list;
    va_start(list, format);
    vsnprintf(err.message, sizeof(err.message), format, list);
    va_end(list);
    int r = cli_fail(cli, NULL, &err);
    return r == EXIT_BERTH_FAILED ? r : EXIT_USAGE;
}

void cli_note(struct cli *cli, const char *format, ...)
{
    if (cli->quiet)
        return;
    va_list list;
    va_start(list, format);
    fputs("berth: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
}

/* ---- runtimes ---------------------------------------------------------------------------------- */

/* --engine-trace: each call of the engine, written down; whole lines, also of several commands at once. */
static int trace(const char *path, struct berth_runtime **runtime, struct berth_error *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd >= 0) {
        int r = berth_trace(*runtime, fd, runtime, err);
        close(fd);
        return r;
    }
    *err = (struct berth_error){.code = BERTH_IO, .os_error = errno};
    snprintf(err->message, sizeof(err->message), "--engine-trace %s: %s", path, strerror(errno));
    return err->code;
}

int cli_runtime(struct cli *cli, const char *name, struct berth_runtime **ret_runtime,
                struct berth_error *err)
{
    size_t i = 0;
    for (; i < CLI_RUNTIMES_MAX && cli->runtimes[i]; i++)
        if (strcmp(berth_name(cli->runtimes[i]), name) == 0) {
            *ret_runtime = cli->runtimes[i];
            return 0;
        }
    if (i == CLI_RUNTIMES_MAX) {
        *err = (struct berth_error){.code = BERTH_TOO_BIG, .message = "too many engines"};
        return BERTH_TOO_BIG;
    }
    struct berth_options options = {.size = sizeof(options), .root = cli->root, .run = cli->run,
                                    .config = cli->config};
    struct berth_runtime *runtime;
    int r = berth_open(name, &options, &runtime, err);
    if (r < 0)
        return r;
    if (cli->engine_trace && (r = trace(cli->engine_trace, &runtime, err)) < 0) {
        berth_close(runtime);
        return r;
    }
    *ret_runtime = cli->runtimes[i] = runtime;
    return 0;
}

int cli_find(struct cli *cli, const char *name, struct berth_runtime **ret_runtime,
             struct berth_handle *ret_handle, struct berth_error *err)
{
    const char *const *engines = berth_engines();
    struct berth_error other;
    int result = BERTH_NOT_FOUND;
    *err = (struct berth_error){.code = BERTH_NOT_FOUND, .message = "no such workload"};
    for (size_t i = 0; engines[i]; i++) {
        struct berth_error *e = i == 0 ? err : &other;
        int r = cli_runtime(cli, engines[i], ret_runtime, e);
        if (r == 0)
            r = berth_find(*ret_runtime, name, ret_handle, e);
        if (r == 0)
            return 0;
        /* what keeps an engine from answering matters more than that another has not got it */
        if (r != BERTH_NOT_FOUND && r != BERTH_UNSUPPORTED && result == BERTH_NOT_FOUND) {
            result = r;
            *err = *e;
        } else if (i == 0) {
            result = r == BERTH_UNSUPPORTED ? BERTH_NOT_FOUND : r;
        }
    }
    return result;
}

struct berth_runtime *cli_container(struct cli *cli)
{
    struct berth_runtime *runtime;
    struct berth_error err;
    if (cli_runtime(cli, "container", &runtime, &err) == 0)
        return runtime;
    cli_fail(cli, NULL, &err);
    return NULL;
}

int cli_each(struct cli *cli, const struct args *args,
             int (*each)(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                         const struct berth_handle *handle, const char *name))
{
    int result = 0;
    for (int i = 0; i < args->n_words && !cli_interrupted(); i++) {
        struct berth_runtime *runtime;
        struct berth_handle handle;
        struct berth_error err;
        int r = cli_find(cli, args->words[i], &runtime, &handle, &err);
        r = r < 0 ? cli_fail(cli, args->words[i], &err) : each(cli, args, runtime, &handle, args->words[i]);
        result = result ? result : r;
    }
    return result;
}

/* ---- waiting ----------------------------------------------------------------------------------- */

static int interrupt_fd = -1, interrupt_signal;

int cli_interrupt_fd(void)
{
    if (interrupt_fd >= 0)
        return interrupt_fd;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    interrupt_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return interrupt_fd;
}

int cli_interrupted(void)
{
    struct signalfd_siginfo info;
    if (interrupt_fd >= 0 && read(interrupt_fd, &info, sizeof(info)) == sizeof(info))
        interrupt_signal = (int)info.ssi_signo;
    return interrupt_signal;
}

bool cli_deadline_passed(const struct cli *cli)
{
    return cli->deadline_usec && monotonic_usec() >= cli->deadline_usec;
}

int cli_remaining_msec(const struct cli *cli)
{
    if (!cli->deadline_usec)
        return -1;
    int64_t left = cli->deadline_usec - monotonic_usec();
    return left <= 0 ? 0 : left > 1000000000000 ? 1000000000 : (int)((left + 999) / 1000);
}

int cli_patience_msec(const struct cli *cli, bool blind)
{
    enum { LOOK_MSEC = 50 };
    int left = cli_remaining_msec(cli);
    return blind && (left < 0 || left > LOOK_MSEC) ? LOOK_MSEC : left;
}

static int give_up(struct cli *cli, struct berth_call *call, struct berth_error *err)
{
    bool late = !cli_interrupted();
    struct berth_error undone;
    berth_call_cancel(call);
    /* create and start undo what they did; that is short, and must not be left half done */
    berth_call_wait(call, 10000, NULL, &undone);
    berth_call_free(call); /* a create that was done before it heard is undone here */
    if (late)
        *err = (struct berth_error){.code = BERTH_TIMED_OUT, .message = "the --deadline passed"};
    else
        *err = (struct berth_error){.code = BERTH_CANCELLED, .message = "interrupted"};
    return err->code;
}

int cli_wait(struct cli *cli, struct berth_call *call, struct berth_result *ret_result,
             struct berth_error *err)
{
    for (;;) {
        int r = berth_call_finish(call, ret_result, err);
        if (r != BERTH_AGAIN) {
            berth_call_free(call);
            return r;
        }
        if (cli_interrupted() || cli_deadline_passed(cli)) /* perhaps heard already, by whoever waited before */
            return give_up(cli, call, err);
        struct pollfd fds[] = {{.fd = berth_call_fd(call), .events = POLLIN},
                               {.fd = cli_interrupt_fd(), .events = POLLIN}};
        if (poll(fds, ARRAY_SIZE(fds), cli_patience_msec(cli, fds[0].fd < 0)) < 0 && errno != EINTR) {
            berth_call_free(call);
            *err = (struct berth_error){.code = BERTH_IO, .os_error = errno, .message = "poll failed"};
            return err->code;
        }
        if (!fds[0].revents && (cli_interrupted() || cli_deadline_passed(cli)))
            return give_up(cli, call, err);
    }
}

/* Verbs without a call of their own are short; one that hangs all the same must keep the deadline. */
static void deadline_alarm(int signal)
{
    static const char message[] = "berth: the --deadline passed\n";
    (void)signal;
    if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0)
        _exit(EXIT_DEADLINE);
    _exit(EXIT_DEADLINE);
}

static void arm_deadline(const struct cli *cli)
{
    enum { SLACK_USEC = 12000000 }; /* first the calls give up by themselves, and undo */
    timer_t timer;
    if (!cli->deadline_usec)
        return;
    bool waits = cli->command->handler != verb_status && cli->command->handler != verb_ps &&
                 cli->command->handler != verb_inspect;
    int64_t at = cli->deadline_usec + (waits ? SLACK_USEC : 0);
    struct itimerspec when = {.it_value = {at / 1000000, at % 1000000 * 1000 + 1}};
    struct sigaction action = {.sa_handler = deadline_alarm};
    sigaction(SIGALRM, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
        timer_settime(timer, TIMER_ABSTIME, &when, NULL);
}

/* ---- the way in -------------------------------------------------------------------------------- */

static bool is_group(const char *word)
{
    static const char *const groups[] = {"image", "volume", "network", "container", "system"};
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
        if (strcmp(groups[i], word) == 0)
            return true;
    return false;
}

static int unknown_verb(struct cli *cli, int argc, char **argv)
{
    bool group = is_group(argv[0]);
    if (argc == 1 && (strcmp(argv[0], "container") == 0 || strcmp(argv[0], "system") == 0))
        return cli_usage(cli, "no verb; `berth %s VERB` is `berth VERB`", argv[0]);
    if (group && (argc == 1 || argv[1][0] == '-')) {
        help_group(argc == 1 ? stderr : stdout, argv[0]);
        return argc == 1 ? EXIT_USAGE : EXIT_DONE;
    }
    autofree char *word = group ? text_new("%s %s", argv[0], argv[1]) : text_copy(argv[0]);
    struct nearest nearest = {.word = word};
    for (size_t i = 0; i < commands_count; i++) {
        nearest_try(&nearest, commands[i].name);
        if (commands[i].alias)
            nearest_try(&nearest, commands[i].alias);
    }
    if (nearest.best)
        return cli_usage(cli, "no verb \"%s\" (did you mean %s?)", word, nearest.best);
    return cli_usage(cli, "no verb \"%s\"; `berth help` lists all", word);
}

/* Whatever was printed must have arrived: half a result with exit code 0 would be a lie. */
static int close_output(struct cli *cli, int code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return code;
    if (errno == EPIPE)
        end_by_pipe();
    return code ? code
                : cli_fail_code(cli, NULL, BERTH_IO, "standard output: %s", strerror(errno));
}

static int run(struct cli *cli, int argc, char **argv)
{
    int used;
    int r = args_parse_global(cli, argc, argv, &used);
    if (r != 0)
        return r < 0 ? 0 : r;
    argc -= used;
    argv += used;
    if (argc == 0) {
        help_overview(stdout);
        return EXIT_DONE;
    }
    const struct command *command = command_find(argv, argc, &used);
    if (!command)
        return unknown_verb(cli, argc, argv);
    cli->command = command;
    cli->verb = command->name;
    struct args args;
    r = args_parse(cli, command, argc - used, argv + used, &args);
    if (r != 0)
        return r < 0 ? 0 : r;
    arm_deadline(cli);
    r = command->handler(cli, &args);
    args_free(&args);
    return r;
}

/* A standard descriptor that is closed must not be the number of the next file that is opened: what is printed would go there.
 * This way it fails, as printing to a closed one does. */
static void hold_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDONLY) != fd) {
            perror("berth: /dev/null");
            _exit(EXIT_FAILED);
        }
}

int main(int argc, char **argv)
{
    hold_standard_descriptors();
    struct cli cli = {.verb = ""};
    int code = close_output(&cli, run(&cli, argc - 1, argv + 1));
    for (size_t i = 0; i < CLI_RUNTIMES_MAX && cli.runtimes[i]; i++)
        berth_close(cli.runtimes[i]);
    json_decref(cli.settings);
    return code;
}
