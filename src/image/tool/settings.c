/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth.toml is read here and nowhere else: for berth-image itself, and for the library, which has no TOML
 * in it and asks by the applet `settings`.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/work.h"
#include "toml/toml.h"
#include <fcntl.h>
#include <string.h>

/* The file's own name and the line before what is wrong with it. */
static int say_where(const char *path, const char *text, size_t size, struct berth_error *err)
{
    char message[sizeof(err->message)];
    if (err->code != BERTH_INVALID)
        return err->code;
    unsigned line = toml_line(text, size, err->object);
    snprintf(message, sizeof(message), "%s", err->message);
    return line ? fail(err, BERTH_INVALID, path, "%s: line %u: %s", path, line, message)
                : fail(err, BERTH_INVALID, path, "%s: %s", path, message);
}

int settings_load(const char *given, struct settings **ret, struct berth_error *err)
{
    const char *path = given ? given : getenv("BERTH_CONFIG");
    bool asked = path != NULL;
    autofree char *text = NULL, *json = NULL;
    char message[TOML_MESSAGE] = "";
    size_t size = 0;
    struct berth_error mine = {0};
    path = asked ? path : SETTINGS_FILE;
    int r = file_read(AT_FDCWD, path, SETTINGS_MAX_BYTES, &text, &size);
    if (r == -ENOENT && !asked)
        return settings_parse("{}", 2, ret, err);
    if (r < 0)
        return fail_os(err, r, path, "read %s", path);
    r = toml_to_json(text, size, &json, message);
    if (r < 0)
        return r == -ENOMEM ? fail_memory(err) : fail(err, BERTH_INVALID, path, "%s: %s", path, message);
    r = settings_parse(json, strlen(json), ret, &mine);
    if (r == 0 && (r = reference_defaults_check(&(*ret)->images, &mine)) < 0)
        settings_free(TAKE(*ret));
    if (r < 0) {
        r = say_where(path, text, size, &mine);
        *err = mine;
    }
    return r;
}

/** One line for the library: {"settings":{...}}. */
int settings_tell(const char *given, struct berth_error *err)
{
    autoclean(cleanup_settings) struct settings *s = NULL;
    int r = settings_load(given, &s, err);
    autofree char *json = r == 0 ? settings_print(s) : NULL;
    if (r < 0 || !json)
        return r < 0 ? r : fail_memory(err);
    autofree char *line = format_text("%s\n", json);
    return line && fd_write_all(STDOUT_FILENO, line, strlen(line)) == 0 ? 0 : fail(err, BERTH_IO, given, "tell the settings");
}
