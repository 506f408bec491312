/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import: a folder, a tar or a module becomes an image of one layer, like any other.
 *
 * Nothing of the moment goes into it: its times are the newest of its files, so that the same files
 * give the same id.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/module.h"
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

static int look(struct work *w, int fd, const char *source, struct berth_error *err)
{
    enum look is;
    int r = module_look(fd, &is);
    w->module = is != LOOK_NONE;
    w->module_text = is == LOOK_TEXT;
    return r < 0 ? fail_os(err, r, source, "read %s", source) : 0;
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
    if (S_ISREG(st.st_mode) && (r = look(w, fd, source, err)) < 0)
        return r;
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
        return fail(err, BERTH_INVALID, source, "%s is neither a folder, a tar archive nor a module", source);
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

/* The CNCF's form for a module, with what the caller adds. */
static json_t *module_config(const struct layer *l, const char *created, json_t *inner)
{
    return json_pack("{ss ss ss so s[s]}", "architecture", "wasm", "os", "wasip1", "created", created, "config", inner,
                     "layerDigests", l->diff_id);
}

static int make_config(const struct work *w, const struct layer *l, char **ret, struct berth_error *err)
{
    struct platform p = w->platform;
    char created[40];
    print_seconds(w->module ? 0 : MAX(l->newest_sec, 0), created);
    json_t *inner = NULL;
    int r = parse_inner(w, &inner, err);
    if (r < 0) {
        json_decref(inner);
        return r;
    }
    json_t *config = w->module ? module_config(l, created, inner) : json_pack("{ss ss ss so s{ss s[s]} s[{ss ss}]}", "architecture", p.architecture, "os", p.os,
                               "created", created, "config", inner, "rootfs", "type", "layers", "diff_ids",
                               l->diff_id, "history", "created", created, "created_by", HOW);
    if (config && !w->module && *p.variant && w->has_platform)
        json_object_set_new(config, "variant", json_string(p.variant));
    *ret = config ? json_dumps(config, JSON_COMPACT) : NULL;
    json_decref(config);
    return *ret ? 0 : fail_memory(err);
}

int import_run(struct work *w, struct berth_error *err)
{
    struct layer layer = {.in_fd = w->source_fd, .folder_fd = w->folder_fd, .deflate = !w->module, .unpack = true,
                          .keep = true, .module = w->module, .text = w->module_text, .what = w->arguments[0]};
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
                          .n_order = 1, .created_usec = now_usec(), .wasm = w->module};
    return r == 0 ? draft_commit(w, &draft, err) : r;
}
