/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stats: one reading of the API's counters. Its percentages are of nobody's use: whoever wants a rate takes two
 * readings of ours. Memory is the working set: the API's number has the file cache in it, which the kernel
 * gives back when it is asked.
 */
#include "docker/inside.h"
#include <sys/sysinfo.h>

static uint64_t count(json_t *json, const char *path)
{
    json_t *value = at(json, path);
    if (json_is_real(value))
        return json_real_value(value) > 0 ? (uint64_t)json_real_value(value) : 0;
    return json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}

static void fill_memory(struct berth_stats *s, json_t *memory)
{
    struct sysinfo machine;
    uint64_t used = count(memory, "usage"), inactive = count(memory, "stats.total_inactive_file");
    if (!inactive)
        inactive = count(memory, "stats.inactive_file");
    s->memory_bytes = used > inactive ? used - inactive : 0;
    s->memory_cache_bytes = count(memory, "stats.cache") + count(memory, "stats.file");
    s->memory_limit_bytes = count(memory, "limit");
    s->memory_peak_bytes = count(memory, "max_usage");
    /* without a limit the API says all of the machine's */
    if (sysinfo(&machine) == 0 && s->memory_limit_bytes >= machine.totalram * (uint64_t)machine.mem_unit)
        s->memory_limit_bytes = 0;
}

static void fill_network(struct berth_stats *s, json_t *networks)
{
    const char *name;
    json_t *one;
    s->has_net = json_object_size(networks) > 0;
    json_object_foreach(networks, name, one) {
        s->net_rx_bytes += count(one, "rx_bytes");
        s->net_tx_bytes += count(one, "tx_bytes");
        s->net_rx_packets += count(one, "rx_packets");
        s->net_tx_packets += count(one, "tx_packets");
    }
}

static void add_io(json_t *list, uint64_t *reads, uint64_t *writes)
{
    json_t *one;
    size_t i;
    json_array_foreach(list, i, one) {
        const char *what = text_at(one, "op");
        if (!strcasecmp(what, "read"))
            *reads += count(one, "value");
        else if (!strcasecmp(what, "write"))
            *writes += count(one, "value");
    }
}

static void fill(struct berth_stats *s, json_t *json)
{
    s->time_usec = time_at(json, "read");
    s->cpu_usec = count(json, "cpu_stats.cpu_usage.total_usage") / 1000;
    s->cpu_user_usec = count(json, "cpu_stats.cpu_usage.usage_in_usermode") / 1000;
    s->cpu_system_usec = count(json, "cpu_stats.cpu_usage.usage_in_kernelmode") / 1000;
    s->cpu_throttled_usec = count(json, "cpu_stats.throttling_data.throttled_time") / 1000;
    s->pids = count(json, "pids_stats.current");
    s->pids_limit = count(json, "pids_stats.limit");
    fill_memory(s, at(json, "memory_stats"));
    fill_network(s, at(json, "networks"));
    json_t *io = at(json, "blkio_stats.io_service_bytes_recursive");
    s->has_io = json_array_size(io) > 0;
    add_io(io, &s->io_read_bytes, &s->io_write_bytes);
    add_io(at(json, "blkio_stats.io_serviced_recursive"), &s->io_read_ops, &s->io_write_ops);
}

/** The API answers zeros for one that does not run, and podman's service nothing at all. `said`: what it said instead of figures. */
static int no_figures(const struct box *b, const struct berth_error *said, struct berth_error *err)
{
    autoanswer seen = NULL;
    struct view v;
    int r = box_inspect(b, "stats", &seen, err);
    if (r < 0)
        return r;
    view_of(b, seen, &v);
    if (said->code && v.lives && v.state != BERTH_RESTARTING) {
        if (err)
            *err = *said;
        return said->code;
    }
    return fail(err, BERTH_WRONG_STATE, b->handle.name, "stats %s: it is %s", b->handle.name, berth_state_name(v.state));
}

static void fill_limits(struct berth_stats *s, const struct box *b)
{
    struct spec *spec = NULL;
    if (box_spec(b, &spec, NULL) == 0) {
        s->cpu_limit_cores = spec->resources.cpu;
        if (!s->pids_limit && spec->resources.has_pids && spec->resources.pids > 0)
            s->pids_limit = (uint64_t)spec->resources.pids;
    }
    spec_free(spec);
}

int docker_stats(void *self, const struct berth_handle *h, struct berth_stats *ret, struct berth_error *err)
{
    autobox b = {0};
    autoanswer json = NULL;
    struct berth_error said = {0};
    int r = box_open(self, h, &b, err);
    if (r < 0)
        return r;
    r = box_ask(&b, "GET", "/stats?stream=false&one-shot=true", "stats", &json, &said);
    if (r == BERTH_WRONG_STATE || r == BERTH_CORRUPT || (r == 0 && !time_at(json, "read")))
        return no_figures(&b, &said, err);
    if (r < 0) {
        if (err)
            *err = said;
        return r;
    }
    fill(ret, json);
    fill_limits(ret, &b);
    return 0;
}
