/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for images by itself: image_gc of berth.toml, looked at when a pull is over.
 *
 * Nobody waits for it and nobody hears of a failure: what could not be removed now is there next time.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/work.h"
#include "toml/toml.h"
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

#define SETTINGS_FILE "/etc/berth/berth.toml"
#define SETTINGS_MAX_BYTES (1u << 20)

static json_t *read_settings(const struct work *w)
{
    const char *given = w->settings ? w->settings : getenv("BERTH_CONFIG");
    autofree char *text = NULL, *json = NULL;
    char message[TOML_MESSAGE];
    size_t size = 0;
    if (file_read(AT_FDCWD, given ? given : SETTINGS_FILE, SETTINGS_MAX_BYTES, &text, &size) < 0 ||
        toml_to_json(text, size, &json, message) < 0)
        return NULL;
    return json_loads(json, 0, NULL);
}

/* "85%": 85; -1 for anything else. */
static int percent(const json_t *value)
{
    const char *text = json_string_value(value);
    char *end = NULL;
    long n = text ? strtol(text, &end, 10) : -1;
    return n > 0 && n <= 100 && strcmp(end, "%") == 0 ? (int)n : -1;
}

int gc_limits(const struct work *w, int *ret_high, int *ret_low, struct berth_error *err)
{
    json_t *settings = read_settings(w);
    const json_t *gc = json_object_get(settings, "image_gc");
    *ret_high = gc ? percent(json_object_get(gc, "high")) : 0;
    *ret_low = gc ? percent(json_object_get(gc, "low")) : 0;
    json_decref(settings);
    return *ret_high < 0 || *ret_low < 0 || *ret_low > *ret_high
         ? fail(err, BERTH_INVALID, "image_gc", "image_gc of berth.toml: it is { high = \"85%%\", low = \"70%%\" }, and low is not above high") : 0;
}

/* As df(1) says it: of what can be used by others than root. */
static int used_percent(int fd)
{
    struct statvfs fs;
    if (fstatvfs(fd, &fs) < 0 || fs.f_blocks == 0)
        return 0;
    uint64_t used = fs.f_blocks - fs.f_bfree, all = used + fs.f_bavail;
    return all ? (int)((used * 100 + all - 1) / all) : 0;
}

void gc_run(struct work *w, int high, int low)
{
    if (high == 0 || used_percent(w->images_fd) < high)
        return;
    do {
        autofree char *name = NULL, *id = NULL;
        if (image_remove_oldest(w->store, w->reference, &name, &id, NULL) <= 0)
            return;
        event_append(store_root_fd(w->store), "image_gc", id, name, NULL);
        collect_now(w, false, false, NULL, NULL);
    } while (used_percent(w->images_fd) > low);
}
