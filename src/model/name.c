/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names that may become a path, a rule, a host name: refused before they get there.
 */
#include "model/spec.h"

#include <string.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

int name_check(const char *what, const char *name, struct berth_error *err)
{
    size_t length = strnlen(name, BERTH_NAME_MAX + 1);
    if (length == 0)
        return fail(err, BERTH_INVALID, what, "%s: the name is empty", what);
    if (length > BERTH_NAME_MAX)
        return fail(err, BERTH_INVALID, what, "%s: a name of more than %d bytes", what,
                    BERTH_NAME_MAX);
    if (strspn(name, LETTERS) == 0)
        return fail(err, BERTH_INVALID, name, "%s: \"%s\" does not begin with a letter or digit",
                    what, name);
    if (strspn(name, LETTERS "_.-") != length)
        return fail(err, BERTH_INVALID, name,
                    "%s: \"%s\" has characters other than letters, digits, _ . -", what, name);
    return 0;
}
