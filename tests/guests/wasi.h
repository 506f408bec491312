/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preview 2 by hand, for guests in C: imports as the canonical ABI lowers them, what comes back as structs.
 *
 * Debian's wasi-libc knows preview 1 alone, which has neither sockets nor HTTP. WASI is the version of the WIT that
 * tests/guests/make embeds.
 */
#ifndef GUESTS_WASI_H
#define GUESTS_WASI_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(interface, name) __attribute__((import_module(interface "@" WASI), import_name(name)))
#define EXPORT(interface, name) __attribute__((export_name(interface "@" WASI "#" name)))

/** To be called first. Where nobody names it, the linker lets every export begin and end the program, this one below too. */
void __wasm_call_ctors(void);

/** Where the host puts lists. */
__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t had, size_t align, size_t size)
{
    return realloc(old, size);
}

struct list { uint8_t *data; size_t n; };

/* ---- results: `failed` first, then a handle or what was wrong */

struct done { uint8_t failed, code; };
struct made { uint8_t failed; union { int32_t handle; uint8_t code; }; };
struct pair { uint8_t failed; union { int32_t handles[3]; uint8_t code; }; };
struct chunk { uint8_t failed; union { struct list list; struct { uint8_t kind; int32_t error; } why; }; };
struct text { uint8_t some; struct list list; };

/* ---- wasi:io */

IMPORT("wasi:io/poll", "[method]pollable.block") void pollable_block(int32_t);
IMPORT("wasi:io/poll", "[resource-drop]pollable") void pollable_drop(int32_t);
IMPORT("wasi:io/streams", "[method]input-stream.blocking-read") void stream_read(int32_t, uint64_t, struct chunk *);
IMPORT("wasi:io/streams", "[resource-drop]input-stream") void input_drop(int32_t);
IMPORT("wasi:io/streams", "[method]output-stream.blocking-write-and-flush")
void stream_write(int32_t, const void *, size_t, struct chunk *);
IMPORT("wasi:io/streams", "[resource-drop]output-stream") void output_drop(int32_t);
IMPORT("wasi:io/error", "[resource-drop]error") void error_drop(int32_t);

static inline void wait_for(int32_t pollable)
{
    pollable_block(pollable);
    pollable_drop(pollable);
}

/** The next bytes, malloc'ed; n = 0 at the end, whichever end it is. */
static inline struct list next_bytes(int32_t input)
{
    struct chunk c;
    do
        stream_read(input, 65536, &c);
    while (!c.failed && c.list.n == 0);
    if (c.failed && c.why.kind == 0)
        error_drop(c.why.error);
    return c.failed ? (struct list){0} : c.list;
}

/** 4096 bytes at a time is what the interface takes. */
static inline bool write_all(int32_t output, const void *data, size_t n)
{
    struct chunk c = {0};
    for (size_t at = 0; at < n && !c.failed; at += 4096)
        stream_write(output, (const char *)data + at, n - at < 4096 ? n - at : 4096, &c);
    if (c.failed && c.why.kind == 0)
        error_drop(c.why.error);
    return !c.failed;
}

/* ---- wasi:http: what both directions have */

IMPORT("wasi:http/types", "[constructor]fields") int32_t fields_new(void);
IMPORT("wasi:http/types", "[constructor]outgoing-request") int32_t request_new(int32_t);
IMPORT("wasi:http/types", "[method]outgoing-request.set-method") int32_t request_set_method(int32_t, int32_t, const char *, size_t);
IMPORT("wasi:http/types", "[method]outgoing-request.set-path-with-query")
int32_t request_set_path(int32_t, int32_t, const char *, size_t);
IMPORT("wasi:http/types", "[method]outgoing-request.set-scheme")
int32_t request_set_scheme(int32_t, int32_t, int32_t, const char *, size_t);
IMPORT("wasi:http/types", "[method]outgoing-request.set-authority")
int32_t request_set_authority(int32_t, int32_t, const char *, size_t);
IMPORT("wasi:http/types", "[method]outgoing-request.body") void request_body(int32_t, struct made *);
IMPORT("wasi:http/types", "[method]outgoing-body.write") void body_write(int32_t, struct made *);
IMPORT("wasi:http/types", "[static]outgoing-body.finish") void body_finish(int32_t, int32_t, int32_t, void *);
IMPORT("wasi:http/outgoing-handler", "handle") void http_send(int32_t, int32_t, int32_t, void *);
IMPORT("wasi:http/types", "[method]future-incoming-response.subscribe") int32_t future_subscribe(int32_t);
IMPORT("wasi:http/types", "[method]future-incoming-response.get") void future_get(int32_t, void *);
IMPORT("wasi:http/types", "[resource-drop]future-incoming-response") void future_drop(int32_t);
IMPORT("wasi:http/types", "[method]incoming-response.status") int32_t response_status(int32_t);
IMPORT("wasi:http/types", "[method]incoming-response.consume") void response_consume(int32_t, struct made *);
IMPORT("wasi:http/types", "[resource-drop]incoming-response") void response_drop(int32_t);
IMPORT("wasi:http/types", "[method]incoming-body.stream") void body_stream(int32_t, struct made *);
IMPORT("wasi:http/types", "[resource-drop]incoming-body") void body_drop(int32_t);

static const char *const http_errors[] = {
    "DNS-timeout", "DNS-error", "destination-not-found", "destination-unavailable", "destination-IP-prohibited",
    "destination-IP-unroutable", "connection-refused", "connection-terminated", "connection-timeout", "connection-read-timeout",
    "connection-write-timeout", "connection-limit-reached", "TLS-protocol-error", "TLS-certificate-error", "TLS-alert-received",
    "HTTP-request-denied", "HTTP-request-length-required", "HTTP-request-body-size", "HTTP-request-method-invalid",
    "HTTP-request-URI-invalid", "HTTP-request-URI-too-long", "HTTP-request-header-section-size", "HTTP-request-header-size",
    "HTTP-request-trailer-section-size", "HTTP-request-trailer-size", "HTTP-response-incomplete",
    "HTTP-response-header-section-size", "HTTP-response-header-size", "HTTP-response-body-size",
    "HTTP-response-trailer-section-size", "HTTP-response-trailer-size", "HTTP-response-transfer-coding",
    "HTTP-response-content-coding", "HTTP-response-timeout", "HTTP-upgrade-failed", "HTTP-protocol-error", "loop-detected",
    "configuration-error", "internal-error",
};

/* An error-code is aligned to 8; each result around it adds 8. */
union answer { uint8_t bytes[64]; int32_t words[16]; uint64_t align; };

struct got {
    const char *error;             /* NULL: there is an answer */
    int32_t status, response, body, input;
};

static inline void http_close(struct got *g)
{
    input_drop(g->input);
    body_drop(g->body);
    response_drop(g->response);
}

/** Send a GET, or with `text` a POST of it, to http[s]://AUTHORITY[/PATH]; wait for the head of the answer. */
static inline struct got http_get(const char *url, const char *text)
{
    bool tls = strncmp(url, "https://", 8) == 0;
    const char *authority = strstr(url, "://") + 3, *path = authority + strcspn(authority, "/");
    int32_t request = request_new(fields_new());
    union answer a = {0};
    struct made m = {0}, to = {0};
    request_set_method(request, text ? 2 : 0, NULL, 0);
    request_set_scheme(request, 1, tls, NULL, 0);
    request_set_authority(request, 1, authority, (size_t)(path - authority));
    request_set_path(request, 1, *path ? path : "/", *path ? strlen(path) : 1);
    if (text) {
        request_body(request, &m);
        body_write(m.handle, &to);
    }
    http_send(request, 0, 0, &a);
    if (a.bytes[0])
        return (struct got){.error = http_errors[a.bytes[8]]};
    int32_t future = a.words[2];
    if (text) {
        write_all(to.handle, text, strlen(text));
        output_drop(to.handle);
        body_finish(m.handle, 0, 0, &a);
    }
    wait_for(future_subscribe(future));
    future_get(future, &a);
    future_drop(future);
    if (a.bytes[16])
        return (struct got){.error = http_errors[a.bytes[24]]};
    struct got g = {.response = a.words[6], .status = response_status(a.words[6])};
    response_consume(g.response, &m);
    g.body = m.handle;
    body_stream(g.body, &m);
    g.input = m.handle;
    return g;
}

#endif
