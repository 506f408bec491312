/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status record: whatever is accepted is printed, read back and is the same.
 */
#include "fuzz.h"
#include "base/base.h"
#include "model/status.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct status status, again;
    struct berth_error err = {0};
    int r = status_parse((const char *)data, size, &status, &err);
    if (r < 0) {
        MUST(r == BERTH_CORRUPT && err.message[0]);
        return 0;
    }
    autofree char *text = status_print(&status);
    MUST(text && status_parse(text, strlen(text), &again, &err) == 0);
    autofree char *twice = status_print(&again);
    MUST(twice && strcmp(text, twice) == 0);
    return 0;
}
