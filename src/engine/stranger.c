/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Engines of strangers: a shared object that exports its table, loaded by name or by path.
 *
 * What is loaded runs with all rights of this process, so only root, or whoever runs it, may be able to
 * put it there: the object and its folder must be theirs alone, and nobody else may be able to swap a
 * folder on the way. Once loaded it stays for the life of the process.
 */
#include "engine/desk.h"
#include "base/base.h"
#include "base/text.h"
#include "model/spec.h"
#include <dirent.h>
#include <dlfcn.h>
#include <sys/stat.h>

#define ENTRY "berth_engine_entry"
#define SUFFIX ".so"

/* ---- whose it is */

/** `path` (a file, its folder, or a folder above those: `above`) can be changed by nobody else. */
static int check_owner(const char *path, bool above, struct berth_error *err)
{
    struct stat st;
    if (lstat(path, &st) < 0)
        return fail_os(err, errno, path, "engine %s", path);
    if (st.st_uid != 0 && st.st_uid != geteuid())
        return fail(err, BERTH_DENIED, path, "engine: %s belongs to user %u, who could put another there",
                    path, st.st_uid);
    bool sticky = above && (st.st_mode & S_ISVTX);
    if (st.st_mode & (S_IWGRP | S_IWOTH) && !sticky)
        return fail(err, BERTH_DENIED, path, "engine: others may write %s (mode %04o)", path,
                    st.st_mode & 07777);
    return 0;
}

/** The file, its folder, and all above it; `path` is resolved. */
static int check_path(const char *path, struct berth_error *err)
{
    autofree char *part = strdup(path);
    if (!part)
        return fail_memory(err);
    int r = check_owner(part, false, err);
    char *slash = strrchr(part, '/');
    for (bool above = false; r == 0 && slash; above = true) {
        slash[slash == part] = 0; /* "/" stays */
        r = check_owner(part, above, err);
        slash = slash == part ? NULL : strrchr(part, '/');
    }
    return r;
}

/* ---- what it says */

typedef const struct berth_engine *(*entry_function)(uint32_t *ret_abi_version);

/** The table that the object exports, if it was built for us. */
static int ask_entry(void *object, const char *path, const struct berth_engine **ret,
                     struct berth_error *err)
{
    entry_function entry;
    uint32_t abi = 0;
    void *symbol = dlsym(object, ENTRY);
    if (!symbol)
        return fail(err, BERTH_INVALID, path, "engine %s: it exports no " ENTRY, path);
    memcpy(&entry, &symbol, sizeof(entry));
    const struct berth_engine *table = entry(&abi);
    if (abi != BERTH_ABI_VERSION)
        return fail(err, BERTH_INVALID, path, "engine %s: it was built for ABI %u, this library has %d", path,
                    abi, BERTH_ABI_VERSION);
    if (!table)
        return fail(err, BERTH_INVALID, path, "engine %s: it has no table", path);
    *ret = table;
    return 0;
}

/** `name`: what its table must be called; NULL: whatever it likes. */
static int load(const char *path, const char *name, struct berth_error *err)
{
    autofree char *resolved = realpath(path, NULL);
    const struct berth_engine *table = NULL;
    if (!resolved)
        return fail_os(err, errno, path, "engine %s", path);
    int r = check_path(resolved, err);
    if (r < 0)
        return r;
    void *object = dlopen(resolved, RTLD_NOW | RTLD_LOCAL);
    if (!object)
        return fail(err, BERTH_INVALID, path, "engine: %s", dlerror());
    r = ask_entry(object, path, &table, err);
    if (r == 0 && name && (!table->name || strcmp(table->name, name)))
        r = fail(err, BERTH_INVALID, path, "engine %s: it calls itself \"%.32s\"", path,
                 table->name ? table->name : "");
    if (r == 0 && (r = berth_register(table, err)) < 0 && r != BERTH_EXISTS)
        fail_context(err, "engine %s", path);
    if (r < 0)
        dlclose(object); /* of one that is registered this is the second hold on it */
    return r;
}

int berth_load(const char *path, struct berth_error *err)
{
    return path ? load(path, NULL, err) : fail(err, BERTH_INVALID, NULL, "load: `path` is NULL");
}

/* ---- by name */

int stranger_load(const char *folder, const char *name, struct berth_error *err)
{
    if (strchr(name, '/') || name[0] == '.')
        return fail(err, BERTH_NOT_FOUND, name, "no engine is called \"%.64s\"", name);
    autofree char *path = format_text("%s/%s" SUFFIX, folder, name);
    if (!path)
        return fail_memory(err);
    if (access(path, F_OK) < 0)
        return fail(err, BERTH_NOT_FOUND, name, "no engine is called \"%.64s\" (%s is not there either)", name,
                    path);
    int r = load(path, name, err);
    return r == BERTH_EXISTS ? 0 : r; /* another thread was faster */
}

void stranger_load_all(const char *folder)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));) {
        autofree char *name = ends_with(e->d_name, SUFFIX) ? strdup(e->d_name) : NULL;
        if (!name || name[0] == '.')
            continue;
        name[strlen(name) - strlen(SUFFIX)] = 0;
        stranger_load(folder, name, NULL);
    }
    if (d)
        closedir(d);
}

/* ---- what an engine need not do by itself */

static bool is_known(const char *field, const char *const *known)
{
    for (size_t i = 0; known[i]; i++) {
        size_t n = strlen(known[i]);
        if (!strncmp(field, known[i], n) && (!field[n] || field[n] == '.'))
            return true;
    }
    return false;
}

int berth_spec_read(const char *spec_json, const char *const *known, char **ret_json,
                    struct berth_error *err)
{
    autoclean(cleanup_spec) struct spec *spec = NULL;
    if (!spec_json || !ret_json)
        return fail(err, BERTH_INVALID, NULL, "spec: an argument is NULL");
    int r = spec_parse(spec_json, strlen(spec_json), &spec, err);
    if (r < 0)
        return r;
    autostrings char **fields = known ? spec_fields_set(spec) : NULL;
    if (known && !fields)
        return fail_memory(err);
    for (size_t i = 0; known && fields[i]; i++)
        if (!is_known(fields[i], known))
            return fail(err, BERTH_UNSUPPORTED, fields[i], "%s: this engine does not do that", fields[i]);
    *ret_json = spec_print(spec);
    return *ret_json ? 0 : fail_memory(err);
}
