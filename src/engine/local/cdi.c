/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices by CDI name (vendor.com/class=name): what their makers say a container needs.
 *
 * Specification files in /etc/cdi and /var/run/cdi, as JSON; the same in YAML is not read, and a
 * device that only YAML may describe is said to be so. Of the edits: device nodes, mounts, env.
 */
#include "local/inside.h"
#include "base/file.h"
#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define CDI_MAX_BYTES (4u << 20)

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static int edit_env(struct plan *p, const json_t *edits)
{
    const json_t *env = json_object_get(edits, "env");
    for (size_t i = 0; i < json_array_size(env); i++) {
        const char *entry = json_string_value(json_array_get(env, i));
        if (entry && strchr(entry, '=') && strings_add(&p->env, entry) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int edit_mounts(struct plan *p, const json_t *edits)
{
    const json_t *mounts = json_object_get(edits, "mounts");
    for (size_t i = 0; i < json_array_size(mounts); i++) {
        const json_t *m = json_array_get(mounts, i), *options = json_object_get(m, "options");
        const char *from = text_of(m, "hostPath"), *to = text_of(m, "containerPath");
        struct plan_mount mount = {.kind = PLAN_MOUNT_BIND, .flags = MS_NOSUID | MS_NODEV};
        struct stat st;
        if (!from || !to || *from != '/' || *to != '/')
            continue;
        for (size_t n = 0; n < json_array_size(options); n++) {
            const char *word = json_string_value(json_array_get(options, n));
            mount.flags |= word && !strcmp(word, "ro") ? MS_RDONLY : 0;
            mount.flags |= word && !strcmp(word, "rbind") ? MS_REC : 0;
        }
        mount.is_file = stat(from, &st) == 0 && !S_ISDIR(st.st_mode);
        mount.source = strdup(from);
        mount.target = strdup(to);
        if (!mount.source || !mount.target || plan_add_mount(p, &mount) < 0) {
            free(mount.source);
            free(mount.target);
            return -ENOMEM;
        }
    }
    return 0;
}

static int edit_nodes(struct plan *p, const json_t *edits, const char *name, struct berth_error *err)
{
    const json_t *nodes = json_object_get(edits, "deviceNodes");
    for (size_t i = 0; i < json_array_size(nodes); i++) {
        const json_t *n = json_array_get(nodes, i);
        const char *path = text_of(n, "path"), *host = text_of(n, "hostPath");
        const char *rights = text_of(n, "permissions");
        struct stat st;
        if (!path || !starts_with(path, "/dev/"))
            return fail(err, BERTH_CORRUPT, name, "resources.devices: %s: a node without a path", name);
        if (stat(host ? host : path, &st) < 0)
            return fail_os(err, errno, host ? host : path, "resources.devices: %s: %s", name,
                           host ? host : path);
        struct plan_device d = {
            .path = strdup(path), .access = strdup(rights ? rights : "rwm"), .node = true,
            .type = S_ISBLK(st.st_mode) ? 'b' : 'c', .major = major(st.st_rdev),
            .minor = minor(st.st_rdev), .mode = st.st_mode & 07777, .uid = st.st_uid,
            .gid = st.st_gid,
        };
        if (!d.path || !d.access || plan_add_device(p, &d) < 0) {
            free(d.path);
            free(d.access);
            return fail_memory(err);
        }
    }
    return 0;
}

static int apply_edits(struct plan *p, const json_t *edits, const char *name, struct berth_error *err)
{
    if (!edits)
        return 0;
    int r = edit_nodes(p, edits, name, err);
    if (r < 0)
        return r;
    return edit_env(p, edits) < 0 || edit_mounts(p, edits) < 0 ? fail_memory(err) : 0;
}

/** 1: this file describes the device and it was applied. */
static int apply_file(struct plan *p, const json_t *file, const char *kind, const char *device,
                      const char *name, struct berth_error *err)
{
    const char *its_kind = text_of(file, "kind");
    const json_t *devices = json_object_get(file, "devices");
    if (!its_kind || strcmp(its_kind, kind))
        return 0;
    for (size_t i = 0; i < json_array_size(devices); i++) {
        const json_t *d = json_array_get(devices, i);
        const char *its_name = text_of(d, "name");
        if (!its_name || strcmp(its_name, device))
            continue;
        int r = apply_edits(p, json_object_get(file, "containerEdits"), name, err);
        if (r == 0)
            r = apply_edits(p, json_object_get(d, "containerEdits"), name, err);
        return r < 0 ? r : 1;
    }
    return 0;
}

static int search_folder(struct plan *p, const char *folder, const char *kind, const char *device,
                         const char *name, bool *ret_yaml, struct berth_error *err)
{
    DIR *dir = opendir(folder);
    int r = 0;
    const struct dirent *entry;
    while (dir && r == 0 && (entry = readdir(dir))) {
        autofree char *text = NULL;
        size_t size;
        *ret_yaml |= ends_with(entry->d_name, ".yaml") || ends_with(entry->d_name, ".yml");
        if (!ends_with(entry->d_name, ".json") ||
            file_read(dirfd(dir), entry->d_name, CDI_MAX_BYTES, &text, &size) < 0)
            continue;
        json_t *file = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
        r = apply_file(p, file, kind, device, name, err);
        json_decref(file);
    }
    if (dir)
        closedir(dir);
    return r;
}

static int plan_cdi_one(struct compile *k, const char *name, struct berth_error *err)
{
    static const char *const folders[] = {"/etc/cdi", "/var/run/cdi"};
    const char *equals = strchr(name, '=');
    bool yaml = false;
    if (!equals || !strchr(name, '/') || strchr(name, '/') > equals)
        return fail(err, BERTH_INVALID, name,
                    "resources.devices: \"%.80s\" is not VENDOR/CLASS=NAME", name);
    autofree char *kind = strndup(name, (size_t)(equals - name));
    if (!kind)
        return fail_memory(err);
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        int r = search_folder(k->plan, folders[i], kind, equals + 1, name, &yaml, err);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    return fail(err, BERTH_NOT_FOUND, name,
                "resources.devices: no JSON file in /etc/cdi or /var/run/cdi describes \"%.80s\"%s",
                name, yaml ? " (YAML files are there, but only JSON is read)" : "");
}

int plan_cdi(struct compile *k, struct berth_error *err)
{
    char *const *names = k->spec->resources.devices_cdi;
    int r = 0;
    for (size_t i = 0; r == 0 && names && names[i]; i++)
        r = plan_cdi_one(k, names[i], err);
    return r;
}
