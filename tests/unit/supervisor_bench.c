/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bench that test_supervisor works at.
 */
#include "supervisor_bench.h"
#include "base/file.h"
#include "base/text.h"
#include "store/store.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#define PATIENCE_MSEC 10000

static int open_folder(const char *top, const char *path)
{
    char full[256];
    snprintf(full, sizeof(full), "%s/%s", top, path);
    assert_int_equal(make_folders(full, 0700), 0);
    int fd = open(full, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

void bench_create(struct bench *b)
{
    struct berth_error err;
    struct status created = {.version = STATUS_VERSION,
                             .state = BERTH_CREATED,
                             .exit_code = -1,
                             .created_usec = now_usec()};
    assert_int_equal(status_write_at(b->workload_fd, &created, false, &err), 0);
}

/* A plan that is only printed borrows its texts. */
static char *borrow(const char *text)
{
    return (char *)text;
}

int bench_setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    snprintf(b->top, sizeof(b->top), "/tmp/berth-sv-XXXXXX");
    assert_non_null(mkdtemp(b->top));
    b->root_fd = open_folder(b->top, "root");
    b->workload_fd = open_folder(b->top, "root/workloads/" ID);
    b->run_fd = open_folder(b->top, "run/" ID);
    b->starter_fd = -1;
    close(open_folder(b->top, "root/events"));
    b->plan = (struct plan){
        .version = PLAN_VERSION,
        .stamp = borrow("test"),
        .id = borrow(ID),
        .name = borrow("bench"),
        .runtime = borrow("test"),
        .image = borrow("none"),
        .workdir = borrow("/"),
        .cgroup_parent = borrow("/fake"),
        .stop_signal = SIGTERM,
        .stop_timeout_usec = 10000000,
        .limits = {.memory = -1,
                   .swap = -1,
                   .reservation = -1,
                   .cpu_quota_usec = -1,
                   .cpu_period_usec = 100000,
                   .pids = -1},
        .log = {.max_size_bytes = 64 << 20, .max_files = 4},
        .restart = {.max = -1},
    };
    b->program = SUPERVISOR;
    bench_create(b);
    *state = b;
    return 0;
}

int bench_teardown(void **state)
{
    struct bench *b = *state;
    if (b->pid > 0) {
        kill(b->pid, SIGKILL);
        waitpid(b->pid, NULL, 0);
    }
    cleanup_close(&b->starter_fd);
    close(b->root_fd);
    close(b->workload_fd);
    close(b->run_fd);
    tree_remove(AT_FDCWD, b->top);
    strings_free(b->plan.argv);
    free(b);
    return 0;
}

void bench_script(struct bench *b, const char *script)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    strings_free(b->plan.argv);
    b->plan.argv = strings_copy(argv);
}

static void child(const struct bench *b, int *fds, size_t n)
{
    int high[8];
    for (size_t i = 0; i < n; i++)
        high[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 100);
    for (size_t i = 0; i < n; i++)
        dup2(high[i], (int)i);
    setsid();
    execl(b->program, b->program, b->plan.name, b->plan.id, NULL);
    _exit(99);
}

void bench_spawn(struct bench *b)
{
    int pair[2];
    autofree char *json = plan_print(&b->plan);
    assert_non_null(json);
    assert_int_equal(file_write(b->workload_fd, "plan.json", json, strlen(json), 0600, 0), 0);
    autoclose int life_fd = openat(b->run_fd, "life", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(lock_take(life_fd), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    autoclose int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int fds[] = {null_fd,    null_fd,        null_fd,   life_fd,
                 b->root_fd, b->workload_fd, b->run_fd, pair[1]};
    b->pid = fork();
    if (b->pid == 0)
        child(b, fds, ARRAY_SIZE(fds));
    close(pair[1]);
    b->starter_fd = pair[0];
}

void bench_start(struct bench *b)
{
    json_t *body = NULL;
    bench_spawn(b);
    uint32_t type = bench_receive(b->starter_fd, &body, NULL);
    if (type != MESSAGE_DONE)
        print_error("start: %s\n", json_string_value(json_object_get(body, "message")));
    json_decref(body);
    assert_int_equal(type, MESSAGE_DONE);
}

int bench_connect(struct bench *b)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s/run/%s/socket", b->top, b->plan.id);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int64_t end = monotonic_usec() + PATIENCE_MSEC * 1000; /* it may be about to listen */
    while (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        assert_true(monotonic_usec() < end);
        usleep(2000);
    }
    return fd;
}

uint64_t bench_send(struct bench *b, int fd, uint32_t type, const char *json, const int *fds,
                    size_t n_fds)
{
    size_t length = json ? strlen(json) : 0;
    struct message_head head = {.magic = MESSAGE_MAGIC,
                                .version = 1,
                                .type = type,
                                .tag = ++b->tag,
                                .length = (uint32_t)length};
    autofree char *packet = malloc(sizeof(head) + length);
    memcpy(packet, &head, sizeof(head));
    if (length)
        memcpy(packet + sizeof(head), json, length);
    assert_int_equal(send_with_fds(fd, packet, sizeof(head) + length, fds, n_fds),
                     sizeof(head) + length);
    return b->tag;
}

uint32_t bench_receive(int fd, json_t **ret_body, uint64_t *ret_tag)
{
    static char packet[sizeof(struct message_head) + MESSAGE_INLINE];
    struct message_head head;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, PATIENCE_MSEC), 1);
    ssize_t n = recv(fd, packet, sizeof(packet), 0);
    if (n <= 0)
        return 0;
    memcpy(&head, packet, sizeof(head));
    assert_int_equal(head.magic, MESSAGE_MAGIC);
    assert_int_equal(head.length, n - (ssize_t)sizeof(head));
    json_t *body = json_loadb(packet + sizeof(head), head.length, 0, NULL);
    assert_true(json_is_object(body));
    if (ret_tag)
        *ret_tag = head.tag;
    if (ret_body)
        *ret_body = body;
    else
        json_decref(body);
    return head.type;
}

uint32_t bench_ask(struct bench *b, int fd, uint32_t type, const char *json, json_t **ret_body)
{
    uint64_t tag = 0, sent = bench_send(b, fd, type, json, NULL, 0);
    uint32_t answer = bench_receive(fd, ret_body, &tag);
    if (answer)
        assert_int_equal(tag, sent);
    return answer;
}

void bench_send_pipes(struct bench *b, int fd, uint32_t type, const char *json, int ret_ends[3])
{
    int in[2], out[2], e[2];
    assert_int_equal(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(e, O_CLOEXEC), 0);
    bench_send(b, fd, type, json, (int[]){in[0], out[1], e[1]}, 3);
    close(in[0]);
    close(out[1]);
    close(e[1]);
    ret_ends[0] = in[1];
    ret_ends[1] = out[0];
    ret_ends[2] = e[0];
}

void close_ends(int ends[3])
{
    for (int i = 0; i < 3; i++)
        close_fd(&ends[i]);
}

void bench_wait_end(struct bench *b)
{
    int status = 0;
    int64_t end = monotonic_usec() + PATIENCE_MSEC * 1000;
    while (waitpid(b->pid, &status, WNOHANG) == 0) {
        assert_true(monotonic_usec() < end);
        usleep(2000);
    }
    b->pid = 0;
    assert_true(WIFEXITED(status));
    assert_in_range(WEXITSTATUS(status), 0, 1);
}

struct status bench_status(struct bench *b)
{
    struct status st;
    struct berth_error err = {0};
    int r = status_read_at(b->workload_fd, &st, &err);
    if (r < 0)
        print_error("status: %s\n", err.message);
    assert_int_equal(r, 0);
    return st;
}

void bench_wait_state(struct bench *b, int state)
{
    int64_t end = monotonic_usec() + PATIENCE_MSEC * 1000;
    while (bench_status(b).state != state) {
        assert_true(monotonic_usec() < end);
        usleep(2000);
    }
}

char *bench_read_all(int fd)
{
    struct text t = {0};
    char piece[4096];
    ssize_t n;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, PATIENCE_MSEC) == 1 && (n = read(fd, piece, sizeof(piece))) > 0)
        text_add_bytes(&t, piece, (size_t)n);
    return text_take(&t);
}

/* The data files are the bytes as written; their order is their number's. */
char *bench_log(struct bench *b)
{
    struct text t = {0};
    for (int i = 0; i < 64; i++) {
        char name[32];
        autofree char *data = NULL;
        size_t size = 0;
        snprintf(name, sizeof(name), "log/%d.log", i);
        if (file_read(b->workload_fd, name, 64 << 20, &data, &size) == 0)
            text_add_bytes(&t, data, size);
    }
    return text_take(&t);
}

char *bench_events(struct bench *b)
{
    char *data = NULL;
    size_t size = 0;
    assert_int_equal(file_read(b->root_fd, "events/log", 64 << 20, &data, &size), 0);
    return data;
}

long get(json_t *body, const char *key)
{
    json_t *value = json_object_get(body, key);
    return json_is_boolean(value) ? json_is_true(value) : (long)json_integer_value(value);
}

bool pid_alive(pid_t pid)
{
    char path[40], text[256];
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
    text[MAX(n, 0)] = 0;
    const char *after = strrchr(text, ')');
    return after && after[2] != 'Z' && after[2] != 'X';
}

const char *bench_file(struct bench *b, const char *name)
{
    static char path[256];
    snprintf(path, sizeof(path), "%s/%s", b->top, name);
    return path;
}

void bench_wait_file(struct bench *b, const char *name)
{
    struct stat st;
    int64_t end = monotonic_usec() + PATIENCE_MSEC * 1000;
    while (stat(bench_file(b, name), &st) < 0 || st.st_size == 0) {
        assert_true(monotonic_usec() < end);
        usleep(2000);
    }
}

long number_in(struct bench *b, const char *file)
{
    autofree char *text = NULL;
    size_t size;
    bench_wait_file(b, file);
    assert_int_equal(file_read(AT_FDCWD, bench_file(b, file), 64, &text, &size), 0);
    return atol(text);
}
