/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PEM (RFC 7468), as CA bundles are: base64 between two lines.
 */
#include "model/roots.h"

#include "base/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BEGIN "-----BEGIN CERTIFICATE-----"
#define END "-----END CERTIFICATE-----"

static int digit_of(char c)
{
    return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : c >= '0' && c <= '9' ? c - '0' + 52
         : c == '+' ? 62 : c == '/' ? 63 : -1;
}

/** How many bytes; `room` is enough for them. -EINVAL. */
static int decode(const char *s, size_t length, uint8_t *room)
{
    unsigned value = 0, bits = 0;
    int n = 0;
    for (size_t i = 0; i < length; i++) {
        if (strchr(" \t\r\n=", s[i]))
            continue;
        int digit = digit_of(s[i]);
        if (digit < 0)
            return -EINVAL;
        value = (value << 6 | (unsigned)digit) & 0xffff;
        bits += 6;
        if (bits >= 8)
            room[n++] = (uint8_t)(value >> (bits -= 8));
    }
    return n;
}

int roots_parse(const char *pem, size_t length, void (*add)(void *to, const uint8_t *der, size_t length), void *to)
{
    const char *end, *at = pem, *last = pem + length;
    autofree uint8_t *der = malloc(length + 1);
    int n = 0;
    if (!der)
        return -ENOMEM;
    while ((at = memmem(at, (size_t)(last - at), BEGIN, strlen(BEGIN)))) {
        at += strlen(BEGIN);
        end = memmem(at, (size_t)(last - at), END, strlen(END));
        int size = end ? decode(at, (size_t)(end - at), der) : -EINVAL;
        if (size <= 0)
            return -EINVAL;
        add(to, der, (size_t)size);
        n++;
        at = end;
    }
    return n;
}
