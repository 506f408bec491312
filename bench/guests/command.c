/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command of bench/wasm: says "x"; with a number, computes so many million rounds first.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/** Arithmetic, a table that does not fit into the first cache, and branches that nobody foresees. */
static uint32_t compute(uint64_t rounds)
{
    static uint32_t table[1 << 16];
    uint32_t x = 2463534242u;
    for (uint64_t i = 0; i < rounds; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        table[x & 0xffff] += x & 1 ? (uint32_t)i : table[x >> 16];
    }
    return table[x & 0xffff];
}

int main(int argc, char **argv)
{
    if (argc > 1)
        printf("%u\n", compute(strtoull(argv[1], NULL, 10) * 1000000));
    return write(1, "x\n", 2) == 2 ? 0 : 1;
}
