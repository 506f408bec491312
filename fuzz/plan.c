/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan: whatever is accepted is printed, read back and is the same.
 */
#include "fuzz.h"
#include "base/base.h"
#include "model/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct plan *plan = NULL, *again = NULL;
    struct berth_error err = {0};
    int r = plan_parse((const char *)data, size, &plan, &err);
    if (r < 0) {
        MUST(r == err.code && err.message[0]);
        return 0;
    }
    autofree char *text = plan_print(plan);
    MUST(text && plan_parse(text, strlen(text), &again, &err) == 0);
    autofree char *twice = plan_print(again);
    MUST(twice && strcmp(text, twice) == 0);
    plan_free(plan);
    plan_free(again);
    return 0;
}
