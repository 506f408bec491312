/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth-helper as it is run: descriptors handed over, results by pipe, files and locks.
 */
#include "store_rig.h"

#include "base/file.h"
#include "base/spawn.h"
#include "base/text.h"
#include "linux/syscall_filter.h"
#include "store/log.h"
#include "store/store.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* A store with a workload in it that has ended. */
static int open_ended(void **state)
{
    struct store_draft *draft;
    struct status status = {.version = STATUS_VERSION, .state = BERTH_COMPLETED};
    if (open_store(state) < 0)
        return -1;
    struct fixture *f = *state;
    if (store_draft_begin(f->s, "web", &draft, NULL) < 0 ||
        status_write_at(store_draft_fd(draft), &status, false, NULL) < 0)
        return -1;
    memcpy(f->id, store_draft_id(draft), sizeof(f->id));
    return store_draft_commit(draft, NULL);
}

static struct workload *get(struct fixture *f)
{
    struct workload *w = NULL;
    assert_int_equal(workload_open(f->s, f->id, &w, NULL), 0);
    return w;
}

/* Descriptors 1 and 2 are pipes that come back; 3 and 4 as given. */
struct helper {
    int pid_fd, out_fd, words_fd;
};

static int profile_fd = -1; /* what the helper gets as descriptor 0 */

static struct helper start(const char *const *argv, int fd3, int fd4)
{
    struct helper h;
    int out[2], words[2];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(pipe2(words, O_CLOEXEC), 0);
    const int fds[] = {profile_fd, out[1], words[1], fd3, fd4};
    struct spawn s = {.path = HELPER, .argv = argv, .fds = fds, .n_fds = ARRAY_SIZE(fds)};
    assert_int_equal(spawn(&s, NULL, &h.pid_fd), 0);
    close(out[1]);
    close(words[1]);
    h.out_fd = out[0];
    h.words_fd = words[0];
    return h;
}

/* It is nobody's child: what it says is all that is known. 0 for no words. */
static int finish(struct helper *h, char **ret_out, char **ret_words)
{
    char *out = NULL, *words = NULL;
    assert_int_equal(fd_read_all(h->out_fd, 1u << 30, &out, NULL), 0);
    assert_int_equal(fd_read_all(h->words_fd, 1u << 20, &words, NULL), 0);
    struct pollfd ended = {.fd = h->pid_fd, .events = POLLIN};
    assert_int_equal(poll(&ended, 1, 10000), 1);
    int r = words[0] != 0;
    close(h->out_fd);
    close(h->words_fd);
    close(h->pid_fd);
    if (ret_out)
        *ret_out = TAKE(out);
    if (ret_words)
        *ret_words = TAKE(words);
    free(out);
    free(words);
    return r;
}

static bool is_there(struct fixture *f, const char *path)
{
    autofree char *all = format_text("%s/%s", f->path, path);
    return access(all, F_OK) == 0;
}

/* ---- */

static void wrong_arguments_are_told(void **state)
{
    static const char *const bad[][5] = {
        {"berth-helper", NULL},
        {"berth-helper", "nonsense", NULL},
        {"berth-helper", "lock", NULL},
        {"berth-helper", "lock", "x", NULL},
        {"berth-helper", "logs", "3", "--tail", NULL},
        {"berth-helper", "events", "3", "--wat", NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct helper h = start(bad[i], -1, -1);
        autofree char *words = NULL;
        assert_int_equal(finish(&h, NULL, &words), 1);
        assert_true(strlen(words) > 10);
    }
}

static void logs_come_by_pipe(void **state)
{
    struct fixture *f = *state;
    struct workload *w = get(f);
    struct log_writer *writer;
    int life = -1;
    assert_int_equal(log_writer_open(workload_fd(w), 0, 0, &writer, NULL), 0);
    log_writer_mark(writer, LOG_MARK_START);
    log_writer_write(writer, BERTH_STDOUT, "one\ntwo\n", 8, NULL, NULL);
    assert_int_equal(workload_life_fd(w, &life, NULL), 0);
    struct helper h = start((const char *const[]){"berth-helper", "logs", "3", "4", "--tail", "1", NULL},
                            workload_fd(w), life);
    autofree char *out = NULL;
    assert_int_equal(finish(&h, &out, NULL), 0);
    assert_string_equal(out, "two\n");
    close(life);
    workload_close(w);
    log_writer_close(writer);
}

/* The supervisor here is a child that holds `life`: the follower ends when it is killed. */
static void follower_ends_at_once_when_the_supervisor_is_killed(void **state)
{
    struct fixture *f = *state;
    struct workload *w = get(f);
    int ready[2];
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct log_writer *writer;
        struct status status = {.version = STATUS_VERSION, .state = BERTH_RUNNING,
                                .supervisor_pid = getpid(), .started_usec = 5};
        int life;
        if (workload_take_life(w, &life, NULL) < 0 ||
            log_writer_open(workload_fd(w), 0, 0, &writer, NULL) < 0 ||
            status_write_at(workload_fd(w), &status, false, NULL) < 0)
            _exit(1);
        log_writer_mark(writer, LOG_MARK_START);
        log_writer_write(writer, BERTH_STDOUT, "partial", 7, NULL, NULL);
        close(ready[1]);
        for (;;)
            pause();
    }
    close(ready[1]);
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 0);
    close(ready[0]);
    int life = -1;
    assert_int_equal(workload_life_fd(w, &life, NULL), 0);
    struct helper h = start((const char *const[]){"berth-helper", "logs", "3", "4", "--follow", NULL},
                            workload_fd(w), life);
    char first[8] = "";
    assert_int_equal(read(h.out_fd, first, 7), 7);
    struct pollfd p = {.fd = h.pid_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 100), 0); /* it follows */
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_int_equal(poll(&p, 1, 5000), 1);
    autofree char *out = NULL;
    assert_int_equal(finish(&h, &out, NULL), 0);
    assert_string_equal(out, "");
    close(life);
    workload_close(w);
}

/* One that never ran, and is removed: the follower must not stay for ever. */
static void follower_ends_when_the_workload_is_removed(void **state)
{
    struct fixture *f = *state;
    struct workload *w = get(f);
    int life = -1;
    assert_int_equal(workload_life_fd(w, &life, NULL), 0);
    struct helper h = start((const char *const[]){"berth-helper", "logs", "3", "4", "--follow", NULL},
                            workload_fd(w), life);
    close(life);
    struct pollfd p = {.fd = h.pid_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 100), 0);
    assert_int_equal(workload_lock_change(w, NULL), 0);
    assert_int_equal(workload_discard(w, NULL), 0);
    assert_int_equal(store_empty_trash(store_root_fd(f->s), NULL), 0);
    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(finish(&h, NULL, NULL), 0);
    workload_close(w);
}

static void lock_is_the_callers_when_the_helper_has_gone(void **state)
{
    struct fixture *f = *state;
    struct workload *holder = get(f), *waiter = get(f);
    assert_int_equal(workload_lock_change(holder, NULL), 0);
    assert_int_equal(workload_lock_change(waiter, NULL), BERTH_AGAIN);
    struct helper h = start((const char *const[]){"berth-helper", "lock", "3", NULL},
                            workload_change_fd(waiter, NULL), -1);
    struct pollfd p = {.fd = h.pid_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 100), 0);
    workload_unlock_change(holder);
    assert_int_equal(finish(&h, NULL, NULL), 0);
    assert_int_equal(workload_lock_change(holder, NULL), BERTH_AGAIN);
    assert_int_equal(workload_lock_change(waiter, NULL), 0);
    workload_close(holder);
    workload_close(waiter);
}

static void delete_follows_no_link_and_crosses_no_mount(void **state)
{
    struct fixture *f = *state;
    char path[200], outside[200];
    snprintf(outside, sizeof(outside), "%s/outside", f->path);
    assert_int_equal(mkdir(outside, 0700), 0);
    snprintf(path, sizeof(path), "%s/outside/kept", f->path);
    assert_int_equal(mkdir(path, 0700), 0);
    struct workload *w = get(f);
    assert_int_equal(symlinkat(outside, workload_fd(w), "link"), 0);
    assert_int_equal(mkdirat(workload_fd(w), "mounted", 0700), 0);
    assert_int_equal(workload_lock_change(w, NULL), 0);
    assert_int_equal(workload_discard(w, NULL), 0);
    workload_close(w);
    snprintf(path, sizeof(path), "%s/trash/%s/mounted", f->root, f->id);
    assert_int_equal(mount(outside, path, NULL, MS_BIND, NULL), 0);
    struct helper h = start((const char *const[]){"berth-helper", "delete", f->root, NULL}, -1, -1);
    autofree char *words = NULL;
    int r = finish(&h, NULL, &words);
    bool kept = is_there(f, "outside/kept");
    umount2(path, MNT_DETACH);
    assert_true(kept);
    assert_int_equal(r, 1); /* says that something is in the way */
    h = start((const char *const[]){"berth-helper", "delete", f->root, NULL}, -1, -1);
    assert_int_equal(finish(&h, NULL, NULL), 0);
    snprintf(path, sizeof(path), "root/trash/%s", f->id);
    assert_false(is_there(f, path));
    assert_true(is_there(f, "outside/kept"));
}

static void remove_waits_for_the_end_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct workload *w = get(f);
    int life = -1;
    assert_int_equal(volume_create(f->s, "anonymous", true, NULL, NULL, NULL), 0);
    assert_int_equal(volume_use(f->s, "anonymous", f->id, NULL), 0);
    assert_int_equal(workload_take_life(w, &life, NULL), 0);
    workload_close(w);
    struct helper h = start((const char *const[]){"berth-helper", "remove", f->root, f->run, f->id,
                                                  "--volumes", NULL}, -1, -1);
    struct pollfd p = {.fd = h.pid_fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 100), 0);
    close(life);
    assert_int_equal(finish(&h, NULL, NULL), 0);
    char path[80], found[BERTH_ID_TEXT];
    assert_int_equal(store_find(f->s, "web", found, NULL), BERTH_NOT_FOUND);
    snprintf(path, sizeof(path), "run/%s", f->id);
    assert_false(is_there(f, path));
    snprintf(path, sizeof(path), "root/trash/%s", f->id);
    assert_false(is_there(f, path));
    assert_false(is_there(f, "root/volumes/anonymous"));
    int root_fd = store_root_fd(f->s);
    h = start((const char *const[]){"berth-helper", "events", "3", "--name", "web", NULL}, root_fd, -1);
    autofree char *out = NULL;
    assert_int_equal(finish(&h, &out, NULL), 0);
    assert_non_null(strstr(out, "\"type\":\"remove\""));
    h = start((const char *const[]){"berth-helper", "remove", f->root, f->run, f->id, NULL}, -1, -1);
    assert_int_equal(finish(&h, NULL, NULL), 0); /* twice */
}

/* Descriptor 0 is the profile: here /dev/null, which is none, and then the built-in one. */
static void seccomp_compiles_into_a_file(void **state)
{
    struct fixture *f = *state;
    char file[100];
    snprintf(file, sizeof(file), "%s/filter", f->path);
    const char *const argv[] = {"berth-helper", "seccomp", file, "a80425fb", NULL};
    struct helper h = start(argv, -1, -1);
    autofree char *words = NULL;
    assert_int_equal(finish(&h, NULL, &words), 1);
    assert_true(starts_with(words, "berth-helper: seccomp: "));
    assert_false(is_there(f, "filter"));
    const char *profile = seccomp_default_profile();
    profile_fd = memfd_create("profile", MFD_CLOEXEC);
    assert_int_equal(fd_write_all(profile_fd, profile, strlen(profile)), 0);
    lseek(profile_fd, 0, SEEK_SET);
    h = start(argv, -1, -1);
    close_fd(&profile_fd);
    autofree char *none = NULL;
    assert_int_equal(finish(&h, NULL, &none), 0);
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_true(st.st_size > 100 && st.st_size % 8 == 0); /* struct sock_filter */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, open_ended, close_store)
        T(wrong_arguments_are_told),
        T(logs_come_by_pipe),
        T(follower_ends_at_once_when_the_supervisor_is_killed),
        T(follower_ends_when_the_workload_is_removed),
        T(lock_is_the_callers_when_the_helper_has_gone),
        T(delete_follows_no_link_and_crosses_no_mount),
        T(remove_waits_for_the_end_and_leaves_nothing),
        T(seccomp_compiles_into_a_file),
    };
    return cmocka_run_group_tests_name("helper", tests, NULL, NULL);
}
