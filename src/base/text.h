/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text: a growing buffer, string lists, and the units people write (sizes, durations, times).
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A growing, always NUL-terminated buffer. Zero-initialise. `failed` sticks after out of memory. */
struct text {
    char *data;
    size_t length, room;
    bool failed;
};
void text_add(struct text *t, const char *s);
void text_add_bytes(struct text *t, const void *data, size_t size);
void text_printf(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_free(struct text *t);
/** Hand the string over ("" rather than NULL); NULL after out of memory. The buffer is empty again. */
char *text_take(struct text *t);
#define autotext __attribute__((cleanup(text_free)))

/** NULL-terminated string arrays. All return NULL / -ENOMEM when memory runs out. */
void strings_free(char **list);
size_t strings_count(char *const *list);
int strings_add(char ***list, const char *s);
char **strings_copy(const char *const *list);
void cleanup_strings(char ***list);
#define autostrings __attribute__((cleanup(cleanup_strings)))

/** printf into a new string; NULL when memory runs out. */
char *format_text(const char *format, ...) __attribute__((format(printf, 1, 2)));

bool starts_with(const char *s, const char *prefix);
bool ends_with(const char *s, const char *suffix);
/** Valid UTF-8 without NUL. */
bool utf8_valid(const char *s, size_t length);
/** Length of the character that s begins with, 1 to 4; 0 when it is none (or the end). */
size_t utf8_char(const char *s);

/** Exactly what it says, or -EINVAL when that is no whole number of bytes.
 *  "1024", "64Ki", "512M", "1.5Gi", "2G": K M G T are powers of 1000, Ki Mi Gi Ti of 1024. 0 / -EINVAL / -ERANGE. */
int size_parse(const char *s, uint64_t *ret_bytes);
/** docker's: k m g t p of either case, with or without b or ib, are powers of 1024; fractions are cut. */
int size_parse_docker(const char *s, uint64_t *ret_bytes);
/** "250ms", "1.5s", "10m", "1h30m", "2d", "100us"; a bare number only when `bare_seconds`. Units from
 *  large to small; never negative; -EINVAL when finer than a microsecond, -ERANGE. */
int duration_parse(const char *s, bool bare_seconds, int64_t *ret_usec);
/** The shortest spelling that duration_parse reads back: "250ms", "1h30m". */
void duration_print(int64_t usec, char ret[32]);

/** RFC 3339 with nanoseconds, UTC: 2026-11-24T10:00:00.123456000Z (30 bytes and NUL). */
void time_print(int64_t usec, char ret[40]);
/** RFC 3339, "YYYY-MM-DD[ HH:MM[:SS[.frac]]]", seconds since 1970[.frac], or a duration meaning "ago".
 *  A date without a zone is in local time. */
int time_parse(const char *s, int64_t now_usec, int64_t *ret_usec);
int64_t now_usec(void);           /**< CLOCK_REALTIME */
int64_t monotonic_usec(void);     /**< CLOCK_MONOTONIC */

/** Nearest of `count` words to `word` (edit distance at most 2 and under half its length), or NULL. */
const char *nearest_word(const char *word, const char *const *words, size_t count);

/** Lower-case hex of n bytes; `ret` has 2n + 1. hex_parse: exactly n bytes, -EINVAL otherwise. */
void hex_print(const void *data, size_t n, char *ret);
int hex_parse(const char *s, void *ret, size_t n);

/** Signal by name ("TERM", "SIGTERM", "rtmin+3") or number; -EINVAL. And its name, "SIGTERM". */
int signal_parse(const char *s);
const char *signal_name(int signal); /* "unknown signal" for what is none */

#endif
