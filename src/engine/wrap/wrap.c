/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of a wrapped engine: each method goes in, asks the inner engine, goes out.
 */
#include "engine/wrap/wrap.h"
#include "base/base.h"

enum method {
    CREATE, START, STOP, REMOVE, STATUS, LOGS, EXEC, STATS, HOST_PORT, ADDRESS, FIND, LIST, WAIT, SIGNAL,
    ATTACH, PAUSE, UNPAUSE, UPDATE, RENAME, RESTART, EVENTS, INSPECT, EXEC_LIST, EXEC_KILL, PLAN, STATUS_CALL
};

#define METHOD(id, method, answer) [id] = {#method, offsetof(struct berth_engine, method), answer, 0}
#define CALL(id, method, wants)                                                                    \
    [id] = {#method, offsetof(struct berth_engine, method), ANSWER_CALL, wants}
const struct wrap_method wrap_methods[] = {
    CALL(CREATE, create, WANTS_HANDLE),
    CALL(START, start, WANTS_NOTHING),
    CALL(STOP, stop, WANTS_NOTHING),
    CALL(REMOVE, remove, WANTS_NOTHING),
    METHOD(STATUS, status, ANSWER_STATUS),
    METHOD(LOGS, logs, ANSWER_STREAM),
    CALL(EXEC, exec, WANTS_EXEC),
    METHOD(STATS, stats, ANSWER_STATS),
    METHOD(HOST_PORT, resolve_host_port, ANSWER_PORT),
    METHOD(ADDRESS, resolve_container_address, ANSWER_ADDRESS),
    METHOD(FIND, find, ANSWER_HANDLE),
    METHOD(LIST, list, ANSWER_HANDLES),
    CALL(WAIT, wait, WANTS_STATUS),
    METHOD(SIGNAL, signal, ANSWER_NOTHING),
    CALL(ATTACH, attach, MAY_HAVE_STATUS),
    METHOD(PAUSE, pause, ANSWER_NOTHING),
    METHOD(UNPAUSE, unpause, ANSWER_NOTHING),
    METHOD(UPDATE, update, ANSWER_NOTHING),
    METHOD(RENAME, rename, ANSWER_NOTHING),
    CALL(RESTART, restart, WANTS_NOTHING),
    METHOD(EVENTS, events, ANSWER_STREAM),
    METHOD(INSPECT, inspect, ANSWER_TEXT),
    METHOD(EXEC_LIST, exec_list, ANSWER_TEXT),
    METHOD(EXEC_KILL, exec_kill, ANSWER_NOTHING),
    METHOD(PLAN, plan, ANSWER_TEXT),
    CALL(STATUS_CALL, status_call, WANTS_STATUS),
};
const size_t wrap_methods_count = ARRAY_SIZE(wrap_methods);

/* Why these are macros: what is passed on is a method of the inner table with its own arguments. */
#define PASS(id, handle, answer, ...)                                                              \
    struct crossing c;                                                                             \
    crossing_begin(&c, self, id, handle);                                                          \
    const struct berth_runtime *inner = c.wrap->inner;                                             \
    int r = crossing_enter(&c, err);                                                               \
    if (r == 0)                                                                                    \
        r = inner->engine->__VA_ARGS__;                                                            \
    return crossing_leave(&c, r, answer, err)

#define PASS_CALL(id, handle, ...)                                                                 \
    struct berth_call *call = NULL;                                                                \
    struct crossing *c = crossing_new(self, id, handle, err);                                      \
    if (!c)                                                                                        \
        return BERTH_NO_MEMORY;                                                                    \
    const struct berth_runtime *inner = c->wrap->inner;                                            \
    int r = crossing_enter(c, err);                                                                \
    if (r == 0)                                                                                    \
        r = inner->engine->__VA_ARGS__;                                                            \
    return crossing_call(c, r, call, ret_call, err)

static int wrap_create(void *self, const char *spec_json, struct berth_call **ret_call,
                       struct berth_error *err)
{
    PASS_CALL(CREATE, NULL, create(inner->self, spec_json, &call, err));
}

static int wrap_start(void *self, const struct berth_handle *handle, struct berth_call **ret_call,
                      struct berth_error *err)
{
    PASS_CALL(START, handle, start(inner->self, handle, &call, err));
}

static int wrap_stop(void *self, const struct berth_handle *handle, int64_t timeout_msec,
                     struct berth_call **ret_call, struct berth_error *err)
{
    PASS_CALL(STOP, handle, stop(inner->self, handle, timeout_msec, &call, err));
}

static int wrap_remove(void *self, const struct berth_handle *handle,
                       const struct berth_remove_options *options, struct berth_call **ret_call,
                       struct berth_error *err)
{
    PASS_CALL(REMOVE, handle, remove(inner->self, handle, options, &call, err));
}

static int wrap_status(void *self, const struct berth_handle *handle,
                       struct berth_status **ret_status, struct berth_error *err)
{
    PASS(STATUS, handle, ret_status, status(inner->self, handle, ret_status, err));
}

static int wrap_logs(void *self, const struct berth_handle *handle,
                     const struct berth_logs_options *options, struct berth_stream **ret_stream,
                     struct berth_error *err)
{
    PASS(LOGS, handle, ret_stream, logs(inner->self, handle, options, ret_stream, err));
}

static int wrap_exec(void *self, const struct berth_handle *handle, const char *const *argv,
                     const struct berth_exec_options *options, struct berth_call **ret_call,
                     struct berth_error *err)
{
    PASS_CALL(EXEC, handle, exec(inner->self, handle, argv, options, &call, err));
}

static int wrap_stats(void *self, const struct berth_handle *handle, struct berth_stats *ret_stats,
                      struct berth_error *err)
{
    PASS(STATS, handle, ret_stats, stats(inner->self, handle, ret_stats, err));
}

static int wrap_host_port(void *self, const struct berth_handle *handle,
                          const struct berth_port *port, struct berth_host_port *ret_port,
                          struct berth_error *err)
{
    PASS(HOST_PORT, handle, ret_port, resolve_host_port(inner->self, handle, port, ret_port, err));
}

static int wrap_address(void *self, const struct berth_handle *handle, const struct berth_port *port,
                        const char *network, char ret_address[BERTH_ADDRESS_TEXT],
                        struct berth_error *err)
{
    PASS(ADDRESS, handle, ret_address,
         resolve_container_address(inner->self, handle, port, network, ret_address, err));
}

static int wrap_find_method(void *self, const char *name, struct berth_handle *ret_handle,
                            struct berth_error *err)
{
    PASS(FIND, NULL, ret_handle, find(inner->self, name, ret_handle, err));
}

static int wrap_list(void *self, struct berth_handle **ret_handles, size_t *ret_count,
                     struct berth_error *err)
{
    struct crossing c;
    struct wrap_handles handles = {0};
    crossing_begin(&c, self, LIST, NULL);
    int r = crossing_enter(&c, err);
    if (r == 0)
        r = c.wrap->inner->engine->list(c.wrap->inner->self, &handles.items, &handles.n, err);
    r = crossing_leave(&c, r, &handles, err);
    *ret_handles = handles.items;
    *ret_count = handles.n;
    return r;
}

static int wrap_wait(void *self, const struct berth_handle *handle, struct berth_call **ret_call,
                     struct berth_error *err)
{
    PASS_CALL(WAIT, handle, wait(inner->self, handle, &call, err));
}

static int wrap_signal(void *self, const struct berth_handle *handle, int signal,
                       struct berth_error *err)
{
    PASS(SIGNAL, handle, NULL, signal(inner->self, handle, signal, err));
}

static int wrap_attach(void *self, const struct berth_handle *handle,
                       const struct berth_attach_options *options, struct berth_call **ret_call,
                       struct berth_error *err)
{
    PASS_CALL(ATTACH, handle, attach(inner->self, handle, options, &call, err));
}

static int wrap_pause(void *self, const struct berth_handle *handle, struct berth_error *err)
{
    PASS(PAUSE, handle, NULL, pause(inner->self, handle, err));
}

static int wrap_unpause(void *self, const struct berth_handle *handle, struct berth_error *err)
{
    PASS(UNPAUSE, handle, NULL, unpause(inner->self, handle, err));
}

static int wrap_update(void *self, const struct berth_handle *handle, const char *patch_json,
                       struct berth_error *err)
{
    PASS(UPDATE, handle, NULL, update(inner->self, handle, patch_json, err));
}

static int wrap_rename(void *self, const struct berth_handle *handle, const char *new_name,
                       struct berth_error *err)
{
    PASS(RENAME, handle, NULL, rename(inner->self, handle, new_name, err));
}

static int wrap_restart(void *self, const struct berth_handle *handle, int64_t timeout_msec,
                        struct berth_call **ret_call, struct berth_error *err)
{
    PASS_CALL(RESTART, handle, restart(inner->self, handle, timeout_msec, &call, err));
}

static int wrap_events(void *self, const struct berth_events_options *options,
                       struct berth_stream **ret_stream, struct berth_error *err)
{
    PASS(EVENTS, NULL, ret_stream, events(inner->self, options, ret_stream, err));
}

static int wrap_inspect(void *self, const struct berth_handle *handle, char **ret_json,
                        struct berth_error *err)
{
    PASS(INSPECT, handle, ret_json, inspect(inner->self, handle, ret_json, err));
}

static int wrap_exec_list(void *self, const struct berth_handle *handle, char **ret_json,
                          struct berth_error *err)
{
    PASS(EXEC_LIST, handle, ret_json, exec_list(inner->self, handle, ret_json, err));
}

static int wrap_exec_kill(void *self, const struct berth_handle *handle, uint64_t exec_id, int signal,
                          struct berth_error *err)
{
    PASS(EXEC_KILL, handle, NULL, exec_kill(inner->self, handle, exec_id, signal, err));
}

static int wrap_plan(void *self, const char *spec_json, char **ret_json, struct berth_error *err)
{
    PASS(PLAN, NULL, ret_json, plan(inner->self, spec_json, ret_json, err));
}

static int wrap_status_call(void *self, const struct berth_handle *handle,
                            struct berth_call **ret_call, struct berth_error *err)
{
    PASS_CALL(STATUS_CALL, handle, status_call(inner->self, handle, &call, err));
}

static void wrap_close(void *self)
{
    struct wrap *w = self;
    berth_close(w->inner);
    w->layer->close(w->data);
    free(w);
}

static const struct berth_engine wrap_table = {
    .size = sizeof(wrap_table),
    .abi_version = BERTH_ABI_VERSION,
    .close = wrap_close,
    .create = wrap_create,
    .start = wrap_start,
    .stop = wrap_stop,
    .remove = wrap_remove,
    .status = wrap_status,
    .logs = wrap_logs,
    .exec = wrap_exec,
    .stats = wrap_stats,
    .resolve_host_port = wrap_host_port,
    .resolve_container_address = wrap_address,
    .find = wrap_find_method,
    .list = wrap_list,
    .wait = wrap_wait,
    .signal = wrap_signal,
    .attach = wrap_attach,
    .pause = wrap_pause,
    .unpause = wrap_unpause,
    .update = wrap_update,
    .rename = wrap_rename,
    .restart = wrap_restart,
    .events = wrap_events,
    .inspect = wrap_inspect,
    .exec_list = wrap_exec_list,
    .exec_kill = wrap_exec_kill,
    .plan = wrap_plan,
    .status_call = wrap_status_call,
};

/** Take out of the table what the inner engine does not have, so that the desk says so as before. */
static void lack(struct berth_engine *table, const struct berth_engine *inner)
{
    void (*method)(void);
    for (size_t i = 0; i < wrap_methods_count; i++) {
        memcpy(&method, (const char *)inner + wrap_methods[i].offset, sizeof(method));
        if (!method)
            memcpy((char *)table + wrap_methods[i].offset, &method, sizeof(method));
    }
}

int wrap_open(const struct wrap_layer *layer, void *data, struct berth_runtime *inner,
              struct berth_runtime **ret_runtime, struct berth_error *err)
{
    struct berth_runtime *runtime = calloc(1, sizeof(*runtime));
    struct wrap *w = calloc(1, sizeof(*w));
    if (!runtime || !w) {
        free(runtime);
        free(w);
        layer->close(data);
        return fail_memory(err);
    }
    *w = (struct wrap){.table = wrap_table, .inner = inner, .layer = layer, .data = data};
    w->table.name = inner->engine->name;
    lack(&w->table, inner->engine);
    *runtime = (struct berth_runtime){
        .registered = layer->identity, .engine = &w->table, .self = w, .inner = inner};
    *ret_runtime = runtime;
    return 0;
}

int wrap_find(struct berth_runtime *runtime, const struct wrap_layer *layer, void **ret_data,
              struct berth_error *err)
{
    for (struct berth_runtime *r = runtime; r; r = r->inner)
        if (r->registered == layer->identity) {
            *ret_data = ((struct wrap *)r->self)->data;
            return 0;
        }
    return fail(err, BERTH_UNSUPPORTED, runtime ? runtime->engine->name : NULL,
                "only a runtime that berth_fault made does this");
}
