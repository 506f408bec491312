/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Launch, seen from inside: what a workload finds, what it may do, and how it ends. Needs root.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "launch_rig.h"
#include "linux/cgroup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void expect_run(struct rig *r, const char *script, const char *output)
{
    int code = rig_run(r, script);
    if (code != 0)
        print_message("code %d: %s\n", code, code < 0 ? r->err.message : r->output);
    assert_int_equal(code, 0);
    assert_string_equal(r->output, output);
}

static void runs_a_program(void **state)
{
    struct rig r;
    rig_begin(&r);
    expect_run(&r, "echo hello; hostname; id -u; pwd; echo $HOSTNAME $HOME; echo $$", "hello\nrigged\n0\n/\nrigged /root\n1\n");
    rig_end(&r);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(runs_a_program),
};

/* The launch moves whoever calls it into the supervisors' groups: a child does, so that the groups can be removed. */
int main(void)
{
    struct cgroup_layout *layout;
    int status = 1;
    pid_t pid = fork();
    if (pid == 0)
        exit(cmocka_run_group_tests(tests, NULL, NULL));
    waitpid(pid, &status, 0);
    if (cgroup_layout_read(&layout, NULL) == 0) {
        if (cgroup_remove(layout, "/berth-launchtest/none", 1000) < 0)
            status = 1;
        cgroup_layout_free(layout);
    }
    return status != 0;
}
