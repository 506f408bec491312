/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store in a folder of its own, as the setup and teardown of a cmocka test.
 */
#ifndef TESTS_UNIT_STORE_RIG_H
#define TESTS_UNIT_STORE_RIG_H

#include "unit.h"

#include "store/store.h"

struct fixture {
    char path[64], root[80], run[80];
    struct store *s;
    char id[BERTH_ID_TEXT]; /* for a test whose workload is there from the beginning */
};

int open_store(void **state);
/** The folder goes, a small disk that a failed case left mounted at PATH/disk too. */
int close_store(void **state);

#endif
