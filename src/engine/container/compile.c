/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is the container engine's own: from an image with a root file system to a plan.
 */
#include "local/inside.h"

static int refuse(const struct spec *spec, struct berth_error *err)
{
    if (spec->wasm.present)
        return fail(err, BERTH_UNSUPPORTED, "wasm", "wasm: the engine \"container\" does not do that");
    if (!spec->image)
        return fail(err, BERTH_INVALID, "image", "image: a container needs one");
    return 0;
}

static int find(struct compile *k, struct berth_error *err)
{
    int r = image_find(k->store, &k->settings->images, k->spec->image, &k->image, err);
    if (r == 0 && k->image->wasm)
        r = fail(err, BERTH_UNSUPPORTED, "image",
                 "image: \"%.80s\" is a WebAssembly artifact, which the engine \"container\" does not run",
                 k->spec->image);
    return r;
}

static int (*const groups[])(struct compile *k, struct berth_error *err) = {
    plan_set_up, plan_network, plan_program, plan_resources, plan_security, plan_storage,
    plan_cdi, plan_life, NULL,
};

const struct local_kind container_kind = {
    .name = "container", .refuse = refuse, .find = find, .groups = groups,
};
