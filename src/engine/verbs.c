/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front desk: every public verb. It checks what the caller gave (INVALID before an engine sees
 * it), answers for methods an engine lacks, and makes the blocking form out of the call.
 */
#include "engine/answer.h"
#include "base/base.h"
#include "base/text.h"
#include "model/spec.h"
#include <stdio.h>

/* Why these are macros: each names the public function's argument in its message. */
#define NEED(verb, condition, ...)                                                                 \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return fail(err, BERTH_INVALID, NULL, verb ": " __VA_ARGS__);                          \
    } while (0)
#define NEED_POINTER(verb, pointer) NEED(verb, (pointer) != NULL, "`" #pointer "` is NULL")

static int unsupported(const struct berth_runtime *runtime, const char *method,
                       struct berth_error *err)
{
    return fail(err, BERTH_UNSUPPORTED, method, "%s: the engine \"%s\" does not do that", method,
                runtime->engine->name);
}

static int check_runtime(const char *verb, const struct berth_runtime *runtime,
                         struct berth_error *err)
{
    return runtime ? 0 : fail(err, BERTH_INVALID, NULL, "%s: `runtime` is NULL", verb);
}

static int check_handle(const char *verb, const struct berth_runtime *runtime,
                        const struct berth_handle *handle, struct berth_error *err)
{
    if (!runtime)
        return check_runtime(verb, runtime, err);
    if (!handle)
        return fail(err, BERTH_INVALID, NULL, "%s: `handle` is NULL", verb);
    if (!memchr(handle->runtime, 0, sizeof(handle->runtime)) ||
        !memchr(handle->name, 0, sizeof(handle->name)) ||
        !memchr(handle->metadata, 0, sizeof(handle->metadata)) || !handle->runtime[0])
        return fail(err, BERTH_INVALID, NULL, "%s: the handle is malformed", verb);
    if (strcmp(handle->runtime, runtime->engine->name))
        return fail(err, BERTH_INVALID, handle->name,
                    "%s: the handle is of the runtime \"%s\", not \"%s\"", verb, handle->runtime,
                    runtime->engine->name);
    return 0;
}

static struct desk_question question(const struct berth_runtime *runtime, const char *verb,
                                     enum desk_wants wants, const struct berth_handle *handle)
{
    struct desk_question q = {.runtime = runtime, .verb = verb, .wants = wants};
    if (handle)
        memcpy(q.id, handle->id, sizeof(q.id));
    return q;
}

/* Why these are macros: what is asked is a method of the table with its own arguments, of which `call`,
 * `said` and `answer` are the desk's. ASK leaves the question, the engine's error and its answer. */
#define ASK(verb, wants, handle, ...)                                                              \
    struct desk_question q = question(runtime, verb, wants, handle);                               \
    struct berth_error said;                                                                       \
    said_clear(&said);                                                                             \
    int answer = runtime->engine->__VA_ARGS__
#define ASK_PLAIN(verb, handle, ...)                                                               \
    do {                                                                                           \
        ASK(verb, WANTS_NOTHING, handle, __VA_ARGS__);                                             \
        return answer_code(&q, answer, 0, &said, err);                                             \
    } while (0)
#define ASK_FOR_CALL(verb, wants, handle, ...)                                                     \
    do {                                                                                           \
        struct berth_call *call = NULL;                                                            \
        ASK(verb, wants, handle, __VA_ARGS__);                                                     \
        return desk_begin(&q, answer, call, &said, ret_call, err);                                 \
    } while (0)

/** The blocking form: wait for the call that was made (or not, `made` < 0); its result is `ret_result`'s. */
static int block(int made, struct berth_call **call, struct berth_result *ret_result,
                 struct berth_error *err)
{
    if (made < 0)
        return made;
    ret_result->exec = NULL;
    ret_result->status = NULL;
    int r = berth_call_wait(*call, -1, ret_result, err);
    berth_call_free(*call);
    return r;
}

/** The same where a result would be nobody's. */
static int block_plain(int made, struct berth_call **call, struct berth_error *err)
{
    struct berth_result result;
    int r = block(made, call, &result, err);
    if (r == 0) {
        berth_exec_result_free(result.exec);
        berth_status_free(result.status);
    }
    return r;
}

/* ---- the ten verbs */

int berth_create_call(struct berth_runtime *runtime, const char *spec_json,
                      struct berth_call **ret_call, struct berth_error *err)
{
    int r = check_runtime("create", runtime, err);
    if (r < 0)
        return r;
    NEED_POINTER("create", spec_json);
    NEED_POINTER("create", ret_call);
    ASK_FOR_CALL("create", WANTS_HANDLE, NULL, create(runtime->self, spec_json, &call, &said));
}

int berth_create(struct berth_runtime *runtime, const char *spec_json,
                 struct berth_handle *ret_handle, struct berth_error *err)
{
    struct berth_call *call = NULL;
    struct berth_result result;
    NEED_POINTER("create", ret_handle);
    int r = block(berth_create_call(runtime, spec_json, &call, err), &call, &result, err);
    if (r == 0)
        *ret_handle = result.handle;
    return r;
}

int berth_start_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                     struct berth_call **ret_call, struct berth_error *err)
{
    int r = check_handle("start", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("start", ret_call);
    ASK_FOR_CALL("start", WANTS_NOTHING, handle, start(runtime->self, handle, &call, &said));
}

int berth_start(struct berth_runtime *runtime, const struct berth_handle *handle,
                struct berth_error *err)
{
    struct berth_call *call = NULL;
    return block_plain(berth_start_call(runtime, handle, &call, err), &call, err);
}

int berth_stop_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                    int64_t timeout_msec, struct berth_call **ret_call, struct berth_error *err)
{
    int r = check_handle("stop", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("stop", ret_call);
    NEED("stop", timeout_msec >= BERTH_TIMEOUT_SPEC && timeout_msec <= INT64_MAX / 2000,
         "a timeout of %lld ms", (long long)timeout_msec);
    ASK_FOR_CALL("stop", WANTS_NOTHING, handle, stop(runtime->self, handle, timeout_msec, &call, &said));
}

int berth_stop(struct berth_runtime *runtime, const struct berth_handle *handle,
               int64_t timeout_msec, struct berth_error *err)
{
    struct berth_call *call = NULL;
    return block_plain(berth_stop_call(runtime, handle, timeout_msec, &call, err), &call, err);
}

int berth_remove_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                      const struct berth_remove_options *options, struct berth_call **ret_call,
                      struct berth_error *err)
{
    struct berth_remove_options full;
    int r = check_handle("remove", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("remove", ret_call);
    r = options_take(options, &full, sizeof(full), err);
    if (r < 0)
        return r;
    ASK_FOR_CALL("remove", WANTS_NOTHING, handle, remove(runtime->self, handle, &full, &call, &said));
}

int berth_remove(struct berth_runtime *runtime, const struct berth_handle *handle,
                 const struct berth_remove_options *options, struct berth_error *err)
{
    struct berth_call *call = NULL;
    return block_plain(berth_remove_call(runtime, handle, options, &call, err), &call, err);
}

int berth_status(struct berth_runtime *runtime, const struct berth_handle *handle,
                 struct berth_status **ret_status, struct berth_error *err)
{
    int r = check_handle("status", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("status", ret_status);
    struct berth_status *status = NULL;
    ASK("status", WANTS_STATUS, handle, status(runtime->self, handle, &status, &said));
    return answer_status(&q, answer, status, &said, ret_status, err);
}

int berth_status_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                      struct berth_call **ret_call, struct berth_error *err)
{
    int r = check_handle("status", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("status", ret_call);
    if (runtime->engine->status_call)
        ASK_FOR_CALL("status", WANTS_STATUS, handle, status_call(runtime->self, handle, &call, &said));
    struct berth_result result = {0};
    struct berth_error failure = {0};
    r = berth_status(runtime, handle, &result.status, &failure);
    return berth_call_done(r, &result, &failure, ret_call, err);
}

int berth_logs(struct berth_runtime *runtime, const struct berth_handle *handle,
               const struct berth_logs_options *options, struct berth_stream **ret_stream,
               struct berth_error *err)
{
    struct berth_logs_options full;
    int r = check_handle("logs", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("logs", ret_stream);
    r = options_take(options, &full, sizeof(full), err);
    if (r < 0)
        return r;
    NEED("logs", !(full.streams & ~(BERTH_STDOUT | BERTH_STDERR)), "no stream has the number %u",
         full.streams);
    NEED("logs", full.since_usec >= 0 && full.until_usec >= 0, "a time before 1970");
    struct berth_stream *stream = NULL;
    ASK("logs", WANTS_NOTHING, handle, logs(runtime->self, handle, &full, &stream, &said));
    return answer_stream(&q, answer, stream, &said, ret_stream, err);
}

static int check_exec(const char *const *argv, const struct berth_exec_options *o,
                      struct berth_error *err)
{
    NEED("exec", argv && argv[0] && argv[0][0], "there is no program in `argv`");
    for (size_t i = 0; o->env && o->env[i]; i++)
        NEED("exec", strchr(o->env[i], '=') && o->env[i][0] != '=',
             "\"%.80s\" in `env` is not NAME=value", o->env[i]);
    NEED("exec", o->timeout_msec >= 0 && o->timeout_msec <= INT64_MAX / 2000,
         "a timeout of %lld ms", (long long)o->timeout_msec);
    NEED("exec", !(o->stream && o->detach), "`stream` and `detach` exclude each other");
    NEED("exec", !(o->stdin_size && (o->stream || o->detach)),
         "`stdin_data` is for the collected form");
    NEED("exec", o->stdin_data || !o->stdin_size, "`stdin_data` is NULL");
    NEED("exec", !o->workdir || o->workdir[0] == '/', "the workdir \"%.80s\" is not absolute",
         o->workdir ? o->workdir : "");
    return 0;
}

int berth_exec_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                    const char *const *argv, const struct berth_exec_options *options,
                    struct berth_call **ret_call, struct berth_error *err)
{
    struct berth_exec_options full;
    int r = check_handle("exec", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("exec", ret_call);
    r = options_take(options, &full, sizeof(full), err);
    if (r < 0 || (r = check_exec(argv, &full, err)) < 0)
        return r;
    ASK_FOR_CALL("exec", WANTS_EXEC, handle, exec(runtime->self, handle, argv, &full, &call, &said));
}

int berth_exec(struct berth_runtime *runtime, const struct berth_handle *handle,
               const char *const *argv, const struct berth_exec_options *options,
               struct berth_exec_result **ret_result, struct berth_error *err)
{
    struct berth_exec_options full;
    struct berth_call *call = NULL;
    struct berth_result result = {0};
    int r = options_take(options, &full, sizeof(full), err);
    if (r < 0)
        return r;
    NEED("exec", !full.stream, "`stream` is for berth_exec_call");
    r = block(berth_exec_call(runtime, handle, argv, options, &call, err), &call, &result, err);
    if (r == 0 && ret_result)
        *ret_result = TAKE(result.exec);
    berth_exec_result_free(result.exec);
    return r;
}

int berth_stats(struct berth_runtime *runtime, const struct berth_handle *handle,
                struct berth_stats *ret_stats, struct berth_error *err)
{
    int r = check_handle("stats", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("stats", ret_stats);
    struct berth_stats full = {.size = sizeof(full)};
    size_t room = ret_stats->size ? MIN(ret_stats->size, sizeof(full)) : sizeof(full);
    ASK("stats", WANTS_NOTHING, handle, stats(runtime->self, handle, &full, &said));
    if ((r = answer_stats(&q, answer, &full, &said, err)) < 0)
        return r;
    full.size = room;
    memcpy(ret_stats, &full, room);
    return 0;
}

static int check_port(const char *verb, const struct berth_port *port, struct berth_port *ret,
                      struct berth_error *err)
{
    if (!port)
        return fail(err, BERTH_INVALID, NULL, "%s: `container_port` is NULL", verb);
    if (port->number == 0)
        return fail(err, BERTH_INVALID, NULL, "%s: 0 is not a port", verb);
    *ret = *port;
    ret->protocol[sizeof(ret->protocol) - 1] = 0;
    if (!ret->protocol[0])
        memcpy(ret->protocol, "tcp", 4);
    if (memcmp(ret->protocol, "tcp", 4) && memcmp(ret->protocol, "udp", 4))
        return fail(err, BERTH_INVALID, NULL, "%s: \"%s\" is neither tcp nor udp", verb,
                    ret->protocol);
    return 0;
}

int berth_resolve_host_port(struct berth_runtime *runtime, const struct berth_handle *handle,
                            const struct berth_port *container_port,
                            struct berth_host_port *ret_port, struct berth_error *err)
{
    struct berth_port port;
    int r = check_handle("port", runtime, handle, err);
    if (r < 0 || (r = check_port("port", container_port, &port, err)) < 0)
        return r;
    NEED_POINTER("port", ret_port);
    struct berth_host_port found;
    found.port = 0;
    found.address[0] = 0;
    ASK("port", WANTS_NOTHING, handle,
        resolve_host_port(runtime->self, handle, &port, &found, &said));
    r = answer_address(&q, answer, found.address, sizeof(found.address), &said, err);
    if (r == 1)
        *ret_port = found;
    return r;
}

int berth_resolve_container_address(struct berth_runtime *runtime,
                                    const struct berth_handle *handle,
                                    const struct berth_port *container_port, const char *network,
                                    char ret_address[BERTH_ADDRESS_TEXT], struct berth_error *err)
{
    struct berth_port port;
    int r = check_handle("address", runtime, handle, err);
    if (r < 0 || (r = check_port("address", container_port, &port, err)) < 0)
        return r;
    NEED_POINTER("address", ret_address);
    char found[BERTH_ADDRESS_TEXT];
    found[0] = 0;
    ASK("address", WANTS_NOTHING, handle,
        resolve_container_address(runtime->self, handle, &port, network, found, &said));
    r = answer_address(&q, answer, found, sizeof(found), &said, err);
    if (r == 1)
        memcpy(ret_address, found, sizeof(found));
    return r;
}

/* ---- beside the verbs */

/** For an engine without `find`: among those that it lists. */
static int find_in_list(struct berth_runtime *runtime, const char *word, struct berth_handle *ret, struct berth_error *err)
{
    autofree struct berth_handle *list = NULL;
    struct berth_handle *found = NULL;
    size_t n = 0, fit = 0;
    char id[BERTH_ID_TEXT];
    int r = berth_list(runtime, &list, &n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        berth_id_print(list[i].id, id);
        bool named = !strcmp(list[i].name, word);
        if (!named && !starts_with(id, word))
            continue;
        found = &list[i];
        fit++;
        if (named) {
            fit = 1; /* a name wins */
            break;
        }
    }
    if (fit > 1)
        return fail(err, BERTH_INVALID, word, "\"%s\" fits %zu ids", word, fit);
    if (!fit)
        return fail(err, BERTH_NOT_FOUND, word, "no workload \"%s\"", word);
    *ret = *found;
    return 0;
}

int berth_find(struct berth_runtime *runtime, const char *name_or_prefix,
               struct berth_handle *ret_handle, struct berth_error *err)
{
    int r = check_runtime("find", runtime, err);
    if (r < 0)
        return r;
    NEED_POINTER("find", ret_handle);
    if ((r = name_check("name", name_or_prefix ? name_or_prefix : "", err)) < 0)
        return r;
    if (!runtime->engine->find)
        return runtime->engine->list ? find_in_list(runtime, name_or_prefix, ret_handle, err) : unsupported(runtime, "find", err);
    struct berth_handle found = {0};
    ASK("find", WANTS_HANDLE, NULL, find(runtime->self, name_or_prefix, &found, &said));
    return answer_handle(&q, answer, &found, &said, ret_handle, err);
}

int berth_list(struct berth_runtime *runtime, struct berth_handle **ret_handles, size_t *ret_count,
               struct berth_error *err)
{
    int r = check_runtime("list", runtime, err);
    if (r < 0)
        return r;
    NEED_POINTER("list", ret_handles);
    NEED_POINTER("list", ret_count);
    if (!runtime->engine->list)
        return unsupported(runtime, "list", err);
    struct berth_handle *handles = NULL;
    size_t count = 0;
    ASK("list", WANTS_NOTHING, NULL, list(runtime->self, &handles, &count, &said));
    return answer_handles(&q, answer, handles, count, &said, ret_handles, ret_count, err);
}

int berth_wait_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                    struct berth_call **ret_call, struct berth_error *err)
{
    int r = check_handle("wait", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("wait", ret_call);
    if (!runtime->engine->wait)
        return unsupported(runtime, "wait", err);
    ASK_FOR_CALL("wait", WANTS_STATUS, handle, wait(runtime->self, handle, &call, &said));
}

int berth_wait(struct berth_runtime *runtime, const struct berth_handle *handle,
               struct berth_status **ret_status, struct berth_error *err)
{
    struct berth_call *call = NULL;
    struct berth_result result = {0};
    int r = block(berth_wait_call(runtime, handle, &call, err), &call, &result, err);
    if (r == 0 && ret_status)
        *ret_status = TAKE(result.status);
    berth_status_free(result.status);
    return r;
}

int berth_signal(struct berth_runtime *runtime, const struct berth_handle *handle, int signal,
                 struct berth_error *err)
{
    int r = check_handle("signal", runtime, handle, err);
    if (r < 0)
        return r;
    NEED("signal", signal >= 1 && signal <= 64, "%d is no signal", signal);
    if (!runtime->engine->signal)
        return unsupported(runtime, "signal", err);
    ASK_PLAIN("signal", handle, signal(runtime->self, handle, signal, &said));
}

int berth_attach_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                      const struct berth_attach_options *options, struct berth_call **ret_call,
                      struct berth_error *err)
{
    struct berth_attach_options full;
    int r = check_handle("attach", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("attach", ret_call);
    r = options_take(options, &full, sizeof(full), err);
    if (r < 0)
        return r;
    if (!runtime->engine->attach)
        return unsupported(runtime, "attach", err);
    ASK_FOR_CALL("attach", MAY_HAVE_STATUS, handle, attach(runtime->self, handle, &full, &call, &said));
}

int berth_pause(struct berth_runtime *runtime, const struct berth_handle *handle,
                struct berth_error *err)
{
    int r = check_handle("pause", runtime, handle, err);
    if (r < 0)
        return r;
    if (!runtime->engine->pause)
        return unsupported(runtime, "pause", err);
    ASK_PLAIN("pause", handle, pause(runtime->self, handle, &said));
}

int berth_unpause(struct berth_runtime *runtime, const struct berth_handle *handle,
                  struct berth_error *err)
{
    int r = check_handle("unpause", runtime, handle, err);
    if (r < 0)
        return r;
    if (!runtime->engine->unpause)
        return unsupported(runtime, "unpause", err);
    ASK_PLAIN("unpause", handle, unpause(runtime->self, handle, &said));
}

int berth_update(struct berth_runtime *runtime, const struct berth_handle *handle,
                 const char *patch_json, struct berth_error *err)
{
    int r = check_handle("update", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("update", patch_json);
    if (!runtime->engine->update)
        return unsupported(runtime, "update", err);
    ASK_PLAIN("update", handle, update(runtime->self, handle, patch_json, &said));
}

int berth_rename(struct berth_runtime *runtime, const struct berth_handle *handle,
                 const char *new_name, struct berth_error *err)
{
    int r = check_handle("rename", runtime, handle, err);
    if (r < 0 || (r = name_check("name", new_name ? new_name : "", err)) < 0)
        return r;
    if (!runtime->engine->rename)
        return unsupported(runtime, "rename", err);
    ASK_PLAIN("rename", handle, rename(runtime->self, handle, new_name, &said));
}

int berth_restart_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                       int64_t timeout_msec, struct berth_call **ret_call, struct berth_error *err)
{
    int r = check_handle("restart", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("restart", ret_call);
    NEED("restart", timeout_msec >= BERTH_TIMEOUT_SPEC && timeout_msec <= INT64_MAX / 2000,
         "a timeout of %lld ms", (long long)timeout_msec);
    if (!runtime->engine->restart)
        return unsupported(runtime, "restart", err);
    ASK_FOR_CALL("restart", WANTS_NOTHING, handle, restart(runtime->self, handle, timeout_msec, &call, &said));
}

int berth_restart(struct berth_runtime *runtime, const struct berth_handle *handle,
                  int64_t timeout_msec, struct berth_error *err)
{
    struct berth_call *call = NULL;
    return block_plain(berth_restart_call(runtime, handle, timeout_msec, &call, err), &call, err);
}

int berth_events(struct berth_runtime *runtime, const struct berth_events_options *options,
                 struct berth_stream **ret_stream, struct berth_error *err)
{
    struct berth_events_options full;
    int r = check_runtime("events", runtime, err);
    if (r < 0)
        return r;
    NEED_POINTER("events", ret_stream);
    r = options_take(options, &full, sizeof(full), err);
    if (r < 0)
        return r;
    NEED("events", full.since_usec >= 0 && full.until_usec >= 0, "a time before 1970");
    if (full.name && (r = name_check("name", full.name, err)) < 0)
        return r;
    if (!runtime->engine->events)
        return unsupported(runtime, "events", err);
    struct berth_stream *stream = NULL;
    ASK("events", WANTS_NOTHING, NULL, events(runtime->self, &full, &stream, &said));
    return answer_stream(&q, answer, stream, &said, ret_stream, err);
}

/** For an engine without `inspect`: its status is all that is known. */
static int inspect_status(struct berth_runtime *runtime, const struct berth_handle *handle, char **ret_json, struct berth_error *err)
{
    struct berth_status *status;
    int r = berth_status(runtime, handle, &status, err);
    if (r < 0)
        return r;
    *ret_json = format_text("{\"status\":%s}", status->json);
    berth_status_free(status);
    return *ret_json ? 0 : fail_memory(err);
}

int berth_inspect(struct berth_runtime *runtime, const struct berth_handle *handle, char **ret_json,
                  struct berth_error *err)
{
    int r = check_handle("inspect", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("inspect", ret_json);
    if (!runtime->engine->inspect)
        return inspect_status(runtime, handle, ret_json, err);
    char *text = NULL;
    ASK("inspect", WANTS_NOTHING, handle, inspect(runtime->self, handle, &text, &said));
    return answer_text(&q, answer, text, &said, ret_json, err);
}

int berth_exec_list(struct berth_runtime *runtime, const struct berth_handle *handle,
                    char **ret_json, struct berth_error *err)
{
    int r = check_handle("exec_list", runtime, handle, err);
    if (r < 0)
        return r;
    NEED_POINTER("exec_list", ret_json);
    if (!runtime->engine->exec_list)
        return unsupported(runtime, "exec_list", err);
    char *text = NULL;
    ASK("exec_list", WANTS_NOTHING, handle, exec_list(runtime->self, handle, &text, &said));
    return answer_text(&q, answer, text, &said, ret_json, err);
}

int berth_exec_kill(struct berth_runtime *runtime, const struct berth_handle *handle,
                    uint64_t exec_id, int signal, struct berth_error *err)
{
    int r = check_handle("exec_kill", runtime, handle, err);
    if (r < 0)
        return r;
    NEED("exec_kill", signal >= 1 && signal <= 64, "%d is no signal", signal);
    if (!runtime->engine->exec_kill)
        return unsupported(runtime, "exec_kill", err);
    ASK_PLAIN("exec_kill", handle, exec_kill(runtime->self, handle, exec_id, signal, &said));
}

int berth_plan(struct berth_runtime *runtime, const char *spec_json, char **ret_json,
               struct berth_error *err)
{
    int r = check_runtime("plan", runtime, err);
    if (r < 0)
        return r;
    NEED_POINTER("plan", spec_json);
    NEED_POINTER("plan", ret_json);
    if (!runtime->engine->plan)
        return unsupported(runtime, "plan", err);
    char *text = NULL;
    ASK("plan", WANTS_NOTHING, NULL, plan(runtime->self, spec_json, &text, &said));
    return answer_text(&q, answer, text, &said, ret_json, err);
}
