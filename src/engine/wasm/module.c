/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Modules: found in an image or in the root of a running workload.
 */
#include "wasm/inside.h"
#include "base/file.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

void module_free(struct module *m)
{
    if (!m)
        return;
    close_fd(&m->fd);
    free(m->key);
    free(m->name);
    free(m);
}

/* ---- places */

static int module_new(int fd, struct module **ret, struct berth_error *err)
{
    struct module *m = calloc(1, sizeof(*m));
    if (!m) {
        close(fd);
        return fail_memory(err);
    }
    m->fd = fd;
    *ret = m;
    return 0;
}

/** A file for reading; what it is not (a fifo, a device) is never waited for. */
static int open_plain(int dir_fd, const char *path, uint64_t resolve)
{
    struct stat st;
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, .resolve = resolve};
    long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
    if (fd < 0)
        return -errno;
    if (fstat((int)fd, &st) == 0 && S_ISREG(st.st_mode))
        return (int)fd;
    close((int)fd);
    return -ENOEXEC;
}

/** The same in a root that others fill: nothing leads out of it. */
static int open_regular(int root_fd, const char *path)
{
    return open_plain(root_fd, path, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

static int look_at(struct module *m, const char *what, struct berth_error *err)
{
    int r = module_look(m->fd, &m->look);
    if (r < 0)
        return fail_os(err, r, what, "read %s", what);
    return m->look == LOOK_NONE ? fail(err, BERTH_NOT_EXECUTABLE, what, "%s is no WebAssembly module", what) : 0;
}

int module_open(int root_fd, const char *path, struct module **ret, struct berth_error *err)
{
    autoclean(cleanup_module) struct module *m = NULL;
    int fd = root_fd == AT_FDCWD ? open_plain(root_fd, path, 0) : open_regular(root_fd, path);
    if (fd == -ENOEXEC)
        return fail(err, BERTH_NOT_EXECUTABLE, path, "%s is not a file", path);
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
        return fail(err, BERTH_NO_PROGRAM, path, "%s: not found in the workload's root", path);
    if (fd < 0)
        return fail_os(err, fd, path, "open %s", path);
    int r = module_new(fd, &m, err);
    if (r == 0)
        r = look_at(m, path, err);
    if (r == 0)
        *ret = TAKE(m);
    return r;
}

/** "/root/images/layers/HEX/fs" -> HEX. */
static const char *layer_hex(const char *layer, char ret[65])
{
    const char *end = strrchr(layer, '/');
    snprintf(ret, 65, "%.64s", end && end - layer >= 64 ? end - 64 : "");
    return ret;
}

/** Its layer is the module's bytes, not a file system with a file of that name. */
static bool is_artifact(const struct image *image)
{
    autofree char *note = image->layers[0] ? format_text("%.*s/layer.json", (int)(strlen(image->layers[0]) - 3), image->layers[0]) : NULL;
    autofree char *text = NULL;
    size_t size;
    if (!note || file_read(AT_FDCWD, note, 1u << 16, &text, &size) < 0)
        return false;
    json_t *json = json_loadb(text, size, 0, NULL);
    bool module = json_is_true(json_object_get(json, "module"));
    json_decref(json);
    return module;
}

char *module_name(const struct image *image)
{
    for (size_t i = 0; i < image->config.n_labels; i++)
        if (!strcmp(image->config.labels[i].name, "org.opencontainers.image.title") && *image->config.labels[i].value)
            return strdup(image->config.labels[i].value);
    const char *slash = strrchr(image->reference, '/'), *base = slash ? slash + 1 : image->reference;
    return *base ? strndup(base, strcspn(base, ":@")) : strdup("module");
}

static int artifact(const struct image *image, struct module **ret, struct berth_error *err)
{
    char hex[65];
    autofree char *path = format_text("%s/module.wasm", image->layers[0]);
    int fd = path ? open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) : -1;
    if (fd < 0)
        return path ? fail_os(err, errno, path, "open the module of %s", image->reference) : fail_memory(err);
    int r = module_new(fd, ret, err);
    if (r == 0 && !((*ret)->key = strdup(layer_hex(image->layers[0], hex))))
        r = fail_memory(err);
    return r;
}

/** 1 opened, 0 not in this layer, negative: -ENOENT when the layer says that it is gone. */
static int in_layer(const char *layer, const char *path, int *ret_fd)
{
    struct stat st;
    autoclose int dir_fd = open(layer, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return -errno;
    if (fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == 0)
        return -ENOENT; /* overlay's whiteout */
    int fd = open_regular(dir_fd, path);
    if (fd < 0)
        return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? 0 : fd;
    *ret_fd = fd;
    return 1;
}

static uint64_t hash(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    return h;
}

/** A path is searched from the highest layer down, as the mounted root would show it. */
static int in_image(const struct image *image, const char *word, struct module **ret, struct berth_error *err)
{
    char hex[65];
    const char *path = word + strspn(word, "/");
    for (size_t i = strings_count(image->layers); i-- > 0;) {
        int fd = -1, r = in_layer(image->layers[i], path, &fd);
        if (r == 0)
            continue;
        if (r == -ENOEXEC)
            return fail(err, BERTH_NOT_EXECUTABLE, word, "%s is not a file", word);
        if (r < 0 && r != -ENOENT)
            return fail_os(err, r, word, "open %s in %s", word, image->reference);
        if (r < 0)
            break;
        if ((r = module_new(fd, ret, err)) < 0)
            return r;
        (*ret)->key = format_text("%s-%016llx", layer_hex(image->layers[i], hex), (unsigned long long)hash(path));
        return (*ret)->key ? 0 : fail_memory(err);
    }
    return fail(err, BERTH_NO_PROGRAM, word, "%s: not found in the image %s", word, image->reference);
}

int module_find(const struct local *c, struct store *store, const struct image *image, const char *word, struct module **ret,
                struct berth_error *err)
{
    autoclean(cleanup_module) struct module *m = NULL;
    bool alone = is_artifact(image), path = word && strchr(word, '/');
    char *const *own = image->config.entrypoint && image->config.entrypoint[0] ? image->config.entrypoint : image->config.cmd;
    if (alone && path)
        return fail(err, BERTH_NO_PROGRAM, word, "%s: not found: the artifact %s is one module, without files", word, image->reference);
    if (!alone && !path)
        word = own && own[0] && strchr(own[0], '/') ? own[0] : own && own[0] && ends_with(own[0], ".wasm") ? own[0] : word;
    if (!alone && !word)
        return fail(err, BERTH_INVALID, "command", "command: neither the spec nor the image %s names a module", image->reference);
    int r = alone ? artifact(image, &m, err) : in_image(image, word, &m, err);
    if (r == 0)
        m->alone = alone;
    if (r == 0 && !(m->name = alone ? module_name(image) : strdup(word)))
        r = fail_memory(err);
    if (r == 0)
        r = look_at(m, m->name, err);
    if (r == 0)
        *ret = TAKE(m);
    return r;
}
