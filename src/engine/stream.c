/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams: a readable descriptor with an owner, so that what feeds it ends when the reader goes.
 */
#include "engine/desk.h"
#include "base/base.h"

struct berth_stream {
    int fd;
    void (*on_free)(void *data);
    void *data;
};

int berth_stream_new(int fd, void (*on_free)(void *data), void *data,
                     struct berth_stream **ret_stream, struct berth_error *err)
{
    struct berth_stream *stream = malloc(sizeof(*stream));
    if (!stream) {
        close(fd);
        if (on_free)
            on_free(data);
        return fail_memory(err);
    }
    *stream = (struct berth_stream){.fd = fd, .on_free = on_free, .data = data};
    *ret_stream = stream;
    return 0;
}

int berth_stream_fd(const struct berth_stream *stream)
{
    return stream ? stream->fd : -1;
}

void berth_stream_free(struct berth_stream *stream)
{
    if (!stream)
        return;
    close(stream->fd);
    if (stream->on_free)
        stream->on_free(stream->data);
    free(stream);
}
