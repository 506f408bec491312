/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text as people type and read it: sizes, durations, times, nearest words.
 *
 * Sizes are docker's here (k, m, g are powers of 1024), not the spec's: whoever types -m 512m knows
 * what docker makes of it.
 */
#include "cli.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

static void end_without_memory(void)
{
    static const char message[] = "berth: out of memory\n";
    if (write(STDERR_FILENO, message, sizeof(message) - 1) < 0)
        _exit(EXIT_BERTH_FAILED);
    _exit(EXIT_FAILED);
}

void *memory_new(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (!p)
        end_without_memory();
    return p;
}

void *memory_grow(void *old, size_t size)
{
    void *p = realloc(old, size ? size : 1);
    if (!p)
        end_without_memory();
    return p;
}

char *text_copy(const char *s)
{
    char *p = strdup(s);
    if (!p)
        end_without_memory();
    return p;
}

char *text_new(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *p = NULL;
    int n = vasprintf(&p, format, list);
    va_end(list);
    if (n < 0)
        end_without_memory();
    return p;
}

void cleanup_pointer(void *p)
{
    free(*(void **)p);
}

void cleanup_json(json_t **json)
{
    json_decref(*json);
}

void cleanup_status(struct berth_status **status)
{
    berth_status_free(*status);
}

bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

bool text_is_true(const char *s, bool *ret_value)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true}, {"1", true}, {"yes", true}, {"false", false}, {"0", false}, {"no", false}};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcasecmp(s, words[i].word) == 0) {
            *ret_value = words[i].value;
            return true;
        }
    return false;
}

/* Levenshtein with transpositions, over words short enough for a fixed table. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { MOST = 40 };
    size_t n = strlen(a), m = strlen(b);
    if (n >= MOST || m >= MOST)
        return SIZE_MAX;
    uint8_t d[MOST + 1][MOST + 1];
    for (size_t i = 0; i <= n; i++)
        d[i][0] = (uint8_t)i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = (uint8_t)j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1u < best)
                best = d[i - 1][j] + 1u;
            if (d[i][j - 1] + 1u < best)
                best = d[i][j - 1] + 1u;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1u < best)
                best = d[i - 2][j - 2] + 1u;
            d[i][j] = (uint8_t)best;
        }
    return d[n][m];
}

void nearest_try(struct nearest *nearest, const char *candidate)
{
    size_t distance = edit_distance(nearest->word, candidate);
    if (distance > 2 || 2 * distance >= strlen(nearest->word) + 1)
        return;
    if (!nearest->best || distance < nearest->distance) {
        nearest->best = candidate;
        nearest->distance = distance;
    }
}

int parse_integer(const char *s, int64_t least, int64_t most, int64_t *ret_value)
{
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)s[0]) && !((s[0] == '-' || s[0] == '+') && isdigit((unsigned char)s[1])))
        return -EINVAL;
    long long v = strtoll(s, &end, 10);
    if (errno || *end || v < least || v > most)
        return -EINVAL;
    *ret_value = v;
    return 0;
}

/* A decimal number without sign, exponent or name. */
static int parse_decimal(const char *s, const char **ret_end, double *ret_value)
{
    const char *p = s;
    double v = 0, scale = 1;
    while (isdigit((unsigned char)*p))
        v = v * 10 + (*p++ - '0');
    if (*p == '.' && isdigit((unsigned char)p[1]))
        for (p++; isdigit((unsigned char)*p); p++)
            v += (*p - '0') * (scale /= 10);
    if (p == s || !(v < 1e18))
        return -EINVAL;
    *ret_end = p;
    *ret_value = v;
    return 0;
}

int parse_size(const char *s, uint64_t *ret_bytes)
{
    static const char units[] = "bkmgtp";
    const char *p;
    double v, factor = 1;
    if (parse_decimal(s, &p, &v) < 0)
        return -EINVAL;
    if (*p == ' ')
        p++;
    if (*p) {
        const char *unit = strchr(units, tolower((unsigned char)*p++));
        if (!unit)
            return -EINVAL;
        factor = (double)(1ull << 10 * (unit - units));
        if (unit != units && (*p == 'i' || *p == 'I'))
            p++;
        if (unit != units && (*p == 'b' || *p == 'B'))
            p++;
    }
    if (*p || v * factor >= 9.2e18)
        return -EINVAL;
    *ret_bytes = (uint64_t)(v * factor);
    return 0;
}

int parse_duration(const char *s, int64_t *ret_usec)
{
    static const struct {
        const char *unit;
        double usec;
    } units[] = {{"ns", 1e-3}, {"us", 1}, {"ms", 1e3}, {"s", 1e6},
                 {"m", 60e6}, {"h", 3600e6}, {"d", 86400e6}, {"w", 604800e6}};
    double total = 0;
    for (bool first = true; *s || first; first = false) {
        const char *p;
        double v;
        if (parse_decimal(s, &p, &v) < 0)
            return -EINVAL;
        size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz"), i = 0;
        if (n == 0 && first && !*p) {
            total = v * 1e6;
            break;
        }
        while (i < ARRAY_SIZE(units) && !(strlen(units[i].unit) == n && !memcmp(p, units[i].unit, n)))
            i++;
        if (i == ARRAY_SIZE(units))
            return -EINVAL;
        total += v * units[i].usec;
        s = p + n;
    }
    if (total > 9e18)
        return -EINVAL;
    *ret_usec = (int64_t)(total + 0.5);
    return 0;
}

/* The offset behind a time of day: "Z", "+02:00", or nothing, which is local time. */
static int parse_zone(const char *s, struct tm *tm, int64_t *ret_seconds)
{
    if (!*s) {
        tm->tm_isdst = -1;
        *ret_seconds = mktime(tm);
        return 0;
    }
    int64_t offset = 0;
    if (*s == 'Z' || *s == 'z') {
        s++;
    } else if (*s == '+' || *s == '-') {
        int hours, minutes, n = 0;
        if (sscanf(s + 1, "%2d:%2d%n", &hours, &minutes, &n) != 2 || n != 5)
            return -EINVAL;
        offset = (hours * 60 + minutes) * 60 * (*s == '-' ? -1 : 1);
        s += 6;
    }
    if (*s)
        return -EINVAL;
    *ret_seconds = timegm(tm) - offset;
    return 0;
}

static int parse_date(const char *s, int64_t *ret_usec)
{
    struct tm tm = {0};
    const char *rest = strptime(s, "%Y-%m-%d", &tm);
    double fraction = 0;
    if (!rest)
        return -EINVAL;
    if (*rest == 'T' || *rest == 't' || *rest == ' ') {
        const char *time = rest + 1;
        rest = strptime(time, "%H:%M:%S", &tm);
        if (!rest)
            rest = strptime(time, "%H:%M", &tm);
        if (!rest)
            return -EINVAL;
        if (*rest == '.') {
            char digits[24] = "0.";
            size_t n = strspn(rest + 1, "0123456789");
            if (n == 0 || n > 18)
                return -EINVAL;
            memcpy(digits + 2, rest + 1, n);
            fraction = strtod(digits, NULL);
            rest += n + 1;
        }
    }
    int64_t seconds;
    if (parse_zone(rest, &tm, &seconds) < 0)
        return -EINVAL;
    *ret_usec = seconds * 1000000 + (int64_t)(fraction * 1e6 + 0.5);
    return 0;
}

int parse_time(const char *s, int64_t *ret_usec)
{
    const char *end;
    double seconds;
    int64_t ago;
    if (parse_date(s, ret_usec) == 0)
        return 0;
    if (strcmp(s, "now") == 0) {
        *ret_usec = clock_usec();
        return 0;
    }
    if (parse_decimal(s, &end, &seconds) == 0 && !*end && seconds < 9e12) {
        *ret_usec = (int64_t)(seconds * 1e6 + 0.5);
        return 0;
    }
    if (parse_duration(s, &ago) < 0)
        return -EINVAL;
    *ret_usec = clock_usec() - ago;
    return 0;
}

int parse_signal(const char *s)
{
    int64_t number;
    if (parse_integer(s, 1, SIGRTMAX, &number) == 0)
        return (int)number;
    if (strncasecmp(s, "SIG", 3) == 0)
        s += 3;
    for (int i = 1; i < NSIG; i++) {
        const char *name = sigabbrev_np(i);
        if (name && strcasecmp(name, s) == 0)
            return i;
    }
    if (strncasecmp(s, "RTMIN", 5) == 0)
        return !s[5] ? SIGRTMIN
               : s[5] == '+' && !parse_integer(s + 6, 0, SIGRTMAX - SIGRTMIN, &number)
                   ? SIGRTMIN + (int)number
                   : -1;
    return strcasecmp(s, "RTMAX") == 0 ? SIGRTMAX : -1;
}

static int64_t clock_read(clockid_t clock)
{
    struct timespec ts;
    clock_gettime(clock, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_usec(void)
{
    return clock_read(CLOCK_REALTIME);
}

int64_t monotonic_usec(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

const char *human_size(uint64_t bytes, char ret[SHORT_TEXT])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    size_t i = 0;
    while (v >= 1023.95 && i + 1 < ARRAY_SIZE(units)) {
        v /= 1024;
        i++;
    }
    /* one decimal below a hundred, none where it would be a zero */
    double off = v - (double)(int64_t)(v + 0.5);
    bool whole = i == 0 || v >= 99.95 || (off < 0.05 && off > -0.05);
    snprintf(ret, SHORT_TEXT, whole ? "%.0f %s" : "%.1f %s", v, units[i]);
    return ret;
}

const char *human_span(int64_t usec, char ret[SHORT_TEXT])
{
    int64_t s = usec / 1000000;
    if (usec < 0)
        usec = s = 0;
    if (s < 1)
        snprintf(ret, SHORT_TEXT, "%" PRId64 "ms", usec / 1000);
    else if (s < 60)
        snprintf(ret, SHORT_TEXT, "%" PRId64 "s", s);
    else if (s < 3600)
        snprintf(ret, SHORT_TEXT, "%" PRId64 "m %" PRId64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(ret, SHORT_TEXT, "%" PRId64 "h %" PRId64 "m", s / 3600, s % 3600 / 60);
    else
        snprintf(ret, SHORT_TEXT, "%" PRId64 "d %" PRId64 "h", s / 86400, s % 86400 / 3600);
    return ret;
}

const char *human_when(int64_t usec, char ret[SHORT_TEXT])
{
    static const struct {
        int64_t seconds;
        const char *unit;
    } units[] = {{31536000, "year"}, {2592000, "month"}, {604800, "week"}, {86400, "day"},
                 {3600, "hour"}, {60, "minute"}, {1, "second"}};
    if (usec == 0) {
        snprintf(ret, SHORT_TEXT, "never");
        return ret;
    }
    int64_t ago = (clock_usec() - usec) / 1000000, n = ago < 0 ? -ago : ago;
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (n >= units[i].seconds) {
            int64_t count = n / units[i].seconds;
            snprintf(ret, SHORT_TEXT, "%s%" PRId64 " %s%s%s", ago < 0 ? "in " : "", count,
                     units[i].unit, count == 1 ? "" : "s", ago < 0 ? "" : " ago");
            return ret;
        }
    snprintf(ret, SHORT_TEXT, "just now");
    return ret;
}

const char *time_text(int64_t usec, char ret[SHORT_TEXT])
{
    time_t seconds = usec / 1000000;
    struct tm tm;
    char date[32];
    gmtime_r(&seconds, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(ret, SHORT_TEXT, "%s.%06d000Z", date, (int)(usec % 1000000));
    return ret;
}

char *text_plain(const char *s)
{
    char *out = memory_new(strlen(s) * 4 + 1), *p = out;
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        /* C1 controls as UTF-8 (0xc2 0x80..0x9f) steer some terminals too */
        bool c1 = c == 0xc2 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] <= 0x9f;
        if (c < 0x20 || c == 0x7f || c1)
            p += snprintf(p, 5, "\\x%02x", c1 ? (unsigned char)*++s : c);
        else
            *p++ = (char)c;
    }
    *p = '\0';
    return out;
}
