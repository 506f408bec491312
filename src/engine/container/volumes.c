/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h: named volumes.
 */
#include "local/inside.h"
#include "base/file.h"
#include "engine/report.h"
#include <jansson.h>
#include <stdio.h>

static int volumes_store(struct berth_runtime *runtime, struct local **ret_c, struct store **ret,
                         struct berth_error *err)
{
    int r = local_self(runtime, ret_c, err);
    return r < 0 ? r : local_store(*ret_c, true, ret, err);
}

int berth_volume_create(struct berth_runtime *runtime, const char *name, const char *const *labels,
                        struct berth_error *err)
{
    struct local *c;
    struct store *store;
    autofree char *json = NULL;
    int r = volumes_store(runtime, &c, &store, err);
    if (r == 0 && (r = name_check("volume", name ? name : "", err)) == 0)
        r = report_labels(labels, &json, err);
    return r < 0 ? r : volume_create(store, name, false, json, NULL, err);
}

static json_t *user_list(char *const *users)
{
    json_t *list = json_array();
    for (size_t i = 0; users && users[i]; i++)
        json_array_append_new(list, json_string(users[i]));
    return list;
}

/** What the store knows of it, and who uses it. */
static json_t *describe(struct store *store, const char *name, struct berth_error *err)
{
    autofree char *text = NULL;
    autostrings char **users = NULL;
    if (volume_read(store, name, &text, err) < 0 || volume_users(store, name, &users, err) < 0)
        return NULL;
    json_t *volume = json_loads(text, 0, NULL);
    if (volume)
        json_object_set_new(volume, "users", user_list(users));
    else
        fail(err, BERTH_CORRUPT, name, "volume \"%s\": its description is damaged", name);
    return volume;
}

static int dump(json_t *json, char **ret, struct berth_error *err)
{
    *ret = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return *ret ? 0 : fail_memory(err);
}

int berth_volume_inspect(struct berth_runtime *runtime, const char *name, char **ret_json,
                         struct berth_error *err)
{
    struct local *c;
    struct store *store;
    struct berth_error mine = {0};
    int r = volumes_store(runtime, &c, &store, err);
    if (r < 0 || (r = name_check("volume", name ? name : "", err)) < 0)
        return r;
    json_t *volume = describe(store, name, &mine);
    if (volume)
        return dump(volume, ret_json, err);
    if (err)
        *err = mine;
    return mine.code < 0 ? mine.code : BERTH_NO_MEMORY;
}

int berth_volume_list(struct berth_runtime *runtime, char **ret_json, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    autostrings char **names = NULL;
    int r = volumes_store(runtime, &c, &store, err);
    if (r == 0)
        r = volume_list(store, &names, err);
    if (r < 0)
        return r;
    json_t *list = json_array();
    for (size_t i = 0; names && names[i]; i++) {
        json_t *volume = describe(store, names[i], NULL);
        if (volume) /* removed meanwhile: not listed */
            json_array_append_new(list, volume);
    }
    return dump(list, ret_json, err);
}

int berth_volume_remove(struct berth_runtime *runtime, const char *name, struct berth_error *err)
{
    struct local *c;
    struct store *store;
    int r = volumes_store(runtime, &c, &store, err);
    if (r == 0)
        r = local_need("volume rm", err);
    if (r == 0 && (r = name_check("volume", name ? name : "", err)) == 0)
        r = volume_remove(store, name, err);
    if (r == 0)
        trash_helper(c);
    return r;
}

static bool prunable(struct store *store, const char *name, bool all)
{
    json_t *volume = describe(store, name, NULL);
    bool unused = volume && json_array_size(json_object_get(volume, "users")) == 0;
    bool anonymous = json_is_true(json_object_get(volume, "anonymous"));
    json_decref(volume);
    return unused && (all || anonymous);
}

int berth_volume_prune(struct berth_runtime *runtime, bool all, char **ret_json,
                       struct berth_error *err)
{
    struct local *c;
    struct store *store;
    autostrings char **names = NULL;
    uint64_t freed = 0;
    int r = volumes_store(runtime, &c, &store, err);
    if (r == 0)
        r = local_need("volume prune", err);
    if (r == 0)
        r = volume_list(store, &names, err);
    if (r < 0)
        return r;
    json_t *removed = json_array();
    for (size_t i = 0; names && names[i]; i++) {
        autofree char *place = format_text("volumes/%s", names[i]);
        uint64_t bytes = 0;
        if (!place || !prunable(store, names[i], all))
            continue;
        tree_size(store_root_fd(store), place, &bytes);
        if (volume_remove(store, names[i], NULL) == 0) {
            json_array_append_new(removed, json_string(names[i]));
            freed += bytes;
        }
    }
    trash_helper(c);
    return dump(json_pack("{s:o,s:I}", "removed", removed, "freed_bytes", (json_int_t)freed), ret_json,
                err);
}
