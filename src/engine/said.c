/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program's error in the caller's own form; see said.h.
 */
#include "engine/said.h"
#include <berth/berth.h>
#include <string.h>

static int code_by_name(const char *name)
{
    for (int code = BERTH_INVALID; name && code >= BERTH_TOO_BIG; code--)
        if (!strcmp(berth_code_name(code), name))
            return code;
    return BERTH_IO;
}

int said_error(const json_t *said, struct berth_error *err)
{
    const json_t *error = json_object_get(said, "error");
    const char *message = json_string_value(json_object_get(error, "message"));
    return error ? fail(err, code_by_name(json_string_value(json_object_get(error, "code"))),
                        json_string_value(json_object_get(error, "object")), "%s", message ? message : "failed without a word")
                 : 0;
}

int said_line(const char *line, struct berth_error *err)
{
    json_t *said = json_loads(line, 0, NULL);
    int r = said_error(said, err);
    json_decref(said);
    return r;
}
