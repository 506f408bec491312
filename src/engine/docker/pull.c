/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pull through the daemon. It answers 200 before it has done anything and tells failures in the stream
 * of its progress; so the end of that stream alone says how it went.
 */
#include "docker/pull.h"
#include "base/file.h"
#include "base/spawn.h"
#include "image/tool.h"
#include "model/json.h"
#include <fcntl.h>
#include <stdio.h>

#define LINE_MAX_BYTES (1u << 20)
#define LOGIN_MAX (64u << 10)

struct pull {
    char *image, *name, *tag, *platform;
    struct request request;
    struct text line;          /* of progress, not ended yet */
    int read_fd, write_fd;     /* progress for the caller */
    char *failure;             /* the daemon's words in the stream */
};

/* ---- progress */

static void pass_on(struct pull *p, json_t *line)
{
    autotext struct text t = {0};
    json_put_open(&t, NULL, '{');
    json_put_string(&t, "step", text_at(line, "status"));
    json_put_string(&t, "object", *text_at(line, "id") ? text_at(line, "id") : p->image);
    json_put_int(&t, "bytes", number_at(line, "progressDetail.current"));
    json_put_int(&t, "total_bytes", number_at(line, "progressDetail.total"));
    json_put_close(&t, '}');
    text_add(&t, "\n");
    if (!t.failed && write(p->write_fd, t.data, t.length) < 0)
        return; /* nobody reads it, or not fast enough: nobody has to */
}

static void take_line(struct pull *p, const char *text, size_t size)
{
    autoanswer line = json_loadb(text, size, JSON_ALLOW_NUL, NULL);
    const char *error = text_at(line, "error");
    if (*error && !p->failure)
        p->failure = strdup(error);
    if (line && *text_at(line, "status"))
        pass_on(p, line);
}

static int take_data(void *data, const char *bytes, size_t size)
{
    struct pull *p = data;
    while (size) {
        const char *newline = memchr(bytes, '\n', size);
        size_t n = newline ? (size_t)(newline - bytes) : size;
        if (p->line.length + n > LINE_MAX_BYTES)
            return -1;
        text_add_bytes(&p->line, bytes, n);
        if (newline) {
            if (p->line.length)
                take_line(p, p->line.data, p->line.length);
            p->line.length = 0;
            n++;
        }
        bytes += n;
        size -= n;
    }
    return p->line.failed ? -1 : 0;
}

/* ---- the login */

/** Header and end come in one pipe, a line each. */
static int take_login(char *text, const char *image, char **ret_header, struct berth_error *err)
{
    char *end = text + strcspn(text, "\n");
    autoanswer last = json_loads(*end ? (starts_with(text, "{") ? text : end + 1) : text, 0, NULL);
    const char *words = text_at(last, "error.message");
    if (*words)
        return fail(err, BERTH_DENIED, image, "pull %s: %.400s", image, words);
    if (!starts_with(text, "X-Registry-Auth: "))
        return 0; /* nobody logged in */
    *ret_header = strndup(text, (size_t)(end - text));
    return *ret_header ? 0 : fail_memory(err);
}

/** What berth-image knows of the user's logins, as the API's X-Registry-Auth has it; NULL for none. */
static int read_login(const struct docker *d, const char *image, char **ret_header, struct berth_error *err)
{
    int ends[2], pid_fd;
    pid_t pid;
    autofree char *program = format_text("%s/" IMAGE_TOOL_PROGRAM, d->programs), *text = NULL;
    const char *const argv[] = {IMAGE_TOOL_PROGRAM, "credentials", d->root, d->run, image, NULL};
    if (!program)
        return fail_memory(err);
    if (pipe2(ends, O_CLOEXEC) < 0)
        return fail_os(err, errno, NULL, "pipe");
    const int fds[IMAGE_TOOL_END_FD + 1] = {-1, ends[1], -1, [IMAGE_TOOL_END_FD] = ends[1]};
    extern char **environ; /* HOME and where docker and podman keep logins */
    int r = spawn(&(struct spawn){.path = program, .argv = argv, .env = (const char *const *)environ, .fds = fds,
                                  .n_fds = ARRAY_SIZE(fds), .session = true},
                  &pid, &pid_fd);
    close(ends[1]);
    if (r == 0) {
        r = fd_read_all(ends[0], LOGIN_MAX, &text, NULL);
        close(pid_fd);
    }
    close(ends[0]);
    return r < 0 ? fail_os(err, r, program, "ask %s for the login", program) : take_login(text, image, ret_header, err);
}

/* ---- the request */

static void split(struct pull *p, const char *image)
{
    const char *at_sign = strchr(image, '@'), *slash = strrchr(image, '/');
    const char *colon = strchr(slash ? slash : image, ':');
    size_t n = at_sign ? (size_t)(at_sign - image) : strlen(image);
    if (colon && colon < image + n)
        n = (size_t)(colon - image);
    p->name = strndup(image, n);
    p->tag = strdup(at_sign ? at_sign + 1 : colon ? colon + 1 : "latest");
}

int pull_new(const struct docker *d, const char *image, const char *platform, struct pull **ret, struct berth_error *err)
{
    struct pull *p = calloc(1, sizeof(*p));
    int ends[2];
    if (!p)
        return fail_memory(err);
    p->read_fd = p->write_fd = -1;
    p->image = strdup(image);
    p->platform = platform ? query_text(platform) : NULL;
    split(p, image);
    int r = !p->image || !p->name || !p->tag || (platform && !p->platform) ? fail_memory(err) : 0;
    if (r == 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        r = fail_os(err, errno, NULL, "pipe");
    if (r == 0) {
        p->read_fd = ends[0];
        p->write_fd = ends[1];
        r = read_login(d, image, &p->request.header, err);
    }
    if (r < 0)
        pull_free(p);
    else
        *ret = p;
    return r;
}

void pull_send(struct pull *p, struct channel *channel)
{
    autofree char *name = query_text(p->name), *tag = query_text(p->tag);
    p->request.method = "POST";
    p->request.path = name && tag ? format_text("/images/create?fromImage=%s&tag=%s%s%s", name, tag,
                                                p->platform ? "&platform=" : "", p->platform ? p->platform : "")
                                  : NULL;
    p->request.timeout_msec = -1;
    p->request.on_data = take_data;
    p->request.data = p;
    request_send(channel, &p->request);
}

static int code_of(const char *words)
{
    static const struct { const char *words; int code; } known[] = {
        {"not found", BERTH_NOT_FOUND},   {"manifest unknown", BERTH_NOT_FOUND}, {"does not exist", BERTH_NOT_FOUND},
        {"no such host", BERTH_NOT_FOUND},{"unauthorized", BERTH_DENIED},        {"denied", BERTH_DENIED},
        {"authentication required", BERTH_DENIED}, {"no basic auth", BERTH_DENIED}, {"no space left", BERTH_NO_SPACE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strcasestr(words, known[i].words))
            return known[i].code;
    return BERTH_IO;
}

int pull_end(struct pull *p, struct berth_error *err)
{
    if (!p->request.done)
        return 0;
    if (p->line.length) {
        take_line(p, p->line.data, p->line.length);
        p->line.length = 0;
    }
    close_fd(&p->write_fd);
    if (p->failure)
        return fail(err, code_of(p->failure), p->image, "pull %.200s: %.600s", p->image, p->failure);
    int r = answer_judge(&p->request, "pull", p->image, err);
    if (r == BERTH_IO || r == BERTH_INVALID) { /* podman says 500 to everything: its words say what it is */
        autofree char *words = answer_words(&p->request);
        int code = words ? code_of(words) : r;
        if (code != BERTH_IO && err)
            err->code = code;
        return code != BERTH_IO ? code : r;
    }
    return r < 0 ? r : 1;
}

int pull_progress_fd(const struct pull *p)
{
    return p->read_fd;
}

void pull_free(struct pull *p)
{
    if (!p)
        return;
    request_clear(&p->request);
    text_free(&p->line);
    close_fd(&p->read_fd);
    close_fd(&p->write_fd);
    free(p->failure);
    free(p->platform);
    free(p->image);
    free(p->name);
    free(p->tag);
    free(p);
}
