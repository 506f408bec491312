/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verbs that change a workload's life: create, start, stop, rm and what is made of them.
 */
#include "cli.h"
#include <berth/container.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- create -------------------------------------------------------------------------------------- */

static int dry_run(struct cli *cli, const char *name, const char *spec_text, json_t *spec)
{
    struct berth_runtime *runtime;
    struct berth_error err;
    autofree char *text = NULL;
    autojson json_t *document = NULL;
    int r = cli_runtime(cli, spec_runtime(spec), &runtime, &err);
    if (r == 0)
        r = berth_plan(runtime, spec_text, &text, &err);
    if (r == BERTH_UNSUPPORTED && text == NULL && berth_name(runtime) && strcmp(berth_name(runtime), "fake") == 0) {
        document = json_pack("{s:O, s:n}", "spec", spec, "plan"); /* an engine without plans */
        r = 0;
    } else if (r == 0) {
        r = json_read(text, &document, &err);
    }
    if (r < 0)
        return cli_fail(cli, name, &err);
    json_document(document);
    return EXIT_DONE;
}

/* The id goes into a file that must not exist yet: two workloads must not write over each other. */
static int open_cidfile(struct cli *cli, const struct args *args, int *ret_fd)
{
    const char *path = arg_text(args, "cidfile");
    *ret_fd = -1;
    if (!path)
        return 0;
    *ret_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (*ret_fd >= 0)
        return 0;
    return cli_fail_code(cli, path, errno == EEXIST ? BERTH_EXISTS : BERTH_IO, "--cidfile: %s", strerror(errno));
}

static int close_cidfile(struct cli *cli, const struct args *args, int fd, const char *id)
{
    if (fd < 0)
        return 0;
    int r = id ? write_all(fd, id, strlen(id)) : 0;
    if (close(fd) < 0 && r == 0)
        r = -errno;
    if (!id)
        unlink(arg_text(args, "cidfile"));
    return r == 0 ? 0 : cli_fail_code(cli, arg_text(args, "cidfile"), BERTH_IO, "--cidfile: %s", strerror(-r));
}

/* A runtime that is not in this build: say what would do instead. */
int fail_runtime(struct cli *cli, const char *object, const char *runtime, struct berth_error *err)
{
    if (err->code == BERTH_NOT_FOUND && strcmp(runtime, "wasm") == 0) {
        err->code = BERTH_UNSUPPORTED;
        snprintf(err->message, sizeof(err->message),
                 "a Wasm module, and this build has no engine \"wasm\"; `berth engines` lists what it has");
    }
    return cli_fail(cli, object, err);
}

/* An image that is not here: this build can't fetch it, so tell how it gets here. */
static int fail_create(struct cli *cli, const json_t *spec, struct berth_error *err)
{
    const char *name = json_string_value(json_object_get(spec, "name"));
    const char *image = json_string_value(json_object_get(spec, "image"));
    if (err->code == BERTH_NOT_FOUND && image && strcmp(err->object, image) == 0 && !strstr(err->message, "berth image") &&
        !strchr("./", image[0])) { /* a path says itself what is not there */
        size_t n = strlen(err->message);
        snprintf(err->message + n, sizeof(err->message) - n, " (`berth image load FILE` or `image import` brings it here)");
    }
    return cli_fail(cli, name, err);
}

/* By this engine; *ret_runtime NULL when there is none of that name. */
static int create_as(struct cli *cli, const char *runtime, const char *text, struct berth_runtime **ret_runtime,
                     struct berth_result *ret_result, struct berth_error *err)
{
    struct berth_call *call;
    *ret_runtime = NULL;
    int r = cli_runtime(cli, runtime, ret_runtime, err);
    if (r == 0)
        r = berth_create_call(*ret_runtime, text, &call, err);
    if (r == 0) /* with progress when its image is pulled first */
        r = cli->quiet ? cli_wait(cli, call, ret_result, err) : work_run(cli, call, ret_result, err);
    return r;
}

/* Make it; on success *ret_handle and *ret_runtime. */
static int create(struct cli *cli, const struct args *args, json_t *spec, struct berth_runtime **ret_runtime,
                  struct berth_handle *ret_handle)
{
    const char *name = json_text(spec, "name");
    autofree char *text = json_dumps(spec, JSON_COMPACT);
    struct berth_error err;
    struct berth_result result = {0};
    int cidfile;
    const char *runtime = spec_runtime(spec);
    int r = open_cidfile(cli, args, &cidfile);
    if (r != 0)
        return r;
    r = create_as(cli, runtime, text ? text : "", ret_runtime, &result, &err);
    if (r == BERTH_UNSUPPORTED && strcmp(err.object, "image") == 0 && !json_object_get(spec, "runtime")) /* by now it is here, and no container */
        r = create_as(cli, runtime = "wasm", text ? text : "", ret_runtime, &result, &err);
    if (r < 0 && !*ret_runtime) {
        close_cidfile(cli, args, cidfile, NULL);
        return fail_runtime(cli, name, runtime, &err);
    }
    if (r < 0) {
        close_cidfile(cli, args, cidfile, NULL);
        return fail_create(cli, spec, &err);
    }
    char id[BERTH_ID_TEXT];
    *ret_handle = result.handle;
    berth_id_print(result.handle.id, id);
    return close_cidfile(cli, args, cidfile, id);
}

static void print_id(struct cli *cli, const struct berth_handle *handle)
{
    char id[BERTH_ID_TEXT];
    berth_id_print(handle->id, id);
    if (!cli->json) {
        puts(id);
        return;
    }
    autojson json_t *object = json_pack("{s:s, s:s, s:s}", "id", id, "name", handle->name, "runtime", handle->runtime);
    json_line(object);
}

/* Said once for the first port that only this host can reach: the commonest surprise after docker. */
static void note_ports(struct cli *cli, const json_t *spec)
{
    json_t *first = json_array_get(json_object_get(spec, "ports"), 0);
    const char *port = json_string_value(first);
    size_t colons = 0;
    for (const char *p = port; p && *p; p++)
        colons += *p == ':';
    if (port && colons < 2)
        cli_note(cli, "port %s is open on 127.0.0.1 only; -p 0.0.0.0:%s%s opens it to everybody", port,
                 colons ? "" : ":", port);
}

int verb_create(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime;
    struct berth_handle handle;
    int r;
    autojson json_t *spec = spec_from_args(cli, args, &r);
    if (!spec)
        return r;
    autofree char *text = json_dumps(spec, JSON_COMPACT);
    if (arg_true(args, "dry-run"))
        return dry_run(cli, json_text(spec, "name"), text ? text : "", spec);
    r = create(cli, args, spec, &runtime, &handle);
    if (r == 0) {
        note_ports(cli, spec);
        print_id(cli, &handle);
    }
    return r;
}

/* ---- run, start, attach -------------------------------------------------------------------------- */

/* Another's firewall in its way shows in nothing of berth's: it is said as soon as it runs. */
static void note_firewalls(struct cli *cli, struct berth_runtime *runtime, const struct berth_handle *handle)
{
    autofree char *text = NULL, *opens = text_copy("");
    autojson json_t *all = NULL;
    if (berth_obstacles(runtime, handle, &text, NULL) < 0 || json_read(text, &all, NULL) < 0 || json_array_size(all) == 0)
        return;
    json_t *first = json_array_get(all, 0), *each;
    size_t i, others = json_array_size(all) - 1;
    json_array_foreach(json_object_get(first, "opens"), i, each)
    {
        char *more = text_new("%s%s%s", opens, i ? "; " : "", json_string_value(each));
        free(opens);
        opens = more;
    }
    cli_note(cli, "warning: %s's chain %s %s %s drops %s; this opens it: %s%s", json_text(first, "tool"), json_text(first, "family"),
             json_text(first, "table"), json_text(first, "chain"),
             strcmp(json_text(first, "hook"), "input") == 0 ? "what workloads ask for names" : "what workloads and the world say to each other",
             opens, others ? " (not the only one: berth doctor)" : "");
}

static int start(struct cli *cli, struct berth_runtime *runtime, const struct berth_handle *handle, struct berth_error *err)
{
    struct berth_call *call;
    int r = berth_start_call(runtime, handle, &call, err);
    if (r == 0)
        r = cli_wait(cli, call, NULL, err);
    if (r == 0)
        note_firewalls(cli, runtime, handle);
    return r;
}

int detach_keys(struct cli *cli, const struct args *args, const char **ret_keys)
{
    unsigned char keys[16];
    const char *text = arg_text(args, "detach-keys");
    *ret_keys = text ? text : "ctrl-p,ctrl-q";
    if (detach_keys_parse(*ret_keys, keys, sizeof(keys)) < 0)
        return cli_usage(cli, "--detach-keys: \"%s\" is not like ctrl-p,ctrl-q", text);
    return 0;
}

static bool proxies_signals(const struct args *args)
{
    const char *value = arg_text(args, "sig-proxy");
    return !value || strcmp(value, "true") == 0;
}

/* What a session ended with, as an exit code. */
static int session_exit(struct session *s, const char *name)
{
    if (s->detached)
        return EXIT_DONE;
    if (s->ended_by)
        return 128 + s->ended_by;
    if (s->wait && s->wait_code < 0)
        return cli_fail(s->cli, name, &s->err);
    autostatus struct berth_status *status = s->wait ? s->wait_result.status : NULL;
    if (!status && berth_status(s->runtime, s->handle, &status, &s->err) < 0)
        return cli_fail(s->cli, name, &s->err);
    if (status->exit_code < 0)
        return cli_fail_code(s->cli, name, BERTH_WRONG_STATE, "the run that was attached to has ended, and another has begun");
    return status->exit_code;
}

struct follow {
    bool tty, input, log; /* of the spec: a terminal, an open standard input, a log to read */
    uint32_t streams;     /* what is shown of a log; 0: all */
    int64_t since_usec;
    struct berth_call *call; /* joined before the start; NULL: not */
};

/*
 * Before the start: whatever is as short as can be is seen whole, and one that removes itself (--rm)
 * waits with that until we have looked.
 */
static int join(struct berth_runtime *runtime, const struct berth_handle *handle, struct follow *f, struct berth_error *err)
{
    struct berth_attach_options options = {.size = sizeof(options), .input = f->input, .next_start = true,
                                           .no_output = f->log && !f->input && !f->tty};
    terminal_size(&options.rows, &options.columns);
    int r = berth_attach_call(runtime, handle, &options, &f->call, err);
    return r == BERTH_UNSUPPORTED ? 0 : r;
}

/*
 * See a workload to its end. Its output is read from the log, so that nothing of it is missed
 * and no reader is in its way; only input needs an attach. Without a log the attach brings the
 * output too.
 */
static int follow(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                  const struct berth_handle *handle, const struct follow *f)
{
    struct session s = {.cli = cli, .runtime = runtime, .handle = handle, .tty = f->tty, .input = f->input, .call = f->call,
                        .proxy_signals = proxies_signals(args), .drop_output = f->log, .whole_output = !f->log};
    struct berth_attach_options options = {.size = sizeof(options), .input = f->input};
    struct berth_logs_options logs = {.size = sizeof(logs), .follow = true, .frames = true,
                                      .streams = f->streams, .since_usec = f->since_usec};
    struct berth_error err;
    int r = detach_keys(cli, args, &s.detach_keys);
    if (r != 0) {
        berth_call_free(s.call);
        return r;
    }
    terminal_size(&options.rows, &options.columns);
    r = berth_wait_call(runtime, handle, &s.wait, &err);
    if (r == 0 && f->log)
        r = berth_logs(runtime, handle, &logs, &s.logs, &err);
    if (r == 0 && !s.call && (f->input || f->tty || !f->log)) {
        r = berth_attach_call(runtime, handle, &options, &s.call, &err);
        if (r == BERTH_WRONG_STATE && f->log)
            r = 0; /* it has ended already: the log has it all */
    }
    if (r == 0)
        r = session_run(&s);
    else
        s.err = err;
    r = r < 0 ? cli_fail(cli, handle->name, &s.err) : session_exit(&s, handle->name);
    berth_status_free(s.call_result.status);
    berth_call_free(s.call);
    berth_call_free(s.wait);
    berth_stream_free(s.logs);
    return r;
}

/* A terminal for the program asks for one here. */
static int check_terminal(struct cli *cli, bool tty, bool input)
{
    if (!tty || !input || isatty(STDIN_FILENO))
        return 0;
    return cli_usage(cli, "-i and -t together need a terminal on standard input; leave -t away");
}

/* With --rm nothing is left when the command returns, though it would be removed without us as well.
 * Without `force` one that goes on is let alone. */
static void remove_if_asked(struct berth_runtime *runtime, const struct berth_handle *handle, bool asked, bool force)
{
    struct berth_remove_options options = {.size = sizeof(options), .force = force, .volumes = true};
    if (asked)
        berth_remove(runtime, handle, &options, NULL);
}

/* -a: which of the three are joined to ours; all when it isn't given. */
static int attached_streams(struct cli *cli, const struct args *args, struct follow *f)
{
    static const struct {
        const char *name;
        uint32_t stream;
    } names[] = {{"stdin", 0}, {"stdout", BERTH_STDOUT}, {"stderr", BERTH_STDERR}};
    bool any = false, input = false;
    for (size_t i = 0; i < args->n_flags; i++) {
        size_t k = 0;
        if (strcmp(args->flags[i].flag->name, "attach") != 0)
            continue;
        while (k < ARRAY_SIZE(names) && strcasecmp(names[k].name, args->flags[i].value))
            k++;
        if (k == ARRAY_SIZE(names))
            return cli_usage(cli, "--attach: \"%s\" is not stdin, stdout or stderr", args->flags[i].value);
        f->streams |= names[k].stream;
        input |= k == 0;
        any = true;
    }
    f->input &= !any || input;
    return 0;
}

static int read_run(struct cli *cli, const struct args *args, json_t *spec, struct follow *f)
{
    *f = (struct follow){.tty = json_is_true(json_object_get(spec, "tty")), .input = json_is_true(json_object_get(spec, "stdin")),
                         .log = strcmp(json_text(spec, "log.driver"), "none") != 0};
    int r = attached_streams(cli, args, f);
    return r ? r : check_terminal(cli, f->tty, f->input);
}

int verb_run(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_error err;
    struct follow f = {0};
    const char *keys;
    int r;
    autojson json_t *spec = spec_from_args(cli, args, &r);
    if (!spec)
        return r;
    autofree char *text = json_dumps(spec, JSON_COMPACT);
    bool detach = arg_true(args, "detach");
    if (arg_true(args, "dry-run"))
        return dry_run(cli, json_text(spec, "name"), text ? text : "", spec);
    r = detach_keys(cli, args, &keys);
    if (r == 0 && !detach)
        r = read_run(cli, args, spec, &f);
    bool remove = json_is_true(json_object_get(spec, "remove"));
    if (r == 0)
        r = create(cli, args, spec, &runtime, &handle);
    if (r != 0)
        return r;
    note_ports(cli, spec);
    r = detach ? 0 : join(runtime, &handle, &f, &err);
    if (r == 0)
        r = start(cli, runtime, &handle, &err);
    if (r < 0) {
        r = cli_fail(cli, handle.name, &err);
        berth_call_free(f.call);
        remove_if_asked(runtime, &handle, remove, true);
        return r;
    }
    if (!detach) {
        r = follow(cli, args, runtime, &handle, &f);
        remove_if_asked(runtime, &handle, remove, false);
        return r;
    }
    print_id(cli, &handle);
    return EXIT_DONE;
}

/* What kind of workload it is, from its own spec. */
static int read_follow(struct berth_runtime *runtime, const struct berth_handle *handle, struct follow *ret_follow,
                       struct berth_error *err)
{
    autofree char *text = NULL;
    autojson json_t *inspect = NULL;
    int r = berth_inspect(runtime, handle, &text, err);
    if (r == 0)
        r = json_read(text, &inspect, err);
    if (r == BERTH_UNSUPPORTED) {
        *ret_follow = (struct follow){.log = true};
        return 0;
    }
    if (r < 0)
        return r;
    ret_follow->tty = json_is_true(json_find(inspect, "spec.tty"));
    ret_follow->input = json_is_true(json_find(inspect, "spec.stdin"));
    ret_follow->log = strcmp(json_text(inspect, "spec.log.driver"), "none") != 0;
    return 0;
}

static int start_one(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                     const struct berth_handle *handle, const char *name)
{
    struct berth_error err;
    struct follow f = {0};
    bool attach = arg_true(args, "attach") || arg_true(args, "interactive");
    int64_t since = clock_usec();
    int r = attach ? read_follow(runtime, handle, &f, &err) : 0;
    f.input &= arg_true(args, "interactive");
    if (r == 0 && attach)
        r = join(runtime, handle, &f, &err);
    if (r == 0)
        r = start(cli, runtime, handle, &err);
    if (r < 0) {
        berth_call_free(f.call);
        return cli_fail(cli, name, &err);
    }
    if (!attach) {
        if (cli->json)
            print_id(cli, handle);
        else
            puts(name);
        return EXIT_DONE;
    }
    f.since_usec = since;
    return follow(cli, args, runtime, handle, &f);
}

int verb_start(struct cli *cli, const struct args *args)
{
    if (args->n_words > 1 && (arg_true(args, "attach") || arg_true(args, "interactive")))
        return cli_usage(cli, "-a and -i take one name");
    return cli_each(cli, args, start_one);
}

static int attach_one(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                      const struct berth_handle *handle, const char *name)
{
    struct session s = {.cli = cli, .runtime = runtime, .handle = handle, .proxy_signals = proxies_signals(args)};
    struct berth_attach_options options = {.size = sizeof(options)};
    struct follow f;
    int r = detach_keys(cli, args, &s.detach_keys);
    if (r != 0)
        return r;
    r = read_follow(runtime, handle, &f, &s.err);
    if (r < 0)
        return cli_fail(cli, name, &s.err);
    s.tty = f.tty;
    s.input = options.input = f.input && !arg_true(args, "no-stdin");
    r = check_terminal(cli, s.tty, s.input);
    if (r != 0)
        return r;
    terminal_size(&options.rows, &options.columns);
    r = berth_attach_call(runtime, handle, &options, &s.call, &s.err);
    if (r == 0)
        r = session_run(&s);
    berth_call_free(s.call);
    berth_status_free(s.call_result.status);
    if (r < 0)
        return cli_fail(cli, name, &s.err);
    return session_exit(&s, name);
}

int verb_attach(struct cli *cli, const struct args *args)
{
    return cli_each(cli, args, attach_one);
}

/* ---- stop, rm and others that answer with the name ------------------------------------------------ */

static int done(struct cli *cli, int r, const char *name, const struct berth_handle *handle, const struct berth_error *err)
{
    if (r < 0)
        return cli_fail(cli, name, err);
    if (cli->json)
        print_id(cli, handle);
    else
        puts(name);
    return EXIT_DONE;
}

static int stop_timeout(struct cli *cli, const struct args *args, int64_t *ret_msec)
{
    const char *text = arg_text(args, "timeout") ? arg_text(args, "timeout") : arg_text(args, "time");
    int64_t usec;
    *ret_msec = BERTH_TIMEOUT_SPEC;
    if (!text)
        return 0;
    if (strcmp(text, "-1") == 0) { /* docker: however long it takes */
        *ret_msec = INT64_MAX / 2000;
        return 0;
    }
    if (parse_duration(text, &usec) < 0)
        return cli_usage(cli, "--timeout: \"%s\" is not a duration (10, 250ms, 1m)", text);
    *ret_msec = (usec + 999) / 1000;
    return 0;
}

static int stop_one(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                    const struct berth_handle *handle, const char *name)
{
    struct berth_call *call;
    struct berth_error err;
    int64_t timeout_msec;
    int r = stop_timeout(cli, args, &timeout_msec);
    if (r != 0)
        return r;
    r = berth_stop_call(runtime, handle, timeout_msec, &call, &err);
    if (r == 0)
        r = cli_wait(cli, call, NULL, &err);
    return done(cli, r, name, handle, &err);
}

int verb_stop(struct cli *cli, const struct args *args)
{
    return cli_each(cli, args, stop_one);
}

static int restart_one(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                       const struct berth_handle *handle, const char *name)
{
    struct berth_call *call;
    struct berth_error err;
    int64_t timeout_msec;
    int r = stop_timeout(cli, args, &timeout_msec);
    if (r != 0)
        return r;
    r = berth_restart_call(runtime, handle, timeout_msec, &call, &err);
    if (r == 0)
        r = cli_wait(cli, call, NULL, &err);
    if (r == BERTH_UNSUPPORTED) { /* an engine without it: stop, then start */
        r = berth_stop_call(runtime, handle, timeout_msec, &call, &err);
        if (r == 0)
            r = cli_wait(cli, call, NULL, &err);
        if (r == 0)
            r = start(cli, runtime, handle, &err);
    }
    return done(cli, r, name, handle, &err);
}

int verb_restart(struct cli *cli, const struct args *args)
{
    return cli_each(cli, args, restart_one);
}

/* By name: with -f one that isn't there is no error, as in docker. */
int verb_rm(struct cli *cli, const struct args *args)
{
    struct berth_remove_options options = {.size = sizeof(options), .force = arg_true(args, "force"),
                                           .volumes = arg_true(args, "volumes")};
    int result = 0;
    for (int i = 0; i < args->n_words && !cli_interrupted(); i++) {
        const char *name = args->words[i];
        struct berth_runtime *runtime;
        struct berth_handle handle;
        struct berth_call *call;
        struct berth_error err;
        int r = cli_find(cli, name, &runtime, &handle, &err);
        if (r == BERTH_NOT_FOUND && options.force)
            continue;
        if (r == 0)
            r = berth_remove_call(runtime, &handle, &options, &call, &err);
        if (r == 0)
            r = cli_wait(cli, call, NULL, &err);
        if (r == BERTH_WRONG_STATE && !options.force && !strstr(err.message, "-f")) {
            size_t n = strlen(err.message);
            snprintf(err.message + n, sizeof(err.message) - n, " (stop it first, or rm -f)");
        }
        r = done(cli, r, name, &handle, &err);
        result = result ? result : r;
    }
    return result;
}

static int wait_one(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                    const struct berth_handle *handle, const char *name)
{
    struct berth_call *call;
    struct berth_error err;
    struct berth_result result = {0};
    (void)args;
    int r = berth_wait_call(runtime, handle, &call, &err);
    if (r == 0)
        r = cli_wait(cli, call, &result, &err);
    if (r < 0)
        return cli_fail(cli, name, &err);
    autostatus struct berth_status *status = result.status;
    if (!cli->json) {
        printf("%d\n", status->exit_code);
        return EXIT_DONE;
    }
    autojson json_t *object = json_pack("{s:s, s:i, s:i, s:s, s:s}", "name", handle->name, "exit_code", status->exit_code,
                                        "signal", status->signal, "state", berth_state_name(status->state), "reason", status->reason);
    json_line(object);
    return EXIT_DONE;
}

int verb_wait(struct cli *cli, const struct args *args)
{
    return cli_each(cli, args, wait_one);
}

/* KILL can't be refused: as elsewhere, `kill` answers when the program has ended, so that a removal may follow. */
static int await_killed(struct cli *cli, struct berth_runtime *runtime, const struct berth_handle *handle, struct berth_error *err)
{
    struct berth_call *call;
    struct berth_result result = {0};
    int r = berth_wait_call(runtime, handle, &call, err);
    if (r == 0)
        r = cli_wait(cli, call, &result, err);
    berth_status_free(result.status);
    return r < 0 && r != BERTH_NOT_FOUND ? r : 0; /* one of `run --rm` is gone with its end */
}

static int kill_one(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                    const struct berth_handle *handle, const char *name)
{
    const char *text = arg_text(args, "signal");
    struct berth_error err;
    int signal = parse_signal(text ? text : "KILL");
    int r = berth_signal(runtime, handle, signal, &err);
    if (r == 0 && signal == SIGKILL)
        r = await_killed(cli, runtime, handle, &err);
    return done(cli, r, name, handle, &err);
}

int verb_kill(struct cli *cli, const struct args *args)
{
    const char *text = arg_text(args, "signal");
    if (text && parse_signal(text) < 0)
        return cli_usage(cli, "--signal: \"%s\" is no signal", text);
    return cli_each(cli, args, kill_one);
}

static int pause_one(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                     const struct berth_handle *handle, const char *name)
{
    struct berth_error err;
    (void)args;
    return done(cli, berth_pause(runtime, handle, &err), name, handle, &err);
}

int verb_pause(struct cli *cli, const struct args *args)
{
    return cli_each(cli, args, pause_one);
}

static int unpause_one(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                       const struct berth_handle *handle, const char *name)
{
    struct berth_error err;
    (void)args;
    return done(cli, berth_unpause(runtime, handle, &err), name, handle, &err);
}

int verb_unpause(struct cli *cli, const struct args *args)
{
    return cli_each(cli, args, unpause_one);
}

static int update_one(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                      const struct berth_handle *handle, const char *name)
{
    struct berth_error err;
    int r;
    autojson json_t *patch = patch_from_args(cli, args, &r);
    if (!patch)
        return r;
    if (publish_given(args) && ((r = publish_from_args(runtime, handle, args, &err)) < 0 || json_object_size(patch) == 0))
        return done(cli, r, name, handle, &err);
    autofree char *text = json_dumps(patch, JSON_COMPACT);
    return done(cli, berth_update(runtime, handle, text ? text : "", &err), name, handle, &err);
}

int verb_update(struct cli *cli, const struct args *args)
{
    return cli_each(cli, args, update_one);
}

int verb_rename(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_error err;
    int r = cli_find(cli, args->words[0], &runtime, &handle, &err);
    if (r == 0)
        r = berth_rename(runtime, &handle, args->words[1], &err);
    if (r < 0)
        return cli_fail(cli, args->words[0], &err);
    return EXIT_DONE;
}
