/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rooms of the engine "docker": the ten verbs over the Docker Engine API, for hosts that run it already.
 *
 *   engine.c   the table, open and close    connect.c, http.c, curl.c  the way to a daemon
 *   spec.c     spec -> the API's document   answer.c   what it says in our codes
 *   create.c   create, pull                 op.c       calls: a request after the other
 *   life.c     start, stop, remove, wait    read.c     status, list, inspect, stats, resolve
 *   change.c   signal, pause, rename        glance.c   many statuses at once
 *   exec.c, hijack.c, mark.c  exec and attach
 *   streams.c  logs, events: fed by the program berth-docker (src/feeder/)
 *
 * A workload has its folder in the store, as every engine's has: so names are unique across engines, and
 * list and find need no daemon to know whose they are. In the folder: the spec, and links `runtime`
 * (docker), `daemon` (where its daemon is, whatever DOCKER_HOST says today), `certs`, `container` (the id there),
 * `asked` and `failure`. The container carries the labels berth.root, berth.id and berth.name, by which
 * it is found when a create was cut short between the daemon's answer and our writing it down.
 *
 * What the API does wrong and where it is put right:
 *   timeouts in whole seconds    the daemon is asked to stop with the next second, and killed by us at the millisecond
 *   stopped and crashed alike    we write down which run was asked to end (`asked`: its StartedAt); somebody else's
 *                                `docker stop` is found in the daemon's events
 *   removed behind our back      the daemon's own 404 for the id is NOT_FOUND; the folder goes with the next list, create
 *                                or remove
 *   304 and 409                  start of one that runs: WRONG_STATE; stop of one that does not: success; a name: EXISTS
 *   CPU as one reading           computed from two of ours; memory without the inactive file cache
 *   since to the second          lines are filtered here by their own stamps
 *   frames split anywhere        frames.c; a tty has none
 *   an exec's failure in its output, and no code when the connection breaks: see exec.c
 */
#ifndef DOCKER_INSIDE_H
#define DOCKER_INSIDE_H

#include <berth/engine.h>
#include "docker/answer.h"
#include "docker/http.h"
#include "engine/settings.h"
#include "model/spec.h"
#include "store/store.h"
#include <string.h>

#define ENGINE_NAME "docker"
#define DEFAULT_HOST "unix:///var/run/docker.sock"
#define SPEC_FILE "spec.json"
#define LABELS_FILE "labels.json" /* after an update of them */
#define RUNTIME_LINK "runtime"
#define IMAGE_LINK "image"
#define DAEMON_LINK "daemon"
#define CERTS_LINK "certs"
#define CONTAINER_LINK "container"
#define ASKED_LINK "asked"     /* "stop STARTED" or "kill STARTED": that run ends because somebody asked */
#define ENDED_LINK "ended"     /* the run whose end was told as an event */
#define FAILURE_LINK "failure" /* "CODE USEC message": why the last start failed */
#define LABEL_ROOT "berth.root"
#define LABEL_ID "berth.id"
#define LABEL_NAME "berth.name"
#define LABEL_READINESS "berth.readiness" /* its check is its spec's readiness */
#define CONTAINER_ID_MAX 72

struct docker {
    char *root, *run, *programs;
    char *host, *certs;        /* of new workloads: DOCKER_HOST, DOCKER_CERT_PATH */
    struct settings_source settings; /* berth.toml */
    pthread_mutex_t lock;      /* store, daemons, glance */
    struct store *store;
    struct daemon *daemons;    /* the list only grows; borrowed freely */
    struct glance *glance;     /* what the last list saw, see glance.c */
};

int docker_store(struct docker *d, bool make, struct store **ret_store, struct berth_error *err);
/** The daemon at a host; NULL when memory ran out. */
struct daemon *docker_daemon(struct docker *d, const char *host, const char *certs);

/* ---- a workload */
struct box {
    struct docker *docker;
    struct store *store;
    struct workload *folder;
    struct daemon *daemon;
    struct berth_handle handle;          /* with its present name */
    char container[CONTAINER_ID_MAX];    /* its id at the daemon */
};
/** What a handle means. NOT_FOUND. box_close afterwards, of a failure too. */
int box_open(struct docker *d, const struct berth_handle *h, struct box *ret, struct berth_error *err);
/** The same by the name of its folder; NOT_FOUND when it is another engine's. */
int box_open_id(struct docker *d, const char *id, struct box *ret, struct berth_error *err);
void box_close(struct box *b);
#define autobox __attribute__((cleanup(box_close))) struct box
/** Its spec as it was given. */
int box_spec(const struct box *b, struct spec **ret, struct berth_error *err);
/** A link of its folder; "" when there is none. */
void box_link(const struct box *b, const char *name, char *ret, size_t room);
/** Replace it; NULL: remove it. 0 or -errno. */
int box_set_link(const struct box *b, const char *name, const char *text);
/** The daemon does not know it any more: its folder and its name go. */
void box_discard(struct box *b);

/** One question about it, "/containers/ID" and `rest`; waits. The JSON is only asked for with ret_json. */
int box_ask(const struct box *b, const char *method, const char *rest, const char *verb, json_t **ret_json,
            struct berth_error *err);
/** The daemon's picture of it; waits. */
int box_inspect(const struct box *b, const char *verb, json_t **ret_json, struct berth_error *err);

/* ---- many at once */
struct glance;
void glance_free(struct glance *g);
/** Ask for all of them at once; those that their daemon does not know go, folder and all. */
void glance_take(struct docker *d, struct box *boxes, size_t *n);
/** box_inspect, or what it said before if the last list says that it holds still. */
int glance_inspect(const struct box *b, json_t **ret_json, struct berth_error *err);
/** It changes: what was seen of it before holds no more. */
void glance_forget(const struct box *b);

/* ---- what an inspect says */
struct view {
    int state;                 /* enum berth_state */
    bool lives;                /* running, paused, restarting, stopping */
    char started[64];          /* the run's name: StartedAt as the daemon spells it; "" before the first */
};
void view_of(const struct box *b, json_t *inspected, struct view *ret);
int status_make(const struct box *b, json_t *inspected, struct berth_status **ret, struct berth_error *err);
/** The end of one that the daemon removed by itself: all that is left is the code. */
int status_of_gone(const struct box *b, int exit_code, struct berth_status **ret, struct berth_error *err);
/** Whether this run's end was asked for; asks the daemon's events when we do not know. */
bool was_asked(const struct box *b, const char *started, const char *finished);
/** Tell it in the root's events. */
void box_event(const struct box *b, const char *type, const char *attributes_json);
/** Note that the run is to end. */
void note_asked(const struct box *b, const char *how, const char *started);
/** Whether a signal counts as asking. */
bool signal_asks(const struct spec *spec, json_t *inspected, int signal);

/* ---- calls that send one request after the other */
enum { OP_WAIT = 0, OP_DONE = 1, OP_ON = 2 };
struct op {
    struct docker *docker;
    struct box box;
    const char *verb;
    struct channel *channel;
    struct request ask, other;
    int poll_fd, timer_fd;
    int held_fd;               /* a lock that others wait for; -1 */
    int (*next)(struct op *op, struct berth_result *ret, struct berth_error *err);
    void (*on_cancel)(struct op *op);  /* NULL: it goes on without its caller, once it is asked for */
    void (*on_undo)(struct op *op);
    void (*on_free)(struct op *op);
    int (*stream_fd)(struct op *op, int stream);
    void (*close_stdin)(struct op *op);
    int (*resize)(struct op *op, uint16_t rows, uint16_t columns, struct berth_error *err); /* exec and attach */
    int (*signal)(struct op *op, int signal, struct berth_error *err);
    bool cancelled;
    bool timed_out;            /* the timer went off since the last step */
    bool looked_since;         /* wait: it was looked at since the daemon waits too */
    int looks;
    bool decisive;             /* `ask` is the request that does what the verb is about */
    int over;                  /* what the last step said, when it was made after its caller left */
    struct berth_error failure;
    void *own;
    int64_t number;            /* of the verb: a timeout, a flag */
    char not_this[64];         /* wait: the end of the run that began then is not meant */
    struct view view;
};
/** With its workload (h may be NULL) and a channel to its daemon. */
int op_new(struct docker *d, const char *verb, const struct berth_handle *h, struct op **ret, struct berth_error *err);
int op_channel(struct op *op, struct berth_error *err);
void op_free(struct op *op);
/** Send `ask` (or `other`): both texts are taken over; NULL `path` is out of memory. */
void op_send(struct op *op, struct request *r, const char *method, char *path, char *body, int64_t timeout_msec);
/** "/containers/ID" and the rest, printf-like. */
char *op_path(const struct op *op, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Wake the call after so long; -1: not. */
void op_timer(struct op *op, int64_t msec);
int op_watch(struct op *op, int fd, uint32_t events);
/** What a call does when it is asked how far it is. */
int op_step(void *data, struct berth_result *ret, struct berth_error *err);
/** The same, but step it before, waiting, until `settled` (or its end): what the caller may rely on is there then. */
int op_settle(struct op *op, bool (*settled)(const struct op *op), struct berth_call **ret_call, struct berth_error *err);
/** Hand it over as a call; frees it on failure. */
int op_call(struct op *op, struct berth_call **ret_call, struct berth_error *err);

/** Wait for its end, as docker_wait does; attach ends so too. */
int on_waited(struct op *op, struct berth_result *ret, struct berth_error *err);
void begin_wait(struct op *op);

/* ---- documents of the API */
/** What the create request says; *ret_more: networks beside the first, [{network, config}], or NULL. */
int create_document(const struct spec *spec, const char *id, const char *name, const char *tag, json_t **ret,
                    json_t **ret_more, struct berth_error *err);
/** One that somebody made, none of the modes bridge, host, none, container:. */
bool is_named_network(const char *network);
/** Refuse by name what this engine cannot do. */
int spec_refuse(const struct spec *spec, struct berth_error *err);
/** Whether there is such a check. */
bool spec_probes(const struct spec_probe *p);
/** Labels as JSON. */
json_t *labels_of(const struct spec *spec);
/** The restart policy and limits alone: what update changes. */
int update_document(const struct spec *spec, json_t **ret, struct berth_error *err);
/** Text for a query: everything but unreserved characters escaped. free(3) */
char *query_text(const char *text);

/* ---- verbs */
int docker_create(void *self, const char *spec_json, struct berth_call **ret_call, struct berth_error *err);
int docker_plan(void *self, const char *spec_json, char **ret_json, struct berth_error *err);
int docker_start(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err);
int docker_stop(void *self, const struct berth_handle *h, int64_t timeout_msec, struct berth_call **ret_call, struct berth_error *err);
int docker_restart(void *self, const struct berth_handle *h, int64_t timeout_msec, struct berth_call **ret_call, struct berth_error *err);
int docker_remove(void *self, const struct berth_handle *h, const struct berth_remove_options *o, struct berth_call **ret_call, struct berth_error *err);
int docker_wait(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err);
int docker_status(void *self, const struct berth_handle *h, struct berth_status **ret, struct berth_error *err);
int docker_status_call(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err);
int docker_stats(void *self, const struct berth_handle *h, struct berth_stats *ret, struct berth_error *err);
int docker_logs(void *self, const struct berth_handle *h, const struct berth_logs_options *o, struct berth_stream **ret, struct berth_error *err);
int docker_events(void *self, const struct berth_events_options *o, struct berth_stream **ret, struct berth_error *err);
int docker_exec(void *self, const struct berth_handle *h, const char *const *argv, const struct berth_exec_options *o, struct berth_call **ret_call, struct berth_error *err);
int docker_attach(void *self, const struct berth_handle *h, const struct berth_attach_options *o, struct berth_call **ret_call, struct berth_error *err);
int docker_exec_list(void *self, const struct berth_handle *h, char **ret_json, struct berth_error *err);
int docker_exec_kill(void *self, const struct berth_handle *h, uint64_t exec_id, int signal, struct berth_error *err);
int docker_host_port(void *self, const struct berth_handle *h, const struct berth_port *port, struct berth_host_port *ret, struct berth_error *err);
int docker_address(void *self, const struct berth_handle *h, const struct berth_port *port, const char *network, char ret[BERTH_ADDRESS_TEXT], struct berth_error *err);
int docker_find(void *self, const char *name, struct berth_handle *ret, struct berth_error *err);
int docker_list(void *self, struct berth_handle **ret, size_t *ret_count, struct berth_error *err);
int docker_signal(void *self, const struct berth_handle *h, int signal, struct berth_error *err);
int docker_pause(void *self, const struct berth_handle *h, struct berth_error *err);
int docker_unpause(void *self, const struct berth_handle *h, struct berth_error *err);
int docker_update(void *self, const struct berth_handle *h, const char *patch_json, struct berth_error *err);
int docker_rename(void *self, const struct berth_handle *h, const char *new_name, struct berth_error *err);
int docker_inspect(void *self, const struct berth_handle *h, char **ret_json, struct berth_error *err);

#endif
