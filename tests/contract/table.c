/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may be unsupported, and why: one table, a row per engine and reason.
 *
 * A row is checked both ways: what is in it must answer UNSUPPORTED, what is not in it must not.
 */
#include "harness.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

struct row {
    const char *engine;
    unsigned needs;   /* any of these, or */
    const char *glob; /* the case's name */
    const char *reason;
};

#define NO_SIGNALS "a module hears no signal that it could ignore: it ends at the first"

static const struct row rows[] = {
    {"fake", NEEDS_PROGRAM, NULL, "it runs scripts, not programs"},
    {"fake", NEEDS_KERNEL, NULL, "it asks nothing of the kernel"},
    {"fake", NEEDS_PROCESS, NULL, "it lives in the memory of one process"},
    {"wasm", NEEDS_PROGRAM, NULL, "they are shell scripts, and a module starts no shell"},
    {"wasm", 0, "a_missing_program_of_the_path_fails_and_is_named", "a word without '/' is the module's own name"},
    {"wasm", 0, "stop_with_timeout_0_kills_at_once", NO_SIGNALS},
    {"wasm", 0, "stop_with_250_msec_takes_about_250_msec", NO_SIGNALS},
    {"wasm", 0, "stop_without_a_timeout_takes_the_specs", NO_SIGNALS},
    {"wasm", 0, "two_stops_at_once_both_succeed", NO_SIGNALS},
    {"wasm", 0, "a_second_stop_may_shorten_the_deadline", NO_SIGNALS},
    {"wasm", 0, "a_second_stop_never_lengthens_the_deadline", NO_SIGNALS},
    {"wasm", 0, "a_cancelled_stop_goes_on", NO_SIGNALS},
    {"wasm", 0, "a_forced_remove_ends_it", NO_SIGNALS},
    {"wasm", 0, "a_timeout_kills_only_the_exec", NO_SIGNALS},
    {"wasm", 0, "a_cancelled_exec_is_killed", NO_SIGNALS},
    {"wasm", 0, "an_exec_ends_with_its_workload", NO_SIGNALS},
};

#define FILE_ROWS_MAX 256
static struct row file_rows[FILE_ROWS_MAX];
static size_t n_file_rows;

/** A stranger's own table: a line is a glob, or "(image)" for all cases with a real program in a real image; a
 *  blank; and the reason. */
static void read_rows(const struct settings *s)
{
    char *text = read_file(s->unsupported);
    if (!text) {
        fprintf(stderr, "berth-contract: %s: cannot be read\n", s->unsupported);
        exit(2);
    }
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        size_t n = strcspn(line, " \t");
        if (line[0] == '#' || n == 0 || n_file_rows == FILE_ROWS_MAX)
            continue;
        const char *reason =
            line[n] ? line + n + 1 + strspn(line + n + 1, " \t") : "no reason given";
        line[n] = '\0';
        bool image = strcmp(line, "(image)") == 0;
        file_rows[n_file_rows++] = (struct row){s->engine, image ? NEEDS_PROGRAM | NEEDS_KERNEL : 0, line, reason};
    }
}

static bool row_has(const struct row *row, const struct settings *s, const struct contract_case *k)
{
    if (strcmp(row->engine, s->engine) != 0)
        return false;
    return (row->needs & k->needs) || (row->glob && fnmatch(row->glob, k->name, 0) == 0);
}

const char *table_reason(const struct settings *s, const struct contract_case *k)
{
    if (s->unsupported && n_file_rows == 0)
        read_rows(s);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (row_has(&rows[i], s, k))
            return rows[i].reason;
    for (size_t i = 0; i < n_file_rows; i++)
        if (row_has(&file_rows[i], s, k))
            return file_rows[i].reason;
    return NULL;
}

static void row_print(const struct row *row)
{
    const char *what = row->needs == NEEDS_PROGRAM   ? "(cases with a real program)"
                       : row->needs == NEEDS_KERNEL  ? "(cases of the kernel)"
                       : row->needs == NEEDS_PROCESS ? "(cases of several processes)"
                                                     : row->glob;
    printf("%-12s %-32s %s\n", row->engine, what, row->reason);
}

void table_print(const struct settings *s)
{
    if (s->unsupported && n_file_rows == 0)
        read_rows(s);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        row_print(&rows[i]);
    for (size_t i = 0; i < n_file_rows; i++)
        row_print(&file_rows[i]);
}
