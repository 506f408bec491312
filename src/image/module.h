/* SPDX-License-Identifier: Apache-2.0 */
/*
 * WebAssembly modules told apart by their bytes, never by a name.
 */
#ifndef IMAGE_MODULE_H
#define IMAGE_MODULE_H

/** HTTP: a component that exports wasi:http/incoming-handler@0.2; TEXT: what it is, only a compiler tells. */
enum look { LOOK_NONE, LOOK_CORE, LOOK_COMPONENT, LOOK_HTTP, LOOK_TEXT };
/** Look at a file's beginning, and of a component at the names of its exports. NONE is a value. 0 or -errno. */
int module_look(int fd, enum look *ret_look);

#endif
