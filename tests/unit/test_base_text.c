/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buffers, lists, errors, UTF-8, near words, hex.
 */
#include "fault.h"
#include "unit.h"

#include "base/error.h"
#include "base/text.h"

#include <stdio.h>

static void text_grows(void **state)
{
    struct text t = {0};
    autofree char *expected = calloc(1, 10001), *got = NULL;
    for (int i = 0; i < 1000; i++) {
        text_add(&t, "0123");
        text_printf(&t, "%06d", 456789);
        memcpy(expected + 10 * i, "0123456789", 10);
    }
    assert_int_equal(t.length, 10000);
    got = text_take(&t);
    assert_string_equal(got, expected);
    assert_null(t.data);
    autofree char *empty = text_take(&t);
    assert_string_equal(empty, "");
    text_printf(&t, "%s", expected); /* longer than any room */
    assert_int_equal(t.length, 10000);
    text_free(&t);
}

static void lists_grow_and_copy(void **state)
{
    autostrings char **list = NULL;
    for (int i = 0; i < 100; i++) {
        char s[8];
        snprintf(s, sizeof(s), "%d", i);
        assert_int_equal(strings_add(&list, s), 0);
        assert_int_equal(strings_count(list), i + 1);
        autostrings char **copy = strings_copy((const char *const *)list);
        assert_int_equal(strings_count(copy), i + 1);
        assert_string_equal(copy[i], s);
        assert_int_equal(strings_add(&copy, "more"), 0); /* a copy goes on growing */
        assert_string_equal(copy[i + 1], "more");
    }
    autostrings char **none = strings_copy(NULL);
    assert_non_null(none);
    assert_int_equal(strings_count(none), 0);
    assert_int_equal(strings_count(NULL), 0);
}

static int use_memory(void *data)
{
    struct text t = {0};
    autostrings char **list = NULL;
    for (int i = 0; i < 50; i++) {
        text_add(&t, "some text that fills the buffer");
        text_printf(&t, "%0100d", i);
    }
    bool failed = t.failed;
    autofree char *taken = text_take(&t);
    for (int i = 0; i < 5 && !failed; i++)
        failed = strings_add(&list, "x") < 0;
    autostrings char **copy = failed ? NULL : strings_copy((const char *const *)list);
    return failed || !copy ? -1 : taken ? 0 : 1;
}

static void memory_may_run_out_anywhere(void **state)
{
    assert_true(fault_loop(use_memory, NULL) >= (FAULT_AVAILABLE ? 15 : 1));
}

static void utf8_is_strict(void **state)
{
    static const char *const good[] = {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                                       "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xe0\x9f\xbf", "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
                                      "\xe2\x82", "a\xe2\x82z", "\xf0\x90\x80"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        assert_true(utf8_valid(good[i], strlen(good[i])));
        assert_int_equal(utf8_char(good[i]), strlen(good[i]));
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(utf8_valid(bad[i], strlen(bad[i])));
    assert_false(utf8_valid("a\0b", 3));
}

static void near_words(void **state)
{
    static const char *const words[] = {"memory", "restart", "cpu", "ports", NULL};
    assert_string_equal(nearest_word("memroy", words, 5), "memory");
    assert_string_equal(nearest_word("restrat", words, 5), "restart");
    assert_string_equal(nearest_word("port", words, 5), "ports");
    assert_string_equal(nearest_word("cpus", words, 5), "cpu");
    assert_null(nearest_word("xyz", words, 5));
    assert_null(nearest_word("", words, 5));
    assert_null(nearest_word("cp", words, 5)); /* one edit of two letters says nothing */
    assert_null(nearest_word("memoooory", words, 5));
    char longest[200];
    memset(longest, 'm', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_null(nearest_word(longest, words, 5));
}

static void hex_goes_both_ways(void **state)
{
    uint8_t bytes[] = {0, 0x7f, 0xff, 0xa5}, back[4];
    char text[9];
    hex_print(bytes, 4, text);
    assert_string_equal(text, "007fffa5");
    assert_int_equal(hex_parse("007FffA5", back, 4), 0);
    assert_memory_equal(bytes, back, 4);
    assert_int_equal(hex_parse("007fffa", back, 4), -EINVAL);
    assert_int_equal(hex_parse("007fffa55", back, 4), -EINVAL);
    assert_int_equal(hex_parse("007fffag", back, 4), -EINVAL);
}

static void errors_are_one_clean_line(void **state)
{
    struct berth_error e = {0};
    assert_int_equal(fail(&e, BERTH_INVALID, "obj\nect", "a\tb\n%s", "\xff\x01"), BERTH_INVALID);
    assert_string_equal(e.object, "obj ect");
    assert_string_equal(e.message, "a b ? ");
    assert_int_equal(fail_os(&e, -ENOENT, NULL, "open %s", "/x"), BERTH_NOT_FOUND);
    assert_int_equal(e.os_error, ENOENT);
    assert_string_equal(e.message, "open /x: No such file or directory");
    assert_int_equal(fail_context(&e, "start %s", "web"), BERTH_NOT_FOUND);
    assert_string_equal(e.message, "start web: open /x: No such file or directory");
    assert_string_equal(e.object, "");
    assert_int_equal(fail(&e, BERTH_IO, e.object, "again: %s", e.message), BERTH_IO); /* of itself */
    assert_string_equal(e.message, "again: start web: open /x: No such file or directory");
    assert_int_equal(fail(NULL, BERTH_EXISTS, NULL, "x"), BERTH_EXISTS);
    assert_int_equal(fail_os(NULL, ENOSPC, NULL, "x"), BERTH_NO_SPACE);
    assert_int_equal(fail_memory(&e), BERTH_NO_MEMORY);
}

static void long_errors_are_cut_between_characters(void **state)
{
    struct berth_error e = {0};
    char s[2001];
    for (size_t i = 0; i < 2000; i += 2)
        memcpy(s + i, "\xc3\xa9", 2);
    s[2000] = '\0';
    for (int i = 0; i < 4; i++) {
        fail_os(&e, EIO, s, "%.*s%s", i, "xxxx", s);
        assert_true(utf8_valid(e.message, strlen(e.message)));
        assert_true(utf8_valid(e.object, strlen(e.object)));
        fail_context(&e, "%.*s%s", i, "xxxx", s);
        assert_true(utf8_valid(e.message, strlen(e.message)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_grows),
        cmocka_unit_test(lists_grow_and_copy),
        cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(utf8_is_strict),
        cmocka_unit_test(near_words),
        cmocka_unit_test(hex_goes_both_ways),
        cmocka_unit_test(errors_are_one_clean_line),
        cmocka_unit_test(long_errors_are_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
