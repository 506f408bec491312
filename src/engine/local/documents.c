/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents in a workload's folder: its spec, its plan, and the views of both that readers use.
 */
#include "local/inside.h"
#include <stdlib.h>
#include <string.h>

int document_plan(struct workload *w, struct plan **ret, struct berth_error *err)
{
    autofree char *json = NULL;
    size_t size;
    int r = workload_read(w, PLAN_FILE, PLAN_MAX_BYTES, &json, &size, err);
    return r < 0 ? r : plan_parse(json, size, ret, err);
}

int document_spec(struct workload *w, struct spec **ret, struct berth_error *err)
{
    autofree char *json = NULL;
    size_t size;
    int r = workload_read(w, SPEC_FILE, SPEC_MAX_BYTES, &json, &size, err);
    return r < 0 ? r : spec_parse(json, size, ret, err);
}

int document_write(struct workload *w, const char *name, char *text, struct berth_error *err)
{
    int r = text ? workload_write(w, name, text, strlen(text), err) : fail_memory(err);
    free(text);
    return r;
}

int document_views(struct workload *w, const struct spec *spec, const struct image *image, const struct plan *plan,
                   struct berth_error *err)
{
    int r = document_write(w, FACTS_FILE, facts_print(spec, image, plan), err);
    return r < 0 ? r : network_file_write(workload_fd(w), spec, plan, err);
}
