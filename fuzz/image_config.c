/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image configs: read or refused with a word, nothing lost.
 */
#include "fuzz.h"
#include "image/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image_config c = {0};
    struct berth_error err = {0};
    int r = image_config_parse((const char *)data, size, &c, &err);
    MUST(r == 0 || (r == err.code && err.message[0] && !strchr(err.message, '\n')));
    image_config_clear(&c);
    return 0;
}
