/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container engine: its table, and its way from a runtime to itself.
 */
#include "local/inside.h"

extern const struct berth_engine container_engine;

int container_self(struct berth_runtime *runtime, struct container **ret, struct berth_error *err)
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
    return container_open_as(&container_kind, options, ret_self, err);
}

const struct berth_engine container_engine = {
    .size = sizeof(container_engine),
    .abi_version = BERTH_ABI_VERSION,
    .name = "container",
    .open = container_open,
    .close = container_close,
    .create = container_create,
    .start = container_start,
    .stop = container_stop,
    .remove = container_remove,
    .status = container_status,
    .logs = container_logs,
    .exec = container_exec,
    .stats = container_stats,
    .resolve_host_port = container_host_port,
    .resolve_container_address = container_address,
    .find = container_find,
    .list = container_list,
    .wait = container_wait,
    .signal = container_signal,
    .attach = container_attach,
    .pause = container_pause,
    .unpause = container_unpause,
    .update = container_update,
    .rename = container_rename,
    .restart = container_restart,
    .events = container_events,
    .inspect = container_inspect,
    .exec_list = container_exec_list,
    .exec_kill = container_exec_kill,
    .plan = container_plan,
};
