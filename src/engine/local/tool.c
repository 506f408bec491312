/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work that berth-image does: images in and out, tars of a workload's root. A call around a child.
 */
#include "local/inside.h"
#include "engine/said.h"
#include "image/tool.h"
#include "local/tool.h"
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>

struct tool {
    int end_fd, pid_fd;
    int streams[3];          /* ours: -1 where there is none */
    struct text said;
    bool cancelled;
    const char *applet;
};

static void tool_free(void *data)
{
    struct tool *t = data;
    for (size_t i = 0; i < ARRAY_SIZE(t->streams); i++)
        close_fd(&t->streams[i]);
    close_fd(&t->end_fd); /* what was under way undoes itself */
    close_fd(&t->pid_fd);
    text_free(&t->said);
    free(t);
}

static int tool_ended(struct tool *t, struct berth_error *err)
{
    json_t *said = t->said.length ? json_loadb(t->said.data, t->said.length, 0, NULL) : NULL;
    int r = said_error(said, err);
    if (r == 0)
        r = 1;
    if (r < 0) {
        json_decref(said);
        return r;
    } else if (!json_is_true(json_object_get(said, "done"))) {
        r = t->cancelled ? fail(err, BERTH_CANCELLED, NULL, "%s: cancelled", t->applet)
                         : fail(err, BERTH_LOST, NULL, "%s: berth-image was killed", t->applet);
    }
    json_decref(said);
    return r;
}

static int tool_step(void *data, struct berth_result *ret, struct berth_error *err)
{
    struct tool *t = data;
    char buffer[1024];
    for (;;) {
        ssize_t n = RETRY(read(t->end_fd, buffer, sizeof(buffer)));
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n <= 0)
            return tool_ended(t, err);
        if (t->said.length < IMAGE_TOOL_END_MAX_BYTES)
            text_add_bytes(&t->said, buffer, (size_t)n);
    }
}

static void tool_cancel(void *data)
{
    struct tool *t = data;
    t->cancelled = true;
    syscall(SYS_pidfd_send_signal, t->pid_fd, SIGTERM, NULL, 0);
}

static int tool_stream_fd(void *data, int stream)
{
    return ((struct tool *)data)->streams[stream];
}

static void tool_close_stdin(void *data)
{
    close_fd(&((struct tool *)data)->streams[0]);
}

static const struct berth_call_ops tool_ops = {
    .size = sizeof(tool_ops), .step = tool_step, .cancel = tool_cancel, .free = tool_free,
    .stream_fd = tool_stream_fd, .close_stdin = tool_close_stdin,
};

/** One pipe: the child's end and ours. */
static int make_pipe(bool to_child, int *ret_child, int *ret_ours, struct berth_error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    *ret_child = ends[to_child ? 0 : 1];
    *ret_ours = ends[to_child ? 1 : 0];
    return 0;
}

static int spawn_tool(struct tool *t, const struct local *c, const char *const *argv,
                      unsigned streams, int input_fd, struct berth_error *err)
{
    int child[4] = {-1, -1, -1, -1}, r = 0;
    for (int i = 0; r == 0 && i < 3; i++)
        if (streams & 1u << i)
            r = make_pipe(i == 0, &child[i], &t->streams[i], err);
    if (child[2] >= 0) /* nobody has to read progress: what finds no room is not said */
        fcntl(child[2], F_SETFL, O_WRONLY | O_NONBLOCK);
    if (r == 0)
        r = make_pipe(false, &child[IMAGE_TOOL_END_FD], &t->end_fd, err);
    if (r == 0) {
        fcntl(t->end_fd, F_SETFL, O_NONBLOCK);
        const int fds[4] = {input_fd >= 0 ? input_fd : child[0], child[1], child[2], child[3]};
        r = helper_spawn(c, IMAGE_TOOL_PROGRAM, argv, fds, ARRAY_SIZE(fds), &t->pid_fd, err);
    }
    for (size_t i = 0; i < ARRAY_SIZE(child); i++)
        close_fd(&child[i]);
    return r;
}

int tool_call(struct local *c, const char *const *argv, unsigned streams, int input_fd,
              struct berth_call **ret_call, struct berth_error *err)
{
    struct tool *t = calloc(1, sizeof(*t));
    if (!t)
        return fail_memory(err);
    *t = (struct tool){.end_fd = -1, .pid_fd = -1, .streams = {-1, -1, -1}, .applet = "berth-image"};
    int r = spawn_tool(t, c, argv, streams, input_fd, err);
    if (r < 0) {
        tool_free(t);
        return r;
    }
    return berth_call_new(&tool_ops, t, t->end_fd, ret_call, err);
}

int tool_lines(struct local *c, const char *const *argv, char **ret_json, struct berth_error *err)
{
    struct berth_call *call;
    autotext struct text all = {0};
    char buffer[65536];
    int r = tool_call(c, argv, TOOL_OUTPUT, -1, &call, err);
    if (r < 0)
        return r;
    ssize_t n;
    while ((n = RETRY(read(berth_call_stream_fd(call, 1), buffer, sizeof(buffer)))) > 0)
        text_add_bytes(&all, buffer, (size_t)n);
    r = berth_call_wait(call, -1, NULL, err);
    berth_call_free(call);
    if (r < 0)
        return r;
    autotext struct text list = {0};
    text_add(&list, "[");
    char *rest = all.data, *line;
    while (rest && (line = strsep(&rest, "\n")))
        if (*line)
            text_printf(&list, "%s%s", list.length > 1 ? "," : "", line);
    text_add(&list, "]");
    *ret_json = text_take(&list);
    return *ret_json ? 0 : fail_memory(err);
}
