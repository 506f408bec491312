/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes as things with names.
 */
#include "cli.h"
#include <berth/container.h>

/* ---- filters */

static bool anonymous(json_t *thing)
{
    return json_is_true(json_object_get(thing, "anonymous"));
}

static bool volume_is_dangling(json_t *volume, const char *wanted)
{
    return dangling_is(json_array_size(json_object_get(volume, "users")) == 0, wanted);
}

static bool volume_has_name(json_t *volume, const char *wanted)
{
    return strstr(json_text(volume, "name"), wanted) != NULL;
}

static bool volume_is_anonymous(json_t *volume, const char *wanted)
{
    return dangling_is(anonymous(volume), wanted);
}

static const struct filter volume_filters[] = {
    {"name", volume_has_name}, {"dangling", volume_is_dangling}, {"label", label_matches}, {"anonymous", volume_is_anonymous}, {0}};

/* ---- verbs */

int verb_volume_create(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    autofree const char **labels = flag_values(args, "label");
    struct berth_error err;
    if (!runtime)
        return EXIT_FAILED;
    autofree char *name = args->words[0] ? text_copy(args->words[0]) : text_new("volume_%llx", (unsigned long long)clock_usec());
    if (berth_volume_create(runtime, name, labels, &err) < 0)
        return cli_fail(cli, name, &err);
    print_name(cli, "name", name);
    return EXIT_DONE;
}

static void row(struct table *table, json_t *each)
{
    char when[SHORT_TEXT];
    autofree char *users = text_new("%zu", json_array_size(json_find(each, "users")));
    table_row(table, json_text(each, "name"), human_when(json_time(each, "created"), when), users, json_text(each, "path"));
}

int verb_volume_ls(struct cli *cli, const struct args *args)
{
    static const char *const titles[] = {"NAME", "CREATED", "USED BY", "PATH"};
    static const struct listing listing = {berth_volume_list, volume_filters, row};
    struct table table = {.titles = titles, .n_columns = ARRAY_SIZE(titles), .flexible = 4, .no_trunc = arg_true(args, "no-trunc")};
    return list_things(cli, args, &table, &listing);
}

int verb_volume_inspect(struct cli *cli, const struct args *args)
{
    return inspect_things(cli, args, berth_volume_inspect);
}

int verb_volume_rm(struct cli *cli, const struct args *args)
{
    return remove_things(cli, args, berth_volume_remove);
}

int verb_volume_prune(struct cli *cli, const struct args *args)
{
    return prune(cli, args, arg_true(args, "all") ? "all volumes that no workload uses, with what is in them"
                                                  : "volumes without a name that no workload uses",
                 berth_volume_prune);
}
