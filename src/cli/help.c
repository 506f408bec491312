/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Help, manual pages and completions: three ways of printing the tables of commands and flags.
 */
#include "cli.h"
#include <ctype.h>

#define WIDTH 78

/* Words of a text, filled to WIDTH behind `indent` blanks; an empty line stays one. */
static void print_filled(FILE *out, const char *text, size_t indent, size_t column)
{
    while (*text) {
        size_t blank = strspn(text, " "), word = strcspn(text + blank, " \n");
        if (column + (column > indent ? 1 : 0) + word > WIDTH && column > indent) {
            fputc('\n', out);
            column = 0;
        }
        if (word) {
            if (column < indent)
                fprintf(out, "%*s", (int)(indent - column), "");
            else if (column > indent)
                fputc(' ', out);
            column = (column < indent ? indent : column + (column > indent)) + word;
            fwrite(text + blank, 1, word, out);
        }
        text += blank + word;
        for (; *text == '\n'; text++, column = 0)
            fputc('\n', out);
    }
    fputc('\n', out);
}

static void print_flag(FILE *out, const struct flag *flag)
{
    enum { HELP_COLUMN = 30 };
    int n = fprintf(out, flag->letter ? "  -%c, " : "      ", flag->letter);
    n += fprintf(out, "--%s%s%s", flag->name, flag->argument ? " " : "", flag->argument ? flag->argument : "");
    if (n >= HELP_COLUMN - 1) {
        fputc('\n', out);
        n = 0;
    }
    print_filled(out, flag->help, HELP_COLUMN, (size_t)n);
}

static int count_flags(const struct command *command)
{
    int n = 0;
    while (command_flag(command, (size_t)n))
        n++;
    return n;
}

void help_command(FILE *out, const struct command *command)
{
    const struct flag *flag;
    int n = count_flags(command);
    fprintf(out, "berth %s: %s\n\n", command->name, command->help);
    fprintf(out, "Usage: berth %s%s%s%s\n", command->name, n ? " [flags]" : "",
            command->arguments[0] ? " " : "", command->arguments);
    if (command->alias)
        fprintf(out, "Also:  berth %s\n", command->alias);
    if (command->text[0]) {
        fputc('\n', out);
        print_filled(out, command->text, 0, 0);
    }
    if (n)
        fputs("\nFlags:\n", out);
    for (size_t i = 0; (flag = command_flag(command, i)); i++)
        print_flag(out, flag);
    fputs("\nExamples:\n", out);
    for (size_t i = 0; i < ARRAY_SIZE(command->examples); i += 2) {
        size_t length = strlen(command->examples[i]) + strlen(command->examples[i + 1]) + 6;
        if (length <= WIDTH)
            fprintf(out, "  %-*s  # %s\n", 0, command->examples[i], command->examples[i + 1]);
        else
            fprintf(out, "  # %s\n  %s\n", command->examples[i + 1], command->examples[i]);
    }
}

static void print_commands(FILE *out, enum command_group group, unsigned bits)
{
    for (size_t i = 0; i < commands_count; i++)
        if ((bits ? commands[i].bits & bits : commands[i].group == group) && commands[i].help[0] != '(')
            fprintf(out, "  %-19s %s\n", commands[i].name, commands[i].help);
}

void help_overview(FILE *out)
{
    fputs("berth runs workloads: containers behind a name and ten verbs.\n\n"
          "Usage: berth [--json] [--root DIR] [--run DIR] VERB [flags] ARGS\n\nThe ten verbs:\n", out);
    print_commands(out, GROUP_TEN, 0);
    fputs("\nMost used besides:\n", out);
    print_commands(out, GROUP_HIDDEN, COMMAND_COMMON);
    fputs("\n`berth help` lists all verbs, `berth VERB --help` explains one.\n", out);
}

static void help_all(FILE *out)
{
    static const char *const titles[] = {"The ten verbs", "Made of them", "Images", "Volumes and networks", "The machine"};
    fputs("Usage: berth [global flags] VERB [flags] ARGS\n", out);
    for (enum command_group g = GROUP_TEN; g < GROUP_HIDDEN; g++) {
        fprintf(out, "\n%s:\n", titles[g]);
        print_commands(out, g, 0);
    }
    fputs("\nGlobal flags, before the verb:\n", out);
    for (const struct flag *f = global_flags; f->name; f++)
        print_flag(out, f);
}

void help_group(FILE *out, const char *group)
{
    size_t length = strlen(group);
    fprintf(out, "Usage: berth %s VERB [flags] ARGS\n\n", group);
    for (size_t i = 0; i < commands_count; i++) {
        const struct command *c = &commands[i];
        const char *name = c->alias && strncmp(c->alias, group, length) == 0 && c->alias[length] == ' ' ? c->alias : c->name;
        if (strncmp(name, group, length) == 0 && name[length] == ' ')
            fprintf(out, "  %-19s %s\n", name, c->help);
    }
}

int verb_help(struct cli *cli, const struct args *args)
{
    int used;
    if (args->n_words == 0) {
        help_all(stdout);
        return EXIT_DONE;
    }
    const struct command *command = command_find(args->words, args->n_words, &used);
    if (!command) {
        struct nearest nearest = {.word = args->words[0]};
        for (size_t i = 0; i < commands_count; i++) {
            nearest_try(&nearest, commands[i].name);
            size_t n = strcspn(commands[i].name, " ");
            if (commands[i].name[n] && strlen(args->words[0]) == n && starts_with(commands[i].name, args->words[0])) {
                help_group(stdout, args->words[0]);
                return EXIT_DONE;
            }
        }
        return cli_usage(cli, "no verb \"%s\"%s%s%s", args->words[0], nearest.best ? " (did you mean " : "",
                         nearest.best ? nearest.best : "", nearest.best ? "?)" : "");
    }
    help_command(stdout, command);
    return EXIT_DONE;
}

int verb_later(struct cli *cli, const struct args *args)
{
    (void)args;
    autofree char *text = text_copy(cli->command->text);
    text[strcspn(text, "\n")] = '\0';
    return cli_fail_code(cli, NULL, BERTH_UNSUPPORTED, "%s", text);
}

/* ---- manual pages ------------------------------------------------------------------------------ */

/* scdoc: some characters mean something anywhere, some at the start of a line. */
static void print_scdoc(const char *s)
{
    if (*s && strchr("-.|", *s))
        putchar('\\');
    for (; *s; s++) {
        if (strchr("*_\\<>#`", *s))
            putchar('\\');
        putchar(*s);
    }
}

static void manual_flags(const struct flag *(*each)(const struct command *, size_t), const struct command *command)
{
    const struct flag *f;
    for (size_t i = 0; (f = each(command, i)); i++) {
        if (f->letter)
            printf("*-%c*, ", f->letter);
        printf("*--%s*", f->name);
        if (f->argument) {
            fputs(" _", stdout);
            print_scdoc(f->argument);
            putchar('_');
        }
        fputs("\n\t", stdout);
        print_scdoc(f->help);
        if (f->path) {
            fputs(" (spec: ", stdout);
            print_scdoc(f->path);
            putchar(')');
        }
        fputs("\n\n", stdout);
    }
}

static const struct flag *global_flag(const struct command *command, size_t index)
{
    (void)command;
    return global_flags[index].name ? &global_flags[index] : NULL;
}

static void manual_command(const struct command *c)
{
    autofree char *page = text_copy(c->name);
    for (char *p = page; *p; p++)
        *p = *p == ' ' ? '-' : *p;
    printf("berth-%s(1)\n\n# NAME\n\nberth-%s - ", page, page);
    print_scdoc(c->help);
    printf("\n\n# SYNOPSIS\n\n*berth %s* %s", c->name, count_flags(c) ? "[flags] " : "");
    print_scdoc(c->arguments);
    fputs("\n\n", stdout);
    if (c->alias)
        printf("*berth %s* is the same.\n\n", c->alias);
    fputs("# DESCRIPTION\n\n", stdout);
    print_scdoc(c->text[0] ? c->text : c->help);
    fputs("\n\n", stdout);
    if (count_flags(c)) {
        fputs("# OPTIONS\n\n", stdout);
        manual_flags(command_flag, c);
    }
    fputs("The flags of *berth*(1), among them *--json*, are taken by every verb.\n\n# EXIT STATUS\n\n", stdout);
    fputs(c->bits & COMMAND_RUNS
              ? "The program's own; 128 + signal when a signal ended it; 124 when a time limit passed; 125 "
                "when berth failed or the flags were wrong; 126 when the program can't be executed; 127 when it isn't there.\n\n"
              : "0 done; 1 berth could not do it; 2 wrong usage; 4 the answer is \"none\"; 124 *--deadline* passed.\n\n", stdout);
    fputs("# EXAMPLES\n\n", stdout);
    for (size_t i = 0; i < ARRAY_SIZE(c->examples); i += 2) {
        print_scdoc(c->examples[i + 1]);
        printf(":\n\n```\n%s\n```\n\n", c->examples[i]);
    }
    fputs("# SEE ALSO\n\n*berth*(1), *berth-spec*(5)\n", stdout);
}

static void manual_overview(void)
{
    static const char *const titles[] = {"THE TEN VERBS", "VERBS MADE OF THEM", "IMAGES", "VOLUMES AND NETWORKS", "THE MACHINE"};
    fputs("berth(1)\n\n# NAME\n\nberth - run workloads through one interface, a name and ten verbs\n\n"
          "# SYNOPSIS\n\n*berth* [global flags] VERB [flags] ARGS\n\n# DESCRIPTION\n\n"
          "A workload is named by its name or any unambiguous prefix of its id. Where several names may be "
          "given each gets its own line, and the exit status is not 0 if any failed. Where docker has a flag "
          "for it, the flag has docker's name and meaning.\n\nEvery state is one of creating, created, running, "
          "paused, restarting, stopping, stopped (ended because somebody asked), completed (exit 0 by itself) "
          "and failed.\n\n", stdout);
    for (enum command_group g = GROUP_TEN; g < GROUP_HIDDEN; g++) {
        printf("# %s\n\n", titles[g]);
        for (size_t i = 0; i < commands_count; i++)
            if (commands[i].group == g && commands[i].help[0] != '(') {
                printf("*%s*\n\t", commands[i].name);
                print_scdoc(commands[i].help);
                fputs("\n\n", stdout);
            }
    }
    fputs("# GLOBAL FLAGS\n\n", stdout);
    manual_flags(global_flag, NULL);
    fputs("# OUTPUT\n\nPeople get aligned columns. *--json* gives one object a line for lists and streams and one "
          "document for inspect: field names as in *berth-spec*(5), times in RFC 3339, sizes in bytes. *--format* takes "
          "{{.field}}, {{.a.b}} and {{json .}}. *-q* prints ids or names alone.\n\nErrors are one line on standard "
          "error; with *--json* the same as {\"error\":{\"code\":...,\"message\":...,\"object\":...}}.\n\n"
          "# EXIT STATUS\n\n*0* done; *1* berth could not do it; *2* wrong usage; *4* the answer is \"none\"; *124* a "
          "time limit passed. *run* and *exec* give the program's own code, 128 + signal when a signal ended it, "
          "*125* when berth itself failed (wrong flags too), *126* when the program can't be executed, *127* when it isn't there.\n\n"
          "# ENVIRONMENT\n\n*BERTH_ROOT*, *BERTH_RUN*, *BERTH_CONFIG*\n\tInstead of the flags of that name.\n\n"
          "*BERTH_PROGRAMS*\n\tFolder of berth's own programs.\n\n"
          "*BERTH_ENGINES*\n\tFolder of others' engines, NAME.so (*libberth-engine*(3)): root's alone, or refused.\n\n*NO_COLOR*\n\tNo colours.\n\n"
          "# SEE ALSO\n\n*berth-run*(1), *berth-spec*(5), *berth.toml*(5), *berth-container*(7), *libberth*(3)\n", stdout);
}

int verb_manual(struct cli *cli, const struct args *args)
{
    int used;
    if (args->n_words == 0) {
        manual_overview();
        return EXIT_DONE;
    }
    if (strcmp(args->words[0], "spec-schema") == 0) { /* what berth-spec(5) is made of */
        puts(berth_spec_schema());
        return EXIT_DONE;
    }
    const struct command *command = command_find(args->words, args->n_words, &used);
    if (!command)
        return cli_usage(cli, "no verb \"%s\"", args->words[0]);
    manual_command(command);
    return EXIT_DONE;
}
