/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Completions for three shells, printed from the tables of commands and flags.
 *
 * Names of workloads and images are asked for when they are needed, by berth itself.
 */
#include "cli.h"

/* What the words of a verb are, by how its usage calls them. */
static const char *words_of(const struct command *command)
{
    static const struct {
        const char *usage, *list;
    } kinds[] = {{"NAME", "workloads"}, {"[NAME...]", "workloads"}, {"[NAME]", "workloads"}, {"IMAGE", "images"}, {"SOURCE", "files"}};
    if (starts_with(command->name, "volume"))
        return "volumes";
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (starts_with(command->arguments, kinds[i].usage))
            return kinds[i].list;
    return "none";
}

static bool shown(const struct command *command)
{
    return command->group != GROUP_HIDDEN && command->help[0] != '(';
}

static void print_flags(const struct command *command)
{
    const struct flag *f;
    for (size_t i = 0; (f = command_flag(command, i)); i++)
        printf(f->letter ? "--%s -%c " : "--%s ", f->name, f->letter);
}

/* First words, or the second ones behind a first. */
static void print_verbs(const char *group)
{
    size_t length = group ? strlen(group) : 0;
    const char *last = "";
    for (size_t i = 0; i < commands_count; i++) {
        const struct command *c = &commands[i];
        for (int alias = 0; alias < 2; alias++) {
            const char *name = alias ? c->alias : c->name;
            size_t n = name ? strcspn(name, " ") : 0;
            if (!name || !shown(c))
                continue;
            if (group && strncmp(name, group, length) == 0 && name[length] == ' ')
                printf("%s ", name + length + 1);
            else if (!group && !(strncmp(last, name, n) == 0 && last[n] == ' ') && (!alias || !name[n]))
                printf("%.*s ", (int)n, name);
            last = alias ? last : name;
        }
    }
}

static int bash(void)
{
    fputs("# bash completion for berth\n_berth()\n{\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} verb='' i list flags\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        case ${COMP_WORDS[i]} in\n"
          "        --root | --run | --config | --deadline) ((i++)) ;;\n        -*) ;;\n"
          "        image | volume | network)\n"
          "            ((i + 1 < COMP_CWORD)) && verb=\"${COMP_WORDS[i]} ${COMP_WORDS[i + 1]}\" || verb=${COMP_WORDS[i]}\n            break ;;\n"
          "        *) verb=${COMP_WORDS[i]}; break ;;\n        esac\n    done\n    case $verb in\n    '') list='", stdout);
    print_verbs(NULL);
    fputs("' flags='", stdout);
    for (const struct flag *f = global_flags; f->name; f++)
        printf("--%s ", f->name);
    fputs("' ;;\n", stdout);
    static const char *const groups[] = {"image", "volume", "network"};
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
        printf("    %s) list='", groups[i]);
        print_verbs(groups[i]);
        fputs("' ;;\n", stdout);
    }
    for (size_t i = 0; i < commands_count; i++) {
        if (!shown(&commands[i]))
            continue;
        printf("    '%s'", commands[i].name);
        if (commands[i].alias)
            printf(" | '%s'", commands[i].alias);
        fputs(") flags='", stdout);
        print_flags(&commands[i]);
        printf("--help' list=@%s ;;\n", words_of(&commands[i]));
    }
    fputs("    esac\n    case $list in\n"
          "    @workloads) list=$(berth ps -a --format '{{.name}}' 2>/dev/null) ;;\n"
          "    @images) list=$(berth images --format '{{.reference}}' 2>/dev/null) ;;\n"
          "    @volumes) list=$(berth volume ls -q 2>/dev/null) ;;\n"
          "    @files) COMPREPLY=($(compgen -f -- \"$word\")); return ;;\n    @*) list='' ;;\n    esac\n"
          "    [[ $word == -* ]] && list=$flags\n"
          "    COMPREPLY=($(compgen -W \"$list\" -- \"$word\"))\n}\ncomplete -o default -F _berth berth\n", stdout);
    return EXIT_DONE;
}

/* zsh reads bash's completions; descriptions are fish's strength. */
static int zsh(void)
{
    fputs("#compdef berth\nautoload -U +X bashcompinit && bashcompinit\n", stdout);
    return bash();
}

static void fish_quote(const char *s)
{
    putchar('\'');
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\')
            putchar('\\');
        putchar(*s);
    }
    putchar('\'');
}

/* The condition under which a verb's own words and flags are offered. */
static void fish_condition(const char *name)
{
    const char *blank = strchr(name, ' ');
    if (blank)
        printf("-n '__fish_seen_subcommand_from %.*s; and __fish_seen_subcommand_from %s' ", (int)(blank - name), name, blank + 1);
    else
        printf("-n '__fish_seen_subcommand_from %s' ", name);
}

static void fish_command(const struct command *c)
{
    static const struct {
        const char *list, *command;
    } lists[] = {{"workloads", "(berth ps -a --format \"{{.name}}\" 2>/dev/null)"},
                 {"images", "(berth images --format \"{{.reference}}\" 2>/dev/null)"},
                 {"volumes", "(berth volume ls -q 2>/dev/null)"}};
    const char *blank = strchr(c->name, ' ');
    const struct flag *f;
    if (blank)
        printf("complete -c berth -f -n '__fish_seen_subcommand_from %.*s' -a %s -d ", (int)(blank - c->name), c->name, blank + 1);
    else
        printf("complete -c berth -f -n __fish_use_subcommand -a %s -d ", c->name);
    fish_quote(c->help);
    putchar('\n');
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        if (strcmp(words_of(c), lists[i].list) == 0) {
            fputs("complete -c berth -f ", stdout);
            fish_condition(c->name);
            fputs("-a ", stdout);
            fish_quote(lists[i].command);
            putchar('\n');
        }
    for (size_t i = 0; (f = command_flag(c, i)); i++) {
        fputs("complete -c berth ", stdout);
        fish_condition(c->name);
        printf(f->letter ? "-l %s -s %c %s-d " : "-l %s %.0d%s-d ", f->name, f->letter, f->argument ? "-r " : "");
        fish_quote(f->help);
        putchar('\n');
    }
}

static int fish(void)
{
    fputs("# fish completion for berth\n", stdout);
    for (size_t i = 0; i < commands_count; i++)
        if (shown(&commands[i]))
            fish_command(&commands[i]);
    static const char *const groups[] = {"image", "volume", "network"};
    for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
        printf("complete -c berth -f -n __fish_use_subcommand -a %s\n", groups[i]);
    return EXIT_DONE;
}

int verb_completion(struct cli *cli, const struct args *args)
{
    static const struct {
        const char *shell;
        int (*print)(void);
    } shells[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; i < ARRAY_SIZE(shells); i++)
        if (strcmp(shells[i].shell, args->words[0]) == 0)
            return shells[i].print();
    return cli_usage(cli, "no completion for \"%s\"; there is bash, zsh and fish", args->words[0]);
}
