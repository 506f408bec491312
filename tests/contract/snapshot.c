/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What exists, as a sorted list of lines: a leak is a line that was not there before.
 *
 * Full listings of everything an engine could leave behind: mounts, control groups below its
 * parent, links, processes in its groups or with its files open, and the files of its two folders.
 */
#include "contract.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct snapshot {
    char **lines;
    size_t n, room;
};

/** What berth keeps on purpose below its root: caches, what happened, and images. */
static const char *const kept[] = {"images", "cache", "events", "turned-on", "sweep.lock", "sweep.next", "dns", "settings", "firewall", "firewall.seen", "pool", NULL};
/** And the default network, which comes with the first workload on it. */
static const char kept_network[] = "/networks/bridge";

static void add(struct snapshot *s, char *line)
{
    if (s->n == s->room) {
        s->room = s->room ? s->room * 2 : 256;
        s->lines = realloc(s->lines, s->room * sizeof(*s->lines));
        check(s->lines, "out of memory");
    }
    s->lines[s->n++] = line;
}

static bool is_kept(const char *name)
{
    for (size_t i = 0; kept[i]; i++)
        if (strcmp(kept[i], name) == 0)
            return true;
    return false;
}

static bool is_dot(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/** Everything below `path`; at the top what berth keeps is left out. */
static void add_tree(struct snapshot *s, const char *kind, const char *path, int depth,
                     bool dirs_only)
{
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        if (is_dot(e->d_name) || (depth == 0 && !dirs_only && is_kept(e->d_name)))
            continue;
        if (dirs_only && e->d_type != DT_DIR)
            continue;
        char *inner = print_text("%s/%s", path, e->d_name);
        if (ends_in(inner, kept_network)) {
            free(inner);
            continue;
        }
        if (depth > 0 || !dirs_only || strcmp(e->d_name, "sup") != 0) /* of all, as the parent is */
            add(s, print_text("%s %s", kind, inner));
        if (e->d_type == DT_DIR && depth < 12)
            add_tree(s, kind, inner, depth + 1, dirs_only);
        free(inner);
    }
    closedir(d);
}

/** Mounts, and the groups below `parent` in every hierarchy among them. */
static void add_mounts(struct snapshot *s, const char *root, const char *run, const char *parent)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char line[8192], point[PATH_MAX], type[64];
    while (f && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        if (strstr(line, root) || strstr(line, run) || (parent && strstr(line, parent)))
            add(s, print_text("mount %s", line)); /* others mount and unmount as they like */
        const char *dash = strstr(line, " - ");
        if (!parent || !dash || sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1 ||
            sscanf(dash, " - %63s", type) != 1 || strncmp(type, "cgroup", 6) != 0)
            continue;
        char *path = print_text("%s%s", point, parent);
        add_tree(s, "cgroup", path, 0, true);
        free(path);
    }
    if (f)
        fclose(f);
}

/** "bv1a2b3c4d...": a link of some berth root. */
static bool is_berths(const char *name)
{
    return name[0] == 'b' && name[1] >= 'a' && name[1] <= 'z' && strspn(name + 2, "0123456789abcdef") >= 8;
}

/** Links of this root (names carry the hash that its group's name ends in); of a stranger's engine, all
 *  but those of berth roots, which others of this machine make and remove as they like. */
static void add_links(struct snapshot *s, const char *parent)
{
    const char *dash = parent ? strrchr(parent, '-') : NULL, *hash = dash ? dash + 1 : "";
    DIR *d = opendir("/sys/class/net");
    for (struct dirent *e; d && (e = readdir(d));)
        if (!is_dot(e->d_name) && (*hash ? strstr(e->d_name, hash) != NULL : !is_berths(e->d_name)))
            add(s, print_text("link %s", e->d_name));
    if (d)
        closedir(d);
}

/** Whether a link of /proc leads into one of the two folders. */
static bool leads_in(const char *path, const char *root, const char *run)
{
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    if (n <= 0)
        return false;
    target[n] = '\0';
    return strncmp(target, root, strlen(root)) == 0 || strncmp(target, run, strlen(run)) == 0;
}

static bool has_ours_open(const char *pid, const char *root, const char *run)
{
    char *path = print_text("/proc/%s/fd", pid);
    DIR *d = opendir(path);
    bool found = false;
    for (struct dirent *e; d && !found && (e = readdir(d));) {
        char *link = print_text("%s/%s", path, e->d_name);
        found = leads_in(link, root, run);
        free(link);
    }
    if (d)
        closedir(d);
    free(path);
    return found;
}

static bool in_our_group(const char *pid, const char *parent)
{
    char *path = print_text("/proc/%s/cgroup", pid);
    char *text = read_file(path);
    bool found = text && parent && strstr(text, parent);
    free(text);
    free(path);
    return found;
}

static void add_processes(struct snapshot *s, const char *root, const char *run, const char *parent)
{
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] < '0' || e->d_name[0] > '9' || atoi(e->d_name) == getpid() ||
            !process_exists(atoi(e->d_name))) /* dead ones wait for the machine's init */
            continue;
        if (!in_our_group(e->d_name, parent) && !has_ours_open(e->d_name, root, run))
            continue;
        char *path = print_text("/proc/%s/cmdline", e->d_name);
        char *text = read_file(path);
        add(s, print_text("process %s %s", e->d_name, text ? text : ""));
        free(text);
        free(path);
    }
    if (d)
        closedir(d);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct snapshot *snapshot_take(const char *root, const char *run, const char *cgroup_parent)
{
    struct snapshot *s = calloc(1, sizeof(*s));
    check(s, "out of memory");
    add_mounts(s, root, run, cgroup_parent);
    add_links(s, cgroup_parent);
    add_processes(s, root, run, cgroup_parent);
    add_tree(s, "file", root, 0, false);
    add_tree(s, "file", run, 0, false);
    if (s->n > 0)
        qsort(s->lines, s->n, sizeof(*s->lines), by_text);
    return s;
}

char *snapshot_extra(const struct snapshot *before, const struct snapshot *after)
{
    char *extra = NULL;
    for (size_t i = 0; i < after->n; i++) {
        if (before->n &&
            bsearch(&after->lines[i], before->lines, before->n, sizeof(char *), by_text))
            continue;
        char *longer = print_text("%s%s%s", extra ? extra : "", extra ? "; " : "", after->lines[i]);
        free(extra);
        extra = longer;
    }
    return extra;
}

void snapshot_free(struct snapshot *s)
{
    for (size_t i = 0; s && i < s->n; i++)
        free(s->lines[i]);
    if (s)
        free(s->lines);
    free(s);
}

int count_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}
