/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine of one's own: plain processes on the host's own files, each workload in a cgroup (v2).
 *
 *     cc -shared -fPIC engine.c $(pkg-config --cflags --libs berth) -ljansson -o plain.so
 *     berth-contract --load ./plain.so --engine plain --plain host --network host --unsupported engine.unsupported
 *
 * A workload is a folder, RUN/plain/ID: its spec, its log, a record of what is known of it, and a FIFO at which a
 * keeper listens, a process of its own that outlives whoever started it. So any process may ask and stop. What
 * stays out is in engine.unsupported, and doc/adr/0036 says why this is no shorter.
 */
#define _GNU_SOURCE
#include <berth/engine.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/sched.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct plain { char works[200], cgroups[200]; };
struct record { int32_t state, pid, keeper, code, signal; int64_t created, started, ended; char name[136], reason[512]; };
struct work { struct berth_handle handle; struct record now; json_t *spec; char path[300], cgroup[300]; };
struct ask { int64_t msec; int32_t signal; bool asks; }; /* to the keeper: a stop (msec >= 0), or a signal */

static int64_t now_usec(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- a workload's files */

static int open_in(const char *folder, const char *file, int flags)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    return open(path, flags | O_CLOEXEC, 0600);
}

static int put(const char *folder, const char *file, const void *data, size_t size, int flags)
{
    int fd = open_in(folder, file, flags);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, data, size);
    close(fd);
    return n == (ssize_t)size ? 0 : -1;
}

static int put_record(const struct work *w)
{
    return put(w->path, "record", &w->now, sizeof(w->now), O_WRONLY | O_CREAT);
}

static bool get_record(struct work *w)
{
    int fd = open_in(w->path, "record", O_RDONLY);
    bool whole = fd >= 0 && pread(fd, &w->now, sizeof(w->now), 0) == sizeof(w->now);
    close(fd);
    return whole;
}

/** Its keeper lives as long as it holds the lock on `life`. */
static bool alive(const struct work *w)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd = open_in(w->path, "life", O_RDWR);
    bool held = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    return held;
}

static void end_group(const struct work *w)
{
    put(w->cgroup, "cgroup.kill", "1", 1, O_WRONLY);
    while (rmdir(w->cgroup) < 0 && errno == EBUSY)
        poll(NULL, 0, 5); /* no event tells when the last process has left it */
}

/** The workload as it is now; false when there is none. leave() it in any case. */
static bool look(const struct plain *p, const uint8_t id[16], struct work *w)
{
    char text[BERTH_ID_TEXT], spec[320];
    *w = (struct work){.handle = {.runtime = "plain"}};
    berth_id_print(id, text);
    memcpy(w->handle.id, id, 16);
    snprintf(w->path, sizeof(w->path), "%s/%s", p->works, text);
    snprintf(w->cgroup, sizeof(w->cgroup), "%s/plain-%s", p->cgroups, text);
    snprintf(spec, sizeof(spec), "%s/spec", w->path);
    bool lived = alive(w);
    if (!get_record(w) || !(w->spec = json_load_file(spec, 0, NULL)))
        return false;
    snprintf(w->handle.name, sizeof(w->handle.name), "%s", w->now.name);
    snprintf(w->handle.metadata, sizeof(w->handle.metadata), "%020lld", (long long)w->now.created);
    if (!lived && (w->now.state == BERTH_RUNNING || w->now.state == BERTH_STOPPING)) {
        end_group(w); /* somebody killed its keeper */
        w->now.state = BERTH_FAILED;
        w->now.ended = now_usec(CLOCK_REALTIME);
        w->now.code = 128 + (w->now.signal = SIGKILL);
        snprintf(w->now.reason, sizeof(w->now.reason), "its keeper was killed");
        put_record(w);
    }
    return true;
}

static int leave(struct work *w, int r)
{
    json_decref(w->spec);
    return r;
}

static int enter(void *plain, const struct berth_handle *h, struct work *w, struct berth_error *err)
{
    if (look(plain, h->id, w))
        return 0;
    return leave(w, berth_error_set(err, BERTH_NOT_FOUND, h->name, "no workload \"%s\"", h->name));
}

static bool runs(const struct work *w)
{
    return w->now.state == BERTH_RUNNING || w->now.state == BERTH_STOPPING;
}

static int wrong_state(struct work *w, const char *verb, struct berth_error *err)
{
    const char *name = w->handle.name;
    return leave(w, berth_error_set(err, BERTH_WRONG_STATE, name, "%s %s: it is %s", verb, name, berth_state_name(w->now.state)));
}

static const char *text_of(const struct work *w, const char *key)
{
    return json_string_value(json_object_get(w->spec, key));
}

static void erase(const struct plain *p, const struct work *w)
{
    static const char *const files[] = {"spec", "log", "life", "ask", "record"};
    char path[500];
    snprintf(path, sizeof(path), "%s/names/%s", p->works, w->now.name);
    unlink(path);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", w->path, files[i]);
        unlink(path);
    }
    rmdir(w->path);
}

/* ---- processes */

struct program {
    const char *const *argv;
    char **env;
    const struct work *work; /* NULL: a helper of ours, in no group */
    int fds[3], life_fd;     /* life_fd >= 0: its main program, and the watcher is its keeper */
    int64_t timeout_msec;
    const char *workdir;
};

/** Become the program; `report_fd` hears why it could not be. */
static _Noreturn void become(const struct program *p, int report_fd)
{
    setsid();
    umask(022);
    signal(SIGPIPE, SIG_DFL);
    close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
    if ((!p->work || put(p->work->cgroup, "cgroup.procs", "0", 1, O_WRONLY) == 0) && chdir(p->workdir ? p->workdir : "/") == 0)
        execvpe(p->argv[0], (char **)p->argv, p->env);
    int error = -errno;
    _exit(write(report_fd, &error, sizeof(error)) < 0 ? 127 : 126);
}

static void hear(struct work *w, const struct ask *a, int64_t *deadline)
{
    w->now.signal |= a->asks; /* while it runs: somebody asked for its end */
    if (a->msec < 0 || (a->msec > 0 && a->signal))
        kill(w->now.pid, a->signal);
    if (a->msec == 0)
        put(w->cgroup, "cgroup.kill", "1", 1, O_WRONLY);
    if (a->msec < 0)
        return;
    int64_t end = now_usec(CLOCK_MONOTONIC) + a->msec * 1000;
    *deadline = *deadline < 0 || end < *deadline ? end : *deadline;
    w->now.state = BERTH_STOPPING;
    put_record(w);
}

/** Until the program has ended: what is asked is done, and what is late is killed. */
static void keep(struct work *w, int pid_fd, int ask_fd)
{
    int64_t deadline = -1;
    struct ask a;
    struct pollfd f[] = {{.fd = pid_fd, .events = POLLIN}, {.fd = ask_fd, .events = POLLIN}};
    while (!f[0].revents) {
        int64_t left = deadline < 0 ? -1 : (deadline - now_usec(CLOCK_MONOTONIC) + 999) / 1000;
        poll(f, 2, deadline < 0 ? -1 : left < 0 ? 0 : left > 1000000 ? 1000000 : (int)left);
        if (read(ask_fd, &a, sizeof(a)) == sizeof(a))
            hear(w, &a, &deadline);
        if (deadline >= 0 && now_usec(CLOCK_MONOTONIC) >= deadline) {
            put(w->cgroup, "cgroup.kill", "1", 1, O_WRONLY);
            deadline = -1;
        }
    }
}

static void note_end(struct work *w, int code, int sig)
{
    bool asked = w->now.signal;
    end_group(w);
    w->now.pid = w->now.keeper = 0;
    w->now.code = code;
    w->now.signal = sig;
    w->now.ended = now_usec(CLOCK_REALTIME);
    w->now.state = asked ? BERTH_STOPPED : code ? BERTH_FAILED : BERTH_COMPLETED;
    snprintf(w->now.reason, sizeof(w->now.reason), asked ? "stopped on request" : code ? "exit code %d" : "", code);
    put_record(w);
}

enum { REPORT = 3, HOST, LIFE, OWN };

/** An exec ends with its host, and at its time limit. Whether it was late. */
static bool guard(const struct program *p, int pid_fd, int pid)
{
    struct pollfd f[] = {{.fd = pid_fd, .events = POLLIN}, {.fd = HOST, .events = POLLIN}};
    int n = poll(f, 2, p->timeout_msec ? (int)p->timeout_msec : -1);
    if (!f[0].revents)
        kill(-pid, SIGKILL); /* its session: what it has started too */
    return n == 0;
}

/**
 * Between host and program, the child of neither: the host's wait() and SIGCHLD never see it. REPORT hears the program's pid,
 * or why there is none; and, of an exec, how it ended: code, signal, and whether it was late.
 */
static _Noreturn void watch(const struct program *p, int host_fd, int report_fd)
{
    int own[OWN] = {p->fds[0], p->fds[1], p->fds[2], report_fd, host_fd, p->life_fd}, pipes[2], error = 0;
    bool keeps = p->life_fd >= 0, late = false;
    struct work w = p->work ? *p->work : (struct work){0};
    for (int i = 0; i < OWN; i++)
        own[i] = own[i] < 0 ? -1 : fcntl(own[i], F_DUPFD, 100);
    for (int i = 0; i < OWN; i++)
        own[i] < 0 ? close(i) : dup2(own[i], i);
    close_range(OWN, ~0U, 0);
    int ask_fd = keeps ? open_in(w.path, "ask", O_RDWR | O_NONBLOCK) : -1;
    for (struct ask late_ask; keeps && read(ask_fd, &late_ask, sizeof(late_ask)) > 0;)
        ; /* what the keeper before heard no more */
    if (pipe2(pipes, O_CLOEXEC) < 0 || chdir("/") < 0)
        _exit(1);
    int pid = (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); /* fork() wants locks that another thread may have held */
    if (pid == 0)
        become(p, pipes[1]);
    close(pipes[1]);
    if (read(pipes[0], &error, sizeof(error)) > 0)
        _exit(write(REPORT, &error, sizeof(error)) < 0);
    int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    w.now.pid = pid;
    w.now.keeper = getpid();
    if (keeps)
        put_record(&w);
    if (write(REPORT, &pid, sizeof(pid)) > 0)
        close_range(0, keeps ? HOST : STDERR_FILENO, 0);
    if (keeps)
        keep(&w, pid_fd, ask_fd);
    else
        late = guard(p, pid_fd, pid);
    siginfo_t i = {0};
    waitid(P_PID, (id_t)pid, &i, WEXITED);
    int sig = i.si_code == CLD_EXITED ? 0 : i.si_status, code = sig ? 128 + sig : i.si_status;
    if (keeps)
        note_end(&w, code, sig);
    _exit(write(REPORT, (int[]){code, sig, late}, 3 * sizeof(int)) < 0);
}

/** Run it: its pid, and the descriptor that hears its end; or the reason why not. */
static int launch(const char *verb, const char *name, const struct program *p, int *ret_end_fd, int *ret_pid, struct berth_error *err)
{
    int report[2], pid_fd = -1, word = -EPIPE;
    siginfo_t i;
    struct clone_args a = {.flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pid_fd};
    if (pipe2(report, O_CLOEXEC) < 0)
        return berth_error_set(err, BERTH_IO, name, "%s %s: pipe: %s", verb, name, strerror(errno));
    int host_fd = (int)syscall(SYS_pidfd_open, getpid(), 0), between = (int)syscall(SYS_clone3, &a, sizeof(a));
    if (between == 0) {
        sigset_t none;
        sigemptyset(&none);
        for (int s = 1; s < 32; s++)
            signal(s, s == SIGPIPE ? SIG_IGN : SIG_DFL);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) == 0 && setsid())
            watch(p, host_fd, report[1]);
        _exit(0);
    }
    close(report[1]);
    close(host_fd);
    while (between > 0 && waitid(P_PIDFD, (id_t)pid_fd, &i, WEXITED | __WALL) < 0 && errno == EINTR)
        ;
    while (read(report[0], &word, sizeof(word)) < 0 && errno == EINTR)
        ;
    if (between > 0)
        close(pid_fd);
    *ret_end_fd = report[0];
    *ret_pid = word;
    if (word > 0)
        return 0;
    close(report[0]);
    return berth_error_set(err, word == -ENOENT ? BERTH_NO_PROGRAM : word == -EPIPE ? BERTH_IO : BERTH_NOT_EXECUTABLE, p->argv[0],
                           "%s %s: exec \"%s\": %s", verb, name, p->argv[0], strerror(-word));
}

/* ---- calls: a create, a stop, a wait or an exec under way, each with one descriptor */

enum kind { CREATE, STOP, WAIT, EXEC };
struct call {
    const struct plain *plain;
    enum kind kind;
    struct berth_handle handle;
    int fd, pid, streams[3]; /* streams: files of what is collected, or pipes */
    int run, keeper, keeper_fd; /* a stop: of that keeper; who is watched, and by what */
    bool piped, cancelled;
    uint64_t output_max;
};

static char *contents(int fd, size_t *ret_size)
{
    struct stat st = {0};
    fstat(fd, &st);
    char *text = calloc(1, (size_t)st.st_size + 1);
    *ret_size = text && pread(fd, text, (size_t)st.st_size, 0) == st.st_size ? (size_t)st.st_size : 0;
    return text;
}

static int exec_end(struct call *c, struct berth_result *ret, struct berth_error *err)
{
    int end[3] = {0};
    const char *name = c->handle.name;
    struct pollfd f = {.fd = c->fd, .events = POLLIN};
    if (poll(&f, 1, c->cancelled ? -1 : 0) <= 0)
        return 0;
    ssize_t n = read(c->fd, end, sizeof(end));
    if (c->cancelled || n < (ssize_t)sizeof(end) || end[2])
        return berth_error_set(err, c->cancelled ? BERTH_CANCELLED : end[2] ? BERTH_TIMED_OUT : BERTH_LOST, name, "exec %s: %s", name,
                               c->cancelled ? "cancelled" : end[2] ? "its time limit passed" : "its watcher was killed");
    struct berth_exec_result *e = calloc(1, sizeof(*e));
    *e = (struct berth_exec_result){.exit_code = end[0], .signal = end[1]};
    for (int i = 1; i < 3 && !c->piped; i++)
        *(i == 1 ? &e->out : &e->err) = contents(c->streams[i], i == 1 ? &e->out_size : &e->err_size);
    ret->exec = e;
    if (e->out_size <= c->output_max && e->err_size <= c->output_max)
        return 1;
    berth_exec_result_free(e);
    ret->exec = NULL;
    return berth_error_set(err, BERTH_TOO_BIG, name, "exec %s: more than %llu bytes of output", name, (unsigned long long)c->output_max);
}

static int copy_status(const struct work *w, struct berth_status **ret)
{
    struct berth_status *s = *ret = calloc(1, sizeof(*s));
    const struct record *r = &w->now;
    bool over = r->started && !runs(w);
    *s = (struct berth_status){.size = sizeof(*s), .handle = w->handle, .state = r->state, .pid = runs(w) ? r->pid : 0,
                               .exit_code = over ? r->code : -1, .signal = over ? r->signal : 0, .created_usec = r->created,
                               .started_usec = r->started, .ended_usec = over ? r->ended : 0};
    snprintf(s->reason, sizeof(s->reason), "%s", over ? r->reason : "");
    snprintf(s->image, sizeof(s->image), "%s", text_of(w, "image") ? text_of(w, "image") : "host");
    return 1;
}

/** Readable when it is time to look: the keeper has ended; or, where there is none yet, in a moment. */
static void watch_keeper(struct call *c, const struct work *w)
{
    const struct itimerspec moment = {.it_value.tv_nsec = 20000000, .it_interval.tv_nsec = 20000000};
    struct epoll_event e = {.events = EPOLLIN};
    if (c->keeper_fd >= 0 && c->keeper && c->keeper == w->now.keeper)
        return;
    if (c->keeper_fd >= 0)
        close(c->keeper_fd);
    c->keeper = w->now.keeper;
    c->keeper_fd = c->keeper ? (int)syscall(SYS_pidfd_open, c->keeper, 0) : -1;
    if (c->keeper_fd < 0 && (c->keeper_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) >= 0)
        timerfd_settime(c->keeper_fd, 0, &moment, NULL);
    epoll_ctl(c->fd, EPOLL_CTL_ADD, c->keeper_fd, &e);
}

static int step(void *data, struct berth_result *ret, struct berth_error *err)
{
    struct call *c = data;
    struct work w;
    ret->handle = c->handle;
    if (c->kind == EXEC)
        return exec_end(c, ret, err);
    if (c->cancelled && c->kind != STOP)
        return berth_error_set(err, BERTH_CANCELLED, c->handle.name, "%s: cancelled", c->handle.name);
    if (c->kind == CREATE)
        return 1;
    bool there = look(c->plain, c->handle.id, &w);
    bool another = c->kind == STOP && w.now.keeper && w.now.keeper != c->run; /* a run that began since is not meant */
    if (there && ((alive(&w) && !another) || (c->kind == WAIT && w.now.state == BERTH_CREATED))) {
        watch_keeper(c, &w);
        return leave(&w, 0);
    }
    if (c->kind == WAIT && !there)
        return leave(&w, berth_error_set(err, BERTH_NOT_FOUND, c->handle.name, "no workload \"%s\"", c->handle.name));
    return leave(&w, c->kind == WAIT ? copy_status(&w, &ret->status) : 1);
}

static void undo(void *data)
{
    struct call *c = data;
    struct work w;
    if (look(c->plain, c->handle.id, &w))
        erase(c->plain, &w);
    leave(&w, 0);
}

static void cancel(void *data)
{
    struct call *c = data;
    c->cancelled = true;
    if (c->kind == EXEC)
        kill(-c->pid, SIGKILL);
    if (c->kind == CREATE)
        undo(c);
}

static void call_free(void *data)
{
    struct call *c = data;
    int fds[] = {c->fd, c->keeper_fd, c->streams[0], c->streams[1], c->streams[2]};
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(c);
}

static int stream_fd(void *data, int stream)
{
    const struct call *c = data;
    return c->piped ? c->streams[stream] : -1;
}

static void close_stdin(void *data)
{
    struct call *c = data;
    if (c->piped && c->streams[0] >= 0)
        close(c->streams[0]);
    c->streams[0] = c->piped ? -1 : c->streams[0];
}

static int signal_exec(void *data, int sig, struct berth_error *err)
{
    const struct call *c = data;
    return kill(c->pid, sig) == 0 ? 0 : berth_error_set(err, BERTH_WRONG_STATE, c->handle.name, "exec %s: it has ended", c->handle.name);
}

static const struct berth_call_ops ops = {.size = sizeof(ops), .step = step, .cancel = cancel, .free = call_free};
static const struct berth_call_ops create_ops = {.size = sizeof(ops), .step = step, .cancel = cancel, .free = call_free, .undo = undo};
static const struct berth_call_ops exec_ops = {.size = sizeof(ops), .step = step, .cancel = cancel, .free = call_free,
                                               .stream_fd = stream_fd, .close_stdin = close_stdin, .signal = signal_exec};

static struct call *new_call(const struct plain *p, enum kind kind, const struct work *w)
{
    struct call *c = malloc(sizeof(*c));
    *c = (struct call){.plain = p, .kind = kind, .handle = w->handle, .fd = -1, .keeper_fd = -1, .streams = {-1, -1, -1}};
    return c;
}

/** A stop or a wait. */
static int call_until_ended(const struct plain *p, enum kind kind, struct work *w, struct berth_call **ret, struct berth_error *err)
{
    struct call *c = new_call(p, kind, w);
    c->run = w->now.keeper;
    c->fd = epoll_create1(EPOLL_CLOEXEC);
    watch_keeper(c, w);
    leave(w, 0);
    return berth_call_new(&ops, c, c->fd, ret, err);
}

/* ---- the verbs */

static int plain_open(const struct berth_options *options, void **ret_self, struct berth_error *err)
{
    struct plain *p = calloc(1, sizeof(*p));
    FILE *f = setmntent("/proc/self/mounts", "r");
    for (struct mntent *m; f && (m = getmntent(f));) /* on a hybrid machine v2 is beside v1 */
        if (!strcmp(m->mnt_type, "cgroup2"))
            snprintf(p->cgroups, sizeof(p->cgroups), "%s", m->mnt_dir);
    if (f)
        endmntent(f);
    snprintf(p->works, sizeof(p->works), "%s/plain", options->run);
    *ret_self = p;
    if (p->cgroups[0])
        return 0;
    free(p);
    return berth_error_set(err, BERTH_NO_KERNEL, NULL, "plain: a cgroup v2 hierarchy to write in is needed");
}

/** What berth_spec_read cannot know: the values that are honoured. */
static int refuse(const struct work *w, struct berth_error *err)
{
    const char *runtime = text_of(w, "runtime"), *image = text_of(w, "image"), *network = text_of(w, "network");
    if (runtime && strcmp(runtime, "plain"))
        return berth_error_set(err, BERTH_INVALID, "runtime", "runtime: \"%s\" is not this engine, \"plain\"", runtime);
    if (image && strcmp(image, "host"))
        return berth_error_set(err, BERTH_UNSUPPORTED, "image", "image: this engine has none but \"host\", the host's own files");
    if (network && strcmp(network, "host"))
        return berth_error_set(err, BERTH_UNSUPPORTED, "network", "network: this engine has none but \"host\"");
    if (!json_array_size(json_object_get(w->spec, "command")) && !json_array_size(json_object_get(w->spec, "args")))
        return berth_error_set(err, BERTH_INVALID, "command", "command: there is no program to run");
    return 0;
}

static int fill(const struct plain *p, struct work *w, const char *id, const char *json, struct berth_error *err)
{
    char path[500];
    snprintf(path, sizeof(path), "%s/names/", p->works);
    for (char *at = path + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = 0;
        mkdir(path, 0700);
    }
    snprintf(path, sizeof(path), "%s/names/%s", p->works, w->now.name);
    if (symlink(id, path) < 0)
        return berth_error_set(err, errno == EEXIST ? BERTH_EXISTS : BERTH_IO, w->now.name, "the name \"%s\": %s", w->now.name,
                               errno == EEXIST ? "it is taken" : strerror(errno));
    snprintf(path, sizeof(path), "%s/ask", w->path);
    if (mkdir(w->path, 0700) == 0 && mkfifo(path, 0600) == 0 && put(w->path, "spec", json, strlen(json), O_WRONLY | O_CREAT) == 0 &&
        put(w->path, "life", "", 0, O_WRONLY | O_CREAT) == 0 && put(w->path, "log", "", 0, O_WRONLY | O_CREAT) == 0 && put_record(w) == 0)
        return 0;
    int r = berth_error_set(err, BERTH_IO, w->now.name, "write %s: %s", w->path, strerror(errno));
    erase(p, w);
    return r;
}

static int plain_create(void *self, const char *spec_json, struct berth_call **ret_call, struct berth_error *err)
{
    static const char *const known[] = {"name", "runtime", "image", "command", "args", "env", "workdir", "network",
                                        "stop_signal", "stop_timeout", NULL};
    char *json = NULL, id[BERTH_ID_TEXT];
    struct work w;
    uint8_t bits[16];
    int r = berth_spec_read(spec_json, known, &json, err);
    if (r < 0)
        return r;
    if (getrandom(bits, sizeof(bits), 0) < 0)
        bits[0] = 1;
    look(self, bits, &w); /* its paths */
    berth_id_print(bits, id);
    w.spec = json_loads(json, 0, NULL);
    const char *name = text_of(&w, "name");
    w.now = (struct record){.state = BERTH_CREATED, .created = now_usec(CLOCK_REALTIME)};
    snprintf(w.now.name, sizeof(w.now.name), "%s%.12s", name ? name : "plain_", name ? "" : id);
    snprintf(w.handle.name, sizeof(w.handle.name), "%s", w.now.name);
    r = refuse(&w, err);
    if (r == 0)
        r = fill(self, &w, id, json, err);
    free(json);
    if (r < 0)
        return leave(&w, r);
    struct call *c = new_call(self, CREATE, &w);
    leave(&w, 0);
    return berth_call_new(&create_ops, c, -1, ret_call, err);
}

/** Strings of a spec's list (NAME=value of an object), then those of `more`. */
static char **strings(char **all, json_t *list, const char *const *more)
{
    size_t n = 0, i;
    const char *key;
    json_t *value;
    while (all && all[n])
        n++;
    all = realloc(all, (n + json_object_size(list) + json_array_size(list) + 1024) * sizeof(*all));
    json_array_foreach(list, i, value)
        all[n++] = strdup(json_string_value(value));
    json_object_foreach(list, key, value)
        n += asprintf(&all[n], "%s=%s", key, json_string_value(value)) > 0;
    for (i = 0; more && more[i] && i < 1000; i++)
        all[n++] = strdup(more[i]);
    all[n] = NULL;
    return all;
}

static void strings_free(char **all)
{
    for (size_t i = 0; all && all[i]; i++)
        free(all[i]);
    free(all);
}

static char **environment(const struct work *w, const char *const *more)
{
    static const char *const usual[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    return strings(strings(NULL, json_object_get(w->spec, "env"), more), NULL, usual);
}

static int begin(struct work *w, int life_fd, struct berth_error *err)
{
    int end_fd = -1, pid, null = open("/dev/null", O_RDWR | O_CLOEXEC), log = open_in(w->path, "log", O_WRONLY | O_APPEND);
    char **env = environment(w, NULL);
    char **argv = strings(strings(NULL, json_object_get(w->spec, "command"), NULL), json_object_get(w->spec, "args"), NULL);
    const struct program program = {.argv = (const char *const *)argv, .env = env, .work = w, .fds = {null, log, log}, .life_fd = life_fd,
                                    .workdir = text_of(w, "workdir")};
    w->now = (struct record){.state = BERTH_RUNNING, .created = w->now.created, .started = now_usec(CLOCK_REALTIME)};
    snprintf(w->now.name, sizeof(w->now.name), "%s", w->handle.name);
    int r = mkdir(w->cgroup, 0755) < 0 && errno != EEXIST
        ? berth_error_set(err, BERTH_IO, w->cgroup, "cgroup %s: %s", w->cgroup, strerror(errno))
        : launch("start", w->handle.name, &program, &end_fd, &pid, err);
    if (r < 0) {
        end_group(w); /* what could not be executed may still be on its way out */
        w->now.state = BERTH_FAILED;
        w->now.code = r == BERTH_NO_PROGRAM ? 127 : 126;
        w->now.ended = now_usec(CLOCK_REALTIME);
        snprintf(w->now.reason, sizeof(w->now.reason), "%.500s", err->message);
        put_record(w);
    }
    close(null);
    close(log);
    close(end_fd);
    strings_free(argv);
    strings_free(env);
    return r;
}

static int plain_start(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err)
{
    struct work w;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (enter(self, h, &w, err) < 0)
        return BERTH_NOT_FOUND;
    int life_fd = open_in(w.path, "life", O_RDWR);
    int r = fcntl(life_fd, F_OFD_SETLK, &lock) < 0
        ? berth_error_set(err, BERTH_WRONG_STATE, h->name, "start %s: it is running", w.handle.name) : begin(&w, life_fd, err);
    close(life_fd); /* the keeper has it */
    leave(&w, 0);
    return berth_call_done(r, NULL, err, ret_call, err);
}

static int signal_of(const struct work *w)
{
    const char *name = text_of(w, "stop_signal");
    for (int s = 1; name && s < 32; s++)
        if (!strcmp(sigabbrev_np(s) ? sigabbrev_np(s) : "", strncmp(name, "SIG", 3) ? name : name + 3))
            return s;
    return SIGTERM;
}

/** The spec's own timeout, "1m30s", "250ms", in milliseconds. */
static int64_t timeout_of(const struct work *w)
{
    const char *text = text_of(w, "stop_timeout");
    double total = 0, number;
    char unit[8];
    int n;
    for (; text && sscanf(text, "%lf%7[a-z]%n", &number, unit, &n) == 2; text += n)
        total += number * (!strcmp(unit, "ms") ? 1 : !strcmp(unit, "us") ? 0.001 : *unit == 'm' ? 60000 : *unit == 'h' ? 3600000 : 1000);
    return text ? (int64_t)total : 10000;
}

/** Opened for both, a FIFO raises no signal when its reader has just gone. */
static void ask(const struct work *w, int64_t msec, int sig)
{
    const struct ask a = {.msec = msec, .signal = sig, .asks = msec >= 0 || sig == SIGKILL || sig == signal_of(w)};
    if (runs(w))
        put(w->path, "ask", &a, sizeof(a), O_RDWR | O_NONBLOCK);
}

static int plain_stop(void *self, const struct berth_handle *h, int64_t msec, struct berth_call **ret_call, struct berth_error *err)
{
    struct work w;
    if (enter(self, h, &w, err) < 0)
        return BERTH_NOT_FOUND;
    ask(&w, msec < 0 ? timeout_of(&w) : msec, signal_of(&w));
    return call_until_ended(self, STOP, &w, ret_call, err);
}

static int plain_remove(void *self, const struct berth_handle *h, const struct berth_remove_options *o, struct berth_call **ret_call,
                        struct berth_error *err)
{
    struct work w;
    bool there = look(self, h->id, &w);
    if (there && runs(&w) && !o->force)
        return wrong_state(&w, "remove", err);
    if (there)
        ask(&w, 0, 0);
    while (there && alive(&w)) /* dying: a moment, which an engine of quality would spend in a call */
        poll(NULL, 0, 2);
    if (there)
        erase(self, &w);
    leave(&w, 0);
    return berth_call_done(0, NULL, NULL, ret_call, err);
}

static int plain_status(void *self, const struct berth_handle *h, struct berth_status **ret, struct berth_error *err)
{
    struct work w;
    return enter(self, h, &w, err) < 0 ? BERTH_NOT_FOUND : leave(&w, copy_status(&w, ret) - 1);
}

struct tail { int pid, end_fd; };

static void end_tail(void *data)
{
    struct tail *t = data;
    int end[3];
    kill(-t->pid, SIGKILL);
    while (read(t->end_fd, end, sizeof(end)) < 0 && errno == EINTR)
        ;
    close(t->end_fd);
    free(t);
}

/** tail(1) knows how to end with a process: the keeper. */
static int plain_logs(void *self, const struct berth_handle *h, const struct berth_logs_options *o, struct berth_stream **ret_stream,
                      struct berth_error *err)
{
    struct work w;
    char path[400], lines[32], keeper[32];
    int ends[2];
    if (enter(self, h, &w, err) < 0)
        return BERTH_NOT_FOUND;
    if (o->timestamps || o->frames || o->streams || o->since_usec || o->until_usec)
        return leave(&w, berth_error_set(err, BERTH_UNSUPPORTED, "logs", "logs: this engine keeps bytes without times or streams"));
    snprintf(path, sizeof(path), "%s/log", w.path);
    snprintf(lines, sizeof(lines), o->has_tail ? "-n%llu" : "-n+1", (unsigned long long)o->tail);
    snprintf(keeper, sizeof(keeper), "--pid=%d", w.now.keeper);
    const char *const argv[] = {"tail", lines, path, o->follow && runs(&w) ? "-fs.02" : NULL, keeper, NULL};
    struct tail *t = malloc(sizeof(*t));
    char **env = environment(&w, NULL);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), r = pipe2(ends, O_CLOEXEC) < 0 ? BERTH_IO : 0;
    const struct program program = {.argv = argv, .env = env, .fds = {null, ends[1], null}, .life_fd = -1};
    if (r == 0)
        r = launch("logs", w.handle.name, &program, &t->end_fd, &t->pid, err);
    close(null);
    close(ends[1]);
    strings_free(env);
    leave(&w, 0);
    if (r == 0)
        return berth_stream_new(ends[0], end_tail, t, ret_stream, err);
    close(ends[0]);
    free(t);
    return r;
}

/** Files that collect, so that nobody has to copy; or pipes, whose other ends are the caller's. */
static void open_streams(struct call *c, bool piped, int theirs[3])
{
    c->piped = piped;
    for (int i = 0, fds[2]; i < 3; i++)
        if (!piped) {
            theirs[i] = c->streams[i] = memfd_create("exec", MFD_CLOEXEC);
        } else if (pipe2(fds, O_CLOEXEC) == 0) {
            theirs[i] = fds[i != 0];
            c->streams[i] = fds[i == 0];
        }
}

static int plain_exec(void *self, const struct berth_handle *h, const char *const *argv, const struct berth_exec_options *o,
                      struct berth_call **ret_call, struct berth_error *err)
{
    struct work w;
    if (enter(self, h, &w, err) < 0)
        return BERTH_NOT_FOUND;
    if (w.now.state != BERTH_RUNNING)
        return wrong_state(&w, "exec", err);
    if (o->tty || o->user || o->groups || o->privileged || o->detach)
        return leave(&w, berth_error_set(err, BERTH_UNSUPPORTED, "exec", "exec: no terminals, users or detaching with this engine"));
    struct call *c = new_call(self, EXEC, &w);
    char **env = environment(&w, o->env);
    struct program program = {.argv = argv, .env = env, .work = &w, .life_fd = -1, .timeout_msec = o->timeout_msec,
                              .workdir = o->workdir ? o->workdir : text_of(&w, "workdir")};
    open_streams(c, o->stream, program.fds);
    c->output_max = o->output_max_bytes ? o->output_max_bytes : UINT64_C(1) << 30;
    int r = o->stdin_size && pwrite(program.fds[0], o->stdin_data, o->stdin_size, 0) < (ssize_t)o->stdin_size ? BERTH_IO : 0;
    if (r == 0)
        r = launch("exec", w.handle.name, &program, &c->fd, &c->pid, err);
    for (int i = 0; i < 3 && o->stream; i++)
        close(program.fds[i]);
    strings_free(env);
    leave(&w, 0);
    if (r == 0)
        return berth_call_new(&exec_ops, c, c->fd, ret_call, err);
    c->fd = -1;
    call_free(c);
    return r;
}

static uint64_t figure(const struct work *w, const char *file, const char *key)
{
    char text[4096] = "";
    int fd = open_in(w->cgroup, file, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    close(fd);
    const char *at = n > 0 ? strstr(text, key) : NULL;
    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static int plain_stats(void *self, const struct berth_handle *h, struct berth_stats *s, struct berth_error *err)
{
    struct work w;
    char path[400], statm[64];
    unsigned pid;
    unsigned long long pages;
    if (enter(self, h, &w, err) < 0)
        return BERTH_NOT_FOUND;
    if (!runs(&w))
        return wrong_state(&w, "stats", err);
    s->time_usec = now_usec(CLOCK_REALTIME);
    s->cpu_usec = figure(&w, "cpu.stat", "usage_usec");
    s->cpu_user_usec = figure(&w, "cpu.stat", "user_usec");
    s->cpu_system_usec = figure(&w, "cpu.stat", "system_usec");
    snprintf(path, sizeof(path), "%s/cgroup.procs", w.cgroup);
    FILE *procs = fopen(path, "re");
    for (; procs && fscanf(procs, "%u", &pid) == 1; s->pids++) { /* memory.current is not there on a hybrid machine */
        snprintf(statm, sizeof(statm), "/proc/%u/statm", pid);
        FILE *f = fopen(statm, "re");
        if (f && fscanf(f, "%*u %llu", &pages) == 1)
            s->memory_bytes += pages * (uint64_t)sysconf(_SC_PAGESIZE);
        if (f)
            fclose(f);
    }
    if (procs)
        fclose(procs);
    return leave(&w, 0);
}

static int plain_port(void *self, const struct berth_handle *h, const struct berth_port *port, struct berth_host_port *ret,
                      struct berth_error *err)
{
    struct work w;
    if (enter(self, h, &w, err) < 0)
        return BERTH_NOT_FOUND;
    *ret = (struct berth_host_port){.port = port->number, .address = "127.0.0.1"};
    return leave(&w, runs(&w));
}

static int plain_address(void *self, const struct berth_handle *h, const struct berth_port *port, const char *network,
                         char ret[BERTH_ADDRESS_TEXT], struct berth_error *err)
{
    struct work w;
    if (enter(self, h, &w, err) < 0)
        return BERTH_NOT_FOUND;
    if (network && strcmp(network, "host"))
        return leave(&w, berth_error_set(err, BERTH_NOT_FOUND, network, "no network \"%.64s\"", network));
    snprintf(ret, BERTH_ADDRESS_TEXT, "127.0.0.1:%u", port->number);
    return leave(&w, runs(&w));
}

/* ---- beside the verbs */

static int newer(const void *a, const void *b)
{
    return strcmp(((const struct berth_handle *)b)->metadata, ((const struct berth_handle *)a)->metadata);
}

static int plain_list(void *self, struct berth_handle **ret, size_t *ret_count, struct berth_error *err)
{
    const struct plain *p = self;
    DIR *dir = opendir(p->works);
    struct berth_handle *list = calloc(1, sizeof(*list));
    size_t n = 0;
    (void)err;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        uint8_t id[16] = {0};
        struct work w;
        for (int i = 0; i < 16 && strlen(e->d_name) == 32; i++)
            sscanf(e->d_name + 2 * i, "%2hhx", &id[i]);
        if (strlen(e->d_name) == 32 && look(p, id, &w)) {
            list = realloc(list, (n + 2) * sizeof(*list));
            list[n++] = w.handle;
            leave(&w, 0);
        }
    }
    if (dir)
        closedir(dir);
    qsort(list, n, sizeof(*list), newer);
    *ret = list;
    *ret_count = n;
    return 0;
}

static int plain_wait(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err)
{
    struct work w;
    return enter(self, h, &w, err) < 0 ? BERTH_NOT_FOUND : call_until_ended(self, WAIT, &w, ret_call, err);
}

static int plain_signal(void *self, const struct berth_handle *h, int sig, struct berth_error *err)
{
    struct work w;
    if (enter(self, h, &w, err) < 0)
        return BERTH_NOT_FOUND;
    if (!runs(&w))
        return wrong_state(&w, "signal", err);
    ask(&w, -1, sig);
    return leave(&w, 0);
}

static const struct berth_engine plain = {
    .size = sizeof(plain), .abi_version = BERTH_ABI_VERSION, .name = "plain", .open = plain_open, .close = free,
    .create = plain_create, .start = plain_start, .stop = plain_stop, .remove = plain_remove, .status = plain_status,
    .logs = plain_logs, .exec = plain_exec, .stats = plain_stats, .resolve_host_port = plain_port,
    .resolve_container_address = plain_address, .list = plain_list, .wait = plain_wait,
    .signal = plain_signal,
};
BERTH_ENGINE_EXPORT(plain);
