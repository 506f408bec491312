/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of a PEM file: whole ones are handed on, whatever stands between them; half ones are an error.
 */
#include "unit.h"

#include "model/roots.h"

#define BEGIN "-----BEGIN CERTIFICATE-----\n"
#define END "-----END CERTIFICATE-----\n"

static char seen[64];

static void add(void *to, const uint8_t *der, size_t length)
{
    assert_ptr_equal(to, seen);
    strncat(seen, (const char *)der, length);
    strncat(seen, ";", sizeof(seen) - strlen(seen) - 1);
}

static void certificates_are_handed_on_and_all_else_is_passed_over(void **state)
{
    (void)state;
    static const struct { const char *pem, *ders; int n; } rows[] = {
        {"", "", 0},
        {"no certificate at all\n", "", 0},
        {BEGIN "b25l\n" END, "one;", 1},
        {"# a comment\n" BEGIN "b2\r\n5l" END "between\n" BEGIN "dHdvIQ==\n" END, "one;two!;", 2},
        {"-----BEGIN PRIVATE KEY-----\nb25l\n-----END PRIVATE KEY-----\n", "", 0},
        {BEGIN "b25l\n", "", -EINVAL},
        {BEGIN "b25l\n" END BEGIN END, "one;", -EINVAL},
        {BEGIN "b2*l\n" END, "", -EINVAL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        seen[0] = 0;
        assert_int_equal(roots_parse(rows[i].pem, strlen(rows[i].pem), add, seen), rows[i].n);
        assert_string_equal(seen, rows[i].ders);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(certificates_are_handed_on_and_all_else_is_passed_over)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
