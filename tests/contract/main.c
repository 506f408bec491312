/* SPDX-License-Identifier: Apache-2.0 */
/*
 * berth-contract: what every engine must do, run against one of them by name.
 *
 * Workers take cases in turn; each case is a process. One line a case, TAP-like, and a last line
 * with the counts.
 */
#include "harness.h"

#include <berth/engine.h>
#include <dlfcn.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct contract_group *const groups[] = {
    &create_group, &start_group, &stop_group,    &status_group, &logs_group,
    &exec_group,   &stats_group, &resolve_group, &remove_group, &all_group,
    &inside_group, &async_group, &host_group,    &share_group,
};

/** Shared by the workers. */
struct tally {
    atomic_int next, passed, failed, skipped, broken;
};

struct chosen {
    const char *group;
    const struct contract_case *k;
};

/** --filter: patterns with commas between them. */
static bool is_chosen(const struct settings *s, const char *group, const struct contract_case *k)
{
    bool fits = !s->filter;
    char *all = fits ? NULL : strdup(s->filter), *full = print_text("%s/%s", group, k->name);
    char *rest = all;
    for (const char *one; !fits && (one = strsep(&rest, ","));)
        fits = fnmatch(one, k->name, 0) == 0 || fnmatch(one, full, 0) == 0 || strcmp(one, group) == 0;
    free(full);
    free(all);
    return fits;
}

static struct chosen *choose(const struct settings *s, size_t *ret_n)
{
    struct chosen *list = NULL;
    size_t n = 0;
    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
        for (size_t i = 0; i < groups[g]->n_cases; i++) {
            if (!is_chosen(s, groups[g]->name, &groups[g]->cases[i]))
                continue;
            list = realloc(list, (n + 1) * sizeof(*list));
            check(list, "out of memory");
            list[n++] = (struct chosen){groups[g]->name, &groups[g]->cases[i]};
        }
    *ret_n = n;
    return list;
}

/** Make of what happened, and of what the table allows, one of the three words. */
static void judge(struct tally *t, const struct settings *s, const struct chosen *ch, int number,
                  int verdict, const char *words, int64_t usec)
{
    bool differs;
    const char *reason = table_reason(s, ch->k, &differs);
    double seconds = (double)usec / 1e6;
    if (verdict == UNSUPPORTED && reason) {
        t->skipped++;
        printf("ok %d - %s/%s # SKIP unsupported: %s\n", number, ch->group, ch->k->name, reason);
    } else if (verdict == FAILED && differs) {
        t->skipped++;
        printf("ok %d - %s/%s # SKIP otherwise: %s\n", number, ch->group, ch->k->name, reason);
    } else if (verdict == SKIPPED && !reason) {
        t->skipped++;
        printf("ok %d - %s/%s # SKIP %s\n", number, ch->group, ch->k->name, words);
    } else if (verdict == PASSED && (!reason || differs)) {
        t->passed++;
        printf("ok %d - %s/%s # %.3f s\n", number, ch->group, ch->k->name, seconds);
    } else {
        t->failed++;
        printf("not ok %d - %s/%s # %.3f s\n  %s%s%s\n", number, ch->group, ch->k->name, seconds,
               verdict == UNSUPPORTED ? "unsupported, and not in the table: "
               : reason               ? "in the table of what is unsupported, but did not say so: "
                                      : "",
               words, verdict == PASSED ? "passed" : "");
    }
}

static void worker(const struct settings *s, struct tally *t, int number, const struct chosen *list,
                   size_t n)
{
    struct place p;
    if (!place_make(s, number, &p)) {
        t->broken++;
        place_remove(s, &p);
        _exit(1);
    }
    for (int i; (i = t->next++) < (int)n;) {
        char *words = NULL;
        int64_t begin = now_usec();
        int verdict = case_run(s, &p, list[i].k, &words);
        judge(t, s, &list[i], i + 1, verdict, words, now_usec() - begin);
        fflush(stdout);
        free(words);
    }
    place_remove(s, &p);
}

/** One that exports its table is loaded as a stranger's; one that does not registers itself when it is opened. */
static void load_plugin(const struct settings *s)
{
    struct berth_error err;
    void *object = s->plugin ? dlopen(s->plugin, RTLD_NOW | RTLD_GLOBAL) : NULL;
    if (s->plugin && !object) {
        fprintf(stderr, "berth-contract: %s\n", dlerror());
        exit(2);
    }
    if (object && dlsym(object, "berth_engine_entry") && berth_load(s->plugin, &err) < 0) {
        fprintf(stderr, "berth-contract: %s\n", err.message);
        exit(2);
    }
}

/** Folders of this run, unless they were given. */
static char *folders_make(struct settings *s)
{
    char *base = NULL;
    if (!s->root || !s->run) {
        base = print_text("%s/berth-contract-XXXXXX",
                          access("/var/tmp", W_OK) == 0 ? "/var/tmp" : "/tmp");
        check(mkdtemp(base), "%s: %s", base, strerror(errno));
    }
    if (!s->root)
        s->root = print_text("%s/root", base);
    if (!s->run)
        s->run = print_text("%s/run", base);
    return base;
}

static int run_all(const struct settings *s, const struct chosen *list, size_t n)
{
    struct tally *t =
        mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(t != MAP_FAILED, "out of memory");
    printf("1..%zu\n", n);
    fflush(stdout);
    for (int i = 0; i < s->jobs; i++)
        if (fork() == 0) {
            worker(s, t, i, list, n);
            _exit(0);
        }
    while (wait(NULL) > 0 || errno == EINTR)
        ;
    int missing = (int)n - t->passed - t->failed - t->skipped;
    if (t->broken || missing)
        fprintf(stderr, "berth-contract: %d workers could not begin, %d cases did not run\n",
                (int)t->broken, missing);
    printf("%d passed, %d failed, %d skipped\n", (int)t->passed, (int)t->failed, (int)t->skipped);
    return t->failed || t->broken || missing ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct settings s;
    settings_read(&s, argc, argv);
    load_plugin(&s);
    if (s.table) {
        table_print(&s);
        return 0;
    }
    size_t n = 0;
    struct chosen *list = choose(&s, &n);
    for (size_t i = 0; s.list && i < n; i++)
        printf("%s/%s\n", list[i].group, list[i].k->name);
    if (s.list)
        return 0;
    if (n == 0) {
        fprintf(stderr, "berth-contract: no case fits %s\n", s.filter);
        return 2;
    }
    char *base = folders_make(&s);
    int r = run_all(&s, list, n);
    if (base && !s.keep) {
        rmdir(s.root);
        rmdir(s.run);
        rmdir(base);
    }
    free(base);
    free(list);
    return r;
}
