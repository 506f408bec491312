/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes to standard output: aligned tables for people, JSON and templates for scripts.
 */
#include "cli.h"
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

bool out_is_terminal(void)
{
    static int known = -1;
    if (known < 0)
        known = isatty(STDOUT_FILENO);
    return known;
}

bool err_is_terminal(void)
{
    static int known = -1;
    if (known < 0)
        known = isatty(STDERR_FILENO);
    return known;
}

int out_width(void)
{
    struct winsize size;
    if (!out_is_terminal())
        return 0;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
}

const char *colour(const char *name)
{
    static const struct {
        const char *name, *code;
    } colours[] = {{"red", "\033[31m"}, {"green", "\033[32m"}, {"yellow", "\033[33m"}, {"bold", "\033[1m"}, {"off", "\033[0m"}};
    if (out_is_terminal() && !getenv("NO_COLOR"))
        for (size_t i = 0; i < ARRAY_SIZE(colours); i++)
            if (strcmp(colours[i].name, name) == 0)
                return colours[i].code;
    return "";
}

/* ---- tables ------------------------------------------------------------------------------------ */

/* Code points rather than bytes: near enough to columns for names, paths and commands. */
static size_t columns_of(const char *s)
{
    size_t n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static size_t bytes_of_columns(const char *s, size_t columns)
{
    size_t i = 0;
    for (; s[i]; i++)
        if (((unsigned char)s[i] & 0xc0) != 0x80 && columns-- == 0)
            break;
    return i;
}

void table_row(struct table *table, ...)
{
    if (table->n_rows == table->room) {
        table->room = table->room ? 2 * table->room : 16;
        table->cells = memory_grow(table->cells, table->room * table->n_columns * sizeof(char *));
    }
    va_list list;
    va_start(list, table);
    for (size_t i = 0; i < table->n_columns; i++) {
        const char *s = va_arg(list, const char *);
        table->cells[table->n_rows * table->n_columns + i] = text_plain(s ? s : "");
    }
    va_end(list);
    table->n_rows++;
}

#define GAP 2u
#define COLUMNS_MAX 16

/* Widths that fit: the flexible column gives way first, then the widest ones. */
static void table_widths(const struct table *table, size_t widths[COLUMNS_MAX])
{
    size_t total = 0, room = (size_t)out_width();
    for (size_t c = 0; c < table->n_columns; c++) {
        widths[c] = columns_of(table->titles[c]);
        for (size_t r = 0; r < table->n_rows; r++) {
            size_t n = columns_of(table->cells[r * table->n_columns + c]);
            widths[c] = n > widths[c] ? n : widths[c];
        }
        total += widths[c] + (c ? GAP : 0);
    }
    while (room && !table->no_trunc && total > room) {
        size_t widest = table->flexible ? table->flexible - 1 : 0;
        if (!table->flexible || widths[widest] <= 8)
            for (size_t c = 0; c < table->n_columns; c++)
                widest = widths[c] > widths[widest] ? c : widest;
        if (widths[widest] <= 1)
            return;
        widths[widest]--;
        total--;
    }
}

static void print_cell(const char *cell, size_t width, bool last)
{
    size_t columns = columns_of(cell);
    if (columns > width) {
        fwrite(cell, 1, bytes_of_columns(cell, width > 1 ? width - 1 : 0), stdout);
        fputs("…", stdout);
        columns = width;
    } else {
        fputs(cell, stdout);
    }
    if (!last)
        printf("%*s", (int)(width - columns + GAP), "");
}

void table_print(struct table *table)
{
    size_t widths[COLUMNS_MAX];
    table_widths(table, widths);
    fputs(colour("bold"), stdout);
    for (size_t c = 0; c < table->n_columns; c++)
        print_cell(table->titles[c], widths[c], c + 1 == table->n_columns);
    printf("%s\n", colour("off"));
    for (size_t r = 0; r < table->n_rows; r++) {
        for (size_t c = 0; c < table->n_columns; c++) {
            char *cell = table->cells[r * table->n_columns + c];
            print_cell(cell, widths[c], c + 1 == table->n_columns);
            free(cell);
        }
        putchar('\n');
    }
    free(table->cells);
    table->cells = NULL;
    table->n_rows = table->room = 0;
}

/* ---- JSON -------------------------------------------------------------------------------------- */

static void json_print(const json_t *value, size_t flags)
{
    autofree char *text = json_dumps(value, flags | JSON_ENCODE_ANY);
    puts(text ? text : "null");
}

void json_line(const json_t *value)
{
    json_print(value, JSON_COMPACT);
}

void json_document(const json_t *value)
{
    json_print(value, JSON_INDENT(2));
}

/*
 * A list of flat objects, as lists of things are, without an escape: four times as quick as jansson's reader, which takes
 * its time over each letter and was half of `berth images` with a thousand images. NULL: it is not that, jansson reads it.
 */
static bool one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

static json_t *flat_string(const char **at)
{
    const char *begin = *at + 1, *end = begin + strcspn(begin, "\"\\");
    *at = *end == '"' ? end + 1 : end;
    return *end == '"' ? json_stringn(begin, (size_t)(end - begin)) : NULL;
}

static json_t *flat_number(const char **at)
{
    char *end;
    long long value = strtoll(*at, &end, 10);
    bool whole = end > *at && end - *at < 18 && one_of(*end, ",}");
    *at = end;
    return whole ? json_integer(value) : NULL;
}

static json_t *flat_value(const char **at)
{
    static const struct { const char *word; size_t n; int value; } words[] = {{"true", 4, 1}, {"false", 5, 0}, {"null", 4, -1}};
    if (**at == '"')
        return flat_string(at);
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (strncmp(*at, words[i].word, words[i].n) == 0) {
            *at += words[i].n;
            return words[i].value < 0 ? json_null() : json_boolean(words[i].value);
        }
    return **at == '-' || (**at >= '0' && **at <= '9') ? flat_number(at) : NULL;
}

static json_t *flat_object(const char **at)
{
    json_t *object = *(*at)++ == '{' ? json_object() : NULL;
    while (object && **at == '"') {
        const char *key = *at + 1, *end = key + strcspn(key, "\"\\");
        json_t *value = NULL;
        if (end[0] == '"' && end[1] == ':') {
            *at = end + 2;
            value = flat_value(at);
        }
        if (!value || json_object_setn_new(object, key, (size_t)(end - key), value) < 0 || !one_of(**at, ",}")) {
            json_decref(object);
            return NULL;
        }
        if (**at == ',')
            (*at)++;
    }
    if (object && *(*at)++ != '}') {
        json_decref(object);
        object = NULL;
    }
    return object;
}

static json_t *read_flat(const char *text)
{
    json_t *list = text[0] == '[' && text[1] == '{' ? json_array() : NULL;
    for (const char *at = text + 1; list;) {
        json_t *object = flat_object(&at);
        if (!object || json_array_append_new(list, object) < 0 || !one_of(*at, ",]"))
            break;
        if (*at++ == ']' && *at == 0)
            return list;
    }
    json_decref(list);
    return NULL;
}

int json_read(const char *text, json_t **ret_value, struct berth_error *err)
{
    json_error_t error;
    json_t *flat = read_flat(text), *value = flat ? flat : json_loads(text, JSON_DECODE_ANY, &error);
    if (!value) {
        *err = (struct berth_error){.code = BERTH_CORRUPT};
        snprintf(err->message, sizeof(err->message), "the library's answer is not JSON: %s", error.text);
        return BERTH_CORRUPT;
    }
    *ret_value = value;
    return 0;
}

/* Same letters, but for case and underscores: {{.ExitCode}} finds exit_code. */
static bool alike(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a == '_')
            a++;
        while (*b == '_')
            b++;
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
            return false;
        if (!*a)
            return true;
    }
}

static json_t *json_member(json_t *value, const char *name)
{
    const char *key;
    json_t *member = json_object_get(value, name), *each;
    if (member || !json_is_object(value))
        return member;
    json_object_foreach(value, key, each)
        if (alike(key, name))
            return each;
    return NULL;
}

json_t *json_find(json_t *value, const char *path)
{
    while (value && *path) {
        size_t n = strcspn(path, ".");
        /* keys of labels hold dots themselves: the whole rest may be one */
        json_t *whole = json_object_get(value, path);
        if (whole)
            return whole;
        autofree char *name = strndup(path, n);
        int64_t index;
        if (json_is_array(value) && name && parse_integer(name, 0, 1 << 30, &index) == 0)
            value = json_array_get(value, (size_t)index);
        else
            value = name ? json_member(value, name) : NULL;
        path += n + (path[n] == '.');
    }
    return value;
}

const char *json_text(json_t *value, const char *path)
{
    const char *s = json_string_value(json_find(value, path));
    return s ? s : "";
}

int64_t json_number(json_t *value, const char *path)
{
    json_t *v = json_find(value, path);
    return json_is_real(v) ? (int64_t)json_real_value(v) : json_integer_value(v);
}

char *json_shown(json_t *value, const char *path)
{
    json_t *v = json_find(value, path);
    if (!v || json_is_null(v))
        return text_copy("");
    if (json_is_string(v))
        return text_copy(json_string_value(v));
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    return text ? text : text_copy("");
}

void json_put(json_t *object, const char *path, json_t *value)
{
    const char *dot;
    while ((dot = strchr(path, '.'))) {
        autofree char *name = strndup(path, (size_t)(dot - path));
        json_t *next = name ? json_object_get(object, name) : NULL;
        if (!json_is_object(next)) {
            next = json_object();
            json_object_set_new(object, name ? name : "", next);
        }
        object = next;
        path = dot + 1;
    }
    json_object_set_new(object, path, value);
}

void json_overlay(json_t *under, json_t *over)
{
    const char *key;
    json_t *value;
    json_object_foreach(over, key, value)
    {
        json_t *old = json_object_get(under, key);
        if (json_is_object(old) && json_is_object(value))
            json_overlay(old, value);
        else
            json_object_set(under, key, value);
    }
}

/* ---- templates --------------------------------------------------------------------------------- */

/* One action, the text between {{ and }}: ".a.b" or "json .a". False when it is neither. */
static bool action_parse(const char *start, size_t length, bool *ret_json, char path[256])
{
    while (length && isspace((unsigned char)*start))
        start++, length--;
    while (length && isspace((unsigned char)start[length - 1]))
        length--;
    *ret_json = length > 5 && memcmp(start, "json ", 5) == 0;
    for (size_t skip = *ret_json ? 5 : 0; length && (skip || isspace((unsigned char)*start)); skip -= skip > 0)
        start++, length--;
    if (length == 0 || *start != '.' || length >= 256)
        return false;
    memcpy(path, start + 1, length - 1);
    path[length - 1] = '\0';
    return strpbrk(path, " |(){}") == NULL;
}

static const char *template_body(const char *text)
{
    return starts_with(text, "table ") ? text + 6 : text;
}

int template_check(struct cli *cli, const char *text)
{
    char path[256];
    bool json;
    for (const char *p = template_body(text); (p = strstr(p, "{{"));) {
        const char *end = strstr(p, "}}");
        if (!end || !action_parse(p + 2, (size_t)(end - p - 2), &json, path))
            return cli_usage(cli, "--format: \"%s\" is neither {{.field}} nor {{json .field}}", p);
        p = end + 2;
    }
    return 0;
}

/* The first part of `path` is a member, or the usage error that names those there are. */
static int check_member(struct cli *cli, const char *group, const char *path, json_t *value)
{
    const char *key;
    json_t *each;
    autofree char *first = strndup(path, strcspn(path, ".")), *known = text_copy("");
    if (!first || !*first || json_member(value, first))
        return 0;
    json_object_foreach(value, key, each)
    {
        autofree char *old = known;
        known = text_new("%s%s%s%s", old, *old ? ", " : "", group, key);
    }
    return cli_usage(cli, "--format: there is no field \"%s%s\"; there are %s", group, first, known);
}

/* Absent below the first part of a path is no error: labels and maps hold what they hold. But what has a capital is one of
 * docker's objects, and has all the members that it ever has here. */
int template_fields(struct cli *cli, const char *text, json_t *value)
{
    char path[256];
    bool json;
    for (const char *p = template_body(text); (p = strstr(p, "{{"));) {
        const char *end = strstr(p, "}}");
        if (!end || !action_parse(p + 2, (size_t)(end - p - 2), &json, path))
            return 0;
        p = end + 2;
        size_t n = strcspn(path, ".");
        autofree char *group = text_new("%.*s.", (int)n, path), *first = strndup(path, n);
        int r = check_member(cli, "", path, value);
        if (r == 0 && path[n] && first && isupper((unsigned char)path[0]) && json_is_object(json_object_get(value, first)))
            r = check_member(cli, group, path + n + 1, json_object_get(value, first));
        if (r)
            return r;
    }
    return 0;
}

static void print_value(const json_t *value, bool json)
{
    if (json) {
        autofree char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        fputs(text ? text : "null", stdout);
    } else if (json_is_string(value)) {
        fwrite(json_string_value(value), 1, json_string_length(value), stdout);
    } else if (value && !json_is_null(value)) {
        autofree char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        fputs(text ? text : "", stdout);
    }
}

/* Print one stretch of plain text; a shell passes \t and \n as they are, docker takes them. */
static const char *print_plain(const char *p)
{
    for (; *p && !starts_with(p, "{{"); p++)
        if (p[0] == '\\' && (p[1] == 't' || p[1] == 'n'))
            putchar(*++p == 't' ? '\t' : '\n');
        else
            putchar(*p);
    return p;
}

static void template_walk(const char *text, json_t *value, bool title)
{
    char path[256];
    bool json;
    for (const char *p = print_plain(template_body(text)); *p; p = print_plain(p)) {
        const char *end = strstr(p, "}}");
        if (!end || !action_parse(p + 2, (size_t)(end - p - 2), &json, path))
            break;
        if (title)
            for (const char *c = path; *c; c++)
                putchar(toupper((unsigned char)*c));
        else
            print_value(json_find(value, path), json);
        p = end + 2;
    }
    putchar('\n');
}

void template_title(const char *text)
{
    if (starts_with(text, "table "))
        template_walk(text, NULL, true);
}

void template_print(const char *text, json_t *value)
{
    if (strcmp(text, "json") == 0)
        return json_line(value);
    template_walk(text, value, false);
}

/* ---- bytes ------------------------------------------------------------------------------------- */

int write_all(int fd, const void *data, size_t size)
{
    const char *p = data;
    while (size) {
        ssize_t n = write(fd, p, size);
        if (n >= 0) {
            p += n;
            size -= (size_t)n;
            continue;
        }
        if (errno == EAGAIN) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            poll(&wait, 1, -1);
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

void end_by_pipe(void)
{
    sigset_t set;
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(SIGPIPE);
    _exit(128 + SIGPIPE);
}
