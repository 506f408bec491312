/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program's output and input: pipes or a terminal on its side, the log and the viewers on ours.
 *
 * The program is never made to wait for a reader: the log takes all at once, a viewer that is slow
 * has a bounded backlog and then misses something (it is told how much). Only an exec's terminal,
 * which has one viewer and no log, goes at that viewer's pace.
 */
#include "supervisor/supervisor.h"
#include "base/base.h"
#include "store/log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PIPE_BYTES    (1 << 20)
#define PIECE_BYTES   16384
#define BACKLOG_BYTES (256u << 10) /* for each viewer */
#define EARLY_BYTES   16384u
#define LOG_NOTE_USEC 1000000

/* ---- backlogs ---------------------------------------------------------------------------------
 */

static size_t backlog_size(const struct backlog *b)
{
    return b->end - b->start;
}

static void backlog_free(struct backlog *b)
{
    free(b->data);
    *b = (struct backlog){0};
}

/* Bytes taken: fewer when they would not fit below `max` or memory has run out. */
static size_t backlog_add(struct backlog *b, const char *data, size_t size, size_t max)
{
    size = MIN(size, max - MIN(max, backlog_size(b)));
    if (b->start && b->end + size > b->room) {
        memmove(b->data, b->data + b->start, backlog_size(b));
        b->end -= b->start;
        b->start = 0;
    }
    if (b->end + size > b->room) {
        size_t room = MIN(max, MAX(2 * b->room, b->end + size));
        char *bigger = realloc(b->data, room);
        if (!bigger)
            return 0;
        b->data = bigger;
        b->room = room;
    }
    memcpy(b->data + b->end, data, size);
    b->end += size;
    return size;
}

/* 0: empty now, 1: the descriptor takes no more, -errno. */
static int backlog_flush(struct backlog *b, int fd)
{
    while (backlog_size(b) > 0) {
        ssize_t n = RETRY(write(fd, b->data + b->start, backlog_size(b)));
        if (n < 0)
            return errno == EAGAIN ? 1 : -errno;
        b->start += (size_t)n;
    }
    backlog_free(b);
    return 0;
}

/* ---- viewers: what they see -------------------------------------------------------------------
 */

static void viewer_free(struct supervisor *s, struct viewer *v)
{
    source_close(&s->loop, &v->in);
    for (size_t i = 0; i < ARRAY_SIZE(v->out); i++) {
        source_close(&s->loop, &v->out[i]);
        backlog_free(&v->backlog[i]);
    }
    free(v);
}

static void viewer_unlink(struct viewer **list, struct viewer *v)
{
    for (; *list; list = &(*list)->next) {
        if (*list == v) {
            *list = v->next;
            return;
        }
    }
}

static void input_end(struct supervisor *s, struct stdio *stdio);
static void pace(struct supervisor *s, struct stdio *stdio);

/* Closed by its client. For a pipe, what it typed ends with it (docker's stdin once). */
static void viewer_leave(struct supervisor *s, struct viewer *v)
{
    struct stdio *stdio = v->stdio;
    viewer_unlink(stdio ? &stdio->viewers : &s->leaving, v);
    if (stdio && v->input && !v->eof)
        input_end(s, stdio);
    if (stdio)
        pace(s, stdio);
    viewer_free(s, v);
    life_leave(s);
}

/* Which source shows output `index`: a terminal has one, both ways. */
static struct source *viewer_output(struct viewer *v, int index)
{
    return v->out[index].fd >= 0                  ? &v->out[index]
           : v->out[0].fd < 0 && v->out[1].fd < 0 ? &v->in
                                                  : NULL;
}

static uint32_t reading(const struct viewer *v)
{
    return v->input && !v->eof && v->stdio && !backlog_size(&v->stdio->typed) ? EPOLLIN : 0;
}

/* A socket is always read, so that its end is noticed; what is typed there without the right is
 * dropped. */
static void viewer_rearm(struct supervisor *s, struct viewer *v)
{
    bool is_socket = v->out[0].fd < 0 && v->out[1].fd < 0;
    uint32_t in = reading(v);
    if (is_socket && !v->eof && !v->input)
        in = EPOLLIN;
    if (is_socket && backlog_size(&v->backlog[0]))
        in |= EPOLLOUT;
    source_change(&s->loop, &v->in, in);
    for (size_t i = 0; i < ARRAY_SIZE(v->out); i++)
        source_change(&s->loop, &v->out[i], backlog_size(&v->backlog[i]) ? EPOLLOUT : EPOLLERR);
}

/* An exec's terminal waits for its only viewer; a main program without a log for who started it. */
static void pace(struct supervisor *s, struct stdio *stdio)
{
    bool full = false;
    if (stdio->is_main && s->log)
        return;
    for (struct viewer *v = stdio->viewers; v; v = v->next)
        if (v->paced || !stdio->is_main)
            full |= backlog_size(&v->backlog[0]) > 0 || backlog_size(&v->backlog[1]) > 0;
    uint32_t typed = backlog_size(&stdio->typed) ? EPOLLOUT : 0, reading = full ? 0 : EPOLLIN;
    source_change(&s->loop, &stdio->terminal, reading | typed);
    for (size_t i = 0; i < ARRAY_SIZE(stdio->out); i++)
        source_change(&s->loop, &stdio->out[i], reading);
}

/* 0, or negative when the viewer is gone. */
static int show(struct supervisor *s, struct viewer *v, int index, const char *data, size_t size)
{
    struct source *to = viewer_output(v, index);
    struct backlog *b = &v->backlog[to == &v->in ? 0 : index];
    size_t done = 0;
    if (!to)
        return 0;
    if (!backlog_size(b)) {
        ssize_t n = RETRY(write(to->fd, data, size));
        if (n < 0 && errno != EAGAIN)
            return -errno;
        done = n < 0 ? 0 : (size_t)n;
    }
    if (done < size) {
        size_t most = v->paced ? 4 * PIPE_BYTES : BACKLOG_BYTES; /* paced: what the pipes held at the end */
        size_t kept = backlog_add(b, data + done, size - done, most);
        v->dropped_bytes += size - done - kept;
        viewer_rearm(s, v);
    }
    return 0;
}

static void keep_early(struct stdio *stdio, const char *data, size_t size)
{
    struct backlog *b = &stdio->early;
    if (stdio->had_viewer)
        return;
    size_t over = backlog_size(b) + size > EARLY_BYTES ? backlog_size(b) + size - EARLY_BYTES : 0;
    b->start += MIN(over, backlog_size(b));
    if (size > EARLY_BYTES)
        data += size - EARLY_BYTES;
    backlog_add(b, data, MIN(size, EARLY_BYTES), EARLY_BYTES);
}

static void show_all(struct supervisor *s, struct stdio *stdio, int index, const char *data,
                     size_t size)
{
    struct viewer *next;
    if (stdio->terminal.fd >= 0)
        keep_early(stdio, data, size);
    for (struct viewer *v = stdio->viewers; v; v = next) {
        next = v->next;
        if (show(s, v, index, data, size) < 0)
            viewer_leave(s, v);
    }
    pace(s, stdio);
}

static void viewer_output_ready(struct supervisor *s, struct viewer *v, int index, int fd)
{
    int r = backlog_flush(&v->backlog[index], fd);
    if (r < 0 || (!v->stdio && !backlog_size(&v->backlog[0]) && !backlog_size(&v->backlog[1])))
        return viewer_leave(s, v);
    viewer_rearm(s, v);
    if (v->stdio)
        pace(s, v->stdio);
}

static void viewer_pipe(struct supervisor *s, struct source *source, uint32_t events, int index)
{
    struct viewer *v = (struct viewer *)((char *)(source - index) - offsetof(struct viewer, out));
    if (events & (EPOLLERR | EPOLLHUP))
        viewer_leave(s, v);
    else
        viewer_output_ready(s, v, index, source->fd);
}

static void viewer_stdout(struct supervisor *s, struct source *source, uint32_t events)
{
    viewer_pipe(s, source, events, 0);
}

static void viewer_stderr(struct supervisor *s, struct source *source, uint32_t events)
{
    viewer_pipe(s, source, events, 1);
}

/* ---- viewers: what they type ------------------------------------------------------------------
 */

static struct source *input_target(struct stdio *stdio)
{
    return stdio->terminal.fd >= 0 ? &stdio->terminal : &stdio->in;
}

static void rearm_all(struct supervisor *s, struct stdio *stdio)
{
    for (struct viewer *v = stdio->viewers; v; v = v->next)
        viewer_rearm(s, v);
}

/* The program sees the end of its input as soon as it has taken what was typed before. */
static void input_end(struct supervisor *s, struct stdio *stdio)
{
    if (stdio->in.fd < 0)
        return;
    stdio->close_in = true;
    if (!backlog_size(&stdio->typed))
        source_close(&s->loop, &stdio->in);
}

static void input_flush(struct supervisor *s, struct stdio *stdio)
{
    struct source *to = input_target(stdio);
    int r = backlog_flush(&stdio->typed, to->fd);
    if (r == 1)
        return;
    backlog_free(&stdio->typed);
    if (to == &stdio->in) {
        if (r < 0 || stdio->close_in)
            source_close(&s->loop, to);
        else
            source_change(&s->loop, to, EPOLLERR);
    } else {
        source_change(&s->loop, to, EPOLLIN);
        pace(s, stdio);
    }
    rearm_all(s, stdio);
}

static void type(struct supervisor *s, struct stdio *stdio, const char *data, size_t size)
{
    struct source *to = input_target(stdio);
    if (to->fd < 0 || stdio->close_in)
        return;
    ssize_t n = RETRY(write(to->fd, data, size));
    size_t done = n < 0 ? 0 : (size_t)n;
    if (done == size || (n < 0 && errno != EAGAIN))
        return;
    backlog_add(&stdio->typed, data + done, size - done, PIECE_BYTES);
    source_change(&s->loop, to, to == &stdio->in ? EPOLLOUT : EPOLLIN | EPOLLOUT);
    rearm_all(s, stdio);
}

static void viewer_types(struct supervisor *s, struct viewer *v)
{
    char piece[4096];
    ssize_t n = RETRY(read(v->in.fd, piece, sizeof(piece)));
    if (n > 0 && v->input && v->stdio)
        return type(s, v->stdio, piece, (size_t)n);
    if (n > 0 || (n < 0 && errno == EAGAIN))
        return;
    bool is_socket = v->out[0].fd < 0 && v->out[1].fd < 0;
    v->eof = true;
    if (!is_socket && v->stdio && v->input)
        input_end(s, v->stdio);
    viewer_rearm(s, v);
}

static void viewer_in(struct supervisor *s, struct source *source, uint32_t events)
{
    struct viewer *v = HOLDER(source, struct viewer, in);
    bool is_socket = v->out[0].fd < 0 && v->out[1].fd < 0;
    if (is_socket && (events & (EPOLLHUP | EPOLLERR)) && !(events & EPOLLIN))
        return viewer_leave(s, v);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        viewer_types(s, v);
    else if (events & EPOLLOUT)
        viewer_output_ready(s, v, 0, source->fd);
}

/* ---- viewers: coming and going ----------------------------------------------------------------
 */

static int check_descriptor(int fd, struct berth_error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode)))
        return fail(err, BERTH_INVALID, NULL, "a descriptor is neither a pipe nor a socket");
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return 0;
}

static int viewer_watch(struct supervisor *s, struct viewer *v, int *fds, size_t n_fds)
{
    int r = source_watch(&s->loop, &v->in, take_fd(&fds[0]), EPOLLIN, viewer_in);
    if (r == 0 && n_fds == 3)
        r = source_watch(&s->loop, &v->out[0], take_fd(&fds[1]), EPOLLERR, viewer_stdout);
    if (r == 0 && n_fds == 3)
        r = source_watch(&s->loop, &v->out[1], take_fd(&fds[2]), EPOLLERR, viewer_stderr);
    return r;
}

static void show_early(struct supervisor *s, struct stdio *stdio, struct viewer *v)
{
    if (!stdio->had_viewer && backlog_size(&stdio->early))
        show(s, v, 0, stdio->early.data + stdio->early.start, backlog_size(&stdio->early));
    stdio->had_viewer = true;
    backlog_free(&stdio->early);
}

int viewer_add(struct supervisor *s, struct stdio *stdio, struct connection *c, uint64_t tag,
               bool input, int *fds, size_t n_fds, struct berth_error *err)
{
    bool terminal = stdio->is_main ? s->plan->tty : true;
    if (n_fds != (terminal ? 1 : 3))
        return fail(err, BERTH_INVALID, s->name, "attach: %zu descriptors instead of %d", n_fds,
                    terminal ? 1 : 3);
    for (size_t i = 0; i < n_fds; i++)
        if (check_descriptor(fds[i], err) < 0)
            return err ? err->code : BERTH_INVALID;
    struct viewer *v = malloc(sizeof(*v));
    if (!v)
        return fail_memory(err);
    *v = (struct viewer){.stdio = stdio,
                         .connection = c,
                         .tag = tag,
                         .input = input,
                         .paced = stdio->is_main && !s->log && connection_is_early(c),
                         .in = SOURCE_NONE,
                         .out = {SOURCE_NONE, SOURCE_NONE}};
    int r = viewer_watch(s, v, fds, n_fds);
    if (r < 0) {
        viewer_free(s, v);
        return fail_os(err, r, s->name, "attach: watch a descriptor");
    }
    v->next = stdio->viewers;
    stdio->viewers = v;
    if (stdio->is_main)
        reply(s, c, tag, MESSAGE_STARTED, NULL);
    viewer_rearm(s, v);
    show_early(s, stdio, v);
    return 0;
}

void viewers_leave(struct supervisor *s, struct stdio *stdio, const struct connection *c)
{
    struct viewer *next;
    for (struct viewer *v = stdio->viewers; v; v = next) {
        next = v->next;
        if (v->connection == c)
            viewer_leave(s, v);
    }
    for (struct viewer *v = s->leaving; v; v = v->next)
        if (v->connection == c)
            v->connection = NULL;
}

/* It is told the end now; what it has not read yet is kept for it a while. */
void viewers_end(struct supervisor *s, struct stdio *stdio, int exit_code)
{
    while (stdio->viewers) {
        struct viewer *v = stdio->viewers;
        stdio->viewers = v->next;
        v->stdio = NULL;
        if (stdio->is_main)
            reply(s, v->connection, v->tag, MESSAGE_ENDED,
                  json_pack("{s:i,s:I}", "exit_code", exit_code, "dropped_bytes",
                            (json_int_t)v->dropped_bytes));
        if (!backlog_size(&v->backlog[0]) && !backlog_size(&v->backlog[1])) {
            viewer_free(s, v);
            continue;
        }
        v->next = s->leaving;
        s->leaving = v;
        viewer_rearm(s, v);
    }
}

bool viewers_wait(const struct supervisor *s)
{
    return s->leaving != NULL;
}

bool viewers_paced(const struct supervisor *s)
{
    bool paced = false;
    for (struct viewer *v = s->leaving; v; v = v->next)
        paced |= v->paced;
    return paced;
}

/* ---- the program's side -----------------------------------------------------------------------
 */

static void note_dropped(struct supervisor *s, struct timer *timer)
{
    record_write(s, false);
}

static void count_dropped(struct supervisor *s, uint64_t before)
{
    if (s->record.log_dropped_bytes != before && !s->log_timer.due_usec)
        timer_set(&s->loop, &s->log_timer, LOG_NOTE_USEC, note_dropped);
}

/* Bytes, 0 at the end, -EAGAIN. */
static ssize_t read_and_show(struct supervisor *s, struct stdio *stdio, int fd, int index)
{
    char piece[PIECE_BYTES];
    ssize_t n = RETRY(read(fd, piece, sizeof(piece)));
    if (n < 0)
        return errno == EIO ? 0 : -errno; /* EIO: nobody has the terminal open */
    if (n > 0 && s->log && stdio->is_main)
        log_writer_write(s->log, index ? BERTH_STDERR : BERTH_STDOUT, piece, (size_t)n,
                         &s->record.log_dropped_bytes, &s->record.log_dropped_lines);
    if (n > 0)
        show_all(s, stdio, index, piece, (size_t)n);
    return n;
}

/* Nobody looks: straight from the pipe to the log. */
static ssize_t move_to_log(struct supervisor *s, int fd, int index)
{
    return log_writer_move(s->log, fd, index ? BERTH_STDERR : BERTH_STDOUT,
                           &s->record.log_dropped_bytes, &s->record.log_dropped_lines);
}

static ssize_t take_output(struct supervisor *s, struct stdio *stdio, struct source *source,
                           int index)
{
    uint64_t before = s->record.log_dropped_bytes;
    ssize_t n = -EIO;
    if (s->log && source != &stdio->terminal && !stdio->viewers)
        n = move_to_log(s, source->fd, index);
    if (n < 0 && n != -EAGAIN) /* also when the log fails: the program must not wait for it */
        n = read_and_show(s, stdio, source->fd, index);
    count_dropped(s, before);
    return n;
}

static void pipe_speaks(struct supervisor *s, struct source *source, int index)
{
    ssize_t n = take_output(s, &s->stdio, source, index);
    if (n == 0 || (n < 0 && n != -EAGAIN))
        source_close(&s->loop, source);
}

static void stdout_speaks(struct supervisor *s, struct source *source, uint32_t events)
{
    pipe_speaks(s, source, 0);
}

static void stderr_speaks(struct supervisor *s, struct source *source, uint32_t events)
{
    pipe_speaks(s, source, 1);
}

static void stdin_ready(struct supervisor *s, struct source *source, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP)) {
        backlog_free(&s->stdio.typed);
        source_close(&s->loop, source);
        rearm_all(s, &s->stdio);
    } else {
        input_flush(s, &s->stdio);
    }
}

static void terminal_speaks(struct supervisor *s, struct source *source, uint32_t events)
{
    struct stdio *stdio = HOLDER(source, struct stdio, terminal);
    if (events & EPOLLOUT)
        input_flush(s, stdio);
    if (source->fd < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    ssize_t n = take_output(s, stdio, source, 0);
    if (n == 0 || (n < 0 && n != -EAGAIN))
        source_change(&s->loop, source, 0); /* kept open: closing it would hang up a later user */
}

int terminal_begin(struct supervisor *s, struct stdio *stdio, int master_fd)
{
    fcntl(master_fd, F_SETFL, O_RDWR | O_NONBLOCK);
    stdio->peer_fd = ioctl(master_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    int r = source_watch(&s->loop, &stdio->terminal, master_fd, EPOLLIN, terminal_speaks);
    if (r == 0 && stdio->rows)
        stdio_resize(stdio, stdio->rows, stdio->columns);
    return r;
}

int stdio_resize(struct stdio *stdio, uint16_t rows, uint16_t columns)
{
    struct winsize size = {.ws_row = rows, .ws_col = columns};
    stdio->rows = rows;
    stdio->columns = columns;
    return stdio->terminal.fd >= 0 && ioctl(stdio->terminal.fd, TIOCSWINSZ, &size) == 0 ? 0
                                                                                        : -ENOTTY;
}

static int output_pipe(struct supervisor *s, struct source *source, int *ret_write_fd,
                       void (*on_event)(struct supervisor *s, struct source *source,
                                        uint32_t events))
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES); /* smaller is slower, not wrong */
    *ret_write_fd = ends[1];
    return source_watch(&s->loop, source, ends[0], EPOLLIN, on_event);
}

/* Without -i its input is at its end from the start. */
static int input_pipe(struct supervisor *s, int *ret_read_fd)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    *ret_read_fd = ends[0];
    if (!s->plan->stdin_open) {
        close(ends[1]);
        return 0;
    }
    fcntl(ends[1], F_SETFL, O_WRONLY | O_NONBLOCK);
    return source_watch(&s->loop, &s->stdio.in, ends[1], EPOLLERR, stdin_ready);
}

int output_begin(struct supervisor *s, int ret_stdio[3], struct berth_error *err)
{
    s->stdio.close_in = false;
    if (s->plan->tty)
        return 0;
    int r = input_pipe(s, &ret_stdio[0]);
    if (r == 0)
        r = output_pipe(s, &s->stdio.out[0], &ret_stdio[1], stdout_speaks);
    if (r == 0)
        r = output_pipe(s, &s->stdio.out[1], &ret_stdio[2], stderr_speaks);
    rearm_all(s, &s->stdio);
    return r < 0 ? fail_os(err, r, s->name, "make the pipes of %s", s->name) : 0;
}

void stdio_close(struct supervisor *s, struct stdio *stdio)
{
    for (size_t i = 0; i < ARRAY_SIZE(stdio->out); i++)
        source_close(&s->loop, &stdio->out[i]);
    source_close(&s->loop, &stdio->terminal);
    close_fd(&stdio->peer_fd);
    source_close(&s->loop, &stdio->in);
    backlog_free(&stdio->typed);
    backlog_free(&stdio->early);
}

/*
 * Everybody who could write has been killed, so the pipes get no fuller; the bound is for one who
 * could not be (stuck in the kernel).
 */
static void drain(struct supervisor *s, struct stdio *stdio, struct source *source, int index)
{
    size_t taken = 0;
    ssize_t n;
    while (source->fd >= 0 && taken < 4 * PIPE_BYTES &&
           (n = take_output(s, stdio, source, index)) > 0)
        taken += (size_t)n;
}

void terminal_end(struct supervisor *s, struct stdio *stdio)
{
    drain(s, stdio, &stdio->terminal, 0);
}

void output_end(struct supervisor *s)
{
    drain(s, &s->stdio, &s->stdio.out[0], 0);
    drain(s, &s->stdio, &s->stdio.out[1], 1);
    drain(s, &s->stdio, &s->stdio.terminal, 0);
    stdio_close(s, &s->stdio);
}

int output_open(struct supervisor *s, struct berth_error *err)
{
    if (s->plan->log.none)
        return 0;
    return log_writer_open(s->workload_fd, s->plan->log.max_size_bytes, s->plan->log.max_files,
                           &s->log, err);
}

void output_close(struct supervisor *s)
{
    timer_clear(&s->loop, &s->log_timer);
    log_writer_close(TAKE(s->log));
    source_close(&s->loop, &s->sink);
    close_fd(&s->sink_fd);
}

/* ---- the sink ---------------------------------------------------------------------------------
 */

static void sink_speaks(struct supervisor *s, struct source *source, uint32_t events)
{
    char piece[PIECE_BYTES];
    (void)!read(source->fd, piece, sizeof(piece));
}

int output_sink(struct supervisor *s)
{
    if (s->sink_fd < 0) {
        int r = output_pipe(s, &s->sink, &s->sink_fd, sink_speaks);
        if (r < 0) {
            close_fd(&s->sink_fd);
            return r;
        }
    }
    int fd = fcntl(s->sink_fd, F_DUPFD_CLOEXEC, 3);
    return fd < 0 ? -errno : fd;
}
