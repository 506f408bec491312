/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcurl by its name; see curl.h for why.
 *
 * The host program may have a libcurl of its own: RTLD_LOCAL keeps the two from meeting, and
 * curl_global_init counts its callers. It is never unloaded: libraries below it would not survive that. What it
 * calls is bound when it is first called: of thirty libraries behind it a unix socket needs hardly one.
 */
#include "docker/curl.h"
#include "base/base.h"
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

struct libcurl docker_libcurl;

#define CURL_ROW(f) {#f, offsetof(struct libcurl, f##_)},
static const struct { const char *name; size_t place; } rows[] = {CURL_FUNCTIONS(CURL_ROW)};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool loaded;

static int load_locked(struct berth_error *err)
{
    void *handle = dlopen("libcurl.so.4", RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle)
        return fail(err, BERTH_NOT_FOUND, "libcurl.so.4",
                    "libcurl is needed to speak to docker (package libcurl4): %.200s", dlerror());
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        void *function = dlsym(handle, rows[i].name);
        if (!function)
            return fail(err, BERTH_NOT_FOUND, rows[i].name,
                        "the libcurl of this machine is too old (7.88 is needed): it has no %s", rows[i].name);
        memcpy((char *)&docker_libcurl + rows[i].place, &function, sizeof(function));
    }
    if (curl_global_init(CURL_GLOBAL_DEFAULT))
        return fail(err, BERTH_IO, "libcurl", "libcurl does not begin to work");
    loaded = true;
    return 0;
}

int docker_curl_load(struct berth_error *err)
{
    pthread_mutex_lock(&lock);
    int r = loaded ? 0 : load_locked(err);
    pthread_mutex_unlock(&lock);
    return r;
}
