/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the C library answers by loading shared objects of the root that it is in, which here is a guest's.
 * The Rust libraries refer to it on ways that are not taken; here those ways end. They also ask by name whether the C library
 * has a function, because it may be an older one; there is no other than the one that is linked.
 */
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <pwd.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>

/* Of who looks no names up at all: the worker has its own. */
__attribute__((weak)) int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **ret)
{
    return EAI_FAIL;
}

__attribute__((weak)) void freeaddrinfo(struct addrinfo *list)
{
}

int getpwuid_r(uid_t uid, struct passwd *to, char *buffer, size_t size, struct passwd **ret)
{
    *ret = NULL;
    return ENOENT;
}

void *dlsym(void *handle, const char *name)
{
    return strcmp(name, "getrandom") == 0 ? (void *)getrandom : NULL;
}
