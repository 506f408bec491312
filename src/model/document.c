/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A JSON document into a tree of jansson's values, read by our own reader.
 *
 * jansson's loses bytes when memory runs out in the middle of a string and knows no path for a key
 * that is there twice. Here every failure has a line and a column, or the path to the place.
 */
#include "model/fields.h"
#include "base/base.h"
#include "model/json.h"
#include "model/spec.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

struct loader {
    const struct document *document;
    const char *begin;
    struct scan scan;
    char *scratch; /* as long as the document: room for any string of it */
    size_t room;
    struct berth_error *err;
    int code;      /* of the failure that ended it */
};

static json_t *syntax(struct loader *l, const char *what)
{
    unsigned line = 1, column = 1;
    for (const char *p = l->begin; p < l->scan.at; p++) {
        if (*p == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)*p & 0xc0) != 0x80) {
            column++;
        }
    }
    const char *name = l->document->what;
    l->code = fail(l->err, l->document->code, name, "%s: line %u, column %u: %s", name, line,
                   column, what);
    return NULL;
}

static json_t *no_memory(struct loader *l)
{
    l->code = fail_memory(l->err);
    return NULL;
}

static json_t *load_value(struct loader *l, const struct where *at, int levels);

/* A string into scratch, false with the failure noted. */
static bool load_text(struct loader *l, const char *expected)
{
    if (!scan_char(&l->scan, '"')) {
        syntax(l, expected);
        return false;
    }
    l->scan.at--;
    if (scan_string(&l->scan, l->scratch, l->room) == 0)
        return true;
    if (l->scan.at == l->scan.end)
        syntax(l, "a string without end");
    else
        syntax(l, "a bad escape or a control character in a string");
    return false;
}

static json_t *load_object(struct loader *l, const struct where *at, int levels)
{
    autojson json_t *object = json_object();
    if (!object)
        return no_memory(l);
    if (scan_char(&l->scan, '}'))
        return TAKE(object);
    do {
        if (!load_text(l, "a field name in quotes is expected"))
            return NULL;
        autofree char *key = strdup(l->scratch);
        if (!key)
            return no_memory(l);
        struct where here = {.parent = at, .name = key, .document = at->document};
        if (json_object_get(object, key)) {
            l->code = where_fail(&here, l->err, "is there twice");
            return NULL;
        }
        if (!scan_char(&l->scan, ':'))
            return syntax(l, "a colon is expected");
        json_t *value = load_value(l, &here, levels);
        if (!value)
            return NULL;
        if (json_object_set_new_nocheck(object, key, value) < 0)
            return no_memory(l);
    } while (scan_char(&l->scan, ','));
    return scan_char(&l->scan, '}') ? TAKE(object) : syntax(l, "a comma or } is expected");
}

static json_t *load_array(struct loader *l, const struct where *at, int levels)
{
    autojson json_t *array = json_array();
    if (!array)
        return no_memory(l);
    if (scan_char(&l->scan, ']'))
        return TAKE(array);
    do {
        struct where here = {.parent = at, .index = json_array_size(array),
                             .document = at->document};
        json_t *value = load_value(l, &here, levels);
        if (!value)
            return NULL;
        if (json_array_append_new(array, value) < 0)
            return no_memory(l);
    } while (scan_char(&l->scan, ','));
    return scan_char(&l->scan, ']') ? TAKE(array) : syntax(l, "a comma or ] is expected");
}

static size_t digits(const char **p, const char *end)
{
    const char *begin = *p;
    while (*p < end && isdigit((unsigned char)**p))
        (*p)++;
    return (size_t)(*p - begin);
}

/* Step over a number as RFC 8259 spells it; NULL when it is none. */
static const char *number_end(const char *p, const char *end, bool *is_whole)
{
    p += p < end && *p == '-';
    const char *first = p;
    size_t n = digits(&p, end);
    if (n == 0 || (n > 1 && *first == '0'))
        return NULL;
    *is_whole = true;
    if (p < end && *p == '.') {
        *is_whole = false;
        p++;
        if (digits(&p, end) == 0)
            return NULL;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        *is_whole = false;
        p++;
        p += p < end && (*p == '+' || *p == '-');
        if (digits(&p, end) == 0)
            return NULL;
    }
    return p;
}

static json_t *load_number(struct loader *l)
{
    bool is_whole;
    int64_t whole;
    double value;
    const char *end = number_end(l->scan.at, l->scan.end, &is_whole);
    if (!end)
        return syntax(l, "a value is expected");
    if (is_whole && scan_int(&l->scan, &whole) < 0)
        return syntax(l, "a number too large");
    if (!is_whole && !real_parse(l->scan.at, (size_t)(end - l->scan.at), &value))
        return syntax(l, "a number too large");
    l->scan.at = end;
    json_t *number = is_whole ? json_integer(whole) : json_real(value);
    return number ? number : no_memory(l);
}

static bool load_word(struct loader *l, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(l->scan.end - l->scan.at) < n || memcmp(l->scan.at, word, n) != 0)
        return false;
    l->scan.at += n;
    return true;
}

static json_t *load_value(struct loader *l, const struct where *at, int levels)
{
    scan_end(&l->scan);
    char c = l->scan.at < l->scan.end ? *l->scan.at : '\0';
    if (c == '"') {
        if (!load_text(l, "a string is expected"))
            return NULL;
        json_t *string = json_string_nocheck(l->scratch);
        return string ? string : no_memory(l);
    }
    if (c == '{' || c == '[') {
        if (levels == 0) {
            l->code = fail(l->err, l->document->code, l->document->what,
                           "%s: nested deeper than %d levels", l->document->what, SPEC_MAX_DEPTH);
            return NULL;
        }
        l->scan.at++;
        return c == '{' ? load_object(l, at, levels - 1) : load_array(l, at, levels - 1);
    }
    if (load_word(l, "true"))
        return json_true();
    if (load_word(l, "false"))
        return json_false();
    if (load_word(l, "null"))
        return json_null();
    return load_number(l);
}

/* First byte that is no UTF-8; NUL is none to us. */
static bool find_bad_byte(struct loader *l)
{
    size_t length = (size_t)(l->scan.end - l->begin);
    if (utf8_valid(l->begin, length))
        return false;
    while (l->scan.at < l->scan.end) { /* the document ends with NUL: see document_load */
        size_t n = utf8_char(l->scan.at);
        if (n == 0)
            break;
        l->scan.at += n;
    }
    return true;
}

static json_t *load(struct loader *l)
{
    const struct where top = {.name = "", .document = l->document};
    if (find_bad_byte(l)) {
        char what[40];
        snprintf(what, sizeof(what), "byte 0x%02x is not UTF-8", (unsigned char)*l->scan.at);
        return syntax(l, what);
    }
    autojson json_t *root = load_value(l, &top, SPEC_MAX_DEPTH);
    if (!root)
        return NULL;
    return scan_end(&l->scan) ? TAKE(root) : syntax(l, "more text behind the document");
}

int document_load(const struct document *d, const char *json, size_t length, size_t max,
                  json_t **ret_root, struct berth_error *err)
{
    if (length > max)
        return fail(err, BERTH_TOO_BIG, d->what, "%s: %zu bytes are above the limit of %zu", d->what,
                    length, max);
    autofree char *copy = malloc(length + 1);
    autofree char *scratch = malloc(length + 1);
    if (!copy || !scratch)
        return fail_memory(err);
    memcpy(copy, json, length);
    copy[length] = '\0';
    struct loader l = {.document = d, .begin = copy, .scan = {.at = copy, .end = copy + length},
                       .scratch = scratch, .room = length + 1, .err = err};
    json_t *root = load(&l);
    if (!root)
        return l.code;
    *ret_root = root;
    return 0;
}

/* Without strtod(), which listens to the host program's locale. */
bool real_parse(const char *s, size_t length, double *ret)
{
    uint64_t mantissa = 0;
    int64_t exponent = 0, written = 0;
    const char *p = s, *end = s + length;
    bool negative = p < end && *p == '-', in_part = false;
    for (p += negative; p < end && (isdigit((unsigned char)*p) || *p == '.'); p++) {
        if (*p == '.') {
            in_part = true;
        } else if (mantissa <= (UINT64_MAX - 9) / 10) {
            mantissa = mantissa * 10 + (uint64_t)(*p - '0');
            exponent -= in_part;
        } else { /* beyond what a double can tell */
            exponent += !in_part;
        }
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        bool below = ++p < end && *p == '-';
        for (p += p < end && (*p == '-' || *p == '+'); p < end && isdigit((unsigned char)*p); p++)
            written = MIN(written * 10 + (*p - '0'), (int64_t)100000);
        exponent += below ? -written : written;
    }
    long double value = (long double)mantissa;
    for (; exponent > 0 && value <= 1e310L && mantissa > 0; exponent--)
        value *= 10;
    long double scale = 1;
    for (; exponent < 0 && scale < 1e4000L; exponent++)
        scale *= 10;
    value /= scale;
    *ret = (double)(negative ? -value : value);
    return value <= 1.7976931348623157e308L;
}
