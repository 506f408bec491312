/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spec: what a caller wants, as data. One table parses, checks, prints and describes it.
 *
 * Absent is told from zero by `has_*` or NULL; sizes are bytes, durations microseconds.
 */
#ifndef MODEL_SPEC_H
#define MODEL_SPEC_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define SPEC_MAX_BYTES (4u << 20) /* a longer document is TOO_BIG */
#define SPEC_MAX_DEPTH 64

struct spec_pair { char *name, *value; };                 /* sorted by name */
struct spec_pairs { struct spec_pair *items; size_t n; };

struct spec_port {                 /* "8080:80/tcp", or an object */
    uint16_t container, container_end;
    uint16_t host, host_end;       /* 0: any free one */
    char protocol[6];              /* tcp, udp */
    char *host_address;            /* NULL: the default (127.0.0.1) */
};
struct spec_network {              /* "back", or an object */
    char *name, *ip, *ip6, *mac;
    char **aliases;                /* besides the spec's own */
};
enum spec_mount_kind { SPEC_MOUNT_BIND, SPEC_MOUNT_VOLUME, SPEC_MOUNT_TMPFS, SPEC_MOUNT_IMAGE };
struct spec_mount {
    int kind;
    char *source, *target;         /* volume: name, NULL is anonymous; tmpfs: source NULL */
    bool read_only, recursive, no_copy, create_source, exec, has_exec;
    char *propagation;             /* private (default), rprivate, slave, rslave, shared, rshared */
    uint64_t size_bytes;           /* tmpfs; 0: half of memory */
    bool has_mode; uint32_t mode;  /* tmpfs */
};
struct spec_secret { char *name, *source, *target; uint32_t mode; char *user; };
struct spec_device { char *path, *target, *access; };     /* access "rwm" */
struct spec_ulimit { char *name; uint64_t soft, hard; };  /* UINT64_MAX: unlimited */
struct spec_io { char *device; uint64_t read_bps, write_bps, read_iops, write_iops; };
struct spec_socket { char *name, *address, *protocol; uint16_t port; char *path; int backlog; bool on_demand; uint32_t mode; };
struct spec_probe {                /* health, readiness, liveness */
    char **command;                /* argv; NULL: none; {"NONE"}: switched off */
    char *shell;                   /* instead: one line for the image's shell */
    int64_t interval_usec, timeout_usec, start_period_usec, start_interval_usec;
    int retries;
    char *on_failure;              /* "none", "restart", "stop" */
};
struct spec_restart { char *policy; bool has_max; int max; int64_t delay_usec, cap_usec, reset_usec; };
struct spec_log { char *driver; uint64_t max_size_bytes; int max_files; };
struct spec_host { char *name, *address; };
struct spec_preopen { char *source, *target; bool read_only; };
struct spec_image_volume { char *image, *target; };

struct spec {
    /* identity */
    char *name, *runtime, *image, *pull, *platform;
    struct spec_pairs labels, annotations;
    /* program */
    char **entrypoint, **command, **args;  /* entrypoint+args replace the image's entrypoint and cmd;
                                              command alone: the whole argv; see berth-spec(5) */
    struct spec_pairs env;
    char *workdir, *user, **groups;
    char *stop_signal;
    bool has_stop_timeout; int64_t stop_timeout_usec;
    bool tty, stdin_open, init;
    bool remove;                           /* --rm */
    /* resources */
    struct {
        bool has_memory, has_swap, has_reservation; uint64_t memory, swap, reservation;
        double cpu; char *cpuset, *cpuset_mems; uint32_t cpu_weight, cpu_shares;
        bool has_pids; int64_t pids;       /* -1: unlimited */
        uint32_t io_weight; struct spec_io *io; size_t n_io;
        char **devices_cdi;
        struct spec_ulimit *ulimits; size_t n_ulimits;
        uint64_t shm_size;
        bool oom_kill_disable;
    } resources;
    /* network */
    char *network;                 /* NULL without networks: the default network */
    struct spec_network *networks; size_t n_networks;
    char **aliases; char *ip, *ip6, *mac;  /* ip, ip6, mac: on the first network */
    struct spec_port *ports; size_t n_ports; char **expose; bool publish_all;
    char **dns, **dns_search, **dns_options; struct spec_host *hosts; size_t n_hosts;
    char *hostname, *domainname; bool internal;
    /* storage */
    struct spec_mount *mounts; size_t n_mounts;
    struct spec_image_volume *image_volumes; size_t n_image_volumes;
    char **volumes_from; bool read_only; struct spec_secret *secrets; size_t n_secrets;
    /* namespaces: NULL (private), "host", "private", "container:NAME"; ipc also "shareable", "none" */
    struct { char *pid, *ipc, *uts, *cgroup, *userns; char **uid_map, **gid_map; } namespaces;
    struct spec_pairs sysctls; bool has_oom_score_adj; int oom_score_adj; char *cgroup_parent;
    /* security */
    struct {
        char **cap_add, **cap_drop; char *seccomp;     /* default, unconfined, path */
        char *apparmor, *selinux; bool no_new_privileges, privileged;
        char **masked_paths, **read_only_paths;        /* NULL: docker's defaults */
        struct spec_device *devices; size_t n_devices; char **device_rules;
    } security;
    /* life */
    struct spec_restart restart; struct spec_probe health, readiness, liveness; struct spec_log log;
    /* sockets */
    struct spec_socket *sockets; size_t n_sockets;
    /* wasm: engines other than wasm refuse it */
    struct {
        bool present; char *kind, *trigger, *invoke; uint16_t port; struct spec_preopen *preopens; size_t n_preopens;
        char **allowed_hosts, *tls_roots; bool sockets; uint32_t max_concurrency, queue;
        int64_t time_limit_usec, idle_timeout_usec; uint64_t memory, memory_total, fuel; uint32_t reuse; bool access_log;
    } wasm;
    /* service: kept as text; engines refuse it by name */
    char *service_json;
};

/** Parse and check. INVALID with `resources.memory: "512Q" is not a size` and suggestions; TOO_BIG. */
int spec_parse(const char *json, size_t length, struct spec **ret_spec, struct berth_error *err);
/** The document again, every field that is set, keys in table order; NULL out of memory. free(3). */
char *spec_print(const struct spec *spec);
/** Overlay `patch` (a spec document with some fields) on `spec`; INVALID names one that can't change. */
int spec_patch(struct spec *spec, const char *patch_json, struct berth_error *err);
void spec_free(struct spec *spec);
static inline void cleanup_spec(struct spec **s) { spec_free(*s); }

/** A workload's, volume's or network's name: [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most BERTH_NAME_MAX. */
int name_check(const char *what, const char *name, struct berth_error *err);

/** Names (dotted) of the fields that are set: for an engine that must refuse some by name. */
char **spec_fields_set(const struct spec *spec);
/** JSON Schema (2020-12) made from the table. Static text, made at first use. */
const char *spec_schema(void);

#endif
