/* SPDX-License-Identifier: Apache-2.0 */
/*
 * create: a folder aside, filled, renamed into place. Nothing is mounted and nothing runs.
 *
 * A caller that dies leaves a draft, which the next sweep undoes. Volumes are made after the rename:
 * until then they would be without a user, and a start makes what a death in between left out.
 */
#include "local/inside.h"
#include "base/crash.h"
#include "base/file.h"
#include "local/want.h"
#include <stdio.h>
#include <sys/epoll.h>

struct create {
    struct local *c;
    struct store *store;
    struct spec *spec;
    struct store_draft *draft;
    struct compile compile;
    struct plan *plan;
    struct berth_handle handle;
    struct want *want;            /* images that are pulled first; NULL: all were here */
    struct work *work;            /* what its kind makes before the plan */
    int poll_fd;                  /* epoll of what is waited for, one after the other; -1: helper_fd alone */
    bool prepared;
    int helper_fd;                /* compiles the seccomp filter; -1: it is there */
    bool cancelled, committed;
};

/** A create that failed may have been the first on a network: its bridge has nobody then. */
static void leave_networks(struct create *j, const struct plan *plan)
{
    bool idle = false;
    for (size_t i = 0; plan && i < plan->n_links; i++)
        idle |= plan->links[i].network && network_idle(j->store, plan->links[i].network);
    if (idle)
        trash_helper(j->c);
}

static void create_free(void *data)
{
    struct create *j = data;
    const struct plan *plan = j->plan ? j->plan : j->compile.plan;
    bool failed = j->draft != NULL;
    store_draft_abandon(TAKE(j->draft));
    if (failed)
        leave_networks(j, plan);
    want_free(j->want);
    work_free(j->work);
    compile_clear(&j->compile);
    plan_free(j->plan);
    spec_free(j->spec);
    close_fd(&j->helper_fd);
    close_fd(&j->poll_fd);
    free(j);
}

static int write_file(int fd, const char *name, char *text, struct berth_error *err)
{
    int r = text ? file_write(fd, name, text, strlen(text), 0600, 0) : -ENOMEM;
    free(text);
    return r < 0 ? fail_os(err, r, name, "write %s", name) : 0;
}

static int write_status(int fd, const struct plan *plan, const struct store *store,
                        struct berth_error *err)
{
    struct status s = {.version = STATUS_VERSION, .state = BERTH_CREATED, .exit_code = -1,
                       .ready = !plan->readiness.argv, .created_usec = now_usec(),
                       .memory_limit = plan->limits.memory > 0 ? (uint64_t)plan->limits.memory : 0};
    snprintf(s.boot_id, sizeof(s.boot_id), "%s", store_boot_id(store));
    snprintf(s.cgroup, sizeof(s.cgroup), "%s/%s", plan->cgroup_parent, plan->id);
    return status_write_at(fd, &s, false, err);
}

static int use_images(struct create *j, struct berth_error *err)
{
    const char *id = store_draft_id(j->draft);
    int r = j->c->kind->on_host ? 0 : image_use(j->store, j->compile.image, id, err);
    for (size_t i = 0; r == 0 && i < j->compile.n_others; i++)
        r = image_use(j->store, j->compile.others[i], id, err);
    return r;
}

/** Everything that the folder holds. The lease on the image comes first: nobody removes it then. */
static int fill(struct create *j, struct berth_error *err)
{
    int fd = store_draft_fd(j->draft);
    int r = use_images(j, err);
    if (r == 0) {
        j->compile.plan = j->plan; /* plan_files reads it there */
        r = plan_files(&j->compile, fd, err);
        j->compile.plan = NULL;
    }
    if (r == 0)
        r = write_file(fd, SPEC_FILE, spec_print(j->spec), err);
    if (r == 0)
        r = write_file(fd, PLAN_FILE, plan_print(j->plan), err);
    if (r == 0)
        r = write_file(fd, FACTS_FILE, facts_print(j->spec, j->compile.image, j->plan), err);
    if (r == 0 && symlinkat(j->compile.image->reference, fd, IMAGE_LINK) < 0)
        r = fail_os(err, errno, NULL, "write %s", IMAGE_LINK);
    if (r == 0 && symlinkat(j->c->kind->name, fd, KIND_LINK) < 0)
        r = fail_os(err, errno, NULL, "write %s", KIND_LINK);
    if (r == 0)
        r = network_file_write(fd, j->spec, j->plan, err);
    return r < 0 ? r : write_status(fd, j->plan, j->store, err);
}

static int begin_filter(struct create *j, struct berth_error *err)
{
    char key[40];
    autofree char *text = NULL;
    int r = seccomp_profile(j->spec, j->plan->caps_bounding, &text, key, err);
    if (r < 0 || !text)
        return r;
    return seccomp_helper(j->c, j->store, text, key, j->plan->caps_bounding, &j->helper_fd, err);
}

static int begin(struct create *j, const char *json, struct berth_error *err)
{
    autoclean(cleanup_settings) struct settings *settings = NULL;
    int r = local_need("create", err);
    if (r < 0 || (r = settings_read(j->c, &settings, err)) < 0 || (r = settings_spec(settings, json, &j->spec, err)) < 0 ||
        (r = plan_refuse(j->c->kind, j->spec, err)) < 0 ||
        (r = local_store(j->c, true, &j->store, err)) < 0)
        return r;
    return want_begin(j->c, j->store, settings, j->spec, &j->want, err);
}

/** Everything is here that it is made of. */
static int prepare(struct create *j, struct berth_error *err)
{
    j->prepared = true;
    store_sweep(j->store, NULL);
    int r = store_draft_begin(j->store, j->spec->name, &j->draft, err);
    if (r < 0)
        return r;
    j->compile = (struct compile){.c = j->c, .kind = j->c->kind, .store = j->store, .spec = j->spec,
                                  .id = store_draft_id(j->draft),
                                  .name = store_draft_name(j->draft),
                                  .dir = store_draft_final_path(j->draft)};
    if ((r = compile_plan(&j->compile, &j->plan, err)) < 0 || (r = begin_filter(j, err)) < 0 ||
        (r = fill(j, err)) < 0)
        return r;
    j->handle = (struct berth_handle){};
    snprintf(j->handle.runtime, sizeof(j->handle.runtime), "%s", j->c->kind->name);
    hex_parse(store_draft_id(j->draft), j->handle.id, sizeof(j->handle.id));
    snprintf(j->handle.name, sizeof(j->handle.name), "%s", store_draft_name(j->draft));
    return 0;
}

static void undo(struct create *j)
{
    char id[BERTH_ID_TEXT];
    struct workload *w = NULL;
    berth_id_print(j->handle.id, id);
    if (workload_open(j->store, id, &w, NULL) < 0)
        return;
    if (change_lock_wait(j->c, w, NULL) == 0) {
        workload_remove_volumes(w, NULL);
        workload_discard(w, NULL);
        trash_helper(j->c);
    }
    workload_close(w);
}

static int commit(struct create *j, struct berth_error *err)
{
    char id[BERTH_ID_TEXT];
    int r = store_draft_commit(TAKE(j->draft), err);
    if (r < 0)
        return r;
    berth_id_print(j->handle.id, id);
    r = plan_volumes_make(j->store, j->plan, id, err);
    if (r < 0) {
        undo(j);
        return r;
    }
    j->committed = true;
    event_append(store_root_fd(j->store), "create", id, j->handle.name, NULL);
    return 0;
}

static int watch(struct create *j, int fd, struct berth_error *err)
{
    struct epoll_event event = {.events = EPOLLIN};
    if (fd < 0)
        return 0;
    if (j->poll_fd < 0)
        j->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    return j->poll_fd < 0 || (epoll_ctl(j->poll_fd, EPOLL_CTL_ADD, fd, &event) < 0 && errno != EEXIST)
         ? fail_os(err, errno, NULL, "epoll") : 0;
}

/** 1: everything was made that needs no waiting. */
static int make_ready(struct create *j, struct berth_error *err)
{
    int (*const first)(struct local *, struct store *, const struct spec *, struct work **, struct berth_error *) = j->c->kind->early;
    int r = first ? first(j->c, j->store, j->spec, &j->work, err) : 0;
    if (r < 0)
        return r;
    if (j->work)
        return watch(j, j->work->fd, err);
    r = prepare(j, err);
    if (r == 0 && j->poll_fd >= 0)
        r = watch(j, j->helper_fd, err);
    return r < 0 ? r : 1;
}

/** What its kind makes before the plan; then whether that was all. */
static int create_work(struct create *j, struct berth_error *err)
{
    int before = j->work->fd, r = j->work->step(j->work, err);
    if (r == 0 && j->work->fd != before)
        r = watch(j, j->work->fd, err);
    if (r <= 0)
        return r;
    epoll_ctl(j->poll_fd, EPOLL_CTL_DEL, before, NULL);
    work_free(TAKE(j->work));
    return make_ready(j, err);
}

/** 1: the images are here, and everything was made of them that needs no waiting. */
static int create_images(struct create *j, struct berth_error *err)
{
    int before = want_fd(j->want), r = want_step(j->want, err);
    if (r == 0 && want_fd(j->want) != before)
        r = watch(j, want_fd(j->want), err);
    if (r <= 0)
        return r;
    if (before >= 0) /* the first call stays, readable for ever */
        epoll_ctl(j->poll_fd, EPOLL_CTL_DEL, before, NULL);
    char *loaded = NULL;
    r = want_loaded(j->want, &loaded, err);
    if (r > 0) { /* the archive may be gone tomorrow: from here on the image in the store counts */
        free(j->spec->image);
        j->spec->image = loaded;
    }
    return r < 0 ? r : make_ready(j, err);
}

static int create_step(void *data, struct berth_result *ret, struct berth_error *err)
{
    struct create *j = data;
    if (j->cancelled)
        return fail(err, BERTH_CANCELLED, j->handle.name, "create %s: cancelled", j->handle.name);
    if (!j->prepared) {
        int r = j->work ? create_work(j, err) : create_images(j, err);
        if (r <= 0)
            return r;
    }
    if (j->helper_fd >= 0) {
        int r = helper_end(j->helper_fd, err);
        if (r == BERTH_AGAIN)
            return 0;
        close_fd(&j->helper_fd);
        if (r < 0)
            return fail_context(err, "create %s: security.seccomp", j->handle.name);
    }
    int r = commit(j, err);
    if (r < 0)
        return r;
    ret->handle = j->handle;
    return 1;
}

static void create_cancel(void *data)
{
    struct create *j = data;
    j->cancelled = true;
    if (j->want)
        want_cancel(j->want);
}

static int create_stream_fd(void *data, int stream)
{
    struct create *j = data;
    return stream == 2 && j->want ? want_progress_fd(j->want) : -1;
}

static void create_undo(void *data)
{
    struct create *j = data;
    if (j->committed)
        undo(j);
}

static const struct berth_call_ops create_ops = {
    .size = sizeof(create_ops), .step = create_step, .cancel = create_cancel, .free = create_free,
    .undo = create_undo, .stream_fd = create_stream_fd,
};

int local_create(void *self, const char *spec_json, struct berth_call **ret_call,
                     struct berth_error *err)
{
    struct create *j = calloc(1, sizeof(*j));
    if (!j)
        return fail_memory(err);
    j->c = self;
    j->helper_fd = j->poll_fd = -1;
    int r = begin(j, spec_json, err);
    if (r == 0)
        r = j->want ? watch(j, want_fd(j->want), err) : make_ready(j, err);
    if (r < 0) {
        create_free(j);
        return r;
    }
    return berth_call_new(&create_ops, j, j->poll_fd >= 0 ? j->poll_fd : j->helper_fd, ret_call, err);
}

int local_plan(void *self, const char *spec_json, char **ret_json, struct berth_error *err)
{
    static const char id[] = "00000000000000000000000000000000";
    struct spec *spec = NULL;
    struct plan *plan = NULL;
    autoclean(cleanup_settings) struct settings *settings = NULL;
    struct compile k = {.c = self, .kind = ((struct local *)self)->kind, .id = id, .dry = true};
    int r = settings_read(k.c, &settings, err);
    if (r == 0)
        r = settings_spec(settings, spec_json, &spec, err);
    if (r == 0)
        r = plan_refuse(k.kind, spec, err);
    if (r == 0)
        r = local_store(k.c, false, &k.store, err);
    autofree char *dir = r == 0 ? format_text("%s/workloads/%s", store_root(k.store), id) : NULL;
    k.spec = spec;
    k.name = spec && spec->name ? spec->name : "unnamed";
    k.dir = dir;
    if (r == 0)
        r = dir ? compile_plan(&k, &plan, err) : fail_memory(err);
    autofree char *spec_text = r == 0 ? spec_print(spec) : NULL;
    autofree char *plan_text = r == 0 ? plan_print(plan) : NULL;
    if (r == 0) {
        char *json = spec_text && plan_text
                         ? format_text("{\"spec\":%s,\"plan\":%s}", spec_text, plan_text) : NULL;
        if (json)
            *ret_json = json;
        else
            r = fail_memory(err);
    }
    compile_clear(&k);
    plan_free(plan);
    spec_free(spec);
    return r;
}
