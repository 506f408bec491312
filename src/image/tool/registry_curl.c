/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl by its name; see registry_curl.h for why.
 */
#include "image/tool/registry_curl.h"
#include "base/base.h"
#include <dlfcn.h>
#include <string.h>

struct libcurl libcurl;

#define CURL_ROW(f) {#f, offsetof(struct libcurl, f##_)},
static const struct { const char *name; size_t place; } rows[] = {CURL_FUNCTIONS(CURL_ROW)};

int curl_load(struct berth_error *err)
{
    static bool loaded;
    if (loaded)
        return 0;
    void *handle = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return fail(err, BERTH_NOT_FOUND, "libcurl.so.4", "libcurl is needed to speak to registries (package libcurl4): %.200s", dlerror());
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        void *function = dlsym(handle, rows[i].name);
        if (!function)
            return fail(err, BERTH_NOT_FOUND, rows[i].name, "the libcurl of this machine is too old (7.88 is needed): it has no %s", rows[i].name);
        memcpy((char *)&libcurl + rows[i].place, &function, sizeof function);
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) /* reads openssl.cnf, which the jail has not */
        return fail(err, BERTH_IO, "libcurl", "libcurl does not begin to work");
    loaded = true;
    return 0;
}
