/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registries: push, and the logins for them.
 */
#include "cli.h"
#include <berth/container.h>
#include <termios.h>
#include <unistd.h>

#define LINE_MAX_BYTES 16384

int verb_push(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_image_push_options options = {.size = sizeof(options), .reference = args->words[0],
                                               .progress = !cli->quiet && !arg_true(args, "quiet")};
    struct berth_call *call;
    struct berth_error err;
    if (!runtime)
        return EXIT_FAILED;
    int r = berth_image_push_call(runtime, &options, &call, &err);
    if (r == 0)
        r = work_run(cli, call, NULL, &err);
    return r < 0 ? cli_fail(cli, args->words[0], &err) : EXIT_DONE;
}

/* ---- asking a person */

/* One line of standard input without its end; NULL when there is none. */
static char *read_line(void)
{
    char *line = memory_new(LINE_MAX_BYTES);
    size_t n = 0;
    ssize_t got;
    char c = 0;
    while (n + 1 < LINE_MAX_BYTES && (got = read(STDIN_FILENO, &c, 1)) == 1 && c != '\n')
        line[n++] = c;
    while (n && line[n - 1] == '\r')
        n--;
    line[n] = '\0';
    if (n || c == '\n')
        return line;
    free(line);
    return NULL;
}

/* Echo is off while it is typed, also when it is interrupted: signals come by descriptor here. */
static char *ask(const char *question, bool secret)
{
    struct termios old, quiet;
    bool off = secret && tcgetattr(STDIN_FILENO, &old) == 0;
    if (off) { /* before anything is asked: what is typed at once is neither shown nor lost */
        quiet = old;
        quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    fputs(question, stderr);
    char *line = read_line();
    if (off) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
        fputc('\n', stderr);
    }
    if (line && secret && strchr(line, 3)) { /* ^C */
        free(line);
        line = NULL;
    }
    return line;
}

static void forget(char *password)
{
    if (password)
        explicit_bzero(password, strlen(password));
    free(password);
}

/* Both, from flags, standard input or the person. 0, or the exit code. */
static int find_login(struct cli *cli, const struct args *args, char **ret_user, char **ret_password)
{
    const char *given = arg_text(args, "username");
    bool piped = arg_true(args, "password-stdin");
    if (piped && !given)
        return cli_usage(cli, "--password-stdin needs --username");
    if (!piped && !isatty(STDIN_FILENO))
        return cli_usage(cli, "standard input is no terminal to ask at (-u NAME --password-stdin)");
    *ret_user = given ? text_copy(given) : ask("User name: ", false);
    *ret_password = piped ? read_line() : *ret_user && **ret_user ? ask("Password: ", true) : NULL;
    if (!*ret_user || !**ret_user || !*ret_password || !**ret_password)
        return cli_fail_code(cli, NULL, BERTH_INVALID, "no %s was given", *ret_user && **ret_user ? "password" : "user name");
    return 0;
}

/* ---- login, logout: one result line of the call */

static json_t *finish(struct cli *cli, struct berth_call *call, struct berth_error *err, int *ret_code)
{
    char line[LINE_MAX_BYTES];
    size_t n = 0;
    ssize_t got;
    int fd = berth_call_stream_fd(call, 1);
    while (n + 1 < sizeof(line) && (got = read(fd, line + n, sizeof(line) - 1 - n)) > 0)
        n += (size_t)got;
    line[n] = '\0';
    *ret_code = cli_wait(cli, call, NULL, err);
    return *ret_code < 0 ? NULL : json_loads(line, 0, NULL);
}

int verb_login(struct cli *cli, const struct args *args)
{
    const char *registry = args->n_words ? args->words[0] : NULL; /* the one that short names mean */
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_call *call;
    struct berth_error err;
    char *user = NULL, *password = NULL;
    if (!runtime)
        return EXIT_FAILED;
    int r = find_login(cli, args, &user, &password), code = 0;
    if (r == 0) {
        code = berth_registry_login_call(runtime, registry, user, password, &call, &err);
        autojson json_t *said = code < 0 ? NULL : finish(cli, call, &err, &code);
        if (said && cli->json)
            json_line(said);
        else if (said)
            cli_note(cli, "logged in to %s, kept in %s", json_text(said, "registry"), json_text(said, "file"));
    }
    forget(password);
    free(user);
    return r ? r : code < 0 ? cli_fail(cli, registry, &err) : EXIT_DONE;
}

int verb_logout(struct cli *cli, const struct args *args)
{
    const char *registry = args->n_words ? args->words[0] : NULL; /* the one that short names mean */
    struct berth_runtime *runtime = cli_container(cli);
    struct berth_call *call;
    struct berth_error err;
    if (!runtime)
        return EXIT_FAILED;
    int code = berth_registry_logout_call(runtime, registry, &call, &err);
    autojson json_t *said = code < 0 ? NULL : finish(cli, call, &err, &code);
    if (said && cli->json)
        json_line(said);
    else if (said && !*json_text(said, "file"))
        cli_note(cli, "nobody was logged in to %s", json_text(said, "registry"));
    return code < 0 ? cli_fail(cli, registry, &err) : EXIT_DONE;
}
