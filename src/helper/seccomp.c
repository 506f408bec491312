/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiling a seccomp profile: slow (libseccomp) and done once for each profile, into a cache.
 */
#include "helper/helper.h"
#include "base/base.h"
#include "base/file.h"
#include "linux/syscall_filter.h"
#include <fcntl.h>

#define PROFILE_MAX_BYTES (4u << 20)

static int parse_caps(const char *text, uint64_t *ret_caps, struct berth_error *err)
{
    char *end;
    errno = 0;
    unsigned long long caps = strtoull(text, &end, 16);
    if (errno || end == text || *end)
        return fail(err, BERTH_INVALID, text, "\"%s\" is not a set of capabilities in hex", text);
    *ret_caps = caps;
    return 0;
}

int applet_seccomp(int argc, char **argv, struct berth_error *err)
{
    autofree char *profile = NULL;
    autofree void *filter = NULL;
    size_t profile_size, filter_size;
    uint64_t caps = 0;
    int r = parse_caps(argv[2], &caps, err);
    if (r < 0)
        return r;
    r = fd_read_all(STDIN_FILENO, PROFILE_MAX_BYTES, &profile, &profile_size);
    if (r == -EFBIG)
        return fail(err, BERTH_TOO_BIG, NULL, "the seccomp profile is longer than 4 MiB");
    if (r < 0)
        return fail_os(err, r, NULL, "read the seccomp profile");
    r = seccomp_compile(profile, profile_size, caps, &filter, &filter_size, err);
    if (r < 0)
        return r;
    r = file_write(AT_FDCWD, argv[1], filter, filter_size, 0600, 0);
    return r < 0 ? fail_os(err, r, argv[1], "write %s", argv[1]) : 0;
}
