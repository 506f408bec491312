/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of names as JSON: written by a supervisor, read by berth-dns.
 */
#include "model/names.h"
#include "base/address.h"
#include "base/base.h"
#include "base/text.h"
#include "model/json.h"

#include <string.h>

#define WORD_MAX 256 /* longest string of a record */

/* ---- print ------------------------------------------------------------------------------------
 */

static void put_strings(struct text *t, const char *key, char *const *list)
{
    if (!list || !*list)
        return;
    json_put_open(t, key, '[');
    for (; *list; list++)
        json_put_string(t, NULL, *list);
    json_put_close(t, ']');
}

static void put_network(struct text *t, const struct names_network *n)
{
    json_put_open(t, NULL, '{');
    json_put_string(t, "network", n->network);
    json_put_string(t, "bridge", n->bridge ? n->bridge : "");
    json_put_bool(t, "internal", n->internal);
    put_strings(t, "gateways", n->gateways);
    put_strings(t, "addresses", n->addresses);
    put_strings(t, "aliases", n->aliases);
    json_put_close(t, '}');
}

int names_print(const struct names *names, char **ret_json, struct berth_error *err)
{
    autotext struct text t = {0};
    json_put_open(&t, NULL, '{');
    json_put_string(&t, "id", names->id);
    json_put_string(&t, "name", names->name);
    if (names->hash)
        json_put_string(&t, "hash", names->hash);
    put_strings(&t, "upstreams", names->upstreams);
    json_put_open(&t, "networks", '[');
    for (size_t i = 0; i < names->n_networks; i++)
        put_network(&t, &names->networks[i]);
    json_put_close(&t, ']');
    json_put_close(&t, '}');
    if (t.failed)
        return fail_memory(err);
    if (t.length > NAMES_MAX_BYTES)
        return fail(err, BERTH_TOO_BIG, names->name, "the aliases of %s are more than %u bytes",
                    names->name, NAMES_MAX_BYTES);
    *ret_json = text_take(&t);
    return *ret_json ? 0 : fail_memory(err);
}

/* ---- parse ------------------------------------------------------------------------------------
 */

struct parse {
    struct scan scan;
    struct berth_error *err;
};

static int corrupt(struct parse *p, const char *key)
{
    return fail(p->err, BERTH_CORRUPT, key, "names: \"%s\" is not what it must be", key);
}

static int get_string(struct parse *p, const char *key, char **ret)
{
    char word[WORD_MAX];
    if (scan_string(&p->scan, word, sizeof(word)) < 0)
        return corrupt(p, key);
    char *copy = strdup(word);
    if (!copy)
        return fail_memory(p->err);
    free(*ret);
    *ret = copy;
    return 0;
}

static int get_strings(struct parse *p, const char *key, char ***ret, size_t max)
{
    bool first = true;
    char word[WORD_MAX];
    int r = scan_char(&p->scan, '[') ? 0 : -EINVAL;
    while (r == 0 && (r = scan_next(&p->scan, &first, NULL, 0)) == 1) {
        r = max-- == 0 ? -E2BIG : scan_string(&p->scan, word, sizeof(word));
        if (r >= 0)
            r = strings_add(ret, word);
    }
    return r == -ENOMEM ? fail_memory(p->err) : r < 0 ? corrupt(p, key) : 0;
}

static int get_network_field(struct parse *p, const char *key, struct names_network *n)
{
    if (!strcmp(key, "network"))
        return get_string(p, key, &n->network);
    if (!strcmp(key, "bridge"))
        return get_string(p, key, &n->bridge);
    if (!strcmp(key, "internal"))
        return scan_bool(&p->scan, &n->internal) < 0 ? corrupt(p, key) : 0;
    if (!strcmp(key, "gateways"))
        return get_strings(p, key, &n->gateways, 2);
    if (!strcmp(key, "addresses"))
        return get_strings(p, key, &n->addresses, NAMES_ADDRESSES_MAX);
    if (!strcmp(key, "aliases"))
        return get_strings(p, key, &n->aliases, SIZE_MAX);
    return scan_skip(&p->scan) < 0 ? corrupt(p, key) : 0; /* of a newer supervisor */
}

static int get_networks(struct parse *p, struct names *names)
{
    bool first = true, inner;
    char key[32];
    int r = scan_char(&p->scan, '[') ? 0 : -EINVAL;
    while (r == 0 && (r = scan_next(&p->scan, &first, NULL, 0)) == 1) {
        if (names->n_networks == NAMES_NETWORKS_MAX)
            return corrupt(p, "networks");
        struct names_network *room =
            realloc(names->networks, (names->n_networks + 1) * sizeof(*room));
        if (!room)
            return fail_memory(p->err);
        names->networks = room;
        room[names->n_networks] = (struct names_network){0};
        inner = true;
        r = scan_char(&p->scan, '{') ? 0 : -EINVAL;
        names->n_networks++;
        while (r == 0 && (r = scan_next(&p->scan, &inner, key, sizeof(key))) == 1)
            if ((r = get_network_field(p, key, &room[names->n_networks - 1])) < 0)
                return r;
    }
    return r < 0 ? corrupt(p, "networks") : 0;
}

static int get_field(struct parse *p, const char *key, struct names *names)
{
    if (!strcmp(key, "id"))
        return get_string(p, key, &names->id);
    if (!strcmp(key, "name"))
        return get_string(p, key, &names->name);
    if (!strcmp(key, "hash"))
        return get_string(p, key, &names->hash);
    if (!strcmp(key, "upstreams"))
        return get_strings(p, key, &names->upstreams, NAMES_UPSTREAMS_MAX);
    if (!strcmp(key, "networks"))
        return get_networks(p, names);
    return scan_skip(&p->scan) < 0 ? corrupt(p, key) : 0;
}

/* ---- check ------------------------------------------------------------------------------------
 */

static bool is_address(const char *text, bool with_length)
{
    struct address a;
    return text[0] != '[' && (with_length ? address_parse_subnet(text, &a) : address_parse(text, &a)) == 0;
}

static int check_addresses(char *const *list, bool with_length, struct berth_error *err)
{
    for (; list && *list; list++)
        if (!is_address(*list, with_length))
            return fail(err, BERTH_INVALID, *list, "names: \"%s\" is not an address%s", *list,
                        with_length ? " with a length" : "");
    return 0;
}

static int check(const struct names *names, struct berth_error *err)
{
    if (!names->id || strlen(names->id) < 12 || !names->name || !*names->name)
        return fail(err, BERTH_CORRUPT, "names", "names: id and name are missing");
    int r = check_addresses(names->upstreams, false, err);
    for (size_t i = 0; r == 0 && i < names->n_networks; i++) {
        const struct names_network *n = &names->networks[i];
        if (!n->network || !*n->network)
            return fail(err, BERTH_CORRUPT, "networks", "names: networks[%zu] has no name", i);
        r = check_addresses(n->gateways, false, err);
        if (r == 0)
            r = check_addresses(n->addresses, true, err);
    }
    return r;
}

int names_parse(const char *json, size_t length, struct names **ret_names, struct berth_error *err)
{
    struct parse p = {{json, json + length}, err};
    bool first = true;
    char key[32];
    struct names *names autoclean(cleanup_names) = calloc(1, sizeof(*names));
    if (!names)
        return fail_memory(err);
    int r = scan_char(&p.scan, '{') ? 0 : -EINVAL;
    while (r == 0 && (r = scan_next(&p.scan, &first, key, sizeof(key))) == 1)
        if ((r = get_field(&p, key, names)) < 0)
            return r;
    if (r < 0 || !scan_end(&p.scan))
        return corrupt(&p, "record");
    r = check(names, err);
    if (r == 0)
        *ret_names = TAKE(names);
    return r;
}

void names_free(struct names *names)
{
    for (size_t i = 0; names && i < names->n_networks; i++) {
        struct names_network *n = &names->networks[i];
        free(n->network);
        free(n->bridge);
        strings_free(n->gateways);
        strings_free(n->addresses);
        strings_free(n->aliases);
    }
    if (!names)
        return;
    free(names->networks);
    free(names->id);
    free(names->name);
    free(names->hash);
    strings_free(names->upstreams);
    free(names);
}
