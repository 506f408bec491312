/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cp, export, diff: a workload's files as tar streams.
 *
 * What comes out of a workload is hostile: it is unpacked below the target only, through no link,
 * and without device nodes. libarchive is linked statically, so that starting berth loads nothing.
 */
#include "cli.h"
#include <archive.h>
#include <archive_entry.h>
#include <berth/container.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 256 * 1024 };

struct side {
    const char *text; /* as it was typed */
    char *name;       /* workload, or NULL: this machine */
    char *path;
};

struct copy {
    struct cli *cli;
    struct side source, target;
    bool archive, follow_link;
    struct berth_runtime *runtime;
    struct berth_handle handle;
    char failure[600]; /* what went wrong on this side */
};

/* docker's rule: what begins with / or . is ours, else NAME: comes first. */
static void parse_side(const char *text, struct side *ret)
{
    const char *colon = strchr(text, ':');
    ret->text = text;
    if (strchr("/.", text[0]) || !colon) {
        ret->path = text_copy(text);
        return;
    }
    ret->name = strndup(text, (size_t)(colon - text));
    ret->path = text_copy(colon[1] ? colon + 1 : "/");
}

static bool is_standard(const struct side *side)
{
    return !side->name && strcmp(side->path, "-") == 0;
}

/* Without trailing slashes; *ret_contents when it ended in "/.", *ret_slash when in "/". */
static char *trimmed(const char *path, bool *ret_contents, bool *ret_slash)
{
    char *copy = text_copy(path);
    size_t n = strlen(copy);
    *ret_contents = (n >= 2 && strcmp(copy + n - 2, "/.") == 0) || strcmp(copy, ".") == 0;
    if (*ret_contents && n >= 2)
        copy[--n] = '\0';
    *ret_slash = n > 0 && copy[n - 1] == '/';
    while (n > 1 && copy[n - 1] == '/')
        copy[--n] = '\0';
    return copy;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return text_copy(".");
    return slash == path ? text_copy("/") : text_new("%.*s", (int)(slash - path), path);
}

static int fail(struct copy *c, const char *object, int code)
{
    return cli_fail_code(c->cli, object, code, "%s", c->failure);
}

/* ---- raw streams --------------------------------------------------------------------------------- */

static void set_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

/* Copy from one descriptor to another. 0, or -errno (EPIPE when the reader has gone). */
static int pump(int from, int to)
{
    autofree char *buffer = memory_new(CHUNK);
    for (;;) {
        ssize_t n = read(from, buffer, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        int r = write_all(to, buffer, (size_t)n);
        if (r < 0)
            return r;
    }
}

/* A call's stream 1 into a descriptor of ours, then its result. */
int pump_out(struct cli *cli, const char *object, struct berth_call *call, int to)
{
    struct berth_error err;
    int fd = berth_call_stream_fd(call, 1);
    set_blocking(fd);
    signal(SIGPIPE, SIG_IGN);
    int r = pump(fd, to);
    if (r < 0) {
        berth_call_free(call);
        if (r == -EPIPE)
            end_by_pipe();
        return cli_fail_code(cli, object, r == -ENOSPC ? BERTH_NO_SPACE : BERTH_IO, "%s", strerror(-r));
    }
    r = cli_wait(cli, call, NULL, &err);
    return r < 0 ? cli_fail(cli, object, &err) : EXIT_DONE;
}

/* ---- out of a workload --------------------------------------------------------------------------- */

/* Where an entry goes: the tar's own first name replaced by ours. NULL: not below that name. */
static char *renamed(const char *path, const char *root, const char *ours)
{
    size_t n = strlen(root);
    while (starts_with(path, "./"))
        path += 2;
    if (strcmp(root, ".") == 0)
        return text_new("%s/%s", ours, path);
    if (strncmp(path, root, n) != 0 || (path[n] && path[n] != '/'))
        return NULL;
    return path[n] && path[n + 1] ? text_new("%s%s", ours, path + n) : text_copy(ours);
}

static bool is_device(const struct archive_entry *entry)
{
    mode_t type = archive_entry_filetype((struct archive_entry *)entry);
    return type == AE_IFCHR || type == AE_IFBLK;
}

static int write_entry(struct archive *from, struct archive *disk, struct archive_entry *entry)
{
    const void *data;
    size_t size;
    int64_t offset;
    int r = archive_write_header(disk, entry);
    if (r < ARCHIVE_WARN)
        return r;
    while ((r = archive_read_data_block(from, &data, &size, &offset)) == ARCHIVE_OK)
        if (archive_write_data_block(disk, data, size, offset) < ARCHIVE_WARN)
            return ARCHIVE_FATAL;
    return r == ARCHIVE_EOF ? archive_write_finish_entry(disk) : r;
}

/* Every entry from the first on, which `root` names, to `ours` below the working directory. */
static int unpack(struct copy *c, struct archive *from, struct archive_entry *entry, const char *root, const char *ours)
{
    struct archive *disk = archive_write_disk_new();
    int flags = ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NODOTDOT |
                ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS | ARCHIVE_EXTRACT_UNLINK;
    archive_write_disk_set_options(disk, flags | (c->archive ? ARCHIVE_EXTRACT_OWNER | ARCHIVE_EXTRACT_XATTR : 0));
    int r = ARCHIVE_OK;
    for (; r == ARCHIVE_OK; r = archive_read_next_header(from, &entry)) {
        autofree char *path = renamed(archive_entry_pathname(entry), root, ours);
        const char *link = archive_entry_hardlink(entry);
        autofree char *link_path = link ? renamed(link, root, ours) : NULL;
        if (!path || (link && !link_path) || is_device(entry)) {
            autofree char *name = text_plain(archive_entry_pathname(entry));
            cli_note(c->cli, "%s is not copied: %s", name, is_device(entry) ? "a device node" : "it lies outside");
            continue;
        }
        archive_entry_set_pathname(entry, path);
        if (link)
            archive_entry_set_hardlink(entry, link_path);
        if (write_entry(from, disk, entry) < ARCHIVE_WARN) {
            const char *why = archive_error_string(disk);
            snprintf(c->failure, sizeof(c->failure), "%s: %s", path, why ? why : archive_error_string(from));
            archive_write_free(disk);
            return -1;
        }
    }
    if (r < ARCHIVE_OK && !c->failure[0])
        snprintf(c->failure, sizeof(c->failure), "%s", archive_error_string(from));
    if (archive_write_close(disk) < ARCHIVE_WARN && !c->failure[0])
        snprintf(c->failure, sizeof(c->failure), "%s", archive_error_string(disk));
    archive_write_free(disk);
    return c->failure[0] ? -1 : 0;
}

/* The folder to work in and the name to give, as cp -r would. False with a failure written. */
static bool choose_target(struct copy *c, bool source_is_folder, bool contents, const char *source_name, char **ret_folder, char **ret_name)
{
    bool target_contents, slash;
    struct stat st;
    autofree char *target = trimmed(c->target.path, &target_contents, &slash);
    bool exists = stat(*target ? target : "/", &st) == 0;
    if (exists && S_ISDIR(st.st_mode)) {
        *ret_folder = text_copy(target);
        *ret_name = text_copy(source_is_folder && contents ? "." : source_name);
        return true;
    }
    if (exists && source_is_folder) {
        snprintf(c->failure, sizeof(c->failure), "%.500s is a file, the source is a folder", target);
        return false;
    }
    if (!exists && slash && !source_is_folder) {
        snprintf(c->failure, sizeof(c->failure), "there is no folder %.500s", target);
        return false;
    }
    *ret_folder = parent_of(target);
    *ret_name = text_copy(base_of(target));
    return true;
}

static struct archive *open_tar(struct copy *c, int fd, struct archive_entry **ret_entry)
{
    struct archive *from = archive_read_new();
    set_blocking(fd);
    archive_read_support_format_tar(from);
    if (archive_read_open_fd(from, fd, CHUNK) == ARCHIVE_OK && archive_read_next_header(from, ret_entry) >= ARCHIVE_WARN)
        return from;
    const char *why = archive_error_string(from);
    snprintf(c->failure, sizeof(c->failure), "%s", why ? why : "nothing came");
    archive_read_free(from);
    return NULL;
}

/* The name that the tar gives to what was asked for: its first entry's. */
static char *root_name(struct archive_entry *entry)
{
    bool contents, slash;
    char *name = trimmed(archive_entry_pathname(entry), &contents, &slash);
    size_t skip = 0;
    while (starts_with(name + skip, "./"))
        skip += 2;
    memmove(name, name + skip, strlen(name + skip) + 1);
    if (!*name || strcmp(name, "/") == 0) {
        free(name);
        return text_copy(".");
    }
    return name;
}

static int receive(struct copy *c, struct archive *from, struct archive_entry *entry)
{
    bool contents, slash;
    autofree char *source = trimmed(c->source.path, &contents, &slash), *root = root_name(entry);
    autofree char *folder = NULL, *name = NULL;
    bool is_folder = archive_entry_filetype(entry) == AE_IFDIR;
    const char *base = strcmp(base_of(source), "/") == 0 ? "." : base_of(source);
    if (!choose_target(c, is_folder, contents, base, &folder, &name))
        return -1;
    if (chdir(folder) < 0) {
        snprintf(c->failure, sizeof(c->failure), "%.500s: %s", folder, strerror(errno));
        return -1;
    }
    return unpack(c, from, entry, root, name);
}

static int copy_out(struct copy *c)
{
    struct berth_call *call;
    struct berth_error err;
    struct archive_entry *entry;
    if (berth_copy_out_call(c->runtime, &c->handle, c->source.path, &call, &err) < 0)
        return cli_fail(c->cli, c->source.text, &err);
    if (is_standard(&c->target))
        return pump_out(c->cli, c->source.text, call, STDOUT_FILENO);
    struct archive *from = open_tar(c, berth_call_stream_fd(call, 1), &entry);
    int r = from ? receive(c, from, entry) : -1;
    if (!from) { /* the workload's side knows better why nothing came */
        int w = cli_wait(c->cli, call, NULL, &err);
        return w < 0 ? cli_fail(c->cli, c->source.text, &err) : fail(c, c->source.text, BERTH_IO);
    }
    archive_read_free(from);
    if (r < 0) {
        berth_call_free(call);
        return fail(c, c->target.text, BERTH_IO);
    }
    r = cli_wait(c->cli, call, NULL, &err);
    return r < 0 ? cli_fail(c->cli, c->source.text, &err) : EXIT_DONE;
}

/* ---- into a workload ----------------------------------------------------------------------------- */

enum inside { INSIDE_NOTHING, INSIDE_FILE, INSIDE_FOLDER };

/* What a path of the workload is: the first entry of a copy out tells, the rest is not waited for. */
static int look_inside(struct copy *c, const char *path, enum inside *ret_kind, struct berth_error *err)
{
    struct berth_call *call;
    struct archive_entry *entry;
    int r = berth_copy_out_call(c->runtime, &c->handle, path, &call, err);
    if (r == 0) {
        struct archive *from = open_tar(c, berth_call_stream_fd(call, 1), &entry);
        c->failure[0] = '\0';
        if (from) {
            *ret_kind = archive_entry_filetype(entry) == AE_IFDIR ? INSIDE_FOLDER : INSIDE_FILE;
            archive_read_free(from);
            berth_call_free(call);
            return 0;
        }
        r = cli_wait(c->cli, call, NULL, err);
    }
    *ret_kind = INSIDE_NOTHING;
    return r == BERTH_NOT_FOUND ? 0 : r;
}

static int add_data(struct archive *disk, struct archive *to, char *buffer)
{
    const void *data;
    size_t size;
    int64_t offset, at = 0;
    int r;
    while ((r = archive_read_data_block(disk, &data, &size, &offset)) == ARCHIVE_OK) {
        for (; at < offset; at += CHUNK) { /* a hole */
            size_t n = offset - at < CHUNK ? (size_t)(offset - at) : CHUNK;
            memset(buffer, 0, n);
            if (archive_write_data(to, buffer, n) < 0)
                return -1;
        }
        if (archive_write_data(to, data, size) < 0)
            return -1;
        at = offset + (int64_t)size;
    }
    return r == ARCHIVE_EOF ? 0 : -1;
}

/* Our files below `source` as a tar, under the name that they get inside. */
static int send_tree(struct copy *c, const char *source, const char *name, int fd)
{
    struct archive *disk = archive_read_disk_new(), *to = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    autofree char *buffer = memory_new(CHUNK);
    size_t skip = strlen(source);
    int r;
    if (c->follow_link)
        archive_read_disk_set_symlink_hybrid(disk);
    archive_write_set_format_pax_restricted(to);
    archive_write_set_bytes_in_last_block(to, 1);
    if (archive_write_open_fd(to, fd) < ARCHIVE_WARN || archive_read_disk_open(disk, source) < ARCHIVE_WARN)
        snprintf(c->failure, sizeof(c->failure), "%s", archive_error_string(disk));
    while (!c->failure[0] && (r = archive_read_next_header2(disk, entry)) != ARCHIVE_EOF) {
        if (r < ARCHIVE_WARN) {
            snprintf(c->failure, sizeof(c->failure), "%s", archive_error_string(disk));
            break;
        }
        archive_read_disk_descend(disk);
        const char *ours = archive_entry_pathname(entry);
        autofree char *path = text_new("%s%s", name, strlen(ours) >= skip ? ours + skip : "");
        autofree char *plain = text_plain(ours);
        archive_entry_set_pathname(entry, path);
        if (!c->archive) {
            archive_entry_set_uid(entry, 0);
            archive_entry_set_gid(entry, 0);
            archive_entry_set_uname(entry, NULL);
            archive_entry_set_gname(entry, NULL);
        }
        if (archive_entry_filetype(entry) == AE_IFSOCK)
            continue;
        if (archive_write_header(to, entry) < ARCHIVE_WARN ||
            (archive_entry_filetype(entry) == AE_IFREG && archive_entry_size(entry) > 0 && add_data(disk, to, buffer) < 0)) {
            const char *why = archive_error_string(to) ? archive_error_string(to) : archive_error_string(disk);
            snprintf(c->failure, sizeof(c->failure), "%.300s: %.200s", plain, why ? why : "could not be read");
        }
    }
    if (archive_write_close(to) < ARCHIVE_WARN && !c->failure[0])
        snprintf(c->failure, sizeof(c->failure), "%s", archive_error_string(to));
    archive_entry_free(entry);
    archive_write_free(to);
    archive_read_free(disk);
    return c->failure[0] ? -1 : 0;
}

/* Feed a copy-in call: our tree, or the tar on standard input. */
static int send(struct copy *c, const char *folder, const char *source, const char *name)
{
    struct berth_call *call;
    struct berth_error err;
    if (berth_copy_in_call(c->runtime, &c->handle, folder, &call, &err) < 0)
        return cli_fail(c->cli, c->target.text, &err);
    int fd = berth_call_stream_fd(call, 0);
    set_blocking(fd);
    signal(SIGPIPE, SIG_IGN);
    int r = source ? send_tree(c, source, name, fd) : pump(STDIN_FILENO, fd);
    berth_call_close_stdin(call);
    int w = cli_wait(c->cli, call, NULL, &err);
    if (w < 0) /* if it ended early it is what broke our pipe */
        return cli_fail(c->cli, c->target.text, &err);
    return r < 0 && c->failure[0] ? fail(c, c->source.text, BERTH_IO) : EXIT_DONE;
}

static int copy_in(struct copy *c)
{
    bool contents, slash, target_contents, target_slash;
    autofree char *source = trimmed(c->source.path, &contents, &slash);
    autofree char *target = trimmed(c->target.path, &target_contents, &target_slash);
    autofree char *folder = NULL, *name = NULL;
    enum inside kind;
    struct berth_error err;
    struct stat st;
    if (is_standard(&c->source))
        return send(c, target, NULL, NULL);
    if ((c->follow_link ? stat(source, &st) : lstat(source, &st)) < 0)
        return cli_fail_code(c->cli, c->source.text, errno == ENOENT ? BERTH_NOT_FOUND : BERTH_IO, "%s", strerror(errno));
    if (look_inside(c, target, &kind, &err) < 0)
        return cli_fail(c->cli, c->target.text, &err);
    bool is_folder = S_ISDIR(st.st_mode);
    if (kind == INSIDE_FILE && is_folder)
        return cli_fail_code(c->cli, c->target.text, BERTH_INVALID, "the target is a file, the source is a folder");
    if (kind == INSIDE_FILE && target_slash)
        return cli_fail_code(c->cli, c->target.text, BERTH_INVALID, "it is a file, not a folder");
    if (kind == INSIDE_NOTHING && target_slash && !is_folder)
        return cli_fail_code(c->cli, c->target.text, BERTH_NOT_FOUND, "there is no such folder");
    if (kind == INSIDE_FOLDER) {
        autofree char *real = realpath(source, NULL);
        folder = text_copy(target);
        name = text_copy(is_folder && contents ? "." : base_of(strcmp(base_of(source), "..") && strcmp(source, ".") ? source : real ? real : source));
    } else {
        folder = parent_of(target);
        name = text_copy(base_of(target));
    }
    return send(c, folder, source, name);
}

int verb_cp(struct cli *cli, const struct args *args)
{
    struct copy c = {.cli = cli, .archive = arg_true(args, "archive"), .follow_link = arg_true(args, "follow-link")};
    struct berth_error err;
    parse_side(args->words[0], &c.source);
    parse_side(args->words[1], &c.target);
    const char *name = c.source.name ? c.source.name : c.target.name;
    int r;
    if (!name)
        r = cli_usage(cli, "neither side is in a workload; one of them is NAME:PATH");
    else if (c.source.name && c.target.name)
        r = cli_usage(cli, "both sides are in workloads; copy through a folder of this machine");
    else if (cli_find(cli, name, &c.runtime, &c.handle, &err) < 0)
        r = cli_fail(cli, name, &err);
    else
        r = c.source.name ? copy_out(&c) : copy_in(&c);
    free(c.source.name);
    free(c.source.path);
    free(c.target.name);
    free(c.target.path);
    return r;
}

/* ---- export, diff -------------------------------------------------------------------------------- */

int verb_export(struct cli *cli, const struct args *args)
{
    const char *name = args->words[0], *path = arg_text(args, "output");
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_call *call;
    struct berth_error err;
    if (!path && out_is_terminal())
        return cli_usage(cli, "a tar is no text for a terminal; -o FILE or a pipe takes it");
    int r = cli_find(cli, name, &runtime, &handle, &err);
    if (r == 0)
        r = berth_export_call(runtime, &handle, &call, &err);
    if (r < 0)
        return cli_fail(cli, name, &err);
    if (!path)
        return pump_out(cli, name, call, STDOUT_FILENO);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) {
        berth_call_free(call);
        return cli_fail_code(cli, name, BERTH_IO, "%s: %s", path, strerror(errno));
    }
    r = pump_out(cli, name, call, fd);
    if (close(fd) < 0 && r == 0)
        r = cli_fail_code(cli, name, BERTH_IO, "%s: %s", path, strerror(errno));
    return r;
}

int verb_diff(struct cli *cli, const struct args *args)
{
    struct berth_runtime *runtime;
    struct berth_handle handle;
    struct berth_error err;
    char *text = NULL;
    size_t i;
    json_t *each;
    int r = cli_find(cli, args->words[0], &runtime, &handle, &err);
    if (r < 0)
        return cli_fail(cli, args->words[0], &err);
    int code = berth_diff(runtime, &handle, &text, &err);
    autojson json_t *list = take_json(cli, args->words[0], code, text, &err, &r);
    json_array_foreach(list, i, each)
    {
        static const struct {
            const char *kind;
            char letter;
        } kinds[] = {{"added", 'A'}, {"changed", 'C'}, {"deleted", 'D'}};
        autofree char *path = text_plain(json_text(each, "path"));
        if (cli->json)
            json_line(each);
        for (size_t k = 0; !cli->json && k < ARRAY_SIZE(kinds); k++)
            if (strcmp(json_text(each, "kind"), kinds[k].kind) == 0)
                printf("%c %s\n", kinds[k].letter, path);
    }
    return r;
}
