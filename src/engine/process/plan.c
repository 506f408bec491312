/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a spec, and its engine's word for it, to a plan: a container's, but that its root is the host's.
 *
 * What the engine says stands where an image's settings would, and what the spec said of the same is gone: the engine
 * has seen it.
 */
#include "process/inside.h"

/* ---- what a process on the host's files has not */

#define NO_FILES "its files are the host's, and nothing is made in them"

static bool mounts_image(const struct spec *s)
{
    for (size_t i = 0; i < s->n_mounts; i++)
        if (s->mounts[i].kind == SPEC_MOUNT_IMAGE)
            return true;
    return false;
}

static bool has_users(const struct spec *s)
{
    return s->namespaces.userns && strcmp(s->namespaces.userns, "host");
}

static int process_refuse(const struct spec *s, struct berth_error *err)
{
    enum network_mode mode = spec_network_mode(s);
    const struct { bool set; const char *field, *why; } rows[] = {
        {mode != NETWORK_HOST && mode != NETWORK_NONE, "network", "it has \"host\" and \"none\", and no default"},
        {s->n_networks > 0, "networks", "it has \"host\" and \"none\" alone"},
        {s->wasm.present, "wasm", "it runs no modules"},
        {s->platform != NULL, "platform", "it has no images"},
        {s->n_image_volumes > 0, "image_volumes", "it has no images"},
        {mounts_image(s), "mounts", "it has no images to mount"},
        {s->n_secrets > 0, "secrets", NO_FILES},
        {s->n_hosts > 0, "hosts", NO_FILES},
        {s->dns || s->dns_search || s->dns_options, "dns", NO_FILES},
        {s->resources.devices_cdi != NULL, "resources.devices", NO_FILES},
        {has_users(s), "namespaces.userns", "its files belong to the host's users"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (rows[i].set)
            return fail(err, BERTH_UNSUPPORTED, rows[i].field, "%s: this engine does not do that: %s", rows[i].field,
                        rows[i].why);
    return 0;
}

/* ---- the engine's word */

static int add_all(char ***list, char *const *more)
{
    int r = 0;
    for (size_t i = 0; r == 0 && more && more[i]; i++)
        r = strings_add(list, more[i]);
    return r;
}

static int copy(char **ret, const char *text)
{
    return text && !(*ret = strdup(text)) ? -ENOMEM : 0;
}

/** As the spec has it. */
static int process_begin(const struct spec *s, struct berth_process *p)
{
    int r = 0;
    char *const *const words[] = {s->entrypoint, s->command, s->args};
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(words); i++)
        r = add_all(&p->argv, words[i]);
    for (size_t i = 0; r == 0 && i < s->env.n; i++) {
        autofree char *entry = format_text("%s=%s", s->env.items[i].name, s->env.items[i].value);
        r = entry ? strings_add(&p->env, entry) : -ENOMEM;
    }
    if (r == 0)
        r = copy(&p->workdir, s->workdir);
    return r < 0 ? r : copy(&p->user, s->user);
}

static int ask(const struct compile *k, struct berth_process *p, struct berth_error *err)
{
    const struct berth_process_engine *engine = &process_kind(k->kind)->engine;
    autofree char *json = spec_print(k->spec);
    if (!json || process_begin(k->spec, p) < 0)
        return fail_memory(err);
    int r = engine->prepare(engine->userdata, json, p, err);
    if (r >= 0 && p->workdir && p->workdir[0] != '/')
        r = fail(err, BERTH_INVALID, "workdir", "workdir: \"%.80s\" is not an absolute path", p->workdir);
    return MIN(r, 0);
}

/** An image of nothing but what the engine says. */
int process_find(struct compile *k, struct berth_error *err)
{
    struct berth_process p = {.size = sizeof(p), .name = k->name, .image = k->spec->image};
    struct image *image = k->image = calloc(1, sizeof(*image));
    if (!image || !(image->reference = strdup(k->spec->image && *k->spec->image ? k->spec->image : "host")) ||
        !(image->id = strdup("")) || !(image->name = strdup("")) || !(image->layers = calloc(1, sizeof(char *))))
        return fail_memory(err);
    int r = ask(k, &p, err);
    image->config.entrypoint = TAKE(p.argv);
    image->config.env = TAKE(p.env);
    image->config.workdir = TAKE(p.workdir);
    image->config.user = TAKE(p.user);
    return r;
}

/* ---- the plan */

static int process_program(struct compile *k, struct berth_error *err)
{
    const struct spec *whole = k->spec;
    struct spec rest = *whole;
    rest.entrypoint = rest.command = rest.args = NULL;
    rest.env = (struct spec_pairs){0};
    rest.workdir = rest.user = NULL;
    k->spec = &rest;
    int r = plan_program(k, err);
    k->spec = whole;
    return r;
}

/** Programs of the host that give rights to who starts them (sudo, su) are none for a workload. */
static int process_security(struct compile *k, struct berth_error *err)
{
    int r = plan_security(k, err);
    k->plan->no_new_privileges = true;
    return r;
}

static int process_stamp(struct local *c, const struct local_kind *kind, char **ret, struct berth_error *err)
{
    return copy(ret, process_kind(kind)->engine.version) < 0 ? fail_memory(err) : 0;
}

static int (*const groups[])(struct compile *k, struct berth_error *err) = {
    plan_set_up, plan_network, process_program, plan_resources, process_security, plan_storage, plan_life, NULL,
};

const struct local_kind process_kind_of_all = {
    .on_host = true, .refuse = process_refuse, .find = process_find, .groups = groups, .stamp = process_stamp,
};
