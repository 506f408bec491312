/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON Schema of a spec, made from the table that parses it, so that the two cannot disagree.
 */
#include "model/spec_table.h"
#include "base/base.h"
#include "model/json.h"

#include <stdatomic.h>
#include <string.h>

#define SIZE_PATTERN "^[0-9]+(\\.[0-9]+)?(K|M|G|T|Ki|Mi|Gi|Ti)?$"
#define DURATION_PATTERN "^([0-9]+(\\.[0-9]+)?(d|h|m|s|ms|us|ns))+$"

static void put_schema(const struct field *f, struct text *t);

static void put_type(struct text *t, const char *type)
{
    json_put_string(t, "type", type);
}

static void put_words(struct text *t, const char *const *words)
{
    if (!words)
        return;
    json_put_open(t, "enum", '[');
    for (; *words; words++)
        json_put_string(t, NULL, *words);
    json_put_close(t, ']');
}

static void put_range(const struct field *f, struct text *t)
{
    bool is_signed = f->kind == FIELD_INT;
    if (f->min != 0 || !is_signed)
        json_put_int(t, "minimum", f->min);
    if (f->max != 0)
        json_put_int(t, "maximum", f->max);
}

/* {"anyOf":[{"type":"string","pattern":...}, ...: the caller goes on with the other form. */
static void open_any_of(struct text *t, const char *pattern)
{
    json_put_open(t, "anyOf", '[');
    json_put_open(t, NULL, '{');
    put_type(t, "string");
    if (pattern)
        json_put_string(t, "pattern", pattern);
    json_put_close(t, '}');
    json_put_open(t, NULL, '{');
}

static void close_any_of(struct text *t)
{
    json_put_close(t, '}');
    json_put_close(t, ']');
}

static void put_strings_of(struct text *t, const char *key)
{
    json_put_open(t, key, '{');
    put_type(t, "string");
    json_put_close(t, '}');
}

static void put_number_or_text(const struct field *f, struct text *t, const char *number,
                               const char *pattern)
{
    open_any_of(t, pattern);
    put_type(t, number);
    put_range(f, t);
    close_any_of(t);
}

static void put_properties(const struct field *fields, struct text *t)
{
    put_type(t, "object");
    json_put_bool(t, "additionalProperties", false);
    json_put_open(t, "properties", '{');
    for (const struct field *f = fields; f->name; f++) {
        json_put_open(t, f->name, '{');
        if (f->doc)
            json_put_string(t, "description", f->doc);
        put_schema(f, t);
        json_put_close(t, '}');
    }
    json_put_close(t, '}');
}

/* An object, its short form, or (volumes) the short form alone. */
static void put_struct(const struct field *f, struct text *t)
{
    if (!f->fields) {
        put_type(t, "string");
    } else if (f->short_form) {
        open_any_of(t, NULL);
        put_properties(f->fields, t);
        close_any_of(t);
    } else {
        put_properties(f->fields, t);
    }
}

static void put_pairs(struct text *t)
{
    json_put_open(t, "anyOf", '[');
    json_put_open(t, NULL, '{');
    put_type(t, "object");
    put_strings_of(t, "additionalProperties");
    json_put_close(t, '}');
    json_put_open(t, NULL, '{');
    put_type(t, "array");
    json_put_open(t, "items", '{');
    put_type(t, "string");
    json_put_string(t, "pattern", "^[^=]+=");
    json_put_close(t, '}');
    json_put_close(t, '}');
    json_put_close(t, ']');
}

static void put_schema(const struct field *f, struct text *t)
{
    switch (f->kind) {
    case FIELD_STRING:
        put_type(t, "string");
        json_put_int(t, "minLength", 1);
        break;
    case FIELD_WORD:
    case FIELD_CHARS:
    case FIELD_CHAR:
    case FIELD_ENUM:
        put_type(t, "string");
        put_words(t, f->words);
        break;
    case FIELD_STRINGS:
        put_type(t, "array");
        put_strings_of(t, "items");
        break;
    case FIELD_BOOL:
        put_type(t, "boolean");
        break;
    case FIELD_UINT:
        if (f->size == 8 && f->max == 0) {
            put_number_or_text(&(struct field){.kind = FIELD_INT, .min = -1}, t, "integer",
                               "^unlimited$");
            break;
        }
        /* fall through */
    case FIELD_INT:
        put_type(t, "integer");
        put_range(f, t);
        break;
    case FIELD_DOUBLE:
        open_any_of(t, "^[0-9]+(\\.[0-9]+)?$");
        put_type(t, "number");
        json_put_int(t, "exclusiveMinimum", f->min);
        json_put_int(t, "maximum", f->max);
        close_any_of(t);
        break;
    case FIELD_MODE:
        put_type(t, "string");
        json_put_string(t, "pattern", "^[0-7]{1,6}$");
        break;
    case FIELD_SIZE:
        put_number_or_text(f, t, "integer",
                           f->flags & FIELD_UNLIMITED ? "^unlimited$|" SIZE_PATTERN : SIZE_PATTERN);
        break;
    case FIELD_DURATION:
        put_type(t, "string");
        json_put_string(t, "pattern", DURATION_PATTERN);
        break;
    case FIELD_PAIRS:
        put_pairs(t);
        break;
    case FIELD_OBJECT:
        put_struct(f, t);
        break;
    case FIELD_ARRAY:
        put_type(t, "array");
        json_put_int(t, "maxItems", FIELD_ITEMS_MAX);
        json_put_open(t, "items", '{');
        put_struct(f, t);
        json_put_close(t, '}');
        break;
    case FIELD_JSON:
        put_type(t, "object");
        break;
    }
}

static char *make_schema(void)
{
    struct text t = {0};
    json_put_open(&t, NULL, '{');
    json_put_string(&t, "$schema", "https://json-schema.org/draft/2020-12/schema");
    json_put_string(&t, "title", "A workload of berth: see berth-spec(5)");
    put_properties(spec_fields, &t);
    json_put_close(&t, '}');
    text_add(&t, "\n");
    return text_take(&t);
}

const char *spec_schema(void)
{
    static _Atomic(char *) made;
    char *text = atomic_load(&made);
    if (text)
        return text;
    char *mine = make_schema(), *none = NULL;
    if (!mine || atomic_compare_exchange_strong(&made, &none, mine))
        return mine;
    free(mine); /* another thread was first */
    return none;
}
