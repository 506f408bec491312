/* SPDX-License-Identifier: Apache-2.0 */
/*
 * push: an image to the registry that its name says, blob by blob, the manifest last.
 *
 * What the registry has is not sent; what a neighbour of the same registry has is taken from there; what was
 * pruned here is fetched again from where the image came from, and kept. Documents go as they are stored, so
 * that the digest stays.
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

#define NEIGHBOURS_MAX 64
#define ORIGINS_MAX 4

/** Another repository of the same registry that should have some of the layers. */
struct neighbour { char *repository; char **blobs; };

/** A blob that was pruned here, and a file without a name for it. */
struct spare { const char *digest; int fd; };

struct push {
    struct record record;
    struct neighbour neighbours[NEIGHBOURS_MAX];
    size_t n;
    struct registry *origins[ORIGINS_MAX]; /* where the image came from: they may have what was pruned here */
    size_t n_origins;
    struct spare *spares;
    size_t n_spares;
};

/* ---- outside */

static void add_neighbour(struct push *p, struct reference *r, struct record *record)
{
    if (p->n == NEIGHBOURS_MAX)
        return;
    p->neighbours[p->n++] = (struct neighbour){.repository = TAKE(r->repository), .blobs = TAKE(record->blobs)};
}

/* A name of the same image that a registry has given. What is wrong with it is said when it is needed: not at all. */
static void add_origin(struct work *w, struct push *p, const struct reference *r, const struct record *record)
{
    bool came = record->source && strcmp(record->id, p->record.id) == 0;
    if (came && p->n_origins < ORIGINS_MAX && registry_prepare(w, r, 0, &p->origins[p->n_origins], NULL) == 0)
        p->n_origins++;
}

static void look_at_record(struct work *w, struct push *p, const struct reference *to, struct record *record)
{
    struct reference r = {0};
    if (!*record->reference || reference_parse(record->reference, NULL, &r, NULL) < 0)
        return;
    bool same_registry = strcmp(r.registry, to->registry) == 0, same = same_registry && strcmp(r.repository, to->repository) == 0;
    if (p->n_spares && !same)
        add_origin(w, p, &r, record);
    if (same_registry && !same)
        add_neighbour(p, &r, record);
    reference_clear(&r);
}

/* The jail can make no file: one for each blob that is not here. */
static int make_spares(struct work *w, struct push *p, struct berth_error *err)
{
    char path[96];
    p->spares = calloc(strings_count(p->record.blobs) + 1, sizeof *p->spares);
    if (!p->spares)
        return fail_memory(err);
    for (size_t i = 0; p->record.blobs[i]; i++) {
        blob_path(p->record.blobs[i], path);
        if (faccessat(w->images_fd, path, F_OK, 0) == 0)
            continue;
        int fd = openat(w->images_fd, "partial", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
        if (fd < 0)
            return fail_os(err, errno, "partial", "make a file in images/partial");
        p->spares[p->n_spares++] = (struct spare){p->record.blobs[i], fd};
    }
    return 0;
}

static int find_others(struct work *w, struct push *p, const struct reference *to, struct berth_error *err)
{
    autostrings char **files = NULL;
    int r = make_spares(w, p, err);
    if (r == 0)
        r = record_files(w->images_fd, &files, err);
    for (size_t i = 0; r == 0 && files[i]; i++) {
        struct record record = {0};
        if (record_read(w->images_fd, files[i], &record, NULL) == 0)
            look_at_record(w, p, to, &record);
        record_clear(&record);
    }
    return r;
}

int push_prepare(struct work *w, struct berth_error *err)
{
    struct reference to = {0};
    autofree char *file = NULL;
    struct push *p = w->push = calloc(1, sizeof *p); /* until the end of the program */
    if (!p)
        return fail_memory(err);
    int r = reference_parse(w->arguments[0], &w->berth_toml->images, &to, err);
    if (r == 0 && (to.digest || !to.tag))
        r = fail(err, BERTH_INVALID, w->arguments[0], "push by a tag, not by a digest (berth tag IMAGE NAME:TAG)");
    if (r == 0)
        r = record_find(w->images_fd, &w->berth_toml->images, w->arguments[0], &file, &p->record, NULL, err);
    if (r == 0)
        r = find_others(w, p, &to, err);
    if (r == 0)
        r = registry_prepare(w, &to, REGISTRY_PUSH, &w->registry, err);
    w->reference = r == 0 ? reference_print(&to) : NULL;
    reference_clear(&to);
    return r == 0 && !w->reference ? fail_memory(err) : r;
}

int push_enter(struct work *w, struct berth_error *err)
{
    struct jail_bind images = {"images", w->images_fd, false};
    autofree char *scratch = format_text("%s/images", store_root(w->store));
    int r = scratch ? jail_enter_network(scratch, &images, 1, err) : fail_memory(err);
    if (r < 0)
        return r;
    close(w->images_fd);
    w->images_fd = open("/images", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return 0;
}

/* The jail is not believed, and the disk has it before it has a name. */
static bool is_whole(const struct spare *s)
{
    char is[DIGEST_TEXT];
    uint64_t bytes;
    struct stat st;
    return fstat(s->fd, &st) == 0 && st.st_size > 0 && lseek(s->fd, 0, SEEK_SET) == 0 &&
           stream_copy(s->fd, -1, (uint64_t)st.st_size, is, &bytes, NULL) == 0 && strcmp(is, s->digest) == 0 &&
           fdatasync(s->fd) == 0;
}

void push_keep(struct work *w)
{
    autoclose int lock_fd = -1;
    for (size_t i = 0; i < w->push->n_spares; i++) {
        char path[96], open_file[40];
        const struct spare *s = &w->push->spares[i];
        if (!is_whole(s) || (lock_fd < 0 && images_lock(w->images_fd, false, true, &lock_fd, NULL) < 0))
            continue;
        snprintf(open_file, sizeof open_file, "/proc/self/fd/%d", s->fd);
        blob_path(s->digest, path);
        linkat(AT_FDCWD, open_file, w->images_fd, path, AT_SYMLINK_FOLLOW); /* EEXIST: somebody else has brought it */
    }
}

/* ---- in the jail */

static void tell(void *data, const char *step, const struct registry_piece *piece)
{
    bool over = strcmp(step, "there") == 0 || strcmp(step, "sent") == 0;
    progress(data, step, piece->digest, over ? piece->size : 0);
}

/* Repositories that should have it. */
static int find_neighbours(struct work *w, const char *digest, char ***ret, struct berth_error *err)
{
    autostrings char **list = calloc(1, sizeof *list);
    for (size_t i = 0; list && i < w->push->n; i++) {
        const struct neighbour *n = &w->push->neighbours[i];
        bool has = false;
        for (size_t k = 0; n->blobs && n->blobs[k]; k++)
            has |= strcmp(n->blobs[k], digest) == 0;
        if (has && strings_add(&list, n->repository) < 0)
            return fail_memory(err);
    }
    *ret = TAKE(list);
    return *ret ? 0 : fail_memory(err);
}

struct pieces { struct registry_piece *list; size_t n; };

static void pieces_clear(struct pieces *p)
{
    for (size_t i = 0; i < p->n; i++) {
        close_fd(&p->list[i].fd);
        strings_free((char **)(uintptr_t)p->list[i].neighbours);
    }
    free(p->list);
    *p = (struct pieces){0};
}

static int add_piece(struct work *w, struct pieces *p, const struct descriptor *d, struct berth_error *err)
{
    char **neighbours = NULL;
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->list[i].digest, d->digest) == 0)
            return 0;
    int r = find_neighbours(w, d->digest, &neighbours, err);
    if (r == 0)
        p->list[p->n++] = (struct registry_piece){.digest = d->digest, .size = d->size, .fd = -1, .neighbours = neighbours, .tell = tell, .data = w};
    return r;
}

static int list_pieces(struct work *w, const struct manifest *m, struct pieces *p, struct berth_error *err)
{
    p->list = calloc(m->n + 1, sizeof *p->list);
    int r = p->list ? 0 : fail_memory(err);
    for (size_t i = 0; r == 0 && i < m->n; i++)
        r = add_piece(w, p, &m->layers[i], err);
    return r == 0 ? add_piece(w, p, &m->config, err) : r;
}

/* What the registry has is none of our business any more. */
static void keep_absent(struct pieces *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        struct registry_piece one = p->list[i];
        if (one.there)
            strings_free((char **)(uintptr_t)one.neighbours);
        else
            p->list[n++] = one;
    }
    p->n = n;
}

/* Absent: fd stays -1. */
static int open_piece(const struct work *w, struct registry_piece *p, struct berth_error *err)
{
    char path[96];
    struct stat st;
    blob_path(p->digest, path);
    autoclose int fd = openat(w->images_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : fail_os(err, errno, p->digest, "open %s", path);
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != p->size)
        return fail(err, BERTH_CORRUPT, p->digest, "blob %s has not the size that its manifest says (berth image verify)", p->digest);
    p->fd = take_fd(&fd);
    return 0;
}

/* ---- what was pruned here comes from where the image came from */

static int take_bytes(void *data, const void *bytes, size_t size, uint64_t offset, struct berth_error *err)
{
    const struct registry_piece *p = data;
    int r = fd_write_all_at(p->fd, bytes, size, (off_t)offset);
    return r < 0 ? fail_os(err, r, p->digest, "keep the layer %s", p->digest) : 0;
}

static int begin_again(void *data, struct berth_error *err)
{
    const struct registry_piece *p = data;
    return ftruncate(p->fd, 0) < 0 ? fail_os(err, errno, p->digest, "empty the file of the layer %s", p->digest) : 0;
}

static int fetch_piece(struct work *w, struct registry *origin, struct registry_piece *piece, struct berth_error *err)
{
    struct registry_sink sink = {.data = piece, .write = take_bytes, .restart = begin_again};
    struct registry_transfer *t = NULL;
    enum transfer_state state = TRANSFER_RUNS;
    progress(w, "fetch", piece->digest, 0);
    int r = registry_transfer_begin(origin, piece->digest, piece->size, 0, -1, &sink, &t, err);
    while (r == 0 && (state = registry_transfer_state(t, err)) == TRANSFER_RUNS)
        r = registry_step(origin, NULL, 0, -1, err);
    registry_transfer_free(t);
    return r < 0 ? r : state == TRANSFER_DONE ? 0 : err->code;
}

static int take_spare(struct push *p, const char *digest)
{
    for (size_t i = 0; i < p->n_spares; i++)
        if (strcmp(p->spares[i].digest, digest) == 0)
            return take_fd(&p->spares[i].fd);
    return -1;
}

/* Of the places that the image has a name of, the first that gives it. */
static int fetch_pruned(struct work *w, struct registry_piece *piece, struct berth_error *err)
{
    struct push *p = w->push;
    int r = BERTH_NOT_FOUND;
    piece->fd = take_spare(p, piece->digest);
    for (size_t i = 0; r < 0 && piece->fd >= 0 && i < p->n_origins; i++) {
        struct berth_error why = {0};
        r = ftruncate(piece->fd, 0) < 0 ? fail_os(&why, errno, piece->digest, "empty a file") : fetch_piece(w, p->origins[i], piece, &why);
        if (r < 0)
            progress(w, "unfetched", why.message, 0);
    }
    return r == 0 ? 0
         : fail(err, BERTH_NOT_FOUND, piece->digest, "the compressed layer %s was pruned here, %s has it not, and it can't be fetched from "
                "where the image came from (berth rmi, then berth pull, bring it back)", piece->digest, registry_name(w->registry));
}

static int open_pieces(struct work *w, struct pieces *p, struct berth_error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < p->n; i++) {
        r = open_piece(w, &p->list[i], err);
        if (r == 0 && p->list[i].fd < 0)
            r = fetch_pruned(w, &p->list[i], err);
    }
    return r;
}

static const char *type_of(const struct manifest *m)
{
    const char *type = json_string_value(json_object_get(m->document, "mediaType"));
    return type ? type : strstr(m->config.media_type, "docker") ? "application/vnd.docker.distribution.manifest.v2+json"
                                                                : "application/vnd.oci.image.manifest.v1+json";
}

static int send_all(struct work *w, const struct manifest *m, const char *bytes, size_t size, struct berth_error *err)
{
    struct pieces p = {0};
    int r = list_pieces(w, m, &p, err);
    if (r == 0)
        r = registry_ask_all(w->registry, p.list, p.n, err);
    keep_absent(&p);
    if (r == 0)
        r = open_pieces(w, &p, err);
    if (r == 0)
        r = registry_send_all(w->registry, p.list, p.n, err);
    pieces_clear(&p);
    progress(w, "store", w->reference, 0);
    return r == 0 ? registry_put_manifest(w->registry, NULL, type_of(m), bytes, size, err) : r;
}

static int connect_all(struct work *w, struct berth_error *err)
{
    int r = registry_connect(w->registry, err);
    for (size_t i = 0; r == 0 && i < w->push->n_origins; i++)
        r = registry_connect(w->push->origins[i], err);
    return r;
}

int push_run(struct work *w, struct berth_error *err)
{
    const char *digest = w->push->record.manifest;
    autofree char *bytes = NULL;
    size_t size = 0;
    json_t *document = NULL;
    struct manifest m = {0};
    char path[96];
    blob_path(digest, path);
    int r = connect_all(w, err);
    if (r == 0)
        r = document_read(w->images_fd, path, IMAGE_MAX_MANIFEST_BYTES, digest, 0, &bytes, &size, &document, err);
    if (r == 0)
        r = manifest_read(document, path, &m, err);
    if (r == 0)
        r = send_all(w, &m, bytes, size, err);
    manifest_clear(&m);
    if (r == 0)
        answer(json_pack("{ss ss}", "reference", w->reference, "digest", digest));
    return r;
}
