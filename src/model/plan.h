/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan: what the supervisor executes. An engine makes it from a spec; nobody edits it.
 *
 * It knows neither images nor Wasm: argv, mounts, namespaces, limits, descriptors, and what "ready"
 * is. Stored as JSON beside the spec, stamped with what made it.
 */
#ifndef MODEL_PLAN_H
#define MODEL_PLAN_H

#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PLAN_VERSION 1
#define PLAN_MAX_BYTES (8u << 20)

enum plan_namespace { PLAN_NS_MNT, PLAN_NS_PID, PLAN_NS_NET, PLAN_NS_IPC, PLAN_NS_UTS, PLAN_NS_CGROUP, PLAN_NS_USER, PLAN_NS_COUNT };
enum plan_ns_mode { PLAN_NS_PRIVATE, PLAN_NS_HOST, PLAN_NS_JOIN }; /* join: another workload's, by id */

enum plan_mount_kind {
    PLAN_MOUNT_BIND,      /* source: absolute path on the host */
    PLAN_MOUNT_VOLUME,    /* bind of a volume's data; filled from the image's target when `fill` */
    PLAN_MOUNT_TMPFS,
    PLAN_MOUNT_PROC,
    PLAN_MOUNT_SYSFS,
    PLAN_MOUNT_DEV,       /* tmpfs with docker's nodes, links, pts, shm and mqueue below it */
    PLAN_MOUNT_DEVPTS, PLAN_MOUNT_SHM, PLAN_MOUNT_MQUEUE,
    PLAN_MOUNT_CGROUP,    /* the workload's own view, read-only unless `writable` */
    PLAN_MOUNT_OVERLAY,   /* an image volume, read-only: layers in `layers` */
    PLAN_MOUNT_COUNT
};
struct plan_mount {
    int kind;
    char *source, *target;
    char **layers;
    uint64_t flags;            /* MS_* (mount(2)): RDONLY, NOSUID, NODEV, NOEXEC, REC; */
    uint64_t propagation;      /* MS_PRIVATE, MS_SLAVE, MS_SHARED, with MS_REC; 0: rprivate */
    char *data;                /* tmpfs: "size=..,mode=.." */
    bool fill, is_file, optional;
};
struct plan_device { char *path; char type; uint32_t major, minor, mode, uid, gid; char *access; bool node; };
/* type 'c', 'b', 'a' (all); major/minor UINT32_MAX: any; node: make it in /dev; path NULL: a rule only */
struct plan_idmap { uint32_t inside, outside, count; };
struct plan_rlimit { int resource; uint64_t soft, hard; };
struct plan_pair { char *name, *value; };
struct plan_io { uint32_t major, minor; uint64_t read_bps, write_bps, read_iops, write_iops; };
struct plan_probe {
    char **argv; int64_t interval_usec, timeout_usec, start_period_usec, start_interval_usec; int retries;
    int on_failure;            /* 0 nothing, 1 restart, 2 stop */
};
enum plan_restart { PLAN_RESTART_NEVER, PLAN_RESTART_ON_FAILURE, PLAN_RESTART_ALWAYS, PLAN_RESTART_UNLESS_STOPPED };
struct plan_socket { char *name; char *address; uint16_t port; char *path; int type; int backlog; bool on_demand; uint32_t mode; };
/* A file of the host that the program gets as an open descriptor, behind the sockets, in the plan's order: one to
 * read, or (with a size) one in RUN/ID that is made anew for each run, that long, of zeros, to be written. */
struct plan_file { char *name, *path; uint64_t size; };
/* `count` ports of the host from `host` on lead to as many from `container` on; 0 means 1 */
struct plan_port { uint16_t container, host, count; char protocol[6]; char *host_address; };
struct plan_link {                 /* one network that it is on */
    char *network, *bridge;        /* its name; its link on the host */
    char *address, *address6;      /* "10.210.0.5/20"; NULL: none */
    char *gateway, *gateway6;      /* of the bridge, with prefix */
    char *mac;
    char **aliases;
    uint32_t mtu;                  /* 0: the default route's */
    bool internal;                 /* no way out */
};
#define PLAN_LINKS_MAX 64
#define PLAN_PORTS_MAX 4096        /* each is held by a socket */

struct plan_limits {
    int64_t memory, swap, reservation; /* bytes; -1: none. swap: memory and swap together, as docker */
    int64_t cpu_quota_usec, cpu_period_usec; /* quota -1: none */
    char *cpuset, *cpuset_mems;
    uint32_t cpu_weight;           /* v2's 1-10000; 0: unset */
    int64_t pids;                  /* -1: none */
    uint32_t io_weight;            /* v2's 1-10000; 0: unset */
    struct plan_io *io; size_t n_io;
};

struct plan {
    uint32_t version;
    char *stamp;                   /* who made it: berth's version, machine id; start compares */
    char *id, *name, *runtime, *image;
    char **argv, **env;
    char *program;                 /* absolute, on the host: what is run, by descriptor, as the main program and by
                                    * every exec; argv[0] is only its name. NULL: argv[0], inside */
    struct plan_file *files; size_t n_files;
    char *workdir;                 /* absolute, inside; made when missing */
    char *user;                    /* as the spec or image says, looked up inside at start; NULL: 0:0 */
    char **groups;
    char *hostname, *domainname;
    bool tty, stdin_open, init;
    char *init_program;            /* host path of the static init, when init */
    int stop_signal; int64_t stop_timeout_usec;
    struct {
        char **layers;             /* absolute paths, lowest first; empty: the upper is all */
        char *upper, *work;        /* absolute; NULL: root is read-only with tmpfs-less overlay of layers */
        bool read_only;
        bool host;                 /* instead: the host's own files, in which nothing is made */
    } root;
    struct plan_mount *mounts; size_t n_mounts;  /* in order */
    char **masked_paths, **read_only_paths;
    struct plan_device *devices; size_t n_devices;
    struct { int mode; char *id; } namespaces[PLAN_NS_COUNT];
    struct plan_idmap *uid_map, *gid_map; size_t n_uid_map, n_gid_map;
    char *cgroup_parent;           /* absolute path in the hierarchy: "/berth-1a2b3c4d" */
    struct plan_limits limits;
    bool oom_kill_disable, privileged, no_new_privileges;
    uint64_t caps_bounding, caps_effective;      /* permitted = effective, for uid 0 */
    char *seccomp;                 /* path of a compiled filter (struct sock_filter array); NULL: none */
    char *apparmor, *selinux;
    struct plan_rlimit *rlimits; size_t n_rlimits;
    bool has_oom_score_adj; int oom_score_adj;
    struct plan_pair *sysctls; size_t n_sysctls;
    struct { bool none; uint64_t max_size_bytes; int max_files; } log;
    struct { int policy; int max; int64_t delay_usec, cap_usec, reset_usec; } restart; /* max -1: no end */
    struct plan_probe health, readiness, liveness;
    struct plan_socket *sockets; size_t n_sockets;
    char *tag;                     /* hash of the root: in names of links and tables */
    struct plan_link *links; size_t n_links;     /* in order; the first is the main one */
    struct plan_port *ports; size_t n_ports;
    bool walled;                   /* nothing leaves its links but answers, and what `reach` (model/allowed.h) lets out */
    char **reach;
    char **dns;                    /* upstreams that the spec wants; NULL: the host's */
    bool ready_told;               /* ready when the program says so ("ready\n" or an error) on the descriptor behind
                                    * sockets and files; what it says there later is why it ended, in words */
    bool begin_running;            /* with sockets on demand: it runs first, and waits when that has ended well */
    char **at_end;                 /* argv run by the supervisor after the end record: --rm */
};

int plan_parse(const char *json, size_t length, struct plan **ret_plan, struct berth_error *err);
char *plan_print(const struct plan *plan); /* free(3); NULL out of memory */
void plan_free(struct plan *plan);
static inline void cleanup_plan(struct plan **p) { plan_free(*p); }

#endif
