/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading and writing structs by their tables. Every failure says where in the document it is, what
 * was found there and what would have been right.
 */
#include "model/fields.h"
#include "base/base.h"
#include "model/json.h"
#include "model/spec.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- failures ---------------------------------------------------------------------------------- */

static size_t where_print(const struct where *at, char *ret, size_t room)
{
    size_t n = at->parent ? where_print(at->parent, ret, room) : 0;
    if (n + 1 >= room || (at->name && at->name[0] == '\0'))
        return n;
    int more = at->name ? snprintf(ret + n, room - n, "%s%.64s", n > 0 ? "." : "", at->name)
                        : snprintf(ret + n, room - n, "[%zu]", at->index);
    return MIN(n + (size_t)MAX(more, 0), room - 1);
}

int where_fail(const struct where *at, struct berth_error *err, const char *format, ...)
{
    char path[136] = "", message[600];
    va_list ap;
    va_start(ap, format);
    vsnprintf(message, sizeof(message), format, ap);
    va_end(ap);
    if (where_print(at, path, sizeof(path)) == 0)
        snprintf(path, sizeof(path), "%s", at->document->what);
    return fail(err, at->document->code, path, "%s: %s", path, message);
}

int where_memory(struct berth_error *err)
{
    return fail_memory(err);
}

/* What was found, as short as it can be said. */
static const char *shown(const json_t *value, char ret[64])
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        return "null (leave the field out instead)";
    case JSON_STRING: {
        const char *s = json_string_value(value);
        snprintf(ret, 64, strlen(s) > 50 ? "\"%.50s...\"" : "\"%s\"", s);
        return ret;
    }
    case JSON_INTEGER:
        snprintf(ret, 64, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return ret;
    case JSON_REAL:
        snprintf(ret, 64, "%g", json_real_value(value));
        return ret;
    }
    return "?";
}

static int wrong_type(const struct where *at, const json_t *value, const char *expected,
                      struct berth_error *err)
{
    char text[64];
    return where_fail(at, err, "expected %s, found %s", expected, shown(value, text));
}

const char *nearest_of(const char *const *words, const char *word)
{
    size_t n = 0;
    while (words[n])
        n++;
    return nearest_word(word, words, n);
}

static int wrong_word(const struct where *at, const char *value, const char *const *words,
                      struct berth_error *err)
{
    char list[300] = "";
    for (size_t i = 0, n = 0; words[i] && n < sizeof(list); i++)
        n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", i > 0 ? ", " : "", words[i]);
    const char *near = nearest_of(words, value);
    return near ? where_fail(at, err, "\"%.64s\" is not one of %s (did you mean %s?)", value, list, near)
                : where_fail(at, err, "\"%.64s\" is not one of %s", value, list);
}

/* ---- reading ----------------------------------------------------------------------------------- */

typedef int parser(const struct field *f, const struct where *at, const json_t *value, void *member,
                   struct berth_error *err);

static int take_string(const struct where *at, const char *value, char **member,
                       struct berth_error *err)
{
    char *copy = strdup(value);
    if (!copy)
        return where_memory(err);
    free(*member);
    *member = copy;
    return 0;
}

static int check_string(const struct field *f, const struct where *at, const char *value,
                        struct berth_error *err)
{
    const char *wrong = f->check ? f->check(value) : NULL;
    return wrong ? where_fail(at, err, "\"%.200s\" %s", value, wrong) : 0;
}

static int parse_string(const struct field *f, const struct where *at, const json_t *value,
                        void *member, struct berth_error *err)
{
    const char *s = json_string_value(value);
    if (!s)
        return wrong_type(at, value, "a string", err);
    if (s[0] == '\0' && !at->document->machine)
        return where_fail(at, err, "is empty (leave the field out instead)");
    int r = check_string(f, at, s, err);
    return r < 0 ? r : take_string(at, s, member, err);
}

/* Index of the word that value is, or a failure. */
static int parse_index(const struct field *f, const struct where *at, const json_t *value,
                       struct berth_error *err)
{
    const char *s = json_string_value(value);
    if (!s)
        return wrong_type(at, value, "a string", err);
    for (int i = 0; f->words[i]; i++)
        if (strcmp(f->words[i], s) == 0)
            return i;
    return wrong_word(at, s, f->words, err);
}

static int parse_word(const struct field *f, const struct where *at, const json_t *value,
                      void *member, struct berth_error *err)
{
    int i = parse_index(f, at, value, err);
    return i < 0 ? i : take_string(at, f->words[i], member, err);
}

static int parse_enum(const struct field *f, const struct where *at, const json_t *value,
                      void *member, struct berth_error *err)
{
    int i = parse_index(f, at, value, err);
    if (i < 0)
        return i;
    *(int *)member = i;
    return 0;
}

static int parse_chars(const struct field *f, const struct where *at, const json_t *value,
                       void *member, struct berth_error *err)
{
    const char *s = json_string_value(value);
    if (!s)
        return wrong_type(at, value, "a string", err);
    int i = f->words ? parse_index(f, at, value, err) : 0;
    if (i < 0)
        return i;
    if (strlen(s) >= f->size)
        return where_fail(at, err, "longer than %zu bytes", f->size - 1);
    snprintf(member, f->size, "%s", s);
    return 0;
}

static int parse_char(const struct field *f, const struct where *at, const json_t *value,
                      void *member, struct berth_error *err)
{
    const char *s = json_string_value(value);
    if (!s || strlen(s) != 1)
        return wrong_type(at, value, "one letter", err);
    *(char *)member = s[0];
    return 0;
}

static int parse_strings(const struct field *f, const struct where *at, const json_t *value,
                         void *member, struct berth_error *err)
{
    size_t i;
    json_t *item;
    if (!json_is_array(value))
        return wrong_type(at, value, "an array of strings", err);
    autostrings char **list = calloc(json_array_size(value) + 1, sizeof(*list));
    if (!list)
        return where_memory(err);
    json_array_foreach(value, i, item) {
        struct where here = {.parent = at, .index = i, .document = at->document};
        const char *s = json_string_value(item);
        if (!s)
            return wrong_type(&here, item, "a string", err);
        int r = check_string(f, &here, s, err);
        if (r == 0)
            r = take_string(&here, s, &list[i], err);
        if (r < 0)
            return r;
    }
    strings_free(*(char ***)member);
    *(char ***)member = TAKE(list);
    return 0;
}

static int parse_bool(const struct field *f, const struct where *at, const json_t *value,
                      void *member, struct berth_error *err)
{
    if (!json_is_boolean(value))
        return wrong_type(at, value, "true or false", err);
    *(bool *)member = json_is_true(value);
    return 0;
}

static void store(void *member, size_t size, uint64_t value)
{
    switch (size) {
    case 1:
        *(uint8_t *)member = (uint8_t)value;
        break;
    case 2:
        *(uint16_t *)member = (uint16_t)value;
        break;
    case 4:
        *(uint32_t *)member = (uint32_t)value;
        break;
    default:
        *(uint64_t *)member = value;
    }
}

static uint64_t load(const void *member, size_t size)
{
    switch (size) {
    case 1:
        return *(const uint8_t *)member;
    case 2:
        return *(const uint16_t *)member;
    case 4:
        return *(const uint32_t *)member;
    default:
        return *(const uint64_t *)member;
    }
}

static int64_t load_signed(const void *member, size_t size)
{
    return size == 4 ? *(const int32_t *)member : *(const int64_t *)member;
}

/* Whether -1 stands for all ones. */
static bool is_unlimited_kind(const struct field *f)
{
    return f->kind == FIELD_UINT && f->size == 8 && f->max == 0;
}

static bool is_unlimited(const json_t *value)
{
    return json_is_string(value) && strcmp(json_string_value(value), "unlimited") == 0;
}

static int parse_integer(const struct field *f, const struct where *at, const json_t *value,
                         void *member, struct berth_error *err)
{
    int bits = (int)f->size * 8;
    bool is_signed = f->kind == FIELD_INT;
    int64_t max = is_signed || bits == 64 ? INT64_MAX >> (64 - bits) : (INT64_C(1) << bits) - 1;
    int64_t min = is_signed ? -max - 1 : 0;
    if (f->min != 0 || f->max != 0) {
        min = f->min;
        max = f->max;
    }
    if (is_unlimited_kind(f) && is_unlimited(value)) {
        store(member, f->size, UINT64_MAX);
        return 0;
    }
    if (!json_is_integer(value))
        return wrong_type(at, value, "a whole number", err);
    int64_t number = json_integer_value(value);
    if (is_unlimited_kind(f) && (number == -1 || at->document->machine))
        min = number;
    if (number < min || number > max)
        return where_fail(at, err, "%lld is not within %lld and %lld", (long long)number,
                          (long long)min, (long long)max);
    store(member, f->size, (uint64_t)number);
    return 0;
}

/* "1.5" or "2": digits and at most one point between them */
static bool decimal_value(const char *s, double *ret)
{
    size_t whole = strspn(s, "0123456789"), length = whole;
    if (s[whole] == '.') {
        size_t part = strspn(s + whole + 1, "0123456789");
        length = part > 0 ? whole + 1 + part : 0;
    }
    return whole > 0 && length > 0 && s[length] == '\0' && real_parse(s, length, ret);
}

static int parse_double(const struct field *f, const struct where *at, const json_t *value,
                        void *member, struct berth_error *err)
{
    char text[64];
    double number;
    if (json_is_number(value))
        number = json_number_value(value);
    else if (!json_is_string(value))
        return wrong_type(at, value, "a number", err);
    else if (!decimal_value(json_string_value(value), &number))
        return where_fail(at, err, "%s is not a number", shown(value, text));
    if (!(number > (double)f->min && number <= (double)f->max))
        return where_fail(at, err, "%s is not above %lld and at most %lld", shown(value, text),
                          (long long)f->min, (long long)f->max);
    *(double *)member = number;
    return 0;
}

static int parse_mode(const struct field *f, const struct where *at, const json_t *value,
                      void *member, struct berth_error *err)
{
    const char *s = json_string_value(value);
    char text[64];
    if (!s)
        return wrong_type(at, value, "octal digits in quotes such as \"0644\"", err);
    size_t n = strspn(s, "01234567");
    unsigned long mode = n > 0 && n <= 6 && s[n] == '\0' ? strtoul(s, NULL, 8) : ULONG_MAX;
    if (mode > (unsigned long)f->max)
        return where_fail(at, err, "%s is not a mode such as \"0644\"", shown(value, text));
    *(uint32_t *)member = (uint32_t)mode;
    return 0;
}

static int parse_size(const struct field *f, const struct where *at, const json_t *value,
                      void *member, struct berth_error *err)
{
    char text[64];
    uint64_t bytes = 0;
    int r = 0;
    if (f->flags & FIELD_UNLIMITED && is_unlimited(value)) {
        *(uint64_t *)member = UINT64_MAX;
        return 0;
    }
    if (json_is_integer(value) && json_integer_value(value) >= 0)
        bytes = (uint64_t)json_integer_value(value);
    else if (json_is_string(value))
        r = size_parse(json_string_value(value), &bytes);
    else
        return wrong_type(at, value, "a size such as \"512M\" or \"1.5Gi\"", err);
    if (r == -EINVAL)
        return where_fail(at, err, "%s is not a size", shown(value, text));
    uint64_t max = f->max > 0 ? (uint64_t)f->max : INT64_MAX;
    if (r < 0 || bytes > max)
        return where_fail(at, err, "%s is too large (at most %llu bytes)", shown(value, text),
                          (unsigned long long)max);
    if (bytes < (uint64_t)f->min)
        return where_fail(at, err, "%s is too small (at least %lld bytes)", shown(value, text),
                          (long long)f->min);
    *(uint64_t *)member = bytes;
    return 0;
}

static int parse_duration(const struct field *f, const struct where *at, const json_t *value,
                          void *member, struct berth_error *err)
{
    char text[64], limit[32];
    int64_t usec;
    if (at->document->machine)
        return parse_integer(&(struct field){.kind = FIELD_INT, .size = 8}, at, value, member, err);
    if (json_is_number(value))
        return where_fail(at, err, "%s has no unit (write \"10s\" or \"250ms\")", shown(value, text));
    if (!json_is_string(value))
        return wrong_type(at, value, "a duration such as \"10s\" or \"250ms\"", err);
    int r = duration_parse(json_string_value(value), false, &usec);
    int64_t bare;
    if (r == -EINVAL && duration_parse(json_string_value(value), true, &bare) == 0)
        return where_fail(at, err, "%s has no unit (write \"10s\" or \"250ms\")", shown(value, text));
    if (r == -EINVAL)
        return where_fail(at, err, "%s is not a duration", shown(value, text));
    int64_t max = f->max > 0 ? f->max : INT64_MAX;
    if (r < 0 || usec > max) {
        duration_print(max, limit);
        return where_fail(at, err, "%s is too long (at most %s)", shown(value, text), limit);
    }
    if (usec < f->min) {
        duration_print(f->min, limit);
        return where_fail(at, err, "%s is too short (at least %s)", shown(value, text), limit);
    }
    *(int64_t *)member = usec;
    return 0;
}

static int pair_order(const void *a, const void *b)
{
    return strcmp(((const struct spec_pair *)a)->name, ((const struct spec_pair *)b)->name);
}

static int add_pair(const struct field *f, const struct where *at, struct spec_pairs *pairs,
                    const char *name, size_t name_length, const char *value,
                    struct berth_error *err)
{
    struct spec_pair p = {.name = strndup(name, name_length), .value = strdup(value)};
    if (!p.name || !p.value) {
        free(p.name);
        free(p.value);
        return where_memory(err);
    }
    pairs->items[pairs->n++] = p;
    return name_length == 0 ? where_fail(at, err, "a name is empty") : check_string(f, at, p.name, err);
}

/* "A=1", "B=2": the last of a name wins, as it does in docker's -e and in execve's readers. */
static void drop_earlier(struct spec_pairs *pairs)
{
    size_t kept = 0;
    for (size_t i = 0; i < pairs->n; i++) {
        if (i + 1 < pairs->n && strcmp(pairs->items[i].name, pairs->items[i + 1].name) == 0) {
            free(pairs->items[i].name);
            free(pairs->items[i].value);
        } else {
            pairs->items[kept++] = pairs->items[i];
        }
    }
    pairs->n = kept;
}

/* qsort() is not stable, and may allocate: order of equal names is kept by merging from below. */
static void sort_pairs(struct spec_pairs *pairs)
{
    for (size_t width = 1; width < pairs->n; width *= 2) {
        for (size_t low = 0; low + width < pairs->n; low += 2 * width) {
            struct spec_pair *a = pairs->items;
            size_t left = low, middle = low + width, end = MIN(low + 2 * width, pairs->n);
            while (left < middle && middle < end) {
                if (pair_order(&a[left], &a[middle]) <= 0) {
                    left++;
                    continue;
                }
                struct spec_pair moved = a[middle];
                memmove(&a[left + 1], &a[left], (middle - left) * sizeof(*a));
                a[left] = moved;
                left++;
                middle++;
            }
        }
    }
}

static int parse_pairs(const struct field *f, const struct where *at, const json_t *value,
                       void *member, struct berth_error *err)
{
    struct spec_pairs *pairs = member;
    const char *key;
    json_t *item;
    size_t i;
    int r = 0;
    if (!json_is_object(value) && !json_is_array(value))
        return wrong_type(at, value, "an object of strings", err);
    size_t count = json_is_object(value) ? json_object_size(value) : json_array_size(value);
    pairs->items = calloc(count + 1, sizeof(*pairs->items));
    if (!pairs->items)
        return where_memory(err);
    json_object_foreach((json_t *)value, key, item) {
        struct where here = {.parent = at, .name = key, .document = at->document};
        if (!json_is_string(item))
            return wrong_type(&here, item, "a string", err);
        r = add_pair(f, &here, pairs, key, strlen(key), json_string_value(item), err);
        if (r < 0)
            return r;
    }
    json_array_foreach(value, i, item) {
        struct where here = {.parent = at, .index = i, .document = at->document};
        const char *s = json_string_value(item), *equals = s ? strchr(s, '=') : NULL;
        if (!equals)
            return wrong_type(&here, item, "\"name=value\"", err);
        r = add_pair(f, &here, pairs, s, (size_t)(equals - s), equals + 1, err);
        if (r < 0)
            return r;
    }
    sort_pairs(pairs);
    drop_earlier(pairs);
    return 0;
}

/* An object, or its short form; then what holds for the whole of it. */
static int parse_struct(const struct field *f, const struct where *at, const json_t *value,
                        void *item, struct berth_error *err)
{
    int r;
    if (json_is_string(value) && f->short_form)
        r = f->short_form(at, json_string_value(value), item, err);
    else if (json_is_object(value) && f->fields)
        r = fields_parse(f->fields, at, value, item, err);
    else
        r = wrong_type(at, value,
                       !f->fields      ? "a string"
                       : f->short_form ? "an object or its short form as a string"
                                       : "an object",
                       err);
    return r == 0 && f->finish ? f->finish(at, item, err) : r;
}

static int parse_array(const struct field *f, const struct where *at, const json_t *value,
                       void *base, struct berth_error *err)
{
    char **items = (char **)((char *)base + f->offset);
    size_t *n = (size_t *)((char *)base + f->count_offset), i;
    json_t *item;
    if (!json_is_array(value))
        return wrong_type(at, value, "an array", err);
    char *bigger = reallocarray(*items, *n + json_array_size(value) + 1, f->size);
    if (!bigger)
        return where_memory(err);
    *items = bigger;
    json_array_foreach(value, i, item) {
        struct where here = {.parent = at, .index = i, .document = at->document};
        if (*n >= FIELD_ITEMS_MAX && !at->document->machine)
            return where_fail(at, err, "more than %d items", FIELD_ITEMS_MAX);
        void *at_item = *items + *n * f->size;
        memset(at_item, 0, f->size);
        (*n)++;
        int r = parse_struct(f, &here, item, at_item, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int parse_json(const struct field *f, const struct where *at, const json_t *value,
                      void *member, struct berth_error *err)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    autojson json_t *again = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
    if (!json_equal(again, value)) { /* without memory, jansson may leave out bytes and say nothing */
        free(text);
        return where_memory(err);
    }
    free(*(char **)member);
    *(char **)member = text;
    return 0;
}

static parser *const parsers[] = {
    [FIELD_STRING] = parse_string,   [FIELD_WORD] = parse_word,
    [FIELD_CHARS] = parse_chars,     [FIELD_CHAR] = parse_char,
    [FIELD_ENUM] = parse_enum,       [FIELD_STRINGS] = parse_strings,
    [FIELD_BOOL] = parse_bool,       [FIELD_INT] = parse_integer,
    [FIELD_UINT] = parse_integer,    [FIELD_DOUBLE] = parse_double,
    [FIELD_MODE] = parse_mode,       [FIELD_SIZE] = parse_size,       [FIELD_DURATION] = parse_duration,
    [FIELD_PAIRS] = parse_pairs,     [FIELD_OBJECT] = parse_struct,
    [FIELD_JSON] = parse_json,
};

static const struct field *find_field(const struct field *fields, const char *name)
{
    for (const struct field *f = fields; f->name; f++)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

/* The group in which a field of this name would have been right, or NULL. */
static const char *group_of(const struct field *fields, const char *name)
{
    for (const struct field *f = fields; f->name; f++)
        if (f->kind == FIELD_OBJECT && find_field(f->fields, name))
            return f->name;
    return NULL;
}

static int unknown_field(const struct field *fields, const struct where *at, const char *name,
                         struct berth_error *err)
{
    const char *names[128];
    size_t n = 0;
    for (const struct field *f = fields; f->name && n < ARRAY_SIZE(names); f++)
        names[n++] = f->name;
    const char *near = nearest_word(name, names, n), *group = group_of(fields, name);
    if (near)
        return where_fail(at, err, "unknown field (did you mean %s?)", near);
    if (group)
        return where_fail(at, err, "unknown field (did you mean %s.%s?)", group, name);
    return where_fail(at, err, "unknown field");
}

int fields_parse(const struct field *fields, const struct where *at, const json_t *object,
                 void *base, struct berth_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return wrong_type(at, object, "an object", err);
    json_object_foreach((json_t *)object, key, value) {
        struct where here = {.parent = at, .name = key, .document = at->document};
        const struct field *f = find_field(fields, key);
        if (!f)
            return unknown_field(fields, &here, key, err);
        int r = f->kind == FIELD_ARRAY
                    ? parse_array(f, &here, value, base, err)
                    : parsers[f->kind](f, &here, value, (char *)base + f->offset, err);
        if (r < 0)
            return r;
        if (f->has_offset)
            *(bool *)((char *)base + f->has_offset - 1) = true;
    }
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------------- */

bool field_is_set(const struct field *f, const void *base)
{
    const char *member = (const char *)base + f->offset;
    if (f->flags & FIELD_ALIAS)
        return false;
    if (f->has_offset)
        return *(const bool *)((const char *)base + f->has_offset - 1);
    switch (f->kind) {
    case FIELD_STRING:
    case FIELD_WORD:
    case FIELD_STRINGS:
    case FIELD_JSON:
        return *(void *const *)member != NULL;
    case FIELD_CHARS:
    case FIELD_CHAR:
        return *member != '\0';
    case FIELD_ENUM:
        return true;
    case FIELD_BOOL:
        return *(const bool *)member;
    case FIELD_INT:
    case FIELD_UINT:
        return load(member, f->size) != 0;
    case FIELD_MODE:
        return *(const uint32_t *)member != 0;
    case FIELD_DOUBLE:
        return *(const double *)member != 0;
    case FIELD_SIZE:
    case FIELD_DURATION:
        return *(const uint64_t *)member != 0;
    case FIELD_PAIRS:
        return ((const struct spec_pairs *)member)->n > 0;
    case FIELD_ARRAY:
        return *(const size_t *)((const char *)base + f->count_offset) > 0;
    case FIELD_OBJECT:
        for (const struct field *g = f->fields; g->name; g++)
            if (field_is_set(g, member))
                return true;
        return false;
    }
    return false;
}

/* The fewest digits that read back as the same number. */
static void put_double(struct text *t, const char *key, double value)
{
    bool plain = value >= 1e-5 && value < 1e15;
    char text[64] = "";
    for (int digits = 0; digits <= 19; digits++) {
        double again;
        snprintf(text, sizeof(text), plain ? "%.*f" : "%.*e", digits, value);
        char *point = strchr(text, ','); /* whatever the host program's locale has */
        if (point)
            *point = '.';
        if (real_parse(text, strlen(text), &again) && again == value)
            break;
    }
    json_put_raw(t, key, text);
}

static void put_strings(struct text *t, const char *key, char *const *list)
{
    json_put_open(t, key, '[');
    for (; *list; list++)
        json_put_string(t, NULL, *list);
    json_put_close(t, ']');
}

static void put_pairs(struct text *t, const char *key, const struct spec_pairs *pairs)
{
    json_put_open(t, key, '{');
    for (size_t i = 0; i < pairs->n; i++)
        json_put_string(t, pairs->items[i].name, pairs->items[i].value);
    json_put_close(t, '}');
}

static void put_array(const struct field *f, const struct document *d, const void *base,
                      struct text *t)
{
    const char *items = *(char *const *)((const char *)base + f->offset);
    size_t n = *(const size_t *)((const char *)base + f->count_offset);
    json_put_open(t, f->name, '[');
    for (size_t i = 0; i < n; i++) {
        json_put_open(t, NULL, '{');
        fields_print(f->fields, d, items + i * f->size, t);
        json_put_close(t, '}');
    }
    json_put_close(t, ']');
}

static void put_duration(struct text *t, const struct document *d, const char *key, int64_t usec)
{
    char text[32];
    duration_print(usec, text);
    if (d->machine)
        json_put_int(t, key, usec);
    else
        json_put_string(t, key, text);
}

/* Above INT64_MAX as its two's complement, see is_unlimited_kind. */
static void put_unsigned(const struct field *f, const struct document *d, uint64_t value,
                         struct text *t)
{
    if (!d->machine && value == UINT64_MAX)
        json_put_string(t, f->name, "unlimited");
    else
        json_put_int(t, f->name, (int64_t)value);
}

static void put_field(const struct field *f, const struct document *d, const void *base,
                      struct text *t)
{
    const char *member = (const char *)base + f->offset;
    switch (f->kind) {
    case FIELD_STRING:
    case FIELD_WORD:
        json_put_string(t, f->name, *(char *const *)member);
        break;
    case FIELD_CHARS:
        json_put_string(t, f->name, member);
        break;
    case FIELD_CHAR:
        json_put_string(t, f->name, (char[]){*member, '\0'});
        break;
    case FIELD_ENUM:
        json_put_string(t, f->name, f->words[*(const int *)member]);
        break;
    case FIELD_STRINGS:
        put_strings(t, f->name, *(char **const *)member);
        break;
    case FIELD_BOOL:
        json_put_bool(t, f->name, *(const bool *)member);
        break;
    case FIELD_INT:
        json_put_int(t, f->name, load_signed(member, f->size));
        break;
    case FIELD_UINT:
    case FIELD_SIZE:
        put_unsigned(f, d, load(member, f->size), t);
        break;
    case FIELD_MODE: {
        char mode[16];
        snprintf(mode, sizeof(mode), "%04o", *(const uint32_t *)member);
        json_put_string(t, f->name, mode);
        break;
    }
    case FIELD_DOUBLE:
        put_double(t, f->name, *(const double *)member);
        break;
    case FIELD_DURATION:
        put_duration(t, d, f->name, *(const int64_t *)member);
        break;
    case FIELD_PAIRS:
        put_pairs(t, f->name, (const struct spec_pairs *)member);
        break;
    case FIELD_ARRAY:
        put_array(f, d, base, t);
        break;
    case FIELD_JSON:
        json_put_raw(t, f->name, *(char *const *)member);
        break;
    case FIELD_OBJECT:
        json_put_open(t, f->name, '{');
        fields_print(f->fields, d, member, t);
        json_put_close(t, '}');
        break;
    }
}

void fields_print(const struct field *fields, const struct document *d, const void *base,
                  struct text *t)
{
    for (const struct field *f = fields; f->name; f++)
        if (field_is_set(f, base))
            put_field(f, d, base, t);
}

/* ---- freeing ----------------------------------------------------------------------------------- */

static void free_array(const struct field *f, void *base)
{
    char **items = (char **)((char *)base + f->offset);
    size_t *n = (size_t *)((char *)base + f->count_offset);
    for (size_t i = 0; i < *n; i++)
        fields_free(f->fields, *items + i * f->size);
    free(*items);
    *items = NULL;
    *n = 0;
}

static void free_pairs(struct spec_pairs *pairs)
{
    for (size_t i = 0; i < pairs->n; i++) {
        free(pairs->items[i].name);
        free(pairs->items[i].value);
    }
    free(pairs->items);
    *pairs = (struct spec_pairs){0};
}

void fields_free(const struct field *fields, void *base)
{
    for (const struct field *f = fields; f->name; f++) {
        void *member = (char *)base + f->offset;
        if (f->flags & FIELD_ALIAS)
            continue;
        switch (f->kind) {
        case FIELD_STRING:
        case FIELD_WORD:
        case FIELD_JSON:
            free(*(char **)member);
            *(char **)member = NULL;
            break;
        case FIELD_STRINGS:
            strings_free(*(char ***)member);
            *(char ***)member = NULL;
            break;
        case FIELD_PAIRS:
            free_pairs(member);
            break;
        case FIELD_ARRAY:
            free_array(f, base);
            break;
        case FIELD_OBJECT:
            fields_free(f->fields, member);
            break;
        default:
            break;
        }
    }
}
