/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of names: what is taken prints, and reads back the same.
 */
#include "fuzz.h"
#include "base/base.h"
#include "model/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct names *names autoclean(cleanup_names) = NULL, *back autoclean(cleanup_names) = NULL;
    struct berth_error err = {0};
    autofree char *json = NULL, *again = NULL;
    if (names_parse((const char *)data, size, &names, &err) < 0) {
        MUST(err.message[0]);
        return 0;
    }
    if (names_print(names, &json, &err) < 0) {
        MUST(err.code == BERTH_TOO_BIG);
        return 0;
    }
    MUST(names_parse(json, strlen(json), &back, &err) == 0);
    MUST(names_print(back, &again, &err) == 0 && strcmp(json, again) == 0);
    return 0;
}
