/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of a docker daemon: cut anywhere, the same bytes come out, of the same streams, and entries begin in the same places.
 */
#include "fuzz.h"
#include "base/base.h"
#include "model/frames.h"
#include <errno.h>

struct taken { uint64_t bytes[3], hash; size_t begins; int end; };

/** Everything, `step` bytes at a time; the first byte of input says how many. */
static struct taken take(const uint8_t *data, size_t size, size_t step)
{
    struct taken t = {0};
    struct frames f = {0};
    for (size_t at = 0; at < size && t.end == 0; at += step) {
        const char *bytes = (const char *)data + at, *piece;
        size_t left = MIN(step, size - at), n;
        int r;
        while ((r = frames_next(&f, &bytes, &left, &piece, &n)) == 1) {
            MUST(n > 0 && (f.stream == 1 || f.stream == 2));
            MUST(piece >= (const char *)data && piece + n <= (const char *)data + size);
            t.bytes[f.stream] += n;
            t.begins += f.begins;
            for (size_t i = 0; i < n; i++)
                t.hash = (t.hash ^ (uint8_t)piece[i] ^ (uint64_t)f.stream << 9) * 0x100000001b3u;
        }
        MUST(r == 0 || r == -EBADMSG);
        MUST(r == -EBADMSG || left == 0);
        t.end = r;
    }
    return t;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct taken whole = take(data + 1, size - 1, size), cut = take(data + 1, size - 1, 1 + data[0] % 23u);
    MUST(whole.bytes[1] == cut.bytes[1] && whole.bytes[2] == cut.bytes[2]);
    MUST(whole.hash == cut.hash && whole.begins == cut.begins && whole.end == cut.end);
    return 0;
}
