/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a worker keeps its things, and the image that its programs come from.
 *
 * Unless told otherwise the image is made here of the machine's static busybox, so that the
 * installed suite needs nothing beside it.
 */
#include "harness.h"

#include <berth/container.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>


static const char *const folders[] = {"bin", "etc", "tmp",  "root", "home",    "home/guest", "proc",
                                      "sys", "dev", "data", "usr",  "usr/bin", "srv"};
static const char *const applets[] = {
    "sh",      "echo",  "sleep", "cat",    "tail",  "head",     "tr",   "wc",     "ls",
    "id",      "env",   "stty",  "printf", "dd",    "grep",     "sed",  "seq",    "kill",
    "ps",      "touch", "rm",    "mkdir",  "mount", "umount",   "nc",   "ping",   "hostname",
    "setsid",  "yes",   "true",  "false",  "stat",  "readlink", "test", "cut",    "sort",
    "date",    "chmod", "chown", "ln",     "mv",    "cp",       "find", "awk",    "usleep",
    "timeout", "nproc", "pwd",   "tty",    "mknod", "uname",    "df",   "md5sum", "ulimit",
    "ip",      "httpd", "xargs", "tee",    "sync",  "whoami"};
struct text_file {
    const char *path, *text;
    mode_t mode;
};
static const struct text_file files[] = {
    {"etc/passwd", "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/home/guest:/bin/sh\n",
     0644},
    {"etc/group", "root:x:0:\nguest:x:1000:\nextra:x:2000:guest\n", 0644},
    {"usr/bin/not-executable", "#!/bin/sh\necho never\n", 0644},
    {"usr/bin/no-interpreter", "#!/no/such/interpreter\n", 0755},
    {"data/of-the-image", "from the image\n", 0644},
};
/** An ELF head for a machine that this one is not (EM_S390, big endian). */
static const unsigned char foreign[64] = {0x7f, 'E', 'L', 'F', 2, 2, 1, [16] = 0,
                                          2,    0,   22,  0,   0, 0, 1};

static void put(int dir, const char *path, const void *data, size_t size, mode_t mode)
{
    int fd = openat(dir, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    check(fd >= 0, "%s: %s", path, strerror(errno));
    check(write(fd, data, size) == (ssize_t)size && fchmod(fd, mode) == 0, "%s: not written", path);
    close(fd);
}

static void put_busybox(int dir)
{
    const char *source = getenv("BERTH_CONTRACT_BUSYBOX");
    int in = open(source ? source : "/bin/busybox", O_RDONLY | O_CLOEXEC);
    check(in >= 0, "a static /bin/busybox is needed for the image: %s", strerror(errno));
    int out = openat(dir, "bin/busybox", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    while (sendfile(out, in, NULL, 1 << 24) > 0)
        ;
    close(in);
    close(out);
    for (size_t i = 0; i < sizeof(applets) / sizeof(applets[0]); i++) {
        char *link = print_text("bin/%s", applets[i]);
        check(symlinkat("busybox", dir, link) == 0, "%s: %s", link, strerror(errno));
        free(link);
    }
}

/** A small root file system with a shell, users, and programs that can't be executed. */
static char *rootfs_make(const struct place *p)
{
    char *path = print_text("%s/rootfs", p->scratch);
    check(mkdir(path, 0755) == 0, "%s: %s", path, strerror(errno));
    int dir = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++)
        check(mkdirat(dir, folders[i], 0755) == 0, "%s: %s", folders[i], strerror(errno));
    check(fchmodat(dir, "tmp", 01777, 0) == 0 && fchownat(dir, "home/guest", 1000, 1000, 0) == 0,
          "owners and modes: %s", strerror(errno));
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        put(dir, files[i].path, files[i].text, strlen(files[i].text), files[i].mode);
    put(dir, "usr/bin/foreign", foreign, sizeof(foreign), 0755);
    put_busybox(dir);
    close(dir);
    return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
    (void)st;
    (void)type;
    (void)w;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

struct job {
    const struct settings *s;
    const struct place *p;
};

static void image_import(struct berth_runtime *runtime, const struct job *j)
{
    char *made = j->s->rootfs ? NULL : rootfs_make(j->p);
    struct berth_image_import_options options = {
        .size = sizeof(options),
        .source = made ? made : j->s->rootfs,
        .input_fd = -1,
        .reference = IMAGE,
        .config_json = "{\"Env\":[\"PATH=/bin:/usr/bin\",\"OF_IMAGE=yes\"],\"Cmd\":[\"/bin/sh\"]}",
    };
    struct berth_call *call = NULL;
    int r = berth_image_import_call(runtime, &options, &call, ERR);
    if (r != BERTH_UNSUPPORTED) { /* an engine without images of its own takes any name */
        ok(r);
        ok(berth_call_wait(call, 60000, NULL, ERR));
        berth_call_free(call);
    }
    if (made)
        remove_tree(made);
    free(made);
}

/** The engine's groups are below this path, if it has any. */
static char *cgroup_parent(struct contract *c)
{
    char *spec = spec_text(c, "plan", WAITS, NULL), *text = NULL, *parent = NULL;
    if (berth_plan(c->runtime, spec, &text, ERR) >= 0) {
        json_t *json = json_loads(text, 0, NULL);
        const char *path =
            json_string_value(json_object_get(json_object_get(json, "plan"), "cgroup_parent"));
        parent = path ? print_text("%s", path) : NULL;
        json_decref(json);
    }
    free(text);
    free(spec);
    return parent;
}

static void place_prepare(const void *data)
{
    const struct job *j = data;
    struct contract c = {.engine = j->s->engine,
                         .like = j->s->like,
                         .opens = j->s->opens,
                         .image = j->p->image,
                         .network = j->s->network,
                         .root = j->p->root,
                         .run = j->p->run,
                         .scratch = j->p->scratch,
                         .steps = j->s->steps};
    struct berth_options options = {.size = sizeof(options), .root = c.root, .run = c.run};
    ok(berth_open(c.opens, &options, &c.runtime, ERR));
    if (!j->s->image && !j->s->plain)
        image_import(c.runtime, j);
    char *parent = cgroup_parent(&c);
    struct berth_handle h = create(&c, "first", WAITS, c.steps || j->s->plain ? NULL : "mounts",
                                   "[{'type':'volume','target':'/data'}]", NULL);
    ok(berth_start(c.runtime, &h, ERR));
    struct berth_remove_options force = {.size = sizeof(force), .force = true, .volumes = true};
    ok(berth_remove(c.runtime, &h, &force, ERR));
    berth_close(c.runtime);
    if (parent && write(3, parent, strlen(parent)) < 0)
        fail("the report: %s", strerror(errno));
}

/** Make a folder and those above it; an existing one is fine. */
static void folder_make(const char *path)
{
    char *copy = print_text("%s", path);
    for (char *slash = copy; (slash = strchr(slash + 1, '/'));) {
        *slash = '\0';
        mkdir(copy, 0755);
        *slash = '/';
    }
    check(mkdir(copy, 0755) == 0 || errno == EEXIST, "%s: %s", copy, strerror(errno));
    free(copy);
}

bool place_make(const struct settings *s, int number, struct place *ret_place)
{
    struct place p = {.image = s->image ? s->image : s->plain ? s->plain : IMAGE};
    p.root = print_text("%s/%d", s->root, number);
    p.run = print_text("%s/%d", s->run, number);
    p.scratch = print_text("%s/scratch-%d", s->root, number);
    folder_make(p.root);
    folder_make(p.run);
    folder_make(p.scratch);
    *ret_place = p;
    struct job j = {s, ret_place};
    char *words = NULL;
    int verdict = process_run(place_prepare, &j, 120, &words);
    if (verdict != PASSED) {
        fprintf(stderr, "berth-contract: setting up: %s\n", words);
        free(words);
        return false;
    }
    ret_place->cgroup_parent = words[0] ? words : NULL;
    return true;
}

void place_remove(const struct settings *s, struct place *p)
{
    if (!s->keep) {
        remove_tree(p->root);
        remove_tree(p->run);
        remove_tree(p->scratch);
    }
    free(p->root);
    free(p->run);
    free(p->scratch);
    free(p->cgroup_parent);
}
