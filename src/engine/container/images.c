/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h: images, and tars of a workload's root.
 */
#include "local/tool.h"
#include "base/file.h"
#include "engine/desk.h"
#include "local/want.h"
#include "engine/report.h"
#include "image/tool.h"
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>

#define WORDS_MAX 40
#define LOGIN_MAX_BYTES 32768

struct words { const char *list[WORDS_MAX + 1]; size_t n; char folder[PATH_MAX]; bool progress; };

static void add(struct words *w, const char *word)
{
    if (w->n < WORDS_MAX)
        w->list[w->n++] = word;
}

static void add_option(struct words *w, const char *option, const char *value)
{
    if (value) {
        add(w, option);
        add(w, value);
    }
}

/** The engine, its store (made), and the words that every applet begins with. */
static int begin(struct berth_runtime *runtime, const char *applet, bool progress, struct local **ret_c,
                 struct words *w, struct berth_error *err)
{
    struct store *store;
    int r = local_self(runtime, ret_c, err);
    if (r == 0)
        r = local_store(*ret_c, true, &store, err);
    if (r < 0)
        return r;
    *w = (struct words){.progress = progress};
    add(w, IMAGE_TOOL_PROGRAM);
    add(w, applet);
    add(w, store_root(store));
    add(w, store_run(store));
    if (getcwd(w->folder, sizeof(w->folder))) /* the program runs in "/"; the caller's paths don't begin there */
        add_option(w, "--folder", w->folder);
    if (progress)
        add(w, "--progress");
    return 0;
}

static int run(struct local *c, const struct words *w, int input_fd, struct berth_call **ret_call, struct berth_error *err)
{
    return tool_call(c, w->list, TOOL_OUTPUT | (w->progress ? TOOL_PROGRESS : 0), input_fd, ret_call, err);
}

int berth_image_import_call(struct berth_runtime *runtime,
                            const struct berth_image_import_options *options,
                            struct berth_call **ret_call, struct berth_error *err)
{
    struct berth_image_import_options o;
    struct local *c;
    struct words w;
    int r = options_take(options, &o, sizeof(o), err);
    if (r < 0)
        return r;
    if (!o.source || !o.reference || !ret_call)
        return fail(err, BERTH_INVALID, NULL, "import: a source and a reference are needed");
    if ((r = begin(runtime, "import", o.progress, &c, &w, err)) < 0)
        return r;
    add_option(&w, "--reference", o.reference);
    add_option(&w, "--config", o.config_json);
    add_option(&w, "--platform", o.platform);
    add(&w, o.source);
    int input = !strcmp(o.source, "-") ? o.input_fd : -1;
    return run(c, &w, input, ret_call, err);
}

int berth_image_load_call(struct berth_runtime *runtime,
                          const struct berth_image_load_options *options,
                          struct berth_call **ret_call, struct berth_error *err)
{
    struct berth_image_load_options o;
    struct local *c;
    struct words w;
    int r = options_take(options, &o, sizeof(o), err);
    if (r < 0)
        return r;
    if (!o.source || !ret_call)
        return fail(err, BERTH_INVALID, NULL, "load: a source is needed");
    if ((r = begin(runtime, "load", o.progress, &c, &w, err)) < 0)
        return r;
    add_option(&w, "--reference", o.reference);
    add_option(&w, "--platform", o.platform);
    add(&w, o.source);
    int input = !strcmp(o.source, "-") ? STDIN_FILENO : -1;
    return run(c, &w, input, ret_call, err);
}

int berth_image_pull_call(struct berth_runtime *runtime, const struct berth_image_pull_options *options,
                          struct berth_call **ret_call, struct berth_error *err)
{
    struct berth_image_pull_options o;
    struct local *c;
    int r = options_take(options, &o, sizeof(o), err);
    if (r == 0 && (!o.reference || !ret_call))
        r = fail(err, BERTH_INVALID, NULL, "pull: a reference is needed");
    if (r == 0)
        r = local_self(runtime, &c, err);
    return r < 0 ? r : pull_call(c, o.reference, o.platform, o.policy, o.progress, ret_call, err);
}

int berth_image_save_call(struct berth_runtime *runtime,
                          const struct berth_image_save_options *options,
                          struct berth_call **ret_call, struct berth_error *err)
{
    struct berth_image_save_options o;
    struct local *c;
    struct words w;
    int r = options_take(options, &o, sizeof(o), err);
    if (r < 0)
        return r;
    if (!o.target || !o.references || !o.references[0] || !ret_call)
        return fail(err, BERTH_INVALID, NULL, "save: a target and references are needed");
    if (strings_count((char *const *)o.references) > WORDS_MAX - 10)
        return fail(err, BERTH_TOO_BIG, NULL, "save: more than %d images at once", WORDS_MAX - 10);
    if ((r = begin(runtime, "save", o.progress, &c, &w, err)) < 0)
        return r;
    add_option(&w, "--format", o.format);
    add(&w, o.target);
    for (size_t i = 0; o.references[i]; i++)
        add(&w, o.references[i]);
    return run(c, &w, -1, ret_call, err);
}

int berth_image_push_call(struct berth_runtime *runtime, const struct berth_image_push_options *options,
                          struct berth_call **ret_call, struct berth_error *err)
{
    struct berth_image_push_options o;
    struct local *c;
    struct words w;
    int r = options_take(options, &o, sizeof(o), err);
    if (r < 0)
        return r;
    if (!o.reference || !ret_call)
        return fail(err, BERTH_INVALID, NULL, "push: a reference is needed");
    if ((r = begin(runtime, "push", o.progress, &c, &w, err)) < 0)
        return r;
    add(&w, o.reference);
    return run(c, &w, -1, ret_call, err);
}

/** A pipe that holds a login, for berth-image's descriptor 0: a password belongs into no argv. */
static int login_pipe(const char *username, const char *password, int *ret_fd, struct berth_error *err)
{
    int ends[2];
    json_t *json = json_pack("{ss ss}", "username", username, "password", password);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!text)
        return fail(err, BERTH_INVALID, NULL, "login: user name and password are UTF-8");
    size_t length = strlen(text);
    int r = length > LOGIN_MAX_BYTES ? fail(err, BERTH_TOO_BIG, NULL, "login: the password is too long")
          : pipe2(ends, O_CLOEXEC) < 0 ? fail_os(err, errno, NULL, "pipe") : 0;
    if (r == 0) {
        fd_write_all(ends[1], text, length); /* a pipe holds more than this */
        close(ends[1]);
        *ret_fd = ends[0];
    }
    explicit_bzero(text, length);
    free(text);
    return r;
}

int berth_registry_login_call(struct berth_runtime *runtime, const char *registry, const char *username, const char *password,
                              struct berth_call **ret_call, struct berth_error *err)
{
    struct local *c;
    struct words w;
    autoclose int input_fd = -1;
    if (!username || !password || !ret_call)
        return fail(err, BERTH_INVALID, NULL, "login: user name and password are needed");
    int r = begin(runtime, "login", false, &c, &w, err);
    if (r == 0)
        r = login_pipe(username, password, &input_fd, err);
    if (r < 0)
        return r;
    if (registry)
        add(&w, registry);
    return run(c, &w, input_fd, ret_call, err);
}

int berth_registry_logout_call(struct berth_runtime *runtime, const char *registry, struct berth_call **ret_call,
                               struct berth_error *err)
{
    struct local *c;
    struct words w;
    if (!ret_call)
        return fail(err, BERTH_INVALID, NULL, "logout: an argument is NULL");
    int r = begin(runtime, "logout", false, &c, &w, err);
    if (r < 0)
        return r;
    if (registry)
        add(&w, registry);
    return run(c, &w, -1, ret_call, err);
}

int berth_image_verify_call(struct berth_runtime *runtime, struct berth_call **ret_call,
                            struct berth_error *err)
{
    struct local *c;
    struct words w;
    int r = begin(runtime, "verify", false, &c, &w, err);
    return r < 0 ? r : run(c, &w, -1, ret_call, err);
}

/* ---- the local store of images */

/** The engine, its store and, where names are read or written (NULL: nowhere), what completes them. */
static int images_store(struct berth_runtime *runtime, struct local **ret_c, struct store **ret,
                        struct settings **ret_settings, struct berth_error *err)
{
    int r = local_self(runtime, ret_c, err);
    if (r == 0)
        r = local_store(*ret_c, true, ret, err);
    return r < 0 || !ret_settings ? r : settings_read(*ret_c, ret_settings, err);
}

static void print_image(struct text *t, const struct image *image)
{
    text_add(t, "{\"reference\":");
    report_string(t, image->reference ? image->reference : "");
    text_add(t, ",\"id\":");
    report_string(t, image->id);
    text_add(t, ",\"digest\":");
    report_string(t, image->digest);
    report_time(t, "created", image->created_usec);
    report_time(t, "used", image->used_usec);
    text_printf(t, ",\"size_bytes\":%llu,\"layers\":%zu,\"wasm\":%s,\"platform\":",
                (unsigned long long)image->size_bytes, strings_count(image->diff_ids),
                image->wasm ? "true" : "false");
    autofree char *platform = format_text(
        "%s/%s%s%s", image->config.os ? image->config.os : "linux",
        image->config.architecture ? image->config.architecture : "",
        image->config.variant && *image->config.variant ? "/" : "",
        image->config.variant ? image->config.variant : "");
    report_string(t, platform ? platform : "");
    text_add(t, "}");
}

int berth_image_list(struct berth_runtime *runtime, char **ret_json, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    struct image **images = NULL;
    size_t n = 0;
    autoclean(cleanup_settings) struct settings *settings = NULL;
    autotext struct text t = {0};
    int r = images_store(runtime, &c, &store, &settings, err);
    if (r == 0)
        r = image_list(store, &settings->images, &images, &n, err);
    if (r < 0)
        return r;
    text_add(&t, "[");
    for (size_t i = 0; i < n; i++) {
        text_add(&t, i ? "," : "");
        print_image(&t, images[i]);
        image_free(images[i]);
    }
    free(images);
    text_add(&t, "]");
    *ret_json = text_take(&t);
    return *ret_json ? 0 : fail_memory(err);
}

int berth_image_inspect(struct berth_runtime *runtime, const char *reference, char **ret_json,
                        struct berth_error *err)
{
    struct local *c;
    struct store *store;
    autoclean(cleanup_settings) struct settings *settings = NULL;
    int r = images_store(runtime, &c, &store, &settings, err);
    if (r == 0 && (!reference || !ret_json))
        r = fail(err, BERTH_INVALID, NULL, "image inspect: an argument is NULL");
    return r < 0 ? r : image_inspect(store, &settings->images, reference, ret_json, err);
}

int berth_image_remove(struct berth_runtime *runtime, const char *reference, bool force,
                       struct berth_error *err)
{
    struct local *c;
    struct store *store;
    autofree char *report = NULL;
    autoclean(cleanup_settings) struct settings *settings = NULL;
    int r = images_store(runtime, &c, &store, &settings, err);
    if (r == 0 && !reference)
        r = fail(err, BERTH_INVALID, NULL, "rmi: `reference` is NULL");
    if (r == 0)
        r = local_need("rmi", err);
    if (r == 0)
        r = image_untag(store, &settings->images, reference, force, err);
    if (r == 0)
        r = image_collect(store, true, false, &report, err);
    if (r == 0)
        trash_helper(c);
    return r;
}

int berth_image_tag(struct berth_runtime *runtime, const char *source, const char *target,
                    struct berth_error *err)
{
    struct local *c;
    struct store *store;
    autoclean(cleanup_settings) struct settings *settings = NULL;
    int r = images_store(runtime, &c, &store, &settings, err);
    if (r == 0 && (!source || !target))
        r = fail(err, BERTH_INVALID, NULL, "tag: an argument is NULL");
    return r < 0 ? r : image_tag(store, &settings->images, source, target, err);
}

int berth_image_prune(struct berth_runtime *runtime, bool all, char **ret_json,
                      struct berth_error *err)
{
    struct local *c;
    struct store *store;
    int r = images_store(runtime, &c, &store, NULL, err);
    if (r == 0)
        r = local_need("prune", err);
    if (r == 0)
        r = image_collect(store, !all, all, ret_json, err);
    if (r == 0)
        trash_helper(c);
    return r;
}

int berth_image_prune_blobs(struct berth_runtime *runtime, char **ret_json, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    int r = images_store(runtime, &c, &store, NULL, err);
    if (r == 0)
        r = local_need("prune", err);
    if (r == 0)
        r = image_prune_blobs(store, ret_json, err);
    if (r == 0)
        trash_helper(c);
    return r;
}

/* ---- a workload's root */

static int root_words(struct berth_runtime *runtime, const struct berth_handle *handle,
                      const char *applet, const char *path, char id[BERTH_ID_TEXT],
                      struct local **ret_c, struct words *w, struct berth_error *err)
{
    autoworkload workload = NULL;
    int r = begin(runtime, applet, false, ret_c, w, err);
    if (r < 0)
        return r;
    if (!handle)
        return fail(err, BERTH_INVALID, NULL, "%s: `handle` is NULL", applet);
    if ((r = local_need(applet, err)) < 0 || (r = local_get(*ret_c, handle, &workload, err)) < 0)
        return r;
    berth_id_print(handle->id, id);
    add(w, id);
    if (path)
        add(w, path);
    return 0;
}

int berth_diff(struct berth_runtime *runtime, const struct berth_handle *handle, char **ret_json,
               struct berth_error *err)
{
    struct local *c;
    struct words w;
    char id[BERTH_ID_TEXT];
    int r = root_words(runtime, handle, "diff", NULL, id, &c, &w, err);
    return r < 0 ? r : tool_lines(c, w.list, ret_json, err);
}

int berth_commit_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                      const struct berth_commit_options *options, struct berth_call **ret_call,
                      struct berth_error *err)
{
    struct berth_commit_options o;
    struct local *c;
    struct words w;
    char id[BERTH_ID_TEXT];
    autoworkload workload = NULL;
    int r = options_take(options, &o, sizeof(o), err);
    if (r == 0 && (!o.reference || !handle || !ret_call))
        r = fail(err, BERTH_INVALID, NULL, "commit: a handle and a reference are needed");
    if (r == 0)
        r = begin(runtime, "commit", o.progress, &c, &w, err);
    if (r < 0 || (r = local_need("commit", err)) < 0 || (r = local_get(c, handle, &workload, err)) < 0)
        return r;
    add_option(&w, "--config", o.config_json);
    add_option(&w, "--message", o.message);
    add_option(&w, "--author", o.author);
    berth_id_print(handle->id, id);
    add(&w, id);
    add(&w, o.reference);
    return run(c, &w, -1, ret_call, err);
}

int berth_export_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                      struct berth_call **ret_call, struct berth_error *err)
{
    struct local *c;
    struct words w;
    char id[BERTH_ID_TEXT];
    int r = root_words(runtime, handle, "export", NULL, id, &c, &w, err);
    return r < 0 ? r : run(c, &w, -1, ret_call, err);
}

/** Without empty parts, "." and "..", as it is written: links are not looked at. */
static void plain_path(const char *path, char *ret, size_t size)
{
    size_t n = 0;
    for (const char *p = path; *p;) {
        size_t part = strcspn(p, "/");
        if (part == 2 && !memcmp(p, "..", 2)) {
            while (n && ret[--n] != '/')
                ;
        } else if (part && !(part == 1 && *p == '.') && n + part + 1 < size) {
            ret[n++] = '/';
            memcpy(ret + n, p, part);
            n += part;
        }
        p += part + (p[part] == '/');
    }
    ret[n] = 0;
}

/** What is mounted while it runs is not there when it does not: a file copied to that place would lie below, unseen. */
static int refuse_mounts(struct workload *w, const char *path, struct berth_error *err)
{
    char plain[PATH_MAX];
    struct status status;
    bool alive;
    autoclean(cleanup_plan) struct plan *plan = NULL;
    int r = workload_status_read(w, &status, &alive, err);
    if (r < 0 || (alive && status.pid > 0) || (r = document_plan(w, &plan, err)) < 0)
        return r;
    plain_path(path, plain, sizeof(plain));
    for (size_t i = 0; i < plan->n_mounts; i++) {
        const struct plan_mount *m = &plan->mounts[i];
        size_t n = strlen(m->target);
        bool files = (m->kind == PLAN_MOUNT_BIND || m->kind == PLAN_MOUNT_VOLUME) && m->source && m->source[0] == '/';
        if (!strncmp(plain, m->target, n) && (!plain[n] || plain[n] == '/'))
            return fail(err, BERTH_WRONG_STATE, path, "%.200s is mounted only while it runs: start it first%s%s", m->target,
                        files ? ", or take " : "", files ? m->source : "");
    }
    return 0;
}

static int copy(struct berth_runtime *runtime, const struct berth_handle *handle, const char *applet,
                const char *path, unsigned streams, struct berth_call **ret_call,
                struct berth_error *err)
{
    struct local *c;
    struct words w;
    char id[BERTH_ID_TEXT];
    if (!path || !*path)
        return fail(err, BERTH_INVALID, NULL, "copy: `path` is empty");
    autoworkload workload = NULL;
    int r = root_words(runtime, handle, applet, path, id, &c, &w, err);
    if (r == 0)
        r = local_get(c, handle, &workload, err);
    if (r == 0)
        r = refuse_mounts(workload, path, err);
    return r < 0 ? r : tool_call(c, w.list, streams, -1, ret_call, err);
}

int berth_copy_out_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                        const char *path, struct berth_call **ret_call, struct berth_error *err)
{
    return copy(runtime, handle, "copy-out", path, TOOL_OUTPUT, ret_call, err);
}

int berth_copy_in_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                       const char *path, struct berth_call **ret_call, struct berth_error *err)
{
    return copy(runtime, handle, "copy-in", path, TOOL_INPUT, ret_call, err);
}
