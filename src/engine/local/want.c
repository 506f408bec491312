/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pulling for a create: one image after the other, in berth-image; here is only who is next.
 */
#include "local/want.h"
#include "image/tool.h"
#include "local/tool.h"
#include <fcntl.h>
#include <jansson.h>

struct want {
    struct local *c;
    const struct spec *spec;
    char **references;       /* what has to be pulled */
    size_t next;
    struct berth_call *call; /* of what is pulled now */
    struct berth_call *first;/* kept to the end: its progress may be read */
    struct text said;        /* of a load: a line of JSON for each name */
    bool cancelled;
};

/* What load knows beside paths alone, and none of them is a name in a registry. */
static bool is_archive(const char *image)
{
    static const char *const forms[] = {"oci:", "oci-archive:", "docker-archive:"};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (starts_with(image, forms[i]))
            return true;
    return false;
}

static bool is_path(const char *image)
{
    return starts_with(image, "/") || starts_with(image, "./") || starts_with(image, "../");
}

/* Of this spec: a module in a file of the host. */
static bool is_module(const struct want *w, const char *image)
{
    return w->c->kind->takes_files && is_path(image);
}

static const char *verb_of(const struct want *w, const char *reference)
{
    return is_archive(reference) ? "load" : is_module(w, reference) ? "import" : "pull";
}

/* "dir/Hello World.wasm" -> "hello-world.wasm": a name for the image. */
static char *module_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = strdup(slash ? slash + 1 : path);
    for (char *c = name; c && *c; c++)
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c - 'A' + 'a');
        else if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789._-", *c))
            *c = '-';
    if (!name || strchr("abcdefghijklmnopqrstuvwxyz0123456789", *name))
        return name;
    free(name);
    return strdup("module");
}

static int import_call(struct want *w, const char *path, struct berth_call **ret_call, struct berth_error *err)
{
    struct store *store;
    const char *slash = strrchr(path, '/');
    char folder[4096];
    int r = local_store(w->c, true, &store, err);
    if (r < 0)
        return r;
    json_t *json = json_pack("{s{ss}}", "Labels", "org.opencontainers.image.title", slash ? slash + 1 : path);
    autofree char *config = json ? json_dumps(json, JSON_COMPACT) : NULL, *name = module_name(path);
    json_decref(json);
    if (!name)
        return fail_memory(err);
    const char *argv[16] = {IMAGE_TOOL_PROGRAM, "import", store_root(store), store_run(store), "--reference", name};
    size_t n = 6; /* without progress: it is a moment's work */
    const struct { const char *option, *value; } options[] = {{"--config", config}, {"--folder", getcwd(folder, sizeof(folder))}};
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (options[i].value) {
            argv[n++] = options[i].option;
            argv[n++] = options[i].value;
        }
    argv[n] = path;
    r = tool_call(w->c, argv, TOOL_OUTPUT, -1, ret_call, err);
    if (r == 0)
        fcntl(berth_call_stream_fd(*ret_call, 1), F_SETFL, O_RDONLY | O_NONBLOCK);
    return r;
}

static int load_call(struct want *w, const char *source, const char *platform, struct berth_call **ret_call,
                     struct berth_error *err)
{
    struct store *store;
    int r = local_store(w->c, true, &store, err);
    if (r < 0)
        return r;
    const char *argv[10] = {IMAGE_TOOL_PROGRAM, "load", store_root(store), store_run(store)};
    size_t n = 4;
    if (platform) {
        argv[n++] = "--platform";
        argv[n++] = platform;
    }
    argv[n++] = "--progress";
    argv[n] = source;
    r = tool_call(w->c, argv, TOOL_OUTPUT | TOOL_PROGRESS, -1, ret_call, err);
    if (r == 0)
        fcntl(berth_call_stream_fd(*ret_call, 1), F_SETFL, O_RDONLY | O_NONBLOCK);
    return r;
}

/* The tool has ended, so all it said is in the pipe: names are few and short. */
static void hear_load(struct want *w)
{
    char buffer[4096];
    ssize_t n;
    const char *reference = w->references[w->next];
    int fd = is_archive(reference) || is_module(w, reference) ? berth_call_stream_fd(w->call, 1) : -1;
    while (fd >= 0 && (n = RETRY(read(fd, buffer, sizeof(buffer)))) > 0)
        text_add_bytes(&w->said, buffer, (size_t)n);
}

int want_loaded(struct want *w, char **ret_image, struct berth_error *err)
{
    if (!w->said.length)
        return 0;
    json_t *line = json_loadb(w->said.data, w->said.length, JSON_DISABLE_EOF_CHECK, NULL);
    const char *name = json_string_value(json_object_get(line, "reference"));
    const char *id = json_string_value(json_object_get(line, "id"));
    const char *newline = memchr(w->said.data, '\n', w->said.length);
    bool several = newline && newline + 1 < w->said.data + w->said.length;
    int r = 0;
    if (several)
        r = fail(err, BERTH_INVALID, w->spec->image,
                 "image: %.160s holds several images; one is chosen by :NAME behind the path", w->spec->image);
    else if (!name && !id)
        r = fail(err, BERTH_CORRUPT, w->spec->image, "image: %.160s: no image was loaded", w->spec->image);
    else if (!(*ret_image = strdup(name && *name && !is_path(w->spec->image) ? name : id))) /* a file's name is the next one's, too */
        r = fail_memory(err);
    json_decref(line);
    return r < 0 ? r : 1;
}

int pull_call(struct local *c, const char *reference, const char *platform, const char *policy, bool show,
              struct berth_call **ret_call, struct berth_error *err)
{
    struct store *store;
    int r = local_store(c, true, &store, err);
    if (r < 0)
        return r;
    const char *argv[12] = {IMAGE_TOOL_PROGRAM, "pull", store_root(store), store_run(store)};
    const struct { const char *option, *value; } options[] = {{"--policy", policy}, {"--platform", platform}};
    size_t n = 4;
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (options[i].value) {
            argv[n++] = options[i].option;
            argv[n++] = options[i].value;
        }
    if (show)
        argv[n++] = "--progress";
    argv[n] = reference;
    return tool_call(c, argv, TOOL_OUTPUT | (show ? TOOL_PROGRESS : 0), -1, ret_call, err);
}

/* "./app.wasm", an id: no registry has those. */
static bool is_file(const char *image)
{
    static const char *const forms[] = {"/", "./", "../", "sha256:"};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (starts_with(image, forms[i]))
            return true;
    return false;
}

static int add_wanted(struct want *w, struct store *store, const struct settings *settings, const char *reference,
                      const char *platform, struct berth_error *err)
{
    const char *policy = w->spec->pull ? w->spec->pull : "missing";
    bool module = reference && w->c->kind->takes_files && is_path(reference);
    if (reference && (module || is_archive(reference)) && reference == w->spec->image)
        return strings_add(&w->references, reference) < 0 ? fail_memory(err) : 0;
    if (!reference || is_file(reference) || is_archive(reference) || strcmp(policy, "never") == 0)
        return 0;
    if (strcmp(policy, "missing") == 0 && image_is_here(store, &settings->images, reference, platform))
        return 0;
    return strings_add(&w->references, reference) < 0 ? fail_memory(err) : 0;
}

static int next_call(struct want *w, struct berth_error *err)
{
    bool first = w->next == 0;
    const char *reference = w->references[w->next];
    int r = is_archive(reference) ? load_call(w, reference, w->spec->platform, &w->call, err)
            : is_module(w, reference) ? import_call(w, reference, &w->call, err)
                : pull_call(w->c, w->references[w->next], first ? w->spec->platform : NULL,
                      w->spec->pull && strcmp(w->spec->pull, "missing") != 0 ? w->spec->pull : "missing", first, &w->call, err);
    if (r == 0 && first)
        w->first = w->call;
    return r;
}

int want_begin(struct local *c, struct store *store, const struct settings *settings, const struct spec *spec,
               struct want **ret, struct berth_error *err)
{
    if (c->kind->on_host)
        return 0;
    struct want *w = calloc(1, sizeof(*w));
    if (!w || !(w->references = calloc(1, sizeof(*w->references)))) {
        free(w);
        return fail_memory(err);
    }
    w->c = c;
    w->spec = spec;
    int r = add_wanted(w, store, settings, spec->image, spec->platform, err);
    for (size_t i = 0; r == 0 && i < spec->n_image_volumes; i++)
        r = add_wanted(w, store, settings, spec->image_volumes[i].image, NULL, err);
    if (r == 0 && w->references[0])
        r = next_call(w, err);
    if (r < 0 || !w->references[0])
        want_free(w);
    else
        *ret = w;
    return r;
}

int want_step(struct want *w, struct berth_error *err)
{
    while (w->references[w->next]) {
        int r = w->cancelled ? fail(err, BERTH_CANCELLED, w->references[w->next], "cancelled") : 0;
        if (r == 0)
            r = berth_call_finish(w->call, NULL, err);
        if (r == BERTH_AGAIN)
            return 0;
        if (r < 0)
            return fail_context(err, "%s %.160s", verb_of(w, w->references[w->next]), w->references[w->next]), r;
        hear_load(w);
        if (w->call != w->first)
            berth_call_free(w->call);
        w->call = NULL;
        w->next++;
        if (w->references[w->next] && (r = next_call(w, err)) < 0)
            return r;
    }
    return 1;
}

int want_fd(struct want *w)
{
    return w->call ? berth_call_fd(w->call) : -1;
}

int want_progress_fd(struct want *w)
{
    return w->first ? berth_call_stream_fd(w->first, 2) : -1;
}

void want_cancel(struct want *w)
{
    w->cancelled = true;
    berth_call_cancel(w->call);
}

void want_free(struct want *w)
{
    if (!w)
        return;
    if (w->call != w->first)
        berth_call_free(w->call);
    berth_call_free(w->first);
    strings_free(w->references);
    text_free(&w->said);
    free(w);
}
