/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inside: what a program finds around it. One workload a case, one question a line.
 */
#include "contract.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RESTS SHELL("trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait $!; done")

/** A question to a shell inside, and the answer wanted. */
struct question {
    const char *line, *wanted;
};

static void answers(struct contract *c, const struct berth_handle *h, const struct question *q,
                    size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *text = inside(c, h, q[i].line);
        check(strcmp(text, q[i].wanted) == 0, "%s: \"%.300s\", wanted \"%s\"", q[i].line, text,
              q[i].wanted);
        free(text);
    }
}
#define ANSWERS(c, h, ...)                                                                         \
    answers(c, h, (const struct question[]){__VA_ARGS__},                                          \
            sizeof((const struct question[]){__VA_ARGS__}) / sizeof(struct question))

/** The output of a program that runs `line` and ends. */
static char *output_of(struct contract *c, const struct berth_handle *h)
{
    struct berth_status *s = until_ended(c, h);
    check(s->exit_code == 0, "exit code %d: %s", s->exit_code, s->reason);
    berth_status_free(s);
    return log_of(c, h);
}

static void the_environment_is_dockers(struct contract *c)
{
    struct berth_handle h = run(c, "one", SHELL("env; echo pwd=$(pwd)"), "env",
                                "{'MINE':'a b=c','PATH2':''}", "hostname", "'box'", NULL);
    char *text = output_of(c, &h);
    has_text(text, "PATH=/bin:/usr/bin\n");
    has_text(text, "HOME=/root\n");
    has_text(text, "HOSTNAME=box\n");
    has_text(text, "OF_IMAGE=yes\n");
    has_text(text, "MINE=a b=c\n");
    has_text(text, "PATH2=\n");
    has_text(text, "pwd=/\n");
    check(!strstr(text, "TERM="), "TERM without a terminal");
    check(!strstr(text, "BERTH"), "something of berth's is in the environment: %s", text);
    free(text);
}

static void nothing_of_the_callers_environment_comes_in(struct contract *c)
{
    setenv("SECRET_OF_THE_CALLER", "1", 1);
    struct berth_handle h = run(c, "one", SHELL("env"), NULL);
    char *text = output_of(c, &h);
    check(!strstr(text, "SECRET_OF"), "%s", text);
    free(text);
    unsetenv("SECRET_OF_THE_CALLER");
}

static void home_is_the_users(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", SHELL("echo $HOME $(id -u):$(id -g) $(id -G)"), "user", "'guest'", NULL);
    char *text = output_of(c, &h);
    equal_text(text, "/home/guest 1000:1000 1000 2000\n");
    free(text);
}

static void a_number_without_an_entry_is_a_user_too(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", SHELL("echo $(id -u):$(id -g) $HOME"), "user", "'4242:4343'", NULL);
    char *text = output_of(c, &h);
    equal_text(text, "4242:4343 /\n");
    free(text);
}

static void term_comes_with_a_terminal(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", SHELL("echo $TERM; tty; ls -l /dev/console"), "tty", "true", NULL);
    char *text = output_of(c, &h);
    has_text(text, "xterm");
    check(!strstr(text, "not a tty"), "%s", text);
    free(text);
}

static void the_command_and_args_of_the_image_are_kept(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", SHELL("unused"), "command",
            "['/bin/sh','-c','echo \\\"$@\\\"; exit 3','x','a b','$HOME']", NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->exit_code, 3);
    berth_status_free(s);
    char *text = log_of(c, &h);
    equal_text(text, "a b $HOME\n");
    free(text);
}

static void the_working_directory_is_made(struct contract *c)
{
    struct berth_handle h = run(c, "one", SHELL("pwd"), "workdir", "'/not/yet/there'", NULL);
    char *text = output_of(c, &h);
    equal_text(text, "/not/yet/there\n");
    free(text);
}

static void hosts_hostname_and_resolv_conf_are_made(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", RESTS, "hostname", "'box'", "hosts", "['db:10.1.2.3']", NULL);
    ANSWERS(c, &h, {"cat /etc/hostname", "box"}, {"hostname", "box"},
            {"grep -c '127.0.0.1.*localhost' /etc/hosts", "1"},
            {"grep -c '10.1.2.3.*db' /etc/hosts", "1"}, {"grep -c box /etc/hosts", "1"},
            {"test -f /etc/resolv.conf && echo yes", "yes"},
            {"grep -c 127.0.0.53 /etc/resolv.conf || true", "0"});
}

static void dns_of_the_spec_is_in_resolv_conf(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", RESTS, "dns", "['10.9.8.7']", "dns_search", "['example.test']", NULL);
    ANSWERS(c, &h, {"grep -c 'nameserver 10.9.8.7' /etc/resolv.conf", "1"},
            {"grep -c 'search example.test' /etc/resolv.conf", "1"});
}

static void capabilities_are_dockers(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, NULL);
    ANSWERS(c, &h, {"awk '/CapEff/{print $2}' /proc/1/status", "00000000a80425fb"},
            {"awk '/CapBnd/{print $2}' /proc/1/status", "00000000a80425fb"},
            {"awk '/CapPrm/{print $2}' /proc/1/status", "00000000a80425fb"},
            {"awk '/CapInh/{print $2}' /proc/1/status", "0000000000000000"},
            {"awk '/CapAmb/{print $2}' /proc/1/status", "0000000000000000"});
}

static void capabilities_are_added_and_dropped(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", RESTS, "security",
                  "{'cap_drop':['ALL'],'cap_add':['NET_ADMIN','CAP_CHOWN']}", NULL);
    ANSWERS(c, &h, {"awk '/CapEff/{print $2}' /proc/1/status", "0000000000001001"},
            {"awk '/CapBnd/{print $2}' /proc/1/status", "0000000000001001"});
}

static void an_unknown_capability_is_refused(struct contract *c)
{
    fails_with(BERTH_INVALID,
               create_code(c, "one", WAITS, "security.cap_add", "['FLY']", NULL));
    names("FLY");
}

static void a_user_who_is_not_root_has_no_capabilities(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "user", "'guest'", NULL);
    ANSWERS(c, &h, {"awk '/CapEff/{print $2}' /proc/1/status", "0000000000000000"},
            {"awk '/CapPrm/{print $2}' /proc/1/status", "0000000000000000"});
}

static void seccomp_filters(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, NULL);
    ANSWERS(c, &h, {"awk '/^Seccomp:/{print $2}' /proc/1/status", "2"});
    struct berth_handle free_one =
        run_ready(c, "two", RESTS, "security.seccomp", "'unconfined'", NULL);
    ANSWERS(c, &free_one, {"awk '/^Seccomp:/{print $2}' /proc/1/status", "0"});
}

static void no_new_privileges_is_set_when_asked(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "security.no_new_privileges", "true", NULL);
    ANSWERS(c, &h, {"awk '/^NoNewPrivs:/{print $2}' /proc/1/status", "1"});
}

static void devices_are_dockers(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, NULL);
    ANSWERS(c, &h,
            {"for d in null zero full random urandom tty ptmx; do test -c /dev/$d || echo $d; done",
             ""},
            {"for d in fd stdin stdout stderr; do test -L /dev/$d || echo $d; done", ""},
            {"for d in pts shm mqueue; do test -d /dev/$d || echo $d; done", ""},
            {"ls /dev | grep -E '^(sd|vd|mem|kmsg|loop|nvme|kvm|fuse)' || true", ""},
            {"echo x > /dev/null && head -c 3 /dev/zero | wc -c", "3"},
            {"mknod /tmp/sda b 8 0 && (head -c 1 /tmp/sda > /dev/null 2>&1 && echo read || echo "
             "refused)",
             "refused"},
            {"mknod /tmp/kmsg c 1 11 2>/dev/null; (head -c 1 /tmp/kmsg > /dev/null 2>&1 && echo "
             "read || echo refused)",
             "refused"});
}

static void a_device_of_the_spec_is_there(struct contract *c)
{
    if (access("/dev/loop-control", F_OK) != 0)
        end_skipped("the machine has no /dev/loop-control");
    struct berth_handle h =
        run_ready(c, "one", RESTS, "security.devices",
                  "[{'path':'/dev/loop-control','target':'/dev/own','access':'r'}]", NULL);
    ANSWERS(c, &h, {"test -c /dev/own && echo yes", "yes"},
            {"(: < /dev/own) && echo opened", "opened"},
            {"(: >> /dev/own) 2>/dev/null && echo opened || echo refused", "refused"});
}

static void paths_are_masked_and_read_only(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, NULL);
    ANSWERS(
        c, &h,
        {"for p in kcore keys timer_list sched_debug latency_stats; do [ -e /proc/$p ] && [ -s "
         "/proc/$p ] && echo $p; done; true",
         ""},
        {"head -c 1 /proc/kcore 2>/dev/null | wc -c", "0"},
        {"ls /sys/firmware 2>/dev/null | wc -l", "0"}, {"ls /proc/acpi 2>/dev/null | wc -l", "0"},
        {"(echo 1 > /proc/sys/kernel/panic) 2>/dev/null && echo wrote || echo refused", "refused"},
        {"(echo h > /proc/sysrq-trigger) 2>/dev/null && echo wrote || echo refused", "refused"},
        {"(mkdir /sys/fs/cgroup/x) 2>/dev/null && echo made || echo refused", "refused"},
        {"(echo x > /sys/kernel/uevent_helper) 2>/dev/null && echo wrote || echo refused",
         "refused"});
}

static void it_sees_its_own_processes_only(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, NULL);
    ANSWERS(c, &h, {"tr '\\0' ' ' < /proc/1/cmdline | cut -c 1-7", "/bin/sh"},
            {"[ $(ls /proc | grep -c '^[0-9]') -lt 12 ] && echo few", "few"});
}

static void the_program_has_three_descriptors(struct contract *c)
{
    int fd = open("/etc/passwd", O_RDONLY); /* not close-on-exec, as a careless host has it */
    struct berth_handle h =
        run(c, "one", SHELL("for fd in /proc/self/fd/*; do echo ${fd##*/}; done"), NULL);
    char *text = output_of(c, &h);
    close(fd);
    equal_text(text, "0\n1\n2\n3\n"); /* 3 is the shell's own, of the folder it reads */
    free(text);
    struct berth_handle reads = run(c, "two", SHELL("cat; readlink /proc/self/fd/0"), NULL);
    text = output_of(c, &reads); /* its standard input is at its end */
    check(strstr(text, "pipe") || strstr(text, "null"), "standard input is %s", text);
    free(text);
}

static void the_hosts_file_system_is_out_of_reach(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, NULL);
    char *host = print_text("test -e %s && echo seen || echo unseen", c->scratch);
    ANSWERS(c, &h, {host, "unseen"}, {"ls -a / | grep -c oldroot || true", "0"},
            {"grep -c ' / / ' /proc/1/mountinfo", "1"},
            {"(mount -t tmpfs none /mnt) 2>/dev/null && echo mounted || echo refused", "refused"});
    free(host);
}

static void a_read_only_root_is_one(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "read_only", "true", "mounts",
                                      "[{'type':'tmpfs','target':'/tmp'}]", NULL);
    ANSWERS(c, &h, {"(touch /x) 2>/dev/null && echo wrote || echo refused", "refused"},
            {"touch /tmp/x && echo wrote", "wrote"});
}

static void a_bind_mount_shows_the_hosts_files(struct contract *c)
{
    char *folder = print_text("%s/shared", c->scratch);
    mkdir(folder, 0755);
    char *file = scratch_file(c, "shared/file", "of the host\n");
    char *mounts = print_text("[{'type':'bind','source':'%s','target':'/"
                              "rw'},{'type':'bind','source':'%s','target':'/ro','read_only':true},"
                              "{'type':'bind','source':'%s','target':'/etc/one-file'}]",
                              folder, folder, file);
    struct berth_handle h = run_ready(c, "one", RESTS, "mounts", mounts, NULL);
    ANSWERS(c, &h, {"cat /rw/file /ro/file /etc/one-file | sort -u", "of the host"},
            {"echo back > /rw/back && echo wrote", "wrote"},
            {"(touch /ro/x) 2>/dev/null && echo wrote || echo refused", "refused"});
    char *back_path = print_text("%s/back", folder), *back = read_file(back_path);
    equal_text(back, "back\n");
    unlink(back_path);
    unlink(file);
    rmdir(folder);
    free(back);
    free(back_path);
    free(mounts);
    free(file);
    free(folder);
}

static void a_tmpfs_has_its_size_and_mode(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", RESTS, "mounts",
                  "[{'type':'tmpfs','target':'/scratch','size':'1Mi','mode':'0700'}]", NULL);
    ANSWERS(
        c, &h, {"stat -c %a /scratch", "700"},
        {"(head -c 3000000 /dev/zero > /scratch/x) 2>/dev/null && echo fits || echo full", "full"});
}

static void shm_has_its_size(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "resources.shm_size", "'2Mi'", NULL);
    ANSWERS(c, &h, {"df -k /dev/shm | awk 'NR==2{print $2}'", "2048"});
    struct berth_handle standard = run_ready(c, "two", RESTS, NULL);
    ANSWERS(c, &standard, {"df -k /dev/shm | awk 'NR==2{print $2}'", "65536"});
}

static void ulimits_hold(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "resources.ulimits",
                                      "[{'name':'nofile','soft':123,'hard':456}]", NULL);
    ANSWERS(c, &h, {"awk '/Max open files/{print $4, $5}' /proc/1/limits", "123 456"});
}

static void sysctls_are_set(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", RESTS, "sysctls",
                  "{'net.ipv4.ip_default_ttl':'77','kernel.msgmax':'5000'}", NULL);
    ANSWERS(c, &h, {"cat /proc/sys/net/ipv4/ip_default_ttl", "77"},
            {"cat /proc/sys/kernel/msgmax", "5000"});
}

static void a_sysctl_of_the_whole_machine_is_refused(struct contract *c)
{
    int r = create_code(c, "one", SHELL("true"), "sysctls", "{'kernel.panic':'77'}", NULL);
    if (r == BERTH_UNSUPPORTED)
        end_unsupported("%s", ERR->message);
    check(r < 0, "a sysctl of the machine was taken");
    names("kernel.panic");
}

static void oom_score_adj_is_set(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "oom_score_adj", "321", NULL);
    ANSWERS(c, &h, {"cat /proc/1/oom_score_adj", "321"});
    struct berth_handle standard = run_ready(c, "two", RESTS, NULL);
    ANSWERS(c, &standard, {"cat /proc/1/oom_score_adj", "0"});
}

static void limits_are_in_its_own_groups(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "resources.pids", "20", NULL);
    char *text = inside(
        c, &h,
        "(i=0; while [ $i -lt 40 ]; do sleep 3 > /dev/null 2>&1 & i=$((i+1)); echo $i; done) "
        "2> /dev/null | tail -n 1; true");
    check(atoi(text) > 5 && atoi(text) < 20, "%s processes could be made", text);
    free(text);
}

static void an_init_reaps(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", SHELL("echo ready; (setsid sh -c 'sleep 0.05' &); exec sleep 1000"),
                  "init", "true", NULL);
    pause_msec(300);
    ANSWERS(
        c, &h, {"grep -c 'State:.*zombie' /proc/[0-9]*/status | grep -vc ':0$' || true", "0"},
        {"[ \"$(tr '\\0' ' ' < /proc/1/cmdline | cut -c 1-5)\" != sleep ] && echo init", "init"});
    ok(berth_stop(c->runtime, &h, 2000, ERR));
}

static void an_init_passes_the_code_on(struct contract *c)
{
    struct berth_handle h = run(c, "one", SHELL("exit 23"), "init", "true", NULL);
    struct berth_status *s = until_ended(c, &h);
    equal(s->exit_code, 23);
    berth_status_free(s);
    struct berth_handle bad =
        create(c, "two", SHELL("true"), "init", "true", "command", "['/no/such']", NULL);
    fails_with(BERTH_NO_PROGRAM, berth_start(c->runtime, &bad, ERR));
}

static void ports_below_1024_are_for_any_user(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "user", "'guest'", NULL);
    ANSWERS(
        c, &h,
        {"(timeout 1 nc -l -p 80 < /dev/null) > /dev/null 2>&1; [ $? -ge 124 ] && echo listened || "
         "echo refused",
         "listened"});
}

static void ping_is_open_to_any_group(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "user", "'guest'", NULL);
    ANSWERS(c, &h, {"tr '\\t' ' ' < /proc/sys/net/ipv4/ping_group_range", "0 2147483647"});
}

static void the_network_none_has_a_loopback_alone(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "network", "'none'", NULL);
    ANSWERS(c, &h, {"ls /sys/class/net | tr '\\n' ' '", "lo "},
            {"ip addr show lo | grep -c 'inet 127.0.0.1/8'", "1"},
            {"ip link show lo | grep -c UP", "1"});
}

static void the_network_host_is_the_hosts(struct contract *c)
{
    char link[64] = "", *wanted;
    struct berth_handle h = run_ready(c, "one", RESTS, "network", "'host'", NULL);
    check(readlink("/proc/self/ns/net", link, sizeof(link) - 1) > 0, "readlink");
    wanted = link;
    ANSWERS(c, &h, {"readlink /proc/self/ns/net", wanted});
}

static void namespaces_are_its_own_unless_shared(struct contract *c)
{
    static const char *const kinds[] = {"mnt", "pid", "ipc", "uts", "net", "cgroup"};
    struct berth_handle h = run_ready(c, "one", RESTS, "network", "'none'", NULL);
    struct berth_handle joined = run_ready(
        c, "two", RESTS, "namespaces", "{'pid':'container:one','ipc':'host','uts':'host'}", NULL);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        char *host_path = print_text("/proc/self/ns/%s", kinds[i]), host[64] = "";
        char *line = print_text("readlink /proc/self/ns/%s", kinds[i]);
        check(readlink(host_path, host, sizeof(host) - 1) > 0, "readlink");
        char *own = inside(c, &h, line), *other = inside(c, &joined, line);
        check(strcmp(own, host) != 0, "%s is the host's", kinds[i]);
        if (strcmp(kinds[i], "pid") == 0)
            equal_text(other, own);
        if (strcmp(kinds[i], "ipc") == 0 || strcmp(kinds[i], "uts") == 0)
            equal_text(other, host);
        free(own);
        free(other);
        free(line);
        free(host_path);
    }
}

static void secrets_are_files(struct contract *c)
{
    char *file = scratch_file(c, "secret", "hush\n");
    char *secrets = print_text("[{'name':'token','source':'%s'}]", file);
    struct berth_handle h = run_ready(c, "one", RESTS, "secrets", secrets, NULL);
    ANSWERS(c, &h, {"cat /run/secrets/token", "hush"},
            {"(echo x > /run/secrets/token) 2>/dev/null && echo wrote || echo refused", "refused"});
    unlink(file);
    free(secrets);
    free(file);
}

static void privileged_has_everything(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "security.privileged", "true", NULL);
    ANSWERS(c, &h, {"awk '/^Seccomp:/{print $2}' /proc/1/status", "0"},
            {"mkdir -p /mnt && mount -t tmpfs none /mnt && echo mounted", "mounted"});
}

static void confinement_that_the_kernel_lacks_is_refused(struct contract *c)
{
    char *lsm = read_file("/sys/kernel/security/lsm");
    if (lsm && strstr(lsm, "apparmor")) {
        free(lsm);
        end_skipped("the kernel has AppArmor");
    }
    free(lsm);
    struct berth_handle h;
    char *spec = spec_text(c, "one", SHELL("true"), "security.apparmor", "'some-profile'", NULL);
    int r = berth_create(c->runtime, spec, &h, ERR);
    if (r == 0)
        r = berth_start(c->runtime, &h, ERR);
    free(spec);
    check(r < 0, "a profile that the kernel can't apply was taken in silence");
    if (r == BERTH_UNSUPPORTED && !strstr(ERR->message, "AppArmor"))
        end_unsupported("%s", ERR->message);
    names("AppArmor");
}

static void files_it_writes_stay_in_the_workload(struct contract *c)
{
    struct berth_handle a = run_ready(c, "one", RESTS, NULL), b = run_ready(c, "two", RESTS, NULL);
    free(inside(c, &a, "echo changed > /etc/passwd; rm /data/of-the-image"));
    ANSWERS(c, &b, {"head -n 1 /etc/passwd | cut -d : -f 1", "root"},
            {"cat /data/of-the-image", "from the image"});
}

static const struct contract_case inside_cases[] = {
    CASE_NEEDS(the_environment_is_dockers, NEEDS_PROGRAM),
    CASE_NEEDS(nothing_of_the_callers_environment_comes_in, NEEDS_PROGRAM),
    CASE_NEEDS(home_is_the_users, NEEDS_PROGRAM),
    CASE_NEEDS(a_number_without_an_entry_is_a_user_too, NEEDS_PROGRAM),
    CASE_NEEDS(term_comes_with_a_terminal, NEEDS_PROGRAM),
    CASE_NEEDS(the_command_and_args_of_the_image_are_kept, NEEDS_PROGRAM),
    CASE_NEEDS(the_working_directory_is_made, NEEDS_PROGRAM),
    CASE_NEEDS(hosts_hostname_and_resolv_conf_are_made, NEEDS_PROGRAM),
    CASE_NEEDS(dns_of_the_spec_is_in_resolv_conf, NEEDS_PROGRAM),
    CASE_NEEDS(capabilities_are_dockers, NEEDS_PROGRAM),
    CASE_NEEDS(capabilities_are_added_and_dropped, NEEDS_PROGRAM),
    CASE(an_unknown_capability_is_refused),
    CASE_NEEDS(a_user_who_is_not_root_has_no_capabilities, NEEDS_PROGRAM),
    CASE_NEEDS(seccomp_filters, NEEDS_PROGRAM),
    CASE_NEEDS(no_new_privileges_is_set_when_asked, NEEDS_PROGRAM),
    CASE_NEEDS(devices_are_dockers, NEEDS_PROGRAM),
    CASE_NEEDS(a_device_of_the_spec_is_there, NEEDS_PROGRAM),
    CASE_NEEDS(paths_are_masked_and_read_only, NEEDS_PROGRAM),
    CASE_NEEDS(it_sees_its_own_processes_only, NEEDS_PROGRAM),
    CASE_NEEDS(the_program_has_three_descriptors, NEEDS_PROGRAM),
    CASE_NEEDS(the_hosts_file_system_is_out_of_reach, NEEDS_PROGRAM),
    CASE_NEEDS(a_read_only_root_is_one, NEEDS_PROGRAM),
    CASE_NEEDS(a_bind_mount_shows_the_hosts_files, NEEDS_PROGRAM),
    CASE_NEEDS(a_tmpfs_has_its_size_and_mode, NEEDS_PROGRAM),
    CASE_NEEDS(shm_has_its_size, NEEDS_PROGRAM),
    CASE_NEEDS(ulimits_hold, NEEDS_PROGRAM),
    CASE_NEEDS(sysctls_are_set, NEEDS_PROGRAM),
    CASE_NEEDS(a_sysctl_of_the_whole_machine_is_refused, NEEDS_PROGRAM),
    CASE_NEEDS(oom_score_adj_is_set, NEEDS_PROGRAM),
    CASE_NEEDS(limits_are_in_its_own_groups, NEEDS_PROGRAM),
    CASE_NEEDS(an_init_reaps, NEEDS_PROGRAM),
    CASE_NEEDS(an_init_passes_the_code_on, NEEDS_PROGRAM),
    CASE_NEEDS(ports_below_1024_are_for_any_user, NEEDS_PROGRAM),
    CASE_NEEDS(ping_is_open_to_any_group, NEEDS_PROGRAM),
    CASE_NEEDS(the_network_none_has_a_loopback_alone, NEEDS_PROGRAM),
    CASE_NEEDS(the_network_host_is_the_hosts, NEEDS_PROGRAM),
    CASE_NEEDS(namespaces_are_its_own_unless_shared, NEEDS_PROGRAM),
    CASE_NEEDS(secrets_are_files, NEEDS_PROGRAM),
    CASE_NEEDS(privileged_has_everything, NEEDS_PROGRAM),
    CASE_NEEDS(confinement_that_the_kernel_lacks_is_refused, NEEDS_PROGRAM),
    CASE_NEEDS(files_it_writes_stay_in_the_workload, NEEDS_PROGRAM),
};
GROUP(inside);
