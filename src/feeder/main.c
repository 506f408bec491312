/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs of berth-docker; see feeder.h.
 */
#include "feeder/feeder.h"
#include "base/base.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name, *arguments;
    int (*run)(int argc, char **argv, struct berth_error *err);
    int least;
} verbs[] = {
    {"logs", "HOST CERTS CONTAINER [OPTIONS]", run_logs, 3},
    {"end", "HOST CERTS CONTAINER EXEC [MARK [USER]]", run_end, 4},
    {"reap", "HOST CERTS CONTAINER ROOT RUN ID", run_reap, 6},
};

char *own_folder(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
    path[MAX(n, 0)] = '\0';
    char *slash = strrchr(path, '/');
    if (slash)
        *slash = '\0';
    return strdup(path);
}

int main(int argc, char **argv)
{
    struct berth_error err = {0};
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; argc >= 2 && i < ARRAY_SIZE(verbs); i++) {
        if (strcmp(argv[1], verbs[i].name) || argc - 2 < verbs[i].least)
            continue;
        int r = verbs[i].run(argc - 1, argv + 1, &err);
        if (r == 0)
            return 0;
        fprintf(stderr, "berth-docker: %s: %s\n", argv[1], err.message);
        return 1;
    }
    fprintf(stderr, "usage: berth-docker VERB ARGUMENTS (for berth's own use)\n");
    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        fprintf(stderr, "  %s %s\n", verbs[i].name, verbs[i].arguments);
    return 2;
}
