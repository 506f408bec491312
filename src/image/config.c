/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration inside an image: OCI's, and docker's additions (Healthcheck, Shell).
 *
 * It comes from strangers. Members of a wrong type are errors that name the member; unknown ones are
 * ignored, because every tool adds its own.
 */
#include "image/config.h"
#include "base/base.h"
#include "base/text.h"
#include "image/tool.h"
#include <jansson.h>
#include <string.h>

#define MAX_STRINGS 65536

static void pairs_free(struct image_pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(pairs[i].name);
        free(pairs[i].value);
    }
    free(pairs);
}

void image_config_clear(struct image_config *c)
{
    char **lists[] = {c->entrypoint, c->cmd, c->env, c->volumes, c->exposed_ports, c->shell, c->health.test};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        strings_free(lists[i]);
    char *texts[] = {c->user, c->workdir, c->stop_signal, c->architecture, c->os, c->variant, c->created};
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        free(texts[i]);
    pairs_free(c->labels, c->n_labels);
    *c = (struct image_config){0};
}

static int wrong(struct berth_error *err, const char *member, const char *wanted)
{
    return fail(err, BERTH_INVALID, member, "image config: %s is not %s", member, wanted);
}

static int read_text(const json_t *value, const char *member, char **ret, struct berth_error *err)
{
    if (!json_is_string(value))
        return wrong(err, member, "a string");
    *ret = strdup(json_string_value(value));
    return *ret ? 0 : fail_memory(err);
}

static int read_list(const json_t *value, const char *member, char ***ret, struct berth_error *err)
{
    if (!json_is_array(value) || json_array_size(value) > MAX_STRINGS)
        return wrong(err, member, "a list of strings");
    char **list = calloc(json_array_size(value) + 1, sizeof *list);
    if (!list)
        return fail_memory(err);
    *ret = list;
    size_t i;
    json_t *item;
    json_array_foreach(value, i, item) {
        int r = read_text(item, member, &list[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* {"80/tcp": {}}: a set, written as an object. */
static int read_set(const json_t *value, const char *member, char ***ret, struct berth_error *err)
{
    if (!json_is_object(value) || json_object_size(value) > MAX_STRINGS)
        return wrong(err, member, "an object");
    char **list = calloc(json_object_size(value) + 1, sizeof *list);
    if (!list)
        return fail_memory(err);
    *ret = list;
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item) {
        if (!(*list++ = strdup(key)))
            return fail_memory(err);
    }
    return 0;
}

static int read_labels(const json_t *value, struct image_config *c, struct berth_error *err)
{
    if (!json_is_object(value) || json_object_size(value) > MAX_STRINGS)
        return wrong(err, "config.Labels", "an object");
    c->labels = calloc(json_object_size(value) + 1, sizeof *c->labels);
    if (!c->labels)
        return fail_memory(err);
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)value, key, item) {
        struct image_pair *pair = &c->labels[c->n_labels++];
        if (!(pair->name = strdup(key)))
            return fail_memory(err);
        int r = read_text(item, "config.Labels", &pair->value, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_health(const json_t *value, struct image_config *c, struct berth_error *err)
{
    if (!json_is_object(value))
        return wrong(err, "config.Healthcheck", "an object");
    const json_t *test = json_object_get(value, "Test");
    if (test && !json_is_null(test)) {
        int r = read_list(test, "config.Healthcheck.Test", &c->health.test, err);
        if (r < 0)
            return r;
    }
    /* Durations are nanoseconds there. */
    const struct { const char *key; int64_t *target; } durations[] = {
        {"Interval", &c->health.interval_usec},
        {"Timeout", &c->health.timeout_usec},
        {"StartPeriod", &c->health.start_period_usec},
        {"StartInterval", &c->health.start_interval_usec},
    };
    for (size_t i = 0; i < ARRAY_SIZE(durations); i++) {
        const json_t *item = json_object_get(value, durations[i].key);
        if (item && (!json_is_integer(item) || json_integer_value(item) < 0))
            return wrong(err, "config.Healthcheck", "made of nanoseconds");
        *durations[i].target = item ? json_integer_value(item) / 1000 : 0;
    }
    const json_t *retries = json_object_get(value, "Retries");
    if (retries && (!json_is_integer(retries) || json_integer_value(retries) < 0 ||
                    json_integer_value(retries) > 1000000))
        return wrong(err, "config.Healthcheck.Retries", "a small number");
    c->health.retries = retries ? (int)json_integer_value(retries) : 0;
    return 0;
}

enum kind { TEXT, LIST, SET };
struct member { const char *key; int kind; size_t offset; };
#define AT(f) offsetof(struct image_config, f)
static const struct member outer_members[] = {
    {"architecture", TEXT, AT(architecture)}, {"os", TEXT, AT(os)},
    {"variant", TEXT, AT(variant)},           {"created", TEXT, AT(created)},
};
static const struct member inner_members[] = {
    {"User", TEXT, AT(user)},        {"WorkingDir", TEXT, AT(workdir)}, {"StopSignal", TEXT, AT(stop_signal)},
    {"Entrypoint", LIST, AT(entrypoint)}, {"Cmd", LIST, AT(cmd)},       {"Env", LIST, AT(env)},
    {"Shell", LIST, AT(shell)},      {"Volumes", SET, AT(volumes)},     {"ExposedPorts", SET, AT(exposed_ports)},
};

static int read_members(const json_t *object, const struct member *members, size_t n,
                        struct image_config *c, struct berth_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_object_get(object, members[i].key);
        if (!value || json_is_null(value))
            continue;
        void *target = (char *)c + members[i].offset;
        int r = members[i].kind == TEXT ? read_text(value, members[i].key, target, err)
              : members[i].kind == LIST ? read_list(value, members[i].key, target, err)
                                        : read_set(value, members[i].key, target, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int read_config(const json_t *document, struct image_config *c, struct berth_error *err)
{
    if (!json_is_object(document))
        return fail(err, BERTH_INVALID, "", "image config: it is not a JSON object");
    int r = read_members(document, outer_members, ARRAY_SIZE(outer_members), c, err);
    const json_t *inner = json_object_get(document, "config");
    if (r < 0 || !inner || json_is_null(inner))
        return r;
    if (!json_is_object(inner))
        return wrong(err, "config", "an object");
    r = read_members(inner, inner_members, ARRAY_SIZE(inner_members), c, err);
    const json_t *labels = json_object_get(inner, "Labels"), *health = json_object_get(inner, "Healthcheck");
    if (r == 0 && labels && !json_is_null(labels))
        r = read_labels(labels, c, err);
    if (r == 0 && health && !json_is_null(health))
        r = read_health(health, c, err);
    return r;
}

int image_config_read(const json_t *document, struct image_config *ret, struct berth_error *err)
{
    struct image_config c = {0};
    int r = read_config(document, &c, err);
    if (r < 0)
        image_config_clear(&c);
    else
        *ret = c;
    return r;
}

int image_config_parse(const char *json, size_t length, struct image_config *ret, struct berth_error *err)
{
    if (length > IMAGE_MAX_CONFIG_BYTES)
        return fail(err, BERTH_TOO_BIG, "", "image config: longer than %u MiB", IMAGE_MAX_CONFIG_BYTES >> 20);
    json_error_t where;
    json_t *document = json_loadb(json, length, JSON_REJECT_DUPLICATES, &where);
    if (!document)
        return fail(err, BERTH_INVALID, "", "image config: line %d: %s", where.line, where.text);
    int r = image_config_read(document, ret, err);
    json_decref(document);
    return r;
}
