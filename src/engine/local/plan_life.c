/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life: restarts, probes, logs, listening sockets, and what comes after the end.
 */
#include "local/inside.h"
#include <stdio.h>
#include <sys/socket.h>

#define SECOND INT64_C(1000000)

static const struct { const char *word; int policy; } policies[] = {
    {"never", PLAN_RESTART_NEVER},   {"no", PLAN_RESTART_NEVER},
    {"always", PLAN_RESTART_ALWAYS}, {"on-failure", PLAN_RESTART_ON_FAILURE},
    {"unless-stopped", PLAN_RESTART_UNLESS_STOPPED},
};

static int plan_restart(struct compile *k, struct berth_error *err)
{
    const struct spec_restart *s = &k->spec->restart;
    const char *word = s->policy ? s->policy : "never";
    size_t row = 0;
    while (row < ARRAY_SIZE(policies) && strcmp(policies[row].word, word))
        row++;
    if (row == ARRAY_SIZE(policies))
        return fail(err, BERTH_INVALID, "restart.policy", "restart.policy: \"%.40s\" is none", word);
    k->plan->restart.policy = policies[row].policy;
    k->plan->restart.max = s->has_max && s->max > 0 ? s->max : -1;
    k->plan->restart.delay_usec = s->delay_usec > 0 ? s->delay_usec : SECOND / 10;
    k->plan->restart.cap_usec = s->cap_usec > 0 ? s->cap_usec : 60 * SECOND;
    k->plan->restart.reset_usec = s->reset_usec > 0 ? s->reset_usec : 10 * SECOND;
    if (k->spec->remove && k->plan->restart.policy != PLAN_RESTART_NEVER)
        return fail(err, BERTH_INVALID, "remove",
                    "remove: what is removed at its end can't have the restart policy \"%s\"", word);
    return 0;
}

static char *const *image_shell(const struct compile *k)
{
    static char *const usual[] = {(char *)"/bin/sh", (char *)"-c", NULL};
    return k->image->config.shell && k->image->config.shell[0] ? k->image->config.shell : usual;
}

/** `shell` of the image and one line for it, or argv as it is. */
static int probe_argv(const struct compile *k, char *const *argv, const char *line, char ***ret)
{
    char *const *first = line ? image_shell(k) : argv;
    for (size_t i = 0; first && first[i]; i++)
        if (strings_add(ret, first[i]) < 0)
            return -ENOMEM;
    return line ? strings_add(ret, line) : 0;
}

static void probe_times(struct plan_probe *p, int64_t interval, int64_t timeout, int64_t start,
                        int64_t start_interval, int retries)
{
    p->interval_usec = interval > 0 ? interval : 30 * SECOND;
    p->timeout_usec = timeout > 0 ? timeout : 30 * SECOND;
    p->start_period_usec = start > 0 ? start : 0;
    p->start_interval_usec = start_interval > 0 ? start_interval : 5 * SECOND;
    p->retries = retries > 0 ? retries : 3;
}

static int probe_action(const char *field, const char *word, int otherwise, int *ret,
                        struct berth_error *err)
{
    static const char *const words[] = {"none", "restart", "stop"};
    *ret = otherwise;
    if (!word)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (!strcmp(words[i], word)) {
            *ret = (int)i;
            return 0;
        }
    return fail(err, BERTH_INVALID, field, "%s.on_failure: \"%.40s\" is none of none, restart, stop",
                field, word);
}

static int plan_probe(struct compile *k, const char *field, const struct spec_probe *s, int action,
                      struct plan_probe *p, struct berth_error *err)
{
    bool off = s->command && s->command[0] && !strcmp(s->command[0], "NONE");
    if (off || (!s->command && !s->shell))
        return 0;
    if (probe_argv(k, s->command, s->command ? NULL : s->shell, &p->argv) < 0)
        return fail_memory(err);
    probe_times(p, s->interval_usec, s->timeout_usec, s->start_period_usec, s->start_interval_usec,
                s->retries);
    return probe_action(field, s->on_failure, action, &p->on_failure, err);
}

/** The image's own health command; the spec may still change its times. */
static int image_health(struct compile *k, struct berth_error *err)
{
    const __typeof__(k->image->config.health) *h = &k->image->config.health;
    const struct spec_probe *s = &k->spec->health;
    if (!h->test || !h->test[0] || !h->test[1])
        return 0;
    bool shell = !strcmp(h->test[0], "CMD-SHELL");
    if (!shell && strcmp(h->test[0], "CMD"))
        return 0;
    if (probe_argv(k, h->test + 1, shell ? h->test[1] : NULL, &k->plan->health.argv) < 0)
        return fail_memory(err);
    probe_times(&k->plan->health, s->interval_usec > 0 ? s->interval_usec : h->interval_usec,
                s->timeout_usec > 0 ? s->timeout_usec : h->timeout_usec,
                s->start_period_usec > 0 ? s->start_period_usec : h->start_period_usec,
                s->start_interval_usec > 0 ? s->start_interval_usec : h->start_interval_usec,
                s->retries > 0 ? s->retries : h->retries);
    return probe_action("health", s->on_failure, 0, &k->plan->health.on_failure, err);
}

static int plan_probes(struct compile *k, struct berth_error *err)
{
    const struct spec *s = k->spec;
    int r = s->health.command || s->health.shell
                ? plan_probe(k, "health", &s->health, 0, &k->plan->health, err)
                : image_health(k, err);
    if (r == 0)
        r = plan_probe(k, "readiness", &s->readiness, 0, &k->plan->readiness, err);
    return r < 0 ? r : plan_probe(k, "liveness", &s->liveness, 1, &k->plan->liveness, err);
}

static int plan_log(struct compile *k, struct berth_error *err)
{
    const struct spec_log *s = &k->spec->log;
    if (s->driver && strcmp(s->driver, "file") && strcmp(s->driver, "none"))
        return fail(err, BERTH_INVALID, "log.driver", "log.driver: \"%.40s\" is neither file nor none",
                    s->driver);
    k->plan->log.none = s->driver && !strcmp(s->driver, "none");
    k->plan->log.max_size_bytes = s->max_size_bytes ? s->max_size_bytes : 64u << 20;
    k->plan->log.max_files = s->max_files > 0 ? s->max_files : 4;
    return 0;
}

static int plan_sockets(struct compile *k, struct berth_error *err)
{
    size_t n = k->spec->n_sockets;
    k->plan->sockets = n ? calloc(n, sizeof(*k->plan->sockets)) : NULL;
    if (n && !k->plan->sockets)
        return fail_memory(err);
    for (size_t i = 0; i < n; i++) {
        const struct spec_socket *s = &k->spec->sockets[i];
        struct plan_socket *p = &k->plan->sockets[k->plan->n_sockets++];
        p->name = s->name ? strdup(s->name) : format_text("socket%zu", i);
        p->address = s->address ? strdup(s->address) : NULL;
        p->path = s->path ? strdup(s->path) : NULL;
        if (!p->name || (s->address && !p->address) || (s->path && !p->path))
            return fail_memory(err);
        p->port = s->port;
        p->type = s->protocol && !strcmp(s->protocol, "udp") ? SOCK_DGRAM : SOCK_STREAM;
        p->backlog = s->backlog > 0 ? s->backlog : 128;
        p->on_demand = s->on_demand;
        p->mode = s->mode;
    }
    return 0;
}

/** --rm: the supervisor's last act. */
static int plan_at_end(struct compile *k, struct berth_error *err)
{
    if (!k->spec->remove)
        return 0;
    autofree char *helper = NULL;
    int r = local_program(k->c, "berth-helper", &helper, err);
    if (r < 0)
        return r;
    const char *const argv[] = {helper, "remove", store_root(k->store), store_run(k->store), k->id,
                                "--volumes", NULL};
    k->plan->at_end = strings_copy(argv);
    return k->plan->at_end ? 0 : fail_memory(err);
}

int plan_life(struct compile *k, struct berth_error *err)
{
    static int (*const parts[])(struct compile *k, struct berth_error *err) = {
        plan_restart, plan_probes, plan_log, plan_sockets, plan_at_end,
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(parts); i++)
        r = parts[i](k, err);
    return r;
}
