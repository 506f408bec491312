/* SPDX-License-Identifier: Apache-2.0 */
/*
 * push: an image to the registry that its name says, blob by blob, the manifest last.
 *
 * What the registry has is not sent; what a neighbour of the same registry has is taken from there.
 * Documents go as they are stored, so that the digest stays.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/jail.h"
#include "image/tool/registry.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define NEIGHBOURS_MAX 64

/** Another repository of the same registry that should have some of the layers. */
struct neighbour { char *repository; char **blobs; };

struct push {
    struct record record;
    struct neighbour neighbours[NEIGHBOURS_MAX];
    size_t n;
};

/* ---- outside */

static int add_neighbour(struct push *p, const struct reference *to, struct record *record, struct berth_error *err)
{
    struct reference r = {0};
    if (!*record->reference || p->n == NEIGHBOURS_MAX || reference_parse(record->reference, NULL, &r, NULL) < 0)
        return 0;
    if (strcmp(r.registry, to->registry) == 0 && strcmp(r.repository, to->repository) != 0) {
        struct neighbour *n = &p->neighbours[p->n];
        *n = (struct neighbour){.repository = TAKE(r.repository), .blobs = TAKE(record->blobs)};
        p->n++;
    }
    reference_clear(&r);
    (void)err;
    return 0;
}

static int find_neighbours(struct work *w, struct push *p, const struct reference *to, struct berth_error *err)
{
    autostrings char **files = NULL;
    int r = record_files(w->images_fd, &files, err);
    for (size_t i = 0; r == 0 && files[i]; i++) {
        struct record record = {0};
        if (record_read(w->images_fd, files[i], &record, NULL) == 0)
            r = add_neighbour(p, to, &record, err);
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
        r = find_neighbours(w, p, &to, err);
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

/* ---- in the jail */

static bool has_blob(const struct neighbour *n, const char *digest)
{
    for (size_t i = 0; n->blobs && n->blobs[i]; i++)
        if (strcmp(n->blobs[i], digest) == 0)
            return true;
    return false;
}

static int borrow(struct work *w, const char *digest, struct berth_error *err)
{
    for (size_t i = 0; i < w->push->n; i++)
        if (has_blob(&w->push->neighbours[i], digest)) {
            int r = registry_mount(w->registry, digest, w->push->neighbours[i].repository, err);
            if (r != 0)
                return r;
        }
    return 0;
}

static int send_blob(struct work *w, const struct descriptor *d, struct berth_error *err)
{
    char path[96];
    struct stat st;
    blob_path(d->digest, path);
    autoclose int fd = openat(w->images_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? fail(err, BERTH_NOT_FOUND, d->digest, "the compressed layer %s is not kept here any more, and %s has it "
                                      "not either: pull the image again, then push", d->digest, registry_name(w->registry))
                               : fail_os(err, errno, d->digest, "open %s", path);
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != d->size)
        return fail(err, BERTH_CORRUPT, d->digest, "blob %s has not the size that its manifest says (berth image verify)", d->digest);
    return registry_send_blob(w->registry, d->digest, fd, d->size, NULL, NULL, err);
}

static int bring(struct work *w, const struct descriptor *d, struct berth_error *err)
{
    progress(w, "ask", d->digest, 0);
    int there = registry_has_blob(w->registry, d->digest, err);
    if (there == 0)
        there = borrow(w, d->digest, err);
    if (there < 0)
        return there;
    if (there > 0) {
        progress(w, "there", d->digest, d->size);
        return 0;
    }
    progress(w, "send", d->digest, 0);
    int r = send_blob(w, d, err);
    if (r == 0)
        progress(w, "sent", d->digest, d->size);
    return r;
}

static bool came_before(const struct manifest *m, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(m->layers[k].digest, m->layers[i].digest) == 0)
            return true;
    return false;
}

static const char *type_of(const struct manifest *m)
{
    const char *type = json_string_value(json_object_get(m->document, "mediaType"));
    return type ? type : strstr(m->config.media_type, "docker") ? "application/vnd.docker.distribution.manifest.v2+json"
                                                                : "application/vnd.oci.image.manifest.v1+json";
}

static int send_all(struct work *w, const struct manifest *m, const char *bytes, size_t size, struct berth_error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < m->n; i++)
        r = came_before(m, i) ? 0 : bring(w, &m->layers[i], err);
    if (r == 0)
        r = bring(w, &m->config, err);
    progress(w, "store", w->reference, 0);
    return r == 0 ? registry_put_manifest(w->registry, NULL, type_of(m), bytes, size, err) : r;
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
    int r = registry_connect(w->registry, err);
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
