/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Following /etc/resolv.conf: the file, its folder, and where a link leads to.
 */
#include "dns/resolvers.h"
#include "base/address.h"
#include "base/base.h"
#include "base/file.h"
#include "base/text.h"
#include "dns/table.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>
#include <sys/inotify.h>

#define RESOLV_CONF "/etc/resolv.conf"
#define RESOLVED_CONF "/run/systemd/resolve/resolv.conf"
#define FILE_MAX (64u << 10)
#define FOLDER_EVENTS (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR)
#define FILE_EVENTS (IN_CLOSE_WRITE | IN_MODIFY | IN_DELETE_SELF | IN_MOVE_SELF)

/* ---- reading ----------------------------------------------------------------------------------
 */

static bool is_stub(const struct sockaddr_in6 *server)
{
    uint32_t a = ntohl(((const struct sockaddr_in *)server)->sin_addr.s_addr);
    return server->sin6_family == AF_INET && (a == 0x7f000035 || a == 0x7f000036);
}

static void add_server(struct resolvers *r, const char *word, bool *ret_stub)
{
    struct sockaddr_in6 server;
    char text[64];
    size_t n = strcspn(word, "%");
    if (r->n == ARRAY_SIZE(r->list) || n >= sizeof(text))
        return;
    memcpy(text, word, n);
    text[n] = 0;
    if (!upstream_parse(text, &server))
        return;
    if (is_stub(&server)) {
        *ret_stub = true;
        return;
    }
    if (word[n] == '%' && server.sin6_family == AF_INET6) {
        server.sin6_scope_id = if_nametoindex(word + n + 1);
        if (!server.sin6_scope_id)
            server.sin6_scope_id = (uint32_t)strtoul(word + n + 1, NULL, 10);
    }
    r->list[r->n++] = server;
}

void resolvers_parse(const char *text, struct resolvers *r, bool *ret_stub)
{
    while (*text) {
        char line[128];
        size_t n = strcspn(text, "\n");
        size_t word = strspn(text, " \t");
        if (word + 10 < n && n - word < sizeof(line) && !memcmp(text + word, "nameserver", 10) &&
            strchr(" \t", text[word + 10])) {
            memcpy(line, text + word + 10, n - word - 10);
            line[n - word - 10] = 0;
            char *server = line + strspn(line, " \t");
            server[strcspn(server, " \t\r#;")] = 0;
            add_server(r, server, ret_stub);
        }
        text += n + (text[n] == '\n');
    }
}

static void read_from(const char *path, struct resolvers *r, bool *ret_stub)
{
    autofree char *text = NULL;
    if (file_read(AT_FDCWD, path, FILE_MAX, &text, NULL) == 0)
        resolvers_parse(text, r, ret_stub);
}

/* ---- watching ---------------------------------------------------------------------------------
 */

/* The file, and the nearest folder on the way to it that exists. */
static void watch(int fd, const char *path)
{
    char folder[PATH_MAX];
    (void)inotify_add_watch(fd, path, FILE_EVENTS);
    for (size_t n = strlen(path); n > 0 && n < sizeof(folder);) {
        while (n > 0 && path[n] != '/')
            n--;
        memcpy(folder, path, n);
        folder[n] = 0;
        if (inotify_add_watch(fd, n ? folder : "/", FOLDER_EVENTS) >= 0 || n == 0)
            return;
        n--;
    }
}

int resolvers_read(struct resolvers *r)
{
    bool stub = false, again = false;
    autofree char *target = realpath(RESOLV_CONF, NULL);
    close_fd(&r->watch_fd);
    r->watch_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (r->watch_fd < 0)
        return -errno;
    watch(r->watch_fd, RESOLV_CONF); /* before it is read: no change is missed */
    watch(r->watch_fd, RESOLVED_CONF);
    if (target)
        watch(r->watch_fd, target);
    r->n = 0;
    read_from(RESOLV_CONF, r, &stub);
    if (stub)
        read_from(RESOLVED_CONF, r, &again);
    if (r->n == 0 && !stub && upstream_parse("127.0.0.1", &r->list[0])) /* resolv.conf(5) */
        r->n = 1;
    return 0;
}

/* /etc and /run see much that is not meant: a name that is on none of our paths. */
static bool is_meant(const struct inotify_event *e)
{
    static const char *const parts[] = {"resolv.conf", "stub-resolv.conf", "systemd", "resolve"};
    for (size_t i = 0; e->len && i < ARRAY_SIZE(parts); i++)
        if (strcmp(e->name, parts[i]) == 0)
            return true;
    return e->len == 0 || e->mask & IN_Q_OVERFLOW || strstr(e->name, "resolv");
}

bool resolvers_changed(struct resolvers *r)
{
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    bool changed = false;
    ssize_t n;
    while ((n = read(r->watch_fd, buffer, sizeof(buffer))) > 0) {
        for (char *at = buffer; at < buffer + n;) {
            const struct inotify_event *e = (const struct inotify_event *)at;
            changed |= is_meant(e);
            at += sizeof(*e) + e->len;
        }
    }
    return changed;
}
