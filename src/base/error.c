/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors as values: filled where something fails, printed far away, perhaps in another process.
 *
 * A message is always one line of valid UTF-8, whatever a hostile name or file put into it.
 */
#include "base/error.h"
#include "base/base.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>

/* Make s one printable line: control characters become blanks, bytes that are no UTF-8 '?'. The cut
 * that snprintf made in the middle of a character goes this way too. */
static void clean_line(char *s)
{
    while (*s) {
        size_t n = utf8_char(s);
        if (n == 0)
            *s = '?', n = 1;
        else if (n == 1 && ((unsigned char)*s < ' ' || *s == 0x7f))
            *s = ' ';
        s += n;
    }
}

/* Behind what is there already; cut at the end of the room, between characters (clean_line's '?'). */
static void append(char *s, size_t room, const char *more)
{
    size_t length = strlen(s), n = strnlen(more, room - 1 - length);
    memcpy(s + length, more, n);
    s[length + n] = '\0';
}

__attribute__((format(printf, 5, 0))) static void fill(struct berth_error *err, int code, int os_error, const char *object,
                 const char *format, va_list ap)
{
    err->code = code;
    err->os_error = os_error;
    snprintf(err->object, sizeof(err->object), "%s", object ? object : "");
    vsnprintf(err->message, sizeof(err->message), format, ap);
    clean_line(err->object);
    clean_line(err->message);
}

int fail(struct berth_error *err, int code, const char *object, const char *format, ...)
{
    if (!err)
        return code;
    struct berth_error e = {0}; /* format's arguments may point into *err */
    va_list ap;
    va_start(ap, format);
    fill(&e, code, 0, object, format, ap);
    va_end(ap);
    *err = e;
    return code;
}

int code_of_errno(int os_error)
{
    switch (abs(os_error)) {
    case ENOENT:
        return BERTH_NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
        return BERTH_NO_SPACE;
    case ENOMEM:
        return BERTH_NO_MEMORY;
    case EPERM:
    case EACCES:
        return BERTH_DENIED;
    case EEXIST:
        return BERTH_EXISTS;
    default:
        return BERTH_IO;
    }
}

int fail_os(struct berth_error *err, int os_error, const char *object, const char *format, ...)
{
    os_error = abs(os_error);
    int code = code_of_errno(os_error);
    if (!err)
        return code;
    struct berth_error e = {0};
    va_list ap;
    va_start(ap, format);
    fill(&e, code, os_error, object, format, ap);
    va_end(ap);
    const char *words = strerrordesc_np(os_error);
    append(e.message, sizeof(e.message), ": ");
    append(e.message, sizeof(e.message), words ? words : "unknown error");
    *err = e;
    return code;
}

int fail_context(struct berth_error *err, const char *format, ...)
{
    if (!err)
        return BERTH_IO;
    char message[sizeof(err->message)];
    va_list ap;
    va_start(ap, format);
    vsnprintf(message, sizeof(message), format, ap);
    va_end(ap);
    append(message, sizeof(message), ": ");
    append(message, sizeof(message), err->message);
    clean_line(message);
    memcpy(err->message, message, sizeof(message));
    return err->code;
}

int fail_memory(struct berth_error *err)
{
    return fail(err, BERTH_NO_MEMORY, NULL, "out of memory");
}

static const char *const code_names[] = {
    "OK",        "INVALID",   "NOT_FOUND", "EXISTS",   "WRONG_STATE", "UNSUPPORTED",    "DENIED",
    "NO_MEMORY", "NO_SPACE",  "TIMED_OUT", "CANCELLED", "AGAIN",      "IO",             "CORRUPT",
    "NO_PROGRAM", "NOT_EXECUTABLE", "NO_KERNEL", "LOST", "TOO_BIG",
};

const char *berth_code_name(int code)
{
    long long index = code == 0 ? 0 : -1000LL - code;
    bool known = index >= 0 && index < (long long)ARRAY_SIZE(code_names) && (code == 0 || index);
    return known ? code_names[index] : "UNKNOWN";
}
