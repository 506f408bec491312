/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth-image: everything about images that is slow or reads what strangers made.
 *
 * This process stays outside: it opens what the applet needs, forks the jail and waits. Whatever
 * happens to the jail, what was begun is thrown away here. See image/tool.h for how it is called.
 */
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "image/tool/jail.h"
#include "image/tool/work.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <locale.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct applet {
    const char *name;
    size_t min, max;      /* arguments */
    bool makes;           /* adds to the store, or works beside it: with a folder aside */
    bool holds;           /* the shared lock for all of its time: nothing may go meanwhile */
    const char *folder;   /* name of folder_fd in the jail */
    bool folder_writable;
    int (*prepare)(struct work *w, struct berth_error *err);
    int (*enter)(struct work *w, struct berth_error *err);  /* another jail than the usual one */
    int (*run)(struct work *w, struct berth_error *err);
    int (*finish)(struct work *w, bool done, struct berth_error *err); /* outside again */
    bool network;         /* its jail is the network's */
    bool asks;            /* for berth.toml alone: no store is opened */
    bool names;           /* reads names of images or registries, which berth.toml completes */
};

static int enter_images(struct work *w, struct berth_error *err);

static const struct applet applets[] = {
    {"import", 1, 1, true, false, "source", false, import_prepare, enter_images, import_run, NULL, .names = true},
    {"load", 1, 1, true, false, "source", false, load_prepare, enter_images, load_run, NULL, .names = true},
    {"commit", 2, 2, true, false, "source", false, commit_prepare, enter_images, commit_run, NULL, .names = true},
    {"pull", 1, 1, true, false, NULL, false, pull_prepare, enter_images, pull_run, pull_finish, .names = true},
    {"save", 2, 256, false, false, "target", true, save_prepare, enter_images, save_run, save_finish, .names = true},
    {.name = "push", .min = 1, .max = 1, .network = true, .prepare = push_prepare, .enter = push_enter, .run = push_run,
     .names = true},
    {.name = "login", .max = 1, .network = true, .prepare = login_prepare, .enter = login_enter, .run = login_run,
     .finish = login_finish, .names = true},
    {.name = "credentials", .min = 1, .max = 1, .prepare = credentials_prepare, .names = true},
    {.name = "logout", .max = 1, .prepare = logout_prepare, .names = true},
    {.name = "settings", .asks = true},
    {"verify", 0, 0, true, true, NULL, false, NULL, enter_images, verify_run, NULL},
    {"collect", 0, 0, false, false, NULL, false, collect_prepare, NULL, NULL, NULL},
    {"export", 1, 1, false, false, NULL, false, workload_prepare, workload_enter, export_run, NULL},
    {"copy-out", 2, 2, false, false, NULL, false, workload_prepare, workload_enter, copy_out_run, NULL},
    {"copy-in", 2, 2, false, false, NULL, false, workload_prepare, workload_enter, copy_in_run, NULL},
    {"diff", 1, 1, false, false, NULL, false, diff_prepare, diff_enter, diff_run, NULL},
};

/* ---- options */

enum option_kind { FLAG, TEXT, NUMBER };
static const struct { const char *name; int kind; size_t offset; } options[] = {
    {"--reference", TEXT, offsetof(struct work, reference)},
    {"--config", TEXT, offsetof(struct work, config)},
    {"--platform", TEXT, offsetof(struct work, platform_text)},
    {"--folder", TEXT, offsetof(struct work, folder)},
    {"--format", TEXT, offsetof(struct work, format)},
    {"--message", TEXT, offsetof(struct work, message)},
    {"--author", TEXT, offsetof(struct work, author)},
    {"--policy", TEXT, offsetof(struct work, policy)},
    {"--settings", TEXT, offsetof(struct work, settings)},
    {"--progress", FLAG, offsetof(struct work, progress)},
    {"--unnamed", FLAG, offsetof(struct work, unnamed)},
    {"--unused", FLAG, offsetof(struct work, unused)},
    {"--max-bytes", NUMBER, offsetof(struct work, max_bytes)},
    {"--max-entries", NUMBER, offsetof(struct work, max_entries)},
};

static int set_option(struct work *w, size_t i, const char *value, struct berth_error *err)
{
    void *target = (char *)w + options[i].offset;
    char *end = NULL;
    switch (options[i].kind) {
    case FLAG: *(bool *)target = true; return 0;
    case TEXT: *(const char **)target = value; break;
    default: *(uint64_t *)target = value ? strtoull(value, &end, 10) : 0;
    }
    if (!value || (end && (end == value || *end)))
        return fail(err, BERTH_INVALID, options[i].name, "%s wants a %s", options[i].name, end ? "number" : "value");
    return 0;
}

static int parse_options(struct work *w, char **argv, struct berth_error *err)
{
    while (*argv && starts_with(*argv, "--") && (*argv)[2]) {
        size_t i = 0;
        while (i < ARRAY_SIZE(options) && strcmp(*argv, options[i].name) != 0)
            i++;
        if (i == ARRAY_SIZE(options))
            return fail(err, BERTH_INVALID, *argv, "there is no option %s", *argv);
        bool flag = options[i].kind == FLAG;
        int r = set_option(w, i, flag ? NULL : argv[1], err);
        if (r < 0)
            return r;
        argv += flag ? 1 : 2;
    }
    w->arguments = argv;
    return 0;
}

static int check_reference(struct work *w, struct berth_error *err)
{
    struct reference r = {0};
    if (!w->reference || !*w->reference) {
        w->reference = NULL;
        return 0;
    }
    int code = reference_parse(w->reference, &w->berth_toml->images, &r, err);
    if (code < 0)
        return code;
    bool has_digest = r.digest != NULL;
    w->reference = reference_print(&r); /* kept until the end of the program */
    reference_clear(&r);
    if (has_digest)
        return fail(err, BERTH_INVALID, w->reference, "the name to give can't have a digest: %s", w->reference);
    return w->reference ? 0 : fail_memory(err);
}

static int parse(struct work *w, const struct applet *a, char **argv, struct berth_error *err)
{
    w->max_bytes = IMAGE_MAX_LAYER_BYTES;
    w->max_entries = IMAGE_MAX_LAYER_ENTRIES;
    int r = parse_options(w, argv, err);
    if (r < 0)
        return r;
    size_t n = strings_count(w->arguments);
    if (n < a->min || n > a->max)
        return fail(err, BERTH_INVALID, a->name, "berth-image %s: wrong number of arguments", a->name);
    platform_here(&w->platform);
    w->has_platform = w->platform_text != NULL;
    if (w->platform_text && (r = platform_parse(w->platform_text, &w->platform, err)) < 0)
        return r;
    w->unpack = (struct unpack_options){.layer = true, .resolve = RESOLVE_IN_ROOT, .max_entries = w->max_entries,
                                        .max_bytes = w->max_bytes};
    if (w->folder && chdir(w->folder) < 0)
        return fail_os(err, errno, w->folder, "enter the folder %s", w->folder);
    if (a->names && (r = settings_load(w->settings, &w->berth_toml, err)) < 0)
        return r;
    return check_reference(w, err);
}

/* ---- how it ended */

static void say_end(struct berth_error *error)
{
    if (error && error->code == BERTH_AGAIN) /* for a caller that would mean: not at its end yet */
        error->code = BERTH_WRONG_STATE;
    json_t *line = error ? json_pack("{s{ss ss% ss%}}", "error", "code", berth_code_name(error->code), "object",
                                     error->object, strnlen(error->object, sizeof error->object), "message",
                                     error->message, strnlen(error->message, sizeof error->message))
                         : json_pack("{sb}", "done", true);
    if (error && !line) /* what it is about is not UTF-8 */
        line = json_pack("{s{ss ss ss}}", "error", "code", berth_code_name(error->code), "object", "", "message",
                         "failed; the message can't be printed as UTF-8");
    autofree char *text = line ? json_dumps(line, JSON_COMPACT) : NULL;
    json_decref(line);
    autofree char *whole = text ? format_text("%s\n", text) : NULL;
    if (whole)
        fd_write_all(IMAGE_TOOL_END_FD, whole, strlen(whole));
}

/* ---- the place to work in */

static int make_places(struct work *w, struct berth_error *err)
{
    static const char *const folders[] = {"images", "images/blobs", "images/blobs/sha256", "images/layers",
                                          "images/refs", "images/aside", "images/partial"};
    int root_fd = store_root_fd(w->store);
    for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
        if (mkdirat(root_fd, folders[i], 0700) < 0 && errno != EEXIST)
            return fail_os(err, errno, folders[i], "make %s/%s", store_root(w->store), folders[i]);
    w->images_fd = images_open(w->store);
    return w->images_fd < 0 ? fail_os(err, w->images_fd, "images", "open the image store") : 0;
}

/* With a lock in it that is held for as long as this process or a worker of it lives. Whoever collects holds the
   images' lock alone: it sees no folder without its lock. */
static int make_aside(struct work *w, struct berth_error *err)
{
    uint64_t random = 0;
    char lock[96];
    autoclose int lock_fd = -1;
    int r = images_lock(w->images_fd, false, true, &lock_fd, err);
    if (r < 0)
        return r;
    getrandom(&random, sizeof random, 0);
    snprintf(w->aside, sizeof w->aside, "aside/%016llx", (unsigned long long)random);
    snprintf(lock, sizeof lock, "%s/lock", w->aside);
    if (mkdirat(w->images_fd, w->aside, 0700) < 0)
        return fail_os(err, errno, w->aside, "make images/%s", w->aside);
    w->aside_fd = openat(w->images_fd, lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    r = w->aside_fd < 0 ? -errno : lock_take(w->aside_fd);
    crash_point("pull.aside");
    return r < 0 ? fail_os(err, r, lock, "lock images/%s", lock) : 0;
}

/* ---- the jail, seen from inside and outside */

static int enter_images(struct work *w, struct berth_error *err)
{
    const struct applet *a = w->applet;
    struct jail_bind binds[2] = {{"images", w->images_fd, a->makes}};
    size_t n = 1;
    if (w->folder_fd >= 0)
        binds[n++] = (struct jail_bind){a->folder, w->folder_fd, a->folder_writable};
    autofree char *scratch = format_text("%s/images", store_root(w->store));
    int r = scratch ? jail_enter(scratch, binds, n, err) : fail_memory(err);
    if (r < 0)
        return r;
    close(w->images_fd);
    w->images_fd = open("/images", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->folder_fd >= 0) {
        close(w->folder_fd);
        w->folder_fd = open(a->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    return 0;
}

struct end { int code; bool put; struct berth_error err; };

static void inside(struct work *w, const struct applet *a, int end_fd)
{
    struct end end = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    end.code = a->enter(w, &end.err);
    if (end.code == 0)
        end.code = a->network ? jail_lock_network(&end.err) : jail_lock(&end.err);
    if (end.code == 0)
        end.code = a->run(w, &end.err);
    end.put = w->put;
    fd_write_all(end_fd, &end, sizeof end);
    _exit(0);
}

/* Cancelled: the caller sends SIGTERM or lets go of descriptor 3. */
static bool wait_for_jail(pid_t pid, int pid_fd, int signal_fd)
{
    struct pollfd fds[] = {{pid_fd, POLLIN, 0}, {signal_fd, POLLIN, 0}, {IMAGE_TOOL_END_FD, 0, 0}};
    bool cancelled = false;
    for (;;) {
        int r = poll(fds, ARRAY_SIZE(fds), -1);
        if (r < 0 && errno != EINTR)
            break;
        if (fds[0].revents)
            break;
        if (r > 0 && !cancelled && (fds[1].revents || (fds[2].revents & (POLLERR | POLLHUP)))) {
            cancelled = true;
            kill(pid, SIGKILL);
            fds[1].fd = fds[2].fd = -1;
        }
    }
    return cancelled;
}

static int run_jail(struct work *w, const struct applet *a, struct berth_error *err)
{
    sigset_t mask = cancel_signals();
    autoclose int signal_fd = signalfd(-1, &mask, SFD_CLOEXEC);
    autoclose int own_fd = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_os(err, errno, "", "make a pipe");
    if (signal_fd < 0 || own_fd < 0 || unshare(CLONE_NEWPID) < 0)
        return fail_os(err, errno, "", "make the unpacker's jail (this needs CAP_SYS_ADMIN: sudo)");
    pid_t pid = fork();
    if (pid == 0)
        inside(w, a, ends[1]);
    int fork_error = errno;
    setns(own_fd, CLONE_NEWPID); /* in the jail's nobody can be born once it has ended: not a credential helper either */
    close(ends[1]);
    autoclose int end_fd = ends[0];
    if (pid < 0)
        return fail_os(err, fork_error, "", "start the jail");
    autoclose int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    bool cancelled = wait_for_jail(pid, pid_fd, signal_fd);
    int status = 0;
    struct end end;
    RETRY(waitpid(pid, &status, 0));
    if (RETRY(read(end_fd, &end, sizeof end)) == (ssize_t)sizeof end) {
        if (end.code < 0)
            *err = end.err;
        w->put = end.put;
        return end.code;
    }
    return cancelled ? fail(err, BERTH_CANCELLED, a->name, "%s was cancelled", a->name)
                     : fail(err, BERTH_LOST, a->name, "%s: the jail was killed (signal %d)", a->name, WTERMSIG(status));
}

static int work(struct work *w, const struct applet *a, struct berth_error *err)
{
    autoclose int lock_fd = -1;
    int r = store_open(w->root, w->run, true, &w->store, err);
    if (r == 0)
        r = make_places(w, err);
    if (r == 0 && a->holds)
        r = images_lock(w->images_fd, false, true, &lock_fd, err);
    boot_id(); /* the jail has no /proc */
    sigset_t mask = cancel_signals();
    sigprocmask(SIG_BLOCK, &mask, NULL); /* until here they kill, for nothing is begun */
    if (r == 0 && a->prepare)
        r = a->prepare(w, err);
    if (r == 0 && a->makes)
        r = make_aside(w, err);
    if (r == 0 && a->run)
        r = run_jail(w, a, err);
    if (*w->aside)
        tree_remove(w->images_fd, w->aside);
    if (r < 0 && w->put)
        collect_now(w, false, false, NULL, NULL);
    workload_close(w->workload); /* its locks are free before anybody hears of the end */
    if (a->finish) {
        int finished = a->finish(w, r == 0, err);
        r = r == 0 ? finished : r;
    }
    return r;
}

/* Whoever asked has the answer and waits for nobody: what was made is synced now, what a push fetched is kept, and
   what others left that were killed while they made something goes. */
static void afterwards(struct work *w)
{
    sigset_t mask = cancel_signals();
    int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= IMAGE_TOOL_END_FD; fd++)
        dup3(null_fd, fd, O_CLOEXEC);
    sigprocmask(SIG_UNBLOCK, &mask, NULL);
    if (w->push) {
        push_keep(w);
        return;
    }
    store_settle(w->images_fd, NULL);
    collect_now(w, false, false, NULL, NULL);
    gc_run(w, w->gc_high, w->gc_low);
}

int main(int argc, char **argv)
{
    struct berth_error err = {0};
    struct work w = {.aside_fd = -1, .fetcher.socket_fd = -1, .images_fd = -1, .source_fd = -1, .folder_fd = -1, .root_fd = -1};
    setlocale(LC_CTYPE, "C.UTF-8"); /* libarchive's names */
    signal(SIGPIPE, SIG_IGN);
    umask(022);
    fcntl(IMAGE_TOOL_END_FD, F_SETFD, FD_CLOEXEC);
    size_t i = 0;
    while (i < ARRAY_SIZE(applets) && (argc < 4 || strcmp(argv[1], applets[i].name) != 0))
        i++;
    int r = i < ARRAY_SIZE(applets) ? 0
          : fail(&err, BERTH_INVALID, "", "berth-image APPLET ROOT RUN ...: no such applet or too few arguments");
    if (r == 0) {
        w.applet = &applets[i];
        w.root = argv[2];
        w.run = argv[3];
        r = parse(&w, &applets[i], argv + 4, &err);
    }
    if (r == 0)
        r = w.applet->asks ? settings_tell(w.settings, &err) : work(&w, &applets[i], &err);
    say_end(r < 0 ? &err : NULL);
    if (w.push || (r == 0 && w.applet->makes))
        afterwards(&w);
    return r < 0;
}
