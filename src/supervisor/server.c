/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests over the socket: one packet, one message, one row of a table.
 *
 * Only root's processes are heard, and even they are not believed: what is no message closes the
 * connection, what is a wrong one gets an error, and nobody can make us wait or grow.
 */
#include "supervisor/names.h"
#include "supervisor/supervisor.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "store/log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct connection {
    struct source source;
    struct connection *next;
    bool early;         /* made before we were born, by who started us */
    bool watches;       /* is told the end, as the answer to watch_tag */
    uint64_t watch_tag;
};

/* ---- answering --------------------------------------------------------------------------------
 */

/* A client that does not read its answers loses its connection: the loop hears the hang-up. */
static void send_packet(struct connection *c, uint64_t tag, uint32_t type, const char *body)
{
    size_t size = 0;
    autofree char *packet = message_pack(type, tag, body, &size);
    if (!packet || send(c->source.fd, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        shutdown(c->source.fd, SHUT_RDWR);
}

void reply(struct supervisor *s, struct connection *c, uint64_t tag, enum message_type type,
           json_t *result)
{
    if (c) {
        autofree char *body = result ? json_dumps(result, JSON_COMPACT) : NULL;
        send_packet(c, tag, type, body);
    }
    json_decref(result);
}

void reply_error(struct supervisor *s, struct connection *c, uint64_t tag,
                 const struct berth_error *err)
{
    if (!c)
        return;
    autofree char *body = message_error_body(err);
    send_packet(c, tag, MESSAGE_ERROR, body);
}

int waiter_add(struct supervisor *s, struct connection *c, uint64_t tag, bool restart)
{
    struct berth_error err;
    if (!c)
        return 0;
    struct waiter *w = malloc(sizeof(*w));
    if (!w) {
        int r = fail_memory(&err);
        reply_error(s, c, tag, &err);
        return r;
    }
    *w = (struct waiter){.connection = c, .tag = tag, .restart = restart, .next = s->waiters};
    s->waiters = w;
    return 0;
}

/* A restart that ended otherwise (a later stop, a start that failed) is an error to whoever asked
 * it. */
static void waiter_answer(struct supervisor *s, const struct waiter *w,
                          const struct berth_error *error)
{
    struct berth_error err;
    if (w->restart && (error || s->state == LIFE_OVER)) {
        fail(&err, BERTH_CANCELLED, s->name, "a stop overtook the restart");
        reply_error(s, w->connection, w->tag, error ? error : &err);
    } else {
        reply(s, w->connection, w->tag, MESSAGE_DONE, NULL);
    }
}

void waiters_answer(struct supervisor *s, bool restart_only, const struct berth_error *error)
{
    bool everybody = s->state == LIFE_OVER;
    for (struct waiter **at = &s->waiters; *at;) {
        struct waiter *w = *at;
        if (everybody || w->restart == restart_only) {
            *at = w->next;
            waiter_answer(s, w, error);
            free(w);
        } else {
            at = &w->next;
        }
    }
}

static void connection_close(struct supervisor *s, struct connection *c);

/* ---- the requests -----------------------------------------------------------------------------
 */

static int64_t get_int(json_t *body, const char *key, int64_t otherwise)
{
    json_t *value = json_object_get(body, key);
    return json_is_integer(value) ? json_integer_value(value) : otherwise;
}

static bool get_bool(json_t *body, const char *key)
{
    return json_is_true(json_object_get(body, key));
}

static uint16_t get_size(json_t *body, const char *key)
{
    int64_t n = get_int(body, key, 0);
    return n > 0 && n <= UINT16_MAX ? (uint16_t)n : 0;
}

static void refuse(struct supervisor *s, struct connection *c, uint64_t tag, const char *what)
{
    struct berth_error err;
    fail(&err, BERTH_INVALID, s->name, "%s", what);
    reply_error(s, c, tag, &err);
}

static void refuse_memory(struct supervisor *s, struct connection *c, uint64_t tag)
{
    struct berth_error err;
    fail_memory(&err);
    reply_error(s, c, tag, &err);
}

static void on_stop(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                    int *fds, size_t n_fds)
{
    struct request r = {.connection = c,
                        .tag = tag,
                        .timeout_usec = get_int(body, "timeout_usec", -1),
                        .restart = get_bool(body, "restart"),
                        .remove = get_bool(body, "remove"),
                        .cancel = get_bool(body, "cancel")};
    if (r.cancel)
        r.timeout_usec = 0;
    hear(s, HEARD_STOP, &r);
}

static int get_signal(json_t *body)
{
    json_t *value = json_object_get(body, "signal");
    if (json_is_string(value))
        return signal_parse(json_string_value(value));
    int64_t n = json_is_integer(value) ? json_integer_value(value) : 0;
    return n > 0 && n <= SIGRTMAX ? (int)n : -EINVAL;
}

static void on_signal(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                      int *fds, size_t n_fds)
{
    struct request r = {.connection = c, .tag = tag, .signal = get_signal(body)};
    if (r.signal <= 0)
        return refuse(s, c, tag, "signal: no such signal");
    hear(s, HEARD_SIGNAL, &r);
}

static void on_exec(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                    int *fds, size_t n_fds)
{
    exec_request(s, c, tag, body, fds, n_fds);
}

static void done_or_error(struct supervisor *s, struct connection *c, uint64_t tag, int r,
                          const struct berth_error *err)
{
    if (r < 0)
        reply_error(s, c, tag, err);
    else
        reply(s, c, tag, MESSAGE_DONE, NULL);
}

static void on_exec_signal(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                           int *fds, size_t n_fds)
{
    struct berth_error err;
    int signal = get_signal(body);
    if (signal <= 0)
        return refuse(s, c, tag, "signal: no such signal");
    int r = exec_signal(s, (uint64_t)get_int(body, "exec_id", 0), signal, &err);
    done_or_error(s, c, tag, r, &err);
}

static void on_exec_let_go(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                           int *fds, size_t n_fds)
{
    struct berth_error err;
    done_or_error(s, c, tag, exec_let_go(s, (uint64_t)get_int(body, "exec_id", 0), &err), &err);
}

static void on_exec_list(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                         int *fds, size_t n_fds)
{
    exec_list(s, c, tag);
}

static void on_resize(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                      int *fds, size_t n_fds)
{
    struct berth_error err;
    int64_t id = get_int(body, "exec_id", 0);
    uint16_t rows = get_size(body, "rows"), columns = get_size(body, "columns");
    int r = 0;
    if (id)
        r = exec_resize(s, (uint64_t)id, rows, columns, &err);
    else if (stdio_resize(&s->stdio, rows, columns) < 0)
        r = fail(&err, BERTH_WRONG_STATE, s->name, "%s has no terminal", s->name);
    done_or_error(s, c, tag, r, &err);
}

static void watch_end(struct supervisor *s, struct connection *c, uint64_t tag)
{
    c->watches = true;
    c->watch_tag = tag;
    reply(s, c, tag, MESSAGE_STARTED, NULL);
}

static void on_attach(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                      int *fds, size_t n_fds)
{
    struct berth_error err;
    bool input = get_bool(body, "input");
    int r = 0;
    if (s->state == LIFE_OVER || (s->state == LIFE_BORN && !c->early))
        r = fail(&err, BERTH_WRONG_STATE, s->name, "%s does not run", s->name);
    else if (input && !s->plan->stdin_open && !s->plan->tty)
        r = fail(&err, BERTH_WRONG_STATE, s->name,
                 "%s was created without an open standard input (-i)", s->name);
    else if (get_bool(body, "watch"))
        watch_end(s, c, tag);
    else
        r = viewer_add(s, &s->stdio, c, tag, input, fds, n_fds, &err);
    if (r < 0)
        reply_error(s, c, tag, &err);
    else if (get_size(body, "rows"))
        stdio_resize(&s->stdio, get_size(body, "rows"), get_size(body, "columns"));
}

static void on_pause(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                     int *fds, size_t n_fds)
{
    hear(s, HEARD_PAUSE, &(struct request){.connection = c, .tag = tag});
}

static void on_unpause(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                       int *fds, size_t n_fds)
{
    hear(s, HEARD_UNPAUSE, &(struct request){.connection = c, .tag = tag});
}

#define SWAP(a, b)                                                                                 \
    ({                                                                                             \
        __typeof__(a) swap_ = (a);                                                                 \
        (a) = (b);                                                                                 \
        (b) = swap_;                                                                               \
    })

/* Only what may change in a running workload; the plan itself stays, others point into it. */
static void plan_take_over(struct plan *plan, struct plan *from)
{
    SWAP(plan->limits, from->limits);
    SWAP(plan->restart, from->restart);
    SWAP(plan->log, from->log);
    SWAP(plan->health, from->health);
    SWAP(plan->readiness, from->readiness);
    SWAP(plan->liveness, from->liveness);
    SWAP(plan->stop_signal, from->stop_signal);
    SWAP(plan->stop_timeout_usec, from->stop_timeout_usec);
    SWAP(plan->at_end, from->at_end);
    SWAP(plan->links, from->links);
    SWAP(plan->n_links, from->n_links);
    SWAP(plan->ports, from->ports);
    SWAP(plan->n_ports, from->n_ports);
    SWAP(plan->dns, from->dns);
    SWAP(plan->name, from->name);
}

static void on_update(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                      int *fds, size_t n_fds)
{
    struct berth_error err;
    autoclean(cleanup_plan) struct plan *plan = NULL;
    autofree char *text = json_dumps(json_object_get(body, "plan"), JSON_COMPACT);
    if (!text)
        return refuse(s, c, tag, "update: no plan");
    if (s->state == LIFE_OVER)
        return refuse(s, c, tag, "update: has ended");
    if (plan_parse(text, strlen(text), &plan, &err) < 0 || launch_update(s->launch, plan, &err) < 0)
        return reply_error(s, c, tag, &err);
    bool probing = s->state == LIFE_RUNNING;
    if (probing)
        probes_end(s);
    plan_take_over(s->plan, plan);
    s->name = s->plan->name; /* a rename is a change of the plan, too */
    if (names_of_plan(s, &err) < 0 || names_settle(s, NAMES_WAIT_MSEC, &err) < 0)
        names_tell(s, &err);
    if (probing)
        probes_begin(s);
    if (s->log)
        log_writer_limits(s->log, s->plan->log.max_size_bytes, s->plan->log.max_files);
    s->record.memory_limit = s->plan->limits.memory > 0 ? (uint64_t)s->plan->limits.memory : 0;
    record_write(s, false);
    reply(s, c, tag, MESSAGE_DONE, NULL);
}

static void on_ping(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                    int *fds, size_t n_fds)
{
    reply(s, c, tag, MESSAGE_DONE,
          json_pack("{s:s,s:i}", "version", BERTH_VERSION, "state", (int)s->record.state));
}

static void on_wall(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                    int *fds, size_t n_fds)
{
    struct berth_error err;
    bool whole = true;
    if (s->state != LIFE_OVER && launch_wall(s->launch, json_is_true(json_object_get(body, "mend")), &whole, &err) < 0)
        return reply_error(s, c, tag, &err);
    reply(s, c, tag, MESSAGE_DONE, json_pack("{s:b}", "whole", whole));
}

static int receive(struct supervisor *s, struct connection *c);

static void on_connect(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body,
                       int *fds, size_t n_fds)
{
    struct connection *early;
    struct berth_error err;
    if (c != s->starter || s->state != LIFE_BORN || n_fds != 1)
        return refuse(s, c, tag, "connect: not before the start, or no descriptor");
    if (server_adopt(s, take_fd(&fds[0]), &early, &err) < 0)
        return reply_error(s, c, tag, &err);
    early->early = true;
    crash_point("attach.adopted");
    if (receive(s, early) < 0)
        connection_close(s, early);
}

static const struct {
    void (*handle)(struct supervisor *s, struct connection *c, uint64_t tag, json_t *body, int *fds,
                   size_t n_fds);
    size_t max_fds;
} requests[] = {
    [MESSAGE_STOP] = {on_stop, 0},           [MESSAGE_SIGNAL] = {on_signal, 0},
    [MESSAGE_EXEC] = {on_exec, EXEC_FDS_MAX},    [MESSAGE_EXEC_SIGNAL] = {on_exec_signal, 0},
    [MESSAGE_EXEC_LIST] = {on_exec_list, 0}, [MESSAGE_RESIZE] = {on_resize, 0},
    [MESSAGE_ATTACH] = {on_attach, 3},       [MESSAGE_PAUSE] = {on_pause, 0},
    [MESSAGE_UNPAUSE] = {on_unpause, 0},     [MESSAGE_UPDATE] = {on_update, 0},
    [MESSAGE_PING] = {on_ping, 0},           [MESSAGE_CONNECT] = {on_connect, 1},
    [MESSAGE_EXEC_LET_GO] = {on_exec_let_go, 0}, [MESSAGE_WALL] = {on_wall, 0},
};

/* ---- reading ----------------------------------------------------------------------------------
 */

/* jansson finds words for what is wrong with a text, and none for memory that ran out in between. */
static bool says_no_memory(const json_error_t *e)
{
    return !e->text[0] || json_error_code(e) == json_error_out_of_memory;
}

static void dispatch(struct supervisor *s, struct connection *c, const struct message *m, int *fds,
                     size_t n_fds)
{
    json_error_t where;
    if (m->type >= ARRAY_SIZE(requests) || !requests[m->type].handle)
        return refuse(s, c, m->tag, "unknown request");
    if (n_fds > requests[m->type].max_fds)
        return refuse(s, c, m->tag, "too many descriptors in a request");
    json_t *body =
        m->length ? json_loadb(m->body, m->length, JSON_REJECT_DUPLICATES, &where) : json_object();
    if (json_is_object(body))
        requests[m->type].handle(s, c, m->tag, body, fds, n_fds);
    else if (!body && (!m->length || says_no_memory(&where)))
        refuse_memory(s, c, m->tag);
    else
        refuse(s, c, m->tag, "the body of a request is not a JSON object");
    json_decref(body);
}

/* Only a memfd: any other file could make us wait. */
static int read_memfd(int fd, uint32_t length, char **ret_text)
{
    struct stat st;
    if (fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &st) < 0 || st.st_size < (off_t)length ||
        length > MESSAGE_BODY_MAX)
        return -EINVAL;
    autofree char *text = malloc(length + 1);
    if (!text)
        return -ENOMEM;
    if (pread(fd, text, length, 0) != (ssize_t)length)
        return -EIO;
    *ret_text = TAKE(text);
    return 0;
}

/* 0 when a message was handled; else the connection is of no more use. */
static int handle_packet(struct supervisor *s, struct connection *c, const char *packet,
                         size_t size, int *fds, size_t n_fds)
{
    struct message m;
    struct berth_error err;
    autofree char *long_text = NULL;
    int r = message_unpack(packet, size, &m, &err);
    if (r == BERTH_UNSUPPORTED)
        reply_error(s, c, m.tag, &err);
    if (r < 0)
        return r == BERTH_UNSUPPORTED ? 0 : r;
    if (m.in_memfd) {
        if (n_fds == 0 || read_memfd(fds[n_fds - 1], m.length, &long_text) < 0)
            return -EBADMSG;
        close_fd(&fds[--n_fds]);
        m.body = long_text;
    }
    dispatch(s, c, &m, fds, n_fds);
    return 0;
}

static int receive(struct supervisor *s, struct connection *c)
{
    int fds[MESSAGE_FDS_MAX];
    size_t n_fds = MESSAGE_FDS_MAX;
    char none;
    ssize_t size = RETRY(recv(c->source.fd, &none, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT));
    if (size < 0 && errno == EAGAIN)
        return 0;
    if (size <= 0 || (size_t)size > sizeof(struct message_head) + MESSAGE_INLINE)
        return -EBADMSG;
    autofree char *packet = malloc((size_t)size);
    if (!packet)
        return -ENOMEM;
    ssize_t got = recv_with_fds(c->source.fd, packet, (size_t)size, fds, &n_fds);
    if (got <= 0)
        return -EBADMSG;
    int r = handle_packet(s, c, packet, (size_t)got, fds, n_fds);
    for (size_t i = 0; i < n_fds; i++)
        cleanup_close(&fds[i]);
    return r;
}

static void connection_close(struct supervisor *s, struct connection *c)
{
    for (struct connection **at = &s->connections; *at; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            break;
        }
    }
    for (struct waiter **at = &s->waiters; *at;) {
        struct waiter *w = *at;
        if (w->connection == c) {
            *at = w->next;
            free(w);
        } else {
            at = &w->next;
        }
    }
    if (s->starter == c)
        s->starter = NULL;
    s->n_connections--;
    exec_connection_gone(s, c);
    viewers_leave(s, &s->stdio, c);
    source_close(&s->loop, &c->source);
    free(c);
    life_leave(s);
}

bool connection_is_early(const struct connection *c)
{
    return c && c->early;
}

bool server_is_watched(const struct supervisor *s)
{
    bool watched = false;
    for (const struct connection *c = s->connections; c; c = c->next)
        watched |= c->early;
    return watched;
}

void server_tell_end(struct supervisor *s, int exit_code)
{
    for (struct connection *c = s->connections; c; c = c->next) {
        if (c->watches)
            reply(s, c, c->watch_tag, MESSAGE_ENDED, json_pack("{s:i}", "exit_code", exit_code));
        if (!c->early) /* whoever waits for the end takes the hang-up for it, however long we stay */
            shutdown(c->source.fd, SHUT_RDWR);
    }
}

void server_drop_early(struct supervisor *s)
{
    struct message_head head;
    while (s->starter && recv(s->starter->source.fd, &head, sizeof(head), MSG_DONTWAIT) > 0)
        ;
}

/* Only these: what else waits there, a cancel, is for after the beginning. */
void server_hear_early(struct supervisor *s)
{
    struct message_head head;
    while (s->starter &&
           RETRY(recv(s->starter->source.fd, &head, sizeof(head), MSG_PEEK | MSG_DONTWAIT)) ==
               sizeof(head) &&
           head.type == MESSAGE_CONNECT && receive(s, s->starter) == 0)
        ;
}

static void connection_speaks(struct supervisor *s, struct source *source, uint32_t events)
{
    struct connection *c = HOLDER(source, struct connection, source);
    if (!(events & EPOLLIN) || receive(s, c) < 0)
        connection_close(s, c);
}

/* ---- the socket -------------------------------------------------------------------------------
 */

int server_adopt(struct supervisor *s, int fd, struct connection **ret_connection,
                 struct berth_error *err)
{
    struct connection *c = calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return fail_memory(err);
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    int r = source_watch(&s->loop, &c->source, fd, EPOLLIN, connection_speaks);
    if (r < 0) {
        free(c);
        return fail_os(err, r, s->name, "watch a connection");
    }
    c->next = s->connections;
    s->connections = c;
    s->n_connections++;
    if (ret_connection)
        *ret_connection = c;
    return 0;
}

static bool is_root(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == 0;
}

/* Out of descriptors, an unaccepted connection would make the loop spin: take it with the spare
 * one. */
static int accept_spare(struct supervisor *s)
{
    close_fd(&s->spare_fd);
    int fd = accept4(s->listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    cleanup_close(&fd);
    s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return -1;
}

static void listener_rings(struct supervisor *s, struct source *source, uint32_t events)
{
    int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && (errno == EMFILE || errno == ENFILE))
        fd = accept_spare(s);
    if (fd < 0)
        return;
    if (s->n_connections >= CONNECTIONS_MAX || !is_root(fd))
        close(fd);
    else
        server_adopt(s, fd, NULL, NULL);
}

/* Bound through the run folder's descriptor: no path is too long, and none can be exchanged. */
int server_open(struct supervisor *s, struct berth_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/socket", s->run_fd);
    unlinkat(s->run_fd, "socket", 0); /* of a supervisor that was killed: we hold its lock now */
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fail_os(err, errno, s->name, "make the supervisor's socket");
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 128) < 0) {
        int e = errno;
        close(fd);
        return fail_os(err, e, s->name, "listen on the supervisor's socket");
    }
    int r = source_watch(&s->loop, &s->listener, fd, EPOLLIN, listener_rings);
    return r < 0 ? fail_os(err, r, s->name, "watch the supervisor's socket") : 0;
}

void server_close(struct supervisor *s)
{
    if (s->listener.fd < 0)
        return;
    unlinkat(s->run_fd, "socket", 0);
    source_close(&s->loop, &s->listener);
}

void server_hang_up(struct supervisor *s)
{
    while (s->connections)
        connection_close(s, s->connections);
}
