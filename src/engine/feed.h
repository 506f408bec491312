/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream whose other end is a program of berth's: its words from a caller's options, and its start.
 */
#ifndef ENGINE_FEED_H
#define ENGINE_FEED_H

#include <berth/engine.h>
#include <stddef.h>
#include <stdint.h>

#define FEED_WORDS_MAX 32
#define FEED_NUMBERS_MAX 8

/** Its argv; words are borrowed until feed_start. Begin with {0}. */
struct feed {
    const char *words[FEED_WORDS_MAX];
    char numbers[FEED_NUMBERS_MAX][24];
    size_t n, n_numbers;
};

void feed_add(struct feed *f, const char *word);
void feed_add_number(struct feed *f, const char *option, uint64_t value);
/** What of logs is wanted. */
void feed_add_logs(struct feed *f, const struct berth_logs_options *o);
/** `berth-helper events` of the root that is its descriptor 3. */
void feed_add_events(struct feed *f, const struct berth_events_options *o);
/**
 * Start `path`: fds[0] and, if >= 0, fds[1] become its descriptors 3 and 4, its output the stream, whose end
 * is the program's. The descriptors stay the caller's. Errors: spawn's, pipe(2)'s; object: the program.
 */
int feed_start(const struct feed *f, const char *path, const int fds[2], struct berth_stream **ret_stream,
               struct berth_error *err);

#endif
