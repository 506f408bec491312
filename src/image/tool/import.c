/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import: a folder or a tar becomes an image of one layer, like any other.
 *
 * Nothing of the moment goes into it: its times are the newest of its files, so that the same files
 * give the same id.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/work.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define HOW "berth image import"

int read_config_option(struct work *w, struct berth_error *err)
{
    size_t size = 0;
    if (!w->config)
        return 0;
    const char *first = w->config + strspn(w->config, " \t\r\n");
    if (*first == '{') {
        w->config_text = strdup(w->config);
        return w->config_text ? 0 : fail_memory(err);
    }
    int r = file_read(AT_FDCWD, w->config, IMAGE_MAX_CONFIG_BYTES, &w->config_text, &size);
    return r < 0 ? fail_os(err, r, w->config, "read the config %s", w->config) : 0;
}

static bool is_wasm_name(const char *name)
{
    return ends_with(name, ".wasm");
}

int import_prepare(struct work *w, struct berth_error *err)
{
    const char *source = w->arguments[0];
    struct stat st;
    int r = read_config_option(w, err);
    if (r < 0)
        return r;
    if (strcmp(source, "-") == 0) {
        w->source_fd = STDIN_FILENO;
        return 0;
    }
    autoclose int fd = open(source, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_os(err, errno, source, "open %s", source);
    if (S_ISREG(st.st_mode) && is_wasm_name(source))
        return fail(err, BERTH_UNSUPPORTED, source, "%s is a WebAssembly module; this version imports folders and tar archives", source);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return fail(err, BERTH_INVALID, source, "%s is neither a folder nor a tar archive", source);
    fcntl(fd, F_SETFL, 0);
    *(S_ISDIR(st.st_mode) ? &w->folder_fd : &w->source_fd) = take_fd(&fd);
    return 0;
}

static int parse_inner(const struct work *w, json_t **ret, struct berth_error *err)
{
    json_error_t where;
    *ret = w->config_text ? json_loads(w->config_text, JSON_REJECT_DUPLICATES, &where) : json_object();
    if (!*ret)
        return fail(err, BERTH_INVALID, "config", "the image config, line %d: %s", where.line, where.text);
    json_t *inner = json_object_get(*ret, "config"); /* a whole config document is taken as well */
    if (inner && json_is_object(inner)) {
        json_incref(inner);
        json_decref(*ret);
        *ret = inner;
    }
    return json_is_object(*ret) ? 0 : fail(err, BERTH_INVALID, "config", "the image config is not a JSON object");
}

static void print_seconds(int64_t seconds, char ret[40])
{
    time_print(seconds * 1000000, ret);
    memcpy(strchr(ret, '.'), "Z", 2);
}

static int make_config(const struct work *w, const struct layer *l, char **ret, struct berth_error *err)
{
    struct platform p = w->platform;
    char created[40];
    print_seconds(MAX(l->newest_sec, 0), created);
    json_t *inner = NULL;
    int r = parse_inner(w, &inner, err);
    if (r < 0) {
        json_decref(inner);
        return r;
    }
    json_t *config = json_pack("{ss ss ss so s{ss s[s]} s[{ss ss}]}", "architecture", p.architecture, "os", p.os,
                               "created", created, "config", inner, "rootfs", "type", "layers", "diff_ids",
                               l->diff_id, "history", "created", created, "created_by", HOW);
    if (config && *p.variant && w->has_platform)
        json_object_set_new(config, "variant", json_string(p.variant));
    *ret = config ? json_dumps(config, JSON_COMPACT) : NULL;
    json_decref(config);
    return *ret ? 0 : fail_memory(err);
}

int import_run(struct work *w, struct berth_error *err)
{
    struct layer layer = {.in_fd = w->source_fd, .folder_fd = w->folder_fd, .deflate = true, .unpack = true,
                          .keep = true, .what = w->arguments[0]};
    progress(w, "read", w->arguments[0], 0);
    int r = layers_make(w, &layer, 1, err);
    autofree char *config = NULL;
    if (r == 0)
        r = make_config(w, &layer, &config, err);
    autoclose int locks_fd = -1;
    if (r == 0)
        r = lock_layers(w, &layer, 1, true, &locks_fd, err);
    size_t order[] = {0};
    char *references[] = {(char *)w->reference, NULL};
    struct draft draft = {.references = references, .config = config,
                          .config_size = config ? strlen(config) : 0, .layers = &layer, .order = order,
                          .n_order = 1, .created_usec = now_usec()};
    return r == 0 ? draft_commit(w, &draft, err) : r;
}
