/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of berth.toml. A new setting is one row, and one paragraph in berth.toml(5).
 */
#include "model/settings.h"
#include "base/address.h"
#include "base/base.h"
#include "model/spec_table.h"
#include <string.h>
#include <sys/socket.h>

static const struct document settings_document = {.what = "berth.toml", .code = BERTH_INVALID};
static const struct where top = {.name = "", .document = &settings_document};

static const char *check_pool(const char *value)
{
    struct address subnet;
    return address_parse_subnet(value, &subnet) < 0 || subnet.family != AF_INET ? "is not a subnet such as 10.210.0.0/15" : NULL;
}

static const char *check_percent(const char *value)
{
    char *end;
    long n = strtol(value, &end, 10);
    return value[0] >= '0' && value[0] <= '9' && n > 0 && n <= 100 && !strcmp(end, "%") ? NULL : "is not a share such as 85%";
}

static const char *check_silence(const char *value)
{
    int64_t usec;
    return duration_parse(value, false, &usec) < 0 || usec < 1000000 || usec > 3600 * 1000000ll
         ? "is not a duration from 1s to 1h" : NULL;
}

#define S struct settings
#define ROW(n, k, m) .name = n, .kind = k, .offset = offsetof(S, m), .size = sizeof(((S *)0)->m)

static const struct field network_rows[] = {
    {ROW("pool", FIELD_STRING, network.pool), .check = check_pool, .doc = "where subnets of networks are chosen; 10.210.0.0/15"},
    {ROW("prefix", FIELD_UINT, network.prefix), .min = 8, .max = 30, .doc = "of a chosen subnet; 24"},
    {ROW("default_prefix", FIELD_UINT, network.default_prefix), .min = 8, .max = 30, .doc = "of the default network's; 20"},
    {0},
};

static const struct field firewall_rows[] = {
    {ROW("integrate", FIELD_BOOL, firewall.integrate), .doc = "other firewalls that drop are opened by a start; false"},
    {0},
};

static const struct field image_gc_rows[] = {
    {ROW("high", FIELD_STRING, image_gc.high), .check = check_percent, .doc = "so full begins it"},
    {ROW("low", FIELD_STRING, image_gc.low), .check = check_percent, .doc = "so full ends it"},
    {0},
};

static const struct field images_rows[] = {
    {ROW("registry", FIELD_STRING, images.registry), .doc = "of a name that says none; docker.io"},
    {ROW("tag", FIELD_STRING, images.tag), .doc = "of a name that says none; latest"},
    {0},
};

const struct field settings_fields[] = {
    {ROW("cgroup_parent", FIELD_STRING, cgroup_parent), .check = check_target, .doc = "cgroup that workloads live under; /berth-HASH"},
    {ROW("publish_address", FIELD_STRING, publish_address), .check = check_ip, .doc = "of a published port that names none; 127.0.0.1"},
    {.name = "network", .kind = FIELD_OBJECT, .fields = network_rows, .doc = "subnets of networks"},
    {.name = "firewall", .kind = FIELD_OBJECT, .fields = firewall_rows, .doc = "what stands in the way of networks"},
    {.name = "image_gc", .kind = FIELD_OBJECT, .fields = image_gc_rows, .doc = "images go when the disk is full; they stay"},
    {.name = "images", .kind = FIELD_OBJECT, .fields = images_rows, .doc = "what a short name of an image means"},
    {ROW("defaults", FIELD_JSON, defaults), .doc = "part of a spec that every workload begins with"},
    {ROW("registries", FIELD_JSON, registries), .doc = "by host, or *: mirrors, blocked, insecure, ca, certificate, key, timeout"},
    {0},
};
#undef S

#define S struct registry_entry
struct registry_entry { char **mirrors, *ca, *certificate, *key, *timeout; bool blocked, insecure; };
static const struct field registry_rows[] = {
    {ROW("mirrors", FIELD_STRINGS, mirrors), .doc = "asked first, in this order"},
    {ROW("blocked", FIELD_BOOL, blocked), .doc = "it is never asked"},
    {ROW("insecure", FIELD_BOOL, insecure), .doc = "its certificate counts for nothing, HTTP will do"},
    {ROW("ca", FIELD_STRING, ca), .doc = "PEM file of its CA"},
    {ROW("certificate", FIELD_STRING, certificate), .doc = "PEM file of ours"},
    {ROW("key", FIELD_STRING, key), .doc = "PEM file of our key"},
    {ROW("timeout", FIELD_STRING, timeout), .check = check_silence, .doc = "silence that ends it; 30s"},
    {0},
};
#undef S

int settings_registry(const char *host, const json_t *entry, struct berth_error *err)
{
    const struct where all = {.parent = &top, .name = "registries", .document = &settings_document};
    const struct where one = {.parent = &all, .name = host, .document = &settings_document};
    struct registry_entry e = {0};
    int r = fields_parse(registry_rows, &one, entry, &e, err);
    if (r == 0 && !e.certificate != !e.key)
        r = where_fail(&one, err, "certificate and key belong together");
    fields_free(registry_rows, &e);
    return r;
}

/* What holds for the tables that are kept as text, and for two settings together. */
static int check_whole(const json_t *root, const struct settings *s, struct berth_error *err)
{
    const struct where defaults = {.parent = &top, .name = "defaults", .document = &settings_document};
    const struct where registries = {.parent = &top, .name = "registries", .document = &settings_document};
    const struct where gc = {.parent = &top, .name = "image_gc", .document = &settings_document};
    const json_t *hosts = json_object_get(root, "registries"), *part = json_object_get(root, "defaults");
    const char *host;
    json_t *entry;
    int r = 0;
    if (part && !json_is_object(part))
        return where_fail(&defaults, err, "is not a table");
    if (hosts && !json_is_object(hosts))
        return where_fail(&registries, err, "is not a table");
    json_object_foreach((json_t *)(uintptr_t)hosts, host, entry)
        if (r == 0)
            r = settings_registry(host, entry, err);
    if (r == 0 && json_object_get(root, "image_gc") &&
        (!s->image_gc.high || !s->image_gc.low || atoi(s->image_gc.low) > atoi(s->image_gc.high)))
        r = where_fail(&gc, err, "it is { high = \"85%%\", low = \"70%%\" }, and low is not above high");
    return r;
}

int settings_parse(const char *json, size_t length, struct settings **ret, struct berth_error *err)
{
    autojson json_t *root = NULL;
    autoclean(cleanup_settings) struct settings *s = calloc(1, sizeof(*s));
    if (!s)
        return fail_memory(err);
    int r = document_load(&settings_document, json, length, 2 * SETTINGS_MAX_BYTES, &root, err);
    if (r == 0)
        r = fields_parse(settings_fields, &top, root, s, err);
    if (r == 0)
        r = check_whole(root, s, err);
    if (r == 0)
        *ret = TAKE(s);
    return r;
}

char *settings_print(const struct settings *settings)
{
    struct text t = {0};
    text_add(&t, "{");
    fields_print(settings_fields, &settings_document, settings, &t);
    text_add(&t, "}");
    return text_take(&t);
}

/* Members that both have: objects are laid over each other, of anything else the upper one counts. */
static int overlay(json_t *under, json_t *over)
{
    const char *key;
    json_t *value;
    int r = 0;
    json_object_foreach(over, key, value) {
        json_t *old = json_object_get(under, key);
        r |= json_is_object(old) && json_is_object(value) ? overlay(old, value) : json_object_set(under, key, value);
    }
    return r;
}

int settings_defaults(const struct settings *settings, const char *spec_json, char **ret_json, struct berth_error *err)
{
    autojson json_t *spec = NULL, *all = settings->defaults ? json_loads(settings->defaults, 0, NULL) : json_object();
    int r = document_load(&spec_document, spec_json, strlen(spec_json), SPEC_MAX_BYTES, &spec, err);
    if (r < 0)
        return r;
    if (!json_is_object(spec)) /* the parser says so better */
        r = 0, json_decref(all), all = json_incref(spec);
    else if (!all || (settings->cgroup_parent && json_object_set_new(all, "cgroup_parent", json_string(settings->cgroup_parent)) < 0) ||
             overlay(all, spec) < 0)
        return fail_memory(err);
    *ret_json = json_dumps(all, JSON_COMPACT | JSON_ENCODE_ANY);
    return *ret_json ? r : fail_memory(err);
}

void settings_free(struct settings *settings)
{
    if (!settings)
        return;
    fields_free(settings_fields, settings);
    free(settings);
}
