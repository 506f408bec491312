/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec: one more program inside a running workload, joined to our streams; and those that run.
 */
#include "cli.h"
#include <signal.h>
#include <unistd.h>

/* "NAME=value" strings of a JSON object. */
static char **env_list(json_t *env)
{
    char **list = memory_new((json_object_size(env) + 1) * sizeof(*list));
    const char *name;
    json_t *value;
    size_t n = 0;
    json_object_foreach(env, name, value)
        list[n++] = text_new("%s=%s", name, json_string_value(value));
    list[n] = NULL;
    return list;
}

static int exec_options(struct cli *cli, const struct args *args, struct berth_exec_options *ret_options)
{
    const char *timeout = arg_text(args, "timeout");
    int64_t usec = 0;
    *ret_options = (struct berth_exec_options){.size = sizeof(*ret_options), .user = arg_text(args, "user"),
                                               .workdir = arg_text(args, "workdir"), .tty = arg_true(args, "tty"),
                                               .detach = arg_true(args, "detach"),
                                               .privileged = arg_true(args, "privileged"),
                                               .invoke = arg_text(args, "invoke")};
    if (timeout && parse_duration(timeout, &usec) < 0)
        return cli_usage(cli, "--timeout: \"%s\" is not a duration (10, 250ms, 1m)", timeout);
    if (timeout && usec == 0)
        return cli_usage(cli, "--timeout: \"%s\" leaves no time at all", timeout);
    ret_options->timeout_msec = (usec + 999) / 1000;
    ret_options->stream = !ret_options->detach;
    if (ret_options->tty && arg_true(args, "interactive") && !isatty(STDIN_FILENO))
        return cli_usage(cli, "-i and -t together need a terminal on standard input; leave -t away");
    if (ret_options->tty)
        terminal_size(&ret_options->rows, &ret_options->columns);
    return 0;
}

static int exec_program(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                        const struct berth_handle *handle, struct berth_exec_options *options)
{
    const char *object = args->words[0];
    struct session s = {.cli = cli, .runtime = runtime, .handle = handle, .tty = options->tty,
                        .input = arg_true(args, "interactive") && !options->detach,
                        .signals_to_call = true, .proxy_signals = true};
    int r = detach_keys(cli, args, &s.detach_keys);
    if (r)
        return r;
    /* A call of an export needs no words: its module is the workload's. */
    const char *const module[] = {object, NULL}, *const *argv = args->n_words < 2 ? module : (const char *const *)args->words + 1;
    r = berth_exec_call(runtime, handle, argv, options, &s.call, &s.err);
    if (r == 0 && !s.input && !options->detach)
        berth_call_close_stdin(s.call);
    if (r == 0)
        r = session_run(&s);
    if (r == 0 && s.detached)
        r = berth_call_let_go(s.call, &s.err);
    else if (r == 0 && !s.ended_by)
        r = s.call_code;
    berth_call_free(s.call);
    struct berth_exec_result *result = s.call_result.exec;
    int code = r < 0 ? cli_fail(cli, object, &s.err) : s.ended_by ? 128 + s.ended_by : result && !options->detach ? result->exit_code : 0;
    if (r == 0 && options->detach && result)
        printf("%llu\n", (unsigned long long)result->exec_id);
    berth_exec_result_free(result);
    return code;
}

static int run_exec(struct cli *cli, const struct args *args, struct berth_runtime *runtime, const struct berth_handle *handle)
{
    struct berth_exec_options options;
    autojson json_t *variables = json_object();
    int r = exec_options(cli, args, &options);
    if (r == 0)
        r = env_from_args(cli, args, variables);
    if (r != 0)
        return r;
    char **env = env_list(variables);
    autofree const char **groups = flag_values(args, "group-add");
    options.env = (const char *const *)env;
    options.groups = groups;
    r = exec_program(cli, args, runtime, handle, &options);
    for (size_t i = 0; env[i]; i++)
        free(env[i]);
    free(env);
    return r;
}

static int list_execs(struct cli *cli, struct berth_runtime *runtime, const struct berth_handle *handle)
{
    static const char *const titles[] = {"ID", "PID", "STARTED", "COMMAND"};
    struct table table = {.titles = titles, .n_columns = ARRAY_SIZE(titles), .flexible = 4};
    autofree char *text = NULL;
    autojson json_t *list = NULL;
    struct berth_error err;
    int r = berth_exec_list(runtime, handle, &text, &err);
    if (r == 0)
        r = json_read(text, &list, &err);
    if (r < 0)
        return cli_fail(cli, handle->name, &err);
    size_t i;
    json_t *each;
    json_array_foreach(list, i, each)
    {
        if (cli->json) {
            json_line(each);
            continue;
        }
        char when[SHORT_TEXT];
        autofree char *id = text_new("%lld", (long long)json_number(each, "exec_id"));
        autofree char *pid = text_new("%lld", (long long)json_number(each, "pid"));
        table_row(&table, id, pid, human_when(json_number(each, "started_usec"), when), json_text(each, "command"));
    }
    if (!cli->json)
        table_print(&table);
    return EXIT_DONE;
}

static int kill_exec(struct cli *cli, const struct args *args, struct berth_runtime *runtime, const struct berth_handle *handle)
{
    const char *id = arg_text(args, "kill"), *signal = arg_text(args, "signal");
    struct berth_error err;
    int64_t number;
    int sig = parse_signal(signal ? signal : "KILL");
    if (parse_integer(id, 0, INT64_MAX, &number) < 0)
        return cli_usage(cli, "--kill: \"%s\" is no id of an exec; --list shows them", id);
    if (sig < 0)
        return cli_usage(cli, "--signal: \"%s\" is no signal", signal);
    if (berth_exec_kill(runtime, handle, (uint64_t)number, sig, &err) < 0)
        return cli_fail(cli, handle->name, &err);
    return EXIT_DONE;
}

int verb_exec(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_error err;
    bool other = arg_true(args, "list") || arg_text(args, "kill");
    if (!other && !arg_text(args, "invoke") && args->n_words < 2)
        return cli_usage(cli, "no program; usage: berth exec [flags] %s", cli->command->arguments);
    int r = cli_find(cli, args->words[0], &runtime, &handle, &err);
    if (r < 0)
        return cli_fail(cli, args->words[0], &err);
    if (arg_text(args, "kill"))
        return kill_exec(cli, args, runtime, &handle);
    return other ? list_execs(cli, runtime, &handle) : run_exec(cli, args, runtime, &handle);
}
