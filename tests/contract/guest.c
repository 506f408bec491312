/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs inside a Wasm workload: fake.h's steps, each argument one of them, as a preview 1 command.
 *
 * Compiled by clang and wasi-libc when the suite runs (tests/contract/run wasm); what a module can't do
 * (signals, processes) stands in the table of what may be unsupported.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void nap(double seconds)
{
    struct timespec t = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

static void step_print(const char *rest)
{
    printf("%s\n", rest);
    fflush(stdout);
}

static void step_eprint(const char *rest)
{
    fprintf(stderr, "%s\n", rest);
}

static void step_sleep(const char *rest)
{
    char *unit;
    double n = strtod(rest, &unit);
    nap(strcmp(unit, "ms") == 0 ? n / 1000 : n);
}

static void step_exit(const char *rest)
{
    exit(atoi(rest));
}

static void step_wait(const char *rest)
{
    for (;;)
        nap(1000);
}

static void step_cat(const char *rest)
{
    static char buffer[65536];
    ssize_t n;
    while ((n = read(0, buffer, sizeof(buffer))) > 0)
        for (ssize_t at = 0, w; at < n; at += w)
            if ((w = write(1, buffer + at, (size_t)(n - at))) < 0)
                exit(1);
}

/** Memory that is refused in the end; then a trap, as a program that doesn't expect that. */
static void step_oom(const char *rest)
{
    for (;;) {
        volatile char *more = malloc(1 << 20);
        if (!more)
            __builtin_trap();
        for (size_t i = 0; i < 1 << 20; i += 4096)
            more[i] = 1;
    }
}

static void step_trap(const char *rest)
{
    __builtin_trap();
}

static void step_spin(const char *rest)
{
    for (volatile unsigned n = 0;; n++)
        ;
}

/** So many MiB of lines. */
static void step_flood(const char *rest)
{
    static char line[4096];
    memset(line, 'x', sizeof(line));
    line[sizeof(line) - 1] = '\n';
    for (long n = atol(rest) * 256; n > 0; n--)
        if (write(1, line, sizeof(line)) < 0)
            exit(1);
}

static void step_env(const char *rest)
{
    const char *value = getenv(rest);
    step_print(value ? value : "(none)");
}

static void step_read(const char *rest)
{
    char text[4096];
    int fd = open(rest, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n < 0) {
        perror(rest);
        exit(1);
    }
    text[n] = 0;
    fputs(text, stdout);
    fflush(stdout);
    close(fd);
}

static void step_write(const char *rest)
{
    int fd = open(rest, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0 || write(fd, "written\n", 8) != 8) {
        perror(rest);
        exit(1);
    }
    close(fd);
}

static const struct {
    const char *verb;
    void (*run)(const char *rest);
} steps[] = {
    {"print", step_print}, {"eprint", step_eprint}, {"sleep", step_sleep}, {"exit", step_exit},
    {"wait", step_wait},   {"cat", step_cat},       {"oom", step_oom},     {"trap", step_trap},
    {"spin", step_spin},   {"env", step_env},       {"read", step_read},   {"write", step_write},
    {"flood", step_flood},
};

static bool do_step(const char *text)
{
    size_t n = strcspn(text, " ");
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        if (strlen(steps[i].verb) == n && strncmp(steps[i].verb, text, n) == 0) {
            steps[i].run(text + n + (text[n] == ' '));
            return true;
        }
    return false;
}

/** argv[0] is a step too, if it can be one: the suite's commands have no name before them. */
int main(int argc, char **argv)
{
    static char line[4096];
    setvbuf(stdout, line, _IOFBF, sizeof(line)); /* else the end of a line is a write, and a piece of the log, of its own */
    for (int i = 0; i < argc; i++)
        if (!do_step(argv[i]) && i > 0) {
            fprintf(stderr, "no such step: %s\n", argv[i]);
            return 2;
        }
    return 0;
}
