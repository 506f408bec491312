/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the registry's room share: sources, one exchange, the way it ends.
 *
 *   registry_places.c       settings, certs.d, CAs      -> sources        outside of the jail
 *   registry_credentials.c  docker's and podman's files -> passwords      outside of the jail
 *   registry_http.c         one request, and the loop that moves all      in the jail
 *   registry_tls.c          whom to believe                               in the jail
 *   registry_answer.c       what comes back, byte for byte                in the jail
 *   registry_redirect.c     where a redirect may lead                     in the jail
 *   registry_next.c         what an answer means, whom to ask next        in the jail
 *   registry_auth.c         challenges and tokens                         in the jail
 *   registry.c, registry_push.c: what the others call
 */
#ifndef TOOL_REGISTRY_INSIDE_H
#define TOOL_REGISTRY_INSIDE_H

#include "base/base.h"
#include "base/text.h"
#include "image/tool/registry.h"
#include "image/tool/registry_curl.h"

#define REGISTRY_MAX_SOURCES 16
#define REGISTRY_MAX_REDIRECTS 10
#define REGISTRY_MAX_ATTEMPTS 5            /* in a row without progress, of one source */
#define REGISTRY_MAX_SILENCES 2
#define REGISTRY_MAX_WAIT_SEC 60           /* Retry-After above that is an answer, not a pause */
#define REGISTRY_PROGRESS_BYTES (256u << 10) /* so much more is progress: attempts are counted anew */
#define REGISTRY_MAX_HEADER_BYTES (256u << 10)
#define REGISTRY_MAX_ERROR_BYTES (16u << 10)
#define REGISTRY_MAX_TOKEN_BYTES (256u << 10)
#define REGISTRY_SILENCE_SEC 30
#define REGISTRY_SLOWEST 1024              /* bytes a second; below that for the time of silence is silence */

enum scheme { SCHEME_HTTPS, SCHEME_HTTP, SCHEME_EITHER }; /* EITHER: https, and http when nobody speaks TLS there */

/** One place that may have what is asked for. */
struct source {
    char *host;             /* "registry-1.docker.io", "mirror.example:5000" */
    char *prefix;           /* before the repository: "", or "cache/" */
    enum scheme scheme;
    bool unverified, is_mirror, dead, loopback;
    int silence_sec;
    char *ca, *certificate, *key; /* PEM, or NULL */
    char *user, *password;  /* NULL: none */
    char *identity_token;   /* OAuth2 refresh token */
    char *authorization;    /* the header's value that works now, or NULL */
    unsigned n_authorizations; /* so many there were */
    struct token_request *token; /* is being asked for, or NULL */
    struct x509_store_st *trusted; /* what `ca` says, read; made when first needed */
};

/** What a handle of libcurl stands for: the first member of whoever made it. */
struct http_user { void (*ended)(struct http_user *user, CURLcode code); };

struct registry {
    char *name;             /* as in references: "docker.io" */
    struct reference reference;
    bool push, login;
    struct source *sources;
    size_t n_sources, first; /* first: those before it are not asked any more */
    char *ca;               /* the system's CAs; NULL: curl's own */
    char *http_proxy;       /* $http_proxy or $HTTP_PROXY; the others curl finds itself */
    CURLM *multi;
    struct exchange *exchanges; /* all that are not over */
    bool moved;             /* something happened since registry_step began */
};

/** What the answer said, as far as anybody here asks. Strings are ours or NULL. */
struct answer_head {
    long status;
    char *type, *location, *digest, *range, *content_range;
    char *challenges[4]; /* WWW-Authenticate */
    size_t n_challenges;
    int64_t length;         /* Content-Length, -1 */
    size_t bytes;
};

struct exchange {
    struct http_user user;
    struct registry *registry;
    struct exchange *next;
    /* what is asked for */
    const char *method;
    char *path;             /* below /v2/REPOSITORY/, "" is /v2/ itself */
    char *fixed_url;        /* instead: where an upload goes on */
    const char *accept;
    char *content_type, *content_range_sent;
    const char *body;       /* to send, or NULL */
    int body_fd;            /* or from here, -1 */
    uint64_t body_offset, body_size, body_sent;
    bool once;              /* not asked again by itself: the caller knows better (uploads) */
    size_t max;             /* of `text` */
    struct registry_transfer *transfer; /* bytes of 200 and 206 go there; NULL: into `text` */
    int (*check)(struct exchange *x, struct berth_error *err); /* of a good answer; negative: this source lies */
    void *data;             /* for check */
    /* where it is */
    size_t source;
    unsigned attempts, silences, redirects, auth_tries;
    bool plain_tried;
    char *url;              /* now, after redirects */
    bool away;              /* url is not the source's own: no credentials */
    int64_t due_usec;       /* > 0: a pause, until then */
    bool waits_for_token;   /* that its source asks for */
    unsigned authorization; /* the source's count when it was sent */
    CURL *easy;
    struct curl_slist *headers;
    char curl_error[CURL_ERROR_SIZE];
    /* answer */
    struct answer_head head;
    struct text text;
    uint64_t progress_mark;
    bool too_much, sink_failed, over;
    int code;               /* when over: 0 or negative, err */
    struct berth_error err;
};

struct registry_transfer {
    struct exchange *x;
    char digest[DIGEST_TEXT];
    uint64_t size, here, skip;
    bool mixed;             /* of more than one answer: begun before, or gone on with */
    struct registry_sink sink;
    struct hasher *hasher;
};

/* ---- registry_http.c */
struct exchange *exchange_new(struct registry *r, const char *method, const char *path);
void exchange_free(struct exchange *x);
/** Set going; then exchange_wait(), or registry_step() until x->over. */
int exchange_begin(struct exchange *x, struct berth_error *err);
int exchange_wait(struct exchange *x, struct berth_error *err);
const struct source *exchange_source(const struct exchange *x);
/** One attempt at x->url; and from the source's own address again. */
void exchange_ask(struct exchange *x);
void exchange_anew(struct exchange *x);
void exchange_drop(struct exchange *x);
void exchange_finish(struct exchange *x, int code);
/** A handle with what is the same for all requests to a source. `own`: it is that source's own host. */
CURL *http_handle(const struct registry *r, struct source *s, bool own, bool plain);
/** "https://host/v2/": where a source is. */
char *source_url(const struct source *s, const char *repository, const char *path);

/* ---- registry_tls.c */
void tls_set(CURL *easy, const struct registry *r, struct source *s, bool own);
void tls_clear(struct source *s);

/* ---- registry_answer.c */
void answer_callbacks(struct exchange *x);
void answer_clear(struct answer_head *h);
bool answer_good(const struct exchange *x);
/** What an error's body says in words, cleaned; into `ret`. */
void http_words(const struct text *body, char *ret, size_t room);

/* ---- registry_redirect.c */
/** `location` as seen from `from`; *ret_away: it is another host than `own`. Never to http from https. */
int redirect_follow(const char *from, const char *location, const char *own, char **ret_url, bool *ret_away, struct berth_error *err);

/* ---- registry_next.c */
void exchange_ended(struct http_user *user, CURLcode code);
/** The next source, or the end with x->err. */
void exchange_next_source(struct exchange *x);
/** The token that they waited for is here, or why it is not. */
void exchanges_told(struct registry *r, const struct source *s, int code, const struct berth_error *err);

/* ---- registry_auth.c */
struct challenge { bool bearer, basic; char *realm, *service, *scope; };
/** One WWW-Authenticate header; unknown schemes are neither. -ENOMEM, -EINVAL. */
int challenge_parse(const char *text, struct challenge *ret);
void challenge_clear(struct challenge *c);
/** Answer the challenges that came with a 401. 0: source->authorization is new; 1: a token is asked for, exchanges_told(). */
int auth_answer(struct registry *r, struct source *s, const struct answer_head *head, struct berth_error *err);
/** Before the registry's handles go. */
void token_free(struct token_request *t);

/* ---- registry_places.c */
int places_find(struct work *w, struct registry *r, struct berth_error *err);
void source_clear(struct source *s);

/* ---- registry_credentials.c */
struct credentials { char *user, *password, *identity_token; };
void credentials_clear(struct credentials *c);
/** For a registry's name as in references and one of its repositories. Absent: 0 and all NULL. */
int credentials_find(const char *name, const char *repository, struct credentials *ret, struct berth_error *err);
/** Of one file's text (docker's config.json, podman's auth.json). */
int credentials_read(const char *json, size_t size, const char *name, const char *repository, struct credentials *ret,
                     char **ret_helper, struct berth_error *err);
/** Keep (`c` NULL: forget) those of a registry where docker and podman find them; says where in ret_place. */
int credentials_store(const char *name, const struct credentials *c, char **ret_place, bool *ret_was_there, struct berth_error *err);

#endif
