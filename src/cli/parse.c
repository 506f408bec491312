/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flags as docker takes them: --flag value, --flag=value, -f value, -fvalue, -abc, --switch=false.
 *
 * getopt_long is not used because the tables know more than it does: what is nearest to a misspelt
 * flag, and that flags end at the first word where a program's own follow.
 */
#include "cli.h"

static const struct flag *find_long(const struct command *command, const char *name, size_t length)
{
    const struct flag *f;
    for (size_t i = 0; (f = command_flag(command, i)); i++)
        if (strlen(f->name) == length && memcmp(f->name, name, length) == 0)
            return f;
    return NULL;
}

static const struct flag *find_global(const char *name, size_t length)
{
    for (const struct flag *f = global_flags; f->name; f++)
        if (strlen(f->name) == length && memcmp(f->name, name, length) == 0)
            return f;
    return NULL;
}

static const struct flag *find_short(const struct command *command, char letter)
{
    const struct flag *f;
    for (size_t i = 0; (f = command_flag(command, i)); i++)
        if (f->letter == letter)
            return f;
    return NULL;
}

static int set_deadline(struct cli *cli, const char *value)
{
    int64_t usec;
    if (parse_duration(value, &usec) < 0)
        return cli_usage(cli, "--deadline: \"%s\" is not a duration (10s, 250ms, 5m)", value);
    cli->deadline_usec = monotonic_usec() + usec;
    return 0;
}

/* The global flags, wherever they stand. */
static int set_global(struct cli *cli, const struct flag *flag, const char *value)
{
    const struct {
        const char *name;
        const char **text;
        bool *on;
    } places[] = {{"config", &cli->config, NULL}, {"root", &cli->root, NULL}, {"run", &cli->run, NULL}, {"engine-trace", &cli->engine_trace, NULL},
                  {"json", NULL, &cli->json}, {"quiet", NULL, &cli->quiet}, {"verbose", NULL, &cli->verbose}};
    for (size_t i = 0; i < ARRAY_SIZE(places); i++)
        if (strcmp(flag->name, places[i].name) == 0) {
            if (places[i].on)
                *places[i].on = strcmp(value, "true") == 0;
            else
                *places[i].text = value;
            return 0;
        }
    if (strcmp(flag->name, "deadline") == 0)
        return set_deadline(cli, value);
    if (strcmp(flag->name, "version") == 0) {
        printf("berth %s\n", berth_version());
        return -1;
    }
    if (cli->command)
        help_command(stdout, cli->command);
    else
        help_overview(stdout);
    return -1;
}

static void add(struct args *args, const struct flag *flag, const char *value)
{
    args->flags = memory_grow(args->flags, (args->n_flags + 1) * sizeof(*args->flags));
    args->flags[args->n_flags++] = (struct arg){flag, value};
}

static int unknown_long(struct cli *cli, const struct command *command, const char *word)
{
    autofree char *name = strndup(word, strcspn(word, "="));
    struct nearest nearest = {.word = name ? name : word};
    const struct flag *f;
    for (size_t i = 0; command && (f = command_flag(command, i)); i++)
        nearest_try(&nearest, f->name);
    for (f = global_flags; f->name; f++)
        nearest_try(&nearest, f->name);
    autofree char *verb = command ? text_new(" %s", command->name) : text_copy("");
    if (nearest.best)
        return cli_usage(cli, "unknown flag --%s (did you mean --%s?)", nearest.word, nearest.best);
    return cli_usage(cli, "unknown flag --%s; `berth%s --help` lists them", nearest.word, verb);
}

/* One flag with its value: from behind "=", or the next word. */
static int take(struct cli *cli, struct args *args, const struct flag *flag, bool global,
                const char *inline_value, int argc, char **argv, int *index)
{
    bool on;
    const char *value = inline_value;
    if (!flag->argument) {
        if (value && !text_is_true(value, &on))
            return cli_usage(cli, "--%s: \"%s\" is neither true nor false", flag->name, value);
        value = !value || on ? "true" : "false";
    } else if (!value) {
        if (*index + 1 >= argc)
            return cli_usage(cli, "--%s needs %s", flag->name, flag->argument);
        value = argv[++*index];
    }
    if (global)
        return set_global(cli, flag, value);
    add(args, flag, value);
    return 0;
}

static int take_long(struct cli *cli, const struct command *command, struct args *args, int argc,
                     char **argv, int *index)
{
    const char *word = argv[*index] + 2;
    size_t length = strcspn(word, "=");
    const struct flag *flag = command ? find_long(command, word, length) : NULL;
    bool global = !flag;
    if (!flag)
        flag = find_global(word, length);
    if (!flag)
        return unknown_long(cli, command, word);
    return take(cli, args, flag, global, word[length] ? word + length + 1 : NULL, argc, argv, index);
}

static int take_short(struct cli *cli, const struct command *command, struct args *args, int argc,
                      char **argv, int *index)
{
    for (const char *p = argv[*index] + 1; *p; p++) {
        const struct flag *flag = command ? find_short(command, *p) : NULL;
        bool version = !command && *p == 'v', global = !flag && (*p == 'h' || version);
        if (global)
            flag = version ? find_global("version", 7) : find_global("help", 4);
        if (!flag)
            return cli_usage(cli, "unknown flag -%c; `berth%s%s --help` lists them", *p,
                             command ? " " : "", command ? command->name : "");
        const char *value = NULL;
        if (flag->argument && p[1])
            value = p + 1 + (p[1] == '=');
        else if (!flag->argument && p[1] == '=')
            value = p + 2;
        int r = take(cli, args, flag, global, value, argc, argv, index);
        if (r != 0 || value || flag->argument)
            return r;
    }
    return 0;
}

static bool is_flag(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

static int check_count(struct cli *cli, const struct command *command, const struct args *args)
{
    if (args->n_words >= command->least && (command->most < 0 || args->n_words <= command->most))
        return 0;
    if (args->n_words < command->least)
        return cli_usage(cli, "too few arguments; usage: berth %s [flags] %s", command->name, command->arguments);
    return cli_usage(cli, "too many arguments, from \"%s\" on; usage: berth %s [flags] %s",
                     args->words[command->most], command->name, command->arguments);
}

int args_parse(struct cli *cli, const struct command *command, int argc, char **argv,
               struct args *ret_args)
{
    struct args args = {.words = memory_new(((size_t)argc + 1) * sizeof(char *))};
    bool words_only = false;
    int r = 0;
    for (int i = 0; i < argc && r == 0; i++) {
        if (!words_only && strcmp(argv[i], "--") == 0) {
            words_only = true;
        } else if (words_only || !is_flag(argv[i])) {
            args.words[args.n_words++] = argv[i];
            words_only |= (command->bits & COMMAND_FLAGS_FIRST) != 0;
        } else if (command->bits & COMMAND_LATER && strcmp(argv[i], "--help") && strcmp(argv[i], "--json")) {
            continue; /* whatever its flags will be: the answer is what to use instead */
        } else {
            r = argv[i][1] == '-' ? take_long(cli, command, &args, argc, argv, &i)
                                  : take_short(cli, command, &args, argc, argv, &i);
        }
    }
    if (r == 0)
        r = check_count(cli, command, &args);
    if (r != 0) {
        args_free(&args);
        return r;
    }
    *ret_args = args;
    return 0;
}

int args_parse_global(struct cli *cli, int argc, char **argv, int *ret_used)
{
    struct args none = {0};
    int i = 0, r = 0;
    for (; i < argc && is_flag(argv[i]) && r == 0; i++)
        r = argv[i][1] == '-' ? take_long(cli, NULL, &none, argc, argv, &i)
                              : take_short(cli, NULL, &none, argc, argv, &i);
    *ret_used = i;
    return r;
}

void args_free(struct args *args)
{
    free(args->flags);
    free(args->words);
    *args = (struct args){0};
}

const char *arg_text(const struct args *args, const char *name)
{
    for (size_t i = args->n_flags; i-- > 0;)
        if (strcmp(args->flags[i].flag->name, name) == 0)
            return args->flags[i].value;
    return NULL;
}

bool arg_true(const struct args *args, const char *name)
{
    const char *value = arg_text(args, name);
    return value && strcmp(value, "true") == 0;
}
