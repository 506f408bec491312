/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A list of system calls and nothing else, for programs of berth's own that read what is hostile.
 */
#ifndef LINUX_ALLOW_H
#define LINUX_ALLOW_H

#include <stddef.h>
#include <stdint.h>

#define ALLOW_MAX 250   /* calls of a list */
#define ALLOW_FIRST_MAX 4

/** A call that is allowed with some first arguments alone (its low half). */
struct allowed_call {
    int number;
    uint32_t first[ALLOW_FIRST_MAX]; /**< with one of these */
    size_t n_first;                  /**< 0: with any that has none of the bits of `never` */
    uint32_t never;
};

/** From now on every call that stands in neither list fails with ENOSYS, one of `some` with another first argument
 *  with EPERM; of another architecture: death. Needs no_new_privs. 0 or -errno. */
int allow_calls(const int *any, size_t n_any, const struct allowed_call *some, size_t n_some);

/** From now on nothing that is not yet code becomes code: no executable mapping, no other program, no file
 *  without a name (EPERM). For who runs code that others wrote and has loaded all of it. Sets no_new_privs; threads
 *  that exist already are not bound. 0 or -errno. */
int forbid_new_code(void);

#endif
