/* SPDX-License-Identifier: Apache-2.0 */
/*
 * signal, pause, unpause, update, rename: one request each, and what berth keeps beside it.
 */
#include "docker/inside.h"
#include <stdio.h>

int docker_signal(void *self, const struct berth_handle *h, int signal, struct berth_error *err)
{
    autobox b = {0};
    autoanswer json = NULL;
    struct spec *spec = NULL;
    struct view v;
    char rest[40];
    int r = box_open(self, h, &b, err);
    if (r == 0)
        r = box_inspect(&b, "signal", &json, err);
    if (r < 0)
        return r;
    view_of(&b, json, &v);
    if (!v.lives || v.state == BERTH_RESTARTING)
        return fail(err, BERTH_WRONG_STATE, h->name, "signal %s: it is %s", b.handle.name, berth_state_name(v.state));
    if (box_spec(&b, &spec, NULL) == 0 && signal_asks(spec, json, signal))
        note_asked(&b, "kill", v.started);
    else
        note_asked(&b, "own", v.started);
    spec_free(spec);
    snprintf(rest, sizeof(rest), "/kill?signal=%d", signal);
    return box_ask(&b, "POST", rest, "signal", NULL, err);
}

static int freeze(struct docker *d, const struct berth_handle *h, const char *verb, int from, struct berth_error *err)
{
    autobox b = {0};
    autoanswer json = NULL;
    struct view v;
    autofree char *rest = format_text("/%s", verb);
    int r = rest ? box_open(d, h, &b, err) : fail_memory(err);
    if (!rest)
        return r;
    if (r == 0)
        r = box_inspect(&b, verb, &json, err);
    if (r < 0)
        return r;
    view_of(&b, json, &v);
    if (v.state != from)
        return fail(err, BERTH_WRONG_STATE, h->name, "%s %s: it is %s", verb, b.handle.name, berth_state_name(v.state));
    r = box_ask(&b, "POST", rest, verb, NULL, err);
    if (r == 0)
        box_event(&b, verb, NULL);
    return r;
}

int docker_pause(void *self, const struct berth_handle *h, struct berth_error *err)
{
    return freeze(self, h, "pause", BERTH_RUNNING, err);
}

int docker_unpause(void *self, const struct berth_handle *h, struct berth_error *err)
{
    return freeze(self, h, "unpause", BERTH_PAUSED, err);
}

/* ---- update */

/** What the API changes of a container that exists. */
static const char *const changeable[] = {"resources", "restart", "labels"};

static int check_patch(const char *patch_json, struct berth_error *err)
{
    struct spec *patch = NULL;
    int r = spec_parse(patch_json, strlen(patch_json), &patch, err);
    if (r < 0)
        return r;
    r = spec_refuse(patch, err);
    autostrings char **set = r == 0 ? spec_fields_set(patch) : NULL;
    for (size_t i = 0; r == 0 && set && set[i]; i++) {
        bool can = false;
        for (size_t k = 0; k < ARRAY_SIZE(changeable); k++)
            can = can || starts_with(set[i], changeable[k]);
        if (!can)
            r = fail(err, BERTH_UNSUPPORTED, set[i], "%s: the engine \"" ENGINE_NAME "\" cannot change that: the API changes limits and "
                     "the restart policy alone", set[i]);
    }
    spec_free(patch);
    return r;
}

static int send_update(const struct box *b, const struct spec *spec, struct berth_error *err)
{
    json_t *document = NULL;
    int r = update_document(spec, &document, err);
    if (r < 0)
        return r;
    autorequest ask = {.method = "POST", .path = format_text("/containers/%s/update", b->container),
                       .body = json_dumps(document, JSON_COMPACT)};
    json_decref(document);
    r = daemon_ask(b->daemon, &ask, err);
    return r < 0 ? r : answer_judge(&ask, "update", b->handle.name, err);
}

static int keep_spec(const struct box *b, const struct spec *spec, struct berth_error *err)
{
    json_t *labels = labels_of(spec);
    autofree char *text = spec_print(spec), *words = labels ? json_dumps(labels, JSON_COMPACT) : NULL;
    json_decref(labels);
    int r = text && words ? workload_write(b->folder, LABELS_FILE, words, strlen(words), err) : fail_memory(err);
    return r < 0 ? r : workload_write(b->folder, SPEC_FILE, text, strlen(text), err);
}

int docker_update(void *self, const struct berth_handle *h, const char *patch_json, struct berth_error *err)
{
    autobox b = {0};
    struct spec *spec = NULL;
    int r = box_open(self, h, &b, err);
    if (r == 0)
        r = box_spec(&b, &spec, err);
    if (r == 0)
        r = spec_patch(spec, patch_json, err);
    if (r == 0)
        r = check_patch(patch_json, err);
    if (r == 0)
        r = send_update(&b, spec, err);
    if (r == 0) {
        r = keep_spec(&b, spec, err);
        box_event(&b, "update", NULL);
    }
    spec_free(spec);
    return r;
}

/* ---- rename */

int docker_rename(void *self, const struct berth_handle *h, const char *new_name, struct berth_error *err)
{
    autobox b = {0};
    char old[BERTH_NAME_MAX + 8];
    int r = box_open(self, h, &b, err);
    if (r == 0 && !strcmp(b.handle.name, new_name))
        return 0;
    if (r == 0)
        r = workload_lock_change(b.folder, err);
    if (r < 0)
        return r;
    memcpy(old, b.handle.name, sizeof(old));
    r = workload_rename(b.folder, new_name, err);
    if (r < 0)
        return r;
    autofree char *rest = format_text("/rename?name=berth-%s-%s", store_tag(b.store), new_name);
    r = rest ? box_ask(&b, "POST", rest, "rename", NULL, err) : fail_memory(err);
    if (r < 0)
        workload_rename(b.folder, old, NULL); /* the daemon would not: it keeps its name here too */
    else
        box_event(&b, "rename", NULL);
    workload_unlock_change(b.folder);
    return r;
}
