/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WWW-Authenticate, as any registry may send it: what comes out is asked for a token, or answered with a password.
 */
#include "fuzz.h"
#include "image/tool/registry_inside.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);
    struct challenge c = {0};
    if (text && challenge_parse(text, &c) == 0) {
        MUST(!(c.bearer && c.basic));
        MUST(!c.bearer || c.realm);
        MUST(strlen(c.realm ? c.realm : "") <= size && strlen(c.scope ? c.scope : "") <= size);
        challenge_clear(&c);
    }
    MUST(!c.realm && !c.service && !c.scope);
    free(text);
    return 0;
}
