/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What exec and attach share: a hijacked connection, and who reads and writes it.
 */
#ifndef DOCKER_EXEC_H
#define DOCKER_EXEC_H

#include "docker/hijack.h"
#include "docker/inside.h"
#include "docker/mark.h"

struct session {
    struct hijack line;
    bool tty, stream, detach, input;
    /* streamed: the caller's ends, and berth-helper between far and the line */
    int ends[3], far[3];
    int pump_fd;              /* pidfd of the helper */
    int words_fd;             /* the first bytes of output once more: a daemon's words are among them */
    /* collected */
    struct text out, err, words; /* words: the first bytes once more, the daemon's own among them */
    uint64_t output_max;
    char *stdin_data;
    size_t stdin_size, stdin_at;
    /* exec */
    char program[256];
    char *body;               /* of its create */
    char id[CONTAINER_ID_MAX];
    char mark[MARK_TEXT];     /* by which it is found at another machine; "": by its process */
    char *user;               /* NULL: the container's */
    uint16_t rows, columns;
    int64_t deadline_usec;
    int looks;
    /* attach */
    bool next_start, no_output, begun;
};

void session_init(struct session *s);
/** Streams for the caller. */
int session_ends(struct session *s, struct berth_error *err);
/** The line is open: berth-helper carries what comes. */
int session_streams(struct op *op, struct berth_error *err);
/** Move what can be moved of a collected one; 1 when it has ended. */
int session_collect(struct op *op, struct berth_error *err);
/** A streamed one: whether its line has ended. */
bool session_ended(struct op *op);
/** What the helper heard first, into `words`: for telling a failure. */
void session_words(struct session *s);
void session_free(struct op *op);
int session_stream_fd(struct op *op, int stream);
void session_close_stdin(struct op *op);

#endif
