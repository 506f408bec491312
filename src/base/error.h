/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failures inside berth: the public error value plus short ways to fill it.
 *
 * Lowest layer: functions return -errno. From model upwards they return an enum berth_code and fill
 * `err`. The two ranges do not meet (berth codes are below -1000), so either may travel as int.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <berth/berth.h>
#include <stdarg.h>

/** Fill err (NULL allowed) and return `code`. `object` may be NULL. Newlines become blanks. */
int fail(struct berth_error *err, int code, const char *object, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/**
 * The same for a system call: `os_error` is errno, positive or negative. The code follows from it
 * (ENOENT NOT_FOUND, ENOSPC/EDQUOT NO_SPACE, ENOMEM NO_MEMORY, EPERM/EACCES DENIED, EEXIST EXISTS,
 * else IO) and ": " plus its text in words is added. Returns the code.
 */
int fail_os(struct berth_error *err, int os_error, const char *object, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** Put "context: " before the message of a failure that is already there. Returns err's code (IO
 *  when err is NULL: keep the code yourself where that matters). */
int fail_context(struct berth_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** NO_MEMORY. */
int fail_memory(struct berth_error *err);

/** Code for an errno value, as fail_os chooses it. */
int code_of_errno(int os_error);

#endif
