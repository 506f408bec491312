/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image config as parsed JSON, for those who have it so already.
 */
#ifndef IMAGE_CONFIG_H
#define IMAGE_CONFIG_H

#include "image/image.h"
#include <jansson.h>

/** image_config_parse() of a parsed document. */
int image_config_read(const json_t *document, struct image_config *ret, struct berth_error *err);

#endif
