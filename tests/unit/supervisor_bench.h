/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload made by hand, a real supervisor beside it, and its socket: what test_supervisor
 * drives.
 */
#ifndef TESTS_UNIT_SUPERVISOR_BENCH_H
#define TESTS_UNIT_SUPERVISOR_BENCH_H

#include "unit.h"

#include "model/message.h"
#include "model/plan.h"
#include "model/status.h"

#include <jansson.h>
#include <sys/types.h>

#define ID "00112233445566778899aabbccddeeff"

struct bench {
    char top[64]; /* temporary folder: root/, run/ */
    int root_fd, workload_fd, run_fd;
    int starter_fd;   /* our end; -1 when not started */
    const char *program; /* which supervisor */
    pid_t pid; /* it, while it lives */
    struct plan plan; /* change before bench_start */
    uint64_t tag;
};

/** cmocka's setup and teardown: *state is a struct bench. */
int bench_setup(void **state);
int bench_teardown(void **state);

/** Write the record of a workload that was just created. */
void bench_create(struct bench *b);
/** Spawn the supervisor. */
void bench_spawn(struct bench *b);
/** bench_spawn and wait for MESSAGE_DONE. */
void bench_start(struct bench *b);
/** The program will be `sh -c script`. */
void bench_script(struct bench *b, const char *script);
/** A new connection to its socket. */
int bench_connect(struct bench *b);
/** Send; returns the tag. `json` NULL: no body. */
uint64_t bench_send(struct bench *b, int fd, uint32_t type, const char *json, const int *fds,
                    size_t n_fds);
/** One message within 10 seconds; its body in *ret_body (may be NULL). 0: the other side closed. */
uint32_t bench_receive(int fd, json_t **ret_body, uint64_t *ret_tag);
/** Send and get the first answer. */
uint32_t bench_ask(struct bench *b, int fd, uint32_t type, const char *json, json_t **ret_body);
/** Send with stdin, stdout and stderr pipes (EXEC, ATTACH); our ends. */
void bench_send_pipes(struct bench *b, int fd, uint32_t type, const char *json, int ret_ends[3]);
void close_ends(int ends[3]);
/** The supervisor ends within 10 seconds. */
void bench_wait_end(struct bench *b);
struct status bench_status(struct bench *b);
/** Until the record says so, at most 10 seconds. */
void bench_wait_state(struct bench *b, int state);
/** All of the log as text; the caller's. */
char *bench_log(struct bench *b);
/** All events so far; the caller's. */
char *bench_events(struct bench *b);
/** Read until the end. */
char *bench_read_all(int fd);
long get(json_t *body, const char *key);
bool pid_alive(pid_t pid);
long number_in(struct bench *b, const char *file);
/** Path of a file in the bench's own folder; valid until the next call. */
const char *bench_file(struct bench *b, const char *name);
/** Until the file is there and not empty. */
void bench_wait_file(struct bench *b, const char *name);

#endif
