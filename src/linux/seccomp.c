/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The default profile and the name of a compiled filter in the cache.
 *
 * Compiling is seccomp_compile.c's and the helper's: it needs libseccomp, this must not.
 */
#include "linux/syscall_filter.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* A change of what seccomp_compile makes of the same profile gets another number. */
#define FILTER_FORMAT 2

extern const char seccomp_default_json[]; /* seccomp_default.json */

const char *seccomp_default_profile(void)
{
    return seccomp_default_json;
}

const char *seccomp_default_version(void)
{
    return "berth-1 (moby/profiles 02e898b137ae)";
}

static unsigned __int128 fnv(unsigned __int128 hash, const void *data, size_t size)
{
    const unsigned __int128 prime = ((unsigned __int128)1 << 88) + 0x13b;
    for (const unsigned char *p = data; size > 0; p++, size--)
        hash = (hash ^ *p) * prime;
    return hash;
}

void seccomp_key(const char *profile_json, uint64_t caps, char ret_key[40])
{
    struct utsname name;
    int format = FILTER_FORMAT;
    unsigned __int128 hash =
        ((unsigned __int128)0x6c62272e07bb0142ULL << 64) | 0x62b821756295c58dULL;
    hash = fnv(hash, profile_json, strlen(profile_json));
    hash = fnv(hash, &caps, sizeof(caps));
    hash = fnv(hash, &format, sizeof(format));
    /* Rules may ask for a kernel. */
    if (uname(&name) == 0) {
        hash = fnv(hash, name.machine, strlen(name.machine));
        hash = fnv(hash, name.release, strcspn(name.release, "-"));
    }
    snprintf(ret_key, 40, "%016llx%016llx", (unsigned long long)(hash >> 64),
             (unsigned long long)hash);
}
