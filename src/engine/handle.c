/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Handles as text, and the words for codes, states and health.
 *
 * RUNTIME:NAME:ID:METADATA, the last in base64 without padding: any handle fits BERTH_HANDLE_TEXT
 * and the line has neither blanks nor anything that a shell or a file name minds.
 */
#include "engine/desk.h"
#include "base/base.h"
#include "base/text.h"
#include "model/spec.h"
#include <stdio.h>

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void base64_print(const char *text, char *ret)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i += 3) {
        unsigned left = (unsigned)MIN(length - i, 3);
        unsigned value = 0;
        for (unsigned k = 0; k < 3; k++)
            value = value << 8 | (k < left ? (unsigned char)text[i + k] : 0);
        for (unsigned k = 0; k <= left; k++)
            *ret++ = digits64[value >> (18 - 6 * k) & 63];
    }
    *ret = 0;
}

static int base64_parse(const char *text, char *ret, size_t room)
{
    unsigned value = 0, bits = 0;
    size_t used = 0;
    for (; *text; text++) {
        const char *digit = strchr(digits64, *text);
        if (!digit)
            return -EINVAL;
        value = (value << 6 | (unsigned)(digit - digits64)) & 0xffff;
        bits += 6;
        if (bits < 8)
            continue;
        bits -= 8;
        char c = (char)(value >> bits & 255);
        if (used + 1 >= room || c == 0)
            return -EINVAL;
        ret[used++] = c;
    }
    ret[used] = 0;
    return 0;
}

void berth_id_print(const uint8_t id[16], char ret_text[BERTH_ID_TEXT])
{
    hex_print(id, 16, ret_text);
}

void berth_handle_print(const struct berth_handle *handle, char ret_text[BERTH_HANDLE_TEXT])
{
    struct berth_handle h = *handle;
    h.runtime[sizeof(h.runtime) - 1] = 0;
    h.name[sizeof(h.name) - 1] = 0;
    h.metadata[sizeof(h.metadata) - 1] = 0;
    char id[BERTH_ID_TEXT], metadata[sizeof(h.metadata) * 4 / 3 + 4];
    berth_id_print(h.id, id);
    base64_print(h.metadata, metadata);
    snprintf(ret_text, BERTH_HANDLE_TEXT, "%s:%s:%s:%s", h.runtime, h.name, id, metadata);
}

static bool take_field(const char **text, char *ret, size_t room)
{
    const char *end = strchr(*text, ':');
    size_t length = end ? (size_t)(end - *text) : 0;
    if (!end || length == 0 || length >= room)
        return false;
    memcpy(ret, *text, length);
    ret[length] = 0;
    *text = end + 1;
    return true;
}

int berth_handle_parse(const char *text, struct berth_handle *ret_handle, struct berth_error *err)
{
    struct berth_handle h = {0};
    char id[BERTH_ID_TEXT];
    if (!text || !ret_handle)
        return fail(err, BERTH_INVALID, NULL, "handle: an argument is NULL");
    const char *rest = text;
    if (strlen(text) >= BERTH_HANDLE_TEXT || !take_field(&rest, h.runtime, sizeof(h.runtime)) ||
        !take_field(&rest, h.name, sizeof(h.name)) || !take_field(&rest, id, sizeof(id)) ||
        hex_parse(id, h.id, sizeof(h.id)) < 0 || name_check("name", h.name, NULL) < 0 ||
        base64_parse(rest, h.metadata, sizeof(h.metadata)) < 0)
        return fail(err, BERTH_INVALID, NULL, "\"%.80s\" is not a handle", text);
    *ret_handle = h;
    return 0;
}

static const char *const state_names[] = {
    [BERTH_CREATING] = "creating",     [BERTH_CREATED] = "created",
    [BERTH_RUNNING] = "running",       [BERTH_PAUSED] = "paused",
    [BERTH_RESTARTING] = "restarting", [BERTH_STOPPING] = "stopping",
    [BERTH_STOPPED] = "stopped",       [BERTH_COMPLETED] = "completed",
    [BERTH_FAILED] = "failed",         [BERTH_PENDING] = "pending",
};

const char *berth_state_name(int state)
{
    return state > 0 && state < (int)ARRAY_SIZE(state_names) ? state_names[state] : "unknown";
}

static const char *const health_names[] = {
    [BERTH_HEALTH_NONE] = "none",
    [BERTH_HEALTH_STARTING] = "starting",
    [BERTH_HEALTHY] = "healthy",
    [BERTH_UNHEALTHY] = "unhealthy",
};

const char *berth_health_name(int health)
{
    return health >= 0 && health < (int)ARRAY_SIZE(health_names) ? health_names[health] : "unknown";
}

const char *berth_version(void)
{
    return BERTH_VERSION;
}

const char *berth_spec_schema(void)
{
    return spec_schema();
}

int berth_error_set(struct berth_error *err, int code, const char *object, const char *format, ...)
{
    char message[sizeof(((struct berth_error *)0)->message)];
    va_list arguments;
    va_start(arguments, format);
    if (vsnprintf(message, sizeof(message), format, arguments) < 0)
        message[0] = 0;
    va_end(arguments);
    return fail(err, code, object, "%s", message);
}
