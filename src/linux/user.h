/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who a program runs as: names looked up in the workload's own /etc/passwd and /etc/group.
 */
#ifndef LINUX_USER_H
#define LINUX_USER_H

#include "base/error.h"
#include <stddef.h>
#include <sys/types.h>

#define USER_GROUPS_MAX 256
#define USER_FILE_MAX   (16u << 20) /* of passwd or group: what lies behind is TOO_BIG, not read */

struct user_identity {
    uid_t uid;
    gid_t gid;
    gid_t groups[USER_GROUPS_MAX]; /* supplementary, without gid */
    size_t n_groups;
    char home[256]; /* "/" when passwd does not say */
};

/**
 * `user` as docker's: "name", "uid", "name:group", "uid:gid"; NULL or "" is 0. Groups of /etc/group
 * that list the user are added unless a group was given. `groups`: further names or numbers, NULL
 * none. NOT_FOUND names who is missing. Reads inside root_fd only, regular files only, in a small
 * buffer.
 */
int user_lookup(int root_fd, const char *user, char *const *groups, struct user_identity *ret,
                struct berth_error *err);

#endif
