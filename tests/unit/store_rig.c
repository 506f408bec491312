/* SPDX-License-Identifier: Apache-2.0 */
#include "store_rig.h"

#include "base/file.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>

int open_store(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    snprintf(f->path, sizeof(f->path), "/tmp/berth-store-XXXXXX");
    if (!mkdtemp(f->path))
        return -1;
    snprintf(f->root, sizeof(f->root), "%s/root", f->path);
    snprintf(f->run, sizeof(f->run), "%s/run", f->path);
    *state = f;
    return store_open(f->root, f->run, true, &f->s, NULL);
}

int close_store(void **state)
{
    struct fixture *f = *state;
    store_close(f->s);
    autofree char *disk = format_text("%s/disk", f->path);
    if (disk)
        umount2(disk, MNT_DETACH);
    tree_remove(AT_FDCWD, f->path);
    free(f);
    return 0;
}
