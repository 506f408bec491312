/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a contract case is written with.
 *
 * A case is one function, run in a process of its own, that returns when the engine did what it
 * must. Anything else ends the process through one of the checks below, with a line that says what
 * was wrong.
 */
#ifndef CONTRACT_CONTRACT_H
#define CONTRACT_CONTRACT_H

#include <berth/berth.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/** What a case needs of an engine beyond keeping books: what an engine in memory can't have. */
enum need {
    NEEDS_PROGRAM = 1, /**< real programs in a real image */
    NEEDS_KERNEL = 2,  /**< cgroups, namespaces, mounts, signals of the kernel */
    NEEDS_PROCESS = 4  /**< another process sees the same workloads */
};

/** What a case gets. */
struct contract {
    struct berth_runtime *runtime;
    const char *engine, *image, *network;
    const char *like;  /**< the engine whose ways it has: the same, unless it stands for another */
    const char *opens; /**< what berth_open is given: the engine, or that with others before it */
    const char *root, *run, *scratch; /**< the runtime's folders; a folder of the case's own */
    bool steps;                       /**< programs are fake.h's steps; else /bin/sh of the image */
    bool long_run;                    /**< larger counts are welcome */
};

/** The case's own, for helpers that have no argument to carry it. */
extern struct contract *current;

struct contract_case {
    const char *name;
    void (*run)(struct contract *c);
    unsigned needs;
    int timeout_sec; /**< 0: the default */
};
#define CASE(function)                                                                             \
    {                                                                                              \
        .name = #function, .run = function                                                         \
    }
#define CASE_NEEDS(function, what)                                                                 \
    {                                                                                              \
        .name = #function, .run = function, .needs = (what)                                        \
    }
#define CASE_SLOW(function, what, seconds)                                                         \
    {                                                                                              \
        .name = #function, .run = function, .needs = (what), .timeout_sec = (seconds)              \
    }

struct contract_group {
    const char *name;
    const struct contract_case *cases;
    size_t n_cases;
};
#define GROUP(id)                                                                                  \
    const struct contract_group id##_group = {#id, id##_cases,                                     \
                                              sizeof(id##_cases) / sizeof(id##_cases[0])}

/** Exit codes of a case's process. */
enum verdict { PASSED = 0, FAILED = 10, UNSUPPORTED = 11, SKIPPED = 12 };

/* ---- checks ---------------------------------------------------------------------------------- */

/** The failure of the last call, for use as its last argument. */
struct berth_error *error_slot(void);
#define ERR error_slot()

/** End the case: it failed, or the engine says that it does not do that. */
_Noreturn void fail_at(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void end_unsupported(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void end_skipped(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define fail(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)
#define check(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition))                                                                          \
            fail_at(__FILE__, __LINE__, __VA_ARGS__);                                              \
    } while (0)

int check_call(const char *file, int line, const char *text, int result);
void check_code(const char *file, int line, const char *text, int result, int wanted);
void check_text(const char *file, int line, const char *what, const char *text, const char *wanted);
void check_has(const char *file, int line, const char *what, const char *text, const char *wanted);
void check_number(const char *file, int line, const char *what, long long number, long long wanted);

/** The call succeeds; its value. UNSUPPORTED ends the case as unsupported. */
#define ok(call) check_call(__FILE__, __LINE__, #call, call)
/** The call fails with exactly this code, and its message is one clear line. */
#define fails_with(code, call)   check_code(__FILE__, __LINE__, #call, call, code)
#define equal_text(text, wanted) check_text(__FILE__, __LINE__, #text, text, wanted)
#define has_text(text, wanted)   check_has(__FILE__, __LINE__, #text, text, wanted)
#define equal(number, wanted)    check_number(__FILE__, __LINE__, #number, number, wanted)
/** The last failure's message (or object) names this. */
#define names(wanted) check_has(__FILE__, __LINE__, "the message", error_slot()->message, wanted)

/* ---- programs -------------------------------------------------------------------------------- */

/** What runs inside: fake.h's steps, which real engines run as a shell script; or a shell script.
 */
struct program {
    const char *const *steps;
    const char *shell;
};
#define STEPS(...)  ((struct program){.steps = (const char *const[]){__VA_ARGS__, NULL}})
#define SHELL(text) ((struct program){.shell = (text)})
/** Its programs are modules: guest.c, whose steps lack what WASI lacks. */
static inline bool is_wasm(const struct contract *c)
{
    return strcmp(c->like, "wasm") == 0;
}
/** Runs until it is asked to end. */
#define WAITS STEPS("print ready", "wait")

/** A spec document: image, network, and `program`; then pairs of dotted path and JSON, NULL at the
 * end. */
char *spec_text(const struct contract *c, const char *name, struct program program, ...)
    __attribute__((sentinel));
/** Set `path` ("resources.memory") in a document to what `value` (JSON, ' for ") says. */
void spec_set(json_t *spec, const char *path, const char *value);

/** Create; create and start; with pairs as spec_text. */
struct berth_handle create(struct contract *c, const char *name, struct program program, ...)
    __attribute__((sentinel));
struct berth_handle run(struct contract *c, const char *name, struct program program, ...)
    __attribute__((sentinel));
/** The same, and its log holds "ready". */
struct berth_handle run_ready(struct contract *c, const char *name, struct program program, ...)
    __attribute__((sentinel));
/** Create with a spec that must be refused; the code it gave. */
int create_code(struct contract *c, const char *name, struct program program, ...)
    __attribute__((sentinel));

/* ---- asking ---------------------------------------------------------------------------------- */

int64_t now_usec(void);  /**< monotonic */
int64_t wall_usec(void); /**< since 1970 */
void pause_msec(int64_t msec);

int state_of(struct contract *c, const struct berth_handle *h);
struct berth_status *status_of(struct contract *c, const struct berth_handle *h);
/** How many there are, running or not. */
size_t count_workloads(struct contract *c);
void is_state(struct contract *c, const struct berth_handle *h, int wanted);
/** Wait until it has that state; fails after ten seconds. */
void until_state(struct contract *c, const struct berth_handle *h, int wanted);
/** Wait until it has ended for good; its status. */
struct berth_status *until_ended(struct contract *c, const struct berth_handle *h);
json_t *status_json(struct contract *c, const struct berth_handle *h);

/** The whole log, both streams; free. */
char *log_of(struct contract *c, const struct berth_handle *h);
char *log_with(struct contract *c, const struct berth_handle *h,
               const struct berth_logs_options *options, size_t *ret_size);
/** Wait until the log holds `text`; fails after ten seconds. */
void until_log(struct contract *c, const struct berth_handle *h, const char *text);
/** Read a descriptor to its end; free. */
char *read_all(int fd, size_t *ret_size);
/** Read until `text` came or ten seconds passed. */
void until_text(int fd, const char *text);
/** The same for a stream of a call, which is finished when it asks to be. */
void until_call_text(struct berth_call *call, int stream, const char *text);
/** Number of times `text` occurs. */
int count_text(const char *in, const char *text);

/** Run a shell line inside and give its output without the last newline; it must exit 0. free. */
char *inside(struct contract *c, const struct berth_handle *h, const char *line);
/** The exit code of a shell line run inside. */
int inside_code(struct contract *c, const struct berth_handle *h, const char *line);
/** exec with argv up to NULL. */
struct berth_exec_result *exec_with(struct contract *c, const struct berth_handle *h,
                                    const struct berth_exec_options *options, const char *arg, ...)
    __attribute__((sentinel));

/** exec of a program: its result; the code of the call; the call. */
struct berth_exec_result *exec_program(struct contract *c, const struct berth_handle *h,
                                       const struct berth_exec_options *options,
                                       struct program program);
int exec_code(struct contract *c, const struct berth_handle *h,
              const struct berth_exec_options *options, struct program program,
              struct berth_exec_result **ret_result);
struct berth_call *exec_begin(struct contract *c, const struct berth_handle *h,
                              const struct berth_exec_options *options, struct program program);

/* ---- the machine ----------------------------------------------------------------------------- */

struct snapshot; /**< what exists of these folders: mounts, groups, links, processes, files */
struct snapshot *snapshot_take(const char *root, const char *run, const char *cgroup_parent);
/** What `after` has beyond `before`, one line each; NULL for nothing. free. */
char *snapshot_extra(const struct snapshot *before, const struct snapshot *after);
void snapshot_free(struct snapshot *s);
/** Number of open descriptors of this process. */
int count_fds(void);
/** A file under the case's own scratch folder: its path; free. */
char *scratch_file(const struct contract *c, const char *name, const char *text);
char *print_text(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool process_exists(int pid);
char *read_file(const char *path);

#endif
