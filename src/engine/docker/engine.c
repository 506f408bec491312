/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine "docker": its table, the runtime, and a workload's folder.
 */
#include "docker/inside.h"
#include "engine/desk.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static char *setting(const char *name, const char *otherwise)
{
    const char *text = secure_getenv(name);
    text = text && *text ? text : otherwise;
    return text ? strdup(text) : NULL;
}

static void docker_close(void *self)
{
    struct docker *d = self;
    while (d->daemons) {
        struct daemon *daemon = d->daemons;
        d->daemons = daemon->next;
        daemon_free(daemon);
    }
    store_close(d->store);
    pthread_mutex_destroy(&d->lock);
    settings_source_clear(&d->settings);
    glance_free(d->glance);
    free(d->certs);
    free(d->host);
    free(d->programs);
    free(d->run);
    free(d->root);
    free(d);
}

static int docker_open(const struct berth_options *options, void **ret_self, struct berth_error *err)
{
    struct docker *d = calloc(1, sizeof(*d));
    if (!d)
        return fail_memory(err);
    pthread_mutex_init(&d->lock, NULL);
    d->root = strdup(options->root);
    d->run = strdup(options->run);
    d->programs = strdup(options->programs);
    d->host = setting("DOCKER_HOST", DEFAULT_HOST);
    d->certs = setting("DOCKER_CERT_PATH", NULL);
    int r = settings_source_init(&d->settings, d->root, d->run, d->programs, options->config);
    if (!d->root || !d->run || !d->programs || !d->host || r < 0) {
        docker_close(d);
        return fail_memory(err);
    }
    *ret_self = d;
    return 0;
}

const struct berth_engine docker_engine = {
    .size = sizeof(docker_engine), .abi_version = BERTH_ABI_VERSION, .name = ENGINE_NAME,
    .open = docker_open, .close = docker_close,
    .create = docker_create, .start = docker_start, .stop = docker_stop, .remove = docker_remove,
    .status = docker_status, .logs = docker_logs, .exec = docker_exec, .stats = docker_stats,
    .resolve_host_port = docker_host_port, .resolve_container_address = docker_address,
    .find = docker_find, .list = docker_list, .wait = docker_wait, .signal = docker_signal, .attach = docker_attach,
    .pause = docker_pause, .unpause = docker_unpause, .update = docker_update, .rename = docker_rename,
    .restart = docker_restart, .events = docker_events, .inspect = docker_inspect, .exec_list = docker_exec_list,
    .exec_kill = docker_exec_kill, .plan = docker_plan, .status_call = docker_status_call,
};

/* ---- what a runtime has */

int docker_store(struct docker *d, bool make, struct store **ret_store, struct berth_error *err)
{
    int r = 0;
    pthread_mutex_lock(&d->lock);
    if (!d->store)
        r = store_open(d->root, d->run, make, &d->store, err);
    *ret_store = d->store;
    pthread_mutex_unlock(&d->lock);
    return r;
}

static bool is_at(const struct daemon *daemon, const char *host, const char *certs)
{
    return !strcmp(daemon->host, host) && !strcmp(daemon->certs ? daemon->certs : "", certs ? certs : "");
}

struct daemon *docker_daemon(struct docker *d, const char *host, const char *certs)
{
    pthread_mutex_lock(&d->lock);
    struct daemon *daemon = d->daemons;
    while (daemon && !is_at(daemon, host, certs))
        daemon = daemon->next;
    if (!daemon && (daemon = daemon_new(host, certs, d->programs))) {
        daemon->next = d->daemons;
        d->daemons = daemon;
    }
    pthread_mutex_unlock(&d->lock);
    return daemon;
}

/* ---- a workload's folder */

void box_link(const struct box *b, const char *name, char *ret, size_t room)
{
    ssize_t n = readlinkat(workload_fd(b->folder), name, ret, room - 1);
    ret[MAX(n, 0)] = '\0';
}

int box_set_link(const struct box *b, const char *name, const char *text)
{
    int fd = workload_fd(b->folder);
    char aside[32];
    if (!text)
        return unlinkat(fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
    if (symlinkat(text, fd, name) == 0)
        return 0;
    snprintf(aside, sizeof(aside), ".%s", name);
    unlinkat(fd, aside, 0);
    return symlinkat(text, fd, aside) < 0 || renameat(fd, aside, fd, name) < 0 ? -errno : 0;
}

static int box_fill(struct docker *d, const char *id, struct box *b, struct berth_error *err)
{
    char host[512], certs[512], runtime[32];
    b->docker = d;
    b->store = d->store;
    int r = workload_open(d->store, id, &b->folder, err);
    if (r < 0)
        return r;
    box_link(b, RUNTIME_LINK, runtime, sizeof(runtime));
    if (strcmp(runtime, ENGINE_NAME))
        return fail(err, BERTH_NOT_FOUND, id, "no workload %.12s", id);
    box_link(b, CONTAINER_LINK, b->container, sizeof(b->container));
    box_link(b, DAEMON_LINK, host, sizeof(host));
    box_link(b, CERTS_LINK, certs, sizeof(certs));
    if (!*b->container || !*host)
        return fail(err, BERTH_CORRUPT, id, "%s: its links are damaged", workload_path(b->folder));
    snprintf(b->handle.runtime, sizeof(b->handle.runtime), "%s", ENGINE_NAME);
    hex_parse(id, b->handle.id, sizeof(b->handle.id));
    if (workload_name(b->folder, b->handle.name, NULL) < 0)
        snprintf(b->handle.name, sizeof(b->handle.name), "%.12s", id);
    b->daemon = docker_daemon(d, host, *certs ? certs : NULL);
    return b->daemon ? 0 : fail_memory(err);
}

int box_open_id(struct docker *d, const char *id, struct box *ret, struct berth_error *err)
{
    struct store *store;
    *ret = (struct box){0};
    int r = docker_store(d, false, &store, err);
    return r < 0 ? r : box_fill(d, id, ret, err);
}

int box_open(struct docker *d, const struct berth_handle *h, struct box *ret, struct berth_error *err)
{
    char id[BERTH_ID_TEXT];
    berth_id_print(h->id, id);
    int r = box_open_id(d, id, ret, err);
    return r == BERTH_NOT_FOUND ? fail(err, r, h->name, "no workload \"%s\" (%.12s)", h->name, id) : r;
}

void box_close(struct box *b)
{
    workload_close(b->folder);
    b->folder = NULL;
}

int box_spec(const struct box *b, struct spec **ret, struct berth_error *err)
{
    autofree char *text = NULL;
    size_t size;
    int r = workload_read(b->folder, SPEC_FILE, SPEC_MAX_BYTES, &text, &size, err);
    return r < 0 ? r : spec_parse(text, size, ret, err);
}

void box_event(const struct box *b, const char *type, const char *attributes_json)
{
    char id[BERTH_ID_TEXT];
    berth_id_print(b->handle.id, id);
    event_append(store_root_fd(b->store), type, id, b->handle.name, attributes_json);
}

void box_discard(struct box *b)
{
    if (workload_lock_change(b->folder, NULL) < 0)
        return; /* somebody else is at it */
    if (workload_discard(b->folder, NULL) < 0)
        return;
    box_event(b, "remove", NULL);
    workload_delete_small(b->folder);
}

int box_ask(const struct box *b, const char *method, const char *rest, const char *verb, json_t **ret_json,
            struct berth_error *err)
{
    autorequest r = {.method = method, .path = format_text("/containers/%s%s", b->container, rest)};
    int code = daemon_ask(b->daemon, &r, err);
    if (code < 0)
        return fail_context(err, "%s %s", verb, b->handle.name), code;
    return ret_json ? answer_json(&r, verb, b->handle.name, ret_json, err)
                    : answer_judge(&r, verb, b->handle.name, err);
}

int box_inspect(const struct box *b, const char *verb, json_t **ret_json, struct berth_error *err)
{
    return box_ask(b, "GET", "/json", verb, ret_json, err);
}
