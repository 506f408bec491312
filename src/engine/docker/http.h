/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to a daemon, by libcurl's multi interface: nothing here waits but where it says so.
 *
 * A channel is one multi handle: a descriptor to poll and the connections that it keeps. It belongs to one
 * call at a time and goes back to its daemon's pool, so that the next call finds a connection made.
 * A request is sent on a channel, and `done` after some channel_step. Every answer has a ceiling, every
 * request a time limit: a daemon that hangs, floods or breaks off is an error, never a wait without end.
 */
#ifndef DOCKER_HTTP_H
#define DOCKER_HTTP_H

#include "base/base.h"
#include "base/error.h"
#include "base/text.h"
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#define API_MINOR_BEST 41   /* what is asked for first: 1.41, of Docker 20.10 and podman 4 */
#define API_MINOR_LEAST 24
#define ANSWER_MAX (16u << 20)
#define ANSWER_MSEC 30000   /* for what a daemon answers from memory */
#define LEAVE_MSEC 5000     /* how long one who leaves waits for what he has to undo */
#define SLOW_MSEC 300000    /* for what makes, starts or removes */

struct channel;

/** A daemon: where it is and what is known of it. Found by its host, made once, lives as long as the runtime. */
struct daemon {
    struct daemon *next;
    char *host;              /* unix:///var/run/docker.sock, tcp://host:2376 */
    char *certs;             /* folder of ca.pem, cert.pem, key.pem: TLS; NULL: none */
    const char *programs;    /* where the relay is; the runtime's */
    pthread_mutex_t lock;    /* what follows */
    int minor;               /* of the API version that both sides know */
    bool podman;             /* it says that it is podman's service: set once, never back */
    struct channel *idle;
    size_t n_idle;
};
struct daemon *daemon_new(const char *host, const char *certs, const char *programs);
void daemon_free(struct daemon *daemon);
/** Where a stream to it is to be connected: its socket, or that of a relay which was started for TCP and TLS. */
int daemon_address(const struct daemon *daemon, struct sockaddr_un *ret, socklen_t *ret_size, struct berth_error *err);
/** The stream itself: close-on-exec, non-blocking, not at 0, 1, 2. */
int daemon_connect(const struct daemon *daemon, int *ret_fd, struct berth_error *err);
/** LOST or DENIED for what connect(2) said. */
int not_there(const struct daemon *daemon, int error, struct berth_error *err);
/** Away from 0, 1, 2: a host that closed those expects its own there. */
int high_fd(int fd);

struct request {
    /* what is asked: set before request_send, freed by request_clear */
    const char *method;
    char *path;              /* below /v1.N */
    char *body;              /* JSON, or NULL */
    char *header;            /* one more header line, or NULL */
    int64_t timeout_msec;    /* 0: ANSWER_MSEC; -1: none */
    size_t answer_max;       /* 0: ANSWER_MAX */
    /** Takes the body as it comes instead of `answer`; anything but 0 ends the request. */
    int (*on_data)(void *data, const char *bytes, size_t size);
    void *data;
    /* what came */
    bool done;               /* code, status and answer are final */
    bool heard;              /* the head of the answer is here */
    int code;                /* 0, or why there is no whole answer; `failure` says it in words */
    struct berth_error failure;
    int status;              /* of HTTP */
    struct text answer;
    /* inside */
    struct daemon *daemon;
    struct channel *channel;
    struct request *next;
    void *easy, *headers;
    size_t head_bytes;
    int version_tried;
    bool too_big;
};

int channel_take(struct daemon *daemon, struct channel **ret_channel, struct berth_error *err);
/** Back to its daemon; closed when a request is under way on it. NULL is fine. */
void channel_give(struct channel *channel);
/** Readable when channel_step should be called; the channel's. */
int channel_fd(const struct channel *channel);
/** Do what can be done without waiting. */
void channel_step(struct channel *channel);

/** Send; `r` must stay where it is until it is done or cleared. A failure is told as a finished request. */
void request_send(struct channel *channel, struct request *r);
/** All of it has left this process. */
bool request_sent(const struct request *r);
/** Wait so long at most; whether it is done. */
bool request_wait_for(struct request *r, int64_t msec);
/** Wait until it is done. */
void request_wait(struct request *r);
/** Break off if under way, free everything, zero. */
void request_clear(struct request *r);
#define autorequest __attribute__((cleanup(request_clear))) struct request

/** One question with its answer on a connection of the pool; waits. request_clear afterwards. */
int daemon_ask(struct daemon *daemon, struct request *r, struct berth_error *err);

#endif
