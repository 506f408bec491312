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

/* Those behind the scheme, as far as they are "name = value". */
static int parse_parameters(const char *text, struct challenge *c)
{
    int code = 0;
    while (code == 0) {
        text += strspn(text, " \t,");
        size_t name = strspn(text, TOKEN_CHARACTERS);
        const char *equals = text + name + strspn(text + name, " \t");
        if (name == 0 || *equals != '=')
            break;
        const char *value = equals + 1 + strspn(equals + 1, " \t");
        char *parsed = parse_value(&value, &code);
        if (parsed)
            keep_parameter(c, text, name, parsed);
        text = value;
    }
    return code;
}

int challenge_parse(const char *text, struct challenge *ret)
{
    struct challenge c = {0};
    text += strspn(text, " \t");
    size_t n = strspn(text, TOKEN_CHARACTERS);
    c.bearer = n == 6 && strncasecmp(text, "bearer", 6) == 0;
    c.basic = n == 5 && strncasecmp(text, "basic", 5) == 0;
    int code = parse_parameters(text + n, &c);
    if (n == 0 || (code == 0 && c.bearer && !c.realm))
        code = -EINVAL;
    if (code < 0)
        challenge_clear(&c);
    else
        *ret = c;
    return code;
}

/* ---- tokens */

/* Beside whatever else is under way: nobody but who needs the token waits for its server. */
struct token_request {
    struct http_user user;
    struct registry *registry;
    struct source *source;
    CURL *easy;
    struct text body;
    char words[CURL_ERROR_SIZE];
};

void token_free(struct token_request *t)
{
    if (!t)
        return;
    t->source->token = NULL;
    curl_multi_remove_handle(t->registry->multi, t->easy);
    curl_easy_cleanup(t->easy);
    text_free(&t->body);
    free(t);
}

static size_t take_token(char *bytes, size_t one, size_t n, void *data)
{
    struct token_request *t = data;
    (void)one;
    if (t->body.length + n > REGISTRY_MAX_TOKEN_BYTES)
        return 0;
    text_add_bytes(&t->body, bytes, n);
    return t->body.failed ? 0 : n;
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

static int check_answer(struct token_request *t, CURLcode c, struct berth_error *err)
{
    const char *host = t->source->host;
    char said[160];
    long status = 0;
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
    if (c != CURLE_OK)
        return fail(err, c == CURLE_OPERATION_TIMEDOUT ? BERTH_TIMED_OUT : BERTH_IO, host, "%s: its token server: %s", host,
                    *t->words ? t->words : curl_easy_strerror(c));
    http_words(&t->body, said, sizeof said);
    if (status == 401 || status == 403)
        return fail(err, BERTH_DENIED, host, "%s refuses the credentials%s%s", host, *said ? ": " : "", said);
    return status == 200 ? 0 : fail(err, BERTH_IO, host, "%s: its token server answers %ld%s%s", host, status, *said ? ": " : "", said);
}

static void keep_authorization(struct source *s, char *value)
{
    free(s->authorization);
    s->authorization = value;
    s->n_authorizations++;
}

static int say_login(const struct registry *r, const struct source *s, int code, struct berth_error *err)
{
    if (code == BERTH_DENIED && !s->user && !s->identity_token)
        fail_context(err, "nobody is logged in (berth login %s)", r->name);
    else if (code == BERTH_DENIED)
        fail_context(err, "the login kept for it (berth login %s)", r->name);
    return code;
}

static void token_ended(struct http_user *user, CURLcode c)
{
    struct token_request *t = (struct token_request *)user;
    struct registry *r = t->registry;
    struct source *s = t->source;
    struct berth_error err = {0};
    char *value = NULL;
    int code = check_answer(t, c, &err);
    if (code == 0)
        code = read_token(s, &t->body, &value, &err);
    if (code == 0)
        keep_authorization(s, value);
    token_free(t);
    exchanges_told(r, s, say_login(r, s, code, &err), &err);
}

static int by_refresh(CURL *easy, const struct source *s, const struct challenge *c, const char *scope, struct berth_error *err)
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
    return 0;
}

static int by_password(CURL *easy, const struct source *s, const struct challenge *c, const char *scope, struct berth_error *err)
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
    return 0;
}

static void set_handle(struct token_request *t)
{
    const struct source *s = t->source;
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->words);
    curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, take_token);
    curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, &t->user);
    /* A password is kept from another host by libcurl; a refresh token in a body goes wherever 307 leads. */
    curl_easy_setopt(t->easy, CURLOPT_FOLLOWLOCATION, s->identity_token ? 0L : 1L);
    curl_easy_setopt(t->easy, CURLOPT_MAXREDIRS, 3L);
    curl_easy_setopt(t->easy, CURLOPT_REDIR_PROTOCOLS_STR, s->scheme == SCHEME_HTTP ? "http,https" : "https");
    curl_easy_setopt(t->easy, CURLOPT_TIMEOUT, (long)MAX(s->silence_sec, 1));
}

static int answer_bearer(struct registry *r, struct source *s, const struct challenge *c, struct berth_error *err)
{
    int code = check_realm(s, c->realm, s->user || s->identity_token, err);
    if (code < 0)
        return code;
    autofree char *own = c->scope ? NULL : make_scope(r);
    const char *scope = c->scope ? c->scope : own;
    struct token_request *t = s->token = calloc(1, sizeof *t);
    if (!t)
        return fail_memory(err);
    *t = (struct token_request){.user.ended = token_ended, .registry = r, .source = s,
                                .easy = http_handle(r, s, false, strncasecmp(c->realm, "http://", 7) == 0)};
    code = !t->easy ? fail_memory(err) : s->identity_token ? by_refresh(t->easy, s, c, scope, err) : by_password(t->easy, s, c, scope, err);
    if (code == 0) {
        set_handle(t);
        code = curl_multi_add_handle(r->multi, t->easy) == CURLM_OK ? 1 : fail_memory(err);
    }
    if (code < 0)
        token_free(t);
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
    keep_authorization(s, value);
    return 0;
}

#define NO_ANSWER 2 /* none of the challenges is one that we can answer */

int auth_answer(struct registry *r, struct source *s, const struct answer_head *head, struct berth_error *err)
{
    int code = NO_ANSWER;
    for (int turn = 0; code == NO_ANSWER && turn < 2; turn++) /* a token before a password */
        for (size_t i = 0; code == NO_ANSWER && i < head->n_challenges; i++) {
            struct challenge c = {0};
            if (challenge_parse(head->challenges[i], &c) < 0)
                continue;
            if (turn == 0 && c.bearer)
                code = answer_bearer(r, s, &c, err);
            else if (turn == 1 && c.basic && s->user)
                code = answer_basic(s, err);
            challenge_clear(&c);
        }
    return code == NO_ANSWER ? fail(err, BERTH_DENIED, r->name, "%s wants a login: berth login %s", s->host, r->name)
                             : say_login(r, s, code, err);
}
