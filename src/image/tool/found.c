/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an image that was found to one that is kept: what is here already, what has to be made.
 */
#include "image/tool/found.h"
#include "base/base.h"
#include "base/text.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

void found_clear(struct found *f)
{
    for (size_t i = 0; i < f->n_layers; i++) {
        close_fd(&f->layers[i].in_fd);
        close_fd(&f->layers[i].notes_fd);
    }
    free(f->config);
    free(f->manifest);
    free(f->layers);
    free(f->order);
    strings_free(f->references);
    *f = (struct found){0};
}

int found_room(struct found *f, size_t n, struct berth_error *err)
{
    f->layers = calloc(n + 1, sizeof *f->layers);
    f->order = calloc(n + 1, sizeof *f->order);
    return f->layers && f->order ? 0 : fail_memory(err);
}

struct layer *found_layer(struct found *f, const char *diff_id, const char *blob, uint64_t blob_bytes)
{
    size_t i = 0;
    while (i < f->n_layers && (strcmp(f->layers[i].diff_id, diff_id) != 0 || strcmp(f->layers[i].blob, blob) != 0))
        i++;
    f->order[f->n_order++] = i;
    if (i < f->n_layers)
        return NULL;
    struct layer *l = &f->layers[f->n_layers++];
    *l = (struct layer){.module = f->wasm, .in_fd = -1, .folder_fd = -1, .notes_fd = -1, .blob_bytes = blob_bytes};
    memcpy(l->diff_id, diff_id, DIGEST_TEXT);
    memcpy(l->blob, blob, strlen(blob) + 1);
    return l;
}

static bool have_blob(const struct work *w, const char *digest)
{
    char path[96];
    blob_path(digest, path);
    return *digest && faccessat(w->images_fd, path, F_OK, 0) == 0;
}

/* A power cut may have torn it: out of the way, and gone with the rest of aside. */
static int set_aside(const struct work *w, const struct layer *l, size_t number, struct berth_error *err)
{
    char from[96], to[128];
    snprintf(from, sizeof from, "layers/%.64s", l->diff_id + 7);
    snprintf(to, sizeof to, "%s/torn-%zu", w->aside, number);
    return renameat(w->images_fd, from, w->images_fd, to) < 0 && errno != ENOENT
         ? fail_os(err, errno, from, "remove the torn layer %s", l->diff_id) : 0;
}

static int look_at_layer(const struct work *w, struct found *f, size_t i, struct berth_error *err)
{
    struct layer *l = &f->layers[i], known = *l;
    bool earlier = false;
    for (size_t k = 0; k < i; k++)
        earlier |= strcmp(f->layers[k].diff_id, l->diff_id) == 0;
    int r = earlier ? -ENOENT : layer_known(w->images_fd, &known);
    bool is_known = r == 0;
    if (is_known && !*l->blob && !have_blob(w, known.blob)) /* its blob was pruned: made anew */
        *known.blob = 0;
    if (is_known)
        *l = known;
    l->known = is_known;
    l->unpack = !is_known && !earlier;
    l->keep = !have_blob(w, l->blob);
    l->what = *l->blob ? l->blob : l->diff_id;
    return r == 0 || r == -ENOENT ? 0 : set_aside(w, l, i, err);
}

static int need_all(struct work *w, const struct found *f, struct berth_error *err)
{
    char config[DIGEST_TEXT], manifest[DIGEST_TEXT];
    digest_of(f->config, f->config_size, config);
    digest_of(f->manifest ? f->manifest : "", f->manifest_size, manifest);
    return need_layers(w, f->layers, f->n_layers, manifest, config, err);
}

int found_look(struct work *w, struct found *f, int *ret_locks_fd, struct berth_error *err)
{
    autoclose int locks_fd = -1;
    bool again = f->rounds++ > 0;
    int r = again ? 0 : need_all(w, f, err);
    if (r == 0)
        r = lock_layers(w, f->layers, f->n_layers, again, &locks_fd, err);
    for (size_t i = 0; r == 0 && i < f->n_layers; i++)
        if (!f->layers[i].busy && !f->layers[i].done)
            r = look_at_layer(w, f, i, err);
    if (r == 0)
        *ret_locks_fd = take_fd(&locks_fd);
    return r;
}

int found_make(struct work *w, struct found *f, const char *source, struct berth_error *err)
{
    struct draft d = {.references = f->references, .config = f->config, .config_size = f->config_size,
                      .manifest = f->manifest, .manifest_size = f->manifest_size, .layers = f->layers,
                      .order = f->order, .n_order = f->n_order, .source = source, .wasm = f->wasm};
    bool busy = false;
    for (size_t i = 0; i < f->n_layers; i++)
        busy |= f->layers[i].busy;
    int r = layers_make(w, f->layers, f->n_layers, err);
    if (r < 0 || !busy)
        return r < 0 ? r : draft_commit(w, &d, err);
    r = layers_put(w, f->layers, f->n_layers, err);
    return r < 0 ? r : 1;
}

int found_store(struct work *w, struct found *f, struct berth_error *err)
{
    int r = 1;
    while (r == 1) {
        autoclose int locks_fd = -1;
        r = found_look(w, f, &locks_fd, err);
        if (r == 0)
            r = found_make(w, f, NULL, err);
    }
    return r;
}
