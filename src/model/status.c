/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status record as JSON: one table writes and reads it. It is read at every `status`, so no tree
 * of values is made. Members that a newer berth added are skipped.
 */
#include "model/status.h"
#include "base/base.h"
#include "base/text.h"
#include "model/json.h"

#include <string.h>

enum kind { INT32, UINT32, INT64, UINT64, BOOL, CHARS, WORD };

struct member {
    const char *name;
    enum kind kind;
    size_t offset, size; /* size: of a char array; of a list of words */
    const char *const *words;
};

static const char *const states[] = {
    [BERTH_CREATING] = "creating", [BERTH_CREATED] = "created",
    [BERTH_RUNNING] = "running",   [BERTH_PAUSED] = "paused",
    [BERTH_RESTARTING] = "restarting", [BERTH_STOPPING] = "stopping",
    [BERTH_STOPPED] = "stopped",   [BERTH_COMPLETED] = "completed",
    [BERTH_FAILED] = "failed",     [BERTH_PENDING] = "pending",
};
static const char *const healths[] = {"none", "starting", "healthy", "unhealthy"};
static const char *const ooms[] = {"none", "main", "child"};

#define M(kind_, name_) {#name_, kind_, offsetof(struct status, name_), sizeof(((struct status *)0)->name_), NULL}
#define W(name_, words_) {#name_, WORD, offsetof(struct status, name_), ARRAY_SIZE(words_), words_}
static const struct member members[] = {
    M(UINT32, version),
    W(state, states),
    M(CHARS, boot_id),
    M(INT32, pid),
    M(INT32, supervisor_pid),
    M(INT32, exit_code),
    M(INT32, signal),
    W(oom, ooms),
    W(health, healths),
    M(UINT32, health_failures),
    M(BOOL, ready),
    M(BOOL, wanted),
    M(UINT32, restarts),
    M(INT64, created_usec),
    M(INT64, started_usec),
    M(INT64, ended_usec),
    M(INT64, next_start_usec),
    M(UINT64, memory_limit),
    M(UINT64, memory_peak),
    M(UINT64, log_dropped_bytes),
    M(UINT64, log_dropped_lines),
    M(INT32, start_error),
    M(CHARS, reason),
    M(CHARS, cgroup),
};
#define P(kind_, name_) {#name_, kind_, offsetof(struct status_probe, name_), sizeof(((struct status_probe *)0)->name_), NULL}
static const struct member probe_members[] = {
    P(INT64, start_usec),
    P(INT64, end_usec),
    P(INT32, exit_code),
    P(CHARS, output),
};

static void put_member(struct text *t, const struct member *m, const void *base)
{
    const char *at = (const char *)base + m->offset;
    switch (m->kind) {
    case INT32:
        json_put_int(t, m->name, *(const int32_t *)at);
        break;
    case UINT32:
        json_put_uint(t, m->name, *(const uint32_t *)at);
        break;
    case INT64:
        json_put_int(t, m->name, *(const int64_t *)at);
        break;
    case UINT64: /* what JSON numbers hold: INT64_MAX is "no limit" enough */
        json_put_uint(t, m->name, MIN(*(const uint64_t *)at, (uint64_t)INT64_MAX));
        break;
    case BOOL:
        json_put_bool(t, m->name, *(const bool *)at);
        break;
    case CHARS:
        json_put_string(t, m->name, at);
        break;
    case WORD: {
        int32_t value = *(const int32_t *)at;
        bool known = value >= 0 && (size_t)value < m->size && m->words[value];
        json_put_string(t, m->name, known ? m->words[value] : "");
        break;
    }
    }
}

char *status_print(const struct status *status)
{
    struct text t = {0};
    json_put_open(&t, NULL, '{');
    for (size_t i = 0; i < ARRAY_SIZE(members); i++)
        put_member(&t, &members[i], status);
    json_put_open(&t, "health_log", '[');
    for (uint32_t i = 0; i < MIN(status->n_health_log, (uint32_t)STATUS_HEALTH_LOG); i++) {
        json_put_open(&t, NULL, '{');
        for (size_t j = 0; j < ARRAY_SIZE(probe_members); j++)
            put_member(&t, &probe_members[j], &status->health_log[i]);
        json_put_close(&t, '}');
    }
    json_put_close(&t, ']');
    json_put_close(&t, '}');
    text_add(&t, "\n");
    return text_take(&t);
}

static int get_word(struct scan *s, const struct member *m, int32_t *ret)
{
    char word[24];
    int r = scan_string(s, word, sizeof(word));
    if (r < 0)
        return r;
    for (size_t i = 0; i < m->size; i++) {
        if (m->words[i] && strcmp(m->words[i], word) == 0) {
            *ret = (int32_t)i;
            return 0;
        }
    }
    return -EINVAL;
}

static int get_number(struct scan *s, const struct member *m, void *at)
{
    static const struct {
        int64_t min, max;
    } ranges[] = {
        [INT32] = {INT32_MIN, INT32_MAX}, [UINT32] = {0, UINT32_MAX},
        [INT64] = {INT64_MIN, INT64_MAX}, [UINT64] = {0, INT64_MAX},
    };
    int64_t value;
    int r = scan_int(s, &value);
    if (r < 0)
        return r;
    if (value < ranges[m->kind].min || value > ranges[m->kind].max)
        return -ERANGE;
    if (m->kind == INT32 || m->kind == UINT32)
        *(uint32_t *)at = (uint32_t)value;
    else
        *(uint64_t *)at = (uint64_t)value;
    return 0;
}

static int get_member(struct scan *s, const struct member *m, void *base)
{
    char *at = (char *)base + m->offset;
    switch (m->kind) {
    case BOOL:
        return scan_bool(s, (bool *)at);
    case CHARS:
        return scan_string(s, at, m->size);
    case WORD:
        return get_word(s, m, (int32_t *)at);
    default:
        return get_number(s, m, at);
    }
}

static const struct member *find_member(const struct member *list, size_t n, const char *name,
                                        size_t expected)
{
    /* written in table order, so the next one is nearly always it */
    if (expected < n && strcmp(list[expected].name, name) == 0)
        return &list[expected];
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0)
            return &list[i];
    return NULL;
}

static int get_object(struct scan *s, const struct member *list, size_t n, void *base,
                      int (*other)(struct scan *s, const char *key, void *base))
{
    char key[40];
    bool first = true;
    size_t expected = 0;
    int r;
    if (!scan_char(s, '{'))
        return -EINVAL;
    while ((r = scan_next(s, &first, key, sizeof(key))) > 0) {
        const struct member *m = find_member(list, n, key, expected);
        if (m)
            expected = (size_t)(m - list) + 1;
        r = m ? get_member(s, m, base) : other(s, key, base);
        if (r < 0)
            return r;
    }
    return r;
}

static int skip_other(struct scan *s, const char *key, void *base)
{
    return scan_skip(s);
}

static int get_health_log(struct scan *s, const char *key, void *base)
{
    struct status *status = base;
    bool first = true;
    int r;
    if (strcmp(key, "health_log") != 0)
        return scan_skip(s);
    if (!scan_char(s, '['))
        return -EINVAL;
    status->n_health_log = 0;
    while ((r = scan_next(s, &first, NULL, 0)) > 0) {
        if (status->n_health_log >= STATUS_HEALTH_LOG)
            return -E2BIG;
        r = get_object(s, probe_members, ARRAY_SIZE(probe_members),
                       &status->health_log[status->n_health_log++], skip_other);
        if (r < 0)
            return r;
    }
    return r;
}

int status_parse(const char *json, size_t length, struct status *ret_status,
                 struct berth_error *err)
{
    struct scan s = {.at = json, .end = json + length};
    struct status status = {.exit_code = -1};
    if (get_object(&s, members, ARRAY_SIZE(members), &status, get_health_log) < 0 || !scan_end(&s))
        return fail(err, BERTH_CORRUPT, NULL, "status record: damaged at byte %td of %zu",
                    s.at - json, length);
    if (status.version == 0 || status.state == 0)
        return fail(err, BERTH_CORRUPT, NULL, "status record: version or state is missing");
    if (status.version > STATUS_VERSION)
        return fail(err, BERTH_CORRUPT, NULL,
                    "status record: format %u was written by a newer berth (this one reads up to %d)",
                    status.version, STATUS_VERSION);
    *ret_status = status;
    return 0;
}
