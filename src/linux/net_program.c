/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The packet filter's programs, asked and heard.
 */
#include "linux/net_program.h"

#include "base/base.h"
#include "base/file.h"
#include "base/spawn.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define SAID_MAX (16u << 20)

static int start(const char *const *argv, int in, int out, int *ret_pid_fd)
{
    static const char *const folders[] = {"/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin", "/bin"};
    const int fds[] = {in, out, out};
    int r = -ENOENT;
    for (size_t i = 0; i < ARRAY_SIZE(folders) && r == -ENOENT; i++) {
        char path[128];
        (void)snprintf(path, sizeof(path), "%s/%s", folders[i], argv[0]);
        struct spawn s = {.path = path, .argv = argv, .fds = fds, .n_fds = ARRAY_SIZE(fds), .session = true};
        r = spawn(&s, NULL, ret_pid_fd);
    }
    return r;
}

int net_program(const char *const *argv, const char *input, char **ret_said, size_t *ret_size)
{
    int in[2], said[2];
    if (pipe2(in, O_CLOEXEC) < 0)
        return -errno;
    autoclose int in_read = in[0], in_write = in[1];
    if (pipe2(said, O_CLOEXEC) < 0)
        return -errno;
    autoclose int said_read = said[0], said_write = said[1], pid_fd = -1;
    size_t length = input ? strlen(input) : 0;
    if (length >= 65536) /* it must fit into the pipe, whoever reads when */
        return -E2BIG;
    int r = length ? fd_write_all(in_write, input, length) : 0;
    close_fd(&in_write);
    if (r == 0)
        r = start(argv, in_read, said_write, &pid_fd);
    if (r < 0)
        return r;
    close_fd(&in_read);
    close_fd(&said_write);
    r = fd_read_all(said_read, SAID_MAX, ret_said, ret_size);
    close_fd(&said_read); /* so that one that says too much ends */
    (void)spawn_reap(pid_fd, NULL);
    return r;
}
