/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth-init: process 1 of a workload that asked for one. Reaps orphans, passes signals on, ends
 * with its program's exit code (128 + signal when a signal ended it: process 1 can't die of a
 * signal as others do).
 *
 * berth-init READY-FD PATH ARGV0 [ARG...]; executed by descriptor, so that the image need not hold
 * it.
 */
#include "base/base.h"
#include "base/error.h"
#include "linux/program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

extern char **environ;

/* The listening sockets are meant for the program, which has another pid than the process that set
 * this. */
static void own_listen_pid(char number[32])
{
    for (char **e = environ; e && *e; e++)
        if (strncmp(*e, "LISTEN_PID=", 11) == 0) {
            snprintf(number, 32, "LISTEN_PID=%d", (int)getpid());
            *e = number;
        }
}

static _Noreturn void program(int ready_fd, const char *path, char **argv, const sigset_t *mask)
{
    char number[32];
    struct berth_error err = {0};
    (void)fcntl(ready_fd, F_SETFD, FD_CLOEXEC);
    /* The terminal's foreground is the program's; we only look after it. */
    if (setpgid(0, 0) == 0 && isatty(STDIN_FILENO)) {
        (void)signal(SIGTTOU, SIG_IGN);
        (void)tcsetpgrp(STDIN_FILENO, getpgrp());
        (void)signal(SIGTTOU, SIG_DFL);
    }
    own_listen_pid(number);
    (void)sigprocmask(SIG_SETMASK, mask, NULL);
    execve(path, argv, environ);
    (void)program_explain(path, errno, &err);
    (void)!write(ready_fd, &err, sizeof(err));
    _exit(err.code == BERTH_NO_PROGRAM ? 127 : 126);
}

/* Whatever has ended. The program's end is ours, as an exit code; otherwise -1. */
static int reap(pid_t main_program)
{
    int status, code = -1;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == main_program && !WIFSTOPPED(status))
            code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return code;
}

static int look_after(pid_t main_program, const sigset_t *all)
{
    for (;;) {
        siginfo_t info;
        int signal = sigwaitinfo(all, &info);
        if (signal == SIGCHLD) {
            int code = reap(main_program);
            if (code >= 0)
                return code;
        } else if (signal > 0 && signal != SIGTTIN && signal != SIGTTOU) {
            (void)kill(main_program, signal);
        }
    }
}

int main(int argc, char **argv)
{
    sigset_t all, before;
    if (argc < 4)
        return 125;
    int ready_fd = atoi(argv[1]);
    (void)prctl(PR_SET_NAME, "berth-init", 0, 0, 0);
    sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        program(ready_fd, argv[2], argv + 3, &before);
    if (pid < 0) {
        struct berth_error err = {0};
        fail_os(&err, errno, argv[2], "exec \"%s\": make its process", argv[2]);
        (void)!write(ready_fd, &err, sizeof(err));
        return 125;
    }
    (void)close_range(3, ~0u, 0); /* sockets and the ready pipe are the program's */
    return look_after(pid, &all);
}
