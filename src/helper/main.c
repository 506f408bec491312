/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of applets and the reading of their arguments.
 */
#include "helper/helper.h"
#include "base/base.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
    const char *name, *arguments;
    int (*run)(int argc, char **argv, struct berth_error *err);
    int min, max; /* arguments */
} applets[] = {
    {"logs", "WORKLOAD_FD LIFE_FD [OPTIONS]", applet_logs, 2, 32},
    {"events", "ROOT_FD [OPTIONS]", applet_events, 1, 32},
    {"delete", "ROOT [RUN HASH]", applet_delete, 1, 3},
    {"lock", "FD", applet_lock, 1, 1},
    {"pool", "RUN HASH COUNT <LIFE >SAID", applet_pool, 3, 3},
    {"remove", "ROOT RUN ID [--volumes]", applet_remove, 3, 4},
    {"frames", "FD [OPTIONS] <INPUT >OUTPUT 2>ERRORS", applet_frames, 1, 16},
    {"seccomp", "FILE CAPS_HEX <PROFILE", applet_seccomp, 2, 2},
};

int applet_number(const char *text, long long *ret_number, struct berth_error *err)
{
    char *end;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    if (errno || end == text || *end)
        return fail(err, BERTH_INVALID, text, "\"%s\" is not a number", text);
    *ret_number = number;
    return 0;
}

static const struct applet_option *find_option(const char *name,
                                               const struct applet_option *options, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, options[i].name) == 0)
            return &options[i];
    return NULL;
}

int applet_options(char **argv, const struct applet_option *options, size_t n,
                   struct berth_error *err)
{
    for (; *argv; argv++) {
        const struct applet_option *o = find_option(*argv, options, n);
        if (!o)
            return fail(err, BERTH_INVALID, *argv, "unknown option \"%s\"", *argv);
        if (o->ret_given)
            *o->ret_given = true;
        if (o->ret_flag) {
            *o->ret_flag = true;
            continue;
        }
        if (!argv[1])
            return fail(err, BERTH_INVALID, *argv, "%s needs a value", *argv);
        argv++;
        if (o->ret_text)
            *o->ret_text = *argv;
        int r = o->ret_number ? applet_number(*argv, o->ret_number, err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: berth-helper APPLET ARGUMENTS (for berth's own use)\n");
    for (size_t i = 0; i < ARRAY_SIZE(applets); i++)
        fprintf(stderr, "  %s %s\n", applets[i].name, applets[i].arguments);
    return 2;
}

int main(int argc, char **argv)
{
    struct berth_error err = {0};
    signal(SIGPIPE, SIG_IGN);
    umask(077);
    for (size_t i = 0; argc >= 2 && i < ARRAY_SIZE(applets); i++) {
        if (strcmp(argv[1], applets[i].name) != 0)
            continue;
        if (argc - 2 < applets[i].min || argc - 2 > applets[i].max)
            return usage();
        int r = applets[i].run(argc - 1, argv + 1, &err);
        if (r == 0)
            return 0;
        fprintf(stderr, "berth-helper: %s: %s\n", argv[1], err.message);
        return r == BERTH_INVALID ? 2 : 1;
    }
    return usage();
}
