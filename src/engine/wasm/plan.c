/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a spec and a module to a plan: the same sandbox as a container's, with berth-wasm in it.
 *
 * The worker is executed by descriptor, its code and its page are descriptors, so that nothing of ours is in
 * the guest's root. What a guest may open are the plan's mounts: read-only by the mount and by the engine.
 */
#include "wasm/inside.h"
#include "base/file.h"
#include "linux/privilege.h"
#include "model/allowed.h"
#include "model/roots.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/socket.h>

#define PORT_USUAL 8080
#define HEADROOM (8ull << 20) /* of a worker that has begun: 5 MiB and what the kernel counts for it */
#define BACKLOG 4096
#define DRAIN_USEC UINT64_C(86400000000) /* the supervisor's deadline is the one that counts */

/* ---- what a module has not */

static int unsupported(struct berth_error *err, const char *field, const char *why)
{
    return fail(err, BERTH_UNSUPPORTED, field, "%s: %s", field, why);
}

static int check_hosts(char *const *rules, struct berth_error *err)
{
    struct allowed_rule rule;
    for (size_t i = 0; rules && rules[i]; i++)
        if (allowed_parse(rules[i], &rule, err) < 0)
            return fail_context(err, "wasm.allowed_hosts[%zu]", i), BERTH_INVALID;
    return 0;
}

int wasm_refuse(const struct spec *s, struct berth_error *err)
{
    const struct { bool set; const char *field, *why; } rows[] = {
        {s->tty, "tty", "WASI has no terminals; leave -t away"},
        {s->init, "init", "a module starts no processes"},
        {s->security.privileged, "security.privileged", "a module reaches nothing that privileges would open"},
        {s->security.n_devices > 0, "security.devices", "WASI has no devices"},
        {s->security.device_rules != NULL, "security.device_rules", "WASI has no devices"},
        {s->resources.devices_cdi != NULL, "resources.devices", "WASI has no devices"},
        {s->resources.shm_size > 0, "resources.shm_size", "a module has no /dev/shm"},
        {s->sysctls.n > 0, "sysctls", "a module sees no kernel settings"},
        {s->health.shell != NULL, "health.shell", "there is no shell; give a command"},
        {s->readiness.shell != NULL, "readiness.shell", "there is no shell; give a command"},
        {s->liveness.shell != NULL, "liveness.shell", "there is no shell; give a command"},
        {s->namespaces.userns != NULL && strcmp(s->namespaces.userns, "host"), "namespaces.userns", "not for modules"},
    };
    if (!s->image)
        return fail(err, BERTH_INVALID, "image", "image: a module is needed: a file, or an artifact's name");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].set)
            return unsupported(err, rows[i].field, rows[i].why);
    return check_hosts(s->wasm.allowed_hosts, err);
}

static int check_word(const char *field, const char *value, const char *const *words, struct berth_error *err)
{
    for (size_t i = 0; words[i]; i++)
        if (!value || !strcmp(value, words[i]))
            return 0;
    return fail(err, BERTH_INVALID, field, "%s: \"%.40s\" is neither %s nor %s", field, value, words[0], words[1]);
}

int check_utf8(const char *field, char *const *list, struct berth_error *err)
{
    for (size_t i = 0; list && list[i]; i++)
        if (!utf8_valid(list[i], strlen(list[i])))
            return fail(err, BERTH_INVALID, field, "%s: \"%.60s\" is not UTF-8, and a module knows no other text", field, list[i]);
    return 0;
}

/* ---- the module */

static const char *first_word(const struct spec *s)
{
    char *const *lists[] = {s->entrypoint, s->command, s->entrypoint || s->command ? s->args : NULL};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        if (lists[i] && lists[i][0])
            return lists[i][0];
    return NULL;
}

static int find_image(struct store *store, const struct settings *settings, const struct spec *spec, struct image **ret,
                      struct berth_error *err)
{
    int r = image_find(store, &settings->images, spec->image, ret, err);
    if (r == 0 && !*(*ret)->reference) { /* it has no name: then its id is one */
        free((*ret)->reference);
        (*ret)->reference = strdup((*ret)->id);
        r = (*ret)->reference ? 0 : fail_memory(err);
    }
    if (r == 0 && !(*ret)->layers[0])
        r = fail(err, BERTH_INVALID, "image", "image: %s is empty", (*ret)->reference);
    return r;
}

/** A program that the spec names by its path and that is not there: as with a container, that is start's to say. */
static bool is_for_start(const struct spec *spec, int code)
{
    const char *word = first_word(spec);
    return (code == BERTH_NO_PROGRAM || code == BERTH_NOT_EXECUTABLE) && word && strchr(word, '/');
}

/** In which form its code is wanted: of a text module only a compiled one tells that. */
static int choose_kind(struct local *c, struct store *store, const struct spec *spec, const struct module *m, struct code_kind *ret,
                       struct berth_error *err)
{
    autoclean(code_clear) struct code code = {0};
    const char *why;
    *ret = code_kind_of(spec, m->look, NULL);
    int r = m->look == LOOK_TEXT && !ret->serve ? code_find(c, store, m->key, *ret, &code, &why, err) : 0;
    if (r > 0)
        *ret = code_kind_of(spec, m->look, code.guest);
    return MIN(r, 0);
}

int wasm_prepare(struct local *c, struct store *store, const struct spec *spec, struct work **ret, struct berth_error *err)
{
    autoclean(cleanup_image) struct image *image = NULL;
    autoclean(cleanup_module) struct module *m = NULL;
    autoclean(code_clear) struct code code = {0};
    struct code_kind kind;
    const char *why;
    autoclean(cleanup_settings) struct settings *settings = NULL;
    int r = settings_read(c, &settings, err);
    if (r == 0)
        r = find_image(store, settings, spec, &image, err);
    if (r == 0)
        r = module_find(c, store, image, first_word(spec), &m, err);
    if (r == 0)
        r = choose_kind(c, store, spec, m, &kind, err);
    if (r == 0)
        r = code_find(c, store, m->key, kind, &code, &why, err);
    return r != 0 ? MIN(r, 0) : compile_begin(c, store, m, kind, ret, err);
}

int wasm_early(struct local *c, struct store *store, const struct spec *spec, struct work **ret, struct berth_error *err)
{
    struct berth_error mine = {0};
    int r = wasm_prepare(c, store, spec, ret, &mine);
    if (r < 0 && err)
        *err = mine;
    return is_for_start(spec, r) ? 0 : r;
}

bool wasm_whole(struct local *c, const struct plan *plan, const char **ret_why)
{
    *ret_why = "missing";
    return plan->n_files > FILE_CODE && plan->files[FILE_CODE].path && code_is_ours(c, plan->files[FILE_CODE].path, ret_why);
}

void wasm_discard(struct local *c, const struct plan *plan)
{
    if (plan->n_files > FILE_CODE && plan->files[FILE_CODE].path)
        code_remove(c->store, plan->files[FILE_CODE].path);
}

/** --dry-run of a file: what importing it would give, without making anything. */
static int find_dry(struct compile *k, struct berth_error *err)
{
    const char *path = k->spec->image, *slash = strrchr(path, '/');
    struct image *image = k->image = calloc(1, sizeof(*image));
    static const char *const none[] = {NULL};
    if (!image || !(image->reference = strdup(slash + 1)) || !(image->id = strdup("")) || !(image->layers = strings_copy(none)) ||
        !(image->diff_ids = strings_copy(none)) || !(image->config.entrypoint = strings_copy((const char *const[]){slash + 1, NULL})))
        return fail_memory(err);
    int r = module_open(AT_FDCWD, path, &k->module, err);
    if (r < 0)
        return r;
    k->module->alone = true;
    k->module->name = strdup(slash + 1);
    k->module->key = strdup("not-imported");
    return k->module->name && k->module->key ? 0 : fail_memory(err);
}

/** A service's port is one that its image exposes: for -P. */
static int expose(struct compile *k, struct berth_error *err)
{
    struct code_kind kind;
    char port[16];
    int r = choose_kind(k->c, k->store, k->spec, k->module, &kind, err);
    if (r < 0 || !kind.serve)
        return r;
    snprintf(port, sizeof(port), "%u/tcp", k->spec->wasm.port ? k->spec->wasm.port : PORT_USUAL);
    return strings_add(&k->image->config.exposed_ports, port) < 0 ? fail_memory(err) : 0;
}

int wasm_find(struct compile *k, struct berth_error *err)
{
    k->free_module = module_free;
    if (k->dry && strchr("./", k->spec->image[0]) && strchr(k->spec->image, '/'))
        return find_dry(k, err);
    int r = find_image(k->store, k->settings, k->spec, &k->image, err);
    struct berth_error mine = {0};
    if (r < 0)
        return r;
    r = module_find(k->c, k->store, k->image, first_word(k->spec), &k->module, &mine);
    if (is_for_start(k->spec, r))
        return 0;
    if (r < 0 && err)
        *err = mine;
    r = r < 0 ? r : expose(k, err);
    if (r < 0 || !k->module->alone || (k->image->config.entrypoint && k->image->config.entrypoint[0]))
        return r;
    strings_free(k->image->config.entrypoint);
    k->image->config.entrypoint = strings_copy((const char *const[]){k->module->name, NULL});
    return k->image->config.entrypoint ? 0 : fail_memory(err);
}

/* ---- groups that differ from a container's */

static int plan_guest(struct compile *k, struct berth_error *err)
{
    static const char *const kinds[] = {"module", "component", NULL}, *const triggers[] = {"command", "http", NULL};
    int r = check_word("wasm.kind", k->spec->wasm.kind, kinds, err);
    if (r == 0)
        r = check_word("wasm.trigger", k->spec->wasm.trigger, triggers, err);
    if (r == 0)
        r = plan_program(k, err);
    if (r == 0)
        r = check_utf8("args", k->plan->argv, err);
    if (r == 0)
        r = check_utf8("env", k->plan->env, err);
    return r == 0 ? local_program(k->c, WORKER_PROGRAM, &k->plan->program, err) : r;
}

static int guest_security(struct compile *k, struct berth_error *err)
{
    struct plan *p = k->plan;
    int r = plan_security(k, err);
    if (r < 0)
        return r;
    p->no_new_privileges = true;
    strings_free(p->masked_paths); /* there is neither /proc nor /sys to mask */
    strings_free(p->read_only_paths);
    p->masked_paths = p->read_only_paths = NULL;
    return 0;
}

static int guest_storage(struct compile *k, struct berth_error *err)
{
    int r = plan_storage(k, err);
    k->plan->root.read_only = true;
    if (!k->module || k->module->alone) { /* its layer is the module, not files */
        strings_free(k->plan->root.layers);
        k->plan->root.layers = NULL;
    }
    return r;
}

/* ---- the worker's argv */

void worker_word(struct worker *w, const char *word)
{
    w->failed |= strings_add(&w->argv, word) < 0;
}

void worker_option(struct worker *w, const char *name, const char *value)
{
    if (!value)
        return;
    worker_word(w, name);
    worker_word(w, value);
}

void worker_number(struct worker *w, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
    worker_option(w, name, value ? text : NULL);
}

void worker_list(struct worker *w, const char *name, char *const *values)
{
    for (size_t i = 0; values && values[i]; i++)
        worker_option(w, name, values[i]);
}

/** Options of the main worker that one more instance has not, or not the same. */
static bool option_is_own(const char *name, bool other_code)
{
    static const char *const own[] = {"--code", "--page", "--roots", "--call", "--max-concurrency", "--queue", "--reuse", "--idle-timeout",
                                      "--access-log", "--drain-time"};
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (!strcmp(name, own[i]))
            return true;
    return other_code && (!strcmp(name, "--needs") || !strcmp(name, "--profile"));
}

void worker_again(struct worker *w, char *const *plan_argv, const struct code *code, const char *call, char *const *guest_argv)
{
    worker_word(w, WORKER_PROGRAM);
    worker_word(w, call ? "invoke" : "run");
    worker_option(w, "--code", "3");
    worker_option(w, "--needs", code ? code->needs : NULL);
    worker_option(w, "--call", call);
    for (char *const *a = plan_argv + 2; a[0] && a[1] && strcmp(a[0], "--"); a += 2) {
        if (!option_is_own(a[0], code != NULL))
            worker_option(w, a[0], a[1]);
        if (!strcmp(a[0], "--roots"))
            worker_option(w, a[0], "4"); /* of the plan's files only those to read are handed over */
    }
    worker_word(w, "--");
    for (size_t i = 0; guest_argv[i]; i++)
        worker_word(w, guest_argv[i]);
}

/* ---- what the guest may open */

struct folder { char *path; bool writable; };

/** The folder that a mount is for a guest: itself, or the one that a single file lies in. */
static char *folder_of(const struct plan_mount *m)
{
    const char *slash = strrchr(m->target, '/');
    return !m->is_file ? strdup(m->target) : slash == m->target ? strdup("/") : strndup(m->target, (size_t)(slash - m->target));
}

static int add_folder(struct folder *folders, size_t *n, const struct plan_mount *m)
{
    char *path = folder_of(m);
    if (!path)
        return -ENOMEM;
    bool writable = !(m->flags & MS_RDONLY);
    for (size_t i = 0; i < *n; i++)
        if (!strcmp(folders[i].path, path)) {
            folders[i].writable |= writable;
            free(path);
            return 0;
        }
    folders[(*n)++] = (struct folder){path, writable};
    return 0;
}

static void worker_folders(struct worker *w, const struct plan *p, bool whole_root)
{
    autofree struct folder *folders = calloc(p->n_mounts + 1, sizeof(*folders));
    size_t n = 0;
    w->failed |= !folders;
    if (folders && whole_root)
        w->failed |= !(folders[n++].path = strdup("/"));
    for (size_t i = 0; !w->failed && i < p->n_mounts; i++)
        w->failed |= add_folder(folders, &n, &p->mounts[i]) < 0;
    for (size_t i = 0; folders && i < n; i++) {
        if (!w->failed)
            worker_option(w, folders[i].writable ? "--dir" : "--dir-ro", folders[i].path);
        free(folders[i].path);
    }
}

static void worker_gateway(struct worker *w, const char *gateway)
{
    autofree char *address = gateway ? strndup(gateway, strcspn(gateway, "/")) : NULL;
    worker_option(w, "--gateway", address);
}

static void worker_names(struct worker *w, struct compile *k, struct berth_error *err)
{
    const struct spec *s = k->spec;
    autostrings char **servers = NULL;
    if (!s->wasm.allowed_hosts)
        return;
    w->failed |= plan_nameservers(k, &servers, err) < 0;
    worker_list(w, "--nameserver", servers);
    worker_option(w, "--host", "localhost=127.0.0.1");
    for (size_t i = 0; i < k->plan->n_links; i++) {
        worker_gateway(w, k->plan->links[i].gateway);
        worker_gateway(w, k->plan->links[i].gateway6);
    }
    for (size_t i = 0; i < s->n_hosts; i++) {
        const char *gateway = k->plan->n_links && k->plan->links[0].gateway ? k->plan->links[0].gateway : "127.0.0.1";
        const char *address = strcmp(s->hosts[i].address, "host-gateway") ? s->hosts[i].address : gateway;
        autofree char *host = format_text("%s=%.*s", s->hosts[i].name, (int)strcspn(address, "/"), address);
        w->failed |= !host;
        worker_option(w, "--host", host);
    }
}

/** Of the group's memory for the guest: the worker's own is beside it. Where both had the same limit, the kernel would
 *  swap and reclaim for the guest until it killed somebody, in place of a growth that is refused in words. */
static uint64_t guest_memory(const struct spec *s)
{
    uint64_t all = s->resources.has_memory ? s->resources.memory : 0;
    return all - MIN(all / 2, HEADROOM + all / 16);
}

static void worker_limits(struct worker *w, const struct spec *s, bool serve)
{
    uint64_t all = guest_memory(s);
    worker_number(w, "--memory", s->wasm.memory ? s->wasm.memory : all);
    worker_number(w, "--memory-total", s->wasm.memory_total ? s->wasm.memory_total : serve ? all : 0);
    worker_number(w, "--call-time", s->wasm.time_limit_usec > 0 ? (uint64_t)s->wasm.time_limit_usec : 0);
    worker_number(w, "--fuel", s->wasm.fuel);
    worker_option(w, "--sockets", s->wasm.sockets ? "yes" : NULL);
    worker_list(w, "--allow", s->wasm.allowed_hosts);
    if (!serve)
        return;
    worker_number(w, "--max-concurrency", s->wasm.max_concurrency);
    worker_number(w, "--queue", s->wasm.queue);
    worker_number(w, "--reuse", s->wasm.reuse);
    worker_number(w, "--idle-timeout", s->wasm.idle_timeout_usec > 0 ? (uint64_t)s->wasm.idle_timeout_usec : 0);
    worker_option(w, "--access-log", s->wasm.access_log ? "yes" : NULL);
    worker_number(w, "--drain-time", DRAIN_USEC);
}

/* ---- descriptors */

static int add_files(struct plan *p, const char *code_path, const char *roots_path)
{
    p->files = calloc(3, sizeof(*p->files));
    if (!p->files)
        return -ENOMEM;
    p->n_files = roots_path ? 3 : 2;
    p->files[FILE_CODE] = (struct plan_file){.name = strdup("code"), .path = strdup(code_path)};
    p->files[FILE_PAGE] = (struct plan_file){.name = strdup(PAGE_FILE), .size = sizeof(struct berth_wasm_page)};
    if (roots_path)
        p->files[FILE_ROOTS] = (struct plan_file){.name = strdup("roots"), .path = realpath(roots_path, NULL)};
    for (size_t i = 0; i < p->n_files; i++)
        if (!p->files[i].name || (!p->files[i].path && !p->files[i].size))
            return -ENOMEM;
    return 0;
}

static void count_root(void *to, const uint8_t *der, size_t length)
{
}

/** The file is read again at each start; a wrong one would then only be a certificate that nobody knows. */
static int check_roots(const char *path, struct berth_error *err)
{
    autofree char *pem = NULL;
    size_t length;
    int r = path ? file_read(AT_FDCWD, path, ROOTS_MAX_BYTES, &pem, &length) : 0;
    if (r < 0)
        return fail(err, BERTH_INVALID, "wasm.tls_roots", "wasm.tls_roots: %s: %s", path, strerror(-r));
    if (path && roots_parse(pem, length, count_root, NULL) <= 0)
        return fail(err, BERTH_INVALID, "wasm.tls_roots", "wasm.tls_roots: %s has no certificates in PEM", path);
    return 0;
}

/** The service's own socket, before those of the spec. */
static int add_socket(struct plan *p, const struct spec *s)
{
    struct plan_socket *more = realloc(p->sockets, (p->n_sockets + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    p->sockets = more;
    memmove(more + 1, more, p->n_sockets++ * sizeof(*more));
    more[0] = (struct plan_socket){.name = strdup("http"), .type = SOCK_STREAM, .backlog = BACKLOG,
                                   .port = s->wasm.port ? s->wasm.port : PORT_USUAL, .on_demand = s->wasm.idle_timeout_usec > 0};
    p->begin_running = more[0].on_demand; /* a missing import is start's to tell, not the first request's */
    return more[0].name ? 0 : -ENOMEM;
}

/* ---- the whole */

static int check_guest(const struct compile *k, const struct code *code, bool serve, struct berth_error *err)
{
    const struct spec *s = k->spec;
    const char *name = k->module->name, *guest = code->guest;
    bool component = k->module->look == LOOK_COMPONENT || k->module->look == LOOK_HTTP;
    if (s->wasm.kind && k->module->look != LOOK_TEXT && component != !strcmp(s->wasm.kind, "component"))
        return fail(err, BERTH_INVALID, "wasm.kind", "wasm.kind: %s is a %s", name, component ? "component" : "module");
    if (serve && strcmp(guest, "http"))
        return fail(err, BERTH_INVALID, "wasm.trigger", "wasm.trigger: %s exports no wasi:http/incoming-handler@0.2, so it can't be served",
                    name);
    if (!serve && !s->wasm.invoke && (!strcmp(guest, "http") || !strcmp(guest, "reactor")))
        return fail(err, BERTH_INVALID, "wasm.trigger", "wasm.trigger: %s is no command; %s", name,
                    !strcmp(guest, "http") ? "it answers HTTP (\"http\")" : "call an export of it (wasm.invoke, --invoke)");
    if (!strcmp(guest, "command1") && (s->wasm.sockets || s->n_sockets))
        return unsupported(err, s->n_sockets ? "sockets" : "wasm.sockets",
                           "a module of WASI preview 1 has none; build it for preview 2, or as a wasi:http component");
    return 0;
}

static int find_code(struct compile *k, struct code_kind *kind, struct code *ret, struct berth_error *err)
{
    const char *why;
    int r = choose_kind(k->c, k->store, k->spec, k->module, kind, err);
    if (r == 0 && !k->dry)
        r = compile_wait(k->c, k->store, k->module, *kind, ret, err);
    else if (r == 0)
        r = MIN(code_find(k->c, k->store, k->module->key, *kind, ret, &why, err), 0);
    return r < 0 || ret->path ? r : code_place(k->c, k->store, k->module->key, *kind, &ret->path, err);
}

static int no_code(struct compile *k, struct code_kind *kind, struct code *ret, struct berth_error *err)
{
    *kind = (struct code_kind){0};
    ret->path = strdup(first_word(k->spec));
    return ret->path ? 0 : fail_memory(err);
}

static int probe_again(const struct plan *p, const char *field, struct plan_probe *probe, struct berth_error *err)
{
    struct worker w = {0};
    if (!probe->argv)
        return 0;
    if (strchr(probe->argv[0], '/'))
        return fail(err, BERTH_UNSUPPORTED, field, "%s: \"%.80s\": a check is the module itself with other arguments, "
                    "the first of them its name without '/'", field, probe->argv[0]);
    worker_again(&w, p->argv, NULL, NULL, probe->argv);
    strings_free(probe->argv);
    probe->argv = w.argv;
    return w.failed ? fail_memory(err) : 0;
}

static int probes_again(struct plan *p, struct berth_error *err)
{
    int r = probe_again(p, "health", &p->health, err);
    if (r == 0)
        r = probe_again(p, "readiness", &p->readiness, err);
    return r < 0 ? r : probe_again(p, "liveness", &p->liveness, err);
}

static int worker_argv(struct compile *k, struct code_kind kind, const struct code *code, struct berth_error *err)
{
    struct plan *p = k->plan;
    struct worker w = {0};
    const char *call = k->spec->wasm.invoke;
    worker_word(&w, WORKER_PROGRAM);
    worker_word(&w, call ? "invoke" : kind.serve ? "serve" : "run");
    worker_number(&w, "--code", 3 + p->n_sockets + FILE_CODE);
    worker_number(&w, "--page", 3 + p->n_sockets + FILE_PAGE);
    worker_number(&w, "--roots", k->spec->wasm.tls_roots ? 3 + p->n_sockets + FILE_ROOTS : 0);
    worker_option(&w, "--needs", code->needs);
    worker_option(&w, "--profile", profile_name(kind));
    worker_option(&w, "--call", call);
    worker_folders(&w, p, k->module && !k->module->alone);
    worker_limits(&w, k->spec, kind.serve);
    worker_names(&w, k, err);
    worker_word(&w, "--");
    for (size_t i = 0; p->argv[i]; i++)
        worker_word(&w, p->argv[i]);
    strings_free(p->argv);
    p->argv = w.argv;
    return w.failed ? fail_memory(err) : 0;
}

static int plan_worker(struct compile *k, struct berth_error *err)
{
    struct plan *p = k->plan;
    struct code_kind kind;
    autoclean(code_clear) struct code code = {0};
    int r = k->module ? find_code(k, &kind, &code, err) : no_code(k, &kind, &code, err);
    if (r == 0 && code.guest)
        r = check_guest(k, &code, kind.serve, err);
    if (r < 0)
        return r;
    p->ready_told = true;
    p->walled = true;
    if (k->spec->wasm.allowed_hosts && !(p->reach = strings_copy((const char *const *)k->spec->wasm.allowed_hosts)))
        return fail_memory(err);
    r = check_roots(k->spec->wasm.tls_roots, err);
    if (r < 0)
        return r;
    if ((kind.serve && add_socket(p, k->spec) < 0) || add_files(p, code.path, k->spec->wasm.tls_roots) < 0)
        return fail_memory(err);
    r = worker_argv(k, kind, &code, err);
    return r < 0 ? r : probes_again(p, err);
}

int (*const wasm_groups[])(struct compile *k, struct berth_error *err) = {
    plan_set_up, plan_network, plan_guest, plan_resources, guest_security, guest_storage, plan_life, plan_worker, NULL,
};

#define CAP(name) (UINT64_C(1) << (name))
const struct local_kind wasm_kind = {
    .name = "wasm",
    .takes_files = true,
    .bare = true,
    .caps = CAP(CAP_DAC_OVERRIDE) | CAP(CAP_FOWNER),
    .refuse = wasm_refuse,
    .find = wasm_find,
    .groups = wasm_groups,
    .stamp = wasm_stamp,
    .early = wasm_early,
    .prepare = wasm_prepare,
    .whole = wasm_whole,
    .discard = wasm_discard,
    .program = wasm_program,
    .stats = wasm_stats,
};
