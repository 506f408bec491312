/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a workload that removes itself, or whose remover did not stay: --rm, rm --force.
 *
 * Started by the supervisor as its last act. `life` falls free when the supervisor has really gone;
 * held here from then on, it keeps the workload from being started while it is taken apart.
 */
#include "helper/helper.h"
#include "base/base.h"
#include "base/crash.h"
#include "base/file.h"
#include "linux/cgroup.h"
#include "linux/net_record.h"
#include "store/store.h"
#include <stdio.h>
#include <string.h>

#define CGROUP_WAIT_MSEC 5000

static void cleanup_store_handle(struct store **s)
{
    store_close(*s);
}

static void cleanup_workload_handle(struct workload **w)
{
    workload_close(*w);
}

/*
 * The groups, from before the wait on: meanwhile somebody else may remove the workload, and on v1 we
 * were born where the supervisors are, which keeps the parent from going.
 */
struct group {
    struct cgroup_layout *layout;
    char path[sizeof(((struct status *)0)->cgroup)];
};

static void cleanup_group(struct group *g)
{
    cgroup_layout_free(g->layout);
}

static int group_leave(struct workload *w, struct group *g, struct berth_error *err)
{
    struct status status;
    if (workload_status_read(w, &status, NULL, NULL) < 0 || !status.cgroup[0])
        return 0; /* never started, or nothing known: nothing to remove */
    memcpy(g->path, status.cgroup, sizeof(g->path));
    int r = cgroup_layout_read(&g->layout, err);
    if (r == 0)
        cgroup_leave(g->layout);
    return r;
}

static int group_remove(const struct group *g, struct berth_error *err)
{
    int r = g->layout ? cgroup_remove(g->layout, g->path, CGROUP_WAIT_MSEC) : 0;
    return r < 0 && r != -ENOENT ? fail_os(err, r, g->path, "remove the cgroup %s", g->path) : 0;
}

/* Both locks: nobody starts it, nobody else removes it. NOT_FOUND when it has gone meanwhile. */
static int take_locks(struct workload *w, int *ret_life_fd, struct berth_error *err)
{
    autoclose int life_fd = -1;
    int r = workload_life_fd(w, &life_fd, err);
    if (r < 0)
        return r;
    r = lock_wait(life_fd);
    if (r < 0)
        return fail_os(err, r, workload_id(w), "wait for the end of workload %.12s", workload_id(w));
    crash_point("helper.remove.waited");
    int change_fd = workload_change_fd(w, err);
    if (change_fd < 0)
        return change_fd;
    r = lock_wait(change_fd);
    if (r < 0)
        return fail_os(err, r, workload_id(w), "lock workload %.12s", workload_id(w));
    r = workload_lock_change(w, err); /* ours already: looks whether it still is there */
    if (r < 0)
        return r;
    *ret_life_fd = take_fd(&life_fd);
    return 0;
}

static int remove_workload(struct store *store, struct workload *w, bool volumes,
                           struct berth_error *err)
{
    char name[BERTH_NAME_MAX + 8];
    autoclose int life_fd = -1;
    autoclean(cleanup_group) struct group group = {0};
    int r = group_leave(w, &group, err);
    if (r == 0)
        r = take_locks(w, &life_fd, err);
    if (r == BERTH_NOT_FOUND) {
        (void)tree_remove(store_run_fd(store), workload_id(w)); /* our looking at its locks made it again */
        (void)group_remove(&group, NULL);
        return r;
    }
    if (r == 0)
        r = workload_name(w, name, err);
    if (r == 0)
        r = group_remove(&group, err);
    if (r < 0)
        return r;
    crash_point("helper.remove.cgroup");
    int run_fd = workload_run_fd(w, err);
    r = run_fd < 0 ? run_fd : net_record_undo(run_fd, store_tag(store), err);
    if (r < 0)
        return r;
    r = volumes ? workload_remove_volumes(w, err) : 0;
    if (r == 0)
        r = workload_discard(w, err);
    if (r < 0)
        return r;
    event_append(store_root_fd(store), "remove", workload_id(w), name, NULL);
    return 0;
}

int applet_remove(int argc, char **argv, struct berth_error *err)
{
    autoclean(cleanup_store_handle) struct store *store = NULL;
    autoclean(cleanup_workload_handle) struct workload *w = NULL;
    bool volumes = false;
    const struct applet_option table[] = {{"--volumes", .ret_flag = &volumes}};
    int r = applet_options(argv + 4, table, ARRAY_SIZE(table), err);
    if (r < 0)
        return r;
    r = store_open(argv[1], argv[2], false, &store, err);
    if (r < 0)
        return r == BERTH_NOT_FOUND ? 0 : r;
    r = workload_open(store, argv[3], &w, err);
    if (r == 0)
        r = remove_workload(store, w, volumes, err);
    if (r < 0 && r != BERTH_NOT_FOUND)
        return r;
    r = store_empty_trash(store_root_fd(store), err);
    char hash[16];
    snprintf(hash, sizeof(hash), "%s", store_tag(store));
    workload_close(TAKE(w));
    store_close(TAKE(store));
    return r < 0 && access(argv[1], F_OK) == 0 ? r : networks_sweep_later(argv[1], argv[2], hash, err);
}
