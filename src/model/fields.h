/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structs described by tables: one row per member parses it, checks it, prints it, frees it and
 * explains it. The spec and the plan are nothing but two such tables.
 */
#ifndef MODEL_FIELDS_H
#define MODEL_FIELDS_H

#include "base/error.h"
#include "base/text.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_kind {
    FIELD_STRING,   /* char *; `check` may judge it */
    FIELD_WORD,     /* char *, one of `words` */
    FIELD_CHARS,    /* char[size], one of `words` when there are any */
    FIELD_CHAR,     /* char, a string of one */
    FIELD_ENUM,     /* int, the index into `words` */
    FIELD_STRINGS,  /* char **, NULL at the end; `check` judges each */
    FIELD_BOOL,
    FIELD_INT,      /* signed, of `size` bytes */
    FIELD_UINT,     /* unsigned; 8 bytes without `max`: -1 is all ones ("unlimited") */
    FIELD_DOUBLE,   /* a number, or a string of one */
    FIELD_MODE,     /* uint32_t: permissions, a string of octal digits */
    FIELD_SIZE,     /* uint64_t: bytes, or a string with a unit */
    FIELD_DURATION, /* int64_t microseconds: a string with a unit */
    FIELD_PAIRS,    /* struct spec_pairs: an object of strings, or an array of "name=value" */
    FIELD_OBJECT,   /* a struct inside the struct: `fields` */
    FIELD_ARRAY,    /* pointer and count: items of `size` bytes described by `fields` */
    FIELD_JSON,     /* char *: any value, kept as text */
};

/** Where in the document we are: links on the stack, spelled only when something is wrong. */
struct where {
    const struct where *parent;
    const char *name; /* NULL: item number `index` */
    size_t index;
    const struct document *document;
};
struct document {
    const char *what; /* "spec", "plan" */
    int code;         /* of failures: INVALID for what people wrote, CORRUPT for what we did */
    bool machine;     /* written by us: durations are numbers, empty strings stand */
};

#define FIELD_CHANGES 1u /**< may be changed by an update */
#define FIELD_ALIAS 2u   /**< another spelling of a field: read, never printed */
#define FIELD_UNLIMITED 4u /**< SIZE: "unlimited" is all ones */
#define FIELD_ITEMS_MAX 4096 /* in one array of a document that people wrote */

#define HAS_OFFSET(type, member) (offsetof(type, member) + 1)

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset, size;
    size_t count_offset;  /* ARRAY: its size_t */
    size_t has_offset;    /* 1 + that of the bool that says it is set (HAS_OFFSET); 0: there is none */
    int64_t min, max;     /* numbers; both 0: whatever fits */
    unsigned flags;
    const struct field *fields;     /* a row without name ends it */
    const char *const *words;       /* NULL ends it */
    const char *(*check)(const char *value);            /* NULL or what is wrong: "is not ..." */
    int (*short_form)(const struct where *at, const char *value, void *item,
                      struct berth_error *err);         /* item from a string */
    int (*finish)(const struct where *at, void *item, struct berth_error *err);
    const char *doc;
};

/** Load a document of at most `max` bytes and 64 levels: syntax (line and column), duplicates, UTF-8. */
int document_load(const struct document *document, const char *json, size_t length, size_t max,
                  json_t **ret_root, struct berth_error *err);
/** A JSON number's double, in every locale; false above what a double holds. */
bool real_parse(const char *s, size_t length, double *ret);
/** "path: message" as the document's failure. */
int where_fail(const struct where *at, struct berth_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int where_memory(struct berth_error *err);

/** Fill `base` from an object. On failure what was filled so far stays in `base`: free it. */
int fields_parse(const struct field *fields, const struct where *at, const json_t *object,
                 void *base, struct berth_error *err);
void fields_print(const struct field *fields, const struct document *document, const void *base,
                  struct text *t);
void fields_free(const struct field *fields, void *base);
bool field_is_set(const struct field *f, const void *base);

/** Names that `value` may have been meant as, for messages: NULL or the nearest word. */
const char *nearest_of(const char *const *words, const char *word);

static inline void cleanup_json(json_t **json) { json_decref(*json); }
#define autojson __attribute__((cleanup(cleanup_json)))

#endif
