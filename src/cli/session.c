/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Our terminal or pipes and a workload's, joined until one of them ends.
 *
 * One poll loop serves run, attach and exec. It never blocks on one direction: a program that does
 * not read its input still gets its output shown, and its signals passed on.
 */
#include "cli.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, KEYS_MAX = 16 };
enum { AT_CALL, AT_LOGS, AT_OUT, AT_ERR, AT_STDIN, AT_INPUT, AT_SIGNALS, AT_WAIT, AT_COUNT };

struct relay {
    struct session *s;
    struct frames frames;
    struct pollfd fds[AT_COUNT];
    char *input;                 /* from stdin, on its way to the program */
    size_t input_start, input_end;
    bool input_over;             /* nothing more comes from stdin */
    unsigned char keys[KEYS_MAX];
    int n_keys, matched;
    bool call_done, wait_done;
    int signals_seen;
    struct termios saved;
    bool raw;
    sigset_t old_mask;
};

void terminal_size(uint16_t *ret_rows, uint16_t *ret_columns)
{
    struct winsize size = {0};
    if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) < 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0)
        size = (struct winsize){0};
    *ret_rows = size.ws_row;
    *ret_columns = size.ws_col;
}

int detach_keys_parse(const char *text, unsigned char *ret_keys, size_t room)
{
    size_t n = 0;
    for (const char *p = text; *p;) {
        size_t length = strcspn(p, ",");
        if (n == room)
            return -1;
        if (length == 1)
            ret_keys[n++] = (unsigned char)*p;
        else if (length == 6 && starts_with(p, "ctrl-") && (isalpha((unsigned char)p[5]) || strchr("@[\\]^_", p[5])))
            ret_keys[n++] = (unsigned char)(toupper((unsigned char)p[5]) & 0x1f);
        else
            return -1;
        p += length + (p[length] == ',');
    }
    return (int)n;
}

/* ---- setting up and putting back ---------------------------------------------------------------- */

static const int passed_on[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT};

static void open_signals(struct relay *r)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(passed_on); i++)
        sigaddset(&set, passed_on[i]);
    sigprocmask(SIG_BLOCK, &set, &r->old_mask);
    signal(SIGPIPE, SIG_IGN);
    r->fds[AT_SIGNALS] = (struct pollfd){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN};
}

static void make_raw(struct relay *r)
{
    if (!r->s->tty || !r->s->input || tcgetattr(STDIN_FILENO, &r->saved) < 0)
        return;
    struct termios raw = r->saved;
    cfmakeraw(&raw);
    r->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

static void set_nonblocking(int fd)
{
    int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void open_relay(struct relay *r)
{
    struct session *s = r->s;
    for (size_t i = 0; i < AT_COUNT; i++)
        r->fds[i] = (struct pollfd){.fd = -1};
    open_signals(r);
    make_raw(r);
    if (s->logs)
        r->fds[AT_LOGS] = (struct pollfd){.fd = berth_stream_fd(s->logs), .events = POLLIN};
    if (s->wait)
        r->fds[AT_WAIT] = (struct pollfd){.fd = berth_call_fd(s->wait), .events = POLLIN};
    r->wait_done = !s->wait;
    r->call_done = !s->call;
    r->input_over = !s->input;
    if (!s->call)
        return;
    r->fds[AT_CALL] = (struct pollfd){.fd = berth_call_fd(s->call), .events = POLLIN};
    r->fds[AT_OUT] = (struct pollfd){.fd = berth_call_stream_fd(s->call, 1), .events = POLLIN};
    r->fds[AT_ERR] = (struct pollfd){.fd = berth_call_stream_fd(s->call, 2), .events = POLLIN};
    r->fds[AT_INPUT].fd = s->input ? berth_call_stream_fd(s->call, 0) : -1;
    for (int i = AT_OUT; i <= AT_ERR; i++)
        set_nonblocking(r->fds[i].fd);
    set_nonblocking(r->fds[AT_INPUT].fd);
    r->input_over |= r->fds[AT_INPUT].fd < 0;
    if (s->detach_keys && s->tty)
        r->n_keys = detach_keys_parse(s->detach_keys, r->keys, KEYS_MAX);
    r->input = memory_new(CHUNK + KEYS_MAX);
}

static void close_relay(struct relay *r)
{
    if (r->raw)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &r->saved);
    if (r->fds[AT_SIGNALS].fd >= 0)
        close(r->fds[AT_SIGNALS].fd);
    sigprocmask(SIG_SETMASK, &r->old_mask, NULL);
    signal(SIGPIPE, SIG_DFL);
    frames_free(&r->frames);
    free(r->input);
}

/* ---- input -------------------------------------------------------------------------------------- */

/* Take the detach keys out of what was typed. True when they were all there. */
static bool filter_keys(struct relay *r, const unsigned char *typed, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (r->n_keys > 0 && typed[i] == r->keys[r->matched]) {
            if (++r->matched == r->n_keys)
                return true;
            continue;
        }
        memcpy(r->input + r->input_end, r->keys, (size_t)r->matched);
        r->input_end += (size_t)r->matched;
        r->matched = r->n_keys > 0 && typed[i] == r->keys[0];
        if (!r->matched)
            r->input[r->input_end++] = (char)typed[i];
    }
    return false;
}

static void end_input(struct relay *r)
{
    r->input_over = true;
    if (r->input_start != r->input_end)
        return; /* what is left goes first */
    r->fds[AT_INPUT].fd = -1;
    if (r->s->call && !r->call_done)
        berth_call_close_stdin(r->s->call);
}

static void read_stdin(struct relay *r)
{
    unsigned char typed[4096];
    ssize_t n = read(STDIN_FILENO, typed, sizeof(typed));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        end_input(r);
    else if (filter_keys(r, typed, (size_t)n))
        r->s->detached = true;
}

static void write_input(struct relay *r)
{
    if (r->fds[AT_INPUT].revents & (POLLERR | POLLHUP | POLLNVAL)) { /* it closed its input */
        r->input_over = true;
        r->fds[AT_INPUT].fd = -1;
        return;
    }
    ssize_t n = write(r->fds[AT_INPUT].fd, r->input + r->input_start, r->input_end - r->input_start);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        r->input_start = r->input_end = 0;
        end_input(r);
        return;
    }
    r->input_start += (size_t)n;
    if (r->input_start == r->input_end) {
        r->input_start = r->input_end = 0;
        if (r->input_over)
            end_input(r);
    }
}

/* ---- output ------------------------------------------------------------------------------------- */

static int copy_output(struct relay *r, int at)
{
    char buffer[CHUNK];
    ssize_t n = read(r->fds[at].fd, buffer, sizeof(buffer));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 1;
    if (n <= 0) { /* EIO is how a terminal says that the other side has gone */
        r->fds[at].fd = -1;
        return 0;
    }
    if (r->s->drop_output)
        return 1;
    int w = write_all(at == AT_ERR ? STDERR_FILENO : STDOUT_FILENO, buffer, (size_t)n);
    return w < 0 ? w : 1;
}

/* The program is over: what its pipes still hold, without waiting for whoever kept them open. */
static int drain(struct relay *r)
{
    for (int at = AT_OUT; at <= AT_ERR; at++)
        while (r->fds[at].fd >= 0) {
            struct pollfd now = {.fd = r->fds[at].fd, .events = POLLIN};
            if (poll(&now, 1, 0) <= 0)
                break;
            int w = copy_output(r, at);
            if (w < 0)
                return w;
        }
    return 0;
}

static void fail_output(struct relay *r, int error)
{
    close_relay(r);
    if (error == -EPIPE)
        end_by_pipe();
    r->s->err = (struct berth_error){.code = BERTH_IO, .os_error = -error};
    snprintf(r->s->err.message, sizeof(r->s->err.message), "standard output: %s", strerror(-error));
}

/* ---- signals ------------------------------------------------------------------------------------ */

static void resize(struct relay *r)
{
    uint16_t rows, columns;
    terminal_size(&rows, &columns);
    if (r->s->tty && r->s->call && !r->call_done && rows)
        berth_call_resize(r->s->call, rows, columns, NULL);
}

static void take_signal(struct relay *r)
{
    struct signalfd_siginfo info;
    if (read(r->fds[AT_SIGNALS].fd, &info, sizeof(info)) != sizeof(info))
        return;
    int signal = (int)info.ssi_signo;
    if (signal == SIGWINCH) {
        resize(r);
        return;
    }
    bool ends = signal == SIGINT || signal == SIGTERM || signal == SIGHUP || signal == SIGQUIT;
    /* whoever sends a third one wants this command gone, whatever the workload thinks of it */
    if (ends && (!r->s->proxy_signals || ++r->signals_seen >= 3)) {
        r->s->ended_by = signal;
        return;
    }
    if (r->s->signals_to_call && !r->call_done)
        berth_call_signal(r->s->call, signal, NULL);
    else if (r->s->proxy_signals)
        berth_signal(r->s->runtime, r->s->handle, signal, NULL);
}

/* ---- the loop ----------------------------------------------------------------------------------- */

static void finish_call(struct relay *r)
{
    struct session *s = r->s;
    s->call_code = berth_call_finish(s->call, &s->call_result, &s->err);
    if (s->call_code == BERTH_AGAIN)
        return;
    r->call_done = r->input_over = true;
    r->fds[AT_CALL].fd = r->fds[AT_INPUT].fd = -1;
}

static void finish_wait(struct relay *r)
{
    struct session *s = r->s;
    s->wait_code = berth_call_finish(s->wait, &s->wait_result, &s->err);
    if (s->wait_code == BERTH_AGAIN)
        return;
    r->wait_done = true;
    r->fds[AT_WAIT].fd = -1;
}

static bool is_over(const struct relay *r)
{
    const struct session *s = r->s;
    if (s->detached || s->ended_by)
        return true;
    if (s->whole_output && (r->fds[AT_OUT].fd >= 0 || r->fds[AT_ERR].fd >= 0))
        return false;
    return s->wait ? r->wait_done && r->fds[AT_LOGS].fd < 0 : r->call_done && r->fds[AT_LOGS].fd < 0;
}

static int step(struct relay *r)
{
    int w = 1;
    if (r->fds[AT_LOGS].revents) {
        w = frames_read(&r->frames, r->fds[AT_LOGS].fd);
        if (w == 0)
            r->fds[AT_LOGS].fd = -1;
    }
    for (int at = AT_OUT; w >= 0 && at <= AT_ERR; at++)
        if (r->fds[at].revents)
            w = copy_output(r, at);
    if (w < 0)
        return w;
    if (r->fds[AT_STDIN].revents)
        read_stdin(r);
    if (r->fds[AT_INPUT].revents)
        write_input(r);
    if (r->fds[AT_SIGNALS].revents)
        take_signal(r);
    if (r->fds[AT_CALL].revents)
        finish_call(r);
    if (r->fds[AT_WAIT].revents)
        finish_wait(r);
    return 0;
}

static int loop(struct relay *r)
{
    if (!r->call_done)
        finish_call(r);
    if (!r->wait_done)
        finish_wait(r);
    while (!is_over(r)) {
        bool pending = r->input_end > r->input_start;
        r->fds[AT_INPUT].events = pending ? POLLOUT : 0;
        bool room = !r->input_over && r->input_end + 4096 + KEYS_MAX < CHUNK;
        r->fds[AT_STDIN] = (struct pollfd){.fd = room ? STDIN_FILENO : -1, .events = POLLIN};
        bool blind = (!r->call_done && r->fds[AT_CALL].fd < 0) || (!r->wait_done && r->fds[AT_WAIT].fd < 0);
        int ready = poll(r->fds, AT_COUNT, cli_patience_msec(r->s->cli, blind));
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready == 0 && (!blind || cli_deadline_passed(r->s->cli)))
            return -ETIMEDOUT;
        int w = ready > 0 ? step(r) : 0;
        if (blind && !r->call_done)
            finish_call(r);
        if (blind && !r->wait_done)
            finish_wait(r);
        if (w < 0)
            return w;
    }
    return drain(r);
}

int session_run(struct session *s)
{
    struct relay r = {.s = s};
    s->call_code = s->wait_code = BERTH_AGAIN;
    open_relay(&r);
    int error = loop(&r);
    if (error == -ETIMEDOUT) {
        close_relay(&r);
        s->err = (struct berth_error){.code = BERTH_TIMED_OUT, .message = "the --deadline passed"};
        return BERTH_TIMED_OUT;
    }
    if (error < 0) {
        fail_output(&r, error);
        return s->err.code;
    }
    close_relay(&r);
    return 0;
}
