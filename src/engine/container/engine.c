/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The container engine: its table.
 */
#include "local/inside.h"

extern const struct berth_engine container_engine;

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
