/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A static program for inside a workload: makes one system call by name and prints its errno (0: it
 * worked).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long call(const char *name)
{
    struct clone_args args = {0};
    if (strcmp(name, "keyctl") == 0)
        return syscall(SYS_keyctl, 0, -3, 0);
    if (strcmp(name, "userns") == 0)
        return syscall(SYS_unshare, 0x10000000);
    if (strcmp(name, "clone3") == 0)
        return syscall(SYS_clone3, &args, sizeof(args));
    if (strcmp(name, "uring") == 0)
        return syscall(SYS_io_uring_setup, 1, NULL);
    if (strcmp(name, "vsock") == 0)
        return socket(AF_VSOCK, SOCK_STREAM, 0);
    if (strcmp(name, "tiocsti") == 0)
        return ioctl(0, TIOCSTI, "x");
    if (strcmp(name, "newer") == 0)
        return syscall(511);
    if (strcmp(name, "x32") == 0)
        return syscall(0x40000000 | SYS_getpid);
    if (strcmp(name, "mount") == 0)
        return syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL);
    if (strcmp(name, "getpid") == 0)
        return syscall(SYS_getpid);
    errno = EINVAL;
    return -1;
}

/* Takes and touches so many MiB. */
static int eat(long mib)
{
    for (long i = 0; i < mib; i++) {
        char *p = malloc(1 << 20);
        if (!p)
            return 1;
        memset(p, 1, 1 << 20);
    }
    puts("ate");
    fflush(stdout);
    pause();
    return 0;
}

/* A tree that will not end by itself: ignores what can be ignored, forks, stops a part of it. */
static void tree(void)
{
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    for (int i = 0; i < 4; i++)
        if (fork() == 0) {
            setsid();
            if (i == 2)
                raise(SIGSTOP);
        }
    if (getppid() == 0 || getpgrp() == getpid()) {
        puts("grown");
        fflush(stdout);
    }
    for (;;)
        pause();
}

/* As many of itself as it may have, for ever. */
static void bomb(void)
{
    puts("bomb");
    fflush(stdout);
    for (;;)
        if (fork() == 0)
            setsid();
}

static int descriptors(void)
{
    for (int i = 0; i < 1024; i++)
        if (fcntl(i, F_GETFD) >= 0)
            printf("%d ", i);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "fds") == 0)
        return descriptors();
    if (argc > 2 && strcmp(argv[1], "eat") == 0)
        return eat(atol(argv[2]));
    if (argc > 1 && strcmp(argv[1], "bomb") == 0)
        bomb();
    if (argc > 1 && strcmp(argv[1], "tree") == 0)
        tree();
    for (int i = 1; i < argc; i++) {
        errno = 0;
        int r = call(argv[i]) < 0 ? errno : 0;
        printf("%s %d\n", argv[i], r);
    }
    return 0;
}
