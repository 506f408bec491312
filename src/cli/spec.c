/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spec from a file, docker's flags and --set, in this order of precedence, last wins.
 *
 * Most flags are lines in spec_flags; here are the kinds of value and the few with a syntax of their
 * own. What a value may be is the library's business: it names the field and the place.
 */
#include "cli.h"
#include <berth/container.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/random.h>
#include <unistd.h>
#include "toml/toml.h"

struct build {
    struct cli *cli;
    const struct args *args;
    json_t *spec;
};

static int bad(const struct build *b, const struct flag *flag, const char *value, const char *what)
{
    return cli_usage(b->cli, "--%s: \"%s\" is not %s", flag->name, value, what);
}

/* The array (or object) at a path, made when missing; borrowed. */
static json_t *place(json_t *spec, const char *path, json_t *(*make)(void))
{
    json_t *at = json_find(spec, path);
    if (!at) {
        at = make();
        json_put(spec, path, at);
    }
    return at;
}

static void append(json_t *spec, const char *path, json_t *value)
{
    json_array_append_new(place(spec, path, json_array), value);
}

/* JSON must be UTF-8; what a shell gives need not be. */
static json_t *text_value(const struct build *b, const struct flag *flag, const char *value, int *ret_exit)
{
    json_t *text = json_string(value);
    if (!text)
        *ret_exit = cli_usage(b->cli, "--%s: the value is not UTF-8", flag->name);
    return text;
}

/* ---- values by kind ---------------------------------------------------------------------------- */

static int put_text(struct build *b, const struct flag *flag, const char *value)
{
    int r = 0;
    json_t *text = text_value(b, flag, value, &r);
    if (text)
        json_put(b->spec, flag->path, text);
    return r;
}

static int put_true(struct build *b, const struct flag *flag, const char *value)
{
    json_put(b->spec, flag->path, json_boolean(strcmp(value, "true") == 0));
    return 0;
}

static int put_list(struct build *b, const struct flag *flag, const char *value)
{
    int r = 0;
    json_t *text = text_value(b, flag, value, &r);
    if (text)
        append(b->spec, flag->path, text);
    return r;
}

static int put_words(struct build *b, const struct flag *flag, const char *value)
{
    json_put(b->spec, flag->path, json_array());
    return *value ? put_list(b, flag, value) : 0;
}

static int put_named(struct build *b, const struct flag *flag, const char *pair)
{
    const char *equals = strchr(pair, '=');
    autofree char *name = equals ? strndup(pair, (size_t)(equals - pair)) : text_copy(pair);
    if (!name || !*name)
        return bad(b, flag, pair, "NAME=VALUE");
    if (json_object_set_new(place(b->spec, flag->path, json_object), name, json_string(equals ? equals + 1 : "")) < 0)
        return cli_usage(b->cli, "--%s: the value is not UTF-8", flag->name);
    return 0;
}

static int put_size(struct build *b, const struct flag *flag, const char *value)
{
    uint64_t bytes;
    if (parse_size(value, &bytes) < 0)
        return bad(b, flag, value, "a size (512m, 2g)");
    json_put(b->spec, flag->path, json_integer((json_int_t)bytes));
    return 0;
}

static int put_limit_size(struct build *b, const struct flag *flag, const char *value)
{
    if (strcmp(value, "-1") != 0)
        return put_size(b, flag, value);
    json_put(b->spec, flag->path, json_string("unlimited"));
    return 0;
}

static int put_integer(struct build *b, const struct flag *flag, const char *value)
{
    int64_t number;
    if (parse_integer(value, INT64_MIN, INT64_MAX, &number) < 0)
        return bad(b, flag, value, "a whole number");
    if (number == 0 && strcmp(flag->name, "pids-limit") == 0)
        number = -1; /* docker's 0 is no limit */
    json_put(b->spec, flag->path, json_integer(number));
    return 0;
}

static int put_number(struct build *b, const struct flag *flag, const char *value)
{
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !(number >= 0 && number < 1e9))
        return bad(b, flag, value, "a number");
    json_put(b->spec, flag->path, json_real(number));
    return 0;
}

/* Exactly what was typed where it has a unit; docker's bare numbers are seconds. */
static json_t *duration_value(const char *value)
{
    int64_t usec;
    if (parse_duration(value, &usec) < 0)
        return NULL;
    if (isalpha((unsigned char)value[strlen(value) - 1]) && !strstr(value, "ns"))
        return json_string(value);
    autofree char *text = usec % 1000000 == 0 ? text_new("%llds", (long long)usec / 1000000)
                                              : text_new("%lldus", (long long)usec);
    return json_string(text);
}

static int put_duration(struct build *b, const struct flag *flag, const char *value)
{
    json_t *text = duration_value(value);
    if (!text)
        return bad(b, flag, value, "a duration (10s, 250ms)");
    json_put(b->spec, flag->path, text);
    return 0;
}

/* ---- files of lines ---------------------------------------------------------------------------- */

enum { FILE_MAX = 4 << 20 };

static char *read_file(struct cli *cli, const char *path)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    char *data = memory_new(FILE_MAX + 1);
    size_t have = 0;
    ssize_t n = fd < 0 ? -1 : 0;
    while (fd >= 0 && have < FILE_MAX && (n = read(fd, data + have, FILE_MAX - have)) > 0)
        have += (size_t)n;
    int error = errno;
    if (fd >= 0 && !standard)
        close(fd);
    if (n < 0 || have == FILE_MAX || memchr(data, 0, have)) {
        cli_fail_code(cli, path, n < 0 && error == ENOENT ? BERTH_NOT_FOUND : BERTH_INVALID, "%s",
                      n < 0 ? strerror(error) : have == FILE_MAX ? "more than 4 MiB" : "not a text file");
        free(data);
        return NULL;
    }
    data[have] = '\0';
    return memory_grow(data, have + 1);
}

/*
 * docker's rules: empty lines and those that begin with # are skipped, blanks before a name are, a
 * value is taken as it stands, a name alone takes ours (`inherit`) and is skipped when we have none.
 */
static int put_lines(struct build *b, const struct flag *flag, const char *path, bool inherit)
{
    autofree char *data = read_file(b->cli, path);
    if (!data)
        return b->cli->command->bits & COMMAND_RUNS ? EXIT_BERTH_FAILED : EXIT_FAILED;
    json_t *object = place(b->spec, flag->path, json_object);
    char *line = starts_with(data, "\xef\xbb\xbf") ? data + 3 : data, *next;
    for (int number = 1; line && *line; line = next, number++) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        size_t length = strlen(line);
        if (length && line[length - 1] == '\r')
            line[length - 1] = '\0';
        line += strspn(line, " \t");
        if (!*line || *line == '#')
            continue;
        char *value = strchr(line, '=');
        if (value)
            *value++ = '\0';
        else
            value = inherit ? getenv(line) : line + strlen(line);
        if (!*line || strpbrk(line, " \t"))
            return cli_usage(b->cli, "--%s %s: line %d: \"%s\" is no name", flag->name, path, number, line);
        if (value && json_object_set_new(object, line, json_string(value)) < 0)
            return cli_usage(b->cli, "--%s %s: line %d is not UTF-8", flag->name, path, number);
    }
    return 0;
}

static int put_label_file(struct build *b, const struct flag *flag, const char *value)
{
    return put_lines(b, flag, value, false);
}

static int put_env_file(struct build *b, const struct flag *flag, const char *value)
{
    return put_lines(b, flag, value, true);
}

static int put_env(struct build *b, const struct flag *flag, const char *value)
{
    if (strchr(value, '='))
        return put_named(b, flag, value);
    const char *ours = getenv(value);
    if (!ours)
        return 0;
    autofree char *pair = text_new("%s=%s", value, ours);
    return put_named(b, flag, pair);
}

/* ---- flags with a syntax of their own ---------------------------------------------------------- */

static int put_restart(struct build *b, const struct flag *flag, const char *value)
{
    size_t n = strcspn(value, ":");
    int64_t most;
    json_t *restart = place(b->spec, flag->path, json_object);
    bool no = n == 2 && memcmp(value, "no", 2) == 0;
    json_object_set_new(restart, "policy", no ? json_string("never") : json_stringn(value, n));
    if (!value[n])
        return 0;
    if (parse_integer(value + n + 1, 0, INT_MAX, &most) < 0)
        return bad(b, flag, value, "on-failure:MAX");
    json_object_set_new(restart, "max", json_integer(most));
    return 0;
}

static int put_ulimit(struct build *b, const struct flag *flag, const char *value)
{
    const char *equals = strchr(value, '=');
    if (!equals || equals == value)
        return bad(b, flag, value, "NAME=SOFT[:HARD]");
    json_t *limit = json_object();
    append(b->spec, flag->path, limit);
    json_object_set_new(limit, "name", json_stringn(value, (size_t)(equals - value)));
    const char *p = equals + 1;
    for (int i = 0; i < 2; i++) {
        size_t n = strcspn(p, ":");
        int64_t number;
        autofree char *text = strndup(p, n);
        if (!text)
            return bad(b, flag, value, "NAME=SOFT[:HARD]");
        if (strcmp(text, "unlimited") == 0 || strcmp(text, "-1") == 0)
            json_object_set_new(limit, i ? "hard" : "soft", json_string("unlimited"));
        else if (parse_integer(text, 0, INT64_MAX, &number) == 0)
            json_object_set_new(limit, i ? "hard" : "soft", json_integer(number));
        else
            return bad(b, flag, value, "NAME=SOFT[:HARD]");
        if (!p[n])
            break; /* the hard one is then the same */
        if (i == 1)
            return bad(b, flag, value, "NAME=SOFT[:HARD]");
        p += n + 1;
    }
    return 0;
}

static int put_host(struct build *b, const struct flag *flag, const char *value)
{
    size_t n = strcspn(value, ":=");
    if (n == 0 || !value[n] || !value[n + 1])
        return bad(b, flag, value, "NAME:ADDRESS");
    const char *address = value + n + 1;
    size_t length = strlen(address);
    bool brackets = address[0] == '[' && address[length - 1] == ']';
    append(b->spec, flag->path,
           json_pack("{s:s%, s:s%}", "name", value, n, "address", address + brackets, length - 2 * brackets));
    return 0;
}

/* docker's long form: name=back,ip=10.5.0.9,alias=db. */
static int network_words(struct build *b, const struct flag *flag, const char *value, json_t **ret)
{
    static const struct { const char *word, *member; } members[] = {
        {"name", "name"}, {"ip", "ip"}, {"ip6", "ip6"}, {"mac-address", "mac"}, {"mac", "mac"}};
    autofree char *copy = text_copy(value);
    autojson json_t *network = json_object();
    char *rest = copy, *word;
    while ((word = strsep(&rest, ","))) {
        char *equals = strchr(word, '=');
        const char *member = NULL;
        if (equals)
            *equals++ = '\0';
        for (size_t i = 0; equals && i < ARRAY_SIZE(members); i++)
            if (strcmp(word, members[i].word) == 0)
                member = members[i].member;
        if (equals && strcmp(word, "alias") == 0)
            append(network, "aliases", json_string(equals));
        else if (member)
            json_object_set_new(network, member, json_string(equals));
        else
            return bad(b, flag, word, "one of name=, ip=, ip6=, mac-address=, alias=");
    }
    if (!json_object_get(network, "name"))
        return bad(b, flag, value, "a network (name= is missing)");
    *ret = json_incref(network);
    return 0;
}

/* One network is `network`; more, or one with settings of its own, are `networks`, the first included. */
static int put_network(struct build *b, const struct flag *flag, const char *value)
{
    json_t *first = json_object_get(b->spec, "network"), *network = NULL;
    bool several = json_object_get(b->spec, "networks") || first || strchr(value, '=');
    if (!several)
        return put_text(b, &(struct flag){.name = flag->name, .path = "network"}, value);
    int r = strchr(value, '=') ? network_words(b, flag, value, &network) : 0;
    if (r)
        return r;
    if (first) {
        append(b->spec, "networks", json_incref(first));
        json_object_del(b->spec, "network");
    }
    if (!network)
        return put_list(b, &(struct flag){.name = flag->name, .path = "networks"}, value);
    append(b->spec, "networks", network);
    return 0;
}

static int put_cpu_quota(struct build *b, const struct flag *flag, const char *value)
{
    int64_t quota, period = 100000;
    const char *text = arg_text(b->args, "cpu-period");
    if (parse_integer(value, 1000, INT64_MAX, &quota) < 0)
        return bad(b, flag, value, "a number of microseconds, 1000 or more");
    if (text && parse_integer(text, 1000, 1000000, &period) < 0)
        return cli_usage(b->cli, "--cpu-period: \"%s\" is not between 1000 and 1000000", text);
    json_put(b->spec, flag->path, json_real((double)quota / (double)period));
    return 0;
}

static int put_device_rate(struct build *b, const struct flag *flag, const char *value)
{
    static const struct {
        const char *flag, *member;
        bool size;
    } rates[] = {{"device-read-bps", "read_bps", true}, {"device-write-bps", "write_bps", true},
                 {"device-read-iops", "read_iops", false}, {"device-write-iops", "write_iops", false}};
    const char *colon = strrchr(value, ':');
    uint64_t rate;
    if (!colon || colon == value || parse_size(colon + 1, &rate) < 0)
        return bad(b, flag, value, "DEVICE:RATE");
    autofree char *device = strndup(value, (size_t)(colon - value));
    json_t *list = place(b->spec, flag->path, json_array), *item = NULL, *each;
    size_t i;
    json_array_foreach(list, i, each)
        if (device && strcmp(json_text(each, "device"), device) == 0)
            item = each;
    if (!item) {
        item = json_pack("{s:s}", "device", device);
        json_array_append_new(list, item);
    }
    for (i = 0; i < ARRAY_SIZE(rates); i++)
        if (strcmp(rates[i].flag, flag->name) == 0)
            json_object_set_new(item, rates[i].member, json_integer((json_int_t)rate));
    return 0;
}

/* A number of GPUs is the first so many; names and numbers are devices of NVIDIA's CDI file. */
static int put_gpus(struct build *b, const struct flag *flag, const char *value)
{
    int64_t count;
    if (strcmp(value, "all") == 0) {
        append(b->spec, flag->path, json_string("nvidia.com/gpu=all"));
        return 0;
    }
    if (parse_integer(value, 1, 64, &count) == 0) {
        for (int64_t i = 0; i < count; i++) {
            autofree char *name = text_new("nvidia.com/gpu=%d", (int)i);
            append(b->spec, flag->path, json_string(name));
        }
        return 0;
    }
    const char *list = value + (*value == '"');
    if (!starts_with(list, "device="))
        return bad(b, flag, value, "all, a number, or device=...");
    for (const char *p = list + strlen("device="); *p && *p != '"';) {
        size_t n = strcspn(p, ",\"");
        autofree char *name = text_new("%s%.*s", strchr(p, '=') ? "" : "nvidia.com/gpu=", (int)n, p);
        append(b->spec, flag->path, json_string(name));
        p += n + (p[n] == ',');
    }
    return 0;
}

/* PATH[:TARGET[:rwm]], or vendor/class=name, which CDI knows. */
static int put_device(struct build *b, const struct flag *flag, const char *value)
{
    if (value[0] != '/' && strchr(value, '=')) {
        append(b->spec, "resources.devices", json_string(value));
        return 0;
    }
    char path[PATH_MAX], target[PATH_MAX] = "", access[8] = "rwm";
    int n = sscanf(value, "%4095[^:]:%4095[^:]:%7[^:]", path, target, access);
    if (n < 1 || path[0] != '/')
        return bad(b, flag, value, "PATH[:TARGET[:rwm]] or a CDI name");
    if (n == 2 && target[0] != '/') { /* docker: two parts may be path and access */
        if (strlen(target) > 3 || strspn(target, "rwm") != strlen(target))
            return bad(b, flag, value, "PATH[:TARGET[:rwm]] or a CDI name");
        snprintf(access, sizeof(access), "%s", target);
        target[0] = '\0';
    }
    if (strlen(access) > 3 || strspn(access, "rwm") != strlen(access))
        return bad(b, flag, value, "PATH[:TARGET[:rwm]] with access of r, w and m");
    append(b->spec, flag->path,
           json_pack("{s:s, s:s, s:s}", "path", path, "target", target[0] ? target : path, "access", access));
    return 0;
}

static int put_security(struct build *b, const struct flag *flag, const char *value)
{
    static const struct {
        const char *key, *path;
    } texts[] = {{"seccomp", "security.seccomp"}, {"apparmor", "security.apparmor"}, {"label", "security.selinux"}};
    size_t n = strcspn(value, "=:");
    const char *text = value[n] ? value + n + 1 : "";
    bool on = true;
    if (n == strlen("no-new-privileges") && starts_with(value, "no-new-privileges")) {
        if (*text && !text_is_true(text, &on))
            return bad(b, flag, value, "no-new-privileges[=true|false]");
        json_put(b->spec, "security.no_new_privileges", json_boolean(on));
        return 0;
    }
    if (strcmp(value, "systempaths=unconfined") == 0) {
        json_put(b->spec, "security.masked_paths", json_array());
        json_put(b->spec, "security.read_only_paths", json_array());
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (n == strlen(texts[i].key) && starts_with(value, texts[i].key) && *text)
            return put_text(b, &(struct flag){.name = flag->name, .path = texts[i].path}, text);
    return bad(b, flag, value, "no-new-privileges, seccomp=, apparmor=, label= or systempaths=unconfined");
}

static int put_log_driver(struct build *b, const struct flag *flag, const char *value)
{
    if (strcmp(value, "file") && strcmp(value, "none"))
        return bad(b, flag, value, "file or none");
    return put_text(b, flag, value);
}

static int put_log(struct build *b, const struct flag *flag, const char *value)
{
    const char *text = strchr(value, '=');
    int64_t files;
    uint64_t size;
    if (text && starts_with(value, "max-size=") && parse_size(text + 1, &size) == 0)
        json_put(b->spec, "log.max_size", json_integer((json_int_t)size));
    else if (text && starts_with(value, "max-file=") && parse_integer(text + 1, 1, 1000, &files) == 0)
        json_put(b->spec, "log.max_files", json_integer(files));
    else
        return bad(b, flag, value, "max-size=SIZE or max-file=N");
    return 0;
}

static int put_no_health(struct build *b, const struct flag *flag, const char *value)
{
    if (strcmp(value, "true") == 0)
        json_put(b->spec, flag->path, json_pack("{s:[s]}", "command", "NONE"));
    return 0;
}

/* ---- mounts ------------------------------------------------------------------------------------ */

static const char *const propagations[] = {"private", "rprivate", "slave", "rslave", "shared", "rshared"};

static const char *propagation(const char *word, size_t length)
{
    for (size_t i = 0; i < ARRAY_SIZE(propagations); i++)
        if (strlen(propagations[i]) == length && memcmp(propagations[i], word, length) == 0)
            return propagations[i];
    return NULL;
}

/* A path of ours is written into the spec absolute: the spec outlives our working directory. */
static json_t *absolute(const char *path)
{
    if (path[0] == '/')
        return json_string(path);
    if (path[0] == '~' && (path[1] == '/' || !path[1]) && getenv("HOME")) {
        autofree char *home = text_new("%s%s", getenv("HOME"), path + 1);
        return json_string(home);
    }
    autofree char *here = getcwd(NULL, 0);
    while (starts_with(path, "./"))
        path += 2;
    if (strcmp(path, ".") == 0)
        path = "";
    autofree char *whole = text_new("%s%s%s", here && strcmp(here, "/") ? here : "", *path ? "/" : "", path);
    return json_string(*whole ? whole : "/");
}

/* The options behind the last colon of -v. False for one that is unknown. */
static bool volume_options(json_t *mount, const char *options)
{
    for (const char *p = options; *p;) {
        size_t n = strcspn(p, ",");
        const char *kind = propagation(p, n);
        if (kind)
            json_object_set_new(mount, "propagation", json_string(kind));
        else if (n == 2 && !memcmp(p, "ro", 2))
            json_object_set_new(mount, "read_only", json_true());
        else if (n == 6 && !memcmp(p, "nocopy", 6))
            json_object_set_new(mount, "no_copy", json_true());
        else if (!(n == 2 && !memcmp(p, "rw", 2)) && !(n == 1 && (*p == 'z' || *p == 'Z')))
            return false;
        p += n + (p[n] == ',');
    }
    return true;
}

/* TARGET; SOURCE:TARGET; SOURCE:TARGET:OPTIONS. A source with a slash or a dot first is a folder. */
static int put_volume(struct build *b, const struct flag *flag, const char *value)
{
    char source[PATH_MAX] = "", target[PATH_MAX] = "", options[128] = "", rest[2] = "";
    int n = sscanf(value, "%4095[^:]:%4095[^:]:%127[^:]%1s", source, target, options, rest);
    size_t parts = 1;
    for (const char *p = value; *p; p++)
        parts += *p == ':';
    if (n < 1 || (size_t)n != parts || n > 3)
        return bad(b, flag, value, "[SOURCE:]TARGET[:OPTIONS]");
    if (n == 1) {
        memcpy(target, source, sizeof(target));
        source[0] = '\0';
    }
    bool folder = strchr("/.~", source[0]) && source[0];
    json_t *mount = json_pack("{s:s, s:s}", "type", folder ? "bind" : "volume", "target", target);
    if (!mount)
        return cli_usage(b->cli, "--%s: the value is not UTF-8", flag->name);
    if (source[0])
        json_object_set_new(mount, "source", folder ? absolute(source) : json_string(source));
    if (folder)
        json_object_set_new(mount, "recursive", json_true());
    append(b->spec, flag->path, mount);
    if (target[0] != '/')
        return cli_usage(b->cli, "--%s: \"%s\": the target \"%s\" is not absolute", flag->name, value, target);
    return volume_options(mount, options) ? 0 : bad(b, flag, value, "a mount with options ro, rw, z, Z, nocopy or a propagation");
}

enum mount_value { MOUNT_TEXT, MOUNT_SOURCE, MOUNT_SWITCH, MOUNT_NOT, MOUNT_SIZE, MOUNT_MODE, MOUNT_RECURSIVE };

static const struct {
    const char *key, *member;
    enum mount_value kind;
} mount_keys[] = {{"type", "type", MOUNT_TEXT},
                  {"source", "source", MOUNT_SOURCE}, {"src", "source", MOUNT_SOURCE},
                  {"target", "target", MOUNT_TEXT}, {"destination", "target", MOUNT_TEXT}, {"dst", "target", MOUNT_TEXT},
                  {"readonly", "read_only", MOUNT_SWITCH}, {"ro", "read_only", MOUNT_SWITCH}, {"rw", "read_only", MOUNT_NOT},
                  {"bind-propagation", "propagation", MOUNT_TEXT},
                  {"bind-nonrecursive", "recursive", MOUNT_NOT}, {"bind-recursive", "recursive", MOUNT_RECURSIVE},
                  {"volume-nocopy", "no_copy", MOUNT_SWITCH},
                  {"tmpfs-size", "size", MOUNT_SIZE}, {"tmpfs-mode", "mode", MOUNT_MODE}};

static int mount_set(struct build *b, const struct flag *flag, json_t *mount, const char *key, const char *text)
{
    struct nearest nearest = {.word = key};
    size_t i = 0;
    for (; i < ARRAY_SIZE(mount_keys) && strcmp(mount_keys[i].key, key); i++)
        nearest_try(&nearest, mount_keys[i].key);
    if (i == ARRAY_SIZE(mount_keys))
        return cli_usage(b->cli, "--%s: unknown key \"%s\"%s%s%s", flag->name, key, nearest.best ? " (did you mean " : "",
                         nearest.best ? nearest.best : "", nearest.best ? "?)" : "");
    const char *member = mount_keys[i].member;
    bool on = true;
    uint64_t size;
    switch (mount_keys[i].kind) {
    case MOUNT_TEXT:
    case MOUNT_SOURCE:
        if (!text || !*text)
            return bad(b, flag, key, "complete: it needs a value");
        return json_object_set_new(mount, member, json_string(text)) < 0 ? bad(b, flag, key, "UTF-8") : 0;
    case MOUNT_SWITCH:
    case MOUNT_NOT:
        if (text && !text_is_true(text, &on))
            return bad(b, flag, text, "true or false");
        json_object_set_new(mount, member, json_boolean(on == (mount_keys[i].kind == MOUNT_SWITCH)));
        return 0;
    case MOUNT_RECURSIVE:
        json_object_set_new(mount, member, json_boolean(!text || strcmp(text, "disabled") != 0));
        return 0;
    case MOUNT_SIZE:
        if (!text || parse_size(text, &size) < 0)
            return bad(b, flag, text ? text : key, "a size");
        json_object_set_new(mount, member, json_integer((json_int_t)size));
        return 0;
    case MOUNT_MODE:
        if (!text || !*text || strspn(text, "01234567") != strlen(text) || strlen(text) > 5)
            return bad(b, flag, text ? text : key, "an octal mode");
        json_object_set_new(mount, member, json_string(text));
        return 0;
    }
    return 0;
}

/* One field of comma-separated values, where "a,b" holds a comma and "" within is a quote. */
static const char *csv_field(const char *p, char *ret_field)
{
    bool quoted = *p == '"';
    for (p += quoted; *p && (quoted || *p != ','); p++) {
        if (quoted && *p == '"' && p[1] == '"')
            p++;
        else if (quoted && *p == '"') {
            quoted = false;
            continue;
        }
        *ret_field++ = *p;
    }
    *ret_field = '\0';
    return p + (*p == ',');
}

static int put_mount(struct build *b, const struct flag *flag, const char *value)
{
    json_t *mount = json_object();
    append(b->spec, flag->path, mount);
    autofree char *field = memory_new(strlen(value) + 1);
    for (const char *p = value; *p;) {
        p = csv_field(p, field);
        char *text = strchr(field, '=');
        if (text)
            *text++ = '\0';
        int r = mount_set(b, flag, mount, field, text);
        if (r)
            return r;
    }
    json_t *type = json_object_get(mount, "type");
    if (!type)
        json_object_set_new(mount, "type", json_string("volume"));
    if (!json_object_get(mount, "target"))
        return cli_usage(b->cli, "--%s: \"%s\" has no target", flag->name, value);
    if (strcmp(json_text(mount, "type"), "bind") == 0 && json_object_get(mount, "source"))
        json_object_set_new(mount, "source", absolute(json_text(mount, "source")));
    if (strcmp(json_text(mount, "type"), "bind") == 0 && !json_object_get(mount, "recursive"))
        json_object_set_new(mount, "recursive", json_true());
    return 0;
}

/* /run:rw,size=64m,mode=1777,exec */
static int put_tmpfs(struct build *b, const struct flag *flag, const char *value)
{
    size_t n = strcspn(value, ":");
    json_t *mount = json_pack("{s:s, s:s%}", "type", "tmpfs", "target", value, n);
    append(b->spec, flag->path, mount);
    autofree char *word = memory_new(strlen(value) + 1);
    for (const char *p = value + n + (value[n] == ':'); *p;) {
        p = csv_field(p, word);
        uint64_t size;
        if (starts_with(word, "size=") && parse_size(word + 5, &size) == 0)
            json_object_set_new(mount, "size", json_integer((json_int_t)size));
        else if (starts_with(word, "mode=") && strspn(word + 5, "01234567") == strlen(word + 5) && word[5])
            json_object_set_new(mount, "mode", json_string(word + 5));
        else if (strcmp(word, "ro") == 0)
            json_object_set_new(mount, "read_only", json_true());
        else if (strcmp(word, "exec") == 0 || strcmp(word, "noexec") == 0)
            json_object_set_new(mount, "exec", json_boolean(word[0] == 'e'));
        else if (strcmp(word, "rw") && strcmp(word, "nosuid") && strcmp(word, "nodev"))
            return bad(b, flag, word, "one of size=, mode=, ro, rw, exec, noexec");
    }
    return 0;
}

/* ---- the whole --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int (*put)(struct build *b, const struct flag *flag, const char *value);
} specials[] = {
    {"add-host", put_host}, {"cpu-quota", put_cpu_quota}, {"device", put_device}, {"device-read-bps", put_device_rate},
    {"device-read-iops", put_device_rate}, {"device-write-bps", put_device_rate}, {"device-write-iops", put_device_rate},
    {"env", put_env}, {"env-file", put_env_file}, {"gpus", put_gpus}, {"label-file", put_label_file},
    {"log-driver", put_log_driver}, {"log-opt", put_log}, {"mount", put_mount}, {"net", put_network},
    {"network", put_network}, {"no-healthcheck", put_no_health}, {"restart", put_restart}, {"security-opt", put_security},
    {"tmpfs", put_tmpfs}, {"ulimit", put_ulimit}, {"volume", put_volume}};

static int put_special(struct build *b, const struct flag *flag, const char *value)
{
    for (size_t i = 0; i < ARRAY_SIZE(specials); i++)
        if (strcmp(specials[i].name, flag->name) == 0)
            return specials[i].put(b, flag, value);
    return cli_usage(b->cli, "--%s has no meaning here", flag->name);
}

static int (*const kinds[])(struct build *b, const struct flag *flag, const char *value) = {
    [FLAG_TEXT] = put_text, [FLAG_TRUE] = put_true, [FLAG_LIST] = put_list, [FLAG_WORDS] = put_words,
    [FLAG_PAIR] = put_named, [FLAG_SIZE] = put_size, [FLAG_LIMIT_SIZE] = put_limit_size,
    [FLAG_INTEGER] = put_integer, [FLAG_NUMBER] = put_number, [FLAG_DURATION] = put_duration,
    [FLAG_SPECIAL] = put_special};

static bool is_file_of_lines(const struct flag *flag)
{
    return ends_with(flag->name, "-file");
}

/* A member whose value is none would not be set, and nobody would hear of it. */
static bool is_utf8(const char *value)
{
    autojson json_t *text = value ? json_string(value) : json_null();
    return text != NULL;
}

/* Files of lines first, so that a flag on the command line wins over them wherever it stands. */
static int put_flags(struct build *b)
{
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < b->args->n_flags; i++) {
            const struct arg *arg = &b->args->flags[i];
            if (arg->flag->kind == FLAG_VERB || is_file_of_lines(arg->flag) != (pass == 0))
                continue;
            if (pass == 1 && !is_utf8(arg->value))
                return cli_usage(b->cli, "--%s: the value is not UTF-8", arg->flag->name);
            int r = kinds[arg->flag->kind](b, arg->flag, arg->value);
            if (r)
                return r;
        }
    return 0;
}

int env_from_args(struct cli *cli, const struct args *args, json_t *ret_env)
{
    autojson json_t *spec = json_pack("{s:O}", "env", ret_env);
    struct build b = {.cli = cli, .args = args, .spec = spec};
    return put_flags(&b);
}

/* ---- --set -------------------------------------------------------------------------------------- */

static const char *const unions[] = {"anyOf", "oneOf"};

/* A member of a schema's object, wherever among its alternatives the object is. */
static json_t *schema_member(json_t *schema, const char *kind, const char *name)
{
    json_t *found = json_object_get(schema, kind), *each;
    size_t i;
    if (name)
        found = json_object_get(found, name);
    for (size_t u = 0; json_is_object(schema) && !json_is_object(found) && u < ARRAY_SIZE(unions); u++)
        json_array_foreach(json_object_get(schema, unions[u]), i, each)
            if (!json_is_object(found))
                found = schema_member(each, kind, name);
    return json_is_object(found) ? found : NULL;
}

/* The part of the schema that describes a dotted path; *ret_key: the rest of it, when that names a
 * member of a map (labels.com.example.x). */
static json_t *schema_at(json_t *schema, const char *path, const char **ret_key)
{
    *ret_key = NULL;
    while (*path && schema) {
        size_t n = strcspn(path, ".");
        autofree char *name = strndup(path, n);
        json_t *next = name ? schema_member(schema, "properties", name) : NULL;
        json_t *map = next ? NULL : schema_member(schema, "additionalProperties", NULL);
        if (map) {
            *ret_key = path;
            return map;
        }
        schema = next;
        path += n + (path[n] == '.');
    }
    return schema;
}

static bool schema_allows(json_t *schema, const char *type)
{
    json_t *t = json_object_get(schema, "type"), *each;
    size_t i;
    if (json_is_string(t))
        return strcmp(json_string_value(t), type) == 0;
    json_array_foreach(t, i, each)
        if (json_is_string(each) && strcmp(json_string_value(each), type) == 0)
            return true;
    for (size_t u = 0; u < ARRAY_SIZE(unions); u++)
        json_array_foreach(json_object_get(schema, unions[u]), i, each)
            if (schema_allows(each, type))
                return true;
    return false;
}

/* JSON where it reads as what the field may be; otherwise the text itself. */
static json_t *set_value(json_t *schema, const char *text)
{
    static const struct {
        json_type type;
        const char *name;
    } types[] = {{JSON_OBJECT, "object"}, {JSON_ARRAY, "array"}, {JSON_STRING, "string"}, {JSON_INTEGER, "integer"},
                 {JSON_INTEGER, "number"}, {JSON_REAL, "number"}, {JSON_TRUE, "boolean"}, {JSON_FALSE, "boolean"}};
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);
    for (size_t i = 0; value && i < ARRAY_SIZE(types); i++)
        if (json_typeof(value) == types[i].type && (!schema || schema_allows(schema, types[i].name)))
            return value;
    json_decref(value);
    /* a list of one need not be written as a list */
    if (schema && schema_allows(schema, "array") && !schema_allows(schema, "string"))
        return json_pack("[s]", text);
    return json_string(text);
}

static int put_set(struct build *b, json_t *schema, const char *pair)
{
    const char *equals = strchr(pair, '='), *key;
    if (!equals || equals == pair)
        return cli_usage(b->cli, "--set: \"%s\" is not PATH=VALUE", pair);
    autofree char *path = strndup(pair, (size_t)(equals - pair));
    if (!path)
        return cli_usage(b->cli, "--set: out of memory");
    json_t *value = set_value(schema_at(schema, path, &key), equals + 1);
    if (!value)
        return cli_usage(b->cli, "--set %s: the value is not UTF-8", path);
    if (!key) {
        json_put(b->spec, path, value);
        return 0;
    }
    /* labels.com.example.x: the name behind "labels" holds dots itself */
    path[key - path - 1] = '\0';
    json_object_set_new(place(b->spec, path, json_object), key, value);
    return 0;
}

static int put_sets(struct build *b)
{
    autojson json_t *schema = NULL;
    for (size_t i = 0; i < b->args->n_flags; i++) {
        if (strcmp(b->args->flags[i].flag->name, "set") != 0)
            continue;
        if (!schema)
            schema = json_loads(berth_spec_schema(), 0, NULL);
        int r = put_set(b, schema, b->args->flags[i].value);
        if (r)
            return r;
    }
    return 0;
}

/* ---- documents --------------------------------------------------------------------------------- */

static int read_document(struct cli *cli, const char *path, json_t **ret_document)
{
    int failed = cli->command->bits & COMMAND_RUNS ? EXIT_BERTH_FAILED : EXIT_FAILED;
    autofree char *data = read_file(cli, path);
    if (!data)
        return failed;
    autofree char *converted = NULL;
    if (data[strspn(data, " \t\r\n")] != '{') {
        char message[TOML_MESSAGE];
        if (toml_to_json(data, strlen(data), &converted, message) < 0)
            return cli_fail_code(cli, path, BERTH_INVALID, "%s", message);
    }
    json_error_t error;
    json_t *document = json_loads(converted ? converted : data, JSON_REJECT_DUPLICATES, &error);
    if (!document)
        return cli_fail_code(cli, path, BERTH_INVALID, "line %d: %s", error.line, error.text);
    if (!json_is_object(document)) {
        json_decref(document);
        return cli_fail_code(cli, path, BERTH_INVALID, "a spec is a JSON object or a TOML document");
    }
    *ret_document = document;
    return 0;
}

/* docker's way: adjective_noun, from the kernel's random numbers. */
static char *make_name(void)
{
    static const char *const first[] = {"amber", "brave", "brisk", "calm", "clear", "crisp", "eager", "early", "fair", "fleet",
                                        "gentle", "glad", "grand", "keen", "kind", "lively", "lucky", "merry", "noble", "proud",
                                        "quick", "quiet", "rapid", "ready", "sharp", "silent", "smart", "steady", "sunny", "swift",
                                        "tidy", "warm"};
    static const char *const second[] = {"anchor", "barge", "beacon", "bosun", "brig", "buoy", "canoe", "clipper", "cutter", "deck",
                                         "dinghy", "ferry", "galley", "harbour", "helm", "hull", "jetty", "kayak", "keel", "ketch",
                                         "lagoon", "mast", "oar", "pier", "quay", "raft", "rudder", "sail", "schooner", "skiff",
                                         "sloop", "tug"};
    uint32_t r[3];
    if (getrandom(r, sizeof(r), 0) != sizeof(r))
        r[0] = r[1] = r[2] = (uint32_t)clock_usec();
    return text_new("%s_%s_%04x", first[r[0] % ARRAY_SIZE(first)], second[r[1] % ARRAY_SIZE(second)], r[2] & 0xffff);
}

/* oci:DIR:tag and its like: the path in them as absolute as any other. */
static json_t *image_value(const char *image)
{
    static const char *const forms[] = {"oci:", "oci-archive:", "docker-archive:"};
    for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
        if (starts_with(image, forms[i]) && image[strlen(forms[i])] && image[strlen(forms[i])] != '/') {
            autojson json_t *path = absolute(image + strlen(forms[i]));
            return json_sprintf("%s%s", forms[i], json_string_value(path));
        }
    return json_string(image);
}

static int put_words_of_program(struct build *b)
{
    char *const *words = b->args->words;
    if (words[0] && json_object_set_new(b->spec, "image", image_value(words[0])) < 0)
        return cli_usage(b->cli, "the image's name is not UTF-8");
    for (int i = 1; words[0] && words[i]; i++) {
        json_t *word = json_string(words[i]);
        if (!word)
            return cli_usage(b->cli, "argument %d is not UTF-8", i);
        append(b->spec, "args", word);
    }
    return 0;
}

/* What berth.toml says where nothing else does: the members of [defaults] are a spec's. */
static int put_defaults(struct build *b)
{
    struct berth_error err;
    int code = 0;
    json_t *defaults = cli_setting(b->cli, "defaults", &code, &err);
    json_t *parent = code < 0 ? NULL : cli_setting(b->cli, "cgroup_parent", &code, &err);
    if (code < 0)
        return cli_fail(b->cli, NULL, &err);
    if (json_is_object(defaults)) {
        autojson json_t *copy = json_deep_copy(defaults);
        json_overlay(b->spec, copy);
    }
    if (json_is_string(parent))
        json_object_set(b->spec, "cgroup_parent", parent);
    return 0;
}

/* publish_address of berth.toml is where a port is published that names no address. */
static int put_publish_address(struct build *b)
{
    struct berth_error err;
    int code = 0;
    const char *address = json_string_value(cli_setting(b->cli, "publish_address", &code, &err));
    json_t *ports = json_object_get(b->spec, "ports"), *each;
    size_t i;
    if (code < 0)
        return cli_fail(b->cli, NULL, &err);
    json_array_foreach(ports, i, each)
    {
        const char *text = json_string_value(each), *colon = text ? strchr(text, ':') : NULL;
        if (!address || (text && (*text == '[' || (colon && strchr(colon + 1, ':')))))
            continue;
        bool six = strchr(address, ':') && *address != '[';
        if (text)
            json_array_set_new(ports, i, json_sprintf("%s%s%s:%s%s", six ? "[" : "", address, six ? "]" : "",
                                                      colon ? "" : ":", text));
        else if (!json_object_get(each, "host_address"))
            json_object_set_new(each, "host_address", json_string(address));
    }
    return 0;
}

/* A document that lost a member is another: while one is put together nobody looks whether a member could be set, and want
 * of memory ends the command as anywhere in it. The library has its own allocations back before it is asked for a verb. */
static void memory_is_certain(bool on)
{
    json_set_alloc_funcs(on ? memory_new : malloc, free);
}

json_t *spec_from_args(struct cli *cli, const struct args *args, int *ret_exit)
{
    memory_is_certain(true);
    autojson json_t *spec = json_object();
    autojson json_t *flags = json_object();
    autojson json_t *document = NULL;
    struct build b = {.cli = cli, .args = args, .spec = spec};
    const char *path = arg_text(args, "spec");
    int r = put_defaults(&b);
    if (r == 0 && path)
        r = read_document(cli, path, &document);
    if (document)
        json_overlay(spec, document);
    b.spec = flags;
    if (r == 0)
        r = put_flags(&b);
    if (r == 0)
        r = put_words_of_program(&b);
    if (r == 0)
        json_overlay(spec, flags);
    b.spec = spec;
    if (r == 0)
        r = put_sets(&b);
    if (r == 0)
        r = put_publish_address(&b);
    if (r == 0 && !json_object_get(spec, "image"))
        r = cli_usage(cli, "no image; usage: berth %s [flags] %s", cli->command->name, cli->command->arguments);
    if (r == 0 && !json_object_get(spec, "name")) {
        autofree char *name = make_name();
        json_object_set_new(spec, "name", json_string(name));
    }
    memory_is_certain(false);
    *ret_exit = r;
    return r ? NULL : json_incref(spec);
}

json_t *patch_from_args(struct cli *cli, const struct args *args, int *ret_exit)
{
    memory_is_certain(true);
    autojson json_t *patch = json_object();
    struct build b = {.cli = cli, .args = args, .spec = patch};
    int r = put_flags(&b);
    if (r == 0)
        r = put_sets(&b);
    if (r == 0 && json_object_size(patch) == 0 && !publish_given(args))
        r = cli_usage(cli, "nothing to change; `berth update --help` lists what can be");
    memory_is_certain(false);
    *ret_exit = r;
    return r ? NULL : json_incref(patch);
}

static bool is_wasm_file(const char *path)
{
    static const char magic[4] = {0, 'a', 's', 'm'};
    char head[4];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool is = fd >= 0 && pread(fd, head, sizeof(head), 0) == sizeof(head) && memcmp(head, magic, sizeof(head)) == 0;
    if (fd >= 0)
        close(fd);
    return is;
}

const char *spec_runtime(const json_t *spec)
{
    const char *runtime = json_string_value(json_object_get(spec, "runtime"));
    const char *image = json_string_value(json_object_get(spec, "image"));
    if (runtime)
        return runtime;
    bool path = image && strchr("./", image[0]) && strchr(image, '/');
    size_t n = path ? strlen(image) : 0;
    bool missing = n > 5 && strcmp(image + n - 5, ".wasm") == 0 && access(image, F_OK) < 0; /* by that engine's words */
    return path && (missing || is_wasm_file(image)) ? "wasm" : "container";
}

/* ---- settings ---------------------------------------------------------------------------------- */

static int read_settings(struct cli *cli, struct berth_error *err)
{
    struct berth_runtime *runtime;
    autofree char *json = NULL;
    int r = cli_runtime(cli, "container", &runtime, err);
    if (r == 0)
        r = berth_settings(runtime, &json, err);
    return r < 0 ? r : json_read(json, &cli->settings, err);
}

json_t *cli_setting(struct cli *cli, const char *path, int *ret_code, struct berth_error *err)
{
    *ret_code = cli->settings ? 0 : read_settings(cli, err);
    return *ret_code < 0 ? NULL : json_find(cli->settings, path);
}
