/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Places where a test may kill the process: -Dcrashpoints=true and BERTH_CRASH_POINT=name.
 *
 * SIGKILL, so that nothing of ours runs afterwards; what is left is what a real death leaves.
 * Async-signal-safe, good between clone and exec. Nothing at all in a normal build.
 * "name:3" dies the third time this process comes by.
 */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

#ifdef BERTH_CRASHPOINTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/** Die here when BERTH_CRASH_POINT says `name` (listed in crash_points.h). */
static inline void crash_point(const char *name)
{
    static int passed; /* of the one point that is wanted; the others never count */
    const char *wanted = getenv("BERTH_CRASH_POINT");
    size_t length = strlen(name);
    if (!wanted || strncmp(wanted, name, length) != 0)
        return;
    int turn = wanted[length] == ':' ? atoi(wanted + length + 1) : 1;
    if (wanted[length] != 0 && wanted[length] != ':')
        return;
    if (++passed != turn)
        return;
    kill(getpid(), SIGKILL);
    _exit(137); /* the first process of a pid namespace: its own signals don't reach it */
}
#else
#define crash_point(name) ((void)0)
#endif

#endif
