/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Behind the cases: what was asked for, where a worker keeps things, what may be unsupported.
 */
#ifndef CONTRACT_HARNESS_H
#define CONTRACT_HARNESS_H

#include "contract.h"

struct settings {
    const char *daemon; /* behind the engine "docker": rows of its own in the table; NULL: none */
    const char *opens, *engine, *like, *image, *rootfs, *network, *root, *run, *filter, *unsupported, *plugin, *plain;
    int jobs, timeout_sec;
    bool list, table, steps, long_run, keep, verbose;
};

#define IMAGE "contract:1" /**< made for the cases, unless another is given */

/** Read the command line; exits on --help and on a mistake. */
void settings_read(struct settings *s, int argc, char **argv);

/** Where one worker keeps its things; made by place_make in a process of its own. */
struct place {
    char *root, *run, *scratch, *cgroup_parent;
    const char *image;
};
/** Folders, the image, a first workload made and removed, so that later listings are comparable. */
bool place_make(const struct settings *s, int number, struct place *ret_place);
void place_remove(const struct settings *s, struct place *p);

/** Run one case in its own process, then look for what it left. `ret_words` is what it said; free.
 */
int case_run(const struct settings *s, const struct place *p, const struct contract_case *k,
             char **ret_words);
/** Fork, run `body` with descriptor 3 collecting its words, and wait at most that long. */
int process_run(void (*body)(const void *data), const void *data, int timeout_sec,
                char **ret_words);

/** Why a case may be unsupported by the engine, or (differs) end otherwise; NULL when it may not. */
const char *table_reason(const struct settings *s, const struct contract_case *k, bool *ret_differs);
void table_print(const struct settings *s);

extern const struct contract_group create_group, start_group, stop_group, status_group, logs_group,
    exec_group, stats_group, resolve_group, remove_group, all_group, inside_group, async_group,
    host_group, share_group;

#endif
