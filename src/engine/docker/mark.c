/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signals by a second exec; see mark.h.
 */
#include "docker/mark.h"
#include "docker/answer.h"
#include <stdio.h>
#include <sys/random.h>

int mark_make(char ret[MARK_TEXT], struct berth_error *err)
{
    uint8_t bytes[(MARK_TEXT - 1) / 2];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return fail_os(err, errno, NULL, "getrandom");
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
    return 0;
}

static char *document(const char *mark, const char *user, int signal)
{
    autofree char *script = format_text("for e in $(grep -ls " MARK_VARIABLE "=%s /proc/[0-9]*/environ); do p=${e#/proc/}; "
                                        "kill -%d ${p%%/environ}; done", mark, signal);
    autoanswer all = script ? json_pack("{s:[s, s, s]}", "Cmd", "sh", "-c", script) : NULL;
    if (all && user && *user)
        json_object_set_new(all, "User", json_string(user));
    return all ? json_dumps(all, JSON_COMPACT) : NULL;
}

int mark_signal(struct daemon *daemon, const char *container, const char *mark, const char *user, int signal, struct berth_error *err)
{
    autoanswer made = NULL;
    autorequest make = {.method = "POST", .path = format_text("/containers/%s/exec", container), .body = document(mark, user, signal)};
    int r = make.body ? daemon_ask(daemon, &make, err) : fail_memory(err);
    if (r == 0)
        r = answer_json(&make, "signal", "an exec", &made, err);
    if (r < 0)
        return r;
    autorequest start = {.method = "POST", .path = format_text("/exec/%s/start", text_at(made, "Id")), .body = strdup("{\"Detach\":true}")};
    r = daemon_ask(daemon, &start, err);
    if (r < 0 || (r = answer_judge(&start, "signal", "an exec", NULL)) == 0)
        return r;
    return fail(err, BERTH_UNSUPPORTED, "signal", "signal an exec: the API does not do that, and its image has no shell that could");
}
