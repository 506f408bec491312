/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine: info, version, space, cleaning up, doctor, boot, namespaces made ahead.
 */
#include "cli.h"
#include <berth/container.h>
#include <poll.h>
#include <unistd.h>

/* A JSON document as indented "name: value" lines: good enough for people, complete by nature. */
static void print_tree(json_t *value, int indent)
{
    const char *key;
    json_t *each;
    size_t i;
    if (json_is_object(value)) {
        json_object_foreach(value, key, each)
        {
            autofree char *label = text_copy(key);
            for (char *p = label; *p; p++)
                *p = *p == '_' ? ' ' : *p;
            printf("%*s%s:", indent, "", label);
            bool nested = (json_is_object(each) && json_object_size(each)) || (json_is_array(each) && json_array_size(each));
            if (nested)
                putchar('\n');
            if (ends_with(key, "_bytes") && json_is_integer(each)) {
                char size[SHORT_TEXT];
                printf(" %s\n", human_size((uint64_t)json_integer_value(each), size));
            } else {
                print_tree(each, nested ? indent + 2 : 1);
            }
        }
        if (!json_object_size(value))
            putchar('\n');
        return;
    }
    if (json_is_array(value)) {
        json_array_foreach(value, i, each)
        {
            if (json_is_object(each) && i)
                putchar('\n');
            print_tree(each, indent);
        }
        if (!json_array_size(value))
            puts(" none");
        return;
    }
    autofree char *text = json_is_string(value) ? text_plain(json_string_value(value))
                                                : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    printf("%*s%s\n", indent, "", json_is_true(value) ? "yes" : json_is_false(value) ? "no" : json_is_null(value) ? "-" : text ? text : "");
}

static int print_document(struct cli *cli, const struct args *args, json_t *json)
{
    const char *format = arg_text(args, "format");
    if (format)
        return print_one(cli, format, json);
    if (cli->json)
        json_line(json);
    else
        print_tree(json, 0);
    return EXIT_DONE;
}

static int show(struct cli *cli, const struct args *args, int (*get)(struct berth_runtime *, char **, struct berth_error *))
{
    const char *format = arg_text(args, "format");
    struct berth_error err;
    char *text = NULL;
    int r = format ? template_check(cli, format) : 0;
    if (r)
        return r;
    struct berth_runtime *runtime = cli_container(cli);
    if (!runtime)
        return EXIT_FAILED;
    int code = get(runtime, &text, &err);
    autojson json_t *json = take_json(cli, NULL, code, text, &err, &r);
    return json ? print_document(cli, args, json) : r;
}

int verb_info(struct cli *cli, const struct args *args)
{
    return show(cli, args, berth_info);
}

/* KIND_bytes, and beside it KIND_count and KIND_reclaimable_bytes where they mean something. */
int verb_df(struct cli *cli, const struct args *args)
{
    static const char *const titles[] = {"TYPE", "COUNT", "SIZE", "RECLAIMABLE"};
    struct table table = {.titles = titles, .n_columns = ARRAY_SIZE(titles)};
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_error err;
    const char *key;
    char *text = NULL;
    json_t *each;
    int r;
    if (!runtime)
        return EXIT_FAILED;
    if (cli->json || arg_text(args, "format"))
        return show(cli, args, berth_disk_usage);
    int code = berth_disk_usage(runtime, &text, &err);
    autojson json_t *json = take_json(cli, NULL, code, text, &err, &r);
    if (!json)
        return r;
    json_object_foreach(json, key, each)
    {
        char size[SHORT_TEXT], spare[SHORT_TEXT];
        if (!ends_with(key, "_bytes") || ends_with(key, "_reclaimable_bytes"))
            continue;
        autofree char *type = strndup(key, strlen(key) - strlen("_bytes"));
        autofree char *count_key = text_new("%s_count", type), *spare_key = text_new("%s_reclaimable_bytes", type);
        json_t *count = json_object_get(json, count_key), *reclaimable = json_object_get(json, spare_key);
        autofree char *number = count ? text_new("%lld", (long long)json_integer_value(count)) : text_copy("");
        table_row(&table, type, number, human_size((uint64_t)json_integer_value(each), size),
                  reclaimable ? human_size((uint64_t)json_integer_value(reclaimable), spare) : "");
    }
    table_print(&table);
    return EXIT_DONE;
}

int verb_version(struct cli *cli, const struct args *args)
{
    const char *format = arg_text(args, "format");
    int r = format ? template_check(cli, format) : 0;
    if (r)
        return r;
    autojson json_t *json = json_pack("{s:s, s:s, s:i}", "version", BERTH_VERSION, "library", berth_version(), "abi", BERTH_ABI_VERSION);
    if (format)
        return print_one(cli, format, json);
    if (cli->json)
        json_line(json);
    else
        printf("berth %s (library %s)\n", BERTH_VERSION, berth_version());
    return EXIT_DONE;
}

/* ---- prune ---------------------------------------------------------------------------------------- */

static bool has_ended(int state)
{
    return state == BERTH_STOPPED || state == BERTH_COMPLETED || state == BERTH_FAILED;
}

/* Ended workloads, all of an engine's; names removed are added to the report. */
static int prune_workloads(struct cli *cli, struct berth_runtime *runtime, json_t *removed)
{
    struct berth_handle *handles = NULL;
    struct berth_remove_options options = {.size = sizeof(options), .volumes = true};
    struct berth_error err;
    size_t n = 0;
    int result = 0;
    if (berth_list(runtime, &handles, &n, &err) < 0)
        return cli_fail(cli, NULL, &err);
    for (size_t i = 0; i < n && !cli_interrupted(); i++) {
        autostatus struct berth_status *status = NULL;
        if (berth_status(runtime, &handles[i], &status, NULL) < 0 || !has_ended(status->state))
            continue;
        int r = berth_remove(runtime, &handles[i], &options, &err);
        if (r == 0)
            json_array_append_new(removed, json_string(handles[i].name));
        else if (r != BERTH_WRONG_STATE) /* somebody started it meanwhile: then it isn't waste */
            result = cli_fail(cli, handles[i].name, &err);
    }
    free(handles);
    return result;
}

/* One more kind of waste; its report is added to ours. */
static int prune_more(struct cli *cli, struct berth_runtime *runtime, json_t *report,
                      int (*call)(struct berth_runtime *, bool, char **, struct berth_error *), bool all)
{
    struct berth_error err;
    char *text = NULL;
    int r;
    int code = call(runtime, all, &text, &err);
    autojson json_t *part = take_json(cli, NULL, code, text, &err, &r);
    int64_t bytes = json_number(report, "freed_bytes") + json_number(part, "freed_bytes");
    if (part)
        json_object_update(report, part);
    json_object_set_new(report, "freed_bytes", json_integer(bytes));
    return r;
}

int verb_prune(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    autofree char *what = text_new("all ended workloads, %s%s", arg_true(args, "all") ? "all images that nothing uses" : "images without a name",
                                   arg_true(args, "volumes") ? ", volumes without a name that nothing uses" : "");
    if (!runtime)
        return EXIT_FAILED;
    if (!agreed(cli, args, what))
        return EXIT_USAGE;
    autojson json_t *report = json_pack("{s:[], s:i}", "workloads", "freed_bytes", 0);
    int result = prune_workloads(cli, runtime, json_object_get(report, "workloads"));
    int r = prune_more(cli, runtime, report, berth_image_prune, arg_true(args, "all"));
    result = result ? result : r;
    if (arg_true(args, "volumes")) {
        r = prune_more(cli, runtime, report, berth_volume_prune, false);
        result = result ? result : r;
    }
    print_pruned(cli, report);
    return result;
}

int verb_container_prune(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    if (!runtime)
        return EXIT_FAILED;
    if (!agreed(cli, args, "all ended workloads"))
        return EXIT_USAGE;
    autojson json_t *report = json_pack("{s:[]}", "workloads");
    int result = prune_workloads(cli, runtime, json_object_get(report, "workloads"));
    print_pruned(cli, report);
    return result;
}

/* ---- doctor, boot --------------------------------------------------------------------------------- */

static void print_check(json_t *check)
{
    bool ok = json_is_true(json_find(check, "ok")), repaired = json_is_true(json_find(check, "repaired"));
    const char *advice = json_text(check, "advice");
    printf("%s%-8s%s %s: %s\n", colour(ok ? "green" : repaired ? "yellow" : "red"), ok ? "ok" : repaired ? "repaired" : "wrong",
           colour("off"), json_text(check, "check"), json_text(check, "detail"));
    if (!ok && !repaired && *advice)
        printf("         %s\n", advice);
}

int verb_doctor(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_error err;
    char *text = NULL;
    size_t i;
    json_t *each;
    int r;
    if (!runtime)
        return EXIT_FAILED;
    int code = berth_doctor(runtime, arg_true(args, "repair"), &text, &err);
    autojson json_t *checks = take_json(cli, NULL, code, text, &err, &r);
    json_array_foreach(checks, i, each)
    {
        if (cli->json)
            json_line(each);
        else
            print_check(each);
    }
    return checks ? code : r;
}

int verb_boot(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_error err;
    char *text = NULL;
    size_t i;
    json_t *each;
    int r;
    (void)args;
    if (!runtime)
        return EXIT_FAILED;
    int code = berth_boot(runtime, &text, &err);
    autojson json_t *list = take_json(cli, NULL, code, text, &err, &r);
    json_array_foreach(list, i, each)
    {
        const char *error = json_text(each, "error");
        if (cli->json)
            json_line(each);
        else if (json_is_true(json_find(each, "started")))
            puts(json_text(each, "name"));
        if (*error) {
            r = EXIT_FAILED;
            if (!cli->json)
                cli_fail_code(cli, json_text(each, "name"), BERTH_IO, "%s", error);
        }
    }
    return r;
}

/* ---- pool ----------------------------------------------------------------------------------------- */

int verb_pool(struct cli *cli, const struct args *args)
{
    int64_t count = 8;
    int fd = -1;
    struct berth_error err;
    if (args->n_words && parse_integer(args->words[0], 1, 1000, &count) < 0)
        return cli_usage(cli, "COUNT: \"%s\" is not between 1 and 1000", args->words[0]);
    struct berth_runtime *runtime = cli_container(cli);
    if (!runtime)
        return EXIT_FAILED;
    if (berth_pool(runtime, (unsigned)count, &fd, &err) < 0)
        return cli_fail(cli, NULL, &err);
    if (!cli->quiet)
        printf("%lld ready\n", (long long)count);
    fflush(stdout);
    struct pollfd wait[] = {{.fd = cli_interrupt_fd(), .events = POLLIN}, {.fd = fd, .events = 0}}; /* its keeper may be killed */
    (void)poll(wait, ARRAY_SIZE(wait), -1);
    close(fd);
    return cli_interrupted() ? EXIT_DONE : cli_fail_code(cli, NULL, BERTH_LOST, "the keeper of the pool has ended");
}
