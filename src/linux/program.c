/* SPDX-License-Identifier: Apache-2.0 */
/*
 * execve answers ENOENT for a missing program, a missing loader and a missing interpreter alike:
 * people need to know which. The program's own head tells.
 */
#include "linux/program.h"

#include "base/base.h"
#include "base/text.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NEAR_MAX 4096

static const char *path_of(char *const *env)
{
    for (; env && *env; env++)
        if (starts_with(*env, "PATH="))
            return *env + 5;
    return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
}

/* Names in a folder that may be meant, into a list that has a ceiling. */
static void collect_names(const char *folder, char ***list, size_t *n)
{
    DIR *d = opendir(folder);
    for (struct dirent *e; d && *n < NEAR_MAX && (e = readdir(d));)
        if (e->d_name[0] != '.' && strings_add(list, e->d_name) == 0)
            (*n)++;
    if (d)
        closedir(d);
}

static char *near_in(const char *folder, const char *name)
{
    autostrings char **list = NULL;
    size_t n = 0;
    collect_names(folder, &list, &n);
    const char *best = n ? nearest_word(name, (const char *const *)list, n) : NULL;
    return best ? format_text("%s%s%s", folder, ends_with(folder, "/") ? "" : "/", best) : NULL;
}

/* The same name in another folder of PATH is the likelier slip, then a near one anywhere. */
static char *did_you_mean(const char *name, const char *path_list)
{
    const char *base = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    char folder[1024], candidate[1300];
    for (int pass = 0; pass < 2 && *base; pass++)
        for (const char *p = path_list; *p;) {
            size_t length = strcspn(p, ":");
            snprintf(folder, sizeof(folder), "%.*s", (int)MIN(length, sizeof(folder) - 1), p);
            snprintf(candidate, sizeof(candidate), "%s/%.255s", folder, base);
            char *found = pass ? near_in(folder, base)
                          : access(candidate, X_OK) == 0 && strcmp(candidate, name) != 0
                              ? strdup(candidate)
                              : NULL;
            if (found)
                return found;
            p += length + (p[length] == ':');
        }
    return NULL;
}

static int not_found(const char *name, char *const *env, struct berth_error *err)
{
    autofree char *near = did_you_mean(name, path_of(env));
    const char *where = strchr(name, '/') ? "in the image" : "in the image's PATH";
    if (near)
        return fail(err, BERTH_NO_PROGRAM, name, "exec \"%s\": not found %s (did you mean %s?)",
                    name, where, near);
    return fail(err, BERTH_NO_PROGRAM, name, "exec \"%s\": not found %s", name, where);
}

/* 0: can be run; 1: not there; negative: there, but not to be run. */
static int check(const char *path, struct berth_error *err)
{
    struct stat st;
    if (stat(path, &st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return 1;
        return fail(err, BERTH_NOT_EXECUTABLE, path, "exec \"%s\": %s", path, strerror(errno));
    }
    if (S_ISDIR(st.st_mode))
        return fail(err, BERTH_NOT_EXECUTABLE, path, "exec \"%s\": it is a folder", path);
    if (!S_ISREG(st.st_mode))
        return fail(err, BERTH_NOT_EXECUTABLE, path, "exec \"%s\": it is not a regular file", path);
    if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
        return fail(err, BERTH_NOT_EXECUTABLE, path,
                    st.st_mode & 0111 ? "exec \"%s\": this user may not execute it"
                                      : "exec \"%s\": it has no execute permission",
                    path);
    return 0;
}

static int find_in_path(const char *name, char *const *env, char **ret_path,
                        struct berth_error *err)
{
    struct berth_error first = {0};
    for (const char *p = path_of(env); *p;) {
        size_t length = strcspn(p, ":");
        autofree char *candidate = format_text("%.*s/%s", (int)length, length ? p : ".", name);
        if (!candidate)
            return fail_memory(err);
        int r = check(candidate, first.code ? NULL : &first);
        if (r == 0) {
            *ret_path = TAKE(candidate);
            return 0;
        }
        p += length + (p[length] == ':');
    }
    if (first.code) {
        if (err)
            *err = first;
        return first.code;
    }
    return not_found(name, env, err);
}

int program_find(const char *name, char *const *env, char **ret_path, struct berth_error *err)
{
    if (!name || !*name)
        return fail(err, BERTH_NO_PROGRAM, "", "exec \"\": the program has no name");
    if (strlen(name) > 4096)
        return fail(err, BERTH_NO_PROGRAM, "",
                    "exec: the program's name is longer than 4096 bytes");
    if (!strchr(name, '/'))
        return find_in_path(name, env, ret_path, err);
    int r = check(name, err);
    if (r == 1)
        return not_found(name, env, err);
    if (r < 0)
        return r;
    *ret_path = strdup(name);
    return *ret_path ? 0 : fail_memory(err);
}

/* ---- after a failed execve */

static const char *machine_name(unsigned machine)
{
    static const struct {
        unsigned machine;
        const char *name;
    } table[] = {{EM_X86_64, "amd64"}, {EM_386, "386"},       {EM_AARCH64, "arm64"},
                 {EM_ARM, "arm"},      {EM_RISCV, "riscv64"}, {EM_PPC64, "ppc64le"},
                 {EM_S390, "s390x"}};
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (table[i].machine == machine)
            return table[i].name;
    return "an unknown architecture";
}

#if defined(__x86_64__)
#define OWN_MACHINE EM_X86_64
#define OWN_NAME    "amd64"
#elif defined(__aarch64__)
#define OWN_MACHINE EM_AARCH64
#define OWN_NAME    "arm64"
#else
#define OWN_MACHINE EM_NONE
#define OWN_NAME    "another one"
#endif

/* PT_INTERP of a 64-bit program, "" without. */
static void loader_of(int fd, const Elf64_Ehdr *head, char ret[256])
{
    ret[0] = 0;
    for (unsigned i = 0; i < head->e_phnum && i < 128; i++) {
        Elf64_Phdr part;
        off_t at = (off_t)(head->e_phoff + i * sizeof(part));
        if (pread(fd, &part, sizeof(part), at) != (ssize_t)sizeof(part))
            return;
        if (part.p_type != PT_INTERP)
            continue;
        ssize_t n = pread(fd, ret, MIN(part.p_filesz, (size_t)255), (off_t)part.p_offset);
        ret[n < 0 ? 0 : n] = 0;
        return;
    }
}

static int explain_elf(int fd, const char *path, const Elf64_Ehdr *head, int exec_errno,
                       struct berth_error *err)
{
    char loader[256];
    if (OWN_MACHINE != EM_NONE && head->e_machine != OWN_MACHINE)
        return fail(err, BERTH_NOT_EXECUTABLE, path,
                    "exec \"%s\": it is a program for %s, this machine is %s", path,
                    machine_name(head->e_machine), OWN_NAME);
    loader_of(fd, head, loader);
    if (loader[0] && access(loader, F_OK) < 0)
        return fail(err, BERTH_NO_PROGRAM, path,
                    "exec \"%s\": it needs the loader %s, which the image lacks", path, loader);
    return fail(err, BERTH_NOT_EXECUTABLE, path, "exec \"%s\": %s", path, strerror(exec_errno));
}

static int explain_script(const char *path, const char *line, int exec_errno,
                          struct berth_error *err)
{
    char interpreter[256];
    if (sscanf(line, "#! %255[^ \t\r\n]", interpreter) != 1)
        return fail(err, BERTH_NOT_EXECUTABLE, path,
                    "exec \"%s\": its first line names no interpreter", path);
    if (access(interpreter, F_OK) < 0)
        return fail(err, BERTH_NO_PROGRAM, path,
                    "exec \"%s\": its first line needs the interpreter %s, which the "
                    "image lacks%s",
                    path, interpreter, strstr(line, "\r\n") ? " (the line ends in CR LF)" : "");
    return fail(err, BERTH_NOT_EXECUTABLE, path, "exec \"%s\": its interpreter %s can't be run: %s",
                path, interpreter, strerror(exec_errno));
}

int program_explain(const char *path, int exec_errno, struct berth_error *err)
{
    union {
        Elf64_Ehdr elf;
        char text[256];
    } head;
    if (exec_errno == E2BIG)
        return fail(err, BERTH_TOO_BIG, path,
                    "exec \"%s\": arguments and environment are longer than the kernel takes",
                    path);
    memset(&head, 0, sizeof(head));
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || pread(fd, &head, sizeof(head) - 1, 0) < 2)
        return fail(err, exec_errno == ENOENT ? BERTH_NO_PROGRAM : BERTH_NOT_EXECUTABLE, path,
                    "exec \"%s\": %s", path, strerror(exec_errno));
    if (memcmp(head.elf.e_ident, ELFMAG, SELFMAG) == 0)
        return explain_elf(fd, path, &head.elf, exec_errno, err);
    if (memcmp(head.text, "#!", 2) == 0)
        return explain_script(path, head.text, exec_errno, err);
    if (exec_errno == ENOEXEC)
        return fail(err, BERTH_NOT_EXECUTABLE, path,
                    "exec \"%s\": it is neither a program nor a script with #!", path);
    return fail(err, BERTH_NOT_EXECUTABLE, path, "exec \"%s\": %s", path, strerror(exec_errno));
}
