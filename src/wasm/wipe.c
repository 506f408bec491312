/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instance leaves behind is wiped by writing zeros over its whole memory, of which it wrote a few pages: where zeros are
 * already it is quicker to look than to write. The engine has no other way in than the C library's memset, which the linker
 * sends here (--wrap=memset).
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** Below this the C library's own is as quick. */
#define LARGE (32u << 10)

#if defined(__x86_64__)
#define QUICKEST __attribute__((target_clones("avx2", "default")))
#else
#define QUICKEST
#endif

typedef uint64_t vector __attribute__((vector_size(32), may_alias));
struct piece { vector v[32]; };

void *__real_memset(void *at, int byte, size_t n);
void *__wrap_memset(void *at, int byte, size_t n);

/** Zeros in `n` pieces; what is zero is not written. */
QUICKEST static void wipe(struct piece *p, size_t n)
{
    for (const struct piece *end = p + n; p < end; p++) {
        vector a = p->v[0], b = p->v[1], c = p->v[2], d = p->v[3];
        for (unsigned i = 4; i < 32; i += 4) {
            a |= p->v[i];
            b |= p->v[i + 1];
            c |= p->v[i + 2];
            d |= p->v[i + 3];
        }
        a |= b | c | d;
        if (a[0] | a[1] | a[2] | a[3])
            __real_memset(p, 0, sizeof(*p));
    }
}

void *__wrap_memset(void *at, int byte, size_t n)
{
    if (byte != 0 || n < LARGE || (uintptr_t)at % sizeof(vector) != 0)
        return __real_memset(at, byte, n);
    size_t whole = n / sizeof(struct piece);
    wipe(at, whole);
    __real_memset((struct piece *)at + whole, 0, n % sizeof(struct piece));
    return at;
}
