/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What images, volumes and networks have in common as things with names: how a document is taken and
 * shown, filters, and listing, inspecting, removing and pruning.
 */
#include "cli.h"
#include <berth/container.h>
#include <unistd.h>

json_t *take_json(struct cli *cli, const char *object, int code, char *text, struct berth_error *err, int *ret_exit)
{
    json_t *json = NULL;
    *ret_exit = 0;
    int r = code < 0 ? code : json_read(text, &json, err);
    free(text);
    if (r < 0)
        *ret_exit = cli_fail(cli, object, err);
    return json;
}

int check_format(struct cli *cli, const struct args *args, const char **ret_format)
{
    *ret_format = arg_text(args, "format");
    int r = *ret_format ? template_check(cli, *ret_format) : 0;
    if (r == 0 && *ret_format)
        template_title(*ret_format);
    return r;
}

int print_one(struct cli *cli, const char *format, json_t *json)
{
    int r = format ? template_fields(cli, format, json) : 0;
    if (r == 0 && format)
        template_print(format, json);
    else if (r == 0)
        json_document(json);
    return r;
}

void print_name(struct cli *cli, const char *key, const char *name)
{
    if (cli->json) {
        autojson json_t *json = json_pack("{s:s}", key, name);
        json_line(json);
    } else {
        puts(name);
    }
}

const char **flag_values(const struct args *args, const char *flag)
{
    const char **list = memory_new((args->n_flags + 1) * sizeof(*list));
    size_t n = 0;
    for (size_t i = 0; i < args->n_flags; i++)
        if (strcmp(args->flags[i].flag->name, flag) == 0)
            list[n++] = args->flags[i].value;
    if (n)
        return list;
    free(list);
    return NULL;
}

/* ---- filters: those of one name are alternatives, those of several hold together, as docker has it */

bool dangling_is(bool dangling, const char *wanted)
{
    return dangling == (strcmp(wanted, "true") == 0 || strcmp(wanted, "1") == 0);
}

static const struct filter *filter_of(const struct filter *filters, const char *text)
{
    size_t n = strcspn(text, "=");
    while (filters->name && (strlen(filters->name) != n || memcmp(filters->name, text, n) != 0 || !text[n]))
        filters++;
    return filters->name ? filters : NULL;
}

int thing_filters(struct cli *cli, const struct args *args, const struct filter *filters)
{
    for (size_t i = 0; i < args->n_flags; i++)
        if (strcmp(args->flags[i].flag->name, "filter") == 0 && !filter_of(filters, args->flags[i].value))
            return cli_usage(cli, "--filter: \"%s\" is none; `berth %s --help` names them", args->flags[i].value, cli->command->name);
    return 0;
}

bool thing_passes(const struct args *args, const struct filter *filters, json_t *thing)
{
    for (const struct filter *f = filters; f->name; f++) {
        bool asked = false, any = false;
        for (size_t i = 0; i < args->n_flags; i++)
            if (strcmp(args->flags[i].flag->name, "filter") == 0 && filter_of(filters, args->flags[i].value) == f) {
                asked = true;
                any |= f->matches(thing, args->flags[i].value + strlen(f->name) + 1);
            }
        if (asked && !any)
            return false;
    }
    return true;
}

/* ---- list, inspect, remove ------------------------------------------------------------------------ */

int list_things(struct cli *cli, const struct args *args, struct table *table, const struct listing *l)
{
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_error err;
    const char *format;
    char *text = NULL;
    int r = check_format(cli, args, &format);
    if (r == 0 && l->filters)
        r = thing_filters(cli, args, l->filters);
    if (!runtime || r)
        return r ? r : EXIT_FAILED;
    int code = l->call(runtime, &text, &err);
    autojson json_t *list = take_json(cli, NULL, code, text, &err, &r);
    size_t i;
    json_t *each;
    json_array_foreach(list, i, each)
    {
        if (l->filters && !thing_passes(args, l->filters, each))
            continue;
        if (arg_true(args, "quiet"))
            puts(json_text(each, "name"));
        else if (format && (r = template_fields(cli, format, each)))
            break;
        else if (format)
            template_print(format, each);
        else if (cli->json)
            json_line(each);
        else
            l->row(table, each);
    }
    if (list && !format && !cli->json && !arg_true(args, "quiet"))
        table_print(table);
    return r;
}

int inspect_things(struct cli *cli, const struct args *args,
                   int (*call)(struct berth_runtime *, const char *, char **, struct berth_error *))
{
    struct berth_runtime *runtime = cli_container(cli);
    const char *format;
    int result = check_format(cli, args, &format);
    for (int i = 0; runtime && result == 0 && i < args->n_words; i++) {
        struct berth_error err;
        char *text = NULL;
        int code = call(runtime, args->words[i], &text, &err);
        autojson json_t *json = take_json(cli, args->words[i], code, text, &err, &result);
        if (json && format && json_object_get(json, "path")) /* docker's word for that of a volume */
            json_object_set(json, "Mountpoint", json_object_get(json, "path"));
        if (json)
            result = print_one(cli, format, json);
    }
    return runtime ? result : EXIT_FAILED;
}

int remove_things(struct cli *cli, const struct args *args,
                  int (*call)(struct berth_runtime *, const char *, struct berth_error *))
{
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_error err;
    int result = runtime ? 0 : EXIT_FAILED;
    for (int i = 0; runtime && i < args->n_words; i++) {
        int r = call(runtime, args->words[i], &err);
        if (r == BERTH_NOT_FOUND && arg_true(args, "force"))
            continue;
        r = r < 0 ? cli_fail(cli, args->words[i], &err) : 0;
        if (r == 0)
            print_name(cli, "removed", args->words[i]);
        result = result ? result : r;
    }
    return result;
}

/* ---- prune: ask, do, tell ------------------------------------------------------------------------ */

bool agreed(struct cli *cli, const struct args *args, const char *what)
{
    char answer[16] = "";
    if (arg_true(args, "force") || cli->json)
        return true;
    if (!isatty(STDIN_FILENO)) {
        cli_usage(cli, "this removes %s; -f says that you mean it", what);
        return false;
    }
    fprintf(stderr, "This removes %s. Go on? [y/N] ", what);
    return fgets(answer, sizeof(answer), stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* What a prune reports: lists of names, and how many bytes are free again. */
void print_pruned(struct cli *cli, json_t *report)
{
    static const char *const lists[] = {"workloads", "images", "volumes", "removed"};
    char size[SHORT_TEXT];
    size_t i;
    json_t *each;
    if (cli->json) {
        json_line(report);
        return;
    }
    for (size_t k = 0; k < ARRAY_SIZE(lists); k++)
        json_array_foreach(json_find(report, lists[k]), i, each)
            puts(json_is_string(each) ? json_string_value(each) : json_text(each, "reference"));
    if (json_find(report, "freed_bytes"))
        printf("%s freed\n", human_size((uint64_t)json_number(report, "freed_bytes"), size));
}

int prune(struct cli *cli, const struct args *args, const char *what,
                 int (*call)(struct berth_runtime *, bool, char **, struct berth_error *))
{
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_error err;
    char *text = NULL;
    int r;
    if (!runtime)
        return EXIT_FAILED;
    if (!agreed(cli, args, what))
        return EXIT_USAGE;
    int code = call(runtime, arg_true(args, "all"), &text, &err);
    autojson json_t *report = take_json(cli, NULL, code, text, &err, &r);
    if (report)
        print_pruned(cli, report);
    return r;
}
