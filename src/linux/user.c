/* SPDX-License-Identifier: Apache-2.0 */
/*
 * passwd and group, read as a stream.
 *
 * Both files are the image's: they may be links, devices, or a gigabyte. The reader holds one field
 * at a time, because it runs inside the workload's memory limit.
 */
#include "linux/user.h"

#include "base/base.h"
#include "linux/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FIELD_MAX 256

struct reader {
    int fd;
    char buffer[4096];
    size_t at, end;
    uint64_t total;
};

/* Next byte, -1 at the end, -2 above the ceiling. */
static int next_byte(struct reader *r)
{
    if (r->at == r->end) {
        ssize_t n = RETRY(read(r->fd, r->buffer, sizeof(r->buffer)));
        if (n <= 0)
            return -1;
        r->total += (uint64_t)n;
        r->at = 0;
        r->end = (size_t)n;
        if (r->total > USER_FILE_MAX)
            return -2;
    }
    return (unsigned char)r->buffer[r->at++];
}

/* One field up to a byte of `stops`; longer than FIELD_MAX it becomes "", which matches nobody.
 * Returns the byte that ended it, or next_byte's negative. */
static int next_field(struct reader *r, const char *stops, char ret[FIELD_MAX])
{
    size_t n = 0;
    int c;
    while ((c = next_byte(r)) >= 0 && c != '\n' && !strchr(stops, c))
        if (n < FIELD_MAX)
            ret[n++] = (char)(c ? c : '?');
    ret[n < FIELD_MAX ? n : 0] = 0;
    return c;
}

static int open_file(int root_fd, const char *path)
{
    int fd = root_open(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    if (fd < 0)
        return fd;
    int r = fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ? -EINVAL
            : st.st_size > USER_FILE_MAX               ? -EFBIG
                                                       : 0;
    if (r < 0)
        close(fd);
    return r < 0 ? r : fd;
}

static bool parse_id(const char *text, uint32_t *ret)
{
    char *end;
    errno = 0;
    unsigned long long n = strtoull(text, &end, 10);
    /* 2^32-1 means "leave it" to the kernel: never an identity. */
    if (*text < '0' || *text > '9' || *end || errno || n >= UINT32_MAX)
        return false;
    *ret = (uint32_t)n;
    return true;
}

static int too_big(const char *path, struct berth_error *err)
{
    return fail(err, BERTH_TOO_BIG, path, "%s in the image is larger than %u MiB", path,
                USER_FILE_MAX >> 20);
}

struct wanted {
    const char *name; /* NULL: by number */
    uint32_t id;
    bool found;
    char found_name[FIELD_MAX];
    gid_t gid;
    char home[FIELD_MAX];
};

static bool passwd_line(struct reader *r, struct wanted *w, int *last)
{
    char f[7][FIELD_MAX];
    uint32_t uid, gid;
    int n = 0, c;
    do
        c = next_field(r, ":", f[n]);
    while (++n < 7 && c == ':');
    while (c == ':')
        c = next_field(r, "", f[6]);
    *last = c;
    if (n < 6 || !parse_id(f[2], &uid) || !parse_id(f[3], &gid) ||
        (w->name ? strcmp(w->name, f[0]) != 0 : w->id != uid))
        return false;
    w->found = true;
    w->id = uid;
    w->gid = gid;
    memcpy(w->found_name, f[0], FIELD_MAX);
    memcpy(w->home, f[5], FIELD_MAX);
    return true;
}

static int passwd_find(int root_fd, struct wanted *w, struct berth_error *err)
{
    struct reader r = {.fd = open_file(root_fd, "/etc/passwd")};
    int c = 0;
    if (r.fd < 0) /* an image without the file has no names; numbers go */
        return r.fd == -EFBIG ? too_big("/etc/passwd", err) : 0;
    while (c >= 0 && !passwd_line(&r, w, &c))
        ;
    close(r.fd);
    return c == -2 ? too_big("/etc/passwd", err) : 0;
}

struct group_search {
    const char *member;         /* groups that list this name, or NULL */
    char *const *names;         /* groups wanted by name, NULL-terminated, or NULL */
    uint64_t found_mask;        /* which of names[0..63] were there */
    gid_t first_gid;            /* of names[0] */
    struct user_identity *into; /* where matching ids go */
};

static int add_group(struct user_identity *u, gid_t gid)
{
    if (gid == u->gid)
        return 0;
    for (size_t i = 0; i < u->n_groups; i++)
        if (u->groups[i] == gid)
            return 0;
    if (u->n_groups == USER_GROUPS_MAX)
        return -E2BIG;
    u->groups[u->n_groups++] = gid;
    return 0;
}

static int group_line(struct reader *r, struct group_search *s, int *last)
{
    char name[FIELD_MAX], field[FIELD_MAX], id[FIELD_MAX] = "";
    uint32_t gid;
    int c = next_field(r, ":", name);
    if (c == ':')
        c = next_field(r, ":", field);
    if (c == ':')
        c = next_field(r, ":", id);
    bool known = parse_id(id, &gid);
    int result = 0;
    for (size_t i = 0; known && s->names && s->names[i] && i < 64; i++)
        if (strcmp(s->names[i], name) == 0) {
            s->found_mask |= UINT64_C(1) << i;
            s->first_gid = i == 0 ? gid : s->first_gid;
            result = s->into ? add_group(s->into, gid) : 0;
        }
    while (c == ':' || c == ',') {
        c = next_field(r, ",:", field);
        if (known && s->into && s->member && *field && strcmp(field, s->member) == 0 && result == 0)
            result = add_group(s->into, gid);
    }
    *last = c;
    return result;
}

static int group_scan(int root_fd, struct group_search *s, struct berth_error *err)
{
    struct reader r = {.fd = open_file(root_fd, "/etc/group")};
    int c = 0, result = 0;
    if (r.fd < 0)
        return r.fd == -EFBIG ? too_big("/etc/group", err) : 0;
    while (c >= 0 && result == 0)
        result = group_line(&r, s, &c);
    close(r.fd);
    if (result < 0)
        return fail(err, BERTH_TOO_BIG, "/etc/group", "the user is in more than %d groups",
                    USER_GROUPS_MAX);
    return c == -2 ? too_big("/etc/group", err) : 0;
}

static int find_user(int root_fd, const char *name, struct wanted *w, struct berth_error *err)
{
    w->name = parse_id(name, &w->id) ? NULL : name;
    int r = passwd_find(root_fd, w, err);
    if (r == 0 && w->name && !w->found)
        r = fail(err, BERTH_NOT_FOUND, name, "user: \"%s\" is not in the image's /etc/passwd",
                 name);
    return r;
}

static int find_group(int root_fd, const char *name, gid_t *ret, struct berth_error *err)
{
    char *names[] = {(char *)name, NULL};
    struct group_search s = {.names = names};
    if (parse_id(name, ret))
        return 0;
    int r = group_scan(root_fd, &s, err);
    if (r == 0 && !s.found_mask)
        r = fail(err, BERTH_NOT_FOUND, name, "user: group \"%s\" is not in the image's /etc/group",
                 name);
    if (r == 0)
        *ret = s.first_gid;
    return r;
}

static int further_groups(int root_fd, char *const *groups, struct user_identity *u,
                          struct berth_error *err)
{
    struct group_search s = {.names = groups, .into = u};
    bool by_name = false;
    size_t n = 0;
    for (; groups && groups[n]; n++) {
        uint32_t gid;
        if (n == 64)
            return fail(err, BERTH_TOO_BIG, "groups", "groups: more than 64 are listed");
        if (!parse_id(groups[n], &gid))
            by_name = true;
        else if (add_group(u, gid) < 0)
            return fail(err, BERTH_TOO_BIG, "groups", "groups: more than %d", USER_GROUPS_MAX);
    }
    int r = by_name ? group_scan(root_fd, &s, err) : 0;
    for (size_t i = 0; r == 0 && i < n; i++) {
        uint32_t gid;
        if (!parse_id(groups[i], &gid) && !(s.found_mask & UINT64_C(1) << i))
            r = fail(err, BERTH_NOT_FOUND, groups[i],
                     "groups: \"%s\" is not in the image's /etc/group", groups[i]);
    }
    return r;
}

int user_lookup(int root_fd, const char *user, char *const *groups, struct user_identity *ret,
                struct berth_error *err)
{
    char name[FIELD_MAX];
    struct wanted w = {0};
    if (!user || !*user)
        user = "0";
    const char *colon = strchr(user, ':');
    if (snprintf(name, sizeof(name), "%.*s", colon ? (int)(colon - user) : (int)strlen(user),
                 user) >= FIELD_MAX)
        return fail(err, BERTH_INVALID, "user", "user: longer than %d bytes", FIELD_MAX - 1);
    int r = find_user(root_fd, *name ? name : "0", &w, err);
    if (r < 0)
        return r;
    memset(ret, 0, sizeof(*ret));
    ret->uid = w.id;
    ret->gid = w.gid;
    snprintf(ret->home, sizeof(ret->home), "%s", w.home[0] == '/' ? w.home : "/");
    if (colon && colon[1]) {
        r = find_group(root_fd, colon + 1, &ret->gid, err);
    } else if (w.found) {
        struct group_search s = {.member = w.found_name, .into = ret};
        r = group_scan(root_fd, &s, err);
    }
    return r < 0 ? r : further_groups(root_fd, groups, ret, err);
}
