/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target is head.rs: here is only what a program in C begins with.
 */
#include "fuzz.h"
