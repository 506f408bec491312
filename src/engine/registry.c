/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which engines there are, and opening one.
 *
 * Tables are copied at full size, so that the verbs never ask how old an engine's header was; the
 * original's address stays an engine's identity for checked downcasts. The list only grows, in
 * place: names handed out stay valid for the life of the process.
 */
#include "engine/desk.h"
#include "base/base.h"
#include <pthread.h>
#include <stdatomic.h>

#define ENGINES_MAX 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct berth_engine tables[ENGINES_MAX];
static const struct berth_engine *originals[ENGINES_MAX];
static const char *names[ENGINES_MAX + 1];
static size_t n_engines;
static pthread_once_t built_in_once = PTHREAD_ONCE_INIT;

static const size_t mandatory[] = {
    offsetof(struct berth_engine, open),     offsetof(struct berth_engine, close),
    offsetof(struct berth_engine, create),   offsetof(struct berth_engine, start),
    offsetof(struct berth_engine, stop),     offsetof(struct berth_engine, remove),
    offsetof(struct berth_engine, status),   offsetof(struct berth_engine, logs),
    offsetof(struct berth_engine, exec),     offsetof(struct berth_engine, stats),
    offsetof(struct berth_engine, resolve_host_port),
    offsetof(struct berth_engine, resolve_container_address),
};

static bool has_mandatory(const struct berth_engine *engine)
{
    if (engine->size < offsetof(struct berth_engine, find))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(mandatory); i++) {
        void (*method)(void);
        memcpy(&method, (const char *)engine + mandatory[i], sizeof(method));
        if (!method)
            return false;
    }
    return true;
}

static bool name_usable(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    size_t length = name ? strlen(name) : 0;
    return length > 0 && length < sizeof(((struct berth_handle *)0)->runtime) &&
           strspn(name, allowed) == length;
}

static const struct berth_engine *find_locked(const char *name, const struct berth_engine **original)
{
    for (size_t i = 0; i < n_engines; i++)
        if (!strcmp(tables[i].name, name)) {
            *original = originals[i];
            return &tables[i];
        }
    return NULL;
}

static int add_locked(const struct berth_engine *engine, struct berth_error *err)
{
    const struct berth_engine *original;
    if (find_locked(engine->name, &original))
        return fail(err, BERTH_EXISTS, engine->name, "an engine called \"%s\" is registered already",
                    engine->name);
    if (n_engines == ENGINES_MAX)
        return fail(err, BERTH_TOO_BIG, engine->name, "more than %d engines", ENGINES_MAX);
    memcpy(&tables[n_engines], engine, MIN(engine->size, sizeof(tables[0])));
    originals[n_engines] = engine;
    atomic_thread_fence(memory_order_release);
    names[n_engines] = tables[n_engines].name;
    n_engines++;
    return 0;
}

static void add_built_in(void)
{
    add_locked(&container_engine, NULL);
    add_locked(&fake_engine, NULL);
}

int berth_register(const struct berth_engine *engine, struct berth_error *err)
{
    if (!engine)
        return fail(err, BERTH_INVALID, NULL, "register: the table is NULL");
    if (engine->abi_version != BERTH_ABI_VERSION)
        return fail(err, BERTH_INVALID, NULL, "register: the engine was built for ABI %u, this is %d",
                    engine->abi_version, BERTH_ABI_VERSION);
    if (!has_mandatory(engine))
        return fail(err, BERTH_INVALID, NULL, "register: the engine's table lacks a mandatory verb");
    if (!name_usable(engine->name))
        return fail(err, BERTH_INVALID, NULL,
                    "register: an engine's name is 1 to 31 letters, digits, '_', '-', '.'");
    pthread_once(&built_in_once, add_built_in);
    pthread_mutex_lock(&lock);
    int r = add_locked(engine, err);
    pthread_mutex_unlock(&lock);
    return r;
}

const char *const *berth_engines(void)
{
    pthread_once(&built_in_once, add_built_in);
    return names;
}

int options_take(const void *options, void *ret, size_t size, struct berth_error *err)
{
    memset(ret, 0, size);
    if (options) {
        size_t given;
        memcpy(&given, options, sizeof(given));
        if (given < sizeof(given))
            return fail(err, BERTH_INVALID, NULL, "options: `size` is not set");
        if (given > 4096)
            return fail(err, BERTH_INVALID, NULL, "options: `size` is %zu", given);
        for (size_t i = size; i < given; i++)
            if (((const char *)options)[i])
                return fail(err, BERTH_UNSUPPORTED, NULL,
                            "options: a member that this library (%s) does not know is set",
                            BERTH_VERSION);
        memcpy(ret, options, MIN(given, size));
    }
    memcpy(ret, &size, sizeof(size));
    return 0;
}

static const char *setting(const char *given, const char *variable, const char *otherwise)
{
    if (given && *given)
        return given;
    const char *set = secure_getenv(variable);
    return set && *set ? set : otherwise;
}

int berth_open(const char *engine, const struct berth_options *options,
               struct berth_runtime **ret_runtime, struct berth_error *err)
{
    if (!engine || !ret_runtime)
        return fail(err, BERTH_INVALID, NULL, "open: an argument is NULL");
    struct berth_options full;
    int r = options_take(options, &full, sizeof(full), err);
    if (r < 0)
        return r;
    full.root = setting(full.root, "BERTH_ROOT", "/var/lib/berth");
    full.run = setting(full.run, "BERTH_RUN", "/run/berth");
    full.config = setting(full.config, "BERTH_CONFIG", "/etc/berth/berth.toml");
    full.programs = setting(full.programs, "BERTH_PROGRAMS", BERTH_LIBEXEC);

    struct berth_runtime *runtime = calloc(1, sizeof(*runtime));
    if (!runtime)
        return fail_memory(err);
    pthread_once(&built_in_once, add_built_in);
    pthread_mutex_lock(&lock);
    runtime->engine = find_locked(engine, &runtime->registered);
    pthread_mutex_unlock(&lock);
    r = runtime->engine ? runtime->engine->open(&full, &runtime->self, err)
                        : fail(err, BERTH_NOT_FOUND, engine, "no engine is called \"%.64s\"", engine);
    if (r < 0) {
        free(runtime);
        return r;
    }
    *ret_runtime = runtime;
    return 0;
}

void berth_close(struct berth_runtime *runtime)
{
    if (!runtime)
        return;
    runtime->engine->close(runtime->self);
    free(runtime);
}

const char *berth_name(const struct berth_runtime *runtime)
{
    return runtime ? runtime->engine->name : "";
}

int berth_runtime_self(struct berth_runtime *runtime, const struct berth_engine *engine,
                       void **ret_self, struct berth_error *err)
{
    if (!runtime || !engine || !ret_self)
        return fail(err, BERTH_INVALID, NULL, "an argument is NULL");
    if (runtime->registered != engine)
        return fail(err, BERTH_UNSUPPORTED, runtime->engine->name,
                    "only the engine \"%s\" does this; the runtime is \"%s\"", engine->name,
                    runtime->engine->name);
    *ret_self = runtime->self;
    return 0;
}
