/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status record in a workload's folder, read and written by descriptor.
 *
 * Apart from workload.c, so that the supervisor, which has nothing but the folder, links no more.
 */
#include "store/store.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include <fcntl.h>
#include <string.h>

#define STATUS_MAX_BYTES (64u << 10)

int status_write_at(int workload_fd, const struct status *status, bool sync,
                    struct berth_error *err)
{
    autofree char *json = status_print(status);
    if (!json)
        return fail_memory(err);
    int r = file_write(workload_fd, "status", json, strlen(json), 0600, sync ? FILE_SYNC : 0);
    if (r < 0)
        return fail_os(err, r, NULL, "write the status record");
    crash_point("status.written");
    return 0;
}

/* Into a buffer on the stack: a status is asked for more often than anything else. */
int status_read_at(int workload_fd, struct status *ret_status, struct berth_error *err)
{
    char text[8192];
    autoclose int fd = RETRY(openat(workload_fd, "status", O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (fd < 0)
        return fail_os(err, errno, NULL, "open the status record");
    ssize_t n = RETRY(read(fd, text, sizeof(text)));
    if (n < 0)
        return fail_os(err, errno, NULL, "read the status record");
    if ((size_t)n < sizeof(text))
        return status_parse(text, (size_t)n, ret_status, err);
    autofree char *all = NULL;
    size_t size;
    int r = file_read(workload_fd, "status", STATUS_MAX_BYTES, &all, &size);
    if (r < 0)
        return fail_os(err, r, NULL, "read the status record");
    return status_parse(all, size, ret_status, err);
}
