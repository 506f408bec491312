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
    LOCAL_VERBS,
};
