/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CA bundles: what is handed on is never longer than its text, and as much as is said.
 */
#include "fuzz.h"
#include "base/base.h"
#include "model/roots.h"

struct sum { size_t bytes; int n; };

static void add(void *to, const uint8_t *der, size_t length)
{
    struct sum *sum = to;
    sum->bytes += length + der[length - 1] * 0u;
    sum->n++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sum sum = {0};
    autofree char *text = malloc(size + 1);
    MUST(text);
    memcpy(text, data, size);
    int n = roots_parse(text, size, add, &sum);
    MUST(n < 0 || n == sum.n);
    MUST(sum.bytes <= size);
    return 0;
}
