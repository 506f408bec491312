/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The small service of bench/wasm: "hello" to each request; of "/spin" it computes first.
 *
 * Compiled without a library and put into the component of tests/wasm/http.wat in place of the module there, whose
 * imports these are (bench/wasm says how). The libc module's allocator has memory below 64 KiB, this module what is above.
 */
#include <stdint.h>

#define HOST(name) __attribute__((import_module("host"), import_name(name)))

/** What a result or an option looks like in memory. */
struct lowered { uint32_t tag, value, length; };

HOST("fields") uint32_t new_fields(void);
HOST("path") void path_of(uint32_t request, struct lowered *ret);
HOST("response") uint32_t new_response(uint32_t fields);
HOST("body") void body_of(uint32_t response, struct lowered *ret);
HOST("set") void set_response(uint32_t out, uint32_t failed, uint32_t response, uint32_t a, uint64_t b, uint32_t c, uint32_t d,
                              uint32_t e, uint32_t f);
HOST("write") void stream_of(uint32_t body, struct lowered *ret);
HOST("put") void put(uint32_t stream, const char *text, uint32_t length, struct lowered *ret);
HOST("drop-stream") void drop_stream(uint32_t stream);
HOST("finish") void finish(uint32_t body, uint32_t has_trailers, uint32_t trailers, struct lowered *ret);

static const char text[] = "hello from a fresh instance\n";

/** "/spinNNN": so many million rounds. */
static uint32_t millions(const char *path, uint32_t length)
{
    uint32_t n = 0;
    for (uint32_t i = 5; i < length && path[i] >= '0' && path[i] <= '9'; i++)
        n = n * 10 + (uint32_t)(path[i] - '0');
    return n;
}

static void spin(uint32_t n)
{
    volatile uint32_t sum = 0;
    for (uint64_t i = 0; i < n * 1000000ull; i++)
        sum = sum * 1664525u + 1013904223u;
}

__attribute__((export_name("handle"))) void handle(uint32_t request, uint32_t out)
{
    struct lowered r = {0};
    path_of(request, &r);
    if ((r.tag & 0xff) && r.length > 5)
        spin(millions((const char *)(uintptr_t)r.value, r.length));
    uint32_t response = new_response(new_fields());
    body_of(response, &r);
    uint32_t body = r.value;
    set_response(out, 0, response, 0, 0, 0, 0, 0, 0);
    stream_of(body, &r);
    uint32_t stream = r.value;
    put(stream, text, sizeof(text) - 1, &r);
    drop_stream(stream);
    finish(body, 0, 0, &r);
}

/** What else the component exports. */
__attribute__((export_name("ping"))) uint32_t ping(void)
{
    return 7;
}
