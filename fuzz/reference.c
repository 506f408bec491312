/* SPDX-License-Identifier: Apache-2.0 */
/*
 * References: what is accepted has one normal form that reads itself, and makes one file name.
 */
#include "fuzz.h"
#include "base/base.h"
#include "image/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reference r = {0}, again = {0};
    struct berth_error err = {0};
    autofree char *text = strndup((const char *)data, size);
    if (!text || reference_parse(text, NULL, &r, &err) < 0) {
        MUST(!text || (err.code == BERTH_INVALID && err.message[0]));
        return 0;
    }
    autofree char *normal = reference_print(&r), *familiar = reference_familiar(&r, NULL);
    MUST(reference_parse(normal, NULL, &again, &err) == 0);
    autofree char *twice = reference_print(&again);
    MUST(strcmp(normal, twice) == 0);
    reference_clear(&again);
    MUST(reference_parse(familiar, NULL, &again, &err) == 0);
    autofree char *thrice = reference_print(&again);
    MUST(strcmp(normal, thrice) == 0);
    autofree char *file = record_file(normal, "");
    MUST(!strchr(file, '/') && file[0] != '.' && strlen(file) < 255);
    reference_clear(&again);
    reference_clear(&r);
    return 0;
}
