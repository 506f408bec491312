/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The engine `wasm`: its table, and what it alone does (wasm.h).
 */
#include "wasm/inside.h"
#include <berth/wasm.h>

extern const struct berth_engine wasm_engine;

static int wasm_open(const struct berth_options *options, void **ret_self, struct berth_error *err)
{
    return local_open_as(&wasm_kind, options, ret_self, err);
}

const struct berth_engine wasm_engine = {
    .size = sizeof(wasm_engine),
    .abi_version = BERTH_ABI_VERSION,
    .name = "wasm",
    .open = wasm_open,
    LOCAL_VERBS,
};

/* ---- compiling ahead */

struct ahead {
    struct local *c;
    struct store *store;
    struct spec spec;
    struct work *work;
    bool cancelled;
};

static void ahead_free(void *data)
{
    struct ahead *a = data;
    work_free(a->work);
    free(a->spec.image);
    free(a->spec.wasm.trigger);
    free(a);
}

/** A module in text form may turn out to be served: then its code is made in that form too. */
static int ahead_step(void *data, struct berth_result *ret, struct berth_error *err)
{
    struct ahead *a = data;
    if (a->cancelled)
        return fail(err, BERTH_CANCELLED, a->spec.image, "compile %s: cancelled", a->spec.image);
    int r = a->work ? a->work->step(a->work, err) : 1;
    if (r <= 0)
        return r < 0 ? fail_context(err, "compile %s", a->spec.image) : 0;
    bool was = a->work;
    work_free(TAKE(a->work));
    r = was ? wasm_prepare(a->c, a->store, &a->spec, &a->work, err) : 0;
    if (r == 0 && a->work) {
        r = work_wait(a->work, err);
        work_free(TAKE(a->work));
    }
    return r < 0 ? fail_context(err, "compile %s", a->spec.image) : 1;
}

static void ahead_cancel(void *data)
{
    ((struct ahead *)data)->cancelled = true;
}

static const struct berth_call_ops ahead_ops = {
    .size = sizeof(ahead_ops), .step = ahead_step, .cancel = ahead_cancel, .free = ahead_free,
};

int berth_wasm_compile_call(struct berth_runtime *runtime, const char *image, struct berth_call **ret_call, struct berth_error *err)
{
    void *self;
    int r = !image || !ret_call ? fail(err, BERTH_INVALID, NULL, "compile: an argument is NULL")
                                : berth_runtime_self(runtime, &wasm_engine, &self, err);
    if (r < 0)
        return r;
    struct ahead *a = calloc(1, sizeof(*a));
    if (!a || !(a->spec.image = strdup(image))) {
        free(a);
        return fail_memory(err);
    }
    a->c = self;
    r = local_store(self, true, &a->store, err);
    if (r == 0)
        r = wasm_prepare(a->c, a->store, &a->spec, &a->work, err);
    if (r < 0) {
        ahead_free(a);
        return r;
    }
    return berth_call_new(&ahead_ops, a, a->work ? a->work->fd : -1, ret_call, err);
}
