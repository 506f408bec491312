/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stage: the process between birth and exec, which walks the plan.
 *
 * It has two acts. The scene: the root file system is put together in a mount namespace of its own
 * and entered. The entrance: /proc, sysctls, user, privileges, filter, exec. With a user namespace a
 * forerunner, still real root, opens what the namespace's root may not.
 *
 * A failure is one struct berth_error up the ready pipe; nothing else is said.
 */
#ifndef SUPERVISOR_STAGE_H
#define SUPERVISOR_STAGE_H

#include "base/error.h"
#include "linux/cgroup.h"
#include "linux/user.h"
#include "model/plan.h"
#include <stdbool.h>
#include <stdint.h>

#define STAGE_SOCKETS_MAX 64
#define STAGE_FILES_MAX   8

/** What a stage is handed; -1 is none. */
enum stage_fd {
    STAGE_STDIN,
    STAGE_STDOUT,
    STAGE_STDERR,
    STAGE_READY,      /* pipe: the error, or closed by exec */
    STAGE_PROC,       /* the host's /proc */
    STAGE_FILTER,     /* the compiled seccomp filter's file */
    STAGE_TTY,        /* socket on which the terminal's master goes out */
    STAGE_MAIN,       /* exec: pidfd of the main program */
    STAGE_NET,        /* a network namespace that is kept over restarts */
    STAGE_USERS,      /* a user namespace that is kept with it: its owner */
    STAGE_INIT,       /* berth-init, opened through a read-only mount */
    STAGE_PROGRAM,    /* the plan's program, as that */
    STAGE_INNER,      /* pipe: a forerunner says which pid the stage has */
    STAGE_JOIN,       /* first of PLAN_NS_COUNT: pidfd of the workload whose namespace is joined */
    STAGE_FD_COUNT = STAGE_JOIN + PLAN_NS_COUNT
};

/** A mount of the plan, opened where it comes from. */
struct stage_tree {
    int fd, fill_fd;
    bool is_file;
};

struct stage {
    const struct plan *plan;
    struct cgroup *group;
    const char *place; /* a folder of the host to mount the root on, in our own namespace */
    int fds[STAGE_FD_COUNT];
    int sockets[STAGE_SOCKETS_MAX];
    size_t n_sockets;
    int files[STAGE_FILES_MAX]; /* behind the sockets */
    size_t n_files;

    /* What is run: the plan's main program, or an exec's. */
    bool exec, tty, privileged;
    char *const *argv, *const *env; /* env: besides the plan's */
    const char *user, *workdir;
    char *const *groups;
    uint16_t rows, columns;

    /* Made on the way. */
    int root_tree, proc_tree, null_tree, mask_tree, userns_fd;
    bool null_placed, mask_placed;
    struct stage_tree *trees; /* one for each mount of the plan */
    int *cgroup_trees, *device_trees;
    int shm_tree, mqueue_tree, sys_tree;
    struct user_identity who;
};

void stage_begin(struct stage *st);
/** Default signals, umask 0, a session; only the stage's own descriptors remain open. */
void stage_clean(struct stage *st);
/** Send the failure up and die. */
_Noreturn void stage_die(struct stage *st, const struct berth_error *err);

/* ---- the scene (stage_scene.c, stage_dev.c) */
/** As real root, in a fresh mount namespace that still shows the host: open everything that comes
 * from there. */
int stage_open_trees(struct stage *st, struct berth_error *err);
/** The kernel's own /dev/null, from the host, before anything of the image can be seen: what masks
 * files. */
int stage_open_null(struct stage *st, struct berth_error *err);
/** Put the root together and enter it; the host is gone afterwards. */
int stage_build(struct stage *st, struct berth_error *err);
/** Names, loopback: what belongs to namespaces just made. */
int stage_furnish(struct stage *st, struct berth_error *err);

int stage_make_dev(struct stage *st, int root_fd, int target_fd, struct berth_error *err);
int stage_make_devices(struct stage *st, int root_fd, struct berth_error *err);
int stage_open_device_trees(struct stage *st, struct berth_error *err);
/** A detached mount of /dev/shm, /dev/mqueue or /dev/pts as the plan's ipc namespace asks. */
int stage_dev_tree(struct stage *st, int kind, const char *options, struct berth_error *err);

/** Cover masked paths and bind read-only ones; those below /proc, or the others. */
int stage_cover(struct stage *st, int root_fd, bool in_proc, struct berth_error *err);

/* ---- the entrance (stage_enter.c, stage_run.c) */
/** /proc placed, sysctls written, paths below it covered. */
int stage_enter_proc(struct stage *st, int root_fd, struct berth_error *err);
int stage_open_tty(struct stage *st, int root_fd, int *ret_slave_fd, struct berth_error *err);
/** From inside the finished root: become the user and run the program. Returns only on failure. */
int stage_run(struct stage *st, struct berth_error *err);

#endif
