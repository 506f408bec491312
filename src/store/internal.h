/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the store share: the open store, claims, the undoing of a dead folder.
 */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "base/error.h"
#include "store/store.h"
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>

#define ID_LENGTH (BERTH_ID_TEXT - 1)

struct store {
    char *root, *run;
    int root_fd, run_fd;
    int workloads_fd, names_fd, leases_fd, aside_fd, trash_fd, volumes_fd, networks_fd;
    char tag[9];
    char boot_id[40];
};

/* ---- folders */
/** 32 lower-case hex digits? */
bool id_valid(const char *id);
/** A new random id. 0 or -errno. */
int id_make(char ret_id[BERTH_ID_TEXT]);
/** Open a folder for reading entries; follows no link. Descriptor or -errno. */
int open_folder_at(int dir_fd, const char *name);
/** Entries of a folder by a descriptor that stays the caller's; NULL and errno on failure. */
DIR *entries_open(int dir_fd);
/** Next entry whose name does not begin with a dot, or NULL. */
const struct dirent *entries_next(DIR *dir);
static inline void cleanup_entries(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}
#define autoentries __attribute__((cleanup(cleanup_entries)))

/* ---- the folder aside, locked by its maker: flock, since a folder can't be opened for writing */
/** Make ROOT/aside/ID and lock it. The descriptor holds the lock. */
int aside_make(struct store *store, char ret_id[BERTH_ID_TEXT], int *ret_fd);
/** Lock a folder whose maker died. Descriptor, -EAGAIN while it lives, -ENOENT when it has gone. */
int folder_lock_dead(int dir_fd, const char *name);

/* ---- claims: a link in a folder, made once; its text is the holder's id */
/** KIND is "name", or a folder below leases/. -EEXIST: `ret_holder` has it. A dead holder's is taken over. */
int claim_take(struct store *store, const char *kind, int dir_fd, const char *key, const char *id,
               char ret_holder[BERTH_ID_TEXT]);
/** Drop it if `id` holds it. 0 also when it does not. */
int claim_release(struct store *store, const char *kind, int dir_fd, const char *key,
                  const char *id);
/** Who holds it and lives. -ENOENT for nobody; what a dead one holds is dropped. */
int claim_holder(struct store *store, const char *kind, int dir_fd, const char *key,
                 char ret_holder[BERTH_ID_TEXT]);
/** Whether its holder has gone (or, a name: goes by another). 1, 0 or -errno. */
int claim_stale(struct store *store, const char *kind, const char *key, const char *id);
/** The file that claim_lock locks bytes of; made when missing. Descriptor or -errno. */
int claims_file_open(struct store *store);
/** Exclusive lock on "kind/key" among everybody, for a few system calls; close to unlock. Waits. */
int claim_lock(struct store *store, const char *kind, const char *key);

/* ---- label: the link `name` in a workload's folder: "CREATED_USEC/NAME" */
int label_write(int folder_fd, int64_t created_usec, const char *name);
/** `at` is a path below dir_fd that ends in the label. */
int label_read(int dir_fd, const char *at, int64_t *ret_created_usec,
               char ret_name[BERTH_NAME_MAX + 8]);
/** What people call the workload of that id: its name, or the beginning of the id when it has none any more. */
void label_of(struct store *store, const char *id, char ret_name[BERTH_NAME_MAX + 8]);

/** Name and leases of a folder that left aside/ or workloads/ for good; its run folder too. */
int folder_release(struct store *store, const char *id, int folder_fd);
/** Those who hold a lease of the kind and live; what the dead hold is dropped. Keys, or the holders' ids (each once). */
int lease_holders(struct store *store, const char *kind, bool ids, char ***ret);
/** Keys of the kind noted with a workload; NULL for none. */
int leases_noted(struct store *store, const char *id, const char *kind, char ***ret_keys);
/** Every lease noted in a holder's folder. */
int leases_release_noted(struct store *store, const char *id, int folder_fd);
/** Anonymous volumes noted in a holder's folder, as names. */
int leases_noted_volumes(int folder_fd, char ***ret_names);

/** An anonymous volume that only `id` uses: gone. Any other stays. 0 or -errno. */
int volume_release_anonymous(struct store *store, const char *name, const char *id);

#define MARK_VOLUMES "remove-volumes" /* in a folder in the trash: anonymous volumes go with it */

#endif
