/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rooms of what engines share whose plans a supervisor of this machine executes: all of a workload's
 * life but the compiling of its plan, which is a struct local_kind of each engine.
 *
 *   local.c    open and close, the store          plan*.c    spec and image -> plan
 *   create.c   drafts, undoing                    cdi.c      devices by CDI name
 *   start.c    a supervisor is born               peer.c     talking to one
 *   end.c      stop, remove, restart              job.c      calls that wait: locks, ends, helpers
 *   exec.c     exec, attach                       settle.c   deaths that nobody recorded
 *   read.c     status, stats, list, inspect       streams.c  logs, events
 *   helpers.c  berth's other programs             change.c   signal, pause, rename, update
 */
#ifndef LOCAL_INSIDE_H
#define LOCAL_INSIDE_H

#include <berth/container.h>
#include <berth/engine.h>
#include "base/base.h"
#include "base/error.h"
#include "base/text.h"
#include "image/image.h"
#include "linux/cgroup.h"
#include "model/plan.h"
#include "engine/settings.h"
#include "model/spec.h"
#include "model/status.h"
#include "store/network.h"
#include "store/store.h"
#include <jansson.h>
#include <pthread.h>
#include <string.h>

#define SPEC_FILE "spec.json"
#define PLAN_FILE "plan.json"
#define FACTS_FILE "facts.json" /* members of status that come from the spec */
#define IMAGE_LINK "image"      /* its text is the image's name */
#define KIND_LINK "runtime"     /* its text is the engine's name */

#define CACHE_SLOTS 64

struct local {
    const struct local_kind *kind;
    char *root, *run, *programs;
    struct settings_source settings; /* berth.toml */
    pthread_mutex_t lock;          /* store, layout */
    struct store *store;           /* opened when first needed, made by the first create */
    struct cgroup_layout *layout;
    pthread_mutex_t cache_lock;
    struct cache_slot {            /* groups kept open for stats */
        char id[BERTH_ID_TEXT];
        struct cgroup *group;
        int64_t used;
        int32_t pid;               /* of the run that it was opened for */
    } cache[CACHE_SLOTS];
    int64_t cache_clock;
    struct expected *expected;     /* attaches that wait for a start; under `lock` */
};

/** What a child does first, without which nothing can go on. */
struct work {
    int fd;                        /* readable when step should be tried; changes with a step */
    /** 1 done, 0 not yet. */
    int (*step)(struct work *work, struct berth_error *err);
    void (*free)(struct work *work); /* what is under way ends */
};
/** Step until it is done, waiting. Blocks. */
int work_wait(struct work *work, struct berth_error *err);
void work_free(struct work *work); /* NULL allowed */
static inline void cleanup_work(struct work **work) { work_free(*work); }

/** What an exec runs where the plan has a program of its own. */
#define EXEC_FILES_MAX 4
struct exec_program {
    char **argv, *shown;           /* shown: the command as its caller knows it */
    int files[EXEC_FILES_MAX];     /* the plan's when there are none */
    size_t n_files;
};
void exec_program_clear(struct exec_program *p);

struct compile;
/** What makes an engine of its own out of all this. */
struct local_kind {
    const char *name;
    bool takes_files;              /* an image may be the path of a module: it is imported first */
    bool bare;                     /* nothing of ours is in the root: no /proc, /dev, /etc/hosts */
    bool on_host;                  /* the root is the host's; an image is a word, nothing is pulled, kept or mounted for it */
    uint64_t caps;                 /* before what the spec adds and drops; 0: docker's */
    /** Refuse by name what this engine alone does not do. */
    int (*refuse)(const struct spec *spec, struct berth_error *err);
    /** The image that the spec names, into k->image. */
    int (*find)(struct compile *k, struct berth_error *err);
    /** The parts of its compiler in their order, NULL at the end. */
    int (*const *groups)(struct compile *k, struct berth_error *err);

    /* The rest may be NULL. */
    /** What plans depend on besides berth's version: part of their stamp. free(3) */
    int (*stamp)(struct local *c, const struct local_kind *kind, char **ret, struct berth_error *err);
    /** What has to be made before a plan can be made of this spec; *ret stays NULL when nothing has. Asked again after it.
     *  Early, in create, what a start has to say is no failure. */
    int (*early)(struct local *c, struct store *store, const struct spec *spec, struct work **ret, struct berth_error *err);
    int (*prepare)(struct local *c, struct store *store, const struct spec *spec, struct work **ret, struct berth_error *err);
    /** Whether what the plan refers to is still there and ours; if not, `why` says in words for events what is wrong. */
    bool (*whole)(struct local *c, const struct plan *plan, const char **ret_why);
    /** The supervisor's program says that what it was given is damaged: throw it away, so that prepare makes it anew. */
    void (*discard)(struct local *c, const struct plan *plan);
    /** The program of an exec. *ret_work, when it stays not NULL, has to be done before; then `done` brings it back. */
    int (*program)(struct local *c, struct workload *w, const char *const *argv, const struct berth_exec_options *o,
                   struct work *done, struct exec_program *ret, struct work **ret_work, struct berth_error *err);
    /** What it knows beyond groups and links. */
    void (*stats)(struct workload *w, struct berth_stats *ret);
};
extern const struct local_kind container_kind, wasm_kind;
/** By its name; NULL when this process has none. */
const struct local_kind *kind_find(const char *name);
/** One more, for the life of the process. EXISTS: its name is taken. */
int kind_add(const struct local_kind *kind, struct berth_error *err);
/** Whose workload this is; the container engine's when it was made before others were; NULL: of an engine that is not
 *  local, and has a folder for its name's sake. */
const struct local_kind *kind_of(struct workload *w);
/** workload_open, for one of a local engine: another's is NOT_FOUND. */
int local_workload(struct store *store, const char *id, struct workload **ret, struct berth_error *err);
int local_open_as(const struct local_kind *kind, const struct berth_options *options, void **ret_self,
                      struct berth_error *err);
void local_close(void *self);

/** A connection made before there is a supervisor: its far end goes with the start. */
struct expected {
    char id[BERTH_ID_TEXT];
    int far_fd;                    /* -1: a start took it */
    struct expected *next;
};
/** Hand what waits for workload `id` to its supervisor-to-be, over the starter's socket. */
int expected_send(struct local *c, const char *id, int starter_fd, struct berth_error *err);

/** The store, opened at first use. NOT_FOUND without `make` when there is none yet: then there are no workloads. */
int local_store(struct local *c, bool make, struct store **ret_store, struct berth_error *err);
int local_layout(struct local *c, const struct cgroup_layout **ret_layout, struct berth_error *err);
/**
 * What is kept open for long must not lie at 0, 1 or 2, where a host that closed those later expects
 * its own: occupy them while opening, then let go.
 */
struct low_fds { int fds[3]; };
struct low_fds low_fds_occupy(void);
void low_fds_release(struct low_fds *low);
/** The engine behind a runtime, for container.h: one of those over all this. */
int local_self(struct berth_runtime *runtime, struct local **ret, struct berth_error *err);
/** Path of a program of berth's; NOT_FOUND when it is not installed. free(3) */
int local_program(const struct local *c, const char *name, char **ret_path, struct berth_error *err);
/** Open what a handle means. NOT_FOUND names it. */
int local_get(struct local *c, const struct berth_handle *h, struct workload **ret, struct berth_error *err);
static inline void cleanup_workload(struct workload **w) { workload_close(*w); }
#define autoworkload __attribute__((cleanup(cleanup_workload))) struct workload *
static inline void cleanup_image(struct image **i) { image_free(*i); }
void local_handle(struct workload *w, struct berth_handle *ret);
/** What berth does with the kernel needs these: DENIED names the missing one. */
int local_need(const char *verb, struct berth_error *err);

/* ---- compiling */
struct compile {
    struct local *c;
    const struct local_kind *kind;
    struct store *store;
    const struct spec *spec;
    struct settings *settings;     /* of berth.toml, as it is now */
    struct image *image;
    struct image **others;         /* of image mounts */
    size_t n_others;
    struct plan *plan;
    const char *id, *name;
    const char *dir;               /* final path of the workload's folder */
    const struct plan *before;     /* the plan that it had; NULL: none */
    struct module *module;         /* of a Wasm workload; freed by free_module */
    void (*free_module)(struct module *m);
    bool dry;                      /* nothing may be made */
    bool mounted;                  /* it runs: its files are written in place, where it sees them */
};
/** Everything but files: what create writes and --dry-run prints. The plan is the caller's. */
int compile_plan(struct compile *k, struct plan **ret_plan, struct berth_error *err);
void compile_clear(struct compile *k);
int plan_program(struct compile *k, struct berth_error *err);
int plan_network(struct compile *k, struct berth_error *err);
int plan_storage(struct compile *k, struct berth_error *err);
int plan_security(struct compile *k, struct berth_error *err);
int plan_resources(struct compile *k, struct berth_error *err);
int plan_life(struct compile *k, struct berth_error *err);
/** Devices by CDI name: nodes, mounts, env into the plan. */
int plan_cdi(struct compile *k, struct berth_error *err);
/** Refuse what this engine does not do, by name. */
int plan_refuse(const struct local_kind *kind, const struct spec *spec, struct berth_error *err);
/** An empty plan with its stamp and names: the first part of every compiler. */
int plan_set_up(struct compile *k, struct berth_error *err);
/** hosts, hostname, resolv.conf, secrets into the folder. */
int plan_files(const struct compile *k, int folder_fd, struct berth_error *err);
/** Of these hosts and resolv.conf, anew when the networks are others than in `before`. */
int plan_files_changed(struct compile *k, const struct plan *before, struct plan *now, int folder_fd, struct berth_error *err);
int plan_add_mount(struct plan *plan, const struct plan_mount *mount);
int plan_add_device(struct plan *plan, const struct plan_device *device);
/** "berth 0.1.0 MACHINE" and what its kind adds: a plan with another stamp is made anew by start. free(3) */
int plan_stamp(struct local *c, const struct local_kind *kind, char **ret, struct berth_error *err);
/** Where names are asked: gateways, or what the spec or the host says. */
int plan_nameservers(const struct compile *k, char ***ret, struct berth_error *err);
/** The program's own argv: behind "--" where the plan has a program that is only its machine. */
char *const *plan_command(const struct plan *plan);
/** Anonymous and named volumes of the plan, made and marked as used, when missing. */
int plan_volumes_make(struct store *store, const struct plan *plan, const char *id, struct berth_error *err);
/** The profile's text and where its compiled filter is. *ret_text NULL: unconfined. */
int seccomp_profile(const struct spec *spec, uint64_t caps, char **ret_text, char ret_key[40], struct berth_error *err);
/** Members for status: image, command, ports, labels, network, restart. free(3) */
char *facts_print(const struct spec *spec, const struct image *image, const struct plan *plan);

/* ---- documents */
int document_plan(struct workload *w, struct plan **ret, struct berth_error *err);
int document_spec(struct workload *w, struct spec **ret, struct berth_error *err);
/** `text` (freed; NULL: memory ran out) as one of its documents. */
int document_write(struct workload *w, const char *name, char *text, struct berth_error *err);
/** What readers use instead of spec and plan: the facts for status, the addresses for the resolve verbs. */
int document_views(struct workload *w, const struct spec *spec, const struct image *image, const struct plan *plan,
                   struct berth_error *err);

/* ---- networks */
enum network_mode { NETWORK_BRIDGED, NETWORK_NONE, NETWORK_HOST, NETWORK_JOINED };
enum network_mode spec_network_mode(const struct spec *spec);
#define PUBLISH_ADDRESS "127.0.0.1"
/** What goes with no such network. */
int plan_network_refuse(const struct spec *spec, struct berth_error *err);
/** Links with their addresses, ports of the host: leased, unless k->dry. */
int plan_bridges(struct compile *k, struct berth_error *err);
/** What `before` held and `now` does not is given back. 0 or -errno. */
int plan_network_release(struct compile *k, const struct plan *before, const struct plan *now);
/** The default network, made when missing; `dry`: only named then. */
int network_default(struct local *c, struct store *store, bool dry, struct network *ret, struct berth_error *err);
/**
 * Before an address is taken on it: one that nobody is on yet gets its bridge, so that the subnet is seen
 * to be taken, by other roots too; a chosen subnet that the host has come to cover is chosen anew.
 * *ret_lock (may stay -1) is to be held until the address is taken. EXISTS: the subnet is the host's.
 */
int network_place(struct local *c, struct network *n, int *ret_lock, struct berth_error *err);
/** A network whose subnet is what the wish says or, without one, is free on this host. */
int network_make(struct store *store, struct network_wish *wish, struct network *ret, struct berth_error *err);
/** Where it is reached, for the resolve verbs: beside the plan. */
int network_file_write(int folder_fd, const struct spec *spec, const struct plan *plan, struct berth_error *err);
/** Change its spec as `edit` says, under `change`: recompiled, told to its supervisor, written down. */
int local_change(struct local *c, const struct berth_handle *h, const char *verb, const char *event,
                     int (*edit)(struct local *c, json_t *spec, void *data, struct berth_error *err), void *data,
                     struct berth_error *err);
/** The networks that it is on, running or not; NULL for none. */
char **network_names(struct workload *w);
/** Members for status: addresses while it runs. */
void report_addresses(struct text *t, struct workload *w, bool runs);


/* ---- settings */
/** What berth.toml says now; settings_free(). Waits for a child when the file is not known yet. INVALID: file, line, key. */
int settings_read(struct local *c, struct settings **ret, struct berth_error *err);
/** Where a network is chosen that says nothing of it. */
int network_settings(struct local *c, struct network_wish *wish, struct berth_error *err);
/** The same as JSON text; free(3). */
int settings_text(struct local *c, char **ret_json, struct berth_error *err);

/* ---- programs and waiting */
/** Spawn a program of berth's, fds[i] becoming descriptor i. */
int helper_spawn(const struct local *c, const char *program, const char *const *argv,
                 const int *fds, size_t n_fds, int *ret_pid_fd, struct berth_error *err);
/** Start the helper that waits for a lock file; *ret_fd is readable when it has ended. ret_pid_fd may be NULL. */
int lock_helper(const struct local *c, int lock_fd, int *ret_fd, int *ret_pid_fd,
                struct berth_error *err);
/** Take `change`, waiting (in a helper) while somebody else has it. Blocks: for verbs without a call. */
int change_lock_wait(struct local *c, struct workload *w, struct berth_error *err);
/** Empty the trash: a helper nobody waits for. */
void trash_helper(const struct local *c);
/** The keeper of a pool (linux/net_pool.h): lives while *ret_fd is open somewhere. */
int pool_helper(const struct local *c, unsigned count, int *ret_fd, struct berth_error *err);
/** Compile a seccomp filter into the cache unless it is there; *ret_fd -1: it is, else readable when done. */
int seccomp_helper(const struct local *c, struct store *store, const char *text, const char *key,
                   uint64_t caps, int *ret_fd, struct berth_error *err);
/** What the helper said on its way out: 0 or its failure. */
int helper_end(int fd, struct berth_error *err);

/* ---- a supervisor */
int peer_send(int fd, uint32_t type, uint64_t tag, const char *body, const int *fds, size_t n_fds, struct berth_error *err);
struct peer_reply { uint32_t type; uint64_t tag; char *body; size_t length; };
/** 1 and a reply, 0 not yet, LOST at its end. free(reply->body) */
int peer_receive(int fd, struct peer_reply *ret, struct berth_error *err);
/** Its supervisor, which has an end of its own and beginnings: one whose record says that it runs and that does not listen
 *  has just ended and been started again by somebody, so it is asked again for a moment. LOST when there is none. */
int peer_connect(struct workload *w, int *ret_fd, struct berth_error *err);
/** One request and its answer, waiting for it. ret_body may be NULL. */
int peer_ask(struct workload *w, const char *verb, uint32_t type, const char *body, char **ret_body, struct berth_error *err);
bool state_lives(int state);
/** What to call one that has a supervisor: its state, or, as that is still of what was before, that it is being started. */
const char *living_word(int state);
bool state_final(int state);
/** `supervisor_pid` while a supervisor is being born over an old record: what the record says is not the end. */
#define BEING_BORN (-1)
/** The record is of an end, and no new supervisor is being born over it. */
bool has_ended(const struct status *status, bool alive);
/** The same, and a start that was undone: what still lives has written its last record and is about to free the lock. */
bool lets_go(const struct status *status, bool alive);
int wrong_state(const struct workload *w, const char *verb, int state, struct berth_error *err);

/* ---- settling */
/** After its socket closed or its run folder changed: a killed supervisor's sockets close, and a watch tells, a moment
 *  before its `life` falls free. Waits for that, 20 ms at most. */
void settle_breath(struct workload *w);
/** Read the record; a death nobody recorded is told as failed and, if `change` is free, cleared away. */
int settle_status(struct local *c, struct workload *w, struct status *ret, bool *ret_alive, struct berth_error *err);
/** Open what a handle means, and that. *ret is the caller's, of a failure too. */
int settle_handle(struct local *c, const struct berth_handle *h, struct workload **ret, struct status *ret_status,
                  bool *ret_alive, struct berth_error *err);
/** The same with `change` held: killed, removed, written down. */
int settle_locked(struct local *c, struct workload *w, struct status *status, struct berth_error *err);
/** cgroups of an ended workload: killed, removed. 0 or -errno. */
int settle_cgroup(struct local *c, const char *path, int wait_msec);
/** What a supervisor that was killed left of the network: links, rules. */
int settle_network(struct local *c, struct workload *w, struct berth_error *err);

/* ---- verbs */
int local_create(void *self, const char *spec_json, struct berth_call **ret_call, struct berth_error *err);
int local_plan(void *self, const char *spec_json, char **ret_json, struct berth_error *err);
int local_start(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err);
int local_stop(void *self, const struct berth_handle *h, int64_t timeout_msec, struct berth_call **ret_call, struct berth_error *err);
int local_restart(void *self, const struct berth_handle *h, int64_t timeout_msec, struct berth_call **ret_call, struct berth_error *err);
int local_remove(void *self, const struct berth_handle *h, const struct berth_remove_options *o, struct berth_call **ret_call, struct berth_error *err);
int local_wait(void *self, const struct berth_handle *h, struct berth_call **ret_call, struct berth_error *err);
int local_status(void *self, const struct berth_handle *h, struct berth_status **ret, struct berth_error *err);
int local_stats(void *self, const struct berth_handle *h, struct berth_stats *ret, struct berth_error *err);
int local_logs(void *self, const struct berth_handle *h, const struct berth_logs_options *o, struct berth_stream **ret, struct berth_error *err);
int local_events(void *self, const struct berth_events_options *o, struct berth_stream **ret, struct berth_error *err);
int local_exec(void *self, const struct berth_handle *h, const char *const *argv, const struct berth_exec_options *o, struct berth_call **ret_call, struct berth_error *err);
int local_attach(void *self, const struct berth_handle *h, const struct berth_attach_options *o, struct berth_call **ret_call, struct berth_error *err);
int local_exec_list(void *self, const struct berth_handle *h, char **ret_json, struct berth_error *err);
int local_exec_kill(void *self, const struct berth_handle *h, uint64_t exec_id, int signal, struct berth_error *err);
int local_host_port(void *self, const struct berth_handle *h, const struct berth_port *port, struct berth_host_port *ret, struct berth_error *err);
int local_address(void *self, const struct berth_handle *h, const struct berth_port *port, const char *network, char ret[BERTH_ADDRESS_TEXT], struct berth_error *err);
int local_find(void *self, const char *name, struct berth_handle *ret, struct berth_error *err);
int local_list(void *self, struct berth_handle **ret, size_t *ret_count, struct berth_error *err);
int local_signal(void *self, const struct berth_handle *h, int signal, struct berth_error *err);
int local_pause(void *self, const struct berth_handle *h, struct berth_error *err);
int local_unpause(void *self, const struct berth_handle *h, struct berth_error *err);
int local_update(void *self, const struct berth_handle *h, const char *patch_json, struct berth_error *err);
int local_rename(void *self, const struct berth_handle *h, const char *new_name, struct berth_error *err);
int local_inspect(void *self, const struct berth_handle *h, char **ret_json, struct berth_error *err);

/** The verbs of an engine over all this, for its table; `open` is its own. */
#define LOCAL_VERBS \
    .close = local_close, .create = local_create, .start = local_start, .stop = local_stop, \
    .remove = local_remove, .status = local_status, .logs = local_logs, .exec = local_exec, .stats = local_stats, \
    .resolve_host_port = local_host_port, .resolve_container_address = local_address, .find = local_find, \
    .list = local_list, .wait = local_wait, .signal = local_signal, .attach = local_attach, .pause = local_pause, \
    .unpause = local_unpause, .update = local_update, .rename = local_rename, .restart = local_restart, \
    .events = local_events, .inspect = local_inspect, .exec_list = local_exec_list, .exec_kill = local_exec_kill, \
    .plan = local_plan

/** Stats' kept group of a workload that is going away. */
void cache_forget(struct local *c, const char *id);
void cache_clear(struct local *c);

#endif
