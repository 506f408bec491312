/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nomem: the n-th allocation of one program fails (BERTH_FAIL_ALLOCATION=n; "n+" also all after it).
 *
 * As a preloaded library for dynamic programs; static ones are linked with it (--wrap=malloc) in a
 * build with -Dcrashpoints=true. BERTH_FAIL_PROGRAM names the one program that is meant, so that the
 * others of the same tree are left alone.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <fcntl.h>

#ifdef NOMEM_WRAP
#define REAL(name) __real_##name
#define OURS(name) __wrap_##name
#else
#define REAL(name) __libc_##name
#define OURS(name) name
#endif
void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *p, size_t size);
void *OURS(malloc)(size_t size);
void *OURS(calloc)(size_t n, size_t size);
void *OURS(realloc)(void *p, size_t size);

static long at = -1, seen;
static bool always;

/* Whether the program that runs is the one that is meant. Allocates nothing. */
static bool meant(void)
{
    char comm[32] = "";
    const char *program = getenv("BERTH_FAIL_PROGRAM");
    int fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, comm, sizeof comm - 1);
    close(fd);
    if (n > 0)
        comm[n - 1] = 0;
    return program && strncmp(comm, program, 15) == 0;
}

static void read_wish(void)
{
    const char *wish = getenv("BERTH_FAIL_ALLOCATION");
    at = wish && meant() ? strtol(wish, NULL, 10) : 0;
    always = at && wish[strlen(wish) - 1] == '+';
}

/* Leaves a mark that the n-th was reached, so that the loop knows when to end. */
static void mark(void)
{
    const char *path = getenv("BERTH_FAIL_REPORT");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (fd >= 0)
        close(fd);
}

static bool fails(void)
{
    if (at < 0)
        read_wish();
    if (at == 0)
        return false;
    seen++;
    if (seen != at && !(always && seen > at))
        return false;
    mark();
    errno = ENOMEM;
    return true;
}

void *OURS(malloc)(size_t size)
{
    return fails() ? NULL : REAL(malloc)(size);
}

void *OURS(calloc)(size_t n, size_t size)
{
    return fails() ? NULL : REAL(calloc)(n, size);
}

void *OURS(realloc)(void *p, size_t size)
{
    return fails() ? NULL : REAL(realloc)(p, size);
}
