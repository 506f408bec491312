/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long work on images: results on standard output, progress on standard error.
 *
 * A terminal gets a line for each layer that moves, written over; anything else a line for each step,
 * not for each byte. --json: the objects as they come.
 */
#include "cli.h"
#include <berth/container.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define ROWS_MAX 24 /* more layers than these share one line */
#define BAR 24

struct row { char object[80]; char step[16]; double bytes, total; };

struct work {
    struct cli *cli;
    struct row *rows;
    size_t n_rows, drawn;
    char buffer[2][8192];
    size_t have[2];
};

/* ---- progress */

static struct row *row_of(struct work *w, const char *object, bool *ret_new)
{
    for (size_t i = 0; i < w->n_rows; i++)
        if (strcmp(w->rows[i].object, object) == 0)
            return &w->rows[i];
    struct row *rows = realloc(w->rows, (w->n_rows + 1) * sizeof(*rows));
    if (!rows)
        return NULL;
    w->rows = rows;
    rows[w->n_rows] = (struct row){0};
    snprintf(rows[w->n_rows].object, sizeof(rows->object), "%s", object);
    *ret_new = true;
    return &rows[w->n_rows++];
}

/* "sha256:0123456789ab..." is known by twelve digits; names stay. */
static const char *short_name(const char *object, char ret[64])
{
    bool digest = strncmp(object, "sha256:", 7) == 0;
    snprintf(ret, 64, digest ? "%.12s" : "%.48s", digest ? object + 7 : object);
    return ret;
}

static const char *step_words(const char *step)
{
    static const char *const words[][2] = {{"ask", "asking the registry for"}, {"wait", "waiting"}, {"here", "here already"}, {"there", "there already"}, {"send", "sending"},
        {"download", "downloading"}, {"unpack", "done"}, {"store", "storing"}, {"read", "reading"}, {"write", "writing"},
        {"fetch", "was pruned here, fetching it again"}, {"unfetched", "that did not come:"},
        {"unreachable", "the registry can't be asked, taking what is here:"}};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strcmp(step, words[i][0]) == 0)
            return words[i][1];
    return step;
}

static void print_row(const struct row *row)
{
    char name[64], done[SHORT_TEXT], total[SHORT_TEXT], bar[BAR + 1] = "";
    autofree char *plain = text_plain(short_name(row->object, name));
    if (row->total > 0 && strcmp(row->step, "download") == 0) {
        size_t n = (size_t)(row->bytes / row->total * BAR);
        for (size_t i = 0; i < BAR; i++)
            bar[i] = i < n ? '=' : ' ';
        fprintf(stderr, "%s [%s] %s of %s\033[K\n", plain, bar, human_size((uint64_t)row->bytes, done), human_size((uint64_t)row->total, total));
    } else {
        fprintf(stderr, "%s %s\033[K\n", plain, step_words(row->step));
    }
}

static void print_sum(const struct work *w)
{
    char done[SHORT_TEXT], total[SHORT_TEXT];
    double bytes = 0, all = 0;
    size_t ready = 0, layers = 0;
    for (size_t i = 0; i < w->n_rows; i++) {
        layers += strncmp(w->rows[i].object, "sha256:", 7) == 0;
        ready += strcmp(w->rows[i].step, "unpack") == 0 || strcmp(w->rows[i].step, "here") == 0;
        bytes += w->rows[i].bytes;
        all += w->rows[i].total;
    }
    fprintf(stderr, "%zu of %zu layers, %s of %s\033[K\n", ready, layers, human_size((uint64_t)bytes, done), human_size((uint64_t)all, total));
}

static void draw(struct work *w)
{
    if (w->drawn)
        fprintf(stderr, "\033[%zuA", w->drawn);
    w->drawn = w->n_rows > ROWS_MAX ? 1 : w->n_rows;
    if (w->n_rows > ROWS_MAX)
        print_sum(w);
    for (size_t i = 0; w->n_rows <= ROWS_MAX && i < w->n_rows; i++)
        print_row(&w->rows[i]);
}

/* {"step", "object", "bytes", "total_bytes"} */
static void show_progress(struct work *w, char *line)
{
    autojson json_t *json = json_loads(line, 0, NULL);
    bool is_new = false;
    if (!json)
        return;
    if (w->cli->json) {
        fprintf(stderr, "%s\n", line);
        return;
    }
    const char *step = json_text(json, "step");
    struct row *row = row_of(w, json_text(json, "object"), &is_new);
    if (!row)
        return;
    is_new |= strcmp(row->step, step) != 0;
    snprintf(row->step, sizeof(row->step), "%s", step);
    row->bytes = (double)json_number(json, "bytes");
    if (json_number(json, "total_bytes") > 0)
        row->total = (double)json_number(json, "total_bytes");
    if (err_is_terminal()) {
        draw(w);
    } else if (is_new) {
        char name[64], size[SHORT_TEXT] = "";
        autofree char *plain = text_plain(short_name(row->object, name));
        if (row->total > 0)
            human_size((uint64_t)row->total, size);
        fprintf(stderr, "%s %s%s%s\n", step_words(step), plain, *size ? " " : "", size);
    }
}

/* ---- results */

/* load, pull: {"reference", "id"}; verify: {"object", "detail"} of what is wrong, then the counts. */
static void show_result(struct work *w, char *line)
{
    autojson json_t *json = json_loads(line, 0, NULL);
    autofree char *detail = text_plain(json_text(json, "detail"));
    if (w->cli->json || !json)
        puts(line);
    else if (json_object_get(json, "detail"))
        printf("wrong: %s %s: %s\n", json_text(json, "kind"), json_text(json, "object"), detail);
    else if (json_object_get(json, "wrong"))
        printf("%lld blobs, %lld layers, %lld references checked, %lld wrong\n", (long long)json_number(json, "blobs"),
               (long long)json_number(json, "layers"), (long long)json_number(json, "references"), (long long)json_number(json, "wrong"));
    else
        printf("%s %s\n", json_text(json, "reference"),
               json_text(json, json_object_get(json, "digest") ? "digest" : "id"));
}

/* Lines that are whole go to `show`; a longer one than the buffer is dropped. False at the end. */
static bool read_lines(struct work *w, int which, int fd, void (*show)(struct work *, char *))
{
    char *buffer = w->buffer[which];
    ssize_t n = read(fd, buffer + w->have[which], sizeof(w->buffer[which]) - w->have[which]);
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    w->have[which] += (size_t)n;
    char *start = buffer, *newline;
    while ((newline = memchr(start, '\n', w->have[which] - (size_t)(start - buffer)))) {
        *newline = '\0';
        show(w, start);
        start = newline + 1;
    }
    w->have[which] -= (size_t)(start - buffer);
    memmove(buffer, start, w->have[which]);
    if (w->have[which] == sizeof(w->buffer[which]))
        w->have[which] = 0;
    return true;
}

/* Follow a long call to its end: results from stream 1, progress from stream 2. Frees the call. */
int work_run(struct cli *cli, struct berth_call *call, struct berth_result *ret_result, struct berth_error *err)
{
    struct work w = {.cli = cli};
    struct pollfd fds[] = {{.fd = berth_call_stream_fd(call, 1), .events = POLLIN},
                           {.fd = berth_call_stream_fd(call, 2), .events = POLLIN},
                           {.fd = berth_call_fd(call), .events = POLLIN},
                           {.fd = cli_interrupt_fd(), .events = POLLIN}};
    int r = berth_call_finish(call, ret_result, err);
    while (r == BERTH_AGAIN || fds[0].fd >= 0 || fds[1].fd >= 0) {
        bool blind = r == BERTH_AGAIN && fds[2].fd < 0;
        int ready = poll(fds, ARRAY_SIZE(fds), cli_patience_msec(cli, blind));
        if ((ready < 0 && errno != EINTR) || (ready == 0 && (!blind || cli_deadline_passed(cli))) || (fds[3].revents && cli_interrupted()))
            break;
        if (fds[0].revents && !read_lines(&w, 0, fds[0].fd, show_result))
            fds[0].fd = -1;
        if (fds[1].revents && !read_lines(&w, 1, fds[1].fd, show_progress))
            fds[1].fd = -1;
        if (blind || (r == BERTH_AGAIN && fds[2].revents))
            r = berth_call_finish(call, ret_result, err);
        if (r != BERTH_AGAIN)
            fds[2].fd = -1;
    }
    free(w.rows);
    if (r == BERTH_AGAIN) /* interrupted, or late */
        return cli_wait(cli, call, ret_result, err);
    berth_call_free(call);
    return r;
}
