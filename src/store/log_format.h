/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the log's writer and reader agree on beside the record itself: its check and file names.
 */
#ifndef STORE_LOG_FORMAT_H
#define STORE_LOG_FORMAT_H

#include "store/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct log_record) == 32, "the index's records are 32 bytes");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the index is little endian");

static inline uint64_t log_record_check(const struct log_record *r)
{
    uint64_t words[3], hash = 0xcbf29ce484222325u;
    memcpy(words, r, sizeof(words));
    for (int i = 0; i < 3; i++)
        hash = (hash ^ words[i]) * 0x100000001b3u;
    return hash ^ hash >> 32;
}

static inline bool log_record_good(const struct log_record *r)
{
    return r->check == log_record_check(r);
}

/** "17.log", "17.idx" */
static inline const char *log_file_name(uint64_t number, const char *suffix, char ret[32])
{
    snprintf(ret, 32, "%llu.%s", (unsigned long long)number, suffix);
    return ret;
}

/** Number of "17.log", 0 for any other name. */
static inline uint64_t log_file_number(const char *name)
{
    char *end;
    if (name[0] < '1' || name[0] > '9')
        return 0;
    uint64_t number = strtoull(name, &end, 10);
    return strcmp(end, ".log") == 0 ? number : 0;
}

#endif
