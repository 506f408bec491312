/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h: what other firewalls drop of what one workload needs, for who has just started it.
 */
#include "local/inside.h"
#include "engine/desk.h"
#include "linux/net_integrate.h"
#include "linux/net_record.h"
#include <jansson.h>

/* Of a family that it has an address of; what is forwarded only where there is a way out. */
static bool concerns(const json_t *obstacle, const struct net_share *share)
{
    const char *family = json_string_value(json_object_get(obstacle, "family"));
    const char *hook = json_string_value(json_object_get(obstacle, "hook"));
    bool six = false, out = false;
    for (size_t i = 0; i < share->n_guests; i++)
        six |= share->guests[i].address[1].family != 0;
    for (size_t i = 0; i < share->n_bridges; i++)
        out |= share->bridges[i][1] == 'b'; /* net_bridge_name() */
    return family && hook && (strcmp(family, "ip6") != 0 || six) && (strcmp(hook, "forward") != 0 || out);
}

static char *those_of(const char *seen, const struct net_share *share)
{
    json_t *all = json_loads(seen, 0, NULL), *of = json_array(), *each;
    size_t i;
    json_array_foreach(all, i, each)
        if (concerns(each, share))
            json_array_append(of, each);
    char *text = all && of ? json_dumps(of, JSON_COMPACT) : NULL;
    json_decref(all);
    json_decref(of);
    return text;
}

static int share_of(struct store *store, const struct berth_handle *handle, struct net_share **ret, struct berth_error *err)
{
    autoworkload w = NULL;
    char id[BERTH_ID_TEXT];
    berth_id_print(handle->id, id);
    int r = local_workload(store, id, &w, err);
    int run_fd = r < 0 ? r : workload_run_fd(w, err);
    r = run_fd < 0 ? 0 : net_record_read(run_fd, ret);
    return run_fd < 0 ? run_fd : r == 0 || r == -ENOENT ? 0 : fail_os(err, r, handle->name, "read what it has of the network");
}

int berth_obstacles(struct berth_runtime *runtime, const struct berth_handle *handle, char **ret_json, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    autoclean(cleanup_net_record) struct net_share *share = NULL;
    autofree char *seen = NULL;
    int r = local_self(runtime, &c, err);
    if (r == 0 && (!handle || !ret_json))
        r = fail(err, BERTH_INVALID, NULL, "obstacles: an argument is NULL");
    if (r == 0)
        r = local_store(c, false, &store, err);
    if (r == 0)
        r = share_of(store, handle, &share, err);
    if (r == 0 && share)
        r = net_obstacles_seen(store_run_fd(store), store_tag(store), &seen, err);
    if (r < 0)
        return r;
    *ret_json = seen && strcmp(seen, "[]") != 0 ? those_of(seen, share) : strdup("[]");
    return *ret_json ? 0 : fail_memory(err);
}
