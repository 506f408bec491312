/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets between callers and a supervisor: heads checked, failures carried over. No I/O.
 */
#include "model/message.h"
#include "base/base.h"
#include "base/text.h"
#include "model/json.h"

#include <string.h>

static const char *const names[] = {
    [MESSAGE_STOP] = "stop",           [MESSAGE_SIGNAL] = "signal",
    [MESSAGE_EXEC] = "exec",           [MESSAGE_EXEC_SIGNAL] = "exec signal",
    [MESSAGE_EXEC_LIST] = "exec list", [MESSAGE_RESIZE] = "resize",
    [MESSAGE_ATTACH] = "attach",       [MESSAGE_PAUSE] = "pause",
    [MESSAGE_UNPAUSE] = "unpause",     [MESSAGE_UPDATE] = "update",
    [MESSAGE_PING] = "ping",           [MESSAGE_CONNECT] = "connect",
    [MESSAGE_EXEC_LET_GO] = "exec let go",
    [MESSAGE_WALL] = "wall",
    [MESSAGE_DONE] = "done",
    [MESSAGE_ERROR] = "error",         [MESSAGE_STARTED] = "started",
    [MESSAGE_ENDED] = "ended",
};

const char *message_name(uint32_t type)
{
    return type < ARRAY_SIZE(names) && names[type] ? names[type] : "unknown";
}

struct message_head message_head(uint32_t type, uint64_t tag, size_t length)
{
    return (struct message_head){
        .magic = MESSAGE_MAGIC,
        .version = MESSAGE_VERSION,
        .type = type,
        .flags = length > MESSAGE_INLINE ? MESSAGE_MEMFD : 0,
        .tag = tag,
        .length = (uint32_t)MIN(length, (size_t)UINT32_MAX),
    };
}

char *message_pack(uint32_t type, uint64_t tag, const char *body, size_t *ret_size)
{
    if (!body)
        body = "{}";
    size_t length = strlen(body);
    struct message_head head = message_head(type, tag, length);
    if (length > MESSAGE_INLINE)
        return NULL;
    char *packet = malloc(sizeof(head) + length + 1);
    if (!packet)
        return NULL;
    memcpy(packet, &head, sizeof(head));
    memcpy(packet + sizeof(head), body, length + 1);
    *ret_size = sizeof(head) + length;
    return packet;
}

int message_unpack(const void *packet, size_t size, struct message *ret, struct berth_error *err)
{
    struct message_head head;
    if (size < sizeof(head))
        return fail(err, BERTH_CORRUPT, NULL, "message: %zu bytes are less than its head", size);
    memcpy(&head, packet, sizeof(head));
    if (head.magic != MESSAGE_MAGIC)
        return fail(err, BERTH_CORRUPT, NULL, "message: not one of berth's");
    *ret = (struct message){.type = head.type, .tag = head.tag};
    if (head.version == 0 || head.version > MESSAGE_VERSION || head.flags & ~MESSAGE_MEMFD)
        return fail(err, BERTH_UNSUPPORTED, NULL,
                    "message: version %u, flags %#x are newer than this berth (version %d)",
                    head.version, head.flags, MESSAGE_VERSION);
    if (head.length > MESSAGE_BODY_MAX)
        return fail(err, BERTH_TOO_BIG, NULL, "message: a body of %u bytes is above %u", head.length,
                    MESSAGE_BODY_MAX);
    bool in_memfd = head.flags & MESSAGE_MEMFD;
    if (size - sizeof(head) != (in_memfd ? 0 : head.length))
        return fail(err, BERTH_CORRUPT, NULL, "message: %zu bytes follow its head, it says %u",
                    size - sizeof(head), in_memfd ? 0 : head.length);
    ret->length = head.length;
    ret->in_memfd = in_memfd;
    ret->body = in_memfd ? NULL : (const char *)packet + sizeof(head);
    return 0;
}

char *message_error_body(const struct berth_error *err)
{
    struct text t = {0};
    json_put_open(&t, NULL, '{');
    json_put_int(&t, "code", err->code);
    json_put_int(&t, "os_error", err->os_error);
    json_put_string(&t, "object", err->object);
    json_put_string(&t, "message", err->message);
    json_put_close(&t, '}');
    return text_take(&t);
}

static int get_error_member(struct scan *s, const char *key, struct berth_error *e)
{
    int64_t number = 0;
    int r;
    if (strcmp(key, "object") == 0)
        return scan_string(s, e->object, sizeof(e->object));
    if (strcmp(key, "message") == 0)
        return scan_string(s, e->message, sizeof(e->message));
    int32_t *target = strcmp(key, "code") == 0       ? &e->code
                      : strcmp(key, "os_error") == 0 ? &e->os_error
                                                     : NULL;
    if (!target)
        return scan_skip(s);
    r = scan_int(s, &number);
    if (r == 0 && (number < INT32_MIN || number > INT32_MAX))
        return -ERANGE;
    *target = (int32_t)number;
    return r;
}

static int get_error(struct scan *s, struct berth_error *e)
{
    char key[16];
    bool first = true;
    int r;
    if (!scan_char(s, '{'))
        return -EINVAL;
    while ((r = scan_next(s, &first, key, sizeof(key))) > 0)
        if ((r = get_error_member(s, key, e)) < 0)
            return r;
    return r == 0 && !scan_end(s) ? -EINVAL : r;
}

int message_error_parse(const char *body, size_t length, struct berth_error *ret)
{
    struct scan s = {.at = body, .end = body + length};
    struct berth_error e = {0};
    if (get_error(&s, &e) < 0 || e.code > BERTH_INVALID || e.code < BERTH_TOO_BIG)
        return fail(ret, BERTH_CORRUPT, NULL, "the other side sent a failure that cannot be read");
    /* through fail(): one clean line, whoever wrote it */
    fail(ret, e.code, e.object, "%s", e.message);
    ret->os_error = e.os_error;
    return e.code;
}
