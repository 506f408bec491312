/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TOML to JSON, and nothing more: the one C++ file of berth, behind one C function.
 */
#ifndef TOML_TOML_H
#define TOML_TOML_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TOML_MESSAGE 256

/**
 * Turn a TOML document into JSON text (*ret_json, free(3)). Dates and times become strings.
 * 0; -EINVAL with "line 3: ..." in `ret_message`; -ENOMEM.
 */
int toml_to_json(const char *text, size_t length, char **ret_json, char ret_message[TOML_MESSAGE]);

/** The line of what a path such as "network.pool" or "a.b[2].c" names, or of the last part of it that is there; 0: none. */
unsigned toml_line(const char *text, size_t length, const char *path);

#ifdef __cplusplus
}
#endif
#endif
