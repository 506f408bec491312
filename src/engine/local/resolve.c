/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a workload is reached: NETWORK_FILE, a few lines beside the plan, and the two verbs that read it.
 *
 *   network bridge 10.210.0.5 -       one a network: name, IPv4, IPv6
 *   port tcp 80 8080 1 127.0.0.1      container, host, how many, address on the host
 *   mode host | none | bridge | join ID
 *
 * A proxy asks often, so nothing is parsed that is not needed and nothing is asked of the kernel.
 */
#include "local/inside.h"
#include "base/address.h"
#include "base/file.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>

#define NETWORK_FILE "network"
#define NETWORK_FILE_MAX (1u << 20)
#define JOIN_DEPTH 8

/* ---- writing */

static char *network_lines(const struct spec *spec, const struct plan *plan)
{
    static const char *const modes[] = {"bridge", "none", "host", "join"};
    struct text t = {0};
    text_printf(&t, "mode %s", modes[spec_network_mode(spec)]);
    if (spec_network_mode(spec) == NETWORK_JOINED)
        text_printf(&t, " %s", plan->namespaces[PLAN_NS_NET].id);
    text_add(&t, "\n");
    for (size_t i = 0; i < plan->n_links; i++) {
        const struct plan_link *l = &plan->links[i];
        struct address a = {0}, a6 = {0};
        char text[ADDRESS_TEXT_MAX], text6[ADDRESS_TEXT_MAX];
        address_parse_subnet(l->address ? l->address : "", &a);
        address_parse_subnet(l->address6 ? l->address6 : "", &a6);
        text_printf(&t, "network %s %s %s\n", l->network, a.family ? address_print(&a, text) : "-",
                    a6.family ? address_print(&a6, text6) : "-");
    }
    for (size_t i = 0; i < plan->n_ports; i++)
        text_printf(&t, "port %s %u %u %u %s\n", plan->ports[i].protocol, plan->ports[i].container, plan->ports[i].host,
                    MAX(plan->ports[i].count, 1), plan->ports[i].host_address);
    return text_take(&t);
}

int network_file_write(int folder_fd, const struct spec *spec, const struct plan *plan, struct berth_error *err)
{
    autofree char *lines = network_lines(spec, plan);
    int r = lines ? file_write(folder_fd, NETWORK_FILE, lines, strlen(lines), 0600, 0) : -ENOMEM;
    return r < 0 ? fail_os(err, r, NETWORK_FILE, "write %s", NETWORK_FILE) : 0;
}

/* ---- reading */

/** What was read, and the workload whose it is: another's when the network is joined. */
struct found {
    char *text;
    bool runs, host;
};

static bool running(const struct status *status, bool alive)
{
    return alive && state_lives(status->state) && status->state != BERTH_RESTARTING &&
           status->state != BERTH_CREATING && status->supervisor_pid != BEING_BORN;
}

static int read_lines(struct workload *w, char **ret, struct berth_error *err)
{
    size_t size;
    int r = workload_read(w, NETWORK_FILE, NETWORK_FILE_MAX, ret, &size, err);
    if (r != BERTH_NOT_FOUND)
        return r;
    *ret = strdup("mode none\n");
    return *ret ? 0 : fail_memory(err);
}

/* The one that it joins answers for it, if that runs; a chain of them ends somewhere. */
static int joined_lines(struct local *c, struct found *f, struct berth_error *err)
{
    for (int depth = 0; starts_with(f->text, "mode join ") && f->runs; depth++) {
        autoworkload other = NULL;
        struct status status;
        bool alive;
        char id[BERTH_ID_TEXT] = "";
        snprintf(id, sizeof(id), "%.32s", f->text + strlen("mode join "));
        f->runs = depth < JOIN_DEPTH && local_workload(c->store, id, &other, NULL) == 0 &&
                  settle_status(c, other, &status, &alive, NULL) == 0 && running(&status, alive);
        if (!f->runs)
            return 0;
        free(TAKE(f->text));
        int r = read_lines(other, &f->text, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int find(struct local *c, const struct berth_handle *h, struct found *f, struct berth_error *err)
{
    struct status status;
    bool alive;
    autoworkload w = NULL;
    *f = (struct found){0};
    int r = settle_handle(c, h, &w, &status, &alive, err);
    if (r == 0)
        r = read_lines(w, &f->text, err);
    if (r < 0)
        return r;
    f->runs = running(&status, alive);
    r = joined_lines(c, f, err);
    f->host = r == 0 && starts_with(f->text, "mode host");
    return r;
}

/** The next line that begins with `word`, after it; NULL at the end. */
static const char *next_line(const char *at, const char *word)
{
    size_t n = strlen(word);
    for (; at && *at; at = strchr(at, '\n'), at += at != NULL)
        if (strncmp(at, word, n) == 0)
            return at + n;
    return NULL;
}

static const char *behind(const char *line)
{
    const char *end = strchr(line, '\n');
    return end ? end + 1 : NULL;
}

int local_host_port(void *self, const struct berth_handle *h, const struct berth_port *port,
                        struct berth_host_port *ret, struct berth_error *err)
{
    struct found f;
    int r = find(self, h, &f, err);
    autofree char *text = f.text;
    if (r < 0 || !f.runs)
        return r;
    if (f.host) {
        *ret = (struct berth_host_port){.port = port->number, .address = "127.0.0.1"};
        return 1;
    }
    for (const char *line = text; (line = next_line(line, "port ")); line = behind(line)) {
        char protocol[8], address[46];
        unsigned container, host, count;
        if (sscanf(line, "%7s %u %u %u %45s", protocol, &container, &host, &count, address) != 5 ||
            strcmp(protocol, port->protocol) || port->number < container || port->number >= container + count)
            continue;
        *ret = (struct berth_host_port){.port = (uint16_t)(host + (port->number - container))};
        snprintf(ret->address, sizeof(ret->address), "%s", address);
        return 1;
    }
    return 0;
}

static int no_such_network(struct local *c, const char *network, struct berth_error *err)
{
    struct network n;
    if (!strcmp(network, "host") || !strcmp(network, "none") || !strcmp(network, NETWORK_DEFAULT))
        return 0;
    return network_read(c->store, network, &n, err);
}

int local_address(void *self, const struct berth_handle *h, const struct berth_port *port,
                      const char *network, char ret[BERTH_ADDRESS_TEXT], struct berth_error *err)
{
    struct found f;
    if (network && !strcmp(network, "default"))
        network = NETWORK_DEFAULT;
    int r = find(self, h, &f, err);
    autofree char *text = f.text;
    if (r < 0)
        return r;
    if (f.runs && f.host && (!network || !strcmp(network, "host"))) {
        snprintf(ret, BERTH_ADDRESS_TEXT, "127.0.0.1:%u", port->number);
        return 1;
    }
    for (const char *line = text; f.runs && (line = next_line(line, "network ")); line = behind(line)) {
        char name[BERTH_NAME_MAX + 8], address[46];
        if (sscanf(line, "%135s %45s", name, address) != 2 || (network && strcmp(name, network)))
            continue;
        snprintf(ret, BERTH_ADDRESS_TEXT, "%s:%u", address, port->number);
        return 1;
    }
    return network ? no_such_network(self, network, err) : 0;
}

char **network_names(struct workload *w)
{
    autofree char *text = NULL;
    char **names = NULL;
    if (read_lines(w, &text, NULL) < 0)
        return NULL;
    for (const char *line = text; (line = next_line(line, "network ")); line = behind(line)) {
        char name[BERTH_NAME_MAX + 8];
        if (sscanf(line, "%135s", name) == 1 && strings_add(&names, name) < 0)
            break;
    }
    return names;
}

/** Members for status: "addresses":{...} while it runs. Nothing for what has none. */
void report_addresses(struct text *t, struct workload *w, bool runs)
{
    autofree char *text = NULL;
    bool first = true;
    if (!runs || read_lines(w, &text, NULL) < 0 || !next_line(text, "network "))
        return;
    text_add(t, ",\"addresses\":{");
    for (const char *line = text; (line = next_line(line, "network ")); line = behind(line)) {
        char name[BERTH_NAME_MAX + 8], address[64];
        if (sscanf(line, "%135s %63s", name, address) != 2)
            continue;
        text_printf(t, "%s\"%s\":\"%s\"", first ? "" : ",", name, address);
        first = false;
    }
    text_add(t, "}");
}
