/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake engine's table: every verb and optional method over the world in memory.
 */
#include "fake/world.h"
#include "engine/desk.h"
#include "image/image.h"
#include <jansson.h>
#include <stdio.h>
#include <sys/random.h>

static int fake_open(const struct berth_options *options, void **ret_self, struct berth_error *err)
{
    struct fake *f = calloc(1, sizeof(*f));
    if (!f)
        return fail_memory(err);
    pthread_mutexattr_t recursive; /* a call that can't be made is freed, under the lock */
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&f->lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    f->offset_usec = now_usec() - monotonic_usec();
    f->next_address = 2;
    *ret_self = f;
    return 0;
}

static void fake_close(void *self)
{
    struct fake *f = self;
    while (f->workloads)
        fake_drop(f, f->workloads);
    fake_log_free(&f->events);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* Begin of every method: the world locked. */
static struct fake *enter(void *self)
{
    struct fake *f = self;
    pthread_mutex_lock(&f->lock);
    return f;
}

static int leave(struct fake *f, int r)
{
    pthread_mutex_unlock(&f->lock);
    return r;
}

static int wrong_state(const struct fake_workload *w, const char *verb, struct berth_error *err)
{
    return fail(err, BERTH_WRONG_STATE, w->handle.name, "%s %s: it is %s", verb, w->handle.name,
                berth_state_name(w->state));
}

/* ---- create */

static int check_image(const struct spec *spec, struct berth_error *err)
{
    struct reference reference = {0};
    if (!spec->image)
        return 0;
    int r = reference_parse(spec->image, NULL, &reference, err);
    if (r == 0 && strstr(reference.repository, "missing"))
        r = fail(err, BERTH_NOT_FOUND, spec->image, "no image \"%s\"", spec->image);
    reference_clear(&reference);
    return r;
}

static int check_mounts(const struct spec *spec, struct berth_error *err)
{
    for (size_t i = 0; i < spec->n_mounts; i++) {
        const struct spec_mount *m = &spec->mounts[i];
        if (m->kind == SPEC_MOUNT_BIND && !m->create_source && access(m->source, F_OK) < 0)
            return fail(err, BERTH_NOT_FOUND, m->source, "mount %s: there is no \"%s\"", m->target,
                        m->source);
    }
    return 0;
}

static bool port_taken(const struct fake *f, uint16_t port, const char *protocol,
                       const char **ret_holder)
{
    for (const struct fake_workload *w = f->workloads; w; w = w->next)
        for (size_t i = 0; i < w->spec->n_ports; i++)
            if (w->spec->ports[i].host == port && !strcmp(w->spec->ports[i].protocol, protocol)) {
                *ret_holder = w->handle.name;
                return true;
            }
    return false;
}

static int take_ports(struct fake *f, struct spec *spec, struct berth_error *err)
{
    const char *holder = NULL;
    for (size_t i = 0; i < spec->n_ports; i++) {
        struct spec_port *p = &spec->ports[i];
        if (!p->protocol[0])
            memcpy(p->protocol, "tcp", 4);
        if (p->host && port_taken(f, p->host, p->protocol, &holder))
            return fail(err, BERTH_EXISTS, spec->name, "port %u/%s is held by %s", p->host,
                        p->protocol, holder);
    }
    for (size_t i = 0, free_port = 49152; i < spec->n_ports; i++) {
        struct spec_port *p = &spec->ports[i];
        while (!p->host && port_taken(f, (uint16_t)free_port, p->protocol, &holder))
            free_port++;
        if (!p->host)
            p->host = (uint16_t)free_port++;
    }
    return 0;
}

static int join_steps(const struct spec *spec, char ***ret_steps)
{
    char *const *const parts[] = {spec->entrypoint, spec->command, spec->args};
    char **steps = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        for (size_t k = 0; parts[i] && parts[i][k]; k++)
            if (strings_add(&steps, parts[i][k]) < 0) {
                strings_free(steps);
                return -ENOMEM;
            }
    *ret_steps = steps;
    return 0;
}

static int name_it(struct fake *f, struct fake_workload *w, struct berth_error *err)
{
    struct berth_handle *h = &w->handle;
    if (getrandom(h->id, sizeof(h->id), 0) != sizeof(h->id))
        return fail_os(err, errno, NULL, "getrandom");
    if (w->spec->name)
        snprintf(h->name, sizeof(h->name), "%s", w->spec->name);
    else
        snprintf(h->name, sizeof(h->name), "fake_%02x%02x%02x%02x", h->id[0], h->id[1], h->id[2],
                 h->id[3]);
    snprintf(h->runtime, sizeof(h->runtime), "fake");
    if (fake_find_name(f, h->name))
        return fail(err, BERTH_EXISTS, h->name, "the name \"%s\" is taken", h->name);
    return 0;
}

static int build(struct fake *f, struct fake_workload *w, struct berth_error *err)
{
    if (w->spec->runtime && strcmp(w->spec->runtime, "fake"))
        return fail(err, BERTH_INVALID, "runtime", "runtime: \"%s\" is not this engine, \"fake\"",
                    w->spec->runtime);
    int r = check_image(w->spec, err);
    if (r < 0 || (r = check_mounts(w->spec, err)) < 0 || (r = name_it(f, w, err)) < 0 ||
        (r = take_ports(f, w->spec, err)) < 0)
        return r;
    if (w->spec->service_json)
        return fail(err, BERTH_UNSUPPORTED, "service", "service: berthd's, not an engine's");
    if (w->spec->wasm.present)
        return fail(err, BERTH_UNSUPPORTED, "wasm", "wasm: the engine \"fake\" does not do that");
    if (join_steps(w->spec, &w->steps) < 0)
        return fail_memory(err);
    w->state = BERTH_CREATED;
    w->exit_code = -1;
    w->stop_deadline_usec = NEVER;
    w->created_usec = fake_now(f);
    w->address = f->next_address++;
    return 0;
}

static void undo_create(void *data);
struct created { struct fake *fake; struct berth_handle handle; bool undone; };

static int created_step(void *data, struct berth_result *ret, struct berth_error *err)
{
    const struct created *c = data;
    if (c->undone)
        return fail(err, BERTH_CANCELLED, c->handle.name, "create %s: cancelled", c->handle.name);
    ret->handle = c->handle;
    return 1;
}

static const struct berth_call_ops created_ops = {
    .size = sizeof(created_ops), .step = created_step, .cancel = undo_create, .free = free,
    .undo = undo_create,
};

static void undo_create(void *data)
{
    struct created *c = data;
    struct fake *f = enter(c->fake);
    struct fake_workload *w = fake_find_id(f, c->handle.id);
    if (w)
        fake_drop(f, w);
    c->undone = true;
    leave(f, 0);
}

static int insert(struct fake *f, struct fake_workload *w, struct berth_error *err)
{
    fake_settle(f);
    int r = build(f, w, err);
    if (r < 0) {
        strings_free(w->steps);
        spec_free(w->spec);
        free(w);
        return r;
    }
    w->next = f->workloads;
    f->workloads = w;
    fake_event(f, w, "create", fake_now(f));
    fake_settle(f);
    return 0;
}

static int fake_create(void *self, const char *spec_json, struct berth_call **ret_call,
                       struct berth_error *err)
{
    struct spec *spec = NULL;
    int r = spec_parse(spec_json, strlen(spec_json), &spec, err);
    if (r < 0)
        return r;
    struct fake_workload *w = calloc(1, sizeof(*w));
    struct created *c = calloc(1, sizeof(*c));
    if (!w || !c) {
        spec_free(spec);
        free(w);
        free(c);
        return fail_memory(err);
    }
    w->spec = spec;
    struct fake *f = enter(self);
    r = insert(f, w, err);
    if (r == 0)
        *c = (struct created){f, w->handle, false};
    leave(f, 0);
    if (r < 0) {
        free(c);
        return r;
    }
    return berth_call_new(&created_ops, c, -1, ret_call, err);
}

/* ---- the other verbs */

static int fake_start(void *self, const struct berth_handle *handle, struct berth_call **ret_call,
                      struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    struct berth_error failure = {0};
    int r = fake_get(f, handle, &w, &failure);
    if (r == 0)
        r = fake_play_start(f, w, &failure);
    leave(f, 0);
    return berth_call_done(r, NULL, &failure, ret_call, err);
}

static int64_t stop_timeout(const struct fake_workload *w, int64_t timeout_msec)
{
    if (timeout_msec != BERTH_TIMEOUT_SPEC)
        return timeout_msec * 1000;
    return w->spec->has_stop_timeout ? w->spec->stop_timeout_usec : 10000000;
}

static int fake_stop(void *self, const struct berth_handle *handle, int64_t timeout_msec,
                     struct berth_call **ret_call, struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    if (r == 0) {
        r = fake_call_new(f, w, FAKE_STOP, ret_call, err);
        if (r == 0 && (fake_lives(w) || w->state == BERTH_RESTARTING))
            fake_play_stop(f, w, stop_timeout(w, timeout_msec), false);
    }
    return leave(f, r);
}

static int fake_restart(void *self, const struct berth_handle *handle, int64_t timeout_msec,
                        struct berth_call **ret_call, struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    if (r == 0) {
        r = fake_call_new(f, w, FAKE_RESTART, ret_call, err);
        if (r == 0 && (fake_lives(w) || w->state == BERTH_RESTARTING))
            fake_play_stop(f, w, stop_timeout(w, timeout_msec), true);
        else if (r == 0 && (r = fake_play_start(f, w, err)) < 0) {
            leave(f, 0);
            berth_call_free(*ret_call);
            return r;
        }
    }
    return leave(f, r);
}

static int fake_remove(void *self, const struct berth_handle *handle,
                       const struct berth_remove_options *options, struct berth_call **ret_call,
                       struct berth_error *err)
{
    struct fake *f = enter(self);
    struct berth_error failure = {0};
    int r = 0;
    fake_settle(f);
    struct fake_workload *w = fake_find_id(f, handle->id);
    if (w && (fake_lives(w) || w->state == BERTH_RESTARTING)) {
        if (!options->force)
            r = wrong_state(w, "remove", &failure);
        else
            fake_play_stop(f, w, 0, false);
        w = fake_find_id(f, handle->id);
    }
    if (r == 0 && w)
        fake_drop(f, w);
    fake_settle(f);
    leave(f, 0);
    return berth_call_done(r, NULL, &failure, ret_call, err);
}

static int fake_status_verb(void *self, const struct berth_handle *handle,
                            struct berth_status **ret_status, struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    return leave(f, r < 0 ? r : fake_status(w, ret_status, err));
}

static int fake_logs(void *self, const struct berth_handle *handle,
                     const struct berth_logs_options *options, struct berth_stream **ret_stream,
                     struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    return leave(f, r < 0 ? r : fake_logs_stream(f, w, options, ret_stream, err));
}

static int fake_exec(void *self, const struct berth_handle *handle, const char *const *argv,
                     const struct berth_exec_options *options, struct berth_call **ret_call,
                     struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    if (r == 0 && w->state != BERTH_RUNNING)
        r = wrong_state(w, "exec", err);
    if (r == 0 && (r = fake_steps_check((char *const *)argv, err)) == 0)
        r = fake_exec_call(f, w, argv, options, ret_call, err);
    return leave(f, r);
}

static int fake_stats(void *self, const struct berth_handle *handle, struct berth_stats *ret_stats,
                      struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    if (r == 0 && !fake_lives(w))
        r = wrong_state(w, "stats", err);
    if (r == 0) {
        int64_t now = fake_now(f);
        ret_stats->time_usec = now;
        ret_stats->cpu_usec = (uint64_t)(now - w->started_usec);
        ret_stats->cpu_user_usec = ret_stats->cpu_usec;
        ret_stats->memory_bytes = ret_stats->memory_peak_bytes = 1 << 20;
        ret_stats->pids = 1;
        for (const struct fake_exec *e = w->execs; e; e = e->next)
            ret_stats->pids += !e->program.ended;
        ret_stats->cpu_limit_cores = w->spec->resources.cpu;
        if (w->spec->resources.has_memory)
            ret_stats->memory_limit_bytes = w->spec->resources.memory;
        if (w->spec->resources.has_pids && w->spec->resources.pids > 0)
            ret_stats->pids_limit = (uint64_t)w->spec->resources.pids;
    }
    return leave(f, r);
}

static const char *first_network(const struct spec *spec)
{
    if (spec->network)
        return spec->network;
    return spec->n_networks ? spec->networks[0].name : "default";
}

static bool knows_network(const struct spec *spec, const char *network)
{
    for (size_t i = 0; i < spec->n_networks; i++)
        if (!strcmp(spec->networks[i].name, network))
            return true;
    return !strcmp(first_network(spec), network);
}

static int fake_host_port(void *self, const struct berth_handle *handle,
                          const struct berth_port *port, struct berth_host_port *ret_port,
                          struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    if (r == 0 && fake_lives(w)) {
        bool host = !strcmp(first_network(w->spec), "host");
        *ret_port = (struct berth_host_port){.port = port->number, .address = "127.0.0.1"};
        r = host;
        for (size_t i = 0; i < w->spec->n_ports && !r; i++) {
            const struct spec_port *p = &w->spec->ports[i];
            r = p->container == port->number && !strcmp(p->protocol, port->protocol);
            if (r)
                ret_port->port = p->host;
        }
    }
    return leave(f, r);
}

static int fake_address(void *self, const struct berth_handle *handle, const struct berth_port *port,
                        const char *network, char ret_address[BERTH_ADDRESS_TEXT],
                        struct berth_error *err)
{
    static const char *const known[] = {"default", "host", "none"};
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    if (r < 0)
        return leave(f, r);
    bool mine = !network || knows_network(w->spec, network), exists = mine;
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        exists |= network && !strcmp(network, known[i]);
    for (const struct fake_workload *o = f->workloads; o && !exists; o = o->next)
        exists = knows_network(o->spec, network);
    if (!exists)
        return leave(f, fail(err, BERTH_NOT_FOUND, network, "no network \"%.64s\"", network));
    const char *name = network ? network : first_network(w->spec);
    if (!mine || !fake_lives(w) || !strcmp(name, "none"))
        return leave(f, 0);
    if (!strcmp(name, "host"))
        snprintf(ret_address, BERTH_ADDRESS_TEXT, "127.0.0.1:%u", port->number);
    else
        snprintf(ret_address, BERTH_ADDRESS_TEXT, "10.210.%u.%u:%u", w->address >> 8 & 255,
                 w->address & 255, port->number);
    return leave(f, 1);
}

/* ---- optional methods */

static bool prefix_fits(const struct fake_workload *w, const char *prefix)
{
    char id[BERTH_ID_TEXT];
    berth_id_print(w->handle.id, id);
    return starts_with(id, prefix);
}

static int fake_find(void *self, const char *name, struct berth_handle *ret_handle,
                     struct berth_error *err)
{
    struct fake *f = enter(self);
    fake_settle(f);
    struct fake_workload *found = fake_find_name(f, name);
    size_t fitting = found ? 1 : 0;
    for (struct fake_workload *w = found ? NULL : f->workloads; w; w = w->next)
        if (prefix_fits(w, name)) {
            found = w;
            fitting++;
        }
    if (fitting == 1)
        *ret_handle = found->handle;
    return leave(f, fitting == 1  ? 0
                    : fitting == 0 ? fail(err, BERTH_NOT_FOUND, name, "no workload \"%s\"", name)
                                   : fail(err, BERTH_INVALID, name, "\"%s\" fits %zu ids", name,
                                          fitting));
}

static int fake_list(void *self, struct berth_handle **ret_handles, size_t *ret_count,
                     struct berth_error *err)
{
    struct fake *f = enter(self);
    fake_settle(f);
    size_t n = 0;
    for (const struct fake_workload *w = f->workloads; w; w = w->next)
        n++;
    struct berth_handle *handles = calloc(n + 1, sizeof(*handles));
    if (!handles)
        return leave(f, fail_memory(err));
    *ret_count = 0;
    for (const struct fake_workload *w = f->workloads; w; w = w->next)
        handles[(*ret_count)++] = w->handle;
    *ret_handles = handles;
    return leave(f, 0);
}

static int fake_wait(void *self, const struct berth_handle *handle, struct berth_call **ret_call,
                     struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    return leave(f, r < 0 ? r : fake_call_new(f, w, FAKE_WAIT, ret_call, err));
}

static int fake_signal(void *self, const struct berth_handle *handle, int signal,
                       struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    if (r == 0 && !fake_lives(w))
        r = wrong_state(w, "signal", err);
    if (r == 0)
        fake_play_signal(f, w, signal);
    return leave(f, r);
}

static int fake_attach(void *self, const struct berth_handle *handle,
                       const struct berth_attach_options *options, struct berth_call **ret_call,
                       struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    bool joins = r == 0 && (fake_lives(w) || options->next_start);
    if (r == 0 && (!joins || (options->input && !w->spec->stdin_open)))
        r = joins ? fail(err, BERTH_WRONG_STATE, w->handle.name,
                                 "attach to %s: its spec has no stdin", w->handle.name)
                          : wrong_state(w, "attach", err);
    return leave(f, r < 0 ? r : fake_attach_call(f, w, options, ret_call, err));
}

static int set_paused(void *self, const struct berth_handle *handle, bool paused,
                      struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    if (r == 0 && w->state != (paused ? BERTH_RUNNING : BERTH_PAUSED))
        r = wrong_state(w, paused ? "pause" : "unpause", err);
    if (r < 0)
        return leave(f, r);
    int64_t now = fake_now(f);
    if (paused)
        w->paused_usec = now;
    else if (w->program.wake_usec != NEVER)
        w->program.wake_usec += now - w->paused_usec;
    w->state = paused ? BERTH_PAUSED : BERTH_RUNNING;
    fake_event(f, w, paused ? "pause" : "unpause", now);
    fake_changed(f, w);
    return leave(f, 0);
}

static int fake_pause(void *self, const struct berth_handle *handle, struct berth_error *err)
{
    return set_paused(self, handle, true, err);
}

static int fake_unpause(void *self, const struct berth_handle *handle, struct berth_error *err)
{
    return set_paused(self, handle, false, err);
}

static int fake_update(void *self, const struct berth_handle *handle, const char *patch_json,
                       struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    if (r == 0 && (r = spec_patch(w->spec, patch_json, err)) == 0) {
        fake_event(f, w, "update", fake_now(f));
        fake_changed(f, w);
    }
    return leave(f, r);
}

static int fake_rename(void *self, const struct berth_handle *handle, const char *new_name,
                       struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    if (r < 0)
        return leave(f, r);
    struct fake_workload *holder = fake_find_name(f, new_name);
    if (holder && holder != w)
        return leave(f, fail(err, BERTH_EXISTS, new_name, "the name \"%s\" is taken", new_name));
    snprintf(w->handle.name, sizeof(w->handle.name), "%s", new_name);
    fake_event(f, w, "rename", fake_now(f));
    fake_changed(f, w);
    return leave(f, 0);
}

static int fake_events(void *self, const struct berth_events_options *options,
                       struct berth_stream **ret_stream, struct berth_error *err)
{
    struct fake *f = enter(self);
    fake_settle(f);
    return leave(f, fake_events_stream(f, options, ret_stream, err));
}

static int two_documents(const char *first_name, char *first, const char *second_name, char *second,
                         char **ret_json, struct berth_error *err)
{
    *ret_json = first && second ? format_text("{\"%s\":%s,\"%s\":%s}", first_name, first,
                                              second_name, second)
                                : NULL;
    free(first);
    free(second);
    return *ret_json ? 0 : fail_memory(err);
}

static char *steps_json(char *const *steps)
{
    json_t *list = json_array(), *plan = json_object();
    for (size_t i = 0; steps && steps[i]; i++)
        json_array_append_new(list, json_string(steps[i]));
    json_object_set_new(plan, "steps", list);
    char *text = json_dumps(plan, JSON_COMPACT);
    json_decref(plan);
    return text;
}

static int fake_inspect(void *self, const struct berth_handle *handle, char **ret_json,
                        struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    struct berth_status *status = NULL;
    int r = fake_get(f, handle, &w, err);
    if (r == 0 && (r = fake_status(w, &status, err)) == 0) {
        r = two_documents("spec", spec_print(w->spec), "status", TAKE(status->json), ret_json, err);
        berth_status_free(status);
    }
    return leave(f, r);
}

static int fake_exec_list(void *self, const struct berth_handle *handle, char **ret_json,
                          struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    autotext struct text t = {0};
    int r = fake_get(f, handle, &w, err);
    if (r < 0)
        return leave(f, r);
    text_add(&t, "[");
    for (const struct fake_exec *e = w->execs; e; e = e->next)
        if (!e->program.ended) {
            char *steps = steps_json(e->steps);
            text_printf(&t, "%s{\"exec_id\":%llu,\"plan\":%s}", t.length > 1 ? "," : "",
                        (unsigned long long)e->id, steps ? steps : "null");
            free(steps);
        }
    text_add(&t, "]");
    *ret_json = text_take(&t);
    return leave(f, *ret_json ? 0 : fail_memory(err));
}

static int fake_exec_kill(void *self, const struct berth_handle *handle, uint64_t exec_id,
                          int signal, struct berth_error *err)
{
    struct fake *f = enter(self);
    struct fake_workload *w;
    int r = fake_get(f, handle, &w, err);
    if (r < 0)
        return leave(f, r);
    struct fake_exec *e = w->execs;
    while (e && (e->id != exec_id || e->program.ended))
        e = e->next;
    if (!e)
        return leave(f, fail(err, BERTH_NOT_FOUND, w->handle.name, "%s: no exec %llu runs",
                             w->handle.name, (unsigned long long)exec_id));
    fake_program_signal(&e->program, signal, fake_now(f));
    fake_changed(f, w);
    return leave(f, 0);
}

static int fake_plan(void *self, const char *spec_json, char **ret_json, struct berth_error *err)
{
    struct spec *spec = NULL;
    int r = spec_parse(spec_json, strlen(spec_json), &spec, err);
    if (r < 0)
        return r;
    char **steps = NULL;
    r = check_image(spec, err);
    if (r == 0 && (r = check_mounts(spec, err)) == 0)
        r = join_steps(spec, &steps) < 0 ? fail_memory(err)
                                         : two_documents("spec", spec_print(spec), "plan",
                                                         steps_json(steps), ret_json, err);
    strings_free(steps);
    spec_free(spec);
    return r;
}

const struct berth_engine fake_engine = {
    .size = sizeof(fake_engine),
    .abi_version = BERTH_ABI_VERSION,
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .create = fake_create,
    .start = fake_start,
    .stop = fake_stop,
    .remove = fake_remove,
    .status = fake_status_verb,
    .logs = fake_logs,
    .exec = fake_exec,
    .stats = fake_stats,
    .resolve_host_port = fake_host_port,
    .resolve_container_address = fake_address,
    .find = fake_find,
    .list = fake_list,
    .wait = fake_wait,
    .signal = fake_signal,
    .attach = fake_attach,
    .pause = fake_pause,
    .unpause = fake_unpause,
    .update = fake_update,
    .rename = fake_rename,
    .restart = fake_restart,
    .events = fake_events,
    .inspect = fake_inspect,
    .exec_list = fake_exec_list,
    .exec_kill = fake_exec_kill,
    .plan = fake_plan,
};

/* ---- fake.h */

static int enter_fake(struct berth_runtime *runtime, const struct berth_handle *handle,
                      struct fake **ret_fake, struct fake_workload **ret_w, struct berth_error *err)
{
    void *self;
    int r = berth_runtime_self(runtime, &fake_engine, &self, err);
    if (r < 0)
        return r;
    if (!handle)
        return fail(err, BERTH_INVALID, NULL, "`handle` is NULL");
    *ret_fake = enter(self);
    r = fake_get(*ret_fake, handle, ret_w, err);
    return r < 0 ? leave(*ret_fake, r) : 0;
}

int berth_fake_exit(struct berth_runtime *runtime, const struct berth_handle *handle, int exit_code,
                    struct berth_error *err)
{
    struct fake *f;
    struct fake_workload *w;
    int r = enter_fake(runtime, handle, &f, &w, err);
    if (r < 0)
        return r;
    if (!fake_lives(w))
        return leave(f, wrong_state(w, "exit of", err));
    fake_program_end(&w->program, exit_code & 255, 0, fake_now(f));
    fake_changed(f, w);
    return leave(f, 0);
}

int berth_fake_write(struct berth_runtime *runtime, const struct berth_handle *handle,
                     uint32_t stream, const void *data, size_t size, struct berth_error *err)
{
    struct fake *f;
    struct fake_workload *w;
    if ((stream != BERTH_STDOUT && stream != BERTH_STDERR) || (!data && size))
        return fail(err, BERTH_INVALID, NULL, "write: no such stream, or no data");
    int r = enter_fake(runtime, handle, &f, &w, err);
    if (r < 0)
        return r;
    if (fake_log_add(&w->log, fake_now(f), stream, data, size) < 0)
        return leave(f, fail_memory(err));
    fake_changed(f, w);
    return leave(f, 0);
}

/** An unhealthy workload's own wish: restart or stop it. */
static void health_acts(struct fake *f, struct fake_workload *w)
{
    const char *act = w->spec->health.on_failure ? w->spec->health.on_failure : "none";
    if (!strcmp(act, "stop"))
        fake_play_stop(f, w, stop_timeout(w, BERTH_TIMEOUT_SPEC), false);
    else if (!strcmp(act, "restart"))
        fake_program_end(&w->program, 137, 9, fake_now(f));
}

int berth_fake_set_health(struct berth_runtime *runtime, const struct berth_handle *handle,
                          int health, struct berth_error *err)
{
    struct fake *f;
    struct fake_workload *w;
    if (health < BERTH_HEALTH_NONE || health > BERTH_UNHEALTHY)
        return fail(err, BERTH_INVALID, NULL, "set_health: %d is no health", health);
    int r = enter_fake(runtime, handle, &f, &w, err);
    if (r < 0)
        return r;
    if (!fake_lives(w))
        return leave(f, wrong_state(w, "health of", err));
    w->health = health;
    w->health_failures = health == BERTH_UNHEALTHY ? w->health_failures + 1 : 0;
    fake_event(f, w, "health", fake_now(f));
    if (health == BERTH_UNHEALTHY)
        health_acts(f, w);
    fake_changed(f, w);
    return leave(f, 0);
}

int berth_fake_advance(struct berth_runtime *runtime, int64_t usec, struct berth_error *err)
{
    void *self;
    int r = berth_runtime_self(runtime, &fake_engine, &self, err);
    if (r < 0)
        return r;
    if (usec < 0)
        return fail(err, BERTH_INVALID, NULL, "advance: a clock does not go back");
    struct fake *f = enter(self);
    f->offset_usec += usec;
    fake_settle(f);
    return leave(f, 0);
}
