/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few macros that everything uses: cleanup attributes, sizes, handing over.
 */
#ifndef BASE_BASE_H
#define BASE_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/** 1 in a build whose runtime has needs of its own: address space, system calls. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WITH_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WITH_SANITIZER 1
#endif
#endif
#ifndef WITH_SANITIZER
#define WITH_SANITIZER 0
#endif

static inline void cleanup_free(void *p) { free(*(void **)p); }
static inline void cleanup_close(int *fd)
{
    if (*fd >= 0) {
        int e = errno;
        close(*fd);
        errno = e;
    }
}
/** Freed / closed at the end of the scope unless taken. */
#define autofree __attribute__((cleanup(cleanup_free)))
#define autoclose __attribute__((cleanup(cleanup_close)))
#define autoclean(f) __attribute__((cleanup(f)))

/** Hand a descriptor (pointer) over: the variable becomes -1 (NULL). */
static inline int take_fd(int *fd)
{
    int r = *fd;
    *fd = -1;
    return r;
}
#define TAKE(p) ({ __typeof__(p) taken_ = (p); (p) = NULL; taken_; })

/** Retry a system call that a signal interrupted. */
#define RETRY(call) ({ __typeof__(call) r_; do r_ = (call); while (r_ == -1 && errno == EINTR); r_; })

/** Close and set to -1. */
static inline void close_fd(int *fd)
{
    cleanup_close(fd);
    *fd = -1;
}

#endif
