/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store: the directory is the workload.
 *
 * ROOT/workloads/ID holds spec.json, plan.json, status, log/, fs/ and files; it survives a reboot.
 * RUN/ID holds the locks `life` and `change` and the supervisor's socket; it is this boot's.
 * ROOT/names/NAME is a link to the id: taken by making it, so it can't be given twice.
 *
 *   ROOT/format  ROOT/workloads/ID/  ROOT/names/  ROOT/leases/KIND/KEY  ROOT/volumes/NAME/  ROOT/networks/NAME
 *   ROOT/images/
 *   ROOT/aside/ID (being made; its maker holds a lock on it)  ROOT/trash/  ROOT/events/  ROOT/cache/
 *   RUN/boot  RUN/ID/{life,change,socket}
 *
 * No function here waits for another process except where it says so.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/error.h"
#include "model/status.h"
#include <stdbool.h>
#include <stdint.h>

#define STORE_FORMAT 1

struct store;  /* descriptors of ROOT and RUN; may be used by many threads */

/** Open; `make` makes the folders (0700 run and root). CORRUPT for an unknown format; without `make`, NOT_FOUND
 *  when ROOT isn't there or isn't a store yet: then there are no workloads. RUN is made in either case. */
int store_open(const char *root, const char *run, bool make, struct store **ret_store, struct berth_error *err);
void store_close(struct store *store);
const char *store_root(const struct store *store);
const char *store_run(const struct store *store);
int store_root_fd(const struct store *store);  /* the store's own */
int store_run_fd(const struct store *store);   /* the same */
/** 8 hex digits of a hash of ROOT's real path: in cgroup, bridge and table names. */
const char *store_tag(const struct store *store);
/** This boot (/proc/sys/kernel/random/boot_id). */
const char *store_boot_id(const struct store *store);

/* ---- making and removing */
struct store_draft;  /* a directory aside, locked by its maker; undone when its maker dies */
/** New random id, ROOT/aside/ID made and locked, and the name taken. EXISTS names the holder. NULL name: one is made ("brave_otter"). */
int store_draft_begin(struct store *store, const char *name, struct store_draft **ret_draft, struct berth_error *err);
const char *store_draft_id(const struct store_draft *draft);
const char *store_draft_name(const struct store_draft *draft);
int store_draft_fd(const struct store_draft *draft);         /* folder to fill; the draft's own */
const char *store_draft_path(const struct store_draft *draft);
/** Final path that the folder will have. */
const char *store_draft_final_path(const struct store_draft *draft);
/** Rename into workloads/ID. The draft is freed either way. */
int store_draft_commit(struct store_draft *draft, struct berth_error *err);
/** Undo: folder, name and leases gone. */
void store_draft_abandon(struct store_draft *draft);
/** Undo drafts whose maker died, empty the trash of what nobody deletes. Cheap when there is nothing. */
int store_sweep(struct store *store, struct berth_error *err);
/** Delete what was discarded. For the helper: it may take long. What is not released yet is left to store_sweep. */
int store_empty_trash(int root_fd, struct berth_error *err);
/** How many folders of aside/ and trash/ nobody is at work on: what the two above would remove. */
size_t store_leftovers(struct store *store);
/** Names whose holder has gone or goes by another (a rename that was cut short); with `drop` they are freed. How many stay. */
size_t store_stale_names(struct store *store, bool drop);

/* ---- one workload */
struct workload;  /* an open directory and its locks */
/** By 32 hex digits. NOT_FOUND. */
int workload_open(struct store *store, const char *id, struct workload **ret_workload, struct berth_error *err);
void workload_close(struct workload *w);  /* releases what it locked */
const char *workload_id(const struct workload *w);
int workload_fd(const struct workload *w);      /* ROOT/workloads/ID */
int workload_run_fd(struct workload *w, struct berth_error *err); /* RUN/ID, made when missing; negative on failure */
const char *workload_path(const struct workload *w);
const char *workload_run_path(const struct workload *w);
int workload_name(const struct workload *w, char ret_name[BERTH_NAME_MAX + 8], struct berth_error *err);

/** The same and when it was created. One system call. */
int workload_label(const struct workload *w, int64_t *ret_created_usec, char ret_name[BERTH_NAME_MAX + 8], struct berth_error *err);

/** `change`: BERTH_AGAIN when somebody else holds it, NOT_FOUND when it was removed. After a helper waited
 *  for the lock through workload_change_fd, call it again: the lock is ours then, and it looks whether the workload still is. */
int workload_lock_change(struct workload *w, struct berth_error *err);
void workload_unlock_change(struct workload *w);
/** Descriptor of the change lock file (for a helper that waits with F_OFD_SETLKW). */
int workload_change_fd(struct workload *w, struct berth_error *err);
/** 1: a supervisor lives, 0: not. */
int workload_alive(struct workload *w, struct berth_error *err);
/** Open `life` without locking it, to look at (lock_held) or to hand to `berth-helper logs`. */
int workload_life_fd(struct workload *w, int *ret_fd, struct berth_error *err);
/** Open `life` and lock it, to be handed to a new supervisor. WRONG_STATE when one lives. */
int workload_take_life(struct workload *w, int *ret_life_fd, struct berth_error *err);

/** Status as written. `ret_alive` (may be NULL): whether a supervisor lives; consistent with the record. */
int workload_status_read(struct workload *w, struct status *ret_status, bool *ret_alive, struct berth_error *err);
/** Replace it; `sync` for an end record. */
int workload_status_write(struct workload *w, const struct status *status, bool sync, struct berth_error *err);
/** The same for a supervisor, which has only the descriptor of the directory. */
int status_write_at(int workload_fd, const struct status *status, bool sync, struct berth_error *err);
int status_read_at(int workload_fd, struct status *ret_status, struct berth_error *err);

int workload_read(struct workload *w, const char *file, size_t max, char **ret_data, size_t *ret_size, struct berth_error *err);
int workload_write(struct workload *w, const char *file, const char *data, size_t size, struct berth_error *err);

/** Connect to the supervisor's socket (through the run directory's descriptor: no path limit); it is non-blocking.
 *  LOST when nobody listens, AGAIN when its queue is full. */
int workload_connect(struct workload *w, int *ret_socket_fd, struct berth_error *err);

/** Let its anonymous volumes that nobody else uses go with it: call before workload_discard. */
int workload_remove_volumes(struct workload *w, struct berth_error *err);
/** Rename away into trash (under change); name, leases and RUN/ID released (read the name before). Deleting the trash is the helper's
 *  (`berth-helper delete ROOT`), or the next store_sweep's. Twice succeeds. */
int workload_discard(struct workload *w, struct berth_error *err);
/** After it: delete what takes less time than starting the helper would. Negative: the helper is needed. */
int workload_delete_small(struct workload *w);
int workload_rename(struct workload *w, const char *new_name, struct berth_error *err);

/* ---- many */
/** Ids (32 hex), newest first by creation; NULL-terminated strings array. */
int store_list(struct store *store, char ***ret_ids, struct berth_error *err);
/** Name or unambiguous id prefix -> id. NOT_FOUND, INVALID (ambiguous). */
int store_find(struct store *store, const char *name_or_prefix, char ret_id[BERTH_ID_TEXT], struct berth_error *err);

/* ---- leases: what is handed out once (names, addresses, ports) */
/** Take KEY of KIND for workload `id`. EXISTS: `ret_holder` says who. A lease whose workload is gone is taken over. */
int lease_take(struct store *store, const char *kind, const char *key, const char *id, char ret_holder[BERTH_ID_TEXT], struct berth_error *err);
int lease_release(struct store *store, const char *kind, const char *key, const char *id);
int lease_release_all(struct store *store, const char *id);

/* ---- volumes: ROOT/volumes/NAME/{data/,volume.json} */
int volume_create(struct store *store, const char *name, bool anonymous, const char *labels_json, bool *ret_made, struct berth_error *err);
int volume_path(struct store *store, const char *name, char **ret_data_path, struct berth_error *err);
int volume_list(struct store *store, char ***ret_names, struct berth_error *err);
int volume_read(struct store *store, const char *name, char **ret_json, struct berth_error *err); /* name, created, labels, anonymous, path */
/** WRONG_STATE while a workload's reference (a lease of kind "volume-use") exists. */
int volume_remove(struct store *store, const char *name, struct berth_error *err);
int volume_use(struct store *store, const char *name, const char *id, struct berth_error *err);
int volume_users(struct store *store, const char *name, char ***ret_ids, struct berth_error *err);

/* ---- events: one JSON object a line, one write(), rotated at 16 MiB, one old file kept */
#define EVENTS_MAX_BYTES (16u << 20)
/** `attributes_json` are further members ("\"exit_code\":1,..."), may be NULL. Never fails the caller's work: 0 or -errno. */
int event_append(int root_fd, const char *type, const char *id, const char *name, const char *attributes_json);
/** Pump events to out_fd as the options say; returns at the end or when out_fd breaks. Blocks: for the helper. */
int events_pump(int root_fd, int64_t since_usec, int64_t until_usec, bool follow, const char *name_or_id, int out_fd, struct berth_error *err);

#endif
