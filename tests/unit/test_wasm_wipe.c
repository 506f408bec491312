/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the worker does instead of memset: the bytes that were asked for, and no other.
 */
#include "unit.h"

#include <stdlib.h>

void *__wrap_memset(void *at, int byte, size_t n);
void *__real_memset(void *at, int byte, size_t n);

/* No program is linked with --wrap here. */
void *__real_memset(void *at, int byte, size_t n)
{
    return memset(at, byte, n);
}

enum { ROOM = 256 << 10, BEGIN = 4096 };

/** `n` bytes from `at` are set among others that all are 0xff, or zero but for the one at `mark`. */
static void check(size_t at, size_t n, int byte, size_t mark)
{
    unsigned char *room = aligned_alloc(4096, ROOM);
    assert_non_null(room);
    int other = mark ? 0 : 0xff;
    memset(room, other, ROOM);
    room[at - 1] = room[at + n] = 0xee;
    if (mark)
        room[mark] = 1;
    assert_ptr_equal(__wrap_memset(room + at, byte, n), room + at);
    assert_int_equal(room[at - 1], 0xee);
    assert_int_equal(room[at + n], 0xee);
    for (size_t i = at; i < at + n; i++)
        assert_int_equal(room[i], byte);
    free(room);
}

static void every_length_and_place(void **state)
{
    static const size_t sizes[] = {1, 100, 32767, 32768, 32769, 33791, 33792, 65536, 131072, 131072 + 1023};
    static const size_t places[] = {BEGIN, BEGIN + 32, BEGIN + 1, BEGIN + 31};
    for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
        for (size_t j = 0; j < ARRAY_SIZE(places); j++) {
            check(places[j], sizes[i], 0, 0);
            check(places[j], sizes[i], 7, 0);
        }
}

/* One byte is enough to be found, wherever it is in a piece. */
static void one_byte_anywhere(void **state)
{
    for (size_t i = 0; i < 2048; i++)
        check(BEGIN, 65536, 0, BEGIN + i * 31 % 65536);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_length_and_place), cmocka_unit_test(one_byte_anywhere)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
