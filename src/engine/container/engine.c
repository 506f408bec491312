/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container engine: its table, and its way from a runtime to itself.
 */
#include "local/inside.h"

extern const struct berth_engine container_engine;

int container_self(struct berth_runtime *runtime, struct local **ret, struct berth_error *err)
{
    void *self;
    int r = berth_runtime_self(runtime, &container_engine, &self, err);
    if (r == 0)
        *ret = self;
    return r;
}

static int container_open(const struct berth_options *options, void **ret_self,
                          struct berth_error *err)
{
    return local_open_as(&container_kind, options, ret_self, err);
}

const struct berth_engine container_engine = {
    .size = sizeof(container_engine),
    .abi_version = BERTH_ABI_VERSION,
    .name = "container",
    .open = container_open,
    .close = local_close,
    .create = local_create,
    .start = local_start,
    .stop = local_stop,
    .remove = local_remove,
    .status = local_status,
    .logs = local_logs,
    .exec = local_exec,
    .stats = local_stats,
    .resolve_host_port = local_host_port,
    .resolve_container_address = local_address,
    .find = local_find,
    .list = local_list,
    .wait = local_wait,
    .signal = local_signal,
    .attach = local_attach,
    .pause = local_pause,
    .unpause = local_unpause,
    .update = local_update,
    .rename = local_rename,
    .restart = local_restart,
    .events = local_events,
    .inspect = local_inspect,
    .exec_list = local_exec_list,
    .exec_kill = local_exec_kill,
    .plan = local_plan,
};
