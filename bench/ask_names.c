/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions to a name server: one at a time for the time of one, many at once for how many a second.
 *
 *   ask_names ADDRESS NAME SECONDS    prints: median and 99th percentile in microseconds, answers a second
 */
#include "measure.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SINGLE 20000
#define WINDOW 64

static int by_size(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

static size_t question(const char *name, uint8_t q[300])
{
    size_t n = strlen(name), at = 12;
    memcpy(q, "\x12\x34\1\0\0\1\0\0\0\0\0\0", 12);
    q[at++] = (uint8_t)n;
    memcpy(q + at, name, n);
    memcpy(q + at + n, "\0\0\1\0\1", 5);
    return at + n + 5;
}

/* 1 when there was an address in it. */
static int answer(int fd)
{
    uint8_t a[600];
    ssize_t n = recv(fd, a, sizeof(a), 0);
    return n > 12 && a[7] > 0;
}

static void one_at_a_time(int fd, const uint8_t *q, size_t size)
{
    static double took[SINGLE];
    for (int i = 0; i < SINGLE; i++) {
        double t = now();
        if (send(fd, q, size, 0) < 0 || !answer(fd))
            exit(1);
        took[i] = now() - t;
    }
    qsort(took, SINGLE, sizeof(took[0]), by_size);
    printf("%.1f %.1f ", took[SINGLE / 2], took[SINGLE * 99 / 100]);
}

static void many_at_once(int fd, const uint8_t *q, size_t size, double seconds)
{
    struct mmsghdr heads[WINDOW];
    struct iovec piece = {(void *)(uintptr_t)q, size};
    static uint8_t answers[WINDOW][600];
    struct iovec room[WINDOW];
    double begun = now(), end = begun + seconds * 1e6;
    long got = 0;
    while (now() < end) {
        for (int i = 0; i < WINDOW; i++)
            heads[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &piece, .msg_iovlen = 1}};
        int sent = sendmmsg(fd, heads, WINDOW, 0);
        for (int left = sent; left > 0;) {
            for (int i = 0; i < left; i++) {
                room[i] = (struct iovec){answers[i], sizeof(answers[i])};
                heads[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &room[i], .msg_iovlen = 1}};
            }
            int n = recvmmsg(fd, heads, (unsigned)left, MSG_WAITFORONE, NULL);
            if (n <= 0)
                exit(1);
            left -= n;
            got += n;
        }
    }
    printf("%.0f\n", (double)got / ((now() - begun) / 1e6));
}

int main(int argc, char **argv)
{
    uint8_t q[300];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
    struct timeval patience = {.tv_sec = 2};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (argc != 4 || strlen(argv[2]) > 63 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1 || fd < 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) {
        fprintf(stderr, "ask_names ADDRESS NAME SECONDS\n");
        return 2;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    size_t size = question(argv[2], q);
    one_at_a_time(fd, q, size);
    many_at_once(fd, q, size, atof(argv[3]));
    return 0;
}
