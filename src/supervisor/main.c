/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth-supervisor NAME ID: one small process per running workload.
 *
 * Born by the library with all it needs as descriptors: no path, no environment, no configuration
 * decides anything here. It has nobody to print to; what it has to say goes to the starter's
 * socket, the status record and the events.
 */
#include "supervisor/names.h"
#include "supervisor/supervisor.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "store/log.h"

#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>

/* What the library hands over. 0, 1 and 2 are /dev/null. */
enum { FD_LIFE = 3, FD_ROOT, FD_WORKLOAD, FD_RUN, FD_STARTER, FD_END };

/* ---- birth ------------------------------------------------------------------------------------
 */

static void signals_ring(struct supervisor *s, struct source *source, uint32_t events)
{
    struct signalfd_siginfo info;
    if (RETRY(read(source->fd, &info, sizeof(info))) == sizeof(info))
        hear(s, HEARD_STOP, &(struct request){.timeout_usec = -1});
}

static int signals_open(struct supervisor *s)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    if (sigprocmask(SIG_SETMASK, &set, NULL) < 0)
        return -errno;
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return fd < 0 ? -errno : source_watch(&s->loop, &s->signals, fd, EPOLLIN, signals_ring);
}

/* A workload has the machine's ordinary scheduling, whoever started it: a caller's nice or real-time
 * class is not inherited (and v1's cpu groups refuse the latter). */
static void schedule_self(void)
{
    struct sched_param ordinary = {0};
    sched_setscheduler(0, SCHED_OTHER, &ordinary);
    setpriority(PRIO_PROCESS, 0, 0);
}

static void protect_self(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        (void)!write(fd, "-999",
                     4); /* without the right to it we are killed like others: no reason to stop */
        close(fd);
    }
}

static int plan_load(struct supervisor *s, struct berth_error *err)
{
    autofree char *json = NULL;
    size_t size = 0;
    int r = file_read(s->workload_fd, "plan.json", PLAN_MAX_BYTES, &json, &size);
    if (r < 0)
        return fail_os(err, r, s->name, "read the plan of %s", s->name);
    return plan_parse(json, size, &s->plan, err);
}

static int prepare(struct supervisor *s, struct berth_error *err)
{
    struct berth_error trouble;
    int r = plan_load(s, err);
    if (r < 0)
        return r;
    crash_point("start.planned");
    if ((r = names_of_plan(s, err)) < 0) /* first: what it may have to start is there when the rest is */
        return r;
    if ((r = launch_prepare(s->plan, s->root_fd, s->run_fd, s->workload_fd, &s->launch, err)) < 0)
        return r;
    crash_point("start.prepared");
    record_open(s);
    if ((r = output_open(s, err)) < 0)
        return r;
    if ((r = server_open(s, err)) < 0)
        return r;
    crash_point("start.listening");
    if (names_settle(s, NAMES_WAIT_MSEC, &trouble) < 0) /* it runs all the same: names may come later */
        names_tell(s, &trouble);
    return 0;
}

/* It never came to a start: say so in the record (if there is a plan at all) and to the starter. */
static void give_up(struct supervisor *s, const struct berth_error *err)
{
    if (s->plan) {
        record_open(s);
        record_start_failed(s, err);
        s->record.supervisor_pid = 0;
        record_write(s, true);
        record_die_event(s);
    }
    server_close(s);
    names_end(s);
    launch_free(TAKE(s->launch));
    lock_release(s->life_fd);
    server_drop_early(s);
    reply_error(s, s->starter, 0, err);
}

static bool hands_full(void)
{
    for (int fd = FD_LIFE; fd < FD_END; fd++)
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
            return false;
    return true;
}

static void supervisor_init(struct supervisor *s, char **argv)
{
    *s = (struct supervisor){
        .name = argv[1],
        .id = argv[2],
        .life_fd = FD_LIFE,
        .root_fd = FD_ROOT,
        .workload_fd = FD_WORKLOAD,
        .run_fd = FD_RUN,
        .spare_fd = -1,
        .sink_fd = -1,
        .program = {.pid_fd = -1},
        .ready = SOURCE_NONE,
        .program_end = SOURCE_NONE,
        .signals = SOURCE_NONE,
        .listener = SOURCE_NONE,
        .sink = SOURCE_NONE,
    };
    s->stdio = STDIO_NONE;
    s->life.oom = SOURCE_NONE;
    s->stdio.is_main = true;
    s->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int main(int argc, char **argv)
{
    struct supervisor s;
    struct berth_error err = {0};
    if (argc != 3 || !hands_full())
        return 2;
    mallopt(M_MMAP_THRESHOLD, 65536); /* what is large goes back to the system when it is freed */
    mallopt(M_TRIM_THRESHOLD, 65536);
    supervisor_init(&s, argv);
    crash_point("start.born");
    schedule_self();
    protect_self();
    int r = loop_open(&s.loop);
    if (r == 0)
        r = signals_open(&s);
    if (r < 0 || server_adopt(&s, FD_STARTER, &s.starter, &err) < 0)
        return 1;
    r = prepare(&s, &err);
    if (r < 0) {
        give_up(&s, &err);
    } else {
        server_hear_early(&s);
        hear(&s, HEARD_BEGIN, NULL);
        loop_run(&s, &s.loop);
    }
    server_hang_up(&s);
    plan_free(s.plan);
    free(s.life.unfit);
    for (int fd = FD_ROOT; fd <= FD_RUN; fd++) /* nothing of the workload's is held any more */
        close(fd);
    launch_last();
    return r < 0 ? 1 : 0;
}
