/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry's room, driven by hand: what a pull or push asks, without a store around it.
 *
 *   probe SETTINGS VERB REFERENCE [ARGUMENT...]      SETTINGS: a berth.toml, or "" for none
 *     manifest [NAME]; resolve [PLATFORM]; digest; blob DIGEST SIZE; has DIGEST; mount DIGEST FROM; send FILE;
 *     put FILE TYPE; login; fetch [--unhashed] FOLDER DIGEST SIZE...: all at once into FOLDER/HEX, going on with what lies there
 *   One line of JSON; the exit status is 1 with {"error"}. PROBE_JAIL=FOLDER: in the network's jail, as berth-image does it.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/jail.h"
#include "image/tool/registry.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int print(json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    puts(text ? text : "{}");
    free(text);
    json_decref(line);
    return 0;
}

static json_t *of_document(const struct registry_document *d, const char *top)
{
    return json_pack("{ss ss si ss}", "digest", d->digest, "type", d->media_type, "size", (int)d->size, "top", top);
}

static int manifest(struct registry *r, char **words, struct berth_error *err)
{
    struct registry_document d;
    int code = registry_manifest(r, words[0], &d, err);
    if (code == 0) {
        print(of_document(&d, ""));
        registry_document_clear(&d);
    }
    return code;
}

static int resolve(struct registry *r, char **words, struct berth_error *err)
{
    struct registry_document d;
    struct platform p;
    char top[DIGEST_TEXT];
    platform_here(&p);
    int code = words[0] ? platform_parse(words[0], &p, err) : 0;
    if (code == 0)
        code = registry_resolve(r, &p, words[0] != NULL, &d, top, err);
    if (code == 0) {
        print(of_document(&d, top));
        registry_document_clear(&d);
    }
    return code;
}

static int digest(struct registry *r, char **words, struct berth_error *err)
{
    char is[DIGEST_TEXT];
    (void)words;
    int code = registry_digest(r, is, err);
    return code < 0 ? code : print(json_pack("{ss}", "digest", is));
}

static int blob(struct registry *r, char **words, struct berth_error *err)
{
    char *bytes = NULL;
    uint64_t size = strtoull(words[1], NULL, 10);
    int code = registry_blob(r, words[0], size, IMAGE_MAX_CONFIG_BYTES, &bytes, err);
    free(bytes);
    return code < 0 ? code : print(json_pack("{sI}", "size", (json_int_t)size));
}

static int has(struct registry *r, char **words, struct berth_error *err)
{
    int code = registry_has_blob(r, words[0], err);
    return code < 0 ? code : print(json_pack("{sb}", "has", code));
}

static int mount_blob(struct registry *r, char **words, struct berth_error *err)
{
    int code = registry_mount(r, words[0], words[1], err);
    return code < 0 ? code : print(json_pack("{sb}", "mounted", code));
}

static int send_file(struct registry *r, char **words, struct berth_error *err)
{
    autoclose int fd = open(words[0], O_RDONLY | O_CLOEXEC);
    struct stat st;
    char is[DIGEST_TEXT] = "";
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail_os(err, errno, words[0], "open");
    uint64_t size = 0;
    stream_copy(fd, -1, UINT64_MAX, is, &size, err);
    int code = registry_send_blob(r, is, fd, (uint64_t)st.st_size, NULL, NULL, err);
    return code < 0 ? code : print(json_pack("{ss sI}", "digest", is, "size", (json_int_t)st.st_size));
}

static int put(struct registry *r, char **words, struct berth_error *err)
{
    autofree char *bytes = NULL;
    size_t size = 0;
    int code = file_read(AT_FDCWD, words[0], IMAGE_MAX_MANIFEST_BYTES, &bytes, &size);
    code = code < 0 ? fail_os(err, code, words[0], "read") : registry_put_manifest(r, NULL, words[1], bytes, size, err);
    return code < 0 ? code : print(json_pack("{sb}", "put", 1));
}

static int login(struct registry *r, char **words, struct berth_error *err)
{
    (void)words;
    int code = registry_check_login(r, err);
    return code < 0 ? code : print(json_pack("{sb}", "login", 1));
}

struct piece { struct registry_transfer *t; int fd, restarts; };

static int take(void *data, const void *bytes, size_t size, uint64_t offset, struct berth_error *err)
{
    struct piece *p = data;
    return pwrite(p->fd, bytes, size, (off_t)offset) == (ssize_t)size ? 0 : fail_os(err, errno, "", "write");
}

static int restart(void *data, struct berth_error *err)
{
    struct piece *p = data;
    p->restarts++;
    return ftruncate(p->fd, 0) < 0 ? fail_os(err, errno, "", "truncate") : 0;
}

static int begin_piece(struct registry *r, struct piece *p, int folder_fd, char **words, bool unhashed, struct berth_error *err)
{
    struct registry_sink sink = {.data = p, .write = take, .restart = restart, .unhashed = unhashed};
    struct stat st = {0};
    p->fd = openat(folder_fd, words[0] + 7, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (p->fd < 0 || fstat(p->fd, &st) < 0)
        return fail_os(err, errno, words[0], "open");
    return registry_transfer_begin(r, words[0], strtoull(words[1], NULL, 10), (uint64_t)st.st_size, p->fd, &sink, &p->t, err);
}

static int judge(struct piece *p, bool unhashed, bool *ret_done, struct berth_error *err)
{
    enum transfer_state state = registry_transfer_state(p->t, err);
    char is[DIGEST_TEXT], path[64];
    uint64_t size;
    *ret_done = state == TRANSFER_DONE;
    if (state == TRANSFER_FAILED)
        return err->code;
    if (!*ret_done || !unhashed)
        return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", p->fd);
    lseek(p->fd, 0, SEEK_SET);
    int code = stream_copy(p->fd, -1, UINT64_MAX, is, &size, err);
    *ret_done = code == 0 && strcmp(is, getenv("PROBE_DIGEST")) == 0;
    return code == 0 && !*ret_done ? registry_transfer_reject(p->t, err) : code;
}

static int fetch(struct registry *r, char **words, struct berth_error *err)
{
    bool unhashed = strcmp(words[0], "--unhashed") == 0;
    words += unhashed;
    autoclose int folder_fd = open(words[0], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct piece pieces[32] = {0};
    size_t n = 0, done = 0;
    int code = 0, restarts = 0;
    for (words++; code == 0 && words[0] && words[1] && n < ARRAY_SIZE(pieces); words += 2)
        code = begin_piece(r, &pieces[n++], folder_fd, words, unhashed, err);
    while (code == 0 && done < n) {
        done = 0;
        for (size_t i = 0; code == 0 && i < n; i++) {
            bool is = false;
            code = judge(&pieces[i], unhashed, &is, err);
            done += is;
        }
        if (code == 0 && done < n)
            code = registry_step(r, NULL, 0, 1000, err);
    }
    uint64_t bytes = 0;
    for (size_t i = 0; i < n; i++) {
        restarts += pieces[i].restarts;
        bytes += pieces[i].t ? registry_transfer_bytes(pieces[i].t) : 0;
        registry_transfer_free(pieces[i].t);
        close(pieces[i].fd);
    }
    return code < 0 ? code : print(json_pack("{sI si}", "bytes", (json_int_t)bytes, "restarts", restarts));
}

static const struct { const char *name; int words; unsigned flags; int (*run)(struct registry *, char **, struct berth_error *); } verbs[] = {
    {"manifest", 0, 0, manifest}, {"resolve", 0, 0, resolve}, {"digest", 0, 0, digest}, {"blob", 2, 0, blob},
    {"has", 1, REGISTRY_PUSH, has}, {"mount", 2, REGISTRY_PUSH, mount_blob}, {"send", 1, REGISTRY_PUSH, send_file},
    {"put", 2, REGISTRY_PUSH, put}, {"login", 0, REGISTRY_PUSH, login}, {"fetch", 3, 0, fetch},
};

static int into_jail(struct berth_error *err)
{
    const char *scratch = getenv("PROBE_JAIL");
    int code = scratch ? jail_enter_network(scratch, NULL, 0, err) : 0;
    return code == 0 && scratch ? jail_lock_network(err) : code;
}

static int work(int argc, char **argv, struct berth_error *err)
{
    autoregistry struct registry *r = NULL;
    struct reference reference = {0};
    struct work w = {.settings = argv[1][0] ? argv[1] : NULL};
    size_t i = 0;
    while (i < ARRAY_SIZE(verbs) && strcmp(verbs[i].name, argv[2]) != 0)
        i++;
    if (i == ARRAY_SIZE(verbs) || argc - 4 < verbs[i].words)
        return fail(err, BERTH_INVALID, argv[2], "no such verb, or too few arguments");
    int code = settings_load(w.settings, &w.berth_toml, err);
    if (code == 0)
        code = reference_parse(argv[3], &w.berth_toml->images, &reference, err);
    if (code == 0)
        code = registry_prepare(&w, &reference, verbs[i].flags, &r, err);
    reference_clear(&reference);
    if (code == 0)
        code = into_jail(err);
    if (code == 0)
        code = registry_connect(r, err);
    return code == 0 ? verbs[i].run(r, argv + 4, err) : code;
}

int main(int argc, char **argv)
{
    struct berth_error err = {0};
    int code = argc < 4 ? fail(&err, BERTH_INVALID, "", "probe SETTINGS VERB REFERENCE ...") : work(argc, argv, &err);
    if (code < 0)
        print(json_pack("{s{ss ss}}", "error", "code", berth_code_name(err.code), "message", err.message));
    return code < 0;
}
