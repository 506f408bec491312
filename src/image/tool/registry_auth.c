/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a registry's "who are you?" is answered: RFC 9110's challenges, the distribution project's tokens.
 *
 * Nothing is sent before it was asked for, credentials only to the realm that their own registry names,
 * and never in the clear to one that was reached by TLS.
 */
#include "image/tool/registry_inside.h"
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>

#define TOKEN_CHARACTERS "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

void challenge_clear(struct challenge *c)
{
    free(c->realm);
    free(c->service);
    free(c->scope);
    *c = (struct challenge){0};
}

/* A token or a quoted string; moves on behind it. NULL and *ret_code. */
static char *parse_value(const char **text, int *ret_code)
{
    const char *p = *text;
    autotext struct text value = {0};
    if (*p != '"') {
        size_t n = strcspn(p, " \t,\"");
        text_add_bytes(&value, p, n);
        *text = p + n;
    } else {
        for (p++; *p && *p != '"'; p++) {
            p += *p == '\\' && p[1];
            text_add_bytes(&value, p, 1);
        }
        *ret_code = *p ? *ret_code : -EINVAL;
        *text = *p ? p + 1 : p;
    }
    char *taken = text_take(&value);
    if (!taken)
        *ret_code = -ENOMEM;
    return taken;
}

static void keep_parameter(struct challenge *c, const char *name, size_t n, char *value)
{
    const struct { const char *name; char **place; } known[] = {
        {"realm", &c->realm}, {"service", &c->service}, {"scope", &c->scope}};
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strlen(known[i].name) == n && strncasecmp(name, known[i].name, n) == 0 && !*known[i].place) {
            *known[i].place = value;
            return;
        }
    free(value);
}

int challenge_parse(const char *text, struct challenge *ret)
{
    struct challenge c = {0};
    int code = 0;
    text += strspn(text, " \t");
    size_t n = strspn(text, TOKEN_CHARACTERS);
    c.bearer = n == 6 && strncasecmp(text, "bearer", 6) == 0;
    c.basic = n == 5 && strncasecmp(text, "basic", 5) == 0;
    text += n;
    while (code == 0) {
        text += strspn(text, " \t,");
        size_t name = strspn(text, TOKEN_CHARACTERS);
        const char *equals = text + name + strspn(text + name, " \t");
        if (name == 0 || *equals != '=')
            break;
        const char *value = equals + 1 + strspn(equals + 1, " \t");
        char *parsed = parse_value(&value, &code);
        if (parsed)
            keep_parameter(&c, text, name, parsed);
        text = value;
    }
    if (n == 0 || (code == 0 && c.bearer && !c.realm))
        code = -EINVAL;
    if (code < 0)
        challenge_clear(&c);
    else
        *ret = c;
    return code;
}

/* ---- tokens */

struct token_body { struct text text; };

static size_t take_token(char *bytes, size_t one, size_t n, void *data)
{
    struct token_body *body = data;
    (void)one;
    if (body->text.length + n > REGISTRY_MAX_TOKEN_BYTES)
        return 0;
    text_add_bytes(&body->text, bytes, n);
    return n;
}

static void add_field(CURL *easy, struct text *form, const char *name, const char *value)
{
    char *escaped = value ? curl_easy_escape(easy, value, 0) : NULL;
    if (escaped)
        text_printf(form, "%s%s=%s", form->length ? "&" : "", name, escaped);
    form->failed |= value && !escaped;
    curl_free(escaped);
}

/* Several scopes come in one parameter with blanks between; servers want one parameter each. */
static void add_scopes(CURL *easy, struct text *form, const char *scopes)
{
    for (const char *p = scopes; p && *p;) {
        size_t n = strcspn(p, " ");
        autofree char *scope = strndup(p, n);
        if (n)
            add_field(easy, form, "scope", scope ? scope : "");
        p += n + strspn(p + n, " ");
    }
}

static char *make_scope(const struct registry *r)
{
    return r->reference.repository ? format_text("repository:%s:%s", r->reference.repository, r->push ? "pull,push" : "pull") : NULL;
}

static int read_token(const struct source *s, const struct text *body, char **ret, struct berth_error *err)
{
    json_t *json = body->length ? json_loadb(body->data, body->length, 0, NULL) : NULL;
    const char *token = json_string_value(json_object_get(json, "token"));
    if (!token)
        token = json_string_value(json_object_get(json, "access_token"));
    /* It becomes a header: what could end the line is no token. */
    bool good = token && *token && strspn(token, TOKEN_CHARACTERS "/=:") == strlen(token);
    *ret = good ? format_text("Bearer %s", token) : NULL;
    json_decref(json);
    return *ret ? 0 : good ? fail_memory(err)
                           : fail(err, BERTH_CORRUPT, s->host, "%s: its token server sent no usable token", s->host);
}

static int check_realm(const struct source *s, const char *realm, bool secret, struct berth_error *err)
{
    bool https = strncasecmp(realm, "https://", 8) == 0, http = strncasecmp(realm, "http://", 7) == 0;
    if (!https && !http)
        return fail(err, BERTH_CORRUPT, s->host, "%s: its token server \"%.100s\" is not an address of http or https", s->host, realm);
    if (http && (s->scheme == SCHEME_HTTPS || secret) && s->scheme != SCHEME_HTTP)
        return fail(err, BERTH_DENIED, s->host, "%s: its token server \"%.100s\" has no TLS, which is refused", s->host, realm);
    return 0;
}

static int fetch(CURL *easy, const struct source *s, struct token_body *body, struct berth_error *err)
{
    char words[CURL_ERROR_SIZE] = "", said[160];
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, words);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_token);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, body);
    /* A password is kept from another host by libcurl; a refresh token in a body goes wherever 307 leads. */
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, s->identity_token ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_MAXREDIRS, 3L);
    curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, s->scheme == SCHEME_HTTP ? "http,https" : "https");
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)MAX(s->silence_sec, 1));
    CURLcode c = curl_easy_perform(easy);
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    if (c != CURLE_OK)
        return fail(err, c == CURLE_OPERATION_TIMEDOUT ? BERTH_TIMED_OUT : BERTH_IO, s->host, "%s: its token server: %s", s->host,
                    *words ? words : curl_easy_strerror(c));
    http_words(&body->text, said, sizeof said);
    if (status == 401 || status == 403)
        return fail(err, BERTH_DENIED, s->host, "%s refuses the credentials%s%s", s->host, *said ? ": " : "", said);
    return status == 200 ? 0 : fail(err, BERTH_IO, s->host, "%s: its token server answers %ld%s%s", s->host, status, *said ? ": " : "", said);
}

static int token_by_refresh(CURL *easy, const struct source *s, const struct challenge *c, const char *scope,
                            struct token_body *body, struct berth_error *err)
{
    autotext struct text form = {0};
    add_field(easy, &form, "grant_type", "refresh_token");
    add_field(easy, &form, "client_id", "berth");
    add_field(easy, &form, "service", c->service);
    add_field(easy, &form, "scope", scope); /* here one parameter, as OAuth 2 has it */
    add_field(easy, &form, "refresh_token", s->identity_token);
    if (form.failed)
        return fail_memory(err);
    curl_easy_setopt(easy, CURLOPT_URL, c->realm);
    curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, form.data);
    return fetch(easy, s, body, err);
}

static int token_by_password(CURL *easy, const struct source *s, const struct challenge *c, const char *scope,
                             struct token_body *body, struct berth_error *err)
{
    autotext struct text query = {0};
    add_field(easy, &query, "service", c->service);
    add_scopes(easy, &query, scope);
    add_field(easy, &query, "account", s->user);
    autofree char *url = query.failed ? NULL : format_text("%s%s%s", c->realm, strchr(c->realm, '?') ? "&" : "?", query.length ? query.data : "");
    if (!url)
        return fail_memory(err);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    if (s->user) {
        curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(easy, CURLOPT_USERNAME, s->user);
        curl_easy_setopt(easy, CURLOPT_PASSWORD, s->password);
    }
    return fetch(easy, s, body, err);
}

static int answer_bearer(struct registry *r, struct source *s, const struct challenge *c, struct berth_error *err)
{
    int code = check_realm(s, c->realm, s->user || s->identity_token, err);
    if (code < 0)
        return code;
    autofree char *own = c->scope ? NULL : make_scope(r);
    const char *scope = c->scope ? c->scope : own;
    CURL *easy = http_handle(r, s, false, strncasecmp(c->realm, "http://", 7) == 0);
    struct token_body body = {0};
    char *value = NULL;
    if (!easy)
        return fail_memory(err);
    code = s->identity_token ? token_by_refresh(easy, s, c, scope, &body, err) : token_by_password(easy, s, c, scope, &body, err);
    curl_easy_cleanup(easy);
    if (code == 0)
        code = read_token(s, &body.text, &value, err);
    text_free(&body.text);
    if (code == 0) {
        free(s->authorization);
        s->authorization = value;
    }
    return code;
}

static int answer_basic(struct source *s, struct berth_error *err)
{
    autofree char *pair = format_text("%s:%s", s->user, s->password);
    autofree unsigned char *base = pair ? malloc((strlen(pair) + 2) / 3 * 4 + 1) : NULL;
    if (!base)
        return fail_memory(err);
    EVP_EncodeBlock(base, (const unsigned char *)pair, (int)strlen(pair));
    char *value = format_text("Basic %s", (const char *)base);
    if (!value)
        return fail_memory(err);
    free(s->authorization);
    s->authorization = value;
    return 0;
}

int auth_answer(struct registry *r, struct source *s, const struct answer_head *head, struct berth_error *err)
{
    int code = 1;
    for (int turn = 0; code == 1 && turn < 2; turn++) /* a token before a password */
        for (size_t i = 0; code == 1 && i < head->n_challenges; i++) {
            struct challenge c = {0};
            if (challenge_parse(head->challenges[i], &c) < 0)
                continue;
            if (turn == 0 && c.bearer)
                code = answer_bearer(r, s, &c, err);
            else if (turn == 1 && c.basic && s->user)
                code = answer_basic(s, err);
            challenge_clear(&c);
        }
    if (code == 1)
        code = fail(err, BERTH_DENIED, r->name, "%s wants a login: berth login %s", s->host, r->name);
    else if (code == BERTH_DENIED && !s->user && !s->identity_token)
        fail_context(err, "nobody is logged in (berth login %s)", r->name);
    else if (code == BERTH_DENIED)
        fail_context(err, "the login kept for it (berth login %s)", r->name);
    return code;
}
