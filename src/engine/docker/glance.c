/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many statuses for one request: list asks for all containers of the root, and the status that follows within a second
 * is made of what was inspected before, if the daemon's few words still fit it.
 *
 * The list of the API has a state, and "Up 3 hours" or "Exited (1) 2 minutes ago", no times. What an earlier inspect said is
 * kept in the workload's folder; it is right as long as state, code and that age agree. Anything else is inspected anew, as is
 * what has health or restarts. An entry serves one status.
 */
#include "docker/inside.h"
#include <fcntl.h>
#include <stdio.h>

#define FRESH_USEC 1000000
#define SEEN_FILE "seen.json"
#define SEEN_MAX (4u << 20)
#define WORTH_IT 3 /* workloads: fewer are inspected */
#define LIST_MAX (64u << 20)

struct glance {
    int64_t usec;
    json_t *entries; /* container -> its entry */
};

void glance_free(struct glance *g)
{
    if (g)
        json_decref(g->entries);
    free(g);
}

/* ---- the daemon's words for a span of time */

static void print_span(int64_t seconds, char ret[32])
{
    static const struct { long long below, unit; const char *word; } spans[] = {
        {48, 1, "hours"}, {24 * 14, 24, "days"}, {24 * 60, 24 * 7, "weeks"}, {24 * 730, 24 * 30, "months"}};
    long long hours = (seconds + 1800) / 3600;
    if (seconds < 1)
        snprintf(ret, 32, "Less than a second");
    else if (seconds < 60)
        snprintf(ret, 32, seconds == 1 ? "1 second" : "%lld seconds", (long long)seconds);
    else if (seconds < 3600)
        snprintf(ret, 32, seconds < 120 ? "About a minute" : "%lld minutes", (long long)seconds / 60);
    else if (hours == 1)
        snprintf(ret, 32, "About an hour");
    else
        for (size_t i = 0; i < ARRAY_SIZE(spans); i++)
            if (hours < spans[i].below || i + 1 == ARRAY_SIZE(spans)) {
                snprintf(ret, 32, "%lld %s", hours / spans[i].unit, spans[i].word);
                return;
            }
}

/** "Up 3 hours" fits a start at `usec`, give or take the moments between the two looks. */
static bool age_fits(const char *said, int64_t usec)
{
    char span[32];
    int64_t age = (now_usec() - usec) / 1000000;
    for (int64_t seconds = MAX(age - 2, 0); seconds <= age + 1; seconds++) {
        print_span(seconds, span);
        if (starts_with(said, span))
            return true;
    }
    return false;
}

static bool fits(json_t *entry, json_t *seen)
{
    const char *state = text_at(entry, "State"), *words = text_at(entry, "Status");
    int code = 0, taken = 0;
    if (!*state || strcmp(state, text_at(seen, "State.Status")) || *text_at(seen, "State.Health.Status"))
        return false;
    if (!strcmp(state, "created"))
        return true;
    if (!strcmp(state, "running") || !strcmp(state, "paused"))
        return starts_with(words, "Up ") && age_fits(words + 3, time_at(seen, "State.StartedAt"));
    if (strcmp(state, "exited") || sscanf(words, "Exited (%d) %n", &code, &taken) != 1 || !taken)
        return false;
    return code == (int)number_at(seen, "State.ExitCode") && age_fits(words + taken, time_at(seen, "State.FinishedAt"));
}

/* ---- what list brings */

static int ask_list(struct docker *d, struct daemon *daemon, json_t *entries, struct berth_error *err)
{
    autofree char *filters = format_text("{\"label\":[\"" LABEL_ROOT "=%s\"]}", store_tag(d->store));
    autofree char *query = filters ? query_text(filters) : NULL;
    autorequest r = {.method = "GET", .path = query ? format_text("/containers/json?all=1&filters=%s", query) : NULL,
                     .answer_max = LIST_MAX};
    autoanswer list = NULL;
    json_t *one;
    size_t i;
    int code = daemon_ask(daemon, &r, err);
    if (code < 0 || (code = answer_json(&r, "list", daemon->host, &list, err)) < 0)
        return code;
    json_array_foreach(list, i, one)
        if (*text_at(one, "Id"))
            json_object_set(entries, text_at(one, "Id"), one);
    return json_is_array(list) ? 0 : BERTH_CORRUPT;
}

static void keep(struct docker *d, json_t *entries)
{
    struct glance *g = calloc(1, sizeof(*g)), *before;
    if (!g)
        return;
    *g = (struct glance){.usec = monotonic_usec(), .entries = json_incref(entries)};
    pthread_mutex_lock(&d->lock);
    before = d->glance;
    d->glance = g;
    pthread_mutex_unlock(&d->lock);
    glance_free(before);
}

void glance_take(struct docker *d, struct box *boxes, size_t *n)
{
    autoanswer entries = json_object();
    if (*n < WORTH_IT || !entries)
        return;
    for (size_t i = 0; i < *n; i++) {
        bool asked = false;
        for (size_t k = 0; k < i && !asked; k++)
            asked = boxes[k].daemon == boxes[i].daemon;
        if (!asked && ask_list(d, boxes[i].daemon, entries, NULL) < 0)
            return; /* each status says why */
    }
    size_t left = 0;
    for (size_t i = 0; i < *n; i++) {
        if (json_object_get(entries, boxes[i].container)) {
            struct box b = boxes[i];
            boxes[i] = (struct box){0};
            boxes[left++] = b;
        } else {
            box_discard(&boxes[i]); /* somebody removed it */
            box_close(&boxes[i]);
        }
    }
    *n = left;
    keep(d, entries);
}

/* ---- what status makes of it */

static json_t *take_entry(struct docker *d, const char *container)
{
    json_t *entry = NULL;
    pthread_mutex_lock(&d->lock);
    if (d->glance && monotonic_usec() - d->glance->usec < FRESH_USEC) {
        entry = json_incref(json_object_get(d->glance->entries, container));
        json_object_del(d->glance->entries, container);
    }
    pthread_mutex_unlock(&d->lock);
    return entry;
}

int glance_inspect(const struct box *b, json_t **ret_json, struct berth_error *err)
{
    autoanswer entry = take_entry(b->docker, b->container);
    autofree char *text = NULL;
    size_t size;
    if (entry && workload_read(b->folder, SEEN_FILE, SEEN_MAX, &text, &size, NULL) == 0) {
        autoanswer seen = json_loadb(text, size, JSON_ALLOW_NUL, NULL);
        if (seen && fits(entry, seen)) {
            *ret_json = json_incref(seen);
            return 0;
        }
    }
    int r = box_inspect(b, "status", ret_json, err);
    autofree char *words = r == 0 && entry ? json_dumps(*ret_json, JSON_COMPACT) : NULL;
    if (words)
        workload_write(b->folder, SEEN_FILE, words, strlen(words), NULL);
    return r;
}

void glance_forget(const struct box *b)
{
    unlinkat(workload_fd(b->folder), SEEN_FILE, 0);
}
