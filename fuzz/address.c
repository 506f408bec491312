/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses and subnets: what is read prints back, and its first and last are inside.
 */
#include "fuzz.h"
#include "base/address.h"
#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    autofree char *s = strndup((const char *)data, size);
    char text[ADDRESS_TEXT_MAX];
    struct address a, b;
    if (address_parse(s, &a) == 0)
        MUST(address_parse(address_print(&a, text), &b) == 0 && address_equal(&a, &b));
    if (address_parse_subnet(s, &a) < 0)
        return 0;
    MUST(address_parse_subnet(address_print_subnet(&a, text), &b) == 0 && address_equal(&a, &b) && a.prefix == b.prefix);
    struct address first = address_first(&a), last = address_last(&a), half = address_subnet(&a, a.prefix + 1u, 1);
    MUST(address_in(&a, &first) && address_in(&a, &last) && address_compare(&first, &last) <= 0);
    MUST(address_index(&a, &first) == 0 && address_overlap(&a, &first));
    MUST(half.family == 0 || (address_overlap(&a, &half) && address_in(&a, &half)));
    MUST((half.family == 0) == (a.prefix == address_bits(&a)));
    return 0;
}
