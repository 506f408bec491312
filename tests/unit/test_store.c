/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: what is taken is taken once, what a dead process held comes back, what is removed
 * leaves nothing; with many processes at the same names.
 */
#include "store_rig.h"

#include "base/crash_points.h"
#include "base/file.h"
#include "base/text.h"
#include "fault.h"
#include "store/store.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

/* ---- helpers */

static void make(struct store *s, const char *name, char ret_id[BERTH_ID_TEXT])
{
    struct store_draft *draft;
    struct status status = {.version = STATUS_VERSION, .state = BERTH_CREATED, .exit_code = -1};
    assert_int_equal(store_draft_begin(s, name, &draft, NULL), 0);
    assert_int_equal(status_write_at(store_draft_fd(draft), &status, false, NULL), 0);
    memcpy(ret_id, store_draft_id(draft), BERTH_ID_TEXT);
    assert_int_equal(store_draft_commit(draft, NULL), 0);
}

static struct workload *get(struct store *s, const char *id)
{
    struct workload *w = NULL;
    assert_int_equal(workload_open(s, id, &w, NULL), 0);
    return w;
}

static void discard(struct store *s, const char *id)
{
    struct workload *w = get(s, id);
    assert_int_equal(workload_lock_change(w, NULL), 0);
    assert_int_equal(workload_discard(w, NULL), 0);
    workload_close(w);
}

static int count(const char *root, const char *folder)
{
    autofree char *path = format_text("%s/%s", root, folder);
    DIR *dir = opendir(path);
    int n = 0;
    const struct dirent *entry;
    if (!dir)
        return 0;
    while ((entry = readdir(dir)))
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(dir);
    return n;
}

static void expect_empty(struct fixture *f)
{
    assert_int_equal(count(f->root, "workloads"), 0);
    assert_int_equal(count(f->root, "names"), 0);
    assert_int_equal(count(f->root, "aside"), 0);
    assert_int_equal(count(f->root, "trash"), 0);
    assert_int_equal(count(f->run, "."), 2); /* boot, networks.lock */
}

static void reap(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* ---- opening */

static void root_that_is_no_store_is_not_found(void **state)
{
    struct fixture *f = *state;
    struct store *s = NULL;
    struct berth_error err;
    char path[128];
    snprintf(path, sizeof(path), "%s/absent", f->path);
    assert_int_equal(store_open(path, f->run, false, &s, &err), BERTH_NOT_FOUND);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_equal(store_open(f->path, f->run, false, &s, &err), BERTH_NOT_FOUND);
    assert_null(s);
}

static void unknown_format_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct store *s = NULL;
    struct berth_error err;
    char path[128];
    snprintf(path, sizeof(path), "%s/format", f->root);
    assert_int_equal(file_write(AT_FDCWD, path, "2\n", 2, 0600, 0), 0);
    assert_int_equal(store_open(f->root, f->run, true, &s, &err), BERTH_CORRUPT);
    assert_non_null(strstr(err.message, "format"));
}

static void another_boot_drops_run_folders_of_the_removed(void **state)
{
    struct fixture *f = *state;
    char id[BERTH_ID_TEXT], path[200];
    struct store *s;
    make(f->s, "kept", id);
    struct workload *w = get(f->s, id);
    assert_true(workload_run_fd(w, NULL) >= 0);
    workload_close(w);
    snprintf(path, sizeof(path), "%s/0123456789abcdef0123456789abcdef", f->run);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(store_open(f->root, f->run, false, &s, NULL), 0);
    store_close(s);
    assert_int_equal(access(path, F_OK), 0); /* the same boot */
    snprintf(path, sizeof(path), "%s/boot", f->run);
    assert_int_equal(file_write(AT_FDCWD, path, "another", 7, 0600, 0), 0);
    assert_int_equal(store_open(f->root, f->run, false, &s, NULL), 0);
    assert_int_equal(count(f->run, "."), 3); /* boot, networks.lock, and the one that is kept */
    store_close(s);
}

/* ---- names */

static void name_is_taken_once_and_freed_by_discard(void **state)
{
    struct fixture *f = *state;
    struct store_draft *draft = NULL;
    struct berth_error err;
    char id[BERTH_ID_TEXT], again[BERTH_ID_TEXT], found[BERTH_ID_TEXT];
    make(f->s, "web", id);
    assert_int_equal(store_draft_begin(f->s, "web", &draft, &err), BERTH_EXISTS);
    char twelve[13];
    snprintf(twelve, sizeof(twelve), "%.12s", id);
    assert_non_null(strstr(err.message, twelve));
    assert_int_equal(count(f->root, "aside"), 0);
    assert_int_equal(store_find(f->s, "web", found, NULL), 0);
    assert_string_equal(found, id);
    discard(f->s, id);
    assert_int_equal(store_find(f->s, "web", found, NULL), BERTH_NOT_FOUND);
    make(f->s, "web", again);
    assert_string_not_equal(id, again);
}

static void a_draft_is_invisible_and_holds_its_name(void **state)
{
    struct fixture *f = *state;
    struct store_draft *draft, *second = NULL;
    char found[BERTH_ID_TEXT];
    autostrings char **ids = NULL;
    assert_int_equal(store_draft_begin(f->s, "web", &draft, NULL), 0);
    assert_int_equal(store_find(f->s, "web", found, NULL), BERTH_NOT_FOUND);
    assert_int_equal(store_list(f->s, &ids, NULL), 0);
    assert_null(ids[0]);
    assert_int_equal(store_draft_begin(f->s, "web", &second, NULL), BERTH_EXISTS);
    assert_int_equal(store_sweep(f->s, NULL), 0); /* its maker lives */
    assert_int_equal(access(store_draft_path(draft), F_OK), 0);
    store_draft_abandon(draft);
    expect_empty(f);
}

static void dead_makers_name_is_taken_over_without_a_sweep(void **state)
{
    struct fixture *f = *state;
    char id[BERTH_ID_TEXT];
    pid_t pid = fork();
    if (pid == 0) {
        struct store *s;
        struct store_draft *draft;
        if (store_open(f->root, f->run, true, &s, NULL) < 0 ||
            store_draft_begin(s, "web", &draft, NULL) < 0 ||
            lease_take(s, "port/tcp", "80", store_draft_id(draft), NULL, NULL) < 0)
            _exit(1);
        _exit(0); /* without a word */
    }
    reap(pid);
    assert_int_equal(count(f->root, "aside"), 1);
    make(f->s, "web", id);
    assert_int_equal(lease_take(f->s, "port/tcp", "80", id, NULL, NULL), 0);
    assert_int_equal(store_sweep(f->s, NULL), 0); /* must not take back what is another's now */
    char found[BERTH_ID_TEXT], holder[BERTH_ID_TEXT];
    assert_int_equal(store_find(f->s, "web", found, NULL), 0);
    assert_string_equal(found, id);
    char other[BERTH_ID_TEXT];
    make(f->s, "other", other);
    assert_int_equal(lease_take(f->s, "port/tcp", "80", other, holder, NULL), BERTH_EXISTS);
    assert_string_equal(holder, id);
    discard(f->s, id);
    discard(f->s, other);
    assert_int_equal(store_sweep(f->s, NULL), 0);
    expect_empty(f);
    assert_int_equal(count(f->root, "leases/port/tcp"), 0);
}

static void made_names_are_told_apart(void **state)
{
    struct fixture *f = *state;
    struct store_draft *a, *b;
    assert_int_equal(store_draft_begin(f->s, NULL, &a, NULL), 0);
    assert_int_equal(store_draft_begin(f->s, NULL, &b, NULL), 0);
    assert_non_null(strchr(store_draft_name(a), '_'));
    assert_string_not_equal(store_draft_name(a), store_draft_name(b));
    store_draft_abandon(a);
    store_draft_abandon(b);
    expect_empty(f);
}

static void bad_names_are_refused_before_any_path(void **state)
{
    struct fixture *f = *state;
    char longest[20000], id[BERTH_ID_TEXT];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    const char *bad[] = {"", "/", "..", ".x", "a/b", "a\nb", "../../etc/passwd", "a b", longest};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct store_draft *draft = NULL;
        assert_int_equal(store_draft_begin(f->s, bad[i], &draft, NULL), BERTH_INVALID);
        assert_int_equal(store_find(f->s, bad[i], id, NULL), BERTH_INVALID);
        assert_int_equal(volume_create(f->s, bad[i], false, NULL, NULL, NULL), BERTH_INVALID);
    }
    struct workload *w = NULL;
    assert_int_equal(workload_open(f->s, "../aside", &w, NULL), BERTH_INVALID);
    expect_empty(f);
}

static void prefixes_find_when_unambiguous(void **state)
{
    struct fixture *f = *state;
    char ids[20][BERTH_ID_TEXT], found[BERTH_ID_TEXT], prefix[BERTH_ID_TEXT];
    for (int i = 0; i < 20; i++)
        make(f->s, NULL, ids[i]);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(store_find(f->s, ids[i], found, NULL), 0);
        assert_string_equal(found, ids[i]);
        snprintf(prefix, sizeof(prefix), "%.10s", ids[i]);
        assert_int_equal(store_find(f->s, prefix, found, NULL), 0);
        assert_string_equal(found, ids[i]);
    }
    int ambiguous = 0;
    for (char c = '0'; c <= 'f'; c = c == '9' ? 'a' : (char)(c + 1)) {
        snprintf(prefix, sizeof(prefix), "%c", c);
        ambiguous += store_find(f->s, prefix, found, NULL) == BERTH_INVALID;
    }
    assert_true(ambiguous > 0); /* 20 ids, 16 digits */
    char a_name[BERTH_ID_TEXT];
    snprintf(prefix, sizeof(prefix), "%.4s", ids[3]);
    make(f->s, prefix, a_name);
    assert_int_equal(store_find(f->s, prefix, found, NULL), 0);
    assert_string_equal(found, a_name); /* a name wins over a prefix */
}

static void list_is_newest_first(void **state)
{
    struct fixture *f = *state;
    char ids[30][BERTH_ID_TEXT];
    for (int i = 0; i < 30; i++) {
        make(f->s, NULL, ids[i]);
        usleep(10);
    }
    autostrings char **list = NULL;
    assert_int_equal(store_list(f->s, &list, NULL), 0);
    assert_int_equal(strings_count(list), 30);
    for (int i = 0; i < 30; i++)
        assert_string_equal(list[i], ids[29 - i]);
    struct workload *w = get(f->s, ids[7]);
    assert_int_equal(workload_rename(w, "renamed", NULL), 0);
    workload_close(w);
    autostrings char **after = NULL;
    assert_int_equal(store_list(f->s, &after, NULL), 0);
    assert_string_equal(after[22], ids[7]); /* a rename changes no age */
}

static void rename_moves_the_name(void **state)
{
    struct fixture *f = *state;
    char a[BERTH_ID_TEXT], b[BERTH_ID_TEXT], found[BERTH_ID_TEXT], name[BERTH_NAME_MAX + 8];
    struct berth_error err;
    make(f->s, "old", a);
    make(f->s, "other", b);
    struct workload *w = get(f->s, a);
    assert_int_equal(workload_lock_change(w, NULL), 0);
    assert_int_equal(workload_rename(w, "other", &err), BERTH_EXISTS);
    assert_int_equal(workload_rename(w, "a/b", &err), BERTH_INVALID);
    assert_int_equal(workload_rename(w, "new", NULL), 0);
    assert_int_equal(workload_name(w, name, NULL), 0);
    assert_string_equal(name, "new");
    assert_int_equal(store_find(f->s, "old", found, NULL), BERTH_NOT_FOUND);
    assert_int_equal(store_find(f->s, "new", found, NULL), 0);
    workload_close(w);
    make(f->s, "old", b);
}

/* As a death in the middle of a rename leaves it: two claims, one label. */
static void half_a_rename_blocks_no_name(void **state)
{
    struct fixture *f = *state;
    char a[BERTH_ID_TEXT], b[BERTH_ID_TEXT], found[BERTH_ID_TEXT], path[200];
    make(f->s, "old", a);
    snprintf(path, sizeof(path), "%s/names/new", f->root);
    assert_int_equal(symlink(a, path), 0);
    assert_int_equal(store_find(f->s, "new", found, NULL), BERTH_NOT_FOUND);
    struct workload *w = get(f->s, a);
    assert_int_equal(workload_lock_change(w, NULL), 0); /* a rename may be under way */
    struct store_draft *draft = NULL;
    assert_int_equal(store_draft_begin(f->s, "new", &draft, NULL), BERTH_EXISTS);
    workload_close(w);
    make(f->s, "new", b);
    assert_int_equal(store_find(f->s, "new", found, NULL), 0);
    assert_string_equal(found, b);
}

/* ---- locks */

static void change_and_life_exclude(void **state)
{
    struct fixture *f = *state;
    char id[BERTH_ID_TEXT];
    make(f->s, "web", id);
    struct workload *a = get(f->s, id), *b = get(f->s, id);
    int life = -1, second = -1;
    assert_int_equal(workload_lock_change(a, NULL), 0);
    assert_int_equal(workload_lock_change(b, NULL), BERTH_AGAIN);
    workload_unlock_change(a);
    assert_int_equal(workload_lock_change(b, NULL), 0);
    assert_int_equal(workload_alive(a, NULL), 0);
    assert_int_equal(workload_take_life(a, &life, NULL), 0);
    assert_int_equal(workload_alive(b, NULL), 1);
    assert_int_equal(workload_alive(a, NULL), 1);
    assert_int_equal(workload_take_life(b, &second, NULL), BERTH_WRONG_STATE);
    pid_t pid = fork(); /* the lock belongs to the open file: it outlives the one who took it */
    if (pid == 0) {
        usleep(50000);
        _exit(0);
    }
    close(life);
    assert_int_equal(workload_alive(b, NULL), 1);
    reap(pid);
    assert_int_equal(workload_alive(b, NULL), 0);
    workload_close(a);
    workload_close(b);
}

static void change_after_a_removal_is_not_found(void **state)
{
    struct fixture *f = *state;
    char id[BERTH_ID_TEXT];
    make(f->s, "web", id);
    struct workload *late = get(f->s, id), *unopened = get(f->s, id);
    assert_true(workload_change_fd(late, NULL) >= 0);
    discard(f->s, id);
    int life = -1;
    assert_int_equal(workload_lock_change(late, NULL), BERTH_NOT_FOUND);
    assert_int_equal(workload_take_life(unopened, &life, NULL), BERTH_NOT_FOUND);
    assert_int_equal(workload_alive(unopened, NULL), 0);
    assert_int_equal(workload_discard(late, NULL), 0); /* twice succeeds */
    workload_close(late);
    workload_close(unopened);
    assert_int_equal(store_empty_trash(store_root_fd(f->s), NULL), 0);
    expect_empty(f);
}

static void connect_says_when_nobody_listens(void **state)
{
    struct fixture *f = *state;
    char id[BERTH_ID_TEXT], path[108];
    make(f->s, "web", id);
    struct workload *w = get(f->s, id);
    int fd = -1;
    assert_int_equal(workload_connect(w, &fd, NULL), BERTH_LOST);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(path, sizeof(path), "%s/socket", workload_run_path(w));
    memcpy(address.sun_path, path, sizeof(path));
    autoclose int server = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(workload_connect(w, &fd, NULL), BERTH_LOST);
    assert_int_equal(listen(server, 1), 0);
    assert_int_equal(workload_connect(w, &fd, NULL), 0);
    close(fd);
    workload_close(w);
}

/* ---- the record */

static void status_goes_round_and_tells_an_unrecorded_death(void **state)
{
    struct fixture *f = *state;
    char id[BERTH_ID_TEXT];
    make(f->s, "web", id);
    struct workload *w = get(f->s, id);
    struct status status, got;
    bool alive = true;
    int life = -1;
    assert_int_equal(workload_status_read(w, &status, &alive, NULL), 0);
    assert_int_equal(status.state, BERTH_CREATED);
    assert_false(alive);
    assert_int_equal(workload_take_life(w, &life, NULL), 0);
    status.state = BERTH_RUNNING;
    status.supervisor_pid = 77;
    assert_int_equal(workload_status_write(w, &status, true, NULL), 0);
    assert_int_equal(workload_status_read(w, &got, &alive, NULL), 0);
    assert_int_equal(got.state, BERTH_RUNNING);
    assert_true(alive);
    close(life);
    assert_int_equal(workload_status_read(w, &got, &alive, NULL), 0);
    assert_int_equal(got.state, BERTH_RUNNING);
    assert_false(alive);
    assert_int_equal(workload_write(w, "status", "{", 1, NULL), 0);
    assert_int_equal(workload_status_read(w, &got, NULL, NULL), BERTH_CORRUPT);
    unlinkat(workload_fd(w), "status", 0);
    assert_int_equal(workload_status_read(w, &got, NULL, NULL), BERTH_CORRUPT);
    workload_close(w);
}

/* A supervisor that starts, ends and says so, over and over: nobody may see it running and dead. */
static void status_and_life_are_consistent(void **state)
{
    struct fixture *f = *state;
    char id[BERTH_ID_TEXT];
    make(f->s, "web", id);
    pid_t pid = fork();
    if (pid == 0) {
        struct workload *w = get(f->s, id);
        for (int i = 0; i < 400; i++) {
            struct status status = {.version = STATUS_VERSION, .state = BERTH_RUNNING,
                                    .started_usec = i + 1, .supervisor_pid = 1};
            int life;
            if (workload_take_life(w, &life, NULL) < 0 ||
                workload_status_write(w, &status, false, NULL) < 0)
                _exit(1);
            status.state = BERTH_COMPLETED;
            if (workload_status_write(w, &status, false, NULL) < 0)
                _exit(1);
            close(life);
        }
        _exit(0);
    }
    struct workload *w = get(f->s, id);
    int ended;
    while (waitpid(pid, &ended, WNOHANG) == 0) {
        struct status status;
        bool alive;
        assert_int_equal(workload_status_read(w, &status, &alive, NULL), 0);
        assert_false(status.state == BERTH_RUNNING && !alive);
    }
    assert_int_equal(ended, 0);
    workload_close(w);
}

/* ---- leases */

static void hundred_leases_at_once_never_twice(void **state)
{
    struct fixture *f = *state;
    enum { PROCESSES = 8, KEYS = 100 };
    int *owners = mmap(NULL, KEYS * sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[PROCESSES];
    for (int p = 0; p < PROCESSES; p++) {
        pids[p] = fork();
        if (pids[p] == 0) {
            struct store *s;
            char id[BERTH_ID_TEXT], key[16];
            if (store_open(f->root, f->run, true, &s, NULL) < 0)
                _exit(1);
            make(s, NULL, id);
            for (int i = 0; i < KEYS; i++) {
                snprintf(key, sizeof(key), "10.0.0.%d", i);
                int r = lease_take(s, "address", key, id, NULL, NULL);
                if (r == 0)
                    __atomic_add_fetch(&owners[i], 1, __ATOMIC_SEQ_CST);
                else if (r != BERTH_EXISTS)
                    _exit(2);
            }
            _exit(0);
        }
    }
    for (int p = 0; p < PROCESSES; p++)
        reap(pids[p]);
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(owners[i], 1);
    munmap(owners, KEYS * sizeof(int));
    autostrings char **ids = NULL;
    assert_int_equal(store_list(f->s, &ids, NULL), 0);
    assert_int_equal(strings_count(ids), PROCESSES);
    for (int p = 0; p < PROCESSES; p++)
        discard(f->s, ids[p]);
    assert_int_equal(count(f->root, "leases/address"), 0);
}

static void leases_are_released_one_by_one_and_all(void **state)
{
    struct fixture *f = *state;
    char a[BERTH_ID_TEXT], b[BERTH_ID_TEXT];
    make(f->s, "a", a);
    make(f->s, "b", b);
    assert_int_equal(lease_take(f->s, "port/tcp", "80", a, NULL, NULL), 0);
    assert_int_equal(lease_take(f->s, "port/tcp", "80", a, NULL, NULL), 0); /* its own again */
    assert_int_equal(lease_take(f->s, "port/udp", "80", b, NULL, NULL), 0);
    assert_int_equal(lease_release(f->s, "port/tcp", "80", b), 0); /* not b's */
    assert_int_equal(lease_take(f->s, "port/tcp", "80", b, NULL, NULL), BERTH_EXISTS);
    assert_int_equal(lease_release(f->s, "port/tcp", "80", a), 0);
    assert_int_equal(lease_take(f->s, "port/tcp", "80", b, NULL, NULL), 0);
    assert_int_equal(lease_take(f->s, "address6", "fd00::1", b, NULL, NULL), 0);
    assert_int_equal(lease_release_all(f->s, b), 0);
    assert_int_equal(count(f->root, "leases/port/tcp") + count(f->root, "leases/port/udp"), 0);
    assert_int_equal(lease_take(f->s, "..", "x", a, NULL, NULL), BERTH_INVALID);
    assert_int_equal(lease_take(f->s, "port", "../x", a, NULL, NULL), BERTH_INVALID);
    assert_int_equal(lease_take(f->s, "port", "1", "0123456789abcdef0123456789abcdef", NULL, NULL),
                     BERTH_NOT_FOUND);
}

/* ---- many processes */

/* Eight processes create and remove the same names: one holder at a time, nothing left. */
static void eight_processes_fight_for_four_names(void **state)
{
    struct fixture *f = *state;
    int *holders = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[8];
    for (int p = 0; p < 8; p++) {
        pids[p] = fork();
        if (pids[p] != 0)
            continue;
        struct store *s;
        int won = 0;
        if (store_open(f->root, f->run, true, &s, NULL) < 0)
            _exit(1);
        for (int i = 0; i < 150; i++) {
            char name[8];
            int n = (i + p) % 4;
            snprintf(name, sizeof(name), "n%d", n);
            struct store_draft *draft;
            int r = store_draft_begin(s, name, &draft, NULL);
            if (r == BERTH_EXISTS) {
                if (i % 10 == p)
                    store_sweep(s, NULL);
                continue;
            }
            if (r < 0 || __atomic_add_fetch(&holders[n], 1, __ATOMIC_SEQ_CST) != 1)
                _exit(2);
            won++;
            char id[BERTH_ID_TEXT], found[BERTH_ID_TEXT];
            memcpy(id, store_draft_id(draft), sizeof(id));
            if (i % 3 == 0) {
                __atomic_sub_fetch(&holders[n], 1, __ATOMIC_SEQ_CST);
                store_draft_abandon(draft);
                continue;
            }
            if (store_draft_commit(draft, NULL) < 0 || store_find(s, name, found, NULL) < 0 ||
                strcmp(found, id) != 0)
                _exit(3);
            struct workload *w;
            if (workload_open(s, id, &w, NULL) < 0 || workload_lock_change(w, NULL) < 0)
                _exit(4);
            __atomic_sub_fetch(&holders[n], 1, __ATOMIC_SEQ_CST);
            struct berth_error err;
            if (workload_discard(w, &err) < 0) {
                fprintf(stderr, "discard: %s\n", err.message);
                _exit(5);
            }
            workload_close(w);
        }
        _exit(won > 0 ? 0 : 6);
    }
    for (int p = 0; p < 8; p++)
        reap(pids[p]);
    munmap(holders, 4096);
    assert_int_equal(store_sweep(f->s, NULL), 0);
    expect_empty(f);
}

/* Makers killed at random moments; others go on meanwhile. */
static void killed_makers_leave_nothing_that_a_sweep_does_not_undo(void **state)
{
    struct fixture *f = *state;
    srandom(11);
    for (int round = 0; round < 60; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct store *s;
            if (store_open(f->root, f->run, true, &s, NULL) < 0)
                _exit(1);
            for (int i = 0;; i++) {
                struct store_draft *draft;
                char key[16], id[BERTH_ID_TEXT];
                snprintf(key, sizeof(key), "%d", i % 7);
                if (store_draft_begin(s, "victim", &draft, NULL) < 0)
                    continue;
                lease_take(s, "port/tcp", key, store_draft_id(draft), NULL, NULL);
                memcpy(id, store_draft_id(draft), sizeof(id));
                if (i % 2) {
                    store_draft_abandon(draft);
                    continue;
                }
                struct workload *w;
                if (store_draft_commit(draft, NULL) < 0 || workload_open(s, id, &w, NULL) < 0)
                    _exit(2);
                if (workload_lock_change(w, NULL) == 0)
                    workload_discard(w, NULL);
                workload_close(w);
            }
        }
        usleep(500 + (unsigned)random() % 4000);
        kill(pid, SIGKILL);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_int_equal(store_sweep(f->s, NULL), 0);
        autostrings char **ids = NULL;
        assert_int_equal(store_list(f->s, &ids, NULL), 0);
        assert_true(strings_count(ids) <= 1);
        if (ids[0])
            discard(f->s, ids[0]); /* it was committed: a whole workload */
        assert_int_equal(store_sweep(f->s, NULL), 0);
        expect_empty(f);
        assert_int_equal(count(f->root, "leases/port/tcp"), 0);
    }
}

/* ---- memory that runs out */

struct loop_data {
    struct fixture *f;
    int kept;
};

/* A whole life; what could not be finished for lack of memory is left to the sweep. */
static int live_once(void *data)
{
    struct loop_data *l = data;
    struct store *s = l->f->s;
    struct store_draft *draft = NULL;
    struct workload *w = NULL;
    struct status status = {.version = STATUS_VERSION, .state = BERTH_CREATED};
    char id[BERTH_ID_TEXT];
    bool alive, made;
    int r = store_draft_begin(s, "loop", &draft, NULL);
    if (r < 0)
        return r == BERTH_NO_MEMORY ? -1 : r;
    memcpy(id, store_draft_id(draft), sizeof(id));
    if ((r = status_write_at(store_draft_fd(draft), &status, false, NULL)) < 0 ||
        (r = volume_create(s, "data", false, NULL, &made, NULL)) < 0 ||
        (r = volume_use(s, "data", id, NULL)) < 0) {
        store_draft_abandon(draft);
        return r == BERTH_NO_MEMORY ? -1 : r;
    }
    r = store_draft_commit(draft, NULL);
    if (r == 0)
        r = workload_open(s, id, &w, NULL);
    if (r == 0)
        r = workload_lock_change(w, NULL);
    if (r == 0)
        r = workload_status_read(w, &status, &alive, NULL);
    if (r == 0)
        r = workload_discard(w, NULL);
    workload_close(w);
    if (r < 0) { /* committed, and there: the loop's next round needs the name */
        autofree char *path = format_text("%s/workloads/%s", l->f->root, id);
        autofree char *trash = format_text("%s/trash/%s", l->f->root, id);
        if (path && trash)
            rename(path, trash);
    }
    store_sweep(s, NULL);
    return r == BERTH_NO_MEMORY ? -1 : r;
}

static void every_allocation_may_fail(void **state)
{
    struct loop_data l = {.f = *state};
    size_t n = fault_loop(live_once, &l);
    assert_true(n > 0);
    assert_int_equal(store_sweep(l.f->s, NULL), 0);
    expect_empty(l.f);
}

/* ---- crash points */

#ifdef BERTH_CRASHPOINTS
static int whole_life(struct fixture *f)
{
    struct store *s;
    struct store_draft *draft;
    struct workload *w;
    struct status status = {.version = STATUS_VERSION, .state = BERTH_CREATED};
    if (store_open(f->root, f->run, true, &s, NULL) < 0)
        return 1;
    if (store_draft_begin(s, "web", &draft, NULL) < 0)
        return 2;
    char id[BERTH_ID_TEXT];
    memcpy(id, store_draft_id(draft), sizeof(id));
    if (status_write_at(store_draft_fd(draft), &status, false, NULL) < 0 ||
        lease_take(s, "port/tcp", "80", id, NULL, NULL) < 0 ||
        volume_create(s, "anonymous", true, NULL, NULL, NULL) < 0 ||
        volume_use(s, "anonymous", id, NULL) < 0)
        return 3;
    if (store_draft_commit(draft, NULL) < 0 || workload_open(s, id, &w, NULL) < 0)
        return 4;
    if (workload_lock_change(w, NULL) < 0 || workload_status_write(w, &status, true, NULL) < 0 ||
        workload_rename(w, "other", NULL) < 0 || workload_rename(w, "web", NULL) < 0 ||
        workload_remove_volumes(w, NULL) < 0 || workload_discard(w, NULL) < 0)
        return 5;
    return store_empty_trash(store_root_fd(s), NULL) < 0 ? 6 : 0;
}

/* Whatever the point: the sweep, and the removal of what was committed, leave nothing. */
static void killed_at_every_crash_point_leaves_nothing(void **state)
{
#define X(name, when) name,
    static const char *const points[] = {CRASH_POINTS(X)};
#undef X
    struct fixture *f = *state;
    int killed = 0;
    for (size_t i = 0; i < ARRAY_SIZE(points); i++) {
        pid_t pid = fork();
        if (pid == 0) {
            setenv("BERTH_CRASH_POINT", points[i], 1);
            _exit(whole_life(f));
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(status == 0 || WTERMSIG(status) == SIGKILL);
        killed += status != 0;
        char id[BERTH_ID_TEXT];
        make(f->s, "web2", id); /* nothing that it held blocks others */
        discard(f->s, id);
        assert_int_equal(store_sweep(f->s, NULL), 0);
        autostrings char **ids = NULL;
        assert_int_equal(store_list(f->s, &ids, NULL), 0);
        if (ids[0]) {
            struct workload *w = get(f->s, ids[0]);
            bool alive;
            struct status record;
            assert_int_equal(workload_status_read(w, &record, &alive, NULL), 0);
            assert_int_equal(workload_lock_change(w, NULL), 0);
            assert_int_equal(workload_remove_volumes(w, NULL), 0);
            assert_int_equal(workload_discard(w, NULL), 0);
            workload_close(w);
        }
        volume_remove(f->s, "anonymous", NULL); /* made, not yet used: a person's or prune's */
        make(f->s, "web", id); /* both names can be taken again */
        discard(f->s, id);
        make(f->s, "other", id);
        discard(f->s, id);
        assert_int_equal(store_sweep(f->s, NULL), 0);
        expect_empty(f);
        assert_int_equal(count(f->root, "leases/port/tcp"), 0);
        assert_int_equal(count(f->root, "volumes"), 0);
    }
    assert_true(killed >= 18);
}
#endif

/* ---- full disk */

static void full_disk_is_no_space_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    char disk[100], root[120];
    snprintf(disk, sizeof(disk), "%s/disk", f->path);
    snprintf(root, sizeof(root), "%s/root", disk);
    assert_int_equal(mkdir(disk, 0700), 0);
    assert_int_equal(mount("tmpfs", disk, "tmpfs", 0, "size=1m,nr_inodes=60"), 0);
    struct store *s;
    struct berth_error err = {0};
    assert_int_equal(store_open(root, f->run, true, &s, NULL), 0);
    int made = 0, r = 0;
    for (; made < 100 && r == 0; made++) {
        struct store_draft *draft;
        r = store_draft_begin(s, NULL, &draft, &err);
        if (r == 0)
            r = store_draft_commit(draft, &err);
    }
    assert_int_equal(r, BERTH_NO_SPACE);
    assert_true(made > 2);
    assert_int_equal(count(root, "aside"), 0);
    assert_int_equal(count(root, "names"), made - 1);
    assert_int_equal(count(root, "workloads"), made - 1);
    autostrings char **ids = NULL;
    assert_int_equal(store_list(s, &ids, NULL), 0);
    for (char **id = ids; *id; id++)
        discard(s, *id); /* removing must work on a full disk */
    assert_int_equal(store_sweep(s, NULL), 0);
    assert_int_equal(count(root, "names") + count(root, "trash") + count(root, "workloads"), 0);
    store_close(s);
    assert_int_equal(umount2(disk, MNT_DETACH), 0);
}

/* ---- volumes */

static void volumes_are_made_used_and_kept_while_used(void **state)
{
    struct fixture *f = *state;
    char id[BERTH_ID_TEXT];
    bool made = false;
    struct berth_error err;
    make(f->s, "web", id);
    assert_int_equal(volume_use(f->s, "data", id, &err), BERTH_NOT_FOUND);
    assert_int_equal(volume_create(f->s, "data", false, "{\"a\":\"b\"}", &made, NULL), 0);
    assert_true(made);
    assert_int_equal(volume_create(f->s, "data", false, NULL, &made, NULL), 0);
    assert_false(made);
    assert_int_equal(volume_create(f->s, "bad", false, "[", &made, &err), BERTH_INVALID);
    autofree char *json = NULL, *path = NULL;
    assert_int_equal(volume_read(f->s, "data", &json, NULL), 0);
    assert_non_null(strstr(json, "\"a\":\"b\""));
    assert_int_equal(volume_path(f->s, "data", &path, NULL), 0);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(volume_use(f->s, "data", id, NULL), 0);
    assert_int_equal(volume_remove(f->s, "data", &err), BERTH_WRONG_STATE);
    autostrings char **users = NULL;
    assert_int_equal(volume_users(f->s, "data", &users, NULL), 0);
    assert_string_equal(users[0], id);
    discard(f->s, id);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(volume_remove(f->s, "data", NULL), 0);
    assert_int_equal(volume_remove(f->s, "data", &err), BERTH_NOT_FOUND);
    assert_int_equal(store_sweep(f->s, NULL), 0);
    expect_empty(f);
    assert_int_equal(count(f->root, "leases/volume-use"), 0);
}

static void anonymous_volumes_go_when_asked_named_ones_stay(void **state)
{
    struct fixture *f = *state;
    char id[BERTH_ID_TEXT], other[BERTH_ID_TEXT];
    make(f->s, "web", id);
    make(f->s, "other", other);
    const char *names[] = {"named", "anon1", "anon2"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(volume_create(f->s, names[i], i > 0, NULL, NULL, NULL), 0);
        assert_int_equal(volume_use(f->s, names[i], id, NULL), 0);
    }
    assert_int_equal(volume_use(f->s, "anon2", other, NULL), 0);
    struct workload *w = get(f->s, id);
    assert_int_equal(workload_lock_change(w, NULL), 0);
    assert_int_equal(workload_remove_volumes(w, NULL), 0);
    assert_int_equal(workload_discard(w, NULL), 0);
    workload_close(w);
    autostrings char **left = NULL;
    assert_int_equal(volume_list(f->s, &left, NULL), 0);
    assert_int_equal(strings_count(left), 2);
    assert_string_equal(left[0], "anon2"); /* another uses it */
    assert_string_equal(left[1], "named");
}

/* ---- events */

static char *read_events(struct fixture *f, int64_t since, int64_t until, const char *name)
{
    autoclose int fd = memfd_create("events", MFD_CLOEXEC);
    char *text = NULL;
    assert_int_equal(events_pump(store_root_fd(f->s), since, until, false, name, fd, NULL), 0);
    lseek(fd, 0, SEEK_SET);
    assert_int_equal(fd_read_all(fd, 1u << 30, &text, NULL), 0);
    return text;
}

static int count_lines(const char *text)
{
    int n = 0;
    for (; (text = strchr(text, '\n')); text++)
        n++;
    return n;
}

static void events_are_appended_filtered_and_survive_a_torn_one(void **state)
{
    struct fixture *f = *state;
    int root = store_root_fd(f->s);
    assert_int_equal(event_append(root, "create", "0123", "web", NULL), 0);
    int64_t between = now_usec();
    autoclose int fd = openat(root, "events/log", O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "{\"time_usec\":1,\"ty", 18), 18); /* a full disk cut it */
    usleep(10);
    assert_int_equal(event_append(root, "die", "4567", "db", "\"exit_code\":1"), 0);
    autofree char *all = read_events(f, 0, 0, NULL), *late = read_events(f, between, 0, NULL);
    autofree char *web = read_events(f, 0, 0, "web"), *id = read_events(f, 0, 0, "4567");
    autofree char *early = read_events(f, 0, between, NULL);
    assert_int_equal(count_lines(all), 2);
    assert_non_null(strstr(late, "\"exit_code\":1}"));
    assert_int_equal(count_lines(late), 1);
    assert_int_equal(count_lines(web), 1);
    assert_non_null(strstr(id, "\"type\":\"die\""));
    assert_int_equal(count_lines(early), 1);
}

static void events_rotate_and_followers_lose_none(void **state)
{
    struct fixture *f = *state;
    int ends[2], root = store_root_fd(f->s);
    enum { WRITERS = 3, EACH = 4000 };
    autofree char *filler = calloc(1, 4001);
    memset(filler, 'x', 4000);
    autofree char *more = format_text("\"filler\":\"%s\"", filler);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    pid_t reader = fork();
    if (reader == 0) {
        signal(SIGPIPE, SIG_IGN);
        close(ends[0]);
        alarm(300);
        _exit(events_pump(root, 1, 0, true, NULL, ends[1], NULL) < 0);
    }
    close(ends[1]);
    pid_t writers[WRITERS];
    for (int p = 0; p < WRITERS; p++) {
        writers[p] = fork();
        if (writers[p] == 0) {
            for (int i = 0; i < EACH; i++)
                if (event_append(root, "test", "id", "name", more) < 0)
                    _exit(1);
            _exit(0);
        }
    }
    autofree char *chunk = malloc(1 << 20);
    int lines = 0;
    while (lines < WRITERS * EACH) {
        ssize_t n = read(ends[0], chunk, 1 << 20);
        assert_true(n > 0);
        for (ssize_t i = 0; i < n; i++)
            lines += chunk[i] == '\n';
    }
    for (int p = 0; p < WRITERS; p++)
        reap(writers[p]);
    close(ends[0]);
    event_append(root, "last", "id", "name", NULL); /* wakes the reader: nobody reads any more */
    reap(reader);
    assert_int_equal(lines, WRITERS * EACH);
    assert_int_equal(count(f->root, "events"), 2);
    struct stat st;
    assert_int_equal(fstatat(root, "events/log.1", &st, 0), 0);
    assert_true(st.st_size >= (off_t)EVENTS_MAX_BYTES && st.st_size < (off_t)EVENTS_MAX_BYTES + (1 << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, open_store, close_store)
        T(root_that_is_no_store_is_not_found),
        T(unknown_format_is_corrupt),
        T(another_boot_drops_run_folders_of_the_removed),
        T(name_is_taken_once_and_freed_by_discard),
        T(a_draft_is_invisible_and_holds_its_name),
        T(dead_makers_name_is_taken_over_without_a_sweep),
        T(made_names_are_told_apart),
        T(bad_names_are_refused_before_any_path),
        T(prefixes_find_when_unambiguous),
        T(list_is_newest_first),
        T(rename_moves_the_name),
        T(half_a_rename_blocks_no_name),
        T(change_and_life_exclude),
        T(change_after_a_removal_is_not_found),
        T(connect_says_when_nobody_listens),
        T(status_goes_round_and_tells_an_unrecorded_death),
        T(status_and_life_are_consistent),
        T(hundred_leases_at_once_never_twice),
        T(leases_are_released_one_by_one_and_all),
        T(eight_processes_fight_for_four_names),
        T(killed_makers_leave_nothing_that_a_sweep_does_not_undo),
        T(every_allocation_may_fail),
#ifdef BERTH_CRASHPOINTS
        T(killed_at_every_crash_point_leaves_nothing),
#endif
        T(full_disk_is_no_space_and_leaves_nothing),
        T(volumes_are_made_used_and_kept_while_used),
        T(anonymous_volumes_go_when_asked_named_ones_stay),
        T(events_are_appended_filtered_and_survive_a_torn_one),
        T(events_rotate_and_followers_lose_none),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
