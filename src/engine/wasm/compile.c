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
    char *key, *tag, *name;
    int code_fd, meta_fd, error_fd, pid_fd;
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
    free(x->key);
    free(x->tag);
    free(x->name);
    free(x);
}

static int ended(struct compiling *x, const struct berth_error *said, ssize_t n, struct berth_error *err)
{
    if (n != (ssize_t)sizeof(*said))
        return fail(err, BERTH_LOST, x->name, "%s: the compiler " OUT_OF, x->name);
    if (said->code < 0) {
        fail(err, said->code, said->object[0] ? said->object : NULL, "%.700s", said->message);
        return fail_context(err, "%s", x->name), said->code;
    }
    int r = x->key ? code_keep(x->c, x->store, x->key, x->tag, x->code_fd, x->meta_fd, err) : 0;
    return r < 0 ? r : 1;
}

static int compiling_step(struct work *work, struct berth_error *err)
{
    struct compiling *x = of(work);
    struct berth_error said;
    ssize_t n = RETRY(read(x->error_fd, &said, sizeof(said)));
    if (n < 0 && errno == EAGAIN)
        return 0;
    close_fd(&x->error_fd);
    work->fd = -1;
    said.message[sizeof(said.message) - 1] = said.object[sizeof(said.object) - 1] = 0;
    return ended(x, &said, n, err);
}

static int spawn_compiler(struct compiling *x, struct local *c, const struct module *m, struct code_kind kind, struct berth_error *err)
{
    const char *argv[16] = {COMPILER_PROGRAM, "compile", "--in", "3", "--out", "4", "--meta", "5", "--error", "6", "--profile",
                            profile_name(kind), kind.fuel ? "--fuel" : NULL};
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    x->work.fd = x->error_fd = ends[0];
    const int fds[] = {-1, -1, -1, m->fd, x->code_fd, x->meta_fd, ends[1]};
    int r = helper_spawn(c, COMPILER_PROGRAM, argv, fds, ARRAY_SIZE(fds), &x->pid_fd, err);
    close(ends[1]);
    return r;
}

int compile_begin(struct local *c, struct store *store, const struct module *m, struct code_kind kind, struct work **ret,
                  struct berth_error *err)
{
    struct compiling *x = calloc(1, sizeof(*x));
    if (!x)
        return fail_memory(err);
    *x = (struct compiling){.work = {.fd = -1, .step = compiling_step, .free = compiling_free}, .c = c, .store = store,
                            .code_fd = -1, .meta_fd = -1, .error_fd = -1, .pid_fd = -1,
                            .key = m->key ? strdup(m->key) : NULL, .name = strdup(m->name ? m->name : "the module")};
    int r = (m->key && !x->key) || !x->name ? fail_memory(err) : code_tag(c, kind, &x->tag, err);
    if (r == 0)
        r = code_files(store, &x->code_fd, &x->meta_fd, err);
    if (r == 0 && lseek(m->fd, 0, SEEK_SET) < 0)
        r = fail_os(err, errno, x->name, "read %s", x->name);
    if (r == 0)
        r = spawn_compiler(x, c, m, kind, err);
    if (r < 0)
        compiling_free(&x->work);
    else
        *ret = &x->work;
    return r;
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
    if (r == 0)
        r = work_wait(work, err);
    if (r == 0)
        r = code_find(c, store, m->key, kind, ret, &why, err);
    return r < 0 ? r : r == 0 ? fail(err, BERTH_LOST, m->name, "%s: its compiled code is %s again", m->name, why) : 0;
}
