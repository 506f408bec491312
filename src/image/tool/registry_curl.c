/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl by its name; see registry_curl.h for why.
 */
#include "image/tool/registry_curl.h"
#include "base/base.h"
#include <dlfcn.h>
#include <string.h>

struct libcurl libcurl;
void (*curl_set_store)(struct ssl_ctx_st *, struct x509_store_st *);

#define CURL_ROW(f) {#f, offsetof(struct libcurl, f##_)},
static const struct { const char *name; size_t place; } rows[] = {CURL_FUNCTIONS(CURL_ROW)};

/* What is made by our libcrypto must be the same to libcurl's. */
static void find_store_setter(void *handle)
{
    void *theirs = dlsym(handle, "X509_STORE_new"), *ours = dlsym(RTLD_DEFAULT, "X509_STORE_new");
    void *setter = theirs && theirs == ours ? dlsym(handle, "SSL_CTX_set1_cert_store") : NULL;
    memcpy(&curl_set_store, &setter, sizeof setter);
}

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
    find_store_setter(handle);
    loaded = true;
    return 0;
}
