/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wasm.h: what the engine "wasm" alone can do.
 *
 * Every function takes a runtime opened as "wasm" and answers UNSUPPORTED for another's. Images are
 * container.h's: modules lie in the same store.
 */
#ifndef BERTH_WASM_H
#define BERTH_WASM_H

#include <berth/berth.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Compile an image's module into the cache, as its first create would: nothing is done for one that is there.
 * NOT_FOUND, NOT_EXECUTABLE (no module), INVALID (a broken one), UNSUPPORTED (preview 3), LOST (the compiler
 * ran out of memory or time).
 */
BERTH_PUBLIC int berth_wasm_compile_call(struct berth_runtime *runtime, const char *image, struct berth_call **ret_call,
                                         struct berth_error *err);

#ifdef __cplusplus
}
#endif
#endif
