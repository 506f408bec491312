/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an answer means; see answer.h.
 */
#include "docker/answer.h"
#include <stdio.h>
#include <string.h>

static const struct { int status, code; } meanings[] = {
    {400, BERTH_INVALID},     {401, BERTH_DENIED},      {403, BERTH_DENIED},   {404, BERTH_NOT_FOUND},
    {405, BERTH_UNSUPPORTED}, {406, BERTH_WRONG_STATE}, {409, BERTH_WRONG_STATE}, {413, BERTH_TOO_BIG},
    {500, BERTH_IO},          {501, BERTH_UNSUPPORTED}, {503, BERTH_WRONG_STATE}, {599, BERTH_LOST},
};

/** Words that say more than the status they come with; the first that fits counts. */
static const struct { const char *words; int code; } phrases[] = {
    {"no space left on device", BERTH_NO_SPACE},
    {"executable file not found", BERTH_NO_PROGRAM},
    {"not found in $PATH", BERTH_NO_PROGRAM},
    {"container state improper", BERTH_WRONG_STATE},
    {"cannot be removed without force", BERTH_WRONG_STATE},
    {"invalid reference format", BERTH_INVALID},
    {"exec format error", BERTH_NOT_EXECUTABLE},
    {"port is already allocated", BERTH_EXISTS},
    {"address already in use", BERTH_EXISTS},
    {"unable to find user", BERTH_NOT_FOUND},
    {"unable to find group", BERTH_NOT_FOUND},
    {"no matching entries in passwd file", BERTH_NOT_FOUND},
    {"no users found", BERTH_NOT_FOUND},
    {"no such image", BERTH_NOT_FOUND},
    {"manifest unknown", BERTH_NOT_FOUND},
    {"repository does not exist", BERTH_NOT_FOUND},
    {"pull access denied", BERTH_DENIED},
    {"unauthorized", BERTH_DENIED},
};

char *answer_words(const struct request *r)
{
    json_error_t e;
    if (!r->answer.data)
        return NULL;
    autoanswer json = json_loadb(r->answer.data, r->answer.length, JSON_ALLOW_NUL, &e);
    const char *words = json_string_value(json_object_get(json, "message"));
    char *line = words ? strdup(words) : NULL;
    for (char *p = line; p && *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    for (size_t n = line ? strlen(line) : 0; n > 0 && line[n - 1] == ' ';)
        line[--n] = '\0';
    return line;
}

static int meaning(int status, const char *words)
{
    for (size_t i = 0; i < ARRAY_SIZE(phrases); i++)
        if (strcasestr(words, phrases[i].words))
            return phrases[i].code;
    for (size_t i = 0; i < ARRAY_SIZE(meanings); i++)
        if (meanings[i].status == status)
            return meanings[i].code;
    return BERTH_CORRUPT;
}

int answer_judge(const struct request *r, const char *verb, const char *object, struct berth_error *err)
{
    if (r->code < 0) {
        if (err)
            *err = r->failure;
        fail_context(err, "%s %s", verb, object);
        return r->code;
    }
    /* a page of some other server says 200 to everything */
    bool page = r->answer.length && !strchr("{[\"0123456789-ntf \r\n", r->answer.data[0]);
    if (((r->status >= 200 && r->status < 300) || r->status == 304 || r->status == 101) && !page)
        return 0;
    autofree char *words = answer_words(r);
    if (!words && r->status == 404 && r->daemon->podman)
        return fail(err, BERTH_UNSUPPORTED, object, "%s %s: podman's service does not do that", verb, object);
    if (!words)
        return fail(err, BERTH_CORRUPT, object, "%s %s: %s answers %d and no word of docker's", verb, object,
                    r->daemon->host, r->status);
    return fail(err, meaning(r->status, words), object, "%s %s: %.700s", verb, object, words);
}

int answer_json(const struct request *r, const char *verb, const char *object, json_t **ret_json, struct berth_error *err)
{
    json_error_t e = {0};
    int code = answer_judge(r, verb, object, err);
    if (code < 0)
        return code;
    json_t *json = r->answer.data ? json_loadb(r->answer.data, r->answer.length, JSON_ALLOW_NUL, &e) : NULL;
    if (!json && r->answer.data && strstr(e.text, "too big integer")) /* podman counts below zero */
        json = json_loadb(r->answer.data, r->answer.length, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &e);
    if (!json)
        return fail(err, BERTH_CORRUPT, object, "%s %s: %s answers what is no JSON: %.100s", verb, object, r->daemon->host,
                    e.text);
    *ret_json = json;
    return 0;
}

bool state_runs(json_t *state)
{
    return true_at(state, "Running") || !strcmp(text_at(state, "Status"), "stopping");
}

json_t *at(json_t *json, const char *path)
{
    char key[64];
    for (const char *p = path; json && *p;) {
        size_t n = strcspn(p, ".");
        snprintf(key, sizeof(key), "%.*s", (int)n, p);
        json = json_object_get(json, key);
        p += n + (p[n] == '.');
    }
    return json;
}

const char *text_at(json_t *json, const char *path)
{
    const char *text = json_string_value(at(json, path));
    return text ? text : "";
}

int64_t number_at(json_t *json, const char *path)
{
    json_t *value = at(json, path);
    return json_is_real(value) ? (int64_t)json_real_value(value) : json_integer_value(value);
}

bool true_at(json_t *json, const char *path)
{
    return json_is_true(at(json, path));
}

int64_t time_at(json_t *json, const char *path)
{
    int64_t usec;
    const char *text = text_at(json, path);
    return *text && !starts_with(text, "0001-") && time_parse(text, 0, &usec) == 0 ? MAX(usec, 0) : 0;
}
