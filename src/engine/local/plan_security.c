/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Security: capabilities, seccomp, devices, what of /proc and /sys is hidden; docker's defaults.
 */
#include "local/inside.h"
#include "base/file.h"
#include "linux/privilege.h"
#include "linux/syscall_filter.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PROFILE_MAX (4u << 20)
#define ANY UINT32_MAX

static int capabilities(char *const *names, const char *field, uint64_t *ret, bool *ret_all,
                        struct berth_error *err)
{
    for (size_t i = 0; names && names[i]; i++) {
        uint64_t mask = 0;
        if (capability_parse(names[i], &mask) < 0)
            return fail(err, BERTH_INVALID, field, "%s[%zu]: \"%.40s\" is not a capability", field, i,
                        names[i]);
        if (!strcasecmp(names[i], "ALL"))
            *ret_all = true;
        *ret |= mask;
    }
    return 0;
}

static int plan_capabilities(struct compile *k, struct berth_error *err)
{
    uint64_t add = 0, drop = 0, set = k->kind->caps ? k->kind->caps : capability_default();
    bool add_all = false, drop_all = false;
    int r = capabilities(k->spec->security.cap_add, "security.cap_add", &add, &add_all, err);
    if (r == 0)
        r = capabilities(k->spec->security.cap_drop, "security.cap_drop", &drop, &drop_all, err);
    if (r < 0)
        return r;
    if (k->spec->security.privileged || add_all)
        set = capability_all() & (drop_all ? 0 : ~drop);
    else
        set = ((drop_all ? 0 : set & ~drop) | add) & capability_all();
    k->plan->caps_bounding = k->plan->caps_effective = set;
    return 0;
}

/* ---- seccomp */

int seccomp_profile(const struct spec *spec, uint64_t caps, char **ret_text, char ret_key[40],
                    struct berth_error *err)
{
    const char *word = spec->security.seccomp;
    if (!word)
        word = spec->security.privileged ? "unconfined" : "default";
    *ret_text = NULL;
    if (!strcmp(word, "unconfined"))
        return 0;
    if (!strcmp(word, "default")) {
        *ret_text = strdup(seccomp_default_profile());
        if (!*ret_text)
            return fail_memory(err);
    } else {
        size_t size;
        int r = word[0] == '/' ? file_read(AT_FDCWD, word, PROFILE_MAX, ret_text, &size) : -EINVAL;
        if (r == -EINVAL)
            return fail(err, BERTH_INVALID, "security.seccomp",
                        "security.seccomp: \"%.80s\" is none of default, unconfined, an absolute path",
                        word);
        if (r < 0)
            return fail_os(err, r, word, "security.seccomp: %s", word);
    }
    seccomp_key(*ret_text, caps, ret_key);
    return 0;
}

static int plan_seccomp(struct compile *k, struct berth_error *err)
{
    char key[40];
    autofree char *text = NULL;
    int r = seccomp_profile(k->spec, k->plan->caps_bounding, &text, key, err);
    if (r < 0 || !text)
        return r;
    k->plan->seccomp = format_text("%s/cache/seccomp/%s", store_root(k->store), key);
    return k->plan->seccomp ? 0 : fail_memory(err);
}

/* ---- security modules */

static bool starts_file(const char *path, char first)
{
    char c = 0;
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, &c, 1) == 1 && c == first;
}

static int plan_modules(struct compile *k, struct berth_error *err)
{
    const char *apparmor = k->spec->security.apparmor, *selinux = k->spec->security.selinux;
    if (apparmor && strcmp(apparmor, "unconfined")) {
        if (!starts_file("/sys/module/apparmor/parameters/enabled", 'Y'))
            return fail(err, BERTH_NO_KERNEL, "security.apparmor",
                        "security.apparmor: this kernel runs without AppArmor");
        k->plan->apparmor = strdup(apparmor);
    }
    if (selinux && strcmp(selinux, "disable")) {
        if (access("/sys/fs/selinux/enforce", F_OK) < 0)
            return fail(err, BERTH_NO_KERNEL, "security.selinux",
                        "security.selinux: this kernel runs without SELinux");
        k->plan->selinux = strdup(selinux);
    }
    bool lost = (apparmor && strcmp(apparmor, "unconfined") && !k->plan->apparmor) ||
                (selinux && strcmp(selinux, "disable") && !k->plan->selinux);
    return lost ? fail_memory(err) : 0;
}

/* ---- hidden and read-only paths */

static const char *const masked[] = {
    "/proc/asound",      "/proc/acpi",        "/proc/interrupts",  "/proc/kcore",
    "/proc/keys",        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/proc/scsi",        "/sys/firmware",     "/sys/devices/virtual/powercap",
    NULL,
};
static const char *const read_only[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", NULL,
};

static int plan_paths(struct compile *k, struct berth_error *err)
{
    const struct spec *s = k->spec;
    bool none = s->security.privileged;
    static const char *const empty[] = {NULL};
    const char *const *hide = s->security.masked_paths
                                  ? (const char *const *)s->security.masked_paths
                                  : none ? empty : masked;
    const char *const *keep = s->security.read_only_paths
                                  ? (const char *const *)s->security.read_only_paths
                                  : none ? empty : read_only;
    k->plan->masked_paths = strings_copy(hide);
    k->plan->read_only_paths = strings_copy(keep);
    return k->plan->masked_paths && k->plan->read_only_paths ? 0 : fail_memory(err);
}

/* ---- devices */

static const struct { char type; uint32_t major, minor; const char *access; } usual_rules[] = {
    {'c', ANY, ANY, "m"}, {'b', ANY, ANY, "m"},  {'c', 1, 3, "rwm"},   {'c', 1, 5, "rwm"},
    {'c', 1, 7, "rwm"},   {'c', 1, 8, "rwm"},    {'c', 1, 9, "rwm"},   {'c', 5, 0, "rwm"},
    {'c', 5, 1, "rwm"},   {'c', 5, 2, "rwm"},    {'c', 136, ANY, "rwm"},
};

static int add_rule(struct plan *p, char type, uint32_t maj, uint32_t min, const char *access_text)
{
    struct plan_device d = {.type = type, .major = maj, .minor = min, .access = strdup(access_text)};
    if (d.access && plan_add_device(p, &d) == 0)
        return 0;
    free(d.access);
    return -ENOMEM;
}

static int add_node(struct plan *p, const struct stat *st, const char *target, const char *access_text)
{
    struct plan_device d = {
        .path = strdup(target), .access = strdup(access_text), .node = true,
        .type = S_ISBLK(st->st_mode) ? 'b' : 'c', .major = major(st->st_rdev),
        .minor = minor(st->st_rdev), .mode = st->st_mode & 07777, .uid = st->st_uid,
        .gid = st->st_gid,
    };
    if (d.path && d.access && plan_add_device(p, &d) == 0)
        return 0;
    free(d.path);
    free(d.access);
    return -ENOMEM;
}

#define HOST_DEPTH 6
#define HOST_NODES 4096 /* more than a machine has; a ceiling all the same */

/* Every workload has these of its own: berth makes them, or something is mounted there. */
static const char *const own_devices[] = {"pts", "shm", "mqueue", "console", "fd", "ptmx", "hugepages"};

static bool is_own(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(own_devices); i++)
        if (strcmp(own_devices[i], name) == 0)
            return true;
    return false;
}

static int add_tree(struct plan *p, int dir_fd, const char *target, int depth);

/* One entry of a folder: a device is added, a folder gone into. */
static int add_entry(struct plan *p, int dir_fd, const char *name, const char *target, int depth)
{
    struct stat st;
    autofree char *inside = format_text("%s/%s", target, name);
    if (!inside)
        return -ENOMEM;
    if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0; /* gone meanwhile */
    if (S_ISDIR(st.st_mode) && depth > 0) {
        int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 ? 0 : add_tree(p, fd, inside, depth - 1);
    }
    bool device = S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode);
    return device && p->n_devices < HOST_NODES ? add_node(p, &st, inside, "rwm") : 0;
}

/* Takes dir_fd. */
static int add_tree(struct plan *p, int dir_fd, const char *target, int depth)
{
    DIR *dir = fdopendir(dir_fd);
    const struct dirent *entry;
    int r = 0;
    if (!dir) {
        close(dir_fd);
        return -ENOMEM;
    }
    while (r == 0 && (entry = readdir(dir)))
        if (entry->d_name[0] != '.' && !(depth == HOST_DEPTH && is_own(entry->d_name)))
            r = add_entry(p, dirfd(dir), entry->d_name, target, depth);
    closedir(dir);
    return r;
}

/** docker: a folder stands for the devices in it. */
static int add_folder(struct plan *p, const char *path, const char *target, const char *access_text,
                      struct berth_error *err)
{
    DIR *dir = opendir(path);
    if (!dir)
        return fail_os(err, errno, path, "security.devices: %s", path);
    const struct dirent *entry;
    struct stat st;
    int r = 0;
    while (r == 0 && (entry = readdir(dir))) {
        autofree char *inside = format_text("%s/%s", target, entry->d_name);
        if (!inside)
            r = -ENOMEM;
        else if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                 (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)))
            r = add_node(p, &st, inside, access_text);
    }
    closedir(dir);
    return r < 0 ? fail_memory(err) : 0;
}

/** docker's privileged: all devices that the host has at its create, and the right to any other. */
static int add_host_devices(struct plan *p, struct berth_error *err)
{
    int fd = open("/dev", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_os(err, errno, "/dev", "security.privileged: /dev");
    int r = add_tree(p, fd, "/dev", HOST_DEPTH);
    return r < 0 ? fail_memory(err) : 0;
}

static int add_device(struct plan *p, const struct spec_device *d, size_t i, struct berth_error *err)
{
    struct stat st;
    const char *target = d->target ? d->target : d->path;
    const char *rights = d->access && *d->access ? d->access : "rwm";
    if (strspn(rights, "rwm") != strlen(rights) || !starts_with(target, "/dev/") ||
        strstr(target, "/.."))
        return fail(err, BERTH_INVALID, d->path,
                    "security.devices[%zu]: \"%.80s\": a target below /dev and rights of r, w, m", i,
                    d->path);
    if (stat(d->path, &st) < 0)
        return fail_os(err, errno, d->path, "security.devices[%zu]: %s", i, d->path);
    if (S_ISDIR(st.st_mode))
        return add_folder(p, d->path, target, rights, err);
    if (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode))
        return fail(err, BERTH_INVALID, d->path, "security.devices[%zu]: %s is not a device", i,
                    d->path);
    return add_node(p, &st, target, rights) < 0 ? fail_memory(err) : 0;
}

static bool parse_number(const char *s, size_t length, uint32_t *ret)
{
    char digits[12];
    if (length == 1 && *s == '*') {
        *ret = ANY;
        return true;
    }
    if (length == 0 || length > 10 || strspn(s, "0123456789") < length)
        return false;
    memcpy(digits, s, length);
    digits[length] = 0;
    *ret = (uint32_t)strtoul(digits, NULL, 10);
    return true;
}

/** "c 189:* rwm" */
static int add_device_rule(struct plan *p, const char *rule, struct berth_error *err)
{
    const char *numbers = rule[0] && rule[1] == ' ' ? rule + 2 : "";
    size_t first = strcspn(numbers, ":");
    const char *second = numbers[first] ? numbers + first + 1 : "";
    size_t second_length = strcspn(second, " ");
    const char *rights = second[second_length] ? second + second_length + 1 : "";
    uint32_t maj, min;
    if (!strchr("abc", rule[0]) || !parse_number(numbers, first, &maj) ||
        !parse_number(second, second_length, &min) || !*rights || strspn(rights, "rwm") != strlen(rights))
        return fail(err, BERTH_INVALID, "security.device_rules",
                    "security.device_rules: \"%.60s\" is not TYPE MAJOR:MINOR RIGHTS", rule);
    return add_rule(p, rule[0], maj, min, rights) < 0 ? fail_memory(err) : 0;
}

static int plan_devices(struct compile *k, struct berth_error *err)
{
    const struct spec *s = k->spec;
    for (size_t i = 0; i < ARRAY_SIZE(usual_rules); i++)
        if (add_rule(k->plan, usual_rules[i].type, usual_rules[i].major, usual_rules[i].minor,
                     usual_rules[i].access) < 0)
            return fail_memory(err);
    int r = s->security.privileged ? add_host_devices(k->plan, err) : 0;
    for (size_t i = 0; r == 0 && i < s->security.n_devices; i++)
        r = add_device(k->plan, &s->security.devices[i], i, err);
    for (size_t i = 0; r == 0 && s->security.device_rules && s->security.device_rules[i]; i++)
        r = add_device_rule(k->plan, s->security.device_rules[i], err);
    return r;
}

int plan_security(struct compile *k, struct berth_error *err)
{
    static int (*const parts[])(struct compile *k, struct berth_error *err) = {
        plan_capabilities, plan_seccomp, plan_modules, plan_paths, plan_devices,
    };
    int r = 0;
    k->plan->privileged = k->spec->security.privileged;
    k->plan->no_new_privileges = k->spec->security.no_new_privileges;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++)
        r = parts[i](k, err);
    return r;
}
