/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes, durations, times, signals, hex and UTF-8: what is read is within bounds and prints back.
 */
#include "fuzz.h"
#include "base/base.h"
#include "base/text.h"

static void durations(const char *s)
{
    int64_t usec = 0, again = -1;
    char text[32];
    if (duration_parse(s, true, &usec) < 0)
        return;
    MUST(usec >= 0);
    duration_print(usec, text);
    MUST(duration_parse(text, false, &again) == 0 && again == usec);
}

static void times(const char *s)
{
    int64_t usec = 0, again = -1;
    char text[40];
    if (time_parse(s, 1790000000000000, &usec) < 0)
        return;
    time_print(usec, text);
    /* years beyond four digits are printed, but nobody writes them */
    if (strlen(text) == 30 && text[0] != '-')
        MUST(time_parse(text, 0, &again) == 0 && again == usec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const words[] = {"memory", "restart", "on-failure"};
    autofree char *s = strndup((const char *)data, size);
    uint64_t bytes;
    uint8_t hex[4];
    size_parse(s, &bytes);
    size_parse_docker(s, &bytes);
    durations(s);
    times(s);
    int signal = signal_parse(s);
    if (signal > 0)
        MUST(signal <= 64 && (signal == 32 || signal == 33 || signal_parse(signal_name(signal)) == signal));
    nearest_word(s, words, ARRAY_SIZE(words));
    hex_parse(s, hex, sizeof(hex));
    bool valid = utf8_valid((const char *)data, size);
    if (strlen(s) == size)
        for (const char *p = s; *p;) {
            size_t n = utf8_char(p);
            MUST(n > 0 || !valid);
            p += n > 0 ? n : 1;
        }
    return 0;
}
