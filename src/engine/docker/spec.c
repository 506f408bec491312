/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A spec as the documents of the API.
 *
 * What the API has no word for is refused by name: nothing is silently ignored. Ports are published on
 * 127.0.0.1 unless the spec names an address: the API's own default is every address of the host.
 */
#include "docker/inside.h"
#include "base/file.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define PUBLISH_ADDRESS "127.0.0.1"
#define DEFAULT_FILES 4
#define DEFAULT_FILE_BYTES (64u << 20)
#define DEFAULT_SHM (64u << 20)
#define PROFILE_MAX (1u << 20)

/* ---- refusing */

/** Fields that the API cannot express. */
static const struct { const char *name, *why; } no_word[] = {
    {"service", "services are not an engine's"},
    {"wasm", "it runs containers"},
    {"sockets", "the API hands no listening socket over"},
    {"liveness", "the API has no liveness"},
    {"readiness.on_failure", "the API does nothing about a failed check"},
    {"readiness.start_interval", "the API has one interval"},
    {"health.start_interval", "the API has one interval"},
    {"image_volumes", "the API mounts no images"},
    {"resources.devices", "the API has no CDI names"},
    {"resources.cpu_weight", "the API has shares only: resources.cpu_shares"},
    {"namespaces.uid_map", "the API maps no users of one container"},
    {"namespaces.gid_map", "the API maps no groups of one container"},
    {"restart.delay", "the API's delay is its own"},
    {"restart.cap", "the API's delay is its own"},
    {"restart.reset", "the API's delay is its own"},
    {"annotations", "the API has labels only"},
};

static int refuse(const char *field, const char *why, struct berth_error *err)
{
    return fail(err, BERTH_UNSUPPORTED, field, "%s: the engine \"" ENGINE_NAME "\" does not do that: %s", field, why);
}

static bool field_is(const char *field, const char *name)
{
    size_t n = strlen(name);
    return !strncmp(field, name, n) && (!field[n] || field[n] == '.' || field[n] == '[');
}

bool is_named_network(const char *network)
{
    static const char *const modes[] = {"bridge", "default", "host", "none"};
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
        if (!strcmp(network, modes[i]))
            return false;
    return !starts_with(network, "container:");
}

static const char *first_network(const struct spec *s)
{
    return s->network ? s->network : s->n_networks ? s->networks[0].name : "bridge";
}

/** Sysctls that belong to a namespace: any other is the machine's. */
static bool sysctl_is_own(const char *name)
{
    static const char *const own[] = {"net.", "fs.mqueue.", "kernel.shm", "kernel.msg", "kernel.sem", "kernel.domainname"};
    for (size_t i = 0; i < ARRAY_SIZE(own); i++)
        if (starts_with(name, own[i]))
            return true;
    return false;
}

static int refuse_wrong(const struct spec *s, struct berth_error *err)
{
    for (size_t i = 0; i < s->sysctls.n; i++)
        if (!sysctl_is_own(s->sysctls.items[i].name))
            return fail(err, BERTH_INVALID, "sysctls", "sysctls: %.128s is not of a namespace but the whole machine's",
                        s->sysctls.items[i].name);
    for (size_t i = 0; i < s->n_ports; i++)
        if (s->ports[i].host_address && !strcmp(s->ports[i].host_address, "::1"))
            return fail(err, BERTH_UNSUPPORTED, "ports", "ports: ::1 is not published on; 127.0.0.1 is");
    if ((s->ip || s->ip6) && !is_named_network(first_network(s)))
        return refuse("ip", "the API gives fixed addresses on named networks alone", err);
    return 0;
}

static int refuse_parts(const struct spec *s, struct berth_error *err)
{
    for (size_t i = 0; i < s->n_secrets; i++)
        if (s->secrets[i].user || (s->secrets[i].mode && s->secrets[i].mode != 0400))
            return refuse("secrets", "a secret is a bind mount and keeps its file's owner and mode", err);
    for (size_t i = 0; i < s->n_mounts; i++)
        if (s->mounts[i].kind == SPEC_MOUNT_IMAGE)
            return refuse("mounts", "the API mounts no images", err);
    if (spec_probes(&s->readiness) && spec_probes(&s->health))
        return refuse("readiness", "the API has one check, and health has it", err);
    if (s->health.on_failure && strcmp(s->health.on_failure, "none"))
        return refuse("health.on_failure", "the API does nothing about a failed check", err);
    if (s->namespaces.userns && strcmp(s->namespaces.userns, "host"))
        return refuse("namespaces.userns", "the API has the daemon's and the host's alone", err);
    if (s->namespaces.uts && strcmp(s->namespaces.uts, "host") && strcmp(s->namespaces.uts, "private"))
        return refuse("namespaces.uts", "the API has private and host alone", err);
    if (s->namespaces.cgroup && starts_with(s->namespaces.cgroup, "container:"))
        return refuse("namespaces.cgroup", "the API has private and host alone", err);
    return 0;
}

int spec_refuse(const struct spec *s, struct berth_error *err)
{
    if (s->runtime && strcmp(s->runtime, ENGINE_NAME))
        return fail(err, BERTH_INVALID, "runtime", "runtime: \"%.40s\" is not this engine, \"" ENGINE_NAME "\"", s->runtime);
    autostrings char **set = spec_fields_set(s);
    if (!set)
        return fail_memory(err);
    for (size_t i = 0; set[i]; i++)
        for (size_t k = 0; k < ARRAY_SIZE(no_word); k++)
            if (field_is(set[i], no_word[k].name))
                return refuse(set[i], no_word[k].why, err);
    int r = refuse_wrong(s, err);
    return r < 0 ? r : refuse_parts(s, err);
}

/* ---- small pieces */

static void set(json_t *object, const char *name, json_t *value)
{
    json_object_set_new(object, name, value);
}

static void set_text(json_t *object, const char *name, const char *text)
{
    if (text)
        set(object, name, json_string(text));
}

static void set_number(json_t *object, const char *name, uint64_t number)
{
    if (number)
        set(object, name, json_integer((json_int_t)number));
}

static void set_true(json_t *object, const char *name, bool value)
{
    if (value)
        set(object, name, json_true());
}

static json_t *list_of(char *const *strings)
{
    json_t *list = json_array();
    for (size_t i = 0; strings && strings[i]; i++)
        json_array_append_new(list, json_string(strings[i]));
    return list;
}

static void set_list(json_t *object, const char *name, char *const *strings)
{
    if (strings)
        set(object, name, list_of(strings));
}

static json_t *pairs_of(const struct spec_pairs *pairs)
{
    json_t *object = json_object();
    for (size_t i = 0; i < pairs->n; i++)
        set(object, pairs->items[i].name, json_string(pairs->items[i].value));
    return object;
}

json_t *labels_of(const struct spec *s)
{
    return pairs_of(&s->labels);
}

char *query_text(const char *text)
{
    struct text t = {0};
    for (; *text; text++)
        if (strchr("-_.~", *text) || (*text >= '0' && *text <= '9') || ((*text | 32) >= 'a' && (*text | 32) <= 'z'))
            text_add_bytes(&t, text, 1);
        else
            text_printf(&t, "%%%02X", (unsigned char)*text);
    return text_take(&t);
}

/* ---- program */

static void put_argv(json_t *config, const struct spec *s)
{
    if (!s->command && !s->entrypoint) {
        set_list(config, "Cmd", s->args);
        return;
    }
    /* the first word alone as entrypoint: the image's is replaced, and so is its command */
    char *const *first = s->entrypoint && s->entrypoint[0] ? s->entrypoint : s->command;
    json_t *entrypoint = json_array(), *rest = json_array();
    char *const *parts[] = {s->entrypoint, s->command, s->args};
    for (size_t p = 0; p < ARRAY_SIZE(parts); p++)
        for (size_t i = 0; parts[p] && parts[p][i]; i++)
            json_array_append_new(parts[p] == first && i == 0 ? entrypoint : rest, json_string(parts[p][i]));
    set(config, "Entrypoint", entrypoint);
    set(config, "Cmd", rest);
}

static void put_env(json_t *config, const struct spec *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->env.n; i++)
        json_array_append_new(list, json_sprintf("%s=%s", s->env.items[i].name, s->env.items[i].value));
    set(config, "Env", list);
}

bool spec_probes(const struct spec_probe *p)
{
    return p->command || p->shell;
}

/** Health, or readiness: the API has one check. */
static void put_check(json_t *config, const struct spec_probe *h)
{
    json_t *health = json_object(), *test = json_array();
    if (h->shell) {
        json_array_append_new(test, json_string("CMD-SHELL"));
        json_array_append_new(test, json_string(h->shell));
    } else {
        bool off = !strcmp(h->command[0], "NONE") && !h->command[1];
        if (!off)
            json_array_append_new(test, json_string("CMD"));
        for (size_t i = 0; h->command[i]; i++)
            json_array_append_new(test, json_string(h->command[i]));
    }
    set(health, "Test", test);
    set_number(health, "Interval", (uint64_t)h->interval_usec * 1000);
    set_number(health, "Timeout", (uint64_t)h->timeout_usec * 1000);
    set_number(health, "StartPeriod", (uint64_t)h->start_period_usec * 1000);
    set_number(health, "Retries", (uint64_t)h->retries);
    set(config, "Healthcheck", health);
}

static void put_program(json_t *config, const struct spec *s)
{
    put_argv(config, s);
    put_env(config, s);
    set_text(config, "Image", s->image);
    set_text(config, "WorkingDir", s->workdir);
    set_text(config, "User", s->user);
    set_text(config, "StopSignal", s->stop_signal);
    set_text(config, "Hostname", s->hostname);
    set_text(config, "Domainname", s->domainname);
    set_text(config, "MacAddress", s->mac);
    set_true(config, "Tty", s->tty);
    set_true(config, "OpenStdin", s->stdin_open);
    if (s->has_stop_timeout)
        set(config, "StopTimeout", json_integer((s->stop_timeout_usec + 999999) / 1000000));
    const struct spec_probe *check = spec_probes(&s->readiness) ? &s->readiness : &s->health;
    if (spec_probes(check))
        put_check(config, check);
}

static void put_labels(json_t *config, const struct spec *s, const char *id, const char *name, const char *tag)
{
    json_t *labels = pairs_of(&s->labels);
    set_text(labels, LABEL_ROOT, tag);
    set_text(labels, LABEL_ID, id);
    set_text(labels, LABEL_NAME, name);
    if (spec_probes(&s->readiness))
        set_text(labels, LABEL_READINESS, "1");
    set(config, "Labels", labels);
}

/* ---- limits and life: what update may change too */

static void put_restart(json_t *host, const struct spec_restart *r)
{
    const char *policy = !r->policy || !strcmp(r->policy, "never") ? "no" : r->policy;
    bool counts = !strcmp(policy, "on-failure") && r->has_max && r->max > 0;
    set(host, "RestartPolicy", json_pack("{s:s, s:i}", "Name", policy, "MaximumRetryCount", counts ? r->max : 0));
}

static void put_io(json_t *host, const struct spec *s)
{
    static const struct { const char *name; size_t place; } kinds[] = {
        {"BlkioDeviceReadBps", offsetof(struct spec_io, read_bps)},
        {"BlkioDeviceWriteBps", offsetof(struct spec_io, write_bps)},
        {"BlkioDeviceReadIOps", offsetof(struct spec_io, read_iops)},
        {"BlkioDeviceWriteIOps", offsetof(struct spec_io, write_iops)},
    };
    for (size_t k = 0; k < ARRAY_SIZE(kinds) && s->resources.n_io; k++) {
        json_t *list = json_array();
        for (size_t i = 0; i < s->resources.n_io; i++) {
            uint64_t rate;
            memcpy(&rate, (const char *)&s->resources.io[i] + kinds[k].place, sizeof(rate));
            if (rate)
                json_array_append_new(list, json_pack("{s:s, s:I}", "Path", s->resources.io[i].device, "Rate", (json_int_t)rate));
        }
        set(host, kinds[k].name, list);
    }
}

static json_int_t swap_of(const struct spec *s) /* memory and swap together, here as there */
{
    return s->resources.swap >= INT64_MAX ? -1 : (json_int_t)s->resources.swap;
}

static void put_resources(json_t *host, const struct spec *s)
{
    if (s->resources.has_memory)
        set_number(host, "Memory", s->resources.memory);
    if (s->resources.has_swap && s->resources.has_memory)
        set(host, "MemorySwap", json_integer(swap_of(s)));
    if (s->resources.has_reservation)
        set_number(host, "MemoryReservation", s->resources.reservation);
    if (s->resources.cpu > 0)
        set_number(host, "NanoCpus", (uint64_t)(s->resources.cpu * 1e9 + 0.5));
    set_text(host, "CpusetCpus", s->resources.cpuset);
    set_text(host, "CpusetMems", s->resources.cpuset_mems);
    set_number(host, "CpuShares", s->resources.cpu_shares);
    if (s->resources.has_pids)
        set(host, "PidsLimit", json_integer(s->resources.pids));
    set_number(host, "BlkioWeight", s->resources.io_weight);
    put_io(host, s);
}

int update_document(const struct spec *s, json_t **ret, struct berth_error *err)
{
    json_t *document = json_object();
    if (!document)
        return fail_memory(err);
    put_resources(document, s);
    put_restart(document, &s->restart);
    *ret = document;
    return 0;
}

static void put_ulimits(json_t *host, const struct spec *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->resources.n_ulimits; i++) {
        const struct spec_ulimit *u = &s->resources.ulimits[i];
        json_array_append_new(list, json_pack("{s:s, s:I, s:I}", "Name", u->name, "Soft",
                                              u->soft == UINT64_MAX ? (json_int_t)-1 : (json_int_t)u->soft, "Hard",
                                              u->hard == UINT64_MAX ? (json_int_t)-1 : (json_int_t)u->hard));
    }
    set(host, "Ulimits", list);
    set_number(host, "ShmSize", s->resources.shm_size ? s->resources.shm_size : DEFAULT_SHM);
    set_true(host, "OomKillDisable", s->resources.oom_kill_disable);
}

static void put_log(json_t *host, const struct spec_log *log)
{
    char size[32], files[16];
    if (log->driver && !strcmp(log->driver, "none")) {
        set(host, "LogConfig", json_pack("{s:s, s:{}}", "Type", "none", "Config"));
        return;
    }
    snprintf(size, sizeof(size), "%llu", (unsigned long long)(log->max_size_bytes ? log->max_size_bytes : DEFAULT_FILE_BYTES));
    snprintf(files, sizeof(files), "%d", log->max_files ? log->max_files : DEFAULT_FILES);
    set(host, "LogConfig", json_pack("{s:s, s:{s:s, s:s}}", "Type", "json-file", "Config", "max-size", size, "max-file", files));
}

/* ---- network */

static void put_port(json_t *exposed, json_t *bindings, const struct spec_port *p)
{
    unsigned count = p->container_end > p->container ? p->container_end - p->container + 1u : 1u;
    const char *protocol = p->protocol[0] ? p->protocol : "tcp";
    for (unsigned i = 0; i < count; i++) {
        char key[24], host[8] = "";
        snprintf(key, sizeof(key), "%u/%s", p->container + i, protocol);
        if (p->host)
            snprintf(host, sizeof(host), "%u", p->host + i);
        json_t *list = json_object_get(bindings, key);
        if (!list)
            set(bindings, key, list = json_array());
        json_array_append_new(list, json_pack("{s:s, s:s}", "HostIp", p->host_address ? p->host_address : PUBLISH_ADDRESS,
                                              "HostPort", host));
        set(exposed, key, json_object());
    }
}

static void put_ports(json_t *config, json_t *host, const struct spec *s)
{
    json_t *exposed = json_object(), *bindings = json_object();
    for (size_t i = 0; i < s->n_ports; i++)
        put_port(exposed, bindings, &s->ports[i]);
    for (size_t i = 0; s->expose && s->expose[i]; i++) {
        bool whole = strchr(s->expose[i], '/');
        autofree char *key = format_text("%s%s", s->expose[i], whole ? "" : "/tcp");
        if (key)
            set(exposed, key, json_object());
    }
    set(config, "ExposedPorts", exposed);
    set(host, "PortBindings", bindings);
    set_true(host, "PublishAllPorts", s->publish_all);
}

static json_t *endpoint(const struct spec *s, const char *ip, const char *ip6, char *const *aliases, const char *name, bool named)
{
    json_t *config = json_object(), *list = json_array();
    if (ip || ip6) {
        json_t *fixed = json_object();
        set_text(fixed, "IPv4Address", ip);
        set_text(fixed, "IPv6Address", ip6);
        set(config, "IPAMConfig", fixed);
    }
    if (named)
        json_array_append_new(list, json_string(name));
    for (size_t i = 0; s->aliases && s->aliases[i]; i++)
        json_array_append_new(list, json_string(s->aliases[i]));
    for (size_t i = 0; aliases && aliases[i]; i++)
        json_array_append_new(list, json_string(aliases[i]));
    set(config, "Aliases", list);
    return config;
}

static json_t *put_networks(json_t *config, json_t *host, const struct spec *s, const char *name)
{
    const char *first = first_network(s);
    const struct spec_network *own = !s->network && s->n_networks ? &s->networks[0] : NULL;
    json_t *more = NULL;
    set_text(host, "NetworkMode", first);
    bool named = is_named_network(first);
    const char *ip = own && own->ip ? own->ip : s->ip, *ip6 = own && own->ip6 ? own->ip6 : s->ip6;
    if (named || ip || ip6 || s->aliases)
        set(config, "NetworkingConfig", json_pack("{s:{s:o}}", "EndpointsConfig", first,
                                                  endpoint(s, ip, ip6, own ? own->aliases : NULL, name, named)));
    for (size_t i = own ? 1 : 0; i < s->n_networks; i++) {
        const struct spec_network *n = &s->networks[i];
        if (!more)
            more = json_array();
        json_array_append_new(more, json_pack("{s:s, s:o}", "network", n->name, "config",
                                              endpoint(s, n->ip, n->ip6, n->aliases, name, is_named_network(n->name))));
    }
    return more;
}

static void put_names(json_t *host, const struct spec *s)
{
    set_list(host, "Dns", s->dns);
    set_list(host, "DnsSearch", s->dns_search);
    set_list(host, "DnsOptions", s->dns_options);
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_hosts; i++)
        json_array_append_new(list, json_sprintf("%s:%s", s->hosts[i].name, s->hosts[i].address));
    set(host, "ExtraHosts", list);
}

/* ---- storage */

static int check_source(const struct spec_mount *m, struct berth_error *err)
{
    struct stat st;
    if (m->create_source || stat(m->source, &st) == 0)
        return 0;
    int error = errno;
    return fail_os(err, error, m->source, "mounts: the source %s", m->source);
}

static json_t *bind_mount(const char *source, const char *target, bool read_only)
{
    return json_pack("{s:s, s:s, s:s, s:b}", "Type", "bind", "Source", source, "Target", target, "ReadOnly", read_only);
}

static json_t *mount_of(const struct spec_mount *m)
{
    json_t *mount, *options = json_object();
    if (m->kind == SPEC_MOUNT_BIND) {
        mount = bind_mount(m->source, m->target, m->read_only);
        set_text(options, "Propagation", m->propagation);
        set_true(options, "NonRecursive", !m->recursive);
        set(mount, "BindOptions", options);
    } else if (m->kind == SPEC_MOUNT_VOLUME) {
        mount = json_pack("{s:s, s:s, s:b}", "Type", "volume", "Target", m->target, "ReadOnly", m->read_only);
        set_text(mount, "Source", m->source);
        set_true(options, "NoCopy", m->no_copy);
        set(mount, "VolumeOptions", options);
    } else {
        mount = json_pack("{s:s, s:s, s:b}", "Type", "tmpfs", "Target", m->target, "ReadOnly", m->read_only);
        set_number(options, "SizeBytes", m->size_bytes);
        set(options, "Mode", json_integer(m->has_mode ? m->mode : 01777));
        set(mount, "TmpfsOptions", options);
    }
    return mount;
}

/** A tmpfs whose programs may be run has no word in a mount of the API, but in its older form. */
static void put_tmpfs(json_t *host, const struct spec_mount *m)
{
    json_t *all = json_object_get(host, "Tmpfs");
    if (!all)
        set(host, "Tmpfs", all = json_object());
    autotext struct text t = {0};
    text_printf(&t, "%s,%s", m->read_only ? "ro" : "rw", m->exec ? "exec" : "noexec");
    if (m->size_bytes)
        text_printf(&t, ",size=%llu", (unsigned long long)m->size_bytes);
    text_printf(&t, ",mode=%o", m->has_mode ? m->mode : 01777);
    set_text(all, m->target, t.data);
}

static int put_storage(json_t *host, const struct spec *s, struct berth_error *err)
{
    json_t *list = json_array();
    int r = 0;
    set(host, "Mounts", list);
    for (size_t i = 0; r == 0 && i < s->n_mounts; i++) {
        const struct spec_mount *m = &s->mounts[i];
        if (m->kind == SPEC_MOUNT_TMPFS && m->has_exec)
            put_tmpfs(host, m);
        else if (m->kind != SPEC_MOUNT_BIND || (r = check_source(m, err)) == 0)
            json_array_append_new(list, mount_of(m));
    }
    for (size_t i = 0; r == 0 && i < s->n_secrets; i++) {
        const struct spec_secret *secret = &s->secrets[i];
        autofree char *target = secret->target ? strdup(secret->target) : format_text("/run/secrets/%s", secret->name);
        if (target && (r = check_source(&(struct spec_mount){.source = secret->source}, err)) == 0)
            json_array_append_new(list, bind_mount(secret->source, target, true));
    }
    set_list(host, "VolumesFrom", s->volumes_from);
    set_true(host, "ReadonlyRootfs", s->read_only);
    return r;
}

/* ---- confinement */

static int put_seccomp(json_t *options, const char *profile, struct berth_error *err)
{
    autofree char *text = NULL;
    if (!profile || !strcmp(profile, "default"))
        return 0;
    if (!strcmp(profile, "unconfined")) {
        json_array_append_new(options, json_string("seccomp=unconfined"));
        return 0;
    }
    int r = file_read(AT_FDCWD, profile, PROFILE_MAX, &text, NULL);
    if (r < 0)
        return fail_os(err, r, profile, "security.seccomp: %s", profile);
    json_array_append_new(options, json_sprintf("seccomp=%s", text));
    return 0;
}

static int put_security(json_t *host, const struct spec *s, struct berth_error *err)
{
    json_t *options = json_array(), *devices = json_array();
    set(host, "SecurityOpt", options);
    set(host, "Devices", devices);
    if (s->security.apparmor)
        json_array_append_new(options, json_sprintf("apparmor=%s", s->security.apparmor));
    if (s->security.selinux)
        json_array_append_new(options, json_sprintf("label=%s", s->security.selinux));
    if (s->security.no_new_privileges)
        json_array_append_new(options, json_string("no-new-privileges"));
    for (size_t i = 0; i < s->security.n_devices; i++) {
        const struct spec_device *d = &s->security.devices[i];
        json_array_append_new(devices, json_pack("{s:s, s:s, s:s}", "PathOnHost", d->path, "PathInContainer",
                                                 d->target ? d->target : d->path, "CgroupPermissions",
                                                 d->access ? d->access : "rwm"));
    }
    set_list(host, "DeviceCgroupRules", s->security.device_rules);
    set_list(host, "CapAdd", s->security.cap_add);
    set_list(host, "CapDrop", s->security.cap_drop);
    set_list(host, "MaskedPaths", s->security.masked_paths);
    set_list(host, "ReadonlyPaths", s->security.read_only_paths);
    set_true(host, "Privileged", s->security.privileged);
    return put_seccomp(options, s->security.seccomp, err);
}

/** Low ports and ping for any user, as dockerd gives them by itself and podman does not. */
static json_t *sysctls_of(const struct spec *s)
{
    static const char *const usual[][2] = {{"net.ipv4.ip_unprivileged_port_start", "0"}, {"net.ipv4.ping_group_range", "0 2147483647"}};
    json_t *all = pairs_of(&s->sysctls);
    const char *network = first_network(s);
    bool own = strcmp(network, "host") && !starts_with(network, "container:");
    for (size_t i = 0; i < ARRAY_SIZE(usual) && own; i++)
        if (!json_object_get(all, usual[i][0]))
            set_text(all, usual[i][0], usual[i][1]);
    return all;
}

static void put_namespaces(json_t *host, const struct spec *s)
{
    const struct { const char *name, *value, *usual; } modes[] = {
        {"PidMode", s->namespaces.pid, ""},
        {"IpcMode", s->namespaces.ipc, "private"},
        {"UTSMode", s->namespaces.uts, ""},
        {"CgroupnsMode", s->namespaces.cgroup, "private"},
        {"UsernsMode", s->namespaces.userns, ""},
    };
    for (size_t i = 0; i < ARRAY_SIZE(modes); i++)
        if (modes[i].value)
            set_text(host, modes[i].name, strcmp(modes[i].value, "private") ? modes[i].value : modes[i].usual);
    if (!s->namespaces.cgroup) /* the API's own choice depends on the machine */
        set_text(host, "CgroupnsMode", "private");
    set(host, "Sysctls", sysctls_of(s));
    if (s->has_oom_score_adj)
        set(host, "OomScoreAdj", json_integer(s->oom_score_adj));
    set_text(host, "CgroupParent", s->cgroup_parent);
    set_list(host, "GroupAdd", s->groups);
}

int create_document(const struct spec *s, const char *id, const char *name, const char *tag, json_t **ret, json_t **ret_more,
                    struct berth_error *err)
{
    json_t *config = json_object(), *host = json_object();
    if (!config || !host) {
        json_decref(config);
        json_decref(host);
        return fail_memory(err);
    }
    set(config, "HostConfig", host);
    put_program(config, s);
    put_labels(config, s, id, name, tag);
    put_resources(host, s);
    put_ulimits(host, s);
    put_restart(host, &s->restart);
    put_log(host, &s->log);
    put_ports(config, host, s);
    put_names(host, s);
    put_namespaces(host, s);
    set_true(host, "Init", s->init);
    json_t *more = put_networks(config, host, s, name);
    int r = put_storage(host, s, err);
    if (r == 0)
        r = put_security(host, s, err);
    if (r < 0) {
        json_decref(config);
        json_decref(more);
        return r;
    }
    *ret = config;
    *ret_more = more;
    return 0;
}
