/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON where a tree of allocated values is too much: written into a text, read without memory.
 */
#ifndef MODEL_JSON_H
#define MODEL_JSON_H

#include "base/text.h"

/** Write: each puts the comma that is due before itself. What is no UTF-8 becomes U+FFFD. */
void json_put_open(struct text *t, const char *key, char bracket); /**< key NULL: none, '{' or '[' */
void json_put_close(struct text *t, char bracket);
void json_put_string(struct text *t, const char *key, const char *value);
void json_put_int(struct text *t, const char *key, int64_t value);
void json_put_uint(struct text *t, const char *key, uint64_t value);
void json_put_bool(struct text *t, const char *key, bool value);
/** A value that is JSON already. */
void json_put_raw(struct text *t, const char *key, const char *json);

/** A place in a document that is being read. */
struct scan {
    const char *at, *end;
};
/** Each skips white space first. Step over `c`; false (and nothing moved) when it is not there. */
bool scan_char(struct scan *s, char c);
/** A string, unescaped into `ret` with NUL; -EINVAL for none or a bad one, -E2BIG when it does not fit. */
int scan_string(struct scan *s, char *ret, size_t room);
/** A whole number; -EINVAL, -ERANGE. */
int scan_int(struct scan *s, int64_t *ret);
int scan_bool(struct scan *s, bool *ret);
/** Any value, at most 32 levels deep. */
int scan_skip(struct scan *s);
/**
 * Next key of an object, or next item of an array: 1 and *first false, 0 at its end, -EINVAL.
 * Begin behind the opening bracket with *first true. `key` NULL for an array; longer keys are cut.
 */
int scan_next(struct scan *s, bool *first, char *key, size_t room);
/** True when nothing but white space is left. */
bool scan_end(struct scan *s);

#endif
