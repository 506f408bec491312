/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spec: what it takes and in which forms, how it refuses, that it prints what it read.
 */
#include "fault.h"
#include "unit.h"

#include "base/text.h"
#include "model/spec.h"

#include <jansson.h>
#include <locale.h>

/* Every field once, in the form that spec_print has. */
static const char full[] =
    "{\"name\":\"web\",\"runtime\":\"container\",\"image\":\"nginx:1\",\"pull\":\"never\","
    "\"platform\":\"linux/arm64\",\"labels\":{\"a\":\"1\",\"b\":\"\"},\"annotations\":{\"x\":\"y\"},"
    "\"entrypoint\":[],\"command\":[\"/bin/sh\",\"-c\",\"\"],\"args\":[\"z\"],"
    "\"env\":{\"A\":\"1=2\",\"B\":\"\"},\"workdir\":\"/w\",\"user\":\"1:2\",\"groups\":[\"3\"],"
    "\"stop_signal\":\"SIGTERM\",\"stop_timeout\":\"250ms\",\"tty\":true,\"stdin\":true,"
    "\"init\":true,\"remove\":true,"
    "\"resources\":{\"memory\":67108864,\"swap\":\"unlimited\",\"reservation\":5,\"cpu\":1.5,"
    "\"cpuset\":\"0-1\",\"cpuset_mems\":\"0\",\"cpu_weight\":100,\"cpu_shares\":1024,\"pids\":-1,"
    "\"io_weight\":10000,\"io\":[{\"device\":\"/dev/sda\",\"read_bps\":1,\"write_bps\":2,"
    "\"read_iops\":3,\"write_iops\":4}],\"devices\":[\"nvidia.com/gpu=0\"],"
    "\"ulimits\":[{\"name\":\"nofile\",\"soft\":1024,\"hard\":\"unlimited\"}],"
    "\"shm_size\":65536,\"oom_kill_disable\":true},"
    "\"network\":\"host\",\"aliases\":[\"al\"],\"ip\":\"10.0.0.1\",\"ip6\":\"::1\","
    "\"mac\":\"02:42:0a:d2:00:05\",\"ports\":[{\"container\":80,\"container_end\":90,\"host\":8080,"
    "\"host_end\":8090,\"protocol\":\"udp\",\"host_address\":\"127.0.0.1\"}],"
    "\"expose\":[\"53/udp\"],\"publish_all\":true,\"dns\":[\"1.1.1.1\"],\"dns_search\":[\"s\"],"
    "\"dns_options\":[\"ndots:1\"],\"hosts\":[{\"name\":\"h\",\"address\":\"1.2.3.4\"}],"
    "\"hostname\":\"hn\",\"domainname\":\"dn\",\"internal\":true,"
    "\"mounts\":[{\"type\":\"bind\",\"source\":\"/a\",\"target\":\"/b\",\"read_only\":true,"
    "\"recursive\":true,\"create_source\":true,\"propagation\":\"rslave\"},{\"type\":\"volume\","
    "\"source\":\"v\",\"target\":\"/c\",\"no_copy\":true},{\"type\":\"tmpfs\",\"target\":\"/t\","
    "\"size\":4096,\"mode\":\"1777\",\"exec\":false}],"
    "\"image_volumes\":[{\"image\":\"i\",\"target\":\"/i\"}],\"volumes_from\":[\"n:ro\"],"
    "\"read_only\":true,\"secrets\":[{\"name\":\"s\",\"source\":\"/s\",\"target\":\"/run/s\","
    "\"mode\":\"0400\",\"user\":\"u\"}],"
    "\"namespaces\":{\"pid\":\"host\",\"ipc\":\"shareable\",\"uts\":\"private\","
    "\"cgroup\":\"private\",\"userns\":\"container:x\",\"uid_map\":[\"0:1:2\"],"
    "\"gid_map\":[\"3:4:5\"]},\"sysctls\":{\"net.core.somaxconn\":\"1\"},\"oom_score_adj\":0,"
    "\"cgroup_parent\":\"/cg\",\"security\":{\"cap_add\":[\"ALL\"],\"cap_drop\":[\"NET_RAW\"],"
    "\"seccomp\":\"unconfined\",\"apparmor\":\"p\",\"selinux\":\"l\",\"no_new_privileges\":true,"
    "\"privileged\":true,\"masked_paths\":[],\"read_only_paths\":[\"/r\"],"
    "\"devices\":[{\"path\":\"/dev/a\",\"target\":\"/dev/b\",\"access\":\"rw\"}],"
    "\"device_rules\":[\"c 42:* rwm\"]},"
    "\"restart\":{\"policy\":\"on-failure\",\"max\":5,\"delay\":\"100ms\",\"cap\":\"1m\","
    "\"reset\":\"10s\"},\"health\":{\"command\":[\"NONE\"],\"interval\":\"30s\",\"timeout\":\"1s\","
    "\"start_period\":\"2s\",\"start_interval\":\"3s\",\"retries\":4,\"on_failure\":\"restart\"},"
    "\"readiness\":{\"shell\":\"true\"},\"liveness\":{\"command\":[\"x\"]},"
    "\"log\":{\"driver\":\"file\",\"max_size\":1048576,\"max_files\":2},"
    "\"sockets\":[{\"name\":\"n\",\"address\":\"::\",\"protocol\":\"tcp\",\"port\":80,"
    "\"backlog\":5,\"on_demand\":true},{\"path\":\"/p\",\"mode\":\"0600\"}],"
    "\"wasm\":{\"kind\":\"component\",\"trigger\":\"http\",\"port\":80,\"preopens\":[{\"source\":"
    "\"/a\",\"target\":\"b\",\"read_only\":true}],\"allowed_hosts\":[\"h\"],\"tls_roots\":\"/r\",\"sockets\":true,"
    "\"max_concurrency\":1,\"queue\":2,\"time_limit\":\"1s\",\"idle_timeout\":\"2s\","
    "\"memory\":65536,\"memory_total\":131072,\"fuel\":7,\"reuse\":8},"
    "\"service\":{\"a\":[1,2.5,null],\"replicas\":3}}\n";

static struct spec *parse(const char *json)
{
    struct spec *spec = NULL;
    struct berth_error err = {0};
    if (spec_parse(json, strlen(json), &spec, &err) < 0)
        print_error("%s: %s\n", json, err.message);
    assert_non_null(spec);
    return spec;
}

static void check(const char *json, const char *message)
{
    struct spec *spec = NULL;
    struct berth_error err = {0};
    int r = spec_parse(json, strlen(json), &spec, &err);
    if (r != BERTH_INVALID)
        print_error("%s: %d\n", json, r);
    assert_int_equal(r, BERTH_INVALID);
    assert_null(spec);
    assert_string_equal(err.message, message);
}

static void every_field_survives(void **state)
{
    autoclean(cleanup_spec) struct spec *spec = parse(full);
    autofree char *again = spec_print(spec);
    assert_string_equal(again, full);
    assert_int_equal(spec->stop_timeout_usec, 250000);
    assert_true(spec->resources.swap == UINT64_MAX);
    assert_true(spec->resources.cpu == 1.5);
    assert_int_equal(spec->mounts[2].mode, 01777);
    assert_true(spec->mounts[2].has_exec && !spec->mounts[2].exec);
    assert_true(spec->has_oom_score_adj && spec->wasm.present);
    assert_string_equal(spec->env.items[0].value, "1=2");
    assert_string_equal(spec->service_json, "{\"a\":[1,2.5,null],\"replicas\":3}");
}

static void sizes_say_exactly_what_they_say(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {
        {"1024", 1024}, {"\"1024\"", 1024}, {"\"64Ki\"", 65536}, {"\"512M\"", 512000000},
        {"\"512Mi\"", 536870912}, {"\"1.5Gi\"", 1610612736}, {"\"2G\"", 2000000000},
        {"\"0.001K\"", 1}, {"9223372036854775807", INT64_MAX},
    };
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
        autofree char *json = format_text("{\"resources\":{\"memory\":%s}}", sizes[i].text);
        autoclean(cleanup_spec) struct spec *spec = parse(json);
        assert_true(spec->resources.has_memory);
        assert_int_equal(spec->resources.memory, sizes[i].bytes);
    }
    check("{\"resources\":{\"memory\":\"512Q\"}}", "resources.memory: \"512Q\" is not a size");
    check("{\"resources\":{\"memory\":\"512m\"}}", "resources.memory: \"512m\" is not a size");
    check("{\"resources\":{\"memory\":\"1.0001K\"}}", "resources.memory: \"1.0001K\" is not a size");
    check("{\"resources\":{\"memory\":\"-1\"}}", "resources.memory: \"-1\" is not a size");
    check("{\"resources\":{\"memory\":\"9999999999T\"}}",
          "resources.memory: \"9999999999T\" is too large (at most 9223372036854775807 bytes)");
    check("{\"resources\":{\"memory\":0}}", "resources.memory: 0 is too small (at least 1 bytes)");
    check("{\"resources\":{\"memory\":-1}}",
          "resources.memory: expected a size such as \"512M\" or \"1.5Gi\", found -1");
}

static void durations_need_a_unit(void **state)
{
    check("{\"stop_timeout\":10}", "stop_timeout: 10 has no unit (write \"10s\" or \"250ms\")");
    check("{\"stop_timeout\":\"10\"}", "stop_timeout: \"10\" has no unit (write \"10s\" or \"250ms\")");
    check("{\"stop_timeout\":\"soon\"}", "stop_timeout: \"soon\" is not a duration");
    check("{\"stop_timeout\":\"-1s\"}", "stop_timeout: \"-1s\" is not a duration");
    check("{\"stop_timeout\":\"366d\"}", "stop_timeout: \"366d\" is too long (at most 365d)");
    check("{\"restart\":{\"policy\":\"always\",\"delay\":\"1us\"}}",
          "restart.delay: \"1us\" is too short (at least 1ms)");
    autoclean(cleanup_spec) struct spec *spec = parse("{\"stop_timeout\":\"0s\"}");
    assert_true(spec->has_stop_timeout && spec->stop_timeout_usec == 0);
}

static void ports_in_every_form(void **state)
{
    static const struct {
        const char *text;
        int container, container_end, host, host_end;
        const char *protocol, *address;
    } ports[] = {
        {"80", 80, 80, 0, 0, "tcp", NULL},
        {"8080:80", 80, 80, 8080, 8080, "tcp", NULL},
        {"8080:80/udp", 80, 80, 8080, 8080, "udp", NULL},
        {"127.0.0.1:8080:80", 80, 80, 8080, 8080, "tcp", "127.0.0.1"},
        {"127.0.0.1::53/udp", 53, 53, 0, 0, "udp", "127.0.0.1"},
        {"8000-8010:80-90", 80, 90, 8000, 8010, "tcp", NULL},
        {"[::1]:1:2", 2, 2, 1, 1, "tcp", "::1"},
        {"65535", 65535, 65535, 0, 0, "tcp", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
        autofree char *json = format_text("{\"ports\":[\"%s\"]}", ports[i].text);
        autoclean(cleanup_spec) struct spec *spec = parse(json);
        const struct spec_port *p = &spec->ports[0];
        assert_int_equal(p->container, ports[i].container);
        assert_int_equal(p->container_end, ports[i].container_end);
        assert_int_equal(p->host, ports[i].host);
        assert_int_equal(p->host_end, ports[i].host_end);
        assert_string_equal(p->protocol, ports[i].protocol);
        assert_true(!p->host_address == !ports[i].address);
        if (p->host_address)
            assert_string_equal(p->host_address, ports[i].address);
    }
    check("{\"ports\":[\"0\"]}", "ports[0]: \"0\" is not a port (1 to 65535)");
    check("{\"ports\":[\"80\",\"99999:80\"]}", "ports[1]: \"99999\" is not a port (1 to 65535)");
    check("{\"ports\":[{\"container\":0}]}", "ports[0].container: 0 is not within 1 and 65535");
    check("{\"ports\":[{\"container\":80,\"host\":99999}]}",
          "ports[0].host: 99999 is not within 0 and 65535");
    check("{\"ports\":[{\"host\":80}]}", "ports[0]: container is missing");
    check("{\"ports\":[\"80/sctp\"]}", "ports[0]: \"80/sctp\": the protocol is not tcp or udp");
    check("{\"ports\":[\"1-3:1-2\"]}", "ports[0]: 3 host ports for 2 container ports");
    check("{\"ports\":[\"9-3\"]}", "ports[0]: the range ends before it begins");
    check("{\"ports\":[\"1.2.3:1:2\"]}", "ports[0]: \"1.2.3\" is not an IP address");
    check("{\"ports\":[\"[::1\"]}", "ports[0]: \"[::1\": an address in [] and a colon are expected");
    check("{\"ports\":[\"\"]}", "ports[0]: \"\" is not a port (1 to 65535)");
    check("{\"ports\":[80]}", "ports[0]: expected an object or its short form as a string, found 80");
}

static void mounts_in_every_form(void **state)
{
    autoclean(cleanup_spec) struct spec *spec =
        parse("{\"mounts\":[\"/a:/b:ro,rslave\",\"v:/c:nocopy,z\",{\"type\":\"tmpfs\",\"target\":"
              "\"/t\",\"size\":\"1Mi\"}],\"volumes\":[\"data:/d\",\"/anon\"]}");
    assert_int_equal(spec->n_mounts, 5);
    const struct spec_mount *m = spec->mounts;
    assert_int_equal(m[0].kind, SPEC_MOUNT_BIND);
    assert_true(m[0].read_only && m[0].recursive);
    assert_string_equal(m[0].propagation, "rslave");
    assert_int_equal(m[1].kind, SPEC_MOUNT_VOLUME);
    assert_true(m[1].no_copy);
    assert_int_equal(m[2].size_bytes, 1 << 20);
    assert_string_equal(m[3].source, "data");
    assert_null(m[4].source);
    assert_string_equal(m[4].target, "/anon");
    check("{\"mounts\":[\"/a:b\"]}", "mounts[0].target: \"b\" is not an absolute path");
    check("{\"mounts\":[\"./a:/b\"]}", "mounts[0]: \"./a:/b\": the source is not an absolute path");
    check("{\"mounts\":[\"/a:/b:rw,what\"]}", "mounts[0]: \"what\" is not an option of a mount");
    check("{\"mounts\":[\"/a/../b:/c\"]}", "mounts[0].source: \"/a/../b\" leads upwards (..)");
    check("{\"mounts\":[\"/a:/\"]}", "mounts[0].target: \"/\" is the root itself");
    check("{\"mounts\":[\"a b:/c\"]}",
          "mounts[0].source: \"a b\" is not a name (letters, digits, _ . - and a letter or digit "
          "first, at most 128)");
    check("{\"mounts\":[\"a:/b\"],\"volumes\":[\"c:/b\"]}",
          "mounts[1]: something is mounted on \"/b\" already");
    check("{\"mounts\":[{\"type\":\"tmpfs\",\"source\":\"/a\",\"target\":\"/b\"}]}",
          "mounts[0]: a tmpfs has no source");
    check("{\"mounts\":[{\"type\":\"volume\",\"target\":\"/b\",\"size\":\"1Mi\"}]}",
          "mounts[0]: size is only for type tmpfs");
    check("{\"mounts\":[{\"type\":\"nfs\",\"target\":\"/b\"}]}",
          "mounts[0].type: \"nfs\" is not one of bind, volume, tmpfs, image");
    check("{\"mounts\":[{\"type\":\"tmpfs\",\"target\":\"/b\",\"mode\":1777}]}",
          "mounts[0].mode: expected octal digits in quotes such as \"0644\", found 1777");
}

static void short_forms_of_the_rest(void **state)
{
    autoclean(cleanup_spec) struct spec *spec =
        parse("{\"restart\":\"on-failure:5\",\"resources\":{\"ulimits\":[\"nofile=1:2\",\"core=-1\"],"
              "\"cpu\":\"0.5\"},\"hosts\":[\"a:::1\"],\"security\":{\"devices\":[\"/dev/a:r\"]},"
              "\"env\":[\"B=1\",\"A=x=y\",\"B=2\"],\"wasm\":{\"preopens\":[\"/a:b:ro\"]}}");
    assert_string_equal(spec->restart.policy, "on-failure");
    assert_int_equal(spec->restart.max, 5);
    assert_int_equal(spec->resources.ulimits[0].hard, 2);
    assert_true(spec->resources.ulimits[1].soft == UINT64_MAX);
    assert_true(spec->resources.cpu == 0.5);
    assert_string_equal(spec->hosts[0].address, "::1");
    assert_string_equal(spec->security.devices[0].target, "/dev/a");
    assert_string_equal(spec->security.devices[0].access, "r");
    assert_int_equal(spec->env.n, 2); /* sorted; the last of a name wins */
    assert_string_equal(spec->env.items[0].value, "x=y");
    assert_string_equal(spec->env.items[1].value, "2");
    assert_true(spec->wasm.preopens[0].read_only);
    autoclean(cleanup_spec) struct spec *no = parse("{\"restart\":\"no\"}");
    assert_string_equal(no->restart.policy, "never");
}

static void refusals_name_place_and_remedy(void **state)
{
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"{\"resources\":{\"memroy\":1}}", "resources.memroy: unknown field (did you mean memory?)"},
        {"{\"memory\":1}", "memory: unknown field (did you mean resources.memory?)"},
        {"{\"xyzzy\":1}", "xyzzy: unknown field"},
        {"{\"name\":7}", "name: expected a string, found 7"},
        {"{\"name\":null}", "name: expected a string, found null (leave the field out instead)"},
        {"{\"name\":\"\"}", "name: is empty (leave the field out instead)"},
        {"{\"tty\":\"yes\"}", "tty: expected true or false, found \"yes\""},
        {"{\"command\":\"ls\"}", "command: expected an array of strings, found \"ls\""},
        {"{\"command\":[\"a\",1.5]}", "command[1]: expected a string, found 1.5"},
        {"{\"labels\":{\"a\":{}}}", "labels.a: expected a string, found an object"},
        {"{\"env\":[\"A\"]}", "env[0]: expected \"name=value\", found \"A\""},
        {"{\"env\":{\"A=B\":\"\"}}", "env.A=B: \"A=B\" has = in its name"},
        {"{\"resources\":[]}", "resources: expected an object, found an array"},
        {"{\"resources\":{\"pids\":2147483648}}",
         "resources.pids: 2147483648 is not within -1 and 2147483647"},
        {"{\"resources\":{\"pids\":1.0}}", "resources.pids: expected a whole number, found 1"},
        {"{\"resources\":{\"cpu\":0}}", "resources.cpu: 0 is not above 0 and at most 100000"},
        {"{\"resources\":{\"cpu\":\"1,5\"}}", "resources.cpu: \"1,5\" is not a number"},
        {"{\"resources\":{\"ulimits\":[\"nofiles=1\"]}}",
         "resources.ulimits[0]: \"nofiles\" is not a limit (did you mean nofile?)"},
        {"{\"resources\":{\"ulimits\":[\"nofile=2:1\"]}}", "resources.ulimits[0]: soft is above hard"},
        {"{\"restart\":\"alway\"}", "restart: \"alway\" is not one of never, on-failure, always, "
                                    "unless-stopped (did you mean always?)"},
        {"{\"restart\":\"always:3\"}", "restart: max is only for the policy on-failure"},
        {"{\"stop_signal\":\"SIGFOO\"}", "stop_signal: \"SIGFOO\" is not a signal"},
        {"{\"workdir\":\"w\"}", "workdir: \"w\" is not an absolute path"},
        {"{\"user\":\"a b\"}", "user: \"a b\" is not a user such as www-data, 1000 or 1000:1000"},
        {"{\"security\":{\"cap_add\":[\"NET_RAWW\"]}}",
         "security.cap_add[0]: \"NET_RAWW\" is not a capability"},
        {"{\"namespaces\":{\"pid\":\"hots\"}}",
         "namespaces.pid: \"hots\" is not private, host or container:NAME"},
        {"{\"network\":\"a/b\"}",
         "network: \"a/b\" is not a network (none, host, container:NAME or a network's name)"},
        {"{\"health\":{\"command\":[\"a\"],\"shell\":\"b\"}}",
         "health: command and shell exclude each other"},
        {"{\"readiness\":{}}", "readiness: command or shell is missing"},
        {"{\"service\":[]}", "service: expected an object"},
        {"{\"network\":\"a\",\"networks\":[\"b\"]}", "spec: network and networks exclude each other"},
        {"[]", "spec: expected an object, found an array"},
        {"{\"a\":1,\"a\":2}", "a: is there twice"},
        {"{\"resources\":{\"memory\":1,\"memory\":1}}", "resources.memory: is there twice"},
        {"{\n \"name\": \"a\",\n}", "spec: line 3, column 1: a field name in quotes is expected"},
        {"{\"name\":\"\xc3\xa9\", x}", "spec: line 1, column 14: a field name in quotes is expected"},
        {"{\"name\":\"a\"", "spec: line 1, column 12: a comma or } is expected"},
        {"{\"name\":\"a", "spec: line 1, column 11: a string without end"},
        {"{} {}", "spec: line 1, column 4: more text behind the document"},
        {"{\"name\":\"a\xff\"}", "spec: line 1, column 11: byte 0xff is not UTF-8"},
        {"{\"name\":\"a\\u0000\"}",
         "spec: line 1, column 11: a bad escape or a control character in a string"},
        {"{\"oom_score_adj\":99999999999999999999}", "spec: line 1, column 36: a number too large"},
        {"{\"oom_score_adj\":01}", "spec: line 1, column 18: a value is expected"},
        {"", "spec: line 1, column 1: a value is expected"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        check(cases[i].json, cases[i].message);
}

static void names_are_names(void **state)
{
    static const char *const bad[] = {"", "a/b", "..", ".a", "-a", "a b", "a\nb", "a;b", "\xc3\xa9", "_"};
    char name[10001];
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct berth_error err = {0};
        assert_int_equal(name_check("name", bad[i], &err), BERTH_INVALID);
        assert_null(strchr(err.message, '\n'));
    }
    memset(name, 'a', 10000);
    name[10000] = '\0';
    assert_int_equal(name_check("name", name, NULL), BERTH_INVALID);
    name[BERTH_NAME_MAX] = '\0';
    assert_int_equal(name_check("name", name, NULL), 0);
    assert_int_equal(name_check("name", "a", NULL), 0);
    assert_int_equal(name_check("name", "0A_.-", NULL), 0);
}

static void huge_and_deep_documents(void **state)
{
    struct spec *spec = NULL;
    struct berth_error err = {0};
    size_t size = 10 << 20;
    autofree char *json = malloc(size);
    memset(json, '[', size);
    assert_int_equal(spec_parse(json, size, &spec, &err), BERTH_TOO_BIG);
    assert_string_equal(err.message, "spec: 10485760 bytes are above the limit of 4194304");
    assert_int_equal(spec_parse(json, 10000, &spec, &err), BERTH_INVALID);
    assert_string_equal(err.message, "spec: nested deeper than 64 levels");
    memcpy(json, "{\"service\":{\"a\":", 16);
    memset(json + 16, '[', 62);
    memset(json + 78, ']', 62);
    memcpy(json + 140, "}}", 3);
    assert_int_equal(spec_parse(json, strlen(json), &spec, &err), 0);
    spec_free(spec);
    /* a document full of small things must not take more than a moment */
    struct text many = {0};
    text_add(&many, "{\"args\":[\"\"");
    while (many.length < SPEC_MAX_BYTES - 8)
        text_add(&many, ",\"\"");
    text_add(&many, "]}");
    spec = NULL;
    assert_int_equal(spec_parse(many.data, many.length, &spec, &err), 0);
    text_free(&many);
    spec_free(spec);
}

static void numbers_are_the_same_in_every_locale(void **state)
{
    autofree char *old = strdup(setlocale(LC_NUMERIC, NULL));
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8"))
        setlocale(LC_NUMERIC, "C.UTF-8"); /* then only the values are tried */
    static const char *const numbers[] = {"0.1", "1.5", "0.3", "2", "1e-5", "99999.999999", "0.01",
                                          "0.30000000000000004", "1E+2", "100000"};
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        autofree char *json = format_text("{\"resources\":{\"cpu\":%s}}", numbers[i]);
        autoclean(cleanup_spec) struct spec *spec = parse(json);
        autofree char *printed = spec_print(spec);
        autoclean(cleanup_spec) struct spec *again = parse(printed);
        assert_true(spec->resources.cpu == again->resources.cpu);
        assert_null(strchr(strstr(printed, "cpu\":"), ','));
    }
    setlocale(LC_NUMERIC, old);
    autoclean(cleanup_spec) struct spec *spec = parse("{\"resources\":{\"cpu\":0.30000000000000004}}");
    assert_true(spec->resources.cpu == 0.30000000000000004);
}

static void fields_that_are_set_are_listed(void **state)
{
    autoclean(cleanup_spec) struct spec *spec =
        parse("{\"ports\":[\"80\"],\"resources\":{\"memory\":1},\"tty\":false,\"wasm\":{},"
              "\"service\":{},\"stop_timeout\":\"0s\"}");
    autostrings char **set = spec_fields_set(spec);
    static const char *const expected[] = {"stop_timeout", "resources.memory", "ports", "wasm", "service"};
    assert_int_equal(strings_count(set), ARRAY_SIZE(expected));
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
        assert_string_equal(set[i], expected[i]);
    autoclean(cleanup_spec) struct spec *none = parse("{}");
    autostrings char **nothing = spec_fields_set(none);
    assert_non_null(nothing);
    assert_int_equal(strings_count(nothing), 0);
}

static void patches_change_what_may_change(void **state)
{
    struct berth_error err = {0};
    autoclean(cleanup_spec) struct spec *spec =
        parse("{\"name\":\"a\",\"labels\":{\"x\":\"1\",\"y\":\"2\"},\"resources\":{\"memory\":\"1Gi\","
              "\"cpu\":2},\"restart\":\"on-failure:5\",\"log\":{\"max_files\":2}}");
    assert_int_equal(spec_patch(spec, "{\"labels\":{\"x\":null,\"policy\":\"3\"},\"resources\":{\"cpu\":null,"
                                      "\"memory\":\"2Gi\"},\"restart\":\"always\","
                                      "\"log\":{\"max_size\":\"1Mi\"}}", &err), 0);
    autofree char *after = spec_print(spec);
    assert_string_equal(after, "{\"name\":\"a\",\"labels\":{\"policy\":\"3\",\"y\":\"2\"},\"resources\":{"
                               "\"memory\":2147483648},\"restart\":{\"policy\":\"always\"},"
                               "\"log\":{\"max_size\":1048576,\"max_files\":2}}\n");
    static const struct {
        const char *patch, *message;
    } bad[] = {
        {"{\"image\":\"b\"}", "image: cannot be changed after create"},
        {"{\"resources\":{\"shm_size\":4096}}", "resources.shm_size: cannot be changed after create"},
        {"{\"log\":{\"driver\":\"none\"}}", "log.driver: cannot be changed after create"},
        {"{\"resources\":{\"memory\":\"x\"}}", "resources.memory: \"x\" is not a size"},
        {"{\"resuorces\":{}}", "resuorces: unknown field (did you mean resources?)"},
        {"[]", "spec: a patch is an object of fields"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        assert_int_equal(spec_patch(spec, bad[i].patch, &err), BERTH_INVALID);
        assert_string_equal(err.message, bad[i].message);
    }
    autofree char *same = spec_print(spec);
    assert_string_equal(same, after);
    assert_int_equal(spec_patch(spec, "{\"restart\":{\"policy\":\"on-failure\"}}", NULL), 0);
    assert_false(spec->restart.has_max);
}

/* Every key of the schema parses, every key of the full document is in the schema. */
static void compare_keys(const json_t *schema, const json_t *object)
{
    const json_t *properties = json_object_get(schema, "properties");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        const json_t *property = json_object_get(properties, key);
        if (!property)
            print_error("not in the schema: %s\n", key);
        assert_non_null(property);
        assert_non_null(json_object_get(property, "description"));
        if (json_is_object(value) && json_object_get(property, "properties"))
            compare_keys(property, value);
    }
}

static void schema_describes_every_field(void **state)
{
    const char *text = spec_schema();
    assert_ptr_equal(text, spec_schema());
    json_t *schema = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    json_t *document = json_loads(full, 0, NULL);
    assert_non_null(schema);
    compare_keys(schema, document);
    /* "networks" excludes "network"; "volumes" and "stdin_open" are other spellings */
    assert_int_equal(json_object_size(json_object_get(schema, "properties")), json_object_size(document) + 3);
    json_decref(schema);
    json_decref(document);
}

static int parse_print_patch(void *data)
{
    autoclean(cleanup_spec) struct spec *spec = NULL;
    struct berth_error err = {0};
    int r = spec_parse(full, strlen(full), &spec, &err);
    if (r < 0)
        return r == BERTH_NO_MEMORY && err.code == r ? -1 : 1;
    autofree char *again = spec_print(spec);
    if (!again)
        return -1;
    if (strcmp(again, full) != 0)
        return 2;
    autostrings char **set = spec_fields_set(spec);
    if (!set)
        return -1;
    r = spec_patch(spec, "{\"labels\":{\"new\":\"1\"},\"resources\":{\"memory\":\"1Gi\"}}", &err);
    if (r < 0) { /* then nothing has changed */
        autofree char *same = r == BERTH_NO_MEMORY ? spec_print(spec) : NULL;
        return same && strcmp(same, full) == 0 ? -1 : 3;
    }
    return spec->resources.memory == 1 << 30 ? 0 : 4;
}

static int parse_short_forms(void *data)
{
    static const char json[] =
        "{\"ports\":[\"[::1]:1:2\",\"3\"],\"mounts\":[\"/a:/b:ro,shared\"],\"volumes\":[\"v:/c\"],"
        "\"restart\":\"no\",\"hosts\":[\"a:1.2.3.4\"],\"resources\":{\"ulimits\":[\"core=0\"]},"
        "\"security\":{\"devices\":[\"/dev/a\"]},\"env\":[\"A=1\",\"A=2\"],"
        "\"wasm\":{\"preopens\":[\"/a:b\"]},\"service\":{\"x\":1.5}}";
    autoclean(cleanup_spec) struct spec *spec = NULL;
    int r = spec_parse(json, strlen(json), &spec, NULL);
    return r == BERTH_NO_MEMORY ? -1 : r == 0 ? 0 : 1;
}

static void memory_may_run_out_anywhere(void **state)
{
    assert_true(fault_loop(parse_print_patch, NULL) > (FAULT_AVAILABLE ? 500 : 0));
    assert_true(fault_loop(parse_short_forms, NULL) > (FAULT_AVAILABLE ? 50 : 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_survives),
        cmocka_unit_test(sizes_say_exactly_what_they_say),
        cmocka_unit_test(durations_need_a_unit),
        cmocka_unit_test(ports_in_every_form),
        cmocka_unit_test(mounts_in_every_form),
        cmocka_unit_test(short_forms_of_the_rest),
        cmocka_unit_test(refusals_name_place_and_remedy),
        cmocka_unit_test(names_are_names),
        cmocka_unit_test(huge_and_deep_documents),
        cmocka_unit_test(numbers_are_the_same_in_every_locale),
        cmocka_unit_test(fields_that_are_set_are_listed),
        cmocka_unit_test(patches_change_what_may_change),
        cmocka_unit_test(schema_describes_every_field),
        cmocka_unit_test(memory_may_run_out_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
