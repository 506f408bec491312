/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options by table. A wrong one is a mistake of berth's own, and still said by name.
 */
#include "wasm/options.h"

#include "base/base.h"

#include <string.h>

static int read_number(const char *s, uint64_t *ret)
{
    uint64_t n = 0;
    for (const char *c = s; *c; c++)
        if (*c < '0' || *c > '9' || __builtin_mul_overflow(n, 10u, &n) || __builtin_add_overflow(n, (unsigned)(*c - '0'), &n))
            return -EINVAL;
    *ret = n;
    return *s ? 0 : -EINVAL;
}

static int add_item(struct option_list *list, const char *value)
{
    const char **more = reallocarray(list->items, list->n + 1, sizeof(*more));
    if (!more)
        return -ENOMEM;
    more[list->n++] = value;
    list->items = more;
    return 0;
}

static int set(const struct option_row *row, const char *value, void *into)
{
    void *at = (char *)into + row->offset;
    switch (row->kind) {
    case OPTION_FLAG:
        return *(bool *)at = true, 0;
    case OPTION_YES:
        return *(bool *)at = strcmp(value, "yes") == 0, *(bool *)at ? 0 : -EINVAL;
    case OPTION_NUMBER:
        return read_number(value, at);
    case OPTION_TEXT:
        return *(const char **)at = value, 0;
    default:
        return add_item(at, value);
    }
}

static const struct option_row *find(const char *word, const struct option_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, rows[i].name) == 0)
            return &rows[i];
    return NULL;
}

int options_read(int argc, char **argv, int from, const struct option_row *rows, size_t n, void *into, int *ret_rest,
                 struct berth_error *err)
{
    int i = from;
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const struct option_row *row = find(argv[i], rows, n);
        bool takes = row && row->kind != OPTION_FLAG;
        if (!row || (takes && i + 1 >= argc))
            return fail(err, BERTH_INVALID, argv[i], "what is \"%.60s\"?", argv[i]);
        int r = set(row, takes ? argv[i + 1] : "", into);
        if (r == -ENOMEM)
            return fail_memory(err);
        if (r < 0)
            return fail(err, BERTH_INVALID, row->name, "--%s can't be \"%.60s\"", row->name, argv[i + 1]);
        i += takes;
    }
    *ret_rest = i < argc ? i + 1 : argc;
    return 0;
}
