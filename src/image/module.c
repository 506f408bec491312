/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cheap look at what may be a module: eight bytes, and of a component the names of its exports. What only
 * a whole reading tells (a missing import, preview 3) the compiler says.
 */
#include "image/module.h"
#include "base/base.h"
#include "base/text.h"
#include <string.h>

#define SECTION_EXPORT 11 /* of a component */
#define SECTIONS_MAX 100000
#define NAMES_MAX (256u << 10)
#define TEXT_HEAD 4096

/** An unsigned LEB128 at `at`; its length, 0 when it is none. */
static size_t read_leb(int fd, off_t at, uint32_t *ret)
{
    unsigned char b[5];
    ssize_t n = RETRY(pread(fd, b, sizeof(b), at));
    *ret = 0;
    for (ssize_t i = 0; i < n; i++) {
        *ret |= (uint32_t)(b[i] & 0x7f) << (7 * i);
        if (!(b[i] & 0x80))
            return (size_t)i + 1;
    }
    return 0;
}

static bool names_http(int fd, off_t at, size_t size)
{
    static const char wanted[] = "wasi:http/incoming-handler@0.2.";
    size = MIN(size, (size_t)NAMES_MAX);
    autofree char *bytes = malloc(size + 1);
    ssize_t n = bytes ? RETRY(pread(fd, bytes, size, at)) : -1;
    return n > 0 && memmem(bytes, (size_t)n, wanted, sizeof(wanted) - 1);
}

static bool serves_http(int fd)
{
    off_t at = 8;
    for (int i = 0; i < SECTIONS_MAX; i++) {
        unsigned char id;
        uint32_t size;
        if (RETRY(pread(fd, &id, 1, at)) != 1)
            return false;
        size_t n = read_leb(fd, at + 1, &size);
        if (n == 0)
            return false;
        if (id == SECTION_EXPORT && names_http(fd, at + 1 + (off_t)n, size))
            return true;
        at += 1 + (off_t)n + size;
    }
    return false;
}

/** After blanks and comments: "(module" or "(component". */
static bool is_text(const char *s)
{
    for (;;) {
        s += strspn(s, " \t\r\n");
        const char *end = starts_with(s, ";;") ? strchr(s, '\n') : starts_with(s, "(;") ? strstr(s, ";)") : NULL;
        if (!end)
            break;
        s = end + (*end == ';' ? 2 : 1);
    }
    return starts_with(s, "(module") || starts_with(s, "(component");
}

int module_look(int fd, enum look *ret_look)
{
    char head[TEXT_HEAD + 1];
    ssize_t n = RETRY(pread(fd, head, TEXT_HEAD, 0));
    if (n < 0)
        return -errno;
    head[n] = 0;
    *ret_look = LOOK_NONE;
    if (n >= 8 && memcmp(head, "\0asm", 4) == 0)
        *ret_look = head[6] == 0 ? LOOK_CORE : serves_http(fd) ? LOOK_HTTP : LOOK_COMPONENT; /* 6, 7: the layer */
    else if (is_text(head))
        *ret_look = LOOK_TEXT;
    return 0;
}
