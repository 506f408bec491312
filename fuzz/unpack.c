/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The unpacker, without its jail: only its own care for names keeps it in. What lies beside the folder
 * must be as it was. As root it makes what it is told to; as a user it fails at owners, which is fine.
 */
#include "fuzz.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/unpack.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

static char outside[] = "/tmp/berth-fuzz.XXXXXX";
static struct stat before;

static void look(struct stat *ret)
{
    autofree char *path = format_text("%s/beside", outside);
    MUST(path && lstat(path, ret) == 0);
}

static void leave(void)
{
    tree_remove(AT_FDCWD, outside);
}

static int begin(void)
{
    MUST(mkdtemp(outside));
    atexit(leave);
    int fd = open(outside, O_PATH | O_DIRECTORY | O_CLOEXEC);
    MUST(fd >= 0 && file_write(fd, "beside", "x", 1, 0600, 0) == 0);
    look(&before);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int outside_fd = -1;
    if (outside_fd < 0)
        outside_fd = begin();
    MUST(mkdirat(outside_fd, "in", 0755) == 0);
    autoclose int root_fd = openat(outside_fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    autoclose int tar_fd = memfd_create("tar", MFD_CLOEXEC);
    MUST(root_fd >= 0 && tar_fd >= 0 && fd_write_all(tar_fd, data, size) == 0 && lseek(tar_fd, 0, SEEK_SET) == 0);
    struct unpack_options options = {.layer = true, .resolve = RESOLVE_IN_ROOT, .max_entries = 1000, .max_bytes = 1 << 20};
    struct unpack_result result;
    struct berth_error err = {0};
    int r = unpack_tar(tar_fd, root_fd, &options, &result, &err);
    MUST(r == 0 || (r == err.code && err.message[0]));
    MUST(chdir("/") == 0);
    struct stat after;
    look(&after);
    MUST(after.st_ino == before.st_ino && after.st_ctim.tv_sec == before.st_ctim.tv_sec &&
         after.st_ctim.tv_nsec == before.st_ctim.tv_nsec && after.st_nlink == 1);
    MUST(tree_remove(outside_fd, "in") == 0);
    struct stat folder;
    MUST(fstat(outside_fd, &folder) == 0 && folder.st_nlink == 2);
    return 0;
}
