/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers are made by pairs of workers: one reads, hashes, inflates; the other unpacks what comes
 * through the pipe, locked into the layer's folder. A pair runs beside the others.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/jail.h"
#include "image/tool/pack.h"
#include "image/tool/work.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PIPE_BYTES (1 << 20)

struct outcome {
    int code;
    struct berth_error err;
    struct stream_result stream;
    struct unpack_result unpacked;
};
_Static_assert(sizeof(struct outcome) <= 4096, "an outcome goes through the pipe in one piece");

enum { FEEDER, UNPACKER, WORKERS };
struct pair { struct layer *layer; pid_t pids[WORKERS]; int results[WORKERS]; struct outcome outcomes[WORKERS]; int left; };

/* ---- in the workers */

static int to_sink(void *user, const void *data, size_t size, struct berth_error *err)
{
    return sink_write(user, data, size, err);
}

static int pack_folder(const struct layer *l, int out_fd, int blob_fd, struct stream_result *ret, struct berth_error *err)
{
    struct stream_sink *sink = NULL;
    struct pack_options options = {0};
    struct pack_result packed;
    int r = sink_open(out_fd, blob_fd, l->deflate ? GZIP : PLAIN, &sink, err);
    if (r == 0)
        r = pack_tar(l->folder_fd, ".", &options, to_sink, sink, &packed, err);
    if (r < 0) {
        sink_free(sink);
        return r;
    }
    return sink_close(sink, ret, err);
}

static int feed(const struct work *w, const struct layer *l, int out_fd, struct outcome *o)
{
    char name[128];
    snprintf(name, sizeof name, "%s/blob-%d", w->aside, l->number);
    autoclose int blob_fd = l->keep ? openat(w->images_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (l->keep && blob_fd < 0)
        return fail_os(&o->err, errno, name, "make the blob of a layer");
    if (l->in_fd < 0)
        return pack_folder(l, out_fd, blob_fd, &o->stream, &o->err);
    struct stream_limits limits = {w->max_bytes};
    return stream_inflate(l->in_fd, out_fd, blob_fd, l->deflate, &limits, &o->stream, &o->err);
}

static int unpack(const struct work *w, const struct layer *l, int in_fd, struct outcome *o)
{
    char name[128];
    snprintf(name, sizeof name, "%s/layer-%d/fs", w->aside, l->number);
    autoclose int fd = openat(w->images_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return fail_os(&o->err, errno, name, "open the folder of a layer");
    umask(0);
    int r = jail_narrow(fd, &o->err);
    return r < 0 ? r : unpack_tar(in_fd, fd, &w->unpack, &o->unpacked, &o->err);
}

/* ---- in their parent */

static int start_worker(struct work *w, struct pair *p, int which, int data[2], struct berth_error *err)
{
    int result[2];
    if (pipe2(result, O_CLOEXEC) < 0)
        return fail_os(err, errno, "", "make a pipe");
    pid_t pid = fork();
    if (pid < 0)
        return fail_os(err, errno, "", "start a worker");
    if (pid == 0) {
        struct outcome o = {0};
        int mine = which == FEEDER ? data[1] : data[0], other = which == FEEDER ? data[0] : data[1];
        if (other >= 0)
            close(other);
        o.code = which == FEEDER ? feed(w, p->layer, mine, &o) : unpack(w, p->layer, mine, &o);
        if (mine >= 0)
            close(mine);
        fd_write_all(result[1], &o, sizeof o);
        _exit(0);
    }
    close(result[1]);
    p->pids[which] = pid;
    p->results[which] = result[0];
    p->left++;
    return 0;
}

static int make_folders_of(struct work *w, const struct layer *l, struct berth_error *err)
{
    char name[128];
    snprintf(name, sizeof name, "%s/layer-%d", w->aside, l->number);
    if (mkdirat(w->images_fd, name, 0700) < 0)
        return fail_os(err, errno, name, "make the folder of a layer");
    snprintf(name, sizeof name, "%s/layer-%d/fs", w->aside, l->number);
    if (mkdirat(w->images_fd, name, 0755) < 0)
        return fail_os(err, errno, name, "make the folder of a layer");
    return 0;
}

static int start_pair(struct work *w, struct pair *p, struct layer *l, struct berth_error *err)
{
    int data[2] = {-1, -1}, r = 0;
    *p = (struct pair){.layer = l, .pids = {-1, -1}, .results = {-1, -1}};
    if (l->unpack) {
        if ((r = make_folders_of(w, l, err)) < 0)
            return r;
        if (pipe2(data, O_CLOEXEC) < 0)
            return fail_os(err, errno, "", "make a pipe");
        fcntl(data[1], F_SETPIPE_SZ, PIPE_BYTES);
        r = start_worker(w, p, UNPACKER, data, err);
    }
    if (r == 0)
        r = start_worker(w, p, FEEDER, data, err);
    close_fd(&data[0]);
    close_fd(&data[1]);
    return r;
}

static void read_outcome(struct pair *p, int which, int status)
{
    struct outcome *o = &p->outcomes[which];
    ssize_t n = RETRY(read(p->results[which], o, sizeof *o));
    if (n != (ssize_t)sizeof *o) {
        *o = (struct outcome){0};
        o->code = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL
                ? fail(&o->err, BERTH_NO_MEMORY, "", "the worker was killed (out of memory?)")
                : fail(&o->err, BERTH_LOST, "", "the worker ended without an answer (signal %d)",
                       WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    }
    close_fd(&p->results[which]);
    p->pids[which] = -1;
    p->left--;
}

static int check(const struct layer *l, const struct stream_result *s, struct berth_error *err)
{
    if (*l->blob && strcmp(l->blob, s->blob_digest) != 0)
        return fail(err, BERTH_CORRUPT, l->what, "layer %s: its digest is %s", l->what, s->blob_digest);
    if (*l->blob && l->blob_bytes != s->blob_bytes)
        return fail(err, BERTH_CORRUPT, l->what, "layer %s: it has %llu bytes, the manifest says %llu", l->what,
                    (unsigned long long)s->blob_bytes, (unsigned long long)l->blob_bytes);
    if (*l->diff_id && strcmp(l->diff_id, s->plain_digest) != 0)
        return fail(err, BERTH_CORRUPT, l->what, "layer %s: unpacked its digest is %s, the config says %s", l->what,
                    s->plain_digest, l->diff_id);
    return 0;
}

static int finish_pair(struct work *w, struct pair *p, struct berth_error *err)
{
    const struct outcome *fed = &p->outcomes[FEEDER], *out = &p->outcomes[UNPACKER];
    struct layer *l = p->layer;
    /* A feeder whose unpacker went away fails to write: then the reason is the unpacker's. */
    const struct outcome *wrong = fed->code < 0 && !(out->code < 0 && fed->err.os_error == EPIPE) ? fed
                                : out->code < 0 ? out : NULL;
    if (wrong) {
        if (err)
            *err = wrong->err;
        return fail_context(err, "%s%.160s", digest_valid(l->what) ? "layer " : "", l->what);
    }
    int r = check(l, &fed->stream, err);
    if (r < 0)
        return r;
    l->stream = fed->stream;
    l->entries = out->unpacked.entries;
    l->size_bytes = out->unpacked.bytes;
    l->newest_sec = out->unpacked.newest_sec;
    l->tar_bytes = fed->stream.plain_bytes;
    l->unpacked = l->unpack;
    l->kept = l->keep;
    memcpy(l->diff_id, fed->stream.plain_digest, DIGEST_TEXT);
    memcpy(l->blob, fed->stream.blob_digest, DIGEST_TEXT);
    l->blob_bytes = fed->stream.blob_bytes;
    progress(w, "unpack", l->diff_id, l->tar_bytes);
    return 0;
}

/* Wait until one pair has ended; the pair, or NULL when none runs. */
static struct pair *next_ended(struct pair *pairs, size_t n)
{
    int status;
    pid_t pid;
    while ((pid = RETRY(waitpid(-1, &status, 0))) > 0)
        for (size_t i = 0; i < n; i++)
            for (int which = 0; which < WORKERS; which++)
                if (pairs[i].layer && pairs[i].pids[which] == pid) {
                    read_outcome(&pairs[i], which, status);
                    if (pairs[i].left == 0)
                        return &pairs[i];
                }
    return NULL;
}

static size_t processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return (size_t)MIN(MAX(n, 1), 16);
}

int layers_make(struct work *w, struct layer *layers, size_t n, struct berth_error *err)
{
    static int numbers;
    struct pair pairs[16] = {0};
    size_t room = processors(), running = 0, next = 0;
    int r = 0;
    while (r == 0 && (next < n || running > 0)) {
        if (next < n && !layers[next].unpack && !layers[next].keep) {
            next++;
            continue;
        }
        if (next < n && running < room) {
            size_t slot = 0;
            while (pairs[slot].layer)
                slot++;
            layers[next].number = ++numbers;
            r = start_pair(w, &pairs[slot], &layers[next++], err);
            running++;
            continue;
        }
        struct pair *ended = next_ended(pairs, room);
        if (!ended)
            return fail(err, BERTH_LOST, "", "the workers went away");
        r = finish_pair(w, ended, err);
        ended->layer = NULL;
        running--;
    }
    return r; /* after a failure the rest dies with the jail */
}

/* ---- known layers */

int layer_known(int images_fd, struct layer *l)
{
    char path[128];
    snprintf(path, sizeof path, "layers/%s/layer.json", l->diff_id + 7);
    autofree char *data = NULL;
    size_t size = 0;
    int r = file_read(images_fd, path, 1u << 16, &data, &size);
    json_t *document = r == 0 ? json_loadb(data, size, 0, NULL) : NULL;
    if (!document)
        return r < 0 ? r : -EBADMSG;
    const char *blob = json_string_value(json_object_get(document, "blob"));
    if (blob && digest_valid(blob) && !*l->blob) {
        memcpy(l->blob, blob, DIGEST_TEXT);
        l->blob_bytes = (uint64_t)json_integer_value(json_object_get(document, "blob_bytes"));
        l->stream.compression = (int)json_integer_value(json_object_get(document, "compression"));
    }
    l->entries = (uint64_t)json_integer_value(json_object_get(document, "entries"));
    l->size_bytes = (uint64_t)json_integer_value(json_object_get(document, "size_bytes"));
    l->tar_bytes = (uint64_t)json_integer_value(json_object_get(document, "tar_bytes"));
    json_decref(document);
    return 0;
}

static int compare_starts(const void *a, const void *b)
{
    off_t x = *(const off_t *)a, y = *(const off_t *)b;
    return (x > y) - (x < y);
}

/* One file, a byte of it for each layer: its place is the beginning of the diff id. Always in the same
   order, so that nobody waits in a circle. */
int lock_layers(struct work *w, const struct layer *layers, size_t n, int *ret_fd, struct berth_error *err)
{
    static const char digits[] = "0123456789abcdef";
    autoclose int fd = openat(w->images_fd, "layers.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    autofree off_t *starts = calloc(n + 1, sizeof *starts);
    if (fd < 0 || !starts)
        return fd < 0 ? fail_os(err, errno, "layers.lock", "open the lock of layers") : fail_memory(err);
    for (size_t i = 0; i < n; i++) {
        uint64_t start = 0;
        for (int k = 0; k < 15; k++)
            start = start << 4 | (uint64_t)(strchr(digits, layers[i].diff_id[7 + k]) - digits);
        starts[i] = (off_t)start;
    }
    qsort(starts, n, sizeof *starts, compare_starts);
    for (size_t i = 0; i < n; i++) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = starts[i], .l_len = 1};
        if (RETRY(fcntl(fd, F_OFD_SETLKW, &lock)) < 0)
            return fail_os(err, errno, "layers.lock", "lock a layer");
    }
    *ret_fd = take_fd(&fd);
    return 0;
}
