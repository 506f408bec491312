/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two processes and a socket: the jail decides what is wanted, the fetcher has the network and nothing
 * else. Blobs go straight from the network to their file; whoever inflates them reads behind.
 */
#include "image/tool/fetch.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/jail.h"
#include "image/tool/registry.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TRANSFERS_MAX 32
#define SAY_EVERY_USEC 100000
#define UNREAD_BYTES 1024 /* so much of a pipe may be full of notes that more bytes are here; the others find room */

enum ask { ASK_DIGEST, ASK_MANIFEST, ASK_DOCUMENT, ASK_BLOB, ASKS };
struct question { int ask; bool strict; struct platform platform; char digest[DIGEST_TEXT]; uint64_t size, offset, max; };
struct reply { int code; struct berth_error err; char digest[DIGEST_TEXT], top[DIGEST_TEXT]; };

enum note { GREW, RESTARTED, WHOLE, FAILED };
struct head { uint32_t kind; };
struct last { struct head head; struct berth_error err; }; /* of FAILED */
_Static_assert(sizeof(struct last) <= 4096, "a note goes through the pipe in one piece");

/* ---- in the fetcher */

struct blob {
    struct registry_transfer *transfer;
    const struct work *work;
    char digest[DIGEST_TEXT];
    uint64_t size, told;
    int64_t said_usec;
    int file_fd, notes_fd;
};
struct fetching { struct work *work; struct registry *registry; int socket_fd; struct blob *blobs[TRANSFERS_MAX]; };

static void say_bytes(struct blob *b, uint64_t bytes)
{
    int64_t now = monotonic_usec();
    if (!b->work->progress || (bytes < b->size && now - b->said_usec < SAY_EVERY_USEC))
        return;
    b->said_usec = now;
    progress_of(b->work, "download", b->digest, bytes, b->size);
}

/* One note that was not read yet tells enough: its reader looks at the file before it waits. */
static void say_grew(struct blob *b)
{
    struct head head = {.kind = GREW};
    int unread = 0;
    if (ioctl(b->notes_fd, FIONREAD, &unread) == 0 && unread < UNREAD_BYTES && write(b->notes_fd, &head, sizeof head) < 0)
        return;
}

static int take_bytes(void *data, const void *bytes, size_t size, uint64_t offset, struct berth_error *err)
{
    struct blob *b = data;
    int r = fd_write_all_at(b->file_fd, bytes, size, (off_t)offset);
    if (r < 0)
        return fail_os(err, r, b->digest, "write the layer %s", b->digest);
    crash_point("pull.bytes");
    if (offset + size >= b->told + STREAM_BLOCK / 2) {
        b->told = offset + size;
        say_grew(b);
    }
    say_bytes(b, offset + size);
    return 0;
}

/* The reader must hear this before the file says something else; nobody here waits for a slow one. */
static int say_again(struct blob *b, struct berth_error *err)
{
    struct head head = {.kind = RESTARTED};
    return write(b->notes_fd, &head, sizeof head) < 0 ? fail_os(err, errno, b->digest, "tell that the layer %s begins again", b->digest) : 0;
}

static int begin_again(void *data, struct berth_error *err)
{
    struct blob *b = data;
    b->told = 0;
    int r = say_again(b, err);
    if (r == 0 && ftruncate(b->file_fd, 0) < 0)
        r = fail_os(err, errno, b->digest, "empty the file of the layer %s", b->digest);
    return r;
}

static void blob_free(struct blob *b)
{
    if (b->transfer)
        registry_transfer_free(b->transfer);
    close_fd(&b->file_fd);
    close_fd(&b->notes_fd);
    free(b);
}

static int begin_blob(struct fetching *f, const struct question *q, int fds[2], struct berth_error *err)
{
    size_t slot = 0;
    while (slot < TRANSFERS_MAX && f->blobs[slot])
        slot++;
    struct blob *b = slot < TRANSFERS_MAX && fds[1] >= 0 ? calloc(1, sizeof *b) : NULL;
    if (!b)
        return fail_memory(err);
    *b = (struct blob){.work = f->work, .size = q->size, .told = q->offset, .file_fd = fds[0], .notes_fd = fds[1]};
    fds[0] = fds[1] = -1;
    memcpy(b->digest, q->digest, DIGEST_TEXT);
    fcntl(b->notes_fd, F_SETFL, O_WRONLY | O_NONBLOCK);
    struct registry_sink sink = {.data = b, .write = take_bytes, .restart = begin_again};
    int r = registry_transfer_begin(f->registry, q->digest, q->size, q->offset, b->file_fd, &sink, &b->transfer, err);
    if (r < 0)
        blob_free(b);
    else
        f->blobs[slot] = b;
    return r;
}

/* True: it has ended, and its reader knows, or is gone. */
static bool look_at(const struct blob *b, int code, const struct berth_error *why)
{
    struct last last = {.head.kind = FAILED};
    enum transfer_state state = TRANSFER_FAILED;
    if (code < 0)
        last.err = *why;
    else
        state = registry_transfer_state(b->transfer, &last.err);
    if (state == TRANSFER_RUNS)
        return false;
    last.head.kind = state == TRANSFER_DONE ? WHOLE : FAILED;
    size_t size = state == TRANSFER_DONE ? sizeof last.head : sizeof last;
    ssize_t n = write(b->notes_fd, &last, size); /* there is room: say_grew() */
    return n != 0;
}

static void look_at_all(struct fetching *f)
{
    for (size_t i = 0; i < TRANSFERS_MAX; i++)
        if (f->blobs[i] && look_at(f->blobs[i], 0, NULL)) {
            blob_free(f->blobs[i]);
            f->blobs[i] = NULL;
        }
}

static int write_out(int fd, const char *bytes, size_t size, struct berth_error *err)
{
    int r = fd_write_all(fd, bytes, size);
    return r < 0 ? fail_os(err, r, "", "write a document of the image") : 0;
}

static int answer_digest(struct fetching *f, const struct question *q, int fds[2], struct reply *reply)
{
    (void)q, (void)fds;
    return registry_digest(f->registry, reply->digest, &reply->err);
}

static int answer_manifest(struct fetching *f, const struct question *q, int fds[2], struct reply *reply)
{
    struct registry_document d = {0};
    int r = registry_resolve(f->registry, &q->platform, q->strict, &d, reply->top, &reply->err);
    if (r == 0) {
        memcpy(reply->digest, d.digest, DIGEST_TEXT);
        r = write_out(fds[0], d.bytes, d.size, &reply->err);
    }
    registry_document_clear(&d);
    return r;
}

static int answer_document(struct fetching *f, const struct question *q, int fds[2], struct reply *reply)
{
    autofree char *bytes = NULL;
    int r = registry_blob(f->registry, q->digest, q->size, q->max, &bytes, &reply->err);
    return r < 0 ? r : write_out(fds[0], bytes, q->size, &reply->err);
}

/* No reply: what becomes of it is told by notes. */
static int answer_blob(struct fetching *f, const struct question *q, int fds[2], struct reply *reply)
{
    int notes_fd = fds[1] >= 0 ? fcntl(fds[1], F_DUPFD_CLOEXEC, 0) : -1;
    int r = begin_blob(f, q, fds, &reply->err);
    if (r < 0) {
        struct last last = {.head.kind = FAILED, .err = reply->err};
        fd_write_all(notes_fd, &last, sizeof last);
    }
    close_fd(&notes_fd);
    return 0;
}

static bool answer_one(struct fetching *f)
{
    static int (*const answers[ASKS])(struct fetching *, const struct question *, int[2], struct reply *) = {
        [ASK_DIGEST] = answer_digest, [ASK_MANIFEST] = answer_manifest, [ASK_DOCUMENT] = answer_document, [ASK_BLOB] = answer_blob};
    struct question q;
    struct reply reply = {0};
    int fds[2] = {-1, -1};
    size_t n_fds = ARRAY_SIZE(fds);
    ssize_t n = recv_with_fds(f->socket_fd, &q, sizeof q, fds, &n_fds);
    if (n != (ssize_t)sizeof q || q.ask < 0 || q.ask >= ASKS)
        return false;
    reply.code = answers[q.ask](f, &q, fds, &reply);
    close_fd(&fds[0]);
    close_fd(&fds[1]);
    return q.ask == ASK_BLOB || send(f->socket_fd, &reply, sizeof reply, MSG_NOSIGNAL) == (ssize_t)sizeof reply;
}

/* Until the jail is gone. */
static void serve(struct fetching *f)
{
    struct berth_error why = {0};
    for (;;) {
        struct pollfd p = {.fd = f->socket_fd, .events = POLLIN};
        int r = registry_step(f->registry, &p, 1, -1, &why);
        for (size_t i = 0; r < 0 && i < TRANSFERS_MAX; i++)
            if (f->blobs[i])
                look_at(f->blobs[i], r, &why);
        if (r < 0 || (p.revents && !answer_one(f)))
            return;
        look_at_all(f);
    }
}

static void fetcher_main(struct work *w, struct registry *registry, int socket_fd)
{
    struct fetching f = {.work = w, .registry = registry, .socket_fd = socket_fd};
    struct reply first = {0};
    sigset_t mask = cancel_signals();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGINT, SIG_IGN); /* of the terminal: the parent decides */
    sigprocmask(SIG_UNBLOCK, &mask, NULL);
    autofree char *scratch = format_text("%s/images", store_root(w->store));
    first.code = scratch ? jail_enter_network(scratch, NULL, 0, &first.err) : fail_memory(&first.err);
    if (first.code == 0)
        first.code = registry_connect(registry, &first.err);
    if (first.code == 0)
        first.code = jail_lock_network(&first.err);
    send(socket_fd, &first, sizeof first, MSG_NOSIGNAL);
    if (first.code == 0)
        serve(&f);
    _exit(0);
}

/* ---- its parent */

int fetch_start(struct work *w, const struct reference *reference, struct fetcher *ret, struct berth_error *err)
{
    autoregistry struct registry *registry = NULL;
    int ends[2], r = registry_prepare(w, reference, 0, &registry, err);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return fail_os(err, errno, "", "make a socket");
    pid_t pid = fork();
    if (pid == 0) {
        close(ends[0]);
        fetcher_main(w, registry, ends[1]);
    }
    int os_error = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return fail_os(err, os_error, "", "start the process that speaks to registries");
    }
    *ret = (struct fetcher){.socket_fd = ends[0], .pid = pid};
    struct reply first;
    if (RETRY(recv(ends[0], &first, sizeof first, 0)) != (ssize_t)sizeof first)
        return fail(err, BERTH_LOST, "", "the process that speaks to registries ended at once");
    if (first.code < 0 && err)
        *err = first.err;
    return first.code;
}

void fetch_stop(struct fetcher *f)
{
    close_fd(&f->socket_fd);
    if (f->pid > 0)
        kill(f->pid, SIGKILL);
    if (f->pid > 0)
        RETRY(waitpid(f->pid, NULL, 0));
    f->pid = 0;
}

/* ---- in the jail */

static int lost(struct berth_error *err)
{
    return fail(err, BERTH_LOST, "", "the process that speaks to registries was killed");
}

static int ask(int socket_fd, const struct question *q, int out_fd, struct reply *ret, struct berth_error *err)
{
    if (send_with_fds(socket_fd, q, sizeof *q, &out_fd, out_fd >= 0) < 0 ||
        RETRY(recv(socket_fd, ret, sizeof *ret, 0)) != (ssize_t)sizeof *ret)
        return lost(err);
    if (ret->code < 0 && err)
        *err = ret->err;
    return ret->code;
}

int fetch_digest(int socket_fd, char ret_digest[DIGEST_TEXT], struct berth_error *err)
{
    struct question q = {.ask = ASK_DIGEST};
    struct reply reply;
    int r = ask(socket_fd, &q, -1, &reply, err);
    if (r == 0)
        memcpy(ret_digest, reply.digest, DIGEST_TEXT);
    return r;
}

int fetch_manifest(int socket_fd, const struct platform *platform, bool strict, int out_fd, char ret_digest[DIGEST_TEXT],
                   char ret_top[DIGEST_TEXT], struct berth_error *err)
{
    struct question q = {.ask = ASK_MANIFEST, .platform = *platform, .strict = strict};
    struct reply reply;
    int r = ask(socket_fd, &q, out_fd, &reply, err);
    if (r == 0) {
        memcpy(ret_digest, reply.digest, DIGEST_TEXT);
        memcpy(ret_top, reply.top, DIGEST_TEXT);
    }
    return r;
}

int fetch_document(int socket_fd, const char *digest, uint64_t size, size_t max, int out_fd, struct berth_error *err)
{
    struct question q = {.ask = ASK_DOCUMENT, .size = size, .max = max};
    struct reply reply;
    memcpy(q.digest, digest, DIGEST_TEXT);
    return ask(socket_fd, &q, out_fd, &reply, err);
}

int fetch_blob(int socket_fd, const char *digest, uint64_t size, uint64_t offset, int file_fd, int notes_fd, struct berth_error *err)
{
    struct question q = {.ask = ASK_BLOB, .size = size, .offset = offset};
    memcpy(q.digest, digest, DIGEST_TEXT);
    const int fds[] = {file_fd, notes_fd};
    return send_with_fds(socket_fd, &q, sizeof q, fds, 2) < 0 ? lost(err) : 0;
}

/* ---- reading behind */

/* One note, waiting for it. 0: look again (or whole). */
static int hear(struct fetched *f, struct berth_error *err)
{
    struct last last;
    ssize_t n = RETRY(read(f->notes_fd, &last.head, sizeof last.head));
    if (n != (ssize_t)sizeof last.head)
        return lost(err);
    if (last.head.kind == RESTARTED)
        return fail(err, BERTH_AGAIN, "", "what came was not the layer; it is fetched again");
    f->whole |= last.head.kind == WHOLE;
    f->failed |= last.head.kind == FAILED;
    if (last.head.kind != FAILED)
        return 0;
    if (RETRY(read(f->notes_fd, &last.err, sizeof last.err)) != (ssize_t)sizeof last.err)
        return lost(err);
    if (err)
        *err = last.err;
    return last.err.code < 0 ? last.err.code : lost(err);
}

ssize_t fetched_read(void *user, void *buffer, size_t room, struct berth_error *err)
{
    struct fetched *f = user;
    for (;;) {
        bool whole = f->whole; /* what is there now was there then */
        ssize_t n = RETRY(pread(f->file_fd, buffer, room, (off_t)f->at));
        if (n < 0)
            return fail_os(err, errno, "", "read the layer");
        f->at += (uint64_t)n;
        if (n > 0 || whole)
            return n;
        int r = hear(f, err);
        if (r < 0)
            return r;
    }
}

int fetched_wait(struct fetched *f, struct berth_error *err)
{
    int r = 0;
    while (r == 0 && !f->whole && !f->failed)
        r = hear(f, err);
    return r;
}
