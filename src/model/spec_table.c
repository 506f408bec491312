/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of the spec: what a field is called, where it lives, what it may be, what it means.
 *
 * Parsing, checking, printing, the list of what is set, what an update may change and the JSON Schema
 * all come from here. A new field is one row.
 */
#include "model/spec_table.h"
#include "base/base.h"

#include <string.h>

const struct document spec_document = {.what = "spec", .code = BERTH_INVALID};

#define MSEC INT64_C(1000)
#define DAY (86400 * 1000 * MSEC)

/* One row: member `m` of struct `S`, called `n` in the document. */
#define ROW(n, k, m) .name = n, .kind = k, .offset = offsetof(S, m), .size = sizeof(((S *)0)->m)
#define ITEMS(n, m, f) \
    .name = n, .kind = FIELD_ARRAY, .offset = offsetof(S, m), .size = sizeof(*((S *)0)->m), \
    .fields = f
#define HAS(m) .has_offset = HAS_OFFSET(S, m)
#define COUNT(m) .count_offset = offsetof(S, m)
#define DOC(text) .doc = text
#define END {0}

static const char *const pulls[] = {"always", "missing", "never", "newer", NULL};
static const char *const protocols[] = {"tcp", "udp", NULL};
static const char *const mount_kinds[] = {
    [SPEC_MOUNT_BIND] = "bind", [SPEC_MOUNT_VOLUME] = "volume", [SPEC_MOUNT_TMPFS] = "tmpfs",
    [SPEC_MOUNT_IMAGE] = "image", NULL};
static const char *const propagations[] = {"private", "rprivate", "slave", "rslave", "shared",
                                           "rshared", NULL};
static const char *const policies[] = {"never", "on-failure", "always", "unless-stopped", NULL};
static const char *const probe_actions[] = {"none", "restart", "stop", NULL};
static const char *const drivers[] = {"file", "none", NULL};

#define S struct spec_io
static const struct field io_fields[] = {
    {ROW("device", FIELD_STRING, device), .check = check_absolute, DOC("block device, /dev/sda")},
    {ROW("read_bps", FIELD_SIZE, read_bps), .min = 1, DOC("bytes read a second")},
    {ROW("write_bps", FIELD_SIZE, write_bps), .min = 1, DOC("bytes written a second")},
    {ROW("read_iops", FIELD_UINT, read_iops), .min = 1, .max = INT64_MAX, DOC("reads a second")},
    {ROW("write_iops", FIELD_UINT, write_iops), .min = 1, .max = INT64_MAX, DOC("writes a second")},
    END,
};
#undef S
#define S struct spec_ulimit
static const struct field ulimit_fields[] = {
    {ROW("name", FIELD_STRING, name), DOC("nofile, nproc, core, ... as ulimit has them")},
    {ROW("soft", FIELD_UINT, soft), DOC("soft limit, or unlimited")},
    {ROW("hard", FIELD_UINT, hard), DOC("hard limit, or unlimited; the soft one when left out")},
    END,
};
#undef S
#define S struct spec_port
static const struct field port_fields[] = {
    {ROW("container", FIELD_UINT, container), .min = 1, .max = 65535, DOC("port inside")},
    {ROW("container_end", FIELD_UINT, container_end), .min = 1, .max = 65535,
     DOC("last of a range of ports inside")},
    {ROW("host", FIELD_UINT, host), .max = 65535, DOC("port on the host; any free one when left out")},
    {ROW("host_end", FIELD_UINT, host_end), .min = 1, .max = 65535, DOC("last of a range on the host")},
    {ROW("protocol", FIELD_CHARS, protocol), .words = protocols, DOC("tcp when left out")},
    {ROW("host_address", FIELD_STRING, host_address), .check = check_ip,
     DOC("address on the host; 127.0.0.1 when left out")},
    END,
};
#undef S
#define S struct spec_network
static const struct field network_fields[] = {
    {ROW("name", FIELD_STRING, name), .check = check_name, DOC("of the network")},
    {ROW("ip", FIELD_STRING, ip), .check = check_ip4, DOC("a fixed address on it")},
    {ROW("ip6", FIELD_STRING, ip6), .check = check_ip6, DOC("a fixed IPv6 address on it")},
    {ROW("mac", FIELD_STRING, mac), .check = check_mac, DOC("a fixed MAC address on it")},
    {ROW("aliases", FIELD_STRINGS, aliases), .check = check_hostname, DOC("more names on this network alone")},
    END,
};
#undef S
#define S struct spec_host
static const struct field host_fields[] = {
    {ROW("name", FIELD_STRING, name), .check = check_hostname, DOC("host name")},
    {ROW("address", FIELD_STRING, address), .check = check_host_address, DOC("its address, or host-gateway")},
    END,
};
#undef S
#define S struct spec_mount
static const struct field mount_fields[] = {
    {ROW("type", FIELD_ENUM, kind), .words = mount_kinds, DOC("bind when left out")},
    {ROW("source", FIELD_STRING, source),
     DOC("bind: absolute path on the host; volume: its name, an anonymous one when left out; image: the image")},
    {ROW("target", FIELD_STRING, target), DOC("absolute path inside")},
    {ROW("read_only", FIELD_BOOL, read_only), DOC("cannot be written")},
    {ROW("recursive", FIELD_BOOL, recursive), DOC("bind: with what is mounted below the source")},
    {ROW("create_source", FIELD_BOOL, create_source), DOC("bind: make a missing source as a folder")},
    {ROW("propagation", FIELD_WORD, propagation), .words = propagations, DOC("bind: rprivate when left out")},
    {ROW("no_copy", FIELD_BOOL, no_copy), DOC("volume: not filled from the image at first use")},
    {ROW("size", FIELD_SIZE, size_bytes), .min = 4096, DOC("tmpfs: half of the machine's memory when left out")},
    {ROW("mode", FIELD_MODE, mode), HAS(has_mode), .max = 07777, DOC("tmpfs: mode of its root, octal; \"1777\" when left out")},
    {ROW("exec", FIELD_BOOL, exec), HAS(has_exec), DOC("tmpfs: programs on it may be run")},
    END,
};
#undef S
#define S struct spec_image_volume
static const struct field image_volume_fields[] = {
    {ROW("image", FIELD_STRING, image), .check = check_image, DOC("image whose root is mounted, read-only")},
    {ROW("target", FIELD_STRING, target), .check = check_target, DOC("absolute path inside")},
    END,
};
#undef S
#define S struct spec_secret
static const struct field secret_fields[] = {
    {ROW("name", FIELD_STRING, name), .check = check_name, DOC("name of the secret")},
    {ROW("source", FIELD_STRING, source), .check = check_absolute, DOC("file on the host")},
    {ROW("target", FIELD_STRING, target), .check = check_target, DOC("/run/secrets/NAME when left out")},
    {ROW("mode", FIELD_MODE, mode), .max = 07777, DOC("octal; \"0400\" when left out")},
    {ROW("user", FIELD_STRING, user), .check = check_user, DOC("owner inside; root when left out")},
    END,
};
#undef S
#define S struct spec_device
static const struct field device_fields[] = {
    {ROW("path", FIELD_STRING, path), .check = check_absolute, DOC("device on the host")},
    {ROW("target", FIELD_STRING, target), .check = check_target, DOC("path inside; the same when left out")},
    {ROW("access", FIELD_STRING, access), .check = check_access, DOC("of r, w, m; rwm when left out")},
    END,
};
#undef S
#define S struct spec_socket
static const struct field socket_fields[] = {
    {ROW("name", FIELD_STRING, name), .check = check_name, DOC("name in LISTEN_FDNAMES")},
    {ROW("address", FIELD_STRING, address), .check = check_ip, DOC("every address when left out")},
    {ROW("protocol", FIELD_WORD, protocol), .words = protocols, DOC("tcp when left out")},
    {ROW("port", FIELD_UINT, port), .min = 1, .max = 65535, DOC("port to listen on")},
    {ROW("path", FIELD_STRING, path), .check = check_target, DOC("or a unix socket at this path inside")},
    {ROW("backlog", FIELD_INT, backlog), .min = 1, .max = 65535, DOC("128 when left out")},
    {ROW("on_demand", FIELD_BOOL, on_demand), DOC("start the program at the first connection")},
    {ROW("mode", FIELD_MODE, mode), .max = 07777, DOC("of a unix socket, octal")},
    END,
};
#undef S
#define S struct spec_probe
static const struct field probe_fields[] = {
    {ROW("command", FIELD_STRINGS, command), DOC("argv; [\"NONE\"] switches the image's off")},
    {ROW("shell", FIELD_STRING, shell), DOC("or one line for the image's shell")},
    {ROW("interval", FIELD_DURATION, interval_usec), .min = MSEC, .max = DAY, DOC("30s when left out")},
    {ROW("timeout", FIELD_DURATION, timeout_usec), .min = MSEC, .max = DAY, DOC("30s when left out")},
    {ROW("start_period", FIELD_DURATION, start_period_usec), .max = DAY,
     DOC("failures in this time after the start do not count")},
    {ROW("start_interval", FIELD_DURATION, start_interval_usec), .min = MSEC, .max = DAY,
     DOC("interval during start_period; 5s when left out")},
    {ROW("retries", FIELD_INT, retries), .min = 1, .max = 1000000, DOC("failures in a row that count; 3 when left out")},
    {ROW("on_failure", FIELD_WORD, on_failure), .words = probe_actions, DOC("what the supervisor then does")},
    END,
};
#undef S
#define S struct spec_restart
static const struct field restart_fields[] = {
    {ROW("policy", FIELD_WORD, policy), .words = policies, DOC("never when left out")},
    {ROW("max", FIELD_INT, max), HAS(has_max), .max = 1000000, DOC("on-failure: give up after so many")},
    {ROW("delay", FIELD_DURATION, delay_usec), .min = MSEC, .max = DAY, DOC("before the first; doubles each time")},
    {ROW("cap", FIELD_DURATION, cap_usec), .min = MSEC, .max = DAY, DOC("the longest delay")},
    {ROW("reset", FIELD_DURATION, reset_usec), .min = MSEC, .max = DAY,
     DOC("after running this long the delay is the first again")},
    END,
};
#undef S
#define S struct spec_log
static const struct field log_fields[] = {
    {ROW("driver", FIELD_WORD, driver), .words = drivers, DOC("file, or none to drop the output")},
    {ROW("max_size", FIELD_SIZE, max_size_bytes), .min = 4096, .flags = FIELD_CHANGES, DOC("of one file; 64Mi when left out")},
    {ROW("max_files", FIELD_INT, max_files), .min = 1, .max = 1000, .flags = FIELD_CHANGES, DOC("4 when left out")},
    END,
};
#undef S
#define S struct spec_preopen
static const struct field preopen_fields[] = {
    {ROW("source", FIELD_STRING, source), .check = check_absolute, DOC("folder on the host")},
    {ROW("target", FIELD_STRING, target), DOC("its name for the guest")},
    {ROW("read_only", FIELD_BOOL, read_only), DOC("cannot be written")},
    END,
};
#undef S

/* Groups without a name of their own: offsets from the group's beginning. */
#define S struct spec
#define IN(g, n, k, m) \
    .name = n, .kind = k, .offset = offsetof(S, g.m) - offsetof(S, g), .size = sizeof(((S *)0)->g.m)
#define IN_ITEMS(g, n, m, f) \
    .name = n, .kind = FIELD_ARRAY, .offset = offsetof(S, g.m) - offsetof(S, g), \
    .size = sizeof(*((S *)0)->g.m), .count_offset = offsetof(S, g.n_##m) - offsetof(S, g), .fields = f
#define IN_HAS(g, m) .has_offset = HAS_OFFSET(S, g.m) - offsetof(S, g)

#define CHANGES .flags = FIELD_CHANGES
static const struct field resource_fields[] = {
    {IN(resources, "memory", FIELD_SIZE, memory), IN_HAS(resources, has_memory), .min = 1, CHANGES,
     DOC("most memory it may use")},
    {IN(resources, "swap", FIELD_SIZE, swap), IN_HAS(resources, has_swap), .flags = FIELD_CHANGES | FIELD_UNLIMITED,
     DOC("memory and swap together, or unlimited; twice the memory when left out")},
    {IN(resources, "reservation", FIELD_SIZE, reservation), IN_HAS(resources, has_reservation), .min = 1, CHANGES,
     DOC("memory it may count on when the machine runs short")},
    {IN(resources, "cpu", FIELD_DOUBLE, cpu), .max = 100000, CHANGES, DOC("cores, with fractions: 1.5")},
    {IN(resources, "cpuset", FIELD_STRING, cpuset), .check = check_cpuset, CHANGES, DOC("cores it may run on: 0-2,4")},
    {IN(resources, "cpuset_mems", FIELD_STRING, cpuset_mems), .check = check_cpuset, CHANGES, DOC("memory nodes it may use")},
    {IN(resources, "cpu_weight", FIELD_UINT, cpu_weight), .min = 1, .max = 10000, CHANGES,
     DOC("share under contention; 100 is the usual")},
    {IN(resources, "cpu_shares", FIELD_UINT, cpu_shares), .min = 2, .max = 262144, CHANGES,
     DOC("the same in docker's scale; 1024 is the usual")},
    {IN(resources, "pids", FIELD_INT, pids), IN_HAS(resources, has_pids), .min = -1, .max = INT32_MAX, CHANGES,
     DOC("processes and threads; -1: no limit")},
    {IN(resources, "io_weight", FIELD_UINT, io_weight), .min = 1, .max = 10000, CHANGES, DOC("share of block I/O")},
    {IN_ITEMS(resources, "io", io, io_fields), .finish = io_finish, CHANGES, DOC("limits of single block devices")},
    {IN(resources, "devices", FIELD_STRINGS, devices_cdi), .check = check_cdi, DOC("devices by CDI name: nvidia.com/gpu=0")},
    {IN_ITEMS(resources, "ulimits", ulimits, ulimit_fields), .short_form = ulimit_from_text, .finish = ulimit_finish,
     DOC("limits of single processes; also \"nofile=1024:4096\"")},
    {IN(resources, "shm_size", FIELD_SIZE, shm_size), .min = 4096, DOC("size of /dev/shm; 64Mi when left out")},
    {IN(resources, "oom_kill_disable", FIELD_BOOL, oom_kill_disable), DOC("stop rather than kill when memory runs out (cgroup v1)")},
    END,
};

static const struct field namespace_fields[] = {
    {IN(namespaces, "pid", FIELD_STRING, pid), .check = check_namespace, DOC("private, host or container:NAME")},
    {IN(namespaces, "ipc", FIELD_STRING, ipc), .check = check_ipc, DOC("private, host, shareable, none or container:NAME")},
    {IN(namespaces, "uts", FIELD_STRING, uts), .check = check_namespace, DOC("private, host or container:NAME")},
    {IN(namespaces, "cgroup", FIELD_STRING, cgroup), .check = check_namespace, DOC("private, host or container:NAME")},
    {IN(namespaces, "userns", FIELD_STRING, userns), .check = check_namespace, DOC("host when left out; private or container:NAME")},
    {IN(namespaces, "uid_map", FIELD_STRINGS, uid_map), .check = check_idmap, DOC("INSIDE:OUTSIDE:COUNT of users")},
    {IN(namespaces, "gid_map", FIELD_STRINGS, gid_map), .check = check_idmap, DOC("INSIDE:OUTSIDE:COUNT of groups")},
    END,
};
static const struct field security_fields[] = {
    {IN(security, "cap_add", FIELD_STRINGS, cap_add), .check = check_capability, DOC("capabilities beside the usual ones, or ALL")},
    {IN(security, "cap_drop", FIELD_STRINGS, cap_drop), .check = check_capability, DOC("capabilities to take away, or ALL")},
    {IN(security, "seccomp", FIELD_STRING, seccomp), .check = check_seccomp, DOC("default, unconfined or the path of a profile")},
    {IN(security, "apparmor", FIELD_STRING, apparmor), .check = check_one_word, DOC("AppArmor profile")},
    {IN(security, "selinux", FIELD_STRING, selinux), .check = check_one_word, DOC("SELinux label")},
    {IN(security, "no_new_privileges", FIELD_BOOL, no_new_privileges), DOC("setuid and file capabilities give nothing")},
    {IN(security, "privileged", FIELD_BOOL, privileged), DOC("all capabilities, all devices, nothing masked")},
    {IN(security, "masked_paths", FIELD_STRINGS, masked_paths), .check = check_absolute, DOC("instead of docker's")},
    {IN(security, "read_only_paths", FIELD_STRINGS, read_only_paths), .check = check_absolute, DOC("instead of docker's")},
    {IN_ITEMS(security, "devices", devices, device_fields), .short_form = device_from_text, .finish = device_finish,
     DOC("devices of the host; also \"/dev/fuse:/dev/fuse:rw\"")},
    {IN(security, "device_rules", FIELD_STRINGS, device_rules), .check = check_device_rule, DOC("cgroup rules: \"c 42:* rwm\"")},
    END,
};
static const struct field wasm_fields[] = {
    {IN(wasm, "kind", FIELD_STRING, kind), .check = check_one_word, DOC("module or component; told from its bytes when left out")},
    {IN(wasm, "trigger", FIELD_STRING, trigger), .check = check_one_word, DOC("what starts an instance: command, http")},
    {IN(wasm, "invoke", FIELD_STRING, invoke), DOC("an export that is called: \"add(1, 2)\"; numbers of a module may be args")},
    {IN(wasm, "port", FIELD_UINT, port), .min = 1, .max = 65535, DOC("port of an http trigger")},
    {IN_ITEMS(wasm, "preopens", preopens, preopen_fields), .short_form = preopen_from_text, .finish = preopen_finish,
     DOC("folders given to the guest; also \"/host:/guest:ro\"")},
    {IN(wasm, "allowed_hosts", FIELD_STRINGS, allowed_hosts), .check = check_one_word, DOC("hosts that it may call")},
    {IN(wasm, "tls_roots", FIELD_STRING, tls_roots), .check = check_absolute,
     DOC("PEM file of whom TLS outwards trusts, in place of those built in")},
    {IN(wasm, "sockets", FIELD_BOOL, sockets), DOC("it may open sockets")},
    {IN(wasm, "access_log", FIELD_BOOL, access_log), DOC("a line in the log for each request")},
    {IN(wasm, "max_concurrency", FIELD_UINT, max_concurrency), .min = 1, .max = 1000000, DOC("instances at one time")},
    {IN(wasm, "queue", FIELD_UINT, queue), .min = 1, .max = 1000000, DOC("calls that may wait")},
    {IN(wasm, "time_limit", FIELD_DURATION, time_limit_usec), .min = 1, .max = DAY, DOC("for one call")},
    {IN(wasm, "idle_timeout", FIELD_DURATION, idle_timeout_usec), .min = MSEC, .max = DAY, DOC("an idle instance ends after this")},
    {IN(wasm, "memory", FIELD_SIZE, memory), .min = 65536, DOC("for one instance")},
    {IN(wasm, "memory_total", FIELD_SIZE, memory_total), .min = 65536, DOC("for all instances together")},
    {IN(wasm, "fuel", FIELD_UINT, fuel), .min = 1, .max = INT64_MAX, DOC("instructions for one call")},
    {IN(wasm, "reuse", FIELD_UINT, reuse), .min = 1, .max = 1000000000, DOC("calls that one instance may answer")},
    END,
};

#define GROUP(n, g, f) .name = n, .kind = FIELD_OBJECT, .offset = offsetof(S, g), .size = sizeof(((S *)0)->g), .fields = f
const struct field spec_fields[] = {
    {ROW("name", FIELD_STRING, name), .check = check_name, DOC("of the workload, on this machine")},
    {ROW("runtime", FIELD_STRING, runtime), .check = check_engine, DOC("engine: container, wasm, ...")},
    {ROW("image", FIELD_STRING, image), .check = check_image,
     DOC("a name, oci:DIR:tag, docker-archive:FILE or the path of a .wasm file")},
    {ROW("pull", FIELD_WORD, pull), .words = pulls, DOC("when the image is fetched; missing when left out")},
    {ROW("platform", FIELD_STRING, platform), .check = check_platform, DOC("of the image: linux/arm64")},
    {ROW("labels", FIELD_PAIRS, labels), CHANGES, DOC("for people and tools; berth reads none")},
    {ROW("annotations", FIELD_PAIRS, annotations), DOC("the same, for OCI tools")},

    {ROW("entrypoint", FIELD_STRINGS, entrypoint), DOC("instead of the image's entrypoint")},
    {ROW("command", FIELD_STRINGS, command), DOC("the whole argv, without the image's entrypoint")},
    {ROW("args", FIELD_STRINGS, args), DOC("behind the entrypoint, instead of the image's command")},
    {ROW("env", FIELD_PAIRS, env), .check = check_variable, DOC("variables, over the image's; also [\"A=b\"]")},
    {ROW("workdir", FIELD_STRING, workdir), .check = check_absolute, DOC("working directory inside")},
    {ROW("user", FIELD_STRING, user), .check = check_user, DOC("name, uid, name:group or uid:gid")},
    {ROW("groups", FIELD_STRINGS, groups), .check = check_one_word, DOC("supplementary groups, names or numbers")},
    {ROW("stop_signal", FIELD_STRING, stop_signal), .check = check_signal, DOC("asks it to end; SIGTERM when left out")},
    {ROW("stop_timeout", FIELD_DURATION, stop_timeout_usec), HAS(has_stop_timeout), .max = 365 * DAY,
     DOC("its grace before it is killed; 10s when left out")},
    {ROW("tty", FIELD_BOOL, tty), DOC("a terminal of its own")},
    {ROW("stdin", FIELD_BOOL, stdin_open), DOC("its standard input may be attached to")},
    {ROW("stdin_open", FIELD_BOOL, stdin_open), .flags = FIELD_ALIAS, DOC("the same")},
    {ROW("init", FIELD_BOOL, init), DOC("a small init as pid 1, which reaps")},
    {ROW("remove", FIELD_BOOL, remove), DOC("removed when it has ended")},

    {GROUP("resources", resources, resource_fields), DOC("limits and shares")},

    {ROW("network", FIELD_STRING, network), .check = check_network,
     DOC("none, host, container:NAME or a network's name; bridge, the default network, when left out")},
    {ITEMS("networks", networks, network_fields), COUNT(n_networks), .short_form = network_from_text,
     .finish = network_finish, DOC("several networks, the first is the main one; also \"NAME\"")},
    {ROW("aliases", FIELD_STRINGS, aliases), .check = check_hostname, DOC("more names on its networks")},
    {ROW("ip", FIELD_STRING, ip), .check = check_ip4, DOC("a fixed address on the first network")},
    {ROW("ip6", FIELD_STRING, ip6), .check = check_ip6, DOC("a fixed IPv6 address on the first network")},
    {ROW("mac", FIELD_STRING, mac), .check = check_mac, DOC("a fixed MAC address on the first network")},
    {ITEMS("ports", ports, port_fields), COUNT(n_ports), .short_form = port_from_text, .finish = port_finish,
     DOC("published ports; also \"127.0.0.1:8080:80/tcp\"")},
    {ROW("expose", FIELD_STRINGS, expose), .check = check_expose, DOC("ports that it listens on: 80, 53/udp")},
    {ROW("publish_all", FIELD_BOOL, publish_all), DOC("every exposed port, on a free port of the host")},
    {ROW("dns", FIELD_STRINGS, dns), .check = check_ip, DOC("name servers instead of the host's")},
    {ROW("dns_search", FIELD_STRINGS, dns_search), .check = check_domain, DOC("search domains")},
    {ROW("dns_options", FIELD_STRINGS, dns_options), .check = check_one_word, DOC("options of resolv.conf")},
    {ITEMS("hosts", hosts, host_fields), COUNT(n_hosts), .short_form = host_from_text, .finish = host_finish,
     DOC("lines of /etc/hosts; also \"NAME:ADDRESS\"")},
    {ROW("hostname", FIELD_STRING, hostname), .check = check_hostname, DOC("the short id when left out")},
    {ROW("domainname", FIELD_STRING, domainname), .check = check_hostname, DOC("NIS domain name")},
    {ROW("internal", FIELD_BOOL, internal), DOC("no way out of its networks")},

    {ITEMS("mounts", mounts, mount_fields), COUNT(n_mounts), .short_form = mount_from_text, .finish = mount_finish,
     DOC("folders, volumes, memory; also \"SOURCE:TARGET:ro\"")},
    {.name = "volumes", .kind = FIELD_ARRAY, .offset = offsetof(S, mounts), .size = sizeof(struct spec_mount),
     COUNT(n_mounts), .short_form = mount_from_text, .finish = mount_finish, .flags = FIELD_ALIAS,
     DOC("\"NAME:TARGET\" or \"TARGET\": added to mounts")},
    {ITEMS("image_volumes", image_volumes, image_volume_fields), COUNT(n_image_volumes),
     .finish = image_volume_finish, DOC("roots of images, read-only")},
    {ROW("volumes_from", FIELD_STRINGS, volumes_from), .check = check_volumes_from, DOC("NAME or NAME:ro of another workload")},
    {ROW("read_only", FIELD_BOOL, read_only), DOC("its root cannot be written")},
    {ITEMS("secrets", secrets, secret_fields), COUNT(n_secrets), .finish = secret_finish, DOC("files on a tmpfs")},

    {GROUP("namespaces", namespaces, namespace_fields), DOC("what it shares with whom")},
    {ROW("sysctls", FIELD_PAIRS, sysctls), .check = check_sysctl, DOC("kernel settings of its namespaces")},
    {ROW("oom_score_adj", FIELD_INT, oom_score_adj), HAS(has_oom_score_adj), .min = -1000, .max = 1000,
     DOC("how soon the kernel kills it when memory runs out")},
    {ROW("cgroup_parent", FIELD_STRING, cgroup_parent), .check = check_target, DOC("group under which its own is made")},

    {GROUP("security", security, security_fields), DOC("what it may do")},

    {GROUP("restart", restart, restart_fields), .short_form = restart_from_text, .finish = restart_finish, CHANGES,
     DOC("what happens after its end; also \"on-failure:5\"")},
    {GROUP("health", health, probe_fields), .finish = health_finish, DOC("whether it is well")},
    {GROUP("readiness", readiness, probe_fields), .finish = probe_finish, DOC("whether it takes work")},
    {GROUP("liveness", liveness, probe_fields), .finish = probe_finish, DOC("whether it still lives; restarts it when not")},
    {GROUP("log", log, log_fields), DOC("how much of its output is kept")},

    {ITEMS("sockets", sockets, socket_fields), COUNT(n_sockets), .finish = socket_finish,
     DOC("sockets that the supervisor opens and hands over (LISTEN_FDS)")},
    {GROUP("wasm", wasm, wasm_fields), HAS(wasm.present), DOC("for WebAssembly")},
    {ROW("service", FIELD_JSON, service_json), DOC("replicas, domains, routes, ...: read by berthd, not by engines")},
    END,
};

static int mount_order(const void *a, const void *b)
{
    const struct spec_mount *const *x = a, *const *y = b;
    int order = strcmp((*x)->target, (*y)->target);
    return order ? order : (*x > *y) - (*x < *y);
}

/* Two mounts on one place: the first would be there and not be seen. */
static int check_targets(const struct where *top, const struct spec *spec, struct berth_error *err)
{
    size_t n = spec->n_mounts;
    autofree const struct spec_mount **sorted = n > 1 ? calloc(n, sizeof(*sorted)) : NULL;
    if (n > 1 && !sorted)
        return where_memory(err);
    for (size_t i = 0; sorted && i < n; i++)
        sorted[i] = &spec->mounts[i];
    if (sorted)
        qsort(sorted, n, sizeof(*sorted), mount_order);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(sorted[i - 1]->target, sorted[i]->target) != 0)
            continue;
        struct where mounts = {.parent = top, .name = "mounts", .document = top->document};
        struct where item = {.parent = &mounts, .index = (size_t)(sorted[i] - spec->mounts),
                             .document = top->document};
        return where_fail(&item, err, "something is mounted on \"%.200s\" already", sorted[i]->target);
    }
    return 0;
}

/* Settings of bridges make no sense on anything else; twice the same network would be two links. */
static int check_networks(const struct where *top, const struct spec *spec, struct berth_error *err)
{
    if (spec->network && spec->networks)
        return where_fail(top, err, "network and networks exclude each other");
    for (size_t i = 0; i < spec->n_networks; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(spec->networks[i].name, spec->networks[j].name) == 0)
                return where_fail(top, err, "networks: \"%.128s\" twice", spec->networks[i].name);
    return 0;
}

int spec_finish(const struct where *top, struct spec *spec, struct berth_error *err)
{
    struct where service = {.parent = top, .name = "service", .document = top->document};
    if (spec->service_json && spec->service_json[0] != '{')
        return where_fail(&service, err, "expected an object");
    int r = check_networks(top, spec, err);
    return r < 0 ? r : check_targets(top, spec, err);
}
