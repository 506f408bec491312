/* SPDX-License-Identifier: Apache-2.0 */
/*
 * docker's config.json and podman's auth.json: what comes out becomes a header, or the name of a program.
 */
#include "fuzz.h"
#include "image/tool/registry_inside.h"
#include <string.h>

static void check(const char *json, size_t size, const char *name, const char *repository)
{
    struct credentials c = {0};
    struct berth_error err = {0};
    char *helper = NULL;
    int code = credentials_read(json, size, name, repository, &c, &helper, &err);
    MUST(code == 0 || (err.message[0] && !helper));
    MUST(!helper || (*helper && !strpbrk(helper, "/ \t\n")));
    MUST(!c.user == !c.password);
    free(helper);
    credentials_clear(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check((const char *)data, size, "docker.io", "library/nginx");
    check((const char *)data, size, "registry.example:5000", "team/app");
    check((const char *)data, size, "registry.example:5000", NULL);
    return 0;
}
