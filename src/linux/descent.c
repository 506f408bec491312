/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals to a process that is not ours; see descent.h.
 */
#include "linux/descent.h"
#include "base/base.h"
#include "base/file.h"
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define BELOW_MAX 1024

bool process_is_of(int pid, const char *word)
{
    char path[40];
    autofree char *text = NULL;
    snprintf(path, sizeof(path), "/proc/%d/cgroup", pid);
    return pid > 1 && file_read(AT_FDCWD, path, 65536, &text, NULL) == 0 && strstr(text, word);
}

static int parent_of(int pid)
{
    char path[32], text[512];
    int parent = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : RETRY(read(fd, text, sizeof(text) - 1));
    text[MAX(n, 0)] = '\0';
    const char *behind = n > 0 ? strrchr(text, ')') : NULL;
    return behind && sscanf(behind + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

/** Those below list[0], one generation a round. Their number altogether. */
static size_t add_below(int *list)
{
    size_t n = 1;
    for (size_t from = 0; from < n;) {
        size_t to = n;
        DIR *dir = opendir("/proc");
        for (const struct dirent *e; dir && (e = readdir(dir));) {
            int pid = (int)strtol(e->d_name, NULL, 10), parent = pid > 0 ? parent_of(pid) : 0;
            for (size_t i = from; parent && i < to && n < BELOW_MAX; i++)
                if (list[i] == parent)
                    list[n++] = pid;
        }
        if (dir)
            closedir(dir);
        from = to;
    }
    return n;
}

int process_signal(int pid, const char *word, int signal)
{
    int list[BELOW_MAX] = {pid};
    autoclose int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 || !process_is_of(pid, word)) /* looked at while it is held: it is no other's number */
        return -ESRCH;
    size_t n = signal == SIGKILL ? add_below(list) : 1;
    if (syscall(SYS_pidfd_send_signal, fd, signal, NULL, 0) < 0 && errno != ESRCH)
        return -errno;
    for (size_t i = 1; i < n; i++) {
        autoclose int below = (int)syscall(SYS_pidfd_open, list[i], 0);
        if (below >= 0 && process_is_of(list[i], word))
            syscall(SYS_pidfd_send_signal, below, SIGKILL, NULL, 0);
    }
    return 0;
}
