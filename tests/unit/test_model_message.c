/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets to a supervisor: what is packed is unpacked, what lies is refused.
 */
#include "unit.h"

#include "model/message.h"
#include "model/status.h"

static void packet_survives(void **state)
{
    size_t size;
    struct message m;
    autofree char *packet = message_pack(MESSAGE_SIGNAL, 77, "{\"signal\":15}", &size);
    assert_int_equal(message_unpack(packet, size, &m, NULL), 0);
    assert_int_equal(m.type, MESSAGE_SIGNAL);
    assert_int_equal(m.tag, 77);
    assert_int_equal(m.length, 13);
    assert_memory_equal(m.body, "{\"signal\":15}", 13);
    assert_false(m.in_memfd);
}

static void large_body_goes_into_a_memfd(void **state)
{
    size_t size;
    struct message m;
    autofree char *body = calloc(1, MESSAGE_INLINE + 2);
    memset(body, ' ', MESSAGE_INLINE + 1);
    assert_null(message_pack(MESSAGE_UPDATE, 1, body, &size));
    struct message_head head = message_head(MESSAGE_UPDATE, 1, strlen(body));
    assert_int_equal(message_unpack(&head, sizeof(head), &m, NULL), 0);
    assert_true(m.in_memfd);
    assert_null(m.body);
    assert_int_equal(m.length, MESSAGE_INLINE + 1);
}

static void heads_that_lie_are_refused(void **state)
{
    struct message_head good = message_head(MESSAGE_PING, 5, 0), h;
    struct message m;
    char packet[sizeof(h) + 8] = {0};
    assert_int_equal(message_unpack(&good, sizeof(good) - 1, &m, NULL), BERTH_CORRUPT);
    h = good, h.magic++;
    assert_int_equal(message_unpack(&h, sizeof(h), &m, NULL), BERTH_CORRUPT);
    h = good, h.length = 1;
    assert_int_equal(message_unpack(&h, sizeof(h), &m, NULL), BERTH_CORRUPT);
    h = good, h.length = UINT32_MAX;
    assert_int_equal(message_unpack(&h, sizeof(h), &m, NULL), BERTH_TOO_BIG);
    h = good, h.length = 4;
    memcpy(packet, &h, sizeof(h));
    assert_int_equal(message_unpack(packet, sizeof(packet), &m, NULL), BERTH_CORRUPT);
    h = good, h.flags = MESSAGE_MEMFD;
    memcpy(packet, &h, sizeof(h));
    assert_int_equal(message_unpack(packet, sizeof(packet), &m, NULL), BERTH_CORRUPT);
    h = good, h.version = MESSAGE_VERSION + 1;
    assert_int_equal(message_unpack(&h, sizeof(h), &m, NULL), BERTH_UNSUPPORTED);
    assert_int_equal(m.tag, 5);
    h = good, h.flags = 2;
    assert_int_equal(message_unpack(&h, sizeof(h), &m, NULL), BERTH_UNSUPPORTED);
}

static void failure_travels_whole(void **state)
{
    struct berth_error before = {0}, after = {0};
    fail_os(&before, EACCES, "web", "open \"%s\"", "/a\nb\xff");
    autofree char *body = message_error_body(&before);
    assert_int_equal(message_error_parse(body, strlen(body), &after), BERTH_DENIED);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_string_equal(after.message, "open \"/a b?\": Permission denied");
}

static void unreadable_failure_is_a_failure(void **state)
{
    static const char *const bodies[] = {
        "", "{", "[]", "{}", "{\"code\":0}", "{\"code\":-1}", "{\"code\":\"x\"}", "{\"code\":-1001}x",
        "{\"code\":99999999999}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(bodies); i++) {
        struct berth_error e = {0};
        assert_int_equal(message_error_parse(bodies[i], strlen(bodies[i]), &e), BERTH_CORRUPT);
        assert_true(e.message[0] != '\0');
    }
}

static void names_are_words(void **state)
{
    assert_string_equal(message_name(MESSAGE_EXEC), "exec");
    assert_string_equal(message_name(0), "unknown");
    assert_string_equal(message_name(50), "unknown");
    assert_string_equal(message_name(UINT32_MAX), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packet_survives),
        cmocka_unit_test(large_body_goes_into_a_memfd),
        cmocka_unit_test(heads_that_lie_are_refused),
        cmocka_unit_test(failure_travels_whole),
        cmocka_unit_test(unreadable_failure_is_a_failure),
        cmocka_unit_test(names_are_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
