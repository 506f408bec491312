/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share: what a workload gets from others: users, sockets, processors, the files of another.
 */
#include "contract.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define RESTS SHELL("trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait $!; done")

static void says(struct contract *c, const struct berth_handle *h, const char *line,
                 const char *wanted)
{
    char *text = inside(c, h, line);
    check(strcmp(text, wanted) == 0, "%s: \"%.300s\", wanted \"%s\"", line, text, wanted);
    free(text);
}

/** The first number of a line of /proc/PID/status ("Uid:"). */
static long status_number(int pid, const char *key)
{
    char *path = print_text("/proc/%d/status", pid), *text = read_file(path);
    char *line = text ? strstr(text, key) : NULL;
    check(line, "%s has no %s", path, key);
    long number = strtol(line + strlen(key), NULL, 10);
    free(text);
    free(path);
    return number;
}

static void root_of_a_user_namespace_is_nobody_outside(struct contract *c)
{
    struct berth_handle h = run_ready(
        c, "one", RESTS, "namespaces",
        "{'userns':'private','uid_map':['0:200000:65536'],'gid_map':['0:200000:65536']}", NULL);
    says(c, &h, "id -u; id -g", "0\n0");
    says(c, &h, "touch /made && stat -c %u:%g /made /etc/passwd", "0:0\n0:0");
    struct berth_status *s = status_of(c, &h);
    equal(status_number(s->pid, "Uid:"), 200000);
    equal(status_number(s->pid, "Gid:"), 200000);
    berth_status_free(s);
}

static void a_listening_socket_is_handed_over(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one",
                  SHELL("echo ready; echo fds $LISTEN_FDS names $LISTEN_FDNAMES; [ $LISTEN_PID = "
                        "$$ ] && echo mine; "
                        "dd bs=100 count=1 <&3 2> /dev/null; exit 7"),
                  "network", "'host'", "sockets",
                  "[{'name':'in','address':'127.0.0.1','protocol':'udp','port':18475}]", NULL);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(18475)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(sendto(fd, "hello\n", 6, 0, (struct sockaddr *)&to, sizeof(to)) == 6, "sendto");
    close(fd);
    struct berth_status *s = until_ended(c, &h);
    equal(s->exit_code, 7);
    berth_status_free(s);
    char *log = log_of(c, &h);
    equal_text(log, "ready\nfds 1 names in\nmine\nhello\n");
    free(log);
}

static void on_demand_the_program_starts_at_the_first_connection(struct contract *c)
{
    struct berth_handle h =
        run(c, "one", SHELL("echo begun; sleep 1000"), "network", "'host'", "sockets",
            "[{'name':'in','address':'127.0.0.1','port':18476,'on_demand':true}]", NULL);
    pause_msec(150);
    char *log = log_of(c, &h);
    equal_text(log, "");
    free(log);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(18476)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0, "nobody listens");
    until_log(c, &h, "begun");
    close(fd);
    is_state(c, &h, BERTH_RUNNING);
    ok(berth_stop(c->runtime, &h, 0, ERR));
}

static void the_processors_of_the_spec_are_its_own(struct contract *c)
{
    struct berth_handle h = run_ready(c, "one", RESTS, "resources.cpuset", "'0'", NULL);
    says(c, &h, "awk '/Cpus_allowed_list/{print $2}' /proc/self/status", "0");
    says(c, &h, "nproc", "1");
}

static void processors_that_there_are_not_are_refused(struct contract *c)
{
    struct berth_handle h = create(c, "one", SHELL("true"), "resources.cpuset", "'4000'", NULL);
    check(berth_start(c->runtime, &h, ERR) < 0, "processor 4000 was given");
    names("4000");
}

static void volumes_of_another_are_seen(struct contract *c)
{
    struct berth_handle maker = run(c, "maker", SHELL("echo shared > /data/file"), "mounts",
                                    "[{'type':'volume','source':'common','target':'/data'}]", NULL);
    berth_status_free(until_ended(c, &maker));
    struct berth_handle reads = run_ready(c, "reads", RESTS, "volumes_from", "['maker:ro']", NULL);
    says(c, &reads, "cat /data/file", "shared");
    says(c, &reads, "(touch /data/x) 2> /dev/null && echo wrote || echo refused", "refused");
}

static void the_root_of_an_image_is_a_mount(struct contract *c)
{
    char *volumes = print_text("[{'image':'%s','target':'/other'}]", c->image);
    struct berth_handle h = run_ready(c, "one", RESTS, "image_volumes", volumes, NULL);
    says(c, &h, "cat /other/data/of-the-image", "from the image");
    says(c, &h, "(touch /other/x) 2> /dev/null && echo wrote || echo refused", "refused");
    free(volumes);
}

static void ipc_of_another_is_shared(struct contract *c)
{
    struct berth_handle a = run_ready(c, "one", RESTS, "namespaces.ipc", "'shareable'", NULL);
    struct berth_handle b = run_ready(c, "two", RESTS, "namespaces.ipc", "'container:one'", NULL);
    free(inside(c, &a, "echo x > /dev/shm/of-one"));
    says(c, &b, "cat /dev/shm/of-one", "x");
    char *own = inside(c, &a, "readlink /proc/self/ns/ipc");
    says(c, &b, "readlink /proc/self/ns/ipc", own);
    free(own);
}

static void a_namespace_of_one_that_does_not_run_is_refused(struct contract *c)
{
    create(c, "one", SHELL("true"), NULL);
    struct berth_handle b;
    char *spec = spec_text(c, "two", SHELL("true"), "namespaces.pid", "'container:one'", NULL);
    int r = berth_create(c->runtime, spec, &b, ERR);
    if (r == 0)
        r = berth_start(c->runtime, &b, ERR);
    free(spec);
    check(r < 0, "the namespace of one that does not run was joined");
    names("not running");
}

static void masked_paths_of_the_spec_are_taken(struct contract *c)
{
    struct berth_handle h =
        run_ready(c, "one", RESTS, "security",
                  "{'masked_paths':['/etc/group','/srv'],'read_only_paths':['/data']}", NULL);
    says(c, &h, "cat /etc/group | wc -c", "0");
    says(c, &h, "(touch /data/x) 2> /dev/null && echo wrote || echo refused", "refused");
    says(c, &h, "(touch /srv/x) 2> /dev/null && echo wrote || echo refused", "refused");
}

static const struct contract_case share_cases[] = {
    CASE_NEEDS(root_of_a_user_namespace_is_nobody_outside, NEEDS_PROGRAM),
    CASE_NEEDS(a_listening_socket_is_handed_over, NEEDS_PROGRAM),
    CASE_NEEDS(on_demand_the_program_starts_at_the_first_connection, NEEDS_PROGRAM),
    CASE_NEEDS(the_processors_of_the_spec_are_its_own, NEEDS_PROGRAM),
    CASE_NEEDS(processors_that_there_are_not_are_refused, NEEDS_PROGRAM),
    CASE_NEEDS(volumes_of_another_are_seen, NEEDS_PROGRAM),
    CASE_NEEDS(the_root_of_an_image_is_a_mount, NEEDS_PROGRAM),
    CASE_NEEDS(ipc_of_another_is_shared, NEEDS_PROGRAM),
    CASE_NEEDS(a_namespace_of_one_that_does_not_run_is_refused, NEEDS_PROGRAM),
    CASE_NEEDS(masked_paths_of_the_spec_are_taken, NEEDS_PROGRAM),
};
GROUP(share);
