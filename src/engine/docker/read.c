/* SPDX-License-Identifier: Apache-2.0 */
/*
 * status, list, find, inspect, and where it is reached: what an inspect of the API says, in berth's words.
 *
 * The API tells an end by its code alone. Whether somebody asked is our note, or, for a stop by somebody
 * else's hand, the daemon's own events; what was found out is noted, so that it is asked once.
 */
#include "docker/inside.h"
#include "engine/report.h"
#include <signal.h>
#include <stdio.h>

#define SIGNALS 64

/* ---- who asked for an end */

void note_asked(const struct box *b, const char *how, const char *started)
{
    char text[100];
    snprintf(text, sizeof(text), "%s %.64s", how, started);
    if (*started)
        box_set_link(b, ASKED_LINK, text);
}

/** "stop", "kill", "own" for that run; "" when nobody noted anything of it. */
static void asked_how(const struct box *b, const char *started, char ret[8])
{
    char text[100];
    box_link(b, ASKED_LINK, text, sizeof(text));
    size_t n = strcspn(text, " ");
    bool fits = n < 8 && text[n] && *started && !strcmp(text + n + 1, started);
    snprintf(ret, 8, "%.*s", fits ? (int)n : 0, text);
}

bool signal_asks(const struct spec *spec, json_t *inspected, int signal)
{
    const char *named = spec && spec->stop_signal ? spec->stop_signal : text_at(inspected, "Config.StopSignal");
    int stop = *named ? signal_parse(named) : SIGTERM;
    return signal == SIGKILL || signal == (stop > 0 ? stop : SIGTERM);
}

static bool asks(const struct box *b, json_t *event, int64_t started_usec)
{
    struct spec *spec = NULL;
    const char *name = text_at(event, "Actor.Attributes.signal");
    int64_t usec = number_at(event, "timeNano") / 1000;
    if (!*name || (usec && usec < started_usec))
        return false;
    box_spec(b, &spec, NULL);
    bool r = signal_asks(spec, NULL, signal_parse(name));
    spec_free(spec);
    return r;
}

static bool events_say_asked(const struct box *b, const char *started, const char *finished)
{
    int64_t from, to;
    if (time_parse(started, 0, &from) < 0 || time_parse(finished, 0, &to) < 0)
        return false;
    autofree char *filters = format_text("{\"container\":[\"%s\"],\"event\":[\"kill\"]}", b->container);
    autofree char *query = filters ? query_text(filters) : NULL;
    autorequest r = {.method = "GET",
                     .path = query ? format_text("/events?since=%lld.%06lld&until=%lld&filters=%s", (long long)from / 1000000,
                                                 (long long)from % 1000000, (long long)to / 1000000 + 1, query)
                                   : NULL};
    if (daemon_ask(b->daemon, &r, NULL) < 0 || r.status != 200 || !r.answer.data)
        return false;
    bool found = false;
    char *rest = r.answer.data, *line;
    while (!found && (line = strsep(&rest, "\n"))) {
        autoanswer event = json_loads(line, 0, NULL);
        found = asks(b, event, from);
    }
    return found;
}

bool was_asked(const struct box *b, const char *started, const char *finished)
{
    char how[8];
    asked_how(b, started, how);
    if (*how)
        return strcmp(how, "own");
    bool asked = events_say_asked(b, started, finished);
    note_asked(b, asked ? "kill" : "own", started);
    return asked;
}

/* ---- the state */

static int state_of(const struct box *b, json_t *state, const struct view *v)
{
    char how[8];
    if (true_at(state, "Paused"))
        return BERTH_PAUSED;
    if (true_at(state, "Restarting"))
        return BERTH_RESTARTING;
    if (state_runs(state)) {
        asked_how(b, v->started, how);
        return strcmp(how, "stop") && true_at(state, "Running") ? BERTH_RUNNING : BERTH_STOPPING;
    }
    asked_how(b, v->started, how);
    if (!*v->started || !strcmp(how, "undo"))
        return BERTH_CREATED;
    if (was_asked(b, v->started, text_at(state, "FinishedAt")))
        return BERTH_STOPPED;
    return number_at(state, "ExitCode") == 0 ? BERTH_COMPLETED : BERTH_FAILED;
}

void view_of(const struct box *b, json_t *inspected, struct view *ret)
{
    json_t *state = at(inspected, "State");
    *ret = (struct view){0};
    if (time_at(state, "StartedAt"))
        snprintf(ret->started, sizeof(ret->started), "%s", text_at(state, "StartedAt"));
    ret->state = state_of(b, state, ret);
    ret->lives = ret->state == BERTH_RUNNING || ret->state == BERTH_PAUSED || ret->state == BERTH_RESTARTING ||
                 ret->state == BERTH_STOPPING;
}

/** The last start failed: the API leaves such a one as it was before. */
static void apply_failure(const struct box *b, struct berth_status *s)
{
    char text[1024];
    int code = 0, taken = 0;
    long long usec = 0;
    box_link(b, FAILURE_LINK, text, sizeof(text));
    if (sscanf(text, "%d %lld %n", &code, &usec, &taken) < 2)
        return;
    s->state = BERTH_FAILED;
    s->exit_code = code == BERTH_NOT_EXECUTABLE ? 126 : 127;
    s->signal = s->oom = 0;
    s->ended_usec = usec;
    snprintf(s->reason, sizeof(s->reason), "%s", text + taken);
}

static void describe_end(struct berth_status *s, json_t *state)
{
    if (s->exit_code > 128 && s->exit_code <= 128 + SIGNALS)
        s->signal = s->exit_code - 128;
    if (true_at(state, "OOMKilled"))
        s->oom = s->exit_code == 128 + SIGKILL ? BERTH_OOM_MAIN : BERTH_OOM_CHILD;
    if (s->oom)
        snprintf(s->reason, sizeof(s->reason), "out of memory in %s", s->oom == BERTH_OOM_MAIN ? "the main program" : "a child program");
    else if (s->state == BERTH_STOPPED)
        snprintf(s->reason, sizeof(s->reason), "stopped on request");
    else if (*text_at(state, "Error"))
        snprintf(s->reason, sizeof(s->reason), "%s", text_at(state, "Error"));
    else if (s->signal)
        snprintf(s->reason, sizeof(s->reason), "ended by %s", signal_name(s->signal));
    else if (s->exit_code)
        snprintf(s->reason, sizeof(s->reason), "exit code %d", s->exit_code);
}

/** Whoever sees an end first tells it: the daemon's own events are kept by nobody. */
static void tell_end(const struct box *b, const struct berth_status *s, const char *started)
{
    char told[64], attributes[80];
    box_link(b, ENDED_LINK, told, sizeof(told));
    if (!*started || !strcmp(told, started))
        return;
    box_set_link(b, ENDED_LINK, started);
    snprintf(attributes, sizeof(attributes), "\"exit_code\":%d,\"signal\":%d", s->exit_code, s->signal);
    box_event(b, "die", attributes);
}

/** Its one check is its readiness. */
static bool has_readiness(json_t *inspected)
{
    return json_object_get(at(inspected, "Config.Labels"), LABEL_READINESS) != NULL;
}

static void fill_health(struct berth_status *s, json_t *inspected)
{
    static const struct { const char *name; int health; } words[] = {
        {"starting", BERTH_HEALTH_STARTING}, {"healthy", BERTH_HEALTHY}, {"unhealthy", BERTH_UNHEALTHY}};
    const char *name = text_at(inspected, "State.Health.Status");
    if (has_readiness(inspected))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (!strcmp(words[i].name, name))
            s->health = words[i].health;
    s->health_failures = (uint32_t)number_at(inspected, "State.Health.FailingStreak");
}

/* ---- the document */

static void add_ports(struct text *t, json_t *inspected)
{
    const char *key;
    json_t *bindings, *binding;
    size_t i;
    bool first = true;
    text_add(t, ",\"ports\":[");
    json_object_foreach(at(inspected, "NetworkSettings.Ports"), key, bindings) {
        const char *slash = strchr(key, '/');
        json_array_foreach(bindings, i, binding) {
            text_printf(t, "%s{\"container\":%d,\"protocol\":\"%s\",\"host_address\":", first ? "" : ",",
                        (int)strtol(key, NULL, 10), slash ? slash + 1 : "tcp");
            report_string(t, text_at(binding, "HostIp"));
            text_printf(t, ",\"host\":%d}", (int)strtol(text_at(binding, "HostPort"), NULL, 10));
            first = false;
        }
    }
    text_add(t, "]");
}

/** What an update made of them: the API changes no label. */
static bool add_own_labels(struct text *t, const struct box *b)
{
    autofree char *text = NULL;
    if (workload_read(b->folder, LABELS_FILE, SPEC_MAX_BYTES, &text, NULL, NULL) < 0)
        return false;
    text_add(t, ",\"labels\":");
    text_add(t, text);
    return true;
}

static void add_labels(struct text *t, const struct box *b, json_t *inspected)
{
    if (add_own_labels(t, b))
        return;
    const char *key;
    json_t *value;
    bool first = true;
    text_add(t, ",\"labels\":{");
    json_object_foreach(at(inspected, "Config.Labels"), key, value) {
        if (!strcmp(key, LABEL_ROOT) || !strcmp(key, LABEL_ID) || !strcmp(key, LABEL_NAME) || !strcmp(key, LABEL_READINESS) ||
            !json_is_string(value))
            continue;
        text_add(t, first ? "" : ",");
        report_string(t, key);
        text_add(t, ":");
        report_string(t, json_string_value(value));
        first = false;
    }
    text_add(t, "}");
}

static void add_addresses(struct text *t, json_t *inspected)
{
    const char *key;
    json_t *network;
    bool first = true;
    json_object_foreach(at(inspected, "NetworkSettings.Networks"), key, network) {
        if (!*text_at(network, "IPAddress"))
            continue;
        text_add(t, first ? ",\"addresses\":{" : ",");
        report_string(t, key);
        text_add(t, ":");
        report_string(t, text_at(network, "IPAddress"));
        first = false;
    }
    if (!first)
        text_add(t, "}");
}

static void add_checks(struct text *t, json_t *inspected)
{
    json_t *entry;
    size_t i;
    bool readiness = has_readiness(inspected), ready = !readiness || !strcmp(text_at(inspected, "State.Health.Status"), "healthy");
    text_printf(t, ",\"ready\":%s,\"health_log\":[", ready ? "true" : "false");
    json_array_foreach(readiness ? NULL : at(inspected, "State.Health.Log"), i, entry) {
        text_printf(t, "%s{\"exit_code\":%d", i ? "," : "", (int)number_at(entry, "ExitCode"));
        report_time(t, "started", time_at(entry, "Start"));
        report_time(t, "ended", time_at(entry, "End"));
        text_add(t, ",\"output\":");
        report_string(t, text_at(entry, "Output"));
        text_add(t, "}");
    }
    text_add(t, "]");
}

static void add_command(struct text *t, json_t *inspected)
{
    json_t *arg;
    size_t i;
    text_add(t, ",\"command\":[");
    report_string(t, text_at(inspected, "Path"));
    json_array_foreach(at(inspected, "Args"), i, arg) {
        text_add(t, ",");
        report_string(t, json_string_value(arg) ? json_string_value(arg) : "");
    }
    text_add(t, "]");
}

static int add_document(const struct box *b, json_t *inspected, struct berth_status *s, struct berth_error *err)
{
    autotext struct text t = {0};
    text_add(&t, "{");
    report_status(&t, s);
    text_add(&t, ",\"container\":");
    report_string(&t, b->container);
    text_add(&t, ",\"daemon\":");
    report_string(&t, b->daemon->host);
    if (inspected) {
        text_add(&t, ",\"image_id\":");
        report_string(&t, text_at(inspected, "Image"));
        add_command(&t, inspected);
        add_ports(&t, inspected);
        add_labels(&t, b, inspected);
        add_addresses(&t, inspected);
        add_checks(&t, inspected);
    }
    text_add(&t, "}");
    s->json = text_take(&t);
    return s->json ? 0 : fail_memory(err);
}

static struct berth_status *status_new(const struct box *b)
{
    struct berth_status *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->size = sizeof(*s);
    s->handle = b->handle;
    s->exit_code = -1;
    box_link(b, IMAGE_LINK, s->image, sizeof(s->image));
    return s;
}

static int finish_status(const struct box *b, json_t *inspected, struct berth_status *s, struct berth_status **ret,
                         struct berth_error *err)
{
    int r = add_document(b, inspected, s, err);
    if (r < 0)
        berth_status_free(s);
    else
        *ret = s;
    return r;
}

int status_make(const struct box *b, json_t *inspected, struct berth_status **ret, struct berth_error *err)
{
    json_t *state = at(inspected, "State");
    struct berth_status *s = status_new(b);
    struct view v;
    if (!s)
        return fail_memory(err);
    view_of(b, inspected, &v);
    s->state = v.state;
    bool runs = v.lives && v.state != BERTH_RESTARTING;
    s->pid = runs ? (int32_t)number_at(state, "Pid") : 0;
    s->created_usec = time_at(inspected, "Created");
    s->started_usec = time_at(state, "StartedAt");
    s->restarts = (uint32_t)number_at(inspected, "RestartCount");
    s->memory_limit_bytes = (uint64_t)number_at(inspected, "HostConfig.Memory");
    if (v.state == BERTH_CREATED)
        s->started_usec = 0;
    if (!runs && s->started_usec) {
        s->ended_usec = time_at(state, "FinishedAt");
        s->exit_code = (int32_t)number_at(state, "ExitCode");
        describe_end(s, state);
    }
    fill_health(s, inspected);
    if (!v.lives && s->started_usec)
        tell_end(b, s, v.started);
    if (!v.lives)
        apply_failure(b, s);
    return finish_status(b, inspected, s, ret, err);
}

int status_of_gone(const struct box *b, int exit_code, struct berth_status **ret, struct berth_error *err)
{
    char asked[100];
    struct berth_status *s = status_new(b);
    if (!s)
        return fail_memory(err);
    box_link(b, ASKED_LINK, asked, sizeof(asked));
    s->exit_code = exit_code;
    s->state = *asked && !starts_with(asked, "own") ? BERTH_STOPPED : exit_code ? BERTH_FAILED : BERTH_COMPLETED;
    s->ended_usec = now_usec();
    describe_end(s, NULL);
    tell_end(b, s, "gone");
    return finish_status(b, NULL, s, ret, err);
}

/* ---- verbs */

int docker_status(void *self, const struct berth_handle *h, struct berth_status **ret, struct berth_error *err)
{
    autobox b = {0};
    autoanswer json = NULL;
    int r = box_open(self, h, &b, err);
    if (r == 0)
        r = glance_inspect(&b, &json, err);
    return r < 0 ? r : status_make(&b, json, ret, err);
}

static int on_status(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    autoanswer json = NULL;
    if (op->cancelled)
        return fail(err, BERTH_CANCELLED, op->box.handle.name, "status %s: cancelled", op->box.handle.name);
    if (!op->ask.done)
        return OP_WAIT;
    int r = answer_json(&op->ask, "status", op->box.handle.name, &json, err);
    if (r == 0)
        r = status_make(&op->box, json, &ret->status, err);
    return r < 0 ? r : OP_DONE;
}

static void wake(struct op *op)
{
    op_timer(op, 0);
}

int docker_status_call(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err)
{
    struct op *op;
    int r = op_new(self, "status", h, &op, err);
    if (r < 0)
        return r;
    op->on_cancel = wake;
    op->next = on_status;
    op_send(op, &op->ask, "GET", op_path(op, "/json"), NULL, ANSWER_MSEC);
    return op_call(op, ret_call, err);
}

int docker_find(void *self, const char *name, struct berth_handle *ret, struct berth_error *err)
{
    char id[BERTH_ID_TEXT];
    struct store *store;
    autobox b = {0};
    int r = docker_store(self, false, &store, err);
    if (r == 0)
        r = store_find(store, name, id, err);
    if (r == 0)
        r = box_open_id(self, id, &b, err);
    if (r == BERTH_NOT_FOUND)
        return fail(err, r, name, "no workload \"%s\"", name);
    if (r == 0)
        *ret = b.handle;
    return r;
}

int docker_list(void *self, struct berth_handle **ret, size_t *ret_count, struct berth_error *err)
{
    struct store *store;
    autostrings char **ids = NULL;
    size_t n = 0;
    int r = docker_store(self, false, &store, err);
    if (r == 0)
        r = store_list(store, &ids, err);
    if (r < 0 && r != BERTH_NOT_FOUND)
        return r;
    struct berth_handle *handles = calloc(strings_count(ids) + 1, sizeof(*handles));
    struct box *boxes = calloc(strings_count(ids) + 1, sizeof(*boxes));
    if (!handles || !boxes) {
        free(handles);
        free(boxes);
        return fail_memory(err);
    }
    for (size_t i = 0; ids && ids[i]; i++) {
        if (box_open_id(self, ids[i], &boxes[n], NULL) == 0)
            n++;
        else
            box_close(&boxes[n]);
    }
    glance_take(self, boxes, &n);
    for (size_t i = 0; i < n; i++) {
        handles[i] = boxes[i].handle;
        box_close(&boxes[i]);
    }
    free(boxes);
    *ret = handles;
    *ret_count = n;
    return 0;
}

int docker_inspect(void *self, const struct berth_handle *h, char **ret_json, struct berth_error *err)
{
    autobox b = {0};
    autoanswer json = NULL;
    struct berth_status *status = NULL;
    autofree char *spec = NULL;
    int r = box_open(self, h, &b, err);
    if (r == 0)
        r = box_inspect(&b, "inspect", &json, err);
    if (r == 0)
        r = status_make(&b, json, &status, err);
    if (r == 0)
        r = workload_read(b.folder, SPEC_FILE, SPEC_MAX_BYTES, &spec, NULL, err);
    if (r == 0) {
        autofree char *text = json_dumps(json, JSON_COMPACT);
        *ret_json = text ? format_text("{\"status\":%s,\"spec\":%s,\"container\":%s,\"paths\":{\"folder\":\"%s\"}}",
                                       status->json, spec, text, workload_path(b.folder))
                         : NULL;
        r = *ret_json ? 0 : fail_memory(err);
    }
    berth_status_free(status);
    return r;
}

/* ---- where it is reached */

static int look(struct docker *d, const struct berth_handle *h, const char *verb, struct box *b, json_t **ret, struct view *v,
                struct berth_error *err)
{
    int r = box_open(d, h, b, err);
    if (r == 0)
        r = box_inspect(b, verb, ret, err);
    if (r == 0)
        view_of(b, *ret, v);
    return r;
}

static bool runs(const struct view *v)
{
    return v->lives && v->state != BERTH_RESTARTING;
}

int docker_host_port(void *self, const struct berth_handle *h, const struct berth_port *port, struct berth_host_port *ret,
                     struct berth_error *err)
{
    autobox b = {0};
    autoanswer json = NULL;
    struct view v;
    char key[24];
    int r = look(self, h, "port", &b, &json, &v, err);
    if (r < 0 || !runs(&v))
        return r;
    if (!strcmp(text_at(json, "HostConfig.NetworkMode"), "host")) {
        *ret = (struct berth_host_port){.port = port->number, .address = "127.0.0.1"};
        return 1;
    }
    snprintf(key, sizeof(key), "%u/%s", port->number, port->protocol);
    json_t *binding = json_array_get(json_object_get(at(json, "NetworkSettings.Ports"), key), 0);
    long number = strtol(text_at(binding, "HostPort"), NULL, 10);
    if (number < 1 || number > UINT16_MAX)
        return 0;
    *ret = (struct berth_host_port){.port = (uint16_t)number};
    snprintf(ret->address, sizeof(ret->address), "%s", text_at(binding, "HostIp"));
    return 1;
}

/** The first network of its spec, as the daemon calls it. */
static const char *first_network(json_t *inspected)
{
    const char *mode = text_at(inspected, "HostConfig.NetworkMode");
    json_t *all = at(inspected, "NetworkSettings.Networks");
    if (json_object_get(all, mode))
        return mode;
    const char *usual = json_object_iter_key(json_object_iter(all));
    return usual ? usual : mode;
}

static int no_such_network(const struct box *b, const char *network, struct berth_error *err)
{
    autofree char *name = query_text(network);
    autorequest r = {.method = "GET", .path = name ? format_text("/networks/%s", name) : NULL};
    int code = daemon_ask(b->daemon, &r, err);
    if (code == 0)
        code = answer_judge(&r, "address", b->handle.name, err);
    return code == BERTH_NOT_FOUND ? fail(err, code, network, "no network \"%.128s\" at %s", network, b->daemon->host) : code;
}

int docker_address(void *self, const struct berth_handle *h, const struct berth_port *port, const char *network,
                   char ret[BERTH_ADDRESS_TEXT], struct berth_error *err)
{
    autobox b = {0};
    autoanswer json = NULL;
    struct view v;
    int r = look(self, h, "address", &b, &json, &v, err);
    if (r < 0)
        return r;
    bool host = !strcmp(text_at(json, "HostConfig.NetworkMode"), "host");
    if (runs(&v) && host && (!network || !strcmp(network, "host"))) {
        snprintf(ret, BERTH_ADDRESS_TEXT, "127.0.0.1:%u", port->number);
        return 1;
    }
    const char *name = network ? network : first_network(json);
    json_t *entry = json_object_get(at(json, "NetworkSettings.Networks"), name);
    const char *address = text_at(entry, "IPAddress");
    if (runs(&v) && *address) {
        snprintf(ret, BERTH_ADDRESS_TEXT, "%s:%u", address, port->number);
        return 1;
    }
    return network && !entry ? no_such_network(&b, network, err) : 0;
}
