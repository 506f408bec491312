/* SPDX-License-Identifier: Apache-2.0 */
/*
 * container.h: what the container engine can do beyond the verbs: images, volumes, networks, the machine.
 *
 * Every function takes a runtime opened as "container", or as "wasm", which works on the same things of the
 * same store, and answers UNSUPPORTED for another's.
 * Long work (import, load, save, prune) runs in berth-helper; these calls bring its progress as
 * JSON lines on berth_call_stream_fd(call, 2) when `progress` is set.
 */
#ifndef BERTH_CONTAINER_H
#define BERTH_CONTAINER_H

#include <berth/berth.h>

#ifdef __cplusplus
extern "C" {
#endif

struct berth_image_import_options {
    size_t size;
    const char *source;      /**< a folder, a tar (plain, gzip, zstd), or "-" for input_fd */
    int input_fd;
    const char *reference;   /**< name to give: "nginx:1.27" */
    const char *config_json; /**< OCI image config members under "config"; NULL: none */
    const char *platform;    /**< "linux/arm64"; NULL: this machine's */
    bool progress;
};
/** Make an image of a root file system. The finished call has no result; find it by reference. */
BERTH_PUBLIC int berth_image_import_call(struct berth_runtime *runtime,
                                         const struct berth_image_import_options *options,
                                         struct berth_call **ret_call, struct berth_error *err);

struct berth_image_load_options {
    size_t size;
    const char *source;     /**< OCI layout folder or tar, docker archive (gzip, zstd or plain) */
    const char *reference;  /**< name to give instead of those inside; NULL: those inside */
    const char *platform;
    bool progress;
};
/** Load images. stream 1 brings one JSON object a line: {"reference","id"}. */
BERTH_PUBLIC int berth_image_load_call(struct berth_runtime *runtime,
                                       const struct berth_image_load_options *options,
                                       struct berth_call **ret_call, struct berth_error *err);

struct berth_image_pull_options {
    size_t size;
    const char *reference;  /**< "nginx", "registry.example:5000/a/b:1", with or without "@sha256:..." */
    const char *platform;   /**< "linux/arm64"; NULL: this machine's */
    const char *policy;     /**< "always" (NULL): ask the registry; "missing": only if it is not here;
                                 "newer": ask, and take what is here when that fails */
    bool progress;
};
/**
 * Get an image from its registry: what is here already (layers by their diff id) is not fetched, and what
 * an earlier pull that broke off has fetched neither. Stream 1 brings {"reference", "id"}, and "status":
 * "here" when nothing was to do; stream 2, with `progress`, {"step", "object", "bytes", "total_bytes"}.
 * The image can be used when the call has finished, and is written to disk behind it: after a power cut
 * it is whole or absent. NOT_FOUND, DENIED (berth login), NO_SPACE, CORRUPT, UNSUPPORTED.
 */
BERTH_PUBLIC int berth_image_pull_call(struct berth_runtime *runtime,
                                       const struct berth_image_pull_options *options,
                                       struct berth_call **ret_call, struct berth_error *err);

struct berth_image_save_options {
    size_t size;
    const char *const *references; /**< NULL at the end */
    const char *target;            /**< file (tar) or folder (OCI layout) */
    const char *format;            /**< "oci" (default), "docker" */
    bool progress;
};
BERTH_PUBLIC int berth_image_save_call(struct berth_runtime *runtime,
                                       const struct berth_image_save_options *options,
                                       struct berth_call **ret_call, struct berth_error *err);

struct berth_image_push_options {
    size_t size;
    const char *reference;  /**< an image that is here, under the name that says where to: "registry.example:5000/a/b:1" */
    bool progress;
};
/**
 * Send an image to the registry that its name says. What the registry has is not sent. Stream 1 brings
 * {"reference", "digest"}. NOT_FOUND: no such image here, or a layer whose compressed form was pruned and can't be
 * fetched again from where the image came from; DENIED: the registry wants a login, or another.
 */
BERTH_PUBLIC int berth_image_push_call(struct berth_runtime *runtime,
                                       const struct berth_image_push_options *options,
                                       struct berth_call **ret_call, struct berth_error *err);
/**
 * Try a password with a registry (NULL: the one that short names mean) and, when it opens, keep it where docker and podman find it:
 * $REGISTRY_AUTH_FILE, else $DOCKER_CONFIG/config.json, else ~/.docker/config.json, or the credential helper
 * that this file names. Stream 1 brings {"registry", "file", "user"}. DENIED: it is refused.
 */
BERTH_PUBLIC int berth_registry_login_call(struct berth_runtime *runtime, const char *registry,
                                           const char *username, const char *password,
                                           struct berth_call **ret_call, struct berth_error *err);
/** Forget it there. Stream 1 brings {"registry", "file"}; file is "" when there was nothing to forget. */
BERTH_PUBLIC int berth_registry_logout_call(struct berth_runtime *runtime, const char *registry,
                                            struct berth_call **ret_call, struct berth_error *err);

/** All images as a JSON array: reference, id, created, size_bytes, layers, platform; free(3). */
BERTH_PUBLIC int berth_image_list(struct berth_runtime *runtime, char **ret_json,
                                  struct berth_error *err);
/** One image: manifest, config, layers, size as one JSON document; free(3). */
BERTH_PUBLIC int berth_image_inspect(struct berth_runtime *runtime, const char *reference,
                                     char **ret_json, struct berth_error *err);
/** Remove a reference; layers that nothing needs go with the last. WRONG_STATE while a workload
 *  uses the image, unless `force` (the reference goes, the layers stay until the workload is removed). */
BERTH_PUBLIC int berth_image_remove(struct berth_runtime *runtime, const char *reference, bool force,
                                    struct berth_error *err);
BERTH_PUBLIC int berth_image_tag(struct berth_runtime *runtime, const char *source,
                                 const char *target, struct berth_error *err);
/** Remove images that no workload uses (all) or that have no name; JSON report; free(3). */
BERTH_PUBLIC int berth_image_prune(struct berth_runtime *runtime, bool all, char **ret_json,
                                   struct berth_error *err);
/** Remove the compressed layers that are kept beside the unpacked ones: images run as before. A push fetches what it
 *  needs of them again, from where the image came from, and keeps it; save says that they are missing until then, or
 *  until they are removed and pulled again. JSON report; free(3). */
BERTH_PUBLIC int berth_image_prune_blobs(struct berth_runtime *runtime, char **ret_json,
                                         struct berth_error *err);
/** Hash every blob and layer again; JSON report of what was found; free(3). CORRUPT if anything was. */
BERTH_PUBLIC int berth_image_verify_call(struct berth_runtime *runtime,
                                         struct berth_call **ret_call, struct berth_error *err);

/** Named volumes. create is idempotent for equal options. */
BERTH_PUBLIC int berth_volume_create(struct berth_runtime *runtime, const char *name,
                                     const char *const *labels, struct berth_error *err);
BERTH_PUBLIC int berth_volume_list(struct berth_runtime *runtime, char **ret_json,
                                   struct berth_error *err);
BERTH_PUBLIC int berth_volume_inspect(struct berth_runtime *runtime, const char *name,
                                      char **ret_json, struct berth_error *err);
/** WRONG_STATE while a workload uses it. */
BERTH_PUBLIC int berth_volume_remove(struct berth_runtime *runtime, const char *name,
                                     struct berth_error *err);
BERTH_PUBLIC int berth_volume_prune(struct berth_runtime *runtime, bool all, char **ret_json,
                                    struct berth_error *err);

/**
 * Named networks: a bridge on this machine, and a subnet. "bridge" is the default one, made at first
 * use. Zero or NULL: chosen.
 */
struct berth_network_options {
    size_t size;
    const char *subnet;    /**< "10.5.0.0/24"; chosen from the pool */
    const char *gateway;   /**< in it; its first address */
    const char *ip_range;  /**< addresses are given from this part of the subnet */
    const char *subnet6;   /**< "fd00:5::/64" */
    bool ipv6;             /**< a local IPv6 subnet is chosen when subnet6 is not given */
    bool internal;         /**< no way in or out but between its workloads */
    uint32_t mtu;          /**< the default route's */
    const char *const *labels; /**< "NAME=VALUE", NULL at the end; may be NULL */
    const char *pool;      /**< where a subnet is chosen; "10.210.0.0/15" */
    uint32_t prefix;       /**< of a chosen subnet; 24, for "bridge" 20 */
};
/** EXISTS: the name is taken, or the subnet overlaps another or a route of this machine. NO_SPACE: the
 *  pool is used up. INVALID: garbage, or a subnet without room. */
BERTH_PUBLIC int berth_network_create(struct berth_runtime *runtime, const char *name,
                                      const struct berth_network_options *options,
                                      struct berth_error *err);
/** JSON array of what inspect tells of each; free(3). */
BERTH_PUBLIC int berth_network_list(struct berth_runtime *runtime, char **ret_json,
                                    struct berth_error *err);
/** name, created, subnet, gateway, ip_range, subnet6, gateway6, internal, mtu, labels, bridge, workloads
 *  ({id, name, addresses}); free(3). */
BERTH_PUBLIC int berth_network_inspect(struct berth_runtime *runtime, const char *name,
                                       char **ret_json, struct berth_error *err);
/** WRONG_STATE while a workload, running or not, is on it. */
BERTH_PUBLIC int berth_network_remove(struct berth_runtime *runtime, const char *name,
                                      struct berth_error *err);
/** Remove those that no workload is on; {"removed": [names]}; free(3). */
BERTH_PUBLIC int berth_network_prune(struct berth_runtime *runtime, char **ret_json,
                                     struct berth_error *err);

struct berth_connect_options {
    size_t size;
    const char *ip, *ip6, *mac;   /**< fixed; NULL: given */
    const char *const *aliases;   /**< NULL at the end; may be NULL */
};
/** Put a workload, running or not, on one more network. EXISTS: it is on it. */
BERTH_PUBLIC int berth_network_connect(struct berth_runtime *runtime, const char *name,
                                       const struct berth_handle *handle,
                                       const struct berth_connect_options *options,
                                       struct berth_error *err);
/** Take it off a network. NOT_FOUND: it is not on it; WRONG_STATE: it is its only one. */
BERTH_PUBLIC int berth_network_disconnect(struct berth_runtime *runtime, const char *name,
                                          const struct berth_handle *handle,
                                          struct berth_error *err);
/** Publish ports, and take others back, running or not: "8080:80", "127.0.0.1:53:53/udp"; those to take
 *  back also by the port inside alone ("80", "53/udp"). Lists end with NULL and may be NULL. */
BERTH_PUBLIC int berth_publish(struct berth_runtime *runtime, const struct berth_handle *handle,
                               const char *const *add, const char *const *remove,
                               struct berth_error *err);
/**
 * Keep `count` network namespaces with links ready, so that starts on networks need not make them, as long as
 * *ret_fd (yours, close it) is open in some process. Returns when all are there. A start that finds none makes its
 * own. EXISTS: a pool is kept already; INVALID: not 1 to 1,000.
 */
BERTH_PUBLIC int berth_pool(struct berth_runtime *runtime, unsigned count, int *ret_fd, struct berth_error *err);

/**
 * What other firewalls of this machine drop of what a running workload and the world say to each other: a JSON array of
 * {tool, family, table, chain, hook, opens}; free(3). hook: "forward", or "input" for what it asks its gateway for names;
 * opens: commands for a shell that open it. Cheap as long as nobody changes his chains: for who has just started it.
 */
BERTH_PUBLIC int berth_obstacles(struct berth_runtime *runtime, const struct berth_handle *handle, char **ret_json,
                                 struct berth_error *err);

/**
 * berth.toml as it is now, as JSON; free(3). {} when there is none. What it says holds for whoever makes
 * workloads or networks, by this library or by the command. INVALID names the file, the line and the key.
 */
BERTH_PUBLIC int berth_settings(struct berth_runtime *runtime, char **ret_json, struct berth_error *err);
/** Kernel, cgroups, store, versions, limits as JSON; free(3). */
BERTH_PUBLIC int berth_info(struct berth_runtime *runtime, char **ret_json, struct berth_error *err);
/** Space used as JSON: KIND_count, KIND_bytes, KIND_reclaimable_bytes (what nothing needs) of images,
 *  workloads (what they wrote), volumes, logs; and some more sizes; free(3). */
BERTH_PUBLIC int berth_disk_usage(struct berth_runtime *runtime, char **ret_json,
                                  struct berth_error *err);
/** Check the machine; with `repair` mend what can be. JSON array of {check, ok, detail, advice,
 *  repaired}; free(3). 0: sound or repaired, 1: something remains. */
BERTH_PUBLIC int berth_doctor(struct berth_runtime *runtime, bool repair, char **ret_json,
                              struct berth_error *err);
/** After a reboot: start what its policy says. JSON array of {name, id, started, error}; free(3). */
BERTH_PUBLIC int berth_boot(struct berth_runtime *runtime, char **ret_json, struct berth_error *err);

/** Changes of a workload against its image, a JSON array of {path, kind: added|changed|deleted}. */
BERTH_PUBLIC int berth_diff(struct berth_runtime *runtime, const struct berth_handle *handle,
                            char **ret_json, struct berth_error *err);
/** Its root file system as a tar stream on stream 1. */
BERTH_PUBLIC int berth_export_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                                   struct berth_call **ret_call, struct berth_error *err);
struct berth_commit_options {
    size_t size;
    const char *reference;   /**< name of the new image */
    const char *config_json; /**< members of the image config to change, merged (Env by name); NULL: none */
    const char *message, *author; /**< for its history; NULL: none */
    bool progress;
};
/** What a workload that does not run has changed becomes one more layer over its image. Stream 1 brings
 *  {"reference","id"}. WRONG_STATE while it runs. */
BERTH_PUBLIC int berth_commit_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                                   const struct berth_commit_options *options,
                                   struct berth_call **ret_call, struct berth_error *err);
/** Copy between the machine and a workload (running or not): a tar stream out of `path` (stream 1)
 *  or into it (stream 0). Links of the workload never lead outside it. */
BERTH_PUBLIC int berth_copy_out_call(struct berth_runtime *runtime,
                                     const struct berth_handle *handle, const char *path,
                                     struct berth_call **ret_call, struct berth_error *err);
BERTH_PUBLIC int berth_copy_in_call(struct berth_runtime *runtime, const struct berth_handle *handle,
                                    const char *path, struct berth_call **ret_call,
                                    struct berth_error *err);
/** Processes inside, as a JSON array of {pid, ppid, user, cpu_usec, memory_bytes, command}. */
BERTH_PUBLIC int berth_top(struct berth_runtime *runtime, const struct berth_handle *handle,
                           char **ret_json, struct berth_error *err);

#ifdef __cplusplus
}
#endif
#endif
