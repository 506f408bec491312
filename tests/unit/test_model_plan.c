/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan: every member survives, damage is told with its place, memory may run out anywhere.
 */
#include "fault.h"
#include "unit.h"

#include "base/text.h"
#include "model/plan.h"
#include "model/spec.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mount.h>

/* Every member, each with a value of its own. */
static const char full[] =
    "{\"version\":1,\"stamp\":\"0.1.0 abc\",\"id\":\"0123\",\"name\":\"web\",\"runtime\":\"container\","
    "\"image\":\"nginx:1\",\"argv\":[\"/bin/sh\",\"-c\",\"\"],\"env\":[\"A=1\",\"B=\"],"
    "\"workdir\":\"/w\",\"user\":\"1:2\",\"groups\":[\"3\"],\"hostname\":\"h\",\"domainname\":\"d\","
    "\"tty\":true,\"stdin_open\":true,\"init\":true,\"init_program\":\"/usr/libexec/init\","
    "\"program\":\"/usr/libexec/worker\",\"files\":[{\"name\":\"code\",\"path\":\"/c\",\"size\":4096}],"
    "\"stop_signal\":15,\"stop_timeout_usec\":10000000,"
    "\"root\":{\"layers\":[\"/l/1\",\"/l/2\"],\"upper\":\"/u\",\"work\":\"/k\",\"read_only\":true},"
    "\"mounts\":[{\"kind\":\"proc\",\"target\":\"/proc\"},{\"kind\":\"overlay\",\"source\":\"/s\","
    "\"target\":\"/t\",\"layers\":[\"/a\"],\"flags\":1,\"propagation\":262144,\"data\":\"size=1\","
    "\"fill\":true,\"is_file\":true,\"optional\":true}],"
    "\"masked_paths\":[],\"read_only_paths\":[\"/proc/sys\"],"
    "\"devices\":[{\"path\":\"/dev/null\",\"type\":\"c\",\"major\":1,\"minor\":4294967295,"
    "\"mode\":438,\"uid\":5,\"gid\":6,\"access\":\"rwm\",\"node\":true}],"
    "\"namespaces\":{\"mnt\":{\"mode\":\"private\"},\"pid\":{\"mode\":\"join\",\"id\":\"77\"},"
    "\"net\":{\"mode\":\"host\"},\"ipc\":{\"mode\":\"private\"},\"uts\":{\"mode\":\"private\"},"
    "\"cgroup\":{\"mode\":\"private\"},\"user\":{\"mode\":\"host\"}},"
    "\"uid_map\":[{\"outside\":100000,\"count\":65536}],\"gid_map\":[{\"inside\":1,\"outside\":2,"
    "\"count\":3}],\"cgroup_parent\":\"/berth-1\","
    "\"limits\":{\"memory\":67108864,\"swap\":-1,\"reservation\":5,\"cpu_quota_usec\":-1,"
    "\"cpu_period_usec\":100000,\"cpuset\":\"0-1\",\"cpuset_mems\":\"0\",\"cpu_weight\":100,"
    "\"pids\":-1,\"io_weight\":10000,\"io\":[{\"major\":8,\"minor\":1,\"read_bps\":1,"
    "\"write_bps\":2,\"read_iops\":3,\"write_iops\":4}]},"
    "\"oom_kill_disable\":true,\"privileged\":true,\"no_new_privileges\":true,"
    "\"caps_bounding\":2199023255551,\"caps_effective\":-1,"
    "\"seccomp\":\"/s.bpf\",\"apparmor\":\"p\",\"selinux\":\"l\","
    "\"rlimits\":[{\"resource\":7,\"soft\":1024,\"hard\":-1}],\"oom_score_adj\":0,"
    "\"sysctls\":[{\"name\":\"a\",\"value\":\"b\"}],"
    "\"log\":{\"none\":true,\"max_size_bytes\":67108864,\"max_files\":4},"
    "\"restart\":{\"policy\":\"on-failure\",\"max\":-1,\"delay_usec\":1,\"cap_usec\":2,"
    "\"reset_usec\":3},"
    "\"health\":{\"argv\":[\"true\"],\"interval_usec\":1,\"timeout_usec\":2,\"start_period_usec\":3,"
    "\"start_interval_usec\":4,\"retries\":5,\"on_failure\":\"restart\"},"
    "\"readiness\":{\"on_failure\":\"none\"},\"liveness\":{\"on_failure\":\"stop\"},"
    "\"sockets\":[{\"name\":\"n\",\"address\":\"::\",\"port\":65535,\"path\":\"/p\",\"type\":1,"
    "\"backlog\":128,\"on_demand\":true,\"mode\":384}],"
    "\"ports\":[{\"container\":80,\"host\":8080,\"protocol\":\"udp\",\"host_address\":\"127.0.0.1\"}],"
    "\"ready_told\":true,\"begin_running\":true,\"at_end\":[\"/bin/rm\"]}\n";

static void every_member_survives(void **state)
{
    autoclean(cleanup_plan) struct plan *plan = NULL;
    struct berth_error err = {0};
    int r = plan_parse(full, strlen(full), &plan, &err);
    assert_string_equal(err.message, "");
    assert_int_equal(r, 0);
    autofree char *again = plan_print(plan);
    assert_string_equal(again, full);

    assert_int_equal(plan->stop_signal, SIGTERM);
    assert_int_equal(plan->mounts[0].kind, PLAN_MOUNT_PROC);
    assert_int_equal(plan->mounts[1].propagation, MS_PRIVATE);
    assert_int_equal(plan->namespaces[PLAN_NS_PID].mode, PLAN_NS_JOIN);
    assert_string_equal(plan->namespaces[PLAN_NS_PID].id, "77");
    assert_int_equal(plan->namespaces[PLAN_NS_USER].mode, PLAN_NS_HOST);
    assert_true(plan->rlimits[0].hard == UINT64_MAX);
    assert_int_equal(plan->limits.swap, -1);
    assert_int_equal(plan->restart.policy, PLAN_RESTART_ON_FAILURE);
    assert_true(plan->has_oom_score_adj);
    assert_non_null(plan->masked_paths);
    assert_null(plan->masked_paths[0]);
    assert_int_equal(plan->devices[0].minor, UINT32_MAX);
    assert_int_equal(plan->health.on_failure, 1);
    assert_int_equal(plan->liveness.on_failure, 2);
}

static void check(const char *json, const char *message)
{
    struct plan *plan = NULL;
    struct berth_error err = {0};
    assert_int_equal(plan_parse(json, strlen(json), &plan, &err), BERTH_CORRUPT);
    assert_null(plan);
    assert_string_equal(err.message, message);
}

#define MINIMUM "\"version\":1,\"id\":\"1\",\"name\":\"n\",\"runtime\":\"container\",\"argv\":[\"x\"]"

static void damage_is_told_with_its_place(void **state)
{
    check("{}", "plan: version is missing");
    check("[]", "plan: version is missing");
    check("{\"version\":99}",
          "plan: format 99 was written by a newer berth (this one reads up to 1)");
    check("{\"version\":1,\"id\":\"1\",\"name\":\"n\",\"runtime\":\"c\"}", "plan: argv is missing");
    check("{" MINIMUM ",\"mounts\":[{}]}", "plan: mounts[0] has no target");
    check("{" MINIMUM ",\"mounts\":[{\"target\":\"/\",\"kind\":\"x\"}]}",
          "mounts[0].kind: \"x\" is not one of bind, volume, tmpfs, proc, sysfs, dev, devpts, shm, "
          "mqueue, cgroup, overlay");
    check("{" MINIMUM ",\"ports\":[{\"container\":65536}]}",
          "ports[0].container: 65536 is not within 0 and 65535");
    check("{" MINIMUM ",\"limits\":{\"memory\":\"1\"}}",
          "limits.memory: expected a whole number, found \"1\"");
    check("{" MINIMUM ",\"stop_timeout_usec\":\"10s\"}",
          "stop_timeout_usec: expected a whole number, found \"10s\"");
    check("{" MINIMUM ",\"argvv\":[]}", "argvv: unknown field (did you mean argv?)");
    check("{\"version\":1,\"version\":1}",
          "version: is there twice");
}

static void cut_plans_are_refused(void **state)
{
    for (size_t n = 0; n + 1 < strlen(full); n += 7) {
        struct plan *plan = NULL;
        assert_int_equal(plan_parse(full, n, &plan, NULL), BERTH_CORRUPT);
    }
}

static int parse_and_print(void *data)
{
    autoclean(cleanup_plan) struct plan *plan = NULL;
    struct berth_error err = {0};
    int r = plan_parse(full, strlen(full), &plan, &err);
    if (r < 0) {
        if (r != BERTH_NO_MEMORY)
            print_error("%d %s\n", r, err.message);
        return r == BERTH_NO_MEMORY && err.code == r ? -1 : 1;
    }
    autofree char *again = plan_print(plan);
    if (!again)
        return -1;
    return strcmp(again, full) == 0 ? 0 : 2;
}

static void memory_may_run_out_anywhere(void **state)
{
    assert_true(fault_loop(parse_and_print, NULL) > (FAULT_AVAILABLE ? 200 : 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_survives),
        cmocka_unit_test(damage_is_told_with_its_place),
        cmocka_unit_test(cut_plans_are_refused),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
