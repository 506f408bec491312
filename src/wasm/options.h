/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of the two programs: a table, because they are written by a program and never by hand.
 */
#ifndef WASM_OPTIONS_H
#define WASM_OPTIONS_H

#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_kind {
    OPTION_FLAG,   /**< bool; no value */
    OPTION_YES,    /**< bool; "yes" */
    OPTION_NUMBER, /**< uint64_t; plain decimal */
    OPTION_TEXT,   /**< const char *, borrowed from argv */
    OPTION_LIST    /**< struct option_list: may be repeated */
};
struct option_row {
    const char *name; /**< without "--" */
    int kind;
    size_t offset;    /**< in the struct that is filled */
};
struct option_list {
    const char **items; /**< borrowed from argv; the array is never freed: the process ends with it */
    size_t n;
};

/** Read options from argv[from] up to "--" or the end into `into`. `ret_rest`: index behind "--". INVALID names the option. */
int options_read(int argc, char **argv, int from, const struct option_row *rows, size_t n, void *into, int *ret_rest,
                 struct berth_error *err);

#endif
