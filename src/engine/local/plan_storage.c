/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage: the root of layers, docker's own mounts, and the spec's.
 *
 * The spec's come last, parents before children; where one takes a target of ours, ours is left out.
 */
#include "local/inside.h"
#include "linux/user.h"
#include "base/file.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

struct wishes { struct plan_mount *items; size_t n; };

static void mount_clear(struct plan_mount *m)
{
    free(m->source);
    free(m->target);
    free(m->data);
    strings_free(m->layers);
}

static void wishes_clear(struct wishes *w)
{
    for (size_t i = 0; i < w->n; i++)
        mount_clear(&w->items[i]);
    free(w->items);
}

/** "/a//b/./c/" -> "/a/b/c". NULL: not absolute, or with "..". */
static char *clean_path(const char *path)
{
    struct text t = {0};
    if (path[0] != '/')
        return NULL;
    for (const char *p = path; *p;) {
        while (*p == '/')
            p++;
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            text_free(&t);
            return NULL;
        }
        if (n > 0 && !(n == 1 && p[0] == '.')) {
            text_add(&t, "/");
            text_add_bytes(&t, p, n);
        }
        p += n;
    }
    return text_take(&t);
}

/** Take a mount into the list; its strings are the list's, or freed. */
static int wish(struct wishes *w, const char *field, struct plan_mount m, const char *target,
                struct berth_error *err)
{
    m.target = clean_path(target);
    int r = 0;
    if (!m.target)
        r = fail(err, BERTH_INVALID, field, "%s: the target \"%.200s\" is not an absolute path "
                 "without \"..\"", field, target);
    else if (!m.target[0] || !strcmp(m.target, "/proc") || starts_with(m.target, "/proc/"))
        r = fail(err, BERTH_INVALID, field, "%s: nothing may be mounted at \"%s\"", field,
                 m.target[0] ? m.target : "/");
    for (size_t i = 0; r == 0 && i < w->n; i++)
        if (!strcmp(w->items[i].target, m.target))
            r = fail(err, BERTH_INVALID, field, "%s: two mounts at \"%s\"", field, m.target);
    struct plan_mount *more = r < 0 ? NULL : realloc(w->items, (w->n + 1) * sizeof(*more));
    if (!more) {
        mount_clear(&m);
        return r < 0 ? r : fail_memory(err);
    }
    w->items = more;
    more[w->n++] = m;
    return 0;
}

static bool wished(const struct wishes *w, const char *target)
{
    for (size_t i = 0; i < w->n; i++)
        if (!strcmp(w->items[i].target, target))
            return true;
    return false;
}

/* ---- the spec's mounts */

static int bind_source(const struct spec_mount *s, const char *field, const struct compile *k,
                       bool *ret_is_file, struct berth_error *err)
{
    struct stat st;
    if (!s->source || s->source[0] != '/')
        return fail(err, BERTH_INVALID, field, "%s: the source \"%.200s\" is not an absolute path",
                    field, s->source ? s->source : "");
    int failed = stat(s->source, &st) < 0 ? errno : 0;
    if (failed == ENOENT && s->create_source && !k->dry) {
        int r = make_folders(s->source, 0755);
        if (r < 0)
            return fail_os(err, r, s->source, "%s: make %s", field, s->source);
        failed = stat(s->source, &st) < 0 ? errno : 0;
    }
    if (failed == ENOENT && s->create_source)
        return 0;
    if (failed == ENOENT)
        return fail(err, BERTH_NOT_FOUND, s->source, "%s: the source %s does not exist", field,
                    s->source);
    if (failed == ELOOP)
        return fail(err, BERTH_INVALID, s->source, "%s: the source %s is a loop of links", field,
                    s->source);
    if (failed)
        return fail_os(err, failed, s->source, "%s: the source %s", field, s->source);
    if (S_ISFIFO(st.st_mode))
        return fail(err, BERTH_INVALID, s->source,
                    "%s: the source %s is a fifo, neither a file nor a folder", field, s->source);
    *ret_is_file = !S_ISDIR(st.st_mode);
    return 0;
}

static int propagation(const char *word, const char *field, uint64_t *ret, struct berth_error *err)
{
    static const struct { const char *word; uint64_t flags; } words[] = {
        {"private", MS_PRIVATE}, {"rprivate", MS_PRIVATE | MS_REC}, {"slave", MS_SLAVE},
        {"rslave", MS_SLAVE | MS_REC}, {"shared", MS_SHARED}, {"rshared", MS_SHARED | MS_REC},
    };
    for (size_t i = 0; word && i < ARRAY_SIZE(words); i++)
        if (!strcmp(words[i].word, word)) {
            *ret = words[i].flags;
            return 0;
        }
    return word ? fail(err, BERTH_INVALID, field, "%s: the propagation \"%.40s\" is none", field, word)
                : 0;
}

static int wish_bind(struct compile *k, struct wishes *w, const struct spec_mount *s,
                     const char *field, struct berth_error *err)
{
    struct plan_mount m = {.kind = PLAN_MOUNT_BIND};
    int r = bind_source(s, field, k, &m.is_file, err);
    if (r < 0 || (r = propagation(s->propagation, field, &m.propagation, err)) < 0)
        return r;
    m.flags = (s->read_only ? MS_RDONLY : 0) | (s->recursive ? MS_REC : 0);
    if (!(m.source = strdup(s->source)))
        return fail_memory(err);
    return wish(w, field, m, s->target, err);
}

static void anonymous_name(const char *id, const char *target, char ret[BERTH_ID_TEXT])
{
    uint64_t a = 0xcbf29ce484222325u, b = 0x84222325cbf29ce4u;
    const char *const parts[] = {id, "\n", target};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        for (const char *p = parts[i]; *p; p++) {
            a = (a ^ (uint8_t)*p) * 0x100000001b3u;
            b = (b ^ (uint8_t)*p ^ a >> 57) * 0x100000001b3u;
        }
    snprintf(ret, BERTH_ID_TEXT, "%016llx%016llx", (unsigned long long)a, (unsigned long long)b);
}

static int wish_volume(struct compile *k, struct wishes *w, const char *name, const char *target,
                       bool read_only, bool fill, const char *field, struct berth_error *err)
{
    char anonymous[BERTH_ID_TEXT];
    autofree char *clean = clean_path(target);
    struct plan_mount m = {.kind = PLAN_MOUNT_VOLUME, .fill = fill && !k->kind->on_host, .flags = read_only ? MS_RDONLY : 0};
    if (!name && clean) {
        anonymous_name(k->id, clean, anonymous);
        name = anonymous;
    }
    int r = name ? name_check("volume", name, err) : 0;
    if (r < 0)
        return fail_context(err, "%s", field);
    m.source = format_text("%s/volumes/%s/data", store_root(k->store), name ? name : "-");
    return m.source ? wish(w, field, m, target, err) : fail_memory(err);
}

static int wish_tmpfs(struct wishes *w, const struct spec_mount *s, const char *field,
                      struct berth_error *err)
{
    struct plan_mount m = {.kind = PLAN_MOUNT_TMPFS, .flags = MS_NOSUID | MS_NODEV};
    char size[40] = "";
    if (!(s->has_exec && s->exec))
        m.flags |= MS_NOEXEC;
    if (s->read_only)
        m.flags |= MS_RDONLY;
    if (s->size_bytes)
        snprintf(size, sizeof(size), "size=%llu,", (unsigned long long)s->size_bytes);
    m.data = format_text("%smode=%o", size, s->has_mode ? s->mode : 01777u);
    return m.data ? wish(w, field, m, s->target, err) : fail_memory(err);
}

static int wish_image(struct compile *k, struct wishes *w, const char *reference, const char *target,
                      const char *field, struct berth_error *err)
{
    struct image **more = realloc(k->others, (k->n_others + 1) * sizeof(struct image *));
    if (!more)
        return fail_memory(err);
    k->others = more;
    int r = image_find(k->store, &k->settings->images, reference, &more[k->n_others], err);
    if (r < 0)
        return fail_context(err, "%s", field);
    const struct image *image = more[k->n_others++];
    struct plan_mount m = {.kind = PLAN_MOUNT_OVERLAY, .flags = MS_RDONLY};
    m.source = strdup(image->id);
    m.layers = strings_copy((const char *const *)image->layers);
    if (!m.source || !m.layers) {
        mount_clear(&m);
        return fail_memory(err);
    }
    return wish(w, field, m, target, err);
}

static int wish_spec_mounts(struct compile *k, struct wishes *w, struct berth_error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < k->spec->n_mounts; i++) {
        const struct spec_mount *s = &k->spec->mounts[i];
        char field[40];
        snprintf(field, sizeof(field), "mounts[%zu]", i);
        switch (s->kind) {
        case SPEC_MOUNT_BIND: r = wish_bind(k, w, s, field, err); break;
        case SPEC_MOUNT_TMPFS: r = wish_tmpfs(w, s, field, err); break;
        case SPEC_MOUNT_IMAGE: r = wish_image(k, w, s->source, s->target, field, err); break;
        default: r = wish_volume(k, w, s->source, s->target, s->read_only, !s->no_copy, field, err);
        }
    }
    for (size_t i = 0; r == 0 && i < k->spec->wasm.n_preopens; i++) {
        const struct spec_preopen *p = &k->spec->wasm.preopens[i];
        const struct spec_mount s = {.kind = SPEC_MOUNT_BIND, .source = p->source, .target = p->target,
                                     .read_only = p->read_only, .recursive = true};
        char field[40];
        snprintf(field, sizeof(field), "wasm.preopens[%zu]", i);
        r = wish_bind(k, w, &s, field, err);
    }
    for (size_t i = 0; r == 0 && i < k->spec->n_image_volumes; i++)
        r = wish_image(k, w, k->spec->image_volumes[i].image, k->spec->image_volumes[i].target,
                       "image_volumes", err);
    return r;
}

/* ---- from elsewhere: other workloads, the image */

static int copy_mount(struct wishes *w, const struct plan_mount *m, bool read_only,
                      struct berth_error *err)
{
    struct plan_mount copy = {.kind = m->kind, .flags = m->flags, .propagation = m->propagation,
                              .is_file = m->is_file};
    if (wished(w, m->target))
        return 0;
    if (read_only)
        copy.flags |= MS_RDONLY;
    copy.source = strdup(m->source);
    return copy.source ? wish(w, "volumes_from", copy, m->target, err) : fail_memory(err);
}

static int wish_from(struct compile *k, struct wishes *w, const char *from, struct berth_error *err)
{
    const char *colon = strchr(from, ':');
    bool read_only = colon && !strcmp(colon, ":ro");
    char id[BERTH_ID_TEXT];
    autofree char *name = strndup(from, colon ? (size_t)(colon - from) : strlen(from));
    if (!name)
        return fail_memory(err);
    if (colon && !read_only && strcmp(colon, ":rw"))
        return fail(err, BERTH_INVALID, "volumes_from", "volumes_from: \"%.80s\": ro or rw", from);
    int r = store_find(k->store, name, id, err);
    if (r < 0)
        return fail_context(err, "volumes_from");
    autoworkload other = NULL;
    autoclean(cleanup_plan) struct plan *plan = NULL;
    if ((r = local_workload(k->store, id, &other, err)) < 0 || (r = document_plan(other, &plan, err)) < 0)
        return fail_context(err, "volumes_from %s", name);
    for (size_t i = 0; r == 0 && i < plan->n_mounts; i++) {
        const struct plan_mount *m = &plan->mounts[i];
        bool own = m->source && starts_with(m->source, workload_path(other));
        if (m->kind == PLAN_MOUNT_VOLUME || (m->kind == PLAN_MOUNT_BIND && !own))
            r = copy_mount(w, m, read_only, err);
    }
    return r;
}

static int wish_elsewhere(struct compile *k, struct wishes *w, struct berth_error *err)
{
    char *const *from = k->spec->volumes_from, *const *volumes = k->image->config.volumes;
    int r = 0;
    for (size_t i = 0; r == 0 && from && from[i]; i++)
        r = wish_from(k, w, from[i], err);
    for (size_t i = 0; r == 0 && volumes && volumes[i]; i++) {
        autofree char *clean = clean_path(volumes[i]);
        if (!clean || !wished(w, clean))
            r = wish_volume(k, w, NULL, volumes[i], false, true, "the image's volumes", err);
    }
    return r;
}

static int wish_secrets(struct compile *k, struct wishes *w, struct berth_error *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < k->spec->n_secrets; i++) {
        const struct spec_secret *s = &k->spec->secrets[i];
        struct plan_mount m = {.kind = PLAN_MOUNT_BIND, .is_file = true,
                               .flags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC};
        if ((r = name_check("secret", s->name, err)) < 0)
            return r;
        if (access(s->source, R_OK) < 0)
            return fail_os(err, errno, s->source, "secrets[%zu]: %s", i, s->source);
        autofree char *usual = format_text("/run/secrets/%s", s->name);
        m.source = format_text("%s/secrets/%s", k->dir, s->name);
        if (!usual || !m.source) {
            mount_clear(&m);
            return fail_memory(err);
        }
        r = wish(w, "secrets", m, s->target ? s->target : usual, err);
    }
    return r;
}

/* ---- docker's own */

static const struct own_mount {
    int kind;
    const char *target, *source, *data;
    uint64_t flags;
} own_mounts[] = {
    {PLAN_MOUNT_PROC, "/proc", NULL, NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
    {PLAN_MOUNT_DEV, "/dev", NULL, "mode=755,size=65536k", MS_NOSUID},
    {PLAN_MOUNT_DEVPTS, "/dev/pts", NULL, "newinstance,ptmxmode=0666,mode=0620,gid=5",
     MS_NOSUID | MS_NOEXEC},
    {PLAN_MOUNT_SHM, "/dev/shm", NULL, NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
    {PLAN_MOUNT_MQUEUE, "/dev/mqueue", NULL, NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
    {PLAN_MOUNT_SYSFS, "/sys", NULL, NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY},
    {PLAN_MOUNT_CGROUP, "/sys/fs/cgroup", NULL, NULL,
     MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY},
    {PLAN_MOUNT_BIND, "/etc/hosts", "hosts", NULL, 0},
    {PLAN_MOUNT_BIND, "/etc/hostname", "hostname", NULL, 0},
    {PLAN_MOUNT_BIND, "/etc/resolv.conf", "resolv.conf", NULL, 0},
};

/** With the host's ipc namespace, /dev/shm and /dev/mqueue are the host's too. */
static void host_ipc(struct plan_mount *m, const char *target)
{
    m->kind = PLAN_MOUNT_BIND;
    m->source = strdup(target);
    m->optional = true;
}

static int add_own(struct compile *k, const struct own_mount *o, struct berth_error *err)
{
    struct plan_mount m = {.kind = o->kind, .flags = o->flags};
    bool ipc = o->kind == PLAN_MOUNT_SHM || o->kind == PLAN_MOUNT_MQUEUE;
    const char *ipc_word = k->spec->namespaces.ipc;
    if (o->kind == PLAN_MOUNT_SHM && ipc_word && !strcmp(ipc_word, "none"))
        return 0;
    if (k->spec->security.privileged &&
        (o->kind == PLAN_MOUNT_SYSFS || o->kind == PLAN_MOUNT_CGROUP))
        m.flags &= ~(uint64_t)MS_RDONLY;
    if (ipc && k->plan->namespaces[PLAN_NS_IPC].mode == PLAN_NS_HOST)
        host_ipc(&m, o->target);
    else if (o->kind == PLAN_MOUNT_SHM)
        m.data = format_text("mode=1777,size=%llu", (unsigned long long)
                             (k->spec->resources.shm_size ? k->spec->resources.shm_size : 64u << 20));
    else if (o->data)
        m.data = strdup(o->data);
    if (o->source) {
        m.source = format_text("%s/%s", k->dir, o->source);
        m.is_file = true;
    }
    m.target = strdup(o->target);
    if (!m.target || (o->source && !m.source) || plan_add_mount(k->plan, &m) < 0) {
        mount_clear(&m);
        return fail_memory(err);
    }
    return 0;
}

static int by_target(const void *a, const void *b)
{
    return strcmp(((const struct plan_mount *)a)->target, ((const struct plan_mount *)b)->target);
}

static int add_wishes(struct plan *plan, struct wishes *w, struct berth_error *err)
{
    if (w->n > 0)
        qsort(w->items, w->n, sizeof(*w->items), by_target);
    for (size_t i = 0; i < w->n; i++) {
        if (plan_add_mount(plan, &w->items[i]) < 0)
            return fail_memory(err);
        w->items[i] = (struct plan_mount){0};
    }
    return 0;
}

static int plan_root(struct compile *k, struct berth_error *err)
{
    struct plan *p = k->plan;
    p->root.read_only = k->spec->read_only;
    p->root.host = k->kind->on_host;
    if (p->root.host)
        return 0;
    p->root.layers = strings_copy((const char *const *)k->image->layers);
    p->root.upper = format_text("%s/fs/upper", k->dir);
    p->root.work = format_text("%s/fs/work", k->dir);
    return p->root.layers && p->root.upper && p->root.work ? 0 : fail_memory(err);
}

int plan_storage(struct compile *k, struct berth_error *err)
{
    __attribute__((cleanup(wishes_clear))) struct wishes w = {0};
    int r = plan_root(k, err);
    if (r < 0 || (r = wish_spec_mounts(k, &w, err)) < 0 || (r = wish_secrets(k, &w, err)) < 0 ||
        (r = wish_elsewhere(k, &w, err)) < 0)
        return r;
    for (size_t i = 0; !k->kind->bare && i < ARRAY_SIZE(own_mounts); i++) {
        const struct own_mount *o = &own_mounts[i];
        bool hosts_own = o->source && k->kind->on_host; /* its /etc is there */
        if (!hosts_own && !wished(&w, o->target) && (r = add_own(k, o, err)) < 0)
            return r;
    }
    return add_wishes(k->plan, &w, err);
}

/* ---- volumes, once the workload is there */

static bool volume_name(const struct store *store, const struct plan_mount *m, char *ret, size_t room)
{
    size_t prefix = strlen(store_root(store)) + strlen("/volumes/");
    if (m->kind != PLAN_MOUNT_VOLUME || !m->source || strlen(m->source) <= prefix)
        return false;
    size_t n = strcspn(m->source + prefix, "/");
    if (n >= room)
        return false;
    memcpy(ret, m->source + prefix, n);
    ret[n] = 0;
    return true;
}

static bool uses(struct store *store, const char *name, const char *id)
{
    autostrings char **users = NULL;
    if (volume_users(store, name, &users, NULL) < 0)
        return false;
    for (size_t i = 0; users && users[i]; i++)
        if (!strcmp(users[i], id))
            return true;
    return false;
}

int plan_volumes_make(struct store *store, const struct plan *plan, const char *id,
                      struct berth_error *err)
{
    char name[BERTH_NAME_MAX + 8], anonymous[BERTH_ID_TEXT];
    for (size_t i = 0; i < plan->n_mounts; i++) {
        const struct plan_mount *m = &plan->mounts[i];
        if (!volume_name(store, m, name, sizeof(name)))
            continue;
        anonymous_name(id, m->target, anonymous);
        int r = volume_create(store, name, !strcmp(name, anonymous), NULL, NULL, err);
        if (r == 0 && !uses(store, name, id))
            r = volume_use(store, name, id, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- files of the workload's folder */

/* A running workload has the file itself mounted, not its name: over the old text, then what is too long goes. */
static int put_in_place(int folder_fd, const char *name, const struct text *t)
{
    autoclose int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    int r = fd < 0 ? -errno : fd_write_all(fd, t->data ? t->data : "", t->length);
    return r == 0 && ftruncate(fd, (off_t)t->length) < 0 ? -errno : r;
}

static int put(const struct compile *k, int folder_fd, const char *name, struct text *t, struct berth_error *err)
{
    if (t->failed)
        return fail_memory(err);
    int r = k->mounted ? put_in_place(folder_fd, name, t)
                       : file_write(folder_fd, name, t->data ? t->data : "", t->length, 0644, 0);
    if (r == 0 && fchmodat(folder_fd, name, 0644, 0) < 0)
        r = -errno;
    return r < 0 ? fail_os(err, r, name, "write %s", name) : 0;
}

static bool one_word(const char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= ' ' || s[i] == 127)
            return false;
    return n > 0;
}

/** One of the files of the workload whose network this one joins. */
static int joined_file(const struct compile *k, const char *name, struct text *t)
{
    autofree char *path = format_text("%s/workloads/%s/%s", store_root(k->store), k->plan->namespaces[PLAN_NS_NET].id, name);
    autofree char *data = NULL;
    size_t size = 0;
    int r = path ? file_read(AT_FDCWD, path, 1 << 20, &data, &size) : -ENOMEM;
    if (r == 0)
        text_add_bytes(t, data, size);
    return r;
}

static void own_name(const struct compile *k, struct text *t)
{
    const struct plan *p = k->plan;
    bool bridged = false;
    for (size_t i = 0; i < 2 * p->n_links; i++) {
        const char *address = i % 2 ? p->links[i / 2].address : p->links[i / 2].address6;
        if (!address)
            continue;
        bridged = true;
        text_printf(t, "%.*s\t%s%s%s\n", (int)strcspn(address, "/"), address, p->hostname,
                    strcmp(p->hostname, k->name) ? " " : "", strcmp(p->hostname, k->name) ? k->name : "");
    }
    if (!bridged)
        text_printf(t, "127.0.0.1\t%s\n", p->hostname);
}

static void host_gateway(const struct compile *k, char ret[64])
{
    const char *gateway = k->plan->n_links && k->plan->links[0].gateway ? k->plan->links[0].gateway : "127.0.0.1";
    snprintf(ret, 64, "%.*s", (int)strcspn(gateway, "/"), gateway);
}

static int write_hosts(const struct compile *k, int folder_fd, struct berth_error *err)
{
    autotext struct text t = {0};
    autofree char *host = NULL;
    char gateway[64];
    size_t size = 0;
    enum network_mode mode = spec_network_mode(k->spec);
    if (mode == NETWORK_HOST && file_read(AT_FDCWD, "/etc/hosts", 1 << 20, &host, &size) == 0)
        text_add_bytes(&t, host, size);
    else if (mode != NETWORK_JOINED || joined_file(k, "hosts", &t) < 0)
        text_add(&t, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
                     "fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\n"
                     "ff02::2\tip6-allrouters\n");
    if (mode != NETWORK_HOST || !host)
        own_name(k, &t);
    host_gateway(k, gateway);
    for (size_t i = 0; i < k->spec->n_hosts; i++) {
        const struct spec_host *h = &k->spec->hosts[i];
        if (!one_word(h->name) || !one_word(h->address))
            return fail(err, BERTH_INVALID, "hosts", "hosts[%zu]: a name and an address, no blanks", i);
        text_printf(&t, "%s\t%s\n", strcmp(h->address, "host-gateway") ? h->address : gateway, h->name);
    }
    return put(k, folder_fd, "hosts", &t, err);
}

static const char *host_resolver(void)
{
    autofree char *text = NULL;
    size_t size;
    if (file_read(AT_FDCWD, "/etc/resolv.conf", 1 << 20, &text, &size) == 0 &&
        strstr(text, "127.0.0.53") && access("/run/systemd/resolve/resolv.conf", R_OK) == 0)
        return "/run/systemd/resolve/resolv.conf";
    return "/etc/resolv.conf";
}

static int add_words(struct text *t, const char *first, char *const *words, const char *field,
                     bool one_line, struct berth_error *err)
{
    for (size_t i = 0; words && words[i]; i++) {
        if (!one_word(words[i]))
            return fail(err, BERTH_INVALID, field, "%s[%zu]: \"%.80s\" is not one word", field, i,
                        words[i]);
        text_printf(t, "%s%s", !one_line || i == 0 ? first : " ", words[i]);
        if (!one_line || !words[i + 1])
            text_add(t, "\n");
    }
    return 0;
}

int plan_nameservers(const struct compile *k, char ***ret, struct berth_error *err)
{
    autofree char *host = NULL;
    size_t size;
    int r = 0;
    for (size_t i = 0; i < k->plan->n_links && i < 2 && r == 0; i++) {
        const char *gateway = k->plan->links[i].gateway ? k->plan->links[i].gateway : "";
        autofree char *address = strndup(gateway, strcspn(gateway, "/"));
        r = address && *address ? strings_add(ret, address) : 0;
    }
    for (size_t i = 0; !k->plan->n_links && r == 0 && k->spec->dns && k->spec->dns[i]; i++)
        r = strings_add(ret, k->spec->dns[i]);
    if (r == 0 && !*ret && file_read(AT_FDCWD, host_resolver(), 1 << 20, &host, &size) == 0) {
        char *rest = host, *line;
        while (r == 0 && (line = strsep(&rest, "\n"))) {
            const char *address = starts_with(line, "nameserver") ? line + strlen("nameserver") : "";
            address += strspn(address, " \t");
            autofree char *word = strndup(address, strcspn(address, " \t#;"));
            r = word && *word ? strings_add(ret, word) : 0;
        }
    }
    return r < 0 ? fail_memory(err) : 0;
}

/** The host's lines, but those that the spec replaces. */
static void copy_resolver(const struct compile *k, struct text *t)
{
    autofree char *host = NULL;
    size_t size;
    if (file_read(AT_FDCWD, host_resolver(), 1 << 20, &host, &size) < 0)
        return;
    char *rest = host, *line;
    while ((line = strsep(&rest, "\n"))) {
        bool bridged = k->plan->n_links > 0;
        bool replaced = (starts_with(line, "nameserver") && (k->spec->dns || bridged)) ||
                        ((starts_with(line, "search") || starts_with(line, "domain")) &&
                         k->spec->dns_search) ||
                        (starts_with(line, "options") && (k->spec->dns_options || bridged));
        if (!replaced && *line && *line != '#' && *line != ';')
            text_printf(t, "%s\n", line);
    }
}

/** On bridges names are asked of the gateway: berth-dns is there (model/names.h). */
static void gateways(const struct compile *k, struct text *t)
{
    for (size_t i = 0; i < k->plan->n_links && i < 2; i++) {
        const char *const each[] = {k->plan->links[i].gateway, k->plan->links[i].gateway6};
        for (size_t n = 0; n < ARRAY_SIZE(each); n++)
            if (each[n])
                text_printf(t, "nameserver %.*s\n", (int)strcspn(each[n], "/"), each[n]);
    }
}

static int write_resolver(const struct compile *k, int folder_fd, struct berth_error *err)
{
    autotext struct text t = {0};
    bool bridged = k->plan->n_links > 0;
    if (spec_network_mode(k->spec) == NETWORK_JOINED && joined_file(k, "resolv.conf", &t) == 0)
        return put(k, folder_fd, "resolv.conf", &t, err);
    if (bridged)
        gateways(k, &t);
    copy_resolver(k, &t);
    int r = bridged ? 0 : add_words(&t, "nameserver ", k->spec->dns, "dns", false, err);
    if (r == 0)
        r = add_words(&t, "search ", k->spec->dns_search, "dns_search", true, err);
    if (r == 0)
        r = add_words(&t, bridged ? "options ndots:0 " : "options ", k->spec->dns_options, "dns_options", true, err);
    if (r == 0 && bridged && !k->spec->dns_options)
        text_add(&t, "options ndots:0\n");
    return r < 0 ? r : put(k, folder_fd, "resolv.conf", &t, err);
}

#define SECRET_MAX (1u << 20)

/** "uid" or "uid:gid"; names can't be looked up: the image may not even be mounted. */
/** The image's highest layer with an /etc/passwd; -1 when none has one. The caller's. */
static int passwd_layer(const struct compile *k)
{
    for (size_t i = strings_count(k->image->layers); i-- > 0;) {
        autoclose int fd = open(k->image->layers[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && faccessat(fd, "etc/passwd", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return take_fd(&fd);
    }
    return -1;
}

/** Numbers as they are, names as the image's own files have them; without a user, the program's. */
static int secret_owner(const struct compile *k, const struct spec_secret *s, uid_t *ret_uid,
                        gid_t *ret_gid, struct berth_error *err)
{
    struct user_identity who = {0};
    const char *user = s->user ? s->user : k->plan->user;
    bool numbers = !user || user[strspn(user, "0123456789:")] == 0;
    autoclose int root_fd = passwd_layer(k);
    int r = 0;
    if (root_fd >= 0)
        r = user_lookup(root_fd, user, NULL, &who, err);
    else if (!numbers || (user && sscanf(user, "%u:%u", &who.uid, &who.gid) < 1 && *user))
        r = fail(err, BERTH_NOT_FOUND, user, "no user \"%.40s\": the image has no /etc/passwd", user);
    if (r < 0)
        return fail_context(err, "secrets.%s", s->name);
    *ret_uid = who.uid;
    *ret_gid = who.gid;
    return 0;
}

static int write_secret(const struct compile *k, const struct spec_secret *s, int secrets_fd,
                        struct berth_error *err)
{
    autofree char *data = NULL;
    size_t size;
    uid_t uid = 0;
    gid_t gid = 0;
    int r = secret_owner(k, s, &uid, &gid, err);
    if (r < 0)
        return r;
    r = file_read(AT_FDCWD, s->source, SECRET_MAX, &data, &size);
    if (r == 0)
        r = file_write(secrets_fd, s->name, data, size, 0400, 0);
    if (data)
        explicit_bzero(data, size);
    if (r == 0 && fchownat(secrets_fd, s->name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
        r = -errno;
    if (r == 0 && fchmodat(secrets_fd, s->name, s->mode ? s->mode & 0777 : 0400, 0) < 0)
        r = -errno;
    return r < 0 ? fail_os(err, r, s->source, "secret %s: %s", s->name, s->source) : 0;
}

static int write_secrets(const struct compile *k, int folder_fd, struct berth_error *err)
{
    if (!k->spec->n_secrets)
        return 0;
    autoclose int fd = folder_open(folder_fd, "secrets", true, 0700);
    if (fd < 0)
        return fail_os(err, fd, NULL, "make the folder for secrets");
    int r = 0;
    for (size_t i = 0; r == 0 && i < k->spec->n_secrets; i++)
        r = write_secret(k, &k->spec->secrets[i], fd, err);
    return r;
}

int plan_files(const struct compile *k, int folder_fd, struct berth_error *err)
{
    autotext struct text hostname = {0};
    static const char *const folders[] = {"fs", "fs/upper", "fs/work"};
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        if (mkdirat(folder_fd, folders[i], i == 1 ? 0755 : 0700) < 0 && errno != EEXIST)
            return fail_os(err, errno, folders[i], "make the folder %s", folders[i]);
    if (fchmodat(folder_fd, "fs/upper", 0755, 0) < 0)
        return fail_os(err, errno, NULL, "fs/upper");
    text_printf(&hostname, "%s\n", k->plan->hostname);
    int r = put(k, folder_fd, "hostname", &hostname, err);
    if (r == 0)
        r = write_hosts(k, folder_fd, err);
    if (r == 0)
        r = write_resolver(k, folder_fd, err);
    return r < 0 ? r : write_secrets(k, folder_fd, err);
}

static bool same_links(const struct plan *a, const struct plan *b)
{
    bool same = a->n_links == b->n_links;
    for (size_t i = 0; same && i < a->n_links; i++) {
        const struct plan_link *x = &a->links[i], *y = &b->links[i];
        same = !strcmp(x->network, y->network) && !strcmp(x->address, y->address) &&
               !strcmp(x->address6 ? x->address6 : "", y->address6 ? y->address6 : "");
    }
    return same;
}

int plan_files_changed(struct compile *k, const struct plan *before, struct plan *now, int folder_fd, struct berth_error *err)
{
    if (same_links(before, now))
        return 0;
    k->plan = now;
    int r = write_hosts(k, folder_fd, err);
    if (r == 0)
        r = write_resolver(k, folder_fd, err);
    k->plan = NULL;
    return r;
}
