/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers are made by pairs of workers: one reads, hashes, inflates; the other unpacks what comes
 * through the pipe, locked into the layer's folder. A pair runs beside the others.
 */
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/fetch.h"
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
#define PAIRS_MAX 16
#define MODULE_FILE "module.wasm"

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

static int pack_folder(const struct work *w, const struct layer *l, int out_fd, int blob_fd, struct stream_result *ret, struct berth_error *err)
{
    struct stream_sink *sink = NULL;
    struct pack_options options = {.changes = w->plan != NULL, .leave_out = w->plan ? is_mounted : NULL, .left_out = w->plan};
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

/* Behind the fetcher. Whatever went wrong here, a source that lied is the likelier reason. */
static int feed_fetched(const struct layer *l, struct stream_options *options, int out_fd, struct outcome *o)
{
    struct fetched fetched = {.file_fd = l->in_fd, .notes_fd = l->notes_fd};
    struct berth_error why = {0};
    options->read = fetched_read;
    options->user = &fetched;
    options->verified = true;
    int r = stream_inflate(l->in_fd, out_fd, -1, false, options, &o->stream, &o->err);
    int ended = r == BERTH_AGAIN ? r : fetched_wait(&fetched, &why);
    if (ended < 0 && ended != r)
        o->err = why;
    memcpy(o->stream.blob_digest, l->blob, DIGEST_TEXT);
    return ended < 0 ? ended : r;
}

static int feed(const struct work *w, const struct layer *l, int out_fd, struct outcome *o)
{
    char name[128];
    snprintf(name, sizeof name, "%s/large", w->aside);
    autoclose int large_fd = openat(w->images_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (large_fd < 0)
        return fail_os(&o->err, errno, name, "open the lock of large zstd windows");
    struct stream_options options = {.max_bytes = w->max_bytes, .large_fd = large_fd};
    if (l->fetch)
        return feed_fetched(l, &options, out_fd, o);
    snprintf(name, sizeof name, "%s/blob-%d", w->aside, l->number);
    autoclose int blob_fd = l->keep ? openat(w->images_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
    if (l->keep && blob_fd < 0)
        return fail_os(&o->err, errno, name, "make the blob of a layer");
    if (l->in_fd < 0)
        return pack_folder(w, l, out_fd, blob_fd, &o->stream, &o->err);
    return stream_inflate(l->in_fd, out_fd, blob_fd, l->deflate, &options, &o->stream, &o->err);
}

/* An artifact's layer: its bytes are the one file. */
static int keep_module(int in_fd, int folder_fd, const struct work *w, const struct layer *l, struct outcome *o)
{
    char magic[4];
    autoclose int fd = openat(folder_fd, MODULE_FILE, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return fail_os(&o->err, errno, MODULE_FILE, "make the file of the module");
    int r = stream_copy(in_fd, fd, w->max_bytes, NULL, &o->unpacked.bytes, &o->err);
    o->unpacked.entries = 1;
    if (r == 0 && !l->text && (pread(fd, magic, sizeof magic, 0) != (ssize_t)sizeof magic || memcmp(magic, "\0asm", sizeof magic) != 0))
        r = fail(&o->err, BERTH_CORRUPT, "", "it is no WebAssembly module");
    static const struct timespec never[2]; /* an artifact says no time; each copy is the same */
    if (r == 0 && (futimens(fd, never) < 0 || futimens(folder_fd, never) < 0))
        r = fail_os(&o->err, errno, MODULE_FILE, "set the time of the module");
    return r;
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
    if (r == 0 && l->module)
        return keep_module(in_fd, fd, w, l, o);
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
    bool follows = out->code < 0 && (fed->err.os_error == EPIPE || out->code == BERTH_NO_SPACE);
    const struct outcome *wrong = fed->code < 0 && !follows ? fed : out->code < 0 ? out : NULL;
    if (out->code == BERTH_NO_SPACE) { /* what it would have needed */
        l->entries = out->unpacked.entries;
        l->size_bytes = out->unpacked.bytes;
    }
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
    if (l->fetch)
        close_fd(&l->notes_fd);
    l->unpacked = l->unpack;
    l->kept = l->keep;
    memcpy(l->diff_id, fed->stream.plain_digest, DIGEST_TEXT);
    memcpy(l->blob, fed->stream.blob_digest, DIGEST_TEXT);
    l->blob_bytes = fed->stream.blob_bytes;
    progress(w, "unpack", l->fetch ? l->what : l->diff_id, l->tar_bytes);
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
    return (size_t)MIN(MAX(n, 1), PAIRS_MAX);
}

/* What came was not the layer: its files go, and the same pair begins anew. */
static int start_again(struct work *w, struct pair *p, struct berth_error *err)
{
    char name[128];
    snprintf(name, sizeof name, "%s/layer-%d", w->aside, p->layer->number);
    int r = tree_remove(w->images_fd, name);
    return r < 0 ? fail_os(err, r, name, "remove half a layer") : start_pair(w, p, p->layer, err);
}

/** Layers that are made, each by a pair of workers. */
struct making { struct pair pairs[PAIRS_MAX]; size_t room, running; };

static int begin_layer(struct work *w, struct making *m, struct layer *l, struct berth_error *err)
{
    static int numbers;
    size_t place = 0;
    while (m->pairs[place].layer)
        place++;
    l->number = ++numbers;
    m->running++;
    int r = l->fetch ? pull_layer(w, l, err) : 0;
    return r == 0 ? start_pair(w, &m->pairs[place], l, err) : r;
}

/* Wait for one that ends; what is to be fetched once more goes on. */
static int end_layer(struct work *w, struct making *m, struct berth_error *err)
{
    struct pair *ended = next_ended(m->pairs, m->room);
    if (!ended)
        return fail(err, BERTH_LOST, "", "the workers went away");
    if (ended->layer->fetch && ended->outcomes[FEEDER].code == BERTH_AGAIN)
        return start_again(w, ended, err);
    int r = finish_pair(w, ended, err);
    ended->layer = NULL;
    m->running--;
    return r;
}

int layers_make(struct work *w, struct layer *layers, size_t n, struct berth_error *err)
{
    struct making m = {.room = w->at_once ? MIN(w->at_once, PAIRS_MAX) : processors()};
    size_t next = 0;
    int r = 0;
    while (r == 0 && (next < n || m.running > 0)) {
        if (next < n && !layers[next].unpack && !layers[next].keep)
            next++;
        else if (next < n && m.running < m.room)
            r = begin_layer(w, &m, &layers[next++], err);
        else
            r = end_layer(w, &m, err);
    }
    return r; /* after a failure the rest dies with the jail */
}

/* ---- known layers */

static json_t *note_read(int images_fd, const char *diff_id, char ret_path[128])
{
    autofree char *data = NULL;
    size_t size = 0;
    snprintf(ret_path, 128, "layers/%.64s/layer.json", diff_id + 7);
    return file_read(images_fd, ret_path, 1u << 16, &data, &size) == 0 ? json_loadb(data, size, 0, NULL) : NULL;
}

int layer_known(int images_fd, struct layer *l)
{
    char path[128];
    json_t *document = note_read(images_fd, l->diff_id, path);
    if (!document)
        return faccessat(images_fd, path, F_OK, 0) < 0 ? -errno : -EBADMSG;
    const char *blob = json_string_value(json_object_get(document, "blob"));
    const char *boot = json_string_value(json_object_get(document, "boot"));
    if (boot && strcmp(boot, boot_id()) != 0) {
        json_decref(document);
        return -ESTALE;
    }
    if (blob && digest_valid(blob) && !*l->blob) {
        memcpy(l->blob, blob, DIGEST_TEXT);
        l->blob_bytes = (uint64_t)json_integer_value(json_object_get(document, "blob_bytes"));
        l->stream.compression = (int)json_integer_value(json_object_get(document, "compression"));
    }
    l->module = json_is_true(json_object_get(document, "module"));
    l->entries = (uint64_t)json_integer_value(json_object_get(document, "entries"));
    l->size_bytes = (uint64_t)json_integer_value(json_object_get(document, "size_bytes"));
    l->tar_bytes = (uint64_t)json_integer_value(json_object_get(document, "tar_bytes"));
    json_decref(document);
    return 0;
}

int layer_settled(int images_fd, const char *diff_id)
{
    char path[128];
    json_t *note = note_read(images_fd, diff_id, path);
    bool marked = json_object_get(note, "boot") != NULL;
    json_object_del(note, "boot");
    autofree char *text = marked ? json_dumps(note, JSON_COMPACT) : NULL;
    json_decref(note);
    return !marked ? 0 : text ? file_write(images_fd, path, text, strlen(text), 0600, 0) : -ENOMEM;
}

/* One file, a byte of it for each layer: its place is the beginning of the diff id. */
static off_t place_of(const char *diff_id)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t start = 0;
    for (int k = 0; k < 15; k++)
        start = start << 4 | (uint64_t)(strchr(digits, diff_id[7 + k]) - digits);
    return (off_t)start;
}

int lock_layers(struct work *w, struct layer *layers, size_t n, bool wait, int *ret_fd, struct berth_error *err)
{
    autoclose int fd = openat(w->images_fd, "layers.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_os(err, errno, "layers.lock", "open the lock of layers");
    for (size_t i = 0; i < n; i++) {
        if (layers[i].done)
            continue;
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = place_of(layers[i].diff_id), .l_len = 1};
        int r = RETRY(fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock));
        layers[i].busy = r < 0 && (errno == EAGAIN || errno == EACCES);
        if (r < 0 && !layers[i].busy)
            return fail_os(err, errno, "layers.lock", "lock a layer");
        wait = false;
    }
    *ret_fd = take_fd(&fd);
    return 0;
}
