/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network namespace for a test, and programs as judges in it.
 */
#ifndef TESTS_UNIT_NET_RIG_H
#define TESTS_UNIT_NET_RIG_H

#include "unit.h"

#include "base/address.h"

#define HASH "1a2b3c4d"

/** Root, and namespaces can be made. */
bool rig_possible(void);
/** A network and a mount namespace for this process, /sys of its own; lo is up. 0 or -errno. */
int rig_enter(void);
/** Run a shell line; its output must contain the text (and it must exit 0). */
void says(const char *command, const char *text);
/** The same inside another network namespace. */
void inside(int ns_fd, const char *command, const char *text);
/** Its output, at most 64 kB (free), whatever it exits with; *ret_status (NULL allowed). ns_fd -1: here. */
char *output_of(int ns_fd, const char *command, int *ret_status);
/** A server in a namespace (-1: here) until the test ends: answers "NAME from ADDRESS" to whoever connects to
 *  the TCP port or sends to the UDP port. */
void serve(int ns_fd, int protocol, const char *where, int port, const char *name);
/** What a server says to somebody in ns_fd, or "nothing" after 300 ms. `from_port` 0: any. Static storage. */
const char *ask(int ns_fd, int protocol, const char *where, int port, int from_port);
/** End the servers. */
void rig_leave(void);
struct address subnet(const char *s);
struct address address(const char *s);

#endif
