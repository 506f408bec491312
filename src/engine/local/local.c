/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the engines share whose plans a supervisor of this machine executes: open, close, the store.
 */
#include "local/inside.h"
#include "engine/desk.h"
#include "linux/privilege.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>

int local_open_as(const struct local_kind *kind, const struct berth_options *options, void **ret_self,
                      struct berth_error *err)
{
    struct local *c = calloc(1, sizeof(*c));
    if (!c)
        return fail_memory(err);
    c->kind = kind;
    c->root = strdup(options->root);
    c->run = strdup(options->run);
    c->programs = strdup(options->programs);
    int r = settings_source_init(&c->settings, c->root, c->run, c->programs, options->config);
    pthread_mutex_init(&c->lock, NULL);
    pthread_mutex_init(&c->cache_lock, NULL);
    if (!c->root || !c->run || !c->programs || r < 0) {
        settings_source_clear(&c->settings);
        free(c->root);
        free(c->run);
        free(c->programs);
        free(c);
        return fail_memory(err);
    }
    *ret_self = c;
    return 0;
}

void local_close(void *self)
{
    struct local *c = self;
    cache_clear(c);
    store_close(c->store);
    cgroup_layout_free(c->layout);
    pthread_mutex_destroy(&c->lock);
    pthread_mutex_destroy(&c->cache_lock);
    settings_source_clear(&c->settings);
    free(c->root);
    free(c->run);
    free(c->programs);
    free(c);
}

int settings_text(struct local *c, char **ret_json, struct berth_error *err)
{
    struct store *store = NULL;
    (void)local_store(c, false, &store, NULL);
    return settings_source_text(&c->settings, store ? store_run_fd(store) : -1, ret_json, err);
}

int settings_read(struct local *c, struct settings **ret, struct berth_error *err)
{
    struct store *store = NULL;
    (void)local_store(c, false, &store, NULL);
    return settings_source_read(&c->settings, store ? store_run_fd(store) : -1, ret, err);
}

#define KINDS_MAX 66 /* ours, and as many as the registry has engines */

/** Filled from the front; what is there stays. */
static const struct local_kind *_Atomic kinds[KINDS_MAX] = {&container_kind, &wasm_kind};

const struct local_kind *kind_find(const char *name)
{
    const struct local_kind *kind;
    for (size_t i = 0; i < KINDS_MAX && (kind = kinds[i]); i++)
        if (!strcmp(kind->name, name))
            return kind;
    return NULL;
}

int kind_add(const struct local_kind *kind, struct berth_error *err)
{
    for (size_t i = 0; i < KINDS_MAX; i++) {
        const struct local_kind *there = NULL;
        if (atomic_compare_exchange_strong(&kinds[i], &there, kind))
            return 0;
        if (!strcmp(there->name, kind->name))
            return fail(err, BERTH_EXISTS, kind->name, "an engine called \"%s\" is there already", kind->name);
    }
    return fail(err, BERTH_TOO_BIG, kind->name, "more than %d engines", KINDS_MAX);
}

const struct local_kind *kind_of(struct workload *w)
{
    char name[32];
    ssize_t n = readlinkat(workload_fd(w), KIND_LINK, name, sizeof(name) - 1);
    name[MAX(n, 0)] = 0;
    return n > 0 ? kind_find(name) : &container_kind;
}

int local_workload(struct store *store, const char *id, struct workload **ret, struct berth_error *err)
{
    struct workload *w;
    int r = workload_open(store, id, &w, err);
    if (r < 0)
        return r;
    if (!kind_of(w)) {
        workload_close(w);
        return fail(err, BERTH_NOT_FOUND, id, "workload %.12s is another engine's", id);
    }
    *ret = w;
    return 0;
}

int work_wait(struct work *work, struct berth_error *err)
{
    int r;
    while ((r = work->step(work, err)) == 0) {
        struct pollfd p = {.fd = work->fd, .events = POLLIN};
        (void)RETRY(poll(&p, 1, -1));
    }
    return r < 0 ? r : 0;
}

void work_free(struct work *work)
{
    if (work)
        work->free(work);
}

void exec_program_clear(struct exec_program *p)
{
    strings_free(p->argv);
    free(p->shown);
    while (p->n_files)
        close_fd(&p->files[--p->n_files]);
}

/** Their images, volumes and networks are the same things of one store. */
int local_self(struct berth_runtime *runtime, struct local **ret, struct berth_error *err)
{
    void *self;
    int r = berth_runtime_self(runtime, &wasm_engine, &self, NULL);
    if (r < 0)
        r = berth_runtime_self(runtime, &container_engine, &self, err);
    if (r == 0)
        *ret = self;
    return r;
}

struct low_fds low_fds_occupy(void)
{
    struct low_fds low = {{-1, -1, -1}};
    for (size_t i = 0; i < ARRAY_SIZE(low.fds); i++) {
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0 || fd > STDERR_FILENO) {
            cleanup_close(&fd);
            break;
        }
        low.fds[i] = fd;
    }
    return low;
}

void low_fds_release(struct low_fds *low)
{
    for (size_t i = 0; i < ARRAY_SIZE(low->fds); i++)
        close_fd(&low->fds[i]);
}

int local_store(struct local *c, bool make, struct store **ret_store, struct berth_error *err)
{
    int r = 0;
    pthread_mutex_lock(&c->lock);
    if (!c->store) {
        struct low_fds low = low_fds_occupy();
        r = store_open(c->root, c->run, make, &c->store, err);
        low_fds_release(&low);
    }
    *ret_store = c->store;
    pthread_mutex_unlock(&c->lock);
    return r;
}

int local_layout(struct local *c, const struct cgroup_layout **ret_layout,
                     struct berth_error *err)
{
    int r = 0;
    pthread_mutex_lock(&c->lock);
    if (!c->layout) {
        struct low_fds low = low_fds_occupy();
        r = cgroup_layout_read(&c->layout, err);
        low_fds_release(&low);
    }
    *ret_layout = c->layout;
    pthread_mutex_unlock(&c->lock);
    return r;
}

int local_need(const char *verb, struct berth_error *err)
{
    static const int needed[] = {CAP_SYS_ADMIN, CAP_CHOWN,    CAP_DAC_OVERRIDE, CAP_FOWNER,
                                 CAP_SETUID,    CAP_SETGID,   CAP_SETPCAP,      CAP_KILL,
                                 CAP_MKNOD,     CAP_SYS_CHROOT};
    uint64_t mask = 0;
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        mask |= UINT64_C(1) << needed[i];
    return capability_need(mask, verb, err);
}

int local_get(struct local *c, const struct berth_handle *h, struct workload **ret,
                  struct berth_error *err)
{
    char id[BERTH_ID_TEXT];
    struct store *store;
    berth_id_print(h->id, id);
    int r = local_store(c, false, &store, err);
    if (r == 0)
        r = local_workload(store, id, ret, err);
    return r == BERTH_NOT_FOUND ? fail(err, r, h->name, "no workload \"%s\" (%.12s)", h->name, id) : r;
}

void local_handle(struct workload *w, struct berth_handle *ret)
{
    *ret = (struct berth_handle){0};
    snprintf(ret->runtime, sizeof(ret->runtime), "%s", kind_of(w)->name);
    hex_parse(workload_id(w), ret->id, sizeof(ret->id));
    if (workload_name(w, ret->name, NULL) < 0)
        snprintf(ret->name, sizeof(ret->name), "%.12s", workload_id(w));
}
