/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pull: an image from a registry into the store.
 *
 * Outside, the fetcher is started; in the jail it is asked for the manifest, then for every layer that is
 * not here, all at once: while a layer comes, it is inflated and unpacked. What came of a blob stays in
 * images/partial under its digest, whatever ends this process, and the next pull asks for the rest.
 */
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/fetch.h"
#include "image/tool/found.h"
#include "image/tool/manifest.h"
#include "image/tool/work.h"
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define AT_ONCE 8 /* layers beside each other */

/* ---- outside */

/* A tag that is no index has only one answer for those who ask for no platform. */
static bool platform_fits(const struct work *w, const struct record *r)
{
    bool same = strcmp(r->os, w->platform.os) == 0 && strcmp(r->architecture, w->platform.architecture) == 0;
    if (w->has_platform)
        return same && (!*w->platform.variant || strcmp(r->variant, w->platform.variant) == 0);
    return same || !r->source || strcmp(r->source, r->manifest) == 0;
}

/* The image that has the name now; `ret` is empty when there is none, or none that can be used. */
static void find_here(struct work *w, struct record *ret)
{
    autofree char *file = NULL;
    if (record_find(w->images_fd, NULL, w->reference, &file, ret, NULL, NULL) < 0)
        return;
    bool whole = platform_fits(w, ret);
    for (size_t i = 0; whole && ret->diff_ids[i]; i++) {
        struct layer l = {0};
        memcpy(l.diff_id, ret->diff_ids[i], DIGEST_TEXT);
        whole = layer_known(w->images_fd, &l) == 0;
    }
    if (!whole)
        record_clear(ret);
}

static void say_here(struct work *w, const struct record *r)
{
    char path[NAME_MAX + 8];
    autofree char *file = record_file(r->reference, r->id);
    if (file) {
        snprintf(path, sizeof path, "refs/%s", file);
        utimensat(w->images_fd, path, NULL, AT_SYMLINK_NOFOLLOW); /* last used */
    }
    answer(json_pack("{ss ss ss}", "reference", r->reference, "id", r->id, "status", "here"));
}

static bool is_policy(const struct work *w, const char *name)
{
    return strcmp(w->policy, name) == 0;
}

static int check_policy(struct work *w, struct berth_error *err)
{
    static const char *const policies[] = {"always", "missing", "newer"};
    w->policy = w->policy ? w->policy : "always";
    for (size_t i = 0; i < ARRAY_SIZE(policies); i++)
        if (is_policy(w, policies[i]))
            return 0;
    return fail(err, BERTH_INVALID, w->policy, "--policy: \"%.40s\" is not always, missing or newer", w->policy);
}

int pull_prepare(struct work *w, struct berth_error *err)
{
    struct reference reference = {0};
    struct record here = {0};
    int r = check_policy(w, err);
    if (r == 0)
        r = reference_parse(w->arguments[0], &w->berth_toml->images, &reference, err);
    if (r < 0)
        return r;
    gc_limits(w, &w->gc_high, &w->gc_low);
    w->reference = reference_print(&reference); /* kept until the end of the program */
    w->at_once = AT_ONCE;
    find_here(w, &here);
    w->here = here.id && is_policy(w, "missing");
    if (w->here)
        say_here(w, &here);
    else
        r = w->reference ? fetch_start(w, &reference, &w->fetcher, err) : fail_memory(err);
    record_clear(&here);
    reference_clear(&reference);
    return r;
}

int pull_finish(struct work *w, bool done, struct berth_error *err)
{
    (void)done, (void)err;
    fetch_stop(&w->fetcher);
    return 0;
}

/* ---- in the jail: documents */

static int open_document(struct work *w, const char *name, char ret_path[128], struct berth_error *err)
{
    snprintf(ret_path, 128, "%s/%s", w->aside, name);
    int fd = openat(w->images_fd, ret_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd < 0 ? fail_os(err, errno, ret_path, "make a file for the %s of the image", name) : fd;
}

static int get_manifest(struct work *w, struct found *f, struct manifest *m, char digest[DIGEST_TEXT], char top[DIGEST_TEXT],
                        struct berth_error *err)
{
    char path[128];
    json_t *document = NULL;
    autoclose int fd = open_document(w, "manifest", path, err);
    int r = fd < 0 ? fd : fetch_manifest(w->fetcher.socket_fd, &w->platform, w->has_platform, fd, digest, top, err);
    if (r == 0)
        r = document_read(w->images_fd, path, IMAGE_MAX_MANIFEST_BYTES, digest, 0, &f->manifest, &f->manifest_size, &document, err);
    int kind = r < 0 ? r : document_kind(document, NULL, w->reference, err);
    if (kind == MANIFEST)
        return manifest_read(document, w->reference, m, err);
    json_decref(document);
    return kind < 0 ? kind : fail(err, BERTH_CORRUPT, w->reference, "an index came where a manifest was asked for");
}

static int get_config(struct work *w, const struct manifest *m, struct found *f, json_t **ret, struct berth_error *err)
{
    char path[128];
    blob_path(m->config.digest, path);
    if (document_read(w->images_fd, path, IMAGE_MAX_CONFIG_BYTES, m->config.digest, m->config.size, &f->config, &f->config_size,
                      ret, NULL) == 0)
        return 0;
    if (m->config.size > IMAGE_MAX_CONFIG_BYTES)
        return fail(err, BERTH_TOO_BIG, m->config.digest, "the image's config is longer than %d MiB", IMAGE_MAX_CONFIG_BYTES >> 20);
    autoclose int fd = open_document(w, "config", path, err);
    int r = fd < 0 ? fd : fetch_document(w->fetcher.socket_fd, m->config.digest, m->config.size, IMAGE_MAX_CONFIG_BYTES, fd, err);
    return r < 0 ? r : document_read(w->images_fd, path, IMAGE_MAX_CONFIG_BYTES, m->config.digest, m->config.size, &f->config,
                                     &f->config_size, ret, err);
}

static int gather(struct work *w, const struct manifest *m, struct found *f, struct berth_error *err)
{
    json_t *config = NULL;
    autostrings char **diff_ids = NULL;
    int r = get_config(w, m, f, &config, err);
    if (r == 0)
        r = manifest_diff_ids(m, config, w->reference, &diff_ids, err);
    json_decref(config);
    f->wasm = m->wasm;
    if (r == 0)
        r = found_room(f, m->n, err);
    for (size_t i = 0; r == 0 && i < m->n; i++)
        found_layer(f, diff_ids[i], m->layers[i].digest, m->layers[i].size);
    f->references = calloc(2, sizeof *f->references);
    if (r == 0 && (!f->references || !(f->references[0] = strdup(w->reference))))
        r = fail_memory(err);
    return r;
}

/* ---- layers */

/* A blob whose layer was pruned, or lost in a power cut: used when it is what it should be. */
static bool open_kept_blob(struct work *w, struct layer *l)
{
    char path[96], is[DIGEST_TEXT];
    uint64_t bytes = 0;
    blob_path(l->blob, path);
    autoclose int fd = openat(w->images_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || stream_copy(fd, -1, l->blob_bytes, is, &bytes, NULL) < 0 || strcmp(is, l->blob) != 0 || bytes != l->blob_bytes ||
        lseek(fd, 0, SEEK_SET) < 0)
        return false;
    l->in_fd = take_fd(&fd);
    return true;
}

static void plan_layers(struct work *w, struct found *f)
{
    for (size_t i = 0; i < f->n_layers; i++) {
        struct layer *l = &f->layers[i];
        if (l->done)
            continue;
        if (l->known || (l->unpack && !l->keep && open_kept_blob(w, l)))
            l->keep = false;
        else
            l->keep = l->fetch = l->unpack || l->keep;
        progress_of(w, l->fetch || l->busy ? "wait" : "here", l->what, 0, l->blob_bytes);
    }
}

/* What has to come at least, said before an hour of it. What is free is kept for say_missing(). */
static int check_room(const struct work *w, const struct found *f, struct statvfs *ret_fs, struct berth_error *err)
{
    uint64_t wanted = 0;
    for (size_t i = 0; i < f->n_layers; i++) {
        char path[96];
        struct stat st = {0};
        snprintf(path, sizeof path, "partial/%.64s", f->layers[i].blob + 7);
        if (!f->layers[i].fetch)
            continue;
        fstatat(w->images_fd, path, &st, AT_SYMLINK_NOFOLLOW);
        wanted += f->layers[i].blob_bytes - MIN((uint64_t)st.st_size, f->layers[i].blob_bytes);
    }
    if (fstatvfs(w->images_fd, ret_fs) < 0)
        return 0;
    uint64_t room = (uint64_t)ret_fs->f_bavail * ret_fs->f_frsize;
    return wanted <= room ? 0
         : fail(err, BERTH_NO_SPACE, w->reference, "there is no room for it: %llu bytes have to come, %llu are free: at least %llu bytes are "
                "missing (berth image prune -a)", (unsigned long long)wanted, (unsigned long long)room, (unsigned long long)(wanted - room));
}

/* Of a layer that was not looked into, three times its blob is a fair guess. */
static int say_missing(const struct work *w, const struct found *f, const struct statvfs *fs, struct berth_error *err)
{
    uint64_t bytes = 0, files = 0, room = (uint64_t)fs->f_bavail * fs->f_frsize;
    for (size_t i = 0; i < f->n_layers; i++) {
        const struct layer *l = &f->layers[i];
        if (l->fetch || l->unpack) {
            bytes += (l->fetch ? l->blob_bytes : 0) + (l->entries ? l->size_bytes : 3 * l->blob_bytes);
            files += l->entries + 3;
        }
    }
    if (fs->f_files > 0 && files > fs->f_favail)
        return fail(err, BERTH_NO_SPACE, w->reference, "the file system of %s takes no more files: it needs about %llu, %llu are free: about "
                    "%llu files are missing (berth image prune -a)", w->root, (unsigned long long)files,
                    (unsigned long long)fs->f_favail, (unsigned long long)(files - fs->f_favail));
    uint64_t missing = bytes > room ? bytes - room : 1 << 20;
    return fail(err, BERTH_NO_SPACE, w->reference, "the file system of %s is full: it needs about %llu MiB, %llu MiB are free: about "
                "%llu MiB are missing (berth image prune -a)", w->root, (unsigned long long)(bytes >> 20), (unsigned long long)(room >> 20),
                (unsigned long long)((missing >> 20) + 1));
}

/* The partial file, locked: two images may share a blob and call it by two diff ids. Whoever had it has renamed it
   by the time that we get the lock, or left it to us. */
static int open_partial(struct work *w, const char *path, struct berth_error *err)
{
    for (;;) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        struct stat mine, there;
        autoclose int fd = openat(w->images_fd, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 || RETRY(fcntl(fd, F_OFD_SETLKW, &lock)) < 0 || fstat(fd, &mine) < 0)
            return fail_os(err, errno, path, "make the file images/%s", path);
        if (fstatat(w->images_fd, path, &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_ino == mine.st_ino)
            return take_fd(&fd);
    }
}

int pull_layer(struct work *w, struct layer *l, struct berth_error *err)
{
    char path[96];
    struct stat st;
    int notes[2];
    snprintf(path, sizeof path, "partial/%.64s", l->blob + 7);
    autoclose int fd = open_partial(w, path, err);
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0 || ((uint64_t)st.st_size > l->blob_bytes && ftruncate(fd, st.st_size = 0) < 0))
        return fail_os(err, errno, path, "read the file images/%s", path);
    if (pipe2(notes, O_CLOEXEC) < 0)
        return fail_os(err, errno, "", "make a pipe");
    crash_point("pull.asked");
    int r = fetch_blob(w->fetcher.socket_fd, l->blob, l->blob_bytes, (uint64_t)st.st_size, fd, notes[1], err);
    close(notes[1]);
    l->notes_fd = notes[0];
    l->in_fd = take_fd(&fd);
    return r;
}

/* Of a broken connection the rest is fetched next time. What is wrong, or takes the last room, is not kept. */
static void drop_partial(struct work *w, const struct found *f, int code)
{
    static const int kinds[] = {BERTH_NO_SPACE, BERTH_CORRUPT, BERTH_TOO_BIG, BERTH_UNSUPPORTED};
    bool drop = false;
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        drop |= code == kinds[i];
    for (size_t i = 0; drop && i < f->n_layers; i++) {
        char path[96];
        snprintf(path, sizeof path, "partial/%.64s", f->layers[i].blob + 7);
        if (f->layers[i].fetch)
            unlinkat(w->images_fd, path, 0);
    }
}

static int pull_round(struct work *w, struct found *f, const char *top, struct berth_error *err)
{
    struct statvfs before = {0};
    plan_layers(w, f);
    int r = check_room(w, f, &before, err);
    bool begun = r == 0;
    if (begun)
        r = found_make(w, f, top, err);
    if (begun && r == BERTH_NO_SPACE)
        say_missing(w, f, &before, err);
    if (r < 0)
        drop_partial(w, f, r);
    return r;
}

static int pull_found(struct work *w, struct found *f, const char *top, struct berth_error *err)
{
    int r = 1;
    while (r == 1) {
        autoclose int locks_fd = -1;
        r = found_look(w, f, &locks_fd, err);
        if (r == 0)
            r = pull_round(w, f, top, err);
    }
    return r;
}

/* ---- the whole */

/* 1: the image that is here is what the registry has. */
static int still_the_same(struct work *w, const struct record *here, struct berth_error *err)
{
    char digest[DIGEST_TEXT];
    if (!here->id || !here->source)
        return 0;
    int r = fetch_digest(w->fetcher.socket_fd, digest, err);
    return r < 0 ? r : strcmp(digest, here->source) == 0;
}

static int pull(struct work *w, const struct record *here, struct berth_error *err)
{
    char digest[DIGEST_TEXT], top[DIGEST_TEXT];
    struct found f = {0};
    struct manifest m = {0};
    progress(w, "ask", w->reference, 0);
    int r = still_the_same(w, here, err);
    if (r != 0) {
        if (r > 0)
            say_here(w, here);
        return MIN(r, 0);
    }
    r = get_manifest(w, &f, &m, digest, top, err);
    if (r == 0)
        r = gather(w, &m, &f, err);
    if (r == 0)
        r = pull_found(w, &f, top, err);
    manifest_clear(&m);
    found_clear(&f);
    return r;
}

int pull_run(struct work *w, struct berth_error *err)
{
    struct record here = {0};
    struct berth_error why = {0};
    if (w->here)
        return 0;
    find_here(w, &here);
    int r = pull(w, &here, &why);
    if (r < 0 && here.id && is_policy(w, "newer") && r != BERTH_NO_SPACE && r != BERTH_NO_MEMORY) {
        progress(w, "unreachable", why.message, 0);
        say_here(w, &here);
        r = 0;
    } else if (r < 0 && err) {
        *err = why;
    }
    record_clear(&here);
    return r;
}
