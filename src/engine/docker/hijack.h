/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection that stops being HTTP: exec and attach, and logs for their program. After the head of the answer both directions are bytes.
 */
#ifndef DOCKER_HIJACK_H
#define DOCKER_HIJACK_H

#include "docker/answer.h"

struct hijack {
    int fd;                  /* -1: closed */
    bool open;               /* the head has come and says yes */
    bool input_over;
    struct text out;         /* not sent yet: the request, then standard input */
    size_t sent;
    struct text in;          /* the head; of a refusal its body too */
};

/** Connect and send; `body` may be NULL. */
int hijack_begin(struct hijack *h, struct daemon *daemon, const char *path, const char *body, struct berth_error *err);
/** The same for a question, asked the old way: its answer is bytes up to the end, not in HTTP's pieces. */
int hijack_get(struct hijack *h, struct daemon *daemon, const char *path, struct berth_error *err);
/** Send what is left, read the head. 1: open, 0: not yet, or why not. */
int hijack_step(struct hijack *h, struct daemon *daemon, const char *verb, const char *object, struct berth_error *err);
/** Read what came, without waiting: bytes, 0 at the end, -EAGAIN, -errno. */
ssize_t hijack_read(struct hijack *h, void *buffer, size_t size);
/** Take standard input for sending; as much as is taken at once. 0 or -errno. */
int hijack_flush(struct hijack *h);
/** No more input: it is told when all was sent. */
void hijack_end_input(struct hijack *h);
bool hijack_wants_out(const struct hijack *h);
void hijack_close(struct hijack *h);

#endif
