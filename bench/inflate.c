/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The least that a pull costs the processors: blobs hashed, inflated, hashed again, one process each,
 * as many at once as are given; nothing is written. Prints seconds.
 */
#include "base/text.h"
#include "image/tool/stream.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void inflate(const char *path)
{
    struct stream_options options = {.max_bytes = 1ull << 40, .large_fd = -1};
    struct stream_result result;
    struct berth_error err = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? -1 : stream_inflate(fd, -1, -1, false, &options, &result, &err);
    if (r < 0)
        fprintf(stderr, "inflate: %s: %s\n", path, err.message);
    _exit(r < 0);
}

int main(int argc, char **argv)
{
    int at_once = argc > 2 ? atoi(argv[1]) : 0, running = 0, failed = 0, status;
    if (at_once < 1) {
        fprintf(stderr, "usage: inflate PROCESSES BLOB...\n");
        return 2;
    }
    int64_t began = monotonic_usec();
    for (int i = 2; i < argc || running > 0;) {
        if (i < argc && running < at_once) {
            pid_t pid = fork();
            if (pid == 0)
                inflate(argv[i]);
            i++;
            running += pid > 0;
        } else if (wait(&status) > 0) {
            running--;
            failed |= status;
        }
    }
    printf("%.3f\n", (double)(monotonic_usec() - began) / 1e6);
    return failed != 0;
}
