/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that runs out on purpose: the n-th allocation fails, for every n until none is hit.
 *
 * Works by being malloc(3) for the whole test program, so shared libraries fail too. Not together
 * with AddressSanitizer, which is malloc itself.
 */
#ifndef TESTS_UNIT_FAULT_H
#define TESTS_UNIT_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAULT_AVAILABLE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define FAULT_AVAILABLE 0
#endif
#endif
#ifndef FAULT_AVAILABLE
#define FAULT_AVAILABLE 1
#endif

/**
 * Run `step` with the first, second, ... allocation failing until it runs through. It returns 0 for
 * success, -1 for a clean failure for lack of memory; anything else fails the test, and so does
 * memory that is still there afterwards. Returns how many failures were tried.
 */
size_t fault_loop(int (*step)(void *data), void *data);

#endif
