/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Elements of the packet filter's sets and maps: a share as a row of them, and back.
 */
#ifndef LINUX_NET_ELEMENT_H
#define LINUX_NET_ELEMENT_H

#include "linux/net_filter.h"

enum net_set {
    SET_NETWORKS,
    SET_PORTS4, SET_ANY4, SET_RANGES4, SET_ANY_RANGES4,
    SET_PORTS6, SET_ANY6, SET_RANGES6, SET_ANY_RANGES6,
    SET_SELF4, SET_SELF6,
    SET_WALLED4, SET_WALLED6,
    SET_GUESTS4, SET_GUESTS6,
    SET_COUNT
};
struct net_set_kind {
    const char *name;
    uint8_t family; /* NFPROTO_INET, NFPROTO_BRIDGE: of its table */
    uint8_t key, data; /* bytes; data 0: a set */
    bool range;
};
extern const struct net_set_kind net_set_kinds[SET_COUNT];

#define ELEMENT_KEY_MAX 40
#define ELEMENT_DATA_MAX 20
struct net_element {
    enum net_set set;
    uint8_t key[ELEMENT_KEY_MAX], end[ELEMENT_KEY_MAX], data[ELEMENT_DATA_MAX]; /* zero padded; end: of a range */
};

/** Walk over a share's elements, one set's behind one another's. Zero-initialise, set `share`. */
struct net_walk {
    const struct net_share *share;
    int stage;
    size_t i, j;
};
bool net_walk_next(struct net_walk *w, struct net_element *ret);

/** What an element of a port map or guest set says; false when it is neither. */
bool net_element_port(const struct net_element *e, struct net_publish *ret);
bool net_element_guest(const struct net_element *e, struct net_guest *ret);

#endif
