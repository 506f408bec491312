/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the cgroup files share: the layout as found, one workload's group, and reading and writing
 * of control files. Not for use outside src/linux/cgroup*.c.
 */
#ifndef LINUX_CGROUP_INTERNAL_H
#define LINUX_CGROUP_INTERNAL_H

#include "linux/cgroup.h"

#define HIERARCHY_MAX   24
#define CGROUP_PATH_MAX 1024

struct hierarchy {
    char *mount;       /* where it is mounted */
    char *controllers; /* v1: "cpu,cpuacct" or "name=systemd"; v2: what cgroup.controllers said */
    bool v2;
};

struct cgroup_layout {
    int mode;
    struct hierarchy list[HIERARCHY_MAX];
    size_t n;
    const struct hierarchy *unified; /* NULL when no v2 is mounted */
};

enum figure_file {
    FIGURE_CPU_USAGE,
    FIGURE_CPU_SPLIT,
    FIGURE_CPU_STAT,
    FIGURE_CPU_MAX,
    FIGURE_CPU_PERIOD,
    FIGURE_MEMORY,
    FIGURE_MEMORY_STAT,
    FIGURE_MEMORY_MAX,
    FIGURE_MEMORY_PEAK,
    FIGURE_MEMORY_SWAP,
    FIGURE_PIDS,
    FIGURE_PIDS_MAX,
    FIGURE_IO,
    FIGURE_IO_OPS,
    FIGURE_PSI_CPU,
    FIGURE_PSI_MEMORY,
    FIGURE_PSI_IO,
    FIGURE_COUNT
};

struct cgroup {
    const struct cgroup_layout *layout;
    char *path; /* PARENT/ID */
    int load_fd, sup_fd, events_fd;
    bool figures_open, figures_gone;
    int figure_fds[FIGURE_COUNT];
};

/** The hierarchy that drives a controller, or NULL. */
const struct hierarchy *cgroup_hierarchy(const struct cgroup_layout *layout,
                                         const char *controller);
/** Path of a control file (NULL: the folder) of the workload's group in `h`. 0 or -ENAMETOOLONG. */
int cgroup_file_path(const struct cgroup *g, const struct hierarchy *h, const char *file,
                     char ret_path[CGROUP_PATH_MAX]);
/** Write one value in one write(2). 0 or -errno. */
int control_write(const char *path, const char *value);
/** Read a small file, NUL-terminated. Bytes or -errno. */
ssize_t control_read(const char *path, char *ret, size_t room);
/** Write a value into the workload's group. 0 or -errno. */
int cgroup_set(const struct cgroup *g, const struct hierarchy *h, const char *file,
               const char *value);
/** One number out of "key value" lines, or 0. */
uint64_t keyed_number(const char *text, const char *key);

#endif
