/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks as things with names, and a workload's ports and networks while it runs.
 */
#include "cli.h"
#include <berth/container.h>

/* ---- create, rm ---------------------------------------------------------------------------------- */

/* As docker has it, --subnet is given once for each family. */
static int take_subnets(struct cli *cli, const struct args *args, struct berth_network_options *o)
{
    for (size_t i = 0; i < args->n_flags; i++) {
        const char *value = args->flags[i].value;
        if (strcmp(args->flags[i].flag->name, "subnet") != 0)
            continue;
        const char **slot = strchr(value, ':') ? &o->subnet6 : &o->subnet;
        if (*slot)
            return cli_usage(cli, "--subnet: one of each family, not %s and %s", *slot, value);
        *slot = value;
    }
    return 0;
}

int verb_network_create(struct cli *cli, const struct args *args)
{
    struct berth_network_options o = {.size = sizeof(o), .gateway = arg_text(args, "gateway"),
                                      .ip_range = arg_text(args, "ip-range"), .ipv6 = arg_true(args, "ipv6"),
                                      .internal = arg_true(args, "internal")};
    const char *mtu = arg_text(args, "mtu"), *driver = arg_text(args, "driver");
    autofree const char **labels = flag_values(args, "label");
    struct berth_error err;
    int64_t number;
    if (driver && strcmp(driver, "bridge"))
        return cli_usage(cli, "--driver: networks are bridges; \"%s\" is none", driver);
    if (mtu && parse_integer(mtu, 576, 65535, &number) < 0)
        return cli_usage(cli, "--mtu: \"%s\" is not between 576 and 65535", mtu);
    o.mtu = mtu ? (uint32_t)number : 0;
    o.labels = labels;
    int r = take_subnets(cli, args, &o);
    struct berth_runtime *runtime = r ? NULL : cli_container(cli);
    if (!runtime)
        return r ? r : EXIT_FAILED;
    if (berth_network_create(runtime, args->words[0], &o, &err) < 0)
        return cli_fail(cli, args->words[0], &err);
    print_name(cli, "name", args->words[0]);
    return EXIT_DONE;
}

int verb_network_rm(struct cli *cli, const struct args *args)
{
    return remove_things(cli, args, berth_network_remove);
}

static int prune_call(struct berth_runtime *runtime, bool all, char **ret_json, struct berth_error *err)
{
    (void)all;
    return berth_network_prune(runtime, ret_json, err);
}

int verb_network_prune(struct cli *cli, const struct args *args)
{
    return prune(cli, args, "all networks that no workload is on", prune_call);
}

/* ---- filters */

static bool network_has_name(json_t *network, const char *wanted)
{
    return strstr(json_text(network, "name"), wanted) != NULL;
}

static bool network_is_dangling(json_t *network, const char *wanted)
{
    return dangling_is(json_array_size(json_find(network, "workloads")) == 0, wanted);
}

static const struct filter network_filters[] = {
    {"name", network_has_name}, {"dangling", network_is_dangling}, {"label", label_matches}, {0}};

/* ---- looking ------------------------------------------------------------------------------------- */

static void row(struct table *table, json_t *each)
{
    char when[SHORT_TEXT];
    autofree char *users = text_new("%zu", json_array_size(json_find(each, "workloads")));
    const char *six = json_text(each, "subnet6");
    autofree char *subnet = text_new("%s%s%s", json_text(each, "subnet"), *six ? ", " : "", six);
    table_row(table, json_text(each, "name"), subnet, json_is_true(json_find(each, "internal")) ? "internal" : "",
              users, human_when(json_time(each, "created"), when));
}

int verb_network_ls(struct cli *cli, const struct args *args)
{
    static const char *const titles[] = {"NAME", "SUBNET", "KIND", "WORKLOADS", "CREATED"};
    static const struct listing listing = {berth_network_list, network_filters, row};
    struct table table = {.titles = titles, .n_columns = ARRAY_SIZE(titles), .no_trunc = arg_true(args, "no-trunc")};
    return list_things(cli, args, &table, &listing);
}

int verb_network_inspect(struct cli *cli, const struct args *args)
{
    return inspect_things(cli, args, berth_network_inspect);
}

/* ---- connect, disconnect, ports ------------------------------------------------------------------ */

int verb_network_connect(struct cli *cli, const struct args *args)
{
    struct berth_connect_options o = {.size = sizeof(o), .ip = arg_text(args, "ip"), .ip6 = arg_text(args, "ip6"),
                                      .mac = arg_text(args, "mac-address")};
    autofree const char **aliases = flag_values(args, "alias");
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_error err;
    o.aliases = aliases;
    int r = cli_find(cli, args->words[1], &runtime, &handle, &err);
    if (r == 0)
        r = berth_network_connect(runtime, args->words[0], &handle, &o, &err);
    return r < 0 ? cli_fail(cli, args->words[1], &err) : EXIT_DONE;
}

int verb_network_disconnect(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_error err;
    int r = cli_find(cli, args->words[1], &runtime, &handle, &err);
    if (r == 0)
        r = berth_network_disconnect(runtime, args->words[0], &handle, &err);
    return r < 0 ? cli_fail(cli, args->words[1], &err) : EXIT_DONE;
}

bool publish_given(const struct args *args)
{
    return arg_text(args, "publish-add") || arg_text(args, "publish-rm");
}

int publish_from_args(struct berth_runtime *runtime, const struct berth_handle *handle, const struct args *args,
                      struct berth_error *err)
{
    autofree const char **add = flag_values(args, "publish-add"), **remove = flag_values(args, "publish-rm");
    return berth_publish(runtime, handle, add, remove, err);
}
