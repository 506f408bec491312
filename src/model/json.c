/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small JSON writer and a reader that allocates nothing, for records on a fast path.
 */
#include "model/json.h"
#include "base/base.h"

#include <ctype.h>
#include <string.h>

/* ASCII that stands in a string as it is */
static bool is_plain(unsigned char c)
{
    return c >= ' ' && c < 0x80 && c != '"' && c != '\\';
}

static void put_escaped(struct text *t, const char *s)
{
    static const char hex[] = "0123456789abcdef";
    text_add_bytes(t, "\"", 1);
    while (*s) {
        size_t plain = 0, n;
        while ((n = is_plain(s[plain]) ? 1 : s[plain] & 0x80 ? utf8_char(s + plain) : 0) > 0)
            plain += n;
        text_add_bytes(t, s, plain);
        s += plain;
        if (*s == '\0')
            break;
        unsigned char c = (unsigned char)*s++;
        if (c == '"' || c == '\\') {
            text_add_bytes(t, (char[]){'\\', (char)c}, 2);
        } else if (c == '\n') {
            text_add_bytes(t, "\\n", 2);
        } else if (c < ' ') {
            text_add_bytes(t, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
        } else {
            text_add_bytes(t, "\xef\xbf\xbd", 3);
        }
    }
    text_add_bytes(t, "\"", 1);
}

static void put_key(struct text *t, const char *key)
{
    if (t->length > 0 && !strchr("{[:", t->data[t->length - 1]))
        text_add_bytes(t, ",", 1);
    if (key) {
        put_escaped(t, key);
        text_add_bytes(t, ":", 1);
    }
}

void json_put_open(struct text *t, const char *key, char bracket)
{
    put_key(t, key);
    text_add_bytes(t, &bracket, 1);
}

void json_put_close(struct text *t, char bracket)
{
    text_add_bytes(t, &bracket, 1);
}

void json_put_string(struct text *t, const char *key, const char *value)
{
    put_key(t, key);
    put_escaped(t, value);
}

void json_put_uint(struct text *t, const char *key, uint64_t value)
{
    char digits[20], *p = digits + sizeof(digits);
    do
        *--p = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    put_key(t, key);
    text_add_bytes(t, p, (size_t)(digits + sizeof(digits) - p));
}

void json_put_int(struct text *t, const char *key, int64_t value)
{
    if (value >= 0) {
        json_put_uint(t, key, (uint64_t)value);
        return;
    }
    put_key(t, key);
    text_add_bytes(t, "-", 1);
    struct text number = {0};
    json_put_uint(&number, NULL, -(uint64_t)value);
    t->failed |= number.failed;
    if (number.data)
        text_add(t, number.data);
    text_free(&number);
}

void json_put_bool(struct text *t, const char *key, bool value)
{
    json_put_raw(t, key, value ? "true" : "false");
}

void json_put_raw(struct text *t, const char *key, const char *json)
{
    put_key(t, key);
    text_add(t, json);
}

static void skip_space(struct scan *s)
{
    while (s->at < s->end && (*s->at == ' ' || *s->at == '\n' || *s->at == '\t' || *s->at == '\r'))
        s->at++;
}

bool scan_char(struct scan *s, char c)
{
    skip_space(s);
    if (s->at == s->end || *s->at != c)
        return false;
    s->at++;
    return true;
}

bool scan_end(struct scan *s)
{
    skip_space(s);
    return s->at == s->end;
}

static int scan_hex4(struct scan *s, uint32_t *ret)
{
    uint8_t bytes[2];
    char digits[5] = {0};
    if (s->end - s->at < 4)
        return -EINVAL;
    memcpy(digits, s->at, 4);
    if (hex_parse(digits, bytes, sizeof(bytes)) < 0)
        return -EINVAL;
    s->at += 4;
    *ret = (uint32_t)bytes[0] << 8 | bytes[1];
    return 0;
}

static size_t utf8_put(uint32_t c, char *ret)
{
    if (c < 0x80) {
        ret[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        ret[i] = (char)(0x80 | (c & 0x3f));
    ret[0] = (char)(lead[n] | c);
    return n;
}

/* Behind "\u": one character, of two surrogates where it takes two. */
static int scan_unicode(struct scan *s, char *ret, size_t *ret_n)
{
    uint32_t c, low;
    if (scan_hex4(s, &c) < 0 || c == 0 || (c >= 0xdc00 && c < 0xe000))
        return -EINVAL;
    if (c >= 0xd800 && c < 0xdc00) {
        if (s->end - s->at < 6 || s->at[0] != '\\' || s->at[1] != 'u')
            return -EINVAL;
        s->at += 2;
        if (scan_hex4(s, &low) < 0 || low < 0xdc00 || low >= 0xe000)
            return -EINVAL;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    *ret_n = utf8_put(c, ret);
    return 0;
}

/* One character of a string, as it is or escaped, as UTF-8 into piece. */
static int scan_piece(struct scan *s, char piece[4], size_t *ret_n)
{
    static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    *ret_n = 1;
    piece[0] = *s->at++;
    if ((unsigned char)piece[0] < ' ')
        return -EINVAL;
    if (piece[0] != '\\')
        return 0;
    if (s->at == s->end)
        return -EINVAL;
    char c = *s->at++;
    if (c == 'u')
        return scan_unicode(s, piece, ret_n);
    for (const char *e = escapes; *e; e += 2) {
        if (*e == c) {
            piece[0] = e[1];
            return 0;
        }
    }
    return -EINVAL;
}

static size_t plain_run(const struct scan *s)
{
    const char *p = s->at;
    while (p < s->end && is_plain(*p))
        p++;
    return (size_t)(p - s->at);
}

/* ret NULL: only step over it. The text is checked for UTF-8 as a whole at its end. */
int scan_string(struct scan *s, char *ret, size_t room)
{
    size_t length = 0, n;
    char piece[4];
    if (!scan_char(s, '"'))
        return -EINVAL;
    const char *begin = s->at;
    while (s->at < s->end && *s->at != '"') {
        n = plain_run(s);
        if (n > 0) {
            if (ret && length + n >= room)
                return -E2BIG;
            if (ret)
                memcpy(ret + length, s->at, n);
            length += n;
            s->at += n;
            continue;
        }
        const char *piece_at = s->at;
        int r = scan_piece(s, piece, &n);
        if (r < 0) {
            if (s->at < s->end) /* where it begins is the place to look at */
                s->at = piece_at;
            return r;
        }
        if (!ret)
            continue;
        if (length + n >= room)
            return -E2BIG;
        memcpy(ret + length, piece, n);
        length += n;
    }
    if (s->at == s->end || !utf8_valid(begin, (size_t)(s->at - begin)))
        return -EINVAL;
    if (ret)
        ret[length] = '\0';
    s->at++;
    return 0;
}

int scan_int(struct scan *s, int64_t *ret)
{
    bool negative = scan_char(s, '-');
    const char *begin = s->at;
    int64_t value = 0; /* built below zero, where the range is larger by one */
    for (; s->at < s->end && isdigit((unsigned char)*s->at); s->at++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, *s->at - '0', &value))
            return -ERANGE;
    if (s->at == begin || (s->at - begin > 1 && *begin == '0'))
        return -EINVAL;
    if (s->at < s->end && strchr(".eE", *s->at))
        return -EINVAL;
    if (!negative && value == INT64_MIN)
        return -ERANGE;
    *ret = negative ? value : -value;
    return 0;
}

static bool scan_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    skip_space(s);
    if ((size_t)(s->end - s->at) < n || memcmp(s->at, word, n) != 0)
        return false;
    s->at += n;
    return true;
}

int scan_bool(struct scan *s, bool *ret)
{
    *ret = scan_word(s, "true");
    return *ret || scan_word(s, "false") ? 0 : -EINVAL;
}

int scan_next(struct scan *s, bool *first, char *key, size_t room)
{
    if (scan_char(s, key ? '}' : ']'))
        return 0;
    if (!*first && !scan_char(s, ','))
        return -EINVAL;
    *first = false;
    if (!key)
        return 1;
    struct scan begin = *s;
    int r = scan_string(s, key, room);
    if (r == -E2BIG) { /* no key of ours is that long */
        *s = begin;
        r = scan_string(s, NULL, 0);
        key[0] = '\0';
    }
    return r < 0 || !scan_char(s, ':') ? -EINVAL : 1;
}

static bool scan_number(struct scan *s)
{
    const char *begin = s->at;
    while (s->at < s->end && *s->at && strchr("+-.0123456789eE", *s->at))
        s->at++;
    return s->at > begin;
}

static int skip_value(struct scan *s, int depth)
{
    char key[2];
    bool first = true;
    int r;
    skip_space(s);
    if (s->at == s->end || depth == 0)
        return -EINVAL;
    if (*s->at == '"')
        return scan_string(s, NULL, 0);
    bool object = *s->at == '{';
    if (!object && *s->at != '[')
        return scan_word(s, "true") || scan_word(s, "false") || scan_word(s, "null") ||
                       scan_number(s)
                   ? 0
                   : -EINVAL;
    s->at++;
    while ((r = scan_next(s, &first, object ? key : NULL, sizeof(key))) > 0)
        if ((r = skip_value(s, depth - 1)) < 0)
            return r;
    return r;
}

int scan_skip(struct scan *s)
{
    return skip_value(s, 32);
}
