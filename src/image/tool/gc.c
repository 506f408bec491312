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
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>

void gc_limits(const struct work *w, int *ret_high, int *ret_low)
{
    const struct settings *s = w->berth_toml;
    *ret_high = s->image_gc.high ? atoi(s->image_gc.high) : 0;
    *ret_low = s->image_gc.low ? atoi(s->image_gc.low) : 0;
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
