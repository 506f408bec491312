/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What runs inside, for every kind of engine.
 *
 * A program is a list of fake.h's steps. An engine with real programs gets the same steps as a
 * shell script; what only a shell can do is a script at once, and an engine without one says
 * UNSUPPORTED.
 */
#include "contract.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

char *print_text(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int r = vasprintf(&text, format, args);
    va_end(args);
    check(r >= 0, "out of memory");
    return text;
}

/** Milliseconds of "250ms", "2s". */
static double seconds_of(const char *text)
{
    char *unit;
    double n = strtod(text, &unit);
    return strcmp(unit, "ms") == 0 ? n / 1000 : n;
}

/** One step as a line of shell. */
static char *shell_line(const char *step)
{
    char verb[16];
    int taken = 0;
    check(sscanf(step, "%15s %n", verb, &taken) >= 1, "a step without a verb");
    const char *rest = step + taken;
    if (strcmp(verb, "print") == 0)
        return print_text("echo '%s'\n", rest);
    if (strcmp(verb, "eprint") == 0)
        return print_text("echo '%s' >&2\n", rest);
    if (strcmp(verb, "sleep") == 0)
        return print_text("sleep %.3f & wait $!\n", seconds_of(rest));
    if (strcmp(verb, "exit") == 0)
        return print_text("exit %s\n", rest);
    if (strcmp(verb, "ignore") == 0)
        return print_text("trap '' %s\n", rest);
    if (strcmp(verb, "wait") == 0)
        return print_text("while :; do sleep 1000 & wait $!; done\n");
    if (strcmp(verb, "cat") == 0)
        return print_text("cat\n");
    if (strcmp(verb, "oom") == 0)
        return print_text("exec tail /dev/zero\n");
    fail("no such step: %s", step);
}

/** The steps as a script. Process 1 of a namespace ignores what it has no handler for: it gets one.
 */
static char *shell_script(const char *const *steps)
{
    char *script = print_text("trap 'exit 143' TERM\n");
    for (size_t i = 0; steps[i]; i++) {
        char *line = shell_line(steps[i]);
        char *longer = print_text("%s%s", script, line);
        free(line);
        free(script);
        script = longer;
    }
    return script;
}

/** argv of a program, NULL at the end. */
static char **argv_of(const struct contract *c, struct program program)
{
    char **argv = calloc(64, sizeof(*argv));
    check(argv, "out of memory");
    for (size_t i = 0; is_wasm(c) && program.steps && program.steps[i]; i++)
        if (strncmp(program.steps[i], "ignore ", 7) == 0)
            end_unsupported("a module hears no signal that it could ignore");
    if (program.steps && c->steps) {
        for (size_t i = 0; program.steps[i] && i < 63; i++)
            argv[i] = print_text("%s", program.steps[i]);
        return argv;
    }
    argv[0] = print_text("/bin/sh");
    argv[1] = print_text("-c");
    argv[2] = program.shell ? print_text("%s", program.shell) : shell_script(program.steps);
    return argv;
}

static void argv_free(char **argv)
{
    for (size_t i = 0; argv[i]; i++)
        free(argv[i]);
    free(argv);
}

static json_t *command_of(const struct contract *c, struct program program)
{
    char **argv = argv_of(c, program);
    json_t *command = json_array();
    for (size_t i = 0; argv[i]; i++)
        json_array_append_new(command, json_string(argv[i]));
    argv_free(argv);
    return command;
}

static json_t *value_of(const char *text)
{
    char *copy = print_text("%s", text);
    for (char *p = copy; *p; p++)
        if (*p == '\'')
            *p = '"';
    json_error_t e;
    json_t *value = json_loads(copy, JSON_DECODE_ANY, &e);
    check(value, "the case's own JSON %s: %s", copy, e.text);
    free(copy);
    return value;
}

void spec_set(json_t *spec, const char *path, const char *value)
{
    char key[128];
    const char *dot = strchr(path, '.');
    if (!dot) {
        json_object_set_new(spec, path, value_of(value));
        return;
    }
    snprintf(key, sizeof(key), "%.*s", (int)(dot - path), path);
    json_t *inner = json_object_get(spec, key);
    if (!inner) {
        inner = json_object();
        json_object_set_new(spec, key, inner);
    }
    spec_set(inner, dot + 1, value);
}

/**
 * An engine of steps is asked for a shell: when it says that it has none, the case needs what it
 * can't have, and says so.
 */
static void need_shell(const struct contract *c, struct program program)
{
    if (!c->steps || !program.shell || !c->runtime)
        return;
    struct berth_handle h;
    struct berth_remove_options force = {.size = sizeof(force), .force = true};
    char *spec = print_text(
        "{\"image\":\"%s\",\"network\":\"%s\",\"command\":[\"/bin/sh\",\"-c\",\"true\"]}", c->image,
        c->network);
    int r = berth_create(c->runtime, spec, &h, ERR);
    free(spec);
    if (r == 0 && (r = berth_start(c->runtime, &h, ERR)) < 0)
        berth_remove(c->runtime, &h, &force, NULL);
    if (r == BERTH_NO_PROGRAM || r == BERTH_UNSUPPORTED)
        end_unsupported("it has no shell: %s", ERR->message);
    ok(r);
    ok(berth_remove(c->runtime, &h, &force, ERR));
}

static char *spec_from(const struct contract *c, const char *name, struct program program,
                       va_list pairs)
{
    need_shell(c, program);
    json_t *spec = json_object();
    if (name)
        json_object_set_new(spec, "name", json_string(name));
    json_object_set_new(spec, "image", json_string(c->image));
    json_object_set_new(spec, "network", json_string(c->network));
    json_object_set_new(spec, "command", command_of(c, program));
    for (const char *path; (path = va_arg(pairs, const char *));)
        spec_set(spec, path, va_arg(pairs, const char *));
    char *text = json_dumps(spec, JSON_COMPACT);
    json_decref(spec);
    check(text, "out of memory");
    return text;
}

char *spec_text(const struct contract *c, const char *name, struct program program, ...)
{
    va_list pairs;
    va_start(pairs, program);
    char *text = spec_from(c, name, program, pairs);
    va_end(pairs);
    return text;
}

static struct berth_handle create_from(struct contract *c, const char *name, struct program program,
                                       va_list pairs)
{
    struct berth_handle handle;
    char *spec = spec_from(c, name, program, pairs);
    ok(berth_create(c->runtime, spec, &handle, ERR));
    free(spec);
    return handle;
}

struct berth_handle create(struct contract *c, const char *name, struct program program, ...)
{
    va_list pairs;
    va_start(pairs, program);
    struct berth_handle handle = create_from(c, name, program, pairs);
    va_end(pairs);
    return handle;
}

struct berth_handle run(struct contract *c, const char *name, struct program program, ...)
{
    va_list pairs;
    va_start(pairs, program);
    struct berth_handle handle = create_from(c, name, program, pairs);
    va_end(pairs);
    ok(berth_start(c->runtime, &handle, ERR));
    return handle;
}

struct berth_handle run_ready(struct contract *c, const char *name, struct program program, ...)
{
    va_list pairs;
    va_start(pairs, program);
    struct berth_handle handle = create_from(c, name, program, pairs);
    va_end(pairs);
    ok(berth_start(c->runtime, &handle, ERR));
    until_log(c, &handle, "ready");
    return handle;
}

int create_code(struct contract *c, const char *name, struct program program, ...)
{
    struct berth_handle handle;
    va_list pairs;
    va_start(pairs, program);
    char *spec = spec_from(c, name, program, pairs);
    va_end(pairs);
    int r = berth_create(c->runtime, spec, &handle, ERR);
    free(spec);
    return r;
}

int exec_code(struct contract *c, const struct berth_handle *h,
              const struct berth_exec_options *options, struct program program,
              struct berth_exec_result **ret_result)
{
    char **argv = argv_of(c, program);
    int r = berth_exec(c->runtime, h, (const char *const *)argv, options, ret_result, ERR);
    argv_free(argv);
    return r;
}

struct berth_exec_result *exec_program(struct contract *c, const struct berth_handle *h,
                                       const struct berth_exec_options *options,
                                       struct program program)
{
    struct berth_exec_result *result = NULL;
    ok(exec_code(c, h, options, program, &result));
    check(result, "exec brought no result");
    return result;
}

struct berth_call *exec_begin(struct contract *c, const struct berth_handle *h,
                              const struct berth_exec_options *options, struct program program)
{
    struct berth_call *call = NULL;
    char **argv = argv_of(c, program);
    ok(berth_exec_call(c->runtime, h, (const char *const *)argv, options, &call, ERR));
    argv_free(argv);
    return call;
}
