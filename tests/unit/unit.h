/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmocka with the headers that it wants before itself.
 */
#ifndef TESTS_UNIT_UNIT_H
#define TESTS_UNIT_UNIT_H

#include "base/base.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#undef fail /* base/error.h has another one */

#endif
