/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spec document: read, written, changed. What its fields are is said in spec_table.c.
 */
#include "model/spec_table.h"
#include "base/base.h"

#include <string.h>

static const struct where top = {.name = "", .document = &spec_document};

static int spec_from_json(const json_t *root, struct spec **ret_spec, struct berth_error *err)
{
    autoclean(cleanup_spec) struct spec *spec = calloc(1, sizeof(*spec));
    if (!spec)
        return fail_memory(err);
    int r = fields_parse(spec_fields, &top, root, spec, err);
    if (r == 0)
        r = spec_finish(&top, spec, err);
    if (r == 0)
        *ret_spec = TAKE(spec);
    return r;
}

int spec_parse(const char *json, size_t length, struct spec **ret_spec, struct berth_error *err)
{
    autojson json_t *root = NULL;
    int r = document_load(&spec_document, json, length, SPEC_MAX_BYTES, &root, err);
    return r < 0 ? r : spec_from_json(root, ret_spec, err);
}

char *spec_print(const struct spec *spec)
{
    struct text t = {0};
    text_add(&t, "{");
    fields_print(spec_fields, &spec_document, spec, &t);
    text_add(&t, "}\n");
    return text_take(&t);
}

void spec_free(struct spec *spec)
{
    if (!spec)
        return;
    fields_free(spec_fields, spec);
    free(spec);
}

/* ---- changing ---------------------------------------------------------------------------------- */

static const struct field *find(const struct field *fields, const char *name)
{
    for (const struct field *f = fields; f->name; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

/* Every field that the patch names may be changed; unknown ones are left to the parser's message. */
static int check_changes(const struct field *fields, const struct where *at, const json_t *patch,
                         struct berth_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)patch, key, value) {
        const struct field *f = find(fields, key);
        struct where here = {.parent = at, .name = key, .document = at->document};
        if (!f || f->flags & FIELD_CHANGES)
            continue;
        if (f->kind != FIELD_OBJECT || !json_is_object(value))
            return where_fail(&here, err, "cannot be changed after create");
        int r = check_changes(f->fields, &here, value, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* patch over target: objects member by member, null takes a member away. */
static int merge(json_t *target, const json_t *patch)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)patch, key, value) {
        json_t *old = json_object_get(target, key);
        int r = 0;
        if (json_is_null(value))
            json_object_del(target, key);
        else if (json_is_object(old) && json_is_object(value))
            r = merge(old, value);
        else
            r = json_object_set(target, key, value);
        if (r < 0)
            return r;
    }
    return 0;
}

int spec_patch(struct spec *spec, const char *patch_json, struct berth_error *err)
{
    autojson json_t *patch = NULL, *whole = NULL;
    autoclean(cleanup_spec) struct spec *changed = NULL;
    autofree char *text = spec_print(spec);
    if (!text)
        return fail_memory(err);
    int r = document_load(&spec_document, patch_json, strlen(patch_json), SPEC_MAX_BYTES, &patch, err);
    if (r < 0)
        return r;
    if (!json_is_object(patch))
        return fail(err, BERTH_INVALID, "spec", "spec: a patch is an object of fields");
    r = check_changes(spec_fields, &top, patch, err);
    if (r == 0)
        r = document_load(&spec_document, text, strlen(text), SIZE_MAX, &whole, err);
    /* a new policy brings its own numbers: "max" of the old one may not even fit it */
    if (r == 0 && json_object_get(json_object_get(patch, "restart"), "policy"))
        json_object_del(whole, "restart");
    if (r == 0 && merge(whole, patch) < 0)
        r = fail_memory(err);
    if (r == 0)
        r = spec_from_json(whole, &changed, err);
    if (r < 0)
        return r;
    struct spec old = *spec;
    *spec = *changed;
    *changed = old;
    return 0;
}

/* ---- what is set ------------------------------------------------------------------------------- */

static int add_set(const struct field *fields, const char *prefix, const void *base, char ***list)
{
    for (const struct field *f = fields; f->name; f++) {
        if (!field_is_set(f, base))
            continue;
        autofree char *name = format_text("%s%s%s", prefix, *prefix ? "." : "", f->name);
        int r = name ? 0 : -ENOMEM;
        if (r == 0)
            r = f->kind == FIELD_OBJECT && !f->has_offset
                    ? add_set(f->fields, name, (const char *)base + f->offset, list)
                    : strings_add(list, name);
        if (r < 0)
            return r;
    }
    return 0;
}

char **spec_fields_set(const struct spec *spec)
{
    autostrings char **list = calloc(2, sizeof(*list)); /* as strings_add would have begun */
    if (!list || add_set(spec_fields, "", spec, &list) < 0)
        return NULL;
    return TAKE(list);
}
