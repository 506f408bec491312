/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spec: whatever is accepted is printed, read back and is the same; a failure says something.
 */
#include "fuzz.h"
#include "base/base.h"
#include "base/text.h"
#include "model/spec.h"

static void check_failure(int r, const struct berth_error *err)
{
    MUST(r == err->code && r < -1000);
    MUST(err->message[0] && !strchr(err->message, '\n'));
    MUST(utf8_valid(err->message, strlen(err->message)));
}

static void check_round_trip(const struct spec *spec)
{
    struct spec *again = NULL;
    struct berth_error err = {0};
    autofree char *text = spec_print(spec);
    MUST(text && spec_parse(text, strlen(text), &again, &err) == 0);
    autofree char *twice = spec_print(again);
    MUST(twice && strcmp(text, twice) == 0);
    spec_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spec *spec = NULL;
    struct berth_error err = {0};
    int r = spec_parse((const char *)data, size, &spec, &err);
    if (r < 0) {
        check_failure(r, &err);
        return 0;
    }
    check_round_trip(spec);
    strings_free(spec_fields_set(spec));
    autofree char *text = strndup((const char *)data, size);
    r = spec_patch(spec, text, &err);
    if (r < 0)
        check_failure(r, &err);
    check_round_trip(spec);
    spec_free(spec);
    return 0;
}
