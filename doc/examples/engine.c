/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine of one's own: plain processes on the host's own files, each workload in a cgroup (v2).
 *
 *     cc -shared -fPIC engine.c $(pkg-config --cflags --libs berth) -ljansson -o plain.so
 *     berth-contract --load ./plain.so --engine plain --plain host --network host --unsupported engine.unsupported
 *
 * It lives in the memory of its process and its programs die with it: what a supervisor of its own would
 * cost is left out. Nothing runs between two entries; each first looks what has happened (settle).
 */
#define _GNU_SOURCE
#include <berth/engine.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/sched.h>
#include <mntent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct work {
    struct work *next;
    struct berth_status now; /* what is known of it */
    json_t *spec;
    char cgroup[300];
    int log_fd, pid_fd;      /* its output; its program, -1 when none runs */
    int timer_fd;            /* readable when a stop is to become a kill */
    bool asked;              /* its end is somebody's wish */
};
struct plain { pthread_mutex_t lock; struct work *works; char cgroups[200]; };

static int64_t now_usec(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---- processes and groups */

static int put(const char *folder, const char *file, const char *text)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : write(fd, text, strlen(text));
    close(fd);
    return n < 0 ? -1 : 0;
}

/** A child that the host's wait() and SIGCHLD never see. 0 in the child. */
static int child(int *ret_pid_fd)
{
    struct clone_args a = {.flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)ret_pid_fd};
    int pid = (int)syscall(SYS_clone3, &a, sizeof(a));
    if (pid != 0)
        return pid;
    sigset_t none;
    sigemptyset(&none);
    for (int s = 1; s < 32; s++)
        signal(s, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    return 0;
}

/** True when it has ended: exit code and signal. */
static bool ended(int pid_fd, int options, int *ret_code, int *ret_signal)
{
    siginfo_t i = {0};
    while (waitid(P_PIDFD, (id_t)pid_fd, &i, WEXITED | __WALL | options) < 0 && errno == EINTR)
        ;
    if (!i.si_pid)
        return false;
    *ret_signal = i.si_code == CLD_EXITED ? 0 : i.si_status;
    *ret_code = i.si_code == CLD_EXITED ? i.si_status : 128 + i.si_status;
    return true;
}

struct program { const char *const *argv; char **env; const char *cgroup, *workdir; int streams[3]; bool main; };

/** Become the program; descriptor 3 hears why it could not be. */
static _Noreturn void become(const struct program *p)
{
    setsid();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    umask(022);
    if (put(p->cgroup, "cgroup.procs", "0") == 0 && chdir(p->workdir ? p->workdir : "/") == 0)
        execvpe(p->argv[0], (char **)p->argv, p->env);
    int error = -errno;
    _exit(write(3, &error, sizeof(error)) < 0 || error == -ENOENT ? 127 : 126);
}

/** The group of a program that has ended, or whose host has died. The folder of all goes with the last. */
static void end_group(const char *cgroup)
{
    char all[300];
    put(cgroup, "cgroup.kill", "1");
    for (int i = 0; i < 100 && rmdir(cgroup) < 0 && errno == EBUSY; i++)
        poll(NULL, 0, 10);
    snprintf(all, sizeof(all), "%.*s", (int)(strrchr(cgroup, '/') - cgroup), cgroup);
    rmdir(all);
}

/** Until the program ends, or its host. */
static void outlive(int host, int pid)
{
    struct pollfd f[] = {{(int)syscall(SYS_pidfd_open, pid, 0), POLLIN, 0}, {(int)syscall(SYS_pidfd_open, host, 0), POLLIN, 0}};
    while (getppid() == host && poll(f, 2, -1) < 0 && errno == EINTR)
        ;
}

static int begin_group(const char *cgroup)
{
    char all[300];
    snprintf(all, sizeof(all), "%.*s", (int)(strrchr(cgroup, '/') - cgroup), cgroup);
    for (int i = 0; i < 100; i++) { /* another's last may take the folder of all away in between */
        mkdir(all, 0755);
        if (mkdir(cgroup, 0755) == 0 || errno == EEXIST)
            return 0;
    }
    return -1;
}

/**
 * Between the host and the program: exec would make the program a child that the host's wait sees. Keeps
 * nothing of the host's but a copy of its memory; ends as the program has ended.
 */
static _Noreturn void watch(const struct program *p, int host, int report)
{
    int high[4] = {p->streams[0], p->streams[1], p->streams[2], report};
    siginfo_t i = {0};
    for (int n = 0; n < 4; n++)
        high[n] = fcntl(high[n], F_DUPFD, 100);
    for (int n = 0; n < 4; n++)
        dup2(high[n], n);
    fcntl(3, F_SETFD, FD_CLOEXEC);
    close_range(4, ~0U, 0);
    int pid = (int)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); /* fork() wants locks that another thread may have held */
    if (pid == 0)
        become(p);
    if (write(3, &pid, sizeof(pid)) > 0)
        close_range(0, 3, 0);
    outlive(host, pid);
    if (p->main || getppid() != host)
        end_group(p->cgroup);
    waitid(P_PID, (id_t)pid, &i, WEXITED | WNOWAIT);
    if (i.si_code != CLD_EXITED)
        kill(getpid(), i.si_status);
    _exit(i.si_status);
}

/** Run it: 0, a pidfd of its watcher and its pid; or the reason why not. */
static int launch(const char *verb, const char *name, const struct program *p, int *ret_pid_fd, int *ret_pid,
                  struct berth_error *err)
{
    int report[2], word, error = 0;
    ssize_t n;
    if (pipe2(report, O_CLOEXEC) < 0)
        return berth_error_set(err, BERTH_IO, name, "%s %s: pipe: %s", verb, name, strerror(errno));
    int host = getpid(), watcher = child(ret_pid_fd);
    if (watcher == 0)
        watch(p, host, report[1]);
    close(report[1]);
    while (watcher > 0 && ((n = read(report[0], &word, sizeof(word))) > 0 || (n < 0 && errno == EINTR)))
        *(n > 0 && word < 0 ? &error : ret_pid) = n > 0 ? word : *ret_pid;
    close(report[0]);
    if (watcher > 0 && !error)
        return 0;
    if (watcher > 0) {
        ended(*ret_pid_fd, 0, &word, &word);
        close(*ret_pid_fd);
    }
    *ret_pid_fd = -1;
    return berth_error_set(err, watcher < 0 ? BERTH_IO : error == -ENOENT ? BERTH_NO_PROGRAM : BERTH_NOT_EXECUTABLE,
                           p->argv[0], "%s %s: exec \"%s\": %s", verb, name, p->argv[0], strerror(-error));
}

/** What has happened since somebody looked; with WNOHANG it does not wait for the end. */
static void settle(struct work *w, int options)
{
    if (w->pid_fd < 0)
        return;
    uint64_t times;
    if (read(w->timer_fd, &times, sizeof(times)) > 0)
        put(w->cgroup, "cgroup.kill", "1");
    if (!ended(w->pid_fd, options, &w->now.exit_code, &w->now.signal))
        return;
    close(w->pid_fd);
    w->pid_fd = -1;
    w->now.pid = 0;
    w->now.ended_usec = now_usec();
    w->now.state = w->asked ? BERTH_STOPPED : w->now.exit_code ? BERTH_FAILED : BERTH_COMPLETED;
    snprintf(w->now.reason, sizeof(w->now.reason), w->asked ? "stopped on request" : w->now.exit_code ? "exit code %d" : "",
             w->now.exit_code);
}

static struct work *look(struct plain *p, const uint8_t id[16])
{
    struct work *w = p->works;
    while (w && memcmp(w->now.handle.id, id, 16))
        w = w->next;
    if (w)
        settle(w, WNOHANG);
    return w;
}

static int leave(struct plain *p, int r)
{
    pthread_mutex_unlock(&p->lock);
    return r;
}

/** The workload, with the lock held; NULL: NOT_FOUND, and it is not. */
static struct work *enter(struct plain *p, const struct berth_handle *h, struct berth_error *err)
{
    pthread_mutex_lock(&p->lock);
    struct work *w = look(p, h->id);
    if (!w)
        leave(p, berth_error_set(err, BERTH_NOT_FOUND, h->name, "no workload \"%s\"", h->name));
    return w;
}

static int wrong_state(const struct work *w, const char *verb, struct berth_error *err)
{
    const char *name = w->now.handle.name;
    return berth_error_set(err, BERTH_WRONG_STATE, name, "%s %s: it is %s", verb, name, berth_state_name(w->now.state));
}

/* ---- calls: a stop, a wait, an exec or a create under way */

enum kind { CREATE, STOP, WAIT, EXEC };
struct call {
    struct plain *plain;
    enum kind kind;
    struct berth_handle handle;
    int poll_fd, timer_fd, pid_fd, pid, streams[3]; /* streams: files of what is collected, or pipes */
    bool piped;
    uint64_t output_max;
    bool cancelled, timed_out;
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
    int code, sig;
    uint64_t expired;
    const char *name = c->handle.name;
    if (c->timer_fd >= 0 && read(c->timer_fd, &expired, sizeof(expired)) > 0)
        c->timed_out = true;
    if (c->timed_out)
        kill(-c->pid, SIGKILL); /* its session: what it has started too */
    if (!ended(c->pid_fd, c->timed_out || c->cancelled ? 0 : WNOHANG, &code, &sig))
        return 0;
    close(c->pid_fd);
    c->pid_fd = -1;
    if (c->cancelled)
        return berth_error_set(err, BERTH_CANCELLED, name, "exec %s: cancelled", name);
    if (c->timed_out)
        return berth_error_set(err, BERTH_TIMED_OUT, name, "exec %s: its time limit passed", name);
    struct berth_exec_result *e = calloc(1, sizeof(*e));
    *e = (struct berth_exec_result){.exit_code = code, .signal = sig};
    for (int i = 1; i < 3 && !c->piped; i++)
        *(i == 1 ? &e->out : &e->err) = contents(c->streams[i], i == 1 ? &e->out_size : &e->err_size);
    if (e->out_size <= c->output_max && e->err_size <= c->output_max) {
        ret->exec = e;
        return 1;
    }
    berth_exec_result_free(e);
    return berth_error_set(err, BERTH_TOO_BIG, name, "exec %s: more than %llu bytes of output", name,
                           (unsigned long long)c->output_max);
}

static int copy_status(const struct work *w, struct berth_status **ret)
{
    *ret = malloc(sizeof(**ret));
    **ret = w->now;
    return 1;
}

static int step(void *data, struct berth_result *ret, struct berth_error *err)
{
    struct call *c = data;
    ret->handle = c->handle;
    if (c->kind == EXEC)
        return exec_end(c, ret, err);
    if (c->cancelled && c->kind != STOP)
        return berth_error_set(err, BERTH_CANCELLED, c->handle.name, "%s: cancelled", c->handle.name);
    if (c->kind == CREATE)
        return 1;
    pthread_mutex_lock(&c->plain->lock);
    struct work *w = look(c->plain, c->handle.id);
    if (w && (w->pid_fd >= 0 || (c->kind == WAIT && w->now.state == BERTH_CREATED)))
        return leave(c->plain, 0);
    if (c->kind == WAIT && !w)
        return leave(c->plain, berth_error_set(err, BERTH_NOT_FOUND, c->handle.name, "no workload \"%s\"", c->handle.name));
    return leave(c->plain, c->kind == WAIT ? copy_status(w, &ret->status) : 1);
}

static void drop(struct plain *p, const uint8_t id[16])
{
    for (struct work **link = &p->works, *w; (w = *link); link = &w->next)
        if (!memcmp(w->now.handle.id, id, 16)) {
            *link = w->next;
            while (rmdir(w->cgroup) < 0 && errno == EBUSY)
                usleep(1000); /* its last process is on its way out */
            close(w->log_fd);
            close(w->timer_fd);
            json_decref(w->spec);
            free(w);
            return;
        }
}

static void undo(void *data)
{
    struct call *c = data;
    pthread_mutex_lock(&c->plain->lock);
    drop(c->plain, c->handle.id);
    leave(c->plain, 0);
}

static void cancel(void *data)
{
    struct call *c = data;
    c->cancelled = true;
    if (c->kind == EXEC && c->pid_fd >= 0)
        kill(-c->pid, SIGKILL);
    if (c->kind == CREATE)
        undo(c);
}

static void call_free(void *data)
{
    struct call *c = data;
    int code, fds[] = {c->poll_fd, c->timer_fd, c->pid_fd, c->streams[0], c->streams[1], c->streams[2]};
    if (c->kind == EXEC && c->pid_fd >= 0)
        ended(c->pid_fd, 0, &code, &code);
    for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(c);
}

static int stream_fd(void *data, int stream)
{
    return ((struct call *)data)->piped ? ((struct call *)data)->streams[stream] : -1;
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
    struct call *c = data;
    if (c->pid_fd >= 0 && kill(c->pid, sig) == 0)
        return 0;
    return berth_error_set(err, BERTH_WRONG_STATE, c->handle.name, "exec %s: it has ended", c->handle.name);
}

static const struct berth_call_ops ops = {.size = sizeof(ops), .step = step, .cancel = cancel, .free = call_free};
static const struct berth_call_ops exec_ops = {
    .size = sizeof(exec_ops), .step = step, .cancel = cancel, .free = call_free, .stream_fd = stream_fd,
    .close_stdin = close_stdin, .signal = signal_exec};
static const struct berth_call_ops create_ops = {
    .size = sizeof(create_ops), .step = step, .cancel = cancel, .free = call_free, .undo = undo};

/** The timer goes off in so many milliseconds, or sooner when it is set already; 0: never. */
static void set_timer(int fd, int64_t msec)
{
    struct itimerspec now, when = {.it_value = {msec / 1000, msec % 1000 * 1000000}};
    timerfd_gettime(fd, &now);
    int64_t left = now.it_value.tv_sec * 1000 + now.it_value.tv_nsec / 1000000;
    if (msec == 0 || !left || msec < left)
        timerfd_settime(fd, 0, &when, NULL);
}

static struct call *new_call(struct plain *p, enum kind kind, const struct work *w)
{
    struct call *c = malloc(sizeof(*c));
    *c = (struct call){.plain = p, .kind = kind, .handle = w->now.handle, .poll_fd = -1, .streams = {-1, -1, -1}};
    c->timer_fd = kind == EXEC ? timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK) : fcntl(w->timer_fd, F_DUPFD_CLOEXEC, 3);
    c->pid_fd = w->pid_fd < 0 || kind == EXEC ? -1 : fcntl(w->pid_fd, F_DUPFD_CLOEXEC, 3);
    return c;
}

/** A call that looks again when the program has ended, or the timer goes off. */
static int make_call(struct call *c, struct berth_call **ret, struct berth_error *err)
{
    struct epoll_event e = {.events = EPOLLIN};
    c->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(c->poll_fd, EPOLL_CTL_ADD, c->timer_fd, &e);
    epoll_ctl(c->poll_fd, EPOLL_CTL_ADD, c->pid_fd, &e);
    return berth_call_new(c->kind == CREATE ? &create_ops : c->kind == EXEC ? &exec_ops : &ops, c, c->poll_fd, ret, err);
}

/* ---- the verbs */

/** Where cgroup v2 is; on a hybrid machine beside v1. */
static void find_groups(char *ret, size_t room)
{
    FILE *f = setmntent("/proc/self/mounts", "r");
    for (struct mntent *m; f && (m = getmntent(f));)
        if (!strcmp(m->mnt_type, "cgroup2"))
            snprintf(ret, room, "%s/berth-plain", m->mnt_dir);
    if (f)
        endmntent(f);
}

static int plain_open(const struct berth_options *options, void **ret_self, struct berth_error *err)
{
    (void)options; /* nothing is written down */
    struct plain *p = calloc(1, sizeof(*p));
    find_groups(p->cgroups, sizeof(p->cgroups));
    if (!p->cgroups[0]) {
        free(p);
        return berth_error_set(err, BERTH_NO_KERNEL, NULL, "plain: a cgroup v2 hierarchy to write in is needed");
    }
    pthread_mutex_init(&p->lock, NULL);
    *ret_self = p;
    return 0;
}

static void plain_close(void *self)
{
    struct plain *p = self;
    for (struct work *w; (w = p->works); drop(p, w->now.handle.id)) {
        put(w->cgroup, "cgroup.kill", "1");
        settle(w, 0);
    }
    free(p);
}

static const char *text_of(const struct work *w, const char *key)
{
    return json_string_value(json_object_get(w->spec, key));
}

static int plain_create(void *self, const char *spec_json, struct berth_call **ret_call, struct berth_error *err)
{
    static const char *const known[] = {"name", "runtime", "image", "command", "args", "env", "workdir", "network",
                                        "stop_signal", "stop_timeout", NULL};
    struct plain *p = self;
    char *json = NULL, id[BERTH_ID_TEXT];
    int r = berth_spec_read(spec_json, known, &json, err);
    if (r < 0)
        return r;
    struct work *w = calloc(1, sizeof(*w));
    *w = (struct work){.spec = json_loads(json, 0, NULL), .pid_fd = -1, .log_fd = -1};
    struct berth_status *s = &w->now;
    *s = (struct berth_status){.size = sizeof(*s), .state = BERTH_CREATED, .exit_code = -1, .created_usec = now_usec()};
    free(json);
    if (getrandom(s->handle.id, 16, 0) != 16)
        s->handle.id[0] = 1;
    berth_id_print(s->handle.id, id);
    snprintf(s->handle.runtime, sizeof(s->handle.runtime), "plain");
    snprintf(s->handle.name, sizeof(s->handle.name), "%s%.12s", text_of(w, "name") ? text_of(w, "name") : "plain_",
             text_of(w, "name") ? "" : id);
    snprintf(s->image, sizeof(s->image), "%s", text_of(w, "image") ? text_of(w, "image") : "host");
    snprintf(w->cgroup, sizeof(w->cgroup), "%s/%s", p->cgroups, id);
    const char *name = s->handle.name, *runtime = text_of(w, "runtime"), *network = text_of(w, "network");
    pthread_mutex_lock(&p->lock);
    for (struct work *o = p->works; o && r == 0; o = o->next)
        if (!strcmp(o->now.handle.name, name))
            r = berth_error_set(err, BERTH_EXISTS, name, "the name \"%s\" is taken", name);
    if (r == 0 && runtime && strcmp(runtime, "plain"))
        r = berth_error_set(err, BERTH_INVALID, "runtime", "runtime: \"%s\" is not this engine, \"plain\"", runtime);
    if (r == 0 && strcmp(s->image, "host"))
        r = berth_error_set(err, BERTH_UNSUPPORTED, "image", "image: this engine has none but \"host\", the host's own files");
    if (r == 0 && network && strcmp(network, "host"))
        r = berth_error_set(err, BERTH_UNSUPPORTED, "network", "network: this engine has none but \"host\"");
    if (r == 0 && !json_array_size(json_object_get(w->spec, "command")) && !json_array_size(json_object_get(w->spec, "args")))
        r = berth_error_set(err, BERTH_INVALID, "command", "command: there is no program to run");
    if (r < 0) {
        json_decref(w->spec);
        free(w);
        return leave(p, r);
    }
    w->log_fd = memfd_create("log", MFD_CLOEXEC);
    w->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    w->next = p->works;
    p->works = w;
    struct call *c = new_call(p, CREATE, w);
    leave(p, 0);
    return make_call(c, ret_call, err);
}

/** Strings of a spec's list (NAME=value of an object), then those of `more`; free the list and the items of an object. */
static char **strings(json_t *list, const char *const *more)
{
    size_t n = 0, i;
    const char *key;
    json_t *value;
    char **all = calloc(json_object_size(list) + json_array_size(list) + 1024, sizeof(*all));
    json_array_foreach(list, i, value)
        all[n++] = strdup(json_string_value(value));
    json_object_foreach(list, key, value)
        if (asprintf(&all[n], "%s=%s", key, json_string_value(value)) > 0)
            n++;
    for (i = 0; more && more[i] && i < 1000; i++)
        all[n++] = strdup(more[i]);
    return all;
}

static void strings_free(char **all)
{
    for (size_t i = 0; all[i]; i++)
        free(all[i]);
    free(all);
}

static char **environment(const struct work *w, const char *const *more)
{
    char **env = strings(json_object_get(w->spec, "env"), more);
    size_t n = 0;
    while (env[n])
        n++;
    env[n] = strdup("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    return env;
}

/** A description of its own: its own offset, its own flags. */
static int open_log(const struct work *w, int flags)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", w->log_fd);
    return open(path, flags | O_CLOEXEC);
}

static int plain_start(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err)
{
    struct plain *p = self;
    struct work *w = enter(p, h, err);
    if (!w)
        return BERTH_NOT_FOUND;
    if (w->pid_fd >= 0)
        return leave(p, berth_call_done(wrong_state(w, "start", err), NULL, err, ret_call, err));
    char **argv = strings(json_object_get(w->spec, "command"), NULL), **env = environment(w, NULL);
    char **args = strings(json_object_get(w->spec, "args"), NULL);
    for (size_t n = 0, i = 0; args[i]; n++)
        if (!argv[n])
            argv[n] = args[i++];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = open_log(w, O_WRONLY | O_APPEND);
    w->asked = false;
    set_timer(w->timer_fd, 0);
    w->now.exit_code = -1;
    w->now.signal = 0;
    w->now.ended_usec = 0;
    w->now.reason[0] = 0;
    w->now.started_usec = now_usec();
    struct program program = {(const char *const *)argv, env, w->cgroup, text_of(w, "workdir"), {null, log, log}, true};
    int r = begin_group(w->cgroup) < 0
        ? berth_error_set(err, BERTH_IO, w->cgroup, "cgroup %s: %s", w->cgroup, strerror(errno))
        : launch("start", w->now.handle.name, &program, &w->pid_fd, &w->now.pid, err);
    w->now.state = r == 0 ? BERTH_RUNNING : BERTH_FAILED;
    if (r < 0) {
        w->now.pid = 0;
        w->now.exit_code = r == BERTH_NO_PROGRAM ? 127 : 126;
        w->now.ended_usec = now_usec();
        snprintf(w->now.reason, sizeof(w->now.reason), "%.500s", err->message);
    }
    close(null);
    close(log);
    free(args);
    strings_free(argv);
    strings_free(env);
    return leave(p, berth_call_done(r, NULL, err, ret_call, err));
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

static void ask_to_end(struct work *w, int64_t msec)
{
    if (w->pid_fd < 0)
        return;
    w->asked = true;
    w->now.state = BERTH_STOPPING;
    if (msec == 0)
        put(w->cgroup, "cgroup.kill", "1");
    else
        kill(w->now.pid, signal_of(w));
    set_timer(w->timer_fd, msec ? msec : 1);
}

static int plain_stop(void *self, const struct berth_handle *h, int64_t msec, struct berth_call **ret_call,
                      struct berth_error *err)
{
    struct plain *p = self;
    struct work *w = enter(p, h, err);
    if (!w)
        return BERTH_NOT_FOUND;
    ask_to_end(w, msec < 0 ? timeout_of(w) : msec);
    struct call *c = new_call(p, STOP, w);
    leave(p, 0);
    return make_call(c, ret_call, err);
}

static int plain_remove(void *self, const struct berth_handle *h, const struct berth_remove_options *o,
                        struct berth_call **ret_call, struct berth_error *err)
{
    struct plain *p = self;
    pthread_mutex_lock(&p->lock);
    struct work *w = look(p, h->id);
    if (w && w->pid_fd >= 0 && !o->force)
        return leave(p, wrong_state(w, "remove", err));
    if (w && w->pid_fd >= 0) {
        ask_to_end(w, 0);
        settle(w, 0);
    }
    drop(p, h->id);
    return leave(p, berth_call_done(0, NULL, NULL, ret_call, err));
}

static int plain_status(void *self, const struct berth_handle *h, struct berth_status **ret, struct berth_error *err)
{
    struct work *w = enter(self, h, err);
    return w ? leave(self, copy_status(w, ret) - 1) : BERTH_NOT_FOUND;
}

/** Copy what is in the log from here on, and what comes, until the program has ended or nobody reads. */
static void feed(int log, int pid_fd, int out, int news)
{
    char text[65536];
    struct pollfd fds[] = {{.fd = pid_fd, .events = POLLIN}, {.fd = news, .events = POLLIN}, {.fd = out}};
    for (bool last = pid_fd < 0;;) {
        for (ssize_t n; (n = read(log, text, sizeof(text))) > 0;)
            if (write(out, text, (size_t)n) < 0)
                return;
        if (last || poll(fds, 3, -1) < 0 || fds[2].revents)
            return;
        last = fds[0].revents;
        if (fds[1].revents && read(news, text, sizeof(text)) < 0)
            return;
    }
}

static void end_feed(void *data)
{
    int pid_fd = (int)(intptr_t)data, code;
    pidfd_send_signal(pid_fd, SIGKILL, NULL, 0);
    ended(pid_fd, 0, &code, &code);
    close(pid_fd);
}

/** A log that goes on: a child of ours feeds a pipe. */
static int follow(const struct work *w, int log, struct berth_stream **ret_stream, struct berth_error *err)
{
    char path[64];
    int fds[2], feeder, news = inotify_init1(IN_CLOEXEC);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", w->log_fd);
    if (news < 0 || inotify_add_watch(news, path, IN_MODIFY) < 0 || pipe2(fds, O_CLOEXEC) < 0)
        return berth_error_set(err, BERTH_IO, NULL, "logs: %s", strerror(errno));
    int pid = child(&feeder);
    if (pid == 0) {
        int own[] = {log, w->pid_fd, fds[1], news};
        for (int i = 0; i < 4; i++) /* nothing else of the host's */
            own[i] = own[i] < 0 ? -1 : fcntl(own[i], F_DUPFD, 100);
        close_range(0, 99, 0);
        feed(own[0], own[1], own[2], own[3]);
        _exit(0);
    }
    close(log);
    close(news);
    close(fds[1]);
    return berth_stream_new(fds[0], end_feed, (void *)(intptr_t)feeder, ret_stream, err);
}

static int plain_logs(void *self, const struct berth_handle *h, const struct berth_logs_options *o,
                      struct berth_stream **ret_stream, struct berth_error *err)
{
    struct work *w = enter(self, h, err);
    size_t size, lines = 0;
    if (!w)
        return BERTH_NOT_FOUND;
    if (o->timestamps || o->frames || o->streams || o->since_usec || o->until_usec)
        return leave(self, berth_error_set(err, BERTH_UNSUPPORTED, "logs", "logs: this engine keeps bytes without times or streams"));
    char *text = contents(w->log_fd, &size);
    size_t at = size;
    while (o->has_tail && at > 0 && (lines += at < size && text[at - 1] == '\n') < o->tail + (o->tail == 0))
        at--;
    int log = open_log(w, O_RDONLY);
    lseek(log, !o->has_tail ? 0 : o->tail ? (off_t)at : (off_t)size, SEEK_SET);
    free(text);
    return leave(self, o->follow ? follow(w, log, ret_stream, err) : berth_stream_new(log, NULL, NULL, ret_stream, err));
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
    int r;
    struct work *w = enter(self, h, err);
    if (!w)
        return BERTH_NOT_FOUND;
    if (w->now.state != BERTH_RUNNING)
        return leave(self, wrong_state(w, "exec", err));
    if (o->tty || o->user || o->groups || o->privileged || o->detach)
        return leave(self, berth_error_set(err, BERTH_UNSUPPORTED, "exec", "exec: no terminals, users or detaching with this engine"));
    struct call *c = new_call(self, EXEC, w);
    char **env = environment(w, o->env);
    struct program program = {argv, env, w->cgroup, o->workdir ? o->workdir : text_of(w, "workdir"), {0}, false};
    open_streams(c, o->stream, program.streams);
    c->output_max = o->output_max_bytes ? o->output_max_bytes : UINT64_C(1) << 30;
    r = o->stdin_size && pwrite(program.streams[0], o->stdin_data, o->stdin_size, 0) < (ssize_t)o->stdin_size ? BERTH_IO : 0;
    if (r == 0)
        r = launch("exec", w->now.handle.name, &program, &c->pid_fd, &c->pid, err);
    for (int i = 0; i < 3 && o->stream; i++)
        close(program.streams[i]);
    strings_free(env);
    if (r < 0) {
        call_free(c);
        return leave(self, r);
    }
    if (o->timeout_msec)
        set_timer(c->timer_fd, o->timeout_msec);
    leave(self, 0);
    return make_call(c, ret_call, err);
}

static uint64_t figure(const struct work *w, const char *file, const char *key)
{
    char path[400], line[200];
    unsigned long long value = 0;
    snprintf(path, sizeof(path), "%s/%s", w->cgroup, file);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (!strncmp(line, key, strlen(key)))
            sscanf(line + strlen(key), "%llu", &value);
    if (f)
        fclose(f);
    return value;
}

static int plain_stats(void *self, const struct berth_handle *h, struct berth_stats *s, struct berth_error *err)
{
    char path[400];
    unsigned long long pid, pages;
    struct work *w = enter(self, h, err);
    if (!w)
        return BERTH_NOT_FOUND;
    if (w->pid_fd < 0)
        return leave(self, wrong_state(w, "stats", err));
    s->time_usec = now_usec();
    s->cpu_usec = figure(w, "cpu.stat", "usage_usec");
    s->cpu_user_usec = figure(w, "cpu.stat", "user_usec");
    s->cpu_system_usec = figure(w, "cpu.stat", "system_usec");
    snprintf(path, sizeof(path), "%s/cgroup.procs", w->cgroup);
    FILE *procs = fopen(path, "re");
    for (; procs && fscanf(procs, "%llu", &pid) == 1; s->pids++) {
        snprintf(path, sizeof(path), "/proc/%llu/statm", pid);
        FILE *f = fopen(path, "re");
        if (f && fscanf(f, "%*u %llu", &pages) == 1)
            s->memory_bytes += pages * (uint64_t)sysconf(_SC_PAGESIZE);
        if (f)
            fclose(f);
    }
    if (procs)
        fclose(procs);
    return leave(self, 0);
}

static int plain_port(void *self, const struct berth_handle *h, const struct berth_port *port, struct berth_host_port *ret,
                      struct berth_error *err)
{
    struct work *w = enter(self, h, err);
    if (!w)
        return BERTH_NOT_FOUND;
    *ret = (struct berth_host_port){.port = port->number, .address = "127.0.0.1"};
    return leave(self, w->pid_fd >= 0);
}

static int plain_address(void *self, const struct berth_handle *h, const struct berth_port *port, const char *network,
                         char ret[BERTH_ADDRESS_TEXT], struct berth_error *err)
{
    struct work *w = enter(self, h, err);
    if (!w)
        return BERTH_NOT_FOUND;
    if (network && strcmp(network, "host"))
        return leave(self, berth_error_set(err, BERTH_NOT_FOUND, network, "no network \"%.64s\"", network));
    snprintf(ret, BERTH_ADDRESS_TEXT, "127.0.0.1:%u", port->number);
    return leave(self, w->pid_fd >= 0);
}

/* ---- beside the verbs */

static int plain_find(void *self, const char *name, struct berth_handle *ret, struct berth_error *err)
{
    struct plain *p = self;
    char id[BERTH_ID_TEXT];
    int fit = 0;
    pthread_mutex_lock(&p->lock);
    for (struct work *w = p->works; w; w = w->next) {
        berth_id_print(w->now.handle.id, id);
        bool named = !strcmp(w->now.handle.name, name);
        if (!named && (fit < 0 || strncmp(id, name, strlen(name))))
            continue;
        *ret = w->now.handle;
        fit = named ? -1 : fit + 1; /* a name wins */
    }
    leave(p, 0);
    return fit == 1 || fit == -1 ? 0
           : fit                 ? berth_error_set(err, BERTH_INVALID, name, "\"%s\" fits %d ids", name, fit)
                                 : berth_error_set(err, BERTH_NOT_FOUND, name, "no workload \"%s\"", name);
}

static int plain_list(void *self, struct berth_handle **ret, size_t *ret_count, struct berth_error *err)
{
    struct plain *p = self;
    size_t n = 0;
    pthread_mutex_lock(&p->lock);
    for (struct work *w = p->works; w; w = w->next)
        n++;
    *ret = calloc(n + 1, sizeof(**ret));
    *ret_count = n;
    for (struct work *w = p->works; w; w = w->next)
        (*ret)[*ret_count - n--] = w->now.handle;
    (void)err;
    return leave(p, 0);
}

static int plain_wait(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err)
{
    struct work *w = enter(self, h, err);
    if (!w)
        return BERTH_NOT_FOUND;
    struct call *c = new_call(self, WAIT, w);
    leave(self, 0);
    return make_call(c, ret_call, err);
}

static int plain_signal(void *self, const struct berth_handle *h, int sig, struct berth_error *err)
{
    struct work *w = enter(self, h, err);
    if (!w)
        return BERTH_NOT_FOUND;
    if (w->pid_fd < 0)
        return leave(self, wrong_state(w, "signal", err));
    w->asked |= sig == SIGKILL || sig == signal_of(w);
    return leave(self, kill(w->now.pid, sig) < 0 ? BERTH_IO : 0);
}

static int plain_inspect(void *self, const struct berth_handle *h, char **ret_json, struct berth_error *err)
{
    struct work *w = enter(self, h, err);
    if (!w)
        return BERTH_NOT_FOUND;
    json_t *all = json_pack("{s:O, s:{s:s, s:s}}", "spec", w->spec, "status", "name", w->now.handle.name, "state",
                            berth_state_name(w->now.state));
    *ret_json = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    return leave(self, 0);
}

static const struct berth_engine plain = {
    .size = sizeof(plain), .abi_version = BERTH_ABI_VERSION, .name = "plain", .open = plain_open, .close = plain_close,
    .create = plain_create, .start = plain_start, .stop = plain_stop, .remove = plain_remove, .status = plain_status,
    .logs = plain_logs, .exec = plain_exec, .stats = plain_stats, .resolve_host_port = plain_port,
    .resolve_container_address = plain_address, .find = plain_find, .list = plain_list, .wait = plain_wait,
    .signal = plain_signal, .inspect = plain_inspect,
};
BERTH_ENGINE_EXPORT(plain);
