/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The joiner: entering v1 cgroups takes the kernel 11 ms, so one process enters them early and is
 * the one that clones, for the main program and for every exec.
 *
 * It is a fork of the supervisor, made while that is still small, and knows the plan by that; what
 * differs from birth to birth comes in a message. It sits in the workload's v1 groups but in the
 * supervisor's v2 group, so that cgroup.kill, cgroup.freeze and cgroup.events never mean it.
 */
#include "supervisor/launch_internal.h"

#include "base/base.h"
#include "base/file.h"
#include "base/text.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct joiner_request {
    uint64_t fds; /* which of enum stage_fd come along, a bit each */
    uint32_t n_sockets;
    uint16_t rows, columns;
    bool exec, tty, privileged;
};

struct joiner_reply {
    int32_t error;
    struct birth birth;
};

/* ---- an exec's strings, in a memfd: user, workdir, then three lists, each with its length before
 * it */

static void add_list(struct text *t, char *const *list)
{
    uint32_t n = list ? (uint32_t)strings_count(list) : 0;
    text_add_bytes(t, &n, sizeof(n));
    for (uint32_t i = 0; i < n; i++)
        text_add_bytes(t, list[i], strlen(list[i]) + 1);
}

static int write_strings(const struct stage *st)
{
    autotext struct text t = {0};
    char *const user[] = {(char *)(st->user ? st->user : ""), NULL};
    char *const workdir[] = {(char *)(st->workdir ? st->workdir : ""), NULL};
    add_list(&t, user);
    add_list(&t, workdir);
    add_list(&t, st->argv);
    add_list(&t, st->env);
    add_list(&t, st->groups);
    if (t.failed)
        return -ENOMEM;
    autoclose int fd = memfd_create("exec", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : fd_write_all(fd, t.data, t.length);
    return r < 0 ? r : take_fd(&fd);
}

/* Pointers into the mapped text: it lives until exec. */
static char **take_list(const char **at, const char *end)
{
    uint32_t n;
    if ((size_t)(end - *at) < sizeof(n))
        return NULL;
    memcpy(&n, *at, sizeof(n));
    *at += sizeof(n);
    char **list = n <= (size_t)(end - *at) ? calloc(n + 1, sizeof(*list)) : NULL;
    for (uint32_t i = 0; list && i < n; i++) {
        list[i] = (char *)(uintptr_t)*at;
        *at += strnlen(*at, (size_t)(end - *at)) + 1;
    }
    return list;
}

static int read_strings(struct stage *st)
{
    struct stat s;
    if (fstat(st->fds[STAGE_REQUEST], &s) < 0 || s.st_size <= 0)
        return -EINVAL;
    const char *text =
        mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, st->fds[STAGE_REQUEST], 0);
    if (text == MAP_FAILED)
        return -errno;
    const char *at = text, *end = text + s.st_size;
    char **user = take_list(&at, end), **workdir = take_list(&at, end);
    st->argv = take_list(&at, end);
    st->env = take_list(&at, end);
    st->groups = take_list(&at, end);
    if (!user || !workdir || !st->argv || !st->env || !st->groups)
        return -ENOMEM;
    st->user = user[0];
    st->workdir = workdir[0];
    return 0;
}

#define JOINER_SETTLE 1 /* received instead of a request: the program runs */

/* ---- the joiner's side */

static int receive(int socket_fd, struct stage *st)
{
    struct joiner_request q;
    int fds[WIRE_FDS_MAX];
    size_t n = ARRAY_SIZE(fds), at = 0;
    ssize_t got = recv_with_fds(socket_fd, &q, sizeof(q), fds, &n);
    if (got == 1)
        return JOINER_SETTLE;
    if (got != (ssize_t)sizeof(q))
        return got < 0 ? (int)got : -EPIPE;
    for (int i = 0; i < STAGE_FD_COUNT && at < n; i++)
        if (q.fds & UINT64_C(1) << i)
            st->fds[i] = fds[at++];
    for (; st->n_sockets < q.n_sockets && at < n; at++)
        st->sockets[st->n_sockets++] = fds[at];
    st->rows = q.rows;
    st->columns = q.columns;
    st->exec = q.exec;
    st->tty = q.tty;
    st->privileged = q.privileged;
    return 0;
}

static void close_received(struct stage *st)
{
    for (int i = 0; i < STAGE_FD_COUNT; i++)
        close_fd(&st->fds[i]);
    for (size_t i = 0; i < st->n_sockets; i++)
        close_fd(&st->sockets[i]);
}

static void of_plan(struct stage *st, const struct plan *plan)
{
    if (st->exec)
        return;
    st->argv = plan->argv;
    st->user = plan->user;
    st->groups = plan->groups;
}

/* Each write to a v1 group holds up every fork, exec and exit: so the supervisor is taken out of
 * its caller's groups only when the program runs. */
static void settle_supervisor(struct launch *l)
{
    (void)cgroup_join_v1(l->group, l->supervisor, true);
    (void)malloc_trim(0); /* what reading the plan took was freed, but came along with the fork */
}

static void serve_one(struct launch *l, const struct plan *plan, int socket_fd, int join_error)
{
    struct stage st;
    struct joiner_reply reply = {0};
    stage_begin(&st);
    st.plan = plan;
    st.group = l->group;
    st.place = l->place;
    int r = receive(socket_fd, &st);
    if (r < 0)
        _exit(0);
    if (r == JOINER_SETTLE)
        return settle_supervisor(l);
    of_plan(&st, plan);
    r = join_error;
    if (r == 0 && st.exec)
        r = read_strings(&st);
    if (r == 0)
        r = birth_stage(&st, true, &reply.birth);
    reply.error = r;
    close_received(&st);
    if (st.exec) {
        free((void *)(uintptr_t)st.argv);
        free((void *)(uintptr_t)st.env);
        free((void *)(uintptr_t)st.groups);
    }
    if (RETRY(send(socket_fd, &reply, sizeof(reply), MSG_NOSIGNAL)) < 0)
        _exit(0);
}

static void keep_two(int a, int b)
{
    int low = MIN(a, b), high = MAX(a, b);
    if (low > 0)
        (void)close_range(0, (unsigned)low - 1, 0);
    if (high > low + 1)
        (void)close_range((unsigned)low + 1, (unsigned)high - 1, 0);
    (void)close_range((unsigned)high + 1, ~0u, 0);
}

/* The workload's memory limit must not find us first. Needs CAP_SYS_RESOURCE; the stage takes it
 * back for its own. */
static void protect_from_oom(void)
{
    autoclose int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)!write(fd, "-999", 4);
}

static _Noreturn void joiner(struct launch *l, const struct plan *plan, int socket_fd)
{
    l->supervisor = getppid();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    (void)prctl(PR_SET_NAME, "berth-joiner", 0, 0, 0);
    protect_from_oom();
    /* The descriptor of the v2 group is needed for each birth; everything else, the lock `life`
     * above all, is the supervisor's alone. */
    int load_fd = cgroup_v2_fd(l->group);
    keep_two(socket_fd, load_fd < 0 ? socket_fd : load_fd);
    int r = cgroup_join_v1(l->group, 0, false);
    for (;;)
        serve_one(l, plan, socket_fd, r);
}

/* ---- the supervisor's side */

int joiner_start(struct launch *l, const struct plan *plan, struct berth_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return fail_os(err, errno, NULL, "make a socket for the joiner");
    (void)cgroup_v2_fd(l->group);
    struct clone_args args = {0};
    long pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        joiner(l, plan, ends[1]);
    int error = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return fail_os(err, error, NULL, "fork the joiner");
    }
    l->joiner =
        (struct joiner){.pid = (pid_t)pid, .pid_fd = pid_fd_open((pid_t)pid), .socket_fd = ends[0]};
    cgroup_resident(l->group, (pid_t)pid);
    return 0;
}

static int send_request(int socket_fd, const struct stage *st)
{
    struct joiner_request q = {.n_sockets = (uint32_t)st->n_sockets,
                               .rows = st->rows,
                               .columns = st->columns,
                               .exec = st->exec,
                               .tty = st->tty,
                               .privileged = st->privileged};
    int fds[WIRE_FDS_MAX];
    size_t n = 0;
    for (int i = 0; i < STAGE_FD_COUNT; i++)
        if (st->fds[i] >= 0) {
            q.fds |= UINT64_C(1) << i;
            fds[n++] = st->fds[i];
        }
    for (size_t i = 0; i < st->n_sockets; i++)
        fds[n++] = st->sockets[i];
    ssize_t sent = send_with_fds(socket_fd, &q, sizeof(q), fds, n);
    return sent < 0 ? (int)sent : 0;
}

int joiner_birth(struct joiner *j, const struct stage *st, struct birth *ret)
{
    struct stage sent = *st;
    struct joiner_reply reply;
    autoclose int strings_fd = st->exec ? write_strings(st) : -1;
    if (st->exec && strings_fd < 0)
        return strings_fd;
    sent.fds[STAGE_REQUEST] = strings_fd;
    int r = send_request(j->socket_fd, &sent);
    if (r < 0)
        return r == -ECONNRESET ? -EPIPE : r;
    ssize_t n = RETRY(recv(j->socket_fd, &reply, sizeof(reply), 0));
    if (n != (ssize_t)sizeof(reply))
        return n < 0 && errno != ECONNRESET ? -errno : -EPIPE;
    *ret = reply.birth;
    return reply.error;
}

void joiner_settle(struct joiner *j)
{
    if (j->pid > 0 && !j->settled)
        j->settled = RETRY(send(j->socket_fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT)) == 1;
}

void joiner_end(struct joiner *j)
{
    if (j->pid <= 0)
        return;
    close_fd(&j->socket_fd);
    /* It may be in the middle of the kernel's wait; there is nothing in it to save. */
    (void)kill(j->pid, SIGKILL);
    reap_pid(j->pid);
    close_fd(&j->pid_fd);
    j->pid = 0;
}
