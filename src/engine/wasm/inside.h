/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rooms of the engine `wasm`: a module becomes compiled code, and its workload a plan that runs berth-wasm.
 *
 *   engine.c   its table; wasm.h          plan.c    spec and module -> plan
 *   module.c   bytes, found and looked at exec.c    one more instance in a running workload
 *   cache.c    compiled code, kept        stats.c   the page of counters
 *   compile.c  berth-wasmc, a limited child
 *
 * All verbs are engine/local's: what is not here is a container's.
 */
#ifndef WASM_INSIDE_H
#define WASM_INSIDE_H

#include "image/module.h"
#include "local/inside.h"
#include "wasm/page.h"
#include "wasm/worker.h"

#define WORKER_PROGRAM "berth-wasm"
#define COMPILER_PROGRAM "berth-wasmc"
#define PAGE_FILE "wasm-page" /* in RUN/ID */
#define FILE_CODE 0           /* of plan->files */
#define FILE_PAGE 1
#define FILE_ROOTS 2          /* where the spec has wasm.tls_roots */

/** A module and where its bytes are. */
struct module {
    int fd;           /* open for reading */
    char *key;        /* names its bytes for the cache; NULL: nothing does, its code is not kept */
    char *name;       /* argv[0] where nobody says another */
    enum look look;
    bool alone;       /* an artifact's: there is no root with other files */
};
void module_free(struct module *m);
static inline void cleanup_module(struct module **m) { module_free(*m); }
/** The image's own (`word` NULL, or a name without '/'), or the one at this path in it. NO_PROGRAM. */
int module_find(const struct local *c, struct store *store, const struct image *image, const char *word, struct module **ret,
                struct berth_error *err);
/** A file of a running workload's root; of the host with AT_FDCWD. NO_PROGRAM, NOT_EXECUTABLE. */
int module_open(int root_fd, const char *path, struct module **ret, struct berth_error *err);
/** The same image's name for its program, as argv[0]; free(3). NULL: out of memory. */
char *module_name(const struct image *image);

/** What code depends on beside the module. */
struct code_kind { bool serve, fuel; };
static inline const char *profile_name(struct code_kind kind) { return kind.serve ? "serve" : "command"; }
/** Of a spec and a module of that look. `guest`: as its meta has it, NULL where nobody knows yet. */
struct code_kind code_kind_of(const struct spec *spec, enum look look, const char *guest);

/** The text that keys code, from berth-wasmc, kept in RUN; free(3). Waits for a child where it is not known. */
int code_tag(struct local *c, struct code_kind kind, char **ret, struct berth_error *err);

/** Compiled code in the cache. */
struct code { char *path, *needs, *guest; };
void code_clear(struct code *code);
/** 1 and the code; 0 when there is none that is ours, and why in a word (static): "missing", "foreign", "damaged". */
int code_find(struct local *c, struct store *store, const char *key, struct code_kind kind, struct code *ret, const char **ret_why,
              struct berth_error *err);
/** Where it is or would be; free(3). */
int code_place(struct local *c, struct store *store, const char *key, struct code_kind kind, char **ret_path, struct berth_error *err);
/** Whether a file of the cache is as we leave them, and of this engine; *ret_why as above. */
bool code_is_ours(struct local *c, const char *path, const char **ret_why);
void code_remove(struct store *store, const char *path);
/** The right to make an entry, for as long as *ret_fd is open: 1 it is ours, 0 another has it (wait for the lock on *ret_fd). */
int code_lock(struct store *store, const char *key, const char *tag, int *ret_fd, struct berth_error *err);
/** Ours is over: nothing stays of it. */
void code_unlock(struct store *store, const char *key, const char *tag, int *fd);
/** Files as the cache begins them: nobody sees them. */
int code_files(struct store *store, int *ret_code_fd, int *ret_meta_fd, struct berth_error *err);
/** They get their names; that others did the same meanwhile is fine. `tag` goes into the meta. */
int code_keep(struct local *c, struct store *store, const char *key, const char *tag, int code_fd, int meta_fd, struct berth_error *err);
/** From the text of a meta. CORRUPT. */
int code_parse(char *meta, struct code *ret, struct berth_error *err);

/** Begin to compile, or wait for who does already: an entry is made once, and anew by the next when its maker was killed.
 *  m->key NULL: the code stays with the work, see compiled(). The module is only read. */
int compile_begin(struct local *c, struct store *store, const struct module *m, struct code_kind kind, struct work **ret,
                  struct berth_error *err);
/** Of finished work without a key: its code's descriptor (still the work's) and what its meta says. */
int compiled(struct work *work, int *ret_code_fd, struct code *ret, struct berth_error *err);
/** Until the code is there, waiting. */
int compile_wait(struct local *c, struct store *store, const struct module *m, struct code_kind kind, struct code *ret,
                 struct berth_error *err);

/* ---- local_kind's */
int wasm_refuse(const struct spec *spec, struct berth_error *err);
int wasm_find(struct compile *k, struct berth_error *err);
int wasm_stamp(struct local *c, const struct local_kind *kind, char **ret, struct berth_error *err);
int wasm_early(struct local *c, struct store *store, const struct spec *spec, struct work **ret, struct berth_error *err);
int wasm_prepare(struct local *c, struct store *store, const struct spec *spec, struct work **ret, struct berth_error *err);
bool wasm_whole(struct local *c, const struct plan *plan, const char **ret_why);
void wasm_discard(struct local *c, const struct plan *plan);
int wasm_program(struct local *c, struct workload *w, const char *const *argv, const struct berth_exec_options *o,
                 struct work *done, struct exec_program *ret, struct work **ret_work, struct berth_error *err);
void wasm_stats(struct workload *w, struct berth_stats *ret);
extern int (*const wasm_groups[])(struct compile *k, struct berth_error *err);

/** argv of a worker, as it grows. */
struct worker {
    char **argv;
    bool failed;
};
void worker_word(struct worker *w, const char *word);
void worker_option(struct worker *w, const char *name, const char *value); /* NULL: left out */
void worker_number(struct worker *w, const char *name, uint64_t value);    /* 0: left out */
void worker_list(struct worker *w, const char *name, char *const *values);
/** One more instance with the options that the plan's worker has: its own code (`code` NULL) or another's, as
 *  descriptor 3. `call` NULL: as a command. */
void worker_again(struct worker *w, char *const *plan_argv, const struct code *code, const char *call, char *const *guest_argv);

/** Arguments and variables are text for a guest. INVALID names the field. */
int check_utf8(const char *field, char *const *list, struct berth_error *err);

#endif
