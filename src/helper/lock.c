/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for a lock in another's stead, and emptying the trash.
 *
 * An open-file-description lock belongs to whoever holds the description: the helper waits with an
 * inherited descriptor, and when it has gone the lock is its caller's.
 */
#include "helper/helper.h"
#include "base/base.h"
#include "store/store.h"
#include <fcntl.h>

int lock_wait(int fd)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return RETRY(fcntl(fd, F_OFD_SETLKW, &lock)) < 0 ? -errno : 0;
}

int applet_lock(int argc, char **argv, struct berth_error *err)
{
    long long fd;
    int r = applet_number(argv[1], &fd, err);
    if (r < 0)
        return r;
    r = lock_wait((int)fd);
    return r < 0 ? fail_os(err, r, argv[1], "wait for the lock on descriptor %s", argv[1]) : 0;
}

int applet_delete(int argc, char **argv, struct berth_error *err)
{
    autoclose int root_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0 && errno == ENOENT && argc > 3)
        return networks_sweep_later(argv[1], argv[2], argv[3], err);
    if (root_fd < 0)
        return fail_os(err, errno, argv[1], "open %s", argv[1]);
    int r = store_empty_trash(root_fd, err);
    close_fd(&root_fd);
    return r < 0 || argc < 4 ? r : networks_sweep_later(argv[1], argv[2], argv[3], err);
}
