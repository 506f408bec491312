/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which engines there are, and opening one.
 *
 * Tables are copied at full size, so that the verbs never ask how old an engine's header was; the
 * original's address stays an engine's identity for checked downcasts. The list only grows, in
 * place: names handed out stay valid for the life of the process.
 */
#include "engine/answer.h"
#include "base/base.h"
#include "base/text.h"
#include <berth/wrap.h>
#include <pthread.h>
#include <stdatomic.h>

#define ENGINES_MAX 64

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct berth_engine tables[ENGINES_MAX];
static const struct berth_engine *originals[ENGINES_MAX];
static const char *names[ENGINES_MAX + 1];
static size_t n_engines;
static pthread_once_t built_in_once = PTHREAD_ONCE_INIT;

#define VERB(method) {#method, offsetof(struct berth_engine, method)}
static const struct {
    const char *name;
    size_t offset;
} mandatory[] = {
    VERB(open), VERB(close), VERB(create), VERB(start), VERB(stop), VERB(remove), VERB(status), VERB(logs),
    VERB(exec), VERB(stats), VERB(resolve_host_port), VERB(resolve_container_address),
};

/** The first mandatory verb that the table does not have; NULL when it has all. */
static const char *missing_verb(const struct berth_engine *engine)
{
    for (size_t i = 0; i < ARRAY_SIZE(mandatory); i++) {
        void (*method)(void) = NULL;
        if (engine->size >= mandatory[i].offset + sizeof(method))
            memcpy(&method, (const char *)engine + mandatory[i].offset, sizeof(method));
        if (!method)
            return mandatory[i].name;
    }
    return NULL;
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
#ifdef BERTH_WASM
    add_locked(&wasm_engine, NULL);
#endif
    add_locked(&docker_engine, NULL);
    add_locked(&fake_engine, NULL);
}

int berth_register(const struct berth_engine *engine, struct berth_error *err)
{
    if (!engine)
        return fail(err, BERTH_INVALID, NULL, "register: the table is NULL");
    if (engine->abi_version != BERTH_ABI_VERSION)
        return fail(err, BERTH_INVALID, NULL, "register: the engine was built for ABI %u, this is %d",
                    engine->abi_version, BERTH_ABI_VERSION);
    const char *missing = missing_verb(engine);
    if (missing)
        return fail(err, BERTH_INVALID, missing, "register: the engine's table lacks the mandatory verb \"%s\"",
                    missing);
    if (!name_usable(engine->name))
        return fail(err, BERTH_INVALID, NULL,
                    "register: an engine's name is 1 to 31 letters, digits, '_', '-', '.'");
    pthread_once(&built_in_once, add_built_in);
    pthread_mutex_lock(&lock);
    int r = add_locked(engine, err);
    pthread_mutex_unlock(&lock);
    return r;
}

static const char *setting(const char *given, const char *variable, const char *otherwise)
{
    if (given && *given)
        return given;
    const char *set = secure_getenv(variable);
    return set && *set ? set : otherwise;
}

static void add_strangers(void)
{
    stranger_load_all(setting(NULL, "BERTH_ENGINES", BERTH_ENGINES_FOLDER));
}

const char *const *berth_engines(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&built_in_once, add_built_in);
    pthread_once(&once, add_strangers);
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

static void options_default(struct berth_options *options)
{
    options->root = setting(options->root, "BERTH_ROOT", "/var/lib/berth");
    options->run = setting(options->run, "BERTH_RUN", "/run/berth");
    options->config = setting(options->config, "BERTH_CONFIG", "/etc/berth/berth.toml");
    options->programs = setting(options->programs, "BERTH_PROGRAMS", BERTH_LIBEXEC);
    options->engines = setting(options->engines, "BERTH_ENGINES", BERTH_ENGINES_FOLDER);
}

/** Put the table called `name` into `runtime`; false when none is registered. */
static bool find_table(const char *name, struct berth_runtime *runtime)
{
    pthread_mutex_lock(&lock);
    runtime->engine = find_locked(name, &runtime->registered);
    pthread_mutex_unlock(&lock);
    return runtime->engine;
}

static int open_engine(const char *name, const struct berth_options *options,
                       struct berth_runtime **ret_runtime, struct berth_error *err)
{
    autofree struct berth_runtime *runtime = calloc(1, sizeof(*runtime));
    if (!runtime)
        return fail_memory(err);
    pthread_once(&built_in_once, add_built_in);
    int r = find_table(name, runtime) ? 0 : stranger_load(options->engines, name, err);
    if (r < 0)
        return r;
    if (!runtime->engine && !find_table(name, runtime))
        return fail(err, BERTH_NOT_FOUND, name, "no engine is called \"%.64s\"", name);
    const struct desk_question q = {.runtime = runtime, .verb = "open"};
    struct berth_error said;
    said_clear(&said);
    r = runtime->engine->open(options, &runtime->self, &said);
    r = answer_code(&q, r, 0, &said, err);
    if (r == 0)
        *ret_runtime = TAKE(runtime);
    return r;
}

/* Names that stand before another in brackets: "trace(container)". */
static const struct {
    const char *word;
    int (*open)(struct berth_runtime *inner, struct berth_runtime **ret_runtime,
                struct berth_error *err);
} wrappers[] = {{"trace(", trace_by_name}, {"fault(", berth_fault}};
#define NAME_MAX_WRAPPED 256

/** Open what is written, from the inside out: NAME, or WRAPPER(what is written). */
static int open_written(const char *name, const struct berth_options *options,
                        struct berth_runtime **ret_runtime, struct berth_error *err)
{
    size_t length = strlen(name), i = 0, word;
    while (i < ARRAY_SIZE(wrappers) && !starts_with(name, wrappers[i].word))
        i++;
    if (i == ARRAY_SIZE(wrappers) || name[length - 1] != ')' || length > NAME_MAX_WRAPPED)
        return open_engine(name, options, ret_runtime, err);
    word = strlen(wrappers[i].word);
    autofree char *inside = strndup(name + word, length - word - 1);
    struct berth_runtime *inner = NULL;
    if (!inside)
        return fail_memory(err);
    int r = open_written(inside, options, &inner, err);
    if (r == 0 && (r = wrappers[i].open(inner, ret_runtime, err)) < 0)
        berth_close(inner);
    return r;
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
    options_default(&full);
    return open_written(engine, &full, ret_runtime, err);
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
    const struct berth_runtime *found = runtime;
    while (found->inner) /* what stands before an engine is that engine's */
        found = found->inner;
    if (found->registered != engine)
        return fail(err, BERTH_UNSUPPORTED, runtime->engine->name,
                    "only the engine \"%s\" does this; the runtime is \"%s\"", engine->name,
                    runtime->engine->name);
    *ret_self = found->self;
    return 0;
}
