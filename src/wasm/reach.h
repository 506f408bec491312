/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest may reach, for the whole process: the engine asks by address (berth_wasm_allow) and the C library's
 * way from names to addresses ends here (getaddrinfo). Set before the guest runs, only read from then on.
 */
#ifndef WASM_REACH_H
#define WASM_REACH_H

#include "model/allowed.h"
#include "wasm/lookup.h"

struct reach {
    struct allowed_rule *rules;
    size_t n_rules;
    struct lookup names;
    const char *const *gateways; /**< the host's addresses on networks of the guest's; borrowed */
    size_t n_gateways;
};
extern struct reach the_reach;

#endif
