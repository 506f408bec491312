/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets over a supervisor's socket, and the failures inside them.
 */
#include "fuzz.h"
#include "base/base.h"
#include "base/text.h"
#include "model/message.h"

static void check_failure(const char *body, size_t length)
{
    struct berth_error e = {0}, again = {0};
    int r = message_error_parse(body, length, &e);
    MUST(r < -1000 && r == e.code);
    MUST(utf8_valid(e.message, strlen(e.message)) && !strchr(e.message, '\n'));
    autofree char *text = message_error_body(&e);
    MUST(text && message_error_parse(text, strlen(text), &again) == r);
    MUST(strcmp(e.message, again.message) == 0 && strcmp(e.object, again.object) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message m = {0};
    struct berth_error err = {0};
    if (message_unpack(data, size, &m, &err) < 0) {
        MUST(err.message[0]);
        check_failure((const char *)data, size);
        return 0;
    }
    MUST(m.length <= MESSAGE_BODY_MAX && (m.in_memfd || m.length <= size));
    MUST(message_name(m.type)[0]);
    if (m.body)
        check_failure(m.body, m.length);
    return 0;
}
