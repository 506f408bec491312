/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz target without libFuzzer: every file of a corpus once, whole and cut short, so that what was
 * found once stays found under any compiler.
 */
#include "fuzz.h"
#include "base/base.h"
#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>

/* In memory of its exact size, so that a sanitizer sees the byte behind it. */
static void run(const char *data, size_t size)
{
    autofree uint8_t *exact = malloc(size > 0 ? size : 1);
    MUST(exact);
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
}

static int replay(int dir_fd, const char *name)
{
    autofree char *data = NULL;
    size_t size;
    int r = file_read(dir_fd, name, 1 << 24, &data, &size);
    if (r < 0) {
        fprintf(stderr, "%s: %s\n", name, strerror(-r));
        return r;
    }
    run(data, size);
    for (size_t cut = 1; cut < size; cut += size / 64 + 1)
        run(data, cut);
    return 0;
}

int main(int argc, char **argv)
{
    size_t count = 0;
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
    if (!dir) {
        fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
        return 2;
    }
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.')
            continue;
        if (replay(dirfd(dir), e->d_name) < 0)
            return 1;
        count++;
    }
    closedir(dir);
    printf("%zu inputs\n", count);
    return count > 0 ? 0 : 1;
}
