/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines of strangers over the local machinery (process.h): their table, and who they are once they are open.
 */
#include "process/inside.h"
#include <pthread.h>

const struct berth_engine *berth_process_table(const struct berth_process_engine *engine,
                                               int (*open)(const struct berth_options *, void **, struct berth_error *),
                                               struct berth_engine *ret_table)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (!engine || !open || !ret_table)
        return NULL;
    pthread_mutex_lock(&lock); /* several threads may load an object at once */
    if (!ret_table->size)
        *ret_table = (struct berth_engine){.size = sizeof(*ret_table), .abi_version = BERTH_ABI_VERSION,
                                           .name = engine->name, .open = open, LOCAL_VERBS};
    pthread_mutex_unlock(&lock);
    return ret_table;
}

/** What was known under its name before; NULL: nothing, or somebody else. */
static const struct local_kind *known(const struct berth_process_engine *engine, const char *name)
{
    const struct local_kind *kind = kind_find(name);
    return kind && kind->find == process_find && process_kind(kind)->original == engine ? kind : NULL;
}

/** Not before it is opened: an object that was loaded and refused is gone again. */
static int make_known(const struct berth_process_engine *original, const struct berth_process_engine *engine,
                      const struct local_kind **ret, struct berth_error *err)
{
    autofree struct process_kind *p = calloc(1, sizeof(*p));
    if (!p)
        return fail_memory(err);
    *p = (struct process_kind){.kind = process_kind_of_all, .engine = *engine, .original = original};
    p->kind.name = engine->name;
    struct berth_error taken = {0};
    int r = kind_add(&p->kind, &taken);
    if (r == 0)
        *ret = &TAKE(p)->kind;
    else if ((*ret = known(original, engine->name))) /* another thread was faster */
        r = 0;
    else if (err)
        *err = taken;
    return r;
}

int berth_process_open(const struct berth_process_engine *engine, const struct berth_options *options, void **ret_self,
                       struct berth_error *err)
{
    struct berth_process_engine full = {0};
    if (!engine || !options || !ret_self)
        return fail(err, BERTH_INVALID, NULL, "open: an argument is NULL");
    memcpy(&full, engine, MIN(engine->size, sizeof(full)));
    if (!full.name || !full.prepare)
        return fail(err, BERTH_INVALID, full.name, "open: an engine of processes has a name and a function `prepare`");
    const struct local_kind *kind = known(engine, full.name);
    int r = kind ? 0 : make_known(engine, &full, &kind, err);
    return r < 0 ? r : local_open_as(kind, options, ret_self, err);
}
