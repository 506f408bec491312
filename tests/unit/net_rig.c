/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network namespace for a test, and programs as judges in it.
 */
#include "net_rig.h"

#include "base/file.h"
#include "base/text.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/wait.h>

bool rig_possible(void)
{
    if (geteuid() == 0)
        return true;
    print_message("only root can make network namespaces: skipped\n");
    return false;
}

int rig_enter(void)
{
    if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -errno;
    says("ip link set lo up", "");
    return 0;
}

char *output_of(int ns_fd, const char *command, int *ret_status)
{
    int ends[2], status = 0;
    char *out = NULL;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (ns_fd >= 0 && setns(ns_fd, CLONE_NEWNET) < 0)
            _exit(99);
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(98);
    }
    close(ends[1]);
    assert_int_equal(fd_read_all(ends[0], 1 << 20, &out, NULL), 0);
    close(ends[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (ret_status)
        *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
    return out;
}

void inside(int ns_fd, const char *command, const char *text)
{
    int status = 0;
    autofree char *out = output_of(ns_fd, command, &status);
    if (status != 0 || !strstr(out, text))
        fail_msg("\"%s\" exited %d, without \"%s\":\n%s\n", command, status, text, out);
}

void says(const char *command, const char *text)
{
    inside(-1, command, text);
}

struct address subnet(const char *s)
{
    struct address a = {0};
    assert_int_equal(address_parse_subnet(s, &a), 0);
    return a;
}

struct address address(const char *s)
{
    struct address a = {0};
    assert_int_equal(address_parse(s, &a), 0);
    return a;
}
