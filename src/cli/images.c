/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images: what only the container engine knows.
 */
#include "cli.h"
#include <fnmatch.h>
#include <berth/container.h>
#include <berth/wasm.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- images -------------------------------------------------------------------------------------- */

int64_t json_time(json_t *json, const char *path)
{
    int64_t usec = 0;
    const char *text = json_text(json, path);
    if (*text)
        parse_time(text, &usec);
    return usec;
}

static void image_row(struct table *table, json_t *image)
{
    char when[SHORT_TEXT], size[SHORT_TEXT];
    const char *id = json_text(image, "id");
    const char *hex = strchr(id, ':') ? strchr(id, ':') + 1 : id;
    autofree char *shown = text_copy(table->no_trunc ? id : hex);
    if (!table->no_trunc && strlen(shown) > 12)
        shown[12] = '\0';
    const char *reference = json_text(image, "reference");
    table_row(table, *reference ? reference : "<none>", shown, human_when(json_time(image, "created"), when),
              human_size((uint64_t)json_number(image, "size_bytes"), size), json_text(image, "platform"),
              json_text(image, "digest")); /* the last one only with --digests */
}

/* For a template, docker's two halves of a reference go beside the fields. */
static int print_image(struct cli *cli, const char *format, json_t *image)
{
    autofree char *name = text_copy(json_text(image, "reference"));
    char *colon = strrchr(name, ':');
    if (colon && !strchr(colon, '/'))
        *colon = '\0';
    else
        colon = NULL;
    if (strcmp(format, "json") != 0) {
        json_object_set_new(image, "repository", json_string(*name ? name : "<none>"));
        json_object_set_new(image, "tag", json_string(colon ? colon + 1 : "<none>"));
        json_object_set(image, "size", json_object_get(image, "size_bytes"));
    }
    int r = template_fields(cli, format, image);
    if (r == 0)
        template_print(format, image);
    return r;
}

static bool image_named(json_t *image, const char *wanted)
{
    const char *reference = json_text(image, "reference");
    size_t n = wanted ? strlen(wanted) : 0;
    if (!wanted)
        return true;
    for (const char *p = reference; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        if (strncmp(p, wanted, n) == 0 && (!p[n] || p[n] == ':' || p[n] == '@'))
            return true;
    return false;
}

static void print_short_id(const char *id, bool whole)
{
    const char *colon = strchr(id, ':');
    if (whole || !colon)
        puts(id);
    else
        printf("%.12s\n", colon + 1);
}

/* ---- filters */

static bool image_is_dangling(json_t *image, const char *wanted)
{
    return dangling_is(!*json_text(image, "reference"), wanted);
}

static bool image_is_of(json_t *image, const char *wanted)
{
    const char *reference = json_text(image, "reference");
    return *reference && (image_named(image, wanted) || fnmatch(wanted, reference, 0) == 0);
}

static const struct filter image_filters[] = {{"reference", image_is_of}, {"dangling", image_is_dangling}, {0}};
int verb_images(struct cli *cli, const struct args *args)
{
    static const char *const titles[] = {"IMAGE", "ID", "CREATED", "SIZE", "PLATFORM", "DIGEST"};
    struct table table = {.titles = titles, .n_columns = ARRAY_SIZE(titles) - !arg_true(args, "digests"), .flexible = 1, .no_trunc = arg_true(args, "no-trunc")};
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_error err;
    const char *format;
    char *text = NULL;
    int r = check_format(cli, args, &format);
    if (r == 0)
        r = thing_filters(cli, args, image_filters);
    if (!runtime || r)
        return r ? r : EXIT_FAILED;
    int code = berth_image_list(runtime, &text, &err);
    autojson json_t *list = take_json(cli, NULL, code, text, &err, &r);
    size_t i;
    json_t *each;
    json_array_foreach(list, i, each)
    {
        if (!image_named(each, args->words[0]) || !thing_passes(args, image_filters, each))
            continue;
        if (arg_true(args, "quiet"))
            print_short_id(json_text(each, "id"), arg_true(args, "no-trunc"));
        else if (format && (r = print_image(cli, format, each)))
            break;
        else if (format)
            continue;
        else if (cli->json)
            json_line(each);
        else
            image_row(&table, each);
    }
    if (list && !format && !cli->json && !arg_true(args, "quiet"))
        table_print(&table);
    return r;
}

int verb_rmi(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_error err;
    int result = runtime ? 0 : EXIT_FAILED;
    for (int i = 0; runtime && i < args->n_words; i++) {
        int r = berth_image_remove(runtime, args->words[i], arg_true(args, "force"), &err);
        r = r < 0 ? cli_fail(cli, args->words[i], &err) : 0;
        if (r == 0)
            print_name(cli, "removed", args->words[i]);
        result = result ? result : r;
    }
    return result;
}

int verb_image_compile(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime;
    struct berth_error err;
    int result = EXIT_DONE, r = cli_runtime(cli, "wasm", &runtime, &err);
    if (r < 0)
        return fail_runtime(cli, args->words[0], "wasm", &err);
    for (int i = 0; i < args->n_words; i++) {
        struct berth_call *call;
        r = berth_wasm_compile_call(runtime, args->words[i], &call, &err);
        if (r == 0)
            r = cli_wait(cli, call, NULL, &err);
        if (r < 0)
            result = cli_fail(cli, args->words[i], &err);
        else
            print_name(cli, "compiled", args->words[i]);
    }
    return result;
}

int verb_tag(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_error err;
    if (!runtime)
        return EXIT_FAILED;
    int r = berth_image_tag(runtime, args->words[0], args->words[1], &err);
    return r < 0 ? cli_fail(cli, args->words[0], &err) : EXIT_DONE;
}

static json_t *inspect_image(struct cli *cli, const char *reference, int *ret_exit)
{
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_error err;
    char *text = NULL;
    *ret_exit = EXIT_FAILED;
    if (!runtime)
        return NULL;
    int code = berth_image_inspect(runtime, reference, &text, &err);
    return take_json(cli, reference, code, text, &err, ret_exit);
}

void add_docker_image_names(json_t *json)
{
    static const struct {
        const char *name, *path;
    } same[] = {{"Os", "os"}, {"Architecture", "architecture"}, {"RepoTags", "references"}, {"Size", "size_bytes"}};
    static const char *const members[] = {"Cmd", "Entrypoint", "Env", "User", "WorkingDir", "ExposedPorts", "Volumes", "Labels",
                                          "StopSignal", "Healthcheck", "Shell"};
    json_t *config = json_copy(json_find(json, "config.config"));
    config = config ? config : json_object();
    for (size_t i = 0; i < ARRAY_SIZE(members); i++)
        if (!json_object_get(config, members[i]))
            json_object_set_new(config, members[i], json_null());
    json_object_set_new(json, "Config", config);
    for (size_t i = 0; i < ARRAY_SIZE(same); i++)
        json_object_set(json, same[i].name, json_object_get(json, same[i].path));
}

int verb_image_inspect(struct cli *cli, const struct args *args)
{
    const char *format;
    autojson json_t *all = json_array();
    int result = check_format(cli, args, &format);
    for (int i = 0; result == 0 && i < args->n_words; i++) {
        json_t *json = inspect_image(cli, args->words[i], &result);
        if (json && format) {
            add_docker_image_names(json);
            result = print_one(cli, format, json);
        }
        if (json)
            json_array_append_new(all, json);
    }
    if (!format && json_array_size(all))
        json_document(args->n_words > 1 ? all : json_array_get(all, 0));
    return result;
}

int verb_history(struct cli *cli, const struct args *args)
{
    static const char *const titles[] = {"CREATED", "CREATED BY", "COMMENT"};
    struct table table = {.titles = titles, .n_columns = ARRAY_SIZE(titles), .flexible = 2, .no_trunc = arg_true(args, "no-trunc")};
    int r;
    autojson json_t *image = inspect_image(cli, args->words[0], &r);
    json_t *history = json_find(image, "config.history");
    for (size_t i = json_array_size(history); i-- > 0;) {
        json_t *step = json_array_get(history, i);
        char when[SHORT_TEXT];
        if (cli->json)
            json_line(step);
        else
            table_row(&table, human_when(json_time(step, "created"), when), json_text(step, "created_by"), json_text(step, "comment"));
    }
    if (image && !cli->json)
        table_print(&table);
    return r;
}

/* A Dockerfile's instructions of --change, as members of the image's config. */
static const struct {
    const char *word, *member;
    enum { CHANGE_ARGV, CHANGE_TEXT, CHANGE_SET, CHANGE_PAIR, CHANGE_ENV } kind;
} changes[] = {{"CMD", "Cmd", CHANGE_ARGV}, {"ENTRYPOINT", "Entrypoint", CHANGE_ARGV}, {"USER", "User", CHANGE_TEXT},
               {"WORKDIR", "WorkingDir", CHANGE_TEXT}, {"STOPSIGNAL", "StopSignal", CHANGE_TEXT},
               {"EXPOSE", "ExposedPorts", CHANGE_SET}, {"VOLUME", "Volumes", CHANGE_SET}, {"LABEL", "Labels", CHANGE_PAIR},
               {"ENV", "Env", CHANGE_ENV}};

static json_t *argv_value(const char *text)
{
    json_t *argv = text[0] == '[' ? json_loads(text, 0, NULL) : NULL;
    return argv ? argv : json_pack("[s,s,s]", "/bin/sh", "-c", text);
}

static json_t *member_of(json_t *config, const char *name, json_t *(*make)(void))
{
    if (!json_object_get(config, name))
        json_object_set_new(config, name, make());
    return json_object_get(config, name);
}

static int apply_change(struct cli *cli, json_t *config, const char *change)
{
    size_t n = strcspn(change, " \t="), i = 0;
    const char *text = change + n;
    text += strspn(text, " \t");
    while (i < ARRAY_SIZE(changes) && !(strlen(changes[i].word) == n && strncasecmp(changes[i].word, change, n) == 0))
        i++;
    const char *equals = strchr(text, '=');
    if (i == ARRAY_SIZE(changes) || !*text || (changes[i].kind >= CHANGE_PAIR && !equals))
        return cli_usage(cli, "--change: \"%s\" is not an instruction like CMD [\"sh\"] or ENV NAME=VALUE", change);
    const char *member = changes[i].member;
    switch (changes[i].kind) {
    case CHANGE_ARGV:
        json_object_set_new(config, member, argv_value(text));
        break;
    case CHANGE_TEXT:
        json_object_set_new(config, member, json_string(text));
        break;
    case CHANGE_SET:
        json_object_set_new(member_of(config, member, json_object), text, json_object());
        break;
    case CHANGE_PAIR: {
        autofree char *name = strndup(text, (size_t)(equals - text));
        json_object_set_new(member_of(config, member, json_object), name ? name : "", json_string(equals + 1));
        break;
    }
    case CHANGE_ENV:
        json_array_append_new(member_of(config, member, json_array), json_string(text));
        break;
    }
    return 0;
}

static int image_config(struct cli *cli, const struct args *args, json_t *config)
{
    const char *path = arg_text(args, "config");
    json_error_t error;
    if (path) {
        autojson json_t *file = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
        if (!json_is_object(file))
            return cli_fail_code(cli, path, BERTH_INVALID, "%s", file ? "not a JSON object" : error.text);
        json_t *inner = json_object_get(file, "config");
        json_object_update(config, json_is_object(inner) ? inner : file);
    }
    for (size_t i = 0; i < args->n_flags; i++)
        if (strcmp(args->flags[i].flag->name, "change") == 0) {
            int r = apply_change(cli, config, args->flags[i].value);
            if (r)
                return r;
        }
    return 0;
}

/* ./rootfs.tar.gz -> rootfs */
static char *name_of_source(const char *source)
{
    autofree char *copy = text_copy(source);
    size_t n = strlen(copy);
    while (n > 1 && copy[n - 1] == '/')
        copy[--n] = '\0';
    const char *base = strrchr(copy, '/') ? strrchr(copy, '/') + 1 : copy;
    char *name = strndup(base, strcspn(base, "."));
    return name && *name ? name : (free(name), text_copy("imported"));
}

int verb_image_import(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    autojson json_t *config = json_object();
    autofree char *name = args->words[1] ? text_copy(args->words[1]) : name_of_source(args->words[0]);
    struct berth_call *call;
    struct berth_error err;
    int r = runtime ? image_config(cli, args, config) : EXIT_FAILED;
    if (r)
        return r;
    autofree char *text = json_dumps(config, JSON_COMPACT);
    struct berth_image_import_options options = {.size = sizeof(options), .source = args->words[0], .input_fd = STDIN_FILENO,
                                                 .reference = name, .platform = arg_text(args, "platform"),
                                                 .config_json = json_object_size(config) ? text : NULL,
                                                 .progress = !cli->quiet};
    r = berth_image_import_call(runtime, &options, &call, &err);
    if (r == 0)
        r = work_run(cli, call, NULL, &err);
    if (r < 0)
        return cli_fail(cli, name, &err);
    return EXIT_DONE;
}

int verb_commit(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_error err;
    struct berth_call *call;
    autojson json_t *config = json_object();
    int r = image_config(cli, args, config);
    if (r)
        return r;
    if (cli_find(cli, args->words[0], &runtime, &handle, &err) < 0)
        return cli_fail(cli, args->words[0], &err);
    autofree char *text = json_object_size(config) ? json_dumps(config, JSON_COMPACT) : NULL;
    struct berth_commit_options options = {.size = sizeof(options), .reference = args->words[1], .config_json = text,
                                           .message = arg_text(args, "message"), .author = arg_text(args, "author"),
                                           .progress = !cli->quiet};
    r = berth_commit_call(runtime, &handle, &options, &call, &err);
    if (r == 0)
        r = work_run(cli, call, NULL, &err);
    return r < 0 ? cli_fail(cli, args->words[0], &err) : EXIT_DONE;
}

int verb_pull(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    int result = runtime ? EXIT_DONE : EXIT_FAILED;
    for (int i = 0; runtime && i < args->n_words; i++) {
        struct berth_image_pull_options options = {.size = sizeof(options), .reference = args->words[i],
                                                   .platform = arg_text(args, "platform"), .policy = arg_text(args, "policy"),
                                                   .progress = !cli->quiet && !arg_true(args, "quiet")};
        struct berth_call *call;
        struct berth_error err;
        int r = berth_image_pull_call(runtime, &options, &call, &err);
        if (r == 0)
            r = work_run(cli, call, NULL, &err);
        r = r < 0 ? cli_fail(cli, args->words[i], &err) : 0;
        result = result ? result : r;
    }
    return result;
}

int verb_image_load(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    const char *source = args->words[0] ? args->words[0] : arg_text(args, "input");
    struct berth_image_load_options options = {.size = sizeof(options), .source = source ? source : "-",
                                               .reference = arg_text(args, "tag"), .platform = arg_text(args, "platform"),
                                               .progress = !cli->quiet && !arg_true(args, "quiet")};
    struct berth_call *call;
    struct berth_error err;
    if (!runtime)
        return EXIT_FAILED;
    if (!source && isatty(STDIN_FILENO))
        return cli_usage(cli, "no file given, and standard input is a terminal");
    int r = berth_image_load_call(runtime, &options, &call, &err);
    if (r == 0)
        r = work_run(cli, call, NULL, &err);
    return r < 0 ? cli_fail(cli, source, &err) : EXIT_DONE;
}

/* The formats as berth, docker and podman name them. */
static const char *save_format(const struct args *args)
{
    static const struct {
        const char *name, *format;
    } names[] = {{"oci-archive", "oci"}, {"oci-dir", "oci"}, {"docker-archive", "docker"}};
    const char *text = arg_text(args, "format") ? arg_text(args, "format") : arg_text(args, "format-as");
    for (size_t i = 0; text && i < ARRAY_SIZE(names); i++)
        if (strcmp(names[i].name, text) == 0)
            return names[i].format;
    return text;
}

int verb_image_save(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    const char *output = arg_text(args, "output");
    struct berth_image_save_options options = {.size = sizeof(options), .references = (const char *const *)args->words,
                                               .target = output ? output : "-", .format = save_format(args),
                                               .progress = !cli->quiet};
    bool to_stdout = strcmp(options.target, "-") == 0;
    options.progress &= !to_stdout;
    struct berth_call *call;
    struct berth_error err;
    if (!runtime)
        return EXIT_FAILED;
    if (to_stdout && out_is_terminal())
        return cli_usage(cli, "standard output is a terminal; -o FILE says where to write, or pipe it on");
    int r = berth_image_save_call(runtime, &options, &call, &err);
    if (r == 0 && to_stdout)
        return pump_out(cli, args->words[0], call, STDOUT_FILENO);
    if (r == 0)
        r = work_run(cli, call, NULL, &err);
    return r < 0 ? cli_fail(cli, args->words[0], &err) : EXIT_DONE;
}

int verb_image_verify(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_call *call;
    struct berth_error err;
    (void)args;
    if (!runtime)
        return EXIT_FAILED;
    int r = berth_image_verify_call(runtime, &call, &err);
    if (r == 0)
        r = work_run(cli, call, NULL, &err);
    return r < 0 ? cli_fail(cli, NULL, &err) : EXIT_DONE;
}

/* ---- prune --------------------------------------------------------------------------------------- */

static int prune_blobs(struct berth_runtime *runtime, bool all, char **ret_json, struct berth_error *err)
{
    (void)all;
    return berth_image_prune_blobs(runtime, ret_json, err);
}

int verb_image_prune(struct cli *cli, const struct args *args)
{
    if (arg_true(args, "blobs"))
        return prune(cli, args, "the compressed layers of all images, without which they can't be saved, and a push fetches them again", prune_blobs);
    return prune(cli, args, arg_true(args, "all") ? "all images that no workload uses" : "images without a name", berth_image_prune);
}
