/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates of a PEM file, whose text the Rust side does not read.
 */
#ifndef MODEL_ROOTS_H
#define MODEL_ROOTS_H

#include <stddef.h>
#include <stdint.h>

#define ROOTS_MAX_BYTES (8u << 20)

/** Hand each certificate's DER to `add`; other sections and what stands between them are passed over. How many there
 *  were; -ENOMEM, -EINVAL for one that is cut off or no base64. */
int roots_parse(const char *pem, size_t length, void (*add)(void *to, const uint8_t *der, size_t length), void *to);

#endif
