/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compiling: berth-wasmc as a child that limits itself (memory, time, no network, no files), around files
 * that only get a name when it has said that it is done.
 */
#include "wasm/inside.h"
#include "base/file.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>

#define OUT_OF "ran out of memory (2 GiB) or time (300 s of CPU), or was killed"

struct compiling {
    struct work work;
    struct local *c;
    struct store *store;
    struct module *m; /* its own */
    struct code_kind kind;
    char *tag;
    int code_fd, meta_fd, error_fd, pid_fd;
    int lock_fd;      /* of the entry; of one that is kept */
    bool waits;       /* for the lock: error_fd is the helper's */
};

static struct compiling *of(struct work *work)
{
    return (struct compiling *)work; /* its first member */
}

static void compiling_free(struct work *work)
{
    struct compiling *x = of(work);
    if (x->pid_fd >= 0 && x->error_fd >= 0)
        syscall(SYS_pidfd_send_signal, x->pid_fd, SIGKILL, NULL, 0);
    close_fd(&x->code_fd);
    close_fd(&x->meta_fd);
    close_fd(&x->error_fd);
    close_fd(&x->pid_fd);
    if (x->lock_fd >= 0 && !x->waits)
        code_unlock(x->store, x->m->key, x->tag, &x->lock_fd);
    close_fd(&x->lock_fd);
    module_free(x->m);
    free(x->tag);
    free(x);
}

static int ended(struct compiling *x, const struct berth_error *said, ssize_t n, struct berth_error *err)
{
    if (n != (ssize_t)sizeof(*said))
        return fail(err, BERTH_LOST, x->m->name, "%s: the compiler " OUT_OF, x->m->name);
    if (said->code < 0) {
        fail(err, said->code, said->object[0] ? said->object : NULL, "%.700s", said->message);
        return fail_context(err, "%s", x->m->name), said->code;
    }
    int r = x->m->key ? code_keep(x->c, x->store, x->m->key, x->tag, x->code_fd, x->meta_fd, err) : 0;
    return r < 0 ? r : 1;
}

static int spawn_compiler(struct compiling *x, struct berth_error *err)
{
    const char *argv[16] = {COMPILER_PROGRAM, "compile", "--in", "3", "--out", "4", "--meta", "5", "--error", "6", "--profile",
                            profile_name(x->kind), x->kind.fuel ? "--fuel" : NULL};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    x->work.fd = x->error_fd = ends[0];
    const int fds[] = {-1, -1, -1, x->m->fd, x->code_fd, x->meta_fd, ends[1]};
    int r = helper_spawn(x->c, COMPILER_PROGRAM, argv, fds, ARRAY_SIZE(fds), &x->pid_fd, err);
    close(ends[1]);
    return r;
}

static int begin(struct compiling *x, struct berth_error *err)
{
    int r = code_files(x->store, &x->code_fd, &x->meta_fd, err);
    if (r == 0 && lseek(x->m->fd, 0, SEEK_SET) < 0)
        r = fail_os(err, errno, x->m->name, "read %s", x->m->name);
    return r < 0 ? r : spawn_compiler(x, err);
}

/** The entry is ours to make; the one before us may have made it (1). */
static int turn_comes(struct compiling *x, struct berth_error *err)
{
    autoclean(code_clear) struct code code = {0};
    const char *why;
    int r = code_find(x->c, x->store, x->m->key, x->kind, &code, &why, err);
    return r == 0 ? begin(x, err) : r;
}

/** 1 when there is nothing to do. */
static int begin_or_wait(struct compiling *x, struct berth_error *err)
{
    if (!x->m->key)
        return begin(x, err);
    int r = code_lock(x->store, x->m->key, x->tag, &x->lock_fd, err);
    if (r != 0)
        return r < 0 ? r : turn_comes(x, err);
    r = lock_helper(x->c, x->lock_fd, &x->error_fd, &x->pid_fd, err);
    x->work.fd = x->error_fd;
    x->waits = r == 0;
    return r;
}

static int waiting_step(struct compiling *x, struct berth_error *err)
{
    int r = helper_end(x->error_fd, err);
    if (r == BERTH_AGAIN)
        return 0;
    autoclose int heard = take_fd(&x->error_fd); /* closed last: the next descriptor to watch has another number */
    x->waits = false;
    x->work.fd = -1;
    close_fd(&x->pid_fd);
    return r < 0 ? r : turn_comes(x, err);
}

static int compiling_step(struct work *work, struct berth_error *err)
{
    struct compiling *x = of(work);
    struct berth_error said;
    if (x->waits)
        return waiting_step(x, err);
    ssize_t n = RETRY(read(x->error_fd, &said, sizeof(said)));
    if (n < 0 && errno == EAGAIN)
        return 0;
    close_fd(&x->error_fd);
    work->fd = -1;
    said.message[sizeof(said.message) - 1] = said.object[sizeof(said.object) - 1] = 0;
    return ended(x, &said, n, err);
}

/** The same bytes: the caller's is closed before a turn may come. */
static struct module *module_copy(const struct module *m)
{
    struct module *copy = calloc(1, sizeof(*copy));
    if (!copy)
        return NULL;
    *copy = (struct module){.fd = fcntl(m->fd, F_DUPFD_CLOEXEC, 3), .key = m->key ? strdup(m->key) : NULL,
                            .name = strdup(m->name ? m->name : "the module"), .look = m->look, .alone = m->alone};
    if (copy->fd >= 0 && copy->name && (copy->key || !m->key))
        return copy;
    module_free(copy);
    return NULL;
}

int compile_begin(struct local *c, struct store *store, const struct module *m, struct code_kind kind, struct work **ret,
                  struct berth_error *err)
{
    struct compiling *x = calloc(1, sizeof(*x));
    if (!x)
        return fail_memory(err);
    *x = (struct compiling){.work = {.fd = -1, .step = compiling_step, .free = compiling_free}, .c = c, .store = store, .kind = kind,
                            .code_fd = -1, .meta_fd = -1, .error_fd = -1, .pid_fd = -1, .lock_fd = -1, .m = module_copy(m)};
    int r = x->m ? code_tag(c, kind, &x->tag, err) : fail_memory(err);
    r = r < 0 ? r : begin_or_wait(x, err);
    if (r != 0)
        compiling_free(&x->work);
    else
        *ret = &x->work;
    return MIN(r, 0);
}

int compiled(struct work *work, int *ret_code_fd, struct code *ret, struct berth_error *err)
{
    struct compiling *x = of(work);
    autofree char *meta = NULL;
    char self[40];
    size_t size;
    int r = lseek(x->meta_fd, 0, SEEK_SET) < 0 ? -errno : fd_read_all(x->meta_fd, WASM_META_MAX_BYTES, &meta, &size);
    if (r < 0)
        return fail_os(err, r, NULL, "read what the compiler says");
    snprintf(self, sizeof(self), "/proc/self/fd/%d", x->code_fd);
    *ret_code_fd = open(self, O_RDONLY | O_CLOEXEC);
    if (*ret_code_fd < 0)
        return fail_os(err, errno, NULL, "open compiled code");
    r = code_parse(meta, ret, err);
    if (r < 0)
        close_fd(ret_code_fd);
    return r;
}

int compile_wait(struct local *c, struct store *store, const struct module *m, struct code_kind kind, struct code *ret,
                 struct berth_error *err)
{
    const char *why;
    int r = code_find(c, store, m->key, kind, ret, &why, err);
    if (r != 0)
        return MIN(r, 0);
    autoclean(cleanup_work) struct work *work = NULL;
    r = compile_begin(c, store, m, kind, &work, err);
    if (r == 0 && work)
        r = work_wait(work, err);
    if (r == 0)
        r = code_find(c, store, m->key, kind, ret, &why, err);
    return r < 0 ? r : r == 0 ? fail(err, BERTH_LOST, m->name, "%s: its compiled code is %s again", m->name, why) : 0;
}
