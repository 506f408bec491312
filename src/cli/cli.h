/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The berth command, seen from inside: one table of commands, tables of flags.
 *
 * Parsing, --help, suggestions, completions and the manual pages are all read from these tables, so
 * that they cannot disagree. Only the public headers are used: the command is their first customer.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <berth/berth.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/** Exit codes that scripts may rely on. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NONE = 4,             /* the answer is "none" */
    EXIT_DEADLINE = 124,
    EXIT_BERTH_FAILED = 125,   /* run, exec: berth itself failed */
    EXIT_NOT_EXECUTABLE = 126,
    EXIT_NOT_FOUND = 127
};

/* ---- the tables -------------------------------------------------------------------------------- */

/** How a flag's value becomes a part of the spec. FLAG_VERB: it does not, the verb reads it itself. */
enum flag_kind {
    FLAG_VERB = 0,
    FLAG_TEXT,       /* a string */
    FLAG_TRUE,       /* a switch: true, or false with =false */
    FLAG_LIST,       /* appended to a list of strings */
    FLAG_WORDS,      /* a list of one string; an empty value is the empty list */
    FLAG_PAIR,       /* NAME=VALUE into an object */
    FLAG_SIZE,       /* docker's size, as bytes */
    FLAG_LIMIT_SIZE, /* the same, -1 is "unlimited" */
    FLAG_INTEGER,
    FLAG_NUMBER,
    FLAG_DURATION,   /* a bare number is seconds; written with its unit */
    FLAG_SPECIAL     /* its own function, found by the flag's name */
};

struct flag {
    const char *name;     /* long form, without the dashes; NULL ends a table */
    char letter;          /* short form, or 0 */
    const char *argument; /* what it takes, in capitals; NULL: a switch */
    enum flag_kind kind;
    const char *path;     /* where in the spec, dotted: "resources.memory" */
    const char *help;
};

struct args;
struct cli;

enum command_group { GROUP_TEN, GROUP_MADE, GROUP_IMAGES, GROUP_THINGS, GROUP_MACHINE, GROUP_HIDDEN };

#define COMMAND_FLAGS_FIRST 1u /* flags end at the first argument: what follows is a program's */
#define COMMAND_RUNS 2u        /* exit codes 125, 126, 127: a program's own code comes back */
#define COMMAND_COMMON 4u      /* shown by berth alone */
#define COMMAND_LATER 8u       /* exists, but answers what to use instead */

struct command {
    const char *name;      /* "start", "image import" */
    const char *alias;     /* another name for it, or NULL */
    enum command_group group;
    const char *arguments; /* "NAME..." */
    int least, most;       /* arguments; most -1: no end */
    unsigned bits;
    const struct flag *const *flags; /* tables, NULL at the end; NULL: none */
    const char *help;      /* one line */
    const char *text;      /* paragraphs, an empty line between them */
    const char *examples[4]; /* command, what it does; twice */
    int (*handler)(struct cli *cli, const struct args *args);
};

extern const struct command commands[];
extern const size_t commands_count;
extern const struct flag global_flags[];
extern const struct flag spec_flags[];
extern const struct flag update_flags[];

/** The command whose name is the first one or two words; sets how many words it took. NULL: none. */
const struct command *command_find(char *const *words, int count, int *ret_used);
/** Walk all flags of a command: start with index 0; NULL at the end. */
const struct flag *command_flag(const struct command *command, size_t index);

/* ---- parsed arguments -------------------------------------------------------------------------- */

struct arg {
    const struct flag *flag;
    const char *value; /* "true" or "false" for switches */
};
struct args {
    struct arg *flags; /* in order */
    size_t n_flags;
    char **words;      /* the rest, NULL at the end */
    int n_words;
};

/** Parse a command's flags and words. 0, or the exit code after saying what is wrong. */
int args_parse(struct cli *cli, const struct command *command, int argc, char **argv,
               struct args *ret_args);
/** Parse the global flags up to the first word; sets how many of argv were taken. */
int args_parse_global(struct cli *cli, int argc, char **argv, int *ret_used);
void args_free(struct args *args);
/** The last value of a flag, or NULL; a switch as bool; whether it was given at all. */
const char *arg_text(const struct args *args, const char *name);
bool arg_true(const struct args *args, const char *name);

/* ---- what a run of the command knows ----------------------------------------------------------- */

#define CLI_RUNTIMES_MAX 16

struct cli {
    const char *root, *run, *config;
    const char *engine_trace;     /* file, or NULL */
    bool json, quiet, verbose;
    int64_t deadline_usec;        /* monotonic; 0: none */
    const struct command *command;
    const char *verb;             /* its name, for messages */
    struct berth_runtime *runtimes[CLI_RUNTIMES_MAX];
    json_t *settings;             /* berth.toml, read when first asked for */
};

/** The engine called `name`, opened once and closed at the end. */
int cli_runtime(struct cli *cli, const char *name, struct berth_runtime **ret_runtime,
                struct berth_error *err);
/** A workload by name or id prefix, whatever engine it belongs to. */
int cli_find(struct cli *cli, const char *name, struct berth_runtime **ret_runtime,
             struct berth_handle *ret_handle, struct berth_error *err);
/** The runtime "container", for images, volumes and the machine; NULL after saying why not. */
struct berth_runtime *cli_container(struct cli *cli);
/** "NAME" or "NAME=VALUE" among a thing's `labels`. */
bool label_matches(json_t *thing, const char *wanted);
/** A key of berth.toml, dotted; borrowed; NULL when absent. *ret_code is negative when the file is bad. */
json_t *cli_setting(struct cli *cli, const char *path, int *ret_code, struct berth_error *err);

/** Say what failed on stderr (one line, or JSON) and return the exit code that belongs to it. */
int cli_fail(struct cli *cli, const char *object, const struct berth_error *err);
/** The same for a failure that the command itself found. */
int cli_fail_code(struct cli *cli, const char *object, int code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/** A usage error: 2, or 125 for run and exec. */
int cli_usage(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** A remark on stderr, unless --quiet. */
void cli_note(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Call `each` for every word; the exit code is the first that is not 0. */
int cli_each(struct cli *cli, const struct args *args,
             int (*each)(struct cli *cli, const struct args *args, struct berth_runtime *runtime,
                         const struct berth_handle *handle, const char *name));

/**
 * Wait for a call and free it. Honours --deadline (TIMED_OUT after cancelling) and an interrupt
 * (CANCELLED after cancelling). -1: no deadline but the command's own.
 */
int cli_wait(struct cli *cli, struct berth_call *call, struct berth_result *ret_result,
             struct berth_error *err);
/** Follow long work on images to its end: stream 1 to standard output, stream 2 as progress. Frees the call. */
int work_run(struct cli *cli, struct berth_call *call, struct berth_result *ret_result, struct berth_error *err);
/** Milliseconds until the deadline for poll(2), -1 without one, 0 when it has passed. */
int cli_remaining_msec(const struct cli *cli);
/* The same for a poll that has no descriptor of a call (the system is out of them): look again soon. */
int cli_patience_msec(const struct cli *cli, bool blind);
bool cli_deadline_passed(const struct cli *cli);
/** SIGINT and SIGTERM become readable on this descriptor instead of ending the process. */
int cli_interrupt_fd(void);
int cli_interrupted(void);

/* ---- text -------------------------------------------------------------------------------------- */

/** printf into a new string; out of memory ends the process with a message. */
char *text_new(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *text_copy(const char *s);
void *memory_new(size_t size);
void *memory_grow(void *old, size_t size);
void cleanup_pointer(void *p);
void cleanup_json(json_t **json);
void cleanup_status(struct berth_status **status);
#define autofree __attribute__((cleanup(cleanup_pointer)))
#define autojson __attribute__((cleanup(cleanup_json)))
#define autostatus __attribute__((cleanup(cleanup_status)))

bool starts_with(const char *s, const char *prefix);
bool ends_with(const char *s, const char *suffix);
bool text_is_true(const char *s, bool *ret_value);
/** Nearest of some words by edit distance (at most 2, under half the length), kept up to date. */
struct nearest {
    const char *word;
    const char *best;
    size_t distance;
};
void nearest_try(struct nearest *nearest, const char *candidate);

/** docker's sizes: k, m, g, t of either case (with or without b, ib) are powers of 1024. 0 or -EINVAL. */
int parse_size(const char *s, uint64_t *ret_bytes);
/** "250ms", "1.5s", "1h30m"; a bare number is seconds. 0 or -EINVAL. */
int parse_duration(const char *s, int64_t *ret_usec);
/** RFC 3339, a date, seconds since 1970, or a duration meaning "ago". 0 or -EINVAL. */
int parse_time(const char *s, int64_t *ret_usec);
int parse_integer(const char *s, int64_t least, int64_t most, int64_t *ret_value);
/** Signal by name or number, or -1. Its name in `signal_text`. */
int parse_signal(const char *s);

int64_t clock_usec(void);
int64_t monotonic_usec(void);
#define SHORT_TEXT 48
/** "64 MiB", "1.5 GiB", "312 B". */
const char *human_size(uint64_t bytes, char ret[SHORT_TEXT]);
/** "2h 4m", "8s", "250ms". */
const char *human_span(int64_t usec, char ret[SHORT_TEXT]);
/** "3 minutes ago", "in 8 seconds", "never" for 0. */
const char *human_when(int64_t usec, char ret[SHORT_TEXT]);
/** A time of a document in microseconds; 0 when it has none. */
int64_t json_time(json_t *json, const char *path);
/** RFC 3339 with nanoseconds. */
const char *time_text(int64_t usec, char ret[SHORT_TEXT]);
/** Print with control characters made visible: what comes from a workload must not steer a terminal. */
char *text_plain(const char *s);

/* ---- output ------------------------------------------------------------------------------------ */

bool out_is_terminal(void);
bool err_is_terminal(void);
/** Columns of the terminal on stdout; 0 when it is none. */
int out_width(void);
const char *colour(const char *name);

/** A table: add a row of `n_columns` texts at a time, print it aligned. Cells are copied. */
struct table {
    const char *const *titles;
    size_t n_columns, n_rows, room;
    char **cells;
    size_t flexible; /* 1 + the column that is cut first when the terminal is narrow; 0: none */
    bool no_trunc;
};
void table_row(struct table *table, ...);
void table_print(struct table *table);

/** One JSON value as a line on stdout; pretty over several lines for a document. */
void json_line(const json_t *value);
void json_document(const json_t *value);
/** Text of a JSON document to a value; CORRUPT when the library gave nonsense. */
int json_read(const char *text, json_t **ret_value, struct berth_error *err);
/** A member by dotted path, then without regard to case and underscores; borrowed or NULL. */
json_t *json_find(json_t *value, const char *path);
const char *json_text(json_t *value, const char *path);
int64_t json_number(json_t *value, const char *path);
/** The member `command`, a list or a text, as one line; yours. */
char *command_text(json_t *json);
/** A member as text for people, whatever it is; yours. */
char *json_shown(json_t *value, const char *path);
/** Put `value` (stolen) at a dotted path of objects. */
void json_put(json_t *object, const char *path, json_t *value);
/** Lay `over` upon `under`: objects member by member, anything else replaced. */
void json_overlay(json_t *under, json_t *over);

/** `{{.a.b}}`, `{{json .}}`, text with \t and \n between; a leading "table " adds titles; "json" alone is a
 *  line of JSON each. */
int template_check(struct cli *cli, const char *text);
void template_title(const char *text);
void template_print(const char *text, json_t *value);
/** Once what is printed is known: a field that no such object has is a usage error that names those there are. */
int template_fields(struct cli *cli, const char *text, json_t *value);

/** Write everything, waiting where the descriptor does not block. 0 or -errno. */
int write_all(int fd, const void *data, size_t size);
/** End by SIGPIPE as any program does whose reader has gone. */
void end_by_pipe(void) __attribute__((noreturn));

/** Parse what a function of container.h gave (freed), or say what failed: NULL with *ret_exit set. */
json_t *take_json(struct cli *cli, const char *object, int code, char *text, struct berth_error *err, int *ret_exit);
/** What a call brings on its stream 1, all of it to `fd`; frees the call. The exit code, after saying what failed. */
int pump_out(struct cli *cli, const char *object, struct berth_call *call, int fd);
/** The --format of a list or an inspect, checked; its titles printed. 0, or the exit code. */
int check_format(struct cli *cli, const struct args *args, const char **ret_format);
/** One document of an inspect; or the usage error of a field that is not in it. */
int print_one(struct cli *cli, const char *format, json_t *json);
/** What docker calls an image's members, for a template, beside what is there. */
void add_docker_image_names(json_t *json);
/** A name that was made or removed: alone on its line, or under `key`. */
void print_name(struct cli *cli, const char *key, const char *name);
/** The values of a flag that may be given again and again, ended by NULL, the list to be freed; NULL: not given. */
const char **flag_values(const struct args *args, const char *flag);

struct filter { const char *name; bool (*matches)(json_t *thing, const char *wanted); }; /* a table ends with {0} */
/** 0, or the usage error of a --filter that there is not. */
int thing_filters(struct cli *cli, const struct args *args, const struct filter *filters);
bool thing_passes(const struct args *args, const struct filter *filters, json_t *thing);
/** What docker's dangling=VALUE and its like ask for. */
bool dangling_is(bool dangling, const char *wanted);

/** A list of things with names. */
struct listing {
    int (*call)(struct berth_runtime *, char **ret_json, struct berth_error *);
    const struct filter *filters; /* NULL: none */
    void (*row)(struct table *table, json_t *each);
};
int list_things(struct cli *cli, const struct args *args, struct table *table, const struct listing *l);
int inspect_things(struct cli *cli, const struct args *args,
                   int (*call)(struct berth_runtime *, const char *name, char **ret_json, struct berth_error *));
/** With -f one that there is not is no error. */
int remove_things(struct cli *cli, const struct args *args,
                  int (*call)(struct berth_runtime *, const char *name, struct berth_error *));

/** Ask unless -f, call, print what is gone. */
int prune(struct cli *cli, const struct args *args, const char *what,
          int (*call)(struct berth_runtime *, bool, char **, struct berth_error *));
/** --publish-add and --publish-rm of an update. */
bool publish_given(const struct args *args);
int publish_from_args(struct berth_runtime *runtime, const struct berth_handle *handle, const struct args *args,
                      struct berth_error *err);
/** -f, or a yes on the terminal. */
bool agreed(struct cli *cli, const struct args *args, const char *what);
void print_pruned(struct cli *cli, json_t *report);

/* ---- spec -------------------------------------------------------------------------------------- */

/** Make the spec from a file, the flags, --set and the words; NULL after saying what is wrong. */
json_t *spec_from_args(struct cli *cli, const struct args *args, int *ret_exit);
/** A patch for update from its flags. */
json_t *patch_from_args(struct cli *cli, const struct args *args, int *ret_exit);
/** The engine that a spec is for: its runtime, or what the image says. */
const char *spec_runtime(const json_t *spec);
/** cli_fail() for an engine that could not be opened: one that this build lacks is said by name. */
int fail_runtime(struct cli *cli, const char *object, const char *runtime, struct berth_error *err);
/** Names "NAME=value" of -e and --env-file for exec; a JSON object. */
int env_from_args(struct cli *cli, const struct args *args, json_t *ret_env);

/* ---- sessions: a terminal or pipes of a workload, and ours -------------------------------------- */

struct session {
    struct cli *cli;
    struct berth_runtime *runtime;
    const struct berth_handle *handle;
    struct berth_call *call;     /* exec or attach: streams to relay; may be NULL */
    struct berth_stream *logs;   /* frames to print; may be NULL */
    struct berth_call *wait;     /* finishes with the workload; may be NULL */
    bool tty, input, signals_to_call, proxy_signals, drop_output;
    bool whole_output;           /* the call's output is all there is: to its end, after the workload's */
    const char *detach_keys;     /* NULL: none */
    /* results */
    bool detached;
    int ended_by;                /* a signal that ended this session rather than the workload */
    int call_code, wait_code;    /* of berth_call_finish */
    struct berth_result call_result, wait_result;
    struct berth_error err;
};
/** Relay until it is over. 0; negative with session->err; BERTH_TIMED_OUT at the deadline. */
int session_run(struct session *session);
/** Rows and columns of the terminal on stdin or stdout; zeros when there is none. */
void terminal_size(uint16_t *ret_rows, uint16_t *ret_columns);
/** --detach-keys, or the usual ones; 0, or the exit code after saying what is wrong with them. */
int detach_keys(struct cli *cli, const struct args *args, const char **ret_keys);
/** "ctrl-p,ctrl-q" as bytes. Count, or -1. */
int detach_keys_parse(const char *text, unsigned char *ret_keys, size_t room);

/** Follow a stream of frames to stdout and stderr; the options are those of `logs`. */
struct frames {
    bool timestamps, json, any; /* any: something was read */
    char *buffer, *out;       /* what was read; what of it is to be written to `out_stream` */
    size_t out_length;
    uint32_t out_stream;
    struct berth_frame head;
    size_t head_have;
    uint64_t left;            /* bytes of the payload that are still to come */
    bool middle[3];           /* the last byte of this stream was not a newline */
    char *line[3];            /* JSON: a line that has not ended yet */
    size_t line_length[3];
    int64_t line_usec[3];
};
/** Read what there is and print it. 1: more may come, 0: the end, negative errno. */
int frames_read(struct frames *frames, int fd);
/** Read and print to the end. */
int frames_read_all(struct cli *cli, struct frames *frames, int fd);
void frames_free(struct frames *frames);

/* ---- handlers, by file -------------------------------------------------------------------------- */

#define HANDLER(name) int name(struct cli *cli, const struct args *args)
HANDLER(verb_create); HANDLER(verb_run); HANDLER(verb_start); HANDLER(verb_stop); HANDLER(verb_rm);
HANDLER(verb_restart); HANDLER(verb_wait); HANDLER(verb_kill); HANDLER(verb_pause);
HANDLER(verb_unpause); HANDLER(verb_update); HANDLER(verb_rename); HANDLER(verb_attach);
HANDLER(verb_exec); HANDLER(verb_status); HANDLER(verb_logs); HANDLER(verb_stats);
HANDLER(verb_port); HANDLER(verb_address); HANDLER(verb_engines); HANDLER(verb_ps);
HANDLER(verb_inspect); HANDLER(verb_top); HANDLER(verb_cp); HANDLER(verb_events);
HANDLER(verb_diff); HANDLER(verb_export); HANDLER(verb_images); HANDLER(verb_rmi); HANDLER(verb_tag); HANDLER(verb_image_compile);
HANDLER(verb_push); HANDLER(verb_login); HANDLER(verb_logout);
HANDLER(verb_history); HANDLER(verb_image_inspect); HANDLER(verb_image_import);
HANDLER(verb_image_load); HANDLER(verb_pull); HANDLER(verb_commit); HANDLER(verb_image_save); HANDLER(verb_image_verify);
HANDLER(verb_image_prune); HANDLER(verb_volume_create); HANDLER(verb_volume_ls);
HANDLER(verb_volume_inspect); HANDLER(verb_volume_rm); HANDLER(verb_volume_prune);
HANDLER(verb_network_create); HANDLER(verb_network_ls); HANDLER(verb_network_inspect);
HANDLER(verb_network_rm); HANDLER(verb_network_prune); HANDLER(verb_network_connect);
HANDLER(verb_network_disconnect);
HANDLER(verb_info); HANDLER(verb_version); HANDLER(verb_df); HANDLER(verb_prune);
HANDLER(verb_container_prune);
HANDLER(verb_doctor); HANDLER(verb_boot); HANDLER(verb_pool); HANDLER(verb_completion); HANDLER(verb_help);
HANDLER(verb_manual); HANDLER(verb_later);
#undef HANDLER

/** What `berth`, `berth VERB --help` print. */
void help_overview(FILE *out);
void help_command(FILE *out, const struct command *command);
void help_group(FILE *out, const char *group);

#endif
