/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The units people write: sizes, durations, times, signals.
 *
 * Exact or refused: nothing is rounded behind the writer's back (but docker's sizes, as docker does).
 */
#include "base/text.h"
#include "base/base.h"

#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* A decimal number, not yet multiplied: whole + part / scale. */
struct decimal {
    uint64_t whole, part, scale;
};

/* Digits with an optional fraction; *s is moved behind them. */
static int decimal_read(const char **s, struct decimal *ret)
{
    const char *p = *s;
    struct decimal d = {.scale = 1};
    if (!isdigit((unsigned char)*p))
        return -EINVAL;
    for (; isdigit((unsigned char)*p); p++)
        if (__builtin_mul_overflow(d.whole, 10u, &d.whole) ||
            __builtin_add_overflow(d.whole, (uint64_t)(*p - '0'), &d.whole))
            return -ERANGE;
    if (*p == '.') {
        if (!isdigit((unsigned char)*++p))
            return -EINVAL;
        for (uint64_t zeros = 1; isdigit((unsigned char)*p); p++) {
            if (*p == '0') { /* counts only when a digit follows */
                zeros = MIN(zeros * 10, UINT64_C(1000000000000000000));
                continue;
            }
            if (zeros >= UINT64_C(100000000000000000) / d.scale)
                return -EINVAL; /* finer than any unit can hold */
            d.scale *= zeros * 10;
            d.part = d.part * zeros * 10 + (uint64_t)(*p - '0');
            zeros = 1;
        }
    }
    *s = p;
    *ret = d;
    return 0;
}

/* d * factor, at most `max`; a rest below one is an error, or dropped with `round_down`. */
static int decimal_times(struct decimal d, uint64_t factor, uint64_t max, bool round_down,
                         uint64_t *ret)
{
    unsigned __int128 part = (unsigned __int128)d.part * factor;
    if (part % d.scale != 0 && !round_down)
        return -EINVAL;
    unsigned __int128 all = (unsigned __int128)d.whole * factor + part / d.scale;
    if (all > max)
        return -ERANGE;
    *ret = (uint64_t)all;
    return 0;
}

static const struct unit *unit_find(const struct unit *units, size_t n, const char *name,
                                    size_t length)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(units[i].name) == length && memcmp(units[i].name, name, length) == 0)
            return &units[i];
    return NULL;
}

static const struct unit size_units[] = {
    {"", 1},
    {"K", 1000}, {"M", 1000000}, {"G", 1000000000}, {"T", 1000000000000},
    {"Ki", 1ull << 10}, {"Mi", 1ull << 20}, {"Gi", 1ull << 30}, {"Ti", 1ull << 40},
};

int size_parse(const char *s, uint64_t *ret_bytes)
{
    struct decimal d;
    int r = decimal_read(&s, &d);
    if (r < 0)
        return r;
    const struct unit *u = unit_find(size_units, ARRAY_SIZE(size_units), s, strlen(s));
    return u ? decimal_times(d, u->factor, UINT64_MAX, false, ret_bytes) : -EINVAL;
}

int size_parse_docker(const char *s, uint64_t *ret_bytes)
{
    static const char letters[] = "kmgtp";
    struct decimal d;
    int r = decimal_read(&s, &d);
    if (r < 0)
        return r;
    if (*s == ' ')
        s++;
    uint64_t factor = 1;
    const char *letter = *s ? strchr(letters, tolower((unsigned char)*s)) : NULL;
    if (letter) {
        factor = UINT64_C(1) << 10 * (letter - letters + 1);
        s++;
        if (tolower((unsigned char)s[0]) == 'i' && tolower((unsigned char)s[1]) == 'b')
            s++;
    }
    if (tolower((unsigned char)*s) == 'b')
        s++;
    return *s ? -EINVAL : decimal_times(d, factor, UINT64_MAX, true, ret_bytes);
}

/* Nanoseconds, the largest first: in one duration each unit is smaller than the one before it. */
static const struct unit duration_units[] = {
    {"d", 86400000000000}, {"h", 3600000000000}, {"m", 60000000000}, {"s", 1000000000},
    {"ms", 1000000}, {"us", 1000}, {"\xc2\xb5s", 1000}, {"ns", 1},
};

int duration_parse(const char *s, bool bare_seconds, int64_t *ret_usec)
{
    /* nanoseconds up to what fits in 64 bits of microseconds */
    unsigned __int128 total = 0;
    uint64_t last = UINT64_MAX;
    do {
        struct decimal d;
        int r = decimal_read(&s, &d);
        if (r < 0)
            return r;
        size_t n = strcspn(s, "0123456789.");
        const struct unit *u = unit_find(duration_units, ARRAY_SIZE(duration_units), s, n);
        if (n == 0 && *s == '\0' && bare_seconds && last == UINT64_MAX)
            u = unit_find(duration_units, ARRAY_SIZE(duration_units), "s", 1);
        if (!u || u->factor >= last)
            return -EINVAL;
        if ((unsigned __int128)d.part * u->factor % d.scale != 0)
            return -EINVAL;
        total += (unsigned __int128)d.whole * u->factor +
                 (unsigned __int128)d.part * u->factor / d.scale;
        last = u->factor;
        s += n;
    } while (*s);
    if (total % 1000 != 0)
        return -EINVAL;
    if (total / 1000 > INT64_MAX)
        return -ERANGE;
    *ret_usec = (int64_t)(total / 1000);
    return 0;
}

/* value / 10^digits with trailing zeros dropped: 1500, 3, "ms" -> "1.5ms" */
static int fraction_print(char *s, size_t room, uint64_t value, int digits, const char *unit)
{
    uint64_t scale = 1;
    for (int i = 0; i < digits; i++)
        scale *= 10;
    uint64_t part = value % scale;
    if (part == 0)
        return snprintf(s, room, "%llu%s", (unsigned long long)(value / scale), unit);
    while (part % 10 == 0) {
        part /= 10;
        digits--;
    }
    return snprintf(s, room, "%llu.%0*llu%s", (unsigned long long)(value / scale), digits,
                    (unsigned long long)part, unit);
}

void duration_print(int64_t usec, char ret[32])
{
    static const struct unit wholes[] = {
        {"d", 86400000000}, {"h", 3600000000}, {"m", 60000000},
    };
    uint64_t left = usec < 0 ? -(uint64_t)usec : (uint64_t)usec;
    size_t n = 0;
    if (usec < 0)
        ret[n++] = '-';
    if (left > 0 && left < 1000) {
        snprintf(ret + n, 32 - n, "%lluus", (unsigned long long)left);
        return;
    }
    if (left > 0 && left < 1000000) {
        fraction_print(ret + n, 32 - n, left, 3, "ms");
        return;
    }
    bool any = false;
    for (size_t i = 0; i < ARRAY_SIZE(wholes); i++) {
        if (left < wholes[i].factor)
            continue;
        n += (size_t)snprintf(ret + n, 32 - n, "%llu%s",
                              (unsigned long long)(left / wholes[i].factor), wholes[i].name);
        left %= wholes[i].factor;
        any = true;
    }
    if (left > 0 || !any)
        fraction_print(ret + n, 32 - n, left, 6, "s");
}

/* Days since 1970 of a date, and back: civil calendar, proleptic (Howard Hinnant's algorithms). */
static int64_t days_of_date(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    unsigned of_era = (unsigned)(year - era * 400);
    unsigned of_year = (153 * (month + (month > 2 ? -3u : 9u)) + 2) / 5 + day - 1;
    return era * 146097 + (int64_t)(of_era * 365 + of_era / 4 - of_era / 100 + of_year) - 719468;
}

static void date_of_days(int64_t days, int64_t *year, unsigned *month, unsigned *day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned of_era = (unsigned)(days - era * 146097);
    unsigned y = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * y + y / 4 - y / 100);
    unsigned m = (5 * of_year + 2) / 153;
    *day = of_year - (153 * m + 2) / 5 + 1;
    *month = m < 10 ? m + 3 : m - 9;
    *year = y + era * 400 + (*month <= 2);
}

/* `n` digits, zero-padded, written without stdio: log lines are stamped here. */
static char *digits_put(char *s, uint64_t value, int n)
{
    for (int i = n - 1; i >= 0; i--, value /= 10)
        s[i] = (char)('0' + value % 10);
    return s + n;
}

void time_print(int64_t usec, char ret[40])
{
    int64_t seconds = usec / 1000000, part = usec % 1000000;
    if (part < 0) {
        seconds--;
        part += 1000000;
    }
    int64_t days = seconds / 86400, of_day = seconds % 86400;
    if (of_day < 0) {
        days--;
        of_day += 86400;
    }
    int64_t year;
    unsigned month, day;
    date_of_days(days, &year, &month, &day);
    char *s = ret;
    if (year < 0)
        *s++ = '-';
    int year_digits = 4;
    for (int64_t y = llabs(year) / 10000; y > 0; y /= 10)
        year_digits++;
    s = digits_put(s, (uint64_t)llabs(year), year_digits);
    *s++ = '-';
    s = digits_put(s, month, 2);
    *s++ = '-';
    s = digits_put(s, day, 2);
    *s++ = 'T';
    s = digits_put(s, (uint64_t)of_day / 3600, 2);
    *s++ = ':';
    s = digits_put(s, (uint64_t)of_day / 60 % 60, 2);
    *s++ = ':';
    s = digits_put(s, (uint64_t)of_day % 60, 2);
    *s++ = '.';
    s = digits_put(s, (uint64_t)part * 1000, 9);
    *s++ = 'Z';
    *s = '\0';
}

static bool digits_get(const char **s, int n, unsigned *ret)
{
    unsigned value = 0;
    for (int i = 0; i < n; i++, (*s)++) {
        if (!isdigit((unsigned char)**s))
            return false;
        value = value * 10 + (unsigned)(**s - '0');
    }
    *ret = value;
    return true;
}

static bool skip(const char **s, const char *any_of)
{
    if (**s == '\0' || !strchr(any_of, **s))
        return false;
    (*s)++;
    return true;
}

/* ".123456789": microseconds, what is finer is dropped */
static bool fraction_get(const char **s, int64_t *ret_usec)
{
    int64_t scale = 100000;
    if (!isdigit((unsigned char)**s))
        return false;
    for (*ret_usec = 0; isdigit((unsigned char)**s); (*s)++, scale /= 10)
        *ret_usec += (**s - '0') * scale;
    return true;
}

static unsigned month_days(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

struct clock {
    unsigned year, month, day, hour, minute, second;
    int64_t usec;
};

static bool date_get(const char **s, struct clock *c)
{
    return digits_get(s, 4, &c->year) && skip(s, "-") && digits_get(s, 2, &c->month) &&
           skip(s, "-") && digits_get(s, 2, &c->day) && c->month >= 1 && c->month <= 12 &&
           c->day >= 1 && c->day <= month_days(c->year, c->month);
}

static bool clock_get(const char **s, struct clock *c)
{
    if (!digits_get(s, 2, &c->hour) || !skip(s, ":") || !digits_get(s, 2, &c->minute))
        return false;
    if (skip(s, ":")) {
        if (!digits_get(s, 2, &c->second) || (skip(s, ".") && !fraction_get(s, &c->usec)))
            return false;
    }
    return c->hour < 24 && c->minute < 60 && c->second <= 60;
}

/* "Z", "+01:00", or nothing: then local time rules */
static bool zone_get(const char **s, bool *ret_local, int64_t *ret_seconds)
{
    unsigned hours, minutes;
    *ret_local = **s == '\0';
    *ret_seconds = 0;
    if (*ret_local || skip(s, "zZ"))
        return true;
    int sign = **s == '-' ? -1 : 1;
    if (!skip(s, "+-") || !digits_get(s, 2, &hours) || !skip(s, ":") ||
        !digits_get(s, 2, &minutes) || hours > 23 || minutes > 59)
        return false;
    *ret_seconds = sign * (int64_t)(hours * 3600 + minutes * 60);
    return true;
}

static int date_time_parse(const char *s, int64_t *ret_usec)
{
    struct clock c = {0};
    bool local = true;
    int64_t seconds, zone = 0;
    if (!date_get(&s, &c))
        return -EINVAL;
    if (*s && (!skip(&s, "tT ") || !clock_get(&s, &c) || !zone_get(&s, &local, &zone)))
        return -EINVAL;
    if (*s)
        return -EINVAL;
    if (local) {
        struct tm tm = {.tm_year = (int)c.year - 1900, .tm_mon = (int)c.month - 1,
                        .tm_mday = (int)c.day, .tm_hour = (int)c.hour, .tm_min = (int)c.minute,
                        .tm_sec = (int)c.second, .tm_isdst = -1};
        seconds = mktime(&tm);
    } else {
        seconds = days_of_date(c.year, c.month, c.day) * 86400 +
                  (int64_t)(c.hour * 3600 + c.minute * 60 + c.second) - zone;
    }
    *ret_usec = seconds * 1000000 + c.usec;
    return 0;
}

int time_parse(const char *s, int64_t now, int64_t *ret_usec)
{
    int64_t ago;
    if (strlen(s) >= 10 && s[4] == '-')
        return date_time_parse(s, ret_usec);
    size_t digits = strspn(s, "0123456789");
    if (digits > 0 && (s[digits] == '\0' || s[digits] == '.') &&
        s[digits + strspn(s + digits, ".0123456789")] == '\0') {
        int64_t usec = 0, whole = 0;
        for (size_t i = 0; i < digits; i++)
            if (__builtin_mul_overflow(whole, 10, &whole) ||
                __builtin_add_overflow(whole, s[i] - '0', &whole))
                return -ERANGE;
        s += digits;
        if ((skip(&s, ".") && !fraction_get(&s, &usec)) || *s)
            return -EINVAL;
        if (__builtin_mul_overflow(whole, 1000000, &whole) ||
            __builtin_add_overflow(whole, usec, ret_usec))
            return -ERANGE;
        return 0;
    }
    int r = duration_parse(s, false, &ago);
    if (r < 0)
        return r;
    *ret_usec = now - ago;
    return 0;
}

static int64_t clock_usec(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t now_usec(void)
{
    return clock_usec(CLOCK_REALTIME);
}

int64_t monotonic_usec(void)
{
    return clock_usec(CLOCK_MONOTONIC);
}

/* The kernel's numbers; libc keeps 32 and 33 for itself and calls 34 the first real-time one. */
#define RT_FIRST 34
#define RT_LAST 64
#define S(name) [name] = #name
#define RT(n) [RT_FIRST + n] = "SIGRTMIN+" #n
static const char *const signal_names[RT_LAST + 1] = {
    S(SIGHUP), S(SIGINT), S(SIGQUIT), S(SIGILL), S(SIGTRAP), S(SIGABRT), S(SIGBUS), S(SIGFPE),
    S(SIGKILL), S(SIGUSR1), S(SIGSEGV), S(SIGUSR2), S(SIGPIPE), S(SIGALRM), S(SIGTERM),
    S(SIGSTKFLT), S(SIGCHLD), S(SIGCONT), S(SIGSTOP), S(SIGTSTP), S(SIGTTIN), S(SIGTTOU),
    S(SIGURG), S(SIGXCPU), S(SIGXFSZ), S(SIGVTALRM), S(SIGPROF), S(SIGWINCH), S(SIGIO), S(SIGPWR),
    S(SIGSYS), [RT_FIRST] = "SIGRTMIN", RT(1), RT(2), RT(3), RT(4), RT(5), RT(6), RT(7), RT(8),
    RT(9), RT(10), RT(11), RT(12), RT(13), RT(14), RT(15), RT(16), RT(17), RT(18), RT(19), RT(20),
    RT(21), RT(22), RT(23), RT(24), RT(25), RT(26), RT(27), RT(28), RT(29),
    [RT_LAST] = "SIGRTMAX",
};
static const struct {
    const char *name;
    int number;
} signal_aliases[] = {{"IOT", SIGABRT}, {"CLD", SIGCHLD}, {"POLL", SIGIO}, {"INFO", SIGPWR}};

const char *signal_name(int signal)
{
    if (signal < 1 || signal > RT_LAST || !signal_names[signal])
        return "unknown signal";
    return signal_names[signal];
}

/* decimal number from 0 to RT_LAST, nothing behind it */
static int small_number(const char *s)
{
    size_t n = strspn(s, "0123456789");
    return n > 0 && n <= 2 && s[n] == '\0' && atoi(s) <= RT_LAST ? atoi(s) : -EINVAL;
}

int signal_parse(const char *s)
{
    int number = small_number(s);
    if (number >= 0)
        return number > 0 ? number : -EINVAL;
    if (strncasecmp(s, "SIG", 3) == 0)
        s += 3;
    for (int i = 1; i <= RT_LAST; i++)
        if (signal_names[i] && strcasecmp(s, signal_names[i] + 3) == 0)
            return i;
    for (size_t i = 0; i < ARRAY_SIZE(signal_aliases); i++)
        if (strcasecmp(s, signal_aliases[i].name) == 0)
            return signal_aliases[i].number;
    if (strncasecmp(s, "RTMAX-", 6) == 0) {
        number = small_number(s + 6);
        return number >= 0 && number <= RT_LAST - RT_FIRST ? RT_LAST - number : -EINVAL;
    }
    if (strncasecmp(s, "RTMIN+", 6) == 0) {
        number = small_number(s + 6);
        return number >= 0 && number <= RT_LAST - RT_FIRST ? RT_FIRST + number : -EINVAL;
    }
    return -EINVAL;
}
