/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A wasi:http component in C that is a client as well: "/fetch/HOST:PORT/PATH" answers with what http://HOST:PORT/PATH answers,
 * or 502 and the error's name; any other path says hello. Nothing of preview 1 is in it.
 */
#include "wasi.h"

IMPORT("wasi:http/types", "[method]incoming-request.path-with-query") void request_path(int32_t, struct text *);
IMPORT("wasi:http/types", "[resource-drop]incoming-request") void request_drop(int32_t);
IMPORT("wasi:http/types", "[constructor]outgoing-response") int32_t answer_new(int32_t);
IMPORT("wasi:http/types", "[method]outgoing-response.set-status-code") int32_t answer_set_status(int32_t, int32_t);
IMPORT("wasi:http/types", "[method]outgoing-response.body") void answer_body(int32_t, struct made *);
IMPORT("wasi:http/types", "[static]response-outparam.set")
void answer_set(int32_t, int32_t, int32_t, int32_t, int64_t, int32_t, int32_t, int32_t, int32_t);

/** The stream of the body; `*ret_body` is to be finished. */
static int32_t begin(int32_t out, int32_t status, int32_t *ret_body)
{
    struct made body, to;
    int32_t answer = answer_new(fields_new());
    answer_set_status(answer, status);
    answer_body(answer, &body);
    answer_set(out, 0, answer, 0, 0, 0, 0, 0, 0);
    body_write(body.handle, &to);
    *ret_body = body.handle;
    return to.handle;
}

static void end(int32_t to, int32_t body)
{
    union answer a;
    output_drop(to);
    body_finish(body, 0, 0, &a);
}

static void answer(int32_t out, int32_t status, const char *text)
{
    int32_t body, to = begin(out, status, &body);
    write_all(to, text, strlen(text));
    write_all(to, "\n", 1);
    end(to, body);
}

static void fetch(int32_t out, const char *where)
{
    char url[512] = "http://";
    strncat(url, where, sizeof(url) - 8);
    struct got g = http_get(url, NULL);
    if (g.error) {
        answer(out, 502, g.error);
        return;
    }
    struct list l;
    int32_t body, to = begin(out, g.status, &body);
    while ((l = next_bytes(g.input)).n > 0) {
        write_all(to, l.data, l.n);
        free(l.data);
    }
    http_close(&g);
    end(to, body);
}

EXPORT("wasi:http/incoming-handler", "handle") void handle(int32_t request, int32_t out)
{
    struct text path;
    __wasm_call_ctors();
    request_path(request, &path);
    request_drop(request);
    char *text = path.some ? strndup((char *)path.list.data, path.list.n) : "/";
    if (strncmp(text, "/fetch/", 7) == 0)
        fetch(out, text + 7);
    else
        answer(out, 200, "hello from C");
}
