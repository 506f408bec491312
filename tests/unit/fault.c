/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc(3) of a test program: counts, and fails when told to.
 */
#include "fault.h"
#include "unit.h"

#include <stdio.h>

#if FAULT_AVAILABLE
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);
extern void __libc_free(void *p);

static _Thread_local size_t countdown; /* 0: allocations work */
static _Thread_local long live;

/* seen by shared libraries too */
#pragma GCC visibility push(default)

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t size)
{
    void *p = fails() ? NULL : __libc_malloc(size);
    live += p != NULL;
    return p;
}

void *calloc(size_t n, size_t size)
{
    void *p = fails() ? NULL : __libc_calloc(n, size);
    live += p != NULL;
    return p;
}

void *realloc(void *old, size_t size)
{
    void *p = fails() ? NULL : __libc_realloc(old, size);
    live += old == NULL && p != NULL;
    return p;
}

void free(void *p)
{
    live -= p != NULL;
    __libc_free(p);
}

#pragma GCC visibility pop

size_t fault_loop(int (*step)(void *data), void *data)
{
    step(data); /* what libraries keep for ever is made now */
    for (size_t n = 1;; n++) {
        long before = live;
        countdown = n;
        int r = step(data);
        bool hit = countdown == 0;
        countdown = 0;
        if (live != before || (hit ? r != 0 && r != -1 : r != 0))
            print_error("allocation %zu failing: step returned %d and left %ld blocks\n", n, r,
                        live - before);
        assert_int_equal(live, before);
        assert_true(r == 0 || (hit && r == -1));
        if (!hit)
            return n - 1;
    }
}
#else
size_t fault_loop(int (*step)(void *data), void *data)
{
    assert_int_equal(step(data), 0);
    return 1;
}
#endif
