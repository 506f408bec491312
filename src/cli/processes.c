/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes of a workload: in columns of ours, or as ps(1) shows them with the options of whoever asks.
 */
#include "cli.h"
#include <berth/container.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- by ps: its lines, of the workload's processes alone */

static int start_ps(char *const *options, int count, pid_t *ret_pid, FILE **ret_lines)
{
    posix_spawn_file_actions_t actions;
    char **argv = memory_new(((size_t)count + 2) * sizeof(char *));
    int ends[2];
    argv[0] = text_copy("ps");
    memcpy(argv + 1, options, (size_t)count * sizeof(char *));
    int r = pipe2(ends, O_CLOEXEC) < 0 ? errno : posix_spawn_file_actions_init(&actions);
    if (r == 0) {
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
        r = posix_spawnp(ret_pid, "ps", &actions, NULL, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        close(ends[1]);
        if (r == 0)
            *ret_lines = fdopen(ends[0], "r");
        else
            close(ends[0]);
    }
    free(argv[0]);
    free(argv);
    return r;
}

/* The n-th word of a line, or NULL. */
static const char *word_of(const char *line, int n)
{
    for (line += strspn(line, " \t"); n > 0 && *line; n--) {
        line += strcspn(line, " \t\n");
        line += strspn(line, " \t");
    }
    return *line && *line != '\n' ? line : NULL;
}

/* Which column is the pid; -1: none. */
static int pid_column(const char *titles)
{
    const char *word;
    for (int n = 0; (word = word_of(titles, n)); n++)
        if (strcspn(word, " \t\n") == 3 && strncmp(word, "PID", 3) == 0)
            return n;
    return -1;
}

static bool is_of(json_t *processes, const char *line, int column)
{
    const char *word = word_of(line, column);
    long long pid = word ? strtoll(word, NULL, 10) : 0;
    size_t i;
    json_t *each;
    json_array_foreach(processes, i, each)
        if (json_number(each, "pid") == pid)
            return true;
    return false;
}

static int print_lines(struct cli *cli, FILE *lines, json_t *processes)
{
    autofree char *line = NULL;
    size_t room = 0;
    int column = getline(&line, &room, lines) > 0 ? pid_column(line) : -1;
    if (column < 0)
        return cli_usage(cli, "ps prints no column PID with these options, so its lines can't be told apart (berth top NAME -o pid,comm)");
    fputs(line, stdout);
    while (getline(&line, &room, lines) > 0)
        if (is_of(processes, line, column))
            fputs(line, stdout);
    return EXIT_DONE;
}

static int top_by_ps(struct cli *cli, const struct args *args, json_t *processes)
{
    FILE *lines = NULL;
    pid_t pid;
    int code = start_ps(args->words + 1, args->n_words - 1, &pid, &lines);
    if (code)
        return cli_fail_code(cli, "ps", BERTH_NOT_FOUND, "ps, which its options are for: %s (berth top %s needs none)", strerror(code), args->words[0]);
    int r = lines ? print_lines(cli, lines, processes) : EXIT_FAILED;
    if (lines)
        fclose(lines);
    waitpid(pid, &code, 0);
    return r;
}

/* ---- by ourselves */

static void process_row(struct table *table, json_t *process)
{
    char cpu[SHORT_TEXT], memory[SHORT_TEXT];
    autofree char *pid = text_new("%lld", (long long)json_number(process, "pid"));
    autofree char *parent = text_new("%lld", (long long)json_number(process, "ppid"));
    autofree char *command = command_text(process), *user = json_shown(process, "user");
    table_row(table, pid, parent, user, human_span(json_number(process, "cpu_usec"), cpu),
              human_size((uint64_t)json_number(process, "memory_bytes"), memory), command);
}

int verb_top(struct cli *cli, const struct args *args)
{
    static const char *const titles[] = {"PID", "PPID", "USER", "CPU", "MEMORY", "COMMAND"}; /* pids of this machine */
    struct table table = {.titles = titles, .n_columns = ARRAY_SIZE(titles), .flexible = 6, .no_trunc = arg_true(args, "no-trunc")};
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_error err;
    char *text = NULL;
    size_t i;
    json_t *each;
    int r = cli_find(cli, args->words[0], &runtime, &handle, &err);
    if (r < 0)
        return cli_fail(cli, args->words[0], &err);
    int code = berth_top(runtime, &handle, &text, &err);
    autojson json_t *list = take_json(cli, args->words[0], code, text, &err, &r);
    if (list && args->n_words > 1)
        return top_by_ps(cli, args, list);
    json_array_foreach(list, i, each)
        if (cli->json)
            json_line(each);
        else
            process_row(&table, each);
    if (list && !cli->json)
        table_print(&table);
    return r;
}
