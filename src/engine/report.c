/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Status as JSON, written by hand: it is on the path of every status and every line of ps.
 */
#include "engine/report.h"
#include "base/base.h"
#include "base/error.h"
#include <stdio.h>
#include <string.h>

void report_string(struct text *t, const char *s)
{
    text_add_bytes(t, "\"", 1);
    bool valid = utf8_valid(s, strlen(s));
    for (const char *p = s; *p;) {
        size_t plain = 0;
        while (p[plain] && (unsigned char)p[plain] >= 0x20 && p[plain] != '"' && p[plain] != '\\' &&
               (valid || !(p[plain] & 0x80)))
            plain++;
        text_add_bytes(t, p, plain);
        p += plain;
        if (!*p)
            break;
        if (*p & 0x80)
            text_add(t, "\xef\xbf\xbd");
        else if (*p == '"' || *p == '\\')
            text_add_bytes(t, (char[]){'\\', *p}, 2);
        else
            text_printf(t, "\\u%04x", *p);
        p++;
    }
    text_add_bytes(t, "\"", 1);
}

void report_time(struct text *t, const char *name, int64_t usec)
{
    char when[40];
    if (!usec) {
        text_printf(t, ",\"%s\":null", name);
        return;
    }
    time_print(usec, when);
    text_printf(t, ",\"%s\":\"%s\"", name, when);
}

const char *oom_name(int oom)
{
    static const char *const names[] = {"none", "main", "child"};
    return oom >= 0 && oom < (int)ARRAY_SIZE(names) ? names[oom] : "none";
}

void report_status(struct text *t, const struct berth_status *s)
{
    char id[BERTH_ID_TEXT];
    berth_id_print(s->handle.id, id);
    text_add(t, "\"name\":");
    report_string(t, s->handle.name);
    text_printf(t, ",\"id\":\"%s\",\"runtime\":\"%s\",\"state\":\"%s\",\"pid\":%d", id,
                s->handle.runtime, berth_state_name(s->state), s->pid);
    if (s->exit_code < 0)
        text_add(t, ",\"exit_code\":null");
    else
        text_printf(t, ",\"exit_code\":%d", s->exit_code);
    text_printf(t, ",\"signal\":%d,\"oom\":\"%s\",\"health\":\"%s\",\"health_failures\":%u,"
                "\"restarts\":%u", s->signal, oom_name(s->oom), berth_health_name(s->health),
                s->health_failures, s->restarts);
    report_time(t, "created", s->created_usec);
    report_time(t, "started", s->started_usec);
    report_time(t, "ended", s->ended_usec);
    report_time(t, "next_start", s->next_start_usec);
    text_printf(t, ",\"memory_limit_bytes\":%llu,\"memory_peak_bytes\":%llu,"
                "\"log_dropped_bytes\":%llu,\"log_dropped_lines\":%llu,\"reason\":",
                (unsigned long long)s->memory_limit_bytes, (unsigned long long)s->memory_peak_bytes,
                (unsigned long long)s->log_dropped_bytes, (unsigned long long)s->log_dropped_lines);
    report_string(t, s->reason);
    text_add(t, ",\"image\":");
    report_string(t, s->image);
}

int report_labels(const char *const *labels, char **ret, struct berth_error *err)
{
    struct text t = {0};
    text_add(&t, "{");
    for (size_t i = 0; labels && labels[i]; i++) {
        const char *equals = strchr(labels[i], '=');
        autofree char *name = strndup(labels[i], equals ? (size_t)(equals - labels[i])
                                                        : strlen(labels[i]));
        if (!name || !utf8_valid(labels[i], strlen(labels[i]))) {
            text_free(&t);
            return name ? fail(err, BERTH_INVALID, NULL, "a label is not UTF-8") : fail_memory(err);
        }
        text_add(&t, i ? "," : "");
        report_string(&t, name);
        text_add(&t, ":");
        report_string(&t, equals ? equals + 1 : "");
    }
    text_add(&t, "}");
    *ret = text_take(&t);
    return *ret ? 0 : fail_memory(err);
}
