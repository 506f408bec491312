/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of the API; see frames.h.
 */
#include "model/frames.h"
#include "base/base.h"
#include <string.h>

static bool head_good(const struct frames *f)
{
    for (size_t i = 0; i < f->have && i < 4; i++)
        if (i == 0 ? f->head[0] > 2 : f->head[i] != 0)
            return false;
    return true;
}

int frames_next(struct frames *f, const char **at, size_t *size, const char **ret_data, size_t *ret_size)
{
    while (f->left == 0) {
        size_t n = MIN(sizeof(f->head) - f->have, *size);
        memcpy(f->head + f->have, *at, n);
        f->have += n;
        *at += n;
        *size -= n;
        if (!head_good(f))
            return -EBADMSG;
        if (f->have < sizeof(f->head))
            return 0;
        f->stream = f->head[0] == 2 ? 2 : 1;
        f->left = (uint32_t)f->head[4] << 24 | (uint32_t)f->head[5] << 16 | (uint32_t)f->head[6] << 8 | f->head[7];
        f->have = 0;
        f->fresh = true;
    }
    if (*size == 0)
        return 0;
    size_t n = MIN((size_t)f->left, *size);
    f->begins = f->fresh;
    f->fresh = false;
    *ret_data = *at;
    *ret_size = n;
    *at += n;
    *size -= n;
    f->left -= (uint32_t)n;
    return 1;
}
