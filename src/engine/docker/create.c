/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create: a folder aside with the name taken, then the container, then one rename.
 *
 * Whoever dies in between leaves a folder that the next sweep undoes, and at most a container that was never
 * started and whose label names a folder that there is not: the next create of the name, or list, removes it.
 */
#include "docker/inside.h"
#include "docker/pull.h"
#include "image/image.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>

struct creation {
    struct spec *spec;
    struct store_draft *draft;
    json_t *document, *more;   /* of the request; networks beside the first */
    size_t next_network;
    char id[BERTH_ID_TEXT];
    struct berth_handle handle;
    struct pull *pull;
    bool pulled, asked, committed, cleared;
};

static struct creation *mine(struct op *op)
{
    return op->own;
}

/* ---- what is taken back */

/** By its id alone: a name may be another's by now. */
static void delete_container(struct op *op)
{
    autorequest r = {.method = "DELETE", .path = op_path(op, "?force=1&v=1")};
    if (op->box.container[0])
        daemon_ask(op->box.daemon, &r, NULL);
}

static int take_id(struct op *op, struct berth_error *err)
{
    autoanswer json = NULL;
    int r = answer_json(&op->ask, "create", mine(op)->handle.name, &json, err);
    if (r < 0)
        return r;
    const char *id = text_at(json, "Id");
    if (strlen(id) < 12 || strlen(id) >= CONTAINER_ID_MAX || id[strspn(id, "0123456789abcdef")])
        return fail(err, BERTH_CORRUPT, mine(op)->handle.name, "create %s: %s answers without the id of a container",
                    mine(op)->handle.name, op->box.daemon->host);
    snprintf(op->box.container, sizeof(op->box.container), "%s", id);
    return 0;
}

static void creation_free(struct op *op)
{
    struct creation *c = mine(op);
    if (!c)
        return;
    if (c->asked && !op->box.container[0] && op->channel) { /* it may have been made: its answer says */
        if (op->ask.done || request_wait_for(&op->ask, LEAVE_MSEC))
            take_id(op, NULL); /* else: a container that was never started, for whoever comes next */
    }
    if (!c->committed && c->asked)
        delete_container(op);
    if (c->draft)
        store_draft_abandon(c->draft);
    pull_free(c->pull);
    json_decref(c->document);
    json_decref(c->more);
    spec_free(c->spec);
}

static void creation_undo(struct op *op)
{
    autobox b = {0};
    if (!mine(op)->committed)
        return;
    delete_container(op);
    if (box_open(op->docker, &mine(op)->handle, &b, NULL) == 0)
        box_discard(&b);
}

/* ---- the folder */

static int put_link(int fd, const char *name, const char *text, struct berth_error *err)
{
    return text && symlinkat(text, fd, name) < 0 ? fail_os(err, errno, NULL, "write %s", name) : 0;
}

static int fill_folder(struct op *op, struct berth_error *err)
{
    const struct creation *c = mine(op);
    int fd = store_draft_fd(c->draft);
    autofree char *text = spec_print(c->spec);
    autoclose int file = openat(fd, SPEC_FILE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (!text)
        return fail_memory(err);
    size_t size = strlen(text);
    if (file < 0 || write(file, text, size) != (ssize_t)size)
        return fail_os(err, file < 0 ? errno : EIO, NULL, "write %s", SPEC_FILE);
    int r = put_link(fd, RUNTIME_LINK, ENGINE_NAME, err);
    if (r == 0)
        r = put_link(fd, IMAGE_LINK, c->spec->image, err);
    if (r == 0)
        r = put_link(fd, DAEMON_LINK, op->box.daemon->host, err);
    return r < 0 ? r : put_link(fd, CERTS_LINK, op->box.daemon->certs, err);
}

/** Whoever has the name is ours and its daemon knows it no more: then the name is free. */
static bool holder_is_gone(struct op *op, const char *name)
{
    char id[BERTH_ID_TEXT];
    autobox b = {0};
    autoanswer seen = NULL;
    if (!name || store_find(op->box.store, name, id, NULL) < 0 || box_open_id(op->docker, id, &b, NULL) < 0 ||
        strcmp(b.handle.name, name) || box_inspect(&b, "create", &seen, NULL) != BERTH_NOT_FOUND)
        return false;
    box_discard(&b);
    return true;
}

static int take_name(struct op *op, struct berth_error *err)
{
    struct creation *c = mine(op);
    store_sweep(op->box.store, NULL);
    int r = store_draft_begin(op->box.store, c->spec->name, &c->draft, err);
    if (r == BERTH_EXISTS && holder_is_gone(op, c->spec->name))
        r = store_draft_begin(op->box.store, c->spec->name, &c->draft, err);
    if (r < 0)
        return r;
    snprintf(c->id, sizeof(c->id), "%s", store_draft_id(c->draft));
    snprintf(c->handle.runtime, sizeof(c->handle.runtime), "%s", ENGINE_NAME);
    snprintf(c->handle.name, sizeof(c->handle.name), "%s", store_draft_name(c->draft));
    hex_parse(c->id, c->handle.id, sizeof(c->handle.id));
    return 0;
}

/* ---- the requests */

static int on_made(struct op *op, struct berth_result *ret, struct berth_error *err);
static int on_pulled(struct op *op, struct berth_result *ret, struct berth_error *err);

static int ask_create(struct op *op, struct berth_error *err)
{
    struct creation *c = mine(op);
    autofree char *platform = c->spec->platform ? query_text(c->spec->platform) : NULL;
    char *body = json_dumps(c->document, JSON_COMPACT);
    if (!body)
        return fail_memory(err);
    op_send(op, &op->ask, "POST",
            format_text("/containers/create?name=berth-%s-%s%s%s", store_tag(op->box.store), c->handle.name,
                        platform ? "&platform=" : "", platform ? platform : ""),
            body, SLOW_MSEC);
    c->asked = true;
    op->next = on_made;
    return OP_ON;
}

static int ask_pull(struct op *op, struct berth_error *err)
{
    struct creation *c = mine(op);
    c->pulled = true;
    int r = c->pull ? 0 : pull_new(op->docker, c->spec->image, c->spec->platform, &c->pull, err);
    if (r < 0)
        return r;
    pull_send(c->pull, op->channel);
    op->next = on_pulled;
    return OP_ON;
}

static int on_pulled(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    struct creation *c = mine(op);
    (void)ret;
    if (op->cancelled)
        return fail(err, BERTH_CANCELLED, c->handle.name, "create %s: cancelled", c->handle.name);
    int r = pull_end(c->pull, err);
    if (r == 0)
        return OP_WAIT;
    bool tolerable = r < 0 && c->spec->pull && !strcmp(c->spec->pull, "newer");
    return r < 0 && !tolerable ? r : ask_create(op, err);
}

/** A container of our root whose folder there is not: a create that was cut short. */
static bool clear_orphan(struct op *op)
{
    struct creation *c = mine(op);
    autorequest r = {.method = "GET", .path = format_text("/containers/berth-%s-%s/json", store_tag(op->box.store), c->handle.name)};
    autoanswer seen = NULL;
    struct workload *w = NULL;
    if (daemon_ask(op->box.daemon, &r, NULL) < 0 || answer_json(&r, "create", c->handle.name, &seen, NULL) < 0)
        return false;
    const char *id = text_at(seen, "Id");
    json_t *labels = at(seen, "Config.Labels");
    const char *folder = json_string_value(json_object_get(labels, LABEL_ID));
    const char *root = json_string_value(json_object_get(labels, LABEL_ROOT));
    if (!*id || !folder || !root || strcmp(root, store_tag(op->box.store)) || strcmp(text_at(seen, "State.Status"), "created"))
        return false;
    if (workload_open(op->box.store, folder, &w, NULL) == 0) {
        workload_close(w);
        return false;
    }
    autorequest away = {.method = "DELETE", .path = format_text("/containers/%s?v=1", id)};
    return daemon_ask(op->box.daemon, &away, NULL) == 0 && answer_judge(&away, "create", c->handle.name, NULL) == 0;
}

static bool image_is_missing(const struct request *r)
{
    autofree char *words = r->code == 0 && r->status == 404 ? answer_words(r) : NULL;
    return words && (strcasestr(words, "image") || strcasestr(words, "manifest"));
}

static int finish(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    struct creation *c = mine(op);
    struct berth_handle handle = c->handle;
    int r = put_link(store_draft_fd(c->draft), CONTAINER_LINK, op->box.container, err);
    if (r == 0)
        r = store_draft_commit(TAKE(c->draft), err);
    if (r < 0)
        return r;
    c->committed = true;
    event_append(store_root_fd(op->box.store), "create", c->id, handle.name, NULL);
    ret->handle = handle;
    return OP_DONE;
}

static int on_connected(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    struct creation *c = mine(op);
    if (op->cancelled)
        return fail(err, BERTH_CANCELLED, c->handle.name, "create %s: cancelled", c->handle.name);
    if (op->other.path && !op->other.done)
        return OP_WAIT;
    int r = op->other.path ? answer_judge(&op->other, "create", c->handle.name, err) : 0;
    json_t *entry = json_array_get(c->more, c->next_network++);
    if (r < 0 || !entry)
        return r < 0 ? r : finish(op, ret, err);
    autofree char *network = query_text(text_at(entry, "network"));
    json_t *body = json_pack("{s:s, s:O}", "Container", op->box.container, "EndpointConfig", at(entry, "config"));
    op_send(op, &op->other, "POST", network ? format_text("/networks/%s/connect", network) : NULL,
            body ? json_dumps(body, JSON_COMPACT) : NULL, SLOW_MSEC);
    json_decref(body);
    return OP_ON;
}

static int on_made(struct op *op, struct berth_result *ret, struct berth_error *err)
{
    struct creation *c = mine(op);
    (void)ret;
    if (!op->ask.done)
        return OP_WAIT;
    bool fetch = !c->pulled && (!c->spec->pull || strcmp(c->spec->pull, "never"));
    if (!op->cancelled && fetch && image_is_missing(&op->ask)) {
        c->asked = false;
        return ask_pull(op, err);
    }
    if (!op->cancelled && op->ask.status == 409 && !c->cleared) {
        c->cleared = true;
        if (clear_orphan(op))
            return ask_create(op, err);
    }
    int r = take_id(op, err);
    if (r < 0) {
        c->asked = false;
        return r == BERTH_WRONG_STATE ? fail(err, BERTH_EXISTS, c->handle.name, "create %s: the daemon has a container of that name",
                                             c->handle.name)
                                      : r;
    }
    op->next = on_connected;
    return OP_ON;
}

/* ---- what the daemon has to be told in its own words */

/** "container:NAME" of a workload of this root, as its container. */
static int find_other(struct op *op, char **text, struct berth_error *err)
{
    char id[BERTH_ID_TEXT];
    autobox b = {0};
    autoanswer json = NULL;
    struct view v;
    const char *name = *text && starts_with(*text, "container:") ? *text + strlen("container:") : NULL;
    if (!name)
        return 0;
    int r = store_find(op->box.store, name, id, err);
    if (r == 0)
        r = box_open_id(op->docker, id, &b, err);
    if (r == 0)
        r = box_inspect(&b, "create", &json, err);
    if (r < 0)
        return r;
    view_of(&b, json, &v);
    if (!v.lives)
        return fail(err, BERTH_WRONG_STATE, name, "%s: it is not running", *text);
    char *found = format_text("container:%s", b.container);
    if (!found)
        return fail_memory(err);
    free(*text);
    *text = found;
    return 0;
}

static int find_volumes(struct op *op, char **text, struct berth_error *err)
{
    char id[BERTH_ID_TEXT];
    autobox b = {0};
    size_t n = strcspn(*text, ":");
    autofree char *name = strndup(*text, n);
    int r = name ? store_find(op->box.store, name, id, err) : fail_memory(err);
    if (r == 0)
        r = box_open_id(op->docker, id, &b, err);
    char *found = r == 0 ? format_text("%s%s", b.container, *text + n) : NULL;
    if (r < 0 || !found)
        return r < 0 ? r : fail_memory(err);
    free(*text);
    *text = found;
    return 0;
}

static int find_others(struct op *op, struct berth_error *err)
{
    struct spec *s = mine(op)->spec;
    char **shared[] = {&s->namespaces.pid, &s->namespaces.ipc, &s->network};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(shared); i++)
        r = find_other(op, shared[i], err);
    for (size_t i = 0; r == 0 && s->volumes_from && s->volumes_from[i]; i++)
        r = find_volumes(op, &s->volumes_from[i], err);
    return r;
}

/** The API finds out in start. */
static int find_network(const struct op *op, const char *network, struct berth_error *err)
{
    if (!network || !is_named_network(network))
        return 0;
    autofree char *name = query_text(network);
    autorequest r = {.method = "GET", .path = name ? format_text("/networks/%s", name) : NULL};
    int code = daemon_ask(op->box.daemon, &r, err);
    if (code == 0)
        code = answer_judge(&r, "create", network, err);
    return code == BERTH_NOT_FOUND ? fail(err, code, network, "network: %s has no network \"%.128s\"", op->box.daemon->host, network) : code;
}

static int find_networks(const struct op *op, const struct spec *s, struct berth_error *err)
{
    int r = find_network(op, s->network, err);
    for (size_t i = 0; r == 0 && i < s->n_networks; i++)
        r = find_network(op, s->networks[i].name, err);
    return r;
}

static uint16_t free_port(const struct spec_port *p)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    bool udp = !strcmp(p->protocol, "udp");
    autoclose int fd = socket(AF_INET, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, p->host_address ? p->host_address : "127.0.0.1", &address.sin_addr);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) < 0 || getsockname(fd, (struct sockaddr *)&address, &size) < 0)
        return 0;
    return ntohs(address.sin_port);
}

/** "Any free one": the API's is another after each start. So it is chosen here, where the daemon is on this machine. */
static int choose_ports(struct spec *s, const struct daemon *daemon, struct berth_error *err)
{
    for (size_t i = 0; i < s->n_ports && starts_with(daemon->host, "unix://"); i++) {
        struct spec_port *p = &s->ports[i];
        if (p->host || p->container_end > p->container)
            continue;
        p->host = free_port(p);
        if (!p->host)
            return fail_os(err, errno, "ports", "ports: no port is free");
    }
    return 0;
}

/** What the daemon would take in silence and not do: confinement that its kernel has not, checks that are another's timers. */
static int check_ability(struct op *op, struct berth_error *err)
{
    const struct spec *s = mine(op)->spec;
    const struct { const char *asked, *name, *field; } kinds[] = {{s->security.apparmor, "AppArmor", "security.apparmor"},
                                                                  {s->security.selinux, "SELinux", "security.selinux"}};
    bool paths = s->security.masked_paths || s->security.read_only_paths;
    if (!s->security.apparmor && !s->security.selinux && !paths && !spec_probes(&s->readiness))
        return 0;
    autorequest r = {.method = "GET", .path = strdup("/info")};
    int code = daemon_ask(op->box.daemon, &r, err);
    autoanswer info = NULL;
    if (code < 0 || (code = answer_json(&r, "create", mine(op)->handle.name, &info, err)) < 0)
        return code;
    if (paths && op->box.daemon->podman)
        return fail(err, BERTH_UNSUPPORTED, "security.masked_paths", "security.masked_paths: podman's service takes them and does nothing");
    if (spec_probes(&s->readiness) && op->box.daemon->podman)
        return fail(err, BERTH_UNSUPPORTED, "readiness", "readiness: podman's service leaves its checks to systemd's timers");
    autofree char *has = json_dumps(at(info, "SecurityOptions"), JSON_ENCODE_ANY);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (kinds[i].asked && strcmp(kinds[i].asked, "unconfined") && strcmp(kinds[i].asked, "disable") && (!has || !strcasestr(has, kinds[i].name)))
            return fail(err, BERTH_NO_KERNEL, kinds[i].field, "%s: %s has no %s", kinds[i].field, op->box.daemon->host, kinds[i].name);
    return 0;
}

/* ---- the way in */

/** A short name means what berth.toml says, whatever the daemon would take it for. */
static int name_image(struct spec *s, const struct reference_defaults *defaults, struct berth_error *err)
{
    static const char *const forms[] = {"oci:", "oci-archive:", "docker-archive:"};
    if (!s->image)
        return fail(err, BERTH_INVALID, "image", "image: is missing");
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++) /* only berth's own store reads them */
        if (starts_with(s->image, forms[i]))
            return fail(err, BERTH_UNSUPPORTED, "image", "image: the engine \"" ENGINE_NAME "\" has its daemon's images alone: %.200s",
                        s->image);
    struct reference name = {0};
    int r = starts_with(s->image, "sha256:") ? 0 : reference_parse(s->image, defaults, &name, err);
    char *whole = r == 0 && name.registry && (defaults->registry || defaults->tag) ? reference_print(&name) : NULL;
    reference_clear(&name);
    if (whole) {
        free(s->image);
        s->image = whole;
    }
    return r;
}

/** With berth.toml below it, and without anything that this engine does not do. */
static int read_spec(struct docker *d, const char *json, struct spec **ret, struct berth_error *err)
{
    autoclean(cleanup_settings) struct settings *settings = NULL;
    struct store *store = NULL;
    (void)docker_store(d, false, &store, NULL);
    int r = settings_source_read(&d->settings, store ? store_run_fd(store) : -1, &settings, err);
    if (r == 0)
        r = settings_spec(settings, json, ret, err);
    if (r == 0)
        r = spec_refuse(*ret, err);
    return r < 0 ? r : name_image(*ret, &settings->images, err);
}

static void on_cancel(struct op *op)
{
    op_timer(op, 0);
}

static int creation_stream_fd(struct op *op, int stream)
{
    return stream == 2 && mine(op)->pull ? pull_progress_fd(mine(op)->pull) : -1;
}

static int begin(struct op *op, const char *json, struct berth_error *err)
{
    struct creation *c = op->own = calloc(1, sizeof(*c));
    if (!c)
        return fail_memory(err);
    int r = read_spec(op->docker, json, &c->spec, err);
    if (r < 0 || (r = docker_store(op->docker, true, &op->box.store, err)) < 0)
        return r;
    if (!(op->box.daemon = docker_daemon(op->docker, op->docker->host, op->docker->certs)))
        return fail_memory(err);
    if ((r = op_channel(op, err)) < 0 || (r = take_name(op, err)) < 0 || (r = fill_folder(op, err)) < 0)
        return r;
    if ((r = find_others(op, err)) < 0 || (r = find_networks(op, c->spec, err)) < 0 || (r = choose_ports(c->spec, op->box.daemon, err)) < 0 || (r = check_ability(op, err)) < 0)
        return r;
    r = create_document(c->spec, c->id, c->handle.name, store_tag(op->box.store), &c->document, &c->more, err);
    if (r < 0)
        return r;
    bool first = c->spec->pull && (!strcmp(c->spec->pull, "always") || !strcmp(c->spec->pull, "newer"));
    r = first ? ask_pull(op, err) : ask_create(op, err);
    return r < 0 ? r : 0;
}

int docker_create(void *self, const char *spec_json, struct berth_call **ret_call, struct berth_error *err)
{
    struct op *op;
    int r = op_new(self, "create", NULL, &op, err);
    if (r < 0)
        return r;
    op->box.docker = self;
    op->on_free = creation_free;
    op->on_undo = creation_undo;
    op->on_cancel = on_cancel;
    op->stream_fd = creation_stream_fd;
    r = begin(op, spec_json, err);
    if (r < 0) {
        op_free(op);
        return r;
    }
    return op_call(op, ret_call, err);
}

int docker_plan(void *self, const char *spec_json, char **ret_json, struct berth_error *err)
{
    struct docker *d = self;
    struct spec *spec = NULL;
    json_t *document = NULL, *more = NULL;
    int r = read_spec(d, spec_json, &spec, err);
    if (r == 0)
        r = create_document(spec, "00000000000000000000000000000000", spec->name ? spec->name : "unnamed", "00000000", &document,
                            &more, err);
    if (r == 0) {
        autofree char *text = spec_print(spec), *plan = json_dumps(document, JSON_COMPACT);
        *ret_json = text && plan ? format_text("{\"spec\":%s,\"plan\":{\"daemon\":\"%s\",\"create\":%s}}", text, d->host, plan) : NULL;
        r = *ret_json ? 0 : fail_memory(err);
    }
    json_decref(document);
    json_decref(more);
    spec_free(spec);
    return r;
}
