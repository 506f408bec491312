/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Short changes: signals and pauses through the supervisor, names and limits on disk.
 */
#include "local/inside.h"
#include "model/message.h"
#include <jansson.h>
#include <stdio.h>

/** Ask a running one. Without a supervisor it is the wrong state. */
static int ask(struct local *c, const struct berth_handle *h, const char *verb, uint32_t type,
               const char *body, char **ret_body, struct berth_error *err)
{
    struct status status;
    bool alive;
    autoworkload w = NULL;
    int r = local_need(verb, err);
    if (r == 0)
        r = settle_handle(c, h, &w, &status, &alive, err);
    if (r < 0)
        return r;
    if (!alive || has_ended(&status, alive))
        return wrong_state(w, verb, status.state, err);
    r = peer_ask(w, verb, type, body, ret_body, err);
    if (r == BERTH_LOST)
        settle_breath(w);
    if (r == BERTH_LOST && settle_status(c, w, &status, &alive, NULL) == 0)
        r = wrong_state(w, verb, status.state, err);
    return r;
}

int local_signal(void *self, const struct berth_handle *h, int signal, struct berth_error *err)
{
    char body[40];
    snprintf(body, sizeof(body), "{\"signal\":%d}", signal);
    return ask(self, h, "signal", MESSAGE_SIGNAL, body, NULL, err);
}

int local_pause(void *self, const struct berth_handle *h, struct berth_error *err)
{
    return ask(self, h, "pause", MESSAGE_PAUSE, "{}", NULL, err);
}

int local_unpause(void *self, const struct berth_handle *h, struct berth_error *err)
{
    return ask(self, h, "unpause", MESSAGE_UNPAUSE, "{}", NULL, err);
}

int local_exec_list(void *self, const struct berth_handle *h, char **ret_json,
                        struct berth_error *err)
{
    autofree char *body = NULL;
    int r = ask(self, h, "execs of", MESSAGE_EXEC_LIST, "{}", &body, err);
    if (r < 0)
        return r;
    json_t *answer = json_loads(body, 0, NULL);
    const json_t *execs = json_object_get(answer, "execs");
    *ret_json = execs ? json_dumps(execs, JSON_COMPACT) : NULL;
    json_decref(answer);
    return *ret_json ? 0 : fail(err, BERTH_CORRUPT, h->name, "execs of %s: a strange answer", h->name);
}

int local_exec_kill(void *self, const struct berth_handle *h, uint64_t exec_id, int signal,
                        struct berth_error *err)
{
    char body[80];
    snprintf(body, sizeof(body), "{\"exec_id\":%llu,\"signal\":%d}", (unsigned long long)exec_id,
             signal);
    return ask(self, h, "signal to an exec in", MESSAGE_EXEC_SIGNAL, body, NULL, err);
}

/* The workload, opened and under `change`, for a verb that rewrites its records. */
static int get_locked(struct local *c, const char *verb, const struct berth_handle *h,
                      struct workload **ret_workload, struct berth_error *err)
{
    int r = local_need(verb, err);
    if (r == 0)
        r = local_get(c, h, ret_workload, err);
    return r < 0 ? r : change_lock_wait(c, *ret_workload, err);
}

/* ---- update */

/** The running one first: what the kernel refuses is not written down. */
static int tell_supervisor(struct workload *w, const struct plan *plan, struct berth_error *err)
{
    autofree char *text = plan_print(plan);
    autofree char *body = text ? format_text("{\"plan\":%s}", text) : NULL;
    if (!body)
        return fail_memory(err);
    int r = peer_ask(w, "update", MESSAGE_UPDATE, body, NULL, err);
    return r == BERTH_LOST ? 0 : r;
}

static int remember_limit(struct workload *w, const struct plan *plan, struct berth_error *err)
{
    struct status status;
    int r = workload_status_read(w, &status, NULL, err);
    if (r < 0)
        return r;
    status.memory_limit = plan->limits.memory > 0 ? (uint64_t)plan->limits.memory : 0;
    return workload_status_write(w, &status, false, err);
}

static int write_all(struct workload *w, const struct spec *spec, const struct image *image, const struct plan *plan,
                     struct berth_error *err)
{
    int r = document_write(w, PLAN_FILE, plan_print(plan), err);
    if (r == 0)
        r = document_write(w, SPEC_FILE, spec_print(spec), err);
    return r < 0 ? r : document_views(w, spec, image, plan, err);
}

/** From a changed spec to a changed workload. What was leased on the way goes back when it fails. */
static int spec_changed(struct local *c, struct workload *w, struct spec *spec, const char *name,
                        struct berth_error *err)
{
    autoclean(cleanup_settings) struct settings *settings = NULL;
    autoclean(cleanup_plan) struct plan *plan = NULL, *before = NULL;
    int r = document_plan(w, &before, err);
    if (r == 0 && spec->n_ports)
        r = settings_read(c, &settings, err);
    if (r == 0 && settings)
        r = settings_ports(settings, spec, err);
    if (r < 0)
        return r;
    struct compile k = {.c = c, .kind = kind_of(w), .store = c->store, .spec = spec, .id = workload_id(w),
                        .name = name, .dir = workload_path(w), .before = before, .mounted = workload_alive(w, NULL) > 0};
    r = plan_refuse(k.kind, spec, err);
    if (r == 0)
        r = compile_plan(&k, &plan, err);
    bool alive = k.mounted;
    if (r == 0 && alive)
        r = tell_supervisor(w, plan, err);
    const struct plan *made = plan ? plan : k.plan;
    if (r < 0 && made)
        (void)plan_network_release(&k, made, before);
    if (r == 0)
        r = write_all(w, spec, k.image, plan, err);
    if (r == 0)
        r = plan_files_changed(&k, before, plan, workload_fd(w), err);
    if (r == 0)
        (void)plan_network_release(&k, before, plan);
    if (r == 0 && !alive)
        r = remember_limit(w, plan, err);
    compile_clear(&k);
    return r;
}

/** The same, and the event of it. */
static int spec_replaced(struct local *c, struct workload *w, struct spec *spec, const char *event,
                         struct berth_error *err)
{
    char name[BERTH_NAME_MAX + 8];
    int r = workload_name(w, name, err);
    if (r == 0)
        r = spec_changed(c, w, spec, name, err);
    if (r == 0)
        event_append(store_root_fd(c->store), event, workload_id(w), name, NULL);
    return r;
}

static int update_locked(struct local *c, struct workload *w, const char *patch_json,
                         struct berth_error *err)
{
    autoclean(cleanup_spec) struct spec *spec = NULL;
    int r = document_spec(w, &spec, err);
    if (r == 0)
        r = spec_patch(spec, patch_json, err);
    return r < 0 ? r : spec_replaced(c, w, spec, "update", err);
}

int local_update(void *self, const struct berth_handle *h, const char *patch_json,
                     struct berth_error *err)
{
    struct local *c = self;
    autoworkload w = NULL;
    int r = get_locked(c, "update", h, &w, err);
    if (r < 0)
        return r;
    r = update_locked(c, w, patch_json, err);
    workload_unlock_change(w);
    return r < 0 ? fail_context(err, "update %s", h->name) : 0;
}

int local_change(struct local *c, const struct berth_handle *h, const char *verb, const char *event,
                     int (*edit)(struct local *c, json_t *spec, void *data, struct berth_error *err), void *data,
                     struct berth_error *err)
{
    autoworkload w = NULL;
    autofree char *json = NULL;
    autoclean(cleanup_spec) struct spec *spec = NULL;
    size_t size;
    int r = get_locked(c, verb, h, &w, err);
    if (r < 0)
        return r;
    r = workload_read(w, SPEC_FILE, SPEC_MAX_BYTES, &json, &size, err);
    json_t *document = r < 0 ? NULL : json_loadb(json, size, 0, NULL);
    if (r == 0 && !document)
        r = fail(err, BERTH_CORRUPT, h->name, "its spec is damaged");
    if (r == 0)
        r = edit(c, document, data, err);
    autofree char *edited = r == 0 ? json_dumps(document, JSON_COMPACT) : NULL;
    json_decref(document);
    if (r == 0)
        r = edited ? spec_parse(edited, strlen(edited), &spec, err) : fail_memory(err);
    if (r == 0)
        r = spec_replaced(c, w, spec, event, err);
    workload_unlock_change(w);
    return r;
}

/* ---- rename */

/** The plan goes by it too, and so do the names that others on its networks see. */
static int plan_renamed(struct workload *w, const char *new_name, struct berth_error *err)
{
    autoclean(cleanup_plan) struct plan *plan = NULL;
    int r = document_plan(w, &plan, err);
    if (r < 0)
        return r;
    free(plan->name);
    plan->name = strdup(new_name);
    if (!plan->name)
        return fail_memory(err);
    if (plan->n_links && workload_alive(w, NULL) > 0 && (r = tell_supervisor(w, plan, err)) < 0)
        return r;
    return document_write(w, PLAN_FILE, plan_print(plan), err);
}

int local_rename(void *self, const struct berth_handle *h, const char *new_name,
                     struct berth_error *err)
{
    struct local *c = self;
    autoworkload w = NULL;
    int r = get_locked(c, "rename", h, &w, err);
    if (r < 0)
        return r;
    r = workload_rename(w, new_name, err);
    if (r == 0)
        r = plan_renamed(w, new_name, err);
    if (r == 0)
        event_append(store_root_fd(c->store), "rename", workload_id(w), new_name, NULL);
    workload_unlock_change(w);
    return r;
}
