/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a reboot: whatever should run by its restart policy is started, several at a time.
 */
#include "local/inside.h"
#include <jansson.h>
#include <stdio.h>

#define AT_ONCE 16

struct starting { struct berth_handle handle; struct berth_call *call; struct berth_error err; int code; };

/** Asked to run, or always to; an on-failure one only when it did not end well. */
static bool due(const struct plan *plan, const struct status *s)
{
    switch (plan->restart.policy) {
    case PLAN_RESTART_ALWAYS: return s->started_usec > 0;
    case PLAN_RESTART_UNLESS_STOPPED: return s->wanted;
    case PLAN_RESTART_ON_FAILURE: return s->wanted && s->state == BERTH_FAILED;
    default: return false;
    }
}

static bool wants_start(struct local *c, struct workload *w)
{
    struct status status;
    bool alive;
    autoclean(cleanup_plan) struct plan *plan = NULL;
    if (settle_status(c, w, &status, &alive, NULL) < 0 || alive || document_plan(w, &plan, NULL) < 0)
        return false;
    return due(plan, &status);
}

static void report(json_t *list, struct starting *s)
{
    char id[BERTH_ID_TEXT];
    berth_id_print(s->handle.id, id);
    json_t *one = json_pack("{s:s,s:s,s:b}", "name", s->handle.name, "id", id, "started", s->code == 0);
    if (one && s->code < 0)
        json_object_set_new(one, "error", json_pack("{s:s,s:s}", "code", berth_code_name(s->code),
                                                    "message", s->err.message));
    json_array_append_new(list, one);
}

static void finish_all(json_t *list, struct starting *all, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (all[i].call)
            all[i].code = berth_call_wait(all[i].call, -1, NULL, &all[i].err);
        berth_call_free(all[i].call);
        report(list, &all[i]);
    }
}

static void begin(struct local *c, struct workload *w, struct starting *s)
{
    *s = (struct starting){0};
    local_handle(w, &s->handle);
    s->code = local_start(c, &s->handle, &s->call, &s->err); /* its answer is waited for later */
}

/** Engines of strangers over the same machinery (process.h) are known once they were open. */
static void know_strangers(void)
{
    struct berth_runtime *runtime;
    for (const char *const *name = berth_engines(); *name; name++)
        if (!kind_find(*name) && berth_open(*name, NULL, &runtime, NULL) == 0)
            berth_close(runtime);
}

int berth_boot(struct berth_runtime *runtime, char **ret_json, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    struct starting some[AT_ONCE];
    size_t n = 0;
    autostrings char **ids = NULL;
    int r = local_self(runtime, &c, err);
    if (r == 0)
        r = local_need("boot", err);
    if (r == 0)
        r = local_store(c, true, &store, err);
    if (r == 0)
        r = store_sweep(store, err);
    if (r == 0)
        r = store_list(store, &ids, err);
    if (r < 0)
        return r;
    know_strangers();
    json_t *list = json_array();
    for (size_t i = strings_count(ids); i-- > 0;) { /* the oldest first */
        autoworkload w = NULL;
        if (local_workload(store, ids[i], &w, NULL) < 0 || !wants_start(c, w))
            continue;
        begin(c, w, &some[n++]);
        if (n == AT_ONCE) {
            finish_all(list, some, n);
            n = 0;
        }
    }
    finish_all(list, some, n);
    *ret_json = list ? json_dumps(list, JSON_COMPACT) : NULL;
    json_decref(list);
    return *ret_json ? 0 : fail_memory(err);
}
