/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a case ends before its time: one line on descriptor 3 and an exit code.
 *
 * A case has a process of its own, so ending it needs no unwinding, from any thread.
 */
#include "contract.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define REPORT_FD 3

struct berth_error *error_slot(void)
{
    static _Thread_local struct berth_error error;
    return &error;
}

static _Noreturn void end_case(int verdict, const char *where, const char *format, va_list args)
{
    char text[4096], line[4600];
    vsnprintf(text, sizeof(text), format, args);
    int n = snprintf(line, sizeof(line), "%s%s", where, text);
    if (n > 0 &&
        write(REPORT_FD, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1) < 0)
        fprintf(stderr, "%s\n", line);
    _exit(verdict);
}

void fail_at(const char *file, int line, const char *format, ...)
{
    const char *base = strrchr(file, '/');
    char where[200];
    snprintf(where, sizeof(where), "%s:%d: ", base ? base + 1 : file, line);
    va_list args;
    va_start(args, format);
    end_case(FAILED, where, format, args);
}

void end_unsupported(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    end_case(UNSUPPORTED, "", format, args);
}

void end_skipped(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    end_case(SKIPPED, "", format, args);
}

int check_call(const char *file, int line, const char *text, int result)
{
    if (result >= 0)
        return result;
    if (result == BERTH_UNSUPPORTED)
        end_unsupported("%.60s: %s", text, ERR->message);
    fail_at(file, line, "%s: %s: %s", text, berth_code_name(result), ERR->message);
}

/** A message is one line, in words, for people. */
static void check_message(const char *file, int line, const char *text)
{
    const struct berth_error *e = ERR;
    if (!e->message[0])
        fail_at(file, line, "%s failed without a word", text);
    if (strchr(e->message, '\n'))
        fail_at(file, line, "%s failed with more than one line: %s", text, e->message);
}

void check_code(const char *file, int line, const char *text, int result, int wanted)
{
    if (result == BERTH_UNSUPPORTED && wanted != BERTH_UNSUPPORTED)
        end_unsupported("%.60s: %s", text, ERR->message);
    if (result >= 0)
        fail_at(file, line, "%s succeeded, wanted %s", text, berth_code_name(wanted));
    if (result != wanted)
        fail_at(file, line, "%s: %s, wanted %s: %s", text, berth_code_name(result),
                berth_code_name(wanted), ERR->message);
    check_message(file, line, text);
    if (ERR->code != wanted)
        fail_at(file, line, "%s returned %s, its error says %s", text, berth_code_name(wanted),
                berth_code_name(ERR->code));
}

void check_text(const char *file, int line, const char *what, const char *text, const char *wanted)
{
    if (!text || strcmp(text, wanted) != 0)
        fail_at(file, line, "%s is \"%.600s\", wanted \"%.600s\"", what, text ? text : "(none)",
                wanted);
}

void check_has(const char *file, int line, const char *what, const char *text, const char *wanted)
{
    if (!text || !strstr(text, wanted))
        fail_at(file, line, "%s is \"%.600s\", wanted \"%.600s\" in it", what,
                text ? text : "(none)", wanted);
}

void check_number(const char *file, int line, const char *what, long long number, long long wanted)
{
    if (number != wanted)
        fail_at(file, line, "%s is %lld, wanted %lld", what, number, wanted);
}
