/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TCP and TLS for a library that may neither resolve a name nor start a thread: the program berth-relay.
 *
 *   berth-relay PID HOST:PORT [CERTS]
 *       Takes one connection of process PID at the listening socket 0, connects to HOST:PORT, with CERTS (ca.pem,
 *       cert.pem, key.pem) by TLS, and carries bytes between the two. When it cannot connect it answers the first
 *       request itself, with status 599 and the reason.
 *
 * Bytes between one connection of the caller's and the daemon; each side's end is passed on, since an exec's
 * standard input ends that way. A daemon's certificate must be of the authority in ca.pem and of the host's name.
 */
#include "base/base.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define CONNECT_MSEC 10000
#define CHUNK 65536
#define DEFAULT_PORT "2375"
#define DEFAULT_TLS_PORT "2376"

/** One direction. */
struct way {
    char data[CHUNK];
    size_t at, size;
    bool over;      /* nothing more is read */
    bool told;      /* and the other side knows */
};

struct relay {
    int near_fd, far_fd;
    SSL *tls;
    struct way there, back;
    bool tls_wants_out, tls_wants_in;
};

/* ---- connecting */

static int connect_one(const struct addrinfo *a)
{
    autoclose int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    int error = 0;
    socklen_t size = sizeof(error);
    if (fd < 0)
        return -errno;
    if (connect(fd, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS)
        return -errno;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (poll(&p, 1, CONNECT_MSEC) == 0)
        return -ETIMEDOUT;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error)
        return error ? -error : -errno;
    return take_fd(&fd);
}

/** "host:port", "[::1]:port", "host". */
static void split(const char *place, bool tls, char host[256], char port[16])
{
    const char *end = *place == '[' ? strchr(place, ']') : NULL;
    const char *colon = strchr(end ? end : place, ':');
    size_t n = end ? (size_t)(end - place - 1) : colon ? (size_t)(colon - place) : strcspn(place, "/");
    snprintf(host, 256, "%.*s", (int)MIN(n, (size_t)255), end ? place + 1 : place);
    snprintf(port, 16, "%s", colon ? colon + 1 : tls ? DEFAULT_TLS_PORT : DEFAULT_PORT);
    port[strspn(port, "0123456789")] = '\0';
}

static int connect_host(const char *place, const char *host, const char *port, int *ret_fd, struct berth_error *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int r = getaddrinfo(host, port, &hints, &list), last = -ECONNREFUSED;
    if (r)
        return fail(err, BERTH_LOST, place, "tcp://%s: %s", place, gai_strerror(r));
    for (const struct addrinfo *a = list; a; a = a->ai_next)
        if ((last = connect_one(a)) >= 0)
            break;
    freeaddrinfo(list);
    if (last < 0)
        return fail(err, BERTH_LOST, place, "tcp://%s: no daemon answers there: %s", place, strerror(-last));
    *ret_fd = last;
    return 0;
}

/* ---- TLS */

static int tls_fail(const char *place, const char *what, struct berth_error *err)
{
    char words[256] = "";
    unsigned long code = ERR_peek_last_error();
    if (code)
        ERR_error_string_n(code, words, sizeof(words));
    return fail(err, BERTH_DENIED, place, "tcp://%s: %s%s%s", place, what, *words ? ": " : "", words);
}

static int load_files(SSL_CTX *context, const char *certs, const char *place, struct berth_error *err)
{
    autofree char *ca = format_text("%s/ca.pem", certs), *cert = format_text("%s/cert.pem", certs),
                  *key = format_text("%s/key.pem", certs);
    if (!ca || !cert || !key)
        return fail_memory(err);
    if (SSL_CTX_load_verify_locations(context, ca, NULL) != 1)
        return tls_fail(place, ca, err);
    if (access(cert, F_OK) < 0 && errno == ENOENT)
        return 0; /* a daemon that asks for no certificate */
    if (SSL_CTX_use_certificate_chain_file(context, cert) != 1)
        return tls_fail(place, cert, err);
    return SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1 ? 0 : tls_fail(place, key, err);
}

static int name_host(SSL *tls, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(tls);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
        return 1;
    ERR_clear_error();
    return SSL_set_tlsext_host_name(tls, host) == 1 && SSL_set1_host(tls, host) == 1;
}

static int shake_hands(struct relay *r, const char *place, struct berth_error *err)
{
    for (;;) {
        int n = SSL_connect(r->tls), why = SSL_get_error(r->tls, n);
        if (n == 1)
            return 0;
        struct pollfd p = {.fd = r->far_fd, .events = why == SSL_ERROR_WANT_WRITE ? POLLOUT : POLLIN};
        if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            return tls_fail(place, "TLS", err);
        if (poll(&p, 1, CONNECT_MSEC) == 0)
            return fail(err, BERTH_TIMED_OUT, place, "tcp://%s: no TLS answer in time", place);
    }
}

static int begin_tls(struct relay *r, const char *place, const char *host, const char *certs, struct berth_error *err)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context)
        return fail_memory(err);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    int code = load_files(context, certs, place, err);
    if (code == 0 && (!(r->tls = SSL_new(context)) || SSL_set_fd(r->tls, r->far_fd) != 1 || !name_host(r->tls, host)))
        code = tls_fail(place, "TLS", err);
    SSL_CTX_free(context);
    return code < 0 ? code : shake_hands(r, place, err);
}

/* ---- carrying: bytes, 0 at the end, -EAGAIN, -errno */

static ssize_t tls_result(struct relay *r, int n)
{
    int why = SSL_get_error(r->tls, n);
    r->tls_wants_out |= why == SSL_ERROR_WANT_WRITE;
    r->tls_wants_in |= why == SSL_ERROR_WANT_READ;
    if (n > 0)
        return n;
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    return why == SSL_ERROR_ZERO_RETURN ? 0 : -EIO;
}

static ssize_t get_far(struct relay *r, char *data, size_t size)
{
    if (r->tls)
        return tls_result(r, SSL_read(r->tls, data, (int)size));
    ssize_t n = RETRY(recv(r->far_fd, data, size, MSG_DONTWAIT));
    return n < 0 ? -errno : n;
}

static ssize_t put_far(struct relay *r, const char *data, size_t size)
{
    if (r->tls)
        return tls_result(r, SSL_write(r->tls, data, (int)size));
    ssize_t n = RETRY(send(r->far_fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL));
    return n < 0 ? -errno : n;
}

static ssize_t get_near(struct relay *r, char *data, size_t size)
{
    ssize_t n = RETRY(recv(r->near_fd, data, size, MSG_DONTWAIT));
    return n < 0 ? -errno : n;
}

static ssize_t put_near(struct relay *r, const char *data, size_t size)
{
    ssize_t n = RETRY(send(r->near_fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL));
    return n < 0 ? -errno : n;
}

/** Move what can be moved. False when the connection is of no use any more. */
static bool move(struct relay *r, struct way *w, ssize_t (*get)(struct relay *, char *, size_t),
                 ssize_t (*put)(struct relay *, const char *, size_t))
{
    for (int rounds = 0; rounds < 64; rounds++) {
        if (w->at == w->size && !w->over) {
            ssize_t n = get(r, w->data, sizeof(w->data));
            if (n == -EAGAIN)
                return true;
            w->over = n <= 0;
            w->at = 0;
            w->size = n > 0 ? (size_t)n : 0;
        }
        if (w->at == w->size)
            return true;
        ssize_t n = put(r, w->data + w->at, w->size - w->at);
        if (n == -EAGAIN)
            return true;
        if (n <= 0)
            return false;
        w->at += (size_t)n;
    }
    return true;
}

static void pass_ends(struct relay *r)
{
    if (r->there.over && r->there.at == r->there.size && !r->there.told) {
        r->there.told = true;
        if (r->tls)
            SSL_shutdown(r->tls);
        else
            shutdown(r->far_fd, SHUT_WR);
    }
    if (r->back.over && r->back.at == r->back.size && !r->back.told) {
        r->back.told = true;
        shutdown(r->near_fd, SHUT_WR);
    }
}

static short wants(const struct way *reads, const struct way *writes)
{
    return (short)((reads->at == reads->size && !reads->over ? POLLIN : 0) | (writes->at < writes->size ? POLLOUT : 0));
}

static void carry(struct relay *r)
{
    for (;;) {
        r->tls_wants_out = r->tls_wants_in = false;
        if (!move(r, &r->there, get_near, put_far) || !move(r, &r->back, get_far, put_near))
            return;
        pass_ends(r);
        if (r->back.told)
            return; /* a daemon that has closed says nothing more */
        struct pollfd fds[] = {{.fd = r->near_fd, .events = wants(&r->there, &r->back)},
                               {.fd = r->far_fd, .events = wants(&r->back, &r->there)}};
        if (r->tls)
            fds[1].events = (short)(POLLIN | (r->tls_wants_out ? POLLOUT : 0));
        if (r->tls && r->back.at < r->back.size && !r->tls_wants_in)
            fds[1].events &= (short)~POLLIN; /* the near side is slow */
        if (!fds[0].events)
            fds[0].fd = r->there.told ? r->near_fd : -1;
        if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
            return;
        if (fds[0].revents & (POLLHUP | POLLERR) && r->there.told)
            return; /* nobody is there any more */
    }
}

/* ---- the way in */

/** The one connection, of the process that started us: the name of the socket is no secret. */
static int accept_caller(pid_t pid, int *ret_fd, struct berth_error *err)
{
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    while (poll(&p, 1, CONNECT_MSEC) > 0) {
        struct ucred who = {0};
        socklen_t size = sizeof(who);
        autoclose int fd = accept4(STDIN_FILENO, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.pid != pid || who.uid != getuid())
            continue;
        close(STDIN_FILENO);
        *ret_fd = take_fd(&fd);
        return 0;
    }
    return fail(err, BERTH_LOST, NULL, "nobody came");
}

/** The caller speaks HTTP: it gets an answer that says why. */
static void answer(int fd, const struct berth_error *why)
{
    autotext struct text body = {0}, all = {0};
    text_add(&body, "{\"message\":\"");
    for (const char *p = why->message; *p; p++)
        if (*p == '"' || *p == '\\')
            text_printf(&body, "\\%c", *p);
        else if ((unsigned char)*p >= ' ')
            text_add_bytes(&body, p, 1);
    text_add(&body, "\"}");
    text_printf(&all, "HTTP/1.1 599 No Daemon\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                body.length, body.data);
    char drop[CHUNK];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, CONNECT_MSEC) > 0 && recv(fd, drop, sizeof(drop), MSG_DONTWAIT) > 0 && !all.failed)
        fd_write_all(fd, all.data, all.length);
    shutdown(fd, SHUT_WR);
}

static int run(pid_t pid, const char *place, const char *certs, struct berth_error *err)
{
    static struct relay r;
    char host[256], port[16];
    int code = accept_caller(pid, &r.near_fd, err);
    if (code < 0)
        return code;
    split(place, certs != NULL, host, port);
    code = connect_host(place, host, port, &r.far_fd, err);
    if (code == 0 && certs)
        code = begin_tls(&r, place, host, certs, err);
    if (code < 0) {
        answer(r.near_fd, err);
        return code;
    }
    carry(&r);
    SSL_free(r.tls);
    return 0;
}

int main(int argc, char **argv)
{
    struct berth_error err = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: berth-relay PID HOST:PORT [CERTS] (for berth's own use)\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (run((pid_t)strtol(argv[1], NULL, 10), argv[2], argv[3], &err) == 0)
        return 0;
    fprintf(stderr, "berth-relay: %s\n", err.message);
    return 1;
}
