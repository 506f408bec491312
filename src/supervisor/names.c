/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names said to berth-dns, again whenever there is a new one; and the new one itself.
 *
 * Whoever holds the lock makes the socket before the program: so nobody who comes later finds less than
 * a queue to wait in, and a start that dies half-way leaves a lock that is free.
 */
#include "supervisor/names.h"
#include "supervisor/supervisor.h"
#include "base/address.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/spawn.h"
#include "base/text.h"
#include "linux/cgroup.h"
#include "model/json.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SOON_USEC 2000        /* another one is just starting it */
#define LATER_USEC 1000000    /* it can't be started */
#define SHORT_LIFE_USEC 1000000
#define SHORT_LIVES_MAX 50    /* so many in a row: it does not live, each further try waits longer */
#define BACKLOG 4096

struct names_link {
    struct source socket;
    struct timer retry;
    char *record;
    int64_t connected_usec;
    unsigned short_lives;
    bool answered;
    struct berth_error trouble; /* code 0: none */
};

static void try_again(struct supervisor *s, struct timer *timer);

/* ---- starting one -----------------------------------------------------------------------------
 */

static int open_in_run(struct supervisor *s, const char *below_run, int flags)
{
    autofree char *path = format_text("../%s", below_run);
    int fd = path ? RETRY(openat(s->run_fd, path, flags | O_CLOEXEC | O_NOFOLLOW, 0600)) : -1;
    return !path ? -ENOMEM : fd < 0 ? -errno : fd;
}

static void socket_address(struct supervisor *s, struct sockaddr_un *ret)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/../" NAMES_SOCKET, s->run_fd);
}

static int make_socket(struct supervisor *s)
{
    struct sockaddr_un address;
    socket_address(s, &address);
    autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    (void)unlink(address.sun_path); /* of the one before: we have the lock */
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
        return -errno;
    return take_fd(&fd);
}

static int take_lock(struct supervisor *s)
{
    if (mkdirat(s->run_fd, "../" NAMES_FOLDER, 0700) < 0 && errno != EEXIST)
        return -errno;
    autoclose int fd = open_in_run(s, NAMES_LOCK, O_RDWR | O_CREAT);
    if (fd < 0)
        return fd;
    int r = lock_take(fd);
    return r < 0 ? r : take_fd(&fd);
}

/* 0, -EAGAIN when somebody else is at it, or -errno. It is born outside of our group, like the helper. */
static int start_one(struct supervisor *s)
{
    autofree char *program = program_beside("berth-dns");
    autoclose int lock_fd = take_lock(s);
    if (lock_fd < 0 || !program)
        return lock_fd < 0 ? lock_fd : -ENOMEM;
    crash_point("names.locked");
    autoclose int socket_fd = make_socket(s);
    if (socket_fd < 0)
        return socket_fd;
    crash_point("names.listening");
    struct cgroup_layout *layout = NULL;
    autoclose int group_fd = cgroup_layout_read(&layout, NULL) == 0 ? cgroup_root_v2_fd(layout) : -1;
    cgroup_layout_free(layout);
    const int fds[] = {-1, -1, -1, lock_fd, socket_fd};
    const char *const argv[] = {program, NULL};
    struct spawn how = {.path = program, .argv = argv, .fds = fds, .n_fds = ARRAY_SIZE(fds), .session = true,
                        .cgroup_fd = MAX(group_fd, 0)};
    pid_t pid;
    autoclose int pid_fd = -1;
    int r = spawn(&how, &pid, &pid_fd);
    if (r == 0)
        crash_point("names.spawned");
    return r;
}

/* ---- saying it --------------------------------------------------------------------------------
 */

static void trouble_is(struct names_link *l, struct supervisor *s, int r)
{
    if (r == -ENOENT)
        fail(&l->trouble, BERTH_NO_PROGRAM, s->name, "berth-dns is not beside berth-supervisor: names of workloads are not answered");
    else
        fail_os(&l->trouble, r, s->name, "start berth-dns");
}

static void lost(struct supervisor *s, struct names_link *l)
{
    bool was_short = monotonic_usec() - l->connected_usec < SHORT_LIFE_USEC;
    source_close(&s->loop, &l->socket);
    l->answered = false;
    l->short_lives = was_short ? l->short_lives + 1 : 0;
    unsigned more = l->short_lives > SHORT_LIVES_MAX ? l->short_lives - SHORT_LIVES_MAX : 0;
    timer_set(&s->loop, &l->retry, more ? (int64_t)100000 << MIN(more, 5u) : 0, try_again);
}

static void hears(struct supervisor *s, struct source *source, uint32_t events)
{
    struct names_link *l = HOLDER(source, struct names_link, socket);
    char text[sizeof(((struct berth_error *)0)->message)];
    ssize_t n = recv(source->fd, text, sizeof(text) - 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        return lost(s, l);
    text[n] = 0;
    l->answered = true;
    l->trouble.code = 0;
    if (strcmp(text, NAMES_DONE) != 0)
        fail(&l->trouble, BERTH_IO, s->name, "%s", text);
}

static void say(struct supervisor *s, struct names_link *l)
{
    l->answered = false;
    if (send(l->socket.fd, l->record, strlen(l->record), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        lost(s, l);
}

static int connect_one(struct supervisor *s, struct names_link *l)
{
    struct sockaddr_un address;
    socket_address(s, &address);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    l->connected_usec = monotonic_usec();
    return source_watch(&s->loop, &l->socket, fd, EPOLLIN, hears);
}

static void try_link(struct supervisor *s, struct names_link *l)
{
    timer_clear(&s->loop, &l->retry);
    int r = connect_one(s, l);
    if (r == -ECONNREFUSED || r == -ENOENT) {
        r = start_one(s);
        if (r < 0 && r != -EAGAIN) {
            trouble_is(l, s, r);
            timer_set(&s->loop, &l->retry, LATER_USEC, try_again);
            return;
        }
        if (r == 0)
            r = connect_one(s, l);
    }
    if (r < 0)
        timer_set(&s->loop, &l->retry, SOON_USEC, try_again);
    else
        say(s, l);
}

static void try_again(struct supervisor *s, struct timer *timer)
{
    try_link(s, HOLDER(timer, struct names_link, retry));
}

/* ---- for the others ---------------------------------------------------------------------------
 */

/* Room for what a link of the plan says in another form. */
struct link_words {
    char gateways[2][ADDRESS_TEXT_MAX];
    char *gateway_list[3], *address_list[3];
};

static void link_names(const struct plan_link *link, struct link_words *words, struct names_network *ret)
{
    const char *const gateways[] = {link->gateway, link->gateway6};
    char *const addresses[] = {link->address, link->address6};
    size_t n_gateways = 0, n_addresses = 0;
    for (size_t i = 0; i < 2; i++) {
        if (gateways[i]) {
            snprintf(words->gateways[i], sizeof(words->gateways[i]), "%.*s", (int)strcspn(gateways[i], "/"), gateways[i]);
            words->gateway_list[n_gateways++] = words->gateways[i];
        }
        if (addresses[i])
            words->address_list[n_addresses++] = addresses[i];
    }
    *ret = (struct names_network){.network = link->network, .bridge = link->bridge, .internal = link->internal,
                                  .gateways = words->gateway_list, .addresses = words->address_list,
                                  .aliases = link->aliases};
}

int names_of_plan(struct supervisor *s, struct berth_error *err)
{
    const struct plan *p = s->plan;
    if (p->n_links == 0) {
        names_end(s);
        return 0;
    }
    autofree struct link_words *words = calloc(p->n_links, sizeof(*words));
    autofree struct names_network *networks = calloc(p->n_links, sizeof(*networks));
    autofree char *name = strdup(s->name), *id = strdup(s->id);
    if (!words || !networks || !name || !id)
        return fail_memory(err);
    for (size_t i = 0; i < p->n_links; i++)
        link_names(&p->links[i], &words[i], &networks[i]);
    const struct names names = {.id = id, .name = name, .hash = p->tag, .upstreams = p->dns, .networks = networks, .n_networks = p->n_links};
    return names_begin(s, &names, err);
}

int names_begin(struct supervisor *s, const struct names *names, struct berth_error *err)
{
    autofree char *record = NULL;
    int r = names_print(names, &record, err);
    if (r < 0)
        return r;
    struct names_link *l = s->names;
    if (!l) {
        l = s->names = calloc(1, sizeof(*l));
        if (!l)
            return fail_memory(err);
        l->socket = SOURCE_NONE;
    }
    free(l->record);
    l->record = TAKE(record);
    l->trouble.code = 0;
    if (l->socket.fd >= 0)
        say(s, l);
    else
        try_link(s, l);
    return 0;
}

int names_settle(struct supervisor *s, int timeout_msec, struct berth_error *err)
{
    struct names_link *l = s->names;
    int64_t end = monotonic_usec() + (int64_t)timeout_msec * 1000, now;
    while (l && !l->answered && !l->trouble.code && (now = monotonic_usec()) < end) {
        int64_t until = l->retry.due_usec ? MIN(end, l->retry.due_usec) : end;
        struct pollfd p = {.fd = l->socket.fd, .events = POLLIN};
        int msec = until > now ? (int)((until - now + 999) / 1000) : 0; /* a retry may be overdue */
        if (poll(&p, 1, msec) == 1)
            hears(s, &l->socket, EPOLLIN);
        else if (l->retry.due_usec && l->retry.due_usec <= monotonic_usec())
            try_link(s, l);
    }
    if (!l || (l->answered && !l->trouble.code))
        return 0;
    if (!l->trouble.code)
        return fail(err, BERTH_TIMED_OUT, s->name, "berth-dns did not answer within %d ms: names of %s may be known later",
                    timeout_msec, s->name);
    if (err)
        *err = l->trouble;
    return l->trouble.code;
}

void names_tell(struct supervisor *s, const struct berth_error *trouble)
{
    autotext struct text t = {0};
    json_put_string(&t, "error", trouble->message);
    record_event(s, "names", t.failed ? NULL : t.data);
}

void names_end(struct supervisor *s)
{
    struct names_link *l = s->names;
    if (!l)
        return;
    s->names = NULL;
    timer_clear(&s->loop, &l->retry);
    source_close(&s->loop, &l->socket);
    free(l->record);
    free(l);
}
