/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exec: one more berth-wasm in the workload's sandbox. The same module with other arguments, an export of it,
 * or another module of the workload's root, which is compiled first. It does not see the live instance's memory.
 */
#include "wasm/inside.h"
#include <fcntl.h>
#include <stdio.h>

static int refuse(const struct berth_exec_options *o, char *const *argv, struct berth_error *err)
{
    if (o->tty)
        return fail(err, BERTH_UNSUPPORTED, "tty", "exec: WASI has no terminals; leave -t away");
    if (o->privileged)
        return fail(err, BERTH_UNSUPPORTED, "privileged", "exec: a module reaches nothing that privileges would open");
    return check_utf8("exec", argv, err);
}

/** Its files as it sees them, mounts included. */
static int open_root(struct workload *w, int *ret_fd, struct berth_error *err)
{
    struct status status;
    bool alive;
    char path[40];
    int r = workload_status_read(w, &status, &alive, err);
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "/proc/%d/root", status.pid);
    *ret_fd = alive && status.pid > 0 ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    if (alive && status.state == BERTH_RUNNING && status.pid == 0)
        return fail(err, BERTH_WRONG_STATE, "idle", "exec: it is idle, and its files are there only while it runs: ask it something "
                    "first, or call an export of its own module (--invoke), which wakes it");
    return *ret_fd < 0 ? wrong_state(w, "exec", status.state, err) : 0;
}

/** The files of the plan that it reads, with its own code in place of the plan's. */
static int other_files(struct work *done, const struct plan *plan, struct code *ret_code, struct exec_program *ret,
                       struct berth_error *err)
{
    int r = compiled(done, &ret->files[0], ret_code, err);
    ret->n_files = r == 0;
    if (r < 0 || plan->n_files <= FILE_ROOTS)
        return r;
    const char *path = plan->files[FILE_ROOTS].path;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return fail_os(err, errno, path, "open %s", path);
    ret->files[ret->n_files++] = fd;
    return 0;
}

/** Code of a module that is not the workload's own: compiled for this exec, kept by nobody. */
static int other_module(struct local *c, struct workload *w, const char *path, struct work **ret_work, struct berth_error *err)
{
    autoclean(cleanup_module) struct module *m = NULL;
    autoclose int root_fd = -1;
    int r = open_root(w, &root_fd, err);
    if (r == 0)
        r = module_open(root_fd, path, &m, err);
    if (r == 0 && !(m->name = strdup(path)))
        r = fail_memory(err);
    return r < 0 ? r : compile_begin(c, c->store, m, (struct code_kind){0}, ret_work, err);
}

static bool is_served(const struct plan *plan)
{
    return plan->argv[0] && plan->argv[1] && !strcmp(plan->argv[1], "serve");
}

static char *shown(const char *const *argv, const char *call)
{
    struct text t = {0};
    text_add(&t, call ? call : "");
    for (size_t i = 0; argv[i] && !call; i++)
        text_printf(&t, "%s%s", i ? " " : "", argv[i]);
    return text_take(&t);
}

int wasm_program(struct local *c, struct workload *w, const char *const *argv, const struct berth_exec_options *o,
                 struct work *done, struct exec_program *ret, struct work **ret_work, struct berth_error *err)
{
    autoclean(cleanup_plan) struct plan *plan = NULL;
    autoclean(code_clear) struct code code = {0};
    struct worker worker = {0};
    bool other = strchr(argv[0], '/');
    int r = refuse(o, (char *const *)argv, err);
    if (r == 0)
        r = document_plan(w, &plan, err);
    if (r == 0 && other)
        r = done ? other_files(done, plan, &code, ret, err) : other_module(c, w, argv[0], ret_work, err);
    else if (r == 0 && is_served(plan) && !o->invoke)
        r = fail(err, BERTH_UNSUPPORTED, argv[0], "exec: its module answers requests and is no command; call an export of it "
                 "(--invoke), or give the path of another module in its root");
    if (r < 0 || *ret_work)
        return r;
    worker_again(&worker, plan->argv, other ? &code : NULL, o->invoke, (char *const *)argv);
    ret->argv = worker.argv;
    ret->shown = shown(argv, o->invoke);
    return worker.failed || !ret->shown ? fail_memory(err) : 0;
}
