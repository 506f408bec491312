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
                           "timeout_usec"}; fds: stdin, stdout, stderr (pipes; with tty one socketpair end).
                           replies: STARTED {"exec_id","pid"}, then ENDED {"exit_code","signal","timed_out"} */
    MESSAGE_EXEC_SIGNAL,/* {"exec_id","signal"} */
    MESSAGE_EXEC_LIST,
    MESSAGE_RESIZE,     /* {"exec_id" (0: main), "rows", "columns"} */
    MESSAGE_ATTACH,     /* {"input": bool, "rows", "columns"}; fds: a socketpair end (tty) or stdin pipe, stdout, stderr pipes.
                           replies: STARTED, then ENDED {"exit_code"} */
    MESSAGE_PAUSE, MESSAGE_UNPAUSE,
    MESSAGE_UPDATE,     /* {"plan": {...}}: a whole new plan; limits, restart, log and probes take effect */
    MESSAGE_PING,       /* {"version"} in the reply */
    /* replies */
    MESSAGE_DONE = 100, /* result object */
    MESSAGE_ERROR,      /* {"code","os_error","object","message"} */
    MESSAGE_STARTED, MESSAGE_ENDED
};

struct message_head {
    uint32_t magic, version, type, flags;
    uint64_t tag;
    uint32_t length, reserved;
};

#endif
