/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload without a supervisor: busybox in a folder, a plan built by hand, and launch.
 */
#ifndef TESTS_UNIT_LAUNCH_RIG_H
#define TESTS_UNIT_LAUNCH_RIG_H

#include "supervisor/launch.h"
#include <stdbool.h>

struct rig {
    char dir[64];              /* everything of this rig */
    char id[40];
    char layer[128], upper[256], work[256];
    struct plan plan;
    struct plan_mount mounts[32];
    struct plan_device devices[16];
    char *argv[8], *env[8], *layers[2];
    int root_fd, run_fd, workload_fd;
    struct launch *launch;
    struct launch_child child;
    int ready_fd, master_fd;
    int in_fd, out_fd, err_fd; /* our ends */
    char *output;              /* of the last run, stdout */
    int status;                /* as waitpid's */
    struct berth_error err;
};

/** Folders, an image layer with busybox, and a plan like an engine's default, `--network none`. */
void rig_begin(struct rig *r);
/** Remove everything, and fail when a group or a mount is left. */
void rig_end(struct rig *r);
void rig_mount(struct rig *r, int kind, const char *source, const char *target, uint64_t flags, const char *data);
/** Write a file into the image layer. */
void rig_file(struct rig *r, const char *path, const char *text, unsigned mode);
/** launch_prepare of a shell script, or of r->argv as it is. The plan is final from here on. */
int rig_prepare(struct rig *r, const char *script);
/** launch_start with pipes and wait until it runs or failed: launch_result's answer. */
int rig_start(struct rig *r);
/** Read stdout to its end, reap: exit code, or 128 + signal. */
int rig_finish(struct rig *r);
/** prepare, start, finish. Negative: it did not start, r->err says why. */
int rig_run(struct rig *r, const char *script);
/** One more program inside; stdout into r->output. Exit code or negative. */
int rig_exec(struct rig *r, const char *script, const char *user);
/** Kill what runs, launch_free. */
void rig_stop(struct rig *r);

#endif
