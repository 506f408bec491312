/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is said over a supervisor's socket. SOCK_SEQPACKET: one message, one packet.
 *
 * A packet is this head and `length` bytes of JSON; descriptors travel beside it. A body above
 * MESSAGE_INLINE travels in a memfd, the last descriptor of the packet (flag MESSAGE_MEMFD).
 * A reply carries the request's `tag`. Unknown types get an error reply, never silence.
 */
#ifndef MODEL_MESSAGE_H
#define MODEL_MESSAGE_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MESSAGE_MAGIC 0x31485442u /* "BTH1" */
#define MESSAGE_INLINE 65536u
#define MESSAGE_BODY_MAX (4u << 20)
#define MESSAGE_FDS_MAX 8
#define MESSAGE_MEMFD 1u

enum message_type {
    /* requests and their JSON bodies */
    MESSAGE_STOP = 1,   /* {"timeout_usec", "restart": bool, "remove": bool} reply when it has ended (restart: runs again) */
    MESSAGE_SIGNAL,     /* {"signal"} */
    MESSAGE_EXEC,       /* {"argv","env","user","groups","workdir","tty","rows","columns","detach","privileged",
                           "timeout_usec", "command": as it is listed, "files": N}; fds: stdin, stdout, stderr (pipes;
                           with tty one socketpair end), then N files to read, instead of the plan's.
                           replies: STARTED {"exec_id","pid"}, then ENDED {"exit_code","signal","timed_out"} */
    MESSAGE_EXEC_SIGNAL,/* {"exec_id","signal"} */
    MESSAGE_EXEC_LIST,
    MESSAGE_RESIZE,     /* {"exec_id" (0: main), "rows", "columns"} */
    MESSAGE_ATTACH,     /* {"input": bool, "rows", "columns"}; fds: a socketpair end (tty) or stdin pipe, stdout, stderr pipes;
                           {"watch": true}: none, only the end is told. replies: STARTED, then ENDED {"exit_code"} */
    MESSAGE_PAUSE, MESSAGE_UNPAUSE,
    MESSAGE_UPDATE,     /* {"plan": {...}}: a whole new plan; limits, restart, log and probes take effect */
    MESSAGE_PING,       /* {"version"} in the reply */
    MESSAGE_CONNECT,    /* the starter's, before anything runs; fd: the far end of a connection made before there was a
                           socket to connect to. No reply. --rm waits until it is closed */
    MESSAGE_EXEC_LET_GO,/* {"exec_id"}: it stays when the connection that began it closes */
    MESSAGE_WALL,       /* {"mend": bool}; {"whole": bool} in the reply: the filter in its own network namespace, if it has one */
    /* replies */
    MESSAGE_DONE = 100, /* result object */
    MESSAGE_ERROR,      /* {"code","os_error","object","message"} */
    MESSAGE_STARTED, MESSAGE_ENDED
};

#define MESSAGE_VERSION 1

struct message_head {
    uint32_t magic, version, type, flags;
    uint64_t tag;
    uint32_t length, reserved;
};

/** What a packet said; body is borrowed from the packet, or NULL when it is in the memfd. */
struct message {
    uint32_t type;
    uint64_t tag;
    uint32_t length;
    bool in_memfd;    /**< the last descriptor holds `length` bytes of body: read them yourself */
    const char *body; /**< `length` bytes, not NUL-terminated */
};

/** The head for a body of `length` bytes; the flag MEMFD is set when it has to travel in one. */
struct message_head message_head(uint32_t type, uint64_t tag, size_t length);

/** Head and body as one packet of *ret_size bytes, free(3). NULL body is {}. NULL out of memory, or when
 *  the body is above MESSAGE_INLINE: then send message_head() alone with a memfd. */
char *message_pack(uint32_t type, uint64_t tag, const char *body, size_t *ret_size);

/** Take a received packet apart. CORRUPT (magic, length, size), TOO_BIG, UNSUPPORTED (a newer version:
 *  ret's tag and type are set all the same, so that it can be refused by tag). */
int message_unpack(const void *packet, size_t size, struct message *ret, struct berth_error *err);

/** "stop", "exec", ...; "unknown" for what is none. */
const char *message_name(uint32_t type);

/** Body of MESSAGE_ERROR from a failure, free(3); NULL out of memory. */
char *message_error_body(const struct berth_error *err);
/** And back: fills *ret (which may not be NULL) and returns its code, which is always negative; a body
 *  that says nothing of use becomes CORRUPT. */
int message_error_parse(const char *body, size_t length, struct berth_error *ret);

#endif
