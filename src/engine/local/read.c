/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is read by whoever asks: status, stats, lists. Files and groups, never the supervisor.
 */
#include "local/inside.h"
#include "base/file.h"
#include "engine/report.h"
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>

#define FACTS_MAX (1u << 20)

/* ---- status */

static void add_probes(struct text *t, const struct status *s)
{
    text_printf(t, ",\"supervisor_pid\":%d,\"ready\":%s,\"wanted\":%s,\"health_log\":[",
                MAX(s->supervisor_pid, 0), s->ready ? "true" : "false", s->wanted ? "true" : "false");
    for (size_t i = 0; i < s->n_health_log && i < STATUS_HEALTH_LOG; i++) {
        const struct status_probe *p = &s->health_log[i];
        text_printf(t, "%s{\"exit_code\":%d", i ? "," : "", p->exit_code);
        report_time(t, "started", p->start_usec);
        report_time(t, "ended", p->end_usec);
        text_add(t, ",\"output\":");
        report_string(t, p->output);
        text_add(t, "}");
    }
    text_add(t, "]");
}

static char *status_json(struct workload *w, const struct berth_status *b, const struct status *s)
{
    struct text t = {0};
    char buffer[4096];
    text_add(&t, "{");
    report_status(&t, b);
    text_printf(&t, ",\"idle\":%s", b->idle ? "true" : "false");
    add_probes(&t, s);
    report_addresses(&t, w, b->pid != 0 && b->state != BERTH_RESTARTING);
    if (s->start_error)
        text_printf(&t, ",\"start_error\":\"%s\"", berth_code_name(s->start_error));
    autoclose int fd = RETRY(openat(workload_fd(w), FACTS_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    ssize_t n = fd < 0 ? -1 : RETRY(read(fd, buffer, sizeof(buffer)));
    if (n > 0)
        text_add(&t, ",");
    for (size_t total = 0; n > 0 && total < FACTS_MAX; total += (size_t)n) {
        text_add_bytes(&t, buffer, (size_t)n);
        if (n < (ssize_t)sizeof(buffer))
            break;
        n = RETRY(read(fd, buffer, sizeof(buffer)));
    }
    text_add(&t, "}");
    return text_take(&t);
}

static void fill_status(struct berth_status *b, const struct status *s, bool alive)
{
    bool born = alive && s->supervisor_pid == BEING_BORN;
    b->state = born ? BERTH_CREATING : s->state;
    b->pid = alive && state_lives(s->state) ? s->pid : 0;
    b->idle = alive && !born && s->state == BERTH_RUNNING && s->pid == 0;
    bool runs = state_lives(s->state) && s->state != BERTH_RESTARTING;
    b->exit_code = born || runs ? -1 : s->exit_code;
    b->signal = s->signal;
    b->oom = s->oom;
    b->health = s->health;
    b->restarts = s->restarts;
    b->health_failures = s->health_failures;
    b->created_usec = s->created_usec;
    b->started_usec = s->started_usec;
    b->ended_usec = s->state == BERTH_RUNNING || s->state == BERTH_PAUSED ? 0 : s->ended_usec;
    b->next_start_usec = s->next_start_usec;
    b->memory_limit_bytes = s->memory_limit;
    b->memory_peak_bytes = s->memory_peak;
    b->log_dropped_bytes = s->log_dropped_bytes;
    b->log_dropped_lines = s->log_dropped_lines;
    memcpy(b->reason, s->reason, sizeof(b->reason));
}

/** A link whose text is the image's name: one system call, no parsing. */
static void fill_image(struct workload *w, struct berth_status *b)
{
    char link[sizeof(b->image)];
    ssize_t n = readlinkat(workload_fd(w), IMAGE_LINK, link, sizeof(link) - 1);
    if (n <= 0)
        return;
    memcpy(b->image, link, (size_t)n);
    b->image[n] = 0;
}

int local_status(void *self, const struct berth_handle *h, struct berth_status **ret,
                     struct berth_error *err)
{
    struct status status;
    bool alive;
    autoworkload w = NULL;
    int r = settle_handle(self, h, &w, &status, &alive, err);
    if (r < 0)
        return r;
    struct berth_status *b = calloc(1, sizeof(*b));
    if (!b)
        return fail_memory(err);
    b->size = sizeof(*b);
    local_handle(w, &b->handle);
    fill_status(b, &status, alive);
    fill_image(w, b);
    b->json = status_json(w, b, &status);
    if (!b->json) {
        berth_status_free(b);
        return fail_memory(err);
    }
    *ret = b;
    return 0;
}

/* ---- stats, from groups that stay open */

static void slot_clear(struct cache_slot *slot)
{
    cgroup_close(slot->group);
    *slot = (struct cache_slot){0};
}

void cache_forget(struct local *c, const char *id)
{
    pthread_mutex_lock(&c->cache_lock);
    for (size_t i = 0; i < CACHE_SLOTS; i++)
        if (c->cache[i].group && !strcmp(c->cache[i].id, id))
            slot_clear(&c->cache[i]);
    pthread_mutex_unlock(&c->cache_lock);
}

void cache_clear(struct local *c)
{
    for (size_t i = 0; i < CACHE_SLOTS; i++)
        if (c->cache[i].group)
            slot_clear(&c->cache[i]);
}

/** The slot of a workload, or the one that was used longest ago, emptied. */
static struct cache_slot *slot_for(struct local *c, const char *id)
{
    struct cache_slot *oldest = &c->cache[0];
    for (size_t i = 0; i < CACHE_SLOTS; i++) {
        struct cache_slot *s = &c->cache[i];
        if (s->group && !strcmp(s->id, id))
            return s;
        if (s->used < oldest->used)
            oldest = s;
    }
    if (oldest->group)
        slot_clear(oldest);
    return oldest;
}

/** Open the group; its files are opened by the first reading. */
static int slot_fill(struct cache_slot *slot, const struct cgroup_layout *layout, struct workload *w,
                     const struct status *s, struct cgroup_figures *ret, struct berth_error *err)
{
    struct low_fds low = low_fds_occupy();
    int r = cgroup_open(layout, s->cgroup, &slot->group, err);
    if (r == 0)
        r = cgroup_figures_read(slot->group, ret, err);
    low_fds_release(&low);
    memcpy(slot->id, workload_id(w), BERTH_ID_TEXT);
    slot->pid = s->pid;
    return r;
}

static int figures(struct local *c, struct workload *w, const struct status *s,
                   struct cgroup_figures *ret, struct berth_error *err)
{
    const struct cgroup_layout *layout;
    int r = local_layout(c, &layout, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&c->cache_lock);
    struct cache_slot *slot = slot_for(c, workload_id(w));
    if (slot->group && slot->pid != s->pid) /* of an earlier run: its files answer for a group that is gone */
        slot_clear(slot);
    r = slot->group ? cgroup_figures_read(slot->group, ret, err)
                    : slot_fill(slot, layout, w, s, ret, err);
    slot->used = ++c->cache_clock;
    if (r < 0 && slot->group)
        slot_clear(slot);
    pthread_mutex_unlock(&c->cache_lock);
    return r;
}

/** Sum over all links but lo, as the main program sees them. */
static bool network_figures(int pid, struct berth_stats *ret)
{
    char path[40], text[8192];
    snprintf(path, sizeof(path), "/proc/%d/net/dev", pid);
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : RETRY(read(fd, text, sizeof(text) - 1));
    if (n <= 0)
        return false;
    text[n] = 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        unsigned long long rx, rx_packets, tx, tx_packets;
        const char *colon = strchr(line, ':');
        line += strspn(line, " ");
        if (!colon || starts_with(line, "lo:") ||
            sscanf(colon + 1, "%llu %llu %*u %*u %*u %*u %*u %*u %llu %llu", &rx, &rx_packets, &tx,
                   &tx_packets) != 4)
            continue;
        ret->net_rx_bytes += rx;
        ret->net_rx_packets += rx_packets;
        ret->net_tx_bytes += tx;
        ret->net_tx_packets += tx_packets;
    }
    return true;
}

/** On the host's network the figures would be the machine's. */
static bool own_network(int pid)
{
    char path[40], theirs[64], ours[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/net", pid);
    ssize_t a = readlink(path, theirs, sizeof(theirs));
    ssize_t b = readlink("/proc/self/ns/net", ours, sizeof(ours));
    return a > 0 && (a != b || memcmp(theirs, ours, (size_t)a));
}

static void fill_stats(struct berth_stats *b, const struct cgroup_figures *f)
{
    b->cpu_usec = f->cpu_usec;
    b->cpu_user_usec = f->user_usec;
    b->cpu_system_usec = f->system_usec;
    b->cpu_throttled_usec = f->throttled_usec;
    b->cpu_limit_cores = f->cpu_limit;
    b->memory_bytes = f->memory;
    b->memory_cache_bytes = f->cache;
    b->memory_limit_bytes = f->limit;
    b->memory_peak_bytes = f->peak;
    b->memory_swap_bytes = f->swap;
    b->pids = f->pids;
    b->pids_limit = f->pids_limit;
    b->io_read_bytes = f->io_read_bytes;
    b->io_write_bytes = f->io_write_bytes;
    b->io_read_ops = f->io_read_ops;
    b->io_write_ops = f->io_write_ops;
    b->has_io = f->has_io;
    b->has_psi = f->has_psi;
    b->psi_cpu_some_avg10 = f->psi[0];
    b->psi_memory_some_avg10 = f->psi[1];
    b->psi_memory_full_avg10 = f->psi[2];
    b->psi_io_some_avg10 = f->psi[3];
    b->psi_io_full_avg10 = f->psi[4];
}

int local_stats(void *self, const struct berth_handle *h, struct berth_stats *ret,
                    struct berth_error *err)
{
    struct status status;
    struct cgroup_figures f = {0};
    bool alive;
    autoworkload w = NULL;
    int r = settle_handle(self, h, &w, &status, &alive, err);
    if (r < 0)
        return r;
    if (!alive || !state_lives(status.state) || status.state == BERTH_RESTARTING)
        return wrong_state(w, "stats", status.state, err);
    r = figures(self, w, &status, &f, err);
    if (r < 0)
        return fail_context(err, "stats %s", h->name);
    fill_stats(ret, &f);
    ret->has_net = own_network(status.pid) && network_figures(status.pid, ret);
    if (kind_of(w)->stats)
        kind_of(w)->stats(w, ret);
    ret->time_usec = now_usec();
    return 0;
}

/* ---- lists */

int local_find(void *self, const char *name, struct berth_handle *ret, struct berth_error *err)
{
    char id[BERTH_ID_TEXT];
    struct store *store;
    autoworkload w = NULL;
    int r = local_store(self, false, &store, err);
    if (r == BERTH_NOT_FOUND)
        return fail(err, r, name, "no workload \"%s\"", name);
    if (r == 0)
        r = store_find(store, name, id, err);
    if (r == 0)
        r = workload_open(store, id, &w, err);
    if (r == 0 && kind_of(w) != ((struct local *)self)->kind)
        return fail(err, BERTH_NOT_FOUND, name, "no workload \"%s\"", name);
    if (r == 0)
        local_handle(w, ret);
    return r;
}

int local_list(void *self, struct berth_handle **ret, size_t *ret_count, struct berth_error *err)
{
    struct store *store;
    autostrings char **ids = NULL;
    int r = local_store(self, false, &store, NULL);
    if (r == 0)
        r = store_list(store, &ids, err);
    else if (r == BERTH_NOT_FOUND)
        r = 0;
    else
        r = local_store(self, false, &store, err);
    if (r < 0)
        return r;
    struct berth_handle *handles = calloc(strings_count(ids) + 1, sizeof(*handles));
    if (!handles)
        return fail_memory(err);
    size_t n = 0;
    for (size_t i = 0; ids && ids[i]; i++) {
        autoworkload w = NULL;
        if (workload_open(store, ids[i], &w, NULL) == 0 && /* removed meanwhile: not listed */
            kind_of(w) == ((struct local *)self)->kind)
            local_handle(w, &handles[n++]);
    }
    *ret = handles;
    *ret_count = n;
    return 0;
}

/* ---- inspect */

static json_t *load_file(struct workload *w, const char *name, size_t max)
{
    autofree char *text = NULL;
    size_t size;
    if (workload_read(w, name, max, &text, &size, NULL) < 0)
        return json_null();
    json_t *json = json_loadb(text, size, 0, NULL);
    return json ? json : json_null();
}

int local_inspect(void *self, const struct berth_handle *h, char **ret_json,
                      struct berth_error *err)
{
    autoworkload w = NULL;
    struct berth_status *status;
    int r = local_get(self, h, &w, err);
    if (r == 0)
        r = local_status(self, h, &status, err);
    if (r < 0)
        return r;
    json_t *state = json_loads(status->json, 0, NULL);
    json_t *all = json_pack("{s:o,s:o,s:o,s:{s:s,s:s}}", "status", state ? state : json_null(),
                            "spec", load_file(w, SPEC_FILE, SPEC_MAX_BYTES), "plan",
                            load_file(w, PLAN_FILE, PLAN_MAX_BYTES), "paths", "folder",
                            workload_path(w), "run", workload_run_path(w));
    berth_status_free(status);
    *ret_json = all ? json_dumps(all, JSON_COMPACT) : NULL;
    json_decref(all);
    return *ret_json ? 0 : fail_memory(err);
}
