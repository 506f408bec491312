/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that grows, lists of strings, and the small questions one asks of a string.
 */
#include "base/text.h"
#include "base/base.h"

#include <stdio.h>
#include <string.h>

static bool make_room(struct text *t, size_t more)
{
    if (t->failed)
        return false;
    if (more < t->room - t->length && t->data)
        return true;
    size_t room = MAX(t->room * 2, (size_t)128);
    if (more >= SIZE_MAX / 2 - t->length) {
        t->failed = true;
        return false;
    }
    while (room <= t->length + more)
        room *= 2;
    char *data = realloc(t->data, room);
    if (!data) {
        t->failed = true;
        return false;
    }
    t->data = data;
    t->room = room;
    return true;
}

void text_add_bytes(struct text *t, const void *data, size_t size)
{
    if (!make_room(t, size))
        return;
    if (size > 0)
        memcpy(t->data + t->length, data, size);
    t->length += size;
    t->data[t->length] = '\0';
}

void text_add(struct text *t, const char *s)
{
    text_add_bytes(t, s, strlen(s));
}

void text_printf(struct text *t, const char *format, ...)
{
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    if (make_room(t, 64)) {
        int n = vsnprintf(t->data + t->length, t->room - t->length, format, ap);
        if (n < 0) {
            t->failed = true;
        } else if ((size_t)n < t->room - t->length) {
            t->length += (size_t)n;
        } else if (make_room(t, (size_t)n)) {
            vsnprintf(t->data + t->length, t->room - t->length, format, again);
            t->length += (size_t)n;
        }
    }
    va_end(again);
    va_end(ap);
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

char *text_take(struct text *t)
{
    text_add_bytes(t, "", 0);
    char *data = t->failed ? NULL : TAKE(t->data);
    text_free(t);
    return data;
}

void strings_free(char **list)
{
    for (char **s = list; s && *s; s++)
        free(*s);
    free(list);
}

void cleanup_strings(char ***list)
{
    strings_free(*list);
}

size_t strings_count(char *const *list)
{
    size_t n = 0;
    while (list && list[n])
        n++;
    return n;
}

int strings_add(char ***list, const char *s)
{
    size_t n = strings_count(*list);
    /* room doubles: it is full when n + 1 is a power of two */
    if (((n + 1) & n) == 0) {
        char **bigger = reallocarray(*list, (n + 1) * 2, sizeof(**list));
        if (!bigger)
            return -ENOMEM;
        bigger[n] = NULL;
        *list = bigger;
    }
    char *copy = strdup(s);
    if (!copy)
        return -ENOMEM;
    (*list)[n] = copy;
    (*list)[n + 1] = NULL;
    return 0;
}

char **strings_copy(const char *const *list)
{
    autostrings char **copy = NULL;
    size_t n = 0;
    while (list && list[n])
        n++;
    /* as strings_add would have made it, so that it may go on from here */
    size_t room = 2;
    while (room < n + 1)
        room *= 2;
    copy = calloc(room, sizeof(*copy));
    if (!copy)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        copy[i] = strdup(list[i]);
        if (!copy[i])
            return NULL;
    }
    return TAKE(copy);
}

char *format_text(const char *format, ...)
{
    char *s = NULL;
    va_list ap;
    va_start(ap, format);
    int n = vasprintf(&s, format, ap);
    va_end(ap);
    return n < 0 ? NULL : s;
}

bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && memcmp(s + n - m, suffix, m) == 0;
}

/* RFC 3629, table 3-7 of the Unicode standard: lead byte -> length and range of the second byte. */
static const struct utf8_row {
    unsigned char first, last, length, low, high;
} utf8_rows[] = {
    {0x01, 0x7f, 1, 0, 0},       {0xc2, 0xdf, 2, 0x80, 0xbf}, {0xe0, 0xe0, 3, 0xa0, 0xbf},
    {0xe1, 0xec, 3, 0x80, 0xbf}, {0xed, 0xed, 3, 0x80, 0x9f}, {0xee, 0xef, 3, 0x80, 0xbf},
    {0xf0, 0xf0, 4, 0x90, 0xbf}, {0xf1, 0xf3, 4, 0x80, 0xbf}, {0xf4, 0xf4, 4, 0x80, 0x8f},
};

static size_t utf8_length(const unsigned char *u, size_t left)
{
    for (const struct utf8_row *r = utf8_rows; r < utf8_rows + ARRAY_SIZE(utf8_rows); r++) {
        if (u[0] < r->first || u[0] > r->last)
            continue;
        if (r->length > left || (r->length > 1 && (u[1] < r->low || u[1] > r->high)))
            return 0;
        for (size_t i = 2; i < r->length; i++)
            if ((u[i] & 0xc0) != 0x80)
                return 0;
        return r->length;
    }
    return 0;
}

size_t utf8_char(const char *s)
{
    return utf8_length((const unsigned char *)s, strnlen(s, 4));
}

bool utf8_valid(const char *s, size_t length)
{
    for (size_t i = 0; i < length;) {
        if ((signed char)s[i] > 0) { /* ASCII, by far the most */
            i++;
            continue;
        }
        size_t n = utf8_length((const unsigned char *)s + i, length - i);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

#define WORD_MAX 64

/* Edits (insert, delete, change, swap of neighbours) between two short words. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t d = last[j - 1] + (a[i - 1] != b[j - 1]);
            d = MIN(d, MIN(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d = MIN(d, before[j - 2] + 1);
            now[j] = d;
        }
        size_t *spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[m];
}

const char *nearest_word(const char *word, const char *const *words, size_t count)
{
    size_t n = strlen(word), best = 3;
    const char *nearest = NULL;
    if (n > WORD_MAX)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t m = words[i] ? strlen(words[i]) : SIZE_MAX;
        if (m > WORD_MAX || m > n + 2 || n > m + 2)
            continue;
        size_t d = edit_distance(word, n, words[i], m);
        if (d < best && d * 2 < n) {
            best = d;
            nearest = words[i];
        }
    }
    return nearest;
}

void hex_print(const void *data, size_t n, char *ret)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *bytes = data;
    for (size_t i = 0; i < n; i++) {
        ret[2 * i] = digits[bytes[i] >> 4];
        ret[2 * i + 1] = digits[bytes[i] & 15];
    }
    ret[2 * n] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int hex_parse(const char *s, void *ret, size_t n)
{
    uint8_t *bytes = ret;
    if (strnlen(s, 2 * n + 1) != 2 * n)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(s[2 * i]), low = hex_digit(s[2 * i + 1]);
        if (high < 0 || low < 0)
            return -EINVAL;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return 0;
}
