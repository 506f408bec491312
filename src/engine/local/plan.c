/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiler: a spec and an image become a plan, group by group.
 *
 * Nothing here makes anything on disk: create writes what comes out, --dry-run prints it.
 */
#include "local/inside.h"
#include "base/file.h"
#include "engine/report.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>

int plan_stamp(struct local *c, const struct local_kind *kind, char **ret, struct berth_error *err)
{
    autofree char *machine = NULL, *more = NULL;
    int r = kind->stamp ? kind->stamp(c, kind, &more, err) : 0;
    if (r < 0)
        return r;
    size_t size;
    if (file_read(AT_FDCWD, "/etc/machine-id", 128, &machine, &size) < 0)
        machine = NULL;
    if (machine)
        machine[strcspn(machine, "\n")] = 0;
    *ret = format_text("berth %s %s%s%s", BERTH_VERSION, machine ? machine : "-", more ? " " : "", more ? more : "");
    return *ret ? 0 : fail_memory(err);
}

char *const *plan_command(const struct plan *plan)
{
    for (char *const *a = plan->program ? plan->argv : NULL; a && *a; a++)
        if (!strcmp(*a, "--"))
            return a + 1;
    return plan->argv;
}

int plan_add_mount(struct plan *plan, const struct plan_mount *mount)
{
    struct plan_mount *more = realloc(plan->mounts, (plan->n_mounts + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    plan->mounts = more;
    more[plan->n_mounts++] = *mount;
    return 0;
}

int plan_add_device(struct plan *plan, const struct plan_device *device)
{
    struct plan_device *more = realloc(plan->devices, (plan->n_devices + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    plan->devices = more;
    more[plan->n_devices++] = *device;
    return 0;
}

/* ---- what is not ours */

int plan_refuse(const struct local_kind *kind, const struct spec *spec, struct berth_error *err)
{
    if (spec->runtime && strcmp(spec->runtime, kind->name))
        return fail(err, BERTH_INVALID, "runtime", "runtime: \"%.40s\" is not this engine, \"%s\"",
                    spec->runtime, kind->name);
    if (spec->service_json)
        return fail(err, BERTH_UNSUPPORTED, "service", "service: the engine \"%s\" does not do that",
                    kind->name);
    int r = plan_network_refuse(spec, err);
    return r < 0 ? r : kind->refuse(spec, err);
}

/* ---- program */

static int append(char ***list, char *const *more)
{
    for (size_t i = 0; more && more[i]; i++)
        if (strings_add(list, more[i]) < 0)
            return -ENOMEM;
    return 0;
}

static int plan_argv(struct compile *k, struct berth_error *err)
{
    const struct spec *s = k->spec;
    const struct image_config *image = &k->image->config;
    char *const *parts[3] = {NULL, NULL, NULL};
    if (s->command || s->entrypoint) {
        parts[0] = s->entrypoint;
        parts[1] = s->command;
        parts[2] = s->args;
    } else {
        parts[0] = image->entrypoint;
        parts[1] = s->args ? s->args : image->cmd;
    }
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (append(&k->plan->argv, parts[i]) < 0)
            return fail_memory(err);
    if (!k->plan->argv || !k->plan->argv[0])
        return fail(err, BERTH_INVALID, "command",
                    "command: nothing to run: neither the spec nor the image %s names a program",
                    k->image->reference);
    return 0;
}

/** Set NAME to value in a list of NAME=value. */
static int set_env(char ***env, const char *name, const char *value)
{
    size_t length = strlen(name);
    char *entry = format_text("%s=%s", name, value);
    if (!entry)
        return -ENOMEM;
    for (size_t i = 0; *env && (*env)[i]; i++)
        if (!strncmp((*env)[i], name, length) && (*env)[i][length] == '=') {
            free((*env)[i]);
            (*env)[i] = entry;
            return 0;
        }
    int r = strings_add(env, entry);
    free(entry);
    return r;
}

static int plan_env(struct compile *k)
{
    char ***env = &k->plan->env;
    int r = set_env(env, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    if (r == 0)
        r = set_env(env, "HOSTNAME", k->plan->hostname);
    if (r == 0 && k->spec->tty)
        r = set_env(env, "TERM", "xterm");
    char *const *theirs = k->image->config.env;
    for (size_t i = 0; r == 0 && theirs && theirs[i]; i++) {
        const char *equals = strchr(theirs[i], '=');
        autofree char *name = strndup(theirs[i], equals ? (size_t)(equals - theirs[i]) : 0);
        r = !name ? -ENOMEM : *name ? set_env(env, name, equals + 1) : 0;
    }
    for (size_t i = 0; r == 0 && i < k->spec->env.n; i++)
        r = set_env(env, k->spec->env.items[i].name, k->spec->env.items[i].value);
    return r;
}

static int set_text(char **slot, const char *value)
{
    if (!value)
        return 0;
    *slot = strdup(value);
    return *slot ? 0 : -ENOMEM;
}

static int plan_hostname(struct compile *k)
{
    char name[65] = "";
    const char *uts = k->spec->namespaces.uts;
    bool hosts_own = (uts && !strcmp(uts, "host")) ||
                     spec_network_mode(k->spec) == NETWORK_HOST;
    if (k->spec->hostname)
        snprintf(name, sizeof(name), "%s", k->spec->hostname);
    else if (!hosts_own || gethostname(name, sizeof(name) - 1) < 0)
        snprintf(name, sizeof(name), "%.12s", k->id);
    int r = set_text(&k->plan->hostname, name);
    return r < 0 ? r : set_text(&k->plan->domainname, k->spec->domainname);
}

static int plan_stop(struct compile *k, struct berth_error *err)
{
    const char *word = k->spec->stop_signal ? k->spec->stop_signal : k->image->config.stop_signal;
    int signal = word && *word ? signal_parse(word) : SIGTERM;
    if (signal <= 0)
        return fail(err, BERTH_INVALID, "stop_signal", "stop_signal: \"%.40s\" is not a signal", word);
    k->plan->stop_signal = signal;
    k->plan->stop_timeout_usec = k->spec->has_stop_timeout ? k->spec->stop_timeout_usec : 10000000;
    return 0;
}

int plan_program(struct compile *k, struct berth_error *err)
{
    struct plan *p = k->plan;
    const char *user = k->spec->user ? k->spec->user : k->image->config.user;
    const char *workdir = k->spec->workdir ? k->spec->workdir : k->image->config.workdir;
    int r = plan_argv(k, err);
    if (r < 0)
        return r;
    if (plan_hostname(k) < 0 || plan_env(k) < 0 ||
        set_text(&p->user, user && *user ? user : NULL) < 0 ||
        append(&p->groups, k->spec->groups) < 0)
        return fail_memory(err);
    p->workdir = format_text("%s%s", workdir && *workdir == '/' ? "" : "/", workdir ? workdir : "");
    if (!p->workdir)
        return fail_memory(err);
    if (k->spec->workdir && k->spec->workdir[0] != '/')
        return fail(err, BERTH_INVALID, "workdir", "workdir: \"%.80s\" is not an absolute path",
                    k->spec->workdir);
    p->tty = k->spec->tty;
    p->stdin_open = k->spec->stdin_open;
    p->init = k->spec->init;
    if (p->init && (r = local_program(k->c, "berth-init", &p->init_program, err)) < 0)
        return fail_context(err, "init");
    return plan_stop(k, err);
}

/* ---- namespaces and network */

static int join_id(struct compile *k, const char *field, const char *name, char **ret_id,
                   struct berth_error *err)
{
    char id[BERTH_ID_TEXT];
    int r = store_find(k->store, name, id, err);
    if (r < 0)
        return fail_context(err, "%s", field);
    *ret_id = strdup(id);
    return *ret_id ? 0 : fail_memory(err);
}

static int plan_namespace(struct compile *k, int which, const char *field, const char *value,
                          int otherwise, struct berth_error *err)
{
    k->plan->namespaces[which].mode = otherwise;
    if (!value || !strcmp(value, "private") || !strcmp(value, "shareable") || !strcmp(value, "none"))
        k->plan->namespaces[which].mode = value ? PLAN_NS_PRIVATE : otherwise;
    else if (!strcmp(value, "host"))
        k->plan->namespaces[which].mode = PLAN_NS_HOST;
    else if (starts_with(value, "container:")) {
        k->plan->namespaces[which].mode = PLAN_NS_JOIN;
        return join_id(k, field, value + strlen("container:"), &k->plan->namespaces[which].id, err);
    } else
        return fail(err, BERTH_INVALID, field,
                    "%s: \"%.80s\" is none of private, host, container:NAME", field, value);
    return 0;
}

static int parse_idmap(const char *field, char *const *lines, struct plan_idmap **ret, size_t *ret_n,
                       struct berth_error *err)
{
    static const struct plan_idmap usual = {0, 100000, 65536};
    size_t n = lines ? strings_count(lines) : 1;
    *ret = calloc(n, sizeof(**ret));
    if (!*ret)
        return fail_memory(err);
    *ret_n = n;
    if (!lines)
        (*ret)[0] = usual;
    for (size_t i = 0; lines && i < n; i++) {
        struct plan_idmap *m = &(*ret)[i];
        int used = 0;
        if (sscanf(lines[i], "%u:%u:%u%n", &m->inside, &m->outside, &m->count, &used) != 3 ||
            lines[i][used] || !m->count)
            return fail(err, BERTH_INVALID, field, "%s[%zu]: \"%.80s\" is not INSIDE:OUTSIDE:COUNT",
                        field, i, lines[i]);
    }
    return 0;
}

/* Whose users it joins has the maps: pipes and its upper folder are theirs. */
static int joined_maps(struct compile *k, struct berth_error *err)
{
    const char *name = k->spec->namespaces.userns + strlen("container:");
    autoclean(cleanup_plan) struct plan *other = NULL;
    autoworkload w = NULL;
    int r = workload_open(k->store, k->plan->namespaces[PLAN_NS_USER].id, &w, err);
    if (r == 0)
        r = document_plan(w, &other, err);
    if (r == 0 && !other->n_uid_map)
        r = fail(err, BERTH_INVALID, "namespaces.userns", "namespaces.userns: %s has no user namespace of its own", name);
    if (r < 0)
        return r;
    k->plan->uid_map = TAKE(other->uid_map);
    k->plan->gid_map = TAKE(other->gid_map);
    k->plan->n_uid_map = other->n_uid_map;
    k->plan->n_gid_map = other->n_gid_map;
    other->n_uid_map = other->n_gid_map = 0;
    return 0;
}

static int plan_namespaces(struct compile *k, struct berth_error *err)
{
    const struct spec *s = k->spec;
    const struct { int which; const char *field, *value; int otherwise; } rows[] = {
        {PLAN_NS_MNT, "namespaces.mnt", NULL, PLAN_NS_PRIVATE},
        {PLAN_NS_PID, "namespaces.pid", s->namespaces.pid, PLAN_NS_PRIVATE},
        {PLAN_NS_NET, "network", spec_network_mode(s) == NETWORK_BRIDGED ? NULL : s->network, PLAN_NS_PRIVATE},
        {PLAN_NS_IPC, "namespaces.ipc", s->namespaces.ipc, PLAN_NS_PRIVATE},
        {PLAN_NS_UTS, "namespaces.uts", s->namespaces.uts, PLAN_NS_PRIVATE},
        {PLAN_NS_CGROUP, "namespaces.cgroup", s->namespaces.cgroup, PLAN_NS_PRIVATE},
        {PLAN_NS_USER, "namespaces.userns", s->namespaces.userns, PLAN_NS_HOST},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int r = plan_namespace(k, rows[i].which, rows[i].field, rows[i].value, rows[i].otherwise, err);
        if (r < 0)
            return r;
    }
    if (k->plan->namespaces[PLAN_NS_USER].mode == PLAN_NS_JOIN)
        return joined_maps(k, err);
    if (k->plan->namespaces[PLAN_NS_USER].mode != PLAN_NS_PRIVATE)
        return 0;
    int r = parse_idmap("namespaces.uid_map", s->namespaces.uid_map, &k->plan->uid_map,
                        &k->plan->n_uid_map, err);
    return r < 0 ? r : parse_idmap("namespaces.gid_map", s->namespaces.gid_map, &k->plan->gid_map,
                                   &k->plan->n_gid_map, err);
}

static int add_pair(struct plan *p, const char *name, const char *value)
{
    struct plan_pair *more = realloc(p->sysctls, (p->n_sysctls + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    p->sysctls = more;
    more[p->n_sysctls] = (struct plan_pair){strdup(name), strdup(value)};
    return more[p->n_sysctls].name && more[p->n_sysctls++].value ? 0 : -ENOMEM;
}

/** Only what belongs to a namespace of its own may be set: the rest would be the machine's. */
static bool sysctl_own(const struct plan *p, const char *name)
{
    static const char *const ipc[] = {"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni",
                                      "kernel.sem",    "kernel.shmall", "kernel.shmmax",
                                      "kernel.shmmni", "kernel.shm_rmid_forced"};
    bool own_ipc = p->namespaces[PLAN_NS_IPC].mode == PLAN_NS_PRIVATE;
    for (size_t i = 0; i < ARRAY_SIZE(ipc); i++)
        if (!strcmp(name, ipc[i]))
            return own_ipc;
    if (starts_with(name, "fs.mqueue."))
        return own_ipc;
    if (starts_with(name, "net."))
        return p->namespaces[PLAN_NS_NET].mode == PLAN_NS_PRIVATE;
    if (!strcmp(name, "kernel.domainname"))
        return p->namespaces[PLAN_NS_UTS].mode == PLAN_NS_PRIVATE;
    return false;
}

static int plan_sysctls(struct compile *k, struct berth_error *err)
{
    const struct spec_pairs *set = &k->spec->sysctls;
    for (size_t i = 0; i < set->n; i++) {
        const char *name = set->items[i].name;
        if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") !=
                strlen(name) || strstr(name, "..") || !sysctl_own(k->plan, name))
            return fail(err, BERTH_INVALID, "sysctls",
                        "sysctls.%.80s: not a setting of a namespace of its own", name);
        if (add_pair(k->plan, name, set->items[i].value) < 0)
            return fail_memory(err);
    }
    return 0;
}

int plan_network(struct compile *k, struct berth_error *err)
{
    int r = plan_namespaces(k, err);
    if (r < 0)
        return r;
    if (k->spec->namespaces.uts && !strcmp(k->spec->namespaces.uts, "host") && k->spec->hostname)
        return fail(err, BERTH_INVALID, "hostname",
                    "hostname: with uts \"host\" it would be the machine's");
    r = plan_bridges(k, err);
    return r < 0 ? r : plan_sysctls(k, err);
}

/* ---- the whole */

int plan_set_up(struct compile *k, struct berth_error *err)
{
    struct plan *p = k->plan = calloc(1, sizeof(*p));
    if (!p)
        return fail_memory(err);
    p->version = PLAN_VERSION;
    int r = plan_stamp(k->c, k->kind, &p->stamp, err);
    if (r < 0)
        return r;
    if (set_text(&p->id, k->id) < 0 || set_text(&p->name, k->name) < 0 ||
        set_text(&p->runtime, k->kind->name) < 0 || set_text(&p->image, k->image->reference) < 0)
        return fail_memory(err);
    const char *parent = k->spec->cgroup_parent;
    if (parent && (parent[0] != '/' || strstr(parent, "/..") || strstr(parent, "//")))
        return fail(err, BERTH_INVALID, "cgroup_parent",
                    "cgroup_parent: \"%.80s\" is not an absolute path of a group", parent);
    p->cgroup_parent = parent ? strdup(parent) : format_text("/berth-%s", store_tag(k->store));
    return p->cgroup_parent ? 0 : fail_memory(err);
}

int compile_plan(struct compile *k, struct plan **ret_plan, struct berth_error *err)
{
    int r = plan_refuse(k->kind, k->spec, err);
    if (r == 0)
        r = settings_read(k->c, &k->settings, err);
    if (r == 0)
        r = k->kind->find(k, err);
    for (size_t i = 0; r == 0 && k->kind->groups[i]; i++)
        r = k->kind->groups[i](k, err);
    if (r < 0)
        return r;
    *ret_plan = TAKE(k->plan);
    return 0;
}

void compile_clear(struct compile *k)
{
    plan_free(k->plan);
    settings_free(k->settings);
    image_free(k->image);
    for (size_t i = 0; i < k->n_others; i++)
        image_free(k->others[i]);
    free(k->others);
    if (k->free_module)
        k->free_module(k->module);
}

static void print_ports(struct text *t, const struct plan *plan)
{
    bool first = true;
    for (size_t i = 0; i < plan->n_ports; i++) {
        const struct plan_port *p = &plan->ports[i];
        for (unsigned n = 0; n < MAX(p->count, 1u); n++, first = false)
            text_printf(t, "%s{\"container\":%u,\"protocol\":\"%s\",\"host_address\":\"%s\",\"host\":%u}",
                        first ? "" : ",", p->container + n, p->protocol, p->host_address, p->host + n);
    }
}

char *facts_print(const struct spec *spec, const struct image *image, const struct plan *plan)
{
    char *const *argv = plan_command(plan);
    struct text t = {0};
    text_add(&t, "\"image_id\":");
    report_string(&t, image->id);
    text_add(&t, ",\"command\":[");
    for (size_t i = 0; argv && argv[i]; i++) {
        text_add(&t, i ? "," : "");
        report_string(&t, argv[i]);
    }
    text_add(&t, "],\"network\":");
    report_string(&t, plan->n_links ? plan->links[0].network : spec->network);
    text_add(&t, ",\"networks\":[");
    for (size_t i = 0; i < plan->n_links; i++) {
        text_add(&t, i ? "," : "");
        report_string(&t, plan->links[i].network);
    }
    text_add(&t, "]");
    text_add(&t, ",\"restart\":");
    report_string(&t, spec->restart.policy ? spec->restart.policy : "never");
    text_add(&t, ",\"ports\":[");
    print_ports(&t, plan);
    text_add(&t, "],\"labels\":{");
    for (size_t i = 0; i < image->config.n_labels; i++) {
        bool replaced = false;
        for (size_t n = 0; n < spec->labels.n; n++)
            replaced |= !strcmp(spec->labels.items[n].name, image->config.labels[i].name);
        if (replaced)
            continue;
        text_add(&t, t.data[t.length - 1] == '{' ? "" : ",");
        report_string(&t, image->config.labels[i].name);
        text_add(&t, ":");
        report_string(&t, image->config.labels[i].value);
    }
    for (size_t i = 0; i < spec->labels.n && !t.failed; i++) {
        text_add(&t, t.data[t.length - 1] == '{' ? "" : ",");
        report_string(&t, spec->labels.items[i].name);
        text_add(&t, ":");
        report_string(&t, spec->labels.items[i].value);
    }
    text_add(&t, "}");
    return text_take(&t);
}
