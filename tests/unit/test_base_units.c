/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes, durations, times and signals as people write them.
 */
#include "unit.h"

#include "base/text.h"

#include <signal.h>
#include <time.h>

struct row {
    const char *text;
    int result;
    int64_t value;
};

static void sizes(void **state)
{
    static const struct row rows[] = {
        {"0", 0, 0}, {"1024", 0, 1024}, {"64Ki", 0, 65536}, {"512M", 0, 512000000},
        {"512Mi", 0, 536870912}, {"1.5Gi", 0, 1610612736}, {"2G", 0, 2000000000},
        {"1Ti", 0, INT64_C(1) << 40}, {"3T", 0, 3000000000000}, {"7K", 0, 7000},
        {"0.5Ki", 0, 512}, {"1.000", 0, 1}, {"0.001K", 0, 1}, {"1.50000000000000000000000Ki", 0, 1536},
        {"18446744073709551615", 0, -1}, {"18446744073709551616", -ERANGE, 0},
        {"17000000T", 0, 17000000000000000000u}, {"19000000T", -ERANGE, 0}, {"16777216Ti", -ERANGE, 0},
        {"0.0001K", -EINVAL, 0}, {"0.3Ki", -EINVAL, 0}, {"1.5", -EINVAL, 0},
        {"0.00000000000000000001T", -EINVAL, 0}, {"1.0000000000000000000000001T", -EINVAL, 0},
        {"", -EINVAL, 0}, {"M", -EINVAL, 0}, {"-1", -EINVAL, 0}, {"+1", -EINVAL, 0}, {" 1", -EINVAL, 0},
        {"1 M", -EINVAL, 0}, {"1m", -EINVAL, 0}, {"1k", -EINVAL, 0}, {"1MB", -EINVAL, 0},
        {"1Q", -EINVAL, 0}, {"1.M", -EINVAL, 0}, {".5M", -EINVAL, 0}, {"1e3", -EINVAL, 0}, {"1,5M", -EINVAL, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t value = 0;
        int r = size_parse(rows[i].text, &value);
        if (r != rows[i].result || (r == 0 && value != (uint64_t)rows[i].value))
            print_error("%s: %d, %llu\n", rows[i].text, r, (unsigned long long)value);
        assert_int_equal(r, rows[i].result);
        assert_true(r < 0 || value == (uint64_t)rows[i].value);
    }
}

static void docker_sizes(void **state)
{
    static const struct row rows[] = {
        {"512m", 0, 536870912}, {"512M", 0, 536870912}, {"1g", 0, 1 << 30}, {"1Gb", 0, 1 << 30},
        {"1GiB", 0, 1 << 30}, {"64k", 0, 65536}, {"5", 0, 5}, {"5b", 0, 5}, {"1.5g", 0, 1610612736},
        {"0.3k", 0, 307}, {"1 kb", 0, 1024}, {"", -EINVAL, 0}, {"m", -EINVAL, 0}, {"-1", -EINVAL, 0},
        {"1mm", -EINVAL, 0}, {"1bb", -EINVAL, 0}, {"99999999p", -ERANGE, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t value = 0;
        assert_int_equal(size_parse_docker(rows[i].text, &value), rows[i].result);
        assert_true(value == (uint64_t)rows[i].value);
    }
}

static void durations(void **state)
{
    static const struct row rows[] = {
        {"250ms", 0, 250000}, {"1.5s", 0, 1500000}, {"10m", 0, 600000000}, {"1h30m", 0, 5400000000},
        {"2d", 0, 172800000000}, {"100us", 0, 100}, {"100\xc2\xb5s", 0, 100}, {"0s", 0, 0},
        {"5000ns", 0, 5}, {"1d2h3m4s5ms6us", 0, 93784005006}, {"0.5us500ns", 0, 1},
        {"9223372036854775807us", 0, INT64_MAX}, {"9223372036854775808us", -ERANGE, 0},
        {"99999999999999999999s", -ERANGE, 0},
        {"5", -EINVAL, 0}, {"", -EINVAL, 0}, {"s", -EINVAL, 0}, {"-1s", -EINVAL, 0}, {"1s1s", -EINVAL, 0},
        {"1s1m", -EINVAL, 0}, {"0.1us", -EINVAL, 0}, {"1ns", -EINVAL, 0}, {"1S", -EINVAL, 0},
        {"1 s", -EINVAL, 0}, {"1s ", -EINVAL, 0}, {"1s5", -EINVAL, 0}, {"1.s", -EINVAL, 0},
    };
    int64_t value;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        value = 0;
        int r = duration_parse(rows[i].text, false, &value);
        if (r != rows[i].result || value != rows[i].value)
            print_error("%s: %d, %lld\n", rows[i].text, r, (long long)value);
        assert_int_equal(r, rows[i].result);
        assert_true(value == rows[i].value);
    }
    assert_int_equal(duration_parse("1.5", true, &value), 0);
    assert_int_equal(value, 1500000);
    assert_int_equal(duration_parse("1s5", true, &value), -EINVAL);
}

static void durations_print_as_they_parse(void **state)
{
    static const struct row rows[] = {
        {"250ms", 0, 250000}, {"1h30m", 0, 5400000000}, {"1.5s", 0, 1500000}, {"2d", 0, 172800000000},
        {"100us", 0, 100}, {"0s", 0, 0}, {"1.5ms", 0, 1500}, {"1m0.000001s", 0, 60000001},
        {"1s", 0, 1000000}, {"999.999ms", 0, 999999},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[32];
        duration_print(rows[i].value, text);
        assert_string_equal(text, rows[i].text);
    }
    for (int64_t usec = 1; usec > 0 && usec < INT64_MAX / 3; usec = usec * 3 + 7) {
        char text[32];
        int64_t back = -1;
        duration_print(usec, text);
        assert_int_equal(duration_parse(text, false, &back), 0);
        assert_true(back == usec);
    }
    char text[32];
    duration_print(INT64_MAX, text);
    assert_string_equal(text, "106751991d4h54.775807s");
    duration_print(INT64_MIN, text);
    assert_string_equal(text, "-106751991d4h54.775808s");
}

static void times(void **state)
{
    const int64_t base = INT64_C(1795514400000000); /* 2026-11-24T10:00:00Z */
    const struct row rows[] = {
        {"2026-11-24T10:00:00Z", 0, base}, {"2026-11-24 10:00:00.123456789Z", 0, base + 123456},
        {"2026-11-24t12:30:00.5+02:30", 0, base + 500000}, {"2026-11-24T09:00:00-01:00", 0, base},
        {"2026-11-24", 0, base - 36000000000}, {"2026-11-24 10:00", 0, base}, {"2026-11-24T10:00:00", 0, base},
        {"1795514400", 0, base}, {"1795514400.000001", 0, base + 1}, {"10m", 0, base - 600000000},
        {"1h30m", 0, base - 5400000000}, {"0", 0, 0}, {"2024-02-29", 0, INT64_C(1709164800000000)},
        {"1970-01-01T00:00:00Z", 0, 0}, {"1969-12-31T23:59:59.5Z", 0, -500000},
        {"2026-02-29", -EINVAL, 0}, {"2026-13-01", -EINVAL, 0}, {"2026-11-24T24:00:00Z", -EINVAL, 0},
        {"2026-11-24T10:00:00Zx", -EINVAL, 0}, {"2026-11-24T10", -EINVAL, 0}, {"2026-11-24T", -EINVAL, 0},
        {"2026-11-24T10:00:00+2", -EINVAL, 0}, {"", -EINVAL, 0}, {"yesterday", -EINVAL, 0},
        {"1.", -EINVAL, 0}, {"1.2.3", -EINVAL, 0}, {"99999999999999", -ERANGE, 0},
        {"99999999999999999999", -ERANGE, 0},
    };
    setenv("TZ", "UTC", 1);
    tzset();
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int64_t value = 0;
        int r = time_parse(rows[i].text, base, &value);
        if (r != rows[i].result || value != rows[i].value)
            print_error("%s: %d, %lld\n", rows[i].text, r, (long long)value);
        assert_int_equal(r, rows[i].result);
        assert_true(r < 0 || value == rows[i].value);
    }
}

static void times_print_as_rfc_3339(void **state)
{
    char text[40], expected[40];
    int64_t back;
    time_print(INT64_C(1795514400123456), text);
    assert_string_equal(text, "2026-11-24T10:00:00.123456000Z");
    assert_int_equal(strlen(text), 30);
    time_print(-1, text);
    assert_string_equal(text, "1969-12-31T23:59:59.999999000Z");
    for (int64_t seconds = 0; seconds < INT64_C(200000000000); seconds += 86399 * 37) {
        time_t t = (time_t)seconds;
        struct tm tm;
        gmtime_r(&t, &tm);
        strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.000000000Z", &tm);
        time_print(seconds * 1000000, text);
        assert_string_equal(text, expected);
        assert_int_equal(time_parse(text, 0, &back), 0);
        assert_true(back == seconds * 1000000);
    }
    time_print(INT64_MAX, text); /* fits, whatever it says */
    assert_string_equal(text, "294247-01-10T04:00:54.775807000Z");
    time_print(INT64_MIN, text);
    assert_true(strlen(text) < sizeof(text));
}

static void signals(void **state)
{
    static const struct row rows[] = {
        {"TERM", 0, SIGTERM}, {"SIGTERM", 0, SIGTERM}, {"sigkill", 0, SIGKILL}, {"9", 0, 9},
        {"rtmin", 0, 34}, {"SIGRTMIN+3", 0, 37}, {"RTMAX", 0, 64}, {"RTMAX-1", 0, 63}, {"IOT", 0, SIGABRT},
        {"64", 0, 64}, {"", -EINVAL, 0}, {"0", -EINVAL, 0}, {"65", -EINVAL, 0}, {"-1", -EINVAL, 0},
        {"SIG", -EINVAL, 0}, {"SIGSIGTERM", -EINVAL, 0}, {"RTMIN+31", -EINVAL, 0}, {"RTMIN+", -EINVAL, 0},
        {"TERM ", -EINVAL, 0}, {"999999999999", -EINVAL, 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(signal_parse(rows[i].text), rows[i].result < 0 ? rows[i].result : rows[i].value);
    for (int i = 1; i <= 64; i++)
        if (i != 32 && i != 33)
            assert_int_equal(signal_parse(signal_name(i)), i);
    assert_string_equal(signal_name(SIGTERM), "SIGTERM");
    assert_string_equal(signal_name(0), "unknown signal");
    assert_string_equal(signal_name(32), "unknown signal");
    assert_string_equal(signal_name(65), "unknown signal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(docker_sizes),
        cmocka_unit_test(durations),
        cmocka_unit_test(durations_print_as_they_parse),
        cmocka_unit_test(times),
        cmocka_unit_test(times_print_as_rfc_3339),
        cmocka_unit_test(signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
