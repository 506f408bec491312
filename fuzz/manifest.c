/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Manifests and indexes: every digest that comes out may become part of a path.
 */
#include "fuzz.h"
#include "base/text.h"
#include "image/tool/manifest.h"

static void check_manifest(json_t *document)
{
    struct manifest m = {0};
    struct berth_error err = {0};
    if (manifest_read(json_incref(document), "m", &m, &err) < 0) {
        MUST(err.message[0]);
        return;
    }
    MUST(digest_valid(m.config.digest) && m.n <= IMAGE_MAX_LAYERS);
    for (size_t i = 0; i < m.n; i++)
        MUST(digest_valid(m.layers[i].digest));
    manifest_clear(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct berth_error err = {0};
    struct descriptor d;
    struct platform here;
    json_t *document = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    if (!document)
        return 0;
    platform_here(&here);
    int kind = document_kind(document, NULL, "m", &err);
    MUST(kind >= 0 || err.message[0]);
    if (kind == MANIFEST)
        check_manifest(document);
    if (kind == INDEX && index_choose(document, &here, false, "m", &d, &err) == 0)
        MUST(digest_valid(d.digest));
    char **ids = NULL;
    if (config_diff_ids(document, &ids, &err) == 0)
        for (size_t i = 0; ids[i]; i++)
            MUST(digest_valid(ids[i]));
    strings_free(ids);
    json_decref(document);
    return 0;
}
