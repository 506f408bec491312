/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames in which the API puts two streams into one: a head of eight bytes (stream, three zeros, length in
 * network order), then so many bytes. They come split anywhere; nothing is buffered but a head.
 */
#ifndef MODEL_FRAMES_H
#define MODEL_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct frames {
    unsigned char head[8];
    size_t have;     /* of the head */
    uint32_t left;   /* of the payload */
    int stream;      /* 1, 2 */
    bool begins;     /* the piece handed out is the first of its frame */
    bool fresh;      /* the next one will be */
};

/**
 * The next piece of payload in *at .. *at + *size, which is moved behind it. 1: a piece (its stream is f->stream, and
 * f->left == 0 afterwards when the frame ends with it); 0: more bytes are needed; -EBADMSG: what comes is no frame
 * (f->head holds f->have bytes of it).
 */
int frames_next(struct frames *f, const char **at, size_t *size, const char **ret_data, size_t *ret_size);

#endif
